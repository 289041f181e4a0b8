"""Several processes that share a run: each is the same command for one shard, and they end with this one."""

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

LEASH = "TFS_RT_LEASH"  # in a worker's environment: it ends when its standard input does
THROUGH = (0, 3, 4)  # exit codes of a worker that has seen to all its cases
FAULTS = (2, 5, 6, 70)  # of one that has said what stopped it
TOKEN = "TFS_RT_TOKEN"  # in a worker's environment: what its report is known by
CODE = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from tfs_rt.cli import main; main()"
POLL, WATCH = 0.1, 2.0  # seconds
GRACE = 30.0  # seconds in which a worker that is asked to end may end its case


def run_workers(
    arguments: Sequence[str],
    shards: Sequence[Shard],
    *,
    token: str,
    devices: Sequence[str] = (),
    threads: int,
    say: Callable[[str], None],
    watch: Callable[[], None] = lambda: None,
) -> int:
    """Run `fuse` with these arguments once for each shard, on a device of its own if there are any.

    All have the same part of the threads, for some backends' last bits depend on their number.
    Returns 0 if all have seen to their cases, and the exit code of one that said what stopped it; EnvironmentFault for
    one that ended in any other way.

    `say` is told each line that a worker says, once if several say the same; `watch` is called while they work.
    """
    said, workers, readers = Said(say), [], []
    try:
        for number, shard in enumerate(shards):
            environment = {TOKEN: token, THREADS: str(max(1, threads // len(shards)))}
            if devices:
                environment["CUDA_VISIBLE_DEVICES"] = devices[number]
            worker = _start(["fuse", "--quiet", "--shard", str(shard), *arguments], environment)
            workers.append(worker)
            _share_processors(worker, number, len(shards))
            readers.append(_listen(worker, said))
        looked = time.monotonic()
        while any(worker.poll() is None for worker in workers):
            time.sleep(POLL)
            if time.monotonic() - looked > WATCH:
                watch()
                looked = time.monotonic()
    finally:
        _end(workers)
        for reader in readers:
            reader.join()
    return _exit_code(shards, [worker.returncode for worker in workers])


def keep_to_parent(environment: Mapping[str, str]) -> None:
    """In a worker: end as if asked to, when the process that started it has ended, however it did."""
    if environment.get(LEASH):
        threading.Thread(target=_wait_for_parent, daemon=True).start()


class Said:
    """Passes lines on, each once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.lines, self.lock = say, set[str](), threading.Lock()

    def __call__(self, line: str) -> None:
        """Pass a line on, if it is a new one."""
        with self.lock:
            new = line not in self.lines
            self.lines.add(line)
        if new:
            self.say(line)


def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", CODE, json.dumps([path for path in sys.path if path]), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            env={**os.environ, LEASH: "1", **environment},
            start_new_session=True,  # the terminal's signals are this process's, which passes them on
        )
    except OSError as error:
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


def _listen(worker: subprocess.Popen[str], said: Said) -> threading.Thread:
    def listen() -> None:
        assert worker.stderr
        with worker.stderr as lines:
            for line in lines:
                said(line.rstrip())

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    return thread


def _end(workers: Sequence[subprocess.Popen[str]]) -> None:
    """Ask those that still work to end, and see to it."""
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    for worker in workers:
        try:
            worker.wait(GRACE)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        if worker.stdin:
            worker.stdin.close()


def _exit_code(shards: Sequence[Shard], codes: Sequence[int]) -> int:
    for shard, code in zip(shards, codes, strict=True):
        if code not in (*THROUGH, *FAULTS):
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise EnvironmentFault(f"worker {shard}", how, "run the command again: what is done is kept")
    return next((code for code in codes if code in FAULTS), 0)


def _wait_for_parent() -> None:
    while os.read(0, 2**12):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
