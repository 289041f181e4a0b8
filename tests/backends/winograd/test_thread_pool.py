"""The thread pool under signals, forks and the end of the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.winograd_networks import ON_FOUR_THREADS, output_of


def test_a_signal_in_the_midst_of_a_step_leaves_no_thread_waiting() -> None:
    code = """
signal.signal(signal.SIGALRM, signal.default_int_handler)
for i in range(100):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4 + i * 5e-5)
        while True: assert np.array_equal(ours(*given), expected)
    except KeyboardInterrupt: pass
print("ended")
"""
    assert output_of(ON_FOUR_THREADS + code) == "ended\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    code = """
child = os.fork()
if not child: os._exit(not np.array_equal(ours(*given), expected))
print(os.waitpid(child, 0)[1])
"""
    assert output_of(ON_FOUR_THREADS + code) == "0\n"


BUSY = """
import threading, time
def compute():
    while True: ours(*given)
for _ in range(2): threading.Thread(target=compute, daemon=True).start()
answers = []
for _ in range(12):
    time.sleep(0.01)
    child = os.fork()
    if not child:
        signal.alarm(20)  # ends it, if it waits for what is not there
        os._exit(not np.array_equal(ours(*given), expected))
    answers.append(os.waitpid(child, 0)[1])
print(answers)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_forked_while_other_threads_compute_does_not_wait_for_them() -> None:
    """Their lock, and their program half done, come along without them."""
    assert output_of(ON_FOUR_THREADS + BUSY) == f"{[0] * 12}\n"


def test_a_program_under_way_at_the_end_of_a_process_does_not_crash_it() -> None:
    code = """
import threading
from tfs_rt.backends.winograd.thread_pool import Job
(program,) = ours.programs.values()
for _ in range(20): ours.thread_pool.jobs.put(Job(program.table, program, __import__("queue").SimpleQueue()))
print("ended")
"""
    command = [sys.executable, "-W", "ignore", "-c", ON_FOUR_THREADS + code]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "ended\n"), ended.stderr
