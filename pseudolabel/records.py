"""Record a run: its command and options, its inputs with their checksums, and its software versions."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from pseudolabel.artefacts import write_json
from pseudolabel.errors import InputError
from pseudolabel.layout import RUN
from pseudolabel.ownership import files_in, read_run, refuse_input_as_output

LARGE_BYTES = 1 << 30  # show progress for the checksums of larger files
Input = TypeVar("Input", str, Path, None)
LIBRARIES = ("torch", "torchaudio", "timm", "h5py", "numpy", "networkx", "scikit-learn", "soundfile", "soxr", "av")


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits, showing progress for large files."""
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
    """The files that a run has read, with their checksums; call `read` just before reading a file.

    Args:
        hashed: false: the checksums are left empty, for a dry run, which records nothing.
    """

    def __init__(self, hashed: bool = True) -> None:
        self.hashed = hashed
        self.sha256: dict[str, str] = {}
        self.roles: dict[str, str] = {}

    def read(self, path: Input, role: str = "") -> Input:
        """Record the checksum of a file, once, and return `path`; non-files (None, `audioset`) are not recorded.

        Args:
            role: what the run uses the file for, to find it again later (`input_in_role`): `labels`.
        """
        if path is not None and Path(path).is_file():
            if str(path) not in self.sha256:
                self.sha256[str(path)] = sha256(path) if self.hashed else ""
            if role:
                self.roles[role] = str(path)
        return path


def git_commit() -> str | None:
    """Return the commit of the checkout that this package runs from, with `-dirty` if it has changes."""
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


def command_of(verb: str) -> str:
    """Return the running command as `python -m pseudolabel.VERB ...`."""
    arguments = sys.argv[1:]
    if arguments[:1] == [verb]:  # `pseudolabel VERB ...`
        arguments = arguments[1:]
    return shlex.join(["python", "-m", f"pseudolabel.{verb}", *arguments])


def run_record(
    verb: str, options: Mapping[str, object], inputs: Inputs | Iterable[str | Path | None], seed: int | None = None
) -> dict:
    """Return the content of run.json: command, options, versions, commit, input checksums, host and time."""
    from pseudolabel import __version__

    if not isinstance(inputs, Inputs):
        paths, inputs = inputs, Inputs()
        for path in paths:
            inputs.read(path)

    versions = {}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return {
        "verb": verb,
        "command": command_of(verb),
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
    """Return the path that run.json gives for the input in a role; None if it gives none."""
    inputs, roles = (record.get(name) if isinstance(record.get(name), dict) else {} for name in ("inputs", "roles"))
    if "roles" in record or record.get("verb") != "enhance":
        return roles.get(role)
    earlier = {"labels": "", "scores": ".h5"}  # records without roles: the first input, and the first store
    return next((path for path in inputs if role in earlier and path.endswith(earlier[role])), None)


def recorded_reading(record: Mapping) -> dict[str, str | None]:
    """Return the `format`, `classes` and `unknown_labels` that the label list in run.json was read with."""
    said = record.get("options") if input_in_role(record, "labels") else None
    said = said if isinstance(said, dict) else {}
    unknown = said.get("unknown_labels") or "error"
    return {"format": said.get("format"), "classes": said.get("classes"), "unknown_labels": unknown}


def recorded_input(record: Mapping, path: str | Path, *folders: Path) -> Path | None:
    """Return where an input of run.json is: its recorded path, or the same file name in one of `folders`.

    None if no such file still has the recorded checksum.
    """
    inputs = record.get("inputs")
    digest = inputs.get(str(path)) if isinstance(inputs, dict) else None
    places = dict.fromkeys([Path(path), *(folder / Path(path).name for folder in folders)])
    return next((place for place in places if place.is_file() and sha256(place) == digest), None)


def refuse_named_input(out: Path, *folders: Path) -> None:
    """Raise InputError if an existing output is an input that run.json of one of these folders names."""
    for folder in folders if out.is_file() else ():
        inputs = read_run(folder).get("inputs")
        inputs = inputs if isinstance(inputs, dict) else {}
        refuse_input_as_output(out, inputs)
        if any(Path(path).name == out.name and digest == sha256(out) for path, digest in inputs.items()):  # moved
            message = f"is an input that {folder / RUN} names, so it is not replaced"
            raise InputError(message, out, "Give another --out.")


def write_run_record(folder: Path, record: Mapping[str, object]) -> None:
    """Write run.json, the last file of an output folder; it lists the others under `files`."""
    write_json(folder / RUN, {**record, "files": [name for name in files_in(folder) if name != RUN]})
