"""Memory: what this process may still take, so that what does not fit ends in a line and not in a kill."""

from __future__ import annotations

from pathlib import Path

from pseudolabel.errors import InputError

GROUPS = Path("/sys/fs/cgroup")  # where Linux says what a container may take


def available_bytes() -> int | None:
    """Return how much memory can be taken without swapping; None where the system does not say."""
    system = _number(Path("/proc/meminfo"), "MemAvailable:")
    limit, used = _number(GROUPS / "memory.max"), _number(GROUPS / "memory.current")
    free = [1024 * system] if system is not None else []
    if limit is not None and used is not None:
        free.append(max(limit - used, 0))
    return min(free, default=None)


def _number(path: Path, label: str = "") -> int | None:
    """Return the number after a label in a small text file; None where there is none."""
    try:
        words = path.read_text().split()
        return int(words[words.index(label) + 1] if label else words[0])
    except (OSError, ValueError, IndexError):
        return None


def refuse_more_than_fits(n_bytes: int, what: str, place: object, remedy: str) -> None:
    """Raise InputError where `what` takes more memory than there is."""
    available = available_bytes()
    if available is not None and n_bytes > available:
        raise InputError(
            f"{what} take about {n_bytes / 1e9:.1f} GB of memory, and {available / 1e9:.1f} GB are free", place, remedy
        )
