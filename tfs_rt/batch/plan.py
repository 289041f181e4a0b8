"""The plan of a run: for each case in order, keep its earlier result, refuse it, or fuse it in batches.

The plan reads files and writes none. It is made while the run goes on, so that no more than one batch of images is in
memory for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tfs_rt.batch.case_errors import reading_error
from tfs_rt.batch.request import Options
from tfs_rt.batch.result_files import result_form
from tfs_rt.batch.work import CaseWork, WorkItem
from tfs_rt.cases.align import doubts
from tfs_rt.cases.case import Case, FoundCase
from tfs_rt.cases.load import Loaded, load_case
from tfs_rt.errors import LimitReached, TfsRtError
from tfs_rt.facts import Facts
from tfs_rt.formats.registry import LOSSY
from tfs_rt.formats.sandboxed import SandboxedReader
from tfs_rt.methods.method import FusionMethod
from tfs_rt.output.results import check_place, is_done
from tfs_rt.output.sidecar import Sidecar


@dataclass(frozen=True, slots=True)
class Keep:
    """A case that an earlier run has fused."""

    case: Case
    sidecar: Sidecar


@dataclass(frozen=True, slots=True)
class Refuse:
    """A case that cannot be read."""

    case: FoundCase
    error: TfsRtError


@dataclass(frozen=True, slots=True)
class Batch:
    """Images to fuse at once, all of one size; they may belong to several cases."""

    items: list[WorkItem]


@dataclass(slots=True)
class _Waiting:
    """Items that wait for their batch to be full."""

    batch_size: int
    items: list[WorkItem] = field(default_factory=list)

    def add(self, item: WorkItem) -> Iterator[Batch]:
        """Add an item; yields the batch before it if the sizes differ, and its own if that is full now."""
        if self.items and self.items[0].sizes != item.sizes:
            yield from self.flush()
        self.items.append(item)
        if len(self.items) == self.batch_size:
            yield from self.flush()

    def flush(self) -> Iterator[Batch]:
        """Yield the items as a batch, if there are any."""
        if self.items:
            batch = Batch(self.items)
            self.items = []
            yield batch


@dataclass(frozen=True, slots=True)
class Planner:
    """Decides what to do with each case."""

    options: Options
    fuser: FusionMethod
    settings: Facts  # that can change pixels
    reader: SandboxedReader

    def steps(self, cases: Sequence[FoundCase]) -> Iterator[Keep | Refuse | Batch]:
        """The steps of a run over these cases, in their order."""
        waiting = _Waiting(self.options.batch)
        for case in cases:
            match self._decide(case):
                case Refuse() as refuse:
                    yield refuse
                case Keep() as keep:
                    yield from waiting.flush()  # the cases before it, so that results come in order
                    yield keep
                case CaseWork() as work:
                    for item in work.items():
                        yield from waiting.add(item)
        yield from waiting.flush()

    def _decide(self, case: FoundCase) -> Keep | Refuse | CaseWork:
        """Keep a case's earlier result, read the case to fuse it, or refuse it."""
        sidecar = self._earlier_result(case)
        if sidecar and isinstance(case, Case):
            return Keep(case, sidecar)
        try:
            return self._read(case)
        except LimitReached:
            raise
        except Exception as error:  # no file, however odd, may stop the other cases
            fault = reading_error(case, error)
            if isinstance(fault, LimitReached):  # every other case would fail as well
                raise fault from error
            return Refuse(case, fault)

    def load(self, case: FoundCase) -> Loaded:
        """Read and check a case's files."""
        request = self.options.request
        return load_case(case, self.fuser.scale, request.target_size, request.reading, self.reader.read)

    def _read(self, case: FoundCase) -> CaseWork:
        is_model = self.fuser.trained_size is not None
        loaded = self.load(case)
        form = result_form(loaded, multi_frame=self.options.request.multi_frame)
        check_place(self.options.output, case.id, form)
        work = CaseWork(loaded, self.options.request.samples, form, slot_order_matters=is_model)
        if self.options.strict:
            work.check_findings()
        return work

    def _earlier_result(self, case: FoundCase) -> Sidecar | None:
        """The sidecar of a case that is done, if its result meets this run's options; else None."""
        if not self.options.resume or not isinstance(case, Case):
            return None
        sidecar = is_done(self.options.output, case.id, case.files, self.settings)
        if sidecar is None:
            return None
        if self.options.strict and (sidecar.findings or any(map(doubts, sidecar.inputs.values()))):
            return None
        if _has_lossy_input(sidecar) and not self.options.request.reading.allow_lossy:
            return None
        return sidecar


def _has_lossy_input(sidecar: Sidecar) -> bool:
    return any(facts["format"] in LOSSY or facts.get("lossy") for facts in sidecar.inputs.values())
