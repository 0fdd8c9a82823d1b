"""Export a model to ONNX, for runtimes without PyTorch, and compare its scores with PyTorch's.

There are two files if the network takes any length: `model.onnx` takes waveforms, includes the front end (frames, FFT,
mel bands, logarithm), and pads short clips as the model does; `network.onnx` takes features. A network with a fixed
time extent (AST) has only the second, for features of exactly that extent.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pseudolabel.artefacts import whole_file
from pseudolabel.errors import InputError
from pseudolabel.models.tagger import Tagger
from pseudolabel.packages import refuse_without
from pseudolabel.progress import note

WHOLE, NETWORK = "model.onnx", "network.onnx"
TOLERANCE = 1e-4  # of a score in [0, 1]; float32 sums in another order differ by about 1e-6
TRIED_S = (3.0, 1.7)  # seconds of noise that both score; the export uses another length than the second
SEED = 0


class _FromWaveforms(nn.Module):
    """A tagger made of operations that export: front ends that write into memory do not."""

    def __init__(self, tagger: Tagger):
        super().__init__()
        self.tagger = tagger

    def forward(self, waveforms: Tensor) -> Tensor:
        front_end = self.tagger.front_end
        features = front_end._finished(front_end._mel_power(waveforms))
        return self.tagger.network(self.tagger.fitted(features))


@dataclass(frozen=True)
class Exported:
    """One ONNX file: name and shape of its input, and the largest difference of its scores from PyTorch's."""

    name: str
    input: str
    shape: tuple[str | int, ...]
    difference: float | None


def export(tagger: Tagger, folder: Path) -> list[Exported]:
    """Write the ONNX files of a tagger into a folder and compare each with PyTorch on noise.

    Raises:
        InputError: the extra `export` is not installed, or scores differ by more than TOLERANCE.
    """
    refuse_without("--onnx", "onnx", "onnxscript")
    if tagger.config["options"].get("padding") == "dynamic":  # its export with a time axis of any size does not finish
        remedy = "Take a model with static padding, or release it without --onnx."
        raise InputError("a network whose padding depends on the input does not export", "--onnx", remedy)
    tagger = tagger.cpu().eval()
    sample_rate, n_mels = tagger.front_end.settings.sample_rate, tagger.front_end.settings.n_mels
    extent = tagger.network.n_frames
    noise = torch.randn(2, round(TRIED_S[0] * sample_rate), generator=torch.Generator().manual_seed(SEED)) * 0.1
    waveforms = (noise, noise[:1, : round(TRIED_S[1] * sample_rate)])
    with torch.inference_mode():
        fitted = [tagger.fitted(tagger.features(tried), extent is not None)[:, :extent] for tried in waveforms]
    features = tuple(tried.clone() for tried in fitted)  # export refuses inference tensors
    if extent is not None:
        return [_one(tagger.network, folder / NETWORK, "features", ("clips", extent, n_mels), features)]
    shape, least = ("clips", "frames", n_mels), max(tagger.config["min_frames"], 1)
    network = _one(tagger.network, folder / NETWORK, "features", shape, features, least)
    shape, least = ("clips", "samples"), tagger.front_end.min_samples
    return [network, _one(_FromWaveforms(tagger), folder / WHOLE, "waveforms", shape, waveforms, least)]


def _one(
    module: nn.Module, path: Path, name: str, shape: tuple[str | int, ...], tried: tuple[Tensor, ...], least: int = 1
) -> Exported:
    """Export one module with the first of the inputs, and compare it on all of them.

    Args:
        shape: of the input; a named axis may have any size, the second at least `least`.
    """
    named = [axis for axis, size in enumerate(shape) if isinstance(size, str)]
    sizes = {axis: torch.export.Dim(shape[axis], min=1 if axis == 0 else least) for axis in named}
    names = {"input_names": [name], "output_names": ["scores"]}
    with _quietly():
        program = torch.onnx.export(
            module.eval(), (tried[0],), dynamo=True, dynamic_shapes=(sizes,), verbose=False, **names
        )
    model = program.model_proto
    for node in [*model.graph.node, *(node for function in model.functions for node in function.node)]:
        del node.metadata_props[:]  # paths and lines of the code on this machine
        node.doc_string = ""
    with whole_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
    return Exported(path.name, name, shape, _difference(module, path, name, tried))


def _difference(module: nn.Module, path: Path, name: str, tried: tuple[Tensor, ...]) -> float | None:
    """Return the largest difference from PyTorch's scores; None if onnxruntime is not installed.

    Raises:
        InputError: the difference is larger than TOLERANCE.
    """
    try:
        import onnxruntime
    except ImportError:
        note(f"{path.name} is not compared with PyTorch: install the extra `export`")
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    with torch.inference_mode():
        for inputs in tried:
            (scores,) = session.run(None, {name: inputs.numpy()})
            largest = max(largest, float((module(inputs) - torch.from_numpy(scores)).abs().max()))
    if not largest <= TOLERANCE:
        message = f"scores of {path.name} differ from PyTorch's by {largest:.2g} (at most {TOLERANCE:g} is allowed)"
        raise InputError(message, "--onnx", "Release the model without it, and report this.")
    return largest


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silence the exporter's logs, warnings and prints."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
