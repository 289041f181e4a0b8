"""A training set: what is in it, who is in which split, and that no interruption changes a byte of it."""

import dataclasses
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from support.helpers import Cli, png, write_case
from tfs_rt.cases.case import Case, FoundCase, RefusedCase
from tfs_rt.cases.discover import discover
from tfs_rt.cases.load import ReadingOptions, load_case, read_file
from tfs_rt.errors import EnvironmentFault, InputError, UsageError
from tfs_rt.images import RGB
from tfs_rt.methods.bitonicx import fuse as bitonicx
from tfs_rt_reference.data.groups import read_groups, read_manifest
from tfs_rt_reference.data.prepare import Request, prepare
from tfs_rt_reference.data.splits import assign_patients, assign_splits


@pytest.fixture(autouse=True)
def shared_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fuse the same three images once: most groups of these tests are the same three images."""
    monkeypatch.setattr(bitonicx, "fuse", fuse_once)


def fuse_once(*images: RGB) -> RGB:
    key = tuple((image.shape, image.tobytes()) for image in images)
    if key not in truths:
        truths[key] = fuse(*images)
    return truths[key]


fuse = bitonicx.fuse  # which the fixture replaces
truths: dict[tuple[tuple[tuple[int, ...], bytes], ...], RGB] = {}


def made_cases(folder: Path, count: int = 4) -> list[FoundCase]:
    for i in range(count):
        write_case(folder / f"p{i // 2}_{i}", size=32, functional="spect" if i % 2 else "pet")
    return discover([folder], any_pair=True)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def request(tmp_path: Path, name: str = "set", *, count: int = 4, **options: Any) -> Request:
    cases = made_cases(tmp_path / "in", count)
    return Request(tmp_path / name, cases, patient="(p[0-9]+)_", test=0.5, val=0, **options)


def test_a_set_holds_sources_degraded_sources_truth_and_every_hash(tmp_path: Path) -> None:
    prepared = prepare(request(tmp_path))
    out = tmp_path / "set"
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["complete"], len(manifest["cases"]), manifest["failed"]) == (True, 4, {})
    assert prepared.splits() == {"train": (2, 1), "val": (0, 0), "test": (2, 1)}
    listed = {name: sha for record in manifest["cases"] for name, sha in record["files"].items()}
    assert all(hashlib.sha256((out / name).read_bytes()).hexdigest() == sha for name, sha in listed.items())
    records = {f"records/{record['id']}.json" for record in manifest["cases"]}
    assert tree(out).keys() == listed.keys() | records | {"manifest.json"}
    record = next(record for record in manifest["cases"] if record["id"] == "p0_1")
    assert [s["modality"] for s in record["sources"].values()] == ["mr-t1", "mr-t2", "spect"]
    source = tmp_path / "in" / "p0_1" / "spect.png"
    assert record["sources"]["functional"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    images = [read_file(tmp_path / "in" / "p0_1" / f"{name}.png")[0] for name in ("mr-t1", "mr-t2", "spect")]
    for channel, image in enumerate(images):
        for scale in (1, 2, 4, 8):
            name = f"{record['split']}/x{scale}/p0_1_{channel:04d}.png"
            side = 32 // scale
            expected = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
            np.testing.assert_array_equal(read_file(out / name)[0], np.asarray(expected))
    np.testing.assert_array_equal(read_file(out / f"{record['split']}/truth/p0_1.png")[0], bitonicx.fuse(*images))


def test_a_prepared_folder_is_one_that_fuse_takes_and_training_reads(tmp_path: Path) -> None:
    prepare(request(tmp_path))
    found = discover([tmp_path / "set" / "test" / "x4"], output=tmp_path / "out")
    groups = read_groups(tmp_path / "set", "test")
    assert [case.id for case in found] == [group.id for group in groups]
    assert all(isinstance(case, Case) for case in found)
    np.testing.assert_array_equal(bitonicx.fuse(*groups[0].sources), groups[0].truth)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_kills_leave_the_tree_of_an_undisturbed_run(tmp_path: Path, workers: int, every: int) -> None:
    """Each run is killed somewhere in its first twenty writes: before a file gets its name, or just after."""
    prepare(request(tmp_path, "undisturbed", count=12))
    again = request(tmp_path, "killed", count=12, workers=workers)
    for kill in range(0, 20, every):
        child = os.fork()
        if child == 0:
            die_at(1 + kill * 7 % 20, after_rename=bool(kill % 2))
            prepare(again)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        for path in (tmp_path / "killed").rglob("*.png"):
            if not path.name.startswith("."):
                read_file(path)  # whole
    prepare(again)
    assert tree(tmp_path / "killed") == tree(tmp_path / "undisturbed")


def die_at(write: int, *, after_rename: bool) -> None:
    writes, rename = itertools.count(1), Path.replace  # `next` is one step, whatever the threads do

    def replace(self: Path, target: str | os.PathLike[str]) -> Path:
        this = next(writes)
        if this == write and not after_rename:
            os.kill(os.getpid(), signal.SIGKILL)
        moved = rename(self, target)
        if this == write:
            os.kill(os.getpid(), signal.SIGKILL)
        return moved

    Path.replace = replace


def test_what_is_done_is_not_done_again_and_what_was_damaged_or_changed_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(tmp_path)
    prepare(asked)
    before = tree(tmp_path / "set")
    fused: list[None] = []
    real = bitonicx.fuse
    monkeypatch.setattr(
        "tfs_rt_reference.data.prepare.bitonicx.fuse", lambda *images: fused.append(None) or real(*images)
    )
    prepare(asked)
    assert (fused, tree(tmp_path / "set")) == ([], before)
    victim = next((tmp_path / "set").glob("*/x4/p0_0_0001.png"))
    victim.write_bytes(victim.read_bytes()[:-9])
    next((tmp_path / "set").glob("*/truth/p1_2.png")).unlink()
    (tmp_path / "set" / "records" / "p1_3.json").write_text("{}")
    prepare(asked)
    assert (len(fused), tree(tmp_path / "set")) == (3, before)
    changed = tmp_path / "in" / "p1_3" / "mr-t1.png"
    changed.write_bytes(png(np.full((32, 32), 9, np.uint8)))
    prepare(asked)
    assert len(fused) == 4
    assert tree(tmp_path / "set").keys() == before.keys()


def test_a_bad_case_stops_only_itself_and_can_be_mended(tmp_path: Path) -> None:
    made_cases(tmp_path / "in")
    whole = (tmp_path / "in" / "p0_1" / "mr-t2.png").read_bytes()
    (tmp_path / "in" / "p0_1" / "mr-t2.png").unlink()
    (tmp_path / "in" / "p1_2" / "pet.png").write_bytes(png(np.zeros((30, 32), np.uint8)))
    write_case(tmp_path / "in" / "p9_9", size=36)
    for name in ("mr-t1", "mr-t2", "pet"):
        write_case(tmp_path / "in" / "p9_8", size=32)
        whole_pixels = read_file(tmp_path / "in" / "p9_8" / f"{name}.png")[0]
        (tmp_path / "in" / "p9_9" / f"{name}.png").write_bytes(png(whole_pixels[:, :30]))
    shutil.rmtree(tmp_path / "in" / "p9_8")
    options = {"patient": "(p[0-9]+)_", "test": 0.5, "val": 0.0}
    prepared = prepare(Request(tmp_path / "set", discover([tmp_path / "in"], any_pair=True), **options))
    reasons = {case: error.reason for case, error in prepared.failed.items()}
    assert reasons["p0_1"].startswith("found 1 anatomical image in mr-t1.png")
    assert "expected 3 images of one size" in reasons["p1_2"]
    assert reasons["p9_9"] == "30x32 cannot be divided by 4"
    assert sorted(prepared.records) == ["p0_0", "p1_3"]
    assert json.loads((tmp_path / "set" / "manifest.json").read_text())["failed"].keys() == reasons.keys()
    (tmp_path / "in" / "p0_1" / "mr-t2.png").write_bytes(whole)
    mended = prepare(Request(tmp_path / "set", discover([tmp_path / "in"], any_pair=True), **options))
    assert sorted(mended.records) == ["p0_0", "p0_1", "p1_3"]


def test_another_recipe_or_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    prepare(request(tmp_path))
    with pytest.raises(UsageError, match="another recipe .it differs in scales."):
        prepare(request(tmp_path, scales=(2,)))
    with pytest.raises(UsageError, match="it differs in cases"):
        prepare(dataclasses.replace(request(tmp_path), patient="(p[0-9]+_[0-9]+)"))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        prepare(request(tmp_path, "foreign"))
    (foreign / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="not a training set's manifest"):
        prepare(request(tmp_path, "foreign"))


def test_an_incomplete_set_is_not_trained_on(tmp_path: Path) -> None:
    prepare(request(tmp_path))
    path = tmp_path / "set" / "manifest.json"
    path.write_text(path.read_text().replace('"complete": true', '"complete": false'))
    assert not read_manifest(tmp_path / "set")["complete"]
    with pytest.raises(InputError, match="run the same tfs-rt prepare again"):
        read_groups(tmp_path / "set", "train")


def named(*ids: str, **labels: list[str]) -> list[FoundCase]:
    return [Case(case, {}, {key: values[i] for key, values in labels.items()}) for i, case in enumerate(ids)]


def test_the_patient_is_told_or_asked_for() -> None:
    assert assign_patients(named("a_1", "a_2", "b_1"), "(.+)_") == {"a_1": "a", "a_2": "a", "b_1": "b"}
    assert assign_patients(named("x", "y", patient=["p", "q"]), None) == {"x": "p", "y": "q"}
    with pytest.raises(UsageError, match=r"case a_1: does not state its patient.* makes it 'a'"):
        assign_patients(named("a_1"), None)
    with pytest.raises(UsageError, match="case b1"):
        assign_patients(named("a_1", "b1", patient=["p", "q"]), "(.+)_")
    assert assign_patients([RefusedCase("odd", InputError("odd", "is odd", "mend it"))], None) == {}


@pytest.mark.parametrize("sizes", [[1] * 20, [35, 16, 21, 6, 1], [5, 5], [3], [1, 1, 1], list(range(1, 30))])
def test_no_patient_is_in_two_splits_and_shares_are_kept(sizes: list[int]) -> None:
    ids = [f"p{i}_{k}" for i, size in enumerate(sizes) for k in range(size)]
    cases = named(*ids)
    patients = assign_patients(cases, "(.+)_")
    splits = assign_splits(cases, patients, val=0.1, test=0.2)
    by_patient = {patient: {splits[c] for c in ids if patients[c] == patient} for patient in patients.values()}
    assert all(len(of) == 1 for of in by_patient.values())
    counts = {split: sum(s == split for s in splits.values()) for split in ("train", "val", "test")}
    assert counts["train"] > 0
    if len(sizes) > 2:
        assert counts["val"] > 0
        assert counts["test"] > 0
        assert counts["test"] <= max(0.2 * len(ids) + 0.5, min(sizes))
    assert splits == assign_splits(cases[::-1], assign_patients(cases[::-1], "(.+)_"), val=0.1, test=0.2)


def test_given_splits_rule_and_may_not_cut_a_patient() -> None:
    cases = named("a", "b", "c", patient=["p", "p", "q"], split=["train", "train", "test"])
    patients = assign_patients(cases, None)
    assert assign_splits(cases, patients, val=0.1, test=0.2) == {"a": "train", "b": "train", "c": "test"}
    cut = named("a", "b", "c", patient=["p", "p", "q"], split=["train", "test", "test"])
    with pytest.raises(UsageError, match="patient p: is in the splits test and train"):
        assign_splits(cut, patients, val=0.1, test=0.2)
    with pytest.raises(UsageError, match="case c: has the split ''"):
        assign_splits(named("a", "b", "c", split=["train", "val", ""]), patients, val=0.1, test=0.2)


def test_the_command_prepares_from_a_csv_and_tells_what_it_made(tmp_path: Path, cli: Cli) -> None:
    made_cases(tmp_path / "in")
    lines = ["id,m1,m2,functional,patient,split"]
    for i in range(4):
        functional = "spect" if i % 2 else "pet"
        files = [f"in/p{i // 2}_{i}/{name}.png" for name in ("mr-t1", "mr-t2", functional)]
        lines.append(",".join([f"k{i}", *files, f"p{i // 2}", ["train", "test"][i // 2]]))
    (tmp_path / "list.csv").write_text("\n".join(lines))
    done = cli("prepare", tmp_path / "list.csv", "-o", tmp_path / "set", "--scales", "4")
    assert done.code == 0
    assert "train: 2 cases of 1 patients" in done.err
    assert sorted(p.name for p in (tmp_path / "set" / "test").iterdir()) == ["truth", "x1", "x4"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--patient '([^_.-]+)', which makes it 'p0'"),
        (["--patient", "p("], "is not a regular expression"),
        (["--patient", "p.*"], "has no group"),
        (["--patient", "(p.)", "--scales", "2,3"], "is not a list of scales"),
        (["--patient", "(p.)", "--scales", "all"], "is not a list of scales"),
        (["--patient", "(p.)", "--val", "0.6", "--test", "0.4"], "leave nothing to train on"),
    ],
)
def test_wrong_use_of_prepare_is_said_in_one_line(tmp_path: Path, cli: Cli, options: list[str], words: str) -> None:
    made_cases(tmp_path / "in")
    done = cli("prepare", tmp_path / "in", "-o", tmp_path / "set", *options)
    assert done.code == 2
    assert words in done.err
    assert not (tmp_path / "set").exists()


def test_only_what_is_provably_a_runs_own_is_ever_deleted(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / ".letter.abcdefgh.tmp").write_text("mine")
    (foreign / ".manifest.json.abcdefgh.tmp").write_text("half")
    with pytest.raises(UsageError, match="is not empty"):
        prepare(request(tmp_path, "foreign"))
    assert len(list(foreign.iterdir())) == 2
    asked = request(tmp_path)
    prepare(asked)
    before = tree(asked.output)
    mine = asked.output / "test" / "x4" / ".note.abcdefgh.tmp"
    mine.write_text("mine")
    name = next((asked.output / "test" / "x4").glob("*.png")).name
    (mine.parent / f".{name}.a1b2c3d4.tmp").write_text("half")
    prepare(asked)
    assert tree(asked.output) == before | {"test/x4/.note.abcdefgh.tmp": b"mine"}


def test_an_id_that_leads_elsewhere_is_refused_and_nothing_there_is_touched(tmp_path: Path) -> None:
    made_cases(tmp_path / "in", 2)
    (tmp_path / "list.csv").write_text(
        "id,m1,m2,functional,patient\n"
        + "".join(
            f"{case},in/p0_0/mr-t1.png,in/p0_0/mr-t2.png,in/p0_0/pet.png,p\n" for case in ("a", "../../../victim")
        )
    )
    victim = tmp_path / ".victim_0000.png.0123abcd.tmp"
    victim.write_text("mine")
    found = discover([tmp_path / "list.csv"], any_pair=True)
    prepared = prepare(Request(tmp_path / "set", found))
    assert (sorted(prepared.records), len(prepared.failed)) == (["a"], 1)
    prepare(Request(tmp_path / "set", found))
    assert victim.exists()


def test_a_run_over_changed_sources_that_is_killed_leaves_no_set_to_train_on(tmp_path: Path) -> None:
    asked = request(tmp_path)
    prepare(asked)
    for path in (tmp_path / "in").glob("*/mr-t1.png"):
        path.write_bytes(png(np.full((32, 32), 9, np.uint8)))
    child = os.fork()
    if child == 0:
        die_at(6, after_rename=True)
        prepare(asked)
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(InputError, match="is not complete"):
        read_groups(asked.output, "test")
    prepare(asked)
    groups = read_groups(asked.output, "test")
    assert all((bitonicx.fuse(*group.sources) == group.truth).all() for group in groups)
    next((asked.output / "test" / "truth").iterdir()).write_bytes(png(np.zeros((32, 32), np.uint8)))
    with pytest.raises(InputError, match="is not the file that the manifest lists"):
        read_groups(asked.output, "test")


def test_a_case_that_fails_now_leaves_nothing_of_its_earlier_success(tmp_path: Path) -> None:
    asked = request(tmp_path)
    prepare(asked)
    (tmp_path / "in" / "p0_1" / "mr-t2.png").write_bytes(b"")
    assert prepare(asked).failed.keys() == {"p0_1"}
    assert not [name for name in tree(asked.output) if "p0_1" in name]


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    asked = request(tmp_path)
    asked.output.mkdir()
    holder = os.open(asked.output, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="another tfs-rt prepare is running there"):
        prepare(asked)
    os.close(holder)
    assert len(prepare(asked).records) == 4


def test_what_is_in_the_way_ends_the_run_with_its_name(tmp_path: Path) -> None:
    asked = request(tmp_path)
    (asked.output / "records" / "p0_0.json").mkdir(parents=True)
    with pytest.raises(UsageError, match="is not empty"):
        prepare(asked)
    shutil.rmtree(asked.output)
    prepare(asked)
    (asked.output / "records" / "p0_0.json").unlink()
    (asked.output / "records" / "p0_0.json").mkdir()
    with pytest.raises(
        EnvironmentFault, match=r"p0_0.json: cannot be written .Is a directory.: remove what is in the way"
    ):
        prepare(asked)


def test_a_full_disk_ends_the_run_and_is_no_cases_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise EnvironmentFault(path, "cannot be written (No space left on device)", "free space")

    asked = request(tmp_path)
    monkeypatch.setattr("tfs_rt_reference.data.prepare.write_file", full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        prepare(asked)
    monkeypatch.undo()
    assert len(prepare(asked).records) == 4


def test_a_first_try_that_made_nothing_is_no_obstacle(tmp_path: Path) -> None:
    write_case(tmp_path / "odd" / "p0_0", size=30)
    wrong = Request(tmp_path / "set", discover([tmp_path / "odd"], any_pair=True), patient="(p[0-9]+)_")
    assert prepare(wrong).records == {}
    assert len(prepare(request(tmp_path)).records) == 4


def test_one_patient_is_written_one_way() -> None:
    with pytest.raises(UsageError, match="patient p1: is also written 'P1'"):
        assign_patients(named("a", "b", patient=["P1", "p1"]), None)


@pytest.mark.parametrize("case", ["ct.1", "pet.a_b"])
def test_an_id_that_begins_like_a_modality_is_found_again(tmp_path: Path, case: str) -> None:
    (found,) = discover([write_case(tmp_path / "in" / "x", size=32)], any_pair=True)
    assert isinstance(found, Case)
    prepare(Request(tmp_path / "set", [Case(case, found.files, {"patient": "p"})]))
    assert [c.id for c in discover([tmp_path / "set" / "train" / "x8"])] == [case]


def volume_case(folder: Path, depth: int, low: float = 0) -> Path:
    """A case of three NIfTI volumes of 16 bits, with a functional image of floats that is NaN outside the head."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x, z = np.mgrid[0:16, 0:16, 0:depth]
    head = np.hypot(y - 7.5, x - 7.5) < 6
    volumes = {"mr-t1": head * (200 + 20 * x + z), "mr-t2": head * (300 + 10 * y), "pet": head * (100.0 + 9 * z + y)}
    for name, values in volumes.items():
        stored = np.where(head, values, np.nan if low else 0) if name == "pet" else values.astype(np.int16)
        nib.Nifti1Image(stored.astype(np.float32 if name == "pet" else np.int16), np.eye(4)).to_filename(
            folder / f"{name}.nii"
        )
    return folder


def test_each_slice_of_a_volume_is_a_group_and_those_of_a_longer_one_are_removed(tmp_path: Path) -> None:
    def prepared(name: str, depth: int) -> dict[str, bytes]:
        volume_case(tmp_path / "in" / "p1", depth)
        reading = ReadingOptions(windows={"functional": (0.0, 300.0)})
        found = discover([tmp_path / "in"], any_pair=True)
        prepare(Request(tmp_path / name, found, (2,), patient="(p1)", test=0, val=0, reading=reading))
        return tree(tmp_path / name)

    prepared("set", 4)
    groups = read_groups(tmp_path / "set", "train")
    assert [group.id for group in groups] == [f"p1-slice00{number}" for number in (1, 2, 3, 4)]
    loaded = load_case(discover([tmp_path / "in"])[0], 1, None, ReadingOptions(windows={"functional": (0.0, 300.0)}))
    for group, images in zip(groups, loaded.slices, strict=True):
        np.testing.assert_array_equal(group.sources, images)
        np.testing.assert_array_equal(group.truth, bitonicx.fuse(*images))
    records = read_manifest(tmp_path / "set")["cases"]
    assert [(record["volume"], record["slice"]) for record in records] == [("p1", k) for k in (1, 2, 3, 4)]
    # With fewer slices, the set is that of a first run.
    assert prepared("set", 3) == prepared("fresh", 3)


def test_prepare_takes_the_options_by_which_images_are_read(tmp_path: Path, cli: Cli) -> None:
    volume_case(tmp_path / "in" / "p1", 2, low=1)
    arguments = ["prepare", tmp_path / "in", "-o", tmp_path / "set", "--patient", "(p1)", "--scales", "2"]
    refused = cli(*arguments)
    assert refused.code == 4
    assert "give --nan background" in refused.err
    done = cli(*arguments, "--nan", "background", "--window", "m1=0:500", "--colormap", "hot")
    assert done.code == 0, done.err
    assert "1 of 1 cases prepared" in done.err
    recipe = read_manifest(tmp_path / "set")["recipe"]
    assert recipe["reading"] == {"windows": {"m1": [0.0, 500.0]}, "colormap": "hot", "nan": "background"}
    other = cli(*arguments, "--nan", "background")
    assert other.code == 2
    assert "differs in reading" in other.err
