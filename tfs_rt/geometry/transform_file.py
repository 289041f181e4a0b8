"""A transform as ITK's text format, which SimpleITK, ANTs and 3D Slicer read."""

from __future__ import annotations

from tfs_rt.formats.volume import Matrix


def itk_transform(transform: Matrix) -> str:
    """The text of a `.tfm` file: a matrix (4, 4) from the target's world to the source's, in mm (LPS).

    It is an affine transform about the origin, of which a rigid one is a case. The numbers are exact.
    """
    numbers = [*transform[:3, :3].ravel().tolist(), *transform[:3, 3].tolist()]
    lines = [
        "#Insight Transform File V1.0",
        "#Transform 0",
        "Transform: AffineTransform_double_3_3",
        "Parameters: " + " ".join(repr(number) for number in numbers),
        "FixedParameters: 0 0 0",
    ]
    return "\n".join(lines) + "\n"
