"""CTSR's parts against their definitions written out."""

import math
from itertools import product

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from tfs_rt.methods.colour import from_yuv, to_yuv
from tfs_rt.methods.ctsr import fuse as ctsr
from tfs_rt.methods.ctsr.guidance import cross_bilateral, rolling_guidance
from tfs_rt.methods.ctsr.pursuit import sparse_codes
from tfs_rt_reference.data.ctsr_dictionary import learn

Field = NDArray[np.float64]


def pursue(dictionary: Field, signal: Field, *, error: float, atoms: int) -> Field:
    """Orthogonal matching pursuit as the textbook has it: least squares anew at every step."""
    chosen: list[int] = []
    code = np.zeros(dictionary.shape[1])
    residual = signal.copy()
    while np.linalg.norm(residual) > error and len(chosen) < atoms:
        chosen.append(int(np.argmax(np.abs(dictionary.T @ residual))))
        solution = np.linalg.lstsq(dictionary[:, chosen], signal, rcond=None)[0]
        code[:] = 0
        code[chosen] = solution
        residual = signal - dictionary @ code
    return code


@pytest.mark.parametrize(("error", "atoms"), [(0.0, 5), (0.3, 16), (0.01, 16)])
def test_sparse_codes_are_the_textbooks(error: float, atoms: int, rng: Generator) -> None:
    dictionary = rng.standard_normal((16, 40))
    dictionary /= np.linalg.norm(dictionary, axis=0)
    signals = rng.standard_normal((16, 30))
    codes = sparse_codes(dictionary, signals, error=error, atoms=atoms)
    for code, signal in zip(codes.T, signals.T, strict=True):
        np.testing.assert_allclose(code, pursue(dictionary, signal, error=error, atoms=atoms), atol=1e-8)


def test_a_faint_patch_and_an_atom_itself_have_the_obvious_codes(rng: Generator) -> None:
    dictionary = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    signals = np.stack([np.full(8, 0.001), 2.5 * dictionary[:, 3]], axis=1)
    codes = sparse_codes(dictionary, signals, error=0.01)
    np.testing.assert_array_equal(codes[:, 0], 0)
    np.testing.assert_allclose(codes[:, 1], 2.5 * np.eye(8)[3], atol=1e-12)


def bilateral_grid(image: Field, guide: Field) -> Field:
    low = guide.min()
    at = {p: (p[0] / 3 + 3, p[1] / 3 + 3, (guide[p] - low) / 0.05 + 3) for p in np.ndindex(image.shape)}
    value: dict[tuple[int, ...], float] = {}
    weight: dict[tuple[int, ...], float] = {}
    for p, cell in at.items():
        key = tuple(math.floor(x + 0.5) for x in cell)
        value[key] = value.get(key, 0) + float(image[p])
        weight[key] = weight.get(key, 0) + 1
    blurred: dict[tuple[int, ...], float] = {}

    def mean(cell: tuple[int, ...]) -> float:
        if cell not in blurred:
            near = [(tuple(np.add(cell, d)), math.exp(-sum(map(abs, d)) / 2)) for d in product((-1, 0, 1), repeat=3)]
            total = sum(w * weight.get(key, 0) for key, w in near)
            blurred[cell] = sum(w * value.get(key, 0) for key, w in near) / total if total else 0
        return blurred[cell]

    result = np.zeros_like(image)
    for p, cell in at.items():
        for corner in product((0, 1), repeat=3):
            share = math.prod(x % 1 if up else 1 - x % 1 for x, up in zip(cell, corner, strict=True))
            result[p] = result[p] + share * mean(tuple(math.floor(x) + up for x, up in zip(cell, corner, strict=True)))
    return result


def test_the_bilateral_grid_is_as_written_out(rng: Generator) -> None:
    image = rng.random((13, 17))
    np.testing.assert_allclose(
        cross_bilateral(image, np.zeros_like(image)), bilateral_grid(image, image * 0), atol=1e-12
    )
    np.testing.assert_allclose(cross_bilateral(image, image), bilateral_grid(image, image), atol=1e-12)


def test_rolling_guidance_drops_a_speck_and_keeps_an_edge() -> None:
    image = np.where(np.arange(40) >= 20, 0.9, 0.1) + np.zeros((40, 1))
    image[10, 5] = 1.0
    structure = rolling_guidance(image)
    assert structure[10, 5] < 0.25
    assert structure[30, 10] == pytest.approx(0.1, abs=0.02)
    assert structure[30, 30] == pytest.approx(0.9, abs=0.02)


def test_patches_stand_column_after_column(rng: Generator) -> None:
    image = rng.random((11, 14))
    found = ctsr.patches(image)
    corners = [(r, c) for r in range(0, 4, 2) for c in range(0, 7, 2)]
    expected = np.stack([image[r : r + 8, c : c + 8].ravel(order="F") for r, c in corners], axis=1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(8, 8), (12, 10), (13, 15)])
def test_a_textures_larger_code_wins_and_every_pixel_is_rebuilt(shape: tuple[int, int], rng: Generator) -> None:
    basis = np.linalg.qr(rng.standard_normal((64, 64)))[0]
    first = rng.standard_normal(shape)
    fused = ctsr.fuse_textures(first, first * 0.1, basis)
    even = np.s_[: shape[0] // 2 * 2, : shape[1] // 2 * 2]
    np.testing.assert_allclose(fused[even], first[even], atol=0.02)  # codes leave a residual norm of 0.01
    if shape[0] % 2:
        np.testing.assert_allclose(fused[-1], first[-1] * 0.55)  # no patch reaches it: the textures' mean


def test_structures_are_chosen_by_value_and_by_sharpness_where_they_are_equal(rng: Generator) -> None:
    first, second = rng.random((2, 9, 8))
    second[:5] = first[:5] + rng.uniform(-8e-5, 8e-5, (5, 8))
    second[5:8] = first[5:8] + rng.choice([-2e-4, 2e-4], (3, 8))

    def sharpness(image: Field) -> Field:
        p = np.pad(image, 1, mode="symmetric")
        inner = p[1:-1, 1:-1]
        laplacian = abs(2 * inner - p[:-2, 1:-1] - p[2:, 1:-1]) + abs(2 * inner - p[1:-1, :-2] - p[1:-1, 2:])
        q = np.pad(laplacian, 1, mode="symmetric")
        return np.sqrt(sum(q[i : i + 9, j : j + 8] for i in range(3) for j in range(3)) / 9)

    s1 = sharpness(first)
    s2 = sharpness(second)
    chosen = ctsr.choose_structure(first, second)
    for p in np.ndindex(first.shape):
        gap = first[p] - second[p]
        takes_first = gap > 9e-5 or (abs(gap) < 9e-5 and s1[p] > s2[p])
        assert chosen[p] == (first if takes_first else second)[p]


def written_out(first: Field, second: Field, atoms: Field) -> Field:
    """One stage of CTSR, patch by patch."""

    def structure(image: Field) -> Field:
        guide = np.zeros_like(image)
        for _ in range(3):
            guide = bilateral_grid(image, guide)
        return guide

    s = structure(first), structure(second)
    t = first - s[0], second - s[1]
    total = np.zeros_like(first)
    count = np.zeros_like(first)
    for r, c in product(range(0, first.shape[0] - 7, 2), range(0, first.shape[1] - 7, 2)):
        window = np.s_[r : r + 8, c : c + 8]
        a, b = (pursue(atoms, layer[window].ravel(order="F"), error=0.01, atoms=64) for layer in t)
        code = a if abs(a).sum() >= abs(b).sum() else b
        total[window] += (atoms @ code).reshape((8, 8), order="F")
        count[window] += 1
    texture = np.where(count > 0, total / np.maximum(count, 1), (t[0] + t[1]) / 2)
    return texture + ctsr.choose_structure(*s)


def test_three_images_are_fused_as_written_out(rng: Generator) -> None:
    y, x = np.mgrid[0:18, 0:17]
    m1 = (90 + 70 * np.sin(x / 2) + rng.normal(0, 9, (18, 17))).clip(0, 255).astype(np.uint8)
    m2 = (90 + 70 * np.cos(y / 3) + rng.normal(0, 9, (18, 17))).clip(0, 255).astype(np.uint8)
    m1[:9] = m2[:9]  # ties
    colour = rng.integers(0, 200, (18, 17, 3)).astype(np.uint8)
    atoms = ctsr.shipped_dictionary()
    yuv = to_yuv(colour)
    stage_1 = written_out(m1 / 255, m2 / 255, atoms)
    np.testing.assert_allclose(ctsr.fuse_pair(m1 / 255, m2 / 255, atoms), stage_1, atol=1e-9)
    yuv[..., 0] = written_out(stage_1, yuv[..., 0], atoms)
    fused = ctsr.fuse(np.dstack([m1] * 3), np.dstack([m2] * 3), colour)
    assert np.abs(fused.astype(int) - from_yuv(yuv)).max() <= 1  # a level where a half is rounded


def test_the_shipped_dictionary_tells_a_real_picture_in_few_atoms() -> None:
    atoms = ctsr.shipped_dictionary()
    assert atoms.shape == (64, 512)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=0), 1)
    y, x = np.mgrid[0:64, 0:64]
    image = 0.5 + 0.4 * np.sin(x / 9) * np.cos(y / 7)
    signals = ctsr.patches(image)
    codes = sparse_codes(atoms, signals, atoms=8)
    assert np.linalg.norm(signals - atoms @ codes) < 0.02 * np.linalg.norm(signals)


def test_learning_finds_the_atoms_that_signals_were_made_of(rng: Generator) -> None:
    truth = rng.standard_normal((12, 20))
    truth /= np.linalg.norm(truth, axis=0)
    codes = np.zeros((20, 1500))
    for column in codes.T:
        column[rng.choice(20, 2, replace=False)] = rng.uniform(0.5, 2, 2) * rng.choice([-1, 1], 2)
    errors: list[float] = []
    learnt = learn(truth @ codes, atoms=20, non_zeros=2, rounds=40, report=lambda _, error: errors.append(error))
    np.testing.assert_allclose(np.linalg.norm(learnt, axis=0), 1)
    assert (np.abs(truth.T @ learnt).max(axis=1) > 0.99).sum() >= 17
    assert errors[-1] < 0.5 * errors[0]


def test_three_images_are_fused_and_too_small_ones_refused(rng: Generator) -> None:
    grey = np.dstack([rng.integers(0, 256, (16, 19)).astype(np.uint8)] * 3)
    colour = rng.integers(0, 256, (16, 19, 3)).astype(np.uint8)
    fused = ctsr.fuse(grey, grey, colour)
    assert (fused.shape, fused.dtype) == ((16, 19, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 8x8"):
        ctsr.fuse(grey[:7], grey[:7], colour[:7])
