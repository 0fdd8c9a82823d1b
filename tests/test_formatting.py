"""Numbers as readers and files have them."""

from __future__ import annotations

import math

import pytest

from pseudolabel.formatting import exact, fraction, percent, plural


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (plural(1, "clip"), "1 clip"),
        (plural(12_345, "clip"), "12,345 clips"),
        (plural(2, "class"), "2 classes"),
        (fraction(0.4123), ".412"),
        (fraction(1.0), "1.000"),
        (fraction(-0.0123), "-.012"),
        (fraction(0.5, 1), ".5"),
        (fraction(0.4125), ".412"),
        (fraction(2.5), "2.500"),
        (fraction(None), "-"),
        (fraction(math.nan), "-"),
        (percent(12.34), "12.3 %"),
        (percent(12.34, signed=True), "+12.3 %"),
        (percent(None), "-"),
        (exact(0.1), "0.10000000000000001"),
        (exact(3), "3"),
        (exact(None), ""),
    ],
)
def test_numbers_are_written_as_in_the_papers_and_exactly_in_files(text, expected):
    assert text == expected
