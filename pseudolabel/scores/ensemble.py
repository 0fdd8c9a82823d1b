"""Ensembles: the weighted mean of the probabilities in several score stores, matched by clip id and class id.

Stores stay on disk: clips pass through in blocks of a few MiB. Means are taken in float64 and stored as `score` stores
scores, or as float32 where one of the stores has more than 16 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.progress import Progress
from pseudolabel.scores.store import ScoreStore, stored_types, write_scores
from pseudolabel.scores.windows import CLIP, parse_window, window_name

BLOCK_BYTES = 1 << 23  # of float64 means
JOINED = ("model", "trained_on_sha256", "front_end", "imported_sha256", "labels_sha256")
ALIKE = ("vocabulary",)  # said once where all stores agree


@dataclass(frozen=True, eq=False)
class Matching:
    """What an ensemble is made of.

    Args:
        stores: S stores.
        clip_ids, class_ids: those that every store has, in the first one's order.
        scales: names of the scales that every store has.
        rows, columns: for each store, the row of each clip and the column of each class.
        left_out: (kind, id, store that lacks it) of clips, classes and scales that not every store has.
    """

    stores: tuple[ScoreStore, ...]
    clip_ids: tuple[str, ...]
    class_ids: tuple[str, ...]
    scales: tuple[str, ...]
    rows: tuple[np.ndarray, ...]
    columns: tuple[np.ndarray, ...]
    left_out: list[tuple[str, str, str]]

    def __len__(self) -> int:
        return len(self.clip_ids)


def match_stores(stores: Sequence[ScoreStore], common: bool = False) -> Matching:
    """Match the clips and classes of stores by their ids.

    Args:
        common: leave out a clip or class that one of them lacks, rather than refuse it.

    Raises:
        InputError: a clip, class or scale is not in all of them, or their windows follow different rules.
    """
    rules = {str(store.attributes["window_rule"]) for store in stores if "window_rule" in store.attributes}
    if len(rules) > 1:
        raise InputError("the windows of the stores follow different rules", stores[0].path, "Score the clips again.")
    clip_ids, lacking_clips = _in_all("clip", [store.clip_ids for store in stores], stores, common)
    class_ids, lacking_classes = _in_all("class", [store.class_ids for store in stores], stores, common)
    scales = dict.fromkeys(scale for store in stores for scale in store.scales)
    lacking = [("scale", scale, store) for scale in scales for store in stores if not _has(store, scale)]
    scales = tuple(scale for scale in scales if all(_has(store, scale) for store in stores))
    for scale in map(parse_window, scales):
        if len({store.hop_s(scale) for store in stores}) > 1:
            hops = ", ".join(f"{store.hop_s(scale):g} s" for store in stores)
            message = f"windows of {window_name(scale)} begin every {hops} in the stores"
            raise InputError(message, stores[0].path, "Score the clips again, or import with the same --hop-s.")
    if not scales:
        raise InputError(f"no scale is in all {len(stores)} stores", stores[0].path, "Score again with --windows.")
    return Matching(
        tuple(stores), clip_ids, class_ids, scales,
        tuple(store.rows(clip_ids) for store in stores), tuple(store.columns(class_ids) for store in stores),
        [(kind, name, str(store.path)) for kind, name, store in (*lacking_clips, *lacking_classes, *lacking)],
    )  # fmt: skip


def _in_all(kind: str, ids: list[tuple[str, ...]], stores: Sequence[ScoreStore], common: bool):
    """Return the ids that all stores have, and (kind, id, store) of what one lacks."""
    everything, lacking = dict.fromkeys(value for of_store in ids for value in of_store), []
    for of_store, store in zip(ids, stores, strict=True):
        present = set(of_store)
        absent = [value for value in everything if value not in present]
        if absent and not common:
            plural = {"clip": "clips", "class": "classes"}[kind]
            raise ClipMismatch(f"{len(absent)} {plural} of the other stores are not here: {first_few(absent)}",
                               store.path, f"Give --common to average the {plural} that all have.")  # fmt: skip
        lacking += [(kind, value, store) for value in absent]
    dropped = {value for _, value, _ in lacking}
    kept = tuple(value for value in ids[0] if value not in dropped)
    if not kept:
        raise ClipMismatch(f"not one {kind} is in all {len(stores)} stores", stores[0].path)
    return kept, lacking


def _has(store: ScoreStore, scale: str) -> bool:
    """Return whether a store has a scale; a single window of 10 s stands for the clip."""
    return scale in store.scales or (scale == CLIP and "10s" in store.scales and store.scores(10).shape[1] == 1)


def average_scores(
    stores: Sequence[ScoreStore],
    out: str | Path,
    weights: Sequence[float] | None = None,
    common: bool = False,
    attributes: Mapping[str, object] | None = None,
    overwrite: bool = False,
    beside: Callable[[int, Matching], None] | None = None,
) -> Matching:
    """Write the store of the weighted mean of probabilities, and return what it is made of.

    Args:
        weights: (S,) weight of each store, only their ratios count; None: all alike.
        common: as in `match_stores`.
        attributes: more to say in the store.
        beside: as in `write_scores`; also given what the ensemble is made of.

    Raises:
        InputError: as `match_stores`; clips differ in their number of windows; a score is not in [0, 1]; weights are
            not as many as stores, negative or all 0.
        OutputExists: there is such a file and `overwrite` is false.
    """
    weights = np.ones(len(stores)) if weights is None else np.array(weights, np.float64)
    if weights.shape != (len(stores),) or not (weights >= 0).all() or not 0 < weights.sum() < math.inf:
        raise InputError(f"{weights.tolist()} are no weights of {len(stores)} inputs", "--weights",
                         "Give one of at least 0 each, not all 0.")  # fmt: skip
    matching = match_stores(stores, common)
    n, k = len(matching), len(matching.class_ids)
    shapes, counts = {}, {}
    for scale in matching.scales:
        if scale == CLIP:
            shapes[scale] = (n, k)
            continue
        per_clip = _window_counts(matching, scale)
        shapes[scale] = (n, int(per_clip.max()), k)
        if (per_clip != per_clip.max()).any():
            counts[scale] = per_clip
    told = {**describe_stores(stores), "weights": weights, **(attributes or {})}
    means = _mean_blocks(matching, weights, shapes)
    hops_s = {scale: stores[0].hop_s(parse_window(scale)) for scale in matching.scales if scale != CLIP}
    last = (lambda crc32: beside(crc32, matching)) if beside else None
    write_scores(
        out, matching.clip_ids, matching.class_ids, shapes, counts, means, told, overwrite, hops_s, last,
        _types(stores, matching.scales),
    )  # fmt: skip
    return matching


def _types(stores: Sequence[ScoreStore], scales: Sequence[str]) -> dict[str, np.dtype]:
    """Return scale name -> type that its means are stored as."""
    types = stored_types(scales)
    wide = {scale for scale in scales for store in stores if store.stored_as(parse_window(scale)).itemsize > 2}
    return {**types, **stored_types(wide, "float32")}


def _window_counts(matching: Matching, scale: str) -> np.ndarray:
    """Return the number of windows of each clip, (n,), on which all stores agree."""
    first, *others = (
        store.n_windows(parse_window(scale))[rows] for store, rows in zip(matching.stores, matching.rows, strict=True)
    )
    for store, counts in zip(matching.stores[1:], others, strict=True):
        differing = np.flatnonzero(counts != first)
        if len(differing):
            clip = differing[0]
            raise ClipMismatch(
                f"clip {matching.clip_ids[clip]!r} has {counts[clip]} windows of {scale}, in "
                f"{matching.stores[0].path} {first[clip]}", store.path, "They scored different recordings.",
            )  # fmt: skip
    return first


def _mean_blocks(matching: Matching, weights: np.ndarray, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[dict]:
    """Yield consecutive clips as scale -> weighted mean of the stores, float64."""
    row_bytes = 8 * max(math.prod(shape[1:]) for shape in shapes.values())
    step = max(1, BLOCK_BYTES // max(row_bytes, 1))
    with Progress("average", len(matching)) as progress:
        for start in range(0, len(matching), step):
            block = slice(start, start + step)
            yield {scale: _mean(matching, weights, scale, shape, block) for scale, shape in shapes.items()}
            progress.advance(min(step, len(matching) - start))


def _mean(matching: Matching, weights: np.ndarray, scale: str, shape: tuple[int, ...], block: slice) -> np.ndarray:
    width, total = 1 if scale == CLIP else shape[1], 0.0
    for store, rows, columns, weight in zip(matching.stores, matching.rows, matching.columns, weights, strict=True):
        stored = store.scores(parse_window(scale))[rows[block]][:, :width]  # mapped anew: pages are given back
        alike = np.array_equal(columns, np.arange(stored.shape[2]))
        scores = (stored if alike else stored[:, :, columns]).astype(np.float64)
        if not (scores.min() >= 0 and scores.max() <= 1):  # NaN too
            clip, window, column = np.argwhere(~((scores >= 0) & (scores <= 1)))[0].tolist()
            raise InputError(
                f"clip {matching.clip_ids[block.start + clip]!r} has the score {scores[clip, window, column]:g} of "
                f"class {matching.class_ids[column]!r} at scale {scale}; it must be in [0, 1]", store.path,
                "Ensembles are means of probabilities.",
            )  # fmt: skip
        scores *= weight
        total = total + scores
    total /= weights.sum()
    return total[:, 0] if scale == CLIP else total


def describe_stores(stores: Sequence[ScoreStore]) -> dict[str, object]:
    """Return the attributes of an ensemble: the models of all; out of fold only where all are."""
    told: dict[str, object] = {}
    for name in (*JOINED, *ALIKE):
        values = [str(store.attributes.get(name, "unknown")) for store in stores]
        if any(name in store.attributes for store in stores):
            told[name] = values[0] if name in ALIKE and len(set(values)) == 1 else "; ".join(values)
    return {**told, "out_of_fold": all(bool(store.attributes.get("out_of_fold", False)) for store in stores)}
