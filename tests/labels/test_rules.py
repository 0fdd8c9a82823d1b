"""Rules: what options mean, and PSLA's published label sets, exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.enhance import enhance
from pseudolabel.errors import InputError
from pseudolabel.labels.ontology import Node, Ontology
from pseudolabel.labels.rules import PSLA_SKIPPED, EnhanceOptions
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import parse_window, window_name

PSLA = EnhanceOptions(profile="psla")
FEW = 300  # clips
STATISTICS = {
    "mean": np.mean, "median": np.median, "25p": lambda values: np.percentile(values, 25),
    "10p": lambda values: np.percentile(values, 10), "5p": lambda values: np.percentile(values, 5),
}  # fmt: skip


def pairs(matrix, vocabulary: Vocabulary) -> set[tuple[str, str]]:
    ids = vocabulary.ontology_ids
    return {(ids[row], ids[column]) for row, column in zip(*matrix.nonzero(), strict=True)}


def published_relations(nodes: list[dict], classes: list[str], skipped: tuple[str, ...]) -> dict[str, set]:
    """The published code's rule as loops: a table of children, a table of parents without abstract ones, a search."""
    children = {node["id"]: node["child_ids"] for node in nodes}
    parents: dict[str, list[str]] = {node["id"]: [] for node in nodes}
    for node in nodes:
        if node["restrictions"] != ["abstract"]:
            for child in node["child_ids"]:
                parents[child].append(node["id"])

    def search(node, seen):
        for parent in parents[node]:
            if parent not in seen:
                seen.add(parent)
                search(parent, seen)
        return seen

    proposing = [k for k in classes if k in children and k not in skipped]
    return {
        "I": {(k, child) for k in proposing for child in children[k] if child in classes},
        "II": {(k, found) for k in proposing for found in search(k, set()) if found in classes},
    }


@pytest.mark.parametrize(("name", "n_type1", "n_type2"), [("audioset", 378, 767), ("fsd50k", 138, 300)])
def test_psla_relations_have_the_published_sizes_and_equal_the_loop(shared_data, name, n_type1, n_type2):
    vocabulary = Vocabulary.load(name)
    found = PSLA.relations(Ontology.load(), vocabulary)
    assert (found["I"].nnz, found["II"].nnz) == (n_type1, n_type2)
    nodes = json.loads((shared_data / "audioset" / "ontology.json").read_text())
    expected = published_relations(nodes, list(vocabulary.class_ids), PSLA_SKIPPED)
    assert {error: pairs(relation, vocabulary) for error, relation in found.items()} == expected


@pytest.mark.parametrize("name", ["audioset", "fsd50k"])
def test_psla_label_sets_equal_the_published_codes_loop(shared_data: Path, name):
    vocabulary, rng = Vocabulary.load(name), np.random.default_rng(3)
    matrix = rng.random((FEW, len(vocabulary))) < 3 / len(vocabulary)
    scores = rng.random(matrix.shape).astype(np.float16)
    labels = LabelTable([str(i) for i in range(FEW)], matrix, vocabulary)
    found = enhance(labels, scores, Ontology.load(), EnhanceOptions("5p", profile="psla"))

    nodes = json.loads((shared_data / "audioset" / "ontology.json").read_text())
    related = published_relations(nodes, list(vocabulary.class_ids), PSLA_SKIPPED)
    expected = [set(chosen) for chosen in labels.label_sets()]
    limits = {
        k: np.percentile(scores[matrix[:, column], column].astype(np.float64), 5)
        for column, k in enumerate(vocabulary.class_ids)
        if matrix[:, column].any()
    }
    for error in ("I", "II"):  # each run on the original labels, results united
        for i, chosen in enumerate(labels.label_sets()):
            for label, k in related[error]:
                if label in chosen and k in limits and scores[i, vocabulary.index[k]] > limits[k]:
                    expected[i].add(k)
    assert [set(chosen) for chosen in found.labels.label_sets()] == expected
    assert found.summary["added"]["labels_added"] > FEW / 3


def saturated(labels: LabelTable) -> np.ndarray:
    """Return a very sure teacher's answers as it gives them, float32: sigmoids of large logits, within 1e-7 of 1."""
    rng = np.random.default_rng(0)
    carried = labels.matrix.toarray()
    logits = np.where(carried, rng.normal(10, 4, carried.shape), rng.normal(2, 5, carried.shape))
    return (1 / (1 + np.exp(-logits))).astype(np.float32).clip(1e-7, 1 - 1e-7)


def published_labels(labels: LabelTable, scores: np.ndarray, related: dict[str, set], rule: str) -> list[set]:
    """The published code's label sets as loops in float64, on the teacher's own answers."""
    vocabulary, carried = labels.vocabulary, list(map(set, labels.label_sets()))
    values = [[] for _ in vocabulary.class_ids]
    for row, chosen in zip(scores.tolist(), carried, strict=True):
        for label in chosen:
            values[vocabulary.index[label]].append(row[vocabulary.index[label]])
    limits = [STATISTICS[rule](each) if each else np.nan for each in values]
    expected = []
    for row, chosen in zip(scores.tolist(), carried, strict=True):
        places = [vocabulary.index[k] for pairs in related.values() for label, k in pairs if label in chosen]
        expected.append(chosen | {vocabulary.class_ids[place] for place in places if row[place] > limits[place]})
    return expected


@pytest.mark.parametrize("rule", STATISTICS)
def test_a_store_gives_the_label_sets_that_the_teachers_own_answers_give_where_it_is_sure(shared_data, tmp_path, rule):
    lines = (shared_data / "audioset" / "balanced_train_segments.csv").read_text().splitlines()[3:1503]
    vocabulary = Vocabulary.load("audioset")
    named = [(line.split(",")[0], line.split('"')[1].split(",")) for line in lines]
    labels = LabelTable.from_sets([clip_id for clip_id, _ in named], [chosen for _, chosen in named], vocabulary)
    scores = saturated(labels)
    ScoreStore.write(tmp_path / "scores.h5", labels.clip_ids, vocabulary.class_ids, {"clip": scores})
    ScoreStore.write(tmp_path / "16.h5", labels.clip_ids, vocabulary.class_ids, {"clip": scores}, store="float16")
    related = published_relations(
        json.loads((shared_data / "audioset" / "ontology.json").read_text()), list(vocabulary.class_ids), PSLA_SKIPPED
    )

    def found(name: str, errors: tuple[str, ...]) -> list[set]:
        options = EnhanceOptions(rule, errors, profile="psla")
        enhanced = enhance(labels, ScoreStore.open(tmp_path / name), Ontology.load(), options)
        return list(map(set, enhanced.labels.label_sets()))

    for errors in (("I",), ("II",), ("I", "II")):
        expected = published_labels(labels, scores, {error: related[error] for error in errors}, rule)
        assert found("scores.h5", errors) == expected
    n_other = sum(one != other for one, other in zip(found("16.h5", errors), expected, strict=True))
    assert n_other > 50  # clips, of which 16 bits would change the labels


def test_psla_relations_without_the_skip_list():
    ontology, vocabulary = Ontology.load(), Vocabulary.load("fsd50k")
    assert ontology.direct_children(vocabulary).nnz == 172
    assert ontology.concrete_ancestors(vocabulary).nnz == 304


@settings(max_examples=40)
@given(st.data())
def test_psla_relations_equal_the_loop_on_random_graphs(data):
    n = data.draw(st.integers(1, 9))
    edges = data.draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda e: e[0] < e[1])))
    classes = list(map(str, data.draw(st.permutations(range(n)))[: data.draw(st.integers(1, n))]))
    restrictions = st.sampled_from([[], ["abstract"], ["blacklist"], ["blacklist", "abstract"]])
    nodes = [
        {
            "id": str(k),
            "child_ids": [str(c) for p, c in sorted(edges) if p == k],
            "restrictions": data.draw(restrictions),
        }
        for k in range(n)
    ]
    ontology = Ontology.from_nodes(
        Node(node["id"], node["id"], tuple(node["child_ids"]), tuple(node["restrictions"])) for node in nodes
    )
    vocabulary, skipped = Vocabulary("random", *(tuple(classes),) * 3), classes[:1]
    expected = published_relations(nodes, classes, tuple(skipped))
    assert pairs(ontology.direct_children(vocabulary, skipped), vocabulary) == expected["I"]
    assert pairs(ontology.concrete_ancestors(vocabulary, skipped), vocabulary) == expected["II"]


def test_descendants_are_the_ancestors_turned():
    ontology, vocabulary = Ontology.load(), Vocabulary.load("audioset")
    found = EnhanceOptions(type1="descendants", type2="closure").relations(ontology, vocabulary)
    assert found["I"].nnz == found["II"].nnz == 835
    assert (found["I"].T.tocsr() != found["II"]).nnz == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "psla", "type1": "descendants"}, "--type1: is fixed by --profile psla"),
        ({"profile": "psla", "min_positives": 2}, "--min-positives: is fixed by --profile psla"),
        ({"profile": "psla", "rounds": "all"}, "--rounds: is fixed"),
        ({"profile": "ast"}, "EnhanceOptions.profile: no such choice: 'ast'. Give default or psla"),
        ({"type1": "siblings"}, "EnhanceOptions.type1: no such choice"),
        *[
            ({"evidence": text}, f"--evidence: '{text}' is neither `clip` nor .* Give clip, or a length such as 2s")
            for text in ("", "s", "clips", "0s", "-2s", "nan", "inf", "2m")
        ],
        ({"rounds": 0}, "--rounds: 0 is not a number of rounds"),
        ({"rounds": "some"}, "--rounds: 'some' is not a number"),
        ({"floor": 1.5}, "EnhanceOptions.floor: must be a number in"),
        ({"min_positives": 0}, "EnhanceOptions.min_positives: must be a whole number of at least 1"),
        ({"threshold": "t.csv", "fallback_threshold": 0.9}, "--fallback-threshold: thresholds from a file are used as"),
        ({"profile": "psla", "fallback_threshold": 0.9}, "--fallback-threshold: is fixed by --profile psla"),
        ({"threshold": "t.csv", "min_positives": 2}, "--min-positives: thresholds from a file are used as they are"),
    ],
)
def test_options_that_contradict_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        EnhanceOptions(**options)


@given(st.floats(min_value=0, max_value=86_400, exclude_min=True), st.sampled_from(["", "s"]))
def test_evidence_of_any_length_has_the_name_that_stores_give_it(length_s, unit):
    assert EnhanceOptions(evidence=f"{length_s!r}{unit}").evidence == window_name(parse_window(f"{length_s!r}{unit}"))


def test_evidence_has_one_name():
    given = ("clip", "10", "2s", "2.0s", "1.50")
    assert [EnhanceOptions(evidence=text).evidence for text in given] == ["clip", "10s", "2s", "2s", "1.5s"]


def test_threshold_has_one_name():
    assert EnhanceOptions("0.50").name == "0.5"
    assert EnhanceOptions("folder/mine.csv").name == "mine"
    assert EnhanceOptions("025p").name == "25p"
