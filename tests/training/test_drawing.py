"""What a step takes: each rule draws what it says, and the shares of all processes are the batch of one alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pseudolabel.errors import InputError
from pseudolabel.labels.balancing import SAMPLINGS, oversampling_factors
from pseudolabel.training.drawing import ORDER, draw_step, epochs_of, weighted
from pseudolabel.training.options import AugmentOptions, SamplingOptions

# Class 0 is common, class 1 rarer, class 2 once, class 3 never; clip 5 has no label.
LABELS = sparse.csr_array(
    np.array([[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]], bool)
)
CLIP = np.array([0, 0, 0, 1, 2, 2, 3, 4, 4, 5])  # windows: 3, 1, 2, 1, 2, 1
EVERYTHING = AugmentOptions(0.6, 10, "batch", "waveform", gain_db=6, shift_s=1, time_mask_s=1, mel_mask=8)


def frequencies(epochs, n_pieces: int, n_epochs: int = 4000) -> np.ndarray:
    drawn = np.concatenate([epochs.order(1, epoch) for epoch in range(n_epochs)])
    return np.bincount(drawn, minlength=n_pieces) / len(drawn)


def test_shuffle_takes_each_piece_once():
    assert sorted(epochs_of(SamplingOptions("shuffle"), LABELS, CLIP).order(0, 0)) == list(range(10))


def test_sum_rule_draws_by_the_sum_of_inverse_counts():
    weights = np.array([1 / 4, 1 / 4, 1 / 4 + 1 / 2, 1 / 2, 1 / 4 + 1, 0])  # PSLA, Algorithm 1
    epochs = epochs_of(SamplingOptions("sum-rule"), LABELS, CLIP)
    assert epochs.length == 10
    assert np.allclose(frequencies(epochs, 10), weights[CLIP] / weights[CLIP].sum(), atol=0.01)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_max_rule_draws_by_the_rarest_label(beta):
    rarest = np.array([4, 4, 2, 2, 1, 4])  # a clip without labels counts as one of the most common class
    weights = (1 / rarest) ** beta
    expected = weights[CLIP] / weights[CLIP].sum()
    assert np.allclose(frequencies(epochs_of(SamplingOptions("max-rule", beta), LABELS, CLIP), 10), expected, atol=0.01)


def test_repeat_holds_each_piece_as_often_as_its_factor():
    factors = oversampling_factors(LABELS, 1.0)
    assert factors.tolist() == [1, 1, 2, 2, 4, 1]
    epochs = epochs_of(SamplingOptions("repeat", 1.0), LABELS, CLIP)
    order = epochs.order(0, 3)
    assert epochs.length == len(order) == 19
    assert np.bincount(order).tolist() == factors[CLIP].tolist()


def test_round_robin_takes_class_after_class():
    epochs = epochs_of(SamplingOptions("round-robin"), LABELS, CLIP)
    carried = LABELS.toarray()[CLIP]
    for epoch in range(50):
        order = epochs.order(0, epoch)
        assert len(order) == 10
        for turn in range(3):  # in three turns each of the three classes was meant once
            pieces = carried[order[3 * turn : 3 * turn + 3]]
            assert any(all(pieces[at, k] for at, k in enumerate(turns)) for turns in
                       [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])  # fmt: skip
    found = frequencies(epochs, 10)
    third = 10 / 30  # of each class: clips 0, 1, 2, 4 of class 0; 2, 3 of class 1; 4 of class 2
    by_clip = third * np.array([1 / 4, 1 / 4, 1 / 4 + 1 / 2, 1 / 2, 1 / 4 + 1, 0])
    assert np.allclose(found, (by_clip / np.bincount(CLIP))[CLIP], atol=0.01)


@pytest.mark.parametrize("rule", SAMPLINGS)
def test_every_rule_draws_the_same_from_the_same_seed_and_epoch(rule):
    one, two = (epochs_of(SamplingOptions(rule), LABELS, CLIP) for _ in range(2))
    two.order(5, 5)
    assert np.array_equal(one.order(2, 3), two.order(2, 3))
    assert len({one.order(2, epoch).tobytes() for epoch in range(20)}) > 10


@pytest.mark.parametrize("rule", [rule for rule in SAMPLINGS if rule != "shuffle"])
def test_labels_are_needed_to_draw_by_them(rule):
    with pytest.raises(InputError, match="no clip has a label"):
        epochs_of(SamplingOptions(rule), sparse.csr_array((3, 4), dtype=bool))


def test_unknown_rules_and_impossible_exponents_are_refused():
    with pytest.raises(InputError, match="no such choice: 'fair'"):
        SamplingOptions("fair")
    for rule in ("max-rule", "repeat"):
        for beta in (-1, np.nan):
            with pytest.raises(InputError, match=r"^SamplingOptions.beta: must be a number of at least 0"):
                SamplingOptions(rule, beta)
        with pytest.raises(InputError, match=r"^--beta: "):  # --betas are Adam's
            epochs_of(SamplingOptions(rule, 1000), LABELS)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1e-9, 0.3, 1.0, 7.0]), min_size=1, max_size=30), st.integers(0, 1000))
def test_weighted_draws_are_looked_up_one_by_one(weights, epoch):
    weights = np.array([*weights, 1.0, 0.0])
    points = np.random.default_rng([0, ORDER, epoch]).random(len(weights)) * np.cumsum(weights)[-1]
    expected = [next(i for i, end in enumerate(np.cumsum(weights)) if point < end) for point in points]
    drawn = weighted(weights).order(0, epoch)
    assert drawn.tolist() == expected and (weights[drawn] > 0).all()


@pytest.mark.parametrize("partner", ["batch", "uniform"])
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 1000), st.floats(0, 1))
def test_the_shares_of_all_processes_are_the_draw_of_one(partner, n, size, step, rate):
    options = AugmentOptions(rate, 10, partner if rate else "batch", gain_db=6, shift_s=1)
    batch = np.random.default_rng(0).integers(0, 100, n)
    whole = draw_step(batch, 100, options, 7, step)
    shares = [draw_step(batch, 100, options, 7, step, rank, size) for rank in range(size)]
    assert sum(share.n for share in shares) == whole.n == n
    assert np.array_equal(np.concatenate([share.pieces[: share.n] for share in shares]), batch)
    for name in ("share", "time_mask", "mel_mask"):
        assert np.array_equal(np.concatenate([getattr(share, name) for share in shares]), getattr(whole, name))
    for name in ("start", "gain", "shift", "pieces"):  # a partner is read as it is in its own place
        for own in (True, False):
            of = [getattr(each, name)[: each.n] if own else getattr(each, name)[each.partner] for each in shares]
            alone = getattr(whole, name)[:n] if own else getattr(whole, name)[whole.partner]
            assert np.array_equal(np.concatenate(of), alone)


def test_only_partners_that_are_mixed_are_read():
    batch = np.arange(100)
    unmixed = draw_step(batch, 1000, AugmentOptions(0), 0, 0)
    assert len(unmixed.pieces) == 100 and np.array_equal(unmixed.partner, batch) and (unmixed.share == 1).all()
    mixed = draw_step(batch, 1000, AugmentOptions(0.3, mixup_partner="uniform"), 0, 0)
    assert len(mixed.pieces) == 100 + (mixed.share < 1).sum()
    within = draw_step(batch, 1000, AugmentOptions(1), 0, 0)
    assert len(within.pieces) == 100 and sorted(within.partner) == list(range(100))  # each is the partner of one


def test_rate_lambda_and_partner_follow_their_distributions():
    draws = [draw_step(np.arange(50), 7, AugmentOptions(0.5, 10, "uniform"), 0, step) for step in range(400)]
    share = np.concatenate([draw.share for draw in draws])
    assert (share < 1).mean() == pytest.approx(0.5, abs=0.01)
    mixed = share[share < 1]
    assert mixed.mean() == pytest.approx(0.5, abs=0.005) and mixed.var() == pytest.approx(1 / 84, abs=0.001)
    partners = np.concatenate([draw.pieces[draw.partner[draw.share < 1]] for draw in draws])
    assert np.allclose(np.bincount(partners) / len(partners), 1 / 7, atol=0.01)


def test_gain_and_shift_use_their_whole_range():
    draws = [draw_step(np.arange(50), 50, EVERYTHING, 0, step) for step in range(40)]
    decibels = 20 * np.log10(np.concatenate([draw.gain for draw in draws]))
    assert -6.001 < decibels.min() < -5.8 and 5.8 < decibels.max() < 6.001
    shift = np.concatenate([draw.shift for draw in draws])
    assert -1 <= shift.min() < -0.99 and 0.99 < shift.max() <= 1


def test_switching_one_augmentation_on_changes_no_other_draw():
    plain = draw_step(np.arange(20), 20, AugmentOptions(), 3, 4)
    full = draw_step(np.arange(20), 20, EVERYTHING, 3, 4)
    for name in ("start", "shift", "time_mask", "mel_mask"):
        assert np.array_equal(getattr(plain, name)[:20], getattr(full, name)[:20])
