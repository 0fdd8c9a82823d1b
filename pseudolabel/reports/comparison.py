"""What the report's script compares: AP of every class, by set of labels and row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pseudolabel.reports.evaluation import Evaluation
from pseudolabel.reports.result_tables import reference_row
from pseudolabel.reports.results import leading_row
from pseudolabel.reports.rows import Row

STEPS = 10_000  # AP is held in whole ten-thousandths
NUMBERS_HELD = 400_000  # of AP on one page: 2 MB


def compared(evaluation: Evaluation) -> dict[str, object]:
    """Return `classes`, their name and id; `sets`, with the AP of every class by row; `chosen`, the first two rows.

    Each of `sets` has its `word`, the `clips` with each class, and `rows` with AP in ten-thousandths, null for none.
    """
    leading = leading_row(evaluation)
    other = reference_row(evaluation, leading) or next(row for row in evaluation.rows if row is not leading)
    chosen = [other.name, leading.name]
    held = sorted((row.name for row in evaluation.rows), key=lambda name: name not in chosen)[: n_rows_held(evaluation)]
    rows = [row for row in evaluation.rows if row.name in held]
    classes = [list(pair) for pair in zip(evaluation.class_names, evaluation.class_ids, strict=True)]
    sets = [_compared_set(rows, against, evaluation.word(against)) for against in evaluation.measured_against]
    return {"classes": classes, "sets": sets, "steps": STEPS, "chosen": chosen}


def n_rows_held(evaluation: Evaluation) -> int:
    """Return how many rows can be compared on the page."""
    n_each = len(evaluation.class_ids) * len(evaluation.measured_against)
    return min(len(evaluation.rows), max(2, NUMBERS_HELD // n_each))


def comparison_remark(evaluation: Evaluation) -> str:
    """Return what can be compared, and where the rest is."""
    n_held, text = n_rows_held(evaluation), "AP of each class, means over seeds; all numbers are in per_class.csv."
    if n_held < len(evaluation.rows):
        text = f"AP of each class, means over seeds. {n_held} rows can be compared here; all are in per_class.csv."
    return text


def _compared_set(rows: Sequence[Row], against: str, word: str) -> dict[str, object]:
    measured = [row for row in rows if against in row.against()]
    return {
        "word": word,
        "clips": measured[0].runs[0].classes[against]["n_positive"].astype(int).tolist(),
        "rows": [[row.name, _steps(row.class_mean(against, "ap"))] for row in measured],
    }


def _steps(values: np.ndarray) -> list[int | None]:
    return [None if np.isnan(value) else round(value * STEPS) for value in values.tolist()]
