"""Score the frames of clips: the decision layer's scores before they are pooled, for sound event detection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pseudolabel.audio.augment import on_device
from pseudolabel.errors import InputError
from pseudolabel.training.scoring import Portion, Scorer, autocast, batches_of, waveforms_of


def frame_length(taggers: Sequence[nn.Module], runs: Sequence[Path]) -> float:
    """Return the seconds of a frame, which must be those of all models.

    Raises:
        InputError: a network has no frame scores, or frames of another length.
    """
    lengths = [tagger.frame_s for tagger in taggers]
    for run, length in zip(runs, lengths, strict=True):
        if length != lengths[0]:
            message = f"its frames last {length:g} s, those of {runs[0]} {lengths[0]:g} s"
            raise InputError(message, run, "Score them one by one.")
    return lengths[0]


class FrameScorer(Scorer):
    """An ensemble of models whose windows are their frames; a clip is heard whole, so a frame hears what is around it.

    A last frame under half its length is left out, as a window of that length would be.
    """

    @torch.inference_mode()
    def answers(self, portion: Portion) -> Tensor:
        """Return the scores (P, K) float32 of a portion's frames, on the device."""
        pieces, answering = portion.pieces, portion.answering
        audio = portion.audio.to(self.device, non_blocking=True)
        lengths = np.diff(portion.offsets, append=len(audio))
        total = torch.zeros(len(pieces.clip), len(self.taggers[0].config["class_ids"]), device=self.device)
        frame = np.arange(len(pieces.clip)) - np.searchsorted(pieces.clip, pieces.clip)  # pieces are sorted by time
        for number, tagger in enumerate(self.taggers):
            clips = np.arange(len(lengths)) if answering is None else np.flatnonzero(answering[:, number])
            for batch in batches_of(lengths[clips], self.batch_samples):
                batch = clips[batch]
                waveforms = waveforms_of(audio, portion.offsets[batch], int(lengths[batch[0]]), portion.full_scale)
                with self.busy, autocast(self.device, self.precision or tagger.config["precision"]):
                    scores = tagger.frame_scores(waveforms).float()
                own = np.flatnonzero(np.isin(pieces.clip, batch))
                place = np.minimum(frame[own], scores.shape[1] - 1)
                row = np.searchsorted(batch, pieces.clip[own])
                total[on_device(own, total)] += scores[on_device(row, total), on_device(place, total)]
        if answering is None:
            return total / len(self.taggers)
        return total / on_device(answering.sum(axis=1)[pieces.clip], total)[:, None]
