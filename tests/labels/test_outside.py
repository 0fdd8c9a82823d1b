"""Every node outside the vocabulary is reported with what it does, and every class that is no node."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.labels.ontology import Node, Ontology
from pseudolabel.labels.outside import ROLES, Outside, outside, outside_figures, outside_lines
from pseudolabel.labels.vocabulary import Vocabulary

# sounds > animal > wild > wolf > howl, also animal > dog > howl, and wild > pack; weather > wind; wild is abstract.
CHILDREN = {
    "sounds": ("animal",), "animal": ("dog", "wild"), "dog": ("howl",), "wild": ("pack", "wolf"), "pack": (),
    "wolf": ("howl",), "howl": (), "weather": ("wind",), "wind": (),
}  # fmt: skip
TOY = Ontology.from_nodes(
    Node(name, name.title(), below, ("abstract",) if name == "wild" else ()) for name, below in CHILDREN.items()
)


def vocabulary_of(*ids: str) -> Vocabulary:
    return Vocabulary("toy", ids, tuple(class_id.upper() for class_id in ids), ids)


def test_each_role_of_a_small_ontology():
    rows = outside(TOY, vocabulary_of("wolf", "robot", "howl", "animal", "dog"))
    assert rows == (
        Outside("sounds", "Sounds", (), "top", (), ("animal",)),
        # lost is wolf's animal; howl's is found through dog
        Outside("wild", "Wild", ("abstract",), "joins", ("animal",), ("wolf",), 1, 1),
        Outside("pack", "Pack", (), "leaf", ("animal",), ()),
        Outside("weather", "Weather", (), "alone"),
        Outside("wind", "Wind", (), "alone"),
        Outside("robot", "ROBOT", (), "no node"),
    )
    assert {row.role for row in rows} == set(ROLES)
    assert rows[1].texts() == ["wild", "Wild", "abstract", "joins", "animal", "wolf", 1, 1]


def test_nearest_classes_stand_in_vocabulary_order_and_pairs_are_all_of_them():
    ids = ("a", "b", "x", "y")
    edges = {"b": ("hub",), "a": ("hub",), "hub": ("deep", "x"), "deep": ("y", "x"), "x": (), "y": ()}
    ontology = Ontology.from_nodes(Node(name, name, below) for name, below in edges.items())
    hub, deep = outside(ontology, vocabulary_of(*ids))
    assert (hub.parents, hub.children, hub.pairs) == (("a", "b"), ("x", "y"), 4)
    assert (deep.parents, deep.children, deep.pairs) == (("a", "b"), ("x", "y"), 4)
    assert outside_figures(ontology, (hub, deep)) == {
        "nodes": 6,
        "nodes_outside": {"joins": 2, "top": 0, "leaf": 0, "alone": 0},
        "pairs_through_outside": 4,
        "classes_without_node": [],
    }


def test_the_terminal_says_it_in_two_lines_or_none():
    vocabulary = vocabulary_of("wolf", "robot", "howl", "animal", "dog")
    first, second = outside_lines(outside_figures(TOY, outside(TOY, vocabulary)))
    assert "5 of 9 nodes are not classes (outside.csv): 1 between classes (1 pairs), 1 top, 1 leaf, 2 alone" in first
    assert "1 classes: nothing is proposed for them: ROBOT" in second
    assert outside_lines(outside_figures(TOY, outside(TOY, vocabulary_of(*CHILDREN)))) == []


@pytest.mark.parametrize(
    ("name", "n_outside", "roles", "direct", "children", "n_pairs", "lost"),
    [
        ("audioset", 632 - 527, {"joins": 6, "top": 24, "leaf": 53, "alone": 22}, 378, 427, 49, 835 - 767),
        ("fsd50k", 632 - 200, {"joins": 8, "top": 13, "leaf": 311, "alone": 100}, 172, 180, 10, 0),
    ],
)
def test_real_vocabularies_add_up(name, n_outside, roles, direct, children, n_pairs, lost):
    ontology, vocabulary = Ontology.load(), Vocabulary.load(name)
    rows = outside(ontology, vocabulary)
    figures = outside_figures(ontology, rows)
    assert len(rows) == sum(figures["nodes_outside"].values()) == n_outside
    assert figures["nodes_outside"] == roles
    assert figures["pairs_through_outside"] == children - direct
    assert sum(row.pairs for row in rows) == n_pairs  # FSD50K has nodes below each other that join the same pairs
    assert (ontology.direct_children(vocabulary).nnz, ontology.children(vocabulary).nnz) == (direct, children)
    assert sum(row.lost_by_psla for row in rows) == lost


def test_the_published_profile_loses_music_at_three_nodes():
    rows = {row.name: row for row in outside(Ontology.load(), Vocabulary.load("audioset"))}
    assert {name: row.lost_by_psla for name, row in rows.items() if row.lost_by_psla} == {
        "Music genre": 52, "Music mood": 7, "Music role": 9,
    }  # fmt: skip
    both = rows["Musical concepts"]  # abstract and blacklist: looked through there too
    assert (both.restrictions, both.role, both.pairs, both.lost_by_psla) == (("abstract", "blacklist"), "joins", 1, 0)


def test_esc50_names_the_classes_without_a_node():
    rows = outside(Ontology.load(), Vocabulary.load("esc50"))
    absent = [row.name for row in rows if row.role == "no node"]
    assert absent == ["hen", "insects", "drinking_sipping", "mouse_click", "can_opening", "washing_machine", "hand_saw"]
    assert len(rows) == 632 - 43 + 7


@settings(max_examples=40)
@given(st.data())
def test_rows_equal_a_recursive_walk_on_random_graphs(data):
    n = data.draw(st.integers(1, 8))
    edges = data.draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda e: e[0] < e[1])))
    classes = list(map(str, data.draw(st.permutations(range(n)))[: data.draw(st.integers(1, n))]))
    abstract = set(map(str, data.draw(st.sets(st.integers(0, n - 1)))))
    below = {str(k): tuple(str(c) for p, c in sorted(edges) if p == k) for k in range(n)}
    above = {k: tuple(p for p in below if k in below[p]) for k in below}
    nodes = [Node(k, k, below[k], ("abstract",) if k in abstract else ()) for k in below]
    ontology, vocabulary = Ontology.from_nodes(nodes), vocabulary_of(*classes)

    def near(k, step):
        return {found for met in step[k] for found in ({met} if met in classes else near(met, step))}

    def far(k, step, through=lambda met: True):
        return {found for met in step[k] if through(met) for found in {met} | far(met, step, through)}

    rows = {row.class_id: row for row in outside(ontology, vocabulary)}
    assert list(rows) == [k for k in below if k not in classes]
    for k, row in rows.items():
        assert (set(row.parents), set(row.children)) == (near(k, above), near(k, below))
        assert row.role == {(1, 1): "joins", (0, 1): "top", (1, 0): "leaf", (0, 0): "alone"}[
            bool(row.parents), bool(row.children)
        ]  # fmt: skip
        lost = {
            (label, ancestor)
            for label in far(k, below) & set(classes)
            for ancestor in far(k, above) & set(classes)
            if ancestor not in far(label, above, lambda met: met not in abstract)
        }
        assert row.lost_by_psla == (len(lost) if k in abstract else 0)
    related = {(p, c) for p in classes for c in below[p] if c in classes}
    related |= {(p, c) for row in rows.values() for p in row.parents for c in row.children}
    assert Counter(related) == Counter((p, c) for p in classes for c in near(p, below))
