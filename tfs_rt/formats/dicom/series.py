"""Read the DICOM series of a folder as one picture.

Its files become one multi-frame dataset, which is read as an Enhanced object is: the slices are sorted by their
positions, never by names or numbers, and have one window. Files that are not one stack are refused by their names.
"""

from __future__ import annotations

from pathlib import Path

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.agreement import check_agreement
from tfs_rt.formats.dicom.choice import chosen_series, grouped, list_error
from tfs_rt.formats.dicom.combine import combined
from tfs_rt.formats.dicom.folder import Member, images_of, naming
from tfs_rt.formats.dicom.mosaic import is_mosaic, without_mosaic
from tfs_rt.formats.dicom.read import picture_of, refuse_damage
from tfs_rt.formats.dicom.stack import ONE_VOLUME
from tfs_rt.formats.picture import FileOptions, Picture


def read(files: dict[str, bytes], path: Path, options: FileOptions) -> Picture:
    """The slices of the series in a folder, from the bytes of its files by name.

    InputError names the folder `path`, the slice, the reason and the remedy. `files` is emptied to save memory.
    """
    with refuse_damage(path):
        series = chosen_series(images_of(files, path), options.series, path)
        members = [_without_mosaic(member, path) for member in series.members]
        read_members = _scattered_picture if series.is_scattered else _picture
        picture = read_members(members, path, options)
    picture.facts["files"] = len(members)
    picture.facts["transfer_syntax_uid"] = members[0].syntax
    return picture


def _without_mosaic(member: Member, path: Path) -> Member:
    with naming(member.label, path):
        return member._replace(dataset=without_mosaic(member.dataset, path))


def _scattered_picture(members: list[Member], path: Path, options: FileOptions) -> Picture:
    """The picture of files that have a series UID each; InputError lists them as series if they are not one stack."""
    try:
        picture = _picture(members, path, options)
    except InputError as error:
        listed = list_error(grouped(members), len(members), None, path)
        reason = f"{listed.reason} (together they are not one volume: {error.reason})"
        raise InputError(path, reason, listed.remedy) from error
    picture.facts.pop("series_instance_uid", None)
    picture.facts["scattered_uids"] = len(members)
    return picture


def _picture(members: list[Member], path: Path, options: FileOptions) -> Picture:
    if len(members) == 1:
        with naming(members[0].name, path):
            return picture_of(members[0].dataset, path, options)
    if is_mosaic(members[0].dataset):
        reason = f"holds {len(members)} mosaics, each of which is a volume: time points or diffusion weightings"
        raise InputError(path, reason, ONE_VOLUME)
    check_agreement(members, path)
    together = combined(members, path, options)
    picture = picture_of(together.dataset, path, options, together.names)
    # A slice's source is its own file.
    assert picture.frame
    order = picture.frame["frame_numbers"]
    instances = tuple(together.instances[number - 1] for number in order)
    picture.frame.update(instances=instances, frame_numbers=())
    picture.facts.pop("sop_instance_uid", None)
    if together.windows_differ:
        picture.facts["levels"] += "; its slices have different windows, and this one holds them all"
    return picture
