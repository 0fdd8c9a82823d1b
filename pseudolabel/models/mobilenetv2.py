"""MobileNetV2: PSL's annotator and student, and PSLA's smallest network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pseudolabel.errors import InputError
from pseudolabel.models.pooling import Convolutional, MeanPooling, clamped, in_float32

# Sandler et al. 2018, Table 2: expansion, output channels, repeats, stride of the first repeat.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM_CHANNELS, LAST_CHANNELS = 32, 1280


class _ChannelsLast(Convolutional):
    """Mostly depthwise convolutions, which run twice as fast on a CPU in channels-last order."""

    def maps(self, features: Tensor) -> Tensor:
        """Return `(B, C, mel / 32, F / 32)` of features `(B, F, mel)`."""
        x = features.transpose(1, 2).unsqueeze(1).contiguous(memory_format=torch.channels_last)
        return self.layers[1:](in_float32(self.layers[0], x))


def scaled_channels(channels: int, width: float) -> int:
    """Round `channels * width` to a multiple of 8, at least 8 and never below 90 % of the product."""
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * exact else rounded + 8


def _convolution(n_in: int, n_out: int, kernel: int = 1, stride: int = 1, groups: int = 1, activate: bool = True):
    layers = [nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(n_out)]
    return nn.Sequential(*layers, nn.ReLU6()) if activate else nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; add the input if the shapes match."""

    def __init__(self, n_in: int, n_out: int, stride: int, expansion: int):
        super().__init__()
        hidden = n_in * expansion
        expand = [_convolution(n_in, hidden)] if expansion > 1 else []
        filtered = _convolution(hidden, hidden, 3, stride, groups=hidden)
        self.layers = nn.Sequential(*expand, filtered, _convolution(hidden, n_out, activate=False))
        self.residual = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, n_out, H / stride, W / stride)`."""
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNetV2(_ChannelsLast):
    """MobileNetV2 with PSL's head: mean over frequency, dropout, linear and sigmoid per frame, mean over time.

    Args:
        n_classes: K.
        width: factor on all channel counts; 1 is the published model (2.90 M parameters at 527 classes).
        last_channels: size of the last convolution; None: the published rule, 1280 * max(1, width). A narrow network
            may want fewer.
        dropout: before the last layer.
        input_norm: `none` as published (decibels are used unchanged), or `batch`: batch normalisation of each mel band.
        n_mels: mel bands of the features; matters only for `input_norm="batch"`.

    Convolutions are initialised Xavier uniform, as in PSL.
    """

    def __init__(
        self,
        n_classes: int,
        width: float = 1.0,
        last_channels: int | None = None,
        dropout: float = 0.3,
        input_norm: str = "none",
        n_mels: int = 64,
    ):
        super().__init__()
        if width <= 0 or (last_channels or 1) < 1:
            raise InputError(f"width={width}, last_channels={last_channels}: both must be positive", "mobilenetv2")
        if input_norm not in ("none", "batch"):
            raise InputError(f"input_norm is {input_norm!r}; known: none, batch", "mobilenetv2")
        last_channels = last_channels or scaled_channels(LAST_CHANNELS, max(1.0, width))
        self.options = {"width": width, "last_channels": last_channels, "dropout": dropout}
        self.options |= {"input_norm": input_norm, "n_mels": n_mels}
        self.input_norm = nn.BatchNorm1d(n_mels) if input_norm == "batch" else None
        channels = scaled_channels(STEM_CHANNELS, width)
        layers = [_convolution(1, channels, 3, 2)]
        for expansion, n_out, repeats, stride in STAGES:
            n_out = scaled_channels(n_out, width)
            for repeat in range(repeats):
                layers.append(InvertedResidual(channels, n_out, stride if repeat == 0 else 1, expansion))
                channels = n_out
        self.layers = nn.Sequential(*layers, _convolution(channels, last_channels))
        self.dropout = nn.Dropout(dropout)
        self.head = MeanPooling(last_channels, n_classes)
        for module in self.layers.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
        nn.init.normal_(self.head.linear.weight, std=0.01)
        nn.init.zeros_(self.head.linear.bias)
        self.layers.to(memory_format=torch.channels_last)

    def sequence(self, features: Tensor) -> Tensor:
        """Return `(B, F / 32, C)` of features `(B, F, mel)`."""
        if self.input_norm is not None:
            features = self.input_norm(features.transpose(1, 2)).transpose(1, 2)
        return self.dropout(super().sequence(features))


class MBNet(_ChannelsLast):
    """MobileNetV2 on one channel; mean over rows and frames, linear, sigmoid (PSLA, Table XIII: 2.90 M parameters).

    PSL's MobileNetV2 has the same layers, but scores each frame and averages the scores.

    Args:
        n_classes: K.
    """

    first_weight = "0.0.weight"

    def __init__(self, n_classes: int):
        super().__init__()
        from torchvision.models import mobilenet_v2

        self.options = {}
        self.layers = mobilenet_v2().features
        self.layers[0][0] = nn.Conv2d(1, STEM_CHANNELS, 3, 2, 1, bias=False)
        self.linear = nn.Linear(LAST_CHANNELS, n_classes)
        self.layers.to(memory_format=torch.channels_last)

    def _answers(self, features: Tensor) -> Tensor:
        return clamped(in_float32(self.linear, features).sigmoid())

    def frame_scores(self, features: Tensor) -> Tensor:
        """Return scores `(B, F / 32 rounded up, K)` of features `(B, F, mel)`, as if each frame were a clip."""
        return self._answers(self.sequence(features))

    def forward(self, features: Tensor) -> Tensor:
        """Return scores `(B, K)` float32 of features `(B, F, mel)`."""
        return self._answers(self.sequence(features).float().mean(dim=1))

    def imagenet_url(self) -> str:
        """Return the URL of torchvision's first weights, which PSLA used."""
        from torchvision.models import MobileNet_V2_Weights

        return MobileNet_V2_Weights.IMAGENET1K_V1.url

    def from_imagenet(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert torchvision's tensors of `mobilenet_v2` to those of `layers`."""
        return {
            key.removeprefix("features."): value for key, value in state.items() if not key.startswith("classifier.")
        }
