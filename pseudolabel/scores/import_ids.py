"""The clips of the rows and the classes of the columns of another model's answers, as files beside them name them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pseudolabel.errors import InputError
from pseudolabel.labels.formats import FORMATS, read_label_rows
from pseudolabel.labels.readers import clip_id_of, columns, read_segments
from pseudolabel.labels.vocabulary import BUILT_IN, Vocabulary
from pseudolabel.tables import read_json, text_lines, text_rows


def read_ids(path: str | Path) -> tuple[str, ...]:
    """Return the clip ids in a file: one a line, a CSV file with a column `clip_id`, or a label list of any known form.

    Of names one a line, folder and ending are cut, as in label lists of file names.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", path)
    binary = {".json", ".parquet"} & {suffix.lower() for suffix in path.suffixes}
    rows = () if binary else text_rows(path)
    first = next((fields for _, fields in rows if not fields[0].startswith("# ")), [])  # AudioSet's lists have comments
    if len(first) == 1:
        return distinct(_one_a_line(path), "clip", path)
    if "clip_id" in first:
        picked = columns(text_rows(path), path, ("clip_id",), tuple(first))
        return distinct(((f"{path}:{line}", clip_id) for line, (clip_id, _) in picked), "clip", path)
    rows, known = read_label_rows(path)
    found = [(known.place(path, number), clip_id) for number, clip_id, _ in rows]
    if known.events:  # a row an event
        found = [(str(path), clip_id) for clip_id in dict.fromkeys(clip_id for _, clip_id in found)]
    return distinct(found, "clip", path)


def read_classes(source: str | Path, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the class ids that a file lists, in its order: an id or name a line, JSON, or a vocabulary.

    JSON is a list of names, or {number: name} or {name: number}, as `id2label` and `label2id` of a model's config are.

    A name becomes the id that `vocabulary` gives it.
    """
    path = Path(source)
    if str(source) in BUILT_IN:
        return Vocabulary.load(source).class_ids
    if path.suffix.lower() == ".json":
        named = [(f"{path}, class {number}", name) for number, name in enumerate(_names_in_json(path))]
        return distinct([(place, vocabulary.lookup(name) or name) for place, name in named], "class", path)
    named = [(f"{path}:{number}", line.strip()) for number, line in text_lines(path)]
    first = named[0][1] if named else ""
    if vocabulary.lookup(first) is None and ("," in first or "\t" in first):  # names may have commas
        return Vocabulary.load(path).class_ids
    named = named[first == "class_id" :]
    return distinct([(place, vocabulary.lookup(name) or name) for place, name in named], "class", path)


def _one_a_line(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the clip id of each line, a first line `clip_id` left out."""
    for row, (line, fields) in enumerate(text_rows(path)):
        if len(fields) != 1:
            raise InputError(f"row has {len(fields)} columns, those before it one", f"{path}:{line}",
                             "Give one id a line, or a header with the column clip_id.")  # fmt: skip
        if row or fields[0] != "clip_id":
            yield f"{path}:{line}", clip_id_of(fields[0].strip())


def distinct(found: Iterable[tuple[str, str]], what: str, path: Path) -> tuple[str, ...]:
    """Return the ids of (place, id) pairs; InputError where one is empty or is listed twice, or there is none."""
    first: dict[str, str] = {}
    for place, value in found:
        if not value or "\0" in value:
            raise InputError(f"the {what} id {value!r} is empty or has a NUL", place)
        if value in first:
            raise InputError(f"{what} {value!r} is listed twice, first at {first[value]}", place,
                             "Each must be distinct.")  # fmt: skip
        first[value] = place
    if not first:
        raise InputError(f"names no {what}", path)
    return tuple(first)


def _names_in_json(path: Path) -> list[str]:
    """Return the class names in a JSON file, in the order of their numbers."""
    remedy = "Give a list of names, or numbers and names as in a model's id2label."
    value = read_json(path, remedy)
    if isinstance(value, dict):
        value = value.get("id2label") or value.get("label2id") or value
    if isinstance(value, dict):
        pairs = [(name, number) if isinstance(name, str) else (number, name) for number, name in value.items()]
        numbers = {str(number): name for name, number in pairs}
        value = [numbers.get(str(number)) for number in range(len(value))]
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise InputError("does not name a class for each number from 0 on", path, remedy)
    return value


def listed_lengths(path: str | Path) -> dict[str, float]:
    """Return {clip id: seconds} where the file of clip ids is a list of segments with their times; else nothing."""
    path = Path(path)
    if {".json", ".parquet"} & {suffix.lower() for suffix in path.suffixes}:
        return {}
    rows = (fields for _, fields in text_rows(path) if not fields[0].startswith("# "))
    if not FORMATS["audioset"].looks_like([next(rows, [])]):
        return {}
    return {clip_id: float(end) - float(start) for clip_id, (start, end) in read_segments(path).items()}
