"""Every option of every verb with values that it cannot have: one line, exit code 2, nothing written, no traceback."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_origin

import pytest

from pseudolabel.cli import VERBS
from pseudolabel.command import Command, _declared
from pseudolabel.options import Rule, flags_of, parse_number

NUMBERS = ("0", "-1", "nan", "inf", "1e300", str(10**20), "1" * 5000, "some", "")
PATHS = ("nosuch", "nosuch/list.csv", "folder", "empty", "binary")


def commands_of(verb: str) -> dict[str, Command]:
    """Return the subcommands of a verb, '' for one without, by catching what its `main` runs."""
    module, seen = importlib.import_module(f"pseudolabel.{verb}"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_command", lambda verb, text, commands, *others, **named: seen.append(commands))
        module.main([])
    return {"": seen[0]} if isinstance(seen[0], Command) else seen[0]


COMMANDS = {(verb, name): command for verb in VERBS for name, command in commands_of(verb).items()}


def options_of(command: Command) -> Iterator[tuple[str, object, tuple, object]]:
    """Yield the flag ('' of a positional), type, inner types and `Option` of each option that takes a value."""
    for _, field, how, hint in _declared(command.options):
        if hint is not bool:
            yield "" if how.positional else flags_of(field)[0], hint, get_args(hint), how


def is_allowed(text: str, kind: type, rule: Rule) -> bool:
    try:
        parse_number(text, kind, rule)
    except ValueError:
        return False
    return True


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command which must be refused, and returns its line."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("empty").touch()
    Path("binary").write_bytes(bytes(range(256)) * 8)
    before = sorted(tmp_path.rglob("*"))

    def run(verb: str, *argv: str) -> str:
        try:
            code = importlib.import_module(f"pseudolabel.{verb}").main([part for part in argv if part is not None])
        except SystemExit as stop:
            code = stop.code
        error = capsys.readouterr().err
        assert code == 2, f"{verb} {argv}: {code}"
        line = error.splitlines()[-1]
        assert line.startswith(f"pseudolabel {verb}") and ": error: " in line and len(line) < 1300, line
        assert error.count(": error: ") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return line

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_option_without_its_value_is_named(refused, command):
    verb, name = command
    for flag, _, _, how in options_of(COMMANDS[command]):
        if flag and not how.empty:
            assert f"argument {flag}" in refused(verb, *filter(None, [name]), flag)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_number_that_breaks_its_rule_is_named_before_anything_is_read(refused, command):
    verb, name = command
    for flag, hint, inner, how in options_of(COMMANDS[command]):
        kind = inner[0] if get_origin(hint) is tuple and inner[0] in (int, float) else hint
        if kind not in (int, float) or how.parse:
            continue
        times = len(inner) if inner and inner[1:] != (...,) else 1
        for text in NUMBERS:
            values = [f"{flag}={text}"] if times == 1 else [flag, *[text or "x"] * times]
            if text in ("0", "-1") and not how.rule:
                continue  # the class has a rule of its own
            if how.rule and is_allowed(text, kind, how.rule):
                continue
            line = refused(verb, *filter(None, [name]), *values)
            assert flag in line and "Traceback" not in line, line


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_path_that_is_not_what_is_asked_for_is_one_line(refused, command):
    verb, name = command
    for flag, hint, inner, _ in options_of(COMMANDS[command]):
        if (hint is not Path and Path not in inner) or flag == "--work":
            continue
        for path in PATHS:
            times = len(inner) if inner and inner[1:] != (...,) else 1
            if verb == "bench" or (verb == "simulate" and flag != "--sounds"):
                continue  # they need no input
            refused(verb, *filter(None, [name]), *filter(None, [flag]), *[path] * times)
