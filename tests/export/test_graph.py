"""The tracer itself, which the other tests of exports use once for each architecture."""

import dataclasses

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.random import Generator
from torch.export import Dim

from support.helpers import TINY
from tfs_rt.models.onnx.weights import weights
from tfs_rt_export import graph
from tfs_rt_reference.network import UNet

SMALLEST = dataclasses.replace(TINY, inner_channel=4, channel_multiplier=(1,), attention_levels=(0,))


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[UNet, bytes]:
    """A network in the published form as it is initialised, and its graph for one size: a quarter of the time."""
    torch.manual_seed(0)
    network = UNet(SMALLEST).eval().requires_grad_(requires_grad=False)
    file = tmp_path_factory.mktemp("graph") / "step.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "_image", lambda arch: dict.fromkeys((0, 2, 3), Dim.STATIC))
        graph.write_step_graph(network, file)
    return network, file.read_bytes()


def test_tensors_that_the_tracer_merges_for_being_equal_are_all_in_the_file(traced: tuple[UNet, bytes]) -> None:
    network, data = traced
    state = network.state_dict()
    assert len({tensor.numpy().tobytes() for tensor in state.values()}) < len(state)
    written = weights(data)
    for name, tensor in state.items():
        np.testing.assert_array_equal(written[name], tensor.numpy())


def test_the_graph_of_the_published_form_is_its_network(traced: tuple[UNet, bytes], rng: Generator) -> None:
    network, data = traced
    session = ort.InferenceSession(data)
    shapes = {value.name: value.shape for value in session.get_inputs()}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    arrays["noise_level"] = rng.uniform(0, 1, (2, 1)).astype(np.float32)
    (ours,) = session.run(None, arrays)
    theirs = network(*(torch.from_numpy(arrays[name]) for name in ("condition", "x_t", "noise_level")))
    np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), atol=2e-5)
