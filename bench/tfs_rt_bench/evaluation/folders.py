"""Folders of images by case: results of `tfs-rt fuse` in every form, those of other programs, and ground truth.

A file, or the folder of a DICOM series, holds one image or the slices of a volume. Each slice is scored as an image of
its own, named as `tfs-rt prepare` names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfs_rt.cases.case import Case
from tfs_rt.cases.listing import image_stem, images_in
from tfs_rt.cases.load import Loaded, ReadingOptions, load_case, read_alone
from tfs_rt.cases.slices import slice_ids, volume_of
from tfs_rt.errors import InputError, NothingFound, TfsRtError, UsageError
from tfs_rt.facts import Facts
from tfs_rt.formats.picture import Picture
from tfs_rt.formats.registry import place_format
from tfs_rt.images import RGB
from tfs_rt.output.folder import REPORT, SERIES_FILE, SHEETS, SPREAD, result_folders
from tfs_rt.output.sidecar import read_sidecar
from tfs_rt_bench.evaluation.places import place_problem
from tfs_rt_reference.data.groups import MANIFEST, read_manifest

NOT_RESULTS = (SHEETS, SPREAD)
# What a folder was made as: ground truth of a training set, BitonicX at full resolution (which may serve as ground
# truth), or any other results of a run.
TRUTH = "truth"
FULL_RESOLUTION = "full resolution"
RESULTS = "results"
# (role of a folder given as results, role of the one given as ground truth) that are in each other's place.
SWAPPED = ((TRUTH, RESULTS), (TRUTH, ""), (FULL_RESOLUTION, RESULTS))


@dataclass
class Images:
    """The images of a folder by id; the last file that was read is kept, as it may hold the next slices."""

    files: dict[str, Path]  # by case
    reading: ReadingOptions
    last: tuple[Path | None, Picture | None] = field(default=(None, None))

    def slices(self, case: str) -> dict[str, RGB]:
        """The images of a case's file by id: one, or one for each slice of a volume."""
        slices = self.picture(self.files[case]).slices
        return dict(zip(slice_ids(case, len(slices)), slices, strict=True))

    def image(self, image_id: str, truth_slices: int) -> RGB:
        """One image, from its own file or from that of its volume, which must have as many slices as the truth."""
        # Its own file.
        if image_id in self.files:
            slices = self.picture(self.files[image_id]).slices
            if len(slices) > 1:
                reason = f"is a volume of {len(slices)} slices, but its ground truth is one image"
                raise InputError(self.files[image_id], reason, "give results of the ground truth's size")
            return slices[0]
        # The volume that it is a slice of.
        volume, index = volume_of(image_id) or ("", 0)
        if volume not in self.files:
            raise InputError(image_id, "has no result", "left out for all methods")
        slices = self.picture(self.files[volume]).slices
        if truth_slices > 1 and len(slices) != truth_slices:
            reason = f"is a volume of {len(slices)} slices, but its ground truth has {truth_slices}"
            raise InputError(self.files[volume], reason, "give results of the ground truth's size")
        if index >= len(slices):
            raise InputError(self.files[volume], f"has no slice {index + 1}", "give the volume of this ground truth")
        return slices[index]

    def place_problem(self, case: str, truths: Images) -> str:
        """A reason to doubt that a case's file lies where its ground truth does; empty if none is known."""
        if case not in self.files:
            return ""
        return place_problem(self.picture(self.files[case]), truths.picture(truths.files[case]))

    def has(self, case: str) -> bool:
        """True if there is a file for a case of another folder: its own, its volume's or those of its slices."""
        volume = volume_of(case)
        if case in self.files or (volume and volume[0] in self.files):
            return True
        return case in self.volumes

    @property
    def volumes(self) -> set[str]:
        """The volumes whose slices lie in files of their own."""
        found = [volume_of(case) for case in self.files]
        return {volume for volume, _ in filter(None, found)}

    def picture(self, path: Path) -> Picture:
        """The picture of a file or a series."""
        last, picture = self.last
        if picture is None or last != path:
            picture, _ = read_alone(path, self.reading)
            self.last = (path, picture)
        return picture


@dataclass
class Sources:
    """The three images of each case; the last case that was read is kept."""

    cases: dict[str, Case]
    reading: ReadingOptions
    last: tuple[str, Loaded | None] = ("", None)

    def images(self, image_id: str, truth: RGB, truth_facts: Facts) -> list[RGB]:
        """The three images of a case, or of a slice of a volume, in the proportions of the ground truth.

        `truth_facts` are those of the ground truth's file.
        """
        volume, index = (image_id, 0) if image_id in self.cases else volume_of(image_id) or ("", 0)
        if volume not in self.cases:
            raise InputError(image_id, "the sources have no such case", "name them as the ground truth is named")
        if self.last[0] != volume:
            self.last = (volume, load_case(self.cases[volume], 1, None, self.reading))
        loaded = self.last[1]
        assert loaded
        _check_plane(volume, loaded, truth_facts)
        if index >= len(loaded.slices):
            raise InputError(f"case {volume}", f"its sources have no slice {index + 1}", "give those of this volume")
        images = loaded.slices[index] if volume != image_id else loaded.images
        (height, width) = truth.shape[:2]
        (h, w) = images[0].shape[:2]
        if height * w != width * h:
            reason = f"its sources are {w}x{h}, its ground truth is {width}x{height}"
            raise InputError(f"case {image_id}", reason, "give sources of the same proportions")
        return list(images)


def _check_plane(volume: str, loaded: Loaded, truth_facts: Facts) -> None:
    """Refuse sources that are sliced in another plane than the ground truth: each is sliced by its own voxel sizes."""
    if loaded.format != place_format(str(truth_facts["format"])):
        return
    planes = loaded.inputs["m1"].get("plane", "axial"), truth_facts.get("plane", "axial")
    if planes[0] != planes[1]:
        reason = f"its sources are sliced in {planes[0]} planes, its ground truth in {planes[1]} ones"
        raise InputError(f"case {volume}", reason, "leave out --sources, or fuse without --plane")


def image_files(folder: Path) -> dict[str, Path]:
    """The images of a folder by case: files, and folders that hold a DICOM series; two of one case are refused."""
    try:
        files = [path for place in result_folders(folder) for path in [*images_in(place), *_series_in(place)]]
    except OSError as error:
        raise NothingFound(folder, f"cannot be listed ({error.strerror})", "give a folder of images") from error
    if not files:
        raise NothingFound(
            folder,
            "holds no images",
            "give a folder that holds <case>.png, or the slices of volumes as <case>-slice001.png",
        )
    counts = Counter(image_stem(path.name) for path in files)
    if twice := [case for case, count in counts.items() if count > 1]:
        raise UsageError(folder, f"holds {counts[twice[0]]} images of {twice[0]}", "keep one")
    return {image_stem(path.name): path for path in files}


def _series_in(folder: Path) -> list[Path]:
    """The folders in a folder that hold a DICOM series as `tfs-rt fuse` writes it."""
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in NOT_RESULTS or not path.is_dir():
            continue
        names = [entry.name for entry in path.iterdir()]
        if names and all(SERIES_FILE.fullmatch(name) for name in names):
            found.append(path)
    return found


def swapped(results: Sequence[Path], truth: Path) -> list[str]:
    """A warning if results and ground truth seem to stand in each other's place, by what their own files say.

    PSNR and most measures are the same either way round, so that the figures would not show it.
    """
    roles = [_role(folder) for folder in results]
    of_truth = _role(truth)
    for folder, role in zip(results, roles, strict=True):
        if (role, of_truth) in SWAPPED:
            return [f"{folder} was made as ground truth: the ground truth comes last, after the results"]
    if of_truth == RESULTS and RESULTS not in roles:
        return [f"{truth} holds results of tfs-rt fuse, unlike the folders before it: the ground truth comes last"]
    return []


def _role(folder: Path) -> str:
    """TRUTH, FULL_RESOLUTION or RESULTS by the folder's own files; empty if they do not say."""
    # The ground truth of a training set.
    try:
        if folder.name == "truth" and (folder.parent.parent / MANIFEST).is_file():
            read_manifest(folder.resolve().parent.parent)
            return TRUTH
        sidecars = [path for place in result_folders(folder) for path in sorted(place.glob("[!.]*.json"))]
    except (TfsRtError, OSError):
        return ""
    # Results of a run.
    for path in sidecars:
        if path.name == REPORT:
            continue
        try:
            provenance = read_sidecar(path).provenance
        except TfsRtError:
            continue
        is_full = (provenance.get("method"), provenance.get("scale")) == ("bitonicx", 1)
        return FULL_RESOLUTION if is_full else RESULTS
    return ""
