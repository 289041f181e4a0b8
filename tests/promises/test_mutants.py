"""The faults of tests/mutants.py are noticed, and no fault passes for noticed that was not tried."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from mutants import MUTANTS, Mutant, applies, main, verdict

from support.paths import ROOT

CODE = "def total(a, b):\n    return a + b\n"
TESTS = """
import time
import pytest
from code_of_one_line import total
def test_total(): assert total(2, 2) == 4
def test_weakly(): assert total(0, 0) == 0
def test_wrongly(): assert total(1, 1) == 3
def test_slowly(): time.sleep(60 * (total(2, 1) < 3))
@pytest.mark.skip
def test_elsewhere(): assert total(2, 1) == 3
"""
FAULT = Mutant("subtracts", "code_of_one_line.py", "a + b", "a - b", ("tests.py::test_total",))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "code_of_one_line.py").write_text(CODE)
    (tmp_path / "tests.py").write_text(TESTS)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "caught"),
        ({"tests": ("tests.py::test_weakly",)}, "survived"),
        ({"tests": ("tests.py", "-k", "elsewhere")}, "not tried"),
        ({"tests": ("tests.py::test_wrongly",)}, "fails without it"),
        ({"tests": ("tests.py::test_slowly",)}, "too slow"),
        ({"tests": ("tests.py::test_absent",)}, "no such tests"),
        pytest.param({"tests": ("tests.py", "-k", "absent")}, "no such tests", marks=pytest.mark.slow),
        ({"old": "a * b"}, "does not apply"),
        ({"old": "a"}, "does not apply"),  # it stands there three times
        ({"file": "absent.py"}, "does not apply"),
        ({"new": "a +"}, "does not run"),
    ],
)
def test_a_fault_is_caught_only_by_a_test_that_ran_and_failed_for_it(
    project: Path, change: dict[str, Any], said: str
) -> None:
    seconds = 3.0 if said == "too slow" else 60.0
    assert verdict(dataclasses.replace(FAULT, **change), project, seconds) == said
    assert (project / "code_of_one_line.py").read_text() == CODE


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_fault_can_be_put_into_todays_sources(mutant: Mutant) -> None:
    assert applies(mutant, ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_fault_is_caught(mutant: Mutant) -> None:
    assert main([mutant.name]) == 0
