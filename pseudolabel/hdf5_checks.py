"""Refuse dangerous HDF5 files before reading them: links, foreign code, false sizes, damaged heaps.

The HDF5 library opens other files, loads code, allocates memory and loops forever if a file tells it to.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py

from pseudolabel.errors import InputError

MOST_PACKED = 1032  # largest ratio of deflate, the tightest filter in HDF5
MAX_CHUNK_BYTES = 1 << 28  # HDF5 unpacks chunks whole, one at a time
FILTERS = (1, 2, 3, 4, 5, 6, 32000)  # deflate, shuffle, fletcher32, szip, nbit, scaleoffset, and h5py's lzf
HEAP, HEAP_HEADER, OBJECT_HEADER = b"GCOL\1\0\0\0", 16, 16  # bytes; sizes take 8 bytes
ATTRIBUTES = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM)
DAMAGED = "The file is damaged or cut short: make it again."


def claims_too_much(dataset: h5py.Dataset, file_bytes: int) -> bool:
    """Return whether a data set claims more bytes than its stored bytes, in a file of this size, can unpack to."""
    held = min(dataset.id.get_storage_size(), file_bytes)
    return dataset.nbytes > held * (MOST_PACKED if dataset.chunks else 1)


def refuse_elsewhere(dataset: h5py.Dataset, place: object) -> None:
    """Raise InputError if values of a data set are in other files, or need filters or types that HDF5 lacks.

    Chunk size is limited too, since memory is allocated for a whole chunk.
    """
    if dataset.is_virtual or dataset.external:
        raise InputError("its values are in other files", place, "Copy them into one data set.")
    if dataset.dtype.kind not in "fiubS" and h5py.check_string_dtype(dataset.dtype) is None:
        kind = "references" if h5py.check_ref_dtype(dataset.dtype) else str(dataset.dtype)
        raise InputError(f"holds {kind[:60]}, neither numbers nor text", place, "Make it again.")
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        raise InputError(f"a chunk has more than {MAX_CHUNK_BYTES:,} bytes", place, "Save it in smaller chunks.")
    made = dataset.id.get_create_plist()
    unknown = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
    unknown = [str(number) for number in unknown if number not in FILTERS]
    if unknown:
        message = f"is compressed by the filter {', '.join(unknown)}, which HDF5 does not have"
        raise InputError(message, place, "Save it uncompressed, or with gzip.")


def refuse_odd_attributes(item: h5py.Group | h5py.Dataset, path: Path) -> None:
    """Raise InputError if an attribute is neither a number nor text: the HDF5 library crashes on some damaged ones."""
    for number in range(h5py.h5a.get_num_attrs(item.id)):
        attribute = h5py.h5a.open(item.id, index=number)
        if attribute.get_type().get_class() not in ATTRIBUTES:
            raise InputError(f"attribute {attribute.name!r} is neither a number nor text", path, DAMAGED)


def refuse_links(file: h5py.File, path: Path) -> None:
    """Raise InputError if a top-level name is a link, to another file or within this one."""
    for name in file:
        link = file.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            to = f" to {link.filename}" if isinstance(link, h5py.ExternalLink) else ""
            raise InputError(f"{name} is a link{to}", path, "Copy what it names into the file itself.")


def refuse_claims(file: h5py.File, path: Path) -> None:
    """Raise InputError, before memory is allocated, if the top level has something that a store may not have.

    That is: links, and data sets whose values are in other files, need foreign filters or types, or claim to be larger
    than their stored bytes allow.
    """
    refuse_links(file, path)
    size = path.stat().st_size
    for name, dataset in file.items():
        if not isinstance(dataset, h5py.Dataset):
            continue
        refuse_elsewhere(dataset, f"{path}, {name}")
        refuse_odd_attributes(dataset, path)
        if not dataset.shape:
            continue
        held, start = dataset.id.get_storage_size(), dataset.id.get_offset()
        if claims_too_much(dataset, size) or held > size or (start is not None and start + held > size):
            claim = f"{name} claims {dataset.nbytes} bytes, the file of {size} bytes holds {held} of them"
            raise InputError(claim, path, DAMAGED)


def refuse_heaps(file: h5py.File, path: Path) -> None:
    """Raise InputError if a heap of variable-length strings, of data sets or attributes, is damaged.

    One wrong bit in an object's size makes the HDF5 library read the same bytes forever (HDF5 file format, III.E).
    """
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as held:
        for start, stop in _beside_values(file, len(held)):
            at = held.find(HEAP, start, stop)
            while at >= 0:
                at = held.find(HEAP, _end_of_heap(held, at, path), stop)


def _beside_values(file: h5py.File, size: int) -> Iterator[tuple[int, int]]:
    """Yield the spans of a file outside the values of contiguous top-level data sets."""
    position, spans = 0, []
    for name in file:
        if isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Dataset):
            start = file[name].id.get_offset()
            spans += [] if start is None else [(start, start + file[name].id.get_storage_size())]
    for start, stop in sorted(spans):
        if start > position:
            yield position, min(start, size)
        position = max(position, stop)
    if position < size:
        yield position, size


def _end_of_heap(held: mmap.mmap, start: int, path: Path) -> int:
    """Return the end of the heap that begins at byte `start`, checking the size of each object."""
    refusal = InputError(f"the texts at byte {start} are damaged", path, DAMAGED)
    if start + HEAP_HEADER > len(held):
        raise refusal
    end = start + struct.unpack_from("<Q", held, start + 8)[0]
    if not start + HEAP_HEADER < end <= len(held):
        raise refusal
    at = start + HEAP_HEADER
    while at + OBJECT_HEADER <= end:
        number, size = struct.unpack_from("<HxxxxxxQ", held, at)
        step = OBJECT_HEADER + (size + 7) // 8 * 8 if number else size  # number 0 is free space, header and all
        if step < OBJECT_HEADER or at + step > end:
            raise refusal
        at += step
    return end
