"""Images are paired by modality; what is missing or too many is named, with what would be accepted."""

import re
from pathlib import Path

import numpy as np
import pytest

from support.cases import file_names, find, refusal
from support.helpers import write_case
from tfs_rt.cases.case import Case
from tfs_rt.cases.discover import discover
from tfs_rt.errors import NothingFound

AS_M1 = ("ct", "mr-t1", "mr-gad", "mr-pd")  # modalities that go into the slot m1 beside mr-t2
FUNCTIONAL = ("pet", "spect")


@pytest.mark.parametrize("m1", AS_M1)
@pytest.mark.parametrize("functional", FUNCTIONAL)
def test_case_folders_are_ordered_by_modality(tmp_path: Path, m1: str, functional: str) -> None:
    write_case(tmp_path / "a", m1=m1, functional=functional)
    (tmp_path / "a" / "notes.txt").write_text("left alone")
    found = find(tmp_path)
    assert file_names(found["a"]) == {"m1": f"{m1}.png", "m2": "mr-t2.png", "functional": f"{functional}.png"}


@pytest.mark.parametrize(
    ("remove", "add", "words"),
    [
        ("pet.png", None, "found 0 functional"),
        (None, "spect.png", "found 2 functional"),
        ("mr-t1.png", None, "found 1 anatomical image in mr-t2.png, pet.png; expected mr-t2 and one of ct, mr-t1"),
        (None, "ct.png", "found 3 anatomical"),
        (None, "pet.tif", r"found 2 images of pet \(pet.png, pet.tif\); expected one"),
    ],
)
def test_an_incomplete_or_doubled_case_is_refused_alone(
    tmp_path: Path, remove: str | None, add: str | None, words: str
) -> None:
    write_case(tmp_path / "good")
    bad = write_case(tmp_path / "bad")
    if remove:
        (bad / remove).unlink()
    if add:
        (bad / add).write_bytes(b"")
    found = find(tmp_path)
    assert isinstance(found["good"], Case)
    assert re.search(words, refusal(found["bad"]))


def test_two_anatomical_images_without_t2_are_not_guessed(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "a", m1="ct")
    (folder / "mr-t2.png").rename(folder / "mr-gad.png")
    assert "which of ct and mr-gad is m2" in refusal(find(tmp_path)["a"])


def test_images_go_by_their_modality_wherever_they_stand_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("PET.png", "Mr-T2.png", "ct.png"):  # in this order, for capitals come first
        (tmp_path / "a" / name).touch()
    case = find(tmp_path)["a"]
    assert isinstance(case, Case)
    assert {slot: file.name for slot, file in case.files.items()} == {
        "m1": "ct.png",
        "m2": "Mr-T2.png",
        "functional": "PET.png",
    }


def test_of_five_hundred_random_folders_none_is_mispaired(tmp_path: Path, rng: np.random.Generator) -> None:
    pairs = 0
    for number in range(500):
        root = tmp_path / str(number)
        present: dict[str, list[str]] = {}
        for case in rng.permutation(["a", "b", "c"])[: rng.integers(1, 4)]:
            whole = {str(rng.choice(AS_M1)), "mr-t2", str(rng.choice(FUNCTIONAL))}
            share = {True: 0.9, False: 0.1}  # of a case that would be whole, and of what is too much
            names = [n for n in (*AS_M1, "mr-t2", *FUNCTIONAL) if rng.random() < share[n in whole]]
            present[str(case)] = names
            for name in names:
                (root / case).mkdir(parents=True, exist_ok=True)
                (root / case / f"{name}.png").touch()
        try:
            found = {case.id: case for case in discover([root], output=tmp_path / "out")} if root.exists() else {}
        except NothingFound:
            found = {}
        for case_id, names in present.items():
            m1 = [name for name in names if name in AS_M1]
            functional = [name for name in names if name in FUNCTIONAL]
            case = found.get(case_id)
            if len(m1) == len(functional) == 1 and "mr-t2" in names:
                assert isinstance(case, Case)
                expected = {"m1": m1[0], "m2": "mr-t2", "functional": functional[0]}
                assert case.files == {slot: root / case_id / f"{name}.png" for slot, name in expected.items()}
                pairs += 1
            else:
                assert not isinstance(case, Case)
    assert pairs > 300


@pytest.mark.parametrize(("missing", "seen"), [("pet", "mr-t1.png, mr-t2.png"), ("mr-t1", "mr-t2.png, pet.png")])
def test_an_image_with_an_unknown_name_is_named_with_the_names_that_are_known(
    tmp_path: Path, missing: str, seen: str
) -> None:
    folder = write_case(tmp_path / "a")
    (folder / f"{missing}.png").rename(folder / "scan.png")
    message = refusal(find(folder)["a"])
    assert f"in {seen}; expected " in message
    assert "scan.png does not name a modality: rename it by its modality (known: ct, mr-t1, mr-gad" in message
