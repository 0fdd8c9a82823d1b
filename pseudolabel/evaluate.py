"""Measure runs against true and noisy labels, and what enhancement added against the truth.

    python -m pseudolabel.evaluate                                  # every folder in WORK/runs -> WORK/evaluation
    python -m pseudolabel.evaluate --scores scores.h5 --labels eval.csv --out evaluation-scores
    python -m pseudolabel.evaluate --labels-set original=eval.csv --labels-set enhanced=eval-enhanced/labels.csv
    python -m pseudolabel.evaluate --vocabulary esc50 --labels meta/esc50.csv --class-map esc50 --metrics map accuracy
    python -m pseudolabel.evaluate --combine work-0 work-1 work-2   # one table over several corpora

Whole clips of the --labels list are scored and compared with that list (the noisy labels) and, where WORK/truth.csv is
there, with the true ones. What belongs to a list, run or store outside WORK is looked for beside it, not in WORK. Runs
of one row that differ in their seed are one line: mean and spread. Written into WORK/evaluation/: report.html,
metrics.json, per_class.csv, figures/, results.md, missing.csv, run.json, and betas.csv with --betas; with the default
output also WORK/results.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pseudolabel import cli, dry_run
from pseudolabel.artefacts import write_text
from pseudolabel.blocks import only_run
from pseudolabel.errors import InputError
from pseudolabel.evaluation_lists import (
    EvaluationLists,
    evaluated_clips,
    judge_folders,
    mapped_sets,
    named_list,
    refuse_several_labels,
    renamed_truth,
    restricted,
    training_priors,
)
from pseudolabel.formatting import plural
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.ownership import begins_with, refuse_foreign, refuse_foreign_file, refuse_input_as_output
from pseudolabel.plan_checks import check_device, check_vocabulary
from pseudolabel.progress import note
from pseudolabel.records import Inputs, command_of, run_record
from pseudolabel.reports.answers import (
    WEIGHTS,
    Answer,
    answers_of_models,
    answers_of_stores,
    find_runs,
    measured,
    read_run,
    run_of_store,
)
from pseudolabel.reports.beta_sweep import BetaSweep
from pseudolabel.reports.evaluation import NOISY, TRUTH, Evaluation
from pseudolabel.reports.report import write_evaluation
from pseudolabel.reports.results import RESULTS, results_markdown, results_terminal
from pseudolabel.reports.rows import Row, named_row, rows_of
from pseudolabel.scores.class_map import BUILT_IN, ClassMap
from pseudolabel.scores.metrics import OPTIONS
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, parse_window, window_name

METRICS_FILE = "metrics.json"
__all__ = ["answers_of_runs", "main", "read_run", "run"]


def answers_of_runs(
    folders: Sequence[Path], clips, clip_ids: Sequence[str], classes: ClassMap, args: argparse.Namespace
) -> Iterator[Answer]:
    """Yield each run and its scores of whole clips, or of their windows, on the device of the options."""
    device = cli.choose_device(args.device, args.threads)
    yield from answers_of_models(folders, clips, clip_ids, classes, args.batch_size, device, args.scales)


def class_map(
    args: argparse.Namespace, vocabulary: Vocabulary, stores: Sequence[ScoreStore], folders: Sequence[Path]
) -> ClassMap:
    """Return which classes of the models stand for the evaluated ones."""
    if args.class_map is None:
        return ClassMap.identity(vocabulary)
    answered = [set(store.class_ids) for store in stores]
    if folders:
        cli.import_torch()
        from pseudolabel.models.files import read_config

        answered += [set(read_config(folder / "config.json")["class_ids"]) for folder in folders]
    classes = ClassMap.read(args.class_map, vocabulary, set.intersection(*answered))
    note(classes.report())
    return classes


def combine(args: argparse.Namespace) -> None:
    """Print one table over several evaluations, and write it where --out says."""
    from pseudolabel.reports.combined import additions_sentence, combined_table, read_metrics

    corpora = [read_metrics(folder) for folder in args.combine]
    table = combined_table(corpora)
    print(f"{table.aligned()}\n\n{additions_sentence(corpora)}")
    if args.out:
        refuse_foreign_file(args.out, args.overwrite, begins_with("| "), "a table")
        write_text(args.out, f"{table.markdown()}\n\n{additions_sentence(corpora)}\n", args.overwrite)


def planned_rows(stores: Sequence[ScoreStore], folders: Sequence[Path], args: argparse.Namespace) -> list[Row]:
    """Return the rows that there will be, without metrics, so that what cannot be shown is refused before scoring."""
    runs = [run_of_store(store.path) for store in stores]
    runs += [read_run(folder, ()) for folder in folders]
    rows = rows_of([run.at_scale(window_name(scale)) for run in runs for scale in args.scales])
    if args.ablation is not None:
        named_row(rows, args.ablation, "--ablation")
    return rows


def planned_sweep(
    rows: Sequence[Row], words: dict[str, str], vocabulary: Vocabulary, folders: Sequence[Path], args, inputs: Inputs
) -> BetaSweep | None:
    """Return which rows --betas compares, and the priors of the classes they were trained on."""
    if not args.betas:
        return None
    of_one_scale = [row for row in rows if row.scale == window_name(args.scales[0])]
    BetaSweep.of(of_one_scale, {}, np.zeros(0), "")
    return BetaSweep.of(of_one_scale, words, *training_priors(args, vocabulary, folders, inputs))


def sweep_words(sets: Iterable[str], has_truth: bool) -> dict[str, str]:
    """Return which sets a sweep is drawn against and what the reader calls them: the named ones, else all there are."""
    named = {name: name for name in sets if name != NOISY}
    return named or ({TRUTH: "true", NOISY: "noisy"} if has_truth else {NOISY: "given"})


def refuse_contradictions(args: argparse.Namespace) -> None:
    """Raise InputError for options that do not go together."""
    for option, values in (("--scales", args.scales), ("--metrics", args.metrics or [])):
        twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
        if twice:
            raise InputError(f"{twice[0]!r} is listed twice", option, "Name each once.")
    if args.betas and args.class_map is not None:
        raise InputError("compares classes of the training list", "--betas", "Leave out --class-map.")
    if args.combine and (args.labels_set or args.class_map or args.ablation or args.betas):
        raise InputError("puts finished evaluations together", "--combine", "Give the other options when evaluating.")


def publish(out: Path, copy: Path | None, evaluation: Evaluation, record: dict, overwrite: bool) -> None:
    """Write the evaluation and the copy of its results, and print them."""
    if copy:  # before the folder: where that is, all is there
        write_text(copy, results_markdown(evaluation))
    write_evaluation(out, evaluation, record, overwrite)
    print(results_terminal(evaluation))
    n_runs, n_missing = sum(len(row.runs) for row in evaluation.rows), len(evaluation.missing)
    what = f"{plural(n_runs, 'run')} on {plural(evaluation.n_clips, 'clip')}"
    what += f"; {n_missing} missing, see {out / 'missing.csv'}" if n_missing else ""
    print(f"\nwrote {out}{f' and {copy}' if copy else ''}: {what}")


def run(args: argparse.Namespace) -> None:
    """Read what is there, measure it, write the evaluation and print its table."""
    refuse_contradictions(args)
    if args.combine:
        return combine(args)
    out = output_of(args)
    with only_run(out):
        refuse_foreign(out, args.overwrite, "evaluate")
        evaluate(args, out)


def output_of(args: argparse.Namespace) -> Path:
    """Return the folder to write."""
    named = (args.labels, *(args.scores or ()), *(args.runs or ()), args.clips, args.truth, args.train_labels)
    named += tuple(path for _, path in args.labels_set or ()) + tuple(args.enhanced or ())
    return cli.default_output(args, "evaluation", *(path for path in named if path and path.exists()))


def plan(args: argparse.Namespace) -> str:
    """Return what a dry run says of the evaluation, after checking what can be known."""
    refuse_contradictions(args)
    if args.combine:
        inside = [folder / "evaluation" for folder in args.combine]
        both = zip(args.combine, inside, strict=True)
        dry_run.refuse_absent(*(a / METRICS_FILE if dry_run.there(a / METRICS_FILE) else b / METRICS_FILE
                                for a, b in both))  # fmt: skip
        return f"would show one table of {len(args.combine)} evaluations{f', and write {args.out}' if args.out else ''}"
    out, lists, stores = output_of(args), EvaluationLists.of(args), args.scores or []
    listed = [*lists.sets.values(), lists.truth, *lists.enhanced, *([lists.train_labels] * bool(lists.enhanced))]
    dry_run.refuse_absent(*listed, *stores, args.ontology)
    check_vocabulary(lists.vocabulary)
    named = args.runs or ()
    absent = [run for run in named if not any(dry_run.there(path / WEIGHTS) for path in (run, lists.runs / run))]
    if absent:
        raise InputError(f"no run {str(absent[0])!r} with a {WEIGHTS}", "--runs", f"Name those in {lists.runs}.")
    of_runs = bool(named) or (args.runs is None and not stores)
    if of_runs and not named and not dry_run.holds(lists.runs, WEIGHTS):
        raise InputError("no run with a model is there", lists.runs, "Train one, or give --runs or --scores STORE.")
    if of_runs:
        dry_run.refuse_absent(lists.clips)
        check_device(args.device, args.threads)
    if args.class_map not in (None, *BUILT_IN):
        dry_run.refuse_absent(args.class_map)
    refuse_input_as_output(out, [*listed, *stores, *named, lists.clips])
    dry_run.refuse_folder(out, args.overwrite, "evaluate")
    dry_run.promise(out, METRICS_FILE, "results.md", "run.json")
    what = f"{len(named)} runs" if named else f"the runs in {lists.runs}" if of_runs else f"{len(stores)} stores"
    return f"would write {out}: {what} on {', '.join(map(str, lists.sets.values()))}"


def evaluate(args: argparse.Namespace, out: Path) -> None:
    """Do what `run` says, into the folder `out`."""
    from pseudolabel.audio.clips import ClipStore

    copy = None if args.out else args.work / "results.md"
    if copy:
        refuse_foreign_file(copy, True, begins_with(RESULTS), "results")
    lists, inputs = EvaluationLists.of(args), Inputs()
    paths, truth_path, vocabulary = lists.sets, lists.truth, Vocabulary.load(inputs.read(lists.vocabulary))
    sets = {name: cli.read_labels(args, inputs.read(path), vocabulary, lists.own) for name, path in paths.items()}
    left_out, aliases = {k: n for labels in sets.values() for k, n in labels.left_out.items()}, {}
    truth = cli.read_labels(args, inputs.read(truth_path), vocabulary, args.truth is None) if truth_path else None
    enhanced = judge_folders(args, lists, vocabulary, truth, inputs)
    folders = [] if args.runs is None and args.scores else find_runs(lists.runs, args.runs)
    stores = [ScoreStore.open(inputs.read(path)) for path in args.scores or []]
    if not folders and not stores:
        raise InputError("no run with a model is there", lists.runs, "Train one, or give --runs or --scores STORE.")
    refuse_input_as_output(out, [*inputs.sha256, *folders, lists.clips])
    clips_path = lists.clips
    classes, missing = class_map(args, vocabulary, stores, folders), []
    if args.class_map is not None:
        sets, missing = mapped_sets(sets, classes)
    if truth is not None:
        listed = dict.fromkeys(clip_id for labels in sets.values() for clip_id in labels.clip_ids)
        truth, aliases = renamed_truth(truth if args.class_map is None else restricted(truth, classes), tuple(listed),
                                       truth_path)  # fmt: skip
    clips = ClipStore.open(inputs.read(clips_path)) if folders else None
    for folder in folders:
        inputs.read(folder / WEIGHTS)
    sources = [*([clips] if folders else []), *stores]
    clip_ids, absent = evaluated_clips(sets, truth, sources, lists, args.strict)
    references = sets if truth is None else {TRUTH: truth, **sets}
    if "accuracy" in (args.metrics or ()):
        refuse_several_labels(references, clip_ids, {**paths, TRUTH: truth_path})
    planned = planned_rows(stores, folders, args)
    sweep = planned_sweep(planned, sweep_words(sets, truth is not None), vocabulary, folders, args, inputs)

    results = measured(clip_ids, references, answers_of_stores(stores, clip_ids, classes, args.scales))
    if folders:
        results += measured(clip_ids, references, answers_of_runs(folders, clips, clip_ids, classes, args))
    rows, vocabulary = rows_of(results), next(iter(sets.values())).vocabulary
    if sweep:
        by_name = {row.name: row for row in rows}
        sweep = replace(sweep, rows=tuple(by_name[row.name] for row in sweep.rows))
    evaluation = Evaluation(
        rows, enhanced, vocabulary.class_ids, vocabulary.names, len(clip_ids), missing + absent, args.work, out, paths,
        truth_path, command_of("evaluate"), metrics=tuple(args.metrics) if args.metrics else None,
        scales=tuple(window_name(scale) for scale in args.scales), ablation=args.ablation, betas=sweep,
        remarks=tuple(text for text in (classes.report(),) if text),
    )  # fmt: skip
    inputs.read(classes.place or None)
    n_renamed = len(set(aliases).union(*(source.aliases for source in sources)))
    record = {**run_record("evaluate", vars(args), inputs), "clips_under_another_id": n_renamed,
              "labels_left_out": left_out}  # fmt: skip
    publish(out, copy, evaluation, record, args.overwrite)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    parser = cli.verb_parser("evaluate", __doc__)
    parser.add_argument("--runs", type=Path, nargs="+", help="run folders (default: all in WORK/runs)")
    parser.add_argument("--scores", type=Path, nargs="+", help="score stores instead of runs, each a row of its own")
    parser.add_argument("--combine", type=Path, nargs="+", metavar="WORK", help="evaluated work folders: one table")
    parser.add_argument("--clips", type=Path, help="clip store (default: WORK/clips.h5)")
    parser.add_argument("--labels", type=Path, help="list to evaluate on, noisy labels (default: WORK/eval.csv)")
    parser.add_argument("--labels-set", type=named_list, action="append", metavar="NAME=LIST",
                        help="evaluate on several lists at once, each a set of columns; repeat it")  # fmt: skip
    parser.add_argument("--class-map", metavar="MAP",
                        help="CSV class_id,target_id, or esc50, fsd50k: the models' classes that stand for the "
                             "evaluated ones; a target's score is the maximum over its classes")  # fmt: skip
    parser.add_argument("--metrics", nargs="+", choices=OPTIONS, help="columns of the table (metrics.json has all)")
    parser.add_argument("--scales", type=parse_window, nargs="+", default=[CLIP], metavar="SCALE",
                        help="clip, 10s, 5s, 2s: a row each, the mean of a clip's windows (default: clip)")  # fmt: skip
    parser.add_argument("--ablation", metavar="ROW", help="also a table of differences to this row")
    parser.add_argument("--betas", action="store_true",
                        help="also figures over the oversampling exponent of the runs (train --beta)")  # fmt: skip
    parser.add_argument("--truth", type=Path, help="true labels (default: WORK/truth.csv where it is)")
    parser.add_argument("--enhanced", type=Path, nargs="*", help="enhanced folders to judge (default: WORK/enhanced-*)")
    parser.add_argument("--train-labels", type=Path, help="the list that was enhanced (default: WORK/labels.csv)")
    parser.add_argument("--ontology", type=Path, help="what it was enhanced with (default: AudioSet's)")
    parser.add_argument("--vocabulary", help="classes (default: WORK/vocabulary.csv, else audioset)")
    cli.add_label_options(parser)
    parser.add_argument("--out", type=Path, help="output folder (default: WORK/evaluation)")
    parser.add_argument("--batch-size", type=cli.positive_int, default=32, help="clips a batch (default: 32)")
    cli.add_device_options(parser)
    return cli.run_verb(parser, run, argv, plan)


if __name__ == "__main__":
    raise SystemExit(main())
