"""Cut, flipped, spliced and bombed files of the readers that are young: each is read or refused, and nothing else."""

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from support.jpeg_lossless import encode_lossless
from support.made_dicom import RAMP, make_dicom
from support.made_volumes import mgh_file, mgz_file, mha_file, nrrd_file
from support.mutations import mutated, outcome
from tfs_rt.errors import InputError
from tfs_rt.formats.picture import FileOptions
from tfs_rt.formats.sandboxed import SandboxedReader

OPTIONS = FileOptions(allow_lossy=True)
# Reasons of the parent for a child that crashed, hung, answered nonsense or met an error that no reader expects.
BROKEN = ("ended the process", "was not read within", "answer nonsense", "cannot be read", "does not permit", "memory")
SLICES = 4
PALETTE = Image.fromarray(np.dstack([(RAMP >> 4).astype(np.uint8)] * 3)).quantize(16)


def series_slice(index: int) -> bytes:
    return make_dicom(
        RAMP + index,
        SeriesInstanceUID="1.2.3.4",
        SOPInstanceUID=f"1.2.3.4.{index}",
        Modality="MR",
        ImagePositionPatient=[0, 0, 2 * index],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[1, 1],
        InstanceNumber=index + 1,
    )


def jpeg_lossless() -> bytes:
    frame = encode_lossless(RAMP, bits=12, rows_per_restart=4)
    return make_dicom(RAMP, uid.JPEGLosslessSV1, PixelData=encapsulate([frame]), BitsStored=12, HighBit=11)


def saved(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return buffer.getvalue()


SEEDS = {
    "slice of a series": ("series", series_slice(1)),
    "JPEG Lossless": ("a.dcm", jpeg_lossless()),
    "NRRD": ("a.nrrd", nrrd_file()),
    "NRRD, not compressed": ("a.nrrd", nrrd_file(encoding="raw")),
    "MetaImage": ("a.mha", mha_file()),
    "MGZ": ("a.mgz", mgz_file()),
    "MGH": ("a.mgh", mgh_file()),
    "MGZ of a damaged volume": ("a.mgz", mgh_file()),
    "GIF": ("a.gif", saved(PALETTE, "GIF")),
    "BMP": ("a.bmp", saved(PALETTE.convert("RGB"), "BMP")),
}


def content(kind: str, data: bytes) -> Any:
    """A file's bytes, or the series of which it is the second slice."""
    if kind == "slice of a series":
        return {f"IM{index}": data if index == 1 else series_slice(index) for index in range(SLICES)}
    return gzip.compress(data, mtime=0) if kind == "MGZ of a damaged volume" else data


@pytest.mark.parametrize("count", [pytest.param(120, marks=pytest.mark.slow), 6])
def test_mutated_files_are_read_or_refused_and_nothing_else(count: int, rng: Generator) -> None:
    refusals = 0
    with SandboxedReader() as reader:
        for kind, (name, data) in SEEDS.items():
            path = Path("somewhere") / name
            whole = reader.read(content(kind, data), path, OPTIONS)
            mutations = mutated(data, rng)
            for _ in range(count):
                found = outcome(reader, content(kind, next(mutations)), path, OPTIONS)
                if isinstance(found, InputError):
                    refusals += 1
                    assert found.subject.startswith("somewhere"), found
                    assert found.remedy, found
                    assert not any(words in found.reason for words in BROKEN), found
                elif kind == "MGZ":  # its checksum is of all bytes
                    np.testing.assert_array_equal(found.slices, whole.slices)
    assert refusals > count * len(SEEDS) / 2  # or the mutations are none
