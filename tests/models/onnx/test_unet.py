"""A bundle's graph is the network that its manifest describes, node by node, or every backend refuses it."""

import dataclasses
import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from support.helpers import TINY, Cli, write_case
from tfs_rt.errors import ModelError
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.models.manifest import BundleFile, write_manifest
from tfs_rt.models.onnx.half_unet import check_half_network
from tfs_rt.models.onnx.unet import check_network
from tfs_rt.models.onnx.weights import is_shared, weights, with_weights
from tfs_rt_export.graph import write_half_graph, write_step_graph
from tfs_rt_export.half import HalfStep
from tfs_rt_reference.network import UNet

BACKENDS = {"auto": "llvmlite", "winograd": "llvmlite", "ort-cpu": "onnxruntime", "openvino": "openvino"}
BACKENDS["torch"] = "torch"


@pytest.fixture(scope="module")
def shipped(x4: Path) -> Bundle:
    return load_bundle(x4)


@pytest.fixture(scope="module")
def data(shipped: Bundle) -> bytes:
    return shipped.read("fp32")


@pytest.fixture
def model(data: bytes) -> ModelProto:
    return onnx.load_from_string(data)


def sealed(shipped: Bundle, folder: Path, data: bytes | None = None, **architecture: Any) -> Path:
    """A bundle of the shipped one's network, or of other bytes, with another architecture; both seals are right."""
    folder.mkdir()
    file = folder / "step.onnx"
    file.write_bytes(shipped.read("fp32") if data is None else data)
    manifest = shipped.manifest
    changed = dataclasses.replace(manifest.model.architecture, **architecture)
    files = {"fp32": BundleFile(path=file.name, sha256=hashlib.sha256(file.read_bytes()).hexdigest())}
    spec = dataclasses.replace(manifest.model, architecture=changed)
    write_manifest(folder, dataclasses.replace(manifest, model=spec, files=files))
    return folder


def negated(model: ModelProto) -> bytes:
    """The prediction times -1, which no weight shows."""
    last = next(node for node in model.graph.node if "prediction" in node.output)
    last.output[0] = "before"
    model.graph.initializer.append(numpy_helper.from_array(np.array(-1, dtype=np.float32), "minus"))
    model.graph.node.append(helper.make_node("Mul", ["before", "minus"], ["prediction"]))
    return model.SerializeToString()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_negated_graph_with_its_weights_intact_is_refused_for_every_backend(
    shipped: Bundle, model: ModelProto, tmp_path: Path, backend: str, cli: Cli
) -> None:
    if importlib.util.find_spec(BACKENDS[backend]) is None:
        pytest.skip(f"{BACKENDS[backend]} is not installed")
    bundle = sealed(shipped, tmp_path / "b", negated(model))
    with pytest.raises(ModelError, match="step.onnx: is not the network that model.json describes"):
        load_pipeline(bundle, backend=backend)
    line = ("fuse", write_case(tmp_path / "case"), "-o", tmp_path / "out", "--model", bundle, "--backend", backend)
    ended = cli(*line)
    assert ended.code == 5
    assert len(ended.err.splitlines()) == 1


OTHERS: dict[str, dict[str, Any]] = {
    "narrower": {"inner_channel": 32},
    "other groups": {"norm_groups": 32},  # no weight shows them
    "other levels": {"channel_multiplier": (1, 4)},
    "attention": {"attention_levels": (0,)},
    "fewer blocks": {"res_blocks": 1},
    "another gate": {"gate": "condition"},
    "no gate": {"gate": "none"},
    "other patches": {"patch_size": 2},
    "no skip": {"condition_skip": False},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_manifest_that_describes_another_network_is_refused_by_auto(
    shipped: Bundle, tmp_path: Path, what: str
) -> None:
    with pytest.raises(ModelError, match="step.onnx: is not the network that model.json describes"):
        load_pipeline(sealed(shipped, tmp_path / "b", **OTHERS[what]))


@pytest.mark.parametrize("command", ["inspect", "build"])
def test_other_commands_refuse_it_too(
    shipped: Bundle, model: ModelProto, tmp_path: Path, cli: Cli, command: str
) -> None:
    bundle = sealed(shipped, tmp_path / "b", negated(model))
    ended = cli(command, bundle, *(["--engine", "tensorrt-rtx"] if command == "build" else []))
    assert ended.code == 5, ended.err


# --- single changes of the graph, all weights as they are


def refused(model: ModelProto, shipped: Bundle) -> None:
    with pytest.raises(ValueError, match="."):
        check_network(model.SerializeToString(), shipped.manifest.model.architecture)


def the(model: ModelProto, operation: str, output: str = "") -> NodeProto:
    """The last node of an operation, or the one that makes a value."""
    return [n for n in model.graph.node if n.op_type == operation and (not output or output in n.output)][-1]


def attribute(operation: str, name: str, value: Any) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        node = the(model, operation)
        kept = [item for item in node.attribute if item.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def inputs(operation: str, order: Callable[[list[str]], list[str]]) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        node = the(model, operation)
        node.input[:] = order(list(node.input))

    return change


def constant(operation: str, place: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[ModelProto], None]:
    """Another constant in one node's place."""

    def changed(model: ModelProto) -> None:
        node = the(model, operation)
        (tensor,) = (t for t in model.graph.initializer if t.name == node.input[place])
        model.graph.initializer.append(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), "other"))
        node.input[place] = "other"

    return changed


def other_weight(model: ModelProto) -> None:
    """A block's convolution with the weight of another block, of the same shape."""
    first, second = (f"ups.{i}.res_block.block2.block.3.weight.float32" for i in (5, 6))
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.input[:] = [second if name == first else name for name in node.input]


def no_silu(model: ModelProto) -> None:
    node = the(model, "Conv", "conv2d_20")
    node.input[0] = "group_norm_15"


def other_output(model: ModelProto) -> None:
    model.graph.output[0].name = "pixel_shuffle"


def second_output(model: ModelProto) -> None:
    model.graph.output.add().CopyFrom(model.graph.output[0])
    model.graph.output[1].name = "pixel_shuffle"


def another_input(model: ModelProto) -> None:
    model.graph.input.add().CopyFrom(model.graph.input[0])
    model.graph.input[-1].name = "more"


def turned_where_large(model: ModelProto) -> None:
    """The attention's image, turned only where it has 2^20 pixels: no trial on a small image shows it."""
    (height,), (width,) = (
        [n.output[0] for n in model.graph.node if n.op_type == "Squeeze" and n.input[0] == shape]
        for shape in ("val_7", "val_15")
    )
    limit = numpy_helper.from_array(np.array(2**20, dtype=np.int64), "limit")
    model.graph.initializer.append(limit)
    nodes = [
        helper.make_node("Mul", [height, width], ["pixels"]),
        helper.make_node("Div", ["pixels", "limit"], ["is_large"]),
        helper.make_node("Add", ["add_3", "is_large"], ["other_height"]),
    ]
    reshape = the(model, "Reshape", "val_148")
    reshape.input[0] = "other_height"
    at = list(model.graph.node).index(reshape)
    for node in reversed(nodes):
        model.graph.node.insert(at, node)


def dimension(value: str, axis: int, size: int | None) -> Callable[[ModelProto], None]:
    """Another size of an input or output; None leaves it open."""

    def change(model: ModelProto) -> None:
        (declared,) = (v for v in [*model.graph.input, *model.graph.output] if v.name == value)
        dim = declared.type.tensor_type.shape.dim[axis]
        if size is None:
            dim.dim_param = "any"
        else:
            dim.dim_value = size

    return change


def element_type(value: str, kind: int) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        (declared,) = (v for v in [*model.graph.input, *model.graph.output] if v.name == value)
        declared.type.tensor_type.elem_type = kind

    return change


def no_shape(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def typed_data(field: str) -> Callable[[ModelProto], None]:
    """Other values beside a weight's raw data."""

    def change(model: ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 1)
        getattr(tensor, field).extend([5] * tensor.dims[0])

    return change


CHANGES: dict[str, Callable[[ModelProto], None]] = {
    "another stride": attribute("Conv", "strides", [2, 2]),
    "other pads": attribute("Conv", "pads", [0, 1, 1, 1]),
    "dilations": attribute("Conv", "dilations", [2, 2]),
    "groups of a convolution": attribute("Conv", "group", 3),
    "pads of its own": attribute("Conv", "auto_pad", "SAME_UPPER"),
    "fewer groups": attribute("GroupNormalization", "num_groups", 8),
    "another epsilon": attribute("GroupNormalization", "epsilon", 1e-3),
    "an unknown attribute": attribute("Sigmoid", "alpha", 2.0),
    "another factor of a linear layer": attribute("Gemm", "alpha", 2.0),
    "a matrix the other way round": attribute("Gemm", "transA", 1),
    "another axis": attribute("Softmax", "axis", 1),
    "another order of axes": attribute("Transpose", "perm", [1, 0, 2]),
    "another order of pixels": attribute("DepthToSpace", "mode", "DCR"),
    "another way to enlarge": attribute("Resize", "nearest_mode", "ceil"),
    "a skip that comes first": inputs("Concat", lambda names: names[::-1]),
    "another product": inputs("MatMul", lambda names: names[::-1]),
    "a bias left out": inputs("Conv", lambda names: names[:2] if len(names) > 2 else [names[0], "downs.0.weight"]),
    "another scale of the attention": constant("Div", 1, lambda value: value * np.float32(1.01)),
    "another size": constant("Resize", 2, lambda value: value * np.float32(2)),
    "other axes": constant("ReduceMean", 1, lambda value: np.array([1, 2])),
    "another weight": other_weight,
    "no SiLU": no_silu,
    "another output": other_output,
    "a second output": second_output,
    "another input": another_input,
    "another shape where images are large": turned_where_large,
    "an input of one height": dimension("condition", 2, 64),
    "an input of no height": dimension("condition", 2, 0),
    "an input of one batch": dimension("noise_level", 0, 1),
    "an output of one width": dimension("prediction", 3, 64),
    "an output of any channels": dimension("prediction", 1, None),
    "an input without a shape": no_shape,
    "an output in half": element_type("prediction", TensorProto.FLOAT16),
    "an input in double": element_type("x_t", TensorProto.DOUBLE),
    "a weight with float data beside its raw data": typed_data("float_data"),
    "a weight with integers beside its raw data": typed_data("int32_data"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_graph_with_one_change_is_refused(shipped: Bundle, model: ModelProto, what: str) -> None:
    before = model.SerializeToString()
    CHANGES[what](model)
    assert model.SerializeToString() != before
    refused(model, shipped)


def test_whatever_stands_behind_any_node_of_the_network_is_noticed(shipped: Bundle, model: ModelProto) -> None:
    """One value in 25 that the prediction depends on is followed by a Relu."""
    nodes = [node for node in model.graph.node if node.op_type not in ("Shape", "Squeeze")]
    for node in nodes[::25]:
        other = ModelProto()
        other.CopyFrom(model)
        for later in other.graph.node:
            later.input[:] = ["rectified" if name == node.output[0] else name for name in later.input]
        at = list(model.graph.node).index(node)
        other.graph.node.insert(at + 1, helper.make_node("Relu", [node.output[0]], ["rectified"]))
        refused(other, shipped)


def test_names_and_the_order_of_sums_mean_nothing(shipped: Bundle, model: ModelProto) -> None:
    kept = {"prediction", "", *(t.name for t in model.graph.initializer), *(i.name for i in model.graph.input)}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if name in kept else f"other {name}" for name in names]
        if node.op_type in ("Add", "Mul"):
            node.input[:] = reversed(node.input)
    check_network(model.SerializeToString(), shipped.manifest.model.architecture)


def test_a_weight_that_is_not_finite_is_refused(shipped: Bundle, model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor).copy()
        if tensor.name.endswith("SE_block.linear2.bias") or tensor.name == "downs.0.weight":
            spoiled = value.copy()
            spoiled.flat[-1] = np.nan if value.ndim > 1 else np.inf
            tensor.CopyFrom(numpy_helper.from_array(spoiled, tensor.name))
            with pytest.raises(ValueError, match=f"{tensor.name} has NaN or infinite values"):
                check_network(model.SerializeToString(), shipped.manifest.model.architecture)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("backend", ["winograd", pytest.param("ort-cpu", marks=pytest.mark.slow)])
def test_huge_weights_end_in_one_line(shipped: Bundle, model: ModelProto, tmp_path: Path, backend: str) -> None:
    """They are finite, and what is computed of them is not; NumPy would warn of that, on stderr."""
    if importlib.util.find_spec(BACKENDS[backend]) is None:
        pytest.skip(f"{BACKENDS[backend]} is not installed")
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype.kind == "f" and value.size > 64:
            huge = np.full(value.shape, 65504 if value.dtype == np.float16 else 3e38, dtype=value.dtype)
            tensor.CopyFrom(numpy_helper.from_array(huge, tensor.name))
    bundle = sealed(shipped, tmp_path / "b", model.SerializeToString())
    line = ["fuse", write_case(tmp_path / "case"), "-o", tmp_path / "out", "--model", bundle, "--backend", backend]
    command = [sys.executable, "-m", "tfs_rt", *map(str, line), "-q"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 6
    (only,) = ended.stderr.splitlines()
    assert "self-test" in only


# --- the half graph


@pytest.fixture(scope="module")
def whole(shipped: Bundle) -> bytes:
    return shipped.half_graph()


def test_a_half_graph_of_other_weights_or_another_order_of_biases_is_refused(shipped: Bundle, whole: bytes) -> None:
    arch = shipped.manifest.model.architecture
    own = shipped.weights()
    biases = shipped.manifest.biases
    check_half_network(whole, arch, own, biases)
    for others in (biases[::-1], biases[:-1], (*biases, "mid.9.res_block.noise_func")):
        with pytest.raises(ValueError, match="bias"):
            check_half_network(whole, arch, own, others)
    for name in ("mid.1.res_block.block1.block.0.weight", "final_conv.block.3.bias", "ups.0.res_block.res_conv.weight"):
        other = own | {name: own[name] * np.float32(1.01)}
        with pytest.raises(ValueError, match="as the network does"):
            check_half_network(whole, arch, other, biases)


def test_a_half_graph_with_one_change_is_refused(shipped: Bundle, whole: bytes) -> None:
    arch = shipped.manifest.model.architecture
    own = shipped.weights()
    biases = shipped.manifest.biases
    changes = (
        negated,
        attribute("Cast", "to", TensorProto.BFLOAT16),
        attribute("Slice", "axis", 1),
        dimension("bias", 1, 7),
        element_type("x", TensorProto.FLOAT16),
    )
    for change in changes:
        model = onnx.load_from_string(whole)
        changed = change(model) or model.SerializeToString()
        with pytest.raises(ValueError, match="network|declared"):
            check_half_network(changed, arch, own, biases)


# --- every form of the architecture

FORMS: dict[str, dict[str, Any]] = {
    "SR3, attention on two of three levels": {
        "gate": "none",
        "in_channel": 6,
        "channel_multiplier": (1, 2, 4),
        "attention_levels": (0, 2),
        "res_blocks": 2,
    },
    "one level": {"channel_multiplier": (1,), "attention_levels": (0,), "patch_size": 4},
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_what_the_exporter_writes_of_other_forms_is_their_network(form: str, tmp_path: Path) -> None:
    """The published form and the compact one are exported, and so checked, in `test_export`."""
    torch.manual_seed(0)
    network = UNet(dataclasses.replace(TINY, **FORMS[form])).eval().requires_grad_(requires_grad=False)
    write_step_graph(network, tmp_path / "step.onnx")
    check_network((tmp_path / "step.onnx").read_bytes(), network.arch)
    half = HalfStep(network).eval()
    write_half_graph(half, tmp_path / "half.onnx")
    own = weights((tmp_path / "step.onnx").read_bytes())
    shared = {name: weight.astype(np.float16) for name, weight in own.items() if is_shared(weight)}
    whole = with_weights((tmp_path / "half.onnx").read_bytes(), shared)
    check_half_network(whole, network.arch, own, half.biases)
