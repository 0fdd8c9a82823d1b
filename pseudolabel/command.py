"""Turn a command line into a verb's options, and errors into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any, NoReturn, get_args, get_origin

from pseudolabel.errors import InputError
from pseudolabel.machine import WAITING
from pseudolabel.options import METADATA, Option, parse_number, type_hints

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130
MENDABLE = (InputError, OSError)
BEFORE = ("--work", "--overwrite", "--strict", "--debug", "--dry-run")  # options allowed before a subcommand


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
        flags = (how.flag or "--" + each.name.replace("_", "-")).split()
        groups[how.group].add_argument(*flags, dest=name, **said)


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
            yield from _declared(hint, f"{above}{each.name}.", how.group)
        else:
            yield f"{above}{each.name}", each, how, hint


def _help(each: Any, how: Option) -> str:
    """Return an option's help text, adding the default if the text does not give it."""
    default = each.default
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
            return parse_number(text, parse, how.rule) if parse in (int, float) else parse(text)
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
    return kind(**given)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: error: {message}\n")


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
) -> int:
    """Run a verb: parse `argv`, call its command, and turn an error into one line and an exit code.

    Args:
        commands: the subcommands by name; the first is the default unless `needed`. Options common to all verbs may
            come before a subcommand.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    commands = {"": commands} if isinstance(commands, Command) else commands
    name, rest = _subcommand(commands, argv)
    if needed and name is None and not {"-h", "--help"} & set(argv):
        print(f"pseudolabel {verb}: error: name one of {', '.join(commands)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    prog = f"pseudolabel {verb} {name or ''}".rstrip()
    name = next(iter(commands)) if name is None else name
    command = commands[name]
    parser = _parser_of(command, prog, description)
    namespace, unknown = parser.parse_known_args(rest)
    if unknown:
        word = unknown[0].removeprefix("--").partition("=")[0]
        hint = f" (a subcommand comes first: pseudolabel {verb} {word})" if word and word in commands else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    parsed = vars(namespace)

    def act() -> None:
        options = options_from(parsed, command.options)
        if not parsed.get("dry_run"):
            command.run(options)
        elif said := command.plan(options):
            print(said)

    return _exit_code(act, parser.prog, parsed["debug"])


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
    at = 0
    while at < len(argv) and (argv[at] in BEFORE or argv[at].startswith("--work=")):
        at += 2 if argv[at] == "--work" else 1
    if at < len(argv) and argv[at] and argv[at] in commands:
        return argv[at], argv[:at] + argv[at + 1 :]
    return None, argv


def _exit_code(function: Callable[[], object], prog: str, debug: bool) -> int:
    """Call a function, turning an error into one line and an exit code."""
    os.environ.setdefault(*WAITING)  # torch reads it when loaded
    try:
        function()
    except MENDABLE as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.strerror:
            error = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"\n{prog}: interrupted; run the same command again to go on", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0
