"""Items: the questions of a review page, sampled from a ledger.

`sample.csv` has one row per item, `sample.json` the rest. Together they turn judgements back into estimates, so the
reader checks that they belong together: the page's name is a digest of both.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.errors import InputError, NoFile, no_file
from pseudolabel.formatting import exact
from pseudolabel.tables import read_csv, read_json

ADDED, GIVEN, ABSENT = KINDS = ("added", "given", "absent")
TABLE, REST = "sample.csv", "sample.json"
FORMAT, FORMAT_VERSION = "pseudolabel-sample", 1
BY_RULE = "by rule"  # the band of additions without a score
NUMBERS = ("score", "threshold", "probability", "window_s", "onset_s", "weight")
SINCE_0_3 = "probability"  # a column that samples of ledgers without it lack


@dataclass(frozen=True)
class Item:
    """One question: does the clip contain the class?

    `item` is its number on the page ("0001", ...), in the shuffled order of the questions. `kind` is `added` for a row
    of the ledger; decoys are `given`, a label of the original list, or `absent`, a class that neither the list nor the
    ledger gives the clip and that none of its labels could propose. `stratum` and `weight` (the number of additions
    that the item stands for, N_h / n_h) are empty and 0 for decoys, as are `error`, `because`, `score`, `threshold`,
    `probability`.
    """

    item: str
    clip_id: str
    class_id: str
    kind: str
    error: str = ""
    because: tuple[str, ...] = ()
    score: float | None = None
    threshold: float | None = None
    window_s: float | None = None
    onset_s: float | None = None
    stratum: str = ""
    weight: float = 0.0
    probability: float | None = None

    @property
    def sureness(self) -> float:
        """The probability, or else the score; NaN if there is none."""
        value = self.score if self.probability is None else self.probability
        return math.nan if value is None else value

    def cells(self, columns: Sequence[str]) -> list[str]:
        """Return the item as a row of sample.csv, floats with all their digits."""
        values = (getattr(self, name) for name in columns)
        return [";".join(value) if isinstance(value, tuple) else exact(value) for value in values]

    @classmethod
    def of(cls, row: dict[str, str], source: str) -> Item:
        """Return the item in a row of sample.csv; InputError if it is not valid."""
        if row["kind"] not in KINDS:
            raise InputError(f"kind {row['kind']!r} is not one of {', '.join(KINDS)}", source)
        texts = {name: row[name] for name in COLUMNS if name != SINCE_0_3 or name in row}
        values = {name: _number(text, name, source) if name in NUMBERS else text for name, text in texts.items()}
        because = tuple(filter(None, row["because"].split(";")))
        return cls(**{**values, "because": because, "weight": values["weight"] or 0.0})


COLUMNS = tuple(column.name for column in fields(Item))


def _number(text: str, name: str, source: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{name} {text!r} is not a number", source)
    return value


@dataclass(frozen=True)
class Sample:
    """The items of a page, and what they were sampled from.

    `page` names the page: 12 hexadecimal digits of a digest of everything else. `strata` gives the number of additions
    in each stratum (N_h), similar strata next to each other; `bands` the inner edges of the bands of score or, where
    the ledger has them, probability.
    """

    items: tuple[Item, ...]
    page: str
    blind: bool
    ledger_sha256: str
    strata: dict[str, int] = field(default_factory=dict)
    n_additions: int = 0
    bands: tuple[float, ...] = ()
    seed: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of sample.csv."""
        return columns_of(self.items)

    @property
    def additions(self) -> tuple[Item, ...]:
        """Return the items that are rows of the ledger."""
        return tuple(item for item in self.items if item.kind == ADDED)

    @property
    def decoys(self) -> tuple[Item, ...]:
        """Return the items that measure the judge."""
        return tuple(item for item in self.items if item.kind != ADDED)


def columns_of(items: Sequence[Item]) -> tuple[str, ...]:
    """Return the columns of sample.csv: without probabilities, those of earlier versions."""
    has_probabilities = any(item.probability is not None for item in items)
    return tuple(name for name in COLUMNS if has_probabilities or name != SINCE_0_3)


def make_sample(
    items: Iterable[Item],
    ledger_sha256: str,
    strata: dict[str, int],
    blind: bool = False,
    bands: Iterable[float] = (),
    seed: int = 0,
) -> Sample:
    """Return the sample of these items, with the name of its page."""
    items, bands, n_additions = tuple(items), tuple(bands), sum(strata.values())
    rest = {"blind": blind, "ledger_sha256": ledger_sha256, "strata": list(strata.items())}
    rest |= {"n_additions": n_additions, "bands": bands, "seed": seed}
    columns = columns_of(items)
    text = json.dumps([rest, [item.cells(columns) for item in items]], ensure_ascii=False)
    page = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Sample(items, page, blind, ledger_sha256, dict(strata), n_additions, bands, seed)


def write_sample(sample: Sample, folder: str | Path) -> None:
    """Write `sample.csv` and `sample.json` into a folder that exists."""
    folder = Path(folder)
    write_csv(folder / TABLE, sample.columns, (item.cells(sample.columns) for item in sample.items))
    rest = {"format": FORMAT, "format_version": FORMAT_VERSION, "page": sample.page, "blind": sample.blind}
    rest |= {"seed": sample.seed, "ledger_sha256": sample.ledger_sha256, "n_additions": sample.n_additions}
    write_json(folder / REST, rest | {"bands": list(sample.bands), "strata": sample.strata})


def read_sample(folder: str | Path) -> Sample:
    """Read what `write_sample` wrote; `folder` may also name its sample.csv or sample.json.

    Raises:
        InputError: a file is missing or malformed, or the two do not belong together or were changed.
    """
    folder = Path(folder)
    folder = folder.parent if folder.name in (TABLE, REST) else folder
    if not (folder / TABLE).is_file():
        raise NoFile(f"no {TABLE}", folder, "Give --sample, the folder that `review page` made.")
    rest = _read_rest(folder / REST)
    items = [Item.of(row, f"{folder / TABLE}:{row['line']}") for row in read_csv(folder / TABLE, columns_of(()))]
    try:
        sample = make_sample(items, *(rest[key] for key in ("ledger_sha256", "strata", "blind", "bands", "seed")))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"not the key of a review sample ({error})", folder / REST) from error
    if sample.page != rest.get("page"):
        message = f"page {rest.get('page')!r}, but their contents make {sample.page!r}"
        message = f"{TABLE} and {REST} do not belong together or were changed: {message}"
        raise InputError(message, folder, "Use both as `review` wrote them.")
    return sample


def _read_rest(path: Path) -> dict:
    if not path.is_file():
        raise no_file(path, f"`review` wrote it beside {TABLE}.")
    rest = read_json(path)
    if not isinstance(rest, dict) or rest.get("format") != FORMAT:
        raise InputError(f"not a {FORMAT} file", path)
    if rest.get("format_version") != FORMAT_VERSION:
        raise InputError(f"format_version {rest.get('format_version')!r}, this program reads {FORMAT_VERSION}", path)
    return rest
