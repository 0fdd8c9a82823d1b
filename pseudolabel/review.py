"""Make a page to listen to added labels and judge them; turn judgements into an estimate of how many are right.

    python -m pseudolabel.review --ledger work/enhanced-25p/ledger.parquet
    python -m pseudolabel.review --per-class 2 --budget 400 --embed
    python -m pseudolabel.review --blind --decoys 0.3
    python -m pseudolabel.review --judgements anna.csv ben.csv --target-precision 0.9

The first form draws a sample of the ledger, stratified by class, type and score band, and writes into WORK/review/ the
page index.html (audio/ and pictures/ beside it, or all in one file with --embed), sample.csv and sample.json (the key
that turns judgements back into estimates: keep both), run.json, with --label-studio also label_studio.json and
label_studio.xml. --blind shows only clip and class, and mixes in decoys: labels that the original list has, and classes
that are not there, so that the judge is measured too. --per-class gives small classes more than their share, which
widens the overall interval; with a larger --budget the rest is spread in proportion.

The second form reads what the page downloaded (or Label Studio's export as JSON) and writes into WORK/review-result/:
precision.json and .csv (overall, per type, score band and class, with 95 % intervals), curve.csv and .png (precision
over thresholds), reviewed.csv (for `enhance --apply`), run.json; with --target-precision also thresholds.csv, the
lowest that reach it (for `enhance --threshold FILE`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from pseudolabel.artefacts import refuse_foreign, run_record, sha256, whole_folder, write_json
from pseudolabel.cli import (
    add_label_options,
    existing,
    non_negative_int,
    positive_int,
    probability,
    read_labels,
    run_verb,
    verb_parser,
    vocabulary_source,
)
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.ledger import read_ledger
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.published import table_path
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.undo import apply_decisions
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.progress import note
from pseudolabel.reviews.curve import OWN_JUDGED
from pseudolabel.reviews.items import REST, TABLE, Sample, make_sample, read_sample, write_sample

BUDGET, DECOYS = 200, 0.2
NAMED = ("clip_id", "class_id", "error")
OF_PAGE = {"bands": 5, "seed": 0, "title": "Review of added labels"}  # options of one form only, and their defaults
OF_PAGE |= dict.fromkeys(("per_class", "budget", "decoys", "segments", "clips", "scores"))
OF_PAGE |= dict.fromkeys(("blind", "embed", "label_studio"), False)
OF_RESULT = {"own_judged": OWN_JUDGED, "target_precision": None, "sure": False, "sample": None}


def draw_sample(
    ledger: pa.Table, ledger_sha256: str, labels: LabelTable, ontology: Ontology, args: argparse.Namespace
) -> Sample:
    """Return the sample that the options ask for: additions, and decoys in the share that was asked for, shuffled."""
    from pseudolabel.reviews.decoys import draw_decoys, n_decoys, shuffled
    from pseudolabel.reviews.sampling import band_edges, draw, float_column, items_of

    budget = args.budget or (None if args.per_class else BUDGET)
    edges = band_edges(float_column(ledger, "score"), args.bands)
    drawn = draw(ledger, edges, budget, args.per_class, args.seed)
    items, wanted = items_of(ledger, drawn), 0
    if args.blind:
        wanted = n_decoys(len(items), DECOYS if args.decoys is None else args.decoys)
        decoys = draw_decoys(items, labels, ledger, ontology, wanted, args.seed)
        if len(decoys) < wanted:
            note(f"decoys: {len(decoys)} of {wanted}, the clips of the ledger do not yield more")
        items += decoys
    return make_sample(shuffled(items, args.seed), ledger_sha256, drawn.strata, args.blind, edges, args.seed)


def run(args: argparse.Namespace) -> None:
    """Make a page, or read judgements."""
    if args.judgements:
        strange, what, remedy = _given(args, OF_PAGE), "making a page", "Leave it away, or --judgements."
    else:
        strange, what, remedy = _given(args, OF_RESULT), "reading judgements", "Give --judgements FILE too."
    if not strange and args.target_precision is None:
        strange, what, remedy = _given(args, ("sure", "own_judged")), "new thresholds", "Give --target-precision P too."
    if strange:
        raise InputError(f"is for {what}", f"--{strange[0].replace('_', '-')}", remedy)
    for name, default in {**OF_PAGE, **OF_RESULT}.items():
        setattr(args, name, default if getattr(args, name) is None else getattr(args, name))
    _run_judgements(args) if args.judgements else _run_page(args)


def _given(args: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Return which of the options were given: None and False say that one was not, 0 that it was."""
    return [name for name in names if getattr(args, name) is not None and getattr(args, name) is not False]


def _run_page(args: argparse.Namespace) -> None:
    """Draw the sample, write the page and its key."""
    if args.decoys is not None and not args.blind:
        raise InputError("decoys are seen as such where the page says why an item is there", "--decoys", "Add --blind.")
    out = _output_folder(args, "review", TABLE)
    path = args.ledger or _only_ledger(args.work)
    ledger, source = read_ledger(path, NAMED), vocabulary_source(args)
    vocabulary, ontology = Vocabulary.load(source), Ontology.load(args.ontology)
    labels_path = args.labels or args.work / "labels.csv"
    labels = read_labels(args, labels_path, vocabulary, own=args.labels is None)
    _check_same_list(labels, ledger, path)
    sample = draw_sample(ledger, sha256(path), labels, ontology, args)
    inputs = [path, labels_path, source, args.ontology or table_path("audioset.csv")]
    with whole_folder(out, args.overwrite, "review") as folder:
        inputs += _write_page(folder, sample, vocabulary, labels, args)
        write_sample(sample, folder)
        write_json(folder / "run.json", run_record("review", vars(args), inputs, args.seed))
    decoys = f" and {len(sample.decoys)} decoys" if sample.decoys else ""
    strata = f"{len(sample.strata)} strat{'a' if len(sample.strata) > 1 else 'um'}"
    print(f"{out}: {len(sample.additions)} of {sample.n_additions:,} additions in {strata}{decoys}; "
          f"page {sample.page}: open {out / 'index.html'}")  # fmt: skip


def _check_same_list(labels: LabelTable, ledger: pa.Table, path: Path) -> None:
    """Refuse a ledger that could not be added to these labels."""
    undecided = pa.array([""] * len(ledger), pa.string())
    ledger = ledger.drop_columns([name for name in ledger.column_names if name == "decision"])
    apply_decisions(labels, ledger.append_column("decision", undecided), path)


def _write_page(
    folder: Path, sample: Sample, vocabulary: Vocabulary, labels: LabelTable, args: argparse.Namespace
) -> list[Path]:
    """Write the page, and tasks for Label Studio where asked for; return the files that were read."""
    from pseudolabel.audio.clips import ClipStore
    from pseudolabel.labels.readers import read_segments
    from pseudolabel.reviews.page import PageSources, write_page
    from pseudolabel.scores.store import ScoreStore

    clips_path = args.clips or existing(args.work / "clips.h5")
    scores_path = args.scores or existing(args.work / "scores.h5")
    segments_path = args.segments or (args.labels if args.labels and _is_segment_list(args) else None)
    segments = segments_path and {
        clip_id: (float(start), float(end)) for clip_id, (start, end) in read_segments(segments_path).items()
    }
    sources = PageSources(
        vocabulary, labels, clips_path and ClipStore.open(clips_path), scores_path and ScoreStore.open(scores_path),
        segments, args.embed, args.title,
    )  # fmt: skip
    write_page(folder, sample, sources)
    if args.label_studio:
        from pseudolabel.reviews.label_studio import write_label_studio

        write_label_studio(folder, sample, sources)
    return [path for path in (clips_path, scores_path, args.segments) if path]


def _is_segment_list(args: argparse.Namespace) -> bool:
    """Return whether --labels says of each clip where in its video it lies."""
    from pseudolabel.labels.formats import FORMATS, read_label_rows

    return read_label_rows(args.labels, args.format)[1] is FORMATS["audioset"]


def _run_judgements(args: argparse.Namespace) -> None:
    """Read what was judged, estimate, and write the result."""
    from pseudolabel.reviews.curve import precision_curve, thresholds_for
    from pseudolabel.reviews.judgements import read_judgements
    from pseudolabel.reviews.precision import weigh
    from pseudolabel.reviews.result import decided_additions, estimates, result_lines, write_result
    from pseudolabel.reviews.sampling import float_column

    out, folder = _output_folder(args, "review-result", "precision.json"), args.sample or args.work / "review"
    folder = folder.parent if folder.name in (TABLE, REST) else folder
    sample = read_sample(folder)
    path = _ledger_of(sample, args)
    judgements = read_judgements(args.judgements, sample)
    ledger, source = read_ledger(path, NAMED), vocabulary_source(args)
    vocabulary = Vocabulary.load(source)
    for class_id in sorted(set(ledger["class_id"].to_pylist()) - set(vocabulary.class_ids)):
        raise vocabulary.unknown(class_id, path, "Give the --vocabulary that the ledger was made with.")
    found, scores = estimates(sample, judgements, ledger, vocabulary), float_column(ledger, "score")
    weighed, new, point = weigh(sample, judgements.combined()), None, None
    if args.target_precision is not None:
        before = _thresholds_before(path, ledger, vocabulary)
        class_of = ledger["class_id"].to_pylist()
        new, point = thresholds_for(
            args.target_precision, before, weighed, class_of, scores, args.sure, args.own_judged
        )
    with whole_folder(out, args.overwrite, "review") as result:
        names = dict(zip(vocabulary.class_ids, vocabulary.names, strict=True))
        decided = decided_additions(sample, judgements)
        write_result(result, found, ledger, decided, precision_curve(weighed, scores), new, names)
        inputs = [*args.judgements, path, source, folder / TABLE, folder / REST]
        write_json(result / "run.json", run_record("review", vars(args), inputs, None))
    print(
        "\n".join([f"{out}:", *result_lines(found), *(_threshold_lines(new, point, out, args.sure) if point else [])])
    )


def _output_folder(args: argparse.Namespace, name: str, mark: str) -> Path:
    """Return the folder to write, which does not exist, or may be replaced and holds what this verb wrote."""
    return refuse_foreign(args.out or args.work / name, args.overwrite, "review")


def _only_ledger(work: Path) -> Path:
    """Return the ledger of the only enhancement in the work folder."""
    found = sorted(work.glob("enhanced-*/ledger.parquet"))
    if len(found) != 1:
        what = f"{len(found)} ledgers: {first_few(found)}" if found else "no enhanced-*/ledger.parquet"
        raise InputError(what, work, "Give --ledger.")
    return found[0]


def _ledger_of(sample: Sample, args: argparse.Namespace) -> Path:
    """Return the ledger that the sample was drawn from: --ledger, or the one in the work folder that is it."""
    if args.ledger and not args.ledger.is_file():
        raise InputError("no such file", args.ledger)
    candidates = [args.ledger] if args.ledger else sorted(args.work.glob("enhanced-*/ledger.*"))
    for path in candidates:
        if sha256(path) == sample.ledger_sha256:
            return path
    remedy = "Give the --ledger that `review` made the page from, unchanged."
    if args.ledger:
        raise InputError(f"not the ledger that the page {sample.page!r} was made from", args.ledger, remedy)
    raise InputError(
        f"no enhanced-*/ledger.* is the one that the page {sample.page!r} was made from", args.work, remedy
    )


def _thresholds_before(path: Path, ledger: pa.Table, vocabulary: Vocabulary) -> dict[str, float | None]:
    """Return the threshold of every class, None where it has none: as `enhance` wrote them, else as the ledger says."""
    from pseudolabel.labels.thresholds import read_thresholds

    beside = path.with_name("thresholds.csv")
    if beside.is_file():
        values = read_thresholds(beside, vocabulary).tolist()
        return {
            class_id: None if value != value else value
            for class_id, value in zip(vocabulary.class_ids, values, strict=True)
        }
    pairs = zip(ledger["class_id"].to_pylist(), ledger["threshold"].to_pylist(), strict=True)
    found = {class_id: threshold for class_id, threshold in pairs if threshold is not None}  # None: added by rule
    return {class_id: found.get(class_id) for class_id in vocabulary.class_ids}


def _threshold_lines(new: dict, point, out: Path, sure: bool) -> list[str]:
    """Return what was found about thresholds."""
    from pseudolabel.reviews.curve import NONE_REACHES, OWN

    rules = [row.rule for row in new.values()]
    estimate = point.estimate
    lines = [
        f"  floor {point.floor:.4g}: precision {estimate.precision:.3f} [{estimate.low:.3f}, {estimate.high:.3f}] of "
        f"{point.additions:,} additions with a score, {estimate.judged} judged",
    ]
    if not sure:
        lines.append("  chosen by the judgements that estimate it: as likely as not a little too low (--sure: rarely)")
    if OWN in rules or NONE_REACHES in rules:
        lines.append(
            f"  classes with a floor of their own: {rules.count(OWN)}; without one: {rules.count(NONE_REACHES)}"
        )
    return [*lines, f"  with the same options: python -m pseudolabel.enhance --threshold {out / 'thresholds.csv'}"]


def share(text: str) -> float:
    """Parse a share of a page: from 0 to below 1."""
    value = probability(text)
    if value == 1:
        raise argparse.ArgumentTypeError("must be below 1: a page of decoys only says nothing of the additions")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb; return its exit code."""
    parser = verb_parser("review", __doc__)
    add = parser.add_argument
    add("--ledger", type=Path, help="ledger of `enhance` (default: the only one in WORK/enhanced-*)")
    add("--labels", type=Path, help="the list before the additions (default: WORK/labels.csv)")
    add("--vocabulary", help="audioset, fsd50k, esc50 or a CSV file (default: WORK/vocabulary.csv, else audioset)")
    add_label_options(parser)
    add("--ontology", type=Path, help="ontology table or published ontology.json (default: AudioSet's); for decoys")
    add("--clips", type=Path, help="sound (default: WORK/clips.h5 where it is; none: links to the source videos)")
    add("--scores", type=Path, help="score store, for the histograms (default: WORK/scores.h5 where it is)")
    add("--segments", type=Path, metavar="LIST", help="AudioSet segment list: where in their videos the clips lie"
        " (default: --labels where it is one)")  # fmt: skip
    add("--budget", type=positive_int, metavar="N", help=f"items to judge (default: {BUDGET}, none with --per-class)")
    add("--per-class", type=positive_int, metavar="N", help="so many of each class, or all it has")
    add("--bands", type=positive_int, metavar="N", help=f"score bands (default: {OF_PAGE['bands']})")
    add("--blind", action="store_true", help="show only clip and class, and mix in decoys")
    add("--decoys", type=share, metavar="SHARE", help=f"share of decoys on a blind page (default: {DECOYS:g})")
    add("--embed", action="store_true", help="sound and pictures inside index.html, not beside it")
    add("--label-studio", action="store_true", help="also write the items as tasks for Label Studio")
    add("--title", help=f"heading of the page (default: {OF_PAGE['title']})")
    add("--seed", type=non_negative_int, help="which additions are drawn (default: 0)")
    add("--judgements", type=Path, nargs="+", metavar="FILE", help="what judges downloaded from the page")
    add("--sample", type=Path, metavar="DIR", help="folder of the page that was judged (default: WORK/review)")
    add("--target-precision", type=probability, metavar="P", help="write the lowest thresholds that reach it")
    add("--sure", action="store_true", help="the low end of the interval must reach it, not the estimate")
    add("--own-judged", type=positive_int, metavar="N",
        help=f"a class with N judged items has its own floor, others a common one (default: {OWN_JUDGED})")  # fmt: skip
    add("--out", type=Path, help="folder to write (default: WORK/review, with --judgements WORK/review-result)")
    return run_verb(parser, run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
