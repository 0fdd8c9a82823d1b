"""Answers of any model in a file: an array or a table of scores, keyed by the ids that come with it.

| file | holds | its ids |
|---|---|---|
| `.npy` | float array (N, K) of whole clips, or (N, W, K) of windows | in files of their own |
| `.npz`, `.h5`, `.hdf5` | one or several such arrays, each with a name | in files of their own |
| `.csv`, `.tsv` | header `clip_id` and the K classes, a row a clip | its first column and its header |
| `.csv`, `.tsv` | numbers alone, a row a clip (`numpy.savetxt`) | in files of their own |

Nothing of a file is believed before it was checked: no pickle is opened, and no size is taken from a header that the
file's own size contradicts. Clips pass through in blocks of 16 MiB, so that memory does not grow with N.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO

import h5py
import numpy as np

from pseudolabel.errors import InputError, first_few
from pseudolabel.hdf5_checks import MOST_PACKED, claims_too_much, refuse_elsewhere, refuse_heaps
from pseudolabel.labels.readers import columns
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.import_ids import distinct, read_classes, read_ids
from pseudolabel.stores import store_contents
from pseudolabel.tables import Fields, text_rows, wrong_length

BLOCK_BYTES = 2**24
LONGEST_HEADER = 1 << 16  # bytes of the header of an array in a .npz file
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# What numpy and Python raise where a header, which is a Python literal, is none.
UNREADABLE = (ValueError, TypeError, LookupError, SyntaxError, TokenError, ArithmeticError, RecursionError, MemoryError)
UNREADABLE_ZIP = (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, LookupError, EOFError, OSError)
TABLES, ARRAYS, OF_SEVERAL = (".csv", ".tsv"), (".npy", ".npz", ".h5", ".hdf5"), (".npz", ".h5", ".hdf5")

Blocks = Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answered, as a file holds it; nothing is read before `blocks` is iterated.

    Args:
        path: the file.
        clip_ids, class_ids: (N,) and (K,) distinct ids.
        shape: (N, K) of whole clips or (N, W, K) of windows.
        blocks: gives the scores of consecutive clips as arrays (n, K) or (n, W, K); not checked yet.
    """

    path: Path
    clip_ids: tuple[str, ...]
    class_ids: tuple[str, ...]
    shape: tuple[int, ...]
    blocks: Blocks


def open_answers(
    path: str | Path,
    ids: str | Path | None,
    classes: str | Path | None,
    vocabulary: Vocabulary,
    dataset: str | None = None,
    like: Answers | None = None,
) -> Answers:
    """Open a file of answers and check its shape against its ids.

    Args:
        path: .npy, .npz, .h5, .csv.
        ids: file with a clip id for each row (`read_ids`); None for a table.
        classes: file with a class for each column (`read_classes`); None for a table.
        vocabulary: turns class names into ids; a class that it does not know keeps the name it has.
        dataset: which array of a .npz or HDF5 file; None where there is but one of two or three axes.
        like: answers that were opened with the same `ids` and `classes`, which are not read again.

    Raises:
        InputError: a file is missing, of another kind or damaged; ids are not distinct, or not as many as the array
            has rows and columns; the array is not of floating-point numbers.
    """
    path, ending = Path(path), Path(path).suffix.lower()
    if not path.is_file():
        raise InputError("no such file", path)
    if ending not in (*TABLES, *ARRAYS):
        raise InputError(f"answers cannot be read from {ending or 'a file without ending'}", path,
                         f"Give one of {', '.join((*ARRAYS, *TABLES))}.")  # fmt: skip
    if dataset is not None and ending not in OF_SEVERAL:
        raise InputError(f"{path.name} has no data sets", "--dataset", "Omit it.")
    if ending in TABLES and not _is_headless(path):
        for option, given in (("--ids", ids), ("--classes", classes)):
            if given is not None:
                raise InputError(f"{path.name} names its clips and classes itself", option, "Omit it.")
        return _open_table(path, vocabulary)
    for option, given, what in (("--ids", ids, "clip ids"), ("--classes", classes, "class ids")):
        if given is None:
            raise InputError(f"{path.name} holds no {what}", option, "Give the file that names them in its order.")
    clip_ids = like.clip_ids if like else read_ids(ids)
    class_ids = like.class_ids if like else read_classes(classes, vocabulary)
    if ending in TABLES:
        shape, dtype, blocks = _open_headless(path)
    elif ending == ".npy":
        shape, dtype, blocks = _open_npy(path)
    else:
        shape, dtype, blocks = _open_npz(path, dataset) if ending == ".npz" else _open_h5(path, dataset)
    _check_array(path, shape, dtype, len(clip_ids), len(class_ids))
    return Answers(path, clip_ids, class_ids, shape, blocks)


# ---- kinds of files ---------------------------------------------------------------------------------------------


def _open_table(path: Path, vocabulary: Vocabulary) -> Answers:
    """Open a table; its rows are read twice, once for the ids and once for the scores."""
    rows = text_rows(path)
    line, header = next(rows, (1, [""]))
    if header[0] != "clip_id" or len(header) < 2:
        raise InputError(f"the first column is {header[0]!r}", f"{path}:{line}",
                         "The header needs clip_id, then a column for each class.")  # fmt: skip
    names = ((f"{path}:{line}, column {column}", name) for column, name in enumerate(header[1:], 2))
    class_ids = distinct([(place, vocabulary.lookup(name) or name) for place, name in names], "class", path)
    picked = columns(text_rows(path), path, ("clip_id",), (header[1],))
    clip_ids = distinct(((f"{path}:{line}", clip_id) for line, (clip_id, _) in picked), "clip", path)
    n_rows = _rows_a_block((len(clip_ids), len(class_ids)), 8)

    def blocks() -> Iterator[np.ndarray]:
        rows = ((line, fields[1:]) for line, fields in itertools.islice(text_rows(path), 1, None))
        return _numbers(rows, path, n_rows)

    return Answers(path, clip_ids, class_ids, (len(clip_ids), len(class_ids)), blocks)


def _is_headless(path: Path) -> bool:
    """Return whether the first row of a table is numbers alone."""
    _, first = next(text_rows(path), (1, [""]))
    return all(_is_number(field) for field in first)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _open_headless(path: Path) -> tuple[tuple[int, ...], np.dtype, Blocks]:
    """Return shape, dtype and blocks of a table of numbers alone; its rows are counted first."""
    n_clips, width = 0, 0
    for line, fields in text_rows(path):
        width = width or len(fields)
        if len(fields) != width:
            raise wrong_length(fields, width, f"{path}:{line}")
        n_clips += 1
    shape = (n_clips, width)
    return shape, np.dtype(np.float64), lambda: _numbers(text_rows(path), path, _rows_a_block(shape, 8))


def _numbers(rows: Iterator[Fields], path: Path, n_rows: int) -> Iterator[np.ndarray]:
    """Yield blocks of so many rows of numbers."""
    block = []
    for line, fields in rows:
        try:
            block.append([float(field) for field in fields])
        except ValueError as error:
            raise _no_number(fields, f"{path}:{line}") from error
        if len(block) == n_rows:
            yield np.array(block)
            block = []
    if block:
        yield np.array(block)


def _no_number(fields: Sequence[str], place: str) -> InputError:
    """Return the error about the first field of a row that is not a number."""
    field = next(field for field in fields if not _is_number(field))
    if not field.strip():
        return InputError("a score is empty", place, "Give a score of every class, or leave clips without answers out.")
    remedy = "Give numbers in [0, 1]."
    if "," in field and _is_number(field.replace(",", ".", 1)):
        remedy = f"Write decimals with a point: {field.replace(',', '.', 1)}."
    return InputError(f"a score is not a number: {field!r}", place, remedy)


def _open_npy(path: Path) -> tuple[tuple[int, ...], np.dtype, Blocks]:
    """Return shape, dtype and blocks of a .npy file whose size is what its header says."""
    with open(path, "rb") as file:
        shape, fortran_order, dtype = _header(file, path)
        offset = file.tell()
    _check_size(shape, dtype, path.stat().st_size - offset, path)
    n_rows, order = _rows_a_block(shape, dtype.itemsize), "F" if fortran_order else "C"

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, shape[0], n_rows):  # mapped anew, so that pages of earlier blocks are given back
            yield np.array(np.memmap(path, dtype, "r", offset, shape, order)[start : start + n_rows])

    return shape, dtype, blocks


def _header(file: IO[bytes], place: object) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether in Fortran order, and dtype of an array in NumPy's format; its values come next."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"version {version}")
        return HEADERS[version](file)
    except UNREADABLE as error:
        raise InputError(f"not a readable .npy file ({error})", place, "Save it with numpy.save.") from error


def _check_size(shape: Sequence[int], dtype: np.dtype, held: int, place: object) -> None:
    """Refuse an array of floating-point numbers whose header claims other than the bytes that are there."""
    claimed = math.prod(shape) * dtype.itemsize
    if dtype.kind == "f" and (held != claimed or min(shape, default=0) < 0):
        raise InputError(f"its header claims {list(shape)} {dtype}, {claimed:,} bytes; it holds {held:,}", place,
                         "It is not whole: copy or save it again.")  # fmt: skip


def _open_npz(path: Path, name: str | None) -> tuple[tuple[int, ...], np.dtype, Blocks]:
    """Return shape, dtype and blocks of an array in a .npz file, which are read from front to back."""
    with _readable_npz(path), zipfile.ZipFile(path) as file:
        held = [member for member in file.infolist() if member.filename.endswith(".npy")]
        members = {member.filename.removesuffix(".npy"): member for member in held}
        headers = {key: _header_in(file, member, f"{path}, {key}") for key, member in members.items()}
    name = _array_name({key: len(shape) for key, ((shape, *_), _) in headers.items()}, name, path)
    member, ((shape, fortran_order, dtype), offset), place = members[name], headers[name], f"{path}, {name}"
    _check_size(shape, dtype, member.file_size - offset, place)
    if fortran_order:
        raise InputError("its rows do not follow each other (Fortran order)", place,
                         "Save numpy.ascontiguousarray of it.")  # fmt: skip
    n_rows = _rows_a_block(shape, dtype.itemsize)

    def blocks() -> Iterator[np.ndarray]:
        with _readable_npz(path), zipfile.ZipFile(path) as file, file.open(member) as stream:
            stream.read(offset)
            for start in range(0, shape[0], n_rows):
                of_block = min(n_rows, shape[0] - start), *shape[1:]
                yield np.frombuffer(stream.read(math.prod(of_block) * dtype.itemsize), dtype).reshape(of_block)

    return shape, dtype, blocks


def _header_in(file: zipfile.ZipFile, member: zipfile.ZipInfo, place: str) -> tuple[tuple, int]:
    """Return what `_header` does of an array in a .npz file, and at which of its bytes the values begin."""
    packed = member.compress_type != zipfile.ZIP_STORED
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError("is packed in a way that NumPy does not use", place, "Save it with numpy.savez.")
    if member.file_size > member.compress_size * (MOST_PACKED if packed else 1):
        message = f"it claims {member.file_size:,} bytes; {member.compress_size:,} are stored"
        raise InputError(message, place, "It is not whole: save it again.")
    with file.open(member) as stream:
        first = io.BytesIO(stream.read(LONGEST_HEADER))
    return _header(first, place), first.tell()


@contextlib.contextmanager
def _readable_npz(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a .npz file is read into an InputError."""
    try:
        yield
    except InputError:
        raise
    except UNREADABLE_ZIP as error:
        raise InputError(f"not a readable .npz file ({error})", path, "Save it with numpy.savez.") from error


def _open_h5(path: Path, name: str | None) -> tuple[tuple[int, ...], np.dtype, Blocks]:
    """Return shape, dtype and blocks of a data set that lies in the file itself."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"not a readable HDF5 file ({error})", path) from error
    with file, store_contents(path):
        refuse_heaps(file, path)
        name = _dataset_name(file, name, path)
        shape, dtype = file[name].shape, file[name].dtype
        _check_storage(file[name], f"{path}, {name}", path.stat().st_size)
    n_rows = _rows_a_block(shape, dtype.itemsize)

    def blocks() -> Iterator[np.ndarray]:
        with h5py.File(path, "r") as file, store_contents(path):
            for start in range(0, shape[0], n_rows):
                yield file[name][start : start + n_rows]

    return shape, dtype, blocks


def _dataset_name(file: h5py.File, name: str | None, path: Path) -> str:
    """Return the data set that is asked for, or the only one of two or three axes; links out of the file are none."""
    found: dict[str, int] = {}
    file.visititems(lambda key, item: found.update({key: len(item.shape or ())} if hasattr(item, "shape") else {}))
    return _array_name(found, name and name.strip("/"), path)


def _array_name(n_axes: Mapping[str, int], name: str | None, path: Path) -> str:
    """Return the array that is asked for, or the only one of two or three axes."""
    if name is not None and name in n_axes:
        return name
    possible = [key for key, n in n_axes.items() if n in (2, 3)]
    if name is None and len(possible) == 1:
        return possible[0]
    has = f"data sets of two or three axes: {first_few(possible, 8) or 'none'}"
    raise InputError(has if name is None else f"no data set {name!r}; {has}", path,
                     "Name one by --dataset. Several: --dataset clip=A 2s=B.")  # fmt: skip


def _check_storage(dataset: h5py.Dataset, place: str, file_bytes: int) -> None:
    """Refuse a data set whose values lie elsewhere, or that claims more than the file can hold."""
    refuse_elsewhere(dataset, place)
    stored = dataset.id.get_storage_size()
    if claims_too_much(dataset, file_bytes):
        raise InputError(f"it claims {list(dataset.shape)}, {dataset.nbytes:,} bytes; {stored:,} are stored", place,
                         "It is not whole: save it again.")  # fmt: skip


def _check_array(path: Path, shape: Sequence[int], dtype: np.dtype, n_clips: int, n_classes: int) -> None:
    """Refuse an array that is not of floating-point numbers, clips first and classes last."""
    if dtype.kind != "f":
        raise InputError(f"holds {dtype}, not floating-point numbers", path, "Save scores in [0, 1] as float32.")
    if len(shape) not in (2, 3) or 0 in shape:
        raise InputError(f"the array has the shape {list(shape)}", path,
                         "It must be (clips, classes), or (clips, windows, classes).")  # fmt: skip
    if (shape[0], shape[-1]) != (n_clips, n_classes):
        raise InputError(
            f"the array has the shape {list(shape)}; --ids names {n_clips} clips, --classes {n_classes} classes", path,
            "Its axes must be (clips, classes), or (clips, windows, classes), in the order of both files.",
        )  # fmt: skip


def _rows_a_block(shape: Sequence[int], itemsize: int) -> int:
    return max(1, BLOCK_BYTES // max(1, math.prod(shape[1:]) * itemsize))
