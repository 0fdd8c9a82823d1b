"""Which tensor of a published file is which of ours, and what network, options and front end it belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from pseudolabel.errors import InputError, first_few
from pseudolabel.models.ast import n_patches
from pseudolabel.models.efficientnet import N_FEATURES
from pseudolabel.models.presets import AST_FRONT_END, PSL_FRONT_END, PSLA_FRONT_END

# classes of a published file -> their vocabulary, and the frames that PSLA's program cuts or fills a clip to
PUBLISHED_ON = {527: ("audioset", 1056), 200: ("fsd50k", 3000)}
AST_FRAMES, N_MELS = 1024, 128
AST_STRIDES = (10, 12, 14, 16)  # of the published ones
AST_SIZES = {192: "tiny", 384: "small", 768: "base"}  # by the width of the tokens
# What ImageNet's classes were answered with. It is among the published tensors and in no answer.
UNUSED = re.compile(r"(effnet\._fc|v\.head|v\.head_dist)\.(weight|bias)")
OURS = ("layers.", "head.", "norm.", "linear.")  # how our own networks' names begin
TRANSFORMERS = "audio_spectrogram_transformer."
TRANSFORMERS_NAMES = (  # the transformers library's part of a name, and the authors'; version 5 renamed some
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.distillation_token", "dist_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("encoder.layer.", "blocks."),
    (f"{TRANSFORMERS}layers.", f"{TRANSFORMERS}blocks."),
    ("attention.output.dense", "attn.proj"),
    ("attention.o_proj", "attn.proj"),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
    (f"{TRANSFORMERS}layernorm", f"{TRANSFORMERS}norm"),
    (TRANSFORMERS, "v."),
    ("classifier.layernorm", "mlp_head.0"),
    ("classifier.dense", "mlp_head.1"),
)
BRANCH = re.compile(
    rf"{re.escape(TRANSFORMERS)}(?:encoder\.layer|layers)\.(\d+)\.attention\."
    r"(?:attention\.(query|key|value)|([qkv])_proj)\.(weight|bias)"
)


class Converted(NamedTuple):
    """A published file as ours: the tagger's config without classes, the network's state dict, how many classes."""

    config: dict[str, object]
    weights: dict[str, Tensor]
    n_classes: int


def kind_of(state: Mapping[str, Tensor], place: object) -> str:
    """Return `psla`, `ast` or `psl`, whichever the names of the tensors are those of.

    Raises:
        InputError: none; the message names what is there.
    """
    return _reader(state, place)[0]


def converted(state: Mapping[str, Tensor], place: object, frames: int | None = None) -> Converted:
    """Return published tensors as those of our network, with the config that belongs around it.

    Args:
        state: names to tensors, as `load_state` returns them.
        place: the file, which messages name.
        frames: PSLA's: frames that clips are filled to, by default those of its programs; AST's: its extent.

    Raises:
        InputError: a tensor is missing, misshapen or alien.
    """
    kind, reader = _reader(state, place)
    state = {name: value for name, value in state.items() if not UNUSED.fullmatch(name)}
    alien = [name for name in state if name.startswith(OURS)]  # it would take the place of a renamed one
    if alien:
        raise InputError(f"looks like {kind}, but has {len(alien)} unknown tensors ({first_few(alien)})", place)
    try:
        return reader(state, frames)
    except InputError as error:
        raise InputError(error.message, place, error.remedy) from error
    except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"looks like {kind}, but a tensor is missing or misshapen ({reason})", place) from error


def _reader(state, place):
    if any(name.startswith(TRANSFORMERS) for name in state):
        return "ast", _ast
    for marks, kind, reader in MARKS:
        if all(mark in state for mark in marks):
            return kind, reader
    kinds = ", ".join(dict.fromkeys(kind for _, kind, _ in MARKS))
    rule = f"not the weights of {kinds}: none has its {len(state)} tensors ({first_few(state) or 'empty'})"
    raise InputError(rule, place, "Training takes ImageNet weights by --pretrained; run folders need no conversion.")


# ---- PSLA -------------------------------------------------------------------------------------------------------


def _efficientnet(state, frames):
    weights = _renamed(state, ("effnet.", "layers."))
    heads, last = _take_attention(weights)
    variant = next((name for name, width in N_FEATURES.items() if width == last.shape[1]), None)
    if variant is None:
        raise InputError(f"EfficientNet with {last.shape[1]} features; known: {N_FEATURES}")
    options = {"heads": heads, "padding": "symmetric"}
    return _psla(f"efficientnet_{variant}", options, weights, len(last) // max(1, heads), frames)


def _resnet(state, frames):
    """ResNet-50: its program takes 33 steps in time from the network, so no clips of 30 s."""
    weights = _renamed(state, ("model.", "layers."))
    heads, last = _take_attention(weights)
    return _psla("resnet50", {"heads": heads}, weights, len(last) // max(1, heads), frames or PUBLISHED_ON[527][1])


def _mbnet(state, frames):
    weights = _renamed(state, ("features.", "layers."), ("classifier.", "linear."))
    return _psla("mbnet", {}, weights, len(weights["linear.weight"]), frames)


def _psla(name, options, weights, n_classes, frames):
    config = {
        "name": name,
        "options": options,
        "front_end": PSLA_FRONT_END,
        "fill": _zero_before_normalisation(PSLA_FRONT_END),
        "min_frames": frames or PUBLISHED_ON.get(n_classes, PUBLISHED_ON[527])[1],
    }
    return Converted(config, weights, n_classes)


def _take_attention(weights):
    """Make of 1 x 1 convolutions per head one linear layer per branch; return how many heads, and the last layer."""
    heads = sum(re.fullmatch(r"attention\.cla\.\d+\.weight", name) is not None for name in weights)
    numbers = [f"{head}." for head in range(heads)] or [""]
    heads = heads or int("attention.att.weight" in weights)  # one head has no number; mean pooling has no attention
    branches = {"att": "head.attention", "cla": "head.classes"} if heads else {"cla": "head.linear"}
    for theirs, ours in branches.items():
        kernels = [weights.pop(f"attention.{theirs}.{number}weight").squeeze((2, 3)) for number in numbers]
        weights[f"{ours}.weight"] = torch.cat(kernels)
        weights[f"{ours}.bias"] = torch.cat([weights.pop(f"attention.{theirs}.{number}bias") for number in numbers])
    if heads > 1:
        weights["head.head_weights"] = weights.pop("attention.head_weight")
    return heads, weights[f"{branches['cla']}.weight"]


# ---- AST --------------------------------------------------------------------------------------------------------


def _ast(state, frames):
    """AST: the transformer has timm's names; how many positions there are tells the stride."""
    state, frames = _named_by_authors(state), frames or AST_FRAMES
    positions, width = state["v.pos_embed"].shape[1] - 2, state["v.pos_embed"].shape[2]
    grids = {stride: n_patches(N_MELS, stride) * n_patches(frames, stride) for stride in AST_STRIDES}
    stride = next((stride for stride, count in grids.items() if count == positions), None)
    if stride is None or width not in AST_SIZES:
        rule = f"AST with {positions} positions of width {width}; known on {frames} x {N_MELS}: "
        counts = f"{', '.join(map(str, grids.values()))} positions, widths {list(AST_SIZES)}"
        raise InputError(f"{rule}{counts}", "", "Give the --frames that it was trained on, if others.")
    config = {
        "name": f"ast_{AST_SIZES[width]}",
        "options": {"stride": stride, "n_frames": frames, "n_mels": N_MELS},
        "front_end": AST_FRONT_END,
        "window_s": 10.0 if frames == AST_FRAMES else None,
        "fill": _zero_before_normalisation(AST_FRONT_END),
    }
    weights = _renamed(state, ("v.", "layers."), ("mlp_head.0.", "norm."), ("mlp_head.1.", "linear."))
    return Converted(config, weights, len(weights["linear.weight"]))


def _named_by_authors(state):
    """Return AST's tensors as its authors name them, where they are named as the transformers library does."""
    renamed, parts = {}, {}
    for name, value in state.items():
        branch = BRANCH.fullmatch(name)
        if branch:
            parts.setdefault(f"v.blocks.{branch[1]}.attn.qkv.{branch[4]}", {})[(branch[2] or branch[3])[0]] = value
            continue
        for theirs, ours in TRANSFORMERS_NAMES:
            name = name.replace(theirs, ours)
        renamed[name] = value
    if len(renamed) + sum(map(len, parts.values())) < len(state):
        raise InputError("some of its tensors are there twice, under the names of two versions")
    whole = {name: part for name, part in parts.items() if len(part) == 3}
    return renamed | {name: torch.cat([part[key] for key in "qkv"]) for name, part in whole.items()}


# ---- PSL --------------------------------------------------------------------------------------------------------


def _psl(state, frames):
    """MobileNetV2: torchvision's names; its front end is in the file and must be ours."""
    weights = {_psl_name(name): value for name, value in state.items()}
    return Converted({"name": "mobilenetv2", "front_end": PSL_FRONT_END}, weights, len(weights["head.linear.weight"]))


def _psl_name(name):
    """Within a block, the last convolution and its normalisation have no inner number there, and have one here."""
    last = re.fullmatch(r"features\.(\d+)\.conv\.(\d+)\.([a-z_]+)", name)
    if last:
        block, layer = int(last[1]), int(last[2])
        before = 1 if block == 1 else 2  # layers before it: the first block does not expand
        return f"layers.{block}.layers.{before}.{layer - before}.{last[3]}"
    name = re.sub(r"^features\.(\d+)\.conv\.", r"layers.\1.layers.", name)
    return _with_prefix(name, (("features.", "layers."), ("classifier.1.", "head.linear.")))


def _renamed(state, *prefixes):
    return {_with_prefix(name, prefixes): value for name, value in state.items()}


def _with_prefix(name, prefixes):
    for theirs, ours in prefixes:
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return name


def _zero_before_normalisation(front_end):
    return (0.0 - front_end["mean"]) / front_end["std"]


MARKS = (  # tensors that a file has, its kind, and what reads it
    (("effnet._conv_stem.weight",), "psla", _efficientnet),
    (("model.conv1.weight",), "psla", _resnet),
    (("features.0.0.weight", "classifier.weight"), "psla", _mbnet),
    (("v.cls_token",), "ast", _ast),
    (("features.0.0.weight",), "psl", _psl),
)
