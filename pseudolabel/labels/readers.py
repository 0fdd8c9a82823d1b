"""Read label lists: a table of formats, each with how to recognize it and its reader.

docs/files.md says what each format looks like and which headings are accepted. Sources: AudioSet and its strong labels
(Google, CC BY 4.0; Hershey et al., ICASSP 2021), AudioSet-R (MIT, labels CC BY 4.0), ESC-50 (Piczak 2015, CC BY-NC
3.0), UrbanSound8K (Salamon et al. 2014, CC BY-NC 3.0), FSD50K (Fonseca et al. 2022, CC BY 4.0), FSDKaggle2018 and 2019
(Fonseca et al., CC BY 4.0), DESED (Turpault et al. 2019, MIT), the code of PSLA (2021, BSD 3-Clause) and of PSL (2022).

Names may replace class ids, and ids names; Freesound's lists write `_` for spaces and `_and_`, `_or_` for commas. Text
files may be compressed (.gz, .xz). A clip id is the recording's file name without folder and extension; names without
an extension, and ids in a column `clip_id`, are kept unchanged.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pseudolabel.errors import InputError, no_file
from pseudolabel.labels import nested_lists as nested
from pseudolabel.labels.cells import (
    CLIPS,
    ENDINGS,
    ENDS,
    JOINED,
    LABELS,
    ONE,
    OWN,
    STARTS,
    Row,
    Source,
    clip_id_of,
    is_comment,
    is_recording,
    places_of,
)
from pseudolabel.labels.event_lists import ID_STARTS, read_audioset, read_events, read_segments, timed_form
from pseudolabel.labels.text_lists import class_places, read_fsd50k, read_multi_hot, read_pairs, two_columns
from pseudolabel.tables import is_file, text_rows

__all__ = ["ENDINGS", "FORMATS", "Format", "Row", "clip_id_of", "read_label_rows", "read_segments"]
WHOLE_NAMES, JOINED_LABELS = "", ";,"  # separators of labels
NO_CLIPS = "Give a row for each clip; its labels may be empty."


class Format(NamedTuple):
    """A format of label lists.

    Args:
        looks_like: recognizes the format by the first rows of a text table; None if the file's beginning decides.
        read: yields the rows of a source; readers of formats other than text tables open the path themselves.
        separators: label separators, in order of preference; "" if a row has one label.
        row: what a row is: a `clip`; a `label` if clips have several rows; an `event`.
        otherwise: the format of a list that looks like this one, but has several rows a clip.
        unit: what row numbers count.
        numbered: whether class numbers are columns of the vocabulary if the user names this format.
    """

    looks_like: Callable[[list[list[str]]], bool] | None
    read: Callable[[Source], Iterator[Row]]
    separators: str = JOINED_LABELS
    row: str = "clip"
    otherwise: str = ""
    unit: str = "line"
    numbered: bool = False

    def place(self, path: str | Path, number: int) -> str:
        """Return the place of a row, as worded in errors."""
        return f"{path}:{number}" if self.unit == "line" else f"{path}, {self.unit} {number}"


@dataclass
class Rows:
    """The rows of a list, read as they are iterated; `remarks` is complete afterwards."""

    source: Source
    form: Format

    def __post_init__(self) -> None:
        self._rows = self.form.read(self.source)

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    @property
    def remarks(self) -> list[str]:
        """Sentences on what was left out or had several readings."""
        return [*self.source.remarks, *self.source.united()]

    def no_clips(self) -> InputError:
        """Return the error for a list whose rows, all read, name no clip."""
        return InputError("; ".join(["the label list has no clips", *self.remarks]), self.source.path, NO_CLIPS)


def read_label_rows(path: str | Path, format: str | None = None, clips_only: bool = False) -> tuple[Rows, Format]:
    """Return the rows of a label list and its format.

    Args:
        path: the list, plain or compressed (.gz, .xz).
        format: a key of FORMATS; None: recognized by the file's first bytes or rows, else `plain`.
        clips_only: the list may have no labels.

    Raises:
        InputError: the file is missing, empty or unreadable, the format is unknown, or the rows fit two formats; while
            iterating: a column is missing.
    """
    path = Path(path)
    if not is_file(path):
        raise no_file(path, "Name a file in it." if os.path.isdir(path) else "")
    if format is not None and format not in FORMATS:
        raise InputError(f"no label format {format!r}", path, f"Formats: {', '.join(FORMATS)}.")
    if not path.stat().st_size:
        raise InputError("the file is empty", path, "A label list has the header clip_id,labels.")
    known = FORMATS[format or format_of(path)]
    if known is FORMATS["multi-hot"] and clips_only:
        known = FORMATS["plain"]._replace(row="clip")
    if known.looks_like is None:
        return Rows(Source(path, (), clips_only), known), known
    rows = text_rows(path)
    first = next(rows, None)
    if first is None:
        raise InputError("the file is empty", path, "A label list has the header clip_id,labels.")
    return Rows(Source(path, itertools.chain([first], rows), clips_only), known), known


def is_text_table(path: Path) -> bool:
    """Return whether a file begins neither as Parquet nor as JSON."""
    return not _is_parquet(path) and not nested.json_form(path)


def format_of(path: Path) -> str:
    """Return the format that a file's first bytes or rows look like; `plain` if none.

    Raises:
        InputError: the rows fit two formats, or the file is unreadable.
    """
    if _is_parquet(path):
        return "parquet"
    return nested.json_form(path) or sniff([fields for _, fields in itertools.islice(text_rows(path), 8)], path)


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() == ".parquet":
        return True
    if not is_file(path):
        raise no_file(path, "Name a file in it." if os.path.isdir(path) else "")
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def sniff(first: list[list[str]], path: Path) -> str:
    """Return the format that the first rows of a text table look like; `plain` if none; errors as `format_of`."""
    rows = list(itertools.dropwhile(is_comment, first))
    for name, known in FORMATS.items():
        if known.looks_like and rows and known.looks_like(rows):
            return name
    return timed_form(first, path) or "plain"


# ---- the table --------------------------------------------------------------------------------------------------


def _has(*columns: str | Sequence[str]) -> Callable[[list[list[str]]], bool]:
    """Return a test of whether the first row has all these columns (any one, for a sequence)."""
    choices = [(each,) if isinstance(each, str) else each for each in columns]
    return lambda first: all(places_of(first[0], names) for names in choices)


def _is_multi_hot(first: list[list[str]]) -> bool:
    return _has(CLIPS)(first) and not _has(LABELS)(first) and bool(class_places(first))


def _is_audioset_r(first: list[list[str]]) -> bool:
    return len(first[0]) == 2 and (first[0][1].startswith(ID_STARTS) or is_recording(first[0][0]))


def _table(clips: str | Sequence[str], labels: str | Sequence[str], *others: object, **how: object) -> Format:
    """Return a format with a column of clips and one of labels, recognized by these and `others`."""
    names = [(name,) if isinstance(name, str) else name for name in (clips, labels)]
    return Format(_has(clips, labels, *others), two_columns(*names), **how)


_ONE_LABEL = {"separators": WHOLE_NAMES, "row": "label"}
_EVENTS = {"separators": WHOLE_NAMES, "row": "event"}
_ONE_ROW = {"otherwise": "plain"}
_AUDIOSET_STRONG = _has("segmentid", "starttimeseconds", "endtimeseconds", "label")
FORMATS = {  # the first that fits is taken
    "csv": _table(OWN, "labels", **_ONE_ROW),
    "urbansound8k": _table("slicefilename", "class", **_ONE_LABEL),
    "audioset-strong": Format(_AUDIOSET_STRONG, read_events, **_EVENTS),
    "desed-strong": Format(_has("filename", "onset", "offset", "eventlabel"), read_events, **_EVENTS),
    "events": Format(_has(CLIPS, STARTS, ENDS, ONE), read_events, row="event"),
    "audioset": Format(_has(CLIPS, STARTS, ENDS, JOINED), read_audioset, otherwise="events"),
    "esc50": _table(("filename", "file"), "category", **_ONE_LABEL),
    "fsd50k": Format(_has("fname", "labels", "mids"), read_fsd50k, **_ONE_ROW),
    "fsdkaggle2018": _table("fname", "label", **_ONE_LABEL),
    "fsdkaggle2019": _table("fname", "labels", **_ONE_ROW),
    "desed-weak": _table("filename", "eventlabels", **_ONE_ROW),
    "psl": _table("filename", "labels", ("duration", "hdf5path"), numbered=True, **_ONE_ROW),
    "audiofolder": Format(_has("filename", LABELS), two_columns(), row="label"),
    "plain": _table(CLIPS, LABELS, row="label"),
    "multi-hot": Format(_is_multi_hot, read_multi_hot),
    "audioset-r": Format(_is_audioset_r, read_pairs, row="label"),
    "psla": Format(None, nested.read_json_list, unit="entry"),
    "json": Format(None, nested.read_json_list, row="label", unit="entry"),
    "audiofolder-json": Format(None, nested.read_json_lines, row="label"),
    "parquet": Format(None, nested.read_parquet, row="label", unit="row"),
}
