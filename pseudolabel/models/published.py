"""Weights that the papers' authors published, as taggers: what belongs around the network.

    python -m pseudolabel.models.published audio_model_wa.pth --out work/runs/teacher
    python -m pseudolabel.models.published fsd_mdl_wa.pth --out work/runs/fsd50k --cut
    python -m pseudolabel.models.published mobilenetv2_mAP40_53.pt --sha256 0a1b... --out work/runs/teacher

PSLA's EfficientNet-B0 and B2 (4 heads, 1 or mean pooling), ResNet-50 and MobileNetV2 (mbnet), for AudioSet and FSD50K;
AST (tiny, small, base; strides 10 to 16; the authors' own files and those of the transformers library, before and
since version 5); PSL's MobileNetV2. The run folder that is written is one like any other: `score`, `enhance` and
`train --targets` go on from it. Its README.md says what clips of any length meet.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from pseudolabel import dry_run
from pseudolabel.artefacts import whole_folder, write_text
from pseudolabel.blocks import only_run
from pseudolabel.errors import InputError
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.models import CONFIG, WEIGHTS, n_parameters
from pseudolabel.models.files import check_sha256, check_state, load_state, save_model
from pseudolabel.models.lengths import lengths_in_words, lengths_of
from pseudolabel.models.published_tensors import MARKS, PUBLISHED_ON, converted, kind_of
from pseudolabel.models.tagger import Tagger, build_tagger
from pseudolabel.ownership import RUN, refuse_foreign, refuse_input_as_output
from pseudolabel.records import Inputs, run_record, write_run_record

VERB, CARD = "models.published", "README.md"
KINDS = tuple(dict.fromkeys(kind for _, kind, _ in MARKS))
LEAST_FRAMES, MOST_FRAMES = 32, 100_000  # that clips may be filled to


def load_published(
    path: str | Path,
    kind: str | None = None,
    sha256: str | None = None,
    vocabulary: str | Path | None = None,
    frames: int | None = None,
    cut: bool = False,
) -> Tagger:
    """Return the tagger of a published file of weights, in eval mode on the CPU; every tensor is accounted for.

    What surrounds the network is as its authors' programs have it: PSLA on 1,056 frames, or 3,000 for FSD50K, AST on
    1,024, shorter clips filled up with 0 before normalisation (+1.02 and +.47 sigma); PSLA's `symmetric` padding of
    convolutions; PSL on decibels of any length. Two things differ: PSL's `top_db` is under each clip's own maximum,
    not the batch's; and longer clips are heard to their end, unless `cut`. Scores are computed in float32.

    Args:
        path: a file of torch's or of safetensors; read as plain tensors, nothing in it is run.
        kind: `psla`, `ast` or `psl`; None: whichever its tensors are.
        sha256: when given, the file must have this checksum.
        vocabulary: its classes in its order, anything that `Vocabulary.load` takes. None: `audioset` for 527 classes,
            `fsd50k` for 200, each in the order of the list that was published with the data.
        frames: that shorter clips are filled to; for AST the extent that its positions were trained for.
        cut: leave out the frames beyond, as the authors' programs do.

    Raises:
        InputError: another checksum or kind, another number of classes, tensors that are missing, unknown or of
            another shape; `frames` or `cut` for a network that is trained on clips of any length.
    """
    state = load_state(path, sha256)
    found = kind_of(state, path)
    if kind not in (None, found):
        raise InputError(f"its tensors are those of {found}, not of {kind!r}", path, f"Kinds: {', '.join(KINDS)}.")
    if found == "psl" and (frames is not None or cut):
        rule = "PSL's network hears clips of any length as they are: --frames and --cut have no meaning"
        raise InputError(rule, path, "Leave them out.")
    _check_frames(frames)
    config, weights, n_classes = converted(state, path, frames)
    if cut:
        config["max_frames"] = config.get("min_frames") or config["options"]["n_frames"]
    classes = _classes(vocabulary, n_classes, path)
    identity = {"class_ids": classes.class_ids, "class_names": classes.names, "precision": "float32"}
    with torch.random.fork_rng(devices=[]):  # the initial weights are thrown away; leave the caller's seed alone
        tagger = build_tagger({**config, **identity})
    _check_front_end(tagger, weights, path)
    check_state(tagger.network, weights, path)
    tagger.network.load_state_dict(weights)
    return tagger.eval()


def _check_frames(frames):
    if frames is not None and not LEAST_FRAMES <= frames <= MOST_FRAMES:
        raise InputError(f"is {frames}, which must be {LEAST_FRAMES} to {MOST_FRAMES}", "--frames")


def _classes(vocabulary, n_classes, place):
    if vocabulary is None:
        if n_classes not in PUBLISHED_ON:
            known = ", ".join(f"{name} {count}" for count, (name, _) in PUBLISHED_ON.items())
            rule = f"answers {n_classes} classes, which no list that it could be trained on has ({known})"
            raise InputError(rule, place, "Give --vocabulary, its classes in its order.")
        vocabulary = PUBLISHED_ON[n_classes][0]
    classes = Vocabulary.load(vocabulary)
    if n_classes != len(classes):
        rule = f"answers {n_classes} classes, but the vocabulary {classes.name!r} has {len(classes)}"
        raise InputError(rule, place, "Give the --vocabulary that it was trained with, in its order.")
    return classes


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


def lengths_beside_theirs(tagger: Tagger) -> str:
    """Return what a converted model does with clips of any length, and what the other option would do."""
    said = lengths_in_words({**tagger.config, **lengths_of(tagger)})
    if tagger.config["max_frames"]:
        return f"{said} So its authors' program does (`--cut`); converted without, the model hears clips to their end."
    if tagger.config["name"] == "mobilenetv2":  # PSL's program cuts nothing
        return said
    return f"{said} Its authors' program cuts them there instead; converted with `--cut`, the model does so too."


def plan(args: argparse.Namespace) -> str:
    """Return what a dry run says of the run folder, after checking what can be known."""
    dry_run.refuse_absent(args.file)
    refuse_input_as_output(args.out, (args.file, args.vocabulary))
    _check_frames(args.frames)
    if args.vocabulary is not None:
        Vocabulary.load(args.vocabulary)
    if args.sha256 and args.file.is_file():
        check_sha256(args.file, args.sha256)
    dry_run.refuse_folder(args.out, args.overwrite, VERB)
    dry_run.promise(args.out, WEIGHTS, CONFIG, CARD, RUN)
    return f"would write {args.out}: the model in {args.file}"


def convert(args: argparse.Namespace) -> None:
    """Write a run folder from a published file."""
    refuse_input_as_output(args.out, (args.file, args.vocabulary))
    refuse_foreign(args.out, args.overwrite, VERB)
    inputs = Inputs()
    path, vocabulary = inputs.read(args.file), inputs.read(args.vocabulary)
    tagger = load_published(path, args.kind, args.sha256, vocabulary, args.frames, args.cut)
    name, n_classes, size = tagger.config["name"], len(tagger.class_ids), n_parameters(tagger.network)
    lengths = lengths_beside_theirs(tagger)
    with only_run(args.out), whole_folder(args.out, args.overwrite, VERB) as folder:
        save_model(folder, tagger)
        record = run_record(VERB, vars(args), inputs)
        write_text(folder / CARD, _card(args.file.name, record["inputs"][str(args.file)], tagger, size, lengths))
        write_run_record(folder, {"row": "published", "n_parameters": size, **record})
    print(f"wrote {args.out}: {name}, {size / 1e6:.2f} M parameters, {n_classes} classes; what it was trained on is "
          f"not recorded: clips that it has seen are scored in-sample\n{lengths}")  # fmt: skip


def _card(file_name, digest, tagger, size, lengths):
    config = tagger.config
    return "\n\n".join((
        f"# {config['name']}, converted from {file_name}",
        f"{size:,} parameters, {len(tagger.class_ids)} classes, audio at {config['sample_rate']:,} Hz. The sha256 of "
        f"{file_name} is {digest}. What it was trained on is not recorded.",
        lengths,
        f"The classes, in the order of the scores, are `class_ids` of config.json: {config['class_names'][0]} first, "
        f"{config['class_names'][-1]} last.",
    )) + "\n"  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Convert a file; return 0, 2 for bad input, 130 where it was interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m pseudolabel.models.published",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    add = parser.add_argument
    add("file", type=Path, help="weights of PSLA, AST or PSL")
    add("--out", type=Path, required=True, help="run folder, e.g. work/runs/teacher")
    add("--kind", choices=KINDS, help="refuse any other (default: by the tensors' names)")
    add("--sha256", help="checksum that the file must have")
    add("--vocabulary", help="its classes (default: audioset where it answers 527, fsd50k where it answers 200)")
    add("--frames", type=int, metavar="F", help="frames that shorter clips are filled to (default, as published: PSLA "
        "1056,\nfor FSD50K 3000); AST: its extent (default: 1024)")  # fmt: skip
    add("--cut", action="store_true", help="cut longer clips there, as the authors' programs do (default: hear all)")
    add("--overwrite", action="store_true", help="replace --out, where this program wrote it")
    add("--dry-run", action="store_true", help="check options and inputs, and write nothing")
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
