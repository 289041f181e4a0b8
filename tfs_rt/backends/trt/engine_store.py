"""A bundle's engines in the cache: build one, or find the compatible engine for a GPU, a batch and a size."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfs_rt.backends.cache import Cache, Entry
from tfs_rt.backends.gpu.device import Device
from tfs_rt.backends.trt.build import Profile, build
from tfs_rt.backends.trt.flavour import Flavour, capabilities, check_capabilities, load_flavour
from tfs_rt.errors import EnvironmentFault, InputError, ModelError
from tfs_rt.facts import Facts
from tfs_rt.models.bundle import Bundle
from tfs_rt.system import signals


@dataclass(frozen=True, slots=True)
class Gpu:
    """The facts of a GPU that an engine tuned on it depends on."""

    name: str
    capability: str  # "8.9"
    driver: str


def describe_gpu(device: Device) -> Gpu:
    """The facts of a device."""
    return Gpu(device.name, device.compute_capability, device.driver)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """The request for a build."""

    bundle: Bundle
    flavour: Flavour
    profile: Profile
    capabilities: tuple[str, ...] = ()  # tensorrt-rtx alone; none: all that it knows


def build_engine(
    order: BuildRequest, cache: Cache, *, gpu: Callable[[], Gpu], on_step: Callable[[str], None]
) -> tuple[Entry, bool]:
    """Build an engine into the cache, unless it is there; the entry, and True if it was built now.

    `gpu` is asked only if the flavour builds on one. Raises what `build` raises, and UsageError for a compute
    capability that the flavour does not know.
    """
    # Check that TensorRT knows the compute capabilities.
    trt = load_flavour(order.flavour)
    chosen = sorted(order.capabilities or capabilities(trt), key=float)
    check_capabilities(trt, chosen)
    # Check that the model has a half-precision graph.
    files = order.bundle.manifest.files
    if "fp16" not in files:
        remedy = "export it with --precision fp32,fp16"
        raise ModelError(order.bundle.path, "has no half-precision graph", remedy)
    # List all facts that make one engine differ from another.
    facts = {
        "model": {precision: file.sha256 for precision, file in files.items()},
        "flavour": order.flavour,
        "version": trt.__version__,
        "target": {"capabilities": chosen} if chosen else dataclasses.asdict(gpu()),
        "profile": order.profile.facts(),
    }
    made = []

    # Build, unless the cache has the engine.
    def make() -> tuple[bytes, Facts]:
        graph = order.bundle.half_graph()
        with signals.delay():  # TensorRT calls back into Python, and only prints exceptions from there
            built = build(trt, graph, order.profile, chosen, on_step=on_step)
        made.append(built)
        return built.plan, {"model": order.bundle.manifest.name, "layers": built.layers, "seconds": built.seconds}

    return cache.get_or_make("engine", facts, make), bool(made)


def find_engine(bundle: Bundle, flavour: Flavour, gpu: Gpu, cache: Cache, batch: int, size: tuple[int, int]) -> Entry:
    """The compatible engine for a batch of images (H, W) on a GPU. Of several, the one tuned for the least work.

    Raises EnvironmentFault if none runs on this GPU, InputError if some do, but not at this size. The remedy is the
    command that builds one.
    """
    trt = load_flavour(flavour)
    version = trt.__version__
    engines = [
        (entry, why_incompatible(entry, version, gpu, batch, size)) for entry in _engines(bundle, flavour, cache)
    ]
    if compatible := [entry for entry, reason in engines if not reason]:
        return min(compatible, key=_tuned_for)
    reasons = "; ".join(dict.fromkeys(reason for _, reason in engines))
    reason = f"none of its engines is compatible: {reasons}" if engines else "no engine of it was built"
    fault = EnvironmentFault if all(why_foreign(entry, version, gpu) for entry, _ in engines) else InputError
    raise fault(bundle.manifest.name, reason, _remedy(trt, bundle, flavour, gpu, batch, size))


def largest_batch(bundle: Bundle, flavour: Flavour, gpu: Gpu, cache: Cache) -> int:
    """The largest batch that an engine of a bundle takes on a GPU; EnvironmentFault if there is no engine for it."""
    version = load_flavour(flavour).__version__
    side = bundle.manifest.model.trained_size
    usable = [entry for entry in _engines(bundle, flavour, cache) if not why_foreign(entry, version, gpu)]
    if not usable:
        find_engine(bundle, flavour, gpu, cache, 1, (side, side))  # raises
    return max(entry.facts["profile"]["batch"] for entry in usable)


def why_incompatible(entry: Entry, version: str, gpu: Gpu, batch: int, size: tuple[int, int]) -> str:
    """The reason why an engine cannot be used; empty if it can."""
    if reason := why_foreign(entry, version, gpu):
        return reason
    profile = Profile.of(entry.facts["profile"])
    if profile.covers(batch, size):
        return ""
    return f"built for {profile.sizes()} in batches of up to {profile.batch}, asked for {size[1]}x{size[0]} in {batch}"


def why_foreign(entry: Entry, version: str, gpu: Gpu) -> str:
    """The reason why an engine cannot run on this machine, at any size; empty if it can."""
    facts = entry.facts
    target = facts["target"]
    if facts["version"] != version:
        return f"built by {facts['flavour']} {facts['version']}, {version} is installed"
    if "capabilities" in target and gpu.capability not in target["capabilities"]:
        return f"built for compute capability {', '.join(target['capabilities'])}, this GPU has {gpu.capability}"
    if "name" in target and target != dataclasses.asdict(gpu):
        return f"built on {target['name']} with driver {target['driver']}, this is {gpu.name} with {gpu.driver}"
    return ""


def _engines(bundle: Bundle, flavour: Flavour, cache: Cache) -> list[Entry]:
    model = {precision: file.sha256 for precision, file in bundle.manifest.files.items()}
    return [e for e in cache.entries("engine") if e.facts.get("model") == model and e.facts["flavour"] == flavour]


def _tuned_for(entry: Entry) -> tuple[int, int]:
    """An engine's place in the order of choice: the work it was tuned for, then the range of sizes; least first."""
    profile = entry.facts["profile"]
    (h, w), (height, width) = profile["low"], profile["high"]
    return height * width * profile["batch"], height * width - h * w


def _remedy(trt: Any, bundle: Bundle, flavour: Flavour, gpu: Gpu, batch: int, size: tuple[int, int]) -> str:
    """The command that builds the missing engine, if this flavour can build it."""
    if known := capabilities(trt):
        if gpu.capability not in known:
            return f"{flavour} compiles for {', '.join(known)}, not for {gpu.capability}: use tensorrt"
        flavour_for = f"{flavour} --compute-capability {gpu.capability}"
    else:
        flavour_for = flavour
    path = shlex.quote(str(bundle.path))
    return f"tfs-rt build {path} --engine {flavour_for} --size {size[1]}x{size[0]} --batch {batch}"
