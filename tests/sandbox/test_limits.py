"""Code that took over a decoder: what it tries in a real child fails, part by part of the sandbox and as a whole."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.helpers import Cli, write_case
from support.sandbox_attacks import SECRETS, TESTS, weakened
from tfs_rt.errors import (
    InputError,
    LimitReached,  # noqa: F401 - likewise
)
from tfs_rt.sandbox import parent as module
from tfs_rt.sandbox.limits import ruleset
from tfs_rt.sandbox.parent import Limited
from tfs_rt.sandbox.parts import LANDLOCK, MEMORY, NETWORK, PARTS, SECCOMP, Sandbox, sandbox_of
from tfs_rt.sandbox.seccomp import CALLS, MACHINES, program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox's parts are Linux's")
PATHS = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
NOBODY = 65534


# --- the whole


def as_user(uid: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", *arguments]
    environment = {**os.environ, "PYTHONPATH": PATHS}
    return subprocess.run(command, user=uid, env=environment, capture_output=True, text=True, check=False, timeout=60)


def skip_unless_it_runs(uid: int) -> None:
    try:
        runs = uid == os.getuid() or as_user(uid, "-c", "import test_sandbox").returncode == 0
    except PermissionError:
        runs = False
    if not runs:
        pytest.skip("another user cannot run this Python, or read these sources")


def tried(without: str, uid: int) -> tuple[list[str], dict[str, str]]:
    skip_unless_it_runs(uid)
    ended = as_user(uid, str(TESTS / "support" / "sandbox_attacks.py"), without)
    assert ended.returncode == 0, ended.stderr
    held, through = json.loads(ended.stdout)
    return held, through


@pytest.fixture(params=["this user", "nobody"])
def uid(request: pytest.FixtureRequest) -> int:
    if request.param == "nobody" and os.getuid() != 0:
        pytest.skip("only root can become another user")
    return os.getuid() if request.param == "this user" else NOBODY


@pytest.mark.parametrize("without", ["whole", "no Landlock", "no Landlock, no namespaces"])
def test_nothing_that_code_in_the_child_tries_gets_through(without: str, uid: int) -> None:
    held, through = tried(without, uid)
    if SECCOMP not in held:
        pytest.skip("this kernel has no seccomp, or there is no list for this machine")
    readable: set[str] = set()
    if NETWORK not in held and LANDLOCK not in held and uid:  # what SECURITY.md says of such a system
        readable = {name for name in through if name.startswith(("open the", "read the", "name the"))}
    assert through.keys() == readable


def test_the_attacks_get_through_where_there_is_no_sandbox() -> None:
    """Otherwise the test above would hold of attacks that cannot work."""
    held, through = tried("none", os.getuid())
    assert not held
    real = {"chmod", "utime", "truncate", "prlimit the parent", "renice the parent", "kill the parent", "fork"}
    real |= {"connect to a path", "connect by TCP", "outlive the run", "more memory", "a thread"}
    assert real - through.keys() <= {"more memory"}  # root's alone
    assert len(through) > 80


# --- each part by itself


def alone(code: str, *arguments: str) -> str:
    """Output of a process that gave up one part of its rights; skips where it could not."""
    prefix = "import os, socket, sys; from tfs_rt import limits, seccomp\n"
    ended = as_user(os.getuid(), "-c", prefix + code, *arguments)
    assert ended.returncode == 0, ended.stderr
    if ended.stdout == "lacks\n":
        pytest.skip("this kernel lacks that part, or does not permit it")
    return ended.stdout


TRY_FILES = """
limits.drop_capabilities()  # root's reach further than Landlock's
if not limits.restrict_files(): print("lacks"); sys.exit()
folder = sys.argv[1]
def shown(name, act):
    try: act()
    except PermissionError: return
    print(name)
shown("write", lambda: open(folder + "/kept", "w"))
shown("truncate", lambda: os.truncate(folder + "/kept", 0))
shown("truncate by opening", lambda: os.open(folder + "/kept", os.O_RDONLY | os.O_TRUNC))
shown("make", lambda: os.mkdir(folder + "/new"))
shown("make a file", lambda: os.mknod(folder + "/new2"))
shown("make a link", lambda: os.symlink("/", folder + "/new3"))
shown("remove", lambda: os.unlink(folder + "/kept"))
shown("rename", lambda: os.rename(folder + "/kept", folder + "/other"))
shown("execute", lambda: os.execv("/bin/true", ["true"]))
shown("read the parent", lambda: open(f"/proc/{os.getppid()}/environ", "rb").read(1))
print(open(folder + "/kept").read(), end="")
"""


def test_landlock_alone_leaves_files_to_be_read_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    printed = alone(TRY_FILES, str(tmp_path))
    assert printed == ("kept" if landlock() >= 3 else "truncate\ntruncate by opening\n")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_network_of_its_own_reaches_no_port_of_this_machine() -> None:
    code = (
        "before = os.readlink('/proc/self/ns/net')\n"
        "if not limits.leave_network(): print('lacks'); sys.exit()\n"
        "print(before != os.readlink('/proc/self/ns/net'))\n"
        "client = socket.socket(); client.settimeout(2)\n"
        "print(client.connect_ex(('127.0.0.1', int(sys.argv[1]))) != 0)\n"
        "abstract = socket.socket(socket.AF_UNIX)\n"
        "print(abstract.connect_ex('\\0' + sys.argv[2]) != 0)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0tfs-rt-test-{os.getpid()}")
        abstract.listen()
        port, name = server.getsockname()[1], f"tfs-rt-test-{os.getpid()}"
        assert alone(code, str(port), name) == "True\nTrue\nTrue\n"


READ_PRIVATE_FILE = """
held = bool(limits.leave_network())
limits.drop_capabilities()
print(held, open(sys.argv[1]).read())
"""


def test_root_without_the_right_to_administer_still_reads_files_of_other_users(tmp_path: Path) -> None:
    """A container's root: a user namespace would be permitted, and would take its right to read any file."""
    setpriv = shutil.which("setpriv")
    if os.getuid() != 0 or setpriv is None:
        pytest.skip("only root, with setpriv, can give up one capability")
    private = tmp_path / "private"
    private.write_text("content")
    private.chmod(0o600)
    os.chown(private, NOBODY, NOBODY)
    code = "import sys; from tfs_rt import limits\n" + READ_PRIVATE_FILE
    command = [setpriv, "--bounding-set=-sys_admin", "--inh-caps=-all", sys.executable, "-P", "-c", code, str(private)]
    environment = {**os.environ, "PYTHONPATH": PATHS}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    if ended.returncode and "setpriv" in ended.stderr:
        pytest.skip("this root may not give up a capability")
    assert ended.stdout == "False content\n", ended.stderr


def test_the_other_parts_hold_without_the_filter(uid: int) -> None:
    """A machine for which there is no list of system calls."""
    held, through = tried("no seccomp", uid)
    refused = {"more memory", "more files", "set the clock", "become another user"}
    if NETWORK in held:
        refused |= {"connect by TCP", "connect to an abstract name"}
    if LANDLOCK in held:
        refused |= {"write a file", "create a file", "remove a file", "make a folder", "symlink", "rename", "mkfifo"}
        refused |= {"ptrace the parent", "open the parent's memory", "read the parent's environment"}
    if LANDLOCK in held and landlock() >= 3:
        refused |= {"truncate", "truncate by opening"}
    assert held
    assert not [name for name in refused if through.get(name) == "done"]


def landlock() -> int:
    """The ABI of this kernel's Landlock; below 1 without it."""
    return int(alone("import ctypes; print(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1))"))


def signs() -> tuple[str, int, int, int]:
    """In the child: its network, its filter, its capabilities and its address space, as the kernel tells them."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    return str(Path("/proc/self/ns/net").readlink()), int(status["Seccomp"]), int(status["CapEff"], 16), space


def test_a_run_is_given_all_parts_that_this_system_has() -> None:
    with Limited(signs, memory=2**30) as call:
        network, seccomp, capabilities, space = call("signs")
        held = call.held or []
    has = alone("print(limits.restrict_files(), limits.leave_network(), seccomp.restrict_calls())").split()
    assert [part in held for part in (LANDLOCK, NETWORK, SECCOMP)] == [word == "True" for word in has]
    assert (LANDLOCK in held) is (landlock() >= 1)  # as the kernel says, whatever our own code makes of it
    assert (network != str(Path("/proc/self/ns/net").readlink())) is (NETWORK in held)
    assert seccomp == (2 if SECCOMP in held else 0)
    assert capabilities & ~(1 << 2) == 0  # CAP_DAC_READ_SEARCH
    assert MEMORY in held
    assert space < 2**33


@pytest.mark.parametrize(("version", "size"), [(1, 8), (2, 8), (3, 8), (4, 16), (5, 16), (6, 24), (7, 24), (9, 24)])
def test_landlock_is_asked_for_all_rights_but_reading(version: int, size: int) -> None:
    """By the names of linux/landlock.h, in their order, and the ABI that brought each."""
    since = dict.fromkeys(FILE_RIGHTS, 1) | {"refer": 2, "truncate": 3, "ioctl_dev": 5}
    rights = [name for name in FILE_RIGHTS if since[name] <= version and name not in ("read_file", "read_dir")]
    asked = ruleset(version)
    assert len(asked) == size
    files, *more = struct.unpack(f"={size // 8}Q", asked)
    assert files == sum(1 << FILE_RIGHTS.index(name) for name in rights)
    assert more == [3, 3][: len(more)]


FILE_RIGHTS = (
    *("execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file"),
    *("make_char", "make_dir", "make_reg", "make_sock", "make_fifo", "make_block", "make_sym"),
    *("refer", "truncate", "ioctl_dev"),
)


# --- the filter, on any machine


def verdict(code: bytes, audit: int, number: int, *arguments: int) -> int:
    """The kernel's answer to a call, by the definition of classic BPF: 0, or an errno."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *(arguments + (0,) * 6)[:6])
    accumulator, at = 0, 0
    while True:
        kind, yes, no, value = struct.unpack_from("=HBBI", code, 8 * at)
        at += 1
        if kind == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif kind == 0x15:
            at += yes if accumulator == value else no
        elif kind == 0x45:
            at += yes if accumulator & value else no
        else:
            assert kind == 0x06
            return 0 if value == 0x7FFF0000 else value ^ 0x00050000


@pytest.mark.parametrize("name", MACHINES)
def test_the_filter_allows_the_list_and_nothing_else(name: str) -> None:
    machine, pid = MACHINES[name], 4321
    code = program(machine, pid)
    assert len(code) // 8 < 4096  # the kernel's most
    listed = {numbers[machine.column]: call for call, numbers in CALLS.items()}
    limited = {"open", "openat", "fcntl", "ioctl", "kill", "tgkill", "prlimit64"}
    for number in range(600):
        allowed = verdict(code, machine.audit, number, 9999, 9999, 9999) == 0
        assert allowed is (listed.get(number) not in limited and number in listed), listed.get(number)
        assert verdict(code, machine.audit, 0x40000000 | number) == errno.ENOSYS  # x32
        assert verdict(code, 0x40000003, number) == errno.ENOSYS  # i386


@pytest.mark.parametrize("name", MACHINES)
def test_the_filter_looks_at_arguments(name: str) -> None:
    machine, pid = MACHINES[name], 4321
    code = program(machine, pid)

    def asked(call: str, *arguments: int) -> int:
        number = CALLS[call][machine.column]
        assert number is not None
        return verdict(code, machine.audit, number, *arguments)

    assert asked("openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NONBLOCK) == 0
    for flags in (os.O_WRONLY, os.O_RDWR, 3, os.O_CREAT, os.O_TRUNC, 0o20000000):
        assert asked("openat", 0, 0, flags | os.O_CLOEXEC) == errno.EACCES
    assert [asked("kill", one, 9) for one in (pid, pid + 1, 0, 2**32 - 1, 1)] == [0, *[errno.EPERM] * 4]
    assert [asked("tgkill", one, one, 9) for one in (pid, pid + 1)] == [0, errno.EPERM]
    assert [asked("prlimit64", one, 7) for one in (0, pid, 1)] == [0, errno.EPERM, errno.EPERM]
    assert [asked("fcntl", 0, one) for one in (1, 8, 10, 4, 1024)] == [0, *[errno.EPERM] * 4]  # F_SETOWN, F_SETSIG ...
    assert [asked("ioctl", 0, one) for one in (0x5401, 0x5412, 0x8901)] == [0, errno.EPERM, errno.EPERM]


@pytest.mark.parametrize(
    ("name", "header"),
    [("x86_64", "x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "asm-generic/unistd.h")],
)
def test_calls_have_the_numbers_of_the_kernels_headers(name: str, header: str) -> None:
    path = Path("/usr/include", header)
    if not path.exists():
        pytest.skip(f"{path} is not installed (linux-libc-dev)")
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text()))
    alias = {"newfstatat": "fstatat", "fadvise64": "fadvise64"}
    ours = {call: numbers[MACHINES[name].column] for call, numbers in CALLS.items()}
    for call, number in ours.items():
        listed = found.get(call) or found.get(alias.get(call, ""))
        if number is not None:
            assert listed == str(number), call
        elif name == "x86_64":
            assert listed is None, call


# --- what a user sees of it


def fork() -> None:
    os.fork()


def thread() -> None:
    threading.Thread(target=int).start()


def wrapped() -> None:
    try:
        Path("/tmp/tfs-rt").mkdir()
    except OSError as error:
        raise InputError("a.png", "is damaged", "write it again") from error


@pytest.mark.parametrize("ask", [fork, thread, wrapped])
def test_a_decoder_that_the_sandbox_stops_is_not_the_files_fault(ask: Callable[[], None]) -> None:
    with Limited(ask) as call:
        if SECCOMP not in call.sandbox().held:
            pytest.skip("this kernel has no seccomp")
        with pytest.raises(InputError, match="asks for what the sandbox does not permit") as caught:
            call("a.png")
    assert "write it again" not in str(caught.value)


def names() -> list[str]:
    return sorted(os.environ)


def test_the_childs_environment_holds_what_python_needs_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LC_TIME", "C")
    with Limited(names) as call:
        found = set(call("names"))
    assert not found & {*SECRETS, "PATH", "HOME", "TMPDIR", "PYTHONPATH", "COVERAGE_PROCESS_START"}
    assert {"LC_TIME", "OMP_NUM_THREADS"} <= found


def test_a_child_starts_without_any_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    with Limited(names) as call:
        assert "LANG" not in call("names")


def refuse_to_end() -> None:
    """Without the timer and the signals that would end it."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXCPU):
        signal.signal(signum, signal.SIG_IGN)
    while True:
        time.sleep(1)


def test_a_child_that_was_taken_over_ends_with_its_parent() -> None:
    code = (
        "from sandbox.test_limits import Limited, os, refuse_to_end, threading\n"
        "call = Limited(refuse_to_end); call.sandbox(); print(call._process.pid, flush=True)\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), 9)).start(); call('a')"
    )
    ended = as_user(os.getuid(), "-c", code)
    child, deadline = int(ended.stdout), time.monotonic() + 2
    while (running := is_running(child)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_child_that_ended_with_the_thread_that_started_it_is_started_anew() -> None:
    """The system ends it with that thread, not with the process."""
    with Limited(nap) as call:
        started = threading.Event()

        def start() -> None:
            call.sandbox()
            started.set()
            time.sleep(0.2)

        threading.Thread(target=start).start()
        started.wait()
        assert call("a", 0.5) == "rested"


def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"


# --- limits on this process


LIMITED = """
import resource, sys, threading
from sandbox.test_limits import LimitReached, Limited, names
call = Limited(names)
call.sandbox()
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


def no_thread(*_: Any, **__: Any) -> None:
    raise RuntimeError("can't start new thread")


def test_a_run_without_a_thread_to_spare_blames_no_case(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(tmp_path / "in" / "k0")
    monkeypatch.setattr(module, "start_new_thread", no_thread)
    ended = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "-q")
    assert (ended.code, "does not start (can't start new thread)" in ended.err) == (6, True)
    assert "k0" not in ended.err


# --- a system without all parts


@pytest.fixture
def poor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system with neither Landlock nor namespaces."""
    plain = module.Limited.__init__

    def weak(self: Limited, *arguments: Any, **options: Any) -> None:
        plain(self, *arguments, **options)
        weakened(self, "no Landlock, no namespaces")

    monkeypatch.setattr(module.Limited, "__init__", weak)


@pytest.mark.usefixtures("poor")
def test_missing_parts_are_told_once_and_written_down(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "k0")
    out = tmp_path / "out"
    ended = cli("fuse", tmp_path / "in", "-o", out)
    assert ended.code == 0, ended.err
    assert told(ended.err)
    for name in ("k0.json", "report.json"):
        assert json.loads((out / name).read_text())["sandbox"]["missing"] == [LANDLOCK, NETWORK]


@pytest.mark.usefixtures("poor")
def test_workers_leave_it_to_their_parent_to_tell_the_missing_parts(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfs_rt.batch.workers.run_workers", lambda *_, **__: 5)
    write_case(tmp_path / "in" / "k0")
    command = ("fuse", tmp_path / "in", "-o", tmp_path / "out", "--workers", 2)
    assert told(cli(*command).err)
    assert cli(*command, "--require-sandbox").code == 6


def told(stderr: str) -> bool:
    (line,) = (line for line in stderr.splitlines() if "sandbox" in line)
    return "no Landlock and no network namespace" in line


@pytest.mark.usefixtures("poor")
def test_required_parts_that_are_missing_end_a_run_before_its_first_case(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "k0")
    ended = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--require-sandbox")
    assert (ended.code, "no Landlock and no network namespace" in ended.err) == (6, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("poor")
def test_the_doctor_tells_the_missing_parts(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    from tfs_rt.doctor import examine as doctor

    monkeypatch.setattr(doctor, "ask", lambda probe: doctor.Answer(None, "not asked", "ask"))
    (line,) = (line for line in cli("doctor").out.splitlines() if line.startswith("sandbox"))
    assert "--  files are read behind seccomp, memory limit; missing: Landlock, network namespace" in line
    assert json.loads(cli("doctor", "--json").out)["sandbox"]["missing"] == [LANDLOCK, NETWORK]


def test_a_sandbox_is_whole_or_says_what_it_lacks() -> None:
    assert sandbox_of(list(PARTS)) == Sandbox(PARTS)
    assert Sandbox(PARTS).warning == ""
    assert not Sandbox(PARTS).missing
    Sandbox(PARTS).check_complete()
    assert sandbox_of(["anything", 5, None]).missing == list(PARTS)
