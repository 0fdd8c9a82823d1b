"""Files that appear only when whole, what may be replaced or removed, and the record of the run that made them.

A file or folder is written under a temporary name, flushed and renamed, and its folder flushed. What lies in the place
of an output is replaced only on demand, and only where its content proves that a verb of this package wrote it.
"""

from __future__ import annotations

import contextlib
import csv
import ctypes
import hashlib
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from pseudolabel.errors import InputError, OutputExists, first_few
from pseudolabel.tables import read_csv as read_csv

try:
    import fcntl
except ImportError:  # not on this system: leftovers are told by their age alone
    fcntl = None

RUN = "run.json"
LEFTOVER_S = 3600  # a temporary file untouched for so long belongs to no one, where locks cannot tell
LARGE_BYTES = 1 << 30  # the checksum of a file beyond it shows progress
JUNK = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what file browsers leave in folders
Input = TypeVar("Input", str, Path, None)
LIBRARIES = ("torch", "torchaudio", "timm", "h5py", "numpy", "networkx", "scikit-learn", "soundfile", "soxr", "av")


# ---- what may be replaced or removed ----------------------------------------------------------------------------


def refuse_existing(path: str | Path, overwrite: bool) -> Path:
    """Return `path`; raise OutputExists where something is there that may not be overwritten."""
    path = Path(path)
    if os.path.lexists(path) and not overwrite:
        clear_leftovers(path)  # of a run that was killed when all was done
        _clear_lock(lock_path(path))
        raise OutputExists("output exists", path, "Give --overwrite to replace it, or another --out.")
    return path


def read_run(folder: Path) -> dict:
    """Return what the run.json of a folder says; nothing where it has none that can be read."""
    try:
        record = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def files_in(folder: Path) -> list[str]:
    """Return the paths of all files in a folder, relative to it, sorted; links are files, and never followed."""
    found = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [os.path.relpath(os.path.join(place, name), folder) for name in [*files, *links]]
    return sorted(name.replace(os.sep, "/") for name in found)


def not_ours(folder: Path, makers: Iterable[str]) -> str:
    """Return why a folder is not one that these verbs wrote, or holds more than they wrote; empty where it is theirs.

    Args:
        makers: what its run.json says under `verb` or `format`.
    """
    made = " or ".join(makers) or "a verb"
    if folder.is_symlink() or not folder.is_dir():
        return f"not a folder that {made} wrote"
    record, there = read_run(folder), files_in(folder)
    if not there:
        return ""
    if not {record.get("verb"), record.get("format")} & set(makers):
        return f"not a folder that {made} wrote (its {RUN} does not say so)"
    listed = _summed(folder) or record.get("files")
    if not (isinstance(listed, list) and all(isinstance(name, str) for name in listed)):
        return ""  # written before files were listed
    others = [name for name in there if name not in {*listed, RUN} and Path(name).name not in JUNK]
    return f"holds {first_few(others)}, which {made} did not write" if others else ""


def _summed(folder: Path) -> list[str] | None:
    """Return the files that SHA256SUMS names, and itself; None where there is no such list."""
    try:
        lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    return ["SHA256SUMS", *(line.partition("  ")[2] for line in lines)]


def refuse_foreign(
    folder: str | Path, overwrite: bool, *makers: str, reason_not_to: Callable[[Path], str] | None = None
) -> Path:
    """Return `folder`, where nothing is there, or what may be overwritten: an empty folder, or one of these verbs.

    Args:
        reason_not_to: says why a folder may not be replaced, instead of `not_ours`, for folders without run.json.
    Raises:
        OutputExists: it may not be overwritten.
        InputError: it is somebody else's, a link, or holds files that the verb did not write.
    """
    folder = refuse_existing(folder, overwrite)
    reason_not_to = reason_not_to or partial(not_ours, makers=makers)
    reason = reason_not_to(folder) if os.path.lexists(folder) else ""
    if reason:
        raise InputError(f"{reason}, so it is not replaced", folder, "Move these files, or give another --out.")
    return folder


def refuse_foreign_file(path: str | Path, overwrite: bool, is_ours: Callable[[Path], bool], what: str) -> Path:
    """Return `path`, where nothing is there, or an empty file, or one that `is_ours` knows and may be overwritten.

    Args:
        what: what a file of ours is: `a clip store`.
    """
    path = refuse_existing(path, overwrite)
    if path.is_dir():
        raise OutputExists("a folder lies where a file is to be written", path, "Move it, or give another --out.")
    if path.exists() and path.stat().st_size and not is_ours(path):
        raise InputError(f"not {what} of pseudolabel, so it is not replaced", path, "Move it, or give another --out.")
    return path


def has_format(*names: str) -> Callable[[Path], bool]:
    """Return a test of whether a file is HDF5 with one of these `format` attributes."""

    def test(path: Path) -> bool:
        import h5py

        try:
            with h5py.File(path, "r") as file:
                found = file.attrs.get("format", "")
        except (OSError, RuntimeError, ValueError, TypeError):
            return False
        return (found.decode("utf-8", "replace") if isinstance(found, bytes) else found) in names

    return test


def begins_with(*heads: str) -> Callable[[Path], bool]:
    """Return a test of whether the text of a file begins with one of `heads`."""

    def test(path: Path) -> bool:
        encoded = [head.encode("utf-8") for head in heads]
        with open(path, "rb") as file:
            return file.read(max(map(len, encoded))).startswith(tuple(encoded))

    return test


def refuse_input_as_output(out: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise InputError where an output is one of the inputs, or a folder that holds one, by whatever name."""
    out = Path(out)
    resolved = out.resolve()
    for path in filter(None, inputs):
        given = Path(path)
        same = given.exists() and out.exists() and given.samefile(out)
        if same or given.resolve() == resolved or (out.is_dir() and resolved in given.resolve().parents):
            raise InputError(f"would be replaced while it is an input ({given})", out, "Give another --out.")


def remove(path: Path, reason_not_to: Callable[[Path], str]) -> None:
    """Remove a file or folder of ours; links are removed, never followed. The only function that removes folders.

    Args:
        reason_not_to: says why it is not ours, by its content; empty where it is.
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
    if not is_temporary(path):  # killed half-way, half a folder must not lie there under its name
        path = path.rename(temporary_name(path))
    shutil.rmtree(path)


# ---- whole or not at all ----------------------------------------------------------------------------------------


def _proof(name: str, drawn: str) -> str:
    return hashlib.sha256(f"pseudolabel {name} {drawn}".encode()).hexdigest()[:16]


def temporary_name(path: Path) -> Path:
    """Return a new temporary name beside `path`, which proves itself (`is_temporary`)."""
    drawn = secrets.token_hex(8)
    return path.with_name(f".{path.name}.{drawn}{_proof(path.name, drawn)}.tmp")


def is_temporary(path: Path, of: str | None = None) -> bool:
    """Return whether a name is one of this package's temporary names (of the file `of`): it proves itself.

    Half of its 32 digits are drawn, the others are a checksum of these and of the name, so no other file has such one.
    """
    match = re.fullmatch(r"\.(.+)\.([0-9a-f]{16})([0-9a-f]{16})\.tmp", path.name, re.DOTALL)
    return bool(match) and match[3] == _proof(match[1], match[2]) and of in (None, match[1])


def _not_temporary(path: Path) -> str:
    return "" if is_temporary(path) else "not a temporary name of pseudolabel"


@contextlib.contextmanager
def _temporary(path: Path, folder: bool) -> Iterator[Path]:
    """Yield a new temporary file or folder beside `path`, locked while it is in use; what is left of it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(path)
    while True:
        temporary = temporary_name(path)
        if folder:
            temporary.mkdir()
        else:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        descriptor = _locked(temporary, wait=True)
        if os.path.lexists(temporary):  # nobody took it for a leftover before it was locked
            break
        _close(descriptor)
    try:
        yield temporary
    finally:
        if os.path.lexists(temporary):
            remove(temporary, _not_temporary)
        _close(descriptor)


def _locked(path: Path, wait: bool) -> int | None:
    """Return a descriptor that holds the lock of a file or folder; None where another has it, or none can be had."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # another has it, or the file system has no locks
        os.close(descriptor)
        return None
    return descriptor


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def clear_leftovers(path: Path) -> None:
    """Remove the temporary files and folders of `path` that killed processes left: those that nobody has locked.

    Where a file system has no locks, those that nobody has touched for an hour.
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
    """Return the empty file beside an output whose lock a run holds as long as it is at work."""
    return path.with_name(f".{path.name}.pseudolabel-lock")


def _clear_lock(path: Path) -> None:
    descriptor = _locked(path, wait=False)  # none where a run is at work
    if descriptor is None:
        return
    held = os.fstat(descriptor)
    with contextlib.suppress(OSError):
        if stat.S_ISREG(held.st_mode) and not held.st_size and os.path.samestat(held, os.lstat(path)):
            path.unlink()
    _close(descriptor)


def sync(path: Path) -> None:
    """Flush a file, or the names that a folder holds, to the disk; a folder only where the system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Give a finished file its name, in place of one that is there, and flush the folder."""
    os.replace(source, target)
    sync(target.parent)


@contextlib.contextmanager
def whole_file(path: str | Path, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name `path` only when the block ends without an error."""
    path = refuse_existing(path, overwrite)
    if path.is_dir():
        raise OutputExists("a folder lies where a file is to be written", path, "Move it, or give another --out.")
    with _temporary(path, folder=False) as temporary:
        yield temporary
        sync(temporary)
        rename(temporary, path)


@contextlib.contextmanager
def whole_folder(
    path: str | Path, overwrite: bool = False, *makers: str, reason_not_to: Callable[[Path], str] | None = None
) -> Iterator[Path]:
    """Yield an empty temporary folder; it takes the name `path` only when the block ends without an error.

    Args:
        makers, reason_not_to: what folder that is there may be replaced (`refuse_foreign`).
    """
    path = refuse_foreign(path, overwrite, *makers, reason_not_to=reason_not_to)
    with _temporary(path, folder=True) as temporary:
        yield temporary
        for name in files_in(temporary):
            if not (temporary / name).is_symlink():
                sync(temporary / name)
        _take_place(temporary, refuse_foreign(path, overwrite, *makers, reason_not_to=reason_not_to))
        sync(path.parent)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`, which is removed when the block ends."""
    with _temporary(path, folder=True) as temporary:
        yield temporary


def _take_place(temporary: Path, path: Path) -> None:
    """Name a folder `path`; what is there gets the temporary name, at the same moment where the system can do that."""
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
    """Let two paths of one file system take each other's names at once; return False where that is not possible."""
    at_here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of renameat2(2)
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    return call(at_here, os.fsencode(one), at_here, os.fsencode(other), exchange) == 0


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


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal digits; of a large file with progress."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < LARGE_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        from pseudolabel.progress import Progress

        digest = hashlib.sha256()
        with Progress(f"checksum of {path}", size >> 20, "MB") as progress:
            while piece := file.read(1 << 24):
                digest.update(piece)
                progress.advance(len(piece) >> 20)
        return digest.hexdigest()


class Inputs:
    """Which files a run has read, and the checksum that each had then: `read` takes it, just before a file is read."""

    def __init__(self) -> None:
        self.sha256: dict[str, str] = {}
        self.roles: dict[str, str] = {}

    def read(self, path: Input, role: str = "") -> Input:
        """Take the checksum of a file, once; return `path`. What is no file (None, `audioset`) has none.

        Args:
            role: what the file is to the run, for those who look for it later (`recorded_input`): `labels`.
        """
        if path is not None and Path(path).is_file():
            if str(path) not in self.sha256:
                self.sha256[str(path)] = sha256(path)
            if role:
                self.roles[role] = str(path)
        return path


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


def run_record(
    verb: str, options: Mapping[str, object], inputs: Inputs | Iterable[str | Path | None], seed: int | None = None
) -> dict:
    """Return what run.json says: command, options, versions, commit, input checksums, host and time."""
    from pseudolabel import __version__

    if not isinstance(inputs, Inputs):
        paths, inputs = inputs, Inputs()
        for path in paths:
            inputs.read(path)

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
        "inputs": dict(inputs.sha256),
        "roles": dict(inputs.roles),
        "host": platform.node(),
        "python": platform.python_version(),
        "versions": versions,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def input_in_role(record: Mapping, role: str) -> str | None:
    """Return the path that a run.json gives for the input of a role; None where it names none."""
    inputs, roles = (record.get(name) if isinstance(record.get(name), dict) else {} for name in ("inputs", "roles"))
    if "roles" in record or record.get("verb") != "enhance":
        return roles.get(role)
    earlier = {"labels": "", "scores": ".h5"}  # before there were roles: the first input, and the first store
    return next((path for path in inputs if role in earlier and path.endswith(earlier[role])), None)


def recorded_input(record: Mapping, path: str | Path, *folders: Path) -> Path | None:
    """Return where the bytes of an input of run.json lie: where they were read, or under that name in one of `folders`.

    None where there is no such file, or it has other bytes by now.
    """
    inputs = record.get("inputs")
    digest = inputs.get(str(path)) if isinstance(inputs, dict) else None
    places = dict.fromkeys([Path(path), *(folder / Path(path).name for folder in folders)])
    return next((place for place in places if place.is_file() and sha256(place) == digest), None)


def write_run_record(folder: Path, record: Mapping[str, object]) -> None:
    """Write run.json, the last file of an output folder, which lists the others under `files`."""
    write_json(folder / RUN, {**record, "files": [name for name in files_in(folder) if name != RUN]})
