"""The output folder of a BIDS dataset is a derivative of it."""

import fnmatch
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from support.bids import DATATYPE, IDS, SIDE, SUFFIXES, write_dataset, write_session
from support.cases import find
from support.crashes import VARYING, run_and_kill, watch_operations
from support.helpers import Cli, InProcessReader
from support.pipelines import blend, pipeline
from tfs_rt.batch import verify as verification
from tfs_rt.batch.request import Options, Request
from tfs_rt.batch.run import Run
from tfs_rt.cases.discover import discover
from tfs_rt.errors import EnvironmentFault, NothingFound, UsageError
from tfs_rt.output.folder import REPORT, SHEETS, SPREAD, STATE, result_stem
from tfs_rt.output.sidecar import read_sidecar
from tfs_rt.system.files import TEMPORARY

PLACES = ("sub-01/anat", "sub-02/ses-a/anat", "sub-02/ses-b/anat")
Begin = Callable[..., Run]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "raw")


@pytest.fixture
def begin(raw: Path, tmp_path: Path) -> Begin:
    """A run over the dataset, or another source, ready to be fused into a folder."""
    made = pipeline(tmp_path, blend)

    def ready(output: Path, source: Path = raw, samples: int = 1, **options: Any) -> Run:
        output.mkdir(parents=True, exist_ok=True)
        request = Request(seed=1, samples=samples)
        return Run(made, Options(output, request, **options), discover([source], output=output), InProcessReader())

    return ready


def tree(folder: Path) -> dict[str, Any]:
    """The files of a folder, without locks and journals, and without entries that may differ between two runs."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(STATE) or path.is_dir():
            continue
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.suffix == ".json":
            facts = json.loads(path.read_text())
            for result in facts.get("results", []):
                result["status"] = result["status"].replace("kept", "done")
                result.pop("seconds", None)
            found[name] = {key: value for key, value in facts.items() if key not in VARYING}
    return found


def test_spect_is_shown_in_its_own_colours(tmp_path: Path, begin: Begin) -> None:
    write_session(tmp_path / "r", "sub-1", ("T1w", "T2w", "spect"))
    assert begin(tmp_path / "out", tmp_path / "r").fuse().exit_code == 0
    sidecar = read_sidecar(tmp_path / "out/sub-1/anat/sub-1_desc-fused_T2w.json")
    assert sidecar.inputs["functional"]["colormap"] == "atlas-spect"


@pytest.mark.parametrize("case_id", ["k1", "sub-01", "sub-01_T2w", "sub-0-1_desc-fused_T2w", "a_sub-1_desc-fused_T2w"])
def test_results_with_other_ids_lie_in_the_output_folder_itself(case_id: str) -> None:
    assert result_stem(case_id) == case_id


def test_the_output_is_a_derivative_of_the_dataset(raw: Path, tmp_path: Path, cli: Cli) -> None:
    out = raw / "derivatives" / "tfs-rt"
    (raw / "sub-01/anat/sub-01_T1w.json").write_text('{"SkullStripped": true}')
    (raw / "sub-01/anat/sub-01_T2w.json").write_text('{"SkullStripped": true}')
    done = cli("fuse", raw, "-o", out)
    assert "3 of 3 cases fused" in done.err, done.err
    results = [
        f"{folder}/{name}{end}" for folder, name in zip(PLACES, IDS, strict=True) for end in (".json", ".nii.gz")
    ]
    assert sorted(tree(out)) == sorted([".bidsignore", "dataset_description.json", REPORT, *results])
    description = json.loads((out / "dataset_description.json").read_text())
    assert (description["DatasetType"], description["License"]) == ("derivative", "CC0")
    assert description["GeneratedBy"][0]["Name"] == "tfs-rt"
    assert str(tmp_path) not in json.dumps(description)
    for folder, name in zip(PLACES, IDS, strict=True):
        facts = json.loads((out / folder / f"{name}.json").read_text())
        link = out / description["DatasetLinks"]["raw"]
        sources = [link / source.removeprefix("bids:raw:") for source in facts["Sources"]]
        hashes = [hashlib.sha256(source.read_bytes()).hexdigest() for source in sources]
        assert hashes == [facts["inputs"][slot]["sha256"] for slot in ("m1", "m2", "functional")]
        assert facts["Description"].startswith("T1w, T2w and pet fused into one RGB image by tfs-rt (model x4);")
        assert facts["SkullStripped"] == (name == IDS[0])
        assert nib.Nifti1Image.from_filename(out / folder / f"{name}.nii.gz").shape == (4 * SIDE, 4 * SIDE, 2)
    assert "3 of 3 results are as they were written" in cli("verify", out).err
    assert cli("status", out).out.startswith("complete: 3 of 3 done")
    before = tree(out)
    assert "3 of them already" in cli("fuse", raw, "-o", out).err
    assert tree(out) == before
    assert "another recipe" in cli("fuse", raw, "-o", out, "--steps", 2).err
    assert "3 of 3 cases fused" in cli("fuse", raw, "-o", out, "--steps", 2, "--overwrite").err
    assert read_sidecar(out / PLACES[0] / f"{IDS[0]}.json").provenance["recipe"]["steps"] == 2
    with pytest.raises(NothingFound):  # its own results are not inputs
        find(out)


def test_files_that_are_not_bids_are_ignored_by_the_validator(begin: Begin, tmp_path: Path) -> None:
    begin(tmp_path / "out", samples=2, sheet=True).fuse()
    ignored = (tmp_path / "out" / ".bidsignore").read_text().split()
    assert ignored == [f"/{name}" for name in (REPORT, SPREAD, SHEETS, STATE)]
    kept = {"dataset_description.json", ".bidsignore", "sub-01", "sub-02"}
    for path in (tmp_path / "out").iterdir():
        assert path.name in kept or any(fnmatch.fnmatch(f"/{path.name}", rule) for rule in ignored)
    assert sorted(path.name for path in (tmp_path / "out" / SPREAD).iterdir()) == sorted(
        f"{name}{ending}" for name in IDS for ending in (".nii.gz", ".tif")
    )
    assert [found.verdict for found in verification.verify(tmp_path / "out")] == ["good"] * 3


def test_the_same_case_gives_the_same_bytes_anywhere(begin: Begin, tmp_path: Path) -> None:
    begin(tmp_path / "one").fuse()
    begin(tmp_path / "other", batch=3).fuse()
    assert tree(tmp_path / "one") == tree(tmp_path / "other")


def test_a_csv_may_name_cases_in_the_way_of_bids(raw: Path, begin: Begin, tmp_path: Path) -> None:
    names = [f"sub-01/{DATATYPE.get(suffix, 'anat')}/sub-01_{suffix}.nii.gz" for suffix in SUFFIXES]
    files = ",".join(str(raw / name) for name in names)
    (tmp_path / "l.csv").write_text(f"id,m1,m2,functional\nsub-01_ses-9_desc-fused_T2w,{files}\n")
    begin(tmp_path / "out", tmp_path / "l.csv").fuse()
    assert (tmp_path / "out/sub-01/ses-9/anat/sub-01_ses-9_desc-fused_T2w.nii.gz").is_file()


def test_verify_finds_a_flipped_bit_a_lost_sidecar_and_a_result_elsewhere(begin: Begin, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rng = np.random.default_rng(0)
    begin(out).fuse()
    for i in range(60):
        path = out / PLACES[i % 3] / f"{IDS[i % 3]}{('.nii.gz', '.json')[i % 2]}"
        data = path.read_bytes()
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        assert [found.case for found in verification.verify(out) if found.verdict == "bad"] == [IDS[i % 3]]
        path.write_bytes(data)
    (out / PLACES[0] / f"{IDS[0]}.json").unlink()
    (out / "sub-02").rename(out / "sub-03")
    reasons = {found.case: found.reason for found in verification.verify(out)}
    assert reasons[IDS[0]].startswith("has no sidecar")
    assert [reasons[name] for name in IDS[1:]] == ["lies in a folder where no run writes it"] * 2


def test_the_result_of_a_case_whose_input_has_changed_is_deleted(raw: Path, begin: Begin, tmp_path: Path) -> None:
    begin(tmp_path / "out").fuse()
    (raw / "sub-01/pet/sub-01_pet.nii.gz").write_bytes(b"another")
    assert begin(tmp_path / "out").fuse().kept == 2
    assert not [path for path in (tmp_path / "out/sub-01").rglob("*") if path.is_file()]


FOREIGN = ["{}", "[]", "no JSON", '{"GeneratedBy": [{"Name": "fMRIPrep"}]}', '{"GeneratedBy": 1}', "[" * 100_000]


@pytest.mark.parametrize("text", FOREIGN)
def test_another_datasets_description_is_never_written_over(begin: Begin, tmp_path: Path, text: str) -> None:
    file = tmp_path / "out" / "dataset_description.json"
    late = tmp_path / "late" / "dataset_description.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(UsageError, match="describes a dataset that tfs-rt has not made"):
        begin(tmp_path / "out")
    run = begin(tmp_path / "late")
    late.write_text(text)  # after it was looked at
    with pytest.raises(UsageError, match="describes a dataset that tfs-rt has not made"):
        run.fuse()
    assert (file.read_text(), late.read_text()) == (text, text)


def test_a_description_that_is_no_file_is_refused_at_once(begin: Begin, tmp_path: Path) -> None:
    for name, make in {"pipe": os.mkfifo, "folder": os.mkdir, "link": lambda path: path.symlink_to(path)}.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name / "dataset_description.json")
        with pytest.raises(UsageError, match="describes a dataset that tfs-rt has not made"):
            begin(tmp_path / name)


def test_entries_that_a_user_adds_to_the_description_stay(raw: Path, begin: Begin, tmp_path: Path) -> None:
    file = tmp_path / "out" / "dataset_description.json"
    begin(tmp_path / "out").fuse()
    facts = json.loads(file.read_text())
    added = {"Name": "mine", "Authors": ["A", "B"], "GeneratedBy": [*facts["GeneratedBy"], {"Name": "hand"}]}
    file.write_text(json.dumps(facts | added))
    (tmp_path / "out" / ".bidsignore").write_text("/mine\n")
    raw.rename(tmp_path / "moved")
    begin(tmp_path / "out", tmp_path / "moved", resume=False).fuse()
    assert json.loads(file.read_text()) == facts | added | {"DatasetLinks": {"raw": "../moved"}}
    assert (tmp_path / "out" / ".bidsignore").read_text() == "/mine\n"


def test_a_derivative_is_of_one_dataset(raw: Path, begin: Begin, tmp_path: Path) -> None:
    write_session(tmp_path / "other", "sub-09")
    with pytest.raises(UsageError, match="are two BIDS datasets"):
        discover([raw, tmp_path / "other"], output=tmp_path / "out")
    begin(tmp_path / "out").fuse()
    with pytest.raises(UsageError, match=r"a derivative of another dataset \(../raw\)"):
        begin(tmp_path / "out", tmp_path / "other")
    with pytest.raises(UsageError, match="is the dataset itself"):
        begin(tmp_path / "other", tmp_path / "other")


def test_a_link_leads_no_result_elsewhere(begin: Begin, tmp_path: Path) -> None:
    for folder in ("elsewhere", "out/sub-02"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "out" / "sub-02" / "ses-a").symlink_to(tmp_path / "elsewhere")
    report = begin(tmp_path / "out").fuse()
    assert (report.done, report.exit_code) == (2, 3)
    (failed,) = (result for result in report.results if result["status"] == "failed")
    assert failed["error"]["subject"] == str(tmp_path / "out" / "sub-02" / "ses-a")
    run = begin(tmp_path / "late")
    (tmp_path / "late" / "sub-01").symlink_to(tmp_path / "elsewhere")  # after it was looked at
    with pytest.raises(EnvironmentFault, match="is a link"):
        run.fuse()
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_an_operation_and_run_again_it_ends_as_if_it_had_not_been(
    raw: Path, begin: Begin, tmp_path: Path, every: int
) -> None:
    source = raw / "sub-02"
    with watch_operations() as seen:
        begin(tmp_path / "clean", source).fuse()
    expected = tree(tmp_path / "clean")
    points = [i for i, (name, arguments, _) in enumerate(seen, 1) if STATE not in str(arguments[0])]
    assert len(points) > 50
    for point in points[::every]:
        out = tmp_path / f"killed{point}"
        run_and_kill(begin(out, source), point)
        begin(out, source).fuse()
        assert tree(out) == expected, f"killed before operation {point}, {seen[point - 1]}"
        assert not [path for path in out.rglob("*") if TEMPORARY.fullmatch(path.name)]


@pytest.mark.parametrize("lost", ["dataset_description.json", ".bidsignore", "sub-02/ses-a", "sub-02/ses-b/anat"])
def test_lost_files_are_made_again(raw: Path, begin: Begin, tmp_path: Path, lost: str) -> None:
    begin(tmp_path / "out").fuse()
    before = tree(tmp_path / "out")
    for path in (tmp_path / "out" / lost, *(tmp_path / "out" / lost).rglob("*")):
        if path.is_file():
            path.unlink()
    (tmp_path / "out" / PLACES[0] / f"{IDS[0]}.nii.gz").write_bytes(b"damaged")
    begin(tmp_path / "out").fuse()
    assert tree(tmp_path / "out") == before
