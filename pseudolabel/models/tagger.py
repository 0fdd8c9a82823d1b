"""A tagger: front end and network in one, from waveforms to scores; its config rebuilds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pseudolabel.audio.frontend import build_frontend
from pseudolabel.errors import InputError, first_few, nearest
from pseudolabel.models import build_model, check_name, network_options
from pseudolabel.models.pooling import clamped

PSL_FRONT_END = {"name": "log_mel"}  # 64 mel, decibels, no normalisation
PSLA_FRONT_END = {"name": "kaldi_fbank", "mean": -4.6476, "std": 4.5699}
AST_FRONT_END = {"name": "kaldi_fbank", "mean": -4.2677, "std": 2 * 4.5690}

# The front end that each network was published with, in seconds: at another sample rate it means the same.
PRESETS = {
    "mobilenetv2": PSL_FRONT_END,
    "efficientnet_b0": PSLA_FRONT_END,
    "efficientnet_b2": PSLA_FRONT_END,
    "resnet50": PSLA_FRONT_END,
    "ast_tiny": AST_FRONT_END,
    "ast_small": AST_FRONT_END,
    "ast_base": AST_FRONT_END,
}
MOST_FRAMES = 1_000_000  # that short features are filled up to: hours
CONFIG_KEYS = (
    "name", "class_ids", "class_names", "options", "front_end", "sample_rate", "window_s", "fill", "min_frames",
)  # fmt: skip


class Tagger(nn.Module):
    """Waveforms `(B, T)` at `sample_rate` to scores `(B, K)`; make one with `build_tagger`.

    Attributes:
        config: plain dict, all defaults spelled out: `name`, `class_ids`, `class_names`, `options` of the network,
            `front_end`, `sample_rate` (Hz), `window_s` (length it was trained on, None: whole clips), `fill` (the
            feature value that stands in masks, and where a network needs more frames than there are), `min_frames`
            (shorter features are filled up to so many frames; by default what the network needs).
        front_end, network: the two parts. Only the network has weights.
    """

    def __init__(self, front_end: nn.Module, network: nn.Module, config: dict[str, object]):
        super().__init__()
        self.front_end, self.network, self.config = front_end, network, config

    @property
    def class_ids(self) -> list[str]:
        """The classes, in the order of the scores."""
        return self.config["class_ids"]

    @property
    def sample_rate(self) -> int:
        """Samples a second of the waveforms."""
        return self.config["sample_rate"]

    def features(self, waveforms: Tensor) -> Tensor:
        """Return `(B, F, mel)` float32; waveforms shorter than one window of the front end get zeros at the end."""
        if waveforms.ndim == 2 and 0 < waveforms.shape[1] < self.front_end.min_samples:
            waveforms = nn.functional.pad(waveforms, (0, self.front_end.min_samples - waveforms.shape[1]))
        with torch.set_grad_enabled(waveforms.requires_grad and torch.is_grad_enabled()):
            return self.front_end(waveforms)

    def _filled(self, features: Tensor) -> Tensor:
        missing = self.config["min_frames"] - features.shape[1]
        return nn.functional.pad(features, (0, 0, 0, max(0, missing)), value=self.config["fill"])

    def from_features(self, features: Tensor) -> Tensor:
        """Return scores `(B, K)` of features of any length.

        A network with a fixed time extent sees longer features as consecutive pieces, the last one aligned to the
        end, and answers the mean of its probabilities.
        """
        features = self._filled(features)
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
        """Seconds that one of `frame_scores` covers: score f speaks of [f * frame_s, (f + 1) * frame_s).

        Raises:
            InputError: the network has no frame scores.
        """
        stride = self.network.frame_stride
        if stride is None:
            rule = "answers its whole extent and has no frame scores"
            raise InputError(rule, self.config["name"], "Score short windows with it, or take another network.")
        return stride * self.front_end.settings.hop / self.sample_rate

    def frame_scores(self, waveforms: Tensor) -> Tensor:
        """Return the scores `(B, frames, K)` float32 of stretches of `frame_s` seconds, for detection.

        With mean pooling `forward` is their mean; with attention they are the class branch's answers, unweighted.

        Raises:
            InputError: the network has no frame scores.
        """
        stride = round(self.frame_s * self.sample_rate / self.front_end.settings.hop)
        features = self.features(waveforms)
        n_scores = -(-features.shape[1] // stride)  # without the frames that were filled in
        return self.network.frame_scores(self._filled(features))[:, :n_scores]


def build_tagger(config: Mapping[str, object], **untrained: object) -> Tagger:
    """Return an untrained tagger from a config of which only `name` and `class_ids` are needed.

    Args:
        config: keys as in `Tagger.config`. `front_end` may hold only what differs from the network's preset
            (`{"hop_s": 0.02}`), or another front end by `name`. `fill` may be a word: `silence`, the default, or `psla`
            (see `FrontEnd.fill_value`); the value that it stands for is kept.
        untrained: options that are no part of a finished model, handed to the network: `pretrained`, `stem`, `sha256`.

    Raises:
        InputError: an unknown key, name or option; repeated or absent classes; parts that do not fit together.
    """
    for key in config:
        if key not in CONFIG_KEYS:
            close = nearest(key, CONFIG_KEYS)
            raise InputError(f"unknown key {key!r}", "config", f"Nearest: {close}." if close else "")
    for key in ("name", "class_ids"):
        if not config.get(key):
            raise InputError(f"{key!r} is missing or empty", "config")
    name = check_name(config["name"])
    class_ids, class_names = _classes(config)
    for key in ("front_end", "options"):
        if not isinstance(config.get(key) or {}, Mapping):
            raise InputError(f"{key} is not an object of names and values", "config")
    front_end = build_frontend(_front_end_options(name, config.get("front_end") or {}))
    sample_rate = config.get("sample_rate") or front_end.sample_rate
    if sample_rate != front_end.sample_rate:
        rule = f"sample_rate is {sample_rate} Hz, but the front end's is {front_end.sample_rate} Hz"
        raise InputError(rule, "config", "Give front_end that sample_rate too.")
    options = dict(config.get("options") or {})
    if "n_mels" in network_options(name) and options.setdefault("n_mels", front_end.n_mels) != front_end.n_mels:
        raise InputError(f"the network has {options['n_mels']} mel bands, the front end {front_end.n_mels}", "config")
    window_s = config.get("window_s")
    if window_s is not None and "n_frames" in network_options(name):
        options.setdefault("n_frames", front_end.n_frames(round(window_s * sample_rate)))
    network = build_model(name, len(class_ids), **options, **untrained)
    min_frames = int(config.get("min_frames") or 0)
    if not 0 <= min_frames <= MOST_FRAMES:
        raise InputError(f"min_frames is {min_frames}, which must be 0 to {MOST_FRAMES}", "config")
    return Tagger(
        front_end,
        network,
        {
            "name": name,
            "class_ids": class_ids,
            "class_names": class_names,
            "options": network.options,
            "front_end": front_end.options(),
            "sample_rate": sample_rate,
            "window_s": window_s,
            "fill": front_end.fill_value(config.get("fill")),
            "min_frames": max(min_frames, network.min_frames),
        },
    )


def _classes(config):
    class_ids = [str(class_id) for class_id in config["class_ids"]]
    class_names = [str(name) for name in config.get("class_names") or class_ids]
    repeated = [class_id for class_id, count in Counter(class_ids).items() if count > 1]
    if repeated:
        raise InputError(f"class ids stand twice: {first_few(repeated)}", "config")
    if len(class_names) != len(class_ids):
        raise InputError(f"{len(class_ids)} class_ids but {len(class_names)} class_names", "config")
    return class_ids, class_names


def _front_end_options(name, given):
    preset = PRESETS[name]
    return {**preset, **given} if given.get("name", preset["name"]) == preset["name"] else dict(given)
