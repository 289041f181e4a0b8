"""Find cases: three files belong together by their names, never by their positions in a list.

Each source is read by the kinds of sources that recognise it, and each kind turns what it finds into cases. A case that
is not complete is refused on its own; the others stand. No folder is listed once per case, so that the time grows with
the number of files and no faster.

To add a kind of source, write a module with a `SourceKind`, and add it to KINDS.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tfs_rt.cases.bids import BIDS
from tfs_rt.cases.bids_choice import BidsChoice
from tfs_rt.cases.case import Case, FoundCase, RefusedCase
from tfs_rt.cases.case_ids import duplicate_problem, id_problem
from tfs_rt.cases.csv_list import CSV_LIST, ENDINGS
from tfs_rt.cases.folders import FOLDERS
from tfs_rt.cases.listing import image_stem, shorten
from tfs_rt.cases.modalities import is_called_by_modality
from tfs_rt.cases.nnunet import NNUNET
from tfs_rt.cases.source import Source, SourceKind
from tfs_rt.errors import InputError, NothingFound, UsageError
from tfs_rt.output import bids_derivative
from tfs_rt.output.conflicts import OutputFolder
from tfs_rt.system.files import fold_name, real_path

WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
# The first kind that recognises a source reads it. If it allows later kinds, they are tried, too.
KINDS: tuple[SourceKind, ...] = (CSV_LIST, BIDS, NNUNET, FOLDERS)


def discover(
    sources: Iterable[Path],
    *,
    output: Path | None = None,
    given: Iterable[Case] = (),
    any_pair: bool = False,
    bids: BidsChoice | None = None,
) -> list[FoundCase]:
    """All cases of all sources, after those that were `given` by their files, in a stable order.

    `output` is the folder for the results, if there will be any: it is not searched, and a case whose result would be
    in the way of an input is refused. A source in which nothing is found is refused like a case; NothingFound if
    nothing is found anywhere. `any_pair` accepts folders without an mr-t2, in the order of ANATOMICAL: for methods in
    which the order matters little. `bids` chooses among the images of BIDS datasets; UsageError if it applies to none.
    """
    cases: list[FoundCase] = list(given)
    empty: list[NothingFound] = []
    real_output = real_path(output) if output else None
    for path in dict.fromkeys(map(_absolute, sources)):
        try:
            cases += _cases_of(Source(path, real_output, any_pair, bids or BidsChoice()))
        except NothingFound as error:
            empty.append(error)
    if not cases and empty:
        raise empty[0]
    if bids:
        bids.check_used(file for case in cases if case.dataset for file in _files(case))

    # Refuse cases whose results cannot be written.
    target = None
    if output:
        target = OutputFolder.of(output, (file for case in cases for file in _files(case)))
        bids_derivative.check_dataset(output, {c.dataset for c in cases if isinstance(c, Case) and c.dataset})
    places = _places(cases)
    checked = [_check_id(case, places[fold_name(case.id)], target) for case in cases]
    return [*checked, *(RefusedCase(Path(error.subject).name, error) for error in empty)]


def case_from_files(m1: Path, m2: Path, functional: Path, case_id: str | None) -> Case:
    """A case of three files, or folders with a DICOM series.

    Without a `case_id` it is called like the functional file, or like its folder if the file is named by a modality.
    """
    files = {"m1": _absolute(m1), "m2": _absolute(m2), "functional": _absolute(functional)}
    folder = files["functional"].parent.name
    if not case_id:
        case_id = folder if is_called_by_modality(functional.name) and folder else image_stem(functional.name)
    return Case(case_id, files)


def _cases_of(source: Source) -> list[FoundCase]:
    """The cases of one source; NothingFound if there are none."""
    try:
        if not source.path.exists():
            raise NothingFound(source.path, "no such file or folder", "check the path")
        kinds = _kinds_of(source)
        cases = [case for kind in kinds for case in kind.find_cases(source)]
    except OSError as error:
        raise NothingFound(source.path, f"cannot be read ({error.strerror})", "check its permissions") from error
    if not kinds:
        reason = f"is neither a folder nor a CSV ({', '.join(ENDINGS)})"
        raise UsageError(source.path, reason, _remedy_for_file(source))
    if not cases:
        reason = f"no case in this {kinds[-1].name}{_contents(source)}"
        raise NothingFound(source.path, reason, kinds[-1].naming_remedy)
    return cases


def _contents(source: Source) -> str:
    """The first entries of a folder without cases, for the message."""
    if not source.path.is_dir():
        return ""
    names = source.listing.names
    return f", which holds {shorten(names)}" if names else ", which is empty"


def _kinds_of(source: Source) -> list[SourceKind]:
    """The kinds that a source is read by."""
    kinds: list[SourceKind] = []
    for kind in KINDS:
        if kind.recognises(source):
            kinds.append(kind)
            if not kind.allows_later_kinds:
                break
    return kinds


def _remedy_for_file(source: Source) -> str:
    if source.path.suffix.lower() in WORKBOOKS:
        return "save it as CSV UTF-8 in the spreadsheet program, and give that file"
    if source.has_options:
        return "give single images as --m1 A --m2 B --functional C"
    return "give the folder that holds it, or list its case in a CSV with id,m1,m2,functional"


def _places(cases: Iterable[FoundCase]) -> dict[str, list[str]]:
    """The folders of the cases with each id, by folded id."""
    places: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        files = _files(case)
        places[fold_name(case.id)].append(str(files[0].parent if files else case.id))
    return places


def _check_id(case: FoundCase, places: list[str], target: OutputFolder | None) -> FoundCase:
    """The case, refused if its id is not unique, cannot be a file name, or would overwrite an input."""
    error = None
    if problem := duplicate_problem(places) or id_problem(case.id):
        error = InputError(case.id, *problem)
    elif target:
        error = target.conflict(case.id)
    if isinstance(case, RefusedCase):
        return replace(case, owns_result=error is None)
    return RefusedCase(case.id, error, labels=case.labels) if error else case


def _files(case: FoundCase) -> tuple[Path, ...]:
    return case.files if isinstance(case, RefusedCase) else tuple(case.files.values())


def _absolute(path: Path) -> Path:
    """An absolute path in which links keep their names."""
    return Path(os.path.abspath(path))  # noqa: PTH100
