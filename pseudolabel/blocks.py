"""Long work in blocks of consecutive clips: a finished block is a file, so a killed run goes on where it was.

A block is written to `NAME.parts/block-00017.h5` (temporary name, flush, rename): its presence means it is complete.
`settings.json` in that folder says what the blocks were made from; blocks of another making are refused, not mixed in.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from pseudolabel.artefacts import whole_file, write_json
from pseudolabel.errors import InputError


class Blocks:
    """The blocks of one file under construction.

    Args:
        output: the final file; blocks lie beside it in `NAME.parts`.
        n_items: how many clips there are.
        block_size: clips a block.
        settings: all that the content of a block depends on, as JSON values.
        restart: forget blocks of another making instead of refusing them.
    """

    def __init__(self, output: Path, n_items: int, block_size: int, settings: dict, restart: bool = False):
        self.output, self.n_items, self.block_size = output, n_items, block_size
        self.folder = output.with_name(output.name + ".parts")
        self.settings = json.loads(json.dumps({**settings, "n_items": n_items, "block_size": block_size}))
        self._claim(restart)

    def _claim(self, restart: bool) -> None:
        record = self.folder / "settings.json"
        if record.exists():
            earlier = json.loads(record.read_text(encoding="utf-8"))
            if earlier == self.settings:
                return
            changed = [key for key in {**earlier, **self.settings} if earlier.get(key) != self.settings.get(key)]
            if not restart:
                raise InputError(
                    f"an unfinished run with other {', '.join(sorted(changed))} lies here",
                    self.folder,
                    "Repeat that run's options to finish it, or give --overwrite to start again.",
                )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        write_json(record, self.settings)

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

    def write(self, block: int, fill: Callable) -> None:
        """Write one block: `fill(file)` gets an open h5py file, which takes its name when `fill` returns."""
        import h5py

        with whole_file(self.path(block)) as temporary, h5py.File(temporary, "w") as file:
            fill(file)

    def remove(self) -> None:
        """Remove the blocks, once the final file is there."""
        shutil.rmtree(self.folder)
