"""Model bundles that tests write."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from support.helpers import FEW, model_spec
from tfs_rt.models.manifest import BundleFile, Manifest, write_manifest

NETWORK = onnx.ModelProto(ir_version=8, producer_name="tests").SerializeToString()


def write_bundle(folder: Path, network: bytes = NETWORK, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "step.onnx").write_bytes(network)
    entry = BundleFile(path="step.onnx", sha256=hashlib.sha256(network).hexdigest())
    manifest = Manifest(
        schema=1,
        name="made",
        slots=("m1", "m2", "functional"),
        model=model_spec(),
        recipe=FEW,
        files={"fp32": entry},
        source={"file": "none", "sha256": ""},
        exporter={},
        fidelity={},
        quality={},
        licence="none",
        intended_use="tests",
    )
    write_manifest(folder, dataclasses.replace(manifest, **changes))
    return folder


def answering(shape: list[int | str]) -> bytes:
    """A graph of the right signature that answers with x_t, or with something of another shape."""
    inputs = [
        helper.make_tensor_value_info("condition", TensorProto.FLOAT, ["b", 9, "h", "w"]),
        helper.make_tensor_value_info("x_t", TensorProto.FLOAT, ["b", 3, "h", "w"]),
        helper.make_tensor_value_info("noise_level", TensorProto.FLOAT, ["b", 1]),
    ]
    output = [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, shape)]
    kind = "Identity" if shape[2] == "h" else "GlobalAveragePool"
    graph = helper.make_graph([helper.make_node(kind, ["x_t"], ["prediction"])], "g", inputs, output)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
