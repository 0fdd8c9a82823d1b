"""The folder of a run: whose it may be before training begins, and the record that says that it is finished."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from pseudolabel.artefacts import whole_folder, write_json
from pseudolabel.errors import InputError, OutputExists, first_few
from pseudolabel.ownership import RUN, files_in, not_ours, read_run
from pseudolabel.records import sha256
from pseudolabel.temporaries import clear_lock, is_temporary, lock_path

FORMAT, FORMAT_VERSION = "pseudolabel-training", 1
MARK = "checkpoints/settings.json"  # written first: the folder is one of train's, finished or not
NAME = re.compile(r"epoch-(\d{4,})\.pt")
RUN_FILE = re.compile(
    r"run\.json|model\.safetensors|config\.json|(train_clips|missing|history)\.csv|learning_curve\.png"
    r"|checkpoints/(epoch-\d{4,}\.pt|within-epoch\.pt|settings\.json)|tensorboard/events\.out\.tfevents\..+"
)


def claim(folder: Path, overwrite: bool, settings: Mapping[str, object]) -> None:
    """Make the folder of a run, or leave that of an unfinished one as it is, to go on there.

    Raises:
        OutputExists: a finished run lies there, and `overwrite` is not given.
        InputError: somebody else's folder, or file, or a link lies there; or what would be replaced holds other files.
    """
    if os.path.lexists(folder) and not overwrite:
        refuse_finished(folder)
        reason = not_begun(folder)
        if reason:
            raise InputError(f"{reason}, so nothing is written there", folder, "Give another --out.")
        if (folder / MARK).exists():
            return
    if not overwrite and folder.is_dir() and files_in(folder):  # an earlier version's
        _mark(folder, settings)
        return
    with whole_folder(folder, True, reason_not_to=not_a_run) as new:
        _mark(new, settings)


def _mark(folder: Path, settings: Mapping[str, object]) -> None:
    write_json(folder / MARK, {"format": FORMAT, "format_version": FORMAT_VERSION, **settings})


def refuse_finished(folder: Path) -> None:
    """Raise OutputExists where a folder holds a finished run; the message names inputs that have changed since."""
    if not (folder / RUN).exists():
        return
    inputs = read_run(folder).get("inputs")
    recorded = inputs.items() if isinstance(inputs, dict) else ()
    changed = [path for path, checksum in recorded if Path(path).is_file() and sha256(path) != checksum]
    made_from = f", made from what {first_few(changed)} held before" if changed else ""
    remedy = "Give --overwrite to replace it, or another --out."
    clear_lock(lock_path(folder))
    raise OutputExists(f"a finished run lies here{made_from}", folder, remedy)


def not_begun(folder: Path) -> str:
    """Return why a folder is not one that `train` has begun; empty where it is, or where it holds nothing."""
    if folder.is_symlink() or not folder.is_dir():
        return "not a folder that train wrote"
    if not files_in(folder) or _marked(folder) or _has_checkpoint(folder):
        return ""
    return "not a folder that train wrote (it has no checkpoints of a run)"


def not_a_run(folder: Path) -> str:
    """Return why a folder is not a run of `train`, or holds more than that; empty where it may be replaced."""
    begun = not_ours(folder, ("train",)) if (folder / RUN).exists() else not_begun(folder)
    others = [name for name in files_in(folder) if not is_run_file(name)] if not begun else ()
    return begun or (f"holds {first_few(others)}, which train did not write" if others else "")


def is_run_file(name: str) -> bool:
    """Return whether a path within a run folder is one that `train` writes."""
    return bool(RUN_FILE.fullmatch(name)) or is_temporary(Path(name))


def checkpoint_files(folder: Path) -> dict[int, Path]:
    """Return the checkpoints of a folder by the number of finished epochs, ascending."""
    named = ((NAME.fullmatch(path.name), path) for path in sorted(folder.glob("epoch-*.pt")))
    return {int(match[1]): path for match, path in named if match}


def chosen_epochs(run: Path, there: Collection[int], first: int | None = None, last: int | None = None) -> list[int]:
    """Return the epochs from `first` to `last`, all where none is given, of those that have a checkpoint.

    Raises:
        InputError: there are no checkpoints, or not one of each epoch in the range.
    """
    if not there:
        raise InputError("no checkpoints", run, "Give the run folder that training wrote.")
    epochs = list(there) if first is None else list(range(first, last + 1))
    absent = [epoch for epoch in epochs if epoch not in there]
    if absent:
        message = f"no checkpoint of epoch {first_few(absent)}; there are: {first_few(there, 8)}"
        raise InputError(message, run, "Train with --keep-checkpoints all.")
    return epochs


def write_record(folder: Path, record: Mapping[str, object]) -> None:
    """Write run.json, the last file of a run, which lists those of its files that `train` wrote."""
    files = [name for name in files_in(folder) if RUN_FILE.fullmatch(name) and name != RUN]
    write_json(folder / RUN, {**record, "files": files})


def _marked(folder: Path) -> bool:
    try:
        return json.loads((folder / MARK).read_text(encoding="utf-8")).get("format") == FORMAT
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _has_checkpoint(folder: Path) -> bool:
    """Return whether a checkpoint is one of ours: earlier versions wrote no mark."""
    from pseudolabel.training.checkpoints import checkpoint_paths, read_checkpoint

    for path in checkpoint_paths(folder / "checkpoints"):
        try:
            return isinstance(read_checkpoint(path)["settings"], dict)
        except InputError:
            continue
    return False
