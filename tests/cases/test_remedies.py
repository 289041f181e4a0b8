"""A remedy names no option that the command lacks."""

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

import tfs_rt
from support.helpers import Cli, png, write_case
from tfs_rt.cases.remedies import OPTION, only_options, with_options
from tfs_rt.cli import app
from tfs_rt.errors import InputError, NothingFound

ROOMS = ("cases", "formats")  # the commands that read images share them


def options_of(command: str) -> set[str]:
    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands")  # noqa: B009 - of typer's own click
    return {name for parameter in commands[command].params for name in parameter.opts}


def texts_with_options() -> list[str]:
    """The strings of one line in the rooms' modules that name an option."""
    texts: list[str] = []
    for room in ROOMS:
        for file in sorted((Path(tfs_rt.__file__).parent / room).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            texts += [
                node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is str
            ]
    return [text for text in texts if OPTION.search(text) and "\n" not in text]


def test_the_rooms_hold_remedies_with_options() -> None:
    assert len(texts_with_options()) > 5


@pytest.mark.parametrize("remedy", texts_with_options())
def test_a_remedy_without_its_options_still_says_what_to_do(remedy: str) -> None:
    other = with_options(remedy, ())
    assert "--" not in other
    assert other


def test_only_our_options_are_taken_out_of_a_remedy() -> None:
    foreign = "decompress it first, as with GDCM's gdcmconv --raw"
    assert not OPTION.search(foreign)
    assert with_options("crop it, or give --target-size", ()) == "crop it"
    assert with_options("give --some-option", ()) == "change the file with another program first"
    assert with_options("give --a, or give --b; crop it", ["--b"]) == "give --b, or crop it"


def test_an_error_keeps_its_kind_and_its_reason() -> None:
    with pytest.raises(InputError, match="k.png: is odd: crop it$") as caught, only_options(("--window",)):
        raise InputError("k.png", "is odd", "give --colormap, or crop it")
    assert caught.value.subject == "k.png"
    with pytest.raises(NothingFound, match="give --window$"), only_options(("--window",)):
        raise NothingFound("k", "is empty", "give --window")
    with pytest.raises(InputError, match="give --colormap$"), only_options(None):
        raise InputError("k", "is grey", "give --colormap")


def bad_cases(root: Path) -> dict[str, Path]:
    """A source for each input that tfs-rt fuse reads with an option, and for what it takes by an option."""
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name in ("jpeg", "deep", "grey"):
        write_case(root / name)
    Image.fromarray(grey).save(root / "jpeg" / "mr-t1.jpg")
    (root / "jpeg" / "mr-t1.png").unlink()
    (root / "deep" / "mr-t1.png").write_bytes(png(grey.astype(np.uint16) * 200))
    (root / "grey" / "pet.png").write_bytes(png(grey))
    (root / "single.png").write_bytes(png(grey))
    return {name: root / name for name in ("jpeg", "deep", "grey", "single.png")}


@pytest.mark.parametrize("bad", ["jpeg", "deep", "grey", "single.png"])
@pytest.mark.parametrize("command", ["prepare", "eval", "bench", "tune"])
def test_no_command_names_an_option_that_it_lacks(tmp_path: Path, cli: Cli, command: str, bad: str) -> None:
    source = bad_cases(tmp_path / "in")[bad]
    for folder in ("results", "truth"):
        (tmp_path / folder).mkdir()
        pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3)).astype(np.uint8)
        (tmp_path / folder / f"{source.name}.png").write_bytes(png(pixels))
    arguments = {
        "prepare": [source, "-o", tmp_path / "set", "--patient", "(.*)"],
        "eval": [tmp_path / "results", tmp_path / "truth", "--sources", source],
        "bench": ["--cases", source, "-o", tmp_path / "bench", "--backends", "ort-cpu", "--against", "none"],
        "tune": ["tfs-rt/x4", "--data", source, "--ground-truth", tmp_path / "truth", "-o", tmp_path / "tuned"],
    }[command]
    done = cli(command, *arguments)
    assert done.code in (2, 3, 4), done
    assert done.err
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", done.err)) <= options_of(command), done.err
