"""Summarise what was added, as in PSLA's Table VIII, and compare thresholds side by side, as in Table IX."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pseudolabel.formatting import percent
from pseudolabel.labels.additions import BOTH, TYPE_BITS, Additions, type_bits
from pseudolabel.labels.outside import first_names, outside_lines
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.labels.search import Search
from pseudolabel.labels.thresholds import NOT_FOR_LACK_OF_CLIPS, PositiveScores

SWEEP_HEADER = ("threshold", "type", "labels_before", "labels_added", "added_percent", "classes_touched")
TOGETHER = "together"
MANY_PERCENT = 200  # percent of the labels before; PSLA's lowest threshold added 112 % (Table IX, full set)


def figures(by_class: np.ndarray, n_before: int) -> dict:
    """Return the number of classes and labels added, from counts by class (K,), and the percentage of `n_before`."""
    n_added = int(by_class.sum())
    added_percent = round(100 * n_added / n_before, 4) if n_before else None
    return {"classes_touched": int((by_class > 0).sum()), "labels_added": n_added, "added_percent": added_percent}


@dataclass(eq=False)
class Tally:
    """Counts of additions, block by block: everything needed before they are written.

    Args:
        by_class: (8, K) int64, by sum of TYPE_BITS and by class.
        by_round: (R,) int64.
        n_clips: clips that get a label.
        n_by_rule: additions made without a score.
        fullest, most: the block with the most additions, as (start, stop) rows, and their number.
    """

    by_class: np.ndarray
    by_round: np.ndarray
    n_clips: int = 0
    n_by_rule: int = 0
    fullest: tuple[int, int] = (0, 0)
    most: int = -1

    @classmethod
    def of(cls, n_classes: int) -> Tally:
        """Return an empty tally."""
        return cls(np.zeros((1 + sum(TYPE_BITS.values()), n_classes), np.int64), np.zeros(1, np.int64))

    def count(self, added: Additions, block: tuple[int, int], by_rule: tuple[str, ...] = ()) -> None:
        """Count the additions of a block of clips."""
        if len(added) > self.most:
            self.fullest, self.most = block, len(added)
        np.add.at(self.by_class, (added.types, added.classes), 1)
        of_block = np.bincount(added.rounds, minlength=2)[1:]
        longest = max(len(of_block), len(self.by_round))
        self.by_round = sum(np.pad(counts, (0, longest - len(counts))) for counts in (self.by_round, of_block))
        self.n_clips += int(np.count_nonzero(np.diff(added.clips, prepend=-1)))
        self.n_by_rule += int(added.of_type(by_rule).sum())

    def of_type(self, *errors: str) -> np.ndarray:
        """Return the number of additions of any of these types by class, (K,)."""
        return self.by_class[(np.arange(len(self.by_class)) & type_bits(errors)) > 0].sum(axis=0)

    def __len__(self) -> int:
        return int(self.by_class.sum())


def summarise(search: Search, positives: PositiveScores, tally: Tally, options: EnhanceOptions, ontology: dict) -> dict:
    """Return the content of summary.json: PSLA's Table VIII (classes touched, labels added), by type and by class.

    `ontology` has the figures about nodes outside the vocabulary (outside.py). `threshold` and `evidence` are None if
    there were no scores. `guesses` is of rules that estimate probabilities.
    """
    evidence, guesses = search.evidence, search.rule.facts()
    n_before, has_scores = evidence.labels.matrix.nnz, bool(positives.scored.any())
    by_type = {error: figures(tally.of_type(error), n_before) for error in options.errors}
    return {
        "threshold": options.name if has_scores else None,
        "errors": list(options.errors),
        "adds": {error: options.meaning[error] for error in options.errors},
        "min_positives": options.min_positives,
        "fallback_threshold": options.fallback_threshold,
        "floor": options.floor,
        "rounds": options.rounds,
        "evidence": options.evidence if has_scores else None,
        "profile": options.profile,
        "clips": len(evidence.labels),
        "clips_changed": tally.n_clips,
        "clips_without_scores": len(evidence.missing),
        "clips_under_another_id": len(evidence.aliases),
        "labels_before": n_before,
        "labels_after": n_before + len(tally),
        "added": figures(tally.of_type(*TYPE_BITS), n_before),
        "added_by_type": by_type,
        "added_by_both_types": int(tally.by_class[type_bits(BOTH)].sum()),
        "added_by_round": tally.by_round.tolist(),
        **({"guesses": guesses} if guesses else {}),
        "warnings": [
            *(guesses["warnings"] if guesses else ()),
            *_warnings(len(tally) - tally.n_by_rule, n_before, guesses),
        ],
        "ontology": ontology,
        **_class_rows(search, positives, tally, options),
    }


def _class_rows(
    search: Search, positives: PositiveScores, tally: Tally, options: EnhanceOptions
) -> dict[str, list[dict]]:
    """Return the classes that nothing is added to, and why, and the counts of each class."""
    evidence, thresholds, reasons = search.evidence, search.rule.thresholds, search.rule.without
    vocabulary, more = evidence.labels.vocabulary, search.rule.class_facts()
    named = [{"class_id": k, "name": name} for k, name in zip(vocabulary.class_ids, vocabulary.names, strict=True)]
    counts = {
        "before": np.bincount(evidence.labels.matrix.indices, minlength=len(vocabulary)),
        "added": tally.of_type(*TYPE_BITS),
        **{f"added_{error}": tally.of_type(error) for error in options.errors},
        "scored_positives": positives.counts,
    }
    rows = [
        {
            **names,
            **{name: int(by_class[k]) for name, by_class in counts.items()},
            "threshold": None if np.isnan(thresholds[k]) else float(thresholds[k]),
            **(more[k] if more else {}),
        }
        for k, names in enumerate(named)
    ]
    without = [{**named[k], "reason": reason} for k, reason in reasons.items()]
    given = np.flatnonzero(positives.without_enough(options.min_positives) & ~np.isnan(thresholds)).tolist()
    fallback = [] if options.fallback_threshold is None else [named[k] for k in given]
    return {"classes_without_threshold": without, "classes_with_fallback_threshold": fallback, "by_class": rows}


def _warnings(n_by_score: int, n_before: int, guesses: dict) -> list[str]:
    """Return a warning if so much was added by score that the scores are suspect."""
    if n_by_score * 100 <= MANY_PERCENT * n_before:
        return []
    remedy = "A higher --threshold or --floor, --type1 children or fewer --rounds add less."
    if guesses:
        judge = "" if guesses["judged"] else ", or judge 100 guesses (`review`) and give --judgements"
        remedy = f"Ask for a higher precision{judge}."
    return [
        f"added by score: {100 * n_by_score / n_before:,.0f} % of the labels before. "
        f"Do the scores tell the classes apart? {remedy}"
    ]


def summary_lines(summary: dict, folder: Path | str) -> list[str]:
    """Return the final terminal output, about ten lines; `folder` is the output folder, or a word if there is none."""
    has_scores, added_by_type = summary["evidence"] is not None, summary["added_by_type"]
    lines = [
        f"{folder}: {_rule_words(summary)}, {summary['clips']:,} clips, {len(summary['by_class'])} classes",
        *_guess_lines(summary),
        f"  labels       {summary['labels_before']:>10,} before, {summary['labels_after']:,} after, "
        f"{summary['clips_changed']:,} clips changed",
    ]
    for error, counts in added_by_type.items():
        lines.append(f"  type {error:<7} {_shown(counts)}: missing {summary['adds'][error]}")
    if len(added_by_type) > 1 and "guesses" not in summary:
        both = summary["added_by_both_types"]
        lines.append(f"  together     {_shown(summary['added'])}; {both:,} proposed by both types")
    if len(summary["added_by_round"]) > 1 and "guesses" not in summary:
        lines.append(f"  by round     {', '.join(f'{n:,}' for n in summary['added_by_round'])}")
    most = sorted(summary["by_class"], key=lambda row: -row["added"])[:5]
    named = "; ".join(f"{row['name']} {row['added']:,}" for row in most if row["added"])
    lines.append(f"  most added   {named or 'nothing'}")
    lines += outside_lines(summary["ontology"])
    without = [row["name"] for row in summary["classes_without_threshold"]]
    if has_scores and without and "guesses" not in summary:
        lines.append(f"  no threshold for {len(without)} classes (thresholds.csv says why): {first_names(without)}")
    few = [row["name"] for row in summary["classes_without_threshold"] if row["reason"] not in NOT_FOR_LACK_OF_CLIPS]
    if has_scores and few and "guesses" not in summary and summary["profile"] != "psla":
        n_few = "1 of them has" if len(few) == 1 else f"{len(few)} of them have"
        lines.append(f"               {n_few} too few labelled clips: --fallback-threshold P gives such classes P")
    if fallback := [row["name"] for row in summary["classes_with_fallback_threshold"]]:
        value = f"{summary['fallback_threshold']:g}"
        lines.append(f"  threshold    {value} for {len(fallback)} classes with too few clips: {first_names(fallback)}")
    if n_missing := summary["clips_without_scores"]:
        by_rule = " but for those added by rule" if "by rule" in summary["adds"].get("II", "") else ""
        lines.append(f"  no scores    for {n_missing:,} clips: they keep their labels{by_rule} (missing.csv)")
    lines += [f"  warning      {warning}" for warning in summary["warnings"]]
    if isinstance(folder, Path):
        lines.append(f"  every added label and why: {folder / 'ledger.csv.gz'}, ledger.parquet")
    return lines


def _rule_words(summary: dict) -> str:
    if summary["evidence"] is None:
        return "by rule, without scores"
    return summary["threshold"] if "guesses" in summary else f"threshold {summary['threshold']}"


def _guess_lines(summary: dict) -> list[str]:
    """Return what is said of guesses: how many, how many of them should be right, what is left out."""
    if (guesses := summary.get("guesses")) is None:
        return []
    expected = _right(guesses)
    if expected and guesses["looks_complete"]:
        expected += ", if labels are missing; but the list looks complete"
    lines = [f"  guesses      {guesses['labels_added']:>10,} added to {guesses['classes_touched']} classes{expected}"]
    if len(guesses["by_type"]) > 1:
        lines += [
            f"    {'with' if error == 'I' else 'without':<7} parent {of['labels_added']:>9,}{_right(of)}"
            for error, of in guesses["by_type"].items()
        ]
    if guesses["free_would_add"]:
        lines.append(f"  free         {guesses['free_would_add']:>10,} more guesses with --errors I II free")
    if guesses["judged"]:
        right, judged = guesses["closure_judged"]["right"], guesses["closure_judged"]["judged"]
        closure = f"; {right} of {judged} judged ancestors are right" if judged else ""
        lines.append(f"  judged       {guesses['judged']:>10,} guesses corrected the probabilities{closure}")
        if n_others := guesses["judged_elsewhere"]:
            lines.append(f"               {n_others:>10,} more judged labels are no guesses of this list")
    if without := [row["name"] for row in summary["classes_without_threshold"]]:
        lines.append(f"  no answer    for {len(without)} classes, too few labelled clips: {first_names(without)}")
    auc = ", ".join("-" if value is None else f"{value:.2f}" for value in guesses["median_auc"])
    return [*lines, f"  teacher      median AUC {auc} of labelled clips against the rest"]


def _right(guesses: dict) -> str:
    expected = guesses["expected_precision"]
    return "" if expected is None else f", {100 * expected:.1f} % of them should be right"


def _shown(counts: dict) -> str:
    more = "" if counts["added_percent"] is None else f"  ({percent(counts['added_percent'], signed=True)})"
    return f"{counts['labels_added']:>10,} added to {counts['classes_touched']} classes{more}"


def sweep_rows(name: str, counts: dict[str, np.ndarray], n_before: int) -> list[dict]:
    """Return one row per key of `counts`: an error type or TOGETHER -> additions by class, (K,)."""
    rows = []
    for kind, by_class in counts.items():
        row = {"threshold": name, "type": kind, "labels_before": n_before, **figures(by_class, n_before)}
        rows.append({column: row[column] for column in SWEEP_HEADER})
    return rows


def sweep_lines(rows: Iterable[dict]) -> list[str]:
    """Return the sweep as a text table: one line per threshold, with labels added in percent by type."""
    added: dict[str, dict[str, dict]] = {}
    for row in rows:
        added.setdefault(row["threshold"], {})[row["type"]] = row
    kinds = list(next(iter(added.values())))
    titles = [kind if kind == TOGETHER else f"type {kind}" for kind in kinds]
    lines = ["labels added, %  " + "".join(f"{title:>12}" for title in titles) + "      labels     classes"]
    for name, by_kind in added.items():
        shares = [by_kind[kind]["added_percent"] for kind in kinds]
        cells = "".join(f"{'-' if share is None else f'{share:.1f}':>12}" for share in shares)
        total = by_kind[TOGETHER]
        lines.append(f"  {name:<15}{cells}{total['labels_added']:>12,}{total['classes_touched']:>12,}")
    return lines
