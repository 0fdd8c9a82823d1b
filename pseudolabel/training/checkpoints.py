"""Checkpoints: all that training needs to go on, written whole or not at all; the last few and the best are kept."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import torch

from pseudolabel.artefacts import whole_file
from pseudolabel.errors import InputError
from pseudolabel.training.run_folder import checkpoint_files

KEPT = 2  # a damaged last one leaves the one before
KEEP_ALL = 0
WITHIN = "within-epoch.pt"  # the state amid an epoch: one, replaced by the next, gone when the epoch is done


def checkpoint_path(folder: Path, epoch: int) -> Path:
    """Return the file of the checkpoint written after `epoch` finished epochs."""
    return folder / f"epoch-{epoch:04d}.pt"


def checkpoint_paths(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the last first; that amid an epoch is the last."""
    within = [folder / WITHIN] if (folder / WITHIN).exists() else []
    return [*within, *reversed(checkpoint_files(folder).values())]


def save_checkpoint(folder: Path, epoch: int | None, state: dict, settings: dict, kept: int = KEPT) -> None:
    """Write the state after `epoch` finished epochs, None: amid one, and remove all but the last few.

    Args:
        state: tensors, numbers, lists and dicts of them: what `torch.load(weights_only=True)` reads back.
        settings: what the run was started with; another run's checkpoint is refused.
        kept: how many are kept; KEEP_ALL: every one.
    """
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
    """Remove all but the last `kept` checkpoints of epochs; KEEP_ALL: none."""
    for old in list(checkpoint_files(folder).values())[:-kept] if kept else ():
        old.unlink()


def read_checkpoint(path: Path) -> dict:
    """Return the state that `save_checkpoint` wrote, its settings parsed; InputError where the file is damaged."""
    try:
        with zipfile.ZipFile(path) as packed:  # which torch.load reads without looking at its checksums
            if damaged := packed.testzip():
                raise ValueError(f"{damaged} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {**state, "settings": json.loads(state["settings"])}
    except Exception as error:  # a damaged file of any kind
        raise InputError(f"not a readable checkpoint ({type(error).__name__})", path, "Leave it out.") from error


def differing(earlier: object, now: object, path: str = "") -> list[str]:
    """Return the names of the settings that differ, those within others as `config.front_end.hop`."""
    if not (isinstance(earlier, dict) and isinstance(now, dict)):
        return [] if earlier == now else [path]
    names = {key: f"{path}.{key}" if path else key for key in {**earlier, **now}}
    return [name for key in names for name in differing(earlier.get(key), now.get(key), names[key])]


def load_checkpoint(folder: Path, settings: dict) -> dict | None:
    """Return the last readable checkpoint's state, or None where there is none.

    Raises:
        InputError: the checkpoints there belong to a run with other settings.
    """
    for path in checkpoint_paths(folder):
        try:
            state = read_checkpoint(path)
        except InputError:
            print(f"{path}: not a readable checkpoint; the one before is taken", file=sys.stderr)
            continue
        changed = differing(state["settings"], json.loads(json.dumps(settings)))
        if changed:
            raise InputError(
                f"an unfinished run with other {', '.join(sorted(changed))} lies here", folder.parent,
                "Finish it with the options and files that it began with, give --overwrite to start again, or "
                "another --out.",
            )  # fmt: skip
        return state
    return None
