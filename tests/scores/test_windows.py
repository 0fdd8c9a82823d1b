"""The rule of windows against counting by hand, and the names that scales have in files."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.errors import InputError
from pseudolabel.scores.windows import CLIP, n_windows, parse_window, window_bounds, window_name


def slow_bounds(n_samples: int, window: int) -> list[tuple[int, int]]:
    """Cut one window after the other; a last piece shorter than half a window joins the one before."""
    pieces = [(start, min(start + window, n_samples)) for start in range(0, n_samples, window)] or [(0, 0)]
    start, end = pieces[-1]
    if len(pieces) > 1 and Fraction(end - start) < Fraction(window, 2):
        pieces[-2:] = [(pieces[-2][0], end)]
    return pieces


@settings(max_examples=200, deadline=None)
@given(n_samples=st.integers(0, 300), window=st.integers(1, 60))
def test_windows_are_those_of_the_rule(n_samples, window):
    expected = slow_bounds(n_samples, window)
    assert list(map(tuple, window_bounds(n_samples, window).tolist())) == expected
    assert n_windows(n_samples, window) == len(expected)


@settings(max_examples=100, deadline=None)
@given(n_samples=st.integers(0, 10**5), window=st.integers(1, 10**4))
def test_windows_cover_a_clip_once_and_only_the_last_differs_by_up_to_half(n_samples, window):
    bounds = window_bounds(n_samples, window)
    lengths = np.diff(bounds)[:, 0]
    assert bounds.dtype == np.int64
    assert (bounds[0, 0], bounds[-1, 1]) == (0, n_samples)
    assert (bounds[1:, 0] == bounds[:-1, 1]).all()
    assert (lengths[:-1] == window).all()
    assert lengths[-1] < 1.5 * window
    assert 2 * lengths[-1] >= window or len(bounds) == 1


def test_clips_of_ten_seconds_have_one_two_and_five_windows():
    assert [int(n_windows(160_000, seconds * 16_000)) for seconds in (10, 5, 2)] == [1, 2, 5]
    assert n_windows(np.array([0, 79_999, 111_999, 112_000, 160_001]), 32_000).tolist() == [1, 2, 3, 4, 5]


def test_a_window_shorter_than_a_sample_is_refused():
    with pytest.raises(InputError, match="shorter than one sample"):
        n_windows(16_000, round(1e-9 * 16_000))


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.integers(1, 86_400), st.floats(1e-6, 86_400)))
def test_name_of_a_window_parses_back_to_it(window_s):
    parsed = parse_window(window_name(window_s))
    assert parsed == window_s
    assert window_name(parsed) == window_name(window_s)


@pytest.mark.parametrize(
    ("text", "window_s", "name"),
    [("clip", CLIP, "clip"), ("10", 10, "10s"), ("10.0s", 10, "10s"), ("5s", 5, "5s"), ("0.5", 0.5, "0.5s")],
)
def test_windows_are_named_as_in_the_store(text, window_s, name):
    parsed = parse_window(text)
    assert (parsed, type(parsed)) == (window_s, type(window_s))
    assert window_name(parsed) == name
    if parsed != CLIP:
        assert window_name(float(parsed)) == window_name(np.float32(parsed)) == name


@pytest.mark.parametrize("text", ["abc", "", "s", "0", "-1", "nan", "inf", "1e999", "5ss", "clips"])
def test_what_is_no_window_is_refused(text):
    with pytest.raises(InputError, match=r"`clip` or a length in seconds"):
        parse_window(text)


def test_windows_that_differ_have_names_that_differ():
    assert len({window_name(1.0), window_name(math.nextafter(1.0, 2)), window_name(1.0000001)}) == 3
