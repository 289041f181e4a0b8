"""The record of a run: what became of each case, written to its files, the journal and the report's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tfs_rt.batch.case_errors import fusing_error
from tfs_rt.batch.case_results import CaseResults, CaseRow
from tfs_rt.batch.journal import Journal
from tfs_rt.batch.notices import warnings_of
from tfs_rt.batch.plan import Keep, Planner
from tfs_rt.batch.result_files import FinishedCase, finish_case
from tfs_rt.batch.sheets import Sheets, middle_slice
from tfs_rt.batch.work import CaseWork, WorkItem
from tfs_rt.cases.case import Case, FoundCase
from tfs_rt.cases.contents import read_bytes
from tfs_rt.cases.guards import SuspectCase
from tfs_rt.errors import LimitReached, TfsRtError
from tfs_rt.facts import Facts
from tfs_rt.formats.picture import FileOptions
from tfs_rt.images import RGB
from tfs_rt.output import bids_derivative
from tfs_rt.output.results import check_place, clear_sheets, delete_result, remove_result, write_result
from tfs_rt.system.files import visible_files


@dataclass(slots=True)
class Recorder:
    """Writes what became of each case."""

    planner: Planner
    provenance: Facts
    journal: Journal
    results: CaseResults  # a row for each case
    sheets: Sheets
    on_result: Callable[[Facts], None]

    def keep(self, step: Keep) -> None:
        """Record a case that an earlier run has fused."""
        self._describe_dataset(step.case)
        # Add the case to the contact sheet.
        sidecar = step.sidecar
        warnings = list(sidecar.warnings)
        if self.planner.options.sheet:
            try:
                self._add_kept_to_sheet(step)
            except LimitReached:
                raise
            except TfsRtError as error:
                warnings.append(f"is on no contact sheet: {error}")
        # Add the case to the report.
        row = CaseRow(
            id=step.case.id,
            status="kept",
            result=sidecar.result,
            warnings=warnings,
            seconds=sidecar.seconds,
            guards=[finding["guard"] for finding in sidecar.findings],
        )
        self._add_row(row)

    def add(self, item: WorkItem, image: RGB, seconds: float) -> bool:
        """Add an image to its case. A case that is complete is written; then, True."""
        work = item.work
        if work.failed:
            return False
        # A case that cannot be encoded fails alone.
        try:
            if not work.add(item, image, seconds):
                return False
            if self.planner.options.strict:
                work.check_findings()
            check_place(self.planner.options.output, work.loaded.case.id, work.form)
            warnings = warnings_of(work, self.planner.fuser.trained_size)
            finished = finish_case(work, self.provenance, self.planner.settings, warnings)
        except Exception as error:
            self.fail_work(work, fusing_error(work, error))
            return False
        self._write(work, finished)
        return True

    def fail_work(self, work: CaseWork, error: TfsRtError) -> None:
        """Record that a case cannot be fused; a case of several items fails once."""
        if not work.failed:
            work.failed = True
            self.fail(work.loaded.case, error)

    def fail(self, case: FoundCase, error: TfsRtError) -> None:
        """Record that a case has failed, and delete an earlier result that would pass for this run's."""
        self.journal.check_place()
        options = self.planner.options
        if isinstance(case, Case):
            remove_result(options.output, case.id, case.files, self.planner.settings)
        elif case.owns_result:
            remove_result(options.output, case.id, {}, self.planner.settings)
        self._add_failure(case.id, error)

    def roll_back(self, case_ids: Sequence[str], error: TfsRtError) -> None:
        """Delete the results of cases that a wrong fuser made, and record that these cases have failed."""
        options = self.planner.options
        self.results.remove(set(case_ids))
        for case_id in case_ids:
            delete_result(options.output, case_id)
            self._add_failure(case_id, error)
        self.sheets.rows.clear()
        if options.sheet:
            clear_sheets(options.output)

    def _write(self, work: CaseWork, finished: FinishedCase) -> None:
        case = work.loaded.case
        options = self.planner.options
        self.journal.check_place()
        self._describe_dataset(case)
        write_result(options.output, case.id, finished.files, finished.sidecar.as_bytes())
        row = CaseRow(
            id=case.id,
            status="done",
            result=finished.sidecar.result,
            warnings=finished.sidecar.warnings,
            seconds=finished.sidecar.seconds,
            guards=[finding["guard"] for finding in finished.sidecar.findings],
        )
        self._add_row(row)
        if options.sheet:
            self.sheets.add(work.loaded, work.slices[middle_slice(work.loaded)])

    def _add_kept_to_sheet(self, step: Keep) -> None:
        loaded = self.planner.load(step.case)
        middle = middle_slice(loaded)
        file = self.planner.options.output / step.sidecar.result.file
        # Of a series, only the file of the middle slice is read.
        if file.is_dir():
            file = file / visible_files(file)[middle]
        data, _ = read_bytes(file)
        slices = self.planner.reader.read(data, file, FileOptions()).slices
        self.sheets.add(loaded, slices[middle if len(slices) > 1 else 0])

    def _describe_dataset(self, case: Case) -> None:
        if case.dataset:
            bids_derivative.write_description(self.planner.options.output, case.dataset)

    def _add_failure(self, case_id: str, error: TfsRtError) -> None:
        guards = error.guards if isinstance(error, SuspectCase) else []
        self._add_row(CaseRow(id=case_id, status="failed", error=error, guards=guards))

    def _add_row(self, row: CaseRow) -> None:
        facts = row.as_facts()
        self.results.append(facts)
        if row.error:
            self.journal.write(row.status, case=row.id, error=f"{row.error.reason}: {row.error.remedy}")
        else:
            self.journal.write(row.status, case=row.id, seconds=row.seconds)
        self.on_result(facts)
