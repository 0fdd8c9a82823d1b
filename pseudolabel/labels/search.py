"""Search: which proposals the evidence accepts, round after round, for one block of clips at a time.

PSLA's Algorithm 2, procedure 2, is one round. In a further round added labels propose like original ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import sparse

from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ledger import SCHEMA, ledger_rows
from pseudolabel.labels.proposals import Proposals, propose, supporting_labels


class Candidates(NamedTuple):
    """Proposals with their (M,) float64 scores (NaN: none) and the (M,) windows that have them (-1: the whole clip)."""

    proposals: Proposals
    scores: np.ndarray
    windows: np.ndarray

    def where(self, kept: np.ndarray) -> Candidates:
        """Return the candidates that the mask `kept` (M,) marks."""
        return Candidates(self.proposals.where(kept), self.scores[kept], self.windows[kept])


class Found(NamedTuple):
    """What a search added, by clip and then by class, rows counted from the table's first.

    added: the labels; rounds (M,) int64: when; rejected: the candidates of the last round that were not accepted;
    ledger: a row for each addition, or no row where none was asked for.
    """

    added: Proposals
    rounds: np.ndarray
    rejected: Candidates
    ledger: pa.Table


@dataclass(frozen=True, eq=False)
class Search:
    """How blocks of clips are searched.

    Args:
        evidence: the labels and their scores.
        relations: (K, K) bool relation [label, class that it proposes] of each error type.
        by_rule: sum of the TYPE_BITS of types whose proposals are added without a score.
        max_rounds: rounds at most; fewer where one adds nothing.
    """

    evidence: Evidence
    relations: Mapping[str, sparse.csr_array]
    by_rule: int = 0
    max_rounds: float = 1

    def candidates(self, carried: sparse.csr_array, start: int) -> Candidates:
        """Return what labels `carried` by the clips from row `start` on propose, rows counted from `start`."""
        proposals = propose(carried, self.relations)
        return Candidates(proposals, *self.evidence.best(proposals.clips + start, proposals.classes))

    def original(self, start: int, stop: int) -> sparse.csr_array:
        """Return the original labels of the clips from row `start` to before `stop`."""
        return self.evidence.labels.matrix[start:stop]

    def run(
        self, start: int, stop: int, thresholds: np.ndarray, first: Candidates | None = None, ledger: bool = True
    ) -> Found:
        """Search the clips from row `start` to before `stop`.

        Args:
            thresholds: (K,) float64, NaN where a class has none.
            first: the candidates of the first round, where they are known already.
            ledger: whether to say why each label was added.
        """
        carried, rounds, tables = self.original(start, stop), [], [SCHEMA.empty_table()]
        candidates = self.candidates(carried, start) if first is None else first
        while True:
            limits = thresholds[candidates.proposals.classes]
            without_score = (candidates.proposals.types & self.by_rule) > 0
            accepted = without_score | (candidates.scores > limits)  # the latter is false where either is NaN
            added = candidates.where(accepted)
            rounds.append(added.proposals)
            if ledger:
                decided = np.where(without_score, np.nan, [candidates.scores, limits])[:, accepted]
                tables.append(self._ledger(carried, start, added, decided, len(rounds)))
            if len(rounds) >= self.max_rounds or not accepted.any():
                break
            carried = _with(carried, added.proposals)
            candidates = self.candidates(carried, start)
        rejected = candidates.where(~accepted)
        numbers = np.repeat(np.arange(1, len(rounds) + 1), [len(part.clips) for part in rounds])
        clips, classes, types = (np.concatenate(parts) for parts in zip(*rounds, strict=True))
        order = np.lexsort((classes, clips))
        rows = pa.concat_tables(tables)
        return Found(
            Proposals(clips[order] + start, classes[order], types[order]),
            numbers[order],
            rejected._replace(proposals=rejected.proposals._replace(clips=rejected.proposals.clips + start)),
            rows.take(pa.array(order)) if ledger and len(rounds) > 1 else rows,
        )

    def _ledger(
        self, carried: sparse.csr_array, start: int, added: Candidates, decided: np.ndarray, round_number: int
    ) -> pa.Table:
        labels, window_s = self.evidence.labels, self.evidence.window_s
        support = supporting_labels(carried, added.proposals, self.relations)
        clip_ids = labels.clip_ids[start : start + carried.shape[0]]
        class_ids = labels.vocabulary.class_ids
        return ledger_rows(
            clip_ids, class_ids, added.proposals, support, *decided, round_number, window_s, added.windows
        )


def _with(carried: sparse.csr_array, added: Proposals) -> sparse.csr_array:
    ones = np.ones(len(added.clips), bool)
    total = carried + sparse.csr_array((ones, (added.clips, added.classes)), shape=carried.shape)
    total.sort_indices()
    return total
