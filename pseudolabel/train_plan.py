"""`train --dry-run`: what of a training can be checked before anything is loaded or written."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path

from pseudolabel import dry_run
from pseudolabel.audio.frontend_options import KaldiFbankOptions, LogMelOptions, front_end_options
from pseudolabel.errors import InputError, nearest
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.models import CONFIG, WEIGHTS, check_name, declared_options
from pseudolabel.models.presets import with_preset
from pseudolabel.ownership import RUN, output_exists
from pseudolabel.plan_checks import check_device, check_vocabulary, sample_rate_of
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, window_name
from pseudolabel.train_material import refuse_absent_classes
from pseudolabel.train_options import front_end_of, options_of_a_model, refuse_without_validation
from pseudolabel.training.out_of_fold import SEEN_CLIPS
from pseudolabel.training.run_folder import not_a_run, not_begun

FRONT_END = {field.name for options in (LogMelOptions, KaldiFbankOptions) for field in fields(options)} | {"name"}


def plan_training(args: argparse.Namespace, folder: Path, paths: dict[str, str | Path]) -> str:
    """Return what would be written.

    Args:
        folder: of the run. paths: the files that it reads, by what they are to it.

    Raises:
        InputError: an option, input or output would be refused.
    """
    files = {role: path for role, path in paths.items() if role != "vocabulary" and str(path) != "imagenet"}
    dry_run.refuse_absent(*files.values())
    check_vocabulary(paths["vocabulary"])
    refuse_without_validation(args, "validation" in paths)
    sample_rate = sample_rate_of(Path(paths["clips"]))
    if args.front_end and os.path.exists(paths["clips"]):
        with options_of_a_model():
            front_end, _ = front_end_of(args, sample_rate)
            front_end_options(with_preset(check_name(args.model), front_end))
    _check_model(args)
    if args.targets:
        _check_targets(args, paths["vocabulary"])
    if args.tensorboard:
        dry_run.check_packages("--tensorboard", "tensorboard", "tensorboard")
    check_device(args.device, args.threads)
    _check_folder(folder, args.overwrite)
    dry_run.promise(folder, WEIGHTS, CONFIG, RUN, SEEN_CLIPS, epochs=args.epochs, kept=args.keep_checkpoints)
    learnt = f"{args.targets} ({window_name(args.window)})" if args.targets else paths["labels"]
    return f"would write {folder}: {args.model}, up to {args.epochs} epochs of {args.batch_size} a step, from {learnt}"


def _check_model(args: argparse.Namespace) -> None:
    known = declared_options(args.model)
    for option, names, given in (("--model-options", known, args.model_options),
                                 ("--front-end", FRONT_END, args.front_end)):  # fmt: skip
        for name, _ in given:
            if name not in names:
                close = nearest(name, names)
                remedy = f"Nearest: {close}." if close else f"Known: {', '.join(sorted(names))}."
                raise InputError(f"unknown option {name!r}", option, remedy)
    is_run = args.pretrained and dry_run.there(Path(args.pretrained) / CONFIG)
    if args.pretrained and not is_run and "pretrained" not in known:
        raise InputError(f"{args.model} takes no weights from elsewhere", "--pretrained", "Give a run folder of it.")


def _check_targets(args: argparse.Namespace, vocabulary: str | Path) -> None:
    said = dry_run.promised(args.targets)
    scales, classes = said.get("scales"), said.get("classes")
    if scales is None:
        return ScoreStore.open(args.targets).refuse_without(args.window, "--window")
    if classes and (os.path.exists(vocabulary) or not dry_run.there(vocabulary)):
        refuse_absent_classes(Vocabulary.load(vocabulary), classes, args.targets)
    if args.window not in scales and not (args.window == CLIP and 10.0 in scales):
        names = ", ".join(map(window_name, scales))
        raise InputError(f"will have no scores_{window_name(args.window)}", args.targets, f"Give --window: {names}.")


def _check_folder(folder: Path, overwrite: bool) -> None:
    if not os.path.lexists(folder):
        return
    if (folder / RUN).exists() and not overwrite:
        raise output_exists(folder)
    reason = not_a_run(folder) if overwrite else not_begun(folder)
    if reason:
        raise InputError(f"{reason}, so nothing is written there", folder, "Give another --out.")
