"""Cases in every format through the whole command: what comes out is where, and what, it should be."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from support.helpers import Cli, png, write_case
from tfs_rt.cases.colormaps import pseudo_colour
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.output.marks import is_result

NAMES = ("mr-t1", "mr-t2", "pet")
SIDE = 16
SLICES = 3
SPACING = 2.0  # mm


@pytest.fixture
def volumes(rng: Generator) -> dict[str, NDArray[np.uint8]]:
    """Three smooth 8-bit volumes (SLICES, H, W), seen as pictures: the functional one without colour, too."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    disc = np.hypot(x - 0.5, y - 0.5) < 0.4
    made = {}
    for i, name in enumerate(NAMES):
        shades = [disc * (60 + 40 * i + 80 * x * (k + 1) / SLICES + 20 * y) for k in range(SLICES)]
        made[name] = np.rint(shades).astype(np.uint8)
    return made


def loaded(path: Path) -> Any:
    """An image of nibabel's, whose classes say too little of themselves."""
    return nib.load(path)


def write_nifti(folder: Path, volumes: dict[str, NDArray[np.uint8]]) -> Path:
    """The volumes as uint8 NIfTI files in LPS order, of which the reader's view is the array itself."""
    folder.mkdir(parents=True)
    affine = np.diag([-SPACING, -SPACING, 3.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    for name, volume in volumes.items():
        image = nib.Nifti1Image(volume.transpose(2, 1, 0), affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, folder / f"{name}.nii.gz")
    return folder


def write_dicom(folder: Path, volumes: dict[str, NDArray[np.uint8]], **changes: dict[str, Any]) -> Path:
    """The first slices as 12-bit MR images with windows of their own; `changes` of attributes by modality."""
    folder.mkdir(parents=True)
    for name, volume in volumes.items():
        dataset = Dataset()
        dataset.PatientID = "4711"
        dataset.PatientName = "Doe^Jane"
        dataset.Modality = "PT" if name == "pet" else "MR"
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[name])
        dataset.StudyInstanceUID = "1.2.3"
        dataset.SeriesInstanceUID = f"1.2.3.{len(name)}"
        dataset.FrameOfReferenceUID = "1.2.4"
        dataset.BodyPartExamined = "BRAIN"
        dataset.Rows, dataset.Columns = volume.shape[1:]
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated = 16
        dataset.BitsStored = 12
        dataset.HighBit = 11
        dataset.PixelRepresentation = 0
        dataset.RescaleSlope = 1
        dataset.RescaleIntercept = 0
        dataset.PixelSpacing = [SPACING, SPACING]
        dataset.WindowCenter = 1020
        dataset.WindowWidth = 2040
        dataset.VOILUTFunction = "LINEAR_EXACT"
        dataset.PixelData = (volume[0].astype("<u2") * 8).tobytes()
        for keyword, value in changes.get(name.replace("-", "_"), {}).items():
            setattr(dataset, keyword, value)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    return folder


def fused_slices(volumes: dict[str, NDArray[np.uint8]], ids: list[str], pictures: Callable) -> list[NDArray[np.uint8]]:
    """What the pipeline makes of the slices, asked for directly."""
    pipeline = load_pipeline("tfs-rt/x4")
    size = (4 * SIDE, 4 * SIDE)
    cases = [[pictures(name, volumes[name][k]) for name in NAMES] for k in range(len(ids))]
    return [pipeline.fuse([case], [name], size=size)[0] for case, name in zip(cases, ids, strict=True)]


def seen(name: str, levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = np.repeat(levels[..., None], 3, axis=-1)
    return pseudo_colour(grey, "atlas-pet") if name == "pet" else grey


def test_a_volume_is_fused_slice_by_slice_and_comes_back_where_it_was(
    tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]]
) -> None:
    write_nifti(tmp_path / "in" / "k", volumes)
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--batch", 2)
    assert done.code == 0, done.err
    image = loaded(tmp_path / "out" / "k.nii.gz")
    colours = np.asarray(image.dataobj)
    found = np.stack([colours[name] for name in "RGB"], axis=-1).transpose(2, 1, 0, 3)
    expected = fused_slices(volumes, [f"k\0slice{k}" for k in range(SLICES)], seen)
    np.testing.assert_array_equal(found, expected)
    source = loaded(tmp_path / "in" / "k" / "mr-t1.nii.gz")
    np.testing.assert_allclose(np.linalg.norm(image.affine[:3, :3], axis=0), [SPACING / 4, SPACING / 4, 3])
    middle = np.array([7.5, 7.5, 1, 1])
    larger = np.array([31.5, 31.5, 1, 1])
    np.testing.assert_allclose(image.affine @ larger, source.affine @ middle)
    facts = json.loads((tmp_path / "out" / "k.json").read_text())
    assert (facts["result"]["slices"], facts["inputs"]["functional"]["colormap"]) == (SLICES, "atlas-pet")
    assert cli("verify", tmp_path / "out").code == 0
    assert "1 of them already" in cli("fuse", tmp_path / "in", "-o", tmp_path / "out").err


def test_a_volumes_bytes_do_not_depend_on_the_batch(
    tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]]
) -> None:
    write_nifti(tmp_path / "in" / "k", volumes)
    for batch in (1, 2, 5):
        cli("fuse", tmp_path / "in", "-o", tmp_path / f"out{batch}", "--batch", batch)
    assert len({(tmp_path / f"out{batch}" / "k.nii.gz").read_bytes() for batch in (1, 2, 5)}) == 1


def test_dicom_comes_back_as_secondary_capture_that_names_its_sources(
    tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]]
) -> None:
    write_dicom(tmp_path / "in" / "k", volumes)
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    found = pydicom.dcmread(tmp_path / "out" / "k.dcm")
    (expected,) = fused_slices(volumes, ["k"], seen)
    np.testing.assert_array_equal(found.pixel_array, expected)
    assert (found.PatientID, found.StudyInstanceUID) == ("4711", "1.2.3")
    sources = [str(item.ReferencedSOPInstanceUID) for item in found.SourceImageSequence]
    assert sources == [generate_uid(entropy_srcs=[name]) for name in NAMES]
    told = (tmp_path / "out" / "k.json").read_text() + (tmp_path / "out" / "report.json").read_text()
    assert "Doe" not in told
    assert "4711" not in told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pet": {"PatientID": "4712"}}, "do not have the same patient: check which files belong together"),
        ({"mr_t2": {"FrameOfReferenceUID": "1.2.5"}}, "do not have the same frame of reference: register"),
        (
            {"pet": {"PatientName": "Roe^Jane"}},
            "do not have the same patient's name: check which files belong together",
        ),
        ({"pet": {"Modality": "MR"}}, "pet.dcm: says that it is MR, but lies in the functional slot: swap the slots"),
        ({"mr_t1": {"Modality": "NM"}}, "mr-t1.dcm: says that it is NM, but lies in the m1 slot: swap the slots"),
    ],
)
def test_files_of_different_patients_or_places_are_no_case(
    tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]], changes: dict[str, dict[str, str]], words: str
) -> None:
    write_dicom(tmp_path / "in" / "k", volumes, **changes)
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert done.code == 4
    assert words in done.err


def test_a_window_decides_what_becomes_black_and_white(tmp_path: Path, cli: Cli) -> None:
    folder = write_case(tmp_path / "in" / "k")
    deep = np.linspace(0, 4000, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
    (folder / "mr-t1.png").unlink()
    Image.fromarray(deep).save(folder / "mr-t1.tif")
    refused = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert refused.code == 4
    assert "--window LOW:HIGH" in refused.err
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--window", "m1=1000:3000").code == 0
    (folder / "mr-t1.tif").unlink()
    levels = np.rint((deep.astype(float) - 1000).clip(0, 2000) * 255 / 2000).astype(np.uint8)
    (folder / "mr-t1.png").write_bytes(png(levels))
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "plain").code == 0
    images = [np.asarray(Image.open(tmp_path / name / "k.png")) for name in ("out", "plain")]
    np.testing.assert_array_equal(images[0], images[1])
    other = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--window", "m1=0:3000")
    assert other.code == 2
    assert "another recipe" in other.err


@pytest.mark.parametrize("text", ["", "5", "5:5", "9:3", "m3=1:2", "nan:4", "1:inf", "a:b", "m1=1:2:3"])
def test_what_is_no_window_is_refused(tmp_path: Path, cli: Cli, text: str) -> None:
    write_case(tmp_path / "in" / "k")
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--window", text)
    assert done.code == 2
    assert "is not a window: write LOW:HIGH" in done.err


def test_a_grey_functional_image_needs_a_colour_map_and_says_which(tmp_path: Path, cli: Cli) -> None:
    folder = write_case(tmp_path / "in" / "k")
    Image.open(folder / "mr-t2.png").rotate(90).save(folder / "pet.png")
    refused = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert "give it a colour map: --colormap" in refused.err
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--colormap", "hot").code == 0
    assert json.loads((tmp_path / "out" / "k.json").read_text())["inputs"]["functional"]["colormap"] == "hot"


def test_jpeg_is_read_only_where_it_is_asked_for(tmp_path: Path, cli: Cli) -> None:
    folder = write_case(tmp_path / "in" / "k")
    Image.open(folder / "mr-t2.png").save(folder / "mr-t2.jpg", quality=95)
    (folder / "mr-t2.png").unlink()
    assert "--allow-lossy" in cli("fuse", tmp_path / "in", "-o", tmp_path / "out").err
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--allow-lossy").code == 0


def test_nnunet_names_may_have_any_ending(tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]]) -> None:
    folder = write_nifti(tmp_path / "in", volumes)
    for channel, name in enumerate(NAMES):
        (folder / f"{name}.nii.gz").rename(folder / f"k7_{channel:04d}.nii.gz")
    assert cli("fuse", folder, "-o", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "k7.nii.gz").is_file()


def test_a_result_in_another_format_replaces_that_of_an_earlier_run(
    tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]]
) -> None:
    write_case(tmp_path / "in" / "k")
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out").code == 0
    for name in NAMES:
        (tmp_path / "in" / "k" / f"{name}.png").unlink()
    (tmp_path / "in" / "k").rmdir()
    write_nifti(tmp_path / "in" / "k", volumes)
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out").code == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("k*")) == ["k.json", "k.nii.gz"]


def test_volumes_of_unlike_slices_are_refused(tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]]) -> None:
    write_nifti(tmp_path / "in" / "k", {**volumes, "pet": volumes["pet"][:2]})
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert done.code == 4
    assert "got mr-t1.nii.gz 16x16x3, mr-t2.nii.gz 16x16x3, pet.nii.gz 16x16x2" in done.err


def test_an_orphan_of_any_format_is_known_as_ours(
    tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]]
) -> None:
    write_nifti(tmp_path / "in" / "a", volumes)
    write_dicom(tmp_path / "in" / "b", volumes)
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out").code == 0
    for name in "ab":
        (tmp_path / "out" / f"{name}.json").unlink()
    (tmp_path / "out" / "c.nii.gz").write_bytes(gzip.compress(b"somebody's own"))
    done = cli("verify", tmp_path / "out")
    assert done.code == 3
    assert "0 of 2 results" in done.err


def test_samples_give_their_mean_and_the_map_of_their_spread(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "k")
    how = ["--steps", 2, "--sampler", "ddpm"]
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--samples", 3, "--batch", 2, *how).code == 0
    pictures = [np.asarray(Image.open(tmp_path / "in" / "k" / f"{name}.png").convert("RGB")) for name in NAMES]
    import dataclasses

    pipeline = load_pipeline("tfs-rt/x4", recipe=lambda r: dataclasses.replace(r, steps=2, sampler="ddpm"))
    ids = ["k", "k\0sample1", "k\0sample2"]
    samples = np.stack(pipeline.fuse([pictures] * 3, ids, size=(64, 64))).astype(np.float64)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "k.png")), np.rint(samples.mean(0)))
    spread = np.sqrt(samples.var(axis=0, ddof=1).mean(axis=-1))
    stored = np.asarray(Image.open(tmp_path / "out" / "spread" / "k.tif"))
    assert stored.dtype == np.uint16
    np.testing.assert_allclose(stored / 256, spread, atol=1 / 512 + 1e-6)
    with Image.open(tmp_path / "out" / "spread" / "k.png") as heat:
        assert (heat.size, heat.mode) == ((64, 64), "RGB")
    facts = json.loads((tmp_path / "out" / "k.json").read_text())["spread"]
    assert (facts["samples"], facts["mean_levels"]) == (3, pytest.approx(spread.mean(), abs=0.01))
    assert cli("verify", tmp_path / "out").code == 0
    (tmp_path / "out" / "spread" / "k.tif").write_bytes(b"touched")
    assert cli("verify", tmp_path / "out").code == 3
    again = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--samples", 3, *how)
    assert "already" not in again.err
    assert cli("verify", tmp_path / "out").code == 0


def test_samples_of_a_volume_are_a_page_and_a_slice_each(
    tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]]
) -> None:
    write_nifti(tmp_path / "in" / "k", volumes)
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--samples", 2, "--batch", 4).code == 0
    with Image.open(tmp_path / "out" / "spread" / "k.tif") as pages:
        assert getattr(pages, "n_frames", 1) == SLICES
    assert loaded(tmp_path / "out" / "spread" / "k.nii.gz").shape == (64, 64, SLICES)


def test_a_folder_where_a_spread_should_go_stops_its_case_alone(tmp_path: Path, cli: Cli) -> None:
    for name in "ab":
        write_case(tmp_path / "in" / name)
    (tmp_path / "out" / "spread" / "a.tif").mkdir(parents=True)
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--samples", 2)
    assert (done.code, "is a folder where a result should go" in done.err) == (3, True)
    assert (tmp_path / "out" / "b.png").is_file()


def test_one_sample_is_the_case_itself(tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "k")
    for name, more in (("one", []), ("same", ["--samples", 1])):
        assert cli("fuse", tmp_path / "in", "-o", tmp_path / name, *more).code == 0
    assert (tmp_path / "one" / "k.png").read_bytes() == (tmp_path / "same" / "k.png").read_bytes()
    assert not (tmp_path / "same" / "spread").exists()


@pytest.mark.parametrize("modality", ["PT", "NM", "OT", "SC", ""])
def test_a_functional_image_may_say_that_it_is_one_or_nothing(
    tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]], modality: str
) -> None:
    write_dicom(tmp_path / "in" / "k", volumes, pet={"Modality": modality})
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out").code == 0
    told = json.loads((tmp_path / "out" / "k.json").read_text())["inputs"]["functional"]
    assert (told["colormap"], told["colormap_from"]) == ("atlas-spect" if modality == "NM" else "atlas-pet", "modality")


def test_a_colour_map_that_nothing_speaks_for_earns_a_warning(
    tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]]
) -> None:
    folder = write_nifti(tmp_path / "in", volumes)
    for channel, name in enumerate(NAMES):
        (folder / f"{name}.nii.gz").rename(folder / f"k_{channel:04d}.nii.gz")
    done = cli("fuse", folder, "-o", tmp_path / "out")
    words = "functional does not say if it is PET or SPECT: atlas-pet was used, set it with --colormap"
    told = json.loads((tmp_path / "out" / "k.json").read_text())
    assert done.code == 0
    assert words in told["warnings"]
    assert told["inputs"]["functional"]["colormap_from"] == "default"
    chosen = cli("fuse", folder, "-o", tmp_path / "chosen", "--colormap", "hot")
    told = json.loads((tmp_path / "chosen" / "k.json").read_text())
    assert chosen.code == 0
    assert words not in told["warnings"]
    assert told["inputs"]["functional"]["colormap_from"] == "user"


def test_nifti_without_a_place_or_with_two_earns_a_warning(
    tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]]
) -> None:
    for case, codes in (("none", (0, 0)), ("two", (1, 1))):
        write_nifti(tmp_path / "in" / case, volumes)
        for name in NAMES:
            path = tmp_path / "in" / case / f"{name}.nii.gz"
            image = loaded(path)
            moved = image.affine.copy()
            moved[0, 3] += SPACING
            image.set_sform(image.affine, codes[0])
            image.set_qform(moved, codes[1])
            path.write_bytes(gzip.compress(image.to_bytes()))
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out").code == 0
    told = {case: json.loads((tmp_path / "out" / f"{case}.json").read_text()) for case in ("none", "two")}
    slots = "m1, m2, functional"
    assert f"{slots} has no orientation in its header: left and right are taken as stored" in told["none"]["warnings"]
    said = f"sform and qform of {slots} disagree (see the sidecar): the sform was used"
    assert said in told["two"]["warnings"]
    assert told["two"]["inputs"]["m1"]["forms_apart_mm"] == SPACING


@pytest.mark.parametrize(("off", "code"), [(6e-4, 0), (1.0, 4)])
def test_a_place_in_space_may_jitter_but_not_shift(
    tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]], off: float, code: int
) -> None:
    """By 6e-4 mm, numbers differ that are rounded to 3 decimals."""
    folder = write_nifti(tmp_path / "in" / "k", volumes)
    image = loaded(folder / "pet.nii.gz")
    image.affine[:3, 3] += off
    (folder / "pet.nii.gz").write_bytes(gzip.compress(nib.Nifti1Image(image.dataobj, image.affine).to_bytes()))
    place: dict[str, Any] = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [-100, 20, 3]}
    moved = place | {"ImagePositionPatient": [-100 + off, 20, 3]}
    write_dicom(tmp_path / "in" / "d", volumes, mr_t1=place, mr_t2=place, pet=moved)
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert done.code == code, done.err
    assert done.err.count("do not have the same grid: register and resample") == (2 if code else 0)


def test_the_same_content_in_two_slots_is_refused(tmp_path: Path, cli: Cli) -> None:
    folder = write_case(tmp_path / "in" / "k")
    (folder / "mr-t1.png").write_bytes((folder / "mr-t2.png").read_bytes())
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert done.code == 4
    assert "m1 and m2 are the same file's content (mr-t1.png and mr-t2.png)" in done.err
    for name in ("mr-t1", "mr-t2"):  # beyond the head: black, and alike
        (folder / f"{name}.png").write_bytes(png(np.zeros((SIDE, SIDE), np.uint8)))
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out").code == 0


def test_a_spread_is_a_series_of_its_own_and_no_result(
    tmp_path: Path, cli: Cli, volumes: dict[str, NDArray[np.uint8]]
) -> None:
    write_dicom(tmp_path / "in" / "d", volumes)
    write_nifti(tmp_path / "in" / "n", {name: volume[:1] for name, volume in volumes.items()})
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--samples", 2).code == 0
    result, spread = (pydicom.dcmread(tmp_path / "out" / name) for name in ("d.dcm", "spread/d.dcm"))
    assert spread.SeriesInstanceUID != result.SeriesInstanceUID
    assert spread.SOPInstanceUID != result.SOPInstanceUID
    assert spread.SeriesNumber == result.SeriesNumber + 1
    assert spread.SeriesDescription == "Spread of samples x4, RESEARCH USE ONLY"
    assert spread.StudyInstanceUID == result.StudyInstanceUID
    heads = [loaded(tmp_path / "out" / name).header["descrip"].item() for name in ("n.nii.gz", "spread/n.nii.gz")]
    assert heads[0].startswith(b"tfs-rt recipe:")
    assert heads[1].startswith(b"tfs-rt spread recipe:")
    assert not is_result(tmp_path / "out" / "spread" / "n.nii.gz")


def test_a_folder_in_a_files_place_and_a_name_without_a_format_say_what_to_do(tmp_path: Path, cli: Cli) -> None:
    folder = write_case(tmp_path / "k")
    (folder / "series").mkdir()
    (folder / "t2.scan").write_bytes(b"")
    for other, words in (
        ("series", "is a folder without files: give the folder that holds the slices themselves"),
        ("t2.scan", "is in no format that is read: convert it to one of PNG"),
    ):
        files = ["--m1", folder / "mr-t1.png", "--m2", folder / other, "--functional", folder / "pet.png"]
        assert words in cli("fuse", *files, "-o", tmp_path / "out").err
