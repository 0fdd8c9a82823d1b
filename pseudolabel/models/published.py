"""Weights that the papers' authors published, as taggers: which tensor is which, and what belongs around the network.

    python -m pseudolabel.models.published audio_model_wa.pth --out work/runs/teacher
    python -m pseudolabel.models.published mobilenetv2_mAP40_53.pt --sha256 0a1b... --out work/runs/teacher

PSLA's EfficientNet-B0 and B2 (4 heads, 1 or mean pooling), AST (tiny, small, base; strides 10 to 16; the authors' own
files and those of the transformers library), PSL's MobileNetV2. The run folder that is written is one like any other:
`score`, `enhance` and `train --targets` go on from it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pseudolabel import dry_run
from pseudolabel.artefacts import whole_folder
from pseudolabel.blocks import only_run
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.models import CONFIG, WEIGHTS, n_parameters
from pseudolabel.models.ast import n_patches
from pseudolabel.models.efficientnet import N_FEATURES
from pseudolabel.models.files import check_sha256, check_state, load_state, save_model
from pseudolabel.models.tagger import AST_FRONT_END, PSL_FRONT_END, PSLA_FRONT_END, Tagger, build_tagger
from pseudolabel.ownership import RUN, refuse_foreign, refuse_input_as_output
from pseudolabel.records import Inputs, run_record, write_run_record

VERB = "models.published"
MARKS = {"psla": "effnet._conv_stem.weight", "ast": "v.cls_token", "psl": "features.0.0.weight"}  # a tensor of each
PSLA_FRAMES, AST_FRAMES, N_MELS = 1056, 1024, 128  # 10 s and what their programs add
AST_STRIDES = (10, 12, 14, 16)  # of the published ones
AST_SIZES = {192: "tiny", 384: "small", 768: "base"}  # by the width of the tokens
# What ImageNet's classes were answered with. It is among the published tensors and in no answer.
UNUSED = re.compile(r"(effnet\._fc|v\.head|v\.head_dist)\.(weight|bias)")
OURS = ("layers.", "head.", "norm.", "linear.")  # how our own networks' names begin
TRANSFORMERS = "audio_spectrogram_transformer."
TRANSFORMERS_NAMES = (  # the transformers library's part of a name, and the authors'
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.distillation_token", "dist_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("encoder.layer.", "blocks."),
    ("attention.output.dense", "attn.proj"),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
    (f"{TRANSFORMERS}layernorm", f"{TRANSFORMERS}norm"),
    (TRANSFORMERS, "v."),
    ("classifier.layernorm", "mlp_head.0"),
    ("classifier.dense", "mlp_head.1"),
)


def load_published(
    path: str | Path, kind: str | None = None, sha256: str | None = None, vocabulary: str | Path = "audioset"
) -> Tagger:
    """Return the tagger of a published file of weights, in eval mode on the CPU; every tensor is accounted for.

    What surrounds the network is as its authors' programs have it: PSLA on 1056 frames and AST on 1024, shorter clips
    filled up with 0 before normalisation (+1.02 and +.47 sigma); PSLA's `symmetric` padding of convolutions;
    PSL on decibels of any length. One thing differs: PSL's `top_db` is under each clip's own maximum, not the batch's.

    Args:
        path: a file of torch's or of safetensors; read as plain tensors, nothing in it is run.
        kind: `psla`, `ast` or `psl`; None: whichever its tensors are.
        sha256: when given, the file must have this checksum.
        vocabulary: its classes in its order, `audioset` as published, or anything that `Vocabulary.load` takes.

    Raises:
        InputError: another checksum or kind, another number of classes, tensors that are missing, unknown or of
            another shape.
    """
    classes = Vocabulary.load(vocabulary)
    state = load_state(path, sha256)
    found = kind_of(state, path)
    if kind not in (None, found):
        raise InputError(f"its tensors are those of {found}, not of {kind!r}", path, f"Kinds: {', '.join(MARKS)}.")
    state = {name: value for name, value in state.items() if not UNUSED.fullmatch(name)}
    alien = [name for name in state if name.startswith(OURS)]  # it would take the place of a renamed one
    if alien:
        raise InputError(f"looks like {found}, but has {len(alien)} unknown tensors ({first_few(alien)})", path)
    try:
        config, weights, n_classes = {"psla": _psla, "ast": _ast, "psl": _psl}[found](state)
    except InputError as error:
        raise InputError(error.message, path, error.remedy) from error
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"looks like {found}, but a tensor is missing or misshapen ({reason})", path) from error
    if n_classes != len(classes):
        rule = f"answers {n_classes} classes, but the vocabulary {classes.name!r} has {len(classes)}"
        raise InputError(rule, path, "Give the vocabulary that it was trained with, in its order.")
    identity = {"class_ids": classes.class_ids, "class_names": classes.names}
    with torch.random.fork_rng(devices=[]):  # the initial weights are thrown away; leave the caller's seed alone
        tagger = build_tagger({**config, **identity})
    _check_front_end(tagger, weights, path)
    check_state(tagger.network, weights, path)
    tagger.network.load_state_dict(weights)
    return tagger.eval()


def kind_of(state: Mapping[str, Tensor], place: object) -> str:
    """Return `psla`, `ast` or `psl`, whichever the names of the tensors are those of.

    Raises:
        InputError: none; the message names what is there.
    """
    if any(name.startswith(TRANSFORMERS) for name in state):
        return "ast"
    for kind, mark in MARKS.items():
        if mark in state:
            return kind
    rule = f"not the weights of {', '.join(MARKS)}: none has its {len(state)} tensors ({first_few(state) or 'empty'})"
    raise InputError(rule, place, "Training takes ImageNet weights by --pretrained; run folders need no conversion.")


def _psla(state):
    """EfficientNet with attention: 1 x 1 convolutions per head become one linear layer per branch."""
    weights = {_renamed(name, (("effnet.", "layers."),)): value for name, value in state.items()}
    heads = sum(re.fullmatch(r"attention\.cla\.\d+\.weight", name) is not None for name in state)
    numbers = [f"{head}." for head in range(heads)] or [""]
    heads = heads or int("attention.att.weight" in state)  # one head has no number; mean pooling has no attention
    branches = {"att": "head.attention", "cla": "head.classes"} if heads else {"cla": "head.linear"}
    for theirs, ours in branches.items():
        kernels = [weights.pop(f"attention.{theirs}.{number}weight").squeeze((2, 3)) for number in numbers]
        weights[f"{ours}.weight"] = torch.cat(kernels)
        weights[f"{ours}.bias"] = torch.cat([weights.pop(f"attention.{theirs}.{number}bias") for number in numbers])
    if heads > 1:
        weights["head.head_weights"] = weights.pop("attention.head_weight")
    last = weights[f"{branches['cla']}.weight"]
    variant = next((name for name, width in N_FEATURES.items() if width == last.shape[1]), None)
    if variant is None:
        raise InputError(f"EfficientNet with {last.shape[1]} features; known: {N_FEATURES}")
    config = {
        "name": f"efficientnet_{variant}",
        "options": {"heads": heads, "padding": "symmetric"},
        "front_end": PSLA_FRONT_END,
        "fill": _zero_before_normalisation(PSLA_FRONT_END),
        "min_frames": PSLA_FRAMES,
    }
    return config, weights, len(last) // max(1, heads)


def _ast(state):
    """AST: the transformer has timm's names; how many positions there are tells the stride."""
    state = _named_by_authors(state)
    positions, width = state["v.pos_embed"].shape[1] - 2, state["v.pos_embed"].shape[2]
    grids = {stride: n_patches(N_MELS, stride) * n_patches(AST_FRAMES, stride) for stride in AST_STRIDES}
    stride = next((stride for stride, count in grids.items() if count == positions), None)
    if stride is None or width not in AST_SIZES:
        rule = f"AST with {positions} positions of width {width}; known on {AST_FRAMES} x {N_MELS}: "
        raise InputError(f"{rule}{', '.join(map(str, grids.values()))} positions, widths {list(AST_SIZES)}")
    renamed = (("v.", "layers."), ("mlp_head.0.", "norm."), ("mlp_head.1.", "linear."))
    weights = {_renamed(name, renamed): value for name, value in state.items()}
    config = {
        "name": f"ast_{AST_SIZES[width]}",
        "options": {"stride": stride, "n_frames": AST_FRAMES, "n_mels": N_MELS},
        "front_end": AST_FRONT_END,
        "window_s": 10.0,
        "fill": _zero_before_normalisation(AST_FRONT_END),
    }
    return config, weights, len(weights["linear.weight"])


def _psl(state):
    """MobileNetV2: torchvision's names; its front end is in the file and must be ours."""
    weights = {_psl_name(name): value for name, value in state.items()}
    return {"name": "mobilenetv2", "front_end": PSL_FRONT_END}, weights, len(weights["head.linear.weight"])


def _psl_name(name):
    """Within a block, the last convolution and its normalisation have no inner number there, and have one here."""
    last = re.fullmatch(r"features\.(\d+)\.conv\.(\d+)\.([a-z_]+)", name)
    if last:
        block, layer = int(last[1]), int(last[2])
        before = 1 if block == 1 else 2  # layers before it: the first block does not expand
        return f"layers.{block}.layers.{before}.{layer - before}.{last[3]}"
    name = re.sub(r"^features\.(\d+)\.conv\.", r"layers.\1.layers.", name)
    return _renamed(name, (("features.", "layers."), ("classifier.1.", "head.linear.")))


def _renamed(name, prefixes):
    for theirs, ours in prefixes:
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return name


def _named_by_authors(state):
    """Return AST's tensors as its authors name them, where they are named as the transformers library does."""
    renamed, parts = {}, {}
    for name, value in state.items():
        branch = re.fullmatch(r".*encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)", name)
        if branch:
            parts.setdefault(f"v.blocks.{branch[1]}.attn.qkv.{branch[3]}", {})[branch[2]] = value
            continue
        for theirs, ours in TRANSFORMERS_NAMES:
            name = name.replace(theirs, ours)
        renamed[name] = value
    whole = {name: part for name, part in parts.items() if len(part) == 3}
    return renamed | {name: torch.cat([part[key] for key in ("query", "key", "value")]) for name, part in whole.items()}


def _zero_before_normalisation(front_end):
    return (0.0 - front_end["mean"]) / front_end["std"]


def _check_front_end(tagger, weights, place):
    """Take the front end's own tensors out of `weights`; refuse a file whose front end hears something else."""
    ours = {"front_end.0.spectrogram.window": "window", "front_end.0.mel_scale.fb": "mel"}
    for name, part in ours.items():
        theirs = weights.pop(name, None)
        if theirs is None:
            continue
        expected = getattr(tagger.front_end, part)
        if theirs.shape != expected.shape or not torch.allclose(theirs.float(), expected, atol=1e-4):
            raise InputError(f"its front end differs from the published one: {name}", place)


def plan(args: argparse.Namespace) -> str:
    """Return what a dry run says of the run folder, after checking what can be known."""
    dry_run.refuse_absent(args.file)
    refuse_input_as_output(args.out, (args.file, args.vocabulary))
    Vocabulary.load(args.vocabulary)
    if args.sha256 and args.file.is_file():
        check_sha256(args.file, args.sha256)
    dry_run.refuse_folder(args.out, args.overwrite, VERB)
    dry_run.promise(args.out, WEIGHTS, CONFIG, RUN)
    return f"would write {args.out}: the model in {args.file}"


def convert(args: argparse.Namespace) -> None:
    """Write a run folder from a published file."""
    refuse_input_as_output(args.out, (args.file, args.vocabulary))
    refuse_foreign(args.out, args.overwrite, VERB)
    inputs = Inputs()
    tagger = load_published(inputs.read(args.file), args.kind, args.sha256, inputs.read(args.vocabulary))
    with only_run(args.out), whole_folder(args.out, args.overwrite, VERB) as folder:
        save_model(folder, tagger)
        size = n_parameters(tagger.network)
        record = run_record(VERB, vars(args), inputs)
        write_run_record(folder, {"row": "published", "n_parameters": size, **record})
    name, n_classes = tagger.config["name"], len(tagger.class_ids)
    print(f"wrote {args.out}: {name}, {size / 1e6:.2f} M parameters, {n_classes} classes; what it was trained on is "
          "not recorded: clips that it has seen are scored in-sample")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Convert a file; return 0, 2 for bad input, 130 where it was interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m pseudolabel.models.published",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="weights of PSLA, AST or PSL")
    parser.add_argument("--out", type=Path, required=True, help="run folder, e.g. work/runs/teacher")
    parser.add_argument("--kind", choices=tuple(MARKS), help="refuse any other (default: by the tensors' names)")
    parser.add_argument("--sha256", help="checksum that the file must have")
    parser.add_argument("--vocabulary", default="audioset", help="its classes (default: audioset, 527)")
    parser.add_argument("--overwrite", action="store_true", help="replace --out, where this program wrote it")
    parser.add_argument("--dry-run", action="store_true", help="check options and inputs, and write nothing")
    args = parser.parse_args(argv)
    try:
        print(plan(args)) if vars(args).pop("dry_run") else convert(args)
    except (InputError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
