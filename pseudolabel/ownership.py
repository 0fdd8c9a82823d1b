"""Decide which files and folders may be replaced: only on request, and only if provably written by this package."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from pseudolabel import layout
from pseudolabel.errors import InputError, OutputExists, first_few
from pseudolabel.temporaries import clear_leftovers, clear_lock, lock_path

JUNK = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what file browsers leave in folders

FORMS = (  # endings that say what a file holds
    *(".csv", ".tsv", ".json", ".jsonl", ".md", ".parquet", ".npy", ".npz", ".h5", ".hdf5", ".xlsx"),
    *(".gz", ".bz2", ".xz", ".zst", ".zip"),
)


def refuse_existing(path: str | Path, overwrite: bool, option: str = "--out") -> Path:
    """Return `path`; raise OutputExists if it exists and may not be overwritten.

    Raises:
        InputError: it is not the name of a new file or folder, or nothing can be written there (`refuse_place`).
    """
    path = Path(path)
    if not path.name:
        raise InputError("is not the name of a new file or folder", path, "Give another --out.")
    refuse_place(path, option)
    if os.path.lexists(path) and not overwrite:
        clear_leftovers(path)  # left by a run that was killed after finishing
        clear_lock(lock_path(path))
        raise output_exists(path, option)
    return path


def refuse_place(path: Path, option: str = "--out") -> None:
    """Raise InputError for an output below a file, or that begins with `~`, which not every library expands."""
    if path.parts[:1] and path.parts[0].startswith("~"):
        remedy = f"Write it apart ({option} ~/...), or give the folder whole."
        raise InputError("begins with ~, which only the shell replaces by your folder", path, remedy)
    above = next((folder for folder in path.parents if os.path.lexists(folder)), None)
    if above and not above.is_dir():
        message = f"{above} is not a folder, so nothing can be written below it"
        raise InputError(message, path, f"Give another {option}.")


def output_exists(path: Path, option: str = "--out") -> OutputExists:
    """Return the error for an output that exists and may not be overwritten."""
    return OutputExists("output exists", path, f"Give --overwrite to replace it, or another {option}.")


def read_run(folder: Path) -> dict:
    """Return the content of a folder's run.json; empty if it has no readable one."""
    return readable_object(folder / layout.RUN)


def readable_object(path: Path) -> dict:
    """Return the object in a JSON file; empty if there is no readable one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def files_in(folder: Path) -> list[str]:
    """Return the sorted relative paths of all files in a folder; links count as files and are never followed."""
    found = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [os.path.relpath(os.path.join(place, name), folder) for name in [*files, *links]]
    return sorted(name.replace(os.sep, "/") for name in found)


def not_ours(folder: Path, makers: Iterable[str]) -> str:
    """Return why a folder was not written by these verbs, or holds other files too; an empty string if it is theirs.

    Args:
        makers: accepted values of `verb` or `format` in its run.json.
    """
    made = " or ".join(makers) or "a verb"
    if folder.is_symlink() or not folder.is_dir():
        return f"not a folder that {made} wrote"
    record, there = read_run(folder), files_in(folder)
    if not there:
        return ""
    if not {record.get("verb"), record.get("format")} & set(makers):
        return f"not a folder that {made} wrote (its {layout.RUN} does not say so)"
    listed = _summed(folder) or record.get("files")
    if not (isinstance(listed, list) and all(isinstance(name, str) for name in listed)):
        return ""  # written before files were listed
    others = [name for name in there if name not in {*listed, layout.RUN} and Path(name).name not in JUNK]
    return f"holds {first_few(others)}, which {made} did not write" if others else ""


def _summed(folder: Path) -> list[str] | None:
    """Return the files that SHA256SUMS lists, and SHA256SUMS itself; None if there is no such list."""
    try:
        lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    return ["SHA256SUMS", *(line.partition("  ")[2] for line in lines)]


def refuse_foreign(
    folder: str | Path, overwrite: bool, *makers: str, reason_not_to: Callable[[Path], str] | None = None
) -> Path:
    """Return `folder` if it does not exist or may be replaced: an empty folder, or one that these verbs wrote.

    Args:
        reason_not_to: returns why a folder may not be replaced; replaces `not_ours` for folders without run.json.
    Raises:
        OutputExists: the folder exists and `overwrite` is false.
        InputError: it is not ours, is a link, or holds files that the verb did not write.
    """
    folder = refuse_existing(folder, overwrite)
    reason_not_to = reason_not_to or partial(not_ours, makers=makers)
    reason = reason_not_to(folder) if os.path.lexists(folder) else ""
    if reason:
        raise InputError(f"{reason}, so it is not replaced", folder, "Move these files, or give another --out.")
    return folder


def refuse_foreign_file(
    path: str | Path, overwrite: bool, is_ours: Callable[[Path], bool], what: str, endings: Sequence[str] = ()
) -> Path:
    """Return `path` if it does not exist, is empty, or `is_ours` accepts it and it may be overwritten.

    Args:
        what: what errors call a file of ours: `a clip store`.
        endings: of names that say this form; names that say another of FORMS are refused.
    """
    path = refuse_existing(path, overwrite)
    if path.is_dir():
        raise OutputExists("a folder is where a file is to be written", path, "Move it, or give another --out.")
    if path.exists() and path.stat().st_size and not is_ours(path):
        raise InputError(f"not {what} of pseudolabel, so it is not replaced", path, "Move it, or give another --out.")
    if endings and path.suffix.lower() in set(FORMS) - set(endings):
        named = path.name.partition(".")[0] or "new"
        message, remedy = f"{what} is not written as {path.suffix}", f"Give --out {path.with_name(named + endings[0])}."
        raise InputError(message, path, remedy)
    return path


def has_format(*names: str) -> Callable[[Path], bool]:
    """Return a function that tests whether a file is HDF5 with one of these `format` attributes."""

    def test(path: Path) -> bool:
        import h5py

        from pseudolabel.hdf5_checks import refuse_heaps, refuse_odd_attributes

        try:
            with h5py.File(path, "r") as file:
                refuse_heaps(file, path)
                refuse_odd_attributes(file, path)
                found = file.attrs.get("format", "")
        except (OSError, RuntimeError, ValueError, TypeError):  # damaged: nothing proves that it is ours
            return False
        return (found.decode("utf-8", "replace") if isinstance(found, bytes) else found) in names

    return test


def begins_with(*heads: str) -> Callable[[Path], bool]:
    """Return a function that tests whether a text file begins with one of `heads`."""

    def test(path: Path) -> bool:
        encoded = [head.encode("utf-8") for head in heads]
        with open(path, "rb") as file:
            return file.read(max(map(len, encoded))).startswith(tuple(encoded))

    return test


def is_csv(*headers: Sequence[str]) -> Callable[[Path], bool]:
    """Return a function that tests whether a file is CSV as it is written here: one of these headers, rows as long."""

    def test(path: Path) -> bool:
        try:
            with open(path, encoding="utf-8", newline="") as file:
                first = file.readline()
                columns = next((header for header in headers if first == ",".join(header) + "\n"), ())
                return bool(columns) and all(len(row) == len(columns) for row in csv.reader(file, strict=True))
        except (OSError, ValueError, csv.Error):
            return False

    return test


def has_keys(*keys: str) -> Callable[[Path], bool]:
    """Return a function that tests whether a file is a JSON object with all of these keys."""
    return lambda path: set(keys) <= readable_object(path).keys()


def refuse_input_as_output(out: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise InputError if an output is one of the inputs, or a folder that holds one, under any name."""
    out = Path(out)
    resolved = out.resolve()
    for path in filter(None, inputs):
        given = Path(path)
        same = given.exists() and out.exists() and given.samefile(out)
        if same or given.resolve() == resolved or (out.is_dir() and resolved in given.resolve().parents):
            raise InputError(f"would be replaced while it is an input ({given})", out, "Give another --out.")
