"""Read a release from its folder: labels after and before, the ledger, and the facts of run.json."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.additions import ERROR_NAMES, Additions
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.ledger import BECAUSE, PARQUET_TYPES, TYPES, read_ledger
from pseudolabel.labels.readers import read_segments
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.undo import undo
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import LABELS, MISSING, THRESHOLDS
from pseudolabel.releases import folder as files
from pseudolabel.releases.card import DOCUMENTS
from pseudolabel.releases.citation import LICENCES
from pseudolabel.releases.enhanced import read_object
from pseudolabel.releases.facts import DataFile, Facts
from pseudolabel.releases.listing import (
    GET_AGAIN,
    LARGEST_TABLE,
    list_files,
    refuse_for_memory,
    refuse_larger,
    refuse_others,
    refuse_parquet,
    refuse_unpacked,
)
from pseudolabel.tables import read_csv

ALWAYS = (LABELS, files.LABELS_PARQUET, files.ORIGINAL, files.ADDED, files.ADDED_CSV, files.CLASSES, MISSING)
CELL = 32  # bytes of a number in a CSV file, with its comma


@dataclass(frozen=True, eq=False)
class Released:
    """The contents of a release's files."""

    folder: Path
    labels: LabelTable
    original: LabelTable
    ledger: pa.Table
    added: Additions
    missing: tuple[str, ...]
    facts: Facts

    def clip_lengths(self) -> np.ndarray:
        """Return the length of each clip in seconds from segments.csv, (N,) float64; NaN if unknown."""
        path, lengths = self.folder / "segments.csv", np.full(len(self.labels), np.nan)
        if path.is_file():
            segments = read_segments(path)
            aliases = match_clips(self.labels.clip_ids, segments, path).aliases
            for row, clip_id in enumerate(self.labels.clip_ids):
                start, end = segments.get(aliases.get(clip_id, clip_id), (0, 0))
                lengths[row] = float(end) - float(start) or np.nan
        return lengths


def _same(stated: DataFile, found: DataFile | None) -> bool:
    """Return whether a file is as stated, in either of its descriptions."""
    of_guesses = files.OF_GUESSES.get(stated.name, stated.description)
    return found is not None and stated in (found, replace(found, description=of_guesses))


def read_release(folder: Path) -> Released:
    """Read labels, ledger and facts, which must agree.

    Raises:
        InputError: a file is missing, unexpected, changed or too large, or the labels without the ledger's additions
            are not the original ones.
    """
    facts = Facts.from_json(read_object(folder / files.RECORD), folder / files.RECORD)
    stated = {row.name: row for row in facts.files}
    refuse_others(folder, dict.fromkeys((*ALWAYS, *stated, *DOCUMENTS)), list_files(folder).files)
    there = {row.name: row for row in files.described_files(folder)}
    changed = [name for name in stated if not _same(stated[name], there.get(name))]
    if changed:
        raise InputError(f"changed: {first_few(changed)} (not as {files.RECORD} says)", folder, GET_AGAIN)
    if facts.licence not in LICENCES:
        raise InputError(f"licence {facts.licence!r} is not a known SPDX id", folder / files.RECORD, GET_AGAIN)
    for name in (files.CLASSES, THRESHOLDS):
        if name in stated:
            refuse_larger(folder / name, LARGEST_TABLE)
    vocabulary = Vocabulary.load(folder / files.CLASSES)
    labels = LabelTable.read(folder / LABELS, vocabulary, "csv")
    refuse_unpacked(folder / files.ORIGINAL, (folder / LABELS).stat().st_size)
    original = LabelTable.read(folder / files.ORIGINAL, vocabulary, "csv")
    _refuse_large_ledger(folder, labels)
    ledger = read_ledger(folder / files.ADDED)
    added = Additions.of(ledger, labels, folder / files.ADDED)
    if undo(labels, ledger, folder / files.ADDED) != original:
        message = f"{LABELS} without the additions of the ledger differs from these labels"
        raise InputError(message, folder / files.ORIGINAL, GET_AGAIN)
    missing = tuple(row["clip_id"] for row in read_csv(folder / MISSING, ("clip_id",)))
    if unknown := [clip_id for clip_id in missing if clip_id not in labels.row_of]:
        raise ClipMismatch(f"clips are not in the list: {first_few(unknown)}", folder / MISSING)
    return Released(folder, labels, original, ledger, added, missing, facts)


def _refuse_large_ledger(folder: Path, labels: LabelTable) -> None:
    """Raise InputError if the ledger, in either form, is larger than additions to these labels can make it."""
    n_labels, longest = labels.matrix.nnz, max(len(clip_id.encode()) for clip_id in labels.clip_ids)
    longest_class = max(len(class_id.encode()) for class_id in labels.vocabulary.class_ids) + 1
    because = int(np.diff(labels.matrix.indptr).max(initial=0)) * longest_class
    most = n_labels * (longest + longest_class + max(map(len, ERROR_NAMES)) + because)
    types = {**PARQUET_TYPES, BECAUSE: (PARQUET_TYPES[BECAUSE], TYPES[BECAUSE])}
    n_values = n_labels * int(np.diff(labels.matrix.indptr).max(initial=1))
    n_rows, texts = refuse_parquet(folder / files.ADDED, types, n_labels, n_values, most)
    refuse_for_memory(n_rows, folder / files.ADDED)
    refuse_unpacked(folder / files.ADDED_CSV, (n_rows + 1) * CELL * len(TYPES) + 2 * texts)
