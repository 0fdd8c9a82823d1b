"""AST: a distilled vision transformer (DeiT) on patches of a log-mel spectrogram of fixed extent."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pseudolabel.errors import InputError
from pseudolabel.models.pooling import clamped, in_float32

PATCH = 16  # frames and mel bands per patch
# size -> side of the images on which AST's initial weights were trained
IMAGE_SIZES = {"tiny": 224, "small": 224, "base": 384}


def n_patches(length: int, stride: int) -> int:
    """Return how many patches fit along an axis of `length`."""
    return (length - PATCH) // stride + 1


class Patches(nn.Module):
    """Overlapping patches as tokens; replaces the `PatchEmbed` of timm's transformer."""

    def __init__(self, img_size, patch_size, in_chans, embed_dim, stride: int, **_: object):
        super().__init__()
        self.grid_size = tuple(n_patches(length, stride) for length in img_size)  # (mel, time)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens `(B, patches, D)` of `(B, 1, mel, F)`."""
        return in_float32(self.proj, x).flatten(2).transpose(1, 2)


class AST(nn.Module):
    """AST: DeiT on one channel; class and distillation tokens averaged; LayerNorm, linear, sigmoid.

    Args:
        n_classes: K.
        size: `tiny`, `small` or `base` DeiT.
        stride: of the 16 x 16 patches on both axes; at 10 they overlap (1212 patches of 128 x 1024), at 16 they do not
            (512).
        n_frames: the time extent F. A network trained on 10 s does badly on 2 s: train one per length.
        n_mels: the frequency extent.
        frozen: train only the last LayerNorm and linear layer; the transformer keeps its weights.

    Attention is fused (torch's scaled_dot_product_attention) if timm finds it, as it does in every torch in use.
    """

    frame_stride = None  # there is one set of scores for the whole extent
    first_weight = "patch_embed.proj.weight"

    def __init__(
        self,
        n_classes: int,
        size: str = "base",
        stride: int = 10,
        n_frames: int = 1024,
        n_mels: int = 128,
        frozen: bool = False,
    ):
        super().__init__()
        if min(n_frames, n_mels) < PATCH or not 1 <= stride <= PATCH:
            rule = f"n_frames and n_mels must be {PATCH} or more, stride 1 to {PATCH}"
            raise InputError(f"{rule}, not {n_frames}, {n_mels}, {stride}", f"ast_{size}")
        import timm  # takes seconds to import, so only when an AST is built

        self.options = {"stride": stride, "n_frames": n_frames, "n_mels": n_mels, "frozen": frozen}
        self.n_frames, self.min_frames, self.n_mels = n_frames, n_frames, n_mels
        self.image_model = f"deit_{size}_distilled_patch{PATCH}_{IMAGE_SIZES[size]}"
        self.layers = timm.create_model(
            self.image_model,
            img_size=(n_mels, n_frames),
            in_chans=1,
            num_classes=0,
            embed_layer=lambda **shape: Patches(stride=stride, **shape),
        )
        self.layers.requires_grad_(not frozen)
        self.norm = nn.LayerNorm(self.layers.embed_dim)
        self.linear = nn.Linear(self.layers.embed_dim, n_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return scores `(B, K)` float32 of features `(B, n_frames, n_mels)`.

        Raises:
            InputError: the features have another extent.
        """
        if features.shape[1:] != (self.n_frames, self.n_mels):
            expected = f"{self.n_frames} frames x {self.n_mels} mel bands"
            raise InputError(f"the network takes {expected}, not {' x '.join(map(str, features.shape[1:]))}", "ast")
        tokens = self.layers.forward_features(features.transpose(1, 2).unsqueeze(1))  # (B, 2 + patches, D)
        with torch.autocast(features.device.type, enabled=False):
            pooled = self.norm(tokens[:, :2].float().mean(dim=1))
            return clamped(self.linear(pooled).sigmoid())

    def imagenet_url(self) -> str:
        """Return the URL of timm's weights."""
        from timm.models import get_pretrained_cfg

        return get_pretrained_cfg(self.image_model).url

    def from_imagenet(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert timm's tensors of `deit_*_distilled_patch16_*`, for images of any size, to those of `layers`."""
        state = {key: value for key, value in state.items() if not key.startswith(("head.", "head_dist."))}
        embedding = state.get("pos_embed")
        if embedding is not None and embedding.ndim == 3:
            side = round((embedding.shape[1] - 2) ** 0.5)
            if side**2 + 2 != embedding.shape[1]:
                raise InputError(f"pos_embed has {embedding.shape[1]} rows: not 2 tokens and a square grid")
            state["pos_embed"] = fitted_positions(embedding, (side, side), self.layers.patch_embed.grid_size)
        return state


def fitted_positions(embedding: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Fit position embeddings `(1, 2 + old, D)` to a new grid; return `(1, 2 + new, D)`.

    As in AST, a shorter axis takes the middle of the old one, and a longer one is interpolated linearly.
    """
    tokens, grid = embedding[:, :2], embedding[:, 2:]
    grid = grid.transpose(1, 2).unflatten(2, old_grid)  # (1, D, mel, time)
    for axis, (old, new) in enumerate(zip(old_grid, new_grid, strict=True), start=2):
        if new < old:
            grid = grid.narrow(axis, old // 2 - new // 2, new)
    if grid.shape[2:] != tuple(new_grid):
        grid = nn.functional.interpolate(grid, size=tuple(new_grid), mode="bilinear", align_corners=False)
    return torch.cat([tokens, grid.flatten(2).transpose(1, 2)], dim=1)
