"""Read label lists in JSON, one document or one object a line, and in Parquet."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.cells import (
    CLIPS,
    FILES,
    LABELS,
    OWN,
    Labels,
    Row,
    Source,
    absent_column,
    clip_place,
    heading,
    id_under,
    label_place,
    labels_in,
    places_of,
)
from pseudolabel.labels.text_lists import class_places, is_yes, left_out
from pseudolabel.tables import DAMAGED, LARGEST_JSON, open_text, parse_json, read_json, text_lines

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_ROWS, SAMPLED = 1 << 13, 5  # read at once; looked at to find the columns
AS_JSON = "Is it whole? A missing value is null; a file of one object a line is called .jsonl."
HEAD = 1 << 16  # characters of a JSON file that show its form


def json_form(path: Path) -> str:
    """Return the form of a file that begins as JSON does, `psla`, `json` or `audiofolder-json`; '' if it does not."""
    if {".jsonl", ".ndjson"} & {suffix.lower() for suffix in path.suffixes}:
        return "audiofolder-json"
    head = ""
    with contextlib.suppress(*DAMAGED), open_text(path, LARGEST_JSON, LARGEST_JSON) as file:
        head = file.read(HEAD).lstrip()
    if re.match(r'\{\s*"data"\s*:\s*\[', head):
        return "psla"
    if not head.startswith("{"):
        return "json" if head.startswith("[") else ""
    try:
        first = json.loads(head.splitlines()[0])
    except (ValueError, RecursionError):  # the document goes on
        return "json"
    return "audiofolder-json" if places_of(list(first), CLIPS) else "json"


def read_json_list(source: Source) -> Iterator[Row]:
    """Read a list of objects, alone or under the key `data` as PSLA's code has it, or {clip: object or labels}."""
    content = read_json(source.path, AS_JSON)
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
    if not isinstance(content, dict | list):
        raise InputError("not a JSON list or object", source.path, 'The form is [{"file_name": ..., "labels": ...}].')
    entries = itertools.starmap(_under_its_clip, content.items()) if isinstance(content, dict) else content
    yield from _rows(source, enumerate(entries, 1), lambda number: f"{source.path}, entry {number}")


def _under_its_clip(clip_id: str, entry: object) -> dict:
    """Return what a JSON object has under a clip id as an entry of a list."""
    entry = entry if isinstance(entry, dict) else {"labels": entry}
    return entry if places_of(list(entry), FILES) else {"clip_id": clip_id} | entry


def read_json_lines(source: Source) -> Iterator[Row]:
    """Read one JSON object per line."""
    lines = text_lines(source.path)
    entries = ((line, parse_json(text, source.path, line, "Is the line whole?")) for line, text in lines)
    yield from _rows(source, entries, source.place)


def _rows(source: Source, numbered: Iterator[tuple[int, object]], place: Callable[[int], str]) -> Iterator[Row]:
    """Yield the rows of numbered entries; all must have the keys of clip and labels that the first ones have."""
    first = list(itertools.islice(numbered, SAMPLED))
    if not first:
        return
    keys = _keys(source, [entry for _, entry in first], place(first[0][0]))
    for number, entry in itertools.chain(first, numbered):
        yield number, *_row(source, entry, keys, place(number))


def read_parquet(source: Source) -> Iterator[Row]:
    """Read a column of clips and one of labels: texts, lists of texts, or class numbers, named where the file does."""
    from pseudolabel.labels.parquet import open_parquet, parquet_batches, readable

    number, keys = 0, ()
    with readable(source.path), open_parquet(source.path) as file:
        columns, schema = _readable_columns(file.schema_arrow), file.schema_arrow
        if not places_of([column.partition(".")[0] for column in columns], CLIPS):
            raise absent_column("clip_id", schema.names, source.path)
        first = next(parquet_batches(file, source.path, columns, SAMPLED), None)
        entries = first.to_pylist() if first is not None else [dict.fromkeys(schema.names)]
        entries = [{key: _decoded(entry[key], key, source.path, 1) for key in entry} for entry in entries]
        entries = _without_empty_texts(entries, schema)
        keys = _keys(source, entries, source.path, schema.names)
        names = {key: _class_names(schema, key) for key in keys.labels if not keys.multi_hot}
        wanted = [column for column in columns if column.partition(".")[0] in (keys.clip, *keys.labels)]
        for batch in parquet_batches(file, source.path, wanted, PARQUET_ROWS):
            for entry in batch.to_pylist():
                number += 1
                entry = {key: _decoded(value, key, source.path, number) for key, value in entry.items()}
                entry |= {key: _named(entry[key], of_class) for key, of_class in names.items() if of_class}
                yield number, *_row(source, entry, keys, f"{source.path}, row {number}")


def _readable_columns(schema: pa.Schema) -> list[str]:
    """Return the columns under headings of clips and labels; of recordings, their paths alone.

    Without a column of labels, also those of numbers and texts: each may be a class.
    """
    import pyarrow as pa

    from pseudolabel.labels.parquet import is_binary

    columns = []
    if not places_of(schema.names, LABELS):
        texts = pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_dictionary
        cells = [each for each in schema if any(is_kind(each.type) for is_kind in (pa.types.is_primitive, *texts))]
        columns = [each.name for each in cells if heading(each.name) not in CLIPS]
    for each in schema:
        if heading(each.name) in CLIPS and pa.types.is_struct(each.type):
            columns += [f"{each.name}.path"] * (each.type.get_field_index("path") >= 0)
        elif heading(each.name) in CLIPS + LABELS and (heading(each.name) == OWN or not is_binary(each.type)):
            columns.append(each.name)
    for choices in (CLIPS, LABELS):  # texts written as bytes, unless others have these headings
        if not places_of([column.partition(".")[0] for column in columns], choices):
            columns += [each.name for each in schema if heading(each.name) in choices and is_binary(each.type)]
    return columns


def _without_empty_texts(entries: list[dict], schema: pa.Schema) -> list[dict]:
    """Return the first rows without columns of texts that are all empty: nothing says that these are classes."""
    import pyarrow as pa

    numbers = [each.name for each in schema if pa.types.is_primitive(each.type)]
    kept = [
        name
        for name in entries[0]
        if name in numbers or heading(name) in CLIPS + LABELS or any(_text(entry[name]) for entry in entries)
    ]
    return [{name: entry[name] for name in kept} for entry in entries]


def _decoded(value: object, column: str, path: Path, row: int) -> object:
    """Return texts that were written as bytes as texts."""
    if isinstance(value, list):
        return [_decoded(item, column, path, row) for item in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        message = f"the column {column!r} is binary, and not UTF-8 text"
        raise InputError(message, f"{path}, row {row}", "Save clips and labels as texts.") from error


def _class_names(schema: pa.Schema, column: str) -> list[str]:
    """Return the names of class numbers that the `datasets` library keeps in a file; empty if there are none."""
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
        feature = json.loads(schema.metadata[b"huggingface"])["info"]["features"][column]
        names = (feature.get("feature") or feature)["names"]
        return [str(name) for name in names]
    return []


def _named(labels: object, names: Sequence[str]) -> object:
    """Return class numbers as their names."""
    if isinstance(labels, list):
        return [_named(label, names) for label in labels]
    return names[labels] if type(labels) is int and 0 <= labels < len(names) else labels


# ---- entries ----------------------------------------------------------------------------------------------------


class Keys(NamedTuple):
    """The keys of clip and labels in an entry: one of labels, one for each class, or none where no labels are read.

    `all` has every key of the first entries, where labels are classes.
    """

    clip: str
    labels: tuple[str, ...]
    multi_hot: bool = False
    all: frozenset[str] = frozenset()


def _keys(source: Source, entries: Sequence[dict], place: object, columns: Sequence[str] = ()) -> Keys:
    """Return the keys of clip and labels, judged by the first entries; errors name `columns`, or else all keys."""
    if not isinstance(entries[0], dict):
        raise InputError("not a JSON object", place, 'Entries are {"file_name": ..., "labels": ...}.')
    entries = [entry for entry in entries if isinstance(entry, dict)]
    names = list(dict.fromkeys(itertools.chain.from_iterable(entries)))
    rows = enumerate([names, *([_text(entry.get(name)) for name in names] for entry in entries)])
    probe = Source(place, rows, source.clips_only)
    clip, has_labels = names[clip_place(probe, names)], bool(places_of(names, LABELS))
    classes = () if has_labels or source.clips_only else class_places(probe.peek())
    if has_labels:
        keys = Keys(clip, (names[label_place(probe, names)],))
    elif classes or source.clips_only:
        keys = Keys(clip, tuple(names[place] for place in classes), bool(classes), frozenset(names if classes else ()))
        left_out(probe, columns or names, keys.labels)
    else:
        raise absent_column("labels", columns or names, place)
    source.remarks += probe.remarks
    return keys


def _row(source: Source, entry: object, keys: Keys, place: str) -> tuple[str, Labels]:
    """Return the clip id and labels of an entry; the labels are a text, a number, a list of either, or null."""
    if not isinstance(entry, dict):
        raise InputError("not a JSON object", place, 'Entries are {"file_name": ..., "labels": ...}.')
    if absent := next((key for key in (keys.clip, *keys.labels) if key not in entry), None):
        message = f"key {absent!r} is missing; keys found: {', '.join(entry)}"
        needed = f"{keys.clip} and {first_few(keys.labels)}" if keys.labels else keys.clip
        zero = " Write 0 where the clip lacks the class." if keys.multi_hot else ""
        raise InputError(message, place, f"Every entry needs {needed}.{zero}")
    if keys.multi_hot and (other := next((key for key in entry if key not in keys.all), None)):
        message = f"key {other!r} is not in the first entries, which have {first_few(keys.labels)}"
        raise InputError(message, place, "Give every entry all classes: 0 where the clip lacks the class.")
    name = entry[keys.clip]
    name = name.get("path") if isinstance(name, dict) else name
    labels = _labels(entry, keys, place)
    name = str(name) if type(name) is int else name
    items = labels if isinstance(labels, list) else [] if labels is None else [labels]
    if not isinstance(name, str) or not all(isinstance(item, str) or type(item) is int for item in items):
        raise InputError("clips and labels must be texts", place, "Write them as texts or lists of texts.")
    clip_id = source.clip_id(name, id_under(keys.clip))
    return clip_id, labels_in(labels) if isinstance(labels, str) else tuple(map(str, items))


def _labels(entry: dict, keys: Keys, place: str) -> object:
    """Return the labels of an entry as they are written, or the classes whose value is 1."""
    if keys.multi_hot:
        return [title for title in keys.labels if is_yes(_text(entry[title]), title, place)]
    return entry[keys.labels[0]] if keys.labels else None


def _text(value: object) -> str:
    """Return a value as a cell: a recording by its path."""
    return str(value.get("path") or "" if isinstance(value, dict) else "" if value is None else value)
