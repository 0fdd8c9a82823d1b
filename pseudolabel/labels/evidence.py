"""Look up the teacher's scores of labelled clips, matched by clip id and class id, never by row number."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from pseudolabel.errors import ClipMismatch, InputError, first_few, shown
from pseudolabel.labels.additions import index_in
from pseudolabel.labels.aliases import aliases_report, find_aliases, one_clip_twice
from pseudolabel.labels.table import LabelTable
from pseudolabel.options import SECONDS

KEPT_MAPPED = 1 << 30  # bytes: pages read from larger mapped files are released
NAN_SCORES = "scores are NaN"  # why a clip is missing
READ_CLIPS = 1 << 14  # clips per read when looking for clips without scores


def evidence_scale(text: str) -> str:
    """Return `clip`, or a window length as stores name it: `2s`, `1.5s`.

    Raises:
        InputError: the text is neither.
    """
    if text == "clip":
        return text
    try:
        length_s = float(text.removesuffix("s"))
    except ValueError:
        length_s = math.nan
    if SECONDS.broken_by(length_s):
        message = f"{shown(text)} is neither `clip` nor a length of windows in seconds, up to a day"
        raise InputError(message, "--evidence", "Give clip, or a length such as 2s, 1.5s or 10.")
    return f"{length_s!r}".removesuffix(".0") + "s"


class KeyedScores(Protocol):
    """Scores keyed by clip id and class id, such as a ScoreStore."""

    clip_ids: Sequence[str]
    class_ids: Sequence[str]

    def clip_scores(self) -> np.ndarray:
        """Return (clips, classes) in [0, 1], possibly memory-mapped."""

    def scores(self, window_s: float) -> np.ndarray:
        """Return (clips, windows, classes) in [0, 1], possibly memory-mapped."""

    def n_windows(self, window_s: float) -> np.ndarray:
        """Return how many windows of each clip are real, (clips,) int64."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Scores looked up by a label table's rows and columns; only the requested scores are read.

    Args:
        labels: the N clips and K classes.
        scores: float array (clips, classes) or (clips, windows, classes), in any order.
        row_of: (N,) int64 row of each labelled clip in `scores`, -1 if it has none.
        column_of: (K,) int64 column of each class in `scores`, -1 if it has none.
        missing: (clip id, reason) of the clips without scores, in table order.
        window_s: length of the windows in seconds; the best window counts. None if `scores` are of whole clips.
        n_windows: number of real windows in each row of `scores`.
        aliases: {labelled clip: its id in the scores}, where these differ.
        hop_s: seconds between window starts.
    """

    labels: LabelTable
    scores: np.ndarray
    row_of: np.ndarray
    column_of: np.ndarray
    missing: tuple[tuple[str, str], ...] = ()
    window_s: float | None = None
    n_windows: np.ndarray | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    hop_s: float | None = None

    @classmethod
    def match(
        cls, labels: LabelTable, scores: KeyedScores | np.ndarray | None, strict: bool = False, scale: str = "clip"
    ) -> Evidence:
        """Match the labelled clips and classes with the scores, or with a plain (N, K) array in label order.

        A clip may have its scores under another id (aliases.py). A clip whose scores (of the first window) are all NaN
        counts as having none. If `scores` is None, no clip has scores and none is reported missing.

        Args:
            scale: `clip`, or the length of windows, of which the best counts: `2s`, `1.5s`.

        Raises:
            ClipMismatch: no labelled clip has scores, one has none and `strict` is set, or an id fits several clips.
            InputError: the array has another shape, the scores have no class of the vocabulary, or there are no such
                windows.
        """
        n_clips, n_classes = labels.matrix.shape
        if scores is None:
            return cls(labels, np.zeros((0, 0)), np.full(n_clips, -1), np.full(n_classes, -1))
        if isinstance(scores, np.ndarray):
            _check_array(labels, scores, scale)
            return cls(labels, scores, np.arange(n_clips), np.arange(n_classes))._without_nan_clips(strict)
        row_of = index_in(labels.clip_ids, scores.clip_ids)
        column_of = index_in(labels.vocabulary.class_ids, labels.vocabulary.own_ids(scores.class_ids))
        aliases = _find_under_aliases(labels, scores, row_of)
        _check_overlap(labels, scores, row_of, column_of)
        if scale == "clip":
            found = cls(labels, scores.clip_scores(), row_of, column_of, aliases=aliases)
        else:
            length_s = float(scale.removesuffix("s"))
            hop_s = getattr(scores, "hop_s", lambda length_s: length_s)(length_s)
            windows = {"window_s": length_s, "n_windows": scores.n_windows(length_s), "hop_s": hop_s}
            found = cls(labels, scores.scores(length_s), row_of, column_of, aliases=aliases, **windows)
        return found._without_nan_clips(strict)

    def _without_nan_clips(self, strict: bool) -> Evidence:
        """Return a copy in which clips with all-NaN scores are unscored, and all unscored clips are in `missing`."""
        row_of = self.row_of.copy()
        clips, first = np.flatnonzero(row_of >= 0), self.column_of[self.column_of >= 0][0]
        scores = self.scores if self.window_s is None else self.scores[:, 0]
        for start in range(0, len(clips), READ_CLIPS):  # only suspects are read in full
            block = clips[start : start + READ_CLIPS]
            suspects = block[np.isnan(scores[row_of[block], first])]
            row_of[suspects[np.isnan(scores[row_of[suspects]]).all(axis=1)]] = -1
            let_go(self.scores)
        ids, n_clips = self.labels.clip_ids, len(self.labels)
        rows = np.flatnonzero(row_of < 0)
        missing = tuple((ids[row], "no scores" if self.row_of[row] < 0 else NAN_SCORES) for row in rows.tolist())
        refuse_unscored(missing, n_clips, strict)
        return replace(self, row_of=row_of, missing=missing)

    def aliases_report(self) -> str:
        """Return one line about the clips with scores under another id, '' if there are none."""
        return aliases_report(self.aliases, len(self.labels), "scores")

    def why_none(self, clip: int) -> str:
        """Return why a class of the clip in a row has no score."""
        if self.row_of[clip] >= 0:
            return "the class is not among the scored classes"
        unreadable = (self.labels.clip_ids[clip], NAN_SCORES) in self.missing
        return "the clip's scores are NaN" if unreadable else "the clip has no scores"

    def at(self, clips: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return the scores of (clip, class) pairs, of the clip or its best window, as float64; NaN for no score.

        Raises:
            InputError: a score is outside [0, 1].
        """
        return self.best(clips, classes)[0]

    def best(self, clips: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores as `at`, and the start of the first window with each score (seconds; NaN: no window)."""
        rows, columns = self.row_of[clips], self.column_of[classes]
        scored = np.flatnonzero((rows >= 0) & (columns >= 0))
        rows, columns = rows[scored], columns[scored]
        values, onsets_s = np.full(len(clips), np.nan), np.full(len(clips), np.nan)
        if self.window_s is None:
            best = np.asarray(self.scores[rows, columns], dtype=np.float64)
        else:
            scores = np.asarray(self.scores[rows, :, columns])
            scores[np.arange(scores.shape[1]) >= self.n_windows[rows, None]] = 0
            improper = ~((scores >= 0) & (scores <= 1))
            windows = np.where(improper.any(axis=1), improper.argmax(axis=1), scores.argmax(axis=1))
            best = np.take_along_axis(scores, windows[:, None], axis=1)[:, 0].astype(np.float64)
            onsets_s[scored] = windows * self.hop_s
        let_go(self.scores)
        if len(wrong := np.flatnonzero(~((best >= 0) & (best <= 1)))):
            first = wrong[0]
            class_id = self.labels.vocabulary.class_ids[classes[scored[first]]]
            raise InputError(
                f"the score {best[first]:g} of class {class_id!r} is not in [0, 1]",
                self.labels.clip_ids[clips[scored[first]]],
                "Score this clip again." if np.isnan(best[first]) else "Scores are probabilities: apply the sigmoid.",
            )
        values[scored] = best
        return values, onsets_s


def refuse_unscored(missing: Sequence[tuple[str, str]], n_clips: int, strict: bool) -> None:
    """Raise ClipMismatch if no clip has scores, or with `strict` if one lacks them; `missing` has (clip id, reason)."""
    if missing and (strict or len(missing) == n_clips):
        raise ClipMismatch(
            f"{len(missing)} of {n_clips} labelled clips have no scores: {first_few(clip for clip, _ in missing)}",
            remedy="Score them, or omit --strict to keep their labels as they are." if strict else "",
        )


def let_go(scores: np.ndarray) -> None:
    """Release the pages of a large memory-mapped file from this process; the system's cache keeps them."""
    mapped = getattr(scores, "_mmap", None)
    if mapped is not None and scores.nbytes > KEPT_MAPPED and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _check_array(labels: LabelTable, scores: np.ndarray, scale: str) -> None:
    if scores.dtype.kind not in "fiub":
        raise InputError(f"scores are numbers, not {scores.dtype}")
    if scale != "clip":
        raise InputError("a plain array has no windows", f"--evidence {scale}", "Give a ScoreStore.")
    if scores.shape != labels.matrix.shape:
        message = f"scores have the shape {scores.shape}, labels {labels.matrix.shape}"
        raise InputError(message, remedy="Give a ScoreStore.")


def _find_under_aliases(labels: LabelTable, scores: KeyedScores, row_of: np.ndarray) -> dict[str, str]:
    """Fill in the rows of clips scored under another id; return {labelled clip: scored id}."""
    path, absent = getattr(scores, "path", ""), [labels.clip_ids[clip] for clip in np.flatnonzero(row_of < 0).tolist()]
    exact = labels.row_of if any("/" in clip_id or "\\" in clip_id for clip_id in absent) else ()
    aliases = find_aliases(absent, scores.clip_ids, path, exact) if absent else {}
    if aliases:
        rows = index_in(list(aliases.values()), scores.clip_ids)
        for clip_id, scored_id in np.array(list(aliases.items()))[np.isin(rows, row_of)].tolist():
            raise one_clip_twice(scored_id, clip_id, scored_id, path)
        row_of[index_in(list(aliases), labels.clip_ids)] = rows
    return aliases


def _check_overlap(labels: LabelTable, scores: KeyedScores, row_of: np.ndarray, column_of: np.ndarray) -> None:
    path, class_ids = getattr(scores, "path", ""), labels.vocabulary.class_ids
    if (row_of < 0).all():
        message = (
            f"not one of the {len(labels)} labelled clips ({first_few(labels.clip_ids)}) is among the "
            f"{len(scores.clip_ids)} scored ones ({first_few(scores.clip_ids)})"
        )
        raise ClipMismatch(message, path, "Give the scores of the same clips.")
    if (column_of < 0).all():
        message = (
            f"not one of the {len(class_ids)} classes ({first_few(class_ids)}) is among the "
            f"{len(scores.class_ids)} scored ones ({first_few(scores.class_ids)})"
        )
        raise InputError(message, path, "Give the --vocabulary that the scores were made with.")
