"""PSDS: the area under the curve of found events over false alarms an hour, at all thresholds (Bilen et al. 2020).

Computed by sed_scores_eval (Ebbers et al. 2022), exactly, in the two scenarios of DCASE 2021, task 4: PSDS-1 asks for
exact times, PSDS-2 for the right class. The PSL poster's score is the mean of both, each over what the baseline of that
challenge reached.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pseudolabel.labels.events import Spans
from pseudolabel.scores.frames import Frames

PACKAGE = "sed_scores_eval"
SCENARIOS = {
    "psds_1": {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "cttc_threshold": None, "alpha_ct": 0.0},
    "psds_2": {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3, "alpha_ct": 0.5},
}
COMMON = {"alpha_st": 1.0, "max_efpr": 100.0, "unit_of_time": "hour"}
BASELINE = {"psds_1": 0.315, "psds_2": 0.547}  # of DCASE 2021, task 4


class Psds(NamedTuple):
    """PSDS of a scenario, and of each class alone (K,); NaN for classes without events."""

    value: float
    classes: np.ndarray


def poster_score(values: dict[str, float]) -> float:
    """Return the PSL poster's detection score of {"psds_1": ..., "psds_2": ...}; 1 is the challenge's baseline."""
    return float(np.mean([values[name] / baseline for name, baseline in BASELINE.items()]))


def psds(frames: Frames, truth: Spans, scenario: str) -> Psds:
    """Return the PSDS of scores (N, T, K).

    Classes without true events are left out: of the mean, of its spread and as cross triggers.

    Args:
        truth: events within their clips.
        scenario: a key of SCENARIOS.
    """
    from sed_scores_eval.intersection_based import psds as exact_psds

    columns = np.unique(truth.column)
    classes = np.full(frames.scores.shape[2], np.nan)
    if not len(columns):
        return Psds(np.nan, classes)
    settings = {**COMMON, **SCENARIOS[scenario]}
    if len(columns) == 1:  # nothing else to be taken for it, which sed_scores_eval 0.0.4 does not expect
        settings |= {"cttc_threshold": None, "alpha_ct": 0.0}
    lengths = {str(clip): float(length) for clip, length in enumerate(frames.lengths_s)}
    events: dict[str, list[tuple[float, float, str]]] = {clip: [] for clip in lengths}
    for clip, column, onset, offset in zip(*(part.tolist() for part in truth), strict=True):
        events[str(clip)].append((onset, offset, f"k{column}"))
    value, by_class, *_ = exact_psds(_tables(frames, columns), events, lengths, **settings)
    classes[columns] = [by_class[f"k{column}"] for column in columns]
    return Psds(float(value), classes)


def _tables(frames: Frames, columns: np.ndarray) -> dict[str, object]:
    """Return {clip: table of the scores of its real frames}, as sed_scores_eval reads them."""
    from pandas import DataFrame

    class Table(DataFrame):
        """A table whose arrays may be written: sed_scores_eval's Cython refuses the read-only ones of pandas 3."""

        @property
        def _constructor(self) -> type:
            return Table

        def to_numpy(self, *given: object, **named: object) -> np.ndarray:
            return np.array(super().to_numpy(*given, **named))

    names, tables = ["onset", "offset", *(f"k{column}" for column in columns)], {}
    for clip, count in enumerate(frames.counts.tolist()):
        edges, scores = frames.edges[clip, : count + 1], frames.scores[clip, :count, columns].T
        tables[str(clip)] = Table(np.column_stack([edges[:-1], edges[1:], scores.astype(np.float64)]), columns=names)
    return tables
