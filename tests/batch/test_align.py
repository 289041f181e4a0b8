"""`tfs-rt align`, and what `tfs-rt fuse` makes of its output."""

from __future__ import annotations

import hashlib
import html.parser
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from support.heads import Head, plane_of_space, rigid, write_nifti
from support.helpers import Cli, write_case
from tfs_rt.batch.aligned_files import image_names
from tfs_rt.cases.case import Case
from tfs_rt.cases.discover import discover
from tfs_rt.formats.volume import Volume, transform_points

FILES = {"alignment.json", "functional.tfm", "m2.tfm", "mr-t1.nii.gz", "mr-t2.nii.gz", "pet.nii.gz", "quality.html"}
T1 = np.array([[2.0, 0, 0, -8], [0, 1.5, 0, -6], [0, 0, 3.0, -5], [0, 0, 0, 1]])


def write_volumes(folder: Path) -> Path:
    """A case of three NIfTI volumes on different grids of one space."""
    folder.mkdir(parents=True)
    wide = np.diag([2.5, 2.5, 2.5, 1.0])
    wide[:3, 3] = -20
    write_nifti(folder / "t1.nii.gz", plane_of_space((5, 9, 8), T1))
    write_nifti(folder / "t2.nii.gz", plane_of_space((17, 17, 18), wide))
    write_nifti(folder / "pet.nii.gz", plane_of_space((18, 17, 17), wide))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_headers_align_volumes_that_fuse_then_finds_and_shows_alike(tmp_path: Path, cli: Cli) -> None:
    source = write_volumes(tmp_path / "in" / "k")
    out = tmp_path / "out"
    done = cli("align", source, "-o", out, "--no-register", "--json")
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)["results"]
    assert (row["status"], row["alignment"]["m2"]["by"]) == ("done", "headers")
    assert set(tree(out / "k")) == FILES
    # Fuse finds the three in their slots, and shows them in the windows that were chosen before.
    (case,) = discover([out])
    assert isinstance(case, Case)
    names = {slot: file.name for slot, file in case.files.items()}
    assert names == {"m1": "mr-t1.nii.gz", "m2": "mr-t2.nii.gz", "functional": "pet.nii.gz"}
    fused = cli("fuse", out, "-o", tmp_path / "two", "--scale", 2)
    assert fused.code == 0, fused.err
    at_once = cli("fuse", source, "-o", tmp_path / "one", "--scale", 2, "--align", "--no-register")
    assert at_once.code == 0, at_once.err
    one, two = (nib.Nifti1Image.from_filename(tmp_path / name / "k.nii.gz") for name in ("one", "two"))
    np.testing.assert_allclose(one.header.get_best_affine(), two.header.get_best_affine(), atol=1e-5)
    colours = [np.asarray(image.dataobj).view((np.uint8, 3)).astype(int) for image in (one, two)]
    assert np.abs(colours[0] - colours[1]).max() <= 4


def test_a_case_is_kept_written_again_with_the_same_bytes_and_replaced_if_an_input_changes(
    tmp_path: Path, cli: Cli
) -> None:
    source = write_volumes(tmp_path / "in" / "k")
    out = tmp_path / "out"
    align = ("align", tmp_path / "in", "--no-register", "-o")
    assert cli(*align, out).code == 0
    assert cli(*align, tmp_path / "again").code == 0
    assert tree(out / "k") == tree(tmp_path / "again" / "k")
    assert "1 of them already" in cli(*align, out).err
    # A file that was changed is written again, and so is a case of another grid.
    before = tree(out / "k")
    (out / "k" / "pet.nii.gz").write_bytes(b"x")
    assert "already" not in cli(*align, out).err
    assert tree(out / "k") == before
    assert "already" not in cli(*align, out, "--onto", "functional").err
    assert nib.Nifti1Image.from_filename(out / "k" / "mr-t1.nii.gz").shape == (17, 17, 18)
    # A case that fails now leaves nothing of its earlier form.
    (source / "t2.nii.gz").write_bytes(b"damaged")
    failed = cli(*align, out)
    assert (failed.code, "t2.nii.gz" in failed.err) == (4, True)
    assert not (out / "k").exists()


def test_one_bad_case_stops_only_itself_and_nothing_of_others_is_overwritten(tmp_path: Path, cli: Cli) -> None:
    write_volumes(tmp_path / "in" / "good")
    write_volumes(tmp_path / "in" / "bad")
    (tmp_path / "in" / "bad" / "pet.nii.gz").write_bytes(b"")
    write_volumes(tmp_path / "in" / "taken")
    (tmp_path / "out" / "taken").mkdir(parents=True)
    (tmp_path / "out" / "taken" / "notes.txt").write_text("mine")
    done = cli("align", tmp_path / "in", "-o", tmp_path / "out", "--no-register")
    assert done.code == 3
    assert "2 of 3" not in done.err
    assert "1 of 3 cases aligned" in done.err
    assert "holds notes.txt, which no run has written" in done.err
    assert tree(tmp_path / "out" / "taken") == {"notes.txt": b"mine"}


def test_options_that_cannot_be_applied_are_errors(tmp_path: Path, cli: Cli) -> None:
    source = write_case(tmp_path / "k")
    for options, words in (
        (("fuse", "--onto", "m2"), "--onto: only has a meaning with --align"),
        (("fuse", "--no-register"), "--no-register: only has a meaning with --align"),
        (("align", "--onto", "ct"), "'ct' is not a grid: write m1, m2, functional, or a spacing in mm"),
        (("align", "--onto", "-1"), "'-1' is not a grid"),
        (("align", "--same-frame"), "which the registration finds out: leave it out, or add --no-register"),
    ):
        command, *more = options
        done = cli(command, source, "-o", tmp_path / "out", *more)
        assert (done.code, words in done.err) == (2, True), done.err
    assert not (tmp_path / "out").exists()


class Page(html.parser.HTMLParser):
    """Checks that all elements are closed, and collects text and what could be requested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words = ""
        self.requests: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)
        self.requests += [str(value)[:40] for key, value in attrs if key in ("src", "href", "srcset", "action")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data if self.open[-1:] != ["style"] else ""


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Head, dict[str, np.ndarray]]:
    """A head in three volumes at known displacements, not yet aligned."""
    head = Head(3)
    middle = head.points.mean(axis=0)
    moved = {"m2": rigid(6, (4.0, -3.0, 2.0), middle), "functional": rigid(-4, (-3.0, 2.0, 5.0), middle)}
    folder = tmp_path_factory.mktemp("head") / "k"
    folder.mkdir()
    write_nifti(folder / "t1.nii.gz", head.scan(np.eye(4), inverted=False))
    write_nifti(folder / "t2.nii.gz", head.scan(moved["m2"], inverted=True))
    pet = head.scan(moved["functional"], inverted=False)
    write_nifti(folder / "pet.nii.gz", Volume(np.ascontiguousarray(pet.values[:, 1:]), pet.to_world))
    return folder, head, moved


def test_a_known_displacement_is_undone_and_the_page_says_so(
    registered: tuple[Path, Head, dict[str, np.ndarray]], tmp_path: Path, cli: Cli
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    folder, head, moved = registered
    out = tmp_path / "out"
    done = cli("align", folder, "-o", out, "--strict")
    assert done.code == 0, done.err
    sidecar = json.loads((out / "k" / "alignment.json").read_text())
    for slot, true in moved.items():
        # The pet volume begins one row later than its header says: it lies 3 mm further in front.
        expected = transform_points(true, head.points) - ([0, 3.0, 0] if slot == "functional" else 0)
        transform = sitk.ReadTransform(str(out / "k" / f"{slot}.tfm"))
        found = np.array([transform.TransformPoint(point.tolist()) for point in head.points])
        assert np.linalg.norm(found - expected, axis=1).max() < 1.2  # mm, of voxels of 3 mm
        facts = sidecar["inputs"][slot]["alignment"]
        assert facts["trusted"]
        assert len(facts["angles_rad_and_shift_mm"]) == 6
        assert "seconds" not in facts["figures"]
    t1, t2 = (nib.Nifti1Image.from_filename(out / "k" / f"mr-{name}.nii.gz").get_fdata() for name in ("t1", "t2"))
    tissue = t1 > 0.3
    assert np.abs(t2 + t1 - 2.5)[tissue].mean() < 0.35  # T2 is 2.5 less T1
    for name, sha256 in sidecar["outputs"].items():
        assert hashlib.sha256((out / "k" / name).read_bytes()).hexdigest() == sha256
    text = (out / "k" / "quality.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.requests == ["data:image/png;base64," + found[:18] for found in re.findall(r"base64,([^\"]{18})", text)]
    assert "m2 (mr-t2) was registered to m1 (mr-t1): trusted" in page.words
    assert "turned by, degrees" in page.words
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")


@pytest.mark.parametrize(
    ("files", "modalities", "names"),
    [
        (("a", "b", "c"), ("", "", ""), ("mr-t1", "mr-t2", "pet")),
        (("a", "b", "c"), ("CT", "MR", "NM"), ("ct", "mr-t2", "spect")),
        (("ct.dcm", "mr.dcm", "pet.dcm"), ("", "", ""), ("ct", "mr", "pet")),
        (("t2.dcm", "b", "tc99m.dcm"), ("", "", ""), ("mr-t1", "mr-t2", "spect")),
        (("gad.dcm", "flair.dcm", "c"), ("", "", "PT"), ("mr-gad", "mr-flair", "pet")),
        (("mri.dcm", "mri2/mr.dcm", "c"), ("", "", ""), ("mr-t1", "mr-t2", "pet")),
    ],
)
def test_images_are_named_by_names_or_headers_each_otherwise(
    files: tuple[str, ...], modalities: tuple[str, ...], names: tuple[str, ...]
) -> None:
    slots = ("m1", "m2", "functional")
    case = Case("k", {slot: Path("x") / file for slot, file in zip(slots, files, strict=True)})
    inputs = {slot: {"modality": modality} for slot, modality in zip(slots, modalities, strict=True)}
    assert tuple(image_names(case, inputs).values()) == names
