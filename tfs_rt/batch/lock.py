"""Locks on an output folder: which runs may write to it.

    OUTPUT/.tfs-rt/lock                   held by a run over all cases; by a shard only while it starts
    OUTPUT/.tfs-rt/shards/2-of-8/lock     held by that shard

The kernel frees the locks of a process that was killed. Where the file system has no locks, marker files replace them:
see `tfs_rt.system.locks`.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import BaseFileLock, Timeout

from tfs_rt.batch.journal import Journal, is_of_this_machine, lock_holder
from tfs_rt.batch.shards import Job, Shard, shard_of
from tfs_rt.errors import EnvironmentFault, UsageError
from tfs_rt.output.folder import JOB, LOCK, SHARDS, SPREAD, STATE
from tfs_rt.system.files import read_regular, remove_temporaries, write_file
from tfs_rt.system.locks import acquire, is_held, marker_of
from tfs_rt.system.os_errors import reason_of, remedy_for

# In seconds: longer than `status` holds a lock to find out if it is held.
LOCK_TIMEOUT = 1.0
START_TIMEOUT = 60.0  # seconds: longer than many shards need to start one after the other
JOB_BYTES = 100  # more than a job's digest has
OTHER_OUTPUT = "choose another --output"


def state_folder(output: Path, shard: Shard | None = None) -> Path:
    """The folder in an output folder that holds the state of a run over all cases, or of a shard."""
    state = output / STATE
    return state / SHARDS / shard.folder if shard else state


@contextmanager
def lock_output(output: Path, job: Job | None = None) -> Generator[Journal]:
    """Lock an output folder against other runs over the same cases; yields the run's journal.

    Shards of one job share the folder. Raises EnvironmentFault that names the run which holds the lock, and UsageError
    while shards of another job run. If no other run is active, temporary files of killed runs are deleted.
    """
    shard = job.shard if job else None
    state = state_folder(output, shard)
    for path in (output / STATE, output / STATE / SHARDS, state, output / SPREAD):
        if path.is_symlink():
            raise EnvironmentFault(path, "is a link", "remove it, or choose another --output")
    with ExitStack() as locks:
        try:
            state.mkdir(parents=True, exist_ok=True)
            journal = _acquire_all(locks, output, job)
        except OSError as error:  # Timeout is not among them: `_acquire` has turned it into an EnvironmentFault
            path = error.filename or output / STATE
            reason = f"cannot be locked ({reason_of(error)})"
            raise EnvironmentFault(path, reason, remedy_for(error, OTHER_OUTPUT)) from error
        yield journal


def _acquire_all(locks: ExitStack, output: Path, job: Job | None) -> Journal:
    """Acquire the locks that a run needs; `locks` releases them when the run ends."""
    shard = job.shard if job else None
    # Lock the whole folder; a shard waits for others that start at the same time.
    whole = _acquire(locks, output, None, START_TIMEOUT if shard else LOCK_TIMEOUT)
    # Refuse to run beside shards that divide the cases in another way.
    shards = shards_of(output)
    _check_shard_count(output, [other for other in shards if shard is None or other.count != shard.count])
    # Lock the shard.
    if shard:
        _acquire(locks, output, shard, LOCK_TIMEOUT)
    # Join the job of the shards that are running, or clean up after killed runs.
    running = _running_shard(output, [other for other in shards if other != shard])
    if running:
        _check_job(output, job, running)
    else:
        _sweep(output, shards)
        if job:
            write_file(output / STATE / JOB, job.sha256.encode())
    # Open the journal, and let other shards start.
    journal = Journal(state_folder(output, shard))
    locks.callback(journal.close)
    if shard:
        whole.release()
    return journal


def _acquire(locks: ExitStack, output: Path, shard: Shard | None, timeout: float) -> BaseFileLock:
    state = state_folder(output, shard)
    try:
        lock = acquire(state / LOCK, timeout)
    except Timeout as error:
        raise EnvironmentFault(output, f"is written to by {lock_holder(state)}", _lock_remedy(state)) from error
    locks.callback(lock.release)
    return lock


def _running_shard(output: Path, shards: Sequence[Shard]) -> Shard | None:
    """The first of some shards that is running, or may be."""
    for shard in shards:
        if is_locked(output, shard, timeout=0, if_unknown=True):
            return shard
    return None


def _sweep(output: Path, shards: Sequence[Shard]) -> None:
    """Delete the temporary files of killed runs."""
    for folder in (output, output / SPREAD, state_folder(output)):
        remove_temporaries(folder)
    for shard in shards:
        remove_temporaries(state_folder(output, shard))


def removable_lock(state: Path) -> Path | None:
    """The lock file to remove if its run has ended on another machine; None if the run is alive on this machine."""
    marker = marker_of(state / LOCK)
    if os.path.lexists(marker):
        return marker
    return None if is_of_this_machine(state) else state / LOCK


def _lock_remedy(state: Path) -> str:
    """The remedy for a folder that another run has locked."""
    lock = removable_lock(state)
    if lock:
        return f"wait, or, if that run has ended, remove {lock}, or {OTHER_OUTPUT}"
    return f"wait, or {OTHER_OUTPUT}"


@contextmanager
def starting_lock(output: Path) -> Generator[None]:
    """Hold the lock under which shards start and merge their reports."""
    with ExitStack() as locks:
        _acquire(locks, output, None, START_TIMEOUT)
        yield


def is_locked(
    output: Path, shard: Shard | None = None, *, timeout: float = LOCK_TIMEOUT / 5, if_unknown: bool = False
) -> bool:
    """True if a run over all cases, or a shard, holds its lock; `if_unknown` if the lock cannot be read."""
    try:
        return is_held(state_folder(output, shard) / LOCK, timeout)
    except OSError:
        return if_unknown


def has_running_run(output: Path) -> bool:
    """True if any run writes to an output folder."""
    return is_locked(output) or any(is_locked(output, shard) for shard in shards_of(output))


def shards_of(output: Path) -> list[Shard]:
    """The shards that have ever run in an output folder."""
    try:
        names = sorted(path.name for path in (output / STATE / SHARDS).iterdir())
    except OSError:
        return []
    shards = [shard_of(name) for name in names]
    return [shard for shard in shards if shard]


def current_job(output: Path) -> str:
    """The digest of the job whose shards ran last in an output folder; empty if it cannot be read."""
    try:
        return read_regular(output / STATE / JOB, JOB_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _check_job(output: Path, job: Job | None, other: Shard) -> None:
    """UsageError unless the running shards belong to this job."""
    if job is None or current_job(output) != job.sha256:
        reason = "is written to by shards of other cases or of another recipe"
        remedy = f"give all shards the same cases and options, {_lock_remedy(state_folder(output, other))}"
        raise UsageError(output, reason, remedy)


def _check_shard_count(output: Path, others: Sequence[Shard]) -> None:
    """EnvironmentFault if a shard of another number of shards is running."""
    for other in others:
        if is_locked(output, other):
            state = state_folder(output, other)
            reason = f"is written to by shard {other}, {lock_holder(state)}"
            raise EnvironmentFault(output, reason, _lock_remedy(state))
