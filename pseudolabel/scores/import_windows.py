"""How many windows of each clip are real, where another model's array (N, W, K) fills up the rows of shorter clips.

Windows that lie wholly in their clip are real. Models differ in those that the clip's end cuts: they are real up to the
last one that has a score above 0. The rest of a row is 0, NaN or no probability at all. Window w begins at w * hop_s;
a clip has at least one, and none begins where the clip has ended. Where a list counts the windows, that number holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.readers import columns
from pseudolabel.progress import Progress
from pseudolabel.scores.imported import Answers
from pseudolabel.scores.windows import possible_windows, refuse_windows_beyond, window_name
from pseudolabel.tables import text_rows

ROUNDING = 1e-5  # beyond 0 and 1
DEFAULT_CLIP_S = 10.0  # length of a clip of AudioSet
REMEDY = "Give --lengths, or the --clips; or --clip-s, where all clips are so long and these windows are theirs."


@dataclass(frozen=True)
class Lengths:
    """What is known of how long clips are.

    Args:
        seconds: {clip id: seconds}.
        counted: {scale name: {clip id: number of windows}}, which decide where they are there.
        place: the list that counts them.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    counted: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    place: str | Path = ""


@dataclass(frozen=True, eq=False)
class Counted:
    """The real windows of each clip.

    Args:
        counts: (N,) int64, at least 1.
        seconds: (N,) float64 length of each clip; NaN where the list counts its windows, and nothing after them is
            looked at.
    """

    counts: np.ndarray
    seconds: np.ndarray


def read_lengths(path: str | Path, clip_ids: Sequence[str], scales: Sequence[str]) -> Lengths:
    """Read a table with the columns `clip_id` and `seconds`, or `n_windows_2s` for windows of 2 s, or both.

    Args:
        clip_ids: the clips that are asked for; the list may have others, and may name clips in other ways (aliases.py).
        scales: names of the scales whose numbers of windows are looked for.

    Raises:
        InputError: a column is missing, a clip is listed twice, a value is not a length or a number of windows.
        ClipMismatch: none of the clips is there.
    """
    path, numbers = Path(path), [f"n_windows_{scale}" for scale in scales]
    _, header = next(text_rows(path), (1, [""]))
    present = [name for name in ("seconds", *numbers) if name in header]
    if "clip_id" not in header or not present:
        needed = " or ".join(("seconds", *numbers))
        raise InputError(f"columns found: {', '.join(header) or 'none'}", f"{path}:1",
                         f"The header needs clip_id, and {needed}.")  # fmt: skip
    found: dict[str, tuple[float, ...]] = {}
    for line, (clip_id, *values) in columns(text_rows(path), path, ("clip_id",), *((name,) for name in present)):
        if clip_id in found:
            raise InputError(f"clip {clip_id!r} is listed twice", f"{path}:{line}", "Keep one row a clip.")
        pairs = zip(values, present, strict=True)
        found[clip_id] = tuple(_length(value, name, f"{path}:{line}") for value, name in pairs)
    matched = match_clips(clip_ids, found, path)
    if not matched.found:
        raise ClipMismatch(f"lists none of the {len(clip_ids)} clips ({first_few(clip_ids)})", path)
    rows = [found[clip_id] for clip_id in matched.known()]
    by_name = {name: dict(zip(matched.found, of_name, strict=True))
               for name, of_name in zip(present, zip(*rows, strict=True), strict=True)}  # fmt: skip
    seconds = by_name.pop("seconds", {})
    return Lengths(seconds, {name.removeprefix("n_windows_"): counts for name, counts in by_name.items()}, path)


def _length(text: str, name: str, place: str) -> float:
    """Return seconds above 0, or a number of windows of at least 1."""
    try:
        value = float(text) if name == "seconds" else int(text)
    except ValueError:
        value = 0
    if not 0 < value < math.inf:
        what = "seconds above 0" if name == "seconds" else "a whole number of at least 1"
        raise InputError(f"{name} is {text!r}", place, f"Give {what}.")
    return value


def whole_windows(lengths_s: np.ndarray, window_s: float, hop_s: float) -> np.ndarray:
    """Return how many windows lie wholly in clips of so many seconds, (N,) int64: at least 1."""
    beside_first = np.floor(np.round((np.asarray(lengths_s) - window_s) / hop_s, 6))
    return np.maximum(beside_first + 1, 1).astype(np.int64)


def count_windows(answers: Answers, window_s: float, hop_s: float, lengths: Lengths) -> Counted:
    """Return which windows of answers (N, W, K) are real; a clip of unknown length has all W.

    The array is read once where the lengths alone do not decide.

    Raises:
        InputError: the length of a clip whose last windows have no answer is not known, or a clip is said to have more
            windows than it or the array has.
    """
    scale, width = window_name(window_s), answers.shape[1]
    of_scale = lengths.counted.get(scale, {})
    stated = np.array([of_scale.get(clip_id, 0) for clip_id in answers.clip_ids])
    seconds = np.array([lengths.seconds.get(clip_id, math.nan) for clip_id in answers.clip_ids])
    _refuse_counted(answers, stated, seconds, window_s, hop_s, lengths.place)
    unknown, seconds = np.isnan(seconds) & (stated == 0), np.where(np.isnan(seconds), DEFAULT_CLIP_S, seconds)
    most = np.minimum(possible_windows(seconds, hop_s), width)
    fewest = np.where(unknown, most, np.minimum(whole_windows(seconds, window_s, hop_s), width))
    counts = np.where(stated > 0, stated, most)
    if unknown.any() or (fewest < counts)[stated == 0].any():
        answered = _answered(answers)
        short = np.flatnonzero(unknown & (answered < width))
        if len(short):
            named = first_few(answers.clip_ids[clip] for clip in short.tolist())
            raise InputError(f"{len(short)} clips of unknown length end in windows of {scale} without a score above 0, "
                             f"which may be none: {named}", answers.path, REMEDY)  # fmt: skip
        counts = np.where(stated > 0, stated, answered.clip(fewest, most))
    return Counted(counts, np.where(stated > 0, math.nan, seconds))


def _refuse_counted(
    answers: Answers, stated: np.ndarray, seconds: np.ndarray, window_s: float, hop_s: float, place: str | Path
) -> None:
    """Raise InputError where a list counts more windows than an array has, or than begin in a clip of known length."""
    wide = np.flatnonzero(stated > answers.shape[1])
    if len(wide):
        clip_id, n = answers.clip_ids[wide[0]], stated[wide[0]]
        raise InputError(f"clip {clip_id!r} has {n} windows of {window_name(window_s)}, {answers.path} "
                         f"{answers.shape[1]} for each", place, "Correct the number.")  # fmt: skip
    both = np.flatnonzero((stated > 0) & ~np.isnan(seconds))
    clip_ids, remedy = [answers.clip_ids[clip] for clip in both.tolist()], "Correct the number, or give --hop-s."
    refuse_windows_beyond(clip_ids, stated[both], hop_s, seconds[both], window_s, place, remedy)


def has_answer(block: np.ndarray) -> np.ndarray:
    """Return which windows of scores (n, W, K) have a score above 0, (n, W) bool; what is no probability is none."""
    return ((block > 0) & (block <= 1 + ROUNDING)).any(axis=-1)


def _answered(answers: Answers) -> np.ndarray:
    """Return how many windows each clip has up to its last one with an answer, (N,) int64."""
    last, width = [], answers.shape[1]
    with Progress("count windows", answers.shape[0]) as progress:
        for block in answers.blocks():
            there = has_answer(block)
            last.append(np.where(there.any(axis=1), width - there[:, ::-1].argmax(axis=1), 0))
            progress.advance(len(block))
    return np.concatenate(last)
