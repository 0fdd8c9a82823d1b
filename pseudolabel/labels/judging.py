"""Judge additions against the true labels: precision and recall by error type and by class.

An addition is right if it is among the clip's true labels. Recall is over missing labels: true labels that the list
before enhancement lacks. Types are those of the ledger (`I`, `II`, `I+II`: both), so they do not overlap and their
counts add up. A type's recall is over the missing labels that it can propose; some are proposed by no type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy import sparse

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.additions import BOTH, TYPE_BITS, label_keys, pair_keys, positions, type_bits
from pseudolabel.labels.table import LabelTable

ERRORS = ("I", "II", "I+II")  # of every report; other types if they occur
JUDGED = ("clip_id", "class_id", "error")  # columns of a ledger
REMEDY = "Give the list that was enhanced by --train-labels."


def judge_additions(
    before: LabelTable,
    after: LabelTable,
    ledger: pa.Table,
    truth: LabelTable | None = None,
    source: object = "",
    proposed: Mapping[str, sparse.csr_array] | None = None,
) -> dict[str, object]:
    """Return what enhancement added and, with `truth`, how much of it is right.

    Args:
        before, after: (N, K) lists of the same clips, in any order.
        ledger: all additions; only the columns JUDGED are used.
        truth: true labels; clips without them are counted and left out of every rate.
        source: the name of the enhanced list in errors.
        proposed: for `I` and `II`, the labels (N, K) that the labels of `before` propose. If given, a type's recall is
            over the missing labels that it can propose, otherwise over all missing labels.

    Returns:
        Counts; `labels_per_clip` before and after, how many clips have 0, 1, 2 ... labels; `by_error` (each type and
        `all`) and `by_class`, as from `rates`; with truth also `labels_before` and `labels_after`, the precision and
        recall of the whole lists.

    Raises:
        ClipMismatch: the lists have different clips, or no clip has true labels.
    InputError: the lists and the ledger contradict each other.
    """
    if other := sorted(set(before.clip_ids) ^ set(after.clip_ids)):
        message = f"{len(other)} clips are in only one of the two lists: {first_few(other)}"
        raise ClipMismatch(message, source, REMEDY)
    added, errors = _added(before, ledger, source)
    old, new = label_keys(before.matrix), label_keys(after.select(before.clip_ids).matrix)
    if n_other := len(np.setxor1d(np.union1d(old, added), new)) + len(np.intersect1d(old, added)):
        raise InputError(f"the ledger and the change of the labels differ in {n_other} labels", source, REMEDY)
    lists = _Lists(before, old, new, added, errors, *_truth(before, truth, source))
    judgement: dict[str, object] = {
        "n_clips": len(before),
        "n_clips_touched": len(np.unique(added // lists.n_classes)),
        "n_classes_touched": len(np.unique(added % lists.n_classes)),
        "n_labels_before": len(old),
        "n_added": len(added),
        "added_percent": None if len(old) == 0 else 100 * len(added) / len(old),
        "labels_per_clip": {"before": lists.per_clip(old), "after": lists.per_clip(new)},
        "by_error": lists.by_error(proposed),
    }
    if truth is not None:
        if proposed is not None:
            judgement["n_missing_not_proposed"] = int((_proposing(lists.missing, proposed) == 0).sum())
        judgement["n_clips_without_truth"] = int((~lists.judged).sum())
        judgement |= {"labels_before": lists.rates_of(old), "labels_after": lists.rates_of(new)}
    return {**judgement, "by_class": lists.by_class()}


@dataclass(frozen=True, eq=False)
class _Lists:
    """Labels before, after, added and true, as ascending keys (`label_keys`) with the row numbers of `before`.

    `errors` are the types of the additions; `judged` (N,) marks clips with true labels; `true` is None without truth.
    """

    before: LabelTable
    old: np.ndarray
    new: np.ndarray
    added: np.ndarray
    errors: np.ndarray
    judged: np.ndarray
    true: np.ndarray | None

    @property
    def n_classes(self) -> int:
        return len(self.before.vocabulary)

    @property
    def missing(self) -> np.ndarray:
        """The true labels that `before` lacks."""
        return np.setdiff1d(self.true, self.old)

    def per_clip(self, keys: np.ndarray) -> list[int]:
        """Return how many clips have 0, 1, 2 ... labels."""
        n_labels = np.bincount(keys // self.n_classes, minlength=len(self.before))
        return np.bincount(n_labels).tolist()

    def n_judged(self, keys: np.ndarray) -> int:
        """Return how many labels belong to clips with true labels."""
        return int(self.judged[keys // self.n_classes].sum())

    def rates(self, added: np.ndarray, n_missing: int) -> dict[str, object]:
        """Return the number of additions and, with truth, how many are judged and right, and their rates.

        `precision` is right / judged, `recall` is right / missing; None if the denominator is 0.
        """
        if self.true is None:
            return {"added": len(added)}
        n_judged, n_right = self.n_judged(added), int(np.isin(added, self.true).sum())
        counts = {"added": len(added), "judged": n_judged, "right": n_right, "missing": n_missing}
        return counts | {"precision": _rate(n_right, n_judged), "recall": _rate(n_right, n_missing)}

    def rates_of(self, keys: np.ndarray) -> dict[str, float | None]:
        """Return precision and recall of a whole list."""
        n_right = int(np.isin(keys, self.true).sum())
        return {"precision": _rate(n_right, self.n_judged(keys)), "recall": _rate(n_right, len(self.true))}

    def by_error(self, proposed: Mapping[str, sparse.csr_array] | None) -> dict[str, dict]:
        """Return the rates of each error type, standard ones first, and of all additions."""
        given = set(self.errors.tolist())
        types, missing = [*ERRORS, *sorted(given - set(ERRORS))], () if self.true is None else self.missing
        n_missing = dict.fromkeys(types, len(missing))
        if proposed is not None and self.true is not None:
            n_missing |= _missing_by_type(missing, proposed, given)
        rates = {error: self.rates(self.added[self.errors == error], n_missing[error]) for error in types}
        return {**rates, "all": self.rates(self.added, len(missing))}

    def by_class(self) -> list[dict]:
        """Return the counts and rates of each class, in vocabulary order."""
        lists = {"before": self.old}
        if self.true is not None:
            lists["before_judged"] = self.old[self.judged[self.old // self.n_classes]]
            lists |= {"before_right": self.old[np.isin(self.old, self.true)], "true": self.true}
        counts = {name: self._counts(keys) for name, keys in lists.items()}
        n_missing = np.zeros(self.n_classes, int) if self.true is None else self._counts(self.missing)
        vocabulary, of_class = self.before.vocabulary, self.added % self.n_classes
        return [
            {
                "class_id": class_id,
                "name": vocabulary.names[k],
                **{name: int(by_class[k]) for name, by_class in counts.items()},
                **self.rates(self.added[of_class == k], int(n_missing[k])),
            }
            for k, class_id in enumerate(vocabulary.class_ids)
        ]

    def _counts(self, keys: np.ndarray) -> np.ndarray:
        return np.bincount(keys % self.n_classes, minlength=self.n_classes)


def _proposing(missing: np.ndarray, proposed: Mapping[str, sparse.csr_array]) -> np.ndarray:
    """Return the error types that propose each missing label, as sums of TYPE_BITS."""
    return sum(
        TYPE_BITS[error] * np.isin(missing, label_keys(sparse.csr_array(labels))) for error, labels in proposed.items()
    )


def _missing_by_type(missing: np.ndarray, proposed: Mapping[str, sparse.csr_array], given: set[str]) -> dict[str, int]:
    """Return how many missing labels each type can propose.

    In a ledger of only one type, labels that both types propose count for that type.
    """
    types = _proposing(missing, proposed)
    if len(given) == 1 and given <= set(BOTH):
        return {error: int((types & TYPE_BITS[error] > 0).sum()) if error in given else 0 for error in ERRORS}
    return {"free": int((types == 0).sum())} | {
        error: int((types == type_bits(error.split("+"))).sum()) for error in ERRORS
    }


def _added(before: LabelTable, ledger: pa.Table, source: object) -> tuple[np.ndarray, np.ndarray]:
    """Return the ascending keys of the additions and their error types."""
    keys, first = np.unique(pair_keys(*positions(ledger, before, source), len(before.vocabulary)), return_index=True)
    if n_twice := len(ledger) - len(keys):
        raise InputError(f"{n_twice} additions are listed twice in the ledger", source, "Run enhance again.")
    return keys, np.array(ledger["error"].to_pylist(), dtype=object)[first]


def _truth(before: LabelTable, truth: LabelTable | None, source: object) -> tuple[np.ndarray, np.ndarray | None]:
    """Return which clips have true labels, (N,) bool, and the keys of the true labels."""
    if truth is None:
        return np.zeros(len(before), bool), None
    judged = np.array([clip_id in truth.row_of for clip_id in before.clip_ids], dtype=bool)
    if not judged.any():
        message = f"none of the {len(before)} enhanced clips has true labels; first: {first_few(before.clip_ids)}"
        raise ClipMismatch(message, source, "Give the --truth of these clips.")
    rows = np.flatnonzero(judged)
    selected = truth.select([before.clip_ids[row] for row in rows]).matrix
    clips, classes = selected.nonzero()
    return judged, pair_keys(rows[clips], classes, len(before.vocabulary))


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
