"""A run over many cases: lock the output folder, plan, execute, record and report.

    plan.py      what to do with each case: keep, refuse or fuse in a batch
    execute.py   batches in flight, retries and self-tests
    record.py    files, journal and rows of the report

A case that fails stops only itself. The order of writing lets a run that was killed be resumed: see
`tfs_rt.output.results`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tfs_rt.batch.case_results import CaseResults
from tfs_rt.batch.execute import Executor
from tfs_rt.batch.journal import Journal
from tfs_rt.batch.lock import lock_output, state_folder
from tfs_rt.batch.plan import Batch, Keep, Planner, Refuse
from tfs_rt.batch.preflight import check_recipe, check_room
from tfs_rt.batch.record import Recorder
from tfs_rt.batch.report import COMPLETE, INTERRUPTED, Report, run_report, write_report
from tfs_rt.batch.request import Options, run_provenance
from tfs_rt.batch.shards import Job
from tfs_rt.batch.sheets import Sheets
from tfs_rt.cases.case import FoundCase
from tfs_rt.facts import Facts, digest
from tfs_rt.formats.sandboxed import SandboxedReader
from tfs_rt.methods.method import FusionMethod
from tfs_rt.output.provenance import Provenance, pixel_settings
from tfs_rt.output.results import clear_sheets
from tfs_rt.system.os_errors import write_fault


@dataclass(slots=True)
class Run:
    """One run over cases, or over a shard's part of them."""

    fuser: FusionMethod
    options: Options
    cases: Sequence[FoundCase]
    reader: SandboxedReader = field(default_factory=SandboxedReader)
    on_result: Callable[[Facts], None] = lambda row: None  # called with the report's row of each case
    # called after each step, with a share of a case; the shares of a case add up to `fuser.steps`
    on_step: Callable[[float], None] = lambda steps: None
    provenance: Provenance = field(init=False)
    settings: Facts = field(init=False)  # the part of the provenance that can change pixels
    job: Job | None = field(init=False)  # of a shard

    def __post_init__(self) -> None:
        shard = self.options.shard
        self.provenance = run_provenance(self.fuser, self.options.request)
        self.settings = pixel_settings(self.provenance.as_facts())
        # All shards of a job have the same cases and settings.
        case_ids = sorted(case.id for case in self.cases)
        job_sha256 = digest({"cases": case_ids, "recipe": self.settings})
        self.job = Job(shard, job_sha256, self.options.token) if shard else None
        self.cases = [case for case in self.cases if shard is None or shard.holds(case.id)]

    def fuse(self) -> Report:
        """Fuse all cases in order; the report is written in any event.

        Raises UsageError if the folder holds results of another recipe, unless they are to be overwritten, and
        EnvironmentFault if another run writes to the folder or the disk has no room.
        """
        output = self.options.output
        with lock_output(output, self.job) as journal, self.reader:
            try:
                if self.options.resume:
                    check_recipe(output, self.settings)
                check_room(output, self.cases, self.fuser.scale, self.options.request.target_size)
                return self._fuse_and_report(journal)
            except OSError as error:  # of the output folder: errors of inputs are recorded with their case
                raise write_fault(error.filename or output, error, "choose another --output") from error

    def _fuse_and_report(self, journal: Journal) -> Report:
        # Begin the records of the run.
        output = self.options.output
        started = time.monotonic()
        sandbox = self.reader.sandbox_parts().as_facts()
        provenance = dataclasses.replace(self.provenance, sandbox=sandbox).as_facts()
        recorder = Recorder(
            planner=Planner(self.options, self.fuser, self.settings, self.reader),
            provenance=provenance,
            journal=journal,
            results=CaseResults(state_folder(output, self.options.shard)),
            sheets=Sheets(output),
            on_result=self.on_result,
        )
        journal.begin(len(self.cases), self.job.sha256 if self.job else "")
        # Replace an earlier report, so that it never stands for this run.
        self._write_report(recorder, INTERRUPTED, started)
        if self.options.sheet:
            clear_sheets(output)
        # Fuse, and write the final report however the run ends.
        ended = INTERRUPTED
        try:
            self._fuse_cases(recorder)
            ended = COMPLETE
        finally:
            report = self._write_report(recorder, ended, started)
            recorder.sheets.write()
            journal.write("end", ended=ended)
        return report

    def _fuse_cases(self, recorder: Recorder) -> None:
        """Carry out the plan, step by step."""
        executor = Executor(self.fuser, recorder, self.options.request.seed or 0, self.on_step)
        executor.start()
        for step in recorder.planner.steps(self.cases):
            match step:
                case Batch(items):
                    executor.fuse(items)
                case Refuse(case, error):
                    recorder.fail(case, error)
                case Keep():
                    executor.drain()
                    recorder.keep(step)
                    self.on_step(self.fuser.steps)
        executor.end()

    def _write_report(self, recorder: Recorder, ended: str, started: float) -> Report:
        """Write the report as far as the run has come."""
        recorder.journal.check_place()
        case_ids = [case.id for case in self.cases]
        report = run_report(
            recorder.results,
            case_ids,
            ended=ended,
            seconds=time.monotonic() - started,
            provenance=recorder.provenance,
        )
        write_report(self.options.output, self.job, report, case_ids)
        return report
