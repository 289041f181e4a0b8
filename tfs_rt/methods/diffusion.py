"""TFS-Diff from a bundle, on a backend: the default fusion method."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from tfs_rt.backends.registry import BACKENDS, automatic_backends, backend_loader, load_engine
from tfs_rt.errors import EnvironmentFault, InputError, LimitReached, ModelError, UsageError, first_line, printable
from tfs_rt.images import RGB
from tfs_rt.methods.choice import MethodChoice, check_model_scale
from tfs_rt.methods.method import BaseMethod, check_batch
from tfs_rt.models import self_test as selftest
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.output.provenance import AUTO
from tfs_rt.sampling.engine import ImageBatch, Loop
from tfs_rt.sampling.registry import SAMPLERS
from tfs_rt.sampling.schedule import Float64
from tfs_rt.sampling.stepwise import Stepwise
from tfs_rt.sampling.tables import StepTable, step_table
from tfs_rt.spec import Recipe
from tfs_rt.system.resource_limits import limit_fault, memory_fault
from tfs_rt.system.threads import MOST

REASON_LENGTH = 160  # characters of a backend's fault in `reason`

SELF_TEST_REMEDY = (
    "restore the bundle or export it anew; if other models fail too, check this machine's memory, driver and packages "
    "(tfs-rt doctor), or choose another --backend"
)


@dataclass(frozen=True, slots=True)
class Pipeline(BaseMethod):
    """A model on a backend, with a recipe: ready to fuse."""

    bundle: Bundle
    backend: str
    loop: Loop
    recipe: Recipe
    table: StepTable
    threads: int | None = None  # the argument of `load_pipeline`
    reason: str = ""  # why `auto` did not take its first choice
    name: str = ""  # of the model, as it was asked for

    def __reduce__(self) -> tuple[Callable[..., Pipeline], tuple[Any, ...]]:
        """Pickle the bundle's path and digest, and the arguments of `load_pipeline`, by which it is loaded again."""
        if self.backend not in BACKENDS:
            raise TypeError(
                f"a pipeline on {self.backend!r} cannot be pickled: load_pipeline does not know this backend"
            )
        path = self.bundle.path.absolute()
        return _unpickle, (path, self.bundle.digest, self.backend, self.recipe, self.threads, self.reason)

    @property
    def scale(self) -> int:
        """The factor from the inputs' size to the result's."""
        return self.bundle.manifest.model.scale

    @property
    def steps(self) -> int:
        """Network calls for a batch."""
        return self.recipe.steps

    @property
    def trained_size(self) -> int:
        """The side of the images that the model was trained on."""
        return self.bundle.manifest.model.trained_size

    def begin(self, batch: ImageBatch) -> Callable[[], list[RGB]]:
        """Begin a batch and return a function that waits for its images.

        On a GPU the batch is computed while the caller reads the next one and writes the last.
        At most two batches may be under way; their images are asked for in the order in which they began.
        Calls from several threads give their own results, one after the other; a forked process may call, too.
        """
        return self.loop.begin(self.table, check_batch(batch))

    def describe(self, size: tuple[int, int] | None) -> str:
        """Its model, sampler, steps and backend."""
        plural = "s" if self.recipe.steps > 1 else ""
        sampling = f"sampler: {self.recipe.sampler}, {self.recipe.steps} step{plural}"
        reason = f" ({self.reason})" if self.reason else ""
        return f"model: {self.name}; {sampling}; backend: {self.backend}{reason}"

    def self_test(self) -> None:
        """Fuse a fixed case; EnvironmentFault unless the result equals the reference's at export, within a tolerance.

        LimitReached if memory or threads do not suffice to compute it.
        """
        expected = np.asarray(self.bundle.manifest.self_test)
        if not expected.size:
            return
        try:
            error = np.abs(self.self_test_means() - expected).max()
        except EnvironmentFault:
            raise
        # There is no engine for the self-test's size. An engine that the cases need will be reported with them.
        except InputError:
            return
        except FloatingPointError:
            fault = "its self-test gives NaN or infinity"
        except Exception as unexpected:
            fault = _self_test_fault(unexpected)
        else:
            if error <= selftest.TOLERANCE:
                return
            fault = f"its self-test is {error:.3g} levels off, not {selftest.TOLERANCE:g} or less"
        cause = "the model is not what its manifest says, or this machine computes wrongly"
        raise EnvironmentFault(self.bundle.path, f"{fault} by {self.backend}: {cause}", SELF_TEST_REMEDY)

    def self_test_means(self) -> Float64:
        """Block means of the fixed case, fused with the model's own recipe of at most MOST_STEPS steps."""
        manifest = self.bundle.manifest
        steps = min(manifest.recipe.steps, selftest.MOST_STEPS)
        table = step_table(manifest.model, dataclasses.replace(manifest.recipe, steps=steps))
        case = selftest.synthetic_case(self.scale)
        batch = ImageBatch([case], [selftest.CASE_ID], size=(selftest.SIDE, selftest.SIDE), seed=selftest.SEED)
        (image,) = self.loop.begin(table, batch)()
        return selftest.block_means(image).ravel()

    def provenance(self) -> dict[str, Any]:
        """Model, recipe, backend and versions: all that can change pixels, beside inputs, size and seed.

        `auto`, if present, is only the reason why the backend is not the first choice.
        """
        manifest = self.bundle.manifest
        model = {"name": manifest.name, "scale": manifest.model.scale, "prediction": manifest.model.prediction}
        model |= {"manifest": self.bundle.digest, "checkpoint": manifest.source}
        model["files"] = {name: file.sha256 for name, file in manifest.files.items()}

        # Versions of the modules that are loaded: one module may come from several packages, as onnxruntime does.
        runtime = BACKENDS[self.backend].package
        versions = {name: sys.modules[name].__version__ for name in ("numpy", "PIL", runtime)}

        recipe = dataclasses.asdict(self.recipe)
        facts = {"model": model, "recipe": recipe, "backend": self.backend, **self.loop.facts, "versions": versions}
        return facts | ({AUTO: self.reason} if self.reason else {})


def _self_test_fault(error: Exception) -> str:
    """The message for an unexpected error of a self-test; LimitReached if it comes from a limit of this machine."""
    if limit := memory_fault() if isinstance(error, MemoryError) else limit_fault(error):
        raise limit from error
    return f"its self-test fails ({type(error).__name__}: {first_line(error)})"


def load(choice: MethodChoice) -> Pipeline:
    """The chosen model on its backend; UsageError for options that do not fit the model."""
    # Load the model on its backend.
    name = choice.model_name
    backend = choice.compute.backend or "auto"
    pipeline = load_pipeline(name, backend=backend, recipe=choice.change_recipe, threads=choice.compute.threads)

    # Check the options that the loaded model limits.
    check_model_scale(choice.scale, name, pipeline.scale)
    largest = pipeline.loop.largest_batch
    if choice.compute.batch > largest:
        reason = f"{choice.compute.batch} at once are more than its engines take ({largest})"
        remedy = f"tfs-rt build {name} --engine {pipeline.backend} --batch {choice.compute.batch}"
        raise UsageError("--batch", reason, remedy)
    sampler = pipeline.recipe.sampler
    if choice.sampling.eta is not None and not SAMPLERS[sampler].takes_eta:
        takers = [other for other, entry in SAMPLERS.items() if entry.takes_eta]
        raise UsageError("--eta", f"{sampler} has no eta", f"leave it out, or choose --sampler {' or '.join(takers)}")
    return pipeline


def load_pipeline(
    model: str | Path = "tfs-rt/x4",
    *,
    backend: str = "auto",
    recipe: Callable[[Recipe], Recipe] | None = None,
    threads: int | None = None,
) -> Pipeline:
    """Load a bundle (path or shipped name) on a backend.

    `recipe` maps the model's own recipe to the one to use, as in
    `load_pipeline("tfs-rt/x4", recipe=lambda r: dataclasses.replace(r, steps=20))`.
    `threads` is for backends on the CPU; by default TFS_RT_THREADS, or the number of usable processors.
    """
    _check_backend(backend, threads)
    bundle = load_fusion_bundle(model)
    chosen = recipe(bundle.manifest.recipe) if recipe else bundle.manifest.recipe
    if not isinstance(chosen, Recipe):
        raise TypeError(f"recipe: found a function that returns {type(chosen).__name__}, expected a Recipe")
    table = step_table(bundle.manifest.model, chosen)
    name, loop, reason = _load_on_backend(backend, bundle, threads)
    return Pipeline(bundle, name, loop, chosen, table, threads, reason, str(model))


def _check_backend(backend: str, threads: int | None) -> None:
    if backend != "auto" and backend not in BACKENDS:
        raise ValueError(f"backend: found {backend!r}, expected one of auto, {', '.join(BACKENDS)}")
    if threads is None:
        return
    if isinstance(threads, bool):
        raise TypeError(f"threads: found bool {threads}, expected a number from 1 to {MOST}")
    if not isinstance(threads, Integral) or not 1 <= threads <= MOST:
        raise ValueError(f"threads: found {threads!r}, expected a number from 1 to {MOST}")
    if backend != "auto" and BACKENDS[backend].device == "gpu":
        raise UsageError("--threads", f"{backend} computes on a GPU", "leave it out")


def _unpickle(path: Path, digest: str, backend: str, recipe: Recipe, threads: int | None, reason: str) -> Pipeline:
    """Load a pickled pipeline; ModelError if its bundle is missing or has changed."""
    if load_fusion_bundle(path).digest != digest:
        raise ModelError(path, "was changed after the pipeline was pickled", "load the pipeline anew")
    loaded = load_pipeline(path, backend=backend, recipe=lambda _: recipe, threads=threads)
    return dataclasses.replace(loaded, reason=reason)


def load_fusion_bundle(model: str | Path) -> Bundle:
    """Load a bundle (path or shipped name); ModelError unless its model takes three images."""
    if not isinstance(model, str | Path):
        raise TypeError(f"model: found {type(model).__name__}, expected a bundle's folder or a name such as tfs-rt/x4")
    bundle = load_bundle(model)
    if (channels := bundle.manifest.model.architecture.condition_channels) != 9:
        reason = f"takes {channels // 3} image, not the three of a fusion"
        raise ModelError(bundle.path, reason, "choose a TFS-Diff model")
    return bundle


def _load_on_backend(backend: str, bundle: Bundle, threads: int | None) -> tuple[str, Loop, str]:
    """Load a bundle on a backend: the backend's name, its loop, and why it is not the first choice.

    `auto` takes the first backend that runs, of those on the CPU in float32.
    """
    *others, last = automatic_backends() if backend == "auto" else (backend,)
    reasons: list[str] = []
    for name in others:
        try:
            return name, load_loop(name, bundle, threads), "; ".join(reasons)
        # A limit of the machine would stop any other backend, too.
        except LimitReached:
            raise
        # Try the next backend. A ModelError is not caught: the model would be refused by all of them.
        except EnvironmentFault as fault:
            reasons.append(f"{name} does not run: {printable(fault.reason, REASON_LENGTH)}")
    return last, load_loop(last, bundle, threads), "; ".join(reasons)


def load_loop(backend: str, bundle: Bundle, threads: int | None = None) -> Loop:
    """Load a bundle on a backend, ready to run tables."""
    if BACKENDS[backend].returns == "loop":
        return backend_loader(backend)(bundle)
    return Stepwise(load_engine(backend, bundle, threads))
