"""BitonicX against its authors' images where they are at hand, and its parts against the definitions written out."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import convolve2d

from tfs_rt.cases.load import read_file
from tfs_rt.methods.bitonicx import fuse as bitonicx
from tfs_rt.methods.bitonicx.anisotropic import Directions, directions, gaussian_taps, smooth
from tfs_rt.methods.bitonicx.bitonic import LIMIT, bitonic
from tfs_rt.methods.bitonicx.neurons import cnp, otsu, pcnn
from tfs_rt.methods.bitonicx.ranks import rank_in_mask
from tfs_rt.methods.colour import from_yuv, grey, to_yuv

Field = NDArray[np.float64]


def difference(data: Path, row: dict[str, str]) -> NDArray[np.int64]:
    """Between ours and the authors' program (its deterministic variant), in grey levels."""
    folder = data / "groups" / row["id"]
    sources = [read_file(folder / f"{row[slot]}.png")[0] for slot in ("m1", "m2", "functional")]
    published, _ = read_file(folder / "fused_bitonicx_det.png")
    return np.abs(bitonicx.fuse(*sources).astype(np.int64) - published)


def rows(data: Path) -> list[dict[str, str]]:
    with (data / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sample_of_the_published_programs_images_is_met_to_the_pixel(data: Path) -> None:
    assert all(difference(data, row).max() == 0 for row in rows(data)[::40])


@pytest.mark.slow
def test_the_published_programs_images_are_met_but_for_single_pixels(data: Path) -> None:
    differences = [difference(data, row) for row in rows(data)]
    assert len(differences) == 79
    assert sum(d.max() == 0 for d in differences) >= 0.94 * 79
    assert max(d.max() for d in differences) <= 1
    assert max((d > 0).any(axis=-1).sum() for d in differences) <= 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (23, 17), (40, 40)])
@pytest.mark.parametrize("spread", [0.0, 0.3, 2.0])
def test_a_rank_in_a_mask_is_what_sorting_every_mask_gives(
    shape: tuple[int, int], spread: float, rng: Generator
) -> None:
    values = np.round(rng.random(shape), 1)  # with ties
    guide = rng.random(shape) * spread
    chosen = rank_in_mask(values, guide, half=5, limit=0.25, centile=0.08)
    for row, column in np.ndindex(shape):
        window = np.s_[max(row - 5, 0) : row + 6, max(column - 5, 0) : column + 6]
        inside = np.sort(values[window][np.abs(guide[window] - guide[row, column]) <= 0.25])
        rank = math.floor(0.08 * (len(inside) - 1) + 0.5)
        rank = 1 if rank == 0 and len(inside) > 3 else rank
        assert chosen[row, column] == inside[rank]


def test_the_masks_limit_is_the_programs() -> None:
    assert pytest.approx(0.2356367508, abs=1e-10) == LIMIT


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (6, 3), (11, 8)])
def test_the_anisotropic_mean_weighs_every_pair_by_both_directions(shape: tuple[int, int], rng: Generator) -> None:
    images = rng.random((2, *shape))
    along = Directions(*rng.uniform(-1.2, 1.2, (2, *shape)))
    smoothed = smooth(images, along, extent=4)
    for row, column in np.ndindex(shape):
        weights = np.zeros(shape)
        for r, c in np.ndindex(shape):
            dr = r - row
            dc = c - column
            if max(abs(dr), abs(dc)) <= 4:
                across = [1 + abs(dc * along.cosine[p] - dr * along.sine[p]) for p in ((row, column), (r, c))]
                weights[r, c] = math.exp(-((2 / 4 * math.hypot(dr, dc)) ** 2)) / math.prod(across)
        weights /= weights.sum()
        np.testing.assert_allclose(smoothed[:, row, column], [(weights * image).sum() for image in images], rtol=1e-12)


def test_directions_follow_a_stripe_and_smooth_the_list_of_its_pixels(rng: Generator) -> None:
    image = np.where(np.arange(24) >= 12, 0.8, 0.2) + np.zeros((20, 1)) + rng.random((20, 24)) * 0.1
    image[:, :2] = 0.2  # without a gradient nearby only if the extent is small
    found = directions(image, extent=3, anisotropy=0.6)
    padded = np.pad(image, 1, mode="edge")
    x = convolve2d(padded, np.outer([1, 2, 1], [1, 0, -1]) / 8, mode="valid")
    y = convolve2d(padded, np.outer([1, 0, -1], [1, 2, 1]) / 8, mode="valid")
    taps = gaussian_taps(3)
    np.testing.assert_allclose(taps, (w := np.exp(-(np.arange(-3, 4) ** 2) / 2.25)) / w.sum())

    def blurred(field: Field) -> Field:
        return convolve2d(np.pad(field, 3, mode="edge"), np.outer(taps, taps), mode="valid")

    xx = blurred(x * x)
    yy = blurred(y * y)
    xy = blurred(2 * x * y)
    r = np.sqrt((xx - yy) ** 2 + xy**2)
    some = [(row, column) for column in range(24) for row in range(20) if xx[row, column] + yy[row, column] > 0]
    listed = np.pad([xx[p] + yy[p] - r[p] for p in some], 6, mode="edge")
    smoothed = np.convolve(listed, gaussian_taps(6), mode="valid")
    for p, value in zip(some, smoothed, strict=True):
        an = max(1 - value / (xx[p] + yy[p] + r[p]), 0)
        k = min((an / 0.6) ** 2, 1.2)
        turned = (1.5 * math.pi - (math.atan2(xy[p], xx[p] - yy[p]) + math.pi) / 2) % math.pi
        assert found.cosine[p] == pytest.approx(k * math.cos(turned), abs=1e-9)
        assert found.sine[p] == pytest.approx(k * math.sin(turned), abs=1e-9)


def written_out(image: Field) -> Field:  # noqa: C901, PLR0915 - one formula after the other
    """The bitonic filter, step by step, with nothing shared with the module."""
    height, width = image.shape
    p = np.pad(image, 1, mode="edge")

    def at(i: int, j: int) -> Field:
        return p[1 + i : 1 + i + height, 1 + j : 1 + j + width]

    x = (at(-1, 1) - at(-1, -1) + 2 * at(0, 1) - 2 * at(0, -1) + at(1, 1) - at(1, -1)) / 8
    y = (at(1, -1) - at(-1, -1) + 2 * at(1, 0) - 2 * at(-1, 0) + at(1, 1) - at(-1, 1)) / 8

    def taps(extent: int) -> Field:
        weights = np.exp(-((np.arange(-extent, extent + 1) / (0.5 * extent)) ** 2))
        return weights / weights.sum()

    def blurred(field: Field) -> Field:
        return convolve2d(np.pad(field, 18, mode="edge"), np.outer(taps(18), taps(18)), mode="valid")

    xx = blurred(x * x)
    yy = blurred(y * y)
    xy = blurred(2 * x * y)
    r = np.sqrt((xx - yy) ** 2 + xy**2)
    some = (xx + yy).ravel(order="F") > 0
    listed = np.pad((xx + yy - r).ravel(order="F")[some], 36, mode="edge")
    an = np.zeros(image.size)
    an[some] = np.maximum(1 - np.convolve(listed, taps(36), "valid") / (xx + yy + r).ravel(order="F")[some], 0)
    turned = np.mod(1.5 * np.pi - (np.arctan2(xy, xx - yy) + np.pi) / 2, np.pi)
    k = np.minimum(an.reshape(image.shape, order="F") ** 2 / 0.36, 1.2)
    c = k * np.cos(turned)
    s = k * np.sin(turned)
    rows, columns = np.mgrid[:height, :width]

    def aniso(field: Field) -> Field:
        out = np.zeros_like(field)
        for i, j in np.ndindex(field.shape):
            dr = rows - i
            dc = columns - j
            weight = np.exp(-((2 / 18) ** 2) * (dr**2 + dc**2)) * ((abs(dr) <= 18) & (abs(dc) <= 18))
            weight = weight / (1 + abs(dc * c[i, j] - dr * s[i, j])) / (1 + abs(dc * c - dr * s))
            out[i, j] = (weight * field).sum() / weight.sum()
        return out

    mask = aniso(image)

    def ranked(field: Field, sign: int) -> Field:
        out = np.zeros_like(field)
        for i, j in np.ndindex(field.shape):
            window = np.s_[max(i - 15, 0) : i + 16, max(j - 15, 0) : j + 16]
            inside = np.sort(sign * field[window][abs(mask[window] - mask[i, j]) <= 0.2356367508])
            rank = math.floor(0.08 * (len(inside) - 1) + 0.5)
            out[i, j] = sign * inside[1 if rank == 0 and len(inside) > 3 else rank]
        return out

    low = ranked(image, 1)
    high = ranked(image, -1)
    opening = np.maximum(ranked(low, -1), low)
    closing = np.minimum(ranked(high, 1), high)
    if height < 30 or width < 30:
        opening = closing = image
    over = aniso(image - opening)
    under = aniso(closing - image)
    wo = abs(over) ** 3
    wc = abs(under) ** 3
    neither = wo + wc == 0
    wo[neither] = wc[neither] = 0.5
    return (wo * (closing - under) + wc * (opening + over)) / (wo + wc)


@pytest.mark.parametrize("shape", [(30, 38), (29, 40)])
def test_the_filter_is_as_written_out(shape: tuple[int, int], rng: Generator) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = 0.3 + 0.5 * (x + y > 30) + 0.1 * rng.standard_normal(shape)
    np.testing.assert_allclose(bitonic(image), written_out(image), atol=1e-12)


def test_where_two_anatomies_tie_the_first_ones_details_and_the_larger_base_are_taken(rng: Generator) -> None:
    y, x = np.mgrid[0:40, 0:40]
    image = 0.4 + 0.2 * np.sin(x / 5) * np.cos(y / 6) + 0.05 * rng.standard_normal((40, 40))
    mirrored = 1 - image  # details of equal size and opposite sign
    fused = bitonicx.fuse_anatomical(image, mirrored)
    base = bitonic(bitonic(image))
    base_m = bitonic(bitonic(mirrored))
    np.testing.assert_allclose(fused - np.maximum(base, base_m), image - base, atol=1e-9)


def test_the_luminance_is_fused_from_the_clearer_details_and_the_larger_base(rng: Generator) -> None:
    m, y = 0.5 + 0.1 * rng.standard_normal((2, 40, 44))
    m[:, :22] += 0.3
    m_base = bitonic(m)
    y_base = bitonic(y)
    clearer = bitonicx._majority(bitonicx._clarity(m - m_base) > bitonicx._clarity(y - y_base))
    expected = np.where(clearer, m - m_base, y - y_base) + np.maximum(m_base, y_base)
    np.testing.assert_allclose(bitonicx.fuse_luminance(m, y), expected)
    assert 0 < (m_base > y_base).mean() < 1


def test_a_constant_image_passes_the_filter_unchanged_and_a_single_speck_does_not() -> None:
    flat = np.full((40, 36), 0.37)
    np.testing.assert_array_equal(bitonic(flat), flat)
    speck = flat.copy()
    speck[20, 18] = 1
    assert abs(bitonic(speck)[20, 18] - 0.37) < 0.1


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (29, 64), (30, 30), (33, 47)])
def test_any_size_is_fused(shape: tuple[int, int], rng: Generator) -> None:
    images = [rng.integers(0, 256, (*shape, 3)).astype(np.uint8) for _ in range(3)]
    assert bitonicx.fuse(*images).shape == (*shape, 3)


def test_an_empty_image_leaves_the_other_anatomy_in_place(rng: Generator) -> None:
    y, x = np.mgrid[0:48, 0:48]
    disc = ((np.hypot(y - 24, x - 24) < 18) * (120 + rng.integers(0, 100, (48, 48)))).astype(np.uint8)
    black = np.zeros((48, 48, 3), np.uint8)
    anatomy = np.dstack([disc] * 3)
    for pair in ((black, anatomy), (anatomy, black)):
        fused = bitonicx.fuse(*pair, black)
        assert (
            np.abs(fused.astype(int) - anatomy).mean() < 1
        )  # not equal: of two bases the larger, where ours is below 0
    assert bitonicx.fuse(black, black, black).max() == 0


def test_otsus_threshold_splits_two_classes_best(rng: Generator) -> None:
    levels = np.concatenate([rng.integers(10, 60, 500), rng.integers(150, 250, 300)])
    at = round(otsu(levels.reshape(20, 40) / 255) * 255)

    def between(threshold: int) -> float:
        low = levels[levels <= threshold]
        high = levels[levels > threshold]
        return low.size * high.size * (low.mean() - high.mean()) ** 2

    best = [t for t in range(10, 249) if between(t) == max(between(u) for u in range(10, 249))]
    assert at == round(float(np.mean(best)))
    assert otsu(np.full((4, 4), 0.5)) == 0


def test_the_pulse_coupled_network_fires_as_its_equations_say(rng: Generator) -> None:
    layer = rng.standard_normal((6, 7)) * 0.2
    a = np.abs(layer)
    o = float(otsu(np.abs(layer)))
    af = math.log10(1 / a.std(ddof=1))
    ratio = a.max() / o
    fade = math.exp(-af)
    beta = (ratio - 1) / 6
    v = fade + ratio
    m = (1 - fade**3) / (1 - fade) + (ratio - 1) * fade
    ae = math.log(v / (o * m))
    u = np.zeros((6, 7))
    e = np.ones((6, 7))
    y = np.zeros((8, 9))
    t = np.zeros((6, 7))
    for _ in range(110):
        fired = np.zeros((8, 9))
        for r, c in np.ndindex(6, 7):
            near = a[max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3]
            window = y[r : r + 3, c : c + 3]
            k = (window * [[0.5, 1, 0.5], [1, 0, 1], [0.5, 1, 0.5]]).sum()
            u[r, c] = fade * u[r, c] + (near.max() - near.min()) / 3 * (1 + beta * k)
            fired[r + 1, c + 1] = u[r, c] > e[r, c]
        y = fired
        e = math.exp(-ae) * e + v * y[1:-1, 1:-1]
        t += y[1:-1, 1:-1]
    np.testing.assert_array_equal(pcnn(layer), t)
    assert t.max() > 0
    assert pcnn(np.full((6, 7), 0.2)).max() == 0


def test_the_neural_p_system_fires_as_its_rules_say(rng: Generator) -> None:
    layer = rng.standard_normal((5, 9)) * 0.05
    p = np.zeros((5, 9))
    count = np.zeros((5, 9))
    linking = np.zeros((5, 9))
    feeding = np.zeros((5, 9))
    threshold = np.full((5, 9), 0.3)
    for _ in range(110):
        received = np.zeros((5, 9))
        for (r, c), (i, j) in ((q, s) for q in np.ndindex(5, 9) for s in np.ndindex(5, 9)):
            if (r, c) != (i, j) and max(abs(r - i), abs(c - j)) <= 3:
                received[r, c] += p[i, j] / math.hypot(r - i, c - j)
        for q in np.ndindex(5, 9):
            c = abs(layer[q])
            if p[q]:
                feeding[q] = c + received[q]
                linking[q] = received[q]
                threshold[q] = 1
            else:
                feeding[q], linking[q] = feeding[q] + c + received[q], linking[q] + received[q]
        p = (feeding * (1 + linking) >= threshold).astype(float)
        count += p
    np.testing.assert_array_equal(cnp(layer), count)
    assert len(np.unique(count)) > 1


def test_clarity_is_the_programs_measure_with_its_borders(rng: Generator) -> None:
    h = rng.standard_normal((14, 13))
    h[3, 4] = 0
    found = bitonicx._clarity(h)

    def row(i: int) -> int:  # mirrored with the edge above, without it below
        return -1 - i if i < 0 else 2 * 13 - i if i > 13 else i

    def column(j: int) -> int:
        return -1 - j if j < 0 else 2 * 13 - 1 - j if j > 12 else j

    for r, c in np.ndindex(h.shape):
        e = h[r, c] - h[column(r - 1) if r < 1 else r - 1, c]
        g = h[r, c] - h[r, column(c - 2)]
        s = math.sqrt(1.5) * (e * e + g * g)
        window = [h[row(r + i), column(c + j)] for i in range(-5, 6) for j in range(-5, 6)]
        sharp = sum(abs(q) * (q - h[r, c]) ** 2 for q in window)
        power = (complex(h[r, c]) ** 0.01).real if h[r, c] else 0
        assert found[r, c] == pytest.approx(s * s * sharp * power, rel=1e-9)


def test_the_majority_counts_mirrored_votes(rng: Generator) -> None:
    votes = rng.random((25, 21)) > 0.5
    padded = np.pad(votes, 9, mode="symmetric")
    expected = [[padded[r : r + 19, c : c + 19].sum() >= 180.5 for c in range(21)] for r in range(25)]
    np.testing.assert_array_equal(bitonicx._majority(votes), expected)


def test_colour_survives_the_way_to_luminance_and_back(rng: Generator) -> None:
    image = rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)
    np.testing.assert_array_equal(from_yuv(to_yuv(image)), image)
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(grey(np.dstack([levels] * 3)) * 255, levels)
    assert grey(np.asarray([[[255, 0, 0]]], np.uint8))[0, 0] == 76 / 255
