"""Readers of published label lists: each says where its format comes from and yields (number, clip id, labels).

The number is that of the line, of the entry in JSON, of the row in Parquet. A clip id is the name of the recording
without folder and ending, as everywhere in this package; names in lists that have no ending stay as written.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import itemgetter
from pathlib import Path

from pseudolabel.errors import InputError
from pseudolabel.tables import Fields, parse_json, read_json, refuse_repeated, text_lines, text_rows, wrong_length

Row = tuple[int, str, str]  # number, clip id, labels joined by the format's separator
ENDINGS = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".m4a", ".mp4",
    ".aac", ".wma", ".webm", ".mkv", ".mov", ".3gp", ".avi", ".weba", ".mka", ".m4b", ".wave", ".mp2", ".npy",
)  # fmt: skip
CLIP_COLUMNS = (
    "clip_id", "id", "filename", "file_name", "fname", "file", "wav", "path", "audio", "YTID", "segment_id",
)  # fmt: skip
PARQUET_ROWS = 1 << 13  # that are read at once
LABEL_COLUMNS = ("labels", "label", "classes", "class", "category", "tags", "tag", "event_labels", "event_label")


def clip_id_of(name: str) -> str:
    """Return a recording's file name without its folder and its ending; only endings of recordings are cut."""
    name = name.replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return stem if stem and f"{dot}{ending}".lower() in ENDINGS else name


def columns(rows: Iterable[Fields], path: Path, *wanted: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield each row's line and its wanted columns; a column may have several names, the first stands in the error."""
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


def _named(rows: Iterable[Fields], path: Path, clip: tuple[str, ...], labels: tuple[str, ...]) -> Iterator[Row]:
    for line, (name, text) in columns(rows, path, clip, labels):
        yield line, clip_id_of(name), text


def read_own(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read the project's own label list: header `clip_id,labels`, class ids (or names) joined by `;`."""
    for line, (clip_id, labels) in columns(rows, path, ("clip_id",), ("labels",)):
        yield line, clip_id, labels


def read_audioset(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read an AudioSet segment list (Google, CC BY 4.0, research.google.com/audioset).

    Rows `YTID, start_seconds, end_seconds, "id,id"` without a header, after comment lines `# ...` that some copies
    lack. YouTube ids may start with `-`.
    """
    for line, (clip_id, _, _, labels) in _segments(rows, path):
        yield line, clip_id, labels


def read_segments(path: str | Path) -> dict[str, tuple[str, str]]:
    """Return {clip id: (start, end)}, seconds as written in an AudioSet segment list, which lists each clip once."""
    path, found = Path(path), {}
    for line, (clip_id, start, end, _) in _segments(text_rows(path), path):
        if clip_id in found:
            raise InputError(f"clip {clip_id!r} is listed twice", f"{path}:{line}", "Keep one row a clip.")
        found[clip_id] = start, end
    return found


def _segments(rows: Iterable[Fields], path: Path) -> Iterator[Fields]:
    """Yield the rows of a segment list, checked; start and end are checked once for each pair."""
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
            _check_times(*times, path, line)
            checked.add(times)
        yield row


def _check_times(start: str, end: str, path: Path, line: int) -> None:
    try:
        if 0 <= float(start) <= float(end) < float("inf"):
            return
    except ValueError:
        pass
    raise InputError(f"{start!r} to {end!r} are no start and end in seconds", f"{path}:{line}")


def read_audioset_strong(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read AudioSet's strong labels (Hershey et al., ICASSP 2021; Google, CC BY 4.0), one event a row.

    TSV `segment_id, start_time_seconds, end_time_seconds, label`; segment ids are `<YouTube id>_<start in ms>`, labels
    class ids, 456 in all. The framed list has a fifth column `present`: rows `NOT_PRESENT` name no label.
    """
    rows = iter(rows)
    header = next(rows)
    wanted = [("segment_id",), ("start_time_seconds",), ("end_time_seconds",), ("label",)]
    if "present" in header[1]:
        wanted.append(("present",))
    for line, (clip_id, start, end, label, *present) in columns(itertools.chain([header], rows), path, *wanted):
        _check_times(start, end, path, line)
        if not label:
            raise InputError("the event has no label", f"{path}:{line}")
        if present and present[0] not in ("PRESENT", "NOT_PRESENT"):
            raise InputError(f"{present[0]!r} is neither PRESENT nor NOT_PRESENT", f"{path}:{line}")
        yield line, clip_id, "" if present == ["NOT_PRESENT"] else label


def read_audioset_r(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read AudioSet-R, a relabelling of AudioSet's evaluation clips (MIT, labels CC BY 4.0).

    TSV without a header, `YouTube id, id,id`; labels are class ids.
    """
    for line, fields in rows:
        if len(fields) != 2:
            raise InputError(f"row has {len(fields)} columns, not 2", f"{path}:{line}", "Rows are `clip id, id,id`.")
        yield line, fields[0], fields[1]


def read_psla(_: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read the JSON of the published PSLA code (Gong et al., 2021; BSD 3-Clause).

    `{"data": [{"wav": PATH, "labels": "id,id"}]}`; the clip id is the recording's name.
    """
    content = read_json(path)
    entries = content.get("data") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise InputError("no list under the key 'data'", path, 'The form is {"data": [{"wav": ..., "labels": ...}]}.')
    for number, entry in enumerate(entries, 1):
        found = [entry.get(key) for key in ("wav", "labels")] if isinstance(entry, dict) else [None]
        if not all(isinstance(text, str) for text in found):
            raise InputError("an entry needs the texts `wav` and `labels`", f"{path}, entry {number}")
        yield number, clip_id_of(found[0]), found[1]


def read_psl(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read the list of the published PSL code (Dinkel et al., ICASSP 2022): TSV, whatever the file's ending says.

    Header `filename, labels[, duration][, hdf5path]`; labels are columns of the vocabulary joined by `;`.
    """
    return _named(rows, path, ("filename",), ("labels",))


def read_fsd50k(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read FSD50K's ground truth, dev.csv and eval.csv (Fonseca et al., 2022; CC BY 4.0).

    Header `fname,labels,mids[,split]`; fname is a Freesound number without ending, labels are names and mids class
    ids, both joined by `,` and in the same order.
    """
    for line, (name, labels, mids) in columns(rows, path, ("fname",), ("labels",), ("mids",)):
        if labels.count(",") != mids.count(","):
            counts = f"{labels.count(',') + 1} labels and {mids.count(',') + 1} mids"
            raise InputError(f"row has {counts}", f"{path}:{line}", "FSD50K names each label once by name and by id.")
        yield line, clip_id_of(name), mids


def read_fsdkaggle2018(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read FSDKaggle2018 (Fonseca et al., 2018; CC BY 4.0): header `fname,label,manually_verified`, one label a clip.

    Names are AudioSet's with `_` for spaces and `_or_` for commas (Gunshot_or_gunfire).
    """
    return _named(rows, path, ("fname",), ("label",))


def read_fsdkaggle2019(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read FSDKaggle2019 (Fonseca et al., 2019; CC BY 4.0): header `fname,labels`, names joined by `,`.

    Names are AudioSet's with `_` for spaces and `_and_` for commas (Male_speech_and_man_speaking).
    """
    return _named(rows, path, ("fname",), ("labels",))


def read_esc50(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read ESC-50's meta/esc50.csv (Piczak, 2015; CC BY-NC 3.0): header `filename,fold,target,category,...`."""
    return _named(rows, path, ("filename", "file"), ("category",))


def read_desed_weak(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read DESED's weak labels (Turpault et al., 2019; MIT): TSV `filename, event_labels`, names joined by `,`."""
    return _named(rows, path, ("filename",), ("event_labels",))


def read_desed_strong(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read DESED's strong labels (MIT), one event a row: TSV `filename, onset, offset, event_label`.

    A clip without events has one row whose other three fields are empty.
    """
    wanted = ("filename",), ("onset",), ("offset",), ("event_label",)
    for line, (name, onset, offset, label) in columns(rows, path, *wanted):
        if onset or offset or label:
            _check_times(onset, offset, path, line)
            if not label:
                raise InputError("the event has no label", f"{path}:{line}")
        yield line, clip_id_of(name), label


def read_audiofolder(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read the metadata.csv of an audio folder: header `file_name,labels` (or `label`), more columns passed over."""
    return _named(rows, path, ("file_name",), LABEL_COLUMNS)


def read_audiofolder_json(_: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read the metadata.jsonl of an audio folder, one JSON object a line: `{"file_name": PATH, "labels": ["a", "b"]}`.

    Labels (or `label` ...) are a list of texts, or one text of labels joined by `;`; more keys are passed over.
    """
    keys = ()
    for line, entry in _json_lines(path):
        place = f"{path}:{line}"
        keys = keys or ("file_name", next((key for key in LABEL_COLUMNS if key in entry), LABEL_COLUMNS[0]))
        absent = next((key for key in keys if key not in entry), None)
        if absent:
            raise InputError(f"key {absent!r} is missing; keys found: {', '.join(entry)}", place,
                             "Every line needs file_name and labels.")  # fmt: skip
        yield line, *_row_of_texts(*(entry[key] for key in keys), place)


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the line and the object of each line of JSON that is not empty."""
    for line, text in text_lines(path):
        entry = parse_json(text, path, line, "Is the line whole?")
        if not isinstance(entry, dict):
            raise InputError("not a JSON object", f"{path}:{line}", 'Lines are {"file_name": ...}.')
        yield line, entry


def read_plain(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read any list whose header names a clip (`id`, `file`, `path`, ...) and its labels (`label`, `tags`, ...).

    Ids in a column `clip_id` stay as they are; in a column of other names, folder and ending are cut off.
    """
    rows = iter(rows)
    header = next(rows, (1, []))
    is_id = next((name for name in CLIP_COLUMNS if name in header[1]), "") == "clip_id"
    for line, (name, text) in columns(chain([header], rows), path, CLIP_COLUMNS, LABEL_COLUMNS):
        yield line, name if is_id else clip_id_of(name), text


def read_parquet(_: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read a Parquet table: a text column of clips and one of labels, texts joined by `;` or lists of texts.

    Ids in a column `clip_id` stay as they are; in a column of other names, folder and ending are cut off.
    """
    import pyarrow as pa

    from pseudolabel.labels.parquet import open_parquet, parquet_batches

    number = 0
    try:
        with open_parquet(path) as file:
            names = _parquet_columns(file.schema_arrow, path)
            for batch in parquet_batches(file, path, names, PARQUET_ROWS):
                for name, labels in zip(*(batch.column(column).to_pylist() for column in names), strict=True):
                    number += 1
                    clip_id, joined = _row_of_texts(name, labels, f"{path}, row {number}")
                    yield number, name if names[0] == "clip_id" else clip_id, joined  # an id is no path
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as Parquet ({str(error).splitlines()[0]})", path) from error


def _parquet_columns(schema: object, path: Path) -> list[str]:
    names = []
    for choices in (CLIP_COLUMNS, LABEL_COLUMNS):
        name = next((name for name in choices if name in schema.names), None)
        if name is None:
            message = f"column {choices[0]!r} is missing; columns found: {', '.join(schema.names)}"
            raise InputError(message, path, "The table needs: clip_id,labels.")
        names.append(name)
    return names


def _row_of_texts(name: object, labels: object, place: str) -> tuple[str, str]:
    """Return the clip id and the labels joined by `;` of a row with labels as one text, a list of texts or null."""
    labels = [] if labels is None else [labels] if isinstance(labels, str) else labels
    if not isinstance(name, str) or not isinstance(labels, list) or not all(isinstance(text, str) for text in labels):
        raise InputError("clips and labels must be texts", place, "Write them as texts or lists of texts.")
    if len(labels) > 1 and "" in labels:
        raise InputError(f"an empty label in {labels}", place, "Is the row whole?")
    return clip_id_of(name), ";".join(labels)
