"""`tfs-rt doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tfs_rt.errors import printable

if TYPE_CHECKING:
    from tfs_rt.doctor.examine import Report

PACKAGES_FOR = {  # shown even where they are not installed
    "ort-cpu or ort-cuda": ("onnxruntime", "onnxruntime-gpu"),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt-rtx": ("tensorrt-rtx-cu13",),
    "both": ("cuda-core", "cuda-bindings", "nvidia-cuda-nvrtc"),
}


class Line(NamedTuple):
    """A line of the report."""

    subject: str
    good: bool
    text: str


def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what of this machine can be used, which backends run, and what to do about those that do not.

    Exit codes: 0 a backend runs, 6 none does.
    """
    from tfs_rt.doctor.examine import examine

    report = examine()
    if as_json:
        typer.echo(json.dumps(report.as_facts()))
    else:
        for line in _lines(report):
            typer.echo(f"{line.subject:15} {'ok' if line.good else '--'}  {printable(line.text, 600)}")
    raise typer.Exit(report.exit_code)


def _lines(report: Report) -> Iterator[Line]:
    versions = report.versions
    yield Line("tfs-rt", True, f"{versions['tfs-rt']}, Python {versions['python']}, {versions['system']}")
    yield from _gpu_lines(report)
    yield from _package_lines(report)
    yield _sandbox_line(report.sandbox)
    yield _cache_line(report.cache)
    for model in report.models:
        yield _model_line(model)
    for fault in report.faults:
        yield Line(fault.subject, False, f"{fault.reason}: {fault.remedy}")
    for verdict in report.backends:
        taken = "runs; auto takes it" if verdict.backend == report.auto else "runs"
        refused = f"does not run: {verdict.reason}: {verdict.remedy}"
        yield Line(verdict.backend, verdict.runs, taken if verdict.runs else refused)


def _gpu_lines(report: Report) -> Iterator[Line]:
    driver = report.driver
    spoken = f"CUDA {driver['cuda']}" if driver.get("cuda") else ""
    trouble = f"{driver['reason']}: {driver['remedy']}" if "reason" in driver else ""
    yield Line("driver", bool(spoken and not trouble), "; ".join(filter(None, (spoken, trouble))))
    for ordinal, gpu in enumerate(report.gpus):
        engines = " or ".join(gpu["flavours"]) or "too old for either TensorRT"
        text = f"{gpu['name']}, compute capability {gpu['capability']}, {gpu['memory'] / 2**30:.1f} GiB: {engines}"
        yield Line(f"GPU {ordinal}", bool(gpu["flavours"]), text if ordinal else f"{text}; the one that is used")


def _package_lines(report: Report) -> Iterator[Line]:
    """Those installed of each purpose; a purpose that has none says so."""
    rest = dict(report.packages)
    for purpose, names in PACKAGES_FOR.items():
        found = {name: rest.pop(name) for name in names if name in rest}
        lacking = [name for name in names if name not in found]
        whole = not lacking if purpose == "both" else bool(found)
        text = ", ".join(f"{name} {version}" for name, version in found.items())
        if not whole:
            missing = f"not installed: {', '.join(lacking) if purpose == 'both' else ' or '.join(names)}"
            text = "; ".join(filter(None, (text, missing)))
        yield Line("packages", whole, f"{text} (for {'the two TensorRTs' if purpose == 'both' else purpose})")
    if rest:
        yield Line("packages", True, ", ".join(f"{name} {version}" for name, version in sorted(rest.items())))


def _sandbox_line(sandbox: dict[str, Any]) -> Line:
    if "reason" in sandbox:
        return Line("sandbox", False, f"{sandbox['reason']}: {sandbox['remedy']}")
    if not sandbox:
        return Line("sandbox", False, "not looked at")
    missing = f"missing: {', '.join(sandbox['missing'])}" if sandbox["missing"] else ""
    holds = f"files are read behind {', '.join(sandbox['holds'])}" if sandbox["holds"] else ""
    return Line("sandbox", not missing, "; ".join(filter(None, (holds, missing))))


def _cache_line(cache: dict[str, Any]) -> Line:
    if not cache:
        return Line("cache", False, "not looked at")
    trouble = f"{cache['reason']}: {cache['remedy']}" if "reason" in cache else ""
    counts = f"{cache['entries']} entries, {cache['bytes'] / 1e6:.1f} MB" if cache["usable"] else ""
    return Line("cache", not trouble, "; ".join(filter(None, (str(cache["folder"]), counts, trouble))))


def _model_line(model: dict[str, Any]) -> Line:
    if "reason" in model:
        return Line(model["name"], False, f"{model['reason']}: {model['remedy']}")
    if not model["half"]:
        return Line(model["name"], False, "no half graph, so no engine: export it with --precision fp32,fp16")
    engines = [_engine(engine) for engine in model["engines"]]
    return Line(model["name"], True, f"half graph; engines for this GPU: {', '.join(engines) or 'none'}")


def _engine(engine: dict[str, Any]) -> str:
    from tfs_rt.backends.trt.build import Profile

    return f"{engine['flavour']} {Profile.of(engine).sizes()}, batch {engine['batch']}"
