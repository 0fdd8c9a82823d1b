"""Turn draws into batches for training: read audio ahead and augment it on the device."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pseudolabel.audio.augment import change_gain, mask_span, mix, on_device, shift_in_time
from pseudolabel.models.tagger import Tagger
from pseudolabel.training.dataset import Examples
from pseudolabel.training.drawing import Draw
from pseudolabel.training.options import AugmentOptions

Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch:
    """The pieces of a draw, partners included: waveforms (R, T), targets (R, K), masked (R, K) bool or None.

    n_samples (R,): number of each piece's own samples; None: T.
    """

    draw: Draw
    waveforms: Tensor
    targets: Tensor
    masked: Tensor | None
    n_samples: np.ndarray | None = None

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device; from pinned memory, the copy overlaps with the device's work."""
        masked = None if self.masked is None else self.masked.to(device, non_blocking=True)
        waveforms, targets = (each.to(device, non_blocking=True) for each in (self.waveforms, self.targets))
        return replace(self, waveforms=waveforms, targets=targets, masked=masked)


def read_batch(examples: Examples, draw: Draw, pinned: bool = False) -> Batch:
    """Read the pieces of a draw; `pinned`: into memory from which a GPU copies asynchronously."""
    arrays = examples.batch(draw.pieces, draw.start)
    tensors = [array if array is None else torch.from_numpy(array) for array in arrays]
    tensors = [tensor.pin_memory() if pinned and tensor is not None else tensor for tensor in tensors]
    return Batch(draw, *tensors, examples.n_samples(draw.pieces, draw.start))


@torch.no_grad()
def augmented(batch: Batch, tagger: Tagger, options: AugmentOptions) -> Batch:
    """Apply gain, shift, mixup, front end, fill and masks; return a batch (n, ...) with features (n, F, mel).

    The features replace `waveforms`. A mixture is as long as its first clip: the other is cut, or ends earlier (PSLA).
    It has both clips' loss masks. Feature masks are drawn over the features after filling (PSLA).
    """
    draw, waveforms, targets, masked = batch.draw, batch.waveforms, batch.targets, batch.masked
    n_samples = np.full(len(waveforms), waveforms.shape[1]) if batch.n_samples is None else batch.n_samples
    own, sample_rate, front_end = n_samples[: draw.n], tagger.config["sample_rate"], tagger.front_end
    if options.gain_db:
        waveforms = change_gain(waveforms, draw.gain)
    if options.shift_s:
        furthest = np.minimum(round(options.shift_s * sample_rate), n_samples)
        waveforms = shift_in_time(waveforms, np.round(draw.shift * furthest).astype(np.int64), n_samples)
    in_energy = options.mixup_domain == "energy"
    if not in_energy:
        waveforms = mix(waveforms, draw.partner, draw.share)
        features = tagger.features(waveforms, own)
    else:
        features = tagger.features(waveforms, n_samples, front_end.silence)  # silence adds nothing to a longer clip
        mixed = mix(front_end.to_power(features), draw.partner, draw.share)
        mixed = front_end.from_power(tagger.beyond(mixed, own, 0.0))
        unmixed = on_device(draw.share == 1, features)[:, None, None]
        features = torch.where(unmixed, features[: draw.n], mixed)  # unmixed clips stay bit-identical
        features = tagger.beyond(features, own)
    features = tagger.fitted(features)
    if options.time_mask_s:
        frames = round(options.time_mask_s * sample_rate / front_end.settings.hop)
        features = mask_span(features, 1, frames, draw.time_mask, tagger.config["fill"])
    if options.mel_mask:
        features = mask_span(features, 2, options.mel_mask, draw.mel_mask, tagger.config["fill"])
    if masked is not None:
        masked = masked[: draw.n] | masked[on_device(draw.partner, masked)]
    return replace(batch, waveforms=features, targets=mix(targets, draw.partner, draw.share), masked=masked)


def prefetch(items: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """Yield `items`, prepared in a thread while the caller works on earlier ones."""
    ready: queue.Queue = queue.Queue(depth)
    stop, end = threading.Event(), object()

    def put(value: object) -> None:
        while not stop.is_set():
            try:
                return ready.put(value, timeout=0.2)
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(end)
        except BaseException as error:  # passed to the consumer, which raises it
            put(error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
