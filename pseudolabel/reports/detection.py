"""Measure the scores of frames or windows against events, and write the results of sound event detection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pseudolabel import layout
from pseudolabel.artefacts import whole_folder, write_csv, write_json, write_text
from pseudolabel.formatting import fraction, plural
from pseudolabel.labels.events import Spans
from pseudolabel.records import write_run_record
from pseudolabel.reports.report import cells_of, finite
from pseudolabel.reports.text_tables import Table
from pseudolabel.scores.bootstrap import Interval, interval, variance
from pseudolabel.scores.detection import COLLAR_S, OFFSET_SHARE, SEGMENT_S, event_counts, segment_counts
from pseudolabel.scores.frames import Frames
from pseudolabel.scores.metrics import Metric, average_precision, resampled_map
from pseudolabel.scores.psds import SCENARIOS, poster_score, psds

MOST_DRAWN = 1_000_000_000  # frames x classes x draws for an interval of the frame mAP: some seconds
HEAD = "# Detection"  # the first line of results.md
METRICS = {
    metric.key: metric
    for metric in (
        Metric("clip_map", "clip mAP", 3, "mAP of clips, by their highest frame score before the filter", "clip-map"),
        Metric("frame_map", "frame mAP", 3, "mAP of frames before the filter; an event is in every frame it overlaps",
               "frame-map"),
        Metric("segment_f1_macro", "segment F1", 3, "F1 over segments of {segment_s:g} s, mean over classes",
               "segment-f1"),
        Metric("segment_f1_micro", "segment F1 micro", 3, "the same, over all classes together", "segment-f1"),
        Metric("event_f1_macro", "event F1", 3,
               "F1 over events, onset within {collar_s:g} s, offset within that or {offset_share} of the event, "
               "mean over classes", "event-f1"),
        Metric("event_f1_micro", "event F1 micro", 3, "the same, over all classes together", "event-f1"),
        Metric("psds_1", "PSDS-1", 3, "area under found events over false alarms an hour, exact times", "psds"),
        Metric("psds_2", "PSDS-2", 3, "the same, for the right class at roughly the right time", "psds"),
        Metric("psds_score", "score", 2, "mean of PSDS-1 / .315 and PSDS-2 / .547: 1 is DCASE 2021's baseline", "psds"),
    )
}  # fmt: skip
METRIC_OPTIONS = tuple(dict.fromkeys(metric.option for metric in METRICS.values()))
ORDER = (
    "psds_score",
    "event_f1_macro",
    "segment_f1_macro",
    "frame_map",
    "clip_map",
)  # of the first sentence


@dataclass(frozen=True)
class Settings:
    """How events are made of scores and compared.

    Args:
        threshold: scores above it are events, for F1.
        metrics: keys of METRICS.
        weights: (N, D), how often each draw holds each clip, for intervals; D may be 0.
        n_groups: number of groups of clips that are drawn together; 0: clips are drawn one by one.
    """

    threshold: float = 0.5
    segment_s: float = SEGMENT_S
    collar_s: float = COLLAR_S
    offset_share: float = OFFSET_SHARE
    metrics: tuple[str, ...] = tuple(METRICS)
    weights: np.ndarray = field(default_factory=lambda: np.ones((0, 0)))
    n_groups: int = 0

    def meaning(self, metric: Metric) -> str:
        """Return the clause of a metric for the legend."""
        return metric.meaning.format(
            segment_s=self.segment_s, collar_s=self.collar_s, offset_share=f"{100 * self.offset_share:g} %"
        ).replace("0.", ".")

    def has(self, option: str) -> bool:
        """Whether a metric of an option is wanted."""
        return any(METRICS[key].option == option for key in self.metrics)


@dataclass(frozen=True)
class DetectionRow:
    """One set of scores with one filter.

    Args:
        name: of the scores. window: their scale. filter: the median filter in words.
        metrics: {key: value}; more keys than METRICS has.
        draws: {key: (D,) value in each draw}.
        classes: {name: (K,) value of each class}.
    """

    name: str
    window: str
    filter: str
    metrics: dict[str, float]
    draws: dict[str, np.ndarray]
    classes: dict[str, np.ndarray]

    @property
    def title(self) -> str:
        """What sentences call the row."""
        return f"{self.name} ({self.window}, filter {self.filter})"

    def interval(self, key: str) -> Interval:
        """Return a metric with its interval."""
        return interval(self.metrics[key], variance(self._draws(key))).within(0, math.inf)

    def above(self, other: DetectionRow, key: str) -> Interval:
        """Return by how much a metric is above another row's on the same clips, with the paired interval."""
        return interval(self.metrics[key] - other.metrics[key], variance(self._draws(key) - other._draws(key)))

    def _draws(self, key: str) -> np.ndarray:
        return self.draws.get(key, np.zeros(0))


@dataclass(frozen=True)
class Detection:
    """The outcome of an evaluation of detection.

    Args:
        rows: the rows of the table. events: (K,) number of true events; seconds: (K,) their length.
        n_clips: evaluated clips. hours: their length. missing: (clip id, reason) of those left out.
        resamples: number of draws. remarks: what else a reader must know.
    """

    rows: Sequence[DetectionRow]
    class_ids: Sequence[str]
    class_names: Sequence[str]
    events: np.ndarray
    seconds: np.ndarray
    n_clips: int
    hours: float
    missing: Sequence[tuple[str, str]]
    settings: Settings
    resamples: int
    remarks: Sequence[str] = ()


# ---- measuring --------------------------------------------------------------------------------------------------


def measure(
    name: str,
    window: str,
    frames: Frames,
    truth: Spans,
    filters: Mapping[str, float | Sequence[float]],
    settings: Settings,
) -> list[DetectionRow]:
    """Return a row for each filter.

    Args:
        frames: scores (N, T, K). truth: events within the clips.
        filters: {words: seconds, of all classes or of each}.
    """
    before = _unfiltered(frames, truth, settings)
    rows = []
    for words, seconds in filters.items():
        metrics, draws, classes = (dict(part) for part in before)
        filtered = frames.filtered(seconds)
        _f1(filtered, truth, settings, metrics, draws, classes)
        if settings.has("psds"):
            for scenario in SCENARIOS:
                metrics[scenario], classes[scenario] = psds(filtered, truth, scenario)
            metrics["psds_score"] = poster_score(metrics)
        rows.append(DetectionRow(name, window, words, metrics, draws, classes))
    return rows


def _unfiltered(frames: Frames, truth: Spans, settings: Settings) -> tuple[dict, dict, dict]:
    """Return metrics, draws and classes of the metrics that need no filter."""
    metrics, draws, classes = {}, {}, {}
    shape = frames.scores.shape[0], frames.scores.shape[2]
    if settings.has("clip-map"):
        labels, scores = truth.counts(shape) > 0, frames.maxima()
        classes["clip_ap"] = average_precision(labels, scores)
        metrics["clip_map"] = float(np.nanmean(classes["clip_ap"]))
        if settings.weights.shape[1]:
            draws["clip_map"] = resampled_map(labels, scores, settings.weights)
    if settings.has("frame-map"):
        labels, scores = frames.active(truth)[frames.real], frames.scores[frames.real]
        classes["frame_ap"] = average_precision(labels, scores)
        metrics["frame_map"] = float(np.nanmean(classes["frame_ap"]))
        if 0 < scores.size * settings.weights.shape[1] <= MOST_DRAWN:
            draws["frame_map"] = resampled_map(labels, scores, np.repeat(settings.weights, frames.counts, axis=0))
    return metrics, draws, classes


def _f1(frames: Frames, truth: Spans, settings: Settings, metrics: dict, draws: dict, classes: dict) -> None:
    """Add F1, precision and recall of segments and events at the threshold."""
    found, shape = frames.spans(settings.threshold), (frames.scores.shape[0], frames.scores.shape[2])
    counts = {}
    if settings.has("segment-f1"):
        counts["segment"] = segment_counts(truth, found, frames.lengths_s, shape[1], settings.segment_s)
    if settings.has("event-f1"):
        counts["event"] = event_counts(truth, found, shape, settings.collar_s, settings.offset_share)
    for kind, of_kind in counts.items():
        metrics |= {f"{kind}_{name}": float(value[0]) for name, value in of_kind.rates().items()}
        classes[f"{kind}_f1"] = of_kind.class_f1()
        if settings.weights.shape[1]:
            draws |= {f"{kind}_{name}": value for name, value in of_kind.rates(settings.weights).items()}


# ---- results ----------------------------------------------------------------------------------------------------


def headline(detection: Detection) -> str:
    """Return the first sentence: the best row, and how much better it is than the first."""
    key = next((key for key in ORDER if key in detection.settings.metrics), detection.settings.metrics[0])
    metric, first = METRICS[key], detection.rows[0]
    best = max(detection.rows, key=lambda row: row.metrics[key])
    on = f"on {plural(detection.n_clips, 'clip')} ({detection.hours:.2f} h) with "
    on += f"{plural(int(sum(detection.events)), 'event')} of {plural(len(detection.class_ids), 'class')}"
    said = f"{best.title} has {'the highest ' if len(detection.rows) > 1 else ''}{_words(metric)}"
    said += f" {best.interval(key).text(metric.digits)} {on}"
    if best is first:
        return f"{said}."
    gain = best.above(first, key)
    return f"{said}: {gain.signed(metric.digits)} over {first.title}."


def _words(metric: Metric) -> str:
    return "PSDS score" if metric.key == "psds_score" else metric.heading


def table(detection: Detection) -> Table:
    """Return the table of rows, with 95 % intervals where there are some."""
    shown = [METRICS[key] for key in detection.settings.metrics]
    lines = [
        [row.name, row.window, row.filter, *(row.interval(metric.key).text(metric.digits) for metric in shown)]
        for row in detection.rows
    ]
    return Table(["scores", "frames", "filter", *(metric.heading for metric in shown)], lines, n_text=3)


def notes(detection: Detection) -> list[str]:
    """Return the legend of the table, a line each."""
    settings = detection.settings
    lines = [f"{METRICS[key].heading}: {settings.meaning(METRICS[key])}" for key in settings.metrics]
    if any(settings.has(option) for option in ("segment-f1", "event-f1")):
        lines.append(f"F1 is at a score above {fraction(settings.threshold, 2)}; PSDS is over all thresholds")
    if detection.resamples:
        drawn = f"{plural(settings.n_groups, 'group')} of clips" if settings.n_groups else "the clips"
        lines.append(f"in brackets: 95 % interval over {detection.resamples:,} draws of {drawn}, where it is known")
    return [*lines, *detection.remarks]


def results_markdown(detection: Detection) -> str:
    """Return results.md."""
    parts = [HEAD, headline(detection), table(detection).markdown()]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in notes(detection))]) + "\n"


def results_terminal(detection: Detection) -> str:
    """Return the results for a terminal."""
    return "\n\n".join([headline(detection), table(detection).folded(), "\n".join(f"- {n}" for n in notes(detection))])


def write_detection(out: Path, detection: Detection, record: dict, overwrite: bool) -> None:
    """Write the folder: metrics.json, per_class.csv, results.md, missing.csv, run.json; whole or not at all."""
    with whole_folder(out, overwrite, "evaluate") as folder:
        write_json(folder / layout.METRICS_FILE, metrics_record(detection))
        write_per_class(folder / layout.PER_CLASS, detection)
        write_text(folder / layout.RESULTS, results_markdown(detection))
        if detection.missing:
            write_csv(folder / layout.MISSING, (layout.CLIP_ID, "reason"), detection.missing)
        write_run_record(folder, record)


def metrics_record(detection: Detection) -> dict[str, object]:
    """Return metrics.json."""
    first, settings, rows = detection.rows[0], detection.settings, []
    for row in detection.rows:
        shared = [key for key in row.metrics if key in first.metrics]
        said = {"scores": row.name, "window": row.window, "filter": row.filter, "metrics": row.metrics}
        said["intervals"] = {key: row.interval(key)[1:] for key in row.draws}
        if row is not first:
            said["above_first"] = {key: row.above(first, key)._asdict() for key in shared}
        rows.append(said)
    return finite({
        "n_clips": detection.n_clips,
        "hours": detection.hours,
        "n_missing": len(detection.missing),
        "n_classes": len(detection.class_ids),
        "n_events": int(sum(detection.events)),
        "threshold": settings.threshold,
        "segment_s": settings.segment_s,
        "collar_s": settings.collar_s,
        "offset_share": settings.offset_share,
        "resamples": detection.resamples,
        "rows": rows,
        "remarks": list(detection.remarks),
    })  # fmt: skip


def write_per_class(path: Path, detection: Detection) -> None:
    """Write each row's metrics of every class, empty where a class has none."""
    names = list(dict.fromkeys(name for row in detection.rows for name in row.classes))
    header = ("scores", "window", "filter", layout.CLASS_ID, "class_name", "n_events", "seconds", *names)
    lines = []
    for row in detection.rows:
        cells = [cells_of(row.classes[name]) for name in names]
        counts = detection.events.tolist(), [f"{seconds:.3f}" for seconds in detection.seconds]
        classes = zip(detection.class_ids, detection.class_names, *counts, *cells, strict=True)
        lines += [(row.name, row.window, row.filter, *of_class) for of_class in classes]
    write_csv(path, header, lines)
