"""Check all steps of a recipe before it runs the first, by the verbs' --dry-run: a recipe's own check, and --dry-run.

bash recipes/psl_2s.sh --plan 3>&1 >/dev/null | python recipes/plan.py [--show]

What comes in are the steps, one after the other, each as fields that end with a zero byte: WORK, the number of the
fields that follow, OUTPUT, COMMAND, ARGUMENTs (see step.py); `end` comes last. A step whose output is there is passed
over; what the others would write counts as being there for those after them. Nothing is written.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from pseudolabel import dry_run

RECIPES = Path(__file__).resolve().parent


def read_steps(fields: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield work folder, output and command of each step; a recipe that did not come to its end has none."""
    if fields[-2:] != ["end", ""]:
        raise SystemExit(0)  # it has said why, and its exit code counts
    at = 0
    while at < len(fields) - 2:
        work, last = fields[at], at + 2 + int(fields[at + 1])
        output, *command = fields[at + 2 : last]
        yield work, output, command
        at = last


@cache
def program(name: str) -> Callable[[list[str]], int]:
    """Return the main function of a verb, or of a Python file of recipes/."""
    if not name.endswith(".py"):
        return importlib.import_module(f"pseudolabel.{name}").main
    spec = importlib.util.spec_from_file_location(f"recipes_{name[:-3]}", RECIPES / name)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where a dataclass looks for its types
    spec.loader.exec_module(module)
    return module.main


def check(command: list[str]) -> tuple[bool, str]:
    """Return whether a command would be run, and the last line that its dry run prints."""
    name, *arguments = command
    if name == "copy":
        return dry_run.there(arguments[0]), f"a copy of {arguments[0]}"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = program(name)(["--dry-run", *arguments])
        except SystemExit as stop:  # argparse
            code = stop.code
    lines = (err if code else out).getvalue().splitlines() or [name]
    return not code, lines[-1].removeprefix("pseudolabel ")


def check_all(steps: bytes, show: bool = False) -> int:
    """Check the steps; print them where asked to; return 0, or 2 at the first that would fail."""
    dry_run.begin_recipe()
    try:
        for work, output, command in read_steps(steps.decode(errors="surrogateescape").split("\0")):
            path = Path(work, output)
            done = output and os.path.lexists(path)
            right, line = (True, "is there") if done else check(command)
            if not right:
                what = f"{path}: {line}" if output else line
                print(f"{what} (checked before the first step: nothing was run)", file=sys.stderr)
                return 2
            if show:
                print(f"{output or '-'}: {line if done else f'{command[0]} {line}'}")
            if output and not done:
                dry_run.keep(path)
    finally:
        dry_run.end_recipe()
    return 0


if __name__ == "__main__":
    raise SystemExit(check_all(sys.stdin.buffer.read(), "--show" in sys.argv[1:]))
