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
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pseudolabel import dry_run
from pseudolabel.artefacts import whole_folder
from pseudolabel.audio.clips import ClipStore
from pseudolabel.blocks import only_run
from pseudolabel.cli import (
    add_label_options,
    base,
    beside,
    default_file,
    default_output,
    home,
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
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.undo import apply_decisions
from pseudolabel.labels.vocabulary import Vocabulary, table_path
from pseudolabel.ownership import read_run, refuse_foreign, refuse_input_as_output
from pseudolabel.plan_checks import check_ledger, check_lists, check_stores, check_vocabulary
from pseudolabel.progress import note
from pseudolabel.records import Inputs, input_in_role, recorded_input, run_record, sha256, write_run_record
from pseudolabel.reviews.curve import OWN_JUDGED
from pseudolabel.reviews.items import REST, TABLE, Sample, make_sample, read_sample, write_sample
from pseudolabel.scores.store import ScoreStore

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


def settle(args: argparse.Namespace) -> Path:
    """Return the folder to write, after refusing options of the other form; the others get their defaults."""
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
    if args.decoys is not None and not args.blind:
        raise InputError("decoys are seen as such where the page says why an item is there", "--decoys", "Add --blind.")
    return default_output(args, "review-result" if args.judgements else "review", args.ledger, args.sample)


def plan(args: argparse.Namespace) -> str:
    """Return what a dry run says of the page or the result, after checking what can be known."""
    out = settle(args)
    dry_run.refuse_folder(out, args.overwrite, "review")
    if args.judgements:
        sample = args.sample or base(args, args.ledger) / "review"
        dry_run.refuse_absent(*args.judgements, sample, args.ledger)
        what = f"what {first_few(args.judgements)} say of {sample}"
    else:
        ledger = args.ledger or _only_ledger(args.work)
        dry_run.refuse_absent(ledger, args.labels, args.ontology, args.clips, args.scores, args.segments)
        check_ledger(ledger, NAMED)
        check_vocabulary(vocabulary_source(args, ledger, args.labels))
        check_lists(args.format, args.labels)
        check_stores(ClipStore, args.clips)
        check_stores(ScoreStore, args.scores)
        what = f"a page of {ledger}"
    return f"would write {out}: {what}"


def run(args: argparse.Namespace) -> None:
    """Make a page, or read judgements."""
    out = settle(args)
    with only_run(out):
        refuse_foreign(out, args.overwrite, "review")
        _run_judgements(args, out) if args.judgements else _run_page(args, out)


def _given(args: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Return which of the options were given: None and False say that one was not, 0 that it was."""
    return [name for name in names if getattr(args, name) is not None and getattr(args, name) is not False]


@dataclass(frozen=True)
class PageFiles:
    """Which files a page is made from, beside the ledger: what options name, else what belongs to the ledger.

    That is what the run.json beside it records, with the same bytes, else what lies in the ledger's work folder.
    """

    labels: Path
    vocabulary: str | Path
    clips: Path | None
    scores: Path | None
    segments: Path | None

    @classmethod
    def of(cls, args: argparse.Namespace, ledger: Path) -> PageFiles:
        """Return the files of a ledger; InputError where the list before the additions is not there as it was."""
        place, record = home(args, ledger), read_run(ledger.absolute().parent)
        if origin := input_in_role(record, "ledger"):  # a ledger that was reviewed already
            record = read_run((recorded_input(record, origin) or ledger).absolute().parent)
        labels, scores = (input_in_role(record, role) for role in ("labels", "scores"))
        return cls(
            args.labels
            or (_as_recorded(record, labels, place) if labels else beside(args, "labels.csv", ledger))
            or place / "labels.csv",
            vocabulary_source(args, ledger, args.labels),
            default_file(args, args.clips or beside(args, "clips.h5", ledger), "clips.h5", ledger, what="sound"),
            args.scores or (_scores_of(record, scores, place) if record else beside(args, "scores.h5", ledger)),
            args.segments or (args.labels if args.labels and _is_segment_list(args) else None),
        )


def _as_recorded(record: dict, labels: str, place: Path) -> Path:
    """Return where the list that was enhanced lies."""
    found = recorded_input(record, labels, place)
    if found is None:
        raise InputError("the list that was enhanced is not there as it was", labels, "Give --labels.")
    return found


def _scores_of(record: dict, scores: str | None, place: Path) -> Path | None:
    """Return where the scores that decided lie; where there were some and they are gone, a line says so."""
    found = scores and recorded_input(record, scores, place)
    if scores and not found:
        note(f"no scores on the page: {scores} is not there as it was (--scores gives them)")
    return found or None


def _run_page(args: argparse.Namespace, out: Path) -> None:
    """Draw the sample, write the page and its key."""
    path, inputs = args.ledger or _only_ledger(args.work), Inputs()
    ledger = read_ledger(inputs.read(path, "ledger"), NAMED)
    files = PageFiles.of(args, path)
    refuse_input_as_output(out, [path, *vars(files).values()])
    vocabulary = Vocabulary.load(inputs.read(files.vocabulary))
    ontology = Ontology.load(inputs.read(args.ontology or table_path("audioset.csv")))
    labels = read_labels(args, inputs.read(files.labels), vocabulary, own=args.labels is None)
    _check_same_list(labels, ledger, path)
    sample = draw_sample(ledger, inputs.sha256[str(path)], labels, ontology, args)
    with whole_folder(out, args.overwrite, "review") as folder:
        _write_page(folder, sample, vocabulary, labels, args, files, inputs)
        write_sample(sample, folder)
        write_run_record(folder, run_record("review", vars(args), inputs, args.seed))
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
    folder: Path,
    sample: Sample,
    vocabulary: Vocabulary,
    labels: LabelTable,
    args: argparse.Namespace,
    files: PageFiles,
    inputs: Inputs,
) -> None:
    """Write the page, and tasks for Label Studio where asked for."""
    from pseudolabel.labels.readers import read_segments
    from pseudolabel.reviews.page import PageSources, write_page
    from pseudolabel.verification import compare_windows, refuse_late_onsets

    for path in (files.clips, files.scores, files.segments):
        inputs.read(path)
    segments = files.segments and {
        clip_id: (float(start), float(end)) for clip_id, (start, end) in read_segments(files.segments).items()
    }
    sources = PageSources(
        vocabulary, labels, files.clips and ClipStore.open(files.clips), files.scores and ScoreStore.open(files.scores),
        segments, args.embed, args.title,
    )  # fmt: skip
    if sources.clips is not None:
        items = sample.items
        refuse_late_onsets([i.clip_id for i in items], [i.onset_s for i in items], sources.clips, files.clips)
        if sources.scores is not None:
            compare_windows(sources.scores, sources.clips)
    write_page(folder, sample, sources)
    if args.label_studio:
        from pseudolabel.reviews.label_studio import write_label_studio

        write_label_studio(folder, sample, sources)


def _is_segment_list(args: argparse.Namespace) -> bool:
    """Return whether --labels says of each clip where in its video it lies."""
    from pseudolabel.labels.readers import FORMATS, read_label_rows

    return read_label_rows(args.labels, args.format)[1] is FORMATS["audioset"]


def _run_judgements(args: argparse.Namespace, out: Path) -> None:
    """Read what was judged, estimate, and write the result."""
    from pseudolabel.reviews.curve import precision_curve, thresholds_for
    from pseudolabel.reviews.judgements import read_judgements
    from pseudolabel.reviews.precision import weigh
    from pseudolabel.reviews.result import decided_additions, estimates, result_lines, write_result
    from pseudolabel.reviews.sampling import float_column

    folder, inputs = args.sample or base(args, args.ledger) / "review", Inputs()
    folder = folder.parent if folder.name in (TABLE, REST) else folder
    for path in (*args.judgements, folder / TABLE, folder / REST):
        inputs.read(path)
    sample = read_sample(folder)
    path = _ledger_of(sample, args)
    refuse_input_as_output(out, [*args.judgements, folder, folder / TABLE, path])
    judgements, ledger = read_judgements(args.judgements, sample), read_ledger(inputs.read(path, "ledger"), NAMED)
    vocabulary = Vocabulary.load(inputs.read(vocabulary_source(args, path, args.sample)))
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
        write_run_record(result, run_record("review", vars(args), inputs))
    print(
        "\n".join([f"{out}:", *result_lines(found), *(_threshold_lines(new, point, out, args.sure) if point else [])])
    )


def _only_ledger(work: Path) -> Path:
    """Return the ledger of the only enhancement in the work folder."""
    found = sorted(work.glob("enhanced-*/ledger.parquet"))
    if len(found) != 1:
        what = f"{len(found)} ledgers: {first_few(found)}" if found else "no enhanced-*/ledger.parquet"
        raise InputError(what, work, "Give --ledger.")
    return found[0]


def _ledger_of(sample: Sample, args: argparse.Namespace) -> Path:
    """Return the ledger that the sample was drawn from: --ledger, the recorded one, or one in its work folder."""
    if args.ledger and not args.ledger.is_file():
        raise InputError("no such file", args.ledger)
    place, made = base(args, args.sample), read_run(args.sample or base(args, args.ledger) / "review")
    recorded = input_in_role(made, "ledger")
    found = filter(None, [recorded and recorded_input(made, recorded)])
    candidates = [args.ledger] if args.ledger else [*found, *sorted(place.glob("enhanced-*/ledger.*"))]
    for path in candidates:
        if sha256(path) == sample.ledger_sha256:
            return path
    remedy = "Give the --ledger that `review` made the page from, unchanged."
    if args.ledger:
        raise InputError(f"not the ledger that the page {sample.page!r} was made from", args.ledger, remedy)
    raise InputError(f"no enhanced-*/ledger.* is the one that the page {sample.page!r} was made from", place, remedy)


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
    add("--labels", type=Path, help="the list before the additions (default: the one that enhance read)")
    add("--vocabulary", help="audioset, fsd50k, esc50 or a CSV file (default: WORK/vocabulary.csv, else audioset)")
    add_label_options(parser)
    add("--ontology", type=Path, help="ontology table or published ontology.json (default: AudioSet's); for decoys")
    add("--clips", type=Path, help="sound (default: clips.h5 in the ledger's work folder; none: links to the videos)")
    add("--scores", type=Path, help="score store, for the histograms (default: the one that enhance read)")
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
    return run_verb(parser, run, argv, plan)


if __name__ == "__main__":
    raise SystemExit(main())
