"""The files beside a clip store: label lists and groups that `prepare` reads, and what it writes of them."""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pseudolabel import cli
from pseudolabel.audio.clips import ClipStore
from pseudolabel.audio.decoding import KEPT
from pseudolabel.audio.listing import nfc, other_files
from pseudolabel.errors import InputError
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.ownership import begins_with, refuse_foreign_file, refuse_input_as_output
from pseudolabel.records import Inputs
from pseudolabel.tables import read_csv

if TYPE_CHECKING:
    from pseudolabel.labels.table import LabelTable


def read_groups(path: Path | None) -> dict[str, str]:
    """Read `clip_id,group` from a CSV file; a clip without a group is a group of its own."""
    groups: dict[str, str] = {}
    for row in read_csv(path, ("clip_id", "group")) if path else ():
        if not row["clip_id"]:
            raise InputError("the clip id is empty", f"{path}:{row['line']}")
        clip_id, group = nfc(row["clip_id"]), nfc(row["group"] or row["clip_id"])
        if groups.setdefault(clip_id, group) != group:
            raise InputError(f"clip {row['clip_id']!r} has two groups", f"{path}:{row['line']}", "Keep one row a clip.")
    return groups


def label_lists(args: argparse.Namespace, out: Path, inputs: Inputs) -> dict[str, LabelTable]:
    """Return file name -> label list, of those that are given, or lie in WORK beside its recordings."""
    given = {"labels.csv": args.labels, "balanced.csv": args.balanced, "validation.csv": args.validation,
             "eval.csv": args.eval}  # fmt: skip
    own = own_lists(args)
    vocabulary = Vocabulary.load(inputs.read(cli.vocabulary_source(args, None if own else args.out and out)))
    if own:
        given = {name: [args.work / name] for name in cli.LABEL_LISTS if (args.work / name).is_file()}
    for path in itertools.chain(*filter(None, given.values())):
        inputs.read(path)
    return {name: in_nfc(cli.read_labels(args, paths, vocabulary, own), name) for name, paths in given.items() if paths}


def own_lists(args: argparse.Namespace) -> bool:
    """Return whether the lists are those that lie in WORK."""
    return args.audio is None and not any((args.labels, args.balanced, args.validation, args.eval))


def in_nfc(table: LabelTable, place: str) -> LabelTable:
    """Return a label list whose clip ids are in Unicode NFC, as recordings are named here."""
    if all(map(str.isascii, table.clip_ids)):
        return table
    written: dict[str, str] = {}
    for clip_id in table.clip_ids:
        other = written.setdefault(nfc(clip_id), clip_id)
        if other != clip_id:
            both = f"{other!a} and {clip_id!a}"
            raise InputError(f"two clips have one id in Unicode NFC: {both}", place, "Keep one of them.")
    return replace(table, clip_ids=tuple(written))


def lists_to_write(folder: Path, lists: dict[str, LabelTable], overwrite: bool, inputs: Inputs) -> list[str]:
    """Return the lists that a folder has not got yet; one that lies there and differs needs `overwrite`."""
    from pseudolabel.labels.table import LabelTable  # slow to import: not in every process that decodes

    def differs(path: Path, table: LabelTable) -> bool:
        try:
            return not path.exists() or LabelTable.read(path, table.vocabulary) != table
        except InputError:
            return True

    outdated = [name for name, table in lists.items() if differs(folder / name, table)]
    for name in outdated:
        refuse_foreign_file(folder / name, overwrite, begins_with("clip_id", "labels"), "a label list")
        refuse_input_as_output(folder / name, inputs.sha256)
    return outdated


def missing_clips(
    lists: dict[str, LabelTable],
    stored: set[str],
    skipped: list[tuple[str, str, str]],
    elsewhere: dict[str, str],
    audio: Path,
) -> list[tuple[str, str, str]]:
    """Return (clip id, list, reason) of labelled clips that are not stored, neither under an id `elsewhere`."""
    reasons = {row[0]: row[2] for row in skipped}
    missing = [
        (clip_id, name, elsewhere.get(clip_id, clip_id))
        for name, table in lists.items()
        for clip_id in table.clip_ids
        if elsewhere.get(clip_id, clip_id) not in stored
    ]
    absent = {known for _, _, known in missing if known not in reasons}
    for clip_id, path in other_files(audio, absent).items() if absent else ():
        reasons[clip_id] = f"no audio file: {path.name} is not named as a kind of recording that is read"
    return [(clip_id, name, reasons.get(known, "no audio file")) for clip_id, name, known in missing]


@dataclass
class Reports:
    """The files beside a store that say what was left out of it, and how it was made."""

    out: Path

    def __post_init__(self) -> None:
        self.skipped, self.missing = self.out.with_name("skipped.csv"), self.out.with_name("missing.csv")
        self.run = self.out.with_name(f"{self.out.stem}.run.json")

    def refuse_foreign(self, inputs: Inputs) -> None:
        """Raise InputError where one of them, or the store, is an input or somebody else's."""
        for path, head, what in ((self.skipped, "clip_id,file,reason", "a list of skipped recordings"),
                                 (self.missing, "clip_id,list,reason", "a list of missing clips"),
                                 (self.run, '{\n  "verb": "prepare"', "the record of a run")):  # fmt: skip
            refuse_foreign_file(path, True, begins_with(head), what)
            refuse_input_as_output(path, inputs.sha256)
        refuse_input_as_output(self.out, inputs.sha256)

    def with_earlier(self, skipped: list[tuple[str, str, str]], old: ClipStore | None) -> list[tuple[str, str, str]]:
        """Return the rows of skipped.csv, with what it says of clips that the store had before."""
        if old is None or not self.skipped.exists():
            return skipped
        rows = [(row["clip_id"], row["file"], row["reason"]) for row in read_csv(self.skipped)]
        kept = [row for row in rows if row[2].startswith(KEPT) and row[0] in old.index]
        return sorted([*kept, *skipped], key=lambda row: row[0])
