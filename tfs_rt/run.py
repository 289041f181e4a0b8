"""A run over many cases: read, batch, fuse, write. A case that fails stops only itself.

What is written, and in which order, is said in `tfs_rt.results`: a run that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from tfs_rt import __version__, signals
from tfs_rt.cases import REPORT, SHEETS, Case, Found
from tfs_rt.errors import EnvironmentFault, InputError, TfsRtError, first_line
from tfs_rt.files import sweep, write_file
from tfs_rt.fuser import Fuser
from tfs_rt.images import RGB
from tfs_rt.intake import Loaded, load_case, read_file
from tfs_rt.journal import Journal, claimed
from tfs_rt.preflight import check_recipe, check_room
from tfs_rt.report import Report
from tfs_rt.results import clear_sheets, encode_png, is_done, remove_result, write_json, write_result
from tfs_rt.sheet import ROWS, contact_sheet
from tfs_rt.sidecar import RESEARCH_USE, Facts, png_text, recipe_of, recipe_sha256
from tfs_rt.spec import SLOTS

FAR = 2  # a result more than so many times larger or smaller than what the model was trained at earns a warning
End = Callable[[], list[Loaded]]  # ends a batch that was begun; returns what is to be tried alone


@dataclass(frozen=True, slots=True)
class Options:
    """What a run needs beside the fuser and the cases."""

    output: Path
    seed: int | None = 0  # None for a method that draws no noise
    batch: int = 1
    target_size: tuple[int, int] | None = None  # (H, W); by default the inputs' size times the scale
    sheet: bool = False
    resume: bool = True  # keep what is done already, and refuse a folder of another recipe; or overwrite all


@dataclass(slots=True)
class Run:
    """One run over cases; the two callbacks are how it is watched."""

    fuser: Fuser
    options: Options
    cases: Sequence[Found]
    on_result: Callable[[dict[str, Any]], None] = lambda result: None
    on_step: Callable[[int], None] = lambda cases: None
    report: Report = field(init=False)
    provenance: Facts = field(init=False)
    recipe: Facts = field(init=False)  # of it, what decides pixels
    rows: list[tuple[str, list[tuple[str, RGB]]]] = field(default_factory=list)
    sheets: int = 0
    journal: Journal = field(init=False)  # while the output folder is claimed

    def __post_init__(self) -> None:
        self.report = Report(len(self.cases))
        self.provenance = provenance(self.fuser, self.options)
        self.recipe = recipe_of(self.provenance)

    def fuse(self) -> Report:
        """Fuse all cases in order, in batches of one size; the report is written in any event.

        Raises UsageError for a folder of another recipe, unless it is to be overwritten, and EnvironmentFault if
        another run writes there, or the disk has no room.
        """
        output = self.options.output
        with claimed(output) as self.journal:
            try:
                if self.options.resume:
                    check_recipe(output, self.recipe)
                check_room(output, self.cases, self.fuser.scale, self.options.target_size)
                self._fuse_all()
            except OSError as error:  # what can be read or not is said of each file; this is the folder
                reason, remedy = f"cannot be written ({error.strerror})", "free space or choose another --output"
                raise EnvironmentFault(error.filename or output, reason, remedy) from error
        return self.report

    def _fuse_all(self) -> None:
        output, started = self.options.output, time.monotonic()
        sweep(output)
        self.journal.begin(len(self.cases))
        self._write_report(started)  # whatever ends this run, no earlier report stands for it
        if self.options.sheet:
            clear_sheets(output)
        try:
            self._fuse_batches()
            self.report.ended = "complete"
        finally:
            self._write_report(started)
            self._write_sheet()
            self.journal.write("end", ended=self.report.ended)

    def _fuse_batches(self) -> None:
        """A batch ends when the next has begun: a GPU computes while this reads and writes."""
        under_way: End | None = None
        for batch in chain(self._batches(), [[]]):  # the last, empty, ends what is under way
            begun = self._begin(batch) if batch else None
            alone = under_way() if under_way else []
            if alone and begun:  # what is tried alone is tried with nothing else under way
                alone, begun = [*alone, *begun()], None
            for loaded in alone:
                self._begin([loaded])()
            signals.check()  # a library may have swallowed the exception, and the run would go on to its end
            under_way = begun

    def _batches(self) -> Iterator[list[Loaded]]:
        """The batches in order; an empty one where all before it are to be ended first."""
        batch: list[Loaded] = []
        for case in self.cases:
            if isinstance(case, Case) and (facts := self._done(case)):
                if batch:  # before it, as it was asked for
                    yield batch
                batch = []
                yield []
                self._keep(case, facts)
                continue
            loaded = self._load(case)
            if loaded is None:
                continue
            if batch and _sizes(batch[0]) != _sizes(loaded):
                yield batch
                batch = []
            batch.append(loaded)
            if len(batch) == self.options.batch:
                yield batch
                batch = []
        if batch:
            yield batch

    def _done(self, case: Case) -> Facts | None:
        return is_done(self.options.output, case, self.recipe) if self.options.resume else None

    def _keep(self, case: Case, facts: Facts) -> None:
        """Note a case that an earlier run has done."""
        if self.options.sheet:
            loaded = load_case(case, self.fuser.scale, self.options.target_size)
            self._show(loaded, read_file(self.options.output / facts["result"]["file"])[0])
        self.on_step(self.fuser.steps)
        result = {key: facts["result"].get(key) for key in ("file", "sha256", "pixels_sha256", "width", "height")}
        kept = {"id": case.id, "status": "kept", **result}
        self._record({**kept, "warnings": facts["warnings"], "seconds": facts["seconds"]})

    def _load(self, case: Found) -> Loaded | None:
        try:
            return load_case(case, self.fuser.scale, self.options.target_size)
        except TfsRtError as error:
            fault = error
        except Exception as error:  # no file, however odd, may stop the others
            fault = InputError(case.id, f"cannot be read ({first_line(error)})", "report this case")
        self._failed(case, fault)
        return None

    def _begin(self, batch: list[Loaded]) -> End:
        """Begin to fuse a batch."""
        started = time.monotonic()
        try:
            wait = self.fuser.begin(
                [loaded.images for loaded in batch],
                [loaded.case.id for loaded in batch],
                size=batch[0].size,
                seed=self.options.seed or 0,
                on_step=lambda _: self.on_step(len(batch)),
            )
        except Exception as error:
            return partial(self._not_fused, batch, _fault(batch[0], error))
        return partial(self._end, batch, wait, time.monotonic() - started)

    def _end(self, batch: list[Loaded], wait: Callable[[], list[RGB]], spent: float) -> list[Loaded]:
        """Wait for a batch and write its results; what is to be tried alone is returned."""
        started = time.monotonic()
        try:
            images = wait()
        except Exception as error:
            fault = _fault(batch[0], error)
        else:
            seconds = round((spent + time.monotonic() - started) / len(batch), 4)
            for loaded, image in zip(batch, images, strict=True):
                self._write(loaded, image, seconds)
            return []
        return self._not_fused(batch, fault)

    def _not_fused(self, batch: list[Loaded], fault: TfsRtError) -> list[Loaded]:
        """What cannot run in company is tried alone; a broken environment ends the run, for no case would do better."""
        if isinstance(fault, EnvironmentFault):
            raise fault
        if len(batch) > 1:
            return batch
        self._failed(batch[0].case, fault)
        return []

    def _write(self, loaded: Loaded, image: RGB, seconds: float) -> None:
        case_id = loaded.case.id
        hashes = {slot: facts["sha256"] for slot, facts in loaded.inputs.items()}
        recipe = recipe_sha256(case_id, hashes, self.recipe)
        png = encode_png(image, png_text(case_id, hashes, self.provenance, recipe))
        facts = {
            "file": f"{case_id}.png",
            "sha256": hashlib.sha256(png).hexdigest(),
            "pixels_sha256": hashlib.sha256(image.tobytes()).hexdigest(),
            "width": image.shape[1],
            "height": image.shape[0],
        }
        warnings = size_warnings(loaded, self.fuser.trained_size)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        sidecar = {"case": case_id, "result": facts, "inputs": loaded.inputs, "warnings": warnings}
        sidecar |= {"seconds": seconds, "created": created, **self.provenance, "recipe_sha256": recipe}
        write_result(self.options.output, case_id, png, sidecar)
        self._record({"id": case_id, "status": "done", **facts, "warnings": warnings, "seconds": seconds})
        if self.options.sheet:
            self._show(loaded, image)

    def _show(self, loaded: Loaded, image: RGB) -> None:
        labels = [Path(loaded.inputs[slot]["file"]).stem for slot in SLOTS]
        self.rows.append((loaded.case.id, [*zip(labels, loaded.images, strict=True), ("fused", image)]))
        if len(self.rows) == ROWS:
            self._write_sheet()

    def _write_sheet(self) -> None:
        if self.rows:
            self.sheets += 1
            write_file(self.options.output / SHEETS / f"{self.sheets:03d}.png", encode_png(contact_sheet(self.rows)))
            self.rows = []

    def _failed(self, case: Found, error: TfsRtError) -> None:
        if isinstance(case, Case) or case.owns_result:  # what an earlier run left would pass for this one's
            remove_result(self.options.output, case, self.recipe)
        fault = {"subject": error.subject, "reason": error.reason, "remedy": error.remedy}
        self._record({"id": case.id, "status": "failed", "error": fault})

    def _record(self, result: dict[str, Any]) -> None:
        self.report.results.append(result)
        error = result.get("error")
        facts = {"error": f"{error['reason']}: {error['remedy']}"} if error else {"seconds": result["seconds"]}
        self.journal.write(result["status"], case=result["id"], **facts)
        self.on_result(result)

    def _write_report(self, started: float) -> None:
        seconds = round(time.monotonic() - started, 3)
        summary = self.report.summary([case.id for case in self.cases], seconds)
        write_json(self.options.output / REPORT, {**summary, **self.provenance})


def _fault(loaded: Loaded, error: Exception) -> TfsRtError:
    """An engine's exception as a fault of ours, without the frames that hold its memory."""
    if isinstance(error, TfsRtError):
        return error.with_traceback(None)
    height, width = loaded.size
    reason = f"could not be fused at {width}x{height} ({type(error).__name__}: {first_line(error)})"
    return InputError(loaded.case.id, reason, "try a smaller size, or report this case")


def provenance(fuser: Fuser, options: Options) -> dict[str, Any]:
    """All but the inputs that decided the pixels."""
    facts = fuser.provenance()
    versions = {"tfs-rt": __version__, "python": platform.python_version(), **facts.pop("versions")}
    size = {"scale": fuser.scale, "target_size": options.target_size, "seed": options.seed}
    return {**facts, **size, "versions": versions, "notice": RESEARCH_USE}


def _sizes(loaded: Loaded) -> tuple[tuple[int, ...], ...]:
    """Of a case's result and of its inputs: those of a batch are the same."""
    return loaded.size, loaded.images[0].shape


def size_warnings(loaded: Loaded, trained_size: int | None) -> list[str]:
    """What a user should know of a result of this size."""
    (height, width), (h, w) = loaded.size, loaded.images[0].shape[:2]
    warnings = []
    if trained_size and not all(trained_size / FAR <= side <= trained_size * FAR for side in (height, width)):
        warnings.append(
            f"result is {width}x{height}, the model was trained at {trained_size}x{trained_size}: expect less of it"
        )
    if abs(height * w - width * h) > max(height, width) * max(h, w) * 0.02:
        warnings.append(f"{w}x{h} is stretched to {width}x{height}")
    return warnings
