"""Add missing labels that the ontology proposes and the teacher's scores confirm.

    python -m pseudolabel.enhance --threshold 25p
    python -m pseudolabel.enhance --labels dev.csv --scores scores.h5 --errors I --threshold mean --out enhanced-mean
    python -m pseudolabel.enhance --explain CLIP --threshold 25p
    python -m pseudolabel.enhance sweep mean 25p 10p 5p
    python -m pseudolabel.enhance apply reviewed.csv
    python -m pseudolabel.enhance undo work/enhanced-25p/ledger.parquet

A class is added to a clip if one of the clip's labels proposes it (a child of the label: Type I; its parent or
ancestor: Type II), the clip lacks it, and the teacher's score is above the class's threshold. The additions are
counted, and the counts printed, before anything is written. Then WORK/enhanced-RULE/ is written block by block:
labels.csv, ledger.parquet and ledger.csv.gz (every added label and why), thresholds.csv, missing.csv, outside.csv (what
ontology nodes outside the vocabulary do), summary.json, run.json; with --soft also targets.h5 and mask.csv, with
--soft-windows window_targets.h5.
--errors II --type2 closure needs no scores (WORK/enhanced-closure/). --explain CLIP prints, for one clip, each
candidate, its score and threshold, and why it is added or not. `sweep` only counts what several thresholds would add
(WORK/sweep-RULES/sweep.csv). `apply` adds the labels that a reviewer found right; it reads a ledger as CSV with an
extra column `decision` (right, wrong, unsure). `undo` removes all additions of a ledger (WORK/labels-undone.csv); if it
is a part of the ledger beside the list, also those that only removed labels proposed.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pyarrow as pa

from pseudolabel import dry_run
from pseudolabel.artefacts import whole_folder, write_csv, write_json
from pseudolabel.blocks import only_run
from pseudolabel.cli import base, default_output, list_reading, read_labels, vocabulary_source
from pseudolabel.command import Command, run_command
from pseudolabel.enhance_explain import explain_clip
from pseudolabel.enhance_files import announced, write_blocks, write_enhancement
from pseudolabel.enhance_inputs import (
    SOFT_WINDOWS,
    SearchOptions,
    list_before,
    read_search,
    recorded_options,
    reviewed_run,
    search_paths,
)
from pseudolabel.enhance_windows import WindowTargets
from pseudolabel.errors import InputError, no_file
from pseudolabel.labels.enhancement import Enhancement, Enhancing, enhance, sweep
from pseudolabel.labels.explain import explain
from pseudolabel.labels.ledger import BECAUSE, ledger_pieces, read_ledger, write_ledger
from pseudolabel.labels.precision_rule import JUDGED
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.labels.summary import SWEEP_HEADER, summary_lines, sweep_lines
from pseudolabel.labels.thresholds import THRESHOLD_COLUMNS, is_threshold_file
from pseudolabel.labels.undo import apply_decisions, without_additions
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import (
    CLASS_ID,
    CLIP_ID,
    LABEL_COLUMNS,
    LABELS,
    LEDGER,
    LEDGER_CSV,
    LISTS,
    RUN,
    SUMMARY,
    TARGETS,
    WINDOW_TARGETS,
)
from pseudolabel.options import ListOptions, VerbOptions, nested, option
from pseudolabel.ownership import is_csv, refuse_foreign, refuse_foreign_file, refuse_input_as_output
from pseudolabel.plan_checks import check_columns, check_ledger, check_lists, check_scale, check_vocabulary
from pseudolabel.progress import note
from pseudolabel.records import Inputs, refuse_named_input, run_record, write_run_record
from pseudolabel.scores.windows import CLIP, parse_window

__all__ = ["EnhanceOptions", "Enhancement", "enhance", "explain", "main", "sweep", "write_enhancement"]

REVIEWED = ("clip_id", "class_id", "error", "decision")
UNDONE = "labels-undone.csv"
LONGEST_NAME = 40  # characters of a sweep's rules
NOTHING = "nothing written"  # dry runs say this in place of the output


@dataclass(frozen=True, kw_only=True)
class EnhanceFilesOptions(SearchOptions):
    """What to enhance, and what to write."""

    soft: bool = option(False, "also write targets with the teacher's scores of unsure labels, and a mask")
    soft_windows: tuple[str | float, ...] = option(
        (),
        "with precision:P also write targets of windows of these lengths (2s): the teacher's scores, shifted so that "
        "each clip's state the probability of each label",
        parse=parse_window,
        metavar="LENGTH",
    )
    out: Path | None = option(None, "folder to write (default: WORK/enhanced-RULE)")
    explain: str | None = option(
        None, "print what is added to this clip, what is not, and why; write nothing", metavar="CLIP"
    )
    enhanced: Path | None = option(
        None, "explain an existing folder as its run.json records it, with a reviewer's decisions", needs="explain"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rules.refuse_unfit(self.thresholds_from is not None)
        self._refuse_soft_windows()
        for name in ("soft", "soft_windows", "out") if self.explain is not None else ():
            if getattr(self, name):
                raise InputError("nothing is written with --explain", f"--{name.replace('_', '-')}", "Omit it.")

    def _refuse_soft_windows(self) -> None:
        """Raise InputError unless the rule has probabilities, and the windows are lengths, each named once."""
        said = SOFT_WINDOWS
        if self.soft_windows and self.rules.precision is None:
            message = f"--threshold {self.rules.threshold} gives labels no probability"
            raise InputError(message, said, "Give --threshold precision:0.7.")
        if CLIP in self.soft_windows:
            raise InputError("a clip is not a window", said, "Give lengths, such as 2s; --soft has a clip's targets.")
        if len(set(self.soft_windows)) < len(self.soft_windows):
            raise InputError("a length is listed twice", said, "Name each once.")

    @property
    def scales(self) -> dict[str | float, str]:
        """The scales that the score stores need, and the option that asks for each."""
        return {**super().scales, **dict.fromkeys(self.soft_windows, SOFT_WINDOWS)}

    @property
    def name(self) -> str:
        """The folder's default name."""
        profile = "psla-" if self.rules.profile == "psla" else ""
        return f"enhanced-{'closure' if self.rules.only_by_rule else profile + self.rules.name}"


@dataclass(frozen=True, kw_only=True)
class SweepOptions(SearchOptions):
    """Which thresholds to compare."""

    rules: EnhanceOptions = nested(EnhanceOptions, hidden=("threshold",))
    compared: tuple[str, ...] = option((), "thresholds to compare, as of --threshold", positional=True, metavar="RULE")
    out: Path | None = option(None, "folder to write (default: WORK/sweep-RULES)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.compared:
            raise InputError("no thresholds to compare", "sweep", "Name them: sweep mean 25p.")
        if self.rules.threshold != EnhanceOptions().threshold:
            raise InputError("thresholds are named without it", "--threshold", f"Give sweep {self.rules.threshold}.")
        for rule in self.compared:
            replace(self.rules, threshold=rule).refuse_unfit(self.thresholds_from is not None)

    @property
    def thresholds(self) -> tuple[str, ...]:
        """The threshold rules to compare."""
        return self.compared

    @property
    def name(self) -> str:
        """The folder's default name: the rules, shortened if they are many."""
        names = [EnhanceOptions(rule).name for rule in self.compared]
        listed = "-".join(names)
        return f"sweep-{listed}" if len(listed) <= LONGEST_NAME else f"sweep-{names[0]}-to-{names[-1]}"


@dataclass(frozen=True, kw_only=True)
class ApplyOptions(VerbOptions, ListOptions):
    """Which of a reviewer's decisions to apply."""

    decisions: Path = option(help="reviewed ledger with the column decision", positional=True)
    labels: Path | None = option(None, "label list before the additions (default: the one that was enhanced)")
    out: Path | None = option(None, "folder to write (default: WORK/enhanced-reviewed)")


@dataclass(frozen=True, kw_only=True)
class UndoOptions(VerbOptions, ListOptions):
    """Which additions to undo."""

    ledger: Path = option(help="ledger whose additions are taken back", positional=True)
    labels: Path | None = option(None, "enhanced label list (default: the one beside the ledger)", file=LABELS)
    out: Path | None = option(None, f"label list to write (default: WORK/{UNDONE})")


# ---- enhance and sweep ------------------------------------------------------------------------------------------


def enhance_files(options: EnhanceFilesOptions, counting: bool = False) -> str:
    """Read, count and write an enhancement; return its summary, or an explanation. With `counting`, write nothing."""
    if options.explain is not None:
        return explain_clip(options, options.explain, options.enhanced)
    if counting and dry_run.of_recipe():
        return _planned(options)
    rules, inputs = options.rules, Inputs()
    out = _output_folder(options, options.name, counting, *options.named)
    searched = read_search(options, inputs)
    refuse_input_as_output(out, inputs.sha256)
    labels, scores, ontology, *others = searched
    enhancing, windows = Enhancing.begin(labels, scores, ontology, rules, *others), None
    if options.soft_windows:
        windows = WindowTargets.of(enhancing.search.rule.calibration, scores, options.soft_windows)
    counted = enhancing.count()
    if not counting:
        print(announced(enhancing, counted, out, options.soft, windows.n_bytes if windows else 0), flush=True)
        with _writing(out, options.overwrite) as folder:
            write_blocks(enhancing, counted, folder, options.soft)
            if windows:
                windows.write(folder / WINDOW_TARGETS)
            write_run_record(folder, run_record("enhance", recorded_options(options, labels), inputs))
    return "\n".join(summary_lines(enhancing.summary(counted), NOTHING if counting else out))


def sweep_files(options: SweepOptions, counting: bool = False) -> str:
    """Count what each threshold would add, write the counts, and return them as a table."""
    inputs = Inputs()
    out = _output_folder(options, options.name, counting, *options.named)
    searched = read_search(options, inputs)
    refuse_input_as_output(out, inputs.sha256)
    labels, scores, ontology, *others = searched
    rows = sweep(labels, scores, ontology, options.compared, options.rules, *others)
    if not counting:
        with _writing(out, options.overwrite) as folder:
            write_csv(folder / "sweep.csv", SWEEP_HEADER, (row.values() for row in rows))
            record = {**recorded_options(options, labels), "sweep": list(options.compared)}
            write_run_record(folder, run_record("enhance", record, inputs))
    return "\n".join([*sweep_lines(rows), NOTHING if counting else f"{out / 'sweep.csv'}"])


def _planned(options: EnhanceFilesOptions) -> str:
    """Check what can be checked without counting; return the dry run's text in a recipe."""
    named = options.named
    out = default_output(options, options.name, *named)
    labels, scores = search_paths(options)
    thresholds = [*filter(is_threshold_file, options.thresholds)]
    inputs = [labels, *scores, options.ontology, *(options.thresholds_from or ()), options.judgements, *thresholds]
    dry_run.refuse_absent(*inputs)
    check_vocabulary(vocabulary_source(options, *named))
    check_lists(options.format if options.labels else None, labels)
    check_lists(options.format, *(options.thresholds_from or ())[:1])
    check_columns(THRESHOLD_COLUMNS, *thresholds)
    check_ledger(options.judgements, JUDGED)
    for scale, asking in options.scales.items():
        for path in scores:
            check_scale(path, scale, asking, windows_only=asking == SOFT_WINDOWS)
    refuse_input_as_output(out, inputs)
    dry_run.refuse_folder(out, options.overwrite, "enhance")
    dry_run.promise(out, LABELS, LEDGER, LEDGER_CSV, SUMMARY, RUN, *([TARGETS] if options.soft else []))
    if options.soft_windows:
        dry_run.promise(out / WINDOW_TARGETS, scales=list(options.soft_windows))
    accepted = "is above the thresholds" if options.rules.precision is None else "is probable enough"
    return f"would write {out}: {labels} with what {accepted} in {', '.join(map(str, scores)) or 'no scores'}"


def _output_folder(options: VerbOptions, name: str, counting: bool, *named: Path | None) -> Path:
    """Return the folder to write: a new one, or one that this verb wrote and that may be replaced."""
    refuse = dry_run.refuse_folder if counting else refuse_foreign
    return refuse(default_output(options, name, *named), options.overwrite, "enhance")


@contextlib.contextmanager
def _writing(out: Path, overwrite: bool) -> Iterator[Path]:
    """Lock an output folder, and yield the folder to write into."""
    with only_run(out), whole_folder(out, overwrite, "enhance") as folder:
        yield folder


# ---- apply and undo ---------------------------------------------------------------------------------------------


def apply_files(options: ApplyOptions, counting: bool = False) -> str:
    """Write the labels with the additions that a reviewer found right, and a ledger of those; return the counts."""
    path, inputs = options.decisions, Inputs()
    out = _output_folder(options, "enhanced-reviewed", counting, options.labels, path)
    if not path.is_file():
        raise no_file(path)
    labels_path = options.labels or list_before(path, base(options, path))
    vocabulary = Vocabulary.load(inputs.read(vocabulary_source(options, labels_path), "vocabulary"))
    record = reviewed_run(path)[1]
    labels = read_labels(options, inputs.read(labels_path, "labels"), vocabulary, options.labels is None, record)
    reviewed = read_ledger(inputs.read(path, "ledger"), REVIEWED)
    refuse_input_as_output(out, inputs.sha256)
    if "" in reviewed["error"].unique().to_pylist():
        remedy = "Of a blind page, which has decoys, give the reviewed.csv that `review estimate` writes."
        raise InputError("a row has no error type, so it may not be an addition", path, remedy)
    kept, ledger, counts = apply_decisions(labels, reviewed, path)
    summary = {"labels_before": labels.matrix.nnz, "labels_after": kept.matrix.nnz, "decisions": counts}
    how = list_reading(options, options.labels is None, record)
    if not counting:
        with _writing(out, options.overwrite) as folder:
            kept.write(folder / LABELS)
            write_ledger(ledger, folder)
            write_json(folder / SUMMARY, summary)
            write_run_record(folder, run_record("enhance", {**how, "labels_left_out": labels.left_out}, inputs))
    said = ", ".join(f"{n:,} {decision}" for decision, n in counts.items())
    return f"{NOTHING if counting else out}: {said}; {kept.matrix.nnz:,} labels, the right ones added"


def undo_files(options: UndoOptions, counting: bool = False) -> str:
    """Write the label list as it was before the additions of a ledger; return how many were removed."""
    ledger, labels_path = options.ledger, options.labels or options.ledger.parent / LABELS
    out = default_output(options, UNDONE, options.labels, ledger)
    source = vocabulary_source(options, ledger, options.labels)
    check = partial(refuse_foreign_file, out, options.overwrite, is_csv(LABEL_COLUMNS), "a label list", (".csv",))
    dry_run.refuse_output(out, options.overwrite, check) if counting else check()
    refuse_input_as_output(out, [labels_path, ledger, source])
    refuse_named_input(out, ledger.parent, labels_path.parent)
    if out.exists() and out.name in LISTS:
        message = "a list under a name that other verbs write, so it is not replaced"
        raise InputError(message, out, "Give another --out.")
    enhanced = read_labels(options, labels_path, Vocabulary.load(source), own=options.labels is None)
    labels, n_taken, n_more = without_additions(
        enhanced, ledger_pieces(ledger, only=True), ledger, _whole_ledger(labels_path, ledger)
    )
    if not counting:
        with only_run(out):
            labels.write(out, overwrite=options.overwrite)
    more = f", {n_more:,} more that only these proposed" if n_more else ""
    return f"{NOTHING if counting else out}: {n_taken:,} labels taken back{more}, {labels.matrix.nnz:,} left"


def _whole_ledger(labels: Path, ledger: Path) -> Iterator[pa.Table] | None:
    """Return the pieces of the ledger beside a list, of which `ledger` may be a part; None if it is that ledger."""
    whole = next((path for path in map(labels.with_name, (LEDGER, LEDGER_CSV)) if path.is_file()), None)
    if whole is None:
        note(f"no ledger beside {labels}: of what {ledger} does not list, nothing is taken back")
    if whole is None or (ledger.resolve().parent == whole.resolve().parent and ledger.name in (LEDGER, LEDGER_CSV)):
        return None
    return ledger_pieces(whole, (CLIP_ID, CLASS_ID, BECAUSE), only=True)


# ---- the command ------------------------------------------------------------------------------------------------


def _command(kind: type, function: Callable[..., str]) -> Command:
    """Return the command that prints what a function returns; its dry run only counts."""
    return Command(kind, lambda options: print(function(options)), partial(function, counting=True))


COMMANDS = {
    "": _command(EnhanceFilesOptions, enhance_files),
    "sweep": _command(SweepOptions, sweep_files),
    "apply": _command(ApplyOptions, apply_files),
    "undo": _command(UndoOptions, undo_files),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    return run_command("enhance", __doc__, COMMANDS, argv)


class _CallableModule(ModuleType):
    """This module, which `from pseudolabel import enhance` gives, called as its function `enhance`."""

    __call__ = staticmethod(enhance)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    raise SystemExit(main())
