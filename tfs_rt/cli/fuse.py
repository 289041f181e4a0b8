"""`tfs-rt fuse`."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfs_rt.cli import options as choices
from tfs_rt.cli.console import Talk
from tfs_rt.cli.extras import workshop
from tfs_rt.cli.options import SCALES, check_scale_value
from tfs_rt.errors import UsageError
from tfs_rt.system.threads import limit_libraries, thread_count, try_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfs_rt.batch.run import Options
    from tfs_rt.batch.shards import Shard
    from tfs_rt.cases.case import Case, Found
    from tfs_rt.formats.sandboxed import SandboxedReader
    from tfs_rt.methods.method import Fuser
    from tfs_rt.spec import Tier


class Backend(StrEnum):
    """Where the network runs."""

    auto = "auto"
    ort_cpu = "ort-cpu"
    winograd = "winograd"
    openvino = "openvino"
    openvino_bf16 = "openvino-bf16"
    ort_cuda = "ort-cuda"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"
    torch = "torch"


class Sampler(StrEnum):
    """The reverse diffusion's method."""

    ddim = "ddim"
    ddpm = "ddpm"
    dpmpp_2m = "dpmpp-2m"


class Spacing(StrEnum):
    """How steps are laid over the noise levels."""

    t = "t"
    log_snr = "log-snr"


class Colormap(StrEnum):
    """Pseudo-colour for a functional image that has none."""

    atlas_pet = "atlas-pet"
    atlas_spect = "atlas-spect"
    hot = "hot"
    hot_iron = "hot-iron"


class Quality(StrEnum):
    """A tier of `tfs-rt tune`."""

    fast = "fast"
    balanced = "balanced"
    best = "best"


class Method(StrEnum):
    """A classical fusion, after bicubic upsampling."""

    bitonicx = "bitonicx"
    ctsr = "ctsr"


PathOption = Annotated[Path | None, typer.Option(help="One case by its files: all three together.")]


def fuse(  # noqa: PLR0913 - one parameter an option
    cases: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of cases, nnU-Net folders, BIDS datasets, or CSV files (id,m1,m2,functional).",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    m1: PathOption = None,
    m2: PathOption = None,
    functional: PathOption = None,
    case_id: Annotated[str | None, typer.Option("--id", help="That case's id (default: from its path).")] = None,
    scale: Annotated[
        int | None, typer.Option(help="2, 4 or 8; with --method also 1, for inputs of full resolution. (default: 4)")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A bundle's folder or a shipped name. (default: tfs-rt/x4)")] = None,
    method: Annotated[
        Method | None, typer.Option(help="No model, but a classical method after bicubic upsampling.")
    ] = None,
    quality: Annotated[
        Quality | None,
        typer.Option(help="The recipe and samples that tfs-rt tune chose: balanced gives PSNR for sharpness."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Network calls per image (default: the model's).")
    ] = None,
    sampler: Annotated[Sampler | None, typer.Option(help="How noise is removed (default: the model's).")] = None,
    eta: Annotated[float | None, typer.Option(min=0, max=1, help="ddim: 0 deterministic, 1 ancestral.")] = None,
    spacing: Annotated[
        Spacing | None, typer.Option(help="t starts from pure noise at t = T; log-snr is truncated.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Noise is keyed by seed and case id. (default: 0)")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Cases per network call; on a CPU it never changes a pixel.")] = 1,
    target_size: Annotated[
        str | None, typer.Option(help="Result size, N or WIDTHxHEIGHT, for inputs that are upsampled already.")
    ] = None,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Write contact sheets: the sources beside the result.")
    ] = False,
    backend: Annotated[
        Backend | None, typer.Option(help="auto: the fastest that runs on the CPU in float32. (default: auto)")
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(help="LOW:HIGH, or m1=LOW:HIGH: what becomes black and white of more than 8 bits (HU, SUV ...)."),
    ] = None,
    colormap: Annotated[
        Colormap | None, typer.Option(help="Of a functional image without colour. (DICOM, NIfTI: the training images')")
    ] = None,
    allow_lossy: Annotated[bool, typer.Option("--allow-lossy", help="Read JPEG and lossy DICOM too.")] = False,
    samples: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Results are means of so many samples, with a map of their spread. (1)"),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="What looks wrong fails a case, instead of earning a warning.")
    ] = False,
    shard: Annotated[str | None, typer.Option(help="I/N: this machine's part of the cases; or auto (Slurm).")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes that share the cases.")] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Threads on the CPU, shared by the workers. (TFS_RT_THREADS, or one a processor that may be used)",
        ),
    ] = None,
    devices: Annotated[str | None, typer.Option(help="GPUs by number, as in 0,1: a process for each.")] = None,
    require_sandbox: Annotated[
        bool, typer.Option("--require-sandbox", help="Refuse to run where a part of the sandbox is missing.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--overwrite", help="Keep what OUTPUT holds already, or fuse all cases anew.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each case.")] = False,
) -> None:
    """Fuse cases into OUTPUT/<case>.png (.dcm, .nii.gz), each with a sidecar <case>.json, and write OUTPUT/report.json.

    Exit codes: 0 all done, 2 usage, 3 some cases failed, 4 none succeeded or found, 5 model refused, 6 environment.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    recipe = {"--steps": steps, "--sampler": sampler, "--eta": eta, "--spacing": spacing}
    check_scale_value(scale, (1, *SCALES) if method else SCALES)
    if method:
        none = {"--model": model, "--quality": quality, "--seed": seed, "--backend": backend}
        _check_no_model_options({**recipe, **none, "--samples": None if samples == 1 else samples}, method)
    name = model or f"tfs-rt/x{scale or 4}"
    tier = _tier(name, quality, {**recipe, "--samples": samples}) if quality else None
    shards, listed = choices.shards(shard, workers, devices, os.environ)
    in_workers = len(shards) > 1 or bool(listed)
    _check_company(shards, listed, backend, sheet=sheet, threads=threads)
    if not in_workers:  # each worker limits its own
        limit_libraries(threads)
    try_threads(threads)
    size, drawn = choices.target_size(target_size), None if method else seed or 0
    asked = {"seed": drawn, "samples": tier.samples if tier else samples or 1, "target_size": size}
    reading = choices.windows(window or []) | {"colormap": colormap, "allow_lossy": allow_lossy}
    given = choices.case_given(m1, m2, functional, case_id)
    found = _discovered(cases or [], given, output, any_pair=method is not None)
    if in_workers:
        from tfs_rt.formats.sandboxed import SandboxedReader

        with SandboxedReader() as reader:
            _check_sandbox(reader, talk, required=require_sandbox)
        exit_code = _in_workers(shards, listed, found, output, talk, thread_count(threads))
    else:
        from tfs_rt.batch.record import Reading, Request
        from tfs_rt.batch.run import Options
        from tfs_rt.batch.workers import TOKEN

        def make() -> tuple[Fuser, str]:
            if method:
                return _two_stage(method, scale or 4, size)
            return _pipeline(name, scale, tier or recipe, backend or Backend.auto, batch, threads)

        own, token = shards[0] if shards else None, os.environ.get(TOKEN, "")
        request = Request(**asked, reading=Reading(**reading))
        options = Options(
            output,
            request,
            batch,
            sheet=sheet,
            strict=strict,
            shard=own,
            token=token,
            resume=resume,
        )
        exit_code = _here(make, options, found, talk, require_sandbox=require_sandbox)
    if as_json:
        typer.echo(json.dumps(json.loads((output / "report.json").read_text(encoding="utf-8"))))
    raise typer.Exit(exit_code)


def _discovered(cases: list[Path], given: list[Case], output: Path, *, any_pair: bool) -> list[Found]:
    from tfs_rt.cases.discover import discover

    found = discover(cases, output=output, given=given, any_pair=any_pair)
    if not found:
        raise UsageError("CASES", "nothing to fuse", "give a folder of cases, a CSV, or --m1 --m2 --functional")
    return found


def _here(
    make: Callable[[], tuple[Fuser, str]],
    options: Options,
    found: list[Found],
    talk: Talk,
    *,
    require_sandbox: bool,
) -> int:
    """Fuse in this process; the exit code."""
    from tfs_rt.batch.run import Run
    from tfs_rt.batch.workers import keep_to_parent
    from tfs_rt.formats.sandboxed import SandboxedReader
    from tfs_rt.output.results import prepare_output

    keep_to_parent(os.environ)
    own = sum(options.shard is None or options.shard.holds(case.id) for case in found)
    part = f" of {len(found)}, shard {options.shard}" if options.shard else ""
    with SandboxedReader() as reader:
        reader.start()  # while the model is loaded
        fuser, how = make()
        _check_sandbox(reader, talk, required=require_sandbox)
        prepare_output(options.output)
        _warn_of_locks(options.output, talk)
        talk.say(f"cases: {own}{part}; {how}")
        with talk.progress("fusing", own * fuser.steps, "steps") as advance:
            report = Run(fuser, options, found, reader, on_result=talk.result, on_step=advance).fuse()
    _say_done(talk, options.output, report.done, report.kept, len(report.results))
    return report.exit_code


def _check_sandbox(reader: SandboxedReader, talk: Talk, *, required: bool) -> None:
    """Say once which parts of the sandbox are missing here; refuse if all are required."""
    sandbox = reader.sandbox_parts()
    if required:
        sandbox.check_complete()
    if sandbox.warning:
        talk.warn(sandbox.warning)


def _in_workers(
    shards: list[Shard], devices: list[str], found: list[Found], output: Path, talk: Talk, threads: int
) -> int:
    """Fuse in a process for each shard, with its part of the threads; the exit code."""
    from tfs_rt.batch.progress import Progress
    from tfs_rt.batch.report import read_report
    from tfs_rt.batch.shards import owner
    from tfs_rt.batch.workers import run_workers
    from tfs_rt.output.results import prepare_output

    prepare_output(output)
    _warn_of_locks(output, talk)
    mine, count = {shard.index for shard in shards}, shards[0].count
    own = sum(owner(case.id, count) in mine for case in found)
    talk.say(f"cases: {own}; {len(shards)} processes" + (f" on the devices {', '.join(devices)}" if devices else ""))
    arguments = choices.without(
        sys.argv[sys.argv.index("fuse") + 1 :], ("--shard", "--workers", "--devices", "--threads")
    )
    token = secrets.token_hex(8)
    with talk.progress("fusing", own, "cases") as advance:
        progress = Progress(output, shards)

        def watch() -> None:
            before = progress.through
            advance(progress.update() - before)

        fault = run_workers(
            arguments, shards, token=token, devices=devices, threads=threads, say=talk.pass_on, watch=watch
        )
    if fault:
        raise typer.Exit(fault)
    report = read_report(output, shards, token, own)
    for result in report.results.in_order():
        if result["status"] != "failed":  # which its worker has said
            talk.result(result)
    _say_done(talk, output, report.done, report.kept, len(report.results))
    return report.exit_code


def _warn_of_locks(output: Path, talk: Talk) -> None:
    """Say what is not promised of an output folder on a file system without locks."""
    from tfs_rt.system.locks import NO_FLOCK, has_flock

    if not has_flock(output):
        talk.warn(f"{output}: {NO_FLOCK}")


def _say_done(talk: Talk, output: Path, done: int, kept: int, through: int) -> None:
    already = f", {kept} of them already" if kept else ""
    talk.say(f"{done} of {through} cases fused into {output}{already}")


def _check_company(
    shards: list[Shard], devices: list[str], backend: Backend | None, *, sheet: bool, threads: int | None
) -> None:
    if shards and sheet:
        raise UsageError("--sheet", "its rows come from one process", "leave out --shard, --workers and --devices")
    if devices and backend not in (Backend.ort_cuda, Backend.tensorrt, Backend.tensorrt_rtx):
        raise UsageError("--devices", "these are GPUs", "choose a --backend that runs on one, or give --workers")
    if devices and threads:
        raise UsageError("--threads", f"{backend} computes on a GPU", "leave it out")


def _check_no_model_options(options: dict[str, Any], method: Method) -> None:
    for option, value in options.items():
        if value is not None:
            raise UsageError(option, f"says how a model runs, and --method {method} has none", "leave one of them out")


def _two_stage(method: Method, scale: int, size: tuple[int, int] | None) -> tuple[Fuser, str]:
    """The classical method, and what to say of it."""
    fuser = workshop("tfs_rt.methods.two_stage", extras="fusion").TwoStage(method.value, scale)
    to = f" to {size[1]}x{size[0]}" if size else f" x{scale}"
    upsampled = f", after bicubic{to}" if size or scale > 1 else ""
    return fuser, f"method: {method}{upsampled}" + (f"; {fuser.notice}" if fuser.notice else "")


def _tier(model: str, quality: Quality, options: dict[str, Any]) -> Tier:
    """The tier of a model for a quality, which none of these options may decide too."""
    from tfs_rt.models.bundle import load_bundle

    if given := [option for option, value in options.items() if value is not None]:
        raise UsageError(given[0], f"--quality {quality} decides it", "leave one of the two options out")
    return load_bundle(model).tier(quality)


def _pipeline(
    name: str, scale: int | None, recipe: Tier | dict[str, Any], backend: Backend, batch: int, threads: int | None
) -> tuple[Fuser, str]:
    """The model's pipeline, and what to say of it."""
    from tfs_rt.methods.diffusion import load_pipeline

    options = recipe if isinstance(recipe, dict) else {}
    changes = {key.strip("-"): getattr(value, "value", value) for key, value in options.items() if value is not None}
    tiered = None if isinstance(recipe, dict) else recipe.recipe
    pipeline = load_pipeline(
        name, backend=backend.value, recipe=lambda own: tiered or dataclasses.replace(own, **changes), threads=threads
    )
    if scale is not None and scale != pipeline.scale:
        reason = f"{scale} asked, but {name} is a model for x{pipeline.scale}"
        raise UsageError("--scale", reason, "leave one of the two options out")
    if batch > (most := pipeline.loop.largest_batch):
        remedy = f"tfs-rt build {name} --engine {pipeline.backend} --batch {batch}"
        raise UsageError("--batch", f"{batch} at once are more than its engines take ({most})", remedy)
    own = pipeline.recipe
    if "eta" in changes and own.sampler != "ddim":
        raise UsageError("--eta", f"{own.sampler} has no eta", "leave it out, or choose --sampler ddim")
    reason = f" ({pipeline.reason})" if pipeline.reason else ""
    return pipeline, f"model: {name}; sampler: {own.sampler}, {own.steps} steps; backend: {pipeline.backend}{reason}"
