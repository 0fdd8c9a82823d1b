"""What the verbs that judge by events share: their options, the events, the clips and their lengths, the frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel import cli
from pseudolabel.corpus.outputs import EVENTS
from pseudolabel.errors import ClipMismatch, InputError, UnknownClass, first_few
from pseudolabel.labels.events import EventTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import CLIPS, SCORES
from pseudolabel.options import SECONDS, ListOptions, VerbOptions, option
from pseudolabel.records import Inputs
from pseudolabel.scores.frames import Frames
from pseudolabel.scores.importing import read_lengths
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, length_s

if TYPE_CHECKING:
    from pseudolabel.audio.clips import ClipStore

READ_CLIPS = 256  # at a time


@dataclass(frozen=True, kw_only=True)
class EventOptions(VerbOptions, ListOptions):
    """Which scores and events, of which clips."""

    scores: tuple[Path, ...] = option((), "score stores with windows or frames (default: WORK/scores.h5)")
    events: Path | None = option(
        None, "list with onset and offset of each event: AudioSet strong, DESED, simulate's (default: WORK/events.csv)"
    )
    ancestors: bool = option(False, "an event is also one of every ancestor of its class")
    ontology: Path | None = option(None, "whose ancestors (default: AudioSet's)", needs="ancestors")
    lengths: Path | None = option(None, "CSV file clip_id,seconds of the clips")
    clips: Path | None = option(None, "clip store with the clips' lengths (default: clips.h5 beside the events)")
    clip_s: float | None = option(
        None, "length of clips for which neither gives one (default: the end of their last window)", SECONDS
    )


def event_paths(options: EventOptions) -> tuple[list[Path], Path]:
    """Return the stores and the list of events."""
    scores = list(options.scores)
    events = cli.needed_file(options, options.events, EVENTS, "--events", *scores)
    scores = scores or [cli.needed_file(options, None, SCORES, "--scores", events)]
    return scores, events


def output_of(options: EventOptions, name: str, *named: Path | None) -> Path:
    """Return the folder to write."""
    return cli.default_output(options, name, *(path for path in named if path and path.exists()))


def shortest_of(store: ScoreStore) -> str:
    """Return the scale of a store's shortest windows."""
    return min(store.scales, key=lambda name: length_s(name) or math.inf)


def read_event_table(options: EventOptions, path: Path, vocabulary: Vocabulary) -> tuple[EventTable, list[str]]:
    """Return the events, with those of ancestors if asked for, and what to remark about the list."""
    format, classes = (None, None) if options.events is None else (options.format, options.classes)
    table = EventTable.read(path, vocabulary, format, options.unknown_labels, classes)
    remarks = list(table.remarks)
    if table.left_out:
        counts = first_few(f"{label} ({n})" for label, n in table.left_out.items())
        remarks.append(f"{path}: {sum(table.left_out.values())} events of other classes are left out: {counts}")
    if options.ancestors:
        from pseudolabel.labels.ontology import Ontology

        table = table.with_ancestors(Ontology.load(options.ontology).ancestors(vocabulary).toarray())
    return table, remarks


def common_clips(
    options: EventOptions, table: EventTable, stores: Sequence[ScoreStore], events: Path, listed: Path | None
) -> tuple[list[str], list[tuple[str, str]], EventTable, list[ScoreStore]]:
    """Return the clips that the list, the events and all stores have, those missing, and events and views of stores."""
    place, missing, views = listed or events, [], []
    clip_ids: Sequence[str] = table.clip_ids
    if listed is not None:
        format = options.format if options.labels is not None and options.events is None else None
        asked = cli.read_clip_ids(listed, format)
        matched = cli.match_listed(asked, table.row_of, place, f"events in {events}", options.strict)
        missing += [(clip_id, f"not in {events}") for clip_id in matched.absent]
        clip_ids, table = matched.found, table.select(matched.known())
    for store in stores:
        matched, view = cli.find_in_store(clip_ids, store, place, options.strict)
        missing += [(clip_id, f"no scores in {store.path}") for clip_id in matched.absent]
        if matched.absent:
            own = dict(zip(clip_ids, table.clip_ids, strict=True))
            table = table.select([own[clip_id] for clip_id in matched.found])
        clip_ids, views = matched.found, [*views, view]
    if not clip_ids:
        raise ClipMismatch("no clip has both events and scores", place)
    return list(clip_ids), missing, table, views


def clips_of(options: EventOptions, named: Sequence[Path], inputs: Inputs) -> ClipStore | None:
    """Return the clip store of --clips, or the one beside the named files, if there is one."""
    from pseudolabel.audio.clips import ClipStore

    path = cli.default_file(options, options.clips, CLIPS, *named)
    return None if path is None else ClipStore.open(inputs.read(path))


def with_all(clips: ClipStore | None, clip_ids: Sequence[str]) -> ClipStore | None:
    """Return the clip store under these ids, if it has all of these clips."""
    from pseudolabel.labels.aliases import match_clips

    if clips is None:
        return None
    matched = match_clips(clip_ids, clips.index, clips.path)
    return None if matched.absent else clips.with_aliases(matched.aliases)


def lengths_of(
    options: EventOptions, clip_ids: Sequence[str], clips: ClipStore | None, inputs: Inputs
) -> np.ndarray | None:
    """Return the seconds of each clip, (N,): of --lengths, of the clip store, else --clip-s; None if unknown."""
    from pseudolabel.verification import lengths_in

    seconds = {} if clips is None else lengths_in(clips, clip_ids)
    if options.lengths is not None:
        seconds |= read_lengths(inputs.read(options.lengths), clip_ids, ()).seconds
    unknown = [clip_id for clip_id in clip_ids if clip_id not in seconds]
    if unknown and options.clip_s is None:
        if seconds:
            message = f"the lengths of {len(unknown)} clips are not known: {first_few(unknown)}"
            raise InputError(message, options.lengths or clips.path, "Give --clip-s for them.")
        return None
    return np.array([seconds.get(clip_id, options.clip_s) for clip_id in clip_ids], np.float64)


def frames_of(
    store: ScoreStore,
    scale: str | None,
    vocabulary: Vocabulary,
    clip_ids: Sequence[str],
    class_ids: Sequence[str],
    lengths: np.ndarray | None,
) -> tuple[Frames, str]:
    """Return the frames of a store at a scale (default: the shortest), and the scale."""
    scale = scale or shortest_of(store)
    store.refuse_without(scale, "--window")
    column_of = {class_id: k for k, class_id in enumerate(vocabulary.own_ids(store.class_ids))}
    absent = [class_id for class_id in class_ids if class_id not in column_of]
    if absent:
        message = f"no scores for {len(absent)} of {len(class_ids)} classes with events: {first_few(absent)}"
        remedy = "Give the --vocabulary of its classes, with --unknown-labels skip for other events."
        raise UnknownClass(message, store.path, remedy)
    rows, columns = store.rows(clip_ids), [column_of[class_id] for class_id in class_ids]
    blocks = (rows[first : first + READ_CLIPS] for first in range(0, len(rows), READ_CLIPS))
    scores = np.concatenate([store.read(scale, block)[..., columns] for block in blocks])
    if scale == CLIP:
        if lengths is None:
            raise InputError("whole clips have no windows to tell their lengths", store.path, "Give --clip-s.")
        return Frames.of(scores, lengths.max(), None, None, lengths, clip_ids, store.path), scale
    counts = store.n_windows(scale)[rows]
    return Frames.of(scores, store.hop_s(scale), length_s(scale), counts, lengths, clip_ids, store.path), scale
