"""A released model: make its folder from a run folder, and verify it.

| file | |
|---|---|
| `model.safetensors`, `config.json` | the model: `load_model` takes the folder |
| `classes.csv` | class ids and names in the order of the scores |
| `train_clips.csv` | the clips that it was trained on |
| `model.onnx`, `network.onnx` | the same for other runtimes, if requested |
| `README.md`, `CITATION.cff`, `LICENSE` | a model card, how to cite it, and the licence of the weights |
| `run.json` | all that the card says |
| `SHA256SUMS` | checksums of all files but itself |

PyTorch is not imported until a model is loaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pseudolabel import __version__
from pseudolabel.artefacts import write_csv, write_json, write_text
from pseudolabel.dry_run import there
from pseudolabel.errors import InputError, first_few
from pseudolabel.layout import CLASSES, CONFIG, SEEN_CLIPS, WEIGHTS
from pseudolabel.ownership import refuse_input_as_output
from pseudolabel.releases.card import TRAINING, model_card
from pseudolabel.releases.citation import licence_of, model_citation, model_licence_text
from pseudolabel.releases.enhanced import read_object
from pseudolabel.releases.facts import Document, refuse_texts
from pseudolabel.releases.listing import (
    GET_AGAIN,
    LARGEST_TABLE,
    RECORD,
    SUMS,
    checksums,
    list_files,
    refuse_larger,
    refuse_others,
    values_of_their_kind,
    verify_bytes,
    why_not_replaced,
)
from pseudolabel.releases.stated import as_json, verify_documents
from pseudolabel.tables import read_csv

FORMAT, FORMAT_VERSION = "pseudolabel-model-release", 2  # releases of version 1 have no CITATION.cff
CARD, CITATION, LICENCE = "README.md", "CITATION.cff", "LICENSE"
DOCUMENTS = (CARD, CITATION, LICENCE, RECORD, SUMS)
DATA_FILES = (WEIGHTS, CONFIG, SEEN_CLIPS, CLASSES, "model.onnx", "network.onnx")
OTHER_WORDS = "card and licence have the checksums of run.json; their words are those of pseudolabel "


def is_model_release(folder: Path) -> bool:
    """Return whether run.json says that a folder is a release of a model; links are refused."""
    return RECORD in list_files(folder).files and read_object(folder / RECORD).get("format") == FORMAT


def not_a_model_release(folder: Path) -> str:
    """Return why a folder is not a replaceable release of a model, or "" if it is one."""
    return why_not_replaced(folder, lambda record: record.get("format") == FORMAT, {*DATA_FILES, *DOCUMENTS})


def refuse_model(run: Path, out: Path, credit: Mapping[str, object]) -> None:
    """Raise InputError if the licence or a text is wrong, the run folder lacks a file, or would be the output."""
    licence_of(credit["licence"])
    refuse_texts({**credit, "title": credit["title"] or run.name})
    refuse_input_as_output(out, [run])
    for name in (WEIGHTS, CONFIG, RECORD, SEEN_CLIPS):
        if not there(run / name):
            raise InputError(f"there is no {name}", run, "Give a run folder that train wrote.")


# ---- making -----------------------------------------------------------------------------------------------------


def write_model(
    run: Path, folder: Path, credit: Mapping[str, object], evaluation: Mapping | None, onnx: bool = False
) -> list[str]:
    """Write the release of a run folder's model into an empty folder; return the lines to report.

    Args:
        credit: title (None: made from the run's name), version, released, licence, url, authors.
        evaluation: figures of `read_evaluation`.

    Raises:
        InputError: a damaged model, an unknown licence, or an ONNX file whose scores differ from PyTorch's.
    """
    from pseudolabel.models.files import load_model

    tagger = load_model(run)
    for name in (WEIGHTS, CONFIG, SEEN_CLIPS):
        shutil.copyfile(run / name, folder / name)
    write_csv(folder / CLASSES, ("class_id", "name"), _classes(tagger))
    exported = []
    if onnx:
        from pseudolabel.releases.onnx_export import export

        exported = export(tagger, folder)
    record = {
        **_described(tagger, read_object(run / RECORD), run, credit),
        "evaluation": evaluation,
        "onnx": [{**vars(file), "shape": list(file.shape)} for file in exported],
        "files": _files(sorted(folder.iterdir())),
    }
    texts = model_documents(record)
    for name, text in texts.items():
        write_text(folder / name, text)
    write_json(folder / RECORD, {**record, "documents": [vars(Document.of(folder / name)) for name in texts]})
    write_text(folder / SUMS, checksums(folder))
    lines = [f"{tagger.config['name']}, {len(tagger.class_ids)} classes; verified", *verify_model(folder)]
    differing = [file for file in exported if file.difference]
    return lines + [f"{file.name}: scores within {file.difference:.1e} of PyTorch's" for file in differing]


def _described(tagger, run: Mapping, folder: Path, credit: Mapping[str, object]) -> dict:
    """Return all that the documents say, except about files; without host, time and paths."""
    config, options = tagger.config, run.get("options", {})
    measured = {"mAP": run.get("validation_map"), "d'": run.get("validation_d_prime")}
    row = run.get("row") or folder.resolve().name
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **credit,
        "title": credit["title"] or f"{config['name']}, {row}: sound events in recordings",
        "row": row,
        **_of_the_model(tagger),
        "classes": [{"class_id": class_id, "name": name} for class_id, name in _classes(tagger)],
        "n_train_clips": run.get("n_train_clips", 0),
        "soft_targets": bool(options.get("targets")),
        "fold": run.get("fold"),
        "seed": run.get("seed"),
        "training": {name: options[name] for name in TRAINING if options.get(name) is not None},
        "validation": {name: value for name, value in measured.items() if isinstance(value, int | float)},
        "inputs": [{"name": Path(path).name, "sha256": digest} for path, digest in run.get("inputs", {}).items()],
        "trained_with": {"pseudolabel": run.get("pseudolabel"), "commit": run.get("commit"), **run.get("versions", {})},
        "pseudolabel": __version__,
    }


def _of_the_model(tagger) -> dict:
    """Return the part of the documents' facts that comes from the model itself."""
    from pseudolabel.models.lengths import lengths_of

    config = tagger.config
    return {
        "network": config["name"],
        "n_parameters": sum(parameter.numel() for parameter in tagger.network.parameters()),
        "n_classes": len(tagger.class_ids),
        **{name: config[name] for name in ("sample_rate", "window_s", "front_end", "fill")},
        **lengths_of(tagger),
    }


def _classes(tagger) -> list[tuple[str, str]]:
    return list(zip(tagger.class_ids, tagger.config["class_names"], strict=True))


def _files(paths: Iterable[Path]) -> list[dict]:
    return [vars(Document.of(path)) for path in paths]


def model_documents(record: Mapping) -> dict[str, str]:
    """Return the texts of README.md, CITATION.cff and LICENSE, which depend on the record alone."""
    cited = {} if record["format_version"] == 1 else {CITATION: model_citation(record)}
    return {CARD: model_card(record), **cited, LICENCE: model_licence_text(record)}


# ---- verifying --------------------------------------------------------------------------------------------------


def verify_model(folder: Path) -> list[str]:
    """Verify a released model; return what holds, one line each.

    Raises:
        InputError: a file is missing, unexpected or changed, the model cannot be built from the files, or the documents
            contradict run.json.
    """
    from pseudolabel.models.files import load_model
    from pseudolabel.models.lengths import lengths_of

    lines, record = verify_bytes(folder), read_object(folder / RECORD)
    if record.get("format_version") not in (1, FORMAT_VERSION):
        message = f"format_version is {record.get('format_version')!r}, this program reads 1 and {FORMAT_VERSION}"
        raise InputError(message, folder / RECORD, GET_AGAIN)
    with values_of_their_kind(folder / RECORD, "something is missing or of another kind"):
        tagger = load_model(folder)
        record = {**lengths_of(tagger), **record}  # releases of earlier versions do not state these
        _verify_model(folder, record, tagger)
        said = f"{record['n_parameters']:,} parameters, {len(tagger.class_ids)} classes"
        lines.append(f"the model is built from its files: {said}")
        if record["format_version"] > 1:
            refuse_texts(record)
        figures = (record["n_parameters"], record["sample_rate"])
        described = [Document(**row) for row in _rows(folder, record, "documents", ())]
        made_by = record.get("pseudolabel")
        same = verify_documents(folder, model_documents(record), described, made_by, figures)
    return [*lines, "card and licence say what run.json says" if same else f"{OTHER_WORDS}{made_by}"]


def _verify_model(folder: Path, record: Mapping, tagger) -> None:
    """Compare run.json with the model itself and with the files; count its training clips."""
    classes = [{"class_id": class_id, "name": name} for class_id, name in _classes(tagger)]
    if record.get("classes") != classes:
        raise InputError("its classes are not those of config.json", folder / RECORD, GET_AGAIN)
    refuse_larger(folder / CLASSES, LARGEST_TABLE)
    rows = [{**row, "line": str(line)} for line, row in enumerate(classes, 2)]
    if read_csv(folder / CLASSES, ("class_id", "name")) != rows:
        raise InputError("its classes are not those of config.json", folder / CLASSES, GET_AGAIN)
    authors = record.get("authors", [])
    if not isinstance(authors, list) or not all(isinstance(name, str) for name in authors):
        raise InputError(f"authors are {authors!r}, not a list of names", folder / RECORD, GET_AGAIN)
    evaluation = record.get("evaluation")
    if evaluation is not None and not (isinstance(evaluation, dict) and evaluation):
        raise InputError(f"evaluation is {evaluation!r}, not figures", folder / RECORD, GET_AGAIN)
    _verify_files(folder, record)
    counted = {**_of_the_model(tagger), "n_train_clips": len(read_csv(folder / SEEN_CLIPS, ("clip_id",)))}
    for name, value in counted.items():
        if as_json(record.get(name)) != as_json(value):
            message = f"{name} is {record.get(name)!r}, the files say {value!r}"
            raise InputError(message, folder / RECORD, GET_AGAIN)


def _verify_files(folder: Path, record: Mapping) -> None:
    """Compare the files with those named in run.json: new checksums do not hide other changes."""
    stated = {row["name"]: row for row in _rows(folder, record, "files", None)}
    refuse_others(folder, {*stated, *model_documents(record), RECORD, SUMS}, list_files(folder).files)
    changed = [name for name, row in stated.items() if row != _files([folder / name])[0]]
    if changed:
        raise InputError(f"changed: {first_few(changed)} (not as {RECORD} says)", folder, GET_AGAIN)


def _rows(folder: Path, record: Mapping, key: str, default: object) -> list[dict]:
    """Return the entries of run.json about files; InputError if there are none."""
    rows = record.get(key, default)
    if not isinstance(rows, list | tuple) or not all(
        isinstance(row, dict) and isinstance(row.get("name"), str) and {"bytes", "sha256"} <= {*row} for row in rows
    ):
        raise InputError(f"names no {key}", folder / RECORD, GET_AGAIN)
    return list(rows)
