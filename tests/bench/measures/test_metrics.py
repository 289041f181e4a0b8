"""Every measure against another implementation or its formula written out."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d
from scipy.stats import bootstrap, pearsonr
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import nn

from tfs_rt.errors import ModelError
from tfs_rt.images import RGB
from tfs_rt_bench.measures import fusion_metrics, metrics
from tfs_rt_bench.measures.intervals import compare, summarise
from tfs_rt_bench.measures.lpips import load_lpips

Field = NDArray[np.float64]


@pytest.fixture
def pair(rng: Generator) -> tuple[RGB, RGB]:
    """A blurred, noisy result and its ground truth."""
    truth = gaussian_filter(rng.random((56, 48, 3)), (2, 2, 0))
    truth = (truth - truth.min()) / np.ptp(truth) * 255
    result = gaussian_filter(truth, (1, 1, 0)) + rng.normal(0, 4, truth.shape) + [3, 0, -2]
    return result.clip(0, 255).astype(np.uint8), truth.astype(np.uint8)


def test_differences_are_as_scikit_image_has_them(pair: tuple[RGB, RGB]) -> None:
    result, truth = pair
    found = metrics.fidelity(result, truth)
    assert found["mse"] == pytest.approx(mean_squared_error(truth, result))
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(truth, result, data_range=255))
    assert found["ssim"] == structural_similarity(truth, result, channel_axis=-1, data_range=255)
    levels = [abs(int(a) - int(b)) for a, b in zip(result.ravel(), truth.ravel(), strict=True)]
    assert found["mae"] == pytest.approx(sum(levels) / len(levels))
    assert found["rmse"] == pytest.approx(math.sqrt(sum(level**2 for level in levels) / len(levels)))


def test_ssim_is_wangs_formula_over_seven_by_seven_windows(pair: tuple[RGB, RGB]) -> None:
    result, truth = (image[:12, :13].astype(float) for image in pair)
    values = []
    for r, c, channel in np.ndindex(6, 7, 3):
        x, y = (image[r : r + 7, c : c + 7, channel] for image in (result, truth))
        c1 = (0.01 * 255) ** 2
        c2 = (0.03 * 255) ** 2
        covariance = ((x - x.mean()) * (y - y.mean())).sum() / 48
        near = (2 * x.mean() * y.mean() + c1) * (2 * covariance + c2)
        values.append(near / ((x.mean() ** 2 + y.mean() ** 2 + c1) * (x.var(ddof=1) + y.var(ddof=1) + c2)))
    found = metrics.fidelity(pair[0][:12, :13], pair[1][:12, :13])["ssim"]
    assert found == pytest.approx(np.mean(values), rel=1e-9)


def information(reference: Field, distorted: Field, noise: float) -> list[tuple[Field, Field, Field]]:
    """Sheikh and Bovik's model in the pixel domain, at four scales: kept, whole, gain."""
    scales = []
    for scale in range(4):
        side = 2 ** (4 - scale) + 1
        y, x = np.mgrid[:side, :side] - side // 2
        window = np.exp(-(x**2 + y**2) / (2 * (side / 5) ** 2))
        window /= window.sum()
        if scale:
            reference, distorted = (convolve2d(i, window, "valid")[::2, ::2] for i in (reference, distorted))
        mu_r = convolve2d(reference, window, "valid")
        mu_d = convolve2d(distorted, window, "valid")
        var_r = np.maximum(convolve2d(reference**2, window, "valid") - mu_r**2, 0)
        var_d = np.maximum(convolve2d(distorted**2, window, "valid") - mu_d**2, 0)
        both = convolve2d(reference * distorted, window, "valid") - mu_r * mu_d
        gain = np.zeros_like(both)
        rest = var_d.copy()
        usable = (var_r >= 1e-10) & (var_d >= 1e-10) & (both >= 0)
        gain[usable] = both[usable] / (var_r[usable] + 1e-10)
        rest[usable] = var_d[usable] - gain[usable] * both[usable]
        rest[var_d < 1e-10] = 0
        var_r[var_r < 1e-10] = 0
        kept = np.log10(1 + gain**2 * var_r / (np.maximum(rest, 1e-10) + noise))
        scales.append((kept, np.log10(1 + var_r / noise), gain))
    return scales


def test_vif_is_the_formula_with_the_ground_truth_first(pair: tuple[RGB, RGB]) -> None:
    result, truth = pair
    by_channel = []
    for channel in range(3):
        scales = information(truth[..., channel].astype(float), result[..., channel].astype(float), 2)
        by_channel.append(sum(k.sum() for k, _, _ in scales) / sum(w.sum() for _, w, _ in scales))
    found = metrics.fidelity(result, truth)["vif"]
    assert found == pytest.approx(np.mean(by_channel), rel=1e-6)
    assert found != pytest.approx(metrics.vif(truth, result), rel=0.05)  # the order of arguments matters


def test_the_average_gradient_is_its_formula(pair: tuple[RGB, RGB]) -> None:
    y = pair[0] @ np.array([0.299, 0.587, 0.114])
    terms = [
        math.sqrt(((y[i + 1, j] - y[i, j]) ** 2 + (y[i, j + 1] - y[i, j]) ** 2) / 2)
        for i, j in np.ndindex(y.shape[0] - 1, y.shape[1] - 1)
    ]
    assert metrics.fidelity(*pair)["ag"] == pytest.approx(np.mean(terms))


def test_the_head_is_the_largest_region_without_its_holes(pair: tuple[RGB, RGB]) -> None:
    truth = np.zeros((60, 60, 3), np.uint8)
    truth[10:50, 12:48] = 90
    truth[20:30, 20:30] = 0  # a ventricle
    truth[55:58, 5:50] = 200  # the table
    expected = np.zeros((60, 60), bool)
    expected[10:50, 12:48] = True
    np.testing.assert_array_equal(metrics.head_mask(truth), expected)
    result = truth.copy()
    result[0, 0] = 255  # outside
    found = metrics.in_head(result, truth)
    assert (found["psnr_head"], found["mae_head"]) == (math.inf, 0)
    result[15, 15] = 100
    found = metrics.in_head(result, truth)
    assert found["mae_head"] == pytest.approx(10 / expected.sum())
    assert found["psnr_head"] == pytest.approx(10 * math.log10(255**2 / (100 / expected.sum())))
    ssim = structural_similarity(truth, result, channel_axis=-1, data_range=255, full=True)[1]
    assert found["ssim_head"] == pytest.approx(ssim[10:50, 12:48].mean())
    assert set(metrics.in_head(truth, truth * 0).values()) == {None}


def test_bias_is_what_was_added(pair: tuple[RGB, RGB]) -> None:
    truth = pair[1].clip(10, 240)
    shifted = (truth + np.array([3, 0, -2])).astype(np.uint8)
    assert metrics.colour_bias(shifted, truth) == pytest.approx({"bias_r": 3, "bias_g": 0, "bias_b": -2})


def test_what_is_undefined_is_none_and_equal_images_are_infinitely_good(pair: tuple[RGB, RGB]) -> None:
    _, truth = pair
    flat = np.full_like(truth, 7)
    same = metrics.fidelity(truth, truth)
    assert (same["psnr"], same["mse"]) == (math.inf, 0)
    assert same["vif"] == pytest.approx(1, abs=1e-6)
    assert same["ssim"] == pytest.approx(1)
    assert metrics.fidelity(truth, flat)["vif"] is None
    assert metrics.fidelity(flat, flat)["psnr"] == math.inf
    tiny = metrics.fidelity(truth[:1, :1], truth[:1, :1])
    assert (tiny["ssim"], tiny["vif"], tiny["ag"]) == (None, None, None)
    constant = fusion_metrics.against_sources(flat, [flat] * 3)
    assert constant == {"qabf": None, "mi": 0, "scd": None, "viff": pytest.approx(1)}


def sources_of(pair: tuple[RGB, RGB], rng: Generator) -> tuple[Field, list[Field]]:
    fused = fusion_metrics.luminance(pair[0])
    noise = rng.integers(0, 256, fused.shape).astype(np.float64)
    return fused, [fusion_metrics.luminance(pair[1]), 255 - fused, noise]


def test_edges_kept_is_xydeas_and_petrovics_formula(pair: tuple[RGB, RGB], rng: Generator) -> None:
    fused, sources = sources_of(pair, rng)

    def edges(image: Field, r: int, c: int) -> tuple[float, float]:
        p = np.pad(image, 1, mode="edge")[r : r + 3, c : c + 3]
        x = (p[:, 2] - p[:, 0]) @ [1, 2, 1]
        y = (p[2] - p[0]) @ [1, 2, 1]
        return math.hypot(x, y), math.atan(y / x) if x else math.copysign(math.pi / 2, y) if y else 0

    kept = whole = 0.0
    for source in sources:
        for r, c in np.ndindex(fused.shape):
            (ga, aa) = edges(source, r, c)
            (gf, af) = edges(fused, r, c)
            g = min(ga, gf) / max(ga, gf) if max(ga, gf) else 0
            a = 1 - abs(aa - af) / (math.pi / 2)
            q = 0.9994 / (1 + math.exp(-15 * (g - 0.5))) * 0.9879 / (1 + math.exp(-22 * (a - 0.8)))
            kept, whole = kept + q * ga, whole + ga
    assert fusion_metrics.edges_kept(fused, sources) == pytest.approx(kept / whole)


def test_mutual_information_is_the_entropies_sum_less_the_joint(pair: tuple[RGB, RGB], rng: Generator) -> None:
    fused, (source, *_) = sources_of(pair, rng)

    def entropy(values: NDArray) -> float:
        shares = np.unique(values, axis=0, return_counts=True)[1] / len(values)
        return float(-(shares * np.log2(shares)).sum())

    a = source.ravel()[:, None]
    b = fused.ravel()[:, None]
    expected = entropy(a) + entropy(b) - entropy(np.hstack([a, b]))
    assert fusion_metrics.mutual_information(source, fused) == pytest.approx(expected)


def test_the_difference_correlation_is_its_two_source_definition_over_all_pairs(
    pair: tuple[RGB, RGB], rng: Generator
) -> None:
    fused, (a, b, c) = sources_of(pair, rng)

    def scd(x: Field, y: Field) -> float:
        return sum(np.asarray(pearsonr((fused - p).ravel(), q.ravel()))[0] for p, q in ((y, x), (x, y)))

    assert fusion_metrics.difference_correlation(fused, [a, b]) == pytest.approx(scd(a, b))
    expected = (scd(a, b) + scd(a, c) + scd(b, c)) / 3
    assert fusion_metrics.difference_correlation(fused, [a, b, c]) == pytest.approx(expected)


def test_viff_takes_the_smallest_gain_at_every_place(pair: tuple[RGB, RGB], rng: Generator) -> None:
    fused, sources = sources_of(pair, rng)
    scales = [information(source, fused, 0.005 * 255**2) for source in sources]
    ratios = []
    for scale in range(4):
        kept = whole = 0.0
        for place in np.ndindex(scales[0][scale][0].shape):
            gains = [source[scale][2][place] for source in scales]
            weakest = max(i for i, gain in enumerate(gains) if gain == min(gains))
            kept += scales[weakest][scale][0][place] + 1e-7
            whole += scales[weakest][scale][1][place] + 1e-7
        ratios.append(kept / whole)
    expected = (ratios[0] + 0.15 * ratios[2] + ratios[3]) / 2.15
    assert fusion_metrics.viff(fused, sources) == pytest.approx(expected, rel=1e-6)


def alexnet() -> nn.Sequential:
    """The features of AlexNet as torchvision numbers them, with random weights."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU()]
    layers += [nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(), nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU())


@pytest.fixture
def weights(tmp_path: Path) -> list[Path]:
    state = {f"features.{name}": tensor for name, tensor in alexnet().state_dict().items()}
    heads = {f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1) for i, n in enumerate((64, 192, 384, 256, 256))}
    torch.save({**state, "classifier.1.weight": torch.zeros(2, 2)}, tmp_path / "alexnet.pth")
    torch.save(heads, tmp_path / "alex.pth")
    return [tmp_path / "alexnet.pth", tmp_path / "alex.pth"]


def test_lpips_is_the_papers_sum_over_layers(pair: tuple[RGB, RGB], weights: list[Path]) -> None:
    result, truth = pair
    heads = torch.load(weights[1], weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188])
    scale = torch.tensor([0.458, 0.448, 0.450])
    x, y = (((torch.from_numpy(i) / 127.5 - 1 - shift) / scale).permute(2, 0, 1)[None] for i in pair)
    total = 0.0
    layer = 0
    with torch.no_grad():
        for module in alexnet():
            x, y = module(x), module(y)
            if isinstance(module, nn.ReLU):
                unit_x, unit_y = (z / (z.norm(dim=1, keepdim=True) + 1e-10) for z in (x, y))
                weight = heads[f"lin{layer}.model.1.weight"].flatten()
                total += torch.einsum("bchw,c->bhw", (unit_x - unit_y) ** 2, weight).mean().item()
                layer += 1
    distance = load_lpips(weights)
    assert distance(result, truth) == pytest.approx(total, rel=1e-4)
    assert distance(truth, truth) == 0
    assert distance(truth[:20], truth[:20]) is None


def test_lpips_reads_one_file_too_and_refuses_what_is_not_its_weights(weights: list[Path], tmp_path: Path) -> None:
    state = torch.load(weights[0], weights_only=True)
    slices = {"0": 1, "3": 2, "6": 3, "8": 4, "10": 5}
    whole = {
        f"net.slice{slices[name.split('.')[1]]}.{name.removeprefix('features.')}": tensor
        for name, tensor in state.items()
        if name.startswith("features")
    }
    torch.save({**whole, **torch.load(weights[1], weights_only=True)}, tmp_path / "lpips.pth")
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    assert load_lpips([tmp_path / "lpips.pth"])(image, 255 - image) == load_lpips(weights)(image, 255 - image)
    with pytest.raises(ModelError, match="lin0.model.1.weight"):
        load_lpips(weights[:1])
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be read"):
        load_lpips([tmp_path / "bad.pth"])


def test_an_interval_is_scipys_percentile_bootstrap(rng: Generator) -> None:
    values = rng.normal(25, 2, 12)
    found = summarise(list(values))
    other = bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=rng).confidence_interval
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == (pytest.approx(other.low, abs=0.08), pytest.approx(other.high, abs=0.08))


def test_what_cannot_be_averaged_is_counted() -> None:
    some = summarise([1.0, math.inf, 3.0, None])
    assert (some.mean, some.cases, some.infinite, some.undefined) == (2, 2, 1, 1)
    one = summarise([4.0])
    assert (one.mean, one.low, one.high) == (4, None, None)
    assert summarise([math.inf, None]).mean is None


def test_paired_differences_take_the_cases_that_both_have() -> None:
    found = compare([2.0, 5.0, math.inf, 1.0, None], [1.0, 5.0, 3.0, 2.0, 2.0])
    assert (found.difference.mean, found.difference.cases) == (0, 3)
    assert (found.difference.infinite, found.difference.undefined) == (1, 1)
    assert (found.larger, found.smaller, found.cases) == (2, 1, 4)
