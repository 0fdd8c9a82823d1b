"""The files of an enhancement, written block by block, in memory that does not grow with the additions."""

from __future__ import annotations

import io
import math
import shutil
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy import sparse

from pseudolabel import layout
from pseudolabel.artefacts import json_text, whole_file, write_csv, write_json
from pseudolabel.errors import InputError
from pseudolabel.formatting import exact
from pseudolabel.labels.enhancement import Block, Enhancement, Enhancing
from pseudolabel.labels.ledger import GZIP_LEVEL, write_ledger, written_ledger
from pseudolabel.labels.outside import Outside
from pseudolabel.labels.summary import Tally
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.writers import as_text, csv_lines, label_lines
from pseudolabel.layout import LABEL_COLUMNS, MASK, TARGETS
from pseudolabel.scores.windows import CLIP
from pseudolabel.scores.writing import ScoreLayout, stored_types, write_scores

BLOCK_CLIPS = 8192
GUESS_COLUMNS = ("c", "carriers", "expected_precision")  # of thresholds.csv, with --threshold precision:P
FALLBACK = "too few labelled clips with scores: --fallback-threshold"
SAMPLE_ROWS = 1 << 15  # rows of the ledger that its size is estimated from


def write_enhancement(enhancement: Enhancement, folder: Path) -> None:
    """Write all results of `enhance` except run.json into an existing folder."""
    enhancement.labels.write(folder / layout.LABELS)
    write_ledger(enhancement.ledger, folder)
    _write_tables(enhancement.summary, enhancement.missing, enhancement.outside, folder)
    if enhancement.unsure is not None:
        labels, starts = enhancement.labels, range(0, len(enhancement.labels), BLOCK_CLIPS)
        spans = (slice(start, start + BLOCK_CLIPS) for start in starts)
        of_blocks = ((labels.matrix[rows], enhancement.unsure[rows]) for rows in spans)
        write_soft_targets(labels, of_blocks, folder, enhancement.masked)


def write_blocks(enhancing: Enhancing, counted: Tally, folder: Path, soft: bool = False) -> None:
    """Write the same files while holding only one block of clips.

    Args:
        counted: the additions to expect, from `enhancing.count()`.

    Raises:
        InputError: the additions differ from those counted: the scores have changed in the meantime.
    """
    written = enhancing.new_tally()
    blocks = _through_files(enhancing.blocks(written, soft), folder)
    if soft:
        of_blocks = ((block.labels, block.unsure) for block in blocks)
        write_soft_targets(enhancing.labels, of_blocks, folder, enhancing.search.rule.masked)
    else:
        deque(blocks, maxlen=0)
    if (written.by_class != counted.by_class).any():
        message = f"{len(counted):,} additions were counted and {len(written):,} found: the scores changed meanwhile"
        raise InputError(message, folder.name, "Run it again when nothing writes to the scores.")
    _write_tables(enhancing.summary(counted), enhancing.search.evidence.missing, enhancing.outside, folder)


def _through_files(blocks: Iterable[Block], folder: Path) -> Iterator[Block]:
    """Write each block's labels and ledger, then yield the block."""
    with (
        whole_file(folder / layout.LABELS) as temporary,
        open(temporary, "wb") as lines,
        written_ledger(folder) as write,
    ):
        lines.write(f"{','.join(LABEL_COLUMNS)}\n".encode())
        for block in blocks:
            lines.write(label_lines(block.clip_ids, block.labels, block.class_ids))
            write(block.ledger)
            yield block


def write_soft_targets(
    labels: LabelTable,
    blocks: Iterable[tuple[sparse.csr_array, sparse.csr_array]],
    folder: Path,
    masked: tuple[float, float] = (-math.inf, math.inf),
) -> None:
    """Write a student's targets: the score or probability of what is unsure, 1 for other labels, 0 for the rest.

    targets.h5 is a score store, `clip` (N, K) float16. mask.csv is a label list of the unsure ones, which a loss
    can ignore: E. Fonseca, S. Hershey, M. Plakal, D. Ellis, A. Jansen, R. C. Moore, X. Serra, "Addressing missing
    labels in large-scale sound event recognition using a teacher-student framework with loss masking", 2020.

    Args:
        labels: the clips and their vocabulary.
        blocks: enhanced labels (n, K) of consecutive clips, and float32 values with an explicit entry for each
            label that is unsure; NaN means no value, and makes the target 0.
        masked: mask.csv lists what is unsure and has a value between these, or none.
    """
    class_ids, (low, high) = labels.vocabulary.class_ids, masked
    with whole_file(folder / MASK) as temporary, open(temporary, "wb") as mask:
        mask.write(f"{','.join(LABEL_COLUMNS)}\n".encode())

        def targets() -> Iterator[dict[str, np.ndarray]]:
            first = 0
            for given, unsure in blocks:
                clip_ids = labels.clip_ids[first : first + given.shape[0]]
                unsure.sort_indices()
                chosen = np.isnan(unsure.data) | ((unsure.data > low) & (unsure.data < high))
                ignored = sparse.csr_array((chosen, unsure.indices.copy(), unsure.indptr.copy()), given.shape)
                ignored.eliminate_zeros()
                mask.write(label_lines(clip_ids, ignored, class_ids))
                first += given.shape[0]
                targets = given.astype(np.float32).toarray()
                clips = np.repeat(np.arange(given.shape[0]), np.diff(unsure.indptr))
                targets[clips, unsure.indices] = np.nan_to_num(unsure.data)
                yield {CLIP: targets}

        types = stored_types([CLIP], "float16")
        layout = ScoreLayout(labels.clip_ids, class_ids, {CLIP: labels.matrix.shape}, types=types)
        write_scores(folder / TARGETS, layout, targets(), {"vocabulary": labels.vocabulary.name})


def _write_tables(summary: dict, missing: Iterable[tuple[str, str]], outside: Iterable[Outside], folder: Path) -> None:
    for name, (columns, rows) in _tables(summary, missing, outside).items():
        write_csv(folder / name, columns, rows)
    write_json(folder / layout.SUMMARY, summary)


def _tables(
    summary: dict, missing: Iterable[tuple[str, str]], outside: Iterable[Outside]
) -> dict[str, tuple[Sequence[str], Iterable[Sequence[object]]]]:
    """Return the columns and rows of each CSV file beside the labels and the ledger."""
    reasons = {row["class_id"]: row["reason"] for row in summary["classes_without_threshold"]}
    reasons |= dict.fromkeys((row["class_id"] for row in summary["classes_with_fallback_threshold"]), FALLBACK)
    columns = ["class_id", "name", "threshold", "scored_positives", "reason"]
    columns += [name for name in GUESS_COLUMNS if "guesses" in summary]
    rows = [row | {"reason": reasons.get(row["class_id"], "")} for row in summary["by_class"]]
    return {
        layout.THRESHOLDS: (columns, ([_cell(row[name]) for name in columns] for row in rows)),
        layout.MISSING: (("clip_id", "reason"), missing),
        layout.OUTSIDE: (Outside._fields, (row.texts() for row in outside)),
    }


def _table_bytes(enhancing: Enhancing, counted: Tally) -> int:
    """Return the bytes of the tables and the summary."""
    summary = enhancing.summary(counted)
    tables = _tables(summary, enhancing.search.evidence.missing, enhancing.outside).values()
    n_csv = sum(len(",".join(map(str, row)).encode()) + 1 for columns, rows in tables for row in (columns, *rows))
    return n_csv + len(json_text(summary).encode())


def _cell(value: object) -> object:
    return "" if value is None else exact(value) if isinstance(value, float) else value


def announced(enhancing: Enhancing, counted: Tally, out: Path, soft: bool = False, n_more: int = 0) -> str:
    """Return one line: what will be added, and how large the files will be.

    Args:
        n_more: bytes of files beside those of `write_blocks`.

    Raises:
        InputError: the disk has too little room.
    """
    n_clips, n_before = len(enhancing.labels), enhancing.labels.matrix.nnz
    n_ledger, n_all = _expected_bytes(enhancing, counted, soft)
    n_all += n_more
    percent = f" (+{100 * len(counted) / n_before:.1f} %)" if n_before else ""
    line = f"will add {len(counted):,} labels{percent} to {counted.n_clips:,} of {n_clips:,} clips"
    line += f"; ledger about {_size(n_ledger)}, all files about {_size(n_all)}"
    there = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if n_all > free:
        remedy = "Give --out on another disk, or a higher --threshold or --floor, which adds less."
        raise InputError(f"{line}, and {_size(free)} are free", out, remedy)
    return line


def _expected_bytes(enhancing: Enhancing, counted: Tally, soft: bool) -> tuple[int, int]:
    """Return the bytes of the ledger's two files, and of all files, estimated from the block with most additions."""
    block = enhancing.fullest(counted, soft)
    n_clips, share = len(enhancing.labels), len(enhancing.labels) / max(len(block.clip_ids), 1)
    n_labels = int(share * len(label_lines(block.clip_ids, block.labels, block.class_ids)))
    n_ledger = 0
    if n_rows := min(len(block.ledger), SAMPLE_ROWS):
        rows, columns = block.ledger.slice(0, n_rows).combine_chunks(), io.BytesIO()
        pq.write_table(rows, columns, compression="zstd")
        lines = csv_lines([as_text(column.chunk(0)) for column in rows.columns])
        n_bytes = columns.tell() + len(zlib.compress(lines, GZIP_LEVEL))
        n_ledger = n_bytes * len(counted) // n_rows
    n_soft = 0
    if soft:
        n_soft = int(share * len(label_lines(block.clip_ids, block.unsure.astype(bool), block.class_ids)))
        n_soft += 2 * n_clips * block.labels.shape[1]
    return n_ledger, n_ledger + n_labels + n_soft + _table_bytes(enhancing, counted)


def _size(n_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size / 10:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes / 1e3:.1f} kB"
