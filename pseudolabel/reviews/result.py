"""Result of a review: the estimates as JSON and tables, the judged ledger, and a text for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.errors import InputError
from pseudolabel.formatting import exact
from pseudolabel.labels.ledger import PROBABILITY, SCHEMA, csv_rows, numbers, sureness
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import THRESHOLDS
from pseudolabel.reviews.curve import (
    NONE_REACHES,
    OWN,
    NewThreshold,
    Point,
    Target,
    curve_figure,
    precision_curve,
    thresholds_before,
    thresholds_for,
)
from pseudolabel.reviews.decoys import corrected, reliability
from pseudolabel.reviews.items import BY_RULE, Item, Sample
from pseudolabel.reviews.judgements import DECISIONS, RIGHT, UNSURE, WRONG, Judgements, agreement_of_judges
from pseudolabel.reviews.precision import METHOD, Estimate, weigh
from pseudolabel.reviews.stratified import band_names, band_numbers, levels_of, strata_of_parts
from pseudolabel.templates import render

NO_THRESHOLDS = "Omit it, and give reviewed.csv to `enhance --judgements`, with the --threshold precision:P you want."
PARTS = {"by_error": "error", "by_band": "band", "by_class": "class_id"}  # of precision.json, with their keys
PART_COLUMNS = ("part", "name", "additions", "judged", "unsure", "precision", "low", "high", "effective_n")
CURVE_COLUMNS = ("floor", "additions", "judged", "precision", "low", "high")


class Judged(NamedTuple):
    """What judgements say of a ledger: estimates, the curve, decisions, and new thresholds if a target asks for them.

    `kind` says whether the curve is over scores or probabilities; `point` is that of the pooled floor.
    """

    estimates: dict
    curve: list[Point]
    kind: str
    ledger: pa.Table
    decided: dict[tuple[str, str], str]
    vocabulary: Vocabulary
    target: Target | None = None
    new: dict[str, NewThreshold] | None = None
    point: Point | None = None

    @classmethod
    def of(
        cls,
        sample: Sample,
        judgements: Judgements,
        ledger: pa.Table,
        path: Path,
        vocabulary: Vocabulary,
        target: Target | None = None,
    ) -> Self:
        """Compare the judgements of a sample with the ledger at `path` that it was drawn from.

        Raises:
            InputError: no floor reaches the target, or the additions have probabilities instead of thresholds.
        """
        (scores, kind), weighed = sureness(ledger), weigh(sample, judgements.combined())
        if target is not None and kind == PROBABILITY:
            message = f"the guesses of {path.parent.name} have probabilities, not thresholds"
            raise InputError(message, "--target-precision", NO_THRESHOLDS)
        curve, decided = precision_curve(weighed, scores), decided_additions(sample, judgements)
        judged = cls(estimates(sample, judgements, ledger, vocabulary), curve, kind, ledger, decided, vocabulary)
        if target is None:
            return judged
        before, class_of = thresholds_before(path, ledger, vocabulary), ledger["class_id"].to_pylist()
        new, point = thresholds_for(target, before, weighed, class_of, scores)
        return judged._replace(target=target, new=new, point=point)

    def write(self, folder: Path) -> None:
        """Write all of it into an existing folder."""
        write_estimates(folder, self.estimates)
        write_curve(folder, self.curve, self.kind)
        write_reviewed(folder / "reviewed.csv", self.ledger, self.decided)
        if self.new is not None:
            write_thresholds(folder / THRESHOLDS, self.new, self.vocabulary)

    def text(self, folder: Path) -> str:
        """Return all of it, written to `folder`, as text for the terminal."""
        return result_text(self.estimates, self.new, self.point, self.target, folder / THRESHOLDS)


def estimates(sample: Sample, judgements: Judgements, ledger: pa.Table, vocabulary: Vocabulary) -> dict:
    """Return the content of precision.json: overall, by type, by score band, by class, and by judge.

    Args:
        ledger: the one that the sample was drawn from.
    """
    decisions = judgements.combined()
    measured = reliability(sample, decisions)
    return {
        "page": sample.page,
        "blind": sample.blind,
        "ledger_sha256": sample.ledger_sha256,
        "bands_of": sureness(ledger)[1],
        "overall": _overall(sample, decisions, len(ledger), measured),
        **_parts(sample, decisions, ledger, vocabulary),
        "judges": {
            "reliability": measured,
            "each": [_judge(name, sample, decided) for name, decided in judgements.by_judge.items()],
            "agreement": agreement_of_judges(judgements),
        },
    }


def _overall(sample: Sample, decisions: Mapping[str, str], n_additions: int, measured: dict | None) -> dict:
    estimate = weigh(sample, decisions).estimate()
    bounds = {f"if_unsure_{side}": weigh(sample, decisions, side).estimate().precision for side in (WRONG, RIGHT)}
    row = {"additions": n_additions, **_row(estimate, len(_unsure(sample, decisions))), **bounds, "method": METHOD}
    return row | ({"corrected": corrected(estimate, measured)} if measured else {})


def _parts(
    sample: Sample, decisions: Mapping[str, str], ledger: pa.Table, vocabulary: Vocabulary
) -> dict[str, list[dict]]:
    """Return the estimates by type, band and class, the latter only for classes with a judged item.

    `expected` is the mean probability of a part's additions, where they have any.
    """
    weighed, unsure = weigh(sample, decisions), _unsure(sample, decisions)
    levels, band_of = levels_of(ledger, sample.bands), dict(zip(sample.additions, _bands(sample), strict=True))
    probabilities = numbers(ledger, PROBABILITY)

    in_strata = strata_of_parts(levels, sample.strata)

    def rows(key: str, part_of: Callable[[Item], str], name_of: str, wanted: Container[str] = ()) -> Iterator[dict]:
        level = levels[name_of]
        parts, n_unsure = np.array(list(map(part_of, weighed.items))), list(map(part_of, unsure))
        expected = level.means(probabilities)
        for name, n_additions in level.sizes().items():
            if not wanted or name in wanted:
                row = _row(weighed.estimate(parts == name, in_strata[name_of][name]), n_unsure.count(name))
                mean = {"expected": expected[name]} if name in expected else {}
                yield {key: name, "additions": n_additions, **row, **mean}

    judged = {item.class_id for item in sample.additions if item.item in decisions}
    by_class = rows("class_id", lambda item: item.class_id, "class", judged)
    by_class = sorted(by_class, key=lambda row: vocabulary.index[row["class_id"]])
    for row in by_class:
        row["name"] = vocabulary.names[vocabulary.index[row["class_id"]]]
    return {
        "by_error": list(rows("error", lambda item: item.error, "type")),
        "by_band": list(rows("band", band_of.__getitem__, "band")),
        "by_class": by_class,
    }


def _unsure(sample: Sample, decisions: Mapping[str, str]) -> list[Item]:
    return [item for item in sample.additions if decisions.get(item.item) == UNSURE]


def _bands(sample: Sample) -> list[str]:
    values = np.array([item.sureness for item in sample.additions])
    return [band_names(sample.bands)[number] for number in band_numbers(values, sample.bands).tolist()]


def _row(estimate: Estimate, n_unsure: int) -> dict:
    effective_n = None if np.isinf(estimate.effective_n) else estimate.effective_n  # None: all additions were judged
    row = {"precision": estimate.precision, "low": estimate.low, "high": estimate.high}
    return row | {"judged": estimate.judged, "unsure": n_unsure, "effective_n": effective_n}


def _judge(name: str, sample: Sample, decisions: Mapping[str, str]) -> dict:
    """Return a judge's decisions, the precision of the additions according to them, and the judge's reliability."""
    of_additions = [decisions[item.item] for item in sample.additions if item.item in decisions]
    counts = {decision: of_additions.count(decision) for decision in DECISIONS}
    estimate = (
        weigh(sample, decisions).estimate() if counts[RIGHT] + counts[WRONG] else Estimate(None, 0.0, 1.0, 0, 0.0)
    )
    return {"judge": name, **counts, **_row(estimate, counts[UNSURE]), "reliability": reliability(sample, decisions)}


def decided_additions(sample: Sample, judgements: Judgements) -> dict[tuple[str, str], str]:
    """Return {(clip id, class id): decision} of the judged additions."""
    decisions = judgements.combined()
    judged = (item for item in sample.additions if item.item in decisions)
    return {(item.clip_id, item.class_id): decisions[item.item] for item in judged}


def write_estimates(folder: Path, estimates: Mapping) -> None:
    """Write precision.json and precision.csv."""
    write_json(folder / "precision.json", estimates)
    parts = [("overall", "all", estimates["overall"])]
    parts += [(key, row[key], row) for part, key in PARTS.items() for row in estimates[part]]
    rows = [(part, name, *(exact(row[column]) for column in PART_COLUMNS[2:])) for part, name, row in parts]
    write_csv(folder / "precision.csv", PART_COLUMNS, rows)


def write_curve(folder: Path, curve: Sequence[Point], kind: str = "score") -> None:
    """Write curve.csv and, where there are points, curve.png."""
    rows = []
    for point in curve:
        estimate = point.estimate
        shares = (estimate.precision, estimate.low, estimate.high)
        rows.append((exact(point.floor), point.additions, estimate.judged, *map(exact, shares)))
    write_csv(folder / "curve.csv", CURVE_COLUMNS, rows)
    if curve:
        (folder / "curve.png").write_bytes(curve_figure(curve, kind).png)


def write_reviewed(path: Path, ledger: pa.Table, decided: Mapping[tuple[str, str], str]) -> None:
    """Write the ledger with the column `decision`, empty if undecided, for `enhance apply`."""
    ledger = ledger.select([field.name for field in SCHEMA if field.name in ledger.column_names])
    pairs = zip(ledger["clip_id"].to_pylist(), ledger["class_id"].to_pylist(), strict=True)
    rows = ((*row, decided.get(pair, "")) for row, pair in zip(csv_rows(ledger), pairs, strict=True))
    write_csv(path, (*ledger.column_names, "decision"), rows)


def write_thresholds(path: Path, new: Mapping[str, NewThreshold], vocabulary: Vocabulary) -> None:
    """Write the new threshold of every class with its reason, for `enhance --threshold FILE`."""
    names = dict(zip(vocabulary.class_ids, vocabulary.names, strict=True))
    rows = [(class_id, names[class_id], exact(row.threshold), row.rule) for class_id, row in new.items()]
    write_csv(path, ("class_id", "name", "threshold", "rule"), rows)


def result_text(
    estimates: Mapping,
    new: Mapping[str, NewThreshold] | None,
    point: Point | None,
    target: Target | None,
    thresholds: Path,
) -> str:
    """Return the estimates and, if there are any, the new thresholds as text for the terminal."""
    rules = [row.rule for row in (new or {}).values()]
    counts = {"n_own": rules.count(OWN), "n_none": rules.count(NONE_REACHES)}
    facts = {"point": point, "target": target, "thresholds": thresholds, "by_rule": BY_RULE, **counts}
    return render("pseudolabel.reviews", "result.txt.j2", **estimates, **facts).rstrip()
