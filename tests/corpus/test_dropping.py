"""Labels are dropped one kind at a time: what is missing is a child, a parent or an event, never another kind."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from pseudolabel.corpus.dropping import KINDS, most_specific, without
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary

# thing > animal > dog > bark; thing > rain; tool > bark (two parents); hum stands alone
IDS = ("thing", "animal", "dog", "bark", "tool", "rain", "hum")
ABOVE = {
    "animal": ["thing"], "dog": ["animal", "thing"], "bark": ["dog", "animal", "thing", "tool"], "rain": ["thing"],
}  # fmt: skip
BELOW = {"thing": ["animal", "rain"], "animal": ["dog"], "dog": ["bark"], "tool": ["bark"]}
KINSHIP = Kinship(*(np.array([[b in of.get(a, []) for b in IDS] for a in IDS]) for of in (ABOVE, BELOW)))
TOY = Vocabulary("toy", IDS, IDS, IDS)


def closed(*clips: str) -> LabelTable:
    sets = [[*clip.split(), *(above for one in clip.split() for above in ABOVE.get(one, []))] for clip in clips]
    return LabelTable.from_sets([f"c{i}" for i in range(len(clips))], map(set, sets), TOY)


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        ("children", [{"thing", "tool"}, {"thing", "hum"}, set()]),
        ("parents", [{"bark"}, {"dog", "rain", "hum"}, set()]),
        ("events", [set(), set(), set()]),
    ],
)
def test_all_of_a_kind_and_none(kind, left):
    truth = closed("bark", "dog rain hum", "")
    assert list(map(set, without(truth, KINSHIP, kind, 0, fraction=1).label_sets())) == left
    assert without(truth, KINSHIP, kind, 0, fraction=0).label_sets() == truth.label_sets()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_is_of_its_kind(kind):
    rng = np.random.default_rng(1)
    truth = closed(*(" ".join(rng.choice(IDS, 2)) for _ in range(2000)))
    labels = without(truth, KINSHIP, kind, 3)
    true, given, above = truth.matrix.toarray(), labels.matrix.toarray(), KINSHIP.ancestors.astype(int)
    missing, specific = true & ~given, most_specific(true, KINSHIP)
    assert (given <= true).all() and missing.any() and labels.clip_ids == truth.clip_ids
    implied = given.astype(int) @ above > 0  # an ancestor of a given label
    descends = given.astype(int) @ above.T > 0
    if kind == "children":  # type I alone: below a given label, above none
        assert not (missing & implied).any() and (missing <= descends).all()
    elif kind == "parents":  # type II alone: above a given label
        assert (missing <= implied).all() and not (missing & specific).any()
        assert missing.sum() / (true & ~specific).sum() == pytest.approx(0.3, abs=0.03)
    else:
        assert not (missing & implied).any() and (given & ~specific <= implied).all()
        assert (missing & specific).sum() / specific.sum() == pytest.approx(0.3, abs=0.03)
    again = without(truth, KINSHIP, kind, 3).matrix
    assert (again != labels.matrix).nnz == 0 and (without(truth, KINSHIP, kind, 4).matrix != labels.matrix).nnz


def test_the_most_specific_labels_have_no_descendant_on_the_clip():
    found = LabelTable(("c0", "c1"), sparse.csr_array(most_specific(closed("bark", "dog rain").matrix.toarray(),
                                                                    KINSHIP)), TOY)  # fmt: skip
    assert found.label_sets() == [("bark",), ("dog", "rain")]
