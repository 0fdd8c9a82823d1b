"""Evidence: the teacher's scores of labelled clips, matched by clip id and class id, never by place."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.aliases import aliases_report, find_aliases, one_clip_twice
from pseudolabel.labels.bits import packed
from pseudolabel.labels.table import LabelTable

KEPT_MAPPED = 1 << 30  # bytes of a mapped file, beyond which what was read is not kept in this process
READ_CLIPS = 1 << 14  # whose scores are read at once where clips without scores are looked for
# Numbers from 0 to 1 lie in the order of their bits: type -> that of its bits.
BITS = {np.dtype(np.float16): np.uint16, np.dtype(np.float32): np.uint32}


class KeyedScores(Protocol):
    """Scores keyed by clip id and class id; ScoreStore is one."""

    clip_ids: Sequence[str]
    class_ids: Sequence[str]

    def clip_scores(self) -> np.ndarray:
        """Return (clips, classes) in [0, 1], possibly mapped into memory."""

    def scores(self, window_s: float) -> np.ndarray:
        """Return (clips, windows, classes) in [0, 1], possibly mapped into memory."""

    def n_windows(self, window_s: float) -> np.ndarray:
        """Return how many windows of each clip are real, (clips,) int64."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Scores looked up by a label table's rows and columns; only what is asked for is read.

    Args:
        labels: the N clips and K classes.
        scores: any float array (clips, classes), or (clips, windows, classes), in its own order.
        row_of: (N,) int64 row of each labelled clip in `scores`, -1 where it has none.
        column_of: (K,) int64 column of each class in `scores`, -1 where it has none.
        missing: (clip id, reason) of the clips without scores, in table order.
        window_s: length of the windows, of which the best counts; None where `scores` are the whole clips'.
        n_windows: real windows of each row of `scores`.
        aliases: {labelled clip: its id in the scores} where these differ.
        hop_s: seconds from one window to the next; None: as long as they are.
    """

    labels: LabelTable
    scores: np.ndarray
    row_of: np.ndarray
    column_of: np.ndarray
    missing: tuple[tuple[str, str], ...]
    window_s: float | None = None
    n_windows: np.ndarray | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    hop_s: float | None = None

    @classmethod
    def match(
        cls, labels: LabelTable, scores: KeyedScores | np.ndarray | None, strict: bool = False, scale: str = "clip"
    ) -> Evidence:
        """Find each labelled clip and class in the scores, or in a plain (N, K) array in the labels' order.

        A clip whose id has no scores may have them under another id (aliases.py).
        `scale` is `clip`, or the windows whose best one speaks for the clip: `2s`, `1.5s`. A clip whose scores
        (of the first window) are all NaN counts as having none. Without any `scores` nothing has one or misses one.

        Raises:
            ClipMismatch: not one labelled clip has scores, `strict` and one has none, or ids fit several clips.
            InputError: the array has another shape, no class of the vocabulary is among the scores, or the windows are
                not there.
        """
        if scores is None:
            n_clips, n_classes = labels.matrix.shape
            return cls(labels, np.zeros((0, 0)), np.full(n_clips, -1), np.full(n_classes, -1), ())
        window_s = None if scale == "clip" else float(scale.removesuffix("s"))
        counts, aliases, hop_s = None, {}, None
        if isinstance(scores, np.ndarray):
            if scores.dtype.kind not in "fiub":
                raise InputError(f"scores are numbers, not {scores.dtype}")
            if window_s is not None:
                raise InputError("a plain array has no windows", f"--evidence {scale}", "Give a ScoreStore.")
            if scores.shape != labels.matrix.shape:
                shape = labels.matrix.shape
                raise InputError(f"scores have the shape {scores.shape}, labels {shape}", remedy="Give a ScoreStore.")
            row_of, column_of = np.arange(len(labels)), np.arange(len(labels.vocabulary))
        else:
            row_of = _places(labels.clip_ids, scores.clip_ids)
            aliases = _find_under_aliases(labels, scores, row_of)
            column_of = _places(labels.vocabulary.class_ids, scores.class_ids)
            _check_overlap(labels, scores, row_of, column_of)
            if window_s is not None:
                counts, hop_s = scores.n_windows(window_s), getattr(scores, "hop_s", lambda length: length)(window_s)
            scores = scores.clip_scores() if window_s is None else scores.scores(window_s)
        absent = row_of < 0
        row_of = _without_nan_rows(scores if window_s is None else scores[:, 0], row_of, column_of)
        reasons = ("no scores", "scores are NaN")
        missing = tuple((labels.clip_ids[i], reasons[not absent[i]]) for i in np.flatnonzero(row_of < 0).tolist())
        if missing and (strict or len(missing) == len(labels)):
            raise ClipMismatch(
                f"{len(missing)} of {len(labels)} labelled clips have no scores: {first_few(c for c, _ in missing)}",
                remedy="Score them, or leave --strict away to keep their labels as they are." if strict else "",
            )
        return cls(labels, scores, row_of, column_of, missing, window_s, counts, aliases, hop_s)

    @property
    def n_cells(self) -> int:
        """Return how many scores a clip has: classes by windows."""
        return int(np.prod(self.scores.shape[1:]))

    def aliases_report(self) -> str:
        """Return one line that says which clips have their scores under another id, '' where none has."""
        return aliases_report(self.aliases, len(self.labels), "scores")

    def at(self, clips: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return the scores of (clip, class) pairs as float64, NaN where there is none: of the clip or best window.

        Raises:
            InputError: a score outside [0, 1].
        """
        return self.best(clips, classes)[0]

    def best(self, clips: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what `at` does, and the number of the first window that has this score (int64, -1: no window)."""
        rows, columns = self.row_of[clips], self.column_of[classes]
        there = np.flatnonzero((rows >= 0) & (columns >= 0))
        windows = np.full(len(rows), -1)
        if self.window_s is None:
            found = np.asarray(self.scores[rows[there], columns[there]], dtype=np.float64)
        else:
            scores = np.asarray(self.scores[rows[there], :, columns[there]])
            scores[np.arange(scores.shape[1]) >= self.n_windows[rows[there], None]] = 0
            improper = ~((scores >= 0) & (scores <= 1))
            windows[there] = np.where(improper.any(axis=1), improper.argmax(axis=1), scores.argmax(axis=1))
            found = np.take_along_axis(scores, windows[there, None], axis=1)[:, 0].astype(np.float64)
        wrong = ~((found >= 0) & (found <= 1))
        if wrong.any():
            first = int(np.argmax(wrong))
            clip, class_id = clips[there[first]], self.labels.vocabulary.class_ids[classes[there[first]]]
            raise InputError(
                f"the score {found[first]:g} of class {class_id!r} is not in [0, 1]",
                self.labels.clip_ids[clip],
                "Score this clip again." if np.isnan(found[first]) else "Scores are probabilities: apply the sigmoid.",
            )
        values = np.full(len(rows), np.nan)
        values[there] = found
        return values, windows

    def compare(self, start: int, stop: int, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the classes whose score is above their limit, for the clips from row `start` to before `stop`.

        Args:
            limits: (K,) float64 in [0, 1], NaN where a class has none and no score is above it.

        Returns:
            The classes as sets (n, words), see bits.py; and the sets of those whose score is outside [0, 1], None where
            there is none. Clips and classes without scores are in neither.
        """
        rows, shown = self.row_of[start:stop], self.column_of >= 0
        if not shown.any():
            return packed(np.zeros((len(rows), len(shown)), bool)), None
        consecutive = len(rows) and rows[0] >= 0 and (np.diff(rows) == 1).all()
        let_go(self.scores)
        block = np.asarray(self.scores[rows[0] : rows[-1] + 1] if consecutive else self.scores[rows])
        if len(self.column_of) != block.shape[-1] or (self.column_of != np.arange(block.shape[-1])).any():
            block = block[..., self.column_of]
        if self.window_s is not None:
            real = np.arange(block.shape[1]) < self.n_windows[rows, None]
            block = block if real.all() else np.where(real[..., None], block, block.dtype.type(0))
        known = shown if (rows >= 0).all() else shown & (rows >= 0)[:, None]
        kind = BITS.get(block.dtype)
        if kind and (bits := block.view(kind)).max(initial=0) <= block.dtype.type(1).view(kind):  # twice as fast
            best = bits if self.window_s is None else bits.max(axis=1)
            return packed((best > _bits_not_above(limits, block.dtype)) & known), None
        improper, above = ~((block >= 0) & (block <= 1)), block > limits
        if self.window_s is not None:
            improper, above = improper.any(axis=1), above.any(axis=1)
        return packed(above & known), packed(improper & known) if (improper & known).any() else None


def let_go(scores: np.ndarray) -> None:
    """Take the pages of a large mapped file that were read out of this process; the system's cache keeps them."""
    mapped = getattr(scores, "_mmap", None)
    if mapped is not None and scores.nbytes > KEPT_MAPPED and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _bits_not_above(limits: np.ndarray, stored: np.dtype) -> np.ndarray:
    """Return the bits (K,) of the largest `stored` number that is not above each limit in [0, 1]; all for NaN."""
    nearest, kind = np.nan_to_num(limits).astype(stored), BITS[stored]
    bits = nearest.view(kind) - (nearest.astype(np.float64) > limits)
    return np.where(np.isnan(limits), np.iinfo(kind).max, bits).astype(kind)


def _places(wanted: Sequence[str], known: Sequence[str]) -> np.ndarray:
    if tuple(wanted) == tuple(known):
        return np.arange(len(known))
    place_of = {value: place for place, value in enumerate(known)}
    return np.fromiter((place_of.get(value, -1) for value in wanted), np.int64, len(wanted))


def _find_under_aliases(labels: LabelTable, scores: KeyedScores, row_of: np.ndarray) -> dict[str, str]:
    """Fill in the rows of the clips that are scored under another id; return {labelled clip: scored id}."""
    absent, path = np.flatnonzero(row_of < 0).tolist(), getattr(scores, "path", "")
    if not absent:
        return {}
    aliases = find_aliases([labels.clip_ids[clip] for clip in absent], scores.clip_ids, path)
    if aliases:
        rows = _places(list(aliases.values()), scores.clip_ids)
        twice = np.flatnonzero(np.isin(rows, row_of))
        if len(twice):
            clip_id, known = list(aliases.items())[twice[0]]
            raise one_clip_twice(known, clip_id, known, path)
        row_of[_places(list(aliases), labels.clip_ids)] = rows
    return aliases


def _check_overlap(labels: LabelTable, scores: KeyedScores, row_of: np.ndarray, column_of: np.ndarray) -> None:
    path = getattr(scores, "path", "")
    if (row_of < 0).all():
        raise ClipMismatch(
            f"not one of the {len(labels)} labelled clips ({first_few(labels.clip_ids)}) is among the "
            f"{len(scores.clip_ids)} scored ones ({first_few(scores.clip_ids)})", path,
            "Give the scores of the same clips.",
        )  # fmt: skip
    if (column_of < 0).all():
        raise InputError(
            f"not one of the {len(labels.vocabulary)} classes ({first_few(labels.vocabulary.class_ids)}) is among the "
            f"{len(scores.class_ids)} scored ones ({first_few(scores.class_ids)})", path,
            "Give the --vocabulary that the scores were made with.",
        )  # fmt: skip


def _without_nan_rows(scores: np.ndarray, row_of: np.ndarray, column_of: np.ndarray) -> np.ndarray:
    """Return `row_of` with -1 for the clips of which every score is NaN; only suspects are read in full."""
    clips, first, row_of = np.flatnonzero(row_of >= 0), column_of[column_of >= 0][0], row_of.copy()
    for start in range(0, len(clips), READ_CLIPS):
        let_go(scores)
        block = clips[start : start + READ_CLIPS]
        suspects = block[np.isnan(scores[row_of[block], first])]
        row_of[suspects[np.isnan(scores[row_of[suspects]]).all(axis=1)]] = -1
    return row_of
