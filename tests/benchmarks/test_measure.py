"""Stages say what they took, and the table shows it."""

from __future__ import annotations

import mmap
import time

import numpy as np
import pytest

from pseudolabel.benchmarks.measure import STATUS, PeakMemory, Report, Stage, rivals


def test_rate_and_ratio_are_per_item():
    slow, fast = Stage("slow", 100, seconds=2.0), Stage("fast", 300, seconds=0.5)
    fast.compare(slow)
    assert (slow.rate, fast.rate, fast.ratio) == (50, 600, 12)


def test_a_report_holds_each_stage_in_order(capsys):
    report = Report("test", {"clips": 3})
    with report.stage("first", 3) as stage:
        stage.note = "noted"
    with report.stage("second", 2, "rows"):
        pass
    first, second = report.as_json()["stages"]
    assert (first["name"], first["items"], first["note"], second["unit"]) == ("first", 3, "noted", "rows")
    assert first["seconds"] > 0
    lines = report.lines()
    assert len(lines) == 4
    assert lines[1].startswith("first ")
    assert lines[1].endswith("noted")
    assert lines[3] == "clips: 3"
    assert "test: second ..." in capsys.readouterr().err


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not tell how much memory a process has")
def test_memory_that_was_given_back_still_counts():
    size = 64_000_000
    with PeakMemory() as memory:
        held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # never what the allocator kept
        np.frombuffer(held, np.uint8)[:] = 1
        until = time.monotonic() + 10
        while memory.most - memory.before < size and time.monotonic() < until:
            time.sleep(0.01)  # the watcher looks now and then
        held.close()
    assert 50e6 < memory.peak_bytes < 200e6


def test_rivals_take_turns_and_the_best_round_counts():
    order, report = [], Report("test")

    def run(name: str) -> None:
        order.append(name)
        time.sleep(0.2 if len(order) < 5 else 0.001)  # the round that does not count and one that does

    found = rivals(report, 10, "clips", {"a": lambda: run("a"), "b": lambda: run("b")}, 3, warm_up=True)
    assert order == ["a", "b"] * 4
    assert report.stages == found
    assert [stage.name for stage in found] == ["a", "b"]
    assert all(stage.seconds < 0.2 for stage in found)
