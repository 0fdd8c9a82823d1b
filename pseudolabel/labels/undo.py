"""Undo: additions taken back, or kept as far as a reviewer found them right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.ledger import SCHEMA
from pseudolabel.labels.table import LabelTable

DECISIONS = ("right", "wrong", "unsure")
FEW = 4  # clips that an error may name
OTHER_LIST = "Give the label list and the ledger of the same run."


def undo(labels: LabelTable, ledger: pa.Table, place: object = "") -> LabelTable:
    """Return the labels without the additions of a ledger: the list as it was before.

    Args:
        labels: the enhanced list.
        ledger: its additions; the columns `clip_id` and `class_id` count.
        place: what errors call the ledger.

    Raises:
        ClipMismatch: a clip of the ledger is not in the list.
        InputError: an added label is not in the list, or is listed twice in the ledger.
    """
    return without_additions(labels, [ledger], place)[0]


def without_additions(labels: LabelTable, pieces: Iterable[pa.Table], place: object = "") -> tuple[LabelTable, int]:
    """Return what `undo` does and the number of additions; the ledger comes in pieces, of which one is held."""
    taken, absent, n_absent = np.zeros(labels.matrix.nnz, bool), [], 0
    for piece in pieces:
        clips, classes = _positions(labels, piece, place)
        entries = _entries(labels, clips, classes)
        there = entries >= 0
        absent += clips[~there][: FEW - len(absent)].tolist()
        n_absent += int((~there).sum())
        _refuse_twice(labels, clips[there], classes[there], taken[entries[there]], place)
        taken[entries[there]] = True
    if n_absent:
        named = first_few(labels.clip_ids[clip] for clip in absent)
        raise InputError(f"{n_absent} added labels are not in the list: clips {named}", place, OTHER_LIST)
    matrix = labels.matrix
    n_kept = np.concatenate([[0], np.cumsum(~taken)])[matrix.indptr]
    kept = sparse.csr_array((matrix.data[~taken], matrix.indices[~taken], n_kept), shape=matrix.shape)
    return LabelTable(labels.clip_ids, kept, labels.vocabulary), int(taken.sum())


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
        InputError: another decision, a label that the list has already or that is listed twice in the ledger.
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
    _refuse_twice(labels, clips, classes, np.zeros(len(clips), bool), place)
    known = clips[_entries(labels, clips, classes) >= 0]
    if len(known):
        named = first_few(labels.clip_ids[clip] for clip in known.tolist())
        raise InputError(f"{len(known)} labels were there already: clips {named}", place, "Give the list before.")
    right = decided == "right"
    order = np.flatnonzero(right)[np.lexsort((classes[right], clips[right]))]
    added = sparse.csr_array((np.ones(len(order), bool), (clips[right], classes[right])), shape=labels.matrix.shape)
    counts = {name or "undecided": int((decided == name).sum()) for name in (*DECISIONS, "")}
    columns = [
        reviewed[field.name] if field.name in reviewed.column_names else pa.nulls(len(reviewed), field.type)
        for field in SCHEMA
    ]
    kept = pa.table(columns, schema=SCHEMA).take(pa.array(order))
    return LabelTable(labels.clip_ids, labels.matrix + added, labels.vocabulary), kept, counts


def _positions(labels: LabelTable, ledger: pa.Table, place: object) -> tuple[np.ndarray, np.ndarray]:
    """Return the (M,) row and column of each label in a ledger."""
    clips = _places(ledger["clip_id"], labels.row_of)
    absent = np.flatnonzero(clips < 0)
    if len(absent):
        named = first_few(ledger["clip_id"].take(pa.array(absent)).to_pylist())
        raise ClipMismatch(f"clips of {len(absent)} added labels are not in the list: {named}", place, OTHER_LIST)
    classes = _places(ledger["class_id"], labels.vocabulary.index)
    for row in np.flatnonzero(classes < 0)[:1].tolist():
        labels.vocabulary.find(ledger["class_id"][row].as_py(), place)  # raises UnknownClass, unless it is a name
        raise InputError(f"{ledger['class_id'][row].as_py()!r} is a class name", place, "Ledgers have class ids.")
    return clips, classes


def _places(column: pa.ChunkedArray, known: Mapping[str, int]) -> np.ndarray:
    distinct = column.combine_chunks().dictionary_encode()
    places = np.array([known.get(value, -1) for value in distinct.dictionary.to_pylist()], np.int64)
    return places[distinct.indices.to_numpy()] if len(places) else np.zeros(0, np.int64)


def _entries(labels: LabelTable, clips: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return where each label stands among those of the matrix, (M,) int64, -1 where the list lacks it."""
    ends, columns = labels.matrix.indptr.astype(np.int64), labels.matrix.indices
    low, high = ends[clips], ends[clips + 1]
    last = high
    while (searched := low < high).any():  # all rows at once: each keeps the half that the class would be in
        middle = (low + high) // 2
        below = searched & (columns[np.where(searched, middle, 0)] < classes)
        low, high = np.where(below, middle + 1, low), np.where(searched & ~below, middle, high)
    there = low < last
    there[there] = columns[low[there]] == classes[there]
    return np.where(there, low, -1)


def _refuse_twice(
    labels: LabelTable, clips: np.ndarray, classes: np.ndarray, earlier: np.ndarray, place: object
) -> None:
    """Raise InputError where one of these labels is among them twice, or was there `earlier`."""
    keys = clips * len(labels.vocabulary) + classes
    order = np.argsort(keys, kind="stable")
    repeated = earlier.copy()
    repeated[order[1:]] |= keys[order[1:]] == keys[order[:-1]]
    if repeated.any():
        first = int(repeated.argmax())
        class_id, clip_id = labels.vocabulary.class_ids[classes[first]], labels.clip_ids[clips[first]]
        raise InputError(f"label {class_id!r} of clip {clip_id!r} is listed twice in the ledger", place)
