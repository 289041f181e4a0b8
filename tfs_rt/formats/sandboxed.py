"""Read pictures in a sandboxed child process: a hostile file can harm only its own case."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Self

from tfs_rt.formats.answers import checked_picture
from tfs_rt.formats.picture import Content, FileOptions, Picture
from tfs_rt.formats.registry import FOLDER_FORMAT, format_of, read_picture
from tfs_rt.sandbox.parent import Sandbox
from tfs_rt.sandbox.parts import Parts

SECONDS = 30  # for any file; a large one or a folder gets more, by its size
BYTES_A_SECOND = 10_000_000  # about half of what one processor reads and windows


class SandboxedReader:
    """`tfs_rt.formats.registry.read_picture` in a sandboxed child process."""

    def __init__(self) -> None:
        self.sandbox = Sandbox(read_in_child, remedy="save the file again, or remove it from the case list")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to start the child, and return at once: its imports then overlap with the caller's."""
        self.sandbox.start()

    def read(self, data: Content, path: Path, options: FileOptions) -> Picture:
        """The slices of a file or a folder from its bytes; InputError too if reading them ends the child."""
        name = FOLDER_FORMAT if isinstance(data, dict) else format_of(path, data)
        size = sum(map(len, data.values())) if isinstance(data, dict) else len(data)
        self.sandbox.seconds = self.sandbox.cpu_seconds = SECONDS + size // BYTES_A_SECOND
        fields = dataclasses.asdict(options)
        return self.sandbox(path, data, str(path), fields, check=lambda answer: checked_picture(answer, name))

    def sandbox_parts(self) -> Parts:
        """The parts of the sandbox in which files are read."""
        return self.sandbox.parts()

    def close(self) -> None:
        """End the child; the next call starts another."""
        self.sandbox.close()


def read_in_child(data: Content, path: str, fields: dict[str, Any]) -> tuple[Any, ...]:
    """In the child: the fields of a picture, as plain data."""
    picture = read_picture(data, Path(path), FileOptions(**fields))
    parts = picture.slices, picture.facts, picture.subject, picture.frame
    if not picture.measured:
        return parts
    return *parts, (picture.measured.values, picture.measured.window)
