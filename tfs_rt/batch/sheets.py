"""A run's contact sheets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tfs_rt.cases.listing import image_stem
from tfs_rt.cases.load import Loaded
from tfs_rt.formats.png import encode_png
from tfs_rt.images import RGB
from tfs_rt.output.contact_sheet import ROWS, contact_sheet
from tfs_rt.output.folder import SHEETS
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import write_file


def middle_slice(loaded: Loaded) -> int:
    """Index of the slice that a sheet shows."""
    return len(loaded.slices) // 2


@dataclass(slots=True)
class Sheets:
    """Contact sheets, each written when it is full."""

    output: Path
    rows: list[tuple[str, list[tuple[str, RGB]]]] = field(default_factory=list)  # (case id, [(label, image), ...])
    written: int = 0  # sheets

    def add(self, loaded: Loaded, result: RGB) -> None:
        """Add a case's row: its inputs and its result (H, W, 3) uint8, of a volume the middle slices."""
        labels = [image_stem(Path(loaded.inputs[slot]["file"]).name) for slot in SLOTS]
        inputs = list(zip(labels, loaded.slices[middle_slice(loaded)], strict=True))
        self.rows.append((loaded.case.id, [*inputs, ("fused", result)]))
        if len(self.rows) == ROWS:
            self.write()

    def write(self) -> None:
        """Write the rows that are on no sheet yet, if there are any."""
        if not self.rows:
            return
        self.written += 1
        write_file(self.output / SHEETS / f"{self.written:03d}.png", encode_png(contact_sheet(self.rows)))
        self.rows = []
