"""Stratified sampling: choose the additions of a ledger to judge, so that precision can be estimated for all.

Additions differ by class, type and score band, and so does how often they are right. Strata are as fine as possible
while the budget gives them four items on average: class x type x band, else type x band, else type, else one. The
remaining levels order the rows within a stratum, and rows are taken at equal steps from a random start (systematic
sampling), so that classes are spread as they are in the ledger. Every addition of a stratum is drawn with the
probability n_h / N_h, known and above 0; an item stands for N_h / n_h additions.

Bands are of the probability where the ledger has probabilities. Then a fifth of the budget goes to additions by rule,
however many they are, so that most judgements are of guesses, over the whole range of their probability.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pseudolabel.errors import InputError
from pseudolabel.labels.additions import ERROR_NAMES, index_in
from pseudolabel.labels.ledger import PROBABILITY, sureness
from pseudolabel.reviews.items import ADDED, BY_RULE, NUMBERS, Item

TYPES = ERROR_NAMES[1:]
NEEDED = ("error", "score", "because", "threshold", "window_s", "onset_s")
LEAST, MEAN = 2, 4  # items of a stratum, so that its spread can be seen; with fewer on average, weights become uneven
EVEN_SHARE = 4  # up to a quarter of the budget may go to strata that would get less by size
RULE_PARTS = 5  # of a budget, one for additions by rule
EDGE_DIGITS = 2
ALL = "all"  # the only stratum
PARTS = ("type", "band", "class")
FINENESS = (("type", "band", "class"), ("type", "band"), ("type",), ())  # of strata, finest first


class Level(NamedTuple):
    """A division of a ledger's rows: the number of each row's part (M,), and the names of the parts."""

    numbers: np.ndarray
    names: tuple[str, ...]

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each non-empty part."""
        counts = np.bincount(self.numbers, minlength=len(self.names)).tolist()
        return {name: count for name, count in zip(self.names, counts, strict=True) if count}

    def means(self, values: np.ndarray) -> dict[str, float]:
        """Return the mean of the values (M,) that are not NaN of each part that has any."""
        there = ~np.isnan(values)
        counts = np.bincount(self.numbers[there], minlength=len(self.names))
        sums = np.bincount(self.numbers[there], values[there], len(self.names))
        return {name: float(sums[k] / counts[k]) for k, name in enumerate(self.names) if counts[k]}


@dataclass(frozen=True)
class Drawn:
    """Rows of the ledger, (n,) in its order, with the stratum and weight N_h / n_h of each; and the strata."""

    rows: np.ndarray
    strata_of_rows: tuple[str, ...]
    weights: np.ndarray
    strata: dict[str, int]
    edges: tuple[float, ...]


def band_edges(scores: np.ndarray, n_bands: int) -> tuple[float, ...]:
    """Return the inner edges of score bands with about equally many additions, to two significant digits.

    NaN, added by rule, does not count. Bands that would be empty are left out, so there may be fewer.
    """
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return ()
    quantiles = np.quantile(scores, np.arange(1, n_bands) / n_bands)
    edges = np.unique([float(f"{value:.{EDGE_DIGITS}g}") for value in quantiles])
    held = np.unique(band_numbers(scores, edges))
    return tuple(edges[held[1:] - 1].tolist())


def band_numbers(scores: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Return the band of each score, lower edge <= score < upper edge; the last number means added by rule."""
    scores = np.asarray(scores, np.float64)
    numbers = np.searchsorted(np.asarray(edges, np.float64), scores, side="right")
    return np.where(np.isnan(scores), len(edges) + 1, numbers)


def band_names(edges: Sequence[float]) -> tuple[str, ...]:
    """Return the names of the bands, the last one `by rule`."""
    ends = ["0", *(f"{edge:.12g}" for edge in edges), "1"]
    return (*(f"{low}-{high}" for low, high in itertools.pairwise(ends)), BY_RULE)


def float_column(ledger: pa.Table, name: str) -> np.ndarray:
    """Return a column as (M,) float64, NaN for empty cells; InputError if there is no such column."""
    _check_columns(ledger, (name,), "--ledger")
    return pc.fill_null(ledger[name].cast(pa.float64()), float("nan")).to_numpy()


def _check_columns(ledger: pa.Table, needed: Sequence[str], source: object) -> None:
    absent = [name for name in needed if name not in ledger.column_names]
    if absent:
        raise InputError(f"column {absent[0]!r} is missing", source, "Give a ledger as `enhance` wrote it.")


def levels_of(ledger: pa.Table, edges: Sequence[float], source: object = "") -> dict[str, Level]:
    """Return `type`, `band` and `class` of every addition; bands are numbered by rising score, the last is `by rule`.

    Raises:
        InputError: a column is missing, or an error type is unknown.
    """
    _check_columns(ledger, NEEDED, source)
    types = index_in(ledger["error"], TYPES)
    for row in np.flatnonzero(types < 0)[:1].tolist():
        error = ledger["error"][row].as_py()
        raise InputError(f"error {error!r} in data row {row + 1} is not one of {', '.join(TYPES)}", source)
    class_ids = sorted(pc.unique(ledger["class_id"]).to_pylist())
    return {
        "type": Level(types, TYPES),
        "band": Level(band_numbers(sureness(ledger)[0], edges), band_names(edges)),
        "class": Level(index_in(ledger["class_id"], class_ids), tuple(class_ids)),
    }


def strata_of_parts(levels: dict[str, Level], strata: Container[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Return {level: {part: {stratum: additions of the part in it}}}, for strata as `draw` names them."""
    codes = np.stack([levels[level].numbers for level in PARTS], axis=1)
    of_levels = {level: {} for level in PARTS}
    for numbers, n in zip(*(found.tolist() for found in np.unique(codes, axis=0, return_counts=True)), strict=True):
        names = dict(zip(PARTS, (levels[level].names[k] for level, k in zip(PARTS, numbers, strict=True)), strict=True))
        named = [" | ".join(names[level] for level in by) for by in (*FINENESS[:-1], ("class",))]
        stratum = next(
            (name for name in (*named, *([BY_RULE] if names["band"] == BY_RULE else [])) if name in strata), ALL
        )
        for level, part in names.items():
            of_part = of_levels[level].setdefault(part, {})
            of_part[stratum] = of_part.get(stratum, 0) + n
    return of_levels


def allocate(sizes: np.ndarray, total: int, least: int | np.ndarray = 0) -> np.ndarray:
    """Return how many of `total` items each stratum gets: in proportion to its rows (H,), but at least `least`.

    A stratum with fewer rows than `least` gets them all; the others share the rest.

    Raises:
        InputError: `total` is smaller than `least` requires.
    """
    sizes = np.asarray(sizes, np.int64)
    floors = np.minimum(sizes, least)
    total = min(total, int(sizes.sum()))
    if floors.sum() > total:
        raise InputError(f"{total} items are fewer than the {floors.sum()} that {least} of each need", "--budget")
    low, high = 0.0, 1.0
    for _ in range(60):  # bisect the rate at which larger strata are sampled
        rate = (low + high) / 2
        low, high = (rate, high) if np.maximum(floors, rate * sizes).sum() <= total else (low, rate)
    wanted = np.maximum(floors, low * sizes)
    counts = np.floor(wanted + 1e-9).astype(np.int64)
    while (left := total - int(counts.sum())) > 0:  # largest remainders; the first stratum on a tie
        open_ = np.flatnonzero(counts < sizes)
        counts[open_[np.argsort(-(wanted - counts)[open_], kind="stable")][:left]] += 1
    return counts


def draw(ledger: pa.Table, edges: Sequence[float], budget: int | None, per_class: int | None, seed: int) -> Drawn:
    """Return the rows to judge.

    Args:
        ledger: the additions, at least one.
        edges: of the score bands, from `band_edges`.
        budget: total number of items; None if `per_class` alone decides.
        per_class: makes the classes strata with this many items each (or all their additions); a larger budget is
            spread in proportion, and types and bands are spread within them.

    Raises:
        InputError: an empty ledger, or a budget below what `per_class` requires.
    """
    if not len(ledger):
        raise InputError("the ledger has no additions to review", remedy="Enhance with a lower --threshold first.")
    levels = levels_of(ledger, edges)
    groups, names, counts = _design(levels, *_apart(ledger, budget), budget, per_class)
    sizes = np.bincount(groups)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(ledger))  # within a stratum by type, band and class, then in random order
    order = np.lexsort((shuffled, *(levels[level].numbers for level in ("class", "band", "type")), groups))
    starts, first = rng.random(len(sizes)), np.cumsum(sizes) - sizes
    picked = [
        first[h] + np.floor((starts[h] + np.arange(counts[h])) * (sizes[h] / counts[h])).astype(np.int64)
        for h in range(len(sizes))
    ]
    rows = order[np.concatenate(picked)]
    in_order = np.argsort(rows)
    stratum = np.repeat(np.arange(len(sizes)), counts)[in_order]
    strata = dict(zip(names, sizes.tolist(), strict=True))
    return Drawn(rows[in_order], tuple(names[h] for h in stratum), (sizes / counts)[stratum], strata, tuple(edges))


def _apart(ledger: pa.Table, budget: int | None) -> tuple[np.ndarray, int]:
    """Return which rows get items of their own, (M,) bool, and how many: additions by rule beside guesses."""
    values, kind = sureness(ledger)
    by_rule = np.isnan(values) & (kind == PROBABILITY)
    n_by_rule = int(by_rule.sum())
    if budget is None or budget < LEAST * RULE_PARTS or not 0 < n_by_rule < len(ledger):
        return np.zeros(len(ledger), bool), 0
    n_guesses = min(len(ledger) - n_by_rule, budget - min(n_by_rule, budget // RULE_PARTS))
    return by_rule, budget - n_guesses


def _design(
    levels: dict[str, Level], apart: np.ndarray, n_apart: int, budget: int | None, per_class: int | None
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Return the stratum (M,) of each row, the names of the strata, and how many items each gets, (H,)."""
    if per_class:
        groups, names = _strata(levels, ("class",))
        return groups, names, _counts(np.bincount(groups), budget, per_class)
    groups, names, counts = np.zeros(len(apart), np.int64), [], []
    for rows, n_items in ((~apart, budget - n_apart), (apart, n_apart)):
        if rows.any():
            of_rows = {key: Level(level.numbers[rows], level.names) for key, level in levels.items()}
            of_part, named = _finest(of_rows, n_items)
            groups[rows] = of_part + len(names)
            names += [BY_RULE] if names and named == [ALL] else named
            counts.append(_counts(np.bincount(of_part), n_items, None))
    return groups, names, np.concatenate(counts)


def _counts(sizes: np.ndarray, budget: int | None, per_class: int | None) -> np.ndarray:
    """Return how many items each stratum gets."""
    if not per_class:
        least = LEAST if LEAST * len(sizes) <= budget else 1
        return allocate(sizes, budget, max(least, budget // (EVEN_SHARE * len(sizes))))
    needed = int(np.minimum(sizes, per_class).sum())
    if budget and needed > budget:
        message = f"{budget} items are fewer than the {needed} that --per-class {per_class} asks for"
        raise InputError(message, "--budget", "Raise it, or lower --per-class.")
    return allocate(sizes, budget or needed, per_class)


def _strata(levels: dict[str, Level], by: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return the stratum (M,) of each row, and the names of the strata, in the order of the levels in `by`."""
    codes = np.zeros(len(levels["type"].numbers), np.int64)
    for level in by:
        codes = codes * len(levels[level].names) + levels[level].numbers
    _, examples, groups = np.unique(codes, return_index=True, return_inverse=True)
    parts = [[levels[level].names[levels[level].numbers[row]] for level in by] for row in examples]
    return groups, [" | ".join(names) or ALL for names in parts]


def _finest(levels: dict[str, Level], budget: int) -> tuple[np.ndarray, list[str]]:
    """Return the finest strata that get enough items on average from the budget."""
    strata = (_strata(levels, by) for by in FINENESS)
    return next((groups, names) for groups, names in strata if MEAN * len(names) <= budget or names == [ALL])


def items_of(ledger: pa.Table, drawn: Drawn) -> list[Item]:
    """Return the drawn rows as items, not yet numbered, in the order of the ledger."""
    rows = ledger.take(pa.array(drawn.rows)).to_pylist()
    numbers = [name for name in NUMBERS if name in ledger.column_names]
    return [
        Item(
            item="",
            clip_id=row["clip_id"],
            class_id=row["class_id"],
            kind=ADDED,
            error=row["error"],
            because=tuple(filter(None, row["because"].split(";"))),
            **{name: row[name] for name in numbers},
            stratum=stratum,
            weight=weight,
        )
        for row, stratum, weight in zip(rows, drawn.strata_of_rows, drawn.weights.tolist(), strict=True)
    ]
