"""Turn another model's scores into a score store: `score import`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pseudolabel import cli, dry_run
from pseudolabel.audio.clips import ClipStore
from pseudolabel.blocks import only_run
from pseudolabel.command import Command
from pseudolabel.errors import InputError, first_few, shown
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import CLIPS, SCORES, VOCABULARY
from pseudolabel.options import SECONDS, VerbOptions, option, parse_number
from pseudolabel.ownership import refuse_input_as_output
from pseudolabel.progress import note
from pseudolabel.records import Inputs, run_record
from pseudolabel.score_stores import refuse_foreign_store, write_beside
from pseudolabel.scores.answers import listed_lengths, open_answers
from pseudolabel.scores.importing import (
    DEFAULT_CLIP_S,
    ROUNDING,
    Imported,
    Lengths,
    Part,
    check_import,
    import_scores,
    read_lengths,
)
from pseudolabel.scores.store import Scale
from pseudolabel.scores.windows import CLIP, length_s, parse_window, window_name
from pseudolabel.scores.writing import STORED
from pseudolabel.verification import lengths_in


def at_scale(kind: Callable[[str], object]) -> Callable[[str], tuple[Scale | None, object]]:
    """Return a parser of `VALUE` or `2s=VALUE` that gives (scale, value); the scale is None if not named."""

    def parse(text: str) -> tuple[Scale | None, object]:
        scale, equals, value = text.partition("=")
        try:
            named = parse_window(scale) if equals else None
        except InputError:  # a file name that contains =
            named = None
        return named, kind(text if named is None else value)

    return parse


def _seconds(text: str) -> float:
    return parse_number(text, float, SECONDS)


@dataclass(frozen=True, kw_only=True)
class ImportOptions(VerbOptions):
    """Which files hold another model's scores, and for which clips, classes and windows.

    `arrays` holds (scale, path) pairs, or a path alone if its scale is not named.
    """

    arrays: tuple[tuple[Scale | None, Path], ...] = option(
        (),
        "scores: .npy, .npz, .h5, .csv, .parquet; of several scales: clip=whole.npy 2s=windows.npy",
        parse=at_scale(Path),
        metavar="FILE|SCALE=FILE",
        positional=True,
    )
    ids: Path | None = option(
        None, "clip ids in the file's order: one a line, a CSV file, a label list (default: those in the file)"
    )
    classes: str | None = option(
        None,
        "classes in the file's order: one a line, id2label as JSON, a vocabulary, audioset ... (default: in the file)",
    )
    vocabulary: str | None = option(
        None, "vocabulary that maps class names to ids (default: vocabulary.csv beside the file, else audioset)"
    )
    window_s: float | None = option(
        None, "length of the windows of an array (clips, windows, classes) whose scale is not named, seconds", SECONDS
    )
    hop_s: tuple[tuple[Scale | None, float], ...] = option(
        (), "from window to window (default: their length)", parse=at_scale(_seconds), metavar="SECONDS|SCALE=SECONDS"
    )
    lengths: Path | None = option(
        None,
        "CSV file: clip_id and seconds, or n_windows_2s for windows of 2 s (default: lengths of --clips, of the work "
        "folder of the scores, of AudioSet's segment list as --ids)",
    )
    clips: Path | None = option(None, "clip store of these clips (default: clips.h5 beside the file)")
    clip_s: float | None = option(
        None,
        f"length of clips for which no other source gives one (default: {DEFAULT_CLIP_S:g} s); no window begins at a "
        "clip's end or later",
        SECONDS,
    )
    dataset: tuple[tuple[Scale | None, str], ...] = option(
        (),
        "array of a .npz or HDF5 file, list column of a Parquet file (default: the only one); several: clip=A 2s=B",
        parse=at_scale(str),
        metavar="NAME|SCALE=NAME",
    )
    name: str | None = option(None, "what the store calls the model (default: the file's name)")
    out_of_fold: bool = option(False, "the model was trained on none of these clips")
    store: str | None = option(
        None, "type of all stored scores (default: float32 of whole clips, float16 of windows)", choices=STORED
    )
    out: Path | None = option(None, "score store (default: WORK/scores.h5)")

    def __post_init__(self) -> None:
        if not isinstance(self.arrays, list | tuple):
            message = f"must be a tuple of paths or (scale, path) pairs, not {shown(self.arrays)}"
            raise InputError(message, "ImportOptions.arrays", f"Give ({self.arrays!r},).")
        pairs = ((None, Path(each)) if isinstance(each, str | Path) else each for each in self.arrays)
        object.__setattr__(self, "arrays", tuple(pairs))
        super().__post_init__()
        if not self.arrays:
            raise InputError("nothing to import", "", "Name a file of scores.")

    @property
    def files(self) -> list[Path]:
        """The score files, each once."""
        return list(dict.fromkeys(path for _, path in self.arrays))

    @property
    def output(self) -> Path:
        """The store to write."""
        return self.out or self.work / SCORES


def import_answers(options: ImportOptions) -> None:
    """Make a score store from another model's scores."""
    out = options.output
    with only_run(out):
        refuse_foreign_store(out, options.overwrite)
        _import(options, out)


def _import(options: ImportOptions, out: Path) -> None:
    files, inputs, source = options.files, Inputs(), _vocabulary(options)
    if source == "audioset" and not options.vocabulary and (options.work / VOCABULARY).exists():
        note(f"vocabulary: audioset; {options.work / VOCABULARY} does not belong to {files[0]} (--vocabulary)")
    for path in (*files, options.ids, options.classes, options.lengths, source):
        inputs.read(path)
    refuse_input_as_output(out, inputs.sha256)
    vocabulary = Vocabulary.load(source)
    parts, lengths = open_import(options, vocabulary, inputs.read)
    record = run_record("score", asdict(options), inputs)
    attributes = {
        "vocabulary": vocabulary.name,
        "model": options.name or "; ".join(dict.fromkeys(path.stem for path in files)),
        "imported_sha256": "; ".join(record["inputs"][str(path)] for path in files),
        **({"out_of_fold": True} if options.out_of_fold else {}),
    }

    def beside(crc32: int, imported: Imported) -> None:
        write_beside(out, {**record, "clipped_scores": imported.clipped, "tables_crc32": crc32})

    imported = import_scores(parts, out, attributes, options.overwrite, lengths, beside, options.store)
    hops = [f" every {part.every_s:g} s" if part.every_s != (part.window_s or 0) else "" for part in parts]
    scales = ", ".join(part.scale + hop for part, hop in zip(parts, hops, strict=True))
    held = f"{len(parts[0].answers.clip_ids)} clips x {len(parts[0].answers.class_ids)} classes at {scales}"
    unknown = [f"{remark} (--vocabulary names another)" for remark in unknown_classes(parts, vocabulary)]
    print("; ".join([f"wrote {out}: {held}", *unknown, *_remarks(imported)]))


def plan_import(options: ImportOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about the store."""
    out, arrays = options.output, named_arrays(options)
    files = list(dict.fromkeys(path for _, path, _ in arrays))
    inputs = [*files, options.ids, options.clips, options.lengths]
    dry_run.refuse_output(out, options.overwrite, lambda: refuse_foreign_store(out, options.overwrite))
    refuse_input_as_output(out, inputs)
    if not dry_run.of_recipe():
        check_import(*open_import(options, Vocabulary.load(_vocabulary(options))))
    dry_run.refuse_absent(*inputs)
    dry_run.promise(out, scales=[scale or options.window_s or CLIP for scale, *_ in arrays])
    return f"would write {out}: the answers in {first_few(files)}"


def _vocabulary(options: ImportOptions) -> str | Path:
    return cli.vocabulary_source(options, *options.files, options.ids)


def open_import(
    options: ImportOptions, vocabulary: Vocabulary, read: Callable[[Path], Path] = Path
) -> tuple[list[Part], Lengths | None]:
    """Return the scores at each scale and the lengths of the clips (`gather_lengths`), before any score is read."""
    parts = open_parts(options, vocabulary)
    unknown = unknown_classes(parts, vocabulary)
    if unknown and options.strict:
        raise InputError(unknown[0], options.classes or options.files[0], "Give the --vocabulary of these classes.")
    return parts, gather_lengths(options, parts, read)


def unknown_classes(parts: Sequence[Part], vocabulary: Vocabulary) -> list[str]:
    """Return a remark on classes outside the vocabulary, if there are any."""
    unknown = [class_id for class_id in parts[0].answers.class_ids if class_id not in vocabulary.index]
    remark = f"{len(unknown)} classes are not in the vocabulary {vocabulary.title}: {first_few(unknown)}"
    return [remark] if unknown else []


def _remarks(imported: Imported) -> list[str]:
    """Return what the user should know about an import."""
    remarks = []
    for scale, real in imported.real.items():
        fewest, most = int(real.counts.min()), int(real.counts.max())
        if fewest < most:
            remarks.append(f"clips have {fewest} to {most} windows of {scale}")
        if silent := imported.silent.get(scale):
            ends = f"{silent} clips end in windows of {scale} without a score above 0"
            remarks.append(f"{ends}, which lie in the clip and count")
    if imported.clipped:
        scores = "1 score" if imported.clipped == 1 else f"{imported.clipped} scores"
        remarks.append(f"{scores} up to {ROUNDING:g} outside [0, 1] taken as 0 or 1")
    return remarks


# ---- which file has which scale ---------------------------------------------------------------------------------


def open_parts(options: ImportOptions, vocabulary: Vocabulary) -> list[Part]:
    """Open the scores at each scale that the options name.

    Raises:
        InputError: a scale is missing, named twice or useless; a file is refused (`open_answers`).
    """
    hops_s = by_scale(options.hop_s, "--hop-s")
    parts: list[Part] = []
    for scale, path, dataset in named_arrays(options):
        like = parts[0].answers if parts else None
        window_s = options.window_s if scale is None else length_s(scale)
        answers = open_answers(path, options.ids, options.classes, vocabulary, dataset, like, window_s is not None)
        if like and (answers.clip_ids, answers.class_ids) != (like.clip_ids, like.class_ids):
            message = f"its clips or classes differ from those of {like.path}, or have another order"
            raise InputError(message, path, "Import it alone, then merge.")
        if scale is not None and (len(answers.shape) == 2) != (scale == CLIP):
            remedy = "Name it by clip=." if len(answers.shape) == 2 else "Name it by the length of its windows: 2s=."
            message = f"{path.name} has the shape {list(answers.shape)}"
            raise InputError(message, f"{window_name(scale)}={path}", remedy)
        hop_s = None if window_s is None else hops_s.get(window_name(window_s), hops_s.get(None))
        parts.append(Part(answers, window_s, hop_s))
    windows = {part.scale for part in parts if part.window_s is not None}
    if hops_s and not windows:
        raise InputError("needs the length of the windows", "--hop-s", "Give --window-s too.")
    unused = [scale for scale in hops_s if scale and scale not in windows]
    if unused:
        raise InputError(f"no windows of {unused[0]} are imported", "--hop-s", "Omit it.")
    return parts


def named_arrays(options: ImportOptions) -> list[tuple[Scale | None, Path, str | None]]:
    """Return scale (None: not named), file, and array name of each array to import."""
    datasets, files = by_scale(options.dataset, "--dataset"), options.arrays
    if len(files) == 1 and files[0][0] is None and any(datasets):
        arrays = [(scale, files[0][1], name) for scale, name in options.dataset]
    else:
        of_all = datasets.pop(None, None)
        arrays = [(scale, path, datasets.pop(scale and window_name(scale), of_all)) for scale, path in files]
        if datasets:
            raise InputError(f"no file of {next(iter(datasets))} is named", "--dataset", "Omit it.")
    scales = [scale for scale, *_ in arrays]
    if len(arrays) > 1 and None in scales:
        message = f"{len(arrays)} arrays, and not all have their scale"
        raise InputError(message, "", "Name it: clip=whole.npy 2s=windows.npy.")
    by_scale([(scale, path) for scale, path, _ in arrays], "")
    if options.window_s and scales != [None]:
        raise InputError("the scales are named already", "--window-s", "Omit it.")
    return arrays


def by_scale(given: Sequence[tuple[Scale | None, object]], option: str) -> dict[str | None, object]:
    """Return {scale name (None: not named): value} for an option; InputError if a scale occurs twice."""
    values: dict[str | None, object] = {}
    for scale, value in given:
        name = None if scale is None else window_name(scale)
        if name in values:
            raise InputError(f"{name or 'a value without a scale'} is given twice", option, "Keep one.")
        values[name] = value
    return values


# ---- lengths of clips -------------------------------------------------------------------------------------------


def gather_lengths(options: ImportOptions, parts: Sequence[Part], read: Callable[[Path], Path]) -> Lengths | None:
    """Return the lengths of the clips, and print where they come from; None if there are no windows.

    They come from --lengths; or a clip store, given or in the work folder of the scores; or the times in the list of
    clip ids; or --clip-s. A clip that has none of these keeps an unknown length. Files may count windows.

    Args:
        read: called with the path of a clip store before it is opened (`Inputs.read`); returns the path.
    """
    clip_ids, scales = parts[0].answers.clip_ids, [part.scale for part in parts if part.window_s is not None]
    if not scales:
        for flag, given in (("--lengths", options.lengths), ("--clips", options.clips), ("--clip-s", options.clip_s)):
            if given is not None:
                raise InputError("answers of whole clips have no windows to count", flag, "Omit it.")
        return None
    seconds: dict[str, float] = {}
    sources, listed = [], Lengths()
    if options.ids and (times := listed_lengths(options.ids)):
        seconds, sources = times, [options.ids]
    path = cli.default_file(options, options.clips, CLIPS, options.files[0], options.ids)
    if path is not None and (stored := lengths_in(ClipStore.open(read(path)), clip_ids)):
        seconds, sources = seconds | stored, [*sources, path]
    if options.lengths:
        listed = read_lengths(options.lengths, clip_ids, scales)
        seconds, sources = seconds | dict(listed.seconds), [*sources, options.lengths]
    if sources:
        note(f"windows are compared with the clip lengths of {first_few(sources)}")
    own = {part.scale: dict(zip(clip_ids, part.answers.n_windows, strict=False)) for part in parts if part.window_s}
    given = {scale: {**own[scale], **listed.counted.get(scale, {})} for scale in scales}
    counted = given.values()
    unknown = [id_ for id_ in clip_ids if id_ not in seconds and not all(id_ in of_scale for of_scale in counted)]
    if unknown and options.clip_s:
        seconds |= dict.fromkeys(unknown, options.clip_s)
    elif unknown:
        missing = f"the lengths of {len(unknown)} clips are not known (--lengths, --clips, --clip-s)"
        note(f"{missing}: taken as {DEFAULT_CLIP_S:g} s")
    return Lengths(seconds, given, listed.path)


IMPORT = Command(ImportOptions, import_answers, plan_import)
