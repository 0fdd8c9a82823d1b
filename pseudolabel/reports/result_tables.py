"""Tables of results: rows and their metrics, windows of several lengths, ablations, additions, classes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pseudolabel.formatting import fraction
from pseudolabel.reports.analyses import correlations_table, impact_table
from pseudolabel.reports.evaluation import Evaluation
from pseudolabel.reports.rows import Row, Spread, named_row
from pseudolabel.reports.text_tables import Table, count_range
from pseudolabel.scores.metrics import METRICS, metrics_of
from pseudolabel.scores.windows import MAXIMUM, split_pooled

ROWS_BESIDE = 20  # of the table of every class: its columns

TYPE_WORDS = {
    "I": "Type I (missing child)",
    "II": "Type II (missing parent)",
    "I+II": "both types",
    "free": "free (no label proposes it)",
    "all": "all",
}


class Titled(NamedTuple):
    """A table with a heading, a remark, and the prefix of the names of its figures; `wide`: too wide for a terminal."""

    heading: str
    table: Table
    remark: str
    figures: str = "none"
    wide: bool = False


def rows_table(evaluation: Evaluation) -> Table:
    """Return the table of rows: the metrics against each set of labels, and the cost."""
    columns = evaluation.columns()
    lines = []
    for row in evaluation.rows:
        seconds = row.recorded("train_seconds")
        cost = [count_range(row.recorded("n_train_clips")), count_range(row.recorded("n_parameters"))]
        cost.append(f"{sum(seconds) / len(seconds):,.0f}" if seconds else "-")
        metrics = [row.spread(against, metric.key).text(metric.digits) for against, metric, _ in columns]
        lines.append([row.name, str(len(row.runs)), *metrics, *cost])
    return Table(["row", "seeds", *(column.heading for column in columns), "clips", "parameters", "seconds"], lines)


def scales_table(evaluation: Evaluation) -> Table:
    """Return mAP, d' and F1 of every row, with a column per scale, against the main set of labels.

    A clip's score at a scale is the mean over its windows (PSL, evaluated on 10, 5 and 2 s), or their maximum.
    """
    by_base: dict[str, dict[str, Row]] = {}
    for row in evaluation.rows:
        by_base.setdefault(row.base, {})[row.scale] = row
    columns = [(METRICS[key], scale) for key in ("map", "d_prime", "f1_micro") for scale in evaluation.scales]
    lines = []
    for base, rows in by_base.items():
        spreads = [
            rows[scale].spread(evaluation.main, metric.key) if scale in rows else Spread.of([])
            for metric, scale in columns
        ]
        lines.append([base, *(s.text(metric.digits) for s, (metric, _) in zip(spreads, columns, strict=True))])
    return Table(["row", *(f"{metric.heading} {scale}" for metric, scale in columns)], lines)


def row_difference(row: Row, reference: Row, against: str, key: str) -> Spread:
    """Return the row's metric minus the reference's: mean and spread of the differences between runs of the same seed.

    With fewer than two common seeds, it is the difference of the means, with the combined spread.
    """
    ours, theirs = (
        {run.seed: run.metrics[against][key] for run in one.runs if run.seed is not None and against in run.metrics}
        for one in (row, reference)
    )
    common = [seed for seed in ours if seed in theirs]
    if len(common) > 1:
        return Spread.of([ours[seed] - theirs[seed] for seed in common])
    one, other = row.spread(against, key), reference.spread(against, key)
    sd = None if one.sd is None or other.sd is None else math.hypot(one.sd, other.sd)
    return Spread(one.mean - other.mean, sd, len(common))


def reference_row(evaluation: Evaluation, row: Row) -> Row | None:
    """Return the row that a row is compared with: --ablation's or `weak`, else the first, at its scale.

    That row itself is compared with its first scale.
    """
    name = evaluation.ablation or "weak"
    of_scale = [other for other in evaluation.rows if other.scale == row.scale]
    named = next((other for other in of_scale if other.base == name), of_scale[0])
    reference = next(other for other in evaluation.rows if other.base == row.base) if named is row else named
    return None if reference is row else reference


def intervals_table(evaluation: Evaluation) -> Table:
    """Return the metrics of every row with 95 % intervals, and how much higher they are than the reference row's."""
    metrics = list(dict.fromkeys(column.metric for column in evaluation.columns()))
    header = ["row", "labels"]
    for metric in metrics:
        header += [metric.heading, "difference"]
    lines = []
    for against in evaluation.measured_against:
        for row in (row for row in evaluation.rows if against in row.against()):
            reference = reference_row(evaluation, row)
            line = [row.name, evaluation.word(against)]
            for metric in metrics:
                line.append(row.interval(against, metric.key).text(metric.digits))
                compared = reference is not None and against in reference.against()
                line.append(row.above(reference, against, metric.key).signed(metric.digits) if compared else "")
            lines.append(line)
    return Table(header, lines, n_text=2)


def intervals_remark(evaluation: Evaluation) -> str:
    """Return how the intervals were computed, and what the differences are to."""
    names = list(dict.fromkeys(one.name for row in evaluation.rows if (one := reference_row(evaluation, row))))
    what = f"{evaluation.n_groups:,} groups of clips" if 0 < evaluation.n_groups < evaluation.n_clips else "the clips"
    text = f"In brackets: 95 % intervals, over {evaluation.resamples:,} draws of {what} and over seeds. "
    if names:
        text += f"Differences are to {' and '.join(names)}, paired by clips, and by seeds where they are the same. "
    return text + "A row of one seed counts as if another training gave the same."


def ablation_table(evaluation: Evaluation) -> Table:
    """Return every row with its difference from the reference row, which comes first (PSLA, Table XII)."""
    reference = named_row(evaluation.rows, evaluation.ablation, "--ablation")
    others = [row for row in evaluation.rows if row.name != reference.name and row.scale == reference.scale]
    metrics = [metric for option in evaluation.metrics or ("map",) for metric in metrics_of(option)]
    columns = [(against, metric) for against in evaluation.against for metric in metrics]
    header = ["row", "seeds"]
    for against, metric in columns:
        header += [f"{metric.heading} {evaluation.word(against)}", "change"]
    lines = []
    for row in (reference, *others):
        line = [row.name, str(len(row.runs))]
        for against, metric in columns:
            change = row_difference(row, reference, against, metric.key).signed(metric.digits)
            line += [row.spread(against, metric.key).text(metric.digits), "" if row is reference else change]
        lines.append(line)
    return Table(header, lines)


def further_tables(evaluation: Evaluation) -> list[Titled]:
    """Return the tables that options request beside the table of rows."""
    word, tables = evaluation.word(evaluation.main), []
    if evaluation.resamples:
        tables.append(Titled("95 % intervals", intervals_table(evaluation), intervals_remark(evaluation), wide=True))
    if len(evaluation.scales) > 1:
        remark = f"Against the {word} labels; a clip's score is the mean over its windows of that length"
        pools_maximum = any(split_pooled(scale)[1] == MAXIMUM for scale in evaluation.scales)
        remark += ", with -max their maximum." if pools_maximum else "."
        tables.append(Titled("By length of the windows", scales_table(evaluation), remark))
    if evaluation.ablation is not None:
        remark = (
            f"Change: from {evaluation.ablation}, between runs of one seed, with its standard deviation over seeds; "
            "with fewer than two seeds in common the difference of the means, with both deviations."
        )
        tables.append(Titled(f"Ablation of {evaluation.ablation}", ablation_table(evaluation), remark))
    if (impacted := impact_table(evaluation)) is not None:
        remark = f"Relative to weak, against the {word} labels: means over classes, except mAP."
        tables.append(Titled("Impacted and other classes", impacted, remark))
    if (correlations := correlations_table(evaluation)) is not None:
        remark = f"Pearson's r over classes; AP against the {word} labels, means over seeds."
        tables.append(Titled("What a class's AP goes with", correlations, remark, "ap_counts"))
    if evaluation.betas is not None:
        sweep = evaluation.betas
        tables.append(Titled("By oversampling exponent", sweep.table(), sweep.summary(), "betas"))
    return tables


def every_metric_table(evaluation: Evaluation, against: str) -> Table:
    """Return every metric of every row against one set of labels."""
    rows = [row for row in evaluation.rows if against in row.against()]
    lines = [[row.name, *(row.spread(against, m.key).text(m.digits) for m in METRICS.values())] for row in rows]
    return Table(["row", *(metric.heading for metric in METRICS.values())], lines)


def every_class_table(evaluation: Evaluation) -> Table:
    """Return AP by class and row against the main set of labels, most frequent classes first, of the rows it holds."""
    against, rows = evaluation.main, evaluation.rows[:ROWS_BESIDE]
    n_positive = rows[0].runs[0].classes[against]["n_positive"]
    ap = {row.name: row.class_mean(against, "ap") for row in rows}
    lines = []
    for k in np.argsort(-n_positive, kind="stable").tolist():
        name, class_id = evaluation.class_names[k], evaluation.class_ids[k]
        lines.append([name, class_id, f"{int(n_positive[k]):,}", *(fraction(values[k]) for values in ap.values())])
    return Table(["class", "id", "clips", *ap], lines, n_text=2)


def every_class_remark(evaluation: Evaluation) -> str:
    """Return what the table of every class shows, and what it leaves out."""
    text = f"AP against the {evaluation.word(evaluation.main)} labels, means over seeds; clips: those with the label."
    if n_more := max(0, len(evaluation.rows) - ROWS_BESIDE):
        text += f" The first {ROWS_BESIDE} rows; {n_more} others are in per_class.csv."
    return text


def additions_table(evaluation: Evaluation) -> Table:
    """Return additions by list and type, including types that added nothing.

    Both at once only where they could: no guess of `precision:P` is of both types.
    """
    judged = any("labels_before" in judgement for judgement in evaluation.enhanced.values())
    header = ["list", "type", "added", *(["right", "missing", "precision", "recall"] if judged else [])]
    lines = []
    for name, judgement in evaluation.enhanced.items():
        by_error = judgement["by_error"]
        for error, counts in by_error.items():
            if error == "I+II" and not counts["added"] and ("free" in by_error or counts.get("missing") == 0):
                continue
            line = [name, TYPE_WORDS.get(error, error), f"{counts['added']:,}"]
            if judged:
                line += [count_range([counts[key]] if key in counts else []) for key in ("right", "missing")]
                line += [fraction(counts.get(key)) for key in ("precision", "recall")]
            lines.append(line)
    return Table(header, lines, n_text=2)


def additions_by_class(judgement: dict) -> Table:
    """Return the labels and additions of every class of an enhanced list."""
    judged = "labels_before" in judgement
    counted = {"before": "given", "added": "added"}
    if judged:
        counted = {"before": "given", "before_right": "given right", "true": "true", "added": "added"}
        counted |= {"right": "right", "missing": "missing"}
    rates = ("precision", "recall") if judged else ()
    lines = []
    for row in judgement["by_class"]:
        cells = [*(f"{row[key]:,}" for key in counted), *(fraction(row[rate]) for rate in rates)]
        lines.append([row["name"], row["class_id"], *cells])
    return Table(["class", "id", *counted.values(), *rates], lines, n_text=2)
