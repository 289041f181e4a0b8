"""`tfs-rt bench` and `tfs-rt bench compare`."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tfs_rt.cli import bench_options as option
from tfs_rt.cli.console import Console
from tfs_rt.cli.extras import import_extra
from tfs_rt.cli.help import Command, Group, examples
from tfs_rt.cli.options import AsJson, Model, Quiet, Scale, check_scale
from tfs_rt.errors import EnvironmentFault, UsageError
from tfs_rt.methods.choice import check_model_scale

EXTRAS = "cpu,export,metrics"
EXAMPLES = examples(
    ("Measure the shipped x4 model beside other programs", "tfs-rt bench -o report"),
    ("Your model, with 1 and 4 steps", "tfs-rt bench --model my_x4 --steps 1,4 -o report"),
    ("Compare two measurements", "tfs-rt bench compare before/bench.json after/bench.json"),
)
COMPARE_EXAMPLES = examples(
    ("Compare two measurements", "tfs-rt bench compare before/bench.json after/bench.json"),
    ("The same for a program", "tfs-rt bench compare before/bench.json after/bench.json --json"),
)

app = typer.Typer(cls=Group, invoke_without_command=True, subcommand_metavar="[compare A.json B.json]", epilog=EXAMPLES)
FirstFile = Annotated[
    Path, typer.Argument(metavar="A.json", help="bench.json of the first measurement.", show_default=False)
]
SecondFile = Annotated[
    Path, typer.Argument(metavar="B.json", help="bench.json of the second measurement.", show_default=False)
]


@app.callback()
def bench(  # noqa: PLR0913 - one parameter for each option
    context: typer.Context,
    *,
    cases: option.Cases = None,
    ground_truth: option.GroundTruth = None,
    size: option.Size = None,
    model: Model = None,
    scale: Scale = None,
    steps: option.Steps = None,
    samplers: option.Samplers = None,
    backends: option.Backends = None,
    against: option.Against = None,
    batches: option.Batches = "1",
    rounds: option.Rounds = 10,
    paper: option.Paper = False,
    paper_in_full: option.PaperInFull = False,
    gpu: option.Gpu = False,
    output: option.Output = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model's latency, memory, fidelity and accuracy, beside other programs.

    Each row of the table runs in its own process, and the rows take turns. Let the machine do nothing else meanwhile.

    Exit codes: 0 all measured, 2 wrong usage, 3 a row asked for by name or a case is missing, 4 no cases, 5 model
    refused, 6 environment.
    """
    # A subcommand takes no options of the command itself.
    if context.invoked_subcommand:
        _check_no_options(context)
        return
    # Check the options that depend on each other.
    if output is None:
        raise UsageError("--output", "is not given", "say where bench.json and bench.html go: -o FOLDER")
    check_scale(scale)
    if paper and paper_in_full:
        raise UsageError("--paper", "--paper-in-full measures it whole", "leave one of the two options out")
    # Measure.
    request = import_extra("tfs_rt_bench.latency.plan", extras=EXTRAS).Request(
        model=f"tfs-rt/x{scale or 4}" if model is None else model,
        backends=option.parse_names("--backends", backends),
        against=option.parse_names("--against", against),
        steps=option.parse_numbers("--steps", steps),
        samplers=option.parse_samplers(samplers),
        batches=option.parse_numbers("--batches", batches),
        sources=tuple(cases or ()),
        truth=ground_truth,
        size=option.parse_size(size),
        rounds=rounds,
        paper="full" if paper_in_full else "part" if paper else "",
        gpu=gpu,
    )
    raise typer.Exit(_measure(request, scale, output, Console(quiet=quiet), as_json=as_json))


@app.command("compare", cls=Command, epilog=COMPARE_EXAMPLES)
def compare(a: FirstFile, b: SecondFile, *, as_json: AsJson = False) -> None:
    """Compare two measurements row by row: ratios of times, differences of quality."""
    record = import_extra("tfs_rt_bench.latency.record", extras=EXTRAS)
    comparing = import_extra("tfs_rt_bench.latency.compare", extras=EXTRAS)
    terminal = import_extra("tfs_rt_bench.latency.terminal", extras=EXTRAS)
    comparison = comparing.compare(record.read_bench(a), record.read_bench(b))
    for note in comparison.notes:
        Console().warning(note)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(comparison)))
    else:
        terminal.print_comparison(comparison)


def _measure(request: Any, scale: int | None, output: Path, console: Console, *, as_json: bool) -> int:
    """Measure, write and print. Returns the exit code."""
    from tfs_rt.models.bundle import load_bundle
    from tfs_rt.output.results import prepare_output

    plan = import_extra("tfs_rt_bench.latency.plan", extras=EXTRAS)
    reading = import_extra("tfs_rt_bench.latency.cases", extras=EXTRAS)
    running = import_extra("tfs_rt_bench.latency.run", extras=EXTRAS)

    # Plan the rows and read the cases.
    gpu = _gpu_name() if request.gpu else ""
    bundle = load_bundle(request.model)
    model_scale = bundle.manifest.model.scale
    check_model_scale(scale, request.model, model_scale)
    rows = plan.planned(request, bundle)
    cases, problems = reading.read_cases(request.sources, request.truth, model_scale, request.size)
    prepare_output(output)
    _report_cases(cases, problems, request.truth, console)

    # Measure.
    console.info(f"rows: {len(rows)}; rounds: {request.rounds}; cases: {len(cases.ids)}")
    command = shlex.join(["tfs-rt", *sys.argv[1:]])
    with console.progress("measuring", len(rows) * (request.rounds + 2), "jobs") as advance:
        measured = running.run(request, cases, command=command, gpu=gpu, advance=advance)
    for warning in measured.warnings:
        console.warning(warning)
    _write_bench(measured, output, console, as_json=as_json)
    named = {*request.backends, *request.against}
    missing = any(row.fault and row.backend in named for row in measured.rows)
    return 3 if problems or missing else 0


def _report_cases(cases: Any, problems: list[Any], truth: Path | None, console: Console) -> None:
    """Warn of cases that are left out, and of those without ground truth."""
    for problem in problems:
        console.warning(f"left out: {problem}")
    if truth is None:
        console.info("accuracy is n/a: no --ground-truth is given")
        return
    missing = sum(found is None for found in cases.truths)
    if missing:
        console.warning(f"no ground truth of {missing} of {len(cases.ids)} cases: accuracy is that of the others")


def _write_bench(measured: Any, output: Path, console: Console, *, as_json: bool) -> None:
    """Write bench.json and bench.html, and print the table or the JSON."""
    record = import_extra("tfs_rt_bench.latency.record", extras=EXTRAS)
    page = import_extra("tfs_rt_bench.latency_page.page", extras=EXTRAS)
    terminal = import_extra("tfs_rt_bench.latency.terminal", extras=EXTRAS)
    record.write_bench(output / "bench.json", measured)
    page.write_report(output / "bench.html", measured)
    if as_json:
        typer.echo((output / "bench.json").read_text(encoding="utf-8").rstrip())
    else:
        terminal.print_bench(measured)
    console.info(f"wrote {output / 'bench.json'} and bench.html")


def _check_no_options(context: typer.Context) -> None:
    """UsageError for an option before `compare`: it would mean nothing there."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            reason = "is an option of measuring, not of comparing"
            raise UsageError(f"--{name.replace('_', '-')}", reason, "write: bench compare A.json B.json")


def _gpu_name() -> str:
    """The first GPU's name; EnvironmentFault if there is none."""
    from tfs_rt.doctor.ask import ask

    answer = ask(("gpus",))
    if answer.found is None:
        raise EnvironmentFault("--gpu", answer.reason, answer.remedy or "tfs-rt doctor tells what runs here")
    if not answer.found["gpus"]:
        remedy = "see what nvidia-smi lists, and CUDA_VISIBLE_DEVICES"
        raise EnvironmentFault("--gpu", "the driver finds no GPU", remedy)
    return answer.found["gpus"][0]["name"]
