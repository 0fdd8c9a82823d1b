"""Undo: additions taken back, or kept as far as a reviewer found them right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.ledger import SCHEMA
from pseudolabel.labels.table import LabelTable

DECISIONS = ("right", "wrong", "unsure")
OTHER_LIST = "Give the label list and the ledger of the same run."


def undo(labels: LabelTable, ledger: pa.Table, place: object = "") -> LabelTable:
    """Return the labels without the additions of a ledger: the list as it was before.

    Args:
        labels: the enhanced list.
        ledger: its additions; the columns `clip_id` and `class_id` count.
        place: what errors call the ledger.

    Raises:
        ClipMismatch: a clip of the ledger is not in the list.
        InputError: an added label is not in the list, or stands twice in the ledger.
    """
    clips, classes = _positions(labels, ledger, place)
    added = _matrix(labels, clips, classes)
    absent = clips[~_carried(labels, clips, classes)]
    if len(absent):
        named = first_few(labels.clip_ids[clip] for clip in absent.tolist())
        raise InputError(f"{len(absent)} added labels are not in the list: clips {named}", place, OTHER_LIST)
    kept = labels.matrix.astype(np.int8) - added.astype(np.int8)
    return LabelTable(labels.clip_ids, kept, labels.vocabulary)


def apply_decisions(
    labels: LabelTable, reviewed: pa.Table, place: object = ""
) -> tuple[LabelTable, pa.Table, dict[str, int]]:
    """Return the labels with the additions that were found right, the ledger of these, and the number of each decision.

    Args:
        labels: the original list.
        reviewed: a ledger with the column `decision`: right, wrong, unsure, or empty where nobody decided (counted as
            `undecided`).
        place: what errors call it.

    Raises:
        ClipMismatch: a clip of the ledger is not in the list.
        InputError: another decision, a label that the list has already or that stands twice in the ledger.
    """
    decisions = pc.utf8_lower(pc.utf8_trim_whitespace(reviewed["decision"].combine_chunks()))
    decided = np.array(decisions.to_pylist(), dtype=object)
    strange = np.flatnonzero(~np.isin(decided, (*DECISIONS, "")))
    if len(strange):
        row = int(strange[0])
        raise InputError(
            f"decision {decided[row]!r} in data row {row + 1}", place, f"Give {', '.join(DECISIONS)}, or nothing."
        )
    clips, classes = _positions(labels, reviewed, place)
    _matrix(labels, clips, classes)
    known = clips[_carried(labels, clips, classes)]
    if len(known):
        named = first_few(labels.clip_ids[clip] for clip in known.tolist())
        raise InputError(f"{len(known)} labels were there already: clips {named}", place, "Give the list before.")
    right = decided == "right"
    order = np.flatnonzero(right)[np.lexsort((classes[right], clips[right]))]
    matrix = labels.matrix + _matrix(labels, clips[right], classes[right])
    counts = {name or "undecided": int((decided == name).sum()) for name in (*DECISIONS, "")}
    columns = [
        reviewed[field.name] if field.name in reviewed.column_names else pa.nulls(len(reviewed), field.type)
        for field in SCHEMA
    ]
    kept = pa.table(columns, schema=SCHEMA).take(pa.array(order))
    return LabelTable(labels.clip_ids, matrix, labels.vocabulary), kept, counts


def _positions(labels: LabelTable, ledger: pa.Table, place: object) -> tuple[np.ndarray, np.ndarray]:
    """Return the (M,) row and column of each label in a ledger."""
    clips = _places(ledger["clip_id"], labels.clip_ids)
    absent = np.flatnonzero(clips < 0)
    if len(absent):
        named = first_few(ledger["clip_id"].take(pa.array(absent)).to_pylist())
        raise ClipMismatch(f"clips of {len(absent)} added labels are not in the list: {named}", place, OTHER_LIST)
    classes = _places(ledger["class_id"], labels.vocabulary.class_ids)
    for row in np.flatnonzero(classes < 0)[:1].tolist():
        labels.vocabulary.find(ledger["class_id"][row].as_py(), place)  # raises UnknownClass, unless it is a name
        raise InputError(f"{ledger['class_id'][row].as_py()!r} is a class name", place, "Ledgers have class ids.")
    return clips, classes


def _places(column: pa.ChunkedArray, known: Sequence[str]) -> np.ndarray:
    places = pc.index_in(column, value_set=pa.array(known, pa.string()))
    return pc.fill_null(places, -1).to_numpy().astype(np.int64)


def _matrix(labels: LabelTable, clips: np.ndarray, classes: np.ndarray) -> sparse.csr_array:
    """Return these labels as (N, K) bool; refuse one that is given twice."""
    matrix = sparse.csr_array((np.ones(len(clips), np.int32), (clips, classes)), shape=labels.matrix.shape)
    if matrix.nnz and matrix.data.max() > 1:
        clip = int(np.repeat(np.arange(len(labels)), np.diff(matrix.indptr))[matrix.data.argmax()])
        class_id = labels.vocabulary.class_ids[matrix.indices[matrix.data.argmax()]]
        raise InputError(f"label {class_id!r} of clip {labels.clip_ids[clip]!r} stands in the ledger twice")
    return matrix.astype(bool)


def _carried(labels: LabelTable, clips: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return which of these labels the list has, (M,) bool."""
    if not len(clips):
        return np.zeros(0, bool)
    n_classes = len(labels.vocabulary)
    rows = np.repeat(np.arange(len(labels), dtype=np.int64), np.diff(labels.matrix.indptr))
    return np.isin(clips * n_classes + classes, rows * n_classes + labels.matrix.indices)
