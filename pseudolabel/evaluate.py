"""Measure runs against true and noisy labels, and what enhancement added against the truth.

    python -m pseudolabel.evaluate                                  # every folder in WORK/runs -> WORK/evaluation
    python -m pseudolabel.evaluate --scores scores.h5 --labels eval.csv --out evaluation-scores
    python -m pseudolabel.evaluate --combine work-0 work-1 work-2   # one table over several corpora

Whole clips of the --labels list are scored and compared with that list (the noisy labels) and, where WORK/truth.csv is
there, with the true ones. Runs of one row that differ in their seed are one line: mean and spread. Written into
WORK/evaluation/: report.html, metrics.json, per_class.csv, figures/, results.md, missing.csv, run.json; with the
default output also WORK/results.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel import cli
from pseudolabel.artefacts import (
    read_csv,
    refuse_existing,
    run_record,
    whole_folder,
    write_csv,
    write_json,
    write_text,
)
from pseudolabel.errors import ClipMismatch, InputError, UnknownClass, first_few
from pseudolabel.labels.additions import judge_additions, read_ledger_errors
from pseudolabel.labels.aliases import match_clips, same_clips
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.progress import note, progress_over
from pseudolabel.reports.results import Evaluation, aligned, markdown, plural, results_markdown, results_terminal
from pseudolabel.reports.rows import RunResult, rows_of
from pseudolabel.scores.metrics import summary_and_classes
from pseudolabel.scores.store import ScoreStore
from pseudolabel.stores import KeyedByClip
from pseudolabel.training.out_of_fold import SEEN_CLIPS

WEIGHTS = "model.safetensors"
RUN_FIELDS = ("command", "seed", "n_parameters", "n_train_clips", "train_seconds")


def evaluate(
    labels: LabelTable,
    truth: LabelTable | None,
    answers: Iterator[tuple[RunResult, np.ndarray]],
) -> list[RunResult]:
    """Return runs with their metrics against the noisy and, where known, the true labels.

    Args:
        labels: (N, K) noisy labels of the evaluated clips.
        truth: true labels of some or all of these clips.
        answers: each run and its scores (N, K), clips and classes in the order of `labels`.
    """
    known = [row for row, clip_id in enumerate(labels.clip_ids) if truth is not None and clip_id in truth.row_of]
    references = {}
    if known:
        references["truth"] = np.array(known), truth.select([labels.clip_ids[row] for row in known]).matrix
    references["noisy"] = np.arange(len(labels)), labels.matrix
    results = []
    for run, scores in answers:
        found = {name: summary_and_classes(matrix, scores[rows]) for name, (rows, matrix) in references.items()}
        run.metrics.update({name: summary for name, (summary, _) in found.items()})
        run.classes.update({name: classes for name, (_, classes) in found.items()})
        results.append(run)
    return results


def find_runs(args: argparse.Namespace) -> list[Path]:
    """Return the run folders: those named by path or by name in WORK/runs, else all that hold a model."""
    folder = args.work / "runs"
    if args.runs is None:
        return [] if args.scores else sorted(path.parent for path in folder.glob(f"*/{WEIGHTS}"))
    found = [path if (path / WEIGHTS).is_file() else folder / path for path in args.runs]
    for path, given in zip(found, args.runs, strict=True):
        if not (path / WEIGHTS).is_file():
            raise InputError(
                f"no run {str(given)!r} with a {WEIGHTS}", "--runs", f"Name folders, or names in {folder}."
            )
    return found


def read_run(folder: Path, clip_ids: Sequence[str]) -> RunResult:
    """Return what a run folder says of itself, and how many of `clip_ids` it was trained on."""
    record = {}
    if (folder / "run.json").is_file():
        try:
            record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"not JSON ({error})", folder / "run.json") from error
    n_seen = None
    if (folder / SEEN_CLIPS).is_file():
        trained_on = [row["clip_id"] for row in read_csv(folder / SEEN_CLIPS, ("clip_id",))]
        n_seen = len(same_clips(clip_ids, trained_on))
    known = {name: record.get(name) for name in RUN_FIELDS}
    return RunResult(folder.name, record.get("row") or folder.name, str(folder), n_seen=n_seen, **known)


def columns_of(class_ids: Sequence[str], vocabulary: Vocabulary, place: object) -> np.ndarray:
    """Return the column of each class of the vocabulary; UnknownClass where the model does not answer one."""
    column_of = {class_id: column for column, class_id in enumerate(class_ids)}
    absent = [class_id for class_id in vocabulary.class_ids if class_id not in column_of]
    if absent:
        raise UnknownClass(
            f"{len(absent)} of {len(vocabulary)} classes have no scores: {first_few(absent)}",
            place,
            "Give the --vocabulary that it was trained with.",
        )
    return np.array([column_of[class_id] for class_id in vocabulary.class_ids])


def answers_of_stores(
    stores: Sequence[ScoreStore], clip_ids: Sequence[str], vocabulary: Vocabulary
) -> Iterator[tuple[RunResult, np.ndarray]]:
    """Yield each score store as a row of its own, and its scores."""
    for store in stores:
        columns = columns_of(store.class_ids, vocabulary, store.path)
        scores = store.clip_scores()[store.rows(clip_ids)][:, columns]
        yield RunResult(store.path.stem, store.path.stem, str(store.path)), np.asarray(scores, np.float32)


def answers_of_runs(
    folders: Sequence[Path], clips, clip_ids: Sequence[str], vocabulary: Vocabulary, args: argparse.Namespace
) -> Iterator[tuple[RunResult, np.ndarray]]:
    """Yield each run and its scores of whole clips."""
    from dataclasses import replace

    device = cli.choose_device(args.device, args.threads)

    from pseudolabel.models import load_model
    from pseudolabel.training.scoring import score_clips

    rows = clips.rows(clip_ids)
    for folder in progress_over(folders, "evaluate", len(folders), "run"):
        tagger = load_model(folder, device)
        if tagger.config["sample_rate"] != clips.sample_rate:
            raise InputError(
                f"the model hears {tagger.config['sample_rate']} Hz, the clips have {clips.sample_rate} Hz",
                folder,
                "Prepare the clips with its --sample-rate.",
            )
        columns = columns_of(tagger.config["class_ids"], vocabulary, folder)
        scores = score_clips(tagger, clips, rows, "clip", args.batch_size, device)[:, 0]
        run = read_run(folder, clip_ids)
        n_parameters = run.n_parameters or sum(weights.numel() for weights in tagger.parameters())
        yield replace(run, model=tagger.config["name"], n_parameters=n_parameters), scores[:, columns]


def renamed_truth(truth: LabelTable, clip_ids: Sequence[str], path: Path) -> tuple[LabelTable, dict[str, str]]:
    """Return the true labels under the ids of these clips, and {clip: id in the truth} where these differ."""
    matched = match_clips(clip_ids, truth.row_of, path)
    note(matched.report(f"true labels in {path}"))
    return truth.renamed({known: clip_id for clip_id, known in matched.aliases.items()}), matched.aliases


def evaluated_clips(
    labels: LabelTable, truth: LabelTable | None, sources: Sequence[KeyedByClip], args: argparse.Namespace
) -> tuple[LabelTable, list[tuple[str, str]]]:
    """Return the labels of the clips that every source has, and (clip id, reason) of what is missing."""
    clip_ids, missing = labels.clip_ids, []
    for source in sources:
        matched = cli.find_in_store(clip_ids, source, args.labels or args.work / "eval.csv", args.strict)
        clip_ids = matched.found
        missing += [(clip_id, f"no {source.HOLDS} in {source.path}") for clip_id in matched.absent]
    if truth is not None:
        absent = [clip_id for clip_id in clip_ids if clip_id not in truth.row_of]
        if len(absent) == len(clip_ids) or (absent and args.strict):
            message = f"{len(absent)} of {len(clip_ids)} evaluated clips have no true labels: {first_few(absent)}"
            raise ClipMismatch(message, args.truth or args.work / "truth.csv", "Give the --truth of these clips.")
        missing += [(clip_id, "no true labels") for clip_id in absent]
    return labels.select(clip_ids), missing


def judge_folders(args: argparse.Namespace, vocabulary: Vocabulary, truth: LabelTable | None) -> dict[str, dict]:
    """Return the judgement of every enhanced folder by its name.

    A folder that was found, not named, and that enhances another list than the training list is left out with a word.
    Where truth is known of no training clip, additions are counted and not judged.
    """
    folders = args.enhanced
    if folders is None:
        folders = sorted(path.parent for path in args.work.glob("enhanced-*/ledger.csv.gz"))
    if not folders:
        return {}
    path = args.train_labels or args.work / "labels.csv"
    before = cli.read_labels(args, path, vocabulary, own=args.train_labels is None)
    if truth is not None:
        truth, _ = renamed_truth(truth, before.clip_ids, args.truth or args.work / "truth.csv")
        if not any(clip_id in truth.row_of for clip_id in before.clip_ids):
            truth = None
    proposed = None if truth is None else proposals_by_type(before, args.ontology)
    judged = {}
    for folder in folders:
        after = cli.read_labels(args, folder / "labels.csv", vocabulary, own=True)
        ledger = read_ledger_errors(folder / "ledger.csv.gz")
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


def write_per_class(path: Path, evaluation: Evaluation) -> None:
    """Write AP and AUC of every row and class, means over runs, empty where a class has no positive clip."""
    sets = [name for name in ("truth", "noisy") if any(name in row.against() for row in evaluation.rows)]
    header = ["row", "class_id", "class_name"]
    header += [f"{figure}_{name}" for name in sets for figure in ("n_positive", "ap", "auc")]
    lines = []
    for row in evaluation.rows:
        columns = []
        for name in sets:
            columns.append([str(int(n)) for n in row.runs[0].classes[name]["n_positive"]])
            columns += [[_number(value) for value in row.class_mean(name, figure)] for figure in ("ap", "auc")]
        lines += [
            (row.name, *cells) for cells in zip(evaluation.class_ids, evaluation.class_names, *columns, strict=True)
        ]
    write_csv(path, header, lines)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def finite(value: object) -> object:
    """Return a value as JSON can say it: NaN and infinity become null, paths text."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def metrics_record(evaluation: Evaluation) -> dict[str, object]:
    """Return metrics.json: every run, every row, every enhanced list."""
    return finite({
        "labels": evaluation.paths["labels"],
        "truth": evaluation.paths["truth"],
        "n_clips": evaluation.n_clips,
        "n_missing": len(evaluation.missing),
        "n_classes": len(evaluation.class_ids),
        "rows": [row.record() for row in evaluation.rows],
        "runs": [run.record() for row in evaluation.rows for run in row.runs],
        "enhanced": evaluation.enhanced,
    })  # fmt: skip


def write_evaluation(out: Path, evaluation: Evaluation, record: dict, overwrite: bool) -> None:
    """Write the folder of an evaluation, whole or not at all."""
    from pseudolabel.reports.evaluation_page import evaluation_page
    from pseudolabel.reports.figures import evaluation_figures

    with whole_folder(out, overwrite) as folder:
        figures = evaluation_figures(evaluation, folder / "figures")
        write_text(folder / "report.html", evaluation_page(evaluation, figures, record["command"]))
        write_json(folder / "metrics.json", metrics_record(evaluation))
        write_per_class(folder / "per_class.csv", evaluation)
        write_text(folder / "results.md", results_markdown(evaluation))
        if evaluation.missing:
            write_csv(folder / "missing.csv", ("clip_id", "reason"), evaluation.missing)
        write_json(folder / "run.json", record)


def combine(args: argparse.Namespace) -> None:
    """Print one table over several evaluations, and write it where --out says."""
    from pseudolabel.reports.combined import additions_sentence, combined_table, read_metrics

    corpora = [read_metrics(folder) for folder in args.combine]
    table = combined_table(corpora)
    print(f"{aligned(table)}\n\n{additions_sentence(corpora)}")
    if args.out:
        write_text(args.out, f"{markdown(table)}\n\n{additions_sentence(corpora)}\n", args.overwrite)


def run(args: argparse.Namespace) -> None:
    """Read what is there, measure it, write the evaluation and print its table."""
    if args.combine:
        return combine(args)

    from pseudolabel.audio.clips import ClipStore

    out = refuse_existing(args.out or args.work / "evaluation", args.overwrite)
    copy = None if args.out else refuse_existing(args.work / "results.md", args.overwrite)
    labels_path, clips_path = args.labels or args.work / "eval.csv", args.clips or args.work / "clips.h5"
    truth_path = args.truth or cli.existing(args.work / "truth.csv")
    vocabulary = Vocabulary.load(cli.vocabulary_source(args))
    labels = cli.read_labels(args, labels_path, vocabulary, own=args.labels is None)
    left_out, aliases = labels.left_out, {}
    truth = cli.read_labels(args, truth_path, vocabulary, own=args.truth is None) if truth_path else None
    enhanced = judge_folders(args, vocabulary, truth)
    folders, stores = find_runs(args), [ScoreStore.open(path) for path in args.scores or []]
    if not folders and not stores:
        raise InputError("no run with a model is there", args.work / "runs", "Train one, or give --scores STORE.")
    if truth is not None:
        truth, aliases = renamed_truth(truth, labels.clip_ids, truth_path)
    clips = ClipStore.open(clips_path) if folders else None
    sources = [*([clips] if folders else []), *stores]
    labels, missing = evaluated_clips(labels, truth, sources, args)

    results = evaluate(labels, truth, answers_of_stores(stores, labels.clip_ids, vocabulary))
    if folders:
        results += evaluate(labels, truth, answers_of_runs(folders, clips, labels.clip_ids, vocabulary, args))
    evaluation = Evaluation(
        rows_of(results), enhanced, vocabulary.class_ids, vocabulary.names, len(labels), missing, truth is not None,
        {"work": args.work, "out": out, "labels": labels_path, "truth": truth_path},
    )  # fmt: skip
    inputs = [labels_path, *([truth_path] if truth_path else []), *([clips_path] if folders else [])]
    inputs += [*(store.path for store in stores), *(folder / WEIGHTS for folder in folders)]
    inputs += [
        Path(judged["folder"]) / name for judged in enhanced.values() for name in ("labels.csv", "ledger.csv.gz")
    ]
    n_renamed = len(set(aliases).union(*(source.aliases for source in sources)))
    record = {**run_record("evaluate", vars(args), inputs), "clips_under_another_id": n_renamed,
              "labels_left_out": left_out}  # fmt: skip
    write_evaluation(out, evaluation, record, args.overwrite)
    if copy:
        write_text(copy, results_markdown(evaluation), args.overwrite)
    print(results_terminal(evaluation))
    left_out = f"; {len(missing)} missing, see {out / 'missing.csv'}" if missing else ""
    what = f"{plural(len(results), 'run')} on {plural(len(labels), 'clip')}{left_out}"
    print(f"\nwrote {out}{f' and {copy}' if copy else ''}: {what}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    parser = cli.verb_parser("evaluate", __doc__)
    parser.add_argument("--runs", type=Path, nargs="+", help="run folders (default: all in WORK/runs)")
    parser.add_argument("--scores", type=Path, nargs="+", help="score stores instead of runs, each a row of its own")
    parser.add_argument("--combine", type=Path, nargs="+", metavar="WORK", help="evaluated work folders: one table")
    parser.add_argument("--clips", type=Path, help="clip store (default: WORK/clips.h5)")
    parser.add_argument("--labels", type=Path, help="list to evaluate on, noisy labels (default: WORK/eval.csv)")
    parser.add_argument("--truth", type=Path, help="true labels (default: WORK/truth.csv where it is)")
    parser.add_argument("--enhanced", type=Path, nargs="*", help="enhanced folders to judge (default: WORK/enhanced-*)")
    parser.add_argument("--train-labels", type=Path, help="the list that was enhanced (default: WORK/labels.csv)")
    parser.add_argument("--ontology", type=Path, help="what it was enhanced with (default: AudioSet's)")
    parser.add_argument("--vocabulary", help="classes (default: WORK/vocabulary.csv, else audioset)")
    cli.add_label_options(parser)
    parser.add_argument("--out", type=Path, help="output folder (default: WORK/evaluation)")
    parser.add_argument("--batch-size", type=cli.positive_int, default=32, help="clips a batch (default: 32)")
    cli.add_device_options(parser)
    return cli.run_verb(parser, run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
