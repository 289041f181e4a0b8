"""The page that shows an alignment: one HTML file without scripts and requests, to be looked at before fusing.

the verdict       in words, for each image that was moved
edges             slices of the target, with the edges of the other images drawn over them
flicker           the target and an aligned image in one place: hover, tap, or press the space bar
figures           each measure of the registration, with its bound
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from tfs_rt.batch.mosaic import mosaic, shown_slices, with_edges
from tfs_rt.cases.align import Aligned
from tfs_rt.facts import Facts
from tfs_rt.formats.png import encode_png
from tfs_rt.geometry import verdict
from tfs_rt.images import RGB
from tfs_rt.output.provenance import RESEARCH_USE

COLOURS = ((255, 140, 0), (0, 200, 255))  # of edges: of the first and the second image that was moved
STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --line: #ccc; --good: #0a6b2d; --bad: #a31515 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #161616; --line: #444; --good: #6fd08c; --bad: #ff8a80 }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.good { color: var(--good) } .bad { color: var(--bad) }
img { display: block; width: 100%; max-width: 630px; height: auto }
.one { color: #b35f00 } .two { color: #007a99 }
@media (prefers-color-scheme: dark) { .one { color: #ff8c00 } .two { color: #00c8ff } }
.flicker { display: block; max-width: 630px; cursor: pointer }
.flicker input { width: 1.2rem; height: 1.2rem; vertical-align: middle }
.flicker .picture { display: block; position: relative }
.flicker .second { position: absolute; inset: 0; visibility: hidden }
.flicker .name-2 { display: none }
.flicker input:checked ~ .picture .second { visibility: visible }
.flicker input:checked ~ .name-2 { display: inline } .flicker input:checked ~ .name-1 { display: none }
@media (hover: hover) {
  .flicker:hover input:not(:checked) ~ .picture .second { visibility: visible }
  .flicker:hover input:not(:checked) ~ .name-2 { display: inline }
  .flicker:hover input:not(:checked) ~ .name-1 { display: none }
  .flicker:hover input:checked ~ .picture .second { visibility: hidden }
  .flicker:hover input:checked ~ .name-2 { display: none }
  .flicker:hover input:checked ~ .name-1 { display: inline }
}
.wide { overflow-x: auto }
table { border-collapse: collapse } th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: left }
td { font-variant-numeric: tabular-nums }
"""
# Measures of a registration: key, words, bound in words.
MEASURES = (
    ("turn_degrees", "turned by, degrees", f"at most {verdict.TURN:g}"),
    ("shift_mm", "moved by, mm", ""),
    ("backward_mm", "registered the other way, mm apart", f"at most {verdict.DISAGREEMENT:g}"),
    ("second_start_mm", "from a second start, mm apart", f"at most {verdict.DISAGREEMENT:g}"),
    ("agreeing_starts", "starts that agree", f"at least {verdict.AGREEING:.0%}"),
    ("overlap", "share of the head in both", f"at least {verdict.OVERLAP:g}"),
    ("structure", "information inside the head, nat", f"at least {verdict.STRUCTURE:g}"),
    ("information", "mutual information, nat", ""),
)


def quality_page(case_id: str, aligned: Aligned, target: str, names: dict[str, str], made_by: str) -> bytes:
    """The page of a case. `target` is the slot of the image that was not moved; `names` are the images' by slot."""
    slots = [slot for slot in aligned.pictures if slot != target]
    return "\n".join(_lines(case_id, aligned, [target, *slots], names, made_by)).encode()


def _lines(case_id: str, aligned: Aligned, slots: Sequence[str], names: dict[str, str], made_by: str) -> Iterator[str]:
    target, *moved = slots
    title = escape(f"Alignment of {case_id}")
    # Head: nothing may be loaded from anywhere.
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>"
    # The verdict.
    for slot in moved:
        yield _verdict(escape(names[slot]), escape(names[target]), aligned.facts[slot])
    # The pictures.
    indices = shown_slices(aligned.pictures[target].slices)
    mosaics = {slot: mosaic(aligned.pictures[slot].slices, indices, aligned.grid) for slot in slots}
    layers = [(mosaics[slot], colour) for slot, colour in zip(moved, COLOURS, strict=True)]
    one, two = (escape(names[slot]) for slot in moved)
    yield "<h2>Edges</h2>"
    yield f'<p>{escape(names[target])}, with the edges of <b class="one">{one}</b> (orange) and of'
    yield f'<b class="two">{two}</b> (blue). Where both show one border, the lines should lie on it.</p>'
    yield _image(with_edges(mosaics[target], layers), f"Slices of {names[target]} with edges of the others")
    for slot in moved:
        yield from _flicker(mosaics[target], mosaics[slot], names[target], names[slot])
    # The figures.
    yield from _table(aligned, moved, names)
    yield f"<p>{escape(made_by)}. {escape(RESEARCH_USE.capitalize())}.</p>\n</main>\n</body>\n</html>\n"


def _verdict(name: str, target: str, facts: Facts) -> str:
    """A sentence on one image."""
    if facts["by"] == "target":  # resampled onto another spacing
        return f"<p><b>{name}</b> was not moved.</p>"
    if facts["by"] == "headers":
        return f"<p><b>{name}</b> was laid on {target} by the places in the headers alone. Nothing was checked.</p>"
    if facts["trusted"]:
        words = "all checks agree. Look at the pictures all the same"
        return f'<p><b>{name}</b> was registered to {target}: <b class="good">trusted</b>, {words}.</p>'
    found = escape("; ".join(facts["reasons"]))
    return f'<p><b>{name}</b> was registered to {target}: <b class="bad">not to be trusted</b>: {found}.</p>'


def _flicker(target: RGB, aligned: RGB, target_name: str, name: str) -> Iterator[str]:
    """Two mosaics in one place, of which a box chooses one."""
    yield f"<h2>{escape(target_name)} and {escape(name)} in turn</h2>"
    yield '<label class="flicker"><input type="checkbox"> Hover, tap, or press the space bar here. Shown:'
    yield f'<b class="name-1">{escape(target_name)}</b><b class="name-2">{escape(name)}</b>'
    yield f'<span class="picture">{_image(target, f"Slices of {target_name}")}'
    yield f'<span class="second">{_image(aligned, f"The same slices of {name}, aligned")}</span></span></label>'


def _table(aligned: Aligned, moved: Sequence[str], names: dict[str, str]) -> Iterator[str]:
    """The figures of each image that was moved."""
    grid = aligned.facts[moved[0]]
    size = " x ".join(map(str, grid["grid"]))
    spacing = " x ".join(f"{distance:g}" for distance in grid["spacing_mm"])
    yield f"<h2>Figures</h2>\n<p>Grid: {size} voxels of {spacing} mm.</p>"
    heads = "".join(f'<th scope="col">{escape(names[slot])}</th>' for slot in moved)
    yield f'<div class="wide"><table>\n<tr><th scope="col">Measure</th>{heads}<th scope="col">Bound</th></tr>'
    shares = [f"{aligned.facts[slot]['coverage']:.0%}" for slot in moved]
    yield _row("share of the grid that it covers", shares, "")
    for key, words, bound in MEASURES:
        found = [aligned.facts[slot].get("figures") for slot in moved]
        if any(found):
            yield _row(words, [_number(figures, key) for figures in found], bound)
    yield "</table></div>"


def _row(words: str, cells: Sequence[str], bound: str) -> str:
    columns = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(words)}</th>{columns}<td>{escape(bound)}</td></tr>'


def _number(figures: dict[str, Any] | None, key: str) -> str:
    if not figures or figures[key] is None:
        return "not measured"
    if key == "agreeing_starts":
        return f"{figures[key]} of {figures['starts']}"
    return f"{figures[key]:.2f}"


def _image(image: RGB, words: str) -> str:
    data = base64.b64encode(encode_png(image)).decode()
    height, width = image.shape[:2]
    return f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{escape(words)}">'
