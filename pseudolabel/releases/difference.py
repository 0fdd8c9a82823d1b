"""Difference: what one label list adds to another, takes away, confirms, and where each contradicts the ontology.

Neither list is the truth: where one is a second annotation of the clips, the share of an enhancement's additions that
it has too is a second opinion on their precision, no more.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from pseudolabel.errors import ClipMismatch
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary

N_BANDS = 4  # of score, each with as many additions
BY_RULE = "by rule"


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two lists.

    Args:
        name: what it is called.
        labels: (N, K) of all its clips.
        ledger: its additions, where it is an enhancement (labels/ledger.py).
    """

    name: str
    labels: LabelTable
    ledger: pa.Table | None = None


@dataclass(frozen=True, eq=False)
class Compared:
    """The clips that both lists have, in the order of the first.

    Args:
        clip_ids: (N,) ids in the first list.
        first, second: (N, K) csr bool.
        only_first, only_second: how many clips the other list has not.
        renamed: {id in the first list: id in the second} where these differ.
    """

    clip_ids: tuple[str, ...]
    vocabulary: Vocabulary
    first: sparse.csr_array
    second: sparse.csr_array
    only_first: int
    only_second: int
    renamed: Mapping[str, str]

    @property
    def second_ids(self) -> list[str]:
        """Ids of the clips in the second list."""
        return [self.renamed.get(clip_id, clip_id) for clip_id in self.clip_ids]


def compare(first: Side, second: Side) -> Compared:
    """Bring two lists to the clips that both have; ids that differ in form match (labels/aliases.py).

    Raises:
        ClipMismatch: they have no clip in common, or one clip twice.
    """
    a, b = first.labels, second.labels
    matched = match_clips(a.clip_ids, b.row_of, second.name)
    if not matched.found:
        raise ClipMismatch(f"no clip of it is in {first.name}", second.name, "Compare lists of the same clips.")
    return Compared(
        matched.found, a.vocabulary, a.matrix[a.rows(matched.found)], b.matrix[b.rows(matched.known())],
        len(a) - len(matched.found), len(b) - len(matched.found), matched.aliases,
    )  # fmt: skip


def difference(first: Side, second: Side, ontology: Ontology) -> dict:
    """Return what difference.json says, with the rows of `by_class`, `violated_pairs` and `confirmed`."""
    pair = compare(first, second)
    ancestors = ontology.ancestors(pair.vocabulary)
    sides = ((first, pair.first, pair.second), (second, pair.second, pair.first))
    violations = {side.name: violated_pairs(matrix, ancestors) for side, matrix, _ in sides}
    added = minus(pair.second, pair.first)
    closure, closure_of_second = (minus(reached(matrix, ancestors), matrix) for _, matrix, _ in sides)
    return {
        "first": first.name,
        "second": second.name,
        "clips": {"both": len(pair.clip_ids), "only_first": pair.only_first, "only_second": pair.only_second,
                  "under_another_id": len(pair.renamed)},
        "labels": {
            "first": pair.first.nnz, "second": pair.second.nnz, "kept": pair.first.multiply(pair.second).nnz,
            "added": added.nnz, "removed": minus(pair.first, pair.second).nnz,
            "added_that_the_ontology_implies": added.multiply(closure).nnz,
            "a_clip_first": pair.first.nnz / len(pair.clip_ids), "a_clip_second": pair.second.nnz / len(pair.clip_ids),
        },
        "agreement": agreement(pair.first, pair.second),
        "violations": {
            side.name: {"labels": lacking.nnz, "clips": int((np.diff(lacking.indptr) > 0).sum())}
            for side, lacking in zip((first, second), (closure, closure_of_second), strict=True)
        },
        "confirmed": {side.name: rows
                      for (side, own, other), ids in zip(sides, (pair.clip_ids, pair.second_ids), strict=True)
                      if (rows := second_opinion(side, ids, own, other))},
        "by_class": by_class(pair),
        "violated_pairs": [
            {"list": name, "class_id": pair.vocabulary.class_ids[label], "name": pair.vocabulary.names[label],
             "missing": pair.vocabulary.class_ids[missing], "missing_name": pair.vocabulary.names[missing], "clips": n}
            for name, rows in violations.items() for label, missing, n in rows
        ],
    }  # fmt: skip


def minus(first: sparse.csr_array, second: sparse.csr_array) -> sparse.csr_array:
    """Return the labels of `first` that `second` lacks, csr bool."""
    return sparse.csr_array((first.astype(np.int8) - first.multiply(second).astype(np.int8)).astype(bool))


def reached(labels: sparse.csr_array, ancestors: sparse.csr_array) -> sparse.csr_array:
    """Return the (N, K) ancestors of the labels, csr bool; `ancestors` is [class, ancestor]."""
    return sparse.csr_array(labels.astype(np.int32) @ ancestors.astype(np.int32)).astype(bool)


def violated_pairs(labels: sparse.csr_array, ancestors: sparse.csr_array) -> list[tuple[int, int, int]]:
    """Return (class, ancestor, clips that carry the class but lack the ancestor), most clips first, none with 0."""
    counts = sparse.csr_array(labels.T.astype(np.int64) @ labels.astype(np.int64))
    n_clips = counts.diagonal()
    pairs = sparse.coo_array(ancestors)
    lacking = n_clips[pairs.row] - np.asarray(counts[pairs.row, pairs.col]).ravel()
    rows = [(int(c), int(a), int(n)) for c, a, n in zip(pairs.row, pairs.col, lacking, strict=True) if n]
    return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))


def kappa(both: np.ndarray, first: np.ndarray, second: np.ndarray, n: int) -> np.ndarray:
    """Return Cohen's kappa (1960) of two raters who found `first` and `second` of `n` items, `both` of them together.

    NaN where both found all items or none, so that there was nothing to agree on.
    """
    p, q = first / n, second / n
    observed = 1 - (first + second - 2 * both) / n
    expected = p * q + (1 - p) * (1 - q)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)


def agreement(first: sparse.csr_array, second: sparse.csr_array) -> dict:
    """Return the share of clips with the same labels, the mean Jaccard index (1 where both have none), Cohen's kappa.

    `kappa` is over all clips and classes as one; `kappa_of_classes` the mean over classes that either list has.
    """
    both = np.diff(sparse.csr_array(first.multiply(second)).indptr)
    either = np.diff(first.indptr) + np.diff(second.indptr) - both
    n, n_classes = first.shape
    together = kappa(*(np.array(float(count)) for count in (both.sum(), first.nnz, second.nnz)), n * n_classes)
    of_classes = kappa(*class_counts(first, second), n)
    return {
        "clips_alike": float((both == either).mean()),
        "jaccard": float(np.where(either, both / np.maximum(either, 1), 1.0).mean()),
        "kappa": _number(together),
        "kappa_of_classes": _number(np.nanmean(of_classes)) if not np.isnan(of_classes).all() else None,
    }


def class_counts(first: sparse.csr_array, second: sparse.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (K,) labels that both have, that the first has, that the second has."""
    matrices = (sparse.csr_array(first.multiply(second)), first, second)
    return tuple(np.bincount(matrix.indices, minlength=matrix.shape[1]) for matrix in matrices)


def by_class(pair: Compared) -> list[dict]:
    """Return a row a class: labels in either list, kept, added, removed, kappa."""
    both, first, second = class_counts(pair.first, pair.second)
    kappas = kappa(both, first, second, len(pair.clip_ids))
    return [
        {"class_id": class_id, "name": pair.vocabulary.names[k], "first": int(first[k]), "second": int(second[k]),
         "kept": int(both[k]), "added": int(second[k] - both[k]), "removed": int(first[k] - both[k]),
         "kappa": _number(kappas[k])}
        for k, class_id in enumerate(pair.vocabulary.class_ids)
    ]  # fmt: skip


def second_opinion(side: Side, ids: Sequence[str], own: sparse.csr_array, other: sparse.csr_array) -> list[dict]:
    """Return what `confirmed` finds in the other list; nothing where that is the list before the side's additions."""
    rows = [] if side.ledger is None else confirmed(side.ledger, ids, side.labels.vocabulary, other)
    n_added = rows[0]["in_both"] if rows else 0
    before = other.nnz + n_added == own.nnz and minus(own, other).nnz == n_added
    return [] if before and n_added and not rows[0]["confirmed"] else rows


def confirmed(ledger: pa.Table, clip_ids: Sequence[str], vocabulary: Vocabulary, other: sparse.csr_array) -> list[dict]:
    """Return how many additions the other list has: together, by type, by band of score.

    Args:
        clip_ids: (N,) ids in the ledger of the clips that both lists have; additions to others are left out.
        other: (N, K) labels of the other list.
    """
    clips = pc.index_in(ledger["clip_id"].combine_chunks(), value_set=pa.array(clip_ids, pa.string()))
    shared = pc.is_valid(clips)
    ledger, clips = ledger.filter(shared), clips.filter(shared).to_numpy(zero_copy_only=False).astype(np.int64)
    classes = pc.index_in(ledger["class_id"].combine_chunks(), value_set=pa.array(vocabulary.class_ids, pa.string()))
    classes, n_classes = classes.to_numpy(zero_copy_only=False).astype(np.int64), len(vocabulary)
    rows = np.repeat(np.arange(other.shape[0], dtype=np.int64), np.diff(other.indptr))
    found = np.isin(clips * n_classes + classes, rows * n_classes + other.indices)
    errors = np.array(ledger["error"].to_pylist(), dtype=object)
    scores = ledger["score"].to_numpy().astype(np.float64)
    named = [("all", np.ones(len(found), bool))]
    named += [(f"type {error}", errors == error) for error in ("I", "II", "I+II")]
    return [
        {"additions": name, "in_both": int(chosen.sum()), "confirmed": int(found[chosen].sum()),
         "share": float(found[chosen].mean())}
        for name, chosen in [*named, *score_bands(scores)] if chosen.any()
    ]  # fmt: skip


def score_bands(scores: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return (name, which additions) of N_BANDS bands with as many scores each, and of those without a score."""
    scored = ~np.isnan(scores)
    if not scored.any():
        return []
    edges = np.unique(np.quantile(scores[scored], np.linspace(0, 1, N_BANDS + 1)))
    bands = []
    for low, high in itertools.pairwise(edges if len(edges) > 1 else [*edges, *edges]):
        with np.errstate(invalid="ignore"):
            chosen = (scores >= low) & ((scores < high) | ((high == edges[-1]) & (scores == high)))
        bands.append((f"score {low:.3f} to {high:.3f}", chosen))
    return [*bands, (BY_RULE, ~scored)]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
