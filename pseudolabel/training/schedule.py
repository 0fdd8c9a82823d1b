"""The learning rate as a function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pseudolabel.options import check_types

SCHEDULES = ("constant", "cosine", "halving")


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then constant, cosine to zero, or halving again and again.

    Args:
        warmup_every: steps for which the rate of the warm-up stays the same. Above 1 it begins at 0 (PSLA: 50).
        halve_after: epochs before the first halving (PSLA: 35 of 60 on the balanced set, 10 of 30 on the full one);
            None: .6 of the training.
        halve_every: epochs from one halving to the next (PSLA: 5); None: .1 of the training.
    """

    kind: str = "cosine"
    warmup_steps: int = 0
    halve_after: float | None = None
    halve_every: float | None = None
    warmup_every: int = 1

    def __post_init__(self) -> None:
        check_types(self, kind=SCHEDULES)

    def factor(self, step: int, n_steps: int, steps_per_epoch: int = 1) -> float:
        """Return the share of the full learning rate at `step` of `n_steps`, counted from 0."""
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
