"""Check compressed DICOM frames before they are decoded: decoders allot memory by the frame's own header."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

from pydicom import Dataset, uid
from pydicom.encaps import generate_frames

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom import jpeg_codec
from tfs_rt.formats.dicom.jpeg_segments import SIZES, segments
from tfs_rt.formats.dicom.layout import AGAIN, Layout

JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
J2K_SIZE = b"\xff\x4f\xff\x51"  # the markers before the size in a JPEG 2000 codestream


def check_frames(dataset: Dataset, layout: Layout, path: Path) -> None:
    """InputError unless there are as many frames as the file says, each as the file says."""
    offsets = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    count = 0
    bits = int(dataset.get("BitsStored") or layout.bits)
    for frame in generate_frames(dataset.PixelData, number_of_frames=layout.frames, extended_offsets=offsets):
        count += 1
        if not _has_size(frame, layout):
            raise InputError(path, f"damaged DICOM file (frame {count} has another size than the file says)", AGAIN)
        fault = jpeg_codec.fault_of(frame, layout, bits) if jpeg_codec.is_for(layout.syntax, bits) else ""
        if fault:
            raise InputError(path, f"its frame {count} {fault}", AGAIN)
    if count != layout.frames:
        raise InputError(path, f"damaged DICOM file (says {layout.frames} frames, holds {count})", AGAIN)


def _has_size(frame: bytes, layout: Layout) -> bool:
    if layout.syntax == uid.RLELossless:
        return _rle_bytes(frame) <= 2 * layout.frame_bytes
    return _codestream_size(frame, layout.syntax) == (layout.rows, layout.columns, layout.samples)


def _rle_bytes(frame: bytes) -> int:
    """The number of bytes that the runs of a frame expand to (PS3.5 annex G)."""
    count, *offsets = struct.unpack_from("<16L", frame)
    starts = [*offsets[: min(count, 15)], len(frame)]
    return sum(_run_bytes(frame[start:end]) for start, end in pairwise(starts))


def _run_bytes(segment: bytes) -> int:
    total = 0
    position = 0
    while position < len(segment):
        control = segment[position]
        if control < 128:  # a run of different bytes
            total += control + 1
            position += control + 2
        elif control > 128:  # one byte, repeated
            total += 257 - control
            position += 2
        else:
            position += 1
    return total


def _codestream_size(frame: bytes, syntax: uid.UID) -> tuple[int, int, int]:
    """(rows, columns, samples) by the compressed frame's own header; ValueError if it has none."""
    if syntax in JPEG_2000:
        start = frame.index(J2K_SIZE) + len(J2K_SIZE)
        x, y, x0, y0 = struct.unpack_from(">4xIIII", frame, start)
        return y - y0, x - x0, struct.unpack_from(">H", frame, start + 36)[0]
    for marker, start in segments(frame):
        if marker in SIZES:
            rows, columns, samples = struct.unpack_from(">HHB", frame, start + 3)
            return rows, columns, samples
    raise ValueError("a frame without a size")
