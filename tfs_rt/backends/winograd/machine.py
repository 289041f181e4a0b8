"""The operations as machine code for this very processor, and the function that runs a program of them."""

from __future__ import annotations

import ctypes
import mmap
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir

from tfs_rt.backends.winograd.emit import I32, I64, POINTER, Function
from tfs_rt.backends.winograd.kernels import Kernels, Shape, add_kernels
from tfs_rt.backends.winograd.operations import FIELDS, add_operations
from tfs_rt.errors import EnvironmentFault

PATIENCE = 2000  # looks at a barrier before the processor is offered to others
LINE = 16  # 64-bit words, so that what threads write does not share a cache line with what they read
READ_AND_EXECUTE = 1 | 4  # PROT_READ | PROT_EXEC of mprotect(2)
GIVE_WAY = "SwitchToThread" if sys.platform == "win32" else "sched_yield"  # neither takes anything
RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@dataclass(frozen=True, slots=True)
class Machine:
    """Compiled operations by their addresses, and how registers were used."""

    shape: Shape
    addresses: dict[str, int]
    run: Any  # (program, number of operations, barrier, thread, threads)
    code: Any  # keeps the addresses valid


def host_shape() -> Shape:
    """How this processor's registers are used; EnvironmentFault if it has no vectors with fused multiply-add."""
    features, triple = llvm.get_host_cpu_features(), llvm.get_process_triple()
    if features.get("avx512f"):
        return Shape(width=16, rows=12, columns=2)
    if features.get("avx2") and features.get("fma"):
        return Shape(width=8, rows=6, columns=2)
    if triple.startswith(("aarch64", "arm64")):
        return Shape(width=4, rows=6, columns=4)
    raise EnvironmentFault("backend winograd", f"{triple} has neither AVX2 nor NEON", "choose --backend ort-cpu")


@cache
def machine(shape: Shape) -> Machine:
    """Compile everything, once a process: half a second. EnvironmentFault if the system lets no new code be run."""
    if not may_run_new_code():
        reason = "this system lets no code be run that a program writes into its memory"
        raise EnvironmentFault("backend winograd", reason, "choose --backend ort-cpu")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # as its features say, not as its name does: a hypervisor may hide some
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    module = llvm.parse_assembly(source(shape))
    module.verify()
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()  # variables become registers; more of LLVM's passes take longer and gain nothing here
    passes.add_instruction_combine_pass()
    passes.run(module, llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options()))
    code = llvm.create_mcjit_compiler(module, target)
    code.finalize_object()
    addresses = {name: code.get_function_address(name) for name in FIELDS}
    return Machine(shape, addresses, RUN(code.get_function_address("run")), code)


def may_run_new_code() -> bool:
    """True if this system lets code be run that a program has written into its memory.

    A hardened Linux (SELinux, systemd, prctl) may refuse to make such memory executable, and LLVM does not report it.
    So a page is written and made executable as LLVM does; nothing in it is run.
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


def source(shape: Shape) -> str:
    """Everything as LLVM's assembly."""
    kernels = Kernels(ir.Module("tfs_rt"), shape)
    add_kernels(kernels)
    add_operations(kernels)
    _add_run(kernels.module)
    return str(kernels.module)


def _add_run(module: ir.Module) -> None:
    """`run`: every thread goes through the whole program, and waits for the others after each operation."""
    f = Function(module, "run", ("*program", "operations", "*barrier", "thread", "threads"), 1)
    b, operation = f.builder, ir.FunctionType(ir.VoidType(), [POINTER, I64])
    give_way = ir.Function(module, ir.FunctionType(I32, []), GIVE_WAY)
    with f.loop(0, f.operations) as i:
        address = f.one(f.program, f.mul(i, 2), kind=operation.as_pointer())
        fields = f.one(f.program, f.mul(i, 2), 1, kind=POINTER)
        b.call(address, [fields, f.thread])
        _wait(f, give_way)
        with b.if_then(f.equal(f.thread, 0)):
            f.put(f.number(0), fields, 0, kind=I64)  # the counter, for the next time: nobody looks at it now
    f.end()


def _wait(f: Function, give_way: ir.Function) -> None:
    """Until all threads are here: the last one raises the number that the others look at."""
    b = f.builder
    arrived, turn = f.at(f.barrier, 0, kind=I64), f.at(f.barrier, LINE, kind=I64)
    before = b.load_atomic(turn, "acquire", 8, typ=I64)
    count = b.atomic_rmw("add", arrived, f.number(1), "acq_rel")
    with b.if_else(f.equal(f.add(count, 1), f.threads)) as (last, others):
        with last:
            f.put(f.number(0), arrived, 0, kind=I64)
            b.atomic_rmw("add", turn, f.number(1), "acq_rel")
        with others:
            _look_until_raised(f, turn, before, give_way)


def _look_until_raised(f: Function, turn: Any, before: Any, give_way: ir.Function) -> None:
    b, entry = f.builder, f.builder.block
    look, wait, end = (b.append_basic_block() for _ in range(3))
    b.branch(look)
    b.position_at_end(look)
    looks = b.phi(I64)
    looks.add_incoming(f.number(0), entry)
    b.cbranch(f.equal(b.load_atomic(turn, "acquire", 8, typ=I64), before), wait, end)
    b.position_at_end(wait)
    with b.if_then(f.less(PATIENCE, looks)):
        b.call(give_way, [])
    looks.add_incoming(f.add(looks, 1), b.block)
    b.branch(look)
    b.position_at_end(end)
