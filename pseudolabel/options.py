"""Options as dataclasses: each field states its type, default, meaning and rule once, for notebooks and commands.

    @dataclass(frozen=True, kw_only=True)
    class AverageOptions(Options):
        weights: tuple[float, ...] = option((), "one for each store (default: equal)", NON_NEGATIVE, metavar="W")

A value of the wrong type, or one that breaks a rule, is an error and is never reinterpreted. `command.add_options` adds
the command-line options of such a class, and `command.options_from` builds an instance from the parsed arguments.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pseudolabel.errors import InputError
from pseudolabel.machine import allowed_cores

WORDS = {str: "text", int: "a whole number", float: "a number", bool: "True or False", NoneType: "None"}
DEFAULT_WORK = Path("work")
LONGEST = 80  # characters of a value shown in errors
METADATA = "option"


@dataclass(frozen=True)
class Rule:
    """What a number must satisfy beyond its type."""

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
        help: the help text; the default is appended unless the text says "default:".
        choices: the allowed values; if the option takes several values, each must be one of them.
        parse: converts text to a value if the type alone cannot; raises ValueError with the rule.
        flag: the option's name if it differs from the field's: `--list`; separate several by spaces.
        positional: the argument has no flag.
        empty: an option of several values may be given without any.
        group: heading under which --help lists it.
    """

    help: str = ""
    rule: Rule | None = None
    choices: tuple[str, ...] = ()
    parse: Callable[[str], Any] | None = None
    flag: str | None = None
    metavar: str | tuple[str, ...] | None = None
    positional: bool = False
    empty: bool = False
    group: str = ""


def option(default: Any = MISSING, help: str = "", rule: Rule | None = None, **how: Any) -> Any:
    """Return a dataclass field that is also a command-line option (`Option`); it is required if it has no default.

    Args:
        default: the value, or use `factory=` for a computed one.
    """
    given = {"default_factory": how.pop("factory")} if "factory" in how else {"default": default}
    how["choices"] = tuple(how.get("choices", ()))
    return field(**given, metadata={METADATA: Option(help, rule, **how)})


def nested(kind: type, group: str = "") -> Any:
    """Return a dataclass field that holds another class's options; commands list them as their own."""
    return field(default_factory=kind, metadata={METADATA: Option(group=group)})


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base class of options; every value is checked."""

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True, kw_only=True)
class VerbOptions(Options):
    """Options of every verb."""

    work: Path = option(DEFAULT_WORK, "folder of all default paths")
    overwrite: bool = option(False, "replace an output that exists")
    strict: bool = option(False, "missing or damaged clips are an error, not a list")


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """Options of verbs that run models."""

    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    threads: int = option(
        rule=COUNT,
        factory=allowed_cores,
        help="CPU threads; recorded, since float32 sums depend on it (default: the available cores)",
    )


@dataclass(frozen=True, kw_only=True)
class ListOptions(Options):
    """How a verb reads label lists (`read_labels`)."""

    vocabulary: str | None = option(
        None, "audioset, fsd50k, esc50 or a CSV file (default: vocabulary.csv beside the named files, else audioset)"
    )
    format: str | None = option(None, "form of the label lists that options name (default: detected)", metavar="NAME")
    unknown_labels: str = option(
        "error",
        "labels outside the vocabulary; skip: leave them out, count and name them",
        choices=("error", "skip"),
    )


def check_types(options: object) -> None:
    """Raise InputError if a dataclass field has a value of the wrong type or one that breaks its rule.

    Call it in `__post_init__`: it also replaces lists by tuples and NumPy numbers by Python ones.
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
        _check_values(value, how, place)
        if value is not given:
            object.__setattr__(options, each.name, value)


def _check_values(value: object, how: Option, place: str) -> None:
    """Raise InputError for a value, or any item of a tuple, that is not a choice or breaks the rule; None passes."""
    for each in value if isinstance(value, tuple) else (value,):
        if how.choices and each is not None and each not in how.choices:
            raise InputError(f"no such choice: {each!r}", place, f"Give {' or '.join(how.choices)}.")
        if how.rule and isinstance(each, numbers.Real) and not how.rule.allows(each):
            raise InputError(f"must be {how.rule.words}, not {each!r}", place)


def parse_number(text: str, kind: type, rule: Rule | None) -> float:
    """Return the whole or real number that a text states.

    Raises:
        ValueError: the text is not a number, or breaks the rule.
    """
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or (rule and not rule.allows(value)):
        raise ValueError(f"must be {rule.words if rule else WORDS[kind]}, not {text!r}")
    return value


def name_value(text: str) -> tuple[str, object]:
    """Return the name and value of a text such as `width=0.25`; the value is parsed as JSON if possible, else text.

    Raises:
        ValueError: the text is not NAME=VALUE.
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
    """Return the declared field types of a class."""
    return get_type_hints(kind)


def _shown(value: object) -> str:
    return repr(value) if len(repr(value)) <= LONGEST else f"{repr(value)[:LONGEST]}..."


def _plain(value: object) -> object:
    """Return a value with NumPy scalars as Python ones and lists as tuples."""
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        items = tuple(_plain(item) for item in value)
        return value if isinstance(value, tuple) and all(map(_same, items, value)) else items
    return value.item() if hasattr(value, "dtype") and getattr(value, "shape", None) == () else value


def _same(one: object, other: object) -> bool:
    return one is other


def _fits(value: object, hint: object) -> bool:
    """Return whether a value has a declared type; unsupported types always fit."""
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
    """Return the wording of a declared type in errors."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_words, inner))
    if origin is tuple and inner[1:] == (...,):
        return f"a tuple of {_words(inner[0])}"
    if origin is tuple:
        return f"a tuple ({', '.join(map(_words, inner))})"
    return WORDS.get(hint, f"a {getattr(hint, '__name__', hint)}")


def _remedy(value: object, hint: object) -> str:
    """Return a remedy with the value probably meant: text in a tuple, a number as text, text as a number."""
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
