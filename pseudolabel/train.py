"""Train a model on weak labels, on enhanced labels, or on the soft targets of windows: teachers and students alike.

    python -m pseudolabel.train --row teacher --labels work/labels.csv
    python -m pseudolabel.train --row teacher --fold 1/5                   # leaves the first of five folds out
    python -m pseudolabel.train --row psl_2s --targets work/scores.h5 --window 2s --list work/balanced.csv

One line per epoch stands in RUN/history.csv. Killed and run again with the same command, training goes on after the
last finished epoch. The run folder holds model.safetensors and config.json (enough to use the model), train_clips.csv
(which clips it saw), history.csv, run.json, checkpoints/.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pseudolabel import cli
from pseudolabel.artefacts import run_record, sha256, write_csv, write_json
from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError, OutputExists, first_few
from pseudolabel.labels.aliases import same_clips
from pseudolabel.labels.folds import fold_numbers, parse_fold
from pseudolabel.labels.sampling import balanced_weights
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, parse_window, window_name, window_samples
from pseudolabel.training.out_of_fold import SEEN_CLIPS

RUN_MARKS = ("run.json", "checkpoints")  # a folder with one of them is a run, finished or not
DEFAULT_CLIP_S = 10.0  # AudioSet's clips; longer ones are cut at random, shorter ones padded


@dataclass
class TrainingList:
    """Which clips are trained on, with what labels, and which of the list could not be used.

    `rows` are those of the clip store; `aliases` says which clips have another id there or in the score store.
    """

    labels: LabelTable
    rows: np.ndarray
    missing: list[tuple[str, str]]
    aliases: dict[str, str]
    left_out: dict[str, int]


def training_list(args: argparse.Namespace, vocabulary: Vocabulary, clips: ClipStore, scores) -> TrainingList:
    """Return the labelled clips that --list names and that have audio and, where needed, soft targets."""
    labels_path = args.labels or args.work / "labels.csv"
    labels = cli.read_labels(args, labels_path, vocabulary, own=args.labels is None)
    aliases, listed = {}, labels.clip_ids
    if args.list:
        named = cli.read_clip_ids(args.list, cli.vocabulary_source(args), args.format)
        matched = cli.match_listed(named, labels.row_of, args.list, f"labels in {labels_path}", strict=True)
        listed, aliases = matched.known(), {known: clip_id for clip_id, known in matched.aliases.items()}
    missing = []
    for store in [clips] if scores is None else [clips, scores]:
        matched = cli.find_in_store(listed, store, labels_path, args.strict)
        missing += [(clip_id, f"no {store.HOLDS}") for clip_id in matched.absent]
        listed, aliases = matched.found, aliases | matched.aliases
    return TrainingList(labels.select(listed), clips.rows(listed), missing, aliases, dict(labels.left_out))


def leave_fold_out(args: argparse.Namespace, chosen: TrainingList, clips: ClipStore) -> TrainingList:
    """Return the clips of all folds but --fold; whole groups of the clip store are left out."""
    groups = [clips.groups[row] for row in chosen.rows]
    numbers = fold_numbers(groups, args.fold.of, args.seed, chosen.labels.matrix if args.stratify else None)
    kept = np.flatnonzero(numbers != args.fold.number)
    labels = chosen.labels.select([chosen.labels.clip_ids[row] for row in kept])
    return replace(chosen, labels=labels, rows=chosen.rows[kept])


def training_examples(args: argparse.Namespace, chosen: TrainingList, clips: ClipStore, scores):
    """Return the pieces to train on: windows with soft targets, or whole clips with labels."""
    from pseudolabel.training.dataset import clip_examples, window_examples

    labels = chosen.labels
    whole = round(args.clip_seconds * clips.sample_rate)
    if scores is None:
        weights = balanced_weights(labels.matrix) if args.sampling == "balanced" else None
        if weights is not None and not weights.any():
            raise InputError(
                "not one clip has a label to draw it by", "--sampling balanced", "Give --sampling shuffle."
            )
        return clip_examples(clips, chosen.rows, labels.matrix, whole, weights)
    columns = scores.columns(labels.vocabulary.class_ids)
    if (columns < 0).any():
        absent = [labels.vocabulary.class_ids[k] for k in np.flatnonzero(columns < 0)]
        raise InputError(f"no scores of {len(absent)} classes: {first_few(absent)}", scores.path,
                         f"Score with a model of the vocabulary {labels.vocabulary.name!r}.")  # fmt: skip
    length = window_samples(args.window, clips.sample_rate) or whole
    return window_examples(
        clips, chosen.rows, scores, scores.rows(labels.clip_ids), columns, args.window, length,
        labels.matrix, args.alpha,
    )  # fmt: skip


def validation_path(args: argparse.Namespace) -> Path | None:
    """Return the held-out list: the one that is named, or the one in WORK, unless there shall be none."""
    return None if args.no_validation else args.validation or cli.existing(args.work / "validation.csv")


def refuse_shared(shared: dict[str, str], path: Path) -> None:
    """Raise InputError where {held-out clip: the same clip in training} has any."""
    if shared:
        named = sorted(clip_id if clip_id == other else f"{clip_id} is {other}" for clip_id, other in shared.items())
        raise InputError(f"{len(shared)} clips are also trained on: {first_few(named)}", path, "Hold them out.")


def validation_set(args: argparse.Namespace, vocabulary: Vocabulary, clips: ClipStore, chosen: TrainingList):
    """Return the held-out clips with their labels, or None; a clip that is trained on must not be among them.

    That holds for a clip with another id too: one whose name says that it is or may be the same (aliases.py), and one
    with the same audio. Held-out clips without audio are added to the `missing` of `chosen`.
    """
    from pseudolabel.training.loop import Validation

    path = validation_path(args)
    if path is None:
        return None
    labels = cli.read_labels(args, path, vocabulary, own=args.validation is None)
    refuse_shared(same_clips(labels.clip_ids, chosen.labels.clip_ids), path)
    matched = cli.find_in_store(labels.clip_ids, clips, path, args.strict)
    rows = clips.rows(matched.found)
    trained_as = dict(zip(chosen.rows.tolist(), chosen.labels.clip_ids, strict=True))
    held_as = zip(matched.found, rows.tolist(), strict=True)
    refuse_shared({clip_id: trained_as[row] for clip_id, row in held_as if row in trained_as}, path)
    chosen.missing.extend((clip_id, "no audio; held out") for clip_id in matched.absent)
    chosen.aliases.update(matched.aliases)
    held_out = labels.select(matched.found).matrix.toarray()
    if not held_out.any():
        raise InputError("not one held-out clip has a label", path, "Give --validation LIST, or --no-validation.")
    return Validation(clips, rows, held_out)


def new_tagger(args: argparse.Namespace, vocabulary: Vocabulary, sample_rate: int, window_s: float):
    """Return an untrained model; all its random weights follow from --seed."""
    import torch

    from pseudolabel.models.tagger import build_tagger

    torch.manual_seed(args.seed)
    config = {
        "name": args.model, "class_ids": vocabulary.class_ids, "class_names": vocabulary.names,
        "options": dict(args.model_options), "front_end": {"sample_rate": sample_rate, **dict(args.front_end)},
        "window_s": window_s,
    }  # fmt: skip
    try:
        return build_tagger(config, **({"pretrained": args.pretrained} if args.pretrained else {}))
    except TypeError as error:  # a value of the wrong kind, as in width=wide
        raise InputError(f"the options build no model: {error}", "--model-options, --front-end") from error


def train_options(args: argparse.Namespace):
    """Return the options of the loop."""
    from pseudolabel.audio.augment import AugmentOptions
    from pseudolabel.training.loop import TrainOptions
    from pseudolabel.training.schedule import Schedule

    return TrainOptions(
        epochs=args.epochs, batch_size=args.batch_size, learning_rate=args.learning_rate, betas=tuple(args.betas),
        weight_decay=args.weight_decay, clip_gradient=args.clip_gradient,
        schedule=Schedule(args.schedule, args.warmup_steps),
        augment=AugmentOptions(args.mixup_rate, args.mixup_alpha, args.gain_db, args.time_mask_s, args.mel_mask),
        select=args.select, patience=args.patience, seed=args.seed,
    )  # fmt: skip


def claim_run_folder(args: argparse.Namespace) -> Path:
    """Return the run folder, empty or with the checkpoints of an unfinished run."""
    name = args.row if args.row == "teacher" else f"{args.row}-seed{args.seed}"
    folder = args.out or args.work / "runs" / (f"{name}-{args.fold.name}" if args.fold else name)
    if args.overwrite and folder.exists():
        if not folder.is_dir() or (any(folder.iterdir()) and not any((folder / name).exists() for name in RUN_MARKS)):
            raise InputError("not a folder that train wrote, so it is not replaced", folder, "Give another --out.")
        shutil.rmtree(folder)
    if (folder / "run.json").exists():
        raise OutputExists("a finished run lies here", folder, "Give --overwrite to replace it, or another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def needs_validation(args: argparse.Namespace) -> str:
    """Return the option that needs a validation set, or an empty string."""
    return "--select best" if args.select == "best" else "--patience" if args.patience else ""


def check_together(args: argparse.Namespace) -> None:
    """Raise InputError where an option would have no effect without, or beside, another one."""
    soft_only = "--window " + window_name(args.window) if args.window != CLIP else "--alpha" if args.alpha < 1 else ""
    if soft_only and args.targets is None:
        raise InputError("needs soft targets", soft_only, "Give --targets scores.h5.")
    if args.sampling == "balanced" and args.targets is not None:
        raise InputError("counts hard labels", "--sampling balanced", "Leave out --targets, or shuffle.")
    if args.stratify and args.fold is None:
        raise InputError("divides into folds", "--stratify", "Give --fold 1/5, or leave it out.")
    if max(args.betas) == 1:
        raise InputError("Adam's betas must be below 1", "--betas", "PSLA's are .95 .999.")
    if needs_validation(args) and args.no_validation:
        raise InputError(f"{needs_validation(args)} needs a validation set", "--no-validation", "Leave one out.")


def train(args: argparse.Namespace) -> None:
    """Make the run folder."""
    check_together(args)
    vocabulary = Vocabulary.load(cli.vocabulary_source(args))
    clips = ClipStore.open(args.clips or args.work / "clips.h5")
    scores = ScoreStore.open(args.targets) if args.targets else None
    chosen = training_list(args, vocabulary, clips, scores)
    n_listed = len(chosen.rows)
    if args.fold:
        chosen = leave_fold_out(args, chosen, clips)
    device = cli.choose_device(args.device, args.threads)
    examples = training_examples(args, chosen, clips, scores)
    validation = validation_set(args, vocabulary, clips, chosen)
    if needs_validation(args) and validation is None:
        raise InputError(f"{needs_validation(args)} needs a validation set", args.work, "Give --validation LIST.")
    tagger = new_tagger(args, vocabulary, clips.sample_rate, examples.length / clips.sample_rate)
    folder = claim_run_folder(args)

    from pseudolabel.training.loop import Trainer

    sources = {"labels": args.labels or args.work / "labels.csv", "list": args.list, "targets": args.targets,
               "validation": validation and validation_path(args)}  # fmt: skip
    inputs = [path for path in sources.values() if path]
    settings = {
        "config": tagger.config, "threads": args.threads, "pretrained": args.pretrained,
        "inputs": {name: sha256(path) for name, path in sources.items() if path},
        "window": window_name(args.window), "alpha": args.alpha, "sampling": args.sampling, "clips": len(chosen.rows),
        "fold": args.fold and f"{args.fold}{' stratified' if args.stratify else ''}",
    }  # fmt: skip
    trainer = Trainer(tagger, examples, train_options(args), device, folder, validation, settings)
    trainer.kept_checkpoints = args.keep_checkpoints
    started = time.monotonic()
    trainer.run()
    write_run(args, folder, trainer, chosen, inputs, time.monotonic() - started)
    if args.fold:
        print(f"fold {args.fold}: {n_listed - len(chosen.rows)} of {n_listed} clips were left out")


def write_run(args, folder: Path, trainer, chosen: TrainingList, inputs: list[Path], elapsed_s: float) -> None:
    """Write what a finished run leaves; run.json comes last and says that it is finished."""
    from pseudolabel.models import n_parameters, save_model

    save_model(folder, trainer.tagger)
    clip_ids = chosen.labels.clip_ids
    write_csv(folder / SEEN_CLIPS, ("clip_id",), [(clip_id,) for clip_id in clip_ids])
    write_csv(folder / "missing.csv", ("clip_id", "reason"), chosen.missing)
    n_all, n_learnable = (n_parameters(trainer.tagger.network, learnable) for learnable in (False, True))
    seconds = sum(row["seconds"] for row in trainer.history)
    reached = [row["validation_map"] for row in trainer.history if row["validation_map"] != ""]
    selected = trainer.best[1] if args.select == "best" else trainer.epoch
    record = {
        "row": f"{args.row}-{args.fold.name}" if args.fold else args.row,  # a table takes no two folds for two seeds
        "seed": args.seed,
        "fold": args.fold and str(args.fold),
        "n_parameters": n_all,
        "n_learnable_parameters": n_learnable,
        "n_train_clips": len(clip_ids),
        "clips_under_another_id": len(chosen.aliases),
        "labels_left_out": chosen.left_out,
        "n_train_pieces": len(trainer.examples),
        "train_seconds": round(seconds, 1),
        "selected_epoch": selected,
        "validation_map": reached[selected - 1] if reached else None,
        **run_record("train", vars(args), inputs, args.seed),
    }
    write_json(folder / "run.json", record)
    score = f", validation mAP {record['validation_map']:.3f} (against its given labels)" if reached else ""
    print(f"wrote {folder}: {args.model}, {n_all / 1e6:.2f} M parameters, {len(clip_ids)} clips, "
          f"epoch {selected} of {trainer.epoch}{score}, {elapsed_s:.0f} s")  # fmt: skip
    if chosen.missing:
        print(f"{len(chosen.missing)} listed clips could not be used: {folder / 'missing.csv'}", file=sys.stderr)


def keep_checkpoints(text: str) -> int:
    """Parse `all` (0) or how many checkpoints are kept."""
    return 0 if text == "all" else cli.positive_int(text)


def build_parser() -> argparse.ArgumentParser:
    """Return the verb's options, in the groups of its --help."""
    parser = cli.verb_parser("train", __doc__)
    what = parser.add_argument_group("what it learns from")
    what.add_argument("--row", default="run", help="name of the run in tables: teacher, weak, psl_2s (default: run)")
    what.add_argument("--clips", type=Path, help="clip store (default: WORK/clips.h5)")
    what.add_argument("--labels", type=Path, help="label list (default: WORK/labels.csv)")
    what.add_argument("--list", type=Path, help="label list: only its clips, with the labels of --labels")
    what.add_argument("--targets", type=Path, help="score store with soft targets, in place of labels")
    what.add_argument("--window", type=parse_window, default=CLIP, help="clip, 10s, 5s, 2s: windows of --targets")
    what.add_argument("--alpha", type=cli.probability, default=1.0, help="share of soft targets; the rest: hard labels")
    what.add_argument("--vocabulary", help="audioset, fsd50k, esc50 or CSV (default: WORK/vocabulary.csv, audioset)")
    cli.add_label_options(what)
    what.add_argument("--validation", type=Path, help="held-out label list (default: WORK/validation.csv if there)")
    what.add_argument("--no-validation", action="store_true", help="do not measure anything while training")
    what.add_argument(
        "--clip-seconds", type=cli.positive, default=DEFAULT_CLIP_S, help="length of whole clips (default: 10)"
    )
    what.add_argument(
        "--sampling", choices=("shuffle", "balanced"), default="shuffle", help="balanced: PSLA's sum rule"
    )
    what.add_argument("--fold", type=parse_fold, metavar="I/N",
                      help="leave fold I of N out; --seed decides the folds, groups stay whole")  # fmt: skip
    what.add_argument("--stratify", action="store_true", help="spread the rare classes over the folds, by the labels")
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        default="mobilenetv2",
        help="mobilenetv2, efficientnet_b0, efficientnet_b2, resnet50, ast_tiny, ast_small, ast_base",
    )
    model.add_argument("--model-options", type=cli.key_value, nargs="+", default=[], metavar="NAME=VALUE",
                       help="e.g. width=0.25")  # fmt: skip
    model.add_argument(
        "--front-end", type=cli.key_value, nargs="+", default=[], metavar="NAME=VALUE", help="e.g. hop=320"
    )
    model.add_argument("--pretrained", help="imagenet, or a local file of weights")
    how = parser.add_argument_group("how")
    how.add_argument("--epochs", type=cli.positive_int, default=30)
    how.add_argument("--batch-size", type=cli.positive_int, default=32, help="pieces a step (default: 32)")
    how.add_argument("--learning-rate", type=cli.positive, default=1e-3)
    how.add_argument("--betas", type=cli.probability, nargs=2, default=(0.9, 0.999), help="of Adam (PSLA: .95 .999)")
    how.add_argument("--weight-decay", type=cli.non_negative, default=0.0)
    how.add_argument(
        "--clip-gradient", type=cli.non_negative, default=0.0, help="largest gradient norm; 0: any (default: 0)"
    )
    how.add_argument("--schedule", choices=("constant", "cosine", "step"), default="cosine")
    how.add_argument("--warmup-steps", type=cli.non_negative_int, default=0)
    how.add_argument("--mixup-rate", type=cli.probability, default=0.0, help="share of mixed clips (PSLA: .5)")
    how.add_argument("--mixup-alpha", type=cli.positive, default=10.0)
    how.add_argument("--gain-db", type=cli.non_negative, default=0.0)
    how.add_argument("--time-mask-s", type=cli.non_negative, default=0.0)
    how.add_argument("--mel-mask", type=cli.non_negative_int, default=0)
    how.add_argument("--select", choices=("last", "best"), default="last", help="epoch that is kept (default: last)")
    how.add_argument(
        "--patience", type=cli.non_negative_int, default=0, help="stop after so many epochs without gain; 0: never"
    )
    how.add_argument("--keep-checkpoints", type=keep_checkpoints, default=2, metavar="K", help="the last K, or all; "
                     "`average --checkpoints` takes them (default: 2)")  # fmt: skip
    how.add_argument("--seed", type=cli.non_negative_int, default=0)
    cli.add_device_options(how)
    parser.add_argument("--out", type=Path, help="run folder (default: WORK/runs/teacher, WORK/runs/ROW-seedSEED)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    return cli.run_verb(build_parser(), train, argv)


if __name__ == "__main__":
    raise SystemExit(main())
