"""BIDS datasets in, BIDS derivatives out."""

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

from support.crashes import VARYING, killed, watched
from support.helpers import Cli, Here, write_case
from support.pipelines import blend, pipeline
from tfs_rt.batch import verify as verification
from tfs_rt.batch.request import Options, Request
from tfs_rt.batch.run import Run
from tfs_rt.cases.case import Case, FoundCase, RefusedCase
from tfs_rt.cases.discover import discover
from tfs_rt.cases.modalities import modality_of
from tfs_rt.errors import EnvironmentFault, NothingFound, UsageError
from tfs_rt.output.folder import REPORT, SHEETS, SPREAD, STATE, result_stem
from tfs_rt.output.sidecar import read_sidecar
from tfs_rt.system.files import TEMPORARY, write_file

SIDE = 8
SUFFIXES = ("T1w", "T2w", "pet")
DATATYPE = {"pet": "pet", "ct": "ct", "spect": "spect"}  # anat, the rest


def put(dataset: Path, name: str, level: int = 100) -> Path:
    """A small volume where its name says that it belongs."""
    labels = name.split("_")
    folders = [label for label in labels if label.startswith(("sub-", "ses-"))]
    path = dataset.joinpath(*folders, DATATYPE.get(labels[-1], "anat"), f"{name}.nii.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    volume = np.stack([level + 8 * x + 4 * y + 10 * k for k in range(2)]).astype(np.uint8)
    nib.save(nib.Nifti1Image(volume.transpose(2, 1, 0), np.diag([-2.0, -2, 3, 1])), path)
    return path


def put_case(dataset: Path, labels: str, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    for number, suffix in enumerate(suffixes):
        put(dataset, f"{labels}_{suffix}", 60 + 20 * number)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A dataset of two subjects, one of them in two sessions."""
    dataset = tmp_path / "raw"
    put_case(dataset, "sub-01")
    for session in ("ses-a", "ses-b"):
        put_case(dataset, f"sub-02_{session}")
    description = {"Name": "made", "BIDSVersion": "1.10.0", "License": "CC0"}
    (dataset / "dataset_description.json").write_text(json.dumps(description))
    return dataset


IDS = ("sub-01_desc-fused_T2w", "sub-02_ses-a_desc-fused_T2w", "sub-02_ses-b_desc-fused_T2w")
PLACES = ("sub-01/anat", "sub-02/ses-a/anat", "sub-02/ses-b/anat")
Begin = Callable[..., Run]


@pytest.fixture
def begin(raw: Path, tmp_path: Path) -> Begin:
    """A run over the dataset, or another source, ready to be fused into a folder."""
    made = pipeline(tmp_path, blend)

    def ready(output: Path, source: Path = raw, samples: int = 1, **options: Any) -> Run:
        output.mkdir(parents=True, exist_ok=True)
        request = Request(seed=1, samples=samples)
        return Run(made, Options(output, request, **options), discover([source], output=output), Here())

    return ready


def find(*sources: Path) -> dict[str, FoundCase]:
    return {case.id: case for case in discover(sources, output=Path("nowhere"))}


def names(found: FoundCase) -> list[str]:
    assert isinstance(found, Case)
    return [file.name.partition(".")[0] for file in found.files.values()]


def refusal(found: FoundCase) -> str:
    assert isinstance(found, RefusedCase)
    return str(found.error)


def tree(folder: Path) -> dict[str, Any]:
    """What a folder holds but for its state, without what may differ between two runs."""
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


# names in


def test_each_session_of_each_subject_is_a_case(raw: Path) -> None:
    found = find(raw)
    assert tuple(found) == IDS
    assert names(found[IDS[0]]) == ["sub-01_T1w", "sub-01_T2w", "sub-01_pet"]
    assert names(found[IDS[2]]) == ["sub-02_ses-b_T1w", "sub-02_ses-b_T2w", "sub-02_ses-b_pet"]


def test_a_subject_alone_can_be_given(raw: Path) -> None:
    assert tuple(find(raw / "sub-02")) == IDS[1:]
    found = find(raw / "sub-01", raw / "sub-02")[IDS[1]]
    assert isinstance(found, Case)
    assert found.dataset == raw


@pytest.mark.parametrize(
    ("name", "modality"),
    [("ce-gd_T1w", "mr-gad"), ("acq-x_PDw", "mr-pd"), ("ct", "ct"), ("space-mni_desc-x_T1w", "mr-t1")],
)
def test_entities_are_read_and_contrast_enhanced_t1_is_a_modality_of_its_own(
    tmp_path: Path, name: str, modality: str
) -> None:
    put_case(tmp_path / "raw", "sub-x1", ("T2w", "spect", name))
    found = find(tmp_path / "raw")["sub-x1_desc-fused_T2w"]
    assert names(found) == [f"sub-x1_{name}", "sub-x1_T2w", "sub-x1_spect"]
    assert isinstance(found, Case)
    assert [modality_of(file) for file in found.files.values()] == [modality, "mr-t2", "spect"]


def test_t1_with_and_without_contrast_medium_are_two_modalities(tmp_path: Path) -> None:
    put_case(tmp_path / "raw", "sub-x", ("T1w", "T2w", "ce-gd_T1w", "pet"))
    found = find(tmp_path / "raw")["sub-x_desc-fused_T2w"]
    assert "found 3 anatomical images in sub-x_T1w.nii.gz, sub-x_T2w.nii.gz, sub-x_ce-gd_T1w.nii.gz" in refusal(found)


@pytest.mark.parametrize(
    ("folder", "name", "words"),
    [
        ("anat", "sub-01_run-2_T1w.nii.gz", "found 2 images of mr-t1 (sub-01_T1w.nii.gz, sub-01_run-2_T1w.nii.gz)"),
        ("anat", "sub-01_T1w.nii", "found 2 images of mr-t1"),
        ("pet", "sub-01_spect.nii.gz", "found 2 functional images"),
        ("ct", "sub-01_ct.nii.gz", "found 3 anatomical images"),
        ("anat", "sub-02_PDw.nii.gz", "sub-02_PDw.nii.gz is a name of sub-02, but lies in a folder of sub-01: move it"),
        ("anat", "sub-01_ses-a_PDw.nii.gz", "a name of sub-01 and ses-a, but lies in a folder of sub-01"),
        ("anat", "sub-01_run-1_ses-a_PDw.nii.gz", "lies in a folder of sub-01"),
        ("pet", "sub-01_PET.nii.gz", "sub-01_PET.nii.gz is not a valid BIDS name: name it sub-<label>"),
        ("anat", "T1w.nii.gz", "T1w.nii.gz is not a valid BIDS name"),
        ("anat", "sub-01_run1_T1w.nii.gz", "is not a valid BIDS name"),
        ("anat", "sub-01_run-1_run-2_T1w.nii.gz", "is not a valid BIDS name"),
        ("anat", "run-1_sub-01_T1w.nii.gz", "is not a valid BIDS name"),
    ],
)
def test_what_is_not_one_of_each_or_lies_elsewhere_is_refused_alone(
    raw: Path, folder: str, name: str, words: str
) -> None:
    (raw / "sub-01" / folder).mkdir(exist_ok=True)
    (raw / "sub-01" / folder / name).write_bytes(b"")
    found = find(raw)
    assert words in refusal(found[IDS[0]])
    assert [type(found[name]) for name in IDS[1:]] == [Case, Case]


def test_a_file_of_another_session_is_refused(raw: Path) -> None:
    (raw / "sub-02/ses-b/pet/sub-02_ses-b_pet.nii.gz").rename(raw / "sub-02/ses-b/pet/sub-02_ses-a_pet.nii.gz")
    assert "lies in a folder of sub-02 and ses-b" in refusal(find(raw)[IDS[2]])


def test_images_of_different_sessions_are_not_paired(tmp_path: Path) -> None:
    put_case(tmp_path / "raw", "sub-1_ses-a", ("T1w", "T2w"))
    put_case(tmp_path / "raw", "sub-1_ses-b", ("pet",))
    found = find(tmp_path / "raw")
    assert "found 0 functional" in refusal(found["sub-1_ses-a_desc-fused_T2w"])
    assert "found 0 anatomical" in refusal(found["sub-1_ses-b_desc-fused_T2w"])


def test_a_label_with_other_signs_is_refused(raw: Path) -> None:
    (raw / "sub-01").rename(raw / "sub-0_1")
    assert "sub-0_1 is not a valid BIDS label" in refusal(find(raw)["sub-0_1_desc-fused_T2w"])


def test_an_image_that_was_not_fetched_is_part_of_its_case(raw: Path) -> None:
    file = raw / "sub-01/anat/sub-01_T1w.nii.gz"
    file.unlink()
    file.symlink_to("../../.git/annex/objects/none")
    assert names(find(raw)[IDS[0]])[0] == "sub-01_T1w"


def test_other_folders_of_a_dataset_are_left_alone(raw: Path) -> None:
    for folder in ("derivatives", "sourcedata", "code", ".git"):
        put_case(raw / folder, "sub-07")
    (raw / "sub-03" / "func").mkdir(parents=True)
    (raw / "sub-01" / "anat" / "._sub-01_T1w.nii.gz").write_bytes(b"")
    (raw / "sub-01" / "anat" / "sub-01_T1w.json").write_text("{}")
    assert tuple(find(raw)) == IDS


def test_a_dataset_is_known_by_its_folders_and_a_folder_of_cases_stays_one(tmp_path: Path) -> None:
    put_case(tmp_path / "raw", "sub-1")
    assert set(find(tmp_path / "raw")) == {"sub-1_desc-fused_T2w"}
    write_case(tmp_path / "cases" / "sub-1")
    assert set(find(tmp_path / "cases")) == {"sub-1"}
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "dataset_description.json").write_text("{}")
    with pytest.raises(NothingFound, match="no case in this BIDS dataset"):
        find(tmp_path / "empty")


def test_spect_is_shown_in_its_own_colours(tmp_path: Path, begin: Begin) -> None:
    put_case(tmp_path / "r", "sub-1", ("T1w", "T2w", "spect"))
    assert begin(tmp_path / "out", tmp_path / "r").fuse().exit_code == 0
    sidecar = read_sidecar(tmp_path / "out/sub-1/anat/sub-1_desc-fused_T2w.json")
    assert sidecar.inputs["functional"]["colormap"] == "atlas-spect"


# derivatives out


@pytest.mark.parametrize("case_id", ["k1", "sub-01", "sub-01_T2w", "sub-0-1_desc-fused_T2w", "a_sub-1_desc-fused_T2w"])
def test_other_ids_lie_flat(case_id: str) -> None:
    assert result_stem(case_id) == case_id


def test_the_output_is_a_derivative_of_the_dataset(raw: Path, tmp_path: Path, cli: Cli) -> None:
    out = raw / "derivatives" / "tfs-rt"
    (raw / "sub-01/anat/sub-01_T1w.json").write_text('{"SkullStripped": true}')
    (raw / "sub-01/anat/sub-01_T2w.json").write_text('{"SkullStripped": true}')
    done = cli("fuse", raw, "-o", out)
    assert done.code == 0, done.err
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
    assert cli("fuse", raw, "-o", out, "--steps", 2, "--overwrite").code == 0
    assert read_sidecar(out / PLACES[0] / f"{IDS[0]}.json").provenance["recipe"]["steps"] == 2
    with pytest.raises(NothingFound):  # its own results are no inputs
        find(out)


def test_what_is_no_bids_is_ignored_by_the_validator(begin: Begin, tmp_path: Path) -> None:
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
    files = ",".join(str(raw / name) for name in names_of("sub-01"))
    (tmp_path / "l.csv").write_text(f"id,m1,m2,functional\nsub-01_ses-9_desc-fused_T2w,{files}\n")
    begin(tmp_path / "out", tmp_path / "l.csv").fuse()
    assert (tmp_path / "out/sub-01/ses-9/anat/sub-01_ses-9_desc-fused_T2w.nii.gz").is_file()


def names_of(subject: str) -> list[str]:
    return [f"{subject}/{DATATYPE.get(suffix, 'anat')}/{subject}_{suffix}.nii.gz" for suffix in SUFFIXES]


def test_verify_finds_a_flipped_bit_a_lost_sidecar_and_a_result_elsewhere(begin: Begin, tmp_path: Path) -> None:
    out, rng = tmp_path / "out", np.random.default_rng(0)
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
    told = {found.case: found.reason for found in verification.verify(out)}
    assert told[IDS[0]].startswith("has no sidecar")
    assert [told[name] for name in IDS[1:]] == ["lies in a folder where no run writes it"] * 2


def test_a_case_that_is_known_to_be_another_costs_its_result(raw: Path, begin: Begin, tmp_path: Path) -> None:
    begin(tmp_path / "out").fuse()
    (raw / "sub-01/pet/sub-01_pet.nii.gz").write_bytes(b"another")
    assert begin(tmp_path / "out").fuse().kept == 2
    assert not [path for path in (tmp_path / "out/sub-01").rglob("*") if path.is_file()]


FOREIGN = ["{}", "[]", "no JSON", '{"GeneratedBy": [{"Name": "fMRIPrep"}]}', '{"GeneratedBy": 1}', "[" * 100_000]


@pytest.mark.parametrize("text", FOREIGN)
def test_another_datasets_description_is_never_written_over(begin: Begin, tmp_path: Path, text: str) -> None:
    file, late = tmp_path / "out" / "dataset_description.json", tmp_path / "late" / "dataset_description.json"
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


def test_what_a_user_adds_to_the_description_stays(raw: Path, begin: Begin, tmp_path: Path) -> None:
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
    put_case(tmp_path / "other", "sub-09")
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


def test_folders_are_on_the_disk_before_what_is_in_them(tmp_path: Path) -> None:
    opened: dict[int, str] = {}
    made, flushed = [], []
    with watched() as seen:
        for name in ("a/b/c/x", "a/b/d/y"):
            write_file(tmp_path / name, b"data", within=tmp_path)
    for name, arguments, result in seen:
        if name == "open":
            opened[result] = str(arguments[0])
        elif name == "mkdir":
            assert set(flushed) >= {str(Path(folder).parent) for folder in made}
            made.append(str(arguments[0]))
            flushed = [folder for folder in flushed if folder != str(Path(arguments[0]).parent)]
        elif name == "fsync":
            flushed.append(opened[arguments[0]])
        elif name == "replace":
            assert set(flushed) >= {str(Path(folder).parent) for folder in made}
    assert made == [str(tmp_path / name) for name in ("a", "a/b", "a/b/c", "a/b/d")]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_an_operation_and_run_again_it_ends_as_if_it_had_not_been(
    raw: Path, begin: Begin, tmp_path: Path, every: int
) -> None:
    source = raw / "sub-02"
    with watched() as seen:
        begin(tmp_path / "clean", source).fuse()
    expected = tree(tmp_path / "clean")
    points = [i for i, (name, arguments, _) in enumerate(seen, 1) if STATE not in str(arguments[0])]
    assert len(points) > 50
    for point in points[::every]:
        out = tmp_path / f"killed{point}"
        killed(begin(out, source), point)
        begin(out, source).fuse()
        assert tree(out) == expected, f"killed before operation {point}, {seen[point - 1]}"
        assert not [path for path in out.rglob("*") if TEMPORARY.fullmatch(path.name)]


@pytest.mark.parametrize("lost", ["dataset_description.json", ".bidsignore", "sub-02/ses-a", "sub-02/ses-b/anat"])
def test_what_is_lost_is_made_again(raw: Path, begin: Begin, tmp_path: Path, lost: str) -> None:
    begin(tmp_path / "out").fuse()
    before = tree(tmp_path / "out")
    for path in (tmp_path / "out" / lost, *(tmp_path / "out" / lost).rglob("*")):
        if path.is_file():
            path.unlink()
    (tmp_path / "out" / PLACES[0] / f"{IDS[0]}.nii.gz").write_bytes(b"damaged")
    begin(tmp_path / "out").fuse()
    assert tree(tmp_path / "out") == before
