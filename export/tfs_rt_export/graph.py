"""PyTorch network -> ONNX graphs: a portable one in float32, and the one for FP16 engines."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.export import Dim

from tfs_rt.models.onnx.weights import is_shared
from tfs_rt.spec import Architecture
from tfs_rt_export.half import HalfStep
from tfs_rt_reference.network import UNet

LARGE = 256  # elements: smaller tensors (biases, normalisations) stay float32
OPSET = 21  # the first with GroupNormalization in the sense of PyTorch's


def write_step_graph(network: UNet, path: Path) -> None:
    """Write `step.onnx`: condition, x_t, noise_level -> prediction. All weights lie inside the file."""
    arch = network.arch
    image = _image(network.arch)
    size = (8 * arch.stride, 10 * arch.stride)
    example = {
        "condition": torch.zeros(2, arch.condition_channels, *size),
        "x_t": torch.zeros(2, arch.out_channel, *size),
        "noise_level": torch.zeros(2, 1),
    }
    shapes = {"condition": image, "x_t": image, "noise_level": {0: image[0]}}
    program = _trace(network, example, shapes)
    _restore_names(program.model.graph, network)
    program.save(path, external_data=False)


def write_half_graph(half: HalfStep, path: Path) -> None:
    """Write `step.fp16.onnx`: x, bias -> prediction, without the convolutions' weights, which `step.onnx` holds."""
    arch = half.network.arch
    example = {
        "x": torch.zeros(2, arch.in_channel, 8 * arch.stride, 10 * arch.stride),
        "bias": torch.zeros(1, half.columns),
    }
    program = _trace(half, example, {"x": _image(arch), "bias": None})
    graph = program.model.graph
    for name, value in list(graph.initializers.items()):
        if value.const_value is not None and is_shared(value.const_value.numpy()):
            del graph.initializers[name]
            value.name = name.removeprefix("network.")
    program.save(path, external_data=False)


def _image(arch: Architecture) -> dict[int, Any]:
    batch = Dim("batch", min=1)
    height = Dim("h", min=1)
    width = Dim("w", min=1)
    return {0: batch, 2: arch.stride * height, 3: arch.stride * width}


def _trace(network: nn.Module, example: dict[str, Tensor], shapes: dict[str, Any]) -> torch.onnx.ONNXProgram:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of operators from packages we do not use
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            network,
            tuple(example.values()),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(example),
            output_names=["prediction"],
            dynamic_shapes=shapes,
        )
    assert program is not None
    # Drop each node's source location: half a megabyte.
    for node in program.model.graph:
        node.metadata_props.clear()
        node.doc_string = None
    return program


def _restore_names(graph: ir.Graph, network: UNet) -> None:
    """Restore the equal tensors that the optimiser merged, so that every weight is found by its name."""
    for name, tensor in network.state_dict().items():
        if name not in graph.initializers:
            graph.register_initializer(ir.Value(name=name, const_value=ir.tensor(tensor.numpy(), name=name)))


def store_half(path: Path) -> None:
    """Store the large weights of a graph as float16, each cast back before use: half the size, float32 sums."""
    # Convert the large tensors, with a Cast for each.
    model = onnx.load(path)
    casts = []
    float32 = {}
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.size >= LARGE:
            float32[tensor.name] = f"{tensor.name}.float32"
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), tensor.name))
            casts.append(helper.make_node("Cast", [tensor.name], [float32[tensor.name]], to=TensorProto.FLOAT))
    # Let every node read the casts.
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = float32.get(name, name)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    stale = [value for value in model.graph.value_info if value.name in float32]
    for value in stale:
        model.graph.value_info.remove(value)
    onnx.save(model, path)
