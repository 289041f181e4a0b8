"""The HTML report of a bench: whole, self-contained, true to the rows, and readable with whatever is missing."""

from __future__ import annotations

import base64
import dataclasses
import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.random import Generator
from PIL import ImageFont

from support.helpers import png
from tfs_rt.spec import Recipe
from tfs_rt_bench.charts.axes import Linear, Log
from tfs_rt_bench.charts.digits import percent, ratio, seconds, significant
from tfs_rt_bench.charts.label_layout import Box, around, place
from tfs_rt_bench.latency.record import SCHEMA, Accuracy, Bench, Fidelity, Machine, Pictures, Row, Times, write_bench
from tfs_rt_bench.latency.row_facts import front
from tfs_rt_bench.latency_page.bar_charts import latency, throughput
from tfs_rt_bench.latency_page.headline import headline
from tfs_rt_bench.latency_page.page import WIDTHS, main, page, write_report
from tfs_rt_bench.latency_page.pareto_chart import pareto, points, unbeaten

GFLOP = 14.2
PEAK = 151.0
VOID = {"meta", "img", "br", "link", "input"}
OLD = Accuracy(psnr=25.9, ssim=0.871, cases=4)
HOSTILE = "<script>alert('x')</script> & \"quoted\"\x07"


def recipe(steps: int, sampler: Any = "ddim", eta: float = 0.0) -> Recipe:
    spacing = "t" if sampler == "ddpm" else "log-snr"
    return Recipe(sampler=sampler, steps=steps, eta=eta, spacing=spacing, sigma_max=80.0, sigma_min=2.0)


def times(least: float, runs: int = 7) -> Times:
    return Times(minimum=least, median=1.04 * least, p95=1.21 * least, runs=runs)


def row(backend: str, precision: str, steps: int, step: float, /, **changes: Any) -> Row:
    batch = changes.pop("batch", 1)
    sampling = changes.pop("recipe", recipe(steps))
    quality = changes.pop("psnr", 99.0)
    levels = 0 if quality == 99 else 3
    made = Row(
        label=f"{backend}{' as it comes' * changes.get('peer', False)}, {sampling.sampler} {steps}, batch {batch}",
        backend=backend,
        peer=False,
        precision=precision,
        batch=batch,
        recipe=sampling,
        job=times(batch * (0.004 + step * steps)),
        step=times(step),
        overhead=0.004 / (0.004 + step * steps),
        busy=1.97,
        cold_start=1.31,
        peak_memory=412_000_000,
        gflops=GFLOP / step,
        fidelity=Fidelity(psnr=quality, ssim=0.99987, max_levels=levels, bias=(0.012, -0.034, 0.0), cases=4),
        accuracy=Accuracy(psnr=25.4 + 0.9 * math.log2(steps) - 0.18 * math.log2(steps) ** 2, ssim=0.887, cases=4),
    )
    return dataclasses.replace(made, **changes)


def rows() -> list[Row]:
    """Four tiers of ours, four peers, one of which failed, and the paper's chain."""
    found = []
    ours = (("ort-cpu", "fp32", 0.121, 99.0), ("openvino", "fp32", 0.116, 78.4), ("openvino-bf16", "bf16", 0.088, 46.9))
    for backend, precision, step, psnr in (*ours, ("winograd", "fp32", 0.071, 71.2)):
        found += [row(backend, precision, n, step, psnr=psnr - (psnr < 90) * n / 3) for n in (1, 2, 4, 8)]
        found += [row(backend, precision, 1, 0.97 * step, psnr=psnr, batch=batch) for batch in (4, 16)]
    found.append(row("winograd", "fp32", 4, 0.071, recipe=recipe(4, "dpmpp-2m"), psnr=69.0))
    found += [row("torch-eager", "fp32", n, 0.302, peer=True) for n in (1, 4)]
    found.append(row("onnxruntime", "fp32", 1, 0.148, peer=True, psnr=81.0))
    found.append(row("openvino", "fp32", 1, 0.124, peer=True, psnr=78.1))
    nothing = dict.fromkeys(
        ("job", "step", "overhead", "busy", "cold_start", "peak_memory", "gflops", "fidelity", "accuracy")
    )
    fault = "torch.compile: no C++ compiler was found: install g++ <12 or newer>"
    found.append(row("torch-compile", "fp32", 1, 1.0, peer=True, fault=fault, **nothing))
    chain = {"recipe": recipe(4000, "ddpm", 1.0), "peer": True, "extrapolated": "200 of 4,000 steps timed"}
    found.append(dataclasses.replace(row("torch-eager", "fp32", 4000, 0.302, **chain), fidelity=None, accuracy=OLD))
    return found


def picture(seed: int) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return base64.b64encode(png(pixels)).decode()


def bench(found: Sequence[Row] | None = None, *, case: str = "mni-z060") -> Bench:
    found = rows() if found is None else found
    shown = [each.label for each in found if not each.fault][:3]
    images, differences = ({label: picture(k) for k, label in enumerate(shown)} for _ in range(2))
    strip = Pictures(case=case, reference=picture(8), truth=picture(9), images=images, differences=differences, gain=16)
    return Bench(
        schema=SCHEMA,
        date="2025-11-25 17:02 UTC",
        model="tfs-rt/x4",
        scale=4,
        size=(256, 256),
        step_gflop=GFLOP,
        command="tfs-rt bench --model tfs-rt/x4 --backends ort-cpu,openvino,winograd --steps 1,2,4,8 -o bench",
        machine=Machine(
            processor="AMD EPYC 9B14",
            cores=2,
            memory=8_340_000_000,
            system="Linux 6.1 x86_64",
            gpu="",
            versions={"python": "3.11.2", "onnxruntime": "1.24.0", "torch": "2.13.0+cpu"},
            commit="9541435",
            gemm_gflops=PEAK,
            bandwidth_gb=21.4,
        ),
        rows=tuple(found),
        pictures=(strip,),
    )


class Balance(HTMLParser):
    """Raises AssertionError where an element is closed that is not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(html: str) -> Balance:
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


def drawings(found: Bench) -> list[ElementTree.Element]:
    """Every chart at every width, parsed as XML."""
    made = []
    for width in WIDTHS.values():
        made += [pareto(found.rows, quality, width) for quality in ("fidelity", "accuracy")]
        made += [latency(found.rows, found.step_gflop, found.machine, width), throughput(found.rows, width)]
    return [ElementTree.fromstring(svg) for svg in made if svg]


def boxes(svg: ElementTree.Element) -> list[tuple[str, Box]]:
    """Where each text is set, in the font that Pillow brings (a second opinion to the charts' own estimate)."""
    found = []
    for element in svg.iter("text"):
        words = "".join(element.itertext()).removeprefix(element.findtext("title") or "")
        size = float(element.attrib["font-size"])
        wide = ImageFont.load_default(size).getlength(words)
        left = float(element.attrib["x"]) - {"start": 0, "middle": wide / 2, "end": wide}[element.attrib["text-anchor"]]
        base = float(element.attrib["y"])
        found.append((words, Box(left, base - 0.75 * size, left + wide, base + 0.2 * size)))
    return found


def centre(element: ElementTree.Element) -> tuple[float, float]:
    """The middle of a marker's corners."""
    corners = re.findall(r"(-?[\d.]+),(-?[\d.]+)", element.attrib["d"])
    return (
        sum(float(x) for x, _ in corners) / len(corners),
        sum(float(y) for _, y in corners) / len(corners),
    )


def test_the_page_is_well_formed_and_asks_for_nothing_outside_it() -> None:
    html = page(bench())
    found = parsed(html)
    resources = [value for name, value in found.attributes if name in ("src", "href", "action", "data", "srcset")]
    assert resources
    assert all(value.startswith("data:image/png;base64,") for value in resources)
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert "<script" not in html
    policy = next(value for name, value in found.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy


def test_pictures_are_shown_as_they_were_given_with_their_gain() -> None:
    made = bench()
    html = page(made)
    strip = made.pictures[0]
    for data in (strip.reference, strip.truth, *strip.images.values(), *strip.differences.values()):
        assert f"data:image/png;base64,{data}" in html
    assert "difference, 16 times" in html
    assert page(dataclasses.replace(made, pictures=())).count("<img") == 0


def test_every_row_stands_in_the_table_with_its_label() -> None:
    made = bench()
    html = page(made)
    table = html[html.index("<table") : html.index("</table>")]
    assert table.count("<tr") == len(made.rows) + 1
    for each in made.rows:
        assert f"<b>{each.label}</b>" in table
    assert "no C++ compiler was found: install g++ &lt;12 or newer&gt;" in table
    assert "† extrapolated: 200 of 4,000 steps timed" in table
    assert "1,210 s†" in table
    assert "n/a" in table


def test_foreign_text_is_escaped_wherever_it_stands() -> None:
    bad = dataclasses.replace(rows()[0], label=HOSTILE, backend=HOSTILE, precision=HOSTILE)
    failed = dataclasses.replace(bad, label=f"2{HOSTILE}", fault=HOSTILE, job=None, step=None)
    guess = dataclasses.replace(bad, label=f"3{HOSTILE}", extrapolated=HOSTILE)
    made = bench([bad, failed, guess], case=HOSTILE)
    machine = dataclasses.replace(made.machine, processor=HOSTILE, versions={HOSTILE: HOSTILE}, commit=HOSTILE)
    strip = dataclasses.replace(made.pictures[0], reference='" onerror="x', truth="javascript:x")
    made = dataclasses.replace(
        made, model=HOSTILE, command=HOSTILE, date=HOSTILE, machine=machine, pictures=(made.pictures[0], strip)
    )
    html = page(made)
    found = parsed(html)
    assert "<script" not in html
    assert "onerror" not in html
    assert "\x07" not in html
    assert "".join(found.words).count("<script>alert('x')</script>") > 20
    for svg in drawings(made):
        assert "script" not in {element.tag for element in svg.iter()}


def test_the_front_is_what_no_other_point_beats(rng: Generator) -> None:
    for _ in range(200):
        found = [(float(x), float(y)) for x, y in rng.integers(1, 6, (int(rng.integers(1, 12)), 2))]
        unbeaten = {
            i for i, (x, y) in enumerate(found) if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in found)
        }
        assert set(front(found)) == unbeaten


@pytest.mark.parametrize("width", WIDTHS.values())
def test_points_lie_where_the_axes_say(width: float) -> None:
    """Read off the drawing: two ticks of each axis and the formula of a logarithmic or a linear one."""
    found = bench().rows
    svg = ElementTree.fromstring(pareto(found, "accuracy", width))
    lines = [{k: float(v) for k, v in line.attrib.items() if k != "class"} for line in svg.findall("line")]
    words = dict(boxes(svg))
    across = {float(w.replace(",", "")): line["x1"] for line in lines for w, b in words.items() if is_below(w, b, line)}
    up = {float(w): line["y1"] for line in lines for w, b in words.items() if is_beside(w, b, line)}
    (x_low, at_low) = min(across.items())
    (x_high, at_high) = max(across.items())
    (y_low, down_low) = min(up.items())
    (y_high, down_high) = max(up.items())
    drawn = [centre(mark) for mark in svg.findall("g/path")]
    wanted = points(found, "accuracy")
    assert len(drawn) == len(wanted) == 22
    for (x, y), point in zip(drawn, wanted, strict=True):
        share = math.log(point.cost / x_low) / math.log(x_high / x_low)
        assert x == pytest.approx(at_low + share * (at_high - at_low), abs=0.6)  # a star's corners have a middle of 0.3
        share = (point.psnr - y_low) / (y_high - y_low)
        assert y == pytest.approx(down_low + share * (down_high - down_low), abs=0.6)


def is_below(words: str, box: Box, line: dict[str, float]) -> bool:
    number = re.fullmatch(r"[\d.,]+", words) is not None
    return (
        number
        and line["x1"] == line["x2"]
        and 0 < box.top - line["y2"] < 20
        and abs(sum(box[::2]) / 2 - line["x1"]) < 2
    )


def is_beside(words: str, box: Box, line: dict[str, float]) -> bool:
    number = re.fullmatch(r"[\d.]+", words) is not None
    return number and line["y1"] == line["y2"] and box.right < line["x1"] and abs(sum(box[1::2]) / 2 - line["y1"]) < 3


def test_equal_images_have_a_lane_above_the_scale() -> None:
    svg = ElementTree.fromstring(pareto(bench().rows, "fidelity", 860.0))
    heights: dict[str | None, float] = {}
    for mark in svg.findall("g"):
        path = mark.find("path")
        assert path is not None
        heights[mark.findtext("title")] = centre(path)[1]
    equal = [y for title, y in heights.items() if title and "equal" in title]
    assert len(equal) == 6
    assert max(equal) < min(y for title, y in heights.items() if title and "equal" not in title)


def test_images_are_called_equal_only_if_no_pixel_differs() -> None:
    same = row("ort-cpu", "fp32", 1, 0.121)
    assert same.fidelity is not None
    near = dataclasses.replace(same, fidelity=dataclasses.replace(same.fidelity, max_levels=1))
    assert "equal to the float32 PyTorch reference" in headline(bench([same]))[0]
    html = page(bench([near]))
    assert "99 dB or more to the float32 PyTorch reference" in html
    assert "equal" not in html[html.index("<body") : html.index("Definitions")]


def test_no_text_leaves_its_chart() -> None:
    long = dataclasses.replace(rows()[0], backend="a-backend-whose-name-is-longer-than-any-chart-is-wide " * 3)
    for made in (bench(), bench([*rows(), long]), bench(rows()[:1])):
        for svg in drawings(made):
            _, _, width, height = map(float, svg.attrib["viewBox"].split())
            for words, box in boxes(svg):
                assert box.within(Box(0, 0, width, height)), words


@pytest.mark.parametrize("width", WIDTHS.values())
@pytest.mark.parametrize("quality", ["fidelity", "accuracy"])
def test_no_label_lies_on_another_text(width: float, quality: Any) -> None:
    for given in (rows(), rows()[::3], rows()[-8:]):
        found = boxes(ElementTree.fromstring(pareto(given, quality, width)))
        for k, (words, box) in enumerate(found):
            assert not any(box.meets(other) for _, other in found[:k]), words


def test_labels_find_room_or_are_left_out() -> None:
    bounds = Box(0, 0, 100, 40)
    free = place((50, 20), (30, 10), [around(50, 20, 6)], bounds=bounds, far=70)
    assert free == Box(57, 15, 87, 25)
    assert place((50, 20), (30, 10), [bounds], bounds=bounds, far=70) is None
    assert place((50, 20), (101, 10), [], bounds=bounds, far=70) is None


def test_axes_have_round_ticks_within_their_ends() -> None:
    assert Linear(0, 0.33, 0, 100).ticks(4) == [0, 0.1, 0.2, 0.3]
    assert Linear(43, 81, 300, 0).ticks() == [50, 60, 70, 80]
    assert Log(0.06, 1.3, 0, 1).ticks() == [0.1, 0.2, 0.5, 1.0]
    assert Log(0.05, 2000, 0, 1).ticks(5) == pytest.approx([0.1, 1, 10, 100, 1000])
    assert Log(0.11, 0.19, 0, 1).ticks() == [0.12, 0.14, 0.16, 0.18]
    assert (Linear(0, 10, 5, 25)(5), Log(1, 100, 0, 10)(10)) == (15, pytest.approx(5))


def test_bars_are_as_long_as_their_minimum_and_the_fastest_comes_first() -> None:
    made = bench()
    svg = ElementTree.fromstring(latency(made.rows, GFLOP, made.machine, 860.0))
    lengths = [float(bar.attrib["width"]) for bar in svg.findall("rect")]
    ours = [0.97 * step for step in (0.071, 0.088, 0.116, 0.121)]  # the best of all batches
    steps = sorted([*ours, 0.124, 0.148, 0.302])
    assert lengths == pytest.approx([lengths[-1] * step / 0.302 for step in steps], abs=0.02)
    assert [bar.attrib["class"] for bar in svg.findall("rect")] == ["bar ours"] * 4 + ["bar peer"] * 3
    roof = next(line for line in svg.findall("line") if line.attrib["class"] == "roof")
    start = float(svg.findall("rect")[0].attrib["x"])
    assert float(roof.attrib["x1"]) - start == pytest.approx(lengths[-1] * GFLOP / PEAK / 0.302, abs=0.02)


def test_throughput_is_cases_over_the_least_time_of_a_batch() -> None:
    svg = ElementTree.fromstring(throughput(bench().rows, 860.0))
    titles = [bar.findtext("title") for bar in svg.findall("rect")]
    assert len(titles) == 12  # four tiers, three batches
    first, _, last = titles[:3]
    assert first == f"batch 1: {1 / 0.075:.1f} cases/s · 1.00x"
    rate = 1 / (0.004 + 0.071 * 0.97)
    assert last == f"batch 16: {rate:.1f} cases/s · {rate * 0.075:.2f}x"


def test_the_headline_is_arithmetic_on_the_rows() -> None:
    fastest, peers, paper, float32 = headline(bench())
    assert "winograd fp32 with ddim, 1 step" in fastest
    assert "in 0.0750 s, 70.9 dB" in fastest
    assert "25.4 dB to ground truth" in fastest
    assert f"The same job: {0.306 / 0.075:.2f}x as fast as PyTorch eager" in peers
    assert f"{0.128 / 0.075:.2f}x as fast as the best peer, OpenVINO fp32 (0.128 s, 78.1 dB" in peers
    assert "16,100x as fast as the paper's 4,000 ancestral steps" in paper  # (0.004 + 4000 x 0.302) / 0.075 = 16,107
    assert "extrapolated: 200 of 4,000 steps timed; 25.9 dB" in paper
    assert "No figures of torch.compile" in peers
    assert f"{0.124 / (0.97 * 0.071):.2f}x as fast as OpenVINO fp32" in float32
    assert "winograd fp32 (71.2 dB to the float32 PyTorch reference) takes" in float32


def test_the_headline_tells_a_fast_row_from_a_good_one() -> None:
    poor = row("int8", "int8", 1, 0.03, psnr=38.2)
    told = headline(bench([*rows(), poor]))
    assert told[0].startswith("Fastest of those with 45 dB or more: winograd fp32")
    assert any(words.startswith("Faster, but not the same image: int8") and "38.2 dB" in words for words in told)
    alone = headline(bench([poor]))
    assert "38.2 dB" in alone[0]
    assert any("No row of this runtime reaches 45 dB" in words for words in alone)
    assert any("No peer" in words for words in alone)


def test_one_peer_alone_is_not_called_the_best() -> None:
    found = [row("winograd", "fp32", 1, 0.071), row("onnxruntime", "fp32", 1, 0.148, peer=True, psnr=81.0)]
    told = headline(bench(found))[1]
    assert "as fast as ONNX Runtime fp32 (0.152 s, 81.0 dB" in told
    assert "best" not in told


def test_only_the_papers_own_steps_are_called_the_papers() -> None:
    ours = row("winograd", "fp32", 1, 0.071)
    narrow = dataclasses.replace(recipe(4000, "ddpm", 1.0), spacing="log-snr")
    whole = row("torch-eager", "fp32", 4000, 0.302, peer=True, recipe=narrow)
    (told,) = (words for words in headline(bench([ours, whole])) if "4,000" in words)
    assert "as fast as 4,000 ancestral steps between the model's noise levels in PyTorch eager" in told
    chain = row("winograd", "fp32", 4000, 0.071, recipe=recipe(4000, "ddpm", 1.0))
    assert not any("4,000" in words for words in headline(bench([ours, chain])))


def test_what_may_have_spoilt_the_figures_stands_beside_the_headline() -> None:
    spoilt = dataclasses.replace(bench(), warnings=("this machine is busy <load 5>",))
    html = page(spoilt)
    assert "Warning: this machine is busy &lt;load 5&gt;." in html[: html.index("Quality against time")]
    assert "Warning:" not in page(bench())


def test_what_differs_by_less_than_is_written_is_as_good() -> None:
    found = [row("winograd", "fp32", 1, 0.071, psnr=94.081), row("ort-cpu", "fp32", 1, 0.121, psnr=94.084)]
    assert [point.row.backend for point in unbeaten(points(found, "fidelity"))] == ["winograd"]
    better = [found[0], row("ort-cpu", "fp32", 1, 0.121, psnr=94.1)]
    assert [point.row.backend for point in unbeaten(points(better, "fidelity"))] == ["winograd", "ort-cpu"]


def test_without_a_peer_of_the_same_recipe_steps_are_compared() -> None:
    found = [row("winograd", "fp32", 2, 0.071), row("torch-eager", "fp32", 1, 0.302, peer=True)]
    assert f"By the step (0.0710 s): {0.302 / 0.071:.2f}x as fast as PyTorch eager" in headline(bench(found))[1]


def test_rows_of_ours_in_batches_alone_have_a_headline_beside_single_peers() -> None:
    found = [row("winograd", "fp32", 1, 0.071, batch=4), row("torch-eager", "fp32", 1, 0.302, peer=True)]
    told = headline(bench(found))
    assert "makes each of 4 images of 256x256 in 0.0750 s" in told[0]
    assert told[1].startswith("By the step")


def poorer() -> dict[str, Bench]:
    """Benches in which something is missing."""
    full = rows()
    bare = [dataclasses.replace(each, accuracy=None) for each in full]
    failed = [row_without(each) for each in full]
    odd = dataclasses.replace(full[0], job=times(0.0), step=times(math.nan), gflops=math.inf)
    machine = dataclasses.replace(bench().machine, gemm_gflops=0.0, versions={}, commit="")
    return {
        "one row": bench(full[:1]),
        "one extrapolated row": bench(full[-1:]),
        "no accuracy": bench(bare),
        "all faulty": bench(failed),
        "no rows": bench([]),
        "peers alone": bench([each for each in full if each.peer]),
        "figures that are none": bench([odd]),
        "no peak": dataclasses.replace(bench(full), machine=machine, step_gflop=0.0, pictures=()),
        "all equal": bench([each for each in full if each.fidelity and each.fidelity.psnr == 99]),
    }


def row_without(each: Row) -> Row:
    return dataclasses.replace(
        each,
        job=None,
        step=None,
        overhead=None,
        gflops=None,
        fidelity=None,
        accuracy=None,
        fault="out of memory",
        extrapolated="",
    )


@pytest.mark.parametrize("name", poorer())
def test_what_is_missing_is_said(name: str) -> None:
    made = poorer()[name]
    html = page(made)
    parsed(html)
    drawings(made)
    assert "nan" not in html.lower().replace("nano", "")
    assert "Research use only" in html
    if name == "no accuracy":
        assert "no ground truth was given" in html
        assert "to ground truth" not in html[: html.index("Definitions")]
    if name == "all faulty":
        assert "No whole job of this runtime has figures" in html
        assert html.count("out of memory") == len(made.rows)


def test_figures_have_three_digits_and_no_exponent() -> None:
    assert [significant(x) for x in (0.0, 0.00012345, 0.12345, 9.996, 151.04, 11840.0, -2.5)] == [
        "0", "0.000123", "0.123", "10.0", "151", "11,800", "-2.50",
    ]  # fmt: skip
    assert (seconds(2.964), seconds(None), seconds(math.nan)) == ("2.96 s", "n/a", "n/a")
    assert (percent(0.0312), percent(0.995), percent(None)) == ("3.1 %", "100 %", "n/a")
    assert (ratio(3.14159), ratio(0.8712), ratio(84213.0)) == ("3.14x", "0.87x", "84,200x")


def test_a_report_is_made_anew_from_its_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = bench()
    write_bench(tmp_path / "bench.json", made)
    write_report(tmp_path / "first.html", made)
    assert main([str(tmp_path / "bench.json"), "-o", str(tmp_path / "second.html")]) == 0
    assert (tmp_path / "second.html").read_bytes() == (tmp_path / "first.html").read_bytes()
    assert (tmp_path / "first.html").read_text(encoding="utf-8") == page(made)
    (tmp_path / "other.json").write_text("[]", encoding="utf-8")
    assert main([str(tmp_path / "other.json"), "-o", str(tmp_path / "third.html")]) == 3
    assert "is not a bench record" in capsys.readouterr().err
    assert main([str(tmp_path / "bench.json"), "-o", str(tmp_path / "no" / "folder" / "x.html")]) == 6
