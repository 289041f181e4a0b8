"""Bytes that a child of the sandbox may write in place of a message."""

from __future__ import annotations

import os
import pickle
from typing import Any


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


def framed(text: str, length: int | None = None) -> bytes:
    """A message of JSON, whose length may be another than it says."""
    return (len(text) if length is None else length).to_bytes(8, "little") + text.encode()


MALFORMED = {
    "a pickle": pickle.dumps(Payload()),
    "a huge length": framed("", 2**63),
    "half a message": framed("{"),
    "nesting": framed("[" * 100_000),
    "a huge number": framed("9" * 10_000),
    "an unknown tag": framed('["result", {"object": 1}]'),
    "two tags": framed('["result", {"tuple": [], "bytes": 0}]'),
    "a key that is none": framed('["result", {"dict": [[{"dict": []}, 1]]}]'),
    "bytes of no number": framed('["result", {"bytes": 1e99}]'),
    "bytes of less than none": framed('["result", {"bytes": -1}]'),
    "a huge array": framed('["result", {"array": ["|u1", [1099511627776]]}]'),
    "objects": framed('["result", {"array": ["|O", [1]]}]'),
    "two negative sizes": framed('["result", {"array": ["|u1", [-1, -1]]}]'),
    "a size that is none": framed('["result", {"array": ["|u1", [true]]}]'),
    "a type that is none": framed('["result", {"array": ["|u99", [1]]}]'),
    "a type of fields": framed('["result", {"array": ["u1,u1", [1]]}]'),
}
