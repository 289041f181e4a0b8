"""Whose an output folder is while runs write to it.

    OUTPUT/.tfs-rt/lock                   held by a run over all cases; by a shard while it begins
    OUTPUT/.tfs-rt/shards/2-of-8/lock     held by that shard

The kernel frees the locks of a process that was killed. Where the file system has no locks, marker files do their work:
see `tfs_rt.system.locks`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import BaseFileLock, Timeout

from tfs_rt.batch.journal import Journal, holder, is_of_this_machine
from tfs_rt.batch.shards import Job, Shard, shard_of
from tfs_rt.errors import EnvironmentFault, UsageError
from tfs_rt.output.folder import STATE
from tfs_rt.output.sidecar import SPREAD
from tfs_rt.system.files import read_regular, sweep, write_file
from tfs_rt.system.locks import acquire, is_held, marker_of
from tfs_rt.system.os_errors import reason_of, remedy_for

LOCK, SHARDS, JOB = "lock", "shards", "job"
PATIENCE = 1.0  # seconds: longer than `status` holds a lock to see whether it is held
BEGINNING = 60.0  # seconds: longer than many shards need to begin one after the other
ELSEWHERE = "choose another --output"


def state_of(folder: Path, shard: Shard | None = None) -> Path:
    """Where a run over all cases, or a shard, keeps its state in an output folder."""
    return folder / STATE / SHARDS / shard.folder if shard else folder / STATE


@contextmanager
def claimed(folder: Path, job: Job | None = None) -> Iterator[Journal]:
    """The run's journal, while no other run of the same cases may write to the folder; EnvironmentFault names who does.

    Shards of one job share the folder; UsageError for one of another job while they go on. Temporary files that a
    killed run left are taken away, if nobody else writes there.
    """
    shard = job.shard if job else None
    state = state_of(folder, shard)
    for path in (folder / STATE, folder / STATE / SHARDS, state, folder / SPREAD):
        if path.is_symlink():
            raise EnvironmentFault(path, "is a link", "remove it, or choose another --output")
    with ExitStack() as held:
        try:
            state.mkdir(parents=True, exist_ok=True)
            journal = _claim(held, folder, job)
        except OSError as error:  # not Timeout, which _claim has turned into its own words
            reason = f"cannot be locked ({reason_of(error)})"
            raise EnvironmentFault(error.filename or folder / STATE, reason, remedy_for(error, ELSEWHERE)) from error
        yield journal


def _claim(held: ExitStack, folder: Path, job: Job | None) -> Journal:
    """Take the locks and leave those that are to be held with `held`."""
    shard = job.shard if job else None
    whole = _take(held, folder, None, BEGINNING if shard else PATIENCE)
    shards = shards_of(folder)
    _check_company(folder, [other for other in shards if shard is None or other.count != shard.count])
    state = state_of(folder, shard)
    if shard:
        _take(held, folder, shard, PATIENCE)
    others = (other for other in shards if other != shard)
    if other := next((one for one in others if is_claimed(folder, one, patience=0, unknown=True)), None):
        _check_job(folder, job, other)
    else:
        for place in (folder, folder / SPREAD, state_of(folder), *(state_of(folder, other) for other in shards)):
            sweep(place)
        if job:
            write_file(folder / STATE / JOB, job.sha256.encode())
    journal = Journal(state)
    held.callback(journal.close)
    if shard:
        whole.release()
    return journal


def _take(held: ExitStack, folder: Path, shard: Shard | None, patience: float) -> BaseFileLock:
    state = state_of(folder, shard)
    try:
        lock = acquire(state / LOCK, patience)
    except Timeout as error:
        reason = f"is written to by {holder(state)}"
        raise EnvironmentFault(folder, reason, _way_out(state)) from error
    held.callback(lock.release)
    return lock


def removable_lock(state: Path) -> Path | None:
    """The file that holds a lock which may be a dead machine's; None if its run is alive on this machine."""
    marker = marker_of(state / LOCK)
    if os.path.lexists(marker):
        return marker
    return None if is_of_this_machine(state) else state / LOCK


def _way_out(state: Path) -> str:
    """The remedy for a folder that another run has locked."""
    lock = removable_lock(state)
    return f"wait, or, if that run has ended, remove {lock}, or {ELSEWHERE}" if lock else f"wait, or {ELSEWHERE}"


@contextmanager
def beginning(folder: Path) -> Iterator[None]:
    """While no run begins or ends in a folder that shards write to."""
    with ExitStack() as held:
        _take(held, folder, None, BEGINNING)
        yield


def is_claimed(
    folder: Path, shard: Shard | None = None, *, patience: float = PATIENCE / 5, unknown: bool = False
) -> bool:
    """Whether a run over all cases, or a shard, goes on in a folder; `unknown` where we may not look."""
    try:
        return is_held(state_of(folder, shard) / LOCK, patience)
    except OSError:
        return unknown


def is_written_to(folder: Path) -> bool:
    """Whether any run goes on in a folder."""
    return is_claimed(folder) or any(is_claimed(folder, shard) for shard in shards_of(folder))


def shards_of(folder: Path) -> list[Shard]:
    """The shards that have run in a folder, ever."""
    try:
        names = sorted(path.name for path in (folder / STATE / SHARDS).iterdir())
    except OSError:
        return []
    return [shard for name in names if (shard := shard_of(name))]


def current_job(folder: Path) -> str:
    """The digest of the job whose shards went on last in a folder; empty if that cannot be told."""
    try:
        return read_regular(folder / STATE / JOB, 100).decode(errors="replace")
    except OSError:
        return ""


def _check_job(folder: Path, job: Job | None, other: Shard) -> None:
    """UsageError unless the shards that go on are of the same job."""
    if job is None or current_job(folder) != job.sha256:
        reason = "is written to by shards of other cases or of another recipe"
        raise UsageError(folder, reason, f"ask for the same in all shards, {_way_out(state_of(folder, other))}")


def _check_company(folder: Path, strangers: list[Shard]) -> None:
    """EnvironmentFault if a shard of another number of shards goes on."""
    for other in strangers:
        if is_claimed(folder, other):
            reason = f"is written to by shard {other}, {holder(state_of(folder, other))}"
            raise EnvironmentFault(folder, reason, _way_out(state_of(folder, other)))
