"""Promises of the documents: links, pictures, commands, lengths and metadata are right."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from support import doc_tables, documents
from support.documents import DOCUMENTS, Command
from support.helpers import Cli
from support.paths import ROOT
from tfs_rt import __version__
from tfs_rt.cli import app
from tfs_rt.output.contact_sheet import GAP, LABEL, TILE

README = ROOT / "README.md"
OF_OTHER_PROGRAMS = {"--extra-index-url", "--fmad"}  # options that documents name without their command
PACKAGE_ROOTS = ("", "bench", "export", "reference")
FOLDERS = ("bench", "deploy", "docs", "examples", "export", "kernels", "reference", "tests", "tfs_rt")
IN_WHEEL = "tfs_rt/kernels/"  # there alone
CURRENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]  # a changelog may name what is gone
VARIABLE = re.compile(
    r"\.\.\.|: |\d[\d.x]*|'[^']*'|tensorrt-rtx|tensorrt|\(.*?\)"
)  # the parts of a message that differ
CARDS = sorted((ROOT / "engines").glob("*/README.md"))


def test_every_link_and_picture_leads_to_a_file_and_a_heading_that_exist() -> None:
    wrong = []
    for path in DOCUMENTS:
        for link in documents.links(path):
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            if re.match(r"[a-z]+:", link):  # another site
                continue
            if not target.exists() or not target.is_relative_to(ROOT):
                wrong.append(f"{path.name} links to {link}: no such file")
            elif anchor and anchor not in documents.anchors(target):
                wrong.append(f"{path.name} links to {link}: no such heading")
    assert wrong == []


@pytest.mark.parametrize(("name", "limit"), [("README.md", 100), ("ARCHITECTURE.md", 120)])
def test_the_first_pages_stay_short(name: str, limit: int) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) < limit


@cache
def program() -> Any:
    """The program's commands, without starting it."""
    return get_command(app)


def options_of(words: tuple[str, ...]) -> set[str]:
    """The options of a command and of the groups that it belongs to."""
    command = program()
    options = {"--help"}
    for word in words:
        command = command.commands[word]
        options |= {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    return options


def names_of(command: Command) -> list[tuple[str, ...]]:
    """The command that a line names, with its subcommand; several for `cache ls|rm`."""
    name, *rest = command.words
    subcommands = getattr(program().commands.get(name), "commands", {})
    chosen = [word for word in rest[0].split("|") if word in subcommands] if rest else []
    return [(name, word) for word in chosen] or [(name,)]


def test_every_command_that_a_document_shows_exists_with_its_options() -> None:
    wrong = []
    shown = [command for path in DOCUMENTS for command in documents.commands(path)]
    assert len(shown) > 100
    for command in shown:
        if command.words[0].startswith("-"):
            continue
        for name in names_of(command):
            if name[0] not in program().commands:
                wrong.append(f"{command.document}: {command.text}: no such command")
                continue
            options = [found[0] for word in command.words if (found := re.match(r"--?[a-z][\w-]*", word))]
            unknown = [option for option in options if option not in options_of(name)]
            wrong += [f"{command.document}: {command.text}: no option {option}" for option in unknown]
    assert wrong == []


def test_every_option_that_a_document_names_belongs_to_some_command() -> None:
    known = {option for name in program().commands for option in options_of((name,))} | OF_OTHER_PROGRAMS
    named = {(path.name, found[0]) for path in CURRENT for found in options_in(path)}
    assert [(document, option) for document, option in sorted(named) if option not in known] == []


def options_in(path: Path) -> Iterator[re.Match[str]]:
    """The options that a document names in its text, without a command."""
    for code in documents.inline_code(path):
        if found := re.match(r"--[a-z][\w-]*", code):
            yield found


def test_every_module_and_extra_that_a_document_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wrong = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for module in re.findall(r"python -m (tfs_rt[\w.]*)|`(tfs_rt_\w+\.[\w.]+)`", text):
            name = "".join(module).replace(".", "/")
            if not any((ROOT / root / f"{name}.py").exists() for root in PACKAGE_ROOTS):
                wrong.append(f"{path.name} names the module {name}")
        for named in re.findall(r"(?:tfs-rt|'\.)\[([\w,]+)\]", text):
            wrong += [f"{path.name} names the extra {extra}" for extra in named.split(",") if extra not in extras]
    assert wrong == []


def test_every_file_of_the_repository_that_a_document_names_exists() -> None:
    wrong = []
    for path in CURRENT:
        for code in documents.inline_code(path):
            top, _, rest = code.partition("/")
            if top not in FOLDERS or not re.fullmatch(r"[\w./-]+", rest) or code == IN_WHEEL:
                continue
            base = ROOT / "tests" if path.name == "invariants.md" else ROOT
            if not (base / code).exists():
                wrong.append(f"{path.name} names {code}")
    assert wrong == []


def test_the_rooms_and_their_first_files_exist() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \| .* \| (`.*`) \|$", page, re.MULTILINE)
    rooms = {path.name for path in (ROOT / "tfs_rt").iterdir() if (path / "__init__.py").exists()}
    assert {room for room, _ in rows} == rooms
    named = [f"tfs_rt/{room}/{file}" for room, files in rows for file in re.findall(r"`([^`]+)`", files)]
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_every_page_that_the_sources_name_exists() -> None:
    sources = [path for root in ("bench", "export", "reference", "tfs_rt") for path in (ROOT / root).rglob("*.py")]
    named = {page for path in sources for page in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))}
    assert [page for page in sorted(named) if not (ROOT / page).exists()] == []


def test_every_test_that_the_invariants_name_exists() -> None:
    named = {code for code in documents.inline_code(ROOT / "docs" / "invariants.md") if re.match(r"\w+/\w", code)}
    assert len(named) > 30
    assert [code for code in sorted(named) if not (ROOT / "tests" / code).exists()] == []


def test_every_error_that_the_gpu_page_explains_is_one_that_the_program_gives() -> None:
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page[page.index("## Errors and remedies") :], re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    assert len(messages) > 15
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tfs_rt").rglob("*.py"))
    for message in messages:
        if "CUDA_ERROR" in message:  # the driver's own
            continue
        words = max(VARIABLE.split(message), key=len).strip(" ,;")
        assert words in sources, f"no error says {words!r}"


def test_tables_of_the_documents_are_those_that_the_registries_make() -> None:
    found = [(path.name, *named) for path in DOCUMENTS for named in doc_tables.tables_in(path)]
    assert {name for _, name, _ in found} == doc_tables.MADE.keys()
    for document, name, text in found:
        assert text == doc_tables.MADE[name](), f"the table of {name} in {document}"


def test_every_decision_and_study_is_in_its_index() -> None:
    for folder in ("decisions", "studies"):
        pages = {path.name for path in (ROOT / "docs" / folder).glob("*.md")}
        assert pages - set(documents.links(ROOT / "docs" / folder / "README.md")) == {"README.md"}


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == __version__
    assert {"message", "title", "authors", "license"} <= citation.keys()
    (paper,) = citation["references"]
    assert "Tri-Modal Medical Image Fusion" in paper["title"]
    assert [author["family-names"] for author in paper["authors"]] == ["Xu", "Li", "Jie", "Tan"]


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_a_cards_metadata_holds_the_quality_that_the_manifest_states(path: Path) -> None:
    import yaml

    card = yaml.safe_load(documents.front_matter(path))
    assert {"license", "library_name", "pipeline_tag", "tags"} <= card.keys()
    (index,) = card["model-index"]
    manifest = json.loads((path.parent / "model.json").read_text(encoding="utf-8"))
    assert index["name"] == f"tfs-rt/{manifest['name']}"
    for result, split in zip(index["results"], ("test", "val"), strict=True):
        stated = {metric["type"]: metric["value"] for metric in result["metrics"]}
        quality = manifest["quality"][split]
        assert stated["psnr"] == pytest.approx(quality["psnr"], abs=0.006)
        assert stated["ssim"] == pytest.approx(quality["ssim"], abs=0.0006)


def first_command() -> list[str]:
    """README's first command: make an environment, install, fuse."""
    found = re.search(r"<!-- first command -->\n```\w*\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found, "README lacks its first command"
    return found[1].strip().split(" && ")


def test_readmes_picture_is_what_its_first_command_makes(tmp_path: Path, cli: Cli, monkeypatch: Any) -> None:
    """Within one level: so far CPU backends differ. Labels are left out: their pixels are the font renderer's."""
    monkeypatch.chdir(ROOT)
    _, *arguments = shlex.split(first_command()[-1])
    done = cli(*[tmp_path if word == "results" else word for word in arguments])
    assert (done.code, len(list(tmp_path.glob("*.png")))) == (0, 4), done.err
    made, kept = (
        np.asarray(Image.open(file).convert("RGB")).astype(int)
        for file in (tmp_path / "sheets" / "001.png", ROOT / "examples" / "sheet.png")
    )
    assert made.shape == kept.shape
    rows = np.arange(len(made)) - GAP
    tiles = rows % (TILE + LABEL + GAP) >= LABEL
    assert np.abs(made - kept)[tiles].max() <= 1
