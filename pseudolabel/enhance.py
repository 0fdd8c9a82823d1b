"""Add missing labels that the teacher hears and the ontology allows.

    python -m pseudolabel.enhance --threshold 25p
    python -m pseudolabel.enhance --labels dev.csv --scores scores.h5 --errors I --threshold mean --out enhanced-mean

A class is added to a clip when a label of the clip proposes it (its child: Type I; its parent or ancestor: Type II),
the clip lacks it, and the teacher's score is above the class's threshold. Written into WORK/enhanced-RULE/: labels.csv,
ledger.parquet and ledger.csv.gz (every added label and why), thresholds.csv, missing.csv, summary.json, run.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy import sparse

from pseudolabel.artefacts import refuse_existing, run_record, whole_folder, write_csv, write_json
from pseudolabel.cli import positive_int, run_verb, verb_parser, vocabulary_source
from pseudolabel.errors import InputError
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ledger import SCHEMA, ledger_rows, write_ledger
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.proposals import TYPE_BITS, Proposals, propose, supporting_labels
from pseudolabel.labels.published import table_path
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.thresholds import VALID_RULES, parse_rule, thresholds_of_values
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.progress import Progress

if TYPE_CHECKING:
    from pseudolabel.scores.store import ScoreStore

BLOCK_CLIPS = 65_536
CHOICES = {"errors": ("I", "II"), "type1": ("children",), "type2": ("parents", "ancestors")}


@dataclass(frozen=True)
class EnhanceOptions:
    """How labels are added.

    Args:
        threshold: statistic of the scores of the clips that carry the label: `mean`, `median`, or a percentile `25p`.
        errors: which kinds of missing labels to look for: `I` (children), `II` (parents).
        type1: what a label proposes for Type I: `children`, its nearest descendants in the vocabulary.
        type2: what a label proposes for Type II: `parents` (nearest ancestors in the vocabulary) or `ancestors` (all).
        min_positives: a class with fewer labelled and scored clips gets no threshold and is not added.
        strict: a labelled clip without scores is an error; otherwise it keeps its labels and is listed.
    """

    threshold: str = "mean"
    errors: tuple[str, ...] = ("I", "II")
    type1: str = "children"
    type2: str = "ancestors"
    min_positives: int = 1
    strict: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", parse_rule(self.threshold).text)
        for option, given in (("errors", self.errors), ("type1", (self.type1,)), ("type2", (self.type2,))):
            if not given or not set(given) <= set(CHOICES[option]):
                raise InputError(
                    f"no such choice: {' '.join(given)!r}", f"--{option}", f"Give {' or '.join(CHOICES[option])}."
                )
        object.__setattr__(self, "errors", tuple(error for error in TYPE_BITS if error in self.errors))

    def relations(self, ontology: Ontology, vocabulary: Vocabulary) -> dict[str, sparse.csr_array]:
        """Return for each error type the (K, K) bool relation [label, class that it proposes]."""
        type2 = ontology.ancestors if self.type2 == "ancestors" else ontology.parents
        relation_of = {"I": ontology.children, "II": type2}
        return {error: relation_of[error](vocabulary) for error in self.errors}


@dataclass(frozen=True)
class Enhancement:
    """What `enhance` found.

    Args:
        labels: the enhanced labels; clips and classes as given.
        ledger: one row for every added label (columns: pseudolabel.labels.ledger).
        thresholds: (K,) float64, NaN where a class has none.
        summary: the figures of PSLA's Table VIII, by type and by class, as written to summary.json.
        missing: (clip id, reason) of the clips without scores, which kept their labels.
    """

    labels: LabelTable
    ledger: pa.Table
    thresholds: np.ndarray
    summary: dict
    missing: tuple[tuple[str, str], ...]


def enhance(
    labels: LabelTable,
    scores: ScoreStore | np.ndarray,
    ontology: Ontology,
    options: EnhanceOptions | None = None,
) -> Enhancement:
    """Return the enhanced labels and the ledger of what was added (PSLA, Algorithm 2).

    Args:
        labels: (N, K) weak labels, clips in any order.
        scores: teacher scores in [0, 1] keyed by clip id and class id, more clips and classes than needed are passed
            over; or a plain (N, K) array in the labels' order, NaN rows for clips without scores.
        ontology: which class is a kind of which.
        options: see EnhanceOptions.

    Raises:
        ClipMismatch: not one labelled clip has scores, or `options.strict` and one has none.
        InputError: no class in common with the scores or the ontology, or a score outside [0, 1].
    """
    options = options or EnhanceOptions()
    relations = options.relations(ontology, labels.vocabulary)
    evidence = Evidence.match(labels, scores, options.strict)
    n_classes = len(labels.vocabulary)
    clips, classes = labels.matrix.nonzero()
    values = evidence.at(clips, classes)
    positives = np.bincount(classes[~np.isnan(values)], minlength=n_classes)
    thresholds = thresholds_of_values(classes, values, n_classes, options.threshold, options.min_positives)

    ledgers, additions = [SCHEMA.empty_table()], []
    with Progress("enhance", len(labels)) as progress:
        for start in range(0, len(labels), BLOCK_CLIPS):
            block = labels.matrix[start : start + BLOCK_CLIPS]
            added, ledger = _enhance_block(block, start, evidence, thresholds, relations)
            additions.append(added)
            ledgers.append(ledger)
            progress.advance(block.shape[0])
    added = Proposals(*(np.concatenate(parts) for parts in zip(*additions, strict=True)))
    ones = np.ones(len(added.clips), bool)
    matrix = labels.matrix + sparse.csr_array((ones, (added.clips, added.classes)), shape=labels.matrix.shape)
    return Enhancement(
        labels=LabelTable(labels.clip_ids, matrix, labels.vocabulary),
        ledger=pa.concat_tables(ledgers),
        thresholds=thresholds,
        summary=summarise(labels, added, evidence, positives, thresholds, options),
        missing=evidence.missing,
    )


def _enhance_block(
    block: sparse.csr_array,
    start: int,
    evidence: Evidence,
    thresholds: np.ndarray,
    relations: dict[str, sparse.csr_array],
) -> tuple[Proposals, pa.Table]:
    """Return what is added to the clips from row `start` on (rows counted from the table's first), and its ledger."""
    proposals = propose(block, relations)
    scores = evidence.at(proposals.clips + start, proposals.classes)
    accepted = scores > thresholds[proposals.classes]  # false where either is NaN
    added = proposals.where(accepted)
    support = supporting_labels(block, added, relations)
    clip_ids = evidence.labels.clip_ids[start : start + block.shape[0]]
    class_ids = evidence.labels.vocabulary.class_ids
    ledger = ledger_rows(clip_ids, class_ids, added, support, scores[accepted], thresholds[added.classes])
    return added._replace(clips=added.clips + start), ledger


def summarise(
    labels: LabelTable,
    added: Proposals,
    evidence: Evidence,
    positives: np.ndarray,
    thresholds: np.ndarray,
    options: EnhanceOptions,
) -> dict:
    """Return what summary.json says: PSLA's Table VIII (classes touched, labels added), by type and by class."""
    vocabulary, n_before = labels.vocabulary, labels.matrix.nnz
    before = np.bincount(labels.matrix.indices, minlength=len(vocabulary))

    def count(kept: np.ndarray) -> np.ndarray:
        return np.bincount(added.classes[kept], minlength=len(vocabulary))

    def figures(by_class: np.ndarray) -> dict:
        n_added = int(by_class.sum())
        percent = round(100 * n_added / n_before, 4) if n_before else None
        return {"classes_touched": int((by_class > 0).sum()), "labels_added": n_added, "added_percent": percent}

    by_type = {error: count((added.types & TYPE_BITS[error]) > 0) for error in options.errors}
    every = count(np.ones(len(added.classes), bool))
    reasons = _why_no_threshold(evidence, positives, thresholds, options.min_positives)
    return {
        "threshold": options.threshold,
        "errors": list(options.errors),
        "type1": options.type1,
        "type2": options.type2,
        "min_positives": options.min_positives,
        "clips": len(labels),
        "clips_changed": len(np.unique(added.clips)),
        "clips_without_scores": len(evidence.missing),
        "labels_before": n_before,
        "labels_after": n_before + len(added.classes),
        "added": figures(every),
        "added_by_type": {error: figures(by_class) for error, by_class in by_type.items()},
        "added_by_both_types": int((added.types == sum(TYPE_BITS.values())).sum()),
        "classes_without_threshold": [
            {"class_id": vocabulary.class_ids[k], "name": vocabulary.names[k], "reason": reason}
            for k, reason in reasons.items()
        ],
        "by_class": [
            {
                "class_id": vocabulary.class_ids[k],
                "name": vocabulary.names[k],
                "before": int(before[k]),
                "added": int(every[k]),
                **{f"added_{error}": int(by_class[k]) for error, by_class in by_type.items()},
                "scored_positives": int(positives[k]),
                "threshold": None if np.isnan(thresholds[k]) else float(thresholds[k]),
            }
            for k in range(len(vocabulary))
        ],
    }


def _why_no_threshold(
    evidence: Evidence, positives: np.ndarray, thresholds: np.ndarray, min_positives: int
) -> dict[int, str]:
    reasons = {}
    for k in np.flatnonzero(np.isnan(thresholds)).tolist():
        few = f"{positives[k]} labelled clips with scores, fewer than {min_positives}"
        reasons[k] = "not among the scored classes" if evidence.column_of[k] < 0 else few
    return reasons


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
    write_json(folder / "summary.json", enhancement.summary)


def summary_lines(summary: dict, folder: Path) -> list[str]:
    """Return what the terminal shows at the end, about ten lines."""

    def figures(counts: dict) -> str:
        percent = "" if counts["added_percent"] is None else f"  (+{counts['added_percent']:.1f} %)"
        return f"{counts['labels_added']:>10,} added to {counts['classes_touched']} classes{percent}"

    meaning = {"I": f"missing {summary['type1']}", "II": f"missing {summary['type2']}"}
    lines = [
        f"{folder}: threshold {summary['threshold']}, {summary['clips']:,} clips, {len(summary['by_class'])} classes",
        f"  labels       {summary['labels_before']:>10,} before, {summary['labels_after']:,} after, "
        f"{summary['clips_changed']:,} clips changed",
    ]
    for error, counts in summary["added_by_type"].items():
        lines.append(f"  type {error:<7} {figures(counts)}: {meaning[error]}")
    if len(summary["added_by_type"]) > 1:
        both = summary["added_by_both_types"]
        lines.append(f"  together     {figures(summary['added'])}; {both:,} proposed by both types")
    most = sorted(summary["by_class"], key=lambda row: -row["added"])[:5]
    named = "; ".join(f"{row['name']} {row['added']:,}" for row in most if row["added"])
    lines.append(f"  most added   {named or 'nothing'}")
    without = summary["classes_without_threshold"]
    if without:
        names = "; ".join(row["name"] for row in without[:3]) + "; ..." * (len(without) > 3)
        lines.append(f"  no threshold for {len(without)} classes (thresholds.csv says why): {names}")
    n_missing = summary["clips_without_scores"]
    if n_missing:
        lines.append(f"  no scores    for {n_missing:,} clips: they keep their labels (missing.csv)")
    lines.append(f"  every added label and why: {folder / 'ledger.csv.gz'}, ledger.parquet")
    return lines


def run(args: argparse.Namespace) -> None:
    """Read, enhance, write the folder, and say what was done."""
    from pseudolabel.scores.store import ScoreStore

    options = EnhanceOptions(
        args.threshold, tuple(args.errors), args.type1, args.type2, args.min_positives, args.strict
    )  # fmt: skip
    out = refuse_existing(args.out or args.work / f"enhanced-{options.threshold}", args.overwrite)
    if out.exists() and not (out.is_dir() and ((out / "ledger.parquet").exists() or not any(out.iterdir()))):
        raise InputError("not a folder that enhance wrote, so it is not replaced", out, "Give another --out.")
    labels_path, scores_path = args.labels or args.work / "labels.csv", args.scores or args.work / "scores.h5"
    source = vocabulary_source(args)
    ontology = Ontology.load(args.ontology)
    labels = LabelTable.read(labels_path, Vocabulary.load(source))
    enhancement = enhance(labels, ScoreStore.open(scores_path), ontology, options)
    inputs = [labels_path, scores_path, source, args.ontology or table_path("audioset.csv")]
    with whole_folder(out, args.overwrite) as folder:
        write_enhancement(enhancement, folder)
        write_json(folder / "run.json", run_record("enhance", asdict(options), inputs))
    print("\n".join(summary_lines(enhancement.summary, out)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb; return its exit code."""
    parser = verb_parser("enhance", __doc__)
    default = EnhanceOptions()
    add = parser.add_argument
    add("--labels", type=Path, help="label list (default: WORK/labels.csv)")
    add("--scores", type=Path, help="score store (default: WORK/scores.h5)")
    add("--vocabulary", help="audioset, fsd50k, esc50 or a CSV file (default: WORK/vocabulary.csv, else audioset)")
    add("--ontology", type=Path, help="ontology table or published ontology.json (default: AudioSet's)")
    add("--threshold", default=default.threshold, help=f"{VALID_RULES} (default: {default.threshold})")
    add("--errors", nargs="+", choices=CHOICES["errors"], default=default.errors, help="default: I II")
    add("--type1", choices=CHOICES["type1"], default=default.type1, help="what Type I adds (default: children)")
    add("--type2", choices=CHOICES["type2"], default=default.type2, help="what Type II adds (default: ancestors)")
    add("--min-positives", type=positive_int, default=1, metavar="N", help="fewer: no threshold (default: 1)")
    add("--out", type=Path, help="folder to write (default: WORK/enhanced-RULE)")
    return run_verb(parser, run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
