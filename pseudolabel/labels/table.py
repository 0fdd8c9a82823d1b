"""LabelTable: which clip carries which labels."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel.artefacts import write_csv
from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.formats import read_label_rows
from pseudolabel.labels.vocabulary import Vocabulary

HEADER = ("clip_id", "labels")


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Hard labels of N clips in the K classes of a vocabulary.

    Args:
        clip_ids: (N,) distinct ids, in the order of the list they came from.
        matrix: (N, K) bool; any sparse or dense matrix is taken and kept as csr, columns in order.
        vocabulary: the K classes.
    """

    clip_ids: tuple[str, ...]
    matrix: sparse.csr_array
    vocabulary: Vocabulary

    def __post_init__(self) -> None:
        matrix = sparse.csr_array(self.matrix, dtype=bool)
        if not matrix.has_canonical_format or not matrix.data.all():
            matrix = matrix.copy()
            matrix.sum_duplicates()
            matrix.eliminate_zeros()
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "clip_ids", tuple(self.clip_ids))
        shape = (len(self.clip_ids), len(self.vocabulary))
        if matrix.shape != shape:
            raise InputError(f"the label matrix has the shape {matrix.shape}, clips and classes say {shape}")
        if len(set(self.clip_ids)) != len(self.clip_ids):
            first, second = _first_repeated(self.clip_ids)
            raise InputError(f"clip {self.clip_ids[second]!r} stands in rows {first} and {second}")

    @classmethod
    def read(cls, path: str | Path, vocabulary: Vocabulary, format: str | None = None) -> LabelTable:
        """Read a label list (formats.py says which forms); labels are class ids or class names.

        Raises:
            InputError: no clips, a clip id that is empty or given twice, a missing column, an unknown format.
            UnknownClass: a label that is not in the vocabulary; the message says the line and the nearest class.
        """
        rows, separator = read_label_rows(path, format)
        clip_ids, lines, codes, code_of, label_sets = [], array("q"), array("q"), {}, []
        for line, clip_id, text in rows:
            code = code_of.get(text)
            if code is None:
                code = code_of[text] = len(label_sets)
                label_sets.append(_columns_of(text, separator, vocabulary, f"{path}:{line}"))
            clip_ids.append(clip_id)
            lines.append(line)
            codes.append(code)
        if not clip_ids:
            raise InputError("the label list has no clips", path)
        _check_clip_ids(clip_ids, lines, path)
        distinct = _matrix(label_sets, len(vocabulary))
        return cls(tuple(clip_ids), distinct[np.frombuffer(codes, dtype=np.int64)], vocabulary)

    @classmethod
    def from_sets(
        cls, clip_ids: Iterable[str], label_sets: Iterable[Iterable[str]], vocabulary: Vocabulary
    ) -> LabelTable:
        """Return the table of clips with these class ids; `clip_ids` and `label_sets` run in step."""
        columns = [[vocabulary.index[vocabulary.find(label)] for label in labels] for labels in label_sets]
        return cls(tuple(clip_ids), _matrix(columns, len(vocabulary)), vocabulary)

    def write(self, path: str | Path, format: str = "csv", overwrite: bool = True) -> None:
        """Write the list, one row a clip in table order, labels in vocabulary order."""
        if format != "csv":
            raise InputError(f"labels cannot be written as {format!r}", path, "Formats: csv.")
        labels = (";".join(labels) for labels in self._iterate_sets())
        write_csv(path, HEADER, zip(self.clip_ids, labels, strict=True), overwrite)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LabelTable):
            return NotImplemented
        return (
            self.clip_ids == other.clip_ids
            and self.vocabulary == other.vocabulary
            and np.array_equal(self.matrix.indptr, other.matrix.indptr)
            and np.array_equal(self.matrix.indices, other.matrix.indices)
        )

    __hash__ = None

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each clip id."""
        return {clip_id: row for row, clip_id in enumerate(self.clip_ids)}

    def rows(self, clip_ids: Sequence[str]) -> np.ndarray:
        """Return the rows (int64) of these clips.

        Raises:
            ClipMismatch: one of them is not in the table.
        """
        row_of = self.row_of
        absent = [clip_id for clip_id in clip_ids if clip_id not in row_of]
        if absent:
            raise ClipMismatch(
                f"{len(absent)} of {len(clip_ids)} clips have no row in the label list: {first_few(absent)}",
                remedy="Give the label list of the same clips.",
            )
        return np.fromiter((row_of[clip_id] for clip_id in clip_ids), np.int64, len(clip_ids))

    def select(self, clip_ids: Sequence[str]) -> LabelTable:
        """Return the table of these clips only, in the order asked for."""
        return LabelTable(tuple(clip_ids), self.matrix[self.rows(clip_ids)], self.vocabulary)

    def label_sets(self) -> list[tuple[str, ...]]:
        """Return the class ids of each clip, in vocabulary order."""
        return list(self._iterate_sets())

    def _iterate_sets(self) -> Iterator[tuple[str, ...]]:
        ids = self.vocabulary.class_ids
        flat = [ids[column] for column in self.matrix.indices.tolist()]
        start = 0
        for end in self.matrix.indptr[1:].tolist():
            yield tuple(flat[start:end])
            start = end


def _columns_of(text: str, separator: str, vocabulary: Vocabulary, place: str) -> list[int]:
    labels = [label.strip() for label in text.split(separator)]
    return [vocabulary.index[vocabulary.find(label, place)] for label in labels if label]


def _matrix(label_sets: list[list[int]], n_classes: int) -> sparse.csr_array:
    """Return the (rows, K) bool matrix of sets of columns; a column named twice counts once."""
    label_sets = [sorted(set(columns)) for columns in label_sets]
    ends = np.cumsum([0, *map(len, label_sets)])
    columns = np.array([column for columns in label_sets for column in columns], dtype=np.int32)
    return sparse.csr_array((np.ones(len(columns), bool), columns, ends), shape=(len(label_sets), n_classes))


def _first_repeated(clip_ids: Sequence[str]) -> tuple[int, int]:
    """Return the rows of the first clip id that stands there twice."""
    seen = {}
    for row, clip_id in enumerate(clip_ids):
        if seen.setdefault(clip_id, row) != row:
            return seen[clip_id], row
    raise ValueError("no clip id stands there twice")


def _check_clip_ids(clip_ids: list[str], lines: array, path: str | Path) -> None:
    distinct = set(clip_ids)
    if "" in distinct:
        raise InputError("the clip id is empty", f"{path}:{lines[clip_ids.index('')]}")
    if len(distinct) != len(clip_ids):
        first, second = _first_repeated(clip_ids)
        raise InputError(
            f"clip {clip_ids[second]!r} stands there twice, first in line {lines[first]}", f"{path}:{lines[second]}",
            "Keep one row a clip, its labels joined.",
        )  # fmt: skip
