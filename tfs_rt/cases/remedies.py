"""Remedies for commands that read images without the options of `tfs-rt fuse`, as `prepare` and `eval` do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tfs_rt.errors import InputError

OPTION = re.compile(r"(?<!gdcmconv )--[a-z][a-z-]*")  # not those of another program
CLAUSE = re.compile(r"; |, or ")
INSTEAD = {
    "--allow-lossy": "give the file that it was made from, or save it as PNG: what was lost stays lost",
    "--colormap": "swap the slots, or save it in pseudo-colour",
    "--window": "save it with 8 bits a pixel: which of its values become black and white is your choice",
}
ANYTHING = "change the file with another program first"


@contextmanager
def without_options() -> Iterator[None]:
    """Give an InputError of the block a remedy that needs no option."""
    try:
        yield
    except InputError as error:
        if OPTION.search(error.remedy):
            raise type(error)(error.subject, error.reason, without_option(error.remedy)) from error
        raise


def without_option(remedy: str) -> str:
    """A remedy without its options: what is left of it, or the same step by another program."""
    for option in OPTION.findall(remedy):
        if option in INSTEAD:
            return INSTEAD[option]
    return ", or ".join(clause for clause in CLAUSE.split(remedy) if not OPTION.search(clause)) or ANYTHING
