"""Pages of studies: generated blocks are replaced, and a person's words stay."""

import json
from pathlib import Path

import pytest

from tfs_rt.errors import UsageError
from tfs_rt_bench.markdown import table
from tfs_rt_studies.pages import fill_page


def test_blocks_are_replaced_and_the_text_around_them_stays(tmp_path: Path) -> None:
    page = tmp_path / "rates.md"
    page.write_text("# Rates\n\nBefore.\n\n<!-- sound -->\nold\n<!-- end -->\n\nAfter.\n")
    fill_page(page, {"sound": table(["a", "b"], [["1", "x|y"]])}, {"a": 1})
    lines = ["| a | b |", "| --- | --- |", "| 1 | x/y |"]
    block = "<!-- sound -->\n\n" + "\n".join(lines) + "\n\n<!-- end -->"
    assert page.read_text() == f"# Rates\n\nBefore.\n\n{block}\n\nAfter.\n"
    assert json.loads((tmp_path / "rates.json").read_text()) == {"a": 1}
    once = page.read_bytes()
    fill_page(page, {"sound": lines}, {"a": 1})
    assert page.read_bytes() == once


def test_a_page_without_the_place_of_a_block_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "rates.md"
    page.write_text("# Rates\n")
    with pytest.raises(UsageError, match=r"has 0 blocks named 'sound'.*<!-- sound -->"):
        fill_page(page, {"sound": ["new"]}, {})
    assert page.read_text() == "# Rates\n"


@pytest.mark.parametrize("name", ["accuracy", "guards", "uncertainty", "weak-points"])
def test_the_pages_of_the_studies_have_places_for_their_blocks(name: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "studies" / f"{name}.md"
    blocks = {
        "accuracy": ["x2", "x4", "x8", "definitions"],
        "guards": ["sound inputs", "sound results", "other cases", "faults", "orders", "wrong results", "thresholds"],
        "uncertainty": ["best", "order", "left", "size", "psnr", "count", "pictures"],
        "weak-points": ["by modality", "pictures"],
    }
    text = page.read_text()
    assert [text.count(f"<!-- {block} -->") for block in blocks[name]] == [1] * len(blocks[name])
    assert text.count("<!-- end -->") == len(blocks[name])
