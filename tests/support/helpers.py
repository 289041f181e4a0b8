"""Small things that several tests build with."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tfs_rt.formats.picture import Content, FileOptions, Picture
from tfs_rt.formats.registry import read_picture
from tfs_rt.formats.sandboxed import SandboxedReader
from tfs_rt.images import RGB, Array
from tfs_rt.sampling.engine import reverse_step
from tfs_rt.sampling.schedule import sigma_range
from tfs_rt.sampling.tables import StepRow
from tfs_rt.sandbox.parts import Parts
from tfs_rt.spec import Architecture, ModelSpec, Prediction, Recipe, Schedule

TINY = Architecture(
    in_channel=12,
    out_channel=3,
    inner_channel=8,
    norm_groups=4,
    channel_multiplier=(1, 2),
    attention_levels=(1,),
    res_blocks=1,
    gate="all",
)
COMPACT = dataclasses.replace(
    TINY, gate="condition", patch_size=2, condition_skip=True, sigma_data=0.5, attention_levels=()
)
PAPER_SCHEDULE = Schedule(schedule="linear", n_timestep=4000, linear_start=1e-6, linear_end=1e-2)
FEW = Recipe(sampler="ddim", steps=4, eta=0.0, spacing="log-snr", sigma_max=20.0, sigma_min=0.02)


def model_spec(architecture: Architecture = TINY, prediction: Prediction = "eps", **changes: Any) -> ModelSpec:
    spec = ModelSpec(
        architecture=architecture,
        prediction=prediction,
        schedule=changes.pop("schedule", PAPER_SCHEDULE),
        scale=4,
        trained_size=256,
        sigma_range=(1.0, 1.0),
    )
    return dataclasses.replace(spec, sigma_range=changes.pop("sigma_range", sigma_range(spec.schedule)), **changes)


class NumpyEngine:
    """The tests' engine: any function of (condition, x_t, noise_level) as the network, arrays as handles."""

    def __init__(self, spec: ModelSpec, predict: Callable[[Array, Array, Array], Array]) -> None:
        self.spec = spec
        self.predict = predict
        self.facts: dict[str, Any] = {}

    def to_device(self, array: Array, /) -> Array:
        return array

    def to_host(self, handle: Array, /) -> Array:
        return handle

    def step(
        self, x_t: Array, x_0: Array | None, condition: Array, row: StepRow, z: Array | None, /
    ) -> tuple[Array, Array]:
        level = np.full((len(x_t), 1), row.noise_level, dtype=np.float32)
        return reverse_step(self.predict(condition, x_t, level), x_t, x_0, row, z)


def png(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def rewrite_chunk(data: bytes, kind: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A PNG with one chunk's content changed and its CRC made right again."""
    at = data.index(kind) - 4
    (length,) = struct.unpack_from(">I", data, at)
    content = change(data[at + 8 : at + 8 + length])
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data[:at] + chunk + data[at + 12 + length :]


def write_case(folder: Path, *, size: int = 16, functional: str = "pet", m1: str = "mr-t1") -> Path:
    """A case folder of three small made images."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:size, 0:size]
    disc = (np.hypot(y - size / 2, x - size / 2) < size * 0.4).astype(np.uint8)
    (folder / f"{m1}.png").write_bytes(png(disc * 150))
    (folder / "mr-t2.png").write_bytes(png((disc * (x * 255 // size)).astype(np.uint8)))
    colour = np.stack([disc * 220, disc * (y * 255 // size).astype(np.uint8), disc * 30], axis=-1)
    (folder / f"{functional}.png").write_bytes(png(colour))
    return folder


class InProcessReader(SandboxedReader):
    """Reads in this process, for tests that count its system calls."""

    def read(self, data: Content, path: Path, options: FileOptions) -> Picture:
        return read_picture(data, path, options)

    def sandbox_parts(self) -> Parts:
        return Parts(())


def read_png(path: Path) -> RGB:
    (image,) = read_picture(path.read_bytes(), path, FileOptions()).slices
    return image


class Outcome(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]
