"""Probes of libraries that crash, hang or babble."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfs_rt.doctor import ask as asking
from tfs_rt.doctor.ask import Answer, ask


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it crashes while it loads (SIGSEGV)"),
        ("import time; time.sleep(60)", "it does not answer within 1 s"),
        ("import os; print('tfs-rt probe: {'); os._exit(0)", "it ends with 0 while it loads"),
        ("import os; print('garbage \\x00', flush=True); os._exit(3)", "it ends with 3 while it loads"),
        ("import sys; print('libcudart.so.13 is lost', file=sys.stderr); import os; os._exit(1)", "(libcudart.so.13"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("import nowhere", "the package 'nowhere' is not installed"),
        ("raise RuntimeError('two\\nlines')", "cannot be loaded (two)"),
    ],
)
def test_a_library_that_crashes_hangs_or_babbles_takes_nobody_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    (tmp_path / "onnxruntime.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(asking, "TIMEOUT", 1 if "sleep" in code else 30)
    answer = ask(("backend", "ort-cpu"))
    assert answer.found is None
    assert reason in answer.reason


def test_what_a_library_prints_beside_the_answer_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text(
        "from types import SimpleNamespace as S; print('[TRT] welcome')\n"
        "__version__ = '11.1'; ExecutionContextAllocationStrategy = OnnxParser = IProgressMonitor = 0\n"
        "NetworkDefinitionCreationFlag = S(STRONGLY_TYPED=0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert ask(("flavour", "tensorrt")) == Answer({"version": "11.1", "capabilities": []})
