"""The network by our own kernels: against the reference in PyTorch, and against itself on other threads."""

from __future__ import annotations

import copy
import dataclasses
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llvmlite import binding as llvm

import tfs_rt.backends
from support.helpers import TINY
from tfs_rt.backends.winograd import layout, toom
from tfs_rt.backends.winograd.kernels import Shape
from tfs_rt.backends.winograd.machine import host_shape, source
from tfs_rt.backends.winograd.network import Network
from tfs_rt.errors import EnvironmentFault, ModelError
from tfs_rt.images import Array
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.models.bundle import load_bundle
from tfs_rt.models.manifest import write_manifest
from tfs_rt.models.onnx.weights import Weights
from tfs_rt.models.self_test import SIDE, synthetic_case
from tfs_rt.spec import Architecture
from tfs_rt_reference.network import UNet

WIDE = dataclasses.replace(TINY, inner_channel=32, norm_groups=8)
HOST = host_shape()
SHAPES = [HOST, Shape(4, 6, 4), Shape(16, 12, 2)]  # those of other processors run here too, in more instructions
ARCHITECTURES = {
    "gate over all": WIDE,
    "gate over the condition": dataclasses.replace(WIDE, gate="condition"),
    "SR3": dataclasses.replace(WIDE, gate="none", in_channel=6),
    "three levels, attention on two": dataclasses.replace(
        WIDE, channel_multiplier=(1, 2, 4), attention_levels=(1, 2), res_blocks=2
    ),
    "folded, with a skip": dataclasses.replace(WIDE, patch_size=2, condition_skip=True),
    "not folded, with a skip": dataclasses.replace(WIDE, condition_skip=True),
    "folded, a layer as large as the condition": dataclasses.replace(
        WIDE, patch_size=4, condition_skip=True, inner_channel=144, norm_groups=16
    ),
    "levels that narrow": dataclasses.replace(WIDE, channel_multiplier=(4, 2, 1), attention_levels=()),
    "preconditioned": dataclasses.replace(WIDE, patch_size=4, sigma_data=0.05),
    "as many channels in as in a layer": dataclasses.replace(WIDE, patch_size=4, inner_channel=96, norm_groups=16),
}


def reference(arch: Architecture, seed: int = 0) -> tuple[UNet, Weights]:
    torch.manual_seed(seed)
    network = UNet(arch).eval().requires_grad_(requires_grad=False)
    for tensor in network.state_dict().values():
        if tensor.ndim == 1:  # norms and biases that do nothing would hide what is wrong with them
            tensor += 0.2 * torch.randn(tensor.shape)
    return network, {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def images(arch: Architecture, h: int, w: int) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(h * w)
    condition = random.uniform(-1, 1, (1, arch.condition_channels, h, w)).astype(np.float32)
    return condition, random.standard_normal((1, 3, h, w)).astype(np.float32), np.array([[0.3]], dtype=np.float32)


def relative(found: Array, expected: Array) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_winograds_products_are_a_convolution() -> None:
    random = np.random.default_rng(0)
    d, g = random.standard_normal((6, 6)), random.standard_normal((3, 3))
    products = (toom.filters() @ g @ toom.filters().T) * (toom.inputs() @ d @ toom.inputs().T)
    direct = [[(d[i : i + 3, j : j + 3] * g).sum() for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(toom.outputs() @ products @ toom.outputs().T, direct, atol=1e-13)


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
def test_every_way_to_lay_it_out_is_the_reference(shape: Shape, parts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
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
    inputs, other = images(arch, 40, 24), images(arch, 16, 16)
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


def in_a_process(code: str) -> str:
    """What it prints; without PyTorch, which takes seconds to import."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


ON_FOUR_THREADS = """
import os, signal
import numpy as np
from tfs_rt.models.bundle import load_bundle
from tfs_rt.backends.winograd.machine import host_shape
from tfs_rt.backends.winograd.network import Network
bundle = load_bundle("tfs-rt/x4")
ours = Network(bundle.manifest.model.architecture, bundle.weights(), host_shape(), 4)
given = [np.full((1, channels, 32, 32), 0.5, np.float32) for channels in (9, 3)] + [np.full((1, 1), 0.5, np.float32)]
expected = ours(*given)
"""


def test_a_signal_in_the_midst_of_a_step_leaves_no_thread_waiting() -> None:
    code = """
signal.signal(signal.SIGALRM, signal.default_int_handler)
for i in range(100):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4 + i * 5e-5)
        while True: assert np.array_equal(ours(*given), expected)
    except KeyboardInterrupt: pass
print("ended")
"""
    assert in_a_process(ON_FOUR_THREADS + code) == "ended\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    code = """
child = os.fork()
if not child: os._exit(not np.array_equal(ours(*given), expected))
print(os.waitpid(child, 0)[1])
"""
    assert in_a_process(ON_FOUR_THREADS + code) == "0\n"


BUSY = """
import threading, time
def compute():
    while True: ours(*given)
for _ in range(2): threading.Thread(target=compute, daemon=True).start()
answers = []
for _ in range(12):
    time.sleep(0.01)
    child = os.fork()
    if not child:
        signal.alarm(20)  # ends it, if it waits for what is not there
        os._exit(not np.array_equal(ours(*given), expected))
    answers.append(os.waitpid(child, 0)[1])
print(answers)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_forked_while_other_threads_compute_does_not_wait_for_them() -> None:
    """Their lock, and their program half done, come along without them."""
    assert in_a_process(ON_FOUR_THREADS + BUSY) == f"{[0] * 12}\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_forked_while_weights_are_packed_has_all_of_them() -> None:
    code = """
from tfs_rt.backends.winograd.packing import Packing
def fork_then(packing, matrices):
    global child
    Packing._panels = real
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(not np.array_equal(fresh(*given), expected))
    return real(packing, matrices)
real, fresh = Packing._panels, Network(bundle.manifest.model.architecture, bundle.weights(), host_shape(), 2)
Packing._panels = fork_then
def compute(): assert np.array_equal(fresh(*given), expected)
import threading
thread = threading.Thread(target=compute)
thread.start()
thread.join()
print(os.waitpid(child, 0)[1])
"""
    assert in_a_process(ON_FOUR_THREADS + code) == "0\n"


def test_an_interrupt_while_weights_are_packed_loses_none() -> None:
    arch = WIDE
    ours = Network(arch, reference(arch)[1], HOST, 2)
    real = ours.packing._panels

    def interrupt(matrices: Array) -> Array:
        ours.packing._panels = real
        raise KeyboardInterrupt

    ours.packing._panels = interrupt
    with pytest.raises(KeyboardInterrupt):
        ours(*images(arch, 16, 16))
    np.testing.assert_array_equal(
        ours(*images(arch, 16, 16)), Network(arch, reference(arch)[1], HOST, 1)(*images(arch, 16, 16))
    )


def test_a_program_under_way_at_the_end_of_a_process_does_not_crash_it() -> None:
    code = """
import threading
from tfs_rt.backends.winograd.thread_pool import Job
(program,) = ours.programs.values()
for _ in range(20): ours.thread_pool.jobs.put(Job(program.table, program, __import__("queue").SimpleQueue()))
print("ended")
"""
    command = [sys.executable, "-W", "ignore", "-c", ON_FOUR_THREADS + code]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "ended\n"), ended.stderr


def test_one_call_at_a_time_enters_the_thread_pool() -> None:
    """Two calls share the program's buffers: without a lock, one would write its image over the other's."""
    ours = Network(WIDE, reference(WIDE)[1], HOST, 2)
    first, second = images(WIDE, 16, 16), images(WIDE, 16, 16)
    second = (-second[0], second[1], second[2])
    expected = [ours(*first), ours(*second)]
    entered, inside = threading.Event(), []
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


WITHOUT_PROC = 'mount -t tmpfs none /proc && exec "$@"'


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_without_proc_it_runs_and_auto_takes_it() -> None:
    code = """
import os
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.doctor.probes import backend
assert not os.path.exists("/proc/self")
pipeline = load_pipeline("tfs-rt/x4")
print(pipeline.backend, repr(pipeline.reason), backend("winograd")["version"] != "")
"""
    namespace = ["unshare", "--mount", "--map-root-user", "sh", "-c", WITHOUT_PROC, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*namespace, "true"], check=False, stderr=-3).returncode:
        pytest.skip("this system lets /proc not be hidden")
    command = [*namespace, sys.executable, "-W", "ignore", "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "winograd '' True\n", ended.stderr


def test_where_generated_code_may_not_run_it_says_so_and_auto_takes_another() -> None:
    code = """
import ctypes
from tfs_rt.errors import EnvironmentFault
from tfs_rt.methods.diffusion import load_pipeline
print(getattr(ctypes.CDLL(None), "prctl", lambda *_: -1)(65, 1, 0, 0, 0))  # PR_SET_MDWE, Linux 6.3
pipeline = load_pipeline("tfs-rt/x4")
print(pipeline.backend)
print(pipeline.reason)
try: load_pipeline("tfs-rt/x4", backend="winograd")
except EnvironmentFault as fault: print(fault.reason)
"""
    forbidden, *said = in_a_process(code).splitlines()
    if forbidden != "0":
        pytest.skip("this system cannot forbid it")
    reason = "this system does not let a program run code that it has generated"
    assert said == ["ort-cpu", f"winograd does not run: {reason}", reason]


@pytest.mark.parametrize(
    ("module", "fault"),
    [
        ("llvmlite", OSError("Could not find libllvmlite.so")),
        ("tfs_rt.backends.winograd.emit", TypeError("of an old llvmlite")),
    ],
)
def test_an_llvmlite_that_does_not_do_is_told_and_auto_takes_another(
    module: str, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == module:
                raise fault

    # the package's attribute is set back as well, not only sys.modules
    monkeypatch.setattr(tfs_rt.backends, "winograd", sys.modules["tfs_rt.backends.winograd"])
    for name in [name for name in sys.modules if name.startswith(("llvmlite", "tfs_rt.backends.winograd"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert load_pipeline("tfs-rt/x4").backend == "ort-cpu"
    with pytest.raises(EnvironmentFault, match=rf"cannot be loaded \({fault}\): pip install"):
        load_pipeline("tfs-rt/x4", backend="winograd")


def test_kernels_that_cannot_be_compiled_are_an_environments_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def machine(shape: Shape) -> None:
        raise AttributeError("of another llvmlite")

    monkeypatch.setattr("tfs_rt.backends.winograd.backend.machine", machine)
    assert load_pipeline("tfs-rt/x4").backend == "ort-cpu"
    with pytest.raises(EnvironmentFault, match="cannot be compiled"):
        load_pipeline("tfs-rt/x4", backend="winograd")


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


def test_it_compiles_for_processors_that_are_not_here() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    for shape, triple, processor in (
        (Shape(16, 12, 2), "x86_64-unknown-linux-gnu", "skylake-avx512"),
        (Shape(8, 6, 2), "x86_64-pc-windows-msvc", "haswell"),
        (Shape(4, 6, 4), "aarch64-unknown-linux-gnu", "neoverse-n1"),
        (Shape(4, 6, 4), "arm64-apple-macosx14", "apple-m1"),
    ):
        target = llvm.Target.from_triple(triple).create_target_machine(cpu=processor, opt=2)
        module = llvm.parse_assembly(source(shape))
        module.verify()
        assert len(target.emit_object(module)) > 10_000


def test_a_shipped_model_gives_the_references_image() -> None:
    case, size = synthetic_case(4), (SIDE, SIDE)
    ours, theirs = (
        load_pipeline("tfs-rt/x4", backend=backend).fuse([case], ["a"], size=size)[0]
        for backend in ("winograd", "torch")
    )
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_a_network_that_does_not_fit_its_manifest_is_a_models_fault(tmp_path: Path) -> None:
    bundle = load_bundle("tfs-rt/x4")
    shutil.copy(bundle.path / "step.onnx", tmp_path)
    model = bundle.manifest.model
    for change in ({"inner_channel": 32}, {"channel_multiplier": (1, 4)}, {"inner_channel": 8, "norm_groups": 4}):
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
