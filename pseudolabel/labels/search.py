"""Search for candidates that the evidence accepts, round by round, for one block of clips at a time.

One round is PSLA's Algorithm 2, procedure 2. In later rounds, added labels propose like original ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import sparse

from pseudolabel.labels.additions import Additions, concatenated
from pseudolabel.labels.candidates import Relations
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ledger import SCHEMA, ledger_rows


class Found(NamedTuple):
    """The result of a search; rows count from the table's first clip.

    added: the added labels, by clip, then by class. rejected: candidates of the last round that were not added.
    ledger: one row per addition; empty if not requested.
    """

    added: Additions
    rejected: Additions
    ledger: pa.Table


@dataclass(frozen=True, eq=False)
class Search:
    """How blocks of clips are searched.

    Args:
        evidence: the labels and their scores.
        relations: what each label proposes.
        by_rule: error types whose candidates are added without a score.
        max_rounds: maximum number of rounds; the search stops earlier if a round adds nothing.
    """

    evidence: Evidence
    relations: Relations
    by_rule: tuple[str, ...] = ()
    max_rounds: float = 1

    def run(self, start: int, stop: int, thresholds: np.ndarray, ledger: bool = True) -> Found:
        """Search the clips in rows `start` to `stop` (exclusive).

        Args:
            thresholds: (K,) float64, NaN for classes without one.
            ledger: whether to record why each label was added.
        """
        carried, rounds, tables = self.evidence.labels.matrix[start:stop], [], [SCHEMA.empty_table()]
        while True:
            candidates = self._candidates(carried, start, thresholds, len(rounds) + 1)
            by_rule = candidates.of_type(self.by_rule)
            accepted = by_rule | (candidates.scores > candidates.thresholds)
            added = _without_score(candidates, by_rule).where(accepted)
            rounds.append(added)
            if ledger:
                tables.append(self._ledger(carried, start, added))
            if len(rounds) >= self.max_rounds or not len(added):
                break
            carried = with_additions(carried, added, start)
        together, rows = concatenated(rounds), pa.concat_tables(tables)
        if len(rounds) > 1:
            order = np.lexsort((together.classes, together.clips))
            together, rows = together.where(order), rows.take(pa.array(order)) if ledger else rows
        return Found(together, candidates.where(~accepted), rows)

    def _candidates(self, carried: sparse.csr_array, start: int, thresholds: np.ndarray, number: int) -> Additions:
        """Return the candidates of round `number` with their scores; InputError if a score is outside [0, 1]."""
        clips, classes, types = self.relations.candidates(carried)
        scores, onsets_s = self.evidence.best(clips + start, classes)
        rounds = np.full(len(clips), number, np.int32)
        return Additions(clips + start, classes, types, scores, thresholds[classes], onsets_s, rounds)

    def _ledger(self, carried: sparse.csr_array, start: int, added: Additions) -> pa.Table:
        labels, within = self.evidence.labels, replace(added, clips=added.clips - start)
        clip_ids = pa.array(labels.clip_ids[start : start + carried.shape[0]], pa.string())
        class_ids = pa.array(labels.vocabulary.class_ids, pa.string())
        support = self.relations.supporting_labels(carried, within.clips, within.classes)
        return ledger_rows(within, support, clip_ids, class_ids, self.evidence.window_s)


def with_additions(labels: sparse.csr_array, added: Additions, start: int = 0) -> sparse.csr_array:
    """Return labels (n, K) bool together with the additions; the first row is clip `start`."""
    new = sparse.csr_array((np.ones(len(added), bool), (added.clips - start, added.classes)), shape=labels.shape)
    together = labels + new
    together.sort_indices()
    return together


def _without_score(candidates: Additions, by_rule: np.ndarray) -> Additions:
    """Return the candidates with score, threshold and window removed where they are added by rule."""
    scores, thresholds, onsets_s = (
        np.where(by_rule, np.nan, values) for values in (candidates.scores, candidates.thresholds, candidates.onsets_s)
    )
    return replace(candidates, scores=scores, thresholds=thresholds, onsets_s=onsets_s)
