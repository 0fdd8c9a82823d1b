"""What label lists, ledger and thresholds of a release say together: counts, classes, and which classes are weak.

Making a release and verifying it count with the same functions, from the files alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.additions import ERROR_NAMES, TYPE_BITS
from pseudolabel.labels.summary import figures
from pseudolabel.labels.table import LabelTable
from pseudolabel.tables import read_csv

FEW_POSITIVES = 20  # a threshold that is a statistic of fewer scores says little
LOW_PRECISION, LEAST_JUDGED = 0.5, 5
OTHER_RUN = "Give the labels, ledger and thresholds of one run of enhance."


@dataclass(frozen=True, eq=False)
class Added:
    """The M rows of a ledger as numbers: `clips`, `classes` (M,) int64, `types` (M,) int8 sums of TYPE_BITS.

    `scores` and `thresholds` (M,) float64 are NaN where a label was added by rule.
    """

    clips: np.ndarray
    classes: np.ndarray
    types: np.ndarray
    scores: np.ndarray
    thresholds: np.ndarray

    @classmethod
    def of(cls, ledger: pa.Table, labels: LabelTable, place: object) -> Added:
        """Find each row's clip and class.

        Raises:
            ClipMismatch: a clip is not in the list.
            InputError: a class that is not in the vocabulary, another error type, or no ledger of `enhance`.
        """
        absent = [name for name in ("error", "because", "score", "threshold") if name not in ledger.column_names]
        if absent:
            raise InputError(f"column {absent[0]!r} is missing", place, "Give the ledger that enhance wrote.")
        clips = positions(ledger["clip_id"], labels.clip_ids)
        if len(missing := np.flatnonzero(clips < 0)):
            named = first_few(ledger["clip_id"].take(pa.array(missing)).to_pylist())
            raise ClipMismatch(f"clips of {len(missing)} added labels are not in the list: {named}", place, OTHER_RUN)
        classes = positions(ledger["class_id"], labels.vocabulary.class_ids)
        if len(missing := np.flatnonzero(classes < 0)):
            raise labels.vocabulary.unknown(ledger["class_id"][int(missing[0])].as_py(), place, OTHER_RUN)
        types = positions(ledger["error"], ERROR_NAMES)
        if len(missing := np.flatnonzero(types < 1)):
            strange = ledger["error"][int(missing[0])].as_py()
            raise InputError(f"error type {strange!r} is not one of {', '.join(ERROR_NAMES[1:])}", place)
        floats = (pc.cast(ledger[name], pa.float64()).to_numpy() for name in ("score", "threshold"))
        return cls(clips, classes, types.astype(np.int8), *floats)


def positions(values: pa.ChunkedArray, known: Sequence[str]) -> np.ndarray:
    """Return the place of each value among the known ones, int64, -1 where it is none of them."""
    places = pc.index_in(values, value_set=pa.array(known, pa.string()))
    return pc.fill_null(places, -1).to_numpy().astype(np.int64)


def count(original: LabelTable, added: Added, errors: Sequence[str], n_missing: int) -> dict:
    """Return the counts that a card states (PSLA, Table VIII): of clips, of labels before, added and after.

    Args:
        errors: the types that were looked for.
        n_missing: clips that have no scores.
    """
    n_before, n_classes = original.matrix.nnz, len(original.vocabulary)

    def of(kept: np.ndarray) -> dict:
        return figures(np.bincount(added.classes[kept], minlength=n_classes), n_before)

    return {
        "clips": len(original),
        "clips_changed": len(np.unique(added.clips)),
        "clips_without_scores": n_missing,
        "classes": n_classes,
        "labels_before": n_before,
        "labels_after": n_before + len(added.clips),
        "added": of(np.ones(len(added.clips), bool)),
        "added_by_type": {error: of((added.types & TYPE_BITS[error]) > 0) for error in errors},
        "added_by_both_types": int((added.types == sum(TYPE_BITS.values())).sum()),
    }


def count_by_class(
    original: LabelTable, added: Added, errors: Sequence[str], thresholds: Mapping[str, dict]
) -> tuple[dict, ...]:
    """Return a row for each class, vocabulary order; `thresholds` as `read_threshold_table` returns them."""
    vocabulary = original.vocabulary
    before = np.bincount(original.matrix.indices, minlength=len(vocabulary)).tolist()
    every = np.bincount(added.classes, minlength=len(vocabulary)).tolist()
    by_type = {
        error: np.bincount(added.classes[(added.types & TYPE_BITS[error]) > 0], minlength=len(vocabulary)).tolist()
        for error in errors
    }
    return tuple(
        {
            "class_id": class_id,
            "name": vocabulary.names[k],
            "before": before[k],
            "added": every[k],
            **{f"added_{error}": counts[k] for error, counts in by_type.items()},
            "after": before[k] + every[k],
            **thresholds.get(class_id, {"threshold": None, "scored_positives": None, "reason": ""}),
        }
        for k, class_id in enumerate(vocabulary.class_ids)
    )


def read_threshold_table(path: Path, original: LabelTable) -> dict[str, dict]:
    """Return {class id: threshold, scored_positives, reason} of thresholds.csv; nothing where there is no such file.

    Raises:
        InputError: other classes than the vocabulary's, or something that is not a number.
    """
    if not path.exists():
        return {}
    found = {}
    for row in read_csv(path, ("class_id", "threshold", "scored_positives", "reason")):
        try:
            threshold = float(row["threshold"]) if row["threshold"] else None
            n_positives = int(row["scored_positives"])
        except ValueError as error:
            raise InputError(f"not a number ({error})", f"{path}:{row['line']}", OTHER_RUN) from error
        found[row["class_id"]] = {"threshold": threshold, "scored_positives": n_positives, "reason": row["reason"]}
    if tuple(found) != original.vocabulary.class_ids:
        strange = first_few(sorted(set(found) ^ set(original.vocabulary.class_ids))) or "in another order"
        raise InputError(f"its classes are not the vocabulary's: {strange}", path, OTHER_RUN)
    return found


def weak_classes(by_class: Sequence[Mapping], scored: bool, precision: Mapping | None) -> tuple[dict, ...]:
    """Return the classes whose additions deserve a second look, each with the reason.

    Args:
        by_class: rows of `count_by_class`.
        scored: whether a teacher's scores were compared with thresholds.
        precision: what judgements say (precision.json), where there are any.
    """
    judged = {row.get("class_id"): row for row in (precision or {}).get("by_class") or ()}
    found = []
    for row in by_class:
        reasons = []
        if scored and row["threshold"] is None:
            reasons.append(f"no threshold: {row['reason']}" if row["reason"] else "no threshold")
        elif scored and row["scored_positives"] < FEW_POSITIVES:
            reasons.append(f"threshold from fewer than {FEW_POSITIVES} clips ({row['scored_positives']})")
        if row["added"] > row["before"]:
            reasons.append(f"labels more than doubled ({row['before']} to {row['after']})")
        estimate = judged.get(row["class_id"], {})
        rate, n_judged = estimate.get("precision"), estimate.get("judged") or 0
        if rate is not None and rate < LOW_PRECISION and n_judged >= LEAST_JUDGED:
            reasons.append(f"precision {rate:.2f} of {n_judged} judged")
        if reasons:
            found.append({"class_id": row["class_id"], "name": row["name"], "why": "; ".join(reasons)})
    return tuple(found)
