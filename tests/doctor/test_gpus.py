"""The GPUs' flavours of TensorRT, and mistakes in CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import pytest

from tfs_rt.doctor import examine as doctor
from tfs_rt.doctor.gpus import flavours


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ("7.0", []),
        ("7.5", ["tensorrt-rtx", "tensorrt"]),
        ("8.0", ["tensorrt", "tensorrt-rtx"]),
        ("8.6", ["tensorrt-rtx", "tensorrt"]),
        ("8.9", ["tensorrt-rtx", "tensorrt"]),
        ("9.0", ["tensorrt"]),
        ("10.0", ["tensorrt"]),
        ("10.3", ["tensorrt"]),
        ("12.0", ["tensorrt-rtx", "tensorrt"]),
        ("12.1", ["tensorrt-rtx", "tensorrt"]),
    ],
)
def test_each_gpu_has_its_flavours(capability: str, expected: list[str]) -> None:
    assert flavours(capability) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "is '', which hides every GPU"),
        ("-1", "is '-1', which hides every GPU"),
        ("0,1", None),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", None),
        ("MIG-GPU-8932f937/1/0", None),
        ("0;1", "'0;1' is not a valid GPU"),
        ("cuda:0", "'cuda:0' is not a valid GPU"),
        ("0,0", "an entry stands twice"),
    ],
)
@pytest.mark.usefixtures("healthy")
def test_what_hides_gpus_is_told(monkeypatch: pytest.MonkeyPatch, value: str, expected: str | None) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    faults = [fault for fault in doctor.examine().faults if fault.subject == "CUDA_VISIBLE_DEVICES"]
    assert len(faults) == (expected is not None)
    assert expected is None or expected in faults[0].reason
