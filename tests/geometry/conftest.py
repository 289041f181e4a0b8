"""A small head, and a known displacement."""

from __future__ import annotations

import pytest

from support.heads import Head, rigid
from tfs_rt.formats.volume import Matrix


@pytest.fixture(scope="session")
def head() -> Head:
    return Head(3)


@pytest.fixture(scope="session")
def moved(head: Head) -> Matrix:
    return rigid(6, (4.0, -3.0, 2.0), head.points.mean(axis=0))
