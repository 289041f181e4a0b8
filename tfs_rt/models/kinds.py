"""The kinds of bundles that can be run: one entry for each, with the checks that its graphs must pass.

To add a kind: name it in `tfs_rt.spec.BundleKind`, write its check of a graph, and add its entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from tfs_rt.models.onnx.allowed import UNET_OPERATIONS
from tfs_rt.models.onnx.half_unet import check_half_network
from tfs_rt.models.onnx.unet import check_network
from tfs_rt.models.onnx.weights import Weights
from tfs_rt.spec import Architecture, BundleKind


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphChecks:
    """The checks of a kind's graphs. Each raises ValueError for a graph that is not the manifest's network."""

    operations: Set[str]  # that a graph may have
    check: Callable[[bytes, Architecture], None]  # of the float32 graph
    check_half: Callable[[bytes, Architecture, Weights, Sequence[str]], None]  # of the half-precision graph


KINDS: dict[BundleKind, GraphChecks] = {
    "diffusion": GraphChecks(operations=UNET_OPERATIONS, check=check_network, check_half=check_half_network),
}
