"""Combine several corpora in one table: each metric's mean and spread, and each row's paired gain over `weak`.

Corpora differ in difficulty more than rows do, so the gain is computed within each corpus; its spread is over corpora.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pseudolabel import layout
from pseudolabel.errors import InputError
from pseudolabel.formatting import fraction
from pseudolabel.reports.evaluation import NOISY_SET, TRUE_SET
from pseudolabel.reports.rows import STANDARD_ROWS, Spread
from pseudolabel.reports.text_tables import Table, count_range
from pseudolabel.scores.metrics import METRICS
from pseudolabel.tables import read_json

BASELINE = "weak"
FIRST_COLUMNS = ["row", "corpora", "runs"]
SHOWN = tuple(METRICS[key] for key in ("map", "d_prime"))
SHOWN_OF_MAIN = (*SHOWN, METRICS["f1_micro"])  # against the first set of labels


def read_metrics(evaluation: Path) -> dict:
    """Return metrics.json of an evaluation folder, or of the evaluation in a work folder."""
    for path in (evaluation / layout.METRICS_FILE, evaluation / layout.EVALUATION_FOLDER / layout.METRICS_FILE):
        if path.is_file():
            return read_json(path, "Evaluate again.")
    raise InputError("no metrics.json, nor evaluation/metrics.json", evaluation, "Run `evaluate` on it first.")


def common_rows(corpora: Sequence[dict]) -> list[str]:
    """Return the rows that every corpus has, in the table's order."""
    shared = set.intersection(*({row["row"] for row in corpus["rows"]} for corpus in corpora))
    if not shared:
        raise InputError("the evaluations have no row in common", "evaluate combine")
    return sorted(shared, key=lambda name: (STANDARD_ROWS.index(name) if name in STANDARD_ROWS else 99, name))


def records_of(corpora: Sequence[dict], name: str) -> list[dict]:
    """Return the record of a row in each corpus."""
    return [next(row for row in corpus["rows"] if row["row"] == name) for corpus in corpora]


def combined_table(corpora: Sequence[dict]) -> Table:
    """Return the table over corpora, of the rows and sets of labels that all of them have."""
    names, candidates = common_rows(corpora), (TRUE_SET, NOISY_SET, *corpora[0].get("sets", ()))
    sets = [name for name in candidates if all(name in row for corpus in corpora for row in corpus["rows"])]
    if not sets:
        raise InputError("the evaluations have no set of labels in common", "evaluate combine")
    columns = [(against, metric) for against in sets for metric in (SHOWN_OF_MAIN if against == sets[0] else SHOWN)]
    header = [*FIRST_COLUMNS]
    for against, metric in columns:
        word = "true" if against == TRUE_SET else against
        header.append(f"{metric.heading} {word}" if metric in SHOWN else metric.heading)
    header += [f"mAP gain over {BASELINE}"] if BASELINE in names else []
    lines = []
    for name in names:
        rows = records_of(corpora, name)
        line = [name, str(len(corpora)), str(sum(len(row["runs"]) for row in rows))]
        for against, metric in columns:
            line.append(Spread.of([row[against][metric.key]["mean"] for row in rows]).text(metric.digits))
        if BASELINE in names:
            line.append("" if name == BASELINE else _gain(rows, records_of(corpora, BASELINE), sets[0]))
        lines.append([*line, count_range([n for row in rows for n in row["n_parameters"]][:1])])
    return Table([*header, "parameters"], lines)


def _gain(rows: Sequence[dict], baseline: Sequence[dict], against: str) -> str:
    pairs = zip(rows, baseline, strict=True)
    return Spread.of([ours[against]["map"]["mean"] - theirs[against]["map"]["mean"] for ours, theirs in pairs]).signed()


def is_combined(path: Path) -> bool:
    """Return whether a file begins with a combined table in Markdown."""
    with open(path, encoding="utf-8", errors="replace") as file:
        cells = [cell.strip() for cell in file.readline(1 << 16).split("|")]
    return cells[1 : 1 + len(FIRST_COLUMNS)] == FIRST_COLUMNS and cells[-2:] == ["parameters", ""]


def additions_sentence(corpora: Sequence[dict]) -> str:
    """Return how many labels were added over all corpora, and how many of them are right; "" if none."""
    texts = []
    for name in dict.fromkeys(name for corpus in corpora for name in corpus["enhanced"]):
        lists = [corpus["enhanced"][name] for corpus in corpora if name in corpus["enhanced"]]
        if not all(judged.get("labels_after") for judged in lists):
            continue
        added = _spread(judged["added_percent"] for judged in lists)
        right, recovered = (
            _spread(judged["by_error"]["all"][key] for judged in lists) for key in ("precision", "recall")
        )
        before, after = (
            _spread(judged[key]["recall"] for judged in lists) for key in ("labels_before", "labels_after")
        )
        texts.append(
            f"{name} added {added.mean:.1f} % labels; precision {right.text()}, and {recovered.text()} of the missing "
            f"ones recovered: label recall went from {fraction(before.mean)} to {fraction(after.mean)}."
        )
    return " ".join(texts)


def _spread(values: Iterable[float | None]) -> Spread:
    """Return the spread of the values that are numbers: an enhancement that added nothing has no precision."""
    return Spread.of([value for value in values if value is not None])
