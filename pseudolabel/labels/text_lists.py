"""Read label lists that are tables of text: one row a clip or a label, a column a class, or without a header."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pseudolabel.errors import InputError
from pseudolabel.labels.cells import (
    CLIPS,
    ENDS,
    LABELS,
    STARTS,
    Row,
    Source,
    absent_column,
    clip_id_of,
    clip_place,
    id_under,
    is_empty,
    is_number,
    label_place,
    labels_in,
    places_of,
)

YES, NO = ("1", "1.0", "true", "t"), ("0", "0.0", "false", "f")
NO_CLASSES = (  # headings beside clips and classes
    "", "unnamed0", "index", "indexlevel0", "fold", "split", "duration", *STARTS, *ENDS,
)  # fmt: skip


def two_columns(clips: Sequence[str] = CLIPS, labels: Sequence[str] = LABELS) -> Callable[[Source], Iterator[Row]]:
    """Return a reader of tables with a column of clips and one of labels, under any of these headings."""

    def read(source: Source) -> Iterator[Row]:
        names = source.header()
        places = clip_place(source, names, clips), label_place(source, names, labels)
        id_of = id_under(names[places[0]])
        for line, (name, cell) in source.columns(places):
            yield line, source.clip_id(name, id_of), labels_in(cell)

    return read


def read_fsd50k(source: Source) -> Iterator[Row]:
    """Read ids, checking that each row has as many names as ids."""
    names = source.header()
    places = [place for title in ("fname", "labels", "mids") for place in places_of(names, (title,))[:1]]
    if len(places) < 3:
        raise absent_column("mids", names, source.header_place)
    for line, (name, labels, mids) in source.columns(places):
        if labels.count(",") != mids.count(","):
            counts = f"{labels.count(',') + 1} labels and {mids.count(',') + 1} mids"
            raise InputError(f"row has {counts}", source.place(line), "FSD50K names each label once by name and by id.")
        yield line, clip_id_of(name), mids


def read_pairs(source: Source) -> Iterator[Row]:
    """Read rows `clip, labels` without a header."""
    for line, fields in source.rows:
        if len(fields) != 2:
            remedy = "Rows are `clip id, id,id`."
            raise InputError(f"row has {len(fields)} columns, not 2", source.place(line), remedy)
        yield line, source.clip_id(fields[0]), labels_in(fields[1])


# ---- a column a class -------------------------------------------------------------------------------------------


def class_places(first: Sequence[Sequence[str]]) -> list[int]:
    """Return the places of the columns of classes: where a cell is in [0, 1], true or false, or no cell has a value.

    There are none unless all cells of a column that are not empty are in [0, 1], true or false.

    Args:
        first: the header and the first rows.
    """
    names, *rows = first
    rows = [row for row in rows if len(row) == len(names)]
    taken = {*places_of(names, CLIPS), *places_of(names, NO_CLASSES)}
    free = [place for place in range(len(names)) if place not in taken]
    filled = [[row[place] for row in rows if not is_empty(row[place])] for place in free]
    if not any(cells and all(map(_is_share, cells)) for cells in filled):
        return []
    return [p for p in free if any(_is_share(row[p]) for row in rows) or all(is_empty(row[p]) for row in rows)]


def read_multi_hot(source: Source) -> Iterator[Row]:
    """Read tables with a column for each class; columns that hold neither 0 nor 1 are left out, with a remark."""
    names = source.header()
    clip, classes = clip_place(source, names), class_places(source.peek())
    if not classes:
        raise absent_column("labels", names, source.header_place)
    id_of, titles = id_under(names[clip]), [names[place] for place in classes]
    left_out(source, names, titles)
    for line, (name, *cells) in source.columns((clip, *classes)):
        place, pairs = source.place(line), zip(titles, cells, strict=True)
        found = tuple(title for title, cell in pairs if is_yes(cell, title, place))
        yield line, id_of(name), found


def left_out(source: Source, names: Sequence[str], classes: Sequence[str]) -> None:
    """Remark which columns are neither clips nor classes."""
    clips = places_of(names, CLIPS)
    others = [name for place, name in enumerate(names) if name and place not in clips and name not in classes]
    if classes and others:
        source.remarks.append(f"columns that are not classes of 0 and 1 are left out: {', '.join(others)}")


def is_yes(cell: str, title: str, place: str) -> bool:
    """Return whether the cell of a class is 1; InputError if it is neither 0 nor 1."""
    value = cell.strip().casefold()
    if value in YES:
        return True
    if value in NO:
        return False
    message = f"{cell!r} in the column {title!r} is neither 0 nor 1"
    remedy = "Remove columns that are not classes." if value else "Write 0 where the clip lacks the class."
    raise InputError(message, place, remedy)


def _is_share(cell: str) -> bool:
    value = cell.strip().casefold()
    return value in YES + NO or (is_number(value) and 0 <= float(value.replace(",", ".")) <= 1)
