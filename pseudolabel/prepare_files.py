"""The files beside a clip store: label lists and groups that `prepare` reads, and what it writes of them."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pseudolabel import cli
from pseudolabel.audio.clips import ClipStore
from pseudolabel.audio.decoding import KEPT
from pseudolabel.audio.listing import nfc, other_files
from pseudolabel.errors import InputError
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.ownership import begins_with, read_run, readable_object, refuse_foreign_file, refuse_input_as_output
from pseudolabel.records import Inputs, sha256
from pseudolabel.tables import read_csv

if TYPE_CHECKING:
    from pseudolabel.labels.table import LabelTable

LISTS = ("labels.csv", "balanced.csv", "validation.csv", "eval.csv")  # that prepare writes beside a store
LIST_HEADS = ("clip_id", "labels")  # what a label list begins with


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


def recorded_lists(folder: Path) -> dict[str, set[str]]:
    """Return {list: checksums of what runs of prepare wrote there}, as their records beside the stores say.

    Records of earlier versions name no lists: theirs are those that their options ask for, where simulate wrote none.
    """
    found: dict[str, set[str]] = {name: set() for name in LISTS}
    for path in folder.glob("*.run.json"):
        record = readable_object(path)
        lists = record.get("lists")
        if record.get("verb") != "prepare":
            continue
        if "lists" not in record and read_run(folder).get("verb") != "simulate":
            options = record.get("options")
            asked = options if isinstance(options, dict) else {}
            lists = {name: sha256(folder / name) for name in LISTS
                     if asked.get(Path(name).stem, True) and (folder / name).is_file()}  # fmt: skip
        for name in found.keys() & lists.keys() if isinstance(lists, dict) else ():
            found[name].add(str(lists[name]))
    return found


def lists_written(folder: Path, names: Iterable[str], earlier: dict[str, set[str]]) -> dict[str, str]:
    """Return {list: checksum} of the lists in a folder that this run wrote, `names`, or an earlier one did."""
    there = {name: sha256(folder / name) for name in LISTS if (folder / name).is_file()}
    return {name: digest for name, digest in there.items() if name in names or digest in earlier[name]}


def lists_to_write(
    folder: Path, lists: dict[str, LabelTable], overwrite: bool, inputs: Inputs, recorded: dict[str, set[str]]
) -> list[str]:
    """Return the lists that a folder has not got yet; one that lies there and differs needs `overwrite`.

    Args:
        recorded: of `recorded_lists`; what prepare did not write is not replaced.
    """
    from pseudolabel.labels.table import LabelTable  # slow to import: not in every process that decodes

    def differs(path: Path, table: LabelTable) -> bool:
        try:
            return not path.exists() or LabelTable.read(path, table.vocabulary) != table
        except InputError:
            return True

    outdated, is_list = (
        [name for name, table in lists.items() if differs(folder / name, table)],
        begins_with(*LIST_HEADS),
    )
    for path in (folder / name for name in outdated):
        refuse_input_as_output(path, inputs.sha256)
        if path.is_file() and is_list(path) and sha256(path) not in recorded[path.name]:
            raise InputError("a label list that differs and is not as prepare wrote it, so it is not replaced", path,
                             "Move it, or give another --work or --out.")  # fmt: skip
        refuse_foreign_file(path, overwrite, is_list, "a label list")
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
