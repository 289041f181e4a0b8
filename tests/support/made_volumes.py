"""Volumes in several formats that tests make: one array at one place."""

from __future__ import annotations

import gzip
import struct
import zlib

import nibabel as nib
import numpy as np

SHAPE = (7, 5, 4)  # (X, Y, Z)
VALUES = np.random.default_rng(3).integers(-1000, 1000, SHAPE).astype(np.int16)
# A turned grid of voxels of 1 x 1.5 x 2 mm, in RAS: nearest to the axes (-y, x, z).
PLACE = np.array([[0.1, 1.49, 0.0, -30], [-0.995, 0.15, 0.0, 12], [0.0, 0.1, 2.0, -7], [0, 0, 0, 1.0]])
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def nifti_file(voxels: np.ndarray = VALUES, place: np.ndarray = PLACE) -> bytes:
    return nib.Nifti1Image(voxels, place).to_bytes()


def mgh_file(voxels: np.ndarray = VALUES, place: np.ndarray = PLACE) -> bytes:
    return nib.MGHImage(voxels, place).to_bytes()


def mgz_file(voxels: np.ndarray = VALUES, place: np.ndarray = PLACE) -> bytes:
    return gzip.compress(mgh_file(voxels, place), mtime=0)


def nrrd_file(
    voxels: np.ndarray = VALUES, place: np.ndarray = PLACE, *, encoding: str = "gzip", more: str = ""
) -> bytes:
    """A file made by the format's description, with little-endian values and places in LPS."""
    matrix = LPS @ place
    vectors = " ".join(f"({','.join(map(repr, column.tolist()))})" for column in matrix[:3, :3].T)
    kinds, none, sizes = ("RGB-color ", "none ", "3 ") if voxels.ndim == 4 else ("", "", "")
    head = f"""NRRD0004
# made by a test
type: {voxels.dtype.name}
dimension: {voxels.ndim}
space: left-posterior-superior
sizes: {sizes}{" ".join(map(str, voxels.shape[:3]))}
space directions: {none}{vectors}
kinds: {kinds}domain domain domain
endian: little
encoding: {encoding}
space origin: ({",".join(map(repr, matrix[:3, 3].tolist()))})
note:=a pair
{more}
"""
    content = np.moveaxis(voxels, -1, 0).tobytes("F") if voxels.ndim == 4 else voxels.tobytes("F")
    return head.encode() + (gzip.compress(content, mtime=0) if encoding == "gzip" else content)


def mha_file(
    voxels: np.ndarray = VALUES, place: np.ndarray = PLACE, *, compressed: bool = True, more: str = ""
) -> bytes:
    """A file made by the format's description, with little-endian values and places in LPS."""
    matrix = LPS @ place
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    content = np.moveaxis(voxels, -1, 0).tobytes("F") if voxels.ndim == 4 else voxels.tobytes("F")
    packed = zlib.compress(content) if compressed else content
    kind = {"int16": "MET_SHORT", "uint8": "MET_UCHAR", "float32": "MET_FLOAT"}[voxels.dtype.name]
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(compressed),
        **({"CompressedDataSize": str(len(packed))} if compressed else {}),
        "TransformMatrix": " ".join(map(repr, (matrix[:3, :3] / sizes).T.ravel().tolist())),
        "Offset": " ".join(map(repr, matrix[:3, 3].tolist())),
        "CenterOfRotation": "0 0 0",
        "AnatomicalOrientation": "RAI",
        "ElementSpacing": " ".join(map(repr, sizes.tolist())),
        "DimSize": " ".join(map(str, voxels.shape[:3])),
        **({"ElementNumberOfChannels": "3"} if voxels.ndim == 4 else {}),
        "ElementType": kind,
    }
    lines = [f"{name} = {value}" for name, value in fields.items()]
    return "\n".join([*lines, *([more] if more else []), "ElementDataFile = LOCAL\n"]).encode() + packed


MAKERS = {".mgh": mgh_file, ".mgz": mgz_file, ".nrrd": nrrd_file, ".mha": mha_file}


def mgh_header(data: bytes, offset: int, layout: str, *values: float) -> bytes:
    """An MGH file with other numbers at a place of its header."""
    changed = bytearray(data)
    struct.pack_into(f">{layout}", changed, offset, *values)
    return bytes(changed)
