"""Folders that tests read."""

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
SHARED = Path(os.environ.get("TFS_RT_SHARED", ROOT.parent / "shared"))  # data that the repository may not hold
