"""`tfs-rt inspect`."""

import json
from pathlib import Path

from support.helpers import Cli


def test_inspect_prints_a_bundle_and_refuses_an_edited_one(cli: Cli, edited: Path) -> None:
    facts = json.loads(cli("inspect", "tfs-rt/x4", "--json").out)
    assert (facts["kind"], facts["model"]["scale"]) == ("bundle", 4)
    assert "channel_multiplier: 1, 2" in cli("inspect", "tfs-rt/x4").out
    assert cli("inspect", edited).code == 5
