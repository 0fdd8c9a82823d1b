"""A released model: its folder, made from a run folder, and verified.

| file | |
|---|---|
| `model.safetensors`, `config.json` | the model: `load_model` takes the folder |
| `classes.csv` | class ids and names in the order of the scores |
| `train_clips.csv` | the clips it has heard |
| `model.onnx`, `network.onnx` | the same for other runtimes, where asked for |
| `README.md`, `LICENSE` | a model card, and what the weights are under |
| `run.json` | all that the card says |
| `SHA256SUMS` | of all files but itself |
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pseudolabel import __version__
from pseudolabel.artefacts import read_csv, refuse_foreign, sha256, whole_folder, write_csv, write_json, write_text
from pseudolabel.errors import InputError, first_few
from pseudolabel.models.files import CONFIG, WEIGHTS, load_model
from pseudolabel.releases.enhanced import read_object
from pseudolabel.releases.folder import RECORD, SUMS, checksums
from pseudolabel.releases.licences import licence_of, usual_licence
from pseudolabel.releases.model_card import TRAINING, model_card
from pseudolabel.releases.texts import wrapped
from pseudolabel.releases.verify import GET_ANEW, verify_bytes

FORMAT, FORMAT_VERSION = "pseudolabel-model-release", 1
TRAINED_ON, CLASSES, CARD, LICENCE = "train_clips.csv", "classes.csv", "README.md", "LICENSE"
DOCUMENTS = (CARD, LICENCE, RECORD, SUMS)


def run_model(args: argparse.Namespace) -> None:
    """Make a release of the model in the run folder `args.model`.

    `args` further has out, work, overwrite, onnx, title and licence.

    Raises:
        InputError: no run folder, a damaged model, an unknown licence, an ONNX file that answers otherwise.
    """
    run, licence = args.model, args.licence or usual_licence("")
    licence_of(licence)
    out = args.out or args.work / f"release-{run.resolve().name}"
    refuse_foreign(out, args.overwrite, FORMAT)
    for name in (WEIGHTS, CONFIG, RECORD, TRAINED_ON):
        if not (run / name).is_file():
            raise InputError(f"there is no {name}", run, "Give a run folder that train wrote.")
    tagger = load_model(run)
    with whole_folder(out, args.overwrite, FORMAT) as folder:
        for name in (WEIGHTS, CONFIG, TRAINED_ON):
            shutil.copyfile(run / name, folder / name)
        write_csv(folder / CLASSES, ("class_id", "name"), _classes(tagger))
        exported = []
        if args.onnx:
            from pseudolabel.releases.onnx_export import export

            exported = export(tagger, folder)
        record = {
            **_described(tagger, read_object(run / RECORD), run, args.title, licence),
            "onnx": [{**vars(file), "shape": list(file.shape)} for file in exported],
            "files": _files(sorted(folder.iterdir())),
        }
        for name, text in documents(record).items():
            write_text(folder / name, text)
        write_json(folder / RECORD, record)
        write_text(folder / SUMS, checksums(folder))
        lines = verify_model(folder)
    lines += [f"{file.name}: scores within {file.difference:.1e} of PyTorch's" for file in exported if file.difference]
    print("\n  ".join([f"{out}: {tagger.config['name']}, {len(tagger.class_ids)} classes; verified", *lines]))


def _described(tagger, run: Mapping, folder: Path, title: str | None, licence: str) -> dict:
    """Return all that the documents say but the files: without host, time and paths."""
    config, options = tagger.config, run.get("options", {})
    validation = {
        name: run[key]
        for name, key in (("mAP", "validation_map"), ("d'", "validation_d_prime"))
        if isinstance(run.get(key), int | float)
    }
    row = run.get("row") or folder.resolve().name
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "title": title or f"{config['name']}, {row}: sound events in recordings",
        "licence": licence,
        "network": config["name"],
        "row": row,
        "n_parameters": sum(parameter.numel() for parameter in tagger.network.parameters()),
        "n_classes": len(tagger.class_ids),
        "classes": [{"class_id": class_id, "name": name} for class_id, name in _classes(tagger)],
        "sample_rate": config["sample_rate"],
        "window_s": config["window_s"],
        "front_end": config["front_end"],
        "fill": config["fill"],
        "n_train_clips": run.get("n_train_clips", 0),
        "soft_targets": bool(options.get("targets")),
        "fold": run.get("fold"),
        "seed": run.get("seed"),
        "training": {name: options[name] for name in TRAINING if options.get(name) is not None},
        "validation": validation,
        "inputs": [{"name": Path(path).name, "sha256": digest} for path, digest in run.get("inputs", {}).items()],
        "trained_with": {"pseudolabel": run.get("pseudolabel"), "commit": run.get("commit"), **run.get("versions", {})},
        "pseudolabel": __version__,
    }


def _classes(tagger) -> list[tuple[str, str]]:
    return list(zip(tagger.class_ids, tagger.config["class_names"], strict=True))


def _files(paths: Iterable[Path]) -> list[dict]:
    return [{"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)} for path in paths]


def documents(record: Mapping) -> dict[str, str]:
    """Return the text of README.md and LICENSE; the record alone decides it."""
    licence = licence_of(record["licence"])
    named = "Who passes them on names this release and says what was changed." if licence.attribution else ""
    paragraphs = (
        record["title"],
        f"The weights and further files of this folder are under the terms of {licence.name}. The text at the address "
        f"below is what counts; this file changes nothing in it. {named}",
        f"SPDX-License-Identifier: {record['licence']}\n{licence.url}",
        "They come as they are, without warranties of any kind.",
    )
    return {CARD: model_card(record), LICENCE: "\n\n".join(wrapped(text.strip()) for text in paragraphs) + "\n"}


def verify_model(folder: Path) -> list[str]:
    """Return what was found to hold, a line each.

    Raises:
        InputError: a file is missing, further or changed, the model cannot be built from the files, or the documents
            say something else than run.json.
    """
    lines, record = [verify_bytes(folder)], read_object(folder / RECORD)
    if record.get("format_version") != FORMAT_VERSION:
        message = f"format_version is {record.get('format_version')!r}, this program reads {FORMAT_VERSION}"
        raise InputError(message, folder / RECORD, GET_ANEW)
    tagger = load_model(folder)
    if record.get("classes") != [{"class_id": class_id, "name": name} for class_id, name in _classes(tagger)]:
        raise InputError("its classes are not those of config.json", folder / RECORD, GET_ANEW)
    n_parameters = sum(parameter.numel() for parameter in tagger.network.parameters())
    if record.get("n_parameters") != n_parameters:
        message = f"n_parameters is {record.get('n_parameters')}, the model has {n_parameters}"
        raise InputError(message, folder / RECORD, GET_ANEW)
    rows = [(row["class_id"], row["name"]) for row in read_csv(folder / CLASSES, ("class_id", "name"))]
    if rows != _classes(tagger):
        raise InputError("its classes are not those of config.json", folder / CLASSES, GET_ANEW)
    _verify_files(folder, record)
    lines.append(f"the model is built from its files: {n_parameters:,} parameters, {len(tagger.class_ids)} classes")
    try:
        texts = documents(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"something is missing or of another kind ({error})", folder / RECORD, GET_ANEW) from error
    if record.get("pseudolabel") == __version__:
        for name, text in texts.items():
            if (folder / name).read_bytes() != text.encode("utf-8"):
                raise InputError("does not say what run.json says", folder / name, GET_ANEW)
        lines.append("card and licence say what run.json says")
    return lines


def _verify_files(folder: Path, record: Mapping) -> None:
    """Compare the files with those that run.json names: sums made anew do not hide what else was changed."""
    try:
        stated = {row["name"]: row for row in record["files"]}
    except (KeyError, TypeError) as error:
        raise InputError("names no files", folder / RECORD, GET_ANEW) from error
    names = {path.name for path in folder.iterdir()}
    absent, further = sorted({*stated, *DOCUMENTS} - names), sorted(names - {*stated, *DOCUMENTS})
    if absent:
        raise InputError(f"missing: {first_few(absent)}", folder, GET_ANEW)
    if further:
        raise InputError(f"not part of the release: {first_few(further)}", folder, "Remove what was put there.")
    changed = [row["name"] for row in _files(folder / name for name in stated) if row != stated[row["name"]]]
    if changed:
        raise InputError(f"changed: {first_few(changed)} (not as {RECORD} says)", folder, GET_ANEW)
