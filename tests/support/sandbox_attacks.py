"""Attacks by code that took over a decoder, tried from inside a real child; run as a program it prints a table.

    python tests/support/sandbox_attacks.py

An attack is refused if it fails with ENOSYS, EPERM or EACCES. Any other end means that the kernel did it, or would have
done it with better arguments.
"""

# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH115, PTH123, PTH211

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

TESTS = Path(__file__).resolve().parents[1]
REFUSED = {errno.ENOSYS, errno.EPERM, errno.EACCES}
SECRETS = {"SSH_AUTH_SOCK": "/nowhere/agent", "AWS_SECRET_ACCESS_KEY": "secret", "TFS_RT_SECRET": "secret"}
NOWHERE = -1  # a descriptor
AT_FDCWD, EMPTY_PATH = -100, 0x1000
NUMBERS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "clone3": (435, 435),
    "execveat": (322, 281),
    "fsopen": (430, 430),
    "get_mempolicy": (239, 236),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "landlock_create_ruleset": (444, 444),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "mount_setattr": (442, 442),
    "move_pages": (279, 239),
    "open_tree": (428, 428),
    "openat2": (437, 437),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "process_madvise": (440, 440),
    "rt_sigqueueinfo": (129, 138),
    "seccomp": (317, 277),
    "tkill": (200, 130),
    "userfaultfd": (323, 282),
}  # of calls that a C library has no function for, on x86_64 and aarch64


class Target(NamedTuple):
    """Targets of the attacks, made by the parent."""

    parent: int
    folder: str  # with a file "kept" in it
    unix: str  # path of a socket that listens
    abstract: str
    port: int


def attempt(name: str, *target: Any) -> str:
    """Empty if an attack is refused; how it ended if it is not. Runs in the child."""
    try:
        done = ATTACKS[name](Target(*target))
    except OSError as error:
        return "" if error.errno in REFUSED else os.strerror(error.errno or 0)
    except RuntimeError as error:
        return "" if "can't start new thread" in str(error) else str(error)
    except ValueError as error:
        return str(error)
    return "" if done is False else "done"


def libc(name: str, *arguments: Any) -> int:
    """A C function's result; OSError if it failed."""
    library = ctypes.CDLL(None, use_errno=True)
    if name in NUMBERS:
        arguments = (NUMBERS[name][os.uname().machine == "aarch64"], *arguments)
        name = "syscall"
    ctypes.set_errno(0)
    result = getattr(library, name)(*(a.encode() if isinstance(a, str) else a for a in arguments))
    if result < 0:  # umask alone returns its error
        raise OSError(ctypes.get_errno() or -result, name)
    return result


def kept(target: Target) -> str:
    return f"{target.folder}/kept"


def opened(target: Target, flags: int = os.O_RDONLY, name: str = "kept") -> int:
    return os.open(f"{target.folder}/{name}", flags, 0o600)


def spread(function: Callable[[int], Any]) -> Callable[[Target], Any]:
    """An attack by way of a descriptor that is open for reading."""

    def attack(target: Target) -> Any:
        descriptor = opened(target)
        try:
            return function(descriptor)
        finally:
            os.close(descriptor)

    return attack


def connected(family: int, address: Callable[[Target], Any]) -> Callable[[Target], Any]:
    def attack(target: Target) -> None:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            client.connect(address(target))

    return attack


def forked(target: Target) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def cloned(target: Target) -> None:
    if libc("clone3", bytes(64), ctypes.c_ulong(64)) == 0:
        os._exit(0)


def outlived(target: Target) -> None:
    """Leave the group and the session that the parent would kill."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os._exit(0)
    os.waitpid(pid, 0)


def threaded(target: Target) -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def signalled_by_owner(target: Target) -> None:
    """A descriptor's owner gets its signals, whoever that is."""
    fcntl.fcntl(0, fcntl.F_SETOWN, target.parent)


def raised(kind: int) -> Callable[[Target], Any]:
    """A limit raised, soft and hard, or found unlimited."""

    def attack(target: Target) -> None:
        try:
            resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except ValueError:  # how Python says EPERM
            raise PermissionError(errno.EPERM, "setrlimit") from None

    return attack


def read(path: Callable[[Target], str]) -> Callable[[Target], Any]:
    def attack(target: Target) -> bool:
        with open(path(target), "rb", buffering=0) as file:
            return bool(file.read(1)) if "mem" not in path(target) else True

    return attack


def inherited(target: Target) -> bool:
    return any(name in os.environ or name.encode() in Path("/proc/self/environ").read_bytes() for name in SECRETS)


def called_as_32_bits(target: Target) -> bool:
    """getpid of the i386 kernel interface, from a page of machine code."""
    if os.uname().machine != "x86_64":
        return False
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("b814000000cd80c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid()


def called_as_x32(target: Target) -> bool:
    return os.uname().machine == "x86_64" and ctypes.CDLL(None).syscall(0x40000000 | 39) == os.getpid()


def executed_from_memory(target: Target) -> None:
    descriptor = libc("memfd_create", "program", 0)
    os.write(descriptor, Path("/bin/true").read_bytes())
    libc("execveat", descriptor, "", None, None, EMPTY_PATH)


def mapped_for_writing(descriptor: int) -> None:
    mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_WRITE)


def vector(address: int = 0) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack("=QQ", address, 8))


ATTACKS: dict[str, Callable[[Target], Any]] = {
    # files
    "write a file": lambda t: opened(t, os.O_WRONLY),
    "write and read a file": lambda t: opened(t, os.O_RDWR),
    "append to a file": lambda t: opened(t, os.O_WRONLY | os.O_APPEND),
    "create a file": lambda t: opened(t, os.O_WRONLY | os.O_CREAT, "new"),
    "create a file to be read": lambda t: opened(t, os.O_RDONLY | os.O_CREAT, "new"),
    "create a file without a name": lambda t: os.open(t.folder, os.O_RDWR | os.O_TMPFILE),
    "truncate by opening": lambda t: opened(t, os.O_RDONLY | os.O_TRUNC),
    "truncate": lambda t: os.truncate(kept(t), 0),
    "ftruncate": spread(lambda d: os.ftruncate(d, 0)),
    "creat": lambda t: libc("creat", kept(t), 0o600),
    "openat2": lambda t: libc("openat2", AT_FDCWD, kept(t), struct.pack("=QQQ", os.O_WRONLY, 0, 0), 24),
    "fallocate": spread(lambda d: libc("fallocate", d, 0, 0, 1)),
    "map a file for writing": spread(mapped_for_writing),
    "copy_file_range": spread(lambda d: os.copy_file_range(d, d, 1)),
    "sendfile": spread(lambda d: os.sendfile(1, d, 0, 1)),
    "make a folder": lambda t: os.mkdir(f"{t.folder}/new"),
    "remove a folder": lambda t: os.rmdir(f"{t.folder}/empty"),
    "remove a file": lambda t: os.unlink(f"{t.folder}/other"),
    "rename": lambda t: os.rename(kept(t), kept(t)),
    "link": lambda t: os.link(kept(t), f"{t.folder}/new"),
    "symlink": lambda t: os.symlink("/", f"{t.folder}/new"),
    "mkfifo": lambda t: os.mkfifo(f"{t.folder}/new"),
    "mknod": lambda t: os.mknod(f"{t.folder}/new"),
    "chmod": lambda t: os.chmod(kept(t), 0o600),
    "fchmod": spread(lambda d: os.fchmod(d, 0o600)),
    "chown": lambda t: os.chown(kept(t), os.getuid(), -1),
    "lchown": lambda t: os.lchown(kept(t), os.getuid(), -1),
    "fchown": spread(lambda d: os.fchown(d, os.getuid(), -1)),
    "utime": lambda t: os.utime(kept(t), (0, 0)),
    "futimens": spread(lambda d: os.utime(d, (0, 0))),
    "setxattr": lambda t: os.setxattr(kept(t), "user.a", b""),
    "fsetxattr": spread(lambda d: os.setxattr(d, "user.a", b"")),
    "removexattr": lambda t: os.removexattr(kept(t), "user.a"),
    "flags of a file (ioctl)": spread(lambda d: fcntl.ioctl(d, 0x40086602, struct.pack("=Q", 0))),
    "flock": spread(lambda d: fcntl.flock(d, fcntl.LOCK_EX | fcntl.LOCK_NB)),
    "lock a record": spread(lambda d: fcntl.lockf(d, fcntl.LOCK_SH | fcntl.LOCK_NB)),
    "lease a file": spread(lambda d: fcntl.fcntl(d, fcntl.F_SETLEASE, fcntl.F_RDLCK)),
    "sync": lambda t: libc("syncfs", 0),
    "inotify": lambda t: libc("inotify_init"),
    "fanotify": lambda t: libc("fanotify_init", 0, 0),
    "open by handle": lambda t: libc("open_by_handle_at", AT_FDCWD, vector(), 0),
    "chdir": lambda t: os.chdir(t.folder),
    "chroot": lambda t: os.chroot("/"),
    "umask": lambda t: libc("umask", 0),
    # the parent
    "kill the parent": lambda t: os.kill(t.parent, 0),
    "tgkill the parent": lambda t: libc("tgkill", t.parent, t.parent, 0),
    "tkill the parent": lambda t: libc("tkill", t.parent, 0),
    "kill all": lambda t: os.kill(-1, 0),
    "kill the group": lambda t: os.kill(0, 0),
    "kill the parent by pidfd": lambda t: signal.pidfd_send_signal(os.pidfd_open(t.parent), 0),
    "take the parent's descriptor": lambda t: libc("pidfd_getfd", os.pidfd_open(t.parent), 0, 0),
    "queue a signal": lambda t: libc("rt_sigqueueinfo", t.parent, 0, bytes(128)),
    "signal by a descriptor's owner": signalled_by_owner,
    "prlimit the parent": lambda t: resource.prlimit(t.parent, resource.RLIMIT_NOFILE, (256, 256)),
    "read the parent's limits": lambda t: resource.prlimit(t.parent, resource.RLIMIT_NOFILE),
    "renice the parent": lambda t: os.setpriority(os.PRIO_PROCESS, t.parent, 1),
    "bind the parent to a processor": lambda t: os.sched_setaffinity(t.parent, {0}),
    "schedule the parent": lambda t: os.sched_setscheduler(t.parent, os.SCHED_BATCH, os.sched_param(0)),
    "input and output of the parent": lambda t: libc("ioprio_set", 1, t.parent, 3 << 13),
    "ptrace the parent": lambda t: libc("ptrace", 0x4206, t.parent, 0, 0),
    "read the parent's memory": lambda t: libc("process_vm_readv", t.parent, vector(), 1, vector(1), 1, 0),
    "write the parent's memory": lambda t: libc("process_vm_writev", t.parent, vector(), 1, vector(1), 1, 0),
    "open the parent's memory": read(lambda t: f"/proc/{t.parent}/mem"),
    "open the parent's memory for writing": lambda t: os.open(f"/proc/{t.parent}/mem", os.O_RDWR),
    "read the parent's environment": read(lambda t: f"/proc/{t.parent}/environ"),
    "read the parent's map": read(lambda t: f"/proc/{t.parent}/maps"),
    "name the parent's descriptors": lambda t: bool(os.readlink(f"/proc/{t.parent}/fd/0")),
    "badness of the parent": lambda t: os.open(f"/proc/{t.parent}/oom_score_adj", os.O_WRONLY),
    "compare with the parent": lambda t: libc("kcmp", os.getpid(), t.parent, 0, 0, 0),
    "move the parent's pages": lambda t: libc("move_pages", t.parent, ctypes.c_ulong(0), None, None, None, 0),
    "migrate the parent": lambda t: libc("migrate_pages", t.parent, ctypes.c_ulong(0), None, None),
    "advise the parent": lambda t: libc("process_madvise", NOWHERE, vector(), ctypes.c_ulong(1), 4, 0),
    # more processes, and a longer life
    "fork": forked,
    "fork past the memory limit": lambda t: [forked(t) for _ in range(3)],
    "outlive the run": outlived,
    "vfork": lambda t: subprocess.run(["/bin/true"], check=True),
    "clone3": cloned,
    "a thread": threaded,
    "execve": lambda t: os.execv("/nowhere", ["/nowhere"]),
    "execute from memory": executed_from_memory,
    "outlive the parent": lambda t: libc("prctl", 1, 0, 0, 0, 0),
    "setsid": lambda t: os.setsid(),
    "setpgid": lambda t: os.setpgid(0, 0),
    "more memory": raised(resource.RLIMIT_AS),
    "more files": raised(resource.RLIMIT_NOFILE),
    "larger files": raised(resource.RLIMIT_FSIZE),
    "more processes": raised(resource.RLIMIT_NPROC),
    "lock memory": lambda t: libc("mlockall", 1),
    # other processes and networks
    "connect to a path": connected(socket.AF_UNIX, lambda t: t.unix),
    "connect to an abstract name": connected(socket.AF_UNIX, lambda t: "\0" + t.abstract),
    "connect by TCP": connected(socket.AF_INET, lambda t: ("127.0.0.1", t.port)),
    "a pair of sockets": lambda t: socket.socketpair(),
    "netlink": lambda t: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "kernel crypto": lambda t: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
    "the environment": inherited,
    "keyctl": lambda t: libc("keyctl", 0, -3, 1),
    "add_key": lambda t: libc("add_key", "user", "a", b"b", ctypes.c_ulong(1), -3),
    "shared memory": lambda t: libc("shmget", 54321, ctypes.c_ulong(4096), 0),
    "semaphores": lambda t: libc("semget", 54321, 1, 0),
    "messages": lambda t: libc("msgget", 54321, 0),
    "a message queue": lambda t: libc("mq_open", "/tfs-rt-test", os.O_RDWR, 0, 0),
    "type into the terminal": lambda t: fcntl.ioctl(0, 0x5412, b"x"),
    # the kernel
    "bpf": lambda t: libc("bpf", 0, bytes(128), 128),
    "io_uring": lambda t: libc("io_uring_setup", 1, bytes(120)),
    "userfaultfd": lambda t: libc("userfaultfd", 0),
    "perf": lambda t: libc("perf_event_open", bytes(128), 0, -1, -1, 0),
    "memfd": lambda t: os.memfd_create("a"),
    "memfd_secret": lambda t: libc("memfd_secret", 0),
    "mount": lambda t: libc("mount", "none", t.folder, "nothing", 0, None),
    "umount": lambda t: libc("umount2", t.folder, 0),
    "fsopen": lambda t: libc("fsopen", "nothing", 0),
    "open_tree": lambda t: libc("open_tree", AT_FDCWD, t.folder, 1),
    "mount_setattr": lambda t: libc("mount_setattr", AT_FDCWD, t.folder, 0, bytes(32), ctypes.c_ulong(32)),
    "pivot_root": lambda t: libc("pivot_root", t.folder, t.folder),
    "unshare": lambda t: libc("unshare", 0x10000000),
    "setns": lambda t: libc("setns", NOWHERE, 0),
    "set the clock": lambda t: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "adjust the clock": lambda t: libc("adjtimex", bytes(512)),
    "the host's name": lambda t: socket.sethostname(socket.gethostname()),
    "reboot": lambda t: libc("reboot", 1),
    "kexec": lambda t: libc("kexec_load", 0, ctypes.c_ulong(99), None, 99),
    "load a module": lambda t: libc("init_module", b"", 0, ""),
    "swap": lambda t: libc("swapon", "/nowhere", 0),
    "account": lambda t: libc("acct", "/nowhere"),
    "kernel log": lambda t: libc("klogctl", 3, ctypes.create_string_buffer(64), 64),
    "quota": lambda t: libc("quotactl", 0, None, 0, None),
    "become another user": lambda t: os.setuid(os.getuid()),
    "other groups": lambda t: os.setgroups([]),
    "capabilities": lambda t: libc("capset", struct.pack("=Ii", 0x20080522, 0), bytes(24)),
    "personality": lambda t: libc("personality", 0xFFFFFFFF),
    "speculation (prctl)": lambda t: libc("prctl", 52, 0, 0, 0, 0),
    "be dumped (prctl)": lambda t: libc("prctl", 4, 1, 0, 0, 0),
    "another filter": lambda t: libc("seccomp", 2, 0, struct.pack("=I", 0)),
    "another ruleset": lambda t: libc("landlock_create_ruleset", None, ctypes.c_ulong(0), 1),
    "memory policy": lambda t: libc("get_mempolicy", None, None, ctypes.c_ulong(0), None, 0),
    "32-bit calls": called_as_32_bits,
    "x32 calls": called_as_x32,
}
WITHOUT = {
    "whole": "",
    "no Landlock": "limits.restrict_files = lambda: False",
    "no Landlock, no namespaces": "limits.restrict_files = limits.leave_network = lambda: False",
    "no seccomp": "limits.restrict_calls = lambda: False",
    "none": "limits.restrict_process = lambda memory: ([], memory)",
}  # what of the sandbox is taken away, in the child


@contextmanager
def targets() -> Generator[Target]:
    """Targets of the attacks."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        for name in ("kept", "other"):
            (Path(folder) / name).write_text("kept")
        (Path(folder) / "empty").mkdir()
        unix.bind(f"{folder}/socket")
        unix.listen()
        name = f"tfs-rt-{os.getpid()}"
        abstract.bind("\0" + name)
        abstract.listen()
        yield Target(os.getpid(), folder, f"{folder}/socket", name, server.getsockname()[1])


def weakened(call: Any, without: str) -> Any:
    """A `Sandbox` whose children lack a part of the sandbox."""
    code = call.command[3]
    at = code.index("from tfs_rt.sandbox.child")
    call.command[3] = f"{code[:at]}from tfs_rt.sandbox import limits; {WITHOUT[without] or 'pass'}; {code[at:]}"
    return call


def trial(without: str) -> tuple[list[str], dict[str, str]]:
    """The parts that held, and the attacks that got through with how they ended."""
    from support.sandbox_attacks import attempt as function  # by the name that a child can import
    from tfs_rt.errors import InputError
    from tfs_rt.sandbox.parent import Sandbox

    os.environ.update(SECRETS)
    through = {}
    with targets() as target, weakened(Sandbox(function), without) as call:
        for name in ATTACKS:
            try:
                ended = call("an attack", name, *target)
            except InputError as error:  # another program in the child's place, say
                ended = error.reason
            if ended:
                through[name] = ended
        changed = "" if (Path(target.folder) / "kept").read_text() == "kept" else "the file is not as it was"
        return list(call.parts().held), through | ({"": changed} if changed else {})


def main(arguments: list[str]) -> None:
    """Print what got through, for this user and, as root, for nobody: or, for a level, its trial as JSON."""
    if arguments:
        sys.stdout.write(json.dumps(trial(arguments[0])))
        return
    users = {"this user": os.getuid()} | ({"nobody": 65534} if os.getuid() == 0 else {})
    for user, uid in users.items():
        for without in WITHOUT:
            command = [sys.executable, "-P", __file__, without]
            paths = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
            environment = {**os.environ, "PYTHONPATH": paths}
            try:
                ended = subprocess.run(command, user=uid, env=environment, capture_output=True, text=True, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                sys.stdout.write(f"{user}, {without}: cannot be tried here ({error})\n")
                continue
            held, through = json.loads(ended.stdout)
            names = ", ".join(through) if without != "none" else "(the attacks are real)"
            sys.stdout.write(f"{user}, {without} ({', '.join(held) or 'nothing holds'}): ")
            sys.stdout.write(f"{len(through)} of {len(ATTACKS)} got through: {names}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
