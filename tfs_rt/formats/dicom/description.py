"""The attributes of a DICOM result that describe it: patient, study, series, software and sources.

Patient and study are those of the first source that is DICOM, m1 if it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydicom import Dataset, uid
from pydicom.uid import generate_uid

from tfs_rt.formats.dicom.source import Source
from tfs_rt.formats.levels import SHOWS

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
# Classes of objects of one frame: a reference must not number a frame in them, whatever a file of them holds.
ONE_FRAME = {
    uid.CTImageStorage,
    uid.MRImageStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.SecondaryCaptureImageStorage,
}
PROCESSING = ("109102", "DCM", "Processing Equipment")


def put_subject(dataset: Dataset, sources: list[Source], text: dict[str, str]) -> None:
    """Put in the patient and the study of the first source, and the new series in it."""
    # Copy the patient's and the study's attributes.
    known = sources[0].attributes if sources else {}
    for keyword in REQUIRED:
        setattr(dataset, keyword, first_or_list(known.get(keyword, ("",))))
    for keyword in OPTIONAL:
        if keyword in known:
            setattr(dataset, keyword, first_or_list(known[keyword]))
    if sources and sources[0].deidentified_by:
        dataset.DeidentificationMethodCodeSequence = [_code(code) for code in sources[0].deidentified_by]
    # Join the source's study, or begin one.
    study = known.get("StudyInstanceUID", ("",))[0]
    dataset.StudyInstanceUID = study or generate_uid(entropy_srcs=[*entropy(text), "study"])
    # Describe the new series.
    dataset.Modality = "OT"
    dataset.SeriesNumber = SERIES + (SHOWS in text)
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=identity(text, "series"))
    dataset.SeriesDescription = _series(text)
    # Name the part of the body, and its side where there are two.
    put_first(dataset, sources, "BodyPartExamined")
    if dataset.get("BodyPartExamined") not in UNPAIRED:
        dataset.Laterality = ""  # unknown, unless a source says it
        put_first(dataset, sources, "Laterality")


def _series(text: dict[str, str]) -> str:
    """Name of the series of a result, or of an image that shows a property of one."""
    kind = text.get(SHOWS, "fusion").capitalize()
    method = clean(text["tfs-rt:made-by"], 64 - len(kind) - len(RESEARCH) - 3)
    return f"{kind} {method}, {RESEARCH}"


def put_made_by(dataset: Dataset, sources: list[Source], text: dict[str, str]) -> None:
    """Put in the equipment and derivation attributes: which software made the image, and how."""
    # Name the software.
    software = clean(text["Software"], 64)
    dataset.Manufacturer = dataset.ManufacturerModelName = "tfs-rt"
    dataset.SoftwareVersions = software
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    # Describe the derivation.
    details = "; ".join(f"{key} {clean(value, 300)}" for key, value in text.items())
    what = f"{text[SHOWS].capitalize()} in the fusion" if SHOWS in text else "Fusion"
    dataset.DerivationDescription = clean(f"{what} of registered images by super-resolution. {details}", 1024)
    # Add tfs-rt to the equipment that contributed.
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [_code(PROCESSING)]
    equipment.Manufacturer = equipment.ManufacturerModelName = "tfs-rt"
    equipment.SoftwareVersions = software
    equipment.ContributionDescription = clean(f"{text['tfs-rt:made-by']}, recipe {text['tfs-rt:recipe-sha256']}", 1024)
    dataset.ContributingEquipmentSequence = [equipment]


def put_references(dataset: Dataset, sources: list[Source], index: int | None = None) -> None:
    """Refer to the source images of one slice, by its index, or of all slices; to all if they were resampled."""
    # A file of several frames is named once, without a frame's number, if all slices are meant.
    references: dict[tuple[str, str, int | None], None] = {}
    for source in sources:
        numbers = source.frame_numbers or (None,) * len(source.instances)
        for number, instance in enumerate(source.instances):
            if all(instance) and (source.resampled or index in (None, number)):
                references[(*instance, None if index is None else numbers[number])] = None
    dataset.pop("SourceImageSequence", None)  # that of the slice before
    if references:
        dataset.SourceImageSequence = [_reference(*reference) for reference in references]


def _reference(class_uid: str, instance_uid: str, frame_number: int | None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = class_uid
    item.ReferencedSOPInstanceUID = instance_uid
    if frame_number is not None and class_uid not in ONE_FRAME:
        item.ReferencedFrameNumber = frame_number
    item.PurposeOfReferenceCodeSequence = [_code(SOURCE_IMAGE)]
    return item


def put_first(dataset: Dataset, sources: Iterable[Source], keyword: str) -> None:
    """Put in an attribute as the first source has it that has it."""
    values = next(found(sources, keyword), None)
    if values:
        setattr(dataset, keyword, first_or_list(values))


def found(sources: Iterable[Source], keyword: str) -> Iterator[tuple[str, ...]]:
    """The values of an attribute in each source that has it."""
    return (source.attributes[keyword] for source in sources if keyword in source.attributes)


def first_or_list(values: tuple[str, ...]) -> Any:
    """Values as pydicom takes them."""
    return values[0] if len(values) == 1 else list(values)


def entropy(text: dict[str, str]) -> list[str]:
    """The text from which a result's identifiers are derived: the same result gets the same ones."""
    return [f"{key}={clean(text[key], 1024)};" for key in ("tfs-rt:recipe-sha256", "tfs-rt:case", "Software")]


def identity(text: dict[str, str], *words: str) -> list[str]:
    """The same for what a result and an image of one of its properties do not have in common."""
    return [*entropy(text), *words, *filter(None, [text.get(SHOWS)])]


def _code(code: tuple[str, str, str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def clean(text: str, limit: int) -> str:
    """Text that is valid in an attribute: on one line, without separators of values, of at most `limit` characters."""
    line = "".join(c if c.isprintable() else " " for c in text.replace("\\", "/"))
    return line.encode(errors="replace").decode()[:limit].strip()
