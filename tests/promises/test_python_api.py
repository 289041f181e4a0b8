"""The Python API as a user calls it: what it takes, what it refuses and how; pickled, forked and on several threads."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.helpers import Cli, write_case
from support.shared_work import real_load
from tfs_rt.errors import EnvironmentFault, InputError, LimitReached, ModelError, TfsRtError, UsageError
from tfs_rt.images import RGB
from tfs_rt.methods.diffusion import Pipeline, load_fusion_bundle, load_pipeline
from tfs_rt.methods.two_stage import TwoStage
from tfs_rt.models.bundle import load_bundle
from tfs_rt.models.manifest import write_manifest
from tfs_rt.output.provenance import pixel_settings
from tfs_rt.sampling.engine import ImageBatch

SIZE = (32, 40)


def case(seed: int = 0, size: tuple[int, int] = (8, 10)) -> list[RGB]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for _ in range(3)]


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline("tfs-rt/x4", threads=2)


@pytest.mark.parametrize(
    "given", [Image.fromarray, np.ndarray.tolist, lambda image: list(image)], ids=["Pillow", "lists", "rows"]
)
def test_pillow_images_and_lists_are_taken(pipeline: Pipeline, given: Callable[[RGB], Any]) -> None:
    (expected,) = pipeline.fuse([case()], ["a"], size=SIZE)
    np.testing.assert_array_equal(pipeline.fuse([[given(image) for image in case()]], ["a"], size=SIZE)[0], expected)


def test_a_grey_pillow_image_is_an_anatomical_one(pipeline: Pipeline) -> None:
    images: list[Any] = case()
    grey = images[0][..., 0]
    (expected,) = pipeline.fuse([[np.dstack([grey] * 3), *images[1:]]], ["a"], size=SIZE)
    (found,) = pipeline.fuse([[Image.fromarray(grey), *images[1:]]], ["a"], size=SIZE)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="case a, functional: found a Pillow image of mode L, expected RGB"):
        pipeline.fuse([[*images[:2], Image.fromarray(grey)]], ["a"], size=SIZE)


REFUSED: list[tuple[type[Exception], str, Callable[[list[RGB]], Any]]] = [
    (ValueError, "case a, m1: found float64 (8, 10, 3), expected uint8", lambda c: [image / 255 for image in c]),
    (ValueError, "case a, m1: found uint16 (8, 10, 3)", lambda c: [image.astype(np.uint16) for image in c]),
    (ValueError, "case a, m2: found uint8 (8, 10), expected", lambda c: [c[0], c[1][..., 0], c[2]]),
    (ValueError, "case a, functional: found uint8 (8, 10, 4)", lambda c: [*c[:2], np.dstack([c[2], c[2][..., 0]])]),
    (ValueError, "case a, m1: found an image without pixels, (0, 10, 3)", lambda c: [image[:0] for image in c]),
    (ValueError, "case a, m1: found an image without pixels, (8, 0, 3)", lambda c: [image[:, :0] for image in c]),
    (ValueError, "case a: found 2 images, expected 3 images", lambda c: c[:2]),
    (ValueError, "case a: found m1 10x8, m2 10x8, functional 10x3", lambda c: [*c[:2], c[2][:3]]),
    (ValueError, "case a, m2: found lists of float64", lambda c: [c[0], (c[1] / 255).tolist(), c[2]]),
    (ValueError, "case a, m2: found lists of int64", lambda c: [c[0], (c[1].astype(int) + 1).tolist(), c[2]]),
    (ValueError, "case a, m2: found lists of different lengths", lambda c: [c[0], [[[1, 2, 3]], [[1, 2]]], c[2]]),
    (ValueError, "case a, m2: found uint8 (0,), expected", lambda c: [c[0], [], c[2]]),
    (ValueError, "found a Pillow image of mode RGBA", lambda c: [Image.fromarray(c[0]).convert("RGBA"), *c[1:]]),
    (ValueError, "found a Pillow image of mode P", lambda c: [Image.fromarray(c[0]).convert("P"), *c[1:]]),
    (TypeError, "case a, m1: found NoneType, expected uint8 (h, w, 3), a Pillow", lambda c: [None, *c[1:]]),
    (TypeError, "case a, functional: found str", lambda c: [*c[:2], "pet.png"]),
    (TypeError, "case a, m1: found str", lambda c: dict.fromkeys(("m1", "m2", "functional")) and ["m1", *c[1:]]),
    (TypeError, "case a, m1: found a masked array", lambda c: [np.ma.masked_array(c[0]), *c[1:]]),
    (TypeError, "case a, m2: found a masked array", lambda c: [c[0], list(np.ma.masked_array(c[1])), c[2]]),
    (TypeError, "case a: found dict, expected a list", lambda c: dict(zip("abc", c, strict=True))),
    (TypeError, "case a: found NoneType, expected a list", lambda c: None),
]


@pytest.mark.parametrize(("kind", "words", "spoil"), REFUSED, ids=[words for _, words, _ in REFUSED])
@pytest.mark.parametrize("fuser", ["model", "bitonicx"])
def test_what_is_not_a_case_is_refused_in_words(
    pipeline: Pipeline, fuser: str, kind: type[Exception], words: str, spoil: Callable[[list[RGB]], Any]
) -> None:
    fuse = pipeline.fuse if fuser == "model" else TwoStage("bitonicx", 4).fuse
    with pytest.raises(kind, match=re.escape(words)):
        fuse([spoil(case())], ["a"], size=SIZE)


@pytest.mark.parametrize(
    ("kind", "words", "change"),
    [
        (ValueError, "3 cases with 1 ids: give a list of cases", {"cases": case()}),
        (TypeError, "ids: found int 7, expected a str", {"ids": [7]}),
        (ValueError, "size: found (0, 40), expected (height, width)", {"size": (0, 40)}),
        (ValueError, "size: found (32.0, 40), expected (height, width)", {"size": (32.0, 40)}),
        (ValueError, "size: found (32, 40, 3), expected (height, width)", {"size": (32, 40, 3)}),
        (TypeError, "seed: found float 1.0, expected an int", {"seed": 1.0}),
        (TypeError, "seed: found bool True, expected an int", {"seed": True}),
        (ValueError, "0 cases with 0 ids: give a list of cases", {"cases": [], "ids": []}),
        (TypeError, "cases: found generator, expected a list of cases", {"cases": (c for c in [case()])}),
        (TypeError, "ids: found generator, expected a list of str", {"ids": (i for i in "a")}),
        (ValueError, r"ids: found '\ud800', expected text without lone surrogates", {"ids": ["\ud800"]}),
        (TypeError, "size: found int 64, expected (height, width)", {"size": 64}),
        (TypeError, "size: found str '64', expected (height, width)", {"size": "64"}),
        (TypeError, "size: missing, expected (height, width)", {"size": None}),
        (ValueError, "size: found (True, True), expected (height, width)", {"size": (True, True)}),
    ],
)
def test_what_is_not_a_request_is_refused_in_words(
    pipeline: Pipeline, kind: type[Exception], words: str, change: dict[str, Any]
) -> None:
    arguments: dict[str, Any] = {"cases": [case()], "ids": ["a"], "size": SIZE} | change
    with pytest.raises(kind, match=re.escape(words)):
        pipeline.fuse(**arguments)


def test_a_request_without_its_size_is_refused_by_name(pipeline: Pipeline) -> None:
    with pytest.raises(TypeError, match="size"):
        pipeline.fuse([case()], ["a"])  # pyrefly: ignore[missing-argument]
    with pytest.raises(TypeError, match="size"):
        ImageBatch([case()], ["a"])  # pyrefly: ignore[missing-argument]


@pytest.mark.parametrize(
    ("kind", "words", "how"),
    [
        (TypeError, "model: found NoneType, expected a bundle's folder", {"model": None}),
        (ValueError, "backend: found 'cuda', expected one of auto, ort-cpu", {"backend": "cuda"}),
        (ValueError, "threads: found 0, expected a number from 1 to", {"threads": 0}),
        (ValueError, "threads: found 1.5, expected a number from 1 to", {"threads": 1.5}),
        (TypeError, "threads: found bool True, expected a number from 1 to", {"threads": True}),
        (UsageError, "--threads: tensorrt computes on a GPU", {"backend": "tensorrt", "threads": 2}),
        (TypeError, "recipe: found a function that returns NoneType", {"recipe": lambda own: None}),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_words(kind: type[Exception], words: str, how: dict[str, Any]) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        load_pipeline(**how)
    if "model" in how:
        with pytest.raises(kind, match=re.escape(words)):
            load_fusion_bundle(how["model"])


def fuse_elsewhere(pipeline: Pipeline) -> tuple[int, RGB]:
    return os.getpid(), pipeline.fuse([case(1)], ["b"], size=SIZE)[0]


@pytest.mark.parametrize("backend", ["winograd", "ort-cpu"])
def test_a_pickled_pipeline_is_loaded_anew_as_it_was(backend: str) -> None:
    given = load_pipeline(
        "tfs-rt/x4", backend=backend, recipe=lambda own: dataclasses.replace(own, steps=3, eta=0.5), threads=1
    )
    copy = pickle.loads(pickle.dumps(given))
    assert (copy.backend, copy.recipe, copy.threads) == (backend, given.recipe, 1)
    assert pixel_settings(copy.provenance()) == pixel_settings(given.provenance())
    np.testing.assert_array_equal(fuse_elsewhere(copy)[1], fuse_elsewhere(given)[1])


def test_a_pipeline_may_be_sent_to_a_process_that_is_spawned(pipeline: Pipeline) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        process, image = pool.apply(fuse_elsewhere, (pipeline,))
    assert process != os.getpid()
    np.testing.assert_array_equal(image, fuse_elsewhere(pipeline)[1])


def test_a_pipeline_whose_bundle_was_changed_is_not_loaded(
    x4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(x4, tmp_path / "b")
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(load_pipeline("b", threads=1))  # by a path that holds only here
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).backend == "winograd"
    write_manifest(tmp_path / "b", dataclasses.replace(load_bundle(tmp_path / "b").manifest, name="other"))
    with pytest.raises(ModelError, match="was changed after the pipeline was pickled: load the pipeline anew"):
        pickle.loads(pickled)
    shutil.rmtree(tmp_path / "b")
    with pytest.raises(ModelError, match="no bundle there"):
        pickle.loads(pickled)


@pytest.mark.parametrize("kind", [InputError, ModelError, EnvironmentFault, LimitReached])
def test_an_error_comes_back_from_another_process_as_it_was(kind: type[TfsRtError]) -> None:
    """Pickled by its message alone it could not be made again, and a pool would wait for ever."""
    given = kind("a.png", "is damaged", "write it again")
    found = pickle.loads(pickle.dumps(given))
    assert (type(found), str(found), found.remedy) == (kind, str(given), given.remedy)


@pytest.mark.parametrize("backend", ["winograd", "ort-cpu", "openvino"])
def test_a_pipeline_serves_several_threads(backend: str) -> None:
    given = load_pipeline("tfs-rt/x4", backend=backend, threads=2)
    expected = [given.fuse([case(seed)], ["a"], size=SIZE)[0] for seed in range(3)]
    with ThreadPoolExecutor(6) as pool:
        for i, found in enumerate(pool.map(lambda i: given.fuse([case(i % 3)], ["a"], size=SIZE)[0], range(36))):
            np.testing.assert_array_equal(found, expected[i % 3])


FORKS = """
import os, signal, sys, threading, time
import numpy as np
from tfs_rt.methods.diffusion import load_pipeline
pipeline = load_pipeline("tfs-rt/x4", backend=sys.argv[1], threads=2)
case = [np.full((8, 10, 3), value, np.uint8) for value in (10, 90, 200)]
def fuse(): return pipeline.fuse([case], ["a"], size=(32, 40))[0]
expected = fuse()
def compute():
    while True: fuse()
for _ in range(2): threading.Thread(target=compute, daemon=True).start()
answers = []
for _ in range(3):
    time.sleep(0.02)
    child = os.fork()
    if not child:
        signal.alarm(30)  # ends it, if it waits for what is not there
        os._exit(not np.array_equal(fuse(), expected))
    answers.append(os.waitpid(child, 0)[1])
print(answers, flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("backend", ["winograd", "ort-cpu", "openvino", pytest.param("torch", marks=pytest.mark.slow)])
def test_a_process_forked_while_other_threads_fuse_can_fuse(backend: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKS, backend]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ended.stdout == f"{[0] * 3}\n", ended.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_with_a_session_of_onnx_runtime_ends() -> None:
    """As programs end, not by os._exit: what ends the session would wait for its threads, or crash."""
    code = """
import os, signal, sys
from tfs_rt.methods.diffusion import load_pipeline
pipeline = load_pipeline("tfs-rt/x4", backend="ort-cpu", threads=4)
child = os.fork()
if not child:
    signal.alarm(30)
    sys.exit(0)
print(os.waitpid(child, 0)[1], flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "0\n", ended.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_during_a_call_that_does_not_end_is_told_to_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import os, signal
from tfs_rt.backends.host import ForkGuard
from tfs_rt.errors import EnvironmentFault
ForkGuard.LONGEST_WAIT_SECONDS = 0.05
guard = ForkGuard("openvino")
def fork(*_):
    global child
    child = os.fork()
    if child: return
    try:
        with guard.call(): os._exit(0)
    except EnvironmentFault as fault: os._exit(7 if "forked during a computation" in fault.reason else 8)
signal.signal(signal.SIGUSR1, fork)
with guard.call(): os.kill(os.getpid(), signal.SIGUSR1)  # the handler cannot wait for the call that it interrupts
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
with guard.call(): print("the parent goes on")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "7\nthe parent goes on\n", ended.stderr


def test_auto_says_in_the_run_and_the_sidecar_why_it_took_another(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(tmp_path / "in" / "k0")
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "asked", "--backend", "ort-cpu").code == 0
    forbidden = "this system does not let a program run code that it has generated"

    def refuse(shape: object) -> None:
        raise EnvironmentFault("backend winograd", forbidden, "choose --backend ort-cpu")

    # A model that an earlier test has loaded was checked then: load it anew.
    monkeypatch.setattr("tfs_rt.backends.winograd.backend.load", real_load())
    monkeypatch.setattr("tfs_rt.backends.winograd.backend.machine", refuse)
    ended = cli("fuse", tmp_path / "in", "-o", tmp_path / "auto")
    reason = f"winograd does not run: {forbidden}"
    assert f"backend: ort-cpu ({reason})" in ended.err.replace("\n", " ")
    asked, auto = (json.loads((tmp_path / name / "k0.json").read_text()) for name in ("asked", "auto"))
    assert (auto["backend"], auto["auto"]) == ("ort-cpu", reason)
    assert "auto" not in asked
    assert auto["recipe_sha256"] == asked["recipe_sha256"]  # it decides no pixel
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "auto", "--backend", "ort-cpu").code == 0  # and goes on


def test_the_import_of_the_first_versions_still_works() -> None:
    from tfs_rt.pipeline import load_pipeline as earlier

    assert earlier is load_pipeline
