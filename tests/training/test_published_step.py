"""A training step beside PSLA's program, clip by clip: mixture, features, filling, masks, targets, loss; weights."""

from __future__ import annotations

import math

import as_published as published
import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from pseudolabel.audio.augment import mask_span
from pseudolabel.labels.balancing import balanced_weights
from pseudolabel.models.networks import PSLA_FRONT_END
from pseudolabel.models.tagger import build_tagger
from pseudolabel.training.batches import Batch, augmented
from pseudolabel.training.drawing import draw_step
from pseudolabel.training.losses import soft_bce
from pseudolabel.training.options import AugmentOptions

RATE, FRAMES, BANDS = published.RATE, 1056, 128
SECONDS = (10.0, 3.2, 10.0, 7.7, 1.1, 9.9)  # of the clips
OPTIONS = AugmentOptions(0.7, mixup_partner="uniform", time_mask_s=1.92, mel_mask=48)


def masked_by_psla(features: Tensor, axis: int, longest: int, length: float, place: float) -> tuple[int, int]:
    """Put 0 where torchaudio's masking does, given its two draws from [0, 1); return where it begins and ends."""
    size = features.shape[axis]
    value = length * longest
    start = int(place * (size - value))
    end = start + int(value)
    for number in range(start, end):
        features.select(axis, number).fill_(0.0)
    return start, end


@pytest.mark.parametrize(("axis", "size", "longest"), [(1, FRAMES, 192), (2, BANDS, 48)])
def test_masks_are_as_wide_as_the_published_ones_and_begin_where_those_do(axis, size, longest):
    draws = np.random.default_rng(0).random((500, 2))
    features = torch.ones(500, *((size, 1) if axis == 1 else (1, size)))
    widths = set()
    for ours, (length, place) in zip(mask_span(features, axis, longest, draws, 0.0), draws, strict=True):
        start, end = masked_by_psla(torch.ones(size), 0, longest, length, place)
        hidden = (ours.flatten() == 0).nonzero().flatten().tolist()
        assert len(hidden) == end - start
        if hidden:  # theirs takes the fraction of the width off the room for its place, ours does not
            assert 0 <= hidden[0] - start <= 2
        widths.add(len(hidden))
    assert min(widths) == 0 and max(widths) == longest - 1


def psla_example(clip: Tensor, other: Tensor | None, share: float) -> Tensor:
    """Return the log-mel (1056, 128) of a clip, or of its mixture, before masks and normalisation."""
    waveform = clip - clip.mean()
    if other is not None:
        other = other - other.mean()
        partner = torch.zeros(len(waveform))
        heard = min(len(partner), len(other))
        partner[:heard] = other[:heard]
        waveform = share * waveform + (1 - share) * partner
    return published.fbank(waveform, FRAMES, 0.0, 1.0)


def test_a_step_s_features_and_targets_are_those_of_the_published_program():
    numbers = torch.Generator().manual_seed(0)
    lengths = np.array([round(seconds * RATE) for seconds in SECONDS])
    # Their program removes each clip's mean, ours each frame's: where a partner ends, an offset would make a step.
    clips = [clip - clip.mean() for clip in (0.1 * torch.randn(n, generator=numbers) for n in lengths.tolist())]
    labels = (torch.rand(len(clips), 5, generator=numbers) > 0.5).float()
    draw = draw_step(np.arange(len(clips)), len(clips), OPTIONS, seed=3, step=0)
    assert 0 < (draw.share < 1).sum() < len(clips)
    waveforms = torch.stack([torch.nn.functional.pad(clips[i], (0, 10 * RATE - len(clips[i]))) for i in draw.pieces])
    config = {"name": "mobilenetv2", "class_ids": list("abcde"), "front_end": PSLA_FRONT_END}
    tagger = build_tagger({**config, "window_s": 10.0, "fill": "psla", "min_frames": FRAMES})
    done = augmented(Batch(draw, waveforms, labels[draw.pieces], None, lengths[draw.pieces]), tagger, OPTIONS)
    assert done.waveforms.shape == (len(clips), FRAMES, BANDS)
    for i in range(draw.n):
        share, piece, other = float(draw.share[i]), draw.pieces[i], draw.pieces[draw.partner[i]]
        mixed = share < 1
        expected = psla_example(clips[piece], clips[other] if mixed else None, share)
        for axis, longest, (length, place) in ((1, 48, draw.mel_mask[i]), (0, 192, draw.time_mask[i])):
            width = int(length * longest)
            start = int(place * (expected.shape[axis] - width + 1))
            expected.narrow(axis, start, width).fill_(0.0)
        apart = (done.waveforms[i] - (expected + 4.6476) / 4.5699).abs()
        assert apart.max() <= 1e-3 and (apart > 2e-5).float().mean() <= 1e-3  # quiet bands show float32's rounding
        target = share * labels[piece] + (1 - share) * labels[other] if mixed else labels[piece]
        torch.testing.assert_close(done.targets[i], target)


def test_the_loss_is_the_published_one():
    numbers = torch.Generator().manual_seed(1)
    scores, targets = torch.rand(4, 7, generator=numbers), torch.rand(4, 7, generator=numbers)
    losses = []
    for score, target in zip(scores.flatten().tolist(), targets.flatten().tolist(), strict=True):
        score = min(max(score, 1e-7), 1 - 1e-7)
        losses.append(-target * math.log(score) - (1 - target) * math.log(1 - score))
    assert soft_bce(scores, targets).item() == pytest.approx(sum(losses) / len(losses), rel=1e-6)


def test_sampling_weights_are_the_published_ones_up_to_scale():
    """The program adds .01 to each count: at most 1 % for a class of one clip."""
    rng = np.random.default_rng(0)
    labels = rng.random((400, 30)) < np.linspace(0.02, 0.5, 30)
    labels[labels.sum(1) == 0, 29] = True
    weights = []
    for clip in labels:
        weights.append(sum(1000 / (labels[:, k].sum() + 0.01) for k in range(30) if clip[k]))
    ratio = balanced_weights(sparse.csr_array(labels)) / np.array(weights) * 1000
    rarest = labels.sum(0)[labels.any(0)].min()
    assert ratio.min() >= 1 and ratio.max() <= 1 + 0.01 / rarest + 1e-9
    assert ratio.max() > 1
