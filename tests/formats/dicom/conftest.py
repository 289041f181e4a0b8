"""Fixtures of the tests of DICOM."""

import pytest
from pydicom import config


@pytest.fixture(autouse=True)
def _allow_nonstandard_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests themselves write and read values against the standard."""
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)
