"""The images of a case are put onto one grid, or refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nibabel import Nifti1Image
from PIL import Image
from pydicom import dcmread

from support.heads import linear, plane_of_space, rigid, write_nifti, write_series
from support.helpers import png, write_case
from support.made_dicom import TEXT
from tfs_rt.batch.notices import reading_warnings
from tfs_rt.cases.align import AlignOptions
from tfs_rt.cases.case import Case
from tfs_rt.cases.load import Loaded, ReadCase, ReadingOptions, load_case, read_case
from tfs_rt.errors import InputError
from tfs_rt.formats.registry import encode, encode_series, read_picture
from tfs_rt.formats.volume import Matrix, Volume, transform_points
from tfs_rt.spec import SLOTS

BY_HEADERS = AlignOptions(register=False)
WINDOWS = dict.fromkeys(SLOTS, (0.0, 2000.0))
# Grids of three images of one space: m1 lies within the other two.
GRIDS: dict[str, tuple[tuple[int, int, int], Matrix]] = {
    "m1": ((5, 9, 8), np.array([[2.0, 0, 0, -8], [0, 1.5, 0, -6], [0, 0, 3.0, -5], [0, 0, 0, 1]])),
    "m2": (
        (20, 22, 24),
        rigid(10, (0.0, 0.0, 0.0), np.zeros(3))
        @ np.array([[1.5, 0, 0, -18], [0, 1.5, 0, -16], [0, 0, 2.0, -20], [0, 0, 0, 1]]),
    ),
    "functional": ((16, 18, 18), np.array([[0, 2.5, 0, -20], [2.4, 0, 0, -20], [0, 0, -2.5, 20], [0, 0, 0, 1]])),
}


def series_case(folder: Path, **changes: Any) -> Case:
    """Three DICOM series of one linear function of the place, each on a grid of its own."""
    files = {}
    for number, (slot, (shape, to_world)) in enumerate(GRIDS.items()):
        modality = "PT" if slot == "functional" else "MR"
        own = {"Modality": modality} | {key: value[number] for key, value in changes.items()}
        files[slot] = write_series(folder / slot, plane_of_space(shape, to_world), number + 1, **own)
    return Case("k", files)


def read(case: Case, align: AlignOptions, **options: Any) -> ReadCase:
    return read_case(case, ReadingOptions(align=align, windows=WINDOWS, **options), read_picture)


def values_of(read_case: ReadCase, slot: str) -> np.ndarray:
    measured = read_case.pictures[slot].measured
    assert measured
    return measured.values


def load(case: Case, align: AlignOptions | None, **options: Any) -> Loaded:
    return load_case(case, 1, None, ReadingOptions(align=align, windows=WINDOWS, **options))


@pytest.mark.parametrize("onto", ["m1", 2.5])
def test_by_headers_each_voxel_has_the_value_of_its_place(tmp_path: Path, onto: str | float) -> None:
    options = AlignOptions(register=False) if onto == "m1" else AlignOptions(register=False, spacing=2.5)
    found = read(series_case(tmp_path), options)
    assert found.aligned
    grid = found.aligned.grid
    z, y, x = np.indices(grid.shape)
    places = transform_points(grid.to_world, np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float64))
    expected = linear(places).reshape(grid.shape)
    # Where the spacing is coarser than the grid of m1, its edges are blurred with what lies beyond.
    inner = (slice(None),) * 3 if onto == "m1" else (slice(1, -1),) * 3
    for slot in SLOTS:
        np.testing.assert_allclose(values_of(found, slot)[inner], expected[inner], atol=1.0)  # of whole stored values
        assert found.inputs[slot]["alignment"]["coverage"] == 1


def test_on_one_grid_headers_change_nothing(tmp_path: Path) -> None:
    shape, to_world = GRIDS["m1"]
    volumes = plane_of_space(shape, to_world)
    files = {}
    for slot in SLOTS:
        volumes.values[0, 0, 0] += 1  # no two are the same file
        files[slot] = write_nifti(tmp_path / f"{slot}.nii", volumes)
    plain = load(Case("k", files), None)
    aligned = load(Case("k", files), BY_HEADERS)
    np.testing.assert_array_equal(np.array(aligned.slices), np.array(plain.slices))
    assert (aligned.frames, aligned.size, aligned.format) == (plain.frames, plain.size, plain.format)


def test_a_series_has_the_place_of_the_target_the_patient_of_m1_and_refers_to_all_of_what_was_moved(
    tmp_path: Path,
) -> None:
    frames = ["1.2.826.21", "1.2.826.22", "1.2.826.23"]
    case = series_case(tmp_path, FrameOfReferenceUID=frames, PatientSex=["F", "", ""])
    loaded = load(case, AlignOptions(onto="functional", register=False), same_frame=True)
    (depth, height, width), to_world = GRIDS["functional"]
    assert (len(loaded.slices), loaded.size) == (depth, (height, width))
    files = encode_series("dicom", [images[0] for images in loaded.slices], loaded.frames, TEXT)
    slices = [dcmread(io.BytesIO(data)) for data in files.values()]
    for k, one in enumerate(slices):
        np.testing.assert_allclose(one.ImagePositionPatient, (to_world @ [0, 0, k, 1])[:3], atol=1e-6)
        assert (one.FrameOfReferenceUID, one.PatientSex) == (frames[2], "F")
        references = [item.ReferencedSOPInstanceUID for item in one.SourceImageSequence]
        own = [uid for uid in references if uid.startswith("1.2.826.1.3.")]
        assert own == [f"1.2.826.1.3.{k + 1}"]
        assert len(references) == 1 + GRIDS["m1"][0][0] + GRIDS["m2"][0][0]
    np.testing.assert_allclose(slices[0].PixelSpacing, [2.5, 2.4])
    assert "m2" in [slot for slot, facts in loaded.inputs.items() if "same_frame_as" in facts]


def test_a_nifti_target_gives_nifti_and_a_spacing_a_new_grid(tmp_path: Path) -> None:
    case = series_case(tmp_path)
    shape, to_world = GRIDS["m1"]
    case.files["m1"] = write_nifti(tmp_path / "t1.nii.gz", plane_of_space(shape, to_world))
    options = AlignOptions(register=False, spacing=1.0)
    with pytest.raises(InputError, match="do not say that they have one frame of reference"):
        load(case, options)
    loaded = load(case, options, same_frame=True)
    assert loaded.format == "nifti"
    data = encode("nifti", [images[0] for images in loaded.slices], loaded.frames, TEXT)
    (tmp_path / "fused.nii.gz").write_bytes(data)
    image = Nifti1Image.from_filename(tmp_path / "fused.nii.gz")
    assert image.shape == (16, 14, 15)  # 8 x 2 mm, 9 x 1.5 mm, 5 x 3 mm
    np.testing.assert_allclose(image.header.get_zooms(), [1, 1, 1])
    middle = (image.header.get_best_affine() @ [*(np.array(image.shape) - 1) / 2, 1])[:3]
    np.testing.assert_allclose(middle, np.diag([-1, -1, 1]) @ (to_world @ [3.5, 4, 2, 1])[:3], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"PatientID": ["P-1", "P-1", "P-2"]}, AlignOptions(), "do not have the same patient"),
        ({"FrameOfReferenceUID": ["1.2.1", "1.2.2", "1.2.1"]}, BY_HEADERS, "do not say that they have one frame"),
        ({"FrameOfReferenceUID": ["", "", ""]}, BY_HEADERS, "do not say that they have one frame"),
        ({"Modality": ["PT", "MR", "PT"]}, AlignOptions(), "says that it is PT"),
    ],
)
def test_what_cannot_be_one_case_is_refused_before_it_is_registered(
    tmp_path: Path, changes: dict[str, Any], options: AlignOptions, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        read(series_case(tmp_path, **changes), options)


def test_images_that_do_not_overlap_are_refused(tmp_path: Path) -> None:
    case = series_case(tmp_path)
    shape, to_world = GRIDS["m2"]
    far = to_world.copy()
    far[2, 3] += 500
    for file in (tmp_path / "m2").iterdir():
        file.unlink()
    write_series(tmp_path / "m2", Volume(plane_of_space(shape, to_world).values, far), 2)
    with pytest.raises(InputError, match="does not overlap the grid of m1"):
        read(case, BY_HEADERS)


def head_image(angle: float, size: int = 96) -> np.ndarray:
    """A slice of a made head with detail, turned about its middle."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:size, 0:size] - (size - 1) / 2
    detail = np.asarray(Image.fromarray(rng.integers(60, 250, (9, 9)).astype(np.uint8)).resize((size, size), 3))
    head = np.where((x / 33) ** 2 + (y / 40) ** 2 < 1, detail, 0).astype(np.uint8)
    return np.asarray(Image.fromarray(head).rotate(angle, Image.Resampling.BILINEAR))


def inverted(image: np.ndarray) -> np.ndarray:
    """Bright tissue is dark; the background stays black."""
    return np.where(image > 0, 300 - image.astype(int), 0).clip(0, 255).astype(np.uint8)


def test_single_images_without_a_place_are_registered_and_noise_is_doubted_or_refused(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "k")
    (folder / "mr-t1.png").write_bytes(png(head_image(0)))
    (folder / "mr-t2.png").write_bytes(png(inverted(head_image(7))))
    noise = np.random.default_rng(2).integers(0, 255, (48, 48, 3)).astype(np.uint8)
    (folder / "pet.png").write_bytes(png(noise))
    case = Case(
        "k", {slot: folder / f"{name}.png" for slot, name in zip(SLOTS, ("mr-t1", "mr-t2", "pet"), strict=True)}
    )
    loaded = load_case(case, 1, None, ReadingOptions(align=AlignOptions()))
    assert (loaded.format, loaded.size) == ("png", (96, 96))
    # The turned image lies on the other again.
    inside = head_image(0) > 0
    expected = inverted(head_image(0)).astype(int)
    left = np.abs(loaded.slices[0][1][..., 0] - expected)[inside].mean()
    assert left < 0.5 * np.abs(inverted(head_image(7)) - expected)[inside].mean()
    assert any("functional (onto m1) is not to be trusted" in warning for warning in reading_warnings(loaded))
    (folder / "mr-t2.png").write_bytes(png(noise[:47]))
    with pytest.raises(InputError, match=r"mr-t2\.png: its registration to m1 is not to be trusted"):
        load_case(case, 1, None, ReadingOptions(align=AlignOptions(strict=True)))
    with pytest.raises(InputError, match="its header cannot align it") as caught:
        load_case(case, 1, None, ReadingOptions(align=BY_HEADERS))
    assert caught.value.remedy == "leave out --no-register"
    with pytest.raises(InputError, match="has no extent in mm"):
        load_case(case, 1, None, ReadingOptions(align=AlignOptions(spacing=1.0)))


def test_a_placed_image_and_one_without_a_place_are_refused(tmp_path: Path) -> None:
    case = series_case(tmp_path)
    (tmp_path / "flat.png").write_bytes(png(head_image(0)))
    case.files["m2"] = tmp_path / "flat.png"
    with pytest.raises(InputError, match="does not say where it lies in space, unlike m1"):
        load_case(case, 1, None, ReadingOptions(align=AlignOptions()))


def test_the_recipe_of_a_run_without_alignment_is_as_it_was() -> None:
    assert ReadingOptions().recipe() == {"windows": {}, "colormap": None}
    recipe = ReadingOptions(align=AlignOptions(spacing=2.0)).recipe()["align"]
    assert (recipe["onto"], recipe["register"]) == (2.0, True)
    assert "strict" not in recipe
