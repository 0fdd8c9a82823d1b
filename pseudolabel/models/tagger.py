"""Tagger: front end and network in one, from waveforms to scores, rebuilt from its config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from numbers import Real

import numpy as np
import torch
from torch import Tensor, nn

from pseudolabel.audio.frontend import build_frontend
from pseudolabel.errors import InputError, first_few, nearest
from pseudolabel.models.networks import (
    PRECISIONS,
    build_model,
    find_network,
    network_options,
    with_published_front_end,
)
from pseudolabel.models.pooling import clamped

MOST_FRAMES = 1_000_000  # to which short features may be filled: hours
CONFIG_KEYS = (
    *("name", "class_ids", "class_names", "options", "front_end", "sample_rate"),
    *("window_s", "fill", "min_frames", "max_frames", "precision"),
)


class Tagger(nn.Module):
    """Waveforms `(B, T)` at `sample_rate` to scores `(B, K)`; created by `build_tagger`.

    Attributes:
        config: plain dict with all defaults: `name`, `class_ids`, `class_names`, `options` of the network,
            `front_end`, `sample_rate` (Hz), `window_s` (length of the training clips, to which shorter clips are
            filled; None: not filled), `fill` (feature value of masks and padding), `min_frames` (to which clips and
            windows are filled; default: the least the network accepts), `max_frames` (to which longer ones are cut;
            None: not cut), `precision` (`float32`, `bf16`; None: bf16 on a GPU, float32 elsewhere).
        front_end, network: the two parts; only the network has weights.
    """

    def __init__(self, front_end: nn.Module, network: nn.Module, config: dict[str, object]):
        super().__init__()
        self.front_end, self.network, self.config = front_end, network, config

    @property
    def class_ids(self) -> list[str]:
        """Class ids in the order of the scores."""
        return self.config["class_ids"]

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms in Hz."""
        return self.config["sample_rate"]

    def features(self, waveforms: Tensor, n_samples: np.ndarray | None = None, fill: float | None = None) -> Tensor:
        """Return features `(B, F, mel)` float32 of waveforms `(B, T)`; F is the number of frames of T samples.

        A row's own frames do not depend on other rows (to the last bit on a CPU). Only waveforms shorter than one
        window of the front end are zero-padded.

        Args:
            n_samples: (B,) number of samples in each row; later ones are ignored. None: T.
            fill: value of the frames after a row's own (default: `config["fill"]`).
        """
        front_end, length = self.front_end, waveforms.shape[-1]
        if n_samples is not None and waveforms.ndim == 2 and (np.asarray(n_samples) < length).any():
            waveforms = waveforms * _first(n_samples, length, waveforms)
        else:
            n_samples = None
        if waveforms.ndim == 2 and 0 < length < front_end.min_samples:
            waveforms, n_samples = nn.functional.pad(waveforms, (0, front_end.min_samples - length)), None
        with torch.set_grad_enabled(waveforms.requires_grad and torch.is_grad_enabled()):
            if n_samples is None:
                return front_end(waveforms)
            if front_end.cuts_exactly:
                features = front_end(waveforms)
            else:
                features = _row_by_row(front_end, waveforms, np.maximum(n_samples, front_end.min_samples))
            return self.beyond(features, n_samples, fill)

    def beyond(self, features: Tensor, n_samples: np.ndarray, fill: float | None = None) -> Tensor:
        """Overwrite with `fill` the frames of features `(B, F, mel)` after those of `n_samples` (B,) samples."""
        front_end = self.front_end
        own = np.array([front_end.n_frames(max(n, front_end.min_samples)) for n in n_samples.tolist()])
        return fitted(features, self.config["fill"] if fill is None else fill, own)

    def least_frames(self, whole: bool = True) -> int:
        """Return the number of frames to which a clip is filled or, unless `whole`, a window of a longer clip.

        Clips are filled to the training length, as shorter ones were in training. Windows are filled only to
        `min_frames`: PSL's annotator scores 2 s of a clip without padding.
        """
        window_s, least = self.config["window_s"], self.config["min_frames"]
        if not whole or window_s is None:
            return least
        return max(least, self.front_end.n_frames(round(window_s * self.sample_rate)))

    def fitted(self, features: Tensor, whole: bool = True) -> Tensor:
        """Fill and cut features `(B, F, mel)` for the network, according to the config."""
        return fitted(features, self.config["fill"], None, self.least_frames(whole), self.config["max_frames"])

    def from_features(self, features: Tensor, whole: bool = True) -> Tensor:
        """Return scores `(B, K)` of features of any length; `whole` as in `least_frames`.

        A network with a fixed time extent scores longer features in consecutive pieces, the last one aligned to the
        end, and averages its probabilities.
        """
        features = self.fitted(features, whole)
        extent, n_frames = self.network.n_frames, features.shape[1]
        if extent is None or n_frames <= extent:
            return self.network(features)
        starts = [*range(0, n_frames - extent, extent), n_frames - extent]
        pieces = torch.stack([features[:, start : start + extent] for start in starts], dim=1)
        return clamped(self.network(pieces.flatten(0, 1)).unflatten(0, (-1, len(starts))).mean(dim=1))

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return scores `(B, K)` float32 in [1e-7, 1 - 1e-7] of waveforms `(B, T)`."""
        return self.from_features(self.features(waveforms))

    @property
    def frame_s(self) -> float:
        """Seconds per frame score: score f covers [f * frame_s, (f + 1) * frame_s).

        Raises:
            InputError: the network has no frame scores.
        """
        stride = self.network.frame_stride
        if stride is None:
            rule = "scores its whole extent and has no frame scores"
            raise InputError(rule, self.config["name"], "Score short windows with it, or take another network.")
        return stride * self.front_end.settings.hop / self.sample_rate

    def frame_scores(self, waveforms: Tensor) -> Tensor:
        """Return scores `(B, frames, K)` float32 of consecutive stretches of `frame_s` seconds, for event detection.

        With mean pooling, `forward` is their mean; with attention, they are the class branch's unweighted scores.

        Raises:
            InputError: the network has no frame scores.
        """
        stride = round(self.frame_s * self.sample_rate / self.front_end.settings.hop)
        features = self.features(waveforms)
        n_scores = -(-features.shape[1] // stride)  # without the filled frames
        return self.network.frame_scores(self.fitted(features))[:, :n_scores]


def fitted(
    features: Tensor, fill: float, own: np.ndarray | None = None, least: int = 0, most: int | None = None
) -> Tensor:
    """Return features `(B, F, mel)` with `fill` in all frames beyond a clip's own; all filling is done here.

    Args:
        own: (B,) number of each row's own frames; None: all of them.
        least, most: numbers of frames to which rows are filled and cut (None: not cut).
    """
    if own is not None:
        features = torch.where(_first(own, features.shape[1], features)[..., None], features, fill)
    if most is not None:
        features = features[:, :most]
    missing = torch.sym_max(least - features.shape[1], 0)  # max() would fix the length in an exported model
    return nn.functional.pad(features, (0, 0, 0, missing), value=fill)


def _first(counts: np.ndarray, length: int, beside: Tensor) -> Tensor:
    """Return (B, length) bool, True for the first `counts` (B,) of each row, on the device of `beside`."""
    return torch.from_numpy(np.arange(length) < np.asarray(counts)[:, None]).to(beside.device, non_blocking=True)


def _row_by_row(front_end: nn.Module, waveforms: Tensor, n_samples: np.ndarray) -> Tensor:
    """Return features (B, F, mel) of only the first `n_samples` of each row; later frames are uninitialised."""
    features = waveforms.new_empty(len(waveforms), front_end.n_frames(waveforms.shape[1]), front_end.n_mels)
    for length in np.unique(n_samples).tolist():
        rows = torch.from_numpy(np.flatnonzero(n_samples == length)).to(waveforms.device)
        features[rows, : front_end.n_frames(length)] = front_end(waveforms[rows, :length])
    return features


def build_tagger(config: Mapping[str, object], **untrained: object) -> Tagger:
    """Build an untrained tagger from a config, of which only `name` and `class_ids` are required.

    Args:
        config: keys as in `Tagger.config`. `front_end` may hold only differences from the network's published one
            (`{"hop_s": 0.02}`), or name another. `fill` may also be `silence` (the default) or `psla` (see
            `FrontEnd.fill_value`); the config keeps the resulting value.
        untrained: options that are not part of a finished model: those of `weights.start_from_imagenet`.

    Raises:
        InputError: a key, name or option is unknown; classes are repeated or missing; or parts do not match.
    """
    _check_keys(config)
    name = config["name"]
    find_network(name)
    class_ids, class_names = _classes(config)
    front_end = build_frontend(with_published_front_end(name, config.get("front_end") or {}))
    window_frames = _window_frames(config, front_end)
    network = build_model(name, len(class_ids), **_options(config, front_end, window_frames), **untrained)
    precision = config.get("precision")
    if precision not in (None, *PRECISIONS):
        raise InputError(f"precision is {precision!r}; known: {', '.join(PRECISIONS)}, null", "config")
    complete = {
        "name": name,
        "class_ids": class_ids,
        "class_names": class_names,
        "options": network.options,
        "front_end": front_end.options(),
        "sample_rate": front_end.sample_rate,
        "window_s": config.get("window_s"),
        "fill": front_end.fill_value(config.get("fill")),
        **_lengths(config, network.min_frames, window_frames),
        "precision": precision,
    }
    return Tagger(front_end, network, complete)


def _check_keys(config: Mapping[str, object]) -> None:
    for key in config:
        if key not in CONFIG_KEYS:
            close = nearest(key, CONFIG_KEYS)
            raise InputError(f"unknown key {key!r}", "config", f"Nearest: {close}." if close else "")
    for key in ("name", "class_ids"):
        if not config.get(key):
            raise InputError(f"{key!r} is missing or empty", "config")
    for key in ("front_end", "options"):
        if not isinstance(config.get(key) or {}, Mapping):
            raise InputError(f"{key} is not an object of names and values", "config")


def _classes(config: Mapping[str, object]) -> tuple[list[str], list[str]]:
    class_ids = [str(class_id) for class_id in config["class_ids"]]
    class_names = [str(name) for name in config.get("class_names") or class_ids]
    repeated = [class_id for class_id, count in Counter(class_ids).items() if count > 1]
    if repeated:
        raise InputError(f"class ids are listed twice: {first_few(repeated)}", "config")
    if len(class_names) != len(class_ids):
        raise InputError(f"{len(class_ids)} class_ids but {len(class_names)} class_names", "config")
    return class_ids, class_names


def _window_frames(config: Mapping[str, object], front_end: nn.Module) -> int:
    """Return the number of frames in a training window, 0 if its length is not given."""
    sample_rate, window_s = config.get("sample_rate") or front_end.sample_rate, config.get("window_s")
    if sample_rate != front_end.sample_rate:
        rule = f"sample_rate is {sample_rate} Hz, but the front end's is {front_end.sample_rate} Hz"
        raise InputError(rule, "config", "Give front_end that sample_rate too.")
    if window_s is None:
        return 0
    if not (isinstance(window_s, Real) and 0 < window_s * sample_rate / front_end.settings.hop < MOST_FRAMES):
        rule = f"window_s is {window_s!r}, not a length in seconds of fewer than {MOST_FRAMES} frames"
        raise InputError(rule, "config")
    return front_end.n_frames(round(window_s * sample_rate))


def _options(config: Mapping[str, object], front_end: nn.Module, window_frames: int) -> dict[str, object]:
    """Return the network's options, completed by those that follow from the front end and the window."""
    options, known = dict(config.get("options") or {}), network_options(config["name"])
    if "n_mels" in known and options.setdefault("n_mels", front_end.n_mels) != front_end.n_mels:
        raise InputError(f"the network has {options['n_mels']} mel bands, the front end {front_end.n_mels}", "config")
    if "n_frames" in known and window_frames:
        options.setdefault("n_frames", window_frames)
    return options


def _lengths(config: Mapping[str, object], least_of_network: int, window_frames: int) -> dict[str, int | None]:
    """Check `min_frames` and `max_frames` and return them with their defaults."""
    for key in ("min_frames", "max_frames"):
        if not isinstance(config.get(key) or 0, int):
            raise InputError(f"{key} is {config[key]!r}, not a whole number", "config")
    min_frames, max_frames = config.get("min_frames") or 0, config.get("max_frames")
    if not 0 <= min_frames <= MOST_FRAMES:
        raise InputError(f"min_frames is {min_frames}, which must be 0 to {MOST_FRAMES}", "config")
    min_frames = max(min_frames, least_of_network)
    least = max(min_frames, window_frames)
    if max_frames is not None and not least <= max_frames <= MOST_FRAMES:
        rule = f"max_frames is {max_frames}, but clips are filled up to {least}; at most {MOST_FRAMES}"
        raise InputError(rule, "config")
    return {"min_frames": min_frames, "max_frames": max_frames}
