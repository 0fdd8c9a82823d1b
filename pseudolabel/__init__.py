"""Find the missing labels of weakly labelled audio, show why, and train a smaller model from them.

Importing the package imports neither torch nor h5py: the classes below are loaded on first use.
"""

from __future__ import annotations

import importlib

__version__ = "0.3.0"

_HOMES = {
    "Vocabulary": "pseudolabel.labels.vocabulary",
    "Ontology": "pseudolabel.labels.ontology",
    "LabelTable": "pseudolabel.labels.table",
    "EnhanceOptions": "pseudolabel.enhance",
    "ScoreStore": "pseudolabel.scores.store",
    "ClipStore": "pseudolabel.audio.clips",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
