"""Import another model's answers as a score store, at one scale or several, checking every score.

An array (N, W, K) is as wide as its longest clip needs. Window w begins at w * hop_s; a clip has at least one window,
and none begins at or after its end. Windows wholly inside their clip are real. Models differ in how they treat windows
cut by the clip's end: these are real up to the last one with a score above 0. The rest of a row (0, NaN, or no
probability at all) is stored as 0. If a list counts the windows, its numbers take precedence.

Every score of a real window must be a number in [0, 1]; up to 0.001 outside, the precision of float16, counts as
rounding and is set to 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.aliases import match_clips
from pseudolabel.progress import Progress
from pseudolabel.scores.answers import Answers
from pseudolabel.scores.windows import CLIP, possible_windows, refuse_windows_beyond, whole_windows, window_name
from pseudolabel.scores.writing import ScoreLayout, stored_types, write_scores
from pseudolabel.tables import columns, text_rows

ROUNDING = 1e-3  # tolerance below 0 and above 1: of float16
PERCENT = 100 + ROUNDING
DEFAULT_CLIP_S = 10.0  # length of an AudioSet clip
LEAST_WINDOW_S = 0.001  # least window length and least hop
MOST_CHECKED = 1 << 26  # bytes of an array, as float32, that a check reads as a whole
COUNTED = "n_windows_"  # prefix of columns in a list of lengths: n_windows_2s


# ---- what is imported -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Part:
    """Answers at one scale.

    Args:
        answers: scores of whole clips (N, K) or of windows (N, W, K).
        window_s: length of the windows in seconds; None: whole clips.
        hop_s: seconds between window starts; None: `window_s`.

    Raises:
        InputError: `window_s` does not fit the number of axes, or it or `hop_s` is below LEAST_WINDOW_S.
    """

    answers: Answers
    window_s: float | None = None
    hop_s: float | None = None

    def __post_init__(self):
        for option, length_s in (("--window-s", self.window_s), ("--hop-s", self.hop_s)):
            if length_s is not None and not LEAST_WINDOW_S <= length_s < math.inf:
                raise InputError(f"{length_s:g} s; it must be {LEAST_WINDOW_S:g} s or more", option, "Give seconds.")
        name, shape = self.answers.path.name, self.answers.shape
        if len(shape) == 3 and self.window_s is None:
            remedy = "Give their length in seconds, and --hop-s where they overlap."
            raise InputError(f"{name} holds {shape[1]} windows a clip", "--window-s", remedy)
        if len(shape) == 2 and self.window_s is not None:
            raise InputError(f"{name} holds one answer a clip, no windows", "--window-s", "Omit it.")

    @property
    def scale(self) -> str:
        """Return `clip`, or `2s`."""
        return window_name(CLIP if self.window_s is None else self.window_s)

    @property
    def every_s(self) -> float:
        """Return the seconds between window starts."""
        return self.hop_s or self.window_s or 0.0


@dataclass(frozen=True)
class Lengths:
    """Known clip lengths, from a list, a clip store or an option.

    Args:
        seconds: {clip id: seconds}.
        counted: {scale name: {clip id: number of windows}}; these take precedence.
        path: the list with those counts.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    counted: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    path: str | Path = ""


@dataclass(frozen=True, eq=False)
class RealWindows:
    """The real windows of each clip.

    Args:
        counts: (N,) int64, at least 1.
        seconds: (N,) float64 length of each clip; NaN if a list counts its windows, and scores after those are ignored.
    """

    counts: np.ndarray
    seconds: np.ndarray


@dataclass
class Imported:
    """Statistics of an import.

    Args:
        clipped: number of scores rounded to 0 or 1.
        silent: {scale of windows: number of clips without a score above 0 in their last real window}.
        real: {scale of windows: its real windows}.
    """

    clipped: int = 0
    silent: dict[str, int] = field(default_factory=dict)
    real: dict[str, RealWindows] = field(default_factory=dict)


# ---- which windows are real -------------------------------------------------------------------------------------


def read_lengths(path: str | Path, clip_ids: Sequence[str], scales: Sequence[str]) -> Lengths:
    """Read a table with the columns `clip_id` and `seconds`, `n_windows_2s` (for windows of 2 s), or both.

    Args:
        clip_ids: the clips to look up; the list may have others, and may use aliases of these (aliases.py).
        scales: names of the scales whose window counts to read.

    Raises:
        InputError: a column is missing, a clip is listed twice, or a value is not a length or a number of windows.
        ClipMismatch: none of the clips is listed.
    """
    path, names = Path(path), ("seconds", *(f"{COUNTED}{scale}" for scale in scales))
    _, header = next(text_rows(path), (1, [""]))
    present = [name for name in names if name in header]
    if "clip_id" not in header or not present:
        remedy = f"The header needs clip_id, and {' or '.join(names)}."
        raise InputError(f"columns found: {', '.join(header) or 'none'}", f"{path}:1", remedy)
    listed: dict[str, tuple[float, ...]] = {}
    for line, (clip_id, *values) in columns(text_rows(path), path, ("clip_id",), *((name,) for name in present)):
        if clip_id in listed:
            raise InputError(f"clip {clip_id!r} is listed twice", f"{path}:{line}", "Keep one row a clip.")
        pairs = zip(values, present, strict=True)
        listed[clip_id] = tuple(_length(value, name, f"{path}:{line}") for value, name in pairs)
    matched = match_clips(clip_ids, listed, path)
    if not matched.found:
        raise ClipMismatch(f"lists none of the {len(clip_ids)} clips ({first_few(clip_ids)})", path)
    columns_of = zip(*map(listed.get, matched.known()), strict=True)
    by_name = {name: dict(zip(matched.found, of, strict=True)) for name, of in zip(present, columns_of, strict=True)}
    seconds = by_name.pop("seconds", {})
    return Lengths(seconds, {name.removeprefix(COUNTED): counts for name, counts in by_name.items()}, path)


def _length(text: str, name: str, place: str) -> float:
    """Parse seconds above 0, or a number of windows of at least 1."""
    try:
        value = float(text) if name == "seconds" else int(text)
    except ValueError:
        value = 0
    if not 0 < value < math.inf:
        what = "seconds above 0" if name == "seconds" else "a whole number of at least 1"
        raise InputError(f"{name} is {text!r}", place, f"Give {what}.")
    return value


def real_windows_of(part: Part, lengths: Lengths) -> RealWindows:
    """Return which windows of answers (N, W, K) are real; reads the array once if lengths alone do not decide.

    Raises:
        InputError: the last windows of a clip of unknown length have no score above 0, or a list counts more windows
            than fit the clip or the array.
    """
    answers, width = part.answers, part.answers.shape[1]
    of_scale = lengths.counted.get(part.scale, {})
    stated = np.array([of_scale.get(clip_id, 0) for clip_id in answers.clip_ids])
    seconds = np.array([lengths.seconds.get(clip_id, math.nan) for clip_id in answers.clip_ids])
    _refuse_stated(part, stated, seconds, lengths.path or answers.path)
    unknown, seconds = np.isnan(seconds) & (stated == 0), np.where(np.isnan(seconds), DEFAULT_CLIP_S, seconds)
    most = np.minimum(possible_windows(seconds, part.every_s), width)
    fewest = np.where(unknown, most, np.minimum(whole_windows(seconds, part.window_s, part.every_s), width))
    counts = np.where(stated > 0, stated, most)
    if unknown.any() or (fewest < counts)[stated == 0].any():
        answered = _answered(answers)
        short = np.flatnonzero(unknown & (answered < width))
        if len(short):
            message = (
                f"{len(short)} clips of unknown length end in windows of {part.scale} without a score above 0, which "
                f"may not be real: {first_few(answers.clip_ids[clip] for clip in short.tolist())}"
            )
            remedy = "Give --lengths, or the --clips; or --clip-s, where all clips are so long and have these windows."
            raise InputError(message, answers.path, remedy)
        counts = np.where(stated > 0, stated, answered.clip(fewest, most))
    return RealWindows(counts, np.where(stated > 0, math.nan, seconds))


def _refuse_stated(part: Part, stated: np.ndarray, seconds: np.ndarray, path: str | Path) -> None:
    """Raise InputError if a list counts more windows than the array has, or than begin in a clip of known length."""
    answers, width = part.answers, part.answers.shape[1]
    wide = np.flatnonzero(stated > width)
    if len(wide):
        clip_id, n = answers.clip_ids[wide[0]], stated[wide[0]]
        message = f"clip {clip_id!r} has {n} windows of {part.scale}, {answers.path} {width} for each"
        raise InputError(message, path, "Correct the number.")
    both = np.flatnonzero((stated > 0) & ~np.isnan(seconds))
    clip_ids, remedy = [answers.clip_ids[clip] for clip in both.tolist()], "Correct the number, or give --hop-s."
    refuse_windows_beyond(clip_ids, stated[both], part.every_s, seconds[both], part.window_s, path, remedy)


def _has_answer(block: np.ndarray) -> np.ndarray:
    """Return which windows of scores (n, W, K) have a probability above 0, (n, W) bool."""
    return ((block > 0) & (block <= 1 + ROUNDING)).any(axis=-1)


def _answered(answers: Answers) -> np.ndarray:
    """Return each clip's number of windows up to its last one with a score above 0, (N,) int64."""
    last, width = [], answers.shape[1]
    with Progress("count windows", answers.shape[0]) as progress:
        for block in answers.blocks():
            there = _has_answer(block)
            last.append(np.where(there.any(axis=1), width - there[:, ::-1].argmax(axis=1), 0))
            progress.advance(len(block))
    return np.concatenate(last)


# ---- the store --------------------------------------------------------------------------------------------------


def import_scores(
    parts: Sequence[Part],
    out: str | Path,
    attributes: Mapping[str, object] | None = None,
    overwrite: bool = False,
    lengths: Lengths | None = None,
    beside: Callable[[int, Imported], None] | None = None,
    store: str | None = None,
) -> Imported:
    """Write a score store from answers at one scale or several.

    Args:
        parts: answers for the same clips and classes, each at a different scale.
        lengths: clip lengths; None: all windows are real.
        beside: as in `write_scores`, with the `Imported` as second argument.
        store: as for `stored_types`.

    Raises:
        InputError: a score is not in [0, 1], a clip has more windows than fit its length, or its number of windows
            cannot be determined (`real_windows_of`).
        OutputExists: the file exists and `overwrite` is false.
    """
    imported, first = _windows_of(parts, lengths), parts[0].answers
    shapes = {part.scale: part.answers.shape for part in parts}
    n_windows = {scale: real.counts for scale, real in imported.real.items()}
    hops_s = {part.scale: part.every_s for part in parts if part.window_s is not None}
    layout = ScoreLayout(first.clip_ids, first.class_ids, shapes, n_windows, hops_s, stored_types(shapes, store))
    blocks = _side_by_side({part.scale: _checked(part, imported) for part in parts})
    write_scores(out, layout, blocks, attributes, overwrite, beside and (lambda crc32: beside(crc32, imported)))
    return imported


def check_import(parts: Sequence[Part], lengths: Lengths | None = None, most_bytes: int = MOST_CHECKED) -> None:
    """Raise what `import_scores` would, and write nothing; of larger arrays only the first block is read."""
    for part in parts:
        answers = part.answers
        if math.prod(answers.shape) * 4 > most_bytes:
            part = replace(part, answers=_first_block(answers))
        for _ in _checked(part, _windows_of([part], lengths)):
            pass


def _first_block(answers: Answers) -> Answers:
    """Return the answers of the clips in the first block."""
    block = next(answers.blocks())
    n = len(block)
    return replace(
        answers,
        clip_ids=answers.clip_ids[:n],
        shape=(n, *answers.shape[1:]),
        blocks=lambda: iter([block]),
        n_windows=answers.n_windows[:n],
    )


def _windows_of(parts: Sequence[Part], lengths: Lengths | None) -> Imported:
    """Return the statistics of an import that has not begun, with the real windows of its parts."""
    windowed = [part for part in parts if part.window_s is not None]
    return Imported(real={} if lengths is None else {part.scale: real_windows_of(part, lengths) for part in windowed})


def _side_by_side(streams: Mapping[str, Iterator[np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    """Yield aligned blocks of consecutive clips from streams whose blocks may differ in length."""
    held: dict[str, np.ndarray] = {}
    while True:
        for scale, stream in streams.items():
            block = held.get(scale)
            held[scale] = next(stream, None) if block is None or not len(block) else block
        if any(block is None for block in held.values()):
            return
        n_clips = min(map(len, held.values()))
        yield {scale: block[:n_clips] for scale, block in held.items()}
        held = {scale: block[n_clips:] for scale, block in held.items()}


def _checked(part: Part, imported: Imported) -> Iterator[np.ndarray]:
    """Yield checked blocks; InputError names the clip, class and value of the first score that is not a probability."""
    start, answers, real = 0, part.answers, imported.real.get(part.scale)
    with Progress(f"import {part.scale}", answers.shape[0]) as progress:
        for block in answers.blocks():
            if real is not None:
                block = _without_the_rest(part, block, start, real, imported)
            wrong = ~((block >= 0) & (block <= 1))
            if wrong.any():
                rounded = wrong & (block >= -ROUNDING) & (block <= 1 + ROUNDING)
                if not np.array_equal(rounded, wrong):
                    raise _improper(answers, block, start, wrong & ~rounded)
                imported.clipped += int(rounded.sum())
                block = block.clip(0, 1)
            yield block
            start += len(block)
            progress.advance(len(block))


def _without_the_rest(part: Part, block: np.ndarray, start: int, real: RealWindows, imported: Imported) -> np.ndarray:
    """Return a block with 0 after the real windows; InputError if a window at or after a clip's end has an answer."""
    clips = slice(start, start + len(block))
    counts, seconds, there = real.counts[clips], real.seconds[clips], _has_answer(block)
    beyond = np.arange(block.shape[1]) >= counts[:, None]
    refused = beyond & there & ~np.isnan(seconds)[:, None]
    if refused.any():
        row, window = np.argwhere(refused)[0].tolist()
        begin = f"window {window} would begin at {window * part.every_s:g} s of a clip of {seconds[row]:g} s"
        remedy = (
            "Give --hop-s, the seconds from window to window; --clips, --lengths or --clip-s where clips are longer; "
            f"or --lengths with {COUNTED}{part.scale}."
        )
        raise InputError(begin, f"{part.answers.path}, clip {part.answers.clip_ids[start + row]!r}", remedy)
    last = there[np.arange(len(block)), counts - 1]
    imported.silent[part.scale] = imported.silent.get(part.scale, 0) + int((~last & (counts > 1)).sum())
    return np.where(beyond[..., None], block.dtype.type(0), block) if beyond.any() else block


def _improper(answers: Answers, block: np.ndarray, start: int, wrong: np.ndarray) -> InputError:
    """Return the error for the first wrong score of a block, with what the others of the block suggest."""
    row, *window, column = np.argwhere(wrong)[0].tolist()
    value, at = block[row, *window, column], f", window {window[0]}" if window else ""
    message = f"the score {value:g} of class {answers.class_ids[column]!r} is not in [0, 1]"
    if np.isfinite(value):
        lowest, highest = _range(block[wrong | ((block >= 0) & (block <= 1))])
        message, remedy = f"{message}; scores range from {lowest:g} to {highest:g}", _remedy(lowest, highest)
    else:
        clips = start + np.unique(np.argwhere(wrong & ~np.isfinite(block))[:, 0])
        if len(clips) > 1:
            named = first_few(answers.clip_ids[clip] for clip in clips.tolist())
            message = f"{message}; {len(clips)} clips have such scores: {named}"
        fewer = ", or give in --lengths how many windows they have" if window else ""
        remedy = f"Leave clips without answers out{fewer}."
    return InputError(message, f"{answers.path}, clip {answers.clip_ids[start + row]!r}{at}", remedy)


def _range(scores: np.ndarray) -> tuple[float, float]:
    finite = scores[np.isfinite(scores)]
    return float(finite.min()), float(finite.max())


def _remedy(lowest: float, highest: float) -> str:
    """Return what makes scores of this range probabilities."""
    if lowest >= -ROUNDING and highest <= PERCENT:
        return "Scores are probabilities: divide percentages by 100; of logits, apply the sigmoid first."
    if highest <= ROUNDING:
        return "Scores are probabilities: of logits, apply the sigmoid first; of their logarithms, exp."
    return "Scores are probabilities: of logits, apply the sigmoid first."
