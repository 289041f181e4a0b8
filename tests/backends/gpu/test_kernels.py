"""The CUDA kernels: run on the CPU between guard bytes, against NumPy and Pillow; compiled for every kind of GPU."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.host_kernels import HOST, KERNELS, HostKernels, compile_host, kernels
from support.kernel_checks import Guarded, KernelChecks, Launch

ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostKernels:
    return compile_host(tmp_path_factory.mktemp("kernels"), [HOST / "entries.cu"])


@pytest.fixture
def launch(host: HostKernels) -> Launch:
    """Run a kernel on guarded copies of its arrays, and copy back what it wrote."""

    def run(name: str, threads: int, *arguments: Any) -> None:
        copies = {i: Guarded(array) for i, array in enumerate(arguments) if isinstance(array, np.ndarray)}
        host.launch(name, threads, *[copies[i].array if i in copies else a for i, a in enumerate(arguments)])
        for i, copy in copies.items():
            assert copy.intact(), f"{name} wrote beside argument {i}"
            arguments[i][...] = copy.array

    return run


class TestKernelsOnTheCpu(KernelChecks):
    """The kernels compiled for the CPU."""


def test_a_wrapper_knows_its_kernels_parameters(host: HostKernels) -> None:
    sizes = (ctypes.c_int * 16)()
    assert host.library.tfs_host_params_tfs_finish(sizes) == 9
    assert sizes[:9] == [8, 8, 8, 4, 4, 4, 4, 4, 4]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvrtc_compiles_the_kernels(architecture: str) -> None:
    core = pytest.importorskip("cuda.core")
    pathfinder = pytest.importorskip("cuda.pathfinder")
    options = core.ProgramOptions(arch=architecture, std="c++17", include_path=str(KERNELS), fma=False)
    try:
        binary = core.Program((KERNELS / "kernels.cu").read_text(), "c++", options).compile("cubin")
    except pathfinder.DynamicLibNotFoundError:
        pytest.skip("NVRTC is not installed")
    for name in kernels():
        assert name.encode() in binary.code


@pytest.mark.parametrize(
    "architecture", [a if a == "sm_89" else pytest.param(a, marks=pytest.mark.slow) for a in ARCHITECTURES]
)
def test_nvcc_needs_no_stack_and_spills_nothing(tmp_path: Path, architecture: str) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    command = [nvcc, "-std=c++17", "-cubin", f"-arch={architecture}", "--fmad=false", "-Xptxas", "-v", "-Werror"]
    command += ["all-warnings", "-o", str(tmp_path / "kernels.cubin"), str(KERNELS / "kernels.cu")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    assert set(re.findall(r"entry function '(\w+)'", said)) == set(kernels())
    used = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said)
    assert used == [("0", "0", "0")] * len(kernels())
