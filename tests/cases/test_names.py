"""Two spellings of a patient's name are known for one name, and two names for two."""

from __future__ import annotations

import pytest

from tfs_rt.cases.names import is_same_name

SPELLINGS = [
    ("doe^jane", "doe jane"),
    ("doe^jane", "jane doe"),
    ("doe^jane", "doejane"),
    ("doe^jane", "doe^j"),
    ("doe^jane", "doe-smith^jane"),
    ("müller^jörg", "mueller^joerg"),
    ("müller^jörg", "muller^jorg"),
    ("mu\u0308ller^x", "müller^y"),
    ("nuñez^ana", "NUNEZ^ANA"),
    ("山田^太郎", "yamada^tarou"),
]
DIFFERENT = [("doe^jane", "smith^john"), ("anon1", "doe^jane"), ("山田^太郎", "佐藤^花子"), ("a^b", "c^d"), ("^", "--")]


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_spellings_of_one_name_are_the_same(one: str, other: str) -> None:
    assert is_same_name(one, other)
    assert is_same_name(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_names_without_a_common_part_are_different(one: str, other: str) -> None:
    assert not is_same_name(one, other)
    assert not is_same_name(other, one)
