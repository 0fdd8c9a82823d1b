"""The lists of `evaluate`: sets of labels, truth, which clips are evaluated, what enhanced folders added."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel import cli
from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.balancing import priors
from pseudolabel.labels.judging import judge_additions, read_ledger_errors
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.ownership import read_run
from pseudolabel.progress import note
from pseudolabel.records import Inputs, input_in_role, recorded_input
from pseudolabel.reports.answers import read_record
from pseudolabel.reports.evaluation import NOISY, TRUTH
from pseudolabel.scores.class_map import ClassMap
from pseudolabel.stores import KeyedByClip
from pseudolabel.tables import read_csv
from pseudolabel.training.out_of_fold import SEEN_CLIPS


def named_list(text: str) -> tuple[str, Path]:
    """Parse `original=eval.csv`: the name of a set of labels and its list."""
    name, equals, path = text.partition("=")
    if not (equals and path) or not re.fullmatch(r"[\w.%+-]+", name):
        raise argparse.ArgumentTypeError(f"must be NAME=LIST, NAME of letters, digits and . % + - _, not {text!r}")
    if name in (NOISY, TRUTH):
        raise argparse.ArgumentTypeError(f"{name!r} has another meaning here: give the set another name")
    return name, Path(path)


@dataclass(frozen=True)
class EvaluationLists:
    """Which files an evaluation reads: what options name, else what belongs to that, else those of WORK.

    Args:
        sets: lists to evaluate on, by name. own: no option named them.
        runs, clips: the folder of runs; the clip store.
        enhanced, train_labels: folders to judge, and the list that was enhanced.
    """

    sets: dict[str, Path]
    own: bool
    truth: Path | None
    vocabulary: str | Path
    runs: Path
    clips: Path
    enhanced: tuple[Path, ...]
    train_labels: Path

    @classmethod
    def of(cls, args: argparse.Namespace) -> EvaluationLists:
        """Return the files that the options mean.

        Truth and vocabulary belong to the lists; enhanced folders and their list to lists and models; lists, runs and
        clips that are not named to whatever is.
        """
        models = [*(args.scores or ()), *(path for path in args.runs or () if path.exists())]
        others = [args.clips, args.truth, args.train_labels, *(args.enhanced or ())]
        sets = set_paths(args, *models, *others)
        lists, folder = list(sets.values()), cli.base(args, *sets.values(), *models, *others)
        place = cli.home(args, *lists, *models, args.train_labels, *(args.enhanced or ()))
        enhanced, truth = args.enhanced, args.truth
        if enhanced is None and args.class_map is None:  # these have the models' classes, not the mapped ones
            enhanced = sorted(path.parent for path in place.glob("enhanced-*/ledger.csv.gz"))
        if truth is None and args.class_map is None:
            truth = cli.default_file(args, None, "truth.csv", *lists, what="true labels")
        return cls(
            sets, args.labels is None and not args.labels_set, truth, cli.vocabulary_source(args, *lists, *models),
            folder / "runs", args.clips or folder / "clips.h5", tuple(enhanced or ()),
            args.train_labels or _list_of(args.enhanced or ()) or place / "labels.csv",
        )  # fmt: skip


def _list_of(folders: Sequence[Path]) -> Path | None:
    """Return the list that the first of these folders enhanced, where its bytes still lie; None: they do not."""
    for folder in folders[:1]:
        record = read_run(folder)
        listed = input_in_role(record, "labels")
        return listed and recorded_input(record, listed, folder.absolute().parent)
    return None


def set_paths(args: argparse.Namespace, *named: Path | None) -> dict[str, Path]:
    """Return the lists to evaluate on by name: those of --labels-set, else `noisy`: --labels, or what is named has it.

    Raises:
        InputError: --labels is given beside --labels-set, or a name twice.
    """
    if not args.labels_set:
        return {NOISY: cli.needed_file(args, args.labels, "eval.csv", "--labels", *named)}
    if args.labels:
        raise InputError("names the list already", "--labels-set", "Leave out --labels.")
    names = [name for name, _ in args.labels_set]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InputError(f"the name {twice[0]!r} is listed twice", "--labels-set", "Name each set differently.")
    return dict(args.labels_set)


def renamed_truth(truth: LabelTable, clip_ids: Sequence[str], path: Path) -> tuple[LabelTable, dict[str, str]]:
    """Return the true labels under the ids of these clips, and {clip: id in the truth} where these differ."""
    matched = match_clips(clip_ids, truth.row_of, path)
    note(matched.report(f"true labels in {path}"))
    return truth.renamed({known: clip_id for clip_id, known in matched.aliases.items()}), matched.aliases


def restricted(labels: LabelTable, classes: ClassMap) -> LabelTable:
    """Return the labels of the target classes alone."""
    vocabulary = labels.vocabulary.subset(classes.classes_of)
    columns = np.array([labels.vocabulary.index[class_id] for class_id in vocabulary.class_ids])
    return replace(labels, matrix=labels.matrix[:, columns], vocabulary=vocabulary)


def mapped_sets(
    sets: Mapping[str, LabelTable], classes: ClassMap
) -> tuple[dict[str, LabelTable], list[tuple[str, str]]]:
    """Return every set with the target classes alone, and (clip id, reason) of clips that no set has any more.

    A clip all of whose labels have no counterpart is left out: what it sounds like cannot be answered (PSLA evaluates
    on ESC-50's clips of the classes that overlap). A clip without any label stays.
    """
    found, lost = {}, {}
    for name, labels in sets.items():
        kept = restricted(labels, classes)
        emptied = (np.diff(labels.matrix.indptr) > 0) & (np.diff(kept.matrix.indptr) == 0)
        lost.update(dict.fromkeys(labels.clip_ids[row] for row in np.flatnonzero(emptied)))
        if emptied.all():
            raise InputError(f"not one clip of {name!r} has a label with a counterpart", classes.place)
        found[name] = kept.select([labels.clip_ids[row] for row in np.flatnonzero(~emptied)])
    known = set().union(*(labels.row_of for labels in found.values()))
    reason = f"no label with a counterpart in {classes.place}"
    return found, [(clip_id, reason) for clip_id in lost if clip_id not in known]


def evaluated_clips(
    sets: Mapping[str, LabelTable],
    truth: LabelTable | None,
    sources: Iterable[KeyedByClip],
    lists: EvaluationLists,
    strict: bool,
) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
    """Return the clips of any set that every source has, and (clip id, reason) of what is missing.

    Raises:
        ClipMismatch: a source has none of them, none is left of a set, or none has true labels; with --strict: not all.
    """
    clip_ids = tuple(dict.fromkeys(clip_id for labels in sets.values() for clip_id in labels.clip_ids))
    missing, place = [], next(iter(lists.sets.values()))
    for source in sources:
        found = cli.find_in_store(clip_ids, source, place, strict)
        clip_ids = tuple(found.found)
        missing += [(clip_id, f"no {source.HOLDS} in {source.path}") for clip_id in found.absent]
    for name, labels in sets.items():
        if not any(clip_id in labels.row_of for clip_id in clip_ids):
            raise ClipMismatch(f"not one clip of the set {name!r} is left", lists.sets[name], "Score its clips too.")
    if truth is not None:
        absent = [clip_id for clip_id in clip_ids if clip_id not in truth.row_of]
        if len(absent) == len(clip_ids) or (absent and strict):
            message = f"{len(absent)} of {len(clip_ids)} evaluated clips have no true labels: {first_few(absent)}"
            raise ClipMismatch(message, lists.truth, "Give the --truth of these clips.")
        missing += [(clip_id, "no true labels") for clip_id in absent]
    return clip_ids, missing


def refuse_several_labels(sets: Mapping[str, LabelTable], clip_ids: Sequence[str], paths: Mapping[str, Path]) -> None:
    """Raise InputError where a clip of a set has no label or several: accuracy is of the one right class."""
    for name, labels in sets.items():
        known = [clip_id for clip_id in clip_ids if clip_id in labels.row_of]
        sizes = np.diff(labels.select(known).matrix.indptr)
        wrong = np.flatnonzero(sizes != 1)
        if len(wrong):
            named = first_few(f"{known[row]} ({sizes[row]})" for row in wrong)
            raise InputError(
                f"{len(wrong)} of {len(known)} clips have not exactly one label, so there is no accuracy: {named}",
                paths.get(name, name), "Leave accuracy out of --metrics.",
            )  # fmt: skip


def training_priors(
    args: argparse.Namespace, vocabulary: Vocabulary, folders: Sequence[Path], inputs: Inputs
) -> tuple[np.ndarray, Path]:
    """Return each class's prior (K,) among the clips that the runs were trained on, and their list.

    It is --train-labels, else what the runs say that they were trained on.

    Raises:
        InputError: the runs name different lists, or one that is not there.
    """
    said = {trained_on(folder, args.work) for folder in folders} if args.train_labels is None else set()
    if args.train_labels is None and len(said) != 1:
        raise InputError(f"the runs were trained on different lists: {first_few(sorted(map(str, said)))}", "--betas",
                         "Name the runs of the sweep with --runs, or the list with --train-labels.")  # fmt: skip
    path = args.train_labels or said.pop()
    labels = cli.read_labels(args, inputs.read(path), vocabulary, own=args.train_labels is None)
    seen = {row["clip_id"] for folder in folders if (folder / SEEN_CLIPS).is_file()
            for row in read_csv(folder / SEEN_CLIPS, ("clip_id",))}  # fmt: skip
    known = [clip_id for clip_id in labels.clip_ids if clip_id in seen]
    return priors((labels.select(known) if known else labels).matrix), path


def trained_on(folder: Path, work: Path) -> Path:
    """Return the label list of a run, where its bytes still lie: where it was read, or in the run's work folder.

    Raises:
        InputError: it is not there any more, or was changed.
    """
    record = read_record(folder)
    options = record.get("options") or {}
    said = options.get("labels") or Path(options.get("work") or work) / "labels.csv"
    found = recorded_input(record, said, folder.absolute().parent.parent)
    if found is None:
        raise InputError(f"the list that {folder} was trained on is not there as it was", said, "Give --train-labels.")
    return found.absolute()


def judge_folders(
    args: argparse.Namespace, lists: EvaluationLists, vocabulary: Vocabulary, truth: LabelTable | None, inputs: Inputs
) -> dict[str, dict]:
    """Return the judgement of every enhanced folder by its name.

    A folder that was found, not named, and that enhances another list than the training list is left out with a word.
    Where truth is known of no training clip, additions are counted and not judged.
    """
    if not lists.enhanced:
        return {}
    before = cli.read_labels(args, inputs.read(lists.train_labels), vocabulary, own=args.train_labels is None)
    if truth is not None:
        truth, _ = renamed_truth(truth, before.clip_ids, lists.truth)
        if not any(clip_id in truth.row_of for clip_id in before.clip_ids):
            truth = None
    proposed = None if truth is None else proposals_by_type(before, args.ontology)
    judged = {}
    for folder in lists.enhanced:
        after = cli.read_labels(args, inputs.read(folder / "labels.csv"), vocabulary, own=True)
        ledger = read_ledger_errors(inputs.read(folder / "ledger.csv.gz"))
        try:
            judgement = judge_additions(before, after, ledger, truth, folder, proposed)
        except InputError as error:
            if args.enhanced is not None:
                raise
            print(f"not judged: {error}", file=sys.stderr)
            continue
        name = folder.name if folder.name not in judged else str(folder)
        judged[name] = {"folder": str(folder), **judgement}
    return judged


def proposals_by_type(labels: LabelTable, path: Path | None = None) -> dict[str, sparse.csr_array] | None:
    """Return for each error type which labels the given ones propose, (N, K); None outside AudioSet's ontology.

    Raises:
        InputError: an ontology that was named cannot be read, or has none of the classes.
    """
    try:
        ontology = Ontology.load(path)
        relations = {"I": ontology.children(labels.vocabulary), "II": ontology.ancestors(labels.vocabulary)}
    except InputError:
        if path is not None:
            raise
        return None
    return {kind: (labels.matrix @ relation).astype(bool) for kind, relation in relations.items()}
