"""Scoring: batches of windows answer what the model answers to each window alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pseudolabel.audio.clips import ClipStore
from pseudolabel.models.tagger import build_tagger
from pseudolabel.scores.windows import window_samples
from pseudolabel.training.scoring import autocast, batches_of, pieces_of, score_clips

RATE = 16_000
SECONDS = [2.0, 3.1, 0.9, 5.4, 2.0, 3.1]


@pytest.fixture(scope="module")
def clips(write_tones, tmp_path_factory) -> ClipStore:
    return ClipStore.open(write_tones(tmp_path_factory.mktemp("tones"), SECONDS) / "clips.h5")


@pytest.fixture(scope="module")
def tagger(clips):
    """An untrained network with the batch statistics of its input and a head that tells inputs apart."""
    torch.manual_seed(0)
    options = {"width": 0.1, "last_channels": 32, "input_norm": "batch"}
    tagger = build_tagger({"name": "mobilenetv2", "class_ids": ["low", "middle", "high"], "options": options,
                           "front_end": {"hop": 640}})  # fmt: skip
    for module in tagger.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    torch.nn.init.normal_(tagger.network.head.linear.weight, std=1.0)
    with torch.no_grad():
        tagger.train()(torch.from_numpy(clips.batch(np.arange(6), 0, 2 * RATE)))
    return tagger.eval()


@pytest.mark.parametrize("batch_size", [1, 4, 32])
@pytest.mark.parametrize("window_s", ["clip", 2, 1, 0.5])
def test_scores_equal_the_model_called_on_each_window_alone(tagger, clips, window_s, batch_size):
    rows = np.array([3, 0, 5, 1, 2])
    scores = score_clips(tagger, clips, rows, window_s, batch_size)
    lists = []
    for row in rows:
        samples = clips.read(clips.clip_ids[row])
        size = len(samples) if window_s == "clip" else int(window_s * RATE)
        starts = list(range(0, len(samples), size))
        if len(starts) > 1 and len(samples) - starts[-1] < size / 2:
            starts.pop()
        ends = [*starts[1:], len(samples)]
        windows = [torch.from_numpy(samples[a:b])[None] for a, b in zip(starts, ends, strict=True)]
        with torch.no_grad():
            lists.append(np.concatenate([tagger(window).numpy() for window in windows]))
    assert scores.shape == (5, max(map(len, lists)), 3) and scores.dtype == np.float32
    for found, expected in zip(scores, lists, strict=True):
        assert np.allclose(found[: len(expected)], expected, atol=1e-4)
        assert not found[len(expected) :].any()
    assert scores[scores > 0].std() > 0.05  # the answers differ, so that a mix-up would show


def test_an_answer_does_not_depend_on_the_other_clips(tagger, clips):
    alone = score_clips(tagger, clips, np.array([1]), 1)
    among = score_clips(tagger, clips, np.arange(6), 1)
    assert np.allclose(among[1, : alone.shape[1]], alone[0], atol=1e-4)


def test_model_is_in_evaluation_mode_and_keeps_its_weights(tagger, clips):
    before = {name: value.clone() for name, value in tagger.state_dict().items()}
    tagger.train()
    first, second = (score_clips(tagger, clips, np.arange(3)) for _ in range(2))
    assert np.array_equal(first, second)  # no dropout
    assert not tagger.training
    assert all(torch.equal(value, before[name]) for name, value in tagger.state_dict().items())


def test_pieces_cover_every_clip_once(clips):
    pieces = pieces_of(clips, np.arange(6), 2 * RATE)
    for position in range(6):
        own = pieces[pieces[:, 0] == position]
        assert own[:, 1].tolist() == list(range(len(own)))
        assert own[0, 2] == 0 and (own[1:, 2] == own[:-1, 2] + own[:-1, 3]).all()
        assert own[:, 3].sum() == clips.n_samples[position]


def test_batches_hold_every_piece_once_and_only_pieces_of_one_length(clips):
    pieces = pieces_of(clips, np.arange(6), RATE)
    batches = list(batches_of(pieces, 3))
    assert all(len(set(batch[:, 3].tolist())) == 1 and 1 <= len(batch) <= 3 for batch in batches)
    assert sorted(map(tuple, np.concatenate(batches).tolist())) == sorted(map(tuple, pieces.tolist()))


def test_window_lengths_in_samples():
    assert window_samples("clip", RATE) is None
    assert window_samples(2, RATE) == 32_000 and window_samples(0.5, 11_025) == 5512


def test_cpu_answers_in_float32():
    with autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
