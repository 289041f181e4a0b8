"""The same case, seed and recipe: the same pixels, whatever the batch, the order, the company and the threads."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from tfs_rt.backends.host import HostEngine
from tfs_rt.backends.ort_cpu import OrtCpuEngine
from tfs_rt.backends.winograd.machine import host_shape
from tfs_rt.backends.winograd.network import Network
from tfs_rt.images import RGB
from tfs_rt.methods.diffusion import Pipeline
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.sampling.stepwise import Stepwise
from tfs_rt.sampling.tables import step_table

CASES = 8
ORDERS = 4


def ort_cpu(bundle: Bundle, threads: int) -> HostEngine:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(bundle.read("fp32"), options, providers=["CPUExecutionProvider"])
    return OrtCpuEngine(bundle.manifest.model, lambda: session)


def winograd(bundle: Bundle, threads: int) -> HostEngine:
    arch = bundle.manifest.model.architecture
    return HostEngine(bundle.manifest.model, Network(arch, bundle.weights(), host_shape(), threads))


@pytest.mark.parametrize("engine", [ort_cpu, winograd])
@pytest.mark.parametrize(
    ("threads", "batches"),
    [
        pytest.param((1, 3), (1, 3, 8), id="24 configurations"),
        pytest.param((1, 2, 4), (1, 2, 3, 4, 8), id="60 configurations", marks=pytest.mark.slow),
    ],
)
def test_all_configurations_give_the_same_pixels(
    x4: Path,
    rng: np.random.Generator,
    engine: Callable[[Bundle, int], HostEngine],
    threads: tuple[int, ...],
    batches: tuple[int, ...],
) -> None:
    bundle = load_bundle(x4)
    recipe = dataclasses.replace(bundle.manifest.recipe, steps=2, eta=1.0)  # with noise
    table = step_table(bundle.manifest.model, recipe)
    cases = {f"k{i}": [rng.integers(0, 256, (9, 10, 3)).astype(np.uint8) for _ in range(3)] for i in range(CASES)}
    orders = [sorted(cases), sorted(cases, reverse=True), *(list(rng.permutation(sorted(cases))) for _ in range(2))]
    assert len(orders) == ORDERS
    expected: dict[str, RGB] = {}
    configurations = 0
    for count in threads:
        pipeline = Pipeline(bundle, "any", Stepwise(engine(bundle, count)), recipe, table)
        for batch, order in itertools.product(batches, orders):
            for first in range(0, CASES, batch):
                together = order[first : first + batch]
                images = pipeline.fuse([cases[name] for name in together], together, size=(36, 40), seed=5)
                for name, image in zip(together, images, strict=True):
                    np.testing.assert_array_equal(expected.setdefault(name, image), image)
            configurations += 1
    assert configurations == len(threads) * len(batches) * ORDERS
    assert len({image.tobytes() for image in expected.values()}) == CASES
