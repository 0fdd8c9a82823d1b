"""Run one step of a recipe, unless its output was made in the same way from the files that lie there now.

python recipes/step.py WORK OUTPUT COMMAND ARGUMENT...      # COMMAND: a verb, a Python file of recipes/, or copy
python recipes/step.py WORK OUTPUT given                    # OUTPUT is there already: take it as it is

OUTPUT is a path in WORK. As a step begins, WORK/steps/OUTPUT.json takes its command and the checksums of the files that
the command names; those of other inputs are in the output's run.json. Where the output is there, all are compared:
`have OUTPUT`, or exit code 2 and a line that says what changed. A folder of recordings is compared by its contents, one
of more than 1 GB by names, sizes and times. Nothing but the standard library is imported: a step that is done takes a
few hundredths of a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

RECIPES = Path(__file__).resolve().parent
KEY_FILES = ("model.safetensors", "labels.csv", "metrics.json")  # what a folder that a verb wrote is compared by
NO_MATTER = ("--threads", "--device")  # options of the machine, not of the result
LARGE = 64 << 20  # bytes; the checksum of a larger file is remembered as long as the file is not touched
LARGE_FOLDER = 1 << 30  # bytes


class Step:
    """One step: its output, its command, and what is written of it.

    Attributes:
        work, output: the folder of the recipe, and a path in it.
        command: COMMAND and ARGUMENTS.
        note: WORK/steps/OUTPUT.json.
    """

    def __init__(self, work: str, output: str, command: list[str]):
        self.work, self.command = work, command
        self.output = Path(work, output)
        self.note = Path(work, "steps", f"{output.removesuffix('/run.json')}.json")

    def begin(self) -> None:
        """Write what the output will be made from."""
        checksums = {placed(name, self.work): self.checksum(name) for name in self.named()}
        inputs = {name: digest for name, digest in checksums.items() if digest is not None}
        command = [placed(word, self.work) for word in self.command]
        write_json(self.note, {"work": self.work, "command": command, "inputs": inputs})

    def give(self) -> None:
        """Write that the output, or the folder whose run.json it is, was there before the recipe."""
        path = str(self.output.parent if self.output.name == "run.json" else self.output)
        write_json(self.note, {"given": True, "inputs": {placed(path, self.work): self.checksum(path)}})

    def named(self) -> Iterator[str]:
        """Yield the paths that the command names, without that of its output."""
        for before, word in zip(["", *self.command], self.command, strict=False):
            path = word.partition("=")[2] if "=" in word and not os.path.exists(word) else word
            if before != "--out" and "/" in path and os.path.exists(path):
                yield path

    def checksum(self, name: str) -> str | None:
        """Return a checksum of a file or folder; None where there is nothing, or a folder of the recipe's own."""
        path = Path(name)
        if path.is_file():
            return self.sha256(path)
        key = next((path / file for file in KEY_FILES if (path / file).is_file()), None)
        if key:
            return self.sha256(key)
        work = Path(self.work).resolve()
        return listing(path, work) if path.is_dir() and not path.resolve().is_relative_to(work) else None

    def sha256(self, path: Path) -> str:
        state = path.stat()
        if state.st_size < LARGE:
            return file_sha256(path)
        memory = Path(self.work, "steps", "large.json")
        seen, key = read_json(memory) or {}, str(path.resolve())
        stamp = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        if seen.get(key, [])[:4] != stamp:
            digest = file_sha256(path)
            write_json(memory, {**(read_json(memory) or {}), key: [*stamp, digest]})
            return digest
        return seen[key][4]

    def changes(self) -> Iterator[str]:
        """Yield what is other now than when the output was made."""
        note, record = read_json(self.note) or {}, read_json(record_of(self.output)) or {}
        if note.get("given"):  # whatever it was made from, and how
            record, note = {}, {"inputs": note["inputs"]}
        words = shlex.split(record["command"])[3:] if isinstance(record.get("command"), str) else []
        work = note.get("work") or (words[words.index("--work") + 1] if "--work" in words[:-1] else self.work)
        for before in (note.get("command", [])[1:], [placed(word, work) for word in words if "--work" in words]):
            changed = difference(before, [placed(word, self.work) for word in self.command[1:]])
            if before and changed:
                yield changed
                break
        inputs = record.get("inputs") if isinstance(record.get("inputs"), dict) else {}
        for name, digest in {**{placed(name, work): value for name, value in inputs.items()},
                             **note.get("inputs", {})}.items():  # fmt: skip
            yield from self.change(name, digest)

    def change(self, name: str, before: str) -> Iterator[str]:
        """Yield what happened to one input."""
        path = f"{self.work}{name.removeprefix('$WORK')}" if name.startswith("$WORK") else name
        moved = RECIPES.parent / "ontology" / os.path.basename(path)  # of a checkout that lay elsewhere
        path = str(moved) if not os.path.exists(path) and moved.is_file() else path
        if os.path.exists(path):
            now = self.checksum(path)
            if now is not None and now != before:
                yield f"{path} is not what it was made from"
        elif name.startswith("$WORK"):
            yield f"{path}, which it was made from, is gone"
        else:
            say(f"{path}, which {self.output} was made from, is gone: not compared")


def placed(text: str, work: str) -> str:
    """Return a word of a command or a path with $WORK in place of the work folder, which may be moved."""
    for name, sign, path in (("", "", text), text.partition("=")):
        if path == work or path.startswith(f"{work}/"):
            return f"{name}{sign}$WORK{path[len(work) :]}"
    return text


def difference(before: list[str], now: list[str]) -> str | None:
    """Return what differs between two lists of options, None where nothing does that matters."""
    before, now = ([word for was, word in zip(["", *words], words, strict=False) if was not in NO_MATTER]
                   for words in (before, now))  # fmt: skip
    if before == now:
        return None
    same = [old == new for old, new in zip(before, now, strict=False)]
    first = (*same, False).index(False)
    old, new = (shlex.join(words[max(first - 1, 0) : first + 3]) for words in (before, now))
    return f"its options are others: `{old}` then, `{new}` now"


def record_of(output: Path) -> Path:
    """Return where the verb that wrote an output says how."""
    if output.name == "run.json":
        return output
    return output / "run.json" if output.is_dir() else output.with_name(f"{output.stem}.run.json")


def listing(folder: Path, work: Path) -> str:
    """Return a checksum of all files below a folder, without those of the recipe."""
    digest, total = hashlib.sha256(), 0
    for name, path in files_below(folder, work):
        state = os.stat(path)
        total += state.st_size
        digest.update(os.fsencode(f"{name}\0{state.st_size} {state.st_mtime_ns}\n"))
    if total > LARGE_FOLDER:
        return f"names, sizes and times: {digest.hexdigest()}"
    digest = hashlib.sha256()
    for name, path in files_below(folder, work):
        digest.update(os.fsencode(f"{name}\0{file_sha256(path)}\n"))
    return f"contents: {digest.hexdigest()}"


def files_below(folder: Path, work: Path) -> Iterator[tuple[str, str]]:
    """Yield name and path of all files, in the order of their names; links are followed, but not in circles."""
    seen = {str(work)}
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(folders)
        for name in [] if real in seen else sorted(files):
            path = os.path.join(place, name)
            if os.path.isfile(path):
                yield os.path.relpath(path, folder), path
        seen.add(real)


def file_sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict | None:
    """Return an object that was written, None where there is none; one that is damaged stops the recipe."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise Stop(f"{path}: damaged ({error}). Remove it and what it belongs to, or give another WORK.") from error
    return found if isinstance(found, dict) else {}


def write_json(path: Path, value: dict) -> None:
    """Write an object, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as temporary:
        Path(temporary).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[str]:
    """Yield the name of a new file beside `path`; it takes that name when all is written."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    os.chmod(temporary, 0o644)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


class Stop(Exception):
    """The recipe must not go on; the text says why and what to do."""


def say(line: str) -> None:
    """Print a line in one piece: the other lane prints too."""
    sys.stdout.write(f"{line}\n")


def end_with_parent() -> None:
    """Have this process, and what it becomes, end when the recipe does, however that ends (Linux)."""
    import ctypes

    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def run(name: str, *arguments: str) -> None:
    """Become a verb, or a program of recipes/."""
    sys.stdout.flush()
    end_with_parent()
    program = [str(RECIPES / name)] if name.endswith(".py") else ["-m", f"pseudolabel.{name}"]
    os.execv(sys.executable, [sys.executable, "-P", *program, *arguments])


def main(work: str, output: str, *command: str) -> None:
    """Run a step, or say that it is done, or what changed since."""
    step = Step(work, output, list(command))
    if command == ("given",) and step.output.exists() and not step.note.exists():
        return step.give()
    if os.path.lexists(step.output):
        changes = list(step.changes())
        if changes:
            more = f", and {len(changes) - 1} more" if len(changes) > 1 else ""
            made = step.output.parent if step.output.name == "run.json" else step.output
            raise Stop(f"{made}: {changes[0]}{more}. Remove it and what was made with it, or give another WORK.")
        say(f"have {step.output}")
        return
    if command == ("given",):
        raise Stop(f"{step.output}, which was there before the recipe, is gone. Put it back, or give another WORK.")
    step.begin()
    if command[0] != "copy":
        run(*command)
    with whole(step.output) as temporary:
        shutil.copyfile(command[1], temporary)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Stop as stop:
        print(stop, file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        print(f"{error.filename or sys.argv[1]}: {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
