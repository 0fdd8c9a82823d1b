"""Batches: what was drawn is done to them, mixtures in waveforms and energies, masks, fill; and reading ahead."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from pseudolabel.errors import InputError
from pseudolabel.models.tagger import build_tagger
from pseudolabel.training.batches import Batch, augmented, prefetch
from pseudolabel.training.drawing import draw_step
from pseudolabel.training.options import AugmentOptions

RATE, N, K = 16_000, 8, 3
FRONT_ENDS = [{"name": "log_mel"}, {"name": "kaldi_fbank", "mean": -4.0, "std": 4.5, "n_mels": 64}]


def batch_of(options: AugmentOptions, step: int = 0, masked: bool = False) -> Batch:
    draw = draw_step(np.arange(N), N, options, 0, step)
    numbers = torch.Generator().manual_seed(1)
    n = len(draw.pieces)
    return Batch(draw, 0.1 * torch.randn(n, RATE, generator=numbers), torch.rand(n, K, generator=numbers),
                 torch.rand(n, K, generator=numbers) > 0.7 if masked else None)  # fmt: skip


@pytest.fixture(params=FRONT_ENDS, ids=lambda options: options["name"])
def tagger(request):
    config = {"name": "mobilenetv2", "class_ids": ["a", "b", "c"], "front_end": request.param}
    return build_tagger({**config, "options": {"width": 0.1}})


def test_nothing_is_done_by_default(tagger):
    batch = batch_of(AugmentOptions())
    done = augmented(batch, tagger, AugmentOptions())
    assert torch.equal(done.waveforms, tagger.features(batch.waveforms)) and torch.equal(done.targets, batch.targets)


@pytest.mark.parametrize("partner", ["batch", "uniform"])
def test_waveforms_and_targets_are_mixed_by_the_same_lambda(tagger, partner):
    options = AugmentOptions(0.5, mixup_partner=partner)
    batch = batch_of(options)
    done, draw = augmented(batch, tagger, options), batch.draw
    assert 0 < (draw.share < 1).sum() < N
    for i in range(N):  # one by one
        share, other = float(draw.share[i]), int(draw.partner[i])
        mixed = share * batch.waveforms[i] + (1 - share) * batch.waveforms[other]
        assert torch.allclose(done.waveforms[i], tagger.features(mixed[None])[0], atol=1e-3)
        assert torch.allclose(done.targets[i], share * batch.targets[i] + (1 - share) * batch.targets[other])


def test_energies_are_mixed_as_mel_powers(tagger):
    options = AugmentOptions(0.5, mixup_domain="energy")
    batch = batch_of(options)
    done, draw = augmented(batch, tagger, options), batch.draw
    settings = {**tagger.front_end.options(), "mean": None, "std": None}
    raw = build_tagger({**tagger.config, "front_end": settings, "fill": None}).features(batch.waveforms).double()
    power = 10 ** (raw / 10) if settings["name"] == "log_mel" else raw.exp()
    share = torch.from_numpy(draw.share).double()[:, None, None]
    mixed = share * power + (1 - share) * power[torch.from_numpy(draw.partner)]
    log = 10 * mixed.log10() if settings["name"] == "log_mel" else mixed.log()
    options_of = tagger.front_end.settings
    expected = log if options_of.mean is None else (log - options_of.mean) / options_of.std
    assert torch.allclose(done.waveforms.double(), expected, atol=1e-3)
    plain = torch.from_numpy(draw.share == 1)
    assert torch.equal(done.waveforms[plain], tagger.features(batch.waveforms)[plain])


def test_powers_and_features_are_the_inverse_of_each_other(tagger):
    features = tagger.features(batch_of(AugmentOptions()).waveforms)
    front_end = tagger.front_end
    assert torch.allclose(front_end.from_power(front_end.to_power(features)), features, atol=1e-4)


def test_a_mixture_has_the_masks_of_both(tagger):
    options = AugmentOptions(0.5)
    batch = batch_of(options, masked=True)
    done = augmented(batch, tagger, options)
    for i in range(N):
        other = int(batch.draw.partner[i])
        assert torch.equal(done.masked[i], batch.masked[i] | batch.masked[other])
        if batch.draw.share[i] == 1:
            assert torch.equal(done.masked[i], batch.masked[i])


def test_gain_and_shift_are_those_that_were_drawn(tagger):
    options = AugmentOptions(gain_db=6.0, shift_s=0.25)
    batch = batch_of(options)
    moved = torch.stack([
        waveform.roll(int(np.round(turn * RATE / 4))) * float(gain)
        for waveform, turn, gain in zip(batch.waveforms, batch.draw.shift, batch.draw.gain, strict=True)
    ])  # fmt: skip
    assert torch.allclose(augmented(batch, tagger, options).waveforms, tagger.features(moved), atol=1e-4)


def test_masks_hold_the_fill_of_the_config(tagger):
    options = AugmentOptions(time_mask_s=0.5, mel_mask=64)
    batch = batch_of(options)
    features, plain = augmented(batch, tagger, options).waveforms, tagger.features(batch.waveforms)
    assert 0 < (features != plain).float().mean() < 1
    assert set(features[features != plain].tolist()) == {torch.tensor(tagger.config["fill"]).item()}


def test_each_share_of_a_batch_is_what_one_process_makes_of_it(tagger):
    options = AugmentOptions(0.5, gain_db=3, shift_s=0.2, time_mask_s=0.3, mel_mask=9)
    whole = augmented(batch_of(options), tagger, options)
    audio = batch_of(options)
    for rank in range(2):
        draw = draw_step(np.arange(N), N, options, 0, 0, rank, 2)
        own = Batch(draw, audio.waveforms[draw.pieces], audio.targets[draw.pieces], None)
        done = augmented(own, tagger, options)
        assert torch.equal(done.waveforms, whole.waveforms[4 * rank : 4 * rank + 4])
        assert torch.equal(done.targets, replace(whole).targets[4 * rank : 4 * rank + 4])


def test_prefetched_items_keep_their_order():
    assert list(prefetch(iter(range(100)))) == list(range(100))
    assert list(prefetch(iter([]))) == []
    assert list(prefetch(iter([None, 0, False]))) == [None, 0, False]


def test_prefetching_is_ahead_by_its_depth_and_no_more():
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    ahead = prefetch(items(), depth=2)
    assert next(ahead) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 4  # one taken, two waiting, one in the producer's hand
    ahead.close()


def test_error_of_the_reading_thread_is_raised_where_the_items_are_used():
    def items():
        yield 1
        raise InputError("clip is damaged", "clips.h5")

    taken = []
    with pytest.raises(InputError, match="clip is damaged"):
        for item in prefetch(items()):
            taken.append(item)
    assert taken == [1]


def test_reading_thread_ends_when_the_consumer_stops_early():
    before = threading.active_count()
    ahead = prefetch(iter(range(10**9)))
    assert [next(ahead), next(ahead)] == [0, 1]
    assert threading.active_count() == before + 1
    ahead.close()  # what leaving a for loop does
    assert threading.active_count() == before
