"""Dataclasses that are read from JSON and check the types of all their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin

from pseudolabel.errors import InputError, first_few, nearest
from pseudolabel.options import check_types, type_hints

Kind = TypeVar("Kind")


class Typed:
    """A dataclass that checks the types of its fields; nested values may be given as JSON objects."""

    def __post_init__(self) -> None:
        for name, hint in type_hints(type(self)).items():
            object.__setattr__(self, name, _nested(getattr(self, name), hint, name))
        check_types(self)


def _nested(value: Any, hint: Any, place: str) -> Any:
    """Return a value with each JSON object in it turned into the dataclass that the type hint names."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_nested(item, inner[0], f"{place}[{number}]") for number, item in enumerate(value))
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _nested(item, inner[1], f"{place}.{key}") for key, item in value.items()}
    kind = next((each for each in (hint, *inner) if is_dataclass(each)), None)
    return value if kind is None or origin in (tuple, Mapping) or value is None else typed(kind, value, place)


def typed(kind: type[Kind], row: object, place: str, separator: str = ".") -> Kind:
    """Return an object of run.json as a dataclass.

    Raises:
        InputError: a key is missing or unknown, or a value has the wrong type.
    """
    if isinstance(row, kind):
        return row
    row, columns = mapping(row, place), fields(kind)
    absent = [c.name for c in columns if c.default is c.default_factory is MISSING and c.name not in row]
    if absent:
        raise InputError(f"{first_few(absent)} is missing", place)
    names = [column.name for column in columns]
    if unknown := [key for key in row if key not in names]:
        raise InputError(f"unknown key {unknown[0]!r}; nearest: {nearest(unknown[0], names)!r}", place)
    try:
        return kind(**row)
    except InputError as error:
        inside = error.place.removeprefix(f"{kind.__name__}.")
        remedy = error.remedy if inside == error.place else ""  # the remedy of `check_types` is for callers
        raise InputError(error.message, f"{place}{separator}{inside}", remedy) from error


def mapping(row: object, place: str) -> Mapping[str, Any]:
    """Return an object of run.json; InputError if it is another value."""
    if not isinstance(row, Mapping):
        raise InputError(f"is {type(row).__name__}, not a table of names and values", place)
    return row
