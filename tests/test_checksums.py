"""Checksums do not depend on how the bytes come, and a damaged store says where it is damaged."""

from __future__ import annotations

import itertools
import os
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.audio.clips import CODECS, ClipStore, ClipTable, encode, write_clips
from pseudolabel.checksums import SpanChecksums, attributes_crc32, tables_crc32
from pseudolabel.errors import InputError
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.writing import CHECKED_ROWS
from pseudolabel.verification import verify_store

RATE = 8000


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.data())
def test_spans_are_summed_whatever_the_pieces(stream, data):
    cuts = st.lists(st.integers(0, len(stream)), max_size=8).map(sorted)
    ends, pieces = [*data.draw(cuts), len(stream)], [0, *data.draw(cuts), len(stream)]
    checksums = SpanChecksums(np.array(ends))
    for start, stop in itertools.pairwise(pieces):
        checksums.update(np.frombuffer(stream[start:stop], np.uint8))
    spans = zip([0, *ends], ends, strict=False)
    assert checksums.values.tolist() == [zlib.crc32(stream[start:stop]) for start, stop in spans]


def test_tables_differ_by_name_type_shape_and_value():
    tables = [{"a": np.arange(4)}, {"b": np.arange(4)}, {"a": np.arange(4.0)}, {"a": np.arange(4).reshape(2, 2)}]
    tables += [{"a": np.array([0, 1, 3, 2])}, {"a": np.arange(4), "b": np.zeros(0)}]
    assert len({tables_crc32(each) for each in tables}) == len(tables)


@pytest.fixture(params=CODECS)
def clips(tmp_path, request):
    rng = np.random.default_rng(0)
    pieces = [encode(rng.uniform(-1, 1, n), request.param, RATE) for n in (800, 50, 1200)]
    sizes, path = [len(piece) for piece in pieces], tmp_path / "clips.h5"
    write_clips(path, ClipTable("abc", "abc", [800, 50, 1200], sizes, RATE, request.param), pieces)
    return path


@pytest.fixture
def scores(tmp_path):
    rng, n = np.random.default_rng(0), 2 * CHECKED_ROWS + 7
    ids, path = [f"c{number}" for number in range(n)], tmp_path / "scores.h5"
    ScoreStore.write(path, ids, "xy", {"clip": rng.random((n, 2)), 2: rng.random((n, 5, 2))})
    return path


def flip(path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def offset_of(path, name: str, byte: int) -> int:
    with h5py.File(path) as file:
        return file[name].id.get_offset() + byte


def test_whole_stores_verify(clips, scores):
    for store in (ClipStore.open(clips), ScoreStore.open(scores)):
        assert store.verify() and store.attributes_checked


@pytest.fixture
def told(tmp_path):
    """A store of scores that says as much as one can say in attributes."""
    said = {"vocabulary": "v", "model": "größe", "out_of_fold": True, "threads": 4, "labels_sha256": "ab"}
    scores = {2: np.zeros((3, 9, 2)), "clip": np.zeros((3, 2))}
    ScoreStore.write(tmp_path / "told.h5", "abc", "xy", scores, said, hops_s={2: 1.0})
    return tmp_path / "told.h5"


def changed(name: str, value: object) -> object:
    """Return another value that an attribute may have."""
    if name == "codec":
        return "flac" if value == "pcm16" else "pcm16"
    if isinstance(value, str):
        return value + "x"
    return not value if isinstance(value, np.bool_) else value + 1


@pytest.mark.parametrize("kind", [ClipStore, ScoreStore])
@pytest.mark.parametrize("change", ["value", "removed", "renamed"])
def test_a_changed_attribute_of_a_file_or_a_data_set_is_refused_on_opening(clips, told, kind, change):
    path = clips if kind is ClipStore else told
    whole = path.read_bytes()
    with h5py.File(path) as file:
        items = {"/": file, **file}
        named = [(item, name, value) for item in items for name, value in items[item].attrs.items()]
    assert kind is ClipStore or ("scores_2s", "hop_s", 1.0) in named
    for item, name, value in named:
        if name == "attributes_crc32" and change != "value":
            continue
        with h5py.File(path, "r+") as file:
            attributes = file[item].attrs
            if change == "value":
                attributes[name] = changed(name, value)
            else:
                del attributes[name]
            if change == "renamed":
                attributes[f"{name}_"] = value
        said = f"was changed.*{name}" if change != "removed" else "was changed or removed"
        with pytest.raises(InputError, match=f"{said}|format is|{name}|contradict each other"):
            kind.open(path)
        path.write_bytes(whole)
    assert kind.open(path).verify()


def test_attributes_have_one_checksum_whatever_kind_their_texts_have(told):
    first = told.read_bytes()
    with h5py.File(told, "r+") as file:
        file.attrs["model"] = np.bytes_("größe".encode())
    assert ScoreStore.open(told).attributes_checked
    told.write_bytes(first)
    values = [1, 1.0, np.int32(1), True, "1", "", [1], [1, 2], ["a", "b"], ["ab"], np.array(["ü"], object)]
    assert len({attributes_crc32({"/": {"a": value}}) for value in values}) == len(values)
    assert attributes_crc32({"/": {"a": np.array([b"x"])}}) == attributes_crc32({"/": {"a": np.array(["x"], object)}})
    assert attributes_crc32({"/": {"b": 1}}) != attributes_crc32({"b": {"b": 1}})


def test_a_store_of_an_earlier_version_opens_and_says_that_attributes_have_no_checksum(clips, told):
    for path, kind in ((clips, ClipStore), (told, ScoreStore)):
        with h5py.File(path, "r+") as file:
            del file.attrs["attributes_crc32"]
        assert not kind.open(path).attributes_checked
        assert f"{path}: good, but its attributes have no checksum to compare with: 3 clips" in verify_store(path)


def test_tables_without_a_checksum_are_not_called_good(told):
    with h5py.File(told, "r+") as file:
        del file.attrs["tables_crc32"], file.attrs["attributes_crc32"]
    assert "no contradiction, but it has no checksums (or not all)" in verify_store(told)


def test_a_flipped_byte_of_audio_names_its_clip(clips):
    store = ClipStore.open(clips)
    flip(clips, offset_of(clips, "bytes", int(store.offsets[1]) + 3))
    with pytest.raises(InputError, match="bytes is damaged from clip b on"):
        ClipStore.open(clips).verify()


@pytest.mark.parametrize(("name", "row_bytes"), [("scores_clip", 8), ("scores_2s", 20)])
def test_a_flipped_byte_of_scores_names_where_it_lies(scores, name, row_bytes):
    flip(scores, offset_of(scores, name, (CHECKED_ROWS + 5) * row_bytes))
    with pytest.raises(InputError, match=f"{name} is damaged from clip c{CHECKED_ROWS} on"):
        ScoreStore.open(scores).verify()


@pytest.mark.parametrize("name", ["clip_id", "class_id", "crc32_2s"])
def test_a_flipped_byte_of_a_table_is_refused_on_opening(scores, name):
    flip(scores, offset_of(scores, name, 0))
    with pytest.raises(InputError, match=r"changed after|another kind"):
        ScoreStore.open(scores)


def test_any_flipped_byte_is_found_or_changes_nothing_that_is_read(scores):
    whole, rng = scores.read_bytes(), np.random.default_rng(0)
    with h5py.File(scores) as file:
        spans = [(each.id.get_offset(), each.nbytes) for each in file.values()]
    before = ScoreStore.open(scores)
    expected = {scale: np.array(before.scores(scale)) for scale in ("clip", 2)}
    for offset in rng.integers(0, len(whole), 60).tolist():
        flip(scores, offset)
        try:
            after = ScoreStore.open(scores)
            after.verify()
        except InputError:
            pass
        else:
            assert not any(start <= offset < start + size for start, size in spans)
            assert (after.clip_ids, after.class_ids) == (before.clip_ids, before.class_ids)
            assert all(np.array_equal(after.scores(scale), expected[scale]) for scale in expected)
        scores.write_bytes(whole)


def test_stores_without_checksums_say_so(scores):
    with h5py.File(scores, "r+") as file:
        del file["crc32_2s"], file.attrs["tables_crc32"], file.attrs["attributes_crc32"]
    assert not ScoreStore.open(scores).verify()


@pytest.mark.parametrize("cut", [1, 700, 30_000])
def test_a_cut_store_is_refused(scores, cut):
    os.truncate(scores, scores.stat().st_size - cut)
    with pytest.raises(InputError):
        ScoreStore.open(scores)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", ["clip_id", "scores_clip", "n_windows_2s"])
def test_a_claim_of_a_trillion_rows_is_refused_before_memory_is_taken(scores, name, chunked):
    with h5py.File(scores, "r+") as file:
        row = {"clip_id": (), "scores_clip": (2,), "n_windows_2s": ()}[name]
        if name in file:
            del file[name]
        kind = {"clip_id": "S8", "scores_clip": "f2", "n_windows_2s": "i8"}[name]
        options = {"chunks": (1024, *row)} if chunked else {}
        file.create_dataset(name, (10**12, *row), kind, **options)
    with pytest.raises(InputError, match=rf"{name} claims .* bytes"):
        ScoreStore.open(scores)
