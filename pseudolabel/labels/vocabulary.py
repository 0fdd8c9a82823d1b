"""Vocabulary: the classes of a task, in the column order of every matrix."""

from __future__ import annotations

import importlib.resources
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pseudolabel.artefacts import write_csv
from pseudolabel.errors import InputError, UnknownClass, nearest
from pseudolabel.formatting import plural
from pseudolabel.tables import ODD, Fields, is_file, read_csv, read_json, text_lines, text_rows

BUILT_IN = ("audioset", "fsd50k", "esc50")


@dataclass(frozen=True)
class Vocabulary:
    """The K classes of a task; vocabularies are equal if their classes are, whatever their names.

    Args:
        name: the name of the vocabulary, or of its file.
        class_ids: (K,) distinct ids; labels, scores and ledgers are keyed by them.
        names: (K,) display names, distinct ignoring case.
        ontology_ids: (K,) ontology node of each class, '' if it has none.
        source: the file with its folder, for messages; '' if it was not read from one.
    """

    name: str = field(compare=False)
    class_ids: tuple[str, ...]
    names: tuple[str, ...]
    ontology_ids: tuple[str, ...]
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.class_ids:
            raise InputError("a vocabulary needs at least one class", self.place)
        if not len(self.class_ids) == len(self.names) == len(self.ontology_ids):
            raise InputError("class_ids, names and ontology_ids differ in length", self.place)
        for class_id in self.class_ids:
            if not class_id or ";" in class_id or class_id != class_id.strip():
                raise InputError(f"class id {class_id!r} is empty, has a `;` or outer spaces", self.place)
        for text in (*self.class_ids, *self.names, *self.ontology_ids):
            if ODD.search(text):
                raise InputError(f"{text!r} has a line break or another character that no table holds", self.place)
        _refuse_repeated(self.class_ids, "class id", self.place)
        _refuse_repeated([name.casefold() for name in self.names], "class name", self.place)
        _refuse_repeated([node for node in self.ontology_ids if node], "ontology id", self.place)

    @classmethod
    def load(cls, source: str | Path) -> Vocabulary:
        """Return `audioset` (527 classes), `fsd50k` (200), `esc50` (50), or the vocabulary in a CSV file.

        The file has the columns `class_id,name` and optionally `ontology_id`, which defaults to the class id. FSD50K's
        class ids are AudioSet ids; ESC-50's are its category names, and only categories that match an AudioSet class
        exactly have an ontology id. Also accepted: FSD50K's vocabulary.csv, AudioSet's class_labels_indices.csv, in the
        order of its numbers, and mid_to_display_name.tsv, a text file with one class per line, and JSON as
        `names_in_json` reads it.
        """
        if str(source) == "audioset":
            rows = [row for row in read_csv(table_path("audioset.csv")) if row["index"]]
            rows.sort(key=lambda row: int(row["index"]))
            entries = [(row["class_id"], row["name"], row["class_id"]) for row in rows]
        elif str(source) == "fsd50k":
            rows = read_csv(table_path("fsd50k.csv"))
            entries = [(row["class_id"], row["name"], row["class_id"]) for row in rows]
        elif str(source) == "esc50":
            rows = read_csv(table_path("esc50.csv"))
            nodes = [row["audioset_id"] if row["relation"] == "exact" else "" for row in rows]
            entries = [(row["category"], row["category"], node) for row, node in zip(rows, nodes, strict=True)]
        elif is_file(source) and (published := _published_classes(Path(source))):
            entries = [(class_id, name, class_id) for class_id, name in published]
        elif is_file(source) and (names := _class_names(Path(source))):
            entries = _named_entries(names)
        elif is_file(source):
            rows = read_csv(source, required=("class_id", "name"))
            entries = [(row["class_id"], row["name"], row.get("ontology_id", row["class_id"])) for row in rows]
        else:
            built_in = ", ".join(BUILT_IN)
            raise InputError(
                f"no vocabulary {str(source)!r}", "",
                f"Give {built_in}, a CSV file with the columns class_id,name, or a text file with one class a line.",
            )  # fmt: skip
        if not entries:
            raise InputError("the vocabulary has no classes", source)
        name, place = (str(source), "") if str(source) in BUILT_IN else (Path(source).name, str(source))
        return cls(name, *(tuple(column) for column in zip(*entries, strict=True)), source=place)

    @classmethod
    def of(cls, vocabulary: Vocabulary | str | Path) -> Vocabulary:
        """Return a vocabulary given as an object, by name or by file."""
        if isinstance(vocabulary, Vocabulary):
            return vocabulary
        if not isinstance(vocabulary, str | Path):
            message = f"expected a vocabulary, not {type(vocabulary).__name__} {vocabulary!r}"
            raise InputError(message, "", f"Give a Vocabulary, its CSV file, or {', '.join(BUILT_IN)}.")
        return cls.load(vocabulary)

    def write(self, path: str | Path, overwrite: bool = True) -> None:
        """Write a CSV file from which `load` reads an equal vocabulary."""
        rows = zip(self.class_ids, self.names, self.ontology_ids, strict=True)
        write_csv(path, ("class_id", "name", "ontology_id"), rows, overwrite)

    def __len__(self) -> int:
        return len(self.class_ids)

    def __repr__(self) -> str:
        return f"<Vocabulary {self.place}: {plural(len(self), 'class')}>"

    @property
    def place(self) -> str:
        """Where the vocabulary comes from: its file, else its name."""
        return self.source or self.name

    @property
    def title(self) -> str:
        """What messages call the vocabulary: its file, else its name in quotes."""
        return self.source or repr(self.name)

    @cached_property
    def index(self) -> dict[str, int]:
        """Column of each class id."""
        return {class_id: column for column, class_id in enumerate(self.class_ids)}

    @cached_property
    def _by_name(self) -> dict[str, str]:
        return {name.casefold(): class_id for name, class_id in zip(self.names, self.class_ids, strict=True)}

    @cached_property
    def _by_ontology_id(self) -> dict[str, str]:
        return {node: class_id for node, class_id in zip(self.ontology_ids, self.class_ids, strict=True) if node}

    @cached_property
    def _by_spelling(self) -> dict[str, str]:
        """Class ids by names as spelled in file names, without spellings that two classes share."""
        spelled: dict[str, set[str]] = {}
        for name, class_id in zip(self.names, self.class_ids, strict=True):
            for word in ("and", "or"):
                spelled.setdefault(_spelling(name, word), set()).add(class_id)
        return {spelling: class_ids.pop() for spelling, class_ids in spelled.items() if len(class_ids) == 1}

    @cached_property
    def most_pieces(self) -> dict[str, int]:
        """For each label separator, the most pieces into which it divides a name, however commas are spelled."""
        words = [sum(map(_spelling(name, "and").count, (" and ", " or "))) for name in self.names]
        return {mark: 1 + max(name.count(mark) + n for name, n in zip(self.names, words, strict=True)) for mark in ";,"}

    def lookup(self, text: str) -> str | None:
        """Return the id of the class whose id, else whose name or ontology id, is `text`; None if there is none.

        Names match in any case, and with `_` for spaces and `_and_` or `_or_` for commas, as the Freesound data sets
        write AudioSet's names.
        """
        if text in self.index:
            return text
        named = self._by_name.get(text.casefold()) or self._by_spelling.get(_spelling(text, "and"))
        return named or self._by_ontology_id.get(text)

    def own_ids(self, class_ids: Iterable[str]) -> tuple[str, ...]:
        """Return class ids of another file as this vocabulary writes them: by id, by name, else by ontology node.

        Texts that are none of these classes stay, and so do two texts that mean one class.
        """
        texts = tuple(class_ids)
        found = [self.lookup(text) or text for text in texts]
        times = Counter(found)
        return tuple(own if times[own] == 1 else text for own, text in zip(found, texts, strict=True))

    def find(self, text: str, place: object = "") -> str:
        """Return `lookup(text)`; UnknownClass, with the nearest class and `place`, if there is no such class."""
        class_id = self.lookup(text)
        if class_id is None:
            raise self.unknown(text, place)
        return class_id

    def unknown(self, text: str, place: object = "", remedy: str = "") -> UnknownClass:
        """Return the error for a text that is not a class; it names the nearest class."""
        message = f"class {text!r} is not in the vocabulary {self.title} ({len(self)} classes)"
        near = nearest(text, self.class_ids) or self._by_name.get(nearest(text.casefold(), self._by_name), "")
        if near:
            message += f"; nearest: {near!r} ({self.names[self.index[near]]})"
        remedy = remedy or "Correct the label, or give the --vocabulary that it was written with."
        return UnknownClass(message, place, remedy)

    def subset(self, class_ids: Iterable[str]) -> Vocabulary:
        """Return a vocabulary of the given classes only, in this vocabulary's order."""
        wanted = set(class_ids)
        for class_id in sorted(wanted - self.index.keys()):
            raise self.unknown(class_id)
        kept = [column for column, class_id in enumerate(self.class_ids) if class_id in wanted]
        columns = (self.class_ids, self.names, self.ontology_ids)
        return Vocabulary(self.name, *(tuple(column[k] for k in kept) for column in columns), source=self.source)


def table_path(name: str) -> Path:
    """Return the path of the ontology table `name` (`audioset.csv`, ...), in the installed package or the checkout."""
    try:
        path = Path(str(importlib.resources.files("pseudolabel.ontology_data").joinpath(name)))
    except ModuleNotFoundError:
        path = Path(__file__).resolve().parents[2] / "ontology" / name
    if not path.is_file():
        raise InputError(f"the ontology table {name!r} is missing", path, "Install the package again.")
    return path


def built_in_with(text: str, other_than: str) -> str:
    """Return the built-in vocabulary that has this class, '' if none or several have it."""
    names = [name for name in BUILT_IN if name != other_than and Vocabulary.load(name).lookup(text) is not None]
    return names[0] if len(names) == 1 else ""


def _spelling(name: str, word: str) -> str:
    """Return a name in lower case, with spaces for `_` and `word` for commas."""
    words = name.casefold().replace("_", " ")
    return words.replace(f", {word} ", f" {word} ").replace(", ", f" {word} ")


def _published_classes(path: Path) -> list[tuple[str, str]]:
    """Return (class id, name) pairs of a published list of classes; empty if the file is not one."""
    first = next((text.strip() for _, text in text_lines(path)), "")
    if first == "index,mid,display_name":
        width, order, rows = 3, (1, 2), _rows(path)[1:]
    elif re.fullmatch(r"0,[^,]+,/[mtg]/[^,]+", first):
        width, order, rows = 3, (2, 1), _rows(path)
    elif re.fullmatch(r"/[mtg]/[^\t]+\t[^\t]+", first):
        width, order, rows = 2, (0, 1), _rows(path, quoted=False)
    else:
        return []
    for line, fields in rows:
        if len(fields) != width:
            raise InputError(f"row has {len(fields)} columns, not {width}", f"{path}:{line}")
    if width == 3:
        rows = _by_number(rows, path)
    return [(fields[order[0]], fields[order[1]]) for _, fields in rows]


def _by_number(rows: list[Fields], path: Path) -> list[Fields]:
    """Return rows in the order of the class numbers in their first field; InputError if these are not 0 to K-1."""
    place_of = {str(number): None for number in range(len(rows))}
    for line, fields in rows:
        if place_of.get(fields[0], line) is not None:
            message = f"class number {fields[0]!r} is {'listed twice' if fields[0] in place_of else 'not one of them'}"
            raise InputError(
                message, f"{path}:{line}", f"Number the {len(rows)} classes 0 to {len(rows) - 1}, each once."
            )
        place_of[fields[0]] = line
    return sorted(rows, key=lambda row: int(row[1][0]))


def _class_names(path: Path) -> list[str]:
    """Return the classes of a JSON file, or of a text file with one per line; empty if the file is a table."""
    if any(suffix.lower() == ".json" for suffix in path.suffixes):
        return names_in_json(path)
    endings = {suffix.lower() for suffix in path.suffixes}
    lines = [(line, [text.strip()]) for line, text in text_lines(path)]
    first = lines[0][1][0] if lines else ""
    is_table = any(mark in first for mark in ",;\t")
    if is_table and (".txt" not in endings or {"class_id", "name"} & set(re.split("[,;\t]", first))):
        return []  # in a .txt file, a name may have commas
    rows = _rows(path) if endings & {".csv", ".tsv"} else lines
    if rows is not lines and len(rows) == 1:
        return []  # a heading
    for line, fields in rows:
        if len(fields) > 1 or "\t" in fields[0]:
            remedy = "Give the header class_id,name, or one class a line in a .txt file."
            raise InputError("row has several columns, the first line one", f"{path}:{line}", remedy)
    names = [fields[0].strip() for _, fields in rows]
    return names[names[:1] == ["class_id"] :]


def names_in_json(path: Path) -> list[str]:
    """Return the class names in a JSON file, in the order of their numbers.

    It holds a list of names, {number: name} or {name: number}, alone or as a model's config has them (`id2label`).
    """
    remedy = "Give a list of names, or numbers and names as in a model's id2label."
    value = read_json(path, remedy)
    if isinstance(value, dict):
        value = value.get("id2label") or value.get("label2id") or value
    if isinstance(value, dict):
        by_number = all(key.isdecimal() for key in value)
        numbers = value if by_number else {str(number): name for name, number in value.items()}
        value = [numbers.get(str(number)) for number in range(len(value))]
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise InputError("does not name a class for each number from 0 on", path, remedy)
    return value


def _named_entries(names: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return (class id, name, ontology id) of classes given by one text each: AudioSet's id or name, or another."""
    audioset = Vocabulary.load("audioset")
    name_of = dict(zip(audioset.class_ids, audioset.names, strict=True))
    return [(text, name_of.get(text, text), audioset.lookup(text) or text) for text in names]


def _rows(path: Path, quoted: bool = True) -> list[Fields]:
    return [(line, fields) for line, fields in text_rows(path, quoted) if any(map(str.strip, fields))]


def _refuse_repeated(values: Iterable[str], what: str, place: str) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise InputError(f"{what} {value!r} is listed twice", place, "Each must be distinct.")
        seen.add(value)
