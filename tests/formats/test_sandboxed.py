"""Pictures read in a sandboxed child are those read without one."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from support.helpers import png
from tfs_rt.errors import InputError
from tfs_rt.formats.picture import FileOptions
from tfs_rt.formats.registry import read_picture
from tfs_rt.formats.sandboxed import SandboxedReader

PATH = Path("somewhere/pet.png")


def test_pictures_and_refusals_are_those_of_the_reader_itself(rng: np.random.Generator) -> None:
    data = png(rng.integers(0, 256, (17, 9, 3), dtype=np.uint8))
    direct = read_picture(data, PATH, FileOptions())
    with SandboxedReader() as reader:
        reader.start()
        picture = reader.read(data, PATH, FileOptions())
        np.testing.assert_array_equal(picture.slices[0], direct.slices[0])
        assert (picture.facts, picture.subject, picture.frame) == (direct.facts, direct.subject, direct.frame)
        for damaged in (data[:-20], b"", data[:40] + b"\0" + data[41:]):
            with pytest.raises(InputError) as ours:
                read_picture(damaged, PATH, FileOptions())
            with pytest.raises(InputError) as theirs:
                reader.read(damaged, PATH, FileOptions())
            assert str(theirs.value) == str(ours.value)


def test_a_small_image_takes_little_longer_than_without_a_child(rng: np.random.Generator) -> None:
    data = png(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8))
    with SandboxedReader() as reader:
        reader.read(data, PATH, FileOptions())
        times = []
        for _ in range(30):
            started = time.perf_counter()
            reader.read(data, PATH, FileOptions())
            middle = time.perf_counter()
            read_picture(data, PATH, FileOptions())
            times.append(middle - started - (time.perf_counter() - middle))
    assert min(times) < 0.003
