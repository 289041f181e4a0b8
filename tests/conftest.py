"""Shared fixtures. Nothing here needs a GPU or the network."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# One thread for each library, before any of them is imported. Each test process has a core: threads beyond that wait
# for each other in loops, which made the tests of training five times as long. Tests of threads ask for their number.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TFS_RT_THREADS"), "1"))
# Keep compiled modules, whatever the environment says. Hundreds of tests start processes, and each would compile the
# program's sources again: a third of a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import numpy as np
import pytest
from numpy.random import Generator

from support.helpers import COMPACT, Cli, Outcome, model_spec, png
from support.paths import ROOT, SHARED
from support.shared_work import share_registration, share_work
from tfs_rt.cases.case import Case, FoundCase
from tfs_rt.cli import main
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.spec import SLOTS

if TYPE_CHECKING:
    from tfs_rt_reference.network import UNet  # torch, which most tests do without


# Folders and files whose tests take long, the longest first: begun early, they leave short ones for the end, and both
# test processes end together. The second file has numba compile both methods while the first needs no numba: if both
# processes met them at the same time, both would compile them, 18 seconds each.
LONG_FIRST = (
    "export/test_half.py",
    "methods/test_two_stage.py",
    "promises/test_crashes.py",
    "reference/training",
    "export",
    "backends/trt",
    "promises",
    "studies",
    "bench/latency",
    "backends",
    "cli",
)


def pytest_configure() -> None:
    """Keep compiled modules of this process, too."""
    sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that take long first."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(ROOT / "tests").as_posix()
        return next((i for i, name in enumerate(LONG_FIRST) if path.startswith(name)), len(LONG_FIRST))

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def registration() -> Iterator[None]:
    """Measure the registration of the same images once."""
    with pytest.MonkeyPatch.context() as patch:
        share_registration(patch)
        yield


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(0)


@pytest.fixture
def shared_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load a shipped model once for all tests that ask for this."""
    share_work(monkeypatch)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command as the program does; its exit code and what it said."""
    share_work(monkeypatch)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["tfs-rt", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return Outcome(int(caught.value.code or 0), said.out, said.err)

    return run


@pytest.fixture(scope="session")
def made_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training set of noise: two groups to train on, one to validate on."""
    from tfs_rt_reference.data.prepare import Request, prepare

    root = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(5)
    cases: list[FoundCase] = []
    for i, split in enumerate(["train", "train", "val"]):
        folder = root / "in" / f"k{i}"
        folder.mkdir(parents=True)
        for name in ("ct", "mr-t2"):
            (folder / f"{name}.png").write_bytes(png(rng.integers(0, 256, (96, 96)).astype(np.uint8)))
        (folder / "pet.png").write_bytes(png(rng.integers(0, 256, (96, 96, 3)).astype(np.uint8)))
        files = {slot: folder / f"{name}.png" for slot, name in zip(SLOTS, ("ct", "mr-t2", "pet"), strict=True)}
        cases.append(Case(f"k{i}", files, {"patient": f"k{i}", "split": split}))
    prepare(Request(root / "set", cases))
    return root / "set"


@pytest.fixture(scope="session")
def graph_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where traced graphs are kept: for later runs, if pytest keeps anything."""
    cache = getattr(request.config, "cache", None)
    return cache.mkdir("traced-graphs") if cache else tmp_path_factory.mktemp("traced-graphs")


@pytest.fixture(scope="module")
def shared_graphs(graph_folder: Path) -> Iterator[None]:
    """The exporter traces each architecture once in this module, and once for all modules."""
    from support.traced_graphs import shared_graphs

    with shared_graphs(graph_folder):
        yield


@pytest.fixture(scope="session")
def halved(graph_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, UNet]:
    """A small network in the compact form, and a bundle of it with its half graph, which no gate has seen."""
    import torch

    from support.traced_graphs import shared_graphs
    from tfs_rt_export import exporter
    from tfs_rt_reference.checkpoints.load import save_checkpoint
    from tfs_rt_reference.network import UNet

    folder = tmp_path_factory.mktemp("halved")
    torch.manual_seed(0)
    network = UNet(COMPACT).eval().requires_grad_(requires_grad=False)
    save_checkpoint(folder / "a.safetensors", network, model_spec(COMPACT))
    request = exporter.Request(checkpoint=folder / "a.safetensors", output=folder / "b", half=True)
    with pytest.MonkeyPatch.context() as patch, shared_graphs(graph_folder):
        for gate in ("certify", "certify_half"):
            patch.setattr(exporter, gate, lambda *_, **__: {})
        exporter.export_bundle(request, lambda text: None)
    return load_bundle(folder / "b"), network


@pytest.fixture(scope="session")
def parity() -> Path:
    return _shared("parity")


@pytest.fixture(scope="session")
def data() -> Path:
    return _shared("data")


@pytest.fixture(scope="session")
def x4() -> Path:
    return ROOT / "engines" / "x4"


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine (set TFS_RT_SHARED)")
    return folder
