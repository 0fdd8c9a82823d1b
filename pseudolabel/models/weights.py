"""Read weights from elsewhere: state dicts in any common wrapping, and ImageNet weights adapted to one channel.

Weights are data: safetensors, or `torch.load(weights_only=True)`. Nothing in a file is ever executed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pseudolabel.errors import InputError, first_few
from pseudolabel.records import sha256 as checksum

HOLDERS = ("state_dict", "model_state_dict", "model")  # keys under which a checkpoint keeps its weights
DEEPEST = 8  # levels of nested holders
WRAPPER = re.compile(r"(?<![^.])(?:module|_orig_mod)\.")  # added by DataParallel and torch.compile
STEMS = ("sum", "mean", "random")


def check_sha256(path: str | Path, sha256: str | None) -> None:
    """Raise InputError if a file's checksum is not the given one; None: no check."""
    if sha256 and checksum(path) != sha256.lower():
        raise InputError(f"sha256 is {checksum(path)}, expected {sha256}", path, "Fetch the file again.")


def load_state(path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` file, or of a state dict saved by torch, on the CPU.

    Args:
        path: a file; a torch file may hold the tensors under `state_dict`, `model_state_dict` or `model`, even nested,
            and with the prefixes of DataParallel, torch.compile and Lightning (see `bare_names`).
        sha256: if given, the file must have this checksum.

    Raises:
        InputError: the file does not exist, has another checksum, or holds anything but plain tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file of weights", path)
    check_sha256(path, sha256)
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file of any kind
        # Only the first sentence: torch goes on to explain how to execute the file's contents anyway.
        reason = str(error).splitlines()[0].split(". ")[0] if str(error) else type(error).__name__
        raise InputError(f"cannot be read as plain tensors ({reason})", path) from error
    return _unwrapped(state, path)


def download_state(url: str) -> dict[str, Tensor]:
    """Download a torch file whose name contains its checksum, and return its tensors; torch caches the file.

    Raises:
        InputError: the download fails, or the checksum differs.
    """
    try:
        state = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # no connection, another checksum, a damaged file
        rule = f"weights cannot be downloaded ({error})"
        raise InputError(rule, url, "Fetch the file elsewhere and give its path.") from error
    return _unwrapped(state, url)


def _unwrapped(state: object, source: object) -> dict[str, Tensor]:
    """Return a file's tensors by their bare names; raise InputError if it holds anything else."""
    for _ in range(DEEPEST):  # a damaged file may contain itself
        held = [key for key in HOLDERS if isinstance(state, Mapping) and isinstance(state.get(key), Mapping)]
        if not held:
            break
        if len(held) > 1:
            raise InputError(f"holds several state dicts: {', '.join(held)}", source, "Save just the one to load.")
        state = state[held[0]]
    is_mapping = isinstance(state, Mapping)
    if not is_mapping or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
        raise InputError("is not a mapping from names to tensors", source)
    unusable = [
        name for name, value in state.items() if value.layout != torch.strided or value.is_meta or value.is_complex()
    ]
    if unusable:
        rule = f"{len(unusable)} tensors are sparse, complex or without numbers: {first_few(unusable)}"
        raise InputError(rule, source)
    names = bare_names(list(state))
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        rule = f"tensors repeat after wrapper prefixes are removed from their names: {first_few(repeated)}"
        raise InputError(rule, source)
    return dict(zip(names, state.values(), strict=True))


def bare_names(names: Sequence[str]) -> list[str]:
    """Strip the prefixes of wrappers from names: `module.`, `_orig_mod.`, and `model.` if all names begin with it.

    DataParallel and torch.compile may wrap only part of a network; Lightning wraps all of it.
    """
    names = [WRAPPER.sub("", name) for name in names]
    while names and all(name.startswith("model.") for name in names):
        names = [name.removeprefix("model.") for name in names]
    return names


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
