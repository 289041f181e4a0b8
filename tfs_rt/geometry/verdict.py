"""The measures of a registration, and what speaks against trusting it.

The bounds were set on displacements other than those of docs/studies/registration.md, which has their error rates.
"""

from __future__ import annotations

from dataclasses import dataclass

DISAGREEMENT = 2.0  # mm
OVERLAP = 0.6
STRUCTURE = 0.15  # nat
TURN = 30.0  # degrees
AGREEING = 0.5  # share of the starts


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The measures of a registration, for the sidecar. A distance that could not be measured is None."""

    information: float  # mutual information at the optimum, in nat
    # mm: the largest displacement of a foreground point of the fixed image between two registrations.
    backward_mm: float | None  # fixed to moving against moving to fixed
    second_start_mm: float | None  # the best start against the nearest result of another start
    agreeing_starts: int  # those that end within DISAGREEMENT of the best
    starts: int
    overlap: float  # the least share of an image's foreground within the box about the other's
    structure: float  # mutual information where both images have foreground, in nat
    turn_degrees: float
    shift_mm: float  # of the centre of the turn
    iterations: int
    seconds: float  # of the processor


def reasons(figures: Figures) -> tuple[str, ...]:
    """What speaks against the transform, in words; nothing if it can be trusted."""
    found = []
    if figures.backward_mm is None or figures.backward_mm > DISAGREEMENT:
        found.append(
            f"registered the other way, points lie {_mm(figures.backward_mm)} apart (at most {DISAGREEMENT:g})"
        )
    if figures.second_start_mm is None or figures.second_start_mm > DISAGREEMENT:
        distance = _mm(figures.second_start_mm)
        found.append(f"from a second start, points lie {distance} apart (at most {DISAGREEMENT:g})")
    if figures.agreeing_starts < AGREEING * figures.starts:
        found.append(f"only {figures.agreeing_starts} of {figures.starts} starts lead to one pose")
    if figures.overlap < OVERLAP:
        found.append(f"the images share {figures.overlap:.0%} of what they show (at least {OVERLAP:.0%})")
    if figures.structure < STRUCTURE:
        bound = f"{figures.structure:.2f} nat, at least {STRUCTURE:g}"
        found.append(f"where both show tissue, one says nothing about the other ({bound})")
    if figures.turn_degrees > TURN:
        found.append(f"one is turned by {figures.turn_degrees:.0f} degrees (at most {TURN:g})")
    return tuple(found)


def _mm(distance: float | None) -> str:
    return "immeasurably far" if distance is None else f"{distance:.1f} mm"
