"""Progress and notes are for whoever looks on: that nobody does any more ends no run."""

from __future__ import annotations

import os
import sys

import pytest

from pseudolabel import progress as progress_module
from pseudolabel.progress import Progress, note


def stream_without_reader(kind: str):
    """Return a pipe whose reader has gone, a terminal that was closed, a closed file, or nothing."""
    if kind == "none":
        return None
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", buffering=1)
    if kind == "terminal":
        stream.isatty = lambda: True
    if kind == "closed file":
        stream.close()
    return stream


@pytest.mark.parametrize("kind", ["pipe", "terminal", "closed file", "none"])
def test_a_run_goes_on_when_nobody_reads_its_progress(kind, monkeypatch):
    monkeypatch.setattr(progress_module, "LOG_EVERY_S", 0.0)
    monkeypatch.setattr(sys, "stderr", stream_without_reader(kind))
    with Progress("score", 3) as progress:
        for _ in range(3):
            progress.advance(loss=0.5)
    note("all is well")
    assert progress.done == 3
