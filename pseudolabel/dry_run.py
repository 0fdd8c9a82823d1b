"""What `--dry-run` takes into account: the files that are there, and those that the steps before it would make.

A recipe checks all of its steps before it runs the first: what one of them would write is promised to those after it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

from pseudolabel.errors import InputError
from pseudolabel.ownership import output_exists, refuse_foreign

_promised: dict[str, dict[str, object]] = {}  # absolute path: what is said of it
_of_recipe = False


def begin_recipe() -> None:
    """Check the steps of a recipe from now on: nothing is promised yet, and nothing slow is counted."""
    global _of_recipe
    _of_recipe = True
    _promised.clear()


def end_recipe() -> None:
    """Check single commands again."""
    global _of_recipe
    _of_recipe = False
    _promised.clear()


def of_recipe() -> bool:
    """Return whether the steps of a recipe are checked."""
    return _of_recipe


def there(path: str | Path) -> bool:
    """Return whether a file or folder is there, or would be."""
    return os.path.exists(path) or os.path.abspath(path) in _promised


def holds(folder: Path, name: str) -> bool:
    """Return whether a folder has a folder with a file of this name in it, or would have."""
    inside = os.path.abspath(folder)
    return any(folder.glob(f"*/{name}")) or any(
        os.path.basename(path) == name and os.path.dirname(os.path.dirname(path)) == inside for path in _promised
    )


def promise(path: Path, *names: str, **said: object) -> None:
    """Take a file or folder for one that will be there, with files of these names in it; `said`: what it will be."""
    for made in (path, *(path / name for name in names)):
        keep(made)
    _promised[os.path.abspath(path)] = said


def keep(path: Path) -> None:
    """Take a file and the folders that it lies in for what will be there; what was said of them stays."""
    made = os.path.abspath(path)
    while made not in _promised and made != os.path.dirname(made):
        _promised[made] = {}
        made = os.path.dirname(made)


def promised(path: str | Path) -> dict[str, object]:
    """Return what was said of a file or folder that will be there; nothing of one that no step before makes."""
    return _promised.get(os.path.abspath(path), {})


def refuse_absent(*paths: str | Path | None, remedy: str = "") -> None:
    """Raise InputError for the first of these files and folders that is not there, and will not be."""
    for path in paths:
        if path is not None and not there(path):
            raise InputError("no such file or folder", path, remedy)


def refuse_output(path: Path, overwrite: bool, check: Callable[[], object]) -> Path:
    """Return the path of an output; raise what `check` would, which alone clears what a killed run left."""
    if os.path.lexists(path) and not overwrite:
        raise output_exists(path)
    check()
    return path


def refuse_folder(folder: Path, overwrite: bool, *makers: str) -> Path:
    """Return an output folder; raise InputError where `refuse_foreign` would."""
    return refuse_output(folder, overwrite, lambda: refuse_foreign(folder, overwrite, *makers))


def check_packages(option: str, extra: str, *packages: str) -> None:
    """Raise InputError where an option needs a package that is not installed."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    if absent:
        raise InputError(f"{absent[0]} is not installed", option, f"pip install 'pseudolabel[{extra}]'")
