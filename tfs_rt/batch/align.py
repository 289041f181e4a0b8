"""A run of `tfs-rt align`: read, align and write each case. A case that fails stops only itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfs_rt.batch.aligned_files import aligned_files, check_place, done_sidecar, is_stale, recipe
from tfs_rt.batch.case_errors import reading_error
from tfs_rt.batch.journal import Journal
from tfs_rt.batch.lock import lock_output
from tfs_rt.cases.align import AlignOptions
from tfs_rt.cases.case import Case, FoundCase, RefusedCase
from tfs_rt.cases.load import ReadingOptions, read_case
from tfs_rt.cases.remedies import only_options, restricted
from tfs_rt.errors import LimitReached, TfsRtError
from tfs_rt.facts import Facts
from tfs_rt.formats.sandboxed import SandboxedReader
from tfs_rt.output.results import prepare_output
from tfs_rt.system.files import delete_folder, write_folder


@dataclass(frozen=True, slots=True)
class AlignRun:
    """What is aligned, and how."""

    output: Path
    cases: Sequence[FoundCase]
    reading: ReadingOptions
    options: AlignOptions  # those of `reading`
    reader: SandboxedReader

    def run(self, on_result: Callable[[Facts], None]) -> list[Facts]:
        """Align all cases, in order. Returns a row for each, with which `on_result` is called as well.

        EnvironmentFault if the output folder cannot be written, or if another run writes to it.
        """
        settings = recipe(self.reading)
        prepare_output(self.output)
        rows: list[Facts] = []
        with lock_output(self.output) as journal, self.reader:
            journal.begin(len(self.cases))
            for case in self.cases:
                row = self._row(case, settings, journal)
                rows.append(row)
                on_result(row)
            journal.write("end", ended="complete")
        return rows

    def _row(self, case: FoundCase, settings: Facts, journal: Journal) -> Facts:
        """Keep, align or refuse a case. Returns what became of it."""
        began = time.monotonic()
        folder = self.output / case.id
        try:
            facts, files = self._prepare(case, folder, settings)
        except Exception as error:  # no file, however odd, may stop the other cases
            fault = reading_error(case, error)
            if isinstance(fault, LimitReached):  # every other case would fail as well
                raise fault from error
            return self._failed(case, folder, settings, restricted(fault, self.reading.offered), journal)
        if files:
            write_folder(folder, files, within=self.output)
        status = "done" if files else "kept"
        journal.write(status, case=case.id, seconds=round(time.monotonic() - began, 3))
        return {
            "id": case.id,
            "status": status,
            "folder": str(folder),
            "alignment": {slot: one["alignment"] for slot, one in facts["inputs"].items()},
            "warnings": facts["warnings"],
        }

    def _prepare(self, case: FoundCase, folder: Path, settings: Facts) -> tuple[Facts, dict[str, bytes]]:
        """The sidecar of a case, and the files to write: none if an earlier run has written them."""
        if isinstance(case, RefusedCase):
            raise case.error
        if facts := done_sidecar(folder, case, settings, strict=self.options.strict):
            return facts, {}
        check_place(folder)
        with only_options(self.reading.offered):
            read = read_case(case, self.reading, self.reader.read)
        return aligned_files(case, read, settings, self.options)

    def _failed(self, case: FoundCase, folder: Path, settings: Facts, fault: TfsRtError, journal: Journal) -> Facts:
        """Record a case that failed. What an earlier run wrote of other files or by other settings is deleted."""
        if isinstance(case, Case) and is_stale(folder, case, settings):
            delete_folder(folder, within=self.output)
        journal.write("failed", case=case.id, error=str(fault))
        error = {"subject": fault.subject, "reason": fault.reason, "remedy": fault.remedy}
        return {"id": case.id, "status": "failed", "error": error}


def exit_code(rows: Sequence[Facts]) -> int:
    """0 all cases aligned, 3 some failed, 4 none succeeded."""
    failed = sum(row["status"] == "failed" for row in rows)
    if not failed:
        return 0
    return 4 if failed == len(rows) else 3
