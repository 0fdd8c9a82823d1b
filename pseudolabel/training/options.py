"""The options of training: drawing and augmentation of pieces, the steps, validation, and which weights are kept.

Command-line flags, their help and their rules are generated from these fields. Nothing here imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pseudolabel.errors import InputError, shown
from pseudolabel.labels.balancing import DEFAULT_BETA, SAMPLINGS, SHUFFLE, WITH_BETA
from pseudolabel.models.networks import PRECISIONS
from pseudolabel.options import (
    COUNT,
    NON_NEGATIVE,
    POSITIVE,
    SECONDS_OR_NONE,
    SEED,
    SHARE,
    WHOLE,
    Options,
    nested,
    option,
    parse_number,
)

VALIDATED = {"map": "validation_map", "d-prime": "validation_d_prime"}  # metric -> column in history.csv
LAST = 5  # evaluations whose mean is reported, as in PSLA's figures for single models
MEAN_OF_LAST = f"metric_mean_of_last_{LAST}"  # key in run.json, for the metric chosen by the option `metric`
OPTIMIZERS = ("adam", "adamw")
STEPS, RUNNING = "steps", "running"  # headings of --help
AUGMENTATION, VALIDATION = "augmentation, in batches on the device", "validation, and which weights are kept"
SMOOTH_HELP = "average the metric over N evaluations and take the weights at their centre (Moore et al.: 7)"
EMA_HELP = "evaluate and keep the weights' exponential moving average; 0: none"
PRECISION_HELP = """auto: bf16 on a GPU; config.json keeps float32, so that validation, scoring and evaluation
use it too (default: auto)"""
KEEP_ALL, KEPT = 0, 2  # checkpoints; if the last one is damaged, the previous one remains
CHECKPOINT_HELP = "besides each epoch's end, from which a killed run continues; 0: none"
KEEP_HELP = "the last K, or all, for `average weights`"
WORDS = f"{{auto,{','.join(PRECISIONS)}}}"


@dataclass(frozen=True)
class SamplingOptions(Options):
    """How the pieces of an epoch are chosen."""

    rule: str = option(
        SHUFFLE,
        "; ".join(f"{rule}: {meaning}" for rule, meaning in SAMPLINGS.items()),
        choices=SAMPLINGS,
        flag="--sampling",
    )
    beta: float | None = option(None, f"of {' and '.join(WITH_BETA)} (default: {DEFAULT_BETA})", NON_NEGATIVE)
    crop: str = option("random", "part of longer clips, or their start (PSLA)", choices=("random", "start"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta is not None and self.rule not in WITH_BETA:
            raise InputError(f"has no meaning for the sampling {self.rule!r}", "--beta", "Give --sampling max-rule.")


@dataclass(frozen=True)
class AugmentOptions(Options):
    """How a training batch is augmented; everything is off by default."""

    mixup_rate: float = option(0.0, "share of clips that are mixed with another one (PSLA: .5, Moore et al.: 1)", SHARE)
    mixup_alpha: float = option(
        10.0, "a clip's own weight is drawn from Beta(alpha, alpha)", POSITIVE, needs="mixup_rate"
    )
    mixup_partner: str = option(
        "batch", "from the batch (Moore et al.), or any (PSLA)", choices=("batch", "uniform"), needs="mixup_rate"
    )
    mixup_domain: str = option(
        "waveform", "waveforms (PSLA) or mel energies are added", choices=("waveform", "energy"), needs="mixup_rate"
    )
    gain_db: float = option(
        0.0, "levels change by a uniform draw from [-DB, DB]", NON_NEGATIVE.up_to(200), metavar="DB"
    )
    shift_s: float = option(0.0, "clips are rotated in time by a draw from [-S, S]", SECONDS_OR_NONE, metavar="S")
    time_mask_s: float = option(0.0, "a time mask is shorter than this (PSLA: 1.92)", SECONDS_OR_NONE, metavar="S")
    mel_mask: int = option(0, "a mask has fewer mel bands than this (PSLA: 48 of 128)", WHOLE, metavar="BANDS")


@dataclass(frozen=True)
class Schedule(Options):
    """The learning rate: linear warm-up, then constant, cosine to zero, or halved repeatedly.

    `halve_after` is the epoch of the first halving (PSLA: 35 of 60 on the balanced set, 10 of 30 on the full one),
    `halve_every` the number of epochs between halvings. With `warmup_every` above 1, the warm-up begins at 0.
    """

    kind: str = option("cosine", "after the warm-up", choices=("constant", "cosine", "halving"), flag="--schedule")
    warmup_steps: int = option(0, "of linear warm-up", WHOLE, metavar="STEPS")
    halve_after: float | None = option(None, "PSLA: 35 of 60 (default: .6 of all)", NON_NEGATIVE, metavar="EPOCHS")
    halve_every: float | None = option(None, "PSLA: 5 (default: .1 of all)", POSITIVE, metavar="EPOCHS")
    warmup_every: int = option(1, "for which the warm-up's rate stays the same (PSLA: 50)", COUNT, metavar="STEPS")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind != "halving" and (self.halve_after, self.halve_every) != (None, None):
            flag = "--halve-every" if self.halve_after is None else "--halve-after"
            raise InputError(f"has no effect with --schedule {self.kind}", flag, "Give --schedule halving.")
        if self.warmup_every > 1 and self.warmup_steps < self.warmup_every:
            rule = f"the learning rate does not rise in {self.warmup_steps} warm-up steps"
            raise InputError(rule, f"--warmup-every {self.warmup_every}", "Give --warmup-steps.")

    def factor(self, step: int, n_steps: int, steps_per_epoch: int = 1) -> float:
        """Return the fraction of the full learning rate at `step` of `n_steps`, counted from 0."""
        if step < self.warmup_steps:
            at, of = (step + 1, self.warmup_steps + 1) if self.warmup_every == 1 else (step, self.warmup_steps)
            return at // self.warmup_every * self.warmup_every / of
        if self.kind == "cosine":
            done = (step - self.warmup_steps) / max(1, n_steps - self.warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.kind == "halving":
            late = step - round(0.6 * n_steps if self.halve_after is None else self.halve_after * steps_per_epoch)
            every = round(0.1 * n_steps if self.halve_every is None else self.halve_every * steps_per_epoch)
            return 0.5 ** (late // max(1, every) + 1) if late >= 0 else 1.0
        return 1.0


def parse_precision(text: str) -> str | None:
    """Parse a precision; `auto` is None."""
    if text not in ("auto", *PRECISIONS):
        raise ValueError(f"must be auto or {' or '.join(PRECISIONS)}, not {text!r}")
    return None if text == "auto" else text


def parse_kept(text: str) -> int:
    """Parse the number of checkpoints to keep; `all` is KEEP_ALL."""
    try:
        return KEEP_ALL if text == "all" else int(parse_number(text, int, COUNT))
    except ValueError as error:
        raise ValueError(f"{error}; or `all`") from None


@dataclass(frozen=True)
class TrainOptions(Options):
    """How a model is trained, from the first step to the choice of weights."""

    epochs: int = option(30, "passes over the pieces", COUNT)
    batch_size: int = option(32, "pieces a step, of all processes", COUNT)
    learning_rate: float = option(1e-3, "the full rate", POSITIVE.up_to(1e30))
    optimizer: str = option("adam", "what takes the steps", choices=OPTIMIZERS)
    betas: tuple[float, float] = option((0.9, 0.999), "of Adam (PSLA: .95 .999)", SHARE, metavar="BETA")
    weight_decay: float = option(0.0, "of the optimizer (PSLA: 5e-7)", NON_NEGATIVE)
    clip_gradient: float = option(0.0, "largest gradient norm; 0: any", NON_NEGATIVE, metavar="NORM")
    schedule: Schedule = nested(Schedule)
    augment: AugmentOptions = nested(AugmentOptions, AUGMENTATION)
    evaluate_every: int = option(0, "0: each epoch", WHOLE, metavar="STEPS", group=VALIDATION)
    select: str = option("last", "evaluation whose weights are kept", choices=("last", "best"), group=VALIDATION)
    metric: str = option("map", "what makes an evaluation the best", choices=tuple(VALIDATED), group=VALIDATION)
    smooth: int = option(1, SMOOTH_HELP, COUNT, metavar="N", group=VALIDATION)
    patience: int = option(0, "stop after N evaluations without gain; 0: never", WHOLE, metavar="N", group=VALIDATION)
    ema: float = option(0.0, EMA_HELP, SHARE, metavar="DECAY", group=VALIDATION)
    precision: str | None = option(None, PRECISION_HELP, parse=parse_precision, metavar=WORDS, group=RUNNING)
    checkpoint_every: int = option(0, CHECKPOINT_HELP, WHOLE, metavar="STEPS", group=RUNNING)
    keep_checkpoints: int | str = option(KEPT, KEEP_HELP, WHOLE, parse=parse_kept, metavar="K", group=RUNNING)
    compile: bool = option(False, "compile the network: slower to start, then faster; needs a compiler", group=RUNNING)
    channels_last: bool = option(False, "memory order that suits convolutions on some GPUs", group=RUNNING)
    seed: int = option(0, "of weights, order, draws and folds", SEED, group=RUNNING)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision == "auto":
            object.__setattr__(self, "precision", None)
        if self.keep_checkpoints == "all":
            object.__setattr__(self, "keep_checkpoints", KEEP_ALL)
        if isinstance(self.keep_checkpoints, str):
            message = f"must be a whole number or 'all', not {shown(self.keep_checkpoints)}"
            raise InputError(message, "TrainOptions.keep_checkpoints")
        if self.precision not in (None, *PRECISIONS):
            remedy = f"Give auto, {' or '.join(PRECISIONS)}."
            raise InputError(f"no such choice: {self.precision!r}", "TrainOptions.precision", remedy)
        if max(self.betas) == 1:
            raise InputError("must be below 1", "--betas", "PSLA's are .95 .999.")
        if self.ema == 1:
            raise InputError("must be below 1, or the average never changes", "--ema", "Usual: 0.999.")
        if self.smooth % 2 == 0:
            rule = f"an average over {self.smooth} evaluations has no centre"
            raise InputError(rule, "--smooth", "Give 1, 3, 5, 7.")
        if self.select != "best" and self.smooth > 1 and not self.patience:
            raise InputError("has no effect without --select best or --patience", "--smooth", "Give one of them too.")

    @property
    def needs_validation(self) -> str:
        """The given option that needs a validation set, or an empty string."""
        return "--select best" if self.select == "best" else "--patience" if self.patience else ""
