"""Compile the operations, and the function that runs a program of them, for this processor."""

from __future__ import annotations

import ctypes
import mmap
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir

from tfs_rt.backends.winograd.blocks.matrix_product import add_product
from tfs_rt.backends.winograd.blocks.strip import add_strip
from tfs_rt.backends.winograd.blocks.transforms import add_transforms
from tfs_rt.backends.winograd.kernels import KernelModule, RegisterTile
from tfs_rt.backends.winograd.operations.catalogue import OPERATIONS, add_operations
from tfs_rt.backends.winograd.program_loop import add_run
from tfs_rt.errors import EnvironmentFault

READ_AND_EXECUTE = 1 | 4  # PROT_READ | PROT_EXEC of mprotect(2)
RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@dataclass(frozen=True, slots=True)
class Machine:
    """Compiled operations by their addresses, and how registers were used."""

    shape: RegisterTile
    addresses: dict[str, int]
    run: Any  # (program, number of operations, barrier, thread, threads)
    code: Any  # keeps the addresses valid


def host_shape() -> RegisterTile:
    """The best use of this processor's registers; EnvironmentFault if it has no vectors with fused multiply-add."""
    features = llvm.get_host_cpu_features()
    triple = llvm.get_process_triple()
    if features.get("avx512f"):
        return RegisterTile(width=16, rows=12, columns=2)
    if features.get("avx2") and features.get("fma"):
        return RegisterTile(width=8, rows=6, columns=2)
    if triple.startswith(("aarch64", "arm64")):
        return RegisterTile(width=4, rows=6, columns=4)
    raise EnvironmentFault("backend winograd", f"{triple} has neither AVX2 nor NEON", "choose --backend ort-cpu")


@cache
def machine(shape: RegisterTile) -> Machine:
    """Compile everything, once a process: half a second. EnvironmentFault if the system forbids generated code."""
    if not may_run_generated_code():
        reason = "this system does not let a program run code that it has generated"
        raise EnvironmentFault("backend winograd", reason, "choose --backend ort-cpu")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # Compile for its features, not only for its name: a hypervisor may hide some of them.
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    module = llvm.parse_assembly(source(shape))
    module.verify()
    passes = llvm.create_new_module_pass_manager()
    # Variables become registers; more of LLVM's passes take longer and gain nothing here.
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.run(module, llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options()))
    code = llvm.create_mcjit_compiler(module, target)
    code.finalize_object()
    addresses = {fields.__name__: code.get_function_address(fields.__name__) for fields in OPERATIONS}
    return Machine(shape, addresses, RUN(code.get_function_address("run")), code)


def may_run_generated_code() -> bool:
    """True if this system lets a program run code that it has written into its memory.

    A hardened Linux (SELinux, systemd, prctl) may refuse to make such memory executable, and LLVM does not report it.
    So a page is written and made executable, as LLVM does it; nothing in it is run.
    """
    if sys.platform != "linux":
        return True
    libc = ctypes.CDLL(None)
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page[0] = 1
    view = ctypes.c_char.from_buffer(page)
    allowed = libc.mprotect(ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(len(page)), READ_AND_EXECUTE) == 0
    del view
    page.close()
    return allowed


def source(shape: RegisterTile) -> str:
    """All functions as LLVM's assembly."""
    kernels = KernelModule(ir.Module("tfs_rt"), shape)
    add_product(kernels)
    add_strip(kernels)
    add_transforms(kernels)
    add_operations(kernels)
    add_run(kernels.module)
    return str(kernels.module)
