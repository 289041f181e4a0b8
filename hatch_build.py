"""The page for a package index: README.md without what only a clone can show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"^!\[[^\]]*\]\((?!https?://)[^)]*\)\n+", re.MULTILINE)
RELATIVE_LINK = re.compile(r"\[([^\]]*)\]\((?!https?://|#)([^)]*)\)")
MARKER = re.compile(r"^<!--.*-->\n", re.MULTILINE)


def index_page(readme: str) -> str:
    """README.md with relative links as the names of their files, and without relative pictures."""
    text = MARKER.sub("", PICTURE.sub("", readme))
    return RELATIVE_LINK.sub(_name, text)


def _name(link: re.Match[str]) -> str:
    """A file's name in place of a link to it, after the link's words if these are others."""
    words = link[1]
    target = link[2]
    return f"`{target}`" if words == target else f"{words} (`{target}`)"


class ReadmeHook(MetadataHookInterface):
    """Sets the project's `readme`."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the page to the metadata."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": index_page(readme)}
