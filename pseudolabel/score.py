"""Answer every clip with a model: the whole clip and windows of 10, 5 and 2 s, into one score store.

    python -m pseudolabel.score                                     # WORK/runs/teacher on every clip -> WORK/scores.h5
    python -m pseudolabel.score --run runs/a runs/b --list labels.csv --windows clip 2s --out scores.h5
    python -m pseudolabel.score --folds runs/teacher-fold*          # each clip by models that never saw it or its group
    python -m pseudolabel.score --import predictions.npy --ids clips.txt --classes classes.txt
    python -m pseudolabel.score --import windows.h5 --window-s 2 --ids train.csv --classes audioset --name PANNs
    python -m pseudolabel.score --import predictions.csv            # header clip_id and the classes, a row a clip

Several runs are averaged (mean of probabilities); of --folds, those that were not trained on a clip's group. The work
is done in blocks of clips: killed and run again it makes only the missing ones, and the store has the same bytes as
that of an uninterrupted run. --import takes the answers of any other model instead: probabilities (clips, classes), or
(clips, windows, classes) with --window-s.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from pseudolabel import cli
from pseudolabel.artefacts import refuse_existing, run_record, sha256, write_csv, write_json
from pseudolabel.audio.clips import ClipStore
from pseudolabel.blocks import Blocks
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.progress import Progress
from pseudolabel.scores.imported import import_scores, open_answers
from pseudolabel.scores.store import write_scores
from pseudolabel.scores.windows import CLIP, n_windows, parse_window, window_name, window_samples
from pseudolabel.training.out_of_fold import SEEN_CLIPS, fold_attributes, mean_answers, seen_by, unseen_clips

BLOCK_SIZE = 256  # clips a block
ONLY_MODELS = ("run", "folds", "clips", "list")
ONLY_IMPORT = ("ids", "classes", "dataset", "window_s", "name", "out_of_fold")


def load_taggers(runs: Sequence[Path], sample_rate: int, device) -> list:
    """Return the models of run folders, which must agree on classes and on the store's sample rate."""
    from pseudolabel.models import load_model

    taggers = [load_model(run, device) for run in runs]
    for run, tagger in zip(runs, taggers, strict=True):
        if tagger.config["class_ids"] != taggers[0].config["class_ids"]:
            raise InputError(f"its classes differ from those of {runs[0]}", run, "Score them one by one.")
        if tagger.config["sample_rate"] != sample_rate:
            raise InputError(
                f"the model hears {tagger.config['sample_rate']} Hz, the clips have {sample_rate} Hz", run,
                "Prepare the clips with its --sample-rate.",
            )  # fmt: skip
    return taggers


def score_windows(tagger, clips: ClipStore, rows: np.ndarray, windows: list, batch_size: int, device) -> dict:
    """Return scale name -> scores of some clips; a scale whose windows are the whole clips is not computed twice."""
    from pseudolabel.training.scoring import score_clips

    answers = {}
    lengths = clips.n_samples[rows]
    for window_s in sorted(windows, key=lambda scale: scale != CLIP):
        samples = window_samples(window_s, clips.sample_rate)
        if samples is not None and CLIP in windows and int(n_windows(lengths.max(), samples)) == 1:
            answers[window_name(window_s)] = answers[CLIP][:, None]
            continue
        scores = score_clips(tagger, clips, rows, window_s, batch_size, device)
        answers[window_name(window_s)] = scores[:, 0] if window_s == CLIP else scores
    return answers


def score_block(
    taggers: list, unseen: np.ndarray, clips: ClipStore, rows: np.ndarray, windows: list, batch_size: int, device
) -> dict:
    """Return scale name -> mean scores of some clips, float16; unseen (n, R): which tagger answers which clip."""
    means = mean_answers(
        unseen, lambda model, at: score_windows(taggers[model], clips, rows[at], windows, batch_size, device)
    )
    return {name: scores.astype(np.float16) for name, scores in means.items()}


def score_all(
    blocks: Blocks, taggers: list, unseen: np.ndarray, clips: ClipStore, rows: np.ndarray, windows: list, args, device
) -> None:
    """Make every unfinished block."""
    unfinished = blocks.unfinished()
    n_done = len(rows) - sum(len(blocks.span(block)) for block in unfinished)
    with Progress("score", len(rows), start=n_done) as progress:
        for block in unfinished:
            span = blocks.span(block)
            part = slice(span.start, span.stop)
            answers = score_block(taggers, unseen[part], clips, rows[part], windows, args.batch_size, device)

            def fill(file: h5py.File, answers: dict = answers) -> None:
                for name, scores in answers.items():
                    file[name] = scores

            blocks.write(block, fill)
            progress.advance(len(span))


def layout(windows: list, lengths: np.ndarray, n_classes: int, sample_rate: int) -> tuple[dict, dict]:
    """Return scale name -> shape of its scores, and scale name -> windows of each clip where clips differ."""
    shapes, counts = {}, {}
    for window_s in windows:
        name = window_name(window_s)
        if window_s == CLIP:
            shapes[name] = (len(lengths), n_classes)
            continue
        per_clip = n_windows(lengths, window_samples(window_s, sample_rate))
        shapes[name] = (len(lengths), int(per_clip.max()), n_classes)
        if (per_clip != per_clip.max()).any():
            counts[name] = per_clip
    return shapes, counts


def merge(blocks: Blocks, shapes: dict[str, tuple[int, ...]]) -> Iterator[dict[str, np.ndarray]]:
    """Yield the blocks in clip order, each widened with zeros to the longest clip's number of windows."""
    for block in range(len(blocks)):
        with h5py.File(blocks.path(block), "r") as file:
            answers = {name: file[name][:] for name in shapes}
        for name, scores in answers.items():
            if scores.ndim == 3 and scores.shape[1] < shapes[name][1]:
                widen = shapes[name][1] - scores.shape[1]
                answers[name] = np.pad(scores, ((0, 0), (0, widen), (0, 0)))
        yield answers


def describe_models(runs: Sequence[Path], taggers: list, clips: ClipStore, rows: np.ndarray) -> dict[str, object]:
    """Return the store's attributes about its models: names, checksums of weights, what they were trained on.

    `out_of_fold` is true where each run says which clips it was trained on and none of the scored ones, nor one of
    their groups, is among them.
    """
    trained_on = [run / SEEN_CLIPS for run in runs]
    seen = [seen_by(run, clips) for run in runs]
    weights = [sha256(run / "model.safetensors") for run in runs]
    return {
        "model": "; ".join(
            f"{tagger.config['name']} {digest}" for tagger, digest in zip(taggers, weights, strict=True)
        ),
        "trained_on_sha256": "; ".join(sha256(path) if path.is_file() else "unknown" for path in trained_on),
        "out_of_fold": all(of_run is not None and not of_run[rows].any() for of_run in seen),
        "front_end": json.dumps([tagger.config["front_end"] for tagger in taggers]),
    }


def selected_clips(args: argparse.Namespace, clips: ClipStore) -> tuple[Sequence[str], Sequence[str]]:
    """Return the ids to score, as the list has them and in its order, and those of the list that have no audio."""
    if args.list is None:
        return clips.clip_ids, ()
    matched = cli.find_in_store(
        cli.read_clip_ids(args.list, cli.vocabulary_source(args)), clips, args.list, args.strict
    )
    return matched.found, matched.absent


def import_answers(args: argparse.Namespace) -> None:
    """Make the score store of another model's answers."""
    out = refuse_existing(args.out or args.work / "scores.h5", args.overwrite)
    source = cli.vocabulary_source(args)
    vocabulary = Vocabulary.load(source)
    answers = open_answers(args.imported, args.ids, args.classes, vocabulary, args.dataset)
    unknown = [class_id for class_id in answers.class_ids if class_id not in vocabulary.index]
    note = f"{len(unknown)} classes are not in the vocabulary {vocabulary.name!r}: {first_few(unknown)}"
    if unknown and args.strict:
        raise InputError(note, args.classes or args.imported, "Give the --vocabulary of these classes.")
    record = run_record("score", vars(args), [args.imported, *filter(None, (args.ids, args.classes)), source])
    attributes = {
        "vocabulary": vocabulary.name,
        "model": args.name or args.imported.stem,
        "imported_sha256": record["inputs"][str(args.imported)],
        "out_of_fold": args.out_of_fold,
    }
    scale = import_scores(answers, out, args.window_s, attributes, args.overwrite)
    write_json(out.with_name(f"{out.stem}.run.json"), record)
    n_clips, n_classes = answers.shape[0], answers.shape[-1]
    print(f"wrote {out}: {n_clips} clips x {n_classes} classes at {scale}{f'; {note}' if unknown else ''}")


def make_store(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, then import answers or score clips."""
    if args.run and args.folds:
        raise InputError("--run and --folds both name the models", "--folds", "Leave one away.")
    alien = [name for name in (ONLY_MODELS if args.imported else ONLY_IMPORT) if getattr(args, name)]
    if alien:
        message = "--import runs no model" if args.imported else "goes with --import alone"
        raise InputError(message, f"--{alien[0].replace('_', '-')}", "Leave it away.")
    import_answers(args) if args.imported else score(args)


def score(args: argparse.Namespace) -> None:
    """Make the score store of the models' answers."""
    out = refuse_existing(args.out or args.work / "scores.h5", args.overwrite)
    clips = ClipStore.open(args.clips or args.work / "clips.h5")
    runs = args.folds or args.run or [args.work / "runs" / "teacher"]
    device = cli.choose_device(args.device, args.threads)
    clip_ids, missing = selected_clips(args, clips)
    rows = clips.rows(clip_ids)
    taggers = load_taggers(runs, clips.sample_rate, device)
    attributes = describe_models(runs, taggers, clips, rows)
    unseen = unseen_clips(runs, clips, rows) if args.folds else np.ones((len(rows), len(runs)), bool)
    attributes |= fold_attributes(unseen) if args.folds else {}
    class_ids, windows = taggers[0].config["class_ids"], list(dict.fromkeys(args.windows))
    names, audio = [window_name(window) for window in windows], clips.path.stat()
    settings = {
        **attributes, "windows": names, "batch_size": args.batch_size, "threads": args.threads, "device": device.type,
        "clips": hashlib.sha256("\n".join(clip_ids).encode()).hexdigest(),
        "clip_store": [audio.st_size, audio.st_mtime_ns],
    }  # fmt: skip
    blocks = Blocks(out, len(rows), BLOCK_SIZE, settings, restart=args.overwrite)
    score_all(blocks, taggers, unseen, clips, rows, windows, args, device)

    lengths = clips.n_samples[rows]
    shapes, counts = layout(windows, lengths, len(class_ids), clips.sample_rate)
    attributes |= {
        "vocabulary": Path(cli.vocabulary_source(args)).name,
        "threads": args.threads,
        "batch_size": args.batch_size,
    }
    inputs = [run / "model.safetensors" for run in runs]
    record = {**run_record("score", vars(args), inputs), "clips_under_another_id": len(clips.aliases)}
    write_json(out.with_name(f"{out.stem}.run.json"), record)
    write_csv(out.with_name(f"{out.stem}.missing.csv"), ("clip_id", "reason"), [(i, "no audio") for i in missing])
    write_scores(out, clip_ids, class_ids, shapes, counts, merge(blocks, shapes), attributes, args.overwrite)
    blocks.remove()  # the store comes last: where it is, all of it is
    shortest = min((w for w in windows if w != CLIP), default=0)
    n_short = int((lengths < shortest * clips.sample_rate).sum())
    note = f"; {n_short} clips are shorter than {shortest:g} s and were scored as they are" if n_short else ""
    print(f"wrote {out}: {len(rows)} clips x {len(class_ids)} classes at {', '.join(names)}; "
          f"{len(missing)} listed clips have no audio{note}")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    parser = cli.verb_parser("score", __doc__)
    parser.add_argument("--run", type=Path, nargs="+", help="run folders, averaged (default: WORK/runs/teacher)")
    parser.add_argument("--folds", type=Path, nargs="+", metavar="RUN", help="run folders of a cross-validated teacher "
                        "(train --fold): each clip is scored by those that saw neither it nor its group")  # fmt: skip
    parser.add_argument("--clips", type=Path, help="clip store (default: WORK/clips.h5)")
    parser.add_argument("--list", type=Path, help="label list: only its clips, in its order (default: every clip)")
    parser.add_argument("--windows", type=parse_window, nargs="+", default=[CLIP, 10, 5, 2],
                        help="scales: clip, 10s, 5s, 2s, any length (default: clip 10s 5s 2s)")  # fmt: skip
    parser.add_argument("--vocabulary", help="to read --list with, or names of classes (default: "
                        "WORK/vocabulary.csv, else audioset)")  # fmt: skip
    parser.add_argument("--batch-size", type=cli.positive_int, default=32, help="whole clips a batch (default: 32)")
    parser.add_argument("--out", type=Path, help="score store (default: WORK/scores.h5)")
    cli.add_device_options(parser)
    given = parser.add_argument_group("answers of another model")
    given.add_argument("--import", dest="imported", type=Path, metavar="FILE", help="scores: .npy, .h5, .csv")
    given.add_argument("--ids", type=Path, help="clip ids in the file's order: one a line, a CSV file, a label list")
    given.add_argument("--classes", help="classes in the file's order: one a line, a vocabulary file, audioset ...")
    given.add_argument("--window-s", type=int, choices=(10, 5, 2), help="length of the windows of three axes")
    given.add_argument("--dataset", help="data set of an HDF5 file (default: the only one of two or three axes)")
    given.add_argument("--name", help="what the store calls the model (default: the file's name)")
    given.add_argument("--out-of-fold", action="store_true", help="the model was trained on none of these clips")
    return cli.run_verb(parser, make_store, argv)


if __name__ == "__main__":
    raise SystemExit(main())
