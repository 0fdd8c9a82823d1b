"""The clip store gives back what was written, in any process, and refuses files that contradict themselves."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.audio.clips import (
    CODECS,
    EARLIER_FULL_SCALE,
    FULL_SCALE,
    ClipStore,
    ClipTable,
    encode,
    pack,
    to_pcm16,
    write_clips,
)
from pseudolabel.errors import ClipMismatch, InputError, OutputExists
from pseudolabel.records import sha256
from pseudolabel.stores import fixed_length_text

RATE = 8000
IDS = ("a", "-Käse", "日本語の鳥", "d e")
LENGTHS = (800, 1, 1203, 400)
GROUPS = ("g", "g", "日", "d e")


def sounds(seed: int = 0, lengths=LENGTHS) -> list[np.ndarray]:
    """Return waveforms that 16 bits hold exactly."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-FULL_SCALE, FULL_SCALE, n).astype(np.float32) / FULL_SCALE for n in lengths]


def write(path, waveforms=None, codec: str = "pcm16", ids=IDS, groups=GROUPS, chunk: int = 700, **options):
    waveforms = sounds() if waveforms is None else waveforms
    encoded = [encode(samples, codec, RATE) for samples in waveforms]
    stored = np.concatenate([*encoded, np.empty(0, np.uint8)])
    chunks = (stored[start : start + chunk] for start in range(0, len(stored), chunk))
    lengths, sizes = [len(samples) for samples in waveforms], [len(piece) for piece in encoded]
    write_clips(path, ClipTable(ids, groups, lengths, sizes, RATE, codec, "a folder"), chunks, **options)
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "clips.h5")


@pytest.mark.parametrize("codec", CODECS)
def test_clips_read_back_equal(tmp_path, codec):
    store = ClipStore.open(write(tmp_path / "clips.h5", codec=codec))
    assert (store.clip_ids, store.groups, store.sample_rate, store.codec) == (IDS, GROUPS, RATE, codec)
    assert len(store) == 4
    assert store.n_samples.tolist() == list(LENGTHS)
    for clip_id, samples in zip(IDS, sounds(), strict=True):
        read = store.read(clip_id)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, samples)


@settings(max_examples=25, deadline=None)
@given(
    waveforms=st.lists(st.lists(st.floats(-1.5, 1.5, width=32), min_size=1, max_size=9), max_size=5),
    codec=st.sampled_from(CODECS),
    chunk=st.integers(1, 64),
)
def test_any_float_clip_reads_back_within_half_a_step(tmp_path_factory, waveforms, codec, chunk):
    waveforms = [np.array(samples, np.float32) for samples in waveforms]
    ids = [f"{row}é" for row in range(len(waveforms))]
    store = ClipStore.open(
        write(tmp_path_factory.mktemp("clips") / "clips.h5", waveforms, codec, ids, ids, chunk=chunk)
    )
    assert store.clip_ids == tuple(ids)
    for clip_id, samples in zip(ids, waveforms, strict=True):
        np.testing.assert_allclose(store.read(clip_id), np.clip(samples, -1, 32767 / FULL_SCALE), atol=0.5 / FULL_SCALE)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_full_scale_and_beyond_does_not_wrap(kind):
    samples = np.array([1, -1, 2, -2, 0, 0.5, 1.5 / FULL_SCALE, 0.4 / FULL_SCALE], kind)
    assert to_pcm16(samples).tolist() == [32767, -32768] * 2 + [0, 16384, 2, 0]
    assert to_pcm16(samples, EARLIER_FULL_SCALE).tolist() == [32767, -32767, 32767, -32768, 0, 16384, 1, 0]


@pytest.mark.parametrize("codec", CODECS)
def test_a_store_of_the_earlier_scale_gives_the_samples_that_went_into_it(tmp_path, codec):
    samples = np.random.default_rng(3).uniform(-1, 1, 5000).astype(np.float32)
    pcm = to_pcm16(samples, EARLIER_FULL_SCALE)
    stored = pack(pcm, codec, RATE)
    path = tmp_path / "clips.h5"
    write_clips(
        path, ClipTable(["a"], ["a"], [5000], [len(stored)], RATE, codec, full_scale=EARLIER_FULL_SCALE), [stored]
    )
    with h5py.File(path, "r+") as file:  # which did not say its scale
        del file.attrs["full_scale"], file.attrs["attributes_crc32"]
    store = ClipStore.open(path)
    np.testing.assert_array_equal(store.read_pcm16(0), pcm)
    np.testing.assert_array_equal(store.read("a"), pcm.astype(np.float32) / 32767)
    np.testing.assert_array_equal(store.batch([0], 7, 100)[0], store.read("a")[7:107])
    np.testing.assert_allclose(store.read("a"), samples, atol=0.501 / 32767)


@pytest.mark.parametrize("codec", CODECS)
def test_two_writes_give_the_same_bytes(tmp_path, codec):
    first = write(tmp_path / "1.h5", codec=codec, chunk=700)
    second = write(tmp_path / "2.h5", codec=codec, chunk=33)
    assert sha256(first) == sha256(second)
    assert sha256(write(tmp_path / "3.h5", sounds(1), codec)) != sha256(first)


def test_a_store_is_replaced_only_on_demand(path):
    with pytest.raises(OutputExists):
        write(path)
    write(path, sounds(1), overwrite=True)
    np.testing.assert_array_equal(ClipStore.open(path).read("a"), sounds(1)[0])


def slow_batch(waveforms: list[np.ndarray], rows, starts, length: int) -> np.ndarray:
    batch = []
    for row, start in zip(rows, starts, strict=True):
        samples = list(waveforms[row][start:])[:length]
        batch.append(samples + [0.0] * (length - len(samples)))
    return np.array(batch, np.float32).reshape(len(rows), length)


@settings(max_examples=40, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1300)), max_size=6),
    length=st.integers(1, 1300),
    codec=st.sampled_from(CODECS),
)
def test_batch_equals_reading_clip_by_clip(stores, pieces, length, codec):
    rows, starts = [row for row, _ in pieces], [start for _, start in pieces]
    batch = stores[codec].batch(rows, starts, length)
    assert (batch.dtype, batch.shape) == (np.float32, (len(rows), length))
    np.testing.assert_array_equal(batch, slow_batch(sounds(), rows, starts, length))


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> dict[str, ClipStore]:
    folder = tmp_path_factory.mktemp("stores")
    return {codec: ClipStore.open(write(folder / f"{codec}.h5", codec=codec)) for codec in CODECS}


def test_one_start_serves_all_rows_and_negative_ones_are_refused(stores):
    np.testing.assert_array_equal(
        stores["pcm16"].batch([2, 0], 700, 200), slow_batch(sounds(), [2, 0], [700, 700], 200)
    )
    with pytest.raises(ValueError, match="before the clip"):
        stores["pcm16"].batch([0], -5, 10)


def test_rows_follow_the_order_asked_for_and_absent_clips_are_named(stores):
    store = stores["pcm16"]
    assert store.rows(["d e", "a"]).tolist() == [3, 0]
    assert store.rows([]).dtype == np.int64
    with pytest.raises(ClipMismatch, match=r"4 clips have no audio: p, q, r and 1 more"):
        store.rows(["p", "a", "q", "r", "s"])
    with pytest.raises(ClipMismatch, match="x"):
        store.read("x")


def test_a_store_in_use_is_pickled_small_and_reads_the_same_in_another_process(stores):
    for store in stores.values():
        store.read("a")
        assert len(pickle.dumps(store)) < 2000
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            read = pool.submit(store.read, "日本語の鳥").result()
        np.testing.assert_array_equal(read, sounds()[2])


def test_ids_of_variable_length_are_read_too(path):
    with h5py.File(path, "r+") as file:
        for name in ("clip_id", "group"):
            values = [text.decode() for text in file[name][:].tolist()]
            del file[name]
            file.create_dataset(name, data=values, dtype=h5py.string_dtype())
        del file.attrs["tables_crc32"], file.attrs["attributes_crc32"], file["crc32"]  # as stores that others make
        file.attrs["codec"] = np.bytes_("pcm16")
        file.attrs["format"] = np.bytes_("pseudolabel-clips")
    store = ClipStore.open(path)
    assert (store.clip_ids, store.groups, store.codec) == (IDS, GROUPS, "pcm16")
    np.testing.assert_array_equal(store.read("-Käse"), sounds()[1])


def test_a_store_without_clips_opens(tmp_path):
    store = ClipStore.open(write(tmp_path / "empty.h5", [], ids=[], groups=[]))
    assert len(store) == 0
    assert store.batch([], 0, 5).shape == (0, 5)


def replace(file: h5py.File, name: str, value, **options) -> None:
    del file[name]
    file.create_dataset(name, data=value, **options)


def turn_back(file: h5py.File) -> None:
    """Let the second clip end before it begins, and its length say so."""
    offsets = file["offset"][:][[0, 2, 1, 3, 4]]
    replace(file, "offset", offsets)
    replace(file, "n_samples", np.diff(offsets) // 2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.attrs.__setitem__("format", "other"), "format is 'other' version 1, expected 'pseudolabel-"),
        (lambda file: file.attrs.__setitem__("format_version", 2), "version 2, expected 'pseudolabel-clips' version 1"),
        (lambda file: file.attrs.__delitem__("format"), "format is 'none'"),
        (lambda file: file.attrs.__delitem__("sample_rate"), "a part of the store is missing"),
        *[
            (lambda file, name=name, value=value: file.attrs.__setitem__(name, value), "of another kind")
            for name, values in {
                "format": (3, ["pseudolabel-clips", "b"], np.bytes_(b"\xff"), h5py.Empty("S4")),
                "format_version": ("x", "1", [1, 1], 1.5, np.nan, np.inf),
                "sample_rate": ("abc", "16000", [8000, 8000], 8000.5, np.inf, h5py.Empty("i8")),
                "codec": (1, ["pcm16", "flac"]),
                "full_scale": ("x", 32767.5, [32768, 32768]),
            }.items()
            for value in values
        ],
        (lambda file: file.attrs.__setitem__("sample_rate", 0), "sample_rate is 0 Hz; it must be above 0"),
        (lambda file: file.attrs.__setitem__("sample_rate", -8000), "sample_rate is -8000 Hz"),
        (
            lambda file: file.attrs.__setitem__("full_scale", 1),
            "full_scale is 1; it must be 32768 or, as",
        ),
        (lambda file: file.attrs.__setitem__("codec", "mp3"), "contradict"),
        (lambda file: replace(file, "clip_id", np.bytes_(b"a")), "of another kind"),
        (lambda file: replace(file, "n_samples", file["n_samples"][:].astype(float)), "contradict"),
        (lambda file: replace(file, "n_samples", file["n_samples"][:].reshape(4, 1)), "contradict"),
        (lambda file: replace(file, "offset", file["offset"][:].astype(float)), "contradict"),
        (lambda file: file.__delitem__("group"), "a part of the store is missing"),
        (lambda file: replace(file, "clip_id", fixed_length_text(["a", "b", "a", "c"])), "contradict"),
        (lambda file: replace(file, "clip_id", fixed_length_text(["a", "b", "c"])), "contradict"),
        (lambda file: replace(file, "clip_id", np.array([b"\xff", b"b", b"c", b"d"])), "of another kind"),
        (lambda file: replace(file, "n_samples", np.array([800, 2, 1203, 400])), "contradict"),
        (lambda file: replace(file, "offset", file["offset"][:] + 2), "contradict"),
        (turn_back, "contradict"),
        (lambda file: replace(file, "offset", np.array([], np.int64)), "contradict"),
        (lambda file: replace(file, "bytes", file["bytes"][:-2]), "contradict"),
        (lambda file: replace(file, "bytes", file["bytes"][:], chunks=(64,)), "chunked or compressed"),
        (lambda file: replace(file, "bytes", file["bytes"][:].view("<i2")), r"`bytes` is int16\[2404\]"),
        (lambda file: replace(file, "bytes", np.uint8(3)), r"`bytes` is uint8\[\]"),
    ],
)
def test_contradictory_stores_are_refused(path, damage, message):
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(InputError, match=message) as caught:
        ClipStore.open(path)
    assert str(path) in str(caught.value)


def test_negative_lengths_are_refused_where_the_codec_hides_them(tmp_path):
    path = write(tmp_path / "flac.h5", codec="flac")
    with h5py.File(path, "r+") as file:
        replace(file, "n_samples", np.array([800, -1, 1203, 400]))
    with pytest.raises(InputError, match="contradict"):
        ClipStore.open(path)


def test_a_refused_store_is_not_left_open(path):
    for name in ("format_version", "sample_rate"):
        with h5py.File(path, "r+") as file:
            before = file.attrs[name]
            file.attrs[name] = "abc"
        with pytest.raises(InputError):
            ClipStore.open(path)
        with h5py.File(path, "r+") as file:  # fails while it is open for reading
            file.attrs[name] = before
    assert ClipStore.open(path).clip_ids == IDS


def test_what_is_no_store_is_refused(tmp_path, path):
    with pytest.raises(InputError, match="no such file"):
        ClipStore.open(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no store")
    with pytest.raises(InputError, match="not a readable HDF5 file"):
        ClipStore.open(tmp_path / "text.h5")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="not a readable HDF5 file"):
        ClipStore.open(path)


def test_bytes_that_do_not_come_are_an_error_and_leave_no_store(tmp_path):
    with pytest.raises(InputError, match="3 bytes came, 4 were announced"):
        write_clips(tmp_path / "c.h5", ClipTable(["a"], ["a"], [2], [4], RATE), [np.zeros(3, np.uint8)])
    assert not list(tmp_path.iterdir())


def test_representation_is_short(path):
    assert repr(ClipStore.open(path)) == f"<ClipStore {path}: 4 clips, 8,000 Hz>"
