"""Counter-based Gaussian noise: each number can be computed on its own, on any machine, in any order.

The generator is Philox4x64-10 (Salmon et al., SC 2011; NumPy's bit generator). Its key is a SHA-256 of the seed and the
case's id, so that a case's noise depends neither on its batch nor on other cases. The counter's second word is the
draw: 0 starts the chain, i belongs to step i. Its first word counts blocks of four 64-bit words. Each word becomes two
numbers by Box-Muller, in float64:

    u1 = (low 32 bits + 1/2) / 2^32,  u2 = (high 32 bits + 1/2) / 2^32,
    z_2k = sqrt(-2 ln u1) cos(2 pi u2),  z_2k+1 = sqrt(-2 ln u1) sin(2 pi u2).
"""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np

from tfs_rt.images import Array

# In words at a time, so that intermediate values stay in the processor's cache.
BLOCK = 2**14


def noise_key(seed: int, case_id: str) -> int:
    """The 128-bit Philox key of one case."""
    text = f"tfs-rt/noise/1\0{seed}\0{unicodedata.normalize('NFC', case_id)}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def gaussian(key: int, draw: int, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers of a shape, in C order, float32."""
    # Two numbers from each word.
    count = int(np.prod(shape))
    words = np.random.Philox(key=key, counter=draw << 64).random_raw((count + 1) // 2)
    pairs = np.empty((len(words), 2), dtype=np.float32)

    # Box-Muller, block by block.
    for start in range(0, len(words), BLOCK):
        part = slice(start, start + BLOCK)
        u1 = ((words[part] & 0xFFFFFFFF) + 0.5) / 2.0**32
        angle = ((words[part] >> 32) + 0.5) / 2.0**32 * (2 * np.pi)
        radius = np.sqrt(-2 * np.log(u1))
        pairs[part, 0] = radius * np.cos(angle)
        pairs[part, 1] = radius * np.sin(angle)
    return pairs.ravel()[:count].reshape(shape)
