"""Graphs that PyTorch traced once, shared by all tests that export a network of the same architecture.

Tracing takes twenty seconds of processor time, however small the network; all else of an export takes one. The first
export of an architecture is traced from a network of random weights, and kept in a file. Each export then takes the
kept graph and puts its own network's weights in. The exporter's fidelity gate compares the outcome with the network.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxscript
import pytest
import torch
from filelock import FileLock
from torch import Tensor, nn

from support.paths import ROOT
from tfs_rt_export import graph as exporter_graph
from tfs_rt_export.half import HalfStep

SOURCES = (
    "export/tfs_rt_export/graph.py",
    "export/tfs_rt_export/half.py",
    "reference/tfs_rt_reference/network.py",
    "tests/support/traced_graphs.py",
)
TRACE = exporter_graph._trace  # the tracer itself, also where graphs are shared already


@dataclass
class KeptProgram:
    """A traced graph, with the two members of torch's ONNXProgram that the exporter uses."""

    model: ir.Model

    def save(self, path: Path, *, external_data: bool) -> None:
        assert not external_data
        ir.save(self.model, path)


@contextlib.contextmanager
def shared_graphs(folder: Path) -> Generator[None]:
    """Let the exporter trace each architecture once for all processes that share the folder."""

    def traced(network: nn.Module, example: dict[str, Tensor], shapes: dict[str, Any]) -> KeptProgram:
        file = folder / f"{graph_key(network, shapes)}.onnx"
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                template = with_distinct_weights(network)
                with collector_off():
                    TRACE(template, example, shapes).save(file.with_suffix(".part"), external_data=False)
                file.with_suffix(".part").rename(file)
        return with_weights_of(network, ir.load(file))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter_graph, "_trace", traced)
        yield


@contextlib.contextmanager
def collector_off() -> Generator[None]:
    """Leave garbage for later: a tenth of a trace's time goes into looking for it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def graph_key(network: nn.Module, shapes: dict[str, Any]) -> str:
    """A digest of everything that decides the traced graph, but for the weights."""
    arch = network.network.arch if isinstance(network, HalfStep) else network.arch
    facts = [type(network).__name__, repr(arch), repr(sorted(shapes)), torch.__version__, onnxscript.__version__]
    facts += [(ROOT / source).read_text(encoding="utf-8") for source in SOURCES]
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:24]


def with_distinct_weights(network: nn.Module) -> nn.Module:
    """A copy of the network in which no two tensors are equal: the tracer merges those that are."""
    template = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in template.state_dict().values():
            tensor += 0.05 * torch.randn(tensor.shape, generator=generator)
    return template


def with_weights_of(network: nn.Module, model: ir.Model) -> KeptProgram:
    """The kept graph with the weights of a network in place of the template's."""
    initializers = model.graph.initializers
    state = network.state_dict()
    assert set(initializers) >= {name for name in state if "noise" not in name or not isinstance(network, HalfStep)}
    for name in state.keys() & initializers.keys():
        initializers[name].const_value = ir.tensor(state[name].numpy(), name=name)
    return KeptProgram(model)
