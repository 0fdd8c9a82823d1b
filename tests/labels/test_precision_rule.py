"""The rule precision:P in `enhance`: what is added, in which order, with which reasons; what it says of itself."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import sparse
from scipy.special import expit

from pseudolabel.enhance import EnhanceOptions, enhance, explain, main, sweep, write_enhancement
from pseudolabel.errors import InputError
from pseudolabel.labels import rules
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.precision import Calibration
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.summary import summary_lines
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.undo import apply_decisions, undo
from pseudolabel.labels.views import Corpus
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.store import ScoreStore

EDGES = {"dog": "animal", "cat": "animal", "bark": "dog", "car": "vehicle", "horn": "car"}
CLASSES = ("animal", "dog", "cat", "bark", "vehicle", "car", "horn", "music")
VOCABULARY = Vocabulary("sounds", CLASSES, CLASSES, CLASSES)
BOTH, FREE = ("I", "II"), ("I", "II", "free")


@pytest.fixture(scope="module")
def ontology(tmp_path_factory):
    path = tmp_path_factory.mktemp("ontology") / "ontology.json"
    nodes = [
        {"id": name, "name": name, "child_ids": [k for k, parent in EDGES.items() if parent == name],
         "restrictions": []}
        for name in CLASSES
    ]  # fmt: skip
    path.write_text(json.dumps(nodes))
    return Ontology.load(path)


def world(n_clips=600, seed=0, given=0.6, separation=2.5):
    """Return truth (N, 8) bool, a list that lacks two fifths of it, and scores of a teacher."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n_clips, len(CLASSES))) < [0.1, 0.12, 0.1, 0.08, 0.1, 0.1, 0.06, 0.15]
    for child in ("bark", "dog", "cat", "horn", "car"):
        truth[:, CLASSES.index(EDGES[child])] |= truth[:, CLASSES.index(child)]
    labels = truth & (rng.random(truth.shape) < given)
    scores = expit(rng.standard_normal(truth.shape) + separation * truth - 3).astype(np.float32)
    return truth, table(labels), scores


def table(labels, clip_ids=()):
    clip_ids = tuple(clip_ids) or tuple(f"c{i:05d}" for i in range(len(labels)))
    return LabelTable(clip_ids, sparse.csr_array(labels), VOCABULARY)


def calibration(labels, scores, ontology):
    kinship = Kinship.of(ontology.ancestors(VOCABULARY), ontology.children(VOCABULARY))
    return Calibration.of(Corpus(labels, [Evidence.match(labels, scores)], kinship)), kinship


@pytest.mark.parametrize("errors", [BOTH, FREE, ("I",), ("II", "free"), ("free",)])
def test_additions_are_closure_and_the_most_probable_guesses(ontology, errors):
    _, labels, scores = world()
    result = enhance(labels, scores, ontology, EnhanceOptions("precision:0.7", errors=errors))
    calibrated, kinship = calibration(labels, scores, ontology)
    given = labels.matrix.toarray()
    closed = given | (given.astype(int) @ kinship.ancestors > 0)
    proposing = closed if "II" in errors else given
    block = calibrated.block(0, len(labels))
    guesses = {}
    for clip, k in zip(*np.nonzero(~np.isnan(block.probabilities)), strict=True):
        parents = [CLASSES[j] for j in np.flatnonzero(kinship.children[:, k] & proposing[clip])]
        if "I" in errors and parents if block.child[clip, k] else "free" in errors:
            guesses[clip, k] = float(block.probabilities[clip, k]), parents
    ranked = sorted(guesses, key=lambda pair: -guesses[pair][0])
    means = np.cumsum([guesses[pair][0] for pair in ranked]) / np.arange(1, len(ranked) + 1)
    n = int(np.flatnonzero(means >= 0.7)[-1]) + 1
    expected = {
        (labels.clip_ids[clip], CLASSES[k]): ("I" if guesses[clip, k][1] else "free", ";".join(guesses[clip, k][1]))
        for clip, k in ranked[:n]
    }
    rows = result.ledger.to_pylist()
    guessed = {(r["clip_id"], r["class_id"]): (r["error"], r["because"]) for r in rows if r["probability"] is not None}
    assert len(set(guessed.items()) ^ set(expected.items())) <= 2  # equal probabilities at the cut
    by_rule = {(r["clip_id"], r["class_id"]) for r in rows if r["probability"] is None}
    pairs = zip(*np.nonzero(closed & ~given), strict=True) if "II" in errors else ()
    assert by_rule == {(labels.clip_ids[clip], CLASSES[k]) for clip, k in pairs}
    assert {r["threshold"] for r in rows} == {None}
    assert {(r["error"], r["round"]) for r in rows if r["probability"] is None} <= {("II", 1)}
    assert all(r["round"] == 2 and r["score"] is not None for r in rows if r["probability"] is not None)
    assert result.labels.matrix.nnz == labels.matrix.nnz + len(rows)
    facts = result.summary["guesses"]
    probabilities = [r["probability"] for r in rows if r["probability"] is not None]
    assert facts["labels_added"] == len(probabilities)
    assert facts["expected_precision"] == pytest.approx(np.mean(probabilities)) == pytest.approx(0.7, abs=0.01)
    assert undo(result.labels, result.ledger).matrix.toarray().tolist() == given.tolist()


def test_free_guesses_that_are_not_asked_for_are_counted(ontology):
    _, labels, scores = world()
    without = enhance(labels, scores, ontology, EnhanceOptions("precision:0.7")).summary["guesses"]
    with_free = enhance(labels, scores, ontology, EnhanceOptions("precision:0.7", errors=FREE)).summary["guesses"]
    assert without["free_would_add"] == with_free["by_type"]["free"]["labels_added"] > 0
    assert with_free["free_would_add"] == 0


def test_what_cannot_be_promised_is_not_added(ontology):
    _, labels, scores = world()
    result = enhance(labels, scores, ontology, EnhanceOptions("precision:0.95", errors=FREE))
    assert set(result.ledger["error"].to_pylist()) == {"II"}
    assert result.summary["guesses"]["labels_added"] == 0
    assert result.summary["guesses"]["expected_precision"] is None
    assert any("at most 0.9 can be promised without judgements" in text for text in result.summary["warnings"])


def test_a_weak_teacher_and_a_complete_list_are_named(ontology):
    truth, labels, scores = world(separation=0.7)
    weak = enhance(labels, scores, ontology, EnhanceOptions("precision:0.7"))
    assert weak.summary["guesses"]["median_auc"][0] < 0.8
    assert any("precision is overstated" in text for text in weak.summary["warnings"])
    truth, _, scores = world(separation=6)
    truth[np.flatnonzero(truth[:, CLASSES.index("music")])[0], CLASSES.index("music")] = False  # one guess
    complete = enhance(table(truth), scores, ontology, EnhanceOptions("precision:0.7", errors=FREE))
    assert any("the list looks complete" in text for text in complete.summary["warnings"])
    said = next(line for line in summary_lines(complete.summary, "-") if line.startswith("  guesses"))
    assert said.endswith("% of them should be right, if labels are missing; but the list looks complete")
    assert not weak.summary["guesses"]["looks_complete"]


def test_without_guesses_nothing_is_said_of_probable_ones(ontology):
    given = np.zeros((40, len(CLASSES)), bool)
    given[[0, 1], [CLASSES.index("dog"), CLASSES.index("cat")]] = True
    scores = world(40)[2]
    said = enhance(table(given), scores, ontology, EnhanceOptions("precision:0.7", errors=FREE)).summary
    few = "there are no guesses: no class has 3 clips with scores that carry it or a descendant"
    assert said["warnings"] == [few]


def test_a_class_with_two_clips_has_no_answer_and_is_masked(ontology):
    _, labels, scores = world()
    given = labels.matrix.toarray()
    given[np.flatnonzero(given[:, 2])[2:], 2] = False  # two cats are left
    result = enhance(table(given), scores, ontology, EnhanceOptions("precision:0.7"), soft=True)
    assert [row["class_id"] for row in result.summary["classes_without_threshold"]] == ["cat"]
    assert "cat" not in result.ledger["class_id"].to_pylist()
    cats = result.unsure[:, [2]].tocoo()
    assert cats.nnz and np.isnan(cats.data).all()


def test_soft_targets_are_probabilities_and_the_unclear_ones_are_masked(ontology, tmp_path):
    _, labels, scores = world()
    result = enhance(labels, scores, ontology, EnhanceOptions("precision:0.7", errors=FREE), soft=True)
    calibrated, kinship = calibration(labels, scores, ontology)
    given = labels.matrix.toarray()
    closed = given | (given.astype(int) @ kinship.ancestors > 0)
    probabilities = calibrated.block(0, len(labels)).probabilities
    folder = tmp_path / "made"
    folder.mkdir()
    write_enhancement(result, folder)
    targets = ScoreStore.open(folder / "targets.h5").clip_scores()
    assert np.allclose(targets, np.where(closed, 1, np.nan_to_num(probabilities)), atol=1e-3)
    masked = LabelTable.read(folder / "mask.csv", VOCABULARY).select(labels.clip_ids).matrix.toarray()
    assert (masked == ((probabilities > 0.2) & (probabilities < 0.8))).mean() > 0.999
    assert not (masked & closed).any()


def test_judgements_correct_the_probabilities(ontology):
    _, labels, scores = world(1500)
    options = EnhanceOptions("precision:0.7", errors=FREE)
    before = enhance(labels, scores, ontology, options)
    drawn = before.ledger.take(np.random.default_rng(0).permutation(len(before.ledger))[:150])
    decisions = {}
    for decide in ("wrong", "right"):
        judged = drawn.append_column("decision", pa.array([decide] * len(drawn)))
        after = enhance(labels, scores, ontology, options, judgements=judged)
        decisions[decide] = after.summary["guesses"]
        n = sum(value is not None for value in drawn["probability"].to_pylist())
        assert after.summary["guesses"]["judged"] == n
        right = {"wrong": 0, "right": 150 - n}[decide]
        assert after.summary["guesses"]["closure_judged"] == {"judged": 150 - n, "right": right}
    assert decisions["wrong"]["labels_added"] < before.summary["guesses"]["labels_added"]
    assert decisions["right"]["labels_added"] > before.summary["guesses"]["labels_added"]


def test_judgements_of_other_labels_are_refused(ontology):
    _, labels, scores = world()
    judged = pa.table({"clip_id": [labels.clip_ids[0]], "class_id": ["music"], "decision": ["unsure"]})
    with pytest.raises(InputError, match=r"judgements: nothing is judged right or wrong\. Give the reviewed\.csv"):
        enhance(labels, scores, ontology, EnhanceOptions("precision:0.7"), judgements=judged)
    for word, message in (("richtig", "decision 'richtig' in data row 1"), ("right", "is listed twice in the ledger")):
        rows = [(labels.clip_ids[0], "music", word)] * 2
        judged = pa.table(dict(zip(judged.column_names, map(list, zip(*rows, strict=True)), strict=True)))
        with pytest.raises(InputError, match=message):
            enhance(labels, scores, ontology, EnhanceOptions("precision:0.7"), judgements=judged)
    with pytest.raises(InputError, match="they change nothing for 25p"):
        enhance(labels, scores, ontology, EnhanceOptions("25p"), judgements=judged)


def all_right(ledger):
    return ledger.append_column("decision", pa.array(["right"] * len(ledger)))


@pytest.mark.parametrize("threshold", ["precision:0.7", "25p"])
def test_judgements_of_another_teacher_are_refused(ontology, threshold):
    _, labels, scores = world()
    options, other = EnhanceOptions("precision:0.7", errors=FREE), world(separation=2)[2]
    others = enhance(labels, other, ontology, replace(options, threshold=threshold, errors=BOTH)).ledger
    with pytest.raises(InputError, match=r"the (probabilities|scores) of \d+ of \d+ judged guesses differ with these"):
        enhance(labels, scores, ontology, options, judgements=all_right(others))


def test_judgements_of_corrected_probabilities_are_accepted(ontology):
    _, labels, scores = world()
    options = EnhanceOptions("precision:0.7", errors=FREE)
    first = enhance(labels, scores, ontology, options)
    again = enhance(labels, scores, ontology, options, judgements=all_right(first.ledger))
    probability = [r["probability"] for r in again.ledger.to_pylist() if r["probability"] is not None]
    assert max(probability) > 0.9  # which no raw probability times TRUST is
    third = enhance(labels, scores, ontology, options, judgements=all_right(again.ledger))
    assert third.summary["guesses"]["judged"] == len(probability)


def test_judged_labels_that_are_no_guesses_are_counted_or_refused(ontology):
    _, labels, scores = world()
    options = EnhanceOptions("precision:0.7", errors=FREE)
    columns = ["clip_id", "class_id", "decision"]
    guesses = all_right(enhance(labels, scores, ontology, options).ledger.filter(pc.is_valid(pc.field("probability"))))
    given = [
        {"clip_id": labels.clip_ids[i], "class_id": CLASSES[k]} for i, k in zip(*labels.matrix.nonzero(), strict=True)
    ]
    others = all_right(pa.Table.from_pylist(given[:9])).select(columns)
    for n, few in ((20, True), (8, False)):
        judged = pa.concat_tables([guesses.select(columns)[:n], others])
        if few:
            summary = enhance(labels, scores, ontology, options, judgements=judged).summary
            assert (summary["guesses"]["judged"], summary["guesses"]["judged_elsewhere"]) == (20, 9)
            assert "9 more judged labels are no guesses of this list" in "\n".join(summary_lines(summary, "-"))
        else:
            with pytest.raises(InputError, match="9 of 17 labels judged right or wrong are neither"):
                enhance(labels, scores, ontology, options, judgements=judged)


def test_very_many_guesses_bring_a_warning(ontology):
    truth, _, scores = world(separation=6)
    labels = table(truth & (np.random.default_rng(1).random(truth.shape) < 0.15))
    options = EnhanceOptions("precision:0.05", errors=FREE)
    before = enhance(labels, scores, ontology, options)
    (warning,) = (text for text in before.summary["warnings"] if text.startswith("added by score: "))
    assert warning.endswith("Ask for a higher precision, or judge 100 guesses (`review`) and give --judgements.")
    after = enhance(labels, scores, ontology, options, judgements=all_right(before.ledger))
    assert any(text.endswith("apart? Ask for a higher precision.") for text in after.summary["warnings"])


def test_what_was_judged_is_not_asked_for_again(ontology):
    _, labels, scores = world(separation=0.7)
    options = EnhanceOptions("precision:0.5", errors=FREE)
    ledger = enhance(labels, scores, ontology, options).ledger
    few = all_right(ledger.filter(pc.is_valid(pc.field("probability")))[:7])
    (warning,) = enhance(labels, scores, ontology, options, judgements=few).summary["warnings"][:1]
    assert "Judge more guesses than the 7 so far (`review`), or ask for more" in warning


def test_several_teachers_with_classes_of_their_own(ontology, tmp_path):
    _, labels, scores = world()
    stores = []
    for name, columns in (("first", range(5)), ("second", range(3, 8))):
        classes, values = [CLASSES[k] for k in columns], scores[:, list(columns)]
        ScoreStore.write(tmp_path / f"{name}.h5", labels.clip_ids, classes, {"clip": values})
        stores.append(ScoreStore.open(tmp_path / f"{name}.h5"))
    result = enhance(labels, stores, ontology, EnhanceOptions("precision:0.7", errors=FREE))
    assert result.missing == ()
    assert len(result.summary["guesses"]["median_auc"]) == 2
    assert {"music", "cat"} <= set(result.ledger["class_id"].to_pylist())
    alone = enhance(labels, stores[0], ontology, EnhanceOptions("precision:0.7", errors=FREE))
    assert {"car", "horn", "music"} <= {row["class_id"] for row in alone.summary["classes_without_threshold"]}
    with pytest.raises(InputError, match="25p compares one teacher's scores with thresholds, not 2"):
        enhance(labels, stores, ontology, EnhanceOptions("25p"))


def test_a_sweep_calibrates_once(ontology, monkeypatch):
    _, labels, scores = world()
    calls = []
    made = rules.Calibration.of.__func__

    def of(cls, *args):
        calls.append(1)
        return made(cls, *args)

    monkeypatch.setattr(rules.Calibration, "of", classmethod(of))
    rows = sweep(labels, scores, ontology, ["precision:0.5", "precision:0.8", "25p"])
    assert calls == [1]
    added = {row["threshold"]: row["labels_added"] for row in rows if row["type"] == "together"}
    assert added["precision-0.5"] > added["precision-0.8"] > 0
    one = enhance(labels, scores, ontology, EnhanceOptions("precision:0.8"))
    assert added["precision-0.8"] == len(one.ledger)


def test_every_guess_of_a_clip_is_explained(ontology):
    _, labels, scores = world()
    options = EnhanceOptions("precision:0.7", errors=FREE)
    result = enhance(labels, scores, ontology, options)
    for clip_id in labels.clip_ids[:40]:
        rows = explain(labels, scores, ontology, clip_id, options).to_pylist()
        added = {row["class_id"] for row in rows if row["outcome"] == "added"}
        assert added == {r["class_id"] for r in result.ledger.to_pylist() if r["clip_id"] == clip_id}
        assert {row["class_id"] for row in rows} == set(CLASSES)  # with `free` every class is a candidate
        rejected = [row for row in rows if row["outcome"] == "not added"]
        assert all("the probability is 0." in row["reason"] for row in rejected)


@pytest.mark.parametrize(
    ("errors", "given", "reasons"),
    [
        (FREE, ("dog",), {"horn": "no answer: fewer than 3 clips with scores carry it or a descendant"}),
        (BOTH, ("dog",), {"car": "no label proposes it: a guess only with --errors free",
                          "horn": "no answer: fewer than 3 clips with scores carry it or a descendant"}),
        (("I",), ("bark",), {"animal": "a given label would add it by rule, only with --errors II",
                             "cat": "an ancestor of a label would propose it, only with --errors II"}),
        (("II", "free"), ("dog",), {"bark": "a label, or an ancestor of one, would propose it, only with --errors I"}),
    ],
)  # fmt: skip
def test_reasons_of_classes_that_are_no_candidates_are_those_of_the_rule(ontology, errors, given, reasons):
    _, labels, scores = world()
    matrix = labels.matrix.toarray()
    matrix[0] = [k in given for k in CLASSES]
    matrix[np.flatnonzero(matrix[:, CLASSES.index("horn")])[2:], CLASSES.index("horn")] = False  # two horns
    rows = explain(table(matrix), scores, ontology, "c00000", EnhanceOptions("precision:0.7", errors=errors))
    said = {row["class_id"]: row["reason"] for row in rows.to_pylist() if row["outcome"] == "not a candidate"}
    assert {k: said.get(k) for k in reasons} == reasons
    assert not any(word in reason for reason in said.values() for word in ("--rounds", "--type", "relative"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": "precision:1"}, "'precision:1' asks for no precision between 0 and 1"),
        ({"threshold": "precision:x"}, "'precision:x' asks for no precision between 0 and 1"),
        ({"rounds": 2}, "--rounds: does not fit --threshold precision:0.7: guesses propose nothing"),
        ({"profile": "psla"}, "--profile: does not fit --threshold precision:0.7"),
        ({"floor": 0.1}, "--floor: does not fit"),
        ({"min_positives": 5}, "--min-positives: does not fit"),
        ({"type1": "descendants"}, "--type1: does not fit"),
        ({"type2": "parents"}, "--type2 parents: does not fit"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        EnhanceOptions(**{"threshold": "precision:0.7", **options})


def test_free_guesses_have_no_threshold(ontology):
    _, labels, scores = world()
    with pytest.raises(InputError, match="added by its probability, not by 25p"):
        enhance(labels, scores, ontology, EnhanceOptions("25p", errors=FREE))
    with pytest.raises(InputError, match="added by its probability, not by 25p"):
        sweep(labels, scores, ontology, ["precision:0.7", "25p"], EnhanceOptions(errors=FREE))
    rows = sweep(labels, scores, ontology, ["precision:0.7", "precision:0.5"], EnhanceOptions(errors=FREE))
    assert {row["type"] for row in rows} == {"I", "II", "free", "together"}


def test_decisions_may_be_in_capitals_and_in_a_file(ontology, tmp_path):
    _, labels, scores = world()
    options = EnhanceOptions("precision:0.7", errors=FREE)
    drawn = enhance(labels, scores, ontology, options).ledger.select(["clip_id", "class_id"])
    rows = [f"{r['clip_id']},{r['class_id']},{('Right', ' wrong ')[n % 2]}" for n, r in enumerate(drawn.to_pylist())]
    (tmp_path / "judged.csv").write_text("\n".join(["clip_id,class_id,decision", *rows]) + "\n")
    facts = enhance(labels, scores, ontology, options, judgements=tmp_path / "judged.csv").summary["guesses"]
    assert facts["judged"] + facts["closure_judged"]["judged"] == len(drawn)
    (tmp_path / "judged.csv").write_text("clip_id,class_id,decision\nc00000,dog,yes\n")
    with pytest.raises(InputError, match=r"judged\.csv: decision 'yes' in data row 1"):
        enhance(labels, scores, ontology, options, judgements=tmp_path / "judged.csv")


def test_thresholds_of_other_labels_are_refused(ontology):
    _, labels, scores = world()
    with pytest.raises(InputError, match=r"--threshold precision:0\.7 has no thresholds"):
        enhance(labels, scores, ontology, EnhanceOptions("precision:0.7"), thresholds_from=(labels, scores))


def test_only_type_two_is_closure_and_needs_no_scores(ontology):
    _, labels, _ = world()
    result = enhance(labels, None, ontology, EnhanceOptions("precision:0.7", errors=("II",)))
    closure = enhance(labels, None, ontology, EnhanceOptions(errors=("II",), type2="closure"))
    assert result.ledger.equals(closure.ledger)


def test_rejecting_a_label_takes_back_what_only_it_proposed():
    labels = table(np.array([[0, 0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 1]], bool))
    rows = [
        ("c00000", "dog", "II", "bark", "wrong"),
        ("c00000", "animal", "II", "bark", "wrong"),
        ("c00000", "cat", "I", "animal", "right"),
        ("c00001", "animal", "II", "bark", "unsure"),
        ("c00001", "cat", "I", "animal", "right"),
    ]
    names = ("clip_id", "class_id", "error", "because", "decision")
    reviewed = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    kept, ledger, counts = apply_decisions(labels, reviewed)
    assert ledger.select(["clip_id", "class_id"]).to_pylist() == [{"clip_id": "c00001", "class_id": "cat"}]
    assert counts == {"right": 2, "wrong": 2, "unsure": 1, "undecided": 0, "unsupported": 1}
    assert kept.matrix.nnz == labels.matrix.nnz + 1


def test_the_command_writes_folder_table_and_summary(ontology, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _, labels, scores = world()
    labels.write(tmp_path / "labels.csv")
    VOCABULARY.write(tmp_path / "vocabulary.csv")
    ScoreStore.write(tmp_path / "scores.h5", labels.clip_ids, CLASSES, {"clip": scores})
    nodes = [
        {"id": name, "name": name, "child_ids": [k for k, parent in EDGES.items() if parent == name],
         "restrictions": []}
        for name in CLASSES
    ]  # fmt: skip
    (tmp_path / "ontology.json").write_text(json.dumps(nodes))
    named = ["--ontology", "ontology.json", "--work", "."]
    assert main(["--threshold", "precision:0.70", "--errors", "I", "II", "free", *named]) == 0
    said = capsys.readouterr().out.splitlines()
    (first,) = (i for i, line in enumerate(said) if line.startswith("enhanced-precision-0.7: precision-0.7"))
    assert said[first + 1].split()[0] == "guesses"
    assert "% of them should be right" in said[first + 1]
    with open("enhanced-precision-0.7/thresholds.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-3:] == ["c", "carriers", "expected_precision"]
    assert all(row["threshold"] == "" and 0 < float(row["c"]) < 1 and int(row["carriers"]) > 2 for row in rows)
    assert main(["--explain", "c00003", "--enhanced", "enhanced-precision-0.7"]) == 0
    assert main(["undo", "enhanced-precision-0.7/ledger.parquet", *named[2:]]) == 0
    assert (tmp_path / "labels-undone.csv").read_bytes() == (tmp_path / "labels.csv").read_bytes()
