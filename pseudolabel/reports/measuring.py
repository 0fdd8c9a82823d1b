"""Score the evaluated clips with runs and score stores, at every scale, and compute metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from pseudolabel.errors import InputError
from pseudolabel.labels.aliases import same_clips
from pseudolabel.labels.balancing import DEFAULT_BETA, SHUFFLE, WITH_BETA
from pseudolabel.labels.table import LabelTable
from pseudolabel.layout import RUN, SEEN_CLIPS, WEIGHTS
from pseudolabel.progress import progress_over
from pseudolabel.reports.rows import RunResult
from pseudolabel.reports.watch import Watch
from pseudolabel.scores.bootstrap import drawn_weights
from pseudolabel.scores.class_map import ClassMap
from pseudolabel.scores.metrics import (
    maximum_over_windows,
    mean_over_windows,
    summary_classes_and_draws,
)
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, MAXIMUM, n_windows, split_pooled, window_name, window_samples
from pseudolabel.tables import read_json
from pseudolabel.training.options import MEAN_OF_LAST, VALIDATED
from pseudolabel.training.out_of_fold import read_seen

if TYPE_CHECKING:
    from pseudolabel.audio.clips import ClipStore

RUN_FIELDS = ("command", "seed", "epoch", "n_parameters", "n_train_clips", "train_seconds")
DRAWS_SEED = 0  # of the draws of clips: the same clips give the same intervals
Answer = tuple[RunResult, np.ndarray]  # a run, and its scores (N, targets) of the evaluated clips


def find_runs(folder: Path, named: Sequence[Path] | None) -> list[Path]:
    """Return run folders: those named by path or by name in `folder`, or with None all in it that hold a model."""
    if named is None:
        return sorted(path.parent for path in folder.glob(f"*/{WEIGHTS}"))
    runs = [path if (path / WEIGHTS).is_file() else folder / path for path in named]
    for run, given in zip(runs, named, strict=True):
        if not (run / WEIGHTS).is_file():
            raise absent_run(given, folder)
    return runs


def absent_run(run: Path, folder: Path) -> InputError:
    """Return the error for a named run that is neither a path nor in the folder of runs."""
    return InputError(f"no run {str(run)!r} with a {WEIGHTS}", "--runs", f"Name folders, or names in {folder}.")


def read_record(folder: Path) -> dict:
    """Return run.json of a run folder, {} if there is none."""
    path = folder / RUN
    record = read_json(path) if path.is_file() else {}
    if not isinstance(record, dict) or not isinstance(record.get("options") or {}, dict):
        raise InputError("not an object with the fields of a run", path)
    return record


def run_of_folder(folder: Path, clip_ids: Sequence[str]) -> RunResult:
    """Return a run folder as run.json describes it, with the number of `clip_ids` that it was trained on."""
    record, n_seen = read_record(folder), None
    if (folder / SEEN_CLIPS).is_file():
        n_seen = len(same_clips(clip_ids, read_seen(folder / SEEN_CLIPS)))
    fields = {name: record.get(name) for name in RUN_FIELDS}
    fields |= {"beta": beta_of(record, folder / RUN), "last_evaluations": last_evaluations(record)}
    options = record.get("options") or {}
    fields["labels_sha256"] = (record.get("inputs") or {}).get(str(options.get("labels")))
    fields["fold"] = options.get("fold") and str(options["fold"])
    return RunResult(folder.name, record.get("row") or folder.name, str(folder), n_seen=n_seen, **fields)


def beta_of(record: Mapping, source: Path | str = "") -> float | None:
    """Return a run's oversampling exponent: 0 if clips were only shuffled, None if another rule drew them."""
    options = record.get("options") or {}
    sampling, beta = options.get("sampling"), options.get("beta")
    if sampling == SHUFFLE:
        return 0.0
    if sampling not in WITH_BETA:
        return None
    beta = DEFAULT_BETA if beta is None else beta
    if not isinstance(beta, int | float) or not 0 <= beta < math.inf:
        raise InputError(f"beta {beta!r} is not a number of at least 0", source, "Train the run again.")
    return float(beta)


def last_evaluations(record: Mapping) -> dict[str, float]:
    """Return the metric of a run, averaged over its last five evaluations, if run.json has it."""
    metric, mean = (record.get("options") or {}).get("metric"), record.get(MEAN_OF_LAST)
    return {metric: float(mean)} if metric in VALIDATED and isinstance(mean, int | float) else {}


def run_of_store(path: Path) -> RunResult:
    """Return a score store as a run without a record."""
    return RunResult(path.stem, path.stem, str(path))


def answers_of_stores(
    stores: Sequence[ScoreStore], clip_ids: Sequence[str], classes: ClassMap, scales: Sequence[str | float] = (CLIP,)
) -> Iterator[Answer]:
    """Yield each score store as a run of its own, once for each scale, and its scores (N, targets)."""
    for store in stores:
        rows = store.rows(clip_ids)
        for scale in scales:
            windows, pooling = split_pooled(scale)
            scores = store.read(windows, rows)
            of_clips = _of_clips(scores, None if windows == CLIP else store.n_windows(windows)[rows], pooling)
            run = run_of_store(store.path).at_scale(window_name(scale))
            yield run, classes.apply(of_clips, store.class_ids, store.path)


def answers_of_models(
    folders: Sequence[Path],
    clips: ClipStore,
    clip_ids: Sequence[str],
    classes: ClassMap,
    batch_size: int,
    device,
    scales: Sequence[str | float] = (CLIP,),
) -> Iterator[Answer]:
    """Yield each run, once for each scale, and its scores (N, targets) of the clips of a store."""
    from pseudolabel.models import load_model
    from pseudolabel.training.scoring import score_clips

    rows = clips.rows(clip_ids)
    n_samples = np.asarray(clips.n_samples)[rows]
    for folder in progress_over(folders, "evaluate", len(folders), "run"):
        tagger = load_model(folder, device)
        if tagger.config["sample_rate"] != clips.sample_rate:
            message = f"the model expects {tagger.config['sample_rate']} Hz, the clips have {clips.sample_rate} Hz"
            raise InputError(message, folder, "Prepare the clips with its --sample-rate.")
        run = run_of_folder(folder, clip_ids)
        n_parameters = run.n_parameters or sum(weights.numel() for weights in tagger.parameters())
        run = replace(run, model=tagger.config["name"], n_parameters=n_parameters)
        scored: dict[str | float, np.ndarray] = {}
        for scale in scales:
            windows, pooling = split_pooled(scale)
            if windows not in scored:
                scored[windows] = score_clips(tagger, clips, rows, windows, batch_size, device)
            length = window_samples(windows, clips.sample_rate)
            of_clips = _of_clips(scored[windows], None if length is None else n_windows(n_samples, length), pooling)
            yield run.at_scale(window_name(scale)), classes.apply(of_clips, tagger.config["class_ids"], folder)


def _of_clips(scores: np.ndarray, n_windows: np.ndarray | None, pooling: str) -> np.ndarray:
    """Return clip scores (N, K) from (N, W, K): the only window of a clip, or mean or maximum over its windows."""
    if n_windows is None:
        return scores[:, 0]
    return (maximum_over_windows if pooling == MAXIMUM else mean_over_windows)(scores, n_windows)


class Reference(NamedTuple):
    """A set of labels: its rows among the evaluated clips, its labels (n, K), and the draws of its clips (n, D)."""

    rows: np.ndarray
    matrix: sparse.csr_array
    weights: np.ndarray


def measured(
    clip_ids: Sequence[str],
    sets: Mapping[str, LabelTable],
    answers: Iterator[Answer],
    groups: Sequence[str] | None = None,
    n_draws: int = 0,
    watch: Watch | None = None,
) -> list[RunResult]:
    """Return runs with their metrics against each set of labels, on the clips of the set.

    Args:
        clip_ids: (N,) the evaluated clips. groups: (N,) the group of each, for draws of whole groups.
        sets: {name: labels of some or all of these clips}.
        answers: each run and its scores (N, K), clips in the order of `clip_ids`, classes in the order of the sets.
        n_draws: number of draws of the clips for confidence intervals.
        watch: sees every run and its scores.
    """
    references = {}
    for name, labels in sets.items():
        rows = np.array([row for row, clip_id in enumerate(clip_ids) if clip_id in labels.row_of], np.int64)
        of_set = None if groups is None else [groups[row] for row in rows]
        weights = drawn_weights(len(rows), n_draws, DRAWS_SEED, of_set)
        references[name] = Reference(rows, labels.select([clip_ids[row] for row in rows]).matrix, weights)
    results = []
    for run, scores in answers:
        if watch is not None:
            watch.see(run, scores)
        for name, reference in references.items():
            of_set = scores[reference.rows]
            measures = summary_classes_and_draws(reference.matrix, of_set, reference.weights)
            run.metrics[name], run.classes[name], draws = measures
            if n_draws:
                run.draws[name] = draws
        results.append(run)
    return results
