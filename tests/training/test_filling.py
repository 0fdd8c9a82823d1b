"""Short clips: a network takes the same features, bit for bit, wherever it is asked about a clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from pseudolabel.audio.clips import ClipStore
from pseudolabel.models.tagger import build_tagger
from pseudolabel.scores.store import ScoreStore
from pseudolabel.training.averaging import estimate_batch_norm
from pseudolabel.training.batches import Batch, augmented, read_batch
from pseudolabel.training.dataset import SoftTargets, clip_examples, window_examples
from pseudolabel.training.drawing import draw_step
from pseudolabel.training.options import AugmentOptions
from pseudolabel.training.scoring import score_clips
from pseudolabel.training.validation import Validation

RATE, K, WINDOW_S = 16_000, 3, 2
LENGTHS_S = (2.0, 1.3, 0.73, 2.0, 1.99, 0.021, 0.9)  # shorter than one window of kaldi_fbank and of log_mel: 0.021
LABELS = np.arange(len(LENGTHS_S))[:, None] % K == np.arange(K)
MODELS = {
    "psl": {"name": "mobilenetv2", "options": {"width": 0.1}},
    "psla": {"name": "mobilenetv2", "options": {"width": 0.1}, "fill": "psla", "min_frames": 230,
             "front_end": {"name": "kaldi_fbank", "mean": -4.6, "std": 4.6, "n_mels": 64}},
    "fixed extent": {"name": "ast_tiny", "options": {"stride": 16, "n_frames": 200}},
    "cut": {"name": "mobilenetv2", "options": {"width": 0.1}, "min_frames": 96, "max_frames": 150},
}  # fmt: skip


@pytest.fixture(scope="module")
def clips(write_tones, tmp_path_factory) -> ClipStore:
    return ClipStore.open(write_tones(tmp_path_factory.mktemp("short"), LENGTHS_S) / "clips.h5")


@pytest.fixture(params=MODELS)
def tagger(request):
    torch.manual_seed(0)
    window_s = None if request.param == "cut" else WINDOW_S
    return build_tagger({"class_ids": list("abc"), "window_s": window_s, **MODELS[request.param]}).eval()


def taken_by_network(tagger, monkeypatch) -> list:
    """Return a list to which each call of the network adds its features (B, F, mel)."""
    taken, answer = [], tagger.network.forward

    def forward(features: torch.Tensor) -> torch.Tensor:
        taken.append(features.clone())
        return answer(features)

    monkeypatch.setattr(tagger.network, "forward", forward)
    return taken


def expected_features(tagger, clips: ClipStore, row: int) -> torch.Tensor:
    """Return what the network must take of a clip, written out: its own frames, the fill after them."""
    own = tagger.front_end(torch.from_numpy(padded(tagger, clips.read(clips.clip_ids[row])))[None])[0]
    config, window = tagger.config, tagger.front_end.n_frames(WINDOW_S * RATE) if tagger.config["window_s"] else 0
    n_frames = max(len(own), config["min_frames"], window)
    filled = torch.full((n_frames, own.shape[1]), config["fill"])
    filled[: len(own)] = own
    return filled[: config["max_frames"]]


def padded(tagger, samples: np.ndarray) -> np.ndarray:
    return np.pad(samples, (0, max(0, tagger.front_end.min_samples - len(samples))))


def in_training(tagger, clips: ClipStore, rows: np.ndarray, options: AugmentOptions) -> Batch:
    examples = clip_examples(clips, rows, sparse.csr_array(LABELS[rows]), WINDOW_S * RATE)
    return augmented(read_batch(examples, draw_step(np.arange(len(rows)), len(rows), options, 0, 0)), tagger, options)


def test_training_scoring_validation_and_statistics_take_the_same_features(clips, tagger, monkeypatch):
    rows = np.arange(len(clips))
    expected = [expected_features(tagger, clips, row) for row in rows]
    if tagger.config["window_s"]:  # else a batch is as long as its longest clip
        trained_on = in_training(tagger, clips, rows, AugmentOptions()).waveforms
        assert all(torch.equal(features, own) for features, own in zip(trained_on, expected, strict=True))

    taken = taken_by_network(tagger, monkeypatch)
    scores = score_clips(tagger, clips, rows)[:, 0]
    assert_same_set(taken, expected)
    taken.clear()
    Validation(clips, rows, LABELS).metrics(tagger, 4, torch.device("cpu"))
    assert_same_set(taken, expected)
    for row in rows:
        taken.clear()
        answer = tagger(torch.from_numpy(clips.read(clips.clip_ids[row]))[None])
        assert torch.equal(taken[0][0], expected[row])
        np.testing.assert_allclose(answer[0].detach(), scores[row], atol=1e-6)
    if tagger.config["window_s"]:
        np.testing.assert_allclose(tagger.from_features(trained_on).detach(), scores, atol=1e-6)
        taken.clear()
        waveforms = clips.batch(rows, 0, WINDOW_S * RATE)
        estimate_batch_norm(tagger, [(waveforms, clips.n_samples[rows])])
        assert torch.equal(taken[0], torch.stack(expected))


def assert_same_set(batches: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    """Assert that batches hold the features of each clip once, in whatever order."""
    assert sorted(bytes_of(features) for batch in batches for features in batch) == sorted(map(bytes_of, expected))


def bytes_of(features: torch.Tensor) -> bytes:
    return features.numpy().tobytes()


@pytest.mark.parametrize("name", ["psl", "psla"])
def test_windows_of_longer_clips_are_not_filled_up_to_what_was_trained_on(name, clips, monkeypatch):
    tagger = build_tagger({"class_ids": list("abc"), "window_s": WINDOW_S, **MODELS[name]})
    taken = taken_by_network(tagger, monkeypatch)
    score_clips(tagger, clips, np.array([0]), 1)  # two windows
    assert [features.shape[:2] for features in taken] == [(2, {"psl": 101, "psla": 230}[name])]
    taken.clear()
    score_clips(tagger, clips, np.array([6]), 1)  # one window, which is the clip
    assert taken[0].shape[1] == tagger.least_frames()


@pytest.mark.parametrize("name", ["psl", "psla"])
def test_last_short_window_is_taken_as_in_training(name, write_tones, tmp_path, monkeypatch):
    clips = ClipStore.open(write_tones(tmp_path / "tones", [3.5]) / "clips.h5")
    tagger = build_tagger({"class_ids": list("abc"), "window_s": WINDOW_S, **MODELS[name]})
    ScoreStore.write(tmp_path / "scores.h5", clips.clip_ids, list("abc"), {2: np.full((1, 2, 3), 0.5)})
    scores, row = ScoreStore.open(tmp_path / "scores.h5"), np.array([0])
    examples = window_examples(
        clips, row, sparse.csr_array(LABELS[:1]), 2 * RATE, SoftTargets(scores, row, np.arange(3), 2)
    )
    draw = draw_step(np.arange(2), 2, AugmentOptions(), 0, 0)
    trained_on = augmented(read_batch(examples, draw), tagger, AugmentOptions()).waveforms
    taken = taken_by_network(tagger, monkeypatch)
    score_clips(tagger, clips, row, 2)
    assert_same_set(taken, list(trained_on))
    taken.clear()
    score_clips(tagger, clips, row, 1)  # windows that are shorter than what it was trained on stay as they are
    assert {features.shape[1] for features in taken} == ({101, 51} if name == "psl" else {230})


def test_a_mixture_is_as_long_as_its_first_clip_and_what_follows_is_filled(clips, tagger):
    if tagger.config["window_s"] is None:
        pytest.skip("not trained on one length")
    rows = np.array([0, 1, 2, 6])
    waveforms, n_samples = clips.batch(rows, 0, WINDOW_S * RATE), clips.n_samples[rows]
    for domain in ("waveform", "energy"):
        options = AugmentOptions(1.0, mixup_domain=domain)
        examples = clip_examples(clips, rows, sparse.csr_array(LABELS[rows]), WINDOW_S * RATE)
        draw = draw_step(np.arange(4), 4, options, 1, 0)
        mixed = augmented(read_batch(examples, draw), tagger, options).waveforms
        for row, (partner, share) in enumerate(zip(draw.partner, draw.share, strict=True)):
            n = n_samples[row]
            first, other = waveforms[row, :n], waveforms[partner, :n]
            front_end, own = tagger.front_end, tagger.front_end.n_frames(int(n))
            if domain == "waveform":
                alone = front_end(torch.from_numpy(share * first + (1 - share) * other)[None])[0]
            else:
                powers = [front_end.to_power(front_end(torch.from_numpy(part)[None])) for part in (first, other)]
                alone = front_end.from_power(float(share) * powers[0] + float(1 - share) * powers[1])[0]
            ends = slice(0, own if domain == "waveform" else min(own, front_end.n_frames(int(n_samples[partner]))) - 3)
            torch.testing.assert_close(mixed[row, ends], alone[ends], atol=1e-3, rtol=0)
            assert (mixed[row, own:] == tagger.config["fill"]).all()


def test_a_shift_turns_a_short_clip_within_its_own_length(clips):
    tagger = build_tagger({"class_ids": list("abc"), "window_s": WINDOW_S, **MODELS["psl"]})
    shifted = in_training(tagger, clips, np.array([2, 6]), AugmentOptions(shift_s=0.4)).waveforms
    for features, row in zip(shifted, (2, 6), strict=True):
        own = tagger.front_end.n_frames(int(clips.n_samples[row]))
        assert (features[own:] == tagger.config["fill"]).all() and (features[:own].amax(dim=1) > -60).all()
