"""The audio of a store that is being made: each block at its place, whoever decodes it and in whatever order."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from pseudolabel.audio.clips import (
    LEAST_IN_PLACE,
    ClipStore,
    ClipTable,
    audio_start,
    complete_clips,
    encode,
    write_clips,
)
from pseudolabel.audio.growing import GrowingAudio, read_span
from pseudolabel.errors import InputError

BLOCKS = [np.full(size, number + 1, np.uint8) for number, size in enumerate((3, 0, 5, 2))]


@pytest.mark.parametrize("shared", [False, True])
def test_blocks_that_come_in_any_order_lie_in_their_own(tmp_path, shared):
    context = multiprocessing.get_context("spawn") if shared else None
    audio = GrowingAudio(tmp_path / "audio", 10, len(BLOCKS), {}, context)
    with ThreadPoolExecutor(len(BLOCKS)) as pool:
        starts = [pool.submit(audio.append, number, [BLOCKS[number]], len(BLOCKS[number])) for number in (3, 1, 2, 0)]
        assert [start.result() for start in starts] == [18, 13, 13, 10]
    assert (tmp_path / "audio").read_bytes() == bytes(10) + np.concatenate(BLOCKS).tobytes()


def test_blocks_of_an_earlier_run_stay_and_say_where_the_others_begin(tmp_path):
    (tmp_path / "audio").write_bytes(bytes([0, 1, 1, 1, 9, 9, 9, 9, 9, 4]))
    audio = GrowingAudio(tmp_path / "audio", 1, 4, {0: (1, 4), 1: (4, 4), 3: (9, 11)})
    assert audio.append(2, [BLOCKS[2]], 5) == 4
    assert (tmp_path / "audio").read_bytes() == bytes([0, 1, 1, 1, 3, 3, 3, 3, 3, 4])


def test_a_block_that_would_reach_into_a_finished_one_is_refused_and_nothing_is_written_over(tmp_path):
    (tmp_path / "audio").write_bytes(bytes([7] * 10))
    for size in (4, 6):
        audio = GrowingAudio(tmp_path / "audio", 0, 2, {1: (5, 10)})
        with pytest.raises(InputError, match=f"block 0 has {size} bytes, not 5 as in the interrupted run"):
            audio.append(0, [np.zeros(size, np.uint8)], size)
    assert (tmp_path / "audio").read_bytes() == bytes([7] * 10)


def test_nobody_waits_for_a_process_that_has_failed(tmp_path):
    audio = GrowingAudio(tmp_path / "audio", 0, 3, {})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(audio.append, 2, [BLOCKS[2]], 5)
        assert not waiting.done()
        audio.fail()
        with pytest.raises(InterruptedError):
            waiting.result(timeout=20)
    assert audio._ends[-1] == 0  # where the first block begins is known all the same


def test_bytes_are_read_in_pieces_and_missing_ones_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("pseudolabel.audio.growing.PIECE_BYTES", 4)
    (tmp_path / "audio").write_bytes(bytes(range(12)))
    assert [piece.tolist() for piece in read_span(tmp_path / "audio", 1, 10)] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    with pytest.raises(InputError, match="2 bytes of audio are missing"):
        list(read_span(tmp_path / "audio", 4, 10))


@pytest.mark.parametrize("n_samples", [(LEAST_IN_PLACE // 2,), (5_000, 1, 70_000), (300_000,) * 3])
def test_audio_that_lies_in_its_place_becomes_the_store_that_is_written_at_once(tmp_path, n_samples):
    rng = np.random.default_rng(0)
    encoded = [encode(rng.uniform(-1, 1, n).astype(np.float32), "pcm16", 16_000) for n in n_samples]
    ids, sizes = [f"clip{number}" for number in range(len(encoded))], [len(piece) for piece in encoded]
    write_clips(tmp_path / "written.h5", ClipTable(ids, ids, n_samples, sizes, 16_000, "pcm16", "drawn"), encoded)
    with h5py.File(tmp_path / "written.h5") as file:
        crc32 = file["crc32"][:]
    grown = tmp_path / "grown.h5"
    for left_by_an_earlier_attempt in (b"", b"x" * 5000):
        grown.write_bytes(b"x" * audio_start() + b"".join(map(bytes, encoded)) + left_by_an_earlier_attempt)
        complete_clips(grown, ClipTable(ids, ids, n_samples, sizes, 16_000, "pcm16", "drawn", crc32=crc32))
        assert grown.read_bytes() == (tmp_path / "written.h5").read_bytes()
    assert ClipStore.open(grown).verify()
