"""Score clips with models: whole clips and all windows of any lengths, in one pass over the audio.

A thread reads the clips once, in portions of consecutive clips, ahead of the models. Pieces shared by several scales
are scored once: a clip of 10 s is its own window of 10 s.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pseudolabel.audio.augment import on_device
from pseudolabel.audio.clips import FULL_SCALE, ClipStore
from pseudolabel.scores.windows import CLIP, each_window, n_windows, window_name, window_samples
from pseudolabel.training.batches import prefetch

PORTION_SAMPLES = 1 << 26  # of 16-bit audio in memory at once: 128 MiB, 70 minutes at 16 kHz
NOMINAL_S = 10  # a batch holds as much audio as `batch_size` clips of this length


def precision_on(device: torch.device, precision: str | None) -> str:
    """Return `precision`, or its default: bf16 on a GPU, float32 elsewhere."""
    return precision or ("bf16" if device.type == "cuda" else "float32")


def autocast(device: torch.device, precision: str | None = None) -> torch.autocast:
    """Return an autocast context for `float32` or `bf16`; None: bf16 on a GPU, float32 elsewhere."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision_on(device, precision) == "bf16")


@dataclass(frozen=True)
class Pieces:
    """The distinct parts of some clips that are windows at any scale.

    Attributes:
        clip: (P,) position among the clips.
        start: (P,) first sample.
        length: (P,) samples.
        scale: (P,) samples of a full window, for last windows cut short by the clip's end; otherwise 0.
        windows: scale name -> (n, W) number of each window's piece, -1 after a clip's last window.
    """

    clip: np.ndarray
    start: np.ndarray
    length: np.ndarray
    scale: np.ndarray
    windows: dict[str, np.ndarray]


def pieces_of(n_samples: np.ndarray, windows: Sequence[str | float], sample_rate: int) -> Pieces:
    """Return the distinct pieces of clips of `n_samples` (n,) samples, sorted by clip, start and length."""
    n_samples, rows, counts = np.asarray(n_samples, np.int64), [], []
    clips = np.arange(len(n_samples))
    for window_s in windows:
        size = window_samples(window_s, sample_rate)
        counts.append(np.ones(len(clips), np.int64) if size is None else n_windows(n_samples, size))
        clip, window = each_window(counts[-1])
        start = window * (size or 0)
        last = window == counts[-1][clip] - 1
        length = np.where(last, n_samples[clip] - start, size or 0)
        scale = np.where((length < (size or 0)) & (start > 0), size or 0, 0)
        rows.append(np.stack([clip, start, length, scale], axis=1))
    different, numbers = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    numbers = np.split(numbers.reshape(-1), np.cumsum([len(part) for part in rows])[:-1])
    placed = {}
    for window_s, count, number in zip(windows, counts, numbers, strict=True):
        grid = np.full((len(clips), int(count.max(initial=1))), -1)
        grid[np.arange(grid.shape[1]) < count[:, None]] = number
        placed[window_name(window_s)] = grid
    return Pieces(*different.T, placed)


def batches_of(lengths: np.ndarray, batch_samples: int) -> Iterator[np.ndarray]:
    """Yield batches of piece numbers, of equal length so that no score depends on another piece's length.

    Args:
        lengths: (P,) samples of each piece, or (P, C) numbers that must be equal within a batch, the largest being the
            length.
        batch_samples: most samples in a batch, unless a single piece is longer.
    """
    different, numbers = np.unique(lengths, axis=0, return_inverse=True)
    for number, length in enumerate(different):
        pieces = np.flatnonzero(numbers.reshape(-1) == number)
        size = max(1, batch_samples // max(int(np.max(length)), 1))
        for first in range(0, len(pieces), size):
            yield pieces[first : first + size]


@dataclass(frozen=True)
class Portion:
    """Consecutive clips with their audio and pieces.

    Attributes:
        audio: (samples,) int16.
        offsets: (n,) where each clip begins in the audio.
        answering: (n, R) bool, which of R models score which clip, at least one each; None: all.
        full_scale: integer value of a sample of 1 in the audio.
    """

    audio: Tensor
    offsets: np.ndarray
    pieces: Pieces
    answering: np.ndarray | None = None
    full_scale: int = FULL_SCALE


def read_portions(
    clips: ClipStore,
    rows: np.ndarray,
    windows: Sequence[str | float],
    pinned: bool = False,
    answering: np.ndarray | None = None,
) -> Iterator[Portion]:
    """Read rows of a clip store once, at most PORTION_SAMPLES at a time (more for a single longer clip).

    Args:
        pinned: read into memory from which a GPU copies while it works.
        answering: (n, R), see `Portion`.
    """
    rows = np.asarray(rows, np.int64)
    ends = np.cumsum(clips.n_samples[rows])
    first = 0
    while first < len(rows):
        begun = ends[first - 1] if first else 0
        stop = max(first + 1, int(np.searchsorted(ends, begun + PORTION_SAMPLES, side="right")))
        lengths = clips.n_samples[rows[first:stop]]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        audio = torch.empty(int(offsets[-1]), dtype=torch.int16, pin_memory=pinned)
        for row, start, end in zip(rows[first:stop], offsets[:-1], offsets[1:], strict=True):
            audio.numpy()[start:end] = clips.read_pcm16(int(row))
        pieces = pieces_of(lengths, windows, clips.sample_rate)
        own = None if answering is None else answering[first:stop]
        yield Portion(audio, offsets[:-1], pieces, own, clips.full_scale)
        first = stop


class BusyTime:
    """Measures how long the device is busy; on a GPU by the GPU's clock, since the host does not wait for it."""

    def __init__(self, device: torch.device):
        self.on_gpu = device.type == "cuda"
        self.seconds = 0.0
        self._events: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    def __enter__(self) -> BusyTime:
        self._started = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        ended = self._now()
        if not self.on_gpu:
            self.seconds += ended - self._started
            return
        self._events.append((self._started, ended))
        self.settle(wait=False)

    def _now(self):
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def settle(self, wait: bool = True) -> float:
        """Return the busy seconds so far; with `wait`, after the device has finished everything begun."""
        while self._events and (wait or self._events[0][1].query()):
            started, ended = self._events.popleft()
            ended.synchronize()
            self.seconds += started.elapsed_time(ended) / 1000
        return self.seconds


def ready_to_score(taggers: Sequence[nn.Module], device: torch.device, compiled: bool = False) -> None:
    """Lay out the networks' weights in the fastest order for the device; compile the networks if `compiled`."""
    for tagger in taggers:
        if device.type == "cuda":
            tagger.network.to(memory_format=torch.channels_last)
        if compiled:
            tagger.network.compile()


class Scorer:
    """An ensemble of models, scoring with the mean of their probabilities.

    Args:
        taggers: waveforms (B, T) -> scores (B, K), on `device`; set to eval mode here.
        batch_size: clips of 10 s per batch; of shorter pieces, as many as hold the same amount of audio.
        precision: `float32` or `bf16` (autocast); None: each model's own, `config["precision"]`.
    """

    def __init__(
        self,
        taggers: Sequence[nn.Module],
        device: torch.device | str = "cpu",
        batch_size: int = 32,
        precision: str | None = None,
    ):
        self.taggers, self.device, self.precision = list(taggers), torch.device(device), precision
        self.batch_samples = int(batch_size * NOMINAL_S * self.taggers[0].config["sample_rate"])
        self.busy = BusyTime(self.device)
        for tagger in self.taggers:
            tagger.eval()

    @torch.inference_mode()
    def answers(self, portion: Portion) -> Tensor:
        """Return the scores (P, K) float32 of a portion's pieces, on the device, which may still be computing."""
        pieces, answering = portion.pieces, portion.answering
        audio = portion.audio.to(self.device, non_blocking=True)
        total = torch.zeros(len(pieces.clip), len(self.taggers[0].config["class_ids"]), device=self.device)
        is_clip = pieces.length == np.diff(portion.offsets, append=len(audio))[pieces.clip]
        for number, tagger in enumerate(self.taggers):
            own = np.arange(len(pieces.clip)) if answering is None else np.flatnonzero(answering[pieces.clip, number])
            features_of_clips = self._whole_features(tagger, portion, audio, own)
            # Clips shorter than the training clips are filled to their length, and so are last windows of a scale at
            # least that long; windows of a shorter scale are not.
            trained_on = (tagger.config["window_s"] or np.inf) * tagger.config["sample_rate"]
            whole = is_clip | (pieces.scale >= trained_on)
            least = tagger.front_end.settings.hop * np.where(whole, *map(tagger.least_frames, (True, False)))
            filled = np.maximum(pieces.length, least)
            for batch in batches_of(np.stack([pieces.length, filled, whole], axis=1)[own], self.batch_samples):
                batch = own[batch]
                length, positions = int(pieces.length[batch[0]]), on_device(batch, total)
                clip, start = pieces.clip[batch], pieces.start[batch]
                features = _cut(features_of_clips, tagger.front_end, clip, start, length)
                with self.busy, autocast(self.device, self.precision or tagger.config["precision"]):
                    if features is None:
                        waveforms = waveforms_of(audio, portion.offsets[clip] + start, length, portion.full_scale)
                        features = tagger.features(waveforms)
                    total[positions] += tagger.from_features(features, bool(whole[batch[0]])).float()
        if answering is None:
            return total / len(self.taggers)
        return total / on_device(answering.sum(axis=1)[pieces.clip], total)[:, None]

    def _whole_features(self, tagger: nn.Module, portion: Portion, audio: Tensor, own: np.ndarray) -> dict | None:
        """Return clip -> features (F, mel) of whole clips if several scales can be cut out of them exactly, or None."""
        clips = np.unique(portion.pieces.clip[own])
        lengths = np.diff(portion.offsets, append=len(audio))[clips]
        several = portion.pieces.length[own].sum() > lengths.sum()
        if not several or not getattr(tagger.front_end, "cuts_exactly", False):
            return None
        features = {}
        for batch in batches_of(lengths, self.batch_samples):
            waveforms = waveforms_of(audio, portion.offsets[clips[batch]], int(lengths[batch[0]]), portion.full_scale)
            with self.busy:
                features.update(zip(clips[batch].tolist(), tagger.features(waveforms), strict=True))
        return features


def waveforms_of(audio: Tensor, begins: np.ndarray, length: int, full_scale: int) -> Tensor:
    """Return `length` samples from each of `begins` (B,), as (B, length) float32 in [-1, 1]."""
    return torch.stack([audio[begin : begin + length] for begin in begins.tolist()]).float().div_(full_scale)


def _cut(whole: dict | None, front_end: nn.Module, clip: np.ndarray, start: np.ndarray, length: int) -> Tensor | None:
    """Cut the features (B, F, mel) of pieces out of their clips' features; None if that would not be exact."""
    if whole is None or length < front_end.min_samples or (start % front_end.settings.hop).any():
        return None
    n_frames, firsts = front_end.n_frames(length), (start // front_end.settings.hop).tolist()
    return torch.stack([whole[c][first : first + n_frames] for c, first in zip(clip.tolist(), firsts, strict=True)])


def by_window(scores: np.ndarray, windows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrange scores (P, K) of pieces as scale name -> (n, W, K); windows that a clip lacks are 0."""
    return {name: np.where((grid < 0)[..., None], 0, scores[grid]) for name, grid in windows.items()}


def widened(parts: Sequence[np.ndarray], n_most: int = 0) -> np.ndarray:
    """Concatenate parts (n, W, K), zero-padded to the largest number of windows, at least `n_most`."""
    n_most = max([n_most, *(part.shape[1] for part in parts)])
    parts = [np.pad(part, ((0, 0), (0, n_most - part.shape[1]), (0, 0))) for part in parts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def score_clips(
    tagger: nn.Module,
    clips: ClipStore,
    rows: np.ndarray,
    window_s: str | float = CLIP,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Return a model's scores (n, W, K) float32 of rows of a clip store; windows that a clip lacks are 0.

    Args:
        tagger, batch_size: see `Scorer`.
        window_s: length of the windows in seconds, or `clip`.
    """
    scorer, name = Scorer([tagger], device, batch_size), window_name(window_s)
    if not len(rows):
        return np.zeros((0, 1, len(tagger.config["class_ids"])), np.float32)
    portions = prefetch(read_portions(clips, rows, [window_s], scorer.device.type == "cuda"))
    return widened([by_window(scorer.answers(part).cpu().numpy(), part.pieces.windows)[name] for part in portions])
