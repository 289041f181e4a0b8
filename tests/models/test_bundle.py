"""A bundle is what its export wrote, or it is refused."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from support.bundles import NETWORK, answering, write_bundle
from support.helpers import FEW, model_spec
from tfs_rt.backends.ort_cpu import OrtCpuEngine, load
from tfs_rt.errors import ModelError
from tfs_rt.models.bundle import load_bundle
from tfs_rt.models.kinds import KINDS
from tfs_rt.models.manifest import BundleFile, write_manifest
from tfs_rt.models.onnx.external_data import _walk, has_external_data
from tfs_rt_reference.engine import load as load_reference


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    bundle = load_bundle(write_bundle(tmp_path / "b"))
    assert bundle.manifest.model == model_spec()
    assert bundle.manifest.recipe == FEW


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
            with pytest.raises(ModelError, match=".json: |does not match its SHA-256"):
                load_bundle(folder).read("fp32")
        (folder / name).write_bytes(whole)
    with pytest.raises(ModelError, match="is not the network"):  # whole, it is only no network
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
        ({"kind": "feedforward"}, "is a bundle of kind 'feedforward', and this version runs: diffusion"),
        ({"kind": []}, r"is a bundle of kind \[\]"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"slots": "m1"}, "model.json.slots is 'm1', expected a list"),
        ({"recipe": {"sampler": "euler"}}, "lacks the key"),
        ({"recipe": dataclasses.asdict(FEW) | {"sampler": "euler"}}, "sampler is 'euler', expected one of ddim, ddpm"),
        ({"recipe": dataclasses.asdict(FEW) | {"steps": 0}}, "steps is not within"),
        ({"recipe": dataclasses.asdict(FEW) | {"eta": 5.0}}, "eta is not within"),
        ({"recipe": dataclasses.asdict(FEW) | {"sigma_min": 0.0}}, "are not a range"),
        ({"recipe": dataclasses.asdict(FEW) | {"sigma_max": float("nan")}}, "are not a range"),
        ({"model": dataclasses.asdict(model_spec()) | {"scale": 3}}, "scale is not 2, 4 or 8"),
        ({"model": dataclasses.asdict(model_spec()) | {"sigma_range": [0.0, 1.0]}}, "sigma_range is not a range"),
        ({"slots": ["functional", "m1", "m2"]}, "slots are"),
        ({"self_test": [1.0] * 47}, "self_test has 47 numbers, expected 48"),
        ({"self_test": [1.0] * 49}, "self_test has 49 numbers, expected 48"),
        ({"self_test": [[1.0] * 48]}, "self_test"),
        ({"self_test": [float("nan")] * 48}, "self_test has a number that is not within 0 and 255"),
        ({"self_test": [float("inf")] * 48}, "self_test has a number that is not within 0 and 255"),
        ({"self_test": [-1.0] * 48}, "self_test has a number that is not within 0 and 255"),
        ({"self_test": [256] * 48}, "self_test has a number that is not within 0 and 255"),
    ],
)
def test_an_edited_manifest_is_refused(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_bundle(edited(write_bundle(tmp_path / "b"), **changes))


def test_a_manifest_without_a_kind_is_one_of_a_diffusion_model(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b")
    data = json.loads((folder / "model.json").read_text())
    del data["digest"]
    assert "kind" not in data  # as earlier versions wrote it
    digest = hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    (folder / "model.json").write_text(json.dumps(data | {"digest": digest}))
    bundle = load_bundle(folder)
    assert (bundle.manifest.kind, bundle.digest) == ("diffusion", digest)


def test_a_kind_is_added_by_one_entry_with_its_own_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    graph = helper.make_model(graph_with([weight]), opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()
    folder = write_bundle(tmp_path / "b", graph)
    write_manifest(folder, dataclasses.replace(load_bundle(folder).manifest, kind="feedforward"))
    with pytest.raises(ModelError, match="is a bundle of kind 'feedforward', and this version runs: diffusion"):
        load_bundle(folder)

    seen: list[bytes] = []
    diffusion = KINDS["diffusion"]
    checks = dataclasses.replace(diffusion, operations={"Identity"}, check=lambda data, _: seen.append(data))
    monkeypatch.setitem(KINDS, "feedforward", checks)
    assert load_bundle(folder).read("fp32") == graph
    assert seen == [graph]
    monkeypatch.setitem(KINDS, "feedforward", dataclasses.replace(checks, operations={"Conv"}))
    with pytest.raises(ModelError, match="it uses the operation 'Identity'"):
        load_bundle(folder).read("fp32")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000, '{"schema": 1, "schema": 1}'])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (write_bundle(tmp_path / "b") / "model.json").write_text(text)
    with pytest.raises(ModelError):
        load_bundle(tmp_path / "b")


def test_a_file_outside_the_bundle_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(NETWORK)
    folder = write_bundle(tmp_path / "b")
    for path in ("../secret", "/etc/passwd", "a/b", "", "..", "a\0b"):
        with pytest.raises(ValueError, match="is not a bare file name"):
            BundleFile(path=path, sha256="")
        files = {"fp32": {"path": path, "sha256": hashlib.sha256(NETWORK).hexdigest()}}
        with pytest.raises(ModelError, match="is not a bare file name"):
            load_bundle(edited(folder, files=files))


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no bundle there"):
        load_bundle(tmp_path / "absent")
    (tmp_path / "x4.pth").write_bytes(b"")
    with pytest.raises(ModelError, match="is a file.*export it first"):
        load_bundle(tmp_path / "x4.pth")
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
    for backend in (load, load_reference):
        with pytest.raises(ModelError, match="keeps weights in another file"):
            backend(load_bundle(write_bundle(tmp_path / "b", data)))


def test_a_tag_that_a_reader_would_truncate_hides_nothing(tmp_path: Path) -> None:
    """Field 13 of a tensor with bit 32 set in its tag: protobuf reads it as field 13."""
    data = hostile_models()["initializer"].SerializeToString()
    tensor = external().SerializeToString()
    (at,) = (i for i in range(len(tensor)) if tensor[i : i + 1] == b"\x6a" and b"location" in tensor[i : i + 12])
    overlong = bytes([0x6A | 0x80, 0x80, 0x80, 0x80, 0x10])
    hidden = tensor[:at] + overlong + tensor[at + 1 :]
    hidden = hidden.replace(b"\x70\x01", bytes([0x70 | 0x80, 0x80, 0x80, 0x80, 0x10, 1]))
    for wrapped in (hidden, data.replace(tensor, hidden)):
        with pytest.raises(ValueError, match="protobuf"):
            _walk(memoryview(wrapped), "tensor" if wrapped is hidden else "model", 0)


def test_a_graph_that_stands_alone_is_let_through() -> None:
    inside = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    assert not has_external_data(helper.make_model(graph_with([inside])).SerializeToString())


@pytest.mark.parametrize("data", [b"hello world", b"\xff" * 20, b"\x3a\xff\xff\xff\xff\x0f"])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ModelError, match=r"is not a valid ONNX file|is not the network"):
        load(load_bundle(write_bundle(tmp_path / "b", data)))


def test_an_engine_that_answers_in_another_shape_is_found_out_at_once() -> None:
    OrtCpuEngine(model_spec(), lambda: ort.InferenceSession(answering(["b", 3, "h", "w"]))).try_out()
    with pytest.raises(ValueError, match="it answers"):
        OrtCpuEngine(model_spec(), lambda: ort.InferenceSession(answering(["b", 3, 1, 1]))).try_out()


@pytest.mark.parametrize("backend", [load, load_reference])
def test_a_graph_that_is_not_the_manifests_network_is_refused(tmp_path: Path, backend: Callable) -> None:
    with pytest.raises(ModelError, match="not the network that model.json describes"):
        backend(load_bundle(write_bundle(tmp_path / "b", answering(["b", 3, "h", "w"]))))
