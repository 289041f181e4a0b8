"""The headline of a bench, from its rows: the fastest way, its quality, and its lead over others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tfs_rt_bench.charts.digits import counted, decimal, ratio, seconds
from tfs_rt_bench.latency.record import Bench, Row
from tfs_rt_bench.latency.row_facts import PEERS, in_words, level, minimum, per_case, psnr, single, way

# In dB to the float32 reference: from here on an image is taken to be the same.
GOOD = 45.0
CHAIN = 1000  # steps, from which on ancestral sampling is the paper's way


class Versus(NamedTuple):
    """A row against a peer's."""

    peer: Row
    ratio: float  # how many times as fast as the peer the row is
    theirs: float  # the peer's seconds
    ours: float
    job: bool  # whole jobs were compared, with one recipe and batch; otherwise steps


def headline(bench: Bench) -> list[str]:
    """Sentences, the most important first."""
    ours = single([row for row in bench.rows if not (row.peer or row.extrapolated)])
    if not ours:
        return [_none(bench)]
    good = [row for row in ours if (psnr(row, "fidelity") or 0) >= GOOD]
    best = min(good or ours, key=_cost)
    fastest = min(ours, key=_cost)
    rank = "Fastest" if best is fastest else f"Fastest of those with {GOOD:g} dB or more"
    told = [_fastest(best, bench, rank), *_against_peers(best, bench.rows), *_against_the_paper(best, bench.rows)]
    if not good:
        told.append(f"No row of this runtime reaches {GOOD:g} dB to the reference.")
    elif _cost(fastest) < _cost(best):
        name = f"{way(fastest).name} with {in_words(fastest.recipe)}"
        told.append(f"Faster, but not the same image: {name}, {seconds(_cost(fastest))}, {fidelity(fastest)}.")
    return told + _float32(bench.rows)


def fidelity(row: Row) -> str:
    """In words, how near a row's images are to the reference's."""
    if row.fidelity is None:
        return "fidelity not measured"
    return f"{level(row, 'fidelity')} to the float32 PyTorch reference"


def versus(row: Row, peers: Sequence[Row]) -> list[Versus]:
    """Against each peer, the fastest first: whole jobs of its recipe and batch if any ran, else steps."""
    jobs = [_by_job(row, peer) for peer in peers if (peer.recipe, peer.batch) == (row.recipe, row.batch)]
    found = [pair for pair in jobs if pair] or [pair for peer in peers if (pair := _by_step(row, peer))]
    return sorted(found, key=lambda pair: pair.ratio)


def _cost(row: Row) -> float:
    cost = per_case(row)
    assert cost is not None, "`single` gives timed rows"
    return cost


def _none(bench: Bench) -> str:
    failed = sum(bool(row.fault) for row in bench.rows)
    faults = f" {counted(failed, 'way')} of {len(bench.rows)} failed; the table says why." if failed else ""
    return f"No whole job of this runtime has figures in this run.{faults}"


def _fastest(row: Row, bench: Bench, rank: str) -> str:
    height, width = bench.size
    of = f"one image of {width}x{height}" if row.batch == 1 else f"each of {row.batch} images of {width}x{height}"
    accuracy = psnr(row, "accuracy")
    truth = f" ({decimal(accuracy, 1, 'dB')} to ground truth)" if accuracy is not None else ""
    name = f"{way(row).name} with {in_words(row.recipe)}"
    return f"{rank}: {name} makes {of} in {seconds(_cost(row))}, {fidelity(row)}{truth}."


def _by_job(row: Row, peer: Row) -> Versus | None:
    ours = per_case(row)
    theirs = per_case(peer)
    if ours is None or theirs is None or peer.extrapolated:
        return None
    return Versus(peer, theirs / ours, theirs, ours, True)


def _by_step(row: Row, peer: Row) -> Versus | None:
    ours = minimum(row.step)
    theirs = minimum(peer.step)
    return None if ours is None or theirs is None else Versus(peer, theirs / ours, theirs, ours, False)


def _against_peers(row: Row, rows: Sequence[Row]) -> list[str]:
    found = versus(row, [other for other in rows if other.peer])
    if not found:
        return ["No peer gave figures to compare it with."]
    eager = next((pair for pair in found if pair.peer.backend == "torch-eager"), None)
    parts = [_as_fast(eager)] if eager else []
    if found[0] is not eager:
        parts.append(_as_fast(found[0], best=len(found) > 1))
    by = "The same job" if found[0].job else f"By the step ({seconds(found[0].ours)})"
    alone = ", and there is no faster peer" if found[0] is eager and len(found) > 1 else ""
    return [f"{by}: {' and '.join(parts)}{alone}.{_without_figures(row, rows)}"]


def _without_figures(row: Row, rows: Sequence[Row]) -> str:
    """Peers that were to do the same and failed: the best might be among them."""
    failed = [other for other in rows if other.peer and other.fault and other.recipe == row.recipe]
    names = dict.fromkeys(PEERS.get(other.backend, other.backend) for other in failed)
    return f" No figures of {', '.join(names)}; the table says why." if names else ""


def _as_fast(pair: Versus, *, best: bool = False) -> str:
    quality = f", {fidelity(pair.peer)}" if pair.peer.fidelity and pair.peer.backend != "torch-eager" else ""
    name = f"{'the best peer, ' if best else ''}{way(pair.peer).name}"
    return f"{ratio(pair.ratio)} as fast as {name} ({seconds(pair.theirs)}{quality})"


def _against_the_paper(row: Row, rows: Sequence[Row]) -> list[str]:
    chains = [other for other in rows if other.peer and other.recipe.sampler == "ddpm" and other.recipe.steps >= CHAIN]
    timed = [(cost, other) for other in chains if (cost := per_case(other)) is not None]
    if not timed:
        return []
    cost, paper = max(timed, key=lambda pair: (pair[1].backend == "torch-eager", pair[0]))
    how = f", extrapolated: {paper.extrapolated}" if paper.extrapolated else ""
    theirs = psnr(paper, "accuracy")
    accuracy = f"; {decimal(theirs, 1, 'dB')} to ground truth" if theirs is not None else ""
    count = f"{paper.recipe.steps:,} ancestral steps"
    steps = f"the paper's {count}" if paper.recipe.spacing == "t" else f"{count} between the model's noise levels"
    times = f"Whole job: {ratio(cost / _cost(row))} as fast as {steps} in {way(paper).name}"
    return [f"{times} ({seconds(cost)}{how}{accuracy})."]


def _float32(rows: Sequence[Row]) -> list[str]:
    """The tier that computes in float32 throughout, against those peers that do."""
    exact = [row for row in rows if row.precision == "fp32" and minimum(row.step) is not None]
    ours, peers = ([row for row in exact if row.peer == is_peer] for is_peer in (False, True))
    if not ours or not peers:
        return []
    mine, theirs = (min(those, key=lambda row: minimum(row.step) or 0) for those in (ours, peers))
    pair = _by_step(mine, theirs)
    assert pair, "both are timed"
    takes = f"{way(mine).name} ({fidelity(mine)}) takes {seconds(pair.ours)} a step"
    return [f"In float32, {takes}: {_as_fast(pair)}, the fastest float32 peer of this run."]
