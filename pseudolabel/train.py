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
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel import cli
from pseudolabel.artefacts import run_record, sha256, write_csv, write_json
from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import ClipMismatch, InputError, OutputExists, first_few
from pseudolabel.labels.aliases import same_clips
from pseudolabel.labels.folds import fold_numbers
from pseudolabel.labels.sampling import DEFAULT_BETA
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.reports.learning_curve import CURVE, learning_curve
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import window_name, window_samples
from pseudolabel.train_options import build_parser, check_together, needs_validation, train_options
from pseudolabel.training.distributed import Ranks
from pseudolabel.training.out_of_fold import SEEN_CLIPS

RUN_MARKS = ("run.json", "checkpoints")  # a folder with one of them is a run, finished or not
LAST = 5  # evaluations whose mean is reported: PSLA's figures of single models


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


def loss_mask(args: argparse.Namespace, vocabulary: Vocabulary, chosen: TrainingList) -> sparse.csr_array | None:
    """Return where the loss looks away, (n, K) bool in the order of the training list; clips not in --mask: nowhere."""
    if args.mask is None:
        return None
    table, clip_ids = cli.read_labels(args, args.mask, vocabulary, own=True), chosen.labels.clip_ids
    there = [(row, table.row_of[clip_id]) for row, clip_id in enumerate(clip_ids) if clip_id in table.row_of]
    if not there:
        raise ClipMismatch(f"none of the {len(clip_ids)} training clips stands in it: {first_few(table.clip_ids)}",
                           args.mask, "Give the mask.csv that belongs to --labels.")  # fmt: skip
    rows, found = np.array(there).T
    taken = sparse.csr_array((np.ones(len(rows), bool), (rows, found)), shape=(len(clip_ids), len(table)))
    return sparse.csr_array(taken @ table.matrix)


def training_examples(args: argparse.Namespace, vocabulary: Vocabulary, chosen: TrainingList, clips: ClipStore, scores):
    """Return the pieces to train on: windows with soft targets, or whole clips with labels."""
    from pseudolabel.training.dataset import clip_examples, window_examples

    labels = chosen.labels
    whole = round(args.clip_seconds * clips.sample_rate)
    drawn = {
        "sampling": args.sampling, "beta": DEFAULT_BETA if args.beta is None else args.beta,
        "mask": loss_mask(args, vocabulary, chosen),
    }  # fmt: skip
    if scores is None:
        return clip_examples(clips, chosen.rows, labels.matrix, whole, **drawn)
    columns = scores.columns(labels.vocabulary.class_ids)
    if (columns < 0).any():
        absent = [labels.vocabulary.class_ids[k] for k in np.flatnonzero(columns < 0)]
        raise InputError(f"no scores of {len(absent)} classes: {first_few(absent)}", scores.path,
                         f"Score with a model of the vocabulary {labels.vocabulary.name!r}.")  # fmt: skip
    length = window_samples(args.window, clips.sample_rate) or whole
    return window_examples(
        clips, chosen.rows, scores, scores.rows(labels.clip_ids), columns, args.window, length,
        labels.matrix, args.alpha, **drawn,
    )  # fmt: skip


def validation_path(args: argparse.Namespace) -> Path | None:
    """Return the held-out list: the one that is named, or the one in WORK, unless there shall be none."""
    return None if args.no_validation else args.validation or cli.existing(args.work / "validation.csv")


def refuse_shared(shared: dict[str, str], path: Path, rule: str = "are also trained on") -> None:
    """Raise InputError where {held-out clip: the same clip elsewhere} has any."""
    if shared:
        named = sorted(clip_id if clip_id == other else f"{clip_id} is {other}" for clip_id, other in shared.items())
        remedy = (
            "Hold them out."
            if "trained" in rule
            else "Hold clips of the training list out instead (`balance --hold-out`), or give --validate-on-evaluation."
        )
        raise InputError(f"{len(shared)} clips {rule}: {first_few(named)}", path, remedy)


def validation_set(args: argparse.Namespace, vocabulary: Vocabulary, clips: ClipStore, chosen: TrainingList):
    """Return the held-out clips with their labels, or None; a clip that is trained on must not be among them.

    That holds for a clip with another id too: one whose name says that it is or may be the same (aliases.py), one
    with the same audio, and, where folds are left out, one of the same group. Held-out clips without audio are added
    to the `missing` of `chosen`.
    """
    from pseudolabel.training.validation import Validation

    path = validation_path(args)
    if path is None:
        return None
    labels = cli.read_labels(args, path, vocabulary, own=args.validation is None)
    refuse_shared(same_clips(labels.clip_ids, chosen.labels.clip_ids), path)
    refuse_evaluation(args, vocabulary, labels, path)
    matched = cli.find_in_store(labels.clip_ids, clips, path, args.strict)
    rows = clips.rows(matched.found)
    trained_as = dict(zip(chosen.rows.tolist(), chosen.labels.clip_ids, strict=True))
    held_as = list(zip(matched.found, rows.tolist(), strict=True))
    refuse_shared({clip_id: trained_as[row] for clip_id, row in held_as if row in trained_as}, path)
    if args.fold:
        groups = {clips.groups[row]: clip_id for row, clip_id in trained_as.items()}
        shared = {clip_id: groups[clips.groups[row]] for clip_id, row in held_as if clips.groups[row] in groups}
        refuse_shared(shared, path, "are of a group that is also trained on")
    chosen.missing.extend((clip_id, "no audio; held out") for clip_id in matched.absent)
    chosen.aliases.update(matched.aliases)
    held_out = labels.select(matched.found).matrix.toarray()
    if not held_out.any():
        raise InputError("not one held-out clip has a label", path, "Give --validation LIST, or --no-validation.")
    return Validation(clips, rows, held_out)


def refuse_evaluation(args: argparse.Namespace, vocabulary: Vocabulary, held_out: LabelTable, path: Path) -> None:
    """Raise InputError where weights would be chosen by clips that models are compared on."""
    evaluation = args.eval or cli.existing(args.work / "eval.csv")
    if evaluation is None or args.validate_on_evaluation:
        return
    compared = cli.read_labels(args, evaluation, vocabulary, own=args.eval is None)
    refuse_shared(same_clips(held_out.clip_ids, compared.clip_ids), path, f"are also in {evaluation}")


def new_tagger(args: argparse.Namespace, vocabulary: Vocabulary, sample_rate: int, window_s: float):
    """Return the model to train; its random weights follow from --seed, the others from --pretrained."""
    import torch

    from pseudolabel.models.files import start_from
    from pseudolabel.models.tagger import build_tagger

    torch.manual_seed(args.seed)
    config = {
        "name": args.model, "class_ids": vocabulary.class_ids, "class_names": vocabulary.names,
        "options": dict(args.model_options), "front_end": {"sample_rate": sample_rate, **dict(args.front_end)},
        "window_s": window_s, "fill": args.fill, "min_frames": args.min_frames,
    }  # fmt: skip
    run = Path(args.pretrained) if args.pretrained and Path(args.pretrained).is_dir() else None
    try:
        tagger = build_tagger(config, **({"pretrained": args.pretrained} if args.pretrained and not run else {}))
    except TypeError as error:  # a value of the wrong kind, as in width=wide
        raise InputError(f"the options build no model: {error}", "--model-options, --front-end") from error
    if run:
        started = start_from(tagger, run)
        if Ranks.from_environment().leads:
            print(started)
    return tagger


def run_folder(args: argparse.Namespace) -> Path:
    """Return where the run goes."""
    name = args.row if args.row == "teacher" else f"{args.row}-seed{args.seed}"
    return args.out or args.work / "runs" / (f"{name}-{args.fold.name}" if args.fold else name)


def claim_run_folder(args: argparse.Namespace) -> Path:
    """Return the run folder, empty or with the checkpoints of an unfinished run."""
    folder = run_folder(args)
    if args.overwrite and folder.exists():
        if not folder.is_dir() or (any(folder.iterdir()) and not any((folder / name).exists() for name in RUN_MARKS)):
            raise InputError("not a folder that train wrote, so it is not replaced", folder, "Give another --out.")
        shutil.rmtree(folder)
    if (folder / "run.json").exists():
        raise OutputExists("a finished run lies here", folder, "Give --overwrite to replace it, or another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def train(args: argparse.Namespace) -> None:
    """Make the run folder; under torchrun by several processes."""
    check_together(args)
    ranks = Ranks.from_environment()
    several = ranks.size > 1
    with ranks.joined(
        on_gpu=several and cli.choose_device(ranks.device_name(args.device), args.threads).type == "cuda"
    ):
        train_together(args, ranks)


def train_together(args: argparse.Namespace, ranks: Ranks) -> None:
    """Do what one process of a run does; the leading one writes."""
    vocabulary = Vocabulary.load(cli.vocabulary_source(args))
    clips = ClipStore.open(args.clips or args.work / "clips.h5")
    scores = ScoreStore.open(args.targets) if args.targets else None
    chosen = training_list(args, vocabulary, clips, scores)
    n_listed = len(chosen.rows)
    if args.fold:
        chosen = leave_fold_out(args, chosen, clips)
    device = cli.choose_device(ranks.device_name(args.device), args.threads)
    examples = training_examples(args, vocabulary, chosen, clips, scores)
    validation = validation_set(args, vocabulary, clips, chosen)
    if needs_validation(args) and validation is None:
        raise InputError(f"{needs_validation(args)} needs a validation set", args.work, "Give --validation LIST.")
    tagger = new_tagger(args, vocabulary, clips.sample_rate, examples.length / clips.sample_rate)
    from pseudolabel.training.loop import Trainer
    from pseudolabel.training.losses import inverse_weights

    sources = {"labels": args.labels or args.work / "labels.csv", "list": args.list, "targets": args.targets,
               "mask": args.mask, "validation": validation and validation_path(args)}  # fmt: skip
    inputs = [path for path in sources.values() if path]
    settings = {
        "config": tagger.config, "threads": args.threads, "pretrained": args.pretrained,
        "inputs": {name: sha256(path) for name, path in sources.items() if path},
        "window": window_name(args.window), "alpha": args.alpha, "sampling": args.sampling, "beta": args.beta,
        "class_weights": args.class_weights, "clips": len(chosen.rows), "compile": args.compile,
        "fold": args.fold and f"{args.fold}{' stratified' if args.stratify else ''}",
    }  # fmt: skip
    weights = inverse_weights(chosen.labels.matrix) if args.class_weights == "inverse" else None
    trainer = Trainer(
        tagger, examples, train_options(args), device, run_folder(args), validation, settings, ranks, weights,
        args.keep_checkpoints, args.checkpoint_every, args.compile,
    )  # fmt: skip
    if ranks.leads:
        trainer.on_row = tensorboard(run_folder(args)) if args.tensorboard else None
        folder = claim_run_folder(args)
    ranks.from_leader(np.zeros(1))  # the folder is there
    started = time.monotonic()
    trainer.run()
    if ranks.leads:
        write_run(args, folder, trainer, chosen, inputs, time.monotonic() - started)
    if args.fold and ranks.leads:
        print(f"fold {args.fold}: {n_listed - len(chosen.rows)} of {n_listed} clips were left out")


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


def write_run(args, folder: Path, trainer, chosen: TrainingList, inputs: list[Path], elapsed_s: float) -> None:
    """Write what a finished run leaves; run.json comes last and says that it is finished."""
    from pseudolabel.models import n_parameters, save_model
    from pseudolabel.training.selection import METRICS

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
        f"metric_mean_of_last_{LAST}": round(float(np.mean([row[column] for row in evaluated[-LAST:]])), 6)
        if evaluated
        else None,
        **run_record("train", vars(args), inputs, args.seed),
    }
    write_json(folder / "run.json", record)
    (folder / CURVE).write_bytes(learning_curve(history, chosen_row["step"]).png)
    score = f", validation mAP {record['validation_map']:.3f} (against its given labels)" if evaluated else ""
    print(f"wrote {folder}: {args.model}, {n_all / 1e6:.2f} M parameters, {len(clip_ids)} clips, "
          f"epoch {chosen_row['epoch']} of {history[-1]['epoch']}{score}, {elapsed_s:.0f} s")  # fmt: skip
    if chosen.missing:
        print(f"{len(chosen.missing)} listed clips could not be used: {folder / 'missing.csv'}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    return cli.run_verb(build_parser(__doc__), train, argv)


if __name__ == "__main__":
    raise SystemExit(main())
