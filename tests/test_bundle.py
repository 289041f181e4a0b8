"""A bundle is what its export wrote, or it is refused."""

import dataclasses
import hashlib
import json
from pathlib import Path

import onnx
import pytest
from helpers import FEW, model_spec
from onnx import TensorProto, helper

from tfs_rt.backends.ort_cpu import load
from tfs_rt.bundle import BundleFile, Manifest, load_bundle, write_manifest
from tfs_rt.errors import ModelError
from tfs_rt.external_data import has_external_data


def write_bundle(folder: Path, network: bytes = b"network", **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "step.onnx").write_bytes(network)
    entry = BundleFile(path="step.onnx", sha256=hashlib.sha256(network).hexdigest(), bytes=len(network))
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


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    bundle = load_bundle(write_bundle(tmp_path / "b"))
    assert bundle.manifest.model == model_spec()
    assert bundle.manifest.recipe == FEW
    assert bundle.read("fp32") == b"network"


def test_every_flipped_byte_of_a_bundle_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b")
    for name in ("model.json", "step.onnx"):
        whole = (folder / name).read_bytes()
        for position in range(len(whole.rstrip())):
            flipped = bytearray(whole)
            flipped[position] ^= 1
            if bytes(flipped[position : position + 1]).isspace() and whole[position : position + 1].isspace():
                continue  # one blank for another between JSON's words says the same
            (folder / name).write_bytes(flipped)
            with pytest.raises(ModelError):
                load_bundle(folder).read("fp32")
        (folder / name).write_bytes(whole)
    load_bundle(folder).read("fp32")


def edited(folder: Path, **changes: object) -> Path:
    data = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(data | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "other"}, "was edited after its export"),
        ({"schema": 2}, "has schema 2, this version reads 1"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"slots": "m1"}, "model.json.slots is 'm1', expected a list"),
        ({"recipe": {"sampler": "euler"}}, "lacks the key"),
    ],
)
def test_an_edited_manifest_is_refused(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_bundle(edited(write_bundle(tmp_path / "b"), **changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"'])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (write_bundle(tmp_path / "b") / "model.json").write_text(text)
    with pytest.raises(ModelError):
        load_bundle(tmp_path / "b")


def test_a_file_outside_the_bundle_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"network")
    entry = BundleFile(path="../secret", sha256=hashlib.sha256(b"network").hexdigest(), bytes=7)
    with pytest.raises(ModelError, match="names the file"):
        load_bundle(write_bundle(tmp_path / "b", files={"fp32": entry})).read("fp32")


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no bundle there"):
        load_bundle(tmp_path / "absent")
    with pytest.raises(ModelError, match="no such model ships"):
        load_bundle("tfs-rt/x3")
    folder = write_bundle(tmp_path / "b")
    with pytest.raises(ModelError, match="no fp16 network, only fp32"):
        load_bundle(folder).read("fp16")
    (folder / "step.onnx").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_bundle(folder).read("fp32")


def external() -> TensorProto:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def graph_with(initializers: list[TensorProto], nodes: list[onnx.NodeProto] | None = None) -> onnx.GraphProto:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    return helper.make_graph(nodes or [helper.make_node("Identity", ["w"], ["y"])], "g", [], [output], initializers)


def hostile_models() -> dict[str, onnx.ModelProto]:
    inner = graph_with([external()])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=graph_with([]))
    constant = helper.make_node("Constant", [], ["w"], value=external())
    sparse = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [])
    sparse.sparse_initializer.add().values.CopyFrom(external())
    function = helper.make_model(graph_with([]))
    function.functions.add(name="f").node.append(constant)
    return {
        "initializer": helper.make_model(graph_with([external()])),
        "attribute": helper.make_model(graph_with([], [constant])),
        "branch": helper.make_model(graph_with([], [branch])),
        "sparse": helper.make_model(sparse),
        "function": function,
    }


@pytest.mark.parametrize("where", list(hostile_models()))
def test_external_data_is_found_wherever_it_hides(tmp_path: Path, where: str) -> None:
    data = hostile_models()[where].SerializeToString()
    assert has_external_data(data)
    with pytest.raises(ModelError, match="keeps weights in another file"):
        load(load_bundle(write_bundle(tmp_path / "b", data)))


def test_a_graph_that_stands_alone_is_let_through() -> None:
    inside = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    assert not has_external_data(helper.make_model(graph_with([inside])).SerializeToString())


@pytest.mark.parametrize("data", [b"hello world", b"\xff" * 20, b"\x3a\xff\xff\xff\xff\x0f"])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ModelError, match=r"is no ONNX file|ONNX Runtime refuses it"):
        load(load_bundle(write_bundle(tmp_path / "b", data)))
