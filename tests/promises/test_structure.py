"""The tests lie beside what they test, and lean on no other test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from support.paths import ROOT

TESTS = ROOT / "tests"
# The package whose modules the tests in a folder are about; a test's name is that of a module or a package in it.
PACKAGES = {
    "export": ROOT / "export" / "tfs_rt_export",
    "reference": ROOT / "reference" / "tfs_rt_reference",
    "bench": ROOT / "bench" / "tfs_rt_bench",
    "studies": ROOT / "bench" / "tfs_rt_studies",
    "deploy": ROOT / "deploy",
}
RUNTIME = ROOT / "tfs_rt"
MODULES = sorted(path.relative_to(TESTS) for path in TESTS.rglob("test_*.py"))
SOURCES = sorted(path.relative_to(TESTS) for path in TESTS.rglob("*.py"))
# Tests of a whole room, or of something that is not a module of ours, with what they are about.
EXCEPTIONS = {
    "backends/test_on_gpu.py": "every backend that needs a GPU",
    "backends/gpu/test_kernels.py": "the kernels in CUDA, in the folder kernels/",
    "bench/evaluation/test_eval.py": "the command `tfs-rt eval`",
    "bench/latency/test_bench.py": "the command `tfs-rt bench`",
    "cli/test_main.py": "the function `main` of tfs_rt.cli itself",
    "bench/test_kernel_benchmarks.py": "bench/kernels, which `make bench` runs",
}


def imported_names(path: Path) -> set[str]:
    """The full names of all modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("test", [path for path in MODULES if path.parts[0] != "promises"], ids=str)
def test_each_test_is_named_for_a_module_or_a_package(test: Path) -> None:
    if str(test) in EXCEPTIONS:
        return
    package = PACKAGES.get(test.parts[0])
    inside = Path(*test.parts[1:]) if package else test
    tested = (package or RUNTIME) / inside.parent / inside.stem.removeprefix("test_")
    assert tested.with_suffix(".py").is_file() or tested.is_dir(), f"{tested} does not exist"


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_no_file_imports_a_test(source: Path) -> None:
    tests = {part for name in imported_names(TESTS / source) for part in name.split(".") if part.startswith("test_")}
    assert not tests & {path.stem for path in MODULES}


def test_every_exception_still_exists() -> None:
    assert set(EXCEPTIONS) <= {str(path) for path in MODULES}
