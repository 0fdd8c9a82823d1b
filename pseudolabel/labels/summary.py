"""Summary: how much was added, as in PSLA's Table VIII, and for several thresholds side by side as in Table IX."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pseudolabel.labels.additions import TYPE_BITS, Additions
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.outside import outside_lines
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.labels.thresholds import PositiveScores

SWEEP_HEADER = ("threshold", "type", "labels_before", "labels_added", "added_percent", "classes_touched")
TOGETHER = "together"
MANY_PERCENT = 200  # of the labels before; PSLA's lowest threshold added 112 (Table IX, full set)


def figures(by_class: np.ndarray, n_before: int) -> dict:
    """Return how many classes and labels additions counted by class, (K,), are; percent of `n_before` labels."""
    n_added = int(by_class.sum())
    percent = round(100 * n_added / n_before, 4) if n_before else None
    return {"classes_touched": int((by_class > 0).sum()), "labels_added": n_added, "added_percent": percent}


@dataclass(eq=False)
class Tally:
    """Additions counted block by block: what is known of them before they are written.

    Args:
        by_class: (4, K) int64, by the sum of TYPE_BITS and by class. by_round: (R,) int64.
        n_clips: clips that get a label.
        n_by_rule: additions without a score.
        fullest, most: the block of clips with most additions, first row and end, and how many these are.
    """

    by_class: np.ndarray
    by_round: np.ndarray
    n_clips: int = 0
    n_by_rule: int = 0
    fullest: tuple[int, int] = (0, 0)
    most: int = -1

    @classmethod
    def of(cls, n_classes: int) -> Tally:
        """Return the tally of nothing."""
        return cls(np.zeros((1 + sum(TYPE_BITS.values()), n_classes), np.int64), np.zeros(1, np.int64))

    def count(self, added: Additions, block: tuple[int, int], by_rule: tuple[str, ...] = ()) -> None:
        """Count the additions of a block of clips."""
        if len(added) > self.most:
            self.fullest, self.most = block, len(added)
        n_types, n_classes = self.by_class.shape
        cells = np.bincount(added.types.astype(np.int64) * n_classes + added.classes, minlength=n_types * n_classes)
        self.by_class += cells.reshape(n_types, n_classes)
        of_block = np.bincount(added.rounds, minlength=2)[1:]
        longest = max(len(of_block), len(self.by_round))
        self.by_round = sum(np.pad(counts, (0, longest - len(counts))) for counts in (self.by_round, of_block))
        self.n_clips += int(np.count_nonzero(np.diff(added.clips, prepend=-1)))
        self.n_by_rule += int(added.of_type(by_rule).sum())

    def of_type(self, bits: int) -> np.ndarray:
        """Return the additions of any of these types by class, (K,)."""
        return self.by_class[(np.arange(len(self.by_class)) & bits) > 0].sum(axis=0)

    def __len__(self) -> int:
        return int(self.by_class.sum())


def summarise(
    evidence: Evidence,
    positives: PositiveScores,
    thresholds: np.ndarray,
    tally: Tally,
    options: EnhanceOptions,
    ontology: dict,
) -> dict:
    """Return what summary.json says: PSLA's Table VIII (classes touched, labels added), by type and by class.

    `ontology` are the figures of what lies outside the vocabulary (outside.py). `threshold` and `evidence` are None
    where there were no scores.
    """
    labels = evidence.labels
    vocabulary, n_before = labels.vocabulary, labels.matrix.nnz
    before = np.bincount(labels.matrix.indices, minlength=len(vocabulary))
    by_type = {error: tally.of_type(TYPE_BITS[error]) for error in options.errors}
    every = tally.by_class.sum(axis=0)
    reasons = positives.why_none(thresholds, options.threshold, options.min_positives)
    scored_positives = positives.counts
    has_scores = bool(positives.scored.any())
    return {
        "threshold": options.name if has_scores else None,
        "errors": list(options.errors),
        "adds": {error: options.meaning[error] for error in options.errors},
        "min_positives": options.min_positives,
        "floor": options.floor,
        "rounds": options.rounds,
        "evidence": options.evidence if has_scores else None,
        "profile": options.profile,
        "clips": len(labels),
        "clips_changed": tally.n_clips,
        "clips_without_scores": len(evidence.missing),
        "clips_under_another_id": len(evidence.aliases),
        "labels_before": n_before,
        "labels_after": n_before + len(tally),
        "added": figures(every, n_before),
        "added_by_type": {error: figures(by_class, n_before) for error, by_class in by_type.items()},
        "added_by_both_types": int(tally.by_class[sum(TYPE_BITS.values())].sum()),
        "added_by_round": tally.by_round.tolist(),
        "warnings": _warnings(len(tally) - tally.n_by_rule, n_before),
        "ontology": ontology,
        "classes_without_threshold": [
            {"class_id": vocabulary.class_ids[k], "name": vocabulary.names[k], "reason": reason}
            for k, reason in reasons.items()
        ],
        "by_class": [
            {
                "class_id": vocabulary.class_ids[k],
                "name": vocabulary.names[k],
                "before": int(before[k]),
                "added": int(every[k]),
                **{f"added_{error}": int(by_class[k]) for error, by_class in by_type.items()},
                "scored_positives": int(scored_positives[k]),
                "threshold": None if np.isnan(thresholds[k]) else float(thresholds[k]),
            }
            for k in range(len(vocabulary))
        ],
    }


def _warnings(n_by_score: int, n_before: int) -> list[str]:
    """Return a line where so much was added by score that the scores are suspect."""
    if n_by_score * 100 <= MANY_PERCENT * n_before:
        return []
    return [
        f"added by score: {100 * n_by_score / n_before:,.0f} % of the labels before. "
        "Do the scores tell the classes apart? "
        "A higher --threshold or --floor, --type1 children or fewer --rounds add less."
    ]


def summary_lines(summary: dict, folder: Path | str) -> list[str]:
    """Return what the terminal shows at the end, about ten lines; `folder` is where the files are, or a word."""

    def shown(counts: dict) -> str:
        percent = "" if counts["added_percent"] is None else f"  (+{counts['added_percent']:.1f} %)"
        return f"{counts['labels_added']:>10,} added to {counts['classes_touched']} classes{percent}"

    threshold = "by rule, without scores" if summary["evidence"] is None else f"threshold {summary['threshold']}"
    lines = [
        f"{folder}: {threshold}, {summary['clips']:,} clips, {len(summary['by_class'])} classes",
        f"  labels       {summary['labels_before']:>10,} before, {summary['labels_after']:,} after, "
        f"{summary['clips_changed']:,} clips changed",
    ]
    for error, counts in summary["added_by_type"].items():
        lines.append(f"  type {error:<7} {shown(counts)}: missing {summary['adds'][error]}")
    if len(summary["added_by_type"]) > 1:
        both = summary["added_by_both_types"]
        lines.append(f"  together     {shown(summary['added'])}; {both:,} proposed by both types")
    if len(summary["added_by_round"]) > 1:
        lines.append(f"  by round     {', '.join(f'{n:,}' for n in summary['added_by_round'])}")
    most = sorted(summary["by_class"], key=lambda row: -row["added"])[:5]
    named = "; ".join(f"{row['name']} {row['added']:,}" for row in most if row["added"])
    lines.append(f"  most added   {named or 'nothing'}")
    lines += outside_lines(summary["ontology"])
    without = summary["classes_without_threshold"]
    if without and summary["evidence"] is not None:
        names = "; ".join(row["name"] for row in without[:3]) + "; ..." * (len(without) > 3)
        lines.append(f"  no threshold for {len(without)} classes (thresholds.csv says why): {names}")
    n_missing = summary["clips_without_scores"]
    if n_missing:
        by_rule = " but for those added by rule" if "by rule" in summary["adds"].get("II", "") else ""
        lines.append(f"  no scores    for {n_missing:,} clips: they keep their labels{by_rule} (missing.csv)")
    lines += [f"  warning      {warning}" for warning in summary["warnings"]]
    if isinstance(folder, Path):
        lines.append(f"  every added label and why: {folder / 'ledger.csv.gz'}, ledger.parquet")
    return lines


def sweep_rows(name: str, counts: dict[str, np.ndarray], n_before: int) -> list[dict]:
    """Return one row a type and one for both together; `counts` are additions by class, (K,), under these names."""
    rows = []
    for kind, by_class in counts.items():
        row = {"threshold": name, "type": kind, "labels_before": n_before, **figures(by_class, n_before)}
        rows.append({column: row[column] for column in SWEEP_HEADER})
    return rows


def sweep_lines(rows: Iterable[dict]) -> list[str]:
    """Return the sweep as a table: a line a threshold, labels added in percent by type."""
    added: dict[str, dict[str, dict]] = {}
    for row in rows:
        added.setdefault(row["threshold"], {})[row["type"]] = row
    kinds = list(next(iter(added.values())))
    titles = [kind if kind == TOGETHER else f"type {kind}" for kind in kinds]
    lines = ["labels added, %  " + "".join(f"{title:>12}" for title in titles) + "      labels     classes"]
    for name, by_kind in added.items():
        percents = [by_kind[kind]["added_percent"] for kind in kinds]
        cells = "".join(f"{'-' if percent is None else f'{percent:.1f}':>12}" for percent in percents)
        total = by_kind[TOGETHER]
        lines.append(f"  {name:<15}{cells}{total['labels_added']:>12,}{total['classes_touched']:>12,}")
    return lines
