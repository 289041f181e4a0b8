"""Whose an output folder is while runs write to it.

    OUTPUT/.tfs-rt/lock                   held by a run over all cases; by a shard while it begins
    OUTPUT/.tfs-rt/shards/2-of-8/lock     held by that shard

The system frees the locks of a process that was killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tfs_rt.cases import STATE
from tfs_rt.errors import EnvironmentFault, UsageError
from tfs_rt.files import read_regular, sweep, write_file
from tfs_rt.journal import Journal, holder
from tfs_rt.shards import Job, Shard, shard_of
from tfs_rt.sidecar import SPREAD

LOCK, SHARDS, JOB = "lock", "shards", "job"
PATIENCE = 1.0  # seconds: longer than `status` holds a lock to see whether it is held
BEGINNING = 60.0  # seconds: longer than many shards need to begin one after the other
ELSEWHERE = "wait, or choose another --output"


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
        except (OSError, NotImplementedError) as error:  # not Timeout, which _claim has turned into its own words
            reason = f"cannot be claimed ({getattr(error, 'strerror', None) or error})"
            raise EnvironmentFault(folder / STATE, reason, "choose another --output") from error
        yield journal


def _claim(held: ExitStack, folder: Path, job: Job | None) -> Journal:
    """Take the locks and leave those that are to be held with `held`."""
    shard = job.shard if job else None
    whole = FileLock(folder / STATE / LOCK)
    _take(held, whole, BEGINNING if shard else PATIENCE, folder)
    shards = shards_of(folder)
    _check_company(folder, [other for other in shards if shard is None or other.count != shard.count])
    state = state_of(folder, shard)
    if shard:
        _take(held, FileLock(state / LOCK), PATIENCE, folder)
    if any(is_claimed(folder, other, patience=0, unknown=True) for other in shards if other != shard):
        _check_job(folder, job)
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


def _take(held: ExitStack, lock: FileLock, patience: float, folder: Path) -> None:
    try:
        held.enter_context(lock.acquire(timeout=patience))
    except Timeout as error:
        reason = f"is written to by {holder(Path(lock.lock_file).parent)}"
        raise EnvironmentFault(folder, reason, ELSEWHERE) from error


@contextmanager
def beginning(folder: Path) -> Iterator[None]:
    """While no run begins or ends in a folder that shards write to."""
    with ExitStack() as held:
        _take(held, FileLock(folder / STATE / LOCK), BEGINNING, folder)
        yield


def is_claimed(
    folder: Path, shard: Shard | None = None, *, patience: float = PATIENCE / 5, unknown: bool = False
) -> bool:
    """Whether a run over all cases, or a shard, goes on in a folder; `unknown` where we may not look."""
    lock = state_of(folder, shard) / LOCK
    try:
        if not lock.is_file():
            return False
        with FileLock(lock, timeout=patience):
            return False
    except Timeout:
        return True
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


def _check_job(folder: Path, job: Job | None) -> None:
    """UsageError unless the shards that go on are of the same job."""
    if job is None or current_job(folder) != job.sha256:
        reason = "is written to by shards of other cases or of another recipe"
        raise UsageError(folder, reason, "ask for the same in all shards, wait, or choose another --output")


def _check_company(folder: Path, strangers: list[Shard]) -> None:
    """EnvironmentFault if a shard of another number of shards goes on."""
    for other in strangers:
        if is_claimed(folder, other):
            reason = f"is written to by shard {other}, {holder(state_of(folder, other))}"
            raise EnvironmentFault(folder, reason, ELSEWHERE)
