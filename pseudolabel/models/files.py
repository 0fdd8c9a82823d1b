"""Model folders: `model.safetensors` and `config.json`, enough to rebuild a model alone; and weights from elsewhere.

Weights are data: safetensors, or `torch.load(weights_only=True)`. Nothing in a file is ever executed.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pseudolabel import artefacts, records
from pseudolabel.audio.frontend import build_frontend
from pseudolabel.errors import InputError, first_few
from pseudolabel.models import CONFIG, WEIGHTS, build_model
from pseudolabel.models.tagger import Tagger, build_tagger
from pseudolabel.tables import read_json

FORMAT, FORMAT_VERSION = "pseudolabel-model", 1
LAST_LAYERS = ("head.", "linear.")  # how the names of what answers the classes begin
POSITIONS = "layers.pos_embed"  # depends on the time extent
# What torch raises where a file is none of its own, or a damaged one.
UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError,
    ArithmeticError, OSError,
)  # fmt: skip
HOLDERS = ("state_dict", "model_state_dict", "model")  # keys of a checkpoint under which its weights are
DEEPEST = 8  # holders in holders
WRAPPER = re.compile(r"(?<![^.])(?:module|_orig_mod)\.")  # parts of names that DataParallel and torch.compile add
SMALL_WEIGHTS = 10_000_000  # numbers that take no memory to speak of
FREE_OPTIONS = ("dropout", "frozen", "n_frames")  # that may change between two trainings of the same weights


def save_model(folder: str | Path, tagger: Tagger) -> None:
    """Write a tagger's weights and config into `folder` (made where absent), each file whole or not at all.

    The same weights give the same bytes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = Path(folder)
    weights = {name: value.detach().cpu().contiguous() for name, value in tagger.network.state_dict().items()}
    with artefacts.whole_file(folder / WEIGHTS) as temporary:
        try:
            save_file(weights, temporary)
        except SafetensorError as error:  # a full disk
            raise OSError(f"{folder / WEIGHTS}: {error}") from error
    artefacts.write_json(folder / CONFIG, {"format": FORMAT, "format_version": FORMAT_VERSION, **tagger.config})


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> Tagger:
    """Return the tagger that `save_model` wrote into `folder`, in eval mode, on `device`.

    Raises:
        InputError: a file is missing or damaged, of another format, or its tensors are not those of the config.
    """
    folder = Path(folder)
    config = read_config(folder / CONFIG)
    state = load_state(folder / WEIGHTS)
    with torch.random.fork_rng(devices=[]):  # the initial weights are thrown away; leave the caller's seed alone
        try:
            _refuse_larger(config, state)
            tagger = build_tagger(config)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # InputError among them
            raise InputError(f"the config builds no model: {error}", folder / CONFIG) from error
    check_state(tagger.network, state, folder / WEIGHTS)
    tagger.network.load_state_dict(state)
    return tagger.to(device).eval()


def _refuse_larger(config: Mapping, state: Mapping[str, Tensor]) -> None:
    """Raise InputError, before memory is taken, where the config's network has far more weights than the file."""
    options, class_ids = config.get("options"), config.get("class_ids")
    if not (isinstance(options, Mapping) and isinstance(class_ids, list)):
        return  # build_tagger says what is wrong
    with torch.device("meta"):
        network = build_model(config.get("name"), len(class_ids), **options)
    needed, held = (sum(value.numel() for value in weights.values()) for weights in (network.state_dict(), state))
    if needed > 2 * held + SMALL_WEIGHTS:
        raise InputError(f"its network has {needed:,} weights, {WEIGHTS} {held:,}", "options")


@dataclass(frozen=True)
class Started:
    """What `start_from` took from a run folder.

    Args:
        folder: the run folder.
        loaded: names of the tensors that were taken.
        fresh: names of those that kept their random values: the last layers, where the classes are others.
        fitted: names of those that were fitted to another time extent (position embeddings).
        notes: how the two models differ otherwise, in words: their front end, their window.
    """

    folder: Path
    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    fitted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        n_all = len(self.loaded) + len(self.fresh)
        why = f"; other classes, so random: {', '.join(self.fresh)}" if self.fresh else "; the same classes"
        fitted = f"; fitted to another time extent: {', '.join(self.fitted)}" if self.fitted else ""
        notes = "".join(f"; {note}" for note in self.notes)
        return f"starts from {self.folder}: {len(self.loaded)} of {n_all} tensors{why}{fitted}{notes}"


def start_from(tagger: Tagger, folder: str | Path) -> Started:
    """Give a new tagger the weights of a trained one (PSL's transfer), and return what was taken.

    All layers but the last are taken, with their batch-norm statistics. The last ones are taken too where the classes
    are the same in the same order. Position embeddings are fitted to another time extent as AST does it.

    Args:
        tagger: untrained, of the same network with the same options; vocabulary, window and front end may differ.
        folder: a run folder.

    Raises:
        InputError: no model folder, or the model of another network or with other options.
    """
    folder = Path(folder)
    config, state = read_config(folder / CONFIG), load_state(folder / WEIGHTS)
    _check_same_network(config, tagger.config, folder)
    expected, fitted = tagger.network.state_dict(), ()
    same_classes = list(config.get("class_ids", ())) == list(tagger.class_ids)
    fresh = () if same_classes else tuple(name for name in expected if name.startswith(LAST_LAYERS))
    state = {name: value for name, value in state.items() if name not in fresh}
    if POSITIONS in state and state[POSITIONS].shape != expected[POSITIONS].shape:
        state[POSITIONS] = _fitted(state[POSITIONS], config["options"], tagger.network)
        fitted = (POSITIONS,)
    check_state(tagger.network, {**{name: expected[name] for name in fresh}, **state}, folder / WEIGHTS)
    tagger.network.load_state_dict(state, strict=False)
    loaded = tuple(name for name in expected if name not in fresh)
    return Started(folder, loaded, fresh, fitted, tuple(_differences(config, tagger.config)))


def _check_same_network(theirs, ours, folder):
    if theirs.get("name") != ours["name"]:
        raise InputError(
            f"is a {theirs.get('name')}, not a {ours['name']}", folder, f"Give --model {theirs.get('name')}."
        )
    options = theirs.get("options") or {}
    other = [name for name, value in ours["options"].items() if name not in FREE_OPTIONS and options.get(name) != value]
    if other:
        told = ", ".join(f"{name} {options.get(name)} instead of {ours['options'][name]}" for name in other)
        remedy = " ".join(f"{name}={options.get(name)}" for name in other)
        raise InputError(f"was built with other options: {told}", folder, f"Give --model-options {remedy}.")


def _fitted(embedding, options, network):
    from pseudolabel.models.ast import fitted_positions, n_patches

    stride = options["stride"]
    grid = n_patches(options["n_mels"], stride), n_patches(options["n_frames"], stride)
    return fitted_positions(embedding, grid, network.layers.patch_embed.grid_size)


def _differences(theirs, ours):
    """Yield, in words, what the weights were trained on and will not get now."""
    for part in ("front_end", "window_s"):
        then, now = theirs.get(part), ours[part]
        if isinstance(then, Mapping):
            then = build_frontend(then).options()  # in seconds, whatever version wrote it
            other = [name for name in now if then.get(name) != now[name]]
            if other:
                told = ", ".join(f"{name} {then.get(name)}, now {now[name]}" for name in other)
                yield f"trained with another front end ({told})"
        elif then != now:
            yield f"trained on {f'{then:g} s' if then else 'whole clips'}, now {f'{now:g} s' if now else 'whole clips'}"
    for part in ("fill", "min_frames", "max_frames", "precision"):
        if theirs.get(part) != ours[part]:
            yield f"{part} was {theirs.get(part)}, now {ours[part]}"


def read_config(path: str | Path) -> dict[str, object]:
    """Return a model's config without its format marks."""
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file: not a model folder", path, "Give the folder that training wrote.")
    config = read_json(path)
    found = (config.pop("format", None), config.pop("format_version", None)) if isinstance(config, dict) else None
    if found != (FORMAT, FORMAT_VERSION):
        raise InputError(f"format is not {FORMAT!r} version {FORMAT_VERSION}", path)
    return config


def check_sha256(path: str | Path, sha256: str | None) -> None:
    """Raise InputError where a file has another checksum than the given one."""
    if sha256 and records.sha256(path) != sha256.lower():
        raise InputError(f"sha256 is {records.sha256(path)}, expected {sha256}", path, "Fetch the file again.")


def load_state(path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` file, or of a state dict saved by torch, on the CPU.

    Args:
        path: a file; what a torch file holds may lie under `state_dict`, `model_state_dict` or `model`, one in another,
            and names may begin as DataParallel, torch.compile and Lightning make them (see `bare_names`).
        sha256: when given, the file must have this checksum.

    Raises:
        InputError: no such file, another checksum, or no plain tensors in it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file of weights", path)
    check_sha256(path, sha256)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, *UNREADABLE) as error:
        # The first sentence: the next of torch's explain how to run what is in the file all the same.
        reason = str(error).splitlines()[0].split(". ")[0] if str(error) else type(error).__name__
        raise InputError(f"cannot be read as plain tensors ({reason})", path) from error
    return _unwrapped(state, path)


def download_state(url: str) -> dict[str, Tensor]:
    """Return the tensors of a torch file on the web; its name carries the checksum. Kept in torch's cache.

    Raises:
        InputError: it cannot be had, or its checksum is another.
    """
    try:
        state = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        rule = f"weights cannot be downloaded ({error})"
        raise InputError(rule, url, "Fetch the file elsewhere and give its path.") from error
    return _unwrapped(state, url)


def _unwrapped(state, place):
    for _ in range(DEEPEST):  # a damaged file may hold itself
        held = [key for key in HOLDERS if isinstance(state, Mapping) and isinstance(state.get(key), Mapping)]
        if not held:
            break
        if len(held) > 1:
            raise InputError(
                f"holds several state dicts: {', '.join(held)}", place, "Save the one that is meant alone."
            )
        state = state[held[0]]
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise InputError("is not a mapping from names to tensors", place)
    odd = [name for name, value in state.items()
           if value.layout != torch.strided or value.is_meta or value.is_complex()]  # fmt: skip
    if odd:
        raise InputError(f"{len(odd)} tensors are sparse, complex or without numbers: {first_few(odd)}", place)
    names = bare_names(list(state))
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(
            f"tensors are listed twice once wrappers are taken off their names: {first_few(repeated)}", place
        )
    return dict(zip(names, state.values(), strict=True))


def bare_names(names: Sequence[str]) -> list[str]:
    """Return names of tensors without what wrappers add: `module.`, `_orig_mod.`, and `model.` where all begin with it.

    DataParallel and torch.compile may wrap a part of a network too, Lightning its whole.
    """
    names = [WRAPPER.sub("", name) for name in names]
    while names and all(name.startswith("model.") for name in names):
        names = [name.removeprefix("model.") for name in names]
    return names


def check_state(network: nn.Module, state: Mapping[str, Tensor], place: object) -> None:
    """Raise InputError where names or shapes of `state` are not those of `network`, or a number is not finite."""
    expected = network.state_dict()
    absent = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    reshaped = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    problems = []
    if absent:
        problems.append(f"{len(absent)} tensors are missing ({first_few(absent)})")
    if unknown:
        problems.append(f"{len(unknown)} are unknown ({first_few(unknown)})")
    if reshaped:
        problems.append(f"{len(reshaped)} have another shape ({first_few(reshaped)})")
    odd = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if odd:
        problems.append(f"{len(odd)} hold NaN or infinite numbers ({first_few(odd)})")
    if problems:
        raise InputError("weights do not fit the network: " + "; ".join(problems), place)


def imagenet_state(source: str, url: str, sha256: str | None = None) -> dict[str, Tensor]:
    """Return ImageNet weights: those at `url` where `source` is `imagenet`, else those in the file `source`."""
    return download_state(url) if source == "imagenet" else load_state(source, sha256)


def take_imagenet(layers: nn.Module, state: Mapping[str, Tensor], first: str, stem: str, source: str) -> None:
    """Give layers of one channel ImageNet weights, named as theirs.

    Args:
        first: name of the weight that has three channels in `state`. stem: how they become one (`one_channel`).
        source: where the weights are from, which messages name.

    Raises:
        InputError: the tensors are not those of these layers.
    """
    state, initial = dict(state), layers.state_dict()
    if first in state:
        state[first] = one_channel(state[first], initial[first], stem)
    check_state(layers, state, source)
    layers.load_state_dict(state)


def one_channel(weight: Tensor, initial: Tensor, stem: str) -> Tensor:
    """Return a first convolution's weight `(C, 3, h, w)` as `(C, 1, h, w)`: `sum`, `mean`, or `random`: `initial`."""
    ways = {"sum": lambda: weight.sum(1, keepdim=True), "mean": lambda: weight.mean(1, keepdim=True)}
    if stem not in (*ways, "random"):
        raise InputError(f"stem is {stem!r}; known: sum, mean, random", "model")
    if stem == "random":
        return initial
    return weight if weight.shape[1] == 1 else ways[stem]()
