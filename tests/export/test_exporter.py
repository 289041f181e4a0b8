"""An exported bundle equals the reference, or there is none."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.random import Generator

from support.helpers import COMPACT, TINY, model_spec
from tfs_rt.backends.ort_cpu import OrtCpuEngine, load
from tfs_rt.errors import ModelError, UsageError
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.spec import Architecture
from tfs_rt_export.exporter import Request, default_recipe, export_bundle
from tfs_rt_export.gate import certify
from tfs_rt_reference.checkpoints.load import save_checkpoint
from tfs_rt_reference.engine import TorchEngine
from tfs_rt_reference.engine import load as load_reference
from tfs_rt_reference.network import UNet

pytestmark = pytest.mark.usefixtures("shared_graphs")

Exported = tuple[Bundle, UNet]


def silent(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    def run(arch: Architecture = TINY) -> Exported:
        folder = tmp_path_factory.mktemp("export")
        torch.manual_seed(0)
        network = UNet(arch).eval().requires_grad_(requires_grad=False)
        save_checkpoint(folder / "a.safetensors", network, model_spec(network.arch))
        export_bundle(Request(checkpoint=folder / "a.safetensors", output=folder / "b"), silent)
        return load_bundle(folder / "b"), network

    return run


@pytest.fixture(scope="module")
def published(export: Callable[..., Exported]) -> Exported:
    return export()


@pytest.fixture(scope="module")
def compact(export: Callable[..., Exported]) -> Exported:
    return export(COMPACT)


# Of the published form `test_graph` traces a smaller network in the quick tests.
@pytest.mark.parametrize("form", [pytest.param("published", marks=pytest.mark.slow), "compact"])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (3, 16, 40), (2, 64, 32)])
def test_batch_and_size_are_free(
    form: str, batch: int, height: int, width: int, request: pytest.FixtureRequest, rng: Generator
) -> None:
    bundle, network = request.getfixturevalue(form)
    arrays = [rng.standard_normal((batch, c, height, width)).astype(np.float32) for c in (9, 3)]
    level = rng.uniform(0, 1, (batch, 1)).astype(np.float32)
    session = ort.InferenceSession(bundle.read("fp32"))
    (ours,) = session.run(None, dict(zip(("condition", "x_t", "noise_level"), (*arrays, level), strict=True)))
    theirs = network(*map(torch.from_numpy, (*arrays, level))).numpy()
    np.testing.assert_allclose(np.asarray(ours), theirs, atol=2e-5)


def test_the_manifest_carries_the_certificate_and_the_source(compact: Exported) -> None:
    manifest = compact[0].manifest
    assert len(manifest.fidelity["step"]["sigma"]) >= 8
    assert max(manifest.fidelity["step"]["relative_l2"]) < 1e-4
    assert manifest.fidelity["loop"][0]["within_one_level"] >= 0.999
    assert re.fullmatch(r"[0-9a-f]{64}", manifest.source["sha256"])
    assert manifest.exporter["torch"]


def test_the_torch_backend_rebuilds_the_network_from_the_bundle(compact: Exported) -> None:
    bundle, network = compact
    rebuilt = load_reference(bundle).network.state_dict()
    assert all(torch.equal(rebuilt[name], tensor) for name, tensor in network.state_dict().items())


def altered(network: UNet, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> UNet:
    other = UNet(network.arch).eval().requires_grad_(requires_grad=False)
    other.load_state_dict({**network.state_dict(), name: change(network.state_dict()[name])})
    return other


def test_another_network_does_not_pass_the_gate(compact: Exported) -> None:
    bundle, network = compact
    other = altered(network, "mid.0.res_block.block1.block.3.weight", lambda weight: weight * 1.01)
    with pytest.raises(ModelError, match="one step differs"):
        certify(load(bundle), TorchEngine(bundle.manifest.model, other), bundle.manifest.recipe, weights="float32")


def test_a_graph_that_mixes_the_images_of_a_batch_does_not_pass_the_gate(compact: Exported) -> None:
    bundle, network = compact
    model = onnx.load_from_string(bundle.read("fp32"))
    for node in model.graph.node:
        node.input[:] = ["mean_level" if name == "noise_level" else name for name in node.input]
    axes = onnx.numpy_helper.from_array(np.array([0]), "axes")
    model.graph.initializer.append(axes)
    nodes = [
        onnx.helper.make_node("ReduceMean", ["noise_level", "axes"], ["one_level"], keepdims=1),
        onnx.helper.make_node("Shape", ["noise_level"], ["level_shape"]),
        onnx.helper.make_node("Expand", ["one_level", "level_shape"], ["mean_level"]),
    ]
    model.graph.node.reverse()
    model.graph.node.extend(reversed(nodes))
    model.graph.node.reverse()
    engine = OrtCpuEngine(bundle.manifest.model, lambda: ort.InferenceSession(model.SerializeToString()))
    engine.try_out()
    with pytest.raises(ModelError, match="one step differs"):
        certify(engine, TorchEngine(bundle.manifest.model, network), bundle.manifest.recipe, weights="float32")


def test_a_network_that_returns_nan_does_not_pass_the_gate(compact: Exported) -> None:
    bundle, network = compact
    other = altered(network, "final_conv.block.3.bias", lambda bias: bias * float("nan"))
    with pytest.raises(ModelError, match="one step differs"):
        certify(load(bundle), TorchEngine(bundle.manifest.model, other), bundle.manifest.recipe, weights="float32")


def test_below_the_bar_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "a.safetensors", UNet(COMPACT), model_spec(COMPACT))
    monkeypatch.setattr("tfs_rt_export.gate.STEP_RELATIVE_L2", {"float32": 0.0})
    with pytest.raises(ModelError, match="fidelity gate"):
        export_bundle(Request(checkpoint=tmp_path / "a.safetensors", output=tmp_path / "b"), silent)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_an_existing_output_is_not_overwritten_unasked(compact: Exported, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="already holds a bundle"):
        export_bundle(Request(checkpoint=Path("x"), output=compact[0].path), silent)
    with pytest.raises(UsageError, match="exists and is not a model bundle"):
        export_bundle(Request(checkpoint=Path("x"), output=tmp_path, overwrite=True), silent)


def test_overwriting_replaces_the_bundle(export: Callable[..., Exported]) -> None:
    bundle, _ = export(COMPACT)
    checkpoint = bundle.path.parent / "a.safetensors"
    (bundle.path / "README.md").write_text("the card")
    export_bundle(Request(checkpoint=checkpoint, output=bundle.path, steps=3, overwrite=True), silent)
    assert (bundle.path / "README.md").read_text() == "the card"
    assert load_bundle(bundle.path).manifest.recipe.steps == 3
    assert sorted(path.name for path in bundle.path.parent.iterdir()) == ["a.safetensors", "b"]


def test_default_recipes_stay_within_the_schedule() -> None:
    short = dataclasses.replace(model_spec().schedule, n_timestep=20, linear_start=1e-4, linear_end=0.5)
    recipe = default_recipe(model_spec(schedule=short, prediction="x0"), sampler="ddim", steps=None)
    assert recipe.sigma_max < 22
    eps = default_recipe(model_spec(), sampler="ddim", steps=None)
    assert (eps.sigma_max, eps.steps) == (20.0, 8)
