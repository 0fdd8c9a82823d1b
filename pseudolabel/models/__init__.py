"""Networks, and taggers made of them: waveforms to the scores of classes."""

from __future__ import annotations

import importlib


def __getattr__(name: str) -> object:
    """Return `load_model` or `save_model`; importing the room imports no torch."""
    if name in ("load_model", "save_model"):
        return getattr(importlib.import_module("pseudolabel.models.files"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
