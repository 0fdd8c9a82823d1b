"""Fit weights from elsewhere to a network: check every name and shape, adapt ImageNet weights to one channel."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pseudolabel.errors import InputError, first_few
from pseudolabel.models.checkpoints import download_state, load_state

STEMS = ("sum", "mean", "random")


def check_state(network: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """Raise InputError if names or shapes in `state` do not match `network`, or a number is not finite."""
    expected = network.state_dict()
    absent = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    reshaped = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    infinite = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    problems = (
        ("tensors are missing", absent),
        ("are unknown", unknown),
        ("have another shape", reshaped),
        ("hold NaN or infinite numbers", infinite),
    )
    said = [f"{len(names)} {what} ({first_few(names)})" for what, names in problems if names]
    if said:
        raise InputError("weights do not fit the network: " + "; ".join(said), source)


def start_from_imagenet(network: nn.Module, pretrained: str, stem: str = "sum", sha256: str | None = None) -> None:
    """Load ImageNet weights into the layers of a network that takes one channel.

    Args:
        network: has `first_weight`, the name of the weight that takes three channels in ImageNet's network;
            `imagenet_url()`, the URL of the usual weights; and `from_imagenet(state)`, which renames tensors to those
            of its `layers`.
        pretrained: a local file of weights, or `imagenet` to download the usual ones.
        stem: how three channels become one: `sum` (AST), `mean`, or `random`, the layer's initial values (PSLA).
        sha256: checksum of the file.

    Raises:
        InputError: the file or download is missing, or its tensors do not match the network.
    """
    given = download_state(network.imagenet_url()) if pretrained == "imagenet" else load_state(pretrained, sha256)
    layers, first = network.layers, network.first_weight
    try:
        state = network.from_imagenet(given)
    except InputError as error:
        raise InputError(error.message, pretrained, error.remedy) from error
    if first in state:
        state[first] = one_channel(state[first], layers.state_dict()[first], stem)
    check_state(layers, state, pretrained)
    layers.load_state_dict(state)


def one_channel(weight: Tensor, initial: Tensor, stem: str) -> Tensor:
    """Reduce a first convolution's weight `(C, 3, h, w)` to `(C, 1, h, w)`: `sum`, `mean`, or `random` (`initial`)."""
    if stem not in STEMS:
        raise InputError(f"stem is {stem!r}; known: {', '.join(STEMS)}", "model")
    if stem == "random":
        return initial
    if weight.shape[1] == 1:
        return weight
    return weight.sum(1, keepdim=True) if stem == "sum" else weight.mean(1, keepdim=True)
