"""The files of a simulated corpus: what may be replaced, and how the unfinished work becomes the finished one."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pseudolabel.artefacts import rename
from pseudolabel.errors import InputError, first_few
from pseudolabel.ownership import files_in, output_exists, read_run, refuse_existing, refuse_foreign
from pseudolabel.temporaries import is_temporary, remove

TABLES = (
    "clips.csv", "sources.csv", "vocabulary.csv", "truth.csv", "events.csv", "labels.csv", "balanced.csv",
    "validation.csv", "eval.csv", "dropped.csv", "annotator.csv", "skipped_sounds.csv", "run.json",
)  # fmt: skip
PARTS_FOLDER = "simulate.parts"  # unfinished work, in the work folder
SCENES, OLD_SCENES, RECIPE = "scenes", "old-scenes", "recipe.json"
SCENE = re.compile(r"(full|validation|eval)-\d{5,}\.flac")
PART = re.compile(rf"({SCENES}|{OLD_SCENES})/{SCENE.pattern}|blocks/.+\.json|{RECIPE}|run\.json|[a-z_]+\.csv")


def not_scenes(folder: Path) -> str:
    """Return why a folder holds something else than simulated scenes; empty where it does not."""
    if folder.is_symlink() or not folder.is_dir():
        return "not a folder of scenes"
    strange = [name for name in files_in(folder) if not SCENE.fullmatch(name)]
    return f"holds {first_few(strange)}, which simulate did not write" if strange else ""


def not_parts(folder: Path) -> str:
    """Return why a folder is not the unfinished work of simulate alone; empty where it is, or holds nothing."""
    if folder.is_symlink() or not folder.is_dir():
        return "not a folder of unfinished work"
    there = [name for name in files_in(folder) if not is_temporary(Path(name))]
    strange = [name for name in there if not PART.fullmatch(name)]
    if strange:
        return f"holds {first_few(strange)}, which simulate did not write"
    return f"has no {RECIPE}" if there and RECIPE not in there else ""


def is_left_of_finished(folder: Path) -> bool:
    """Return whether a run was killed after it published all, and before it removed its unfinished work."""
    scenes, blocks = folder / SCENES, folder / "blocks"
    return blocks.is_dir() and any(blocks.iterdir()) and not (scenes.is_dir() and any(scenes.iterdir()))


def refuse_others(work: Path, overwrite: bool, clear: bool = True) -> None:
    """Raise InputError where outputs lie that may not be replaced, or are not those of a simulation.

    Args:
        clear: remove what a run left that was killed when all was done.
    """
    parts = work / PARTS_FOLDER
    publishing = (parts / "run.json").exists()  # killed while it gave the outputs their names: go on
    if clear and not publishing and is_left_of_finished(parts):
        remove(parts, not_parts)
    there = [name for name in (SCENES, *TABLES) if os.path.lexists(work / name)]
    for name in there:
        if not (clear or overwrite or publishing):
            raise output_exists(work / name)
        refuse_existing(work / name, overwrite or publishing)
    if there and not publishing and read_run(work).get("verb") != "simulate":
        raise InputError(f"{first_few(there)}: not of a corpus that simulate made, so not replaced", work,
                         "Give another --work.")  # fmt: skip
    for name, reason_not_to in ((SCENES, not_scenes), (PARTS_FOLDER, not_parts)):
        if os.path.lexists(work / name):
            refuse_foreign(work / name, True, reason_not_to=reason_not_to)


def publish(parts: Path, work: Path) -> None:
    """Give every finished output its name in `work`, scenes and run.json last, and remove the folder of parts.

    Killed in between and run again, it goes on: tables are made again, and scenes that have moved are left in place.
    """
    for name in TABLES:
        if name != "run.json":
            os.replace(parts / name, work / name)
    if any((parts / SCENES).iterdir()):
        if (work / SCENES).exists():
            os.rename(work / SCENES, parts / OLD_SCENES)
        os.rename(parts / SCENES, work / SCENES)
    rename(parts / "run.json", work / "run.json")
    remove(parts, not_parts)
