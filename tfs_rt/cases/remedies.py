"""Remedies of errors about images, for commands that have some of the options of `tfs-rt fuse` or none."""

from __future__ import annotations

import re
from collections.abc import Collection, Generator
from contextlib import contextmanager

from tfs_rt.errors import TfsRtError

OPTION = re.compile(r"(?<!gdcmconv )--[a-z][a-z-]*")  # gdcmconv is another program
CLAUSE = re.compile(r"; |, or ")  # between the alternatives of a remedy
LAST_RESORT = "change the file with another program first"


@contextmanager
def only_options(known: Collection[str] | None) -> Generator[None]:
    """Give an error of the block a remedy that names no option but these; None allows all."""
    try:
        yield
    except TfsRtError as error:
        other = restricted(error, known)
        if other is error:
            raise
        raise other from error


def restricted(error: TfsRtError, known: Collection[str] | None) -> TfsRtError:
    """The error with a remedy that names no option but these; None allows all."""
    if known is None or _names_only(error.remedy, known):
        return error
    return type(error)(error.subject, error.reason, with_options(error.remedy, known))


def with_options(remedy: str, known: Collection[str]) -> str:
    """The alternatives of a remedy that name no option but these."""
    clauses = [clause for clause in CLAUSE.split(remedy) if _names_only(clause, known)]
    return ", or ".join(clauses) or LAST_RESORT


def _names_only(text: str, known: Collection[str]) -> bool:
    return all(option in known for option in OPTION.findall(text))
