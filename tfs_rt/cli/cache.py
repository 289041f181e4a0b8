"""`tfs-rt cache`: built engines and compiled kernels, which can be made again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from tfs_rt.cli.help import FLAG, GENERAL, Command, Group, examples
from tfs_rt.cli.options import AsJson
from tfs_rt.errors import EnvironmentFault, UsageError

if TYPE_CHECKING:
    from tfs_rt.backends.cache import Entry

KEY_LENGTH = 12  # characters of a key that are shown
EXAMPLES = examples(
    ("List the entries", "tfs-rt cache ls"),
    ("Remove all of them", "tfs-rt cache rm --all"),
)
LS_EXAMPLES = examples(
    ("List the entries", "tfs-rt cache ls"),
    ("The same for a program", "tfs-rt cache ls --json"),
)
RM_EXAMPLES = examples(
    ("Remove an entry by the start of its key", "tfs-rt cache rm 1f6b0c"),
    ("Remove all entries", "tfs-rt cache rm --all"),
)
VERIFY_EXAMPLES = examples(
    ("Find damaged entries", "tfs-rt cache verify"),
    ("Then remove them by their keys, and build them again", "tfs-rt cache rm 1f6b0c"),
)

Keys = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEYS", help="Starts of keys, as tfs-rt cache ls shows them.", show_default=False),
]
Everything = Annotated[bool, typer.Option("--all", metavar=FLAG, help="Remove all entries.", rich_help_panel=GENERAL)]

app = typer.Typer(cls=Group, no_args_is_help=True, epilog=EXAMPLES, help="The cache of built engines and kernels.")


@app.command("ls", cls=Command, epilog=LS_EXAMPLES)
def ls(*, as_json: AsJson = False) -> None:
    """List the entries of the cache."""
    entries = _entries()
    if as_json:
        typer.echo(json.dumps([{"key": e.key, "kind": e.kind, "bytes": e.size, **e.facts, **e.notes} for e in entries]))
        return
    for entry in entries:
        typer.echo(f"{entry.key[:KEY_LENGTH]}  {entry.kind:8}{entry.size / 1e6:8.1f} MB  {_describe(entry)}")


@app.command("rm", cls=Command, epilog=RM_EXAMPLES)
def rm(keys: Keys = None, *, everything: Everything = False) -> None:
    """Remove entries from the cache."""
    from tfs_rt.backends.cache import clean, open_cache

    if bool(keys) == everything:
        raise UsageError("cache rm", "it is not clear what to remove", "give keys (tfs-rt cache ls), or --all")
    entries = _entries()
    chosen = entries if everything else [_find_entry(entries, key) for key in dict.fromkeys(keys or [])]
    for entry in chosen:
        entry.remove()
        typer.echo(f"removed {entry.key[:KEY_LENGTH]}")
    clean(open_cache())


@app.command("verify", cls=Command, epilog=VERIFY_EXAMPLES)
def verify() -> None:
    """Check all entries against their hashes.

    Exit codes: 0 all entries are whole, 6 some are damaged.
    """
    entries = _entries()
    damaged = [entry for entry in entries if not entry.is_intact()]
    for entry in damaged:
        typer.echo(f"damaged {entry.key[:KEY_LENGTH]} {entry.path}")
    typer.echo(f"{len(entries) - len(damaged)} of {len(entries)} are whole")
    if damaged:
        raise EnvironmentFault("cache", f"{len(damaged)} entries are damaged", "tfs-rt cache rm, and build them again")


def _find_entry(entries: list[Entry], key: str) -> Entry:
    """The one entry whose key starts with `key`."""
    found = [entry for entry in entries if key and entry.key.startswith(key)]
    if len(found) != 1:
        reason = f"{len(found)} entries begin so" if found else "no such entry"
        raise UsageError(key or "''", reason, "tfs-rt cache ls shows their keys")
    return found[0]


def _entries() -> list[Entry]:
    from tfs_rt.backends.cache import open_cache

    return list(open_cache().entries())


def _describe(entry: Entry) -> str:
    """An engine's model, runtime, sizes and GPU; for other entries, the short texts among their facts."""
    from tfs_rt.backends.trt.build import Profile

    facts = entry.facts
    if entry.kind != "engine":
        return " ".join(value for value in facts.values() if isinstance(value, str) and len(value) < 40)
    profile = Profile.of(facts["profile"])
    target = facts["target"]
    gpu = ", ".join(target["capabilities"]) if "capabilities" in target else target["name"]
    engine = f"{entry.notes['model']}, {facts['flavour']} {facts['version']}"
    return f"{engine}, {profile.sizes()}, batch {profile.batch}, for {gpu}"
