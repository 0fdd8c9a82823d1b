"""The recipe on DESED's teacher: it runs, and the figures of its table are those of slow, obvious loops."""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "desed_teacher.sh"
GROUPS = {
    "Animals": ["Cat", "Dog"],
    "Kitchen": ["Blender", "Dishes", "Frying", "Running_water"],
    "Domestic_machines": ["Alarm_bell_ringing", "Electric_shaver_toothbrush", "Vacuum_cleaner"],
}


def run_recipe(work: Path, data: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "DATA": str(data), "WORK": str(work), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return subprocess.run(["bash", str(RECIPE)], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def desed(shared_data) -> Path:
    folder = shared_data / "desed"
    if not folder.is_dir():
        pytest.skip(f"real data is missing: {folder}")
    return folder


@pytest.fixture(scope="module")
def work(desed, tmp_path_factory) -> Path:
    """The work folder of one run."""
    work = tmp_path_factory.mktemp("desed") / "work"
    run = run_recipe(work, desed)
    assert run.returncode == 0, run.stderr[-2000:]
    assert (work / "recovered.txt").read_text() in run.stdout
    return work


@pytest.fixture(scope="module")
def archive(desed) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Clip ids, the ten classes, the teacher's frame scores, the true frames."""
    with np.load(desed / "desed_validation_teacher_student_levels.npz") as arrays:
        levels, strong = arrays["teacher"].astype(np.float64), arrays["strong"]
    clip_ids = [name.removesuffix(".wav") for name in (desed / "clips.txt").read_text().split()]
    return clip_ids, (desed / "classes.txt").read_text().split(), np.maximum((2 * levels - 1) / 100, 0), strong


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def read_labels(path: Path) -> dict[str, set[str]]:
    return {row["clip_id"]: set(filter(None, row["labels"].split(";"))) for row in read_rows(path)}


def test_truth_and_scores_are_those_of_the_archive(work, archive):
    from pseudolabel.scores.store import ScoreStore

    clip_ids, classes, scores, strong = archive
    truth, stores = (
        read_labels(work / "truth.csv"),
        {n: ScoreStore.open(work / f"scores-{n}.h5") for n in ("mean", "max")},
    )
    assert list(truth) == clip_ids
    for clip, clip_id in enumerate(clip_ids):
        held = {name for k, name in enumerate(classes) if strong[clip, :, k].any()}
        assert truth[clip_id] == held | {parent for parent, children in GROUPS.items() if held & set(children)}
    for name, store in stores.items():
        assert store.clip_ids == tuple(clip_ids) and store.attributes["out_of_fold"]
        pooled = getattr(scores, name)(axis=1)
        for column, class_id in enumerate(store.class_ids):
            wanted = pooled[:, [classes.index(child) for child in GROUPS.get(class_id, [class_id])]].max(axis=1)
            np.testing.assert_allclose(store.clip_scores()[:, column], wanted, atol=5e-4)


def test_labels_are_dropped_as_the_kinds_say(work):
    truth = read_labels(work / "truth.csv")
    parent_of = {child: parent for parent, children in GROUPS.items() for child in children}
    for kind in ("children", "parents", "events"):
        given = read_labels(work / f"labels-{kind}.csv")
        dropped = [(clip_id, name) for clip_id in truth for name in truth[clip_id] - given[clip_id]]
        assert all(given[clip_id] <= truth[clip_id] for clip_id in truth) and dropped
        if kind == "events":
            n_may = sum(len(held - set(GROUPS)) for held in truth.values())
            dropped = [(clip_id, name) for clip_id, name in dropped if name not in GROUPS]
            for held in given.values():
                assert held & set(GROUPS) == {parent_of[name] for name in held if name in parent_of}
        else:
            may = set(parent_of) if kind == "children" else set(GROUPS)
            assert {name for _, name in dropped} == may
            n_may = sum(len(held & may) for held in truth.values())
        assert 0.25 < len(dropped) / n_may < 0.35


def test_a_cell_of_the_table_is_what_a_slow_loop_finds(work):
    """Events dropped, maximum over frames, 25p: thresholds, candidates and judgement by hand, for each drawing."""
    from importlib.util import module_from_spec, spec_from_file_location

    from pseudolabel.labels.ontology import Ontology
    from pseudolabel.labels.table import LabelTable
    from pseudolabel.labels.vocabulary import Vocabulary
    from pseudolabel.scores.store import ScoreStore

    spec = spec_from_file_location("desed_teacher", RECIPE.with_suffix(".py"))
    recipe = module_from_spec(spec)
    sys.modules[spec.name] = recipe  # dataclasses look their module up
    spec.loader.exec_module(recipe)
    store = ScoreStore.open(work / "scores-max.h5")
    truth = LabelTable.read(work / "truth.csv", Vocabulary.load(work / "vocabulary.csv"))
    score = {
        (clip_id, name): float(store.clip_scores()[row, column])
        for row, clip_id in enumerate(store.clip_ids)
        for column, name in enumerate(store.class_ids)
    }
    ontology, drawings = Ontology.load(work / "ontology.csv"), []
    for seed in range(5):
        labels = recipe.incomplete(truth, ontology, "events", seed)
        given = dict(zip(truth.clip_ids, map(set, labels.label_sets()), strict=True))
        drawings.append(loop(given, dict(zip(truth.clip_ids, truth.label_sets(), strict=True)), score))
    assert drawings[0] == loop(read_labels(work / "labels-events.csv"), read_labels(work / "truth.csv"), score)
    (row,) = [
        row
        for row in read_rows(work / "recovered.csv")
        if (row["dropped"], row["scores"], row["rule"]) == ("events", "max", "25p")
    ]
    for name in drawings[0]:
        values = [drawing[name] for drawing in drawings]
        assert float(row[name]) == pytest.approx(statistics.fmean(values), rel=1e-5)
        assert float(row[f"{name}_sd"]) == pytest.approx(statistics.stdev(values), rel=1e-4)


def loop(
    given: dict[str, set[str]], truth: dict[str, set[str]], score: dict[tuple[str, str], float]
) -> dict[str, float]:
    """Return what 25p adds to `given`, and how much of it is right."""
    threshold = {}
    for name in {name for held in given.values() for name in held}:
        carried = sorted(score[clip_id, name] for clip_id in given if name in given[clip_id])
        place = (len(carried) - 1) / 4
        low, high = carried[int(place)], carried[min(int(place) + 1, len(carried) - 1)]
        threshold[name] = low + (high - low) * (place - int(place))
    n_missing = n_proposable = n_candidates = n_added = n_right = 0
    for clip_id, held in given.items():
        proposed = {child for name in held for child in GROUPS.get(name, [])}
        proposed |= {parent for parent, children in GROUPS.items() if held & set(children)}
        candidates = proposed - held
        added = {name for name in candidates if score[clip_id, name] > threshold[name]}
        n_missing += len(set(truth[clip_id]) - held)
        n_proposable += len(candidates & set(truth[clip_id]))
        n_candidates += len(candidates)
        n_added += len(added)
        n_right += len(added & set(truth[clip_id]))
    return {
        "missing": n_missing, "proposable": n_proposable, "candidates": n_candidates, "added": n_added,
        "precision": n_right / n_added, "recall_proposable": n_right / n_proposable, "recall": n_right / n_missing,
    }  # fmt: skip


def test_percentiles_bring_back_what_their_number_says(work):
    """A percentile p of the carriers' scores lets about 1 - p of what was dropped through, and more wrong ones."""
    for kind in ("children", "parents"):
        for scores in ("mean", "max"):
            rows = {row["rule"]: row for row in read_rows(work / "recovered.csv")
                    if (row["dropped"], row["scores"]) == (kind, scores)}  # fmt: skip
            recall, precision = (
                [float(rows[rule][name]) for rule in ("25p", "10p", "5p")] for name in ("recall", "precision")
            )
            assert recall == pytest.approx([0.75, 0.9, 0.95], abs=0.05)
            assert precision == sorted(precision, reverse=True)
        assert all(float(rows[rule]["precision_II"]) == 1 for rule in rows if kind == "parents")


def test_without_the_data_the_recipe_says_what_it_needs(tmp_path):
    for data, line in (("", "DATA=FOLDER: give the folder"), (tmp_path, "levels.npz: no such file. Give the folder")):
        run = run_recipe(tmp_path / "work", data)
        assert run.returncode == 2 and line in run.stderr and "Traceback" not in run.stderr
