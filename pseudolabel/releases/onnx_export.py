"""ONNX: a model for runtimes without PyTorch, compared with PyTorch before it is given to anyone.

Two files where the network takes any length: `model.onnx` takes waveforms, its front end (frames, FFT, mel bands,
logarithm) inside, and fills short clips up as the model does; `network.onnx` takes features. A network with a fixed
time extent (AST) has only the second, for features of just that extent.
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
from pseudolabel.progress import note

WHOLE, NETWORK = "model.onnx", "network.onnx"
TOLERANCE = 1e-4  # of a score in [0, 1]; float32 sums in another order differ by some 1e-6
TRIED_S = (3.0, 1.7)  # seconds of noise that both are asked about; the second is none of the exported shapes
SEED = 0


class _FromWaveforms(nn.Module):
    """A tagger by operations that every device has: those of a front end that write into memory do not export."""

    def __init__(self, tagger: Tagger):
        super().__init__()
        self.tagger = tagger

    def forward(self, waveforms: Tensor) -> Tensor:
        front_end = self.tagger.front_end
        features = front_end._finished(front_end._mel_power(waveforms))
        return self.tagger.network(self.tagger.fitted(features))


@dataclass(frozen=True)
class Exported:
    """One ONNX file: how its input is called and shaped, and how far its scores were from PyTorch's at most."""

    name: str
    input: str
    shape: tuple[str | int, ...]
    difference: float | None


def export(tagger: Tagger, folder: Path) -> list[Exported]:
    """Write the ONNX files of a tagger into a folder and compare each with PyTorch on noise.

    Raises:
        InputError: the extra `export` is not installed, or the answers differ by more than TOLERANCE.
    """
    _need("onnx", "onnxscript")
    if tagger.config["options"].get("padding") == "dynamic":  # its export with a free time axis does not end
        remedy = "Take a model with static padding, or release it without --onnx."
        raise InputError("a network whose padding depends on the input does not export", "--onnx", remedy)
    tagger = tagger.cpu().eval()
    options, extent = tagger.front_end.settings, tagger.network.n_frames
    noise = torch.randn(2, round(TRIED_S[0] * options.sample_rate), generator=torch.Generator().manual_seed(SEED))
    noise *= 0.1
    shorter = noise[:1, : round(TRIED_S[1] * options.sample_rate)]
    with torch.inference_mode():
        features, fewer = (tagger.fitted(tagger.features(waveforms), extent is not None)[:, :extent]
                           for waveforms in (noise, shorter))  # fmt: skip
    features, fewer = features.clone(), fewer.clone()  # no inference tensors: export refuses them
    if extent is not None:
        shape = ("clips", extent, options.n_mels)
        return [_one(tagger.network, folder / NETWORK, "features", shape, features, fewer)]
    shape, least = ("clips", "frames", options.n_mels), max(tagger.config["min_frames"], 1)
    network = _one(tagger.network, folder / NETWORK, "features", shape, features, fewer, least)
    least = tagger.front_end.min_samples
    whole = _one(_FromWaveforms(tagger), folder / WHOLE, "waveforms", ("clips", "samples"), noise, shorter, least)
    return [network, whole]


def _one(
    module: nn.Module, path: Path, name: str, shape: tuple[str | int, ...], tried: Tensor, other: Tensor, least: int = 1
) -> Exported:
    """Export one module; axes of `shape` that have a name may have any size, the second at least `least`."""
    sizes = {axis: torch.export.Dim(size, min=1 if axis == 0 else least)
             for axis, size in enumerate(shape) if isinstance(size, str)}  # fmt: skip
    with _quietly():
        program = torch.onnx.export(
            module.eval(), (tried,), dynamo=True, dynamic_shapes=(sizes,), input_names=[name], output_names=["scores"],
            verbose=False,
        )  # fmt: skip
    model = program.model_proto
    for node in [*model.graph.node, *(node for function in model.functions for node in function.node)]:
        del node.metadata_props[:]  # where in whose files each line of code lies
        node.doc_string = ""
    with whole_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
    return Exported(path.name, name, shape, _difference(module, path, name, (tried, other)))


def _difference(module: nn.Module, path: Path, name: str, tried: tuple[Tensor, ...]) -> float | None:
    """Return the largest difference from PyTorch's scores; None where no runtime is installed to say it."""
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
        raise InputError(
            f"{path.name} answers otherwise than PyTorch, by {largest:.2g} (at most {TOLERANCE:g})", "--onnx",
            "Release the model without it, and tell us.",
        )  # fmt: skip
    return largest


def _need(*libraries: str) -> None:
    for library in libraries:
        try:
            __import__(library)
        except ImportError as error:
            raise InputError(f"needs {library}", "--onnx", "pip install 'pseudolabel[export]'") from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Hold back what the exporter says of its own inner life."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
