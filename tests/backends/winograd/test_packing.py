"""Weights stay whole if packing them is interrupted, by a fork or by a signal."""

from __future__ import annotations

import os

import numpy as np
import pytest

from support.winograd_networks import HOST, ON_FOUR_THREADS, WIDE, images, output_of, reference
from tfs_rt.backends.winograd.network import Network
from tfs_rt.images import Array


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_forked_while_weights_are_packed_has_all_of_them() -> None:
    code = """
from tfs_rt.backends.winograd.packing import Packing
def fork_then(packing, matrices):
    global child
    Packing._panels = real
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(not np.array_equal(fresh(*given), expected))
    return real(packing, matrices)
real = Packing._panels
fresh = Network(bundle.manifest.model.architecture, bundle.weights(), host_shape(), 2)
Packing._panels = fork_then
def compute(): assert np.array_equal(fresh(*given), expected)
import threading
thread = threading.Thread(target=compute)
thread.start()
thread.join()
print(os.waitpid(child, 0)[1])
"""
    assert output_of(ON_FOUR_THREADS + code) == "0\n"


def test_an_interrupt_while_weights_are_packed_loses_none() -> None:
    arch = WIDE
    ours = Network(arch, reference(arch)[1], HOST, 2)
    real = ours.packing._panels

    def interrupt(matrices: Array) -> Array:
        ours.packing._panels = real
        raise KeyboardInterrupt

    ours.packing._panels = interrupt
    with pytest.raises(KeyboardInterrupt):
        ours(*images(arch, 16, 16))
    np.testing.assert_array_equal(
        ours(*images(arch, 16, 16)), Network(arch, reference(arch)[1], HOST, 1)(*images(arch, 16, 16))
    )
