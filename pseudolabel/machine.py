"""How many cores and how much memory this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pseudolabel.errors import InputError

GROUPS = Path("/sys/fs/cgroup")  # a container's limits on Linux
OWN_GROUPS = Path("/proc/self/cgroup")
# Waiting threads give up the core. Next to other work, two threads train a narrow MobileNetV2 25 to 60 times faster
# this way; results are the same.
WAITING = ("OMP_WAIT_POLICY", "PASSIVE")


def allowed_cores() -> int:
    """Return how many cores this process may use: its CPU affinity, or less if a cgroup has a smaller quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([cores, *_quotas()])))


def _quotas() -> Iterator[float]:
    """Yield the quota, in cores, of this process's cgroup and each one above it (cgroup v2 and v1)."""
    for line in _text(OWN_GROUPS).splitlines():
        number, controllers, path = line.split(":", 2)
        if number != "0" and "cpu" not in controllers.split(","):
            continue
        root = GROUPS if number == "0" else GROUPS / "cpu"
        folder = root / path.strip("/")
        for group in (folder, *folder.parents[: len(folder.parts) - len(root.parts)]):
            words = _text(group / "cpu.max").split()
            words = words or [*_text(group / "cpu.cfs_quota_us").split(), *_text(group / "cpu.cfs_period_us").split()]
            if len(words) == 2 and words[0].isdigit() and int(words[1]):  # else `max`, or -1
                yield int(words[0]) / int(words[1])


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def available_bytes() -> int | None:
    """Return how many bytes can be allocated without swapping; None if the system does not say."""
    system = _number(Path("/proc/meminfo"), "MemAvailable:")
    limit, used = _number(GROUPS / "memory.max"), _number(GROUPS / "memory.current")
    free = [1024 * system] if system is not None else []
    if limit is not None and used is not None:
        free.append(max(limit - used, 0))
    return min(free, default=None)


def _number(path: Path, label: str = "") -> int | None:
    """Return the number after `label` in a small text file; None if there is none."""
    try:
        words = path.read_text().split()
        return int(words[words.index(label) + 1] if label else words[0])
    except (OSError, ValueError, IndexError):
        return None


def refuse_more_than_fits(n_bytes: int, what: str, place: object, remedy: str) -> None:
    """Raise InputError if `what` needs more memory than is free."""
    available = available_bytes()
    if available is not None and n_bytes > available:
        raise InputError(
            f"{what} take about {n_bytes / 1e9:.1f} GB of memory, and {available / 1e9:.1f} GB are free", place, remedy
        )
