"""The training loop: steps on one device or many, evaluation, checkpoints, and resuming to the same weights.

All draws follow from seed, epoch and step, so a run resumed after any step does what an uninterrupted one would have
done. Under torchrun each process takes its share of every batch and the gradients are averaged; batch-norm layers see
only their own share, and the first process's statistics are kept.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pseudolabel.artefacts import write_csv
from pseudolabel.errors import InputError
from pseudolabel.layout import HISTORY
from pseudolabel.models.tagger import Tagger
from pseudolabel.progress import Progress
from pseudolabel.training.batches import Batch, augmented, prefetch, read_batch
from pseudolabel.training.dataset import Examples
from pseudolabel.training.distributed import ALONE, Ranks
from pseudolabel.training.drawing import NETWORK, draw_step
from pseudolabel.training.losses import soft_bce
from pseudolabel.training.options import VALIDATED, TrainOptions
from pseudolabel.training.run_folder import CHECKPOINTS, load_checkpoint, remove_old_checkpoints, save_checkpoint
from pseudolabel.training.scoring import autocast
from pseudolabel.training.validation import Selection, Validation

COLUMNS = ("epoch", "step", "loss", "learning_rate", *VALIDATED.values(), "seconds", "pieces_per_s", "waiting_share")
SHOWN_EVERY = 50  # steps
FREE = ("checkpoint_every", "keep_checkpoints")  # options that may change when an unfinished run continues
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Answering(nn.Module):
    """A tagger as a module from features to scores, to be compiled and wrapped for distributed training."""

    def __init__(self, tagger: Tagger):
        super().__init__()
        self.tagger = tagger

    def forward(self, features: Tensor) -> Tensor:
        """Return scores (B, K) of features (B, F, mel)."""
        return self.tagger.from_features(features)


@dataclass
class Trainer:
    """A model, its optimizer and everything else in a checkpoint.

    Args:
        positive_weights: (K,) factor of each class's positives in the loss, or None.
        on_row: called with each new row of the history.
    """

    tagger: Tagger
    examples: Examples
    options: TrainOptions
    device: torch.device
    folder: Path
    validation: Validation | None = None
    settings: dict = field(default_factory=dict)
    ranks: Ranks = ALONE
    positive_weights: np.ndarray | None = None
    on_row: Callable[[dict], None] | None = None
    history: list[dict] = field(default_factory=list)
    step: int = 0  # steps done

    def __post_init__(self) -> None:
        options = self.options
        self.batch_size = min(options.batch_size, len(self.examples))
        if self.batch_size % self.ranks.size:
            rule = f"{self.batch_size} pieces a step cannot be shared evenly by {self.ranks.size} processes"
            raise InputError(rule, "--batch-size", "Give a multiple of the processes, and as many clips.")
        self.tagger.to(self.device)
        if options.channels_last:
            self.tagger.network.to(memory_format=torch.channels_last)
        learnt = [parameter for parameter in self.tagger.parameters() if parameter.requires_grad]
        self.optimizer = OPTIMIZERS[options.optimizer](
            learnt, options.learning_rate, options.betas, weight_decay=options.weight_decay
        )
        self.average = self._moving_average() if options.ema else None
        if self.positive_weights is not None:
            self.positive_weights = torch.from_numpy(np.asarray(self.positive_weights, np.float32)).to(self.device)
        whole, rest = divmod(len(self.examples), self.batch_size)
        # An incomplete last step is kept if it has a piece for every process, and two or more for batch norm.
        self.steps_per_epoch = whole + (rest >= max(2, self.ranks.size))
        self.n_steps = options.epochs * self.steps_per_epoch
        decided = {name: value for name, value in asdict(options).items() if name not in FREE}
        self.settings = {**self.settings, **decided, "processes": self.ranks.size}
        self.selection = Selection(options.smooth, options.select == "best")
        self._losses: list[Tensor] = []  # since the last row of the history
        self._since, self._waiting, self._done = time.monotonic(), 0.0, 0

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.step // self.steps_per_epoch

    @property
    def evaluated(self) -> Tagger:
        """The model to evaluate and keep: the moving average if there is one."""
        return self.average.module if self.average is not None else self.tagger

    def run(self) -> Tagger:
        """Train to the end, from the last checkpoint if there is one; return the selected model."""
        self._resume()
        answering = self._answering()
        name, unit = f"train {self.folder.name}", "step"
        shown = Progress(name, self.n_steps, unit, self.step) if self.ranks.leads else contextlib.nullcontext()
        with shown as progress:
            while self.step < self.n_steps and not self._out_of_patience():
                self._train_epoch(answering, progress)
        if self.ranks.leads:  # an earlier run may have been killed before removing them
            remove_old_checkpoints(self.folder / CHECKPOINTS, self.options.keep_checkpoints)
        kept = self.evaluated
        if self.selection.weights:
            kept.load_state_dict(self.selection.weights[self.selection.best])
        return kept.eval()

    def _moving_average(self) -> nn.Module:
        swa = torch.optim.swa_utils
        decayed = swa.get_ema_multi_avg_fn(self.options.ema)
        return swa.AveragedModel(self.tagger, multi_avg_fn=decayed, use_buffers=True)

    def _answering(self) -> nn.Module:
        answering: nn.Module = Answering(self.tagger)
        if self.options.compile:
            answering = torch.compile(answering)
        if self.ranks.size == 1:
            return answering
        devices = [self.device] if self.device.type == "cuda" else None
        # Each process keeps its own batch-norm statistics; `_add_row`, where they matter, takes the leader's.
        return nn.parallel.DistributedDataParallel(answering, device_ids=devices, broadcast_buffers=False)

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield this process's share of every step of an epoch, starting at its step `first`."""
        options, size = self.options, self.batch_size
        order = self.examples.order(options.seed, epoch)
        for number in range(first, self.steps_per_epoch):
            step, pieces = epoch * self.steps_per_epoch + number, order[number * size : (number + 1) * size]
            n_pieces, ranks = self.examples.n_pieces, self.ranks
            draw = draw_step(pieces, n_pieces, options.augment, options.seed, step, ranks.rank, ranks.size)
            yield read_batch(self.examples, draw, pinned=self.device.type == "cuda")

    def _train_epoch(self, answering: nn.Module, progress: Progress | None) -> None:
        """Do the remaining steps of an epoch, or fewer if patience runs out."""
        answering.train()
        ready = time.monotonic()
        with contextlib.closing(prefetch(self._batches(self.epoch, self.step % self.steps_per_epoch))) as batches:
            for batch in batches:
                self._waiting += time.monotonic() - ready
                self._losses.append(self._step(answering, batch))
                self.step += 1
                self._done += 1
                if progress is not None:
                    shown = {} if self._done % SHOWN_EVERY else self._shown()
                    progress.advance(1, epoch=(self.step - 1) // self.steps_per_epoch + 1, **shown)
                if self._at_row():
                    self._add_row()
                    answering.train()
                if self._at_checkpoint():
                    self._save()
                if self._out_of_patience():
                    return
                ready = time.monotonic()

    def _step(self, answering: nn.Module, batch: Batch) -> Tensor:
        options = self.options
        factor = options.schedule.factor(self.step, self.n_steps, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * factor
        drawn = np.random.SeedSequence([options.seed, NETWORK, self.step, self.ranks.rank])
        torch.manual_seed(int(drawn.generate_state(1, np.uint64)[0] >> 1))  # for dropout
        batch = augmented(batch.to(self.device), self.tagger, options.augment)
        with autocast(self.device, options.precision):
            scores = answering(batch.waveforms)
        if self.device.type == "cpu" and not scores.isfinite().all():  # on a GPU, checking would stall every step
            raise self._diverged()
        loss = soft_bce(scores, batch.targets, batch.masked, self.positive_weights)
        loss = loss * self._share(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if options.clip_gradient:
            nn.utils.clip_grad_norm_(self.tagger.parameters(), options.clip_gradient)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.tagger)
        return loss.detach()

    def _share(self, batch: Batch) -> float:
        """Return the weight of this process's mean loss that makes the mean over processes that of the whole batch."""
        if self.ranks.size == 1:
            return 1.0
        if batch.masked is None:
            return batch.draw.n * self.ranks.size / batch.draw.n_of_all
        own = float((~batch.masked).sum())
        return own * self.ranks.size / max(float(self.ranks.sum(np.array([own]))[0]), 1.0)

    def _pieces_since_row(self) -> int:
        """Return how many pieces all processes have trained on since the last row of the history."""
        an_epoch = min(len(self.examples), self.steps_per_epoch * self.batch_size)
        done = (divmod(step, self.steps_per_epoch) for step in (self.step, self.step - len(self._losses)))
        now, before = (epochs * an_epoch + steps * self.batch_size for epochs, steps in done)
        return now - before

    def _diverged(self) -> InputError:
        message = f"training diverged in step {self.step + 1}: scores are NaN or infinite"
        return InputError(message, "--learning-rate", f"Give less than {self.options.learning_rate:g}.")

    def _shown(self) -> dict[str, str]:
        seconds = max(time.monotonic() - self._since, 1e-9)
        return {
            "loss": f"{float(self._losses[-1]):.3f}",
            "pieces/s": f"{self._pieces_since_row() / seconds:.0f}",
            "waiting": f"{100 * self._waiting / seconds:.0f}%",
        }

    def _at_row(self) -> bool:
        every = self.options.evaluate_every or self.steps_per_epoch
        return self.step % every == 0 or self.step == self.n_steps

    def _at_checkpoint(self) -> bool:
        every = self.options.checkpoint_every
        within = every and self.step % every == 0
        return bool(within) or self.step % self.steps_per_epoch == 0 or self._out_of_patience()

    def _add_row(self) -> None:
        """Evaluate the model, and add a row to the history about the steps since the last row."""
        seconds = time.monotonic() - self._since
        loss = float(self._all_losses().mean())
        if not np.isfinite(loss):
            raise self._diverged()
        row = {
            "epoch": -(-self.step // self.steps_per_epoch),
            "step": self.step,
            "loss": round(loss, 6),
            "learning_rate": f"{self.optimizer.param_groups[0]['lr']:.3g}",
            **dict.fromkeys(VALIDATED.values(), ""),
            "seconds": round(seconds, 2),
            "pieces_per_s": round(self._pieces_since_row() / seconds, 1),
            "waiting_share": round(self._waiting / seconds, 4),
        }
        if self.validation is not None:
            options, kept = self.options, self.evaluated
            self.ranks.adopt(kept.buffers())
            reached = self.validation.metrics(kept, options.batch_size, self.device, self.ranks)
            row |= {VALIDATED[name]: round(value, 6) for name, value in reached.items()}
            self.selection.add(reached[options.metric], kept.state_dict())
        self.history.append(row)
        self._losses, self._waiting, self._since = [], 0.0, time.monotonic()
        if self.ranks.leads:
            write_csv(self.folder / HISTORY, COLUMNS, [row.values() for row in self.history])
            if self.on_row:
                self.on_row(row)

    def _all_losses(self) -> Tensor:
        """Return the losses since the last row, (processes, steps)."""
        own = torch.stack(self._losses).cpu().double() if self._losses else torch.empty(0, dtype=torch.float64)
        everyone = np.zeros((self.ranks.size, len(own)))
        everyone[self.ranks.rank] = own.numpy()
        return torch.from_numpy(self.ranks.sum(everyone))

    def _out_of_patience(self) -> bool:
        patience = self.options.patience if self.validation is not None else 0
        return bool(patience and self.selection.values) and self.selection.waited >= patience

    def _save(self) -> None:
        state = {
            "tagger": self.tagger.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "history": self.history,
            "values": self.selection.values,
            "selected": {str(at): dict(weights) for at, weights in self.selection.weights.items()},
            "losses": self._all_losses(),
            "step": self.step,
        }
        if self.ranks.leads:
            epoch = self.epoch if self.step % self.steps_per_epoch == 0 else None
            save_checkpoint(self.folder / CHECKPOINTS, epoch, state, self.settings, self.options.keep_checkpoints)

    def _resume(self) -> None:
        state = load_checkpoint(self.folder / CHECKPOINTS, self.settings)
        leading = int(self.ranks.from_leader(np.array([state["step"] if state else 0]))[0])
        if leading != (state["step"] if state else 0):
            raise InputError("the processes see different checkpoints", self.folder, "Let them share the folder.")
        if state is None:
            return
        self.tagger.load_state_dict(state["tagger"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.history, self.step, self.selection.values = state["history"], state["step"], state["values"]
        self.selection.weights = {int(at): weights for at, weights in state["selected"].items()}
        self._losses = list(state["losses"][self.ranks.rank].float())
        if self.ranks.leads:
            within = f"step {self.step} of {self.n_steps}"
            whole = self.step % self.steps_per_epoch == 0
            print(f"resumed after {f'epoch {self.epoch} of {self.options.epochs}' if whole else within}")
