"""Answers of another model become a score store: `score --import`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from pseudolabel import cli
from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.ownership import begins_with, has_format, refuse_foreign_file, refuse_input_as_output
from pseudolabel.progress import note
from pseudolabel.records import Inputs, run_record
from pseudolabel.scores.import_ids import listed_lengths
from pseudolabel.scores.imported import DEFAULT_CLIP_S, Answers, import_scores, open_answers
from pseudolabel.scores.store import ScoreStore


def add_import_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only `--import` has."""
    given = parser.add_argument_group("answers of another model")
    given.add_argument("--import", dest="imported", type=Path, metavar="FILE", help="scores: .npy, .h5, .csv")
    given.add_argument("--ids", type=Path, help="clip ids in the file's order: one a line, a CSV file, a label list")
    given.add_argument("--classes", help="classes in the file's order: one a line, id2label as JSON, a vocabulary, "
                       "audioset ...")  # fmt: skip
    given.add_argument("--window-s", type=cli.positive, help="length of the windows of three axes, in seconds")
    given.add_argument("--hop-s", type=cli.positive, help="seconds from window to window (default: their length)")
    given.add_argument("--clip-s", type=cli.positive, help="length of every clip (default: that of --clips, of the "
                       f"times in --ids, else {DEFAULT_CLIP_S:g} s); no window begins at its end or later")  # fmt: skip
    given.add_argument("--dataset", help="data set of an HDF5 file (default: the only one of two or three axes)")
    given.add_argument("--name", help="what the store calls the model (default: the file's name)")
    given.add_argument("--out-of-fold", action="store_true", help="the model was trained on none of these clips")


def import_answers(args: argparse.Namespace, out: Path) -> None:
    """Make the score store of another model's answers."""
    inputs, source = Inputs(), cli.vocabulary_source(args, args.imported, args.ids)
    if source == "audioset" and not args.vocabulary and (args.work / "vocabulary.csv").exists():
        note(f"vocabulary: audioset; {args.work / 'vocabulary.csv'} does not belong to {args.imported} (--vocabulary)")
    for path in (args.imported, args.ids, args.classes, source):
        inputs.read(path)
    refuse_input_as_output(out, inputs.sha256)
    vocabulary = Vocabulary.load(source)
    answers = open_answers(args.imported, args.ids, args.classes, vocabulary, args.dataset)
    if args.hop_s and not args.window_s:
        raise InputError("is the distance of windows whose length is not given", "--hop-s", "Give --window-s too.")
    unknown = [class_id for class_id in answers.class_ids if class_id not in vocabulary.index]
    remark = f"{len(unknown)} classes are not in the vocabulary {vocabulary.name!r}: {first_few(unknown)}"
    if unknown and args.strict:
        raise InputError(remark, args.classes or args.imported, "Give the --vocabulary of these classes.")
    lengths = lengths_of(args, answers, inputs) if args.window_s and len(answers.shape) == 3 else None
    record = run_record("score", vars(args), inputs)
    attributes = {
        "vocabulary": vocabulary.name,
        "model": args.name or args.imported.stem,
        "imported_sha256": record["inputs"][str(args.imported)],
        "out_of_fold": args.out_of_fold,
    }
    remarks = [remark] if unknown else []

    def beside(crc32: int, clipped: int) -> None:
        if clipped:
            remarks.append(f"{clipped} scores that rounding had put outside [0, 1] were taken as 0 or 1")
        write_beside(out, {**record, "clipped_scores": clipped, "tables_crc32": crc32})

    scale = import_scores(answers, out, args.window_s, attributes, args.overwrite, args.hop_s, lengths, beside)
    hop = f" every {args.hop_s:g} s" if args.hop_s and args.hop_s != args.window_s else ""
    n_clips, n_classes = answers.shape[0], answers.shape[-1]
    print("; ".join([f"wrote {out}: {n_clips} clips x {n_classes} classes at {scale}{hop}", *remarks]))


def lengths_of(args: argparse.Namespace, answers: Answers, inputs: Inputs) -> dict[str, float]:
    """Return {clip id: seconds} of every clip, and say in a line where they are from.

    That is --clip-s; or a clip store, given or of the work folder of the answers; or the times in the list of clip ids;
    a clip that none of them has is taken to be as long as those of AudioSet.
    """
    if args.clip_s:
        return dict.fromkeys(answers.clip_ids, args.clip_s)
    found, sources = {}, []
    if args.ids and (listed := listed_lengths(args.ids)):
        found, sources = listed, [args.ids]
    path = cli.default_file(args, args.clips, "clips.h5", args.imported, args.ids)
    if path is not None and (stored := stored_lengths(ClipStore.open(inputs.read(path)), answers.clip_ids)):
        found, sources = {**found, **stored}, [*sources, path]
    absent = [clip_id for clip_id in answers.clip_ids if clip_id not in found]
    if sources:
        note(f"windows are compared with the clip lengths of {first_few(sources)}")
    if absent:
        note(f"the lengths of {len(absent)} clips are not known (--clips, --clip-s): taken as {DEFAULT_CLIP_S:g} s")
    return {**dict.fromkeys(absent, DEFAULT_CLIP_S), **found}


def stored_lengths(clips: ClipStore, clip_ids: Sequence[str]) -> dict[str, float]:
    """Return {clip id: seconds} of those clips that a store has, by their ids or under another one."""
    matched = match_clips(clip_ids, clips.index, clips.path)
    rows = [clips.index[clip_id] for clip_id in matched.known()]
    return dict(zip(matched.found, (clips.n_samples[rows] / clips.sample_rate).tolist(), strict=True))


# ---- the files of a store ---------------------------------------------------------------------------------------


def files_beside(out: Path) -> tuple[Path, Path]:
    """Return the files that belong to a store: the record of its run, and what it lacks."""
    return out.with_name(f"{out.stem}.run.json"), out.with_name(f"{out.stem}.missing.csv")


def refuse_foreign_store(out: Path, overwrite: bool) -> Path:
    """Return the path of a store that is to be written; refuse to replace it, or what lies beside it, unless ours."""
    refuse_foreign_file(out, overwrite, has_format(ScoreStore.FORMAT, *ScoreStore.EARLIER_FORMATS), "a score store")
    record, missing = files_beside(out)
    refuse_foreign_file(
        record, True, begins_with('{\n  "verb": "score"', '{\n  "verb": "average"'), "the record of a run"
    )
    refuse_foreign_file(missing, True, begins_with("clip_id,reason\n", "kind,id,missing_in\n"), "a list of what lacks")
    return out


def write_beside(out: Path, record: Mapping[str, object], header: Sequence[str] = (), missing: Sequence = ()) -> None:
    """Write the files that belong to a store, the second where there is a header; the store comes after them."""
    of_run, of_missing = files_beside(out)
    write_json(of_run, record)
    if header:
        write_csv(of_missing, header, missing)
