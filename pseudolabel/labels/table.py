"""LabelTable: which clip carries which labels."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel.artefacts import write_csv
from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.formatting import plural
from pseudolabel.labels.label_texts import LabelTexts
from pseudolabel.labels.readers import Format, read_label_rows
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import LABEL_COLUMNS
from pseudolabel.tables import ODD

ON_UNKNOWN = ("error", "skip")  # how to treat labels outside the vocabulary


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Hard labels of N clips over the K classes of a vocabulary.

    Args:
        clip_ids: (N,) distinct ids, in the order of their list.
        matrix: (N, K) bool; any sparse or dense matrix is converted to CSR with sorted columns.
        vocabulary: the K classes.
        left_out: {unknown label: how often it was skipped} when the list was read.
        remarks: what else the reader left out or decided, a sentence each.
    """

    clip_ids: tuple[str, ...]
    matrix: sparse.csr_array
    vocabulary: Vocabulary
    left_out: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        matrix = sparse.csr_array(self.matrix, dtype=bool)
        if not matrix.has_canonical_format or not matrix.data.all():
            matrix = matrix.copy()
            matrix.sum_duplicates()
            matrix.eliminate_zeros()
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "clip_ids", tuple(self.clip_ids))
        object.__setattr__(self, "vocabulary", Vocabulary.of(self.vocabulary))
        shape = (len(self.clip_ids), len(self.vocabulary))
        if matrix.shape != shape:
            raise InputError(f"the label matrix has the shape {matrix.shape}, clips and classes say {shape}")
        if len(set(self.clip_ids)) != len(self.clip_ids):
            first, second = _first_repeated(self.clip_ids)
            raise InputError(f"clip {self.clip_ids[second]!r} is listed in rows {first} and {second}")

    @classmethod
    def read(
        cls,
        path: str | Path,
        vocabulary: Vocabulary | str | Path,
        format: str | None = None,
        unknown: str = "error",
        classes: Vocabulary | str | Path | None = None,
    ) -> LabelTable:
        """Read a label list in any known format (readers.py); labels are class ids or class names.

        Args:
            vocabulary: a Vocabulary, its name or its file, here and elsewhere.
            format: a key of readers.FORMATS; None: recognized.
            classes: the classes that numbers in the list mean, in their order; None: AudioSet's, if they are the
                vocabulary's.
            unknown: `skip` leaves out labels that are not in the vocabulary and counts them in `left_out`; clips stay.

        Raises:
            InputError: there are no clips, a clip id is empty or listed twice, a column is missing, or the format is
                unknown.
            UnknownClass: a label is not in the vocabulary; the message gives the line and the nearest class.
        """
        if unknown not in ON_UNKNOWN:
            raise InputError(f"unknown labels are {' or '.join(ON_UNKNOWN)}, not {unknown!r}", path)
        vocabulary = Vocabulary.of(vocabulary)
        entries, known = read_label_rows(path, format)
        texts = LabelTexts(path, known, vocabulary, classes, numbered=known.numbered and format is not None)
        row_of, first, rows, numbers, codes = {}, array("q"), array("q"), array("q"), array("q")
        for number, clip_id, labels in entries:
            row, code = row_of.setdefault(clip_id, len(row_of)), texts.code(labels, number, unknown)
            if row == len(first):
                first.append(len(rows))
            elif known.row == "clip" or (known.row == "label" and texts.most_labels(codes[first[row]], code) > 1):
                raise _listed_twice(clip_id, numbers[first[row]], number, path, known)
            rows.append(row)
            numbers.append(number)
            codes.append(code)
        if not row_of:
            raise entries.no_clips()
        texts.finish()
        _check_ids(row_of, lambda row: known.place(path, numbers[rows.index(row)]))
        matrix = _matrix(texts.label_sets, len(vocabulary))[np.frombuffer(codes, dtype=np.int64)]
        remarks = [*entries.remarks, *texts.remarks]
        if len(row_of) != len(rows):
            matrix = _united(np.frombuffer(rows, dtype=np.int64), matrix)
            if known.row == "label":
                remarks.append(f"read as one row a label: {plural(len(rows), 'row')}, {plural(len(row_of), 'clip')}")
        remarks = tuple(f"{path}: {remark}" for remark in remarks)
        return cls(tuple(row_of), matrix, vocabulary, _counts(texts.unknown_of, codes), remarks)

    @classmethod
    def from_sets(
        cls, clip_ids: Iterable[str], label_sets: Iterable[Iterable[str]], vocabulary: Vocabulary | str | Path
    ) -> LabelTable:
        """Build a table from parallel sequences of clip ids and their class ids."""
        vocabulary = Vocabulary.of(vocabulary)
        columns = [[vocabulary.index[vocabulary.find(label)] for label in labels] for labels in label_sets]
        return cls(tuple(clip_ids), _matrix(columns, len(vocabulary)), vocabulary)

    def write(
        self,
        path: str | Path,
        format: str = "csv",
        overwrite: bool = True,
        *,
        segments: Mapping[str, tuple[str, str]] | None = None,
        wav: str = "{clip_id}",
    ) -> None:
        """Write the list, one row per clip in table order, labels in vocabulary order.

        Args:
            format: `csv`, `audioset`, `psla` or `parquet`.
            segments: for `audioset`, {clip id: (start, end)}; readers.read_segments reads them from a published list.
            wav: for `psla`, the paths of the recordings, for example `audio/{clip_id}.flac`.

        Raises:
            InputError: the format is unknown, or cannot hold an id.
            OutputExists: the file exists and `overwrite` is false.
        """
        from pseudolabel.labels import writers

        rows, class_ids = zip(self.clip_ids, self._iterate_sets(), strict=True), self.vocabulary.class_ids
        forms = {
            "csv": lambda: write_csv(
                path, LABEL_COLUMNS, ((clip_id, ";".join(ids)) for clip_id, ids in rows), overwrite
            ),
            "audioset": lambda: writers.write_audioset(path, rows, segments or {}, overwrite),
            "psla": lambda: writers.write_psla(path, rows, wav, overwrite),
            "parquet": lambda: writers.write_parquet(path, self.clip_ids, self.matrix, class_ids, overwrite),
        }
        if format not in forms:
            raise InputError(f"labels cannot be written as {format!r}", path, f"Formats: {', '.join(forms)}.")
        forms[format]()

    def __repr__(self) -> str:
        n_labels = plural(self.matrix.nnz, "label")
        return f"<LabelTable: {plural(len(self), 'clip')}, {n_labels} of {self.vocabulary!r}>"

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
        """Return the rows (int64) of the given clips.

        Raises:
            ClipMismatch: a clip is not in the table.
        """
        row_of = self.row_of
        absent = [clip_id for clip_id in clip_ids if clip_id not in row_of]
        if absent:
            message = f"{len(absent)} of {len(clip_ids)} clips are not in the label list: {first_few(absent)}"
            raise ClipMismatch(message, remedy="Give the label list of the same clips.")
        return np.fromiter((row_of[clip_id] for clip_id in clip_ids), np.int64, len(clip_ids))

    def select(self, clip_ids: Sequence[str]) -> LabelTable:
        """Return a table of the given clips only, in the given order."""
        return LabelTable(tuple(clip_ids), self.matrix[self.rows(clip_ids)], self.vocabulary)

    def renamed(self, new_ids: Mapping[str, str]) -> LabelTable:
        """Return the table with clips renamed by {id: new id}."""
        return replace(self, clip_ids=tuple(new_ids.get(clip_id, clip_id) for clip_id in self.clip_ids))

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


def _listed_twice(clip_id: str, first: int, number: int, path: str | Path, form: Format) -> InputError:
    remedy = "Keep one row a clip, its labels joined"
    remedy += f"; for a row a label, give --format {form.otherwise}." if form.otherwise else "."
    message = f"clip {clip_id!r} is listed twice, first in {form.unit} {first}"
    return InputError(message, form.place(path, number), remedy)


def _counts(unknown_of: Mapping[int, list[str]], codes: array) -> dict[str, int]:
    """Return how often each unknown label occurs; `unknown_of` is {code of a row's text: its unknown labels}."""
    n_rows = Counter(code for code in codes if code in unknown_of) if unknown_of else {}
    counts: Counter[str] = Counter()
    for code, labels in unknown_of.items():
        for label in labels:
            counts[label] += n_rows[code]
    return dict(counts)


def read_clip_ids(path: str | Path, format: str | None = None) -> tuple[str, ...]:
    """Return the clip ids of a label list, each once, whatever its labels.

    Raises:
        InputError: as `LabelTable.read`, except for labels.
    """
    rows, form = read_label_rows(path, format)
    number_of: dict[str, int] = {}
    for number, clip_id, _ in rows:
        first = number_of.setdefault(clip_id, number)
        if first != number and form.row == "clip":
            raise _listed_twice(clip_id, first, number, path, form)
    if not number_of:
        raise rows.no_clips()
    numbers = list(number_of.values())
    _check_ids(number_of, lambda row: form.place(path, numbers[row]))
    return tuple(number_of)


def read_lists(
    paths: Sequence[Path],
    vocabulary: Vocabulary | str | Path,
    format: str | None = None,
    unknown: str = "error",
    classes: Vocabulary | str | Path | None = None,
) -> LabelTable:
    """Read several label lists as one, clips in list order; other arguments as for `LabelTable.read`.

    Raises:
        InputError: a clip has different labels in two lists; or as `LabelTable.read`.
    """
    vocabulary = Vocabulary.of(vocabulary)
    joined = LabelTable.read(paths[0], vocabulary, format, unknown, classes)
    for path in paths[1:]:
        table = LabelTable.read(path, vocabulary, format, unknown, classes)
        earlier = np.array([joined.row_of.get(clip_id, -1) for clip_id in table.clip_ids], np.int64)
        again, new = np.flatnonzero(earlier >= 0), np.flatnonzero(earlier < 0)
        differing = np.flatnonzero((joined.matrix[earlier[again]] != table.matrix[again]).sum(axis=1))
        if len(differing):
            clip_id = table.clip_ids[again[differing[0]]]
            raise InputError(f"clip {clip_id!r} has other labels in an earlier list", path, "Remove one of the two.")
        clip_ids = (*joined.clip_ids, *(table.clip_ids[row] for row in new))
        matrix = sparse.vstack([joined.matrix, table.matrix[new]], format="csr")
        left_out = dict(Counter(joined.left_out) + Counter(table.left_out))
        joined = LabelTable(clip_ids, matrix, vocabulary, left_out, joined.remarks + table.remarks)
    return joined


def _matrix(label_sets: list[list[int]], n_classes: int) -> sparse.csr_array:
    """Return the (rows, K) bool matrix of sets of columns; repeated columns count once."""
    label_sets = [sorted(set(columns)) for columns in label_sets]
    ends = np.cumsum([0, *map(len, label_sets)])
    columns = np.array([column for columns in label_sets for column in columns], dtype=np.int32)
    return sparse.csr_array((np.ones(len(columns), bool), columns, ends), shape=(len(label_sets), n_classes))


def _first_repeated(clip_ids: Sequence[str]) -> tuple[int, int]:
    """Return both rows of the first repeated clip id."""
    seen: dict[str, int] = {}
    second = next(row for row, clip_id in enumerate(clip_ids) if seen.setdefault(clip_id, row) != row)
    return seen[clip_ids[second]], second


def _united(rows: np.ndarray, matrix: sparse.csr_array) -> sparse.csr_array:
    """Return one row per clip with the labels of all its rows; `rows` gives the clip number of each row."""
    membership = sparse.csr_array((np.ones(len(rows), np.int32), (rows, np.arange(len(rows)))))
    return membership @ matrix.astype(np.int32)


def _check_ids(clip_ids: Iterable[str], place_of: Callable[[int], str]) -> None:
    """Raise InputError if a clip id is empty, or has a character that the project's own lists cannot hold."""
    if "" not in clip_ids and not ODD.search("".join(clip_ids)):
        return
    for row, clip_id in enumerate(clip_ids):
        if not clip_id:
            raise InputError("the clip id is empty", place_of(row), "Give it one, or remove the row.")
        if ODD.search(clip_id):
            message = f"the clip id {clip_id!r} has a line break or another character that no table holds"
            raise InputError(message, place_of(row), "Rename the clip.")
