"""Starting and ending the child of a sandbox: its environment, its life, and limits that keep it from starting."""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import Any

import pytest

from support.processes import NOBODY, as_user, is_running, skip_unless_it_runs
from support.sandbox_attacks import SECRETS
from support.sandbox_children import names, nap
from tfs_rt.errors import LimitReached
from tfs_rt.sandbox.parent import Sandbox
from tfs_rt.sandbox.process import start_fault
from tfs_rt.system.resource_limits import limit_fault


@pytest.mark.parametrize(
    ("message", "limit", "words"),
    [
        ("unexpected: AttributeError: no function", None, "install tfs-rt again"),
        ("unexpected: ImportError: a.so: failed to map segment from shared object", "ulimit -v is 9 kB", "memory"),
        ("[Errno 24] Too many open files", OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
    ],
)
def test_a_child_that_does_not_start_names_a_limit_only_if_it_reached_one(
    monkeypatch: pytest.MonkeyPatch, message: str, limit: Any, words: str
) -> None:
    monkeypatch.setattr("tfs_rt.system.resource_limits.memory_limits", lambda: iter(["ulimit -v is 9 kB"]))
    fault = start_fault(message, limit_fault(limit) if isinstance(limit, OSError) else None)
    assert isinstance(fault, LimitReached) == (limit is not None)
    assert words in str(fault)


def test_the_childs_environment_holds_what_python_needs_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LC_TIME", "C")
    with Sandbox(names) as call:
        found = set(call("names"))
    assert not found & {*SECRETS, "PATH", "HOME", "TMPDIR", "PYTHONPATH", "COVERAGE_PROCESS_START"}
    assert {"LC_TIME", "OMP_NUM_THREADS"} <= found


def test_a_child_starts_without_any_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    with Sandbox(names) as call:
        assert "LANG" not in call("names")


def test_a_child_that_was_taken_over_ends_with_its_parent() -> None:
    code = (
        "import os, threading\n"
        "from support.sandbox_children import refuse_to_end; from tfs_rt.sandbox.parent import Sandbox\n"
        "call = Sandbox(refuse_to_end); call.parts(); print(call.child.connection.process.pid, flush=True)\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), 9)).start(); call('a')"
    )
    ended = as_user(os.getuid(), "-c", code)
    child = int(ended.stdout)
    deadline = time.monotonic() + 2
    while (running := is_running(child)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running


def test_a_child_that_ended_with_the_thread_that_started_it_is_started_anew() -> None:
    """The system ends it with that thread, not with the process."""
    with Sandbox(nap) as call:
        started = threading.Event()

        def start() -> None:
            call.parts()
            started.set()
            time.sleep(0.2)

        threading.Thread(target=start).start()
        started.wait()
        assert call("a", 0.5) == "rested"


LIMITED = """
import resource, sys, threading
from support.sandbox_children import names
from tfs_rt.errors import LimitReached
from tfs_rt.sandbox.parent import Sandbox
call = Sandbox(names)
call.parts()
{}
try:
    call("a")
except LimitReached as error:
    print(error.exit_code, error)
"""


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("call.close(); resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))", "ulimit -u is 1"),
        ("resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))", "ulimit -u is 1"),
        ("call.close(); resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))", "ulimit -v is 262144 kB"),
        ("call.close(); resource.setrlimit(resource.RLIMIT_AS, (2**25, 2**25))", "ulimit -v is 32768 kB"),
    ],
)
def test_a_limit_that_stops_all_reading_is_named(limit: str, words: str) -> None:
    uid = os.getuid()
    if "NPROC" in limit and uid == 0:
        uid = NOBODY  # it holds for any user but root
        skip_unless_it_runs(uid)
    ended = as_user(uid, "-c", LIMITED.format(limit))
    assert ended.stdout.startswith("6 "), ended
    assert words in ended.stdout
