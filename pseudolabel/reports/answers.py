"""What runs and score stores answer for the evaluated clips, at every scale asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pseudolabel.errors import InputError
from pseudolabel.labels.aliases import same_clips
from pseudolabel.labels.sampling import DEFAULT_BETA, MAX_RULE, REPEAT, SHUFFLE
from pseudolabel.labels.table import LabelTable
from pseudolabel.models import WEIGHTS
from pseudolabel.progress import progress_over
from pseudolabel.reports.rows import RunResult
from pseudolabel.scores.class_map import ClassMap
from pseudolabel.scores.metrics import mean_over_windows, summary_and_classes
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, n_windows, window_name, window_samples
from pseudolabel.tables import read_csv
from pseudolabel.training.out_of_fold import SEEN_CLIPS
from pseudolabel.training.selection import MEAN_OF_LAST, METRICS

RUN_FIELDS = ("command", "seed", "epoch", "n_parameters", "n_train_clips", "train_seconds")
Answer = tuple[RunResult, np.ndarray]


def find_runs(folder: Path, named: Sequence[Path] | None) -> list[Path]:
    """Return the run folders: those named by path or by name in `folder`, or, with None, all there with a model."""
    if named is None:
        return sorted(path.parent for path in folder.glob(f"*/{WEIGHTS}"))
    found = [path if (path / WEIGHTS).is_file() else folder / path for path in named]
    for path, given in zip(found, named, strict=True):
        if not (path / WEIGHTS).is_file():
            raise InputError(
                f"no run {str(given)!r} with a {WEIGHTS}", "--runs", f"Name folders, or names in {folder}."
            )
    return found


def read_record(folder: Path) -> dict:
    """Return run.json of a run folder, {} where there is none."""
    path = folder / "run.json"
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})", path) from error
    if not isinstance(record, dict) or not isinstance(record.get("options") or {}, dict):
        raise InputError("not an object with the fields of a run", path)
    return record


def read_run(folder: Path, clip_ids: Sequence[str]) -> RunResult:
    """Return what a run folder says of itself, and how many of `clip_ids` it was trained on."""
    record, n_seen = read_record(folder), None
    if (folder / SEEN_CLIPS).is_file():
        trained_on = [row["clip_id"] for row in read_csv(folder / SEEN_CLIPS, ("clip_id",))]
        n_seen = len(same_clips(clip_ids, trained_on))
    known = {name: record.get(name) for name in RUN_FIELDS}
    known |= {"beta": beta_of(record, folder / "run.json"), "last_evaluations": last_evaluations(record)}
    return RunResult(folder.name, record.get("row") or folder.name, str(folder), n_seen=n_seen, **known)


def beta_of(record: Mapping, place: Path | str = "") -> float | None:
    """Return the oversampling exponent of a run: 0 where clips were only shuffled, None where another rule drew."""
    options = record.get("options") or {}
    sampling, beta = options.get("sampling"), options.get("beta")
    if sampling == SHUFFLE:
        return 0.0
    if sampling not in (REPEAT, MAX_RULE):
        return None
    beta = DEFAULT_BETA if beta is None else beta
    if not isinstance(beta, int | float) or not 0 <= beta < math.inf:
        raise InputError(f"beta {beta!r} is not a number of at least 0", place, "Train the run again.")
    return float(beta)


def last_evaluations(record: Mapping) -> dict[str, float]:
    """Return the mean over the last five evaluations of the metric of a run, where run.json has it."""
    metric, mean = (record.get("options") or {}).get("metric"), record.get(MEAN_OF_LAST)
    return {metric: float(mean)} if metric in METRICS and isinstance(mean, int | float) else {}


def answers_of_stores(
    stores: Sequence[ScoreStore], clip_ids: Sequence[str], classes: ClassMap, scales: Sequence[str | float] = (CLIP,)
) -> Iterator[Answer]:
    """Yield each score store as a row of its own, one for each scale, and its scores (N, targets)."""
    for store in stores:
        rows = store.rows(clip_ids)
        for scale in scales:
            if scale == CLIP:
                scores = store.read(CLIP, rows)[:, 0]
            else:
                scores = mean_over_windows(store.read(scale, rows), store.n_windows(scale)[rows])
            run = RunResult(store.path.stem, store.path.stem, str(store.path)).at_scale(window_name(scale))
            yield run, classes.apply(scores, store.class_ids, store.path)


def answers_of_models(
    folders: Sequence[Path], clips, clip_ids: Sequence[str], classes: ClassMap, batch_size: int, device,
    scales: Sequence[str | float] = (CLIP,),
) -> Iterator[Answer]:  # fmt: skip
    """Yield each run, one row for each scale, and its scores (N, targets) of the clips of a store."""
    from pseudolabel.models import load_model
    from pseudolabel.training.scoring import score_clips

    rows = clips.rows(clip_ids)
    for folder in progress_over(folders, "evaluate", len(folders), "run"):
        tagger = load_model(folder, device)
        if tagger.config["sample_rate"] != clips.sample_rate:
            raise InputError(
                f"the model hears {tagger.config['sample_rate']} Hz, the clips have {clips.sample_rate} Hz",
                folder,
                "Prepare the clips with its --sample-rate.",
            )
        run = read_run(folder, clip_ids)
        n_parameters = run.n_parameters or sum(weights.numel() for weights in tagger.parameters())
        run = replace(run, model=tagger.config["name"], n_parameters=n_parameters)
        for scale in scales:
            scores = score_clips(tagger, clips, rows, scale, batch_size, device)
            if scale == CLIP:
                scores = scores[:, 0]
            else:
                n_samples = np.asarray(clips.n_samples)[rows]
                scores = mean_over_windows(scores, n_windows(n_samples, window_samples(scale, clips.sample_rate)))
            yield run.at_scale(window_name(scale)), classes.apply(scores, tagger.config["class_ids"], folder)


def measured(clip_ids: Sequence[str], sets: Mapping[str, LabelTable], answers: Iterator[Answer]) -> list[RunResult]:
    """Return runs with their metrics against each set of labels, on the clips that the set has.

    Args:
        clip_ids: (N,) the evaluated clips.
        sets: name -> labels of some or all of these clips.
        answers: each run and its scores (N, K), clips in the order of `clip_ids`, classes in that of the sets.
    """
    references = {}
    for name, labels in sets.items():
        rows = [row for row, clip_id in enumerate(clip_ids) if clip_id in labels.row_of]
        references[name] = np.array(rows, np.int64), labels.select([clip_ids[row] for row in rows]).matrix
    results = []
    for run, scores in answers:
        found = {name: summary_and_classes(matrix, scores[rows]) for name, (rows, matrix) in references.items()}
        run.metrics.update({name: summary for name, (summary, _) in found.items()})
        run.classes.update({name: classes for name, (_, classes) in found.items()})
        results.append(run)
    return results
