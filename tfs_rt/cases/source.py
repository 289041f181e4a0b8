"""A source of cases as the user gave it, and the description of a kind of source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tfs_rt.cases.bids_choice import BidsChoice
from tfs_rt.cases.case import FoundCase
from tfs_rt.cases.listing import Listing, list_folder


@dataclass(frozen=True)
class Source:
    """A folder or file in which cases are looked for."""

    path: Path  # absolute; links keep their names
    output: Path | None = None  # real path of the folder for results, if results will be written
    any_pair: bool = False  # accept any two anatomical images, not only pairs with mr-t2
    bids: BidsChoice = field(default_factory=BidsChoice)  # images to take from BIDS datasets

    @property
    def has_options(self) -> bool:
        """True for `tfs-rt fuse`, which alone has an output here, and options to choose images."""
        return self.output is not None

    @cached_property
    def listing(self) -> Listing:
        """The entries of a folder, listed once; OSError if it cannot be listed."""
        return list_folder(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKind:
    """A kind of source: how it is recognised, and how its cases are found. Both functions may raise OSError."""

    name: str  # in the message "no case in this <name>"
    naming_remedy: str  # remedy if no case is found in it
    recognises: Callable[[Source], bool]
    find_cases: Callable[[Source], Iterable[FoundCase]]
    # A source may hold cases of this kind beside those of a later one.
    allows_later_kinds: bool = False
