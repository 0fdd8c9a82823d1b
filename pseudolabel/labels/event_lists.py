"""Read lists with times: events, one a row, and segments of longer recordings with their labels."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.cells import (
    CLIPS,
    ENDS,
    LABELS,
    STARTS,
    Labels,
    Row,
    Source,
    absent_column,
    clip_id_of,
    clip_place,
    is_comment,
    is_empty,
    is_number,
    is_recording,
    label_place,
    labels_in,
    places_of,
)
from pseudolabel.tables import Fields, text_lines, text_rows

ID_STARTS = ("/m/", "/t/", "/g/")  # prefixes of AudioSet's class ids
AUDIOSET_ROW = re.compile(r'[^,;\t]+, [\d.]+, [\d.]+, ".*"\s*')
CUT = re.compile(r"_\d+(\.\d+)?[_-]\d+(\.\d+)?$")  # a clip named by its times in a recording
PRESENCE = ("PRESENT", "NOT_PRESENT")


# ---- events -----------------------------------------------------------------------------------------------------


def event_places(source: Source) -> tuple[int, ...]:
    """Return the places of clip, start, end and label, and of `present` if the header has it.

    Raises:
        InputError: neither the header nor the first rows say where they are.
    """
    names = source.header()
    if places := bare_event_places(source.peek()):
        return places
    times = [places_of(names, choices)[:1] for choices in (STARTS, ENDS)]
    for title, found in zip(("onset", "offset"), times, strict=True):
        if not found:
            raise absent_column(title, names, source.header_place)
    return (
        clip_place(source, names), times[0][0], times[1][0], label_place(source, names),
        *places_of(names, ("present",)),
    )  # fmt: skip


def bare_event_places(first: Sequence[Sequence[str]]) -> tuple[int, ...]:
    """Return where clip, start, end and label are in rows without a header; () if the rows do not say."""
    rows = [fields for fields in first if len(fields) == 4]
    if not rows or rows[0] is not first[0]:
        return ()
    times = [p for p in range(4) if is_number(rows[0][p]) and 2 * sum(is_number(row[p]) for row in rows) > len(rows)]
    others = [p for p in range(4) if p not in times]
    clips = [p for p in others if any(is_recording(row[p]) for row in rows)] or others[:1]
    if len(times) != 2 or len(clips) != 1:
        return ()
    return clips[0], *times, next(place for place in others if place != clips[0])


class Event(NamedTuple):
    """A row of an event list, times in seconds; a clip without events has one row without a label."""

    line: int
    clip_id: str
    label: Labels = ""
    onset_s: float = math.nan
    offset_s: float = math.nan


def read_events(source: Source) -> Iterator[Row]:
    """Read events: a clip without events has one row with empty times and label; one from 0 to 0 s is left out.

    In AudioSet's framed list, a fifth column says which events are not present: these give no label.
    """
    for event in timed_events(source):
        yield event.line, event.clip_id, event.label


def timed_events(source: Source) -> Iterator[Event]:
    """Read events as `read_events`, with their times."""
    places, unplaced = event_places(source), []
    has_header = not bare_event_places(source.peek())
    for line, (name, start, end, label, *present) in source.columns(places, has_header):
        place = source.place(line)
        if all(map(is_empty, (start, end, label))):
            yield Event(line, source.clip_id(name))
            continue
        start_s, end_s = check_times(start, end, place)
        if is_empty(label):
            raise InputError(
                "the event has no label", place, "Name its class; a clip without events has no times either."
            )
        if present and present[0] not in PRESENCE:
            raise InputError(f"{present[0]!r} is neither PRESENT nor NOT_PRESENT", place)
        if start_s == end_s == 0:
            unplaced.append(f"{label} of {name} in line {line}")
            continue
        said = () if present == ["NOT_PRESENT"] else (labels_in(label), start_s, end_s)
        yield Event(line, source.clip_id(name), *said)
    if unplaced:
        source.remarks.append(f"rows from 0 to 0 s are not events: {len(unplaced)} left out ({first_few(unplaced)})")


def check_times(start: str, end: str, place: str) -> tuple[float, float]:
    """Return a start and an end in seconds, in order; decimal commas are read too."""
    try:
        start_s, end_s = (float(text.replace(",", ".")) for text in (start, end))
        if 0 <= start_s <= end_s < math.inf:
            return start_s, end_s
    except ValueError:
        pass
    remedy = "Give seconds from 0, the end not before the start."
    raise InputError(f"{start!r} to {end!r} are not a start and an end in seconds", place, remedy)


# ---- segments ---------------------------------------------------------------------------------------------------


def timed_form(first: Sequence[Sequence[str]], path: Path) -> str:
    """Return the form of rows with times without a header, `audioset` or `events`; '' if they are neither.

    Segments have AudioSet's classes, comments or spaces after commas. Events have names of recordings or of cut clips,
    a clip twice, or a row from 0 to 0 s.

    Raises:
        InputError: rows `clip, number, number, name` may be either.
    """
    rows = [fields for fields in first if not is_comment(fields)]
    timed = [row for row in rows if len(row) == 4 and is_number(row[1]) and is_number(row[2])]
    if timed and len(rows) < len(first):  # comments above
        return "audioset"
    if not timed or timed[0] is not rows[0]:
        return "events" if (places := bare_event_places(rows)) and is_recording(rows[0][places[0]]) else ""
    if any(_is_clip_with_events(row) for row in timed) or len({row[0] for row in timed}) < len(timed):
        return "events"
    if any(row[3].startswith(ID_STARTS) for row in timed):
        return "audioset"
    if any(AUDIOSET_ROW.fullmatch(line) for _, line in itertools.islice(text_lines(path), 1)):
        return "audioset"
    message = f"the rows have no header and may be segments or events: {', '.join(rows[0])}"
    raise InputError(message, path, "Give --format audioset or --format events, or a header.")


def _is_clip_with_events(row: Sequence[str]) -> bool:
    times = [float(cell.replace(",", ".")) for cell in row[1:3]]
    return is_recording(row[0]) or CUT.search(row[0]) is not None or times == [0, 0]


def read_audioset(source: Source) -> Iterator[Row]:
    """Read segments, one a clip, with their labels."""
    for line, (clip_id, _, _, labels) in _segments(source):
        yield line, clip_id, labels_in(labels)


def read_segments(path: str | Path) -> dict[str, tuple[str, str]]:
    """Return {clip id: (start, end)} from an AudioSet segment list: seconds, as written; each clip listed once."""
    path, found = Path(path), {}
    for line, (clip_id, start, end, _) in _segments(Source(path, text_rows(path))):
        if clip_id in found:
            raise InputError(f"clip {clip_id!r} is listed twice", f"{path}:{line}", "Keep one row a clip.")
        found[clip_id] = start, end
    if not found:
        raise InputError("the segment list has no clips", path, "Give rows `YTID, start, end, labels`.")
    return found


def _segments(source: Source) -> Iterator[Fields]:
    """Yield clip, start, end and labels of each row; each distinct (start, end) is checked once."""
    checked, names = set(), source.header()
    has_header = all(places_of(names, choices) for choices in (CLIPS, STARTS, ENDS, LABELS))
    for row in _with_header(source, names) if has_header else source.rows:
        line, fields = row
        if is_comment(fields) and not (len(fields) == 4 and is_number(fields[1])):  # between lists that were joined
            continue
        if len(fields) != 4:
            remedy = 'Segment lists have rows `YTID, start, end, "id,id"`.'
            raise InputError(f"row has {len(fields)} columns, not 4", source.place(line), remedy)
        times = fields[1], fields[2]
        if times not in checked:
            check_times(*times, source.place(line))
            checked.add(times)
        yield row


def _with_header(source: Source, names: Sequence[str]) -> Iterator[Fields]:
    times = [places_of(names, choices)[0] for choices in (STARTS, ENDS)]
    for line, (name, *others) in source.columns([clip_place(source, names), *times, label_place(source, names)]):
        yield line, [clip_id_of(name), *others]
