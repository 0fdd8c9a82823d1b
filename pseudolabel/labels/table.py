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
from pseudolabel.labels.readers import Format, read_label_rows
from pseudolabel.labels.vocabulary import Vocabulary, built_in_with
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
    """

    clip_ids: tuple[str, ...]
    matrix: sparse.csr_array
    vocabulary: Vocabulary
    left_out: Mapping[str, int] = field(default_factory=dict)

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
        cls, path: str | Path, vocabulary: Vocabulary | str | Path, format: str | None = None, unknown: str = "error"
    ) -> LabelTable:
        """Read a label list in any known format (readers.py); labels are class ids or class names.

        Args:
            vocabulary: a Vocabulary, its name or its file, here and elsewhere.
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
        row_of, rows, numbers, codes = {}, array("q"), array("q"), array("q")
        code_of, label_sets, unknown_of = {}, [], {}
        for number, clip_id, text in entries:
            row = row_of.setdefault(clip_id, len(row_of))
            if row != len(rows) and not known.events:
                message = f"clip {clip_id!r} is listed twice, first in {known.unit} {numbers[row]}"
                raise InputError(message, known.place(path, number), "Keep one row a clip, its labels joined.")
            code = code_of.get(text)
            if code is None:
                code = code_of[text] = len(label_sets)
                place = known.place(path, number)
                columns, unknown_labels = _columns_of(text, known, vocabulary, place)
                if unknown_labels:
                    if unknown == "error":
                        raise _unknown_label(unknown_labels[0], vocabulary, place)
                    unknown_of[code] = unknown_labels
                label_sets.append(columns)
            rows.append(row)
            numbers.append(number)
            codes.append(code)
        if not row_of:
            raise InputError("the label list has no clips", path)
        _check_ids(row_of, lambda row: known.place(path, numbers[rows.index(row)]))
        matrix = _matrix(label_sets, len(vocabulary))[np.frombuffer(codes, dtype=np.int64)]
        if len(row_of) != len(rows):
            matrix = _united(np.frombuffer(rows, dtype=np.int64), matrix)
        return cls(tuple(row_of), matrix, vocabulary, _counts(unknown_of, codes))

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


def _columns_of(text: str, known: Format, vocabulary: Vocabulary, place: str) -> tuple[list[int], list[str]]:
    """Return the columns of a row's labels, and the labels that are not in the vocabulary."""
    if not text.strip():
        return [], []
    if known.numbered:
        return [_column_numbered(label.strip(), vocabulary, place) for label in text.split(";")], []
    labels = text.split(known.separators[0]) if known.separators else [text]
    if all(label in vocabulary.index for label in labels):  # fast path, nearly always taken
        return [vocabulary.index[label] for label in labels], []
    labels = split_labels(text, known.separators, vocabulary)
    if "" in labels:
        raise InputError(f"an empty label in {text!r}", place, "Is the row whole? Remove the lone separator.")
    class_ids = [vocabulary.lookup(label) for label in labels]
    unknown_labels = [label for label, class_id in zip(labels, class_ids, strict=True) if class_id is None]
    return [vocabulary.index[class_id] for class_id in class_ids if class_id is not None], unknown_labels


def _unknown_label(label: str, vocabulary: Vocabulary, place: str) -> InputError:
    fitting = built_in_with(label, vocabulary.name)
    vocabularies = f"Use --vocabulary {fitting}" if fitting else "Correct it, give the --vocabulary of the list"
    return vocabulary.unknown(label, place, f"{vocabularies}, or --unknown-labels skip.")


def _counts(unknown_of: Mapping[int, list[str]], codes: array) -> dict[str, int]:
    """Return how often each unknown label occurs; `unknown_of` is {code of a row's text: its unknown labels}."""
    n_rows = Counter(code for code in codes if code in unknown_of) if unknown_of else {}
    counts: Counter[str] = Counter()
    for code, labels in unknown_of.items():
        for label in labels:
            counts[label] += n_rows[code]
    return dict(counts)


def _column_numbered(label: str, vocabulary: Vocabulary, place: str) -> int:
    if not (label.isascii() and label.isdigit() and len(label) < 10 and int(label) < len(vocabulary)):
        raise InputError(f"{label!r} is not a column of the vocabulary's {len(vocabulary)} classes", place)
    return int(label)


def read_lists(
    paths: Sequence[Path], vocabulary: Vocabulary | str | Path, format: str | None = None, unknown: str = "error"
) -> LabelTable:
    """Read several label lists as one, clips in list order; `format` and `unknown` as for `LabelTable.read`.

    Raises:
        InputError: a clip has different labels in two lists; or as `LabelTable.read`.
    """
    vocabulary = Vocabulary.of(vocabulary)
    joined = LabelTable.read(paths[0], vocabulary, format, unknown)
    for path in paths[1:]:
        table = LabelTable.read(path, vocabulary, format, unknown)
        earlier = np.array([joined.row_of.get(clip_id, -1) for clip_id in table.clip_ids], np.int64)
        again, new = np.flatnonzero(earlier >= 0), np.flatnonzero(earlier < 0)
        differing = np.flatnonzero((joined.matrix[earlier[again]] != table.matrix[again]).sum(axis=1))
        if len(differing):
            clip_id = table.clip_ids[again[differing[0]]]
            raise InputError(f"clip {clip_id!r} has other labels in an earlier list", path, "Remove one of the two.")
        clip_ids = (*joined.clip_ids, *(table.clip_ids[row] for row in new))
        matrix = sparse.vstack([joined.matrix, table.matrix[new]], format="csr")
        joined = LabelTable(clip_ids, matrix, vocabulary, dict(Counter(joined.left_out) + Counter(table.left_out)))
    return joined


def split_labels(text: str, separators: str, vocabulary: Vocabulary) -> list[str]:
    """Split joined labels; a class name that contains the separator stays whole.

    If a piece is not a class, the longest run of pieces starting there that forms a class name is taken; runs are
    limited to the longest name. A piece that begins no class name is split by the next separator, if any, or kept.
    """
    text = text.strip()
    if not separators or (separators[0] not in text and len(separators) == 1):
        return [text]
    pieces = text.split(separators[0])
    labels, start, longest = [], 0, vocabulary.most_pieces[separators[0]]
    while start < len(pieces):
        ends = range(min(len(pieces), start + longest), start, -1)
        runs = ((end, separators[0].join(pieces[start:end]).strip()) for end in ends)
        if pieces[start].strip() in vocabulary.index:
            found = start + 1, pieces[start].strip()
        else:
            found = next(((end, run) for end, run in runs if vocabulary.lookup(run) is not None), None)
        if found is None:
            labels += split_labels(pieces[start], separators[1:], vocabulary)
            start += 1
        else:
            start, label = found
            labels.append(label)
    return labels


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
            raise InputError("the clip id is empty", place_of(row))
        if ODD.search(clip_id):
            message = f"the clip id {clip_id!r} has a line break or another character that no table holds"
            raise InputError(message, place_of(row), "Rename the clip.")
