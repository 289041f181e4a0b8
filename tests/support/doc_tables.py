"""Tables of the documents that are made from registries.

A table stands in a document below `<!-- table: NAME -->`. A test compares it with the one made here, and shows the
right text if a registry has changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tfs_rt.backends.registry import BACKENDS, automatic_backends
from tfs_rt.cases.modalities import FUNCTIONAL, SYNONYMS
from tfs_rt.formats.registry import FORMATS
from tfs_rt.methods.registry import METHODS
from tfs_rt.sampling.registry import SAMPLERS

IN_DOCUMENT = re.compile(r"<!-- table: ([\w-]+) -->\n\n((?:\|.*\n)*)")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n".replace("|  |", "| |") for cells in lines)


def install(extra: str) -> str:
    """The command that installs an extra; empty without one."""
    return f"`pip install 'tfs-rt[{extra}]'`" if extra else ""


def samplers() -> str:
    """The samplers of `tfs-rt fuse --sampler`."""
    return table(("`--sampler`", "method"), [(f"`{name}`", entry.description) for name, entry in SAMPLERS.items()])


def methods() -> str:
    """The methods of `tfs-rt fuse --method`."""
    rows = [
        (f"`{name}`", entry.description, ", ".join(map(str, entry.scales)), install(entry.extra))
        for name, entry in METHODS.items()
    ]
    return table(("`--method`", "method", "`--scale`", "needs"), rows)


def backends() -> str:
    """The backends of `tfs-rt fuse --backend`."""
    automatic = automatic_backends()
    rows = [
        (
            f"`{name}`",
            entry.summary,
            entry.device.upper(),
            install(entry.extra),
            str(automatic.index(name) + 1) if name in automatic else "",
        )
        for name, entry in BACKENDS.items()
    ]
    return table(("`--backend`", "computes by", "on a", "needs", "tried by `auto`"), rows)


def formats() -> str:
    """The formats of input files."""
    rows = [
        (
            entry.title,
            ", ".join(f"`{ending}`" for ending in entry.endings),
            entry.description,
            "yes" if entry.has_geometry else "no",
            install(entry.extra),
        )
        for entry in FORMATS.values()
    ]
    return table(("format", "endings", "holds", "place in space", "needs"), rows)


def modalities() -> str:
    """The names of modalities, and the words that are understood as them."""
    slots = {"ct": "m1", "mr-t2": "m2", "mr-flair": "m2, with a warning, where no `mr-t2` is"}
    slots["mr"] = "m2, with a warning, beside `ct` alone"
    rows: list[tuple[str, str, str]] = []
    for name, phrases in SYNONYMS.items():
        words = ", ".join(f"`{phrase}`" for phrase in phrases if phrase != name)
        rows.append((f"`{name}`", slots.get(name, "functional" if name in FUNCTIONAL else "m1"), words))
    return table(("modality", "slot", "other words for it"), rows)


MADE: dict[str, Callable[[], str]] = {
    "backends": backends,
    "formats": formats,
    "methods": methods,
    "modalities": modalities,
    "samplers": samplers,
}


def tables_in(path: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of each such table in a document."""
    for found in IN_DOCUMENT.finditer(path.read_text(encoding="utf-8")):
        yield found[1], found[2]
