"""Answers of another model become a score store: `score --import`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
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
from pseudolabel.scores.answers import listed_lengths, open_answers
from pseudolabel.scores.importing import DEFAULT_CLIP_S, Imported, Lengths, Part, import_scores, read_lengths
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, parse_window, window_name


def at_scale(kind: Callable[[str], object], what: str) -> Callable[[str], tuple[str | float | None, object]]:
    """Return a parser of `VALUE`, or of `2s=VALUE`, which gives a scale (None: not named) and the value."""

    def parse(text: str) -> tuple[str | float | None, object]:
        scale, equals, value = text.partition("=")
        try:
            named = parse_window(scale) if equals else None
        except argparse.ArgumentTypeError:  # a name with a =
            named, value = None, text
        return named, kind(value if equals else text)

    parse.__name__ = what
    return parse


def add_import_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only `--import` has."""
    given = parser.add_argument_group("answers of another model")
    add, path = given.add_argument, at_scale(Path, "file")
    add("--import", dest="imported", type=path, nargs="+", action="extend", metavar="FILE|SCALE=FILE",
        help="scores: .npy, .npz, .h5, .csv; of several scales: clip=whole.npy 2s=windows.npy")  # fmt: skip
    add("--ids", type=Path, help="clip ids in the file's order: one a line, a CSV file, a label list")
    add("--classes", help="classes in the file's order: one a line, id2label as JSON, a vocabulary, audioset ...")
    add("--window-s", type=cli.positive, help="length of the windows of three axes, in seconds, where --import names "
        "no scale")  # fmt: skip
    add("--hop-s", type=at_scale(cli.positive, "seconds"), nargs="+", metavar="SECONDS|SCALE=SECONDS",
        help="from window to window (default: their length)")  # fmt: skip
    add("--lengths", type=Path, help="CSV file: clip_id and seconds, or n_windows_2s for windows of 2 s (default: "
        "lengths of --clips, of the work folder of the answers, of the times in --ids)")  # fmt: skip
    add("--clip-s", type=cli.positive, help="length of the clips that none of these has (default: "
        f"{DEFAULT_CLIP_S:g} s); no window begins at a clip's end or later")  # fmt: skip
    add("--dataset", type=at_scale(str, "name"), nargs="+", metavar="NAME|SCALE=NAME", help="array of a .npz or HDF5 "
        "file (default: the only one of two or three axes); several: clip=A 2s=B")  # fmt: skip
    add("--name", help="what the store calls the model (default: the file's name)")
    add("--out-of-fold", action="store_true", help="the model was trained on none of these clips")


def import_answers(args: argparse.Namespace, out: Path) -> None:
    """Make the score store of another model's answers."""
    files = list(dict.fromkeys(path for _, path in args.imported))
    inputs, source = Inputs(), cli.vocabulary_source(args, *files, args.ids)
    if source == "audioset" and not args.vocabulary and (args.work / "vocabulary.csv").exists():
        note(f"vocabulary: audioset; {args.work / 'vocabulary.csv'} does not belong to {files[0]} (--vocabulary)")
    for path in (*files, args.ids, args.classes, args.lengths, source):
        inputs.read(path)
    refuse_input_as_output(out, inputs.sha256)
    vocabulary, parts, remark, lengths = open_import(args, source, inputs.read)
    answers = parts[0].answers
    record = run_record("score", vars(args), inputs)
    attributes = {
        "vocabulary": vocabulary.name,
        "model": args.name or "; ".join(dict.fromkeys(path.stem for path in files)),
        "imported_sha256": "; ".join(record["inputs"][str(path)] for path in files),
        "out_of_fold": args.out_of_fold,
    }

    def beside(crc32: int, found: Imported) -> None:
        write_beside(out, {**record, "clipped_scores": found.clipped, "tables_crc32": crc32})

    found = import_scores(parts, out, attributes, args.overwrite, lengths, beside, args.store)
    scales = [f"{part.scale} every {part.every_s:g} s" if part.every_s != (part.window_s or 0) else part.scale
              for part in parts]  # fmt: skip
    remarks = [*filter(None, [remark]), *remarks_on(found)]
    print("; ".join([f"wrote {out}: {len(answers.clip_ids)} clips x {len(answers.class_ids)} classes at "
                     f"{', '.join(scales)}", *remarks]))  # fmt: skip


def open_import(
    args: argparse.Namespace, source: str | Path, read: Callable[[Path], Path] = Path
) -> tuple[Vocabulary, list[Part], str, Lengths | None]:
    """Return vocabulary, answers, a remark on classes outside the vocabulary and lengths; no score is read yet.

    Args:
        source: of the vocabulary. read: as `lengths_of` takes it.
    """
    vocabulary = Vocabulary.load(source)
    parts = open_parts(args, vocabulary)
    unknown = [class_id for class_id in parts[0].answers.class_ids if class_id not in vocabulary.index]
    remark = f"{len(unknown)} classes are not in the vocabulary {vocabulary.name!r}: {first_few(unknown)}"
    if unknown and args.strict:
        raise InputError(remark, args.classes or args.imported[0][1], "Give the --vocabulary of these classes.")
    return vocabulary, parts, remark if unknown else "", lengths_of(args, parts, read)


def remarks_on(found: Imported) -> list[str]:
    """Return what the user must know of an import."""
    remarks = []
    for scale, counted in found.real.items():
        fewest, most = int(counted.counts.min()), int(counted.counts.max())
        if fewest < most:
            remarks.append(f"clips have {fewest} to {most} windows of {scale}")
        if found.silent.get(scale):
            remarks.append(f"{found.silent[scale]} clips end in windows of {scale} without a score above 0, which lie "
                           "in the clip and count")  # fmt: skip
    if found.clipped:
        remarks.append(f"{found.clipped} scores that rounding had put outside [0, 1] were taken as 0 or 1")
    return remarks


# ---- which file has which scale ---------------------------------------------------------------------------------


def open_parts(args: argparse.Namespace, vocabulary: Vocabulary) -> list[Part]:
    """Open the answers at each scale that options name.

    Raises:
        InputError: scales are not named, named twice or of no use; a file is refused (`open_answers`).
    """
    arrays, hops_s = named_arrays(args), by_scale(args.hop_s, "--hop-s")
    parts: list[Part] = []
    for scale, path, dataset in arrays:
        like = parts[0].answers if parts else None
        answers = open_answers(path, args.ids, args.classes, vocabulary, dataset, like)
        if like and answers.clip_ids is not like.clip_ids:
            raise InputError(f"{path.name} names its clips itself", "--import", "Import it alone, then --merge.")
        window_s = args.window_s if scale is None else None if scale == CLIP else float(scale)
        if scale is not None and (len(answers.shape) == 2) != (scale == CLIP):
            remedy = "Name it by clip=." if len(answers.shape) == 2 else "Name it by the length of its windows: 2s=."
            raise InputError(f"{path.name} has the shape {list(answers.shape)}", f"--import {window_name(scale)}",
                             remedy)  # fmt: skip
        hop_s = None if window_s is None else hops_s.get(window_name(window_s), hops_s.get(None))
        parts.append(Part(answers, window_s, hop_s))
    windows = {part.scale for part in parts if part.window_s is not None}
    if hops_s and not windows:
        raise InputError("is the distance of windows whose length is not given", "--hop-s", "Give --window-s too.")
    alien = [scale for scale in hops_s if scale and scale not in windows]
    if alien:
        raise InputError(f"no windows of {alien[0]} are imported", "--hop-s", "Omit it.")
    return parts


def named_arrays(args: argparse.Namespace) -> list[tuple[str | float | None, Path, str | None]]:
    """Return scale (None: not named), file and name of the array of each one that is to be imported."""
    datasets, files = by_scale(args.dataset, "--dataset"), args.imported
    if len(files) == 1 and files[0][0] is None and any(datasets):
        found = [(scale, files[0][1], name) for scale, name in args.dataset]
    else:
        of_all = datasets.pop(None, None)
        found = [(scale, path, datasets.pop(scale and window_name(scale), of_all)) for scale, path in files]
        if datasets:
            raise InputError(f"--import names no file of {next(iter(datasets))}", "--dataset", "Omit it.")
    scales = [scale for scale, *_ in found]
    if len(found) > 1 and None in scales:
        raise InputError(f"{len(found)} arrays, and not all have their scale", "--import",
                         "Name it: clip=whole.npy 2s=windows.npy.")  # fmt: skip
    by_scale([(scale, path) for scale, path, _ in found], "--import")
    if args.window_s and scales != [None]:
        raise InputError("the scales are named already", "--window-s", "Omit it.")
    return found


def by_scale(given: Sequence[tuple[str | float | None, object]] | None, option: str) -> dict[str | None, object]:
    """Return {name of the scale, None where none is named: value} of an option; InputError where one is there twice."""
    found: dict[str | None, object] = {}
    for scale, value in given or ():
        name = None if scale is None else window_name(scale)
        if name in found:
            raise InputError(f"{name or 'a value without a scale'} is given twice", option, "Keep one.")
        found[name] = value
    return found


# ---- lengths of clips -------------------------------------------------------------------------------------------


def lengths_of(args: argparse.Namespace, parts: Sequence[Part], read: Callable[[Path], Path]) -> Lengths | None:
    """Return the lengths of the clips, and say in a line where they are from; None where there are no windows.

    That is --lengths; or a clip store, given or of the work folder of the answers; or the times in the list of clip
    ids; or --clip-s. The length of a clip that none of them has stays unknown.

    Args:
        read: called with the path of a clip store before that is opened (`Inputs.read`); returns it.
    """
    clip_ids, scales = parts[0].answers.clip_ids, [part.scale for part in parts if part.window_s is not None]
    if args.lengths and not scales:
        raise InputError("answers of whole clips have no windows to count", "--lengths", "Omit it.")
    if not scales:
        return None
    found, sources, listed = {}, [], Lengths()
    if args.ids and (times := listed_lengths(args.ids)):
        found, sources = times, [args.ids]
    path = cli.default_file(args, args.clips, "clips.h5", args.imported[0][1], args.ids)
    if path is not None and (stored := stored_lengths(ClipStore.open(read(path)), clip_ids)):
        found, sources = {**found, **stored}, [*sources, path]
    if args.lengths:
        listed = read_lengths(args.lengths, clip_ids, scales)
        found, sources = {**found, **listed.seconds}, [*sources, args.lengths]
    counted = [set(listed.counted.get(scale, ())) for scale in scales]
    absent = [clip_id for clip_id in clip_ids if clip_id not in found and not all(clip_id in of for of in counted)]
    if sources:
        note(f"windows are compared with the clip lengths of {first_few(sources)}")
    if absent and args.clip_s:
        found |= dict.fromkeys(absent, args.clip_s)
    elif absent:
        note(f"the lengths of {len(absent)} clips are not known (--lengths, --clips, --clip-s): taken as "
             f"{DEFAULT_CLIP_S:g} s")  # fmt: skip
    return Lengths(found, listed.counted, listed.place)


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
