"""Read arrays from other programs' files in blocks of rows: .npy, .npz, HDF5, and plain tables of numbers.

Nothing in a file is trusted unchecked: no pickle is loaded, and no size in a header is believed if it contradicts the
file's size. Rows are read in blocks of 16 MiB, so memory does not grow with their number.
"""

from __future__ import annotations

import contextlib
import io
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
from pseudolabel.stores import store_contents
from pseudolabel.tables import Fields, text_rows, wrong_length

BLOCK_BYTES = 2**24
LONGEST_HEADER = 1 << 16  # bytes of an array's header in a .npz file
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# What NumPy and Python raise if a header is not a valid Python literal.
UNREADABLE = (ValueError, TypeError, LookupError, SyntaxError, TokenError, ArithmeticError, RecursionError, MemoryError)
UNREADABLE_ZIP = (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, LookupError, EOFError, OSError)
TABLES, OF_SEVERAL = (".csv", ".tsv"), (".npz", ".h5", ".hdf5")
READABLE = (".npy", *OF_SEVERAL, *TABLES)
NOT_WHOLE = "It is not whole: copy or save it again."


@dataclass(frozen=True, eq=False)
class FileArray:
    """An array in a file; no values are read before `blocks` is iterated.

    Args:
        blocks: yields consecutive rows as arrays (n, ...).
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterator[np.ndarray]]


def open_array(path: Path, name: str | None = None) -> FileArray:
    """Open an array in a file (endings READABLE), checking that the file is as large as it claims.

    Args:
        name: name of the array in a .npz or HDF5 file; None if only one has two or three axes.

    Raises:
        InputError: the file is damaged, or there is no such array.
    """
    ending = path.suffix.lower()
    if ending in TABLES:
        return _open_numbers(path)
    if ending == ".npy":
        return _open_npy(path)
    return _open_npz(path, name) if ending == ".npz" else _open_h5(path, name)


def rows_a_block(shape: Sequence[int], itemsize: int) -> int:
    """Return the number of rows per block, at least 1."""
    return max(1, BLOCK_BYTES // max(1, math.prod(shape[1:]) * itemsize))


# ---- tables -----------------------------------------------------------------------------------------------------


def _open_numbers(path: Path) -> FileArray:
    """Open a table of numbers only; its rows are counted first."""
    n_rows, width = 0, 0
    for line, fields in text_rows(path):
        width = width or len(fields)
        if len(fields) != width:
            raise wrong_length(fields, width, f"{path}:{line}")
        n_rows += 1
    shape = (n_rows, width)
    return FileArray(shape, np.dtype(np.float64), lambda: number_blocks(text_rows(path), path, rows_a_block(shape, 8)))


def number_blocks(rows: Iterator[Fields], path: Path, n_rows: int) -> Iterator[np.ndarray]:
    """Yield blocks of at most `n_rows` rows of numbers; InputError names the first field that is not a number."""
    block = []
    for line, fields in rows:
        try:
            block.append([float(field) for field in fields])
        except ValueError as error:
            raise _not_a_number(fields, f"{path}:{line}") from error
        if len(block) == n_rows:
            yield np.array(block)
            block = []
    if block:
        yield np.array(block)


def is_number(field: str) -> bool:
    """Return whether a text is a number."""
    try:
        float(field)
    except ValueError:
        return False
    return True


def _not_a_number(fields: Sequence[str], place: str) -> InputError:
    field = next(field for field in fields if not is_number(field))
    if not field.strip():
        remedy = "Give a score of every class, or leave out clips without answers."
        return InputError("a score is empty", place, remedy)
    decimal = field.replace(",", ".", 1)
    remedy = f"Write decimals with a point: {decimal}." if "," in field and is_number(decimal) else ""
    return InputError(f"a score is not a number: {field!r}", place, remedy or "Give numbers in [0, 1].")


# ---- NumPy's files ----------------------------------------------------------------------------------------------


def _open_npy(path: Path) -> FileArray:
    with open(path, "rb") as file:
        shape, fortran_order, dtype = _header(file, path)
        offset = file.tell()
    _check_size(shape, dtype, path.stat().st_size - offset, path)
    n_rows, order = rows_a_block(shape, dtype.itemsize), "F" if fortran_order else "C"

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, shape[0], n_rows):  # mapped anew for each block, to release the pages of earlier ones
            yield np.array(np.memmap(path, dtype, "r", offset, shape, order)[start : start + n_rows])

    return FileArray(shape, dtype, blocks)


def _header(file: IO[bytes], place: object) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an array in NumPy's format: shape, whether in Fortran order, and dtype; values follow."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"version {version}")
        return HEADERS[version](file)
    except UNREADABLE as error:
        raise InputError(f"not a readable .npy file ({error})", place, "Save it with numpy.save.") from error


def _check_size(shape: Sequence[int], dtype: np.dtype, held: int, place: object) -> None:
    """Raise InputError if a floating-point array's header claims another size than the file has."""
    claimed = math.prod(shape) * dtype.itemsize
    if dtype.kind == "f" and (held != claimed or min(shape, default=0) < 0):
        message = f"its header claims {list(shape)} {dtype}, {claimed:,} bytes; it holds {held:,}"
        raise InputError(message, place, NOT_WHOLE)


def _open_npz(path: Path, name: str | None) -> FileArray:
    """Open an array in a .npz file, to be read from front to back."""
    with _readable_npz(path), zipfile.ZipFile(path) as file:
        names = [member for member in file.infolist() if member.filename.endswith(".npy")]
        members = {member.filename.removesuffix(".npy"): member for member in names}
        headers = {key: _header_in(file, member, f"{path}, {key}") for key, member in members.items()}
    name = _array_name({key: len(shape) for key, ((shape, *_), _) in headers.items()}, name, path)
    member, ((shape, fortran_order, dtype), offset), place = members[name], headers[name], f"{path}, {name}"
    _check_size(shape, dtype, member.file_size - offset, place)
    if fortran_order:
        remedy = "Save numpy.ascontiguousarray of it."
        raise InputError("its rows do not follow each other (Fortran order)", place, remedy)
    n_rows = rows_a_block(shape, dtype.itemsize)

    def blocks() -> Iterator[np.ndarray]:
        with _readable_npz(path), zipfile.ZipFile(path) as file, file.open(member) as stream:
            stream.read(offset)
            for start in range(0, shape[0], n_rows):
                of_block = min(n_rows, shape[0] - start), *shape[1:]
                yield np.frombuffer(stream.read(math.prod(of_block) * dtype.itemsize), dtype).reshape(of_block)

    return FileArray(shape, dtype, blocks)


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
def _readable_npz(path: Path) -> Iterator[None]:
    """Turn errors while reading a .npz file into an InputError."""
    try:
        yield
    except InputError:
        raise
    except UNREADABLE_ZIP as error:
        raise InputError(f"not a readable .npz file ({error})", path, "Save it with numpy.savez.") from error


# ---- HDF5 -------------------------------------------------------------------------------------------------------


def _open_h5(path: Path, name: str | None) -> FileArray:
    """Open a data set whose values are in the file itself; links to other files are not followed."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"not a readable HDF5 file ({error})", path) from error
    n_axes: dict[str, int] = {}
    with file, store_contents(path):
        refuse_heaps(file, path)
        file.visititems(lambda key, item: n_axes.update({key: len(item.shape or ())} if hasattr(item, "shape") else {}))
        name = _array_name(n_axes, name and name.strip("/"), path)
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


def _array_name(n_axes: Mapping[str, int], name: str | None, path: Path) -> str:
    """Return the requested array's name, or that of the only array with two or three axes."""
    if name is not None and name in n_axes:
        return name
    possible = [key for key, n in n_axes.items() if n in (2, 3)]
    if name is None and len(possible) == 1:
        return possible[0]
    has = f"data sets of two or three axes: {first_few(possible, 8) or 'none'}"
    message = has if name is None else f"no data set {name!r}; {has}"
    raise InputError(message, path, "Name one by --dataset. Several: --dataset clip=A 2s=B.")
