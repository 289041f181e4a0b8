import hashlib

import numpy as np
import pytest

from tfs_rt.sampling.noise import gaussian, noise_key

MASK = 2**64 - 1


def philox4x64_10(counter: list[int], key: list[int]) -> list[int]:
    """Salmon et al. 2011, written out in Python's integers."""
    c = list(counter)
    k = list(key)
    for _ in range(10):
        p0 = c[0] * 0xD2E7470EE14C6C93
        p1 = c[2] * 0xCA5A826395121157
        c = [(p1 >> 64) ^ c[1] ^ k[0], p1 & MASK, (p0 >> 64) ^ c[3] ^ k[1], p0 & MASK]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return c


def test_the_written_out_philox_meets_random123s_known_answers() -> None:
    zero = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    ones = [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0]
    assert philox4x64_10([0] * 4, [0] * 2) == zero
    assert philox4x64_10([MASK] * 4, [MASK] * 2) == ones


@pytest.mark.parametrize("draw", [0, 1, 4000])
def test_noise_is_philox_and_box_muller_written_out(draw: int) -> None:
    key = noise_key(7, "case01")
    words = []
    for block in range(1, 4):  # NumPy advances the counter before each block
        words += philox4x64_10([block, draw, 0, 0], [key & MASK, key >> 64])
    expected = []
    for word in words:
        u1 = ((word & 0xFFFFFFFF) + 0.5) / 2**32
        u2 = ((word >> 32) + 0.5) / 2**32
        radius = np.sqrt(-2 * np.log(u1))
        expected += [radius * np.cos(2 * np.pi * u2), radius * np.sin(2 * np.pi * u2)]
    np.testing.assert_allclose(gaussian(key, draw, (2, 3, 4)).ravel(), expected, rtol=1e-6)


def test_numbers_are_standard_normal() -> None:
    z = gaussian(noise_key(0, "a"), 0, (1_000_000,)).astype(np.float64)
    # standard errors of these moments: 1e-3, 1.4e-3, 2.4e-3, 4.9e-3; bars at five of them
    for power, expected, bar in ((1, 0, 5e-3), (2, 1, 7e-3), (3, 0, 12e-3), (4, 3, 49e-3)):
        assert np.mean(z**power) == pytest.approx(expected, abs=bar)
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 5e-3


def test_case_seed_and_draw_each_change_all_of_it() -> None:
    base = gaussian(noise_key(0, "a"), 0, (1000,))
    for other in (gaussian(noise_key(1, "a"), 0, (1000,)), gaussian(noise_key(0, "b"), 0, (1000,))):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.2
    assert abs(np.corrcoef(base, gaussian(noise_key(0, "a"), 1, (1000,)))[0, 1]) < 0.2


def test_an_accent_typed_in_two_ways_is_one_case() -> None:
    assert noise_key(0, "caf\u00e9") == noise_key(0, "cafe\u0301")


def test_the_stream_never_drifts() -> None:
    """A promise to users, not a check of rightness: whoever changes the stream changes every image."""
    digest = hashlib.sha256(gaussian(noise_key(0, "case01"), 0, (3, 256, 256)).tobytes()).hexdigest()
    assert digest == "4c31627baa2c0fb831efb173d6805196bc8e4d422a9a4d8bbe90ccbca8eed9ad"
