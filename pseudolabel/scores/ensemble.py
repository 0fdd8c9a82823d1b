"""Ensembles: average the probabilities of several score stores with weights, matched by clip id and class id.

Means are computed in float64 and stored in the types that `score` uses, or as float32 if any store has more than 16
bits at that scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.scores.joining import Holder, Joined, agreed_windows, joint_out_of_fold, refuse_other_rules
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.writing import stored_types, write_scores

JOINED = ("model", "trained_on_sha256", "front_end", "imported_sha256", "labels_sha256")
ALIKE = ("vocabulary",)  # listed once if all stores agree
PLURAL = {"clip": "clips", "class": "classes"}


@dataclass(frozen=True, eq=False)
class Matching(Joined):
    """The clips, classes and scales that every store of an ensemble has, in the first store's order.

    Args:
        left_out: (kind, id, store that lacks it) for clips, classes and scales that not every store has.
    """

    left_out: list[tuple[str, str, str]] = field(default_factory=list)


def match_stores(stores: Sequence[ScoreStore], common: bool = False) -> Matching:
    """Match the clips and classes of several stores by id.

    Args:
        common: leave out clips and classes that a store lacks, instead of raising.

    Raises:
        InputError: a store lacks a clip or class (unless `common`), no scale is in all stores, or windows differ in
            rule, hop or number.
    """
    refuse_other_rules(stores)
    clip_ids, left_out = _in_all("clip", [store.clip_ids for store in stores], stores, common)
    class_ids, lacking_classes = _in_all("class", [store.class_ids for store in stores], stores, common)
    lacking_scales = [
        ("scale", scale, str(store.path))
        for scale in dict.fromkeys(scale for store in stores for scale in store.scales)
        for store in stores
        if not store.has(scale)
    ]
    lacked = {scale for _, scale, _ in lacking_scales}
    scales = dict.fromkeys(scale for store in stores for scale in store.scales if scale not in lacked)
    if not scales:
        raise InputError(f"no scale is in all {len(stores)} stores", stores[0].path, "Score again with --windows.")
    holders = [Holder.of(store, clip_ids, class_ids) for store in stores]
    n_windows = {scale: agreed_windows(holders, scale, clip_ids) for scale in scales}
    left_out += lacking_classes + lacking_scales
    return Matching(clip_ids, class_ids, dict.fromkeys(scales, holders), n_windows, left_out)


def _in_all(
    kind: str, ids: Sequence[tuple[str, ...]], stores: Sequence[ScoreStore], common: bool
) -> tuple[tuple[str, ...], list[tuple[str, str, str]]]:
    """Return the ids that all stores have, and (kind, id, store) for each id that a store lacks."""
    lacking = []
    every_id = dict.fromkeys(value for of_store in ids for value in of_store)
    for of_store, store in zip(ids, stores, strict=True):
        present = set(of_store)
        absent = [value for value in every_id if value not in present]
        if absent and not common:
            message = f"{len(absent)} {PLURAL[kind]} of the other stores are not here: {first_few(absent)}"
            raise ClipMismatch(message, store.path, f"Give --common to average the {PLURAL[kind]} that all have.")
        lacking += [(kind, value, str(store.path)) for value in absent]
    dropped = {value for _, value, _ in lacking}
    kept = tuple(value for value in ids[0] if value not in dropped)
    if not kept:
        raise ClipMismatch(f"not one {kind} is in all {len(stores)} stores", stores[0].path)
    return kept, lacking


def average_scores(
    stores: Sequence[ScoreStore],
    out: str | Path,
    weights: Sequence[float] | None = None,
    common: bool = False,
    attributes: Mapping[str, object] | None = None,
    overwrite: bool = False,
    beside: Callable[[int, Matching], None] | None = None,
) -> Matching:
    """Write a store of weighted mean probabilities, and return what it was made of.

    Args:
        weights: (S,) weight of each store; only ratios matter. None: equal weights.
        common: as in `match_stores`.
        attributes: extra attributes of the store.
        beside: as in `write_scores`, with the `Matching` as second argument.

    Raises:
        InputError: as `match_stores`; a score is not in [0, 1]; or there is not one weight per store, a weight is
            negative, or all are 0.
        OutputExists: the file exists and `overwrite` is false.
    """
    weights = np.ones(len(stores)) if weights is None else np.array(weights, np.float64)
    if weights.shape != (len(stores),) or not (weights >= 0).all() or not 0 < weights.sum() < math.inf:
        message = f"{weights.tolist()} do not weight {len(stores)} inputs"
        raise InputError(message, "--weights", "Give one of at least 0 for each, not all 0.")
    matching = match_stores(stores, common)
    layout = matching.layout(_types(stores, matching.scales))
    means = matching.blocks("average", partial(_mean, matching, weights))
    described = {**describe_stores(stores), "weights": weights, **(attributes or {})}
    write_scores(out, layout, means, described, overwrite, beside and (lambda crc32: beside(crc32, matching)))
    return matching


def _types(stores: Sequence[ScoreStore], scales: Sequence[str]) -> dict[str, np.dtype]:
    """Return {scale name: dtype of its stored means}."""
    wide = {scale for scale in scales for store in stores if store.stored_as(scale).itemsize > 2}
    return {**stored_types(scales), **stored_types(wide, "float32")}


def _mean(matching: Matching, weights: np.ndarray, scale: str, clips: np.ndarray) -> np.ndarray:
    """Return the weighted mean (n, W, K) float64 of the scores of the given clips."""
    width, total = matching.n_windows[scale].max(), 0.0
    for holder, weight in zip(matching.holders[scale], weights, strict=True):
        scores = holder.read(scale, clips)[:, :width].astype(np.float64)
        scores *= weight
        total = total + scores
    return total / weights.sum()


def describe_stores(stores: Sequence[ScoreStore]) -> dict[str, object]:
    """Return the attributes of an ensemble: all models are listed; it is out of fold if all stores are."""
    described: dict[str, object] = {}
    for name in (*JOINED, *ALIKE):
        values = [str(store.attributes.get(name, "unknown")) for store in stores]
        if any(name in store.attributes for store in stores):
            described[name] = values[0] if name in ALIKE and len(set(values)) == 1 else "; ".join(values)
    return {**described, **joint_out_of_fold(store.out_of_fold for store in stores)}
