"""Make a folder of enhanced labels that others can use, check, compare and undo.

    python -m pseudolabel.release                                   # the only WORK/enhanced-* -> WORK/release-*
    python -m pseudolabel.release --enhanced work/enhanced-25p --precision work/review-result/precision.json
    python -m pseudolabel.release --verify work/release-25p
    python -m pseudolabel.release --diff work/release-mean work/release-25p
    python -m pseudolabel.release --model work/runs/student

The folder holds the enhanced list in the form of its source (segments.csv, fsd50k.csv, esc50.csv), as psla.json, CSV
and Parquet, the list before, the ledger (added_labels), thresholds, sampling weights after relabelling, with --soft
the teacher's scores, and a data card, croissant.json, CITATION.cff, licences, run.json and SHA256SUMS. Made again it
has the same bytes, wherever and whenever; it is verified before it takes its name. --verify reads such a folder and
checks bytes, ids, classes, that ledger and original list make the enhanced one, thresholds, scores, and every figure
that run.json and the documents state, whichever version wrote them. Links are refused; what hosting sites add (.git,
.gitattributes, .DS_Store) is passed over with a line. A release is not signed: who makes all of its files anew, with
labels, ledger, figures and checksums that fit each other, has made another release; and words without figures,
authors, teacher and precision are what its makers say. Compare SHA256SUMS with a copy from a place that you trust.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pseudolabel import __version__, cli, dry_run
from pseudolabel.artefacts import whole_folder
from pseudolabel.blocks import only_run
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.balancing import DEFAULT_BETA
from pseudolabel.labels.readers import clip_id_of
from pseudolabel.ownership import refuse_foreign, refuse_input_as_output
from pseudolabel.progress import note
from pseudolabel.records import Inputs, git_commit
from pseudolabel.releases.licences import usual_licence
from pseudolabel.scores.windows import CLIP, parse_window

COMMON = ("work", "overwrite", "strict", "debug")
MODES = {  # and the options that each has
    "verify": (),
    "diff": ("out", "ontology", "vocabulary", "format", "unknown_labels"),
    "model": ("out", "onnx", "title", "licence"),
}
NOT_OF_LABELS = {"ontology": "--diff", "unknown_labels": "--diff", "onnx": "--model"}


def run(args: argparse.Namespace, given: Sequence[str]) -> None:
    """Do what was asked for: make a release, verify one, compare two, or release a model.

    Args:
        given: names of the options that are not as they are by default.
    """
    _refuse_others(args, given)
    if args.verify:
        _verify(args.verify)
    elif args.diff:
        from pseudolabel.releases.difference_report import run_difference

        run_difference(args, [cli.home(args, path) for path in args.diff])
    elif args.model:
        cli.import_torch()
        from pseudolabel.releases.model_folder import run_model

        run_model(args, _model_folder(args))
    else:
        _make(args)


def plan(args: argparse.Namespace, given: Sequence[str]) -> str:
    """Return what a dry run says of the release, after checking what can be known."""
    _refuse_others(args, given)
    if args.verify or args.diff:
        named = args.diff or [args.verify]
        dry_run.refuse_absent(*named, args.ontology)
        return f"would {'compare' if args.diff else 'verify'} {' and '.join(map(str, named))}"
    if args.model:
        if args.onnx:
            dry_run.check_packages("--onnx", "export", "onnx", "onnxscript", "onnxruntime")
        out = _model_folder(args)
        from pseudolabel.releases.model_checks import not_a_model, refuse_model

        check = partial(refuse_foreign, out, args.overwrite, reason_not_to=not_a_model)
        dry_run.refuse_output(out, args.overwrite, check)
        refuse_model(args.model, out, args.licence or usual_licence(""))
        return f"would write {out}: the model of {args.model}"
    from pseudolabel.releases import gather
    from pseudolabel.releases.enhanced import LEDGER, refuse_incomplete
    from pseudolabel.releases.folder import not_a_release

    folder, out, named = _folders(args)
    check = partial(refuse_foreign, out, args.overwrite, reason_not_to=not_a_release)
    dry_run.refuse_output(out, args.overwrite, check)
    refuse_input_as_output(out, (folder, *named))
    refuse_incomplete(folder)
    dry_run.refuse_absent(*named)
    if args.precision and args.precision.exists() and (folder / LEDGER).exists():
        gather.read_precision(args.precision, folder)
    dry_run.promise(out)
    return f"would write {out}: a release of {folder}"


def _model_folder(args: argparse.Namespace) -> Path:
    """Return the release of a model."""
    return args.out or cli.home(args, args.model) / f"release-{args.model.resolve().name}"


def _folders(args: argparse.Namespace) -> tuple[Path, Path, tuple[Path | None, ...]]:
    """Return the enhancement, the release, and the files that options name."""
    folder = args.enhanced or _only_enhanced(args.work)
    name = f"release-{folder.resolve().name.removeprefix('enhanced-')}"
    named = (args.labels, *(args.list or ()), args.scores, args.precision, args.evaluation, *(args.teacher or ()))
    return folder, args.out or cli.home(args, args.enhanced) / name, named


def _refuse_others(args: argparse.Namespace, given: Sequence[str]) -> None:
    """Raise InputError for two modes at a time, and for an option that the mode does not have."""
    modes = [name for name in MODES if getattr(args, name)]
    if len(modes) > 1:
        raise InputError("only one at a time", " and ".join(f"--{name}" for name in modes), "Leave one away.")
    for name in given:
        option = f"--{name.replace('_', '-')}"
        if modes and name not in (*modes, *COMMON, *MODES[modes[0]]):
            raise InputError(f"does not go with --{modes[0]}", option, "Leave it away.")
        if not modes and name in NOT_OF_LABELS:
            raise InputError(f"goes with {NOT_OF_LABELS[name]} alone", option, "Leave it away.")
    if "soft_windows" in given and not args.soft:
        raise InputError("says which scores --soft writes", "--soft-windows", "Give --soft too.")
    if len(set(args.soft_windows)) < len(args.soft_windows):
        raise InputError("a scale is listed twice", "--soft-windows", "Name each once.")
    if clip_id_of(args.wav).count("{clip_id}") != 1:
        message = f"a recording's name must have the clip's id, and {args.wav!r} has none"
        raise InputError(message, "--wav", "Write it as /audio/{clip_id}.flac.")


def _verify(folder: Path) -> None:
    """Check a release of labels, or of a model."""
    from pseudolabel.releases.enhanced import read_object
    from pseudolabel.releases.listing import RECORD, list_files, with_a_remedy
    from pseudolabel.releases.model_checks import FORMAT
    from pseudolabel.releases.verify import verify_release as verify

    with with_a_remedy():
        if RECORD in list_files(folder).files and read_object(folder / RECORD).get("format") == FORMAT:
            cli.import_torch()
            from pseudolabel.releases.model_folder import verify_model as verify
        lines = verify(folder)
    print("\n  ".join([f"{folder}: verified", *lines]))


def _make(args: argparse.Namespace) -> None:
    """Gather, write into a folder without its name yet, verify, name it."""
    from pseudolabel.releases.enhanced import read_enhanced
    from pseudolabel.releases.folder import not_a_release, write_release
    from pseudolabel.releases.listing import values_of_their_kind
    from pseudolabel.releases.verify import verify_release

    folder, out, named = _folders(args)
    home = cli.home(args, args.enhanced)
    refuse_foreign(out, args.overwrite, reason_not_to=not_a_release)
    refuse_input_as_output(out, (folder, *named))
    with values_of_their_kind(folder):
        enhanced = read_enhanced(folder, home, args.vocabulary)
    if args.strict and enhanced.missing:
        message = f"{len(enhanced.missing)} clips have no scores: {first_few(enhanced.missing)}"
        raise InputError(message, folder, "Without --strict missing.csv lists them.")
    with values_of_their_kind(folder):
        contents = _contents(args, enhanced)
    del enhanced
    with only_run(out), whole_folder(out, args.overwrite, reason_not_to=not_a_release) as temporary:
        counts = write_release(contents, temporary).counts
        del contents  # of millions of clips, it is large
        lines = verify_release(temporary)
    n_clips, n_before, n_added = counts["clips"], counts["labels_before"], counts["added"]["labels_added"]
    said = f"{out}: {n_clips:,} clips, {n_before:,} labels and {n_added:,} added; verified"
    print("\n  ".join([said, *lines]))


def _only_enhanced(work: Path) -> Path:
    """Return the only enhanced-* folder of a work folder."""
    found = sorted(path for path in work.glob("enhanced-*") if path.is_dir())
    if len(found) != 1:
        what = f"{len(found)} enhanced folders: {first_few(found)}" if found else "no folder enhanced-*"
        raise InputError(what, work, "Give --enhanced.")
    return found[0]


def _contents(args: argparse.Namespace, enhanced):
    """Return what is to be written, after checking that labels, lists and scores are those of the enhancement."""
    from pseudolabel.labels.table import LabelTable
    from pseudolabel.releases import gather
    from pseudolabel.releases.facts import Facts
    from pseudolabel.releases.folder import Contents
    from pseudolabel.releases.source_forms import SOURCE_FORMS

    inputs = Inputs()
    form, lists = _source_lists(args, enhanced, inputs)
    scores = _scores(args, enhanced)
    source = args.source if args.source is not None else SOURCE_FORMS[form].source if form else ""
    rule = gather.rule_name(enhanced)
    precision = args.precision and gather.read_precision(inputs.read(args.precision), enhanced.folder)
    evaluation = cli.default_file(args, args.evaluation, "eval.csv", args.enhanced, what="evaluation list")
    touched = None
    if evaluation:
        form_given = args.format if args.evaluation else None
        listed = LabelTable.read(inputs.read(evaluation), enhanced.labels.vocabulary, form_given, unknown="skip")
        touched = gather.evaluation_touched(enhanced, listed.clip_ids)
    runs = args.teacher or filter(None, [cli.existing(cli.base(args, args.enhanced) / "runs" / "teacher")])
    read = {Path(path): digest for path, digest in inputs.sha256.items()}
    named = [{"name": path.name, "sha256": digest} for path, digest in {**enhanced.inputs, **read}.items()]
    slug = re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-") or "labels"
    facts = Facts(
        name=args.name or f"{slug}-enhanced-{rule}",
        title=args.title or f"{source or 'Sound event'} labels with missing ones added ({rule})",
        version=args.release_version,
        released=args.released,
        licence=args.licence or usual_licence(source),
        source=source,
        url=args.url,
        authors=tuple(args.author),
        rule=gather.rule_of(enhanced),
        teacher=scores and gather.teacher_of(scores, list(runs)),
        out_of_fold=scores and gather.out_of_fold(scores),
        evaluation_touched=touched,
        precision=precision,
        files=(),
        inputs=named,
        ontology=enhanced.summary.get("ontology", {}),
        pseudolabel=__version__,
        commit=git_commit(),
        **gather.tables_of(enhanced, precision),
    )
    if args.soft and scores is None:
        raise InputError("the teacher's scores are not here", f"--soft {args.soft}", "Give --scores.")
    if args.teacher and not (facts.teacher or {}).get("trained_on_clips"):
        message = "these runs have not the lists of clips that the scores name"
        raise InputError(message, f"--teacher {first_few(args.teacher)}", "Give the runs that made the scores.")
    return Contents(enhanced, facts, form, lists, args.wav, args.beta, scores, args.soft, args.soft_windows)


def _source_lists(args: argparse.Namespace, enhanced, inputs: Inputs) -> tuple[str | None, Sequence[Path]]:
    """Return the form of the source's lists and these, and check the original labels where their list is here."""
    from pseudolabel.releases.source_forms import form_of

    labels_path = args.labels or enhanced.label_list()
    if labels_path is None:
        note("the list that enhance read is not here as it was: the list before is taken from the ledger alone "
             "(--labels checks it)")  # fmt: skip
    elif args.labels:
        options = argparse.Namespace(format=args.format, unknown_labels=enhanced.unknown_labels)
        if cli.read_labels(options, labels_path, enhanced.labels.vocabulary) != enhanced.original:
            message = "its labels are not the enhanced ones without those of the ledger"
            raise InputError(message, labels_path, "Give the --labels that enhance read.")
    lists = [inputs.read(path) for path in args.list or ()] or [path for path in [labels_path] if path]
    forms = {form_of(path, args.format) for path in lists}
    if args.list and None in forms:
        message = "not a list of the form of AudioSet, FSD50K or ESC-50"
        raise InputError(message, f"--list {first_few(args.list)}", "Leave it away, or give the source's own lists.")
    if len(forms) > 1:
        raise InputError("the lists have several forms", "--list", "Give lists of one source.")
    return next(iter(forms), None), lists


def _scores(args: argparse.Namespace, enhanced):
    """Return the teacher's scores: those that `enhance` read, None where there were none or they are gone."""
    from pseudolabel.scores.store import ScoreStore

    if args.scores is None:
        found = enhanced.score_store()
        if found is None and enhanced.scored:
            note("the scores that enhance read are not here as they were, so the card tells no teacher: give --scores")
        return found
    if not enhanced.reviewed and not enhanced.is_input(args.scores):
        raise InputError("not the scores that enhance read", args.scores, "Give the store of run.json's checksum.")
    return ScoreStore.open(args.scores)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb; return its exit code."""
    parser = _parser()

    def given(args: argparse.Namespace) -> list[str]:
        return [name for name, value in vars(args).items() if value != parser.get_default(name)]

    return cli.run_verb(parser, lambda args: run(args, given(args)), argv, lambda args: plan(args, given(args)))


def _parser() -> argparse.ArgumentParser:
    parser = cli.verb_parser("release", __doc__)
    add = parser.add_argument
    add("--verify", type=Path, metavar="DIR", help="check a release and do nothing else")
    add("--diff", nargs=2, type=Path, metavar=("A", "B"), help="compare two releases or label lists")
    add("--model", type=Path, metavar="RUN", help="release the model of a run folder")
    add("--enhanced", type=Path, help="what enhance wrote (default: the only WORK/enhanced-*)")
    add("--out", type=Path, help="folder to write (default: release-RULE beside what is released)")
    add("--labels", type=Path, help="the list that enhance read (default: where run.json says or beside --enhanced, if "
        "it is there)")  # fmt: skip
    add("--list", type=Path, nargs="+", help="the source's own lists: segments, FSD50K's or ESC-50's columns are taken "
        "from them (default: the list that enhance read)")  # fmt: skip
    add("--ontology", type=Path, help="of --diff: ontology table or published ontology.json (default: AudioSet's)")
    add("--onnx", action="store_true", help="of --model: also for other runtimes, compared with PyTorch")
    add("--vocabulary", help="audioset, fsd50k, esc50 or a CSV file (default: vocabulary.csv beside "
        "--enhanced, or a built-in one)")  # fmt: skip
    cli.add_label_options(parser)
    add("--scores", type=Path, help="the teacher's scores (default: where run.json says or beside --enhanced, if "
        "they are there)")  # fmt: skip
    add("--soft", choices=("float32", "float16", "uint8"), help="also write targets.h5, the teacher's scores")
    add("--soft-windows", type=parse_window, nargs="+", default=[CLIP], metavar="SCALE",
        help="scales of targets.h5: clip, 10s, 5s, 2s (default: clip)")  # fmt: skip
    add(
        "--beta",
        type=cli.non_negative,
        default=DEFAULT_BETA,
        help=f"exponent of the max rule's sampling weights (default: {DEFAULT_BETA})",
    )
    add("--wav", default="{clip_id}.wav", metavar="PATH", help="recordings in psla.json (default: {clip_id}.wav)")
    add("--precision", type=Path, metavar="FILE", help="precision.json of review --judgements")
    add("--evaluation", type=Path, metavar="LIST", help="evaluation clips: the card says whether their labels were "
        "changed (default: eval.csv beside --enhanced)")  # fmt: skip
    add("--teacher", type=Path, nargs="+", metavar="RUN", help="run folders of the teacher: how many clips it "
        "was trained on (default: runs/teacher beside --enhanced)")  # fmt: skip
    said = parser.add_argument_group("what the documents say")
    said.add_argument("--name", help="id of the release (default: SOURCE-enhanced-RULE)")
    said.add_argument("--title", help="one line for people")
    said.add_argument("--release-version", default="1.0.0", metavar="X.Y.Z", help="default: 1.0.0")
    said.add_argument("--released", default="", metavar="DAY", help="day of the release, as 2026-01-31 (default: none)")
    said.add_argument(
        "--licence", metavar="SPDX", help="of the labels (default: CC-BY-4.0, or what the source asks for)"
    )
    said.add_argument("--source", help="data set that the labels come from (default: what the list's form tells)")
    said.add_argument("--url", default="", help="where the release will be")
    said.add_argument("--author", action="append", default=[], metavar="NAME",
                      help="`Family, Given` of a person, or a group's name; may be given several times")  # fmt: skip
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
