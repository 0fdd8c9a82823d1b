"""Merge score stores of one model that cover different clips, such as parts of a list, or different scales.

At least one store must have each clip at each scale. If several do, their scores must be equal. Each scale is stored in
the type with the most bits among the stores.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.scores.joining import Holder, Joined, agreed_windows, joint_out_of_fold, refuse_other_rules
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.writing import write_scores

OF_MODELS = ("model", "front_end", "lengths")  # attributes that tell models apart
OF_FILES = {  # attributes of a file, or merged separately
    "format", "format_version", "tables_crc32", "attributes_crc32", "scale", "reading", "window_rule", "out_of_fold",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Merging(Joined):
    """Several stores merged: all clips in store order, classes in the first store's order.

    At each scale, stores with the most bits come first.

    Args:
        attributes: the stores' attributes; all values, joined, if they differ.
        differing: names of the attributes that differ.
    """

    attributes: dict[str, object] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)


def match_parts(stores: Sequence[ScoreStore], model: str | None = None) -> Merging:
    """Match the clips, classes and scales of stores, and compare their attributes.

    Args:
        model: the model's name; None: taken from the stores' attributes, which must agree.

    Raises:
        InputError: classes, models, window rules, hops or numbers of windows differ, or a clip lacks a scale.
    """
    first = stores[0]
    for store in stores[1:]:
        apart = sorted(set(store.class_ids) ^ set(first.class_ids))
        if apart:
            message = f"its classes differ from those of {first.path}: {first_few(apart)} are in only one of them"
            raise InputError(message, store.path, "Merge stores of one model.")
    attributes, differing = merged_attributes(stores, model)
    refuse_other_rules(stores)
    clip_ids = tuple(dict.fromkeys(clip_id for store in stores for clip_id in store.clip_ids))
    every = [Holder.of(store, clip_ids, first.class_ids) for store in stores]
    scales = dict.fromkeys(scale for store in stores for scale in store.scales)
    holders = {scale: _holders(every, scale, clip_ids) for scale in scales}
    n_windows = {scale: agreed_windows(of_scale, scale, clip_ids) for scale, of_scale in holders.items()}
    return Merging(clip_ids, first.class_ids, holders, n_windows, attributes, differing)


def _holders(every: Sequence[Holder], scale: str, clip_ids: Sequence[str]) -> list[Holder]:
    """Return the stores that have a scale, most bits first; ClipMismatch if none of them has some clip."""
    having = [holder for holder in every if scale in holder.store.scales]
    absent = np.flatnonzero(np.all([holder.rows < 0 for holder in having], axis=0))
    if len(absent):
        without = first_few(clip_ids[clip] for clip in absent.tolist())
        message = f"{len(absent)} clips have no scores at scale {scale}: {without}"
        paths = first_few(holder.store.path for holder in every)
        raise ClipMismatch(message, paths, "Score these clips at this scale too.")
    return sorted(having, key=lambda holder: -_dtype(holder, scale).itemsize)


def _dtype(holder: Holder, scale: str) -> np.dtype:
    return holder.store.scores(scale).dtype.newbyteorder("=")


def merged_attributes(stores: Sequence[ScoreStore], model: str | None = None) -> tuple[dict[str, object], list[str]]:
    """Return the merged attributes and the names of those that differ; out of fold only if all stores are."""
    merged: dict[str, object] = {}
    differing = []
    for name in dict.fromkeys(name for store in stores for name in store.attributes if name not in OF_FILES):
        values = [store.attributes.get(name) for store in stores]
        texts = list(dict.fromkeys("unknown" if value is None else str(np.asarray(value).tolist()) for value in values))
        merged[name] = values[0] if len(texts) == 1 else "; ".join(texts)
        differing += [name] if len(texts) > 1 else []
    for name in [name for name in OF_MODELS if name in differing] if model is None else ():
        by = "" if name == "model" else f" (their {name})"
        message = f"the stores are of different models{by}: {merged[name]}"
        remedy = "Give --name for the model if it is one; `average scores` makes an ensemble."
        raise InputError(message, first_few(store.path for store in stores), remedy)
    if model is not None:
        merged["model"] = model
    return {**merged, **joint_out_of_fold(store.out_of_fold for store in stores)}, differing


def merge_scores(
    stores: Sequence[ScoreStore],
    out: str | Path,
    model: str | None = None,
    overwrite: bool = False,
    beside: Callable[[int], None] | None = None,
) -> Merging:
    """Write one store with all clips and scales of several, and return what it was made of.

    Args:
        model: as in `match_parts`.
        beside: as in `write_scores`.

    Raises:
        InputError: as `match_parts`; two stores have different scores for a clip; or a score is not in [0, 1].
        OutputExists: the file exists and `overwrite` is false.
    """
    merging = match_parts(stores, model)
    layout = merging.layout({scale: _dtype(holders[0], scale) for scale, holders in merging.holders.items()})
    blocks = merging.blocks("merge", partial(_merged, merging))
    write_scores(out, layout, blocks, merging.attributes, overwrite, beside)
    return merging


def check_parts(stores: Sequence[ScoreStore], model: str | None = None) -> None:
    """Raise the errors of `merge_scores` without writing; scores are read only where stores have the same clips."""
    merging = match_parts(stores, model)
    if sum(len(store.clip_ids) for store in stores) > len(merging.clip_ids):
        deque(merging.blocks("check", partial(_merged, merging)), maxlen=0)


def _merged(merging: Merging, scale: str, clips: np.ndarray) -> np.ndarray:
    """Return the scores of the given clips, each from the first store that has it; InputError if another differs."""
    merged, filled, width = None, np.zeros(len(clips), bool), merging.n_windows[scale].max()
    for holder in merging.holders[scale]:
        there = np.flatnonzero(holder.rows[clips] >= 0)
        scores = holder.read(scale, clips[there])[:, :width]
        if merged is None:
            merged = np.zeros((len(clips), width, scores.shape[-1]), scores.dtype)
        again = filled[there]
        earlier = merged[there[again], : scores.shape[1]].astype(scores.dtype)  # as many bits, or more
        if not np.array_equal(earlier, scores[again]):
            row, window, column = np.argwhere(earlier != scores[again])[0].tolist()
            message = (
                f"clip {merging.clip_ids[clips[there[again][row]]]!r} has the score "
                f"{scores[again][row, window, column]:g} of class {merging.class_ids[column]!r} at scale {scale}, "
                f"in another store {earlier[row, window, column]:g}"
            )
            raise ClipMismatch(message, holder.store.path, "Merge stores of one model, or of other clips.")
        fresh = there[~again]
        merged[fresh, : scores.shape[1]], filled[fresh] = scores[~again], True
    return merged
