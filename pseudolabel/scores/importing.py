"""Answers of another model become a score store: checked score by score, at one scale or several, clip by clip.

Every score of a real window (import_windows.py) must be a number in [0, 1]; what is beyond by 1e-5 at most is rounding,
and taken as 0 or 1. Windows after these are stored as 0, whatever fills them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pseudolabel.errors import InputError
from pseudolabel.progress import Progress
from pseudolabel.scores.import_windows import ROUNDING, Counted, Lengths, count_windows, has_answer
from pseudolabel.scores.imported import Answers
from pseudolabel.scores.store import stored_types, write_scores
from pseudolabel.scores.windows import CLIP, window_name

LEAST_WINDOW_S = 0.001  # length of a window, and seconds from one to the next


@dataclass(frozen=True, eq=False)
class Part:
    """Answers at one scale.

    Args:
        answers: of whole clips (N, K), or of windows (N, W, K).
        window_s: length of the windows in seconds; None: whole clips.
        hop_s: seconds from window to window; None: the length.

    Raises:
        InputError: `window_s` does not fit the number of axes; it or `hop_s` is below LEAST_WINDOW_S.
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
            raise InputError(f"{name} holds {shape[1]} windows a clip", "--window-s",
                             "Give their length in seconds, and --hop-s where they overlap.")  # fmt: skip
        if len(shape) == 2 and self.window_s is not None:
            raise InputError(f"{name} holds one answer a clip, no windows", "--window-s", "Omit it.")

    @property
    def scale(self) -> str:
        """Return `clip`, or `2s`."""
        return window_name(CLIP if self.window_s is None else self.window_s)

    @property
    def every_s(self) -> float:
        """Return the seconds from window to window."""
        return self.hop_s or self.window_s or 0.0


@dataclass
class Imported:
    """What was found on the way.

    Args:
        clipped: how many scores were taken as 0 or 1.
        silent: {scale: clips whose last real windows have no score above 0}.
        counted: {scale: the real windows} of windows.
    """

    clipped: int = 0
    silent: dict[str, int] = field(default_factory=dict)
    counted: dict[str, Counted] = field(default_factory=dict)


def import_scores(
    parts: Sequence[Part],
    out: str | Path,
    attributes: Mapping[str, object] | None = None,
    overwrite: bool = False,
    lengths: Lengths | None = None,
    beside: Callable[[int, Imported], None] | None = None,
    store: str | None = None,
) -> Imported:
    """Write the score store of answers at one scale or several.

    Args:
        parts: answers of the same clips and classes, each at another scale.
        lengths: of the clips; None: all windows are real.
        beside: as in `write_scores`; also given what was found.
        store: as for `stored_types`.

    Raises:
        InputError: a score is not in [0, 1], a clip has more windows than it can have, or nothing says how many it has
            (`count_windows`).
        OutputExists: there is such a file and `overwrite` is false.
    """
    found, first = Imported(), parts[0].answers
    windowed = [part for part in parts if part.window_s is not None]
    if lengths is not None:
        found.counted = {part.scale: count_windows(part.answers, part.window_s, part.every_s, lengths)
                         for part in windowed}  # fmt: skip
    shapes = {part.scale: part.answers.shape for part in parts}
    differing = {scale: counted.counts for scale, counted in found.counted.items()
                 if (counted.counts < shapes[scale][1]).any()}  # fmt: skip
    streams = {part.scale: _checked(part, found.counted.get(part.scale), found) for part in parts}
    write_scores(
        out, first.clip_ids, first.class_ids, shapes, differing, _side_by_side(streams), attributes,
        overwrite, {part.scale: part.every_s for part in windowed},
        (lambda crc32: beside(crc32, found)) if beside else None, stored_types(shapes, store),
    )  # fmt: skip
    return found


def _side_by_side(streams: Mapping[str, Iterator[np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    """Yield the same consecutive clips of all streams, whose blocks may differ in length."""
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


def _checked(part: Part, counted: Counted | None, found: Imported) -> Iterator[np.ndarray]:
    """Yield the blocks; InputError names clip, class and value of the first score that is none."""
    start, answers = 0, part.answers
    with Progress(f"import {part.scale}", answers.shape[0]) as progress:
        for block in answers.blocks():
            if counted is not None:
                block = _real(part, block, start, counted, found)
            wrong = ~((block >= 0) & (block <= 1))
            if wrong.any():
                rounded = wrong & (block >= -ROUNDING) & (block <= 1 + ROUNDING)
                if not np.array_equal(rounded, wrong):
                    raise _improper(answers, block, start, wrong & ~rounded)
                found.clipped += int(rounded.sum())
                block = block.clip(0, 1)
            yield block
            start += len(block)
            progress.advance(len(block))


def _real(part: Part, block: np.ndarray, start: int, counted: Counted, found: Imported) -> np.ndarray:
    """Return a block with 0 after the real windows; InputError where there are answers at a clip's end or later."""
    clips = slice(start, start + len(block))
    counts, seconds, there = counted.counts[clips], counted.seconds[clips], has_answer(block)
    beyond = np.arange(block.shape[1]) >= counts[:, None]
    refused = beyond & there & ~np.isnan(seconds)[:, None]
    if refused.any():
        row, window = np.argwhere(refused)[0].tolist()
        raise InputError(
            f"window {window} would begin at {window * part.every_s:g} s of a clip of {seconds[row]:g} s",
            f"{part.answers.path}, clip {part.answers.clip_ids[start + row]!r}",
            "Give --hop-s, the seconds from window to window; --clips, --lengths or --clip-s where clips are longer; "
            f"or --lengths with n_windows_{part.scale}.",
        )  # fmt: skip
    last = there[np.arange(len(block)), counts - 1]
    found.silent[part.scale] = found.silent.get(part.scale, 0) + int((~last & (counts > 1)).sum())
    return np.where(beyond[..., None], block.dtype.type(0), block) if beyond.any() else block


def _improper(answers: Answers, block: np.ndarray, start: int, wrong: np.ndarray) -> InputError:
    row, *window, column = np.argwhere(wrong)[0].tolist()
    value, at = block[row, *window, column], f", window {window[0]}" if window else ""
    remedy = "Scores are probabilities: apply the sigmoid first."
    if not np.isfinite(value):
        fewer = ", or say by --lengths how many windows they have" if window else ""
        remedy = f"Leave clips without answers out{fewer}."
    return InputError(
        f"the score {value:g} of class {answers.class_ids[column]!r} is not in [0, 1]",
        f"{answers.path}, clip {answers.clip_ids[start + row]!r}{at}", remedy,
    )  # fmt: skip
