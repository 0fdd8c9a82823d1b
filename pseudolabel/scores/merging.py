"""Score stores of one model become one: those of other clips, as parts of a list, and those of other scales.

Each clip must have each scale in one of the stores at least. Where several have it, they must have the same scores.
Stores stay on disk: clips pass through in blocks of a few MiB. Each scale is stored as in the store with the most bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.progress import Progress
from pseudolabel.scores.store import ScoreStore, write_scores
from pseudolabel.scores.windows import CLIP, parse_window

BLOCK_BYTES = 1 << 23
# What is said of the file that an attribute lies in, or is found otherwise.
OF_MODELS = ("model", "front_end", "lengths")  # attributes by which models are told apart
OF_FILES = {"format", "format_version", "tables_crc32", "attributes_crc32", "scale", "reading", "window_rule",
            "out_of_fold"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Holder:
    """A store that has a scale, and where in it each of N clips lies (-1: it does not) and each of K classes."""

    store: ScoreStore
    rows: np.ndarray
    columns: np.ndarray

    def read(self, scale: str, clips: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the scores (n, W, K) of some of the clips, W = 1 for whole clips; all but `counts` windows are 0."""
        rows = self.rows[clips]
        scores = np.asarray(self.store.scores(parse_window(scale))[rows])[..., self.columns]
        real = np.arange(scores.shape[1]) < counts[:, None]
        scores = np.where(real[..., None], scores, scores.dtype.type(0))
        wrong = ~((scores >= 0) & (scores <= 1))  # NaN too
        if wrong.any():
            clip_id = self.store.clip_ids[rows[np.argwhere(wrong)[0][0]]]
            raise InputError(f"a score of clip {clip_id!r} at scale {scale} is {scores[wrong][0]:g}, not in [0, 1]",
                             self.store.path, "Score this clip again.")  # fmt: skip
        return scores


@dataclass(frozen=True, eq=False)
class Merging:
    """What several stores are together.

    Args:
        clip_ids, class_ids: of all clips, in the order of the stores; of the classes, in that of the first store.
        holders: {scale: the stores that have it}, those with the most bits first.
        counts: {scale: (N,) int64 real windows of each clip} of windows.
        attributes: what the stores say of themselves; where they differ, all that they say.
        differing: names of the attributes that differ.
    """

    clip_ids: tuple[str, ...]
    class_ids: tuple[str, ...]
    holders: dict[str, list[Holder]]
    counts: dict[str, np.ndarray]
    attributes: dict[str, object]
    differing: list[str]

    def __len__(self) -> int:
        return len(self.clip_ids)


def match_parts(stores: Sequence[ScoreStore], model: str | None = None) -> Merging:
    """Match clips, classes and scales of stores, and compare what the stores say of themselves.

    Args:
        model: what the stores' model is called; None: as they say, which must be the same.

    Raises:
        InputError: classes, models, window rules, hops or numbers of windows differ, or a clip lacks a scale.
    """
    first = stores[0]
    for store in stores[1:]:
        apart = sorted(set(store.class_ids) ^ set(first.class_ids))
        if apart:
            raise InputError(f"its classes differ from those of {first.path}: {first_few(apart)} are in one alone",
                             store.path, "Merge stores of one model.")  # fmt: skip
    attributes, differing = merged_attributes(stores, model)
    clip_ids = tuple(dict.fromkeys(clip_id for store in stores for clip_id in store.clip_ids))
    every = [Holder(store, _rows(store, clip_ids), store.columns(first.class_ids)) for store in stores]
    holders = {}
    for scale in dict.fromkeys(scale for store in stores for scale in store.scales):
        having = [holder for holder in every if scale in holder.store.scales]
        absent = np.flatnonzero(np.all([holder.rows < 0 for holder in having], axis=0))
        if len(absent):
            without = first_few(clip_ids[clip] for clip in absent.tolist())
            raise ClipMismatch(f"{len(absent)} clips have no scores at scale {scale}: {without}",
                               first_few(store.path for store in stores),
                               "Score these clips at this scale too.")  # fmt: skip
        bits = {holder.store: holder.store.scores(parse_window(scale)).dtype.itemsize for holder in having}
        holders[scale] = sorted(having, key=lambda holder: -bits[holder.store])
    counts = {scale: _counts(having, scale, clip_ids) for scale, having in holders.items() if scale != CLIP}
    return Merging(clip_ids, first.class_ids, holders, counts, attributes, differing)


def _rows(store: ScoreStore, clip_ids: Sequence[str]) -> np.ndarray:
    return np.fromiter((store.index.get(clip_id, -1) for clip_id in clip_ids), np.int64, len(clip_ids))


def _counts(having: Sequence[Holder], scale: str, clip_ids: Sequence[str]) -> np.ndarray:
    """Return the number of windows of each clip, (N,), on which the stores that have it agree, as on the hop."""
    window_s, counts = parse_window(scale), np.zeros(len(clip_ids), np.int64)
    for holder in having:
        store, first = holder.store, having[0].store
        if store.hop_s(window_s) != first.hop_s(window_s):
            hops = f"every {store.hop_s(window_s):g} s, in {first.path} every {first.hop_s(window_s):g} s"
            raise InputError(f"windows of {scale} begin {hops}", store.path, "Merge stores of the same windows.")
        there = np.flatnonzero(holder.rows >= 0)
        found = store.n_windows(window_s)[holder.rows[there]]
        other = np.flatnonzero((counts[there] > 0) & (counts[there] != found))
        if len(other):
            clip = there[other[0]]
            raise ClipMismatch(f"clip {clip_ids[clip]!r} has {found[other[0]]} windows of {scale}, in another store "
                               f"{counts[clip]}", store.path, "They scored different recordings.")  # fmt: skip
        counts[there] = found
    return counts


def merged_attributes(stores: Sequence[ScoreStore], model: str | None = None) -> tuple[dict[str, object], list[str]]:
    """Return the attributes of stores as one, and the names of those that differ; out of fold only where all are."""
    merged: dict[str, object] = {}
    differing = []
    for name in dict.fromkeys(name for store in stores for name in store.attributes if name not in OF_FILES):
        values = [store.attributes.get(name) for store in stores]
        texts = list(dict.fromkeys("unknown" if value is None else str(np.asarray(value).tolist()) for value in values))
        merged[name] = values[0] if len(texts) == 1 else "; ".join(texts)
        differing += [name] if len(texts) > 1 else []
    for name in [name for name in OF_MODELS if name in differing] if model is None else ():
        by = "" if name == "model" else f" (their {name})"
        raise InputError(f"the stores are of different models{by}: {merged[name]}",
                         first_few(s.path for s in stores),
                         "Give --name for the model if it is one; average --scores makes an ensemble.")  # fmt: skip
    if model is not None:
        merged["model"] = model
    rules = {str(store.attributes["window_rule"]) for store in stores if "window_rule" in store.attributes}
    if len(rules) > 1:
        raise InputError("the windows of the stores follow different rules", stores[0].path, "Score the clips again.")
    return {**merged, "out_of_fold": all(bool(store.attributes.get("out_of_fold")) for store in stores)}, differing


def merge_scores(
    stores: Sequence[ScoreStore],
    out: str | Path,
    model: str | None = None,
    overwrite: bool = False,
    beside: Callable[[int], None] | None = None,
) -> Merging:
    """Write one store of all clips and scales of several, and return what it is made of.

    Args:
        model: as in `match_parts`.
        beside: as in `write_scores`.

    Raises:
        InputError: as `match_parts`; two stores have different scores of a clip, or a score is not in [0, 1].
        OutputExists: there is such a file and `overwrite` is false.
    """
    merging = match_parts(stores, model)
    n, k = len(merging), len(merging.class_ids)
    shapes = {scale: (n, k) if scale == CLIP else (n, int(merging.counts[scale].max()), k) for scale in merging.holders}
    differ = {scale: counts for scale, counts in merging.counts.items() if (counts < counts.max()).any()}
    hops_s = {scale: merging.holders[scale][0].store.hop_s(parse_window(scale)) for scale in merging.counts}
    widest = {scale: having[0].store.scores(parse_window(scale)).dtype for scale, having in merging.holders.items()}
    types = {scale: kind.newbyteorder("=") for scale, kind in widest.items()}
    write_scores(out, merging.clip_ids, merging.class_ids, shapes, differ, _blocks(merging, shapes),
                 merging.attributes, overwrite, hops_s, beside, types)  # fmt: skip
    return merging


def _blocks(merging: Merging, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[dict[str, np.ndarray]]:
    """Yield consecutive clips as scale -> scores."""
    step = max(1, BLOCK_BYTES // (4 * sum(math.prod(shape[1:]) for shape in shapes.values())))
    with Progress("merge", len(merging)) as progress:
        for start in range(0, len(merging), step):
            clips = np.arange(start, min(start + step, len(merging)))
            yield {scale: _joined(merging, scale, shape, clips) for scale, shape in shapes.items()}
            progress.advance(len(clips))


def _joined(merging: Merging, scale: str, shape: tuple[int, ...], clips: np.ndarray) -> np.ndarray:
    """Return the scores of some clips, each of the first store that has it; InputError where another has others."""
    counts = np.ones(len(clips), np.int64) if scale == CLIP else merging.counts[scale][clips]
    joined, filled, width = None, np.zeros(len(clips), bool), 1 if scale == CLIP else shape[1]
    for holder in merging.holders[scale]:
        there = np.flatnonzero(holder.rows[clips] >= 0)
        scores = holder.read(scale, clips[there], counts[there])[:, :width]
        if joined is None:
            joined = np.zeros((len(clips), width, shape[-1]), scores.dtype)
        again = filled[there]
        held = joined[there[again], : scores.shape[1]].astype(scores.dtype)  # of more bits, if others
        if not np.array_equal(held, scores[again]):
            row, window, column = np.argwhere(held != scores[again])[0].tolist()
            clip_id = merging.clip_ids[clips[there[again][row]]]
            raise ClipMismatch(
                f"clip {clip_id!r} has the score {scores[again][row, window, column]:g} of class "
                f"{merging.class_ids[column]!r} at scale {scale}, in another store {held[row, window, column]:g}",
                holder.store.path, "Merge stores of one model, or of other clips.",
            )  # fmt: skip
        fresh = there[~again]
        joined[fresh, : scores.shape[1]], filled[fresh] = scores[~again], True
    return joined[:, 0] if scale == CLIP else joined
