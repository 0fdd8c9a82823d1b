"""Model folders (`model.safetensors` and `config.json`): save a model, load it, start a new one from its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pseudolabel import artefacts
from pseudolabel.audio.frontend import build_frontend
from pseudolabel.errors import InputError, no_file
from pseudolabel.layout import CONFIG, WEIGHTS
from pseudolabel.models.ast import fitted_positions, n_patches
from pseudolabel.models.checkpoints import load_state, named_as
from pseudolabel.models.networks import build_model
from pseudolabel.models.tagger import Tagger, build_tagger
from pseudolabel.models.weights import check_state
from pseudolabel.tables import read_json

FORMAT, FORMAT_VERSION = "pseudolabel-model", 1
LAST_LAYERS = ("head.", "linear.")  # prefixes of the layers with one output per class
POSITIONS = "layers.pos_embed"  # depends on the time extent
SMALL_WEIGHTS = 10_000_000  # numbers; their memory is negligible
FREE_OPTIONS = ("dropout", "frozen", "n_frames")  # may change between two trainings of the same weights


def save_model(folder: str | Path, tagger: Tagger) -> None:
    """Write a tagger's weights and config into `folder`, creating it if needed; each file is written atomically.

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
    """Load the tagger that `save_model` wrote into `folder`, in eval mode, on `device`.

    Raises:
        InputError: a file is missing, damaged or of another format, or its tensors do not match the config.
    """
    folder = Path(folder)
    config, state = read_config(folder / CONFIG), load_state(folder / WEIGHTS)
    with torch.random.fork_rng(devices=[]):  # initial weights are replaced; keep the caller's random state
        try:
            _refuse_larger(config, state)
            tagger = build_tagger(config)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # InputError among them
            raise InputError(f"cannot build a model from the config: {error}", folder / CONFIG) from error
    state = named_as(state, list(tagger.network.state_dict()), folder / WEIGHTS)
    check_state(tagger.network, state, folder / WEIGHTS)
    tagger.network.load_state_dict(state)
    return tagger.to(device).eval()


def _refuse_larger(config: Mapping, state: Mapping[str, Tensor]) -> None:
    """Raise InputError, before allocating memory, if the config's network has far more weights than the file."""
    options, class_ids = config.get("options"), config.get("class_ids")
    if not (isinstance(options, Mapping) and isinstance(class_ids, list)):
        return  # build_tagger will refuse it
    with torch.device("meta"):
        network = build_model(config.get("name"), len(class_ids), **options)
    needed, held = (sum(value.numel() for value in weights.values()) for weights in (network.state_dict(), state))
    if needed > 2 * held + SMALL_WEIGHTS:
        raise InputError(f"its network has {needed:,} weights, {WEIGHTS} {held:,}", "options")


@dataclass(frozen=True)
class Started:
    """The result of `start_from`: what was taken from a run folder.

    Args:
        folder: the run folder.
        loaded: names of the tensors taken.
        fresh: names of the tensors that kept their random values: the last layers, if the classes differ.
        fitted: names of the tensors fitted to another time extent (position embeddings).
        notes: other differences between the two models, such as front end and window, in words.
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
    """Give a new tagger the weights of a trained one (PSL's transfer); return what was taken.

    All layers but the last are taken, with their batch-norm statistics; the last ones too if the classes are the same
    in the same order. Position embeddings are fitted to another time extent as in AST.

    Args:
        tagger: untrained, of the same network with the same options; vocabulary, window and front end may differ.
        folder: a run folder.

    Raises:
        InputError: the folder holds no model, or one of another network or with other options.
    """
    folder = Path(folder)
    config, state = read_config(folder / CONFIG), load_state(folder / WEIGHTS)
    _check_same_network(config, tagger.config, folder)
    expected, fitted = tagger.network.state_dict(), ()
    same_classes = list(config.get("class_ids", ())) == list(tagger.class_ids)
    fresh = () if same_classes else tuple(name for name in expected if name.startswith(LAST_LAYERS))
    state = named_as(state, [name for name in expected if name not in fresh], folder / WEIGHTS)
    state = {name: value for name, value in state.items() if name not in fresh}
    if POSITIONS in state and state[POSITIONS].shape != expected[POSITIONS].shape:
        state[POSITIONS] = _fitted(state[POSITIONS], config["options"], tagger.network)
        fitted = (POSITIONS,)
    check_state(tagger.network, {**{name: expected[name] for name in fresh}, **state}, folder / WEIGHTS)
    tagger.network.load_state_dict(state, strict=False)
    loaded = tuple(name for name in expected if name not in fresh)
    return Started(folder, loaded, fresh, fitted, tuple(_differences(config, tagger.config)))


def _check_same_network(theirs: Mapping, ours: Mapping, folder: Path) -> None:
    name = theirs.get("name")
    if name != ours["name"]:
        raise InputError(f"is a {name}, not a {ours['name']}", folder, f"Give --model {name}.")
    options = theirs.get("options") or {}
    other = {
        option: (options.get(option), value)
        for option, value in ours["options"].items()
        if option not in FREE_OPTIONS and options.get(option) != value
    }
    if other:
        differ = ", ".join(f"{option} {their} instead of {our}" for option, (their, our) in other.items())
        remedy = " ".join(f"{option}={their}" for option, (their, _) in other.items())
        raise InputError(f"was built with other options: {differ}", folder, f"Give --model-options {remedy}.")


def _fitted(embedding: Tensor, options: Mapping, network: nn.Module) -> Tensor:
    grid = tuple(n_patches(options[extent], options["stride"]) for extent in ("n_mels", "n_frames"))
    return fitted_positions(embedding, grid, network.layers.patch_embed.grid_size)


def _differences(theirs: Mapping, ours: Mapping) -> Iterator[str]:
    """Yield the differences, in words, between the model that the weights come from and the new one."""
    then, now = theirs.get("front_end"), ours["front_end"]
    if isinstance(then, Mapping):
        then = build_frontend(then).options()  # in seconds, whichever version wrote it
        other = [f"{name} {then.get(name)}, now {now[name]}" for name in now if then.get(name) != now[name]]
        if other:
            yield f"trained with another front end ({', '.join(other)})"
    if theirs.get("window_s") != ours["window_s"]:
        then, now = (
            f"{length:g} s" if length else "whole clips" for length in (theirs.get("window_s"), ours["window_s"])
        )
        yield f"trained on {then}, now {now}"
    for part in ("fill", "min_frames", "max_frames", "precision"):
        if theirs.get(part) != ours[part]:
            yield f"{part} was {theirs.get(part)}, now {ours[part]}"


def read_config(path: str | Path) -> dict[str, object]:
    """Read a model's config, without `format` and `format_version`."""
    path = Path(path)
    if path.parent.is_file():
        remedy = f"Make a run folder of published weights first: train import {path.parent}."
        raise InputError("is a file, not a run folder", path.parent, remedy)
    if not path.is_file():
        raise no_file(path, "Give the folder that training wrote.", "no such file: not a model folder")
    config = read_json(path)
    marks = (config.pop("format", None), config.pop("format_version", None)) if isinstance(config, dict) else None
    if marks != (FORMAT, FORMAT_VERSION):
        raise InputError(f"format is not {FORMAT!r} version {FORMAT_VERSION}", path)
    return config
