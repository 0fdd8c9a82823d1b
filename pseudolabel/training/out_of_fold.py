"""Out-of-fold scores: each clip is scored only by models that never saw it or its group."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.aliases import same_clips
from pseudolabel.layout import SEEN_CLIPS
from pseudolabel.tables import read_csv


def seen_by(run: Path, clips: ClipStore) -> np.ndarray | None:
    """Return which clips of a store a model saw in training, (N,) bool; None if its run folder does not say.

    A clip counts as seen if any clip of its group was, or if a training clip may be the same under another id. A
    training clip that is not in the store is its own group.
    """
    path = run / SEEN_CLIPS
    if not path.is_file():
        return None
    trained_on = read_seen(path)
    groups = {clips.groups[clips.index[clip]] for clip in same_clips(clips.clip_ids, trained_on, clips.index)}
    groups |= {clip for clip in trained_on if clip not in clips.index}
    return np.fromiter((group in groups for group in clips.groups), bool, len(clips))


def read_seen(path: str | Path) -> list[str]:
    """Read the clip ids in a run's train_clips.csv; raise InputError if one is empty."""
    rows = read_csv(path, ("clip_id",))
    for row in rows:
        if not row["clip_id"].strip():
            raise InputError("the clip id is empty", f"{path}:{row['line']}", "Train it again.")
    return [row["clip_id"] for row in rows]


def unseen_clips(runs: Sequence[Path], clips: ClipStore, rows: np.ndarray) -> np.ndarray:
    """Return which models may score which clips, (n, R) bool: those that saw neither the clip nor one of its group.

    Args:
        runs: R run folders of a cross-validated teacher.
        rows: (n,) rows of the clip store.

    Raises:
        InputError: a run does not say what it was trained on or is given twice, or a clip was seen by every run.
    """
    resolved = [run.resolve() for run in runs]
    again = [run for number, run in enumerate(runs) if resolved[number] in resolved[:number]]
    if again:
        raise InputError("the run is given twice", again[0], "Name each run once.")
    seen = [seen_by(run, clips) for run in runs]
    for run, of_run in zip(runs, seen, strict=True):
        if of_run is None:
            raise InputError(f"no {SEEN_CLIPS}: which clips it was trained on is unknown", run, "Train it again.")
    unseen = ~np.stack(seen, axis=1)[rows]
    lacking = [clips.clip_ids[row] for row in rows[~unseen.any(axis=1)]]
    if lacking:
        message = f"each of {len(runs)} runs was trained on {len(lacking)} of the clips or on clips of their groups"
        remedy = "Add the run that left them out, or leave them out with --list."
        raise InputError(f"{message}: {first_few(lacking)}", "--folds", remedy)
    return unseen


def fold_attributes(unseen: np.ndarray) -> dict[str, object]:
    """Return the attributes of a store of out-of-fold scores, derived from (n, R) bool `unseen`."""
    n_models = np.unique(unseen.sum(axis=1)).tolist()
    return {
        "out_of_fold": True,
        "models_per_clip": f"{n_models[0]}" if len(n_models) == 1 else f"{n_models[0]} to {n_models[-1]}",
        "answered_by_sha256": hashlib.sha256(np.packbits(unseen).tobytes()).hexdigest(),
    }
