"""A run over many cases: read, batch, fuse, write. A case that fails stops only itself.

What is written, and in which order, is said in `tfs_rt.output.results`: a run that was killed goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from tfs_rt.batch.journal import Journal
from tfs_rt.batch.lock import claimed, state_of
from tfs_rt.batch.preflight import check_recipe, check_room
from tfs_rt.batch.record import Request, Sheets, drafted, provenance, warnings_of
from tfs_rt.batch.report import Report, write_report
from tfs_rt.batch.shards import Job, Shard
from tfs_rt.batch.work import Part, Work
from tfs_rt.cases.case import Case, Found
from tfs_rt.cases.load import Loaded, load_case, read_bytes
from tfs_rt.errors import EnvironmentFault, InputError, LimitReached, TfsRtError, first_line
from tfs_rt.facts import Facts, digest
from tfs_rt.formats.picture import Rules
from tfs_rt.formats.sandboxed import SandboxedReader
from tfs_rt.images import RGB
from tfs_rt.methods.method import FusionMethod
from tfs_rt.output import bids_derivative
from tfs_rt.output.results import clear_sheets, is_done, remove_result, withdraw, write_result
from tfs_rt.output.sidecar import recipe_of
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.system import signals
from tfs_rt.system.os_errors import write_fault
from tfs_rt.system.resource_limits import MORE_MEMORY, limit_fault, memory_limits

TESTED_EVERY = 200  # cases
KEPT = ("file", "sha256", "pixels_sha256", "width", "height", "slices")  # what a report says of a result that is kept
End = Callable[[], list[Part]]  # ends a batch that was begun; returns what is to be tried alone


@dataclass(frozen=True, slots=True)
class Options:
    """What a run needs beside the fuser and the cases."""

    output: Path
    request: Request = field(default_factory=Request)
    batch: int = 1
    sheet: bool = False
    strict: bool = False  # what the guards find fails a case, instead of earning a warning
    shard: Shard | None = None  # which of several runs over these cases this is
    token: str = ""  # by which a run's own report is told from an earlier one's
    resume: bool = True  # keep what is done already, and refuse a folder of another recipe; or overwrite all


@dataclass(slots=True)
class Run:
    """One run over cases; the two callbacks are how it is watched."""

    fuser: FusionMethod
    options: Options
    cases: Sequence[Found]
    reader: SandboxedReader = field(default_factory=SandboxedReader)
    on_result: Callable[[dict[str, Any]], None] = lambda result: None
    on_step: Callable[[float], None] = lambda cases: None
    report: Report = field(init=False)
    provenance: Facts = field(init=False)
    recipe: Facts = field(init=False)  # of it, what decides pixels
    job: Job | None = field(init=False)  # that the shard, if this is one, has a part in
    sheets: Sheets = field(init=False)
    untested: list[str] = field(default_factory=list)  # cases fused since the last self-test
    journal: Journal = field(init=False)  # while the output folder is claimed

    def __post_init__(self) -> None:
        shard, ids = self.options.shard, sorted(case.id for case in self.cases)
        self.cases = [case for case in self.cases if shard is None or shard.holds(case.id)]
        self.report = Report(len(self.cases), state_of(self.options.output, shard))
        self.sheets = Sheets(self.options.output)
        self.provenance = provenance(self.fuser, self.options.request)
        self.recipe = recipe_of(self.provenance)
        whole = digest({"cases": ids, "recipe": self.recipe})
        self.job = Job(shard, whole, self.options.token) if shard else None

    def fuse(self) -> Report:
        """Fuse all cases in order, in batches of one size; the report is written in any event.

        Raises UsageError for a folder of another recipe, unless it is to be overwritten, and EnvironmentFault if
        another run writes there, or the disk has no room.
        """
        output = self.options.output
        with claimed(output, self.job) as self.journal, self.reader:
            try:
                if self.options.resume:
                    check_recipe(output, self.recipe)
                check_room(output, self.cases, self.fuser.scale, self.options.request.target_size)
                self._fuse_all()
            except OSError as error:  # what can be read or not is said of each file; this is the folder
                raise write_fault(error.filename or output, error, "choose another --output") from error
        return self.report

    def _fuse_all(self) -> None:
        output, started = self.options.output, time.monotonic()
        self.provenance["sandbox"] = self.reader.sandbox_parts().as_facts()
        self.journal.begin(len(self.cases), self.job.sha256 if self.job else "")
        self._write_report(started)  # whatever ends this run, no earlier report stands for it
        if self.options.sheet:
            clear_sheets(output)
        try:
            self._fuse_batches()
            self.report.ended = "complete"
        finally:
            self._write_report(started)
            self.sheets.write()
            self.journal.write("end", ended=self.report.ended)

    def _fuse_batches(self) -> None:
        """A batch ends when the next has begun: a GPU computes while this reads and writes."""
        under_way: End | None = None
        self._self_test()
        for batch in chain(self._batches(), [[]]):  # the last, empty, ends what is under way
            begun = self._begin(batch) if batch else None
            alone = under_way() if under_way else []
            due = len(self.untested) >= TESTED_EVERY
            if (alone or due) and begun:  # what is tried alone is tried with nothing else under way
                alone, begun = [*alone, *begun()], None
            for part in alone:
                if not part.work.failed:
                    self._begin([part])()
            if due:
                self._self_test()
            signals.check()  # a library may have swallowed the exception, and the run would go on to its end
            under_way = begun
        if self.untested:
            self._self_test()

    def _self_test(self) -> None:
        """EnvironmentFault if the fuser computes wrongly; what was made since it last did not is then taken away."""
        try:
            self.fuser.self_test()
        except LimitReached:  # it could not be computed, which says nothing of what was made before
            if not self.report.results:
                raise
        except EnvironmentFault as fault:
            self.report.results.remove(set(self.untested))
            for case_id in self.untested:
                withdraw(self.options.output, case_id)
                self._record_failure(case_id, fault)
            self.sheets.rows.clear()
            if self.options.sheet:
                clear_sheets(self.options.output)
            raise
        self.untested.clear()

    def _batches(self) -> Iterator[list[Part]]:
        """The batches in order; an empty one where all before it are to be ended first."""
        batch: list[Part] = []
        for case in self.cases:
            if isinstance(case, Case) and (facts := self._done(case)):
                if batch:  # before it, as it was asked for
                    yield batch
                batch = []
                yield []
                self._keep(case, facts)
                continue
            work = self._load(case)
            for part in work.parts() if work else ():
                if batch and batch[0].sizes != part.sizes:
                    yield batch
                    batch = []
                batch.append(part)
                if len(batch) == self.options.batch:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def _done(self, case: Case) -> Facts | None:
        facts = is_done(self.options.output, case, self.recipe) if self.options.resume else None
        if not facts or (self.options.strict and facts["findings"]):
            return None
        lossy = any(found["format"] == "jpeg" or found.get("lossy") for found in facts["inputs"].values())
        return None if lossy and not self.options.request.reading.allow_lossy else facts

    def _keep(self, case: Case, facts: Facts) -> None:
        """Note a case that an earlier run has done."""
        self._describe(case)
        warnings = list(facts["warnings"])
        if self.options.sheet:
            try:
                file = self.options.output / facts["result"]["file"]
                self.sheets.show(self._read(case), self.reader.read(read_bytes(file)[0], file, Rules()).slices)
            except LimitReached:
                raise
            except TfsRtError as error:
                warnings.append(f"is on no sheet: {error}")
        self.on_step(self.fuser.steps)
        result = {key: facts["result"][key] for key in KEPT if key in facts["result"]}
        told = {"warnings": warnings, "seconds": facts["seconds"]}
        self._record({**result, "id": case.id, "status": "kept", **told})

    def _load(self, case: Found) -> Work | None:
        try:
            work = Work(self._read(case), self.options.request.samples, ordered=self.fuser.trained_size is not None)
            self._check(work)
        except LimitReached:  # no case would do better
            raise
        except TfsRtError as error:
            fault = error
        except Exception as error:  # no file, however odd, may stop the others
            if limit := limit_fault(error):
                raise limit from error
            fault = _unread(case, error)
        else:
            return work
        self._failed(case, fault)
        return None

    def _read(self, case: Found) -> Loaded:
        request = self.options.request
        return load_case(case, self.fuser.scale, request.target_size, request.reading, self.reader.read)

    def _check(self, work: Work) -> None:
        """With --strict, InputError for what the guards found."""
        if self.options.strict and (found := work.found()):
            finding, _ = found[0]
            raise InputError(work.loaded.case.id, finding.message, finding.remedy)

    def _begin(self, batch: list[Part]) -> End:
        """Begin to fuse a batch."""
        started = time.monotonic()
        try:
            images = ImageBatch(
                [part.images for part in batch],
                [part.noise_id for part in batch],
                size=batch[0].work.loaded.size,
                seed=self.options.request.seed or 0,
                on_step=lambda _: self.on_step(sum(1 / len(part.work) for part in batch)),
            )
            wait = self.fuser.begin(images)
        except Exception as error:
            return partial(self._not_fused, batch, _fault(batch[0].work, error))
        return partial(self._end, batch, wait, time.monotonic() - started)

    def _end(self, batch: list[Part], wait: Callable[[], list[RGB]], spent: float) -> list[Part]:
        """Wait for a batch and write the cases that it completes; what is to be tried alone is returned."""
        started = time.monotonic()
        try:
            images = wait()
        except Exception as error:
            fault = _fault(batch[0].work, error)
        else:
            seconds = (spent + time.monotonic() - started) / len(batch)
            for part, image in zip(batch, images, strict=True):
                if not part.work.failed:
                    self._take(part, image, seconds)
            return []
        return self._not_fused(batch, fault)

    def _not_fused(self, batch: list[Part], fault: TfsRtError) -> list[Part]:
        """What cannot run in company is tried alone; a broken environment ends the run, for no case would do better."""
        if isinstance(fault, EnvironmentFault):
            raise fault
        if len(batch) > 1:
            return batch
        self._fail(batch[0].work, fault)
        return []

    def _take(self, part: Part, image: RGB, seconds: float) -> None:
        """Note a part's image, and write its case if that is complete; what cannot be encoded fails alone."""
        work = part.work
        try:
            if not work.take(part, image, seconds):
                return
            self._check(work)
            draft = drafted(work, self.provenance, self.recipe, warnings_of(work, self.fuser.trained_size))
        except Exception as error:
            self._fail(work, _fault(work, error))
            return
        case = work.loaded.case
        self.journal.check_place()
        self._describe(case)
        write_result(self.options.output, case.id, draft.files, draft.sidecar)
        self._record({"id": case.id, "status": "done", **draft.report})
        self.untested.append(case.id)
        if self.options.sheet:
            self.sheets.show(work.loaded, work.slices)

    def _describe(self, case: Case) -> None:
        if case.dataset:
            bids_derivative.write_description(self.options.output, case.dataset)

    def _fail(self, work: Work, fault: TfsRtError) -> None:
        if not work.failed:
            work.failed = True
            self._failed(work.loaded.case, fault)

    def _failed(self, case: Found, error: TfsRtError) -> None:
        self.journal.check_place()
        if isinstance(case, Case) or case.owns_result:  # what an earlier run left would pass for this one's
            remove_result(self.options.output, case, self.recipe)
        self._record_failure(case.id, error)

    def _record_failure(self, case_id: str, error: TfsRtError) -> None:
        fault = {"subject": error.subject, "reason": error.reason, "remedy": error.remedy}
        self._record({"id": case_id, "status": "failed", "error": fault})

    def _record(self, result: dict[str, Any]) -> None:
        self.report.results.append(result)
        error = result.get("error")
        facts = {"error": f"{error['reason']}: {error['remedy']}"} if error else {"seconds": result["seconds"]}
        self.journal.write(result["status"], case=result["id"], **facts)
        self.on_result(result)

    def _write_report(self, started: float) -> None:
        self.journal.check_place()
        seconds = round(time.monotonic() - started, 3)
        ids = [case.id for case in self.cases]
        facts = {**self.report.summary(ids, seconds), **self.provenance}
        write_report(self.options.output, self.job, self.report, facts, ids)


def _unread(case: Found, error: Exception) -> InputError:
    """The fault of a case whose reading ended in an exception of no kind of ours."""
    if isinstance(error, MemoryError):
        return InputError(case.id, f"needs more memory to be read than there is{_memory_limits()}", MORE_MEMORY)
    return InputError(case.id, f"cannot be read ({first_line(error)})", "report this case")


def _fault(work: Work, error: Exception) -> TfsRtError:
    """An engine's exception as a fault of ours, without the frames that hold its memory."""
    if isinstance(error, TfsRtError):
        return error.with_traceback(None)
    if limit := limit_fault(error):
        return limit
    height, width = work.loaded.size
    if isinstance(error, MemoryError):
        reason = f"could not be fused at {width}x{height} (MemoryError: {first_line(error)}){_memory_limits()}"
        return InputError(work.loaded.case.id, reason, f"fuse it at a smaller size, or {MORE_MEMORY}")
    reason = f"could not be fused at {width}x{height} ({type(error).__name__}: {first_line(error)})"
    return InputError(work.loaded.case.id, reason, "try a smaller size, or report this case")


def _memory_limits() -> str:
    """The limits on memory in parentheses, to follow a reason; empty without limits."""
    limits = ", ".join(memory_limits())
    return f" ({limits})" if limits else ""
