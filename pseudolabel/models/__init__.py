"""Networks, and taggers built on them: waveforms to class scores."""

from __future__ import annotations

import importlib


def __getattr__(name: str) -> object:
    """Import `load_model` or `save_model` on first use, so that importing the package does not import torch."""
    if name in ("load_model", "save_model"):
        return getattr(importlib.import_module("pseudolabel.models.files"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
