"""Rules judged by known truth: measures of a corpus of two clips worked out by hand, and the page made of them."""

from __future__ import annotations

import csv
import importlib.util
import re
from types import SimpleNamespace

import numpy as np
import pytest

from pseudolabel.errors import InputError
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.reports.known_truth import Judged, Known, Measures, confident, percentile, propagated, reliability
from pseudolabel.reports.known_truth_page import Outcome, Setting, grouped_by_setting, headline, write_page
from pseudolabel.reports.known_truth_students import Trained, gap_closed

IDS = ("animal", "dog", "bark", "tool")  # animal > dog > bark, tool > bark
ANCESTORS = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0]], bool)
CHILDREN = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0]], bool)
GIVEN = np.array([[0, 0, 1, 0], [0, 1, 0, 0]], bool)


def corpus(given=GIVEN, scores=None, truth=None) -> Known:
    n = len(given)
    truth = np.ones((n, 4), bool) if truth is None else truth
    scores = np.full((n, 4), 0.5, np.float32) if scores is None else scores
    clips = tuple(f"c{i}" for i in range(n))
    return Known(clips, Vocabulary("toy", IDS, IDS, IDS), Kinship(ANCESTORS, CHILDREN), truth, {"A": given}, scores)


def test_what_closure_and_propagation_add_and_what_a_relative_leads_to():
    known = corpus()
    assert known.closure("A").tolist() == [[True, True, False, True], [True, False, False, False]]
    assert propagated(known, "A").tolist() == [[False] * 4, [True, False, False, False]]  # bark has two parents
    # of 8 labels 6 are missing; animal, dog, tool and animal are ancestors, bark is a child of dog, tool is neither
    assert known.missing("A") == (6 / 8, 5 / 6)


def test_measures_of_no_guess_have_no_share_of_right_ones():
    right, precision, recall, f1 = corpus().measured("A", np.zeros((2, 4), bool), corpus().closure("A"))
    assert np.isnan(right) and (precision, recall) == (1, 4 / 6)
    assert f1 == pytest.approx(2 * 4 / (4 + 6))


def test_nothing_added_has_no_precision():
    known = corpus(given=np.ones((2, 4), bool), truth=np.ones((2, 4), bool))
    _, precision, recall, f1 = known.measured("A", np.zeros((2, 4), bool), known.closure("A"))
    assert np.isnan(precision) and (recall, f1) == (0, 0)


def test_an_archive_brings_its_own_relations_and_names_of_annotators(tmp_path):
    """Its classes are not AudioSet's: the percentile's candidates come from `children`."""
    given = np.repeat(GIVEN, 5, axis=0)  # bark, five times, then dog
    scores = np.where(given, 0.5, 0.1).astype(np.float32)
    scores[0, 1] = 0.9  # dog is heard beside bark; no clip has a threshold for animal or tool
    bits = {"truth": given | (scores > 0.8), "labels_parents": given, "children": CHILDREN, "ancestors": ANCESTORS}
    packed = {name: np.packbits(matrix, axis=1) for name, matrix in bits.items()}
    ids = {"clip_id": [f"c{i}" for i in range(10)], "class_id": IDS, "name": IDS}
    np.savez(tmp_path / "own.npz", scores=scores, **ids, **packed)
    known = Known.read(tmp_path / "own.npz")
    assert list(known.given) == ["parents"] and (known.scores == scores).all()
    assert percentile(known, "parents") == (1, 1, 1, 1)


def test_guesses_are_counted_by_their_probability():
    probabilities = np.array([[0.05, np.nan, 0.95, 0.99], [np.nan, 0.91, 0.1, 1.0]], np.float32)
    truth = np.array([[0, 1, 1, 0], [1, 1, 1, 1]], bool)
    block = SimpleNamespace(probabilities=probabilities)
    n, summed, right = reliability(corpus(truth=truth), SimpleNamespace(block=lambda *_: block))
    assert n.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 4] and right.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 3]
    assert summed[-1] == pytest.approx(0.95 + 0.99 + 0.91 + 1)


@pytest.mark.skipif(importlib.util.find_spec("cleanlab") is None, reason="cleanlab is not installed")
def test_confident_learning_doubts_the_absent_label_with_the_highest_score():
    given, scores = np.zeros((40, 4), bool), np.full((40, 4), 0.05, np.float32)
    given[:20, 3], scores[:21, 3] = True, 0.95  # clip 20 sounds as those with the label
    found = confident(corpus(given, scores), "A")
    assert np.argwhere(found).tolist() == [[20, 3]]


def test_an_archive_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", clip_id=["a"])
    with pytest.raises(InputError, match="has no array 'class_id'"):
        Known.read(tmp_path / "other.npz")


GOOD = {
    "clip_id": np.array(["a", "b"]), "class_id": np.array(["x", "y", "z"]), "name": np.array(["X", "Y", "Z"]),
    "truth": np.packbits(np.eye(2, 3, dtype=bool), axis=1), "labels_A": np.zeros((2, 1), np.uint8),
    "children": np.zeros((3, 1), np.uint8), "ancestors": np.zeros((3, 1), np.uint8),
    "scores": np.zeros((2, 3), np.float32),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("clip_id", np.array(["a", "a"]), "an id in 'clip_id' is listed twice. Keep one"),
        ("class_id", np.array(["x", "y", "x"]), "an id in 'class_id' is listed twice"),
        ("clip_id", np.array(["a", None], object), "not a readable .npz file"),
        ("clip_id", np.array([1, 2]), "'clip_id' has the shape (2,) and the type int64. It needs (2,), text"),
        ("name", np.array(["X"]), "'name' has the shape (1,)"),
        ("scores", np.zeros((3, 3), np.float32), "'scores' has the shape (3, 3)"),
        ("scores", np.full((2, 3), np.inf), "'scores' has infinite values"),
        ("truth", np.zeros((2, 1), np.uint8), "'truth' has no label"),
        ("truth", np.ones((2, 3), np.uint8), "It needs (2, 1), uint8. Make it by numpy.packbits"),
        ("labels_A", np.full((2, 1), 7, np.uint8), "'labels_A' is not 0 and 1 packed into bits"),
        ("labels_A", np.zeros((2, 1)), "'labels_A' has the shape (2, 1) and the type float64"),
        ("children", np.zeros((2, 1), np.uint8), "'children' has the shape (2, 1)"),
    ],
)
def test_damaged_archives_are_refused_in_one_line(tmp_path, name, array, message):
    np.savez(tmp_path / "x.npz", **{**GOOD, name: array})
    with pytest.raises(InputError, match=re.escape(message)):
        Known.read(tmp_path / "x.npz")


@pytest.mark.parametrize("content", [b"", b"junk", b"\x93NUMPY"])
def test_files_that_are_no_archives_are_refused(tmp_path, content):
    np.savez(tmp_path / "good.npz", **GOOD)
    assert Known.read(tmp_path / "good.npz").truth.sum() == 2
    for cut in (content, (tmp_path / "good.npz").read_bytes()[:-40]):
        (tmp_path / "x.npz").write_bytes(cut)
        with pytest.raises(InputError, match=r"not a readable \.npz file.* Save it with numpy\.savez"):
            Known.read(tmp_path / "x.npz")


def outcomes() -> list[Outcome]:
    def judged(f1: float, right: float) -> tuple[Judged, ...]:
        return (
            Judged("25p", "I II", np.nan, Measures(0.5, 0.5, 0.5, 0.5)),
            Judged("closure", "II", np.nan, Measures(np.nan, 1.0, 0.3, 0.46)),
            Judged("precision:0.7", "I II", 0.7, Measures(right, 0.8, 0.6, f1)),
            Judged("precision:0.7", "I II free", 0.7, Measures(right, 0.8, 0.6, f1)),
            Judged("precision:0.6", "I II free", 0.6, Measures(0.6, 0.7, 0.65, 0.67)),
        )

    bins = np.stack([np.full(10, 20.0), 20 * (np.arange(10) + 0.5) / 10, np.arange(10) * 2.0])
    a, b = Setting("synthesised", "in_fold", "A"), Setting("synthesised", "in_fold", "B")
    return [
        Outcome("one", a, (60, 25), 0.9, (0.4, 0.7), judged(0.7, 0.72), bins),
        Outcome("two", a, (60, 27), 0.8, (0.5, 0.6), judged(0.8, 0.64), bins),
        Outcome("one", b, (60, 25), np.nan, (0.6, 0.5), judged(0.6, 0.6), bins),
    ]


def test_the_page_says_what_came_of_asking_and_loads_nothing(tmp_path):
    # mean over settings of (.7 + .8) / 2 and .6
    assert headline(grouped_by_setting(outcomes())) == (
        "Asked for .7, between .60 and .68 of the guesses are right in 2 settings of up to 2 corpora; mean F1 over all "
        "missing labels .675, with 25p .500."
    )
    text = write_page(tmp_path, outcomes(), ["a note <b>"], "python made.py")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "synthesised A 2 60 25-27 .450 ± .071 .650 ± .071" in lines
    assert "synthesised in_fold A 2 .850 ± .071 .700 ± .000 .680 ± .057" in lines
    assert "synthesised in_fold B 1 - .700 .600" in lines
    assert "precision:0.7 I II .680 ± .057 .700 ± .000 .800 ± .000 .600 ± .000 .750 ± .071" in lines
    assert "closure II - - 1.000 ± .000 .300 ± .000 .460 ± .000" in lines
    assert "precision:0.6" not in text  # in the figure and in results.csv
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "a note &lt;b&gt;" in html and html.count("<svg") == 2
    assert "<script" not in html and "http" not in html.replace("http-equiv", "")
    with open(tmp_path / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15 and rows[1]["guesses_right"] == rows[1]["expected"] == "" and rows[1]["f1"] == "0.460000"
    assert [row["auc"] for row in rows[::5]] == ["0.900000", "0.800000", ""] and rows[5]["classes"] == "27"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "reliability.png", "report.html", "results.csv", "results.md", "rules.png"
    ]  # fmt: skip


def trained(corpus: str, annotator: str, *maps: float) -> Trained:
    rows = ("weak", "25p", "precision-0.7", "soft", "true")
    return Trained(corpus, "synthesised", annotator, dict(zip(rows, maps, strict=True)))


def test_differences_of_students_are_taken_corpus_by_corpus(tmp_path):
    students = [
        trained("one", "A", 0.30, 0.35, 0.36, 0.38, 0.40),
        trained("two", "A", 0.50, 0.53, 0.58, 0.57, 0.60),
        trained("one", "B", 0.40, 0.45, 0.44, 0.43, 0.38),
    ]
    text = write_page(tmp_path, outcomes(), [], "python made.py", students)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    # A, precision:0.7 over 25p: .01 and .05, mean .03, sd .04 / sqrt 2; t of one degree of freedom at .975 is 12.706,
    # so half the interval is 12.706 * .04 / 2 = .254. Of the gap of .10, .04 / .10 and .07 / .10 are closed.
    assert "precision:0.7 .470 ± .156 .70 +.070 [-.057, +.197] +.030 [-.224, +.284]" in lines
    assert "25p .440 ± .127 .40 +.040 [-.087, +.167]" in lines
    assert "true labels .500 ± .141 +.100 [+.100, +.100] +.060 [-.067, +.187]" in lines
    # B: one corpus has no interval, and where true labels are worse than weak ones there is no gap to close
    assert "precision:0.7, soft targets .430 - +.030 -.020" in lines
    unclear = [students[0], trained("two", "A", 0.50, 0.53, 0.58, 0.57, 0.52)]  # gaps of .10 and .02
    assert gap_closed(students[:2], "soft") == pytest.approx(0.75) and np.isnan(gap_closed(unclear, "soft"))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Students: synthesised, annotator A, 2 corpora" in lines and "<h3>synthesised, annotator B, one" in html
    assert "Mean mAP of 3 students each: .400 on weak labels; .443 on 25p" in html
    assert html.count("<svg") == 3 and (tmp_path / "students.png").is_file()
    with open(tmp_path / "students.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15 and rows[3] == {
        "corpus": "one", "sounds": "synthesised", "annotator": "A", "row": "soft", "map": "0.380000"
    }  # fmt: skip
