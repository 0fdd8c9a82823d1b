"""What `train` learns from and is measured on: its files, the training list, the examples, the held-out clips.

Files that no option names belong to those that are named: the validation list is the one beside the labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel import cli
from pseudolabel.audio.clips import ClipStore
from pseudolabel.dry_run import there
from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.aliases import same_clips
from pseudolabel.labels.balancing import DEFAULT_BETA
from pseudolabel.labels.splits import fold_numbers
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.models import CONFIG, WEIGHTS
from pseudolabel.records import Inputs
from pseudolabel.scores.windows import window_samples


@dataclass(frozen=True)
class Sources:
    """Which files a run reads: {what a file is to it: its path}; `inputs` has the checksums of those that were read."""

    paths: dict[str, str | Path]
    inputs: Inputs = field(default_factory=Inputs)

    def read(self, role: str) -> str | Path | None:
        """Return the path of a file, just before it is read; None where there is none."""
        return self.inputs.read(self.paths.get(role), role)

    def checksums(self) -> dict[str, str]:
        """Return {what a file is: its checksum} of those that were read."""
        return {role: self.inputs.sha256[path] for role, path in self.inputs.roles.items()}


def find_sources(args: argparse.Namespace) -> Sources:
    """Return the files that the options name, and for the others those that belong to them."""
    held_out = args.validation, args.eval
    others = args.targets, args.list, args.mask, *held_out
    labels = cli.needed_file(args, args.labels, "labels.csv", "--labels", args.clips, *others)
    clips = cli.needed_file(args, args.clips, "clips.h5", "--clips", args.labels, *others)
    paths = {
        "vocabulary": cli.vocabulary_source(args, labels), "labels": labels, "clips": clips, "list": args.list,
        "targets": args.targets, "mask": args.mask,
    }  # fmt: skip
    if not args.no_validation:
        paths["validation"] = cli.default_file(args, args.validation, "validation.csv", labels, what="validation list")
    if paths.get("validation") and not args.validate_on_evaluation:
        paths["evaluation"] = cli.default_file(args, args.eval, "eval.csv", labels, what="evaluation list")
    return Sources({role: path for role, path in (paths | _pretrained(args)).items() if path is not None})


def _pretrained(args: argparse.Namespace) -> dict[str, Path]:
    if not args.pretrained:
        return {}
    given = Path(args.pretrained)
    files = {f"pretrained {name}": given / name for name in (WEIGHTS, CONFIG)}
    return files if given.is_dir() or there(given / CONFIG) else {"pretrained": given}


@dataclass
class TrainingList:
    """Which clips are trained on, with what labels, and which of the list could not be used.

    `rows` are those of the clip store; `aliases` says which clips have another id there or in the score store.
    """

    labels: LabelTable
    rows: np.ndarray
    missing: list[tuple[str, str]]
    aliases: dict[str, str]
    left_out: dict[str, int]


def training_list(
    args: argparse.Namespace, sources: Sources, vocabulary: Vocabulary, clips: ClipStore, scores
) -> TrainingList:
    """Return the labelled clips that --list names and that have audio and, where needed, soft targets."""
    labels_path = sources.read("labels")
    labels = cli.read_labels(args, labels_path, vocabulary, own=args.labels is None)
    aliases, listed = {}, labels.clip_ids
    if args.list:
        named = cli.read_clip_ids(sources.read("list"), sources.paths["vocabulary"], args.format)
        matched = cli.match_listed(named, labels.row_of, args.list, f"labels in {labels_path}", strict=True)
        listed, aliases = matched.known(), {known: clip_id for clip_id, known in matched.aliases.items()}
    missing = []
    for store in [clips] if scores is None else [clips, scores]:
        matched = cli.find_in_store(listed, store, labels_path, args.strict)
        missing += [(clip_id, f"no {store.HOLDS}") for clip_id in matched.absent]
        listed, aliases = matched.found, aliases | matched.aliases
    return TrainingList(labels.select(listed), clips.rows(listed), missing, aliases, dict(labels.left_out))


def leave_fold_out(args: argparse.Namespace, chosen: TrainingList, clips: ClipStore) -> TrainingList:
    """Return the clips of all folds but --fold; whole groups of the clip store are left out."""
    groups = [clips.groups[row] for row in chosen.rows]
    numbers = fold_numbers(groups, args.fold.of, args.seed, chosen.labels.matrix if args.stratify else None)
    kept = np.flatnonzero(numbers != args.fold.number)
    labels = chosen.labels.select([chosen.labels.clip_ids[row] for row in kept])
    return replace(chosen, labels=labels, rows=chosen.rows[kept])


def loss_mask(
    args: argparse.Namespace, sources: Sources, vocabulary: Vocabulary, chosen: TrainingList
) -> sparse.csr_array | None:
    """Return what the loss leaves out, (n, K) bool in the order of the training list; clips not in --mask: nothing."""
    if args.mask is None:
        return None
    mask = cli.read_labels(args, sources.read("mask"), vocabulary, own=True)
    clip_ids = chosen.labels.clip_ids
    both = [(row, mask.row_of[clip_id]) for row, clip_id in enumerate(clip_ids) if clip_id in mask.row_of]
    if not both:
        raise ClipMismatch(f"none of the {len(clip_ids)} training clips is listed: {first_few(mask.clip_ids)}",
                           args.mask, "Give the mask.csv that belongs to --labels.")  # fmt: skip
    rows, masked = np.array(both).T
    taken = sparse.csr_array((np.ones(len(rows), bool), (rows, masked)), shape=(len(clip_ids), len(mask)))
    return sparse.csr_array(taken @ mask.matrix)


def refuse_absent_classes(vocabulary: Vocabulary, scored: Collection[str], place: Path) -> None:
    """Raise InputError where a store of soft targets lacks classes of the vocabulary."""
    scored = set(scored)
    absent = [class_id for class_id in vocabulary.class_ids if class_id not in scored]
    if absent:
        raise InputError(f"no scores of {len(absent)} classes: {first_few(absent)}", place,
                         f"Score with a model of the vocabulary {vocabulary.name!r}.")  # fmt: skip


def training_examples(
    args: argparse.Namespace, sources: Sources, vocabulary: Vocabulary, chosen: TrainingList, clips: ClipStore, scores
):
    """Return the pieces to train on: windows with soft targets, or whole clips with labels."""
    from pseudolabel.training.dataset import clip_examples, window_examples

    labels = chosen.labels
    whole = round(args.clip_seconds * clips.sample_rate)
    drawn = {
        "sampling": args.sampling, "beta": DEFAULT_BETA if args.beta is None else args.beta,
        "mask": loss_mask(args, sources, vocabulary, chosen), "crop": args.crop,
    }  # fmt: skip
    if scores is None:
        return clip_examples(clips, chosen.rows, labels.matrix, whole, **drawn)
    refuse_absent_classes(labels.vocabulary, scores.class_ids, scores.path)
    columns = scores.columns(labels.vocabulary.class_ids)
    length = window_samples(args.window, clips.sample_rate) or whole
    return window_examples(
        clips, chosen.rows, scores, scores.rows(labels.clip_ids), columns, args.window, length,
        labels.matrix, args.alpha, **drawn,
    )  # fmt: skip


def refuse_shared(shared: dict[str, str], path: Path, rule: str = "are also trained on") -> None:
    """Raise InputError where {held-out clip: the same clip elsewhere} has any."""
    if shared:
        named = sorted(clip_id if clip_id == other else f"{clip_id} is {other}" for clip_id, other in shared.items())
        remedy = (
            "Hold them out."
            if "trained" in rule
            else "Hold clips of the training list out instead (`balance --hold-out`), or give --validate-on-evaluation."
        )
        raise InputError(f"{len(shared)} clips {rule}: {first_few(named)}", path, remedy)


def validation_set(
    args: argparse.Namespace, sources: Sources, vocabulary: Vocabulary, clips: ClipStore, chosen: TrainingList
):
    """Return the held-out clips with their labels, or None; a clip that is trained on must not be among them.

    That holds for a clip with another id too: one whose name says that it is or may be the same (aliases.py), one
    with the same audio, and, where folds are left out, one of the same group. Held-out clips without audio are added
    to the `missing` of `chosen`.
    """
    from pseudolabel.training.validation import Validation

    path = sources.read("validation")
    if path is None:
        return None
    labels = cli.read_labels(args, path, vocabulary, own=args.validation is None)
    refuse_shared(same_clips(labels.clip_ids, chosen.labels.clip_ids), path)
    refuse_evaluation(args, sources, vocabulary, labels)
    matched = cli.find_in_store(labels.clip_ids, clips, path, args.strict)
    rows = clips.rows(matched.found)
    trained_as = dict(zip(chosen.rows.tolist(), chosen.labels.clip_ids, strict=True))
    held_as = list(zip(matched.found, rows.tolist(), strict=True))
    refuse_shared({clip_id: trained_as[row] for clip_id, row in held_as if row in trained_as}, path)
    if args.fold:
        groups = {clips.groups[row]: clip_id for row, clip_id in trained_as.items()}
        shared = {clip_id: groups[clips.groups[row]] for clip_id, row in held_as if clips.groups[row] in groups}
        refuse_shared(shared, path, "are of a group that is also trained on")
    chosen.missing.extend((clip_id, "no audio; held out") for clip_id in matched.absent)
    chosen.aliases.update(matched.aliases)
    held_out = labels.select(matched.found).matrix.toarray()
    if not held_out.any():
        raise InputError("not one held-out clip has a label", path, "Give --validation LIST, or --no-validation.")
    return Validation(clips, rows, held_out)


def refuse_evaluation(args: argparse.Namespace, sources: Sources, vocabulary: Vocabulary, held_out: LabelTable) -> None:
    """Raise InputError where weights would be chosen by clips that models are compared on."""
    evaluation = sources.read("evaluation")
    if evaluation is None:
        return
    compared = cli.read_labels(args, evaluation, vocabulary, own=args.eval is None)
    shared = same_clips(held_out.clip_ids, compared.clip_ids)
    refuse_shared(shared, sources.paths["validation"], f"are also in {evaluation}")
