"""Tables of rows: every metric asked for, the lengths of the pieces that were scored, what each ablation costs."""

from __future__ import annotations

import math

from pseudolabel.reports.evaluation import METRICS, Evaluation, labels_word, named_row
from pseudolabel.reports.rows import Row, Spread
from pseudolabel.reports.tables import Table, count, signed, spread_text

BETAS_HEADING = "By oversampling exponent"


def rows_table(evaluation: Evaluation) -> Table:
    """Return the table of rows: the metrics against each set of labels, and the cost."""
    columns = evaluation.columns()
    lines = []
    for row in evaluation.rows:
        line = [row.name, str(len(row.runs))]
        line += [spread_text(row.spread(against, key), digits) for against, key, _, digits in columns]
        seconds = row.known("train_seconds")
        line += [count(row.known("n_train_clips")), count(row.known("n_parameters"))]
        lines.append([*line, f"{sum(seconds) / len(seconds):,.0f}" if seconds else "-"])
    return ["row", "seeds", *(heading for _, _, heading, _ in columns), "clips", "parameters", "seconds"], lines


def scales_table(evaluation: Evaluation) -> Table:
    """Return mAP and d' of every row with a column for each scale, against the main set of labels.

    A clip's answer at a scale is the mean over its windows (PSL, evaluated on 10, 5 and 2 s).
    """
    by_base: dict[str, dict[str, Row]] = {}
    for row in evaluation.rows:
        by_base.setdefault(row.base, {})[row.scale] = row
    shown = [METRICS["map"][0], METRICS["d-prime"][0]]
    header = ["row", *(f"{heading} {scale}" for _, heading, _ in shown for scale in evaluation.scales)]
    lines = []
    for base, rows in by_base.items():
        line = [base]
        for key, _, digits in shown:
            for scale in evaluation.scales:
                spread = rows[scale].spread(evaluation.main, key) if scale in rows else Spread.of([])
                line.append(spread_text(spread, digits))
        lines.append(line)
    return header, lines


def difference(row: Row, reference: Row, against: str, key: str) -> Spread:
    """Return the row's metric minus the reference's: mean and spread of the differences between runs of one seed.

    With fewer than two seeds in common it is the difference of the means, with the spread of both.
    """
    ours, theirs = ({run.seed: run.metrics[against][key] for run in one.runs if run.seed is not None and
                     against in run.metrics} for one in (row, reference))  # fmt: skip
    common = [seed for seed in ours if seed in theirs]
    if len(common) > 1:
        return Spread.of([ours[seed] - theirs[seed] for seed in common])
    one, other = row.spread(against, key), reference.spread(against, key)
    sd = None if one.sd is None or other.sd is None else math.hypot(one.sd, other.sd)
    return Spread(one.mean - other.mean, sd, len(common))


def ablation_table(evaluation: Evaluation) -> Table:
    """Return every row with its difference to the reference row, which comes first (PSLA, Table XII)."""
    reference = named_row(evaluation.rows, evaluation.ablation, "--ablation")
    others = [row for row in evaluation.rows if row.name != reference.name and row.scale == reference.scale]
    metrics = evaluation.metrics or ("map",)
    columns = [(against, *part) for against in evaluation.against for name in metrics for part in METRICS[name]]
    header = ["row", "seeds"]
    for against, _, heading, _ in columns:
        header += [f"{heading} {labels_word(evaluation, against)}", "change"]
    lines = []
    for row in (reference, *others):
        line = [row.name, str(len(row.runs))]
        for against, key, _, digits in columns:
            change = "" if row is reference else signed(difference(row, reference, against, key), digits)
            line += [spread_text(row.spread(against, key), digits), change]
        lines.append(line)
    return header, lines


def further_tables(evaluation: Evaluation) -> list[tuple[str, Table, str]]:
    """Return (heading, table, remark) of what was asked for beside the table of rows."""
    word, found = labels_word(evaluation, evaluation.main), []
    if len(evaluation.scales) > 1:
        remark = f"Against the {word} labels; a clip's answer is the mean over its windows of that length."
        found.append(("By length of the pieces", scales_table(evaluation), remark))
    if evaluation.ablation is not None:
        remark = (
            f"Change: from {evaluation.ablation}, taken between runs of one seed, with its standard deviation over "
            "seeds; with fewer than two seeds in common the difference of the means, with both deviations."
        )
        found.append((f"Ablation of {evaluation.ablation}", ablation_table(evaluation), remark))
    if evaluation.betas is not None:
        found += [(BETAS_HEADING, evaluation.betas.table(), evaluation.betas.words())]
    return found
