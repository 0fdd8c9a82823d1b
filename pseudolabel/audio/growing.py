"""GrowingAudio: the encoded audio of a store under construction, each byte written once to its final place.

Several processes decode blocks of clips. A block's position is known once the blocks before it are decoded, by any
process. So no process waits for another's writes, and nothing is copied at the end: the file becomes the store.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np

from pseudolabel.errors import InputError
from pseudolabel.temporaries import full_disk_at

UNKNOWN, FAILED = -1, -2  # in place of the byte at which a block ends
PIECE_BYTES = 1 << 22  # read at a time
PATIENCE_S = 10.0  # for a lock normally held for microseconds


class GrowingAudio:
    """The audio of N blocks, one after the other, starting at byte `first` of a file.

    Args:
        path: the file, created with the first block.
        first: byte at which the first block begins.
        n_blocks: N.
        finished: {block: (start, end)} of blocks that an earlier run wrote.
        context: multiprocessing context of the processes that share the work; None for one process.
    """

    def __init__(
        self,
        path: Path,
        first: int,
        n_blocks: int,
        finished: Mapping[int, tuple[int, int]],
        context: BaseContext | None = None,
    ):
        self.path, self._finished = path, dict(finished)
        ends = [UNKNOWN] * n_blocks + [first]  # the last one stands in for block -1
        for block, (_, end) in self._finished.items():
            ends[block] = end
        self._ends = context.RawArray(ctypes.c_int64, ends) if context else ends
        self._changed = context.Condition() if context else threading.Condition()

    def append(self, block: int, pieces: Iterable[np.ndarray], n_bytes: int) -> int:
        """Write and flush a block's bytes once the blocks before it are decoded; return where they begin.

        Args:
            pieces: uint8 arrays, `n_bytes` in total.

        Raises:
            InputError: an earlier run wrote the next block, and this one would not end where it begins.
        """
        start = self._reserve(block, n_bytes)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            with full_disk_at(self.path):
                _write(file, pieces, start)
                os.fsync(file)
            if hasattr(os, "posix_fadvise"):  # the next recordings need the memory more
                os.posix_fadvise(file, start, n_bytes, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
        return start

    def _reserve(self, block: int, n_bytes: int) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._ends[block - 1] != UNKNOWN)
            start = self._ends[block - 1]
            if start == FAILED:
                raise InterruptedError("another process of this run has failed")
            next_start, _ = self._finished.get(block + 1, (start + n_bytes, 0))
            if next_start != start + n_bytes:
                message = f"block {block} has {n_bytes} bytes, not {next_start - start} as in the interrupted run"
                remedy = "Recordings have changed since: remove its folder and start again."
                raise InputError(message, self.path, remedy)
            self._ends[block] = start + n_bytes
            self._changed.notify_all()
        return start

    def fail(self) -> None:
        """Wake processes waiting for blocks that will not come."""
        if self._changed.acquire(timeout=PATIENCE_S):  # a killed process may have held it
            for block, end in enumerate(self._ends[:-1]):
                self._ends[block] = FAILED if end == UNKNOWN else end
            self._changed.notify_all()
            self._changed.release()


def _write(file: int, pieces: Iterable[np.ndarray], position: int) -> None:
    """Write pieces one after the other from a position on."""
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            n_written = os.pwrite(file, rest, position)
            rest, position = rest[n_written:], position + n_written


def read_span(path: Path, first: int, n_bytes: int) -> Iterator[np.ndarray]:
    """Yield bytes of a file, uint8, through one buffer: each piece is valid only until the next."""
    if not n_bytes:
        return
    buffer = np.empty(min(PIECE_BYTES, n_bytes), np.uint8)
    with open(path, "rb", buffering=0) as file:
        file.seek(first)
        while n_bytes:
            n_read = file.readinto(memoryview(buffer)[:n_bytes])
            if not n_read:
                raise InputError(f"{n_bytes} bytes of audio are missing at its end", path, "Start again.")
            n_bytes -= n_read
            yield buffer[:n_read]
