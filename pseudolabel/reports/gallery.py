"""The gallery: clips about which models or labels disagree most, with picture, sound, labels and scores over time."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.artefacts import whole_file
from pseudolabel.audio.media import F_MIN, flac_bytes, frequency_ticks, log_mel_png, video_of, watch_url
from pseudolabel.formatting import fraction
from pseudolabel.labels.table import LabelTable
from pseudolabel.reports.evaluation import Evaluation
from pseudolabel.reports.over_time import OverTime
from pseudolabel.reports.results import leading_row
from pseudolabel.reports.rows import Row
from pseudolabel.reports.watch import SPLIT, UNHEARD, UNLABELLED, Disagreement, Watch

if TYPE_CHECKING:
    from pseudolabel.audio.clips import ClipStore

AUDIO = "report-audio"  # the folder beside the page
LINES_SHOWN = 4  # rows whose scores over time are drawn
TOP_SHOWN, LOWEST_SHOWN = 5, 0.01  # classes with the highest scores
HEADINGS = {
    SPLIT: "Models disagree",
    UNLABELLED: "Scored high, not labelled",
    UNHEARD: "Labelled, scored low",
}


@dataclass(frozen=True)
class Line:
    """Scores of one row over time: a path in a field of 1000 x 100, high scores at the top."""

    row: str
    path: str


@dataclass(frozen=True)
class GalleryClip:
    """A clip as the page shows it.

    Args:
        number: of its place and files, from 1.
        name: of the class it is about. sentence: who says what.
        labels: (word for the set of labels, names of the clip's labels).
        top: (name, mean score over runs) of the classes with the highest scores.
        duration_s: None where there is no sound. picture: PNG as base64, '' if there is none.
        ticks: (height from 0 to 1, Hz) beside the picture.
        windows: what the lines are made of, '' without lines.
        video: address of its source.
    """

    number: int
    clip_id: str
    kind: str
    name: str
    sentence: str
    labels: list[tuple[str, list[str]]]
    top: list[tuple[str, str]]
    duration_s: float | None = None
    picture: str = ""
    ticks: Sequence[tuple[float, int]] = ()
    lines: Sequence[Line] = ()
    windows: str = ""
    video: str = ""

    @property
    def audio(self) -> str:
        """Name of the sound file, beside the page."""
        return f"{AUDIO}/{self.number:02d}.flac"


@dataclass(frozen=True)
class Gallery:
    """The clips of the page, and the store with their sound if there is one.

    Args:
        n_watched, n_clips: how many of the clips were compared.
        n_runs: whose scores were compared.
    """

    clips: tuple[GalleryClip, ...]
    store: ClipStore | None
    n_watched: int
    n_clips: int
    n_runs: int

    def by_kind(self) -> list[tuple[str, list[GalleryClip]]]:
        """Return heading and clips of each kind."""
        kinds = dict.fromkeys(clip.kind for clip in self.clips)
        return [(HEADINGS[kind], [clip for clip in self.clips if clip.kind == kind]) for kind in kinds]

    def remark(self) -> str:
        """Return how the clips were chosen, and what is not shown."""
        chosen = "The largest disagreements, of different clips, at most two about one class in a part. "
        if self.n_watched < self.n_clips:
            chosen += f"{self.n_watched:,} of {self.n_clips:,} clips were compared. "
        chosen += "Mean: over all runs. " if self.n_runs > 1 else ""
        return chosen + "More or fewer: evaluate --gallery N."

    def write_sounds(self, folder: Path) -> None:
        """Write the sound of every clip that has any, as FLAC files beside the page."""
        for clip in self.clips:
            if clip.duration_s is not None:
                with whole_file(folder / clip.audio) as temporary:
                    temporary.write_bytes(flac_bytes(self.store, clip.clip_id))


def rows_over_time(evaluation: Evaluation, found: Sequence[Disagreement]) -> list[Row]:
    """Return the rows whose scores over time are drawn: the leading one, then those that most often score extremes."""
    of_scale = [row for row in evaluation.rows if row.scale == evaluation.rows[0].scale]
    extremes = Counter(row for one in found for _, row in (one.lowest, one.highest))
    leading = leading_row(evaluation)
    return sorted(of_scale, key=lambda row: (row is not leading, -extremes[row.name]))[:LINES_SHOWN]


def gallery_of(
    found: Sequence[Disagreement],
    watch: Watch,
    sets: Mapping[str, LabelTable],
    over_time: Iterable[OverTime],
    store: ClipStore | None,
) -> Gallery:
    """Return the gallery of these disagreements.

    Args:
        sets: {word: labels}; names of classes are those of the first.
        over_time: scores in windows of the clips of `found`, in their order.
        store: the sound; clips that it lacks have none.
    """
    names, lines = next(iter(sets.values())).vocabulary.names, list(over_time)
    clips = tuple(_gallery_clip(i, found[i], watch, sets, names, lines, store) for i in range(len(found)))
    return Gallery(clips, store, len(watch.rows), watch.n_labelled, len(watch.runs))


def _gallery_clip(
    i: int,
    one: Disagreement,
    watch: Watch,
    sets: Mapping[str, LabelTable],
    names: Sequence[str],
    over_time: Sequence[OverTime],
    store: ClipStore | None,
) -> GalleryClip:
    mean = watch.mean_of_clip(one.clip_id)
    top = np.argsort(-mean, kind="stable")[:TOP_SHOWN].tolist()
    video = video_of(one.clip_id, None)
    heard: dict[str, object] = _heard(one.clip_id, store) if store is not None and one.clip_id in store.index else {}
    duration_s = heard.get("duration_s") or max((s.n_windows[i] * s.hop_s for s in over_time), default=0)
    windows = sorted({f"{scores.window_s:g} s" for scores in over_time})
    return GalleryClip(
        number=i + 1,
        clip_id=one.clip_id,
        kind=one.kind,
        name=names[one.column],
        sentence=_sentence(one, len(watch.runs)),
        labels=[(word, _labels_of(one.clip_id, labels)) for word, labels in sets.items()],
        top=[(names[k], fraction(float(mean[k]), 2)) for k in top if mean[k] >= LOWEST_SHOWN],
        lines=[Line(scores.row, step_line(scores, i, one.column, duration_s)) for scores in over_time],
        windows=" and ".join(windows),
        video=watch_url(*video) if video else "",
        **heard,
    )


def _heard(clip_id: str, store: ClipStore) -> dict[str, object]:
    """Return length, picture and ticks of a clip; no picture at a sample rate that has no frequencies for it."""
    n_samples = int(store.n_samples[store.rows([clip_id])[0]])
    heard: dict[str, object] = {"duration_s": round(n_samples / store.sample_rate, 3)}
    if store.sample_rate > 4 * F_MIN:
        png = log_mel_png(store.read(clip_id), store.sample_rate)
        heard |= {"picture": base64.b64encode(png).decode("ascii"), "ticks": frequency_ticks(store.sample_rate)}
    return heard


def _sentence(one: Disagreement, n_runs: int) -> str:
    """Return who says what about the clip: `mean .45; highest .93 by psl_2s, lowest .02 by weak`."""
    (low, low_row), (high, high_row) = one.lowest, one.highest
    if n_runs == 1:
        return f"score {fraction(one.mean, 2)}"
    of_mean = f"mean score {fraction(one.mean, 2)}"
    return f"{of_mean}; highest {fraction(high, 2)} by {high_row}, lowest {fraction(low, 2)} by {low_row}"


def _labels_of(clip_id: str, labels: LabelTable) -> list[str]:
    """Return the names of a clip's labels; none if the set lacks the clip."""
    if clip_id not in labels.row_of:
        return []
    return [labels.vocabulary.names[k] for k in labels.matrix[[labels.row_of[clip_id]]].indices.tolist()]


def step_line(scores: OverTime, i: int, column: int, duration_s: float) -> str:
    """Return the path of a clip's scores of a class over time: a step for each window, in a field of 1000 x 100."""
    points, n = [], int(scores.n_windows[i])
    for window in range(n):
        end = duration_s if window == n - 1 else (window + 1) * scores.hop_s
        height = 100 - 100 * float(scores.scores[i, window, column])
        points.append(f"{'V' if points else 'M0 '}{height:.1f}H{1000 * min(end / duration_s, 1):.0f}")
    return "".join(points)
