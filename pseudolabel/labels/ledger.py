"""Ledger: one row for every added label, with what spoke for it.

| column | |
|---|---|
| `clip_id`, `class_id` | the added label |
| `error` | `I` (missing child), `II` (missing parent) or `I+II` (both types proposed it) |
| `because` | every label that made it a candidate, joined by `;`, vocabulary order |
| `score`, `threshold` | the teacher's score and the class's threshold; added because score > threshold |
| `probability` | that the label is right, where the rule estimates it, else empty |
| `round` | 1 for labels proposed by the original ones |
| `window_s`, `onset_s` | the window that was the evidence; empty for the whole clip |

Rows run by clip, as in the label list, and then by class, as in the vocabulary.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pseudolabel.artefacts import whole_file
from pseudolabel.labels.proposals import ERROR_NAMES, Proposals

SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("class_id", pa.string()),
        ("error", pa.string()),
        ("because", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("probability", pa.float64()),
        ("round", pa.int32()),
        ("window_s", pa.float64()),
        ("onset_s", pa.float64()),
    ]
)


def ledger_rows(
    clip_ids: Iterable[str],
    class_ids: Iterable[str],
    additions: Proposals,
    support: tuple[np.ndarray, np.ndarray],
    scores: np.ndarray,
    thresholds: np.ndarray,
) -> pa.Table:
    """Return the ledger of `additions` that whole-clip scores decided in the first round.

    Args:
        clip_ids, class_ids: what the numbers in `additions` mean.
        support: `supporting_labels` of the additions.
        scores, thresholds: (M,) float64, of each addition.
    """
    class_ids, n_rows = pa.array(class_ids, pa.string()), len(additions.clips)
    offsets, labels = support
    because = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), class_ids.take(pa.array(labels)))
    nothing = pa.nulls(n_rows, pa.float64())
    columns = [
        pa.array(clip_ids, pa.string()).take(pa.array(additions.clips)),
        class_ids.take(pa.array(additions.classes)),
        pa.array(ERROR_NAMES).take(pa.array(additions.types)),
        pc.binary_join(because, ";"),
        pa.array(scores, pa.float64()),
        pa.array(thresholds, pa.float64()),
        nothing,
        pa.array(np.ones(n_rows, np.int32)),
        nothing,
        nothing,
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def write_ledger(ledger: pa.Table, folder: str | Path) -> None:
    """Write `ledger.parquet` and `ledger.csv.gz` (floats with 17 significant digits, no time stamp) into `folder`."""
    folder = Path(folder)
    with whole_file(folder / "ledger.parquet") as temporary:
        pq.write_table(ledger, temporary, compression="zstd", row_group_size=1 << 20)
    with (
        whole_file(folder / "ledger.csv.gz") as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(ledger.column_names)
        writer.writerows(_csv_rows(ledger))


def _csv_rows(ledger: pa.Table) -> Iterator[tuple]:
    for batch in ledger.to_batches(max_chunksize=1 << 16):
        columns = []
        for field, column in zip(batch.schema, batch.columns, strict=True):
            values = column.to_pylist()
            if pa.types.is_floating(field.type):
                values = ["" if value is None else f"{value:.17g}" for value in values]
            columns.append(values)
        yield from zip(*columns, strict=True)
