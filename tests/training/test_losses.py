"""Losses, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from pseudolabel.training.losses import inverse_weights, soft_bce

SCORES, TARGETS = torch.tensor([[0.5, 0.8]]), torch.tensor([[1.0, 0.25]])


def test_soft_bce_by_hand():
    expected = -(np.log(0.5) + 0.25 * np.log(0.8) + 0.75 * np.log(0.2)) / 2
    assert float(soft_bce(SCORES, TARGETS)) == pytest.approx(expected, rel=1e-6)
    assert soft_bce(SCORES.bfloat16(), TARGETS.double()).dtype == torch.float32


def test_masked_entries_have_no_part_in_the_loss_or_its_gradient():
    scores = SCORES.clone().requires_grad_()
    loss = soft_bce(scores, TARGETS, torch.tensor([[False, True]]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-np.log(0.5), rel=1e-6)
    assert scores.grad.tolist() == [[-2.0, 0.0]]


def test_a_batch_that_is_masked_altogether_costs_nothing():
    assert float(soft_bce(SCORES, TARGETS, torch.ones(1, 2, dtype=torch.bool))) == 0


def test_no_mask_and_an_empty_one_are_the_same():
    scores, targets = torch.rand(5, 7) * 0.98 + 0.01, torch.rand(5, 7)
    empty = soft_bce(scores, targets, torch.zeros(5, 7, dtype=torch.bool))
    assert float(empty) == pytest.approx(float(soft_bce(scores, targets)), rel=1e-6)


def test_weights_count_positives_alone():
    loss = soft_bce(SCORES, TARGETS, None, torch.tensor([1.0, 3.0]))
    expected = -(np.log(0.5) + 3 * 0.25 * np.log(0.8) + 0.75 * np.log(0.2)) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("masked", [None, torch.tensor([[True, False, True, False]])])
def test_scores_of_exactly_0_and_1_give_numbers_and_gradients(masked):
    scores = torch.tensor([[0.0, 1.0, 0.0, 1.0]]).requires_grad_()
    loss = soft_bce(scores, torch.tensor([[0.0, 1.0, 1.0, 0.0]]), masked, torch.full((4,), 2.0))
    loss.backward()
    assert loss.isfinite() and scores.grad.isfinite().all()


def test_processes_weigh_their_masked_losses_to_that_of_one():
    """As the loop does: the mean over the processes of loss times unmasked times processes over all unmasked."""
    numbers = torch.Generator().manual_seed(0)
    scores, targets = (torch.rand(12, 5, generator=numbers, dtype=torch.float64) * 0.9 + 0.05 for _ in range(2))
    masked, weights = torch.rand(12, 5, generator=numbers) < 0.5, torch.arange(1.0, 6.0)
    masked[:4] = True  # nothing is left for the first process
    parts = []
    for own in torch.arange(12).split(4):
        n_unmasked = (~masked[own]).sum()
        parts.append(soft_bce(scores[own], targets[own], masked[own], weights) * n_unmasked * 3 / (~masked).sum())
    assert float(sum(parts) / 3) == pytest.approx(float(soft_bce(scores, targets, masked, weights)), rel=1e-6)


def test_inverse_weights_have_a_mean_of_one_over_the_labels():
    labels = sparse.csr_array(np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0]], bool))
    assert inverse_weights(labels).tolist() == pytest.approx([2 / 3, 2, 1])  # 4 labels, 2 classes; one never occurs
