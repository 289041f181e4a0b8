"""Several processes that share a run: each is the same command for one shard, and they end with this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from tfs_rt.errors import EnvironmentFault
from tfs_rt.shards import Shard

LEASH = "TFS_RT_LEASH"  # in a worker's environment: it ends when its standard input does
FAULTS = (2, 5, 6, 70)  # exit codes of what stopped a worker as such
POLL = 0.2  # seconds
GRACE = 30.0  # seconds in which a worker that is asked to end may end its case


def run_workers(
    arguments: Sequence[str],
    shards: Sequence[Shard],
    *,
    devices: Sequence[str] = (),
    say: Callable[[str], None],
    watch: Callable[[], None] = lambda: None,
) -> int:
    """Run the command once for each shard, on a device of its own if there are any; 0, or what stopped one of them.

    `say` is told each line that a worker says, once if several say the same; `watch` is called while they work.
    """
    said, workers, readers = Said(say), [], []
    try:
        for number, shard in enumerate(shards):
            environment = {"CUDA_VISIBLE_DEVICES": devices[number]} if devices else {}
            worker = _start([*arguments, "--quiet", "--shard", str(shard)], environment)
            workers.append(worker)
            _share_processors(worker, number, len(shards))
            readers.append(_listen(worker, said))
        while any(worker.poll() is None for worker in workers):
            watch()
            time.sleep(POLL)
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
            [sys.executable, "-m", "tfs_rt", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            env={**os.environ, LEASH: "1", **environment},
        )
    except OSError as error:
        reason = f"a process cannot be started ({error.strerror})"
        raise EnvironmentFault("--workers", reason, "ask for fewer") from error


def _share_processors(worker: subprocess.Popen[str], number: int, count: int) -> None:
    """Give a worker its part of the processors, where a process can be bound to some; threads are counted by them."""
    if sys.platform == "linux":
        own = sorted(os.sched_getaffinity(0))[number::count]
        try:
            os.sched_setaffinity(worker.pid, own or os.sched_getaffinity(0))
        except ProcessLookupError:
            return  # it has ended already


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
        if code < 0:
            reason = f"worker {shard} was ended by {signal.Signals(-code).name}"
            raise EnvironmentFault("--workers", reason, "run the command again: what is done is kept")
    return next((code for code in codes if code in FAULTS), 0)


def _wait_for_parent() -> None:
    while os.read(0, 2**12):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
