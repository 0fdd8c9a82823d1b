"""The folder of an evaluation: metrics.json, per_class.csv, betas.csv, figures, results.md and the report."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from pseudolabel.artefacts import whole_folder, write_csv, write_json, write_text
from pseudolabel.records import write_run_record
from pseudolabel.reports.evaluation import Evaluation
from pseudolabel.reports.results import results_markdown


def write_evaluation(out: Path, evaluation: Evaluation, record: dict, overwrite: bool) -> None:
    """Write the folder of an evaluation, whole or not at all."""
    from pseudolabel.reports.evaluation_page import evaluation_page
    from pseudolabel.reports.figures import evaluation_figures

    with whole_folder(out, overwrite, "evaluate") as folder:
        figures = evaluation_figures(evaluation, folder / "figures")
        write_text(folder / "report.html", evaluation_page(evaluation, figures, record["command"]))
        write_json(folder / "metrics.json", metrics_record(evaluation))
        write_per_class(folder / "per_class.csv", evaluation)
        if evaluation.betas is not None:
            header, columns = evaluation.betas.per_class()
            rows = zip(evaluation.class_ids, evaluation.class_names, *columns, strict=True)
            write_csv(folder / "betas.csv", ("class_id", "class_name", *header), rows)
        write_text(folder / "results.md", results_markdown(evaluation))
        if evaluation.missing:
            write_csv(folder / "missing.csv", ("clip_id", "reason"), evaluation.missing)
        write_run_record(folder, record)


def metrics_record(evaluation: Evaluation) -> dict[str, object]:
    """Return metrics.json: every run, every row, every enhanced list."""
    named = evaluation.sets != ("noisy",)
    return finite({
        "labels": evaluation.paths["labels"],
        "truth": evaluation.paths["truth"],
        **({"sets": {name: evaluation.paths.get(name) for name in evaluation.sets}} if named else {}),
        "n_clips": evaluation.n_clips,
        "n_missing": len(evaluation.missing),
        "n_classes": len(evaluation.class_ids),
        "rows": [row.record() for row in evaluation.rows],
        "runs": [run.record() for row in evaluation.rows for run in row.runs],
        **({"betas": evaluation.betas.record()} if evaluation.betas is not None else {}),
        "remarks": list(evaluation.remarks),
        "enhanced": evaluation.enhanced,
    })  # fmt: skip


def write_per_class(path: Path, evaluation: Evaluation) -> None:
    """Write AP and AUC of every row and class, means over runs, empty where a class has no positive clip."""
    sets = [name for name in evaluation.against if any(name in row.against() for row in evaluation.rows)]
    header = ["row", "class_id", "class_name"]
    header += [f"{figure}_{name}" for name in sets for figure in ("n_positive", "ap", "auc")]
    lines = []
    for row in evaluation.rows:
        columns = []
        for name in sets:
            columns.append([str(int(n)) for n in row.runs[0].classes[name]["n_positive"]])
            columns += [[_number(value) for value in row.class_mean(name, figure)] for figure in ("ap", "auc")]
        lines += [
            (row.name, *cells) for cells in zip(evaluation.class_ids, evaluation.class_names, *columns, strict=True)
        ]
    write_csv(path, header, lines)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def finite(value: object) -> object:
    """Return a value as JSON can say it: NaN and infinity become null, paths text."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
