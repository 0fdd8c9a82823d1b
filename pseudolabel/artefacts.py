"""Files that appear only when whole: temporary name, flush, rename; and the record of the run that made them."""

from __future__ import annotations

import contextlib
import csv
import glob
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from pseudolabel.errors import InputError, OutputExists

LEFTOVER_S = 3600  # a temporary file untouched for so long belongs to no one
LIBRARIES = ("torch", "torchaudio", "timm", "h5py", "numpy", "networkx", "scikit-learn", "soundfile", "soxr")


def refuse_existing(path: str | Path, overwrite: bool) -> Path:
    """Return `path`; raise OutputExists where something stands there that may not be overwritten."""
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputExists("output exists", path, "Give --overwrite to replace it, or another --out.")
    return path


def refuse_foreign(folder: str | Path, mark: str, made: str, overwrite: bool) -> Path:
    """Return `folder`, where nothing stands in its place, or what may be overwritten and is what a verb makes.

    Args:
        mark: a file that every such folder holds; an empty folder may be replaced too.
        made: what it is not, if it lacks that: `a folder that enhance wrote`.

    Raises:
        OutputExists: it may not be overwritten.
        InputError: it is somebody else's.
    """
    folder = refuse_existing(folder, overwrite)
    if folder.exists() and not (folder.is_dir() and ((folder / mark).exists() or not any(folder.iterdir()))):
        raise InputError(f"not {made}, so it is not replaced", folder, "Give another --out.")
    return folder


def temporary_beside(path: Path) -> Path:
    """Return this process's temporary name for `path`, after removing what killed processes left under theirs.

    A leftover is one that nobody has touched for an hour: another machine that shares the folder may still write.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > LEFTOVER_S:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextlib.contextmanager
def whole_file(path: str | Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name `path` only when the block ends without an error."""
    path = refuse_existing(path, overwrite)
    if path.is_dir():
        raise OutputExists("a folder lies where a file is to be written", path, "Remove it, or give another --out.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder; it takes the name `path` only when the block ends without an error."""
    path = refuse_existing(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    replaced = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        yield temporary
        if os.path.lexists(path):
            os.replace(path, replaced)
        os.replace(temporary, path)
        if replaced.is_dir() and not replaced.is_symlink():
            shutil.rmtree(replaced)
        else:
            replaced.unlink(missing_ok=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if os.path.lexists(replaced) and not os.path.lexists(path):
            os.replace(replaced, path)


def write_text(path: str | Path, text: str, overwrite: bool = True) -> None:
    """Write UTF-8 text with LF line ends, whole or not at all."""
    with whole_file(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: object, overwrite: bool = True) -> None:
    """Write readable JSON, keys in the order given, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", overwrite)


def write_csv(
    path: str | Path, header: Iterable[str], rows: Iterable[Iterable[object]], overwrite: bool = True
) -> None:
    """Write a CSV file (UTF-8, LF, quotes only where needed), whole or not at all."""
    with whole_file(path, overwrite) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_csv(path: str | Path, required: Iterable[str] = ()) -> list[dict[str, str]]:
    """Read a CSV file with a header; each row also carries its line number under the key `line`.

    Raises:
        InputError: the file is missing, not UTF-8, lacks a required column, or has a row of another length.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = reader.fieldnames or []
            absent = [name for name in required if name not in columns]
            if absent:
                raise InputError(
                    f"column {absent[0]!r} is missing; columns found: {', '.join(columns) or 'none'}",
                    f"{path}:1",
                    f"The header needs: {','.join(required)}.",
                )
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(f"row has not the header's {len(columns)} columns", f"{path}:{reader.line_num}")
                rows.append({**row, "line": str(reader.line_num)})
            return rows
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text ({error.reason} at byte {error.start})", path) from error
    except csv.Error as error:
        raise InputError(f"not a readable CSV file ({error})", path) from error


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_commit() -> str | None:
    """Return the commit of the checkout that this package runs from, marked `-dirty` where it was changed."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


def run_record(verb: str, options: dict[str, object], inputs: Iterable[str | Path], seed: int | None = None) -> dict:
    """Return what run.json says: command, options, versions, commit, input checksums, host and time."""
    from pseudolabel import __version__

    arguments = sys.argv[1:]
    if arguments[:1] == [verb]:  # `pseudolabel VERB ...`
        arguments = arguments[1:]
    versions = {}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return {
        "verb": verb,
        "command": shlex.join(["python", "-m", f"pseudolabel.{verb}", *arguments]),
        "options": json.loads(json.dumps(options, default=str)),
        "seed": seed,
        "pseudolabel": __version__,
        "commit": git_commit(),
        "inputs": {str(path): sha256(path) for path in inputs if Path(path).is_file()},
        "host": platform.node(),
        "python": platform.python_version(),
        "versions": versions,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
