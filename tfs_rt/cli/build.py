"""`tfs-rt build`."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from tfs_rt.backends.trt.flavour import Flavour
from tfs_rt.cli.console import Console
from tfs_rt.cli.help import ENGINE, default, examples
from tfs_rt.cli.options import AsJson, Quiet
from tfs_rt.cli.parsers import LARGEST_SIDE, comma_list, height_and_width, listed, one_of, whole_number
from tfs_rt.errors import UsageError

if TYPE_CHECKING:
    from tfs_rt.backends.trt.build import Profile
    from tfs_rt.backends.trt.engine_store import Gpu
    from tfs_rt.models.bundle import Bundle

ENGINES: tuple[Flavour, ...] = get_args(Flavour)
HEAVY_LAYERS = ("CONVOLUTION", "MATRIX_MULTIPLY", "NORMALIZATION", "SOFTMAX")  # shown after a build
EXAMPLES = examples(
    ("For any GeForce or RTX GPU; needs no GPU", "tfs-rt build tfs-rt/x4 --engine tensorrt-rtx --batch 4"),
    (
        "For this machine's GPU, 128 to 512 pixels",
        "tfs-rt build tfs-rt/x4 --engine tensorrt --size 128-512",
    ),
)

ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A bundle's folder, or a shipped model.", show_default=False)
]
EngineName = Annotated[
    Flavour,
    typer.Option(
        "--engine",
        parser=one_of(ENGINES),
        metavar="NAME",
        help=f"{listed(ENGINES)}. tensorrt: for the GPU of this machine. tensorrt-rtx: for GeForce and RTX GPUs,"
        " built without one.",
        rich_help_panel=ENGINE,
    ),
]
Capability = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Compute capabilities to build for, as in 8.6,8.9,12.0; tensorrt-rtx only."
        + default("all that it supports"),
        rich_help_panel=ENGINE,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Size of results: 256, 320x256 (width x height), or a range 128-512." + default("that of training"),
        rich_help_panel=ENGINE,
    ),
]
LargestBatch = Annotated[
    int, typer.Option(parser=whole_number(1, 256), metavar="N", help="Largest batch.", rich_help_panel=ENGINE)
]


def build(
    model: ModelName,
    *,
    engine: EngineName,
    compute_capability: Capability = None,
    size: Size = None,
    batch: LargestBatch = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Build a TensorRT engine of a model, in FP16. tfs-rt fuse --backend finds it in the cache.

    Exit codes: 0 done, 2 wrong usage, 5 model refused, 6 environment.
    """
    from tfs_rt.models.bundle import load_bundle

    console = Console(quiet=quiet)
    facts = build_for(load_bundle(model), console, engine, compute_capability, size=size, batch=batch)
    if as_json:
        typer.echo(json.dumps(facts))


def build_for(
    bundle: Bundle,
    console: Console,
    engine: Flavour,
    compute_capability: str | None,
    *,
    size: str | None = None,
    batch: int = 1,
) -> dict[str, object]:
    """Build an engine of a bundle, unless the cache has it already. Returns its facts."""
    from tfs_rt.backends.cache import open_cache
    from tfs_rt.backends.trt.engine_store import BuildRequest, build_engine

    # Build.
    model = bundle.manifest.model
    profile = _parse_profile(size, batch, model.trained_size, model.architecture.stride)
    capabilities = _parse_capabilities(compute_capability)
    order = BuildRequest(bundle=bundle, flavour=engine, profile=profile, capabilities=capabilities)
    console.info(f"building {bundle.manifest.name} for {engine}")
    with console.status("building") as on_step:
        entry, is_new = build_engine(order, open_cache(), gpu=_gpu, on_step=on_step)

    # Report.
    layers = [
        f"{count} {layer.lower()}" for layer, count in entry.notes["layers"].items() if layer.split()[0] in HEAVY_LAYERS
    ]
    console.info(f"layers: {', '.join(layers)}")
    origin = f"built in {entry.notes['seconds']} s{_peak_memory()}" if is_new else "there already"
    console.info(f"{origin}: {entry.path} ({entry.size / 1e6:.1f} MB)")
    return {"path": str(entry.path), "built": is_new, "bytes": entry.size, **entry.facts, **entry.notes}


def check_engine(engine: Flavour, compute_capability: str | None) -> None:
    """Before long work: raise the error that building an engine after it would raise."""
    from tfs_rt.backends.trt.flavour import check_capabilities, load_flavour

    check_capabilities(load_flavour(engine), list(_parse_capabilities(compute_capability)))


def _peak_memory() -> str:
    """The largest memory of this process, where the system counts it."""
    if sys.platform == "win32":
        return ""
    import resource

    return f", {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB at most"


def _gpu() -> Gpu:
    from tfs_rt.backends.gpu.cuda_device import CudaDevice
    from tfs_rt.backends.trt.engine_store import describe_gpu

    return describe_gpu(CudaDevice())


def _parse_capabilities(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    capabilities = comma_list(text)
    for capability in capabilities:
        if not re.fullmatch(r"\d{1,2}\.\d", capability):
            reason = f"{capability!r} is not a compute capability"
            raise UsageError("--compute-capability", reason, "write them as in 8.6,8.9,12.0")
    return tuple(dict.fromkeys(capabilities))


def _parse_profile(text: str | None, batch: int, trained_size: int, stride: int) -> Profile:
    """The range of sizes of `--size`, rounded up to multiples of the model's stride."""
    from tfs_rt.backends.trt.build import Profile

    text = str(trained_size) if text is None else text
    ends = [_parse_size(part, text, stride) for part in text.split("-", 1)]
    low = ends[0]
    high = ends[-1]
    if low[0] > high[0] or low[1] > high[1]:
        raise UsageError("--size", f"{text!r} ends below its beginning", "write the smaller size first")
    return Profile(batch=batch, low=low, high=high)


def _parse_size(part: str, text: str, stride: int) -> tuple[int, int]:
    """(H, W) of an end of a range, rounded up to multiples of the stride."""
    size = height_and_width(part)
    if size is None or max(size) > LARGEST_SIDE:
        raise UsageError("--size", f"{text!r} is not a size", "write 256, 320x256 (width x height) or 128-512")
    height, width = (-(-side // stride) * stride for side in size)
    return height, width
