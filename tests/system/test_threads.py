"""Number of threads: affinity, CPU quota, TFS_RT_THREADS and --threads; and what happens where none can be started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path

import numpy as np
import pytest

from support.helpers import Cli, read_png, write_case
from tfs_rt.backends import openvino_cpu as ov_cpu
from tfs_rt.backends import ort_cpu
from tfs_rt.backends.winograd import backend as winograd_backend
from tfs_rt.batch import workers
from tfs_rt.errors import LimitReached, UsageError
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.system import resource_limits, threads
from tfs_rt.system.cgroups import cpu_quota, process_limit
from tfs_rt.system.resource_limits import limit_fault
from tfs_rt.system.threads import VARIABLE, library_threads, processor_count, thread_count

CASE = [np.full((16, 16, 3), value, np.uint8) for value in (10, 90, 200)]


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def proc(tmp_path: Path) -> Callable[..., Path]:
    """Make a /proc/self and the folders of control groups that it speaks of."""

    def make(cgroup: str, mounts: list[tuple[str, str, str]], files: dict[str, str]) -> Path:
        folder = tmp_path / "proc"
        folder.mkdir()
        (folder / "cgroup").write_text(cgroup)
        lines = []
        for root, point, kind in mounts:
            place = str(tmp_path / point).replace(" ", "\\040")
            lines.append(f"30 20 0:1 {root} {place} rw,relatime shared:1 - {kind}")
        (folder / "mountinfo").write_text("\n".join(["20 1 8:1 / / rw - ext4 /dev/vda rw", *lines]) + "\n")
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return folder

    return make


V2 = [("/", "cg", "cgroup2 cgroup2 rw")]
V1 = [("/", "cg/cpu", "cgroup cgroup rw,cpu,cpuacct"), ("/", "cg/pids", "cgroup cgroup rw,pids")]
QUOTA = "cpu.cfs_quota_us"
PERIOD = "cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "expected"),
    [
        ("0::/a/b\n", V2, {"cg/a/b/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", V2, {"cg/a/b/cpu.max": "max 100000\n", "cg/a/cpu.max": "400000 100000\n"}, 4),
        ("0::/a/b\n", V2, {"cg/a/b/cpu.max": "300000 100000", "cg/a/cpu.max": "20000 10000"}, 2),
        ("0::/\n", V2, {"cg/cpu.max": "50000 100000"}, 0.5),  # a container with a namespace of its own
        ("0::/../../other\n", V2, {"cg/cpu.max": "50000 100000"}, 0.5),  # a group outside that namespace
        ("0::/k/pod\n", [("/k/pod", "cg", V2[0][2])], {"cg/cpu.max": "70000 10000"}, 7),  # and one without
        ("0::/a\n", [("/", "with space", V2[0][2])], {"with space/a/cpu.max": "30000 10000"}, 3),
        ("4:cpu,cpuacct:/d/x\n", V1, {f"cg/cpu/d/x/{QUOTA}": "250000", f"cg/cpu/d/x/{PERIOD}": "100000"}, 2.5),
        ("4:cpu,cpuacct:/d/x\n", V1, {f"cg/cpu/d/x/{QUOTA}": "-1", f"cg/cpu/d/x/{PERIOD}": "100000"}, inf),
        ("4:cpu,cpuacct:/d/x\n", V1, {f"cg/cpu/d/{QUOTA}": "50000", f"cg/cpu/d/{PERIOD}": "25000"}, 2),
        ("4:pids:/d\n", V1, {f"cg/cpu/d/{QUOTA}": "50000", f"cg/cpu/d/{PERIOD}": "25000"}, inf),  # in no group of cpu
        ("0::/a\n4:cpu,cpuacct:/d\n", [*V2, *V1], {f"cg/cpu/d/{QUOTA}": "8", f"cg/cpu/d/{PERIOD}": "2"}, 4),  # hybrid
        ("0::/a\n", V2, {"cg/a/cpu.max": "0 0"}, inf),
        ("0::/a\n", V2, {"cg/a/cpu.max": "nonsense"}, inf),
        ("0::/gone\n", V2, {}, inf),
        ("", [], {}, inf),
    ],
)
def test_the_quota_is_the_least_on_the_way_to_the_root(
    proc: Callable[..., Path],
    cgroup: str,
    mounts: list[tuple[str, str, str]],
    files: dict[str, str],
    expected: float,
) -> None:
    assert cpu_quota(proc(cgroup, mounts, files)) == expected


def test_the_number_of_processes_is_read_in_both_versions(proc: Callable[..., Path], tmp_path: Path) -> None:
    files = {"cg/pids/d/pids.max": "40\n", "cg/pids/d/x/pids.max": "max\n", "cg/a/pids.max": "70"}
    assert process_limit(proc("9:pids:/d/x\n0::/a\n", [*V1, *V2], files)) == 40
    assert process_limit(tmp_path / "nothing") == inf


@pytest.mark.parametrize(("quota", "expected"), [(inf, 8), (64.0, 8), (2.0, 2), (1.5, 2), (0.3, 1)])
def test_threads_are_the_least_of_affinity_and_quota(
    quota: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_affinity", lambda: 8)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    assert processor_count() == thread_count() == expected
    assert thread_count(5) == 5
    monkeypatch.setenv(VARIABLE, "3")
    assert (thread_count(), library_threads(), thread_count(5)) == (3, 3, 5)  # an option is nearer than a variable


def test_a_library_chooses_itself_where_nothing_limits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpu_quota", lambda: inf)
    monkeypatch.setattr(threads, "_affinity", lambda: os.cpu_count())
    assert library_threads() == 0
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(threads, "_affinity", lambda: 64)
    monkeypatch.setattr(threads, "cpu_quota", lambda: 2.0)
    assert library_threads() == 2


def test_where_the_affinity_is_denied_processors_are_counted_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(pid: int) -> set[int]:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_getaffinity", deny, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(threads, "cpu_quota", lambda: inf)
    assert processor_count() == 6
    assert load_pipeline("tfs-rt/x4", threads=1).backend == "winograd"
    worker = subprocess.Popen([sys.executable, "-c", "pass"], text=True)
    workers._share_processors(worker, 0, 2)  # is left as it is
    assert worker.wait() == 0


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "1025", "1e3", "²"])
def test_a_variable_that_is_not_a_number_of_threads_is_refused(
    text: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(UsageError, match=f"{VARIABLE}: .* is not a number of threads"):
        thread_count()
    write_case(tmp_path / "in" / "k0")
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out").code == 2


@pytest.mark.parametrize("backend", ["winograd", "ort-cpu", "openvino"])
def test_the_option_reaches_every_backend_and_changes_no_pixel(
    backend: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in threads.LIBRARIES:  # which the command sets
        monkeypatch.setenv(name, "1")
    seen: list[int | None] = []
    modules = {"winograd": winograd_backend, "ort-cpu": ort_cpu, "openvino": ov_cpu}
    name = "thread_count" if backend == "winograd" else "library_threads"
    real = getattr(modules[backend], name)
    monkeypatch.setattr(modules[backend], name, lambda asked=None: seen.append(real(asked)) or seen[-1])
    write_case(tmp_path / "in" / "k0")
    for count in (1, 3):
        options = ("--backend", backend, "--threads", count)
        assert cli("fuse", tmp_path / "in", "-o", tmp_path / str(count), *options).code == 0
    assert seen == [1, 3]
    one, three = (read_png(tmp_path / str(count) / "k0.png").astype(int) for count in (1, 3))
    assert abs(one - three).max() <= (1 if backend == "openvino" else 0)
    facts = json.loads((tmp_path / "3" / "k0.json").read_text())
    most = min(3, os.cpu_count() or 1)  # OpenVINO takes no more
    assert facts.get("threads") == (most if backend == "openvino" else None)  # only its bits depend on them


ORT = ("--backend", "ort-cpu")  # begins sooner than the default: it compiles nothing


def test_threads_are_shared_by_workers(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], str]] = []
    real = workers._start

    def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        started.append((arguments, environment[VARIABLE]))
        return real(arguments, environment)

    monkeypatch.setattr(workers, "_start", start)
    for i in range(2):
        write_case(tmp_path / "in" / f"k{i}")
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--workers", 2, "--threads", 5, *ORT).code == 0
    assert [count for _, count in started] == ["2", "2"]  # the same for all: OpenVINO's bits depend on it
    assert not any("--threads" in arguments for arguments, _ in started)


def test_a_gpu_takes_no_threads(cli: Cli, tmp_path: Path) -> None:
    write_case(tmp_path / "in" / "k0")
    for more in ((), ("--devices", "0,1")):
        options = ("--backend", "tensorrt", "--threads", 2, *more)
        ended = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", *options)
        assert (ended.code, "--threads: tensorrt computes on a GPU" in ended.err) == (2, True)


def test_a_thread_or_memory_that_cannot_be_had_names_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource_limits, "process_limit", lambda: 12)
    fault = limit_fault(RuntimeError("can't start new thread"))
    assert isinstance(fault, LimitReached)
    assert "pids.max of its control group is 12" in str(fault)
    assert limit_fault(RuntimeError("another")) is None
    monkeypatch.setattr(resource_limits, "memory_limits", lambda: iter(["ulimit -v is 9 kB"]))
    for said in ("libtiff.so: failed to map segment from shared object", "[Errno 12] Cannot allocate memory"):
        assert "ulimit -v is 9 kB" in str(limit_fault(ImportError(said)))
    assert limit_fault(MemoryError()) is None  # a case may be too large for any machine


STARTED = """
import sys, threading
real, number = threading.Thread.start, 0
def start(self):
    global number
    number += 1
    if number == LATEST: raise RuntimeError("can't start new thread")
    real(self)
threading.Thread.start = start
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", code]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


@pytest.mark.parametrize("latest", [1, 3])
def test_a_pool_of_which_one_thread_cannot_be_started_is_not_there(latest: int) -> None:
    """Neither this call hangs nor the next, and no thread is left of it."""
    code = (
        STARTED.replace("LATEST", str(latest))
        + """
import time
from tfs_rt.errors import LimitReached
from tfs_rt.methods.diffusion import load_pipeline
for backend in ("winograd", "auto"):
    number = 0
    try: load_pipeline("tfs-rt/x4", backend=backend, threads=3)
    except LimitReached as fault: print(fault.exit_code, fault.reason.split(" (")[0])
    deadline = time.monotonic() + 10
    while threading.active_count() > 1 and time.monotonic() < deadline: time.sleep(0.01)
    print(threading.active_count())
number = 10
import numpy as np
case = [np.full((16, 16, 3), value, np.uint8) for value in (10, 90, 200)]
print(load_pipeline("tfs-rt/x4", threads=3).fuse([case], ["a"], size=(64, 64))[0].shape)
"""
    )
    refused = "6 no more threads or processes can be started"
    assert run(code).stdout.splitlines() == [refused, "1", refused, "1", "(64, 64, 3)"]


@pytest.mark.parametrize("latest", [1, 4])
def test_a_command_whose_thread_cannot_be_started_ends_with_exit_code_6(latest: int, tmp_path: Path) -> None:
    """Whichever thread it is: two that are tried out, or two of the pool."""
    write_case(tmp_path / "in" / "k0")
    code = STARTED.replace("LATEST", str(latest)) + (
        "from tfs_rt.cli import main\n"
        f"sys.argv = ['tfs-rt', 'fuse', {str(tmp_path / 'in')!r}, '-o', {str(tmp_path / 'out')!r}, '--threads', '2']\n"
        "main()"
    )
    ended = run(code)
    assert ended.returncode == 6
    assert "no more threads or processes can be started" in ended.stderr
    assert "report" not in ended.stderr
    assert not (tmp_path / "out" / "k0.png").exists()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may become another user")
def test_a_limit_on_processes_is_named() -> None:
    """The real one: another user's, for root has none."""
    code = """
import os, resource
from tfs_rt.errors import LimitReached
from tfs_rt.models.bundle import load_bundle
from tfs_rt.backends.winograd import backend as winograd
bundle = load_bundle("tfs-rt/x4")
bundle.weights()
winograd._compile_kernels()
resource.setrlimit(resource.RLIMIT_NPROC, (3, 3))
os.setuid(54321)
try: winograd.load(bundle, 8)
except LimitReached as fault: print("ulimit -u is 3" in fault.reason)
"""
    ended = run(code, OPENBLAS_NUM_THREADS="1")
    assert ended.stdout == "True\n", ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="this limit is Linux's")
def test_little_address_space_is_named_and_no_file_is_blamed(tmp_path: Path) -> None:
    write_case(tmp_path / "in" / "k0")
    code = f"""
import resource, sys
from tfs_rt.cli import main
resource.setrlimit(resource.RLIMIT_AS, (300 * 2**20, 300 * 2**20))
sys.argv = ['tfs-rt', 'fuse', {str(tmp_path / "in")!r}, '-o', {str(tmp_path / "out")!r}, '--threads', '1']
main()
"""
    ended = run(code)
    assert ended.returncode == 6, ended.stderr
    assert "ulimit -v is 307200 kB" in ended.stderr
