"""Compiling the kernels: for other processors, and on systems where that is not possible."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from llvmlite import binding as llvm

import tfs_rt.backends
from support.winograd_networks import output_of
from tfs_rt.backends.winograd.kernels import RegisterTile
from tfs_rt.backends.winograd.machine import source
from tfs_rt.errors import EnvironmentFault
from tfs_rt.methods.diffusion import load_pipeline


def test_it_compiles_for_processors_that_are_not_here() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    for shape, triple, processor in (
        (RegisterTile(16, 12, 2), "x86_64-unknown-linux-gnu", "skylake-avx512"),
        (RegisterTile(8, 6, 2), "x86_64-pc-windows-msvc", "haswell"),
        (RegisterTile(4, 6, 4), "aarch64-unknown-linux-gnu", "neoverse-n1"),
        (RegisterTile(4, 6, 4), "arm64-apple-macosx14", "apple-m1"),
    ):
        target = llvm.Target.from_triple(triple).create_target_machine(cpu=processor, opt=2)
        module = llvm.parse_assembly(source(shape))
        module.verify()
        assert len(target.emit_object(module)) > 10_000


WITHOUT_PROC = 'mount -t tmpfs none /proc && exec "$@"'


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_without_proc_it_runs_and_auto_takes_it() -> None:
    code = """
import os
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.doctor.probes import backend
assert not os.path.exists("/proc/self")
pipeline = load_pipeline("tfs-rt/x4")
print(pipeline.backend, repr(pipeline.reason), backend("winograd")["version"] != "")
"""
    namespace = ["unshare", "--mount", "--map-root-user", "sh", "-c", WITHOUT_PROC, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*namespace, "true"], check=False, stderr=-3).returncode:
        pytest.skip("this system lets /proc not be hidden")
    command = [*namespace, sys.executable, "-W", "ignore", "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "winograd '' True\n", ended.stderr


def test_where_generated_code_may_not_run_it_says_so_and_auto_takes_another() -> None:
    code = """
import ctypes
from tfs_rt.errors import EnvironmentFault
from tfs_rt.methods.diffusion import load_pipeline
print(getattr(ctypes.CDLL(None), "prctl", lambda *_: -1)(65, 1, 0, 0, 0))  # PR_SET_MDWE, Linux 6.3
pipeline = load_pipeline("tfs-rt/x4")
print(pipeline.backend)
print(pipeline.reason)
try: load_pipeline("tfs-rt/x4", backend="winograd")
except EnvironmentFault as fault: print(fault.reason)
"""
    forbidden, *said = output_of(code).splitlines()
    if forbidden != "0":
        pytest.skip("this system cannot forbid it")
    reason = "this system does not let a program run code that it has generated"
    assert said == ["ort-cpu", f"winograd does not run: {reason}", reason]


@pytest.mark.parametrize(
    ("module", "fault"),
    [
        ("llvmlite", OSError("Could not find libllvmlite.so")),
        ("tfs_rt.backends.winograd.emit", TypeError("of an old llvmlite")),
    ],
)
def test_an_llvmlite_that_does_not_do_is_told_and_auto_takes_another(
    module: str, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == module:
                raise fault

    # the package's attribute is set back as well, not only sys.modules
    monkeypatch.setattr(tfs_rt.backends, "winograd", sys.modules["tfs_rt.backends.winograd"])
    for name in [name for name in sys.modules if name.startswith(("llvmlite", "tfs_rt.backends.winograd"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert load_pipeline("tfs-rt/x4").backend == "ort-cpu"
    with pytest.raises(EnvironmentFault, match=rf"cannot be loaded \({fault}\): pip install"):
        load_pipeline("tfs-rt/x4", backend="winograd")


def test_kernels_that_cannot_be_compiled_are_an_environments_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def machine(shape: RegisterTile) -> None:
        raise AttributeError("of another llvmlite")

    monkeypatch.setattr("tfs_rt.backends.winograd.backend.machine", machine)
    assert load_pipeline("tfs-rt/x4").backend == "ort-cpu"
    with pytest.raises(EnvironmentFault, match="cannot be compiled"):
        load_pipeline("tfs-rt/x4", backend="winograd")
