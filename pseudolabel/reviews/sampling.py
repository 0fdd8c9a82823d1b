"""Sampling: which additions of a ledger are judged, so that the judgements speak for all of them.

Additions differ by class, type and score band, and so does how often they are right. Strata are as fine as the budget
gives them four items on average: class x type x band, else type x band, else type, else none. What is no stratum
orders the rows inside one, and rows are taken at equal steps from a random start (systematic sampling), so that classes
are spread as they are in the ledger. Every addition of a stratum is drawn with the probability n_h / N_h, known and
above 0; an item stands for N_h / n_h additions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pseudolabel.errors import InputError
from pseudolabel.reviews.items import ADDED, BY_RULE, Item

TYPES = ("I", "II", "I+II")
NEEDED = ("error", "because", "score", "threshold", "window_s", "onset_s")
LEAST, MEAN = 2, 4  # items of a stratum, so that its spread can be seen; with fewer on average weights grow uneven
EVEN_SHARE = 4  # this part of the budget may go to strata that their size alone would give less than the others
EDGE_DIGITS = 2


@dataclass(frozen=True)
class Cells:
    """What the rows of a ledger are stratified by: (M,) small whole numbers each, and what they mean.

    `band` counts up with the score; the last one, `by rule`, has the additions that no score decided.
    """

    class_of: np.ndarray
    type_of: np.ndarray
    band_of: np.ndarray
    class_ids: tuple[str, ...]
    bands: tuple[str, ...]


@dataclass(frozen=True)
class Drawn:
    """Rows of the ledger, (n,) in its order, with the stratum and weight N_h / n_h of each; and the strata."""

    rows: np.ndarray
    strata_of_rows: tuple[str, ...]
    weights: np.ndarray
    strata: dict[str, int]
    edges: tuple[float, ...]


def band_edges(scores: np.ndarray, n_bands: int) -> tuple[float, ...]:
    """Return the inner edges of score bands that hold about as many additions each, to two significant digits.

    NaN, added by rule, does not count. Bands that would hold nothing are left out: there may be fewer.
    """
    known = scores[~np.isnan(scores)]
    if not len(known):
        return ()
    quantiles = np.quantile(known, np.arange(1, n_bands) / n_bands)
    edges = np.unique([float(f"{value:.{EDGE_DIGITS}g}") for value in quantiles])
    held = np.unique(band_numbers(known, edges))
    return tuple(edges[held[1:] - 1].tolist())


def band_numbers(scores: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Return the band of each score, lower edge <= score < upper edge; the last number means added by rule."""
    scores = np.asarray(scores, np.float64)
    numbers = np.searchsorted(np.asarray(edges, np.float64), scores, side="right")
    return np.where(np.isnan(scores), len(edges) + 1, numbers)


def band_names(edges: Sequence[float]) -> tuple[str, ...]:
    """Return what the bands are called, the last one `by rule`."""
    ends = ["0", *(f"{edge:.12g}" for edge in edges), "1"]
    return (*(f"{low}-{high}" for low, high in itertools.pairwise(ends)), BY_RULE)


def float_column(ledger: pa.Table, name: str) -> np.ndarray:
    """Return a column as (M,) float64, NaN where it is empty; InputError where it is missing."""
    _check_columns(ledger, (name,), "--ledger")
    return pc.fill_null(ledger[name].cast(pa.float64()), float("nan")).to_numpy()


def _check_columns(ledger: pa.Table, needed: Sequence[str], place: object) -> None:
    absent = [name for name in needed if name not in ledger.column_names]
    if absent:
        raise InputError(f"column {absent[0]!r} is missing", place, "Give a ledger as `enhance` wrote it.")


def cells_of(ledger: pa.Table, edges: Sequence[float], place: object = "") -> Cells:
    """Return class, type and band of every addition.

    Raises:
        InputError: a column is missing, or an error type is none of I, II and I+II.
    """
    _check_columns(ledger, NEEDED, place)
    types = pc.fill_null(pc.index_in(ledger["error"], value_set=pa.array(TYPES)), -1).to_numpy()
    if (types < 0).any():
        row = int(np.argmax(types < 0))
        raise InputError(f"error {ledger['error'][row].as_py()!r} in data row {row + 1} is none of I, II, I+II", place)
    class_ids = sorted(pc.unique(ledger["class_id"]).to_pylist())
    classes = pc.index_in(ledger["class_id"], value_set=pa.array(class_ids, pa.string())).to_numpy()
    bands = band_numbers(float_column(ledger, "score"), edges)
    return Cells(classes.astype(np.int64), types.astype(np.int64), bands, tuple(class_ids), band_names(edges))


def allocate(sizes: np.ndarray, total: int, least: int | np.ndarray = 0) -> np.ndarray:
    """Return how many of `total` items each stratum gets: its share of the rows, but at least `least` of them.

    Args:
        sizes: (H,) rows of each stratum.
        least: lifted to it, or to all rows of a smaller stratum; the others share what is left.

    Raises:
        InputError: `total` is smaller than what `least` asks for.
    """
    sizes = np.asarray(sizes, np.int64)
    floors = np.minimum(sizes, least)
    total = min(total, int(sizes.sum()))
    if floors.sum() > total:
        raise InputError(f"{total} items are fewer than the {floors.sum()} that {least} of each need", "--budget")
    low, high = 0.0, 1.0
    for _ in range(60):  # the rate at which larger strata are sampled
        rate = (low + high) / 2
        low, high = (rate, high) if np.maximum(floors, rate * sizes).sum() <= total else (low, rate)
    wanted = np.maximum(floors, low * sizes)
    counts = np.floor(wanted + 1e-9).astype(np.int64)
    while (left := total - int(counts.sum())) > 0:  # largest remainders, the first stratum where they are equal
        open_ = np.flatnonzero(counts < sizes)
        first = open_[np.argsort(-(wanted - counts)[open_], kind="stable")][:left]
        counts[first] += 1
    return counts


def draw(ledger: pa.Table, edges: Sequence[float], budget: int | None, per_class: int | None, seed: int) -> Drawn:
    """Return the rows to judge.

    Args:
        ledger: the additions, at least one.
        edges: of the score bands, `band_edges`.
        budget: items in all; None where `per_class` alone decides.
        per_class: classes are the strata, each with so many items (or all its additions); a larger budget is spread
            in proportion, and types and bands are spread inside.

    Raises:
        InputError: an empty ledger, or a budget below what `per_class` asks for.
    """
    if not len(ledger):
        raise InputError("the ledger has no additions to review")
    cells = cells_of(ledger, edges)
    if per_class:
        groups, names = _groups(cells, (True, False, False))
        sizes = np.bincount(groups)
        floors = np.minimum(sizes, per_class)
        if budget and floors.sum() > budget:
            raise InputError(
                f"{budget} items are fewer than the {floors.sum()} that --per-class {per_class} asks for", "--budget",
                "Raise it, or lower --per-class.",
            )  # fmt: skip
        counts = allocate(sizes, budget or int(floors.sum()), per_class)
    else:
        groups, names = _finest(cells, budget)
        sizes = np.bincount(groups)
        least = max(LEAST if LEAST * len(sizes) <= budget else 1, budget // (EVEN_SHARE * len(sizes)))
        counts = allocate(sizes, budget, least)
    rng = np.random.default_rng(seed)
    order = _order(cells, groups, rng.permutation(len(ledger)))
    starts, first = rng.random(len(sizes)), np.cumsum(sizes) - sizes
    picked = [
        first[h] + np.floor((starts[h] + np.arange(counts[h])) * (sizes[h] / counts[h])).astype(np.int64)
        for h in range(len(sizes))
    ]
    rows = order[np.concatenate(picked)]
    strata_of_rows = np.repeat(np.arange(len(sizes)), counts)
    in_order = np.argsort(rows)
    stratum = strata_of_rows[in_order]
    strata = dict(zip(names, sizes.tolist(), strict=True))
    return Drawn(rows[in_order], tuple(names[h] for h in stratum), (sizes / counts)[stratum], strata, tuple(edges))


def _groups(cells: Cells, by: tuple[bool, bool, bool]) -> tuple[np.ndarray, list[str]]:
    """Return the stratum (M,) of each row, and the names of the strata; by type, then band, then class."""
    by_class, by_type, by_band = by
    codes = np.zeros(len(cells.class_of), np.int64)
    if by_type:
        codes = cells.type_of
    if by_band:
        codes = codes * len(cells.bands) + cells.band_of
    if by_class:
        codes = codes * len(cells.class_ids) + cells.class_of
    _, example, groups = np.unique(codes, return_index=True, return_inverse=True)
    names = []
    for row in example.tolist():
        parts = [TYPES[cells.type_of[row]]] * by_type + [cells.bands[cells.band_of[row]]] * by_band
        names.append(" | ".join(parts + [cells.class_ids[cells.class_of[row]]] * by_class) or "all")
    return groups, names


def _finest(cells: Cells, budget: int) -> tuple[np.ndarray, list[str]]:
    """Return the finest strata that the budget gives enough items on average."""
    for by in ((True, True, True), (False, True, True), (False, True, False)):
        groups, names = _groups(cells, by)
        if MEAN * len(names) <= budget:
            return groups, names
    return _groups(cells, (False, False, False))


def _order(cells: Cells, groups: np.ndarray, shuffled: np.ndarray) -> np.ndarray:
    """Return the rows stratum by stratum; inside, alike rows lie together, and equal ones in random order."""
    inside = (cells.type_of, cells.band_of, cells.class_of)
    return np.lexsort((shuffled, *inside[::-1], groups))


def items_of(ledger: pa.Table, drawn: Drawn) -> list[Item]:
    """Return the drawn rows as items without a number, in the order of the ledger."""
    rows = ledger.take(pa.array(drawn.rows)).to_pylist()
    return [
        Item(
            "", row["clip_id"], row["class_id"], ADDED, row["error"], tuple(filter(None, row["because"].split(";"))),
            row["score"], row["threshold"], row["window_s"], row["onset_s"], stratum, weight,
        )
        for row, stratum, weight in zip(rows, drawn.strata_of_rows, drawn.weights.tolist(), strict=True)
    ]  # fmt: skip
