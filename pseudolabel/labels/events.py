"""Events: which class sounds in which clip, from when to when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pseudolabel.errors import InputError
from pseudolabel.formatting import plural
from pseudolabel.labels.event_lists import timed_events
from pseudolabel.labels.label_texts import LabelTexts
from pseudolabel.labels.readers import read_label_rows
from pseudolabel.labels.vocabulary import Vocabulary

TICKS = 1_000_000  # a second: times are rounded to microseconds


class Spans(NamedTuple):
    """E spans of time, each of one clip and class, sorted by clip, class and onset.

    Args:
        clip, column: (E,) int64, row among the clips and column among the classes.
        onset_s, offset_s: (E,) float64, seconds.
    """

    clip: np.ndarray
    column: np.ndarray
    onset_s: np.ndarray
    offset_s: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, float, float]]) -> Spans:
        """Return the spans of (clip, column, onset, offset) rows, overlapping ones united."""
        clip, column, *times = np.array(rows, np.float64).reshape(-1, 4).T
        return united(cls(clip.astype(np.int64), column.astype(np.int64), *times))

    def where(self, chosen: np.ndarray) -> Spans:
        """Return the spans that a mask or an order (E,) chooses."""
        return Spans(*(part[chosen] for part in self))

    @property
    def n(self) -> int:
        """The number of spans."""
        return len(self.clip)

    def counts(self, shape: tuple[int, int]) -> np.ndarray:
        """Return how many spans each clip has of each class, (N, K) int64."""
        counts = np.zeros(shape, np.int64)
        np.add.at(counts, (self.clip, self.column), 1)
        return counts


def united(spans: Spans) -> Spans:
    """Return the spans sorted, those of one clip and class that overlap or touch as one; times to the microsecond."""
    ticks = [np.round(times * TICKS).astype(np.int64) for times in (spans.onset_s, spans.offset_s)]
    order = np.lexsort((*ticks[::-1], spans.column, spans.clip))
    clip, column, onset, offset = (part[order] for part in (spans.clip, spans.column, *ticks))
    if not len(clip):
        return Spans(clip, column, onset.astype(np.float64), offset.astype(np.float64))
    same = (np.diff(clip) == 0) & (np.diff(column) == 0)
    group = np.concatenate([[0], np.cumsum(~same)])
    step = offset.max() + 1
    reached = np.maximum.accumulate(offset + group * step) - group * step  # the latest end so far of the group
    first = np.concatenate([[True], ~same | (onset[1:] > reached[:-1])])
    last = np.append(first[1:], True)
    return Spans(clip[first], column[first], onset[first] / TICKS, reached[last] / TICKS)


@dataclass(frozen=True, eq=False)
class EventTable:
    """The events of N clips over the K classes of a vocabulary; no two events of a clip and class overlap or touch.

    Args:
        clip_ids: (N,) distinct ids of all listed clips, with or without events.
        spans: the events.
        left_out: {unknown label: how many of its events were skipped}.
        remarks: what else was left out or united, a sentence each.
    """

    clip_ids: tuple[str, ...]
    spans: Spans
    vocabulary: Vocabulary
    left_out: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        path: str | Path,
        vocabulary: Vocabulary | str | Path,
        format: str | None = None,
        unknown: str = "error",
        classes: Vocabulary | str | Path | None = None,
    ) -> EventTable:
        """Read a list with one event a row: clip, onset and offset in seconds, label (AudioSet strong, DESED, ...).

        A clip without events has a row with empty times and label. Other arguments as for `LabelTable.read`.

        Raises:
            InputError: the list has no times, no clips or a wrong row.
            UnknownClass: a label is not in the vocabulary.
        """
        vocabulary = Vocabulary.of(vocabulary)
        listed, form = read_label_rows(path, format)
        if form.row != "event":
            remedy = "Give rows of clip, onset, offset and label, or name their form with --format events."
            raise InputError("is not a list of events with onset and offset", path, remedy)
        texts = LabelTexts(path, form, vocabulary, classes, numbered=False)
        row_of: dict[str, int] = {}
        rows: list[tuple[int, int, float, float]] = []
        skipped: Counter[str] = Counter()
        n_empty = 0
        for event in timed_events(listed.source):
            if not event.clip_id:
                raise InputError("the clip id is empty", form.place(path, event.line))
            row = row_of.setdefault(event.clip_id, len(row_of))
            if not event.label:
                continue
            code = texts.code(event.label, event.line, unknown)
            skipped.update(texts.unknown_of.get(code, ()))
            if event.onset_s == event.offset_s:
                n_empty += 1
            else:
                rows += [(row, column, event.onset_s, event.offset_s) for column in texts.label_sets[code]]
        if not row_of:
            raise listed.no_clips()
        texts.finish()
        spans = Spans.of(rows)
        remarks = [*listed.remarks, *texts.remarks]
        if n_empty:
            remarks.append(f"events of no length: {n_empty} left out")
        if spans.n < len(rows):
            said = f"{plural(len(rows), 'row')} are {plural(spans.n, 'event')}"
            remarks.append(f"{said}: those of a clip and class that overlap or touch are one")
        remarks = tuple(f"{path}: {remark}" for remark in remarks)
        return cls(tuple(row_of), spans, vocabulary, dict(skipped), remarks)

    def __repr__(self) -> str:
        return f"<EventTable: {plural(len(self.clip_ids), 'clip')}, {plural(self.spans.n, 'event')}>"

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each clip id."""
        return {clip_id: row for row, clip_id in enumerate(self.clip_ids)}

    def select(self, clip_ids: Sequence[str]) -> EventTable:
        """Return the events of the given clips, all listed, in the given order."""
        new_row = np.full(len(self.clip_ids), -1, np.int64)
        new_row[[self.row_of[clip_id] for clip_id in clip_ids]] = np.arange(len(clip_ids))
        spans = self.spans._replace(clip=new_row[self.spans.clip])
        spans = spans.where(spans.clip >= 0)
        order = np.lexsort((spans.onset_s, spans.column, spans.clip))
        return replace(self, clip_ids=tuple(clip_ids), spans=spans.where(order))

    def of_classes(self, columns: Sequence[int]) -> Spans:
        """Return the events of the given columns, numbered in the given order."""
        new_column = np.full(len(self.vocabulary), -1, np.int64)
        new_column[columns] = np.arange(len(columns))
        spans = self.spans._replace(column=new_column[self.spans.column])
        spans = spans.where(spans.column >= 0)
        return spans.where(np.lexsort((spans.onset_s, spans.column, spans.clip)))

    def with_ancestors(self, ancestors: np.ndarray) -> EventTable:
        """Return a table in which an event is also one of each ancestor of its class.

        Args:
            ancestors: (K, K) bool; [k, a]: class a is an ancestor of class k.
        """
        event, above = np.nonzero(np.asarray(ancestors)[self.spans.column])
        more = self.spans.where(event)._replace(column=above)
        joined = Spans(*map(np.concatenate, zip(self.spans, more, strict=True)))
        return replace(self, spans=united(joined))

    def within(self, lengths_s: np.ndarray, place: object) -> tuple[EventTable, int]:
        """Return the events cut at the ends of their clips, and how many were cut.

        Args:
            lengths_s: (N,) length of each clip in seconds.
            place: the list, for errors.

        Raises:
            InputError: an event begins at its clip's end or later.
        """
        ends = np.asarray(lengths_s, np.float64)[self.spans.clip]
        beyond = np.flatnonzero(self.spans.onset_s >= ends)
        if len(beyond):
            first = beyond[0]
            clip, label = self.clip_ids[self.spans.clip[first]], self.vocabulary.names[self.spans.column[first]]
            message = (
                f"an event of {label!r} begins at {self.spans.onset_s[first]:g} s of clip {clip!r}, which has "
                f"{ends[first]:g} s ({len(beyond)} such events)"
            )
            raise InputError(
                message, place, "Correct the list, or give the clips' lengths: --lengths, --clips, --clip-s."
            )
        n_cut = int(np.count_nonzero(self.spans.offset_s > ends))
        cut = self.spans._replace(offset_s=np.minimum(self.spans.offset_s, ends))
        return replace(self, spans=cut), n_cut
