"""Ensembles: the weighted mean of the probabilities in several score stores, matched by clip id and class id.

Means are taken in float64 and stored as `score` stores scores, or as float32 where one of the stores has more than 16
bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.scores.joining import Holder, Joined, agreed_windows, refuse_other_rules
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.writing import stored_types, write_scores

JOINED = ("model", "trained_on_sha256", "front_end", "imported_sha256", "labels_sha256")
ALIKE = ("vocabulary",)  # given once where all stores agree
PLURAL = {"clip": "clips", "class": "classes"}


@dataclass(frozen=True, eq=False)
class Matching(Joined):
    """What an ensemble is made of: the clips, classes and scales that every store has, in the first one's order.

    Args:
        left_out: (kind, id, store that lacks it) of clips, classes and scales that not every store has.
    """

    left_out: list[tuple[str, str, str]] = field(default_factory=list)


def match_stores(stores: Sequence[ScoreStore], common: bool = False) -> Matching:
    """Match the clips and classes of stores by their ids.

    Args:
        common: leave out a clip or class that one of them lacks, rather than refuse it.

    Raises:
        InputError: a clip, class or scale is not in all of them, or their windows differ in rule, hop or number.
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
    """Return the ids that all stores have, and (kind, id, store) of what one lacks."""
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
    """Write the store of the weighted mean of probabilities, and return what it is made of.

    Args:
        weights: (S,) weight of each store, only their ratios count; None: all alike.
        common: as in `match_stores`.
        attributes: more of the store's attributes.
        beside: as in `write_scores`; also given what the ensemble is made of.

    Raises:
        InputError: as `match_stores`; a score is not in [0, 1]; weights are not as many as stores, negative or all 0.
        OutputExists: there is such a file and `overwrite` is false.
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
    """Return scale name -> type that its means are stored as."""
    wide = {scale for scale in scales for store in stores if store.stored_as(scale).itemsize > 2}
    return {**stored_types(scales), **stored_types(wide, "float32")}


def _mean(matching: Matching, weights: np.ndarray, scale: str, clips: np.ndarray) -> np.ndarray:
    """Return the weighted mean (n, W, K) float64 of the scores of some clips."""
    width, total = matching.n_windows[scale].max(), 0.0
    for holder, weight in zip(matching.holders[scale], weights, strict=True):
        scores = holder.read(scale, clips)[:, :width].astype(np.float64)
        scores *= weight
        total = total + scores
    return total / weights.sum()


def describe_stores(stores: Sequence[ScoreStore]) -> dict[str, object]:
    """Return the attributes of an ensemble: the models of all; out of fold only where all are."""
    described: dict[str, object] = {}
    for name in (*JOINED, *ALIKE):
        values = [str(store.attributes.get(name, "unknown")) for store in stores]
        if any(name in store.attributes for store in stores):
            described[name] = values[0] if name in ALIKE and len(set(values)) == 1 else "; ".join(values)
    return {**described, "out_of_fold": all(bool(store.attributes.get("out_of_fold", False)) for store in stores)}
