"""Other runtimes at their default settings, as a baseline.

PyTorch, ONNX Runtime and OpenVINO run the same network as in their first examples.

Each is an engine for the runtime's loop, so that tables and noise are the same and images can be compared. A whole
batch is one call. Threads, precision and kernels are the library's own choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tfs_rt.backends.host import HostEngine
from tfs_rt.errors import EnvironmentFault
from tfs_rt.images import Array
from tfs_rt.models.bundle import Bundle
from tfs_rt.optional import import_optional
from tfs_rt.spec import ModelSpec

Network = Callable[[Array, Array, Array], Array]  # condition (B, 9, H, W), x_t (B, 3, H, W), noise_level (B, 1)


class PeerEngine(HostEngine):
    """A function of a whole batch as an engine, and what it computes in, where the library tells."""

    def __init__(self, spec: ModelSpec, network: Network, precision: str) -> None:
        super().__init__(spec, network)
        self.precision = precision

    def predict(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        """The network alone, of the batch at once."""
        return self.network(condition, x_t, noise_level)


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer: its loader, its module, and the remedy if the module is missing."""

    load: Callable[[Bundle, str], tuple[Network, str]]  # on "cpu" or "cuda": the network, and its precision
    module: str  # that imports the library
    remedy: str


def load_peer(name: str, bundle: Bundle, device: str = "cpu") -> PeerEngine:
    """A peer with the bundle's network; EnvironmentFault if its library is missing."""
    import_optional(PEERS[name].module, name, PEERS[name].remedy)
    return PeerEngine(bundle.manifest.model, *PEERS[name].load(bundle, device))


def _eager(bundle: Bundle, device: str) -> tuple[Network, str]:
    return _in_torch(_network(bundle, device), device), "fp32"


def _compiled(bundle: Bundle, device: str) -> tuple[Network, str]:
    torch: Any = import_module("torch")
    return _in_torch(torch.compile(_network(bundle, device)), device), "fp32"


def _network(bundle: Bundle, device: str) -> Any:
    engine: Any = import_optional("tfs_rt_reference.engine", "torch-eager", TORCH)
    torch: Any = import_module("torch")
    if device == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault("torch-eager", "this torch finds no GPU", "install torch for CUDA (pytorch.org)")
    return engine.load(bundle).network.to(device)


def _in_torch(network: Callable[..., Any], device: str) -> Network:
    torch: Any = import_module("torch")

    def predict(*inputs: Array) -> Array:
        with torch.inference_mode():
            return network(*(torch.from_numpy(array).to(device) for array in inputs)).cpu().numpy()

    return predict


def _onnxruntime(bundle: Bundle, _: str) -> tuple[Network, str]:
    ort: Any = import_module("onnxruntime")
    session = ort.InferenceSession(_graph(bundle))

    def predict(condition: Array, x_t: Array, noise_level: Array) -> Array:
        return session.run(None, {"condition": condition, "x_t": x_t, "noise_level": noise_level})[0]

    return predict, "fp32"


def _openvino(bundle: Bundle, _: str) -> tuple[Network, str]:
    # The backend's module imports OpenVINO without its report to its makers.
    openvino: Any = import_module("tfs_rt.backends.openvino_cpu").ov
    compiled = openvino.Core().compile_model(_graph(bundle), "CPU")
    kind = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())

    def predict(condition: Array, x_t: Array, noise_level: Array) -> Array:
        return compiled({"condition": condition, "x_t": x_t, "noise_level": noise_level})[0]

    return predict, {"f32": "fp32", "f16": "fp16"}.get(kind, kind)


def _graph(bundle: Bundle) -> Path:
    """The network's file, which the bench has held to its SHA-256 before."""
    return bundle.path / bundle.manifest.files["fp32"].path


TORCH = "pip install 'tfs-rt[export]'"
PEERS = {
    "torch-eager": Peer(_eager, "torch", TORCH),
    "torch-compile": Peer(_compiled, "torch", TORCH),
    "onnxruntime": Peer(_onnxruntime, "onnxruntime", "pip install 'tfs-rt[cpu]'"),
    "openvino": Peer(_openvino, "tfs_rt.backends.openvino_cpu", "pip install 'tfs-rt[openvino]'"),
}
