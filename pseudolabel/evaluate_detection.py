"""Measure scores of frames or windows against events with onset and offset: `evaluate detection`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel import cli, dry_run
from pseudolabel.blocks import only_run
from pseudolabel.command import Command
from pseudolabel.errors import InputError, first_few
from pseudolabel.evaluate_events import (
    EventOptions,
    clips_of,
    common_clips,
    event_paths,
    frames_of,
    lengths_of,
    output_of,
    read_event_table,
    with_all,
)
from pseudolabel.evaluation_lists import clip_groups
from pseudolabel.formatting import plural
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import CLASS_ID, METRICS_FILE, RESULTS, RUN
from pseudolabel.options import SECONDS, SHARE, WHOLE, option, parse_number
from pseudolabel.ownership import refuse_foreign, refuse_input_as_output
from pseudolabel.packages import refuse_without
from pseudolabel.plan_checks import check_lists, check_stores, check_vocabulary
from pseudolabel.progress import note
from pseudolabel.records import Inputs, run_record
from pseudolabel.reports.detection import (
    METRIC_OPTIONS,
    METRICS,
    Detection,
    Settings,
    measure,
    results_terminal,
    write_detection,
)
from pseudolabel.reports.measuring import DRAWS_SEED
from pseudolabel.scores.bootstrap import drawn_weights
from pseudolabel.scores.detection import COLLAR_S, OFFSET_SHARE, SEGMENT_S
from pseudolabel.scores.frames import MEDIAN_S
from pseudolabel.scores.psds import PACKAGE
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import parse_scale
from pseudolabel.tables import read_csv

if TYPE_CHECKING:
    from pseudolabel.audio.clips import ClipStore

FOLDER, NONE, PSDS = "detection", "none", "psds"


def parse_filter(text: str) -> float | str:
    """Parse `none`, a length in seconds such as `0.45` or `0.45s`, or the name of a CSV file.

    Raises:
        ValueError: it is none of these.
    """
    if text == NONE:
        return 0.0
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        if Path(text).suffix:
            return text
        raise ValueError(f"must be {NONE}, seconds, or a CSV file class_id,seconds, not {text!r}") from None
    if not 0 <= seconds < math.inf:
        raise ValueError(f"must be seconds of at least 0, not {text!r}")
    return seconds


@dataclass(frozen=True, kw_only=True)
class DetectionOptions(EventOptions):
    """Which scores to measure, against which events, and how events are made of scores."""

    labels: Path | None = option(None, "only the clips of this label list (default: all clips of the events)")
    window: str | None = option(
        None, "scale of the stores to take as frames, 2s (default: the shortest)", parse=parse_scale
    )
    median_filter: tuple[float | str, ...] = option(
        (MEDIAN_S,),
        f"median filter over time: {NONE}, seconds, or a CSV file class_id,seconds; several: a row each",
        parse=parse_filter,
        metavar="S",
    )
    threshold: float = option(0.5, "scores above it are events, for F1", SHARE)
    metrics: tuple[str, ...] = option((), "columns of the table (default: all)", choices=METRIC_OPTIONS)
    segment_s: float = option(SEGMENT_S, "length of segments", SECONDS)
    collar_s: float = option(COLLAR_S, "how far the onset of a found event may be from the true one's", SECONDS)
    offset_share: float = option(
        OFFSET_SHARE, "offsets may differ by --collar-s, or by this share of the true event if that is more", SHARE
    )
    resamples: int = option(1000, "draws of the clips for 95 % confidence intervals; 0: none", WHOLE.up_to(100_000))
    groups: Path | None = option(
        None, "CSV clip_id,group: clips that are drawn together (default: the groups of the clip store)"
    )
    out: Path | None = option(None, "output folder (default: WORK/detection)")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, values in (("--median-filter", self.median_filter), ("--metrics", self.metrics)):
            if len(set(values)) < len(values):
                raise InputError(f"{first_few(values)}: listed twice", name, "Name each once.")
        if PSDS in self.metrics:
            refuse_without("--metrics psds", PACKAGE)


# ---- the verb ---------------------------------------------------------------------------------------------------


def evaluate_detection(options: DetectionOptions) -> None:
    """Measure the scores, write the folder and print its table."""
    paths, events = event_paths(options)
    out = output_of(options, FOLDER, *paths, events, options.labels)
    with only_run(out):
        refuse_foreign(out, options.overwrite, "evaluate")
        inputs = Inputs()
        detection = detect(options, inputs)
        refuse_input_as_output(out, inputs.sha256)
        write_detection(out, detection, run_record("evaluate", asdict(options), inputs), options.overwrite)
    n_missing = len(detection.missing)
    missing = f"; {n_missing} clips missing, see {out / 'missing.csv'}" if n_missing else ""
    print(f"{results_terminal(detection)}\n\nwrote {out}: {plural(len(detection.rows), 'row')}{missing}")


def detect(options: DetectionOptions, inputs: Inputs) -> Detection:
    """Return the outcome of an evaluation."""
    paths, events_path = event_paths(options)
    vocabulary = Vocabulary.load(inputs.read(cli.vocabulary_source(options, events_path, *paths)))
    table, remarks = read_event_table(options, inputs.read(events_path), vocabulary)
    stores = [ScoreStore.open(inputs.read(path)) for path in paths]
    clip_ids, missing, table, stores = common_clips(options, table, stores, events_path, inputs.read(options.labels))
    columns = np.unique(table.spans.column)
    if not len(columns):
        raise InputError(f"not one of the {len(clip_ids)} evaluated clips has an event", events_path)
    clips = clips_of(options, (events_path, *paths), inputs)
    lengths = lengths_of(options, clip_ids, clips, inputs)
    settings = settings_of(options, clip_ids, clips, inputs)
    rows, classes = [], [vocabulary.class_ids[column] for column in columns]
    filters = filters_of(options, vocabulary, classes, inputs)
    for store in stores:
        frames, scale = frames_of(store, options.window, vocabulary, clip_ids, classes, lengths)
        cut, n_cut = table.within(frames.lengths_s, events_path)
        if n_cut:
            remarks.append(f"{store.path.stem}: {plural(n_cut, 'event')} end after their clip and are cut there")
        spans = cut.of_classes(columns)
        rows += measure(store.path.stem, scale, frames, spans, filters, settings)
    absent = len(vocabulary) - len(columns)
    if absent:
        remarks.append(f"left out, without an event in these clips: {plural(absent, 'class')} of the vocabulary")
    sums = (np.bincount(spans.column, given, len(columns)) for given in (None, spans.offset_s - spans.onset_s))
    return Detection(
        rows, classes, [vocabulary.names[column] for column in columns], *sums, len(clip_ids),
        float(frames.lengths_s.sum() / 3600), missing, settings, settings.weights.shape[1], tuple(map(str, remarks)),
    )  # fmt: skip


def settings_of(
    options: DetectionOptions, clip_ids: Sequence[str], clips: ClipStore | None, inputs: Inputs
) -> Settings:
    """Return how events are compared; without sed_scores_eval, PSDS is left out with a word."""
    from importlib.util import find_spec

    wanted = options.metrics or METRIC_OPTIONS
    if PSDS in wanted and find_spec(PACKAGE) is None:
        note("PSDS is left out: it needs sed_scores_eval (pip install 'pseudolabel[sed]')")
        wanted = [name for name in wanted if name != PSDS]
    keys = tuple(key for key, metric in METRICS.items() if metric.option in wanted)
    groups = clip_groups(clip_ids, options.groups, None if options.groups else with_all(clips, clip_ids), inputs)
    n_draws = options.resamples if len(clip_ids) > 1 else 0  # one clip says nothing of how clips vary
    weights = drawn_weights(len(clip_ids), n_draws, DRAWS_SEED, groups)
    n_groups = len(set(groups)) if groups and len(set(groups)) < len(groups) else 0
    how = (options.threshold, options.segment_s, options.collar_s, options.offset_share)
    return Settings(*how, keys, weights, n_groups)


def filters_of(
    options: DetectionOptions, vocabulary: Vocabulary, class_ids: Sequence[str], inputs: Inputs
) -> dict[str, float | list[float]]:
    """Return {words: seconds, of all classes or of each} for --median-filter."""
    filters: dict[str, float | list[float]] = {}
    for given in options.median_filter:
        if isinstance(given, float):
            filters[f"{given:g} s" if given else NONE] = given
            continue
        seconds: dict[str, float] = {}
        for row in read_csv(inputs.read(Path(given)), (CLASS_ID, "seconds")):
            place = f"{given}:{row['line']}"
            try:
                seconds[vocabulary.find(row[CLASS_ID], place)] = parse_number(row["seconds"], float, SECONDS)
            except ValueError as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(f"seconds: {error}", place) from None
        absent = [class_id for class_id in class_ids if class_id not in seconds]
        if absent:
            raise InputError(
                f"no filter for {plural(len(absent), 'class')}: {first_few(absent)}", given, "Add a row for each."
            )
        filters[Path(given).name] = [seconds[class_id] for class_id in class_ids]
    return filters


def plan_detection(options: DetectionOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says."""
    scores, events = event_paths(options)
    dry_run.refuse_absent(
        *scores, events, options.labels, options.lengths, options.clips, options.ontology, options.groups
    )
    dry_run.refuse_absent(*(path for path in options.median_filter if isinstance(path, str)))
    check_stores(ScoreStore, *scores)
    check_vocabulary(cli.vocabulary_source(options, events, *scores))
    check_lists(options.format if options.events else None, events)
    out = output_of(options, FOLDER, *scores, events, options.labels)
    refuse_input_as_output(out, [*scores, events, options.labels])
    dry_run.refuse_folder(out, options.overwrite, "evaluate")
    dry_run.promise(out, METRICS_FILE, RESULTS, RUN)
    return f"would write {out}: {plural(len(scores), 'store')} against {events}"


DETECTION = Command(DetectionOptions, evaluate_detection, plan_detection)
