"""Score clips with a model: whole clips, or every window of a given length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from pseudolabel.audio.clips import ClipStore
from pseudolabel.scores.windows import CLIP, n_windows, window_bounds, window_samples
from pseudolabel.training.dataset import prefetch


def autocast(device: torch.device) -> torch.autocast:
    """Return bf16 autocast on a GPU, float32 elsewhere."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def pieces_of(clips: ClipStore, rows: np.ndarray, samples: int | None) -> np.ndarray:
    """Return (P, 4) int64: position among `rows`, window number, first sample, length, of every window."""
    pieces = []
    for position, row in enumerate(rows):
        n = int(clips.n_samples[row])
        bounds = np.array([[0, n]]) if samples is None else window_bounds(n, samples)
        pieces += [(position, window, start, end - start) for window, (start, end) in enumerate(bounds.tolist())]
    return np.array(pieces, dtype=np.int64).reshape(-1, 4)


def batches_of(pieces: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Yield pieces of equal length together, so that no answer depends on padding."""
    for length in np.unique(pieces[:, 3]):
        alike = pieces[pieces[:, 3] == length]
        for start in range(0, len(alike), batch_size):
            yield alike[start : start + batch_size]


@torch.inference_mode()
def score_clips(
    tagger: nn.Module,
    clips: ClipStore,
    rows: np.ndarray,
    window_s: str | float = CLIP,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Return the model's scores (n, W, K) float32 for some rows of a clip store; windows a clip lacks stay 0.

    Args:
        tagger: waveforms (B, T) -> scores (B, K); set to evaluation mode here.
        window_s: length of the windows in seconds, or `clip`.
        batch_size: clips a batch; short windows are batched so that a batch holds about as much audio.
    """
    device = torch.device(device)
    samples = window_samples(window_s, clips.sample_rate)
    longest = int(clips.n_samples[rows].max(initial=1))
    n_most = 1 if samples is None else int(n_windows(longest, samples))
    pieces = pieces_of(clips, np.asarray(rows), samples)
    scores = np.zeros((len(rows), n_most, len(tagger.config["class_ids"])), np.float32)
    tagger.eval()

    def load() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for batch in batches_of(pieces, batch_size * n_most):
            yield batch, clips.batch(rows[batch[:, 0]], batch[:, 2], int(batch[0, 3]))

    for batch, waveforms in prefetch(load()):
        with autocast(device):
            answer = tagger(torch.from_numpy(waveforms).to(device, non_blocking=True))
        scores[batch[:, 0], batch[:, 1]] = answer.float().cpu().numpy()
    return scores
