"""Train a teacher or a student: on weak labels, on enhanced labels, or on the soft targets of windows.

    python -m pseudolabel.train --row teacher --labels work/labels.csv
    python -m pseudolabel.train --row teacher --fold 1/5                   # leaves the first of five folds out
    python -m pseudolabel.train --row psl_2s --targets work/scores.h5 --window 2s --list work/balanced.csv
    python -m pseudolabel.train import audio_model_wa.pth                  # a published model (train import --help)

    torchrun --nproc-per-node=2 -m pseudolabel.train --row teacher         # several processes, GPUs or machines

RUN/history.csv has one line per evaluation. If killed, run the same command again: training continues from the last
checkpoint, at the end of an epoch or, with --checkpoint-every, at a step within one. The run folder holds
model.safetensors and config.json (enough to use the model), train_clips.csv (the clips it was trained on), history.csv,
learning_curve.png, run.json, checkpoints/. A validation list that shares clips with the evaluation list is refused.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from pseudolabel import cli, dry_run, packages
from pseudolabel.artefacts import whole_file, write_csv
from pseudolabel.audio.frontend_options import KaldiFbankOptions, LogMelOptions, front_end_options
from pseudolabel.blocks import only_run
from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError, nearest_or_all, shown
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import CLIP_ID, CONFIG, MISSING, RUN, RUNS, SEEN_CLIPS, TEACHER, WEIGHTS
from pseudolabel.models.networks import network_options, with_published_front_end
from pseudolabel.ownership import output_exists, refuse_input_as_output
from pseudolabel.plan_checks import check_device, check_lists, check_scale, check_vocabulary, sample_rate_of
from pseudolabel.records import run_record
from pseudolabel.reports.figures import CURVE, learning_curve
from pseudolabel.scores.windows import window_name
from pseudolabel.train_import import ImportOptions, import_model, plan_import
from pseudolabel.train_material import Material, Sources, TrainingList, find_sources, refuse_absent_classes
from pseudolabel.train_options import RunOptions, options_of_a_model
from pseudolabel.training.distributed import Ranks
from pseudolabel.training.options import LAST, MEAN_OF_LAST, VALIDATED
from pseudolabel.training.run_folder import claim, not_a_run, not_begun, refuse_finished, write_record

FRONT_END = {field.name for options in (LogMelOptions, KaldiFbankOptions) for field in fields(options)} | {"name"}


def run_folder(options: RunOptions) -> Path:
    """Return the run folder to write."""
    if options.out is None and (options.row in (".", "..") or Path(options.row).name != options.row):
        message = f"must be a name without folders, not {shown(options.row)}"
        raise InputError(message, "--row", "Give the folder as --out.")
    name = options.row if options.row == TEACHER else f"{options.row}-seed{options.train.seed}"
    run = f"{name}-{options.fold.name}" if options.fold else name
    named = options.labels, options.clips, options.targets, options.list, options.mask
    return cli.default_output(options, f"{RUNS}/{run}", *named)


def train(options: RunOptions) -> None:
    """Make the run folder, under torchrun with several processes."""
    folder, sources = run_folder(options), find_sources(options)
    refuse_input_as_output(folder, sources.paths.values())
    if not options.overwrite:
        refuse_finished(folder)
    ranks = Ranks.from_environment()
    with ranks.joined(on_gpu=ranks.size > 1 and _device(options, ranks).type == "cuda"):
        _train_together(options, sources, folder, ranks)


def _device(options: RunOptions, ranks: Ranks):
    return cli.choose_device(ranks.device_name(options.device), options.threads)


def _train_together(options: RunOptions, sources: Sources, folder: Path, ranks: Ranks) -> None:
    """Do the work of one process of a run; only the leader writes."""
    material = Material.open(options, sources)
    listed = material.training_list()
    chosen = material.without_fold(listed) if options.fold else listed
    trainer = _trainer(material, chosen, folder, ranks)
    with only_run(folder) if ranks.leads else contextlib.nullcontext():
        if ranks.leads:
            trainer.on_row = tensorboard(folder) if options.tensorboard else None
            claim(folder, options.overwrite, trainer.settings)
        ranks.from_leader(np.zeros(1))  # wait until the leader has made the folder
        started = time.monotonic()
        trainer.run()
        if ranks.leads:
            _write_run(material, folder, trainer, chosen, time.monotonic() - started)
    if options.fold and ranks.leads:
        n_listed = len(listed.rows)
        print(f"fold {options.fold}: {n_listed - len(chosen.rows)} of {n_listed} clips were left out")


def _trainer(material: Material, chosen: TrainingList, folder: Path, ranks: Ranks):
    """Return the training loop, before anything is written."""
    options, device = material.options, _device(material.options, ranks)
    examples = material.examples(chosen)
    validation = material.validation(chosen)
    options.refuse_without_validation(validation is not None)
    tagger = new_tagger(material, examples.length / material.clips.sample_rate, ranks)
    from pseudolabel.training.loop import Trainer
    from pseudolabel.training.losses import inverse_weights

    drawn = {"sampling": options.sampling.rule, "beta": options.sampling.beta, "crop": options.sampling.crop}
    same = {name: getattr(options, name) for name in ("threads", "alpha", "class_weights")}
    settings = {  # a different command does not continue an unfinished run
        "config": tagger.config,
        "pretrained": bool(options.pretrained),
        "inputs": material.sources.checksums(),
        "window": window_name(options.window),
        "clips": len(chosen.rows),
        "fold": options.fold and f"{options.fold}{' stratified' if options.stratify else ''}",
        **drawn,
        **same,
    }
    weights = inverse_weights(chosen.labels.matrix) if options.class_weights == "inverse" else None
    return Trainer(tagger, examples, options.train, device, folder, validation, settings, ranks, weights)


def new_tagger(material: Material, window_s: float, ranks: Ranks):
    """Return the model to train: random weights follow from --seed, others come from --pretrained."""
    import torch

    from pseudolabel.models.files import start_from
    from pseudolabel.models.tagger import build_tagger

    options, sources, vocabulary = material.options, material.sources, material.vocabulary
    torch.manual_seed(options.train.seed)
    for role in sources.paths:
        if role.startswith("pretrained"):
            sources.read(role)
    run = Path(options.pretrained) if options.pretrained and Path(options.pretrained).is_dir() else None
    with options_of_a_model():
        front_end, line = options.front_end_at(material.clips.sample_rate)
        config = {
            "name": options.model,
            "class_ids": vocabulary.class_ids,
            "class_names": vocabulary.names,
            "options": dict(options.model_options),
            "front_end": front_end,
            "window_s": window_s,
            "fill": options.fill,
            "min_frames": options.min_frames,
            "precision": "float32" if options.train.precision == "float32" else None,
        }
        tagger = build_tagger(config, **({"pretrained": options.pretrained} if options.pretrained and not run else {}))
    started = start_from(tagger, run) if run else options.pretrained and f"starts from {options.pretrained}"
    if ranks.leads:
        for said in filter(None, (line, started)):
            print(said)
    return tagger


def tensorboard(folder: Path) -> Callable[[dict], None]:
    """Return a function that writes one row of the history for TensorBoard."""
    packages.refuse_without("--tensorboard", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    def write(row: dict) -> None:
        with SummaryWriter(str(folder / "tensorboard"), purge_step=row["step"]) as writer:
            for name, value in row.items():
                if name not in ("epoch", "step") and value != "":
                    writer.add_scalar(name, float(value), row["step"])

    return write


def _write_run(material: Material, folder: Path, trainer, chosen: TrainingList, elapsed_s: float) -> None:
    """Write the results of a finished run; run.json comes last and marks it as finished."""
    from pseudolabel.models import save_model

    save_model(folder, trainer.evaluated)
    write_csv(folder / SEEN_CLIPS, (CLIP_ID,), [(clip_id,) for clip_id in chosen.labels.clip_ids])
    write_csv(folder / MISSING, (CLIP_ID, "reason"), chosen.missing)
    record = _record(material, trainer, chosen)
    with whole_file(folder / CURVE) as temporary:
        temporary.write_bytes(learning_curve(trainer.history, record["selected_step"]).png)
    write_record(folder, record)
    score = ""
    if record["validation_map"] is not None:
        score = f", validation mAP {record['validation_map']:.3f} (against its given labels)"
    print(
        f"wrote {folder}: {material.options.model}, {record['n_parameters'] / 1e6:.2f} M parameters, "
        f"{len(chosen.rows)} clips, epoch {record['selected_epoch']} of {trainer.history[-1]['epoch']}{score}, "
        f"{elapsed_s:.0f} s"
    )
    if chosen.missing:
        print(f"{len(chosen.missing)} listed clips could not be used: {folder / MISSING}", file=sys.stderr)


def _record(material: Material, trainer, chosen: TrainingList) -> dict[str, object]:
    """Return the content of run.json."""
    from pseudolabel.models.networks import n_parameters

    options, history, network = material.options, trainer.history, trainer.evaluated.network
    column = VALIDATED[options.train.metric]
    evaluated = [row for row in history if row[column] != ""]
    selected = evaluated[trainer.selection.best] if options.train.select == "best" else history[-1]
    return {
        "row": f"{options.row}-{options.fold.name}" if options.fold else options.row,  # two folds are not two seeds
        "seed": options.train.seed,
        "fold": options.fold and str(options.fold),
        "n_parameters": n_parameters(network),
        "n_learnable_parameters": n_parameters(network, learnable=True),
        "n_train_clips": len(chosen.rows),
        "clips_under_another_id": len(chosen.aliases),
        "labels_left_out": chosen.left_out,
        "n_train_pieces": trainer.examples.n_pieces,
        "pieces_an_epoch": len(trainer.examples),
        "processes": trainer.ranks.size,
        "train_seconds": round(sum(row["seconds"] for row in history), 1),
        "selected_epoch": selected["epoch"],
        "selected_step": selected["step"],
        **{name: selected[name] if evaluated else None for name in VALIDATED.values()},
        MEAN_OF_LAST: round(float(np.mean([row[column] for row in evaluated[-LAST:]])), 6) if evaluated else None,
        **run_record("train", options.recorded(), material.sources.inputs, options.train.seed),
    }


# ---- checks of a training before anything is loaded or written --------------------------------------------------


def plan(options: RunOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about the run folder."""
    folder, paths = run_folder(options), find_sources(options).paths
    refuse_input_as_output(folder, paths.values())
    dry_run.refuse_absent(*(path for role, path in paths.items() if role != "vocabulary" and str(path) != "imagenet"))
    check_vocabulary(paths["vocabulary"])
    named = {"labels": options.labels, "list": options.list, "validation": options.validation}
    for role, given in {**named, "evaluation": options.eval, "mask": None}.items():  # --format is of what is named
        check_lists(options.format if given else None, paths.get(role))
    options.refuse_without_validation("validation" in paths)
    sample_rate = sample_rate_of(Path(paths["clips"]))
    if options.front_end and os.path.exists(paths["clips"]):
        with options_of_a_model():
            front_end, _ = options.front_end_at(sample_rate)
            front_end_options(with_published_front_end(options.model, front_end))
    _check_model(options)
    if options.targets:
        _check_targets(options, paths["vocabulary"])
    if options.tensorboard:
        packages.refuse_without("--tensorboard", "tensorboard")
    check_device(options.device, options.threads)
    _check_folder(folder, options.overwrite)
    epochs, kept = options.train.epochs, options.train.keep_checkpoints
    dry_run.promise(folder, WEIGHTS, CONFIG, RUN, SEEN_CLIPS, epochs=epochs, kept=kept)
    learnt = f"{options.targets} ({window_name(options.window)})" if options.targets else paths["labels"]
    steps = f"up to {epochs} epochs of {options.train.batch_size} a step"
    return f"would write {folder}: {options.model}, {steps}, from {learnt}"


def _check_model(options: RunOptions) -> None:
    known = network_options(options.model)
    given = [("--model-options", name, known) for name, _ in options.model_options]
    given += [("--front-end", name, FRONT_END) for name, _ in options.front_end]
    for option, name, names in given:
        if name not in names:
            raise InputError(f"unknown option {name!r}", option, nearest_or_all(name, sorted(names)))
    is_run = options.pretrained and dry_run.there(Path(options.pretrained) / CONFIG)
    if options.pretrained and not is_run and "pretrained" not in known:
        raise InputError(f"{options.model} takes no weights from elsewhere", "--pretrained", "Give a run folder of it.")


def _check_targets(options: RunOptions, vocabulary: str | Path) -> None:
    classes = dry_run.promised(options.targets).get("classes")
    if classes and (os.path.exists(vocabulary) or not dry_run.there(vocabulary)):
        refuse_absent_classes(Vocabulary.load(vocabulary), classes, options.targets)
    check_scale(options.targets, options.window, "--window")


def _check_folder(folder: Path, overwrite: bool) -> None:
    if not os.path.lexists(folder):
        return
    if (folder / RUN).exists() and not overwrite:
        raise output_exists(folder)
    reason = not_a_run(folder) if overwrite else not_begun(folder)
    if reason:
        raise InputError(f"{reason}, so nothing is written there", folder, "Give another --out.")


COMMANDS = {
    "model": Command(RunOptions, train, plan),
    "import": Command(ImportOptions, import_model, plan_import),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    return run_command("train", __doc__, COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
