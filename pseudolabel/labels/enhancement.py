"""Enhance labels: add what the ontology allows and the teacher confirms, with reasons (PSLA, Algorithm 2)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import sparse

from pseudolabel.errors import InputError
from pseudolabel.labels.additions import TYPE_BITS, concatenated
from pseudolabel.labels.candidates import Relations
from pseudolabel.labels.evidence import Evidence, KeyedScores, refuse_unscored
from pseudolabel.labels.ledger import read_ledger
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.outside import Outside, outside, outside_figures
from pseudolabel.labels.precision_rule import JUDGED
from pseudolabel.labels.rules import Basis, EnhanceOptions
from pseudolabel.labels.search import Found, Search, with_additions
from pseudolabel.labels.summary import TOGETHER, Tally, summarise, sweep_rows
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.thresholds import PositiveScores
from pseudolabel.progress import Progress, note

BLOCK_CLIPS = 8192  # searched at a time
Scores = KeyedScores | np.ndarray  # keyed by clip id and class id, or (N, K) in label order
Teachers = Scores | Sequence[Scores]
Judgements = pa.Table | str | Path
Scored = tuple[LabelTable, Scores]


@dataclass(frozen=True)
class Enhancement:
    """The result of `enhance`.

    Args:
        labels: the enhanced labels, with clips and classes in the given order.
        ledger: one row per added label (columns: pseudolabel.labels.ledger).
        thresholds: (K,) float64, NaN for classes without one.
        summary: the figures of PSLA's Table VIII, by type and by class, as written to summary.json.
        missing: (clip id, reason) of clips without scores, which keep their labels.
        outside: the role of ontology nodes outside the vocabulary, and the classes that are not nodes.
        unsure: (N, K) float32 with an explicit entry for each label that is not certain: a candidate that was not added
            and its score, or a guess, added or not, and its probability; NaN if it has none. None if not requested.
        masked: a loss may ignore `unsure` values between these two.
    """

    labels: LabelTable
    ledger: pa.Table
    thresholds: np.ndarray
    summary: dict
    missing: tuple[tuple[str, str], ...]
    outside: tuple[Outside, ...]
    unsure: sparse.csr_array | None = None
    masked: tuple[float, float] = (-math.inf, math.inf)


def enhance(
    labels: LabelTable,
    scores: Teachers | None,
    ontology: Ontology,
    options: EnhanceOptions | None = None,
    thresholds_from: Scored | None = None,
    soft: bool = False,
    judgements: Judgements | None = None,
) -> Enhancement:
    """Return the enhanced labels and the ledger of what was added (PSLA, Algorithm 2).

    Args:
        labels: (N, K) weak labels, clips in any order.
        scores: teacher scores in [0, 1] keyed by clip id and class id (extra clips and classes are ignored); or a plain
            (N, K) array in label order, with NaN rows for clips without scores; or None if `options` add labels by rule
            only. Several teachers, each with classes of its own, for a precision.
        ontology: which class is a kind of which.
        options: see EnhanceOptions.
        thresholds_from: other labels and scores to take thresholds from: the training set's for an evaluation set, or
            out-of-fold scores.
        soft: whether to keep what is unsure.
        judgements: for a precision, decisions about earlier guesses: a table, or a file, with the columns `clip_id`,
            `class_id`, `decision` (right, wrong, unsure or empty).

    Raises:
        ClipMismatch: no labelled clip has scores, or one has none and `options.strict` is set.
        InputError: the scores or the ontology share no class with the labels, a score is outside [0, 1], or the
            options need scores and there are none.
    """
    enhancing = Enhancing.begin(labels, scores, ontology, options, thresholds_from, judgements)
    tally = enhancing.new_tally()
    blocks = list(enhancing.blocks(tally, soft))
    return Enhancement(
        labels=LabelTable(labels.clip_ids, sparse.vstack([block.labels for block in blocks], "csr"), labels.vocabulary),
        ledger=pa.concat_tables([block.ledger for block in blocks]),
        thresholds=enhancing.thresholds,
        summary=enhancing.summary(tally),
        missing=enhancing.search.evidence.missing,
        outside=enhancing.outside,
        unsure=sparse.csr_array(sparse.vstack([block.unsure for block in blocks], "csr")) if soft else None,
        masked=enhancing.search.rule.masked,
    )


class Block(NamedTuple):
    """The enhancement of consecutive clips.

    Args:
        clip_ids, class_ids: the n clips and all K classes.
        labels: (n, K) bool, the enhanced labels.
        ledger, unsure: as in Enhancement.
    """

    clip_ids: tuple[str, ...]
    class_ids: tuple[str, ...]
    labels: sparse.csr_array
    ledger: pa.Table
    unsure: sparse.csr_array | None


@dataclass(frozen=True, eq=False)
class Enhancing:
    """An enhancement that computes blocks of clips on demand and does not keep them.

    Args:
        labels, ontology, options: as for `enhance`.
        search: finds the additions of a block.
        positives: the scores that thresholds are computed from.
    """

    labels: LabelTable
    ontology: Ontology
    options: EnhanceOptions
    search: Search
    positives: PositiveScores

    @classmethod
    def begin(
        cls,
        labels: LabelTable,
        scores: Teachers | None,
        ontology: Ontology,
        options: EnhanceOptions | None = None,
        thresholds_from: Scored | None = None,
        judgements: Judgements | None = None,
    ) -> Enhancing:
        """Match the scores and compute the thresholds; arguments and errors as for `enhance`."""
        options = _checked(options)
        options.refuse_unfit(thresholds_from is not None)
        basis = gather(labels, scores, ontology, options, thresholds_from, judgements)
        search = Search(basis.evidence, basis.relations, options.rule(basis))
        return cls(labels, ontology, options, search, basis.positives)

    def blocks(self, tally: Tally, soft: bool = False) -> Iterator[Block]:
        """Yield the blocks in order, counting their additions in `tally`; `soft`: whether to keep unsure candidates."""
        for start, stop in blocks_of(len(self.labels), "enhance"):
            yield self._block(start, stop, tally, soft)

    def count(self) -> Tally:
        """Count the labels that will be added, without listing them."""
        tally = self.new_tally()
        for start, stop in blocks_of(len(self.labels), "count"):
            found = self.search.run(start, stop, ledger=False)
            tally.count(found.added, (start, stop), self.options.by_rule)
        return tally

    def fullest(self, tally: Tally, soft: bool = False) -> Block:
        """Return the block with the most additions in `tally`."""
        return self._block(*tally.fullest, self.new_tally(), soft)

    def _block(self, start: int, stop: int, tally: Tally, soft: bool) -> Block:
        search = replace(self.search, rule=self.search.rule.looking_everywhere()) if soft else self.search
        found, carried = search.run(start, stop), self.labels.matrix[start:stop]
        tally.count(found.added, (start, stop), self.options.by_rule)
        unsure = self._unsure(found, start, carried.shape) if soft else None
        clip_ids, class_ids = self.labels.clip_ids[start:stop], self.labels.vocabulary.class_ids
        return Block(clip_ids, class_ids, with_additions(carried, found.added, start), found.ledger, unsure)

    def _unsure(self, found: Found, start: int, shape: tuple[int, int]) -> sparse.csr_array:
        """Return the soft targets of the labels of a block that are not certain (`Enhancement.unsure`)."""
        guessed = found.added.where(~np.isnan(found.added.probabilities))
        candidates = concatenated([found.rejected, guessed])
        values = self.search.rule.values(candidates).astype(np.float32)
        return sparse.csr_array((values, (candidates.clips - start, candidates.classes)), shape=shape)

    @property
    def thresholds(self) -> np.ndarray:
        """Each class's threshold, (K,) float64, NaN if it has none."""
        return self.search.rule.thresholds

    def new_tally(self) -> Tally:
        """Return an empty tally."""
        return Tally.of(len(self.labels.vocabulary))

    @cached_property
    def outside(self) -> tuple[Outside, ...]:
        """The role of ontology nodes outside the vocabulary."""
        return outside(self.ontology, self.labels.vocabulary)

    def summary(self, tally: Tally) -> dict:
        """Return the content of summary.json."""
        ontology = outside_figures(self.ontology, self.outside)
        return summarise(self.search, self.positives, tally, self.options, ontology)


def sweep(
    labels: LabelTable,
    scores: Teachers | None,
    ontology: Ontology,
    rules: Sequence[str],
    options: EnhanceOptions | None = None,
    thresholds_from: Scored | None = None,
    judgements: Judgements | None = None,
) -> list[dict]:
    """Count the labels that each threshold rule would add, by type and together (PSLA, Table IX's counts).

    Arguments and errors as for `enhance`; `rules` replaces `options.threshold`. A label proposed by both types counts
    for both.

    Returns:
        One dict with the keys SWEEP_HEADER per rule and type, in the order of `rules`.
    """
    if isinstance(rules, str) or not rules:
        raise InputError(f"several rules are compared, not {rules!r}", "rules", "Give [rule, rule].")
    each = [replace(_checked(options), threshold=rule) for rule in rules]
    for one in each:
        one.refuse_unfit(thresholds_from is not None)
    basis = gather(labels, scores, ontology, each[0], thresholds_from, judgements)
    searches = [Search(basis.evidence, basis.relations, one.rule(basis)) for one in each]
    n_classes = len(labels.vocabulary)
    counts = [{kind: np.zeros(n_classes, np.int64) for kind in (*one.errors, TOGETHER)} for one in each]
    for start, stop in blocks_of(len(labels), "sweep"):
        for one, by_kind in zip(searches, counts, strict=True):
            added = one.run(start, stop, ledger=False).added
            for kind, by_class in by_kind.items():
                kept = added.of_type(TYPE_BITS if kind == TOGETHER else (kind,))
                by_class += np.bincount(added.classes[kept], minlength=n_classes)
    n_before = labels.matrix.nnz
    return [row for one, by_kind in zip(each, counts, strict=True) for row in sweep_rows(one.name, by_kind, n_before)]


def _checked(options: EnhanceOptions | None) -> EnhanceOptions:
    if options is not None and not isinstance(options, EnhanceOptions):
        raise InputError(f"must be EnhanceOptions, not {options!r}", "options", "Give EnhanceOptions(threshold=...).")
    return options or EnhanceOptions()


def gather(
    labels: LabelTable,
    scores: Teachers | None,
    ontology: Ontology,
    options: EnhanceOptions,
    thresholds_from: Scored | None = None,
    judgements: Judgements | None = None,
) -> Basis:
    """Match the scores and look up those that thresholds are computed from; arguments as for `enhance`."""
    if scores is None:
        options.refuse_without_scores()
        if thresholds_from is not None:
            raise InputError("nothing is compared with a threshold", "--thresholds-from", "Omit it.")
    relations = Relations(options.relations(ontology, labels.vocabulary))
    teachers = _matched(labels, scores, options)
    other = teachers[0]
    if thresholds_from is not None:
        if thresholds_from[0].vocabulary != labels.vocabulary:
            raise InputError("the labels for thresholds have another vocabulary", "--thresholds-from")
        other = Evidence.match(*thresholds_from, options.strict, options.evidence)
        note(other.aliases_report())
    for evidence in teachers:
        note(evidence.aliases_report())
    return Basis(teachers, relations, PositiveScores.of(other), ontology, _judged(judgements))


def _judged(judgements: Judgements | None) -> tuple[pa.Table, object] | None:
    """Return a table of judgements, and its name in errors."""
    if judgements is None:
        return None
    if isinstance(judgements, pa.Table):
        return judgements, "judgements"
    return read_ledger(judgements, JUDGED), judgements


def _matched(labels: LabelTable, scores: Teachers | None, options: EnhanceOptions) -> list[Evidence]:
    """Return the scores of each teacher; the first one's `missing` are the clips that no teacher has scored."""
    if not isinstance(scores, list | tuple):
        return [Evidence.match(labels, scores, options.strict, options.evidence)]
    if not scores:
        raise InputError("no teacher", "scores", "Give one or several.")
    first, *others = (
        Evidence.match(labels, one, options.strict and len(scores) == 1, options.evidence) for one in scores
    )
    unscored = set.intersection(*({clip for clip, _ in one.missing} for one in (first, *others)))
    missing = tuple(pair for pair in first.missing if pair[0] in unscored)
    refuse_unscored(missing, len(labels), options.strict)
    return [replace(first, missing=missing), *others]


def blocks_of(n_clips: int, what: str) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) row of each block of clips, showing progress as `what`."""
    with Progress(what, n_clips) as progress:
        for start in range(0, max(n_clips, 1), BLOCK_CLIPS):
            stop = min(start + BLOCK_CLIPS, n_clips)
            yield start, stop
            progress.advance(stop - start)
