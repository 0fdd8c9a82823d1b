"""Read state dicts from files: safetensors and whatever `torch.save` wrote, in any common wrapping, executing nothing.

Beside its weights, a checkpoint may hold objects of any class (Lightning's hyperparameters, a pickled model). None is
created: torch's restricted unpickler fills a plain dict in the place of each, from which a model's tensors are taken.
"""

from __future__ import annotations

import contextlib
import itertools
import pickle
import pickletools
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pseudolabel.errors import InputError, first_few, no_file
from pseudolabel.progress import note
from pseudolabel.records import sha256 as checksum

# Keys under which a checkpoint keeps its weights, and a moving average of them.
HOLDERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "state",
    "shadow",
)
AVERAGES = ("ema", "model_ema", "ema_model", "state_dict_ema", "ema_state_dict", "model_ema_state_dict", "params_ema")
MOST_MAPPINGS, DEEPEST = 200, 100  # mappings of a checkpoint to look into, levels of a pickled model's modules
MOST_STEPS = 200_000  # of unpickling, some 40 a tensor; torch takes up to 10 microseconds for each
WRAPPER = re.compile(r"(?<![^.])(?:module|_orig_mod)\.")  # added by DataParallel and torch.compile
COUNTER = "n_averaged"  # torch's AveragedModel counts the weights that it averages
OWN_WEIGHTS = "Save its weights alone: torch.save(model.state_dict(), FILE)."


def check_sha256(path: str | Path, sha256: str | None) -> None:
    """Raise InputError if a file's checksum is not the given one; None: no check."""
    if sha256 and checksum(path) != sha256.lower():
        raise InputError(f"sha256 is {checksum(path)}, expected {sha256}", path, "Fetch the file again.")


def load_state(path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` file, or of a file saved by torch, on the CPU.

    Args:
        path: a file; a torch file may hold a state dict, one under a key HOLDERS or AVERAGES, even nested, or a model;
            with the prefixes of DataParallel, torch.compile and Lightning (see `bare_names`).
        sha256: if given, the file must have this checksum.

    Raises:
        InputError: the file does not exist, has another checksum, or has not the weights of one model.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError("is a folder", path, "Give the file of weights in it, such as model.safetensors.")
    if not path.is_file():
        raise no_file(path, message="no such file of weights")
    check_sha256(path, sha256)
    from safetensors.torch import load_file

    try:
        content = load_file(path) if path.suffix == ".safetensors" else _unpickled(path)
    except Exception as error:  # a damaged file of any kind
        raise InputError(f"cannot be read as plain tensors ({_reason(error)})", path, OWN_WEIGHTS) from error
    return _unwrapped(content, path)


def _reason(error: Exception) -> str:
    """Return why a file is refused, without torch's explanations of how to execute the file's contents anyway."""
    parts = [part.strip() for part in str(error).split("\n\n") if part.strip()] or [type(error).__name__]
    reason = parts[1] if len(parts) > 1 and parts[0].startswith("Weights only load failed") else parts[0]
    return reason.splitlines()[0].split(". ")[0].rstrip(".")


def download_state(url: str) -> dict[str, Tensor]:
    """Download a torch file whose name contains its checksum, and return its tensors; torch caches the file.

    Raises:
        InputError: the download fails, or the checksum differs.
    """
    try:
        state = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # no connection, another checksum, a damaged file
        rule = f"weights cannot be downloaded ({error})"
        raise InputError(rule, url, "Fetch the file elsewhere and give its path.") from error
    return _unwrapped(state, url)


# ---- what is in a file ------------------------------------------------------------------------------------------


class Unread(dict):
    """In the place of an object of any other class: its attributes as entries, without its behaviour."""

    def __new__(cls, *_: object, **__: object) -> Unread:
        """Ignore all arguments."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object):
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Keep the attributes."""
        if isinstance(state, dict):
            self.update(state)


class UnreadMapping:
    """The same for classes of dictionaries: torch's unpickler gives entries to no other class than its own three."""

    def __new__(cls, *_: object, **__: object) -> OrderedDict:
        """Return an empty dictionary, which has the attributes as such."""
        return OrderedDict()


def _unpickled(path: Path) -> object:
    """Return what torch saved, with plain dictionaries in the place of objects other than tensors and containers."""
    _refuse_long(path)
    try:
        others = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, pickle.UnpicklingError) as error:
        if "torchscript" in str(error):
            raise ValueError("it is a TorchScript program, and programs are not run") from error
        others = []  # the format before torch 1.6, or damaged
    try:
        return _with_unread(path, others, Unread)
    except Exception:
        if not others:
            raise
        return _with_unread(path, others, UnreadMapping)


def _refuse_long(path: Path) -> None:
    """Raise ValueError if the pickles of a file take so many steps that reading it would seem to hang."""
    steps = itertools.islice(_steps(path), MOST_STEPS + 1)
    if sum(1 for _ in steps) > MOST_STEPS:
        raise ValueError(f"its pickle takes more than {MOST_STEPS:,} steps")


def _steps(path: Path) -> Iterator[object]:
    """Yield the opcodes of the pickles in a torch file, up to a damaged one, which torch will refuse."""
    with contextlib.suppress(ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                for name in file.namelist():
                    if name.endswith("data.pkl"):
                        yield from pickletools.genops(file.read(name))
        else:
            with open(path, "rb") as file:  # before torch 1.6: a number, the protocol, the system, the content
                for _ in range(4):
                    yield from pickletools.genops(file)


def _with_unread(path: Path, others: Collection[str], kind: type) -> object:
    in_place = [(Unread if name.startswith("numpy.") else kind, name) for name in others]
    with torch.serialization.safe_globals(in_place):
        return torch.load(path, map_location="cpu", weights_only=True)


def _attributes(content: Mapping) -> dict:
    """Return what was kept of an object: its entries and attributes."""
    return {**content, **getattr(content, "__dict__", {})}


def _unwrapped(content: object, source: object) -> dict[str, Tensor]:
    """Return a file's tensors by their bare names; raise InputError if it has not the weights of one model."""
    state = content if isinstance(content, Mapping) and not content else _state_in(content, source, set())
    if state is None:
        raise InputError(f"is not a mapping from names to tensors{_what_is_in(content)}", source, OWN_WEIGHTS)
    unusable = [
        name for name, value in state.items() if value.layout != torch.strided or value.is_meta or value.is_complex()
    ]
    if unusable:
        rule = f"{len(unusable)} tensors are sparse, complex or without numbers: {first_few(unusable)}"
        raise InputError(rule, source)
    state = {name: value for name, value in state.items() if name != COUNTER}
    names = bare_names(list(state))
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        rule = f"tensors repeat after wrapper prefixes are removed from their names: {first_few(repeated)}"
        raise InputError(rule, source)
    return dict(zip(names, state.values(), strict=True))


def _what_is_in(content: object) -> str:
    if not isinstance(content, Mapping):
        return f", but a {type(content).__name__}"
    others = [name for name, value in content.items() if not isinstance(value, Tensor)]
    return f"; not tensors, of {len(content)} entries: {first_few(others, 8)}"


def _state_in(content: object, source: object, seen: set[int]) -> Mapping[str, Tensor] | None:
    """Return the one state dict in a checkpoint, None if there is none; InputError if there are several.

    Args:
        seen: ids of the mappings looked into: a damaged file may contain itself.
    """
    if not isinstance(content, Mapping) or id(content) in seen or len(seen) > MOST_MAPPINGS:
        return None
    seen.add(id(content))
    if "_modules" in _attributes(content):
        return dict(_tensors_of(_attributes(content), source))
    if content and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return content
    for keys in (HOLDERS, AVERAGES):
        held = {key: _state_in(content.get(key), source, seen) for key in keys}
        states = {key: state for key, state in held.items() if state is not None}
        if len(states) > 1:
            raise InputError(f"holds several state dicts: {', '.join(states)}", source, "Save just the one to load.")
        if states:
            average = [key for key in AVERAGES if keys is HOLDERS and key in content]
            note(f"{source}: {next(iter(states))} is read, {first_few(average)} is not" if average else "")
            return next(iter(states.values()))
    return None


def _tensors_of(module: Mapping, source: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the names and tensors of a pickled model, as its state dict would have them."""
    if prefix.count(".") > DEEPEST:
        raise InputError(f"its modules are nested more than {DEEPEST} deep", source, OWN_WEIGHTS)
    passing = module.get("_non_persistent_buffers_set") or ()
    for part in ("_parameters", "_buffers"):
        for name, value in (module.get(part) or {}).items():
            if isinstance(value, Tensor) and name not in passing:
                yield f"{prefix}{name}", value.detach()
    for name, child in (module.get("_modules") or {}).items():
        if isinstance(child, Mapping):
            yield from _tensors_of(_attributes(child), source, f"{prefix}{name}.")


# ---- names ------------------------------------------------------------------------------------------------------


def bare_names(names: Sequence[str]) -> list[str]:
    """Strip the prefixes of wrappers from names: `module.`, `_orig_mod.`, and `model.` if all names begin with it.

    DataParallel and torch.compile may wrap only part of a network; Lightning wraps all of it.
    """
    names = [WRAPPER.sub("", name) for name in names]
    while names and all(name.startswith("model.") for name in names):
        names = [name.removeprefix("model.") for name in names]
    return names


def parts_with(marks: Sequence[str], names: Collection[str]) -> list[str]:
    """Return the prefixes under which all of `marks` are among `names`: '' if they are there as they are."""
    first = marks[0]
    ends = [name.removesuffix(first) for name in names if name == first or name.endswith(f".{first}")]
    return [prefix for prefix in ends if all(f"{prefix}{mark}" in names for mark in marks)]


def choose_part(prefixes: Collection[str], source: object) -> str:
    """Return the prefix of the one network among parts of a checkpoint, moving averages of another left aside.

    Raises:
        InputError: they are several networks.
    """
    prefixes = list(dict.fromkeys(prefixes))
    plain = [prefix for prefix in prefixes if not re.search("(^|[._])ema[._]", prefix)] or prefixes
    if len(plain) > 1:
        raise InputError(f"holds several networks: {first_few(plain, 8)}", source, "Save just the one to load.")
    return plain[0]


def part_of(state: Mapping[str, Tensor], prefix: str, source: object) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without it; a line says what is not read."""
    others = [name for name in state if not name.startswith(prefix)]
    note(f"{source}: {len(others)} tensors outside {prefix} are not read: {first_few(others)}" if others else "")
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def named_as(state: Mapping[str, Tensor], expected: Sequence[str], source: object) -> Mapping[str, Tensor]:
    """Return the part of a checkpoint that has all expected names; the whole if none has, or if they are there."""
    prefixes = parts_with(expected, state.keys())
    return part_of(state, choose_part(prefixes, source), source) if prefixes and "" not in prefixes else state
