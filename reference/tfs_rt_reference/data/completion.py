"""Training groups from pairs of registered images: `python -m tfs_rt_reference.data.completion PAIRS.csv -o DIR`.

PAIRS.csv is a list of cases (id,m1,m2,functional,patient,split) in which one of the three files is left empty. The
missing image is made, and DIR/cases.csv lists whole groups for `tfs-rt prepare`, whose ground truth is BitonicX of the
three images. That truth is exact for any three images: a made image has to look like its kind, not to be right.

* A missing functional image is borrowed from another patient.
* A missing anatomical image is borrowed likewise in every second case, and else made from its companion by a smooth
  random change of contrast, as another sequence shows the same edges in other greys.

A borrowed image is chosen among a few drawn at random: the one with the most similar head size. It is shifted by whole
pixels so that the heads' centres meet, and never resampled, which would blur it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfs_rt.cases.csv_list import Row, read_list, to_csv
from tfs_rt.cases.load import read_file
from tfs_rt.errors import InputError, TfsRtError, UsageError
from tfs_rt.formats.png import encode_png
from tfs_rt.images import RGB
from tfs_rt.output.results import prepare_output
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import write_file

DRAWN = 24  # candidates for a loan
AIR = 20  # level: what is darker is not part of the head
# Share of the head's pixels that may stick out of its box, on each side.
TAIL = 0.01
ID = re.compile(r"[\w.-]*\w[\w.-]*")
KNOTS = 6  # points of the contrast curve


@dataclass(frozen=True, slots=True)
class Pair:
    """A case of which one image is missing."""

    id: str
    patient: str
    split: str
    files: dict[str, Path]  # keys: the slots that have a file
    images: dict[str, RGB]

    @property
    def missing(self) -> str:
        """The third slot."""
        return next(slot for slot in SLOTS if slot not in self.files)

    @property
    def anatomy(self) -> RGB:
        """An anatomical image: every pair has one."""
        return next(self.images[slot] for slot in SLOTS if slot in self.images)


def read_pairs(path: Path) -> list[Pair]:
    """All pairs of a list; UsageError or InputError if the list, a pair or an image is not valid."""
    header, rows = read_list(path)
    if lacking := sorted({"patient", "split"} - set(header)):
        raise UsageError(path, f"has no column {', '.join(lacking)}", "add it")
    pairs = [_pair(path, row) for row in rows]
    if repeated := [id_ for id_, times in Counter(pair.id for pair in pairs).items() if times > 1]:
        raise UsageError(path, f"lists {repeated[0]} more than once", "give every pair an id of its own")
    return pairs


def _pair(path: Path, row: Row) -> Pair:
    if row.problem:
        raise UsageError(f"{path}, line {row.line}", *row.problem)
    id_, patient, split = (row.cells[key] for key in ("id", "patient", "split"))
    if not ID.fullmatch(id_) or not patient or not split:
        reason = f"has a row without a patient, a split, or an id that a file can be named by ({id_!r})"
        raise UsageError(path, reason, "fill it in")
    files = {slot: path.parent / name for slot in SLOTS if (name := row.cells[slot])}
    if len(files) != len(SLOTS) - 1:
        raise UsageError(path, f"{id_} has {len(files)} files, not two", "leave one of m1,m2,functional empty")
    images = {slot: read_file(file)[0] for slot, file in files.items()}
    if len({image.shape for image in images.values()}) > 1:
        raise InputError(f"pair {id_}", "its two images differ in size", "resample one of them first")
    return Pair(id_, patient, split, files, images)


def head_box(image: RGB) -> np.ndarray:
    """(top, left, bottom, right): box of the pixels brighter than air, up to a small share outside it."""
    bright = image.max(axis=2) > AIR
    shares = [np.cumsum(bright.sum(axis=axis)) / max(int(bright.sum()), 1) for axis in (1, 0)]
    return np.array([np.searchsorted(share, quantile) for quantile in (TAIL, 1 - TAIL) for share in shares])


def shift_image(image: RGB, down: int, right: int) -> RGB:
    """The image moved by whole pixels over black."""
    height, width = image.shape[:2]
    moved = np.zeros_like(image)
    moved[max(down, 0) : height + down, max(right, 0) : width + right] = image[
        max(-down, 0) : height - down, max(-right, 0) : width - right
    ]
    return moved


def borrow(pair: Pair, lenders: Sequence[Pair], rng: np.random.Generator) -> RGB:
    """Another patient's image for the missing slot, laid where this patient's head is."""
    if not lenders:
        reason = f"no other patient of its split has a {pair.missing} image of its size to lend"
        raise InputError(f"pair {pair.id}", reason, "add pairs of other patients, or leave it out")
    drawn = [lenders[i] for i in rng.permutation(len(lenders))[:DRAWN]]
    own = head_box(pair.anatomy)
    boxes = [head_box(lender.anatomy) for lender in drawn]
    apart = [np.abs((box[2:] - box[:2]) - (own[2:] - own[:2])).sum() for box in boxes]
    best = int(np.argmin(apart))
    down, right = (int(shift) for shift in (own[:2] + own[2:] - boxes[best][:2] - boxes[best][2:]) // 2)
    return shift_image(drawn[best].images[pair.missing], down, right)


def remap(image: RGB, rng: np.random.Generator) -> RGB:
    """The same structures in other greys: a random smooth curve through black, never flat, falling or rising."""
    knots = np.linspace(0, 255, KNOTS)
    while True:
        values = np.concatenate([[0.0], rng.uniform(20, 255, KNOTS - 1)])
        if np.abs(np.diff(values[1:])).mean() > 50:
            break
    return np.interp(image.astype(np.float64), knots, values).round().astype(np.uint8)


def complete(pairs: Sequence[Pair], rng: np.random.Generator) -> list[RGB]:
    """The missing image of each pair."""
    made = []
    for number, pair in enumerate(pairs):
        lenders = [
            other
            for other in pairs
            if pair.missing in other.images
            and other.patient != pair.patient
            and other.split == pair.split
            and other.anatomy.shape == pair.anatomy.shape
        ]
        if pair.missing == "functional" or (number % 2 and lenders):
            made.append(borrow(pair, lenders, rng))
        else:
            made.append(remap(pair.anatomy, rng))
    return made


def run(source: Path, output: Path, *, seed: int) -> None:
    """Complete a list of pairs in a folder."""
    # Read the list.
    pairs = read_pairs(source)
    if not pairs:
        raise UsageError(source, "lists no pairs", "add some")
    # Check that no file of the list would be overwritten.
    root = output.resolve()
    files = {pair.id: root / f"{pair.id}_{pair.missing}.png" for pair in pairs}
    inputs = {path.resolve() for pair in pairs for path in (source, *pair.files.values())}
    if inputs & {root / "cases.csv", *files.values()}:
        raise UsageError(output, "holds the list or images of it that would be overwritten", "choose another -o")
    # Complete the pairs before anything is written.
    images = complete(pairs, np.random.default_rng(seed))
    prepare_output(output)
    # Write the images, and a list of complete cases.
    table = [["id", *SLOTS, "patient", "split"]]
    for pair, image in zip(pairs, images, strict=True):
        write_file(files[pair.id], encode_png(image))
        whole = {slot: str(path.resolve()) for slot, path in pair.files.items()} | {pair.missing: str(files[pair.id])}
        table.append([pair.id, *(whole[slot] for slot in SLOTS), pair.patient, pair.split])
    write_file(output / "cases.csv", to_csv(table).encode())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, choices=range(2**31), metavar="N")
    arguments = parser.parse_args()
    try:
        run(arguments.pairs, arguments.output, seed=arguments.seed)
    except TfsRtError as error:
        sys.exit(f"completion: {error}")


if __name__ == "__main__":
    main()
