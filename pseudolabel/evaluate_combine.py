"""`evaluate combine`: one table over several evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pseudolabel import dry_run
from pseudolabel.artefacts import write_text
from pseudolabel.command import Command
from pseudolabel.errors import InputError
from pseudolabel.layout import EVALUATION_FOLDER, METRICS_FILE
from pseudolabel.options import VerbOptions, option
from pseudolabel.ownership import refuse_foreign_file
from pseudolabel.reports.combined import additions_sentence, combined_table, is_combined, read_metrics


@dataclass(frozen=True, kw_only=True)
class CombineOptions(VerbOptions):
    """Which evaluations to combine in one table."""

    evaluations: tuple[Path, ...] = option((), "evaluated work folders", metavar="WORK", positional=True)
    out: Path | None = option(None, "file to write the table to as Markdown (default: none)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.evaluations:
            raise InputError("nothing to combine", "", "Name the work folders that were evaluated.")


def combine(options: CombineOptions) -> None:
    """Print one table over several evaluations, and write it to --out if given."""
    corpora = [read_metrics(folder) for folder in options.evaluations]
    table = combined_table(corpora)
    print(f"{table.aligned()}\n\n{additions_sentence(corpora)}")
    if options.out:
        refuse_foreign_file(options.out, options.overwrite, is_combined, "a table", (".md",))
        write_text(options.out, f"{table.markdown()}\n\n{additions_sentence(corpora)}\n", options.overwrite)


def plan_combination(options: CombineOptions) -> str:
    """Check that every evaluation exists or will exist; return what a dry run says about the table."""
    for folder in options.evaluations:
        if not dry_run.there(folder / METRICS_FILE):
            dry_run.refuse_absent(folder / EVALUATION_FOLDER / METRICS_FILE)
    if options.out:
        check = partial(refuse_foreign_file, options.out, options.overwrite, is_combined, "a table", (".md",))
        dry_run.refuse_output(options.out, options.overwrite, check)
    written = f", and write {options.out}" if options.out else ""
    return f"would show one table of {len(options.evaluations)} evaluations{written}"


COMBINED = Command(CombineOptions, combine, plan_combination)
