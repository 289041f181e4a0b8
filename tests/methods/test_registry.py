"""The registry of fusion methods: its entries are true, and one entry and one module are enough to add a method."""

import re
import sys
import tomllib
from types import ModuleType

import numpy as np
import pytest

from support.paths import ROOT
from tfs_rt.errors import EnvironmentFault, UsageError
from tfs_rt.images import RGB
from tfs_rt.methods.registry import DEFAULT_METHOD, METHODS, MethodEntry, check_options, load_module
from tfs_rt.methods.two_stage import TwoStage

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_module_imports_its_packages_and_its_extra_installs_them(name: str) -> None:
    entry = METHODS[name]
    assert load_module(name).__name__ == entry.module
    assert set(entry.packages) <= sys.modules.keys()
    if entry.extra:
        requirements = PROJECT["optional-dependencies"][entry.extra]
        installed = {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}  # type: ignore[index]
        assert set(entry.packages) <= installed


def test_the_default_method_needs_a_model_and_takes_all_options() -> None:
    assert METHODS[DEFAULT_METHOD].bundle_kind == "diffusion"
    every_option = {option for entry in METHODS.values() for option in entry.options}
    assert set(METHODS[DEFAULT_METHOD].options) == every_option


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


def test_a_method_is_added_by_one_module_and_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def brightest(m1: RGB, m2: RGB, functional: RGB) -> RGB:
        return np.maximum(np.maximum(m1, m2), functional)

    module = ModuleType("brightest")
    module.__dict__["fuse"] = brightest
    monkeypatch.setitem(sys.modules, "brightest", module)
    monkeypatch.setitem(METHODS, "brightest", MethodEntry(description="the brightest pixel", module="brightest"))
    method = TwoStage("brightest", 2)
    images = [np.full((2, 2, 3), level, np.uint8) for level in (10, 30, 20)]
    (fused,) = method.fuse([images], ["a"], size=(4, 4))
    np.testing.assert_array_equal(fused, np.full((4, 4, 3), 30))
    assert method.provenance()["versions"].keys() == {"numpy", "PIL"}
    assert method.notice == ""
