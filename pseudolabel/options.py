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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from functools import cache
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pseudolabel.errors import LONGEST_VALUE, InputError, shown
from pseudolabel.machine import allowed_cores
from pseudolabel.ownership import refuse_place

WORDS = {str: "text", int: "a whole number", float: "a number", bool: "True or False", NoneType: "None"}
MOST = 10**9  # of a number without another limit: beyond it, counts overflow and no memory suffices
METADATA = "option"
# Fields that name label lists, in any class of options.
LISTS = "labels|lists|list|labels_set|truth|train_labels|thresholds_from|balanced|validation|eval|events"


class DefaultFolder(type(Path())):
    """The work folder if none is named, also in copies: it gives way to that of named files (`cli.base`)."""


DEFAULT_WORK = DefaultFolder("work")


@dataclass(frozen=True)
class Rule:
    """What a number must satisfy beyond its type."""

    words: str
    allows: Callable[[float], bool]
    most: float = MOST

    def up_to(self, most: float) -> Rule:
        """Return this rule with another upper limit."""
        return replace(self, most=most)

    def broken_by(self, value: float) -> str:
        """Return what a number must be and is not; an empty string if it satisfies the rule."""
        if not self.allows(value):
            return f"must be {self.words}"
        return f"must be at most {self.most:,}" if value > self.most else ""


COUNT = Rule("a whole number of at least 1", lambda value: value >= 1)
WHOLE = Rule("a whole number of at least 0", lambda value: value >= 0)
POSITIVE = Rule("a number above 0", lambda value: 0 < value < math.inf)
NON_NEGATIVE = Rule("a number of at least 0", lambda value: 0 <= value < math.inf)
SHARE = Rule("a number in [0, 1]", lambda value: 0 <= value <= 1)
SEED = WHOLE.up_to(2**32 - 1)  # what every random number generator takes
PROCESSES = COUNT.up_to(1024)  # or threads
SAMPLE_RATE = Rule("a whole number of at least 1000", lambda value: value >= 1000).up_to(768_000)  # Hz
SECONDS, SECONDS_OR_NONE = POSITIVE.up_to(86_400), NON_NEGATIVE.up_to(86_400)  # up to a day


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
        needs: the field without which this one has no effect; `name=value`: unless it has, or includes, this value;
            `!name`: if it is given. `a|b`: one of them is needed; `a,b`: both are.
        file: path in WORK of what is read if this option does not name it; the help states it.
        hidden: fields of a nested class that --help does not list.
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
    needs: str = ""
    file: str = ""
    hidden: tuple[str, ...] = ()
    group: str = ""


def option(default: Any = MISSING, help: str = "", rule: Rule | None = None, **how: Any) -> Any:
    """Return a dataclass field that is also a command-line option (`Option`); it is required if it has no default.

    Args:
        default: the value, or use `factory=` for a computed one.
    """
    given = {"default_factory": how.pop("factory")} if "factory" in how else {"default": default}
    how["choices"] = tuple(how.get("choices", ()))
    return field(**given, metadata={METADATA: Option(help, rule, **how)})


def nested(kind: type, group: str = "", hidden: Sequence[str] = ()) -> Any:
    """Return a dataclass field that holds another class's options; commands list them as their own."""
    return field(default_factory=kind, metadata={METADATA: Option(group=group, hidden=tuple(hidden))})


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

    def __post_init__(self) -> None:
        super().__post_init__()
        if out := getattr(self, "out", None):
            refuse_place(Path(out))


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """Options of verbs that run models."""

    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    threads: int = option(
        rule=PROCESSES,
        factory=allowed_cores,
        help="CPU threads; recorded, since float32 sums depend on it (default: the available cores)",
    )


@dataclass(frozen=True, kw_only=True)
class ListOptions(Options):
    """How a verb reads label lists (`read_labels`)."""

    vocabulary: str | None = option(
        None, "audioset, fsd50k, esc50 or a CSV file (default: vocabulary.csv beside the named files, else audioset)"
    )
    format: str | None = option(
        None,
        "form of the label lists that options name (default: detected)",
        metavar="NAME",
        needs=LISTS,
    )
    classes: str | None = option(
        None,
        "what class numbers in these lists mean: audioset ... or a file with one class a line (default: AudioSet's "
        "order, for its classes)",
        metavar="LIST",
        needs=LISTS,
    )
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
            remedy = _remedy(value, hint) if len(repr(given)) <= LONGEST_VALUE else ""
            raise InputError(f"must be {_words(hint)}, not {shown(given)}", place, remedy)
        how = each.metadata.get(METADATA, Option())
        if value == () != each.default and METADATA in each.metadata and not how.empty:
            raise InputError("must have at least one value", place, "Leave it out for the usual ones.")
        _check_values(value, how, place)
        if value is not given:
            object.__setattr__(options, each.name, value)
    dependent = (each for each in fields(options) if each.metadata.get(METADATA, Option()).needs)
    refuse_without_effect(options, (each.name for each in dependent if getattr(options, each.name) != each.default))


def _check_values(value: object, how: Option, place: str) -> None:
    """Raise InputError for a value, or any item of a tuple, that breaks its rule or is not a choice; None passes."""
    for each in value if isinstance(value, tuple) else (value,):
        if how.choices and each is not None and each not in how.choices:
            raise InputError(f"no such choice: {shown(each)}", place, f"Give {' or '.join(how.choices)}.")
        if how.rule and isinstance(each, numbers.Real) and (rule := how.rule.broken_by(each)):
            raise InputError(f"{rule}, not {shown(each)}", place)
        if isinstance(each, str | PurePath) and (rule := odd_text(str(each))):
            raise InputError(f"{rule}, not {shown(str(each))}", place, "Rename it.")


def flags_of(each: Field) -> list[str]:
    """Return the flags of the option that a dataclass field declares."""
    return (each.metadata[METADATA].flag or "--" + each.name.replace("_", "-")).split()


def refuse_without_effect(options: object, given: Iterable[str]) -> None:
    """Raise InputError if one of the given fields has no effect, for lack of what it needs (`Option.needs`)."""
    declared = {each.name: each for each in fields(options)}
    for name in given:
        conditions = declared[name].metadata.get(METADATA, Option()).needs.split(",")
        for wanted in (condition.split("|") for condition in conditions if condition):
            there = [each for each in wanted if each.strip("!").partition("=")[0] in declared]
            if not there or any(_holds(options, each) for each in there):
                continue
            needed, _, value = there[0].strip("!").partition("=")
            other = f"{flags_of(declared[needed])[0]} {value}".rstrip()
            without, remedy = "without", f"Give {other} too, or leave it out."
            if there[0].startswith("!"):
                without, remedy = "with", "Leave one out."
            raise InputError(f"has no effect {without} {other}", flags_of(declared[name])[0], remedy)


def _holds(options: object, condition: str) -> bool:
    name, _, wanted = condition.strip("!").partition("=")
    value = getattr(options, name)
    if wanted:
        return wanted in value if isinstance(value, tuple) else str(value) == wanted
    return (value not in (None, False, (), 0)) != condition.startswith("!")


def odd_text(text: str) -> str:
    """Return why a text can be neither a name nor a path; an empty string if it can."""
    if "\0" in text:
        return "must not have a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must be UTF-8 text"
    return ""


def parse_text(text: str) -> str:
    """Return a text that is not empty.

    Raises:
        ValueError: it is empty, or not UTF-8.
    """
    rule = odd_text(text) or ("" if text.strip() else "must not be empty")
    if rule:
        raise ValueError(f"{rule}, not {shown(text)}" if text.strip() else rule)
    return text


def parse_number(text: str, kind: type, rule: Rule | None) -> float:
    """Return the whole or real number that a text states.

    Raises:
        ValueError: the text is not a number, or breaks the rule.
    """
    try:
        value = kind(text)
    except ValueError:
        value = None
    words = f"must be {rule.words if rule else WORDS[kind]}" if value is None else rule and rule.broken_by(value)
    if words:
        raise ValueError(f"{words}, not {shown(text)}")
    return value


def name_value(text: str) -> tuple[str, object]:
    """Return the name and value of a text such as `width=0.25`; the value is parsed as JSON if possible, else text.

    Raises:
        ValueError: the text is not NAME=VALUE.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"must be NAME=VALUE, not {shown(text)}")
    try:
        return name, json.loads(value if not value.startswith(".") else f"0{value}")
    except json.JSONDecodeError:
        return name, value


@cache
def type_hints(kind: type) -> dict[str, Any]:
    """Return the declared field types of a class."""
    return get_type_hints(kind)


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
    """Return a remedy with the value probably meant: text in a tuple or as a path, a number as text, text as one."""
    meant = _meant(value, hint)
    return f"Give {meant}." if meant else ""


def _meant(value: object, hint: object) -> str:
    inner = [each for each in get_args(hint) if each is not NoneType]
    if get_origin(hint) is tuple and inner[1:] == [...]:
        if not isinstance(value, tuple):
            one = repr(value) if _fits(value, inner[0]) else _meant(value, inner[0])
            return f"({one},)" if one else ""
        items = [repr(each) if _fits(each, inner[0]) else _meant(each, inner[0]) for each in value]
        return f"({', '.join(items)}{',' * (len(items) == 1)})" if all(items) else ""
    if isinstance(value, str) and Path in (hint, *inner):
        return f"Path({value!r})"
    if hint is str and not isinstance(value, bool) and isinstance(value, numbers.Real):
        return repr(str(value))
    for kind in (int, float):
        if isinstance(value, str) and kind in (hint, *inner):
            try:
                return repr(kind(value))
            except ValueError:
                continue
    return repr(str(value)) if hint is str and hasattr(value, "__fspath__") else ""
