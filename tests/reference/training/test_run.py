"""Training on made data: what goes in is registered, what comes out can be exported, and nothing stops it by halves."""

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from support.helpers import Cli
from tfs_rt.cases.load import read_file
from tfs_rt.errors import ModelError, TfsRtError, UsageError
from tfs_rt.methods.bitonicx import fuse as bitonicx
from tfs_rt.models.bundle import load_bundle
from tfs_rt.sampling.schedule import sigma
from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import Prediction
from tfs_rt_reference.checkpoints.load import load_checkpoint
from tfs_rt_reference.data.groups import Group, read_groups, singly
from tfs_rt_reference.diffusion import q_sample
from tfs_rt_reference.engine import load
from tfs_rt_reference.network import UNet
from tfs_rt_reference.recipe import default_recipe
from tfs_rt_reference.training.config import PRESETS, Config, as_layer, make_config, setting, to_toml
from tfs_rt_reference.training.config import read_file as read_layer
from tfs_rt_reference.training.material import Batch, Material, crop
from tfs_rt_reference.training.muon import Muon, hidden_convolutions
from tfs_rt_reference.training.objective import loss, recover_x_0, sharpness, target
from tfs_rt_reference.training.run import Request, Watch, rate, train
from tfs_rt_reference.training.state import begin_with_functional

pytestmark = pytest.mark.usefixtures("shared_graphs")

SMALL = {
    "scale": 4,
    # With these, of the architecture that the tests of distillation export, too.
    "architecture.inner_channel": 8,
    "architecture.norm_groups": 4,
    "architecture.res_blocks": 1,
    "architecture.patch_size": 2,
    "architecture.gate": "condition",
    "batch": 2,
    "crop": 32,
    "iterations": 6,
    "validate_every": 2,
    "precision": "fp32",
    "dropout": 0.1,
}


def nested(layer: dict[str, Any]) -> dict[str, Any]:
    """{"a.b": c} as {"a": {"b": c}}."""
    ((key, value),) = layer.items()
    head, dot, rest = key.partition(".")
    return {head: nested({rest: value})} if dot else layer


def small(**changes: object) -> Config:
    layers = ({key: value} for key, value in (SMALL | changes).items())
    return make_config(PRESETS["compact"], *map(nested, layers))


def run(made_set: Path, output: Path, *, config: Config, stop: int = 10**9, **request: Any) -> None:
    """Train; `stop` breaks off as a signal would, in that iteration."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        if done >= stop:
            raise KeyboardInterrupt

    watch = Watch(progress=lambda doing, total, units: nullcontext(count))
    train(Request([made_set], output, config, **request), watch)


def test_the_command_trains_a_checkpoint_and_a_log_with_its_curves(cli: Cli, made_set: Path, tmp_path: Path) -> None:
    settings = [f"--set={key}={value}" for key, value in SMALL.items()]
    outcome = cli("train", made_set, "-o", tmp_path / "run", *settings)
    assert outcome.code == 0, outcome.err
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [line["iteration"] for line in lines] == [2, 4, 6]
    assert lines == [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {"loss", "psnr", "ssim", "bias", "seconds", "images_per_second"} <= set(lines[0])
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    loaded = load_checkpoint(tmp_path / "run" / "model.safetensors")
    assert (loaded.spec.prediction, loaded.spec.scale, loaded.spec.sigma_range) == ("x0", 4, (2.0, 80.0))
    start = loaded.network.condition_skip.weight[:, 6:, 0, 0]
    assert torch.allclose(start, torch.eye(3), atol=0.1)  # a few small steps away from the functional image


@pytest.mark.slow  # its graph is traced anew; of trained checkpoints, test_distillation exports the teacher
def test_a_trained_checkpoint_that_says_x0_exports(cli: Cli, made_set: Path, tmp_path: Path) -> None:
    run(made_set, tmp_path / "run", config=small(iterations=1))
    exported = cli("export", tmp_path / "run" / "model.safetensors", "-o", tmp_path / "bundle", "--steps", "1")
    assert exported.code == 0, exported.err


@pytest.mark.parametrize("stop", [3, 4, 5])
def test_an_interrupted_run_goes_on_to_the_same_bytes(made_set: Path, tmp_path: Path, stop: int) -> None:
    run(made_set, tmp_path / "whole", config=small())
    with pytest.raises(KeyboardInterrupt):
        run(made_set, tmp_path / "broken", config=small(), stop=stop)
    run(made_set, tmp_path / "broken", config=small(), resume=True)
    whole, broken = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken"))
    assert whole == broken


def test_a_seed_decides_the_weights(made_set: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(made_set, tmp_path / name, config=small(iterations=2, seed=seed), workers=2 if name == "b" else 1)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_batch_is_shared_out_among_processes_without_loss_or_repetition(made_set: Path) -> None:
    material = Material([read_groups(made_set, "train")], small(batch=4))
    whole = next(material.batches(7)).x_0
    shares = [next(material.batches(7, rank=rank, world=2)).x_0 for rank in (0, 1)]
    assert torch.equal(whole[0::2], shares[0])
    assert torch.equal(whole[1::2], shares[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_trains_to_nearly_what_a_cpu_does(made_set: Path, tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        run(made_set, tmp_path / device, config=small(iterations=2, dropout=0.0), device=device)
    logs = [json.loads((tmp_path / d / "log.jsonl").read_text().splitlines()[-1]) for d in ("cpu", "cuda")]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=1e-3)
    assert logs[0]["psnr"] == pytest.approx(logs[1]["psnr"], abs=0.05)


@pytest.mark.slow
def test_two_processes_train_to_what_one_does(made_set: Path, tmp_path: Path) -> None:
    settings = [f"--set={key}={value}" for key, value in (SMALL | {"dropout": 0.0, "lambda_2": 0.0}).items()]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, launcher in (("one", [sys.executable]), ("two", torchrun)):
        command = [*launcher, "-m", "tfs_rt", "train", str(made_set), "-o", str(tmp_path / name), *settings]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 3
    for one, two in zip(*logs, strict=True):
        assert json.loads(one)["loss"] == pytest.approx(json.loads(two)["loss"], rel=1e-3)
        assert json.loads(one)["psnr"] == pytest.approx(json.loads(two)["psnr"], abs=0.05)


def test_a_run_begins_with_another_runs_weights(made_set: Path, tmp_path: Path) -> None:
    run(made_set, tmp_path / "a", config=small(iterations=2))
    weights = tmp_path / "a" / "model.safetensors"
    run(made_set, tmp_path / "b", config=small(iterations=1, rate=1e-12, warmup=0), init=weights)
    a, b = (load_checkpoint(tmp_path / n / "model.safetensors").network.state_dict() for n in "ab")
    assert all(torch.allclose(a[key], b[key], atol=1e-6) for key in a)


def test_a_shipped_bundle_can_be_trained_further(made_set: Path, x4: Path, tmp_path: Path) -> None:
    shipped = load(load_bundle(x4))
    settings = small(iterations=1, rate=1e-12, warmup=0)
    config = dataclasses.replace(settings, architecture=shipped.spec.architecture)
    run(made_set, tmp_path / "run", config=config, init=x4)
    trained = load_checkpoint(tmp_path / "run" / "model.safetensors").network.state_dict()
    assert all(torch.allclose(trained[key], value, atol=1e-6) for key, value in shipped.network.state_dict().items())


Spoil = Callable[[Path, Path], dict]


def _no_set(made_set: Path, out: Path) -> dict:
    (out.parent / "empty").mkdir()
    return {"sets": [out.parent / "empty"], "config": small()}


def _a_run_there(made_set: Path, out: Path) -> dict:
    run(made_set, out, config=small(iterations=1))
    return {"config": small()}


def _nothing_to_resume(made_set: Path, out: Path) -> dict:
    return {"config": small(), "resume": True}


def _other_architecture(made_set: Path, out: Path) -> dict:
    run(made_set, out, config=small(iterations=1))
    return {"config": small(**{"iterations": 1, "architecture.inner_channel": 32}), "resume": True}


def _other_weights(made_set: Path, out: Path) -> dict:
    run(made_set, out.parent / "other", config=small(iterations=1))
    weights = out.parent / "other" / "model.safetensors"
    return {"config": small(**{"architecture.inner_channel": 32}), "init": weights}


def _other_prediction(made_set: Path, out: Path) -> dict:
    run(made_set, out.parent / "other", config=small(iterations=1))
    return {"config": small(prediction="eps"), "init": out.parent / "other" / "model.safetensors"}


def _damaged_state(made_set: Path, out: Path) -> dict:
    run(made_set, out, config=small(iterations=1))
    state = out / "state.pt"
    state.write_bytes(state.read_bytes()[: 2**14])
    return {"config": small(iterations=1), "resume": True}


def _too_large_a_crop(made_set: Path, out: Path) -> dict:
    return {"config": small(crop=128)}


def _no_gpu(made_set: Path, out: Path) -> dict:
    return {"config": small(), "device": "cuda"}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_set, "not a training set's manifest"),
        (_a_run_there, "add --resume"),
        (_nothing_to_resume, "no run to resume"),
        (_other_architecture, r"architecture.inner_channel: 8 in the run, 32 asked"),
        (_other_prediction, "predicts x0, and eps is asked"),
        (_other_weights, r"another architecture \(inner_channel: 8 in the file, 32 asked\)"),
        (_damaged_state, "is not a training state"),
        (_too_large_a_crop, "less than the crop of 128"),
        pytest.param(
            _no_gpu, "finds no GPU", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
        ),
    ],
)
def test_what_cannot_be_trained_is_said_and_nothing_is_lost(
    made_set: Path, tmp_path: Path, spoil: Spoil, words: str
) -> None:
    request: dict[str, Any] = {"sets": [made_set]} | spoil(made_set, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*")}
    with pytest.raises(TfsRtError, match=words):
        train(Request(output=tmp_path / "run", **request))
    assert {path: path.read_bytes() for path in (tmp_path / "run").glob("*")} == before


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was_saved(made_set: Path, tmp_path: Path) -> None:
    class Broken(Exception):
        pass

    def spoil(line: dict) -> None:  # after the first validation, as a wrong driver might
        assert network is not None
        assert network.final_conv.conv.bias is not None
        torch.nn.init.constant_(network.final_conv.conv.bias, math.nan)

    import tfs_rt_reference.training.run as module

    network: UNet | None = None
    original = module._stepper

    def remember(state, place):
        nonlocal network
        network = state.network
        return original(state, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_stepper", remember)
        with pytest.raises(UsageError, match="the loss became nan before iteration 4"):
            train(Request([made_set], tmp_path / "run", small()), Watch(line=spoil))
    weights = load_checkpoint(tmp_path / "run" / "model.safetensors").network.state_dict()
    assert all(value.isfinite().all() for value in weights.values())


def test_an_altered_set_is_not_what_a_run_was_begun_with(made_set: Path, tmp_path: Path) -> None:
    import shutil

    run(made_set, tmp_path / "run", config=small(iterations=1))
    shutil.copytree(made_set, tmp_path / "set")
    manifest = tmp_path / "set" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(UsageError, match="trained on other sets"):
        run(tmp_path / "set", tmp_path / "run", config=small(iterations=1), resume=True)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_x0_follows_from_the_target_of_every_prediction(prediction: Prediction, rng: np.random.Generator) -> None:
    batch = _batch(rng)
    x_t = q_sample(batch.x_0, batch.noise_level, batch.eps)
    found = recover_x_0(prediction, target(prediction, batch), x_t, batch.noise_level)
    assert torch.allclose(found, batch.x_0, atol=1e-4)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_the_loss_is_the_papers_written_out(prediction: Prediction, rng: np.random.Generator) -> None:
    batch = _batch(rng)
    answer = torch.from_numpy(rng.uniform(-1, 1, batch.x_0.shape).astype(np.float32))
    config = small(prediction=prediction, lambda_1=0.7, lambda_2=0.0)
    got = loss(lambda condition, x_t, level: answer, batch, config)
    alpha_bar = batch.noise_level[:, :, None, None] ** 2
    wanted: dict[str, Tensor] = {
        "eps": batch.eps,
        "x0": batch.x_0,
        "v": alpha_bar.sqrt() * batch.eps - (1 - alpha_bar).sqrt() * batch.x_0,
    }
    assert got.item() == pytest.approx(0.7 * ((answer - wanted[prediction]) ** 2).mean().item(), rel=1e-5)


def test_the_structural_part_of_the_loss_vanishes_for_the_truth_alone(rng: np.random.Generator) -> None:
    batch = _batch(rng)
    config = small(lambda_1=0.0, lambda_2=1.0)
    assert loss(lambda *_: batch.x_0, batch, config).item() == pytest.approx(0, abs=1e-4)
    other = batch.condition[:, :3]
    assert loss(lambda *_: other, batch, config).item() > 0.9
    assert loss(lambda *_: 3 * batch.x_0, batch, config).item() > 0  # clipped, as sampling clips it


def test_where_the_truth_was_clipped_an_x0_beyond_it_is_no_error(rng: np.random.Generator) -> None:
    batch = _batch(rng)
    batch.x_0[0, :, :4] = 1.0
    batch.x_0[1, :, :4] = -1.0
    over = batch.x_0.clone()
    over[0, :, :4] = 1.7
    over[1, :, :4] = -1.3
    config = small(lambda_2=0.0)
    assert loss(lambda *_: over, batch, config).item() == 0
    short = batch.x_0.clone()
    short[0, :, :4] = 0.5  # on the near side it is an error like any other
    assert loss(lambda *_: short, batch, config).item() == pytest.approx(0.25 * 4 / 64, rel=1e-5)


def test_preconditioning_is_that_of_karras(rng: np.random.Generator) -> None:
    batch = _batch(rng)
    sigma_data = 0.3
    config = small(lambda_2=0.0, prediction="eps", **{"architecture.sigma_data": sigma_data})
    said = torch.from_numpy(rng.standard_normal((2, 3, 32, 32)).astype(np.float32))
    signal = batch.noise_level[:, :, None, None]
    sigma = (1 - signal.square()).sqrt() / signal
    x = batch.x_0 + sigma * batch.eps  # their x, and their table 1
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / (sigma**2 + sigma_data**2).sqrt()
    eps = (x - (c_skip * x + c_out * said / sigma_data)) / sigma
    x_t = signal * x
    torch.testing.assert_close(UNet(config.architecture)._eps(said, x_t, signal), eps, atol=1e-5, rtol=1e-4)
    wanted = (batch.x_0 - c_skip * x) / c_out * sigma_data  # eq. 8
    expected = (said - wanted).square().mean().item()
    assert loss(lambda *_: eps, batch, config).item() == pytest.approx(expected, rel=1e-3)


def test_sharpness_is_the_average_gradient_of_a_block(rng: np.random.Generator) -> None:
    x = rng.uniform(-1, 1, (1, 1, 16, 16))
    found = sharpness(torch.from_numpy(x))[0, 0, 0, 1].item()
    block = [
        np.sqrt(((x[0, 0, r + 1, c] - x[0, 0, r, c]) ** 2 + (x[0, 0, r, c + 1] - x[0, 0, r, c]) ** 2) / 2)
        for r in range(8)
        for c in range(8, 15)
    ]
    assert found == pytest.approx(sum(block) / 64, rel=1e-3)  # the last column has no neighbour and counts as flat


def test_only_late_steps_are_asked_to_be_sharp(rng: np.random.Generator) -> None:
    batch = _batch(rng)  # at sigma = 3.2 and 0.75
    flat = torch.zeros_like(batch.x_0)
    asked = {
        below: loss(
            lambda *_: flat,
            batch,
            small(lambda_1=1e-9, lambda_2=0.0, lambda_3=1.0, sharp_below=below, sigma_range=[0.1, 80.0]),
        ).item()
        for below in (0.5, 1.0, 5.0)
    }
    both = sharpness(batch.x_0).mean(dim=(1, 2, 3))
    assert asked[0.5] == pytest.approx(0, abs=1e-6)
    assert asked[1.0] == pytest.approx(both[1].item() / 2, rel=0.01)
    assert asked[5.0] == pytest.approx(both.mean().item(), rel=0.01)


def test_muon_moves_by_about_the_nearest_orthogonal_matrix(rng: np.random.Generator) -> None:
    weight = torch.nn.Parameter(torch.zeros(8, 4, 3, 3).to(memory_format=torch.channels_last))
    gradient = torch.from_numpy(rng.standard_normal((8, 4, 3, 3)).astype(np.float32))
    weight.grad = 1e-3 * gradient  # its size does not matter
    Muon([weight], 0.5).step()
    moved = -weight.detach().flatten(1).double() / 0.5
    u, _, v = torch.linalg.svd(gradient.flatten(1).double(), full_matrices=False)
    assert torch.linalg.svdvals(moved).numpy() == pytest.approx(np.ones(8), abs=0.35)
    cosine = (moved * (u @ v)).sum() / (moved.norm() * (u @ v).norm())
    assert cosine > 0.97


def test_muon_takes_the_convolutions_inside_and_adamw_the_rest(made_set: Path, tmp_path: Path) -> None:
    network = UNet(small().architecture)
    names = {
        name for name, p in network.named_parameters() if any(p is inner for inner in hidden_convolutions(network))
    }
    assert {"downs.1.res_block.block1.block.3.weight", "mid.0.attn.qkv.weight"} <= names
    assert not names & {
        "downs.0.weight",
        "final_conv.block.3.weight",
        "condition_skip.weight",
        "SE_block.linear1.weight",
    }
    for name, config in (("whole", small(muon=0.02)), ("broken", small(muon=0.02))):
        if name == "broken":
            with pytest.raises(KeyboardInterrupt):
                run(made_set, tmp_path / name, config=config, stop=5)
        run(made_set, tmp_path / name, config=config, resume=name == "broken")
    whole, broken = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken"))
    assert whole == broken


@pytest.mark.parametrize(("prediction", "sigma_data"), [("eps", 0.1), ("eps", 1.0), ("x0", 0.0), ("v", 0.0)])
def test_a_network_with_skips_begins_by_taking_the_functional_image_for_x_0(
    prediction: Prediction, sigma_data: float, rng: np.random.Generator
) -> None:
    network = UNet(small(prediction=prediction, **{"architecture.sigma_data": sigma_data}).architecture).eval()
    begin_with_functional(network, prediction)
    batch = _batch(rng)
    sigma = 1e3
    level = torch.full((2, 1), 1 / np.sqrt(1 + sigma**2), dtype=torch.float32)
    x_t = q_sample(batch.x_0, level, batch.eps)
    with torch.inference_mode():
        said = network(batch.condition, x_t, level).double()
    found = recover_x_0(prediction, said, x_t.double(), level.double())
    torch.testing.assert_close(found.float(), batch.condition[:, 6:], atol=6e-3, rtol=0)  # x_t / sigma^2 is left


def test_a_network_for_one_image_learns_to_resolve_each_of_the_three(made_set: Path, tmp_path: Path) -> None:
    config = small(**{"architecture.in_channel": 6, "architecture.gate": "none", "iterations": 2})
    run(made_set, tmp_path / "run", config=config)
    assert load_checkpoint(tmp_path / "run" / "model.safetensors").spec.architecture.condition_channels == 3
    group = read_groups(made_set, "train")[0]
    singles = singly([group])
    assert [single.id for single in singles] == ["k0_m1", "k0_m2", "k0_functional"]
    assert all(
        single.truth is image and single.sources == (image,)
        for single, image in zip(singles, group.sources, strict=True)
    )


def _batch(rng: np.random.Generator) -> Batch:
    shapes = ((2, 9, 32, 32), (2, 3, 32, 32))
    condition, x_0 = (torch.from_numpy(rng.uniform(-1, 1, shape).astype(np.float32)) for shape in shapes)
    eps = torch.from_numpy(rng.standard_normal(shapes[1], dtype=np.float32))
    return Batch(condition, x_0, eps, torch.tensor([[0.3], [0.8]]))


def test_groups_come_in_slot_order_and_by_split(made_set: Path) -> None:
    groups = read_groups(made_set, "train")
    assert [group.id for group in groups] == ["k0", "k1"]
    ct, _, pet = groups[0].sources
    assert (ct[..., 0] == ct[..., 1]).all()
    assert (pet[..., 0] != pet[..., 1]).any()


def test_a_crop_and_its_truth_show_the_same_place(rng: np.random.Generator) -> None:
    smooth = np.asarray(np.fft.ifft2(np.fft.fft2(rng.standard_normal((96, 96))) * _low_pass(96)).real)
    image = np.dstack([np.clip(128 + smooth / smooth.std() * 50, 0, 255).astype(np.uint8)] * 3)
    for _ in range(8):
        condition, truth = crop(Group("a", (image,) * 3, image), 4, 32, rng)
        for slot in range(3):
            assert np.corrcoef(condition[3 * slot].ravel(), truth[0].ravel())[0, 1] > 0.98


@pytest.mark.parametrize(
    "mirror",
    [pytest.param(np.s_[::-1], id="down"), pytest.param(np.s_[:, ::-1], id="along", marks=pytest.mark.slow)],
)
def test_the_truth_of_a_mirrored_group_is_the_mirrored_truth(data: Path, mirror: tuple) -> None:
    folder = data / "groups" / "tumourTl_k71"
    images = [read_file(folder / f"{name}.png")[0] for name in ("mr-pd", "mr-t2", "spect", "fused_bitonicx_det")]
    *sources, truth = (np.ascontiguousarray(image[mirror]) for image in images)
    error = bitonicx.fuse(*sources).astype(np.float64) - truth
    assert 10 * np.log10(255**2 / np.mean(np.square(error))) > 45  # far beyond what a network comes to


def _low_pass(n: int) -> np.ndarray:
    f = np.fft.fftfreq(n)
    return np.exp(-np.square(np.hypot(f[:, None], f)) * 300)


def test_noise_levels_are_those_of_few_step_sampling(made_set: Path, rng: np.random.Generator) -> None:
    material = Material([read_groups(made_set, "train")], small(at_start=0.5))
    drawn = sigma(np.square([material.noise_level(rng) for _ in range(2000)]))
    at_start = np.isclose(drawn, 80, rtol=1e-6)
    assert at_start.mean() == pytest.approx(0.5, abs=0.05)
    assert drawn.min() >= 2 * 0.999
    assert np.median(np.log(drawn[~at_start])) == pytest.approx(np.log(160) / 2, abs=0.15)


def test_noise_levels_of_the_whole_schedule_lie_between_neighbouring_steps(
    made_set: Path, rng: np.random.Generator
) -> None:
    schedule = {"n_timestep": 3, "linear_start": 0.1, "linear_end": 0.3}
    config = make_config(PRESETS["paper"], {"scale": 4, "crop": 32, "schedule": schedule})
    material = Material([read_groups(made_set, "train")], config)
    bounds = np.sqrt(np.cumprod([1, 0.9, 0.8, 0.7]))
    counts, _ = np.histogram([material.noise_level(rng) for _ in range(2000)], bins=bounds[::-1])
    assert counts.sum() == 2000
    assert counts.min() > 550  # t is uniform: 667 expected, standard deviation 21


def test_the_papers_preset_is_the_published_network() -> None:
    config = make_config(PRESETS["paper"], {"scale": 2})
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in UNet(config.architecture).parameters())
    assert count == 97_811_034  # the published 128 -> 256 checkpoint
    assert (config.prediction, config.rate, config.batch, config.iterations) == ("eps", 1e-4, 32, 800_000)


def test_a_file_and_settings_change_a_preset_and_unknown_keys_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('rate = 2e-4\nsigma_range = [1, 20]\n[architecture]\ngate = "none"\n')
    layers = [PRESETS["compact"], read_layer(file), setting("scale=8"), setting("architecture.gate=condition")]
    config = make_config(*layers)
    assert (config.rate, config.sigma_range, config.scale) == (2e-4, (1.0, 20.0), 8)
    assert config.architecture.gate == "condition"
    file.write_text("[architecture]\ngates = 1\n")
    with pytest.raises(UsageError, match=r"run.toml: configuration.architecture has the unknown key 'gates'"):
        make_config(*layers[:1], read_layer(file), setting("scale=8"), source=file)


def test_a_printed_configuration_is_the_file_of_the_same(tmp_path: Path) -> None:
    config = small(sigma_range=[0.5, 20.0], prediction="v")
    file = tmp_path / "run.toml"
    file.write_text(to_toml(config))
    assert make_config(read_layer(file)) == config


def test_the_command_prints_a_preset_as_it_is(cli: Cli, tmp_path: Path) -> None:
    for preset, scale in (("paper", 2), ("compact", 8)):
        printed = cli("train", "--preset", preset, "--scale", scale, "--print-config")
        (tmp_path / "run.toml").write_text(printed.out)
        assert make_config(read_layer(tmp_path / "run.toml")) == make_config(PRESETS[preset], {"scale": scale})
    changed = cli("train", "--config", tmp_path / "run.toml", "--set", "crop=30", "--print-config")
    assert changed.code == 2
    assert "run.toml with --set" in changed.err


def test_a_run_is_resumed_as_it_was_begun(cli: Cli, made_set: Path, tmp_path: Path) -> None:
    settings = [f"--set={key}={value}" for key, value in SMALL.items()]
    command = ["train", made_set, "-o", tmp_path / "run"]
    assert cli(*command, *settings).code == 0
    assert cli(*command, "--resume").code == 0
    for more, words in (
        (["--preset", "paper"], "leave --init and --preset out"),
        (["--set=crop=64"], "crop: 32 in the run, 64 asked"),
    ):
        refused = cli(*command, "--resume", *more)
        assert refused.code == 2
        assert words in refused.err
    for missing in ([made_set], ["-o", tmp_path / "other"]):
        assert cli("train", *missing, "--scale", "4").code == 2


@pytest.mark.parametrize(
    ("prediction", "levels"), [("x0", [100, 200]), ("eps", [30, 80]), ("x0", [0.01, 0.02]), ("v", [5, 5])]
)
def test_any_range_of_levels_has_a_recipe(prediction: Prediction, levels: list[float]) -> None:
    spec = small(prediction=prediction, sigma_range=levels).spec(64)
    for steps in (1, 4):
        assert len(step_table(spec, default_recipe(spec, steps=steps)).rows) == steps


def test_a_schedule_is_changed_a_key_at_a_time_and_its_range_follows() -> None:
    config = make_config(PRESETS["compact"], setting("scale=4"), setting("sigma_range=[]"))
    shorter = make_config(to_layer := as_layer(config), setting("schedule.n_timestep=100"))
    assert to_layer["schedule"]["n_timestep"] == 4000
    assert config.spec(256).sigma_range == pytest.approx((1e-3, 2.2e4), rel=0.1)
    assert shorter.spec(256).sigma_range[1] == pytest.approx(np.sqrt(np.expm1(0.5)), rel=0.01)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scale": 16, "crop": 32}, "scale is not 2, 4 or 8"),
        ({"crop": 30}, "multiple of the network's stride"),
        ({"rate": 0.0}, "rate is positive"),
        ({"clip": math.nan}, "clip are not negative"),
        ({"seed": -1}, "seed is within"),
        ({"lambda_1": 0.0, "lambda_2": 0.0}, "are not both 0"),
        ({"lambda_3": math.nan, "sharp_below": 9.0}, "the lambdas, sharp_below"),
        ({"lambda_3": 0.1}, "is above the lowest sigma"),
        ({"architecture.sigma_data": 0.1}, "sigma_data is for eps alone"),
        ({"architecture.sigma_data": 1e9, "prediction": "eps"}, "sigma_data is neither 0 nor within"),
        ({"scale": 0}, "scale is not 2, 4 or 8"),
        ({"architecture.in_channel": 6, "architecture.gate": "condition"}, "leaves nothing to gate"),
        ({"prediction": "noise"}, "expected one of eps, x0, v"),
        ({"sigma_range": [1.0]}, r"sigma_range is \[\], or"),
        ({"sigma_range": [3.0, 2.0]}, "sigma_range is not a range"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(settings: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        small(**settings)


def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="key=value"):
        setting("rate")


def test_the_rate_rises_then_follows_its_schedule() -> None:
    config = small(rate=1.0, warmup=2, iterations=8, rate_schedule="cosine")
    assert [rate(config, i) for i in (0, 1)] == [0.5, pytest.approx(0.5 + 0.5 * math.cos(math.pi / 8))]
    assert rate(config, 4) == pytest.approx(0.5)
    assert rate(dataclasses.replace(config, rate_schedule="constant"), 7) == 1.0


def test_a_checkpoint_of_another_family_is_no_beginning(made_set: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"no tensors")
    with pytest.raises(ModelError):
        run(made_set, tmp_path / "run", config=small(), init=junk)
