"""A file's format is found by its ending, or by its content where the ending says nothing; nothing is guessed."""

import io
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.cmdline import convert
from PIL import Image

from support.made_dicom import RAMP, make_dicom
from support.made_volumes import PLACE, VALUES, nifti_file
from tfs_rt.errors import InputError
from tfs_rt.formats.conversions import ALL
from tfs_rt.formats.picture import FileOptions
from tfs_rt.formats.registry import IMAGE_ENDINGS, format_of, is_image, read_picture
from tfs_rt.formats.sandboxed import SandboxedReader

DICOM = make_dicom(RAMP)


@pytest.mark.parametrize("name", ["mr-t1.IMA", "mr-t1.dicom", "mr-t1", "IM0001", "1.2.840.10008.5", "a.v2.mr"])
def test_dicom_is_read_under_any_name_that_names_no_other_format(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(DICOM)
    assert is_image(path)
    assert format_of(path, DICOM) == "dicom"
    np.testing.assert_array_equal(
        read_picture(DICOM, path, FileOptions()).slices, read_picture(DICOM, Path("a.dcm"), FileOptions()).slices
    )


def test_a_known_ending_decides_whatever_the_content_is(tmp_path: Path) -> None:
    for name in ("a.png", "a.nii.gz", "a.gif", "a.bmp", "a.mgz", "a.nrrd", "a.mha", "a.hdr", "a.img"):
        with pytest.raises(InputError):
            read_picture(DICOM, tmp_path / name, FileOptions())
    for name in ("a.dcm", "a.ima", "a.dicom"):
        with pytest.raises(InputError, match="not a DICOM file"):
            read_picture(nifti_file(), tmp_path / name, FileOptions())


def test_what_is_no_image_is_found_out_without_reading_it(tmp_path: Path) -> None:
    for name, content in (("notes.txt", b"x" * 200), ("mr-t2", b""), ("short", DICOM[:131]), ("a.img", DICOM)):
        (tmp_path / name).write_bytes(content)
        assert not is_image(tmp_path / name)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe", "missing"):
        assert not is_image(tmp_path / name)
    assert is_image(tmp_path / "missing.PNG")  # by its name: reading it says that it is missing


def test_dicom_without_its_first_bytes_is_refused_with_the_command_that_adds_them() -> None:
    with pytest.raises(InputError, match="in no format that is read") as caught:
        read_picture(DICOM[132:], Path("IM0001"), FileOptions())
    assert "dcmconv IN OUT.dcm" in caught.value.remedy


def test_the_child_may_not_answer_in_another_format_than_the_content(tmp_path: Path) -> None:
    with SandboxedReader() as reader:
        assert reader.read(DICOM, tmp_path / "mr-t2", FileOptions()).facts["format"] == "dicom"


def run_remedy(path: Path, folder: Path) -> None:
    """Run the command in the remedy for a file, in this process."""
    with pytest.raises(InputError, match="in no format that is read") as caught:
        read_picture(path.read_bytes(), path, FileOptions())
    command = re.sub(r"^convert it: (pip install \w+, then )?| \(an Analyze.*", "", caught.value.remedy)
    program, *arguments = shlex.split(command)
    here = Path.cwd()
    argv = sys.argv
    os.chdir(folder)
    try:
        if program == "nib-convert":
            convert.main(arguments)
        else:
            sys.argv = ["-c", *arguments[2:]]
            exec(arguments[1], {})
    finally:
        os.chdir(here)
        sys.argv = argv


@pytest.mark.parametrize("ending", [".hdr", ".img", ".mhd", ".nhdr"])
def test_the_named_conversion_of_a_volume_works_and_keeps_its_place(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"my scan{ending}"
    if ending in (".hdr", ".img"):
        nib.Nifti1Pair(VALUES, PLACE).to_filename(path)
        place = PLACE
    else:
        sitk = pytest.importorskip("SimpleITK")
        image = sitk.GetImageFromArray(VALUES.transpose(2, 1, 0))
        image.SetSpacing((1.0, 1.5, 2.0))
        image.SetOrigin((3.0, 4.0, 5.0))
        sitk.WriteImage(image, str(path))
        place = np.array([[-1, 0, 0, -3], [0, -1.5, 0, -4], [0, 0, 2, 5], [0, 0, 0, 1.0]])
    run_remedy(path, tmp_path)
    made: Any = nib.Nifti1Image.from_filename(tmp_path / "my scan.nii.gz")
    np.testing.assert_array_equal(made.dataobj, VALUES)
    np.testing.assert_allclose(made.affine, place, atol=1e-5)


def test_the_named_conversion_of_a_picture_works(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(np.dstack([pixels] * 3)).save(tmp_path / "a.webp", lossless=True)
    run_remedy(tmp_path / "a.webp", tmp_path)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png"))[..., 0], pixels)


def test_of_a_pair_of_files_only_the_header_is_listed() -> None:
    assert {".hdr", ".mhd", ".nhdr", ".head"} <= set(IMAGE_ENDINGS)
    assert not {".img", ".brik"} & set(IMAGE_ENDINGS)
    assert all(ending == ending.lower() for ending in ALL)


# --- GIF and BMP


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


GREY = np.random.default_rng(2).integers(0, 256, (13, 17), dtype=np.uint8)
COLOUR = np.random.default_rng(4).integers(0, 256, (13, 17, 3), dtype=np.uint8)
PALETTE = Image.fromarray(COLOUR).quantize(100)
OPAQUE = np.dstack([COLOUR, np.full((13, 17), 255, np.uint8)])
PICTURES = {
    ("gif", "grey"): (Image.fromarray(GREY), {}),
    ("gif", "palette"): (PALETTE, {}),
    ("gif", "rows out of order"): (PALETTE, {"interlace": 1}),
    ("gif", "1-bit"): (Image.fromarray(GREY > 99), {}),
    ("bmp", "grey"): (Image.fromarray(GREY), {}),
    ("bmp", "palette"): (PALETTE, {}),
    ("bmp", "1-bit"): (Image.fromarray(GREY > 99), {}),
    ("bmp", "24 bits"): (Image.fromarray(COLOUR), {}),
    ("bmp", "32 bits"): (Image.fromarray(OPAQUE), {}),
}


@pytest.mark.parametrize("kind", PICTURES, ids=" ".join)
def test_a_picture_is_read_exactly_and_refused_where_it_is_cut(kind: tuple[str, str]) -> None:
    form, _ = kind
    image, options = PICTURES[kind]
    data = saved(image, form.upper(), **options)
    path = Path(f"somewhere/pet.{form}")
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_picture(data, path, FileOptions()).slices[0], expected)
    for at in range(0, len(data), 13):
        with pytest.raises(InputError):
            read_picture(data[:at], path, FileOptions())


def test_bmp_from_top_to_bottom_is_not_upside_down() -> None:
    data = bytearray(saved(Image.fromarray(COLOUR), "BMP"))
    rows = [data[54 + 52 * y : 54 + 52 * (y + 1)] for y in range(13)]  # 17 pixels of 3 bytes, filled up to 52
    data[22:26] = (-13).to_bytes(4, "little", signed=True)
    data[54:] = b"".join(reversed(rows))
    np.testing.assert_array_equal(read_picture(bytes(data), Path("a.bmp"), FileOptions()).slices[0], COLOUR)


CLEAR = OPAQUE.copy()
CLEAR[0, 0, 3] = 7
BMP = saved(Image.fromarray(COLOUR), "BMP")
GIF = saved(PALETTE, "GIF")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.gif", saved(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(180)]), "holds 2 frames"),
        ("a.gif", saved(PALETTE, "GIF", transparency=int(np.asarray(PALETTE)[0, 0])), "transparent pixels"),
        ("a.gif", GIF[:6] + bytes([40]) + GIF[7:], "does not fill the picture"),
        ("a.gif", BMP, "is not a GIF file"),
        ("a.bmp", GIF, "is not a BMP file"),
        ("a.bmp", saved(Image.fromarray(CLEAR), "BMP"), "transparent pixels"),
        ("a.bmp", BMP[:30] + bytes([1]) + BMP[31:], "compression 1, 24 bits"),
        ("a.bmp", BMP[:28] + bytes([16]) + BMP[29:], "compression 0, 16 bits"),
        ("a.bmp", BMP[:18] + b"\0\0\0\x7f" + BMP[22:], "truncated BMP"),
        ("a.bmp", BMP[:14] + bytes([99]) + BMP[15:], "malformed header"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
        ("a.nii.gz", b"\r\n<!DOCTYPE html><html>", "holds a web page"),
    ],
)
def test_a_picture_of_unclear_meaning_is_refused(name: str, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_picture(data, Path(name), FileOptions())
    assert caught.value.remedy
