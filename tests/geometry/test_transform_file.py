"""The transform file, read back by SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfs_rt.formats.volume import Matrix
from tfs_rt.geometry.transform_file import itk_transform


def test_simpleitk_reads_every_bit(moved: Matrix, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / "t.tfm"
    path.write_text(itk_transform(moved))
    found = sitk.AffineTransform(sitk.ReadTransform(str(path)))
    np.testing.assert_array_equal(np.reshape(found.GetMatrix(), (3, 3)), moved[:3, :3])
    np.testing.assert_array_equal(found.GetTranslation(), moved[:3, 3])
    point = (10.0, -20.0, 30.0)
    np.testing.assert_allclose(found.TransformPoint(point), moved[:3, :3] @ point + moved[:3, 3])
