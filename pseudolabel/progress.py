"""Show progress: a bar on a terminal, one line per minute in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
LOG_EVERY_S = 60.0
GONE = contextlib.suppress(OSError, ValueError)  # a closed terminal or pipe must not end a run


class Progress:
    """Count units of work towards `total`; `with Progress(...) as progress: progress.advance(8, loss=.3)`."""

    def __init__(self, what: str, total: int, unit: str = "clip", start: int = 0):
        self.what, self.total, self.unit, self.done = what, total, unit, start
        self.started = self.last_line = time.monotonic()
        self.first = start
        self.bar = None
        with GONE:
            if sys.stderr is not None and sys.stderr.isatty():
                from tqdm import tqdm

                self.bar = tqdm(total=total, initial=start, desc=what, unit=unit, dynamic_ncols=True, leave=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            with GONE:
                self.bar.close()

    def advance(self, n: int = 1, **shown: object) -> None:
        """Count `n` more units; keyword values (loss, rate) are shown next to the count."""
        self.done += n
        if self.bar is not None:
            with GONE:
                if shown:
                    self.bar.set_postfix(shown, refresh=False)
                self.bar.update(n)
            return
        now = time.monotonic()
        if now - self.last_line >= LOG_EVERY_S:
            self.last_line = now
            rate = (self.done - self.first) / max(now - self.started, 1e-9)
            left_s = (self.total - self.done) / max(rate, 1e-9)
            notes = "".join(f", {name} {value}" for name, value in shown.items())
            line = f"{self.what}: {self.done}/{self.total} {self.unit}s, {rate:.1f}/s, {left_s:.0f} s left{notes}"
            note(line)


def note(line: str) -> None:
    """Print one line for the user to stderr; print nothing if it is empty."""
    if line and sys.stderr is not None:
        with GONE:
            print(" ".join(line.split()), file=sys.stderr, flush=True)


def progress_over(items: Iterable[Item], what: str, total: int, unit: str = "clip") -> Iterator[Item]:
    """Yield `items`, counting each."""
    with Progress(what, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()
