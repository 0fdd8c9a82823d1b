"""The search asks any rule: thresholds, or a rule of one's own that adds ancestors first and then by probability."""

from __future__ import annotations

import numpy as np

from pseudolabel.labels.additions import TYPE_BITS, Additions, label_keys
from pseudolabel.labels.candidates import Relations
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ontology import Node, Ontology
from pseudolabel.labels.rules import Basis, EnhanceOptions
from pseudolabel.labels.search import Search, ThresholdRule
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.thresholds import PositiveScores
from pseudolabel.labels.vocabulary import Vocabulary

CLASSES = ("animal", "dog", "cat", "bark", "car")
VOCABULARY = Vocabulary("five", CLASSES, CLASSES, CLASSES)
WORLD = Ontology.from_nodes(
    [Node("animal", "Animal", ("dog", "cat")), Node("dog", "Dog", ("bark",)), *(Node(k, k, ()) for k in CLASSES[2:])]
)
LABELS = LabelTable.from_sets(["c1", "c2"], [{"bark"}, {"car"}], VOCABULARY)
SCORES = np.array([[0.5, 0.5, 0.75, 0.5, 0.625], [0.25, 0.5, 0.5, 0.125, 0.5]])
RELATIONS = Relations(EnhanceOptions().relations(WORLD, VOCABULARY))


class ClosureThenAnything:
    """Round 1 adds all ancestors; round 2 asks every other class, related or not, for its probability."""

    thresholds = np.full(len(CLASSES), np.nan)

    def candidates(self, labels, start, number) -> Additions:
        clips, classes, types = RELATIONS.candidates(labels)
        if number == 1:
            kept = types & TYPE_BITS["II"] > 0
            clips, classes, types = clips[kept], classes[kept], types[kept]
        else:
            every = np.arange(labels.shape[0] * len(CLASSES))
            clips, classes = np.divmod(np.setdiff1d(every, label_keys(labels)), len(CLASSES))
            types = np.full(len(clips), TYPE_BITS["I"], np.int8)
        nothing = np.full(len(clips), np.nan)
        found = Additions(
            clips + start, classes, types, nothing, nothing, nothing, np.full(len(clips), number, np.int32), nothing
        )
        if number == 1:
            return found
        scores = SCORES[found.clips, classes]
        return Additions(found.clips, classes, types, scores, nothing, nothing, found.rounds, scores / 2)

    def accepts(self, candidates) -> np.ndarray:
        return np.isnan(candidates.scores) | (candidates.probabilities > 0.25)

    def goes_on(self, number, n_added) -> bool:
        return number == 1


def rows(ledger, *columns: str) -> list[tuple]:
    return [tuple(row[name] for name in columns) for row in ledger.to_pylist()]


def test_a_rule_of_ones_own_needs_no_other_search():
    evidence = Evidence.match(LABELS, SCORES)
    found = Search(evidence, RELATIONS, ClosureThenAnything()).run(0, 2)
    assert rows(found.ledger, "clip_id", "class_id", "because", "score", "threshold", "probability", "round") == [
        ("c1", "animal", "bark", None, None, None, 1),
        ("c1", "dog", "bark", None, None, None, 1),
        ("c1", "cat", "animal", 0.75, None, 0.375, 2),  # a sibling, proposed by an ancestor that was added
        ("c1", "car", "", 0.625, None, 0.3125, 2),  # nothing proposes it
    ]
    assert sorted(zip(found.rejected.clips.tolist(), found.rejected.classes.tolist(), strict=True)) == [
        (1, 0), (1, 1), (1, 2), (1, 3),
    ]  # fmt: skip


def test_a_second_round_may_follow_one_that_added_nothing():
    evidence = Evidence.match(LABELS, SCORES)
    (first, second) = Search(evidence, RELATIONS, ClosureThenAnything()).rounds(1, 2)  # car has no ancestor
    assert (len(first.candidates), len(second.candidates)) == (0, 4)


def test_the_rule_of_thresholds_stops_when_nothing_is_added():
    evidence, thresholds = Evidence.match(LABELS, SCORES), np.full(5, 0.5)
    rule = ThresholdRule(evidence, RELATIONS, thresholds, max_rounds=float("inf"))
    assert len(list(Search(evidence, RELATIONS, rule).rounds(0, 2))) == 1  # scores of .5 are not above .5
    rule = ThresholdRule(evidence, RELATIONS, thresholds, ("II",), float("inf"))
    found = Search(evidence, RELATIONS, rule).run(0, 2)
    assert rows(found.ledger, "class_id", "score", "threshold", "round") == [
        ("animal", None, None, 1), ("dog", None, None, 1), ("cat", 0.75, 0.5, 2),
    ]  # fmt: skip


def test_options_make_the_rule():
    evidence = Evidence.match(LABELS, SCORES)
    options = EnhanceOptions("0.25", type2="closure", rounds="all")
    rule = options.rule(Basis([evidence], RELATIONS, PositiveScores.of(evidence), Ontology.load()))
    assert (rule.by_rule, rule.max_rounds) == (("II",), float("inf"))
    assert np.isnan(rule.thresholds).tolist() == [True, True, True, False, False]
