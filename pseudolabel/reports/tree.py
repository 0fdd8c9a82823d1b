"""The classes as a tree: each below its parents in the ontology, with the ontology's nodes that are no classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pseudolabel.errors import InputError
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.vocabulary import Vocabulary

OUTSIDE = "Not in the ontology"


@dataclass(frozen=True)
class Branch:
    """A node of the tree.

    Args:
        column: number of its class; None for a node that is no class.
        columns: of all classes at and below it, also of those that open elsewhere.
        node: its id in the ontology, '' if it has none.
        again: it stands elsewhere too, above; here without what is below it.
    """

    name: str
    column: int | None = None
    children: tuple[Branch, ...] = ()
    columns: tuple[int, ...] = ()
    node: str = ""
    again: bool = False


def class_tree(vocabulary: Vocabulary, path: Path | None = None) -> tuple[Branch, ...]:
    """Return the top branches, in the order of the ontology; every class is in the tree once without `again`.

    Args:
        path: the ontology; None: AudioSet's. Classes that are not in it stand together at the end.

    Returns:
        Nothing if not one class is in AudioSet's ontology.

    Raises:
        InputError: a named ontology cannot be read, or has none of the classes.
    """
    try:
        ontology = Ontology.load(path)
        column_of = ontology.columns(vocabulary)
    except InputError:
        if path is not None:
            raise
        return ()
    grower = _Grower(ontology, column_of, vocabulary.names)
    tops = (grower.branch(node) for node, degree in ontology.graph.in_degree if degree == 0)
    branches = [branch for branch in tops if branch]
    inside = set(column_of.values())
    outside = [column for column in range(len(vocabulary)) if column not in inside]
    if outside:
        leaves = tuple(Branch(vocabulary.names[k], k, (), (k,)) for k in outside)
        branches.append(Branch(OUTSIDE, None, leaves, tuple(outside)))
    return tuple(branches)


class _Grower:
    """Makes branches, and remembers which nodes have one."""

    def __init__(self, ontology: Ontology, column_of: dict[str, int], names: Sequence[str]):
        self.graph, self.column_of, self.names = ontology.graph, column_of, names
        self.grown: dict[str, tuple[int, ...]] = {}

    def branch(self, node: str) -> Branch | None:
        """Return a node's branch; None if neither it nor anything below it is a class."""
        column = self.column_of.get(node)
        name = self.graph.nodes[node]["name"] if column is None else self.names[column]
        if node in self.grown:
            return Branch(name, column, (), self.grown[node], node, again=True)
        children = tuple(filter(None, map(self.branch, self.graph.successors(node))))
        own = set() if column is None else {column}
        columns = tuple(sorted(own.union(*(child.columns for child in children))))
        if not columns:
            return None
        self.grown[node] = columns
        return Branch(name, column, children, columns, node)
