"""What a release of a model holds, what it may replace and what it is made of; nothing slow is imported."""

from __future__ import annotations

from pathlib import Path

from pseudolabel.dry_run import there
from pseudolabel.errors import InputError
from pseudolabel.models import CONFIG, WEIGHTS
from pseudolabel.ownership import refuse_input_as_output
from pseudolabel.releases.licences import licence_of
from pseudolabel.releases.listing import RECORD, SUMS, why_not_replaced

FORMAT = "pseudolabel-model-release"
TRAINED_ON, CLASSES, CARD, LICENCE = "train_clips.csv", "classes.csv", "README.md", "LICENSE"
DOCUMENTS = (CARD, LICENCE, RECORD, SUMS)
DATA_FILES = (WEIGHTS, CONFIG, TRAINED_ON, CLASSES, "model.onnx", "network.onnx")


def not_a_model(folder: Path) -> str:
    """Return why a folder is not a release of a model that may be replaced; empty where it is one."""
    return why_not_replaced(folder, lambda record: record.get("format") == FORMAT, {*DATA_FILES, *DOCUMENTS})


def refuse_model(run: Path, out: Path, licence: str) -> None:
    """Raise InputError for an unknown licence, a run folder that lacks a file, or one that would be replaced."""
    licence_of(licence)
    refuse_input_as_output(out, [run])
    for name in (WEIGHTS, CONFIG, RECORD, TRAINED_ON):
        if not there(run / name):
            raise InputError(f"there is no {name}", run, "Give a run folder that train wrote.")
