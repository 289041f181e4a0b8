"""`ort-cuda`: ONNX Runtime on an NVIDIA GPU, float32 (TF32 off); whole batches at once."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import onnxruntime as ort

from tfs_rt.backends.ort_cpu import OrtCpuEngine, start_engine
from tfs_rt.errors import EnvironmentFault, first_line
from tfs_rt.images import Array
from tfs_rt.models.bundle import Bundle

PROVIDER = "CUDAExecutionProvider"
REMEDY = "pip uninstall onnxruntime, then pip install 'tfs-rt[gpu]'; see tfs-rt doctor ort-cuda"


class OrtCudaEngine(OrtCpuEngine):
    """A session on the GPU; handles are NumPy arrays, copied at each step."""

    def predict(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        """The network alone: (B, 9, H, W), (B, 3, H, W), (B, 1) -> (B, 3, H, W)."""
        try:
            return self.network(condition, x_t, noise_level)
        except Exception as error:  # of ONNX Runtime's own classes
            message = first_line(error)
            if "alloc" in message.lower():
                raise MemoryError(message) from error
            remedy = "run the same command again; tfs-rt doctor shows which backends run here"
            raise EnvironmentFault("ort-cuda", f"failed ({message})", remedy) from error


def load(bundle: Bundle) -> OrtCudaEngine:
    """The bundle's float32 network on the first visible GPU; EnvironmentFault if it would run elsewhere."""
    if PROVIDER not in ort.get_available_providers():
        raise EnvironmentFault("ort-cuda", "this onnxruntime is built without CUDA", REMEDY)
    # Load the libraries of the wheels of CUDA and cuDNN too, where ONNX Runtime does not look by itself.
    output = io.StringIO()
    with redirect_stdout(output):
        ort.preload_dlls()
    ort.set_default_logger_severity(4)  # its message about a missing library is in `output`
    engine = start_engine(bundle, OrtCudaEngine, [(PROVIDER, {"use_tf32": "0"})])
    # Without CUDA a session raises nothing, and takes the CPU.
    if engine.session.get_providers()[0] != PROVIDER:
        why = f" ({output.getvalue().splitlines()[0]})" if output.getvalue() else ""
        remedy = "pip install 'tfs-rt[gpu]' brings CUDA and cuDNN; tfs-rt doctor ort-cuda reports on the driver"
        raise EnvironmentFault("ort-cuda", f"onnxruntime found no GPU that it can use{why}", remedy)
    return engine
