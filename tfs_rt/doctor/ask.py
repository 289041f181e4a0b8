"""Run a probe (`tfs_rt.doctor.probes`) in a process of its own, and read its answer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import NamedTuple, TypeAlias

from tfs_rt.backends.registry import BACKENDS
from tfs_rt.doctor.probes import MARK
from tfs_rt.errors import first_line, printable
from tfs_rt.facts import Facts

TIMEOUT = 60.0  # seconds, for a probe
Probe: TypeAlias = tuple[str, ...]  # a probe's name and its arguments


class Answer(NamedTuple):
    """A probe's findings; without any, the reason and the remedy."""

    found: Facts | None
    reason: str = ""
    remedy: str = ""


def probes() -> list[Probe]:
    """Everything that is tried out in a process of its own."""
    return [("gpus",), ("device",), *((backend.probe, name) for name, backend in BACKENDS.items())]


def ask(probe: Probe) -> Answer:
    """Run a probe. A crash, a hang and babble are answers, too: nothing raises."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from tfs_rt.doctor.probes import main; main(*{probe!r})"
    command = [sys.executable, "-c", code]
    try:
        ended = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return Answer(None, f"it does not answer within {TIMEOUT:g} s")
    except OSError as error:
        return Answer(None, f"no process can be started ({first_line(error)})")
    lines = ended.stdout.decode(errors="replace").splitlines()
    try:
        answer = json.loads([line for line in lines if line.startswith(MARK)][-1].removeprefix(MARK))
        return Answer(answer["found"]) if "found" in answer else Answer(None, *answer["fault"])
    except (IndexError, ValueError, KeyError, TypeError):
        return Answer(None, _describe_end(ended))


def _describe_end(ended: subprocess.CompletedProcess[bytes]) -> str:
    """The end of a process that gave no answer."""
    if ended.returncode < 0 and -ended.returncode in list(signal.Signals):
        return f"it crashes while it loads ({signal.Signals(-ended.returncode).name})"
    last = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return printable(f"it ends with {ended.returncode} while it loads{''.join(f' ({line})' for line in last)}")
