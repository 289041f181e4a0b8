"""Exceptions met while a case is read or fused, as errors with a file, a reason and a remedy."""

from __future__ import annotations

from tfs_rt.batch.work import CaseWork
from tfs_rt.cases.case import FoundCase
from tfs_rt.errors import InputError, TfsRtError, first_line
from tfs_rt.system.resource_limits import MORE_MEMORY, limit_fault, memory_limits


def reading_error(case: FoundCase, error: Exception) -> TfsRtError:
    """The error of a case that could not be read. LimitReached if the system, not the case, is to blame."""
    if isinstance(error, TfsRtError):
        return error
    if limit := limit_fault(error):
        return limit
    if isinstance(error, MemoryError):
        reason = f"needs more memory to be read than there is{_memory_limits()}"
        return InputError(case.id, reason, MORE_MEMORY)
    return InputError(case.id, f"cannot be read ({first_line(error)})", "report this case")


def fusing_error(work: CaseWork, error: Exception) -> TfsRtError:
    """The error of a case that could not be fused or encoded.

    It is without a traceback: the frames there hold the memory that a retry needs.
    """
    if isinstance(error, TfsRtError):
        return error.with_traceback(None)
    if limit := limit_fault(error):
        return limit
    height, width = work.loaded.size
    reason = f"could not be fused at {width}x{height} ({type(error).__name__}: {first_line(error)})"
    if isinstance(error, MemoryError):
        remedy = f"fuse it at a smaller size, or {MORE_MEMORY}"
        return InputError(work.loaded.case.id, f"{reason}{_memory_limits()}", remedy)
    return InputError(work.loaded.case.id, reason, "try a smaller size, or report this case")


def _memory_limits() -> str:
    """The limits on memory in parentheses, to follow a reason; empty without limits."""
    limits = ", ".join(memory_limits())
    return f" ({limits})" if limits else ""
