"""Long recordings pass through files and give the bytes of those that are held in memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.audio import decoding, encoding
from pseudolabel.audio.encoding import ClipOptions, Pile, encode_into
from pseudolabel.audio.files import AudioSource, UnreadableAudio

RATE = 16_000


def noise(n: int, seed: int = 0, peak: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-peak, peak, n).astype(np.float32)


def encoded(source: AudioSource, decoding: ClipOptions) -> tuple[bytes, tuple]:
    pile = Pile()
    said = encode_into(pile, source, decoding)
    return b"".join(map(bytes, pile.pieces())), (said, pile.sizes, pile.checksums)


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
@pytest.mark.parametrize(("rate", "peak"), [(RATE, 0.5), (44_100, 0.5), (44_100, 3.0), (8_000, 1.0)])
def test_a_long_recording_gives_the_bytes_of_one_that_is_held_in_memory(tmp_path, monkeypatch, codec, rate, peak):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(5 * rate, peak=peak), rate, subtype="FLOAT")
    expected = encoded(AudioSource(path), ClipOptions(codec=codec))
    assert expected[1][0].scaled == (peak >= 1)
    monkeypatch.setattr(encoding, "LONG_SAMPLES", 1000)
    monkeypatch.setattr(decoding, "BLOCK_SAMPLES", 7777)
    assert encoded(AudioSource(path), ClipOptions(codec=codec)) == expected


def test_long_recordings_are_refused_for_the_same_reasons(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "LONG_SAMPLES", 1000)
    sounds = {
        "is silent at 16 bits": noise(RATE, peak=1e-6),
        "has a peak so loud that the rest vanishes at 16 bits": np.where(np.arange(RATE) == 77, 1e6, noise(RATE)),
        "holds NaN or infinite samples": np.where(np.arange(RATE) == RATE - 1, np.nan, noise(RATE)),
        "is digital silence": np.zeros(RATE),
    }
    pile = Pile()
    for reason, samples in sounds.items():
        soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="DOUBLE")
        with pytest.raises(UnreadableAudio) as caught:
            encode_into(pile, AudioSource(tmp_path / "a.wav"), ClipOptions())
        assert caught.value.reason == reason
    assert not pile.sizes


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(0, 60), max_size=12), room=st.integers(1, 150), data=st.data())
def test_a_pile_gives_back_its_pieces_in_any_order(sizes, room, data):
    pieces = [np.full(size, number + 1, np.uint8) for number, size in enumerate(sizes)]
    order = data.draw(st.permutations(range(len(pieces))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "MOST_PILE_BYTES", room)
        patch.setattr(encoding, "PIECE_BYTES", 7)
        pile = Pile()
        for _ in range(2):  # it is used again
            pile.clear()
            for piece in pieces:
                pile.append(piece)
            pile.arrange(order)
            assert b"".join(map(bytes, pile.pieces())) == b"".join(bytes(pieces[number]) for number in order)
            assert pile.sizes == [len(pieces[number]) for number in order]


def test_memory_does_not_grow_with_the_length_of_a_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "LONG_SAMPLES", 1 << 16)
    monkeypatch.setattr(decoding, "BLOCK_SAMPLES", 1 << 16)
    monkeypatch.setattr(encoding, "PIECE_BYTES", 1 << 16)
    peaks = []
    for seconds in (30, 300):
        soundfile.write(tmp_path / "a.wav", noise(seconds * RATE), RATE)
        pile = Pile()
        tracemalloc.start()
        encode_into(pile, AudioSource(tmp_path / "a.wav"), ClipOptions(sample_rate=8_000))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
