"""The record of a bench, as its JSON holds it: a machine, its limits, and a row for each way to run a model.

A row without its quality is not written: fidelity stands beside every latency, accuracy where ground truth is given.
Seconds, bytes and decibels throughout.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfs_rt.errors import InputError, first_line
from tfs_rt.facts import from_dict
from tfs_rt.spec import Recipe
from tfs_rt.system.files import read_regular, write_file

SCHEMA = 1
LARGEST = 2**30  # bytes of a bench's JSON
DIGITS = 18  # largest whole number that fits a float and a processor's word


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Times of several runs, in seconds."""

    minimum: float
    median: float
    p95: float
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Fidelity: difference to the images of the float32 PyTorch reference, with the same noise and recipe."""

    psnr: float  # dB, over all pixels of 8-bit images; at most 99
    ssim: float
    max_levels: int  # largest difference, in grey levels
    bias: tuple[float, float, float]  # mean difference of R, G, B, in grey levels
    cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Accuracy: difference to ground truth, as means over cases."""

    psnr: float
    ssim: float
    cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way to run the model: what it costs, and what it gives."""

    label: str  # of the table and the report, unique
    backend: str  # a backend of the runtime, or a peer: torch-eager, torch-compile, onnxruntime, openvino
    peer: bool  # as it comes, not as this runtime runs it
    precision: str  # fp32, bf16, fp16, int8
    batch: int
    recipe: Recipe
    # The shortcut, if the whole job was not run: "200 of 4,000 steps timed".
    extrapolated: str = ""
    fault: str = ""  # why there are no figures, in one line
    job: Times | None = None  # a batch of cases, images in to images out
    step: Times | None = None  # one call of the network alone, for one image
    overhead: float | None = None  # share of a job's time that is spent outside the network
    # The loop's own share of the time from the first step's end to the last's.
    loop: float | None = None
    cold_start: float | None = None  # a new process, from its start to the first image
    peak_memory: int | None = None  # of that process, resident
    # Processors that a job kept busy, on average: threads are as the backend has them.
    busy: float | None = None
    gflops: float | None = None  # of one step, counted, over its minimum: achieved GFLOP/s
    fidelity: Fidelity | None = None
    accuracy: Accuracy | None = None

    def __post_init__(self) -> None:
        if self.job and not self.fidelity and not self.extrapolated:
            raise ValueError(
                f"row {self.label!r} has times and no fidelity: a speed without its quality does not count as a row"
            )
        if self.batch < 1:
            raise ValueError(f"row {self.label!r} has a batch of {self.batch}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine, versions and commit of the measurement."""

    processor: str
    cores: int
    memory: int
    system: str
    gpu: str
    versions: dict[str, str]
    commit: str  # of tfs-rt, where it runs from a checkout
    gemm_gflops: float  # float32 matrix product, the best of several
    bandwidth_gb: float  # GB/s, a copy that no cache holds: bytes read and written


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """A case in pictures, PNG in base64: the reference, and a row's image and its difference by the row's label."""

    case: str
    reference: str
    truth: str  # "" without ground truth
    images: dict[str, str]
    differences: dict[str, str]  # absolute, amplified
    gain: int  # factor that amplifies differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A whole run of `tfs-rt bench`."""

    schema: int
    date: str
    model: str
    scale: int
    size: tuple[int, int]  # (H, W) of the results
    # Multiplications and additions of one step as convolutions are defined, counted over the network.
    step_gflop: float
    command: str
    machine: Machine
    rows: tuple[Row, ...]
    pictures: tuple[Pictures, ...]
    warnings: tuple[str, ...] = ()  # conditions that may have spoilt the figures


def write_bench(path: Path, bench: Bench) -> None:
    """Write the JSON; EnvironmentFault if it cannot be written."""
    write_file(path, (json.dumps(dataclasses.asdict(bench), indent=1) + "\n").encode())


def read_bench(path: Path) -> Bench:
    """Read what `write_bench` wrote; InputError if it is something else."""
    try:
        data: Any = json.loads(read_regular(path, LARGEST).decode(), parse_int=_whole)
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ValueError(f"no schema {SCHEMA}")
        return from_dict(Bench, data, "bench")
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise InputError(path, reason, "give the JSON that tfs-rt bench wrote") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            path, f"is not a bench record ({first_line(error)})", "give the JSON that tfs-rt bench wrote"
        ) from error


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)
