"""`enhance` with all its rules equals the loops of the papers: rounds, closure, windows, floors, other thresholds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pseudolabel.labels.enhancement as engine
from pseudolabel.enhance import EnhanceOptions, enhance, sweep
from pseudolabel.errors import InputError
from pseudolabel.labels.ontology import Node, Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.undo import undo
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.store import ScoreStore

# living > animal > dog > bark, and living > person.
CHILDREN = {"living": ("animal", "person"), "animal": ("dog",), "dog": ("bark",), "bark": (), "person": ()}
CHAIN = Ontology.from_nodes(Node(name, name, children) for name, children in CHILDREN.items())
FIVE = Vocabulary("five", *(tuple(CHILDREN),) * 3)
CLIPS = ("c1", "c2", "c3")
LABELS = LabelTable.from_sets(CLIPS, [{"living"}, {"bark"}, {"animal", "person"}], FIVE)
SCORES = np.array([[0.5, 0.75, 0.75, 0.5, 0.25], [0.25, 0.25, 0.25, 0.5, 0.0], [0.5, 0.5, 0.75, 0.75, 0.5]])
HALF = "0.5"


def additions(found) -> dict[tuple[str, str], tuple]:
    rows = found.ledger.to_pylist()
    return {(row["clip_id"], row["class_id"]): (row["error"], row["because"], row["round"]) for row in rows}


def test_an_added_label_proposes_again_until_nothing_changes():
    everywhere = LabelTable.from_sets(CLIPS, [set(CHILDREN)] * 3, FIVE)
    source = everywhere, np.full((3, 5), 0.5)  # so that each class has a threshold
    once, twice, every = (
        enhance(LABELS, SCORES, CHAIN, EnhanceOptions("mean", ("I",), rounds=n), source) for n in (1, 2, "all")
    )
    assert additions(once) == {("c1", "animal"): ("I", "living", 1), ("c3", "dog"): ("I", "animal", 1)}
    second = {("c1", "dog"): ("I", "animal", 2), ("c3", "bark"): ("I", "dog", 2)}
    assert additions(twice) == additions(once) | second
    assert additions(every) == additions(twice)  # c1's bark is at its threshold
    assert every.ledger.column("clip_id").to_pylist() == ["c1", "c1", "c3", "c3"]
    assert every.summary["added_by_round"] == [2, 2]
    assert list(every.thresholds) == [0.5] * 5


def test_closure_needs_no_score_and_no_threshold():
    scores = SCORES.copy()
    scores[1] = np.nan
    found = enhance(LABELS, scores, CHAIN, EnhanceOptions(HALF, ("II",), type2="closure"))
    assert additions(found) == {
        ("c2", "living"): ("II", "bark", 1), ("c2", "animal"): ("II", "bark", 1), ("c2", "dog"): ("II", "bark", 1),
        ("c3", "living"): ("II", "animal;person", 1),
    }  # fmt: skip
    for name in ("score", "threshold", "window_s", "onset_s"):
        assert found.ledger.column(name).null_count == 4
    assert found.summary["adds"] == {"II": "ancestors, by rule"}
    without = enhance(LABELS, None, CHAIN, EnhanceOptions(HALF, ("II",), type2="closure"), soft=True)
    assert without.ledger.equals(found.ledger)
    assert without.labels == found.labels
    assert np.isnan(without.thresholds).all()
    assert (without.missing, without.unsure.nnz) == ((), 0)
    counted = sweep(LABELS, None, CHAIN, ["mean", "5p"], EnhanceOptions(errors=("II",), type2="closure"))
    assert {row["labels_added"] for row in counted} == {4}


@pytest.mark.parametrize(
    ("options", "needing"),
    [(EnhanceOptions(type2="closure"), "--errors I"), (EnhanceOptions(errors=("II",)), "--type2 ancestors")],
)
def test_no_scores_are_refused_where_a_type_needs_them(options, needing):
    message = f"^no scores, and {needing} needs the teacher's scores. Give --scores; only --errors II --type2 closure"
    with pytest.raises(InputError, match=message):
        enhance(LABELS, None, CHAIN, options)
    with pytest.raises(InputError, match=message):
        sweep(LABELS, None, CHAIN, ["mean"], options)


def test_descendants_propose_more_than_children():
    near = enhance(LABELS, SCORES, CHAIN, EnhanceOptions("0.1", ("I",)))
    far = enhance(LABELS, SCORES, CHAIN, EnhanceOptions("0.1", ("I",), type1="descendants"))
    assert set(additions(near)) < set(additions(far))
    assert additions(far)["c1", "bark"] == ("I", "living", 1)


def test_psla_profile_passes_over_abstract_nodes():
    nodes = [Node("root", "root", ("mid",)), Node("mid", "mid", ("leaf",), ("abstract",)), Node("leaf", "leaf", ())]
    ontology, vocabulary = Ontology.from_nodes(nodes), Vocabulary("three", *(("root", "mid", "leaf"),) * 3)
    labels = LabelTable.from_sets(("p", "q"), [{"leaf"}, {"root", "mid"}], vocabulary)
    scores = np.array([[0.9, 0.9, 0.1], [0.2, 0.2, 0.9]])
    every, published = (enhance(labels, scores, ontology, EnhanceOptions(profile=name)) for name in ("default", "psla"))
    assert set(additions(every)) == {("p", "root"), ("p", "mid"), ("q", "leaf")}
    assert set(additions(published)) == {("q", "leaf")}
    assert published.summary["adds"]["I"] == "direct children"


def windows_store(path, scores, n_windows=None) -> ScoreStore:
    """Write (N, W, K) scores of 2 s windows, and whole clips that know nothing."""
    scales = {2: scores, "clip": np.zeros_like(scores[:, 0])}
    ScoreStore.write(path, CLIPS, FIVE.class_ids, scales, overwrite=True)
    if n_windows is not None:
        import h5py

        with h5py.File(path, "r+") as file:
            file["n_windows_2s"] = np.asarray(n_windows)
            ScoreStore.seal(file)
    return ScoreStore.open(path)


def test_the_best_window_speaks_and_is_named(tmp_path):
    scores = np.stack([SCORES / 2, SCORES, SCORES / 4, SCORES], axis=1)
    options = EnhanceOptions(HALF, ("I",), evidence="2s")
    found = enhance(LABELS, windows_store(tmp_path / "s.h5", scores), CHAIN, options)
    row = found.ledger.to_pylist()[0]
    assert (row["clip_id"], row["class_id"], row["score"]) == ("c1", "animal", 0.75)
    assert (row["window_s"], row["onset_s"]) == (2.0, 2.0)  # the first of two equal ones
    assert len(enhance(LABELS, windows_store(tmp_path / "s.h5", scores), CHAIN, EnhanceOptions()).ledger) == 0


def test_windows_that_are_not_real_say_nothing(tmp_path):
    scores = np.stack([SCORES, np.ones_like(SCORES)], axis=1)
    store = windows_store(tmp_path / "s.h5", scores, [1, 1, 1])
    found = enhance(LABELS, store, CHAIN, EnhanceOptions(evidence="2s"))
    assert found.ledger.drop(["window_s", "onset_s"]).equals(
        enhance(LABELS, SCORES, CHAIN).ledger.drop(["window_s", "onset_s"])
    )
    assert found.ledger.column("onset_s").to_pylist() == [0.0] * len(found.ledger)


def test_a_window_outside_the_unit_interval_is_refused(tmp_path):
    scores = np.stack([SCORES, SCORES], axis=1)
    scores[2, 1, 2] = -0.25
    with pytest.raises(InputError, match=r"c3: the score -0.25 of class 'dog' is not in \[0, 1\]"):
        enhance(LABELS, windows_store(tmp_path / "s.h5", scores), CHAIN, EnhanceOptions(evidence="2s"))
    with pytest.raises(InputError, match="--evidence 2s: a plain array has no windows"):
        enhance(LABELS, SCORES, CHAIN, EnhanceOptions(evidence="2s"))
    with pytest.raises(InputError, match="scale '5s' is not there"):
        enhance(LABELS, windows_store(tmp_path / "s.h5", scores), CHAIN, EnhanceOptions(evidence="5s"))


def test_thresholds_of_another_vocabulary_are_refused():
    other = LabelTable.from_sets(("x",), [{"a"}], Vocabulary("one", ("a",), ("a",), ("a",)))
    with pytest.raises(InputError, match="--thresholds-from"):
        enhance(LABELS, SCORES, CHAIN, thresholds_from=(other, np.ones((1, 1))))


def slow_rounds(below, classes, label_sets, scores, limits, options):
    """Rounds of Algorithm 2 as loops; `scores[i][w][k]` of windows, the first best one counts."""

    def down(node):
        return {c for child in below[node] for c in {child} | down(child)}

    def near(node):
        return {c for child in below[node] for c in ({child} if child in classes else near(child))}

    relation = {"children": near, "descendants": down, "parents": near, "ancestors": down, "closure": down}
    found, unsure, held, number = {}, {}, [set(labels) for labels in label_sets], 0
    while options.rounds == "all" or number < options.rounds:
        number, unsure, before = number + 1, {}, [set(labels) for labels in held]
        for i, labels in enumerate(before):
            for k in set(classes) - labels:
                speak = {
                    "I": {label for label in labels if k in relation[options.type1](label)},
                    "II": {label for label in labels if label in relation[options.type2](k)},
                }
                errors = [error for error in options.errors if speak[error]]
                because = ";".join(str(b) for b in classes if any(b in speak[error] for error in errors))
                best = max(scores[i], key=lambda window: window[k])[k]
                onset = 2.0 * [window[k] for window in scores[i]].index(best)
                if "II" in errors and options.type2 == "closure":
                    evidence = (None,) * 4
                elif errors and k in limits and best > limits[k]:
                    evidence = (
                        (best, limits[k], 2.0, onset) if options.evidence == "2s" else (best, limits[k], None, None)
                    )
                else:
                    if errors:
                        unsure[i, classes.index(k)] = best
                    continue
                held[i].add(k)
                found[str(i), str(k)] = ("+".join(errors), because, number, *evidence)
        if held == before:
            break
    return found, unsure, held


@settings(max_examples=60)
@given(st.data())
def test_every_rule_together_equals_the_loops_on_random_worlds(tmp_path_factory, data):
    n_nodes, n_clips = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 4))
    pairs = st.tuples(st.integers(0, n_nodes - 1), st.integers(0, n_nodes - 1)).filter(lambda pair: pair[0] < pair[1])
    edges = data.draw(st.sets(pairs))
    classes = data.draw(st.permutations(range(n_nodes)))[: data.draw(st.integers(1, n_nodes))]
    label_sets = data.draw(st.lists(st.sets(st.sampled_from(classes)), min_size=n_clips, max_size=n_clips))
    evidence = data.draw(st.sampled_from(["clip", "2s"]))
    n_windows = 1 if evidence == "clip" else data.draw(st.integers(1, 3))
    eighths = st.lists(st.integers(0, 8), min_size=n_nodes * n_windows, max_size=n_nodes * n_windows)
    drawn = data.draw(st.lists(eighths, min_size=n_clips, max_size=n_clips))
    scores = np.array(drawn).reshape(n_clips, n_windows, n_nodes) / 8
    options = EnhanceOptions(
        data.draw(st.sampled_from(["mean", "0p", "0.25"])),
        data.draw(st.sampled_from([("I",), ("II",), ("I", "II")])),
        data.draw(st.sampled_from(["children", "descendants"])),
        data.draw(st.sampled_from(["parents", "ancestors", "closure"])),
        floor=data.draw(st.sampled_from([0.0, 0.5])),
        rounds=data.draw(st.sampled_from([1, 2, "all"])),
        evidence=evidence,
    )
    below = {k: sorted(child for parent, child in edges if parent == k) for k in range(n_nodes)}
    world = Ontology.from_nodes(Node(str(k), str(k), tuple(map(str, below[k]))) for k in range(n_nodes))
    vocabulary = Vocabulary("random", *(tuple(map(str, classes)),) * 3)
    labels = LabelTable.from_sets(map(str, range(n_clips)), [map(str, chosen) for chosen in label_sets], vocabulary)
    limits = {}
    for k in classes:
        values = [Fraction(max(scores[i, :, k])) for i, chosen in enumerate(label_sets) if k in chosen]
        if values:
            statistic = {"mean": sum(values) / len(values), "0p": min(values), "0.25": Fraction(1, 4)}
            limits[k] = max(float(statistic[options.threshold]), options.floor)

    path = tmp_path_factory.getbasetemp() / "random.h5"
    scale = "clip" if evidence == "clip" else 2
    stored = scores[:, 0, classes] if evidence == "clip" else scores[:, :, classes]
    ScoreStore.write(path, labels.clip_ids, vocabulary.class_ids, {scale: stored}, overwrite=True)
    found = enhance(labels, ScoreStore.open(path), world, options, soft=True)
    expected, unsure, held = slow_rounds(below, classes, label_sets, scores, limits, options)
    columns = ("error", "because", "round", "score", "threshold", "window_s", "onset_s")
    rows = {(row["clip_id"], row["class_id"]): tuple(row[name] for name in columns) for row in found.ledger.to_pylist()}
    assert rows == expected
    keys = [(int(clip), vocabulary.index[k]) for clip, k in rows]
    assert keys == sorted(keys)
    assert [set(map(int, chosen)) for chosen in found.labels.label_sets()] == held
    cells = zip(*found.unsure.tocoo().coords, strict=True)
    assert {(int(i), int(k)): found.unsure[i, k] for i, k in cells} == unsure
    assert undo(found.labels, found.ledger) == labels
    by_round = found.summary["added_by_round"]
    assert sum(by_round) == len(rows)

    counted = sweep(labels, ScoreStore.open(path), world, [options.threshold, "0.5"], options)
    total = next(row for row in counted if row["type"] == "together")
    assert total["labels_added"] == len(rows)
    by_type = {row["type"]: row["labels_added"] for row in counted if row["threshold"] == options.name}
    for error in options.errors:
        assert by_type[error] == sum(error in row[0].split("+") for row in rows.values())


def test_small_blocks_give_the_same_ledger_unsure_labels_and_sweep(monkeypatch):
    options = EnhanceOptions("0.3", rounds="all", type1="descendants")
    whole, counts = enhance(LABELS, SCORES, CHAIN, options, soft=True), sweep(LABELS, SCORES, CHAIN, ["0p", "mean"])
    monkeypatch.setattr(engine, "BLOCK_CLIPS", 1)
    parts = enhance(LABELS, SCORES, CHAIN, options, soft=True)
    assert isinstance(parts.ledger, pa.Table)
    assert parts.ledger.equals(whole.ledger)
    assert parts.labels == whole.labels
    assert (parts.unsure != whole.unsure).nnz == 0
    assert sweep(LABELS, SCORES, CHAIN, ["0p", "mean"]) == counts
