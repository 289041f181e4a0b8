"""`tfs-rt fuse`."""

from __future__ import annotations

import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfs_rt.cli.lazy import workshop
from tfs_rt.cli.sizes import height_and_width
from tfs_rt.cli.talk import Talk
from tfs_rt.errors import UsageError

if TYPE_CHECKING:
    from tfs_rt.cases import Case
    from tfs_rt.fuser import Fuser

SCALES = (2, 4, 8)


class Backend(StrEnum):
    """Where the network runs."""

    auto = "auto"
    ort_cpu = "ort-cpu"
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


class Method(StrEnum):
    """A classical fusion, after bicubic upsampling."""

    bitonicx = "bitonicx"
    ctsr = "ctsr"


PathOption = Annotated[Path | None, typer.Option(help="One case by its files: all three together.")]


def fuse(  # noqa: PLR0913 - one parameter an option
    cases: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of cases, nnU-Net folders, or CSV files (id,m1,m2,functional).", show_default=False
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
    backend: Annotated[Backend | None, typer.Option(help="auto takes the CPU. (default: auto)")] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--overwrite", help="Keep what OUTPUT holds already, or fuse all cases anew.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each case.")] = False,
) -> None:
    """Fuse cases into OUTPUT/<case>.png, each with a sidecar <case>.json, and write OUTPUT/report.json.

    Exit codes: 0 all done, 2 usage, 3 some cases failed, 4 none succeeded or found, 5 model refused, 6 environment.
    """
    from tfs_rt.cases import REPORT, discover
    from tfs_rt.results import prepare_output
    from tfs_rt.run import Options, Run

    talk = Talk(quiet=quiet, verbose=verbose)
    recipe = {"--steps": steps, "--sampler": sampler, "--eta": eta, "--spacing": spacing}
    if method:
        check_scale_value(scale, (1, *SCALES))
        _check_no_model_options({**recipe, "--model": model, "--seed": seed, "--backend": backend}, method)
    else:
        check_scale_value(scale)
    size = _target_size(target_size)
    given = _given(m1, m2, functional, case_id)
    found = discover(cases or [], output=output, given=given, any_pair=method is not None)
    if not found:
        raise UsageError("CASES", "nothing to fuse", "give a folder of cases, a CSV, or --m1 --m2 --functional")
    if method:
        fuser, how = _two_stage(method, scale or 4, size)
    else:
        fuser, how = _pipeline(model, scale, recipe, backend or Backend.auto, batch)
    prepare_output(output)
    talk.say(f"cases: {len(found)}; {how}")
    seed = None if method else seed or 0
    options = Options(output, seed, batch, size, sheet=sheet, resume=resume)
    with talk.progress("fusing", len(found) * fuser.steps, "steps") as advance:
        report = Run(fuser, options, found, on_result=talk.result, on_step=advance).fuse()
    already = f", {report.kept} of them already" if report.kept else ""
    talk.say(f"{report.done} of {len(report.results)} cases fused into {output}{already}")
    if as_json:
        typer.echo(json.dumps(json.loads((output / REPORT).read_text(encoding="utf-8"))))
    raise typer.Exit(report.exit_code)


def check_scale_value(scale: int | None, allowed: tuple[int, ...] = SCALES) -> None:
    """Only the paper's scales exist; a method that needs no model also fuses at scale 1."""
    if scale is not None and scale not in allowed:
        plain = "; --method bitonicx --scale 1 is plain fusion" if scale == 1 else ""
        remedy = f"choose {', '.join(map(str, allowed[:-1]))} or {allowed[-1]}{plain}"
        raise UsageError("--scale", f"{scale} is not a scale", remedy)


def _check_no_model_options(options: dict[str, Any], method: Method) -> None:
    for option, value in options.items():
        if value is not None:
            raise UsageError(option, f"says how a model runs, and --method {method} has none", "leave one of them out")


def _two_stage(method: Method, scale: int, size: tuple[int, int] | None) -> tuple[Fuser, str]:
    """The classical method, and what to say of it."""
    fuser = workshop("tfs_rt_reference.fusion.two_stage", extras="fusion").TwoStage(method.value, scale)
    to = f" to {size[1]}x{size[0]}" if size else f" x{scale}"
    return fuser, f"method: {method}" + (f", after bicubic{to}" if size or scale > 1 else "")


def _pipeline(
    model: str | None, scale: int | None, recipe: dict[str, Any], backend: Backend, batch: int
) -> tuple[Fuser, str]:
    """The model's pipeline, and what to say of it."""
    from tfs_rt.pipeline import load_pipeline

    name = model or f"tfs-rt/x{scale or 4}"
    changes = {key.strip("-"): getattr(value, "value", value) for key, value in recipe.items() if value is not None}
    chosen = "ort-cpu" if backend is Backend.auto else backend.value
    pipeline = load_pipeline(name, backend=chosen, recipe=lambda own: dataclasses.replace(own, **changes))
    if scale is not None and scale != pipeline.scale:
        reason = f"{scale} asked, but {name} is a model for x{pipeline.scale}"
        raise UsageError("--scale", reason, "leave one of the two options out")
    if batch > (most := pipeline.loop.largest_batch):
        remedy = f"tfs-rt build {name} --engine {chosen} --batch {batch}"
        raise UsageError("--batch", f"{batch} at once are more than its engines take ({most})", remedy)
    own = pipeline.recipe
    if "eta" in changes and own.sampler != "ddim":
        raise UsageError("--eta", f"{own.sampler} has no eta", "leave it out, or choose --sampler ddim")
    return pipeline, f"model: {name}; sampler: {own.sampler}, {own.steps} steps; backend: {chosen}"


def _given(m1: Path | None, m2: Path | None, functional: Path | None, case_id: str | None) -> list[Case]:
    from tfs_rt.cases import single

    if m1 and m2 and functional:
        return [single(m1, m2, functional, case_id)]
    if m1 or m2 or functional or case_id:
        raise UsageError("--m1 --m2 --functional", "only some of the three are given", "give all three")
    return []


def _target_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    size = height_and_width(text)
    if size is None or size[0] * size[1] > 4096 * 4096:
        raise UsageError(
            "--target-size", f"{text!r} is no size", "write 256 or 320x256 (width x height), up to 4096x4096"
        )
    return size
