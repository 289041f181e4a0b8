"""Answers of a decoder that was taken over, and the child that gives them."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from support.malformed_messages import framed
from tfs_rt.formats.picture import FileOptions
from tfs_rt.formats.registry import read_picture

SLICE = np.zeros((16, 16, 3), np.uint8)
FACTS = {"format": "png", "mode": "RGB", "levels": "as stored"}
Raw = bytes  # what a child writes in place of a message


def facts(**more: Any) -> tuple[Any, ...]:
    return (SLICE,), {**FACTS, **more}, {}, None


def without(key: str) -> tuple[Any, ...]:
    return (SLICE,), {name: value for name, value in FACTS.items() if name != key}, {}, None


SILENCE = framed('["error", "InputError", "is damaged", "write it again"]')

LIES: dict[str, Any] = {
    # facts
    "bytes": facts(levels=b"8-bit"),
    "an array": facts(levels=np.zeros(3)),
    "a number": facts(levels=5),
    "nothing": facts(levels=None),
    "a list": facts(levels=["8-bit"]),
    "a tuple": facts(levels=("8-bit",)),
    "a dict": facts(levels={"a": 1}),
    "not a number": facts(levels=math.nan),
    "five megabytes": facts(levels="x" * 5_000_000),
    "twenty thousand characters": facts(levels="x" * 20_000),
    "another file": facts(file="/etc/passwd"),
    "another hash": facts(sha256="0" * 64),
    "another width": facts(width=1),
    "another height": facts(height=[1]),
    "an unknown key": facts(note="trust me"),
    "many keys": facts(**{f"k{i}": "v" for i in range(1000)}),
    "a colour map": facts(colormap="hot"),
    "a window": facts(window_from="data"),
    "a modality": facts(modality="CT"),
    "mixed keys": ((SLICE,), {**FACTS, 5: "v"}, {}, None),
    "keys that are tuples": ((SLICE,), {**FACTS, ("a", 1): "v"}, {}, None),
    "keys that are bytes": ((SLICE,), {**FACTS, b"a": "v"}, {}, None),
    "keys that are nothing": ((SLICE,), {**FACTS, None: "v"}, {}, None),
    "no mode": without("mode"),
    "no format": without("format"),
    "an empty dict": ((SLICE,), {}, {}, None),
    "no dict": ((SLICE,), [], {}, None),
    "text in their place": ((SLICE,), "facts", {}, None),
    "another format": facts(format="dicom"),
    "a format of its own": facts(format="evil"),
    "a format that is a list": facts(format=["png"]),
    # subject and frame
    "a subject": ((SLICE,), FACTS, {"patient": "someone"}, None),
    "a grid": ((SLICE,), FACTS, {"grid": {"size": (16, 16), "corners": [], "within": 1e9}}, None),
    "a subject that is a list": ((SLICE,), FACTS, [], None),
    "a frame": ((SLICE,), FACTS, {}, {"instances": (("1.2", "1.2.3"),)}),
    "a frame of NIfTI": ((SLICE,), FACTS, {}, {"version": 1, "copied": {"dim": [1]}}),
    "a frame that is text": ((SLICE,), FACTS, {}, "frame"),
    # slices
    "no slices": ((), FACTS, {}, None),
    "a list of slices": ([SLICE], FACTS, {}, None),
    "floats": ((SLICE.astype(np.float32),), FACTS, {}, None),
    "big-endian numbers": ((SLICE.astype(">u2"),), FACTS, {}, None),
    "grey": ((SLICE[..., 0],), FACTS, {}, None),
    "two sizes": ((SLICE, SLICE[:8]), FACTS, {}, None),
    "an empty slice": ((SLICE[:0],), FACTS, {}, None),
    "no array": (("image",), FACTS, {}, None),
    "a slice of 8192 x 8192": ((np.zeros((1, 8192 * 8192, 3), np.uint8),), FACTS, {}, None),
    # the whole
    "three parts": ((SLICE,), FACTS, {}),
    "five parts": ((SLICE,), FACTS, {}, None, None),
    "no picture": None,
    "a list of parts": [(SLICE,), FACTS, {}, None],
    # in place of a message
    "a huge length": framed("", 2**62),
    "no JSON": framed("{"),
    "a number of 5,000 digits": framed(f'["result", {"9" * 5000}]'),
    "objects": framed('["result", {"array": ["|O", [1]]}]'),
    "a terabyte": framed('["result", {"array": ["|u1", [1099511627776]]}]'),
    "too much memory": framed('["memory"]'),
    "a fault of ours": framed('["error", "SystemExit", "a", "b"]'),
    "an exit code": framed('["error", "UsageError", "--output", "give another"]'),
    "a fault of the system": framed('["error", "EnvironmentFault", "disk full", "rm -rf /"]'),
    "no further answer": SILENCE,
    "ready again": framed('["ready", [], 1]'),
}
HONEST = ("honest", "honest as well")


def lie(data: bytes, path: str, rules: dict[str, Any]) -> tuple[Any, ...]:
    """In the child: the lie that a case is named by, of its functional image; else the truth."""
    told = LIES.get(Path(path).parent.name, ...)
    if told is ... or Path(path).stem != "pet":
        picture = read_picture(data, Path(path), FileOptions(**rules))
        return picture.slices, picture.facts, picture.subject, picture.frame
    if isinstance(told, Raw):
        for descriptor in range(3, 10):
            with suppress(OSError):
                os.write(descriptor, told)
        if told == SILENCE:  # the next file meets a child that does not answer
            time.sleep(600)
        os._exit(0)
    return told
