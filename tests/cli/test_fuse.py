"""`tfs-rt fuse` as a user meets it: cases, results, failures, exit codes."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.helpers import Cli, png, read_png, write_case
from support.paths import ROOT
from tfs_rt.backends.registry import BACKENDS, automatic_backends
from tfs_rt.models.bundle import Bundle
from tfs_rt_reference.network import UNet


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_the_shipped_examples_are_fused_with_full_provenance(tmp_path: Path, cli: Cli) -> None:
    assert cli("fuse", ROOT / "examples", "-o", tmp_path, "--sheet").code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["cases"], report["done"], report["failed"]) == (4, 4, 0)
    for result in report["results"]:
        image = tmp_path / result["file"]
        sidecar = json.loads((tmp_path / f"{result['id']}.json").read_text())
        assert pixels(image).shape == (256, 256, 3)
        assert hashlib.sha256(image.read_bytes()).hexdigest() == sidecar["result"]["sha256"]
        for slot, name in (("m1", "mr-t1"), ("m2", "mr-t2"), ("functional", "pet")):
            source = ROOT / "examples" / result["id"] / f"{name}.png"
            assert sidecar["inputs"][slot]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        assert {"model", "recipe", "seed", "backend", "versions", "notice"} <= set(sidecar)
    assert pixels(tmp_path / "sheets" / "001.png").shape[1] == 4 * (256 + 8) + 8


def test_four_ways_to_name_a_case_give_the_same_pixels(tmp_path: Path, cli: Cli) -> None:
    case = write_case(tmp_path / "folders" / "k1")
    files = {"m1": case / "mr-t1.png", "m2": case / "mr-t2.png", "functional": case / "pet.png"}
    flat = tmp_path / "flat"
    flat.mkdir()
    for i, file in enumerate(files.values()):
        shutil.copy(file, flat / f"k1_{i:04d}.png")
    (tmp_path / "cases.csv").write_text("id,m1,m2,functional\nk1," + ",".join(map(str, files.values())) + "\n")
    singles = [part for slot, file in files.items() for part in (f"--{slot}", file)]
    ways = {"a": [tmp_path / "folders"], "b": [flat], "c": [tmp_path / "cases.csv"], "d": singles}
    for out, way in ways.items():
        assert cli("fuse", *way, "-o", tmp_path / out, "-q").code == 0
    first = (tmp_path / "a" / "k1.png").read_bytes()
    assert all((tmp_path / out / "k1.png").read_bytes() == first for out in ways)


def test_batch_order_and_company_change_no_byte(tmp_path: Path, cli: Cli) -> None:
    for i, name in enumerate("abcde"):
        write_case(tmp_path / "in" / name, size=16 if i != 2 else 20, m1=("mr-t1", "ct")[i % 2])
    runs = {
        "one": ["--batch", 1, tmp_path / "in"],
        "four": ["--batch", 4, tmp_path / "in"],
        "back": ["--batch", 2, *(tmp_path / "in" / name for name in "edcba")],
        "alone": [tmp_path / "in" / "d"],
    }
    for out, arguments in runs.items():
        assert cli("fuse", *arguments, "-o", tmp_path / out, "-q", "--seed", 5).code == 0
    for image in sorted((tmp_path / "one").glob("*.png")):
        for out in ("four", "back", *(["alone"] if image.stem == "d" else [])):
            assert (tmp_path / out / image.name).read_bytes() == image.read_bytes()


def test_samplers_steps_and_spacing_can_be_chosen_and_are_recorded(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a")
    for sampler, steps, eta in (("ddim", 1, 0.5), ("dpmpp-2m", 3, 0.0), ("ddpm", 2, 0.0)):
        options = ["--sampler", sampler, "--steps", steps, *(["--eta", eta] if sampler == "ddim" else [])]
        done = cli("fuse", tmp_path / "in", "-o", tmp_path / sampler, *options)
        assert done.code == 0
        recipe = json.loads((tmp_path / sampler / "a.json").read_text())["recipe"]
        assert (recipe["sampler"], recipe["steps"], recipe["eta"]) == (sampler, steps, eta)


def test_target_size_takes_inputs_as_they_are(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a", size=64)
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--target-size", "64").code == 0
    assert pixels(tmp_path / "out" / "a.png").shape == (64, 64, 3)
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "wide", "--target-size", "80x48").code == 0
    assert pixels(tmp_path / "wide" / "a.png").shape == (48, 80, 3)


def test_a_size_far_from_the_training_size_is_made_with_a_warning(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a", size=18)
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert done.code == 0
    assert "result is 72x72, the model was trained at 256x256" in done.err
    assert json.loads((tmp_path / "out" / "a.json").read_text())["warnings"]
    assert pixels(tmp_path / "out" / "a.png").shape == (72, 72, 3)


def test_the_report_goes_to_stdout_and_talk_to_stderr(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a")
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert json.loads(done.out)["done"] == 1
    assert "1 of 1 cases fused" in done.err
    quiet = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "-q")
    assert (quiet.out, quiet.err) == ("", "")


def missing(case: Path) -> None:
    (case / "pet.png").unlink()


def mixed_sizes(case: Path) -> None:
    (case / "pet.png").write_bytes(png(np.full((8, 8, 3), [200, 0, 0], dtype=np.uint8)))


def sixteen_bit(case: Path) -> None:
    (case / "mr-t1.png").write_bytes(png(np.zeros((16, 16), dtype=np.uint16)))


def transparent(case: Path) -> None:
    (case / "mr-t2.png").write_bytes(png(np.zeros((16, 16, 4), dtype=np.uint8)))


def truncated(case: Path) -> None:
    data = (case / "pet.png").read_bytes()
    (case / "pet.png").write_bytes(data[: len(data) // 2])


def swapped(case: Path) -> None:
    grey = (case / "mr-t1.png").read_bytes()
    colour = (case / "pet.png").read_bytes()
    (case / "mr-t1.png").write_bytes(colour)
    (case / "pet.png").write_bytes(grey)


def uncoloured(case: Path) -> None:
    (case / "pet.png").write_bytes(png(np.asarray(Image.open(case / "mr-t1.png")) // 2))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (missing, "found 0 functional images"),
        (mixed_sizes, "expected 3 images of one size, got mr-t1.png 16x16, mr-t2.png 16x16, pet.png 8x8"),
        (sixteen_bit, "bad/mr-t1.png: 16-bit image"),
        (transparent, "bad/mr-t2.png: has transparent pixels"),
        (truncated, "bad/pet.png: damaged or truncated PNG"),
        (swapped, "bad/mr-t1.png: is in colour, but m1 is an anatomical image"),
        (uncoloured, "bad/pet.png: has no colour"),
    ],
)
def test_a_bad_case_stops_only_itself(tmp_path: Path, cli: Cli, spoil: Callable[[Path], None], words: str) -> None:
    for name in ("a", "bad", "c"):
        write_case(tmp_path / "in" / name)
    spoil(tmp_path / "in" / "bad")
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert done.code == 3
    (line,) = [line for line in done.err.splitlines() if line.startswith("failed")]
    assert words in line
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["a.png", "c.png"]
    statuses = {r["id"]: r["status"] for r in json.loads((tmp_path / "out" / "report.json").read_text())["results"]}
    assert statuses == {"a": "done", "bad": "failed", "c": "done"}


def test_all_bad_is_exit_4(tmp_path: Path, cli: Cli) -> None:
    missing(write_case(tmp_path / "in" / "bad"))
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out").code == 4


def test_a_result_that_is_made_anew_never_stands_beside_an_old_sidecar(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a")
    images = []
    for seed in (0, 1):
        assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--seed", seed, "--overwrite").code == 0
        images += [path.read_bytes() for path in (tmp_path / "out").glob("*.png")]
    assert len({*images}) == len(images)  # each seed has noise of its own
    sidecar = json.loads((tmp_path / "out" / "a.json").read_text())
    assert sidecar["seed"] == 1
    assert sidecar["result"]["sha256"] == hashlib.sha256((tmp_path / "out" / "a.png").read_bytes()).hexdigest()


def test_a_failed_case_does_not_keep_the_result_of_an_earlier_run(tmp_path: Path, cli: Cli) -> None:
    case = write_case(tmp_path / "in" / "a")
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out").code == 0
    truncated(case)
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out").code == 4
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".tfs-rt", "report.json"]


def test_no_input_is_ever_overwritten_or_removed(tmp_path: Path, cli: Cli) -> None:
    case = write_case(tmp_path / "pet")
    (case / "pet.json").write_text(json.dumps({"case": "pet"}))
    before = {path.name: path.read_bytes() for path in case.iterdir()}
    done = cli("fuse", case, "-o", case)
    assert done.code == 4
    assert "is an input of this run" in done.err
    assert {path.name: path.read_bytes() for path in case.iterdir() if path.name in before} == before


def test_a_hostile_id_touches_nothing_outside(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"case": "../x"}))
    (tmp_path / "x.png").write_bytes(b"mine")
    (tmp_path / "cases.csv").write_text("id,m1,m2,functional\n../x,,b,c\n")
    assert cli("fuse", tmp_path / "cases.csv", "-o", tmp_path / "out").code == 4
    assert (tmp_path / "x.json").exists()
    assert (tmp_path / "x.png").exists()


def test_names_that_are_no_unicode_stop_nothing(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a")
    odd = tmp_path / "in" / os.fsdecode(b"caf\xe9")
    write_case(odd)
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert done.code == 3
    assert "cannot name a result" in done.err
    deeper = write_case(tmp_path / os.fsdecode(b"\xe9t\xe9") / "b")
    assert cli("fuse", deeper, "-o", tmp_path / "out2").code == 0
    assert json.loads((tmp_path / "out2" / "b.json").read_text())["inputs"]["m1"]["file"].endswith("mr-t1.png")


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "cases.csv").write_text("id,m1,m2,functional\na\x1b[31mX" + "y" * 5000 + ",a,b,c\n")
    done = cli("fuse", tmp_path / "cases.csv", "-o", tmp_path / "out")
    assert "\x1b" not in done.err
    assert len(done.err) < 1500


def test_a_result_beyond_the_limit_is_refused_before_it_is_made(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a", size=1100)
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert (done.code, "4400x4400 pixels, more than 4096x4096" in done.err) == (4, True)


def test_a_stretched_result_is_made_with_a_warning(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a")
    assert (
        "16x16 is stretched to 256x128"
        in cli("fuse", tmp_path / "in", "-o", tmp_path / "o", "--target-size", "256x128").err
    )


@pytest.mark.parametrize(
    ("signum", "code", "word"),
    [("SIGINT", 130, "interrupted"), pytest.param("SIGTERM", 143, "terminated", marks=pytest.mark.slow)],
)
def test_a_signal_ends_a_run_with_its_code_and_a_report(tmp_path: Path, signum: str, code: int, word: str) -> None:
    for i in range(40):
        write_case(tmp_path / "in" / f"k{i:02d}", size=64)
    line = ["fuse", "--backend", "ort-cpu", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    command = [sys.executable, "-m", "tfs_rt", *line]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "out").glob("*.json")):
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(getattr(signal, signum))
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert said.strip().endswith(f"tfs-rt: {word}")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["cases"], report["ended"]) == (40, "interrupted")
    assert report["done"] + len(report["not_run"]) == 40
    names = {path.stem for path in (tmp_path / "out").glob("k*.json")}
    assert names == {path.stem for path in (tmp_path / "out").glob("k*.png")}
    assert [path.name for path in (tmp_path / "out").glob(".*")] == [".tfs-rt"]


def test_a_missing_package_is_named_with_what_to_install(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(tmp_path / "in" / "a")
    for name in automatic_backends():
        monkeypatch.setitem(sys.modules, BACKENDS[name].module, None)
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert done.code == 6
    assert "pip install 'tfs-rt[cpu]'" in done.err


def test_auto_takes_the_first_backend_that_runs_and_says_which(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, halved: tuple[Bundle, UNet]
) -> None:
    write_case(tmp_path / "in" / "a")
    narrow = cli("fuse", tmp_path / "in", "-o", tmp_path / "narrow", "--model", halved[0].path)  # 8 channels a layer
    assert "backend: ort-cpu" in narrow.err
    assert "backend: winograd" in cli("fuse", tmp_path / "in", "-o", tmp_path / "1").err
    monkeypatch.setitem(sys.modules, "tfs_rt.backends.winograd.backend", None)
    assert "backend: ort-cpu" in cli("fuse", tmp_path / "in", "-o", tmp_path / "2").err
    images = [read_png(tmp_path / folder / "a.png").astype(int) for folder in ("1", "2")]
    assert np.abs(images[0] - images[1]).max() <= 1


def test_sheets_of_an_earlier_larger_run_do_not_stay(tmp_path: Path, cli: Cli) -> None:
    for i in range(7):
        write_case(tmp_path / "in" / f"k{i}")
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--sheet").code == 0
    assert len(list((tmp_path / "out" / "sheets").iterdir())) == 2
    assert cli("fuse", tmp_path / "in" / "k0", "-o", tmp_path / "out", "--sheet").code == 0
    assert [path.name for path in (tmp_path / "out" / "sheets").iterdir()] == ["001.png"]


def test_only_what_is_provably_ours_is_ever_removed(tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "bad.json").write_text('{"mine": 1}')
    (out / "bad.png").write_bytes(b"mine")
    truncated(write_case(tmp_path / "in" / "bad"))
    assert cli("fuse", tmp_path / "in", "-o", out).code == 4
    assert (out / "bad.png").read_bytes() == b"mine"
    assert (out / "bad.json").exists()


def test_files_of_a_refused_row_are_inputs_too(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a")
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out").code == 0
    (tmp_path / "out" / "l.csv").write_text("id,m1,m2,functional\na,a.png,,a.png\n")  # an earlier result as an input
    assert cli("fuse", tmp_path / "out" / "l.csv", "-o", tmp_path / "out").code == 4
    assert (tmp_path / "out" / "a.png").exists()


def test_a_run_that_cannot_end_leaves_no_earlier_report_standing(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a")
    out = tmp_path / "out"
    assert cli("fuse", tmp_path / "in", "-o", out).code == 0
    (out / "sheets").write_text("in the way")
    assert cli("fuse", tmp_path / "in", "-o", out, "--seed", 5, "--sheet", "--overwrite").code == 6
    assert json.loads((out / "report.json").read_text())["seed"] == 5


def test_a_case_with_a_report_of_its_own_is_still_a_case(tmp_path: Path, cli: Cli) -> None:
    case = write_case(tmp_path / "in" / "a")
    (case / "report.json").write_text('{"radiology": "report"}')
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "a.png").exists()


def test_the_source_can_be_the_output_more_than_once(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a")
    for _ in range(2):
        assert cli("fuse", tmp_path / "in", "-o", tmp_path / "in", "--sheet").code == 0


def test_a_pipe_stops_only_its_own_case(tmp_path: Path, cli: Cli) -> None:
    good = write_case(tmp_path / "in" / "a")
    bad = write_case(tmp_path / "in" / "b")
    (bad / "pet.png").unlink()
    os.mkfifo(tmp_path / "pipe")
    files = ",".join(str(good / name) for name in ("mr-t1.png", "mr-t2.png"))
    (tmp_path / "l.csv").write_text(
        f"id,m1,m2,functional\na,{files},{good / 'pet.png'}\nb,{files},{tmp_path / 'pipe'}\n"
    )
    done = cli("fuse", tmp_path / "l.csv", "-o", tmp_path / "out")
    assert (done.code, "it is a pipe, a device or a socket" in done.err) == (3, True)


def test_neither_a_bundle_nor_sheets_that_are_inputs_are_written_into(tmp_path: Path, cli: Cli, edited: Path) -> None:
    case = write_case(tmp_path / "case")
    done = cli("fuse", case, "-o", edited)
    assert (done.code, "is a model's bundle" in done.err) == (2, True)
    sheets = tmp_path / "out" / "sheets"
    sheets.mkdir(parents=True)
    shutil.copy(case / "mr-t1.png", sheets / "001.png")
    (tmp_path / "l.csv").write_text(
        f"id,m1,m2,functional\nx,{sheets / '001.png'},{case / 'mr-t2.png'},{case / 'pet.png'}\n"
    )
    before = (sheets / "001.png").read_bytes()
    assert cli("fuse", tmp_path / "l.csv", "-o", tmp_path / "out", "--sheet").code == 2
    assert (sheets / "001.png").read_bytes() == before


def test_a_folder_in_the_way_of_a_result_stops_only_its_case(tmp_path: Path, cli: Cli) -> None:
    for name in ("a", "b"):
        write_case(tmp_path / "in" / name)
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert (done.code, "is a folder where a result should go" in done.err) == (3, True)
    assert (tmp_path / "out" / "b.png").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="limits on address space are Linux's")
def test_a_model_is_loaded_within_two_gigabytes_of_address_space(tmp_path: Path) -> None:
    import resource

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))

    case = write_case(tmp_path / "case")
    command = [sys.executable, "-m", "tfs_rt", "fuse", str(case), "-o", str(tmp_path / "out"), "-q"]
    ended = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited, timeout=120, check=False)
    assert ended.returncode in (0, 6), ended.stderr  # 6 where the libraries alone map more
    assert "internal error" not in ended.stderr
