"""Make a page for judging added labels by ear; turn the judgements into an estimate of how many are right.

    python -m pseudolabel.review page --ledger work/enhanced-25p/ledger.parquet
    python -m pseudolabel.review page --per-class 2 --budget 400 --embed
    python -m pseudolabel.review page --blind --decoys 0.3
    python -m pseudolabel.review estimate anna.csv ben.csv --target-precision 0.9

`page` draws a sample of the ledger, stratified by class, type and score (or probability), into WORK/review/: the page
index.html (with audio/ and pictures/ beside it, or all in one file with --embed), sample.csv and sample.json (the key
that turns judgements back into estimates: keep both), run.json, and with --label-studio also label_studio.json and
label_studio.xml. --blind shows only clip and class, and mixes in decoys, labels that the original list has and classes
that are not present, to measure the judge as well. --per-class gives small classes more than their share, which widens
the overall interval; with a larger --budget, the rest is spread in proportion.

`estimate` reads the files that the page downloaded (or Label Studio's exports) and writes into WORK/review-result/:
precision.json and .csv (overall, per type, score band and class, with 95 % intervals), curve.csv and .png (precision
over thresholds), reviewed.csv (for `enhance apply`), run.json; with --target-precision also thresholds.csv, the lowest
thresholds that reach it (for `enhance --threshold FILE`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pseudolabel import cli, dry_run
from pseudolabel.artefacts import whole_folder
from pseudolabel.audio.clips import ClipStore
from pseudolabel.audio.media import video_of
from pseudolabel.blocks import only_run
from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError, first_few, no_file
from pseudolabel.formatting import plural
from pseudolabel.labels.ledger import read_ledger, sureness
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.undo import apply_decisions
from pseudolabel.labels.vocabulary import Vocabulary, table_path
from pseudolabel.layout import CLIPS, LABELS, LEDGER, SCORES
from pseudolabel.options import COUNT, SEED, SHARE, ListOptions, Rule, VerbOptions, option
from pseudolabel.ownership import read_run, refuse_foreign, refuse_input_as_output
from pseudolabel.plan_checks import check_ledger, check_lists, check_stores, check_vocabulary
from pseudolabel.progress import note
from pseudolabel.records import Inputs, input_in_role, recorded_input, run_record, sha256, write_run_record
from pseudolabel.reviews.curve import OWN_JUDGED, Target
from pseudolabel.reviews.decoys import draw_decoys, n_decoys, shuffled
from pseudolabel.reviews.items import REST, TABLE, Sample, make_sample, read_sample, write_sample
from pseudolabel.reviews.judgements import read_judgements
from pseudolabel.reviews.page import PageSources, with_sound, write_page
from pseudolabel.reviews.stratified import band_edges, draw, items_of
from pseudolabel.scores.store import ScoreStore

if TYPE_CHECKING:
    from pseudolabel.reviews.result import Judged

BUDGET, DECOYS = 200, 0.2
NAMED = ("clip_id", "class_id", "error")  # columns of a ledger
NOT_ALL = Rule("a number from 0 to below 1", lambda value: 0 <= value < 1)
PAGE, RESULT = "review", "review-result"  # folders in WORK


@dataclass(frozen=True, kw_only=True)
class PageOptions(VerbOptions, ListOptions):
    """Which additions a page asks about, and what it shows of them."""

    ledger: Path | None = option(None, "ledger of `enhance` (default: the only one in WORK/enhanced-*)")
    labels: Path | None = option(None, "the list before the additions (default: the one that enhance read)")
    ontology: Path | None = option(None, "ontology table or published ontology.json (default: AudioSet's); for decoys")
    clips: Path | None = option(
        None, "sound (default: clips.h5 in the ledger's work folder; none: links to the videos)"
    )
    scores: Path | None = option(None, "score store, for the histograms (default: the one that enhance read)")
    segments: Path | None = option(
        None,
        "AudioSet segment list: where in their videos the clips are (default: the label list where it is one)",
        metavar="LIST",
    )
    budget: int | None = option(None, f"items to judge (default: {BUDGET}, none with --per-class)", COUNT, metavar="N")
    per_class: int | None = option(None, "judge N items of each class, or all if it has fewer", COUNT, metavar="N")
    bands: int = option(5, "bands of score or, where the ledger has them, probability", COUNT, metavar="N")
    blind: bool = option(False, "show only clip and class, and mix in decoys")
    decoys: float | None = option(
        None, f"share of decoys on a blind page (default: {DECOYS:g})", NOT_ALL, metavar="SHARE"
    )
    embed: bool = option(False, "sound and pictures inside index.html, not beside it")
    label_studio: bool = option(False, "also write the items as tasks for Label Studio")
    title: str = option(PageSources.title, "heading of the page")
    seed: int = option(0, "which additions are drawn (default: 0)", SEED)
    out: Path | None = option(None, "folder to write (default: WORK/review)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoys is not None and not self.blind:
            message = "decoys are recognized where the page says why an item is there"
            raise InputError(message, "--decoys", "Add --blind.")


@dataclass(frozen=True, kw_only=True)
class EstimateOptions(VerbOptions):
    """Which judgements to turn into estimates and thresholds."""

    judgements: tuple[Path, ...] = option(
        (), "what judges downloaded from the page, or Label Studio's export", metavar="FILE", positional=True
    )
    sample: Path | None = option(None, "folder of the page that was judged (default: WORK/review)", metavar="DIR")
    ledger: Path | None = option(None, "ledger that the page was made from (default: the one that it recorded)")
    vocabulary: str | None = option(
        None, "audioset, fsd50k, esc50 or a CSV file (default: WORK/vocabulary.csv, else audioset)"
    )
    target_precision: float | None = option(
        None, "write the lowest thresholds that reach it (thresholds.csv)", SHARE, metavar="P"
    )
    sure: bool = option(False, "the low end of the interval must reach it, not the estimate")
    own_judged: int | None = option(
        None,
        f"a class with N judged items has its own floor, others a common one (default: {OWN_JUDGED})",
        COUNT,
        metavar="N",
    )
    out: Path | None = option(None, "folder to write (default: WORK/review-result)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.judgements:
            raise InputError("no judgements", "", "Name the files that judges downloaded from the page.")
        for name, given in (("--sure", self.sure), ("--own-judged", self.own_judged is not None)):
            if given and self.target_precision is None:
                raise InputError("is for new thresholds", name, "Give --target-precision P too.")


# ---- the page -------------------------------------------------------------------------------------------------------


def make_page(options: PageOptions) -> None:
    """Draw a sample of a ledger, and write a page that asks about it."""
    out = cli.default_output(options, PAGE, options.ledger)
    with only_run(out):
        refuse_foreign(out, options.overwrite, "review")
        _make_page(options, out)


def plan_page(options: PageOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about the page."""
    out = cli.default_output(options, PAGE, options.ledger)
    dry_run.refuse_folder(out, options.overwrite, "review")
    ledger = options.ledger or _only_ledger(options.work)
    dry_run.refuse_absent(ledger, options.labels, options.ontology, options.clips, options.scores, options.segments)
    check_ledger(ledger, NAMED)
    check_vocabulary(cli.vocabulary_source(options, ledger, options.labels))
    check_lists(options.format, options.labels)
    check_lists("audioset", options.segments)
    check_stores(ClipStore, options.clips)
    check_stores(ScoreStore, options.scores)
    if not dry_run.of_recipe():
        _shown(options, out, Inputs(hashed=False))
    return f"would write {out}: a page of {ledger}"


def with_files(options: PageOptions, ledger: Path) -> PageOptions:
    """Return the options with every file that they leave open filled in from the ledger.

    These are the inputs recorded in the run.json beside it, if unchanged, else files in the ledger's work folder.

    Raises:
        InputError: the list before the additions was changed or removed.
    """
    work, record = cli.home(options, ledger), _record_of(ledger)
    labels, scores = cli.beside(options, LABELS, ledger), cli.beside(options, SCORES, ledger)
    clips = options.clips or cli.beside(options, CLIPS, ledger)
    labels = options.labels or _labels_of(record, work) or labels or work / LABELS
    return replace(
        options,
        labels=labels,
        vocabulary=str(cli.vocabulary_source(options, ledger, options.labels)),
        clips=cli.default_file(options, clips, CLIPS, ledger, what="sound"),
        scores=options.scores or (_scores_of(record, work) if record else scores),
        segments=options.segments or (labels if _is_segment_list(labels, options) else None),
    )


def _record_of(ledger: Path) -> dict:
    """Return the run.json of the enhancement that a ledger belongs to."""
    record = read_run(ledger.absolute().parent)
    if origin := input_in_role(record, "ledger"):  # the ledger was reviewed before
        record = read_run((recorded_input(record, origin) or ledger).absolute().parent)
    return record


def _labels_of(record: dict, work: Path) -> Path | None:
    """Return the list that was enhanced; None if none was recorded."""
    recorded = input_in_role(record, "labels")
    path = recorded and recorded_input(record, recorded, work)
    if recorded and not path:
        raise InputError("the list that was enhanced was changed or removed", recorded, "Give --labels.")
    return path


def _scores_of(record: dict, work: Path) -> Path | None:
    """Return the scores that decided; None, with a note, if they were changed or removed."""
    recorded = input_in_role(record, "scores")
    path = recorded and recorded_input(record, recorded, work)
    if recorded and not path:
        note(f"no scores on the page: {recorded} was changed or removed (--scores gives them)")
    return path or None


def _is_segment_list(labels: Path, options: PageOptions) -> bool:
    """Return whether the label list says where in its video each clip is."""
    from pseudolabel.labels.readers import FORMATS, read_label_rows

    return read_label_rows(labels, options.format if options.labels else None)[1] is FORMATS["audioset"]


def _make_page(options: PageOptions, out: Path) -> None:
    sample, sources = _shown(options, out, inputs := Inputs())
    with whole_folder(out, options.overwrite, "review") as folder:
        write_page(folder, sample, sources)
        if options.label_studio:
            from pseudolabel.reviews.label_studio import write_label_studio

            write_label_studio(folder, sample, sources)
        write_sample(sample, folder)
        write_run_record(folder, run_record("review", asdict(options), inputs, options.seed))
    drawn = f"{len(sample.additions)} of {plural(sample.n_additions, 'addition')} in "
    drawn += f"{len(sample.strata)} strat{'a' if len(sample.strata) > 1 else 'um'}"
    drawn += f" and {len(sample.decoys)} decoys" if sample.decoys else ""
    print(f"{out}: {drawn}; page {sample.page}: open {out / 'index.html'}")


def _shown(options: PageOptions, out: Path, inputs: Inputs) -> tuple[Sample, PageSources]:
    """Read what the options name, and check that it belongs together; return the drawn sample and what is shown."""
    ledger = read_ledger(inputs.read(path := options.ledger or _only_ledger(options.work), "ledger"), NAMED)
    files = with_files(options, path)
    refuse_input_as_output(out, [path, files.labels, files.vocabulary, files.clips, files.scores, files.segments])
    vocabulary = Vocabulary.load(inputs.read(files.vocabulary))
    ontology = Ontology.load(inputs.read(options.ontology or table_path("audioset.csv")))
    labels = cli.read_labels(options, inputs.read(files.labels), vocabulary, options.labels is None, _record_of(path))
    _check_same_list(labels, ledger, path)
    sample = draw_sample(ledger, inputs.sha256[str(path)], labels, ontology, options)
    for read in (files.clips, files.scores, files.segments):
        inputs.read(read)
    return sample, _sources(files, labels, sample)


def _check_same_list(labels: LabelTable, ledger: pa.Table, path: Path) -> None:
    """Raise InputError if the ledger's additions cannot have been made to these labels."""
    undecided = pa.array([""] * len(ledger), pa.string())
    ledger = ledger.drop_columns([name for name in ledger.column_names if name == "decision"])
    apply_decisions(labels, ledger.append_column("decision", undecided), path)


def draw_sample(
    ledger: pa.Table, ledger_sha256: str, labels: LabelTable, ontology: Ontology, options: PageOptions
) -> Sample:
    """Return the sample that the options ask for: additions and the requested share of decoys, shuffled."""
    budget, seed = options.budget or (None if options.per_class else BUDGET), options.seed
    edges = band_edges(sureness(ledger)[0], options.bands)
    drawn = draw(ledger, edges, budget, options.per_class, seed)
    items = items_of(ledger, drawn)
    if options.blind:
        wanted = n_decoys(len(items), DECOYS if options.decoys is None else options.decoys)
        decoys = draw_decoys(items, labels, ledger, ontology, wanted, seed)
        if len(decoys) < wanted:
            note(f"decoys: {len(decoys)} of {wanted}, the clips of the ledger have no more")
        items += decoys
    return make_sample(shuffled(items, seed), ledger_sha256, drawn.strata, options.blind, edges, seed)


def _sources(files: PageOptions, labels: LabelTable, sample: Sample) -> PageSources:
    """Return what the page shows; InputError if sound, scores and ledger do not belong together."""
    from pseudolabel.labels.readers import read_segments
    from pseudolabel.verification import compare_windows, refuse_late_onsets

    clips = ClipStore.open(files.clips) if files.clips else None
    scores = ScoreStore.open(files.scores) if files.scores else None
    segments = read_segments(files.segments).items() if files.segments else ()
    if clips is not None:
        refuse_late_onsets([i.clip_id for i in sample.items], [i.onset_s for i in sample.items], clips, files.clips)
        if scores is not None:
            compare_windows(scores, clips)
    seconds = {clip_id: (float(start), float(end)) for clip_id, (start, end) in segments}
    sources = PageSources(labels.vocabulary, labels, clips, scores, seconds, files.embed, files.title)
    _note_silent(sample, sources)
    return sources


def _note_silent(sample: Sample, sources: PageSources) -> None:
    """Say how many items have no sound, and how many of these have no link to a video either."""
    sounding = set(with_sound(sample, sources)[1])
    silent = [item.clip_id for item in sample.items if item.clip_id not in sounding]
    unseen = [clip_id for clip_id in silent if not video_of(clip_id, sources.segments)]
    if not sounding and len(unseen) == len(sample.items):
        note("the page has neither sound nor videos: give --clips, or AudioSet's list as --segments")
    elif silent:
        where = f"in {sources.clips.path}" if sources.clips else "without --clips"
        unlinked = f", {len(unseen)} of them no video either" if unseen else ", but link to their videos"
        named = first_few(dict.fromkeys(unseen or silent))
        note(f"{len(silent)} of {len(sample.items)} items have no sound {where}{unlinked}: {named}")


def _only_ledger(work: Path) -> Path:
    """Return the ledger of the only enhancement in the work folder."""
    ledgers = sorted(work.glob(f"enhanced-*/{LEDGER}"))
    if len(ledgers) != 1:
        what = f"{len(ledgers)} ledgers: {first_few(ledgers)}" if ledgers else f"no enhanced-*/{LEDGER}"
        raise InputError(what, work, "Give --ledger.")
    return ledgers[0]


# ---- the estimate ---------------------------------------------------------------------------------------------------


def estimate(options: EstimateOptions) -> None:
    """Turn judgements into estimates, a reviewed ledger and, if requested, thresholds."""
    out = cli.default_output(options, RESULT, options.ledger, options.sample)
    with only_run(out):
        refuse_foreign(out, options.overwrite, "review")
        _estimate(options, out)


def plan_estimate(options: EstimateOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about the result."""
    out = cli.default_output(options, RESULT, options.ledger, options.sample)
    dry_run.refuse_folder(out, options.overwrite, "review")
    sample = _sample_of(options)
    dry_run.refuse_absent(*options.judgements, options.sample or sample, options.ledger)
    if not dry_run.of_recipe():
        _judged(options, out, Inputs())
    return f"would write {out}: estimates from {first_few(options.judgements)} and {sample}"


def _sample_of(options: EstimateOptions) -> Path:
    """Return the folder of the page; --sample may also name its sample.csv or sample.json."""
    folder = options.sample or cli.base(options, options.ledger) / PAGE
    return folder.parent if folder.name in (TABLE, REST) else folder


def _judged(options: EstimateOptions, out: Path, inputs: Inputs) -> Judged:
    """Read what the options name; return what it says."""
    from pseudolabel.reviews.result import Judged

    folder = _sample_of(options)
    for path in (*options.judgements, folder / TABLE, folder / REST):
        inputs.read(path)
    sample = read_sample(folder)
    path = _ledger_of(sample, options)
    refuse_input_as_output(out, [*options.judgements, folder, folder / TABLE, path])
    judgements = read_judgements(options.judgements, sample)
    ledger = read_ledger(inputs.read(path, "ledger"), NAMED)
    vocabulary = Vocabulary.load(inputs.read(cli.vocabulary_source(options, path, options.sample)))
    for class_id in sorted(set(ledger["class_id"].to_pylist()) - set(vocabulary.class_ids)):
        raise vocabulary.unknown(class_id, path, "Give the --vocabulary that the ledger was made with.")
    asked = options.target_precision
    target = None if asked is None else Target(asked, options.sure, options.own_judged or OWN_JUDGED)
    return Judged.of(sample, judgements, ledger, path, vocabulary, target)


def _estimate(options: EstimateOptions, out: Path) -> None:
    inputs = Inputs()
    judged = _judged(options, out, inputs)
    with whole_folder(out, options.overwrite, "review") as made:
        judged.write(made)
        write_run_record(made, run_record("review", asdict(options), inputs))
    print(f"{out}:\n{judged.text(out)}")


def _ledger_of(sample: Sample, options: EstimateOptions) -> Path:
    """Return the ledger that the sample was drawn from: --ledger, the recorded one, or one in its work folder."""
    if options.ledger and not options.ledger.is_file():
        raise no_file(options.ledger)
    work, record = cli.base(options, options.sample), read_run(_sample_of(options))
    recorded = input_in_role(record, "ledger")
    known = [path for path in [recorded and recorded_input(record, recorded)] if path]
    for path in [options.ledger] if options.ledger else [*known, *sorted(work.glob("enhanced-*/ledger.*"))]:
        if sha256(path) == sample.ledger_sha256:
            return path
    remedy = "Give the --ledger that `review` made the page from, unchanged."
    if options.ledger:
        raise InputError(f"not the ledger that the page {sample.page!r} was made from", options.ledger, remedy)
    raise InputError(f"no enhanced-*/ledger.* is the one that the page {sample.page!r} was made from", work, remedy)


COMMANDS = {
    "page": Command(PageOptions, make_page, plan_page),
    "estimate": Command(EstimateOptions, estimate, plan_estimate),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    return run_command("review", __doc__, COMMANDS, argv, former={"judgements": "estimate"})


if __name__ == "__main__":
    raise SystemExit(main())
