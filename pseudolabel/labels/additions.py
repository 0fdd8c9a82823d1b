"""Hold added labels or candidates as arrays, and key (clip, class) pairs by one integer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.table import LabelTable

TYPE_BITS = {"I": 1, "II": 2, "free": 4}  # a guess is `free` if no label of the clip proposes it
BOTH = ("I", "II")
ERROR_NAMES = ("", "I", "II", "I+II", "free")  # by the sum of the bits
NEEDED = ("error", "because", "score", "threshold")  # columns of every ledger that `enhance` writes
OTHER_RUN = "Give the label list and the ledger of the same run."


def type_bits(errors: Iterable[str]) -> int:
    """Return the sum of the bits of the given error types."""
    return sum(TYPE_BITS[error] for error in errors)


@dataclass(frozen=True, eq=False)
class Additions:
    """M added labels, or candidates, as arrays: the rows of a ledger, in its order, indexing a label table.

    Args:
        clips, classes: (M,) int64 rows and columns in the table.
        types: (M,) int8 sums of TYPE_BITS: the error types that propose the label.
        scores, thresholds: (M,) float64, NaN if a label has none or is added by rule.
        onsets_s: (M,) float64 start of the best window in seconds, NaN if the whole clip was scored.
        rounds: (M,) int32, counted from 1.
        probabilities: (M,) float64 that the label is right, NaN if the rule estimates none.
    """

    clips: np.ndarray
    classes: np.ndarray
    types: np.ndarray
    scores: np.ndarray
    thresholds: np.ndarray
    onsets_s: np.ndarray
    rounds: np.ndarray
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.clips)

    @classmethod
    def of(cls, ledger: pa.Table, labels: LabelTable, source: object) -> Self:
        """Return the rows of a ledger as arrays; `source` names the ledger in errors.

        Raises:
            ClipMismatch: a clip is not in the table.
            InputError: a class is not in the vocabulary, an error type is unknown, or a column is missing.
        """
        absent = [name for name in NEEDED if name not in ledger.column_names]
        if absent:
            raise InputError(f"column {absent[0]!r} is missing", source, "Give the ledger that enhance wrote.")
        clips, classes = positions(ledger, labels, source)
        types = index_in(ledger["error"], ERROR_NAMES)
        if len(other := np.flatnonzero(types < 1)):
            error = ledger["error"][int(other[0])].as_py()
            raise InputError(f"error type {error!r} is not one of {', '.join(ERROR_NAMES[1:])}", source)
        scores, thresholds, onsets_s, rounds, probabilities = (
            pc.cast(ledger[name], pa.float64()).to_numpy()
            if name in ledger.column_names
            else np.full(len(clips), np.nan)
            for name in ("score", "threshold", "onset_s", "round", "probability")
        )
        rounds = np.nan_to_num(rounds, nan=1).astype(np.int32)
        return cls(clips, classes, types.astype(np.int8), scores, thresholds, onsets_s, rounds, probabilities)

    def where(self, kept: np.ndarray) -> Self:
        """Return the rows selected by a mask (M,) or by row numbers."""
        return type(self)(*(getattr(self, name)[kept] for name in COLUMNS))

    def without_evidence(self, unasked: np.ndarray) -> Self:
        """Return a copy in which the rows of a mask (M,) have no score, threshold, window or probability."""
        if not unasked.any():
            return self
        names = ("scores", "thresholds", "onsets_s", "probabilities")
        return replace(self, **{name: np.where(unasked, np.nan, getattr(self, name)) for name in names})

    def of_type(self, errors: Iterable[str]) -> np.ndarray:
        """Return which rows are proposed by any of these error types, (M,) bool."""
        return (self.types & type_bits(errors)) > 0


COLUMNS = tuple(column.name for column in fields(Additions))


def concatenated(parts: Sequence[Additions]) -> Additions:
    """Return the rows of all parts, one after the other."""
    return Additions(*(np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS))


def pair_keys(clips: np.ndarray, classes: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the int64 key of each (clip, class) pair: row * K + column; `np.divmod(key, K)` recovers the pair."""
    return clips.astype(np.int64) * n_classes + classes


def label_keys(matrix: sparse.csr_array) -> np.ndarray:
    """Return the keys of all labels of a (N, K) matrix, ascending if the columns of each row are."""
    clips = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return pair_keys(clips, matrix.indices, matrix.shape[1])


def carried(labels: sparse.csr_array, clips: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return whether each clip carries each class, (M,) bool; False for the class -1.

    Args:
        labels: (N, K) csr bool.
        clips, classes: (M,) rows and columns.
    """
    if not len(clips):
        return np.zeros(0, bool)
    return np.asarray(labels[clips, np.maximum(classes, 0)]).ravel() & (classes >= 0)


def index_in(values: Sequence[str] | pa.ChunkedArray, known: Sequence[str]) -> np.ndarray:
    """Return the index of each value in `known`, int64; -1 if absent."""
    if isinstance(values, tuple) and values == known:  # the usual case, with millions of clips
        return np.arange(len(known))
    values = values if isinstance(values, pa.ChunkedArray | pa.Array) else pa.array(values, pa.string())
    indices = pc.index_in(values, value_set=pa.array(known, pa.string()))
    return pc.fill_null(indices, -1).to_numpy().astype(np.int64)


def _rows(column: pa.ChunkedArray, row_of: Mapping[str, int]) -> np.ndarray:
    """Do what `index_in` does, but with a reusable mapping: a ledger of millions of rows comes in many pieces."""
    distinct = column.combine_chunks().dictionary_encode()
    rows = np.array([row_of.get(value, -1) for value in distinct.dictionary.to_pylist()], np.int64)
    return rows[distinct.indices.to_numpy()] if len(rows) else np.zeros(0, np.int64)


def positions(ledger: pa.Table, labels: LabelTable, source: object) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and the column, (M,) int64 each, of every label in a ledger.

    Raises:
        ClipMismatch: a clip is not in the table.
        InputError: a class is not in the vocabulary, or is listed by its name.
    """
    clips, classes = _rows(ledger["clip_id"], labels.row_of), _rows(ledger["class_id"], labels.vocabulary.index)
    if len(absent := np.flatnonzero(clips < 0)):
        named = first_few(ledger["clip_id"].take(pa.array(absent)).to_pylist())
        raise ClipMismatch(f"clips of {len(absent)} added labels are not in the list: {named}", source, OTHER_RUN)
    for row in np.flatnonzero(classes < 0)[:1].tolist():
        class_id = ledger["class_id"][row].as_py()
        labels.vocabulary.find(class_id, source)  # raises UnknownClass unless it is a name
        raise InputError(f"{class_id!r} is a class name", source, "Ledgers list class ids.")
    return clips, classes
