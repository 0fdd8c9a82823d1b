"""Judgements: what judges decided about the items of a page, read back from the files that the page downloads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from pseudolabel.errors import InputError, nearest
from pseudolabel.labels.undo import DECISIONS
from pseudolabel.reviews.items import Sample
from pseudolabel.tables import read_csv

COLUMNS = ("page", "item", "clip_id", "class_id", "decision", "judge")
RIGHT, WRONG, UNSURE = DECISIONS


@dataclass(frozen=True)
class Judgements:
    """What each judge decided: {judge: {item: decision}}, judges in the order of the files."""

    by_judge: Mapping[str, Mapping[str, str]]

    def combined(self) -> dict[str, str]:
        """Return one decision an item: what most judges who were sure say, `unsure` where as many say the contrary."""
        votes: dict[str, Counter] = {}
        for decisions in self.by_judge.values():
            for item, decision in decisions.items():
                votes.setdefault(item, Counter())[decision] += 1
        return {item: _majority(votes[item]) for item in sorted(votes)}


def read_judgements(paths: Sequence[str | Path], sample: Sample) -> Judgements:
    """Read the CSV files of one or more judges, or Label Studio's export (.json).

    Rows without a judge are of one who is called as the file. Spreadsheets write item 0001 as 1, which counts as such.

    Raises:
        InputError: of another page, an unknown item, another clip or class than the item's, another decision, an item
            that the same judge decided twice, or no judgement at all.
    """
    items, by_judge, first = {item.item: item for item in sample.items}, {}, {}
    width = max(map(len, items), default=0)
    for path in map(Path, paths):
        for place, row in _rows(path):
            if row["page"] != sample.page:
                remedy = "Give the --sample of the page on which it was judged."
                raise InputError(f"judged on the page {row['page']!r}, the sample is of {sample.page!r}", place, remedy)
            item = items.get(row["item"].zfill(width))
            if item is None:
                raise InputError(f"item {row['item']!r} is not on the page, which has {len(items)}", place)
            if (row["clip_id"], row["class_id"]) != (item.clip_id, item.class_id):
                raise InputError(
                    f"item {item.item!r} asks for {item.class_id!r} in clip {item.clip_id!r}, not for "
                    f"{row['class_id']!r} in {row['clip_id']!r}", place, "Give the file as the page downloaded it.",
                )  # fmt: skip
            decision, judge = row["decision"].strip().lower(), row["judge"].strip() or path.stem
            if decision not in DECISIONS:
                hint = f"; nearest: {known!r}" if (known := nearest(decision, DECISIONS)) else ""
                raise InputError(f"decision {row['decision']!r}{hint}", place, f"Give {', '.join(DECISIONS)}.")
            if (judge, item.item) in first:
                message = f"item {item.item!r} is judged twice by {judge!r}, first at {first[judge, item.item]}"
                raise InputError(message, place, "Keep one, or tell the judges apart in the column judge.")
            first[judge, item.item] = place
            by_judge.setdefault(judge, {})[item.item] = decision
    if not by_judge:
        raise InputError("no judgement", ", ".join(map(str, paths)), "Judge items on the page and download them.")
    return Judgements(by_judge)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield where each judgement stands, and its columns."""
    if path.suffix == ".json":
        from pseudolabel.reviews.label_studio import read_label_studio_export

        for number, row in enumerate(read_label_studio_export(path), 1):
            yield f"{path}, judgement {number}", row
    else:
        for row in read_csv(path, COLUMNS):
            yield f"{path}:{row['line']}", row


def _majority(votes: Counter) -> str:
    if votes[RIGHT] == votes[WRONG]:
        return UNSURE
    return RIGHT if votes[RIGHT] > votes[WRONG] else WRONG


def agreement(judgements: Judgements) -> list[dict]:
    """Return for each two judges on how many common items they agree, and Cohen's kappa (1960) over three decisions.

    kappa is None where both gave one and the same decision throughout: chance alone explains it.
    """
    rows = []
    for (one, first), (other, second) in combinations(judgements.by_judge.items(), 2):
        pairs = [(first[item], second[item]) for item in sorted(first.keys() & second.keys())]
        if pairs:
            observed = sum(a == b for a, b in pairs) / len(pairs)
            shares = [Counter(pair[side] for pair in pairs) for side in (0, 1)]
            chance = sum(shares[0][name] * shares[1][name] for name in DECISIONS) / len(pairs) ** 2
            kappa = None if chance == 1 else (observed - chance) / (1 - chance)
            rows.append({"judges": [one, other], "items": len(pairs), "agreement": observed, "kappa": kappa})
    return rows
