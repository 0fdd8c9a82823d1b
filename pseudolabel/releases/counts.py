"""Count what a release's label lists, ledger and thresholds hold together, and find its weak classes.

Making and verifying a release use the same functions, on the files alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.additions import BOTH, OTHER_RUN, TYPE_BITS, Additions, type_bits
from pseudolabel.labels.summary import figures
from pseudolabel.labels.table import LabelTable
from pseudolabel.tables import read_csv

FEW_POSITIVES = 20  # a threshold or a probability computed from fewer scores says little
LOW_PRECISION, LEAST_JUDGED = 0.5, 5
OF_GUESSES = {"c": float, "carriers": int, "expected_precision": float}  # columns of thresholds.csv, and their types


def count(original: LabelTable, added: Additions, errors: Sequence[str], n_missing: int) -> dict:
    """Return the counts on the card (PSLA, Table VIII): of clips, and of labels before, added and after.

    Args:
        errors: the types that were searched for.
        n_missing: number of clips without scores.
    """
    n_before, n_classes = original.matrix.nnz, len(original.vocabulary)

    def of(*kinds: str) -> dict:
        return figures(_by_class(added, kinds, n_classes), n_before)

    return {
        "clips": len(original),
        "clips_changed": len(np.unique(added.clips)),
        "clips_without_scores": n_missing,
        "classes": n_classes,
        "labels_before": n_before,
        "labels_after": n_before + len(added.clips),
        "added": of(*TYPE_BITS),
        "added_by_type": {error: of(error) for error in errors},
        "added_by_both_types": int((added.types == type_bits(BOTH)).sum()),
    }


def _by_class(added: Additions, errors: Iterable[str], n_classes: int) -> np.ndarray:
    """Return the number of additions of these types by class, (K,)."""
    return np.bincount(added.classes[added.of_type(errors)], minlength=n_classes)


def count_by_class(
    original: LabelTable, added: Additions, errors: Sequence[str], thresholds: Mapping[str, dict]
) -> tuple[dict, ...]:
    """Return a row for each class in vocabulary order; `thresholds` is from `read_threshold_table`."""
    ids, names, n_classes = original.vocabulary.class_ids, original.vocabulary.names, len(original.vocabulary)
    before = np.bincount(original.matrix.indices, minlength=n_classes).tolist()
    every = _by_class(added, TYPE_BITS, n_classes).tolist()
    by_type = {f"added_{error}": _by_class(added, [error], n_classes).tolist() for error in errors}
    unknown = {"threshold": None, "scored_positives": None, "reason": ""}
    return tuple(
        {
            "class_id": class_id,
            "name": names[k],
            "before": before[k],
            "added": every[k],
            **{column: counts[k] for column, counts in by_type.items()},
            "after": before[k] + every[k],
            **thresholds.get(class_id, unknown),
        }
        for k, class_id in enumerate(ids)
    )


def read_threshold_table(path: Path, original: LabelTable) -> dict[str, dict]:
    """Return {class id: threshold, scored_positives, reason} from thresholds.csv; empty if there is no such file.

    Of a rule that adds the most probable labels also c, carriers and expected_precision.

    Raises:
        InputError: the classes are not the vocabulary's, or a value is not a number.
    """
    if not path.exists():
        return {}
    table = {}
    for row in read_csv(path, ("class_id", "threshold", "scored_positives", "reason")):
        try:
            threshold = float(row["threshold"]) if row["threshold"] else None
            n_positives = int(row["scored_positives"])
            guesses = {name: kind(row[name]) for name, kind in OF_GUESSES.items() if row.get(name)}
        except ValueError as error:
            raise InputError(f"not a number ({error})", f"{path}:{row['line']}", OTHER_RUN) from error
        of_class = {"threshold": threshold, "scored_positives": n_positives, "reason": row["reason"]}
        table[row["class_id"]] = of_class | guesses
    if tuple(table) != original.vocabulary.class_ids:
        differing = first_few(sorted(set(table) ^ set(original.vocabulary.class_ids))) or "in another order"
        raise InputError(f"its classes are not the vocabulary's: {differing}", path, OTHER_RUN)
    return table


def weak_classes(
    by_class: Sequence[Mapping], scored: bool, precision: Mapping | None, every: bool = False, guesses: bool = False
) -> tuple[dict, ...]:
    """Return the classes whose additions need a second look, each with the reason.

    Args:
        by_class: rows of `count_by_class`.
        scored: whether a teacher's scores were compared with thresholds.
        precision: estimates from judgements (precision.json), if there are any.
        every: whether classes without any label are named too, as versions before 0.3.0 did.
        guesses: whether labels were added by their probability.
    """
    judged = {row.get("class_id"): row for row in (precision or {}).get("by_class") or ()}
    listed = (row for row in by_class if every or row["after"])
    found = _weak_guesses if guesses else _weak_threshold if scored else lambda row: []
    reasons = ((row, [*found(row), *_weaknesses(row, judged.get(row["class_id"], {}))]) for row in listed)
    return tuple(
        {"class_id": row["class_id"], "name": row["name"], "why": "; ".join(why)} for row, why in reasons if why
    )


def _weak_threshold(row: Mapping) -> list[str]:
    if row["threshold"] is None:
        return [f"no threshold: {row['reason']}" if row["reason"] else "no threshold"]
    few = row["scored_positives"] < FEW_POSITIVES
    return [f"threshold from fewer than {FEW_POSITIVES} clips ({row['scored_positives']})"] if few else []


def _weak_guesses(row: Mapping) -> list[str]:
    """Return what is weak about a class's probabilities."""
    carriers, expected = row.get("carriers"), row.get("expected_precision")
    if row["reason"]:
        return [f"no guesses: {row['reason']}"]
    few = carriers is not None and carriers < FEW_POSITIVES
    why = [f"probabilities from fewer than {FEW_POSITIVES} clips ({carriers})"] if few else []
    return [*why, f"expected precision {expected:.2f}"] if expected is not None and expected < LOW_PRECISION else why


def _weaknesses(row: Mapping, estimate: Mapping) -> list[str]:
    """Return why the additions to a class need a second look, whatever the rule."""
    why = []
    if row["added"] > row["before"]:
        why.append(f"labels more than doubled ({row['before']} to {row['after']})")
    rate, n_judged = estimate.get("precision"), estimate.get("judged") or 0
    if rate is not None and rate < LOW_PRECISION and n_judged >= LEAST_JUDGED:
        why.append(f"precision {rate:.2f} of {n_judged} judged")
    return why
