"""Read any model's answers from a file: an array or table of scores, with the ids of its clips and classes.

| file | holds | its ids |
|---|---|---|
| `.npy` | float array (N, K) of whole clips, or (N, W, K) of windows | in separate files |
| `.npz`, `.h5`, `.hdf5` | one or several such arrays, each with a name | in separate files |
| `.csv`, `.tsv` | header `clip_id` and the K classes, one row per clip | in its first column and its header |
| `.csv`, `.tsv` | numbers only, one row per clip (`numpy.savetxt`) | in separate files |
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pseudolabel.errors import InputError
from pseudolabel.labels.readers import FORMATS, clip_id_of, columns, read_label_rows, read_segments
from pseudolabel.labels.vocabulary import BUILT_IN, Vocabulary, names_in_json
from pseudolabel.scores.arrays import OF_SEVERAL, READABLE, TABLES, is_number, number_blocks, open_array, rows_a_block
from pseudolabel.tables import text_lines, text_rows

AXES = "(clips, classes), or (clips, windows, classes)"


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers in a file; no score is read before `blocks` is iterated.

    Args:
        path: the file.
        clip_ids, class_ids: (N,) and (K,) distinct ids.
        shape: (N, K) for whole clips or (N, W, K) for windows.
        blocks: yields the scores of consecutive clips as arrays (n, K) or (n, W, K), unchecked.
    """

    path: Path
    clip_ids: tuple[str, ...]
    class_ids: tuple[str, ...]
    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[np.ndarray]]


def open_answers(
    path: str | Path,
    ids: str | Path | None,
    classes: str | Path | None,
    vocabulary: Vocabulary,
    dataset: str | None = None,
    like: Answers | None = None,
) -> Answers:
    """Open a file of answers and check its shape against its ids.

    Args:
        path: .npy, .npz, .h5, .csv.
        ids, classes: files that name each row (`read_ids`) and column (`read_classes`); None for a table with a header.
        vocabulary: maps class names to ids; a class that it does not have keeps its name.
        dataset: name of the array in a .npz or HDF5 file; None if only one has two or three axes.
        like: answers opened with the same `ids` and `classes`, to avoid reading those again.

    Raises:
        InputError: a file is missing, damaged or of another kind; ids are not distinct or do not match the array's
            shape; or the array is not floating-point.
    """
    path, ending = Path(path), Path(path).suffix.lower()
    if not path.is_file():
        raise InputError("no such file", path)
    if ending not in READABLE:
        message = f"answers cannot be read from {ending or 'a file without ending'}"
        raise InputError(message, path, f"Give one of {', '.join(READABLE)}.")
    if dataset is not None and ending not in OF_SEVERAL:
        raise InputError(f"{path.name} has no data sets", "--dataset", "Omit it.")
    names_itself = ending in TABLES and not all(map(is_number, next(text_rows(path), (1, [""]))[1]))
    for option, given, what in (("--ids", ids, "clip ids"), ("--classes", classes, "class ids")):
        if names_itself and given is not None:
            raise InputError(f"{path.name} names its clips and classes itself", option, "Omit it.")
        if not names_itself and given is None:
            raise InputError(f"{path.name} holds no {what}", option, "Give the file that names them in its order.")
    if names_itself:
        return _open_named(path, vocabulary)
    clip_ids = like.clip_ids if like else read_ids(ids)
    class_ids = like.class_ids if like else read_classes(classes, vocabulary)
    array = open_array(path, dataset)
    _check_array(path, array.shape, array.dtype, len(clip_ids), len(class_ids))
    return Answers(path, clip_ids, class_ids, array.shape, array.blocks)


def _check_array(path: Path, shape: Sequence[int], dtype: np.dtype, n_clips: int, n_classes: int) -> None:
    """Raise InputError unless the array is floating-point, with clips on the first axis and classes on the last."""
    if dtype.kind != "f":
        raise InputError(f"holds {dtype}, not floating-point numbers", path, "Save scores in [0, 1] as float32.")
    if len(shape) not in (2, 3) or 0 in shape:
        raise InputError(f"the array has the shape {list(shape)}", path, f"It must be {AXES}.")
    if (shape[0], shape[-1]) != (n_clips, n_classes):
        message = f"the array has the shape {list(shape)}; --ids names {n_clips} clips, --classes {n_classes} classes"
        raise InputError(message, path, f"Its axes must be {AXES}, in the order of both files.")


def _open_named(path: Path, vocabulary: Vocabulary) -> Answers:
    """Open a table with a header; its rows are read twice: for the ids, then for the scores."""
    line, header = next(text_rows(path), (1, [""]))
    if header[0] != "clip_id" or len(header) < 2:
        remedy = "The header needs clip_id, then a column for each class."
        raise InputError(f"the first column is {header[0]!r}", f"{path}:{line}", remedy)
    names = ((f"{path}:{line}, column {column}", name) for column, name in enumerate(header[1:], 2))
    class_ids = _as_ids(names, vocabulary, path)
    picked = columns(text_rows(path), path, ("clip_id",), (header[1],))
    clip_ids = distinct(((f"{path}:{line}", clip_id) for line, (clip_id, _) in picked), "clip", path)
    shape = (len(clip_ids), len(class_ids))

    def blocks() -> Iterator[np.ndarray]:
        rows = ((line, fields[1:]) for line, fields in itertools.islice(text_rows(path), 1, None))
        return number_blocks(rows, path, rows_a_block(shape, 8))

    return Answers(path, clip_ids, class_ids, shape, blocks)


# ---- clips ------------------------------------------------------------------------------------------------------


def read_ids(path: str | Path) -> tuple[str, ...]:
    """Read clip ids from a file: one per line, a CSV file with a column `clip_id`, or a label list in any known format.

    If names are listed one per line, folder and extension are removed, as in label lists of file names.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", path)
    first = _first_row(path)
    if len(first) == 1:
        return distinct(_one_a_line(path), "clip", path)
    if "clip_id" in first:
        picked = columns(text_rows(path), path, ("clip_id",), tuple(first))
        return distinct(((f"{path}:{line}", clip_id) for line, (clip_id, _) in picked), "clip", path)
    rows, form = read_label_rows(path)
    named = [(form.place(path, number), clip_id) for number, clip_id, _ in rows]
    if form.events:  # one row per event
        named = [(str(path), clip_id) for clip_id in dict.fromkeys(clip_id for _, clip_id in named)]
    return distinct(named, "clip", path)


def listed_lengths(path: str | Path) -> dict[str, float]:
    """Return {clip id: seconds} if the file of clip ids is a segment list with times; else an empty dict."""
    if not FORMATS["audioset"].looks_like([_first_row(Path(path))]):
        return {}
    return {clip_id: float(end) - float(start) for clip_id, (start, end) in read_segments(path).items()}


def _first_row(path: Path) -> list[str]:
    """Return the first row of a table that is not a comment (AudioSet's lists have some); empty for other files."""
    if {".json", ".parquet"} & {suffix.lower() for suffix in path.suffixes}:
        return []
    return next((fields for _, fields in text_rows(path) if not fields[0].startswith("# ")), [])


def _one_a_line(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and clip id of each line, skipping a first line `clip_id`."""
    for row, (line, fields) in enumerate(text_rows(path)):
        if len(fields) != 1:
            message = f"row has {len(fields)} columns, those before it one"
            raise InputError(message, f"{path}:{line}", "Give one id a line, or a header with the column clip_id.")
        if row or fields[0] != "clip_id":
            yield f"{path}:{line}", clip_id_of(fields[0].strip())


def distinct(named: Iterable[tuple[str, str]], what: str, path: Path) -> tuple[str, ...]:
    """Return the ids of (place, id) pairs; InputError if one is empty or repeated, or there are none."""
    first: dict[str, str] = {}
    for place, value in named:
        if not value or "\0" in value:
            raise InputError(f"the {what} id {value!r} is empty or has a NUL", place)
        if value in first:
            message = f"{what} {value!r} is listed twice, first at {first[value]}"
            raise InputError(message, place, "Each must be distinct.")
        first[value] = place
    if not first:
        raise InputError(f"names no {what}", path)
    return tuple(first)


# ---- classes ----------------------------------------------------------------------------------------------------


def read_classes(source: str | Path, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Read class ids from a file, in its order: one id or name per line, JSON, or a vocabulary.

    JSON is a list of names, {number: name} or {name: number}, like `id2label` and `label2id` in a model's config. Names
    are mapped to ids by `vocabulary`.
    """
    path = Path(source)
    if str(source) in BUILT_IN:
        return Vocabulary.load(source).class_ids
    if path.suffix.lower() == ".json":
        named = [(f"{path}, class {number}", name) for number, name in enumerate(names_in_json(path))]
        return _as_ids(named, vocabulary, path)
    named = [(f"{path}:{number}", line.strip()) for number, line in text_lines(path)]
    first = named[0][1] if named else ""
    if vocabulary.lookup(first) is None and ("," in first or "\t" in first):  # names may contain commas
        return Vocabulary.load(path).class_ids
    return _as_ids(named[first == "class_id" :], vocabulary, path)


def _as_ids(named: Iterable[tuple[str, str]], vocabulary: Vocabulary, path: Path) -> tuple[str, ...]:
    """Return the distinct class ids of (place, name or id) pairs."""
    return distinct([(place, vocabulary.lookup(name) or name) for place, name in named], "class", path)
