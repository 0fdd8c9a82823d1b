"""The training loop: epochs of batches on one device, validated, checkpointed, resumed to the same weights."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from pseudolabel.artefacts import write_csv
from pseudolabel.audio.augment import AugmentOptions, change_gain, mask_span, mix_waveforms
from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.models.tagger import Tagger
from pseudolabel.progress import Progress
from pseudolabel.training.checkpoints import KEPT, load_checkpoint, save_checkpoint
from pseudolabel.training.dataset import AUGMENT, Examples, prefetch
from pseudolabel.training.losses import soft_bce
from pseudolabel.training.schedule import Schedule
from pseudolabel.training.scoring import autocast, score_clips

HISTORY = ("epoch", "step", "loss", "learning_rate", "validation_map", "seconds", "pieces_per_s", "waiting_share")


@dataclass(frozen=True)
class TrainOptions:
    """How a model is trained; what it is trained on stands in Examples."""

    epochs: int = 30
    batch_size: int = 32  # pieces a step (PSL: 32)
    learning_rate: float = 1e-3  # PSL and PSLA's balanced set: 1e-3
    betas: tuple[float, float] = (0.9, 0.999)  # PSLA: .95, .999
    weight_decay: float = 0.0  # PSLA: 5e-7
    clip_gradient: float = 0.0  # norm above which gradients are scaled down; 0 leaves them
    schedule: Schedule = field(default_factory=Schedule)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    select: str = "last"  # which epoch's weights are kept: last, or best (validation mAP)
    patience: int = 0  # stop after so many epochs without a better validation mAP; 0: never
    seed: int = 0


@dataclass
class Validation:
    """A held-out set: clip store rows (n,) and their labels (n, K) bool."""

    clips: ClipStore
    rows: np.ndarray
    labels: np.ndarray

    def mean_average_precision(self, tagger: Tagger, batch_size: int, device: torch.device) -> float:
        """Return the macro mAP of a model on whole clips."""
        from pseudolabel.scores.metrics import average_precision

        scores = score_clips(tagger, self.clips, self.rows, batch_size=batch_size, device=device)[:, 0]
        return float(np.nanmean(average_precision(self.labels, scores)))


@dataclass
class Trainer:
    """A model, its optimizer and all that a checkpoint must hold."""

    tagger: Tagger
    examples: Examples
    options: TrainOptions
    device: torch.device
    folder: Path
    validation: Validation | None = None
    settings: dict = field(default_factory=dict)
    history: list[dict] = field(default_factory=list)
    best: tuple[float, int] = (-1.0, 0)
    best_weights: dict | None = None
    epoch: int = 0
    kept_checkpoints: int = KEPT

    def __post_init__(self) -> None:
        self.tagger.to(self.device)
        options = self.options
        self.optimizer = torch.optim.Adam(
            self.tagger.parameters(), options.learning_rate, options.betas, weight_decay=options.weight_decay
        )
        self.steps_per_epoch = max(1, len(self.examples) // options.batch_size)
        self.settings = {**self.settings, **asdict(options)}

    def run(self) -> Tagger:
        """Train to the end, from the last checkpoint where there is one, and return the selected model."""
        self._resume()
        total = self.options.epochs * self.steps_per_epoch
        with Progress(f"train {self.folder.name}", total, "step", start=self.epoch * self.steps_per_epoch) as progress:
            while self.epoch < self.options.epochs and not self._out_of_patience():
                self._train_epoch(progress)
                self._validate()
                self._save()
        if self.options.select == "best" and self.best_weights is not None:
            self.tagger.load_state_dict(self.best_weights)
        return self.tagger.eval()

    def _batches(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        seed, size = self.options.seed, self.options.batch_size
        order = self.examples.order(seed, self.epoch)
        for step in range(self.steps_per_epoch):
            waveforms, targets = self.examples.batch(order[step * size : (step + 1) * size], seed, self.epoch)
            waveforms, targets = torch.from_numpy(waveforms), torch.from_numpy(targets)
            if self.device.type == "cuda":
                waveforms, targets = waveforms.pin_memory(), targets.pin_memory()
            yield step, waveforms, targets

    def _train_epoch(self, progress: Progress) -> None:
        """One pass over the examples; all draws follow from seed, epoch and step, so a resumed run repeats them."""
        self.tagger.train()
        torch.manual_seed(self.options.seed * 100_003 + self.epoch)
        started = ready = time.monotonic()
        waiting, losses = 0.0, []
        for step, waveforms, targets in prefetch(self._batches()):
            waiting += time.monotonic() - ready
            losses.append(self._step(step, waveforms, targets))
            shown = {"loss": f"{float(losses[-1]):.3f}"} if step % 20 == 0 else {}
            progress.advance(1, epoch=self.epoch + 1, **shown)
            ready = time.monotonic()
        seconds = time.monotonic() - started
        self.epoch += 1
        self.history.append(
            {
                "epoch": self.epoch,
                "step": self.epoch * self.steps_per_epoch,
                "loss": round(float(torch.stack(losses).mean()), 6),
                "learning_rate": f"{self.optimizer.param_groups[0]['lr']:.3g}",
                "validation_map": "",
                "seconds": round(seconds, 2),
                "pieces_per_s": round(len(losses) * self.options.batch_size / seconds, 1),
                "waiting_share": round(waiting / seconds, 4),
            }
        )

    def _step(self, step: int, waveforms: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        options = self.options
        step_in_run = self.epoch * self.steps_per_epoch + step
        factor = options.schedule.factor(step_in_run, options.epochs * self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * factor
        waveforms = waveforms.to(self.device, non_blocking=True)
        targets = targets.to(self.device, non_blocking=True)
        features, targets = self._augmented(
            waveforms, targets, np.random.default_rng([options.seed, AUGMENT, step_in_run])
        )
        with autocast(self.device):
            scores = self.tagger.from_features(features)
        if self.device.type == "cpu" and not scores.isfinite().all():  # on a GPU this look would cost a wait each step
            raise InputError(f"training diverged in step {step_in_run + 1}: scores are no numbers any more",
                             "--learning-rate", f"Give less than {options.learning_rate:g}.")  # fmt: skip
        loss = soft_bce(scores, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if options.clip_gradient:
            torch.nn.utils.clip_grad_norm_(self.tagger.parameters(), options.clip_gradient)
        self.optimizer.step()
        return loss.detach()

    def _augmented(
        self, waveforms: torch.Tensor, targets: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        augment, fill = self.options.augment, self.tagger.config["fill"]
        with torch.no_grad():
            if augment.gain_db:
                waveforms = change_gain(waveforms, augment, rng)
            if augment.mixup_rate:
                waveforms, targets = mix_waveforms(waveforms, targets, augment, rng)
            features = self.tagger.features(waveforms)
            if augment.time_mask_s:
                length_s = waveforms.shape[1] / self.tagger.config["sample_rate"]
                frames = round(augment.time_mask_s / length_s * features.shape[1])
                features = mask_span(features, 1, frames, rng, fill)
            if augment.mel_mask:
                features = mask_span(features, 2, augment.mel_mask, rng, fill)
        return features, targets

    def _validate(self) -> None:
        if self.validation is None:
            return
        reached = self.validation.mean_average_precision(self.tagger, self.options.batch_size, self.device)
        self.history[-1]["validation_map"] = round(reached, 6)
        if reached > self.best[0]:
            self.best = (reached, self.epoch)
            self.best_weights = {name: value.detach().clone() for name, value in self.tagger.state_dict().items()}

    def _out_of_patience(self) -> bool:
        patience = self.options.patience if self.validation is not None else 0
        return 0 < patience <= self.epoch - self.best[1]

    def _save(self) -> None:
        write_csv(self.folder / "history.csv", HISTORY, [row.values() for row in self.history])
        state = {
            "tagger": self.tagger.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "best": list(self.best),
            "best_weights": self.best_weights,
        }
        save_checkpoint(self.folder / "checkpoints", self.epoch, state, self.settings, self.kept_checkpoints)

    def _resume(self) -> None:
        state = load_checkpoint(self.folder / "checkpoints", self.settings)
        if state is None:
            return
        self.tagger.load_state_dict(state["tagger"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.best, self.epoch = state["history"], tuple(state["best"]), state["epoch"]
        self.best_weights = state["best_weights"]
        print(f"resumed after epoch {self.epoch} of {self.options.epochs}")
