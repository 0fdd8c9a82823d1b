"""Processes that share a verb's work and end with it, however it ends: a killed parent leaves none behind."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

# Spawned rather than forked: the caller may have threads, and each process fills caches of its own anyway.
CONTEXT = multiprocessing.get_context("spawn")
Result = TypeVar("Result")


_begun: object = None  # in a process of a pool: what `begin` returned


def process_pool(n_processes: int, begin: Callable[..., object], arguments: tuple) -> ProcessPoolExecutor:
    """Return a pool whose processes call `begin(*arguments)` first, and end when this process does.

    Args:
        begin, arguments: sent to the processes, so `begin` is a function or class of a module. `with_begun` hands on
            what it returns.
    """
    return ProcessPoolExecutor(n_processes, CONTEXT, _begin, (begin, arguments))


def _begin(begin: Callable[..., object], arguments: tuple) -> None:
    global _begun
    end_with_parent()
    _begun = begin(*arguments)


def with_begun(function: Callable[..., Result], *arguments: object) -> Result:
    """Return `function(begun, *arguments)` in a process of a pool, `begun` being what its `begin` returned."""
    return function(_begun, *arguments)


def end_with_parent() -> None:
    """Let this process end when the one that started it has ended, instead of waiting for work forever."""
    parent = multiprocessing.parent_process()
    if parent is None:  # nobody started it
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
