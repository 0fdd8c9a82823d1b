"""Options as dataclasses: each field gives its type, default, meaning and rule once, to notebooks and to commands.

    @dataclass(frozen=True, kw_only=True)
    class AverageOptions(Options):
        weights: tuple[float, ...] = option((), "one for each store (default: equal)", NON_NEGATIVE, metavar="W")

A value of another type, or one that breaks a rule, is an error; it never means something else. `command.add_options`
makes the command-line options of such a class, `command.options_from` an instance of what was parsed.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pseudolabel.errors import InputError
from pseudolabel.machine import allowed_cores

WORDS = {str: "text", int: "a whole number", float: "a number", bool: "True or False", NoneType: "None"}
DEFAULT_WORK = Path("work")
LONGEST = 80  # characters of a value that are shown
METADATA = "option"


@dataclass(frozen=True)
class Rule:
    """What a number must be, beyond its type."""

    words: str
    allows: Callable[[float], bool]


COUNT = Rule("a whole number of at least 1", lambda value: value >= 1)
WHOLE = Rule("a whole number of at least 0", lambda value: value >= 0)
POSITIVE = Rule("a number above 0", lambda value: 0 < value < math.inf)
NON_NEGATIVE = Rule("a number of at least 0", lambda value: 0 <= value < math.inf)
SHARE = Rule("a number in [0, 1]", lambda value: 0 <= value <= 1)


@dataclass(frozen=True)
class Option:
    """How a field becomes a command-line option.

    Args:
        help: what it means; its default is added where the text does not say "default:".
        choices: the values that it may have, each of several.
        parse: makes a value of text where the type alone does not, and raises ValueError with the rule.
        flag: its name where that is not the field's: `--list`; several are separated by spaces.
        positional: it has no name.
        repeat: it may be given several times, and all values count.
        empty: of several values: it may be given without any.
        group: heading of --help under which it is listed.
    """

    help: str = ""
    rule: Rule | None = None
    choices: tuple[str, ...] = ()
    parse: Callable[[str], Any] | None = None
    flag: str | None = None
    metavar: str | tuple[str, ...] | None = None
    positional: bool = False
    repeat: bool = False
    empty: bool = False
    group: str = ""


def option(default: Any = MISSING, help: str = "", rule: Rule | None = None, **how: Any) -> Any:
    """Return a dataclass field that is also a command-line option (`Option`); without a default it must be given.

    Args:
        default: the value, or `factory=` for one that is computed.
    """
    given = {"default_factory": how.pop("factory")} if "factory" in how else {"default": default}
    how["choices"] = tuple(how.get("choices", ()))
    return field(**given, metadata={METADATA: Option(help, rule, **how)})


def nested(kind: type, group: str = "") -> Any:
    """Return a dataclass field that holds options of another class; commands list these as their own."""
    return field(default_factory=kind, metadata={METADATA: Option(group=group)})


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of options: every value is checked."""

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True, kw_only=True)
class VerbOptions(Options):
    """What every verb takes."""

    work: Path = option(DEFAULT_WORK, "folder of all default paths")
    overwrite: bool = option(False, "replace an output that exists")
    strict: bool = option(False, "missing or damaged clips are an error, not a list")


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """What a verb that runs models takes."""

    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    threads: int = option(
        rule=COUNT,
        factory=allowed_cores,
        help="CPU threads; float32 sums differ with their number, so it is recorded (default: the cores it may use)",
    )


@dataclass(frozen=True, kw_only=True)
class ListOptions(Options):
    """How a verb reads label lists (`read_labels`)."""

    vocabulary: str | None = option(
        None, "audioset, fsd50k, esc50 or a CSV file (default: vocabulary.csv beside what is named, else audioset)"
    )
    format: str | None = option(
        None, "form of the label lists that options name (default: what each looks like)", metavar="NAME"
    )
    unknown_labels: str = option(
        "error",
        "labels that are not in the vocabulary: an error, or left out, counted and named",
        choices=("error", "skip"),
    )


def check_types(options: object, **choices: Iterable[str]) -> None:
    """Raise InputError where a field of a dataclass has a value of another type than it declares, or breaks its rule.

    A list is taken as a tuple, a number of NumPy as one of Python; the field then holds that. For `__post_init__`.

    Args:
        choices: the values that fields of text may have, where `option` does not give them.
    """
    hints = type_hints(type(options))
    for each in fields(options):
        place, hint = f"{type(options).__name__}.{each.name}", hints[each.name]
        given = getattr(options, each.name)
        value = _plain(given)
        if not _fits(value, hint):
            remedy = _remedy(value, hint) if len(repr(given)) <= LONGEST else ""
            raise InputError(f"must be {_words(hint)}, not {_shown(given)}", place, remedy)
        how = each.metadata.get(METADATA, Option())
        _check_values(value, tuple(choices.get(each.name, how.choices)), how.rule, place)
        if value is not given:
            object.__setattr__(options, each.name, value)


def _check_values(value: object, choices: tuple[str, ...], rule: Rule | None, place: str) -> None:
    """Raise InputError for a value, or one of several, that is no choice or breaks the rule; None passes."""
    for each in value if isinstance(value, tuple) else (value,):
        if choices and each is not None and each not in choices:
            raise InputError(f"no such choice: {each!r}", place, f"Give {' or '.join(choices)}.")
        if rule and isinstance(each, numbers.Real) and not rule.allows(each):
            raise InputError(f"must be {rule.words}, not {each!r}", place)


def parse_number(text: str, kind: type, rule: Rule | None) -> float:
    """Return the whole or real number that a text gives.

    Raises:
        ValueError: it is not one, or breaks the rule.
    """
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or (rule and not rule.allows(value)):
        raise ValueError(f"must be {rule.words if rule else WORDS[kind]}, not {text!r}")
    return value


def name_value(text: str) -> tuple[str, object]:
    """Return the name and the value of `width=0.25`: the value as JSON where it is JSON, else as text.

    Raises:
        ValueError: it has another form.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"must be NAME=VALUE, not {text!r}")
    try:
        return name, json.loads(value if not value.startswith(".") else f"0{value}")
    except json.JSONDecodeError:
        return name, value


@cache
def type_hints(kind: type) -> dict[str, Any]:
    """Return the declared types of a class's fields."""
    return get_type_hints(kind)


def _shown(value: object) -> str:
    return repr(value) if len(repr(value)) <= LONGEST else f"{repr(value)[:LONGEST]}..."


def _plain(value: object) -> object:
    """Return a value without NumPy's types, a list as a tuple."""
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        items = tuple(_plain(item) for item in value)
        return value if isinstance(value, tuple) and all(map(_same, items, value)) else items
    return value.item() if hasattr(value, "dtype") and getattr(value, "shape", None) == () else value


def _same(one: object, other: object) -> bool:
    return one is other


def _fits(value: object, hint: object) -> bool:
    """Return whether a value is of a declared type; types that are not known here fit."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return len(value) == len(each) and all(map(_fits, value, each))
    if hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool)
    return isinstance(value, origin or hint) if isinstance(origin or hint, type) else True


def _words(hint: object) -> str:
    """Return what a declared type is called in an error."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_words, inner))
    if origin is tuple and inner[1:] == (...,):
        return f"a tuple of {_words(inner[0])}"
    if origin is tuple:
        return f"a tuple ({', '.join(map(_words, inner))})"
    return WORDS.get(hint, f"a {getattr(hint, '__name__', hint)}")


def _remedy(value: object, hint: object) -> str:
    """Return what was perhaps meant: text in a tuple, a number as text, text as a number."""
    inner = get_args(hint)
    if get_origin(hint) is tuple and inner[1:] == (...,) and _fits(value, inner[0]):
        return f"Give ({value!r},)."
    if hint is str and not isinstance(value, bool) and isinstance(value, numbers.Real):
        return f"Give {str(value)!r}."
    for kind in (int, float):
        if isinstance(value, str) and (hint is kind or kind in inner):
            try:
                return f"Give {kind(value)!r}."
            except ValueError:
                continue
    return f"Give {str(value)!r}." if hint is str and hasattr(value, "__fspath__") else ""
