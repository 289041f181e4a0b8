"""Remedies for commands that read images without the options of `tfs-rt fuse`, as `prepare` and `eval` do."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager

from tfs_rt.errors import InputError

OPTION = re.compile(r"(?<!gdcmconv )--[a-z][a-z-]*")  # gdcmconv is another program
CLAUSE = re.compile(r"; |, or ")  # between the alternatives of a remedy
REPLACEMENTS = {
    "--allow-lossy": "give the file that it was made from, or save it as PNG: what was lost stays lost",
    "--colormap": "swap the slots, or save it in pseudo-colour",
    "--window": "save it with 8 bits a pixel: which of its values become black and white is your choice",
}
LAST_RESORT = "change the file with another program first"


@contextmanager
def without_options() -> Generator[None]:
    """Give an InputError of the block a remedy that needs no option."""
    try:
        yield
    except InputError as error:
        if OPTION.search(error.remedy):
            raise type(error)(error.subject, error.reason, without_option(error.remedy)) from error
        raise


def without_option(remedy: str) -> str:
    """A remedy without its options: the same step by another program, or its alternatives that need no option."""
    for option in OPTION.findall(remedy):
        if option in REPLACEMENTS:
            return REPLACEMENTS[option]
    clauses = [clause for clause in CLAUSE.split(remedy) if not OPTION.search(clause)]
    return ", or ".join(clauses) or LAST_RESORT
