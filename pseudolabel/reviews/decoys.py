"""Decoys: questions whose answer is known, so that the judge is measured beside the additions.

`given`: a label that the original list has. `absent`: a class that neither the list nor the ledger gives the clip and
that is no kind, and no kind's kind, of any label of the clip. Both are of the classes and from the clips that the
additions have, so that a judge cannot tell them apart. The original list may be wrong and a random class may be
there, so what is measured is the least a judge can be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.reviews.items import ABSENT, GIVEN, Item

TRIES = 256  # clips that are looked at for one absent class


def n_decoys(n_additions: int, share: float) -> int:
    """Return how many decoys make up `share` (below 1) of a page with `n_additions` other items."""
    return round(n_additions * share / (1 - share))


def draw_decoys(
    additions: Sequence[Item], labels: LabelTable, ledger: pa.Table, ontology: Ontology, n: int, seed: int
) -> list[Item]:
    """Return up to `n` decoys, as many `given` as `absent`; fewer where classes and clips do not yield so many.

    Args:
        additions: the sampled items, whose classes the decoys have.
        labels: the original list, with every clip of the ledger.
        ledger: all additions.
    """
    rng = np.random.default_rng([seed, 1])
    clips = labels.rows(pc.unique(ledger["clip_id"]).to_pylist())
    classes = [labels.vocabulary.index[item.class_id] for item in additions]
    taken = set(zip(ledger["clip_id"].to_pylist(), ledger["class_id"].to_pylist(), strict=True))
    matrix = labels.matrix[clips]
    clip_ids = [labels.clip_ids[row] for row in clips.tolist()]
    given = _pick(n - n // 2, classes, lambda k: _carrying(matrix, k, rng), clip_ids, labels, taken, rng)
    related = _related(ontology, labels)
    absent = _pick(n // 2, classes, lambda k: _unrelated(matrix, related, k, rng), clip_ids, labels, taken, rng)
    return [Item("", *pair, GIVEN) for pair in given] + [Item("", *pair, ABSENT) for pair in absent]


def _pick(n, classes, candidates, clip_ids, labels, taken, rng) -> list[tuple[str, str]]:
    """Return n (clip, class) that are not taken yet, going through the classes of the additions in random order."""
    found, class_ids = [], labels.vocabulary.class_ids
    waiting = rng.permutation(classes).tolist()
    while waiting and len(found) < n:
        again = []
        for k in waiting:
            if len(found) == n:
                break
            free = ((clip_ids[row], class_ids[k]) for row in candidates(k))
            pair = next((pair for pair in free if pair not in taken), None)
            if pair:
                taken.add(pair)
                found.append(pair)
                again.append(k)
        waiting = again
    return found


def _carrying(matrix: sparse.csr_array, k: int, rng: np.random.Generator) -> list[int]:
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))[matrix.indices == k]
    return rng.permutation(rows).tolist()


def _unrelated(matrix: sparse.csr_array, related: sparse.csc_array, k: int, rng: np.random.Generator) -> list[int]:
    rows = rng.permutation(matrix.shape[0])[:TRIES]
    has_related = (matrix[rows].astype(np.int32) @ related[:, [k]].astype(np.int32)).toarray()[:, 0] > 0
    return rows[~has_related].tolist()


def _related(ontology: Ontology, labels: LabelTable) -> sparse.csc_array:
    """Return (K, K) bool: the same class, an ancestor or a descendant."""
    above = sparse.csr_array(ontology.ancestors(labels.vocabulary), dtype=bool)
    return sparse.csc_array(above + above.T + sparse.eye_array(above.shape[0], dtype=bool))


def shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    """Return the items in the random order of the page, numbered `0001` and on."""
    order = np.random.default_rng([seed, 2]).permutation(len(items)).tolist()
    width = max(4, len(str(len(items))))
    return [replace(items[place], item=f"{number:0{width}d}") for number, place in enumerate(order, 1)]
