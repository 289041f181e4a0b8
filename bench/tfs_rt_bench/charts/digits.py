"""Figures as text: three significant digits, a unit, and n/a for a missing one."""

from __future__ import annotations

import math

NA = "n/a"


def significant(value: float, digits: int = 3) -> str:
    """Rounded to so many digits, with thousands set apart and never an exponent."""
    if not math.isfinite(value):
        return NA
    value = float(f"{value:.{digits - 1}e}")
    decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, decimals)}f}"


def seconds(value: float | None) -> str:
    """Seconds, to three digits."""
    return with_unit(value, "s")


def with_unit(value: float | None, unit: str) -> str:
    """Three digits and a unit."""
    return NA if value is None or not math.isfinite(value) else f"{significant(value)} {unit}"


def decimal(value: float, places: int, unit: str = "") -> str:
    """So many places behind the point."""
    return f"{value:,.{places}f} {unit}".rstrip() if math.isfinite(value) else NA


def percent(share: float | None) -> str:
    """A share in percent: whole from 10 on, with one place below."""
    if share is None or not math.isfinite(share):
        return NA
    return f"{100 * share:,.{0 if abs(share) >= 0.0995 else 1}f} %"


def ratio(value: float) -> str:
    """A ratio as text, for example 1.5x."""
    return f"{significant(value, 3 if value >= 1 else 2)}x"


def megabytes(count: int | None) -> str:
    """Bytes in MB, which are 10^6 bytes."""
    return with_unit(None if count is None else count / 1e6, "MB")


def counted(count: int, noun: str) -> str:
    """A number of things, in the plural if it is not one."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
