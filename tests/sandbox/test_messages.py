"""Messages between a sandbox and its child: plain data go through, and nothing else does."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from support.malformed_messages import MALFORMED
from tfs_rt.sandbox.messages import pack, receive, send


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_message_is_none_and_runs_nothing(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file:
        with os.fdopen(writing, "wb") as other:
            other.write(MALFORMED[what][:60_000])
        with pytest.raises(Exception, match=".*") as caught:
            receive(file.fileno(), 2**20)
    assert not isinstance(caught.value, MemoryError)
    assert not list(tmp_path.iterdir())


def test_a_message_holds_no_more_than_it_is_allowed(tmp_path: Path) -> None:
    with (tmp_path / "pipe").open("wb", buffering=0) as file:
        send(file.fileno(), pack([np.zeros(1000, np.uint8)]))
    for limit, fits in ((1000, True), (999, False)):
        with (tmp_path / "pipe").open("rb", buffering=0) as file:
            if fits:
                assert receive(file.fileno(), limit)[0].size == 1000
                continue
            with pytest.raises(ValueError, match="1000 bytes, 999 are allowed"):
                receive(file.fileno(), limit)
