"""Augmentation: what is mixed, scaled, turned and masked, by how much."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pseudolabel.audio.augment import change_gain, mask_span, mix, shift_in_time


def test_mixture_weighs_each_with_its_partner():
    values = torch.tensor([[8.0, 0], [0, 8], [4, 4]])
    mixed = mix(values, np.array([2, 0]), np.array([0.75, 0.5], np.float32))
    assert mixed.tolist() == [[7, 1], [4, 4]]
    spectra = mix(values[:, None, :].expand(3, 5, 2), np.array([2, 0]), np.array([0.75, 0.5], np.float32))
    assert torch.equal(spectra, mixed[:, None, :].expand(2, 5, 2))


def test_what_is_not_mixed_stays_as_it_is():
    values = torch.randn(3, 4)
    assert torch.equal(mix(values, np.array([1, 2]), np.ones(2, np.float32)), values[:2])
    some = mix(values, np.array([1, 2]), np.array([1, 0.5], np.float32))
    assert torch.equal(some[0], values[0])


def test_gain_is_one_factor_a_clip():
    assert change_gain(torch.ones(2, 3), np.array([0.5, 2], np.float32)).tolist() == [[0.5] * 3, [2.0] * 3]


def test_shift_turns_each_clip_by_its_own_number_of_samples():
    waveforms, all_five = torch.arange(10.0).reshape(2, 5), np.array([5, 5])
    assert shift_in_time(waveforms, np.array([2, -1]), all_five).tolist() == [[3, 4, 0, 1, 2], [6, 7, 8, 9, 5]]
    assert torch.equal(shift_in_time(waveforms, np.array([0, 5]), all_five), waveforms)
    assert shift_in_time(waveforms, np.array([2, -1]), np.array([3, 1])).tolist() == [[1, 2, 0, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize(("axis", "size"), [(1, 30), (2, 12)])
def test_mask_is_one_span_a_clip_shorter_than_asked(axis, size):
    features = torch.randn(400, 30, 12)
    masked = mask_span(features, axis, 5, np.random.default_rng(0).random((400, 2)), 7.0)
    changed = (masked != features).all(dim=3 - axis).numpy()  # (B, size)
    assert (masked != features).any(dim=3 - axis).numpy().sum() == changed.sum()  # whole frames, whole bands
    lengths = changed.sum(1)
    assert set(lengths.tolist()) == {0, 1, 2, 3, 4}
    edges = np.diff(np.pad(changed, ((0, 0), (1, 1))).astype(int), axis=1)
    assert ((edges == 1).sum(1) == (lengths > 0)).all()  # one span
    assert changed.any(0).all() and changed.shape[1] == size  # it may lie anywhere, ends included


def test_mask_holds_the_fill():
    features = torch.arange(24.0).reshape(1, 6, 4)
    masked = mask_span(features, 1, 6, np.array([[0.5, 0.9]]), -3.5)
    assert set(masked[masked != features].tolist()) == {-3.5}


@pytest.mark.parametrize("longest", [0, 100])
def test_mask_is_limited_to_the_clip_and_may_be_none(longest):
    features = torch.randn(200, 3, 4)
    masked = mask_span(features, 1, longest, np.random.default_rng(0).random((200, 2)), 0.0)
    assert (masked != features).all(dim=2).sum(1).max() == min(longest, 3)
