"""Tables and numbers as text: for a terminal, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pseudolabel.reports.rows import Spread

Table = tuple[list[str], list[list[str]]]


def fraction(value: float | None, digits: int = 3) -> str:
    """Return `.412`, `1.000`, `-.012`, or `-` where there is no number."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def spread_text(spread: Spread, digits: int = 3) -> str:
    """Return `.412 ± .010`, or the mean alone where one run gives no spread."""
    mean = fraction(spread.mean, digits)
    return mean if spread.sd is None or mean == "-" else f"{mean} ± {fraction(spread.sd, digits)}"


def count(values: Sequence[float]) -> str:
    """Return a count with thousands separators, a range where runs differ, `-` where it is unknown."""
    if not len(values):
        return "-"
    low, high = (f"{round(value):,}" for value in (min(values), max(values)))
    return low if low == high else f"{low}-{high}"


def plural(n: int, noun: str) -> str:
    """Return `1 clip`, `2 clips`, `2 classes`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}{'es' if noun.endswith('s') else 's'}"


def percent(value: float | None) -> str:
    """Return `12.3 %`."""
    return "-" if value is None else f"{value:.1f} %"


def aligned(table: Table) -> str:
    """Return a table in aligned columns for a terminal: first column left, the others right."""
    header, lines = table
    widths = [max(len(line[k]) for line in (header, *lines)) for k in range(len(header))]
    cells = [
        [cell.ljust(width) if k < _n_text(header) else cell.rjust(width) for k, (cell, width) in enumerate(pairs)]
        for pairs in (list(zip(line, widths, strict=True)) for line in (header, *lines))
    ]
    return "\n".join("  ".join(line).rstrip() for line in cells)


def folded(table: Table, width: int = 105) -> str:
    """Return a table in aligned columns; one that is wider than `width` as several, each with the text columns."""
    header, lines = table
    n_text, first, parts = _n_text(header), _n_text(header), []
    while first < len(header):
        stop = first + 1

        def columns(end: int, first: int = first) -> Table:
            return header[:n_text] + header[first:end], [line[:n_text] + line[first:end] for line in lines]

        while stop < len(header) and max(map(len, aligned(columns(stop + 1)).splitlines())) <= width:
            stop += 1
        parts.append(aligned(columns(stop)))
        first = stop
    return "\n\n".join(parts)


def markdown(table: Table) -> str:
    """Return a table as Markdown, padded so that it reads well as plain text too."""
    header, lines = table
    widths = [max(3, *(len(line[k]) for line in (header, *lines))) for k in range(len(header))]
    n_text = _n_text(header)

    def line_of(cells: list[str]) -> str:
        padded = [c.ljust(w) if k < n_text else c.rjust(w) for k, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if k < n_text else "-" * (width - 1) + ":" for k, width in enumerate(widths)]
    return "\n".join([line_of(header), f"| {' | '.join(rule)} |", *map(line_of, lines)])


def _n_text(header: list[str]) -> int:
    """Return how many of the first columns hold text."""
    return 2 if header[:2] in (["list", "type"], ["β", "row"]) else 1


def signed(spread: Spread, digits: int = 3) -> str:
    """Return `+.012 ± .004`, `-.012`: a difference."""
    text = spread_text(spread, digits)
    return text if text.startswith("-") else f"+{text}"
