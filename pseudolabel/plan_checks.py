"""What dry runs of several verbs check: vocabulary, stores, label lists, ledgers, device."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from pseudolabel import cli, dry_run
from pseudolabel.errors import InputError
from pseudolabel.labels.formats import read_label_rows
from pseudolabel.labels.ledger import ledger_pieces
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.stores import KeyedByClip


def check_vocabulary(source: str | Path | None) -> None:
    """Raise InputError where a vocabulary is neither built in nor a file that is there, or will be."""
    if source is not None and (os.path.exists(source) or not dry_run.there(source)):
        Vocabulary.load(source)


def check_stores(kind: type[KeyedByClip], *paths: str | Path | None) -> None:
    """Raise InputError where a file that is there is no store of this kind; its tables are not read."""
    for path in paths:
        if path is not None and os.path.exists(path):
            kind.open_file(path).close()


def check_ledger(path: Path, required: Iterable[str]) -> None:
    """Raise InputError where a ledger that is there cannot be read, or lacks a column; its first rows are read."""
    if path.exists():
        next(ledger_pieces(path, required))


def check_lists(format: str | None, *paths: str | Path | None) -> None:
    """Raise InputError where a label list that is there is empty, or --format names no form; no label is read."""
    for path in paths:
        if path is not None and os.path.exists(path):
            read_label_rows(path, format)


def check_device(device: str, threads: int = 1) -> None:
    """Raise InputError where --device names none that is here; torch is loaded only to look for a GPU."""
    if device in ("auto", "cpu"):
        return
    if not re.fullmatch(r"cuda(:\d{1,3})?", device):
        raise InputError(f"no such device {device!r}", "--device", "Give auto, cpu, cuda or cuda:N.")
    cli.choose_device(device, threads)
