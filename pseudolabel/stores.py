"""What the HDF5 stores share: a format and version that are checked, ids as text, clips found by their id."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import h5py
import numpy as np

from pseudolabel.errors import ClipMismatch, InputError, first_few


def fixed_length_text(values: Sequence[str]) -> np.ndarray:
    """Return ids as fixed-length UTF-8 bytes, the form that gives the same file bytes every time."""
    encoded = [value.encode("utf-8") for value in values]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}")


def read_text(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Read ids stored as fixed-length or as variable-length strings."""
    return tuple(value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in dataset[:].tolist())


def text_attribute(value: object) -> str:
    """Return the text of an attribute, stored as a string of either kind; TypeError where it is something else."""
    if not isinstance(value, str | bytes):
        raise TypeError(f"{value!r} is not text")
    return value.decode("utf-8") if isinstance(value, bytes) else value


def whole_number(value: object) -> int:
    """Return an attribute that is a whole number; ValueError, TypeError or OverflowError where it is none."""
    number = int(value)
    if number != value:
        raise ValueError(f"{value!r} is not a whole number")
    return number


@contextlib.contextmanager
def store_contents(path: str | Path) -> Iterator[None]:
    """Turn what goes wrong while the tables and attributes of a store are read into an InputError."""
    try:
        yield
    except InputError:  # a ValueError that says already what is wrong
        raise
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError, OverflowError, OSError) as error:
        message = f"a part of the store is missing or of another kind ({error})"
        raise InputError(message, path, "Make it again.") from error


def open_format(path: str | Path, name: str, version: int) -> h5py.File:
    """Open an HDF5 file for reading and check what its `format` and `format_version` attributes say."""
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"not a readable HDF5 file ({error})", path) from error
    try:
        with store_contents(path):
            found = text_attribute(file.attrs.get("format", "none"))
            found_version = whole_number(file.attrs.get("format_version", 0))
        if found != name or found_version != version:
            raise InputError(f"format is {found!r} version {found_version}, expected {name!r} version {version}", path)
    except InputError:
        file.close()
        raise
    return file


class KeyedByClip:
    """A read-only store whose rows are clips; `clip_ids` (N,) names them. It holds no open file."""

    FORMAT: str
    FORMAT_VERSION: int
    HOLDS: str  # what a clip that is not here lacks

    path: Path
    clip_ids: tuple[str, ...]
    _index: dict[str, int] | None = None

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a store.

        Raises:
            InputError: the file is missing, of another format or version, or its tables contradict each other.
        """
        with open_format(path, cls.FORMAT, cls.FORMAT_VERSION) as file, store_contents(path):
            return cls(Path(path), file)

    def __len__(self) -> int:
        return len(self.clip_ids)

    @property
    def index(self) -> dict[str, int]:
        """Row of each clip id."""
        if self._index is None:
            self._index = {clip_id: row for row, clip_id in enumerate(self.clip_ids)}
        return self._index

    def rows(self, clip_ids: Iterable[str]) -> np.ndarray:
        """Return the row of each clip id, int64; ClipMismatch names the first few that are not here."""
        clip_ids = list(clip_ids)
        absent = [clip_id for clip_id in clip_ids if clip_id not in self.index]
        if absent:
            raise ClipMismatch(f"{len(absent)} clips have no {self.HOLDS}: {first_few(absent)}", self.path)
        return np.array([self.index[clip_id] for clip_id in clip_ids], dtype=np.int64)
