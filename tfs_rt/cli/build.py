"""`tfs-rt build`."""

from __future__ import annotations

import json
import re
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tfs_rt.cli.console import Talk
from tfs_rt.cli.sizes import height_and_width
from tfs_rt.errors import UsageError

if TYPE_CHECKING:
    from tfs_rt.backends.trt.build import Profile
    from tfs_rt.backends.trt.engine_store import Gpu
    from tfs_rt.models.bundle import Bundle


class Engine(StrEnum):
    """What an engine is built by and for."""

    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"


EngineOption = Annotated[
    Engine,
    typer.Option("--engine", help="tensorrt: for the GPU at hand. tensorrt-rtx: for GeForce and RTX, no GPU needed."),
]
CapabilityOption = Annotated[
    str | None, typer.Option(help="tensorrt-rtx: compile for these, as in 8.6,8.9,12.0. (default: all that it knows)")
]
SizeOption = Annotated[
    str | None,
    typer.Option(help="Of results: 256, 320x256 (width x height), or a range 128-512. (default: the training's)"),
]
BatchOption = Annotated[int, typer.Option(min=1, max=256, help="Largest batch.")]


def build(
    model: Annotated[str, typer.Argument(help="A bundle's folder or a shipped name.")],
    *,
    engine: EngineOption,
    compute_capability: CapabilityOption = None,
    size: SizeOption = None,
    batch: BatchOption = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was built on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
) -> None:
    """Compile a bundle into a TensorRT FP16 engine, into the cache where `fuse --backend` finds it."""
    from tfs_rt.models.bundle import load_bundle

    facts = build_for(load_bundle(model), Talk(quiet=quiet), engine, compute_capability, size=size, batch=batch)
    if as_json:
        typer.echo(json.dumps(facts))


def build_for(
    bundle: Bundle,
    talk: Talk,
    engine: Engine,
    compute_capability: str | None,
    *,
    size: str | None = None,
    batch: int = 1,
) -> dict[str, object]:
    """Build an engine of a bundle and say what came of it."""
    from tfs_rt.backends.cache import open_cache
    from tfs_rt.backends.trt.engine_store import Order, build_engine

    profile = _profile(size, batch, bundle.manifest.model.trained_size, bundle.manifest.model.architecture.stride)
    order = Order(bundle=bundle, flavour=engine.value, profile=profile, capabilities=_capabilities(compute_capability))
    talk.say(f"building {bundle.manifest.name} for {engine}")
    with talk.status("building") as on_step:
        entry, now = build_engine(order, open_cache(), gpu=_gpu, on_step=on_step)
    layers = ", ".join(f"{count} {layer.lower()}" for layer, count in entry.notes["layers"].items() if _weighty(layer))
    talk.say(f"layers: {layers}")
    made = f"built in {entry.notes['seconds']} s{_memory()}" if now else "there already"
    talk.say(f"{made}: {entry.path} ({entry.size / 1e6:.1f} MB)")
    return {"path": str(entry.path), "built": now, "bytes": entry.size, **entry.facts, **entry.notes}


def check_engine(engine: Engine, compute_capability: str | None) -> None:
    """Find out before long work whether an engine could be built after it."""
    from tfs_rt.backends.trt.flavour import check_capabilities, load_flavour

    check_capabilities(load_flavour(engine.value), list(_capabilities(compute_capability)))


def _weighty(layer: str) -> bool:
    return layer.split()[0] in ("CONVOLUTION", "MATRIX_MULTIPLY", "NORMALIZATION", "SOFTMAX")


def _memory() -> str:
    """The most memory that this process took, where the system counts it."""
    if sys.platform == "win32":
        return ""
    import resource

    return f", {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB at most"


def _gpu() -> Gpu:
    from tfs_rt.backends.gpu.cuda_device import CudaDevice
    from tfs_rt.backends.trt.engine_store import gpu_of

    return gpu_of(CudaDevice())


def _capabilities(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    asked = tuple(part.strip() for part in text.split(","))
    for part in asked:
        if not re.fullmatch(r"\d{1,2}\.\d", part):
            raise UsageError("--compute-capability", f"{part!r} is none", "write them as in 8.6,8.9,12.0")
    return tuple(dict.fromkeys(asked))


def _profile(text: str | None, batch: int, trained: int, stride: int) -> Profile:
    from tfs_rt.backends.trt.build import Profile

    text = str(trained) if text is None else text
    sides = [_sides(part, text) for part in text.split("-", 1)]
    sides = [sides[0], sides[-1]]
    (h, w), (height, width) = [tuple(-(-side // stride) * stride for side in pair) for pair in sides]
    if h > height or w > width:
        raise UsageError("--size", f"{text!r} ends below its beginning", "write the smaller size first")
    return Profile(batch=batch, low=(h, w), high=(height, width))


def _sides(part: str, text: str) -> tuple[int, int]:
    size = height_and_width(part)
    if size is None or max(size) > 4096:
        raise UsageError("--size", f"{text!r} is no size", "write 256, 320x256 (width x height) or 128-512")
    return size
