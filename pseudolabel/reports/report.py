"""The folder of an evaluation: report.html, its sounds, metrics.json, per_class.csv, betas.csv, figures, results.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from pseudolabel import layout
from pseudolabel.artefacts import whole_folder, write_csv, write_json, write_text
from pseudolabel.formatting import plural
from pseudolabel.records import write_run_record
from pseudolabel.reports.comparison import compared, comparison_remark
from pseudolabel.reports.evaluation import Evaluation
from pseudolabel.reports.evaluation_figures import evaluation_figures
from pseudolabel.reports.figures import Picture
from pseudolabel.reports.result_tables import (
    additions_by_class,
    every_class_remark,
    every_class_table,
    every_metric_table,
    reference_row,
)
from pseudolabel.reports.results import contents, results_markdown, results_terminal
from pseudolabel.reports.rows import TRAINED_ON, Row
from pseudolabel.reports.text_tables import Table
from pseudolabel.reports.tree_lines import class_places, tree_header, tree_lines, tree_remark
from pseudolabel.scores.metrics import METRICS
from pseudolabel.templates import render, script_json, script_of

MISSING_SHOWN = 20
SCRIPTS = ("tables.js", "comparison.js", "tree.js", "gallery.js")
PARTS = {
    "rows": "Rows",
    "classes": "Classes",
    "comparison": "Two rows compared",
    "ontology": "Ontology",
    "gallery": "Disagreements",
    "additions": "Additions",
    "measured": "How it was measured",
}


def publish(out: Path, copy: Path | None, evaluation: Evaluation, record: dict, overwrite: bool) -> None:
    """Write the evaluation and the copy of its results, and print the results."""
    if copy:  # before the folder: once the folder exists, everything is written
        write_text(copy, results_markdown(evaluation))
    write_evaluation(out, evaluation, record, overwrite)
    print(results_terminal(evaluation))
    n_missing = len(evaluation.missing)
    what = f"{_measured(evaluation)} on {plural(evaluation.n_clips, 'clip')}"
    what += f"; {n_missing} missing, see {out / 'missing.csv'}" if n_missing else ""
    print(f"\nwrote {out}{f' and {copy}' if copy else ''}: {what}")


def _measured(evaluation: Evaluation) -> str:
    """Return how many runs and score stores were measured, each counted once, and at how many scales."""
    paths = dict.fromkeys(run.path for row in evaluation.rows for run in row.runs)
    n_stores = sum(Path(path).is_file() for path in paths)
    counted = [(len(paths) - n_stores, "run"), (n_stores, "score store")]
    said = " and ".join(plural(n, word) for n, word in counted if n)
    return f"{said} at {len(evaluation.scales)} scales" if len(evaluation.scales) > 1 else said


def write_evaluation(out: Path, evaluation: Evaluation, record: dict, overwrite: bool) -> None:
    """Write the folder of an evaluation, whole or not at all."""
    with whole_folder(out, overwrite, "evaluate") as folder:
        figures = evaluation_figures(evaluation, folder / "figures")
        write_text(folder / layout.REPORT, report_page(evaluation, figures, record["command"]))
        if evaluation.gallery is not None:
            evaluation.gallery.write_sounds(folder)
        write_json(folder / layout.METRICS_FILE, metrics_record(evaluation))
        write_per_class(folder / layout.PER_CLASS, evaluation)
        if evaluation.betas is not None:
            write_betas(folder / "betas.csv", evaluation)
        write_text(folder / layout.RESULTS, results_markdown(evaluation))
        if evaluation.missing:
            write_csv(folder / layout.MISSING, ("clip_id", "reason"), evaluation.missing)
        write_run_record(folder, record)


def report_page(evaluation: Evaluation, pictures: Sequence[Picture], command: str) -> str:
    """Return report.html, a page that loads nothing but sounds beside it; its script sorts, filters and compares."""
    folded_tables = [
        (f"Every metric against the {evaluation.word(against)} labels", every_metric_table(evaluation, against))
        for against in evaluation.measured_against
    ]
    gallery, compares = evaluation.gallery, len(evaluation.rows) > 1
    there = dict.fromkeys(("rows", "classes"), evaluation.rows) | {"comparison": compares, "ontology": evaluation.tree}
    there |= {"gallery": gallery, "additions": evaluation.enhanced, "measured": True}
    missing = [list(entry) for entry in evaluation.missing[:MISSING_SHOWN]]
    return render(
        "pseudolabel.reports",
        "report.html.j2",
        **contents(evaluation),
        **script_of("pseudolabel.reports", SCRIPTS),
        parts=[(place, name) for place, name in PARTS.items() if there[place]],
        n_clips=plural(evaluation.n_clips, "clip"),
        n_classes=plural(len(evaluation.class_ids), "class"),
        n_missing=plural(len(evaluation.missing), "listed clip"),
        missing=Table(["clip", "reason"], missing, n_text=2) if missing else None,
        trained_on=[(row.name, TRAINED_ON[row.name]) for row in evaluation.rows if row.name in TRAINED_ON],
        folded_tables=folded_tables,
        classes=every_class_table(evaluation) if evaluation.rows else None,
        classes_remark=every_class_remark(evaluation),
        comparison=Markup(script_json(compared(evaluation))) if compares else None,
        comparison_remark=comparison_remark(evaluation) if compares else "",
        class_places=class_places(evaluation) if evaluation.tree else {},
        tree_lines=tree_lines(evaluation) if evaluation.tree and evaluation.rows else [],
        tree_header=tree_header(evaluation),
        tree_remark=tree_remark(evaluation) if evaluation.rows else "",
        gallery_content=gallery,
        gallery_places={clip.clip_id: f"clip-{clip.number}" for clip in gallery.clips} if gallery else {},
        classes_of_lists=[(name, additions_by_class(judged)) for name, judged in evaluation.enhanced.items()],
        metrics=METRICS.values(),
        pictures=pictures,
        command=command,
    )


def metrics_record(evaluation: Evaluation) -> dict[str, object]:
    """Return metrics.json: every run, every row, every enhanced list."""
    record = {
        "labels": next(iter(evaluation.lists.values())),
        "truth": evaluation.truth,
        "sets": evaluation.lists if evaluation.has_named_sets else None,
        "n_clips": evaluation.n_clips,
        "n_missing": len(evaluation.missing),
        "n_classes": len(evaluation.class_ids),
        "resamples": evaluation.resamples,
        "n_groups": evaluation.n_groups,
        "rows": [row.record() | differences(evaluation, row) for row in evaluation.rows],
        "runs": [run.record() for row in evaluation.rows for run in row.runs],
        "betas": evaluation.betas.record() if evaluation.betas is not None else None,
        "remarks": list(evaluation.remarks),
        "enhanced": {
            name: {key: value for key, value in judged.items() if key != "sha256"}
            for name, judged in evaluation.enhanced.items()
        },
    }
    optional = ("sets", "betas")
    return finite({key: value for key, value in record.items() if value is not None or key not in optional})


def differences(evaluation: Evaluation, row: Row) -> dict[str, object]:
    """Return how a row's metrics differ from its reference row's, as stored in metrics.json."""
    reference = reference_row(evaluation, row)
    if reference is None or not evaluation.resamples:
        return {}
    shared = [against for against in row.against() if against in reference.against()]
    found = {
        against: {metric: row.above(reference, against, metric)._asdict() for metric in METRICS} for against in shared
    }
    return {"difference": {"to": reference.name, **found}}


def write_per_class(path: Path, evaluation: Evaluation) -> None:
    """Write AP and AUC by row and class, means over runs, empty if a class has no positive clip."""
    sets = evaluation.measured_against
    header = ["row", "class_id", "class_name"]
    header += [f"{metric}_{name}" for name in sets for metric in ("n_positive", "ap", "auc")]
    lines = []
    for row in evaluation.rows:
        columns = []
        for name in sets:
            columns.append([str(int(n)) for n in row.runs[0].classes[name]["n_positive"]])
            columns += [cells_of(row.class_mean(name, metric)) for metric in ("ap", "auc")]
        classes = zip(evaluation.class_ids, evaluation.class_names, *columns, strict=True)
        lines += [(row.name, *cells) for cells in classes]
    write_csv(path, header, lines)


def write_betas(path: Path, evaluation: Evaluation) -> None:
    """Write each class's prior and change of AP against each set, empty if it has no AP."""
    sweep = evaluation.betas
    header = ("class_id", "class_name", "prior", *(f"ap_change_{against}" for against in sweep.against))
    changes = [cells_of(sweep.changes(against)) for against in sweep.against]
    priors = [f"{prior:.9g}" for prior in sweep.priors]
    write_csv(path, header, zip(evaluation.class_ids, evaluation.class_names, priors, *changes, strict=True))


def cells_of(values: np.ndarray) -> list[str]:
    """Return values of classes as cells of a CSV file, empty for NaN."""
    return ["" if math.isnan(value) else f"{value:.6f}" for value in values]


def finite(value: object) -> object:
    """Return a value that JSON can hold: null for NaN and infinity, text for paths."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
