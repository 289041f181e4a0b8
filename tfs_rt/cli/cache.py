"""`tfs-rt cache`: what was built and compiled, and can be made again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from tfs_rt.errors import EnvironmentFault, UsageError

if TYPE_CHECKING:
    from tfs_rt.backends.cache import Entry

app = typer.Typer(help="The cache of built engines and compiled kernels.", no_args_is_help=True)


@app.command("ls")
def ls(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List what is there."""
    entries = _entries()
    if as_json:
        typer.echo(json.dumps([{"key": e.key, "kind": e.kind, "bytes": e.size, **e.facts, **e.notes} for e in entries]))
        return
    for entry in entries:
        typer.echo(f"{entry.key[:12]}  {entry.kind:8}{entry.size / 1e6:8.1f} MB  {_about(entry)}")


@app.command("rm")
def rm(
    keys: Annotated[list[str] | None, typer.Argument(help="The beginnings of keys, as `ls` shows them.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All of it.")] = False,
) -> None:
    """Remove entries."""
    from tfs_rt.backends.cache import clean, open_cache

    if bool(keys) == everything:
        raise UsageError("cache rm", "what to remove is not said", "give keys (tfs-rt cache ls), or --all")
    entries = _entries()
    for entry in entries if everything else [_chosen(entries, key) for key in dict.fromkeys(keys or [])]:
        entry.remove()
        typer.echo(f"removed {entry.key[:12]}")
    clean(open_cache())


@app.command("verify")
def verify() -> None:
    """Hash every entry again; exit code 6 if one is damaged."""
    entries = _entries()
    damaged = [entry for entry in entries if not entry.is_whole()]
    for entry in damaged:
        typer.echo(f"damaged {entry.key[:12]} {entry.path}")
    typer.echo(f"{len(entries) - len(damaged)} of {len(entries)} are whole")
    if damaged:
        raise EnvironmentFault("cache", f"{len(damaged)} entries are damaged", "tfs-rt cache rm, and build them again")


def _chosen(entries: list[Entry], key: str) -> Entry:
    found = [entry for entry in entries if key and entry.key.startswith(key)]
    if len(found) != 1:
        reason = f"{len(found)} entries begin so" if found else "no such entry"
        raise UsageError(key or "''", reason, "tfs-rt cache ls shows their keys")
    return found[0]


def _entries() -> list[Entry]:
    from tfs_rt.backends.cache import open_cache

    return list(open_cache().entries())


def _about(entry: Entry) -> str:
    from tfs_rt.backends.trt.build import Profile

    facts = entry.facts
    if entry.kind != "engine":
        return " ".join(str(value) for value in facts.values() if isinstance(value, str) and len(value) < 40)
    profile, target = Profile.of(facts["profile"]), facts["target"]
    on = ", ".join(target["capabilities"]) if "capabilities" in target else target["name"]
    made = f"{entry.notes['model']}, {facts['flavour']} {facts['version']}"
    return f"{made}, {profile.sizes()}, batch {profile.batch}, for {on}"
