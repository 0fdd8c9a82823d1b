"""The material of `train`: its files, the training list, the examples, the held-out clips.

Files that no option names belong to those that are named: the validation list is the one beside the labels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel import cli
from pseudolabel.audio.clips import ClipStore
from pseudolabel.dry_run import there
from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.labels.additions import index_in
from pseudolabel.labels.aliases import same_clips
from pseudolabel.labels.splits import fold_numbers
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import CLIPS, CONFIG, EVALUATION, LABELS, VALIDATION, WEIGHTS
from pseudolabel.records import Inputs
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import window_samples
from pseudolabel.train_options import RunOptions
from pseudolabel.training.dataset import Examples, SoftTargets, clip_examples, window_examples

HOLD_OUT = "Hold clips of the training list out instead (`balance --hold-out`), or give --validate-on-evaluation."


@dataclass(frozen=True)
class Sources:
    """The files of a run, {role: path}; `inputs` holds the checksums of those that were read."""

    paths: dict[str, str | Path]
    inputs: Inputs = field(default_factory=Inputs)

    def read(self, role: str) -> str | Path | None:
        """Register a file as read just before it is opened; return its path, None if there is none."""
        return self.inputs.read(self.paths.get(role), role)

    def checksums(self) -> dict[str, str]:
        """Return {role: checksum} of the files that were read."""
        return {role: self.inputs.sha256[path] for role, path in self.inputs.roles.items()}


def find_sources(options: RunOptions) -> Sources:
    """Return the files that the options name, and the files that belong to those."""
    others = options.targets, options.list, options.mask, options.validation, options.eval
    labels = cli.needed_file(options, options.labels, LABELS, "--labels", options.clips, *others)
    clips = cli.needed_file(options, options.clips, CLIPS, "--clips", options.labels, *others)
    paths = {"vocabulary": cli.vocabulary_source(options, labels), "labels": labels, "clips": clips}
    paths |= {"list": options.list, "targets": options.targets, "mask": options.mask}
    if not options.no_validation:
        what = "validation list"
        paths["validation"] = cli.default_file(options, options.validation, VALIDATION, labels, what=what)
    if paths.get("validation") and not options.validate_on_evaluation:
        paths["evaluation"] = cli.default_file(options, options.eval, EVALUATION, labels, what="evaluation list")
    if options.pretrained:
        given = Path(options.pretrained)
        is_run = given.is_dir() or there(given / CONFIG)
        paths |= {f"pretrained {name}": given / name for name in (WEIGHTS, CONFIG)} if is_run else {"pretrained": given}
    return Sources({role: path for role, path in paths.items() if path is not None})


@dataclass
class TrainingList:
    """The clips to train on, their labels, and the listed clips that could not be used.

    `rows` are rows of the clip store, `scores` the score store under the ids of `labels`; `aliases` maps clips to
    their ids in the clip store or the score store, if different.
    """

    labels: LabelTable
    rows: np.ndarray
    missing: list[tuple[str, str]]
    aliases: dict[str, str]
    left_out: dict[str, int]
    scores: ScoreStore | None = None


@dataclass(frozen=True)
class Material:
    """The open files of a run."""

    options: RunOptions
    sources: Sources
    vocabulary: Vocabulary
    clips: ClipStore
    scores: ScoreStore | None

    @classmethod
    def open(cls, options: RunOptions, sources: Sources) -> Material:
        """Open the sources."""
        vocabulary, clips = Vocabulary.load(sources.read("vocabulary")), ClipStore.open(sources.read("clips"))
        scores = ScoreStore.open(sources.read("targets")) if options.targets else None
        return cls(options, sources, vocabulary, clips, scores)

    def _labels(self, role: str, own: bool) -> LabelTable:
        return cli.read_labels(self.options, self.sources.read(role), self.vocabulary, own=own)

    def training_list(self) -> TrainingList:
        """Return the labelled clips named by --list that have audio and, if needed, soft targets."""
        options, source = self.options, self.sources.paths["labels"]
        labels = self._labels("labels", options.labels is None)
        aliases, listed = {}, labels.clip_ids
        if options.list:
            named = cli.read_clip_ids(self.sources.read("list"), options.format)
            matched = cli.match_listed(named, labels.row_of, options.list, f"labels in {source}", strict=True)
            listed, aliases = matched.known(), {known: clip_id for clip_id, known in matched.aliases.items()}
        missing, stores = [], [self.clips] if self.scores is None else [self.clips, self.scores]
        for at, store in enumerate(stores):
            matched, stores[at] = cli.find_in_store(listed, store, source, options.strict)
            missing += [(clip_id, f"no {store.HOLDS}") for clip_id in matched.absent]
            listed, aliases = matched.found, aliases | matched.aliases
        clips, *scores = stores
        left_out = dict(labels.left_out)
        return TrainingList(labels.select(listed), clips.rows(listed), missing, aliases, left_out, *scores)

    def without_fold(self, chosen: TrainingList) -> TrainingList:
        """Return the clips outside --fold; whole groups of the clip store are left out."""
        options, groups = self.options, [self.clips.groups[row] for row in chosen.rows]
        labels = chosen.labels.matrix if options.stratify else None
        kept = np.flatnonzero(fold_numbers(groups, options.fold.of, options.train.seed, labels) != options.fold.number)
        labels = chosen.labels.select([chosen.labels.clip_ids[row] for row in kept])
        return replace(chosen, labels=labels, rows=chosen.rows[kept])

    def examples(self, chosen: TrainingList) -> Examples:
        """Return the pieces to train on: windows with soft targets, or whole clips with labels."""
        options, labels, clips = self.options, chosen.labels, self.clips
        length, mask = round(options.clip_seconds * clips.sample_rate), self._loss_mask(chosen)
        if chosen.scores is None:
            return clip_examples(clips, chosen.rows, labels.matrix, length, options.sampling, mask)
        refuse_absent_classes(labels.vocabulary, chosen.scores.class_ids, chosen.scores.path)
        columns = index_in(labels.vocabulary.class_ids, labels.vocabulary.own_ids(chosen.scores.class_ids))
        soft = SoftTargets(chosen.scores, chosen.scores.rows(labels.clip_ids), columns, options.window, options.alpha)
        length = window_samples(options.window, clips.sample_rate) or length
        return window_examples(clips, chosen.rows, labels.matrix, length, soft, options.sampling, mask)

    def _loss_mask(self, chosen: TrainingList) -> sparse.csr_array | None:
        """Return what the loss ignores, (n, K) bool in the training list's order; nothing for clips outside --mask."""
        if self.options.mask is None:
            return None
        mask, clip_ids = self._labels("mask", own=True), chosen.labels.clip_ids
        both = [(row, mask.row_of[clip_id]) for row, clip_id in enumerate(clip_ids) if clip_id in mask.row_of]
        if not both:
            rule = f"none of the {len(clip_ids)} training clips is listed: {first_few(mask.clip_ids)}"
            raise ClipMismatch(rule, self.options.mask, "Give the mask.csv that belongs to --labels.")
        rows, masked = np.array(both).T
        taken = sparse.csr_array((np.ones(len(rows), bool), (rows, masked)), shape=(len(clip_ids), len(mask)))
        return sparse.csr_array(taken @ mask.matrix)

    def validation(self, chosen: TrainingList):
        """Return the held-out clips with their labels, or None; a training clip must not be among them.

        A clip also counts as a training clip if its id says that it is or may be the same (aliases.py), if it has the
        same audio, or, with folds, if it belongs to the same group. Held-out clips without audio are added to
        `chosen.missing`.
        """
        from pseudolabel.training.validation import Validation

        options, source = self.options, self.sources.paths.get("validation")
        if source is None:
            return None
        labels = self._labels("validation", options.validation is None)
        refuse_shared(same_clips(labels.clip_ids, chosen.labels.clip_ids, self.clips.index), source)
        if "evaluation" in self.sources.paths:
            evaluated = self._labels("evaluation", options.eval is None).clip_ids
            rule = f"are also in {self.sources.paths['evaluation']}"
            refuse_shared(same_clips(labels.clip_ids, evaluated, self.clips.index), source, rule, HOLD_OUT)
        matched, clips = cli.find_in_store(labels.clip_ids, self.clips, source, options.strict)
        rows = clips.rows(matched.found)
        self._refuse_same_audio(dict(zip(matched.found, rows.tolist(), strict=True)), chosen, source)
        chosen.missing.extend((clip_id, "no audio; held out") for clip_id in matched.absent)
        chosen.aliases.update(matched.aliases)
        held_out = labels.select(matched.found).matrix.toarray()
        if not held_out.any():
            raise InputError("not one held-out clip has a label", source, "Give --validation LIST, or --no-validation.")
        return Validation(self.clips, rows, held_out)

    def _refuse_same_audio(self, held_out: Mapping[str, int], chosen: TrainingList, source: Path) -> None:
        """Raise InputError if a clip of {held-out clip: its row} is trained on or, with folds, one of its group."""
        trained_as = dict(zip(chosen.rows.tolist(), chosen.labels.clip_ids, strict=True))
        refuse_shared({clip_id: trained_as[row] for clip_id, row in held_out.items() if row in trained_as}, source)
        if self.options.fold:
            of_group, groups = (
                {self.clips.groups[row]: clip_id for row, clip_id in trained_as.items()},
                self.clips.groups,
            )
            shared = {clip_id: of_group[groups[row]] for clip_id, row in held_out.items() if groups[row] in of_group}
            refuse_shared(shared, source, "are of a group that is also trained on")


def refuse_absent_classes(vocabulary: Vocabulary, scored: Collection[str], source: Path) -> None:
    """Raise InputError if a store of soft targets lacks classes of the vocabulary."""
    scored = set(vocabulary.own_ids(scored))
    absent = [class_id for class_id in vocabulary.class_ids if class_id not in scored]
    if absent:
        remedy = f"Score with a model of the vocabulary {vocabulary.title}."
        raise InputError(f"no scores of {len(absent)} classes: {first_few(absent)}", source, remedy)


def refuse_shared(
    shared: dict[str, str], source: Path, rule: str = "are also trained on", remedy: str = "Hold them out."
) -> None:
    """Raise InputError unless {held-out clip: the same clip elsewhere} is empty."""
    if shared:
        named = sorted(clip_id if clip_id == other else f"{clip_id} is {other}" for clip_id, other in shared.items())
        raise InputError(f"{len(shared)} clips {rule}: {first_few(named)}", source, remedy)
