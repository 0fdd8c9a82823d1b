"""Committees beside their members, as PSLA's Table XI: ensemble.sh.

python recipes/committees.py --work WORK "seeds=psla-seed0 psla-seed1"   # -> WORK/committees.csv, .txt

A committee is a score store that WORK/evaluation has measured; its members are runs or stores that were measured there
or in WORK/members.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pseudolabel import dry_run
from pseudolabel.artefacts import write_csv, write_json, write_text
from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError
from pseudolabel.options import VerbOptions, option
from pseudolabel.records import sha256
from pseudolabel.reports.text_tables import Table

HEADER = ("committee", "models", "mean mAP", "best mAP", "committee mAP")


@dataclass(frozen=True, kw_only=True)
class CommitteeOptions(VerbOptions):
    """Which committees."""

    committees: tuple[str, ...] = option((), "stores and their members", metavar="NAME=MEMBERS", positional=True)


def measured(folder: Path) -> dict[str, float]:
    """Return {run or store: mAP} of an evaluation, against the truth where it is known."""
    try:
        runs = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"no evaluation ({error})", folder) from error
    return {run["run"]: run["metrics"].get("truth", run["metrics"].get("noisy", {})).get("map") for run in runs}


def compare(options: CommitteeOptions) -> None:
    """Write a line a committee: how many members, their mean, their best, and the committee's own mAP."""
    found, lines, folders = {}, [], (options.work / "members", options.work / "evaluation")
    inputs = {str(folder / "metrics.json"): sha256(folder / "metrics.json") for folder in folders}
    for folder in folders:
        found.update(measured(folder))
    for text in options.committees:
        name, _, members = text.partition("=")
        absent = [member for member in (name, *members.split()) if member not in found]
        if absent or not members.split():
            raise InputError(f"was not measured: {(absent or ['no member'])[0]}", f"{name}={members}", "Evaluate it.")
        values = [found[member] for member in members.split()]
        figures = (sum(values) / len(values), max(values), found[name])
        lines.append((name, str(len(values)), *(f"{value:.4f}" for value in figures)))
    write_csv(options.work / "committees.csv", HEADER, lines)
    write_json(options.work / "committees.run.json", {"inputs": inputs})
    write_text(options.work / "committees.txt", f"{Table(HEADER, lines).aligned()}\n")


def plan(options: CommitteeOptions) -> str:
    """Return what a dry run says of the table."""
    dry_run.refuse_absent(*(options.work / name / "metrics.json" for name in ("members", "evaluation")))
    return f"would write {options.work / 'committees.txt'}"


def main(argv: Sequence[str] | None = None) -> int:
    """Compare the committees."""
    return run_command("committees", __doc__, Command(CommitteeOptions, compare, plan), argv)


if __name__ == "__main__":
    raise SystemExit(main())
