"""Nothing that tfs-rt imports sends or writes usage data.

`pytest tests/promises/test_privacy.py -m "" -s` prints a log.

For every extra a new process works with it once and imports its packages, where nothing tells a library to be quiet:
`CI` is unset, and the home folder is new. It may try no connection, and write no file but results and known caches.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from support.helpers import TINY, model_spec, png
from support.paths import ROOT
from support.tracing import Trace, has_strace, trace
from tfs_rt.backends import ort_cpu
from tfs_rt.models.bundle import load_bundle
from tfs_rt_reference.checkpoints.load import save_checkpoint
from tfs_rt_reference.network import UNet

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = (ROOT / "tfs_rt", *(ROOT / room / f"tfs_rt_{room}" for room in ("export", "reference", "bench")))
CASE = ROOT / "examples" / "mni-z060"
OUR_CACHE = ["home/.cache", "home/.cache/tfs-rt*"]
NUMBA = ["*/tfs_rt/methods/*/__pycache__", "*.nb[ci]*", "home/.cache", "home/.cache/numba*"]
TORCH = ["temporary/torchinductor_*"]  # an empty folder
CACHES = {  # what may be left: compiled code and the folders for it, which tell nothing of any use
    **{"": OUR_CACHE, "cuda": OUR_CACHE, "rtx": OUR_CACHE},
    **{"imports": NUMBA, "fusion": NUMBA, "train": [*TORCH, *NUMBA], "metrics": NUMBA, "export": TORCH},
}
SLOW = ("", "openvino", "export", "train", "fusion", "metrics", "register", "cuda", "rtx")
USES = {
    "": "tfs('doctor --json')",
    "cpu": f"tfs('fuse {CASE} -o a --backend ort-cpu'); tfs('fuse {CASE} -o b --backend winograd')",
    "openvino": f"""
from tfs_rt.models.bundle import load_bundle
from tfs_rt_bench.latency.peers import load_peer
load_peer("openvino", load_bundle("tfs-rt/x4"))
tfs("fuse {CASE} -o a --backend openvino")
""",
    "export": "tfs('export {inputs}/tiny.safetensors -o a'); tfs('inspect {inputs}/tiny.safetensors')",
    "train": "tfs('train {made_set} -o a --scale 4 --set iterations=2 --set batch=1 --set crop=32')",
    "fusion": f"tfs('fuse {CASE} -o a --method bitonicx'); tfs('fuse {CASE} -o b --method ctsr')",
    "metrics": "tfs('eval {inputs}/results {inputs}/truth -o a')",
    "dicom": """
from collections import defaultdict
from pydicom.data import get_testdata_file
from tfs_rt.formats.dicom.write import encode
from tfs_rt.formats.picture import FileOptions
from tfs_rt.formats.registry import read_picture
from tfs_rt.spec import SLOTS
for name in ("CT_small.dcm", "JPEG2000.dcm", "JPEGLSNearLossless_08.dcm", "MR_small_RLE.dcm"):
    path = Path(get_testdata_file(name, download=False))
    picture = read_picture(path.read_bytes(), path, FileOptions(allow_lossy=True))
encode(list(picture.slices), dict.fromkeys(SLOTS, picture.frame), defaultdict(str))
""",
    "jpeg": """
from pydicom.data import get_testdata_file
from tfs_rt.formats.picture import FileOptions
from tfs_rt.formats.registry import read_picture
path = Path(get_testdata_file("SC_rgb_jpeg_gdcm.dcm", download=False))
read_picture(path.read_bytes(), path, FileOptions())
""",
    "nifti": """
import nibabel, numpy
os.mkdir("case")
for number, name in enumerate(("mr-t1", "mr-t2", "pet")):
    voxels = numpy.random.default_rng(number).integers(0, 256, (16, 16, 2)).astype("uint8")
    nibabel.save(nibabel.Nifti1Image(voxels, numpy.eye(4)), "case/" + name + ".nii.gz")
tfs("fuse case -o a --colormap hot")
""",
    "register": """
import numpy
from tfs_rt.formats.volume import Volume
from tfs_rt.geometry.register import register
values = numpy.random.default_rng(0).random((16, 16, 16)).cumsum(0).cumsum(1).cumsum(2).astype("float32")
image = Volume(values, numpy.diag([4.0, 4.0, 4.0, 1.0]))
register(image, image)
""",
    "cuda": """
from tfs_rt.backends.cache import open_cache
from tfs_rt.backends.gpu.compiler import kernel_code
kernel_code("8.9", open_cache())
""",
    "rtx": "tfs('build tfs-rt/x4 --engine tensorrt-rtx --compute-capability 8.9 --size 64')",
}

NATIVE = """
import ctypes, socket, struct
libc = ctypes.CDLL(None)
os.close(libc.open(os.path.expanduser("~/id").encode(), os.O_WRONLY | os.O_CREAT, 0o600))
with socket.socket() as made:
    libc.connect(made.fileno(), struct.pack("=HH4s8x", socket.AF_INET, 9, bytes([127, 0, 0, 1])), 16)
"""


def required(extra: str) -> set[str]:
    """The distributions that an extra names, with those of the extras that it takes in."""
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    names: set[str] = set()
    for line in lines:
        match = re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", line)
        assert match
        name, also = match.groups()
        names |= set().union(*map(required, also.split(","))) if name == "tfs-rt" else {name}
    return names


def packages(extra: str) -> dict[str, str]:
    """The installed packages of an extra's distributions, and each distribution with its version."""
    wanted = {re.sub(r"[-_.]+", "-", name).lower() for name in required(extra)}
    found: dict[str, str] = {}
    for package, distributions in metadata.packages_distributions().items():
        for name in distributions:
            if re.sub(r"[-_.]+", "-", name).lower() in wanted and package.isidentifier():
                found[package] = f"{name} {metadata.version(name)}"
    return found


def modules() -> list[str]:
    """The names of all modules of ours."""
    files = [path.relative_to(package.parent) for package in SOURCES for path in package.rglob("*.py")]
    return sorted(".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files)


def check(name: str, about: str, found: Trace) -> None:
    """No connection, and no file but the caches that are known; a line for the log."""
    odd = [path for path in found.written if not any(fnmatch(path, kind) for kind in CACHES.get(name, []))]
    caches = len(found.written) - len(odd)
    counts = f"{len(found.connections)} connections tried, {len(odd)} files written, {caches} of caches"
    print(f"\n[{name or 'tfs-rt'}] {about}: {counts} ({found.observers})")  # noqa: T201
    assert (found.connections, odd) == ([], [])


@pytest.mark.skipif(sys.platform == "win32", reason="the code is for POSIX's C library")
def test_a_file_and_a_connection_of_native_code_are_seen(tmp_path: Path) -> None:
    found = trace(NATIVE, tmp_path)
    assert found.written == ["home/id"]
    assert (len(found.connections) > 0) == has_strace()


def test_what_python_itself_writes_and_connects_to_is_seen(tmp_path: Path) -> None:
    code = "import socket\nPath = __import__('pathlib').Path\n(Path.home() / 'id').write_text('')\n"
    code += "socket.socket().connect_ex(('127.0.0.1', 9))\n"
    found = trace(code, tmp_path)
    assert found.written == ["home/id"]
    assert "socket.connect (('127.0.0.1', 9),)" in found.connections


@pytest.mark.parametrize("package", ["tfs_rt", "tfs_rt_export", "tfs_rt_reference", "tfs_rt_bench"])
@pytest.mark.parametrize("before", ["", "0"])
def test_every_package_of_ours_disables_the_report_of_onnx_runtime(package: str, before: str) -> None:
    """Python imports a package before its modules: so the report is disabled before any of them imports onnxruntime."""
    code = f"import os, {package}; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    env = {**os.environ, "ORT_DISABLE_TELEMETRY": before, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


def test_a_session_is_made_after_onnx_runtimes_own_switch_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves a program that imported onnxruntime before tfs_rt, and Windows builds that know no variable."""
    calls: list[str] = []
    session = ort_cpu.ort.InferenceSession
    monkeypatch.setattr(ort_cpu.ort, "disable_telemetry_events", lambda: calls.append("off"))
    monkeypatch.setattr(ort_cpu.ort, "InferenceSession", lambda *a, **k: (calls.append("session"), session(*a, **k))[1])
    ort_cpu.load(load_bundle("tfs-rt/x4"))
    assert calls == ["off", "session"]


@pytest.mark.parametrize("package", ["tfs_rt.", pytest.param("tfs_rt", marks=pytest.mark.slow)])
def test_no_module_of_ours_sends_or_writes_anything_when_it_is_imported(package: str, tmp_path: Path) -> None:
    """The runtime's modules, and in the slow tests those of all packages."""
    names = [name for name in modules() if name.startswith(package) and not name.endswith("__main__")]
    code = f"""
from importlib import import_module
for name in {names!r}:
    try:
        import_module(name)
    except ModuleNotFoundError as error:  # of an extra that is not installed
        assert not error.name.startswith("tfs_rt"), name
"""
    check("imports", f"{len(names)} modules of tfs-rt", trace(code, tmp_path))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and images of results and of ground truth."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    save_checkpoint(folder / "tiny.safetensors", UNet(TINY), model_spec())
    for name in ("results", "truth"):
        (folder / name).mkdir()
        (folder / name / "a.png").write_bytes(png(rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)))
    return folder


@pytest.mark.parametrize(
    "extra", [pytest.param(extra, marks=pytest.mark.slow) if extra in SLOW else extra for extra in USES]
)
def test_no_extra_sends_or_writes_usage_data(
    extra: str, inputs: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    brought = packages(extra)
    if not brought:
        pytest.skip(f"tfs-rt[{extra}] is not installed")
    made_set = request.getfixturevalue("made_set") if extra == "train" else ""
    work = USES[extra].format(inputs=inputs, made_set=made_set)
    imports = "".join(f"import {name}\n" for name in sorted(brought))
    found = trace(f"from pathlib import Path\n{work}\n{imports}", tmp_path)
    check(extra, ", ".join(sorted(set(brought.values()))), found)


def test_every_extra_is_looked_at() -> None:
    """A new dependency is looked at as soon as an extra names it; a new extra needs a use."""
    elsewhere = {"dev", "gpu", "tensorrt", "examples"}  # made of others; not installed beside [cpu], or not by [dev]
    assert set(PROJECT["optional-dependencies"]) - elsewhere == set(USES) - {""}
