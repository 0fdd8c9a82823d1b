"""Errors that the user can fix: one line with the rule, the value, the place and the remedy."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Iterable

LONGEST_VALUE, LONGEST_PLACE, LONGEST_MESSAGE = 80, 300, 600  # characters
LONG_VALUE = re.compile(rf"(?<!\w)(['\"])((?:(?!\1)[^\n]){{{LONGEST_VALUE + 1},}})\1(?!\w)")  # quoted
LONG_NUMBER = re.compile(rf"\d{{{LONGEST_VALUE + 1},}}")


class InputError(ValueError):
    """Input that breaks a rule. Commands print it as one line and exit with code 2; long values are truncated.

    Args:
        message: the rule and the offending value.
        place: where it is: `file:line`, a clip id, an option.
        remedy: how to fix it.
    """

    def __init__(self, message: str, place: object = "", remedy: str = ""):
        place = str(place)
        place = place if len(place) <= LONGEST_PLACE else f"...{place[3 - LONGEST_PLACE :]}"
        self.message, self.place, self.remedy = cut(message), place, cut(remedy)
        text = f"{self.place}: {self.message}" if self.place else self.message
        stop = "" if text.endswith("?") else "."
        super().__init__(f"{text.rstrip('.')}{stop} {remedy}" if remedy else text)


def cut(message: str) -> str:
    """Return a message as one line, with quoted values and numbers truncated."""
    message = " ".join(message.splitlines())
    if len(message) <= LONGEST_VALUE:
        return message
    message = LONG_VALUE.sub(lambda value: f"{value[1]}{value[2][: LONGEST_VALUE - 3]}...{value[1]}", message)
    message = LONG_NUMBER.sub(lambda number: f"{number[0][: LONGEST_VALUE - 3]}...", message)
    return message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 3]}..."


def shown(value: object) -> str:
    """Return the `repr` of a value, truncated."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


class ClipMismatch(InputError):
    """Two files that must describe the same clips do not."""


class UnknownClass(InputError):
    """A class id or name is not in the vocabulary."""


class OutputExists(InputError):
    """An output exists and `--overwrite` was not given."""


class NoFile(InputError):
    """A file or folder that is to be read is not there."""


def no_file(path: object, remedy: str = "", message: str = "no such file") -> InputError:
    """Return the error for a path that is not a file: a folder, or nothing; names a file of nearly this name there."""
    folder, name = os.path.split(os.fspath(path))
    if os.path.isdir(path):
        return InputError("is a folder, not a file", path, remedy)
    if os.path.exists(path) and not os.path.isfile(path):
        return InputError("is a device or a pipe, not a file", path, "Save its content in a file first.")
    with contextlib.suppress(OSError, ValueError):
        close = nearest(name, os.listdir(folder or "."), 0.7)
        remedy = remedy or (f"Nearest: {os.path.join(folder, close)}." if close else "")
    return NoFile(message, path, remedy)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; the name of its class if the text is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def first_few(values: Iterable[object], limit: int = 3) -> str:
    """Return `a, b, c and 12 more`: enough to find the problem without flooding the terminal."""
    values = [str(value) for value in values]
    more = f" and {len(values) - limit} more" if len(values) > limit else ""
    return ", ".join(values[:limit]) + more


def nearest_or_all(value: str, known: Iterable[str]) -> str:
    """Return a remedy: the known name that looks most like `value`, else all of them."""
    close = nearest(value, known := list(known))
    return f"Nearest: {close}." if close else f"Known: {', '.join(known)}."


def nearest(value: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Return the known name that looks most like `value`, or an empty string."""
    matches = difflib.get_close_matches(value[:LONGEST_VALUE], list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else ""
