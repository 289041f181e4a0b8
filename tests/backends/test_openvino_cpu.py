"""`openvino` and `openvino-bf16`: what they compute, in which precision, and that nobody is told of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.bundles import answering, write_bundle
from support.helpers import Cli, read_png, write_case
from support.paths import ROOT
from tfs_rt.backends import openvino_cpu as ov_cpu
from tfs_rt.backends import ort_cpu
from tfs_rt.backends.host import HostEngine
from tfs_rt.backends.openvino_cpu import ov
from tfs_rt.errors import ModelError
from tfs_rt.images import Array
from tfs_rt.models.bundle import Bundle, load_bundle
from tfs_rt_bench.latency.peers import load_peer
from tfs_rt_reference.engine import load as load_reference
from tfs_rt_reference.network import UNet

HAS_BF16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
CASE = ROOT / "examples" / "mni-z060"


def inputs(rng: np.random.Generator, height: int, width: int, batch: int = 1) -> list[Array]:
    images = [rng.uniform(-1, 1, (batch, channels, height, width)).astype(np.float32) for channels in (9, 3)]
    return [*images, np.linspace(0.05, 0.9, batch, dtype=np.float32)[:, None]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What models are compiled for, on a processor that says it has bfloat16."""
    settings: list[dict[str, Any]] = []

    real = ov.Core

    class Core:
        def __init__(self) -> None:
            self.read_model = real().read_model

        def get_property(self, device: str, name: str) -> Any:
            return ["BF16"] if name == "OPTIMIZATION_CAPABILITIES" else real().get_property(device, name)

        def compile_model(self, model: Any, device: str, config: dict[str, Any]) -> Any:
            settings.append(config)
            return real().compile_model(model, device, config)

    monkeypatch.setattr(ov, "Core", Core)
    return settings


@pytest.fixture(scope="module")
def engine() -> HostEngine:
    return ov_cpu.load(load_bundle("tfs-rt/x4"))


def test_its_answers_are_onnx_runtimes(engine: HostEngine, rng: np.random.Generator) -> None:
    given = inputs(rng, 64, 48, batch=3)
    expected = ort_cpu.load(load_bundle("tfs-rt/x4")).predict(*given)
    np.testing.assert_allclose(engine.predict(*given), expected, atol=2e-5)  # float32, sums in another order


def test_a_network_that_has_seen_other_sizes_gives_the_bits_of_a_new_one(
    engine: HostEngine, rng: np.random.Generator
) -> None:
    """One network is compiled for all sizes: what it prepares for one of them must not show in the others."""
    given = [inputs(rng, *size) for size in ((64, 64), (16, 24), (128, 96), (40, 200))]
    alone = [ov_cpu.load(load_bundle("tfs-rt/x4")).predict(*each) for each in given]
    for i in (2, 0, 3, 1, 0, 2, 1, 3):
        np.testing.assert_array_equal(engine.predict(*given[i]), alone[i])


def test_a_batch_gives_the_bits_of_its_images(engine: HostEngine, rng: np.random.Generator) -> None:
    given = inputs(rng, 32, 48, batch=4)
    together = engine.predict(*given)
    for i in range(4):
        np.testing.assert_array_equal(together[i : i + 1], engine.predict(*(value[i : i + 1] for value in given)))


def test_an_answer_is_not_overwritten_by_the_next(engine: HostEngine, rng: np.random.Generator) -> None:
    first = engine.network(*inputs(rng, 32, 32))
    kept = first.copy()
    engine.network(*inputs(rng, 32, 32))
    np.testing.assert_array_equal(first, kept)


def test_callers_on_several_threads_get_their_own_answers(engine: HostEngine, rng: np.random.Generator) -> None:
    given = [inputs(rng, 16, side) for side in (16, 24, 32, 40)]
    expected = [engine.network(*each) for each in given]
    with ThreadPoolExecutor(4) as pool:
        for i, answer in enumerate(pool.map(lambda i: engine.network(*given[i % 4]), range(160))):
            np.testing.assert_array_equal(answer, expected[i % 4])


def test_the_sidecar_names_the_threads_that_decide_last_bits(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(tmp_path / "in" / "k0")
    monkeypatch.setattr(ov_cpu, "library_threads", lambda asked: 1)
    for backend in ("openvino", "ort-cpu"):
        assert cli("fuse", tmp_path / "in", "-o", tmp_path / backend, "--backend", backend).code == 0
    told = [json.loads((tmp_path / backend / "k0.json").read_text()) for backend in ("openvino", "ort-cpu")]
    assert (told[0]["backend"], told[0]["threads"]) == ("openvino", 1)
    assert told[0]["versions"]["openvino"] == ov.get_version()
    assert "threads" not in told[1]  # ONNX Runtime's bits do not depend on them: test_pipeline
    images = [read_png(tmp_path / backend / "k0.png").astype(int) for backend in ("openvino", "ort-cpu")]
    assert np.abs(images[0] - images[1]).max() <= 1


def test_a_network_runs_in_the_precision_that_the_backend_names(asked: list[dict[str, Any]]) -> None:
    bundle = load_bundle("tfs-rt/x4")
    for load in (ov_cpu.load, ov_cpu.load_bf16):
        load(bundle)
    assert [settings["INFERENCE_PRECISION_HINT"] for settings in asked] == ["f32", "bf16"]


@pytest.mark.skipif(HAS_BF16, reason="this processor computes in bfloat16")
def test_without_bfloat16_there_is_a_line_and_no_float32_in_its_stead(cli: Cli, tmp_path: Path) -> None:
    write_case(tmp_path / "in" / "k0")
    ended = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--backend", "openvino-bf16")
    assert ended.code == 6
    assert len(ended.err.splitlines()) == 1
    assert "does not compute in bfloat16" in ended.err
    assert "use --backend openvino, in float32" in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not HAS_BF16, reason="this processor does not compute in bfloat16")
def test_bfloat16_is_near_float32_and_not_it(engine: HostEngine, rng: np.random.Generator) -> None:
    given = inputs(rng, 64, 64)
    half = ov_cpu.load_bf16(load_bundle("tfs-rt/x4")).predict(*given)
    single = engine.predict(*given)
    assert 1e-5 < np.linalg.norm(half - single) / np.linalg.norm(single) < 3e-2  # 8 bits of mantissa: 4e-3 a product


def test_without_the_package_the_command_to_install_it_is_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(tmp_path / "in" / "k0")
    monkeypatch.delitem(sys.modules, "tfs_rt.backends.openvino_cpu")
    monkeypatch.setitem(sys.modules, "openvino", None)
    ended = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--backend", "openvino")
    assert ended.code == 6
    absent = "tfs-rt: backend openvino: the package 'openvino' is not installed: pip install 'tfs-rt[openvino]'"
    assert ended.err.splitlines() == [absent]


@pytest.mark.parametrize("network", [b"hello world", answering(["b", 3, 1, 1]), b""])
def test_what_is_no_network_of_the_manifest_is_refused(tmp_path: Path, network: bytes) -> None:
    with pytest.raises(ModelError, match=r"is not a valid ONNX file|is not the network"):
        ov_cpu.load(load_bundle(write_bundle(tmp_path / "b", network)))


def test_a_fault_while_it_runs_is_told_without_the_lines_of_its_sources(engine: HostEngine) -> None:
    condition = np.zeros((1, 9, 8, 8), np.float32)
    x_t = np.zeros((1, 2, 8, 8), np.float32)
    with pytest.raises(RuntimeError, match="^Can't set the input tensor"):
        engine.network(condition, x_t, np.ones((1, 1), np.float32))


def test_nothing_is_sent_and_nothing_is_written_but_results(tmp_path: Path) -> None:
    """OpenVINO's converter, which its package imports by itself, sends a message and writes an identity into HOME."""
    (tmp_path / "home").mkdir()
    code = (
        "import os, sys\n"
        "from importlib.util import find_spec\n"
        "def watch(event, told):\n"
        "    named = event == 'open' and isinstance(told[0], (str, bytes, os.PathLike))\n"
        "    written = named and told[2] & (os.O_WRONLY | os.O_RDWR)\n"
        "    if event.startswith(('socket.', 'urllib.', 'http.')) or event == 'os.mkdir' or written:\n"
        "        print(event, os.path.relpath(os.fsdecode(told[0])) if written or event == 'os.mkdir' else told)\n"
        "sys.addaudithook(watch)\n"
        "from tfs_rt.cli import main\n"
        f"sys.argv = ['tfs-rt', 'fuse', {str(CASE)!r}, '-o', 'out', '--backend', 'openvino', '-q']\n"
        "try: main()\n"
        "except SystemExit as end: print('end', end.code, [m for m in sys.modules if 'telemetry' in m])\n"
        "assert find_spec('openvino.tools.ovc')"  # whoever wants it can have it
    )
    env = {"HOME": str(tmp_path / "home"), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}  # and no CI
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, check=True)
    *lines, end = done.stdout.splitlines()
    assert end == "end 0 []"
    assert [line for line in lines if not line.endswith("/dev/null") and line.split()[1].split("/")[0] != "out"] == []
    assert len(lines) > 3  # the results were seen
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such stacks")
def test_a_signal_finds_its_stack_whatever_order_engines_end_in() -> None:
    code = """
import faulthandler, os, signal
faulthandler.enable()  # signals are handled on a stack of their own
signal.signal(signal.SIGUSR1, lambda *_: None)
from tfs_rt.backends.openvino_cpu import load
from tfs_rt.models.bundle import load_bundle
bundle = load_bundle("tfs-rt/x4")
first, second = load(bundle), load(bundle)
os.kill(os.getpid(), signal.SIGUSR1)
del first
del second
os.kill(os.getpid(), signal.SIGUSR1)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_the_peer_as_it_comes_is_the_same_network(halved: tuple[Bundle, UNet], rng: np.random.Generator) -> None:
    bundle = halved[0]
    condition, x_t = (rng.standard_normal((2, channels, 16, 24), dtype=np.float32) for channels in (9, 3))
    level = np.array([[0.2], [0.9]], np.float32)
    peer = load_peer("openvino", bundle)
    if peer.precision == "fp32":
        expected = load_reference(bundle).predict(condition, x_t, level)
        np.testing.assert_allclose(peer.network(condition, x_t, level), expected, atol=2e-4)
