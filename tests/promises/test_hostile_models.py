"""Hostile models: no code of theirs runs, no foreign file is read, and each is refused in one line and in time."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import pickle
import random
import resource
import struct
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper
from safetensors.torch import save

from support.bundles import write_bundle
from support.checkpoints import published_form
from support.helpers import TINY, Cli, model_spec, write_case
from support.paths import ROOT
from tfs_rt.backends.ort_cpu import OrtCpuEngine
from tfs_rt.errors import ModelError
from tfs_rt.models.bundle import load_bundle
from tfs_rt.models.manifest import BundleFile, write_manifest
from tfs_rt.models.onnx.allowed import UNET_OPERATIONS, check_graph
from tfs_rt.models.onnx.protobuf import field
from tfs_rt_reference.checkpoints import contents
from tfs_rt_reference.checkpoints.contents import read_contents
from tfs_rt_reference.network import UNet

CANARY = "canary"  # what every payload would make in the working folder
COMMAND = f"touch {CANARY}"
GIBIBYTE = 2**30

# --- checkpoints: pickles


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def stack_call(module: str, name: str, *arguments: bytes) -> bytes:
    return text(module) + text(name) + b"\x93(" + b"".join(arguments) + b"tR"


def storage(key: str = "0", numel: int = 4, kind: str = "ctorch\nFloatStorage\n", location: str = "cpu") -> bytes:
    return b"(" + text("storage") + kind.encode() + text(key) + text(location) + number(numel) + b"tQ"


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(number(value) for value in values) + b"t"


def tensor(stored: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    empty = b"ccollections\nOrderedDict\n)R"
    parts = stored, number(offset), numbers(*size), numbers(*stride), b"\x89", empty
    return call("torch._utils", "_rebuild_tensor_v2", *parts)


def weight(value: bytes) -> bytes:
    """A dict that names it as a weight of the network."""
    return b"}" + text("denoise_fn.downs.0.weight") + value + b"s"


HALF = "ctorch\nHalfStorage\n"
PICKLES = {
    "eval": call("builtins", "eval", text(f"__import__('os').system('{COMMAND}')")),
    "inst": b"(" + text(COMMAND) + b"ios\nsystem\n",
    "obj": b"(cos\nsystem\n" + text(COMMAND) + b"o",
    "newobj": b"csubprocess\nPopen\n(" + text(COMMAND) + b"t\x81",
    "newobj_ex": b"csubprocess\nPopen\n(" + text(COMMAND) + b"t}" + text("shell") + b"\x88s\x92",
    "build on a class": b"ctorch\nTensor\n}" + text("__reduce__") + b"cos\nsystem\nsb",
    "build with slots": b"ccollections\nOrderedDict\n)R}}" + text("__class__") + b"cos\nsystem\ns\x86b",
    "ext1": b"\x82\x01",
    "ext2": b"\x83\x01\x01",
    "ext4": b"\x84\x01\x01\x01\x01",
    "stack_global": stack_call("builtins", "exec", text(f"open('{CANARY}', 'w')")),
    "stack_global by a dotted name": stack_call("collections", "abc.sys.modules", text("os")),
    "stack_global of a number": b"K\x01K\x02\x93",
    "global with a blank": call("torch._utils _rebuild_tensor_v2", "os.system", text(COMMAND)),
    "getattr": call("builtins", "getattr", b"cos\npath\n", text("os")),
    "torch's own loader": call("torch.storage", "_load_from_bytes", b"C\x04\x80\x04N."),
    "torch.load": call("torch.serialization", "load", text("elsewhere.pth")),
    "a module of Python source": call("torch.fx.graph_module", "reduce_graph_module", b"}", text("import os")),
    "numpy's file reader": call("numpy", "fromfile", text("/etc/passwd")),
    "a rebuilt type": call("torch._tensor", "_rebuild_from_type_v2", b"cos\nsystem\n", b"cos\nsystem\n", b")", b"}"),
    "a subclass made by a name": call("torch._utils", "_rebuild_wrapper_subclass", b"cos\nsystem\n"),
    "a persistent id as text": b"Pstorage\n",
    "a persistent id that is a number": b"K\x01Q",
    "a persistent id of a module": b"(" + text("module") + b"cos\nsystem\n" + text("a") + text("b") + b"tQ",
    "a persistent id of another type": weight(storage(kind="cos\nsystem\n")),
    "a storage that leads outside": weight(tensor(storage("../../../etc/passwd"), 0, (4,), (1,))),
    "a storage on another device": weight(tensor(storage(location="cos:0"), 0, (4,), (1,))),
    "a storage larger than its file": weight(tensor(storage(numel=10**9), 0, (10**9,), (1,))),
    "a storage of 226 GB": weight(tensor(storage(numel=226 * 10**9), 0, (4,), (1,))),
    "a storage of less than nothing": weight(tensor(storage(numel=-4), 0, (4,), (1,))),
    "an index of 10^9 in the memo": b"Nr" + struct.pack("<I", 10**9) + b"0N",
    "an index of 10^30 in the memo": b"Np" + b"9" * 30 + b"\n0N",
    "an index that is not there": b"h\x07",
    "100,000 lists inside one another": b"]" * 100_000 + b"a" * 99_999,
    "a number of 2 million digits": b"I" + b"9" * 2_000_000 + b"\n",
    "a number of 1 GB": b"\x8b" + struct.pack("<i", 10**9) + b"\x01",
    "bytes of 226 GB": b"\x8e" + struct.pack("<Q", 226 * 10**9) + b"a",
    "a byte array of 2^62": b"\x96" + struct.pack("<Q", 2**62) + b"a",
    "a byte array of 100 GB, made": call("builtins", "bytearray", number(10**11)),
    "text of 2^63": b"\x8d" + struct.pack("<Q", 2**63) + b"a",
    "a frame of 2^63": b"\x95" + struct.pack("<Q", 2**63) + b"N",
    "a key that is hashed 2^40 times": b"}" + b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(40)) + b"Ns",
    "a frozenset of itself": b"(K\x01\x91" * 50_000,
    "less on the stack than taken": b"R",
    "a mark that is not there": b"t",
    "no end": b"N" * 10,
    "a view that repeats one number": weight(tensor(storage(), 0, (10**6, 10**6), (0, 0))),
    "a view that repeats one half": weight(tensor(storage(kind=HALF, numel=8), 0, (10**6, 10**6), (0, 0))),
    "a view of what overflows": weight(tensor(storage(), 0, (2**62, 2**62), (0, 0))),
    "a view that goes backwards": weight(tensor(storage(), 3, (4,), (-1,))),
    "a view from before the start": weight(tensor(storage(), -(2**40), (4,), (1,))),
    "a view beyond the end": weight(tensor(storage(), 2**40, (4,), (1,))),
    "a view of a negative size": weight(tensor(storage(), 0, (-4, -4), (1, 1))),
    "a tensor of no device": weight(
        call("torch._utils", "_rebuild_meta_tensor_no_storage", b"ctorch\nfloat32\n", numbers(8), numbers(1), b"\x89")
    ),
    "a tensor without a storage": weight(tensor(b"N", 0, (4,), (1,))),
    "a tensor that is named by a tensor": b"}" + tensor(storage(), 0, (4,), (1,)) * 2 + b"s",
}


def archived(pickled: bytes, members: dict[str, bytes] | None = None) -> bytes:
    """A `.pth` as PyTorch writes them, around any pickle."""
    buffer = io.BytesIO()
    parts = {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n", "data/0": b"\0" * 16, **(members or {})}
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in parts.items():
            archive.writestr(f"a/{name}", data)
    return buffer.getvalue()


# --- checkpoints: containers, each around weights that would be taken


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return published_form(UNet(TINY).requires_grad_(requires_grad=False))


def saved(state: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


def rezipped(
    state: dict[str, Any],
    rename: Callable[[str], str] = lambda name: name,
    more: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved(state))) as archive,
        zipfile.ZipFile(buffer, "w", compression) as other,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("warnings.warn", lambda *_, **__: None)  # of the member that stands twice
        for name in archive.namelist():
            other.writestr(rename(name), archive.read(name))
        for name, data in (more or {}).items():
            other.writestr(name, data)
    return buffer.getvalue()


def overlapping(state: dict[str, Any]) -> bytes:
    """The central directory says of every storage that it reaches from the file's start to its end."""
    data = bytearray(saved(state))
    at = data.index(b"PK\x01\x02")
    while (at := data.find(b"PK\x01\x02", at + 1)) > 0:
        struct.pack_into("<II", data, at + 20, at, at)
    return bytes(data)


def as_tar(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.size = len(pickled := b"\x80\x02" + PICKLES["eval"] + b".")
            archive.addfile(info, io.BytesIO(pickled))
    return buffer.getvalue()


def script(state: dict[str, Any]) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # that it is deprecated
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    return buffer.getvalue()


def old_with_huge_storage(state: dict[str, Any]) -> bytes:
    """The format before archives: after the pickles come the storages, each with its length."""
    data = bytearray(saved({"a": torch.zeros(5)}, _use_new_zipfile_serialization=False))
    struct.pack_into("<q", data, len(data) - 20 - 8, 226 * 10**9)
    return bytes(data)


def encrypted(state: dict[str, Any]) -> bytes:
    data = bytearray(rezipped(state))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


KILLED = ("a key that is hashed 2^40 times",)  # the child, at the limit of its time

Maker = Callable[[dict[str, Any]], bytes]
ARCHIVES: dict[str, tuple[Maker, str | None]] = {
    "compressed members": (lambda s: rezipped(s, compression=zipfile.ZIP_DEFLATED), "compressed"),
    "an encrypted member": (encrypted, "encrypted"),
    "a member that stands twice": (
        lambda s: rezipped(s, more={"archive/data.pkl": b"\x80\x02" + PICKLES["eval"] + b"."}),
        "stands twice",
    ),
    "a member that leads outside": (lambda s: rezipped(s, more={f"archive/../../{CANARY}": b""}), "outside its folder"),
    "an absolute member": (lambda s: rezipped(s, more={f"/{CANARY}": b""}), "outside its folder"),
    "two folders": (lambda s: rezipped(s, more={"code/data.pkl": b""}), "outside its folder"),
    "overlapping members": (overlapping, "overlap"),
    "30,000 members": (lambda s: rezipped(s, more={f"archive/x{i}": b"" for i in range(30_000)}), "members"),
    "an archive in an archive": (lambda s: archived(saved(s)), "run code|is no PyTorch checkpoint"),
    "no pickle": (lambda s: rezipped(s, lambda n: n.replace("data.pkl", "data.txt")), "a zip archive with"),
    "half an archive": (lambda s: saved(s)[:-30], "its download was cut off"),
    "a program (TorchScript)": (script, "a program"),
    "a tar": (as_tar, "a tar"),
    "a huge storage of the old format": (old_with_huge_storage, None),
    "2,000 pickles one after the other": (lambda s: pickle.dumps(0x1950A86A20F9469CFC6C) * 2000, None),
}


# --- checkpoints: safetensors


def header(content: Any, data: bytes = b"", length: int | None = None) -> bytes:
    written = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(written) if length is None else length) + written + data


def entry(start: int = 0, end: int = 16, shape: tuple[int, ...] = (4,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def twice(state: dict[str, Any]) -> bytes:
    """Valid weights, one of which is named again, with other numbers."""
    whole = save({name: value.contiguous() for name, value in state.items()})
    (length,) = struct.unpack_from("<Q", whole)
    table = whole[8 : 8 + length].rstrip()
    name, found = next(item for item in json.loads(table).items() if item[0] != "__metadata__")
    again = b"," + json.dumps({name: found}).encode()[1:]
    return header(table[:-1] + again, whole[8 + length :])


def declaring(content: str) -> Maker:
    return lambda state: save({name: value.contiguous() for name, value in state.items()}, {"tfs_rt": content})


DATA = b"\0" * 16
SPEC = json.dumps({"architecture": {}, "prediction": "eps"})
SAFETENSORS: dict[str, tuple[Maker, str | None]] = {
    "a header of 2^63 bytes": (lambda s: header({}, length=2**63), "its header has"),
    "a header of 50 MB": (lambda s: header(b" " * 50_000_000 + b"{}"), "its header has"),
    "a header beyond the end": (lambda s: header({"a": entry()}, length=4000), "safetensors"),
    "a tensor that stands twice": (twice, "stands twice"),
    "tensors that overlap": (lambda s: header({"a": entry(), "b": entry(8, 24)}, DATA * 2), "safetensors"),
    "a hole": (lambda s: header({"a": entry(), "b": entry(24, 40)}, DATA * 3), "safetensors"),
    "a tensor beyond the end": (lambda s: header({"a": entry(0, 160, (40,))}, DATA), "safetensors"),
    "a tensor that ends before it starts": (lambda s: header({"a": entry(16, 0)}, DATA), "safetensors"),
    "more than the table says": (lambda s: header({"a": entry()}, DATA * 2), "safetensors"),
    "a shape that overflows": (lambda s: header({"a": entry(shape=(2**62, 2**62))}, DATA), "safetensors"),
    "a negative shape": (lambda s: header({"a": entry(shape=(-2, -2))}, DATA), "safetensors"),
    "a type that is none": (lambda s: header({"a": entry(dtype="O64")}, DATA), "safetensors"),
    "100,000 brackets": (lambda s: header(b"[" * 100_000), "safetensors"),
    "30,000 empty tensors": (lambda s: header({f"t{i}": entry(0, 0, (0,)) for i in range(30_000)}), "more than 20000"),
    "a list for a table": (lambda s: header([]), "safetensors"),
    "metadata of numbers": (lambda s: header({"__metadata__": {"a": 1}, "a": entry()}, DATA), "safetensors"),
    "a spec of brackets": (declaring("[" * 100_000), None),
    "a spec of nothing": (declaring(SPEC), "lacks the key"),
    "a spec of 10^5000 levels": (declaring(f'{{"scale": {"9" * 5000}}}'), None),
}


def of_kind(kind: str, folder: Path) -> Path:
    """A path that is no file to be read."""
    path = folder / "a.pth"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"an endless device": "/dev/zero", "a link to itself": path.name}[kind])
    return path


KINDS = ("a folder", "a pipe", "an endless device", "a link to itself")


def hostile(what: str, state: dict[str, Any], folder: Path) -> tuple[Path, str | None]:
    """The checkpoint's path, and words that its refusal must hold, if it matters which."""
    if what in KINDS:
        return of_kind(what, folder), "cannot be read"
    if what in PICKLES:
        data = archived(b"\x80\x02" + PICKLES[what] + b".")
        words = None
    else:
        make, words = {**ARCHIVES, **SAFETENSORS}[what]
        data = make(state)
    path = folder / ("a.safetensors" if what in SAFETENSORS else "a.pth")
    path.write_bytes(data)
    return path, words


@pytest.fixture(scope="module", autouse=True)
def limits() -> Iterator[None]:
    """No child may take more than it is allowed, and this process may not grow."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents._child(), "cpu_seconds", 1)  # 10 by default: nothing here needs more
        yield
    contents._child().close()
    unit = 1024 if sys.platform == "linux" else 1  # of ru_maxrss
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit < 4 * GIBIBYTE
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < GIBIBYTE / 2


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, in which a payload would leave its mark."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_sets_are_as_large_as_promised() -> None:
    assert len({*PICKLES, *ARCHIVES, *SAFETENSORS, *KINDS}) >= 40
    assert len({*GRAPHS, *LAYOUTS}) >= 25


def test_what_the_hostile_archives_are_made_of_is_taken(state: dict[str, Any], folder: Path) -> None:
    (folder / "a.pth").write_bytes(rezipped(state))
    (folder / "a.safetensors").write_bytes(save({name: value.contiguous() for name, value in state.items()}))
    assert read_contents(folder / "a.pth").parameters == read_contents(folder / "a.safetensors").parameters
    (folder / "b.pth").write_bytes(archived(b"\x80\x02" + weight(tensor(storage(), 0, (4,), (1,))) + b"."))
    with pytest.raises(ModelError, match="is not a U-Net of the SR3 family"):  # the pickle itself is read
        read_contents(folder / "b.pth")


@pytest.mark.parametrize("what", [*PICKLES, *ARCHIVES, *SAFETENSORS, *KINDS])
def test_a_hostile_checkpoint_is_refused_and_runs_nothing(what: str, state: dict[str, Any], folder: Path) -> None:
    path, words = hostile(what, state, folder)
    if what in KILLED:
        contents._child().close()  # a file is tried again only if the child has served before: it may have been broken
    started = time.monotonic()
    with pytest.raises(ModelError, match=words) as caught:
        read_contents(path)
    assert time.monotonic() - started < 20
    assert caught.value.subject == str(path)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in folder.iterdir()] == [path.name]


# --- bundles

IMAGE = ["b", 3, "h", "w"]


def graph(nodes: list[NodeProto] | None = None, **changes: Any) -> GraphProto:
    """A graph of the right signature that answers with x_t."""
    shapes = {"condition": ["b", 9, "h", "w"], "x_t": IMAGE, "noise_level": ["b", 1], **changes.pop("shapes", {})}
    kinds = dict.fromkeys(shapes, TensorProto.FLOAT) | changes.pop("kinds", {})
    inputs = [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("prediction", changes.pop("answer", TensorProto.FLOAT), IMAGE)
    nodes = nodes or [helper.make_node("Identity", ["x_t"], ["prediction"])]
    return helper.make_graph(nodes, "g", inputs, [output], **changes)


def network(nodes: list[NodeProto] | None = None, opset: int = 21, domain: str = "", **changes: Any) -> ModelProto:
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph(nodes, **changes), opset_imports=opsets, ir_version=10)


def outside(location: str, **more: str) -> ModelProto:
    """A network with a tensor whose numbers lie elsewhere."""
    value = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, content in {"location": location, **more}.items():
        value.external_data.add(key=key, value=content)
    return network([helper.make_node("Add", ["x_t", "w"], ["prediction"])], initializer=[value])


def changed(change: Callable[[ModelProto], Any]) -> ModelProto:
    model = network()
    change(model)
    return model


def one_node(kind: str, domain: str = "", **attributes: Any) -> ModelProto:
    return network([helper.make_node(kind, ["x_t"], ["prediction"], domain=domain, **attributes)], domain=domain)


def branching() -> ModelProto:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, IMAGE)
    inner = helper.make_graph([helper.make_node("Identity", ["x_t"], ["y"])], "g", [], [output])
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [1])
    node = helper.make_node("If", ["yes"], ["prediction"], then_branch=inner, else_branch=inner)
    return network([node], initializer=[yes])


def looping() -> ModelProto:
    body = helper.make_graph([], "body", [], [])
    return network([helper.make_node("Loop", ["", "", "x_t"], ["prediction"], body=body)])


def redefining() -> ModelProto:
    """A function of the model's own in the place of an operation."""
    nodes = [helper.make_node("Relu", ["a"], ["b"])]
    own = helper.make_function("", "Identity", ["a"], ["b"], nodes, [helper.make_opsetid("", 21)])
    return changed(lambda model: model.functions.append(own))


def doubled(model: ModelProto) -> ModelProto:
    """A node with a second operation, which is the one that counts."""
    data = model.SerializeToString()
    kind = b"\x22" + bytes([len("Identity")]) + b"Identity"
    assert data.count(kind) == 1
    other = model.graph.node[0].SerializeToString() + b"\x22\x02If"
    return changed(lambda m: m.graph.node[0].MergeFromString(other))


def many(count: int) -> bytes:
    """Written by hand: a graph of so many nodes, in a second message that is merged with the first."""
    node = helper.make_node("Relu", ["x_t"], ["y"]).SerializeToString()
    nodes = (b"\x0a" + bytes([len(node)]) + node) * count
    length = len(nodes)
    digits = bytearray()
    while length > 0x7F:
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    return network().SerializeToString() + b"\x3a" + bytes([*digits, length]) + nodes


def weights(*names: str, raw: int = 4) -> list[TensorProto]:
    return [TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], raw_data=b"\0" * raw) for name in names]


def sparse() -> ModelProto:
    values = weights("s")[0]
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    return network(sparse_initializer=[helper.make_sparse_tensor(values, indices, [4])])


def huge() -> list[TensorProto]:
    (weight,) = weights("w")
    weight.dims[:] = [2**63 - 1, 2**63 - 1]
    return [weight]


def mistyped() -> ModelProto:
    model = one_node("Softmax", axis=1)
    model.graph.node[0].attribute[0].type = onnx.AttributeProto.FLOAT
    return model


def repeated(*more: str) -> ModelProto | bytes:
    """An attribute `axis` with others after it; without others, its own value a second time."""
    model = one_node("Softmax", axis=1)
    node = model.graph.node[0]
    node.attribute.extend(helper.make_attribute(name, 2) for name in more)
    if more:
        return model
    attribute = node.attribute[0].SerializeToString() + b"\x18\x02"
    other = helper.make_node("Softmax", ["x_t"], ["prediction"]).SerializeToString()
    return with_node(other + field(5, attribute))


def with_node(node: bytes) -> bytes:
    """A graph of one node, which is written by hand."""
    return field(7, field(1, node)) + changed(lambda model: model.graph.ClearField("node")).SerializeToString()


ANOTHER = "is not the network that model.json describes"
ADD = [helper.make_node("Add", ["x_t", "w"], ["prediction"])]
EXTERNAL = "keeps weights in another file"
GRAPHS: dict[str, tuple[Callable[[], ModelProto | bytes], str]] = {
    "data beside it": (lambda: outside("weights.bin"), EXTERNAL),
    "data by an absolute path": (lambda: outside("/etc/passwd"), EXTERNAL),
    "data above it": (lambda: outside("../../../etc/passwd"), EXTERNAL),
    "data in /proc": (lambda: outside("/proc/self/environ"), EXTERNAL),
    "data from before the start": (lambda: outside("model.json", offset="-4"), EXTERNAL),
    "data of a huge length": (lambda: outside("model.json", length="9" * 18), EXTERNAL),
    "data at an address in memory": (lambda: outside("*/_ORT_MEM_ADDR_/*", offset="4096", length="4"), EXTERNAL),
    "an operation of another domain": (lambda: one_node("Run", "evil"), "uses operations of 'evil'"),
    "a compiled engine": (lambda: one_node("EPContext", "com.microsoft", embed_mode=1), "com.microsoft"),
    "an operation that is none": (lambda: one_node("EPContext"), "the operation 'EPContext'"),
    "an operation that no export writes": (lambda: one_node("RandomNormalLike"), "RandomNormalLike"),
    "a branch": (branching, "the operation 'If'|a field 6"),
    "a loop": (looping, "the operation 'Loop'|a field 6"),
    "a function in an operation's place": (redefining, "a field 25"),
    "two operations in one node": (lambda: doubled(network()), "the operation 'If'"),
    "a million nodes": (lambda: many(1_000_000), "more than 200000 fields"),
    "an opset of the future": (lambda: network(opset=999), "opset 999"),
    "an opset of 2^63": (lambda: network(opset=2**63 - 1), "opset"),
    "an opset of the past": (lambda: network(opset=1), "opset 1"),
    "another's opset": (lambda: network(domain="ai.onnx.ml"), "ai.onnx.ml"),
    "half a file": (lambda: network().SerializeToString()[:-9], "not a valid ONNX file"),
    "two tensors of one name": (lambda: network(ADD, initializer=weights("w", "w")), "two tensors of one name"),
    "a tensor of less than its shape": (lambda: network(ADD, initializer=weights("w", raw=3)), ANOTHER),
    "a tensor with a side of 2^63": (lambda: network(ADD, initializer=huge()), ANOTHER),
    "a sparse tensor": (sparse, "a field 15"),
    "training": (lambda: changed(lambda m: m.training_info.add()), "a field 20"),
    "quantization": (lambda: changed(lambda m: m.graph.quantization_annotation.add()), "a field 14"),
    "other inputs": (
        lambda: network([helper.make_node("Identity", ["x"], ["prediction"])], shapes={"x": IMAGE}),
        ANOTHER,
    ),
    "an input of another shape": (lambda: network(shapes={"condition": ["b", 4, "h", "w"]}), ANOTHER),
    "an input of another type": (lambda: network(kinds={"noise_level": TensorProto.DOUBLE}), ANOTHER),
    "an answer of another type": (
        lambda: network([helper.make_node("Cast", ["x_t"], ["prediction"], to=11)], answer=TensorProto.DOUBLE),
        ANOTHER,
    ),
    "a value from nowhere": (lambda: network([helper.make_node("Relu", ["?"], ["prediction"])]), "no earlier node"),
    "a circle": (
        lambda: network([helper.make_node("Add", ["x_t", "prediction"], ["prediction"])]),
        "no earlier node",
    ),
    "two values of one name": (
        lambda: network([helper.make_node("Relu", ["x_t"], ["prediction"]) for _ in range(2)]),
        "two of its values have one name",
    ),
    "a graph in an attribute": (lambda: one_node("Identity", body=graph()), "its attribute has a field 6"),
    "graphs in an attribute": (lambda: one_node("Identity", bodies=[graph(), graph()]), "its attribute has a field 11"),
    "an attribute of another type than its value": (mistyped, "another type than it states"),
    "an attribute that stands twice": (lambda: repeated("axis"), "two attributes 'axis'"),
    "an attribute of two values": (lambda: repeated(), "value of 'axis' stands 2 times"),
}


def swapped(bundle: Path, name: str, make: Callable[[Path], Any]) -> None:
    """Another thing in a file's place."""
    (bundle / name).unlink()
    make(bundle / name)


def sized(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


SECRET = "the secret words"
LAYOUTS: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "a link to a secret": (
        lambda b, secret: swapped(b, "step.onnx", lambda p: p.symlink_to(secret)),
        "does not match its SHA-256",
    ),
    "a second name of a secret": (
        lambda b, secret: swapped(b, "step.onnx", lambda p: p.hardlink_to(secret)),
        "does not match its SHA-256",
    ),
    "a link to a device": (
        lambda b, _: swapped(b, "step.onnx", lambda p: p.symlink_to("/dev/zero")),
        "cannot be read",
    ),
    "a link to itself": (
        lambda b, _: swapped(b, "step.onnx", lambda p: p.symlink_to(p.name)),
        "cannot be read",
    ),
    "a folder for the network": (lambda b, _: swapped(b, "step.onnx", Path.mkdir), "cannot be read"),
    "a pipe for the network": (lambda b, _: swapped(b, "step.onnx", os.mkfifo), "cannot be read"),
    "a network of 3 GB": (lambda b, _: swapped(b, "step.onnx", lambda p: sized(p, 3 * GIBIBYTE)), "cannot be read"),
    "a pipe for the manifest": (lambda b, _: swapped(b, "model.json", os.mkfifo), "no bundle there"),
    "a folder for the manifest": (lambda b, _: swapped(b, "model.json", Path.mkdir), "no bundle there"),
    "a device for the manifest": (
        lambda b, _: swapped(b, "model.json", lambda p: p.symlink_to("/dev/zero")),
        "no bundle there",
    ),
    "a secret for the manifest": (
        lambda b, secret: swapped(b, "model.json", lambda p: p.symlink_to(secret)),
        "is not a valid manifest",
    ),
    "a manifest of 8 MB": (
        lambda b, _: (b / "model.json").write_text("[" + "1," * 4_000_000 + "1]"),
        "no bundle there",
    ),
    "a manifest with a number of 5,000 digits": (
        lambda b, _: (b / "model.json").write_text(f'{{"schema": {"9" * 5000}}}'),
        "is not a valid manifest",
    ),
    "a manifest that is no text": (
        lambda b, _: (b / "model.json").write_bytes(b"\xff\xfe{}"),
        "is not a valid manifest",
    ),
}


def refused_by_fuse(cli: Cli, bundle: Path, words: str) -> None:
    case = write_case(bundle.parent / "case")
    started = time.monotonic()
    outcome = cli("fuse", case, "-o", bundle.parent / "out", "--model", bundle, "-q")
    assert time.monotonic() - started < 20
    assert outcome.code == 5, outcome.err
    (line,) = outcome.err.splitlines()
    assert str(bundle) in line
    assert words in line or any(word in line for word in words.split("|"))
    assert SECRET not in line
    assert not (bundle.parent / "out").exists()


def serialized(model: ModelProto | bytes) -> bytes:
    return model if isinstance(model, bytes) else model.SerializeToString()


def test_what_the_hostile_graphs_are_made_of_runs_and_is_only_another_network(cli: Cli, folder: Path) -> None:
    data = network().SerializeToString()
    check_graph(data, UNET_OPERATIONS)
    OrtCpuEngine(model_spec(), lambda: ort.InferenceSession(data)).try_out()
    refused_by_fuse(cli, write_bundle(folder / "b", data), ANOTHER)


def test_a_bundle_of_links_is_fused(x4: Path, cli: Cli, folder: Path) -> None:
    """As in a model hub's cache."""
    (folder / "b").mkdir()
    for name in ("model.json", "step.onnx"):
        (folder / "b" / name).symlink_to(x4 / name)
    assert cli("fuse", write_case(folder / "case"), "-o", folder / "out", "--model", folder / "b", "-q").code == 0


@pytest.mark.parametrize("what", GRAPHS)
def test_a_hostile_graph_is_refused(what: str, cli: Cli, folder: Path) -> None:
    make, words = GRAPHS[what]
    bundle = write_bundle(folder / "b", serialized(make()))
    refused_by_fuse(cli, bundle, words)
    assert sorted(path.name for path in bundle.iterdir()) == ["model.json", "step.onnx"]


@pytest.mark.parametrize("what", LAYOUTS)
def test_a_hostile_layout_is_refused(what: str, cli: Cli, folder: Path) -> None:
    (folder / "secret").write_text(SECRET)
    bundle = write_bundle(folder / "b", network().SerializeToString())
    change, words = LAYOUTS[what]
    change(bundle, folder / "secret")
    refused_by_fuse(cli, bundle, words)
    assert (folder / "secret").read_text() == SECRET


def write_both(folder: Path, half: bytes) -> Path:
    """A bundle of a float32 network and a half graph."""
    write_bundle(folder, network(ADD, initializer=weights("w")).SerializeToString())
    (folder / "step.fp16.onnx").write_bytes(half)
    entry = BundleFile(path="step.fp16.onnx", sha256=hashlib.sha256(half).hexdigest())
    manifest = load_bundle(folder).manifest
    write_manifest(folder, dataclasses.replace(manifest, files={**manifest.files, "fp16": entry}))
    return folder


@pytest.mark.parametrize("what", list(GRAPHS)[:16])
def test_a_hostile_half_graph_is_shown_to_no_compiler(what: str, tmp_path: Path) -> None:
    make, words = GRAPHS[what]
    bundle = load_bundle(write_both(tmp_path / "b", serialized(make())))
    with pytest.raises(ModelError, match=words):
        bundle.half_graph()


@pytest.mark.parametrize("name", ["model.json", "step.onnx", "step.fp16.onnx"])
def test_a_thousand_flipped_bits_of_each_file_are_refused(name: str, tmp_path: Path) -> None:
    precision = "fp16" if "fp16" in name else "fp32"
    bundle = write_both(tmp_path / "b", network(ADD, initializer=weights("w", "x")).SerializeToString())
    whole = (bundle / name).read_bytes()
    accepted = []
    loaded = load_bundle(bundle)
    for bit in random.Random(7).sample(range(len(whole) * 8), 1000):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (bundle / name).write_bytes(flipped)
        if name != "model.json":
            with pytest.raises(ModelError, match="does not match its SHA-256"):
                loaded.read(precision)
            continue
        with contextlib.suppress(ModelError):
            load_bundle(bundle)
            accepted.append(bytes(flipped))
    same = [data for data in accepted if json.loads(data) == json.loads(whole)]
    assert accepted == same  # 1e-06 and 1E-06 say the same
    assert len(same) <= 2


def test_every_operation_that_the_exporter_writes_is_allowed() -> None:
    written = {node.op_type for path in (ROOT / "engines").rglob("*.onnx") for node in onnx.load(path).graph.node}
    assert written <= UNET_OPERATIONS
    assert not UNET_OPERATIONS & {"If", "Loop", "Scan", "SequenceMap", "RandomNormal", "EPContext"}


def test_our_own_checkpoints_of_every_form_pass(state: dict[str, Any], folder: Path) -> None:
    """Formats that PyTorch wrote before archives, and halves, which grow when they are read."""
    for name, data in {
        "old.pth": saved(state, _use_new_zipfile_serialization=False),
        "half.pth": saved({key: value.half() if "denoise" in key else value for key, value in state.items()}),
        "strided.pth": saved(
            {k: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in state.items()}
        ),
    }.items():
        (folder / name).write_bytes(data)
        assert read_contents(folder / name).architecture.inner_channel == model_spec().architecture.inner_channel
