"""The training script on a made data folder: what goes in is registered, what comes out can be exported."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import png

from tfs_rt.cases import Case, Found
from tfs_rt.schedule import sigma
from tfs_rt.spec import SLOTS
from tfs_rt_bench.accuracy import score
from tfs_rt_reference.checkpoint import load_checkpoint
from tfs_rt_reference.data import Group, crops, read_groups
from tfs_rt_reference.prepare import Request, prepare
from tfs_rt_reference.train import SIGMA_MAX, SIGMA_MIN, draw_alpha_bar, train


@pytest.fixture
def made_data(tmp_path: Path, rng: np.random.Generator) -> Path:
    cases: list[Found] = []
    for i, split in enumerate(["train", "train", "val"]):
        folder = tmp_path / "in" / f"k{i}"
        folder.mkdir(parents=True)
        for name in ("ct", "mr-t2"):
            (folder / f"{name}.png").write_bytes(png(rng.integers(0, 256, (96, 96)).astype(np.uint8)))
        (folder / "pet.png").write_bytes(png(rng.integers(0, 256, (96, 96, 3)).astype(np.uint8)))
        files = {slot: folder / f"{name}.png" for slot, name in zip(SLOTS, ("ct", "mr-t2", "pet"), strict=True)}
        cases.append(Case(f"k{i}", files, {"patient": f"k{i}", "split": split}))
    prepare(Request(tmp_path / "data", cases))
    return tmp_path / "data"


def test_a_short_training_gives_a_checkpoint_that_describes_itself(made_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "x4.safetensors"
    train(made_data, path, scale=4, iterations=2, batch=2, crop=32, rate=1e-3)
    loaded = load_checkpoint(path)
    assert (loaded.spec.prediction, loaded.spec.scale, loaded.spec.sigma_range) == ("x0", 4, (SIGMA_MIN, SIGMA_MAX))
    start = loaded.network.condition_skip.weight[:, 6:, 0, 0]
    assert torch.allclose(start, torch.eye(3), atol=0.05)  # two small steps away from the functional image


def test_groups_come_in_slot_order_and_by_split(made_data: Path) -> None:
    groups = read_groups(made_data, "train")
    assert [group.id for group in groups] == ["k0", "k1"]
    ct, _, pet = groups[0].sources
    assert (ct[..., 0] == ct[..., 1]).all()
    assert (pet[..., 0] != pet[..., 1]).any()


def test_a_crop_and_its_truth_show_the_same_place(rng: np.random.Generator) -> None:
    smooth = np.asarray(np.fft.ifft2(np.fft.fft2(rng.standard_normal((96, 96))) * _low_pass(96)).real)
    image = np.dstack([np.clip(128 + smooth / smooth.std() * 50, 0, 255).astype(np.uint8)] * 3)
    stream = crops([Group("a", (image,) * 3, image)], scale=4, size=32, margin=16, rng=rng)
    for _ in range(8):
        condition, truth = next(stream)
        for slot in range(3):
            assert np.corrcoef(condition[3 * slot].ravel(), truth[0].ravel())[0, 1] > 0.98


def _low_pass(n: int) -> np.ndarray:
    f = np.fft.fftfreq(n)
    return np.exp(-np.square(np.hypot(f[:, None], f)) * 300)


def test_noise_levels_are_those_of_few_step_sampling() -> None:
    torch.manual_seed(0)
    drawn = sigma(draw_alpha_bar(1000).double().numpy().ravel())
    assert np.allclose(drawn[::2], SIGMA_MAX, rtol=1e-3)
    assert drawn.min() >= SIGMA_MIN * 0.999
    assert np.median(np.log(drawn[1::2])) == pytest.approx(np.log(SIGMA_MIN * SIGMA_MAX) / 2, abs=0.15)


def test_scores_are_their_formulas(rng: np.random.Generator) -> None:
    truth = rng.integers(20, 200, (32, 32, 3)).astype(np.uint8)
    result = truth.copy()
    result[..., 0] += 6
    got = score(result, truth)
    assert got["psnr"] == pytest.approx(10 * np.log10(255**2 / 12))
    assert (got["bias_r"], got["bias_g"]) == (6, 0)
    assert got["ssim"] is not None
    assert 0.9 < got["ssim"] < 1
