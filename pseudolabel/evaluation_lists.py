"""The options of `evaluate`, the lists they stand for (sets, truth, enhanced folders), and the clips common to all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pseudolabel import cli
from pseudolabel.errors import ClipMismatch, InputError, first_few, shown
from pseudolabel.labels.balancing import priors
from pseudolabel.labels.judging import JUDGED, judge_additions
from pseudolabel.labels.ledger import PROBABILITY, ledger_pieces, numbers
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import CLASS_ID, CLIPS, EVALUATION, LABELS, LEDGER_CSV, RUNS, SEEN_CLIPS, TRUTH
from pseudolabel.options import COUNT, WHOLE, DeviceOptions, ListOptions, VerbOptions, option
from pseudolabel.ownership import read_run
from pseudolabel.progress import note
from pseudolabel.records import Inputs, input_in_role, recorded_input
from pseudolabel.reports.evaluation import NOISY_SET, TRUE_SET
from pseudolabel.reports.measuring import read_record
from pseudolabel.reports.references import References, proposals_by_type, renamed_truth
from pseudolabel.scores.bootstrap import FEWEST_GROUPS
from pseudolabel.scores.metrics import METRIC_OPTIONS
from pseudolabel.scores.windows import CLIP, parse_pooled
from pseudolabel.stores import KeyedByClip
from pseudolabel.tables import read_csv, read_header
from pseudolabel.training.out_of_fold import read_seen

if TYPE_CHECKING:
    from pseudolabel.audio.clips import ClipStore


def named_list(text: str) -> tuple[str, Path]:
    """Return name and list of a set of labels, from `original=eval.csv`.

    Raises:
        ValueError: the text has another form, or the name is reserved.
    """
    name, equals, path = text.partition("=")
    if not (equals and path):
        raise ValueError(f"must be NAME=LIST, not {text!r}")
    refuse_set_name(name)
    return name, Path(path)


def refuse_set_name(name: str) -> None:
    """Raise ValueError if a set of labels may not have this name."""
    if not re.fullmatch(r"[\w.%+-]+", name):
        raise ValueError(f"must be NAME=LIST, NAME of letters, digits and . % + - _, not {name!r}")
    if name in (NOISY_SET, TRUE_SET):
        raise ValueError(f"{name!r} has another meaning here: give the set another name")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(VerbOptions, ListOptions, DeviceOptions):
    """What to measure, against which labels, and what the tables show."""

    runs: tuple[Path, ...] = option((), "run folders (default: all in WORK/runs)")
    scores: tuple[Path, ...] = option((), "score stores instead of runs, each a row of its own")
    clips: Path | None = option(None, "clip store; with --scores: sound for the report", file=CLIPS)
    labels: Path | None = option(None, "list to evaluate on, noisy labels", file=EVALUATION)
    labels_set: tuple[tuple[str, Path], ...] = option(
        (),
        "evaluate on several lists at once, each a set of columns; repeat it",
        parse=named_list,
        metavar="NAME=LIST",
    )
    class_map: str | None = option(
        None,
        "CSV class_id,target_id, or esc50, fsd50k: the models' classes that stand for the evaluated ones; a target's "
        "score is the maximum over its classes",
        metavar="MAP",
    )
    metrics: tuple[str, ...] = option((), "columns of the table (metrics.json has all)", choices=METRIC_OPTIONS)
    scales: tuple[str, ...] = option(
        (CLIP,),
        "clip, 10s, 5s, 2s: a row each, the mean of a clip's windows; 2s-max: their maximum",
        parse=parse_pooled,
        metavar="SCALE",
    )
    resamples: int = option(1000, "draws of the clips for 95 % confidence intervals; 0: none", WHOLE.up_to(100_000))
    gallery: int = option(
        12, "clips on the report where models or labels disagree most, with sound beside it; 0: none", WHOLE.up_to(60)
    )
    groups: Path | None = option(
        None, "CSV clip_id,group: clips that are drawn together (default: the groups of the clip store)"
    )
    quality: Path | None = option(
        None,
        "quality of each class's labels, to correlate with AP: CSV class_id,quality, or AudioSet's qa_true_counts.csv",
    )
    ablation: str | None = option(None, "also a table of differences to this row", metavar="ROW")
    betas: bool = option(False, "also figures over the oversampling exponent of the runs (train --beta)")
    truth: Path | None = option(None, "true labels (default: WORK/truth.csv where it exists)")
    enhanced: tuple[Path, ...] | None = option(
        None, "enhanced folders to judge; without any: none (default: WORK/enhanced-*)", empty=True
    )
    train_labels: Path | None = option(None, "the list that was enhanced", file=LABELS)
    ontology: Path | None = option(None, "of the report's tree, and what was enhanced with (default: AudioSet's)")
    out: Path | None = option(None, "output folder (default: WORK/evaluation)")
    batch_size: int = option(32, "clips a batch", COUNT, needs="runs|!scores")

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [name for name, _ in self.labels_set]
        for name in names:
            try:
                refuse_set_name(name)
            except ValueError as error:
                raise InputError(str(error), "--labels-set") from None
        for option_name, values in (("--scales", self.scales), ("--metrics", self.metrics), ("--labels-set", names)):
            repeated = next((value for value in values if list(values).count(value) > 1), None)
            if repeated is not None:
                raise InputError(f"{repeated!r} is listed twice", option_name, "Name each once.")
        if self.device != "auto" and self.scores and not self.runs:
            raise InputError("scores need no model", "--device", "Leave it out, or name --runs too.")
        if self.labels and self.labels_set:
            raise InputError("names the list already", "--labels-set", "Leave out --labels.")
        if self.betas and self.class_map is not None:
            raise InputError("compares classes of the training list", "--betas", "Leave out --class-map.")


@dataclass(frozen=True)
class EvaluationLists:
    """The files that an evaluation reads: those that options name, else those that belong to them, else those of WORK.

    Args:
        sets: lists to evaluate on, by name. own: no option named them.
        runs, clips: the folder of runs; the clip store.
        enhanced, train_labels: folders to judge, and the list that they enhanced.
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
    def of(cls, options: EvaluateOptions) -> EvaluationLists:
        """Return the files that the options mean.

        Truth and vocabulary belong to the lists; enhanced folders and their list belong to lists and models; lists,
        runs and clips that no option names belong to whatever is named.
        """
        models = [*options.scores, *(path for path in options.runs if path.exists())]
        named_folders = options.enhanced or ()
        others = [options.clips, options.truth, options.train_labels, *named_folders]
        sets = set_paths(options, *models, *others)
        lists, base = list(sets.values()), cli.base(options, *sets.values(), *models, *others)
        work = cli.home(options, *lists, *models, options.train_labels, *named_folders)
        enhanced, truth = options.enhanced, options.truth
        if enhanced is None and options.class_map is None:  # these have the models' classes, unmapped
            enhanced = sorted(path.parent for path in work.glob(f"enhanced-*/{LEDGER_CSV}"))
        if truth is None and options.class_map is None:
            truth = cli.default_file(options, None, TRUTH, *lists, what="true labels")
        return cls(
            sets=sets,
            own=options.labels is None and not options.labels_set,
            truth=truth,
            vocabulary=cli.vocabulary_source(options, *lists, *models),
            runs=base / RUNS,
            clips=options.clips or base / CLIPS,
            enhanced=tuple(enhanced or ()),
            train_labels=options.train_labels or _list_of(named_folders) or work / LABELS,
        )


def _list_of(folders: Sequence[Path]) -> Path | None:
    """Return the list that the first of these folders enhanced; None if it was changed or removed."""
    for folder in folders[:1]:
        record = read_run(folder)
        listed = input_in_role(record, "labels")
        return listed and recorded_input(record, listed, folder.absolute().parent)
    return None


def set_paths(options: EvaluateOptions, *named: Path | None) -> dict[str, Path]:
    """Return {name: list} to evaluate on: --labels-set, else `noisy`: --labels, or the list of what is named."""
    if not options.labels_set:
        return {NOISY_SET: cli.needed_file(options, options.labels, EVALUATION, "--labels", *named)}
    return dict(options.labels_set)


def list_words(options: EvaluateOptions) -> tuple[str, ...]:
    """Return the words of a command that reads label lists as these options say."""
    given = {"--vocabulary": options.vocabulary, "--format": options.format, "--classes": options.classes}
    given["--unknown-labels"] = options.unknown_labels if options.unknown_labels != "error" else None
    return tuple(word for name, value in given.items() if value for word in (name, value))


def evaluated_clips(
    references: References, sources: Iterable[KeyedByClip], lists: EvaluationLists, strict: bool
) -> tuple[tuple[str, ...], list[tuple[str, str]], list[KeyedByClip]]:
    """Return the clips of any set that every source has, (clip id, reason) for the missing ones, and the sources.

    The returned sources accept clip ids as the lists write them.

    Raises:
        ClipMismatch: a source has none of the clips, a set has none left, or none has true labels; with --strict, a
            clip is missing.
    """
    clip_ids = tuple(dict.fromkeys(clip_id for labels in references.sets.values() for clip_id in labels.clip_ids))
    missing, truth = list(references.lost), references.truth
    views = []
    for source in sources:
        matched, view = cli.find_in_store(clip_ids, source, next(iter(lists.sets.values())), strict)
        views, clip_ids = [*views, view], tuple(matched.found)
        missing += [(clip_id, f"no {source.HOLDS} in {source.path}") for clip_id in matched.absent]
    for name, labels in references.sets.items():
        if not any(clip_id in labels.row_of for clip_id in clip_ids):
            raise ClipMismatch(f"not one clip of the set {name!r} is left", lists.sets[name], "Score its clips too.")
    if truth is not None:
        absent = [clip_id for clip_id in clip_ids if clip_id not in truth.row_of]
        if len(absent) == len(clip_ids) or (absent and strict):
            message = f"{len(absent)} of {len(clip_ids)} evaluated clips have no true labels: {first_few(absent)}"
            raise ClipMismatch(message, lists.truth, "Give the --truth of these clips.")
        missing += [(clip_id, "no true labels") for clip_id in absent]
    return clip_ids, missing, views


def clip_groups(
    clip_ids: Sequence[str], path: Path | None, clips: ClipStore | None, inputs: Inputs
) -> list[str] | None:
    """Return the group of each clip: of --groups, else of the clip store; None if there is neither.

    The few groups of a clip store, as of a simulated evaluation list, are not drawn: their variance would be too small.

    Clips of --groups that are all of one group are drawn one by one, with a note.
    """
    if path is None:
        groups = [] if clips is None else [clips.groups[row] for row in clips.rows(clip_ids)]
        return groups if len(set(groups)) >= FEWEST_GROUPS else None
    from pseudolabel.prepare_files import read_groups

    named = read_groups(inputs.read(path))
    groups = [named.get(clip_id) or clip_id for clip_id in clip_ids]
    if len(clip_ids) > 1 and len(set(groups)) == 1:
        note(f"all clips are of one group ({groups[0]}): for intervals they are drawn one by one")
        return None
    return groups


def training_priors(
    options: EvaluateOptions, vocabulary: Vocabulary, folders: Sequence[Path], inputs: Inputs
) -> tuple[np.ndarray, Path]:
    """Return the prior (K,) of each class in the runs' training list, and that list.

    The list is --train-labels, or else the one that the runs recorded.

    Raises:
        InputError: the runs recorded different lists, or one that was changed or removed.
    """
    named = options.train_labels
    recorded = {trained_on(folder, options.work) for folder in folders} if named is None else {named}
    if len(recorded) != 1:
        message = f"the runs were trained on different lists: {first_few(sorted(map(str, recorded)))}"
        raise InputError(message, "--betas", "Name the runs of the sweep with --runs, or the list with --train-labels.")
    path = recorded.pop()
    labels = cli.read_labels(options, inputs.read(path), vocabulary, own=named is None)
    lists = (folder / SEEN_CLIPS for folder in folders)
    seen = {clip_id for path in lists if path.is_file() for clip_id in read_seen(path)}
    seen_rows = [clip_id for clip_id in labels.clip_ids if clip_id in seen]
    return priors((labels.select(seen_rows) if seen_rows else labels).matrix), path


def trained_on(folder: Path, work: Path) -> Path:
    """Return a run's label list: at its recorded path, or with the same bytes in the run's work folder.

    Raises:
        InputError: it was changed or removed.
    """
    record = read_record(folder)
    options = record.get("options") or {}
    listed = options.get("labels") or Path(options.get("work") or work) / LABELS
    path = recorded_input(record, listed, folder.absolute().parent.parent)
    if path is None:
        raise InputError(
            f"the list that {folder} was trained on was changed or removed", listed, "Give --train-labels."
        )
    return path.absolute()


def read_quality(path: Path, class_ids: Sequence[str]) -> np.ndarray:
    """Return the share of each class's labels that raters confirmed, (K,) float64 in [0, 1]; NaN where it is unknown.

    Raises:
        InputError: the table has neither form, a share is none, or it names no class of the vocabulary.
    """
    names = read_header(path)
    id_column = CLASS_ID if CLASS_ID in names else "label_id"
    rated = ("num_true", "num_rated") if "num_rated" in names else ("quality",)
    quality = np.full(len(class_ids), np.nan)
    columns = {class_id: k for k, class_id in enumerate(class_ids)}
    for line in read_csv(path, (id_column, *rated)):
        if line[id_column] not in columns or not all(line[name] for name in rated):
            continue
        place = f"{path}:{line['line']}"
        values = [parse_cell(line[name], place) for name in rated]
        share = values[0] if len(values) == 1 else (values[0] / values[1] if values[1] else np.nan)
        if not (0 <= share <= 1 or np.isnan(share)):
            raise InputError(f"a quality is {share:g}, not in [0, 1]", place, "Give shares of right labels.")
        quality[columns[line[id_column]]] = share
    if np.isnan(quality).all():
        raise InputError("rates no class of the vocabulary", path, "Give class ids of the vocabulary.")
    return quality


def parse_cell(text: str, place: object) -> float:
    """Return a number of a table; InputError if it is none."""
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{shown(text)} is not a number", place, "Correct the cell.") from None


def _judged_ledger(path: Path) -> pa.Table:
    """Return what is needed of a ledger, which may have probabilities."""
    wanted = (*JUDGED, PROBABILITY)
    pieces = (piece.select([n for n in wanted if n in piece.column_names]) for piece in ledger_pieces(path, JUDGED))
    return pa.concat_tables(pieces)


def judge_folders(
    options: EvaluateOptions, lists: EvaluationLists, vocabulary: Vocabulary, truth: LabelTable | None, inputs: Inputs
) -> dict[str, dict]:
    """Return {folder name: judgement} of every enhanced folder.

    A folder that no option names and that enhances another list than the training list is left out, with a note.
    If no training clip has true labels, additions are counted but not judged.
    """
    if not lists.enhanced:
        return {}
    before = cli.read_labels(options, inputs.read(lists.train_labels), vocabulary, own=options.train_labels is None)
    if truth is not None:
        truth, _ = renamed_truth(truth, before.clip_ids, lists.truth)
        if not any(clip_id in truth.row_of for clip_id in before.clip_ids):
            truth = None
    proposed = None if truth is None else proposals_by_type(before, options.ontology)
    judged = {}
    for folder in lists.enhanced:
        after = cli.read_labels(options, inputs.read(folder / LABELS), vocabulary, own=True)
        ledger, own = _judged_ledger(inputs.read(folder / LEDGER_CSV)), proposed
        try:
            if proposed is not None and not np.isnan(numbers(ledger, PROBABILITY)).all():
                by_rule = ledger.filter(pc.is_null(ledger[PROBABILITY]))
                own = proposals_by_type(before, options.ontology, by_rule)
            judgement = judge_additions(before, after, ledger, truth, folder, own)
        except InputError as error:
            if options.enhanced is not None:
                raise
            note(f"not judged: {error}")
            continue
        name = folder.name if folder.name not in judged else str(folder)
        judged[name] = {"folder": str(folder), "sha256": inputs.sha256[str(folder / LABELS)], **judgement}
    return judged
