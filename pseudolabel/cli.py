"""Run `pseudolabel VERB`, and resolve the default paths, label lists and devices that the verbs share."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pseudolabel import layout
from pseudolabel.command import EXIT_BAD_INPUT, exit_code
from pseudolabel.dry_run import there
from pseudolabel.errors import ClipMismatch, InputError, NoFile, OutputExists, first_few, first_line, nearest, shown
from pseudolabel.options import DefaultFolder, ListOptions, VerbOptions
from pseudolabel.ownership import read_run
from pseudolabel.progress import note
from pseudolabel.records import recorded_reading

if TYPE_CHECKING:
    from pseudolabel.labels.aliases import MatchedClips
    from pseudolabel.labels.table import LabelTable
    from pseudolabel.labels.vocabulary import Vocabulary
    from pseudolabel.stores import KeyedByClip

Store = TypeVar("Store", bound="KeyedByClip")
VERBS = {
    "simulate": "isolated sounds -> a corpus whose truth is known",
    "prepare": "audio files and label lists -> clips.h5",
    "train": "clips and labels, or soft targets -> a run folder",
    "score": "clips and run folders -> scores.h5 at 10, 5 and 2 s",
    "average": "checkpoints or runs -> one model; score stores -> one ensemble store",
    "enhance": "labels, scores and ontology -> enhanced labels and their ledger",
    "evaluate": "runs or scores, and labels -> metrics, figures, report",
    "balance": "labels -> how uneven the classes are, sampling weights, a held-out list",
    "review": "a ledger -> a page to listen and judge; judgements -> estimated precision",
    "release": "enhanced labels, or a model -> a folder that others can use and check",
    "bench": "what this machine can do, stage by stage",
}
_note_once = functools.cache(note)
LABEL_LISTS = (layout.LABELS, layout.VALIDATION, layout.EVALUATION)  # of a work folder


def import_torch():
    """Return the module torch; an InputError if torch and torchaudio were not built for each other."""
    try:
        import torch
        import torchaudio  # noqa: F401
    except ModuleNotFoundError:
        raise
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"torch and torchaudio do not load together ({first_line(error)[:160]})", "",
            "A CPU-only torch does not fit the index's torchaudio: install both with "
            "pip install --force-reinstall 'torch>=2.11,<2.15' 'torchaudio>=2.11,<2.12' torchvision",
        ) from error  # fmt: skip
    return torch


def choose_device(name: str, threads: int):
    """Set the number of CPU threads and return the torch device that `--device` names."""
    torch = import_torch()
    torch.set_num_threads(threads)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"no such device {name!r}", "--device", "Give auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        n_devices = torch.cuda.device_count()
        raise InputError(f"{name!r}: {n_devices} CUDA devices are available here", "--device", "Give --device cpu.")
    return device


def existing(path: Path) -> Path | None:
    """Return `path` if it exists, else None: for default inputs that are optional."""
    return path if there(path) else None


def home(options: VerbOptions, *named: str | Path | None) -> Path:
    """Return the work folder that the paths named by options belong to (None: not named).

    This is WORK if all of them are in it or none is named. Otherwise it is the work folder of the first path outside
    WORK: the folder that holds it, or the one above if that is a verb's output (enhanced-25p, runs/teacher). So a named
    file is never combined with files made from other data.
    """
    outside = (Path(path) for path in named if path is not None and not _within(Path(path), options.work))
    return next(map(_work_folder, outside), options.work)


def base(options: VerbOptions, *named: str | Path | None) -> Path:
    """Return the folder of shared inputs: WORK if --work is given, else `home` of the named paths."""
    return home(options, *named) if isinstance(options.work, DefaultFolder) else options.work


def _within(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder)) or (
        path.resolve().is_relative_to(folder.resolve())
    )


def _work_folder(path: Path) -> Path:
    """Return the folder above any verb outputs that hold a path; a simulated work folder is not counted as output."""
    folder = path if path.is_dir() else path.parent
    while (
        read_run(folder).get("verb") in VERBS.keys() - {"simulate"}
        or (folder / "checkpoints").is_dir()
        or folder.absolute().parent.name == "runs"
    ):
        folder = folder.absolute().parent
        folder = folder.parent if folder.name == "runs" else folder
    return folder


def default_file(
    options: VerbOptions, given: Path | None, name: str, *named: str | Path | None, what: str = ""
) -> Path | None:
    """Return the file that an option gives, else the one called `name` in the `home` of the named paths, if it exists.

    Args:
        what: what to report as absent if only WORK, which the named paths do not belong to, has such a file.
    """
    if given is not None:
        return given
    found = existing(home(options, *named) / name)
    if found is None and what and (options.work / name).exists():
        note(f"no {what}: {options.work / name} does not belong to {next(path for path in named if path is not None)}")
    return found


def needed_file(options: VerbOptions, given: Path | None, name: str, option: str, *named: str | Path | None) -> Path:
    """Return a required input: the one given, else `name` in the `base` folder of the named paths.

    Raises:
        NoFile: there is no such file beside the named paths.
    """
    folder = base(options, *named)
    if given is None and folder != options.work and not there(folder / name):
        beside = next(path for path in named if path is not None)
        raise NoFile(f"no such file beside {beside}", folder / name, f"Give {option}, or --work {options.work}.")
    return given or folder / name


def default_output(options: VerbOptions, name: str, *named: str | Path | None) -> Path:
    """Return --out, else `name` in WORK.

    Raises:
        OutputExists: --overwrite would replace an output of WORK with one made from another folder's files, and it was
            not made from these files before.
    """
    out, place = options.out or options.work / name, home(options, *named)
    outside = [Path(path) for path in named if path and not _within(Path(path), options.work)]
    replaced = options.out is None and options.overwrite and os.path.lexists(out)
    if replaced and base(options, *named) != options.work and not _made_from(out, outside):
        message = f"it belongs to {options.work}, and what is named to {place}, so it is not replaced"
        raise OutputExists(message, out, f"Give --out, or --work {options.work} if it may be replaced.")
    return out


def _made_from(out: Path, paths: Sequence[Path]) -> bool:
    """Return whether an output folder records each of these paths, or a file in it, as an input."""
    read = read_run(out).get("inputs")
    read = [Path(os.path.abspath(path)) for path in read] if isinstance(read, dict) else []
    return all(any(path.is_relative_to(os.path.abspath(asked)) for path in read) for asked in paths)


def vocabulary_source(options: VerbOptions, *named: str | Path | None) -> str | Path:
    """Return a source for `Vocabulary.load`: --vocabulary, vocabulary.csv beside the named paths, or `audioset`.

    If --work is given, its vocabulary.csv serves named paths that have none beside them.
    """
    found, own = options.vocabulary or beside(options, layout.VOCABULARY, *named), options.work / layout.VOCABULARY
    if not found and own.exists():
        place = next(path for path in named if path is not None)
        _note_once(f"no vocabulary.csv beside {place}: audioset is taken (--vocabulary names another, as {own})")
    return found or "audioset"


def beside(options: VerbOptions, name: str, *named: str | Path | None) -> Path | None:
    """Return `name` in the `home` of the named paths, else in WORK if --work is given; None if neither exists."""
    folders = dict.fromkeys((home(options, *named), base(options, *named)))
    return next(filter(None, (existing(folder / name) for folder in folders)), None)


def read_labels(
    options: ListOptions,
    paths: Path | Sequence[Path],
    vocabulary: Vocabulary,
    own: bool = False,
    record: Mapping | None = None,
) -> LabelTable:
    """Read one label list, or several as one, as `ListOptions` says; report labels left out, and clips without any.

    Args:
        own: the list was not named by an option, so --format does not apply.
        record: the run.json of the verb that read such a list before; it is read as then.
    """
    from pseudolabel.labels.table import read_lists

    paths = [paths] if isinstance(paths, Path) else paths
    how = list_reading(options, own, record)
    labels = read_lists(paths, vocabulary, how["format"], how["unknown_labels"], how["classes"])
    for remark in labels.remarks:
        _note_once(remark)
    if labels.left_out:
        named = first_few(f"{label} ({n})" for label, n in sorted(labels.left_out.items(), key=lambda item: -item[1]))
        note(
            f"{first_few(paths)}: {sum(labels.left_out.values())} labels left out, of {len(labels.left_out)} classes "
            f"that are not in the vocabulary {vocabulary.title}: {named}"
        )
    ends = labels.matrix.indptr
    bare = (ends[1:] == ends[:-1]).nonzero()[0].tolist()
    if 0 < len(bare) < len(labels) and not own:
        have, left = "clip has" if len(bare) == 1 else "clips have", " left" if labels.left_out else ""
        named = first_few(labels.clip_ids[row] for row in bare)
        _note_once(f"{first_few(paths)}: {len(bare):,} {have} no label{left}: {named}")
    return labels


def list_reading(options: ListOptions, own: bool, record: Mapping | None = None) -> dict[str, str | None]:
    """Return the `format`, `classes` and `unknown_labels` with which `read_labels` reads a list."""
    how = recorded_reading(record if own and record else {})
    how |= {} if own else {"format": options.format, "classes": options.classes}
    return how | ({} if options.unknown_labels == "error" else {"unknown_labels": options.unknown_labels})


def read_clip_ids(path: Path, format: str | None = None) -> tuple[str, ...]:
    """Return the clip ids of a label list in any known format, whatever its labels."""
    from pseudolabel.labels import table

    return table.read_clip_ids(path, format)


def match_listed(
    listed: Sequence[str], known: Collection[str], place: Path, what: str, strict: bool = False
) -> MatchedClips:
    """Return which listed clips are known, by the same id or by an alias; report the aliases.

    Args:
        place: the list.
        what: what known clips have, and where: `audio in work/clips.h5`.

    Raises:
        ClipMismatch: no clip is known, one is unknown and `strict` is set, or an id fits several clips.
    """
    from pseudolabel.labels.aliases import match_clips

    matched = match_clips(listed, known, place)
    absent = matched.absent
    if not matched.found or (absent and strict):
        raise ClipMismatch(
            f"{len(absent)} of {len(listed)} clips have no {what}: {first_few(absent)}", place,
            "Without --strict they are left out." if matched.found else "Check that both speak of the same clips.",
        )  # fmt: skip
    note(matched.report(what))
    return matched


def find_in_store(listed: Sequence[str], store: Store, place: Path, strict: bool) -> tuple[MatchedClips, Store]:
    """Return which listed clips a store has, as `match_listed`, and a view of it that accepts their listed ids."""
    matched = match_listed(listed, store.index, place, f"{store.HOLDS} in {store.path}", strict)
    return matched, store.with_aliases(matched.aliases)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pseudolabel VERB ...`, equivalent to `python -m pseudolabel.VERB ...`."""
    from pseudolabel import __version__

    argv = list(sys.argv[1:] if argv is None else argv)
    verb = argv[0] if argv else "--help"
    if verb in ("-h", "--help"):
        verbs = "\n".join(f"  {verb:<10} {purpose}" for verb, purpose in VERBS.items())
        print(f"usage: pseudolabel VERB [options]   (pseudolabel VERB --help)\n\n{verbs}")
        return 0
    if verb in ("-V", "--version"):
        print(f"pseudolabel {__version__}")
        return 0
    if verb not in VERBS:
        close = nearest(verb, VERBS, 0.6)
        hint = f"did you mean {close}?" if close else f"verbs: {', '.join(VERBS)}"
        print(f"pseudolabel: error: no verb {shown(verb)}; {hint}", file=sys.stderr)
        return EXIT_BAD_INPUT
    loaded = []
    failed = exit_code(lambda: loaded.append(importlib.import_module(f"pseudolabel.{verb}")), f"pseudolabel {verb}")
    return failed or loaded[0].main(argv[1:])
