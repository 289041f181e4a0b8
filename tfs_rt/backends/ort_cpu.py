"""ONNX Runtime on the CPU, float32: the reference among CPU backends, second choice of `auto`."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast
from weakref import WeakSet

import onnxruntime as ort

from tfs_rt.backends.host import ForkGuard, HostEngine
from tfs_rt.errors import ModelError, TfsRtError, first_line
from tfs_rt.images import Array
from tfs_rt.models.bundle import Bundle
from tfs_rt.spec import ModelSpec
from tfs_rt.system.resource_limits import limit_fault
from tfs_rt.system.threads import library_threads

GUARD = ForkGuard("ort-cpu")
OrtEngine = TypeVar("OrtEngine", bound="OrtCpuEngine")
ENGINES: WeakSet[OrtCpuEngine] = WeakSet()


def _after_fork() -> None:
    for engine in ENGINES:
        engine.after_fork()


# The hook belongs to the module: one of each engine would keep it alive, as a hook cannot be taken back.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class OrtCpuEngine(HostEngine):
    """A session on the CPU. A forked child makes a new one, for it has none of the session's threads."""

    def __init__(self, spec: ModelSpec, make_session: Callable[[], ort.InferenceSession]) -> None:
        super().__init__(spec, self._run)
        self.make_session = make_session
        self.session = make_session()
        self.forked = False
        ENGINES.add(self)

    def _run(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        inputs = {"condition": condition, "x_t": x_t, "noise_level": noise_level}
        with GUARD.call():
            if self.forked:
                self.session = self.make_session()
                self.forked = False
            return cast(Array, self.session.run(["prediction"], inputs)[0])

    def after_fork(self) -> None:
        """In the forked child: keep the parent's session for ever. Ending it would wait for its threads, and crash."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.session))
        self.forked = True


def load(bundle: Bundle, threads: int | None = None) -> OrtCpuEngine:
    """The bundle's float32 network in a session; ModelError if the graph refers to other files."""
    return start_engine(bundle, OrtCpuEngine, ["CPUExecutionProvider"], threads)


def start_engine(
    bundle: Bundle, engine: type[OrtEngine], providers: Sequence[Any], threads: int | None = None
) -> OrtEngine:
    """An engine for the bundle's float32 network, tried out; ModelError if it cannot be run."""
    # tfs_rt disables reports by an environment variable, too late if a program imported onnxruntime before it.
    ort.disable_telemetry_events()
    file = bundle.path / bundle.manifest.files["fp32"].path
    spec = bundle.manifest.model

    def make_session() -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors reach us as exceptions; the rest is for developers
        options.intra_op_num_threads = count
        session = ort.InferenceSession(bundle.read("fp32"), options, providers=providers)
        # A fallback would go on elsewhere after a failure, and print that on stdout.
        session.disable_fallback()
        return session

    count = library_threads(threads)
    try:
        ready = engine(spec, make_session)
        ready.try_out()
    except (TfsRtError, MemoryError):
        raise
    except Exception as error:  # ONNX Runtime has about a dozen classes of its own
        if fault := limit_fault(error):
            raise fault from error
        if "bad_alloc" in str(error):
            raise MemoryError from error
        reason = f"cannot be run ({first_line(error)})"
        raise ModelError(file, reason, "update onnxruntime, or export the bundle again") from error
    return ready
