"""Recordings are decoded to their end, whatever their header states; where the two differ, it is said."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pseudolabel.audio import decoding
from pseudolabel.audio.decoding import Findings, Tape
from pseudolabel.audio.files import AudioSource, UnreadableAudio
from pseudolabel.audio.streams import read_audio

RATE = 16_000


def sound(seconds: float = 3.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Brown noise (T,) float32 below full scale: codecs keep it well."""
    samples = np.cumsum(np.random.default_rng(seed).standard_normal(round(seconds * rate)))
    samples -= np.linspace(samples[0], samples[-1], len(samples))
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def packed(samples: np.ndarray, format: str, subtype: str, rate: int = RATE) -> bytearray:
    """What soundfile writes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype)
    return bytearray(buffer.getvalue())


def wav(samples: np.ndarray, rate: int = RATE) -> bytearray:
    """A WAV file of 16 bits whose sound begins at byte 44."""
    return packed(samples, "WAV", "PCM_16", rate)


def with_number(content: bytearray, form: str, *fields: tuple[int, int]) -> bytearray:
    """A copy in which numbers of a header are others: (position, value)."""
    content = bytearray(content)
    for position, value in fields:
        struct.pack_into(form, content, position, value)
    return content


def with_flac_total(content: bytearray, total: int) -> bytearray:
    """A FLAC file whose STREAMINFO states another number of samples."""
    (packed_fields,) = struct.unpack_from(">Q", content, 18)
    return with_number(content, ">Q", (18, packed_fields >> 36 << 36 | total))


def encode(path: Path, samples: np.ndarray, codec: str, rate: int = RATE, format: str | None = None) -> Path:
    """Write what FFmpeg encodes."""
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.codec_context.format.name, "mono", rate, stream.codec_context.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def film_without_sound(path: Path) -> Path:
    """A video file that has no audio track."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for number in range(5):
            pixels = np.full((16, 16, 3), 40 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


CASES = {"no_length.mp3": 10.03, "joined.mp3": 10.08, "streamed.flac": 2.00, "two.m4a": 2.00, "three.webm": 2.00}


@pytest.mark.parametrize("name", CASES)
def test_files_that_people_have_are_read_to_their_end(shared_cases, name):
    recording = read_audio(shared_cases / "audio" / name, RATE)
    assert len(recording.samples) / RATE == pytest.approx(CASES[name], abs=0.05)
    assert recording.note == ("header states 1.00 s, 10.08 s decoded" if name == "joined.mp3" else "")


THREE = sound()
FLAC, MP3 = packed(THREE, "FLAC", "PCM_16"), packed(THREE, "MP3", "MPEG_LAYER_III")
AIFF, AU = packed(THREE, "AIFF", "PCM_16"), packed(THREE, "AU", "PCM_16")
ID3 = b"ID3\4\0\0\0\0\1\x76" + bytes(246)
CUT, AS_STATED = "header states 3.00 s, 1.00 s decoded", ""
UNSIZED = [(4, 0xFFFFFFFF), (40, 0xFFFFFFFF)]
LIST = b"LIST\x12\0\0\0INFOICMT\6\0\0\0a note"
SECOND = b"data" + struct.pack("<I", 2 * RATE) + bytes(wav(THREE)[44 : 44 + 2 * RATE])
FOUR = "header states 3.00 s, 4.00 s decoded"
CONTAINERS = {  # name: content, seconds, note
    "as it is.wav": (wav(THREE), 3.0, AS_STATED),
    "cut at a third.wav": (wav(THREE)[: 44 + 32_000], 1.0, CUT),
    "no size.wav": (with_number(wav(THREE), "<I", (40, 0)), 3.0, AS_STATED),
    "no sizes.wav": (with_number(wav(THREE), "<I", (4, 0), (40, 0)), 3.0, AS_STATED),
    "streamed.wav": (with_number(wav(THREE), "<I", *UNSIZED), 3.0, AS_STATED),
    "streamed by sox.wav": (with_number(wav(THREE), "<I", (4, 0x7FFFFFFF), (40, 0x7FFFFFDB)), 3.0, AS_STATED),
    "old size.wav": (with_number(wav(THREE), "<I", (40, 32_000)), 3.0, "header states 1.00 s, 3.00 s decoded"),
    "joined.wav": (wav(THREE) + wav(THREE[:RATE]), 4.0, "header states 3.00 s, 4.00 s decoded"),
    "odd chunk.wav": (wav(THREE) + b"LIST\5\0\0\0abcde", 3.0, AS_STATED),
    "odd chunk padded.wav": (wav(THREE) + b"LIST\5\0\0\0abcde\0", 3.0, AS_STATED),
    "long tag.wav": (wav(THREE) + b"id3 " + struct.pack("<I", 50_000) + bytes(50_000), 3.0, AS_STATED),
    "second data.wav": (with_number(wav(THREE) + SECOND, "<I", (4, 36 + 6 * RATE + len(SECOND))), 4.0, FOUR),
    "second data behind.wav": (wav(THREE) + SECOND, 4.0, FOUR),
    "second data behind a chunk.wav": (wav(THREE) + LIST + SECOND, 4.0, FOUR),
    "second data, joined.wav": (wav(THREE) + wav(THREE[:RATE]) + SECOND, 5.0, FOUR.replace("4.00", "5.00")),
    "empty second data.wav": (wav(THREE) + b"data\0\0\0\0", 3.0, AS_STATED),
    "no size, a chunk.wav": (with_number(wav(THREE) + LIST, "<I", (40, 0)), 3.0, AS_STATED),
    "streamed, a chunk.wav": (with_number(wav(THREE) + LIST, "<I", *UNSIZED), 3.0, AS_STATED),
    "8 bits.wav": (packed(THREE, "WAV", "PCM_U8"), 3.0, AS_STATED),
    "24 bits.wav": (packed(THREE, "WAV", "PCM_24"), 3.0, AS_STATED),
    "doubles.wav": (packed(THREE, "WAV", "DOUBLE"), 3.0, AS_STATED),
    "a-law.wav": (packed(THREE, "WAV", "ALAW"), 3.0, AS_STATED),
    "a.rf64": (packed(THREE, "RF64", "PCM_16"), 3.0, AS_STATED),
    "cut.rf64": (packed(THREE, "RF64", "PCM_16")[: 104 + 32_000], 1.0, CUT),
    "a.w64": (packed(THREE, "W64", "PCM_16"), 3.0, AS_STATED),
    "cut.w64": (packed(THREE, "W64", "PCM_16")[:32_100], 1.0, CUT),
    "a.aiff": (packed(THREE, "AIFF", "PCM_16"), 3.0, AS_STATED),
    "cut.aiff": (packed(THREE, "AIFF", "PCM_16")[:32_054], 1.0, CUT),
    "a.au": (packed(THREE, "AU", "PCM_16"), 3.0, AS_STATED),
    "cut.au": (packed(THREE, "AU", "PCM_16")[:32_024], 1.0, CUT),
    "streamed.au": (with_number(packed(THREE, "AU", "PCM_16"), ">I", (8, 0xFFFFFFFF)), 3.0, AS_STATED),
    "unsized.au": (with_number(packed(THREE, "AU", "PCM_16"), ">I", (8, 0)), 3.0, AS_STATED),
    "old size.au": (with_number(AU, ">I", (8, 32_000)), 3.0, "header states 1.00 s, 3.00 s decoded"),
    "old size.aiff": (with_number(AIFF, ">I", (22, RATE), (42, 32_008)), 3.0, "header states 1.00 s, 3.00 s decoded"),
    "joined.aiff": (AIFF + packed(THREE[:RATE], "AIFF", "PCM_16"), 4.0, "header states 3.00 s, 4.00 s decoded"),
    "zeros.wav": (wav(THREE) + bytes(50_000), 3.0, AS_STATED),
    "a.caf": (packed(THREE, "CAF", "PCM_16"), 3.0, AS_STATED),
    "a.flac": (FLAC, 3.0, AS_STATED),
    "no total.flac": (with_flac_total(FLAC, 0), 3.0, AS_STATED),
    "small total.flac": (with_flac_total(FLAC, RATE), 3.0, "header states 1.00 s, 3.00 s decoded"),
    "large total.flac": (with_flac_total(FLAC, 5 * RATE), 3.0, "header states 5.00 s, 3.00 s decoded"),
    "joined.flac": (FLAC + FLAC, 6.0, "header states 3.00 s, 6.00 s decoded"),
    "tagged.flac": (ID3 + FLAC, 3.0, AS_STATED),
    "a.ogg": (packed(THREE, "OGG", "VORBIS"), 3.0, AS_STATED),
    "chained.ogg": (packed(THREE, "OGG", "VORBIS") + packed(THREE[:RATE], "OGG", "VORBIS"), 4.0, AS_STATED),
    "a.opus": (packed(THREE, "OGG", "OPUS"), 3.0, AS_STATED),
    "chained.opus": (packed(THREE, "OGG", "OPUS") + packed(THREE[:RATE], "OGG", "OPUS"), 4.0, AS_STATED),
    "a.mp3": (MP3, 3.0, AS_STATED),
    "tagged.mp3": (ID3 + ID3 + MP3 + b"TAG" + bytes(125), 3.0, AS_STATED),
    "wav named.mp3": (wav(THREE), 3.0, AS_STATED),
    "mp3 named.wav": (MP3, 3.0, AS_STATED),
    "flac named.m4a": (FLAC, 3.0, AS_STATED),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_read_to_its_end_and_a_wrong_statement_is_named(tmp_path, name):
    content, seconds, note = CONTAINERS[name]
    path = tmp_path / name
    path.write_bytes(content)
    recording = read_audio(path, RATE)
    assert len(recording.samples) / RATE == pytest.approx(seconds, abs=0.002)
    assert recording.note == note
    if name.endswith("opus"):  # it cuts the lowest frequencies, of which brown noise has most
        return
    lossy = "ogg" in name or "mp3" in name.replace("named.mp3", "")
    inner = slice(500, min(len(recording.samples), 3 * RATE) - 2000)
    np.testing.assert_allclose(recording.samples[inner], THREE[inner], atol=0.1 if lossy else 0.02)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.m4a", "aac"), ("a.mp4", "aac"), ("a.aac", "aac"), ("a.webm", "libopus"), ("a.mkv", "aac"), ("a.mp3", "mp3"),
     ("a.opus", "libopus"), ("a.mov", "pcm_s16be"), ("a.avi", "ac3")],
)  # fmt: skip
def test_what_ffmpeg_encodes_is_read(tmp_path, name, codec):
    rate = 48_000 if codec == "libopus" else 44_100
    samples = sound(3.0, rate)
    recording = read_audio(encode(tmp_path / name, samples, codec, rate), RATE)
    assert len(recording.samples) / RATE == pytest.approx(3.0, abs=0.06)
    assert recording.note == ""


def frames_of(mp3: bytes) -> list[bytes]:
    """The frames of an mp3 of 16 kHz, MPEG 2, layer III."""
    frames, place = [], 0
    rates = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # kbit/s
    while place + 4 <= len(mp3) and mp3[place] == 0xFF:
        size = 72 * 1000 * rates[mp3[place + 2] >> 4] // RATE + (mp3[place + 2] >> 1 & 1)
        frames.append(bytes(mp3[place : place + size]))
        place += size
    return frames


@pytest.mark.parametrize("kind", ["no Xing header", "wrong Xing header", "joined", "joined with tags"])
def test_mp3_files_of_any_header_are_read_to_their_end(tmp_path, kind):
    path, frames = tmp_path / "a.mp3", frames_of(MP3)
    place = max(MP3.find(b"Xing"), MP3.find(b"Info"))
    assert place > 0
    first = b"".join(frames[1:])  # the first one holds the header alone
    content, seconds, note = {
        "no Xing header": (first, len(frames[1:]) * 576 / RATE, ""),
        "wrong Xing header": (with_number(MP3, ">I", (place + 8, 30)), 3.0, "header states"),
        "joined": (MP3 + MP3, 6.0, "header states 3.00 s"),
        "joined with tags": (ID3 + MP3 + ID3 + MP3, 6.0, "header states 3.00 s"),
    }[kind]
    path.write_bytes(content)
    recording = read_audio(path, RATE)
    assert len(recording.samples) / RATE == pytest.approx(seconds, abs=0.2)  # padding of the second part is sound
    assert recording.note.startswith(note) and bool(recording.note) == bool(note)


def test_a_film_without_sound_says_so(tmp_path):
    with pytest.raises(UnreadableAudio, match=r"cannot be decoded \(it has no audio track\)"):
        read_audio(film_without_sound(tmp_path / "silent.mp4"), RATE)


def test_a_flac_that_is_cut_is_kept_with_what_it_has(tmp_path):
    path = tmp_path / "cut.flac"
    path.write_bytes(FLAC[: len(FLAC) // 2])
    recording = read_audio(path, RATE)
    assert 1.0 < len(recording.samples) / RATE < 2.0
    assert recording.note.startswith("header states 3.00 s, 1 damaged packets left out, 1.")
    n = len(recording.samples)
    np.testing.assert_allclose(recording.samples, THREE[:n], atol=1e-4)


def test_an_ogg_that_is_cut_says_that_its_end_is_missing(tmp_path):
    path = tmp_path / "cut.ogg"
    whole = packed(sound(30.0), "OGG", "VORBIS")
    path.write_bytes(whole[: len(whole) // 2])
    recording = read_audio(path, RATE)
    assert 10 < len(recording.samples) / RATE < 20
    assert recording.note.startswith("its last page is missing, 1")


def pages_of(ogg: bytes) -> list[bytes]:
    return [b"OggS" + page for page in bytes(ogg).split(b"OggS")[1:]]


OGG_S = 12
OGG = {subtype: packed(np.random.default_rng(1).normal(0, 0.1, OGG_S * RATE), "OGG", subtype)
       for subtype in ("VORBIS", "OPUS")}  # fmt: skip


@pytest.mark.parametrize("damage", ["hole", "lost pages", "random bytes", "hole and no end"])
@pytest.mark.parametrize("subtype", OGG)
def test_a_damaged_ogg_gives_its_sound_once_and_says_what_is_missing(tmp_path, subtype, damage):
    whole, path = OGG[subtype], tmp_path / "a.ogg"
    n, pages = len(whole), pages_of(whole)
    junk = np.random.default_rng(0).bytes(300)
    path.write_bytes({
        "hole": whole[: n // 3] + whole[n // 2 :],
        "lost pages": b"".join(pages[: len(pages) // 2] + pages[len(pages) // 2 + 2 :]),
        "random bytes": whole[: n // 2] + junk + whole[n // 2 + 300 :],
        "hole and no end": whole[: n // 3] + whole[n // 2 : n - len(pages[-1])],
    }[damage])  # fmt: skip
    recording = read_audio(path, RATE)
    seconds = len(recording.samples) / RATE
    assert 0.4 * OGG_S < seconds < 0.95 * OGG_S
    assert re.fullmatch(
        rf"header states 1[012]\.\d\d s, (its last page is missing, )?{seconds:.2f} s decoded", recording.note
    )
    assert ("last page" in recording.note) == (damage == "hole and no end")
    windows = recording.samples[: len(recording.samples) // 400 * 400].reshape(-1, 400)
    assert len(np.unique(windows.round(4), axis=0)) == len(windows)
    later = read_audio(AudioSource(path, 4.0, 5.0), RATE).samples  # counted in the same way
    inner = slice(500, RATE - 500)  # but for the ends of resampling
    np.testing.assert_allclose(later[inner], recording.samples[4 * RATE : 5 * RATE][inner], atol=1e-3)


def test_blocks_of_a_damaged_ogg_follow_each_other_without_a_seek(tmp_path):
    whole, path = OGG["VORBIS"], tmp_path / "a.ogg"
    path.write_bytes(whole[: len(whole) // 3] + whole[len(whole) // 2 :])
    with pytest.raises(decoding.Undecodable, match="samples can be decoded"):
        list(decoding.soundfile_blocks(AudioSource(path).stored(), 0.0, None, Findings()))


def test_a_damaged_part_of_a_chained_ogg_is_said(tmp_path):
    whole = OGG["VORBIS"]
    (tmp_path / "a.ogg").write_bytes(whole[: len(whole) // 3] + whole[len(whole) // 2 :] + whole)
    assert read_audio(tmp_path / "a.ogg", RATE).note.startswith("1 damaged packets left out, ")


@pytest.mark.parametrize("container", ["OGG", "FLAC", "WAV"])
def test_blocks_of_any_length_give_what_soundfile_gives_at_once(tmp_path, monkeypatch, container):
    path = tmp_path / "a"
    path.write_bytes(packed(sound(12.0), container, "VORBIS" if container == "OGG" else "PCM_16"))
    theirs, _ = soundfile.read(path, dtype="float32")
    monkeypatch.setattr(decoding, "BLOCK_SAMPLES", 10_007)
    np.testing.assert_array_equal(read_audio(path, RATE).samples, theirs)
    np.testing.assert_array_equal(
        read_audio(AudioSource(path, 3.0, 7.5), RATE).samples, theirs[3 * RATE : 7 * RATE + RATE // 2]
    )


@pytest.mark.parametrize(
    "name", ["8 bits.wav", "24 bits.wav", "doubles.wav", "a-law.wav", "a.flac", "a.aiff", "as it is.wav"]
)
def test_both_libraries_give_the_same_samples(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(CONTAINERS[name][0])
    stored = AudioSource(path).stored()
    ours = [np.concatenate([block.samples for block in blocks]) for blocks in (
        decoding.soundfile_blocks(stored, 0.0, None, Findings()), decoding.av_blocks(stored, Findings()))]  # fmt: skip
    np.testing.assert_array_equal(*ours)


def test_mp3_is_read_as_soundfile_reads_it_where_that_knows_its_length(tmp_path):
    (tmp_path / "a.mp3").write_bytes(MP3)
    theirs, _ = soundfile.read(tmp_path / "a.mp3", dtype="float32")
    np.testing.assert_allclose(read_audio(tmp_path / "a.mp3", RATE).samples, theirs, atol=1e-3)


def test_a_playlist_named_as_a_recording_opens_no_other_file(tmp_path):
    (tmp_path / "other.wav").write_bytes(wav(THREE))
    for name, text in (
        ("a.mp3", "#EXTM3U\n#EXTINF:3,\nother.wav\n"),
        ("b.m4a", "ffconcat version 1.0\nfile other.wav\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(UnreadableAudio, match="cannot be decoded"):
            read_audio(tmp_path / name, RATE)


def test_a_segment_that_the_recording_does_not_fill_says_so(tmp_path):
    for name in ("as it is.wav", "a.mp3"):
        (tmp_path / name).write_bytes(CONTAINERS[name][0])
        recording = read_audio(AudioSource(tmp_path / name, 1.0, 6.0), RATE)
        assert recording.note == "the segment asks for 5.00 s, 2.00 s decoded"
        assert read_audio(AudioSource(tmp_path / name, 0.5, 3.0), RATE).note == ""
        with pytest.raises(UnreadableAudio, match=r"is 3\.000 s long and ends before 3.5 s"):
            read_audio(AudioSource(tmp_path / name, 3.5, 4.0), RATE)


def test_a_limit_says_nothing_of_what_lies_behind_it(tmp_path):
    (tmp_path / "cut.wav").write_bytes(wav(THREE)[: 44 + 32_000])
    assert read_audio(tmp_path / "cut.wav", RATE, limit_s=0.5).note == ""
    assert read_audio(tmp_path / "cut.wav", RATE, limit_s=2.0).note == CUT


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(starts=st.lists(st.floats(0.0, 2.8), min_size=1, max_size=6), length=st.floats(0.1, 1.5))
def test_segments_read_from_one_tape_are_parts_of_the_whole(tmp_path, starts, length):
    path = tmp_path / "a.mp3"
    path.write_bytes(MP3)
    whole, tape = read_audio(path, RATE).samples, Tape()
    for start in starts:  # forwards, backwards, one within the other
        segment = AudioSource(path, round(start, 3), round(start, 3) + length)
        expected = whole[round(segment.start_s * RATE) : round(segment.end_s * RATE)]
        np.testing.assert_array_equal(read_audio(segment, RATE, tape=tape).samples, expected)


def test_a_tape_decodes_a_recording_once(tmp_path, monkeypatch):
    path, opened, read = tmp_path / "a.mp3", [], decoding.av_blocks
    path.write_bytes(MP3)
    monkeypatch.setattr(decoding, "av_blocks", lambda *a: opened.append(a) or read(*a))
    tape = Tape()
    for start in np.arange(0, 2.5, 0.1):
        read_audio(AudioSource(path, start, start + 0.5), RATE, tape=tape)
    assert len(opened) == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([name for name in CONTAINERS if "named" not in name]), data=st.data())
def test_damage_anywhere_gives_sound_samples_or_a_reason(tmp_path, name, data):
    content = bytearray(CONTAINERS[name][0])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.one_of(st.integers(0, 120), st.integers(0, len(content) - 1)))
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / re.sub(r".*\.", "damaged.", name)
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        samples = read_audio(path, RATE, limit_s=10.0).samples
    except UnreadableAudio as error:
        assert error.reason
    else:
        assert np.isfinite(samples).all()
        assert 0 < np.abs(samples).max() <= 1


@pytest.mark.parametrize(
    "content", [b"fLaC", b"\xff\xfb", b"\xff", b"RIFF\0\0\0\0WAVE", b"OggS", b"caff", b".snd", b"ID3"]
)
def test_a_file_that_ends_within_its_header_is_refused_with_a_reason(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(UnreadableAudio, match=r"recording (cannot be decoded|is empty)"):
        read_audio(path, RATE)
