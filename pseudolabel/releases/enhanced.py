"""A folder that `enhance` wrote, read and checked: what a release is made of."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pseudolabel.dry_run import there
from pseudolabel.errors import ClipMismatch, InputError, UnknownClass, first_few
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ledger import read_ledger
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.undo import undo
from pseudolabel.labels.vocabulary import BUILT_IN, Vocabulary
from pseudolabel.ownership import has_format
from pseudolabel.records import input_in_role, sha256
from pseudolabel.releases.bounds import refuse_for_memory
from pseudolabel.releases.tables import Added
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, parse_window, window_name
from pseudolabel.tables import read_csv, read_json

LABELS, LEDGER, LEDGER_CSV = "labels.csv", "ledger.parquet", "ledger.csv.gz"
SUMMARY, RECORD, THRESHOLDS, MISSING = "summary.json", "run.json", "thresholds.csv", "missing.csv"
RULE = ("threshold", "errors", "adds", "min_positives", "floor", "rounds", "evidence", "profile")  # in the summary
NO_LISTS = ("vocabulary.csv", "ontology.csv", "audioset.csv", "thresholds.csv")  # asked last whether they are lists
FIRST_ROWS = 100  # of the ledger, which tell one store of scores from another
LARGEST_OBJECT = 1 << 26  # bytes of summary.json, run.json and the like
NO_FOLDER = "Give a folder that enhance wrote."


@dataclass(frozen=True, eq=False)
class Enhanced:
    """What a folder of `enhance` holds.

    Args:
        labels, original: (N, K) with the additions, and without those of the ledger.
        ledger, added: the additions, as a table and as numbers.
        summary, record: summary.json and run.json; both are other ones after `enhance --apply`.
        missing: ids of the clips that have no scores.
        work: the work folder, where inputs may lie that are no longer where they were.
    """

    folder: Path
    labels: LabelTable
    original: LabelTable
    ledger: pa.Table
    added: Added
    summary: Mapping
    record: Mapping
    missing: tuple[str, ...]
    work: Path

    @property
    def reviewed(self) -> bool:
        """Whether `enhance --apply` wrote it, from a reviewer's decisions."""
        return "decisions" in self.summary

    @property
    def scored(self) -> bool:
        """Whether scores were compared with thresholds, as far as the folder says."""
        return self.summary.get("evidence") is not None

    @cached_property
    def inputs(self) -> dict[Path, str]:
        """The files that `enhance` read, with their checksums."""
        digests, listed = self.record["inputs"], input_in_role(self.record, "labels")
        return {Path(path): digests[path] for path in dict.fromkeys([listed, *digests]) if path in digests}

    @property
    def unknown_labels(self) -> str:
        """What `enhance` did with labels outside the vocabulary."""
        return self.record["options"].get("unknown_labels", "error")

    def label_list(self) -> Path | None:
        """Return the input that says the original labels, by its content; None where none that is here does."""
        paths = [path for path in reversed(self.inputs) if path.suffix != ".h5"]
        for path in sorted(paths, key=lambda path: ("labels" not in path.name, path.name in NO_LISTS)):
            place = self.where(path)
            with contextlib.suppress(InputError):  # another kind of file
                if place and LabelTable.read(place, self.labels.vocabulary, None, self.unknown_labels) == self.original:
                    return place
        return None

    def score_store(self) -> ScoreStore | None:
        """Return the input that has the scores of the ledger; None where none that is here has them."""
        is_scores = has_format(ScoreStore.FORMAT, *ScoreStore.EARLIER_FORMATS)  # clips, too, may be an input
        for path in self.inputs:
            place = self.where(path) if path.suffix == ".h5" else None
            store = place and is_scores(place) and ScoreStore.open(place)
            if store and self._has_scores(store):
                return store
        return None

    def _has_scores(self, store: ScoreStore) -> bool:
        """Return whether a store answers for these clips, with the scores of the ledger's first rows."""
        scored = np.flatnonzero(~np.isnan(self.added.scores))[:FIRST_ROWS]
        lengths = [length or CLIP for length in self.ledger["window_s"].take(pa.array(scored)).to_pylist()]
        scales = {*lengths} or {parse_window(self.summary.get("evidence") or CLIP)}
        if not all(map(store.has, scales)):
            return False
        try:
            evidence = Evidence.match(self.labels, store, scale=window_name(next(iter(scales))))
        except ClipMismatch:
            return False
        rows, columns = evidence.row_of[self.added.clips[scored]], evidence.column_of[self.added.classes[scored]]
        if (rows < 0).any() or (columns < 0).any():
            return False
        for row, column, length, score in zip(rows, columns, lengths, self.added.scores[scored], strict=True):
            if not (store.scores(length)[row, ..., column] == score).any():
                return False
        return True

    def where(self, path: Path) -> Path | None:
        """Return where the bytes of an input lie: where `enhance` read them, in the work folder or beside its own."""
        return _place_of(path, self.inputs[path], self.folder, self.work)

    def is_input(self, path: Path) -> bool:
        """Return whether a file has the bytes of an input, wherever it lies."""
        return path.is_file() and sha256(path) in self.inputs.values()


def read_enhanced(folder: Path, work: Path, vocabulary: str | Path | None = None) -> Enhanced:
    """Read a folder that `enhance` wrote.

    Args:
        work: where inputs and a vocabulary.csv may lie.
        vocabulary: its classes; None: the one that run.json records, WORK/vocabulary.csv or a built-in one, which fits.

    Raises:
        InputError: a file is missing or damaged, or ledger, labels and summary are not of one run.
    """
    refuse_incomplete(folder)
    summary, record = (read_object(folder / name) for name in (SUMMARY, RECORD))
    parts = [record.get(name) for name in ("options", "inputs")]
    if record.get("verb") != "enhance" or not all(isinstance(part, dict) and part for part in parts):
        raise InputError("not the record of a run of enhance", folder / RECORD, NO_FOLDER)
    absent = [] if "decisions" in summary else [name for name in (*RULE, "by_class") if name not in summary]
    if absent:
        raise InputError(f"{first_few(absent)} is missing", folder / SUMMARY, NO_FOLDER)
    _refuse_for_memory(folder / LEDGER)
    recorded = [_place_of(Path(path), digest, folder, work) for path, digest in record["inputs"].items()]
    vocabularies = [path for path in recorded if path and path.name.startswith("vocabulary")]
    labels = _read_labels(folder, summary, [vocabulary] if vocabulary else [*vocabularies, *_own(work), *BUILT_IN])
    ledger = read_ledger(folder / LEDGER)
    place = folder / LEDGER
    added = Added.of(ledger, labels, place)
    original = undo(labels, ledger, place)
    for what, found in (("labels_before", original.matrix.nnz), ("labels_after", labels.matrix.nnz)):
        if summary.get(what) != found:
            message = f"{what} is {summary.get(what)}, ledger and labels say {found}"
            raise InputError(message, folder / SUMMARY, "Run enhance again.")
    path = folder / MISSING
    missing = tuple(row["clip_id"] for row in read_csv(path, ("clip_id",))) if path.is_file() else ()
    return Enhanced(folder, labels, original, ledger, added, summary, record, missing, work)


def refuse_incomplete(folder: Path) -> None:
    """Raise InputError where a folder lacks a file that `enhance` writes."""
    for name in (LABELS, LEDGER, LEDGER_CSV, SUMMARY, RECORD):
        if not there(folder / name):
            raise InputError(f"there is no {name}", folder, NO_FOLDER)


def _refuse_for_memory(ledger: Path) -> None:
    """Raise InputError where a release of this ledger takes more memory than there is."""
    try:
        n_rows = pq.read_metadata(ledger).num_rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"not a readable ledger ({str(error).splitlines()[0]})", ledger, NO_FOLDER) from error
    refuse_for_memory(n_rows, ledger)


def read_object(path: Path) -> dict:
    """Return the object in a JSON file; InputError where it is none, or far larger than the files of verbs are."""
    if path.is_file() and path.stat().st_size > LARGEST_OBJECT:
        raise InputError(f"larger than {LARGEST_OBJECT:,} bytes", path, "Is it what a verb wrote?")
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError("not a JSON object", path)
    return value


def _place_of(path: Path, digest: str, folder: Path, work: Path) -> Path | None:
    """Return where a file with this checksum lies: at its path, in the work folder, or beside the enhanced folder."""
    places = dict.fromkeys((path, work / path.name, folder.parent / path.name))
    return next((place for place in places if place.is_file() and sha256(place) == digest), None)


def _own(work: Path) -> list[Path]:
    return [work / "vocabulary.csv"] if (work / "vocabulary.csv").is_file() else []


def _read_labels(folder: Path, summary: Mapping, sources: Sequence[str | Path]) -> LabelTable:
    """Read the labels with the vocabulary that has the classes of the summary, or that knows all labels."""
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
