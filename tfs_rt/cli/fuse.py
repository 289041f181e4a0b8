"""`tfs-rt fuse`."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tfs_rt.cli import align_options as align_option
from tfs_rt.cli import fuse_options as option
from tfs_rt.cli import reading_options as reading_option
from tfs_rt.cli.console import Console
from tfs_rt.cli.fuse_choice import check_choice, make_request, with_tier
from tfs_rt.cli.help import examples
from tfs_rt.cli.options import AsJson, Model, Quiet, Verbose
from tfs_rt.cli.reading import find_cases, parse_case, parse_reading, parse_target_size
from tfs_rt.cli.sharing import Sharing, check_sharing, drop_options, parse_sharing
from tfs_rt.methods.choice import Compute, MethodChoice, Sampling, load_method
from tfs_rt.methods.registry import DEFAULT_METHOD, METHODS
from tfs_rt.system.threads import limit_libraries, thread_count, try_threads

if TYPE_CHECKING:
    from tfs_rt.batch.progress import Progress
    from tfs_rt.batch.report import Report
    from tfs_rt.batch.request import Options
    from tfs_rt.cases.case import FoundCase
    from tfs_rt.formats.sandboxed import SandboxedReader

SHARING_OPTIONS = ("--shard", "--workers", "--devices", "--threads")
EXAMPLES = examples(
    ("Fuse all cases of a folder, with contact sheets", "tfs-rt fuse examples -o results --sheet"),
    ("Fuse one case by its files", "tfs-rt fuse --m1 ct.png --m2 t2.png --functional spect.png -o results"),
    ("Fuse three DICOM series, each a folder, that were not aligned", "tfs-rt fuse patient -o results --align"),
    ("Fuse a BIDS dataset with four processes", "tfs-rt fuse bids -o bids/derivatives/tfs-rt --workers 4"),
)


def fuse(  # noqa: PLR0913 - one parameter for each option
    cases: option.Cases = None,
    *,
    m1: option.M1 = None,
    m2: option.M2 = None,
    functional: option.Functional = None,
    case_id: option.CaseId = None,
    bids: option.Bids = None,
    target_size: option.TargetSize = None,
    plane: option.Plane = None,
    window: reading_option.Windows = None,
    colormap: reading_option.Colormap = None,
    nan: reading_option.Nan = None,
    series: reading_option.SeriesOption = None,
    same_frame: reading_option.SameFrame = False,
    allow_lossy: reading_option.AllowLossy = False,
    align: align_option.Align = False,
    onto: align_option.Onto = None,
    no_register: align_option.NoRegister = False,
    model: Model = None,
    scale: option.Scale = None,
    method: option.Method = DEFAULT_METHOD,
    quality: option.Quality = None,
    steps: option.Steps = None,
    sampler: option.Sampler = None,
    eta: option.Eta = None,
    spacing: option.StepSpacing = None,
    samples: option.Samples = None,
    seed: option.Seed = None,
    backend: option.Backend = None,
    output: option.Output,
    multi_frame: option.MultiFrame = False,
    sheet: option.Sheet = False,
    resume: option.Resume = True,
    batch: option.Batch = 1,
    workers: option.Workers = None,
    threads: option.Threads = None,
    devices: option.Devices = None,
    shard: option.ShardOption = None,
    strict: option.Strict = False,
    require_sandbox: option.RequireSandbox = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fuse cases of three images each: two anatomical (CT, MR) and one functional (PET, SPECT).

    Writes each result as OUTPUT/CASE.png (.dcm or .nii.gz for DICOM and NIfTI cases; for a DICOM volume, the folder
    OUTPUT/CASE with a series), its provenance as OUTPUT/CASE.json, and a summary of the run as OUTPUT/report.json.

    Exit codes: 0 all cases fused, 2 wrong usage, 3 some cases failed or most look wrong, 4 no case found or all failed,
    5 model refused, 6 environment.
    """
    console = Console(quiet=quiet, verbose=verbose)
    sampling = Sampling(steps=steps, sampler=sampler, eta=eta, spacing=spacing, samples=samples)
    compute = Compute(backend=backend, batch=batch, threads=threads)
    choice = MethodChoice(
        method=method, scale=scale, model=model, quality=quality, seed=seed, sampling=sampling, compute=compute
    )
    # Check all options before work begins.
    check_choice(choice)
    choice = with_tier(choice)
    sharing = parse_sharing(shard, workers, devices, os.environ)
    check_sharing(sharing, backend, threads, sheet=sheet)

    # Limit threads before numerical libraries are loaded. Each worker limits its own.
    if not sharing.in_workers:
        limit_libraries(threads)
    try_threads(threads)
    size = parse_target_size(target_size)
    reading = parse_reading(
        window or [], colormap, allow_lossy=allow_lossy, nan=nan, series=series or (), same_frame=same_frame
    )
    aligning = align_option.parse_fuse_align(
        onto, align=align, no_register=no_register, same_frame=same_frame, strict=strict
    )
    reading = dataclasses.replace(reading, align=aligning, plane=plane)
    single = parse_case(m1, m2, functional, case_id)
    found = find_cases(cases or [], single, output, any_pair=METHODS[method].any_pair, bids=bids or [])

    # Fuse in worker processes, or here.
    if sharing.in_workers:
        exit_code = _fuse_in_workers(
            sharing, found, output, console, threads=thread_count(threads), require_sandbox=require_sandbox
        )
    else:
        from tfs_rt.batch.request import Options
        from tfs_rt.batch.workers import TOKEN

        request = make_request(choice, size, reading, multi_frame=multi_frame)
        token = os.environ.get(TOKEN, "")
        options = Options(
            output, request, batch, sheet=sheet, strict=strict, shard=sharing.shard, token=token, resume=resume
        )
        exit_code = _fuse_here(choice, options, found, console, require_sandbox=require_sandbox)
    if as_json:
        typer.echo(json.dumps(json.loads((output / "report.json").read_text(encoding="utf-8"))))
    raise typer.Exit(exit_code)


def _fuse_here(
    choice: MethodChoice,
    options: Options,
    found: list[FoundCase],
    console: Console,
    *,
    require_sandbox: bool,
) -> int:
    """Fuse in this process. Returns the exit code."""
    from tfs_rt.batch.run import Run
    from tfs_rt.batch.workers import end_with_parent
    from tfs_rt.formats.sandboxed import SandboxedReader
    from tfs_rt.output.results import prepare_output

    end_with_parent(os.environ)
    with SandboxedReader() as reader:
        # The reader's process starts while the model is loaded.
        reader.start()
        fuser = load_method(choice)
        _report_sandbox(reader, console, required=require_sandbox)
        prepare_output(options.output)
        _warn_of_missing_locks(options.output, console)

        # Count the cases of this shard, for the progress bar.
        shard = options.shard
        own = sum(shard is None or shard.holds(case.id) for case in found)
        part = f" of {len(found)}, shard {shard}" if shard else ""
        description = fuser.describe(options.request.target_size)
        console.info(f"cases: {own}{part}; {description}")
        with console.progress("fusing", own * fuser.steps, "steps") as advance:
            report = Run(fuser, options, found, reader, on_result=console.result, on_step=advance).fuse()
    _report_end(console, options.output, report)
    return report.exit_code


def _fuse_in_workers(
    sharing: Sharing, found: list[FoundCase], output: Path, console: Console, *, threads: int, require_sandbox: bool
) -> int:
    """Fuse in one process for each shard, which share the threads. Returns the exit code."""
    from tfs_rt.batch.report import read_report
    from tfs_rt.batch.shards import shard_index
    from tfs_rt.formats.sandboxed import SandboxedReader
    from tfs_rt.output.results import prepare_output

    with SandboxedReader() as reader:
        _report_sandbox(reader, console, required=require_sandbox)
    prepare_output(output)
    _warn_of_missing_locks(output, console)

    # Count the cases of all these shards, for the progress bar.
    indices = {shard.index for shard in sharing.shards}
    count = sharing.shards[0].count
    own = sum(shard_index(case.id, count) in indices for case in found)
    devices = f" on the devices {', '.join(sharing.devices)}" if sharing.devices else ""
    console.info(f"cases: {own}; {len(sharing.shards)} processes{devices}")

    token = os.urandom(8).hex()
    with console.progress("fusing", own, "cases") as advance:
        fault = _run_workers(sharing, output, console, token=token, threads=threads, advance=advance)
    if fault:
        raise typer.Exit(fault)
    report = read_report(output, sharing.shards, token, own)

    # The workers' own messages have named the failed cases.
    for result in report.results.in_order():
        if result["status"] != "failed":
            console.result(result)
    _report_end(console, output, report)
    return report.exit_code


def _run_workers(
    sharing: Sharing, output: Path, console: Console, *, token: str, threads: int, advance: Callable[[float], None]
) -> int:
    """Run this command once for each shard, without the options that share. Returns a worker's exit code, or 0."""
    from tfs_rt.batch.progress import Progress
    from tfs_rt.batch.workers import run_workers

    arguments = drop_options(sys.argv[sys.argv.index("fuse") + 1 :], SHARING_OPTIONS)
    return run_workers(
        arguments,
        sharing.shards,
        token=token,
        devices=sharing.devices,
        threads=threads,
        on_line=console.relay,
        on_update=partial(_advance, Progress(output, sharing.shards), advance),
    )


def _advance(progress: Progress, advance: Callable[[float], None]) -> None:
    """Move the bar on by the cases that the workers have completed since the last call."""
    before = progress.finished
    advance(progress.update() - before)


def _report_sandbox(reader: SandboxedReader, console: Console, *, required: bool) -> None:
    """Warn of parts of the sandbox that are missing here; EnvironmentFault if all are required."""
    sandbox = reader.sandbox_parts()
    if required:
        sandbox.check_complete()
    if sandbox.warning:
        console.warning(sandbox.warning)


def _warn_of_missing_locks(output: Path, console: Console) -> None:
    """Warn if the output folder lies on a file system without locks."""
    from tfs_rt.system.locks import NO_FLOCK, has_flock

    if not has_flock(output):
        console.warning(f"{output}: {NO_FLOCK}")


def _report_end(console: Console, output: Path, report: Report) -> None:
    """Count the fused cases, and name the likely cause of a finding that most of them share."""
    if common := report.results.common_finding():
        console.warning(str(common))
    kept = f", {report.kept} of them already" if report.kept else ""
    console.info(f"{report.done} of {len(report.results)} cases fused into {output}{kept}")
