"""Shared parts of networks: heads that pool a clip's frames, and layers that stay in float32 under autocast.

bfloat16 has 8 significant bits. Near -80 dB its numbers are half a decibel apart, so features stay in float32 through a
network's first convolution. It has 27 numbers between 0.9 and 1, so the last layer, its sigmoid and the pooling never
run in it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pseudolabel.errors import InputError

EPSILON = 1e-7  # scores are in [EPSILON, 1 - EPSILON], which keeps the binary cross-entropy finite


def clamped(scores: Tensor) -> Tensor:
    """Clamp `scores` to [EPSILON, 1 - EPSILON]."""
    return scores.clamp(EPSILON, 1.0 - EPSILON)


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """Compute `layer(x)` in float32, even under autocast."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())


class Convolutional(nn.Module):
    """A convolutional network for features of any length: `maps`, mean over frequency, `head`."""

    n_frames = None  # any length
    min_frames = frame_stride = 32  # stride of the whole network, on both axes

    def maps(self, features: Tensor) -> Tensor:
        """Return `(B, C, mel / 32, F / 32)` of features `(B, F, mel)`."""
        raise NotImplementedError

    def sequence(self, features: Tensor) -> Tensor:
        """Return `(B, F / 32, C)` of features `(B, F, mel)`."""
        return self.maps(features).mean(dim=2).transpose(1, 2)

    def frame_scores(self, features: Tensor) -> Tensor:
        """Return scores `(B, F / 32 rounded up, K)` of features `(B, F, mel)`."""
        return self.head.frame_scores(self.sequence(features))

    def forward(self, features: Tensor) -> Tensor:
        """Return scores `(B, K)` float32 of features `(B, F, mel)`."""
        return self.head(self.sequence(features))


def build_head(n_features: int, n_classes: int, heads: int) -> nn.Module:
    """Return attention pooling with `heads` heads, or mean pooling if it is 0 (PSLA, Table XIII)."""
    return AttentionPooling(n_features, n_classes, heads) if heads else MeanPooling(n_features, n_classes)


class MeanPooling(nn.Module):
    """Decision mean: linear and sigmoid per frame, mean over time (PSL; PSLA's `mean pooling`)."""

    def __init__(self, n_features: int, n_classes: int):
        super().__init__()
        self.linear = nn.Linear(n_features, n_classes)
        nn.init.kaiming_uniform_(self.linear.weight, nonlinearity="relu")  # as in PSLA; MobileNetV2 overrides it
        nn.init.zeros_(self.linear.bias)

    def frame_scores(self, sequence: Tensor) -> Tensor:
        """Return scores `(B, F, K)` of a sequence `(B, F, C)`."""
        return clamped(in_float32(self.linear, sequence).sigmoid())

    def forward(self, sequence: Tensor) -> Tensor:
        """Return scores `(B, K)` of a sequence `(B, F, C)`."""
        return clamped(self.frame_scores(sequence).mean(dim=1))


class AttentionPooling(nn.Module):
    """PSLA's attention: each head weights its frame scores by an attention normalised over time.

    A head has two linear layers with sigmoids, one for the attention and one for the classes. Several heads are summed
    with learned weights that start at 1 / heads and need not keep summing to 1, hence the clamp. A single head has no
    such weight.
    """

    def __init__(self, n_features: int, n_classes: int, heads: int = 4):
        super().__init__()
        if heads < 1:
            raise InputError(f"attention needs at least one head, not {heads}", "heads")
        self.heads, self.n_classes = heads, n_classes
        self.attention = nn.Linear(n_features, heads * n_classes)
        self.classes = nn.Linear(n_features, heads * n_classes)
        self.head_weights = nn.Parameter(torch.full((heads,), 1.0 / heads)) if heads > 1 else None
        if heads == 1:  # as in PSLA's code, He uniform; several heads keep torch's default
            for layer in (self.attention, self.classes):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def _per_head(self, layer: nn.Linear, sequence: Tensor) -> Tensor:
        return layer(sequence).sigmoid().unflatten(-1, (self.heads, self.n_classes))  # (B, F, heads, K)

    def _joined(self, per_head: Tensor) -> Tensor:
        if self.head_weights is None:
            return clamped(per_head.squeeze(-2))
        return clamped((per_head * self.head_weights[:, None]).sum(dim=-2))

    def frame_scores(self, sequence: Tensor) -> Tensor:
        """Return the class branch's scores `(B, F, K)`, heads combined, without the attention."""
        with torch.autocast(sequence.device.type, enabled=False):
            return self._joined(self._per_head(self.classes, sequence.float()))

    def forward(self, sequence: Tensor) -> Tensor:
        """Return scores `(B, K)` of a sequence `(B, F, C)`."""
        with torch.autocast(sequence.device.type, enabled=False):
            sequence = sequence.float()
            attention = clamped(self._per_head(self.attention, sequence))
            attention = attention / attention.sum(dim=1, keepdim=True)
            return self._joined((attention * self._per_head(self.classes, sequence)).sum(dim=1))
