"""The half graph is the network in half precision where that does no harm, or it is not exported."""

import collections
import contextlib
import dataclasses
import hashlib
import io
import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.random import Generator
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from support.helpers import COMPACT, TINY, Cli, Outcome, model_spec
from tfs_rt.backends.noise_biases import bias_rows
from tfs_rt.cli import main
from tfs_rt.errors import ModelError
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.models.kinds import KINDS
from tfs_rt.models.manifest import BundleFile, write_manifest
from tfs_rt.models.onnx.protobuf import field, fields
from tfs_rt.models.onnx.weights import weights, with_weights
from tfs_rt.spec import Architecture
from tfs_rt_export import exporter
from tfs_rt_export.emulation import HalfEngine, HalfStorage, activation_ranges
from tfs_rt_export.half import FloatNorm, HalfAttention, HalfConv, HalfStep
from tfs_rt_export.half_gate import STEP_RELATIVE_L2, certify_half
from tfs_rt_reference.checkpoints.load import save_checkpoint
from tfs_rt_reference.engine import TorchEngine
from tfs_rt_reference.network import Block, Downsample, ResidualBlock, UNet, Upsample

pytestmark = pytest.mark.usefixtures("shared_graphs")

Exported = tuple[Bundle, UNet]
STEM = "downs.0.weight"
FORMS = ["compact", pytest.param("published", marks=pytest.mark.slow)]
LEVELS = [0.0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999]


def made_network(arch: Architecture = COMPACT) -> UNet:
    """Every tensor differs from every other, so that none can stand in for one."""
    torch.manual_seed(1)
    network = UNet(arch).eval().requires_grad_(requires_grad=False)
    for parameter in network.parameters():
        parameter += 0.05 * torch.randn(parameter.shape)
    return network


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A folder with a checkpoint `a` and the bundle `b` that the program made of it, and what it said."""
    folder = tmp_path_factory.mktemp("half")
    out = io.StringIO()
    err = io.StringIO()
    save_checkpoint(folder / "a.safetensors", made_network(), model_spec(COMPACT))
    line = ["tfs-rt", "export", folder / "a.safetensors", "-o", folder / "b", "--precision", "fp32,fp16", "--json"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", list(map(str, line)))
        with pytest.raises(SystemExit) as ended:
            main()
    return folder, Outcome(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A network in the published form, and a bundle of it with its half graph, which no gate has seen."""
    folder = tmp_path_factory.mktemp("published")
    save_checkpoint(folder / "a.safetensors", made_network(TINY), model_spec())
    request = exporter.Request(checkpoint=folder / "a.safetensors", output=folder / "b", half=True)
    with pytest.MonkeyPatch.context() as patch:
        for gate in ("certify", "certify_half"):
            patch.setattr(exporter, gate, lambda *_, **__: {})
        exporter.export_bundle(request, lambda text: None)
    return load_bundle(folder / "b"), made_network(TINY)


@pytest.fixture(scope="module")
def compact(exported: tuple[Path, Outcome]) -> Exported:
    return load_bundle(exported[0] / "b"), made_network()


def changed(tensor: TensorProto, change: Callable[[np.ndarray], np.ndarray]) -> None:
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(value).astype(value.dtype), tensor.name))


def with_change(
    bundle: Bundle, folder: Path, precision: str, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> Bundle:
    """A copy of a bundle with one tensor of a file changed, and sealed anew."""
    shutil.copytree(bundle.path, folder)
    file = folder / bundle.manifest.files[precision].path
    model = onnx.load(file)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name.removeprefix("network.") == name)
    changed(tensor, change)
    onnx.save(model, file)
    entry = BundleFile(path=file.name, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    write_manifest(folder, dataclasses.replace(bundle.manifest, files={**bundle.manifest.files, precision: entry}))
    return load_bundle(folder)


def altered(network: UNet, name: str, change: Callable[[Tensor], Tensor]) -> UNet:
    other = UNet(network.arch).eval().requires_grad_(requires_grad=False)
    other.load_state_dict({**network.state_dict(), name: change(network.state_dict()[name])})
    return other


def certified(bundle: Bundle, network: UNet, half: HalfStep | None = None) -> dict:
    reference = TorchEngine(bundle.manifest.model, network)
    return certify_half(bundle, half or HalfStep(network).eval(), reference, bundle.manifest.recipe)


def relative_l2(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours.astype(np.float64) - theirs) / np.linalg.norm(theirs))


def rows(bundle: Bundle, levels: list[float]) -> np.ndarray:
    manifest = bundle.manifest
    return bias_rows(manifest.model.architecture, bundle.weights(), manifest.biases, np.array(levels))


# --- the graph


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (3, 16, 40), (2, 64, 32)])
def test_the_spliced_graph_is_the_network_at_any_batch_and_size(
    form: str, batch: int, height: int, width: int, request: pytest.FixtureRequest, rng: Generator
) -> None:
    bundle, network = request.getfixturevalue(form)
    session = ort.InferenceSession(bundle.half_graph())
    condition, x_t = (rng.standard_normal((batch, c, height, width)).astype(np.float32) for c in (9, 3))
    for level in (0.05, 0.7, 0.99):
        row = rows(bundle, [level])
        (ours,) = session.run(None, {"x": np.concatenate([condition, x_t], axis=1), "bias": row})
        theirs = network(torch.from_numpy(condition), torch.from_numpy(x_t), torch.full((batch, 1), level)).numpy()
        assert relative_l2(np.asarray(ours), theirs) <= 5e-3  # half has eleven bits: 5e-4 an operation


def typed(bundle: Bundle) -> tuple[onnx.GraphProto, dict[str, int]]:
    model = onnx.load_from_string(bundle.half_graph())
    onnx.checker.check_model(model, full_check=True)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    return graph, types | {tensor.name: tensor.data_type for tensor in graph.initializer}


@pytest.mark.parametrize("form", FORMS)
def test_convolutions_and_products_are_half_and_the_islands_float32(form: str, request: pytest.FixtureRequest) -> None:
    bundle, network = request.getfixturevalue(form)
    graph, types = typed(bundle)
    inputs = collections.defaultdict(list)
    for node in graph.node:
        inputs[node.op_type] += [types[name] for name in node.input if name]
    assert set(inputs["Conv"]) == set(inputs["MatMul"]) == {TensorProto.FLOAT16}
    assert set(inputs["GroupNormalization"]) == set(inputs["Softmax"]) == {TensorProto.FLOAT}
    assert not {"Gemm", "Einsum", "InstanceNormalization"} & set(inputs)  # Turing has no float32 product
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert sum(node.op_type == "Conv" for node in graph.node) == len(convolutions)
    stored = {tensor.name.removeprefix("network."): tensor for tensor in graph.initializer}
    for name, tensor in network.state_dict().items():
        if "noise" in name:  # a table outside of the graph
            assert name not in stored
        else:
            half = isinstance(network.get_submodule(name.rpartition(".")[0]), nn.Conv2d)
            expected = tensor.half() if half else tensor
            np.testing.assert_array_equal(numpy_helper.to_array(stored[name]), expected.numpy())


@pytest.mark.parametrize("form", FORMS)
def test_the_half_file_holds_no_convolutions_weights(form: str, request: pytest.FixtureRequest) -> None:
    bundle, network = request.getfixturevalue(form)
    own = weights(bundle.read("fp16"))
    large = sum(tensor.numel() for tensor in network.state_dict().values() if tensor.ndim == 4)
    assert all(value.ndim < 4 for value in own.values())
    assert sum(value.size for value in own.values()) < large / 5


def test_a_half_file_that_was_tampered_with_is_refused(compact: Exported, tmp_path: Path) -> None:
    shutil.copytree(compact[0].path, tmp_path / "b")
    file = tmp_path / "b" / "step.fp16.onnx"
    model = onnx.load(file)
    changed(model.graph.initializer[0], lambda value: value + 1)
    onnx.save(model, file)
    with pytest.raises(ModelError, match="does not match its SHA-256"):
        load_bundle(tmp_path / "b").half_graph()


# --- the noise level's table


@pytest.mark.parametrize("form", FORMS)
def test_the_bias_rows_are_what_the_networks_own_modules_say(form: str, request: pytest.FixtureRequest) -> None:
    bundle, network = request.getfixturevalue(form)
    names = bundle.manifest.biases
    with torch.inference_mode():
        embedding = network.noise_level_mlp(torch.tensor(LEVELS)[:, None])
        theirs = torch.cat([network.get_submodule(f"{name}.noise_func")(embedding) for name in names], dim=1)
    ours = rows(bundle, LEVELS)
    assert len(names) == sum(isinstance(layer, ResidualBlock) for layer in network.modules())
    np.testing.assert_allclose(ours[:, : theirs.shape[1]], theirs.numpy(), atol=1e-6)
    assert ours.dtype == np.float32


def test_the_last_two_columns_are_the_preconditioning(compact: Exported, rng: Generator) -> None:
    bundle, network = compact
    said, x_t = (torch.from_numpy(rng.standard_normal((len(LEVELS), 3, 4, 4))) for _ in range(2))
    theirs = network._eps(said, x_t, torch.tensor(LEVELS, dtype=torch.float64)[:, None, None, None])
    a, b = (torch.from_numpy(rows(bundle, LEVELS)[:, i, None, None, None]) for i in (-2, -1))
    np.testing.assert_allclose((a * x_t - b * said).numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)


def test_levels_that_float16_merges_have_rows_of_their_own(compact: Exported) -> None:
    near = 0.9999
    nearer = 0.99999
    assert np.float16(near) == np.float16(nearer) == 1
    first, second = rows(compact[0], [near, nearer])
    assert np.abs(first[:-2] - second[:-2]).max() > 1e-6  # the biases themselves, not the preconditioning alone
    assert len(np.unique(rows(compact[0], [1 - 2**-k for k in range(8, 20)]), axis=0)) == 12


def test_rows_of_a_weight_that_is_missing_are_an_error(compact: Exported) -> None:
    arch = compact[0].manifest.model.architecture
    lacking = compact[0].weights()
    del lacking["noise_level_mlp.3.bias"]
    with pytest.raises(KeyError, match="noise_level_mlp.3.bias"):
        bias_rows(arch, lacking, compact[0].manifest.biases, np.array([0.5]))


# --- the emulation


def half_tensor(rng: Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape)).half()


def test_an_emulated_convolution_is_summed_wide_and_rounded_once(rng: Generator) -> None:
    x = half_tensor(rng, 2, 32, 9, 11)
    weight = half_tensor(rng, 16, 32, 3, 3)
    with HalfStorage():
        ours = F.conv2d(x, weight, padding=1)
    patches = np.lib.stride_tricks.sliding_window_view(
        np.pad(x.double().numpy(), [(0, 0)] * 2 + [(1, 1)] * 2), (3, 3), (2, 3)
    )
    exact = np.einsum("bchwij,ocij->bohw", patches, weight.double().numpy())
    rounded = exact.astype(np.float16)
    assert ours.dtype == torch.half
    # a sum of 288 in float32 is off by 1e-6 of it: less than one in a hundred is that near to the middle of two halves
    assert np.mean(ours.numpy() == rounded) > 0.99
    np.testing.assert_allclose(ours.numpy().astype(np.float64), exact, rtol=2**-11 * 1.01, atol=1e-5)
    assert np.abs(ours.numpy() - exact).max() > 1e-3  # it was rounded
    naive = np.zeros(rounded.shape, np.float16)  # a sum in half, which an engine does not make
    for c in range(32):
        for i, j in np.ndindex(3, 3):
            naive += (
                patches[:, c, :, :, i, j][:, None] * weight[:, c, i, j].double().numpy()[None, :, None, None]
            ).astype(np.float16)
    assert relative_l2(naive, exact) > 3 * relative_l2(ours.numpy(), exact)


def test_emulated_matrix_products_are_rounded_and_float32_ones_are_not(rng: Generator) -> None:
    a = half_tensor(rng, 3, 20, 64)
    b = half_tensor(rng, 3, 64, 20)
    with HalfStorage():
        half = a @ b
        full = a.float() @ b.float()
    assert (half.dtype, full.dtype) == (torch.half, torch.float32)
    np.testing.assert_array_equal(half.numpy(), full.half().numpy())


@pytest.mark.parametrize("form", FORMS)
def test_every_tensor_between_two_layers_is_half(form: str, request: pytest.FixtureRequest) -> None:
    bundle, network = request.getfixturevalue(form)
    half = HalfStep(network).eval()
    seen = collections.defaultdict(set)
    for layer in half.modules():
        layer.register_forward_hook(lambda layer, _, out: seen[type(layer)].add(out.dtype))
    engine = HalfEngine(bundle.manifest.model, half, bundle.weights())
    prediction = engine.predict(torch.zeros(1, 9, 16, 16), torch.ones(1, 3, 16, 16), 0.5)
    for kind in (HalfConv, HalfAttention, ResidualBlock, Block, Downsample, Upsample):
        assert seen[kind] == {torch.half}, kind
    assert seen[FloatNorm] == {torch.float32}
    assert prediction.dtype == torch.float32
    assert {layer.dtype for name, layer in half.named_parameters() if "norm" in name} <= {torch.float32}


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_stays_near_float32_at_all_noise_levels(
    form: str, request: pytest.FixtureRequest, rng: Generator
) -> None:
    bundle, network = request.getfixturevalue(form)
    engine = HalfEngine(bundle.manifest.model, HalfStep(network).eval(), bundle.weights())
    condition, x_t = (torch.from_numpy(rng.standard_normal((1, c, 32, 24)).astype(np.float32)) for c in (9, 3))
    for level in LEVELS[1:]:
        ours = engine.predict(condition, x_t, level).numpy()
        theirs = network(condition, x_t, torch.tensor([[level]])).numpy()
        assert 0 < relative_l2(ours, theirs) <= STEP_RELATIVE_L2


def test_the_largest_value_that_left_each_convolution_is_recorded(compact: Exported, rng: Generator) -> None:
    bundle, network = compact
    half = HalfStep(network).eval()
    largest = {}
    engine = HalfEngine(bundle.manifest.model, half, bundle.weights())
    x = [torch.from_numpy(rng.standard_normal((1, c, 16, 16)).astype(np.float32)) for c in (9, 3)]
    half.network.downs[0].register_forward_hook(lambda layer, _, out: largest.update(stem=out.abs().max().item()))
    with activation_ranges(half) as ranges:
        engine.predict(x[0], x[1], 0.5)
    assert ranges["network.downs.0"] == largest["stem"]
    assert len(ranges) == sum(isinstance(layer, HalfConv) for layer in half.modules())
    engine.predict(x[0] * 100, x[1], 0.5)
    assert ranges["network.downs.0"] < largest["stem"]  # nothing is noted any more


# --- the gate


def test_the_half_network_passes_its_gate(compact: Exported) -> None:
    found = certified(*compact)
    assert len(found["step"]["sigma"]) >= 8
    assert max(found["step"]["relative_l2"]) <= STEP_RELATIVE_L2
    assert min(loop["psnr"] for loop in found["loop"]) >= 50


def test_a_weight_changed_by_two_percent_does_not_pass(compact: Exported) -> None:
    bundle, network = compact
    half = HalfStep(altered(network, "final_conv.block.3.weight", lambda weight: weight * 1.02)).eval()
    with pytest.raises(ModelError, match="one step in half precision differs"):
        certified(bundle, network, half)


def test_a_nan_among_the_weights_does_not_pass(compact: Exported) -> None:
    bundle, network = compact
    half = HalfStep(altered(network, STEM, lambda weight: weight * float("nan"))).eval()
    with pytest.raises(ModelError, match="one step in half precision differs by nan"):
        certified(bundle, network, half)


def test_a_noise_level_in_half_precision_does_not_pass(compact: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = HalfEngine.bias
    monkeypatch.setattr(HalfEngine, "bias", lambda self, level: exact(self, float(np.float16(level))))
    with pytest.raises(ModelError, match="one step in half precision differs"):
        certified(*compact)


def naive_norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """A normalisation all in half precision."""
    groups = x.half().unflatten(1, (norm.num_groups, -1)).flatten(2)
    centred = groups - groups.mean(dim=-1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
    return scaled.reshape(x.shape) * norm.weight.half()[:, None, None] + norm.bias.half()[:, None, None]


def test_large_values_need_the_island_of_the_normalisations(
    compact: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Squares of values beyond 256 leave half's range; in float32 they pass, and the certificate tells of them."""
    network = altered(compact[1], STEM, lambda weight: weight * 8192)
    bundle = with_change(compact[0], tmp_path / "b", "fp32", STEM, lambda weight: weight * 8192)
    largest = certified(bundle, network)["largest_activation"]
    assert largest["value"] > 8e3
    monkeypatch.setattr(FloatNorm, "forward", naive_norm)
    with pytest.raises(ModelError, match="one step in half precision differs"):
        certified(bundle, network)


def test_a_half_graph_of_another_network_does_not_pass(
    compact: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, network = compact
    other = with_change(bundle, tmp_path / "b", "fp16", "final_conv.block.0.weight", lambda weight: weight * 1.02)
    with pytest.raises(ModelError, match="step.fp16.onnx: is not the network that model.json describes"):
        other.half_graph()
    # The gate finds it by itself, without the comparison of graphs.
    unchecked = dataclasses.replace(KINDS["diffusion"], check_half=lambda *_: None)
    monkeypatch.setitem(KINDS, "diffusion", unchecked)
    with pytest.raises(ModelError, match="the half graph differs"):
        certified(other, network)


def test_a_half_graph_with_another_networks_convolutions_does_not_pass(compact: Exported, tmp_path: Path) -> None:
    bundle, network = compact
    other = with_change(bundle, tmp_path / "b", "fp32", STEM, lambda weight: -weight)
    with pytest.raises(ModelError, match="the half graph differs"):
        certified(other, network)


# --- the command


def test_the_manifest_has_the_half_graph_its_biases_and_its_certificate(exported: tuple[Path, Outcome]) -> None:
    folder, said = exported
    manifest = load_bundle(folder / "b").manifest
    assert said.code == 0
    assert "warning" not in said.err
    assert set(manifest.files) == {"fp32", "fp16"}
    blocks = [name for name, layer in made_network().named_modules() if isinstance(layer, ResidualBlock)]
    assert list(manifest.biases) == [f"{name}.noise_func" for name in blocks]
    assert manifest.fidelity == json.loads(said.out)
    assert max(manifest.fidelity["fp16"]["step"]["graph_relative_l2"]) <= STEP_RELATIVE_L2
    assert said.err.count("one step: relative error") == 2


@pytest.mark.parametrize("precision", ["fp64", "fp16", "", "fp32,fp16,int8", "fp32;fp16", "fp32, fp16", "FP32"])
def test_another_precision_is_refused_before_anything_is_read(cli: Cli, tmp_path: Path, precision: str) -> None:
    code, out, err = cli("export", tmp_path / "absent.pth", "-o", tmp_path / "b", "--precision", precision)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "write fp32 or fp32,fp16" in err


@pytest.fixture
def traced(exported: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[float], Path]:
    """Export again, of a network with another stem, without waiting for the tracer: its graphs differ in one tensor."""
    traced = load_bundle(exported[0] / "b")

    def prepare(factor: float) -> Path:
        shutil.rmtree(tmp_path / "traced", ignore_errors=True)
        network = altered(made_network(), STEM, lambda weight: weight * factor)
        save_checkpoint(tmp_path / "a.safetensors", network, model_spec(COMPACT))
        bundle = with_change(traced, tmp_path / "traced", "fp32", STEM, lambda weight: weight * factor)
        for precision, writer in (("fp32", "write_step_graph"), ("fp16", "write_half_graph")):
            source = bundle.path / bundle.manifest.files[precision].path
            monkeypatch.setattr(exporter, writer, lambda _, path, source=source: shutil.copy(source, path))
        return tmp_path / "a.safetensors"

    return prepare


def test_values_near_the_end_of_half_precision_are_warned_of(
    traced: Callable[[float], Path], cli: Cli, tmp_path: Path
) -> None:
    code, _, err = cli("export", traced(8192.0), "-o", tmp_path / "b", "--precision", "fp32,fp16")
    assert code == 0
    assert "warning" in err
    assert "half precision ends at 65504" in err
    assert load_bundle(tmp_path / "b").manifest.fidelity["fp16"]["largest_activation"]["value"] > 8e3


@pytest.mark.parametrize("factor", [3e5, 1e7])  # its answers overflow, and the weights themselves
def test_an_overflow_in_half_precision_is_refused_and_leaves_nothing(
    traced: Callable[[float], Path], cli: Cli, tmp_path: Path, factor: float
) -> None:
    code, _, err = cli("export", traced(factor), "-o", tmp_path / "b", "--precision", "fp32,fp16", "-q")
    assert (code, err.count("\n")) == (5, 1)
    assert "one step in half precision differs" in err
    assert "leave fp16 out" in err
    assert not (tmp_path / "b").exists()
    assert cli("export", traced(factor), "-o", tmp_path / "b").code == 0  # in float32 it is as good as any


def test_a_bundle_without_the_half_graph_stays_as_it_was(
    traced: Callable[[float], Path], cli: Cli, tmp_path: Path
) -> None:
    line = ("export", traced(1.0), "-o", tmp_path / "b", "-q", "--overwrite")
    assert cli(*line, "--precision", "fp16,fp32").code == 0
    both = (tmp_path / "b" / "step.onnx").read_bytes()
    assert cli(*line).code == 0
    bundle = load_bundle(tmp_path / "b")
    assert sorted(path.name for path in bundle.path.iterdir()) == ["model.json", "step.onnx"]
    assert bundle.read("fp32") == both
    assert (set(bundle.manifest.files), bundle.manifest.biases) == ({"fp32"}, ())
    assert "fp16" not in bundle.manifest.fidelity
    with pytest.raises(ModelError, match="no fp16 network, only fp32"):
        bundle.half_graph()


# --- weights and protobuf without the onnx package


def test_the_weights_are_those_that_onnx_reads(x4: Path) -> None:
    data = (x4 / "step.onnx").read_bytes()
    ours = weights(data)
    model = onnx.load_from_string(data)
    theirs = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type in (1, 10)}
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, strict=True)


def test_added_weights_are_found_by_us_and_by_onnx(compact: Exported, rng: Generator) -> None:
    data = compact[0].read("fp32")
    added = {}
    for name, shape in (("scalar", ()), ("row", (300,)), ("Ω", (2, 3, 4, 5)), ("empty", (0, 2))):
        added[name] = rng.standard_normal(shape).astype(np.float16 if name == "row" else np.float32)
    longer = with_weights(data, added)
    for found in (
        weights(longer),
        {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(longer).graph.initializer},
    ):
        for name, value in added.items():
            np.testing.assert_array_equal(found[name], value, strict=True)
    before = onnx.load_from_string(data)
    after = onnx.load_from_string(longer)
    assert (before.graph.node, before.opset_import) == (after.graph.node, after.opset_import)
    assert weights(longer).keys() == weights(data).keys() | added.keys()


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 16383, 16384, 2**31 - 1, 2**31, 2**63 - 1])
def test_fields_are_written_as_protobuf_writes_them(number: int) -> None:
    theirs = TensorProto(dims=[number, 3], data_type=1, name="é" * (number % 200), raw_data=bytes(number % 300))
    name = theirs.name.encode()
    raw = theirs.raw_data
    ours = field(1, number) + field(1, 3) + field(2, 1) + field(8, name) + field(9, raw)
    assert ours == theirs.SerializeToString()
    read = [bytes(value) if isinstance(value, memoryview) else value for _, value in fields(memoryview(ours))]
    assert read == [number, 3, 1, name, raw]


def model_of(tensor: bytes) -> bytes:
    return field(7, field(5, tensor))


@pytest.mark.parametrize(
    "data",
    [
        b"hello world",
        b"\xff" * 20,
        b"\x3a\xff\xff\xff\xff\x0f",  # a graph that ends beyond the file
        b"\x3b",  # a group, which protobuf has given up
        model_of(field(2, 1) + field(8, b"\xff\xfe") + field(9, bytes(4))),  # a name that is no text
        model_of(field(1, 5) + field(2, 1) + field(8, b"w") + field(9, bytes(4))),  # five numbers in four bytes
        model_of(field(1, 1) + field(2, 1) + field(8, b"w") + field(9, bytes(3))),
        model_of(field(1, 2**64 - 1) + field(2, 1) + field(8, b"w") + field(9, bytes(4))),  # -1: "as many as there are"
        model_of(field(1, b"\x80") + field(2, 1)),  # packed, and cut
        model_of(field(1, 1) * 100 + field(2, 1) + field(9, bytes(4))),  # more axes than an array has
    ],
)
def test_what_is_no_model_has_no_weights(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - NumPy's or ours
        weights(data)


def test_no_flipped_byte_ends_in_anything_but_a_refusal() -> None:
    tensors = [numpy_helper.from_array(np.ones((2, 3), kind), f"w{kind}") for kind in ("f4", "f2", "i8")]
    whole = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], tensors)).SerializeToString()
    dice = random.Random(0)
    outcomes: collections.Counter[int | str] = collections.Counter()
    for _ in range(5000):
        data = bytearray(whole)
        data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            outcomes[len(weights(bytes(data[: dice.choice([None, dice.randrange(len(data))])])))] += 1
        except ValueError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 1000
    assert outcomes[2] > 1000


def test_a_bundle_whose_weights_cannot_be_read_is_refused(compact: Exported, tmp_path: Path) -> None:
    shutil.copytree(compact[0].path, tmp_path / "b")
    data = model_of(field(1, 5) + field(2, 1) + field(8, b"w") + field(9, bytes(4)))
    (tmp_path / "b" / "step.onnx").write_bytes(data)
    entry = BundleFile(path="step.onnx", sha256=hashlib.sha256(data).hexdigest())
    files = {**compact[0].manifest.files, "fp32": entry}
    write_manifest(tmp_path / "b", dataclasses.replace(compact[0].manifest, files=files))
    with pytest.raises(ModelError, match="step.onnx: is not the network"):
        load_bundle(tmp_path / "b").half_graph()
