"""How good added labels are, where the truth is known: precision and recall by error type and by class.

An addition is right when the clip's true labels hold it. Recall counts the labels that the truth has and the list
before did not; types are those of the ledger (`I`, `II`, `I+II`: both), so they do not overlap and their counts add up.
A type's recall is taken over the missing labels that it can find; some are found by none, where a clip's labels do not
propose them at all.

Labels are compared as sorted int64 keys, row * K + column, with the rows of the list before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.ledger import FEW_ROWS, refuse_many
from pseudolabel.labels.readers import columns
from pseudolabel.labels.table import LabelTable
from pseudolabel.tables import text_rows

ERRORS = ("I", "II", "I+II")
COLUMNS = ("clip_id", "class_id", "error")
REMEDY = "Give the list that was enhanced by --train-labels."


def read_ledger_errors(path: str | Path) -> list[tuple[str, str, str]]:
    """Return (clip id, class id, error type) of every addition in a ledger.csv.gz.

    Raises:
        InputError: the file is missing or damaged, lacks a column, or has more rows than fit into memory.
    """
    rows: list[tuple[str, str, str]] = []
    for _, row in columns(text_rows(path), Path(path), *((name,) for name in COLUMNS)):
        rows.append(row)
        if not len(rows) % FEW_ROWS:
            refuse_many(len(rows), path)
    return rows


def judge_additions(
    before: LabelTable,
    after: LabelTable,
    ledger: Sequence[tuple[str, str, str]],
    truth: LabelTable | None = None,
    place: object = "",
    proposed: Mapping[str, sparse.csr_array] | None = None,
) -> dict[str, object]:
    """Return what enhancement added and, with `truth`, how much of it is right.

    Args:
        before, after: (N, K) lists of the same clips, in any order.
        ledger: (clip id, class id, error type) of every addition.
        truth: true labels; clips without them are left out of every rate and counted.
        place: what errors call the enhanced list.
        proposed: `I` and `II` -> the labels (N, K) that those of `before` propose; with them a type's recall is taken
            over the missing labels that it can find at all, without them over all missing labels.

    Returns:
        Counts; `by_error` (each type and `all`) and `by_class`: `added`, and with truth `judged`, `right`, `missing`,
        `precision` (right / judged), `recall` (right / missing); `labels_before` and `labels_after`: precision and
        recall of the whole lists. A rate of nothing is None.

    Raises:
        ClipMismatch: the lists hold other clips, or no clip has truth.
        InputError: the lists and the ledger contradict each other.
    """
    if set(before.clip_ids) != set(after.clip_ids):
        other = sorted(set(before.clip_ids) ^ set(after.clip_ids))
        raise ClipMismatch(f"{len(other)} clips stand in only one of the two lists: {first_few(other)}", place, REMEDY)
    n_clips, n_classes = len(before), len(before.vocabulary)
    old, new = _keys(before), _keys(after.select(before.clip_ids))
    added, kinds = _ledger_keys(before, ledger, place)
    n_other = len(np.setxor1d(np.union1d(old, added), new)) + len(np.intersect1d(old, added))
    if n_other:
        raise InputError(f"the ledger and the change of the labels differ in {n_other} labels", place, REMEDY)

    judged, true = _true_keys(before, truth, place)
    in_truth = {name: np.isin(keys, true) for name, keys in (("old", old), ("new", new), ("added", added))}
    known = judged[added // n_classes]
    missing = np.setdiff1d(true, old)

    def rates(chosen: np.ndarray, n_missing: int) -> dict[str, object]:
        counts: dict[str, object] = {"added": int(chosen.sum())}
        if truth is None:
            return counts
        n_judged, n_right = int((chosen & known).sum()), int((chosen & in_truth["added"]).sum())
        counts |= {"judged": n_judged, "right": n_right, "missing": n_missing}
        return counts | {"precision": _rate(n_right, n_judged), "recall": _rate(n_right, n_missing)}

    n_missing = _missing_by_type(missing, proposed, _types(kinds), set(kinds.tolist()))
    by_error = {kind: rates(kinds == kind, n_missing[kind]) for kind in _types(kinds)}
    judgement: dict[str, object] = {
        "n_clips": n_clips,
        "n_clips_touched": len(np.unique(added // n_classes)),
        "n_classes_touched": len(np.unique(added % n_classes)),
        "n_labels_before": len(old),
        "n_added": len(added),
        "added_percent": None if len(old) == 0 else 100 * len(added) / len(old),
        "by_error": {**by_error, "all": rates(np.ones(len(added), bool), len(missing))},
    }
    if truth is not None:
        if proposed is not None:
            judgement["n_missing_not_proposed"] = int((_proposed_by(missing, proposed) == 0).sum())
        judgement["n_clips_without_truth"] = int((~judged).sum())
        for name, keys in (("old", old), ("new", new)):
            n_right, n_listed = int(in_truth[name].sum()), int(judged[keys // n_classes].sum())
            listed = {"precision": _rate(n_right, n_listed), "recall": _rate(n_right, len(true))}
            judgement["labels_before" if name == "old" else "labels_after"] = listed
    counts = {"before": old, "before_judged": old[judged[old // n_classes]]}
    counts |= {"before_right": old[in_truth["old"]], "true": true, "missing": missing}
    per_class = {name: np.bincount(keys % n_classes, minlength=n_classes) for name, keys in counts.items()}
    shown = ("before",) if truth is None else ("before", "before_judged", "before_right", "true")
    judgement["by_class"] = [
        {
            "class_id": class_id,
            "name": before.vocabulary.names[k],
            **{name: int(per_class[name][k]) for name in shown},
            **rates(added % n_classes == k, int(per_class["missing"][k])),
        }
        for k, class_id in enumerate(before.vocabulary.class_ids)
    ]
    return judgement


def _keys(labels: LabelTable) -> np.ndarray:
    return _matrix_keys(labels.matrix)


def _matrix_keys(matrix: sparse.csr_array) -> np.ndarray:
    rows, columns = matrix.nonzero()
    return np.sort(rows.astype(np.int64) * matrix.shape[1] + columns)


def _proposed_by(missing: np.ndarray, proposed: Mapping[str, sparse.csr_array]) -> np.ndarray:
    """Return for each missing label 1 where Type I proposes it, 2 where Type II does, 3 for both, 0 for none."""
    bits = {"I": 1, "II": 2}
    return sum(bit * np.isin(missing, _matrix_keys(proposed[kind])) for kind, bit in bits.items())


def _missing_by_type(
    missing: np.ndarray, proposed: Mapping[str, sparse.csr_array] | None, types: Sequence[str], found: set[str]
) -> dict[str, int]:
    """Return how many missing labels each type can find; a ledger of one type alone has none by both."""
    if proposed is None:
        return dict.fromkeys(types, len(missing))
    by = _proposed_by(missing, proposed)
    if len(found) == 1 and found <= {"I", "II"}:
        alone = {"I": by & 1, "II": by >> 1}
        return {kind: int(alone[kind].sum()) if kind in found else 0 for kind in types}
    exactly = {"I": 1, "II": 2, "I+II": 3}
    return {kind: int((by == exactly[kind]).sum()) if kind in exactly else len(missing) for kind in types}


def _types(kinds: np.ndarray) -> list[str]:
    """Return the error types of a report: the three standard ones, then any other by name."""
    return [*ERRORS, *sorted(set(kinds.tolist()) - set(ERRORS))]


def _ledger_keys(
    before: LabelTable, ledger: Sequence[tuple[str, str, str]], place: object
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted keys of the additions and their error types."""
    absent = sorted({clip_id for clip_id, _, _ in ledger if clip_id not in before.row_of})
    if absent:
        message = f"{len(absent)} clips of the ledger are not in the list: {first_few(absent)}"
        raise ClipMismatch(message, place, REMEDY)
    vocabulary = before.vocabulary
    found = [
        before.row_of[clip_id] * len(vocabulary) + vocabulary.index[vocabulary.find(class_id, place)]
        for clip_id, class_id, _ in ledger
    ]
    keys, first = np.unique(np.array(found, dtype=np.int64), return_index=True)
    if len(keys) != len(ledger):
        raise InputError(f"{len(ledger) - len(keys)} additions stand in the ledger twice", place, "Run enhance again.")
    return keys, np.array([error for _, _, error in ledger], dtype=object)[first]


def _true_keys(before: LabelTable, truth: LabelTable | None, place: object) -> tuple[np.ndarray, np.ndarray]:
    """Return which clips have truth, (N,) bool, and the keys of their true labels."""
    if truth is None:
        return np.zeros(len(before), bool), np.zeros(0, np.int64)
    judged = np.array([clip_id in truth.row_of for clip_id in before.clip_ids], dtype=bool)
    if not judged.any():
        message = f"none of the {len(before)} enhanced clips has true labels; first: {first_few(before.clip_ids)}"
        raise ClipMismatch(message, place, "Give the --truth of these clips.")
    rows = np.flatnonzero(judged)
    keys = _keys(truth.select([before.clip_ids[row] for row in rows]))
    n_classes = len(before.vocabulary)
    return judged, rows[keys // n_classes] * n_classes + keys % n_classes


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
