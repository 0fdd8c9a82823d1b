"""Read and check a folder written by `enhance`, from which a release is made."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pseudolabel.dry_run import there
from pseudolabel.errors import InputError, UnknownClass, first_few, first_line
from pseudolabel.labels.additions import Additions
from pseudolabel.labels.ledger import read_ledger
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.undo import undo
from pseudolabel.labels.vocabulary import BUILT_IN, Vocabulary
from pseudolabel.layout import LABELS, LEDGER, LEDGER_CSV, MISSING, RUN, SUMMARY, VOCABULARY
from pseudolabel.records import input_in_role, recorded_input, recorded_reading, sha256
from pseudolabel.releases.listing import refuse_for_memory
from pseudolabel.scores.store import ScoreStore
from pseudolabel.tables import read_csv, read_json

RULE = ("threshold", "errors", "adds", "min_positives", "floor", "rounds", "evidence", "profile")  # keys of the summary
LARGEST_OBJECT = 1 << 26  # bytes of summary.json, run.json and other JSON files
NO_FOLDER = "Give a folder that enhance wrote."


@dataclass(frozen=True, eq=False)
class Enhanced:
    """The contents of a folder written by `enhance`.

    Args:
        labels, original: (N, K) with the additions, and without those of the ledger.
        ledger, added: the additions, as a table and as numbers.
        summary, record: summary.json and run.json; those of `enhance apply` have other keys.
        missing: ids of the clips without scores.
        work: the work folder, which may hold inputs that have been moved.
    """

    folder: Path
    labels: LabelTable
    original: LabelTable
    ledger: pa.Table
    added: Additions
    summary: Mapping
    record: Mapping
    missing: tuple[str, ...]
    work: Path

    @property
    def reviewed(self) -> bool:
        """Whether `enhance apply` wrote the folder, from a reviewer's decisions."""
        return "decisions" in self.summary

    @property
    def scored(self) -> bool:
        """Whether scores were compared with thresholds, as far as the folder records it."""
        return self.summary.get("evidence") is not None

    @cached_property
    def inputs(self) -> dict[Path, str]:
        """The files that `enhance` read, with their checksums."""
        digests, listed = self.record["inputs"], input_in_role(self.record, "labels")
        return {Path(path): digests[path] for path in dict.fromkeys([listed, *digests]) if path in digests}

    @property
    def list_format(self) -> str | None:
        """The format that --format named to `enhance`; None if it was recognized."""
        return self.record["options"].get("format")

    def read_list(self, path: Path, format: str | None) -> LabelTable:
        """Read a list of the original labels as `enhance` did."""
        reading = recorded_reading(self.record)
        return LabelTable.read(path, self.labels.vocabulary, format, reading["unknown_labels"], reading["classes"])

    def label_list(self) -> Path | None:
        """Return the list that `enhance` read; None if it is gone, or no longer has the original labels."""
        path = self._input("labels")
        with contextlib.suppress(InputError):  # the first input of an early version may be another file
            if path and self.read_list(path, self.list_format) == self.original:
                return path
        return None

    def score_store(self) -> ScoreStore | None:
        """Return the scores that `enhance` read; None if there were none, or they are gone."""
        path = self._input("scores")
        return ScoreStore.open(path) if path else None

    @property
    def further_roles(self) -> list[str]:
        """The roles in run.json of the scores of all teachers but the first."""
        return [role for role in self.record.get("roles") or () if re.fullmatch(r"scores \d+", role)]

    def further_stores(self) -> list[ScoreStore]:
        """Return the scores of all teachers but the first, as far as they are still there."""
        return [ScoreStore.open(path) for path in map(self._input, self.further_roles) if path]

    def _input(self, role: str) -> Path | None:
        path = input_in_role(self.record, role)
        return path and recorded_input(self.record, path, self.work, self.folder.parent)

    def is_input(self, path: Path) -> bool:
        """Return whether a file has the same bytes as an input, whatever its path."""
        return path.is_file() and sha256(path) in self.inputs.values()


def read_enhanced(folder: Path, work: Path, vocabulary: str | Path | None = None) -> Enhanced:
    """Read a folder written by `enhance`.

    Args:
        work: folder that may hold inputs and a vocabulary.csv.
        vocabulary: its classes; None: the first that fits of run.json's, WORK/vocabulary.csv and the built-in ones.

    Raises:
        InputError: a file is missing or damaged, or ledger, labels and summary are not from one run.
    """
    refuse_incomplete(folder)
    summary, record = (read_object(folder / name) for name in (SUMMARY, RUN))
    _refuse_other_records(folder, summary, record)
    _refuse_large_ledger(folder / LEDGER)
    labels = _read_labels(folder, summary, [vocabulary] if vocabulary else _vocabularies(folder, record, work))
    ledger = read_ledger(folder / LEDGER)
    added = Additions.of(ledger, labels, folder / LEDGER)
    original = undo(labels, ledger, folder / LEDGER)
    for what, n in (("labels_before", original.matrix.nnz), ("labels_after", labels.matrix.nnz)):
        if summary.get(what) != n:
            message = f"{what} is {summary.get(what)}, but by ledger and labels it is {n}"
            raise InputError(message, folder / SUMMARY, "Run enhance again.")
    path = folder / MISSING
    missing = tuple(row["clip_id"] for row in read_csv(path, ("clip_id",))) if path.is_file() else ()
    return Enhanced(folder, labels, original, ledger, added, summary, record, missing, work)


def refuse_incomplete(folder: Path) -> None:
    """Raise InputError if a folder lacks a file that `enhance` writes."""
    for name in (LABELS, LEDGER, LEDGER_CSV, SUMMARY, RUN):
        if not there(folder / name):
            raise InputError(f"there is no {name}", folder, NO_FOLDER)


def _refuse_other_records(folder: Path, summary: Mapping, record: Mapping) -> None:
    """Raise InputError if run.json or summary.json lacks a key that `enhance` writes."""
    parts = [record.get(name) for name in ("options", "inputs")]
    if record.get("verb") != "enhance" or not all(isinstance(part, dict) and part for part in parts):
        raise InputError("not the record of a run of enhance", folder / RUN, NO_FOLDER)
    absent = [] if "decisions" in summary else [name for name in (*RULE, "by_class") if name not in summary]
    if absent:
        raise InputError(f"{first_few(absent)} is missing", folder / SUMMARY, NO_FOLDER)


def _refuse_large_ledger(ledger: Path) -> None:
    """Raise InputError if releasing this ledger would take more memory than there is."""
    try:
        n_rows = pq.read_metadata(ledger).num_rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"not a readable ledger ({first_line(error)})", ledger, NO_FOLDER) from error
    refuse_for_memory(n_rows, ledger)


def read_object(path: Path) -> dict:
    """Return the object in a JSON file; InputError if it holds another value, or is far too large for one."""
    if path.is_file() and path.stat().st_size > LARGEST_OBJECT:
        raise InputError(f"larger than {LARGEST_OBJECT:,} bytes", path, "Is it what a verb wrote?")
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError("not a JSON object", path)
    return value


def _vocabularies(folder: Path, record: Mapping, work: Path) -> list[str | Path]:
    """Return vocabularies that the enhancement may have used: those it read, the work folder's, the built-in ones."""
    names = [path for path in record["inputs"] if Path(path).name.startswith("vocabulary")]
    paths = [*(recorded_input(record, name, work, folder.parent) for name in names), work / VOCABULARY]
    return [*(path for path in paths if path and path.is_file()), *BUILT_IN]


def _read_labels(folder: Path, summary: Mapping, sources: Sequence[str | Path]) -> LabelTable:
    """Read the labels with the vocabulary that has the summary's classes, or else one that has all labels."""
    classes = tuple(row["class_id"] for row in summary["by_class"]) if "by_class" in summary else None
    failure = None
    for source in sources:
        vocabulary = Vocabulary.load(source)
        if classes is None or vocabulary.class_ids == classes:
            try:
                return LabelTable.read(folder / LABELS, vocabulary, "csv")
            except UnknownClass as error:
                failure = failure or error
    if failure is not None:
        raise failure
    message = f"its {len(classes or ())} classes are not those of {first_few(map(str, sources))}"
    raise InputError(message, folder / SUMMARY, "Give the --vocabulary that enhance took.")
