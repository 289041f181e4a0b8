"""Keep how fast the runtime's kernels were: `python -m tfs_rt_studies.kernels.history BENCHMARK_JSON` (`make bench`).

From the JSON that pytest-benchmark wrote of bench/kernels a line is appended to FOLDER/<device>.jsonl: date, commit,
versions, and for each kernel its minimum and median in seconds and its error, the largest difference to another
formulation of the same. It is compared with the last line of the same device before.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfs_rt.errors import InputError, TfsRtError, first_line
from tfs_rt.facts import from_dict
from tfs_rt.system.files import write_file

FOLDER = Path("bench/baselines")
# A minimum that is longer by more is called slower: two runs on a quiet machine differ by as much.
TOLERANCE = 1.25


@dataclass(frozen=True, slots=True)
class Kernel:
    """Seconds, and the largest difference to another formulation."""

    minimum: float
    median: float
    error: float


@dataclass(frozen=True, slots=True)
class Run:
    """A line of the history: all kernels on one device, at one commit."""

    device: str
    date: str
    commit: str
    versions: dict[str, str]
    # Remarks on the machine while it was measured; "" if it was quiet.
    busy: str
    kernels: dict[str, Kernel]


def read_benchmarks(path: Path) -> Run:
    """The results of bench/kernels by pytest-benchmark; InputError for any other file."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        machine = data["machine_info"]
        commit = data["commit_info"]
        kernels = {found["name"].removeprefix("test_"): _kernel(found) for found in data["benchmarks"]}
        dirty = "-dirty" if commit["dirty"] else ""
        versions = {"python": machine["python_version"], **machine["versions"]}
        return Run(machine["device"], data["datetime"], commit["id"][:12] + dirty, versions, machine["busy"], kernels)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = (
            f"is not JSON that pytest-benchmark wrote of bench/kernels ({type(error).__name__}: {first_line(error)})"
        )
        raise InputError(path, reason, "run make bench") from error


def _kernel(found: dict[str, Any]) -> Kernel:
    stats = found["stats"]
    return Kernel(float(stats["min"]), float(stats["median"]), float(found["extra_info"]["error"]))


def history_of(folder: Path, device: str) -> Path:
    """File of a device's lines."""
    return folder / f"{'-'.join(re.findall(r'[a-z0-9]+', device.lower()))}.jsonl"


def last_run(path: Path) -> Run | None:
    """The last line of a device's history; none if it has none yet."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return from_dict(Run, json.loads(lines[-1]), "line") if lines else None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(path, f"its last line is damaged ({first_line(error)})", "remove that line") from error


def append(path: Path, run: Run) -> None:
    """A line more; those before it stay as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_bytes() if path.exists() else b""
    write_file(path, before + json.dumps(dataclasses.asdict(run)).encode() + b"\n")


def compared(run: Run, before: Run | None) -> Iterator[str]:
    """A line for each kernel: its minimum, its error, and how long it took against the run before."""
    for name, kernel in run.kernels.items():
        known = before.kernels.get(name) if before else None
        line = f"{name:24} {1e3 * kernel.minimum:9.3f} ms  error {kernel.error:.1e}"
        if known is None:
            yield f"{line}  new"
            continue
        ratio = kernel.minimum / known.minimum
        yield f"{line}  {ratio:.2f} times as long as before" + ("  SLOWER" if ratio > TOLERANCE else "")


def keep(benchmarks: Path, folder: Path) -> Iterator[str]:
    """Append a run to its device's history, and say how it compares."""
    run = read_benchmarks(benchmarks)
    path = history_of(folder, run.device)
    before = last_run(path)
    append(path, run)
    yield f"{run.device}, {run.commit}" + (f", against {before.commit} of {before.date[:10]}" if before else "")
    yield from compared(run, before)
    for which, one in (("this run", run), ("the run before", before)):
        if one and one.busy:
            yield f"{which}: {one.busy}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", type=Path, metavar="BENCHMARK_JSON")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"of the histories (default: {FOLDER})")
    arguments = parser.parse_args()
    try:
        for line in keep(arguments.benchmarks, arguments.folder):
            print(line)
    except TfsRtError as error:
        sys.exit(f"kernel_history: {error}")


if __name__ == "__main__":
    main()
