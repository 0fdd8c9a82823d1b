"""Create and remove temporary files and folders, locked while in use, whose names prove that they are ours.

Everything that this package removes goes through `remove`, which demands proof that it is ours.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pseudolabel.errors import InputError

try:
    import fcntl
except ImportError:  # not available: leftovers are recognized by age alone
    fcntl = None

FULL_DISK = {
    errno.ENOSPC: "No space left on device. Make room, or write to another disk",
    errno.EDQUOT: "Disk quota exceeded. Make room, or write to another disk",
    errno.EFBIG: "File too large. Write to another disk, or raise the limit (ulimit -f)",
}
LEFTOVER_S = 3600  # without locks, a temporary file this old is abandoned


def _proof(name: str, drawn: str) -> str:
    return hashlib.sha256(f"pseudolabel {name} {drawn}".encode()).hexdigest()[:16]


def temporary_name(path: Path) -> Path:
    """Return a new temporary name beside `path`, recognizable by `is_temporary`."""
    drawn = secrets.token_hex(8)
    return path.with_name(f".{path.name}.{drawn}{_proof(path.name, drawn)}.tmp")


def is_temporary(path: Path, of: str | None = None) -> bool:
    """Return whether a name is one of this package's temporary names (of the file `of`, if given).

    Half of its 32 digits are random, the rest a checksum of them and the name, so no other file has such a name.
    """
    match = re.fullmatch(r"\.(.+)\.([0-9a-f]{16})([0-9a-f]{16})\.tmp", path.name, re.DOTALL)
    return bool(match) and match[3] == _proof(match[1], match[2]) and of in (None, match[1])


def _not_temporary(path: Path) -> str:
    return "" if is_temporary(path) else "not a temporary name of pseudolabel"


@contextlib.contextmanager
def temporary_path(path: Path, folder: bool) -> Iterator[Path]:
    """Yield a new temporary file or folder beside `path`, locked while in use; remove it afterwards if still there.

    Raises:
        OSError: as the block; if the disk is full, the error names the output and the remedy.
    """
    with full_disk_at(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(path)
    while True:
        temporary = temporary_name(path)
        with full_disk_at(path, temporary):
            if folder:
                temporary.mkdir()
            else:
                os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        descriptor = _locked(temporary, wait=True)
        if os.path.lexists(temporary):  # not removed as a leftover before it was locked
            break
        _close(descriptor)
    try:
        with full_disk_at(path, temporary):
            yield temporary
    finally:
        if os.path.lexists(temporary):
            remove(temporary, _not_temporary)
        _close(descriptor)


@contextlib.contextmanager
def full_disk_at(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn errors of a full disk, of any library, into an OSError that names `path` and the remedy.

    Args:
        temporary: the file or folder that becomes `path`; files in a folder are named as they would be in `path`.
    """
    temporary = temporary or path
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        number = _full_disk(error)
        if number is None:
            raise
        names = (getattr(error, name, None) for name in ("filename2", "filename"))  # the copy, rather than the original
        named = Path(next((name for name in names if isinstance(name, str | Path)), temporary))
        place = path / named.relative_to(temporary) if named.is_relative_to(temporary) else named
        raise OSError(number, FULL_DISK[number], str(place)) from error


def _full_disk(error: Exception) -> int | None:
    """Return the number of the error if a disk is full; not every library's error has one, so its text counts too."""
    number = getattr(error, "errno", None)
    if number is not None:
        return number if number in FULL_DISK else None
    return next((number for number in FULL_DISK if os.strerror(number) in str(error)), None)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`, removed when the block ends."""
    with temporary_path(path, folder=True) as temporary:
        yield temporary


def _locked(path: Path, wait: bool) -> int | None:
    """Return a descriptor that holds the lock of a file or folder; None if another process has it or locks fail."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # locked by another process, or no locks on this file system
        os.close(descriptor)
        return None
    return descriptor


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def clear_leftovers(path: Path) -> None:
    """Remove the temporary files and folders of `path` that killed processes left: those that are not locked.

    On file systems without locks: those unmodified for an hour.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(path.parent):
            leftover = path.with_name(name)
            if not is_temporary(leftover, path.name) or leftover.is_symlink():
                continue
            descriptor = _locked(leftover, wait=False)
            with contextlib.suppress(OSError):
                if descriptor is not None or time.time() - leftover.stat().st_mtime > LEFTOVER_S:
                    remove(leftover, _not_temporary)
            _close(descriptor)


def lock_path(path: Path) -> Path:
    """Return the path of the lock file beside an output: an empty file that a run locks while it works."""
    return path.with_name(f".{path.name}.pseudolabel-lock")


def clear_lock(path: Path) -> None:
    descriptor = _locked(path, wait=False)  # None if a run is at work
    if descriptor is None:
        return
    held = os.fstat(descriptor)
    with contextlib.suppress(OSError):
        if stat.S_ISREG(held.st_mode) and not held.st_size and os.path.samestat(held, os.lstat(path)):
            path.unlink()
    _close(descriptor)


def remove(path: Path, reason_not_to: Callable[[Path], str]) -> None:
    """Remove a file or folder of ours; links are removed, never followed. No other function removes folders.

    Args:
        reason_not_to: returns why it is not ours, judging by its content; an empty string if it is.
    Raises:
        InputError: it is not ours.
    """
    if not os.path.lexists(path):
        return
    reason = reason_not_to(path)
    if reason:
        raise InputError(f"{reason}, so it is not removed", path, "Move it.")
    if not path.is_dir() or path.is_symlink():
        path.unlink()
        return
    if not is_temporary(path):  # if killed midway, half a folder must not keep its name
        path = path.rename(temporary_name(path))
    shutil.rmtree(path)
