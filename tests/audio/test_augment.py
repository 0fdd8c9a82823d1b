"""Augmentation: what is mixed, scaled and masked, by how much, and that one seed gives the same draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pseudolabel.audio.augment import AugmentOptions, change_gain, mask_span, mix_waveforms

B, T, K = 64, 50, 64


@pytest.fixture
def apart() -> tuple[torch.Tensor, torch.Tensor]:
    """Waveforms and targets of clips that stay apart: clip i is 1 at sample i and has class i alone."""
    return torch.eye(B, T + 14), torch.eye(B, K)


def test_mixup_weighs_waveforms_and_targets_by_the_same_lambda(apart):
    waveforms, targets = mix_waveforms(*apart, AugmentOptions(mixup_rate=1.0), np.random.default_rng(0))
    assert torch.equal(waveforms, targets)  # both were the identity matrix
    assert torch.allclose(targets.sum(1), torch.ones(B))
    assert ((targets > 0).sum(1) <= 2).all()
    assert (targets.diagonal() >= 0.5).all()  # the larger share is the clip's own
    mixed = targets.diagonal()[targets.diagonal() < 1]
    assert len(mixed) > B / 2 and len(mixed.unique()) > B / 2  # each clip has its own lambda


def test_every_clip_is_the_partner_of_one_other(apart):
    _, targets = mix_waveforms(*apart, AugmentOptions(mixup_rate=1.0), np.random.default_rng(1))
    others = targets - torch.diag(targets.diagonal())
    assert ((others > 0).sum(0) <= 1).all()


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_mixup_rate_is_the_share_of_clips_that_are_mixed(apart, rate):
    options, rng = AugmentOptions(mixup_rate=rate), np.random.default_rng(2)
    draws = [mix_waveforms(*apart, options, rng)[1] for _ in range(50)]
    share = np.mean([((targets > 0).sum(1) == 2).float().mean() for targets in draws])
    assert share == pytest.approx(rate * (1 - 1 / B), abs=0.03)  # 1 in B is its own partner


def test_lambda_follows_the_folded_beta_distribution():
    waveforms, targets = torch.zeros(4000, 1), torch.eye(2).repeat(2000, 1)
    options = AugmentOptions(mixup_rate=1.0, mixup_alpha=10.0)
    _, mixed = mix_waveforms(waveforms, targets, options, np.random.default_rng(3))
    own = mixed[targets.bool()]
    own = own[own < 1]  # the others met a partner of the same class
    beta = np.random.default_rng(4).beta(10, 10, 100_000)
    assert float(own.mean()) == pytest.approx(np.maximum(beta, 1 - beta).mean(), abs=0.01)


def test_gain_stays_in_its_range_and_differs_by_clip():
    waveforms = change_gain(torch.ones(500, 3), AugmentOptions(gain_db=6.0), np.random.default_rng(0))
    decibels = 20 * waveforms.log10()
    assert torch.equal(waveforms[:, 0], waveforms[:, 2])  # one gain a clip
    assert decibels.min() >= -6.001 and decibels.max() <= 6.001
    assert decibels.min() < -5.5 and decibels.max() > 5.5  # and the range is used


@pytest.mark.parametrize(("axis", "size"), [(1, 30), (2, 12)])
def test_mask_is_one_span_a_clip_no_longer_than_asked(axis, size):
    features = torch.randn(400, 30, 12)
    masked = mask_span(features, axis, 5, np.random.default_rng(0), 7.0)
    changed = (masked != features).all(dim=3 - axis).numpy()  # (B, size)
    assert (masked != features).any(dim=3 - axis).numpy().sum() == changed.sum()  # whole frames, whole bands
    lengths = changed.sum(1)
    assert set(lengths.tolist()) == {0, 1, 2, 3, 4, 5}
    edges = np.diff(np.pad(changed, ((0, 0), (1, 1))).astype(int), axis=1)
    assert ((edges == 1).sum(1) == (lengths > 0)).all()  # one span
    assert changed.any(0).all() and changed.shape[1] == size  # it may lie anywhere, ends included


def test_mask_holds_the_fill():
    features = torch.arange(24.0).reshape(1, 6, 4)
    masked = mask_span(features, 1, 6, np.random.default_rng(1), -3.5)
    assert set(masked[masked != features].tolist()) == {-3.5}


def test_mask_longer_than_the_clip_is_limited_to_it():
    features = torch.randn(200, 3, 4)
    masked = mask_span(features, 1, 100, np.random.default_rng(0), 0.0)
    assert (masked != features).all(dim=2).sum(1).max() == 3


def test_all_is_off_by_default(apart):
    waveforms, targets = mix_waveforms(*apart, AugmentOptions(), np.random.default_rng(0))
    assert torch.equal(waveforms, apart[0]) and torch.equal(targets, apart[1])
    assert torch.equal(change_gain(apart[0], AugmentOptions(), np.random.default_rng(0)), apart[0])
    features = torch.randn(5, 6, 7)
    for axis in (1, 2):
        assert torch.equal(mask_span(features, axis, 0, np.random.default_rng(0), 0.0), features)


def test_same_seed_gives_the_same_draws(apart):
    options = AugmentOptions(mixup_rate=0.5, gain_db=3)

    def draw(seed: int) -> list[torch.Tensor]:
        rng = np.random.default_rng(seed)
        waveforms, targets = mix_waveforms(change_gain(apart[0], options, rng), apart[1], options, rng)
        return [waveforms, targets, mask_span(waveforms[:, None, :], 2, 9, rng, 0.0)]

    assert all(torch.equal(a, b) for a, b in zip(draw(5), draw(5), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(draw(5), draw(6), strict=True))
