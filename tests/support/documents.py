"""The Markdown documents of the repository: their links, headings and commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from support.paths import ROOT

FOLDERS = ("bench", "deploy", "docs", "engines", "examples", "export", "kernels", "reference", "tests", "tfs_rt")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.md"))])
FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
SEPARATORS = re.compile(r"\s(?:&&|\|\||\||;)\s")  # between the commands of a line
BEFORE_COMMAND = re.compile(r"^(?:RUN\s+|\w+=\S*\s+)*")  # a Dockerfile's instruction, variables


@dataclass(frozen=True)
class Command:
    """One `tfs-rt` command as a document shows it."""

    document: str
    text: str
    words: tuple[str, ...]  # after `tfs-rt`


@cache
def tokens(path: Path) -> tuple[Token, ...]:
    """All tokens of a document, those inside paragraphs and tables included."""
    text = FRONT_MATTER.sub("", path.read_text(encoding="utf-8"))
    blocks = MarkdownIt("commonmark").enable("table").parse(text)
    return tuple(token for block in blocks for token in (block, *(block.children or ())))


def front_matter(path: Path) -> str:
    """The YAML before a document's text; empty if it has none."""
    found = FRONT_MATTER.match(path.read_text(encoding="utf-8"))
    return found[1] if found else ""


def links(path: Path) -> Iterator[str]:
    """The targets of a document's links and pictures."""
    for token in tokens(path):
        target = token.attrGet("href") or token.attrGet("src")
        if target:
            yield str(target)


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found: list[str] = []
    heading = False
    for token in tokens(path):
        if token.type == "inline" and heading:
            words = re.sub(r"[^\w\- ]", "", token.content.replace("`", "").lower())
            slug = words.replace(" ", "-")
            found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
        heading = token.type == "heading_open"
    return frozenset(found)


def code_lines(path: Path) -> Iterator[str]:
    """The lines of a document's code blocks, and its code in running text."""
    for token in tokens(path):
        if token.type == "code_inline":
            yield token.content.replace("\n", " ")
        elif token.type in ("fence", "code_block"):
            yield from token.content.replace("\\\n", " ").splitlines()


def inline_code(path: Path) -> Iterator[str]:
    """The code in a document's running text and tables."""
    return (token.content for token in tokens(path) if token.type == "code_inline")


def commands(path: Path) -> Iterator[Command]:
    """The `tfs-rt` commands of a document."""
    for line in code_lines(path):
        for part in SEPARATORS.split(line):
            text = BEFORE_COMMAND.sub("", part.strip())
            if re.match(r"(?:\.venv/bin/)?tfs-rt\s", text):
                words = shlex.split(text, comments=True)
                yield Command(str(path.relative_to(ROOT)), text, tuple(words[1:]))
