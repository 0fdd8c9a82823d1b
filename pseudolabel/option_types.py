"""Types of options: a dataclass of options takes what it declares, and nothing that would mean something else."""

from __future__ import annotations

import numbers
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Union, get_args, get_origin, get_type_hints

from pseudolabel.errors import InputError

WORDS = {str: "text", int: "a whole number", float: "a number", bool: "True or False", NoneType: "None"}
LONGEST = 80  # characters of a value that are shown


def check_types(options: object, **choices: tuple[str, ...]) -> None:
    """Raise InputError where a field of a dataclass has a value of another type than it declares.

    A list is taken as a tuple, a number of NumPy as one of Python; the field then holds that. For `__post_init__`.

    Args:
        choices: the values that fields of text may have.
    """
    for field in fields(options):
        place, hint = f"{type(options).__name__}.{field.name}", _hints(type(options))[field.name]
        given = getattr(options, field.name)
        value = _plain(given)
        if not _fits(value, hint):
            remedy = _remedy(value, hint) if len(repr(given)) <= LONGEST else ""
            raise InputError(f"must be {_words(hint)}, not {_shown(given)}", place, remedy)
        allowed = choices.get(field.name)
        if allowed and value is not None and value not in allowed:
            raise InputError(f"no such choice: {value!r}", place, f"Give {' or '.join(allowed)}.")
        if value is not given:
            object.__setattr__(options, field.name, value)


def _shown(value: object) -> str:
    return repr(value) if len(repr(value)) <= LONGEST else f"{repr(value)[:LONGEST]}..."


@cache
def _hints(kind: type) -> dict[str, object]:
    return get_type_hints(kind)


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
