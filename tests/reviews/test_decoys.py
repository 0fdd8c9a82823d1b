"""Decoys: given ones are labels of the list, absent ones are not there by list, ledger or ontology."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pseudolabel.labels.ontology import Node, Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.reviews.decoys import draw_decoys, n_decoys, shuffled
from pseudolabel.reviews.items import Item

PARENTS = [f"p{i}" for i in range(5)]
CHILDREN = [f"{p}c{j}" for p in PARENTS for j in range(3)]
VOCABULARY = Vocabulary("five", *((tuple(PARENTS + CHILDREN),) * 3))
ONTOLOGY = Ontology.from_nodes(
    [Node(p, p, tuple(c for c in CHILDREN if c.startswith(p))) for p in PARENTS] + [Node(c, c, ()) for c in CHILDREN]
)
CLIPS = [f"clip{i}" for i in range(80)]


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    sets = [{CHILDREN[int(rng.integers(15))], PARENTS[int(rng.integers(5))]} for _ in CLIPS]
    labels = LabelTable.from_sets(CLIPS, sets, VOCABULARY)
    pairs = [
        (clip, child) for clip, held in zip(CLIPS[:60], sets, strict=False) for child in CHILDREN
        if child not in held and child[:2] in held and rng.random() < 0.5
    ]  # fmt: skip
    ledger = pa.table({"clip_id": [clip for clip, _ in pairs], "class_id": [child for _, child in pairs]})
    additions = [Item("", *pair, "added", "I", stratum="I", weight=1.0) for pair in pairs[:40]]
    return labels, ledger, additions


def test_decoys_are_what_they_say(world):
    labels, ledger, additions = world
    decoys = draw_decoys(additions, labels, ledger, ONTOLOGY, 30, seed=2)
    held = dict(zip(labels.clip_ids, map(set, labels.label_sets()), strict=True))
    added = set(zip(ledger["clip_id"].to_pylist(), ledger["class_id"].to_pylist(), strict=True))
    pairs = [(item.clip_id, item.class_id) for item in decoys]
    assert [item.kind for item in decoys] == ["given"] * 15 + ["absent"] * 15
    assert len(set(pairs)) == 30
    assert not set(pairs) & added
    assert {clip for clip, _ in pairs} <= {clip for clip, _ in added}
    assert {class_id for _, class_id in pairs} <= {item.class_id for item in additions}
    for clip, class_id in pairs[:15]:
        assert class_id in held[clip]
    for clip, class_id in pairs[15:]:
        assert class_id not in held[clip]
        assert not any(label in (class_id, class_id[:2]) or label[:2] == class_id for label in held[clip])
    assert all(item.weight == 0 and item.stratum == item.error == "" for item in decoys)


def test_same_seed_draws_the_same_decoys(world):
    labels, ledger, additions = world
    first, again, other = (draw_decoys(additions, labels, ledger, ONTOLOGY, 10, seed) for seed in (1, 1, 2))
    assert first == again != other


def test_fewer_decoys_come_where_the_clips_do_not_yield_more(world):
    labels, ledger, additions = world
    decoys = draw_decoys(additions[:1], labels, ledger, ONTOLOGY, 1000, 0)
    kinds = [item.kind for item in decoys]
    of_clips = labels.select(sorted(set(ledger["clip_id"].to_pylist()))).label_sets()
    assert kinds.count("given") == sum(additions[0].class_id in held for held in of_clips)
    assert 0 < kinds.count("absent") < 80


def test_share_counts_decoys_among_all_items():
    assert [n_decoys(80, share) for share in (0, 0.2, 0.5)] == [0, 20, 80]


def test_items_are_numbered_in_an_order_that_tells_nothing(world):
    items = [Item("", f"c{i}", "k", "added" if i < 50 else "given") for i in range(100)]
    found = shuffled(items, 0)
    assert [item.item for item in found] == [f"{number:04d}" for number in range(1, 101)]
    assert sorted(item.clip_id for item in found) == sorted(item.clip_id for item in items)
    assert 15 < sum(item.kind == "given" for item in found[:50]) < 35
    assert shuffled(items, 0) == found != shuffled(items, 1)
