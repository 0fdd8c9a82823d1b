"""Process clips in blocks of consecutive clips: each finished block is a file, so a killed run resumes where it was.

A block is written to `NAME.parts/block-00017.h5` (temporary name, flush, rename): if the file exists, it is complete.
`settings.json` in that folder records what the blocks were made from; blocks made with other settings are refused, not
mixed in. Only one run at a time works on an output: it holds the lock `.NAME.pseudolabel-lock`, which is released if
the run is killed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pseudolabel.artefacts import whole_folder, write_json
from pseudolabel.errors import InputError, first_few
from pseudolabel.ownership import files_in, readable_object, refuse_place
from pseudolabel.records import sha256
from pseudolabel.temporaries import clear_leftovers, is_temporary, lock_path, remove

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # errors from file systems without locks


SETTINGS, GROWING = "settings.json", "audio.h5"  # beside the blocks: their settings; audio as it grows


@contextlib.contextmanager
def only_run(output: Path) -> Iterator[None]:
    """Hold the lock of an output while a run writes it, and remove what killed runs left unfinished.

    The lock is an empty file beside the output, removed when the run ends; the system releases a killed process's lock.
    On file systems without locks there is none. Subprocesses of a run must not take the lock.

    Raises:
        InputError: another run holds the lock, its name is taken by a file that is not ours, or nothing can be written
            there.
    """
    here, absolute = Path.cwd(), Path(os.path.abspath(output))
    if absolute in (here, *here.parents) or not absolute.name:
        raise InputError("is the current folder, or holds it", output, "Give an output of its own.")
    refuse_place(output)
    output = absolute if output.name in ("", "..") else output
    new = [folder for folder in output.parents if not folder.exists()]
    output.parent.mkdir(parents=True, exist_ok=True)
    path = lock_path(output)
    lock = _locked(path, output)
    try:
        clear_leftovers(output)
        clear_leftovers(parts_of(output))
        yield
    finally:
        path.unlink(missing_ok=True)  # before releasing the lock, so that a waiting process sees that the file is gone
        os.close(lock)
        with contextlib.suppress(OSError):  # empty folders of a refused run
            for folder in new:
                folder.rmdir()


def parts_of(output: Path) -> Path:
    """Return the folder that holds an output's blocks."""
    return output.with_name(output.name + ".parts")


def not_parts(folder: Path) -> str:
    """Return why a folder is not just blocks with their settings; an empty string if it is, or is empty."""
    if folder.is_symlink() or not folder.is_dir():
        return "not a folder of blocks"
    there = files_in(folder)
    strange = [name for name in there if not (re.fullmatch(r"block-\d{5,}\.h5", name) or name in (SETTINGS, GROWING)
                                              or is_temporary(Path(name)))]  # fmt: skip
    if strange:
        return f"holds {first_few(strange)}, which is not a block of an unfinished run"
    if there and not {"n_items", "block_size"} <= _settings_in(folder).keys():
        return f"has no {SETTINGS} of an unfinished run"
    return ""


def remove_parts_of_finished(output: Path, record: Path) -> None:
    """Remove the blocks of a finished output, for a run that was killed just before this last step.

    Args:
        record: the JSON file beside the output, whose `settings_sha256` is the checksum of the blocks' settings.
    """
    settings = parts_of(output) / SETTINGS
    if output.is_file() and settings.is_file() and readable_object(record).get("settings_sha256") == sha256(settings):
        remove(parts_of(output), not_parts)


def _settings_in(folder: Path) -> dict:
    return readable_object(folder / SETTINGS)


def _locked(path: Path, output: Path) -> int:
    """Return the descriptor of the lock file at `path`, once this process holds the lock."""
    try:
        import fcntl
    except ImportError:  # not available on this system
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        if os.fstat(lock).st_size:
            os.close(lock)
            raise InputError("not a lock of pseudolabel: it is not empty", path, "Move it.")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            remedy = "Wait until it has ended, or give another --out."
            raise InputError("another run is at work on this output", output, remedy) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(lock)
                raise
            return lock
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        os.close(lock)  # meanwhile the run that held it removed the file


class Blocks:
    """The blocks of one unfinished file; the caller holds the file's lock (`only_run`).

    Args:
        output: the final file; its blocks are beside it in `NAME.parts`.
        n_items: number of clips.
        block_size: clips per block.
        settings: everything that a block's content depends on, as JSON values.
        restart: discard blocks made with other settings instead of refusing them.
        join: share the folder with other processes of the same run.
    Raises:
        InputError: the folder has blocks made with other settings, and `restart` is false.
    """

    def __init__(
        self,
        output: Path,
        n_items: int,
        block_size: int,
        settings: dict,
        restart: bool = False,
        join: bool = False,
    ):
        self.output, self.n_items, self.block_size = output, n_items, block_size
        self.folder = parts_of(output)
        self.settings = json.loads(json.dumps({**settings, "n_items": n_items, "block_size": block_size}))
        differing = self._differing()
        if differing and join:
            message = f"the processes of this run have other {', '.join(differing)}"
            raise InputError(message, self.folder, "Give all of them the same options and files.")
        if differing and differing != ["settings"] and not restart:
            raise InputError(
                f"an unfinished run with other {', '.join(differing)} is here",
                self.folder,
                "Repeat that run's options to finish it, or give --overwrite to start again.",
            )
        if differing:
            with whole_folder(self.folder, overwrite=True, reason_not_to=not_parts) as folder:
                write_json(folder / SETTINGS, self.settings)

    def _differing(self) -> list[str]:
        """Return the names of the settings that differ from those of the blocks already here."""
        earlier = _settings_in(self.folder)
        if not earlier:
            return ["settings"]
        both = {**earlier, **self.settings}
        return sorted(name for name in both if earlier.get(name) != self.settings.get(name))

    def __len__(self) -> int:
        return -(-self.n_items // self.block_size)

    def span(self, block: int) -> range:
        """Return the item numbers of a block."""
        start = block * self.block_size
        return range(start, min(start + self.block_size, self.n_items))

    def path(self, block: int) -> Path:
        """Return the path of a block, finished or not."""
        return self.folder / f"block-{block:05d}.h5"

    def unfinished(self) -> list[int]:
        """Return the numbers of the blocks still to be made."""
        return [block for block in range(len(self)) if not self.path(block).exists()]

    def await_all(self, patience_s: float = 120.0) -> None:
        """Wait until all blocks exist: a shared folder may show another machine's files a little late.

        Raises:
            InputError: a block is still missing after `patience_s` seconds.
        """
        deadline = time.monotonic() + patience_s
        while missing := self.unfinished():
            if time.monotonic() >= deadline:
                message = f"{len(missing)} of {len(self)} blocks are missing: {first_few(missing)}"
                raise InputError(message, self.folder, "Run the same command again.")
            time.sleep(0.1)

    def write(self, block: int, fill: Callable) -> None:
        """Write one block: `fill(file)` fills an open h5py file, which gets its final name when `fill` returns.

        Raises:
            InputError: another run has started here meanwhile; the blocks of two runs are never mixed.
        """
        from pseudolabel.stores import write_hdf5

        with write_hdf5(self.path(block)) as file:
            fill(file)
            if self._differing():  # after the temporary file exists: a folder replaced later takes it along
                raise InputError("another run has begun here in the meantime", self.folder, "Let only one run work.")

    def remove(self) -> None:
        """Remove the blocks once the final file exists."""
        remove(self.folder, not_parts)
