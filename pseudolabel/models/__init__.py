"""Networks by name, and the folders that hold trained ones. Nothing slow is imported before it is needed."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from ast import parse  # `ast` is a network here
from typing import TYPE_CHECKING

from pseudolabel.errors import InputError, nearest

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from pseudolabel.models.tagger import Tagger

WEIGHTS, CONFIG = "model.safetensors", "config.json"  # of a model's folder
PRECISIONS = ("float32", "bf16")
# name -> module, class, the arguments that make the name
NETWORKS = {
    "mobilenetv2": ("mobilenetv2", "MobileNetV2", {}),
    "efficientnet_b0": ("efficientnet", "EfficientNet", {"variant": "b0"}),
    "efficientnet_b2": ("efficientnet", "EfficientNet", {"variant": "b2"}),
    "resnet50": ("resnet", "ResNet50", {}),
    "mbnet": ("mbnet", "MBNet", {}),
    "ast_tiny": ("ast", "AST", {"size": "tiny"}),
    "ast_small": ("ast", "AST", {"size": "small"}),
    "ast_base": ("ast", "AST", {"size": "base"}),
}


def check_name(name: str) -> str:
    """Return `name`; raise InputError where no network has it."""
    if name not in NETWORKS:
        close = nearest(str(name), NETWORKS)
        known = f"Known: {', '.join(NETWORKS)}."
        raise InputError(f"unknown model {name!r}", "model", f"Nearest: {close}. {known}" if close else known)
    return name


def network_options(name: str) -> list[str]:
    """Return the names of the options that `build_model` takes for a network."""
    module, class_name, fixed = NETWORKS[check_name(name)]
    network = getattr(importlib.import_module(f"pseudolabel.models.{module}"), class_name)
    return [option for option in inspect.signature(network).parameters if option not in {"n_classes", *fixed}]


def declared_options(name: str) -> list[str]:
    """Return what `network_options` does, as the network's source declares it: nothing slow is imported."""
    module, class_name, fixed = NETWORKS[check_name(name)]
    source = importlib.util.find_spec(f"pseudolabel.models.{module}").loader.get_source(f"pseudolabel.models.{module}")
    network = next(node for node in parse(source).body if getattr(node, "name", "") == class_name)
    begin = next(node for node in network.body if getattr(node, "name", "") == "__init__")
    return [one.arg for one in begin.args.args if one.arg not in {"self", "n_classes", *fixed}]


def build_model(name: str, n_classes: int, **options: object) -> nn.Module:
    """Return a network: features `(B, F, mel)` to scores `(B, n_classes)`.

    Its `options` attribute is the plain dict that builds the same network again (without pretrained weights).

    Raises:
        InputError: the name or an option is unknown, or a value breaks the network's rules.
    """
    known = network_options(name)
    for option in options:
        if option not in known:
            close = nearest(option, known)
            remedy = f"Nearest: {close}." if close else f"Known: {', '.join(known)}."
            raise InputError(f"unknown option {option!r} of {name}", "model", remedy)
    if n_classes < 1:
        raise InputError(f"a model needs at least one class, found {n_classes}", name)
    module, class_name, fixed = NETWORKS[name]
    return getattr(importlib.import_module(f"pseudolabel.models.{module}"), class_name)(n_classes, **fixed, **options)


def n_parameters(network: nn.Module, learnable: bool = False) -> int:
    """Return the number of a network's parameters; with `learnable` only of those that are not frozen."""
    return sum(value.numel() for value in network.parameters() if value.requires_grad or not learnable)


def save_model(folder: str | Path, tagger: Tagger) -> None:
    """Write `model.safetensors` and `config.json` (see `pseudolabel.models.files.save_model`)."""
    from pseudolabel.models import files

    files.save_model(folder, tagger)


def load_model(folder: str | Path, device: str = "cpu") -> Tagger:
    """Return the tagger of a folder, ready to score (see `pseudolabel.models.files.load_model`)."""
    from pseudolabel.models import files

    return files.load_model(folder, device)
