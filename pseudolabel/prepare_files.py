"""The files beside a clip store: label lists and groups that `prepare` reads, and those that it writes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pseudolabel.audio.clip_blocks import KEPT
from pseudolabel.audio.clips import ClipStore
from pseudolabel.audio.files import AudioSource
from pseudolabel.audio.listing import nfc, other_files
from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.aliases import match_clips
from pseudolabel.layout import BALANCED, EVALUATION, LABEL_COLUMNS, LABELS, MISSING, VALIDATION
from pseudolabel.ownership import (
    begins_with,
    is_csv,
    read_run,
    readable_object,
    refuse_foreign_file,
    refuse_input_as_output,
)
from pseudolabel.progress import note
from pseudolabel.records import Inputs, sha256
from pseudolabel.tables import read_csv, text_rows

if TYPE_CHECKING:
    from pseudolabel.labels.table import LabelTable

GROUP_COLUMNS = ("clip_id", "group")
LISTS = (LABELS, BALANCED, VALIDATION, EVALUATION)  # lists that prepare writes beside a store


def has_groups(path: Path) -> bool:
    """Return whether a CSV file that nobody named has groups of clips; otherwise it is a table of something else."""
    return {*GROUP_COLUMNS} <= {*next(text_rows(path), (1, []))[1]}


def read_groups(path: Path | None) -> dict[str, str]:
    """Read `clip_id,group` from a CSV file; a clip without a group forms a group of its own."""
    groups: dict[str, str] = {}
    for row in read_csv(path, GROUP_COLUMNS) if path else ():
        if not row["clip_id"]:
            raise InputError("the clip id is empty", f"{path}:{row['line']}", "Give it one, or remove the row.")
        clip_id, group = nfc(row["clip_id"]), nfc(row["group"] or row["clip_id"])
        if groups.setdefault(clip_id, group) != group:
            raise InputError(f"clip {row['clip_id']!r} has two groups", f"{path}:{row['line']}", "Keep one row a clip.")
    return groups


def in_nfc(table: LabelTable, name: str) -> LabelTable:
    """Return a label list with its clip ids in Unicode NFC, as recordings are named here."""
    if all(map(str.isascii, table.clip_ids)):
        return table
    written: dict[str, str] = {}
    for clip_id in table.clip_ids:
        other = written.setdefault(nfc(clip_id), clip_id)
        if other != clip_id:
            both = f"{other!a} and {clip_id!a}"
            raise InputError(f"two clips have one id in Unicode NFC: {both}", name, "Keep one of them.")
    return replace(table, clip_ids=tuple(written))


@dataclass
class NamedRecordings:
    """Recordings under the clip ids of the lists.

    Args:
        files: {clip id: recording}, by clip id.
        aliases: {clip id in a list: clip id of the recording's own name}.
        elsewhere: {clip id in a list: clip id} for recordings that have the id of an earlier list.
    """

    files: dict[str, AudioSource]
    aliases: dict[str, str]
    elsewhere: dict[str, str]

    def groups(self, clip_ids: Iterable[str], listed: dict[str, str], segments: Path | None) -> list[str]:
        """Return each clip's group: that of its clip id or file name, else its segment's recording, else the clip."""
        groups = []
        for clip_id in clip_ids:
            stem = self.files[clip_id].stem
            groups.append(listed.get(clip_id) or listed.get(stem) or (stem if segments else clip_id))
        return groups


def name_recordings(files: dict[str, AudioSource], lists: dict[str, LabelTable], folder: Path) -> NamedRecordings:
    """Give each recording the id of the listed clip that it is; if the lists differ, the id of the first.

    Raises:
        ClipMismatch: two recordings may be one clip, or a list has one recording twice.
    """
    files, named, aliases, elsewhere = dict(files), set(), {}, {}
    for name, table in lists.items():
        matched = match_clips(table.clip_ids, files, folder)
        note(matched.report(f"recordings for {name}"))
        aliases |= matched.aliases
        for clip_id, own_id in matched.aliases.items():
            if own_id in named:
                elsewhere[clip_id] = own_id
            else:
                files[clip_id] = files.pop(own_id)
        named.update(clip_id for clip_id in matched.found if clip_id not in elsewhere)
    return NamedRecordings(dict(sorted(files.items())), aliases, elsewhere)


def recorded_lists(folder: Path) -> dict[str, set[str]]:
    """Return {list: checksums that runs of prepare wrote}, from the run records beside the stores.

    Records of earlier versions name no lists: unless simulate wrote the lists, those that their options name count.
    """
    checksums: dict[str, set[str]] = {name: set() for name in LISTS}
    for path in folder.glob("*.run.json"):
        record = readable_object(path)
        lists = record.get("lists")
        if record.get("verb") != "prepare":
            continue
        if "lists" not in record and read_run(folder).get("verb") != "simulate":
            options = record.get("options")
            asked = options if isinstance(options, dict) else {}
            names = [name for name in LISTS if asked.get(Path(name).stem, True) and (folder / name).is_file()]
            lists = {name: sha256(folder / name) for name in names}
        for name in checksums.keys() & lists.keys() if isinstance(lists, dict) else ():
            checksums[name].add(str(lists[name]))
    return checksums


def lists_written(folder: Path, names: Iterable[str], recorded: dict[str, set[str]]) -> dict[str, str]:
    """Return {list: checksum} of the lists in a folder written by this run (`names`) or an earlier one."""
    present = {name: sha256(folder / name) for name in LISTS if (folder / name).is_file()}
    return {name: digest for name, digest in present.items() if name in names or digest in recorded[name]}


def lists_to_write(
    folder: Path, lists: dict[str, LabelTable], overwrite: bool, inputs: Inputs, recorded: dict[str, set[str]]
) -> list[str]:
    """Return the lists that a folder lacks; replacing an existing one that differs needs `overwrite`.

    Args:
        recorded: from `recorded_lists`; lists that prepare did not write are never replaced.
    """
    from pseudolabel.labels.table import LabelTable  # slow to import: not in every process that decodes

    def differs(path: Path, table: LabelTable) -> bool:
        try:
            return not path.exists() or LabelTable.read(path, table.vocabulary) != table
        except InputError:
            return True

    outdated = [name for name, table in lists.items() if differs(folder / name, table)]
    is_list = is_csv(LABEL_COLUMNS)
    for path in (folder / name for name in outdated):
        refuse_input_as_output(path, inputs.sha256)
        if path.is_file() and is_list(path) and sha256(path) not in recorded[path.name]:
            message = "a label list that differs and is not as prepare wrote it, so it is not replaced"
            raise InputError(message, path, "Move it, or give another --work or --out.")
        refuse_foreign_file(path, overwrite, is_list, "a label list")
    return outdated


def missing_clips(
    lists: dict[str, LabelTable],
    stored: set[str],
    skipped: list[tuple[str, str, str]],
    elsewhere: dict[str, str],
    audio: Iterable[Path],
) -> list[tuple[str, str, str]]:
    """Return (clip id, list, reason) of labelled clips that are not stored, not even under an id in `elsewhere`."""
    reasons = {row[0]: row[2] for row in skipped}
    missing = [
        (clip_id, name, elsewhere.get(clip_id, clip_id))
        for name, table in lists.items()
        for clip_id in table.clip_ids
        if elsewhere.get(clip_id, clip_id) not in stored
    ]
    absent = {own_id for _, _, own_id in missing if own_id not in reasons}
    for clip_id, path in itertools.chain.from_iterable(other_files(folder, absent).items() for folder in audio):
        reasons[clip_id] = f"no audio file: {path.name} has no suffix of recordings"
    return [(clip_id, name, reasons.get(own_id, "no audio file")) for clip_id, name, own_id in missing]


def check_missing(lists: dict[str, LabelTable], missing: list[tuple[str, str, str]], audio: Path, strict: bool) -> str:
    """Return a sentence on how many labelled clips have no audio.

    Raises:
        ClipMismatch: no clip of a list has audio, or with `strict` one has none.
    """
    labelled = {clip_id for table in lists.values() for clip_id in table.clip_ids}
    silent = dict.fromkeys(row[0] for row in missing)
    without_audio = f"{len(silent)} of {len(labelled)} labelled clips have no audio"
    whole = [name for name, table in lists.items() if len(table) and silent.keys() >= set(table.clip_ids)]
    if silent and (strict or whole):
        in_full = f", all of {' and '.join(whole)}" if whole else ""
        remedy = "Check --audio and --labels: clip ids are file names without their suffix."
        raise ClipMismatch(f"{without_audio}{in_full}: {first_few(silent)}", audio, remedy)
    return without_audio


@dataclass
class Reports:
    """The files beside a store that say what was left out, and how the store was made."""

    out: Path

    def __post_init__(self) -> None:
        self.skipped, self.missing = self.out.with_name("skipped.csv"), self.out.with_name(MISSING)
        self.run = self.out.with_name(f"{self.out.stem}.run.json")

    def refuse_foreign(self, inputs: Inputs) -> None:
        """Raise InputError if one of them, or the store, is an input or was not written by prepare."""
        for path, is_ours, what in (
            (self.skipped, is_csv(("clip_id", "file", "reason")), "a list of skipped recordings"),
            (self.missing, is_csv(("clip_id", "list", "reason")), "a list of missing clips"),
            (self.run, begins_with('{\n  "verb": "prepare"'), "the record of a run"),
        ):
            refuse_foreign_file(path, True, is_ours, what)
            refuse_input_as_output(path, inputs.sha256)
        refuse_input_as_output(self.out, inputs.sha256)

    def with_earlier(self, skipped: list[tuple[str, str, str]], old: ClipStore | None) -> list[tuple[str, str, str]]:
        """Return the rows of skipped.csv, including earlier ones about clips of the old store."""
        if old is None or not self.skipped.exists():
            return skipped
        rows = [(row["clip_id"], row["file"], row["reason"]) for row in read_csv(self.skipped)]
        kept = [row for row in rows if row[2].startswith(KEPT) and row[0] in old.index]
        return sorted([*kept, *skipped], key=lambda row: row[0])
