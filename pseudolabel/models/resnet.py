"""ResNet-50 with attention over time: the larger network that PSLA compares its own with."""

from __future__ import annotations

from torch import Tensor, nn

from pseudolabel.models.pooling import build_head
from pseudolabel.models.precision import in_float32

N_FEATURES = 2048


class ResNet50(nn.Module):
    """ResNet-50 on one channel; mean over the frequency rows; attention heads over time (PSLA, Table XIII).

    Args:
        n_classes: K.
        heads: attention heads; 1 is the published variant (25.66 M parameters at 527 classes), 0 mean pooling.
        pretrained: ImageNet weights: a local file of torchvision's or timm's `resnet50` tensors, or `imagenet`, which
            downloads torchvision's first ones.
        stem: how the three-channel stem of ImageNet weights becomes one: `sum`, `mean` or `random` (as PSLA).
        sha256: checksum of the file of pretrained weights.
    """

    n_frames = None  # any length
    min_frames = frame_stride = 32  # stride of the whole network, on both axes

    def __init__(
        self,
        n_classes: int,
        heads: int = 1,
        pretrained: str | None = None,
        stem: str = "sum",
        sha256: str | None = None,
    ):
        super().__init__()
        from torchvision.models import resnet50

        self.options = {"heads": heads}
        self.layers = resnet50()
        self.layers.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)  # starts as torch has it, which is PSLA's way
        self.layers.avgpool = self.layers.fc = nn.Identity()  # an unused layer would break distributed training
        if pretrained is not None:
            load_imagenet(self.layers, pretrained, stem, sha256)
        self.head = build_head(N_FEATURES, n_classes, heads)

    def _sequence(self, features: Tensor) -> Tensor:
        layers = self.layers
        x = in_float32(layers.conv1, features.transpose(1, 2).unsqueeze(1))
        x = layers.maxpool(layers.relu(layers.bn1(x)))
        x = layers.layer4(layers.layer3(layers.layer2(layers.layer1(x))))  # (B, C, mel / 32, F / 32)
        return x.mean(dim=2).transpose(1, 2)

    def frame_scores(self, features: Tensor) -> Tensor:
        """Return scores `(B, F / 32 rounded up, K)` of features `(B, F, mel)`."""
        return self.head.frame_scores(self._sequence(features))

    def forward(self, features: Tensor) -> Tensor:
        """Return scores `(B, K)` float32 of features `(B, F, mel)`."""
        return self.head(self._sequence(features))


def load_imagenet(layers: nn.Module, source: str, stem: str, sha256: str | None = None) -> None:
    """Give torchvision's `layers` (one channel, no last layer) ImageNet weights.

    Raises:
        InputError: no such file or download, or its tensors are not those of this network.
    """
    from torchvision.models import ResNet50_Weights

    from pseudolabel.models.files import imagenet_state, take_imagenet

    state = imagenet_state(source, ResNet50_Weights.IMAGENET1K_V1.url, sha256)
    state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    take_imagenet(layers, state, "conv1.weight", stem, source)
