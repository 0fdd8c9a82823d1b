"""Averaged weights: fractions by hand, batch-norm statistics as a plain computation gives them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.training.averaging import checkpoint_states, estimate_batch_norm, mean_state, statistics_pieces
from pseudolabel.training.run_folder import checkpoint_path, save_checkpoint


def state(*values: float, steps: int = 0) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(values, dtype=torch.float32), "steps": torch.tensor(steps)}


def test_mean_counts_every_state_once_the_first_too():
    mean = mean_state(state(number, 1.0, steps=number) for number in (1, 2, 6))
    assert mean["w"].tolist() == [3.0, 1.0] and mean["w"].dtype == torch.float32  # twice the first would be 10/4
    assert mean["steps"].item() == 6


def test_weights_are_ratios():
    mean = mean_state([state(1.0), state(4.0)], [1, 3])
    assert mean["w"].item() == Fraction(1 * 1 + 3 * 4, 4) == 3.25


def test_sums_are_float64():
    """In float32 the small parts would be lost: 2^24 + 1 is none of its numbers."""
    assert mean_state([state(2.0**24), state(1.0), state(1.0), state(2.0)])["w"].item() == (2**24 + 4) / 4


def test_states_are_read_one_after_the_other():
    alive = []

    def states():
        for number in range(3):
            alive.append(number)
            yield state(float(number))
            assert alive == [*range(number + 1)]

    assert mean_state(states())["w"].item() == 1.0


def test_checkpoints_of_a_range_come_in_order_and_absent_ones_are_named(tmp_path):
    for epoch in (2, 3, 5, 11):
        settings = {"config": {"name": "toy"}}
        save_checkpoint(tmp_path / "checkpoints", epoch, {"tagger": state(float(epoch))}, settings, kept=0)
    config, epochs, states = checkpoint_states(tmp_path, 2, 3)
    assert config == {"name": "toy"} and epochs == [2, 3]
    assert [found["w"].item() for found in states()] == [found["w"].item() for found in states()] == [2.0, 3.0]
    assert checkpoint_states(tmp_path)[1] == [2, 3, 5, 11]
    with pytest.raises(InputError, match=r"no checkpoint of epoch 4, 6; there are: 2, 3, 5, 11\. Train with"):
        checkpoint_states(tmp_path, 3, 6)
    checkpoint_path(tmp_path / "checkpoints", 3).write_bytes(b"cut")
    with pytest.raises(InputError, match=r"epoch-0003\.pt: not a readable checkpoint"):
        mean_state(checkpoint_states(tmp_path, 2, 3)[2]())
    with pytest.raises(InputError, match="no checkpoints"):
        checkpoint_states(tmp_path / "absent")


class Toy(nn.Module):
    """Waveforms (B, T) through two batch norms, with dropout between."""

    def __init__(self):
        super().__init__()
        self.config = {"precision": None}
        self.first, self.drop, self.second = nn.BatchNorm1d(1, momentum=0.3), nn.Dropout(0.5), nn.BatchNorm1d(1)

    def features(self, waveforms, n_samples):
        return waveforms[:, : n_samples.max()]

    def from_features(self, features):
        return self.second(self.drop(self.first(features[:, None])))


def test_statistics_are_the_mean_over_batches():
    rng = np.random.default_rng(3)
    batches = [rng.normal(2, 3, (4, 50)).astype(np.float32) for _ in range(5)]
    toy = Toy()
    toy.first.running_mean += 7  # what was there does not count
    assert estimate_batch_norm(toy, [(batch, np.full(4, 50)) for batch in batches]) == 5
    assert toy.first.running_mean.item() == pytest.approx(np.mean([batch.mean() for batch in batches]), rel=1e-5)
    assert toy.first.running_var.item() == pytest.approx(np.mean([batch.var(ddof=1) for batch in batches]), rel=1e-5)
    assert toy.first.momentum == 0.3 and not toy.training and toy.first.num_batches_tracked == 5


def test_statistics_follow_from_the_seed_and_leave_the_callers_draws_alone():
    batches = [(np.random.default_rng(0).random((4, 50), np.float32), np.full(4, 50))]
    found = []
    torch.manual_seed(5)
    expected = torch.rand(3)
    for seed in (0, 0, 1):
        toy = Toy()
        torch.manual_seed(5)
        estimate_batch_norm(toy, batches, seed=seed)
        found.append(toy.second.running_var.item())
        assert torch.equal(torch.rand(3), expected)
    assert found[0] == found[1] != found[2]


def test_pieces_are_drawn_once_each_from_all_windows(write_tones, tmp_path):
    clips = ClipStore.open(write_tones(tmp_path / "tones", [2.0, 5.0, 0.5, 3.0]) / "clips.h5")
    length, rows = 16_000, np.array([1, 0, 2])
    batches = statistics_pieces(clips, rows, length, 100, 4)
    assert [len(rows) for rows, _ in batches] == [4, 4]  # of 5 + 2 + 1 pieces
    found = {(row, start) for rows, starts in batches for row, start in zip(rows, starts, strict=True)}
    assert found == {*((1, w * length) for w in range(5)), (0, 0), (0, length), (2, 0)}
    assert [len(rows) for rows, _ in statistics_pieces(clips, rows, length, 100, 5)] == [5]  # the rest fills no batch
    assert [len(rows) for rows, _ in statistics_pieces(clips, rows, length, 3, 4)] == [3]  # unless it is alone
    again = statistics_pieces(clips, rows, length, 100, 4, seed=1)
    assert [starts.tolist() for _, starts in again] != [starts.tolist() for _, starts in batches]
