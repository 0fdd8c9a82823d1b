"""Outputs of a simulation: its files, which of them may be replaced, and how unfinished work becomes the corpus."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pseudolabel.artefacts import rename
from pseudolabel.errors import InputError, first_few
from pseudolabel.layout import BALANCED, EVALUATION, GROUPS, LABELS, RUN, SCENES, TRUTH, VALIDATION, VOCABULARY
from pseudolabel.ownership import files_in, output_exists, read_run, refuse_existing, refuse_foreign
from pseudolabel.temporaries import is_temporary, remove

LABEL_FILES = {"full": LABELS, "validation": VALIDATION, "eval": EVALUATION}  # one per list of scenes
SOURCES, EVENTS, DROPPED, ANNOTATOR = "sources.csv", "events.csv", "dropped.csv", "annotator.csv"
SKIPPED_SOUNDS = "skipped_sounds.csv"
TABLES = (GROUPS, SOURCES, VOCABULARY, TRUTH, EVENTS, LABELS, BALANCED, VALIDATION, EVALUATION, DROPPED, ANNOTATOR,
          SKIPPED_SOUNDS, RUN)  # fmt: skip
PARTS_FOLDER = "simulate.parts"  # unfinished work, in the work folder
OLD_SCENES, RECIPE = "old-scenes", "recipe.json"
SCENE = re.compile(r"(full|validation|eval)-\d{5,}\.flac")
PART = re.compile(rf"({SCENES}|{OLD_SCENES})/{SCENE.pattern}|blocks/.+\.json|{RECIPE}|run\.json|[a-z_]+\.csv")


def not_scenes(folder: Path) -> str:
    """Return why a folder is not just simulated scenes; an empty string if it is."""
    if folder.is_symlink() or not folder.is_dir():
        return "not a folder of scenes"
    others = [name for name in files_in(folder) if not SCENE.fullmatch(name)]
    return f"holds {first_few(others)}, which simulate did not write" if others else ""


def not_unfinished(folder: Path) -> str:
    """Return why a folder is not just unfinished work of simulate; an empty string if it is, or is empty."""
    if folder.is_symlink() or not folder.is_dir():
        return "not a folder of unfinished work"
    names = [name for name in files_in(folder) if not is_temporary(Path(name))]
    others = [name for name in names if not PART.fullmatch(name)]
    if others:
        return f"holds {first_few(others)}, which simulate did not write"
    return f"has no {RECIPE}" if names and RECIPE not in names else ""


def is_left_of_finished(folder: Path) -> bool:
    """Return whether a run was killed between publishing everything and removing its unfinished work."""
    scenes, blocks = folder / SCENES, folder / "blocks"
    return blocks.is_dir() and any(blocks.iterdir()) and not (scenes.is_dir() and any(scenes.iterdir()))


def refuse_other_outputs(work: Path, overwrite: bool, clear: bool = True) -> None:
    """Raise InputError for outputs that may not be replaced, or that no simulation made.

    Args:
        clear: remove what is left of a run that was killed after publishing everything.
    """
    parts = work / PARTS_FOLDER
    publishing = (parts / RUN).exists()  # killed while publishing: continue
    if clear and not publishing and is_left_of_finished(parts):
        remove(parts, not_unfinished)
    present = [name for name in (SCENES, *TABLES) if os.path.lexists(work / name)]
    for name in present:
        if not (clear or overwrite or publishing):
            raise output_exists(work / name, "--work")
        refuse_existing(work / name, overwrite or publishing, "--work")
    if present and not publishing and read_run(work).get("verb") != "simulate":
        message = f"{first_few(present)}: not written by simulate, so not replaced"
        raise InputError(message, work, "Give another --work.")
    for name, reason_not_to in ((SCENES, not_scenes), (PARTS_FOLDER, not_unfinished)):
        if os.path.lexists(work / name):
            refuse_foreign(work / name, True, reason_not_to=reason_not_to)


def publish_corpus(parts: Path, work: Path) -> None:
    """Move every finished output into `work`, scenes and run.json last, and remove the folder of parts.

    If killed in between, the run can be restarted: it makes the tables again and leaves scenes that have already moved
    in place.
    """
    for name in TABLES:
        if name != RUN:
            os.replace(parts / name, work / name)
    if any((parts / SCENES).iterdir()):
        if (work / SCENES).exists():
            os.rename(work / SCENES, parts / OLD_SCENES)
        os.rename(parts / SCENES, work / SCENES)
    rename(parts / RUN, work / RUN)
    remove(parts, not_unfinished)
