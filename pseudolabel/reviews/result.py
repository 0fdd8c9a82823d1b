"""Result of a review: the estimates as JSON and tables, the judged ledger, and a few lines that say what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.labels.ledger import SCHEMA, csv_rows
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.reviews.curve import NewThreshold, Point
from pseudolabel.reviews.items import ADDED, BY_RULE, Sample
from pseudolabel.reviews.judgements import DECISIONS, UNSURE, Judgements, agreement
from pseudolabel.reviews.precision import METHOD, Estimate, weigh
from pseudolabel.reviews.reliability import corrected, reliability
from pseudolabel.reviews.sampling import TYPES, band_names, band_numbers, cells_of

ROWS = ("part", "name", "additions", "judged", "unsure", "precision", "low", "high", "effective_n")
CURVE = ("floor", "additions", "judged", "precision", "low", "high")


def estimates(sample: Sample, judgements: Judgements, ledger: pa.Table, vocabulary: Vocabulary) -> dict:
    """Return what precision.json says: overall, by type, by score band, by class, and of the judges.

    Args:
        ledger: the one that the sample was drawn from.
    """
    decisions = judgements.combined()
    weighed = weigh(sample, decisions)
    unsure = [item for item in sample.additions if decisions.get(item.item) == UNSURE]
    cells, known = cells_of(ledger, sample.bands), [item for item in sample.additions if item.item in decisions]
    found = weighed.estimate()
    bounds = {f"if_unsure_{side}": weigh(sample, decisions, side).estimate().precision for side in ("wrong", "right")}
    overall = {"additions": len(ledger), **_figures(found, len(unsure)), **bounds, "method": METHOD}
    measured = reliability(sample, decisions)
    if measured:
        overall["corrected"] = corrected(found, measured)

    def parts(key: str, value_of, sizes: Mapping[str, int]) -> list[dict]:
        of_weighed, of_unsure = (np.array([value_of(item) for item in part]) for part in (weighed.items, unsure))
        shown = {value_of(item) for item in known} if key == "class_id" else sizes
        rows = []
        for name in (name for name in sizes if name in shown):
            estimate = weighed.estimate(of_weighed == name)
            rows.append({key: name, "additions": sizes[name], **_figures(estimate, int((of_unsure == name).sum()))})
        return rows

    names, bands = band_names(sample.bands), dict(zip(sample.additions, _bands(sample), strict=True))
    by_class = parts("class_id", lambda item: item.class_id, _sizes(cells.class_of, cells.class_ids))
    for row in by_class:
        row["name"] = vocabulary.names[vocabulary.index[row["class_id"]]]
    by_class.sort(key=lambda row: vocabulary.index[row["class_id"]])
    return {
        "page": sample.page,
        "blind": sample.blind,
        "ledger_sha256": sample.ledger_sha256,
        "overall": overall,
        "by_error": parts("error", lambda item: item.error, _sizes(cells.type_of, TYPES)),
        "by_band": parts("band", bands.get, _sizes(cells.band_of, names)),
        "by_class": by_class,
        "judges": {
            "reliability": measured,
            "each": [_judge(name, sample, given) for name, given in judgements.by_judge.items()],
            "agreement": agreement(judgements),
        },
    }


def _bands(sample: Sample) -> list[str]:
    scores = np.array([np.nan if item.score is None else item.score for item in sample.additions])
    return [band_names(sample.bands)[number] for number in band_numbers(scores, sample.bands).tolist()]


def _sizes(numbers: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    """Return {name: additions} of the parts that have any."""
    counts = np.bincount(numbers, minlength=len(names)).tolist()
    return {name: count for name, count in zip(names, counts, strict=True) if count}


def _figures(estimate: Estimate, n_unsure: int) -> dict:
    effective_n = None if np.isinf(estimate.effective_n) else estimate.effective_n  # None: all additions were judged
    figures = {"precision": estimate.precision, "low": estimate.low, "high": estimate.high}
    return figures | {"judged": estimate.judged, "unsure": n_unsure, "effective_n": effective_n}


def _judge(name: str, sample: Sample, decisions: Mapping[str, str]) -> dict:
    """Return how a judge decided, how precise the additions are in this judge's eyes, and how reliable these are."""
    of_additions = {item.item: decisions[item.item] for item in sample.additions if item.item in decisions}
    counts = {decision: list(of_additions.values()).count(decision) for decision in DECISIONS}
    decided = counts["right"] + counts["wrong"]
    estimate = weigh(sample, decisions).estimate() if decided else Estimate(None, 0.0, 1.0, 0, 0.0)
    figures = _figures(estimate, counts[UNSURE])
    return {"judge": name, **counts, **figures, "reliability": reliability(sample, decisions)}


def write_result(
    folder: Path,
    found: Mapping,
    ledger: pa.Table,
    decided: Mapping[tuple[str, str], str],
    curve: Sequence[Point],
    new: Mapping[str, NewThreshold] | None,
    names: Mapping[str, str],
) -> None:
    """Write precision.json, precision.csv, curve.csv and .png, reviewed.csv and, where asked for, thresholds.csv."""
    write_json(folder / "precision.json", found)
    parts = [("overall", "all", found["overall"])]
    for part, key in (("by_error", "error"), ("by_band", "band"), ("by_class", "class_id")):
        parts += [(key, row[key], row) for row in found[part]]
    rows = [(part, name, *(_text(row[column]) for column in ROWS[2:])) for part, name, row in parts]
    write_csv(folder / "precision.csv", ROWS, rows)
    rows = [
        (_text(point.floor), point.additions, point.estimate.judged,
         *map(_text, (point.estimate.precision, point.estimate.low, point.estimate.high)))
        for point in curve
    ]  # fmt: skip
    write_csv(folder / "curve.csv", CURVE, rows)
    if curve:
        from pseudolabel.reviews.curve_figure import curve_figure

        (folder / "curve.png").write_bytes(curve_figure(curve).png)
    write_reviewed(folder / "reviewed.csv", ledger, decided)
    if new is not None:
        rows = [(class_id, names[class_id], _text(row.threshold), row.rule) for class_id, row in new.items()]
        write_csv(folder / "thresholds.csv", ("class_id", "name", "threshold", "rule"), rows)


def write_reviewed(path: Path, ledger: pa.Table, decided: Mapping[tuple[str, str], str]) -> None:
    """Write the ledger with the further column `decision`, empty where nobody decided: what `enhance --apply` takes."""
    ledger = ledger.select([field.name for field in SCHEMA if field.name in ledger.column_names])
    pairs = zip(ledger["clip_id"].to_pylist(), ledger["class_id"].to_pylist(), strict=True)
    rows = ((*row, decided.get(pair, "")) for row, pair in zip(csv_rows(ledger), pairs, strict=True))
    write_csv(path, (*ledger.column_names, "decision"), rows)


def decided_additions(sample: Sample, judgements: Judgements) -> dict[tuple[str, str], str]:
    """Return {(clip id, class id): decision} of the judged additions."""
    decisions = judgements.combined()
    return {
        (item.clip_id, item.class_id): decisions[item.item]
        for item in sample.items
        if item.kind == ADDED and item.item in decisions
    }


def result_lines(found: Mapping) -> list[str]:
    """Return what the verb says."""
    overall = found["overall"]
    lines = [f"precision of {overall['additions']:,} additions: {_said(overall)}"]
    if overall["unsure"]:
        lines.append(
            f"  unsure: {overall['unsure']}, left out; {overall['if_unsure_wrong']:.3f} if all were wrong, "
            f"{overall['if_unsure_right']:.3f} if all were right"
        )
    for part, key in (("by_error", "error"), ("by_band", "band")):
        for row in found[part]:
            what = "type" if key == "error" else "score" if row[key] != BY_RULE else "added"
            lines.append(f"  {what} {row[key]}: {_said(row)} of {row['additions']:,}")
    measured = found["judges"]["reliability"]
    if measured:
        for name, row in measured.items():
            share = (
                "not judged" if row["share"] is None else f"{row['share']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            )
            lines.append(f"  judge's {name.replace('_', ' ')}: {share}, {row['judged']} decoys")
        fixed = overall["corrected"]
        if fixed:
            lines.append(f"  corrected by it: {fixed['precision']:.3f} [{fixed['low']:.3f}, {fixed['high']:.3f}]")
    for row in found["judges"]["agreement"]:
        kappa = "undefined" if row["kappa"] is None else f"{row['kappa']:.3f}"
        lines.append(f"  {' and '.join(row['judges'])}: {row['items']} items in common, kappa {kappa}")
    return lines


def _said(row: Mapping) -> str:
    if row["precision"] is None:
        return "none judged"
    return f"{row['precision']:.3f} [{row['low']:.3f}, {row['high']:.3f}], {row['judged']} judged"


def _text(value: float | int | None) -> str:
    return "" if value is None else f"{value:.17g}" if isinstance(value, float) else str(value)
