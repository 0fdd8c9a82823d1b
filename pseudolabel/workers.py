"""Process pools for a verb's work: no process outlives its parent, even if the parent is killed."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

# Spawned rather than forked: the caller may have threads, and each process fills its own caches anyway.
CONTEXT = multiprocessing.get_context("spawn")
Result = TypeVar("Result")


_begun: object = None  # in a pool's process: what `begin` returned


def process_pool(n_processes: int, begin: Callable[..., object], arguments: tuple) -> ProcessPoolExecutor:
    """Return a pool whose processes first call `begin(*arguments)`, and end when this process does.

    Args:
        begin, arguments: sent to the processes, so `begin` must be a module-level function or class. `with_begun`
            passes on what it returns.
    """
    return ProcessPoolExecutor(n_processes, CONTEXT, _begin, (begin, arguments))


def _begin(begin: Callable[..., object], arguments: tuple) -> None:
    global _begun
    end_with_parent()
    _begun = begin(*arguments)


def with_begun(function: Callable[..., Result], *arguments: object) -> Result:
    """Return `function(begun, *arguments)` in a pool's process, where `begun` is what `begin` returned there."""
    return function(_begun, *arguments)


def end_with_parent() -> None:
    """End this process when its parent ends, instead of waiting for work forever."""
    parent = multiprocessing.parent_process()
    if parent is None:  # it has no parent
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
