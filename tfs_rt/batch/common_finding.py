"""A finding that most cases of a run share: then the run, and not its cases, is likely to be at fault."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tfs_rt.facts import Facts

FEWEST = 3  # cases with the finding
MOST = 0.5  # share of the cases that were checked: more of them have the finding

WINDOW = "the window does not fit these images: see the levels in the sidecars, and set them with --window"
SLOTS = "m1 and m2 are exchanged: m2 is the T2-weighted image"
REGISTRATION = (
    "the images are not registered to each other: register and resample them onto one grid first, or give --align"
)
METHOD = "the method or its model does not suit these images: compare with another --method or --model"
CAUSES = {
    "empty": WINDOW,
    "constant": WINDOW,
    "saturation": WINDOW,
    "slot order": SLOTS,
    "registration": REGISTRATION,
    "rotation": REGISTRATION,
    "constant result": METHOD,
    "clipped result": METHOD,
    "brightness": METHOD,
    "likeness": METHOD,
    "colours": METHOD,
}  # the likely cause by the guard that finds something in most cases


@dataclass(frozen=True, slots=True)
class CommonFinding:
    """A guard that has a finding in most cases of a run."""

    guard: str
    cases: int  # with the finding
    checked: int  # cases that the guards have seen

    @property
    def likely_cause(self) -> str:
        """The cause that would explain it in all cases, and the remedy."""
        return CAUSES.get(self.guard, "the settings of the run do not fit these images")

    def __str__(self) -> str:
        reason = f"{self.cases} of {self.checked} cases have the same finding ({self.guard})"
        return f"{reason}: probably {self.likely_cause}"

    def as_facts(self) -> Facts:
        """The JSON object."""
        return {
            "guard": self.guard,
            "cases": self.cases,
            "checked": self.checked,
            "likely_cause": self.likely_cause,
        }


def common_finding(guards: Counter[str], checked: int) -> CommonFinding | None:
    """The guard with findings in most of the checked cases; None if there is none. `guards`: cases by guard."""
    guard, cases = max(guards.items(), key=lambda item: item[1], default=("", 0))
    if cases < FEWEST or cases <= MOST * checked:
        return None
    return CommonFinding(guard, cases, checked)
