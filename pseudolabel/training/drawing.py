"""What a training step takes: which pieces in which epoch, and all that is drawn for them.

Everything is drawn for the whole batch, from the seed, the epoch and the step alone, and then cut to a process's share:
the shares of all processes together are the batch of one process alone. Each stream of random numbers has its own
generator, so that an option that is switched on changes no other draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pseudolabel.errors import InputError
from pseudolabel.labels.balancing import (
    DEFAULT_BETA,
    MAX_RULE,
    REPEAT,
    ROUND_ROBIN,
    SHUFFLE,
    SUM_RULE,
    balanced_weights,
    max_rule_weights,
    oversampling_factors,
)
from pseudolabel.training.options import AugmentOptions, SamplingOptions

MOST_REPEATED = 1 << 28  # pieces an epoch: 2 GB of numbers
# Streams of random numbers: no two draws share one.
ORDER, CROP, MIX, GAIN, SHIFT, TIME_MASK, MEL_MASK, NETWORK = range(8)


@dataclass(frozen=True)
class Epochs:
    """How the pieces of an epoch are drawn: `length` of them, by `draw(rng)` -> (length,) int64."""

    length: int
    draw: Callable[[np.random.Generator], np.ndarray]

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Return the pieces of an epoch in drawing order."""
        return self.draw(np.random.default_rng([seed, ORDER, epoch]))


def epochs_of(sampling: SamplingOptions, labels: sparse.csr_array, clip: np.ndarray | None = None) -> Epochs:
    """Return how epochs are drawn under a sampling rule, which counts the clips' hard labels.

    All pieces of a clip (its windows) are drawn alike. An epoch has as many draws as there are pieces, except under
    `repeat`, where it has the sum of all repeats. The rules: `shuffle`; `sum-rule`, with replacement, by the sum over
    the labels of 1 / (clips with the label) (PSLA, Algorithm 1); `max-rule`, with replacement, by the maximum over the
    labels of (1 / prior)^beta, and `repeat`, each piece as often as that says, rounded (Moore et al., equation 4);
    `round-robin`, one class after the other in an order that changes with each round, a clip of it at random.

    Args:
        labels: (n, K) bool, the labels of each clip.
        clip: (P,) the clip of each piece, ascending; None: each clip is one piece.

    Raises:
        InputError: a far too large beta; no clip has a label to draw it by.
    """
    rule, beta = sampling.rule, DEFAULT_BETA if sampling.beta is None else sampling.beta
    clip = np.arange(labels.shape[0]) if clip is None else np.asarray(clip)
    if rule == SHUFFLE:
        return Epochs(len(clip), lambda rng: rng.permutation(len(clip)))
    if not labels.nnz:
        raise InputError("no clip has a label to draw it by", f"--sampling {rule}", "Give --sampling shuffle.")
    if rule == REPEAT:
        factors = oversampling_factors(labels, beta, "--beta")[clip]
        if factors.sum() > MOST_REPEATED:
            message = f"beta {beta:g} makes an epoch of {factors.sum():.3g} pieces"
            raise InputError(message, "--sampling repeat", "Give a smaller --beta, or --sampling max-rule.")
        repeated = np.repeat(np.arange(len(clip)), factors)
        return Epochs(len(repeated), lambda rng: rng.permutation(repeated))
    if rule == ROUND_ROBIN:
        return Epochs(len(clip), _round_robin(labels, clip))
    if rule == SUM_RULE:
        return weighted(balanced_weights(labels)[clip])
    if rule == MAX_RULE:
        return weighted(max_rule_weights(labels, beta, "--beta")[clip])
    raise InputError("no epochs are drawn by this rule", f"--sampling {rule}")


def weighted(weights: np.ndarray) -> Epochs:
    """As many draws with replacement as there are pieces, by their weights (P,)."""
    ends = np.cumsum(weights, dtype=np.float64)
    last = int(np.flatnonzero(weights)[-1])

    def draw(rng: np.random.Generator) -> np.ndarray:
        points = rng.random(len(ends)) * ends[-1]
        ascending = np.argsort(points)  # looked up from left to right, millions take a third of the time
        drawn = np.empty(len(points), np.int64)
        drawn[ascending] = np.searchsorted(ends, points[ascending], side="right")
        return np.minimum(drawn, last)

    return Epochs(len(weights), draw)


def _round_robin(labels: sparse.csr_array, clip: np.ndarray) -> Callable[[np.random.Generator], np.ndarray]:
    n_clips = labels.shape[0]
    first, n_pieces = np.searchsorted(clip, np.arange(n_clips)), np.bincount(clip, minlength=n_clips)
    by_class = sparse.csc_array(labels)
    n_carriers = np.diff(by_class.indptr)
    classes = np.flatnonzero(n_carriers)

    def draw(rng: np.random.Generator) -> np.ndarray:
        n_rounds = -(-len(clip) // len(classes))
        turns = rng.permuted(np.tile(classes, (n_rounds, 1)), axis=1).ravel()[: len(clip)]
        carriers = by_class.indices[by_class.indptr[turns] + rng.integers(0, n_carriers[turns])]
        return first[carriers] + rng.integers(0, n_pieces[carriers])

    return draw


@dataclass(frozen=True)
class Draw:
    """What one process takes in one step: `n` pieces of its own, and the partners that they are mixed with.

    Args:
        n: its own pieces; they are the first n of those that are read. n_of_all: those of all processes.
        pieces, start, gain, shift: (R,) each piece to read, where it begins within its slack (in [0, 1)), the factor of
            its level, and by which share of its length it is shifted (in (-1, 1)).
        partner: (n,) which of those that are read each is mixed with. share: (n,) float32, its own weight; 1: unmixed.
        time_mask, mel_mask: (n, 2) float64 in [0, 1), length and position of a mask.
    """

    n: int
    n_of_all: int
    pieces: np.ndarray
    start: np.ndarray
    gain: np.ndarray
    shift: np.ndarray
    partner: np.ndarray
    share: np.ndarray
    time_mask: np.ndarray
    mel_mask: np.ndarray


def draw_step(
    batch: np.ndarray, n_pieces: int, options: AugmentOptions, seed: int, step: int, rank: int = 0, size: int = 1
) -> Draw:
    """Return what process `rank` of `size` takes of a step's batch.

    Args:
        batch: (B,) pieces of the whole step, in drawing order.
        n_pieces: how many there are to draw a partner from.
        step: number of the step in the run.
    """
    n = len(batch)
    mix = np.random.default_rng([seed, MIX, step])
    share = mix.beta(options.mixup_alpha, options.mixup_alpha, n)
    share = np.where(mix.random(n) < options.mixup_rate, share, 1.0).astype(np.float32)
    if options.mixup_partner == "uniform":  # the partners are read too: rows n to 2 n
        read, partner = np.concatenate([batch, mix.integers(0, n_pieces, n)]), np.arange(n, 2 * n)
    else:
        read, partner = batch, mix.permutation(n)

    def uniform(stream: int, *shape: int) -> np.ndarray:
        return np.random.default_rng([seed, stream, step]).random(shape)

    start = uniform(CROP, len(read))
    gain = 10 ** (options.gain_db * (2 * uniform(GAIN, len(read)) - 1) / 20)
    shift = 2 * uniform(SHIFT, len(read)) - 1
    own = np.arange(n * rank // size, n * (rank + 1) // size)
    partner = np.where(share[own] < 1, partner[own], own)  # what is not mixed needs no partner
    taken = np.concatenate([own, np.setdiff1d(partner, own)])
    position = np.full(len(read), -1)
    position[taken] = np.arange(len(taken))
    return Draw(
        n=len(own),
        n_of_all=n,
        pieces=read[taken],
        start=start[taken],
        gain=gain[taken].astype(np.float32),
        shift=shift[taken],
        partner=position[partner],
        share=share[own],
        time_mask=uniform(TIME_MASK, n, 2)[own],
        mel_mask=uniform(MEL_MASK, n, 2)[own],
    )
