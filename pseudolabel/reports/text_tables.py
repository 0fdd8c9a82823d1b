"""Tables of text: in aligned columns for a terminal, as Markdown for a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A header and rows of text cells; the first `n_text` columns are words, the others right-aligned numbers."""

    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    n_text: int = 1

    def aligned(self) -> str:
        """Return the table in columns that line up on a terminal."""
        widths = self._widths()
        return "\n".join("  ".join(self._padded(line, widths)).rstrip() for line in (self.header, *self.lines))

    def folded(self, width: int = 105) -> str:
        """Return the table as `aligned` does; if wider than `width`, in parts that each repeat the columns of words."""
        widths, parts, first = self._widths(), [], self.n_text
        of_words = sum(width + 2 for width in widths[: self.n_text])
        while first < len(self.header):
            stop = first + 1
            while stop < len(self.header) and of_words + sum(widths[first : stop + 1]) + 2 * (stop - first) <= width:
                stop += 1
            parts.append(self._part(first, stop).aligned())
            first = stop
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """Return the table as Markdown, padded to be readable as plain text."""
        widths = [max(3, width) for width in self._widths()]
        rule = ["-" * width if k < self.n_text else "-" * (width - 1) + ":" for k, width in enumerate(widths)]
        header, *lines = (self._padded(line, widths) for line in (self.header, *self.lines))
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))

    def _widths(self) -> list[int]:
        return [max(map(len, column)) for column in zip(self.header, *self.lines, strict=True)]

    def _padded(self, line: Sequence[str], widths: Sequence[int]) -> list[str]:
        cells = enumerate(zip(line, widths, strict=True))
        return [cell.ljust(width) if k < self.n_text else cell.rjust(width) for k, (cell, width) in cells]

    def _part(self, first: int, stop: int) -> Table:
        """Return the columns of words, and the columns of numbers from `first` up to `stop`."""
        header, *lines = ([*line[: self.n_text], *line[first:stop]] for line in (self.header, *self.lines))
        return Table(header, lines, self.n_text)


def count_range(values: Sequence[float]) -> str:
    """Return a count with thousands separators, a range if values differ, `-` if there are none."""
    if not len(values):
        return "-"
    low, high = (f"{round(value):,}" for value in (min(values), max(values)))
    return low if low == high else f"{low}-{high}"
