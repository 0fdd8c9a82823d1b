"""EfficientNet-B0 and B2 with attention over time: PSLA's model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pseudolabel.errors import InputError
from pseudolabel.models.pooling import build_head
from pseudolabel.models.precision import in_float32

# The image size for which the library computes its static padding by default, and the width of the features.
IMAGE_SIZES = {"b0": 224, "b2": 260}
# padding -> the image size that the library is given
PADDINGS = {"dynamic": None, "static224": 224, "static260": 260, "symmetric": 224}
N_FEATURES = {"b0": 1280, "b2": 1408}


class EfficientNet(nn.Module):
    """EfficientNet on one channel; mean over the frequency rows; attention heads over time (PSLA, section III).

    Args:
        n_classes: K.
        variant: `b0` or `b2`.
        heads: attention heads; 4 is the published model, 1 its single-head variant, 0 mean pooling.
        padding: `static224`, `static260`: as efficientnet_pytorch 0.7.1 pads an image of that size, whatever the input
            (its default, 224 for B0 and 260 for B2); `symmetric`: half a kernel on every side, which is what version
            0.7.0 does at any image size, and so what PSLA's published weights were trained with; `dynamic`:
            TensorFlow's SAME for the input at hand. The same weights give other answers under another padding.
        pretrained: ImageNet weights: a local file of efficientnet_pytorch's or timm's (`tf_efficientnet_*`)
            tensors, or `imagenet`, which downloads efficientnet_pytorch's.
        stem: how the three-channel stem of ImageNet weights becomes one: `sum`, `mean` or `random` (as the library
            does, and so PSLA).
        sha256: checksum of the file of pretrained weights.
    """

    n_frames = None  # any length
    min_frames = frame_stride = 32  # stride of the whole network, on both axes

    def __init__(
        self,
        n_classes: int,
        variant: str = "b2",
        heads: int = 4,
        padding: str | None = None,
        pretrained: str | None = None,
        stem: str = "sum",
        sha256: str | None = None,
    ):
        super().__init__()
        import efficientnet_pytorch

        padding = padding or f"static{IMAGE_SIZES[variant]}"
        if padding not in PADDINGS:
            raise InputError(f"padding is {padding!r}; known: {', '.join(sorted(PADDINGS))}", f"efficientnet_{variant}")
        self.options = {"heads": heads, "padding": padding}
        name = f"efficientnet-{variant}"
        self.layers = efficientnet_pytorch.EfficientNet.from_name(name, in_channels=1, image_size=PADDINGS[padding])
        if padding == "symmetric":
            pad_symmetrically(self.layers)
        self.layers._fc = nn.Identity()  # an unused layer would break distributed training
        self.layers.set_swish(memory_efficient=False)  # torch's own, one kernel
        if pretrained is not None:
            load_imagenet(self.layers, name, pretrained, stem, sha256)
        self.head = build_head(N_FEATURES[variant], n_classes, heads)

    def _sequence(self, features: Tensor) -> Tensor:
        layers = self.layers  # as its `extract_features`, but for the precision of the first convolution
        x = layers._swish(layers._bn0(in_float32(layers._conv_stem, features.transpose(1, 2).unsqueeze(1))))
        for number, block in enumerate(layers._blocks):
            rate = layers._global_params.drop_connect_rate * (number / len(layers._blocks))
            x = block(x, drop_connect_rate=rate)
        x = layers._swish(layers._bn1(layers._conv_head(x)))  # (B, C, mel / 32, F / 32)
        return x.mean(dim=2).transpose(1, 2)

    def frame_scores(self, features: Tensor) -> Tensor:
        """Return scores `(B, F / 32, K)` of features `(B, F, mel)`; static padding of another size may round down."""
        return self.head.frame_scores(self._sequence(features))

    def forward(self, features: Tensor) -> Tensor:
        """Return scores `(B, K)` float32 of features `(B, F, mel)`."""
        return self.head(self._sequence(features))


def pad_symmetrically(layers: nn.Module) -> None:
    """Pad before every convolution on both sides with the larger half of what is missing, as version 0.7.0 does.

    Version 0.7.1 puts the larger half on the right and below only.
    """
    for module in layers.modules():
        if isinstance(module, nn.ZeroPad2d):
            _, right, _, below = module.padding
            module.padding = (right, right, below, below)


def load_imagenet(layers: nn.Module, name: str, source: str, stem: str, sha256: str | None = None) -> None:
    """Give efficientnet_pytorch's `layers` (one channel, no last layer) ImageNet weights.

    Raises:
        InputError: no such file or download, or its tensors are not those of this network.
    """
    from efficientnet_pytorch.utils import url_map

    from pseudolabel.models.files import imagenet_state, take_imagenet

    state = imagenet_state(source, url_map[name], sha256)
    if "conv_stem.weight" in state:
        state = _renamed_from_timm(state, layers.state_dict(), name)
    state = {key: value for key, value in state.items() if not key.startswith("_fc.")}
    take_imagenet(layers, state, "_conv_stem.weight", stem, source)


def _renamed_from_timm(state, expected, name):
    """timm has the same tensors in the same order; safetensors forgets the order, so a timm model tells it."""
    import timm

    with torch.device("meta"):
        ordered = timm.create_model(f"tf_{name.replace('-', '_')}").state_dict()
    theirs = [key for key in ordered if not key.startswith("classifier.")]
    ours = dict(zip(theirs, expected, strict=True))
    return {ours.get(key, key): value for key, value in state.items() if not key.startswith("classifier.")}
