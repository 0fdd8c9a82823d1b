"""Release enhanced labels or a model as a folder that others can use and check; verify releases, compare lists.

    python -m pseudolabel.release                                # the only WORK/enhanced-* -> WORK/release-*
    python -m pseudolabel.release --enhanced work/enhanced-25p --precision work/review-result/precision.json
    python -m pseudolabel.release verify work/release-25p
    python -m pseudolabel.release diff work/release-mean work/release-25p
    python -m pseudolabel.release model work/runs/student

A release (`make`, which may be omitted) holds the enhanced list in the form of its source and in others, the list
before enhancement, the ledger, thresholds, sampling weights, with --soft the teacher's scores, and documents. Its bytes
do not depend on where or when it is made, and it is verified before it gets its name.

`verify` checks bytes, ids, classes, that original list and ledger give the enhanced list, thresholds, scores, and every
figure in run.json and the documents, whichever version wrote them. Links are refused; what hosting sites add (.git,
.gitattributes, .DS_Store) is listed but not read. A release is not signed: whoever replaces all of its files, with
labels, ledger, figures and checksums that fit each other, has made another release; and words without figures, authors,
teacher and precision rest on the makers' word. Compare SHA256SUMS with a copy from a source that you trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

from pseudolabel import cli, dry_run, layout, packages
from pseudolabel.artefacts import whole_folder
from pseudolabel.blocks import only_run
from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.balancing import DEFAULT_BETA
from pseudolabel.labels.readers import clip_id_of
from pseudolabel.layout import EVALUATION, LEDGER, RUNS, TEACHER, VOCABULARY
from pseudolabel.options import NON_NEGATIVE, ListOptions, Options, VerbOptions, nested, option
from pseudolabel.ownership import refuse_foreign, refuse_input_as_output
from pseudolabel.records import Inputs, run_record, write_run_record
from pseudolabel.releases.citation import assumed_licence, usual_licence
from pseudolabel.scores.windows import CLIP, parse_window

# ---- options ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CreditOptions(Options):
    """What the documents of any release say beside its figures."""

    title: str | None = option(None, "one line for people")
    version: str = option("1.0.0", "of the release", flag="--release-version", metavar="X.Y.Z")
    released: str = option("", "day, as 2026-01-31 (default: of labels, the day of the enhancement)", metavar="DAY")
    licence: str | None = option(None, "of labels, weights (default: CC-BY-4.0, or as the source asks)", metavar="SPDX")
    url: str = option("", "where the release will be")
    authors: tuple[str, ...] = option(
        (),
        "`Family, Given` of a person, or a group's name; may be repeated",
        flag="--author",
        metavar="NAME",
    )


@dataclass(frozen=True, kw_only=True)
class DocumentOptions(CreditOptions):
    """What the documents of a release of labels say beside its figures."""

    name: str | None = option(None, "id of the release (default: SOURCE-enhanced-RULE)")
    source: str | None = option(None, "data set that the labels come from (default: the one of the list's form)")


@dataclass(frozen=True, kw_only=True)
class MakeOptions(VerbOptions):
    """What to make a release of labels from, and what it holds."""

    enhanced: Path | None = option(None, "what enhance wrote (default: the only WORK/enhanced-*)")
    out: Path | None = option(None, "folder to write (default: release-RULE beside what is released)")
    labels: Path | None = option(None, "the list that enhance read (default: where it was, or beside --enhanced)")
    lists: tuple[Path, ...] = option(
        (), "the source's own lists, whose further columns are kept (default: --labels)", flag="--list", metavar="LIST"
    )
    vocabulary: str | None = option(
        None, "audioset, fsd50k, esc50 or a CSV file (default: vocabulary.csv beside --enhanced, or a built-in one)"
    )
    format: str | None = option(None, "form of named lists (default: detected)", needs="labels|lists|evaluation")
    scores: Path | None = option(None, "the teacher's scores (default: where they were, or beside --enhanced)")
    soft: str | None = option(
        None, "also write targets.h5, the teacher's scores, as this type", choices=("float32", "float16", "uint8")
    )
    soft_windows: tuple[str | float, ...] = option(
        (CLIP,), "scales of targets.h5: clip, 10s, 5s, 2s", parse=parse_window, metavar="SCALE"
    )
    beta: float = option(DEFAULT_BETA, "exponent of the max rule's sampling weights", NON_NEGATIVE)
    wav: str = option("{clip_id}.wav", "recordings in psla.json", metavar="PATH")
    precision: Path | None = option(None, "precision.json of `review estimate`", metavar="FILE")
    evaluation: Path | None = option(
        None,
        "evaluation clips; the card says whether their labels changed (default: eval.csv beside --enhanced)",
        metavar="LIST",
    )
    teacher: tuple[Path, ...] = option(
        (),
        "the teacher's run folders, which list the clips it was trained on (default: runs/teacher beside --enhanced)",
        metavar="RUN",
    )
    documents: DocumentOptions = nested(DocumentOptions, "what the documents say")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.soft_windows != (CLIP,) and not self.soft:
            raise InputError("says which scores --soft writes", "--soft-windows", "Give --soft too.")
        if len(set(self.soft_windows)) < len(self.soft_windows):
            raise InputError("a scale is listed twice", "--soft-windows", "Name each once.")
        if clip_id_of(self.wav).count("{clip_id}") != 1:
            message = f"a recording's name must have the clip's id, and {self.wav!r} does not"
            raise InputError(message, "--wav", "Write it as /audio/{clip_id}.flac.")

    @property
    def folder(self) -> Path:
        """The enhancement: the given one, or the only one in WORK."""
        if self.enhanced:
            return self.enhanced
        folders = sorted(path for path in self.work.glob("enhanced-*") if path.is_dir())
        if len(folders) != 1:
            what = f"{len(folders)} enhanced folders: {first_few(folders)}" if folders else "no folder enhanced-*"
            raise InputError(what, self.work, "Give --enhanced.")
        return folders[0]

    @property
    def output(self) -> Path:
        """The folder to write."""
        name = f"release-{self.folder.resolve().name.removeprefix('enhanced-')}"
        return self.out or cli.home(self, self.enhanced) / name

    @property
    def named(self) -> tuple[Path | None, ...]:
        """The files that the options name."""
        return (self.labels, *self.lists, self.scores, self.precision, self.evaluation, *self.teacher)


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(VerbOptions):
    """Which release, of labels or of a model, to check."""

    folder: Path = option(help="the release", positional=True, metavar="RELEASE")


@dataclass(frozen=True, kw_only=True)
class DiffOptions(VerbOptions, ListOptions):
    """Which label lists to compare."""

    lists: tuple[Path, Path] = option(
        help="release, folder that enhance wrote, or label list", positional=True, metavar="LIST"
    )
    ontology: Path | None = option(None, "ontology table or published ontology.json (default: AudioSet's)")
    out: Path | None = option(None, "folder for the differences as tables (default: they are only shown)")


@dataclass(frozen=True, kw_only=True)
class ModelOptions(VerbOptions, CreditOptions):
    """Which model to release."""

    run: Path = option(help="run folder that train wrote", positional=True, metavar="RUN")
    out: Path | None = option(None, "folder to write (default: release-NAME in the run's WORK)")
    onnx: bool = option(False, "also for other runtimes, compared with PyTorch")
    evaluation: Path | None = option(
        None, "of evaluate, with figures of this model (default: WORK/evaluation, if it has any)", metavar="FOLDER"
    )

    @property
    def output(self) -> Path:
        """The folder to write."""
        return self.out or cli.home(self, self.run) / f"release-{self.run.resolve().name}"

    @property
    def credit(self) -> dict[str, object]:
        """What the documents say beside figures."""
        said = {field.name: getattr(self, field.name) for field in fields(CreditOptions)}
        return {**said, "licence": self.licence or usual_licence("")}


# ---- a release of labels ----------------------------------------------------------------------------------------


def make_release(options: MakeOptions) -> None:
    """Gather the contents, write them into a temporary folder, verify it, and rename it."""
    from pseudolabel.releases.enhanced import read_enhanced
    from pseudolabel.releases.folder import not_a_release, write_release
    from pseudolabel.releases.listing import values_of_their_kind
    from pseudolabel.releases.verify import verify_release

    folder, out = options.folder, options.output
    refuse_foreign(out, options.overwrite, reason_not_to=not_a_release)
    refuse_input_as_output(out, (folder, *options.named))
    with values_of_their_kind(folder):
        enhanced = read_enhanced(folder, cli.home(options, options.enhanced), options.vocabulary)
    if options.strict and enhanced.missing:
        message = f"{len(enhanced.missing)} clips have no scores: {first_few(enhanced.missing)}"
        raise InputError(message, folder, "Without --strict missing.csv lists them.")
    with values_of_their_kind(folder):
        contents = _contents(options, enhanced)
    del enhanced
    with only_run(out), whole_folder(out, options.overwrite, reason_not_to=not_a_release) as temporary:
        facts = write_release(contents, temporary)
        del contents  # large for millions of clips
        lines = verify_release(temporary)
    n_clips, n_before, n_added = facts.counts.clips, facts.counts.labels_before, facts.counts.added.labels_added
    said = f"{out}: {n_clips:,} clips, {n_before:,} labels and {n_added:,} added; verified"
    print("\n  ".join([said, *lines, *assumed_licence(options.documents.licence, facts.licence)]))


def _contents(options: MakeOptions, enhanced):
    """Check that labels, lists and scores are those of the enhancement; return what to write."""
    from pseudolabel.releases import gather
    from pseudolabel.releases.folder import Contents

    inputs = Inputs()
    form, lists = gather.source_lists(enhanced, options.labels, options.lists, options.format, inputs)
    scores = gather.scores_of(enhanced, options.scores)
    if options.soft and scores is None:
        raise InputError("the teacher's scores are not here", f"--soft {options.soft}", "Give --scores.")
    teacher = cli.existing(cli.base(options, options.enhanced) / RUNS / TEACHER)
    facts = gather.facts_of(
        enhanced,
        vars(options.documents),
        inputs,
        form=form,
        scores=scores,
        teachers=options.teacher or tuple(filter(None, [teacher])),
        precision=options.precision and gather.read_precision(inputs.read(options.precision), enhanced.folder),
        evaluation_touched=_evaluation_touched(options, enhanced, inputs),
    )
    if options.teacher and not (facts.teacher and facts.teacher.trained_on_clips):
        message = "these runs do not have the lists of clips that the scores name"
        raise InputError(message, f"--teacher {first_few(options.teacher)}", "Give the runs that made the scores.")
    soft, scales = options.soft, options.soft_windows
    return Contents(enhanced, facts, form, lists, options.wav, options.beta, scores, soft, scales)


def _evaluation_touched(options: MakeOptions, enhanced, inputs: Inputs) -> bool | None:
    """Return whether labels of evaluation clips were changed; None if there is no evaluation list."""
    from pseudolabel.labels.table import LabelTable
    from pseudolabel.releases.gather import touches

    given = options.evaluation
    path = cli.default_file(options, given, EVALUATION, options.enhanced, what="evaluation list")
    if path is None:
        return None
    form = options.format if given else None
    listed = LabelTable.read(inputs.read(path), enhanced.labels.vocabulary, form, unknown="skip")
    return touches(enhanced, listed.clip_ids)


# ---- checks, differences, models --------------------------------------------------------------------------------


def verify(options: VerifyOptions) -> None:
    """Check a release of labels, or of a model."""
    from pseudolabel.releases.listing import with_a_remedy
    from pseudolabel.releases.model import is_model_release

    with with_a_remedy():
        if is_model_release(options.folder):
            cli.import_torch()
            from pseudolabel.releases.model import verify_model as check
        else:
            from pseudolabel.releases.verify import verify_release as check
        lines = check(options.folder)
    print("\n  ".join([f"{options.folder}: verified", *lines]))


def compare(options: DiffOptions) -> None:
    """Compare two label lists; with --out, also write the differences as tables."""
    from pseudolabel.labels.ontology import Ontology
    from pseudolabel.labels.vocabulary import Vocabulary
    from pseudolabel.releases import difference
    from pseudolabel.releases.listing import values_of_their_kind

    (first, second), out, inputs = options.lists, options.out, Inputs()
    overwrite, reason_not_to = options.overwrite, difference.not_a_difference
    if out:
        refuse_foreign(out, overwrite, reason_not_to=reason_not_to)
        refuse_input_as_output(out, (first, second, options.ontology, options.vocabulary))
    if first.resolve() == second.resolve():
        raise InputError("both are the same", first, "Give two lists.")
    vocabulary = Vocabulary.load(inputs.read(_vocabulary_of(options)))
    names = difference.distinct_names(first, second)
    sides = [_side(options, *named, vocabulary, inputs) for named in zip(names, options.lists, strict=True)]
    ontology = Ontology.load(inputs.read(options.ontology))
    with values_of_their_kind(first, "it, or the other one, holds something of another kind"):
        found = difference.list_difference(*sides, ontology)
    lines = difference.difference_lines(found)
    if out:
        with only_run(out), whole_folder(out, overwrite, reason_not_to=reason_not_to) as folder:
            difference.write_difference(found, folder)
            write_run_record(folder, run_record("release", asdict(options), inputs))
        lines.append(f"{out}: {', '.join(difference.WRITTEN)}")
    print("\n".join(lines))


def _side(options: DiffOptions, name: str, path: Path, vocabulary, inputs: Inputs):
    """Return a label list; of a release, or a folder written by `enhance`, the labels and the ledger."""
    from pseudolabel.labels.ledger import read_ledger
    from pseudolabel.releases.difference import Side, files_of

    list_path, ledger = files_of(path)
    labels = cli.read_labels(options, inputs.read(list_path), vocabulary, own=path.is_dir())
    return Side(name, labels, ledger and read_ledger(inputs.read(ledger)))


def _vocabulary_of(options: DiffOptions) -> str | Path:
    """Return --vocabulary, else that of a release, else the one beside the lists, else AudioSet's."""
    beside = [cli.home(options, path) / VOCABULARY for path in options.lists]
    paths = (*(path / layout.CLASSES for path in options.lists), *beside)
    return options.vocabulary or next((path for path in paths if path.is_file()), "audioset")


def release_model(options: ModelOptions) -> None:
    """Write the release of a trained model."""
    cli.import_torch()
    from pseudolabel.releases.model import not_a_model_release, refuse_model, write_model
    from pseudolabel.releases.model_figures import read_evaluation

    out, credit = options.output, options.credit
    refuse_foreign(out, options.overwrite, reason_not_to=not_a_model_release)
    refuse_model(options.run, out, credit)
    usual = cli.home(options, options.run) / layout.EVALUATION_FOLDER
    evaluation = read_evaluation(options.evaluation or usual, options.run, given=options.evaluation is not None)
    with only_run(out), whole_folder(out, options.overwrite, reason_not_to=not_a_model_release) as folder:
        said, *lines = write_model(options.run, folder, credit, evaluation, options.onnx)
    print("\n  ".join([f"{out}: {said}", *lines, *assumed_licence(options.licence, credit["licence"])]))


# ---- the command ------------------------------------------------------------------------------------------------


def plan_release(options: MakeOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about a release of labels."""
    from pseudolabel.releases.enhanced import refuse_incomplete
    from pseudolabel.releases.folder import not_a_release
    from pseudolabel.releases.gather import read_precision

    folder, out, precision = options.folder, options.output, options.precision
    check = partial(refuse_foreign, out, options.overwrite, reason_not_to=not_a_release)
    dry_run.refuse_output(out, options.overwrite, check)
    refuse_input_as_output(out, (folder, *options.named))
    refuse_incomplete(folder)
    dry_run.refuse_absent(*options.named)
    if precision and precision.exists() and (folder / LEDGER).exists():
        read_precision(precision, folder)
    dry_run.promise(out)
    return f"would write {out}: a release of {folder}"


def plan_verify(options: VerifyOptions) -> str:
    """Return what a dry run says about a check."""
    dry_run.refuse_absent(options.folder)
    return f"would verify {options.folder}"


def plan_compare(options: DiffOptions) -> str:
    """Return what a dry run says about a comparison."""
    from pseudolabel.releases import difference

    dry_run.refuse_absent(*options.lists, options.ontology)
    if out := options.out:
        check = partial(refuse_foreign, out, options.overwrite, reason_not_to=difference.not_a_difference)
        dry_run.refuse_output(out, options.overwrite, check)
        refuse_input_as_output(out, (*options.lists, options.ontology, options.vocabulary))
        dry_run.promise(out)
    return f"would compare {' and '.join(map(str, options.lists))}"


def plan_model(options: ModelOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about a release of a model."""
    from pseudolabel.releases.model import not_a_model_release, refuse_model

    if options.onnx:
        packages.refuse_without("--onnx", "onnx", "onnxscript", "onnxruntime")
    out = options.output
    check = partial(refuse_foreign, out, options.overwrite, reason_not_to=not_a_model_release)
    dry_run.refuse_output(out, options.overwrite, check)
    refuse_model(options.run, out, options.credit)
    dry_run.refuse_absent(options.evaluation)
    return f"would write {out}: the model of {options.run}"


COMMANDS = {
    "make": Command(MakeOptions, make_release, plan_release),
    "verify": Command(VerifyOptions, verify, plan_verify),
    "diff": Command(DiffOptions, compare, plan_compare),
    "model": Command(ModelOptions, release_model, plan_model),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    return run_command("release", __doc__, COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
