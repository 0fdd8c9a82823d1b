"""Decoys: questions with a known answer, the judge's reliability on them, and the precision a perfect judge would find.

`given`: a label of the original list. `absent`: a class that neither the list nor the ledger gives the clip, and that
is neither a descendant nor an ancestor of any of its labels. Both use the classes and clips of the additions, so that
a judge cannot tell them apart. The original list may be wrong, and the clip may contain an absent class after all, so
the judge is at least as reliable as measured.

With sensitivity s (share of right items judged right) and false alarm f (share of wrong items judged right), a share p
judged right means that (p - f) / (s - f) are right (Rogan and Gladen 1978). The interval combines the uncertainty of p,
s and f after Lang and Reiczigel (2014), with adjusted shares that keep it honest at 0 and 100 %.
Wrong given labels make s too low, and absent classes that are present make f too high. The first raises the corrected
share, the second lowers it: with 4 % of both and a judge who never errs, 86 % become 89 %. Only the overall share is
corrected, not the judge's different behaviour in its parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.reviews.items import ABSENT, GIVEN, Item, Sample
from pseudolabel.reviews.judgements import RIGHT, UNSURE, WRONG
from pseudolabel.reviews.precision import Estimate, Z, wilson

TRIES = 256  # clips tried for one absent class


def n_decoys(n_additions: int, share: float) -> int:
    """Return how many decoys make up `share` (below 1) of a page with `n_additions` other items."""
    return round(n_additions * share / (1 - share))


def draw_decoys(
    additions: Sequence[Item], labels: LabelTable, ledger: pa.Table, ontology: Ontology, n: int, seed: int
) -> list[Item]:
    """Return up to `n` decoys, half `given`, half `absent`; fewer if there are not enough pairs of clip and class.

    Args:
        additions: the sampled items, whose classes the decoys use.
        labels: the original list, with every clip of the ledger.
        ledger: all additions.
    """
    rng = np.random.default_rng([seed, 1])
    rows = labels.rows(pc.unique(ledger["clip_id"]).to_pylist())
    matrix, columns = labels.matrix[rows], [labels.vocabulary.index[item.class_id] for item in additions]
    taken = set(zip(ledger["clip_id"].to_pylist(), ledger["class_id"].to_pylist(), strict=True))
    related = _related(ontology, labels)

    def pick(n: int, clips_for: Callable[[int], np.ndarray], kind: str) -> list[Item]:
        """Return n unused pairs of clip and class, cycling through the classes in random order."""
        picked, waiting = [], rng.permutation(columns).tolist()
        while waiting and len(picked) < n:
            fruitful = []
            for k in waiting:
                if len(picked) == n:
                    break
                class_id = labels.vocabulary.class_ids[k]
                pairs = ((labels.clip_ids[rows[clip]], class_id) for clip in clips_for(k).tolist())
                pair = next((pair for pair in pairs if pair not in taken), None)
                if pair:
                    taken.add(pair)
                    picked.append(Item("", *pair, kind))
                    fruitful.append(k)
            waiting = fruitful
        return picked

    given = pick(n - n // 2, lambda k: _carrying(matrix, k, rng), GIVEN)
    return given + pick(n // 2, lambda k: _unrelated(matrix, related, k, rng), ABSENT)


def _carrying(matrix: sparse.csr_array, k: int, rng: np.random.Generator) -> np.ndarray:
    clips = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))[matrix.indices == k]
    return rng.permutation(clips)


def _unrelated(matrix: sparse.csr_array, related: sparse.csc_array, k: int, rng: np.random.Generator) -> np.ndarray:
    clips = rng.permutation(matrix.shape[0])[:TRIES]
    has_related = (matrix[clips].astype(np.int32) @ related[:, [k]].astype(np.int32)).toarray()[:, 0] > 0
    return clips[~has_related]


def _related(ontology: Ontology, labels: LabelTable) -> sparse.csc_array:
    """Return (K, K) bool: the same class, an ancestor or a descendant."""
    above = sparse.csr_array(ontology.ancestors(labels.vocabulary), dtype=bool)
    return sparse.csc_array(above + above.T + sparse.eye_array(above.shape[0], dtype=bool))


def shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    """Return the items in random order for the page, numbered from `0001`."""
    order = np.random.default_rng([seed, 2]).permutation(len(items)).tolist()
    width = max(4, len(str(len(items))))
    return [replace(items[i], item=f"{number:0{width}d}") for number, i in enumerate(order, 1)]


def reliability(sample: Sample, decisions: Mapping[str, str]) -> dict[str, dict] | None:
    """Return {sensitivity, false_alarm}: share judged right among given and absent decoys, with Wilson's interval.

    None if the sample has no decoys. Unsure ones are counted but left out of `share`, which is None if none is decided.
    """
    if not sample.decoys:
        return None
    measured = {}
    for name, kind in (("sensitivity", GIVEN), ("false_alarm", ABSENT)):
        answers = [decisions.get(item.item) for item in sample.decoys if item.kind == kind]
        right, n = answers.count(RIGHT), answers.count(RIGHT) + answers.count(WRONG)
        low, high = wilson(right / n, n) if n else (0.0, 1.0)
        share = right / n if n else None
        measured[name] = {"share": share, "low": low, "high": high, "judged": n, "unsure": answers.count(UNSURE)}
    return measured


def corrected(estimate: Estimate, measured: Mapping[str, Mapping] | None) -> dict[str, float] | None:
    """Return {precision, low, high} for a judge without errors; None if the decoys do not allow it.

    They do not if one kind is missing, or if the judge accepts absent classes as often as given ones.
    """
    if not measured or estimate.precision is None or not all(row["judged"] for row in measured.values()):
        return None
    sensitivity, false_alarm = measured["sensitivity"], measured["false_alarm"]
    if sensitivity["share"] <= false_alarm["share"]:
        return None
    p, n = estimate.precision, estimate.effective_n
    precision = (p - false_alarm["share"]) / (sensitivity["share"] - false_alarm["share"])
    p_near, p_n = (p, math.inf) if math.isinf(n) else ((n * p + Z**2 / 2) / (n + Z**2), n + Z**2)
    (s_near, s_n), (f_near, f_n) = _nearer(sensitivity), _nearer(false_alarm)
    gain = s_near - f_near
    if gain <= 0:
        return {"precision": _clipped(precision), "low": 0.0, "high": 1.0}
    of_s, of_f = s_near * (1 - s_near) / s_n, f_near * (1 - f_near) / f_n
    middle = (p_near - f_near) / gain
    shift = 2 * Z**2 * (middle * of_s - (1 - middle) * of_f)
    half = Z * math.sqrt(p_near * (1 - p_near) / p_n + middle**2 * of_s + (1 - middle) ** 2 * of_f) / gain
    low, precision, high = map(_clipped, (middle + shift - half, precision, middle + shift + half))
    return {"precision": precision, "low": min(low, precision), "high": max(high, precision)}


def _clipped(share: float) -> float:
    return min(1.0, max(0.0, share))


def _nearer(row: Mapping) -> tuple[float, float]:
    """Return share and number after adding one right and one wrong answer."""
    n = row["judged"] + 2
    return (row["share"] * row["judged"] + 1) / n, n
