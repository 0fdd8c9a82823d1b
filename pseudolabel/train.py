"""Train a model on weak labels, on enhanced labels, or on the soft targets of windows: teachers and students alike.

    python -m pseudolabel.train --row teacher --labels work/labels.csv
    python -m pseudolabel.train --row teacher --fold 1/5                   # leaves the first of five folds out
    python -m pseudolabel.train --row psl_2s --targets work/scores.h5 --window 2s --list work/balanced.csv

    torchrun --nproc-per-node=2 -m pseudolabel.train --row teacher         # several processes, GPUs or machines

One line an evaluation stands in RUN/history.csv. Killed and run again with the same command, training goes on after the
last checkpoint: the end of an epoch, or with --checkpoint-every a step within. The run folder holds model.safetensors
and config.json (enough to use the model), train_clips.csv (which clips it saw), history.csv, learning_curve.png,
run.json, checkpoints/. A validation list that shares clips with the evaluation list is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pseudolabel import cli
from pseudolabel.artefacts import whole_file, write_csv
from pseudolabel.audio.clips import ClipStore
from pseudolabel.blocks import only_run
from pseudolabel.errors import InputError
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.ownership import refuse_input_as_output
from pseudolabel.records import run_record
from pseudolabel.reports.figures import CURVE, learning_curve
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import window_name
from pseudolabel.train_material import (
    Sources,
    TrainingList,
    find_sources,
    leave_fold_out,
    training_examples,
    training_list,
    validation_set,
)
from pseudolabel.train_options import (
    build_parser,
    check_together,
    front_end_of,
    options_of_a_model,
    refuse_without_validation,
    train_options,
)
from pseudolabel.train_plan import plan_training
from pseudolabel.training.distributed import Ranks
from pseudolabel.training.out_of_fold import SEEN_CLIPS
from pseudolabel.training.run_folder import claim, refuse_finished, write_record


def new_tagger(args: argparse.Namespace, sources: Sources, vocabulary: Vocabulary, sample_rate: int, window_s: float):
    """Return the model to train; its random weights follow from --seed, the others from --pretrained."""
    import torch

    from pseudolabel.models.files import start_from
    from pseudolabel.models.tagger import build_tagger

    torch.manual_seed(args.seed)
    for role in sources.paths:
        if role.startswith("pretrained"):
            sources.read(role)
    run = Path(args.pretrained) if args.pretrained and Path(args.pretrained).is_dir() else None
    with options_of_a_model():
        front_end, line = front_end_of(args, sample_rate)
        config = {
            "name": args.model, "class_ids": vocabulary.class_ids, "class_names": vocabulary.names,
            "options": dict(args.model_options), "front_end": front_end,
            "window_s": window_s, "fill": args.fill, "min_frames": args.min_frames,
            "precision": "float32" if args.precision == "float32" else None,
        }  # fmt: skip
        tagger = build_tagger(config, **({"pretrained": args.pretrained} if args.pretrained and not run else {}))
    started = start_from(tagger, run) if run else args.pretrained and f"starts from {args.pretrained}"
    if Ranks.from_environment().leads:
        for said in filter(None, (line, started)):
            print(said)
    return tagger


def run_folder(args: argparse.Namespace) -> Path:
    """Return where the run goes."""
    name = args.row if args.row == "teacher" else f"{args.row}-seed{args.seed}"
    run = f"{name}-{args.fold.name}" if args.fold else name
    return cli.default_output(args, f"runs/{run}", args.labels, args.clips, args.targets, args.list, args.mask)


def train(args: argparse.Namespace) -> None:
    """Make the run folder; under torchrun by several processes."""
    check_together(args)
    folder, sources = run_folder(args), find_sources(args)
    refuse_input_as_output(folder, sources.paths.values())
    if not args.overwrite:
        refuse_finished(folder)
    ranks = Ranks.from_environment()
    several = ranks.size > 1
    with ranks.joined(
        on_gpu=several and cli.choose_device(ranks.device_name(args.device), args.threads).type == "cuda"
    ):
        train_together(args, sources, folder, ranks)


def plan(args: argparse.Namespace) -> str:
    """Return what a dry run says of the run folder, after checking what can be known."""
    check_together(args)
    folder, sources = run_folder(args), find_sources(args)
    refuse_input_as_output(folder, sources.paths.values())
    return plan_training(args, folder, sources.paths)


def train_together(args: argparse.Namespace, sources: Sources, folder: Path, ranks: Ranks) -> None:
    """Do what one process of a run does; the leading one writes."""
    vocabulary = Vocabulary.load(sources.read("vocabulary"))
    clips = ClipStore.open(sources.read("clips"))
    scores = ScoreStore.open(sources.read("targets")) if args.targets else None
    chosen = training_list(args, sources, vocabulary, clips, scores)
    n_listed = len(chosen.rows)
    if args.fold:
        chosen = leave_fold_out(args, chosen, clips)
    trainer = new_trainer(args, sources, folder, ranks, vocabulary, clips, scores, chosen)
    with only_run(folder) if ranks.leads else contextlib.nullcontext():
        if ranks.leads:
            trainer.on_row = tensorboard(folder) if args.tensorboard else None
            claim(folder, args.overwrite, trainer.settings)
        ranks.from_leader(np.zeros(1))  # the folder is there
        started = time.monotonic()
        trainer.run()
        if ranks.leads:
            write_run(args, folder, trainer, chosen, sources, time.monotonic() - started)
    if args.fold and ranks.leads:
        print(f"fold {args.fold}: {n_listed - len(chosen.rows)} of {n_listed} clips were left out")


def new_trainer(args, sources: Sources, folder: Path, ranks: Ranks, vocabulary, clips, scores, chosen: TrainingList):
    """Return the training loop, with nothing written yet."""
    device = cli.choose_device(ranks.device_name(args.device), args.threads)
    examples = training_examples(args, sources, vocabulary, chosen, clips, scores)
    validation = validation_set(args, sources, vocabulary, clips, chosen)
    refuse_without_validation(args, validation is not None)
    tagger = new_tagger(args, sources, vocabulary, clips.sample_rate, examples.length / clips.sample_rate)
    from pseudolabel.training.loop import Trainer
    from pseudolabel.training.losses import inverse_weights

    settings = {
        "config": tagger.config, "threads": args.threads,
        "pretrained": bool(args.pretrained), "inputs": sources.checksums(),
        "window": window_name(args.window), "crop": args.crop, "alpha": args.alpha, "sampling": args.sampling,
        "beta": args.beta, "class_weights": args.class_weights, "clips": len(chosen.rows), "compile": args.compile,
        "fold": args.fold and f"{args.fold}{' stratified' if args.stratify else ''}",
    }  # fmt: skip
    weights = inverse_weights(chosen.labels.matrix) if args.class_weights == "inverse" else None
    return Trainer(
        tagger, examples, train_options(args), device, folder, validation, settings, ranks, weights,
        args.keep_checkpoints, args.checkpoint_every, args.compile,
    )  # fmt: skip


def tensorboard(folder: Path) -> Callable[[dict], None]:
    """Return what writes a row of the history for TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "TensorBoard is not installed", "--tensorboard", "pip install pseudolabel[tensorboard]"
        ) from error

    def write(row: dict) -> None:
        with SummaryWriter(str(folder / "tensorboard"), purge_step=row["step"]) as writer:
            for name, value in row.items():
                if name not in ("epoch", "step") and value != "":
                    writer.add_scalar(name, float(value), row["step"])

    return write


def write_run(args, folder: Path, trainer, chosen: TrainingList, sources: Sources, elapsed_s: float) -> None:
    """Write what a finished run leaves; run.json comes last and says that it is finished."""
    from pseudolabel.models import n_parameters, save_model
    from pseudolabel.training.selection import LAST, MEAN_OF_LAST, METRICS

    save_model(folder, trainer.evaluated)
    clip_ids = chosen.labels.clip_ids
    write_csv(folder / SEEN_CLIPS, ("clip_id",), [(clip_id,) for clip_id in clip_ids])
    write_csv(folder / "missing.csv", ("clip_id", "reason"), chosen.missing)
    n_all, n_learnable = (n_parameters(trainer.evaluated.network, learnable) for learnable in (False, True))
    history, column = trainer.history, METRICS[args.metric]
    seconds = sum(row["seconds"] for row in history)
    evaluated = [row for row in history if row[column] != ""]
    chosen_row = evaluated[trainer.selection.best] if args.select == "best" else history[-1]
    record = {
        "row": f"{args.row}-{args.fold.name}" if args.fold else args.row,  # a table takes no two folds for two seeds
        "seed": args.seed,
        "fold": args.fold and str(args.fold),
        "n_parameters": n_all,
        "n_learnable_parameters": n_learnable,
        "n_train_clips": len(clip_ids),
        "clips_under_another_id": len(chosen.aliases),
        "labels_left_out": chosen.left_out,
        "n_train_pieces": trainer.examples.n_pieces,
        "pieces_an_epoch": len(trainer.examples),
        "processes": trainer.ranks.size,
        "train_seconds": round(seconds, 1),
        "selected_epoch": chosen_row["epoch"],
        "selected_step": chosen_row["step"],
        **{name: chosen_row[name] if evaluated else None for name in METRICS.values()},
        MEAN_OF_LAST: round(float(np.mean([row[column] for row in evaluated[-LAST:]])), 6) if evaluated else None,
        **run_record("train", vars(args), sources.inputs, args.seed),
    }
    with whole_file(folder / CURVE) as temporary:
        temporary.write_bytes(learning_curve(history, chosen_row["step"]).png)
    write_record(folder, record)
    score = f", validation mAP {record['validation_map']:.3f} (against its given labels)" if evaluated else ""
    print(f"wrote {folder}: {args.model}, {n_all / 1e6:.2f} M parameters, {len(clip_ids)} clips, "
          f"epoch {chosen_row['epoch']} of {history[-1]['epoch']}{score}, {elapsed_s:.0f} s")  # fmt: skip
    if chosen.missing:
        print(f"{len(chosen.missing)} listed clips could not be used: {folder / 'missing.csv'}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    return cli.run_verb(build_parser(__doc__), train, argv, plan)


if __name__ == "__main__":
    raise SystemExit(main())
