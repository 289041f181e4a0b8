"""All operations that a program may be made of."""

from __future__ import annotations

from tfs_rt.backends.winograd.kernels import KernelModule
from tfs_rt.backends.winograd.operations import attention, conv, downsample, linear, norm
from tfs_rt.backends.winograd.operations.operation import Emitters, Operation

OPERATIONS: Emitters = {
    **conv.EMITTERS,
    **linear.EMITTERS,
    **downsample.EMITTERS,
    **norm.EMITTERS,
    **attention.EMITTERS,
}


def add_operations(kernels: KernelModule) -> None:
    """Add the function of each operation, by the name of the type of its fields."""
    for fields, emit in OPERATIONS.items():
        code = Operation(kernels, fields.__name__)
        emit(kernels, code, code.read(fields))
        code.end()
