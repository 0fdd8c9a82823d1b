"""Scoring: batches of windows answer what the model answers to each window alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.audio.clips import ClipStore
from pseudolabel.models.tagger import build_tagger
from pseudolabel.scores.windows import window_bounds, window_samples
from pseudolabel.training import scoring
from pseudolabel.training.scoring import (
    Scorer,
    autocast,
    batches_of,
    pieces_of,
    precision_on,
    read_portions,
    ready_to_score,
    score_clips,
)

RATE = 16_000
SECONDS = [2.0, 3.1, 0.9, 5.4, 2.0, 3.1]


@pytest.fixture(scope="module")
def clips(write_tones, tmp_path_factory) -> ClipStore:
    return ClipStore.open(write_tones(tmp_path_factory.mktemp("tones"), SECONDS) / "clips.h5")


def settled(clips, front_end: dict):
    """Return an untrained network with the batch statistics of its input and a head that tells inputs apart."""
    torch.manual_seed(0)
    options = {"width": 0.1, "last_channels": 32, "input_norm": "batch"}
    tagger = build_tagger({"name": "mobilenetv2", "class_ids": ["low", "middle", "high"], "options": options,
                           "front_end": front_end})  # fmt: skip
    for module in tagger.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    torch.nn.init.normal_(tagger.network.head.linear.weight, std=1.0)
    with torch.no_grad():
        tagger.train()(torch.from_numpy(clips.batch(np.arange(6), 0, 2 * RATE)))
    return tagger.eval()


@pytest.fixture(scope="module")
def tagger(clips):
    return settled(clips, {"hop": 640})


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


def bounds_of(pieces, numbers) -> list[tuple[int, int, int]]:
    return [(int(pieces.clip[i]), int(pieces.start[i]), int(pieces.start[i] + pieces.length[i])) for i in numbers]


@settings(max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    windows=st.lists(st.sampled_from(["clip", 0.5, 1, 2, 5]), min_size=1, max_size=4, unique=True),
)
def test_pieces_are_the_windows_of_all_scales_and_none_stands_twice(lengths, windows):
    pieces = pieces_of(np.array(lengths), windows, 10)
    everything = bounds_of(pieces, range(len(pieces.clip)))
    keys = list(zip(everything, pieces.scale.tolist(), strict=True))
    assert keys == sorted(set(keys))  # a shortened last window of several scales is one of each
    assert all((scale > end - start > 0 and start > 0) or not scale for (_, start, end), scale in keys)
    expected = set()
    for window_s in windows:
        grid = pieces.windows["clip" if window_s == "clip" else f"{window_s}s"]
        for clip, n in enumerate(lengths):
            size = n if window_s == "clip" else int(window_s * 10)
            bounds = [(clip, start, end) for start, end in window_bounds(n, size).tolist()]
            assert bounds_of(pieces, grid[clip, : len(bounds)]) == bounds
            assert (grid[clip, len(bounds) :] == -1).all()
            expected.update(bounds)
    assert set(everything) == expected


@given(lengths=st.lists(st.integers(1, 9), max_size=30), batch_samples=st.integers(1, 40))
def test_batches_hold_every_piece_once_only_one_length_and_no_more_audio_than_asked_for(lengths, batch_samples):
    lengths = np.array(lengths, np.int64)
    batches = list(batches_of(lengths, batch_samples))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(set(lengths[batch])) == 1
        assert len(batch) == 1 or lengths[batch].sum() <= batch_samples
    filled = np.maximum(lengths, 1000)
    for batch in batches_of(np.stack([lengths, filled, lengths % 2], axis=1), batch_samples):
        assert len(set(lengths[batch])) == 1 and (len(batch) == 1 or filled[batch].sum() <= batch_samples)


def test_every_clip_is_read_once_for_all_scales_in_portions_of_bounded_size(clips, monkeypatch):
    monkeypatch.setattr(scoring, "PORTION_SAMPLES", 6 * RATE)
    read, rows = [], np.array([3, 0, 5, 1, 2, 4])
    whole = ClipStore.read_pcm16
    monkeypatch.setattr(ClipStore, "read_pcm16", lambda *args: (read.append(args[1]), whole(*args))[1])
    portions = list(read_portions(clips, rows, ["clip", 2, 1]))
    assert read == rows.tolist()
    assert [len(part.offsets) for part in portions] == [1, 2, 3]  # of 5.4, 2 + 3.1 and 3.1 + .9 + 2 s
    for part, first in zip(portions, (0, 1, 3), strict=True):
        assert len(part.audio) <= 6 * RATE
        for row, start in zip(rows[first:], part.offsets.tolist(), strict=False):
            samples = whole(clips, int(row))
            assert np.array_equal(part.audio[start : start + len(samples)].numpy(), samples)


@pytest.mark.parametrize("portion_s", [1, 6, 100])
def test_scores_do_not_depend_on_how_much_audio_is_in_memory(tagger, clips, monkeypatch, portion_s):
    expected = score_clips(tagger, clips, np.arange(6), 1)
    monkeypatch.setattr(scoring, "PORTION_SAMPLES", portion_s * RATE)
    assert np.allclose(score_clips(tagger, clips, np.arange(6), 1), expected, atol=1e-5)


def test_models_hear_the_samples_that_the_store_gives(clips, tagger):
    heard = []
    with torch.no_grad():
        handle = tagger.front_end.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0].numpy()))
        score_clips(tagger, clips, np.array([0]))
        handle.remove()
    assert np.array_equal(heard[0][0], clips.read("t00"))


def test_several_models_answer_the_mean_of_those_that_are_to_answer_a_clip(tagger, clips):
    other = copy.deepcopy(tagger)
    torch.nn.init.normal_(other.network.head.linear.weight, std=0.5)
    (portion,) = read_portions(clips, np.arange(6), ["clip", 1])
    both, first, second = (Scorer(taggers).answers(portion) for taggers in ([tagger, other], [tagger], [other]))
    assert torch.allclose(both, (first + second) / 2, atol=1e-6) and not torch.allclose(first, second, atol=0.01)
    answering = np.array([[1, 0], [0, 1], [1, 1], [0, 1], [1, 0], [1, 1]], bool)
    (portion,) = read_portions(clips, np.arange(6), ["clip", 1], answering=answering)
    found = Scorer([tagger, other]).answers(portion)
    for clip, expected in enumerate([first, second, both, second, first, both]):
        own = portion.pieces.clip == clip
        assert torch.allclose(found[own], expected[own], atol=1e-5)


def test_windows_cut_out_of_the_clip_s_features_answer_as_windows_computed_alone(clips, monkeypatch):
    tagger = settled(clips, {"name": "kaldi_fbank"})
    (portion,) = read_portions(clips, np.arange(6), ["clip", 2, 1, 0.503])  # half a second is no multiple of the hop
    rows_heard = []
    tagger.front_end.register_forward_pre_hook(lambda _, inputs: rows_heard.append(len(inputs[0])))
    found = {}
    for exactly in (False, True):
        monkeypatch.setattr(type(tagger.front_end), "cuts_exactly", exactly, raising=False)
        found[exactly] = Scorer([tagger]).answers(portion), sum(rows_heard)
        rows_heard.clear()
    assert torch.allclose(found[True][0], found[False][0], atol=1e-4) and found[True][0].std() > 0.05
    odd = portion.pieces.start % 160 != 0
    computed = np.isin(portion.pieces.length, portion.pieces.length[odd])  # a batch is cut as a whole or not at all
    assert found[False][1] == len(odd) and found[True][1] == 6 + computed.sum() and not computed.all()


@pytest.fixture(scope="module", params=["batch", "none"])
def trained(clips, request):
    """A network that has learned which tone is which; rounding hardly moves a trained network's answers."""
    torch.manual_seed(0)
    options = {"width": 0.25, "last_channels": 64, "input_norm": request.param, "dropout": 0.0}
    tagger = build_tagger({"name": "mobilenetv2", "class_ids": ["low", "middle", "high"], "options": options,
                           "front_end": {"hop": 640}}).train()  # fmt: skip
    optimizer = torch.optim.Adam(tagger.parameters(), 3e-3)
    features = tagger.features(torch.from_numpy(clips.batch(np.arange(6), 0, 2 * RATE)))
    for _ in range(120):
        loss = torch.nn.functional.binary_cross_entropy(tagger.from_features(features), torch.eye(3).repeat(2, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tagger.eval()


def test_scores_in_bf16_lie_as_near_as_stated(trained, clips):
    (portion,) = read_portions(clips, np.arange(6), ["clip", 1])
    exact, rounded = (Scorer([trained], precision=name).answers(portion) for name in ("float32", "bf16"))
    difference = (exact - rounded).abs()
    assert exact.std() > 0.15
    assert 0 < difference.max() < 0.04 and difference.mean() < 0.004  # as `score --help` says of small trained nets


def test_precision_follows_the_device_where_nothing_is_asked_for():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert (precision_on(gpu, None), precision_on(cpu, None)) == ("bf16", "float32")
    assert (precision_on(gpu, "float32"), precision_on(cpu, "bf16")) == ("float32", "bf16")


def test_a_model_answers_in_its_own_precision_unless_another_is_asked_for(trained, clips):
    (portion,) = read_portions(clips, np.arange(3), ["clip"])
    exact, rounded = (Scorer([trained], precision=name).answers(portion) for name in ("float32", "bf16"))
    own = copy.deepcopy(trained)
    own.config["precision"] = "bf16"
    assert torch.equal(Scorer([own]).answers(portion), rounded)
    assert torch.equal(Scorer([own], precision="float32").answers(portion), exact)
    assert torch.equal(Scorer([own, trained]).answers(portion), (rounded + exact) / 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-3), ("bf16", 0.05)])
def test_a_gpu_answers_what_the_cpu_does(trained, clips, precision, tolerance):
    (portion,) = read_portions(clips, np.arange(6), ["clip", 1], pinned=True)
    exact = Scorer([trained]).answers(portion)
    scorer = Scorer([copy.deepcopy(trained).to("cuda")], "cuda", precision=precision)
    assert (scorer.answers(portion).cpu() - exact).abs().max() < tolerance
    assert scorer.busy.settle() > 0


@pytest.mark.slow
def test_compiled_networks_answer_the_same(tagger, clips):
    (portion,) = read_portions(clips, np.arange(2), ["clip"])
    compiled = copy.deepcopy(tagger)
    ready_to_score([compiled], torch.device("cpu"), compiled=True)
    assert torch.allclose(Scorer([compiled]).answers(portion), Scorer([tagger]).answers(portion), atol=1e-4)


def test_the_device_is_busy_while_a_model_answers(tagger, clips, monkeypatch):
    scorer = Scorer([tagger])
    monkeypatch.setattr(scoring.time, "perf_counter", iter(range(100)).__next__)  # each look at the clock: 1 s
    (portion,) = read_portions(clips, np.arange(6), ["clip"])
    scorer.answers(portion)
    assert scorer.busy.settle() == len(set(SECONDS))


def test_window_lengths_in_samples():
    assert window_samples("clip", RATE) is None
    assert window_samples(2, RATE) == 32_000 and window_samples(0.5, 11_025) == 5512


def test_cpu_answers_in_float32():
    with autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
