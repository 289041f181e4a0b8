"""The machine of a bench: processor, memory, system, versions and commit, and the arithmetic of a step."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tfs_rt import __version__
from tfs_rt.errors import EnvironmentFault
from tfs_rt.optional import import_optional
from tfs_rt.spec import Architecture
from tfs_rt.system.threads import processor_count
from tfs_rt_bench.latency.record import Machine

ROOT = Path(__file__).resolve().parents[3]  # root of a checkout
BUSY = 0.5  # share of the processors; a higher load spoils the measurement


def machine(gpu: str, versions: dict[str, str], limits: tuple[float, float]) -> Machine:
    """This machine, with its measured limits (GFLOP/s, GB/s) and the versions that the rows ran."""
    return Machine(
        processor=processor_name(),
        cores=processor_count(),
        memory=_memory(),
        system=platform.platform(),
        gpu=gpu,
        versions={"tfs-rt": __version__, "python": platform.python_version(), **dict(sorted(versions.items()))},
        commit=commit(ROOT),
        gemm_gflops=limits[0],
        bandwidth_gb=limits[1],
    )


def measured_limits() -> tuple[float, float]:
    """GFLOP/s of a float32 matrix product and GB/s of a copy, by `roofline` in a process of its own."""
    try:
        command = [sys.executable, "-P", "-m", "tfs_rt_bench.latency.roofline"]
        ended = subprocess.run(command, capture_output=True, check=True)
        gemm, copy = json.loads(ended.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        reason = f"cannot measure what this machine can do ({type(error).__name__})"
        raise EnvironmentFault("bench", reason, "free 2 GB of memory") from error
    return gemm, copy


def step_gflop(arch: Architecture, size: tuple[int, int]) -> float:
    """GFLOP of one step for one image: multiplications and additions of its convolutions and matrix products.

    Counted by PyTorch over the reference network, without computing it; H and W are padded to the network's stride.
    """
    remedy = "pip install 'tfs-rt[export]'"
    torch: Any = import_optional("torch", "bench", remedy)
    counter: Any = import_optional("torch.utils.flop_counter", "bench", remedy)
    network: Any = import_optional("tfs_rt_reference.network", "bench", remedy)
    height, width = (side + -side % arch.stride for side in size)
    with torch.device("meta"), torch.no_grad(), counter.FlopCounterMode(display=False) as flops:
        image = torch.empty(1, arch.out_channel, height, width)
        network.UNet(arch).eval()(torch.empty(1, arch.condition_channels, height, width), image, torch.empty(1, 1))
    return flops.get_total_flops() / 1e9


def load_warning() -> str:
    """A note if this machine is busy with something else; empty if it is idle or its load is unknown."""
    if not hasattr(os, "getloadavg"):
        return ""
    load = os.getloadavg()[0]
    count = processor_count()
    if load <= BUSY * count:
        return ""
    return f"this machine is busy (load {load:.1f} on {count} processors): times are too long, some more than others"


def commit(root: Path) -> str:
    """The commit of a checkout, with `-dirty` if files differ; "" elsewhere."""
    if not (root / ".git").exists():
        return ""
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return ""


def processor_name() -> str:
    """The processor, as the system calls it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int:
    """Bytes of memory; 0 where the system does not tell."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0
