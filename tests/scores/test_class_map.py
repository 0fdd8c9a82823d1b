"""Class maps: the score of a target is the maximum over its classes, worked out by hand; the shipped maps are sound."""

from __future__ import annotations

import numpy as np
import pytest

from pseudolabel.errors import InputError, UnknownClass
from pseudolabel.labels.vocabulary import Vocabulary, table_path
from pseudolabel.records import sha256
from pseudolabel.scores.class_map import BUILT_IN_MAPS, ClassMap

TARGETS = Vocabulary("targets", ("dog", "rain", "can", "pet"), ("Dog", "Rain", "Can", "Pet"), ("", "", "", ""))


def written(tmp_path, text: str):
    path = tmp_path / "map.csv"
    path.write_text("class_id,target_id\n" + text)
    return path


def test_a_target_has_the_highest_score_of_its_classes_and_a_class_may_stand_for_several(tmp_path):
    path = written(tmp_path, "/m/drops,rain\n/m/bark,dog\n/m/dog,dog\n/m/dog,pet\n")
    classes = ClassMap.read(path, TARGETS)
    assert list(classes.classes_of) == ["dog", "rain", "pet"] and classes.absent == ("can",)
    scores = np.array([[0.1, 0.7, 0.4], [0.2, 0.3, 0.9]])  # of bark, drops, dog
    found = classes.apply(scores, ("/m/bark", "/m/drops", "/m/dog"), "model")
    np.testing.assert_allclose(found, [[0.4, 0.7, 0.4], [0.9, 0.3, 0.9]], rtol=1e-6)
    assert found.dtype == np.float32
    assert "1 of 4 classes have no counterpart" in classes.report() and classes.report().endswith("can")


def test_many_targets_and_classes_equal_the_slow_maximum(tmp_path):
    rng = np.random.default_rng(0)
    targets = Vocabulary("t", *(tuple(f"t{i}" for i in range(12)) for _ in range(2)), ("",) * 12)
    pairs = sorted({(int(k), int(t)) for k, t in zip(rng.integers(0, 9, 40), rng.integers(0, 12, 40), strict=True)})
    classes = ClassMap.read(written(tmp_path, "".join(f"c{k},t{t}\n" for k, t in pairs)), targets)
    order = [f"c{k}" for k in rng.permutation(9)]
    scores = rng.random((5, 9)).astype(np.float16)
    slow = [[max(scores[n][order.index(f"c{k}")] for k, t in pairs if f"t{t}" == target) for target in
             classes.classes_of] for n in range(5)]  # fmt: skip
    np.testing.assert_array_equal(classes.apply(scores, order, ""), np.array(slow, np.float32))


def test_classes_that_no_model_answers_are_left_out_and_named(tmp_path):
    path = written(tmp_path, "/m/bark,dog\n/m/dog,dog\n/m/drops,rain\n")
    classes = ClassMap.read(path, TARGETS, {"/m/dog"})
    assert dict(classes.classes_of) == {"dog": ("/m/dog",)}
    assert classes.absent == ("rain", "can", "pet") and classes.unanswered == ("/m/bark", "/m/drops")
    assert "2 classes of the map are not answered: /m/bark, /m/drops" in classes.report()
    with pytest.raises(InputError, match="no class of the map is answered: /m/bark"):
        ClassMap.read(path, TARGETS, {"/m/other"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/m/a,dog\n,rain\n", "map.csv:3: a class or a target is empty"),
        ("/m/a,\n", "map.csv:2: a class or a target is empty"),
        ("/m/a,dog\n/m/a,dog\n", "map.csv:3: '/m/a' for 'dog' is listed twice"),
        ("/m/a,dgo\n", "map.csv:2: class 'dgo' is not in the vocabulary"),
        ("", "the map has no rows"),
    ],
)
def test_bad_maps_are_refused_with_their_place(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        ClassMap.read(written(tmp_path, text), TARGETS)


def test_without_a_map_each_class_stands_for_itself_and_must_be_answered():
    classes = ClassMap.identity(TARGETS)
    scores = np.array([[0.1, 0.2, 0.3, 0.4]])
    found = classes.apply(scores, ("pet", "can", "rain", "dog"), "m")
    np.testing.assert_allclose(found, [[0.4, 0.3, 0.2, 0.1]], rtol=1e-6)
    assert classes.report() == ""
    with pytest.raises(UnknownClass, match="m: 1 of 4 classes have no scores: can"):
        classes.apply(scores[:, :3], ("pet", "rain", "dog"), "m")


@pytest.mark.parametrize(("name", "n_targets", "n_rows"), [("esc50", 44, 45), ("fsd50k", 192, 192)])
def test_the_shipped_maps_name_classes_of_both_sides(name, n_targets, n_rows):
    audioset, targets = Vocabulary.load("audioset"), Vocabulary.load(name)
    classes = ClassMap.read(name, targets, set(audioset.class_ids))
    assert name in BUILT_IN_MAPS and len(classes.classes_of) == n_targets and not classes.unanswered
    assert sum(map(len, classes.classes_of.values())) == n_rows
    assert len(classes.absent) == len(targets) - n_targets


@pytest.mark.parametrize("file", sorted(BUILT_IN_MAPS.values()))
def test_checksums_in_the_readme_are_those_of_the_shipped_maps(file):
    assert f"{sha256(table_path(file))}  {file}" in table_path("README.md").read_text(encoding="utf-8")


def test_esc50s_map_has_every_exact_counterpart():
    targets = Vocabulary.load("esc50")
    classes = ClassMap.read("esc50", targets)
    for category, node in zip(targets.class_ids, targets.ontology_ids, strict=True):
        assert not node or node in classes.classes_of[category], category
    assert {"drinking_sipping", "can_opening", "washing_machine"} <= set(classes.absent)


def test_classes_written_by_name_are_those_that_the_scores_write_by_id(tmp_path):
    (tmp_path / "classes.txt").write_text("Dog\nSpeech\nmy noise\n")
    named, scores = Vocabulary.load(tmp_path / "classes.txt"), np.array([[0.1, 0.2, 0.3]])
    assert named.own_ids(("/m/09x0r", "my noise", "/m/0bt9lr", "other")) == ("Speech", "my noise", "Dog", "other")
    assert named.own_ids(("Dog", "/m/0bt9lr")) == ("Dog", "/m/0bt9lr")  # two columns of one class
    found = ClassMap.identity(named).apply(scores, ("/m/09x0r", "my noise", "/m/0bt9lr"), "m")
    np.testing.assert_allclose(found, [[0.3, 0.1, 0.2]], rtol=1e-6)
    found = ClassMap.identity(TARGETS).apply(np.array([[0.1, 0.2, 0.3, 0.4]]), TARGETS.names, "m")
    np.testing.assert_allclose(found, [[0.1, 0.2, 0.3, 0.4]], rtol=1e-6)
