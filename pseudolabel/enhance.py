"""Add missing labels that the teacher hears and the ontology allows.

    python -m pseudolabel.enhance --threshold 25p
    python -m pseudolabel.enhance --labels dev.csv --scores scores.h5 --errors I --threshold mean --out enhanced-mean
    python -m pseudolabel.enhance --sweep mean 25p 10p 5p
    python -m pseudolabel.enhance --apply reviewed.csv
    python -m pseudolabel.enhance --undo work/enhanced-25p/ledger.parquet

A class is added to a clip when a label of the clip proposes it (its child: Type I; its parent or ancestor: Type II),
the clip lacks it, and the teacher's score is above the class's threshold. Written into WORK/enhanced-RULE/: labels.csv,
ledger.parquet and ledger.csv.gz (every added label and why), thresholds.csv, missing.csv, outside.csv (what ontology
nodes outside the vocabulary do), summary.json, run.json; with --soft also targets.h5 and mask.csv. --errors II --type2
closure takes no scores (WORK/enhanced-closure/). --sweep only counts what several thresholds would add
(WORK/sweep/sweep.csv). --apply adds to the labels what a reviewer found right: a ledger as CSV with the further column
decision (right, wrong, unsure). --undo takes all additions of a ledger back.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from pseudolabel.artefacts import refuse_existing, refuse_foreign, run_record, whole_folder, write_csv, write_json
from pseudolabel.cli import (
    add_label_options,
    positive_int,
    probability,
    read_labels,
    run_verb,
    verb_parser,
    vocabulary_source,
)
from pseudolabel.errors import InputError
from pseudolabel.labels.enhancement import Enhancement, enhance, sweep
from pseudolabel.labels.ledger import read_ledger, write_ledger
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.outside import Outside
from pseudolabel.labels.published import table_path
from pseudolabel.labels.rules import ALL_ROUNDS, CHOICES, EnhanceOptions
from pseudolabel.labels.summary import SWEEP_HEADER, summary_lines, sweep_lines
from pseudolabel.labels.thresholds import VALID_RULES, is_threshold_file
from pseudolabel.labels.undo import apply_decisions, undo
from pseudolabel.labels.vocabulary import Vocabulary

__all__ = ["EnhanceOptions", "Enhancement", "enhance", "main", "sweep", "write_enhancement"]

REVIEWED = ("clip_id", "class_id", "error", "decision")
UNDONE = "labels-undone.csv"


def write_enhancement(enhancement: Enhancement, folder: Path) -> None:
    """Write all that `enhance` found, but not run.json, into a folder that is there."""
    enhancement.labels.write(folder / "labels.csv")
    write_ledger(enhancement.ledger, folder)
    reasons = {row["class_id"]: row["reason"] for row in enhancement.summary["classes_without_threshold"]}
    rows = []
    for row in enhancement.summary["by_class"]:
        threshold = "" if row["threshold"] is None else f"{row['threshold']:.17g}"
        rows.append(
            (row["class_id"], row["name"], threshold, row["scored_positives"], reasons.get(row["class_id"], ""))
        )
    write_csv(folder / "thresholds.csv", ("class_id", "name", "threshold", "scored_positives", "reason"), rows)
    write_csv(folder / "missing.csv", ("clip_id", "reason"), enhancement.missing)
    write_csv(folder / "outside.csv", Outside._fields, (row.texts() for row in enhancement.outside))
    write_json(folder / "summary.json", enhancement.summary)
    if enhancement.unsure is not None:
        from pseudolabel.scores.soft_targets import write_soft_targets

        write_soft_targets(folder, enhancement.labels, enhancement.unsure)


def run(args: argparse.Namespace) -> None:
    """Do what was asked for: enhance, sweep, apply decisions, or undo."""
    modes = [name for name in ("sweep", "apply", "undo") if getattr(args, name)]
    if len(modes) > 1:
        raise InputError("only one at a time", " and ".join(f"--{name}" for name in modes), "Leave one away.")
    if args.undo or args.apply:
        _run_undo(args) if args.undo else _run_apply(args)
    else:
        _run_search(args)


def _run_search(args: argparse.Namespace) -> None:
    """Read, enhance or only count, write the folder, and say what was done."""
    from pseudolabel.scores.store import ScoreStore

    if args.sweep and args.soft:
        raise InputError("--sweep only counts", "--soft", "Leave one away.")
    chosen = {field.name: getattr(args, field.name) for field in fields(EnhanceOptions)}
    options = EnhanceOptions(**{**chosen, "errors": tuple(args.errors)})
    name = "closure" if options.only_by_rule else f"{'psla-' * (options.profile == 'psla')}{options.name}"
    default, mark = ("sweep", "sweep.csv") if args.sweep else (f"enhanced-{name}", "ledger.parquet")
    out = _output_folder(args, default, mark)
    labels_path, scores_path = args.labels or args.work / "labels.csv", args.scores or args.work / "scores.h5"
    if args.scores is None and options.only_by_rule:
        scores_path = None
    elif args.scores is None and not scores_path.exists():
        options.refuse_without_scores(scores_path)
    source = vocabulary_source(args)
    vocabulary, ontology = Vocabulary.load(source), Ontology.load(args.ontology)
    pair = args.thresholds_from and [read_labels(args, args.thresholds_from[0], vocabulary), args.thresholds_from[1]]
    thresholds_from = pair and (pair[0], ScoreStore.open(pair[1]))
    scores = scores_path and ScoreStore.open(scores_path)
    labels = read_labels(args, labels_path, vocabulary, own=args.labels is None)
    arguments = labels, scores, ontology
    inputs = [labels_path, source, args.ontology or table_path("audioset.csv"), *filter(None, [scores_path])]
    inputs += [*(args.thresholds_from or ()), *filter(is_threshold_file, args.sweep or [options.threshold])]
    if args.sweep:
        rows = sweep(*arguments, args.sweep, options, thresholds_from)
        lines = [*sweep_lines(rows), "nothing written" if args.dry_run else f"{out / 'sweep.csv'}"]
    else:
        enhancement = enhance(*arguments, options, thresholds_from, args.soft)
        lines = summary_lines(enhancement.summary, "nothing written" if args.dry_run else out)
    if not args.dry_run:
        with whole_folder(out, args.overwrite, "enhance") as folder:
            if args.sweep:
                write_csv(folder / "sweep.csv", SWEEP_HEADER, (row.values() for row in rows))
            else:
                write_enhancement(enhancement, folder)
            record = {**asdict(options), "sweep": args.sweep} if args.sweep else asdict(options)
            record |= {"unknown_labels": args.unknown_labels, "labels_left_out": labels.left_out}
            write_json(folder / "run.json", run_record("enhance", record, inputs))
    print("\n".join(lines))


def _output_folder(args: argparse.Namespace, name: str, mark: str) -> Path:
    """Return the folder to write, which does not exist, or may be replaced and holds what this verb wrote."""
    out = args.out or args.work / name
    if args.dry_run:
        return out
    return refuse_foreign(out, args.overwrite, "enhance")


def _run_apply(args: argparse.Namespace) -> None:
    """Write the labels with the additions that a reviewer found right, and the ledger of these."""
    out = _output_folder(args, "enhanced-reviewed", "ledger.parquet")
    labels_path, source = args.labels or args.work / "labels.csv", vocabulary_source(args)
    labels = read_labels(args, labels_path, Vocabulary.load(source), own=args.labels is None)
    reviewed = read_ledger(args.apply, REVIEWED)
    if "" in reviewed["error"].unique().to_pylist():
        remedy = "Of a blind page, which has decoys, give the reviewed.csv that `review --judgements` writes."
        raise InputError("a row has no error type: it may be no addition", args.apply, remedy)
    kept, ledger, counts = apply_decisions(labels, reviewed, args.apply)
    summary = {"labels_before": labels.matrix.nnz, "labels_after": kept.matrix.nnz, "decisions": counts}
    left_out = {"unknown_labels": args.unknown_labels, "labels_left_out": labels.left_out}
    if not args.dry_run:
        with whole_folder(out, args.overwrite, "enhance") as folder:
            kept.write(folder / "labels.csv")
            write_ledger(ledger, folder)
            write_json(folder / "summary.json", summary)
            write_json(folder / "run.json", run_record("enhance", left_out, [labels_path, args.apply, source]))
    said = ", ".join(f"{n:,} {decision}" for decision, n in counts.items())
    print(f"{'nothing written' if args.dry_run else out}: {said}; {kept.matrix.nnz:,} labels, the right ones added")


def _run_undo(args: argparse.Namespace) -> None:
    """Write the label list as it was before the additions of a ledger."""
    out = args.out or args.work / UNDONE
    if not args.dry_run:
        refuse_existing(out, args.overwrite)
    labels_path, vocabulary = args.labels or args.undo.parent / "labels.csv", Vocabulary.load(vocabulary_source(args))
    enhanced = read_labels(args, labels_path, vocabulary, own=args.labels is None)
    ledger = read_ledger(args.undo)
    labels = undo(enhanced, ledger, args.undo)
    if not args.dry_run:
        labels.write(out, overwrite=args.overwrite)
    print(
        f"{'nothing written' if args.dry_run else out}: {len(ledger):,} labels taken back, {labels.matrix.nnz:,} left"
    )


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
    add("--evidence", choices=CHOICES["evidence"], default=default.evidence, help="score of the clip, or the best "
        "of its windows; thresholds are made of the same (default: clip)")  # fmt: skip
    add("--profile", choices=CHOICES["profile"], default=default.profile, help="psla: as PSLA's published code")
    add("--soft", action="store_true", help="also write targets with the teacher's scores of unsure labels, and a mask")
    add("--sweep", nargs="+", metavar="RULE", help="only count what each of these thresholds would add")
    add("--apply", type=Path, metavar="DECISIONS", help="reviewed ledger: add to the labels what was found right")
    add("--undo", type=Path, metavar="LEDGER", help=f"take the additions back (default --out: WORK/{UNDONE})")
    add("--dry-run", action="store_true", help="say what would be done, write nothing")
    add("--out", type=Path, help="folder to write (default: WORK/enhanced-RULE)")
    return run_verb(parser, run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
