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

import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from pseudolabel import cli, dry_run, layout, packages
from pseudolabel.artefacts import whole_folder
from pseudolabel.blocks import only_run
from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError, first_few
from pseudolabel.layout import EVALUATION, LEDGER, RUNS, TEACHER, VOCABULARY
from pseudolabel.ownership import refuse_foreign, refuse_input_as_output
from pseudolabel.plan_checks import check_ledger, check_lists, check_stores
from pseudolabel.records import Inputs, run_record, write_run_record
from pseudolabel.release_options import DiffOptions, MakeOptions, ModelOptions, VerifyOptions
from pseudolabel.releases.citation import assumed_licence
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP

# ---- a release of labels ----------------------------------------------------------------------------------------


def make_release(options: MakeOptions) -> None:
    """Gather the contents, write them into a temporary folder, verify it, and rename it."""
    from pseudolabel.releases.folder import not_a_release, write_release
    from pseudolabel.releases.verify import verify_release

    out = options.output
    refuse_foreign(out, options.overwrite, reason_not_to=not_a_release)
    refuse_input_as_output(out, (options.folder, *options.named))
    contents = _checked_contents(options)
    with only_run(out), whole_folder(out, options.overwrite, reason_not_to=not_a_release) as temporary:
        facts = write_release(contents, temporary)
        del contents  # large for millions of clips
        lines = verify_release(temporary)
    n_clips, n_before, n_added = facts.counts.clips, facts.counts.labels_before, facts.counts.added.labels_added
    said = f"{out}: {n_clips:,} clips, {n_before:,} labels and {n_added:,} added; verified"
    print("\n  ".join([said, *lines, *assumed_licence(options.documents.licence, facts.licence)]))


def _checked_contents(options: MakeOptions):
    """Read the enhancement, and check that all of it and all that is named belongs together; return what to write."""
    from pseudolabel.releases.enhanced import read_enhanced
    from pseudolabel.releases.listing import values_of_their_kind

    folder = options.folder
    with values_of_their_kind(folder):
        enhanced = read_enhanced(folder, cli.home(options, options.enhanced), options.vocabulary)
    if options.strict and enhanced.missing:
        message = f"{len(enhanced.missing)} clips have no scores: {first_few(enhanced.missing)}"
        raise InputError(message, folder, "Without --strict missing.csv lists them.")
    with values_of_their_kind(folder):
        return _contents(options, enhanced)


def _contents(options: MakeOptions, enhanced):
    """Check that labels, lists and scores are those of the enhancement; return what to write."""
    from pseudolabel.releases import gather
    from pseudolabel.releases.folder import Contents

    inputs = Inputs()
    form, lists = gather.source_lists(enhanced, options.labels, options.lists, options.format, inputs)
    scores = gather.scores_of(enhanced, options.scores)
    targets = options.soft and gather.soft_targets(enhanced, scores, options.soft, options.soft_windows or (CLIP,))
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
    return Contents(enhanced, facts, form, lists, options.wav, options.beta, targets, options.soft)


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
    from pseudolabel.releases.difference import Side, files_of, psla_list

    list_path, ledger = files_of(path)
    by_default = options.format is None and options.unknown_labels == "error"
    labels = psla_list(inputs.read(list_path), vocabulary) if by_default else None
    if labels is None:
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
    check_lists(options.format, options.labels, *options.lists, options.evaluation)
    check_stores(ScoreStore, options.scores)
    if precision and precision.exists() and (folder / LEDGER).exists():
        read_precision(precision, folder)
    if not dry_run.of_recipe():
        _checked_contents(options)
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
    for path in filter(os.path.exists, options.lists):
        labels, ledger = difference.files_of(path)
        check_lists(None if path.is_dir() else options.format, labels)
        check_ledger(ledger)
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
