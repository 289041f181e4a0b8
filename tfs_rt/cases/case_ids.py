"""Ids of cases: an id names the files of a result, on any file system, and belongs to one case."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from tfs_rt.cases.case import Problem
from tfs_rt.cases.listing import shorten
from tfs_rt.output.folder import RESERVED_IDS
from tfs_rt.system.files import fold_name

# In bytes: a file name holds 255, its ending and a temporary name's included.
LONGEST = 200
FORBIDDEN = '/\\:*?"<>|'  # by one file system or another


def duplicate_problem(places: Sequence[str]) -> Problem | None:
    """The problem of an id that several cases have; None if one has it. `places` says where these cases are."""
    if len(places) < 2:
        return None
    reason = f"{len(places)} cases have this id ({shorten(list(dict.fromkeys(places)))})"
    return Problem(reason, "rename all but one, or list them in a CSV under ids of their own")


def id_problem(case_id: str) -> Problem | None:
    """The problem of an id that cannot be a file name on some system; None if it can."""
    reason = ""
    remedy = "rename it with letters, digits, - and _, or list the case in a CSV under another id"
    if bad := sorted(filter(_is_forbidden, set(case_id))):
        reason = f"it holds {', '.join(map(ascii, bad))}"
    elif case_id.startswith("."):
        reason = "it begins with a dot, and would be hidden"
    elif fold_name(case_id) in RESERVED_IDS:
        reason = f"a run has a file of its own by that name ({', '.join(sorted(RESERVED_IDS))})"
    elif (length := len(case_id.encode())) > LONGEST:  # names that are not Unicode hold a forbidden character
        reason = f"it has {length} bytes, and a result's name has room for {LONGEST}"
        remedy = "shorten it, or list the case in a CSV under a shorter id"
    return Problem(f"this id cannot name a result: {reason}", remedy) if reason else None


def _is_forbidden(character: str) -> bool:
    """True for characters that file names cannot hold, and for control and format characters."""
    return character in FORBIDDEN or unicodedata.category(character).startswith("C")
