"""Read label lists: a table of formats, each with how to recognize it, its reader and its label separators.

| format | rows | labels | source |
|---|---|---|---|
| `csv` | header `clip_id,labels` | joined by `;` | the project's own |
| `audioset` | `YTID, start, end, "id,id"` below `# ` lines | joined by `,` | AudioSet (Google, CC BY 4.0) |
| `esc50` | header `filename,...,category,...` | one category | ESC-50 (Piczak 2015, CC BY-NC 3.0) |
| `audioset-strong` | TSV, header `segment_id, start_time_seconds, end_time_seconds, label` | one per event | AudioSet |
| `audioset-r` | TSV `id, id,id`, no header | joined by `,` | AudioSet-R (MIT, labels CC BY 4.0) |
| `fsd50k` | header `fname,labels,mids[,split]` | ids joined by `,` | Fonseca et al. 2022 (CC BY 4.0) |
| `fsdkaggle2018` | header `fname,label,...` | one name | Fonseca et al. 2018 (CC BY 4.0) |
| `fsdkaggle2019` | header `fname,labels` | names joined by `,` | Fonseca et al. 2019 (CC BY 4.0) |
| `desed-weak` | TSV, header `filename, event_labels` | names joined by `,` | DESED (Turpault et al. 2019, MIT) |
| `desed-strong` | TSV, header `filename, onset, offset, event_label` | one per event | DESED |
| `psla` | JSON `{"data": [{"wav", "labels"}]}` | ids joined by `,` | PSLA's code (2021, BSD 3-Clause) |
| `psl` | TSV, header `filename, labels[, duration][, hdf5path]` | numbers joined by `;` | PSL's code (2022) |
| `audiofolder` | header `file_name,labels` | joined by `;`, else `,` | metadata.csv |
| `audiofolder-json` | lines `{"file_name", "labels"}`, file .jsonl | a list, or text joined by `;` | metadata.jsonl |
| `parquet` | columns `clip_id`, `labels` | text joined by `;`, or a list | |
| `plain` | any header with a column of clips and one of labels | joined by `;`, else `,` | |

`audioset-strong` has the labels of Hershey et al. (ICASSP 2021); the numbers in `psl` are columns of the vocabulary.
Names may replace class ids, and ids names; Freesound's lists write `_` for spaces and `_and_`, `_or_` for commas. Text
files may be compressed (.gz, .xz). A clip id is the recording's file name without folder and extension; names without
an extension, and ids in a column `clip_id`, are kept unchanged.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from pseudolabel.errors import InputError
from pseudolabel.tables import (
    OPENERS,
    Fields,
    is_file,
    parse_json,
    read_json,
    refuse_repeated,
    text_lines,
    text_rows,
    wrong_length,
)

Row = tuple[int, str, str]  # number of the line, JSON entry or Parquet row; clip id; joined labels
Reader = Callable[[Iterable[Fields], Path], Iterator[Row]]
ENDINGS = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".m4a", ".mp4",
    ".aac", ".wma", ".webm", ".mkv", ".mov", ".3gp", ".avi", ".weba", ".mka", ".m4b", ".wave", ".mp2", ".npy",
)  # fmt: skip
CLIP_HEADINGS = (
    "clip_id", "id", "filename", "file_name", "fname", "file", "wav", "path", "audio", "YTID", "segment_id",
)  # fmt: skip
LABEL_HEADINGS = ("labels", "label", "classes", "class", "category", "tags", "tag", "event_labels", "event_label")
ID_STARTS = ("/m/", "/t/", "/g/")  # prefixes of AudioSet's class ids
ENDING_FORMATS = {".json": "psla", ".jsonl": "audiofolder-json", ".parquet": "parquet"}
PARQUET_ROWS = 1 << 13  # read at once


class Format(NamedTuple):
    """A format of label lists.

    Args:
        looks_like: recognizes the format by the first rows of a text file; None if the file's extension decides.
        read: (rows, path) -> rows; readers of formats other than text tables open the path themselves.
        separators: label separators, in order of preference; "" if a row has one label.
        unit: what row numbers count.
        events: whether a clip has one row per event.
        numbered: whether labels are column numbers of the vocabulary.
    """

    looks_like: Callable[[list[list[str]]], bool] | None
    read: Reader
    separators: str
    unit: str = "line"
    events: bool = False
    numbered: bool = False

    def place(self, path: str | Path, number: int) -> str:
        """Return the place of a row, as worded in errors."""
        return f"{path}:{number}" if self.unit == "line" else f"{path}, {self.unit} {number}"


def read_label_rows(path: str | Path, format: str | None = None) -> tuple[Iterator[Row], Format]:
    """Return the rows of a label list and its format.

    Args:
        path: the list, plain or compressed (.gz, .xz).
        format: a key of FORMATS; None: recognized by the file's extension or first rows, else `csv`.

    Raises:
        InputError: the file is missing, empty or unreadable, or the format is unknown; while iterating: a column is
            missing.
    """
    path = Path(path)
    if not is_file(path):
        raise InputError("no such file", path)
    if format is not None and format not in FORMATS:
        raise InputError(f"no label format {format!r}", path, f"Formats: {', '.join(FORMATS)}.")
    ending = next((suffix for suffix in reversed(path.suffixes) if suffix not in OPENERS), "").lower()
    format, is_empty = format or ENDING_FORMATS.get(ending), not path.stat().st_size
    if format is not None and FORMATS[format].looks_like is None and not is_empty:
        return FORMATS[format].read((), path), FORMATS[format]
    rows = iter(()) if is_empty else text_rows(path)
    first = list(itertools.islice(rows, 5))
    if not first:
        raise InputError("the file is empty", path, "A label list has the header clip_id,labels.")
    known = FORMATS[format or sniff([fields for _, fields in first])]
    return known.read(itertools.chain(first, rows), path), known


def sniff(first: list[list[str]]) -> str:
    """Return the format that the first rows of a text file look like; `csv` if none."""
    return next((name for name, known in FORMATS.items() if known.looks_like and known.looks_like(first)), "csv")


def clip_id_of(name: str) -> str:
    """Return a recording's file name without folder and extension; only extensions of recordings are removed."""
    name = name.replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return stem if stem and f"{dot}{ending}".lower() in ENDINGS else name


# ---- tables with a header ---------------------------------------------------------------------------------------


def columns(rows: Iterable[Fields], path: Path, *wanted: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield each row's line number and wanted columns; `wanted` gives the alternative names of each column.

    Errors show the first alternative.
    """
    rows = iter(rows)
    line, names = next(rows, (1, []))
    places = []
    for choices in wanted:
        known = [name for name in choices if name in names]
        if not known:
            needed = ",".join(choices[0] for choices in wanted)
            message = f"column {choices[0]!r} is missing; columns found: {', '.join(names)}"
            raise InputError(message, f"{path}:{line}", f"The header needs: {needed}.")
        places.append(names.index(known[0]))
    refuse_repeated(names, f"{path}:{line}")
    pick, width = itemgetter(*places), len(names)
    for line, fields in rows:
        if len(fields) != width:
            raise wrong_length(fields, width, f"{path}:{line}")
        yield line, pick(fields)


def _two_columns(clip: tuple[str, ...], labels: tuple[str, ...]) -> Reader:
    """Return a reader of tables with a column of clips and one of labels, under any of these names."""

    def read(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
        rows = iter(rows)
        header = next(rows, (1, []))
        has_ids = next((name for name in clip if name in header[1]), "") == "clip_id"
        for line, (name, text) in columns(itertools.chain([header], rows), path, clip, labels):
            yield line, name if has_ids else clip_id_of(name), text

    return read


def _read_fsd50k(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read ids, checking that each row has as many names as ids."""
    for line, (name, labels, mids) in columns(rows, path, ("fname",), ("labels",), ("mids",)):
        if labels.count(",") != mids.count(","):
            counts = f"{labels.count(',') + 1} labels and {mids.count(',') + 1} mids"
            raise InputError(f"row has {counts}", f"{path}:{line}", "FSD50K names each label once by name and by id.")
        yield line, clip_id_of(name), mids


def _read_audioset_strong(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read events; the framed list has a fifth column `present`, and `NOT_PRESENT` rows give no label.

    Segment ids are `<YouTube id>_<start in ms>`.
    """
    rows = iter(rows)
    header = next(rows)
    wanted = [("segment_id",), ("start_time_seconds",), ("end_time_seconds",), ("label",)]
    wanted += [("present",)] * ("present" in header[1])
    for line, (clip_id, start, end, label, *present) in columns(itertools.chain([header], rows), path, *wanted):
        _check_event(start, end, label, f"{path}:{line}")
        if present and present[0] not in ("PRESENT", "NOT_PRESENT"):
            raise InputError(f"{present[0]!r} is neither PRESENT nor NOT_PRESENT", f"{path}:{line}")
        yield line, clip_id, "" if present == ["NOT_PRESENT"] else label


def _read_desed_strong(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read events; a clip without events has one row with the other three fields empty."""
    for line, (name, *event) in columns(rows, path, ("filename",), ("onset",), ("offset",), ("event_label",)):
        if any(event):
            _check_event(*event, f"{path}:{line}")
        yield line, clip_id_of(name), event[2]


def _check_event(start: str, end: str, label: str, place: str) -> None:
    _check_times(start, end, place)
    if not label:
        raise InputError("the event has no label", place)


def _check_times(start: str, end: str, place: str) -> None:
    try:
        if 0 <= float(start) <= float(end) < float("inf"):
            return
    except ValueError:
        pass
    raise InputError(f"{start!r} to {end!r} are no start and end in seconds", place)


# ---- tables without a header ------------------------------------------------------------------------------------


def _read_audioset(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    for line, (clip_id, _, _, labels) in _segments(rows, path):
        yield line, clip_id, labels


def read_segments(path: str | Path) -> dict[str, tuple[str, str]]:
    """Return {clip id: (start, end)} from an AudioSet segment list: seconds, as written; each clip listed once."""
    path, found = Path(path), {}
    for line, (clip_id, start, end, _) in _segments(text_rows(path), path):
        if clip_id in found:
            raise InputError(f"clip {clip_id!r} is listed twice", f"{path}:{line}", "Keep one row a clip.")
        found[clip_id] = start, end
    return found


def _segments(rows: Iterable[Fields], path: Path) -> Iterator[Fields]:
    """Yield the checked rows of a segment list; each distinct (start, end) is checked once."""
    checked = set()
    for row in rows:
        line, fields = row
        if fields[0].startswith("# "):
            continue
        if len(fields) != 4:
            remedy = 'Segment lists have rows `YTID, start, end, "id,id"`.'
            raise InputError(f"row has {len(fields)} columns, not 4", f"{path}:{line}", remedy)
        times = fields[1], fields[2]
        if times not in checked:
            _check_times(*times, f"{path}:{line}")
            checked.add(times)
        yield row


def _read_audioset_r(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    for line, fields in rows:
        if len(fields) != 2:
            raise InputError(f"row has {len(fields)} columns, not 2", f"{path}:{line}", "Rows are `clip id, id,id`.")
        yield line, fields[0], fields[1]


# ---- JSON and Parquet -------------------------------------------------------------------------------------------


def _read_psla(_: Iterable[Fields], path: Path) -> Iterator[Row]:
    content = read_json(path)
    entries = content.get("data") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise InputError("no list under the key 'data'", path, 'The form is {"data": [{"wav": ..., "labels": ...}]}.')
    for number, entry in enumerate(entries, 1):
        texts = [entry.get(key) for key in ("wav", "labels")] if isinstance(entry, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise InputError("an entry needs the texts `wav` and `labels`", f"{path}, entry {number}")
        yield number, clip_id_of(texts[0]), texts[1]


def _read_audiofolder_json(_: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read one JSON object per line; all must have the keys of the first."""
    keys = ()
    for line, text in text_lines(path):
        place, entry = f"{path}:{line}", parse_json(text, path, line, "Is the line whole?")
        if not isinstance(entry, dict):
            raise InputError("not a JSON object", place, 'Lines are {"file_name": ...}.')
        keys = keys or ("file_name", next((key for key in LABEL_HEADINGS if key in entry), LABEL_HEADINGS[0]))
        if absent := next((key for key in keys if key not in entry), None):
            message = f"key {absent!r} is missing; keys found: {', '.join(entry)}"
            raise InputError(message, place, "Every line needs file_name and labels.")
        yield line, *_row_of_texts(*(entry[key] for key in keys), place)


def _read_parquet(_: Iterable[Fields], path: Path) -> Iterator[Row]:
    import pyarrow as pa

    from pseudolabel.labels.parquet import open_parquet, parquet_batches

    number = 0
    try:
        with open_parquet(path) as file:
            names = _parquet_columns(file.schema_arrow.names, path)
            for batch in parquet_batches(file, path, names, PARQUET_ROWS):
                for name, labels in zip(*(batch.column(column).to_pylist() for column in names), strict=True):
                    number += 1
                    clip_id, joined = _row_of_texts(name, labels, f"{path}, row {number}")
                    yield number, name if names[0] == "clip_id" else clip_id, joined
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as Parquet ({str(error).splitlines()[0]})", path) from error


def _parquet_columns(listed: list[str], path: Path) -> list[str]:
    """Return the names of the clip column and the label column."""
    names = [next((name for name in choices if name in listed), None) for choices in (CLIP_HEADINGS, LABEL_HEADINGS)]
    if None in names:
        absent = (CLIP_HEADINGS, LABEL_HEADINGS)[names.index(None)][0]
        message = f"column {absent!r} is missing; columns found: {', '.join(listed)}"
        raise InputError(message, path, "The table needs: clip_id,labels.")
    return names


def _row_of_texts(name: object, labels: object, place: str) -> tuple[str, str]:
    """Return the clip id and joined labels (`;`) of a row whose labels are a text, a list of texts, or null."""
    labels = [] if labels is None else [labels] if isinstance(labels, str) else labels
    if not isinstance(name, str) or not isinstance(labels, list) or not all(isinstance(text, str) for text in labels):
        raise InputError("clips and labels must be texts", place, "Write them as texts or lists of texts.")
    if len(labels) > 1 and "" in labels:
        raise InputError(f"an empty label in {labels}", place, "Is the row whole?")
    return clip_id_of(name), ";".join(labels)


# ---- the table --------------------------------------------------------------------------------------------------


def _header(*names: str | tuple[str, ...]) -> Callable[[list[list[str]]], bool]:
    """Return a test of whether the first row has all these columns (any one, for a tuple)."""
    choices = [{name} if isinstance(name, str) else set(name) for name in names]
    return lambda first: all(choice & set(first[0]) for choice in choices)


def _looks_like_audioset(first: list[list[str]]) -> bool:
    rows = [fields for fields in first if len(fields) == 4 and not fields[0].startswith("# ")]
    return any(all(text.replace(".", "", 1).isdigit() for text in fields[1:3]) for fields in rows)


def _looks_like_audioset_r(first: list[list[str]]) -> bool:
    return len(first[0]) == 2 and first[0][1].startswith(ID_STARTS)


def _table(
    clip: str | tuple[str, ...], labels: str | tuple[str, ...], separators: str, *others: object, **how
) -> Format:
    """Return a format with a column of clips and one of labels, recognized by these and `others`."""
    names = [(name,) if isinstance(name, str) else name for name in (clip, labels)]
    return Format(_header(clip, labels, *others), _two_columns(*names), separators, **how)


_STRONG_AUDIOSET, _STRONG_DESED = _header("segment_id", "label"), _header("filename", "onset", "offset", "event_label")
FORMATS = {
    "csv": _table("clip_id", "labels", ";"),
    "esc50": _table(("filename", "file"), "category", ""),
    "audioset-strong": Format(_STRONG_AUDIOSET, _read_audioset_strong, "", events=True),
    "audioset-r": Format(_looks_like_audioset_r, _read_audioset_r, ","),
    "fsd50k": Format(_header("fname", "labels", "mids"), _read_fsd50k, ","),
    "fsdkaggle2018": _table("fname", "label", ""),
    "fsdkaggle2019": _table("fname", "labels", ","),
    "desed-weak": _table("filename", "event_labels", ","),
    "desed-strong": Format(_STRONG_DESED, _read_desed_strong, "", events=True),
    "psla": Format(None, _read_psla, ",", unit="entry"),
    "psl": _table("filename", "labels", ";", ("duration", "hdf5path"), numbered=True),
    "audiofolder": _table("file_name", LABEL_HEADINGS, ";,"),
    "audiofolder-json": Format(None, _read_audiofolder_json, ";"),
    "parquet": Format(None, _read_parquet, ";", unit="row"),
    "plain": _table(CLIP_HEADINGS, LABEL_HEADINGS, ";,"),
    "audioset": Format(_looks_like_audioset, _read_audioset, ","),  # last: its rows have no header
}
