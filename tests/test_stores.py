"""Stores on a full disk: a clear line, no half file, and the HDF5 library does not bring the process down."""

from __future__ import annotations

import errno
import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest

from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.records import sha256
from pseudolabel.stores import ALIGNED_FROM, ALIGNMENT, write_hdf5
from pseudolabel.temporaries import FULL_DISK

ON_A_FULL_DISK = """
import resource, sys
import numpy as np
from pseudolabel.stores import write_hdf5

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    with write_hdf5(sys.argv[1]) as file:
        file["small"] = np.arange(10)
        large = file.create_dataset("large", (100_000,), np.uint8)
        for start in range(0, 100_000, 1000):
            large[start : start + 1000] = 1
        file.attrs["last"] = "x" * 3000
except OSError as error:
    print(error.strerror, error.filename)
"""


@pytest.mark.parametrize("most_bytes", [0, 100, 3_000, 50_000, 103_000])
def test_a_full_disk_ends_in_one_clear_error_and_no_file(tmp_path, most_bytes):
    pytest.importorskip("resource")
    path = tmp_path / "store.h5"
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(path), str(most_bytes)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (0, f"{FULL_DISK[errno.EFBIG]} {path}\n", "")
    assert not list(tmp_path.iterdir())


def test_an_error_while_writing_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), write_hdf5(tmp_path / "store.h5") as file:
        file["x"] = np.arange(1000)
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())


def test_large_data_sets_begin_where_any_machine_reads_them_fast_and_the_bytes_repeat(tmp_path):
    for name in ("a.h5", "b.h5"):
        with write_hdf5(tmp_path / name) as file:
            file["odd"] = np.ones(333, np.uint8)
            file["large"] = np.arange(5000, dtype=np.float16)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["large"].nbytes >= ALIGNED_FROM and file["large"].id.get_offset() % ALIGNMENT == 0
        assert np.array_equal(file["large"][:], np.arange(5000, dtype=np.float16))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_clips_that_were_replaced_while_open_are_noticed_when_audio_is_read(write_tones, tmp_path):
    store = ClipStore.open(write_tones(tmp_path, [0.1, 0.2]) / "clips.h5")
    store.read("t00")  # mapped from now on
    (write_tones(tmp_path / "new", [0.1, 0.2, 0.3]) / "clips.h5").replace(tmp_path / "clips.h5")
    for read in (lambda: store.read("t01"), lambda: store.batch([0], 0, 10), store.verify, store.content):
        with pytest.raises(InputError, match=r"clips\.h5: was replaced, changed or removed after it was opened"):
            read()


def test_the_checksum_of_what_a_store_holds_tells_other_audio_from_the_same(write_tones, tmp_path):
    first, same = (ClipStore.open(write_tones(tmp_path / name, [0.1, 0.2]) / "clips.h5") for name in "ab")
    assert first.content() == same.content()
    path = tmp_path / "b" / "clips.h5"
    with h5py.File(path, "r+") as file:
        audio = file["bytes"][:]
        audio[0] ^= 1
        file["bytes"][:], file["crc32"][0] = audio, zlib.crc32(audio[: file["offset"][1]])
        ClipStore.seal(file)
    assert ClipStore.open(path).content() != first.content()
    with h5py.File(path, "r+") as file:  # without checksums of clips, the whole file is read
        del file["crc32"]
        ClipStore.seal(file)
    assert ClipStore.open(path).content() == sha256(path)
