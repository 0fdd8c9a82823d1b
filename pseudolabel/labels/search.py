"""Search for candidates that a rule accepts, round by round, for one block of clips at a time.

One round is PSLA's Algorithm 2, procedure 2. In later rounds, added labels propose like original ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from scipy import sparse

from pseudolabel.labels.additions import Additions, concatenated
from pseudolabel.labels.candidates import Relations
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ledger import SCHEMA, ledger_rows


class Rule(Protocol):
    """Decides which candidates there are, and which of them are added; `Search` works with any rule.

    thresholds: (K,) float64, NaN for classes without one. without: {class column: why nothing is added to it}. masked:
    soft targets between these two values, or without a value, may be ignored by a loss.
    """

    thresholds: np.ndarray
    without: Mapping[int, str]
    masked: tuple[float, float]

    def looking_everywhere(self) -> Rule:
        """Return a rule that leaves out no candidate because it will not be added."""

    def candidates(self, labels: sparse.csr_array, start: int, number: int) -> Additions:
        """Return the candidates of round `number` with what is known of them: score, threshold, probability.

        `labels` (n, K) bool are the clips' labels after the earlier rounds; the first row is clip `start`. Candidates
        are ordered by clip, then by class, and are not among the labels.
        """

    def accepts(self, candidates: Additions) -> np.ndarray:
        """Return which candidates are added, (M,) bool."""

    def goes_on(self, number: int, n_added: int) -> bool:
        """Return whether another round follows round `number`, which added `n_added` labels."""

    def values(self, candidates: Additions) -> np.ndarray:
        """Return the soft target of each candidate, (M,) float64; NaN if there is none."""

    def why_not(self, rejected: Additions) -> list[str]:
        """Return, for each candidate that is not added, the reason in words."""

    def facts(self) -> dict:
        """Return what summary.json states about guesses; empty if the rule estimates no probabilities."""

    def class_facts(self) -> list[dict]:
        """Return what thresholds.csv states about the guesses of each class; empty likewise."""


@dataclass(frozen=True, eq=False)
class ThresholdRule:
    """Adds what the labels propose and the teacher scores above the class's threshold.

    Args:
        evidence: the labels' scores.
        relations: what each label proposes.
        thresholds: (K,) float64, NaN for classes without one.
        by_rule: error types whose candidates are added without a score.
        max_rounds: maximum number of rounds; the search stops earlier if a round adds nothing.
        without: {class column: why it has no threshold}.
    """

    evidence: Evidence
    relations: Relations
    thresholds: np.ndarray
    by_rule: tuple[str, ...] = ()
    max_rounds: float = 1
    without: Mapping[int, str] = field(default_factory=dict)
    masked: tuple[float, float] = field(default=(-math.inf, math.inf), init=False)

    def looking_everywhere(self) -> ThresholdRule:
        """Return the rule itself, which has all candidates."""
        return self

    def candidates(self, labels: sparse.csr_array, start: int, number: int) -> Additions:
        """Return what the labels propose; InputError if a score is outside [0, 1]."""
        clips, classes, types = self.relations.candidates(labels)
        scores, onsets_s = self.evidence.best(clips + start, classes)
        candidates = Additions(
            clips=clips + start,
            classes=classes,
            types=types,
            scores=scores,
            thresholds=self.thresholds[classes],
            onsets_s=onsets_s,
            rounds=np.full(len(clips), number, np.int32),
            probabilities=np.full(len(clips), np.nan),
        )
        return candidates.without_evidence(candidates.of_type(self.by_rule))

    def accepts(self, candidates: Additions) -> np.ndarray:
        """Return which are added by rule or have a score above the threshold, (M,) bool."""
        return candidates.of_type(self.by_rule) | (candidates.scores > candidates.thresholds)

    def goes_on(self, number: int, n_added: int) -> bool:
        """Return whether another round may add something."""
        return number < self.max_rounds and n_added > 0

    def values(self, candidates: Additions) -> np.ndarray:
        """Return the soft target of each candidate, (M,): its score."""
        return candidates.scores

    def why_not(self, rejected: Additions) -> list[str]:
        """Return why each candidate is not added: no score, no threshold, or a score that is not above it."""
        pairs = zip(rejected.clips.tolist(), rejected.classes.tolist(), rejected.scores.tolist(), strict=True)
        return [self._why_not(*pair) for pair in pairs]

    def facts(self) -> dict:
        """Return nothing: no probabilities are estimated."""
        return {}

    def class_facts(self) -> list[dict]:
        """Return nothing, likewise."""
        return []

    def _why_not(self, clip: int, k: int, score: float) -> str:
        if np.isnan(score):
            return f"no score: {self.evidence.why_none(clip)}"
        if np.isnan(self.thresholds[k]):
            return f"no threshold: {self.without.get(k, 'none')}"
        equal = ", which it equals" if score == self.thresholds[k] else ""
        return f"the score is not above the threshold{equal}"


class Round(NamedTuple):
    """One round of a search: the labels (n, K) before it, the candidates, and which of them are accepted, (M,) bool."""

    labels: sparse.csr_array
    candidates: Additions
    accepted: np.ndarray


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
        relations: what each label proposes; the ledger names the proposing labels.
        rule: decides which candidates are added.
    """

    evidence: Evidence
    relations: Relations
    rule: Rule

    def run(self, start: int, stop: int, ledger: bool = True) -> Found:
        """Search the clips in rows `start` to `stop` (exclusive); `ledger`: whether to record why labels are added."""
        parts, tables = [], [SCHEMA.empty_table()]
        for labels, candidates, accepted in self.rounds(start, stop):
            parts.append(candidates.where(accepted))
            if ledger:
                tables.append(self.ledger(labels, start, parts[-1]))
        added, rows = concatenated(parts), pa.concat_tables(tables)
        if len(parts) > 1:
            order = np.lexsort((added.classes, added.clips))
            added, rows = added.where(order), rows.take(pa.array(order)) if ledger else rows
        return Found(added, candidates.where(~accepted), rows)

    def rounds(self, start: int, stop: int) -> Iterator[Round]:
        """Yield the rounds, at least one, of the clips in rows `start` to `stop` (exclusive)."""
        labels, number, goes_on = self.evidence.labels.matrix[start:stop], 0, True
        while goes_on:
            number += 1
            candidates = self.rule.candidates(labels, start, number)
            accepted = self.rule.accepts(candidates)
            yield Round(labels, candidates, accepted)
            goes_on = self.rule.goes_on(number, int(accepted.sum()))
            if goes_on:
                labels = with_additions(labels, candidates.where(accepted), start)

    def ledger(self, labels: sparse.csr_array, start: int, added: Additions) -> pa.Table:
        """Return the ledger of additions to clips with `labels` (n, K), the first of which is row `start`."""
        table, within = self.evidence.labels, replace(added, clips=added.clips - start)
        clip_ids = pa.array(table.clip_ids[start : start + labels.shape[0]], pa.string())
        class_ids = pa.array(table.vocabulary.class_ids, pa.string())
        support = self.relations.supporting_labels(labels, within.clips, within.classes)
        return ledger_rows(within, support, clip_ids, class_ids, self.evidence.window_s)


def with_additions(labels: sparse.csr_array, added: Additions, start: int = 0) -> sparse.csr_array:
    """Return labels (n, K) bool together with the additions; the first row is clip `start`."""
    new = sparse.csr_array((np.ones(len(added), bool), (added.clips - start, added.classes)), shape=labels.shape)
    together = labels + new
    together.sort_indices()
    return together
