"""The benchmark of labels runs on drawn and on given lists, and draws what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pseudolabel.bench import main
from pseudolabel.benchmarks.drawn import draw_labels, draw_scores
from pseudolabel.benchmarks.plain import additions_in_a_loop, thresholds_in_a_loop
from pseudolabel.labels.enhancement import enhance
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.store import ScoreStore


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    vocabulary, ontology = Vocabulary.load("audioset"), Ontology.load()
    labels, path = draw_labels(20_000, vocabulary), tmp_path_factory.mktemp("drawn") / "scores.h5"
    draw_scores(path, labels, ontology, 0.373, "labels")
    return labels, ScoreStore.open(path), ontology


def test_the_25th_percentile_adds_the_share_that_scores_are_drawn_for(drawn):
    found = enhance(*drawn, EnhanceOptions("25p"))
    assert 0.33 < len(found.ledger) / drawn[0].matrix.nnz < 0.41


def test_the_plain_loop_adds_the_same(drawn):
    labels, scores, ontology = drawn
    some = labels.select(labels.clip_ids[:300])
    values = np.asarray(scores.clip_scores()[:300])
    relations = EnhanceOptions().relations(ontology, labels.vocabulary)
    added = additions_in_a_loop(some.matrix, values, relations, thresholds_in_a_loop(some.matrix, values, 25))
    found = enhance(some, values, ontology, EnhanceOptions("25p")).ledger.to_pylist()
    ids, classes = some.clip_ids, labels.vocabulary.class_ids
    assert {(ids[clip], classes[k]) for clip, k in added} == {(row["clip_id"], row["class_id"]) for row in found}
    assert added


@pytest.mark.parametrize("given", [False, True])
def test_every_stage_is_reported_and_drawn_scores_are_used_again(tmp_path, capsys, given):
    options = ["labels", "--work", str(tmp_path)]
    if given:
        draw_labels(200, Vocabulary.load("audioset")).write(tmp_path / "given.csv")
    options += ["--labels", str(tmp_path / "given.csv")] if given else ["--clips", "300"]
    for again in (False, True):
        assert main([*options, *["--overwrite"] * again]) == 0
        report = json.loads((tmp_path / "bench/labels/report.json").read_text())
        names = [stage["name"] for stage in report["stages"]]
        assert ("draw scores, once" in names) is not again
        assert names[-1] == "the whole command"
        assert all(stage["seconds"] > 0 for stage in report["stages"])
        assert report["facts"]["clips"] == (200 if given else 300)
        ratios = [stage["ratio"] for stage in report["stages"] if stage["ratio"] is not None]
        assert len(ratios) == 2  # to the plain loop, and of 16 bits to 32
    assert "thresholds, proposals and ledger" in capsys.readouterr().out


def test_an_own_vocabulary_and_ontology_are_those_of_the_whole_command(tmp_path):
    (tmp_path / "vocabulary.csv").write_text("class_id,name\nx,X\ny,Y\nz,Z\n")
    (tmp_path / "own.csv").write_text("class_id,name,child_ids,restrictions\nx,X,y;z,\ny,Y,,\nz,Z,,\n")
    own = ["--vocabulary", str(tmp_path / "vocabulary.csv"), "--ontology", str(tmp_path / "own.csv")]
    command = ["labels", "--work", str(tmp_path / "work"), "--clips", "300"]
    assert main(command) == main([*command, *own, "--overwrite"]) == 0
    report = json.loads((tmp_path / "work/bench/labels/report.json").read_text())
    assert report["facts"]["classes"] == 3
    run = json.loads((tmp_path / "work/bench/labels/enhanced-25p/run.json").read_text())
    assert run["options"]["ontology"] == str(tmp_path / "own.csv")
