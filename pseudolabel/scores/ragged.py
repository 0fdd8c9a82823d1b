"""Read a .npz file that has an array (windows, classes) for each clip, as clips of different lengths have them."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pseudolabel.errors import InputError
from pseudolabel.scores.arrays import (
    NO_SCORES,
    FileArray,
    Names,
    check_size,
    npz_headers,
    rank_of,
    readable_npz,
    rows_a_block,
)


def open_ragged(path: Path) -> FileArray | None:
    """Return the windows of all clips as an array (N, W, K), W those of the longest clip; the rest of a row is 0.

    None if the file has not several floating-point arrays of two axes, all of K columns and named by clip, or has an
    array of three axes.

    Raises:
        InputError: a clip has no window, or an array is not whole.
    """
    headers = npz_headers(path)
    held = {key: entry for key, entry in headers.items() if len(entry[1][0]) == 2 and entry[1][2].kind == "f"}
    held = {key: entry for key, entry in held.items() if rank_of(key, NO_SCORES) is None}
    widths = {shape[1] for _, (shape, *_), _ in held.values()}
    if len(held) < 2 or len(widths) > 1 or any(len(shape) > 2 for _, (shape, *_), _ in headers.values()):
        return None
    for key, (member, (shape, _, dtype), offset) in held.items():
        check_size(shape, dtype, member.file_size - offset, f"{path}, {key}")
        if not shape[0]:
            raise InputError("has no windows", f"{path}, {key}", "Leave the clip out.")
    keys, counts = list(held), tuple(shape[0] for _, (shape, *_), _ in held.values())
    whole = (len(held), max(counts), *widths)
    dtype = np.result_type(*(dtype for _, (*_, dtype), _ in held.values()))
    n_rows = rows_a_block(whole, dtype.itemsize)

    def blocks() -> Iterator[np.ndarray]:
        with readable_npz(path), zipfile.ZipFile(path) as file:
            for start in range(0, len(keys), n_rows):
                block = np.zeros((len(keys[start : start + n_rows]), *whole[1:]), dtype)
                for row, key in enumerate(keys[start : start + n_rows]):
                    member, (shape, fortran_order, kind), offset = held[key]
                    with file.open(member) as stream:
                        stream.read(offset)
                        values = np.frombuffer(stream.read(math.prod(shape) * kind.itemsize), kind)
                    block[row, : shape[0]] = values.reshape(shape, order="F" if fortran_order else "C")
                yield block

    clips = Names("names of its arrays", keys, lambda number: f"{path}, {keys[number]}")
    title = f"of {len(keys)} arrays, one a clip, of {min(counts)} to {max(counts)} windows"
    unread = tuple(key for key in headers if key not in held)
    return FileArray(whole, dtype, blocks, title, clips, unread=unread, n_windows=counts)
