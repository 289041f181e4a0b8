"""`tfs-rt fuse --method`: the classical methods through the command that runs the models."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import caching
from PIL import Image

from support.helpers import Cli, write_case
from tfs_rt.cases.load import read_file
from tfs_rt.methods import compiled
from tfs_rt.methods.bitonicx import fuse as bitonicx
from tfs_rt.methods.ctsr import fuse as ctsr


@pytest.mark.parametrize(("name", "fuse"), [("bitonicx", bitonicx.fuse), ("ctsr", ctsr.fuse)])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_result_is_the_method_on_upsampled_images(tmp_path: Path, cli: Cli, name: str, fuse, scale: int) -> None:
    write_case(tmp_path / "in" / "k", size=16, m1="ct")
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--method", name, "--scale", scale, "--sheet")
    assert done.code == 0, done.err
    side = 16 * scale
    images = []
    for part in ("ct", "mr-t2", "pet"):
        with Image.open(tmp_path / "in" / "k" / f"{part}.png") as image:
            images.append(np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)))
    np.testing.assert_array_equal(read_file(tmp_path / "out" / "k.png")[0], fuse(*images))
    sidecar = json.loads((tmp_path / "out" / "k.json").read_text())
    assert sidecar["method"] == name
    assert sidecar["seed"] is None
    assert {"numpy", "PIL", "scipy", "numba"} < sidecar["versions"].keys()
    assert "model" not in sidecar
    assert (tmp_path / "out" / "sheets" / "001.png").exists()


def test_any_pair_of_anatomical_images_is_fused_in_a_fixed_order(tmp_path: Path, cli: Cli) -> None:
    folder = write_case(tmp_path / "in" / "k", size=16, m1="mr-gad")
    (folder / "mr-t2.png").rename(folder / "ct.png")
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--method", "bitonicx", "--scale", "1")
    assert done.code == 0, done.err
    inputs = json.loads((tmp_path / "out" / "k.json").read_text())["inputs"]
    assert [Path(inputs[slot]["file"]).stem for slot in ("m1", "m2", "functional")] == ["ct", "mr-gad", "pet"]
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "model").code == 4  # no model was trained on such a pair


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "tfs-rt/x4"], "--model: --method ctsr does not take this option"),
        (["--steps", "4"], "--steps"),
        (["--sampler", "ddpm"], "--sampler"),
        (["--seed", "0"], "--seed"),
        (["--backend", "auto"], "--backend"),
        (["--scale", "3"], "3 is not a scale: choose 1, 2, 4 or 8"),
    ],
)
def test_options_of_a_model_do_not_go_with_a_method(tmp_path: Path, cli: Cli, options: list[str], words: str) -> None:
    write_case(tmp_path / "in" / "k")
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--method", "ctsr", *options)
    assert done.code == 2
    assert words in done.err


def test_scale_one_without_a_method_says_where_plain_fusion_is(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "k")
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--scale", "1")
    assert (done.code, "--method bitonicx --scale 1 is plain fusion" in done.err) == (2, True)


def test_an_image_too_small_for_a_method_fails_alone(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "large", size=16)
    write_case(tmp_path / "in" / "small", size=6)
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--method", "ctsr", "--scale", "1")
    assert done.code == 3
    assert "CTSR needs at least 8x8 pixels, got 6x6" in done.err
    assert (tmp_path / "out" / "large.png").exists()


def test_a_function_that_cannot_be_kept_is_compiled_all_the_same_and_said_once(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("k0", "k1"):
        write_case(tmp_path / "in" / name)
    monkeypatch.setattr(compiled, "uncached", set())
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # no place is found
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    doubled = compiled.compiled()(lambda number: 2 * number)
    assert doubled(21) == 42
    assert compiled.cache_notice()
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--method", "ctsr", "--scale", "1")
    assert done.code == 0
    assert done.err.count("set NUMBA_CACHE_DIR to a folder that can be written") == 1


@pytest.mark.slow
def test_where_nothing_compiled_can_be_kept_it_is_compiled_anew_and_said_once(tmp_path: Path) -> None:
    for name in ("k0", "k1"):
        write_case(tmp_path / "in" / name)
    code = f"""
import sys
from numba.core import caching
for kind in (caching.CacheImpl, caching.CompileResultCacheImpl): kind._locator_classes = []  # no place is found
from tfs_rt.cli import main
sys.argv = ["tfs-rt", "fuse", {str(tmp_path / "in")!r}, "-o", sys.argv[1], "--method", "ctsr"]
main()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("set NUMBA_CACHE_DIR to a folder that can be written") == 1
    assert (tmp_path / "out" / "k1.png").exists()
