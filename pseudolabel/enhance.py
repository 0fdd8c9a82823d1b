"""Add missing labels that the teacher hears and the ontology allows.

    python -m pseudolabel.enhance --threshold 25p
    python -m pseudolabel.enhance --labels dev.csv --scores scores.h5 --errors I --threshold mean --out enhanced-mean
    python -m pseudolabel.enhance --sweep mean 25p 10p 5p
    python -m pseudolabel.enhance --apply reviewed.csv
    python -m pseudolabel.enhance --undo work/enhanced-25p/ledger.parquet

A class is added to a clip when a label of the clip proposes it (its child: Type I; its parent or ancestor: Type II),
the clip lacks it, and the teacher's score is above the class's threshold. What will be added is counted and said
first, then written block by block into WORK/enhanced-RULE/: labels.csv, ledger.parquet and ledger.csv.gz (every added
label and why), thresholds.csv, missing.csv, outside.csv (what ontology nodes outside the vocabulary do), summary.json,
run.json; with --soft also targets.h5 and mask.csv. --errors II --type2 closure takes no scores
(WORK/enhanced-closure/). --sweep only counts what several thresholds would add (WORK/sweep/sweep.csv). --apply adds to
the labels what a reviewer found right: a ledger as CSV with the further column decision (right, wrong, unsure).
--undo takes all additions of a ledger back.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

from pseudolabel import dry_run
from pseudolabel.artefacts import whole_folder, write_csv, write_json
from pseudolabel.audio.clips import ClipStore
from pseudolabel.blocks import only_run
from pseudolabel.cli import (
    add_label_options,
    base,
    default_file,
    default_output,
    positive_int,
    probability,
    read_labels,
    run_verb,
    verb_parser,
    vocabulary_source,
)
from pseudolabel.enhance_files import announced, write_blocks, write_enhancement
from pseudolabel.errors import InputError
from pseudolabel.labels.enhancement import Enhancement, Enhancing, enhance, sweep
from pseudolabel.labels.ledger import ledger_pieces, read_ledger, write_ledger
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.rules import ALL_ROUNDS, CHOICES, EnhanceOptions
from pseudolabel.labels.summary import SWEEP_HEADER, summary_lines, sweep_lines
from pseudolabel.labels.table import HEADER
from pseudolabel.labels.thresholds import VALID_RULES, is_threshold_file
from pseudolabel.labels.undo import apply_decisions, without_additions
from pseudolabel.labels.vocabulary import Vocabulary, table_path
from pseudolabel.ownership import begins_with, read_run, refuse_foreign, refuse_foreign_file, refuse_input_as_output
from pseudolabel.plan_checks import check_vocabulary
from pseudolabel.records import Inputs, input_in_role, recorded_input, run_record, write_run_record
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import parse_window
from pseudolabel.verification import compare_windows

__all__ = ["EnhanceOptions", "Enhancement", "enhance", "main", "sweep", "write_enhancement"]

REVIEWED = ("clip_id", "class_id", "error", "decision")
UNDONE = "labels-undone.csv"


def run(args: argparse.Namespace) -> None:
    """Do what was asked for: enhance, sweep, apply decisions, or undo."""
    modes = [name for name in ("sweep", "apply", "undo") if getattr(args, name)]
    if len(modes) > 1:
        raise InputError("only one at a time", " and ".join(f"--{name}" for name in modes), "Leave one away.")
    if args.undo or args.apply:
        _run_undo(args) if args.undo else _run_apply(args)
    else:
        _run_search(args)


def plan(args: argparse.Namespace) -> str:
    """Count what would be added and write nothing; where a recipe asks, check what can be known, and count nothing."""
    if not dry_run.of_recipe() or args.sweep or args.apply or args.undo:
        args.counting = True
        run(args)
        return ""
    options = _options(args)
    folder, out = base(args, args.labels, args.scores), default_output(args, _name(options), args.labels, args.scores)
    labels, scores = args.labels or folder / "labels.csv", args.scores or folder / "scores.h5"
    if args.scores is None and not dry_run.there(scores):
        options.refuse_without_scores(scores)
        scores = None
    thresholds = [options.threshold] if is_threshold_file(options.threshold) else []
    inputs = [labels, scores, args.ontology, *(args.thresholds_from or ()), *thresholds]
    dry_run.refuse_absent(*inputs)
    check_vocabulary(vocabulary_source(args, args.labels, args.scores))
    refuse_input_as_output(out, inputs)
    dry_run.refuse_folder(out, args.overwrite, "enhance")
    made = ("labels.csv", "ledger.parquet", "ledger.csv.gz", "summary.json", "run.json")
    dry_run.promise(out, *made, *(["targets.h5"] * args.soft))
    return f"would write {out}: {labels} with what is above the thresholds in {scores}"


def _options(args: argparse.Namespace) -> EnhanceOptions:
    """Return the rules that the options give."""
    chosen = {field.name: getattr(args, field.name) for field in fields(EnhanceOptions)}
    return EnhanceOptions(**{**chosen, "errors": tuple(args.errors)})


def _name(options: EnhanceOptions) -> str:
    """Return what the folder of an enhancement is called."""
    return f"enhanced-{'closure' if options.only_by_rule else 'psla-' * (options.profile == 'psla') + options.name}"


def _run_search(args: argparse.Namespace) -> None:
    """Read, count, write the folder, and say what was done; or only count."""
    if args.sweep and args.soft:
        raise InputError("--sweep only counts", "--soft", "Leave one away.")
    options = _options(args)
    out = _output_folder(args, "sweep" if args.sweep else _name(options))
    inputs = Inputs()
    labels, *rest = _read_search(args, options, inputs)
    refuse_input_as_output(out, inputs.sha256)
    record = {**asdict(options), "unknown_labels": args.unknown_labels, "labels_left_out": labels.left_out}
    if args.sweep:
        rows = sweep(labels, *rest[:2], args.sweep, options, rest[2])
        if not args.counting:
            with _writing(out, args) as folder:
                write_csv(folder / "sweep.csv", SWEEP_HEADER, (row.values() for row in rows))
                write_run_record(folder, run_record("enhance", {**record, "sweep": args.sweep}, inputs))
        lines = [*sweep_lines(rows), "nothing written" if args.counting else f"{out / 'sweep.csv'}"]
    else:
        enhancing = Enhancing.begin(labels, *rest[:2], options, rest[2])
        counted = enhancing.count()
        if not args.counting:
            print(announced(enhancing, counted, out, args.soft), flush=True)
            with _writing(out, args) as folder:
                write_blocks(enhancing, counted, folder, args.soft)
                write_run_record(folder, run_record("enhance", record, inputs))
        lines = summary_lines(enhancing.summary(counted), "nothing written" if args.counting else out)
    print("\n".join(lines))


def _read_search(args: argparse.Namespace, options: EnhanceOptions, inputs: Inputs) -> tuple:
    """Return the labels, the scores, the ontology, and the pair that thresholds are made from, or None."""
    folder = base(args, args.labels, args.scores)
    labels_path, scores_path = args.labels or folder / "labels.csv", args.scores or folder / "scores.h5"
    if args.scores is None and options.only_by_rule:
        scores_path = None
    elif args.scores is None and not scores_path.exists():
        options.refuse_without_scores(scores_path)
    vocabulary = Vocabulary.load(inputs.read(vocabulary_source(args, args.labels, args.scores), "vocabulary"))
    inputs.read(args.ontology or table_path("audioset.csv"))
    for threshold in filter(is_threshold_file, args.sweep or [options.threshold]):
        inputs.read(threshold)
    pair = None
    if args.thresholds_from:
        others, their_scores = map(inputs.read, args.thresholds_from)
        pair = read_labels(args, others, vocabulary), ScoreStore.open(their_scores)
    scores = scores_path and ScoreStore.open(inputs.read(scores_path, "scores"))
    for store in filter(None, (scores, pair and pair[1])):
        store.refuse_without(parse_window(options.evidence), "--evidence")
    if scores and options.evidence != "clip":  # a window that begins where its clip has ended is no evidence
        clips_path = inputs.read(default_file(args, None, "clips.h5", args.labels, args.scores), "clips")
        compare_windows(scores, clips_path and ClipStore.open(clips_path))
    labels = read_labels(args, inputs.read(labels_path, "labels"), vocabulary, own=args.labels is None)
    return labels, scores, Ontology.load(args.ontology), pair


def _output_folder(args: argparse.Namespace, name: str) -> Path:
    """Return the folder to write, which does not exist, or may be replaced and is one that this verb wrote."""
    out = default_output(args, name, args.labels, args.scores, args.apply)
    return (dry_run.refuse_folder if args.counting else refuse_foreign)(out, args.overwrite, "enhance")


@contextlib.contextmanager
def _writing(out: Path, args: argparse.Namespace) -> Iterator[Path]:
    """Hold the lock of an output folder, and yield the folder to write into."""
    with only_run(out), whole_folder(out, args.overwrite, "enhance") as folder:
        yield folder


def _list_before(args: argparse.Namespace) -> Path:
    """Return the list that a reviewed ledger belongs to: the recorded one, else that of its work folder.

    Raises:
        InputError: it is recorded, and no longer there with the same bytes.
    """
    place, record = base(args, args.apply), read_run(args.apply.absolute().parent)
    if ledger := input_in_role(record, "ledger"):  # `review` wrote it
        record = read_run((recorded_input(record, ledger) or args.apply).absolute().parent)
    recorded = input_in_role(record, "labels")
    found = recorded_input(record, recorded, place) if recorded else place / "labels.csv"
    if found is None:
        raise InputError("the list that was enhanced is not there as it was", recorded, "Give --labels.")
    return found


def _run_apply(args: argparse.Namespace) -> None:
    """Write the labels with the additions that a reviewer found right, and the ledger of these."""
    out, inputs = _output_folder(args, "enhanced-reviewed"), Inputs()
    if not args.apply.is_file():
        raise InputError("no such file", args.apply)
    labels_path = args.labels or _list_before(args)
    vocabulary = Vocabulary.load(inputs.read(vocabulary_source(args, labels_path), "vocabulary"))
    labels = read_labels(args, inputs.read(labels_path, "labels"), vocabulary, own=args.labels is None)
    reviewed = read_ledger(inputs.read(args.apply, "ledger"), REVIEWED)
    refuse_input_as_output(out, inputs.sha256)
    if "" in reviewed["error"].unique().to_pylist():
        remedy = "Of a blind page, which has decoys, give the reviewed.csv that `review estimate` writes."
        raise InputError("a row has no error type: it may be no addition", args.apply, remedy)
    kept, ledger, counts = apply_decisions(labels, reviewed, args.apply)
    summary = {"labels_before": labels.matrix.nnz, "labels_after": kept.matrix.nnz, "decisions": counts}
    left_out = {"unknown_labels": args.unknown_labels, "labels_left_out": labels.left_out}
    if not args.counting:
        with _writing(out, args) as folder:
            kept.write(folder / "labels.csv")
            write_ledger(ledger, folder)
            write_json(folder / "summary.json", summary)
            write_run_record(folder, run_record("enhance", left_out, inputs))
    said = ", ".join(f"{n:,} {decision}" for decision, n in counts.items())
    print(f"{'nothing written' if args.counting else out}: {said}; {kept.matrix.nnz:,} labels, the right ones added")


def _run_undo(args: argparse.Namespace) -> None:
    """Write the label list as it was before the additions of a ledger."""
    out = default_output(args, UNDONE, args.labels, args.undo)
    check = partial(refuse_foreign_file, out, args.overwrite, begins_with(",".join(HEADER)), "a label list")
    dry_run.refuse_output(out, args.overwrite, check) if args.counting else check()
    labels_path, source = (
        args.labels or args.undo.parent / "labels.csv",
        vocabulary_source(args, args.undo, args.labels),
    )
    refuse_input_as_output(out, [labels_path, args.undo, source])
    enhanced = read_labels(args, labels_path, Vocabulary.load(source), own=args.labels is None)
    labels, n_taken = without_additions(enhanced, ledger_pieces(args.undo, only=True), args.undo)
    if not args.counting:
        with only_run(out):
            labels.write(out, overwrite=args.overwrite)
    print(f"{'nothing written' if args.counting else out}: {n_taken:,} labels taken back, {labels.matrix.nnz:,} left")


def rounds(text: str) -> int | str:
    """Parse a number of rounds, or `all`."""
    return ALL_ROUNDS if text == ALL_ROUNDS else positive_int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb; return its exit code."""
    parser = verb_parser("enhance", __doc__)
    default = EnhanceOptions()
    add = parser.add_argument
    add("--labels", type=Path, help="label list (default: WORK/labels.csv; with --undo the one beside the ledger)")
    add("--scores", type=Path, help="score store (default: WORK/scores.h5, none where all is added by rule)")
    add("--vocabulary", help="audioset, fsd50k, esc50 or a CSV file (default: WORK/vocabulary.csv, else audioset)")
    add_label_options(parser)
    add("--ontology", type=Path, help="ontology table or published ontology.json (default: AudioSet's)")
    add("--threshold", default=default.threshold, help=f"{VALID_RULES} (default: {default.threshold})")
    add(
        "--thresholds-from", nargs=2, type=Path, metavar=("LABELS", "SCORES"), help="thresholds are statistics of these"
    )
    add("--floor", type=probability, default=0.0, help="no class's threshold is below it (default: 0)")
    add("--min-positives", type=positive_int, default=1, metavar="N", help="fewer: no threshold (default: 1)")
    add("--errors", nargs="+", choices=CHOICES["errors"], default=default.errors, help="default: I II")
    add("--type1", choices=CHOICES["type1"], default=default.type1, help="what Type I adds (default: children)")
    add("--type2", choices=CHOICES["type2"], default=default.type2, help="what Type II adds; closure: all ancestors by "
        "rule, no score needed (default: ancestors)")  # fmt: skip
    add("--rounds", type=rounds, default=1, metavar="N|all", help="added labels may propose again (default: 1: no)")
    add("--evidence", default=default.evidence, metavar="clip|LENGTH", help="score of the clip, or the best of its "
        "windows of a length (2s, 1.5s); thresholds are made of the same (default: clip)")  # fmt: skip
    add("--profile", choices=CHOICES["profile"], default=default.profile, help="psla: as PSLA's published code")
    add("--soft", action="store_true", help="also write targets with the teacher's scores of unsure labels, and a mask")
    add("--sweep", nargs="+", metavar="RULE", help="only count what each of these thresholds would add")
    add("--apply", type=Path, metavar="DECISIONS", help="reviewed ledger: add to the labels what was found right")
    add("--undo", type=Path, metavar="LEDGER", help=f"take the additions back (default --out: WORK/{UNDONE})")
    add("--out", type=Path, help="folder to write (default: WORK/enhanced-RULE)")
    parser.set_defaults(counting=False)
    return run_verb(parser, run, argv, plan)


if __name__ == "__main__":
    raise SystemExit(main())
