"""`tfs-rt bench` and `tfs-rt bench compare`."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tfs_rt.cli.console import Talk
from tfs_rt.cli.extras import workshop
from tfs_rt.cli.options import check_scale_value
from tfs_rt.cli.sizes import height_and_width
from tfs_rt.errors import EnvironmentFault, UsageError

EXTRAS = "cpu,export,metrics"
SAMPLERS = ("ddim", "ddpm", "dpmpp-2m")
LARGEST = {"--steps": 100_000, "--batches": 1024}

app = typer.Typer(invoke_without_command=True, subcommand_metavar="[compare A.json B.json]")


@app.callback()
def bench(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for bench.json and bench.html.  [required]")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A bundle's folder or a shipped name. (default: tfs-rt/x4)")] = None,
    scale: Annotated[int | None, typer.Option(help="2, 4 or 8. (default: 4)")] = None,
    backends: Annotated[
        str | None, typer.Option(help="Backends, with commas between them, or none. (default: all of the CPU)")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Peers as they come: torch-eager, torch-compile, onnxruntime, openvino; or none. (all)"),
    ] = None,
    steps: Annotated[str | None, typer.Option(help="Network calls per image, as in 1,4. (the model's)")] = None,
    samplers: Annotated[str | None, typer.Option(help="ddim, ddpm, dpmpp-2m. (the model's)")] = None,
    batches: Annotated[str, typer.Option(help="Cases in a job, as in 1,4,16.")] = "1",
    cases: Annotated[
        list[Path] | None, typer.Option(help="A source of cases, as for fuse; may be given again. (the examples)")
    ] = None,
    ground_truth: Annotated[Path | None, typer.Option(help="Folder of <case>.png. (none: accuracy is n/a)")] = None,
    size: Annotated[
        str | None, typer.Option(help="Result size, N or WIDTHxHEIGHT. (the inputs' times the scale)")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=10_000, help="Timed jobs of each row.")] = 10,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="Also the paper's 4,000 ancestral steps: a part is timed, the rest reckoned."),
    ] = False,
    paper_in_full: Annotated[
        bool, typer.Option("--paper-in-full", help="All 4,000 steps of each case: minutes, or hours.")
    ] = False,
    gpu: Annotated[bool, typer.Option("--gpu", help="The backends of a GPU, and PyTorch there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout, not a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="The table only: no progress.")] = False,
) -> None:
    """Measure a model: latency with the fidelity and the accuracy that it comes with, beside other programs.

    Each row runs in a process of its own, and all take turns. Give the machine nothing else to do meanwhile.
    Exit codes: 0 all measured, 2 usage, 3 a row asked for by name or a case left out, 4 no cases, 5 model refused,
    6 environment.
    """
    if context.invoked_subcommand:
        _check_alone(context)
        return
    if output is None:
        raise UsageError("--output", "is not given", "say where bench.json and bench.html go: -o FOLDER")
    check_scale_value(scale)
    if paper and paper_in_full:
        raise UsageError("--paper", "--paper-in-full measures it whole", "leave one of the two options out")
    asked = {
        "model": f"tfs-rt/x{scale or 4}" if model is None else model,
        "backends": _names("--backends", backends),
        "against": _names("--against", against),
        "steps": _numbers("--steps", steps),
        "samplers": _samplers(samplers),
        "batches": _numbers("--batches", batches),
        "sources": tuple(cases or ()),
        "truth": ground_truth,
        "size": _size(size),
        "rounds": rounds,
        "paper": "full" if paper_in_full else "part" if paper else "",
        "gpu": gpu,
    }
    raise typer.Exit(_measured(asked, scale, output, Talk(quiet=quiet), as_json=as_json))


@app.command("compare")
def compare(
    a: Annotated[Path, typer.Argument(help="bench.json of the one.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="bench.json of the other.", show_default=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout, not a table.")] = False,
) -> None:
    """Set two benches side by side: ratios of times, differences of quality, row by row."""
    measured, comparing, terminal = (
        workshop(f"tfs_rt_bench.latency.{name}", extras=EXTRAS) for name in ("record", "compare", "terminal")
    )
    found = comparing.compare(measured.read_bench(a), measured.read_bench(b))
    for note in found.notes:
        Talk().warn(note)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found)))
    else:
        terminal.print_comparison(found)


def _measured(asked: dict[str, Any], scale: int | None, output: Path, talk: Talk, *, as_json: bool) -> int:
    """Measure, write and print; the exit code."""
    from tfs_rt.models.bundle import load_bundle
    from tfs_rt.output.results import prepare_output

    plan, reading, measuring, measured, report, terminal = (
        workshop(f"tfs_rt_bench.{name}", extras=EXTRAS)
        for name in (
            "latency.plan",
            "latency.cases",
            "latency.run",
            "latency.record",
            "latency_page.page",
            "latency.terminal",
        )
    )
    request, gpu = plan.Request(**asked), _gpu() if asked["gpu"] else ""
    bundle = load_bundle(request.model)
    own = bundle.manifest.model.scale
    if scale not in (None, own):
        reason = f"{scale} asked, but {request.model} is a model for x{own}"
        raise UsageError("--scale", reason, "leave one of the two options out")
    rows = plan.planned(request, bundle)
    cases, problems = reading.read_cases(request.sources, request.truth, own, request.size)
    prepare_output(output)
    for problem in problems:
        talk.warn(f"left out: {problem}")
    if request.truth is None:
        talk.say("accuracy is n/a: no --ground-truth is given")
    elif lacking := sum(truth is None for truth in cases.truths):
        talk.warn(f"no ground truth of {lacking} of {len(cases.ids)} cases: accuracy is that of the others")
    talk.say(f"rows: {len(rows)}; rounds: {request.rounds}; cases: {len(cases.ids)}")
    command = shlex.join(["tfs-rt", *sys.argv[1:]])
    with talk.progress("measuring", len(rows) * (request.rounds + 2), "jobs") as advance:
        done = measuring.run(request, cases, command=command, gpu=gpu, advance=advance)
    for warning in done.warnings:
        talk.warn(warning)
    measured.write_bench(output / "bench.json", done)
    report.write_report(output / "bench.html", done)
    if as_json:
        typer.echo((output / "bench.json").read_text(encoding="utf-8").rstrip())
    else:
        terminal.print_bench(done)
    talk.say(f"wrote {output / 'bench.json'} and bench.html")
    named = {*request.backends, *request.against}
    return 3 if problems or any(row.fault and row.backend in named for row in done.rows) else 0


def _check_alone(context: typer.Context) -> None:
    """Options of a measurement mean nothing to a comparison."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                option, "is an option of measuring, not of comparing", "write: bench compare A.json B.json"
            )


def _gpu() -> str:
    """The GPU's name; EnvironmentFault if there is none."""
    from tfs_rt.doctor.examine import ask

    answer = ask(("gpus",))
    if answer.found is None:
        raise EnvironmentFault("--gpu", answer.reason, answer.remedy or "tfs-rt doctor tells what runs here")
    if not answer.found["gpus"]:
        raise EnvironmentFault(
            "--gpu", "the driver finds no GPU", "see what nvidia-smi lists, and CUDA_VISIBLE_DEVICES"
        )
    return answer.found["gpus"][0]["name"]


def _names(option: str, text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(option, f"{text!r} is no list of names", "write them with commas between them, or none")
    return names


def _numbers(option: str, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    parts, most = [part.strip() for part in text.split(",")], LARGEST[option]
    if not all(part.isascii() and part.isdecimal() and len(part) < 9 and 1 <= int(part) <= most for part in parts):
        raise UsageError(option, f"{text!r} is no list of numbers from 1 to {most:,}", "write them as in 1,4")
    return tuple(map(int, parts))


def _samplers(text: str | None) -> tuple[str, ...]:
    names = _names("--samplers", text)
    for name in names:
        if name not in SAMPLERS:
            raise UsageError("--samplers", f"there is no {name!r}", f"choose from {', '.join(SAMPLERS)}")
    return names


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    size = height_and_width(text)
    if size is None or max(size) > 4096:
        raise UsageError("--size", f"{text!r} is no size", "write 256 or 320x256 (width x height), up to 4096x4096")
    return size
