"""Merge score stores (`score merge`), verify them (`score verify`), and manage the files beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pseudolabel import cli, dry_run
from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.blocks import only_run
from pseudolabel.command import Command
from pseudolabel.errors import InputError, first_few
from pseudolabel.layout import CLIPS, SCORES, STORE_ENDINGS
from pseudolabel.options import VerbOptions, option
from pseudolabel.ownership import begins_with, has_format, is_csv, refuse_foreign_file, refuse_input_as_output
from pseudolabel.plan_checks import check_stores, promise_joined
from pseudolabel.records import Inputs, run_record
from pseudolabel.scores.merging import check_parts, merge_scores
from pseudolabel.scores.store import ScoreStore
from pseudolabel.verification import verify_store

RECORDS = ('{\n  "verb": "score"', '{\n  "verb": "average"')  # how the records beside a store begin
MISSING_LISTS = (("clip_id", "reason"), ("kind", "id", "missing_in"))  # columns of lists of what lacks


@dataclass(frozen=True, kw_only=True)
class MergeOptions(VerbOptions):
    """Which stores of one model to merge, of other clips or of other scales."""

    stores: tuple[Path, ...] = option((), "score stores, two or more", metavar="STORE", positional=True)
    name: str | None = option(
        None, "name of the model (default: the one in the stores; imports have their files' names)"
    )
    out: Path | None = option(None, "score store (default: scores.h5 in the stores' WORK)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.stores) < 2:
            raise InputError("one store alone cannot be merged", "", "Name two or more.")


@dataclass(frozen=True, kw_only=True)
class VerifyStoreOptions(VerbOptions):
    """Which store to read and compare with its checksums."""

    file: Path = option(help="store of scores or clips", positional=True)
    clips: Path | None = option(None, "clip store that windows are compared with (default: clips.h5 beside the store)")


def merge_stores(options: MergeOptions) -> None:
    """Merge several stores into one."""
    out = _merged(options)
    refuse_input_as_output(out, options.stores)
    with only_run(out):
        refuse_foreign_store(out, options.overwrite)
        inputs = Inputs()
        stores = [ScoreStore.open(inputs.read(path)) for path in options.stores]
        record = run_record("score", asdict(options), inputs)

        def beside(crc32: int) -> None:
            write_beside(out, {**record, "tables_crc32": crc32})

        merging = merge_scores(stores, out, options.name, options.overwrite, beside)
    remark = f"; the stores differ in {first_few(merging.differing, 8)}" if merging.differing else ""
    held = f"{len(merging)} clips x {len(merging.class_ids)} classes at {', '.join(merging.scales)}"
    print(f"wrote {out}: {len(stores)} stores, {held}{remark}")


def plan_merge(options: MergeOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about the merged store."""
    out = _merged(options)
    dry_run.refuse_output(out, options.overwrite, lambda: refuse_foreign_store(out, options.overwrite))
    refuse_input_as_output(out, options.stores)
    dry_run.refuse_absent(*options.stores)
    check_stores(ScoreStore, *options.stores)
    if not dry_run.of_recipe():
        check_parts([ScoreStore.open(path) for path in options.stores], options.name)
    promise_joined(out, options.stores, any)
    return f"would write {out}: {len(options.stores)} stores"


def _merged(options: MergeOptions) -> Path:
    return options.out or cli.home(options, *options.stores) / SCORES


def verify_file(options: VerifyStoreOptions) -> None:
    """Read all of a store and print whether it is intact."""
    print(verify_store(options.file, cli.default_file(options, options.clips, CLIPS, options.file)))


def plan_verify_store(options: VerifyStoreOptions) -> str:
    """Return what a dry run says about verifying a store."""
    dry_run.refuse_absent(options.file)
    return f"would verify {options.file}"


MERGE = Command(MergeOptions, merge_stores, plan_merge)
VERIFY = Command(VerifyStoreOptions, verify_file, plan_verify_store)


# ---- the files beside a store -----------------------------------------------------------------------------------


def files_beside(out: Path) -> tuple[Path, Path]:
    """Return the files beside a store: the record of its run, and the list of what it lacks."""
    return out.with_name(f"{out.stem}.run.json"), out.with_name(f"{out.stem}.missing.csv")


def refuse_foreign_store(out: Path, overwrite: bool) -> None:
    """Raise InputError if a store or a file beside it may not be replaced, or was not written by this package."""
    is_store = has_format(ScoreStore.FORMAT, *ScoreStore.EARLIER_FORMATS)
    refuse_foreign_file(out, overwrite, is_store, "a score store", STORE_ENDINGS)
    record, missing = files_beside(out)
    refuse_foreign_file(record, True, begins_with(*RECORDS), "the record of a run")
    refuse_foreign_file(missing, True, is_csv(*MISSING_LISTS), "a list of what lacks")


def write_beside(out: Path, record: Mapping[str, object], header: Sequence[str] = (), missing: Sequence = ()) -> None:
    """Write the files beside a store, before the store itself; the second only if there is a header."""
    of_run, of_missing = files_beside(out)
    write_json(of_run, record)
    if header:
        write_csv(of_missing, header, missing)
