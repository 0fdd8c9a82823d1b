"""Read tables of scores from text files (CSV, TSV, `numpy.savetxt`): with a header, with ids alone, or numbers only."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.cells import CLIPS, heading, is_comment
from pseudolabel.scores.arrays import CLIP_NAMES, FileArray, Names, is_numbering, rows_a_block
from pseudolabel.tables import Fields, refuse_repeated, text_rows, wrong_length

CLIP_COLUMNS = tuple(dict.fromkeys(map(heading, (*CLIPS, *CLIP_NAMES))))
ROW_NUMBERS = ("", "unnamed: 0", "index", "level_0")  # what pandas calls the column of its index
DOUBLE = np.dtype(np.float64)


def open_table(path: Path) -> FileArray:
    """Open a table of scores; its rows are read twice: for their ids and number, then for the scores.

    A header has a column of clips and one for each class, in any order. Without a header, ids may be in the first
    column.

    Raises:
        InputError: the table is empty, a column is listed twice, or rows differ in length.
    """
    line, first = next(_rows(path), (1, []))
    if not first:
        raise InputError(
            "the file is empty", path, "Give the header clip_id and the classes, then a row for each clip."
        )
    if any(";" in field for field in first):
        message = "columns are separated by semicolons, and commas are in the fields"
        raise InputError(message, f"{path}:{line}", "Write decimals with a point, or separate columns by tabs.")
    headed = is_header(first)
    if headed:
        refuse_repeated(first, f"{path}:{line}")
    candidates = id_columns(first) if headed else [] if is_number(first[0]) else [0]
    lines, texts = _read_ids(path, len(first), headed, candidates)
    column = choose_ids({number: first[number].casefold() if headed else "clip_id" for number in candidates}, texts)
    picks = [number for number in range(len(first)) if number not in candidates]
    if headed and not picks:
        raise InputError(f"no column of scores; columns found: {first_few(first)}", f"{path}:{line}")
    clips = (
        None if column is None else _clips(path, first[column] if headed else "the first column", texts[column], lines)
    )
    names = [first[number] for number in picks]
    classes = Names("header", names, lambda number: f"{path}:{line}, column {picks[number] + 1}") if headed else None
    shape = (len(lines), len(picks))

    def blocks() -> Iterator[np.ndarray]:
        return _blocks(path, picks, headed, names if headed else None, rows_a_block(shape, DOUBLE.itemsize))

    left = [first[number] for number in candidates if number != column and first[number].casefold() not in ROW_NUMBERS]
    return FileArray(shape, DOUBLE, blocks, clips=clips, classes=classes, unread=tuple(left) if headed else ())


def _clips(path: Path, title: str, texts: Sequence[str], lines: Sequence[int]) -> Names:
    return Names(title, texts, lambda number: f"{path}:{lines[number]}")


# ---- which column is what ---------------------------------------------------------------------------------------


def is_header(first: Sequence[str]) -> bool:
    """Return whether the first row of a table names its columns.

    Numbers from 0 on are column names of pandas. A row with numbers after its first field has no header.
    """
    numbers = [is_number(field) for field in first]
    numbered = [str(number) for number in range(len(first))]
    if all(numbers):
        return len(first) > 2 and list(first) == numbered
    is_id = _title(first[0]) in (*CLIP_COLUMNS, *ROW_NUMBERS)
    return is_id or len(first) == 1 or not all(numbers[1:])


def _title(name: str) -> str:
    text = name.strip().casefold()
    return text if text in ROW_NUMBERS else heading(text) or text


def id_columns(names: Sequence[str]) -> list[int]:
    """Return the columns that may name the clips, by their names: the most certain first, row numbers last."""
    order = (*CLIP_COLUMNS, *ROW_NUMBERS)
    ranks = {number: _title(name) for number, name in enumerate(names)}
    allowed = {number: name for number, name in ranks.items() if name in order and (name or not number)}
    return sorted(allowed, key=lambda number: order.index(allowed[number]))


def choose_ids(names: dict[int, str], texts: dict[int, Sequence[str]]) -> int | None:
    """Return the column that names the clips; None if there is only one of row numbers.

    Args:
        names: {column: its name}, the most certain first.
        texts: {column: its fields}.
    """
    telling = [column for column in names if not is_numbering(texts[column])]
    if telling:
        return telling[0]
    return next((column for column, name in names.items() if name not in ROW_NUMBERS), None)


# ---- rows -------------------------------------------------------------------------------------------------------


def _rows(path: Path) -> Iterator[Fields]:
    """Yield the rows of a table; `numpy.savetxt` separates numbers by spaces, and writes comments above and below.

    A row with the columns of the others is no comment: the clip may be called `# 1`.
    """
    spaced, width = False, 0
    for line, fields in text_rows(path):
        if is_comment(fields) and (width < 2 or len(fields) != width):
            continue
        if not width:
            width, parts = len(fields), fields[0].split()
            spaced = width == 1 and len(parts) > 1 and all(map(is_number, parts[1:]))
        yield line, fields[0].split() if spaced and len(fields) == 1 else fields


def _read_ids(
    path: Path, width: int, headed: bool, candidates: Sequence[int]
) -> tuple[Sequence[int], dict[int, list[str]]]:
    """Return the line of each row, and the fields of each column that may name the clips."""
    lines, texts, rows = array("Q"), {number: [] for number in candidates}, _rows(path)
    if headed:
        next(rows)
    for line, fields in rows:
        if len(fields) != width:
            raise wrong_length(fields, width, f"{path}:{line}")
        lines.append(line)
        for number, column in texts.items():
            column.append(fields[number])
    return lines, texts


def _blocks(
    path: Path, picks: Sequence[int], headed: bool, names: Sequence[str] | None, n_rows: int
) -> Iterator[np.ndarray]:
    """Yield blocks of at most `n_rows` rows of numbers; InputError names the first field that is not a number."""
    rows, block = _rows(path), []
    if headed:
        next(rows)
    for line, fields in rows:
        picked = [fields[number] for number in picks]
        try:
            block.append([float(field) for field in picked])
        except ValueError as error:
            raise _not_a_number(picked, names, f"{path}:{line}") from error
        if len(block) == n_rows:
            yield np.array(block)
            block = []
    if block:
        yield np.array(block)


def is_number(field: str) -> bool:
    """Return whether a text is a number."""
    try:
        float(field)
    except ValueError:
        return False
    return True


def _not_a_number(fields: Sequence[str], names: Sequence[str] | None, place: str) -> InputError:
    number, field = next((number, field) for number, field in enumerate(fields) if not is_number(field))
    place = f"{place}, column {names[number]!r}" if names else place
    if not field:
        remedy = "Give a score of every class, or leave out clips without answers."
        return InputError("a score is empty", place, remedy)
    decimal = field.replace(",", ".", 1)
    remedy = f"Write decimals with a point: {decimal}." if "," in field and is_number(decimal) else ""
    return InputError(f"a score is not a number: {field!r}", place, remedy or "Give numbers in [0, 1].")
