"""Measure runs against true and noisy labels, and an enhancement's additions against the truth.

    python -m pseudolabel.evaluate                                  # every folder in WORK/runs -> WORK/evaluation
    python -m pseudolabel.evaluate --scores scores.h5 --labels eval.csv --out evaluation-scores
    python -m pseudolabel.evaluate --labels-set original=eval.csv --labels-set enhanced=eval-enhanced/labels.csv
    python -m pseudolabel.evaluate --vocabulary esc50 --labels meta/esc50.csv --class-map esc50 --metrics map accuracy
    python -m pseudolabel.evaluate combine work-0 work-1 work-2     # one table over several corpora
    python -m pseudolabel.evaluate detection --scores scores.h5 --events events.csv --window 2s
    python -m pseudolabel.evaluate labels --scores scores.h5 --events events.csv --enhanced enhanced-25p

The whole clips of the --labels list are scored and compared with that list (the noisy labels) and, if WORK/truth.csv
exists, with the true labels. The companions of a list, run or store outside WORK are looked up beside it, not in WORK.
Runs of one row that differ only in their seed share a line: mean and spread. Writes into WORK/evaluation/: report.html,
report-audio/ (its sounds), metrics.json, per_class.csv, figures/, results.md, missing.csv, run.json, and with --betas
betas.csv; if the output is the default, also WORK/results.md. `detection` compares frames or windows with events and
writes WORK/detection/: metrics.json, per_class.csv, results.md, missing.csv, run.json. `labels` judges weak and
enhanced labels, and soft targets, by events in each window, and writes WORK/label-quality/.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel import cli, dry_run
from pseudolabel.blocks import only_run
from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError
from pseudolabel.evaluate_combine import COMBINED
from pseudolabel.evaluate_detection import DETECTION
from pseudolabel.evaluate_labels import LABEL_QUALITY
from pseudolabel.evaluation_lists import (
    EvaluateOptions,
    EvaluationLists,
    clip_groups,
    evaluated_clips,
    judge_folders,
    list_words,
    read_quality,
    training_priors,
)
from pseudolabel.formatting import plural
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.judging import JUDGED
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import CONFIG, EVALUATION_FOLDER, LABELS, LEDGER_CSV, METRICS_FILE, RESULTS, RUN, WEIGHTS
from pseudolabel.ownership import begins_with, refuse_foreign, refuse_foreign_file, refuse_input_as_output
from pseudolabel.plan_checks import (
    check_columns,
    check_device,
    check_ledger,
    check_lists,
    check_vocabulary,
    classes_of_runs,
)
from pseudolabel.progress import note
from pseudolabel.records import Inputs, command_of, run_record
from pseudolabel.reports.beta_sweep import BetaSweep
from pseudolabel.reports.evaluation import NOISY_SET, TRUE_SET, Evaluation
from pseudolabel.reports.gallery import Gallery, gallery_of, rows_over_time
from pseudolabel.reports.measuring import (
    Answer,
    absent_run,
    answers_of_models,
    answers_of_stores,
    find_runs,
    measured,
    run_of_folder,
    run_of_store,
)
from pseudolabel.reports.over_time import OverTime, over_time_of_model, over_time_of_store
from pseudolabel.reports.references import References, refuse_several_labels
from pseudolabel.reports.report import publish
from pseudolabel.reports.results import RESULTS_HEAD
from pseudolabel.reports.rows import Row, RunResult, named_row, rows_of
from pseudolabel.reports.tree import class_tree
from pseudolabel.reports.watch import Watch
from pseudolabel.scores.class_map import BUILT_IN_MAPS, MAP_COLUMNS, ClassMap
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import split_pooled, window_name
from pseudolabel.stores import KeyedByClip

if TYPE_CHECKING:
    from pseudolabel.audio.clips import ClipStore

NOTHING_TO_MEASURE = "Train one, or give --runs or --scores STORE."


# ---- one evaluation -------------------------------------------------------------------------------------------------


def evaluate(options: EvaluateOptions) -> None:
    """Run the measurements, write the evaluation and print its table."""
    out = output_of(options)
    with only_run(out):
        refuse_foreign(out, options.overwrite, "evaluate")
        _evaluate(options, out)


def output_of(options: EvaluateOptions) -> Path:
    """Return the folder to write."""
    named = (options.labels, *options.scores, *options.runs, options.clips, options.truth, options.train_labels)
    named += tuple(path for _, path in options.labels_set) + (options.enhanced or ())
    return cli.default_output(options, EVALUATION_FOLDER, *(path for path in named if path and path.exists()))


def _evaluate(options: EvaluateOptions, out: Path) -> None:
    inputs = Inputs()
    checked = checked_inputs(options, out, inputs)
    references, subjects, clip_ids, sweep = checked.references, checked.subjects, checked.clip_ids, checked.sweep
    answers, watch = subjects.answers(clip_ids, options), Watch(clip_ids, next(iter(references.by_name.values())))
    resamples = options.resamples if len(clip_ids) > 1 else 0  # one clip says nothing of how clips vary
    rows = rows_of(measured(clip_ids, references.by_name, answers, checked.groups, resamples, watch))
    classes = next(iter(references.sets.values())).vocabulary
    evaluation = Evaluation(
        rows=rows,
        enhanced=checked.enhanced,
        class_ids=classes.class_ids,
        class_names=classes.names,
        n_clips=len(clip_ids),
        missing=checked.missing,
        work=options.work,
        out=out,
        lists=checked.lists.sets,
        truth=checked.lists.truth,
        command=command_of("evaluate"),
        metrics=options.metrics or None,
        scales=tuple(map(window_name, options.scales)),
        ablation=options.ablation,
        resamples=resamples,
        n_groups=len(set(checked.groups or clip_ids)),
        betas=sweep and sweep.measured(rows),
        quality=checked.quality,
        list_words=None if options.class_map else list_words(options),
        remarks=tuple(filter(None, [subjects.classes.report()])),
        tree=class_tree(classes, inputs.read(options.ontology)),
        class_clips=watch.of_classes(),
    )
    evaluation = replace(evaluation, gallery=disagreeing(evaluation, watch, references, subjects, options))
    inputs.read(subjects.classes.source or None)
    record = run_record("evaluate", asdict(options), inputs)
    record["clips_under_another_id"] = len(set(references.aliases).union(*(s.aliases for s in subjects.sources)))
    record["labels_left_out"] = checked.left_out
    publish(out, copy_of_results(options), evaluation, record, options.overwrite)


def copy_of_results(options: EvaluateOptions) -> Path | None:
    """Return the file beside the default output that has its results too."""
    return None if options.out else options.work / RESULTS


@dataclass(frozen=True)
class CheckedInputs:
    """What an evaluation has read and found fit before it scores or measures anything.

    Args:
        enhanced: {folder name: judgement}. references: the labels. left_out: {unknown label: how often}.
        clip_ids: the clips to measure; missing: (clip id, reason) of the others.
        groups: of the clips that are drawn together. quality: of each class's labels.
    """

    lists: EvaluationLists
    enhanced: dict[str, dict]
    references: References
    subjects: Subjects
    clip_ids: tuple[str, ...]
    missing: list[tuple[str, str]]
    groups: list[str] | None
    quality: np.ndarray | None
    sweep: BetaSweep | None
    left_out: dict[str, int]


def checked_inputs(options: EvaluateOptions, out: Path, inputs: Inputs) -> CheckedInputs:
    """Read all that is measured, but no scores; raise InputError for what would stop the evaluation later."""
    if copy := copy_of_results(options):
        refuse_foreign_file(copy, True, begins_with(f"{RESULTS_HEAD}\n\n"), "results")
    lists, truth = EvaluationLists.of(options), None
    vocabulary = Vocabulary.load(inputs.read(lists.vocabulary))
    sets = {
        name: cli.read_labels(options, inputs.read(path), vocabulary, lists.own) for name, path in lists.sets.items()
    }
    if lists.truth:
        truth = cli.read_labels(options, inputs.read(lists.truth), vocabulary, own=options.truth is None)
    enhanced = judge_folders(options, lists, vocabulary, truth, inputs)
    subjects = subjects_of(options, lists, vocabulary, inputs, out)
    references = References.of(sets, truth, lists.truth, subjects.classes if options.class_map else None)
    clip_ids, missing, sources = evaluated_clips(references, subjects.sources, lists, options.strict)
    subjects = subjects.read_from(sources).with_sound_of(clip_ids)
    if "accuracy" in options.metrics:
        refuse_several_labels(references.by_name, clip_ids, {**lists.sets, TRUE_SET: lists.truth})
    sweep = planned_sweep(options, references, vocabulary, subjects, inputs)
    quality = read_quality(inputs.read(options.quality), vocabulary.class_ids) if options.quality else None
    groups = clip_groups(clip_ids, options.groups, subjects.clips if subjects.folders else None, inputs)
    subjects.refuse_unanswered(options.scales)
    left_out = {label: n for labels in sets.values() for label, n in labels.left_out.items()}
    return CheckedInputs(lists, enhanced, references, subjects, clip_ids, missing, groups, quality, sweep, left_out)


@dataclass(frozen=True)
class Subjects:
    """What to measure: runs, which score the clips of a store, and score stores.

    Args:
        classes: which model classes stand for the evaluated classes.
    """

    folders: list[Path]
    stores: list[ScoreStore]
    clips: ClipStore | None
    classes: ClassMap

    @property
    def sources(self) -> list[KeyedByClip]:
        """The stores that must hold every evaluated clip."""
        return [*([self.clips] if self.folders else []), *self.stores]

    def read_from(self, sources: Sequence[KeyedByClip]) -> Subjects:
        """Return these subjects with their stores replaced by `sources`, in the same order."""
        n_clips = len(sources) - len(self.stores)
        return replace(self, clips=sources[0] if n_clips else self.clips, stores=list(sources[n_clips:]))

    def with_sound_of(self, clip_ids: Sequence[str]) -> Subjects:
        """Return these subjects with a clip store that accepts these ids, where no run has read it."""
        if self.folders or self.clips is None:
            return self
        return replace(
            self, clips=self.clips.with_aliases(match_clips(clip_ids, self.clips.index, self.clips.path).aliases)
        )

    def refuse_unanswered(self, scales: Sequence[str]) -> None:
        """Raise InputError if a store lacks a scale, or a store or model a class, or clips have another sample rate."""
        for store in self.stores:
            for scale in scales:
                store.refuse_without(split_pooled(scale)[0], "--scales")
            self.classes.columns(store.class_ids, store.path)
        for folder in self.folders:
            if class_ids := classes_of_runs([folder], self.clips.path):
                self.classes.columns(class_ids, folder)

    def answers(self, clip_ids: Sequence[str], options: EvaluateOptions) -> Iterator[Answer]:
        """Yield every store and run, once for each scale, with its scores of these clips."""
        yield from answers_of_stores(self.stores, clip_ids, self.classes, options.scales)
        if self.folders:
            yield from answers_of_runs(self.folders, self.clips, clip_ids, self.classes, options)

    def over_time(self, runs: Sequence[RunResult], clip_ids: Sequence[str], options: EvaluateOptions) -> list[OverTime]:
        """Return what these runs and stores say over time about a few clips; stores of whole clips say nothing."""
        stores = {str(store.path): store for store in self.stores}
        told = [over_time_of_store(run, stores[run.path], clip_ids, self.classes) for run in runs if run.path in stores]
        models = [run for run in runs if run.path not in stores]
        told += over_time_of_runs(models, self.clips, clip_ids, self.classes, options) if models else []
        return [scores for scores in told if scores is not None]

    def rows(self, options: EvaluateOptions) -> list[Row]:
        """Return the expected rows without metrics, so that errors in them surface before scoring."""
        runs = [
            *(run_of_store(store.path) for store in self.stores),
            *(run_of_folder(folder, ()) for folder in self.folders),
        ]
        rows = rows_of([run.at_scale(window_name(scale)) for run in runs for scale in options.scales])
        if options.ablation is not None:
            named_row(rows, options.ablation, "--ablation")
        return rows


def subjects_of(
    options: EvaluateOptions, lists: EvaluationLists, vocabulary: Vocabulary, inputs: Inputs, out: Path
) -> Subjects:
    """Return the runs and score stores to measure; InputError if there are none."""
    from pseudolabel.audio.clips import ClipStore

    folders = [] if options.scores and not options.runs else find_runs(lists.runs, options.runs or None)
    stores = [ScoreStore.open(inputs.read(path)) for path in options.scores]
    if not folders and not stores:
        raise InputError("no run with a model", lists.runs, NOTHING_TO_MEASURE)
    refuse_input_as_output(out, [*inputs.sha256, *folders, lists.clips])
    classes = class_map(options, vocabulary, stores, folders)
    clips = ClipStore.open(inputs.read(lists.clips)) if folders or options.clips else None
    for folder in folders:
        inputs.read(folder / WEIGHTS)
    return Subjects(folders, stores, clips, classes)


def class_map(
    options: EvaluateOptions, vocabulary: Vocabulary, stores: Sequence[ScoreStore], folders: Sequence[Path]
) -> ClassMap:
    """Return which model classes stand for the evaluated classes."""
    if options.class_map is None:
        return ClassMap.identity(vocabulary)
    answered = [set(store.class_ids) for store in stores]
    if folders:
        cli.import_torch()
        from pseudolabel.models.files import read_config

        answered += [set(read_config(folder / CONFIG)["class_ids"]) for folder in folders]
    classes = ClassMap.read(options.class_map, vocabulary, set.intersection(*answered))
    note(classes.report())
    return classes


def disagreeing(
    evaluation: Evaluation, watch: Watch, references: References, subjects: Subjects, options: EvaluateOptions
) -> Gallery | None:
    """Return the gallery of clips about which runs and labels disagree most; None if there are none, or with 0."""
    found = watch.disagreements(options.gallery)
    if not found:
        return None
    runs = [row.runs[0] for row in rows_over_time(evaluation, found)]
    over_time = subjects.over_time(runs, [one.clip_id for one in found], options)
    sets = {evaluation.word(name): labels for name, labels in references.by_name.items()}
    return gallery_of(found, watch, sets, over_time, subjects.clips)


def over_time_of_runs(
    runs: Sequence[RunResult], clips: ClipStore, clip_ids: Sequence[str], classes: ClassMap, options: EvaluateOptions
) -> Iterator[OverTime]:
    """Yield each run's scores in windows of the clips, computed on the chosen device."""
    device = cli.choose_device(options.device, options.threads)
    for run in runs:
        yield over_time_of_model(run, clips, clip_ids, classes, options.batch_size, device)


def answers_of_runs(
    folders: Sequence[Path], clips: ClipStore, clip_ids: Sequence[str], classes: ClassMap, options: EvaluateOptions
) -> Iterator[Answer]:
    """Yield each run and its scores of whole clips, or of their windows, computed on the chosen device."""
    device = cli.choose_device(options.device, options.threads)
    yield from answers_of_models(folders, clips, clip_ids, classes, options.batch_size, device, options.scales)


def planned_sweep(
    options: EvaluateOptions, references: References, vocabulary: Vocabulary, subjects: Subjects, inputs: Inputs
) -> BetaSweep | None:
    """Return the rows that --betas compares, with the class priors of their training list."""
    rows = subjects.rows(options)
    if not options.betas:
        return None
    of_one_scale = [row for row in rows if row.scale == window_name(options.scales[0])]
    BetaSweep.of(of_one_scale, {}, np.zeros(0), "")
    words = {name: name for name in references.sets if name != NOISY_SET}
    if not words:
        words = {NOISY_SET: "given"} if references.truth is None else {TRUE_SET: "true", NOISY_SET: "noisy"}
    return BetaSweep.of(of_one_scale, words, *training_priors(options, vocabulary, subjects.folders, inputs))


def plan_evaluation(options: EvaluateOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about the evaluation."""
    out, lists, stores, named = output_of(options), EvaluationLists.of(options), options.scores, options.runs
    listed = [*lists.sets.values(), lists.truth, *lists.enhanced, *([lists.train_labels] * bool(lists.enhanced))]
    dry_run.refuse_absent(*listed, *stores, options.ontology, options.groups, options.quality, options.clips)
    check_vocabulary(lists.vocabulary)
    check_lists(None if lists.own else options.format, *lists.sets.values())
    check_lists(options.format if options.truth else None, lists.truth)
    for folder in lists.enhanced:
        check_lists(None, folder / LABELS)
        check_ledger(folder / LEDGER_CSV, JUDGED)
    if lists.enhanced:
        check_lists(options.format if options.train_labels else None, lists.train_labels)
    for run in named:
        if not any(dry_run.there(path / WEIGHTS) for path in (run, lists.runs / run)):
            raise absent_run(run, lists.runs)
    if named or not stores:
        if not named and not dry_run.holds(lists.runs, WEIGHTS):
            raise InputError("no run with a model", lists.runs, NOTHING_TO_MEASURE)
        dry_run.refuse_absent(lists.clips)
        check_device(options.device, options.threads)
    if options.class_map not in (None, *BUILT_IN_MAPS):
        dry_run.refuse_absent(options.class_map)
        check_columns(MAP_COLUMNS, options.class_map)
    refuse_input_as_output(out, [*listed, *stores, *named, lists.clips])
    dry_run.refuse_folder(out, options.overwrite, "evaluate")
    if not dry_run.of_recipe():
        checked_inputs(options, out, Inputs(hashed=False))
    dry_run.promise(out, METRICS_FILE, RESULTS, RUN)
    what = plural(len(named), "run") if named else plural(len(stores), "score store") if stores else ""
    what = what or f"the runs in {lists.runs}"
    return f"would write {out}: {what} on {', '.join(map(str, lists.sets.values()))}"


COMMANDS = {
    "": Command(EvaluateOptions, evaluate, plan_evaluation),
    "detection": DETECTION,
    "labels": LABEL_QUALITY,
    "combine": COMBINED,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    return run_command("evaluate", __doc__, COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
