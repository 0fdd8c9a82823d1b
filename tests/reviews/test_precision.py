"""Precision: weights and intervals worked out by hand, a slow reference, and that intervals cover the truth."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.errors import InputError
from pseudolabel.reviews.items import Item, make_sample
from pseudolabel.reviews.precision import Z, weigh, wilson
from pseudolabel.reviews.stratified import levels_of, strata_of_parts

STRATA = {"I | 0-1": 10, "II | 0-1": 30}


def sample_with(counts: dict[str, int], strata: dict[str, int]):
    """Items `name:0`, `name:1`, ... with the weight of their stratum, and a decoy."""
    items = [
        Item(f"{name}:{i}", f"{name}:{i}", "k", "added", name.partition(" ")[0], stratum=name, weight=strata[name] / n)
        for name, n in counts.items()
        for i in range(n)
    ]
    return make_sample([*items, Item("decoy", "c", "k", "given")], "", strata)


def decide(sample, answers: str) -> dict[str, str]:
    """One sign an addition: r, w, u, or - for not judged; the decoy is always found right."""
    words = {"r": "right", "w": "wrong", "u": "unsure"}
    found = {i.item: words[sign] for i, sign in zip(sample.additions, answers, strict=True) if sign in words}
    return found | {"decoy": "right"}


def test_estimate_worked_out_by_hand():
    sample = sample_with({"I | 0-1": 2, "II | 0-1": 3}, STRATA)
    weighed = weigh(sample, decide(sample, "rwrrr"))
    assert weighed.weights.tolist() == [5, 5, 10, 10, 10]
    found = weighed.estimate()
    assert found.precision == (10 * 0.5 + 30 * 1) / 40
    # V = (1/4)^2 (1 - 2/10) (1/2) / 2 = 1/80 would mean 8.75 items, the weights alone
    # 1 / ((1/4)^2 (8/10) / 2 + (3/4)^2 (27/30) / 3) = 1 / 0.19375
    assert found.effective_n == pytest.approx(1 / 0.19375)
    assert (found.low, found.high) == wilson(0.875, found.effective_n)
    part = weighed.estimate(np.array([True, True, False, False, False]))
    assert (part.precision, part.judged) == (0.5, 2)
    assert part.effective_n == pytest.approx(2 / 0.8 / 2)  # p (1 - p) / V with V = 2 (0.25)^2 (8/10) / 1 * 2


def test_missing_and_unsure_items_leave_their_stratum_to_the_others():
    sample = sample_with({"I | 0-1": 2, "II | 0-1": 3}, STRATA)
    weighed = weigh(sample, decide(sample, "r-wru"))  # one of the first stratum is too few: joined with the second
    assert weighed.weights.tolist() == pytest.approx([40 * 5 / 25, 40 * 10 / 25, 40 * 10 / 25])
    decisions = decide(sample, "rwwru")
    weighed = weigh(sample, decisions)
    assert weighed.weights.tolist() == [5, 5, 15, 15]
    assert weighed.estimate().precision == (5 + 15) / 40
    assert weigh(sample, decisions, "wrong").estimate().precision == (5 + 10) / 40
    assert weigh(sample, decisions, "right").estimate().precision == (5 + 20) / 40


def test_unjudged_stratum_is_spoken_for_by_its_neighbour():
    strata = {"I | 0-1": 4, "I+II | 0-1": 1, "II | 0-1": 8}
    sample = sample_with({"I | 0-1": 2, "I+II | 0-1": 1, "II | 0-1": 2}, strata)
    assert weigh(sample, decide(sample, "rr---")).weights.sum() == pytest.approx(13)
    weighed = weigh(sample, decide(sample, "rrrw-"))
    assert weighed.weights.sum() == pytest.approx(13)
    assert weighed.weights.tolist()[:2] == [2, 2]
    with pytest.raises(InputError, match="not one addition"):
        weigh(sample, decide(sample, "uu---"))


def test_all_judged_leaves_nothing_uncertain():
    sample = sample_with({"I | 0-1": 3, "II | 0-1": 1}, {"I | 0-1": 3, "II | 0-1": 1})
    found = weigh(sample, decide(sample, "rwrr")).estimate()
    assert (found.precision, found.low, found.high) == (0.75, 0.75, 0.75)
    assert math.isinf(found.effective_n)


def test_all_right_or_all_wrong_is_not_taken_for_certain():
    sample = sample_with({"I | 0-1": 2, "II | 0-1": 3}, {"I | 0-1": 2000, "II | 0-1": 3000})
    right, wrong = (weigh(sample, decide(sample, sign * 5)).estimate() for sign in "rw")
    assert (right.precision, right.high, wrong.precision, wrong.low) == (1, 1, 0, 0)
    assert right.low == pytest.approx(5 / (5 + Z**2), abs=0.001)  # Wilson's, weights being equal
    assert wrong.high == pytest.approx(1 - right.low)


def test_a_class_is_not_certain_of_additions_in_strata_without_a_judged_item():
    rows = [("I", "k", 0.9), *[("I", "k", 0.1)] * 4, *[("I", "m", 0.1)] * 4, *[("II", "m", 0.9)] * 2]
    names = {"error": [row[0] for row in rows], "class_id": [row[1] for row in rows], "score": [row[2] for row in rows]}
    ledger = pa.table(names | {name: [""] * len(rows) for name in ("because", "threshold", "window_s", "onset_s")})
    levels, one, low, other = levels_of(ledger, [0.5]), "I | 0.5-1 | k", "I | 0-0.5 | m", "II | 0.5-1 | m"
    strata = {"I | 0-0.5 | k": 4, low: 4, one: 1, other: 2}
    parts = strata_of_parts(levels, strata)
    assert parts["class"] == {"k": {"I | 0-0.5 | k": 4, one: 1}, "m": {low: 4, other: 2}}
    assert parts["type"] == {"I": {"I | 0-0.5 | k": 4, low: 4, one: 1}, "II": {other: 2}}
    assert strata_of_parts(levels, {"I": 9, "II": 2})["class"]["k"] == {"I": 5}
    assert strata_of_parts(levels, {"all": 11})["band"] == {"0-0.5": {"all": 8}, "0.5-1": {"all": 3}}
    sample = sample_with({low: 2, one: 1, other: 2}, strata)
    weighed = weigh(sample, decide(sample, "rrrrr"))
    k = weighed.estimate(np.array([False, False, True, False, False]), parts["class"]["k"])
    assert (k.precision, k.low, k.high, k.effective_n) == (1, pytest.approx(1 / 5), 1, 1)  # four of five are unknown
    second = weighed.estimate(np.array([False, False, False, True, True]), parts["type"]["II"])
    assert (second.precision, second.low, second.high) == (1, 1, 1)  # all were judged
    whole, types = weighed.estimate(), np.array([True, True, True, False, False])
    assert weighed.estimate(types, parts["type"]["I"]) == weighed.estimate(types)  # neighbours speak for the unjudged
    assert weighed.estimate(None, strata) == whole and whole.low < 1


def test_wilson_gives_the_published_example():
    low, high = wilson(81 / 263, 263)  # Newcombe (1998), Table I
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0.3, math.inf) == (0.3, 0.3)
    assert wilson(0.5, 0) == (0, 1)


@st.composite
def judged(draw):
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    strata = {f"{'I' * (i + 1)} | 0-1": size for i, size in enumerate(sizes)}
    counts = {name: draw(st.integers(1, size)) for name, size in strata.items()}
    n = sum(counts.values())
    answers = draw(st.text("rwu-", min_size=n, max_size=n).filter(lambda text: set("rw") & set(text)))
    return sample_with(counts, strata), answers


@given(judged())
@settings(max_examples=80)
def test_estimate_equals_the_slow_reference_and_lies_in_its_interval(case):
    sample, answers = case
    weighed = weigh(sample, decide(sample, answers))
    found = weighed.estimate()
    assert weighed.weights.sum() == pytest.approx(sample.n_additions)
    p = sum(weight * y for weight, y in zip(weighed.weights, weighed.right, strict=True)) / sample.n_additions
    assert found.precision == pytest.approx(p)
    assert -1e-12 <= found.low <= found.precision + 1e-12 <= found.high + 2e-12 <= 1 + 3e-12
    variance, plain = 0.0, 0.0
    for group in set(weighed.groups.tolist()):
        rows = [i for i, g in enumerate(weighed.groups) if g == group]
        size = sum(weighed.weights[i] for i in rows)
        z = [weighed.weights[i] / sample.n_additions * (weighed.right[i] - p) for i in rows]
        mean, n = sum(z) / len(z), len(z)
        if n > 1:
            variance += (1 - n / size) * n / (n - 1) * sum((value - mean) ** 2 for value in z)
    for weight in weighed.weights:
        plain += (weight / sample.n_additions) ** 2 * (1 - min(1, 1 / weight))
    if plain < 1e-12:
        assert math.isinf(found.effective_n)
    else:
        expected = min(1 / plain, p * (1 - p) / variance if variance > 1e-15 else math.inf)
        assert found.effective_n == pytest.approx(expected, rel=1e-6)


@given(st.floats(0, 1), st.floats(0.5, 1e5))
@settings(max_examples=50)
def test_wilson_solves_its_equation(p, n):
    for end in wilson(p, n):
        if 0 < end < 1:
            assert (p - end) ** 2 == pytest.approx(Z**2 * end * (1 - end) / n, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("precision", [0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize(("n", "n_classes"), [(4000, 60), (4000, 500), (900, 6)])
def test_interval_of_200_judgements_covers_the_truth_of_the_ledger_in_45_of_50_samples(
    simulate_ledger, sample_of, precision, n, n_classes
):
    covered, widths, errors = 0, [], []
    for seed in range(50):
        if seed % 10 == 0:
            ledger, truth = simulate_ledger(n, n_classes, precision, seed)
        sample, rng = sample_of(ledger, seed), np.random.default_rng(seed)
        answers = {
            item.item: "unsure" if rng.random() < 0.05 else "right" if truth[int(item.item)] else "wrong"
            for item in sample.items
        }
        found = weigh(sample, answers).estimate()
        covered += found.low <= truth.mean() <= found.high
        widths.append(found.high - found.low)
        errors.append(found.precision - truth.mean())
    assert covered >= 45
    alike = wilson(precision, 190 / (1 - 190 / n))  # a simple random sample of as many
    assert np.mean(widths) <= 1.15 * (alike[1] - alike[0]) + 1e-9
    assert abs(np.mean(errors)) <= 4 * np.std(errors) / np.sqrt(50) + 1e-12
