"""Ontology: which sound class is a kind of which; the whole graph is searched before limiting it to a vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np
from scipy import sparse

from pseudolabel.errors import InputError, nearest
from pseudolabel.labels.vocabulary import Vocabulary, table_path
from pseudolabel.tables import read_csv, read_json


@dataclass(frozen=True)
class Node:
    """One ontology node as read from a file, with its direct children and its place in the file."""

    class_id: str
    name: str
    child_ids: tuple[str, ...]
    restrictions: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True, eq=False)
class Ontology:
    """A directed acyclic graph of classes, parent -> child, with the node attributes `name` and `restrictions`."""

    graph: nx.DiGraph

    @classmethod
    def load(cls, path: str | Path | None = None) -> Ontology:
        """Read the project's AudioSet ontology table (default), another such table, or the published ontology.json.

        Raises:
            InputError: a column is missing, a node is listed twice, a child id has no node, or there is a cycle.
        """
        path = table_path("audioset.csv") if path is None else Path(path)
        return cls.from_nodes(_json_nodes(path) if path.suffix == ".json" else _csv_nodes(path), path)

    @classmethod
    def from_nodes(cls, nodes: Iterable[Node], place: object = "") -> Ontology:
        """Build the graph, in the order of `nodes`; errors that concern no single node name `place`."""
        nodes = list(nodes)
        graph, place_of = nx.DiGraph(), {}
        for node in nodes:
            if not node.class_id:
                raise InputError(f"the node {node.name!r} has no id", node.place, "Give it one.")
            if node.class_id in graph:
                first = f", first at {place_of[node.class_id]}" if node.place else ""
                raise InputError(f"node {node.class_id!r} is given twice{first}", node.place, "Keep one of them.")
            place_of[node.class_id] = node.place
            graph.add_node(node.class_id, name=node.name, restrictions=node.restrictions)
        for node in nodes:
            for child in node.child_ids:
                if child not in graph:
                    hint = _nearest_node(child, graph)
                    message = f"child {child!r} of {node.class_id!r} is not a node{hint}"
                    raise InputError(message, node.place, "Correct the id, or add the node.")
                graph.add_edge(node.class_id, child)
        if not nodes:
            raise InputError("the ontology has no nodes", place)
        if not nx.is_directed_acyclic_graph(graph):
            cycle = [parent for parent, _ in nx.find_cycle(graph)]
            message = f"the ontology has a cycle: {' > '.join([*cycle, cycle[0]])}"
            raise InputError(message, place_of[cycle[0]] or place, "Remove one of these from the child ids.")
        return cls(graph)

    def children(self, vocabulary: Vocabulary | str | Path) -> sparse.csr_array:
        """Return (K, K) bool, [parent, child]: each class's nearest descendants in the vocabulary.

        Paths pass through nodes outside the vocabulary: 427 pairs among AudioSet's 527 classes.
        """
        vocabulary = Vocabulary.of(vocabulary)
        column_of = self.columns(vocabulary)
        pairs = [
            (column, child)
            for node, column in column_of.items()
            for child in nearest_columns(node, self.graph.successors, column_of)
        ]
        return _relation(pairs, len(vocabulary))

    def parents(self, vocabulary: Vocabulary | str | Path) -> sparse.csr_array:
        """Return (K, K) bool, [class, parent]: each class's nearest ancestors; the transpose of `children`."""
        return self.children(vocabulary).T.tocsr()

    def ancestors(self, vocabulary: Vocabulary | str | Path) -> sparse.csr_array:
        """Return (K, K) bool, [class, ancestor]: all ancestors in the vocabulary, through any node.

        835 pairs among AudioSet's 527 classes.
        """
        vocabulary = Vocabulary.of(vocabulary)
        return _all_ancestors(self.graph, self.columns(vocabulary), len(vocabulary))

    def descendants(self, vocabulary: Vocabulary | str | Path) -> sparse.csr_array:
        """Return (K, K) bool, [class, descendant]: all descendants in the vocabulary; the transpose of `ancestors`."""
        return self.ancestors(vocabulary).T.tocsr()

    def direct_children(self, vocabulary: Vocabulary | str | Path, skipped: Iterable[str] = ()) -> sparse.csr_array:
        """Return (K, K) bool, [parent, child]: direct children only, none below nodes outside the vocabulary.

        Type I of PSLA's published code: 378 pairs among AudioSet's 527 classes. Nodes in `skipped` propose nothing.
        """
        vocabulary = Vocabulary.of(vocabulary)
        column_of, skipped = self.columns(vocabulary), set(skipped)
        pairs = [
            (column, column_of[child])
            for node, column in column_of.items()
            if node not in skipped
            for child in self.graph.successors(node)
            if child in column_of
        ]
        return _relation(pairs, len(vocabulary))

    def concrete_ancestors(self, vocabulary: Vocabulary | str | Path, skipped: Iterable[str] = ()) -> sparse.csr_array:
        """Return (K, K) bool, [class, ancestor]: ancestors reached without passing or ending at an abstract node.

        Type II of PSLA's published code: 767 pairs among AudioSet's 527 classes. A node is abstract if its restrictions
        are exactly `abstract`; one that is also `blacklist` is kept. Nodes in `skipped` propose nothing.
        """
        vocabulary = Vocabulary.of(vocabulary)
        column_of, skipped = self.columns(vocabulary), set(skipped)
        kept = nx.DiGraph()
        kept.add_nodes_from(self.graph)
        kept.add_edges_from(edge for edge in self.graph.edges if not self.is_abstract(edge[0]))
        return _all_ancestors(kept, column_of, len(vocabulary), skipped)

    def is_abstract(self, node: str) -> bool:
        """Return whether a node's restrictions are exactly `abstract`."""
        return self.graph.nodes[node]["restrictions"] == ("abstract",)

    def columns(self, vocabulary: Vocabulary | str | Path) -> dict[str, int]:
        """Return {ontology node: column} of the nodes that are classes; an explicit ontology id must be a node."""
        vocabulary, column_of = Vocabulary.of(vocabulary), {}
        for column, (class_id, node) in enumerate(zip(vocabulary.class_ids, vocabulary.ontology_ids, strict=True)):
            if node in self.graph:
                column_of[node] = column
            elif node and node != class_id:
                hint = _nearest_node(node, self.graph)
                raise InputError(f"ontology id {node!r} of class {class_id!r} is not a node{hint}", vocabulary.place)
        if not column_of:
            remedy = "Give the ontology that it belongs to, or a vocabulary file with the column ontology_id."
            raise InputError("not one class of the vocabulary is in the ontology", vocabulary.place, remedy)
        return column_of


def nearest_columns(node: str, step: Callable[[str], Iterable[str]], column_of: Mapping[str, int]) -> list[int]:
    """Return the sorted columns of the first class on each path from `node`.

    Args:
        step: returns a node's successors (for nearest descendants) or predecessors (for nearest ancestors).
        column_of: {node: column} of the nodes that are classes; paths continue through other nodes.
    """
    waiting, seen = list(step(node)), set()
    while waiting:
        met = waiting.pop()
        if met not in seen and met not in column_of:
            waiting.extend(step(met))
        seen.add(met)
    return sorted(column_of[met] for met in seen if met in column_of)


def _all_ancestors(
    graph: nx.DiGraph, column_of: Mapping[str, int], n_classes: int, skipped: Collection[str] = ()
) -> sparse.csr_array:
    """Return (K, K) bool, [class, ancestor], by one walk from the roots down with one bit per class."""
    above: dict[str, int] = {}
    for node in nx.topological_sort(graph):
        above[node] = 0
        for parent in graph.predecessors(node):
            above[node] |= above[parent] | (1 << column_of[parent] if parent in column_of else 0)
    rows = [np.zeros(0, np.int32)] * n_classes
    for node, column in column_of.items():
        if node not in skipped:
            packed = np.frombuffer(above[node].to_bytes(-(-n_classes // 8), "little"), np.uint8)
            rows[column] = np.flatnonzero(np.unpackbits(packed, bitorder="little")).astype(np.int32)
    ends = np.cumsum([0, *map(len, rows)])
    return sparse.csr_array((np.ones(ends[-1], bool), np.concatenate(rows), ends), shape=(n_classes, n_classes))


def _relation(pairs: list[tuple[int, int]], n_classes: int) -> sparse.csr_array:
    rows, columns = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2).T
    return sparse.csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(n_classes, n_classes))


def _nearest_node(node: str, graph: nx.DiGraph) -> str:
    near = nearest(node, graph)
    return f"; nearest: {near!r} ({graph.nodes[near]['name']})" if near else ""


def read_published_ontology(path: str | Path) -> list[dict]:
    """Return the nodes of the published ontology.json in order, each with `id`, `name`, `child_ids`, `restrictions`.

    Raises:
        InputError: the file is missing or not JSON, or a node lacks one of these keys.
    """
    remedy = "Give the published ontology.json."
    nodes = read_json(path, remedy)
    kinds = {"id": str, "name": str, "child_ids": list, "restrictions": list}
    for number, node in enumerate(nodes if isinstance(nodes, list) else [nodes]):
        for key, kind in kinds.items():
            value = node.get(key) if isinstance(node, dict) else None
            if not isinstance(value, kind):
                raise InputError(f"node {number} has no {key!r}", path, remedy)
            for item in value if kind is list else ():
                if not isinstance(item, str):
                    message = f"{str(item)[:40]!r} among the {key!r} of node {number} is not text"
                    raise InputError(message, path, remedy)
    return nodes


def _csv_nodes(path: Path) -> Iterator[Node]:
    for row in read_csv(path, required=("class_id", "name", "child_ids", "restrictions")):
        place = f"{path}:{row['line']}"
        yield Node(row["class_id"], row["name"], _split(row["child_ids"]), _split(row["restrictions"]), place)


def _json_nodes(path: Path) -> Iterator[Node]:
    for number, node in enumerate(read_published_ontology(path)):
        place = f"{path}, node {number}"
        yield Node(node["id"], node["name"], tuple(node["child_ids"]), tuple(node["restrictions"]), place)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())
