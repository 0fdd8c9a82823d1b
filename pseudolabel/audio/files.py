"""Decode any recording: wav, flac, ogg, mp3 and more, at any rate, channels and sample format, to mono float32.

What a model must never see is refused with its reason: files that cannot be decoded, empty ones, NaN, digital silence.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pseudolabel.errors import InputError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64")
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz; what lies outside comes from a damaged header
BLOCK_SAMPLES = 1 << 20  # decoded at a time, so that a header's claim never decides how much memory is taken


class UnreadableAudio(InputError):
    """A recording that cannot be used; `reason` says why in a few words, for `skipped.csv`."""

    def __init__(self, reason: str, path: str | Path):
        self.reason = reason
        super().__init__(f"recording {reason}", path, "Replace the file or leave it out.")


class Recording(NamedTuple):
    """A decoded recording: samples (T,) float32 within [-1, 1]; `scaled` where a louder one was scaled down."""

    samples: np.ndarray
    scaled: bool


def read_audio(path: str | Path, sample_rate: int, limit_s: float | None = None) -> Recording:
    """Decode a file to mono (the mean of its channels) at `sample_rate` Hz.

    Samples beyond full scale, as 32-bit float files have them and resampling makes them, are not clipped: the whole
    recording is scaled down to a peak of 1 and says so.

    Args:
        path: any format of libsndfile: integer of 8 to 32 bits, float, compressed.
        sample_rate: of the result, in Hz.
        limit_s: decode no more than the first so many seconds.
    Raises:
        UnreadableAudio: the file is missing or cannot be decoded, holds no samples, NaN, infinity or digital silence.
    """
    samples, rate = _decode(path, limit_s)
    if rate != sample_rate:
        import soxr

        samples = soxr.resample(samples, rate, sample_rate)
        if not len(samples):
            raise UnreadableAudio(f"is too short to resample from {rate} to {sample_rate} Hz", path)
    peak = float(np.abs(samples).max())
    if peak > 1:
        samples = (samples / np.float32(peak)).astype(np.float32)
    return Recording(np.ascontiguousarray(samples, dtype=np.float32), peak > 1)


def _decode(path: str | Path, limit_s: float | None) -> tuple[np.ndarray, int]:
    """Return the mean of the channels (T,) float32 at the file's own rate, and that rate."""
    import soundfile

    path = Path(path)
    if not path.is_file():
        raise UnreadableAudio("is missing: no such file", path)
    if not path.stat().st_size:
        raise UnreadableAudio("is empty: the file has no bytes", path)
    blocks, heard = [], False
    try:
        with soundfile.SoundFile(path) as file:
            rate, expected = file.samplerate, file.frames
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise UnreadableAudio(f"states a sample rate of {rate} Hz", path)
            if limit_s is not None:
                expected = min(expected, max(round(limit_s * rate), 1))
            n_read, n_block = 0, max(BLOCK_SAMPLES // file.channels, 1)
            while n_read < expected:
                block = file.read(min(expected - n_read, n_block), dtype="float32", always_2d=True)
                if not len(block):
                    break
                if not np.isfinite(block).all():
                    raise UnreadableAudio("holds NaN or infinite samples", path)
                heard = heard or bool(block.any())
                blocks.append(block.mean(axis=1, dtype=np.float32))
                n_read += len(block)
            lossless = file.format != "MP3"  # an MP3 header only estimates the length
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        raise UnreadableAudio(f"cannot be decoded ({_cause(error)})", path) from error
    if not n_read:
        raise UnreadableAudio("is empty: it holds no samples", path)
    if lossless and n_read < expected:
        raise UnreadableAudio(f"is cut short: {n_read} of {expected} samples can be decoded", path)
    samples = np.concatenate(blocks)
    if not samples.any():
        raise UnreadableAudio("has channels that cancel each other" if heard else "is digital silence", path)
    return samples, rate


def _cause(error: Exception) -> str:
    """Return libsndfile's own words without the file name that it puts before them."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").strip(" .") or type(error).__name__


def find_audio(folder: str | Path) -> dict[str, Path]:
    """Return {clip id: path} of every recording below `folder`, sorted by clip id: the file name without its suffix.

    Raises:
        InputError: there is no such folder, a name is not UTF-8 text, or two files have one id.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("no such folder of recordings", folder)
    found: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or path.suffix.lower() not in AUDIO_SUFFIXES:
                continue
            if any("\ud800" <= character <= "\udfff" for character in str(path)):  # bytes that are no UTF-8
                raise InputError("this file name is not UTF-8 text", ascii(str(path)), "Rename it or its folder.")
            if path.stem in found:
                raise InputError(
                    f"two recordings have the clip id {path.stem!r}: {found[path.stem]} and {path}",
                    folder,
                    "Rename one of them or leave it out.",
                )
            found[path.stem] = path
    return dict(sorted(found.items()))
