"""MobileNetV2 with one linear layer on the mean of all features: the smallest network that PSLA trains."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pseudolabel.models.pooling import clamped
from pseudolabel.models.precision import in_float32

N_FEATURES = 1280


class MBNet(nn.Module):
    """MobileNetV2 on one channel; mean over rows and frames, linear, sigmoid (PSLA, Table XIII: 2.90 M parameters).

    PSL's MobileNetV2 has the same layers, but answers frame by frame and takes the mean of the answers.

    Args:
        n_classes: K.
        pretrained: ImageNet weights: a local file of torchvision's `mobilenet_v2` tensors, or `imagenet`, which
            downloads torchvision's first ones, those of PSLA.
        stem: how the three-channel stem of ImageNet weights becomes one: `sum`, `mean` or `random` (as PSLA).
        sha256: checksum of the file of pretrained weights.
    """

    n_frames = None  # any length
    min_frames = frame_stride = 32  # stride of the whole network, on both axes

    def __init__(self, n_classes: int, pretrained: str | None = None, stem: str = "sum", sha256: str | None = None):
        super().__init__()
        from torchvision.models import mobilenet_v2

        self.options = {}
        self.layers = mobilenet_v2().features
        self.layers[0][0] = nn.Conv2d(1, 32, 3, 2, 1, bias=False)
        if pretrained is not None:
            load_imagenet(self.layers, pretrained, stem, sha256)
        self.linear = nn.Linear(N_FEATURES, n_classes)
        self.layers.to(memory_format=torch.channels_last)  # twice as fast on a CPU, where most time goes by channel

    def _sequence(self, features: Tensor) -> Tensor:
        x = features.transpose(1, 2).unsqueeze(1).contiguous(memory_format=torch.channels_last)
        x = self.layers[1:](in_float32(self.layers[0], x))  # (B, C, mel / 32, F / 32)
        return x.mean(dim=2).transpose(1, 2)

    def _answers(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return clamped(self.linear(features.float()).sigmoid())

    def frame_scores(self, features: Tensor) -> Tensor:
        """Return scores `(B, F / 32 rounded up, K)` of features `(B, F, mel)`: what a frame alone would be answered."""
        return self._answers(self._sequence(features))

    def forward(self, features: Tensor) -> Tensor:
        """Return scores `(B, K)` float32 of features `(B, F, mel)`."""
        return self._answers(self._sequence(features).float().mean(dim=1))


def load_imagenet(layers: nn.Module, source: str, stem: str, sha256: str | None = None) -> None:
    """Give torchvision's `layers` (one channel, no last layer) ImageNet weights.

    Raises:
        InputError: no such file or download, or its tensors are not those of this network.
    """
    from torchvision.models import MobileNet_V2_Weights

    from pseudolabel.models.files import imagenet_state, take_imagenet

    state = imagenet_state(source, MobileNet_V2_Weights.IMAGENET1K_V1.url, sha256)
    state = {key.removeprefix("features."): value for key, value in state.items() if not key.startswith("classifier.")}
    take_imagenet(layers, state, "0.0.weight", stem, source)
