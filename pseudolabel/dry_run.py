"""Track which files a dry run may count on: those that exist, and those that earlier steps would write.

A recipe checks all of its steps before running the first: each step's outputs are promised to the steps after it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pseudolabel.errors import no_file
from pseudolabel.ownership import output_exists, refuse_foreign

_promised: dict[str, dict[str, object]] = {}  # absolute path: facts about it
_of_recipe = False


def begin_recipe() -> None:
    """Start checking the steps of a recipe: forget all promises and skip slow counts."""
    global _of_recipe
    _of_recipe = True
    _promised.clear()


def end_recipe() -> None:
    """Go back to checking single commands."""
    global _of_recipe
    _of_recipe = False
    _promised.clear()


def of_recipe() -> bool:
    """Return whether a recipe's steps are being checked."""
    return _of_recipe


def there(path: str | Path) -> bool:
    """Return whether a file or folder exists or is promised."""
    return os.path.exists(path) or os.path.abspath(path) in _promised


def holds(folder: Path, name: str) -> bool:
    """Return whether a subfolder of `folder` has, or is promised, a file called `name`."""
    inside = os.path.abspath(folder)
    return any(folder.glob(f"*/{name}")) or any(
        os.path.basename(path) == name and os.path.dirname(os.path.dirname(path)) == inside for path in _promised
    )


def promise(path: Path, *names: str, **said: object) -> None:
    """Promise a file or folder to the later steps of a recipe, with files of these names in it, and facts about it."""
    if not _of_recipe:  # no step follows a single command
        return
    for made in (path, *(path / name for name in names)):
        keep(made)
    _promised[os.path.abspath(path)] = said


def keep(path: Path) -> None:
    """Promise a file and its parent folders, keeping any facts already given."""
    made = os.path.abspath(path)
    while made not in _promised and made != os.path.dirname(made):
        _promised[made] = {}
        made = os.path.dirname(made)


def promised(path: str | Path) -> dict[str, object]:
    """Return the facts given about a promised file or folder; empty if it is not promised."""
    return _promised.get(os.path.abspath(path), {})


def refuse_absent(*paths: str | Path | None, remedy: str = "") -> None:
    """Raise InputError for the first of these paths that neither exists nor is promised."""
    for path in paths:
        if path is not None and not there(path):
            raise no_file(path, remedy, "no such file or folder")


def refuse_output(path: Path, overwrite: bool, check: Callable[[], object]) -> Path:
    """Return the path of an output, or raise as `check` would, but without removing what a killed run left."""
    if os.path.lexists(path) and not overwrite:
        raise output_exists(path)
    check()
    return path


def refuse_folder(folder: Path, overwrite: bool, *makers: str) -> Path:
    """Return an output folder; raise InputError if `refuse_foreign` would."""
    return refuse_output(folder, overwrite, lambda: refuse_foreign(folder, overwrite, *makers))
