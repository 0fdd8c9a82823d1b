"""Facts: what the documents of a release say, gathered once and kept in its run.json.

Every document is a pure function of these facts. So a card is true where it has the same bytes when made again from
the facts in run.json, and these agree with the files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from typing import Any

from pseudolabel.errors import InputError, first_few, nearest

FORMAT, FORMAT_VERSION = "pseudolabel-release", 1
REQUIRED = ("name", "title", "rule", "counts", "by_class", "files")
COUNTS = ("clips", "clips_changed", "clips_without_scores", "classes", "labels_before", "labels_after")
TEXTS = ("name", "title", "version", "released", "licence", "source", "url", "pseudolabel", "wav")
ROWS = ("by_class", "files", "documents", "authors", "weak_classes", "inputs")
RULE = {  # the kinds of what decided; None: nothing
    "threshold": (str, float, None), "errors": (list, tuple), "adds": (Mapping,), "min_positives": (int,),
    "floor": (float,), "rounds": (int, str), "evidence": (str, None), "profile": (str,), "threshold_file": (str,),
    "type1": (str,), "type2": (str,), "labels_left_out": (Mapping,), "reviewed": (Mapping,),
}  # fmt: skip
TEACHER = dict.fromkeys(("name", "sha256", "trained_on_sha256", "labels_sha256", "scores_sha256"), (str, None))
TEACHER |= {"trained_on_clips": (int, None), "front_end": (Mapping, list, str, None), "precision": (str, None)}
FIGURES = ("classes_touched", "labels_added")  # of `added` and of each type; `added_percent` may be None
BY_CLASS = ("class_id", "name", "before", "added", "after")
OF_FILE = ("name", "description", "encodingFormat", "bytes", "sha256")
OF_DOCUMENT = ("name", "bytes", "sha256")
WEAK = ("class_id", "name", "why")
OVERALL = ("precision", "low", "high", "judged")


@dataclass(frozen=True)
class Facts:
    """What a release says of itself. All values are plain: texts, numbers, None, and dicts and tuples of these.

    Args:
        name: id of the release and its folder, letters, digits, `.`, `_`, `-`: `audioset-balanced-enhanced-25p`.
        title: one line for people.
        version: three numbers, `1.0.0`.
        released: day of the release, `2026-01-31`, or "" where nobody gave one.
        licence: SPDX id of the labels.
        source: the data set that the labels come from: AudioSet, FSD50K, ESC-50, or "" for another.
        url: where the release will be, or "".
        authors: persons (`Family, Given`) or groups (without a comma) who made the release; empty where nobody was
            named.
        rule: options of the enhancement: `threshold`, `errors`, `adds` {type: what it looks for, in words},
            `min_positives`, `floor`, `rounds`, `evidence`, `profile`, `threshold_file`; `evidence` is None where no
            score was asked. Of additions that a reviewer decided: `reviewed` {decision: how many}, `errors`.
        teacher: None where no score was asked; else any of `name`, `sha256`, `trained_on_clips`,
            `trained_on_sha256`, `labels_sha256`, `front_end`, `precision` (of its arithmetic), `scores_sha256`;
            several models are joined by `; `.
        out_of_fold: whether the teacher never saw the clips that it scored; None where nobody recorded it.
        evaluation_touched: whether labels of an evaluation list were changed; None where it cannot be told.
        counts: `clips`, `clips_changed`, `clips_without_scores`, `classes`, `labels_before`, `labels_after`,
            `added` {classes_touched, labels_added, added_percent}, `added_by_type` {type: the same three},
            `added_by_both_types`.
        by_class: for each class, in vocabulary order: `class_id`, `name`, `before`, `added`, `added_I`, `added_II`,
            `after`, `threshold` (None: it has none), `scored_positives`, `reason` (why it has none).
        weak_classes: `class_id`, `name`, `why`.
        precision: precision.json of the review, None where nobody listened; its `overall` has `precision`, `low`,
            `high`, `judged`, and may have `level` (0.95) and `method`.
        files: `name`, `description`, `encodingFormat`, `bytes`, `sha256` of the data files, not of the documents.
        documents: `name`, `bytes`, `sha256` of the documents, which say nothing of this; empty in earlier releases.
        wav: where recordings lie in psla.json, with the place `{clip_id}`; "" in earlier releases.
        inputs: `name` and `sha256` of what the labels were made from, names without folders.
        ontology: figures of what ontology nodes outside the vocabulary do, or empty.
        pseudolabel, commit: what made the release.
    """

    name: str
    title: str
    rule: Mapping[str, Any]
    counts: Mapping[str, Any]
    by_class: tuple[Mapping[str, Any], ...]
    files: tuple[Mapping[str, Any], ...] = ()
    documents: tuple[Mapping[str, Any], ...] = ()
    wav: str = ""
    version: str = "1.0.0"
    released: str = ""
    licence: str = "CC-BY-4.0"
    source: str = ""
    url: str = ""
    authors: tuple[str, ...] = ()
    teacher: Mapping[str, Any] | None = None
    out_of_fold: bool | None = None
    evaluation_touched: bool | None = None
    weak_classes: tuple[Mapping[str, Any], ...] = ()
    precision: Mapping[str, Any] | None = None
    inputs: tuple[Mapping[str, str], ...] = ()
    ontology: Mapping[str, Any] = field(default_factory=dict)
    pseudolabel: str = ""
    commit: str | None = None

    def __post_init__(self) -> None:
        self._check_kinds()
        for column in ROWS:
            object.__setattr__(self, column, tuple(getattr(self, column)))
        self._check_texts()
        _need(self.rule, ("errors",), "rule")
        for place in ("teacher", "ontology"):
            _need(getattr(self, place) or {}, (), place)
        _need(self.counts, (*COUNTS, "added", "added_by_type"), "counts")
        _need(self.counts["added"], FIGURES, "counts.added")
        for error, figures in self.counts["added_by_type"].items():
            _need(figures, FIGURES, f"counts.added_by_type.{error}")
        for rows, keys, place in (
            (self.by_class, BY_CLASS, "by_class"),
            (self.files, OF_FILE, "files"),
            (self.documents, OF_DOCUMENT, "documents"),
            (self.weak_classes, WEAK, "weak_classes"),
            (self.inputs, ("name", "sha256"), "inputs"),
        ):
            for number, row in enumerate(rows):
                _need(row, keys, f"{place}[{number}]")
        if self.precision is not None:
            check_precision(self.precision, "precision")
        self._check_sums()

    def _check_kinds(self) -> None:
        """Raise InputError where a value has another kind: one that reads the same (0 for false) counts too."""
        for place in TEXTS:
            _kind(getattr(self, place), (str,), place)
        for place, kinds in {"commit": (str, None), "out_of_fold": (bool, None), "evaluation_touched": (bool, None),
                             "teacher": (Mapping, None), "precision": (Mapping, None), "ontology": (Mapping,),
                             "rule": (Mapping,), "counts": (Mapping,)}.items():  # fmt: skip
            _kind(getattr(self, place), kinds, place)
        for place in ROWS:
            if not isinstance(getattr(self, place), list | tuple):
                raise TypeError(f"{place} is {type(getattr(self, place)).__name__}, not a list")
        for place, known in (("rule", RULE), ("teacher", TEACHER)):
            for column, value in (getattr(self, place) or {}).items():
                if column not in known:
                    raise InputError(f"unknown key {column!r}; nearest: {nearest(column, known)!r}", place)
                _kind(value, known[column], f"{place}.{column}")
        _check_figures(self.ontology, "ontology")
        for place, rows in (("inputs", self.inputs), ("files", self.files), ("documents", self.documents)):
            for number, row in enumerate(rows):
                for column, value in _need(row, (), f"{place}[{number}]").items():
                    _kind(value, (int,) if column == "bytes" else (str,), f"{place}[{number}].{column}")
        for number, name in enumerate(self.authors):
            _kind(name, (str,), f"authors[{number}]")

    def _check_texts(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            message = f"{self.name!r} is no name of a release"
            raise InputError(message, "name", "Use letters, digits, '.', '_' and '-'.")
        if not re.fullmatch(r"\d+\.\d+\.\d+", self.version, re.ASCII):
            raise InputError(f"{self.version!r} is no version", "version", "Give three numbers such as 1.0.0.")
        if self.released and not _is_day(self.released):
            raise InputError(f"{self.released!r} is no day", "released", "Write it as 2026-01-31.")
        optional = (("url", self.url), ("source", self.source))
        for place, text in (("title", self.title), *optional, *(("authors", name) for name in self.authors)):
            if not text.isprintable() or not (text.strip() or (place, text) in optional):
                raise InputError(f"{text!r} is not one line of text", place)
        if self.wav and "{clip_id}" not in self.wav:
            raise InputError(f"{self.wav!r} names one recording for all clips", "wav")
        if self.url and not re.match(r"https?://\S+$", self.url):
            raise InputError(f"{self.url!r} is no web address", "url", "It starts with https://")

    def _check_sums(self) -> None:
        """Raise InputError where the counts contradict each other."""
        counts, n_added = self.counts, self.counts["added"]["labels_added"]
        if counts["labels_before"] + n_added != counts["labels_after"]:
            sums = f"{counts['labels_before']} labels before and {n_added} added are not {counts['labels_after']} after"
            raise InputError(sums, "counts")
        if len(self.by_class) != counts["classes"]:
            raise InputError(f"{len(self.by_class)} rows for {counts['classes']} classes", "by_class")
        for row in self.by_class:
            if row["before"] + row["added"] != row["after"]:
                sums = f"{row['before']} before and {row['added']} added are not {row['after']} after"
                raise InputError(sums, f"by_class, {row['class_id']}")
        for total, column in (("labels_before", "before"), ("labels_after", "after")):
            found = sum(row[column] for row in self.by_class)
            if found != counts[total]:
                raise InputError(f"the classes have {found} labels {column}, not {counts[total]}", f"counts.{total}")
        names = [row["name"] for row in self.files]
        if len(set(names)) != len(names):
            raise InputError(f"file {first_few(n for n in names if names.count(n) > 1)} is listed twice", "files")

    def file(self, name: str) -> Mapping[str, Any] | None:
        """Return the entry of a data file, or None where the release has no such file."""
        return next((row for row in self.files if row["name"] == name), None)

    def to_json(self) -> dict:
        """Return what run.json says: plain lists and dicts, in the order of the fields."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **_plain(asdict(self), "facts")}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], place: object = "run.json") -> Facts:
        """Return the facts that run.json says.

        Raises:
            InputError: a key is missing or unknown, a value has another kind, or counts contradict each other.
        """
        known = tuple(column.name for column in fields(cls))
        _need(record, (), str(place))
        made = record.get("format", FORMAT), record.get("format_version", FORMAT_VERSION)  # absent in earlier releases
        if made != (FORMAT, FORMAT_VERSION):
            message = f"format is {made[0]!r} version {made[1]!r}, expected {FORMAT!r} version {FORMAT_VERSION}"
            raise InputError(message, place)
        _need(record, known if "format" in record else REQUIRED, str(place))
        record = {key: value for key, value in record.items() if key not in ("format", "format_version")}
        strange = [key for key in record if key not in known]
        if strange:
            raise InputError(f"unknown key {strange[0]!r}; nearest: {nearest(strange[0], known)!r}", place)
        try:
            return cls(**record)
        except InputError as error:
            raise InputError(error.message, f"{place}, {error.place}", error.remedy) from error
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            raise InputError(f"not the facts of a release ({error})", place) from error


def check_precision(precision: Mapping[str, Any], place: object) -> None:
    """Raise InputError where a figure that the card tells is missing in precision.json, or cannot be."""
    _need(precision, ("overall",), str(place))
    rows = [("overall", precision["overall"], ())]
    for part, key in (("by_error", "error"), ("by_band", "band"), ("by_class", "class_id")):
        found = precision.get(part) or ()
        if not isinstance(found, list | tuple):
            raise InputError(f"is {type(found).__name__}, not a list", f"{place}, {part}")
        rows += [(f"{part}[{number}]", row, (key,)) for number, row in enumerate(found)]
    for part, row, keys in rows:
        _need(row, (*OVERALL, *keys), f"{place}, {part}")
        figures = [row[name] for name in OVERALL if name != "precision" or row[name] is not None]
        if not all(isinstance(figure, int | float) and not isinstance(figure, bool) for figure in figures):
            raise InputError("a figure is not a number", f"{place}, {part}")
        *shares, judged = figures
        if not (all(0 <= share <= 1 for share in shares) and 0 <= judged < math.inf and row["low"] <= row["high"]):
            raise InputError("a share is not in [0, 1], or a number of labels below 0", f"{place}, {part}")


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _check_figures(value: object, place: str) -> None:
    """Raise InputError where a value in a tree of figures is neither a number nor a list of ids."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_figures(inner, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            _kind(inner, (str,), f"{place}[{number}]")
    else:
        _kind(value, (float,), place)


def _kind(value: object, kinds: tuple, place: str) -> None:
    """Raise InputError where a value is of none of these kinds; a whole number is a float too, a bool no number."""
    kinds = tuple(type(None) if kind is None else kind for kind in kinds)
    number = isinstance(value, int) and not isinstance(value, bool) and float in kinds
    if not (number or (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)))):
        names = ", ".join(kind.__name__ for kind in kinds)
        raise InputError(f"is {type(value).__name__}, expected {names}", place)


def _need(row: Mapping[str, Any], keys: tuple[str, ...], place: str) -> Mapping[str, Any]:
    """Return `row`; raise InputError where it is no table, or lacks a key."""
    if not isinstance(row, Mapping):
        raise InputError(f"is {type(row).__name__}, not a table of names and values", place)
    absent = [key for key in keys if key not in row]
    if absent:
        raise InputError(f"{first_few(absent)} is missing", place)
    return row


def _plain(value: Any, place: str) -> Any:
    """Return `value` as JSON has it: lists for tuples; numbers must be finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{place}.{key}".lstrip(".")) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, f"{place}[{number}]") for number, inner in enumerate(value)]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise InputError(f"{value!r} cannot stand in JSON", place, "Use None where there is no number.")
