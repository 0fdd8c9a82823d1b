"""Relations come from the whole graph and are limited to the vocabulary afterwards."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.errors import InputError
from pseudolabel.labels.ontology import Node, Ontology
from pseudolabel.labels.vocabulary import Vocabulary

# wild is abstract and no class; howl is a child of dog and of wolf.
TOY = """class_id,name,child_ids,restrictions
animal,Animal,dog;wild,
dog,Dog,bark;howl,
wild,Wild animals,wolf,abstract
wolf,Wolf,howl,
bark,Bark,,
howl,Howl,,
vehicle,Vehicle,,blacklist;abstract
"""


def vocabulary_of(*ids: str) -> Vocabulary:
    return Vocabulary("toy", ids, ids, ids)


def pairs(matrix, vocabulary: Vocabulary) -> set[tuple[str, str]]:
    assert matrix.format == "csr"
    assert matrix.dtype == bool
    assert matrix.has_sorted_indices
    ids = vocabulary.class_ids
    return {(ids[row], ids[column]) for row, column in zip(*matrix.nonzero(), strict=True)}


@pytest.fixture
def toy(tmp_path) -> Ontology:
    (tmp_path / "toy.csv").write_text(TOY)
    return Ontology.load(tmp_path / "toy.csv")


SIX = vocabulary_of("vehicle", "animal", "dog", "wolf", "bark", "howl")


def test_children_look_through_nodes_outside_the_vocabulary(toy):
    expected = {("animal", "dog"), ("animal", "wolf"), ("dog", "bark"), ("dog", "howl"), ("wolf", "howl")}
    assert pairs(toy.children(SIX), SIX) == expected


def test_parents_are_the_children_turned(toy):
    assert pairs(toy.parents(SIX), SIX) == {(child, parent) for parent, child in pairs(toy.children(SIX), SIX)}


def test_ancestors_are_all_reached_through_any_node(toy):
    expected = {"dog": {"animal"}, "wolf": {"animal"}, "bark": {"dog", "animal"}, "howl": {"dog", "wolf", "animal"}}
    found = pairs(toy.ancestors(SIX), SIX)
    assert found == {(label, ancestor) for label, ancestors in expected.items() for ancestor in ancestors}


def test_children_stop_at_the_nearest_class_on_every_path(toy):
    three = vocabulary_of("animal", "howl", "wolf")
    # through dog, howl is nearest to animal although another path meets wolf first
    assert pairs(toy.children(three), three) == {("animal", "howl"), ("animal", "wolf"), ("wolf", "howl")}


def test_class_without_ontology_id_has_no_relations(toy):
    vocabulary = Vocabulary("v", ("a", "hound", "x"), ("a", "hound", "x"), ("animal", "dog", ""))
    assert pairs(toy.children(vocabulary), vocabulary) == {("a", "hound")}


def test_graph_keeps_names_restrictions_and_order(toy):
    assert list(toy.graph) == ["animal", "dog", "wild", "wolf", "bark", "howl", "vehicle"]
    assert toy.graph.nodes["wild"] == {"name": "Wild animals", "restrictions": ("abstract",)}
    assert toy.graph.nodes["vehicle"]["restrictions"] == ("blacklist", "abstract")


def test_audioset_table_has_the_published_relations():
    ontology, vocabulary = Ontology.load(), Vocabulary.load("audioset")
    assert (ontology.graph.number_of_nodes(), ontology.graph.number_of_edges()) == (632, 670)
    assert sum(degree > 1 for _, degree in ontology.graph.in_degree()) == 38
    assert ontology.children(vocabulary).nnz == 427
    assert ontology.ancestors(vocabulary).nnz == 835


def test_published_json_gives_the_same_graph(shared_data):
    published, own = Ontology.load(shared_data / "audioset" / "ontology.json"), Ontology.load()
    assert list(published.graph.nodes(data=True)) == list(own.graph.nodes(data=True))
    assert list(published.graph.edges) == list(own.graph.edges)
    vocabulary = Vocabulary.load("audioset")
    assert published.children(vocabulary).nnz == 427
    assert published.ancestors(vocabulary).nnz == 835


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_relations_equal_a_recursive_walk_on_random_graphs(data):
    n = data.draw(st.integers(1, 9))
    edges = data.draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda e: e[0] < e[1])))
    classes = data.draw(st.permutations(range(n)))[: data.draw(st.integers(1, n))]
    below = {parent: [child for above, child in sorted(edges) if above == parent] for parent in range(n)}
    nodes = [Node(str(k), f"name {k}", tuple(map(str, below[k]))) for k in data.draw(st.permutations(range(n)))]
    ontology, vocabulary = Ontology.from_nodes(nodes), vocabulary_of(*map(str, classes))

    def nearest_below(node):
        return {found for child in below[node] for found in ({child} if child in classes else nearest_below(child))}

    def all_below(node):
        return {found for child in below[node] for found in {child} | all_below(child)}

    expected = {(str(k), str(child)) for k in classes for child in nearest_below(k)}
    assert pairs(ontology.children(vocabulary), vocabulary) == expected
    expected = {(str(child), str(k)) for k in classes for child in all_below(k) if child in classes}
    assert pairs(ontology.ancestors(vocabulary), vocabulary) == expected
    assert np.array_equal(ontology.parents(vocabulary).toarray(), ontology.children(vocabulary).toarray().T)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "bark;howl",
            "barkk;howl",
            r"toy.csv:3: child 'barkk' of 'dog' is not a node; nearest: 'bark' \(Bark\)\. Correct the id, or add",
        ),
        (
            "Bark,,",
            "Bark,animal,",
            r"toy.csv:2: the ontology has a cycle: animal > dog > bark > animal\. Remove one of these",
        ),
        ("Bark,,", "Bark,bark,", r"toy.csv:6: the ontology has a cycle: bark > bark\. Remove"),
        ("wolf,Wolf", "dog,Wolf", r"toy.csv:5: node 'dog' is given twice, first at .*toy.csv:3\. Keep one of them"),
        ("wolf,Wolf", ",Wolf", r"toy.csv:5: the node 'Wolf' has no id\. Give it one"),
        ("child_ids", "children", r"toy.csv:1: column 'child_ids' is missing; columns found: .*\. The header needs"),
        ("wolf,Wolf,", "wolf,Wolf", r"toy.csv:5: row has 3 columns, the header 4"),
        (TOY.partition("\n")[2], "", r"toy.csv: the ontology has no nodes"),
    ],
)
def test_bad_tables_are_refused_with_their_line(tmp_path, old, new, message):
    (tmp_path / "toy.csv").write_text(TOY.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        Ontology.load(tmp_path / "toy.csv")


def json_node(class_id: object, *child_ids: object) -> dict:
    return {"id": class_id, "name": f"name of {class_id}", "child_ids": list(child_ids), "restrictions": []}


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [json_node("dog", "bark"), json_node("bark", "dog")],
            r"o\.json, node 0: the ontology has a cycle: dog > bark > dog\. Remove one of these from the child ids",
        ),
        (
            [json_node("dog"), json_node("bark", "dogg")],
            r"o\.json, node 1: child 'dogg' of 'bark' is not a node; nearest: 'dog' \(name of dog\)\. Correct the id",
        ),
        (
            [json_node("dog"), json_node("dog")],
            r"o\.json, node 1: node 'dog' is given twice, first at .*o\.json, node 0\. Keep one of them",
        ),
        (
            [json_node("dog", ["bark"])],
            r"o\.json: .\['bark'\]. among the 'child_ids' of node 0 is not text\. Give the pub",
        ),
        ([json_node("dog", 3)], r"o\.json: '3' among the 'child_ids' of node 0 is not text"),
        ([json_node(3)], r"o\.json: node 0 has no 'id'\. Give the published ontology\.json"),
        ([json_node("")], r"o\.json, node 0: the node 'name of ' has no id"),
        ([], r"o\.json: the ontology has no nodes"),
    ],
)
def test_bad_nodes_of_a_json_ontology_are_refused_with_their_number(tmp_path, nodes, message):
    (tmp_path / "o.json").write_text(json.dumps(nodes))
    with pytest.raises(InputError, match=message):
        Ontology.load(tmp_path / "o.json")


@pytest.mark.parametrize(
    "content",
    ["{", json.dumps([{"id": "a", "name": "A", "child_ids": []}]), "[3]", '{"id": 3}', "[" * 100_000],
)
def test_bad_json_is_refused(tmp_path, content):
    (tmp_path / "o.json").write_text(content)
    with pytest.raises(InputError, match=r"o\.json(:1)?: .*published ontology\.json"):
        Ontology.load(tmp_path / "o.json")


def test_vocabulary_of_another_ontology_is_refused(toy):
    with pytest.raises(InputError, match="not one class of the vocabulary is in the ontology"):
        toy.children(vocabulary_of("x", "y"))
    with pytest.raises(InputError, match=r"ontology id 'dogg' of class 'a' is not a node; nearest: 'dog' \(Dog\)"):
        toy.children(Vocabulary("v", ("a", "b"), ("a", "b"), ("dogg", "wolf")))


def test_relations_of_a_chain_of_thousands_of_classes_take_little_memory():
    n = 3000
    ids = [f"k{k}" for k in range(n)]
    chain = Ontology.from_nodes(Node(ids[k], ids[k], tuple(ids[k + 1 : k + 2])) for k in range(n))
    vocabulary = Vocabulary("chain", *(tuple(ids),) * 3)
    tracemalloc.start()
    above, below = chain.ancestors(vocabulary), chain.descendants(vocabulary)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert above.nnz == below.nnz == n * (n - 1) // 2
    assert peak < 30 * above.nnz  # bytes
    assert above[[n - 1]].indices.tolist() == list(range(n - 1)) and not above[[0]].nnz
    assert chain.children(vocabulary).nnz == n - 1
