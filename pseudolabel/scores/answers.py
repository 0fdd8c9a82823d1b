"""Read any model's answers from a file: an array or table of scores, with the ids of its clips and classes.

| file | holds | its ids |
|---|---|---|
| `.npy` | float array (N, K) of whole clips, or (N, W, K) of windows | in separate files |
| `.npz`, `.h5`, `.hdf5` | one or several such arrays, each with a name | in arrays beside it, or in separate files |
| `.npz` | an array (windows, K) for each clip (ragged.py) | clips: the names of its arrays |
| `.csv`, `.tsv`, `.txt` | a column of clips and one for each class, with a header | in its rows and its header |
| `.csv`, `.tsv`, `.txt` | numbers (`numpy.savetxt`), with or without a first column of clips | in separate files |
| `.parquet` | a column of clips, and one for each class or one of lists | in its columns, or in separate files |

Text may be compressed (.gz, .xz).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pseudolabel.errors import InputError, first_few, no_file, shown
from pseudolabel.labels.cells import heading, id_of_scores, is_comment
from pseudolabel.labels.readers import format_of, is_text_table, read_label_rows, read_segments
from pseudolabel.labels.vocabulary import BUILT_IN, Vocabulary, names_in_json
from pseudolabel.progress import note
from pseudolabel.scores.arrays import FileArray, Names, open_h5, open_npy, open_npz, open_texts
from pseudolabel.scores.ragged import open_ragged
from pseudolabel.scores.score_tables import CLIP_COLUMNS, open_table
from pseudolabel.tables import OPENERS, columns, read_json, text_lines, text_rows

AXES = "(clips, classes), or (clips, windows, classes)"
OF_SEVERAL = (".npz", ".h5", ".hdf5", ".hdf", ".parquet")  # files that may hold several arrays
TABLES = (".csv", ".tsv", ".txt")
CLASS_HEADINGS = ("class_id", "class", "classes", "class_name", "name", "label", "labels", "display_name", "mid")
HEADING = re.compile("[# \\w-]+")  # no id such as `.wav`
READABLE = (".npy", *OF_SEVERAL, *TABLES)
TORCH = "numpy.save('p.npy', torch.load('{name}', weights_only=True).numpy())"
SAVED_AS = {  # how to save what is not read
    **dict.fromkeys((".pt", ".pth", ".bin"), f"Save its tensor as an array: {TORCH}"),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), "A pickle may run any program; save its array by numpy.save"),
}


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers in a file; no score is read before `blocks` is iterated.

    Args:
        path: the file.
        clip_ids, class_ids: (N,) and (K,) distinct ids.
        shape: (N, K) for whole clips or (N, W, K) for windows.
        blocks: yields the scores of consecutive clips as arrays (n, K) or (n, W, K), unchecked.
        n_windows: number of windows of each clip, where the file says it; empty where not.
    """

    path: Path
    clip_ids: tuple[str, ...]
    class_ids: tuple[str, ...]
    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[np.ndarray]]
    n_windows: tuple[int, ...] = ()


def open_answers(
    path: str | Path,
    ids: str | Path | None,
    classes: str | Path | None,
    vocabulary: Vocabulary,
    dataset: str | None = None,
    like: Answers | None = None,
    windowed: bool = False,
) -> Answers:
    """Open a file of answers and check its shape against its ids.

    Args:
        path: a file with one of the endings READABLE.
        ids, classes: files that name each row (`read_ids`) and column (`read_classes`); None where the file has them.
        vocabulary: maps class names to ids; a class that it does not have keeps its name.
        dataset: name of the array in a .npz or HDF5 file, or of a column of lists; None if there is only one.
        like: answers opened with the same `ids` and `classes`, to avoid reading those again.
        windowed: the scores are of windows, so that arrays of two axes in a .npz file are those of a clip each.

    Raises:
        InputError: a file is missing, damaged or of another kind; ids are not distinct or do not match the array's
            shape; or the array is not floating-point.
    """
    path = Path(path)
    array = _open_array(path, dataset, windowed)
    for option, given, names, what in (
        ("--ids", ids, array.clips, "clip ids"),
        ("--classes", classes, array.classes, "class ids"),
    ):
        if given is None and names is None:
            if option == "--ids" and array.misfit:
                raise _misfit(array, path)
            remedy = f"Give the file that names them in its order.{_closed(array) if option == '--ids' else ''}"
            raise InputError(f"{path.name} holds no {what}", option, remedy)
    clip_ids = _clips(array, ids, like, path)
    class_ids = _classes(array, classes, vocabulary, like, path)
    sources = "--ids" if ids else array.clips.title, "--classes" if classes else array.classes.title
    _check_array(path, array, len(clip_ids), len(class_ids), sources)
    note(_what_is_read(array, ids, path))
    return Answers(path, clip_ids, class_ids, array.shape, array.blocks, array.n_windows)


def _open_array(path: Path, dataset: str | None, windowed: bool) -> FileArray:
    endings = [suffix.lower() for suffix in path.suffixes]
    packed = bool(endings) and endings[-1] in OPENERS
    ending = next(iter(endings[-2:-1] if packed else endings[-1:]), "")
    if not path.is_file():
        raise no_file(path)
    if ending not in (TABLES if packed else READABLE):
        message = f"answers cannot be read from {''.join(endings[-1 - packed :]) or 'a file without ending'}"
        saved = f"{SAVED_AS[ending].format(name=path.name)}. " if ending in SAVED_AS else ""
        raise InputError(message, path, f"{saved}Give one of {', '.join(READABLE)}.")
    if dataset is not None and ending not in OF_SEVERAL:
        raise InputError(f"{path.name} has no data sets", "--dataset", "Omit it.")
    if ending in TABLES:
        return open_table(path)
    if ending == ".parquet":
        from pseudolabel.scores.score_parquet import open_scores

        return open_scores(path, dataset)
    if ending == ".npz" and windowed and dataset is None and (ragged := open_ragged(path)):
        return ragged
    return open_npy(path) if ending == ".npy" else (open_npz if ending == ".npz" else open_h5)(path, dataset)


def _check_array(path: Path, array: FileArray, n_clips: int, n_classes: int, sources: tuple[str, str]) -> None:
    """Raise InputError unless the array is floating-point, with clips on the first axis and classes on the last."""
    shape = array.shape
    if array.dtype.kind != "f":
        remedy = "Save scores in [0, 1] as float32."
        if path.suffix.lower() == ".h5" and array.dtype.kind in "iu":
            remedy += " targets.h5 of a release is a store already: give it as --scores."
        raise InputError(f"holds {array.dtype}, not floating-point numbers", path, remedy)
    if len(shape) not in (2, 3) or 0 in shape:
        raise InputError(f"the array has the shape {list(shape)}", path, f"It must be {AXES}.")
    if (shape[0], shape[-1]) != (n_clips, n_classes):
        named = f"{sources[0]} names {n_clips} clips, {sources[1]} {n_classes} classes"
        message = f"the array has the shape {list(shape)}; {named}"
        for axes in itertools.permutations(range(len(shape))):
            if (shape[axes[0]], shape[axes[-1]]) == (n_clips, n_classes):
                remedy = f"Its axes are in another order: save numpy.transpose(array, {axes})."
                raise InputError(message, path, remedy)
        raise InputError(message, path, f"Its axes must be {AXES}, in the order of both.")


def _misfit(array: FileArray, path: Path) -> InputError:
    """Return the error for clips that are named beside an array of another number of rows."""
    (name, n), n_rows = array.misfit, array.shape[0]
    remedy = f"Save the scores as ({n}, classes), or of windows as ({n}, windows, classes) with n_windows ({n},)"
    return InputError(f"{name} names {n:,} clips, {array.title} has {n_rows:,} rows", path, f"{remedy}; or give --ids.")


def _closed(array: FileArray) -> str:
    """Return the remedy for ids that NumPy pickled."""
    if not array.closed:
        return ""
    name = array.closed[0]
    return f" {name} holds pickled objects, which are not opened: save it as numpy.array({name}, dtype=str)."


def _what_is_read(array: FileArray, ids: str | Path | None, path: Path) -> str:
    """Return a line that says what is read of a file that has more, or that does not say what is what."""
    read = [f"scores {array.title}"] if array.title else []
    read += [f"clips {array.clips.title}"] if array.clips and not array.clips.certain and ids is None else []
    read += [f"classes {array.classes.title}"] if array.classes and not array.classes.certain else []
    unread = f"; not read: {first_few(array.unread, 8)}" if array.unread else ""
    return f"{path}: {', '.join(read) or 'scores'}{unread}" if read or unread else ""


# ---- clips ------------------------------------------------------------------------------------------------------


def _clips(array: FileArray, ids: str | Path | None, like: Answers | None, path: Path) -> tuple[str, ...]:
    """Return the ids of an array's clips: those in the file, or those of --ids."""
    own, given = (), ()
    if array.clips is not None:
        id_of = id_of_scores(array.clips.title)
        named = ((place, id_of(text)) for place, text in array.clips.placed())
        own = distinct(named, "clip", path)
    if ids is not None:
        given = like.clip_ids if like else read_ids(ids)
    _refuse_other(array.clips, own, given, "--ids", path)
    return given or own


def _refuse_other(names: Names | None, own: tuple[str, ...], given: tuple[str, ...], option: str, path: Path) -> None:
    """Raise InputError if a file names its clips or classes otherwise than an option does."""
    if names is None or not given or own == given:
        return
    numbers = all(text.isdigit() for text in own)  # may count something else
    if names.certain or set(own) == set(given) or (option == "--ids" and not numbers):
        what = "clips" if option == "--ids" else "classes"
        how = ", in another order" if set(own) == set(given) else ""
        remedy = "Omit it." if names.certain or how else f"Omit it, or remove {names.title} from the file."
        raise InputError(f"{path.name} names its {what} itself{how} ({names.title})", option, remedy)
    note(f"{path}: {names.title} is not read; {option} is given")


def read_ids(path: str | Path) -> tuple[str, ...]:
    """Read clip ids from a file: one per line, a column of clips in a table, JSON or Parquet, with or without labels; a
    JSON list of texts, or NumPy's array of texts.

    Where names are listed without a heading, those with an extension of recordings are file names, as in label lists:
    folder and extension are removed. Others are ids, kept as they are.
    """
    path, id_of = Path(path), id_of_scores()
    if not path.is_file():
        raise no_file(path)
    if path.suffix.lower() == ".npy":
        return distinct(((place, id_of(text)) for place, text in open_texts(path).placed()), "clip", path)
    if names := _list_in_json(path):
        return distinct(((f"{path}, entry {row}", id_of(name)) for row, name in enumerate(names, 1)), "clip", path)
    first = _first_row(path)
    if len(first) == 1:
        return distinct(_one_a_line(path), "clip", path)
    if "clip_id" in first:
        picked = columns(text_rows(path), path, ("clip_id",), tuple(first))
        return distinct(((f"{path}:{line}", clip_id) for line, (clip_id, _) in picked), "clip", path)
    rows, form = read_label_rows(path, clips_only=True)
    named = [(form.place(path, number), clip_id) for number, clip_id, _ in rows]
    for remark in rows.remarks:
        note(f"{path}: {remark}")
    if form.row != "clip":  # rows of labels or events
        named = [(str(path), clip_id) for clip_id in dict.fromkeys(clip_id for _, clip_id in named)]
    return distinct(named, "clip", path)


def listed_lengths(path: str | Path) -> dict[str, float]:
    """Return {clip id: seconds} if the file of clip ids is a segment list with times; else an empty dict."""
    path = Path(path)
    if path.suffix.lower() == ".npy" or not is_text_table(path) or format_of(path) != "audioset":
        return {}
    return {clip_id: float(end) - float(start) for clip_id, (start, end) in read_segments(path).items()}


def _list_in_json(path: Path) -> list[str]:
    """Return the texts of a JSON file that holds a list of texts; empty for other files."""
    if ".json" not in {suffix.lower() for suffix in path.suffixes}:
        return []
    value = (
        read_json(path, "Is it whole? It is a list of texts.")
        if next(text_lines(path), (0, ""))[1].lstrip().startswith("[")
        else []
    )
    if not value or not isinstance(value[0], str):
        return []
    other = next((row for row, text in enumerate(value) if not isinstance(text, str)), None)
    if other is not None:
        place = f"{path}, entry {other + 1}"
        raise InputError(
            f"{shown(value[other])} is not a text, as the entries before it are", place, "Write ids as texts."
        )
    return value


def _first_row(path: Path) -> list[str]:
    """Return the first row of a table that is not a comment (AudioSet's lists have some); empty for other files."""
    if not is_text_table(path):
        return []
    return next((fields for _, fields in text_rows(path) if not is_comment(fields)), [])


def _one_a_line(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and clip id of each line, skipping a first line that is the heading of a column of clips."""
    id_of = id_of_scores()
    for row, (line, fields) in enumerate(text_rows(path)):
        if len(fields) != 1:
            message = f"row has {len(fields)} columns, those before it one"
            raise InputError(message, f"{path}:{line}", "Give one id a line, or a header with the column clip_id.")
        name = fields[0]
        if not row and heading(name) in CLIP_COLUMNS and HEADING.fullmatch(name):
            id_of = id_of_scores(name)
        else:
            yield f"{path}:{line}", id_of(name)


def distinct(named: Iterable[tuple[str, str]], what: str, path: Path) -> tuple[str, ...]:
    """Return the ids of (place, id) pairs; InputError if one is empty or repeated, or there are none."""
    first: dict[str, str] = {}
    for place, value in named:
        if not value or "\0" in value:
            raise InputError(f"the {what} id {value!r} is empty or has a NUL", place, f"Give the {what} another.")
        if value in first:
            message = f"{what} {value!r} is listed twice, first at {first[value]}"
            remedy = " Under the heading clip_id, folders and endings are kept." if what == "clip" else ""
            raise InputError(message, place, f"Each must be distinct.{remedy}")
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
    named = [(f"{path}:{number}", _unquoted(line.strip())) for number, line in text_lines(path)]
    first = named[0][1] if named else ""
    if vocabulary.lookup(first) is None and ("," in first or "\t" in first):  # names may contain commas
        return Vocabulary.load(path).class_ids
    headed = first.casefold() in CLASS_HEADINGS and vocabulary.lookup(first) is None
    return _as_ids(named[headed:], vocabulary, path)


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"') if len(text) > 2 and text[0] == text[-1] == '"' else text


def _classes(
    array: FileArray, classes: str | Path | None, vocabulary: Vocabulary, like: Answers | None, path: Path
) -> tuple[str, ...]:
    """Return the ids of an array's classes: those in the file, or those of --classes.

    Columns that are called by numbers, 0, 1, 2 ... or some of these, have numbers of --classes.
    """
    own, given = (), ()
    if classes is not None:
        given = like.class_ids if like else read_classes(classes, vocabulary)
    if array.classes is not None:
        texts = array.classes.texts
        if _are_numbers(texts, vocabulary):
            return _numbered(texts, given, path)
        own = _as_ids(array.classes.placed(), vocabulary, path)
    _refuse_other(array.classes, own, given, "--classes", path)
    return given or own


def _are_numbers(texts: Sequence[str], vocabulary: Vocabulary) -> bool:
    """Return whether classes are called 0, 1, 2 ..., or by other numbers that are not ids of the vocabulary."""
    if sorted(texts) == sorted(map(str, range(len(texts)))):
        return True
    return all(text.isdecimal() for text in texts) and not all(map(vocabulary.lookup, texts))


def _numbered(texts: Sequence[str], given: Sequence[str], path: Path) -> tuple[str, ...]:
    numbers = [int(text) for text in texts]
    if not given:
        are = f"0 to {len(texts) - 1}" if max(numbers) < len(texts) else first_few(texts)
        remedy = "Give the file that names the classes in this order, or audioset."
        raise InputError(f"{path.name} numbers its classes, {are}", "--classes", remedy)
    if max(numbers) < len(texts) != len(given):
        remedy = "Give as many classes as columns."
        raise InputError(f"{path.name} has {len(texts)} columns, --classes {len(given)} classes", path, remedy)
    if max(numbers) >= len(given):
        message = f"{path.name} has a class {max(numbers)}, --classes the numbers 0 to {len(given) - 1}"
        raise InputError(message, path, "Give the list of all classes that the numbers count.")
    return distinct(((f"{path}, class {text}", given[int(text)]) for text in texts), "class", path)


def _as_ids(named: Iterable[tuple[str, str]], vocabulary: Vocabulary, path: Path) -> tuple[str, ...]:
    """Return the distinct class ids of (place, name or id) pairs."""
    return distinct([(place, vocabulary.lookup(name) or name) for place, name in named], "class", path)
