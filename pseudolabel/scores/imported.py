"""Answers of any model as a score store: an array or a table of scores, keyed by the ids that come with it.

| file | holds | its ids |
|---|---|---|
| `.npy` | float array (N, K) of whole clips, or (N, W, K) of windows | in files of their own |
| `.h5`, `.hdf5` | the same as a data set | in files of their own |
| `.csv`, `.tsv` | header `clip_id` and the K classes, a row a clip | its first column and its header |

Nothing of a file is believed before it was checked: no pickle is opened, no size is taken from a header that the file's
own size contradicts, and every score must be a number in [0, 1]. Clips pass through in blocks of 16 MiB, so that memory
does not grow with N. Scores are stored as float16: 11 significant bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import h5py
import numpy as np

from pseudolabel.errors import InputError, first_few
from pseudolabel.hdf5_checks import claims_too_much, refuse_elsewhere, refuse_heaps
from pseudolabel.labels.formats import read_label_rows
from pseudolabel.labels.readers import clip_id_of, columns, text_rows
from pseudolabel.labels.vocabulary import BUILT_IN, Vocabulary
from pseudolabel.progress import Progress
from pseudolabel.scores.store import write_scores
from pseudolabel.scores.windows import CLIP, window_name
from pseudolabel.stores import store_contents

BLOCK_BYTES = 2**24
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# What numpy and Python raise where a header, which is a Python literal, is none.
UNREADABLE = (ValueError, TypeError, LookupError, SyntaxError, TokenError, ArithmeticError, RecursionError, MemoryError)
TABLES, ARRAYS = (".csv", ".tsv"), (".npy", ".h5", ".hdf5")

Blocks = Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answered, as a file holds it; nothing is read before `blocks` is iterated.

    Args:
        path: the file.
        clip_ids, class_ids: (N,) and (K,) distinct ids.
        shape: (N, K) of whole clips or (N, W, K) of windows.
        blocks: gives the scores of consecutive clips as arrays (n, K) or (n, W, K); not checked yet.
    """

    path: Path
    clip_ids: tuple[str, ...]
    class_ids: tuple[str, ...]
    shape: tuple[int, ...]
    blocks: Blocks


def open_answers(
    path: str | Path,
    ids: str | Path | None,
    classes: str | Path | None,
    vocabulary: Vocabulary,
    dataset: str | None = None,
) -> Answers:
    """Open a file of answers and check its shape against its ids.

    Args:
        path: .npy, .h5, .csv.
        ids: file with a clip id for each row (`read_ids`); None for a table.
        classes: file with a class for each column (`read_classes`); None for a table.
        vocabulary: turns class names into ids; a class that it does not know keeps the name it has.
        dataset: which data set of an HDF5 file; None where there is but one of two or three axes.

    Raises:
        InputError: a file is missing, of another kind or damaged; ids are not distinct, or not as many as the array
            has rows and columns; the array is not of floating-point numbers.
    """
    path, ending = Path(path), Path(path).suffix.lower()
    if not path.is_file():
        raise InputError("no such file", path)
    if ending not in (*TABLES, *ARRAYS):
        raise InputError(f"answers cannot be read from {ending or 'a file without ending'}", path,
                         f"Give one of {', '.join((*ARRAYS, *TABLES))}.")  # fmt: skip
    if dataset is not None and ending not in (".h5", ".hdf5"):
        raise InputError(f"{path.name} has no data sets", "--dataset", "Leave it away.")
    if ending in TABLES:
        for option, given in (("--ids", ids), ("--classes", classes)):
            if given is not None:
                raise InputError(f"{path.name} names its clips and classes itself", option, "Leave it away.")
        return _open_table(path, vocabulary)
    for option, given, what in (("--ids", ids, "clip ids"), ("--classes", classes, "class ids")):
        if given is None:
            raise InputError(f"{path.name} holds no {what}", option, "Give the file that names them in its order.")
    clip_ids, class_ids = read_ids(ids), read_classes(classes, vocabulary)
    shape, dtype, blocks = _open_npy(path) if ending == ".npy" else _open_h5(path, dataset)
    _check_array(path, shape, dtype, len(clip_ids), len(class_ids))
    return Answers(path, clip_ids, class_ids, shape, blocks)


def import_scores(
    answers: Answers,
    out: str | Path,
    window_s: int | None = None,
    attributes: Mapping[str, object] | None = None,
    overwrite: bool = False,
) -> str:
    """Write the score store of some answers and return the name of its scale: `clip`, or `2s`.

    Args:
        window_s: length of the windows that the second of three axes counts; None for answers of whole clips.

    Raises:
        InputError: a score is not in [0, 1], or `window_s` does not fit the number of axes.
        OutputExists: there is such a file and `overwrite` is false.
    """
    if len(answers.shape) == 3 and window_s is None:
        raise InputError(f"{answers.path.name} holds {answers.shape[1]} windows a clip", "--window-s",
                         "Give their length in seconds: 10, 5 or 2.")  # fmt: skip
    if len(answers.shape) == 2 and window_s is not None:
        raise InputError(f"{answers.path.name} holds one answer a clip, no windows", "--window-s", "Leave it away.")
    scale = window_name(CLIP if window_s is None else window_s)
    blocks = ({scale: block} for block in _checked(answers))
    write_scores(out, answers.clip_ids, answers.class_ids, {scale: answers.shape}, {}, blocks, attributes, overwrite)
    return scale


def _checked(answers: Answers) -> Iterator[np.ndarray]:
    """Yield the blocks; InputError names clip, class and value of the first score that is none."""
    start = 0
    with Progress("import", answers.shape[0]) as progress:
        for block in answers.blocks():
            wrong = ~((block >= 0) & (block <= 1))
            if wrong.any():
                row, *window, column = np.argwhere(wrong)[0].tolist()
                value, at = block[row, *window, column], f", window {window[0]}" if window else ""
                raise InputError(
                    f"the score {value:g} of class {answers.class_ids[column]!r} is not in [0, 1]",
                    f"{answers.path}, clip {answers.clip_ids[start + row]!r}{at}",
                    "Scores are probabilities: apply the sigmoid first." if np.isfinite(value)
                    else "Leave clips without answers out.",
                )  # fmt: skip
            yield block
            start += len(block)
            progress.advance(len(block))


# ---- ids --------------------------------------------------------------------------------------------------------


def read_ids(path: str | Path) -> tuple[str, ...]:
    """Return the clip ids in a file: one a line, a CSV file with a column `clip_id`, or a label list of any known form.

    Of names one a line, folder and ending are cut, as in label lists of file names.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", path)
    binary = {".json", ".parquet"} & {suffix.lower() for suffix in path.suffixes}
    rows = () if binary else text_rows(path)
    first = next((fields for _, fields in rows if not fields[0].startswith("# ")), [])  # AudioSet's lists have comments
    if len(first) == 1:
        return _distinct(_one_a_line(path), "clip", path)
    if "clip_id" in first:
        picked = columns(text_rows(path), path, ("clip_id",), tuple(first))
        return _distinct(((f"{path}:{line}", clip_id) for line, (clip_id, _) in picked), "clip", path)
    rows, known = read_label_rows(path)
    found = [(known.place(path, number), clip_id) for number, clip_id, _ in rows]
    if known.events:  # a row an event
        found = [(str(path), clip_id) for clip_id in dict.fromkeys(clip_id for _, clip_id in found)]
    return _distinct(found, "clip", path)


def read_classes(source: str | Path, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the class ids that a file lists, in its order: one id or name a line, or what `Vocabulary.load` reads.

    A name becomes the id that `vocabulary` gives it.
    """
    path = Path(source)
    if str(source) in BUILT_IN:
        return Vocabulary.load(source).class_ids
    if not path.is_file():
        raise InputError("no such file", path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text ({error.reason} at byte {error.start})", path) from error
    named = [(f"{path}:{number}", line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    first = named[0][1] if named else ""
    if vocabulary.lookup(first) is None and ("," in first or "\t" in first):  # names may have commas
        return Vocabulary.load(path).class_ids
    named = named[first == "class_id" :]
    return _distinct([(place, vocabulary.lookup(name) or name) for place, name in named], "class", path)


def _one_a_line(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the clip id of each line, a first line `clip_id` left out."""
    for row, (line, fields) in enumerate(text_rows(path)):
        if len(fields) != 1:
            raise InputError(f"row has {len(fields)} columns, those before it one", f"{path}:{line}",
                             "Give one id a line, or a header with the column clip_id.")  # fmt: skip
        if row or fields[0] != "clip_id":
            yield f"{path}:{line}", clip_id_of(fields[0].strip())


def _distinct(found: Iterable[tuple[str, str]], what: str, path: Path) -> tuple[str, ...]:
    """Return the ids of (place, id) pairs; InputError where one is empty or stands there twice, or there is none."""
    first: dict[str, str] = {}
    for place, value in found:
        if not value or "\0" in value:
            raise InputError(f"the {what} id {value!r} is empty or has a NUL", place)
        if value in first:
            raise InputError(f"{what} {value!r} stands there twice, first at {first[value]}", place,
                             "Each must be distinct.")  # fmt: skip
        first[value] = place
    if not first:
        raise InputError(f"names no {what}", path)
    return tuple(first)


# ---- kinds of files ---------------------------------------------------------------------------------------------


def _open_table(path: Path, vocabulary: Vocabulary) -> Answers:
    """Open a table; its rows are read twice, once for the ids and once for the scores."""
    rows = text_rows(path)
    line, header = next(rows, (1, [""]))
    if header[0] != "clip_id" or len(header) < 2:
        raise InputError(f"the first column is {header[0]!r}", f"{path}:{line}",
                         "The header needs clip_id, then a column for each class.")  # fmt: skip
    names = ((f"{path}:{line}, column {column}", name) for column, name in enumerate(header[1:], 2))
    class_ids = _distinct([(place, vocabulary.lookup(name) or name) for place, name in names], "class", path)
    picked = columns(text_rows(path), path, ("clip_id",), (header[1],))
    clip_ids = _distinct(((f"{path}:{line}", clip_id) for line, (clip_id, _) in picked), "clip", path)
    n_rows = _rows_a_block((len(clip_ids), len(class_ids)), 8)

    def blocks() -> Iterator[np.ndarray]:
        rows, block = text_rows(path), []
        next(rows)
        for line, (_, *fields) in rows:
            try:
                block.append([float(field) for field in fields])
            except ValueError as error:
                raise InputError(f"a score is no number ({error})", f"{path}:{line}") from error
            if len(block) == n_rows:
                yield np.array(block)
                block = []
        if block:
            yield np.array(block)

    return Answers(path, clip_ids, class_ids, (len(clip_ids), len(class_ids)), blocks)


def _open_npy(path: Path) -> tuple[tuple[int, ...], np.dtype, Blocks]:
    """Return shape, dtype and blocks of a .npy file whose size is what its header says."""
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            if version not in HEADERS:
                raise ValueError(f"version {version}")
            shape, fortran_order, dtype = HEADERS[version](file)
        except UNREADABLE as error:
            raise InputError(f"not a readable .npy file ({error})", path, "Save it with numpy.save.") from error
        offset = file.tell()
    held, claimed = path.stat().st_size - offset, math.prod(shape) * dtype.itemsize
    if dtype.kind == "f" and (held != claimed or min(shape, default=0) < 0):
        raise InputError(f"its header claims {list(shape)} {dtype}, {claimed:,} bytes; it holds {held:,}", path,
                         "It is not whole: copy or save it again.")  # fmt: skip
    n_rows, order = _rows_a_block(shape, dtype.itemsize), "F" if fortran_order else "C"

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, shape[0], n_rows):  # mapped anew, so that pages of earlier blocks are given back
            yield np.array(np.memmap(path, dtype, "r", offset, shape, order)[start : start + n_rows])

    return shape, dtype, blocks


def _open_h5(path: Path, name: str | None) -> tuple[tuple[int, ...], np.dtype, Blocks]:
    """Return shape, dtype and blocks of a data set that lies in the file itself."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"not a readable HDF5 file ({error})", path) from error
    with file, store_contents(path):
        refuse_heaps(file, path)
        name = _dataset_name(file, name, path)
        shape, dtype = file[name].shape, file[name].dtype
        _check_storage(file[name], f"{path}, {name}", path.stat().st_size)
    n_rows = _rows_a_block(shape, dtype.itemsize)

    def blocks() -> Iterator[np.ndarray]:
        with h5py.File(path, "r") as file, store_contents(path):
            for start in range(0, shape[0], n_rows):
                yield file[name][start : start + n_rows]

    return shape, dtype, blocks


def _dataset_name(file: h5py.File, name: str | None, path: Path) -> str:
    """Return the data set that is asked for, or the only one of two or three axes; links out of the file are none."""
    found: dict[str, int] = {}
    file.visititems(lambda key, item: found.update({key: len(item.shape or ())} if hasattr(item, "shape") else {}))
    if name is not None and name.strip("/") in found:
        return name.strip("/")
    possible = [key for key, n_axes in found.items() if n_axes in (2, 3)]
    if name is None and len(possible) == 1:
        return possible[0]
    has = f"data sets of two or three axes: {first_few(possible, 8) or 'none'}"
    raise InputError(has if name is None else f"no data set {name!r}; {has}", path, "Name one by --dataset.")


def _check_storage(dataset: h5py.Dataset, place: str, file_bytes: int) -> None:
    """Refuse a data set whose values lie elsewhere, or that claims more than the file can hold."""
    refuse_elsewhere(dataset, place)
    stored = dataset.id.get_storage_size()
    if claims_too_much(dataset, file_bytes):
        raise InputError(f"it claims {list(dataset.shape)}, {dataset.nbytes:,} bytes; {stored:,} are stored", place,
                         "It is not whole: save it again.")  # fmt: skip


def _check_array(path: Path, shape: Sequence[int], dtype: np.dtype, n_clips: int, n_classes: int) -> None:
    """Refuse an array that is not of floating-point numbers, clips first and classes last."""
    if dtype.kind != "f":
        raise InputError(f"holds {dtype}, not floating-point numbers", path, "Save scores in [0, 1] as float32.")
    if len(shape) not in (2, 3) or 0 in shape:
        raise InputError(f"the array has the shape {list(shape)}", path,
                         "It must be (clips, classes), or (clips, windows, classes).")  # fmt: skip
    if (shape[0], shape[-1]) != (n_clips, n_classes):
        raise InputError(
            f"the array has the shape {list(shape)}; --ids names {n_clips} clips, --classes {n_classes} classes", path,
            "Its axes must be (clips, classes), or (clips, windows, classes), in the order of both files.",
        )  # fmt: skip


def _rows_a_block(shape: Sequence[int], itemsize: int) -> int:
    return max(1, BLOCK_BYTES // max(1, math.prod(shape[1:]) * itemsize))
