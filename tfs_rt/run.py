"""A run over many cases: read, batch, fuse, write. A case that fails stops only itself."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tfs_rt import __version__
from tfs_rt.cases import Found
from tfs_rt.errors import TfsRtError, first_line
from tfs_rt.images import RGB
from tfs_rt.intake import Loaded, load_case
from tfs_rt.pipeline import Pipeline
from tfs_rt.results import encode_png, write_file, write_json
from tfs_rt.sheet import ROWS, contact_sheet
from tfs_rt.spec import SLOTS

RESEARCH_USE = "research use only; not a medical device"
FAR = 2  # a result more than so many times larger or smaller than what the model was trained at earns a warning


@dataclass(frozen=True, slots=True)
class Options:
    """What a run needs beside the pipeline and the cases."""

    output: Path
    backend: str
    seed: int = 0
    batch: int = 1
    target_size: tuple[int, int] | None = None  # (H, W); by default the inputs' size times the model's scale
    sheet: bool = False


@dataclass(slots=True)
class Report:
    """What became of every case."""

    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Number of cases fused."""
        return sum(result["status"] == "done" for result in self.results)

    @property
    def exit_code(self) -> int:
        """0 all done, 3 some failed, 4 none succeeded."""
        if self.done == len(self.results):
            return 0
        return 3 if self.done else 4


@dataclass(slots=True)
class Run:
    """One run; the two callbacks are how it is watched."""

    pipeline: Pipeline
    options: Options
    on_result: Callable[[dict[str, Any]], None] = lambda result: None
    on_step: Callable[[int], None] = lambda cases: None
    report: Report = field(default_factory=Report)
    rows: list[tuple[str, list[tuple[str, RGB]]]] = field(default_factory=list)
    sheets: int = 0

    def fuse(self, found: Iterable[Found]) -> Report:
        """Fuse all cases in order, in batches of one size; the report is written in any event."""
        started = time.monotonic()
        try:
            for batch in self._batches(found):
                self._fuse_batch(batch)
        finally:
            self._write_sheet()
            write_json(self.options.output / "report.json", self._summary(time.monotonic() - started))
        return self.report

    def _batches(self, found: Iterable[Found]) -> Iterator[list[Loaded]]:
        batch: list[Loaded] = []
        for case in found:
            try:
                loaded = load_case(case, self.pipeline.bundle.manifest.model.scale, self.options.target_size)
            except TfsRtError as error:
                self._failed(case.id, error.subject, error.reason, error.remedy)
                continue
            if batch and batch[0].size != loaded.size:
                yield batch
                batch = []
            batch.append(loaded)
            if len(batch) == self.options.batch:
                yield batch
                batch = []
        if batch:
            yield batch

    def _fuse_batch(self, batch: list[Loaded]) -> None:
        started = time.monotonic()
        try:
            images = self.pipeline.fuse(
                [loaded.images for loaded in batch],
                [loaded.case.id for loaded in batch],
                size=batch[0].size,
                seed=self.options.seed,
                on_step=lambda _: self.on_step(len(batch)),
            )
        except Exception as error:  # engines raise classes of their own: what cannot run in company is tried alone
            if len(batch) > 1:
                for loaded in batch:
                    self._fuse_batch([loaded])
                return
            height, width = batch[0].size
            reason = f"could not be fused at {width}x{height} ({type(error).__name__}: {first_line(error)})"
            self._failed(batch[0].case.id, batch[0].case.id, reason, "try a smaller size, or report this case")
            return
        seconds = (time.monotonic() - started) / len(batch)
        for loaded, image in zip(batch, images, strict=True):
            self._write(loaded, image, seconds)

    def _write(self, loaded: Loaded, image: RGB, seconds: float) -> None:
        case_id, out = loaded.case.id, self.options.output
        png = encode_png(image)
        warnings = size_warnings(image.shape, self.pipeline.bundle.manifest.model.trained_size)
        result = {
            "file": f"{case_id}.png",
            "sha256": hashlib.sha256(png).hexdigest(),
            "width": image.shape[1],
            "height": image.shape[0],
        }
        (out / f"{case_id}.json").unlink(missing_ok=True)  # never an old sidecar beside a new image
        write_file(out / f"{case_id}.png", png)
        sidecar = {"case": case_id, "result": result, "inputs": loaded.inputs, "warnings": warnings}
        sidecar |= {"seconds": round(seconds, 4), "created": datetime.now(UTC).isoformat(timespec="seconds")}
        write_json(out / f"{case_id}.json", {**sidecar, **self.provenance()})
        self._record({"id": case_id, "status": "done", **result, "warnings": warnings, "seconds": round(seconds, 4)})
        if self.options.sheet:
            labels = [Path(loaded.inputs[slot]["file"]).stem for slot in SLOTS]
            self.rows.append((case_id, [*zip(labels, loaded.images, strict=True), ("fused", image)]))
            if len(self.rows) == ROWS:
                self._write_sheet()

    def _write_sheet(self) -> None:
        if self.rows:
            self.sheets += 1
            write_file(self.options.output / "sheets" / f"{self.sheets:03d}.png", encode_png(contact_sheet(self.rows)))
            self.rows = []

    def _failed(self, case_id: str, subject: str, reason: str, remedy: str) -> None:
        error = {"subject": subject, "reason": reason, "remedy": remedy}
        self._record({"id": case_id, "status": "failed", "error": error})

    def _record(self, result: dict[str, Any]) -> None:
        self.report.results.append(result)
        self.on_result(result)

    def provenance(self) -> dict[str, Any]:
        """All but the inputs that decided the pixels."""
        bundle = self.pipeline.bundle
        return {
            "model": {
                "name": bundle.manifest.name,
                "scale": bundle.manifest.model.scale,
                "prediction": bundle.manifest.model.prediction,
                "files": {name: file.sha256 for name, file in bundle.manifest.files.items()},
                "checkpoint": bundle.manifest.source,
            },
            "recipe": dataclasses.asdict(self.pipeline.recipe),
            "seed": self.options.seed,
            "backend": self.options.backend,
            "versions": _versions(self.options.backend),
            "notice": RESEARCH_USE,
        }

    def _summary(self, seconds: float) -> dict[str, Any]:
        results = self.report.results
        counts = {"cases": len(results), "done": self.report.done, "failed": len(results) - self.report.done}
        return {**counts, "seconds": round(seconds, 3), "results": results, **self.provenance()}


def size_warnings(shape: tuple[int, ...], trained_size: int) -> list[str]:
    """What a user should know of a result of this shape (H, W, 3)."""
    height, width = shape[:2]
    if all(trained_size / FAR <= side <= trained_size * FAR for side in (height, width)):
        return []
    return [f"result is {width}x{height}, the model was trained at {trained_size}x{trained_size}: expect less of it"]


def _versions(backend: str) -> dict[str, str]:
    """Of the packages that decide the pixels."""
    runtime = {"ort-cpu": "onnxruntime", "torch": "torch"}[backend]
    found = {package: version(package) for package in ("numpy", "pillow", runtime)}
    return {"tfs-rt": __version__, "python": platform.python_version(), **found}
