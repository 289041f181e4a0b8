"""Write a result as DICOM: an RGB Secondary Capture (PS3.3 A.8.1), or a Multi-frame True Color one (A.8.5).

The bytes depend on the arguments alone. Patient and study are those of the first source that is DICOM, m1 if it is.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import generate_uid
from pydicom.valuerep import format_number_as_ds

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.source import Source
from tfs_rt.formats.levels import SHOWS
from tfs_rt.images import RGB

IMPLEMENTATION = "2.25.74980793869521705866146292093037513957"  # tfs-rt as a writer of DICOM
MAX_BYTES = 2**32 - 2  # of the pixels of one file
RESEARCH = "RESEARCH USE ONLY"
SERIES = 9001  # behind those of a scanner
UNPAIRED = {
    "ABDOMEN",
    "BRAIN",
    "CHEST",
    "CSPINE",
    "HEAD",
    "HEART",
    "LIVER",
    "LSPINE",
    "NECK",
    "PELVIS",
    "SKULL",
    "TSPINE",
}
REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)  # in every file, empty if nothing is known
OPTIONAL = (
    *("IssuerOfPatientID", "PatientAge", "StudyDescription"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "LongitudinalTemporalInformationModified"),
)
SOURCE_IMAGE = ("121322", "DCM", "Source image for image processing operation")
PROCESSING = ("109102", "DCM", "Processing Equipment")


def encode(slices: Sequence[RGB], frames: dict[str, Any], text: dict[str, str]) -> bytes:
    """A DICOM file of fused slices (H, W, 3) uint8; InputError if they are more than a file can hold.

    `frames` has each slot's `Picture.frame`, of which those of DICOM files are used.
    `text` says how the result was made.
    """
    # Refuse more pixels than one file can hold.
    if sum(image.nbytes for image in slices) > MAX_BYTES:
        reason = "its result has more pixels than a DICOM file can hold (4 GiB)"
        raise InputError(f"case {text['tfs-rt:case']}", reason, "write it in another format")
    pixels = np.stack(slices)
    # Describe the subject, the making and the image.
    sources = [Source(**frame) for frame in frames.values() if frame]
    complete = len(sources) == len(frames)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    _put_subject(dataset, sources, text)
    _put_made_by(dataset, sources, text)
    _put_image(dataset, pixels, sources, complete)
    # Derive the identifiers from the content: the same result gets the same ones.
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[*_entropy(text), "series", *filter(None, [text.get(SHOWS)])])
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[*_entropy(text), hashlib.sha256(pixels.tobytes()).hexdigest()])
    dataset.file_meta = _meta(dataset)
    # Write the file.
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _entropy(text: dict[str, str]) -> list[str]:
    return [f"{key}={clean(text[key], 1024)};" for key in ("tfs-rt:recipe-sha256", "tfs-rt:case", "Software")]


def _meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid.UID(IMPLEMENTATION)
    meta.ImplementationVersionName = "TFS_RT"
    return meta


def _put_subject(dataset: Dataset, sources: list[Source], text: dict[str, str]) -> None:
    """The patient and the study of the first source, and the new series in it."""
    # Copy the patient's and the study's attributes.
    known = sources[0].attributes if sources else {}
    for keyword in REQUIRED:
        setattr(dataset, keyword, _value(known.get(keyword, ("",))))
    for keyword in OPTIONAL:
        if keyword in known:
            setattr(dataset, keyword, _value(known[keyword]))
    if sources and sources[0].deidentified_by:
        dataset.DeidentificationMethodCodeSequence = [_code(code) for code in sources[0].deidentified_by]
    # Join the source's study, or begin one.
    study = known.get("StudyInstanceUID", ("",))[0]
    dataset.StudyInstanceUID = study or generate_uid(entropy_srcs=[*_entropy(text), "study"])
    # Describe the new series.
    dataset.Modality = "OT"
    dataset.SeriesNumber = SERIES + (SHOWS in text)
    dataset.InstanceNumber = 1
    dataset.SeriesDescription = _series(text)
    # Name the part of the body, and its side where there are two.
    _put_first(dataset, sources, "BodyPartExamined")
    if dataset.get("BodyPartExamined") not in UNPAIRED:
        dataset.Laterality = ""  # unknown, unless a source says it
        _put_first(dataset, sources, "Laterality")


def _series(text: dict[str, str]) -> str:
    """Name of the series of a result, or of an image that shows a property of one."""
    kind = text.get(SHOWS, "fusion").capitalize()
    method = clean(text["tfs-rt:made-by"], 64 - len(kind) - len(RESEARCH) - 3)
    return f"{kind} {method}, {RESEARCH}"


def _put_made_by(dataset: Dataset, sources: list[Source], text: dict[str, str]) -> None:
    """Equipment and derivation attributes: which software made the image, from which sources."""
    # Name the software.
    software = clean(text["Software"], 64)
    dataset.Manufacturer = dataset.ManufacturerModelName = "tfs-rt"
    dataset.SoftwareVersions = software
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    # Describe the derivation, and refer to the sources.
    details = "; ".join(f"{key} {clean(value, 300)}" for key, value in text.items())
    what = f"{text[SHOWS].capitalize()} in the fusion" if SHOWS in text else "Fusion"
    dataset.DerivationDescription = clean(f"{what} of registered images by super-resolution. {details}", 1024)
    referred = dict.fromkeys(instance for source in sources for instance in source.instances if all(instance))
    if referred:
        dataset.SourceImageSequence = [_reference(*instance) for instance in referred]
    # Add tfs-rt to the equipment that contributed.
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [_code(PROCESSING)]
    equipment.Manufacturer = equipment.ManufacturerModelName = "tfs-rt"
    equipment.SoftwareVersions = software
    equipment.ContributionDescription = clean(f"{text['tfs-rt:made-by']}, recipe {text['tfs-rt:recipe-sha256']}", 1024)
    dataset.ContributingEquipmentSequence = [equipment]


def _reference(class_uid: str, instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = class_uid
    item.ReferencedSOPInstanceUID = instance_uid
    item.PurposeOfReferenceCodeSequence = [_code(SOURCE_IMAGE)]
    return item


def _put_image(dataset: Dataset, pixels: np.ndarray, sources: list[Source], complete: bool) -> None:
    count, rows, columns, _ = pixels.shape
    # Choose the class by the number of slices.
    dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    if count > 1:
        dataset.SOPClassUID = uid.MultiFrameTrueColorSecondaryCaptureImageStorage
        _put_frames(dataset, count, sources)
    # Say how the image lies and what it is for.
    dataset.PatientOrientation = _value(next(_found(sources[:1], "PatientOrientation"), ("",)))
    burned = any(values == ("YES",) for values in _found(sources, "BurnedInAnnotation"))
    dataset.ContentQualification = "RESEARCH"
    dataset.BurnedInAnnotation = "YES" if burned else "NO"
    # Describe past compression and the spacing.
    _put_compression(dataset, sources, complete)
    _put_spacing(dataset, rows, columns, sources)
    # Write the pixels, RGB with 8 bits.
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows = rows
    dataset.Columns = columns
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    content = pixels.tobytes()
    dataset.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))


def _put_frames(dataset: Dataset, count: int, sources: list[Source]) -> None:
    """The order of frames: by their places along a source's normal if these are known and differ, else by numbers."""
    dataset.NumberOfFrames = count
    places = next((places for source in sources if len(set(places := _places(source))) == count), None)
    if places:
        dataset.SliceLocationVector = [format_number_as_ds(place) for place in places]
        dataset.FrameIncrementPointer = 0x00182005
    else:
        dataset.PageNumberVector = list(range(1, count + 1))
        dataset.FrameIncrementPointer = 0x00182001


def _places(source: Source) -> list[float]:
    """Position of each frame along the normal of the first, in mm."""
    if not all(source.planes):
        return []
    planes = [plane for plane in source.planes if plane]
    normal = np.cross(planes[0][1][:3], planes[0][1][3:])
    return [float(np.dot(plane[0], normal)) + 0.0 for plane in planes]


def _put_compression(dataset: Dataset, sources: list[Source], complete: bool) -> None:
    """Lossy if a source was. Lossless is written only if all sources say so."""
    declared = [source.attributes.get("LossyImageCompression") for source in sources]
    if any(source.lossy for source in sources):
        dataset.LossyImageCompression = "01"
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            _put_first(dataset, [source for source in sources if source.lossy], keyword)
    elif complete and all(value == ("00",) for value in declared):
        dataset.LossyImageCompression = "00"


def _put_spacing(dataset: Dataset, rows: int, columns: int, sources: list[Source]) -> None:
    """The spacing of the first source that has one, divided by the magnification."""
    for source in sources:
        if source.spacing:
            row, column = source.spacing
            finer = (row * source.rows / rows, column * source.columns / columns)
            dataset.PixelSpacing = [format_number_as_ds(number) for number in finer]
            return


def _put_first(dataset: Dataset, sources: Iterable[Source], keyword: str) -> None:
    values = next(_found(sources, keyword), None)
    if values:
        setattr(dataset, keyword, _value(values))


def _found(sources: Iterable[Source], keyword: str) -> Iterator[tuple[str, ...]]:
    return (source.attributes[keyword] for source in sources if keyword in source.attributes)


def _value(values: tuple[str, ...]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def _code(code: tuple[str, str, str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def clean(text: str, limit: int) -> str:
    """Text that is valid in an attribute: on one line, without separators of values, of at most `limit` characters."""
    line = "".join(c if c.isprintable() else " " for c in text.replace("\\", "/"))
    return line.encode(errors="replace").decode()[:limit].strip()
