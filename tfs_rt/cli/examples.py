"""`tfs-rt examples`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfs_rt.cli.console import Console
from tfs_rt.cli.help import OUTPUT
from tfs_rt.cli.help import examples as example_text
from tfs_rt.cli.options import Quiet

CASE_FILES = "*/*.png"
NOTICE = "NOTICE.md"
EXAMPLES = example_text(
    ("Write the example cases", "tfs-rt examples -o examples"),
    ("Then fuse them, with a contact sheet", "tfs-rt fuse examples -o results --sheet"),
)

ExampleFolder = Annotated[
    Path, typer.Option("--output", "-o", metavar="OUTPUT", help="Folder for the cases.", rich_help_panel=OUTPUT)
]


def examples(*, output: ExampleFolder, quiet: Quiet = False) -> None:
    """Write four simulated example cases, with a note on their origin.

    Exit codes: 0 done, 2 another file is in the way, 6 environment.
    """
    from tfs_rt.assets import folder
    from tfs_rt.errors import UsageError
    from tfs_rt.output.results import prepare_output
    from tfs_rt.system.files import read_regular, write_file

    source = folder("examples")
    contents = {path.relative_to(source): path.read_bytes() for path in sorted(source.glob(CASE_FILES))}
    cases = {path.parent for path in contents}
    contents[Path(NOTICE)] = (source / NOTICE).read_bytes()

    # Refuse to overwrite before anything is written.
    for name, data in contents.items():
        file = output / name
        if file.exists() and (not file.is_file() or read_regular(file, file.stat().st_size) != data):
            raise UsageError(file, "is there already, and is not the example", "choose another --output")

    prepare_output(output)
    for name, data in contents.items():
        write_file(output / name, data, within=output)
    Console(quiet=quiet).info(
        f"{len(cases)} example cases in {output}; fuse them: tfs-rt fuse {output} -o results --sheet"
    )
