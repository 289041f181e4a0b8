"""`tfs-rt doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from tfs_rt.backends.registry import BACKENDS, Device, backends_on
from tfs_rt.cli.help import FLAG, GENERAL, examples
from tfs_rt.cli.options import AsJson
from tfs_rt.cli.parsers import listed, one_of
from tfs_rt.errors import EnvironmentFault, printable

if TYPE_CHECKING:
    from tfs_rt.backends.registry import Backend
    from tfs_rt.doctor.report import CacheFound, EngineFound, ModelFound, Problem, Report, SandboxFound

EXAMPLES = examples(
    ("Show which backends run on this machine", "tfs-rt doctor"),
    ("Show what one backend lacks, and the command that installs it", "tfs-rt doctor tensorrt-rtx"),
)

BackendName = Annotated[
    str | None,
    typer.Argument(
        parser=one_of(BACKENDS),
        metavar="BACKEND",
        help=f"Report on this backend only: {listed(BACKENDS)}.",
        show_default=False,
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        metavar=FLAG,
        help="Report on packages, driver, GPUs, sandbox, cache, models and all backends.",
        rich_help_panel=GENERAL,
    ),
]


NOT_EXAMINED = "not examined"


class Line(NamedTuple):
    """A line of the report."""

    subject: str
    good: bool
    text: str

    def __str__(self) -> str:
        return f"{self.subject:15} {'ok' if self.good else '--'}  {printable(self.text, 600)}"


def doctor(backend: BackendName = None, *, as_json: AsJson = False, verbose: Verbose = False) -> None:
    """Report which backends run on this machine. For the others, report the reason and the remedy.

    Exit codes: 0 a backend runs (with BACKEND: that one), 6 none does.
    """
    from tfs_rt.doctor.examine import examine

    report = examine()
    if as_json:
        typer.echo(json.dumps(report.as_facts()))
    else:
        for line in _text(report, backend, verbose=verbose):
            typer.echo(line)
    if backend is None:
        raise typer.Exit(report.exit_code)
    raise typer.Exit(0 if backend in report.running else EnvironmentFault.exit_code)


def _text(report: Report, backend: str | None, *, verbose: bool) -> Iterator[object]:
    """The report's lines."""
    if backend:
        yield from _backend_text(report, backend)
    elif verbose:
        yield _headline(report)
        yield from _all_lines(report)
    else:
        yield _headline(report)
        yield from _short_text(report)


def _headline(report: Report) -> str:
    """One line: the devices that are ready, each with its fastest backend that runs."""
    ready = []
    if gpu_backend := _best_backend(report, "gpu"):
        ready.append(f"GPU, {gpu_backend}")
    if cpu_backend := _best_backend(report, "cpu"):
        ready.append(f"CPU, {cpu_backend}")
    return f"Ready: {'; '.join(ready)}" if ready else "Not ready: no backend runs on this machine"


def _short_text(report: Report) -> Iterator[object]:
    """The other backends that run, the GPUs, and faults. Where no backend runs: the reason for each on the CPU."""
    running = report.running
    others = [name for name in running if name not in (_best_backend(report, "gpu"), _best_backend(report, "cpu"))]
    if others:
        yield f"These backends run too: {', '.join(others)}"
    yield from _gpu_lines(report)
    yield from _fault_lines(report)
    if not running:
        yield from (line for line in _backend_lines(report) if BACKENDS[line.subject].device == "cpu")
    yield "More: tfs-rt doctor BACKEND for one backend, tfs-rt doctor -v for everything"


def _backend_text(report: Report, backend: str) -> Iterator[object]:
    """Everything about one backend."""
    entry = BACKENDS[backend]
    yield f"{backend}: {entry.summary}"
    yield from (line for line in _backend_lines(report) if line.subject == backend)
    yield _package_line(entry, (backend,), report.packages)
    if entry.device == "gpu":
        yield _driver_line(report)
        yield from _gpu_lines(report)
    if entry.graph == "fp16":
        yield from (_model_line(model) for model in report.models)
    yield from _fault_lines(report)


def _all_lines(report: Report) -> Iterator[Line]:
    """Everything that was found."""
    versions = report.versions
    yield Line("tfs-rt", True, f"{versions['tfs-rt']}, Python {versions['python']}, {versions['system']}")
    yield _driver_line(report)
    yield from _gpu_lines(report)
    yield from _package_lines(report)
    yield _sandbox_line(report.sandbox)
    yield _cache_line(report.cache)
    yield from (_model_line(model) for model in report.models)
    yield from _fault_lines(report)
    yield from _backend_lines(report)


def _best_backend(report: Report, device: Device) -> str:
    """The backend to use on a device: on a CPU what `auto` takes, else the first that runs; empty if none does."""
    running = [name for name in backends_on(device) if name in report.running]
    if report.auto in running:
        return report.auto
    return running[0] if running else ""


def _backend_lines(report: Report) -> Iterator[Line]:
    for verdict in report.backends:
        if verdict.runs:
            text = "runs; auto takes it" if verdict.backend == report.auto else "runs"
        else:
            text = f"does not run: {verdict.reason}: {verdict.remedy}"
        yield Line(verdict.backend, verdict.runs, text)


def _fault_lines(report: Report) -> Iterator[Line]:
    for fault in report.faults:
        yield Line(fault.subject, False, f"{fault.reason}: {fault.remedy}")


def _driver_line(report: Report) -> Line:
    driver = report.driver
    if driver is None:
        return Line("driver", False, NOT_EXAMINED)
    version = f"CUDA {driver.cuda}" if driver.cuda else ""
    return Line("driver", driver.problem is None, _joined(version, _describe_problem(driver.problem)))


def _gpu_lines(report: Report) -> Iterator[Line]:
    for ordinal, gpu in enumerate(report.gpus):
        engines = " or ".join(gpu.flavours) or "too old for either TensorRT"
        memory = f"{gpu.memory / 2**30:.1f} GiB"
        text = f"{gpu.name}, compute capability {gpu.capability}, {memory}: {engines}"
        used = "" if ordinal else "; the one that is used"
        yield Line(f"GPU {ordinal}", bool(gpu.flavours), text + used)


def _package_lines(report: Report) -> Iterator[Line]:
    """A line for each set of packages that backends need, and one for other packages."""
    needs: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for name, backend in BACKENDS.items():
        needs.setdefault((backend.distributions, backend.also_needs), []).append(name)
    known: set[str] = set()
    for (distributions, also_needs), names in needs.items():
        yield _package_line(BACKENDS[names[0]], names, report.packages)
        known.update(distributions, also_needs)
    others = [f"{name} {version}" for name, version in sorted(report.packages.items()) if name not in known]
    if others:
        yield Line("packages", True, ", ".join(others))


def _package_line(backend: Backend, names: Sequence[str], installed: dict[str, str]) -> Line:
    """The packages of some backends that need the same: versions, and what is missing."""
    needed = (*backend.distributions, *backend.also_needs)
    versions = [f"{name} {installed[name]}" for name in needed if name in installed]
    missing = [name for name in backend.also_needs if name not in installed]
    if not any(name in installed for name in backend.distributions):
        missing.insert(0, " or ".join(backend.distributions))
    problem = f"not installed: {', '.join(missing)}" if missing else ""
    return Line("packages", not missing, f"{_joined(', '.join(versions), problem)} (for {listed(names, 'and')})")


def _sandbox_line(sandbox: SandboxFound | None) -> Line:
    if sandbox is None:
        return Line("sandbox", False, NOT_EXAMINED)
    missing = f"missing: {', '.join(sandbox.missing)}" if sandbox.missing else ""
    parts = f"files are read behind {', '.join(sandbox.holds)}" if sandbox.holds else ""
    problem = _describe_problem(sandbox.problem)
    return Line("sandbox", not (missing or problem), _joined(parts, missing, problem))


def _cache_line(cache: CacheFound | None) -> Line:
    if cache is None:
        return Line("cache", False, NOT_EXAMINED)
    counts = f"{cache.entries} entries, {cache.bytes / 1e6:.1f} MB" if cache.usable else ""
    return Line("cache", cache.problem is None, _joined(cache.folder, counts, _describe_problem(cache.problem)))


def _model_line(model: ModelFound) -> Line:
    if model.problem:
        return Line(model.name, False, _describe_problem(model.problem))
    if not model.half:
        reason = "it has no half-precision graph, so no engine can be built: export it with --precision fp32,fp16"
        return Line(model.name, False, reason)
    engines = [_describe_engine(engine) for engine in model.engines]
    return Line(model.name, True, f"half-precision graph; engines for this GPU: {', '.join(engines) or 'none'}")


def _describe_engine(engine: EngineFound) -> str:
    from tfs_rt.backends.trt.build import Profile

    profile = Profile.of(engine.profile)
    return f"{engine.flavour} {profile.sizes()}, batch {profile.batch}"


def _describe_problem(problem: Problem | None) -> str:
    return f"{problem.reason}: {problem.remedy}" if problem else ""


def _joined(*parts: str) -> str:
    """The parts that are not empty."""
    return "; ".join(part for part in parts if part)
