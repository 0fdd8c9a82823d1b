"""The figures of an evaluation on a released model's card: read from what `evaluate` wrote, as tables and model-index.

An evaluation is of the model if its run.json has the checksum of the model's weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from pseudolabel import layout
from pseudolabel.errors import InputError
from pseudolabel.records import sha256
from pseudolabel.releases.enhanced import read_object
from pseudolabel.scores.metrics import METRICS

SHOWN = {  # metrics on the card, and their types in the hub's model-index
    "map": "mean_average_precision",
    "auc": "roc_auc",
    "d_prime": "d_prime",
    "f1_micro": "f1",
}
SETS = {"truth": "true labels", "noisy": "labels as annotated"}  # those that the user did not name
REMEDY = "Give the folder that evaluate wrote about this run."


def read_evaluation(path: Path, run: Path, given: bool = True) -> dict | None:
    """Return what an evaluation measured of a run's model.

    Args:
        path: folder of the evaluation, or its metrics.json.
        given: whether the user named it, so that it must be there and of this model; else None is returned.

    Raises:
        InputError: a file is missing or damaged, or the evaluation is of other models.
    """
    folder = path.parent if path.name == layout.METRICS_FILE else path
    if not (folder / layout.METRICS_FILE).is_file():
        if not given:
            return None
        raise InputError(f"there is no {layout.METRICS_FILE}", folder, REMEDY)
    content, record = read_object(folder / layout.METRICS_FILE), read_object(folder / layout.RUN)
    measured = _of_weights(content, record, sha256(run / layout.WEIGHTS))
    if measured is None:
        if given:
            raise InputError(f"does not have the model of {run}, with the same weights", folder, REMEDY)
        return None
    lists = {"truth": content.get("truth"), "noisy": content.get("labels"), **(content.get("sets") or {})}
    sets = [
        {"set": name, "list": Path(str(lists.get(name, name))).name, "metrics": _shown(metrics)}
        for name, metrics in measured["metrics"].items()
    ]
    return {
        "clips": content.get("n_clips"),
        "classes": content.get("n_classes"),
        "seen": measured.get("n_seen") or 0,
        "sets": [row for row in sets if row["metrics"]],
        "sha256": sha256(folder / layout.METRICS_FILE),
    }


def _of_weights(content: Mapping, record: Mapping, digest: str) -> Mapping | None:
    """Return the first entry of `runs` whose weights have this checksum: that of whole clips, if they were scored."""
    digests = {Path(path): of_file for path, of_file in (record.get("inputs") or {}).items()}
    runs = (run for run in content.get("runs") or () if isinstance(run.get("metrics"), Mapping))
    return next((run for run in runs if digests.get(Path(str(run.get("path"))) / layout.WEIGHTS) == digest), None)


def _shown(metrics: Mapping) -> dict[str, float]:
    values = {name: metrics.get(name) for name in SHOWN}
    return {name: v for name, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}


def set_name(row: Mapping) -> str:
    """Return a set of labels in words: `eval.csv, labels as annotated`."""
    return f"{row['list']}, {SETS.get(row['set'], row['set'])}"


def figure_rows(evaluation: Mapping) -> tuple[list[str], list[list[str]]]:
    """Return the headings and rows of a table of the metrics against each set of labels."""
    keys = [key for key in SHOWN if any(key in row["metrics"] for row in evaluation["sets"])]
    values = [[row["metrics"].get(key) for key in keys] for row in evaluation["sets"]]
    texts = [["-" if value is None else f"{value:.4f}" for value in row] for row in values]
    names = map(set_name, evaluation["sets"])
    return [METRICS[key].heading for key in keys], [[name, *row] for name, row in zip(names, texts, strict=True)]


def model_index(record: Mapping) -> list[dict] | None:
    """Return `model-index` of the hub's header; None if nothing was evaluated."""
    evaluation = record.get("evaluation")
    if not evaluation or not evaluation["sets"]:
        return None
    results = [
        {
            "task": {"type": "audio-classification", "name": "Audio tagging"},
            "dataset": {"type": Path(row["list"]).stem, "name": set_name(row)},
            "metrics": [
                {"type": SHOWN[key], "name": METRICS[key].heading, "value": value}
                for key, value in row["metrics"].items()
            ],
        }
        for row in evaluation["sets"]
    ]
    return [{"name": record["row"], "results": results}]
