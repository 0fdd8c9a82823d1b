"""What `train` can be told: its options, which of them go together, and what the loop makes of them."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from pseudolabel import cli
from pseudolabel.audio.frontend_options import lengths_in_seconds
from pseudolabel.command import _parser
from pseudolabel.errors import InputError
from pseudolabel.labels.balancing import MAX_RULE, REPEAT, SAMPLINGS, SHUFFLE
from pseudolabel.labels.splits import parse_fold
from pseudolabel.models import PRECISIONS
from pseudolabel.options import Option
from pseudolabel.scores.windows import CLIP, parse_window, window_name

DEFAULT_CLIP_S = 10.0  # AudioSet's clips


def check_together(args: argparse.Namespace) -> None:
    """Raise InputError where an option would have no effect without, or beside, another one."""
    soft_only = "--window " + window_name(args.window) if args.window != CLIP else "--alpha" if args.alpha < 1 else ""
    if soft_only and args.targets is None:
        raise InputError("needs soft targets", soft_only, "Give --targets scores.h5.")
    if args.beta is not None and args.sampling not in (MAX_RULE, REPEAT):
        raise InputError(f"is no part of the sampling {args.sampling!r}", "--beta", "Give --sampling max-rule.")
    if args.stratify and args.fold is None:
        raise InputError("divides into folds", "--stratify", "Give --fold 1/5, or leave it out.")
    if max(args.betas) == 1:
        raise InputError("Adam's betas must be below 1", "--betas", "PSLA's are .95 .999.")
    if args.schedule != "halving" and (args.halve_after, args.halve_every) != (None, None):
        raise InputError(f"--schedule {args.schedule} does not halve", "--halve-after", "Give --schedule halving.")
    if args.warmup_every > 1 and args.warmup_steps < args.warmup_every:
        rule = f"in {args.warmup_steps} steps of warm-up the rate never rises"
        raise InputError(rule, f"--warmup-every {args.warmup_every}", "Give --warmup-steps.")
    if args.ema == 1:
        raise InputError("with a decay of 1 the average never moves", "--ema", "Usual: 0.999.")
    if args.pretrained and Path(args.pretrained).is_dir() and "stem" in dict(args.model_options):
        raise InputError("a run's first layer takes one channel as it is", "--model-options stem", "Leave it out.")
    if needs_validation(args) and args.no_validation:
        raise InputError(f"{needs_validation(args)} needs a validation set", "--no-validation", "Leave one out.")
    if args.select != "best" and args.smooth > 1 and not args.patience:
        raise InputError("nothing is selected", "--smooth", "Give --select best.")


def needs_validation(args: argparse.Namespace) -> str:
    """Return the option that needs a validation set, or an empty string."""
    return "--select best" if args.select == "best" else "--patience" if args.patience else ""


def refuse_without_validation(args: argparse.Namespace, there: bool) -> None:
    """Raise InputError where an option needs a validation set and there is none."""
    if needs_validation(args) and not there:
        raise InputError(f"{needs_validation(args)} needs a validation set", args.work, "Give --validation LIST.")


def train_options(args: argparse.Namespace):
    """Return the options of the loop."""
    from pseudolabel.audio.augment import AugmentOptions
    from pseudolabel.training.loop import TrainOptions
    from pseudolabel.training.schedule import Schedule

    return TrainOptions(
        epochs=args.epochs, batch_size=args.batch_size, learning_rate=args.learning_rate, optimizer=args.optimizer,
        betas=tuple(args.betas), weight_decay=args.weight_decay, clip_gradient=args.clip_gradient,
        schedule=Schedule(args.schedule, args.warmup_steps, args.halve_after, args.halve_every, args.warmup_every),
        augment=AugmentOptions(
            args.mixup_rate, args.mixup_alpha, args.mixup_partner, args.mixup_domain, args.gain_db, args.shift_s,
            args.time_mask_s, args.mel_mask,
        ),
        evaluate_every=args.evaluate_every, select=args.select, metric=args.metric, smooth=args.smooth,
        patience=args.patience, ema=args.ema, precision=None if args.precision == "auto" else args.precision,
        channels_last=args.channels_last, seed=args.seed,
    )  # fmt: skip


def front_end_of(args: argparse.Namespace, sample_rate: int) -> tuple[dict[str, object], str]:
    """Return what --front-end asks for, in seconds at a sample rate, and a line on what was given in samples."""
    given, line = lengths_in_seconds(dict(args.front_end), sample_rate)
    return {"sample_rate": sample_rate, **given}, line


@contextlib.contextmanager
def options_of_a_model() -> Iterator[None]:
    """Turn what a value of the wrong kind or size raises, as in width=wide, into an InputError."""
    try:
        yield
    except (TypeError, RuntimeError, OverflowError) as error:
        raise InputError(f"the options build no model: {error}", "--model-options, --front-end") from error


def keep_checkpoints(text: str) -> int:
    """Parse `all` (0) or how many checkpoints are kept."""
    return 0 if text == "all" else cli.positive_int(text)


def build_parser(description: str) -> argparse.ArgumentParser:
    """Return the verb's options, in the groups of its --help."""
    parser = cli.verb_parser("train", description)
    _add_material(parser.add_argument_group("what it learns from"))
    _add_model(parser.add_argument_group("model"))
    _add_augmentation(parser.add_argument_group("augmentation, in batches on the device"))
    _add_steps(parser.add_argument_group("steps"))
    _add_choice(parser.add_argument_group("validation, and which weights are kept"))
    running = parser.add_argument_group("running")
    add = running.add_argument
    add("--checkpoint-every", type=cli.non_negative_int, default=0, metavar="STEPS",
        help="besides each epoch's end; a killed run goes on from the last checkpoint (default: 0, none)")  # fmt: skip
    add("--keep-checkpoints", type=keep_checkpoints, default=2, metavar="K",
        help="the last K, or all; `average --checkpoints` takes them (default: 2)")  # fmt: skip
    add("--precision", choices=("auto", *PRECISIONS), default="auto", help="auto: bf16 on a GPU; "
        "float32 stands in config.json, so that validation, scoring and evaluation take it too")  # fmt: skip
    add("--channels-last", action="store_true", help="memory order that suits convolutions on some GPUs")
    add("--compile", action="store_true", help="compile the network: slower to start, then faster; needs a compiler")
    add("--tensorboard", action="store_true", help="write RUN/tensorboard too")
    add("--seed", type=cli.non_negative_int, default=0)
    cli.add_device_options(running)
    parser.add_argument("--out", type=Path, help="run folder (default: WORK/runs/teacher, WORK/runs/ROW-seedSEED)")
    return parser


def _add_material(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--row", default="run", help="name of the run in tables: teacher, weak, psl_2s (default: run)")
    add("--clips", type=Path, help="clip store (default: clips.h5 beside what is named, else WORK/clips.h5)")
    add("--labels", type=Path, help="label list (default: labels.csv beside what is named, else WORK/labels.csv)")
    add("--list", type=Path, help="label list: only its clips, with the labels of --labels")
    add("--targets", type=Path, help="score store with soft targets, in place of labels")
    add("--window", type=parse_window, default=CLIP, help="clip, 10s, 5s, 2s: windows of --targets")
    add("--alpha", type=cli.probability, default=1.0, help="share of soft targets; the rest: hard labels")
    add("--mask", type=Path, metavar="LIST", help="label list of what the loss leaves out (mask.csv of `enhance "
        "--soft`)")  # fmt: skip
    add("--class-weights", choices=("none", "inverse"), default="none", help="inverse: a class's positives count in "
        "the loss the more, the rarer it is (default: none)")  # fmt: skip
    add("--vocabulary", help="audioset, fsd50k, esc50 or CSV (default: vocabulary.csv beside --labels, else audioset)")
    cli.add_label_options(group)
    add("--clip-seconds", type=cli.positive, default=DEFAULT_CLIP_S, help="length of whole clips; features of shorter "
        "ones are filled up, here and wherever the model answers a clip (default: 10)")  # fmt: skip
    add("--crop", choices=("random", "start"), default="random", help="which part of a longer clip: drawn anew in each "
        "step, or its start (PSLA; default: random)")  # fmt: skip
    add("--sampling", choices=SAMPLINGS, default=SHUFFLE, help="sum-rule: PSLA's balanced sampling; max-rule, repeat:"
        " Moore et al.'s, by drawing or by repeating; round-robin: class after class (default: shuffle)")  # fmt: skip
    add("--beta", type=cli.non_negative, help="exponent of max-rule and repeat (default: 0.5)")
    add("--fold", type=_parser(parse_fold, Option()), metavar="I/N",
        help="leave fold I of N out; --seed decides the folds, groups stay whole")  # fmt: skip
    add("--stratify", action="store_true", help="spread the rare classes over the folds, by the labels")


def _add_model(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--model", default="mobilenetv2",
        help="mobilenetv2, efficientnet_b0, efficientnet_b2, resnet50, mbnet, ast_tiny, ast_small or ast_base "
        "(default: mobilenetv2)")  # fmt: skip
    add("--model-options", type=cli.key_value, nargs="+", default=[], metavar="NAME=VALUE", help="e.g. width=0.25")
    add("--front-end", type=cli.key_value, nargs="+", default=[], metavar="NAME=VALUE",
        help="in seconds and Hz, the same at any sample rate: hop_s=.02 window_s=.032 f_max=8000")  # fmt: skip
    add("--fill", choices=("silence", "psla"), help="what stands in masks and padding: digital silence, or as PSLA's "
        "code has it, 0 before normalisation (default: silence)")  # fmt: skip
    add("--min-frames", type=cli.non_negative_int, default=0, metavar="F",
        help="fill clips and windows up to so many frames (PSLA: 1056; default: what the network needs)")  # fmt: skip
    add("--pretrained", help="imagenet, a local file of weights, or the run folder of the same network")


def _add_augmentation(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--mixup-rate", type=cli.probability, default=0.0, help="share of mixed clips (PSLA: .5; default: 0)")
    add("--mixup-alpha", type=cli.positive, default=10.0, help="weights are Beta(alpha, alpha) (default: 10)")
    add("--mixup-partner", choices=("batch", "uniform"), default="batch", help="uniform: any clip (PSLA)")
    add("--mixup-domain", choices=("waveform", "energy"), default="waveform", help="energy: mel powers (Moore et al.)")
    add("--gain-db", type=cli.non_negative, default=0.0, help="levels change by up to so much")
    add("--shift-s", type=cli.non_negative, default=0.0, help="clips are turned in time by up to so much")
    add("--time-mask-s", type=cli.non_negative, default=0.0, help="time masks are shorter than this (PSLA: 1.92)")
    add(
        "--mel-mask",
        type=cli.non_negative_int,
        default=0,
        help="masks have fewer mel bands than this (PSLA: 48 of 128)",
    )


def _add_steps(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--epochs", type=cli.positive_int, default=30)
    add("--batch-size", type=cli.positive_int, default=32, help="pieces a step, of all processes (default: 32)")
    add("--optimizer", choices=("adam", "adamw"), default="adam")
    add("--learning-rate", type=cli.positive, default=1e-3)
    add("--betas", type=cli.probability, nargs=2, default=(0.9, 0.999), help="of Adam (PSLA: .95 .999)")
    add("--weight-decay", type=cli.non_negative, default=0.0)
    add("--clip-gradient", type=cli.non_negative, default=0.0, help="largest gradient norm; 0: any (default: 0)")
    add("--schedule", choices=("constant", "cosine", "halving"), default="cosine")
    add("--warmup-steps", type=cli.non_negative_int, default=0)
    add("--warmup-every", type=cli.positive_int, default=1, metavar="STEPS", help="the warm-up's rate changes every so "
        "many steps (PSLA: 50; default: 1)")  # fmt: skip
    add("--halve-after", type=cli.non_negative, metavar="EPOCHS", help="PSLA: 35 of 60 (default: .6 of all)")
    add("--halve-every", type=cli.positive, metavar="EPOCHS", help="PSLA: 5 (default: .1 of all)")


def _add_choice(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--validation", type=Path, help="held-out label list (default: validation.csv beside --labels, if there)")
    add("--no-validation", action="store_true", help="do not measure anything while training")
    add("--eval", type=Path, help="evaluation list, which must not be validated on (default: eval.csv beside --labels)")
    add("--validate-on-evaluation", action="store_true", help="do it all the same")
    add("--evaluate-every", type=cli.non_negative_int, default=0, metavar="STEPS", help="default: each epoch")
    add("--select", choices=("last", "best"), default="last", help="weights that are kept (default: last)")
    add("--metric", choices=("map", "d-prime"), default="map", help="by which the best are the best (default: map)")
    add("--smooth", type=cli.positive_int, default=1, metavar="N", help="average the metric over N evaluations and "
        "take the weights at their centre (Moore et al.: 7; default: 1)")  # fmt: skip
    add("--patience", type=cli.non_negative_int, default=0, help="stop after so many evaluations without gain; 0: no")
    add("--ema", type=cli.probability, default=0.0, metavar="DECAY", help="evaluate and keep the weights' exponential "
        "moving average (default: 0, none)")  # fmt: skip
