"""Find the missing labels of weakly labelled audio, show why, and train a smaller model from them.

Importing the package imports neither torch nor h5py: the names below are loaded on first use. `enhance` is the module
of the verb, which can be called: `enhance(labels, scores, ontology, EnhanceOptions("25p"))`.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

__version__ = "0.3.0"

_HOMES = {
    "Vocabulary": "pseudolabel.labels.vocabulary",
    "Ontology": "pseudolabel.labels.ontology",
    "LabelTable": "pseudolabel.labels.table",
    "EnhanceOptions": "pseudolabel.labels.rules",
    "ScoreStore": "pseudolabel.scores.store",
    "ClipStore": "pseudolabel.audio.clips",
    "InputError": "pseudolabel.errors",
    "load_model": "pseudolabel.models.files",
}
__all__ = ["enhance", *_HOMES, "__version__"]

if sys.argv[:1] == ["-m"]:  # Python looks for the program that it was asked to run: `python -m pseudolabel.VERB`
    from pseudolabel.packages import say_missing

    sys.excepthook = say_missing


def __getattr__(name: str) -> Any:
    if name == "enhance":
        return importlib.import_module("pseudolabel.enhance")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
