"""Answers of any model as a score store: an array or a table of scores, keyed by the ids that come with it.

| file | holds | its ids |
|---|---|---|
| `.npy` | float array (N, K) of whole clips, or (N, W, K) of windows | in files of their own |
| `.h5`, `.hdf5` | the same as a data set | in files of their own |
| `.csv`, `.tsv` | header `clip_id` and the K classes, a row a clip | its first column and its header |
| `.csv`, `.tsv` | numbers alone, a row a clip (`numpy.savetxt`) | in files of their own |

Nothing of a file is believed before it was checked: no pickle is opened, no size is taken from a header that the file's
own size contradicts, and every score must be a number in [0, 1]; what is beyond by 1e-5 at most is rounding, and taken
as 0 or 1. Clips pass through in blocks of 16 MiB, so that memory
does not grow with N. Scores are stored as float16: 11 significant bits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import h5py
import numpy as np

from pseudolabel.errors import InputError, first_few
from pseudolabel.hdf5_checks import claims_too_much, refuse_elsewhere, refuse_heaps
from pseudolabel.labels.readers import columns
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.progress import Progress
from pseudolabel.scores.import_ids import distinct, read_classes, read_ids
from pseudolabel.scores.store import write_scores
from pseudolabel.scores.windows import CLIP, possible_windows, window_name
from pseudolabel.stores import store_contents
from pseudolabel.tables import Fields, text_rows, wrong_length

BLOCK_BYTES = 2**24
ROUNDING = 1e-5  # beyond 0 and 1
DEFAULT_CLIP_S = 10.0  # length of a clip of AudioSet
LEAST_WINDOW_S = 0.001  # length of a window, and seconds from one to the next
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
        raise InputError(f"{path.name} has no data sets", "--dataset", "Omit it.")
    if ending in TABLES and not _is_headless(path):
        for option, given in (("--ids", ids), ("--classes", classes)):
            if given is not None:
                raise InputError(f"{path.name} names its clips and classes itself", option, "Omit it.")
        return _open_table(path, vocabulary)
    for option, given, what in (("--ids", ids, "clip ids"), ("--classes", classes, "class ids")):
        if given is None:
            raise InputError(f"{path.name} holds no {what}", option, "Give the file that names them in its order.")
    clip_ids, class_ids = read_ids(ids), read_classes(classes, vocabulary)
    if ending in TABLES:
        shape, dtype, blocks = _open_headless(path)
    else:
        shape, dtype, blocks = _open_npy(path) if ending == ".npy" else _open_h5(path, dataset)
    _check_array(path, shape, dtype, len(clip_ids), len(class_ids))
    return Answers(path, clip_ids, class_ids, shape, blocks)


def import_scores(
    answers: Answers,
    out: str | Path,
    window_s: float | None = None,
    attributes: Mapping[str, object] | None = None,
    overwrite: bool = False,
    hop_s: float | None = None,
    lengths_s: Mapping[str, float] | None = None,
    beside: Callable[[int, int], None] | None = None,
) -> str:
    """Write the score store of some answers and return the name of its scale: `clip`, or `2s`.

    Args:
        window_s: length of the windows that the second of three axes counts; None for answers of whole clips.
        hop_s: seconds from window to window; None: the length.
        lengths_s: {clip id: seconds}; the windows of a clip that begin at its end or later must be 0.
        beside: as in `write_scores`; also given the number of scores that were taken as 0 or 1.

    Raises:
        InputError: a score is not in [0, 1], a clip has more windows than it can have, `window_s` does not fit the
            number of axes, or is below LEAST_WINDOW_S, as `hop_s` may not be either.
        OutputExists: there is such a file and `overwrite` is false.
    """
    for option, length_s in (("--window-s", window_s), ("--hop-s", hop_s)):
        if length_s is not None and not LEAST_WINDOW_S <= length_s < math.inf:
            raise InputError(f"{length_s:g} s; it must be {LEAST_WINDOW_S:g} s or more", option, "Give seconds.")
    if len(answers.shape) == 3 and window_s is None:
        raise InputError(f"{answers.path.name} holds {answers.shape[1]} windows a clip", "--window-s",
                         "Give their length in seconds, and --hop-s where they overlap.")  # fmt: skip
    if len(answers.shape) == 2 and window_s is not None:
        raise InputError(f"{answers.path.name} holds one answer a clip, no windows", "--window-s", "Omit it.")
    scale, counts, hops, clipped = window_name(CLIP if window_s is None else window_s), None, {}, []
    if window_s is not None:
        hops = {scale: hop_s or window_s}
        if lengths_s is not None:
            counts = _real_windows(answers, hops[scale], lengths_s)
    differ = counts is not None and (counts < answers.shape[1]).any()
    blocks = ({scale: block} for block in _checked(answers, clipped, counts, hops.get(scale, 0.0), lengths_s or {}))
    write_scores(
        out, answers.clip_ids, answers.class_ids, {scale: answers.shape}, {scale: counts} if differ else {}, blocks,
        attributes, overwrite, hops, (lambda crc32: beside(crc32, sum(clipped))) if beside else None,
    )  # fmt: skip
    return scale


def _real_windows(answers: Answers, hop_s: float, lengths_s: Mapping[str, float]) -> np.ndarray:
    """Return how many windows of each clip begin before it ends, (N,) int64; all, where its length is not known."""
    lengths = np.array([lengths_s.get(clip_id, np.inf) for clip_id in answers.clip_ids])
    counts = np.full(len(lengths), answers.shape[1], np.int64)
    known = np.isfinite(lengths)
    counts[known] = np.minimum(possible_windows(lengths[known], hop_s), counts[known])
    return counts


def _checked(
    answers: Answers, clipped: list[int], counts: np.ndarray | None, hop_s: float, lengths_s: Mapping[str, float]
) -> Iterator[np.ndarray]:
    """Yield the blocks; InputError names clip, class and value of the first score that is none.

    Args:
        clipped: gets, for each block, how many scores were rounded to 0 or 1.
        counts: (N,) real windows; those after them must be 0.
    """
    start = 0
    with Progress("import", answers.shape[0]) as progress:
        for block in answers.blocks():
            if counts is not None:
                _refuse_beyond(answers, block, start, counts, hop_s, lengths_s)
            wrong = ~((block >= 0) & (block <= 1))
            if wrong.any():
                rounded = wrong & (block >= -ROUNDING) & (block <= 1 + ROUNDING)
                if not np.array_equal(rounded, wrong):
                    raise _improper(answers, block, start, wrong & ~rounded)
                clipped.append(int(rounded.sum()))
                block = block.clip(0, 1)
            yield block
            start += len(block)
            progress.advance(len(block))


def _improper(answers: Answers, block: np.ndarray, start: int, wrong: np.ndarray) -> InputError:
    row, *window, column = np.argwhere(wrong)[0].tolist()
    value, at = block[row, *window, column], f", window {window[0]}" if window else ""
    return InputError(
        f"the score {value:g} of class {answers.class_ids[column]!r} is not in [0, 1]",
        f"{answers.path}, clip {answers.clip_ids[start + row]!r}{at}",
        "Scores are probabilities: apply the sigmoid first." if np.isfinite(value)
        else "Leave clips without answers out.",
    )  # fmt: skip


def _refuse_beyond(
    answers: Answers, block: np.ndarray, start: int, counts: np.ndarray, hop_s: float, lengths_s: Mapping[str, float]
) -> None:
    """Raise InputError where a window that begins at its clip's end or later has an answer."""
    beyond = np.arange(block.shape[1]) >= counts[start : start + len(block), None]
    answered = beyond & (block != 0).any(axis=-1)
    if answered.any():
        row, window = np.argwhere(answered)[0].tolist()
        clip_id = answers.clip_ids[start + row]
        raise InputError(
            f"window {window} would begin at {window * hop_s:g} s of a clip of {lengths_s[clip_id]:g} s",
            f"{answers.path}, clip {clip_id!r}",
            "Give --hop-s, the seconds from window to window; or --clips or --clip-s, where clips are longer; windows "
            "after a clip's end must be 0.",
        )  # fmt: skip


# ---- kinds of files ---------------------------------------------------------------------------------------------


def _open_table(path: Path, vocabulary: Vocabulary) -> Answers:
    """Open a table; its rows are read twice, once for the ids and once for the scores."""
    rows = text_rows(path)
    line, header = next(rows, (1, [""]))
    if header[0] != "clip_id" or len(header) < 2:
        raise InputError(f"the first column is {header[0]!r}", f"{path}:{line}",
                         "The header needs clip_id, then a column for each class.")  # fmt: skip
    names = ((f"{path}:{line}, column {column}", name) for column, name in enumerate(header[1:], 2))
    class_ids = distinct([(place, vocabulary.lookup(name) or name) for place, name in names], "class", path)
    picked = columns(text_rows(path), path, ("clip_id",), (header[1],))
    clip_ids = distinct(((f"{path}:{line}", clip_id) for line, (clip_id, _) in picked), "clip", path)
    n_rows = _rows_a_block((len(clip_ids), len(class_ids)), 8)

    def blocks() -> Iterator[np.ndarray]:
        rows = ((line, fields[1:]) for line, fields in itertools.islice(text_rows(path), 1, None))
        return _numbers(rows, path, n_rows)

    return Answers(path, clip_ids, class_ids, (len(clip_ids), len(class_ids)), blocks)


def _is_headless(path: Path) -> bool:
    """Return whether the first row of a table is numbers alone."""
    _, first = next(text_rows(path), (1, [""]))
    return all(_is_number(field) for field in first)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _open_headless(path: Path) -> tuple[tuple[int, ...], np.dtype, Blocks]:
    """Return shape, dtype and blocks of a table of numbers alone; its rows are counted first."""
    n_clips, width = 0, 0
    for line, fields in text_rows(path):
        width = width or len(fields)
        if len(fields) != width:
            raise wrong_length(fields, width, f"{path}:{line}")
        n_clips += 1
    shape = (n_clips, width)
    return shape, np.dtype(np.float64), lambda: _numbers(text_rows(path), path, _rows_a_block(shape, 8))


def _numbers(rows: Iterator[Fields], path: Path, n_rows: int) -> Iterator[np.ndarray]:
    """Yield blocks of so many rows of numbers."""
    block = []
    for line, fields in rows:
        try:
            block.append([float(field) for field in fields])
        except ValueError as error:
            raise _no_number(fields, f"{path}:{line}") from error
        if len(block) == n_rows:
            yield np.array(block)
            block = []
    if block:
        yield np.array(block)


def _no_number(fields: Sequence[str], place: str) -> InputError:
    """Return the error about the first field of a row that is not a number."""
    field = next(field for field in fields if not _is_number(field))
    if not field.strip():
        return InputError("a score is empty", place, "Give a score of every class, or leave clips without answers out.")
    remedy = "Give numbers in [0, 1]."
    if "," in field and _is_number(field.replace(",", ".", 1)):
        remedy = f"Write decimals with a point: {field.replace(',', '.', 1)}."
    return InputError(f"a score is not a number: {field!r}", place, remedy)


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
