"""Answers to the doctor's probes, for tests that run none."""

from __future__ import annotations

from tfs_rt.doctor.ask import Answer, Probe

ORT_RUNS = Answer({"version": "1.32.0", "file": "onnxruntime/__init__.py"})


def no_answer(probe: Probe) -> Answer:
    return Answer(None, f"{probe[0]} was not asked", "ask it")


def only_ort_runs(probe: Probe) -> Answer:
    return ORT_RUNS if probe == ("backend", "ort-cpu") else no_answer(probe)
