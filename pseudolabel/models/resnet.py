"""ResNet-50 with attention over time: the larger network to which PSLA compares its own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pseudolabel.models.pooling import Convolutional, build_head, in_float32

N_FEATURES = 2048


class ResNet50(Convolutional):
    """ResNet-50 on one channel; mean over the frequency rows; attention heads over time (PSLA, Table XIII).

    Args:
        n_classes: K.
        heads: attention heads; 1 is the published variant (25.66 M parameters at 527 classes), 0 mean pooling.
    """

    first_weight = "conv1.weight"

    def __init__(self, n_classes: int, heads: int = 1):
        super().__init__()
        from torchvision.models import resnet50

        self.options = {"heads": heads}
        self.layers = resnet50()
        self.layers.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)  # with torch's default initialisation, as in PSLA
        self.layers.avgpool = self.layers.fc = nn.Identity()  # an unused layer would break distributed training
        self.head = build_head(N_FEATURES, n_classes, heads)

    def maps(self, features: Tensor) -> Tensor:
        """Return `(B, C, mel / 32, F / 32)` of features `(B, F, mel)`."""
        layers = self.layers
        x = in_float32(layers.conv1, features.transpose(1, 2).unsqueeze(1))
        x = layers.maxpool(layers.relu(layers.bn1(x)))
        return layers.layer4(layers.layer3(layers.layer2(layers.layer1(x))))

    def imagenet_url(self) -> str:
        """Return the URL of torchvision's first weights, which PSLA used."""
        from torchvision.models import ResNet50_Weights

        return ResNet50_Weights.IMAGENET1K_V1.url

    def from_imagenet(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert torchvision's or timm's tensors of `resnet50` to those of `layers`."""
        return {key: value for key, value in state.items() if not key.startswith("fc.")}
