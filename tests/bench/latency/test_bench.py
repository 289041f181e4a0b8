"""`tfs-rt bench`: figures against their formulas, the order of turns, rows that fail alone, a run of a tiny model."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import Generator
from skimage.metrics import structural_similarity

from support.helpers import FEW, TINY, Cli, model_spec, png, write_case
from tfs_rt.doctor import ask as doctor_ask
from tfs_rt.doctor.ask import Answer
from tfs_rt.errors import EnvironmentFault, InputError, NothingFound, UsageError
from tfs_rt.facts import from_dict
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt.sampling.tables import step_table
from tfs_rt_bench.latency import cases as bench_cases
from tfs_rt_bench.latency import machine, quality, roofline
from tfs_rt_bench.latency import record as measured_module
from tfs_rt_bench.latency import run as benching
from tfs_rt_bench.latency.cases import Cases, read_cases
from tfs_rt_bench.latency.compare import compare
from tfs_rt_bench.latency.machine import step_gflop
from tfs_rt_bench.latency.peers import load_peer
from tfs_rt_bench.latency.plan import Planned, Request, paper_recipe, planned
from tfs_rt_bench.latency.record import Bench, Row, read_bench, write_bench
from tfs_rt_bench.latency.rows import job_seconds, network_seconds, times
from tfs_rt_bench.latency.run import run
from tfs_rt_bench.latency.worker import Runner, Task, precision_of
from tfs_rt_bench.latency.workers import Worker
from tfs_rt_reference.engine import load as load_reference
from tfs_rt_reference.network import UNet
from tfs_rt_studies.kernels import published_network as published
from tfs_rt_studies.kernels.published_network import PUBLISHED, random_network

SIDE = 16  # of the inputs; results are four times that


@pytest.fixture(scope="module")
def model(x4: Path) -> Bundle:
    return load_bundle(x4)


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benching, "measured_limits", lambda: (100.0, 20.0))


@pytest.fixture
def cases(rng: Generator) -> Cases:
    images = [tuple(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(3)) for _ in range(3)]
    return Cases(("a", "b", "c"), tuple(images), (None, images[0][0].repeat(4, 0).repeat(4, 1), None), (64, 64))


# --------------------------------------------------------------------------- figures


def test_times_are_order_statistics(rng: Generator) -> None:
    seconds = rng.exponential(size=41)
    ordered = sorted(seconds)
    found = times(list(seconds))
    assert (found.minimum, found.median, found.runs) == (ordered[0], ordered[20], 41)
    assert found.p95 == pytest.approx(ordered[38])  # 0.95 x 40
    assert times([1.0, 3.0]).p95 == pytest.approx(2.9)


def test_fidelity_is_its_formulas(rng: Generator) -> None:
    reference = [rng.integers(0, 256, (24, 20, 3), dtype=np.uint8) for _ in range(3)]
    images = [np.clip(image + rng.normal(1, 3, image.shape), 0, 255).astype(np.uint8) for image in reference]
    found = quality.fidelity(images, reference)
    errors = [int(a) - int(b) for a, b in zip(np.ravel(images), np.ravel(reference), strict=True)]
    assert found.psnr == pytest.approx(10 * math.log10(255**2 / (sum(e * e for e in errors) / len(errors))))
    assert found.max_levels == max(map(abs, errors))
    assert found.bias == pytest.approx([sum(errors[c::3]) / len(errors[c::3]) for c in range(3)])
    each: list[Any] = [structural_similarity(b, a, channel_axis=-1) for a, b in zip(images, reference, strict=True)]
    assert found.ssim == pytest.approx(sum(each) / 3)
    assert quality.fidelity(reference, reference).psnr == 99


def test_accuracy_is_a_mean_over_the_cases_that_have_ground_truth(rng: Generator) -> None:
    image, truth = (rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(2))
    found = quality.accuracy([image, image, image], [None, truth, image])
    assert found is not None
    assert found.cases == 2
    mse = np.mean((image.astype(int) - truth.astype(int)) ** 2)
    assert found.psnr == pytest.approx((10 * math.log10(255**2 / mse) + 99) / 2)
    assert quality.accuracy([image], [None]) is None


def test_a_steps_operations_are_those_that_its_layers_do() -> None:
    arch = dataclasses.replace(TINY, attention_levels=(), condition_skip=True)
    network = UNet(arch).eval()
    counted = []

    def count(layer: Any, inputs: Any, output: torch.Tensor) -> None:
        weight = layer.weight
        positions = output.shape[2] * output.shape[3] if weight.ndim == 4 else 1
        counted.append(2 * weight.numel() * positions)

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, 9, 24, 40), torch.zeros(1, 3, 24, 40), torch.zeros(1, 1))
        middle = 2 * 2 * (12 * 20) ** 2 * 16  # two products of the middle's attention: pixels x pixels x channels
    assert step_gflop(arch, (24, 40)) == pytest.approx((sum(counted) + middle) / 1e9)
    assert step_gflop(arch, (23, 39)) == step_gflop(arch, (24, 40))  # padded


def test_the_published_network_takes_360_gflop() -> None:
    assert step_gflop(PUBLISHED, (256, 256)) == pytest.approx(360, abs=1)


def test_limits_are_operations_and_bytes_over_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(roofline.time, "perf_counter", lambda: next(clock))  # each takes a second
    monkeypatch.setattr(roofline, "SIDES", (32, 64, 16))
    monkeypatch.setattr(roofline, "BYTES", 2**16)
    assert roofline.gemm_gflops() == pytest.approx(2 * 64**3 / 1e9)
    assert roofline.bandwidth_gb() == pytest.approx(2 * 2**16 / 1e9)


def test_a_time_without_its_quality_is_no_row() -> None:
    kept = {"label": "x", "backend": "ort-cpu", "peer": False, "precision": "fp32", "batch": 1, "recipe": FEW}
    with pytest.raises(ValueError, match="no fidelity"):
        Row(**kept, job=times([1.0]))
    assert Row(**kept, job=times([1.0]), extrapolated="8 of 4,000 steps timed").fidelity is None


@pytest.mark.parametrize(("text", "expected"), [("null", None), ("2", 2.0), ('"a"', ValueError), ("[]", ValueError)])
def test_an_optional_field_is_read_or_left_out(text: str, expected: Any) -> None:
    @dataclasses.dataclass
    class Found:
        value: float | None = None
        inner: list[int] | None = None

    Found.__annotations__ = {"value": float | None, "inner": dict[str, float] | None}
    if expected is ValueError:
        with pytest.raises(ValueError, match=r"Found\.value"):
            from_dict(Found, {"value": json.loads(text)})
    else:
        assert from_dict(Found, {"value": json.loads(text), "inner": None}).value == expected
    assert from_dict(Found, {}).value is None
    assert from_dict(Found, {"inner": {"a": 1}}).inner == {"a": 1.0}


# --------------------------------------------------------------------------- turns


class Fake:
    """A worker that answers at once: each job takes as long as `seconds` says, a tenth of it outside the network."""

    log: list[tuple[str, str]]

    def __init__(self, name: str, log: list[tuple[str, str]], fault: Callable[[str, str, int], None]) -> None:
        self.name = name
        self.log = log
        self.fault = fault
        self.jobs = 0
        self.spawned = time.perf_counter()
        self.idle_wall = 100.0
        self.closed = False

    def ask(self, word: str, *arguments: Any) -> Any:
        self.log.append((self.name, word))
        self.fault(self.name, word, self.jobs)
        if word == "load":
            self.task = from_dict(Task, arguments[0])
            return None
        if word == "facts":
            idle = 50.0 if "onnxruntime" in self.name else 0.5
            return {"memory": 10**8, "versions": {"numpy": "2"}, "precision": "fp32", "idle": idle}
        self.jobs += 1
        images, _, (height, width) = arguments
        seconds = float(self.jobs)
        steps = self.task.part or self.task.recipe.steps
        made = [np.full((height, width, 3), case[0].mean(), np.uint8) for case in images]
        took = {"seconds": seconds, "busy": 1.5 * seconds, "network": 0.9 * seconds}
        return {**took, "calls": [0.9 * seconds / steps] * steps, "steps": [0.1] * (steps - 1), "images": made}

    def close(self) -> None:
        self.log.append((self.name, "close"))


def fine(name: str, word: str, jobs: int) -> None:
    del name, word, jobs


def measured(
    model: Bundle, cases: Cases, fault: Callable[[str, str, int], None] = fine, **asked: Any
) -> tuple[Any, list[tuple[str, str]]]:
    log: list[tuple[str, str]] = []
    request = Request(model=str(model.path), **asked)
    done = run(request, cases, command="tfs-rt bench", start=lambda name: Fake(name, log, fault))
    return done, log


@pytest.mark.usefixtures("limits")
def test_rows_take_turns(model: Bundle, cases: Cases) -> None:
    done, log = measured(model, cases, backends=("ort-cpu",), against=("torch-eager", "onnxruntime"), rounds=2)
    ours, eager, ort = (row.label for row in done.rows)
    assert [entry for entry in log if entry[0] == "torch"] == [
        ("torch", word) for word in ("load", *3 * ["job"], "close")
    ]
    turns = [name for name, word in log if name != "torch"]
    opening = [ours] * 5 + [eager] * 5 + [ort] * 5  # loaded, the first image, and all three cases
    assert turns == opening + [ours, eager, ort] * 3 + [ours, eager, ort] + [ours, eager, ort]  # 1 + 2 rounds, end
    assert [word for name, word in log[-6:]] == ["facts"] * 3 + ["close"] * 3
    assert [w for w in done.warnings if "while others" in w] == [
        f"{ort}: took 50% of a processor while others had their turn"
    ]


@pytest.mark.usefixtures("limits")
def test_a_rows_figures_follow_from_its_jobs(model: Bundle, cases: Cases) -> None:
    done, _ = measured(model, cases, backends=("ort-cpu",), against=("none",), rounds=2, batches=(2,), steps=(4,))
    (row,) = done.rows
    assert (row.label, row.batch, row.recipe.steps) == ("ort-cpu, ddim 4, batch 2", 2, 4)
    # the first image, two batches for three cases, a round to warm up: the timed jobs are the fifth and the sixth
    assert dataclasses.asdict(row.job) == pytest.approx({"minimum": 5, "median": 5.5, "p95": 5.95, "runs": 2})
    assert row.step.minimum == pytest.approx(0.9 * 5 / 4)
    assert row.step.runs == 8
    assert row.overhead == pytest.approx(0.1)
    assert row.busy == pytest.approx(1.5)
    assert row.gflops == pytest.approx(done.step_gflop / (0.9 * 5 / 4))
    assert row.fidelity.psnr == 99
    assert (row.fidelity.cases, row.accuracy.cases) == (3, 1)
    assert done.machine.gemm_gflops == 100
    assert [(p.case, list(p.images), bool(p.truth)) for p in done.pictures] == [
        (case, [row.label], case == "b") for case in "abc"
    ]


@pytest.mark.usefixtures("limits")
def test_the_papers_way_is_timed_in_part_and_reckoned(model: Bundle, cases: Cases) -> None:
    done, log = measured(model, cases, backends=("none",), against=("none",), rounds=2, paper="part")
    (row,) = done.rows
    assert row.label == "torch-eager as it comes, ddpm 4000, batch 1"
    assert row.extrapolated == "8 of 4,000 steps timed"
    assert row.job.minimum == pytest.approx(2 + 3992 * 0.1)
    assert row.overhead == pytest.approx(1 - np.mean([0.9 * j * 500 / (j + 399.2) for j in (2, 3)]))
    assert (row.fidelity, row.accuracy, row.cold_start) == (None, None, None)
    assert not any(name == "torch" for name, _ in log)


@pytest.mark.usefixtures("limits")
def test_a_slow_first_call_does_not_count_for_the_steps_that_are_reckoned(model: Bundle) -> None:
    (plan,) = planned(Request(model=str(model.path), backends=("none",), against=("none",), paper="part"), model)
    job = {"seconds": 5.0 + 8.0, "network": 5.0 + 7 * 0.9, "calls": [5.0] + [0.9] * 7, "steps": [1.0] * 7}
    assert job_seconds(job, plan) == pytest.approx(13 + 3992)
    assert network_seconds(job, plan) == pytest.approx(5 + 3999 * 0.9)


@pytest.mark.usefixtures("limits")
def test_the_papers_way_in_full_does_each_case_once_and_is_its_own_reference(model: Bundle, cases: Cases) -> None:
    done, log = measured(model, cases, backends=("none",), against=("none",), rounds=7, paper="full")
    (row,) = done.rows
    assert [word for _, word in log] == ["load", "job", "job", "job", "facts", "close"]
    assert (row.job.runs, row.extrapolated, row.fidelity.psnr, row.accuracy.cases) == (3, "", 99, 1)


def test_a_model_that_knows_some_noise_levels_takes_the_papers_steps_over_those() -> None:
    assert paper_recipe(model_spec(), whole=True).spacing == "t"
    narrow = model_spec(sigma_range=(2.0, 80.0))
    assert paper_recipe(narrow, whole=False).spacing == "t"
    found = paper_recipe(narrow, whole=True)
    assert (found.spacing, found.sigma_max, found.sigma_min, found.steps) == ("log-snr", 80.0, 2.0, 4000)


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize(("word", "jobs"), [("load", 0), ("job", 0), ("job", 6), ("facts", 7)])
def test_a_row_that_fails_at_any_time_fails_alone(model: Bundle, cases: Cases, word: str, jobs: int) -> None:
    def fault(name: str, asked: str, done: int) -> None:
        if name.startswith("openvino,") and asked == word and done >= jobs:
            raise EnvironmentFault("backend openvino", "the package 'openvino' is not installed", "pip install it")

    done, _ = measured(model, cases, fault, backends=("openvino", "ort-cpu"), against=("onnxruntime",), rounds=3)
    failed, ours, peer = done.rows
    assert failed.fault == "backend openvino: the package 'openvino' is not installed: pip install it"
    assert failed.job is None
    assert not ours.fault
    assert ours.job.runs == peer.job.runs == 3
    assert failed.label not in done.pictures[0].images


@pytest.mark.usefixtures("limits")
def test_without_any_row_of_the_runtimes_own_there_is_no_bench(model: Bundle, cases: Cases) -> None:
    def fault(name: str, word: str, jobs: int) -> None:
        if name.startswith("openvino,"):
            raise EnvironmentFault("backend openvino", "is not installed", "pip install it")

    with pytest.raises(EnvironmentFault, match="pip install it"):
        measured(model, cases, fault, backends=("openvino",), against=("onnxruntime",))


# --------------------------------------------------------------------------- workers


def ended(code: str) -> str:
    with Worker("row", [sys.executable, "-c", code]) as worker, pytest.raises(EnvironmentFault) as caught:
        worker.ask("load", {})
    return str(caught.value)


def test_however_a_worker_ends_it_is_said_in_one_line() -> None:
    assert "exit code 1 (no memory)" in ended("import sys; sys.exit('many words\\nno memory')")
    assert "SIGKILL" in ended("import os; os.kill(os.getpid(), 9)")
    assert "nonsense" in ended("import sys; sys.stdout.buffer.write((4).to_bytes(8, 'little') + b'null')")
    with pytest.raises(EnvironmentFault, match="cannot be started"):
        Worker("row", ["/nowhere/python"])


def task_of(model: Bundle, backend: str, *, peer: bool = False, **changes: Any) -> Task:
    recipe = dataclasses.replace(model.manifest.recipe, steps=3)
    return Task(model=str(model.path), backend=backend, peer=peer, recipe=recipe, **changes)


def test_a_job_is_the_pipelines_own_and_its_network_is_timed_inside_it(model: Bundle, cases: Cases) -> None:
    runner = Runner(task_of(model, "ort-cpu"))
    job = runner.job(cases.images[:2], cases.ids[:2], cases.size)
    expected = load_pipeline(model.path, recipe=lambda _: runner.pipeline.recipe)
    for image, other in zip(job["images"], expected.fuse(cases.images[:2], cases.ids[:2], size=(64, 64)), strict=True):
        np.testing.assert_array_equal(image, other)
    assert len(job["calls"]) == 2 * 3  # an image at a time
    assert len(job["steps"]) == 2
    assert 0 < sum(job["calls"]) == pytest.approx(job["network"])
    assert job["network"] < job["seconds"]


def test_the_network_of_a_captured_loop_is_timed_in_a_graph_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueued = []
    clock = iter([0.0, 4.0])
    device = SimpleNamespace(capture=lambda call: call, synchronize=lambda: None)
    session = SimpleNamespace(network=SimpleNamespace(enqueue=lambda: enqueued.append(1)))
    runner: Any = object.__new__(Runner)
    loop = SimpleNamespace(device=device, session=session)
    table = step_table(model_spec(), FEW)
    runner.pipeline = SimpleNamespace(loop=loop, table=table)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert runner._alone(5) == (pytest.approx(4 * 4.0 / len(enqueued)), [pytest.approx(4.0 / len(enqueued) / 5)])


def test_a_peer_takes_a_batch_in_one_call_and_is_timed_by_the_image(model: Bundle, cases: Cases) -> None:
    runner = Runner(task_of(model, "onnxruntime", peer=True))
    job = runner.job(cases.images, cases.ids, cases.size)
    assert len(job["calls"]) == 3
    assert 3 * sum(job["calls"]) == pytest.approx(job["network"])
    ours = Runner(task_of(model, "ort-cpu")).job(cases.images, cases.ids, cases.size)
    assert quality.fidelity(job["images"], ours["images"]).psnr > 60


def test_a_part_of_a_chain_runs_its_first_steps_even_outside_of_what_the_model_knows(
    model: Bundle, cases: Cases
) -> None:
    recipe = paper_recipe(model.manifest.model, whole=False)
    task = dataclasses.replace(task_of(model, "onnxruntime", peer=True), recipe=recipe, part=2)
    assert len(Runner(task).job(cases.images[:1], cases.ids[:1], cases.size)["calls"]) == 2


@pytest.mark.parametrize("name", ["torch-eager", "onnxruntime"])
def test_a_peer_is_the_same_network(model: Bundle, rng: Generator, name: str) -> None:
    condition, x_t = (rng.standard_normal((2, channels, 16, 24), dtype=np.float32) for channels in (9, 3))
    level = np.array([[0.2], [0.9]], np.float32)
    expected = load_reference(model).predict(condition, x_t, level)
    np.testing.assert_allclose(load_peer(name, model).network(condition, x_t, level), expected, atol=2e-4)


def test_a_peer_that_is_not_installed_says_what_to_install(model: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'tfs-rt\[cpu\]'"):
        load_peer("onnxruntime", model)


def test_a_backends_name_states_its_precision() -> None:
    found = [precision_of(name) for name in ("ort-cpu", "openvino", "openvino-bf16", "winograd", "tensorrt-rtx")]
    assert found == ["fp32", "fp32", "bf16", "fp32", "fp16"]


def test_a_random_models_images_are_neither_constant_nor_clipped() -> None:
    network = random_network(TINY)
    with torch.inference_mode():
        image = network(torch.rand(1, 9, 64, 48) * 2 - 1, torch.randn(1, 3, 64, 48), torch.tensor([[0.5]])).numpy()
    assert 0.1 < image.std() < 0.6
    assert np.mean(np.abs(image) >= 1) < 0.05


def test_a_random_model_is_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "write_step_graph", lambda network, path: path.write_bytes(b"graph"))
    monkeypatch.setattr(sys, "argv", ["published", str(tmp_path / "b")])
    assert published.main() == 0
    spec = load_bundle(tmp_path / "b").manifest.model
    assert (spec.architecture, spec.prediction) == (PUBLISHED, "x0")
    monkeypatch.setattr(sys, "argv", ["published", "--help"])
    assert published.main() == 2
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["published", str(tmp_path / "file")])
    assert published.main() == 6


# --------------------------------------------------------------------------- the command


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for case in ("k1", "k2"):
        write_case(tmp_path / "cases" / case, size=SIDE, m1="ct")
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "k1.png").write_bytes(png(np.full((64, 64, 3), 100, np.uint8)))
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.usefixtures("limits")
def test_a_bench_is_measured_written_printed_and_compared(model: Bundle, folders: Path, cli: Cli) -> None:
    asked = ("--model", model.path, "--backends", "ort-cpu", "--against", "onnxruntime", "--rounds", 2)
    out = folders / "out"
    done = cli("bench", *asked, "--cases", folders / "cases", "--ground-truth", folders / "truth", "-o", out)
    assert done.code == 0, done.err
    assert "no ground truth of 1 of 2 cases" in done.err
    ours, peer = (found := read_bench(out / "bench.json")).rows
    assert (ours.label, peer.label) == ("ort-cpu, ddim 1, batch 1", "onnxruntime as it comes, ddim 1, batch 1")
    for row in (ours, peer):
        assert row.label in done.out
        assert row.fidelity is not None
        assert row.fidelity.psnr > 50
        assert row.accuracy is not None
        assert row.accuracy.cases == 1
        assert row.cold_start is not None
        assert row.job is not None
        assert row.cold_start > row.job.minimum > 0
        assert 0 < (row.overhead or 0) < 1
        assert sys.platform != "linux" or (row.peak_memory or 0) > 3e7
    assert "onnxruntime" in found.machine.versions
    assert (out / "bench.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    compared = cli("bench", "compare", out / "bench.json", out / "bench.json", "--json")
    assert [(pair["label"], pair["minimum"], pair["fidelity"]) for pair in json.loads(compared.out)["pairs"]] == [
        (row.label, 1.0, 0.0) for row in (ours, peer)
    ]


def made_bench(rng: Generator, **changes: Any) -> Bench:
    labels = ("a", "b", "c")
    fidelity = quality.fidelity([np.zeros((8, 8, 3), np.uint8)] * 2, [np.ones((8, 8, 3), np.uint8)] * 2)
    kept = {"backend": "ort-cpu", "peer": False, "precision": "fp32", "batch": 1, "recipe": FEW, "fidelity": fidelity}
    rows = tuple(Row(label=label, job=times(list(rng.uniform(1, 2, 9))), **kept) for label in labels)
    where = machine.Machine(
        processor="P",
        cores=2,
        memory=1,
        system="S",
        gpu="",
        versions={"numpy": "2.0"},
        commit="c1",
        gemm_gflops=100.0,
        bandwidth_gb=20.0,
    )
    bench = Bench(
        schema=1,
        date="d",
        model="m",
        scale=4,
        size=(64, 64),
        step_gflop=1.5,
        command="",
        machine=where,
        rows=rows,
        pictures=(),
    )
    return dataclasses.replace(bench, **changes)


def test_what_is_written_is_read_again(rng: Generator, tmp_path: Path) -> None:
    bench = made_bench(rng)
    write_bench(tmp_path / "b.json", bench)
    assert read_bench(tmp_path / "b.json") == bench
    text = (tmp_path / "b.json").read_text()
    for change in (("schema", 2), ("rows", 3), ("size", [1])):
        (tmp_path / "b.json").write_text(json.dumps({**json.loads(text), change[0]: change[1]}))
        with pytest.raises(InputError, match="is not a bench record"):
            read_bench(tmp_path / "b.json")
    for before, after in (('"batch": 1', '"batch": 0'), ('"step_gflop": 1.5', f'"step_gflop": {10**400}')):
        (tmp_path / "b.json").write_text(text.replace(before, after))
        with pytest.raises(InputError, match="is not a bench record"):
            read_bench(tmp_path / "b.json")


def test_what_is_no_file_or_too_large_is_no_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_bench(Path("/dev/null"))  # as a pipe or a device, which may never end
    monkeypatch.setattr(measured_module, "LARGEST", 10)
    (tmp_path / "b.json").write_text(" " * 11)
    with pytest.raises(InputError, match="too large"):
        read_bench(tmp_path / "b.json")


def test_a_comparison_is_by_label_in_ratios_and_differences(rng: Generator) -> None:
    a = made_bench(rng)
    slower = [dataclasses.replace(row, job=times([3.0, 5.0, 4.0])) for row in a.rows]
    near = dataclasses.replace(
        quality.fidelity([np.zeros((8, 8, 3), np.uint8)] * 2, [np.ones((8, 8, 3), np.uint8)] * 2), psnr=50.0
    )
    better = dataclasses.replace(slower[1], fidelity=near)
    other = dataclasses.replace(slower[0], label="d")
    b = dataclasses.replace(a, rows=(better, other, slower[2]))
    found = compare(a, b)
    assert [pair.label for pair in found.pairs] == ["b", "c"]
    assert (found.only_a, found.only_b, found.notes) == (("a",), ("d",), ())
    (pair, _) = found.pairs
    job = a.rows[1].job
    assert job
    assert (pair.minimum, pair.median) == pytest.approx((3 / job.minimum, 4 / job.median))
    assert pair.fidelity == pytest.approx(50 - 10 * math.log10(255**2))
    assert pair.accuracy is None


def test_what_cannot_be_compared_is_refused_and_what_disturbs_is_said(rng: Generator) -> None:
    a = made_bench(rng)
    changes: list[dict[str, Any]] = [
        {"model": "n"},
        {"scale": 8},
        {"size": (32, 64)},
        {"step_gflop": 1.6},
        {"rows": ()},
    ]
    for change in changes:
        with pytest.raises(UsageError, match="they"):
            compare(a, dataclasses.replace(a, **change))
    elsewhere = dataclasses.replace(a.machine, processor="Q", commit="c2", gemm_gflops=80.0, versions={"numpy": "2.1"})
    notes = compare(a, dataclasses.replace(a, machine=elsewhere)).notes
    assert [note.split(":")[0] for note in notes[:2]] == ["NOT ONE MACHINE", "NOT IN ONE STATE"]
    assert notes[2:] == ("commit c1 in A, c2 in B", "numpy 2.0 in A, 2.1 in B")
    spoilt = dataclasses.replace(a, warnings=("this machine is busy",))
    assert compare(a, spoilt).notes == ("of B: this machine is busy",)


def test_rows_of_one_label_that_are_not_the_same_work_are_told(rng: Generator) -> None:
    a = made_bench(rng)
    assert a.rows[0].fidelity
    other: dict[str, Any] = {
        "recipe": dataclasses.replace(FEW, sigma_min=FEW.sigma_min * 2),
        "precision": "bf16",
        "extrapolated": "8 of 4,000 steps timed",
        "fidelity": dataclasses.replace(a.rows[0].fidelity, cases=7),
    }
    for key, value in other.items():
        (note,) = compare(a, dataclasses.replace(a, rows=(dataclasses.replace(a.rows[0], **{key: value}),))).notes
        assert note.startswith("NOT THE SAME WORK, a:")


def test_times_of_nothing_have_no_ratio(rng: Generator) -> None:
    a = made_bench(rng)
    nothing = [dataclasses.replace(row, job=times([0.0, 0.0])) for row in a.rows[:2]]
    odd = dataclasses.replace(a, rows=(*nothing, a.rows[2]))
    for found in (compare(odd, a), compare(a, odd)):
        assert [pair.label for pair in found.pairs] == ["c"]


NONSENSE = [
    (["--backends", "fortran"], 2),
    (["--backends", "ort-cpu,,"], 2),
    (["--backends", "none", "--against", "none"], 2),
    (["--against", "tensorflow"], 2),
    (["--steps", "0"], 2),
    (["--steps", "1,-4"], 2),
    (["--steps", "1;4"], 2),
    (["--steps", "9" * 400], 2),
    (["--steps", "٣"], 2),
    (["--samplers", "euler"], 2),
    (["--samplers", ""], 2),
    (["--batches", "1,none"], 2),
    (["--batches", "1000000"], 2),
    (["--rounds", "0"], 2),
    (["--size", "big"], 2),
    (["--size", "9999"], 2),
    (["--scale", "3"], 2),
    (["--scale", "2"], 2),  # of another model
    (["--paper", "--paper-in-full"], 2),
    (["--model", "tfs-rt/x3"], 5),
    (["--model", "nowhere"], 5),
    (["--model", ""], 5),
    (["--cases", "nowhere"], 4),
    (["--cases", "empty"], 4),
    (["--cases", "cases", "--ground-truth", "empty"], 4),
    (["--cases", "cases", "--ground-truth", "cases/k1"], 4),
    (["--cases", "cases", "--ground-truth", "truth", "--size", "32"], 3),
    (["--size", "4"], 3),
    (["--what"], 2),
    (["more"], 2),
    (["compare"], 2),
    (["compare", "a.json"], 2),
    (["compare", "nowhere.json", "nowhere.json"], 3),
    (["compare", "truth/k1.png", "truth/k1.png"], 3),
    (["compare", "empty", "empty"], 3),
]


def test_a_made_case_may_be_too_small_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_cases, "EXAMPLES", tmp_path / "none")
    with pytest.raises(InputError, match="too small to be compared"):
        bench_cases.read_cases([], None, 4, (4, 4))


@pytest.mark.parametrize(
    ("arguments", "code"), NONSENSE, ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else ""
)
def test_nonsense_ends_in_one_line_and_the_right_exit_code(
    model: Bundle, folders: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, arguments: list[str], code: int
) -> None:
    monkeypatch.chdir(folders)
    monkeypatch.setattr(benching, "Worker", None)  # it does not come so far
    measuring = arguments[0] != "compare"
    own = ["--model", str(model.path)] if measuring and "--model" not in arguments else []
    ended = cli("bench", *(["-o", "out", *own] if measuring else []), *arguments)
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert "Traceback" not in ended.err
    said = [line for line in ended.err.splitlines() if line.startswith("tfs-rt: ")]
    assert len(said) == 1 or ended.err.startswith("Usage")
    assert not (folders / "out" / "bench.json").exists()


def test_no_output_and_options_beside_compare_are_refused(cli: Cli, tmp_path: Path) -> None:
    assert cli("bench").err.startswith("tfs-rt: --output: is not given")
    ended = cli("bench", "--rounds", 3, "compare", tmp_path, tmp_path)
    assert (ended.code, "--rounds" in ended.err) == (2, True)


@pytest.mark.parametrize("answer", [Answer(None, "there is no driver", "install one"), Answer({"gpus": []})])
def test_without_a_gpu_there_is_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(doctor_ask, "ask", lambda probe: answer)
    ended = cli("bench", "--gpu", "-o", tmp_path / "out")
    assert (ended.code, len(ended.err.splitlines())) == (6, 1)


def test_on_a_gpu_its_backends_are_the_default_and_peers_of_the_cpu_are_refused(model: Bundle) -> None:
    rows = planned(Request(model=str(model.path), gpu=True), model)
    names = [(row.task.backend, row.task.device) for row in rows]
    assert names == [
        (name, "cuda") for name in ("ort-cuda", "tensorrt", "tensorrt-rtx", "torch-eager", "torch-compile")
    ]
    with pytest.raises(UsageError, match="runs on the CPU"):
        planned(Request(model=str(model.path), gpu=True, against=("onnxruntime",)), model)


def test_every_combination_is_a_row_with_its_own_label(model: Bundle) -> None:
    asked = {"steps": (1, 4), "samplers": ("ddim", "dpmpp-2m"), "batches": (1, 4), "backends": ("ort-cpu", "openvino")}
    rows: list[Planned] = planned(
        Request(model=str(model.path), against=("onnxruntime",), paper="part", **asked), model
    )
    assert len({row.label for row in rows}) == len(rows) == 2 * 2 * 2 * 3 + 1


def test_without_examples_a_made_case_is_fused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench_cases, "EXAMPLES", tmp_path / "none")
    found, problems = read_cases([], None, 4, None)
    assert (found.ids, found.truths, found.size, problems) == (("tfs-rt self-test",), (None,), (64, 64), [])


def test_a_case_that_cannot_be_read_is_left_out_and_several_sizes_are_refused(folders: Path) -> None:
    (folders / "cases" / "k2" / "pet.png").write_bytes(b"no image")
    found, problems = read_cases([folders / "cases"], None, 4, None)
    assert (found.ids, len(problems)) == (("k1",), 1)
    write_case(folders / "cases" / "k3", size=24)
    with pytest.raises(InputError, match="several sizes"):
        read_cases([folders / "cases"], None, 4, None)
    assert read_cases([folders / "cases"], None, 4, (32, 48))[0].size == (32, 48)
    (folders / "cases" / "k1" / "ct.png").unlink()
    (folders / "cases" / "k3" / "pet.png").unlink()
    with pytest.raises(NothingFound, match="none of 3 cases"):
        read_cases([folders / "cases"], None, 4, None)
