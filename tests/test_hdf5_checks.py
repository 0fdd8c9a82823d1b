"""HDF5 files that lead elsewhere, need foreign code, claim false sizes or are damaged are refused by every reader."""

from __future__ import annotations

import contextlib
import signal

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.answers import open_answers
from pseudolabel.scores.store import ScoreStore

TWO = Vocabulary("two", ("a", "b"), ("a", "b"), ("", ""))


def external_link(file, name, values, folder) -> None:
    with h5py.File(folder / "secret.h5", "w") as other:
        other["x"] = values
    file[name] = h5py.ExternalLink(str(folder / "secret.h5"), "x")


def soft_link(file, name, values, folder) -> None:
    file["beside/x"] = values
    file[name] = h5py.SoftLink("/beside/x")


def external_storage(file, name, values, folder) -> None:
    values.tofile(folder / "raw.bin")
    external = [(str(folder / "raw.bin"), 0, values.nbytes)]
    file.create_dataset(name, values.shape, values.dtype, external=external)


def virtual(file, name, values, folder) -> None:
    with h5py.File(folder / "secret.h5", "w") as other:
        other["x"] = values
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[...] = h5py.VirtualSource(str(folder / "secret.h5"), "x", values.shape)
    file.create_virtual_dataset(name, layout)


def references(file, name, values, folder) -> None:
    file["beside/x"] = values
    data = np.full(values.shape, file["beside/x"].ref, h5py.ref_dtype)
    file.create_dataset(name, data=data, dtype=h5py.ref_dtype)


def region_references(file, name, values, folder) -> None:
    file["beside/x"] = values
    file.create_dataset(name, values.shape, h5py.regionref_dtype)


def compound(file, name, values, folder) -> None:
    file[name] = np.zeros(values.shape, [("a", "f4"), ("b", "i2")])


def lists(file, name, values, folder) -> None:
    file.create_dataset(name, values.shape, h5py.vlen_dtype(np.int8))


def foreign_filter(file, name, values, folder) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk(values.shape)
    made.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)  # Zstandard, a plugin
    space, kind = h5py.h5s.create_simple(values.shape), h5py.h5t.py_create(values.dtype)
    h5py.h5d.create(file.id, name.encode(), kind, space, made)


def huge(file, name, values, folder) -> None:
    shape = (10**9, *values.shape[1:])
    file.create_dataset(name, shape, values.dtype, chunks=(1, *values.shape[1:]), compression="gzip")


def huge_chunk(file, name, values, folder) -> None:
    file.create_dataset(name, values.shape, values.dtype, maxshape=(None,) * values.ndim,
                        chunks=(1 << 29, *values.shape[1:]), compression="gzip")  # fmt: skip


HOSTILE = {
    external_link: "is a link to .*secret.h5",
    soft_link: "is a link",
    external_storage: "its values are in other files",
    virtual: "its values are in other files",
    references: "holds references, neither numbers nor text",
    region_references: "holds references, neither numbers nor text",
    compound: "neither numbers nor text",
    lists: "neither numbers nor text",
    foreign_filter: "is compressed by the filter 32015",
    huge: "claims",
    huge_chunk: "a chunk has more than",
}


LINKS = (external_link, soft_link)


def write_scores(path) -> None:
    ScoreStore.write(path, ("c1", "c2"), ("a", "b"), {"clip": np.full((2, 2), 0.5), 2: np.full((2, 3, 2), 0.5)})


@pytest.mark.parametrize("name", ["clip_id", "class_id", "scores_clip", "scores_2s", "n_windows_2s", "crc32_2s"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_score_store_that_leads_elsewhere_is_refused(tmp_path, hostile, name):
    write_scores(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        values = file[name][:] if name in file else np.array([3, 3])
        if name in file:
            del file[name]
        hostile(file, name, values, tmp_path)
    with pytest.raises(InputError, match=HOSTILE[hostile]):
        ScoreStore.open(tmp_path / "s.h5")


@pytest.mark.parametrize("name", ["clip_id", "group", "offset", "bytes"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_clip_store_that_leads_elsewhere_is_refused(tmp_path, write_tones, hostile, name):
    path = write_tones(tmp_path, [0.1, 0.2]) / "clips.h5"
    with h5py.File(path, "r+") as file:
        values = file[name][:]
        del file[name]
        hostile(file, name, values, tmp_path)
    with pytest.raises(InputError, match=HOSTILE[hostile]):
        ClipStore.open(path)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_an_import_follows_no_link_out_of_its_file(tmp_path, hostile):
    (tmp_path / "ids.txt").write_text("c1\nc2\n")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with h5py.File(tmp_path / "answers.h5", "w") as file:
        hostile(file, "scores", np.full((2, 2), 0.5, np.float32), tmp_path)
        file.pop("beside", None)
    said = HOSTILE[hostile] if hostile not in LINKS else "no data set 'scores'"  # links are not looked at
    with pytest.raises(InputError, match=said):
        open_answers(tmp_path / "answers.h5", tmp_path / "ids.txt", tmp_path / "classes.txt", TWO, "scores")


@pytest.mark.parametrize("offsets", [[0, -8, 16], [-8, 0, 16], [0, 8, 2**62]])
def test_negative_and_huge_offsets_are_refused(tmp_path, write_tones, offsets):
    path = write_tones(tmp_path, [0.1, 0.2]) / "clips.h5"
    with h5py.File(path, "r+") as file:
        file["offset"][:] = offsets
        del file.attrs["tables_crc32"]
    with pytest.raises(InputError, match="contradict each other"):
        ClipStore.open(path)


@pytest.fixture(scope="module")
def texts_of_any_length(tmp_path_factory):
    """A store as others write it: ids of any length, no checksums."""
    path = tmp_path_factory.mktemp("texts") / "s.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "pseudolabel-scores", 1
        for name, texts in (("clip_id", ["c1", "clip2"]), ("class_id", ["a", "b"])):
            file.create_dataset(name, data=texts, dtype=h5py.string_dtype())
        file["scores_clip"] = np.full((2, 2), 0.5, np.float16)
    return path


def test_every_bit_of_a_text_s_size_ends_in_an_error_and_not_in_a_loop(texts_of_any_length, tmp_path):
    assert ScoreStore.open(texts_of_any_length).clip_ids == ("c1", "clip2")
    whole = texts_of_any_length.read_bytes()
    heap = whole.index(b"GCOL")
    signal.alarm(60)  # a loop within the HDF5 library ends the process
    for byte in (*range(heap, heap + 16), *range(heap + 24, heap + 32)):  # the heap's head, the first object's size
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[byte] ^= 1 << bit
            (tmp_path / "s.h5").write_bytes(flipped)
            with contextlib.suppress(InputError):
                assert ScoreStore.open(tmp_path / "s.h5").clip_ids == ("c1", "clip2")
    signal.alarm(0)


@pytest.mark.parametrize("bit", [1, 2, 3])
def test_a_flipped_bit_in_the_type_of_an_attribute_is_refused(texts_of_any_length, tmp_path, bit):
    whole = bytearray(texts_of_any_length.read_bytes())
    whole[whole.index(b"format\0\0\x19\1\1\0") + 9] ^= 1 << bit  # text of any length, as HDF5 says it
    (tmp_path / "s.h5").write_bytes(whole)
    with pytest.raises(InputError, match="attribute b'format' is neither a number nor text"):
        ScoreStore.open(tmp_path / "s.h5")


@settings(max_examples=100)
@given(data=st.data())
def test_a_size_of_zero_in_a_heap_is_refused(texts_of_any_length, tmp_path_factory, data):
    whole = bytearray(texts_of_any_length.read_bytes())
    heap, sizes, at = whole.index(b"GCOL"), [], 16
    while at + 16 <= 4096:
        sizes.append(heap + at + 8)
        number, size = whole[heap + at], int.from_bytes(whole[heap + at + 8 : heap + at + 16], "little")
        at += 16 + -(-size // 8) * 8 if number else size
    place = data.draw(st.sampled_from(sizes))
    whole[place : place + 8] = data.draw(st.sampled_from([0, 4097, 2**63])).to_bytes(8, "little")
    path = tmp_path_factory.mktemp("heap") / "s.h5"
    path.write_bytes(whole)
    signal.alarm(60)
    try:
        assert ScoreStore.open(path).clip_ids[0] != "c1"
    except InputError:
        pass
    finally:
        signal.alarm(0)
