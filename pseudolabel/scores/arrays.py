"""Read arrays of scores from NumPy's and HDF5 files, in blocks of rows, and the names of clips and classes beside them.

Nothing in a file is trusted unchecked: no pickle is loaded, and no size in a header is believed if it contradicts the
file's size. Rows are read in blocks of 16 MiB, so memory does not grow with their number.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError
from typing import IO

import h5py
import numpy as np

from pseudolabel.errors import InputError, first_few
from pseudolabel.hdf5_checks import MOST_PACKED, claims_too_much, refuse_elsewhere, refuse_heaps
from pseudolabel.stores import store_contents
from pseudolabel.temporaries import full_disk_at

BLOCK_BYTES = 2**24
LONGEST_HEADER = 1 << 16  # bytes of an array's header in a .npz file
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# What NumPy and Python raise if a header is not a valid Python literal.
UNREADABLE = (ValueError, TypeError, LookupError, SyntaxError, TokenError, ArithmeticError, RecursionError, MemoryError)
UNREADABLE_ZIP = (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, LookupError, EOFError, OSError)
NOT_WHOLE = "It is not whole: copy or save it again."
# Names of arrays that are not scores, where others can be; of those that name clips; of those that name classes. An
# array may have the plural. The first that an array has counts.
NO_SCORES = ("target", "label", "y_true", "truth", "logit", "waveform", "embedding", "feature")
CLIP_NAMES = (
    "clip_id", "audio_name", "filename", "file_name", "fname", "file", "path", "wav", "video_id", "audio_id", "ytid",
    "id", "name", "key", "axis1",
)  # fmt: skip
CLASS_NAMES = ("class_id", "class_name", "class", "classes", "label_name", "label", "mid", "column", "block0_item")
WINDOW_COUNTS = ("n_window", "num_window")  # of each clip; the rest of its row is padding
ONE_A_CLIP = "numpy.savez(FILE, **{clip_id: array of (windows, classes)}), and give --window-s"
LONGEST_NAME = 1 << 12  # bytes of a name in an array of fixed width


@dataclass(frozen=True, eq=False)
class Names:
    """Names of clips or classes in a file of scores.

    Args:
        title: the column or array that they are in.
        texts: one for each clip or class.
        place: says where name number i is, in errors.
        certain: whether the file says that they name the clips or classes, rather than an array's name suggests it.
    """

    title: str
    texts: Sequence[str]
    place: Callable[[int], str]
    certain: bool = True

    def placed(self) -> Iterator[tuple[str, str]]:
        """Yield the place and text of each name."""
        return ((self.place(number), text) for number, text in enumerate(self.texts))


@dataclass(frozen=True, eq=False)
class FileArray:
    """An array in a file; no values are read before `blocks` is iterated.

    Args:
        blocks: yields consecutive rows as arrays (n, ...).
        title: its name, if the file has several arrays or columns of lists.
        clips, classes: names of the rows and columns, where the file has them.
        unread: names of columns that are neither scores nor ids.
        closed: names of arrays that would name the clips, but hold Python objects, which are never opened.
        n_windows: number of windows of each row, where the file says it; empty where not.
        misfit: name and length of an array that would name the clips, if there were as many rows.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterator[np.ndarray]]
    title: str = ""
    clips: Names | None = None
    classes: Names | None = None
    unread: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    n_windows: tuple[int, ...] = ()
    misfit: tuple[str, int] | None = None


def rows_a_block(shape: Sequence[int], itemsize: int) -> int:
    """Return the number of rows per block, at least 1."""
    return max(1, BLOCK_BYTES // max(1, math.prod(shape[1:]) * itemsize))


def is_numbering(texts: Sequence[str]) -> bool:
    """Return whether texts are the numbers of their rows, from 0 or from 1."""
    first = 1 if texts and texts[0] == "1" else 0
    return all(text == str(number) for number, text in enumerate(texts, first))


# ---- which array holds what -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Listed:
    """An array that a .npz or HDF5 file lists.

    Args:
        read: returns the array, to be read in blocks, after checking what it claims.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], FileArray]


def _scores_of(listed: Mapping[str, Listed], name: str | None, path: Path) -> FileArray:
    """Return the scores in a file of several arrays, with the names of their clips and classes if it has them."""
    name = _array_name(listed, name, path)
    scores = listed[name].read()
    clips = _names_in(listed, CLIP_NAMES, scores.shape[:1], path)
    classes = _names_in(listed, CLASS_NAMES, scores.shape[-1:] if len(scores.shape) > 1 else None, path)
    naming = {key: array for key, array in listed.items() if rank_of(key, CLIP_NAMES) is not None}
    closed = tuple(key for key, array in naming.items() if is_closed(array.dtype))
    other = ((key, *array.shape) for key, array in naming.items() if len(array.shape) == 1 and key not in closed)
    misfit = next((pair for pair in other if pair[1] != scores.shape[0]), None)
    title, counts = name if len(listed) > 1 else "", _window_counts(listed, scores.shape, path)
    return replace(scores, title=title, clips=clips, classes=classes, closed=closed, n_windows=counts, misfit=misfit)


def _window_counts(listed: Mapping[str, Listed], shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """Return how many windows each clip has, where an array beside scores (N, W, K) says it; else nothing."""
    whole = {key: array for key, array in listed.items() if array.shape == shape[:1] and array.dtype.kind in "iu"}
    key = next((key for key in whole if len(shape) == 3 and rank_of(key, WINDOW_COUNTS) is not None), None)
    counts = [count for block in listed[key].read().blocks() for count in block.tolist()] if key else []
    for row, count in enumerate(counts):
        if not 0 < count <= shape[1]:
            message = f"is {count}; the scores have {shape[1]} windows a clip"
            raise InputError(message, f"{path}, {key}[{row}]", f"Correct it: 1 to {shape[1]}.")
    return tuple(counts)


def _array_name(listed: Mapping[str, Listed], name: str | None, path: Path) -> str:
    """Return the requested array's name, or that of the only one of two or three axes that can be scores."""
    if name is not None and name in listed:
        return name
    possible = [key for key, array in listed.items() if len(array.shape) in (2, 3)]
    likely = [key for key in possible if listed[key].dtype.kind == "f" and rank_of(key, NO_SCORES) is None]
    for chosen in (possible, likely):
        if name is None and len(chosen) == 1:
            return chosen[0]
    if closed := [key for key, array in listed.items() if is_closed(array.dtype) and not possible]:
        message = f"{closed[0]} holds pickled objects, which are not opened"
        raise InputError(message, path, f"Save one array; of clips that differ in length, one each: {ONE_A_CLIP}.")
    has = f"data sets of two or three axes: {first_few(possible, 8) or 'none'}"
    message = has if name is None else f"no data set {name!r}; {has}"
    remedy = "Name one by --dataset. Several: --dataset clip=A 2s=B."
    if len({listed[key].shape[1:] for key in likely}) == 1 and len(listed[likely[0]].shape) == 2:
        remedy += " One a clip, of its windows, in a .npz file: give --window-s."
    raise InputError(message, path, remedy)


def _names_in(
    listed: Mapping[str, Listed], choices: Sequence[str], shape: tuple[int, ...] | None, path: Path
) -> Names | None:
    """Return the names in the array that is called one of `choices` and has this shape; None if there is none."""
    ranks = {key: rank_of(key, choices) for key, array in listed.items() if array.shape == shape}
    for key in sorted((key for key in ranks if ranks[key] is not None), key=ranks.get):
        dtype = listed[key].dtype
        if dtype.kind in "SU" or is_text(dtype) or (dtype.kind in "iu" and choices is CLIP_NAMES):
            texts = _texts(listed[key].read(), f"{path}, {key}")
            if not is_numbering(texts):
                return Names(key, texts, lambda number, key=key: f"{path}, {key}[{number}]", certain=False)
    return None


def _texts(array: FileArray, place: str) -> list[str]:
    if array.dtype.kind in "SU" and array.dtype.itemsize > LONGEST_NAME:
        raise InputError(f"its texts take {array.dtype.itemsize:,} bytes each", place, "Save shorter ones.")
    try:
        texts = [value for block in array.blocks() for value in block.tolist()]
        return [text.decode() if isinstance(text, bytes) else str(text) for text in texts]
    except UnicodeDecodeError as error:
        raise InputError(f"holds texts that are not UTF-8 ({error.reason})", place, "Save them as UTF-8.") from error


def rank_of(key: str, choices: Sequence[str]) -> int | None:
    """Return the position in `choices` of an array's name, without its group and plural; None if it is not there."""
    name = key.rpartition("/")[2].casefold()
    return next((rank for rank, choice in enumerate(choices) if name in (choice, f"{choice}s")), None)


def is_text(dtype: np.dtype) -> bool:
    """Return whether a data set's type is that of texts of any length."""
    return dtype.kind == "O" and h5py.check_string_dtype(dtype) is not None


def is_closed(dtype: np.dtype) -> bool:
    """Return whether an array holds pickled Python objects."""
    return dtype.kind == "O" and not is_text(dtype)


# ---- NumPy's files ----------------------------------------------------------------------------------------------


def open_npy(path: Path) -> FileArray:
    """Open the array in a .npy file."""
    with open(path, "rb") as file:
        shape, fortran_order, dtype = _header(file, path)
        offset = file.tell()
    check_size(shape, dtype, path.stat().st_size - offset, path)
    n_rows, order = rows_a_block(shape, dtype.itemsize), "F" if fortran_order else "C"

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, shape[0], n_rows):  # mapped anew for each block, to release the pages of earlier ones
            yield np.array(np.memmap(path, dtype, "r", offset, shape, order)[start : start + n_rows])

    return FileArray(shape, dtype, blocks)


def open_texts(path: Path) -> Names:
    """Return the texts in a .npy file."""
    array = open_npy(path)
    if array.dtype.kind not in "SU" or len(array.shape) != 1:
        message = f"holds {array.dtype} of shape {list(array.shape)}, not a list of texts"
        raise InputError(message, path, "Save it as numpy.array(names, dtype=str).")
    return Names(path.name, _texts(array, str(path)), lambda number: f"{path}[{number}]")


def _header(file: IO[bytes], place: object) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an array in NumPy's format: shape, whether in Fortran order, and dtype; values follow."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"version {version}")
        return HEADERS[version](file)
    except UNREADABLE as error:
        raise InputError(f"not a readable .npy file ({error})", place, "Save it with numpy.save.") from error


def check_size(shape: Sequence[int], dtype: np.dtype, held: int, place: object) -> None:
    """Raise InputError if an array's header claims another size than the file has."""
    claimed = math.prod(shape) * dtype.itemsize
    if dtype.kind in "fiuSU" and (held != claimed or min(shape, default=0) < 0):
        message = f"its header claims {list(shape)} {dtype}, {claimed:,} bytes; it holds {held:,}"
        raise InputError(message, place, NOT_WHOLE)


def open_npz(path: Path, name: str | None = None) -> FileArray:
    """Open an array in a .npz file: the named one, or the only one that can be scores."""
    listed = {}
    for key, (member, (shape, fortran_order, dtype), offset) in npz_headers(path).items():
        read = functools.partial(_member, path, member, shape, dtype, offset, fortran_order)
        listed[key] = Listed(shape, dtype, read)
    return _scores_of(listed, name, path)


def npz_headers(path: Path) -> dict[str, tuple[zipfile.ZipInfo, tuple[tuple[int, ...], bool, np.dtype], int]]:
    """Return {name: (member, (shape, whether in Fortran order, dtype), offset of its values)} of a .npz file."""
    with readable_npz(path), zipfile.ZipFile(path) as file:
        names = [member for member in file.infolist() if member.filename.endswith(".npy")]
        members = {member.filename.removesuffix(".npy"): member for member in names}
        return {key: (member, *_header_in(file, member, f"{path}, {key}")) for key, member in members.items()}


def _member(
    path: Path, member: zipfile.ZipInfo, shape: tuple[int, ...], dtype: np.dtype, offset: int, fortran_order: bool
) -> FileArray:
    """Return an array of a .npz file, to be read from front to back."""
    check_size(shape, dtype, member.file_size - offset, f"{path}, {member.filename.removesuffix('.npy')}")
    n_rows = rows_a_block(shape, dtype.itemsize)

    def blocks() -> Iterator[np.ndarray]:
        with readable_npz(path), zipfile.ZipFile(path) as file, file.open(member) as stream:
            stream.read(offset)
            if fortran_order:  # rows do not follow each other: unpacked to disk first
                yield from _rows_on_disk(stream, shape, dtype, n_rows)
                return
            for start in range(0, shape[0], n_rows):
                of_block = min(n_rows, shape[0] - start), *shape[1:]
                yield np.frombuffer(stream.read(math.prod(of_block) * dtype.itemsize), dtype).reshape(of_block)

    return FileArray(shape, dtype, blocks)


def _rows_on_disk(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype, n_rows: int) -> Iterator[np.ndarray]:
    with tempfile.TemporaryFile() as unpacked:
        with full_disk_at(Path(tempfile.gettempdir())):
            shutil.copyfileobj(stream, unpacked)
            unpacked.flush()
        for start in range(0, shape[0], n_rows):
            yield np.array(np.memmap(unpacked, dtype, "r", 0, shape, "F")[start : start + n_rows])


def _header_in(file: zipfile.ZipFile, member: zipfile.ZipInfo, place: str) -> tuple[tuple, int]:
    """Return `_header` of an array in a .npz file, and the offset in bytes of its values."""
    packed = member.compress_type != zipfile.ZIP_STORED
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError("is packed in a way that NumPy does not use", place, "Save it with numpy.savez.")
    if member.file_size > member.compress_size * (MOST_PACKED if packed else 1):
        message = f"it claims {member.file_size:,} bytes; {member.compress_size:,} are stored"
        raise InputError(message, place, NOT_WHOLE)
    with file.open(member) as stream:
        first = io.BytesIO(stream.read(LONGEST_HEADER))
    return _header(first, place), first.tell()


@contextlib.contextmanager
def readable_npz(path: Path) -> Iterator[None]:
    """Turn errors while reading a .npz file into an InputError."""
    try:
        yield
    except InputError:
        raise
    except UNREADABLE_ZIP as error:
        raise InputError(f"not a readable .npz file ({error})", path, "Save it with numpy.savez.") from error


# ---- HDF5 -------------------------------------------------------------------------------------------------------


def open_h5(path: Path, name: str | None = None) -> FileArray:
    """Open a data set whose values are in the file itself; links to other files are not followed."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"not a readable HDF5 file ({error})", path) from error
    listed: dict[str, Listed] = {}

    def visit(key: str, item: h5py.HLObject) -> None:
        with contextlib.suppress(TypeError, AttributeError):  # a group, or a type that NumPy does not have
            listed[key] = Listed(item.shape or (), item.dtype, functools.partial(_data_set, path, key))

    with file, store_contents(path):
        refuse_heaps(file, path)
        file.visititems(visit)
    return _scores_of(listed, name and name.strip("/"), path)


def _data_set(path: Path, name: str) -> FileArray:
    """Return a data set, after checking where its values are and what it claims."""
    with h5py.File(path, "r") as file, store_contents(path):
        values, place = file[name], f"{path}, {name}"
        shape, dtype = values.shape, values.dtype
        refuse_elsewhere(values, place)
        if claims_too_much(values, path.stat().st_size):
            stored = values.id.get_storage_size()
            message = f"it claims {list(shape)}, {values.nbytes:,} bytes; {stored:,} are stored"
            raise InputError(message, place, NOT_WHOLE)
    n_rows = rows_a_block(shape, dtype.itemsize)

    def blocks() -> Iterator[np.ndarray]:
        with h5py.File(path, "r") as file, store_contents(path):
            for start in range(0, shape[0], n_rows):
                yield file[name][start : start + n_rows]

    return FileArray(shape, dtype, blocks)
