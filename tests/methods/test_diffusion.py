"""The pipeline's promises, on networks that need no training."""

import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from support.bundles import write_bundle
from support.helpers import FEW, model_spec
from support.pipelines import blend, pipeline
from tfs_rt.errors import EnvironmentFault, InputError, LimitReached, ModelError
from tfs_rt.images import RGB, Array, resize
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.sampling.engine import reverse_step
from tfs_rt.sampling.tables import StepRow, step_table
from tfs_rt.spec import Prediction


def images(rng: np.random.Generator, height: int, width: int) -> list[RGB]:
    return [rng.integers(0, 256, (height, width, 3)).astype(np.uint8) for _ in range(3)]


def test_a_case_does_not_depend_on_its_batch_or_its_neighbours(tmp_path: Path, rng: np.random.Generator) -> None:
    cases = [images(rng, 6, 7) for _ in range(4)]
    ids = list("abcd")
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


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_an_infinity_does_not_become_a_pixel(bad: float, prediction: Prediction) -> None:
    """x_0 is clipped to [-1, 1]: of an infinity that would make white or black, and the run would go on."""
    x_t = np.zeros((1, 3, 4, 4), np.float32)
    answer = np.full_like(x_t, 0.5)
    answer[0, 1, 2, 3] = bad
    table = step_table(model_spec(prediction=prediction), FEW)
    for row in map(StepRow._make, table.rows.tolist()):
        x_prev, x_0 = reverse_step(answer, x_t, None, row, None)
        assert not np.isfinite(x_0[0, 1, 2, 3])
        assert not np.isfinite(x_prev[0, 1, 2, 3])
        assert np.isfinite(x_0).sum() == x_0.size - 1


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_a_network_that_returns_an_infinity_is_found_out(tmp_path: Path, rng: np.random.Generator, bad: float) -> None:
    def one_pixel(condition: Array, x_t: Array, noise_level: Array) -> Array:
        answer = np.zeros_like(x_t)
        answer[0, 1, 2, 3] = bad
        return answer

    with pytest.raises(FloatingPointError, match="infinity"):
        pipeline(tmp_path, one_pixel).fuse([images(rng, 4, 4)], ["a"], size=(16, 16))


@pytest.mark.parametrize("size", [(5, 9), (6, 7), (31, 2)])
def test_padding_mirrors_the_image_without_its_edge(
    tmp_path: Path, rng: np.random.Generator, size: tuple[int, int]
) -> None:
    seen: list[Array] = []

    def functional(condition: Array, x_t: Array, noise_level: Array) -> Array:
        seen.append(condition)
        return condition[:, 6:]

    case = images(rng, *size)
    (height, width) = size
    pipeline(tmp_path, functional).fuse([case], ["a"], size=size)
    plain = np.concatenate([image.transpose(2, 0, 1) for image in case]) / 127.5 - 1
    rows = [row if row < height else 2 * height - 2 - row for row in range(height + height % 2)]  # row 5 of 5: row 3
    columns = [column if column < width else 2 * width - 2 - column for column in range(width + width % 2)]
    np.testing.assert_allclose(seen[0][0], plain[:, rows][:, :, columns], atol=1e-6)


def self_test_of(tmp_path: Path, predict: Callable[[Array, Array, Array], Array]) -> None:
    """The self-test of a pipeline whose manifest states what `blend` makes."""
    sound = pipeline(tmp_path, blend)
    manifest = dataclasses.replace(sound.bundle.manifest, self_test=tuple(sound.self_test_means()))
    bundle = dataclasses.replace(sound.bundle, manifest=manifest)
    dataclasses.replace(pipeline(tmp_path, predict), bundle=bundle).self_test()


def raising(error: Exception) -> Callable[[Array, Array, Array], Array]:
    def predict(condition: Array, x_t: Array, noise_level: Array) -> Array:
        raise error

    return predict


@pytest.mark.parametrize(
    ("predict", "words"),
    [
        (lambda c, x, n: -blend(c, x, n), "its self-test is .* levels off, not 1 or less"),
        (lambda c, x, n: np.full_like(x, np.nan), "its self-test gives NaN or infinity"),
        (raising(TypeError("no array")), "its self-test fails .TypeError: no array."),
        (raising(RuntimeError("a library's own")), "its self-test fails .RuntimeError: a library's own."),
    ],
)
def test_a_self_test_that_fails_names_the_model_first(
    tmp_path: Path, predict: Callable[[Array, Array, Array], Array], words: str
) -> None:
    with pytest.raises(EnvironmentFault, match=words) as caught:
        self_test_of(tmp_path, predict)
    assert caught.value.subject == str(tmp_path / "b")
    assert str(caught.value).index("the model is not what its manifest says") < str(caught.value).index("this machine")


def test_a_self_test_that_holds_or_cannot_be_fused_ends_no_run(tmp_path: Path) -> None:
    self_test_of(tmp_path, blend)
    self_test_of(tmp_path, raising(InputError("x4", "none of its engines is compatible", "tfs-rt build")))


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("can't start new thread"), OSError(errno.EMFILE, "Too many open files")]
)
def test_a_limit_that_a_self_test_reaches_is_not_blamed_on_the_model(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(LimitReached) as caught:
        self_test_of(tmp_path, raising(error))
    assert "the model" not in str(caught.value)
    assert caught.value.__cause__ is error


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
