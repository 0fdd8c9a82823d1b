"""A folder that `enhance --threshold precision:P` wrote, in the verbs that read one: release, review, evaluate."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import sparse
from scipy.special import expit

from pseudolabel.enhance import main as enhance
from pseudolabel.evaluate import main as evaluate
from pseudolabel.labels.ledger import read_ledger, write_ledger
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256
from pseudolabel.release import main as release
from pseudolabel.review import main as review
from pseudolabel.scores.store import ScoreStore

EDGES = {"dog": "animal", "cat": "animal", "bark": "dog", "car": "vehicle", "horn": "car"}
CLASSES = ("animal", "dog", "cat", "bark", "vehicle", "car", "horn", "music")
VOCABULARY = Vocabulary("sounds", CLASSES, CLASSES, CLASSES)
FOLDER, RELEASE = "enhanced-precision-0.7", "release-precision-0.7"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A work folder with known truth, a list that lacks two fifths of it, scores, and the enhancement."""
    work, rng = tmp_path_factory.mktemp("precision"), np.random.default_rng(0)
    truth = rng.random((600, 8)) < [0.1, 0.12, 0.1, 0.08, 0.1, 0.1, 0.06, 0.15]
    for child in ("bark", "dog", "cat", "horn", "car"):
        truth[:, CLASSES.index(EDGES[child])] |= truth[:, CLASSES.index(child)]
    labels = truth & (rng.random(truth.shape) < 0.6)
    scores = expit(rng.standard_normal(truth.shape) + 2.5 * truth - 3).astype(np.float32)
    clip_ids = tuple(f"c{i:05d}" for i in range(600))
    VOCABULARY.write(work / "vocabulary.csv")
    for name, matrix in (("labels", labels), ("truth", truth)):
        LabelTable(clip_ids, sparse.csr_array(matrix), VOCABULARY).write(work / f"{name}.csv")
    windows = scores[:, None] * rng.random((600, 5, 8))
    ScoreStore.write(work / "scores.h5", clip_ids, CLASSES, {"clip": scores, 2: windows})
    nodes = [
        {"id": k, "name": k, "child_ids": [c for c in EDGES if EDGES[c] == k], "restrictions": []} for k in CLASSES
    ]
    (work / "ontology.json").write_text(json.dumps(nodes))
    soft = ["--soft", "--soft-windows", "2s"]
    assert enhance(["--threshold", "precision:0.7", "--errors", "I", "II", "free", *soft, *named(work)]) == 0
    return work


@pytest.fixture
def work(made, tmp_path, monkeypatch):
    """A copy of it, which is the current folder."""
    shutil.copytree(made, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def named(work):
    return ["--work", str(work), "--ontology", str(work / "ontology.json")]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def true_labels(work):
    return {(row["clip_id"], k) for row in rows_of(work / "truth.csv") for k in row["labels"].split(";")}


def judge(work, decide=None):
    """Judge the page's items by the truth, or as `decide` says, and estimate."""
    sample, truth = json.loads((work / "review/sample.json").read_text()), true_labels(work)
    with open(work / "judged.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("page", "item", "clip_id", "class_id", "error", "decision", "judge"))
        for row in rows_of(work / "review/sample.csv"):
            is_right = (row["clip_id"], row["class_id"]) in truth
            decision = decide(row) if decide else "right" if is_right else "wrong"
            about = (row["item"], row["clip_id"], row["class_id"], row["error"])
            writer.writerow((sample["page"], *about, decision, "anna"))
    assert review(["estimate", "judged.csv", "--work", str(work), "--overwrite"]) == 0
    return json.loads((work / "review-result/precision.json").read_text())


def change(folder, edit):
    """Write a release's ledger changed, with everything that says its checksum."""
    write_ledger(edit(read_ledger(folder / "added_labels.parquet")), folder)
    for ending in ("parquet", "csv.gz"):
        (folder / f"ledger.{ending}").replace(folder / f"added_labels.{ending}")
    record = json.loads((folder / "run.json").read_text())
    for row in record["files"]:
        row |= {"bytes": (folder / row["name"]).stat().st_size, "sha256": sha256(folder / row["name"])}
    (folder / "run.json").write_text(json.dumps(record))
    names = [line.split("  ", 1)[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    (folder / "SHA256SUMS").write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in names))


# ---- release ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "step"), [("float32", 0), ("float16", 0), ("uint8", 1 / 510 + 1e-7)])
def test_soft_targets_of_a_release_are_those_of_the_enhancement(work, capsys, kind, step):
    assert release(["make", "--work", ".", "--soft", kind, "--soft-windows", "clip", "2s"]) == 0
    said = f"probabilities.h5 has the probabilities of {len(released_labels(work)):,} labels at 2 scales, as {kind}"
    assert said in capsys.readouterr().out
    stored = ScoreStore.open(f"{RELEASE}/probabilities.h5")
    for name, scale in (("targets", "clip"), ("window_targets", 2)):
        written = ScoreStore.open(f"{FOLDER}/{name}.h5")
        assert stored.clip_ids == written.clip_ids and stored.class_ids == written.class_ids
        assert np.abs(np.asarray(stored.scores(scale)[:]) - np.asarray(written.scores(scale)[:])).max() <= step
    card = (work / RELEASE / "README.md").read_text().replace("\\", "")
    assert "not the teacher's scores, but the probability of each class in each clip: 1 for given labels" in card
    assert 'h5py.File("probabilities.h5")' in card and "targets.h5" not in card


@pytest.mark.parametrize(("name", "scale"), [("targets", "clip"), ("window_targets", 2)])
def test_verify_finds_targets_that_are_not_the_probabilities(work, capsys, name, scale):
    store = ScoreStore.open(work / FOLDER / f"{name}.h5")
    halved = np.asarray(store.clip_scores() if scale == "clip" else store.scores(scale)[:]) / 2
    ScoreStore.write(work / "halved.h5", store.clip_ids, CLASSES, {scale: halved})
    (work / "halved.h5").replace(store.path)
    assert release(["make", "--work", ".", "--soft", "float16", "--soft-windows", "clip", "2s"]) == 2
    assert "are not the probabilities of the labels" in capsys.readouterr().err


def released_labels(work):
    return {
        (row["clip_id"], k) for row in rows_of(work / RELEASE / "labels.csv") for k in row["labels"].split(";") if k
    }


def test_the_card_says_how_labels_were_guessed(work, capsys):
    assert release(["make", "--work", ".", "--soft", "float16"]) == 0
    assert release(["verify", RELEASE]) == 0
    guesses = json.loads((work / FOLDER / "summary.json").read_text())["guesses"]
    n, expected = guesses["labels_added"], guesses["expected_precision"]
    n_closure = len(read_ledger(work / FOLDER / "ledger.parquet")) - n
    said = capsys.readouterr().out
    assert f"{n} additions are guesses with a probability, {n_closure} were by rule" in said
    card = (work / RELEASE / "README.md").read_text().replace("\\", "")
    assert "- Type free, a class that no label of the clip proposes." in card
    assert "- Type II was added first, by rule, without asking a model" in card
    assert "as long as their mean probability was at least 0.7." in card
    assert f"- The lowest probability of an added guess is {guesses['lowest_probability']:.3f}." in card
    assert "- No judgements corrected the probabilities" in card
    assert f"| type II, by rule | {n_closure} |" in card
    assert f"Of the {n} guesses, {100 * expected:.1f} % should be right (" in card
    assert f"This leaves out the {n_closure} labels added by rule" in card
    without_names = (
        card.partition("## How the labels")[2].replace("thresholds.csv", "").replace("thresholds.parquet", "")
    )
    assert "threshold" not in without_names.partition("Further tables")[0]
    (dog,) = (line for line in card.splitlines() if line.startswith("| dog |"))
    of_class = {row["class_id"]: row for row in rows_of(work / FOLDER / "thresholds.csv")}["dog"]
    assert dog.endswith(
        f"| {float(of_class['c']):.2f} | {of_class['carriers']} | {float(of_class['expected_precision']):.2f} |"
    )


def test_the_tables_of_a_release_have_what_guesses_need(work):
    assert release(["make", "--work", "."]) == 0
    thresholds = pq.read_table(work / RELEASE / "thresholds.parquet")
    assert thresholds.column_names[-3:] == ["c", "carriers", "expected_precision"]
    assert thresholds.schema.types[-3:] == [pa.float64(), pa.int64(), pa.float64()]
    probabilities = pq.read_table(work / RELEASE / "added_labels.parquet")["probability"]
    assert 0 < probabilities.null_count < len(probabilities)
    record = json.loads((work / RELEASE / "run.json").read_text())
    by_type = record["counts"]["added_by_type"]
    assert list(by_type) == ["I", "II", "free"]
    assert sum(row["added_free"] for row in record["by_class"]) == by_type["free"]["labels_added"]
    croissant = json.loads((work / RELEASE / "croissant.json").read_text())
    (fields,) = (table["field"] for table in croissant["recordSet"] if table["@id"].endswith("thresholds"))
    assert {field["name"] for field in fields} >= {"c", "carriers", "expected_precision"}


def set_at(column, choose, value):
    """Return an edit of a ledger: `value` in a column where `choose` is true of a row, first such row only."""

    def edit(ledger):
        values = ledger[column].to_pylist()
        values[next(i for i, row in enumerate(ledger.to_pylist()) if choose(row))] = value
        number = ledger.column_names.index(column)
        return ledger.set_column(number, column, pa.array(values, ledger.schema.field(column).type))

    return edit


def is_guess(row):
    return row["probability"] is not None


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_at("probability", is_guess, 0.1), "a probability below the lowest"),
        (set_at("probability", is_guess, 1.1), "the probability is not in [0, 1]"),
        (set_at("probability", is_guess, None), "a probability without a score, or the other way round"),
        (set_at("threshold", is_guess, 0.1), "a threshold, where the probability decides"),
        (set_at("error", lambda row: row["error"] == "free", "I"), "proposed by a label, but free, or the other way"),
        (set_at("because", lambda row: row["error"] == "I", ""), "proposed by a label, but free, or the other way"),
        (
            set_at("error", lambda row: row["error"] == "II", "I"),
            "a guess of type II, or an addition by rule",
        ),
        (set_at("round", is_guess, 1), "neither by rule in round 1 nor guessed in round 2"),
        (set_at("probability", is_guess, 0.9), "expected precision is "),
    ],
)
def test_a_ledger_that_contradicts_the_rule_is_refused(work, capsys, edit, message):
    assert release(["make", "--work", "."]) == 0
    change(work / RELEASE, edit)
    assert release(["verify", RELEASE]) == 2
    assert message in capsys.readouterr().err


def test_a_probability_without_the_rule_is_refused(work, capsys):
    assert enhance(["--threshold", "25p", *named(work)]) == 0
    assert release(["make", "--enhanced", "enhanced-25p"]) == 0
    change(work / "release-25p", set_at("probability", lambda row: True, 0.5))
    assert release(["verify", "release-25p"]) == 2
    assert "a probability, which the rule does not estimate" in capsys.readouterr().err


def test_two_releases_are_compared_by_probability(work, capsys):
    assert release(["diff", FOLDER, "truth.csv", "--ontology", "ontology.json", "--work", "."]) == 0
    said = capsys.readouterr().out
    assert "type free" in said and "probability 0." in said and "score 0." not in said


# ---- review -----------------------------------------------------------------------------------------------------


def test_a_page_asks_about_guesses_of_every_probability_and_some_closure(work):
    assert review(["page", "--budget", "60", "--label-studio", *named(work)]) == 0
    rows = rows_of(work / "review/sample.csv")
    ledger = read_ledger(work / FOLDER / "ledger.parquet")
    added = {(row["clip_id"], row["class_id"]): row["probability"] for row in ledger.to_pylist()}
    probabilities = [float(row["probability"]) for row in rows if row["probability"]]
    assert (len(rows), len(probabilities)) == (60, 48)
    for row in rows:
        assert added[row["clip_id"], row["class_id"]] == (float(row["probability"]) if row["probability"] else None)
    everything = sorted(p for p in added.values() if p is not None)
    edges = np.quantile(everything, [0.2, 0.4, 0.6, 0.8])
    assert (np.bincount(np.digitize(probabilities, edges)) >= 7).all()  # of 48 in five equal bands
    assert sum(float(row["weight"]) for row in rows) == pytest.approx(len(ledger))
    tasks = json.loads((work / "review/label_studio.json").read_text())
    whys, free = [task["data"]["why"] for task in tasks], "type free, a guess from its scores: no label of the clip"
    assert any(why.startswith(f"{free} proposes it; probability 0.") for why in whys)
    assert all("because of" in why for why in whys if why.startswith(("type I,", "type II,")))
    page = (work / "review/index.html").read_text()
    assert "no label of the clip proposes" in page and '"probability":0.' in page


def test_an_estimate_compares_with_what_was_expected(work, capsys):
    assert review(["page", "--budget", "400", *named(work)]) == 0  # all additions
    precision, truth = judge(work), true_labels(work)
    ledger = read_ledger(work / FOLDER / "ledger.parquet").to_pylist()
    for row in precision["by_error"]:
        of_type = [r for r in ledger if r["error"] == row["error"]]
        shares = [(r["clip_id"], r["class_id"]) in truth for r in of_type]
        assert row["precision"] == pytest.approx(np.mean(shares))
        expected = [r["probability"] for r in of_type if r["probability"] is not None]
        assert row.get("expected") == (pytest.approx(np.mean(expected)) if expected else None)
    assert precision["bands_of"] == "probability"
    said = capsys.readouterr().out
    assert "  probability 0-0." in said and ", expected 0." in said and "  added by rule: 1.000" in said
    floors = [float(row["floor"]) for row in rows_of(work / "review-result/curve.csv")]
    assert floors[0] == 0 and set(floors[1:]) <= {r["probability"] for r in ledger}
    assert release(["make", "--work", ".", "--precision", "review-result/precision.json"]) == 0
    card = (work / RELEASE / "README.md").read_text()
    assert "| probability | added | judged | precision [interval] | expected |" in card
    assert "| type | added | judged | precision [interval] | expected |" in card


def test_judgements_go_back_into_enhance(work, capsys):
    assert review(["page", "--budget", "100", *named(work)]) == 0
    judge(work)
    options = ["--threshold", "precision:0.7", "--errors", "I", "II", "free", "--out", "again"]
    assert enhance([*options, *named(work), "--judgements", "review-result/reviewed.csv"]) == 0
    assert "80 guesses corrected the probabilities; 20 of 20 judged ancestors are right" in capsys.readouterr().out
    assert release(["make", "--enhanced", "again", "--out", "released"]) == 0
    card = (work / "released/README.md").read_text()
    assert "- The probabilities were corrected by 80 judged guesses." in card
    assert "- Of 20 judged labels that were added by rule, 20 are right." in card


def test_thresholds_for_a_precision_are_refused(work, capsys):
    assert review(["page", "--budget", "60", *named(work)]) == 0
    judge(work)
    message = f"--target-precision: the guesses of {FOLDER} have probabilities, not thresholds. Omit it, and give"
    for dry in ([], ["--dry-run"]):
        assert review(["estimate", "judged.csv", "--work", ".", "--overwrite", "--target-precision", "0.9", *dry]) == 2
        assert message in capsys.readouterr().err


def test_a_reviewed_folder_is_released_without_what_nothing_supports(work, capsys):
    assert review(["page", "--budget", "400", *named(work)]) == 0
    judge(work, lambda row: "wrong" if row["error"] == "II" else "right")
    assert enhance(["apply", "review-result/reviewed.csv", "--work", "."]) == 0
    decisions = json.loads((work / "enhanced-reviewed/summary.json").read_text())["decisions"]
    assert decisions["unsupported"] > 0
    assert release(["make", "--enhanced", "enhanced-reviewed"]) == 0
    assert release(["verify", "release-reviewed"]) == 0
    assert f"{decisions['right'] - decisions['unsupported']} additions are guesses" in capsys.readouterr().out
    assert (
        "unsupported ones, which only labels found wrong had proposed"
        in (work / "release-reviewed/README.md").read_text()
    )


def test_labels_that_nobody_was_sure_of_may_have_proposed_others(work):
    assert review(["page", "--budget", "400", *named(work)]) == 0
    judge(work, lambda row: "unsure" if row["error"] == "II" else "right")
    assert enhance(["apply", "review-result/reviewed.csv", "--work", "."]) == 0
    assert release(["make", "--enhanced", "enhanced-reviewed"]) == 0


# ---- evaluate ---------------------------------------------------------------------------------------------------


def test_additions_are_judged_by_type_with_closure_as_what_proposes(work, capsys):
    scales = ["--scales", "clip", "2s"]
    assert evaluate(["--scores", "scores.h5", "--labels", "labels.csv", *scales, *named(work)]) == 0
    assert ": 1 score store at 2 scales on 600 clips\n" in capsys.readouterr().out
    judged = json.loads((work / "evaluation/metrics.json").read_text())["enhanced"][FOLDER]["by_error"]
    ledger, truth = read_ledger(work / FOLDER / "ledger.parquet").to_pylist(), true_labels(work)
    given = {(row["clip_id"], k) for row in rows_of(work / "labels.csv") for k in row["labels"].split(";")}
    by_rule = {(r["clip_id"], r["class_id"]) for r in ledger if r["probability"] is None}
    known = given | by_rule
    missing = {"II": 0, "I": 0, "free": 0}
    for clip, k in truth - given:
        missing["II" if (clip, k) in by_rule else "I" if (clip, EDGES.get(k)) in known else "free"] += 1
    for error, n in missing.items():
        right = [r for r in ledger if r["error"] == error and (r["clip_id"], r["class_id"]) in truth]
        assert (judged[error]["right"], judged[error]["missing"]) == (len(right), n)
    assert judged["I+II"]["missing"] == 0
    assert sum(missing.values()) == judged["all"]["missing"]
    report = (work / "evaluation/report.html").read_text()
    assert "both types" not in report  # no guess can be
    assert "free (no label proposes it)" in report and "which only free guesses can add" in report


def test_an_explanation_names_the_most_probable_free_guesses(work, capsys):
    ledger = read_ledger(work / FOLDER / "ledger.parquet").to_pylist()
    clip = next(r["clip_id"] for r in ledger if r["error"] == "free")
    assert enhance(["--explain", clip, "--enhanced", FOLDER]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ", precision-0.7, " in lines[0] and "threshold" not in lines[0]
    assert any(line.split()[:1] == ["added"] and line.endswith("proposed by no label") for line in lines)
    assert not any("the probability is" in line for line in lines)
    assert enhance(["--explain", "c00003", "--enhanced", FOLDER]) == 0  # without labels
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[2:-1]] == [["not", "added"]] * 5
    assert lines[-1].startswith("  and 3 free guesses that are not added, of a probability of .0")


def test_a_release_names_every_teacher(work, capsys):
    scores = ScoreStore.open("scores.h5").clip_scores()
    clip_ids = tuple(row["clip_id"] for row in rows_of(work / "labels.csv"))
    for name, columns, digest in (("birds", slice(0, 5), "b" * 64), ("traffic", slice(4, 8), "e" * 64)):
        given = {"model": f"{name} {digest}", "out_of_fold": name == "birds"}
        ScoreStore.write(f"{name}.h5", clip_ids, CLASSES[columns], {"clip": scores[:, columns]}, given)
    options = ["--threshold", "precision:0.7", "--errors", "I", "II", "free", "--out", "two"]
    assert enhance([*options, *named(work), "--scores", "birds.h5", "traffic.h5"]) == 0
    assert release(["make", "--enhanced", "two", "--out", "released"]) == 0
    card = (work / "released/README.md").read_text()
    assert f"Teacher: birds; traffic (SHA-256 {'b' * 64}; {'e' * 64})" in card
    assert "In sample: the teacher scored clips that it was trained on." in card
    assert card.count("median AUC of labelled clips against the rest is") == 2
    assert release(["make", "--enhanced", "two", "--out", "soft", "--soft", "uint8"]) == 2
    assert "two: there is no targets.h5, and what was added by its probability has" in capsys.readouterr().err
    assert enhance([*options, *named(work), "--scores", "birds.h5", "traffic.h5", "--soft", "--overwrite"]) == 0
    assert release(["make", "--enhanced", "two", "--out", "soft", "--soft", "uint8"]) == 0
