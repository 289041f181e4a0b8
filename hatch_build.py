"""The page for a package index: README.md without relative links, pictures and markers.

An index shows the page without the files beside it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"^!\[[^\]]*\]\((?!https?://)[^)]*\)\n+", re.MULTILINE)
RELATIVE_LINK = re.compile(r"\[([^\]]*)\]\((?!https?://|#)([^)]*)\)")
MARKER = re.compile(r"^<!--.*-->\n", re.MULTILINE)


def index_page(readme: str) -> str:
    """Return README.md with file names in place of relative links, and without relative pictures."""
    text = MARKER.sub("", PICTURE.sub("", readme))
    return RELATIVE_LINK.sub(_file_name, text)


def _file_name(link: re.Match[str]) -> str:
    """The words of a link and the name of its file; the name alone if the words are the same."""
    words = link[1]
    target = link[2]
    return f"`{target}`" if words == target else f"{words} (`{target}`)"


class ReadmeHook(MetadataHookInterface):
    """Sets the project's `readme`."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the index page to the project's metadata."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": index_page(readme)}
