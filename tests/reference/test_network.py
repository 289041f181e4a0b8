"""The reference network against the published programs' own outputs, and against the paper's formulas."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from support.helpers import TINY, model_spec
from tfs_rt.sampling.loop import sample
from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import Recipe, Schedule
from tfs_rt_reference.checkpoints.load import Checkpoint, load_checkpoint
from tfs_rt_reference.diffusion import ancestral_chain, q_sample
from tfs_rt_reference.engine import TorchEngine
from tfs_rt_reference.network import TMFA, UNet
from tfs_rt_studies.kernels.published_network import PUBLISHED

TINIES = ("tfsdiff_tiny", "sr3_tiny")


def published(parity: Path, name: str) -> Checkpoint:
    return load_checkpoint(parity / f"{name}_gen.pth", config=parity / f"{name}.json", scale=4)


@pytest.mark.parametrize("name", TINIES)
def test_one_step_equals_the_published_programs(parity: Path, name: str) -> None:
    recorded = np.load(parity / f"{name}_step.npz")
    network = published(parity, name).network
    eps = network(*(torch.from_numpy(recorded[key]) for key in ("condition", "x_t", "noise_level")))
    np.testing.assert_allclose(eps.numpy(), recorded["eps"], atol=1e-5)


@pytest.mark.parametrize("name", TINIES)
def test_the_references_chain_equals_the_published_programs(parity: Path, name: str) -> None:
    checkpoint = published(parity, name)
    recorded = {key: torch.from_numpy(value) for key, value in np.load(parity / f"{name}_chain.npz").items()}
    x_0 = ancestral_chain(
        checkpoint.network, checkpoint.spec, recorded["condition"], recorded["x_T"], recorded["noise"]
    )
    np.testing.assert_allclose(x_0.numpy(), recorded["x_0"].numpy(), atol=1e-4)


@pytest.mark.parametrize("name", TINIES)
def test_the_runtimes_table_and_loop_run_the_published_chain(parity: Path, name: str) -> None:
    checkpoint = published(parity, name)
    recorded = np.load(parity / f"{name}_chain.npz")
    steps = checkpoint.spec.schedule.n_timestep
    recipe = Recipe(sampler="ddpm", steps=steps, eta=0.0, spacing="t", sigma_max=1.0, sigma_min=1.0)
    noise = [recorded["x_T"], *recorded["noise"]]
    engine = TorchEngine(checkpoint.spec, checkpoint.network)
    x_0 = sample(engine, recorded["condition"], step_table(checkpoint.spec, recipe), lambda draw: noise[draw])
    np.testing.assert_allclose(x_0, recorded["x_0"], atol=1e-4)


def test_the_loop_equals_the_references_chain_without_any_recording() -> None:
    """The same as above for a clone that holds no recordings."""
    torch.manual_seed(0)
    schedule = Schedule(schedule="linear", n_timestep=12, linear_start=1e-4, linear_end=0.5)
    spec = model_spec(schedule=schedule)
    network = UNet(TINY).eval().requires_grad_(requires_grad=False)
    condition = torch.rand(2, 9, 16, 16) * 2 - 1
    noise = torch.randn(12, 2, 3, 16, 16)
    recipe = Recipe(sampler="ddpm", steps=12, eta=0.0, spacing="t", sigma_max=1.0, sigma_min=1.0)
    table = step_table(spec, recipe)
    ours = sample(TorchEngine(spec, network), condition.numpy(), table, lambda draw: noise[draw].numpy())
    theirs = ancestral_chain(network, spec, condition, noise[0], noise[1:])
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)


def test_the_published_key_list_maps_completely(parity: Path) -> None:
    keys = json.loads((parity / "tfsdiff_128_256_keys.json").read_text())
    with torch.device("meta"):
        state = UNet(PUBLISHED).state_dict()
    assert {f"denoise_fn.{name}": list(tensor.shape) for name, tensor in state.items()} == keys


def test_the_published_configuration_has_97811034_parameters() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(PUBLISHED).parameters()) == 97_811_034


def test_tmfa_is_the_papers_gate_written_out(rng: np.random.Generator) -> None:
    gate = TMFA(9)
    x = rng.standard_normal((2, 9, 5, 6)).astype(np.float32)
    w1, b1, w2, b2 = (p.detach().numpy() for p in gate.parameters())
    squeezed = x.mean(axis=(2, 3))
    hidden = np.maximum(squeezed @ w1.T + b1, 0)
    weights = 1 / (1 + np.exp(-(hidden @ w2.T + b2)))
    got = gate(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(got, x * weights[:, :, None, None], atol=1e-6)


def test_the_papers_gate_leaves_x_t_alone_and_the_published_one_does_not() -> None:
    condition = torch.rand(1, 9, 8, 8)
    x_t = torch.rand(1, 3, 8, 8)
    paper = UNet(dataclasses.replace(TINY, gate="condition"))
    torch.testing.assert_close(paper._apply_gate(condition, x_t)[:, 9:], x_t)
    code = UNet(TINY)
    assert not torch.allclose(code._apply_gate(condition, x_t)[:, 9:], x_t)


@pytest.mark.parametrize(
    "changes",
    [{}, {"patch_size": 2}, {"gate": "none", "in_channel": 6}, {"condition_skip": True}, {"sigma_data": 0.5}],
)
def test_every_form_gives_an_image_of_the_inputs_size(changes: dict) -> None:
    arch = dataclasses.replace(TINY, **changes)
    size = (3 * arch.stride, 5 * arch.stride)
    x_t = torch.randn(2, 3, *size)
    got = UNet(arch)(torch.randn(2, arch.condition_channels, *size), x_t, torch.rand(2, 1))
    assert got.shape == x_t.shape


def test_q_sample_has_the_mean_and_variance_of_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.full((1, 3, 200, 200), 0.5)
    eps = torch.randn(1, 3, 200, 200, generator=generator)
    x_t = q_sample(x_0, torch.tensor([[0.6]]), eps)
    assert float(x_t.mean()) == pytest.approx(0.3, abs=0.02)
    assert float(x_t.var()) == pytest.approx(0.64, abs=0.02)
