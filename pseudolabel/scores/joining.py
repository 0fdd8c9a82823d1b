"""Join score stores: match clips and classes by id, check that windows agree, and read scores block by block.

Stores stay on disk; scores are read in blocks of a few MiB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pseudolabel.errors import ClipMismatch, InputError
from pseudolabel.progress import Progress
from pseudolabel.scores.store import ScoreStore, real_windows
from pseudolabel.scores.windows import CLIP
from pseudolabel.scores.writing import ScoreLayout

BLOCK_BYTES = 1 << 23  # of scores as float64


@dataclass(frozen=True, eq=False)
class Holder:
    """A store, with its row for each of N clips (-1: absent) and its column for each of K classes."""

    store: ScoreStore
    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def of(cls, store: ScoreStore, clip_ids: Sequence[str], class_ids: Sequence[str]) -> Holder:
        """Look up clips, some of which the store may lack, and classes, all of which it must have."""
        rows = np.fromiter((store.index.get(clip_id, -1) for clip_id in clip_ids), np.int64, len(clip_ids))
        return cls(store, rows, store.columns(class_ids))

    def read(self, scale: str, clips: np.ndarray) -> np.ndarray:
        """Return checked scores (n, W, K) of the given clips, 0 after the real windows; W = 1 for whole clips."""
        rows = self.rows[clips]
        scores = self.store.read(scale, rows)
        if not np.array_equal(self.columns, np.arange(scores.shape[-1])):
            scores = scores[..., self.columns]
        real = real_windows(scores, self.store.n_windows(scale)[rows])
        return scores if real.all() else np.where(real, scores, scores.dtype.type(0))


@dataclass(frozen=True, eq=False)
class Joined:
    """Several stores as one.

    Args:
        clip_ids, class_ids: N clips and K classes.
        holders: {scale: the stores that have it}.
        n_windows: {scale: (N,) int64 number of real windows}; 1 at the scale `clip`.
    """

    clip_ids: tuple[str, ...]
    class_ids: tuple[str, ...]
    holders: dict[str, list[Holder]]
    n_windows: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.clip_ids)

    @property
    def scales(self) -> tuple[str, ...]:
        """Names of the scales."""
        return tuple(self.holders)

    def layout(self, types: Mapping[str, np.dtype]) -> ScoreLayout:
        """Return the layout of the joined store."""
        hops_s = {scale: of[0].store.hop_s(scale) for scale, of in self.holders.items() if scale != CLIP}
        return ScoreLayout.of_windows(self.clip_ids, self.class_ids, self.n_windows, hops_s=hops_s, types=types)

    def blocks(self, what: str, join: Callable[[str, np.ndarray], np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Yield the scores of consecutive clips at each scale.

        Args:
            what: name of the work, shown as progress.
            join: (scale, clip numbers (n,)) -> scores (n, W, K).
        """
        n_row = len(self.class_ids) * max(int(counts.max()) for counts in self.n_windows.values())
        step = max(1, BLOCK_BYTES // max(8 * n_row, 1))
        with Progress(what, len(self)) as progress:
            for start in range(0, len(self), step):
                clips = np.arange(start, min(start + step, len(self)))
                joined = {scale: join(scale, clips) for scale in self.holders}
                yield {scale: scores[:, 0] if scale == CLIP else scores for scale, scores in joined.items()}
                progress.advance(len(clips))


def joint_out_of_fold(known: Iterable[bool | None]) -> dict[str, bool]:
    """Return the attribute `out_of_fold` of scores joined from several; nothing if one is unknown and none is False."""
    known = list(known)
    return {"out_of_fold": all(known)} if None not in known or False in known else {}


def refuse_other_rules(stores: Sequence[ScoreStore]) -> None:
    """Raise InputError if the stores' `window_rule` attributes differ."""
    rules = {str(store.attributes["window_rule"]) for store in stores if "window_rule" in store.attributes}
    if len(rules) > 1:
        raise InputError("the windows of the stores follow different rules", stores[0].path, "Score the clips again.")


def agreed_windows(holders: Sequence[Holder], scale: str, clip_ids: Sequence[str]) -> np.ndarray:
    """Return each clip's number of windows, (N,) int64; an error if stores disagree on it or on the hop."""
    counts, first = np.zeros(len(clip_ids), np.int64), holders[0].store
    for holder in holders:
        store = holder.store
        if store.hop_s(scale) != first.hop_s(scale):
            hops = f"every {store.hop_s(scale):g} s, in {first.path} every {first.hop_s(scale):g} s"
            remedy = "Score the clips again, or import with the same --hop-s."
            raise InputError(f"windows of {scale} begin {hops}", store.path, remedy)
        there = np.flatnonzero(holder.rows >= 0)
        own = store.n_windows(scale)[holder.rows[there]]
        differing = np.flatnonzero((counts[there] > 0) & (counts[there] != own))
        if len(differing):
            clip, n = there[differing[0]], own[differing[0]]
            message = f"clip {clip_ids[clip]!r} has {n} windows of {scale}, in another store {counts[clip]}"
            raise ClipMismatch(message, store.path, "They scored different recordings.")
        counts[there] = own
    return counts
