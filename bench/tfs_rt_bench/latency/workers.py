"""The bench's side of its workers: a process for each row, asked in turn; its end is said in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tfs_rt.errors import EnvironmentFault, InputError, ModelError, TfsRtError, UsageError, printable
from tfs_rt.sandbox.messages import pack, receive, send

COMMAND = (sys.executable, "-P", "-m", "tfs_rt_bench.latency.worker")
ERRORS = {kind.__name__: kind for kind in (UsageError, InputError, ModelError, EnvironmentFault)}
REMEDY = "leave it out of the bench, or see whether tfs-rt fuse runs with it"


class Worker:
    """A process that runs one row; `name` stands in its faults. What it compiles goes into a folder of its own."""

    def __init__(self, name: str, command: Sequence[str] = COMMAND) -> None:
        # Begin the clocks.
        self.name = name
        self.spawned = time.perf_counter()
        self.idle_wall = 0.0
        self._answered = self.spawned
        # Start the process with a folder of its own.
        self._own = tempfile.TemporaryDirectory(prefix="tfs-rt-bench-")
        self._said = Path(self._own.name) / "stderr"
        try:
            with self._said.open("wb") as said:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    bufsize=0,
                    env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": self._own.name},  # a cold start is cold
                )
        except OSError as error:
            self._own.cleanup()
            raise EnvironmentFault(name, f"its process cannot be started ({error.strerror})", REMEDY) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, word: str, *arguments: Any) -> Any:
        """The worker's answer; TfsRtError, named after the row, if it fails or has ended."""
        assert self._process.stdin
        assert self._process.stdout
        self.idle_wall += time.perf_counter() - self._answered
        try:
            send(self._process.stdin.fileno(), pack([word, *arguments]))
            answer = receive(self._process.stdout.fileno(), sys.maxsize)
        except (OSError, EOFError) as error:
            raise EnvironmentFault(self.name, self._end(), REMEDY) from error
        self._answered = time.perf_counter()
        return self._result(answer)

    def close(self) -> None:
        """End it, whatever it is doing."""
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()
        with suppress(OSError):
            self._own.cleanup()

    def _result(self, answer: Any) -> Any:
        match answer:
            case ["done", result]:
                return result
            case ["error", str(kind), str(subject), str(reason), str(remedy)]:
                raise ERRORS.get(kind, TfsRtError)(subject, reason, remedy)
            case ["unexpected", str(said)]:
                raise EnvironmentFault(self.name, f"failed ({said})", REMEDY)
        raise EnvironmentFault(self.name, "its process answered nonsense", REMEDY)

    def _end(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        status = self._process.returncode
        if status is None:
            return "its process closed its pipes"
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        last = printable(self._said.read_text(errors="replace").strip().rpartition("\n")[2])
        return f"its process ended with {how}" + (f" ({last})" if last else "")
