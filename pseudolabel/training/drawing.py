"""All random draws of training: the pieces of each epoch, and the augmentation of each step.

Draws are made for the whole batch, from seed, epoch and step alone, and then cut to a process's share: together, the
shares of all processes are the batch that a single process would have. Each stream of random numbers has its own
generator, so switching an option on changes no other draw.
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

MOST_REPEATED = 1 << 28  # pieces per epoch: 2 GB of numbers
# Streams of random numbers, one for each kind of draw.
ORDER, CROP, MIX, GAIN, SHIFT, TIME_MASK, MEL_MASK, NETWORK = range(8)


@dataclass(frozen=True)
class Epochs:
    """The rule for drawing the pieces of an epoch: `draw(rng)` returns them, (length,) int64."""

    length: int
    draw: Callable[[np.random.Generator], np.ndarray]

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Return the pieces of an epoch in drawing order."""
        return self.draw(np.random.default_rng([seed, ORDER, epoch]))


def epochs_of(sampling: SamplingOptions, labels: sparse.csr_array, clip: np.ndarray | None = None) -> Epochs:
    """Return the drawing rule for a sampling option, based on the clips' hard labels.

    All pieces of a clip (its windows) are drawn with equal chance. An epoch has as many draws as there are pieces,
    except under `repeat`, where it has the sum of all repeats. The rules:

    - `shuffle`: every piece once, in random order.
    - `sum-rule`: with replacement, weighted by the sum over a clip's labels of 1 / (clips with the label) (PSLA,
      Algorithm 1).
    - `max-rule`: with replacement, weighted by the maximum over a clip's labels of (1 / prior)^beta (Moore et al.,
      equation 4).
    - `repeat`: each piece as many times as the weight of `max-rule`, rounded (Moore et al., equation 4).
    - `round-robin`: one class after the other, in a new order each round, with a random clip of the class.

    Args:
        labels: (n, K) bool, the labels of each clip.
        clip: (P,) the clip of each piece, ascending; None: each clip is one piece.

    Raises:
        InputError: beta is far too large, or no clip has a label to draw it by.
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
    raise InputError("unknown sampling rule", f"--sampling {rule}")


def weighted(weights: np.ndarray) -> Epochs:
    """Draw with replacement by weights (P,), as many times as there are pieces."""
    ends = np.cumsum(weights, dtype=np.float64)
    last = int(np.flatnonzero(weights)[-1])

    def draw(rng: np.random.Generator) -> np.ndarray:
        points = rng.random(len(ends)) * ends[-1]
        ascending = np.argsort(points)  # in ascending order, looking up millions takes a third of the time
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
    """One process's part of one step: its own `n` pieces, and the partners they are mixed with.

    Args:
        n: number of its own pieces, which are the first n of those read.
        n_of_all: number of own pieces of all processes.
        pieces: (R,) the pieces to read.
        start: (R,) where each begins within its slack, in [0, 1).
        gain: (R,) factor of its level.
        shift: (R,) share of its length by which it is shifted, in (-1, 1).
        partner: (n,) position among the pieces read of each one's partner.
        share: (n,) float32 weight of the piece itself; 1: unmixed.
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
    """Draw a step; return the part of process `rank` of `size`.

    Args:
        batch: (B,) pieces of the whole step, in drawing order.
        n_pieces: number of pieces to draw partners from.
        step: number of the step in the run.
    """
    n = len(batch)
    mix = np.random.default_rng([seed, MIX, step])
    share = mix.beta(options.mixup_alpha, options.mixup_alpha, n)
    share = np.where(mix.random(n) < options.mixup_rate, share, 1.0).astype(np.float32)
    if options.mixup_partner == "uniform":  # partners are read too, as rows n to 2 n
        read, partner = np.concatenate([batch, mix.integers(0, n_pieces, n)]), np.arange(n, 2 * n)
    else:
        read, partner = batch, mix.permutation(n)

    def uniform(stream: int, *shape: int) -> np.ndarray:
        return np.random.default_rng([seed, stream, step]).random(shape)

    start = uniform(CROP, len(read))
    gain = 10 ** (options.gain_db * (2 * uniform(GAIN, len(read)) - 1) / 20)
    shift = 2 * uniform(SHIFT, len(read)) - 1
    own = np.arange(n * rank // size, n * (rank + 1) // size)
    partner = np.where(share[own] < 1, partner[own], own)  # unmixed pieces need no partner
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
