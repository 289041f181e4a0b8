"""What lies in the cache is what was made of exactly the facts asked for, or it is made anew."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.helpers import Cli
from tfs_rt.backends import cache as module
from tfs_rt.backends.cache import Cache, Entry, clean, open_cache
from tfs_rt.errors import EnvironmentFault

FACTS = {"model": {"fp32": "a" * 64, "fp16": "b" * 64}, "flavour": "tensorrt-rtx", "version": "1.7", "batch": 4}
DATA = bytes(range(256)) * 16
NOTES = {"model": "made", "seconds": 1.5}

posix = pytest.mark.skipif(os.name != "posix", reason="folders have no such modes on Windows")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("TFS_RT_CACHE", str(tmp_path / "cache"))
    return open_cache()


def never() -> Any:
    raise AssertionError("made, though it is there")


def remake(cache: Cache, facts: dict = FACTS) -> list[str]:
    """Ask for an entry of the cache; what was done for it."""
    done = []

    def make() -> tuple[bytes, dict]:
        done.append("made")
        return DATA, NOTES

    assert cache.get_or_make("engine", facts, make).read() == DATA
    return done


# --- the folder


@posix
def test_the_folder_is_the_users_alone(cache: Cache) -> None:
    assert cache.folder.stat().st_mode & 0o777 == 0o700


@posix
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o702, 0o720, 0o777, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(cache: Cache, cli: Cli, mode: int) -> None:
    cache.folder.chmod(mode)
    code, out, err = cli("cache", "ls")
    assert (code, out, err.count("\n")) == (6, "", 1)
    assert "others can write to this cache" in err
    assert "TFS_RT_CACHE" in err


@posix
def test_another_users_folder_is_refused(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: cache.folder.stat().st_uid + 1)
    with pytest.raises(EnvironmentFault, match="others can write to this cache.*set TFS_RT_CACHE"):
        open_cache()


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    (tmp_path / "file").write_bytes(b"")
    for chosen in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        monkeypatch.setenv("TFS_RT_CACHE", str(chosen))
        code, _, err = cli("cache", "ls")
        assert (code, err.count("\n")) == (6, 1)
        assert "set TFS_RT_CACHE to a folder of your own" in err


@posix
@pytest.mark.skipif(os.name == "posix" and os.getuid() == 0, reason="to root every folder is open")
def test_a_read_only_folder_is_refused(cache: Cache, tmp_path: Path) -> None:
    cache.folder.chmod(0o500)
    with pytest.raises(EnvironmentFault, match="cannot be written: set TFS_RT_CACHE"):
        open_cache()
    tmp_path.chmod(0o500)
    with pytest.raises(EnvironmentFault, match="cannot be made"):
        open_cache(tmp_path / "other")
    tmp_path.chmod(0o700)


def test_a_full_disk_is_told_with_the_caches_own_remedy(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfs_rt.system.files.write_all", full)
    with pytest.raises(EnvironmentFault, match="No space left on device.*set TFS_RT_CACHE") as caught:
        remake(cache)
    assert "--output" not in str(caught.value)
    assert [path.suffix for path in cache.folder.iterdir()] == [".lock"]


def test_a_folder_that_is_replaced_meanwhile_is_told(cache: Cache) -> None:
    shutil.rmtree(cache.folder)
    cache.folder.write_bytes(b"")
    with pytest.raises(EnvironmentFault, match="cannot be written.*set TFS_RT_CACHE"):
        remake(cache)


@posix
def test_without_a_word_it_lies_where_the_system_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFS_RT_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert open_cache().folder == tmp_path / "xdg" / "tfs-rt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    if sys.platform == "linux":
        assert open_cache().folder == tmp_path / ".cache" / "tfs-rt"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("TFS_RT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(EnvironmentFault, match="Could not determine home.*set TFS_RT_CACHE"):
        open_cache()


# --- entries


def test_an_entry_is_what_was_put(cache: Cache) -> None:
    cache.put("engine", FACTS, DATA, NOTES)
    entry = cache.get("engine", FACTS)
    assert entry
    assert (entry.facts, entry.notes, entry.size, entry.read()) == (FACTS, NOTES, len(DATA), DATA)
    assert entry.sha256 == hashlib.sha256(entry.path.read_bytes()).hexdigest()
    assert list(cache.entries("engine")) == list(cache.entries()) == [entry]
    assert list(cache.entries("kernels")) == []
    assert cache.get_or_make("engine", dict(reversed(FACTS.items())), never) == entry


# (kinds of mismatch, of the twenty asked for: 5 of facts here, 22 of damage below, 17 of a GPU in trt/test_build.py)
@pytest.mark.parametrize(
    "other",
    [
        FACTS | {"version": "1.8"},
        FACTS | {"model": FACTS["model"] | {"fp16": "c" * 64}},
        FACTS | {"batch": 4.5},
        FACTS | {"more": None},
        {key: value for key, value in FACTS.items() if key != "batch"},
    ],
)
def test_an_entry_is_found_by_exactly_its_facts(cache: Cache, other: dict) -> None:
    cache.put("engine", FACTS, DATA, NOTES)
    assert cache.get("engine", other) is None
    assert cache.get("jit", FACTS) is None
    assert remake(cache, other) == ["made"]
    assert len(list(cache.entries())) == 2


def resealed(sidecar: Path, change: Callable[[dict], None], *, keyed: bool = False) -> None:
    """A sidecar changed by somebody who knows how the seal, and perhaps the key, is made."""
    content = json.loads(sidecar.read_text())
    content.pop("digest")
    change(content)
    content["digest"] = module.digest(content)
    text = json.dumps(content)
    sidecar.write_text(text)
    if keyed:
        sidecar.with_name(f"{module.cache_key(content['kind'], content['facts'])}.json").write_text(text)


def truncated(entry: Entry, sidecar: Path) -> None:
    entry.path.write_bytes(DATA[:-1])


def grown(entry: Entry, sidecar: Path) -> None:
    entry.path.write_bytes(DATA + b"\0")


def emptied(entry: Entry, sidecar: Path) -> None:
    entry.path.write_bytes(b"")


def flipped(entry: Entry, sidecar: Path) -> None:
    entry.path.write_bytes(bytes([DATA[0] ^ 1]) + DATA[1:])


def missing(entry: Entry, sidecar: Path) -> None:
    entry.path.unlink()


def alone(entry: Entry, sidecar: Path) -> None:
    sidecar.unlink()


def pipe(entry: Entry, sidecar: Path) -> None:
    entry.path.unlink()
    os.mkfifo(entry.path)


def folder(entry: Entry, sidecar: Path) -> None:
    entry.path.unlink()
    (entry.path / "deep").mkdir(parents=True)


def dangling(entry: Entry, sidecar: Path) -> None:
    entry.path.unlink()
    entry.path.symlink_to("nowhere")


def edited(entry: Entry, sidecar: Path) -> None:
    sidecar.write_text(sidecar.read_text().replace('"batch": 4', '"batch": 8'))


def noted(entry: Entry, sidecar: Path) -> None:
    sidecar.write_text(sidecar.read_text().replace('"seconds": 1.5', '"seconds": 0.5'))


def renamed(entry: Entry, sidecar: Path) -> None:
    other = Cache(entry.path.parent).put("engine", FACTS | {"batch": 8}, DATA, NOTES)
    other.path.with_suffix(".json").replace(sidecar)


def no_json(entry: Entry, sidecar: Path) -> None:
    sidecar.write_bytes(b"\xff\xfe no JSON")


def deep(entry: Entry, sidecar: Path) -> None:
    sidecar.write_text("[" * 100_000)


def huge(entry: Entry, sidecar: Path) -> None:
    sidecar.write_text(f'{{"digest": "{"0" * 2**20}"}}')


def no_object(entry: Entry, sidecar: Path) -> None:
    sidecar.write_text("[]")


def no_keys(entry: Entry, sidecar: Path) -> None:
    resealed(sidecar, lambda content: content.pop("facts"))


def no_hash(entry: Entry, sidecar: Path) -> None:
    resealed(sidecar, lambda content: content.update(sha256=5))


def no_notes(entry: Entry, sidecar: Path) -> None:
    resealed(sidecar, lambda content: content.update(notes=[]))


def no_kind(entry: Entry, sidecar: Path) -> None:
    resealed(sidecar, lambda content: content.update(kind={}))


def sidecar_pipe(entry: Entry, sidecar: Path) -> None:
    sidecar.unlink()
    os.mkfifo(sidecar)


def sidecar_folder(entry: Entry, sidecar: Path) -> None:
    sidecar.unlink()
    sidecar.mkdir()


DAMAGES = [truncated, grown, emptied, flipped, missing, alone, pipe, folder, dangling, edited, noted, renamed]
DAMAGES += [no_json, deep, huge, no_object, no_keys, no_hash, no_notes, no_kind, sidecar_pipe, sidecar_folder]


@posix
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_never_used_and_is_made_anew(cache: Cache, damage: Callable, cli: Cli) -> None:
    entry = cache.put("engine", FACTS, DATA, NOTES)
    damage(entry, entry.path.with_suffix(".json"))
    if found := cache.get("engine", FACTS):  # by a link it may still be whole
        pytest.fail(f"{found} is used")
    assert cli("cache", "verify").code in (0, 6)
    assert remake(cache) == ["made"]
    assert cache.get_or_make("engine", FACTS, never).read() == DATA
    assert cli("cache", "verify").code == 0


@posix
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_can_be_removed(cache: Cache, damage: Callable, cli: Cli) -> None:
    entry = cache.put("engine", FACTS, DATA, NOTES)
    damage(entry, entry.path.with_suffix(".json"))
    assert cli("cache", "rm", "--all").code == 0
    assert list(cache.folder.iterdir()) == []


def test_an_entry_of_another_schema_is_not_found(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put("engine", FACTS, DATA, NOTES)
    monkeypatch.setattr(module, "SCHEMA", module.SCHEMA + 1)
    assert cache.get("engine", FACTS) is None
    assert list(cache.entries()) == []
    assert remake(cache) == ["made"]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "engine/../../elsewhere"},
        {"kind": "lock"},
        {"facts": "text"},
        {"notes": None},
        {"sha256": None},
        {"size": "large"},
    ],
)
def test_a_sidecar_with_a_true_seal_and_untrue_types_is_none(cache: Cache, change: dict, cli: Cli) -> None:
    sidecar = cache.put("kernels", FACTS, DATA, NOTES).path.with_suffix(".json")
    resealed(sidecar, lambda content: content.update(change), keyed=True)
    assert list(cache.entries()) == (
        [] if set(change) & {"notes", "sha256", "size"} else list(cache.entries("kernels"))
    )
    assert cli("cache", "ls").code == 0


def test_what_is_damaged_after_it_was_found_is_not_read(cache: Cache) -> None:
    entry = cache.put("engine", FACTS, DATA, NOTES)
    flipped(entry, entry.path)
    with pytest.raises(EnvironmentFault, match="does not match its SHA-256: remove it .tfs-rt cache rm. and build"):
        entry.read()
    entry.path.unlink()
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        entry.read()


# --- processes

MAKER = """
    import os, sys, time
    from pathlib import Path
    from tfs_rt.backends import cache as module
    from tfs_rt.system import files
    from tfs_rt.backends.cache import open_cache

    def make():
        with Path(sys.argv[1]).open("a") as made:
            made.write("made\\n")
        print("making", flush=True)
        time.sleep({sleep})
        return bytes(range(256)) * 16, {{}}

    {before}
    open_cache().get_or_make("engine", {facts!r}, make).read()
"""


def started(tmp_path: Path, *, sleep: float = 0, before: str = "pass") -> subprocess.Popen[str]:
    """A process that makes the entry, in `sleep` seconds."""
    code = textwrap.dedent(MAKER).format(sleep=sleep, before=textwrap.dedent(before), facts=FACTS)
    return subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "made")], stdout=subprocess.PIPE, text=True)


def killed(process: subprocess.Popen[str], after: str) -> None:
    assert process.stdout
    assert any(line.startswith(after) for line in process.stdout)
    process.kill()
    process.wait()
    process.stdout.close()


STOP = """
def stop(*_):
    print("stopped", flush=True)
    time.sleep(60)
"""
BEFORE_THE_SIDECAR = f"""{STOP}
write = module.write_file
module.write_file = lambda path, data, **mode: stop() if path.suffix == ".json" else write(path, data, **mode)
"""
WHILE_WRITING = f"""{STOP}
write_all = files.write_all
files.write_all = lambda descriptor, data: [write_all(descriptor, data[:1000]), stop()]
"""


def test_of_several_processes_at_once_one_makes_it(cache: Cache, tmp_path: Path) -> None:
    processes = [started(tmp_path, sleep=1.5) for _ in range(3)]
    assert [process.communicate(timeout=60) and process.returncode for process in processes] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "made\n"
    assert cache.get_or_make("engine", FACTS, never).read() == DATA


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        ("pass", "making", {".lock"}),
        (WHILE_WRITING, "stopped", {".lock", ".tmp"}),
        (BEFORE_THE_SIDECAR, "stopped", {".lock", ".engine"}),
    ],
)
def test_what_a_killed_process_leaves_is_not_found(
    cache: Cache, tmp_path: Path, before: str, after: str, left: set[str], cli: Cli
) -> None:
    killed(started(tmp_path, sleep=60 if after == "making" else 0, before=before), after)
    assert {path.suffix for path in cache.folder.iterdir()} == left
    assert list(cache.entries()) == []
    assert cache.get("engine", FACTS) is None
    assert cli("cache", "verify").out == "0 of 0 are whole\n"
    assert remake(cache) == ["made"]
    clean(cache)
    assert {path.suffix for path in cache.folder.iterdir()} == {".lock", ".engine", ".json"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other owners")
def test_a_file_of_somebody_else_is_never_used(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = cache.put("engine", FACTS, DATA, NOTES)
    assert entry.is_intact()
    entry.path.chmod(0o666)
    assert cache.get("engine", FACTS) is None
    with pytest.raises(EnvironmentFault, match="can be written by others, and would be run"):
        entry.read()
    entry.path.chmod(0o600)
    entry.path.rename(tmp_path / "elsewhere")
    entry.path.symlink_to(tmp_path / "elsewhere")
    assert cache.get("engine", FACTS) is None
    remake(cache)
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert cache.get("engine", FACTS) is None


def test_the_cache_is_one_place_wherever_one_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TFS_RT_CACHE", "~/c")
    assert open_cache().folder == tmp_path / "c"
    monkeypatch.setenv("TFS_RT_CACHE", "c")
    with pytest.raises(EnvironmentFault, match="depends on where you are: give an absolute path"):
        open_cache()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_cleaning_deletes_leftovers_and_keeps_the_files_of_others(cache: Cache, tmp_path: Path) -> None:
    killed(started(tmp_path, before=WHILE_WRITING), "stopped")
    mine = {"notes.txt", "package.json", "poetry.lock", "my.engine", ".my.engine.0123abcd.tmp"}
    for name in mine:
        (cache.folder / name).write_text("mine")
    (cache.folder / "data.json").mkdir()
    other = cache.put("engine", FACTS | {"batch": 8}, DATA, NOTES)
    clean(cache)
    kept = {*mine, "data.json", *(f"{other.key}.{suffix}" for suffix in ("engine", "json", "lock"))}
    assert {path.name for path in cache.folder.iterdir()} == kept


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
@pytest.mark.parametrize("before", [WHILE_WRITING, BEFORE_THE_SIDECAR])
def test_cleaning_keeps_an_entry_under_construction(cache: Cache, tmp_path: Path, before: str, cli: Cli) -> None:
    process = started(tmp_path, before=before)
    assert process.stdout
    assert any(line.startswith("stopped") for line in process.stdout)
    process.send_signal(signal.SIGSTOP)
    names = {path.name for path in cache.folder.iterdir()}
    assert cli("cache", "rm", "--all").code == 0
    assert {path.name for path in cache.folder.iterdir()} == names
    process.kill()
    process.communicate()


# --- the command


def filled(cache: Cache) -> list[Entry]:
    """Twenty entries: some of their keys begin with the same digit, as there are sixteen."""
    return [cache.put("kernels", {"sources": "s", "number": number}, DATA, {}) for number in range(20)]


def test_the_command_lists_what_is_there(cache: Cache, cli: Cli) -> None:
    profile = {"batch": 4, "low": [64, 96], "high": [64, 96]}
    facts = FACTS | {"profile": profile, "target": {"capabilities": ["8.6", "8.9"]}}
    engine = cache.put("engine", facts, DATA, NOTES)
    kernels = cache.put("kernels", {"nvrtc": "13.0"}, DATA, {})
    lines = cli("cache", "ls").out.splitlines()
    assert len(lines) == 2
    (line,) = (line for line in lines if line.startswith(engine.key[:12]))
    assert "engine" in line
    assert "made, tensorrt-rtx 1.7, 96x64, batch 4, for 8.6, 8.9" in line
    listed = {found["key"]: found for found in json.loads(cli("cache", "ls", "--json").out)}
    assert listed[engine.key] == {"key": engine.key, "kind": "engine", "bytes": len(DATA), **facts, **NOTES}
    assert listed[kernels.key]["nvrtc"] == "13.0"


def test_the_command_removes_one_entry_by_the_beginning_of_its_key(cache: Cache, cli: Cli) -> None:
    entries = filled(cache)
    assert cli("cache", "rm", entries[3].key[:12], entries[3].key, entries[7].key).code == 0
    left = {entry.key for entry in entries} - {entries[3].key, entries[7].key}
    assert {entry.key for entry in cache.entries()} == left
    code, out, _ = cli("cache", "rm", "--all")
    assert (code, out.count("removed")) == (0, 18)
    assert list(cache.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "it is not clear what to remove"),
        (["0123", "--all"], "it is not clear what to remove"),
        (["zzz"], "zzz: no such entry"),
        ([""], "no such entry"),  # an empty shell variable is not all there is
        (["*"], "no such entry"),
        (["../.."], "no such entry"),
        (["COMMON"], "entries begin so"),
        (["WHOLE", "zzz"], "zzz: no such entry"),
    ],
)
def test_the_command_removes_nothing_that_was_not_named(
    cache: Cache, cli: Cli, arguments: list[str], words: str
) -> None:
    keys = [entry.key for entry in filled(cache)]
    starts = [key[0] for key in keys]
    named = {"COMMON": max(starts, key=starts.count), "WHOLE": keys[0]}
    code, out, err = cli("cache", "rm", *[named.get(argument, argument) for argument in arguments])
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert len(list(cache.entries())) == 20


def test_the_command_finds_what_is_damaged(cache: Cache, cli: Cli) -> None:
    entries = filled(cache)
    assert cli("cache", "verify") == (0, "20 of 20 are whole\n", "")
    flipped(entries[5], entries[5].path)
    entries[6].path.unlink()
    code, out, err = cli("cache", "verify")
    assert (code, err.count("\n")) == (6, 1)
    assert "18 of 20 are whole" in out
    assert {line.split()[1] for line in out.splitlines() if "damaged" in line} == {e.key[:12] for e in entries[5:7]}
    assert "2 entries are damaged" in err
    assert cli("cache", "rm", *(entry.key for entry in entries[5:7])).code == 0
    assert cli("cache", "verify").out == "18 of 18 are whole\n"
