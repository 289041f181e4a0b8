"""The parts of the sandbox, and the words for those that are missing."""

from __future__ import annotations

from tfs_rt.errors import (
    LimitReached,  # noqa: F401 - likewise
)
from tfs_rt.sandbox.parts import PARTS, Parts, known_parts


def test_a_sandbox_is_whole_or_says_what_it_lacks() -> None:
    assert known_parts(list(PARTS)) == Parts(PARTS)
    assert Parts(PARTS).warning == ""
    assert not Parts(PARTS).missing
    Parts(PARTS).check_complete()
    assert known_parts(["anything", 5, None]).missing == list(PARTS)
