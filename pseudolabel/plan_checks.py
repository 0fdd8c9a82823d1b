"""Checks shared by the dry runs of several verbs: vocabulary, stores, label lists, ledgers, device."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pseudolabel import cli, dry_run
from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.labels.ledger import ledger_pieces
from pseudolabel.labels.readers import read_label_rows
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import CLASS_ID, CLIP_ID, CONFIG
from pseudolabel.ownership import readable_object
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, parse_window, window_name
from pseudolabel.stores import KeyedByClip, store_contents, whole_number
from pseudolabel.tables import read_header

SMALL_JSON = 1 << 20  # bytes of a label list that are parsed at once


def check_vocabulary(source: str | Path | None) -> None:
    """Raise InputError if a vocabulary is neither built in nor a file that exists or is promised."""
    if source is not None and (os.path.exists(source) or not dry_run.there(source)):
        Vocabulary.load(source)


def check_stores(kind: type[KeyedByClip], *paths: str | Path | None) -> None:
    """Raise InputError if an existing file is not a store of this kind; its tables are not read."""
    for path in paths:
        if path is not None and os.path.exists(path):
            kind.open_file(path).close()


def check_scale(path: Path, window_s: str | float, option: str, windows_only: bool = False) -> None:
    """Raise InputError if a score store has no such scale, or will have none."""
    scales = dry_run.promised(path).get("scales")
    if scales is None and path.exists():
        ScoreStore.open(path).refuse_without(window_s, option, windows_only)
    elif scales is not None and window_s not in scales and not (window_s == CLIP and 10.0 in scales):
        names = ", ".join(window_name(scale) for scale in scales if not windows_only or scale != CLIP)
        remedy = f"Give {option}: {names}." if names else "Score with --windows too."
        raise InputError(f"will have no scores_{window_name(window_s)}", path, remedy)


def promise_joined(out: Path, stores: Sequence[Path], scale_in: Callable[[Iterable[bool]], bool]) -> None:
    """Promise a store made of others, with the scales that `scale_in` (any, all) of them have, if they are known.

    Its classes, if known, are those of the first.
    """
    if not dry_run.of_recipe():
        return
    each = [_known_scales(path) for path in stores]
    said = {"classes": dry_run.promised(stores[0]).get("classes")}
    if None not in each:
        scales = dict.fromkeys(scale for of_store in each for scale in of_store)
        said["scales"] = [scale for scale in scales if scale_in(scale in of_store for of_store in each)]
    dry_run.promise(out, **said)


def _known_scales(path: Path) -> list[str | float] | None:
    """Return the scales that a score store has or will have; None if unknown."""
    if path.exists():
        return [parse_window(scale) for scale in ScoreStore.open(path).scales]
    return dry_run.promised(path).get("scales")


def check_ledger(path: Path | None, required: Iterable[str] = (CLIP_ID, CLASS_ID)) -> None:
    """Raise InputError if an existing ledger is unreadable or lacks a column; only its first rows are read."""
    if path is not None and path.exists():
        next(ledger_pieces(path, required))


def check_lists(format: str | None, *paths: str | Path | None) -> None:
    """Raise InputError if an existing label list has no header or first row that a verb can read.

    Larger JSON documents, which are parsed as a whole, are only recognized.
    """
    for path in paths:
        if path is None or not os.path.exists(path):
            continue
        rows, form = read_label_rows(path, format)
        if form.unit == "entry" and os.path.getsize(path) > SMALL_JSON:
            continue
        if next(iter(rows), None) is None:
            raise rows.no_clips()


def check_columns(required: Sequence[str], *paths: str | Path | None) -> None:
    """Raise InputError if an existing CSV table lacks a column; its rows are not read."""
    for path in paths:
        if path is not None and os.path.exists(path):
            read_header(path, required)


def sample_rate_of(clips: Path) -> int | None:
    """Return the sample rate (Hz) that a clip store has or will have, without reading its tables; None if unknown.

    Raises:
        InputError: the file exists and is not a clip store.
    """
    if not clips.exists():
        return dry_run.promised(clips).get("sample_rate")
    with ClipStore.open_file(clips) as file, store_contents(clips):
        return whole_number(file.attrs["sample_rate"])


def classes_of_runs(runs: Sequence[Path], clips: Path) -> list[str] | None:
    """Return the classes that the runs' models score; None if the runs are yet to be trained.

    Raises:
        InputError: an existing run expects another sample rate than the clip store has or will have.
    """
    configs = {run: readable_object(run / CONFIG) for run in runs if (run / CONFIG).is_file()}
    sample_rate = sample_rate_of(clips)
    for run, config in configs.items():
        if sample_rate is not None and config.get("sample_rate") not in (None, sample_rate):
            raise other_sample_rate(run, config.get("sample_rate"), sample_rate)
    return next((config.get("class_ids") for config in configs.values()), None)


def other_sample_rate(run: Path, expected: int, sample_rate: int) -> InputError:
    """Return the error for a run that expects clips of another sample rate (Hz)."""
    return InputError(f"the model expects {expected} Hz, the clips have {sample_rate} Hz", run,
                      f"Prepare the clips with --sample-rate {expected}.")  # fmt: skip


def check_device(device: str, threads: int = 1) -> None:
    """Raise InputError if --device names a device that is not here; torch is loaded only to look for a GPU."""
    if device in ("auto", "cpu"):
        return
    if not re.fullmatch(r"cuda(:\d{1,3})?", device):
        raise InputError(f"no such device {device!r}", "--device", "Give auto, cpu, cuda or cuda:N.")
    cli.choose_device(device, threads)
