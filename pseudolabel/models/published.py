"""Convert weights published by the papers' authors to taggers: the network's tensors and everything around it.

Supported are PSLA's EfficientNet-B0 and B2 (4 heads, 1 head or mean pooling), ResNet-50 and MobileNetV2 (mbnet), for
AudioSet and FSD50K; AST (tiny, small, base; strides 10 to 16; files of the authors and of the transformers library,
before and since version 5); PSL's MobileNetV2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.models.ast import n_patches
from pseudolabel.models.checkpoints import choose_part, load_state, part_of, parts_with
from pseudolabel.models.efficientnet import N_FEATURES
from pseudolabel.models.networks import AST_FRONT_END, PSL_FRONT_END, PSLA_FRONT_END
from pseudolabel.models.tagger import Tagger, build_tagger
from pseudolabel.models.weights import check_state

KINDS = ("psla", "ast", "psl")
LEAST_FRAMES, MOST_FRAMES = 32, 100_000  # range of lengths to which clips may be filled
# number of classes -> vocabulary, and the frames to which PSLA's code cuts or fills a clip
PUBLISHED_ON = {527: ("audioset", 1056), 200: ("fsd50k", 3000)}
AST_FRAMES, N_MELS = 1024, 128
AST_STRIDES = (10, 12, 14, 16)  # of the published models
AST_SIZES = {192: "tiny", 384: "small", 768: "base"}  # by token width
# Layers for ImageNet's classes: among the published tensors, but not used for any score.
UNUSED = re.compile(r"(effnet\._fc|v\.head|v\.head_dist)\.(weight|bias)")
OURS = ("layers.", "head.", "norm.", "linear.")  # prefixes of our own networks' tensors
TRANSFORMERS = "audio_spectrogram_transformer."
TRANSFORMERS_NAMES = (  # (part of a name in the transformers library, in the authors' files); version 5 renamed some
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
    """A converted file: the tagger's config without classes, the network's state dict, and the number of classes."""

    config: dict[str, object]
    weights: dict[str, Tensor]
    n_classes: int


def load_published(
    path: str | Path,
    kind: str | None = None,
    sha256: str | None = None,
    vocabulary: str | Path | None = None,
    frames: int | None = None,
    cut: bool = False,
) -> Tagger:
    """Load a published file of weights as a tagger, in eval mode on the CPU; every tensor must be accounted for.

    Everything around the network is as in its authors' code: PSLA on 1,056 frames (3,000 for FSD50K) and AST on 1,024,
    with shorter clips filled with 0 before normalisation (+1.02 and +0.47 sigma); PSLA's `symmetric` padding of
    convolutions; PSL on decibels of any length. Two things differ: PSL's `top_db` is relative to each clip's own
    maximum, not the batch's; and longer clips are scored to their end, unless `cut`. Scores are computed in float32.

    Args:
        path: a torch or safetensors file, read as plain tensors; nothing in it is executed.
        kind: `psla`, `ast` or `psl`; None: inferred from the tensors.
        sha256: if given, the file must have this checksum.
        vocabulary: the model's classes in its order, as accepted by `Vocabulary.load`. None: `audioset` for 527
            classes, `fsd50k` for 200, each in the order of the list published with the data.
        frames: length to which shorter clips are filled; for AST, the extent for which its positions were trained.
        cut: ignore frames beyond that length, as the authors' code does.

    Raises:
        InputError: the checksum, kind or number of classes differs; tensors are missing, unknown or misshapen; or
            `frames` or `cut` is given for a network trained on clips of any length.
    """
    state, actual, reader = _recognized(load_state(path, sha256), path)
    if kind not in (None, actual):
        raise InputError(f"its tensors are those of {actual}, not of {kind!r}", path, f"Kinds: {', '.join(KINDS)}.")
    if actual == "psl" and (frames is not None or cut):
        rule = "PSL's network takes clips of any length as they are: --frames and --cut have no meaning"
        raise InputError(rule, path, "Leave them out.")
    check_frames(frames)
    config, weights, n_classes = _converted(state, path, frames, actual, reader)
    if cut:
        config["max_frames"] = config.get("min_frames") or config["options"]["n_frames"]
    classes = _classes(vocabulary, n_classes, path)
    identity = {"class_ids": classes.class_ids, "class_names": classes.names, "precision": "float32"}
    with torch.random.fork_rng(devices=[]):  # initial weights are replaced; keep the caller's random state
        tagger = build_tagger({**config, **identity})
    _check_front_end(tagger, weights, path)
    check_state(tagger.network, weights, path)
    tagger.network.load_state_dict(weights)
    return tagger.eval()


def check_frames(frames: int | None) -> None:
    """Raise InputError if clips cannot be filled to that many frames."""
    if frames is not None and not LEAST_FRAMES <= frames <= MOST_FRAMES:
        raise InputError(f"is {frames}, which must be {LEAST_FRAMES} to {MOST_FRAMES}", "--frames")


def _classes(vocabulary: str | Path | None, n_classes: int, source: object) -> Vocabulary:
    if vocabulary is None:
        if n_classes not in PUBLISHED_ON:
            lists = ", ".join(f"{name} {count}" for count, (name, _) in PUBLISHED_ON.items())
            rule = f"answers {n_classes} classes, unlike the lists that it could be trained on ({lists})"
            raise InputError(rule, source, "Give --vocabulary, its classes in its order.")
        vocabulary = PUBLISHED_ON[n_classes][0]
    classes = Vocabulary.load(vocabulary)
    if n_classes != len(classes):
        rule = f"answers {n_classes} classes, but the vocabulary {classes.title} has {len(classes)}"
        raise InputError(rule, source, "Give the --vocabulary that it was trained with, in its order.")
    return classes


def _check_front_end(tagger: Tagger, weights: dict[str, Tensor], source: object) -> None:
    """Remove the front end's tensors from `weights`; refuse a file with another front end."""
    for name, part in {"front_end.0.spectrogram.window": "window", "front_end.0.mel_scale.fb": "mel"}.items():
        if name not in weights:
            continue
        theirs, expected = weights.pop(name), getattr(tagger.front_end, part)
        if theirs.shape != expected.shape or not torch.allclose(theirs.float(), expected, atol=1e-4):
            raise InputError(f"its front end differs from the published one: {name}", source)


def _recognized(state: Mapping[str, Tensor], source: object) -> tuple[Mapping[str, Tensor], str, Callable]:
    """Identify the kind of weights by the tensors' names; return its tensors, kind and the function that converts them.

    The network may be a part of the checkpoint, under any prefix.
    """
    if any(name.startswith(TRANSFORMERS) for name in state):
        return state, "ast", _ast
    parts: dict[str, tuple[str, Callable]] = {}
    for marks, kind, reader in MARKS:
        for prefix in parts_with(marks, state.keys()):
            parts.setdefault(prefix, (kind, reader))
    if "" in parts:
        return state, *parts[""]
    if parts:
        prefix = choose_part(parts, source)
        return part_of(state, prefix, source), *parts[prefix]
    rule = f"not the weights of {', '.join(KINDS)}: none has its {len(state)} tensors ({first_few(state) or 'empty'})"
    raise InputError(rule, source, "Training takes ImageNet weights by --pretrained; run folders need no conversion.")


def _converted(
    state: Mapping[str, Tensor], source: object, frames: int | None, kind: str, reader: Callable
) -> Converted:
    """Convert published tensors to those of our network; clips are filled to `frames`, which is AST's extent."""
    state = {name: value for name, value in state.items() if not UNUSED.fullmatch(name)}
    unknown = [name for name in state if name.startswith(OURS)]  # would overwrite a renamed tensor
    if unknown:
        raise InputError(f"looks like {kind}, but has {len(unknown)} unknown tensors ({first_few(unknown)})", source)
    try:
        return reader(state, frames)
    except InputError as error:
        raise InputError(error.message, source, error.remedy) from error
    except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"looks like {kind}, but a tensor is missing or misshapen ({reason})", source) from error


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
    """ResNet-50: PSLA's code expects 33 time steps from the network, which rules out clips of 30 s."""
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
    """Join the heads' 1 x 1 convolutions into one linear layer per branch; return the number of heads and the weight of
    the class branch.
    """
    heads = sum(re.fullmatch(r"attention\.cla\.\d+\.weight", name) is not None for name in weights)
    numbers = [f"{head}." for head in range(heads)] or [""]
    heads = heads or int("attention.att.weight" in weights)  # one head is unnumbered; mean pooling has no attention
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
    """AST: the transformer uses timm's names; the stride follows from the number of positions."""
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
    """Return AST's tensors under the authors' names, given those or the names of the transformers library."""
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
        raise InputError("some of its tensors are listed twice, under the names of two versions")
    whole = {name: part for name, part in parts.items() if len(part) == 3}
    return renamed | {name: torch.cat([part[key] for key in "qkv"]) for name, part in whole.items()}


# ---- PSL --------------------------------------------------------------------------------------------------------


def _psl(state, frames):
    """MobileNetV2: torchvision's names; the file contains a front end, which must match ours."""
    weights = {_psl_name(name): value for name, value in state.items()}
    return Converted({"name": "mobilenetv2", "front_end": PSL_FRONT_END}, weights, len(weights["head.linear.weight"]))


def _psl_name(name):
    """Rename a tensor of PSL; within a block, the last convolution and its normalisation gain an inner number."""
    last = re.fullmatch(r"features\.(\d+)\.conv\.(\d+)\.([a-z_]+)", name)
    if last:
        block, layer = int(last[1]), int(last[2])
        before = 1 if block == 1 else 2  # layers before the last convolution; the first block does not expand
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


MARKS = (  # (tensors that identify a file, its kind, the function that converts it)
    ((f"{TRANSFORMERS}embeddings.cls_token",), "ast", _ast),
    (("effnet._conv_stem.weight",), "psla", _efficientnet),
    (("model.conv1.weight",), "psla", _resnet),
    (("features.0.0.weight", "classifier.weight"), "psla", _mbnet),
    (("v.cls_token",), "ast", _ast),
    (("features.0.0.weight",), "psl", _psl),
)
