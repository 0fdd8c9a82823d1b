"""Networks by name, each with its class, options and published front end."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pseudolabel.errors import InputError, nearest, nearest_or_all

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("float32", "bf16")  # in which a model computes
# Published front ends, as differences from the defaults of their kind. In seconds, so valid at any sample rate.
PSL_FRONT_END = {"name": "log_mel"}  # 64 mel bands, decibels, no normalisation
PSLA_FRONT_END = {"name": "kaldi_fbank", "mean": -4.6476, "std": 4.5699}
AST_FRONT_END = {"name": "kaldi_fbank", "mean": -4.2677393, "std": 2 * 4.5689974}


@dataclass(frozen=True)
class Network:
    """The definition of a named network.

    Args:
        module, class_name: location of its class, imported only when a network is built.
        front_end: the published front end.
        options: arguments of the class that a user may choose.
        fixed: arguments of the class that the name implies.
        imagenet: whether it can start from ImageNet weights (`weights.start_from_imagenet`).
    """

    module: str
    class_name: str
    front_end: Mapping[str, object]
    options: tuple[str, ...]
    fixed: Mapping[str, object] = field(default_factory=dict)
    imagenet: bool = True

    def build(self, n_classes: int, options: Mapping[str, object]) -> nn.Module:
        """Build the untrained network."""
        module = importlib.import_module(f"pseudolabel.models.{self.module}")
        return getattr(module, self.class_name)(n_classes, **self.fixed, **options)


def _efficientnet(variant: str) -> Network:
    return Network("efficientnet", "EfficientNet", PSLA_FRONT_END, ("heads", "padding"), {"variant": variant})


def _ast(size: str) -> Network:
    return Network("ast", "AST", AST_FRONT_END, ("stride", "n_frames", "n_mels", "frozen"), {"size": size})


MOBILENET_OPTIONS = ("width", "last_channels", "dropout", "input_norm", "n_mels")
NETWORKS = {
    "mobilenetv2": Network("mobilenetv2", "MobileNetV2", PSL_FRONT_END, MOBILENET_OPTIONS, imagenet=False),
    "efficientnet_b0": _efficientnet("b0"),
    "efficientnet_b2": _efficientnet("b2"),
    "resnet50": Network("resnet", "ResNet50", PSLA_FRONT_END, ("heads",)),
    "mbnet": Network("mobilenetv2", "MBNet", PSLA_FRONT_END, ()),
    "ast_tiny": _ast("tiny"),
    "ast_small": _ast("small"),
    "ast_base": _ast("base"),
}
IMAGENET_OPTIONS = ("pretrained", "stem", "sha256")


def find_network(name: str) -> Network:
    """Return the network of that name; raise InputError if there is none."""
    if name not in NETWORKS:
        close = nearest(str(name), NETWORKS)
        all_names = f"Known: {', '.join(NETWORKS)}."
        raise InputError(f"unknown model {name!r}", "model", f"Nearest: {close}. {all_names}" if close else all_names)
    return NETWORKS[name]


def network_options(name: str) -> tuple[str, ...]:
    """Return the names of the options that `build_model` accepts for a network."""
    network = find_network(name)
    return network.options + (IMAGENET_OPTIONS if network.imagenet else ())


def with_published_front_end(name: str, given: Mapping[str, object]) -> dict[str, object]:
    """Update a network's published front end with `given`; if `given` names another kind, return it unchanged."""
    published = find_network(name).front_end
    return {**published, **given} if given.get("name", published["name"]) == published["name"] else dict(given)


def build_model(name: str, n_classes: int, **options: object) -> nn.Module:
    """Build a network: features `(B, F, mel)` to scores `(B, n_classes)`.

    Its `options` attribute is the plain dict that rebuilds the same network (without pretrained weights).

    Args:
        options: those of the network's class and, if it can start from ImageNet weights, those of
            `weights.start_from_imagenet`: `pretrained`, `stem` and `sha256`.

    Raises:
        InputError: the name or an option is unknown, or a value is invalid.
    """
    allowed = network_options(name)
    for option in options:
        if option not in allowed:
            raise InputError(f"unknown option {option!r} of {name}", "model", nearest_or_all(option, allowed))
    if n_classes < 1:
        raise InputError(f"a model needs at least one class, not {n_classes}", name)
    imagenet = {option: options.pop(option) for option in IMAGENET_OPTIONS if option in options}
    network = NETWORKS[name].build(n_classes, options)
    if imagenet.get("pretrained") is not None:
        from pseudolabel.models.weights import start_from_imagenet

        start_from_imagenet(network, **imagenet)
    return network


def n_parameters(network: nn.Module, learnable: bool = False) -> int:
    """Return the number of a network's parameters; with `learnable`, only those not frozen."""
    return sum(value.numel() for value in network.parameters() if value.requires_grad or not learnable)
