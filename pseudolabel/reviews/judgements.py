"""Judgements: what judges decided about the items of a page, read from the files that the page downloads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from pseudolabel.errors import InputError, nearest
from pseudolabel.labels.undo import DECISIONS
from pseudolabel.reviews.items import Item, Sample
from pseudolabel.tables import read_csv, text_rows

COLUMNS = ("page", "item", "clip_id", "class_id", "decision", "judge")
RIGHT, WRONG, UNSURE = DECISIONS


@dataclass(frozen=True)
class Judgements:
    """Each judge's decisions: {judge: {item: decision}}, judges in the order of the files."""

    by_judge: Mapping[str, Mapping[str, str]]

    def combined(self) -> dict[str, str]:
        """Return one decision per item: that of most judges who were sure, `unsure` on a tie."""
        votes: dict[str, Counter] = {}
        for decisions in self.by_judge.values():
            for item, decision in decisions.items():
                votes.setdefault(item, Counter())[decision] += 1
        return {item: _majority(votes[item]) for item in sorted(votes)}


def _majority(votes: Counter) -> str:
    if votes[RIGHT] == votes[WRONG]:
        return UNSURE
    return RIGHT if votes[RIGHT] > votes[WRONG] else WRONG


def read_judgements(paths: Sequence[str | Path], sample: Sample) -> Judgements:
    """Read the CSV files of one or more judges, or exports of Label Studio.

    Rows without a judge belong to one named after the file. Spreadsheets write item 0001 as 1, which is accepted.

    Raises:
        InputError: another page, an unknown item, a clip or class that is not the item's, an unknown decision, an item
            that one judge decided twice, or no judgement at all.
    """
    items, by_judge, first = {item.item: item for item in sample.items}, {}, {}
    for path in map(Path, paths):
        for source, row in _rows(path):
            item, decision = _item(row, sample, items, source), _decision(row["decision"], source)
            judge = row["judge"].strip() or path.stem
            if (judge, item) in first:
                message = f"item {item!r} is judged twice by {judge!r}, first at {first[judge, item]}"
                raise InputError(message, source, "Keep one, or name the judges differently in the column judge.")
            first[judge, item] = source
            by_judge.setdefault(judge, {})[item] = decision
    if not by_judge:
        raise InputError("no judgement", ", ".join(map(str, paths)), "Judge items on the page and download them.")
    return Judgements(by_judge)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the place of each judgement in a file, and its columns."""
    from pseudolabel.reviews.label_studio import is_json, is_label_studio_table, read_label_studio_export

    if is_json(path) or is_label_studio_table(next(text_rows(path), (1, []))[1]):
        yield from read_label_studio_export(path)
    else:
        for row in read_csv(path, COLUMNS):
            yield f"{path}:{row['line']}", row


def _item(row: Mapping[str, str], sample: Sample, items: Mapping[str, Item], source: str) -> str:
    """Return the item that a row is about; InputError if the page has no such item."""
    if row["page"] != sample.page:
        message = f"judged on the page {row['page']!r}, the sample is of {sample.page!r}"
        raise InputError(message, source, "Give the --sample of the page on which it was judged.")
    item = items.get(row["item"].zfill(max(map(len, items), default=0)))
    if item is None:
        raise InputError(f"item {row['item']!r} is not on the page, which has {len(items)}", source)
    if (row["clip_id"], row["class_id"]) != (item.clip_id, item.class_id):
        message = f"item {item.item!r} asks for {item.class_id!r} in clip {item.clip_id!r}, not for "
        message += f"{row['class_id']!r} in {row['clip_id']!r}"
        raise InputError(message, source, "Give the file as the page downloaded it.")
    return item.item


def _decision(text: str, source: str) -> str:
    decision = text.strip().lower()
    if decision not in DECISIONS:
        close = nearest(decision, DECISIONS)
        hint = f"; nearest: {close!r}" if close else ""
        raise InputError(f"decision {text!r}{hint}", source, f"Give {', '.join(DECISIONS)}.")
    return decision


def agreement_of_judges(judgements: Judgements) -> list[dict]:
    """Return, for each pair of judges, agreement on their common items and Cohen's kappa (1960) over three decisions.

    kappa is None if both always gave the same single decision: chance alone explains it.
    """
    rows = []
    for (one, first), (other, second) in combinations(judgements.by_judge.items(), 2):
        common = sorted(first.keys() & second.keys())
        if common:
            from sklearn.metrics import cohen_kappa_score

            ours, theirs = [first[item] for item in common], [second[item] for item in common]
            share = sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(common)
            kappa = None if len({*ours, *theirs}) == 1 else float(cohen_kappa_score(ours, theirs))
            rows.append({"judges": [one, other], "items": len(common), "agreement": share, "kappa": kappa})
    return rows
