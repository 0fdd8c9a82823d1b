"""Recordings in Parquet files are listed and read like files, whatever else the table has."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pseudolabel.audio.embedded import Columns, Shard, audio_columns
from pseudolabel.audio.files import AudioSource, UnreadableAudio
from pseudolabel.audio.listing import find_audio
from pseudolabel.audio.streams import read_audio
from pseudolabel.errors import InputError
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary

RATE = 16_000
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def sound(seed: int, format: str = "WAV", subtype: str = "PCM_16", n: int = 3000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(seed).uniform(-0.5, 0.5, n), RATE, format=format, subtype=subtype)
    return file.getvalue()


def write(path: Path, rows: list[tuple[bytes | None, str | None]], how: dict | None = None, **columns: list) -> Path:
    """Write a Parquet file of recordings (bytes, path) and other columns."""
    audio = pa.array([{"bytes": content, "path": name} for content, name in rows], AUDIO)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"audio": audio, **columns}), path, **(how or {}))
    return path


def samples(source: AudioSource) -> np.ndarray:
    return read_audio(source, RATE).samples


def test_the_copy_of_audioset_that_most_people_download(shared_cases):
    path = shared_cases / "lists" / "hf_audioset.parquet"
    found = find_audio(path)
    assert found == {
        "c1": AudioSource(path, member="audio/bal_train/c1.flac", row=0),
        "c2": AudioSource(path, member="audio/bal_train/c2.flac", row=1),
    }
    assert [len(samples(source)) / RATE for source in found.values()] == [1.0, 1.0]
    assert str(found["c2"]) == f"{path}:audio/bal_train/c2.flac"


def test_recordings_of_any_format_are_those_of_files(tmp_path):
    kinds = [("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("WAV", "FLOAT"), ("MP3", "MPEG_LAYER_III"), ("WAVEX", "PCM_24")]
    contents = [sound(number, *kind, n=20_000) for number, kind in enumerate(kinds)]
    cut = bytearray(sound(9, n=20_000))
    cut[40:44] = bytes(4)  # a header that a recorder did not complete: it states no sound
    contents.append(bytes(cut))
    path = write(tmp_path / "a.parquet", [(content, None) for content in contents], clip_id=list("abcdef"))
    for content, source in zip(contents, find_audio(path).values(), strict=True):
        (tmp_path / "file").write_bytes(content)
        np.testing.assert_array_equal(samples(source), samples(AudioSource(tmp_path / "file")))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"audio": AUDIO, "video_id": pa.string()}, ("audio.bytes", "audio.path", ("video_id",))),
        ({"id": pa.int64(), "file": pa.string(), "Audio": AUDIO}, ("Audio.bytes", "Audio.path", ("id", "file"))),
        ({"speech": pa.struct([("path", pa.large_string()), ("bytes", pa.large_binary())])},
         ("speech.bytes", "speech.path", ())),
        ({"audio": pa.binary(), "clip_id": pa.string(), "ytid": pa.string()}, ("audio", "", ("clip_id", "ytid"))),
        ({"audio": pa.string(), "label": pa.string()}, ("", "audio", ())),
        ({"audio": pa.struct([("array", pa.list_(pa.float32())), ("path", pa.string())])}, ("", "audio.path", ())),
        ({"audio": pa.struct([("array", pa.list_(pa.float32()))])}, None),
        ({"clip_id": pa.string(), "labels": pa.string(), "thumbnail": pa.binary()}, None),
    ],
)  # fmt: skip
def test_the_columns_with_recordings_are_recognized(columns, expected):
    assert audio_columns(pa.schema(list(columns.items()))) == (expected and Columns(*expected))


def test_ids_are_those_of_their_column_or_else_of_the_path(tmp_path):
    rows = [(sound(number), f"train/x{number}.flac") for number in range(3)]
    assert list(find_audio(write(tmp_path / "a.parquet", rows))) == ["x0", "x1", "x2"]
    ids = ["c.wav", None, "deep/b.wav"]
    assert list(find_audio(write(tmp_path / "b.parquet", rows, filename=ids))) == ["b", "c", "x1"]
    assert list(find_audio(write(tmp_path / "c.parquet", rows, clip_id=["a.wav", "b/2", "c"]))) == ["a.wav", "b/2", "c"]


@pytest.mark.parametrize(
    ("paths", "columns", "expected"),
    [
        (["x/1.wav", "x/2.wav"], {"Video ID": ["v1", "v2"]}, ["v1", "v2"]),
        (["x/1.wav", "x/2.wav"], {"id": ["v1", "v2"]}, ["1", "2"]),
        (["x/1.wav", "x/2.wav"], {"id": [7, 8]}, ["1", "2"]),
        ([None, None], {"id": ["v1", "v2"]}, ["v1", "v2"]),
        ([None, None], {"id": [7, 8]}, ["7", "8"]),
        (["x/1.wav", "x/2.wav"], {"clip_id": [b"v1", b"v2"]}, ["v1", "v2"]),
        (["x/1.wav", "x/2.wav"], {"filename": ["f1.wav", "f2.wav"]}, ["f1", "f2"]),
    ],
)
def test_clips_have_the_ids_that_the_label_list_of_the_same_file_gives(tmp_path, paths, columns, expected):
    rows = [(sound(number), path) for number, path in enumerate(paths)]
    path = write(tmp_path / "a.parquet", rows, labels=[["/m/09x0r"], []], **columns)
    assert list(find_audio(path)) == expected
    assert list(LabelTable.read(path, Vocabulary.load("audioset")).clip_ids) == expected


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        (None, {}, "row 1: the recording has no clip id. Fill in its path."),
        (None, {"video_id": ["a", None]}, "row 2: the recording has no clip id. Fill in its video_id."),
        ("x.wav", {"clip_id": ["a", "b\0"]}, r"row 2: 'b\x00' is not a clip id. Fill in its clip_id."),
        ("x.wav", {"clip_id": ["a", "a"]}, "two recordings have the clip id 'a': "),
    ],
)
def test_ids_that_are_missing_odd_or_repeated_are_errors(tmp_path, name, columns, message):
    path = write(tmp_path / "a.parquet", [(sound(0), name), (sound(1), name)], **columns)
    with pytest.raises(InputError) as error:
        find_audio(path)
    assert message in str(error.value)


def test_rows_without_usable_sound_have_a_reason(tmp_path):
    rows = [(None, None), (b"", None), (b"no sound at all", "x.wav"), (sound(0), None)]
    reasons = {}
    for clip_id, source in find_audio(write(tmp_path / "a.parquet", rows, clip_id=list("abcd"))).items():
        try:
            samples(source)
        except UnreadableAudio as error:
            reasons[clip_id] = error.reason
    assert reasons.pop("c").startswith("cannot be decoded (")
    assert reasons == {"a": "is empty: the row has no bytes", "b": "is empty: the row has no bytes"}


def test_recordings_that_are_only_named_are_files_in_the_folder_of_the_table(tmp_path):
    folder = tmp_path / "set"
    names = ["audio/a.wav", "b.wav", "../outside.wav", str(tmp_path / "outside.wav"), "audio/../../outside.wav",
             "gone.wav", "audio/.././audio/c.wav", str(folder / "d.wav")]  # fmt: skip
    ids = list("abpqrgcd")
    path = write(folder / "a.parquet", [(None, name) for name in names], clip_id=ids)
    (folder / "audio").mkdir()
    for number, name in enumerate(("audio/a.wav", "b.wav", "../outside.wav", "audio/c.wav", "d.wav")):
        (folder / name).write_bytes(sound(number))
    outcome = {}
    for clip_id, source in find_audio(path).items():
        try:
            outcome[clip_id] = len(samples(source))
        except UnreadableAudio as error:
            outcome[clip_id] = error.reason
    outside = "is outside the folder of a.parquet, which names it"
    assert outcome == {
        **dict.fromkeys("abcd", 3000), **dict.fromkeys("pqr", outside), "g": "is missing: no such file",
    }  # fmt: skip
    assert list(find_audio(folder)) == ["a", "b", "c", "d"]  # the files themselves, not the table that names them


def test_rows_with_and_without_bytes_may_be_mixed(tmp_path):
    path = write(tmp_path / "a.parquet", [(sound(0), "a.wav"), (None, "b.wav"), (None, "/c.wav")])
    (tmp_path / "b.wav").write_bytes(sound(1, n=2000))
    found = find_audio(path)
    assert [len(samples(found[clip_id])) for clip_id in "ab"] == [3000, 2000]
    with pytest.raises(UnreadableAudio, match="is outside the folder of a"):
        samples(found["c"])


def test_shards_in_a_folder_are_read_beside_files_and_other_tables_are_not(tmp_path):
    for shard in range(2):
        rows = [(sound(10 * shard + number), f"{shard}{number}.wav") for number in range(3)]
        write(tmp_path / "data" / f"train-{shard}.parquet", rows)
    pq.write_table(pa.table({"clip_id": ["00"], "labels": ["x"]}), tmp_path / "data" / "labels.parquet")
    (tmp_path / "data" / "a.wav").write_bytes(sound(99))
    assert list(find_audio(tmp_path / "data")) == ["00", "01", "02", "10", "11", "12", "a"]
    assert list(find_audio(tmp_path / "data" / "train-*.parquet")) == ["00", "01", "02", "10", "11", "12"]
    with pytest.raises(InputError) as error:
        find_audio(tmp_path / "data" / "labels.parquet")
    assert str(error.value) == (
        f"{tmp_path}/data/labels.parquet: no column of recordings; columns found: clip_id, labels. "
        "It needs a column `audio` of {bytes, path}, as `datasets` writes it."
    )


def test_copies_in_two_shards_are_one_clip(tmp_path, capsys):
    for shard in range(2):
        write(tmp_path / f"{shard}.parquet", [(sound(number), f"{number}.wav") for number in range(4)])
    assert {source.path.name for source in find_audio(tmp_path).values()} == {"0.parquet"}
    assert "4 recordings left out, byte for byte the same as another of this name: " in capsys.readouterr().err
    write(tmp_path / "1.parquet", [(sound(number + 5 * (number > 2)), f"{number}.wav") for number in range(4)])
    with pytest.raises(InputError, match=r"clip id '3': .*0\.parquet:3\.wav and .*1\.parquet:3\.wav\. Rename"):
        find_audio(tmp_path)


@pytest.mark.parametrize("how", [{}, {"use_dictionary": False}, {"compression": "zstd", "data_page_version": "2.0"},
                                 {"use_dictionary": False, "column_encoding": {"audio.bytes": "DELTA_BYTE_ARRAY"}},
                                 {"use_dictionary": False, "compression": "none", "data_page_size": 1000}])  # fmt: skip
def test_rows_are_read_in_any_order_from_any_encoding(tmp_path, how):
    contents = [sound(number) if number % 5 else None for number in range(30)]
    path = write(tmp_path / "a.parquet", [(content, None) for content in contents],
                 {"row_group_size": 8, **how}, clip_id=[str(number) for number in range(30)])  # fmt: skip
    shard = Shard(path)
    for row in (0, 1, 2, 7, 8, 29, 3, 3, 11, 10):
        assert shard.recording(row) == contents[row]


def test_one_row_at_a_time_is_in_memory(tmp_path):
    contents = [os.urandom(1 << 20) for _ in range(24)]
    how = {"use_dictionary": False, "data_page_size": 1 << 20, "write_batch_size": 1}
    shard = Shard(write(tmp_path / "a.parquet", [(content, f"{number}.wav") for number, content in
                                                 enumerate(contents)], how))  # fmt: skip
    before = pa.total_allocated_bytes()
    for row, content in enumerate(contents):
        assert shard.recording(row) == content
        assert pa.total_allocated_bytes() - before < 8 << 20


def test_a_damaged_page_costs_only_the_rows_after_it(tmp_path):
    contents = [sound(number) for number in range(12)]
    how = {"row_group_size": 4, "use_dictionary": False, "write_page_checksum": True, "compression": "none",
           "data_page_size": 1000, "write_batch_size": 1}  # fmt: skip
    path = write(tmp_path / "a.parquet", [(content, f"{number}.wav") for number, content in enumerate(contents)], how)
    whole = bytearray(path.read_bytes())
    whole[whole.index(contents[6]) + 2000] ^= 1
    path.write_bytes(whole)
    shard, outcome = Shard(path), []
    for row in (*range(12), 5):
        try:
            outcome.append(shard.recording(row) == contents[row])
        except InputError as error:
            outcome.append(error.message.partition(" (")[0])
    unread = "cannot be read as Parquet"
    assert outcome == [*[True] * 6, unread, unread, *[True] * 4, True]
    with pytest.raises(UnreadableAudio, match=r"a\.parquet:7\.wav: recording cannot be read as Parquet"):
        samples(find_audio(path)["7"])


def test_a_page_that_claims_too_much_is_refused_before_it_is_read(tmp_path):
    path = write(tmp_path / "a.parquet", [(sound(0), "a.wav")], {"use_dictionary": False, "compression": "none"})
    whole = path.read_bytes()
    size = 4 + len(sound(0)) + 6  # the length of the value, the value, the levels
    claimed = size + 2000
    numbers = [bytes([2 * n & 0x7F | 0x80, 2 * n >> 7]) for n in (size, claimed)]  # zigzag, in two bytes
    if whole.count(numbers[0]) < 2:
        pytest.skip("this pyarrow lays pages out in another way")
    at = whole.index(numbers[0])
    path.write_bytes(whole[:at] + numbers[1] + whole[at + 2 :])
    with pytest.raises(UnreadableAudio, match=r"recording a page of 6,054 bytes claims 8,054"):
        samples(find_audio(path)["a"])


def test_a_file_that_is_not_parquet_is_an_error(tmp_path):
    (tmp_path / "a.parquet").write_text("no table")
    for path in (tmp_path, tmp_path / "a.parquet"):
        with pytest.raises(InputError, match=r"a\.parquet: cannot be read as Parquet"):
            find_audio(path)
