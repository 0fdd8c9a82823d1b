"""What dry runs of several verbs check: vocabulary and device."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pseudolabel import cli, dry_run
from pseudolabel.errors import InputError
from pseudolabel.labels.vocabulary import Vocabulary


def check_vocabulary(source: str | Path | None) -> None:
    """Raise InputError where a vocabulary is neither built in nor a file that is there, or will be."""
    if source is not None and (os.path.exists(source) or not dry_run.there(source)):
        Vocabulary.load(source)


def check_device(device: str, threads: int = 1) -> None:
    """Raise InputError where --device names none that is here; torch is loaded only to look for a GPU."""
    if device in ("auto", "cpu"):
        return
    if not re.fullmatch(r"cuda(:\d{1,3})?", device):
        raise InputError(f"no such device {device!r}", "--device", "Give auto, cpu, cuda or cuda:N.")
    cli.choose_device(device, threads)
