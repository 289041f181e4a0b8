"""Images in one folder, named by modality: one case, or several whose names say which images belong together.

    p1/mr-t1.png, mr-t2.png, pet.png                                  the case p1
    all/001_t1.png, 001_t2.png, 001_pet.png, 002_t1.png, ...          the cases all_001, all_002

What a name holds besides the words for its modality is the case's key. Names without a key belong to the folder's case.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfs_rt.cases.case import Problem
from tfs_rt.cases.modalities import exact_modality, modality_of_name, parse
from tfs_rt.cases.pairing import LIST_IT, Candidate, is_whole
from tfs_rt.cases.places import Place
from tfs_rt.system.files import fold_name


def candidates(place: Place, names: Sequence[str], *, any_pair: bool) -> list[Candidate]:
    """The candidates of a folder's images, given by their names."""
    # Files that are called exactly by modality are the folder's case, if they are a whole one.
    others = [name for name in names if not modality_of_name(name)]
    exact = _candidate(place, others, [name for name in names if exact_modality(name)])
    if is_whole(exact, any_pair=any_pair):
        return [exact]

    # Sort the others by key. A mask is not the image that a case of several lacks.
    unknown = [name for name in others if not parse(name).is_something_else]
    groups: dict[str, list[str]] = {}
    for name in names:
        if modality_of_name(name):
            groups.setdefault(fold_name(_key(name)), []).append(name)
    bare = groups.pop("", [])
    if not bare:
        return _by_key(place, unknown, list(groups.values()), any_pair=any_pair)

    # Names without a key are the folder's case, which the names of a single key may complete.
    own = _candidate(place, others, bare)
    if is_whole(own, any_pair=any_pair):
        keyed = [_candidate(place, [], group, with_key=True) for group in groups.values()]
        return [own, *(candidate for candidate in keyed if is_whole(candidate, any_pair=any_pair))]
    if len(groups) == 1:
        (group,) = groups.values()
        added = [name for name in group if modality_of_name(name) not in own.images]
        return [_candidate(place, others, [*bare, *added])]
    if groups and all(len(group) == 1 for group in groups.values()):
        return [_candidate(place, others, names)]
    return [own, *(_candidate(place, unknown, group, with_key=True) for group in groups.values())]


def _by_key(place: Place, others: list[str], groups: list[list[str]], *, any_pair: bool) -> list[Candidate]:
    """A candidate for each key; a single one with a problem if the keys do not tell cases apart."""
    found = [_candidate(place, others, group, with_key=True) for group in groups]
    is_one_case = any(is_whole(candidate, any_pair=any_pair) for candidate in found)
    together = _candidate(place, others, [name for group in groups for name in group])
    if is_one_case or not is_whole(together, any_pair=any_pair):
        return found
    keys = ", ".join(f"{_key(group[0])!r} in {group[0]}" for group in groups)
    reason = f"its images seem to be of several cases: their names differ in more than the modality ({keys})"
    problem = Problem(reason, f"name them by modality alone, or alike but for the modality, or {LIST_IT}")
    return [Candidate(place.case_id, place.folder, together.images, problem=problem)]


def _candidate(place: Place, others: list[str], members: Sequence[str], *, with_key: bool = False) -> Candidate:
    """The candidate of some of a folder's images. The others, without a modality, may be those that it lacks."""
    images: dict[str, list[Path]] = {}
    for name in members:
        if modality := modality_of_name(name):
            images.setdefault(modality, []).append(place.folder / name)
    key = [_key(members[0])] if with_key and members else []
    return Candidate(place.id_of(key), place.folder, images, others)


def _key(name: str) -> str:
    """What tells the case in a name: all but the words for its modality."""
    return "" if exact_modality(name) else parse(name).rest
