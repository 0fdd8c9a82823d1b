"""Format numbers: counts and shares for readers, floats at full precision for files."""

from __future__ import annotations

import math


def plural(n: int, noun: str) -> str:
    """Return `1 clip`, `12,345 clips`, `2 classes`."""
    return f"{n:,} {noun}{'' if n == 1 else 'es' if noun.endswith('s') else 's'}"


def fraction(value: float | None, digits: int = 3) -> str:
    """Return `.412`, `1.000`, `-.012`, or `-` for None and NaN."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def percent(value: float | None, signed: bool = False) -> str:
    """Return `12.3 %`, `+12.3 %` if `signed`, or `-` for None."""
    return "-" if value is None else f"{value:{'+' if signed else ''},.1f} %"


def exact(value: float | int | str | None) -> str:
    """Return a table cell: a float at full precision, an empty string for None."""
    return "" if value is None else f"{value:.17g}" if isinstance(value, float) else str(value)
