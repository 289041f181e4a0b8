"""The registry of fusion methods: its entries are true, and one entry and one module are enough to add a method."""

import dataclasses
import inspect
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from support.fake_methods import FakeMethod, write_cases
from support.helpers import Cli, read_png
from support.paths import ROOT
from tfs_rt.cli.fuse import fuse
from tfs_rt.errors import EnvironmentFault, UsageError
from tfs_rt.images import RGB
from tfs_rt.methods.choice import Compute, MethodChoice, Sampling, load_method
from tfs_rt.methods.registry import (
    DEFAULT_METHOD,
    METHODS,
    MODEL_OPTIONS,
    MethodEntry,
    check_options,
    load_module,
)
from tfs_rt.methods.two_stage import TwoStage
from tfs_rt.models.kinds import KINDS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_module_imports_its_packages_and_its_extra_installs_them(name: str) -> None:
    entry = METHODS[name]
    assert load_module(name).__name__ == entry.module
    assert set(entry.packages) <= sys.modules.keys()
    if entry.extra:
        requirements = PROJECT["optional-dependencies"][entry.extra]
        installed = {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}
        assert set(entry.packages) <= installed


def test_the_default_method_needs_a_model_and_takes_all_options() -> None:
    assert METHODS[DEFAULT_METHOD].needs_model
    assert METHODS[DEFAULT_METHOD].bundle_kind in KINDS
    every_option = {option for entry in METHODS.values() for option in entry.options}
    assert set(METHODS[DEFAULT_METHOD].options) == every_option


def test_the_options_of_a_model_are_options_of_fuse_and_fields_of_a_choice() -> None:
    fields = {field.name for group in (MethodChoice, Sampling, Compute) for field in dataclasses.fields(group)}
    for option in MODEL_OPTIONS:
        name = option.removeprefix("--")
        assert name in inspect.signature(fuse).parameters
        assert name in fields


def test_an_option_that_the_method_does_not_take_is_refused_with_the_method_that_does() -> None:
    check_options("diffusion", {"--steps": 4, "--seed": 0})
    check_options("ctsr", {"--steps": None})
    with pytest.raises(UsageError, match=r"--method ctsr does not take .* \(--method diffusion takes --seed\)"):
        check_options("ctsr", {"--steps": None, "--seed": 0})


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tfs_rt.methods.ctsr.fuse", raising=False)
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(EnvironmentFault, match=r"method ctsr: .* pip install 'tfs-rt\[fusion\]'"):
        TwoStage("ctsr", 2)


def test_a_method_with_a_network_is_added_by_one_module_with_a_loader_and_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    choices: list[MethodChoice] = []

    def load(choice: MethodChoice) -> FakeMethod:
        choices.append(choice)
        return FakeMethod(largest_batch=choice.compute.batch)

    module = ModuleType("made")
    module.__dict__["load"] = load
    monkeypatch.setitem(sys.modules, "made", module)
    entry = MethodEntry(description="a made network", module="made", loader="load", options=("--seed", "--backend"))
    monkeypatch.setitem(METHODS, "made", entry)

    # The command line passes its options to the loader, and the loaded method describes itself.
    source = write_cases(tmp_path / "in", 2)
    arguments = ["--method", "made", "--seed", 7, "--backend", "ort-cpu", "--batch", 2]
    outcome = cli("fuse", source, "-o", tmp_path / "out", *arguments)
    assert outcome.code == 0, outcome.err
    assert "cases: 2; method: fake" in outcome.err
    assert [read_png(tmp_path / "out" / f"k{level}.png").max() for level in (0, 1)] == [0, 1]
    assert choices == [MethodChoice(method="made", seed=7, compute=Compute(backend="ort-cpu", batch=2))]

    # An option that its entry does not name is refused.
    refused = cli("fuse", source, "-o", tmp_path / "out", "--method", "made", "--steps", 4)
    assert refused.code == 2
    assert "--method made does not take this option" in " ".join(refused.err.split())


def test_a_method_is_added_by_one_module_and_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def brightest(m1: RGB, m2: RGB, functional: RGB) -> RGB:
        return np.maximum(np.maximum(m1, m2), functional)

    module = ModuleType("brightest")
    module.__dict__["fuse"] = brightest
    monkeypatch.setitem(sys.modules, "brightest", module)
    monkeypatch.setitem(METHODS, "brightest", MethodEntry(description="the brightest pixel", module="brightest"))
    method = load_method(MethodChoice(method="brightest", scale=2))
    assert isinstance(method, TwoStage)
    images = [np.full((2, 2, 3), level, np.uint8) for level in (10, 30, 20)]
    (fused,) = method.fuse([images], ["a"], size=(4, 4))
    np.testing.assert_array_equal(fused, np.full((4, 4, 3), 30))
    assert method.provenance()["versions"].keys() == {"numpy", "PIL"}
    assert method.notice == ""
