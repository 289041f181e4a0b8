"""The function that runs a program: each thread goes through all operations, with a barrier after each."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from tfs_rt.backends.winograd.arguments import kinds, make_record
from tfs_rt.backends.winograd.emit import I32, I64, POINTER, Function, Int, Number, Pointer

# In 64-bit words. It keeps what threads write off the cache line of what they read.
CACHE_LINE = 16
# Looks at a barrier before a waiting thread offers its processor to others.
SPINS = 2000
YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"  # neither takes an argument


@dataclass(frozen=True, slots=True, kw_only=True)
class RunArguments:
    """The parameters of `run`."""

    program: Pointer  # (operations, 2): the addresses of each operation's code and fields
    operations: Number
    # Two cache lines: the number of threads that have arrived, and the number of barriers passed.
    barrier: Pointer
    thread: Number
    threads: Number


def add_run(module: ir.Module) -> None:
    """Add `run`."""
    code = Function(module, "run", kinds(RunArguments), width=1)
    parameters = iter(code.parameters)
    args = make_record(RunArguments, lambda _: next(parameters))
    operation = ir.FunctionType(ir.VoidType(), [POINTER, I64])
    yield_processor = ir.Function(module, ir.FunctionType(I32, []), YIELD)
    with code.loop(0, args.operations) as i:
        address = code.load_element(args.program, code.mul(i, 2), kind=operation.as_pointer())
        fields = code.load_element(args.program, code.mul(i, 2), 1, kind=POINTER)
        code.builder.call(address, [fields, args.thread])
        _wait_for_all(code, args, yield_processor)

        # Set the counter of tasks to 0 for the next run: no thread reads it now.
        with code.builder.if_then(code.equal(args.thread, 0)):
            code.store_element(code.number(0), fields, 0, kind=I64)
    code.end()


def _wait_for_all(code: Function, args: RunArguments, yield_processor: ir.Function) -> None:
    """A barrier: the last thread to arrive raises the number that the others look at."""
    builder = code.builder
    arrived = code.at(args.barrier, 0, kind=I64)
    passed = code.at(args.barrier, CACHE_LINE, kind=I64)
    before = builder.load_atomic(passed, "acquire", 8, typ=I64)
    count = builder.atomic_rmw("add", arrived, code.number(1), "acq_rel")
    with builder.if_else(code.equal(code.add(count, 1), args.threads)) as (last, others):
        with last:
            code.store_element(code.number(0), arrived, 0, kind=I64)
            builder.atomic_rmw("add", passed, code.number(1), "acq_rel")
        with others:
            _spin_until_changed(code, passed, before, yield_processor)


def _spin_until_changed(code: Function, number: Pointer, before: Int, yield_processor: ir.Function) -> None:
    """Look at a number until it is not `before`; after `SPINS` looks, yield the processor between looks."""
    builder: Any = code.builder
    # Create the blocks of the loop.
    entry = builder.block
    look, wait, end = (builder.append_basic_block() for _ in range(3))
    builder.branch(look)

    # Look at the number, and end if it has changed.
    builder.position_at_end(look)
    looks = builder.phi(I64)
    looks.add_incoming(code.number(0), entry)
    builder.cbranch(code.equal(builder.load_atomic(number, "acquire", 8, typ=I64), before), wait, end)

    # Yield the processor after enough looks, and look again.
    builder.position_at_end(wait)
    with builder.if_then(code.less(SPINS, looks)):
        builder.call(yield_processor, [])
    looks.add_incoming(code.add(looks, 1), builder.block)
    builder.branch(look)
    builder.position_at_end(end)
