"""Search: which proposals the evidence accepts, round after round, for one block of clips at a time.

PSLA's Algorithm 2, procedure 2, is one round. In a further round added labels propose like original ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import sparse

from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ledger import SCHEMA, ledger_rows
from pseudolabel.labels.proposals import Proposals, Relations, type_bits

SUPPORT = 1 << 24  # labels that are asked at once whether they speak for an addition


class Found(NamedTuple):
    """What a search added, by clip and then by class, rows counted from the table's first.

    added: the labels; rounds (M,) int64: when; rejected: the candidates of the last round that were not accepted, where
    they were asked for; ledger: a row for each addition, or no row where none was asked for.
    """

    added: Proposals
    rounds: np.ndarray
    rejected: Proposals | None
    ledger: pa.Table


@dataclass(frozen=True, eq=False)
class Search:
    """How blocks of clips are searched.

    Args:
        evidence: the labels and their scores.
        relations: what each label proposes.
        by_rule: error types whose proposals are added without a score.
        max_rounds: rounds at most; fewer where one adds nothing.
    """

    evidence: Evidence
    relations: Relations
    by_rule: tuple[str, ...] = ()
    max_rounds: float = 1

    def run(self, start: int, stop: int, thresholds: np.ndarray, ledger: bool = True, rejected: bool = False) -> Found:
        """Search the clips from row `start` to before `stop`.

        Args:
            thresholds: (K,) float64, NaN where a class has none.
            ledger: whether to say why each label was added.
            rejected: whether to list the candidates that were not.
        """
        carried, rounds, tables = self.evidence.labels.matrix[start:stop], [], [SCHEMA.empty_table()]
        above, improper = self.evidence.compare(start, stop, thresholds)
        while True:
            proposed = self.relations.proposed(carried)
            if improper is not None:
                self._check(proposed.listed(improper), start)
            accepted = np.bitwise_or.reduce([above & proposed.any, *(proposed.by_error[e] for e in self.by_rule)])
            added = proposed.listed(accepted)
            rounds.append(added)
            if ledger:
                tables += self._ledger(carried, start, added, thresholds, len(rounds))
            if len(rounds) >= self.max_rounds or not len(added.clips):
                break
            carried = _with(carried, added)
        numbers = np.repeat(np.arange(1, len(rounds) + 1), [len(part.clips) for part in rounds])
        clips, classes, types = (np.concatenate(parts) for parts in zip(*rounds, strict=True))
        order = np.lexsort((classes, clips))
        rows = pa.concat_tables(tables)
        return Found(
            Proposals(clips[order] + start, classes[order], types[order]),
            numbers[order],
            _from(proposed.listed(~accepted), start) if rejected else None,
            rows.take(pa.array(order)) if ledger and len(rounds) > 1 else rows,
        )

    def _check(self, proposals: Proposals, start: int) -> None:
        """Raise what is wrong with the scores of these proposals, where there are any."""
        self.evidence.best(proposals.clips + start, proposals.classes)

    def _ledger(
        self, carried: sparse.csr_array, start: int, added: Proposals, thresholds: np.ndarray, round_number: int
    ) -> list[pa.Table]:
        labels, window_s, hop_s = self.evidence.labels, self.evidence.window_s, self.evidence.hop_s
        clip_ids = pa.array(labels.clip_ids[start : start + carried.shape[0]], pa.string())
        class_ids = pa.array(labels.vocabulary.class_ids, pa.string())
        pieces = []
        for part in _pieces(carried, added):
            scores, windows = self.evidence.best(part.clips + start, part.classes)
            limits = thresholds[part.classes]
            ruled = (part.types & type_bits(self.by_rule)) > 0
            scores[ruled] = limits[ruled] = np.nan
            support = self.relations.supporting_labels(carried, part)
            pieces.append(
                ledger_rows(clip_ids, class_ids, part, support, scores, limits, round_number, window_s, windows, hop_s)
            )
        return pieces


def _pieces(carried: sparse.csr_array, added: Proposals) -> list[Proposals]:
    """Return the additions in parts whose clips carry SUPPORT labels in all, counted once for each addition."""
    labels = np.cumsum(np.diff(carried.indptr)[added.clips])
    cuts = np.searchsorted(labels, np.arange(SUPPORT, labels[-1] if len(labels) else 0, SUPPORT), side="right")
    bounds = [0, *np.unique(cuts).tolist(), len(labels)]
    return [added.where(slice(*bound)) for bound in pairwise(bounds)]


def _from(proposals: Proposals, start: int) -> Proposals:
    return proposals._replace(clips=proposals.clips + start)


def _with(carried: sparse.csr_array, added: Proposals) -> sparse.csr_array:
    ones = np.ones(len(added.clips), bool)
    total = carried + sparse.csr_array((ones, (added.clips, added.classes)), shape=carried.shape)
    total.sort_indices()
    return total
