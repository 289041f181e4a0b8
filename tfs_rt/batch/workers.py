"""Worker processes that share a run: each runs the same command for one shard, and ends when this process ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from tfs_rt.batch.shards import Shard
from tfs_rt.errors import EnvironmentFault
from tfs_rt.system.os_errors import remedy_for
from tfs_rt.system.resource_limits import limit_fault
from tfs_rt.system.threads import VARIABLE as THREADS

# Environment variable of a worker: it ends when its standard input is closed.
IS_WORKER = "TFS_RT_LEASH"
# Environment variable of a worker: the token that it writes into its report.
TOKEN = "TFS_RT_TOKEN"
CODE = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from tfs_rt.cli import main; main()"
FINISHED = (0, 3, 4)  # exit codes of a worker that has tried all its cases
STOPPED = (2, 5, 6, 70)  # exit codes of a worker that has printed what stopped it
POLL_SECONDS = 0.1  # between two looks at the processes
UPDATE_SECONDS = 2.0  # between two calls of `on_update`
# Seconds that a worker has to finish its case when it is asked to end.
GRACE_SECONDS = 30.0


def run_workers(
    arguments: Sequence[str],
    shards: Sequence[Shard],
    *,
    token: str,
    devices: Sequence[str] = (),
    threads: int,
    on_line: Callable[[str], None],
    on_update: Callable[[], None] = lambda: None,
) -> int:
    """Run `fuse` with these arguments once for each shard, on a device of its own if there are any.

    All workers have the same number of threads, for the last bits of some backends depend on it.
    `on_line` is called with each line that a worker prints, once if several print the same; `on_update` is called every
    few seconds.
    Returns 0 if all workers have tried their cases, and else the exit code of one that printed what stopped it. Raises
    EnvironmentFault for a worker that ended in any other way.
    """
    messages = UniqueLines(on_line)
    workers: list[subprocess.Popen[str]] = []
    readers: list[threading.Thread] = []
    try:
        # Start a worker for each shard.
        for number, shard in enumerate(shards):
            environment = {TOKEN: token, THREADS: str(max(1, threads // len(shards)))}
            if devices:
                environment["CUDA_VISIBLE_DEVICES"] = devices[number]
            worker = _start(["fuse", "--quiet", "--shard", str(shard), *arguments], environment)
            workers.append(worker)
            _share_processors(worker, number, len(shards))
            readers.append(_start_reader(worker, messages))
        # Wait until all have ended.
        updated = time.monotonic()
        while any(worker.poll() is None for worker in workers):
            time.sleep(POLL_SECONDS)
            if time.monotonic() - updated > UPDATE_SECONDS:
                on_update()
                updated = time.monotonic()
    finally:
        _end(workers)
        for reader in readers:
            reader.join()
    return _exit_code(shards, [worker.returncode for worker in workers])


def end_with_parent(environment: Mapping[str, str]) -> None:
    """In a worker: end, as if terminated, when the process that started it has ended in any way."""
    if environment.get(IS_WORKER):
        threading.Thread(target=_wait_for_parent, daemon=True).start()


class UniqueLines:
    """Passes lines on, each once. Several threads may call it."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.on_line = on_line
        self.seen: set[str] = set()
        self.lock = threading.Lock()

    def __call__(self, line: str) -> None:
        """Pass a line on, if it is new."""
        with self.lock:
            is_new = line not in self.seen
            self.seen.add(line)
        if is_new:
            self.on_line(line)


def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    # Start the worker with this process's import path and environment.
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", CODE, json.dumps([path for path in sys.path if path]), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            env={**os.environ, IS_WORKER: "1", **environment},
            start_new_session=True,  # the terminal's signals reach this process alone, which passes them on
        )
    except OSError as error:
        # Tell a resource limit from other faults.
        if fault := limit_fault(error):
            raise fault from error
        reason = f"a process cannot be started ({error.strerror})"
        raise EnvironmentFault("--workers", reason, remedy_for(error, "ask for fewer")) from error


def _share_processors(worker: subprocess.Popen[str], number: int, count: int) -> None:
    """Bind a worker to its part of the processors, where that is possible."""
    if sys.platform == "linux":
        with suppress(OSError):  # it has ended already, or a sandbox denies the call
            processors = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(worker.pid, processors[number::count] or processors)


def _start_reader(worker: subprocess.Popen[str], on_line: Callable[[str], None]) -> threading.Thread:
    """Start a thread that reads what a worker prints."""

    def read() -> None:
        assert worker.stderr
        with worker.stderr as lines:
            for line in lines:
                on_line(line.rstrip())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _end(workers: Sequence[subprocess.Popen[str]]) -> None:
    """Terminate the workers that still run, and kill those that do not end in time."""
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    for worker in workers:
        try:
            worker.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        if worker.stdin:
            worker.stdin.close()


def _exit_code(shards: Sequence[Shard], codes: Sequence[int]) -> int:
    for shard, code in zip(shards, codes, strict=True):
        if code not in (*FINISHED, *STOPPED):
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise EnvironmentFault(f"worker {shard}", how, "run the command again: finished cases are kept")
    return next((code for code in codes if code in STOPPED), 0)


def _wait_for_parent() -> None:
    """Wait until the parent closes standard input, which the kernel does when it is killed; then end this process."""
    while os.read(0, 2**12):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
