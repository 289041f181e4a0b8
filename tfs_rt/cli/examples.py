"""`tfs-rt examples`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfs_rt.cli.console import Talk

CASE_FILES = "*/*.png"
NOTICE = "NOTICE.md"


def examples(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the example cases.")],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
) -> None:
    """Write four simulated example cases, and where they come from, into OUTPUT.

    Exit codes: 0 done, 2 a file of another content is in the way, 6 environment.
    """
    from tfs_rt.assets import folder
    from tfs_rt.errors import UsageError
    from tfs_rt.output.results import prepare_output
    from tfs_rt.system.files import read_regular, write_file

    talk, source = Talk(quiet=quiet), folder("examples")
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
    talk.say(f"{len(cases)} example cases in {output}; fuse them: tfs-rt fuse {output} -o results --sheet")
