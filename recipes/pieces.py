"""How well models do that hear a clip in pieces: psl_2s.sh, psl_5s.sh and psl_10s.sh with LENGTHS.

python recipes/pieces.py --work WORK    # WORK/pieces/RUN.h5 -> WORK/pieces/pieces.csv, .txt

Each store holds the answers of one run to the evaluation list: whole clips, and pieces of 10, 5 or 2 s. The score of a
clip heard in pieces is the mean over its pieces, compared with the true labels if known, else with the list.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pseudolabel.artefacts import write_csv, write_text
from pseudolabel.cli import existing, run_verb, verb_parser
from pseudolabel.errors import InputError
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.reports.results import aligned
from pseudolabel.reports.rows import Spread
from pseudolabel.scores.metrics import summary_metrics
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, parse_window

FIGURES = {"mAP": "map", "d'": "d_prime"}  # column: name among the metrics


def clip_scores(store: ScoreStore, scale: str) -> np.ndarray:
    """Return (N, K) float32: the mean over each clip's real windows of a scale; of `clip` the whole clips' scores."""
    scores = np.asarray(store.scores(parse_window(scale)), np.float32)  # (N, W, K), 0 where no window is
    return scores.sum(axis=1) / store.n_windows(parse_window(scale))[:, None]


def figures(work: Path) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield row, scale and metrics of every run and length."""
    vocabulary = Vocabulary.load(existing(work / "vocabulary.csv") or "audioset")
    reference = LabelTable.read(work / "eval.csv", vocabulary)
    if (work / "truth.csv").exists():
        truth = LabelTable.read(work / "truth.csv", vocabulary)
        known = [clip_id for clip_id in reference.clip_ids if clip_id in truth.row_of]
        reference = truth.select(known) if known else reference
    paths = sorted((work / "pieces").glob("*.h5"))
    if not paths:
        raise InputError("no scores of pieces", work / "pieces", "Give LENGTHS to the recipe.")
    for path in paths:
        store = ScoreStore.open(path)
        known = [clip_id for clip_id in reference.clip_ids if clip_id in store.index]
        rows, columns = store.rows(known), store.columns(vocabulary.class_ids)
        record = json.loads((work / "runs" / path.stem / "run.json").read_text(encoding="utf-8"))
        for scale in sorted(store.scales, key=lambda scale: -np.inf if scale == CLIP else -parse_window(scale)):
            yield (
                record["row"],
                scale,
                summary_metrics(reference.select(known).matrix, clip_scores(store, scale)[rows][:, columns]),
            )


def table(args: argparse.Namespace) -> None:
    """Write a line a row, a column a length: mean over runs, and deviation where there are several."""
    cells: dict[tuple[str, str], list[dict]] = {}
    for row, scale, found in figures(args.work):
        cells.setdefault((row, scale), []).append(found)
    rows, scales = (list(dict.fromkeys(key[axis] for key in cells)) for axis in (0, 1))
    header = ["row", *(f"{title} {scale}" for title in FIGURES for scale in scales)]
    lines = [[row, *(shown(cells.get((row, scale), []), name) for name in FIGURES.values() for scale in scales)]
             for row in rows]  # fmt: skip
    folder = args.work / "pieces"
    write_csv(folder / "pieces.csv", header, lines)
    write_text(folder / "pieces.txt", f"{aligned((header, lines))}\n")


def shown(runs: list[dict], name: str) -> str:
    """Return `.354` of one run, `.354 ± .027` of several, a dash of none."""
    spread = Spread.of([run[name] for run in runs])
    figures = [value for value in (spread.mean, spread.sd) if value is not None] if runs else []
    return " ± ".join(f"{value:.3f}".replace("0.", ".", 1) for value in figures) or "-"


if __name__ == "__main__":
    raise SystemExit(run_verb(verb_parser("pieces", __doc__), table, None))
