"""Processes that share a verb's work and end with it, however it ends: a killed parent leaves none behind."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

# Spawned rather than forked: the caller may have threads, and each process fills caches of its own anyway.
CONTEXT = multiprocessing.get_context("spawn")


def process_pool(n_processes: int, begin: Callable[..., None], arguments: tuple) -> ProcessPoolExecutor:
    """Return a pool whose processes call `begin(*arguments)` first, and end when this process does.

    Args:
        begin, arguments: sent to the processes, so `begin` is a function of a module.
    """
    return ProcessPoolExecutor(n_processes, CONTEXT, _begin, (begin, arguments))


def _begin(begin: Callable[..., None], arguments: tuple) -> None:
    end_with_parent()
    begin(*arguments)


def end_with_parent() -> None:
    """Let this process end when the one that started it has ended, instead of waiting for work forever."""
    parent = multiprocessing.parent_process()
    if parent is None:  # nobody started it
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
