"""Several score stores of one model become one: `score --merge`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pseudolabel.blocks import only_run
from pseudolabel.errors import first_few
from pseudolabel.ownership import refuse_input_as_output
from pseudolabel.records import Inputs, run_record
from pseudolabel.score_import import refuse_foreign_store, write_beside
from pseudolabel.scores.merging import merge_scores
from pseudolabel.scores.store import ScoreStore


def merge_stores(args: argparse.Namespace, out: Path) -> None:
    """Make one store of those that --merge names."""
    refuse_input_as_output(out, args.merge)
    with only_run(out):
        _merge(args, refuse_foreign_store(out, args.overwrite))


def _merge(args: argparse.Namespace, out: Path) -> None:
    inputs = Inputs()
    stores = [ScoreStore.open(inputs.read(path)) for path in args.merge]
    record = run_record("score", vars(args), inputs)

    def beside(crc32: int) -> None:
        write_beside(out, {**record, "tables_crc32": crc32})

    merging = merge_scores(stores, out, args.name, args.overwrite, beside)
    remark = f"; the stores differ in {first_few(merging.differing, 8)}" if merging.differing else ""
    print(f"wrote {out}: {len(stores)} stores, {len(merging)} clips x {len(merging.class_ids)} classes at "
          f"{', '.join(merging.holders)}{remark}")  # fmt: skip
