"""Label lists that recipes make of others.

python recipes/lists.py fsd50k GROUND_TRUTH WORK          # FSD50K's own division -> WORK/lists, WORK/vocabulary.csv
python recipes/lists.py hold-out WORK --labels train.csv  # a list to validate on -> WORK/lists: train, validation
python recipes/lists.py slim WORK OUT --clips 2100        # one of five classes a clip -> OUT/labels, validation, eval
python recipes/lists.py part WORK --of 5                  # every fifth group of the training list -> WORK/part, rest

Clips are drawn by a seed and the clips' ids alone: the order of the lists does not matter.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel import dry_run
from pseudolabel.artefacts import whole_folder, write_json
from pseudolabel.audio.clips import ClipStore
from pseudolabel.audio.listing import nfc
from pseudolabel.cli import existing
from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.aliases import clip_name
from pseudolabel.labels.balancing import class_counts
from pseudolabel.labels.readers import clip_id_of
from pseudolabel.labels.splits import fold_numbers, held_out_rows
from pseudolabel.labels.table import LabelTable, read_lists
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.options import COUNT, WHOLE, Options, option
from pseudolabel.prepare_files import read_groups
from pseudolabel.records import sha256

SLIM_CLASSES = ("Music", "Human voice", "Animal", "Vehicle", "Water")  # of Susini 2022; no clip has two of them
SLIM_SHARES = {"labels": 0.65, "validation": 0.15, "eval": 0.20}


@dataclass(frozen=True, kw_only=True)
class Fsd50kOptions(Options):
    """From where to where."""

    ground_truth: Path = option(help="folder of dev.csv and eval.csv", positional=True)
    work: Path = option(help="work folder", positional=True)


@dataclass(frozen=True, kw_only=True)
class HoldOutOptions(Options):
    """How much of which lists is held out."""

    work: Path = option(help="work folder", positional=True)
    labels: tuple[Path, ...] = option(help="training lists")
    balanced: Path | None = option(None, "balanced list")
    eval: Path | None = option(None, "evaluation list")
    groups: Path | None = option(None, "CSV clip_id,group: clips of one group stay together")
    vocabulary: str = option("audioset", "audioset, fsd50k, esc50 or a CSV file")
    least: int = option(5, "clips of each class that are held out, where it has twice as many", COUNT)
    seed: int = option(0, "which clips", WHOLE)


@dataclass(frozen=True, kw_only=True)
class SlimOptions(Options):
    """How many clips of which classes."""

    work: Path = option(help="work folder", positional=True)
    out: Path = option(help="folder to write", positional=True)
    classes: tuple[str, ...] = option(SLIM_CLASSES, "names or ids")
    clips: int = option(2100, "clips of each class, at most", COUNT)
    seed: int = option(0, "which clips", WHOLE)


@dataclass(frozen=True, kw_only=True)
class PartOptions(Options):
    """How large a part."""

    work: Path = option(help="work folder", positional=True)
    of: int = option(5, "one part of so many is held out", COUNT)
    seed: int = option(0, "which part", WHOLE)


def fsd50k(options: Fsd50kOptions) -> None:
    """Write train, validation and evaluation list, in FSD50K's own division of its development set."""
    vocabulary = Vocabulary.load("fsd50k")
    dev, evaluation = (LabelTable.read(options.ground_truth / name, vocabulary) for name in ("dev.csv", "eval.csv"))
    with open(options.ground_truth / "dev.csv", newline="", encoding="utf-8") as file:
        split = {clip_id_of(row["fname"]): row.get("split") for row in csv.DictReader(file)}
    strange = sorted({str(name) for name in split.values()} - {"train", "val"})
    if strange:
        raise InputError(f"split {strange[0]!r}; known: train, val", options.ground_truth / "dev.csv")
    parts = {name: [clip_id for clip_id in dev.clip_ids if split[clip_id] == name] for name in ("train", "val")}
    vocabulary.write(options.work / "vocabulary.csv")
    with whole_folder(options.work / "lists", False) as folder:
        dev.select(parts["train"]).write(folder / "train.csv")
        dev.select(parts["val"]).write(folder / "validation.csv")
        evaluation.write(folder / "eval.csv")
        write_inputs(folder / "run.json", *(options.ground_truth / name for name in ("dev.csv", "eval.csv")))
    print(f"wrote {options.work / 'lists'}: {len(parts['train'])}, {len(parts['val'])}, {len(evaluation)} clips")


def hold_out(options: HoldOutOptions) -> None:
    """Write a list to validate on and the training lists without its clips, groups and recordings.

    At least so many clips of each class that has twice as many are drawn (Moore et al. 2023, 2.2.2), of those that are
    in no balanced list, where there is one; never one whose recording or group is in the evaluation list.
    """
    vocabulary = Vocabulary.load(options.vocabulary)
    labels = read_lists(options.labels, vocabulary)
    few, evaluation = (LabelTable.read(path, vocabulary, unknown="skip").clip_ids if path else ()
                       for path in (options.balanced, options.eval))  # fmt: skip
    kinship = Kinship(labels.clip_ids, read_groups(options.groups))
    open_to_draw = ~kinship.with_kin(kinship.shared_with(evaluation))
    apart = open_to_draw & ~kinship.with_kin(kinship.shared_with(few))
    for rows in (np.flatnonzero(apart), np.flatnonzero(open_to_draw)):
        candidates = labels.select([labels.clip_ids[row] for row in rows])
        enough = class_counts(candidates.matrix) >= 2 * options.least
        if enough.any():
            break
    else:
        message = f"no class has {2 * options.least} clips, of which {options.least} could be held out to validate on"
        raise InputError(message, first_few(options.labels), "Give DATA a validation.csv.")
    kept = sparse.csr_array(candidates.matrix.multiply(enough[None]))
    drawn = rows[held_out_rows(replace(candidates, matrix=kept), options.least, options.seed)]
    held = kinship.with_kin(np.isin(np.arange(len(labels)), drawn))
    if held.all():
        message = "all clips are of groups that would be held out"
        raise InputError(message, options.groups, "Give DATA a validation.csv.")
    clip_ids = np.array(labels.clip_ids, dtype=object)
    with whole_folder(options.work / "lists", False) as folder:
        labels.select(clip_ids[held].tolist()).write(folder / "validation.csv")
        labels.select(clip_ids[~held].tolist()).write(folder / "train.csv")
        if options.balanced:
            out = set(clip_ids[held].tolist())
            known = [clip_id for clip_id in few if clip_id in labels.row_of and clip_id not in out]
            labels.select(known).write(folder / "balanced.csv")
        inputs = (*options.labels, options.balanced, options.eval, options.groups)
        write_inputs(folder / "run.json", *filter(None, inputs))
    n_held, n_left = int(held.sum()), int((~held).sum())
    print(f"wrote {options.work / 'lists'}: {n_held:,} clips to validate on, {n_left:,} to train on")


class Kinship:
    """Which clips of a list may not be divided: those of one group, and those whose names are of one recording."""

    def __init__(self, clip_ids: Sequence[str], groups: dict[str, str]):
        self.groups = groups
        self.names = [self._names(clip_id) for clip_id in clip_ids]
        self.keys = [np.unique(np.array(names), return_inverse=True)[1] for names in zip(*self.names, strict=True)]

    def _names(self, clip_id: str) -> tuple[str, str]:
        """Return the recording of a clip and its group, one of its own where none is given."""
        recording = clip_name(clip_id).bare_id
        return recording, self.groups.get(nfc(clip_id)) or self.groups.get(recording) or f"\0{clip_id}"

    def shared_with(self, clip_ids: Sequence[str]) -> np.ndarray:
        """Return which clips (N,) are of a recording or a group that another list has too."""
        others = {name for clip_id in clip_ids for name in enumerate(self._names(clip_id))}
        return np.array([not others.isdisjoint(enumerate(names)) for names in self.names], dtype=bool)

    def with_kin(self, chosen: np.ndarray) -> np.ndarray:
        """Return the chosen clips (N,) and all that are bound to them, directly or through others."""
        while True:
            grown = chosen.copy()
            for keys in self.keys:
                grown |= np.isin(keys, np.unique(keys[grown]))
            if (grown == chosen).all():
                return grown
            chosen = grown


def slim(options: SlimOptions) -> None:
    """Write three lists of clips that carry exactly one of a few classes, as many of each class; other labels go."""
    vocabulary = Vocabulary.load(existing(options.work / "vocabulary.csv") or "audioset")
    classes = [vocabulary.find(name, "--classes") for name in options.classes]
    paths = [path for name in SLIM_SHARES if (path := options.work / f"{name}.csv").exists()]
    tables = [LabelTable.read(path, vocabulary) for path in paths]
    clip_ids = [clip_id for table in tables for clip_id in table.clip_ids]
    chosen = sparse.vstack([table.matrix for table in tables]).tocsc()[:, [vocabulary.index[k] for k in classes]]
    carried = chosen.toarray()
    rows = [np.flatnonzero(carried[:, k] & (carried.sum(axis=1) == 1)) for k in range(len(classes))]
    members = [by_draw([clip_ids[row] for row in of_class], options.seed) for of_class in rows]
    smallest = min(range(len(classes)), key=lambda k: len(members[k]))
    n = min(options.clips, len(members[smallest]))
    if round(n * SLIM_SHARES["validation"]) < 1:
        rule = f"{len(members[smallest])} clips have {options.classes[smallest]!r} and no other of these classes"
        raise InputError(rule, options.work / "labels.csv", "Give other --classes.")
    own = Vocabulary("slim", tuple(classes), tuple(vocabulary.names[vocabulary.index[k]] for k in classes),
                     tuple(vocabulary.ontology_ids[vocabulary.index[k]] for k in classes))  # fmt: skip
    bounds = np.rint(np.cumsum([0, *SLIM_SHARES.values()]) * n).astype(int)
    with whole_folder(options.out, False) as folder:
        own.write(folder / "vocabulary.csv")
        for name, first, last in zip(SLIM_SHARES, bounds[:-1], bounds[1:], strict=True):
            rows = [(clip_id, k) for k, of_class in enumerate(members) for clip_id in of_class[first:last]]
            drawn = [clip_id for clip_id, _ in rows]
            LabelTable.from_sets(drawn, [[classes[k]] for _, k in rows], own).write(folder / f"{name}.csv")
        write_inputs(folder / "run.json", *paths, options.work / "vocabulary.csv")
    shares = np.diff(bounds).tolist()
    print(f"wrote {options.out}: {n} clips of each of {', '.join(own.names)}; {shares} a list and class")


def part(options: PartOptions) -> None:
    """Divide the clips of the training list that have audio: one part of their groups is held out to evaluate on.

    It is as unbalanced as the list; a recording's clips are never in both.
    """
    vocabulary = Vocabulary.load(existing(options.work / "vocabulary.csv") or "audioset")
    inputs = [options.work / name for name in ("labels.csv", "clips.h5", "vocabulary.csv")]
    write_inputs(options.work / "rest.run.json", *inputs)
    labels = LabelTable.read(options.work / "labels.csv", vocabulary)
    clips = ClipStore.open(options.work / "clips.h5")
    labels = labels.select([clip_id for clip_id in labels.clip_ids if clip_id in clips.index])
    groups = [clips.groups[row] for row in clips.rows(labels.clip_ids)]
    held = fold_numbers(groups, options.of, options.seed) == 1
    for name, rows in (("part", np.flatnonzero(held)), ("rest", np.flatnonzero(~held))):
        labels.select([labels.clip_ids[row] for row in rows]).write(options.work / f"{name}.csv")
    print(f"wrote {options.work / 'part.csv'} and rest.csv: {int(held.sum())} and {int((~held).sum())} clips")


def plan_fsd50k(options: Fsd50kOptions) -> str:
    """Check that the published lists are there; return what a dry run says."""
    dry_run.refuse_absent(options.ground_truth / "dev.csv", options.ground_truth / "eval.csv")
    return promise(options.work, "lists/train.csv", "lists/validation.csv", "lists/eval.csv", "vocabulary.csv")


def plan_hold_out(options: HoldOutOptions) -> str:
    """Check that the lists are there; return what a dry run says."""
    dry_run.refuse_absent(*options.labels, options.balanced, options.eval, options.groups)
    balanced = ["lists/balanced.csv"] if options.balanced else []
    return promise(options.work, "lists/train.csv", "lists/validation.csv", *balanced)


def plan_slim(options: SlimOptions) -> str:
    """Check that the lists will be there; return what a dry run says."""
    dry_run.refuse_absent(options.work / "labels.csv")
    return promise(options.out, "labels.csv", "validation.csv", "eval.csv", "vocabulary.csv")


def plan_part(options: PartOptions) -> str:
    """Check that list and clips will be there; return what a dry run says."""
    dry_run.refuse_absent(options.work / "labels.csv", options.work / "clips.h5")
    return promise(options.work, "part.csv", "rest.csv")


def promise(folder: Path, *names: str) -> str:
    """Take files for ones that will be there; return what a dry run says."""
    dry_run.promise(folder, *names)
    return f"would write {', '.join(names)} in {folder}"


def write_inputs(path: Path, *inputs: Path) -> None:
    """Write what step.py compares before it takes a list as made: the checksums of its inputs."""
    write_json(path, {"inputs": {str(path): sha256(path) for path in inputs if path.exists()}})


def by_draw(clip_ids: Sequence[str], seed: int) -> list[str]:
    """Return clip ids in a random order that seed and ids alone decide."""
    return sorted(clip_ids, key=lambda clip_id: hashlib.blake2b(f"{seed} {clip_id}".encode()).digest())


COMMANDS = {
    "fsd50k": Command(Fsd50kOptions, fsd50k, plan_fsd50k),
    "hold-out": Command(HoldOutOptions, hold_out, plan_hold_out),
    "slim": Command(SlimOptions, slim, plan_slim),
    "part": Command(PartOptions, part, plan_part),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Make one kind of list."""
    return run_command("lists", __doc__, COMMANDS, argv, needed=True)


if __name__ == "__main__":
    raise SystemExit(main())
