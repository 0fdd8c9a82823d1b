"""Common base of the HDF5 stores: checks of format, version and checksums, ids as text, lookup of clips by id."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self

import h5py
import numpy as np

from pseudolabel.artefacts import whole_file
from pseudolabel.checksums import SpanChecksums, attributes_crc32, tables_crc32
from pseudolabel.errors import ClipMismatch, InputError, first_few, no_file
from pseudolabel.hdf5_checks import refuse_claims, refuse_heaps, refuse_odd_attributes
from pseudolabel.progress import Progress
from pseudolabel.records import sha256

VERIFY_BYTES = 1 << 24  # read at a time
ATTRIBUTES_CRC32 = "attributes_crc32"
ALIGNED_FROM, ALIGNMENT = 512, 64  # bytes: larger data sets are aligned, so that they can be memory-mapped


class _FailureKept(io.FileIO):
    """A binary file that keeps the first write error instead of raising it.

    It looks empty at first, so that the HDF5 library creates a new file around any bytes already in it.
    """

    failure: OSError | None = None
    _end = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; the end of the file is the end of what was written through this object."""
        if whence == os.SEEK_END:
            offset, whence = offset + self._end, os.SEEK_SET
        return super().seek(offset, whence)

    def write(self, piece: object) -> int:
        """Write all of `piece`, or nothing after a failure; return its length."""
        piece, done = memoryview(piece).cast("B"), 0
        try:
            while self.failure is None and done < len(piece):
                done += super().write(piece[done:])
            self._end = max(self._end, self.tell())
        except OSError as error:
            self.failure = error
        return len(piece)

    def truncate(self, size: int | None = None) -> int:
        """Set the length: this takes no space yet, but may exceed the largest file allowed."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0


@contextlib.contextmanager
def write_hdf5(
    path: str | Path, overwrite: bool = True, when_written: Callable[[], None] | None = None
) -> Iterator[h5py.File]:
    """Yield an open HDF5 file; it is renamed to `path` only if the block ends without an error.

    Args:
        when_written: called once everything is on disk, before the file is renamed.
    Raises:
        OSError: the disk is full, a quota is reached, or the file would be too large; the error names `path`.
    """
    with whole_file(path, overwrite) as temporary:
        with _hdf5_in(temporary, "w+", path) as file:
            yield file
        if when_written is not None:
            when_written()


@contextlib.contextmanager
def complete_hdf5(path: str | Path) -> Iterator[h5py.File]:
    """Yield a new HDF5 file inside an existing file; bytes that are not overwritten stay as they are.

    Raises:
        OSError: as `write_hdf5`; the existing bytes are kept.
    """
    with _hdf5_in(path, "r+", path) as file:
        yield file
    with open(path, "rb+") as whole:
        os.fsync(whole.fileno())


@contextlib.contextmanager
def _hdf5_in(file: str | Path, mode: str, path: str | Path) -> Iterator[h5py.File]:
    """Yield an HDF5 file written into `file`; errors call it `path`.

    The HDF5 library does not survive a full disk: it fails again at exit, with a segmentation fault. So it writes to a
    file object that keeps the error, which is raised here when the library is done.
    """
    with _FailureKept(file, mode) as stream:
        try:
            with h5py.File(stream, "w", alignment_threshold=ALIGNED_FROM, alignment_interval=ALIGNMENT) as opened:
                yield opened
        finally:
            failure = stream.failure
            if failure is not None:
                raise OSError(failure.errno, failure.strerror, str(path)) from failure


def fixed_length_text(values: Sequence[str]) -> np.ndarray:
    """Return ids as fixed-length UTF-8 bytes, so that the file's bytes are reproducible."""
    encoded = [value.encode("utf-8") for value in values]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}")


def read_text(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Read ids stored as fixed-length or variable-length strings; TypeError for anything else."""
    if dataset.ndim != 1 or (dataset.dtype.kind != "S" and h5py.check_string_dtype(dataset.dtype) is None):
        raise TypeError(f"{dataset.name} is not a list of texts")
    return tuple(value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in dataset[:].tolist())


def text_attribute(value: object) -> str:
    """Return the text of an attribute stored as `str` or `bytes`; TypeError for anything else."""
    if not isinstance(value, str | bytes):
        raise TypeError(f"{value!r} is not text")
    return value.decode("utf-8") if isinstance(value, bytes) else value


def whole_number(value: object) -> int:
    """Return an attribute as an int; ValueError, TypeError or OverflowError if it is not a whole number."""
    number = int(value)
    if number != value:
        raise ValueError(f"{value!r} is not a whole number")
    return number


@contextlib.contextmanager
def store_contents(path: str | Path) -> Iterator[None]:
    """Turn errors while reading a store's tables and attributes into an InputError."""
    try:
        yield
    except InputError:  # a ValueError itself, with its final message
        raise
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError, OverflowError, OSError) as error:
        message = f"a part of the store is missing or of another kind ({error})"
        raise InputError(message, path, "Make it again.") from error


def file_identity(path: str | Path) -> tuple[int, int, int, int]:
    """Return device, inode, size and modification time (ns): they change when a file is replaced or written to."""
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def open_format(path: str | Path, names: str | Sequence[str], version: int) -> h5py.File:
    """Open an HDF5 file for reading and check its `format` and `format_version` attributes.

    Args:
        names: the accepted format, or several; errors name the first.
    """
    names = (names,) if isinstance(names, str) else names
    path = Path(path)
    if not path.is_file():
        raise no_file(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"not a readable HDF5 file ({error})", path) from error
    try:
        with store_contents(path):
            refuse_heaps(file, path)
            refuse_odd_attributes(file, path)
            form = text_attribute(file.attrs.get("format", "none"))
            form_version = whole_number(file.attrs.get("format_version", 0))
        if form not in names or form_version != version:
            message = f"format is {form!r} version {form_version}, expected {names[0]!r} version {version}"
            raise InputError(message, path)
    except InputError:
        file.close()
        raise
    return file


def _attributes(file: h5py.File) -> dict[str, dict[str, object]]:
    """Return the attributes of a file ("/") and of its top-level data sets."""
    items = {"/": file, **{name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}}
    return {name: dict(item.attrs.items()) for name, item in items.items()}


def _attributes_crc32(file: h5py.File) -> np.uint32:
    return np.uint32(attributes_crc32(_attributes(file), but=(ATTRIBUTES_CRC32,)))


def _tables_crc32(file: h5py.File, large: str) -> np.uint32:
    return np.uint32(tables_crc32({name: item[:] for name, item in file.items() if not name.startswith(large)}))


def seal(file: h5py.File, large: str) -> None:
    """Write the checksums of all tables and attributes; call it last when writing a store.

    Args:
        large: name prefix of the data sets that are not tables.
    """
    file.attrs["tables_crc32"] = _tables_crc32(file, large)
    file.attrs[ATTRIBUTES_CRC32] = _attributes_crc32(file)


class KeyedByClip:
    """A read-only store whose rows are clips, named by `clip_ids` (N,). It keeps no file open.

    Reading notices if the file was replaced or changed after opening: rows of two files are never mixed.
    """

    FORMAT: str
    EARLIER_FORMATS: tuple[str, ...] = ()  # also accepted
    FORMAT_VERSION: int
    HOLDS: str  # what errors say a clip lacks: `scores`
    LARGE: str  # name prefix of the memory-mapped data sets; the others are tables

    path: Path
    clip_ids: tuple[str, ...]
    aliases: Mapping[str, str] = MappingProxyType({})  # {other id of a clip: its id here}
    attributes_checked: bool = False  # whether the attributes had a checksum to compare with
    _index: dict[str, int] | None = None
    _identity: tuple[int, int, int, int] | None = None

    @classmethod
    def open_file(cls, path: str | Path) -> h5py.File:
        """Open a store's file for reading; InputError if it is missing or has another format or version."""
        return open_format(path, (cls.FORMAT, *cls.EARLIER_FORMATS), cls.FORMAT_VERSION)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a store.

        Raises:
            InputError: the file is missing, damaged or of another format or version, or its tables are inconsistent.
        """
        path = Path(path)
        identity = file_identity(path) if path.is_file() else None
        with cls.open_file(path) as file, store_contents(path):
            refuse_claims(file, path)
            store = cls(path, file)
            if not all(store.clip_ids):
                raise InputError("a clip id is empty", path, "Make it again.")
            store.attributes_checked = cls._check_attributes(file, path)
            cls._check_tables(file, path)
        store._identity = identity
        store.check_unchanged()
        return store

    def check_unchanged(self) -> None:
        """Raise InputError if the file is no longer the one that was opened."""
        if self._identity is None:
            return
        try:
            same = file_identity(self.path) == self._identity
        except OSError:
            same = False
        if not same:
            message = "was replaced, changed or removed after it was opened"
            raise InputError(message, self.path, "Run the command again, and leave the file alone meanwhile.")

    @classmethod
    def seal(cls, file: h5py.File) -> None:
        """Write the checksums of all tables and attributes of a store (`seal`)."""
        seal(file, cls.LARGE)

    @classmethod
    def _check_tables(cls, file: h5py.File, path: Path) -> None:
        if "tables_crc32" in file.attrs and whole_number(file.attrs["tables_crc32"]) != _tables_crc32(file, cls.LARGE):
            raise InputError("ids or other tables were changed after the store was made", path, "Make it again.")

    @staticmethod
    def _check_attributes(file: h5py.File, path: Path) -> bool:
        """Compare the attributes with their checksum; return False if there is none."""
        if ATTRIBUTES_CRC32 not in file.attrs:
            return False
        if whole_number(file.attrs[ATTRIBUTES_CRC32]) != _attributes_crc32(file):
            names = sorted({name for item in _attributes(file).values() for name in item})
            message = f"an attribute was changed or removed after the store was made; there are {', '.join(names)}"
            raise InputError(message, path, "Make it again.")
        return True

    def verify(self) -> bool:
        """Read everything and compare it with its checksums; return False if a checksum is missing.

        Formats, shapes, ids, offsets and attributes were already checked on opening (`attributes_checked`).

        Raises:
            InputError: a part is damaged; the message names its first clip.
        """
        self.check_unchanged()
        with h5py.File(self.path, "r") as file, store_contents(self.path):
            whole = [self._verify_span_by_span(file, name) for name in file if name.startswith(self.LARGE)]
            return all(whole) and "tables_crc32" in file.attrs

    def _verify_span_by_span(self, file: h5py.File, name: str) -> bool:
        stored = file[name]
        checksums = name.replace(name.partition("_")[0], "crc32", 1)
        if checksums not in file:
            return False
        ends, clips = self._spans(name, stored)
        actual, expected, row = SpanChecksums(ends), file[checksums][:], stored.nbytes // max(len(stored), 1)
        step = max(VERIFY_BYTES // max(row, 1), 1)
        with Progress(f"verify {name}", len(stored), "row") as progress:
            for start in range(0, len(stored), step):
                actual.update(stored[start : start + step])
                self.check_unchanged()
                progress.advance(min(step, len(stored) - start))
        differing = np.flatnonzero(actual.values != expected)
        if len(differing):
            damaged = first_few(self.clip_ids[clips[span]] for span in differing)
            raise InputError(f"{name} is damaged from clip {damaged} on", self.path, "Make the store again.")
        return True

    def _spans(self, name: str, stored: h5py.Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each span with a checksum, the byte at which it ends and its first clip."""
        raise NotImplementedError

    def content(self) -> str:
        """Return a checksum of the whole store: of its tables alone if they hold checksums of the rest."""
        self.check_unchanged()
        with h5py.File(self.path, "r") as file, store_contents(self.path):
            large = [name for name in file if name.startswith(self.LARGE)]
            if not all(name.replace(name.partition("_")[0], "crc32", 1) in file for name in large):
                return sha256(self.path)
            digest = hashlib.sha256(repr(sorted(file.attrs.items(), key=str)).encode())
            for name in sorted(set(file) - set(large)):
                table = file[name][:]
                table = table.astype(bytes) if table.dtype.hasobject else table
                digest.update(
                    f"{name} {table.dtype.str} {table.shape}".encode() + np.ascontiguousarray(table).tobytes()
                )
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.clip_ids)

    @property
    def index(self) -> dict[str, int]:
        """Row of each clip id."""
        if self._index is None:
            self._index = {clip_id: row for row, clip_id in enumerate(self.clip_ids)}
        return self._index

    def with_aliases(self, aliases: Mapping[str, str]) -> Self:
        """Return a view of this store whose `rows` also accepts aliases, {other id of a clip: its id here}."""
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__, aliases={**self.aliases, **aliases})
        return view

    def rows(self, clip_ids: Iterable[str]) -> np.ndarray:
        """Return the row of each clip id or alias, int64; ClipMismatch names the first few that are absent."""
        clip_ids = [self.aliases.get(clip_id, clip_id) for clip_id in clip_ids]
        absent = [clip_id for clip_id in clip_ids if clip_id not in self.index]
        if absent:
            raise ClipMismatch(f"{len(absent)} clips have no {self.HOLDS}: {first_few(absent)}", self.path)
        return np.array([self.index[clip_id] for clip_id in clip_ids], dtype=np.int64)
