"""Report ontology nodes outside a vocabulary, by the role they play for it, and classes that are not nodes.

| column of outside.csv | |
|---|---|
| `class_id`, `name`, `restrictions` | of the node, or of the class without a node |
| `role` | see ROLES |
| `parents`, `children` | the nearest classes above and below it, in vocabulary order, joined by `;` |
| `pairs` | number of (parent, child) pairs related through it, perhaps on another path too |
| `lost_by_psla` | number of (class, ancestor) pairs around the node that PSLA's published code misses |

Only nodes whose restrictions are exactly `abstract` lose pairs (Ontology.concrete_ancestors). Nodes come first, in the
ontology's order, then classes without a node, in the vocabulary's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import networkx as nx
from scipy import sparse

from pseudolabel.labels.ontology import Ontology, nearest_columns
from pseudolabel.labels.vocabulary import Vocabulary

ROLES = {
    "joins": "classes above and below it are related through it",
    "top": "no class is above it",
    "leaf": "no class is below it",
    "alone": "no class is above or below it",
    "no node": "a class that the ontology does not have: it proposes nothing and is never proposed",
}


class Outside(NamedTuple):
    """A row of outside.csv."""

    class_id: str
    name: str
    restrictions: tuple[str, ...]
    role: str
    parents: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    pairs: int = 0
    lost_by_psla: int = 0

    def texts(self) -> list[object]:
        """Return the cells, with multiple values joined by `;`."""
        return [";".join(cell) if isinstance(cell, tuple) else cell for cell in self]


def outside(ontology: Ontology, vocabulary: Vocabulary) -> tuple[Outside, ...]:
    """Return one row per node that is not in the vocabulary, and one per class that is not a node."""
    graph, column_of = ontology.graph, ontology.columns(vocabulary)
    lost = ontology.ancestors(vocabulary).astype(int) - ontology.concrete_ancestors(vocabulary).astype(int)
    rows, roles = [], ("alone", "top", "leaf", "joins")  # indexed by: 1 if a class is below, plus 2 if one is above
    for node, attributes in graph.nodes(data=True):
        if node in column_of:
            continue
        above, below = (nearest_columns(node, step, column_of) for step in (graph.predecessors, graph.successors))
        role = roles[bool(below) + 2 * bool(above)]
        parents, children = (tuple(vocabulary.class_ids[k] for k in columns) for columns in (above, below))
        n_lost = _pairs_around(node, ontology, column_of, lost) if ontology.is_abstract(node) else 0
        known = attributes["name"], attributes["restrictions"]
        rows.append(Outside(node, *known, role, parents, children, len(above) * len(below), n_lost))
    for class_id, name, node in zip(vocabulary.class_ids, vocabulary.names, vocabulary.ontology_ids, strict=True):
        if node not in column_of:
            rows.append(Outside(class_id, name, (), "no node"))
    return tuple(rows)


def _pairs_around(node: str, ontology: Ontology, column_of: dict[str, int], relation: sparse.csr_array) -> int:
    """Return how many pairs of a relation [class, ancestor] have the node between them."""
    above, below = (
        [column_of[met] for met in search(ontology.graph, node) if met in column_of]
        for search in (nx.ancestors, nx.descendants)
    )
    return int(relation[below][:, above].count_nonzero()) if above and below else 0


def outside_figures(ontology: Ontology, rows: tuple[Outside, ...]) -> dict:
    """Return the figures for summary.json: how many nodes have each role, and how many pairs they join."""
    roles = Counter(row.role for row in rows)
    return {
        "nodes": ontology.graph.number_of_nodes(),
        "nodes_outside": {role: roles[role] for role in ROLES if role != "no node"},
        "pairs_through_outside": len(
            {(above, below) for row in rows for above in row.parents for below in row.children}
        ),
        "classes_without_node": [row.name for row in rows if row.role == "no node"],
    }


def outside_lines(figures: dict) -> list[str]:
    """Return terminal lines about `outside_figures`; none if nodes and classes correspond one to one."""
    lines, roles = [], dict(figures["nodes_outside"])
    n_outside, n_joins = sum(roles.values()), roles.pop("joins")
    if n_outside:
        others = "".join(f", {n} {role}" for role, n in roles.items() if n)
        lines.append(
            f"  ontology     {n_outside} of {figures['nodes']} nodes are not classes (outside.csv): {n_joins} between "
            f"classes ({figures['pairs_through_outside']} pairs){others}"
        )
    without = figures["classes_without_node"]
    if without:
        lines.append(f"  no node      for {len(without)} classes: nothing is proposed for them: {first_names(without)}")
    return lines


def first_names(names: Sequence[str], limit: int = 3) -> str:
    """Return `a; b; c; ...`, since class names may contain commas."""
    return "; ".join([*names[:limit], "..."] if len(names) > limit else names)
