"""Long work in blocks of consecutive clips: a finished block is a file, so a killed run goes on where it was.

A block is written to `NAME.parts/block-00017.h5` (temporary name, flush, rename): its presence means it is complete.
`settings.json` in that folder says what the blocks were made from; blocks of another making are refused, not mixed in.
One run at a time works on an output: it holds the lock `.NAME.pseudolabel-lock`, which a killed run lets go.
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
from pseudolabel.ownership import files_in, readable_object
from pseudolabel.records import sha256
from pseudolabel.temporaries import clear_leftovers, is_temporary, lock_path, remove

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # what file systems without locks answer


SETTINGS, GROWING = "settings.json", "audio.h5"  # beside the blocks: what they are made from; audio as it grows


@contextlib.contextmanager
def only_run(output: Path) -> Iterator[None]:
    """Hold the lock of an output while a run makes it, and remove what killed runs left of it half written.

    The lock is an empty file beside the output, gone when the run ends; the system lets go of a killed process's lock.
    Where the file system knows no locks, there is none. Processes that a run starts must not ask for it.

    Raises:
        InputError: another run holds it, or a file of somebody else's has its name.
    """
    here, absolute = Path.cwd(), Path(os.path.abspath(output))
    if absolute in (here, *here.parents) or not absolute.name:
        raise InputError("is the current folder, or holds it", output, "Give an output of its own.")
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
        path.unlink(missing_ok=True)  # before the lock is let go: whoever waits for this file sees that it is gone
        os.close(lock)
        with contextlib.suppress(OSError):  # of a run that was refused: nothing was written into them
            for folder in new:
                folder.rmdir()


def parts_of(output: Path) -> Path:
    """Return the folder of an output's blocks."""
    return output.with_name(output.name + ".parts")


def not_parts(folder: Path) -> str:
    """Return why a folder does not hold blocks alone, with their settings; empty where it does, or holds nothing."""
    if folder.is_symlink() or not folder.is_dir():
        return "not a folder of blocks"
    there = files_in(folder)
    strange = [name for name in there if not (re.fullmatch(r"block-\d{5,}\.h5", name) or name in (SETTINGS, GROWING)
                                              or is_temporary(Path(name)))]  # fmt: skip
    if strange:
        return f"holds {first_few(strange)}, which is no block of an unfinished run"
    if there and not {"n_items", "block_size"} <= _settings_in(folder).keys():
        return f"has no {SETTINGS} of an unfinished run"
    return ""


def remove_parts_of_finished(output: Path, record: Path) -> None:
    """Remove the blocks of an output that is there, where a run was killed when it had only this left to do.

    Args:
        record: the JSON file beside the output, whose `settings_sha256` is the checksum of the blocks' settings.
    """
    settings = parts_of(output) / SETTINGS
    if output.is_file() and settings.is_file() and readable_object(record).get("settings_sha256") == sha256(settings):
        remove(parts_of(output), not_parts)


def _settings_in(folder: Path) -> dict:
    return readable_object(folder / SETTINGS)


def _locked(path: Path, output: Path) -> int:
    """Return the descriptor of a lock file that this process holds, and that lies at `path`."""
    try:
        import fcntl
    except ImportError:  # not on this system
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
        os.close(lock)  # the run that held it removed the file in the meantime


class Blocks:
    """The blocks of one file under construction; who makes them holds the lock of the file (`only_run`).

    Args:
        output: the final file; blocks lie beside it in `NAME.parts`.
        n_items: how many clips there are.
        block_size: clips a block.
        settings: all that the content of a block depends on, as JSON values.
        restart: forget blocks of another making instead of refusing them.
        join: work on blocks that another process of the same run has claimed already.
    Raises:
        InputError: blocks of another making lie here, and `restart` is not given.
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
        """Return the names of what these blocks would be made from otherwise than those that lie here."""
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
        """Return the file of a block, finished or not."""
        return self.folder / f"block-{block:05d}.h5"

    def unfinished(self) -> list[int]:
        """Return the blocks that still have to be made."""
        return [block for block in range(len(self)) if not self.path(block).exists()]

    def await_all(self, patience_s: float = 120.0) -> None:
        """Return when all blocks are there: a shared folder may show what another machine wrote a little later.

        Raises:
            InputError: one is still missing after `patience_s` seconds.
        """
        deadline = time.monotonic() + patience_s
        while missing := self.unfinished():
            if time.monotonic() >= deadline:
                message = f"{len(missing)} of {len(self)} blocks are missing: {first_few(missing)}"
                raise InputError(message, self.folder, "Run the same command again.")
            time.sleep(0.1)

    def write(self, block: int, fill: Callable) -> None:
        """Write one block: `fill(file)` gets an open h5py file, which takes its name when `fill` returns.

        Raises:
            InputError: another run has begun here since; its blocks are not mixed with this one's.
        """
        from pseudolabel.stores import write_hdf5

        with write_hdf5(self.path(block)) as file:
            fill(file)
            if self._differing():  # asked when the temporary file is there: a folder that is replaced later takes it
                raise InputError("another run has begun here in the meantime", self.folder, "Let only one run work.")

    def remove(self) -> None:
        """Remove the blocks, once the final file is there."""
        remove(self.folder, not_parts)
