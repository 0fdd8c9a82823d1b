"""The folder of a run: who may write to it, its checkpoints, and the record that marks the run as finished.

A checkpoint holds everything training needs to continue. It is written whole or not at all; the last few are kept.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

from pseudolabel.artefacts import whole_file, whole_folder, write_json
from pseudolabel.errors import InputError, OutputExists, first_few
from pseudolabel.layout import RUN
from pseudolabel.ownership import files_in, not_ours, read_run
from pseudolabel.records import sha256
from pseudolabel.temporaries import clear_lock, is_temporary, lock_path
from pseudolabel.training.options import KEEP_ALL, KEPT

FORMAT, FORMAT_VERSION = "pseudolabel-training", 1
CHECKPOINTS = "checkpoints"
MARK = f"{CHECKPOINTS}/settings.json"  # written first; shows that train made the folder, finished or not
WITHIN = "within-epoch.pt"  # the latest state within an epoch, removed when the epoch is done
NAME = re.compile(r"epoch-(\d{4,})\.pt")
RUN_FILE = re.compile(
    r"run\.json|model\.safetensors|config\.json|(train_clips|missing|history)\.csv|learning_curve\.png"
    r"|checkpoints/(epoch-\d{4,}\.pt|within-epoch\.pt|settings\.json)|tensorboard/events\.out\.tfevents\..+"
)


# ---- whose folder it is -----------------------------------------------------------------------------------------


def claim(folder: Path, overwrite: bool, settings: Mapping[str, object]) -> None:
    """Create the folder of a run, or leave that of an unfinished run as it is, to continue there.

    Raises:
        OutputExists: the folder holds a finished run, and `overwrite` is not given.
        InputError: it is a file, a link or a folder that train did not write, or it would be replaced but holds other
            files.
    """
    if os.path.lexists(folder) and not overwrite:
        refuse_finished(folder)
        reason = not_begun(folder)
        if reason:
            raise InputError(f"{reason}, so nothing is written there", folder, "Give another --out.")
        if (folder / MARK).exists():
            return
    if not overwrite and folder.is_dir() and files_in(folder):  # of an earlier version
        _mark(folder, settings)
        return
    with whole_folder(folder, True, reason_not_to=not_a_run) as new:
        _mark(new, settings)


def _mark(folder: Path, settings: Mapping[str, object]) -> None:
    write_json(folder / MARK, {"format": FORMAT, "format_version": FORMAT_VERSION, **settings})


def refuse_finished(folder: Path) -> None:
    """Raise OutputExists if a folder holds a finished run; the message names inputs that have changed since."""
    if not (folder / RUN).exists():
        return
    inputs = read_run(folder).get("inputs")
    recorded = inputs.items() if isinstance(inputs, dict) else ()
    changed = [path for path, checksum in recorded if Path(path).is_file() and sha256(path) != checksum]
    made_from = f", made from what {first_few(changed)} held before" if changed else ""
    clear_lock(lock_path(folder))
    remedy = "Give --overwrite to replace it, or another --out."
    raise OutputExists(f"a finished run is here{made_from}", folder, remedy)


def not_begun(folder: Path) -> str:
    """Return why a folder is not a run that `train` began; an empty string if it is, or holds nothing."""
    if folder.is_symlink() or not folder.is_dir():
        return "not a folder that train wrote"
    if not files_in(folder) or _marked(folder) or _has_checkpoint(folder):
        return ""
    return "not a folder that train wrote (it has no checkpoints of a run)"


def not_a_run(folder: Path) -> str:
    """Return why a folder is not just a run of `train`; an empty string if it is and may be replaced."""
    begun = not_ours(folder, ("train",)) if (folder / RUN).exists() else not_begun(folder)
    others = [name for name in files_in(folder) if not is_run_file(name)] if not begun else ()
    return begun or (f"holds {first_few(others)}, which train did not write" if others else "")


def is_run_file(name: str) -> bool:
    """Return whether `train` writes a file of this name in a run folder."""
    return bool(RUN_FILE.fullmatch(name)) or is_temporary(Path(name))


def _marked(folder: Path) -> bool:
    try:
        return json.loads((folder / MARK).read_text(encoding="utf-8")).get("format") == FORMAT
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _has_checkpoint(folder: Path) -> bool:
    """Return whether a folder holds a checkpoint of ours; earlier versions wrote no mark."""
    for path in checkpoint_paths(folder / CHECKPOINTS):
        try:
            return isinstance(read_checkpoint(path)["settings"], dict)
        except InputError:
            continue
    return False


def write_record(folder: Path, record: Mapping[str, object]) -> None:
    """Write run.json, the last file of a run, with the list of files that `train` wrote."""
    files = [name for name in files_in(folder) if RUN_FILE.fullmatch(name) and name != RUN]
    write_json(folder / RUN, {**record, "files": files})


# ---- checkpoints ------------------------------------------------------------------------------------------------


def checkpoint_path(folder: Path, epoch: int) -> Path:
    """Return the path of the checkpoint written after `epoch` finished epochs."""
    return folder / f"epoch-{epoch:04d}.pt"


def checkpoint_files(folder: Path) -> dict[int, Path]:
    """Return {number of finished epochs: checkpoint}, ascending."""
    named = ((NAME.fullmatch(path.name), path) for path in sorted(folder.glob("epoch-*.pt")))
    return {int(match[1]): path for match, path in named if match}


def checkpoint_paths(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, latest first; one within an epoch is the latest."""
    within = [folder / WITHIN] if (folder / WITHIN).exists() else []
    return [*within, *reversed(checkpoint_files(folder).values())]


def chosen_epochs(run: Path, there: Collection[int], first: int | None = None, last: int | None = None) -> list[int]:
    """Return the epochs from `first` to `last`, or all epochs with a checkpoint if no range is given.

    Raises:
        InputError: there are no checkpoints, or one in the range is missing.
    """
    if not there:
        raise InputError("no checkpoints", run, "Give the run folder that training wrote.")
    epochs = list(there) if first is None else list(range(first, last + 1))
    absent = [epoch for epoch in epochs if epoch not in there]
    if absent:
        message = f"no checkpoint of epoch {first_few(absent)}; there are: {first_few(there, 8)}"
        raise InputError(message, run, "Train with --keep-checkpoints all.")
    return epochs


def save_checkpoint(folder: Path, epoch: int | None, state: dict, settings: dict, kept: int = KEPT) -> None:
    """Write the state after `epoch` finished epochs (None: within an epoch), and remove all but the last few.

    Args:
        state: tensors, numbers, and lists and dicts of them, as `torch.load(weights_only=True)` reads them back.
        settings: settings that the run was started with; `load_checkpoint` refuses others.
        kept: how many to keep; KEEP_ALL: all.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WITHIN if epoch is None else checkpoint_path(folder, epoch)
    with whole_file(path) as temporary:
        try:
            torch.save({**state, "epoch": epoch, "settings": json.dumps(settings, sort_keys=True)}, temporary)
        except RuntimeError as error:  # a full disk
            raise OSError(f"{path}: could not be written: is the disk full?") from error
    if epoch is not None:
        (folder / WITHIN).unlink(missing_ok=True)
        remove_old_checkpoints(folder, kept)


def remove_old_checkpoints(folder: Path, kept: int) -> None:
    """Remove all but the last `kept` checkpoints of epochs; KEEP_ALL removes none."""
    if kept != KEEP_ALL:
        for old in list(checkpoint_files(folder).values())[:-kept]:
            old.unlink()


def read_checkpoint(path: Path) -> dict:
    """Read the state that `save_checkpoint` wrote, settings parsed; raise InputError if the file is damaged."""
    import torch

    try:
        with zipfile.ZipFile(path) as packed:  # torch.load does not check its checksums
            if damaged := packed.testzip():
                raise ValueError(f"{damaged} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {**state, "settings": json.loads(state["settings"])}
    except Exception as error:  # a damaged file of any kind
        raise InputError(f"not a readable checkpoint ({type(error).__name__})", path, "Leave it out.") from error


def load_checkpoint(folder: Path, settings: dict) -> dict | None:
    """Return the state of the last readable checkpoint, or None if there is none.

    Raises:
        InputError: the checkpoints belong to a run with other settings.
    """
    for path in checkpoint_paths(folder):
        try:
            state = read_checkpoint(path)
        except InputError:
            print(f"{path}: not a readable checkpoint; the one before it is used", file=sys.stderr)
            continue
        changed = differing(state["settings"], json.loads(json.dumps(settings)))
        if changed:
            message = f"an unfinished run with other {', '.join(sorted(changed))} is here"
            remedy = "Finish it with its own options and files, start over with --overwrite, or give another --out."
            raise InputError(message, folder.parent, remedy)
        return state
    return None


def differing(earlier: object, now: object, path: str = "") -> list[str]:
    """Return the names of settings that differ, nested ones as `config.front_end.hop`."""
    if not (isinstance(earlier, dict) and isinstance(now, dict)):
        return [] if earlier == now else [path]
    names = {key: f"{path}.{key}" if path else key for key in {**earlier, **now}}
    return [name for key in names for name in differing(earlier.get(key), now.get(key), names[key])]
