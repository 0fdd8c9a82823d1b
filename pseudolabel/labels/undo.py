"""Undo additions, or keep only those that a reviewer judged right."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from pseudolabel.errors import InputError, first_few
from pseudolabel.formatting import plural
from pseudolabel.labels.additions import ERROR_NAMES, OTHER_RUN, index_in, label_keys, pair_keys, positions
from pseudolabel.labels.ledger import BECAUSE, SCHEMA, numbers
from pseudolabel.labels.table import LabelTable

DECISIONS = ("right", "wrong", "unsure")
FEW = 4  # clips named in an error
OF_LEDGER = "Correct it as in the ledger that was reviewed."
ERROR, LARGEST = "error", np.finfo(float).max
NUMBERS = {  # what enhance writes: least, most, and how an error says it
    "score": (-LARGEST, LARGEST, "a number"),
    "threshold": (-np.inf, np.inf, "a number"),
    "probability": (0, 1, "a number from 0 to 1"),
    "round": (1, LARGEST, "a whole number of 1 or more"),
    "window_s": (np.nextafter(0, 1), LARGEST, "a length above 0"),
    "onset_s": (0, LARGEST, "0 or more"),
}


def undo(labels: LabelTable, ledger: pa.Table, source: object = "", whole: pa.Table | None = None) -> LabelTable:
    """Return the labels without a ledger's additions: the list before enhancement.

    Args:
        labels: the enhanced list.
        ledger: its additions; only the columns `clip_id` and `class_id` are used.
        source: the name of the ledger in errors.
        whole: the ledger of all additions, of which `ledger` may be a part: what only labels that are taken back
            proposed is taken back too.

    Raises:
        ClipMismatch: a clip in the ledger is not in the list.
        InputError: an added label is not in the list or not in `whole`, or is in the ledger twice.
    """
    return without_additions(labels, [ledger], source, None if whole is None else [whole])[0]


def without_additions(
    labels: LabelTable, pieces: Iterable[pa.Table], source: object = "", whole: Iterable[pa.Table] | None = None
) -> tuple[LabelTable, int, int]:
    """Do what `undo` does for a ledger read in pieces, one in memory at a time.

    Args:
        whole: as for `undo`, in pieces.

    Returns:
        The labels, the number of additions in `pieces`, and how many more were taken back.
    """
    matrix, keys = labels.matrix, label_keys(labels.matrix)
    taken, absent = np.zeros(matrix.nnz, bool), []
    for piece in pieces:
        wanted = pair_keys(*positions(piece, labels, source), matrix.shape[1])
        entries = _entries(keys, wanted)
        absent.append(wanted[entries < 0] // matrix.shape[1])
        wanted, entries = wanted[entries >= 0], entries[entries >= 0]
        _refuse_repeated(labels, wanted, taken[entries], source)
        taken[entries] = True
    if n_absent := sum(map(len, absent)):
        named = first_few(labels.clip_ids[clip] for clip in np.concatenate(absent)[:FEW])
        raise InputError(f"{n_absent} added labels are not in the list: clips {named}", source, OTHER_RUN)
    n_named = int(taken.sum())
    if whole is not None:
        taken[_entries(keys, _left_unsupported(labels, keys, taken, whole, source))] = True
    n_kept = np.concatenate([[0], np.cumsum(~taken)])[matrix.indptr]
    kept = sparse.csr_array((matrix.data[~taken], matrix.indices[~taken], n_kept), shape=matrix.shape)
    return LabelTable(labels.clip_ids, kept, labels.vocabulary), n_named, int(taken.sum()) - n_named


def _left_unsupported(
    labels: LabelTable, keys: np.ndarray, taken: np.ndarray, whole: Iterable[pa.Table], source: object
) -> np.ndarray:
    """Return the keys of additions that only `taken` entries of `keys`, absent labels, or each other proposed.

    Raises:
        InputError: a taken label is not in `whole`, so it is not an addition.
    """
    n_classes, added, proposals = len(labels.vocabulary), [], []
    given = taken.copy()
    touched = np.zeros(len(labels), bool)
    touched[keys[taken] // n_classes] = True
    for piece in whole:
        clips, classes = positions(piece, labels, "the whole ledger")
        wanted = pair_keys(clips, classes, n_classes)
        entries = _entries(keys, wanted)
        given[entries[entries >= 0]] = False
        left = np.flatnonzero(touched[clips] & (entries >= 0) & ~taken[entries])
        proposals.append(_proposals(piece[BECAUSE].take(pa.array(left)), wanted[left], labels))
        added.append(wanted[left])
    if given.any():
        named = first_few(labels.clip_ids[clip] for clip in (keys[given] // n_classes).tolist())
        message = f"{plural(int(given.sum()), 'label')} not in the ledger beside the list, so not added: clips {named}"
        raise InputError(message, source, "Give rows of that ledger alone.")
    if not added:
        return np.zeros(0, np.int64)
    rows = np.cumsum([0, *map(len, added)])
    rows = np.concatenate([first + of_piece for first, (of_piece, _) in zip(rows, proposals, strict=False)])
    added, proposing = np.concatenate(added), np.concatenate([of_piece for _, of_piece in proposals])
    absent = proposing[(proposing >= 0) & (_entries(keys, proposing) < 0)]
    return added[_unsupported(added, rows, proposing, np.concatenate([keys[taken], absent]))]


def apply_decisions(
    labels: LabelTable, reviewed: pa.Table, source: object = ""
) -> tuple[LabelTable, pa.Table, dict[str, int]]:
    """Return the labels plus the additions judged right, the ledger of those, and the number of each decision.

    Args:
        labels: the original list.
        reviewed: a ledger with the column `decision`: right, wrong, unsure, or empty if undecided (counted as
            `undecided`). What only labels judged wrong, or in neither list, proposed is not added (counted as
            `unsupported`).
        source: the name of the ledger in errors.

    Raises:
        ClipMismatch: a clip in the ledger is not in the list.
        InputError: a decision is unknown, a column has a value that `enhance` does not write, or a label is already in
            the list or is in the ledger twice.
    """
    keys, decided = decisions_of(labels, reviewed, source)
    given = keys[_entries(label_keys(labels.matrix), keys) >= 0]
    if len(given):
        named = first_few(labels.clip_ids[clip] for clip in (given // len(labels.vocabulary)).tolist())
        raise InputError(f"{len(given)} labels were there already: clips {named}", source, "Give the list before.")
    _check_evidence(reviewed, source)
    right = _supported(reviewed, labels, keys, decided)
    right = right[np.argsort(keys[right], kind="stable")]
    added = sparse.csr_array(
        (np.ones(len(right), bool), np.divmod(keys[right], len(labels.vocabulary))), shape=labels.matrix.shape
    )
    counts = {name or "undecided": int((decided == name).sum()) for name in (*DECISIONS, "")}
    if n_unsupported := counts["right"] - len(right):
        counts["unsupported"] = n_unsupported
    columns = [
        reviewed[field.name] if field.name in reviewed.column_names else pa.nulls(len(reviewed), field.type)
        for field in SCHEMA
    ]
    kept = pa.table(columns, schema=SCHEMA).take(pa.array(right))
    return LabelTable(labels.clip_ids, labels.matrix + added, labels.vocabulary), kept, counts


def decisions_of(labels: LabelTable, reviewed: pa.Table, source: object) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys of the reviewed labels and their decisions: one of DECISIONS or '', (M,) each.

    Raises:
        ClipMismatch, InputError: as `apply_decisions`.
    """
    decisions = pc.utf8_lower(pc.utf8_trim_whitespace(reviewed["decision"].combine_chunks()))
    decided = np.array(decisions.to_pylist(), dtype=object)
    others = np.flatnonzero(~np.isin(decided, (*DECISIONS, "")))
    if len(others):
        row = int(others[0])
        remedy = f"Give {', '.join(DECISIONS)}, or nothing."
        raise InputError(f"decision {decided[row]!r} in data row {row + 1}", source, remedy)
    keys = pair_keys(*positions(reviewed, labels, source), len(labels.vocabulary))
    _refuse_repeated(labels, keys, False, source)
    return keys, decided


def _supported(reviewed: pa.Table, labels: LabelTable, keys: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Return the rows judged right, but not those that only labels judged wrong, absent, or not supported, proposed."""
    right = np.flatnonzero(decided == "right")
    if BECAUSE not in reviewed.column_names:
        return right
    rows, proposing = _proposals(reviewed[BECAUSE].take(pa.array(right)), keys[right], labels)
    there = np.isin(proposing, np.concatenate([label_keys(labels.matrix), keys]))
    absent = proposing[(proposing >= 0) & ~there]
    return right[~_unsupported(keys[right], rows, proposing, np.concatenate([keys[decided == "wrong"], absent]))]


def _numbers(reviewed: pa.Table, name: str, source: object) -> np.ndarray:
    try:
        return numbers(reviewed, name)
    except pa.ArrowException:
        raise InputError(f"column {name!r} has other values than numbers", source, OF_LEDGER) from None


def _check_evidence(reviewed: pa.Table, source: object) -> None:
    """Raise InputError if a row has an error type or a number that no ledger of `enhance` has."""
    columns = [name for name in reviewed.column_names if name in (ERROR, *NUMBERS)]
    for name in columns:
        if name == ERROR:
            allowed, said = index_in(reviewed[name], ERROR_NAMES) >= 0, f"one of {', '.join(ERROR_NAMES[1:])}"
        else:
            least, most, said = NUMBERS[name]
            values = _numbers(reviewed, name, source)
            allowed = reviewed[name].is_null().to_numpy() | ((values >= least) & (values <= most))
        for row in np.flatnonzero(~allowed)[:1].tolist():
            message = f"{name} is {str(reviewed[name][row].as_py())!r}, not {said}"
            raise InputError(message, f"{source}: data row {row + 1}", OF_LEDGER)


def _proposals(because: pa.ChunkedArray, keys: np.ndarray, labels: LabelTable) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows (P,) were proposed, and the keys (P,) of the labels that proposed them; -1: an unknown class.

    `because` (M,) names these labels, joined by `;`; `keys` (M,) are those of the additions.
    """
    lists = pc.split_pattern(because.cast(pa.string()).combine_chunks(), ";")
    rows = np.asarray(pc.list_parent_indices(lists), np.int64)
    found = pc.index_in(pc.list_flatten(lists), pa.array(labels.vocabulary.class_ids, pa.string()))
    classes = np.asarray(pc.fill_null(found, -1), np.int64)
    n_classes = len(labels.vocabulary)
    return rows, np.where(classes < 0, -1, keys[rows] // n_classes * n_classes + classes)


def _unsupported(keys: np.ndarray, rows: np.ndarray, proposing: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """Return which additions only rejected labels, or other unsupported additions, proposed, (M,) bool.

    Args:
        keys: (M,) of the additions.
        rows, proposing: (P,) the label with the key `proposing` proposed the addition in row `rows`.
        rejected: keys of labels.
    """
    unsupported, proposed = np.zeros(len(keys), bool), np.bincount(rows, minlength=len(keys)) > 0
    while True:
        supporting = ~np.isin(proposing, rejected)
        new = proposed & ~unsupported & (np.bincount(rows[supporting], minlength=len(keys)) == 0)
        if not new.any():
            return unsupported
        unsupported |= new
        rejected = np.concatenate([rejected, keys[new]])


def _entries(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the index of each wanted key in the ascending `keys`, (M,) int64; -1 if absent."""
    entries = np.searchsorted(keys, wanted)
    listed = entries < len(keys)
    listed[listed] = keys[entries[listed]] == wanted[listed]
    return np.where(listed, entries, -1)


def _refuse_repeated(labels: LabelTable, keys: np.ndarray, earlier: np.ndarray | bool, source: object) -> None:
    """Raise InputError if a key is repeated, or is marked in `earlier` as already seen."""
    order = np.argsort(keys, kind="stable")
    repeated = np.zeros(len(keys), bool) | earlier
    repeated[order[1:]] |= keys[order[1:]] == keys[order[:-1]]
    if repeated.any():
        clip, k = divmod(int(keys[repeated.argmax()]), len(labels.vocabulary))
        label = f"label {labels.vocabulary.class_ids[k]!r} of clip {labels.clip_ids[clip]!r}"
        raise InputError(f"{label} is listed twice in the ledger", source, "Keep one row of it.")
