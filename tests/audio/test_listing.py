"""Every recording is found once, wherever it lies, and read as if it lay in a file of its own."""

from __future__ import annotations

import os
import tarfile

import numpy as np
import pytest
import soundfile

from pseudolabel.audio.files import Source, UnreadableAudio, read_audio
from pseudolabel.audio.listing import find_audio, read_segments
from pseudolabel.errors import InputError

RATE = 16_000


def test_recordings_are_found_below_a_folder_by_their_name(tmp_path):
    for name in ("b.wav", "deep/er/a.FLAC", "deep/c.d.mp3", "notes.txt", "._b.wav", ".hidden/x.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    paths = {"a": "deep/er/a.FLAC", "b": "b.wav", "c.d": "deep/c.d.mp3"}
    assert find_audio(tmp_path) == {clip_id: Source(tmp_path / path) for clip_id, path in paths.items()}
    assert list(find_audio(tmp_path)) == ["a", "b", "c.d"]


def test_two_recordings_of_one_id_are_both_named(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.wav").touch()
    (tmp_path / "sub" / "a.flac").touch()
    with pytest.raises(InputError, match=r"'a'.*a\.wav and .*sub/a\.flac"):
        find_audio(tmp_path)


def test_a_name_that_is_no_text_is_an_error(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    open(folder + b"/a.wav", "w").close()
    with pytest.raises(InputError, match=r"caf\\udce9/a\.wav': this file name is not UTF-8 text"):
        find_audio(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_audio(tmp_path / "nowhere")


@pytest.fixture
def shards(tmp_path):
    """Return a folder of three recordings in two shards, and the folder that they were packed from."""
    loose, packed = tmp_path / "loose", tmp_path / "packed"
    loose.mkdir(), packed.mkdir()
    for number, name in enumerate(("a.wav", "b.flac", "c.ogg")):
        soundfile.write(loose / name, np.random.default_rng(number).uniform(-0.5, 0.5, 3000), RATE)
    (loose / "a.json").write_text("{}")
    for shard, names in (("000.tar", ("a.wav", "a.json", "b.flac")), ("001.tar", ("c.ogg",))):
        with tarfile.open(packed / shard, "w") as file:
            for name in names:
                file.add(loose / name, f"train/{name}")
    return packed, loose


def test_members_of_shards_are_read_like_files(shards):
    packed, loose = shards
    found, expected = find_audio(packed), find_audio(loose)
    assert list(found) == list(expected) == ["a", "b", "c"]
    for clip_id, source in found.items():
        np.testing.assert_array_equal(read_audio(source, RATE).samples, read_audio(expected[clip_id], RATE).samples)
    assert str(found["b"]) == f"{packed}/000.tar:train/b.flac"
    assert list(find_audio(packed / "001.tar")) == ["c"]


def test_a_clip_in_two_shards_is_named_with_both(shards):
    packed, _ = shards
    (packed / "002.tar").write_bytes((packed / "001.tar").read_bytes())
    with pytest.raises(InputError, match=r"'c': .*001\.tar:train/c\.ogg and .*002\.tar:train/c\.ogg"):
        find_audio(packed)


def test_damaged_and_packed_shards_are_refused(shards):
    packed, _ = shards
    (packed / "002.tar").write_bytes(b"no shard" * 100)
    with pytest.raises(InputError, match=r"002\.tar: not a readable tar shard"):
        find_audio(packed)
    (packed / "002.tar").rename(packed / "002.tar.gz")
    with pytest.raises(InputError, match=r"002\.tar\.gz: a packed shard.*Unpack it"):
        find_audio(packed)


def test_a_member_that_is_cut_off_is_skipped_with_its_reason(shards):
    packed, _ = shards
    source = find_audio(packed)["a"]
    os.truncate(packed / "000.tar", source.offset + 400)
    with pytest.raises(UnreadableAudio, match=r"train/a\.wav: recording is cut short: the shard ends within it"):
        read_audio(source, RATE)


def test_segments_of_longer_recordings_are_clips_of_their_own(tmp_path):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    soundfile.write(tmp_path / "long.flac", sound, RATE)
    table = tmp_path / "segments.csv"
    table.write_text("clip_id,file,start,end\nz,long.flac,0,1.5\n,long.flac,1.000,3.000\n,long.flac,2,\n")
    found = read_segments(table, tmp_path)
    path = tmp_path / "long.flac"
    assert found == {
        "long_1.000_3.000": Source(path, 1, 3), "long_2_end": Source(path, 2, None), "z": Source(path, 0, 1.5),
    }  # fmt: skip
    assert [len(read_audio(source, RATE).samples) / RATE for source in found.values()] == [2, 2, 1.5]
    assert {source.stem for source in found.values()} == {"long"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "the table has no segments"),
        (",0,1\n", "segments.csv:2: the file is empty"),
        ("a.wav,x,1\n", "segments.csv:2: 'x' is no time in seconds"),
        ("a.wav,-1,1\n", "segments.csv:2: '-1' is no time in seconds"),
        ("a.wav,nan,1\n", "'nan' is no time"),
        ("a.wav,2,2\n", "ends at 2 s, not after its start at 2 s"),
        ("a.wav,0,1\nb.wav,0,1\na.wav,0,1\n", "segments.csv:4: clip 'a_0_1' is listed twice, first in line 2"),
        ("a.wav,0\n", "columns"),
    ],
)
def test_bad_segments_are_named_by_line(tmp_path, rows, message):
    table = tmp_path / "segments.csv"
    table.write_text("file,start,end\n" + rows)
    with pytest.raises(InputError, match=message):
        read_segments(table, tmp_path)
