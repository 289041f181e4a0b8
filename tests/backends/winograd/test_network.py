"""The network by our own kernels: against the reference in PyTorch, and against itself on other threads."""

from __future__ import annotations

import copy
import dataclasses
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.helpers import TINY
from support.winograd_networks import ARCHITECTURES, HOST, SHAPES, WIDE, images, reference, relative
from tfs_rt.backends.winograd import layout
from tfs_rt.backends.winograd.kernels import RegisterTile
from tfs_rt.backends.winograd.network import Network
from tfs_rt.errors import ModelError
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.models.bundle import load_bundle
from tfs_rt.models.manifest import write_manifest
from tfs_rt.models.onnx.weights import Weights
from tfs_rt.models.self_test import SIDE, synthetic_case


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_step_is_the_references(name: str) -> None:
    arch = ARCHITECTURES[name]
    network, weights = reference(arch)
    ours = Network(arch, weights, HOST, 2)
    for h, w in ((6 * arch.stride, 10 * arch.stride), (arch.stride, 13 * arch.stride)):  # tiles over every edge
        inputs = images(arch, h, w)
        expected = network(*map(torch.from_numpy, inputs)).numpy()
        assert relative(ours(*inputs), expected) < 1e-5  # float32 sums in another order


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("parts", [False, True], ids=["in blocks", "in parts"])
def test_every_way_to_lay_it_out_is_the_reference(
    shape: RegisterTile, parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch = dataclasses.replace(WIDE, attention_levels=())
    if parts:
        monkeypatch.setattr(layout, "MANY_WEIGHTS", 0)
        monkeypatch.setattr(layout, "FEW_TILES", 10**6)
    else:
        monkeypatch.setattr(layout, "TILES", 5)  # blocks of tiles that end inside a row
    network, weights = reference(arch)
    inputs = images(arch, 28, 44)
    expected = network(*map(torch.from_numpy, inputs)).numpy()
    assert relative(Network(arch, weights, shape, 2)(*inputs), expected) < 1e-5


def test_the_threads_do_not_change_a_bit() -> None:
    arch = ARCHITECTURES["three levels, attention on two"]
    _, weights = reference(arch)
    inputs = images(arch, 40, 24)
    other = images(arch, 16, 16)
    one = Network(arch, weights, HOST, 1)
    expected = one(*inputs)
    for threads in (2, 3, 5):
        ours = Network(arch, weights, HOST, threads)
        for _ in range(3):
            np.testing.assert_array_equal(ours(*inputs), expected)
            ours(*other)  # another size, another program, the same weights and biases


def test_no_operation_writes_beyond_its_buffers() -> None:
    arch = ARCHITECTURES["three levels, attention on two"]
    ours = Network(arch, reference(arch)[1], HOST, 2)
    ours(*images(arch, 20, 36))
    for flat in ours.programs[20, 36].program.buffers.all:
        start = -flat.ctypes.data % 64 // 4
        assert not flat[:start].any()
        assert not flat[len(flat) - 16 + start :].any()


@pytest.mark.parametrize("name", ["gate over all", "folded, with a skip"])
def test_an_answer_is_not_touched_by_the_next_call(name: str) -> None:
    arch = ARCHITECTURES[name]
    ours = Network(arch, reference(arch)[1], HOST, 2)
    condition, x_t, level = images(arch, 16, 24)
    first = ours(condition, x_t, level)
    kept = first.copy()
    ours(-condition, 2 * x_t, level)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    ours = Network(WIDE, reference(WIDE)[1], HOST, 2)
    condition, x_t, level = images(WIDE, 16, 16)
    x_t[0, 1, 7, 9] = bad
    with np.errstate(invalid="ignore", over="ignore"):
        assert not np.isfinite(ours(condition, x_t, level)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("part", [0, 1, 2], ids=["queries", "keys", "values"])
def test_an_attention_makes_no_numbers_of_what_is_none(bad: float, part: int) -> None:
    weights = dict(reference(WIDE)[1])
    (name, weight), *_ = ((name, weight) for name, weight in weights.items() if name.endswith("qkv.weight"))
    weights[name] = weight.copy()
    weights[name][part * weight.shape[1] + 3, 5] = bad
    assert not np.isfinite(Network(WIDE, weights, HOST, 1)(*images(WIDE, 16, 16))).all()


def test_what_overflows_as_it_is_normalised_is_not_finite() -> None:
    weights = dict(reference(WIDE)[1])
    weights["downs.0.bias"] = weights["downs.0.bias"] + np.float32(1e25)  # whose square no float32 is
    assert not np.isfinite(Network(WIDE, weights, HOST, 1)(*images(WIDE, 16, 16))).all()


def test_callers_on_several_threads_get_their_own_answers() -> None:
    ours = Network(WIDE, reference(WIDE)[1], HOST, 2)
    given = [images(WIDE, 16, side) for side in (16, 24, 32)]
    expected = [ours(*each) for each in given]
    with ThreadPoolExecutor(3) as pool:
        for i, answer in enumerate(pool.map(lambda i: ours(*given[i % 3]), range(60))):
            np.testing.assert_array_equal(answer, expected[i % 3])


def test_one_call_at_a_time_enters_the_thread_pool() -> None:
    """Two calls share the program's buffers: without a lock, one would write its image over the other's."""
    ours = Network(WIDE, reference(WIDE)[1], HOST, 2)
    first = images(WIDE, 16, 16)
    second = images(WIDE, 16, 16)
    second = (-second[0], second[1], second[2])
    expected = [ours(*first), ours(*second)]
    entered = threading.Event()
    inside = []
    real = ours.thread_pool.run

    def run(table: Any, memory: object) -> None:
        inside.append(threading.get_ident())
        if not entered.is_set():
            entered.set()
            time.sleep(0.2)  # long enough for the other to fill the buffers, if nothing keeps it out
            assert len(inside) == 1
        real(table, memory)

    ours.thread_pool.run = run
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(ours, *first)
        assert entered.wait(10)
        other = pool.submit(ours, *second)
        np.testing.assert_array_equal(one.result(), expected[0])
        np.testing.assert_array_equal(other.result(), expected[1])


def test_every_weight_of_another_shape_is_refused_before_machine_code_reads_it() -> None:
    arch = dataclasses.replace(ARCHITECTURES["folded, with a skip"], attention_levels=())
    _, weights = reference(arch)
    inputs = images(arch, 8, 8)
    for name, weight in weights.items():
        wrong: list[Callable[[], Weights]] = [
            lambda n=name: {k: v for k, v in weights.items() if k != n},
            lambda n=name, w=weight: {**weights, n: w[:-1]},
        ]
        for change in wrong:
            with pytest.raises((KeyError, ValueError)):
                Network(arch, change(), HOST, 1)(*inputs)


def test_a_manifest_may_not_ask_for_memory_by_its_stride() -> None:
    with pytest.raises(ValueError, match="multiples of more than 512"):
        dataclasses.replace(TINY, patch_size=512)


def test_a_mean_far_above_the_spread_costs_no_more_than_in_pytorch() -> None:
    arch = dataclasses.replace(WIDE, norm_groups=32)
    network, weights = reference(arch)
    inputs = images(arch, 16, 24)
    for offset in (10, 1000):
        weights["downs.0.bias"] += np.float32(offset)  # whose memory is the network's
        theirs = network(*map(torch.from_numpy, inputs)).numpy()
        exact = copy.deepcopy(network).double()(*(torch.from_numpy(x).double() for x in inputs)).numpy()
        ours = Network(arch, weights, HOST, 2)(*inputs)
        assert relative(ours, exact) < 3 * relative(theirs, exact)


@pytest.mark.parametrize("change", [{"gate": "none"}, {"condition_skip": False}])
def test_weights_that_the_manifest_does_not_mention_are_refused(change: dict[str, Any]) -> None:
    arch = ARCHITECTURES["folded, with a skip"]
    _, weights = reference(arch)
    other = dataclasses.replace(arch, **change)
    with pytest.raises(ValueError, match="is not expected"):
        Network(other, weights, HOST, 1)(*images(other, 16, 16))


def test_a_shipped_model_gives_the_references_image() -> None:
    case = synthetic_case(4)
    size = (SIDE, SIDE)
    ours, theirs = (
        load_pipeline("tfs-rt/x4", backend=backend).fuse([case], ["a"], size=size)[0]
        for backend in ("winograd", "torch")
    )
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_a_network_that_does_not_fit_its_manifest_is_a_models_fault(tmp_path: Path) -> None:
    bundle = load_bundle("tfs-rt/x4")
    shutil.copy(bundle.path / "step.onnx", tmp_path)
    model = bundle.manifest.model
    changes: list[dict[str, Any]] = [
        {"inner_channel": 32},
        {"channel_multiplier": (1, 4)},
        {"inner_channel": 8, "norm_groups": 4},
    ]
    for change in changes:
        other = dataclasses.replace(model, architecture=dataclasses.replace(model.architecture, **change))
        files = {"fp32": bundle.manifest.files["fp32"]}
        write_manifest(tmp_path, dataclasses.replace(bundle.manifest, model=other, files=files))
        with pytest.raises(ModelError, match="not the network that model.json describes"):
            load_pipeline(tmp_path, backend="winograd")


def test_processors_with_other_registers_give_the_same_bits() -> None:
    arch = ARCHITECTURES["three levels, attention on two"]
    _, weights = reference(arch)
    inputs = images(arch, 12, 20)
    expected = Network(arch, weights, HOST, 1)(*inputs)
    for shape in SHAPES:
        np.testing.assert_array_equal(Network(arch, weights, shape, 2)(*inputs), expected)
