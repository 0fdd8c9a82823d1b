"""Progress and notes are for whoever looks on: that nobody does any more ends no run."""

from __future__ import annotations

import os
import sys

import pytest

from pseudolabel import progress as progress_module
from pseudolabel.progress import Progress, note


@pytest.fixture(params=["log", "terminal", "closed", "none"])
def nobody(request, monkeypatch) -> None:
    """Let standard error be a pipe whose reader has gone, a terminal that was closed, a closed file, or nothing."""
    stream = None
    if request.param != "none":
        reader, writer = os.pipe()
        os.close(reader)
        stream = os.fdopen(writer, "w", buffering=1)
        if request.param == "terminal":
            stream.isatty = lambda: True
    if request.param == "closed":
        stream.close()
    monkeypatch.setattr(progress_module, "LOG_EVERY_S", 0.0)
    monkeypatch.setattr(sys, "stderr", stream)


def test_a_run_goes_on_when_nobody_reads_its_progress(nobody):
    with Progress("score", 3) as progress:
        for _ in range(3):
            progress.advance(loss=0.5)
    note("all is well")
    assert progress.done == 3
