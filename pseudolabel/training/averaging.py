"""Average the weights of several models in float64, and re-estimate the batch-norm statistics (PSLA, VI-A)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.models.tagger import Tagger
from pseudolabel.scores.windows import each_window, n_windows
from pseudolabel.training.batches import prefetch
from pseudolabel.training.drawing import ORDER
from pseudolabel.training.run_folder import CHECKPOINTS, checkpoint_files, chosen_epochs, read_checkpoint
from pseudolabel.training.scoring import autocast

State = Mapping[str, Tensor]


def mean_state(states: Iterable[State], weights: Sequence[float] | None = None) -> dict[str, Tensor]:
    """Return the weighted mean of state dicts (equal weights by default), holding one at a time in memory.

    Sums are float64, rounded once to each tensor's own type. Integer tensors (counters) are taken from the last state.

    Raises:
        InputError: a tensor holds NaN or infinite numbers.
    """
    total: dict[str, Tensor] = {}
    weight_sum = 0.0
    for number, state in enumerate(states):
        weight = 1.0 if weights is None else float(weights[number])
        weight_sum += weight
        for name, value in state.items():
            if value.is_floating_point():
                if not value.isfinite().all():
                    raise InputError(f"tensor {name} of model {number + 1} holds NaN or infinite numbers", "average")
                value = value.to(torch.float64) * weight
                total[name] = value + total[name] if name in total else value
            else:
                total[name] = value.clone()
    return {
        name: (total[name] / weight_sum).to(value.dtype) if value.is_floating_point() else total[name]
        for name, value in state.items()
    }


def checkpoint_states(
    run: Path, first: int | None = None, last: int | None = None
) -> tuple[dict[str, object], list[int], Callable[[], Iterator[State]]]:
    """Return a run's model config, the epochs from `first` to `last`, and a function yielding their weights in order.

    Raises:
        InputError: there are no checkpoints, one in the range is missing, or one is damaged.
    """
    files = checkpoint_files(run / CHECKPOINTS)
    epochs = chosen_epochs(run, files, first, last)
    config = read_checkpoint(files[epochs[0]])["settings"]["config"]
    return config, epochs, lambda: (read_checkpoint(files[epoch])["tagger"] for epoch in epochs)


def batch_norms(tagger: nn.Module) -> list[nn.Module]:
    """Return the batch-norm layers of a model that track running statistics."""
    kind = nn.modules.batchnorm._BatchNorm
    return [layer for layer in tagger.modules() if isinstance(layer, kind) and layer.track_running_stats]


def statistics_pieces(
    clips: ClipStore, rows: np.ndarray, length: int, n_pieces: int, batch_size: int, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw pieces without replacement in random order; return rows (B,) and first samples (B,) of each batch.

    Args:
        rows: (n,) clips to draw from; each is divided into consecutive pieces of `length` samples, one per window.
        n_pieces: how many at most. An incomplete last batch is dropped unless it is the only one, since the mean over
            batches weights all of them equally.
    """
    counts = n_windows(clips.n_samples[rows], length)
    clip, window = each_window(counts)
    drawn = np.random.default_rng([seed, ORDER]).permutation(len(clip))[:n_pieces]
    n_batches = max(1, len(drawn) // batch_size)
    batches = [drawn[batch * batch_size : (batch + 1) * batch_size] for batch in range(n_batches)]
    return [(np.asarray(rows)[clip[batch]], window[batch] * length) for batch in batches]


def read_pieces(
    clips: ClipStore, batches: Iterable[tuple[np.ndarray, np.ndarray]], length: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each batch the waveforms (B, length) float32 and the number of each piece's own samples (B,)."""
    for rows, starts in batches:
        yield clips.batch(rows, starts, length), clips.left(rows, starts, length)


def estimate_batch_norm(
    tagger: Tagger,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> int:
    """Replace the statistics of all batch-norm layers by their mean over batches; return the number of batches.

    The model runs in train mode without gradients, with dropout seeded by `seed`, and is left in eval mode.

    Args:
        batches: waveforms (B, T) float32, and the number of each piece's own samples (B,).
    """
    device, layers = torch.device(device), batch_norms(tagger)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over batches
    tagger.to(device).train()
    n_batches = 0
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for waveforms, n_samples in prefetch(iter(batches)):
            with autocast(device, tagger.config["precision"]):
                tagger.from_features(tagger.features(torch.from_numpy(waveforms).to(device), n_samples))
            n_batches += 1
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    tagger.eval()
    return n_batches
