"""The enhanced list in its source's form, so that code made for the source reads it unchanged.

| source | file | what is kept from the source's own list |
|---|---|---|
| AudioSet | `segments.csv` | start and end of each segment, three comment lines |
| FSD50K | `fsd50k.csv` | every column but `labels` and `mids` (`split`) |
| ESC-50 | `esc50.csv` | every column; an extra one, `labels`, has all categories joined by `;` |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pseudolabel.artefacts import write_csv
from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels import readers, writers
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.cells import places_of
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.tables import text_rows, wrong_length


class SourceForm(NamedTuple):
    """A source of labels: its name, and the file that a release writes in its form."""

    source: str
    file: str


SOURCE_FORMS = {
    "audioset": SourceForm("AudioSet", "segments.csv"),
    "fsd50k": SourceForm("FSD50K", "fsd50k.csv"),
    "esc50": SourceForm("ESC-50", "esc50.csv"),
}
CLIP_COLUMN = {"fsd50k": ("fname",), "esc50": ("filename", "file")}
ALL_LABELS = "labels"  # extra column of esc50.csv


def form_of(path: Path, format: str | None = None) -> str | None:
    """Return the form of a label list, `audioset`, `fsd50k` or `esc50`, or None if it has another.

    Args:
        format: the form stated by the user; None: detected from the first rows.
    """
    if format is None:
        format = readers.format_of(path)
    return format if format in SOURCE_FORMS else None


def write_source_form(form: str, lists: Sequence[Path], labels: LabelTable, folder: Path) -> Path:
    """Write the labels in the form of the source's own lists, clips in the order of `labels`; return the file.

    Args:
        form: a key of SOURCE_FORMS.
        lists: the source's lists, which must have every clip; ids are written as they have them.

    Raises:
        ClipMismatch: a clip is in none of the lists.
        InputError: a list has another form, or the form cannot hold an id.
    """
    path = folder / SOURCE_FORMS[form].file
    if form == "audioset":
        segments = {}
        for source in lists:
            segments |= readers.read_segments(source)
        labels = labels.renamed(_aliases(labels, segments, lists))
        rows = zip(labels.clip_ids, labels.label_sets(), strict=True)
        writers.write_audioset(path, rows, segments, above=_audioset_comments(labels))
        return path
    header, rows = _read_rows(lists, CLIP_COLUMN[form])
    aliases = _aliases(labels, rows, lists)
    listed = (rows[aliases.get(clip_id, clip_id)] for clip_id in labels.clip_ids)
    columns = _fsd50k_columns(labels) if form == "fsd50k" else {ALL_LABELS: map(";".join, labels.label_sets())}
    table = _with_columns(header, listed, columns)
    write_csv(path, next(table), table)
    return path


def read_source_form(path: Path, vocabulary: Vocabulary, form: str) -> LabelTable:
    """Return the labels in a file written by `write_source_form`; for esc50.csv, those of the extra column."""
    if form != "esc50":
        return LabelTable.read(path, vocabulary, form)
    header, rows = _read_rows([path], CLIP_COLUMN[form])
    if ALL_LABELS not in header:
        raise InputError(f"column {ALL_LABELS!r} is missing", f"{path}:1")
    column = header.index(ALL_LABELS)
    sets = ([label for label in row[column].split(";") if label] for row in rows.values())
    return LabelTable.from_sets(rows, sets, vocabulary)


def fsd50k_name(name: str) -> str:
    """Return a class name as FSD50K writes it: `Male speech, man speaking` becomes `Male_speech_and_man_speaking`."""
    return name.replace(", and ", " and ").replace(", ", " and ").replace(" ", "_")


def _audioset_comments(labels: LabelTable) -> tuple[str, str]:
    """Return the two lines above the column names: much code skips three lines, whatever they hold."""
    n_clips, n_occurring = len(labels), len(set(labels.matrix.indices.tolist()))
    return (
        "# Segments csv with labels that were added to those published",
        f"# num_ytids={n_clips}, num_segs={n_clips}, num_unique_labels={n_occurring}, "
        f"num_positive_labels={labels.matrix.nnz}",
    )


def _aliases(labels: LabelTable, listed: dict, lists: Sequence[Path]) -> dict[str, str]:
    """Return {clip id: its id in the source's lists} for ids that differ."""
    matched = match_clips(labels.clip_ids, listed, first_few(lists))
    if matched.absent:
        message = f"{len(matched.absent)} clips are not in the source's list: {first_few(matched.absent)}"
        raise ClipMismatch(message, first_few(lists), "Give all lists of the source with --list.")
    return matched.aliases


def _read_rows(lists: Sequence[Path], clip: tuple[str, ...]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the header, and each clip's row, of lists with the same columns."""
    header, row_of = None, {}
    for path in lists:
        rows = text_rows(path)
        line, names = next(rows, (1, []))
        column = next(iter(places_of(names, clip)), None)
        if column is None or (header is not None and names != header):
            wanted = f"column {clip[0]!r}" if column is None else f"the columns of {lists[0]}"
            raise InputError(f"the header lacks {wanted}", f"{path}:{line}", "Give lists of one source and form.")
        header = names
        for line, fields in rows:
            if len(fields) != len(header):
                raise wrong_length(fields, len(header), f"{path}:{line}")
            if row_of.setdefault(readers.clip_id_of(fields[column]), fields) is not fields:
                raise InputError(f"clip {fields[column]!r} is listed twice", f"{path}:{line}", "Keep one row a clip.")
    return header or [], row_of


def _fsd50k_columns(labels: LabelTable) -> dict[str, Iterator[str]]:
    """Return the columns of FSD50K's lists that hold labels: names and ids."""
    vocabulary, sets = labels.vocabulary, labels.label_sets()
    name_of = dict(zip(vocabulary.class_ids, map(fsd50k_name, vocabulary.names), strict=True))
    return {"labels": (",".join(map(name_of.get, classes)) for classes in sets), "mids": map(",".join, sets)}


def _with_columns(header: list[str], rows: Iterable[list[str]], columns: Mapping[str, Iterable[str]]) -> Iterator:
    """Yield a table's header and rows with these columns replaced; new columns come last."""
    names = header + [name for name in columns if name not in header]
    positions = [names.index(name) for name in columns]
    yield names
    for row, values in zip(rows, zip(*columns.values(), strict=True), strict=True):
        cells = row + [""] * (len(names) - len(header))
        for position, value in zip(positions, values, strict=True):
            cells[position] = value
        yield cells
