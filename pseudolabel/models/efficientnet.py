"""EfficientNet-B0 and B2 with attention over time: PSLA's model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pseudolabel.errors import InputError
from pseudolabel.models.pooling import Convolutional, build_head, in_float32

# Image size for which the library computes its static padding by default.
IMAGE_SIZES = {"b0": 224, "b2": 260}
# padding -> image size passed to the library
PADDINGS = {"dynamic": None, "static224": 224, "static260": 260, "symmetric": 224}
N_FEATURES = {"b0": 1280, "b2": 1408}


class EfficientNet(Convolutional):
    """EfficientNet on one channel; mean over the frequency rows; attention heads over time (PSLA, section III).

    Static padding for another size may round the number of frame scores down.

    Args:
        n_classes: K.
        variant: `b0` or `b2`.
        heads: attention heads; 4 is the published model, 1 its single-head variant, 0 mean pooling.
        padding: `static224`, `static260`: as efficientnet_pytorch 0.7.1 pads an image of that size, whatever the input
            (its defaults are 224 for B0 and 260 for B2); `symmetric`: half a kernel on every side, as in version 0.7.0
            at any image size, and thus as PSLA's published weights were trained; `dynamic`: TensorFlow's SAME for the
            input at hand. The same weights give different scores under another padding.
    """

    first_weight = "_conv_stem.weight"

    def __init__(self, n_classes: int, variant: str = "b2", heads: int = 4, padding: str | None = None):
        super().__init__()
        import efficientnet_pytorch

        padding = padding or f"static{IMAGE_SIZES[variant]}"
        if padding not in PADDINGS:
            raise InputError(f"padding is {padding!r}; known: {', '.join(sorted(PADDINGS))}", f"efficientnet_{variant}")
        self.options = {"heads": heads, "padding": padding}
        self.variant, size = variant, PADDINGS[padding]
        self.layers = efficientnet_pytorch.EfficientNet.from_name(
            f"efficientnet-{variant}", in_channels=1, image_size=size
        )
        if padding == "symmetric":
            pad_symmetrically(self.layers)
        self.layers._fc = nn.Identity()  # an unused layer would break distributed training
        self.layers.set_swish(memory_efficient=False)  # torch's own, one kernel
        self.head = build_head(N_FEATURES[variant], n_classes, heads)

    def maps(self, features: Tensor) -> Tensor:
        """Return `(B, C, mel / 32, F / 32)` of features `(B, F, mel)`."""
        layers = self.layers  # as its `extract_features`, except for the precision of the first convolution
        x = layers._swish(layers._bn0(in_float32(layers._conv_stem, features.transpose(1, 2).unsqueeze(1))))
        for number, block in enumerate(layers._blocks):
            rate = layers._global_params.drop_connect_rate * (number / len(layers._blocks))
            x = block(x, drop_connect_rate=rate)
        return layers._swish(layers._bn1(layers._conv_head(x)))

    def imagenet_url(self) -> str:
        """Return the URL of efficientnet_pytorch's weights."""
        from efficientnet_pytorch.utils import url_map

        return url_map[f"efficientnet-{self.variant}"]

    def from_imagenet(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert tensors of efficientnet_pytorch, or of timm's `tf_efficientnet_*`, to those of `layers`."""
        if "conv_stem.weight" in state:
            state = _renamed_from_timm(state, self.layers.state_dict(), self.variant)
        return {key: value for key, value in state.items() if not key.startswith("_fc.")}


def pad_symmetrically(layers: nn.Module) -> None:
    """Pad both sides before every convolution by the larger half of the total padding, as version 0.7.0 does.

    Version 0.7.1 puts the larger half only on the right and below.
    """
    for module in layers.modules():
        if isinstance(module, nn.ZeroPad2d):
            _, right, _, below = module.padding
            module.padding = (right, right, below, below)


def _renamed_from_timm(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], variant: str) -> dict[str, Tensor]:
    """Rename timm's tensors by position; the order comes from a model, because safetensors does not keep it."""
    import timm

    with torch.device("meta"):
        ordered = timm.create_model(f"tf_efficientnet_{variant}").state_dict()
    theirs = [key for key in ordered if not key.startswith("classifier.")]
    ours = dict(zip(theirs, expected, strict=True))
    return {ours.get(key, key): value for key, value in state.items() if not key.startswith("classifier.")}
