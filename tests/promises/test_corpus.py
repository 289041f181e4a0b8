"""What comes in at night: files that were cut, flipped, spliced or bombed, odd names, every mode in every slot."""

import gzip
import io
import resource
import unicodedata
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.random import Generator
from PIL import Image
from pydicom.data import get_testdata_file

from support.helpers import Cli, InProcessReader, png, write_case
from support.mutations import mutated, outcome
from support.pipelines import blend, pipeline
from tfs_rt.batch.request import Options, Request
from tfs_rt.batch.run import Run
from tfs_rt.cases.discover import discover
from tfs_rt.cases.load import ReadingOptions
from tfs_rt.errors import InputError
from tfs_rt.formats.picture import FileOptions
from tfs_rt.formats.sandboxed import SandboxedReader
from tfs_rt.spec import SLOTS

NAMES = ("mr-t1", "mr-t2", "pet")
MUTATIONS = 200  # of each format
CHECKED = (".png", ".nii.gz")  # formats in which no change of pixels passes
SIDE = 16

GREY = np.linspace(0, 255, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint8)
COLOUR = np.dstack([GREY, GREY[::-1], GREY.T])
DEEP_MODES = ("16-bit", "TIFF float")
DEEP = GREY.astype(np.uint16) * 16


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def seeds() -> dict[str, bytes]:
    """A whole file of each format, by its ending."""
    volume = nib.Nifti1Image(np.arange(SIDE * SIDE * 3, dtype=np.int16).reshape(SIDE, SIDE, 3), np.eye(4))
    nifti = volume.to_bytes()
    dicom = get_testdata_file("MR_small_RLE.dcm")
    assert isinstance(dicom, str)
    return {
        ".png": png(COLOUR),
        ".tif": saved(Image.fromarray(COLOUR), "TIFF", compression="tiff_adobe_deflate"),
        ".jpg": saved(Image.fromarray(COLOUR), "JPEG"),
        ".dcm": Path(dicom).read_bytes(),
        ".nii": nifti,
        ".nii.gz": gzip.compress(nifti, mtime=0),
    }


def test_twelve_hundred_mutated_files_are_read_or_refused_and_nothing_else(rng: Generator) -> None:
    rules = FileOptions(allow_lossy=True)
    refusals = 0
    total = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with SandboxedReader() as reader:
        for ending, data in seeds().items():
            path = Path(f"somewhere/pet{ending}")
            mutations = mutated(data, rng)
            whole = reader.read(data, path, rules)
            for _ in range(MUTATIONS):
                total += 1
                found = outcome(reader, next(mutations), path, rules)
                if isinstance(found, InputError):
                    refusals += 1
                    assert (found.subject, bool(found.reason), bool(found.remedy)) == (str(path), True, True)
                elif ending in CHECKED:
                    np.testing.assert_array_equal(found.slices, whole.slices)
    assert total == 1200
    assert refusals > 800  # or the mutations are none
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB, of the parent


NAMES_OF_CASES = (
    "plain",
    "with space",
    " leading",
    "-leading",
    "--output",
    "two\nlines",
    "tab\there",
    "quote'single",
    'quote"double',
    "back`tick`",
    "$HOME",
    "semi;colon",
    "100%",
    "star*",
    "question?",
    "colon:",
    "emoji \N{BRAIN}",
    unicodedata.normalize("NFC", "Zürich"),
    unicodedata.normalize("NFD", "Zürich"),
    "\udcff",  # a byte that is no UTF-8
    "x" * 200,
    "y" * 251,
    "CON",
    "report",
    "a.b.c",
)


def test_twenty_five_odd_names_are_used_or_refused_and_stay_so(tmp_path: Path, cli: Cli) -> None:
    assert len(NAMES_OF_CASES) == 25
    for name in NAMES_OF_CASES:
        write_case(tmp_path / "in" / name)
    first = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert first.code == 3
    assert "Traceback" not in first.err
    failed = [line for line in first.err.splitlines() if line.startswith("failed ")]
    results = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert len(failed) + len(results) == 25
    assert all(": " in line.removeprefix("failed ") for line in failed)
    assert {"plain", "with space", "-leading", "$HOME", "emoji \N{BRAIN}", "a.b.c", "x" * 200} <= results
    assert not {"y" * 251, "two\nlines", "report"} & results
    assert sum("Z" in name for name in results) == 0  # composed or not, it is one name twice
    again = cli("fuse", tmp_path / "in", "-o", tmp_path / "out")
    assert (again.code, f"{len(results)} of them already" in again.err) == (3, True)
    assert cli("verify", tmp_path / "out").code == 0


def modes() -> dict[str, tuple[str, bytes, np.ndarray | None]]:
    """(ending, file, the pixels it must be read as: None if it is to be refused), by what is special of it."""
    bits = GREY > 100
    opaque = np.dstack([COLOUR, np.full_like(GREY, 255)])
    clear = opaque.copy()
    clear[0, 0, 3] = 0
    indexed = Image.fromarray(COLOUR).quantize(64)
    levels = np.rint(DEEP.astype(float) * 255 / 4095).astype(np.uint8)
    cmyk, ycbcr, lab = (Image.fromarray(COLOUR).convert(mode) for mode in ("CMYK", "YCbCr", "LAB"))
    turned = Image.Exif()
    turned[0x0112] = 6
    big = saved(Image.frombytes("I;16B", (SIDE, SIDE), DEEP.astype(">u2").tobytes()), "TIFF")
    return {
        "8-bit grey": (".png", png(GREY), np.dstack([GREY] * 3)),
        "8-bit RGB": (".png", png(COLOUR), COLOUR),
        "1-bit": (".png", saved(Image.fromarray(bits), "PNG"), np.dstack([bits * np.uint8(255)] * 3)),
        "palette": (".png", saved(indexed, "PNG"), np.asarray(indexed.convert("RGB"))),
        "opaque alpha": (".png", png(opaque), COLOUR),
        "alpha": (".png", png(clear), None),
        "grey and alpha": (".png", png(np.dstack([GREY, GREY])), None),
        "palette and transparency": (".png", saved(indexed, "PNG", transparency=0), None),
        "16-bit grey": (".png", saved(Image.fromarray(DEEP), "PNG"), np.dstack([levels] * 3)),
        "animation": (
            ".png",
            saved(Image.fromarray(GREY), "PNG", save_all=True, append_images=[Image.fromarray(GREY.T)]),
            None,
        ),
        "rotation": (".png", saved(Image.fromarray(GREY), "PNG", exif=turned), None),
        "TIFF grey": (".tif", saved(Image.fromarray(GREY), "TIFF"), np.dstack([GREY] * 3)),
        "TIFF RGB": (".tif", saved(Image.fromarray(COLOUR), "TIFF"), COLOUR),
        "TIFF 16-bit": (".tif", saved(Image.fromarray(DEEP), "TIFF"), np.dstack([levels] * 3)),
        "TIFF 16-bit, big end first": (".tif", big, np.dstack([levels] * 3)),
        "TIFF float": (".tif", saved(Image.fromarray(DEEP.astype(np.float32)), "TIFF"), np.dstack([levels] * 3)),
        "TIFF CMYK": (".tif", saved(cmyk, "TIFF"), None),
        "TIFF YCbCr": (".tif", saved(ycbcr, "TIFF"), None),
        "TIFF LAB": (".tif", saved(lab, "TIFF"), None),
        "TIFF pages": (".tif", saved(cmyk.convert("RGB"), "TIFF", save_all=True, append_images=[cmyk]), None),
    }


def test_sixty_pairs_of_mode_and_slot_are_read_exactly_or_refused(tmp_path: Path) -> None:
    """In a slot where it belongs, a mode gives the bytes that the same pixels give as a plain PNG."""
    expected = write_modes(tmp_path)
    assert len(expected) == 60
    given, plain = (fused_modes(tmp_path, kind) for kind in ("given", "plain"))
    read = 0
    for case_id, pixels in expected.items():
        if given[case_id]["status"] == "failed":
            assert pixels is None or plain[case_id]["status"] == "failed"  # grey where colour belongs
            assert case_id in given[case_id]["error"]["subject"]
            assert given[case_id]["error"]["remedy"]
        else:
            read += 1
            assert pixels is not None
            assert given[case_id]["pixels_sha256"] == plain[case_id]["pixels_sha256"]
    assert read == 7 * 2 + 4  # of grey in two slots, of colour in one


def write_modes(tmp_path: Path) -> dict[str, np.ndarray | None]:
    """A case for each mode in each slot, as it is and as a plain PNG; the pixels by case."""
    expected: dict[str, np.ndarray | None] = {}
    for mode, (ending, data, pixels) in modes().items():
        for name in NAMES:
            for kind in ("given", "plain"):
                folder = write_case(tmp_path / kind / f"{mode} as {name}", size=SIDE)
                (folder / f"{name}.png").unlink()
                if kind == "given":
                    (folder / f"{name}{ending}").write_bytes(data)
                elif pixels is not None:
                    (folder / f"{name}.png").write_bytes(png(pixels))
            expected[f"{mode} as {name}"] = pixels
    return expected


def fused_modes(tmp_path: Path, kind: str) -> dict[str, Any]:
    """What becomes of the cases of `write_modes`, by id: a window is given for deep values alone."""
    found = discover([tmp_path / kind], output=tmp_path / "out")
    deep = [case for case in found if kind == "given" and any(word in case.id for word in DEEP_MODES)]
    window: dict[str, tuple[float, float]] = dict.fromkeys(SLOTS, (0.0, 4095.0))
    results: dict[str, Any] = {}
    for name, cases, windows in (
        ("deep", deep, window),
        ("plain", [case for case in found if case not in deep], {}),
    ):
        out = tmp_path / f"out {kind} {name}"
        out.mkdir()
        request = Request(reading=ReadingOptions(windows=windows, window_for_all=bool(windows)))
        report = Run(pipeline(tmp_path, blend), Options(out, request, batch=3), cases, InProcessReader()).fuse()
        results |= {result["id"]: result for result in report.results}
    return results


@pytest.mark.parametrize("ending", [".png", ".nii.gz", ".dcm"])
def test_a_file_named_as_another_format_is_refused(tmp_path: Path, ending: str) -> None:
    with SandboxedReader() as reader:
        for other, data in seeds().items():
            if other != ending and (other, ending) != (".nii", ".nii.gz"):
                with pytest.raises(InputError, match="pet"):
                    reader.read(data, tmp_path / f"pet{ending}", FileOptions(allow_lossy=True))
