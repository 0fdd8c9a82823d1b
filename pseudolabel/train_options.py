"""The options of `train`: what a model learns from, which model it is, and how it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pseudolabel import layout
from pseudolabel.audio.frontend_options import lengths_in_seconds
from pseudolabel.errors import InputError, first_line
from pseudolabel.labels.splits import Fold, parse_fold
from pseudolabel.models.networks import NETWORKS
from pseudolabel.options import (
    SECONDS,
    SHARE,
    WHOLE,
    DeviceOptions,
    ListOptions,
    VerbOptions,
    name_value,
    nested,
    option,
)
from pseudolabel.scores.windows import CLIP, parse_window, window_name
from pseudolabel.training.options import RUNNING, STEPS, VALIDATION, SamplingOptions, TrainOptions

MATERIAL, MODEL = "what it learns from", "model"  # headings of --help
Pairs, PAIR = tuple[tuple[str, object], ...], "NAME=VALUE"
CLIP_STORE = "clip store (default: clips.h5 beside what is named, else WORK/clips.h5)"
LABEL_LIST = "label list (default: labels.csv beside what is named, else WORK/labels.csv)"
INVERSE = "inverse: the rarer a class, the more its positives count in the loss"
CLIP_SECONDS = "length of whole clips; shorter ones are filled, here and wherever the model scores a clip"
FOLD = "leave fold I of N out; --seed decides the folds, groups stay whole"
FRONT_END = """in seconds and Hz, the same at any sample rate: hop_s=.02 window_s=.032 f_max=8000
(default: the network's published one)"""
FILL = "value of masks and padding: digital silence, or PSLA's 0 before normalisation (default: silence)"
MIN_FRAMES = "fill clips and windows up to F frames (PSLA: 1056; default: what the network needs)"


@dataclass(frozen=True, kw_only=True)
class RunOptions(VerbOptions, ListOptions, DeviceOptions):
    """What to make a run from."""

    out: Path | None = option(None, "run folder (default: WORK/runs/teacher, WORK/runs/ROW-seedSEED)")
    row: str = option("run", "name of the run in tables: teacher, weak, psl_2s", group=MATERIAL)
    clips: Path | None = option(None, CLIP_STORE, group=MATERIAL, file=layout.CLIPS)
    labels: Path | None = option(None, LABEL_LIST, group=MATERIAL, file=layout.LABELS)
    list: Path | None = option(None, "label list: only its clips, with the labels of --labels", group=MATERIAL)
    targets: Path | None = option(None, "score store with soft targets, in place of labels", group=MATERIAL)
    window: str | float = option(CLIP, "clip, 10s, 5s, 2s: of --targets", parse=parse_window, group=MATERIAL)
    alpha: float = option(1.0, "share of soft targets; the rest: hard labels", SHARE, group=MATERIAL)
    mask: Path | None = option(None, "what the loss ignores: mask.csv of `enhance --soft`", group=MATERIAL)
    class_weights: str = option("none", INVERSE, choices=("none", "inverse"), group=MATERIAL)
    clip_seconds: float = option(10.0, CLIP_SECONDS, SECONDS, metavar="S", group=MATERIAL)  # AudioSet's clips
    sampling: SamplingOptions = nested(SamplingOptions, MATERIAL)
    fold: Fold | None = option(None, FOLD, parse=parse_fold, metavar="I/N", group=MATERIAL)
    stratify: bool = option(False, "spread rare classes over the folds, by the labels", group=MATERIAL, needs="fold")
    model: str = option("mobilenetv2", ", ".join(NETWORKS), group=MODEL)
    model_options: Pairs = option((), "of the network, as width=0.25", parse=name_value, metavar=PAIR, group=MODEL)
    front_end: Pairs = option((), FRONT_END, parse=name_value, metavar=PAIR, group=MODEL)
    fill: str | None = option(None, FILL, choices=("silence", "psla"), group=MODEL)
    min_frames: int = option(0, MIN_FRAMES, WHOLE, metavar="F", group=MODEL)
    pretrained: str | None = option(None, "imagenet, a file of weights, or a run of the same network", group=MODEL)
    train: TrainOptions = nested(TrainOptions, STEPS)
    validation: Path | None = option(
        None,
        "held-out label list (default: validation.csv beside --labels, if there)",
        file=layout.VALIDATION,
        group=VALIDATION,
        needs="!no_validation",
    )
    no_validation: bool = option(False, "do not measure anything while training", group=VALIDATION)
    eval: Path | None = option(
        None,
        "evaluation list, which must not be validated on (default: eval.csv beside --labels)",
        file=layout.EVALUATION,
        group=VALIDATION,
        needs="!no_validation,!validate_on_evaluation",
    )
    validate_on_evaluation: bool = option(
        False, "allow validation on the evaluation list", group=VALIDATION, needs="!no_validation"
    )
    tensorboard: bool = option(False, "write RUN/tensorboard too", group=RUNNING)

    def __post_init__(self) -> None:
        super().__post_init__()
        soft_only = f"--window {window_name(self.window)}" if self.window != CLIP else ""
        soft_only = soft_only or ("--alpha" if self.alpha < 1 else "")
        if soft_only and self.targets is None:
            raise InputError("needs soft targets", soft_only, "Give --targets scores.h5.")
        if self.pretrained and Path(self.pretrained).is_dir() and "stem" in dict(self.model_options):
            raise InputError(
                "has no effect on weights of a run, whose first layer already takes one channel",
                "--model-options stem",
                "Leave it out.",
            )
        if self.no_validation and (self.train.evaluate_every or self.train.metric != TrainOptions().metric):
            flag = "--evaluate-every" if self.train.evaluate_every else "--metric"
            raise InputError("has no effect with --no-validation", flag, "Leave one out.")
        if self.train.needs_validation and self.no_validation:
            rule = f"{self.train.needs_validation} needs a validation set"
            raise InputError(rule, "--no-validation", "Leave one out.")

    def refuse_without_validation(self, there: bool) -> None:
        """Raise InputError if an option needs a validation set and there is none."""
        if self.train.needs_validation and not there:
            rule = f"{self.train.needs_validation} needs a validation set"
            raise InputError(rule, self.work, "Give --validation LIST.")

    def front_end_at(self, sample_rate: int) -> tuple[dict[str, object], str]:
        """Return the front end of --front-end in seconds at a sample rate, and a note on values given in samples.

        Raises:
            InputError: it asks for another sample rate than the clips'.
        """
        given, line = lengths_in_seconds(dict(self.front_end), sample_rate)
        if given.get("sample_rate", sample_rate) != sample_rate:
            message = f"the clips have {sample_rate} Hz, not {given['sample_rate']}"
            raise InputError(message, "--front-end sample_rate", "Prepare the clips with that --sample-rate.")
        return {"sample_rate": sample_rate, **given}, line

    def recorded(self) -> dict[str, object]:
        """Return all options by flag name, as run.json lists them."""
        train, sampling = asdict(self.train), asdict(self.sampling)
        schedule, augment = train.pop("schedule"), train.pop("augment")
        outer = {name: value for name, value in vars(self).items() if name not in ("train", "sampling")}
        inner = {**train, **schedule, **augment, **sampling}
        del inner["kind"], inner["rule"]
        named = {"schedule": self.train.schedule.kind, "sampling": self.sampling.rule}
        return {**outer, **inner, **named, "precision": self.train.precision or "auto"}


@contextlib.contextmanager
def options_of_a_model() -> Iterator[None]:
    """Turn errors from values of the wrong kind or size, such as width=wide, into an InputError."""
    try:
        yield
    except InputError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        message = f"no model can be built with these values ({first_line(error)})"
        raise InputError(message, "--model-options, --front-end") from error
