"""The pipeline's promises, on networks that need no training."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from helpers import FEW, NumpyEngine, model_spec
from test_bundle import write_bundle

from tfs_rt.bundle import load_bundle
from tfs_rt.errors import ModelError
from tfs_rt.images import RGB, Array, resize
from tfs_rt.pipeline import Pipeline, Stepwise, load_pipeline
from tfs_rt.spec import Recipe
from tfs_rt.table import step_table

ANCESTRAL = dataclasses.replace(FEW, eta=1.0)


def pipeline(tmp_path: Path, predict: object, recipe: Recipe = ANCESTRAL) -> Pipeline:
    spec = model_spec(prediction="x0")
    engine = NumpyEngine(spec, predict)  # pyright: ignore[reportArgumentType]
    bundle, table = load_bundle(write_bundle(tmp_path / "b")), step_table(spec, recipe)
    return Pipeline(bundle, "ort-cpu", Stepwise(engine), recipe, table)


def blend(condition: Array, x_t: Array, noise_level: Array) -> Array:
    """A network of sorts: leans on every input, so that a change in any of them shows."""
    return np.tanh(0.5 * condition[:, 6:] + 0.3 * condition[:, :3] + 0.1 * condition[:, 3:6] + 0.2 * x_t)


def images(rng: np.random.Generator, height: int, width: int) -> list[RGB]:
    return [rng.integers(0, 256, (height, width, 3)).astype(np.uint8) for _ in range(3)]


def test_a_case_does_not_depend_on_its_batch_or_its_neighbours(tmp_path: Path, rng: np.random.Generator) -> None:
    cases, ids = [images(rng, 6, 7) for _ in range(4)], list("abcd")
    fuse = pipeline(tmp_path, blend).fuse
    together = fuse(cases, ids, size=(24, 28), seed=3)
    alone = [fuse([case], [name], size=(24, 28), seed=3)[0] for case, name in zip(cases, ids, strict=True)]
    reverse = fuse(cases[::-1], ids[::-1], size=(24, 28), seed=3)[::-1]
    for a, b, c in zip(together, alone, reverse, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_seed_and_id_decide_the_noise(tmp_path: Path, rng: np.random.Generator) -> None:
    case = images(rng, 8, 8)
    fuse = pipeline(tmp_path, blend).fuse
    (base,) = fuse([case], ["a"], size=(32, 32), seed=0)
    assert not np.array_equal(base, fuse([case], ["a"], size=(32, 32), seed=1)[0])
    assert not np.array_equal(base, fuse([case], ["b"], size=(32, 32), seed=0)[0])


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (16, 16), (31, 2)])
def test_any_size_is_padded_to_the_stride_and_cropped_back(
    tmp_path: Path, rng: np.random.Generator, size: tuple[int, int]
) -> None:
    seen = []

    def functional(condition: Array, x_t: Array, noise_level: Array) -> Array:
        seen.append(condition.shape[2:])
        return condition[:, 6:]

    case = images(rng, 3, 4)
    (result,) = pipeline(tmp_path, functional).fuse([case], ["a"], size=size)
    np.testing.assert_array_equal(result, resize(case[2], size))
    assert all(height % 2 == 0 and width % 2 == 0 for height, width in seen)
    assert seen[0] == (size[0] + size[0] % 2, size[1] + size[1] % 2)


def test_a_network_that_returns_nan_is_found_out(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(FloatingPointError, match="NaN"):
        pipeline(tmp_path, lambda c, x, n: np.full_like(x, np.nan)).fuse([images(rng, 4, 4)], ["a"], size=(16, 16))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda case: [image / 255 for image in case],
        lambda case: [image.astype(np.uint16) for image in case],
        lambda case: [image[..., 0] for image in case],
        lambda case: case[:2],
        lambda case: [case[0], case[1], case[2][:3]],
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path: Path, rng: np.random.Generator, spoil: Callable) -> None:
    with pytest.raises(ValueError, match="case a: expected 3 images of one size, uint8"):
        pipeline(tmp_path, blend).fuse([spoil(images(rng, 4, 4))], ["a"], size=(16, 16))
    with pytest.raises(ValueError, match="2 cases with 1 ids"):
        pipeline(tmp_path, blend).fuse([images(rng, 4, 4)] * 2, ["a"], size=(16, 16))


def test_an_sr3_bundle_cannot_fuse_three_images(tmp_path: Path) -> None:
    spec = model_spec(dataclasses.replace(model_spec().architecture, in_channel=6, gate="none"))
    with pytest.raises(ModelError, match="takes 1 image"):
        load_pipeline(write_bundle(tmp_path / "b", model=spec))


def test_the_shipped_model_gives_the_same_pixels_through_two_independent_graphs(x4: Path) -> None:
    """ONNX Runtime against the reference in PyTorch, same noise, eight steps."""
    rng = np.random.default_rng(1)
    grey = [np.dstack([rng.integers(0, 256, (16, 20)).astype(np.uint8)] * 3) for _ in range(2)]
    case = [*grey, rng.integers(0, 256, (16, 20, 3)).astype(np.uint8)]
    results = [
        load_pipeline(x4, backend=backend, recipe=lambda r: dataclasses.replace(r, steps=8)).fuse(
            [case], ["a"], size=(64, 80)
        )[0]
        for backend in ("ort-cpu", "torch")
    ]
    difference = np.abs(results[0].astype(int) - results[1])
    assert (difference <= 1).mean() >= 0.999


@pytest.mark.parametrize("threads", [2, 3, 4, 8])
def test_threads_do_not_change_the_last_bit(x4: Path, threads: int, rng: np.random.Generator) -> None:
    inputs = {
        "condition": rng.standard_normal((1, 9, 128, 96)).astype(np.float32),
        "x_t": rng.standard_normal((1, 3, 128, 96)).astype(np.float32),
        "noise_level": np.array([[0.1]], dtype=np.float32),
    }
    outputs = []
    for count in (1, threads):
        options = ort.SessionOptions()
        options.intra_op_num_threads = count
        outputs.append(ort.InferenceSession(x4 / "step.onnx", options).run(None, inputs)[0])
    np.testing.assert_array_equal(outputs[0], outputs[1])
