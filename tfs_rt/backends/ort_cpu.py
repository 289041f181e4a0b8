"""`ort-cpu`: ONNX Runtime on the CPU, float32; the default and the exact tier."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar, cast

import onnxruntime as ort

from tfs_rt.backends.host import HostEngine, threads
from tfs_rt.bundle import Bundle
from tfs_rt.errors import EnvironmentFault, ModelError, first_line
from tfs_rt.images import Array
from tfs_rt.spec import ModelSpec

OrtEngine = TypeVar("OrtEngine", bound="OrtCpuEngine")


class OrtCpuEngine(HostEngine):
    """A session on the CPU."""

    def __init__(self, spec: ModelSpec, session: ort.InferenceSession) -> None:
        super().__init__(spec, partial(run, session))
        self.session = session


def run(session: ort.InferenceSession, condition: Array, x_t: Array, noise_level: Array) -> Array:
    """One call of a session."""
    inputs = {"condition": condition, "x_t": x_t, "noise_level": noise_level}
    return cast(Array, session.run(["prediction"], inputs)[0])


def load(bundle: Bundle) -> OrtCpuEngine:
    """The bundle's float32 network in a session; ModelError if it is not a graph that stands alone."""
    return started(bundle, OrtCpuEngine, ["CPUExecutionProvider"])


def started(bundle: Bundle, engine: type[OrtEngine], providers: Sequence[Any]) -> OrtEngine:
    """An engine of a kind for the bundle's float32 network, tried out; ModelError if it cannot be run."""
    ort.disable_telemetry_events()  # for a program that imported it before tfs_rt, which disables its reports
    data = bundle.read("fp32")
    file, spec = bundle.path / bundle.manifest.files["fp32"].path, bundle.manifest.model
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors reach us as exceptions; the rest is for developers
    options.intra_op_num_threads = threads()
    try:
        session = ort.InferenceSession(data, options, providers=providers)
        session.disable_fallback()  # which would go on elsewhere after a failure, and say so on stdout
        ready = engine(spec, session)
        ready.try_out()
    except EnvironmentFault:
        raise
    except Exception as error:  # ONNX Runtime raises a class of its own for each of a dozen faults
        reason = f"cannot be run ({first_line(error)})"
        raise ModelError(file, reason, "update onnxruntime, or export the bundle anew") from error
    return ready
