"""Measure the time and memory of successive stages of work; report them as a table and as JSON."""

from __future__ import annotations

import contextlib
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from pseudolabel.machine import allowed_cores
from pseudolabel.reports.text_tables import Table

STATUS = Path("/proc/self/status")
SAMPLE_S = 0.01


@dataclass
class Stage:
    """One measured stage.

    Args:
        name: what was done.
        items: number of items done, in `unit`.
        unit: what is counted, in the plural.
        seconds: wall-clock time.
        peak_bytes: peak memory of the process itself (memory-mapped files do not count) above its level when the stage
            began; None if the system does not report it.
        ratio: how many times as fast as the stage named by `than`.
        note: any other remark.
    """

    name: str
    items: int
    unit: str = "clips"
    seconds: float = 0.0
    peak_bytes: int | None = None
    ratio: float | None = None
    than: str = ""
    note: str = ""

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds if self.seconds else float("inf")

    def compare(self, other: Stage) -> None:
        """Record how many times as fast this stage is as the other, per item."""
        self.ratio, self.than = self.rate / other.rate, other.name


@dataclass
class Report:
    """The stages of one benchmark, and facts that apply to all."""

    benchmark: str
    facts: dict[str, object] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, name: str, items: int = 0, unit: str = "clips") -> Iterator[Stage]:
        """Measure the block; the stage may be changed within the block and after it."""
        print(f"{self.benchmark}: {name} ...", file=sys.stderr, flush=True)
        stage = Stage(name, items, unit)
        with PeakMemory() as memory:
            start = time.perf_counter()
            yield stage
            stage.seconds = time.perf_counter() - start
        stage.peak_bytes = memory.peak_bytes
        self.stages.append(stage)

    def as_json(self) -> dict[str, object]:
        """Return all measurements, and the machine they were made on."""
        stages = [{**asdict(stage), "rate": stage.rate} for stage in self.stages]
        return {"benchmark": self.benchmark, "machine": machine(), "facts": self.facts, "stages": stages}

    def lines(self) -> list[str]:
        """Return the table as text."""
        header = ("stage", "seconds", "items/s", "memory")
        table = Table(header, [_row(stage) for stage in self.stages]).aligned().split("\n")
        notes = ["", *map(_notes, self.stages)]
        rows = [f"{line}  {note}".rstrip() for line, note in zip(table, notes, strict=True)]
        return [*rows, *(f"{name}: {value}" for name, value in self.facts.items())]


def rivals(
    report: Report,
    items: int,
    unit: str,
    functions: dict[str, Callable[[], object]],
    rounds: int,
    warm_up: bool = False,
) -> list[Stage]:
    """Run functions in turns, and report the best stage of each, so that other load on the machine affects all.

    Args:
        warm_up: begin with a turn that does not count.
    """
    for function in functions.values() if warm_up else ():
        function()
    taken: dict[str, list[Stage]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            with report.stage(name, items, unit):
                function()
            taken[name].append(report.stages.pop())
    best = [min(stages, key=lambda stage: stage.seconds) for stages in taken.values()]
    report.stages += best
    return best


class PeakMemory:
    """Watch how much memory the process itself holds while a block runs (Linux only; elsewhere nothing is reported)."""

    def __enter__(self) -> PeakMemory:
        self.before = self.most = _own_bytes()
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        if self.before is not None:
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self.before is not None:
            self._watcher.join()

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self.most = max(self.most, _own_bytes())

    @property
    def peak_bytes(self) -> int | None:
        """Peak bytes above the level at the start."""
        return None if self.before is None else self.most - self.before


def _own_bytes() -> int | None:
    """Return the bytes of memory private to the process, without memory-mapped files."""
    with contextlib.suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return None


def machine() -> dict[str, object]:
    """Return what the figures depend on: processor, cores, versions."""
    return {
        "processor": _processor(), "cores": allowed_cores(), "system": platform.system(),
        "python": platform.python_version(), "numpy": np.__version__,
    }  # fmt: skip


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _row(stage: Stage) -> list[str]:
    memory = "" if stage.peak_bytes is None else f"{stage.peak_bytes / 1e6:,.0f} MB"
    return [stage.name, f"{stage.seconds:,.3f}", f"{stage.rate:,.0f}" if stage.items else "", memory]


def _notes(stage: Stage) -> str:
    ratio = "" if stage.ratio is None else f"{stage.ratio:.3g} times as fast as {stage.than}"
    return "; ".join(note for note in (ratio, stage.note) if note)
