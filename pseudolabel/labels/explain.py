"""Explain what an enhancement does to one clip: each candidate, its evidence, and why it is added or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pseudolabel.errors import InputError, first_few, nearest
from pseudolabel.formatting import exact, fraction
from pseudolabel.labels.aliases import find_aliases
from pseudolabel.labels.candidates import Relations
from pseudolabel.labels.enhancement import Enhancing, Scored, Scores
from pseudolabel.labels.ledger import SCHEMA
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.precision_rule import PrecisionRule
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.labels.search import with_additions
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary

GIVEN, ADDED, NOT_ADDED, NO_CANDIDATE = "given", "added", "not added", "not a candidate"
FEW_OTHERS, FEW_NAMES = 5, 3  # classes that are not candidates; relatives that are named
ENOUGH = "the probability is high enough"
FEW_CLIPS = 10_000  # clips among which a similar id is looked for
CLASS_COLUMNS = [(name, pa.string()) for name in ("clip_id", "class_id", "name", "outcome", "reason")]
EXPLAINED = pa.schema([*CLASS_COLUMNS, *(field for field in SCHEMA if field.name not in ("clip_id", "class_id"))])


def explain(
    labels: LabelTable,
    scores: Scores | None,
    ontology: Ontology,
    clip_id: str,
    options: EnhanceOptions | None = None,
    thresholds_from: Scored | None = None,
) -> pa.Table:
    """Return what `enhance` does to one clip, one class a row (columns: EXPLAINED); arguments as for `enhance`.

    `outcome` is given, added, not added (the other candidates), or not a candidate: the best scores of other classes.
    """
    return explained(Enhancing.begin(labels, scores, ontology, options, thresholds_from), clip_id)


def explained(enhancing: Enhancing, clip_id: str, place: object = "", others: int = FEW_OTHERS) -> pa.Table:
    """Return the table of `explain`; `others` limits the classes that are not candidates, errors name `place`."""
    clip, search = clip_row(enhancing.labels, clip_id, place), enhancing.search
    search = replace(search, rule=search.rule.looking_everywhere())
    added, (*_, last) = search.run(clip, clip + 1).ledger, search.rounds(clip, clip + 1)
    rejected = last.candidates.where(~last.accepted)
    after = with_additions(last.labels, last.candidates.where(last.accepted), clip)
    why = [_why_added(row) for row in added.to_pylist()]
    given = enhancing.labels.matrix[[clip]].indices
    parts = [
        _part(enhancing, _of_classes(enhancing, clip, given), GIVEN, [""] * len(given)),
        _part(enhancing, added, ADDED, why),
        _part(enhancing, search.ledger(last.labels, clip, rejected), NOT_ADDED, search.rule.why_not(rejected)),
    ]
    free = np.setdiff1d(np.arange(len(enhancing.labels.vocabulary)), [*after.indices, *rejected.classes])
    scores = search.evidence.at(np.full(len(free), clip), free)
    best = free[np.argsort(-scores, kind="stable")][: min(others, int((~np.isnan(scores)).sum()))]
    reasons = _why_no_candidates(enhancing, clip, best.tolist(), set(given.tolist()), set(after.indices.tolist()))
    parts.append(_part(enhancing, _of_classes(enhancing, clip, best), NO_CANDIDATE, reasons))
    return pa.concat_tables(parts)


def clip_row(labels: LabelTable, clip_id: str, place: object = "") -> int:
    """Return the row of a clip, given by its id or by the name of its recording; InputError if it is not listed."""
    known = labels.row_of
    if clip_id not in known:
        clip_id = find_aliases([clip_id], labels.clip_ids, place).get(clip_id, clip_id)
    if clip_id not in known:
        close = nearest(clip_id, labels.clip_ids) if len(labels) <= FEW_CLIPS else ""
        remedy = f"Nearest: {close}." if close else f"Its clips are {first_few(labels.clip_ids)}."
        raise InputError(f"no clip {clip_id!r} in the label list", place, remedy)
    return known[clip_id]


def _of_classes(enhancing: Enhancing, clip: int, classes: np.ndarray) -> pa.Table:
    """Return rows as of a ledger for classes that were not searched: their scores and thresholds."""
    vocabulary, evidence = enhancing.labels.vocabulary, enhancing.search.evidence
    scores, onsets_s = evidence.best(np.full(len(classes), clip), classes)
    rows = [
        {
            "clip_id": enhancing.labels.clip_ids[clip],
            "class_id": vocabulary.class_ids[k],
            "score": _number(score),
            "threshold": _number(enhancing.thresholds[k]),
            "window_s": None if np.isnan(onset_s) else evidence.window_s,
            "onset_s": _number(onset_s),
        }
        for k, score, onset_s in zip(classes.tolist(), scores, onsets_s, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _part(enhancing: Enhancing, rows: pa.Table, outcome: str, reasons: Sequence[str]) -> pa.Table:
    """Return rows of a ledger with names, outcome and reasons."""
    vocabulary = enhancing.labels.vocabulary
    names = [vocabulary.names[vocabulary.index[k]] for k in rows["class_id"].to_pylist()]
    more = {"name": names, "outcome": [outcome] * len(rows), "reason": reasons}
    columns = [pa.array(more[name], pa.string()) if name in more else rows[name] for name in EXPLAINED.names]
    return pa.table(columns, schema=EXPLAINED)


def _why_added(row: dict) -> str:
    if row["probability"] is not None:
        return ENOUGH
    return "added by rule" if row["score"] is None else "the score is above the threshold"


def _why_no_candidates(
    enhancing: Enhancing, clip: int, classes: list[int], given: set[int], after: set[int]
) -> list[str]:
    """Return why nothing proposes each class, from the columns of the given labels and of those after enhancement."""
    vocabulary, ontology, options = enhancing.labels.vocabulary, enhancing.ontology, enhancing.options
    if isinstance(rule := enhancing.search.rule, PrecisionRule):
        return rule.why_no_candidates(clip, classes)
    related = Relations({"I": ontology.descendants(vocabulary), "II": ontology.ancestors(vocabulary)})
    other = "--profile" if options.profile == "psla" else "--errors, --type1 or --type2"
    other = other if options.precision is None else "--errors"
    reasons = []
    for k in classes:
        proposing, relatives = enhancing.search.relations.proposing(k), related.proposing(k)
        last, unasked = (_named(vocabulary, columns, of) for columns, of in ((proposing, after), (relatives, given)))
        if last:
            reasons.append(f"only labels added in the last round would propose it: more --rounds ({last})")
        elif unasked:
            reasons.append(f"a given label would propose it only with another {other} ({unasked})")
        elif relatives:
            reasons.append(f"no relative is given ({_named(vocabulary, proposing or relatives)})")
        else:
            reasons.append("it has no relatives in the vocabulary")
    return reasons


def _named(vocabulary: Vocabulary, columns: list[int], of: set[int] | None = None) -> str:
    """Return the names of the first classes in these columns, of those in `of` if given; names may have commas."""
    names = [vocabulary.names[column] for column in columns if of is None or column in of]
    return "; ".join([*names[:FEW_NAMES], *([f"{len(names) - FEW_NAMES} more"] if names[FEW_NAMES:] else [])])


def explanation_lines(table: pa.Table) -> list[str]:
    """Return an explanation as lines for a terminal."""
    rows, left_out = _worth_showing(table.to_pylist())
    names = dict(zip(table["class_id"].to_pylist(), table["name"].to_pylist(), strict=True))
    cells = [(row["outcome"], row["name"], row["error"] or "", _compared(row), _words(row, names)) for row in rows]
    widths = [max((len(cell[i]) for cell in cells), default=0) for i in range(4)]
    outcomes = table["outcome"].to_pylist()
    n_added, n_not = outcomes.count(ADDED), outcomes.count(NOT_ADDED)
    return [
        f"{n_added} of {n_added + n_not} candidates are added",
        *("  " + "  ".join([*map(str.ljust, cell, widths), cell[4]]).rstrip() for cell in cells),
        *left_out,
    ]


def _worth_showing(rows: list[dict]) -> tuple[list[dict], list[str]]:
    """Return the rows but for the least probable `free` guesses that were not added, and a line on those."""
    free = [row for row in rows if row["error"] == "free" and row["outcome"] == NOT_ADDED]
    free.sort(key=lambda row: -1 if row["probability"] is None else row["probability"], reverse=True)
    shown, others = free[:FEW_OTHERS], free[FEW_OTHERS:]
    kept = [row for row in rows if row["error"] != "free" or row["outcome"] != NOT_ADDED]
    n_first = sum(row["outcome"] in (GIVEN, ADDED) for row in kept)
    most = max((row["probability"] or 0 for row in others), default=0)
    line = f"  and {len(others)} free guesses that are not added, of a probability of {fraction(most)} at most"
    return [*kept[:n_first], *shown, *kept[n_first:]], [line] if others else []


def _compared(row: dict) -> str:
    """Return `.750 > .500`, `.250 <= .500`, `.750`, or what there is of it."""
    score, threshold, probability = row["score"], row["threshold"], row["probability"]
    if probability is not None:
        return f"probability {fraction(probability)}"
    if score is None or threshold is None or row["outcome"] in (GIVEN, NO_CANDIDATE):
        return fraction(score)
    sign, shown = ">" if score > threshold else "<=", [fraction(score), fraction(threshold)]
    if shown[0] == shown[1] and score != threshold:
        shown = [exact(score), exact(threshold)]
    return f" {sign} ".join(shown)


def _words(row: dict, names: dict[str, str]) -> str:
    """Return the reason, unless the numbers show it, and the proposing labels by name."""
    because = "; ".join(names.get(k, k) for k in (row["because"] or "").split(";") if k)
    reason = row["reason"].removeprefix(f"the probability is {row['probability'] or 0:.3f}, ")
    shown = reason.startswith(("the score is", ENOUGH))
    proposed = f"proposed by {because}" if because else "proposed by no label" if row["error"] == "free" else ""
    return ", ".join(filter(None, ("" if shown else reason, proposed)))
