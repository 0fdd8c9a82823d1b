"""The table of label formats: how each is told apart, which reader it has (readers.py), what joins its labels.

| format | rows | labels |
|---|---|---|
| `csv` | header `clip_id,labels`: the project's own | joined by `;` |
| `audioset` | `YTID, start, end, "id,id"`, with or without `# ` lines | joined by `,` |
| `esc50` | header `filename,...,category,...` | one category |
| `audioset-strong` | TSV, header `segment_id, start_time_seconds, end_time_seconds, label` | one an event |
| `audioset-r` | TSV `id, id,id`, no header | joined by `,` |
| `fsd50k` | header `fname,labels,mids[,split]` | ids joined by `,` |
| `fsdkaggle2018` | header `fname,label,...` | one name |
| `fsdkaggle2019` | header `fname,labels` | names joined by `,` |
| `desed-weak` | TSV, header `filename, event_labels` | names joined by `,` |
| `desed-strong` | TSV, header `filename, onset, offset, event_label` | one an event |
| `psla` | JSON `{"data": [{"wav", "labels"}]}` | ids joined by `,` |
| `psl` | TSV, header `filename, labels, duration, hdf5path` | columns of the vocabulary joined by `;` |
| `audiofolder` | header `file_name,labels` | joined by `;`, or else `,` |
| `audiofolder-json` | a line `{"file_name", "labels"}`, file ending .jsonl | a list, or text joined by `;` |
| `parquet` | columns `clip_id`, `labels` | text joined by `;`, or a list |
| `plain` | any header with a column of clips and one of labels | joined by `;`, or else `,` |

Wherever ids stand, names may, and the other way round. Text files may be packed (.gz, .xz).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pseudolabel.errors import InputError
from pseudolabel.labels import readers
from pseudolabel.labels.readers import Row
from pseudolabel.tables import OPENERS, Fields, is_file

ID_STARTS = ("/m/", "/t/", "/g/")  # of AudioSet's class ids


class Format(NamedTuple):
    """One kind of label list.

    Args:
        looks_like: tells it from the first rows of a text file; None where the file's ending tells it.
        read: (rows, path) to rows; formats that are no text rows open the path themselves.
        separators: what joins labels, the first choice first; "" where a row has one label.
        unit: what the numbers of the rows count.
        events: a clip has a row for each of its events.
        numbered: labels are columns of the vocabulary.
    """

    looks_like: Callable[[list[list[str]]], bool] | None
    read: Callable[[Iterable[Fields], Path], Iterator[Row]]
    separators: str
    unit: str = "line"
    events: bool = False
    numbered: bool = False

    def place(self, path: str | Path, number: int) -> str:
        """Return where a row stands, as messages say it."""
        return f"{path}:{number}" if self.unit == "line" else f"{path}, {self.unit} {number}"


def read_label_rows(path: str | Path, format: str | None = None) -> tuple[Iterator[Row], Format]:
    """Return the rows of a label list and its format.

    Args:
        path: the list, plain or packed (.gz, .xz).
        format: a key of FORMATS; None takes the one that the ending or the first rows look like, else `csv`.

    Raises:
        InputError: no such file, nothing in it, unreadable text, an unknown format; while reading: a missing column.
    """
    path = Path(path)
    if not is_file(path):
        raise InputError("no such file", path)
    if format is not None and format not in FORMATS:
        raise InputError(f"no label format {format!r}", path, f"Formats: {', '.join(FORMATS)}.")
    if not path.stat().st_size:
        raise _empty(path)
    format = format or _told_by_ending(path)
    if format is not None and FORMATS[format].looks_like is None:
        return FORMATS[format].read((), path), FORMATS[format]
    rows = readers.text_rows(path)
    head = list(itertools.islice(rows, 5))
    if not head:
        raise _empty(path)
    format = format or sniff([fields for _, fields in head])
    return FORMATS[format].read(itertools.chain(head, rows), path), FORMATS[format]


def sniff(first: list[list[str]]) -> str:
    """Return the format that the first rows of a text file look like; `csv` where they look like none."""
    return next((name for name, known in FORMATS.items() if known.looks_like and known.looks_like(first)), "csv")


def _told_by_ending(path: Path) -> str | None:
    ending = next((suffix for suffix in reversed(path.suffixes) if suffix not in OPENERS), "")
    return {".json": "psla", ".jsonl": "audiofolder-json", ".parquet": "parquet"}.get(ending.lower())


def _empty(path: Path) -> InputError:
    return InputError("the file is empty", path, "A label list has the header clip_id,labels.")


def _header(*columns: str | tuple[str, ...]) -> Callable[[list[list[str]]], bool]:
    """Return whether the first row has all these columns; of a tuple, one."""
    choices = [{column} if isinstance(column, str) else set(column) for column in columns]
    return lambda first: all(names & set(first[0]) for names in choices)


def _looks_like_audioset(first: list[list[str]]) -> bool:
    rows = [fields for fields in first if len(fields) == 4 and not fields[0].startswith("# ")]
    return any(all(text.replace(".", "", 1).isdigit() for text in fields[1:3]) for fields in rows)


def _looks_like_audioset_r(first: list[list[str]]) -> bool:
    return len(first[0]) == 2 and first[0][1].startswith(ID_STARTS)


FORMATS = {
    "csv": Format(_header("clip_id", "labels"), readers.read_own, ";"),
    "esc50": Format(_header(("filename", "file"), "category"), readers.read_esc50, ""),
    "audioset-strong": Format(_header("segment_id", "label"), readers.read_audioset_strong, "", events=True),
    "audioset-r": Format(_looks_like_audioset_r, readers.read_audioset_r, ","),
    "fsd50k": Format(_header("fname", "labels", "mids"), readers.read_fsd50k, ","),
    "fsdkaggle2018": Format(_header("fname", "label"), readers.read_fsdkaggle2018, ""),
    "fsdkaggle2019": Format(_header("fname", "labels"), readers.read_fsdkaggle2019, ","),
    "desed-weak": Format(_header("filename", "event_labels"), readers.read_desed_weak, ","),
    "desed-strong": Format(
        _header("filename", "onset", "offset", "event_label"), readers.read_desed_strong, "", events=True
    ),
    "psla": Format(None, readers.read_psla, ",", unit="entry"),
    "psl": Format(_header("filename", "labels", ("duration", "hdf5path")), readers.read_psl, ";", numbered=True),
    "audiofolder": Format(_header("file_name", readers.LABEL_COLUMNS), readers.read_audiofolder, ";,"),
    "audiofolder-json": Format(None, readers.read_audiofolder_json, ";"),
    "parquet": Format(None, readers.read_parquet, ";", unit="row"),
    "plain": Format(_header(readers.CLIP_COLUMNS, readers.LABEL_COLUMNS), readers.read_plain, ";,"),
    "audioset": Format(_looks_like_audioset, readers.read_audioset, ","),  # last: its rows have no header to be told by
}
