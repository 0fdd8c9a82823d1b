"""The tree of the classes: every class stands in it once, below its parents, with its numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pseudolabel.errors import InputError
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.reports.tree import OUTSIDE, Branch, class_tree
from pseudolabel.reports.tree_lines import tree_lines
from pseudolabel.reports.watch import ClassClips

# Sounds (abstract) over Animal and Thing; Bell, and Engine over Car, are children of both; Unheard has no class at all.
ONTOLOGY = """class_id,name,child_ids,restrictions
s,Sounds,a;t;u,abstract
a,Animal,d;b;e,
t,Thing,b;e,abstract
e,Engine,c,abstract
d,Dog,,
b,Bell,,
c,Car,,
u,Unheard,,
"""
IDS, NAMES = ("c", "b", "a", "d", "x"), ("Car", "Bell", "Animal", "Dog", "Xylophone")


@pytest.fixture
def ontology(tmp_path):
    path = tmp_path / "ontology.csv"
    path.write_text(ONTOLOGY)
    return path


def test_every_class_stands_below_its_parents_and_again_where_it_has_another(ontology):
    vocabulary = Vocabulary("toy", IDS, NAMES, ("c", "b", "a", "d", ""))
    bell, dog, car = Branch("Bell", 1, (), (1,), "b"), Branch("Dog", 3, (), (3,), "d"), Branch("Car", 0, (), (0,), "c")
    engine = Branch("Engine", None, (car,), (0,), "e")
    thing = Branch("Thing", None, (replace(bell, again=True), replace(engine, children=(), again=True)), (0, 1), "t")
    assert class_tree(vocabulary, ontology) == (
        Branch("Sounds", None, (Branch("Animal", 2, (dog, bell, engine), (0, 1, 2, 3), "a"), thing), (0, 1, 2, 3), "s"),
        Branch(OUTSIDE, None, (Branch("Xylophone", 4, (), (4,)),), (4,)),
    )


@pytest.mark.parametrize("name", ["audioset", "fsd50k", "esc50"])
def test_no_class_of_the_built_in_vocabularies_is_lost_or_counted_twice(name):
    vocabulary, columns, waiting = Vocabulary.load(name), [], [*class_tree(Vocabulary.load(name))]
    while waiting:
        branch = waiting.pop()
        waiting += branch.children
        columns += [] if branch.column is None or branch.again else [branch.column]
    assert sorted(columns) == list(range(len(vocabulary)))


def test_classes_outside_audioset_have_no_tree_but_a_named_ontology_must_hold_one(ontology):
    other = Vocabulary("other", ("p", "q"), ("P", "Q"), ("", ""))
    assert class_tree(other) == ()
    with pytest.raises(InputError, match="not one class of the vocabulary is in the ontology"):
        class_tree(other, ontology)


def test_lines_have_the_numbers_of_their_class_and_groups_the_mean_of_theirs(made_up, ontology):
    tree = class_tree(Vocabulary("toy", IDS, NAMES, ("c", "b", "a", "d", "")), ontology)
    clips = [ClassClips([(f"with {k}", 0.125)], [(f"without {k}", 0.875)]) for k in range(5)]
    evaluation = replace(made_up(ids=IDS, names=NAMES), tree=tree, class_clips=clips)
    ap = evaluation.row("psl_2s").class_mean("truth", "ap")
    judged = evaluation.enhanced["enhanced-25p"]["by_class"]
    sounds, outside = tree_lines(evaluation)
    assert sounds.share == pytest.approx(ap[:4].mean()) and sounds.note == "4 classes"  # Bell counts once
    assert outside.share == pytest.approx(ap[4]) and sounds.cells == ("",) * 4
    animal, thing = sounds.children
    engine = animal.children[2]
    assert [(line.again, line.place, line.clips) for line in thing.children] == [
        (True, "class-1", None),
        (True, engine.place, None),
    ]
    (car,) = engine.children
    assert car.ap == f"{ap[0]:.3f}".replace("0.", ".") and car.place == "class-0"
    assert car.cells[1:3] == (str(judged[0]["before"]), f"+{judged[0]['added']}")
    assert car.cells[3] == f"{judged[0]['precision']:.2f}".replace("0.", ".")
    assert car.clips == ([("with 0", ".12")], [("without 0", ".88")])
    assert [line.name for line in animal.children] == ["Dog", "Bell", "Engine"]
    assert thing.share == pytest.approx(ap[:2].mean()) and thing.note == "2 classes"  # Bell and Car, which open above
    without = replace(evaluation, enhanced={})
    assert [len(line.cells) for line in tree_lines(without)] == [1, 1]
