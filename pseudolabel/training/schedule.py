"""The learning rate as a function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

SCHEDULES = ("constant", "cosine", "step")


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then constant, cosine to zero, or halving."""

    kind: str = "cosine"
    warmup_steps: int = 0
    halve_after: float = 0.6  # `step`: first halving after this share of the training (PSLA: epoch 35 of 60)
    halve_every: float = 0.1  # and again each time this share has passed (PSLA: every 5 epochs)

    def factor(self, step: int, n_steps: int) -> float:
        """Return the share of the full learning rate at `step` of `n_steps`, counted from 0."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if self.kind == "cosine":
            done = (step - self.warmup_steps) / max(1, n_steps - self.warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.kind == "step":
            late = step - round(self.halve_after * n_steps)
            return 0.5 ** (late // max(1, round(self.halve_every * n_steps)) + 1) if late >= 0 else 1.0
        return 1.0
