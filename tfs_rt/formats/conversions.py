"""Image formats that are not read, with the commands that convert them."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

BY_NIBABEL = "pip install nibabel, then nib-convert {file} {stem}.nii.gz"
BY_SIMPLEITK = (
    "pip install SimpleITK, then "
    'python -c "import sys, SimpleITK as s; s.WriteImage(s.ReadImage(sys.argv[1]), sys.argv[2])" {file} {stem}.nii.gz'
)
BY_PILLOW = 'python -c "import sys; from PIL import Image; Image.open(sys.argv[1]).save(sys.argv[2])" {file} {stem}.png'
ANALYZE = f"{BY_NIBABEL} (an Analyze file does not say left from right: compare it)"
# By the endings of files that are images of their own, in small letters.
CONVERSIONS = {
    ".hdr": ANALYZE,
    ".head": BY_NIBABEL,
    ".mnc": BY_NIBABEL,
    ".par": BY_NIBABEL,
    ".mhd": BY_SIMPLEITK,
    ".nhdr": BY_SIMPLEITK,
    ".webp": BY_PILLOW,
    ".jp2": BY_PILLOW,
    ".pgm": BY_PILLOW,
    ".ppm": BY_PILLOW,
    ".tga": BY_PILLOW,
}
# By the endings of files that hold the values for another file's header: of such a pair only the header is listed.
OF_VALUES = {".img": ANALYZE, ".brik": BY_NIBABEL, ".rec": BY_NIBABEL}
ALL = CONVERSIONS | OF_VALUES


def conversion(path: Path) -> str:
    """The remedy for a file of such a format, which names the command; empty for any other."""
    command = ALL.get(path.suffix.lower(), "")
    return command and remedy(command, path)


def remedy(command: str, path: Path) -> str:
    """The remedy that a command converts a file."""
    return f"convert it: {command.format(file=quote(path.name), stem=quote(path.stem))}"
