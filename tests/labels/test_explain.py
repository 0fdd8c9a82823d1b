"""An explanation of a clip says what the ledger says, and why every other candidate was not added."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.errors import InputError
from pseudolabel.labels.enhancement import enhance
from pseudolabel.labels.explain import EXPLAINED, explain, explanation_lines
from pseudolabel.labels.ledger import SCHEMA
from pseudolabel.labels.ontology import Node, Ontology
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.store import ScoreStore

CLASSES = ("animal", "dog", "bark", "howl", "wolf", "car", "thing")
VOCABULARY = Vocabulary("seven", CLASSES, tuple(k.title() for k in CLASSES), CLASSES)
WORLD = Ontology.from_nodes(
    [
        Node("animal", "Animal", ("dog", "wolf")),
        Node("dog", "Dog", ("bark", "howl")),
        Node("wolf", "Wolf", ("howl",)),
        *(Node(k, k.title(), ()) for k in ("bark", "howl", "car")),
    ]
)
LABELS = LabelTable.from_sets(["c1", "c2", "c3"], [{"dog"}, {"bark", "car"}, {"animal"}], VOCABULARY)
SCORES = np.array(
    [
        [0.75, 0.50, 0.50, 0.25, 0.625, 0.875, 0.5],
        [0.25, 0.75, 0.50, 0.50, 0.25, 0.50, 0.25],
        [0.50, 0.25, 0.75, 0.50, 0.25, 0.25, 0.25],
    ]
)  # thresholds at the mean: animal, dog, bark, car 1/2; howl, wolf, thing none


def outcomes(table) -> list[tuple]:
    rows = table.select(["class_id", "outcome", "error", "because", "score", "threshold", "reason"]).to_pylist()
    return [tuple(row.values()) for row in rows]


def test_every_candidate_of_a_clip_is_worked_out_by_hand():
    assert outcomes(explain(LABELS, SCORES, WORLD, "c1")) == [
        ("dog", "given", None, None, 0.5, 0.5, ""),
        ("animal", "added", "II", "dog", 0.75, 0.5, "the score is above the threshold"),
        ("bark", "not added", "I", "dog", 0.5, 0.5, "the score is not above the threshold, which it equals"),
        ("howl", "not added", "I", "dog", 0.25, None,
         "no threshold: no scored clip carries it"),
        ("car", "not a candidate", None, None, 0.875, 0.5, "it has no relatives in the vocabulary"),
        ("wolf", "not a candidate", None, None, 0.625, None,
         "only labels added in the last round would propose it: more --rounds (Animal)"),
        ("thing", "not a candidate", None, None, 0.5, None, "it has no relatives in the vocabulary"),
    ]  # fmt: skip


def test_options_that_narrow_the_candidates_are_named():
    only_parents = explain(LABELS, SCORES, WORLD, "c3", EnhanceOptions(errors=("II",)))
    other = "a given label would propose it only with another --errors, --type1 or --type2 (Animal)"
    assert {row[0]: row[-1] for row in outcomes(only_parents)} == {
        "animal": "", "bark": other, "howl": other, "dog": other, "wolf": other,
        "car": "it has no relatives in the vocabulary",
    }  # fmt: skip
    none = LabelTable.from_sets(["c1"], [{"car"}], VOCABULARY)
    rows = {row[0]: row[-1] for row in outcomes(explain(none, SCORES[:1], WORLD, "c1"))}
    assert rows["animal"] == "no relative is given (Dog; Bark; Howl; 1 more)"


def test_missing_scores_and_additions_by_rule_are_said(tmp_path):
    scores = np.where(np.arange(3)[:, None] == 1, np.nan, SCORES)
    rows = outcomes(explain(LABELS, scores, WORLD, "c2", EnhanceOptions("0.5", type2="closure")))
    assert [row[:3] + row[-1:] for row in rows] == [
        ("bark", "given", None, ""),
        ("car", "given", None, ""),
        ("animal", "added", "II", "added by rule"),
        ("dog", "added", "II", "added by rule"),
    ]
    rows = outcomes(explain(LABELS, scores, WORLD, "c2"))
    assert {row[-1] for row in rows[2:]} == {"no score: the clip's scores are NaN"}
    ScoreStore.write(tmp_path / "s.h5", LABELS.clip_ids, CLASSES[1:], {"clip": SCORES[:, 1:]})
    rows = outcomes(explain(LABELS, ScoreStore.open(tmp_path / "s.h5"), WORLD, "c1"))
    assert rows[1][:2] + rows[1][-1:] == ("animal", "not added", "no score: the class is not among the scored classes")


def test_a_reader_sees_names_numbers_and_reasons():
    assert explanation_lines(explain(LABELS, SCORES, WORLD, "c1"))[:5] == [
        "1 of 3 candidates are added",
        "  given            Dog         .500",
        "  added            Animal  II  .750 > .500   proposed by Dog",
        "  not added        Bark    I   .500 <= .500  proposed by Dog",
        "  not added        Howl    I   .250          no threshold: no scored clip carries it, proposed by Dog",
    ]


def test_a_clip_is_found_by_its_recordings_name_or_refused_with_the_nearest():
    assert explain(LABELS, SCORES, WORLD, "audio/c1.wav")["clip_id"].unique().to_pylist() == ["c1"]
    with pytest.raises(InputError, match=r"no clip 'c9' in the label list\. Nearest: c\d\."):
        explain(LABELS, SCORES, WORLD, "c9")


@settings(max_examples=60)
@given(st.data())
def test_explanations_of_all_clips_are_the_ledger_and_the_unsure_candidates(tmp_path_factory, data):
    n_nodes, n_clips = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 4))
    pairs = st.tuples(st.integers(0, n_nodes - 1), st.integers(0, n_nodes - 1)).filter(lambda pair: pair[0] < pair[1])
    edges = data.draw(st.sets(pairs))
    world = Ontology.from_nodes(
        Node(str(k), str(k), tuple(str(child) for parent, child in sorted(edges) if parent == k))
        for k in range(n_nodes)
    )
    classes = [str(k) for k in data.draw(st.permutations(range(n_nodes)))[: data.draw(st.integers(1, n_nodes))]]
    vocabulary = Vocabulary("random", *(tuple(classes),) * 3)
    sets = data.draw(st.lists(st.sets(st.sampled_from(classes)), min_size=n_clips, max_size=n_clips))
    labels = LabelTable.from_sets([f"c{i}" for i in range(n_clips)], sets, vocabulary)
    eighths = st.lists(st.integers(0, 8), min_size=2 * len(classes), max_size=2 * len(classes))
    drawn = np.array(data.draw(st.lists(eighths, min_size=n_clips, max_size=n_clips))) / 8
    scored = classes[: data.draw(st.integers(1, len(classes)))]
    windows = drawn.reshape(n_clips, 2, len(classes))[..., : len(scored)]
    options = EnhanceOptions(
        data.draw(st.sampled_from(["mean", "0p", "0.25"])),
        data.draw(st.sampled_from([("I",), ("II",), ("I", "II")])),
        data.draw(st.sampled_from(["children", "descendants"])),
        data.draw(st.sampled_from(["parents", "ancestors", "closure"])),
        min_positives=data.draw(st.sampled_from([1, 2])),
        floor=data.draw(st.sampled_from([0.0, 0.5])),
        rounds=data.draw(st.sampled_from([1, 2, "all"])),
        evidence=data.draw(st.sampled_from(["clip", "2s"])),
    )
    path = tmp_path_factory.getbasetemp() / "explained.h5"
    ScoreStore.write(path, labels.clip_ids, scored, {"clip": windows[:, 0], 2: windows}, overwrite=True)
    found = enhance(labels, ScoreStore.open(path), world, options, soft=True)
    for row, clip_id in enumerate(labels.clip_ids):
        table = explain(labels, ScoreStore.open(path), world, clip_id, options)
        assert table.schema == EXPLAINED
        by_outcome = {
            outcome: table.filter(pc.equal(table["outcome"], outcome))
            for outcome in ("given", "added", "not added", "not a candidate")
        }
        ledger = found.ledger.filter(pc.equal(found.ledger["clip_id"], clip_id))
        assert by_outcome["added"].select(SCHEMA.names).to_pylist() == ledger.to_pylist()
        assert by_outcome["given"]["class_id"].to_pylist() == list(labels.label_sets()[row])
        unsure = found.unsure[[row]].tocoo()
        expected = {
            classes[k]: None if np.isnan(value) else float(value)
            for k, value in zip(unsure.coords[1], unsure.data, strict=True)
        }
        rejected = by_outcome["not added"]
        assert dict(zip(rejected["class_id"].to_pylist(), rejected["score"].to_pylist(), strict=True)) == expected
        for one in rejected.to_pylist():
            assert one["reason"].startswith("no score") == (one["score"] is None)
            if one["reason"].startswith("the score"):
                assert one["score"] <= one["threshold"]
        others = by_outcome["not a candidate"]
        assert len(set(table["class_id"].to_pylist())) == len(table)
        assert all(others["reason"].to_pylist())
        assert others["score"].to_pylist() == sorted(others["score"].to_pylist(), reverse=True)
