"""The tracer itself, which the other tests of exports use once for each architecture."""

import dataclasses
from pathlib import Path

import numpy as np

from support.helpers import TINY
from tfs_rt.models.onnx.weights import weights
from tfs_rt_export.graph import write_step_graph
from tfs_rt_reference.network import UNet

SMALLEST = dataclasses.replace(TINY, inner_channel=4, channel_multiplier=(1,), attention_levels=())


def test_tensors_that_the_tracer_merges_for_being_equal_are_all_in_the_file(tmp_path: Path) -> None:
    network = UNet(SMALLEST).eval().requires_grad_(requires_grad=False)
    state = network.state_dict()
    assert len({tensor.numpy().tobytes() for tensor in state.values()}) < len(state)
    write_step_graph(network, tmp_path / "step.onnx")
    written = weights((tmp_path / "step.onnx").read_bytes())
    for name, tensor in state.items():
        np.testing.assert_array_equal(written[name], tensor.numpy())
