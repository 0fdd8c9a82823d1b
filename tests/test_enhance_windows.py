"""`enhance --soft-windows`: targets of windows that state each label's probability, as a store that `train` reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit

from pseudolabel import enhance_windows
from pseudolabel.audio.clips import ClipStore
from pseudolabel.enhance import main
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.precision import Calibration
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.views import Corpus
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.score import main as score
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.writing import ScoreLayout, write_scores
from pseudolabel.training.dataset import SoftTargets, window_examples

PARENTS = {"dog": "animal", "cat": "animal", "bark": "dog", "car": "vehicle", "horn": "car"}
CLASSES = ("animal", "dog", "cat", "bark", "vehicle", "car", "horn", "music")
VOCABULARY = Vocabulary("sounds", CLASSES, CLASSES, CLASSES)
N_CLIPS = 200
COUNTS = np.arange(N_CLIPS) % 5 + 1
GIVEN = enhance_windows.GIVEN


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """A work folder: labels of 200 clips, two of them without scores, and a teacher's windows, 1 to 5 of each clip."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    truth = rng.random((N_CLIPS, len(CLASSES))) < [0.1, 0.12, 0.1, 0.08, 0.1, 0.1, 0.06, 0.15]
    for child in ("bark", "dog", "cat", "horn", "car"):
        truth[:, CLASSES.index(PARENTS[child])] |= truth[:, CLASSES.index(child)]
    labels = truth & (rng.random(truth.shape) < 0.6)
    labels[np.flatnonzero(labels[:, 2])[2:], 2] = False  # two cats are left: no answer
    clip_ids = [f"c{i:03d}" for i in range(N_CLIPS)]
    LabelTable(clip_ids, sparse.csr_array(labels), VOCABULARY).write("labels.csv")
    VOCABULARY.write("vocabulary.csv")
    nodes = [
        {"id": name, "name": name, "child_ids": [k for k, parent in PARENTS.items() if parent == name],
         "restrictions": []}
        for name in CLASSES
    ]  # fmt: skip
    Path("ontology.json").write_text(json.dumps(nodes))
    windows = expit(rng.standard_normal((N_CLIPS, 5, len(CLASSES))) + 2.5 * truth[:, None] - 4)
    write_teacher("scores.h5", clip_ids[2:], CLASSES, windows[2:], COUNTS[2:])
    return tmp_path


def write_teacher(name, clip_ids, class_ids, windows, counts, **attributes):
    """Write a store of clips and their 2 s windows, in backward order; 0 after each clip's own windows."""
    windows = (windows * (np.arange(windows.shape[1]) < counts[:, None])[..., None]).astype(np.float16)[::-1]
    layout = ScoreLayout.of_windows(clip_ids[::-1], class_ids, {"clip": counts[::-1], "2s": counts[::-1]})
    write_scores(name, layout, iter([{"clip": windows.max(axis=1), "2s": windows}]), attributes)


def run(*options: str) -> int:
    return main([*options, "--ontology", "ontology.json", "--work", "."])


def probabilities(*stores: str) -> tuple[np.ndarray, np.ndarray, LabelTable]:
    """Return (N, K) the probabilities of guesses, which are labels or ancestors of one, and the labels."""
    labels, ontology = LabelTable.read("labels.csv", VOCABULARY), Ontology.load("ontology.json")
    kinship = Kinship.of(ontology.ancestors(VOCABULARY), ontology.children(VOCABULARY))
    corpus = Corpus(labels, [Evidence.match(labels, ScoreStore.open(name)) for name in stores], kinship)
    return Calibration.of(corpus).block(0, N_CLIPS).probabilities, corpus.closed.toarray(), labels


@pytest.mark.parametrize("errors", [("I", "II"), ("I", "II", "free"), ("I",)])
@pytest.mark.parametrize("block_bytes", [1, 1 << 25])
def test_windows_state_the_probability_of_every_label(work, monkeypatch, errors, block_bytes):
    monkeypatch.setattr(enhance_windows, "BLOCK_BYTES", block_bytes)
    assert run("--threshold", "precision:0.7", "--errors", *errors, "--soft-windows", "2s") == 0
    store, teacher = ScoreStore.open("enhanced-precision-0.7/window_targets.h5"), ScoreStore.open("scores.h5")
    guesses, closed, labels = probabilities("scores.h5")
    wanted = np.where(closed, GIVEN, guesses)
    assert store.clip_ids == labels.clip_ids[2:] and store.class_ids == CLASSES and store.scales == ("2s",)
    assert store.stored_as("2s") == np.float16
    targets = np.asarray(store.scores(2), np.float64)
    assert np.array_equal(store.n_windows(2), COUNTS[2:])
    stated, answered = 1 - (1 - targets).prod(axis=1), ~np.isnan(wanted[2:])
    assert np.abs(stated - wanted[2:])[answered].max() < 1e-3  # 16 bits
    unanswered = ~answered
    assert unanswered.any(axis=0).tolist() == [name == "cat" for name in CLASSES]
    own = teacher.read(2, teacher.rows(store.clip_ids))
    assert np.array_equal(targets[:, :, 2][unanswered[:, 2]], own[:, :, 2][unanswered[:, 2]])
    moved = np.asarray(own, np.float64)
    order = np.argsort(moved, axis=1, kind="stable")
    assert (np.diff(np.take_along_axis(targets, order, axis=1), axis=1) >= 0).all()


def test_store_passes_score_verify(work, capsys):
    assert run("--threshold", "precision:0.7", "--soft-windows", "2s") == 0
    capsys.readouterr()
    assert score(["verify", "enhanced-precision-0.7/window_targets.h5"]) == 0
    assert "window_targets.h5: good: 198 clips x 8 classes at 2s" in capsys.readouterr().out


def test_train_reads_the_windows(work, write_tones):
    store_of = write_tones(work / "tones", [2.0 * n for n in COUNTS[2:12]], 1000) / "clips.h5"
    clips = ClipStore.open(store_of)
    assert run("--threshold", "precision:0.7", "--soft-windows", "2s") == 0
    store, rows = ScoreStore.open("enhanced-precision-0.7/window_targets.h5"), np.arange(10)
    soft = SoftTargets(store, rows, store.columns(CLASSES), 2)
    examples = window_examples(clips, rows, sparse.csr_array((10, len(CLASSES)), dtype=bool), 2000, soft)
    assert len(examples) == COUNTS[2:12].sum()
    _, targets, _ = examples.batch(np.arange(len(examples)))
    stored = [store.scores(2)[row, : COUNTS[2 + row]] for row in range(10)]
    assert np.array_equal(targets, np.concatenate(stored).astype(np.float32))


def test_of_several_teachers_the_first_that_has_a_score_counts(work):
    ids, rng = [f"c{i:03d}" for i in range(N_CLIPS)], np.random.default_rng(1)
    windows = {"a.h5": rng.random((N_CLIPS, 5, 5)), "b.h5": rng.random((N_CLIPS, 5, 4))}  # of classes 0 to 4, 3 to 6
    for name, classes, clips in (("a.h5", range(5), slice(2, 198)), ("b.h5", range(3, 7), slice(4, 200))):
        of_classes = [CLASSES[k] for k in classes]
        write_teacher(name, ids[clips], of_classes, windows[name][clips], COUNTS[clips])
    assert run("--threshold", "precision:0.7", "--soft-windows", "2s", "--scores", *windows) == 0
    guesses, closed, labels = probabilities(*windows)
    store = ScoreStore.open("enhanced-precision-0.7/window_targets.h5")
    assert store.clip_ids == labels.clip_ids[2:] and store.class_ids == CLASSES
    targets, wanted = np.asarray(store.scores(2), np.float64), np.where(closed, GIVEN, guesses)[2:]
    answered = ~np.isnan(wanted)
    assert np.abs(1 - (1 - targets).prod(axis=1) - wanted)[answered].max() < 1e-3
    labelled = np.flatnonzero(closed[:, 3] & (COUNTS == 5))
    best = targets[labelled - 2, :, 3].argmax(axis=1)
    by_a, by_b = windows["a.h5"][labelled, :, 3].argmax(axis=1), windows["b.h5"][labelled, :, 0].argmax(axis=1)
    assert np.array_equal(best, np.where(labelled < 198, by_a, by_b)) and (by_a != by_b).any()
    of_music = closed[2:, [7]] & (np.arange(5) < COUNTS[2:, None])  # which no teacher has: evenly spread, or 0
    even = 1 - (1 - GIVEN) ** (1 / COUNTS[2:, None])
    assert targets[:, :, 7] == pytest.approx(of_music * even, abs=5e-4)


def test_windows_that_overlap_keep_their_hop_and_their_origin(work):
    store = ScoreStore.open("scores.h5")
    hop = {"clip": store.clip_scores(), 2: np.asarray(store.read(2, np.arange(198)))}
    ScoreStore.write("imported.h5", store.clip_ids, CLASSES, hop, {"imported_sha256": "abc"}, hops_s={2: 1.0})
    options = ("--threshold", "precision:0.7", "--scores", "imported.h5", "--soft-windows", "2s")
    assert run(*options) == 0
    made = ScoreStore.open("enhanced-precision-0.7/window_targets.h5")
    assert made.imported and made.hop_s(2) == 1.0


def test_two_lengths_are_two_scales_and_the_run_is_recorded(work):
    store = ScoreStore.open("scores.h5")
    five = np.asarray(store.read(2, np.arange(198)))[:, :2]
    ScoreStore.write("two.h5", store.clip_ids, CLASSES, {"clip": store.clip_scores(), 5: five, 2: store.scores(2)})
    options = ("--threshold", "precision:0.7", "--scores", "two.h5", "--soft-windows", "5s", "2")
    assert run(*options) == 0
    made = ScoreStore.open("enhanced-precision-0.7/window_targets.h5")
    assert made.scales == ("2s", "5s")
    record = json.loads(Path("enhanced-precision-0.7/run.json").read_text())
    assert record["options"]["soft_windows"] == [5, 2]
    assert run(*options, "--overwrite", "--soft") == 0
    assert {"targets.h5", "window_targets.h5"} <= {path.name for path in Path("enhanced-precision-0.7").iterdir()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "25p", "--soft-windows", "2s"],
         "--soft-windows: --threshold 25p gives labels no probability. Give --threshold precision:0.7."),
        (["--errors", "II", "--type2", "closure", "--soft-windows", "2s"],
         "--soft-windows: --threshold mean gives labels no probability. Give --threshold precision:0.7."),
        (["--threshold", "precision:0.7", "--errors", "II", "--soft-windows", "2s"],
         "--threshold: has no effect with --errors II, which compares no scores. Leave one out."),
        (["--threshold", "precision:0.7", "--soft-windows", "clip"],
         "--soft-windows: a clip is not a window. Give lengths, such as 2s; --soft has a clip's targets."),
        (["--threshold", "precision:0.7", "--soft-windows", "2s", "2"],
         "--soft-windows: a length is listed twice. Name each once."),
        (["--threshold", "precision:0.7", "--soft-windows", "5s"],
         "scores.h5: scale '5s' is not there; there are: 2s, clip. Give --soft-windows 2s, or score again with "
         "--windows 5s."),
        (["--threshold", "precision:0.7", "--soft-windows", "2s", "--explain", "c005"],
         "--soft-windows: nothing is written with --explain. Omit it."),
    ],
)  # fmt: skip
def test_what_has_no_such_windows_is_refused(work, capsys, options, message):
    assert run(*options) == 2
    assert capsys.readouterr().err.strip() == f"pseudolabel enhance: error: {message}"
    assert not Path("enhanced-precision-0.7").exists() and not Path("enhanced-25p").exists()


def test_windows_that_disagree_between_teachers_are_refused(work, capsys):
    ids = LabelTable.read("labels.csv", VOCABULARY).clip_ids
    write_teacher("other.h5", ids, CLASSES, np.full((N_CLIPS, 5, len(CLASSES)), 0.1), COUNTS[::-1])
    options = ("--threshold", "precision:0.7", "--scores", "scores.h5", "other.h5", "--soft-windows", "2s")
    assert run(*options) == 2
    assert "windows of 2s, in another store" in capsys.readouterr().err


def test_damaged_window_is_named(work, capsys):
    store = ScoreStore.open("scores.h5")
    windows = np.array(store.read(2, np.arange(198)))
    windows[7, 0, 3] = np.nan
    ScoreStore.write("damaged.h5", store.clip_ids, CLASSES, {"clip": store.clip_scores(), 2: windows})
    assert run("--threshold", "precision:0.7", "--scores", "damaged.h5", "--soft-windows", "2s") == 2
    line = f"clip {store.clip_ids[7]!r} has the score nan of class 'bark' at scale 2s; it must be in [0, 1]"
    assert line in capsys.readouterr().err
    assert not Path("enhanced-precision-0.7").exists()
