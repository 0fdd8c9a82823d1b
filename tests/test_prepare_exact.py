"""`prepare` keeps what 16-bit recordings hold bit for bit, of others the nearest 16 bits, and reads earlier stores."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

import pseudolabel.prepare as verb
from pseudolabel.audio import encoding
from pseudolabel.audio.clips import CODECS, ClipStore, ClipTable, pack, write_clips
from pseudolabel.audio.media import flac_bytes
from pseudolabel.models.tagger import build_tagger
from pseudolabel.scores.windows import CLIP
from pseudolabel.training.scoring import score_clips

RATE = 16_000
EVERY = np.random.default_rng(0).permutation(np.arange(-32768, 32768)).astype(np.int16)
# What soundfile writes (format, subtype), and what FFmpeg does (codec): all of them lossless.
SOUNDFILE = {"a.wav": ("WAV", "PCM_16"), "b.flac": ("FLAC", "PCM_16"), "c.aiff": ("AIFF", "PCM_16"),
             "d.au": ("AU", "PCM_16"), "e.caf": ("CAF", "PCM_16"), "f.w64": ("W64", "PCM_16")}  # fmt: skip
FFMPEG = {"g.m4a": "alac", "h.mkv": "pcm_s16le"}


def prepare(work: Path, *options: object) -> int:
    return verb.main(["--work", str(work), "--processes", "1", "--audio", str(work / "audio"), *map(str, options)])


def write_ffmpeg(path: Path, samples: np.ndarray, codec: str) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(stream.codec_context.format.name, "mono", RATE, stream.codec_context.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def lossless(tmp_path_factory) -> Path:
    """Recordings of all 65,536 values that 16 bits have."""
    work = tmp_path_factory.mktemp("work")
    (work / "audio").mkdir()
    for name, (form, subtype) in SOUNDFILE.items():
        soundfile.write(work / "audio" / name, EVERY, RATE, format=form, subtype=subtype)
    for name, codec in FFMPEG.items():
        write_ffmpeg(work / "audio" / name, EVERY, codec)
    return work


@pytest.mark.parametrize("held", ["in memory", "in a file"])
@pytest.mark.parametrize("codec", CODECS)
def test_every_16_bit_sample_comes_back_bit_for_bit(lossless, codec, held, monkeypatch):
    if held == "in a file":
        monkeypatch.setattr(encoding, "LONG_SAMPLES", 1000)
    assert prepare(lossless, "--codec", codec, "--out", lossless / f"{codec}.h5", "--overwrite") == 0
    store = ClipStore.open(lossless / f"{codec}.h5")
    assert store.clip_ids == tuple("abcdefgh") and store.full_scale == 32768
    for row, clip_id in enumerate(store.clip_ids):
        np.testing.assert_array_equal(store.read_pcm16(row), EVERY, err_msg=clip_id)
        assert (store.read(clip_id) * 32768 == EVERY).all()
    as_theirs, _ = soundfile.read(lossless / "audio" / "a.wav", dtype="float32")
    np.testing.assert_array_equal(store.batch([0, 1], 0, len(EVERY)), [as_theirs, as_theirs])


def nearest(samples: list[Fraction]) -> list[int]:
    """Return numbers in [-1, 1] as the nearest int16 (of two, the even one), one by one."""
    return [max(-32768, min(round(sample * 32768), 32767)) for sample in samples]


def test_other_samples_become_the_nearest_of_16_bits(tmp_path):
    (tmp_path / "audio").mkdir()
    rng, expected = np.random.default_rng(1), {}
    edges = [-(1 << 31), (1 << 31) - 1, 0, 1 << 15, 3 << 15, -(1 << 15)]  # ends, and halfway between two steps
    whole = np.concatenate([edges, rng.integers(-(1 << 31), 1 << 31, 3000)]).astype(np.int32)
    for subtype, bits in (("PCM_U8", 8), ("PCM_24", 24)):
        kept = whole >> (32 - bits) << (32 - bits)
        soundfile.write(tmp_path / "audio" / f"{subtype}.wav", kept, RATE, subtype=subtype)
        expected[subtype] = nearest([Fraction(int(value), 1 << 31) for value in kept])
    real = np.concatenate([[-1, 1, 0.5 / 32768, 1.5 / 32768], rng.uniform(-1, 1, 3000)]).astype(np.float32)
    soundfile.write(tmp_path / "audio" / "real.wav", real, RATE, subtype="FLOAT")
    expected["real"] = nearest([Fraction(float(value)) for value in real])
    assert prepare(tmp_path) == 0
    store = ClipStore.open(tmp_path / "clips.h5")
    found = {clip_id: store.read_pcm16(row).tolist() for row, clip_id in enumerate(store.clip_ids)}
    assert found == expected


@pytest.fixture
def earlier(tmp_path) -> Path:
    """A store as earlier versions wrote it, of recording `b`; `a` and `c` have come since."""
    (tmp_path / "audio").mkdir()
    for clip_id in "abc":
        soundfile.write(tmp_path / "audio" / f"{clip_id}.wav", EVERY[: RATE + ord(clip_id)], RATE)
    pcm = earlier_scale(EVERY[: RATE + ord("b")])
    stored = pack(pcm, "pcm16", RATE)
    write_clips(
        tmp_path / "clips.h5", ClipTable(["b"], ["b"], [len(pcm)], [len(stored)], RATE, full_scale=32767), [stored]
    )
    return tmp_path


def earlier_scale(pcm: np.ndarray) -> np.ndarray:
    return np.round(pcm.astype(np.float32) / 32768 * np.float32(32767)).astype(np.int16)


def test_what_is_added_to_an_earlier_store_has_its_scale(earlier, capsys):
    assert prepare(earlier, "--add") == 0
    assert "clips.h5 keeps the scale of an earlier version" in capsys.readouterr().err
    store = ClipStore.open(earlier / "clips.h5")
    assert store.clip_ids == ("a", "b", "c") and store.full_scale == 32767 and store.verify()
    for row, clip_id in enumerate("abc"):
        np.testing.assert_array_equal(store.read_pcm16(row), earlier_scale(EVERY[: RATE + ord(clip_id)]))
    assert prepare(earlier, "--overwrite") == 0
    np.testing.assert_array_equal(ClipStore.open(earlier / "clips.h5").read_pcm16(2), EVERY[: RATE + ord("c")])


def test_scores_and_sound_of_an_earlier_store_have_its_scale(earlier):
    store = ClipStore.open(earlier / "clips.h5")
    torch.manual_seed(0)
    tagger = build_tagger({"name": "mobilenetv2", "class_ids": ["x"], "options": {"width": 0.1}}).eval()
    with torch.inference_mode():
        expected = tagger(torch.from_numpy(store.read_pcm16(0).astype(np.float32) / 32767)[None])
    np.testing.assert_array_equal(score_clips(tagger, store, np.array([0]), CLIP)[:, 0], expected)
    (earlier / "page.flac").write_bytes(flac_bytes(store, "b"))
    heard, _ = soundfile.read(earlier / "page.flac", dtype="int16")
    np.testing.assert_array_equal(heard[: store.n_samples[0]], store.read_pcm16(0))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_blocks_of_an_earlier_version_are_not_mixed_with_new_ones(earlier, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(verb, "collect", interrupt)
        assert prepare(earlier, "--out", earlier / "new.h5") == 130
    path = earlier / "new.h5.parts" / "settings.json"
    settings = json.loads(path.read_text())
    del settings["full_scale"]
    path.write_text(json.dumps(settings))
    assert prepare(earlier, "--out", earlier / "new.h5") == 2
    assert "an unfinished run with other full_scale is here" in capsys.readouterr().err
    assert prepare(earlier, "--out", earlier / "new.h5", "--overwrite") == 0
    np.testing.assert_array_equal(ClipStore.open(earlier / "new.h5").read_pcm16(0), EVERY[: RATE + ord("a")])
