"""The fusion methods. The choices of `--method`, the options that go with each and the docs' table are made from this.

Add a method: one module in this folder, one entry here, and an extra in pyproject.toml if it needs packages.
The module of a classical method has a function `fuse(m1, m2, functional)`; `two_stage` upsamples its inputs.
The module of a method with a network has a loader, which takes a `MethodChoice` and returns a `FusionMethod`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from tfs_rt.errors import UsageError
from tfs_rt.optional import import_optional
from tfs_rt.spec import BundleKind

MODEL_OPTIONS = (
    *("--model", "--quality", "--backend", "--seed", "--samples"),
    *("--sampler", "--steps", "--eta", "--spacing"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodEntry:
    """A fusion method's entry: all that the rest of the program knows about it."""

    description: str
    module: str  # imported when the method is chosen, and not before
    loader: str = ""  # the module's function: (MethodChoice) -> FusionMethod; empty: `two_stage` calls its `fuse`
    bundle_kind: BundleKind | None = None  # the kind of model that it runs
    options: tuple[str, ...] = ()  # of `tfs-rt fuse`: those that not every method takes
    scales: tuple[int, ...] = (1, 2, 4, 8)  # at scale 1 the inputs have the result's size
    # It takes any two anatomical images, not only the pairs that a model was trained on.
    any_pair: bool = True
    extra: str = ""  # of `pip install 'tfs-rt[...]'`
    packages: tuple[str, ...] = ()  # that compute, beside NumPy and Pillow

    @property
    def needs_model(self) -> bool:
        """True if it runs a model from a bundle."""
        return self.bundle_kind is not None


METHODS = {
    "diffusion": MethodEntry(
        description="TFS-Diff, or another diffusion model from a bundle",
        module="tfs_rt.methods.diffusion",
        loader="load",
        bundle_kind="diffusion",
        options=MODEL_OPTIONS,
        scales=(2, 4, 8),
        any_pair=False,
    ),
    "bitonicx": MethodEntry(
        description="BitonicX (2023), classical: bitonic filters and spiking networks, after bicubic upsampling",
        module="tfs_rt.methods.bitonicx.fuse",
        extra="fusion",
        packages=("scipy", "numba"),
    ),
    "ctsr": MethodEntry(
        description="CTSR (2022), classical: structure and sparse codes, after bicubic upsampling",
        module="tfs_rt.methods.ctsr.fuse",
        extra="fusion",
        packages=("scipy", "numba"),
    ),
}
DEFAULT_METHOD = "diffusion"


def load_module(method: str) -> ModuleType:
    """A method's module; EnvironmentFault names the package that is missing and the extra that has it."""
    entry = METHODS[method]
    requirement = f"'tfs-rt[{entry.extra}]'" if entry.extra else "--force-reinstall tfs-rt"
    return import_optional(entry.module, f"method {method}", f"pip install {requirement}")


def check_options(method: str, options: Mapping[str, object]) -> None:
    """UsageError if an option that has a value does not go with the method."""
    for option, value in options.items():
        if value is not None and option not in METHODS[method].options:
            takers = [name for name, entry in METHODS.items() if option in entry.options]
            remedy = f"leave one of the two options out (--method {' or '.join(takers)} takes {option})"
            raise UsageError(option, f"--method {method} does not take this option", remedy)
