"""Write a result as DICOM, in RGB.

    encode          one file: a Secondary Capture (PS3.3 A.8.1); of several slices, a Multi-frame True Color one (A.8.5)
    encode_series   a folder: a Secondary Capture for each slice, all of one series

Slices whose place is known carry it. The bytes depend on the arguments alone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import generate_uid

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.description import (
    first_or_list,
    found,
    identity,
    put_first,
    put_made_by,
    put_references,
    put_subject,
)
from tfs_rt.formats.dicom.place import put_frame_order, put_frame_places, put_series_place, put_slice_place, to_ds
from tfs_rt.formats.dicom.placement import placement_of
from tfs_rt.formats.dicom.source import Source
from tfs_rt.images import RGB

IMPLEMENTATION = "2.25.74980793869521705866146292093037513957"  # tfs-rt as a writer of DICOM
MAX_BYTES = 2**32 - 2  # of the pixels of one file
LEAST_DIGITS = 4  # of a slice's number in its file's name; the same number for all slices, so that names sort


def encode(slices: Sequence[RGB], frames: dict[str, Any], text: dict[str, str]) -> bytes:
    """One DICOM file of fused slices (H, W, 3) uint8; InputError if they are more than a file can hold.

    `frames` has each slot's `Picture.frame`, of which those of DICOM files are used.
    `text` says how the result was made.
    """
    # Refuse more pixels than one file can hold.
    if sum(image.nbytes for image in slices) > MAX_BYTES:
        reason = "its result has more pixels than a DICOM file can hold (4 GiB)"
        raise InputError(f"case {text['tfs-rt:case']}", reason, "write it in another format")
    pixels = np.stack(slices)
    # Describe the image, and refer to its sources.
    _, rows, columns, _ = pixels.shape
    dataset = _described(rows, columns, frames, text)
    sources = _sources(frames)
    put_references(dataset, sources)
    # Place its one slice, or its frames.
    placement = placement_of(list(filter(None, frames.values())), rows, columns)
    dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    if placement:
        put_series_place(dataset, placement, sources, text)
    if len(slices) > 1:
        dataset.SOPClassUID = uid.MultiFrameTrueColorSecondaryCaptureImageStorage
        put_frame_order(dataset, len(slices), sources)
        if placement:
            put_frame_places(dataset, placement, sources)
    elif placement:
        put_slice_place(dataset, placement, 0)
    return _file(dataset, pixels, identity(text))


def encode_series(slices: Sequence[RGB], frames: dict[str, Any], text: dict[str, str]) -> dict[str, bytes]:
    """A DICOM file for each fused slice (H, W, 3) uint8, by its name; together they are one series.

    Raises ValueError if no source places all slices.
    """
    # Describe the series.
    rows, columns, _ = slices[0].shape
    placement = placement_of(list(filter(None, frames.values())), rows, columns)
    if not placement:
        raise ValueError("the slices of a series need places")
    dataset = _described(rows, columns, frames, text)
    dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    sources = _sources(frames)
    put_series_place(dataset, placement, sources, text)
    # Number, place and write each slice. Slices may be equal: their numbers make their identifiers differ.
    files: dict[str, bytes] = {}
    digits = max(LEAST_DIGITS, len(str(len(slices))))
    for index, image in enumerate(slices):
        number = index + 1
        dataset.InstanceNumber = number
        put_references(dataset, sources, index)
        put_slice_place(dataset, placement, index)
        files[f"{number:0{digits}d}.dcm"] = _file(dataset, image[None], identity(text, f"slice {number};"))
    return files


def _sources(frames: dict[str, Any]) -> list[Source]:
    return [Source(**frame) for frame in frames.values() if frame]


def _described(rows: int, columns: int, frames: dict[str, Any], text: dict[str, str]) -> Dataset:
    """The attributes that all slices of a result share, without their places."""
    sources = _sources(frames)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.InstanceNumber = 1
    put_subject(dataset, sources, text)
    put_made_by(dataset, sources, text)
    # Say how the image lies and what it is for.
    dataset.PatientOrientation = first_or_list(next(found(sources[:1], "PatientOrientation"), ("",)))
    burned = any(values == ("YES",) for values in found(sources, "BurnedInAnnotation"))
    dataset.ContentQualification = "RESEARCH"
    dataset.BurnedInAnnotation = "YES" if burned else "NO"
    # Describe past compression and the spacing.
    _put_compression(dataset, sources, complete=len(sources) == len(frames))
    _put_spacing(dataset, rows, columns, sources)
    # Describe the pixels, RGB with 8 bits.
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows = rows
    dataset.Columns = columns
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    return dataset


def _put_compression(dataset: Dataset, sources: list[Source], *, complete: bool) -> None:
    """Lossy if a source was. Lossless is written only if all sources say so."""
    declared = [source.attributes.get("LossyImageCompression") for source in sources]
    if any(source.lossy for source in sources):
        dataset.LossyImageCompression = "01"
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            put_first(dataset, [source for source in sources if source.lossy], keyword)
    elif complete and all(value == ("00",) for value in declared):
        dataset.LossyImageCompression = "00"


def _put_spacing(dataset: Dataset, rows: int, columns: int, sources: list[Source]) -> None:
    """The spacing of the first source that has one, divided by the magnification."""
    for source in sources:
        if source.spacing:
            row, column = source.spacing
            dataset.PixelSpacing = to_ds((row * source.rows / rows, column * source.columns / columns))
            return


def _file(dataset: Dataset, pixels: np.ndarray, origin: list[str]) -> bytes:
    """The file of pixels (N, H, W, 3) uint8. Its identifier is derived from the pixels and the texts of `origin`."""
    # Put in the pixels.
    content = pixels.tobytes()
    dataset.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[*origin, hashlib.sha256(content).hexdigest()])
    # Put in the header of the file.
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid.UID(IMPLEMENTATION)
    meta.ImplementationVersionName = "TFS_RT"
    dataset.file_meta = meta
    # Write the file.
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
