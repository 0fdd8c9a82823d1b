"""Facts: everything the documents of a release state, gathered once and stored in its run.json.

Every document is a pure function of these facts. A card is therefore true if writing it again from the facts in
run.json gives the same bytes, and the facts agree with the files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pseudolabel import layout
from pseudolabel.errors import InputError, first_few
from pseudolabel.records import sha256
from pseudolabel.releases.typed import Typed, mapping, typed

FORMAT, FORMAT_VERSION = "pseudolabel-release", 2
SINCE_VERSION_2 = ("beta",)  # keys that run.json of version 1 lacks
PATTERNS = {  # of texts: what other values get wrong, and the remedy
    "name": (r"[A-Za-z0-9][\w.-]*", "cannot be the name of a release", "Use letters, digits, '.', '_' and '-'."),
    "version": (r"\d+\.\d+\.\d+", "is not a version", "Give three numbers such as 1.0.0."),
    "url": (r"(https?://\S+)?", "is not a web address", "It starts with https://"),
    "wav": (r"(.*\{clip_id\}.*)?", "names one recording for all clips", ""),
}
OVERALL = ("precision", "low", "high", "judged")  # keys of an estimate; `precision` may be None


@dataclass(frozen=True, kw_only=True)
class GuessesOfType(Typed):
    """Guesses with a parent among the labels (I), or without (free): how many, and how many of them should be right."""

    labels_added: int
    expected_precision: float | None


@dataclass(frozen=True, kw_only=True)
class Guesses(Typed):
    """The labels added by their probability, as the rule that estimated it counts them.

    Args:
        precision_asked, expected_precision: the share that should be right: as asked for, and the mean probability.
        lowest_probability: that of the last guess added; None if none was.
        free_would_add: guesses of type `free` that were not asked for.
        judged: judged guesses that corrected the probabilities.
        closure_judged, closure_right: judged labels of those added by rule, and how many are right.
        share_given_free: the share of true labels that the list has, for guesses of type `free`; None without these.
        median_auc: of each teacher, over the classes; None if it cannot be measured.
        warnings: of the program.
    """

    precision_asked: float
    expected_precision: float | None
    lowest_probability: float | None
    labels_added: int
    classes_touched: int
    by_type: Mapping[str, GuessesOfType]
    free_would_add: int
    judged: int
    closure_judged: int
    closure_right: int
    share_given_free: float | None
    median_auc: tuple[float | None, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Rule(Typed):
    """The rule that decided which labels were added: options of `enhance`, or a reviewer.

    Args:
        reviewed: {decision: count} of the additions that a reviewer decided.
        threshold, evidence: None if no score was compared with a threshold.
        adds: {type: what it searches for, in words}.
        guesses: of a rule that adds the most probable labels; None for others.
    """

    reviewed: Mapping | None = None
    threshold: str | float | None
    errors: tuple[str, ...]
    adds: Mapping | None = None
    min_positives: int | None = None
    fallback_threshold: float | None = None
    floor: float | None = None
    rounds: int | str | None = None
    evidence: str | None
    profile: str | None = None
    type1: str | None = None
    type2: str | None = None
    labels_left_out: Mapping | None = None
    threshold_file: str | None = None
    guesses: Guesses | None = None


@dataclass(frozen=True, kw_only=True)
class Teacher(Typed):
    """The models that scored the clips, joined by `; `; `precision` is that of their arithmetic."""

    name: str | None = None
    sha256: str | None = None
    trained_on_clips: int | None = None
    trained_on_sha256: str | None = None
    front_end: Mapping | Sequence | None = None
    labels_sha256: str | None = None
    precision: str | None = None
    scores_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Figures(Typed):
    """How many labels were added, to how many classes, and as a percentage of the labels before."""

    classes_touched: int
    labels_added: int
    added_percent: float | None


@dataclass(frozen=True, kw_only=True)
class Counts(Typed):
    """Counts over all clips and classes; `added_by_type` is {type: its figures}."""

    clips: int
    clips_changed: int
    clips_without_scores: int
    classes: int
    labels_before: int
    labels_after: int
    added: Figures
    added_by_type: Mapping[str, Figures]
    added_by_both_types: int = 0


@dataclass(frozen=True, kw_only=True)
class OfClass(Typed):
    """The labels of one class; `threshold` is None if it has none, for the given `reason`.

    Args:
        c: the share of its true labels that the list has, as a rule that adds the most probable labels estimates it.
        carriers: clips with scores that have it or a descendant.
        expected_precision: the mean probability of its guesses.
    """

    class_id: str
    name: str
    before: int
    added: int
    added_I: int | None = None  # noqa: N815, types are I and II
    added_II: int | None = None  # noqa: N815
    added_free: int | None = None
    after: int
    threshold: float | None
    scored_positives: int | None
    reason: str
    c: float | None = None
    carriers: int | None = None
    expected_precision: float | None = None


@dataclass(frozen=True, kw_only=True)
class WeakClass(Typed):
    """A class whose additions need a second look, and why."""

    class_id: str
    name: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Input(Typed):
    """A file that the labels were made from, named without folders."""

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DataFile(Typed):
    """A file of labels, scores or weights."""

    name: str
    description: str
    encodingFormat: str  # noqa: N815, as Croissant writes it
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Document(Typed):
    """A file that describes the others, in words or for machines."""

    name: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Document:
        """Describe a written document."""
        return cls(name=path.name, bytes=path.stat().st_size, sha256=sha256(path))


@dataclass(frozen=True)
class Facts(Typed):
    """What a release says about itself; nested values may be given as in run.json.

    Args:
        name: id of the release and its folder, letters, digits, `.`, `_`, `-`: `audioset-balanced-enhanced-25p`.
        title: one line for people.
        by_class: in vocabulary order.
        files, documents: empty until they are written; `documents` does not affect the documents' texts.
        wav: path of a recording in psla.json, with `{clip_id}` in it; "" in earlier releases.
        beta: exponent of the max rule's sampling weights; None in earlier releases.
        version: three numbers, `1.0.0`.
        released: day of the release, `2026-01-31`, or "".
        licence: SPDX id of the labels.
        source: the data set that the labels come from: AudioSet, FSD50K, ESC-50, or "" for another.
        url: where the release will be, or "".
        authors: persons (`Family, Given`) or groups (without a comma); empty if none are named.
        teacher: None if no score was compared with a threshold.
        out_of_fold: whether the teacher never saw the clips that it scored; None if not recorded.
        evaluation_touched: whether labels of an evaluation list were changed; None if not checked.
        precision: precision.json of `review`, None if nobody judged; its `overall` has `precision`, `low`, `high`,
            `judged`, and may have `level` (0.95) and `method`.
        ontology: figures on what ontology nodes outside the vocabulary do, or empty.
        pseudolabel, commit: version and commit of the program that made the release.
    """

    name: str
    title: str
    rule: Rule
    counts: Counts
    by_class: tuple[OfClass, ...]
    files: tuple[DataFile, ...] = ()
    documents: tuple[Document, ...] = ()
    wav: str = ""
    beta: float | None = None
    version: str = "1.0.0"
    released: str = ""
    licence: str = "CC-BY-4.0"
    source: str = ""
    url: str = ""
    authors: tuple[str, ...] = ()
    teacher: Teacher | None = None
    out_of_fold: bool | None = None
    evaluation_touched: bool | None = None
    weak_classes: tuple[WeakClass, ...] = ()
    precision: Mapping | None = None
    inputs: tuple[Input, ...] = ()
    ontology: Mapping = field(default_factory=dict)
    pseudolabel: str = ""
    commit: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_texts(vars(self))
        _check_figures(self.ontology, "ontology")
        if self.precision is not None:
            check_precision(self.precision, "precision")
        self._check_sums()

    def _check_sums(self) -> None:
        """Raise InputError if the counts contradict each other."""
        counts = self.counts
        sums = [("counts", counts.labels_before, counts.added.labels_added, counts.labels_after)]
        sums += [(f"by_class, {row.class_id}", row.before, row.added, row.after) for row in self.by_class]
        for place, before, added, after in sums:
            if before + added != after:
                raise InputError(f"{before} labels before and {added} added are not {after} after", place)
        if len(self.by_class) != counts.classes:
            raise InputError(f"{len(self.by_class)} rows for {counts.classes} classes", "by_class")
        for column in ("before", "after"):
            total, stated = sum(getattr(row, column) for row in self.by_class), getattr(counts, f"labels_{column}")
            if total != stated:
                raise InputError(f"the classes have {total} labels {column}, not {stated}", f"counts.labels_{column}")
        names = [row.name for row in self.files]
        if len(set(names)) != len(names):
            raise InputError(f"file {first_few(n for n in names if names.count(n) > 1)} is listed twice", "files")

    @property
    def makers(self) -> tuple[str, ...]:
        """The makers of the release, even if no authors are named."""
        return self.authors or (f"The makers of {self.name}",)

    @property
    def original(self) -> str:
        """How a sentence names the list before the additions."""
        return self.source or "the original list"

    @property
    def asked_teacher(self) -> bool:
        """Whether a model's scores decided, by a threshold or a probability."""
        return self.rule.evidence is not None

    def file(self, name: str) -> DataFile | None:
        """Return the entry of a data file; None if the release has no such file."""
        return next((row for row in self.files if row.name == name), None)

    def to_json(self) -> dict:
        """Return the content of run.json: plain lists and dicts, in the order of the fields."""
        said = {column.name: _plain(getattr(self, column.name), column.name) for column in fields(self)}
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **said}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], place: object = layout.RUN) -> Facts:
        """Return the facts in run.json.

        Raises:
            InputError: a key is missing or unknown, a value has the wrong type, or counts contradict each other.
        """
        record = dict(mapping(record, str(place)))
        made = record.get("format", FORMAT), record.get("format_version", 1)  # absent in the earliest releases
        if made not in ((FORMAT, 1), (FORMAT, FORMAT_VERSION)):
            message = f"format is {made[0]!r} version {made[1]!r}, expected {FORMAT!r} version {FORMAT_VERSION} or 1"
            raise InputError(message, place)
        names = [column.name for column in fields(cls) if made[1] != 1 or column.name not in SINCE_VERSION_2]
        absent = [name for name in (names if "format" in record else REQUIRED) if name not in record]
        if absent:
            raise InputError(f"{first_few(absent)} is missing", place)
        said = {key: value for key, value in record.items() if key not in ("format", "format_version")}
        return typed(cls, said, str(place), ", ")


REQUIRED = ("name", "title", "rule", "counts", "by_class", "files")  # keys in releases of every version


def refuse_texts(said: Mapping[str, Any], flags: Mapping[str, str] = MappingProxyType({})) -> None:
    """Raise InputError, naming the option in `flags`, if a text of a release's documents is not what its name says."""
    for name, (pattern, wrong, remedy) in PATTERNS.items():
        if name in said and not re.fullmatch(pattern, text := said[name], re.ASCII | re.DOTALL):
            raise InputError(f"{text!r} {wrong}", flags.get(name, name), remedy)
    if (day := said["released"]) and not _is_day(day):
        raise InputError(f"{day!r} is not a day", flags.get("released", "released"), "Write it as 2026-01-31.")
    lines = [("title", said["title"]), *(("authors", name) for name in said["authors"])]
    lines += [(name, text) for name in ("url", "source") if (text := said.get(name))]
    for name, text in lines:
        if not text.isprintable() or not text.strip():
            raise InputError(f"{text!r} is not one line of text", flags.get(name, name))


def check_precision(precision: Mapping[str, Any], place: object) -> None:
    """Raise InputError if precision.json lacks a figure that the card states, or has an impossible one."""
    parts = [("overall", precision.get("overall"), OVERALL)]
    for part, key in (("by_error", "error"), ("by_band", "band"), ("by_class", "class_id")):
        rows = precision.get(part) or ()
        if not isinstance(rows, list | tuple):
            raise InputError(f"is {type(rows).__name__}, not a list", f"{place}, {part}")
        parts += [(f"{part}[{number}]", row, (*OVERALL, key)) for number, row in enumerate(rows)]
    for part, row, keys in parts:
        row = mapping(row, f"{place}, {part}")
        if absent := [key for key in keys if key not in row]:
            raise InputError(f"{first_few(absent)} is missing", f"{place}, {part}")
        names = [name for name in ("expected", *OVERALL) if name in row]
        figures = [row[name] for name in names if name != "precision" or row[name] is not None]
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
    """Raise InputError if a value in a tree of figures is neither a number nor a list of ids."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_figures(inner, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        if not all(isinstance(inner, str) for inner in value):
            raise InputError("not a list of ids", place)
    elif not isinstance(value, int | float) or isinstance(value, bool):
        raise InputError(f"is {type(value).__name__}, expected a number", place)


def _plain(value: Any, place: str) -> Any:
    """Return `value` as plain JSON: tuples as lists, fields that default to None left out; numbers must be finite."""
    if is_dataclass(value):
        columns = [(c.name, getattr(value, c.name), c.default) for c in fields(value)]
        value = {name: inner for name, inner, default in columns if inner is not None or default is not None}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{place}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, f"{place}[{number}]") for number, inner in enumerate(value)]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise InputError(f"{value!r} is not a value of JSON", f"facts.{place}", "Use None for a missing number.")
