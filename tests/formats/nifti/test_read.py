"""A volume is sliced as a radiologist sees it, and its fused slices lie in space where it lay."""

import gzip
import itertools
import pickle
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension
from nibabel.testing import data_path
from PIL import Image

from tfs_rt.cases.compatibility import values_agree
from tfs_rt.errors import InputError
from tfs_rt.formats.nifti.read import read
from tfs_rt.formats.nifti.write import encode
from tfs_rt.formats.picture import FileOptions, Picture

PATH = Path("somewhere/ct.nii.gz")
PLAIN = Path("somewhere/ct.nii")
TEXT: dict[str, str] = {"tfs-rt:recipe-sha256": "0123456789abcdef" * 4}
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
PHANTOM = np.arange(5 * 6 * 4, dtype=np.uint8).reshape(5, 6, 4)  # every voxel differs; axes run to right, front, top
MARKED = (1, 4, 2)
PLACE = np.array([[0.9, 0, 0, -31], [0, 1.1, 0, 12], [0, 0, 2.5, -7], [0, 0, 0, 1.0]])
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def stored(order: tuple[int, ...], signs: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The phantom with its axes permuted and flipped, and the affine that says so."""
    turn = np.eye(4)
    turn[:3, :3] = 0
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        turn[old, new] = sign
        turn[old, 3] += (PHANTOM.shape[old] - 1) * (sign < 0)
    steps = tuple(slice(None, None, sign) for sign in signs)
    return PHANTOM.transpose(order)[steps], PLACE @ turn


def nifti(data: np.ndarray, affine: np.ndarray = PLACE, version: int = 1, order: Any = "<", **fields: Any) -> bytes:
    """A `.nii`: a header of nibabel's, in which any field can be set, and the voxels."""
    header: Any = (nib.Nifti2Header if version == 2 else nib.Nifti1Header)(endianness=order)
    header.set_data_shape(data.shape)
    header.set_data_dtype(data.dtype)
    header.set_sform(affine, 2)
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header["vox_offset"] = header.single_vox_offset
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + bytes(4) + data.astype(data.dtype.newbyteorder(order)).tobytes("F")


def picture(data: bytes, rules: FileOptions | None = None, path: Path = PLAIN) -> Picture:
    return read(data, path, rules or FileOptions())


def loaded(data: bytes) -> Any:
    return nib.Nifti1Image.from_bytes(gzip.decompress(data))


def voxels(image: Any) -> np.ndarray:
    data = np.asarray(image.dataobj)
    return np.stack([data["R"], data["G"], data["B"]], axis=-1)


def refused(data: bytes, words: str, path: Path = PLAIN, rules: FileOptions | None = None) -> None:
    with pytest.raises(InputError, match=words or None) as caught:
        picture(data, rules, path)
    assert caught.value.subject == str(path)
    assert caught.value.remedy


def grey_view(volume: np.ndarray) -> list[np.ndarray]:
    """The slices of a volume whose axes run to right, front and top, as a radiologist sees them."""
    width, height, depth = volume.shape
    images = np.zeros((depth, height, width, 3), volume.dtype)
    for row, column, k in itertools.product(range(height), range(width), range(depth)):
        images[k, row, column] = volume[width - 1 - column, height - 1 - row, k]
    return list(images)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_forty_eight_orientations_look_the_same_and_return_to_their_place(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    data, affine = stored(order, signs)
    found = picture(nifti(data, affine, qform_code=0))
    np.testing.assert_array_equal(found.slices, grey_view(PHANTOM))
    assert values_agree(found.subject["grid"], picture(nifti(PHANTOM)).subject["grid"])
    image = loaded(encode(found.slices, {"m1": found.frame}, TEXT))
    np.testing.assert_array_equal(voxels(image), np.repeat(data[..., None], 3, axis=-1))
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    larger = loaded(encode([np.kron(s, np.ones((2, 3, 1), np.uint8)) for s in found.slices], {"m1": found.frame}, TEXT))
    value = PHANTOM[MARKED]
    centre = np.argwhere(voxels(larger)[..., 0] == value).mean(axis=0)
    np.testing.assert_allclose(larger.affine @ [*centre, 1], PLACE @ [*MARKED, 1], atol=1e-4)
    np.testing.assert_allclose(larger.header.get_zooms(), np.linalg.norm(larger.affine[:3, :3], axis=0), rtol=1e-6)


@pytest.mark.parametrize("size", [(6, 5), (11, 13), (24, 20), (9, 40)])
def test_the_corners_of_the_volume_stay_where_they_were(size: tuple[int, int]) -> None:
    """Oblique, with a sform and a qform that differ, each of which is moved on its own."""
    c = np.cos(0.3)
    s = np.sin(0.3)
    turned = np.array([[c, -s, 0, 3], [s, c, 0, -8], [0, 0, 1, 2], [0, 0, 0, 1]]) @ PLACE
    image = nib.Nifti1Image(PHANTOM, PLACE)
    image.set_sform(PLACE, 4)
    image.set_qform(turned, 1)
    image.header.set_xyzt_units("mm", "sec")
    found = picture(image.to_bytes())
    slices = [np.asarray(Image.fromarray(each).resize((size[1], size[0]))) for each in found.slices]
    larger = loaded(encode(slices, {"m1": found.frame}, TEXT))
    assert larger.shape == (size[1], size[0], 4)
    for corner in itertools.product((0, 1), repeat=3):
        old = [*(np.array(corner) * PHANTOM.shape - 0.5), 1]
        new = [*(np.array(corner) * larger.shape - 0.5), 1]
        np.testing.assert_allclose(larger.get_sform() @ new, PLACE @ old, atol=1e-4)
        np.testing.assert_allclose(larger.get_qform() @ new, turned @ old, atol=1e-4)
    assert (int(larger.header["sform_code"]), int(larger.header["qform_code"])) == (4, 1)
    assert larger.header.get_xyzt_units() == ("mm", "sec")


def test_a_result_is_rgb24_and_depends_on_its_arguments_alone() -> None:
    found = picture(nifti(PHANTOM, descrip=b"Jane Doe", aux_file=b"secret"))
    data = encode(found.slices, {"m1": pickle.loads(pickle.dumps(found.frame))}, TEXT)
    assert data == encode(found.slices, {"m1": found.frame}, TEXT)
    assert data[4:8] == bytes(4)  # the time in a gzip header
    header = loaded(data).header
    assert int(header["datatype"]) == 128
    assert header["descrip"].item() == b"tfs-rt recipe:0123456789abcdef"
    assert header["aux_file"].item() == b""
    np.testing.assert_array_equal(picture(data, path=PATH).slices, found.slices)


def test_a_result_too_long_for_nifti_1_is_nifti_2() -> None:
    found = picture(nifti(np.zeros((5, 6, 1), np.uint8)))
    content = gzip.decompress(encode([np.zeros((2, 40_000, 3), np.uint8)], {"m1": found.frame}, TEXT))
    image: Any = nib.Nifti2Image.from_bytes(content)
    assert image.shape == (40_000, 2, 1)
    np.testing.assert_allclose(image.affine @ [-0.5, -0.5, 0, 1], PLACE @ [-0.5, -0.5, 0, 1], atol=1e-4)
    second = picture(nifti(PHANTOM, version=2))
    assert nib.Nifti2Image.from_bytes(gzip.decompress(encode(second.slices, {"m1": second.frame}, TEXT))).shape


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_scalar_type_is_windowed_in_scaled_values(kind: str, order: str) -> None:
    low = 0 if kind[0] == "u" else -60
    values = np.arange(low, low + 120).reshape(5, 6, 4).astype(np.dtype(kind))
    version = 2 if kind == "f8" else 1
    data = nifti(values, version=version, order=order, scl_slope=2.5, scl_inter=-10.0)
    found = picture(data, FileOptions(window=(-50, 200)))
    expected = np.rint((values * 2.5 - 10 + 50).clip(0, 250) / 250 * 255).astype(np.uint8)
    np.testing.assert_array_equal(found.slices, grey_view(expected))
    assert found.facts["levels"] == "window -50 to 200, given"
    image: Any = (nib.Nifti2Image if version == 2 else nib.Nifti1Image).from_bytes(data)
    np.testing.assert_array_equal(image.get_fdata(), values * 2.5 - 10)


def test_eight_bits_without_scaling_are_taken_as_they_are() -> None:
    found = picture(nifti(PHANTOM, cal_max=50.0))
    np.testing.assert_array_equal(found.slices, grey_view(PHANTOM))
    assert found.facts["levels"] == "8-bit levels as stored"
    assert found.facts | {"levels": ""} == {
        "format": "nifti",
        "shape": [5, 6, 4],
        "voxel_mm": [0.9, 1.1, 2.5],
        "axes": "RAS as stored",
        "sform_code": 2,
        "qform_code": 0,
        "levels": "",
    }
    assert not picture(nifti(PHANTOM), FileOptions(window=(200, 300))).slices[0].any()


def test_without_a_window_the_header_decides_and_then_the_data(rng: np.random.Generator) -> None:
    values = rng.normal(1000, 300, (20, 18, 7)).astype(np.int16)
    by_header = picture(nifti(values, cal_min=500.0, cal_max=1500.0))
    expected = np.rint((values - 500.0).clip(0, 1000) * 0.255)
    np.testing.assert_array_equal(by_header.slices, grey_view(expected))
    assert by_header.facts["window_from"] == "file"
    for slope in (1.0, -2.0):
        by_data = picture(nifti(values, scl_slope=slope, scl_inter=3.0))
        scaled = np.sort((values.astype(float) * slope + 3).ravel())
        at = (scaled.size - 1) * np.array([0.005, 0.995])
        low, high = scaled[at.astype(int)] + (at % 1) * (scaled[at.astype(int) + 1] - scaled[at.astype(int)])
        expected = np.rint((values * slope + 3 - low).clip(0, high - low) / (high - low) * 255)
        np.testing.assert_array_equal(by_data.slices, grey_view(expected))
        assert by_data.facts["window_from"] == "data"
        assert (
            by_data.facts["levels"]
            == f"window {low:.6g} to {high:.6g}, the 0.5th to the 99.5th percentile of its voxels"
        )


def test_a_window_that_shows_next_to_nothing_of_a_volume_does_not_count(rng: np.random.Generator) -> None:
    """One slice may be dark by right: its volume may be brighter elsewhere."""
    values = rng.integers(0, 100, (8, 8, 3)).astype(np.int16)
    wide = {"cal_min": 0.0, "cal_max": 4000.0}
    assert picture(nifti(values, **wide)).facts["window_from"] == "data"
    assert picture(nifti(values[..., :1], **wide)).facts["window_from"] == "file"
    assert picture(nifti(values, cal_min=0.0, cal_max=2000.0)).facts["window_from"] == "file"


def head(rng: np.random.Generator) -> np.ndarray:
    """A CT of sorts in HU: padding, air, fat to blood, bone."""
    values = rng.integers(-80, 90, (16, 16, 6)).astype(np.int16)
    values[:, :4] = -3024
    values[:, 4] = 1200
    values[:, -4:] = -1000
    return values


HEAD = Path("somewhere/ct.nii")
UNNAMED = Path("somewhere/k7_0000.nii")


@pytest.mark.parametrize(("path", "modality"), [(HEAD, "ct"), (UNNAMED, None)])
@pytest.mark.parametrize("padding", [-1024, -2000, -3024])
def test_ct_without_a_window_is_shown_by_the_head_window_whatever_its_padding(
    rng: np.random.Generator, path: Path, modality: str | None, padding: int
) -> None:
    """By its name, or by values that no other modality has."""
    values = head(rng)
    values[values == -3024] = padding
    expected = grey_view(np.rint(values.clip(0, 80) * (255 / 80)).astype(np.uint8))
    halved = nifti((values // 2).astype(np.int16), scl_slope=2.0, scl_inter=0.0)
    for data in (nifti(values), nifti(values.astype(np.float32)), halved):
        found = picture(data, FileOptions(modality=modality, may_be_ct=True), path)
        assert found.facts["window_from"] == "head"
        assert found.facts["levels"] == "window 0 to 80 HU, the head window for CT without one"
    rules = FileOptions(modality=modality, may_be_ct=True)
    np.testing.assert_array_equal(picture(nifti(values), rules, path).slices, expected)


def test_padding_alone_does_not_make_a_ct_hounsfield(rng: np.random.Generator) -> None:
    """Values that lost their intercept are all far above 0: the head window would make them white."""
    shifted = head(rng) + np.int16(1024)
    shifted[:, :4] = -2000
    refused(nifti(shifted), "do not look like HU", HEAD, FileOptions(modality="ct"))


def test_values_like_those_of_ct_in_a_file_named_otherwise_are_not_ct(rng: np.random.Generator) -> None:
    unnamed = FileOptions(may_be_ct=True)
    assert picture(nifti(head(rng)), unnamed).facts["window_from"] == "head"
    assert picture(nifti(head(rng)), FileOptions(may_be_ct=True, modality="mr-t1")).facts["window_from"] == "data"
    assert picture(nifti(head(rng)), FileOptions()).facts["window_from"] == "data"  # of a slot that holds no CT
    masked = rng.normal(0, 60, (16, 16, 6)).astype(np.float32)  # normalised, with a background of -1000
    masked[:4] = -1000
    for values in (masked, np.rint(masked), np.where(masked > 100, 1200.5, masked)):
        assert picture(nifti(values.astype(np.float32)), unnamed).facts["window_from"] == "data"
    spread = rng.integers(-4000, 4000, (16, 16, 6)).astype(np.int16)  # as inversion recovery has them
    assert picture(nifti(spread), unnamed).facts["window_from"] == "data"


def test_ct_that_is_not_in_hounsfield_units_needs_a_window(rng: np.random.Generator) -> None:
    shifted = nifti((head(rng) + 3024).astype(np.uint16))
    refused(
        shifted,
        "is CT without a window, and its values .0 to 4224. do not look like HU",
        HEAD,
        FileOptions(modality="ct"),
    )
    window = FileOptions(modality="ct", window=(3024, 3104))
    assert picture(shifted, window, HEAD).facts["window_from"] == "user"
    brain = rng.integers(0, 90, (16, 16, 6)).astype(np.int16)  # extracted: no air
    assert picture(nifti(brain), FileOptions(modality="ct"), HEAD).facts["window_from"] == "data"


@pytest.mark.parametrize("slope", [1.0, -0.5])
def test_a_header_window_that_only_repeats_the_extremes_does_not_count(rng: np.random.Generator, slope: float) -> None:
    values = rng.normal(1000, 300, (20, 18, 7)).astype(np.int16)
    scale: dict[str, Any] = {"scl_slope": slope, "scl_inter": 3.0}
    plain = picture(nifti(values, **scale))

    def shown(low: float, high: float) -> dict[str, Any]:
        ends = sorted((low * slope + 3, high * slope + 3))
        return {**scale, "cal_min": ends[0], "cal_max": ends[1]}

    for low, high in ((values.min(), values.max()), (-(2**15), 2**15 - 1), (values.min(), 2**15 - 1)):
        found = picture(nifti(values, **shown(float(low), float(high))))
        assert found.facts["window_from"] == "data"
        np.testing.assert_array_equal(found.slices, plain.slices)
    for low, high in ((values.min() + 40, values.max()), (0, 4095)):
        assert picture(nifti(values, **shown(float(low), float(high)))).facts["window_from"] == "file"


def test_a_header_window_that_cannot_be_meant_does_not_count(rng: np.random.Generator) -> None:
    """Unscaled extremes, extremes but for rounding, and windows in which everything is black or white."""
    values = rng.normal(1000, 300, (20, 18, 7)).astype(np.int16)
    low = float(values.min())
    high = float(values.max())
    scale: dict[str, Any] = {"scl_slope": 0.001, "scl_inter": 0.0}
    plain = picture(nifti(values, **scale))
    windows = [(low, high), (0, 4095), (low / 1000 - 0.001, high / 1000), (low / 1000, high / 1000 * 1.003)]
    for shown in [*windows, (-3, -2), (30, 40)]:
        found = picture(nifti(values, **scale, cal_min=shown[0], cal_max=shown[1]))
        assert found.facts["window_from"] == "data", shown
        np.testing.assert_array_equal(found.slices, plain.slices)
    assert picture(nifti(values, **scale, cal_min=0.5, cal_max=1.5)).facts["window_from"] == "file"


def test_a_header_window_of_ct_counts_if_it_leaves_out_more_than_air(rng: np.random.Generator) -> None:
    ct = FileOptions(modality="ct")
    for low, high in ((-3024, 1200), (-4096, 4095), (-1024, 3071), (-1000, 1200)):
        assert picture(nifti(head(rng), cal_min=low, cal_max=high), ct).facts["window_from"] == "head"
    for low, high, wide in ((-500, 1200, 1700.0), (-1000, 600, 1600.0), (-160, 240, None), (0, 80, None)):
        facts = picture(nifti(head(rng), cal_min=low, cal_max=high), ct).facts
        assert facts["window_from"] == "file"
        assert facts.get("wide_window_hu") == wide


QFORM = {"sform_code": 0, "qform_code": 1}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({**QFORM, "pixdim": [1, 1, np.nan, 1, 0, 0, 0, 0]}, "its pixdim is 1, nan, 1, not 3 lengths"),
        ({**QFORM, "pixdim": [1, -2, 1, 1, 0, 0, 0, 0]}, "its pixdim is -2, 1, 1, not 3 lengths"),
        ({"srow_z": [0, 0, 1, np.nan]}, "its srow_z is 0, 0, 1, nan, not finite"),
        ({"qform_code": 1, "quatern_c": np.nan}, "its quatern_c is nan, not finite"),
        ({"qform_code": 1, "qoffset_x": np.inf}, "its qoffset_x is inf, not finite"),
    ],
)
def test_a_place_that_cannot_be_read_is_refused_by_its_field(fields: dict[str, Any], words: str) -> None:
    refused(nifti(PHANTOM, **fields), words)


@pytest.mark.parametrize("sizes", [(-0.9, 1.1, 2.5), (np.nan, 1.1, 2.5), (np.inf, -1.1, 2.5)])
def test_sizes_of_voxels_count_with_a_qform_alone(sizes: tuple[float, ...]) -> None:
    plain = picture(nifti(PHANTOM))
    codes: dict[str, Any]
    for codes in ({}, {"qform_code": 1}):
        found = picture(nifti(PHANTOM, pixdim=[1, *sizes, 0, 0, 0, 0], **codes))
        np.testing.assert_array_equal(found.slices, plain.slices)
        assert found.facts["voxel_mm"] == plain.facts["voxel_mm"] == [0.9, 1.1, 2.5]
        assert found.frame is not None
        np.testing.assert_allclose(found.frame["pixdim"], [1, 0.9, 1.1, 2.5], rtol=1e-6)
    unplaced = picture(nifti(PHANTOM, pixdim=[1, *sizes, 0, 0, 0, 0], sform_code=0))
    first = 0.9 if np.isfinite(sizes[0]) else 0
    np.testing.assert_allclose(unplaced.facts["voxel_mm"], [first, 1.1, 2.5], rtol=1e-6)


def test_a_place_that_does_not_count_need_not_be_readable() -> None:
    assert picture(nifti(PHANTOM, qform_code=0, quatern_c=np.nan)).facts["sform_code"] == 2


def test_volumes_of_one_value_or_nearly_so_are_no_division_by_zero() -> None:
    flat = picture(nifti(np.full((5, 6, 4), 7, np.int16)))
    assert not np.array(flat.slices).any()
    assert flat.facts["levels"] == "all voxels are 7: all black"
    sparse = np.zeros((20, 20, 5), np.float32)
    sparse[3, 4, 2] = 10
    found = picture(nifti(sparse))
    np.testing.assert_array_equal(found.slices, grey_view((sparse * 25.5).astype(np.uint8)))
    assert "its percentiles are one value" in found.facts["levels"]


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 1, 1), (5, 6, 4, 1, 1)])
def test_one_slice_and_one_volume_of_many_dimensions_are_read(shape: tuple[int, ...]) -> None:
    data = PHANTOM.ravel()[: np.prod(shape)].reshape(shape)
    found = picture(nifti(data))
    np.testing.assert_array_equal(found.slices, grey_view(data.reshape(5, 6, -1)))
    image = loaded(encode(found.slices, {"m1": found.frame}, TEXT))
    np.testing.assert_array_equal(voxels(image)[..., 0], data.reshape(5, 6, -1))


def test_rgb24_is_read_as_it_is(rng: np.random.Generator) -> None:
    colours = rng.integers(0, 256, (5, 6, 4, 3)).astype(np.uint8)
    data = nifti(np.ascontiguousarray(colours).view(RGB)[..., 0])
    for rules in (FileOptions(), FileOptions(window=(0, 10))):
        found = picture(data, rules)
        expected = [grey_view(colours[..., c]) for c in range(3)]
        np.testing.assert_array_equal(found.slices, np.stack([np.array(e)[..., 0] for e in expected], axis=-1))
        assert found.facts["levels"] == "8-bit levels as stored"
    np.testing.assert_array_equal(voxels(loaded(encode(found.slices, {"m1": found.frame}, TEXT))), colours)


def test_without_an_orientation_axes_are_taken_as_stored_and_the_facts_say_so() -> None:
    found = picture(nifti(PHANTOM, sform_code=0, qform_code=0))
    np.testing.assert_array_equal(np.array(found.slices)[..., 0], PHANTOM.transpose(2, 1, 0))
    assert found.facts["axes"].startswith("no orientation in the header: axes taken as stored")
    assert "grid" not in found.subject
    assert found.subject["orientation"] != picture(nifti(PHANTOM)).subject["orientation"]
    larger = [np.kron(each, np.ones((2, 2, 1), np.uint8)) for each in found.slices]
    image = loaded(encode(larger, {"m1": found.frame}, TEXT))
    np.testing.assert_array_equal(voxels(image)[::2, ::2, :, 0], PHANTOM)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 0)
    np.testing.assert_allclose(image.header.get_zooms(), (0.45, 0.55, 2.5))


def test_the_grid_is_the_same_through_float32_and_another_where_the_place_is() -> None:
    fine = np.diag([0.3125, 0.46875, 1.5, 1])
    noisy = fine + 3e-8
    edge = np.diag([0.3125, 0.46875, 1.49951, 1])  # beside 1.4995, where rounding to 3 decimals parts two floats
    grids = [picture(nifti(PHANTOM, affine)).subject["grid"] for affine in (fine, noisy, edge, edge - 2e-5)]
    assert values_agree(*grids[:2])
    assert values_agree(*grids[2:])
    for other in (fine + 0.01 * np.eye(4)[:, ::-1], fine + np.eye(4)[:, [3, 1, 2, 0]] * 0.05):
        assert not values_agree(grids[0], picture(nifti(PHANTOM, other)).subject["grid"])
    assert not values_agree(grids[0], picture(nifti(PHANTOM[:, :, :3], fine)).subject["grid"])
    assert not values_agree(grids[0], {"size": "what a reader says", "corners": None})


def test_what_cannot_be_read_by_rule_is_refused() -> None:
    refused(nifti(np.zeros((5, 6, 4, 2), np.uint8)), "2 volumes")
    refused(nifti(np.zeros((5, 6, 4, 1, 3), np.float32)), "3 volumes or components")
    refused(nifti(np.zeros((5,), np.uint8)), "a line of voxels")
    refused(nifti(PHANTOM.astype(np.complex64)), "complex64")
    refused(nifti(np.zeros((5, 6, 4), [("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])), "transparent voxels")
    refused(nifti(PHANTOM, datatype=1), "binary")
    refused(nifti(PHANTOM, magic=b"ni1"), "in another file")
    refused(nifti(PHANTOM, sform_code=17), "unknown code")
    refused(nifti(PHANTOM, np.zeros((4, 4))), "span no volume")
    refused(nifti(PHANTOM, srow_x=[np.inf, 0, 0, 0]), "its srow_x is inf, 0, 0, 0, not finite")
    refused(nifti(PHANTOM, np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]))[:360], "damaged")
    refused(nifti(np.zeros((1, 6, 4), np.uint8)), "its axial slices are 1x6")
    for bad, words in ((np.nan, "not numbers"), (np.inf, "infinite values"), (-np.inf, "infinite values")):
        holed = PHANTOM.astype(np.float32)
        holed[2, 3, 1] = bad
        refused(nifti(holed), words, rules=FileOptions(window=(0, 100)))
    image = nib.Nifti1Image(PHANTOM, PLACE)
    image.set_sform(PLACE, 1)
    image.set_qform(PLACE @ np.diag([-1, 1, 1, 1]), 1)
    refused(image.to_bytes(), "its sform and its qform")


def test_a_file_is_what_its_name_says() -> None:
    plain = nifti(PHANTOM)
    refused(plain, "not compressed", PATH)
    refused(gzip.compress(plain), "compressed, but", PLAIN)
    refused(b"", "empty")
    refused(b"\x89PNG\r\n\x1a\n" + bytes(1000), "not a NIfTI file")
    refused(gzip.compress(bytes(1000)), "not a NIfTI file", PATH)


def test_volumes_too_large_are_refused_by_their_header() -> None:
    def claiming(*dim: int) -> bytes:
        return nifti(PHANTOM, dim=[3, *dim, 1, 1, 1, 1])

    refused(claiming(3000, 3000, 3000), "more than 2\\*\\*28")
    refused(nifti(PHANTOM.astype(float), dim=[3, 1000, 1000, 200, 1, 1, 1, 1]), "bytes of voxels are more than 2")
    wide = nifti(np.zeros((4, 3, 30_000), np.uint8), np.eye(4)[[0, 2, 1, 3]])
    assert picture(wide).slices[0].shape == (30_000, 4, 3)
    refused(nifti(np.zeros((5000, 2, 5000), np.uint8), np.eye(4)[[0, 2, 1, 3]]), "more than 4096x4096")


def test_a_bomb_is_refused_without_being_inflated() -> None:
    bomb = gzip.compress(nifti(PHANTOM) + bytes(200_000_000), 1)
    assert len(bomb) < 1_000_000
    claim = gzip.compress(nifti(PHANTOM, dim=[3, 640, 640, 640, 1, 1, 1, 1]))
    far = gzip.compress(nifti(PHANTOM, vox_offset=1e9))
    tracemalloc.start()
    refused(bomb, "more bytes than its header says", PATH)
    refused(claim, "damaged or truncated", PATH)
    refused(far, "no such place", PATH)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


def noise(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


def test_no_flipped_bit_of_a_compressed_file_changes_a_voxel(rng: np.random.Generator) -> None:
    whole = gzip.compress(nifti(noise((12, 10, 5))))
    right = np.array(picture(whole, path=PATH).slices)
    for position in [*range(200), *rng.choice(len(whole) * 8, 300, replace=False)]:
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        try:
            np.testing.assert_array_equal(picture(bytes(flipped), path=PATH).slices, right)
        except InputError:
            continue


def test_every_cut_is_refused(rng: np.random.Generator) -> None:
    plain = nifti(noise((12, 10, 5)))
    for whole, path in ((gzip.compress(plain), PATH), (plain, PLAIN)):
        lengths = [*range(len(whole) - 40, len(whole)), *rng.choice(len(whole) - 40, 40, replace=False)]
        for length in lengths:
            refused(whole[:length], "", path)
    refused(gzip.compress(plain[:-1]), "truncated", PATH)
    refused(plain + b"\0", "more bytes")


@pytest.mark.parametrize("version", [1, 2])
def test_a_flipped_bit_in_a_header_is_refused_or_read_and_nothing_else(version: int, rng: np.random.Generator) -> None:
    whole = nifti(noise((12, 10, 5)).astype(np.float32), version=version, qform_code=1)
    size = 348 if version == 1 else 540
    tracemalloc.start()
    for position in rng.choice(size * 8, 100, replace=False):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        try:
            found = picture(bytes(flipped))
        except InputError:
            continue
        assert np.array(found.slices).size == 12 * 10 * 5 * 3
        encode(found.slices, {"m1": found.frame}, TEXT)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["anatomical.nii", "reoriented_anat_moved.nii", "standard.nii.gz"])
def test_real_files_agree_with_nibabels_own_reorientation(name: str) -> None:
    path = Path(str(data_path)) / name
    image: Any = nib.load(path)
    values = nib.as_closest_canonical(image).get_fdata()
    found = picture(path.read_bytes(), FileOptions(window=(0, 12000), plane="axial"), path)
    np.testing.assert_array_equal(found.slices, grey_view(np.rint(values.clip(0, 12000) * (255 / 12000))))
    same = loaded(encode(found.slices, {"m1": found.frame}, TEXT))
    np.testing.assert_allclose(same.affine, image.affine, atol=1e-4)
    np.testing.assert_array_equal(voxels(same)[..., 0], np.rint(image.get_fdata().clip(0, 12000) * (255 / 12000)))


def test_several_members_and_extensions_are_read_and_header_text_is_not_taken_over() -> None:
    image = nib.Nifti1Image(PHANTOM, PLACE)
    image.header.extensions.append(Nifti1Extension("comment", b"Jane Doe" * 50))
    plain = image.to_bytes()
    assert struct.unpack_from("<f", plain, 108)[0] > 352
    members = gzip.compress(plain[:500]) + gzip.compress(plain[500:])
    for data, path in ((plain, PLAIN), (members, PATH)):
        found = picture(data, path=path)
        np.testing.assert_array_equal(found.slices, grey_view(PHANTOM))
        assert b"Jane" not in zlib.decompress(encode(found.slices, {"m1": found.frame}, TEXT), 31)


def test_reading_says_nothing_on_the_way(capfd: pytest.CaptureFixture[str]) -> None:
    picture(nifti(PHANTOM, pixdim=[0, 1, 0, 1, 0, 0, 0, 0], bitpix=3))
    with pytest.raises(InputError):
        picture(nifti(PHANTOM, sform_code=0, qform_code=1, quatern_b=3.0))
    assert capfd.readouterr() == ("", "")
