"""Turn a command line into a verb's options, and errors into one line and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

from pseudolabel.dry_run import there
from pseudolabel.errors import InputError, NoFile, cut, nearest, shown
from pseudolabel.machine import WAITING
from pseudolabel.options import (
    METADATA,
    Option,
    flags_of,
    parse_number,
    parse_text,
    refuse_without_effect,
    type_hints,
)
from pseudolabel.packages import missing_package

EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 2, 130, 141
MENDABLE = (InputError, OSError)
ABSENT = "no such file or folder"
# Options that do the same, or nearly, under the names that several verbs, or other programs, have for them.
ALIKE = (
    ("--processes", "--threads", "--workers", "--num-workers", "--jobs"),
    ("--labels", "--list", "--lists"),
    ("--ledger", "--enhanced", "--labels"),
    ("--audio", "--sounds", "--clips", "--recordings"),
    ("--window", "--windows", "--window-s", "--scales"),
    ("--limit-seconds", "--clip-seconds", "--clip-s", "--duration"),
    ("--title", "--name"),
    ("--targets", "--soft", "--soft-windows"),
    ("--classes", "--vocabulary"),
    ("--learning-rate", "--lr"),
    ("--out", "--output", "--out-dir", "--output-dir"),
    ("--overwrite", "--force"),
)
# Options allowed before a subcommand.
BEFORE = ("--work", "--overwrite", "--strict", "--debug", "--dry-run", "-h", "--help")


def add_options(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add an argument for each `option` of a dataclass and of nested ones, in field order."""
    groups = {"": parser}
    for name, each, how, hint in _declared(kind):
        if how.group not in groups:
            groups[how.group] = parser.add_argument_group(how.group)
        said: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(each, how), **_argument(hint, how)}
        if "." in name and said.get("action") != "store_true" and not how.choices:
            said.setdefault("metavar", each.name.upper())
        if how.positional:
            groups[how.group].add_argument(name, **said)
            continue
        if each.default is MISSING and each.default_factory is MISSING:
            said["required"] = True
        groups[how.group].add_argument(*flags_of(each), dest=name, **said)


def _declared(kind: type, above: str = "", group: str = "") -> Iterator[tuple[str, Any, Option, Any]]:
    """Yield the name (`a.b` if nested), field, `Option` and type without None of each option of a dataclass."""
    hints = type_hints(kind)
    for each in fields(kind):
        how, hint = each.metadata.get(METADATA), hints[each.name]
        if how is None:
            continue
        inner = [one for one in get_args(hint) if one is not type(None)]
        if len(inner) == 1 and get_origin(hint) is not tuple:
            hint = inner[0]
        how = replace(how, group=how.group or group)
        if is_dataclass(hint) and not how.parse:
            for inner in _declared(hint, f"{above}{each.name}.", how.group):
                hidden = inner[1].name in how.hidden
                yield *inner[:2], replace(inner[2], help=argparse.SUPPRESS) if hidden else inner[2], inner[3]
        else:
            yield f"{above}{each.name}", each, how, hint


def _help(each: Any, how: Option) -> str:
    """Return an option's help text, adding the default if the text does not give it."""
    default = each.default
    if how.help == argparse.SUPPRESS:
        return how.help
    if how.file and "default:" not in how.help:
        return f"{how.help} (default: WORK/{how.file})"
    if "default:" in how.help or default in (MISSING, None, "", ()) or default is False:
        return how.help.replace("%", "%%")
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{how.help} (default: {shown})".strip().replace("%", "%%")


def _argument(hint: Any, how: Option) -> dict[str, Any]:
    """Return the argparse arguments for a value of a declared type."""
    if hint is bool:
        return {"action": "store_true"}
    said: dict[str, Any] = {"metavar": how.metavar} if how.metavar else {}
    inner = get_args(hint)
    if get_origin(hint) is tuple and inner[1:] == (...,):
        said["nargs"] = "*" if how.positional or how.empty else "+"
        said["action"], hint = "extend", inner[0]  # given twice, it has the values of both
    elif get_origin(hint) is tuple and not how.parse:
        said["nargs"], hint = len(inner), inner[0]
    if how.choices:
        said["choices"] = how.choices
        return said
    return {**said, "type": _parser(how.parse or hint, how)}


def _parser(parse: Any, how: Option) -> Callable[[str], Any]:
    """Return a parser for argparse that keeps the text of errors."""

    def value(text: str) -> Any:
        try:
            return parse_number(text, parse, how.rule) if parse in (int, float) else parse(parse_text(text))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return value


def options_from(parsed: dict[str, Any], kind: type, above: str = "") -> Any:
    """Return an instance of an options class from parsed arguments ({field: value}; nested: {field.field: value})."""
    given = {}
    for each in fields(kind):
        name, how, hint = f"{above}{each.name}", each.metadata.get(METADATA), type_hints(kind)[each.name]
        if how and is_dataclass(hint) and not how.parse:
            given[each.name] = options_from(parsed, hint, f"{name}.")
        elif how and name in parsed and not (how.positional and parsed[name] == []):
            given[each.name] = parsed[name]
    options = kind(**given)
    refuse_without_effect(options, given)
    return options


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    given: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        lacks = re.match(r"argument (-\S+?)(?:/\S+)?: expected ", message)
        after = next((word for flag, word in pairwise(self.given) if lacks and flag == lacks[1]), "")
        hint = f" (a value that begins with a dash: {lacks[1]}={after})" if after.startswith("-") else ""
        action = next((each for each in self._actions if lacks and lacks[1] in each.option_strings), None)
        if action and action.choices and not hint:
            hint = f": {', '.join(map(str, action.choices))}"
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: error: {cut(message + hint)}\n")

    def unknown(self, words: Sequence[str], commands: Mapping[str, Command], former: Mapping[str, str]) -> NoReturn:
        """Report arguments that the command does not have, with what was probably meant."""
        flags = [word for word in words if word.startswith("-")]
        hints = (self._meant(word, commands, former) for word in flags or words)
        hint = next(filter(None, hints), "")
        self.error(f"unrecognized arguments: {' '.join(words)}{hint and f' ({hint})'}")

    def _meant(self, word: str, commands: Mapping[str, Command], former: Mapping[str, str]) -> str:
        """Return what an unknown argument probably means; an empty string if nothing is like it."""
        verb, flag = " ".join(self.prog.split()[:2]), word.partition("=")[0]
        if not word.startswith("-"):
            return f"subcommands: {', '.join(filter(None, commands))}" if len(commands) > 1 else ""
        if word.startswith("--") and (name := former.get(flag[2:], flag[2:])) in commands:
            return f"a subcommand comes first: {verb} {name}"
        own = [flag for action in self._actions for flag in action.option_strings]
        if alike := [other for group in ALIKE if flag in group for other in group if other in own]:
            return f"did you mean {' or '.join(dict.fromkeys(alike))}?"
        if having := [name for name, command in commands.items() if flag in _flags(command)]:
            return f"an option of {' and '.join(f'{verb} {name}'.strip() for name in having)}"
        close = nearest(flag, own, 0.7)
        return f"did you mean {close}?" if close else ""


@dataclass(frozen=True)
class Command:
    """A verb, or one of its subcommands.

    Args:
        options: the class of its options.
        run: the function that does the work.
        plan: what `--dry-run` calls instead: it checks options and inputs, writes nothing, and returns a line.
    """

    options: type
    run: Callable[[Any], object]
    plan: Callable[[Any], str] | None = None


def run_command(
    verb: str,
    description: str,
    commands: Command | dict[str, Command],
    argv: Sequence[str] | None,
    needed: bool = False,
    former: Mapping[str, str] | None = None,
) -> int:
    """Run a verb: parse `argv`, call its command, and turn an error into one line and an exit code.

    Args:
        commands: the subcommands by name; the first is the default unless `needed`. Options common to all verbs may
            come before a subcommand.
        former: flags of earlier versions, without dashes, and the subcommands that replaced them.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    commands = {"": commands} if isinstance(commands, Command) else commands
    name, rest = _subcommand(commands, argv)
    if name is None and (refusal := _refuse_without_subcommand(commands, argv, needed)):
        print(f"pseudolabel {verb}: error: {refusal}", file=sys.stderr)
        return EXIT_BAD_INPUT
    prog = f"pseudolabel {verb} {name or ''}".rstrip()
    command = commands[next(iter(commands)) if name is None else name]
    parser = _parser_of(command, prog, description)
    parser.given = rest
    namespace, unknown = parser.parse_known_intermixed_args(rest)
    if unknown:
        parser.unknown(unknown, commands, former or {})
    parsed = vars(namespace)

    def act() -> None:
        options = options_from(parsed, command.options)
        try:
            if not parsed.get("dry_run"):
                command.run(options)
            elif said := command.plan(options):
                print(said)
        except (NoFile, FileNotFoundError) as error:
            raise _with_option(error, command.options, parsed) from error
        sys.stdout.flush()

    return exit_code(act, parser.prog, parsed["debug"])


def _with_option(error: NoFile | FileNotFoundError, options: type, given: Mapping[str, object]) -> Exception:
    """Return the error for an absent file; its remedy names the option that named the file, or that gives another."""
    first = error
    if isinstance(error, FileNotFoundError) and error.filename:
        error = NoFile(ABSENT, error.filename)
    if not isinstance(error, NoFile):
        return first
    place = Path(error.place)
    for name, each, how, _ in _declared(options):
        absent = next((path for path in _paths(given.get(name)) if not there(path)), None)
        if absent and name not in ("out", "work"):
            if absent not in (place, *place.parents):  # the error follows from it
                error = NoFile(ABSENT, absent)
            after = "" if how.positional else f" after {flags_of(each)[0]}"
            start = "" if absent.is_absolute() else f"; it starts in {os.getcwd()}"
            return NoFile(error.message, error.place, error.remedy or f"Correct the path{after}{start}.")
    if error.remedy.startswith("Give"):
        return first
    for name, each, how, _ in _declared(options):
        if how.file and name not in given and any(part.match(how.file) for part in (place, *place.parents)):
            remedy = f"{error.remedy} Give {flags_of(each)[0]}, or the --work that has it."
            return NoFile(error.message, place, remedy.lstrip())
    return first


def _flags(command: Command) -> set[str]:
    """Return all flags of a command."""
    return {flag for _, each, how, _ in _declared(command.options) if not how.positional for flag in flags_of(each)}


def _paths(value: object) -> list[Path]:
    """Return all paths in nested sequences, patterns apart."""
    if isinstance(value, list | tuple):
        return [path for each in value for path in _paths(each)]
    return [value] if isinstance(value, Path) and not set("*?[") & set(str(value)) else []


def _refuse_without_subcommand(commands: Collection[str], argv: Sequence[str], needed: bool) -> str:
    """Return why a command line that names no subcommand is refused; an empty string if it is not."""
    word = next(iter(argv[_first_word(argv) :]), "")
    close = nearest(word, filter(None, commands), 0.7)
    if close and not word.startswith("-") and not os.path.exists(word):
        return f"no subcommand {shown(word)}; did you mean {close}?"
    if needed and not {"-h", "--help"} & set(argv):
        return f"name one of {', '.join(commands)}"
    return ""


def _parser_of(command: Command, prog: str, description: str) -> _Parser:
    """Return the parser of a command's options, with those that no dataclass has."""
    parser = _Parser(
        prog=prog,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_options(parser, command.options)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if command.plan:
        parser.add_argument("--dry-run", action="store_true", help="check options and inputs, and write nothing")
    return parser


def _subcommand(commands: dict[str, Command], argv: list[str]) -> tuple[str | None, list[str]]:
    """Return the name of the subcommand, None if none is named, and the other arguments."""
    at = _first_word(argv)
    if at < len(argv) and argv[at] and argv[at] in commands:
        return argv[at], argv[:at] + argv[at + 1 :]
    return None, argv


def _first_word(argv: Sequence[str]) -> int:
    """Return the index of the first argument after the options that may come before a subcommand."""
    at = 0
    while at < len(argv) and (argv[at] in BEFORE or argv[at].startswith("--work=")):
        at += 2 if argv[at] == "--work" else 1
    return at


def exit_code(function: Callable[[], object], prog: str, debug: bool = False) -> int:
    """Call a function, turning an error into one line and an exit code."""
    os.environ.setdefault(*WAITING)  # torch reads it when loaded
    try:
        function()
    except BrokenPipeError:  # whoever read the output has ended, as `head` does
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except (*MENDABLE, ImportError, MemoryError) as error:
        line = _line_of(error)
        if debug or not line:
            raise
        print(f"{prog}: error: {line}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"\n{prog}: interrupted; run the same command again to go on", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _line_of(error: BaseException) -> str:
    """Return an error in one line; an empty string if it is a fault of the program."""
    if isinstance(error, ImportError):
        return missing_package(error)
    if isinstance(error, MemoryError):
        return f"not enough memory{f': {error}' if str(error) else ''}"
    if isinstance(error, OSError) and error.strerror:
        remedy = "Give a shorter name." if error.errno == errno.ENAMETOOLONG else ""
        return str(InputError(error.strerror, error.filename or "", remedy))
    line = " ".join(str(error).split())
    return line if isinstance(error, InputError) else cut(line)
