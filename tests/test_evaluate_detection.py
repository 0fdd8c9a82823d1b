"""`evaluate detection`: its table, files and refusals; the real teacher and student of DESED."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from pseudolabel import evaluate, evaluate_detection
from pseudolabel.labels.events import EventTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.detection import event_counts, segment_counts
from pseudolabel.scores.frames import Frames
from pseudolabel.scores.metrics import average_precision
from pseudolabel.scores.store import ScoreStore

VOCABULARY = Vocabulary("toy", ("/m/a", "/m/b", "/m/c"), ("Animal", "Dog", "Rain"), ("/m/a", "/m/b", "/m/c"))
CLIPS = [f"eval-{i:05d}" for i in range(12)]
EVENTS = "clip_id,onset_s,offset_s,class_id\n"
QUICK = ("--metrics", "clip-map", "frame-map", "segment-f1", "event-f1", "--resamples", "50")


@pytest.fixture
def work(tmp_path):
    """Events of two of three classes in twelve clips of 4 s; scores in frames of .25 s and windows of 2 s."""
    work, rng = tmp_path / "work", np.random.default_rng(5)
    work.mkdir()
    VOCABULARY.write(work / "vocabulary.csv")
    rows, frames = [], rng.uniform(0, 0.45, (12, 16, 3))
    for clip, clip_id in enumerate(CLIPS):
        column, onset = int(rng.integers(1, 3)), int(rng.integers(0, 12))
        rows.append(f"{clip_id},{onset / 4},{onset / 4 + 1},{VOCABULARY.class_ids[column]}\n")
        frames[clip, onset : onset + 4, column] += 0.4
    (work / "events.csv").write_text(EVENTS + "".join(rows))
    order = rng.permutation(12)  # neither clips nor classes stand in the order of the lists
    scores = {0.25: frames[order][..., ::-1], 2: frames.reshape(12, 2, 8, 3).max(axis=2)[order][..., ::-1]}
    ScoreStore.write(work / "scores.h5", [CLIPS[i] for i in order], VOCABULARY.class_ids[::-1], scores, store="float32")
    return work


def run(work, *options: str) -> int:
    return evaluate.main(["detection", "--work", str(work), *options])


def failure(capsys, work, *options: str) -> str:
    assert run(work, *options) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("pseudolabel evaluate detection: error: ")
    return line


def metrics(work) -> dict:
    return json.loads((work / "detection" / "metrics.json").read_text())


def test_the_table_is_what_the_functions_find(work, capsys):
    assert run(work, *QUICK, "--median-filter", "none", "0.75") == 0
    printed = capsys.readouterr().out
    table = EventTable.read(work / "events.csv", VOCABULARY)
    store, truth = ScoreStore.open(work / "scores.h5"), table.of_classes([1, 2])
    frames = Frames.of(store.read(0.25, store.rows(CLIPS))[..., [1, 0]], 0.25)
    found = metrics(work)
    assert (found["n_clips"], found["n_classes"], found["n_events"], found["n_missing"]) == (12, 2, 12, 0)
    assert [row["filter"] for row in found["rows"]] == ["none", "0.75 s"]
    for row, seconds in zip(found["rows"], (0, 0.75), strict=True):
        filtered = frames.filtered(seconds)
        wanted = {
            "clip_map": average_precision(truth.counts((12, 2)) > 0, frames.maxima()).mean(),
            "frame_map": average_precision(frames.active(truth).reshape(-1, 2), frames.scores.reshape(-1, 2)).mean(),
            "segment_f1_macro": segment_counts(truth, filtered.spans(), frames.lengths_s, 2).rates()["f1_macro"][0],
            "event_f1_macro": event_counts(truth, filtered.spans(), (12, 2)).rates()["f1_macro"][0],
        }
        assert {key: row["metrics"][key] for key in wanted} == pytest.approx(wanted)
        for key in ("clip_map", "frame_map", "segment_f1_macro", "event_f1_macro"):
            low, high = row["intervals"][key]
            assert low < row["metrics"][key] < high or low == high == 1, key
    assert found["rows"][1]["above_first"]["event_f1_macro"]["value"] == pytest.approx(
        found["rows"][1]["metrics"]["event_f1_macro"] - found["rows"][0]["metrics"]["event_f1_macro"]
    )
    results = (work / "detection" / "results.md").read_text()
    assert (
        results.startswith("# Detection\n\nscores (0.25s, filter ")
        and "offset within that or 20 % of the ev" in results
    )
    assert "- left out, without an event in these clips: 1 class of" in printed
    with open(work / "detection" / "per_class.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class_id"] for row in rows] == 2 * ["/m/b", "/m/c"] and sum(int(r["n_events"]) for r in rows) == 24


def test_clips_of_a_group_are_drawn_together_and_one_group_alone_says_nothing(work, capsys):
    width = {}
    for name, group in {"alone": None, "pairs": lambda i: i // 2, "one": lambda i: 0}.items():
        rows = [f"{clip_id},{group(i) if group else clip_id}\n" for i, clip_id in enumerate(CLIPS)]
        text = "clip_id,group\n" + "".join(rows)
        (work / "groups.csv").write_text(text)
        assert run(work, *QUICK, "--groups", str(work / "groups.csv"), "--overwrite") == 0
        low, high = metrics(work)["rows"][0]["intervals"]["event_f1_macro"]
        width[name], printed = high - low, capsys.readouterr()
        assert ("draws of 6 groups of clips" in printed.out) == (name == "pairs")
        assert ("all clips are of one group (0): for intervals they are" in printed.err) == (name == "one")
    assert 0 < width["one"] == width["alone"] != width["pairs"]
    (work / "eval.csv").write_text(f"clip_id,labels\n{CLIPS[0]},\n")
    assert run(work, *QUICK, "--labels", str(work / "eval.csv"), "--overwrite") == 0
    assert metrics(work)["rows"][0]["intervals"] == {} and "in brackets" not in capsys.readouterr().out


def test_windows_filters_by_class_and_ancestors_are_chosen(work, capsys):
    (work / "filters.csv").write_text("class_id,seconds\nDog,0.75\nRain,0.25\nAnimal,0.5\n")
    assert run(work, *QUICK, "--median-filter", str(work / "filters.csv")) == 0
    assert metrics(work)["rows"][0]["filter"] == "filters.csv"
    assert run(work, *QUICK, "--window", "2s", "--overwrite") == 0
    assert metrics(work)["rows"][0]["window"] == "2s"
    (work / "own.csv").write_text("class_id,name,child_ids,restrictions\n/m/a,Animal,/m/b,\n/m/b,Dog,,\n/m/c,Rain,,\n")
    assert run(work, *QUICK, "--ancestors", "--ontology", str(work / "own.csv"), "--overwrite") == 0
    assert metrics(work)["n_classes"] == 3 and metrics(work)["n_events"] > 12


def test_clips_without_events_or_scores_are_counted_and_listed_and_aliases_found(work, capsys):
    listing = ("--labels", str(work / "eval.csv"))
    listed = ["audio/eval-00000.wav", *CLIPS[1:5], "eval-00099"]
    (work / "eval.csv").write_text("clip_id,labels\n" + "".join(f"{clip},\n" for clip in listed))
    with open(work / "events.csv", "a") as file:
        file.write("eval-00098,1,2,/m/b\n")
    assert run(work, *QUICK, *listing) == 0
    assert metrics(work)["n_clips"] == 5 and metrics(work)["n_missing"] == 1
    assert f"eval-00099,not in {work / 'events.csv'}" in (work / "detection" / "missing.csv").read_text()
    assert "clips found under another id" in capsys.readouterr().err
    first = metrics(work)["rows"]
    (work / "eval.csv").write_text("clip_id,labels\n" + "".join(f"{clip},\n" for clip in CLIPS[:5]))
    assert run(work, *QUICK, *listing, "--overwrite") == 0
    assert metrics(work)["rows"] == first and metrics(work)["n_missing"] == 0
    assert run(work, *QUICK, "--overwrite") == 0
    assert metrics(work)["n_clips"] == 12
    assert f"eval-00098,no scores in {work / 'scores.h5'}" in (work / "detection" / "missing.csv").read_text()


def test_events_and_scores_that_do_not_fit_are_refused_in_one_line(work, capsys):
    events = (work / "events.csv").read_text()

    def refused(text: str, *options: str) -> str:
        (work / "events.csv").write_text(text)
        return failure(capsys, work, *QUICK, *options)

    line = refused(events + "eval-00003,4.5,5,/m/b\n")
    assert "events.csv: an event of 'Dog' begins at 4.5 s of clip 'eval-00003', which has 4 s (1 such events)" in line
    assert "frames of 0.25s every 0.25 s, which cover 4 s (12 such clips)" in refused(events, "--clip-s", "10")
    assert "which cover 4 s" in refused(events, "--clip-s", "2")
    assert "events.csv:14: class 'Dig' is not in the vocabulary" in refused(events + "eval-00003,1,2,Dig\n")
    assert "not one of the 12 evaluated clips has an event" in refused(
        EVENTS + "".join(f"{clip},,,\n" for clip in CLIPS)
    )
    assert "is not a list of events with onset and offset" in refused("clip_id,labels\neval-00003,/m/b\n")
    assert "13 of 13 clips have no scores" in refused(EVENTS + "".join(f"c{i},1,2,/m/b\n" for i in range(13)))
    assert "scale '3s' is not there; there are: 0.25s, 2s" in refused(events, "--window", "3s")
    with pytest.raises(SystemExit):
        run(work, "--median-filter", "wide")
    assert "must be none, seconds, or a CSV file class_id,seconds, not 'wide'" in capsys.readouterr().err
    (work / "filters.csv").write_text("class_id,seconds\nDog,0.75\n")
    line = refused(events, "--median-filter", str(work / "filters.csv"))
    assert "filters.csv: no filter for 1 class: /m/c. Add a row for each" in line
    scores = np.full((12, 16, 1), 0.5)
    ScoreStore.write(work / "dogs.h5", CLIPS, ["/m/b"], {0.25: scores})
    line = refused(events, "--scores", str(work / "dogs.h5"))
    assert "dogs.h5: no scores for 1 of 2 classes with events: /m/c. Give the --vocabulary" in line
    scores[3, 2] = np.nan
    ScoreStore.write(work / "nan.h5", CLIPS, VOCABULARY.class_ids, {0.25: np.repeat(scores, 3, axis=2)})
    assert "clip 'eval-00003' has the score nan" in refused(events, "--scores", str(work / "nan.h5"))
    assert not (work / "detection").exists()


def test_without_sed_scores_eval_psds_is_left_out_with_a_word_and_refused_if_named(work, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(work, "--resamples", "0") == 0
    assert "psds_1" not in metrics(work)["rows"][0]["metrics"]
    assert "PSDS is left out: it needs sed_scores_eval (pip install 'pseudolabel[sed]')" in capsys.readouterr().err
    line = failure(capsys, work, "--metrics", "psds")
    assert "--metrics psds: needs the package sed_scores_eval, which is not installed" in line
    assert "pip install 'pseudolabel[sed]'" in line


def test_a_dry_run_writes_nothing(work, capsys):
    assert run(work, "--dry-run") == 0
    assert capsys.readouterr().out == f"would write {work / 'detection'}: 1 store against {work / 'events.csv'}\n"
    assert not (work / "detection").exists()


@pytest.fixture(scope="module")
def desed(shared_data):
    """Clip ids, classes, event list, true frames, and the frame scores of both systems, or a skipped test."""
    folder = shared_data / "desed"
    if not folder.is_dir():
        pytest.skip(f"real data is missing: {folder}")
    with np.load(folder / "desed_validation_teacher_student_levels.npz") as arrays:
        strong = arrays["strong"]
        scores = {
            name: np.clip((2 * arrays[name].astype(np.float32) - 1) / 100, 0, 1) for name in ("teacher", "student")
        }
    return folder, [name.removesuffix(".wav") for name in (folder / "clips.txt").read_text().split()], strong, scores


def test_real_teacher_and_student_have_the_figures_that_their_authors_report(desed, tmp_path):
    """Frames of 64 ms of 581 clips: clip mAP near .80, frame mAP near .70; the median filter changes little."""
    folder, clip_ids, strong, scores = desed
    vocabulary = Vocabulary.load(folder / "classes.txt")
    table = EventTable.read(folder / "metadata" / "validation" / "validation.tsv", vocabulary).select(clip_ids)
    lengths = np.full(len(clip_ids), 10.0)
    table, n_cut = table.within(lengths, "validation.tsv")
    assert (len(clip_ids), table.spans.n, n_cut) == (581, 2092, 3)
    figures = {}
    for name, raw in scores.items():
        frames = Frames.of(raw, 0.064, lengths_s=lengths, clip_ids=clip_ids)
        active = frames.active(table.spans)
        assert (active == strong).all()  # their frames hold what overlaps them, too
        found = frames.filtered(0.45).spans()
        figures[name] = [
            average_precision(strong.any(axis=1), frames.maxima()).mean(),
            average_precision(active.reshape(-1, 10), raw.reshape(-1, 10)).mean(),
            segment_counts(table.spans, found, lengths, 10).rates()["f1_macro"][0],
            event_counts(table.spans, found, (581, 10)).rates()["f1_macro"][0],
        ]
    assert figures["teacher"] == pytest.approx([0.8049, 0.6863, 0.6997, 0.4113], abs=5e-5)
    assert figures["student"] == pytest.approx([0.7840, 0.6507, 0.6744, 0.3982], abs=5e-5)


def test_psds_of_the_real_teacher_is_that_of_its_time(desed, tmp_path):
    """The baseline of DCASE 2021 had .342 and .527 on this set."""
    pytest.importorskip("sed_scores_eval", reason="sed_scores_eval is not installed: pseudolabel[sed]")
    folder, clip_ids, _, scores = desed
    ScoreStore.write(tmp_path / "teacher.h5", clip_ids, (folder / "classes.txt").read_text().split(),
                     {0.064: scores["teacher"]}, store="float32")  # fmt: skip
    options = evaluate_detection.DetectionOptions(
        scores=(tmp_path / "teacher.h5",), events=folder / "metadata" / "validation" / "validation.tsv",
        vocabulary=str(folder / "classes.txt"), clip_s=10.0, metrics=("psds",), resamples=0, out=tmp_path / "out",
    )  # fmt: skip
    evaluate_detection.evaluate_detection(options)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["rows"][0]["metrics"]
    assert [found["psds_1"], found["psds_2"], found["psds_score"]] == pytest.approx([0.3547, 0.5390, 1.0557], abs=5e-4)
