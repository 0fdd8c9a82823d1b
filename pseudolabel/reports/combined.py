"""Several corpora in one table: each figure's mean over them, its spread, and each row's gain over `weak`, paired.

Corpora differ in difficulty more than rows do, so the gain is taken within each corpus and its spread over corpora.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pseudolabel.errors import InputError
from pseudolabel.reports.rows import STANDARD_ROWS, Spread
from pseudolabel.reports.tables import Table, count, fraction, spread_text

BASELINE = "weak"
FIGURES = (("map", 3), ("d_prime", 2), ("f1_micro", 3))


def read_metrics(evaluation: Path) -> dict:
    """Return metrics.json of an evaluation folder, or of the work folder that holds one."""
    for path in (evaluation / "metrics.json", evaluation / "evaluation" / "metrics.json"):
        if path.is_file():
            try:
                return json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise InputError(f"not JSON ({error})", path, "Evaluate again.") from error
    raise InputError("no metrics.json, nor evaluation/metrics.json", evaluation, "Run `evaluate` on it first.")


def common_rows(corpora: Sequence[dict]) -> list[str]:
    """Return the rows that every corpus has, in the table's order."""
    names = [{row["row"] for row in corpus["rows"]} for corpus in corpora]
    shared = set.intersection(*names)
    if not shared:
        raise InputError("the evaluations have no row in common", "--combine")
    return sorted(shared, key=lambda name: (STANDARD_ROWS.index(name) if name in STANDARD_ROWS else 99, name))


def figures_of(corpora: Sequence[dict], name: str) -> list[dict]:
    """Return the record of a row in each corpus."""
    return [next(row for row in corpus["rows"] if row["row"] == name) for corpus in corpora]


def combined_table(corpora: Sequence[dict]) -> Table:
    """Return the table over corpora: rows that all of them have."""
    names, known = common_rows(corpora), ("truth", "noisy", *corpora[0].get("sets", ()))
    references = [name for name in known if all(name in row for c in corpora for row in c["rows"])]
    if not references:
        raise InputError("the evaluations have no set of labels in common", "--combine")
    header = ["row", "corpora", "runs"]
    for reference in references:
        word = "true" if reference == "truth" else reference
        header += [f"mAP {word}", f"d' {word}"] + (["F1 micro"] if reference == references[0] else [])
    header += [f"mAP gain over {BASELINE}"] if BASELINE in names else []
    lines = []
    for name in names:
        rows = figures_of(corpora, name)
        line = [name, str(len(corpora)), str(sum(len(row["runs"]) for row in rows))]
        for reference in references:
            for figure, digits in FIGURES if reference == references[0] else FIGURES[:2]:
                line.append(spread_text(Spread.of([row[reference][figure]["mean"] for row in rows]), digits))
        if BASELINE in names:
            line.append("" if name == BASELINE else _gain(rows, figures_of(corpora, BASELINE), references[0]))
        lines.append([*line, count([n for row in rows for n in row["n_parameters"]][:1])])
    return [*header, "parameters"], lines


def _gain(rows: Sequence[dict], baseline: Sequence[dict], reference: str) -> str:
    pairs = zip(rows, baseline, strict=True)
    spread = Spread.of([ours[reference]["map"]["mean"] - theirs[reference]["map"]["mean"] for ours, theirs in pairs])
    return ("+" if spread.mean >= 0 else "") + spread_text(spread)


def additions_sentence(corpora: Sequence[dict]) -> str:
    """Return how many labels were added and how many of them are right, over all corpora, or an empty string."""
    texts = []
    for name in {name: None for corpus in corpora for name in corpus["enhanced"]}:
        lists = [corpus["enhanced"][name] for corpus in corpora if name in corpus["enhanced"]]
        if not all(entry.get("labels_after") for entry in lists):
            continue
        added = _spread(entry["added_percent"] for entry in lists)
        right, found = (_spread(entry["by_error"]["all"][name] for entry in lists) for name in ("precision", "recall"))
        before, after = (_spread(entry[key]["recall"] for entry in lists) for key in ("labels_before", "labels_after"))
        texts.append(
            f"{name} added {added.mean:.1f} % labels; precision {spread_text(right)}, and {spread_text(found)} of the "
            f"missing ones found: label recall went from {fraction(before.mean)} to {fraction(after.mean)}."
        )
    return " ".join(texts)


def _spread(values: Iterable[float | None]) -> Spread:
    """Return the spread of what is known: an enhancement that added nothing has no precision."""
    return Spread.of([value for value in values if value is not None])
