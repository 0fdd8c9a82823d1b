"""Write files and folders atomically: under a temporary name, flushed, then renamed, and the folder flushed too."""

from __future__ import annotations

import contextlib
import csv
import ctypes
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pseudolabel.errors import OutputExists
from pseudolabel.ownership import files_in, refuse_existing, refuse_foreign
from pseudolabel.temporaries import temporary_name, temporary_path


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to disk; folders only where the system supports it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Rename a finished file to `target`, replacing any existing one, and flush the folder."""
    os.replace(source, target)
    sync(target.parent)


@contextlib.contextmanager
def whole_file(path: str | Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it is renamed to `path` only if the block ends without an error."""
    path = refuse_existing(path, overwrite)
    if path.is_dir():
        raise OutputExists("a folder is where a file is to be written", path, "Move it, or give another --out.")
    with temporary_path(path, folder=False) as temporary:
        yield temporary
        sync(temporary)
        rename(temporary, path)


@contextlib.contextmanager
def whole_folder(
    path: str | Path, overwrite: bool = False, *makers: str, reason_not_to: Callable[[Path], str] | None = None
) -> Iterator[Path]:
    """Yield an empty temporary folder; it is renamed to `path` only if the block ends without an error.

    Args:
        makers, reason_not_to: which existing folders may be replaced (`refuse_foreign`).
    """
    path = refuse_foreign(path, overwrite, *makers, reason_not_to=reason_not_to)
    with temporary_path(path, folder=True) as temporary:
        yield temporary
        for name in files_in(temporary):
            if not (temporary / name).is_symlink():
                sync(temporary / name)
        _take_place(temporary, refuse_foreign(path, overwrite, *makers, reason_not_to=reason_not_to))
        sync(path.parent)


def _take_place(temporary: Path, path: Path) -> None:
    """Rename a folder to `path`; an existing `path` takes the temporary name, atomically where the system can."""
    if not os.path.lexists(path):
        os.rename(temporary, path)
    elif not _exchange(temporary, path):
        replaced = temporary_name(path)
        os.rename(path, replaced)
        try:
            os.rename(temporary, path)
        except OSError:
            os.rename(replaced, path)
            raise
        os.rename(replaced, temporary)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths on one file system atomically; return False if that is not possible."""
    at_here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of renameat2(2)
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    return call(at_here, os.fsencode(one), at_here, os.fsencode(other), exchange) == 0


def write_text(path: str | Path, text: str, overwrite: bool = True) -> None:
    """Write UTF-8 text with LF line endings, all or nothing."""
    with whole_file(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: object, overwrite: bool = True) -> None:
    """Write indented JSON, keys in the order given, all or nothing."""
    write_text(path, json_text(value), overwrite)


def json_text(value: object) -> str:
    """Return what `write_json` writes."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_csv(
    path: str | Path, header: Iterable[str], rows: Iterable[Iterable[object]], overwrite: bool = True
) -> None:
    """Write a CSV file (UTF-8, LF, quotes only where needed), all or nothing."""
    with whole_file(path, overwrite) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
