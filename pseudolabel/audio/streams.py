"""Read any recording, whatever its rate, channels and sample format, as mono float32 at one rate.

Recordings that a model must never see are refused with a reason: undecodable or empty files, NaN, digital silence.
Decoding continues to the end of the sound, whatever the header states; if the two differ, the recording gets a note.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pseudolabel.audio import decoding
from pseudolabel.audio.decoding import Findings, SoundBlock, Tape, Undecodable
from pseudolabel.audio.files import AudioSource, StoredAudio, UnreadableAudio, header_of
from pseudolabel.audio.headers import TRIFLE

PADDING_S = 0.05  # that encoders may add to the stated length


class Recording(NamedTuple):
    """A decoded recording.

    Args:
        samples: (T,) float32 within [-1, 1].
        scaled: whether it was louder and had to be scaled down.
        note: how its length differs from the stated one; empty if it does not.
    """

    samples: np.ndarray
    scaled: bool
    note: str = ""


def read_audio(
    source: str | Path | AudioSource, sample_rate: int, limit_s: float | None = None, tape: Tape | None = None
) -> Recording:
    """Decode a recording to mono (the mean of its channels) at `sample_rate` Hz.

    Samples beyond full scale, from 32-bit float files or from resampling, are not clipped: the whole recording is
    scaled down to a peak of 1, and `scaled` is True.

    Args:
        source: any format of libsndfile or FFmpeg.
        sample_rate: of the result, in Hz.
        limit_s: decode only this many seconds from the start.
        tape: shared between calls that read successive segments of one recording.

    Raises:
        UnreadableAudio: the file is missing, undecodable or empty, holds NaN, infinity or digital silence, or ends
            before the segment begins.
    """
    source = source if isinstance(source, AudioSource) else AudioSource(Path(source))
    for stream in streams(source, sample_rate, limit_s, tape):
        try:
            samples = joined(list(stream))
        except Undecodable:
            continue
        samples = scaled_down(samples, stream.peak)
        return Recording(np.ascontiguousarray(samples, dtype=np.float32), stream.peak > 1, stream.note())
    raise AssertionError("the last stream is read or raises")


def joined(blocks: list[np.ndarray]) -> np.ndarray:
    """Concatenate blocks; a single block is not copied."""
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def scaled_down(samples: np.ndarray, peak: float) -> np.ndarray:
    """Divide float32 samples by their peak if it exceeds 1."""
    return (samples / np.float32(peak)).astype(np.float32, copy=False) if peak > 1 else samples


def streams(
    source: AudioSource, sample_rate: int, limit_s: float | None = None, tape: Tape | None = None
) -> Iterator[SoundStream]:
    """Yield the ways to decode a recording, to be tried in turn until one does not raise Undecodable.

    Raises:
        UnreadableAudio: all of them failed.
    """
    stored = source.stored()
    try:
        first = header_of(stored).reader
    except OSError as error:
        raise UnreadableAudio(f"cannot be read ({error.strerror})", source) from error
    failures = []
    for reader in ("soundfile", "av") if first == "soundfile" else ("av",):
        stream = SoundStream(source, stored, reader, sample_rate, limit_s, tape)
        yield stream
        failures.append(stream.failure)
    reason = f"cannot be decoded ({failures[0]})" if failures[0] else "is empty: it holds no samples"
    raise UnreadableAudio(reason, source)


class SoundStream:
    """A recording as unscaled blocks (n,) float32 at one rate; iterate once.

    Attributes:
        peak: largest absolute value of the blocks read so far.
        decoded_s: seconds of the file decoded so far.
        failure: why it could not be read; empty if it held nothing.
    """

    def __init__(
        self,
        source: AudioSource,
        stored: StoredAudio,
        reader: str,
        sample_rate: int,
        limit_s: float | None = None,
        tape: Tape | None = None,
    ):
        self.source, self.stored, self.reader, self.sample_rate = source, stored, reader, sample_rate
        self.limit_s, self.tape, self.findings = limit_s, tape, Findings()
        self.peak, self.decoded_s, self.failure = 0.0, 0.0, ""

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the blocks.

        Raises:
            Undecodable: this reader fails, perhaps after some blocks.
            UnreadableAudio: the recording can be read but not used.
        """
        try:
            yield from self._resampled()
        except Undecodable as error:
            self.failure = str(error)
            raise
        except decoding.Unusable as error:
            raise UnreadableAudio(str(error), self.source) from error

    def again(self) -> SoundStream:
        """Return a new stream of the same recording, from its beginning."""
        return SoundStream(self.source, self.stored, self.reader, self.sample_rate, self.limit_s)

    def _resampled(self) -> Iterator[np.ndarray]:
        n_samples, rate = 0, 0
        for run_rate, run in itertools.groupby(self._checked(), key=attrgetter("rate")):
            for piece in self._run_resampled((block.samples for block in run), run_rate):
                rate, n_samples = run_rate, n_samples + len(piece)
                if len(piece):
                    self.peak = max(self.peak, _peak(piece))
                    yield piece
        if not n_samples:
            raise UnreadableAudio(f"is too short to resample from {rate} to {self.sample_rate} Hz", self.source)

    def _run_resampled(self, blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
        """Resample blocks of one rate to the target rate."""
        if rate == self.sample_rate:
            yield from blocks
            return
        import soxr

        waiting, coming = next(blocks), next(blocks, None)
        if coming is None:  # the usual case: at once, which is faster and gives the same samples
            yield soxr.resample(waiting, rate, self.sample_rate)
            return
        stream = soxr.ResampleStream(rate, self.sample_rate, 1, dtype="float32")
        while coming is not None:
            yield stream.resample_chunk(waiting)
            waiting, coming = coming, next(blocks, None)
        yield stream.resample_chunk(waiting, last=True)

    def _checked(self) -> Iterator[SoundBlock]:
        """Yield the decoded blocks; refuse what no model must see."""
        peak, audible = 0.0, False
        for block in self._decoded():
            of_block = _peak(block.samples)
            if not np.isfinite(of_block):  # a channel is not finite, or the sum of channels overflowed
                raise UnreadableAudio("holds NaN or infinite samples", self.source)
            peak, audible = max(peak, of_block), audible or block.audible
            self.decoded_s += len(block.samples) / block.rate
            yield block
        if not self.decoded_s:
            raise Undecodable
        if not peak:
            reason = "has channels that cancel each other" if audible else "is digital silence"
            raise UnreadableAudio(reason, self.source)

    def _decoded(self) -> Iterator[SoundBlock]:
        start_s, stop_s = self.source.start_s, self.source.end_s
        if self.limit_s is not None:
            stop_s = min(start_s + self.limit_s, stop_s if stop_s is not None else np.inf)
        if self.reader == "soundfile":
            return decoding.soundfile_blocks(self.stored, start_s, stop_s, self.findings)
        if self.tape is not None and stop_s is not None:
            blocks, position_s = self.tape.blocks(self.stored, start_s, self.findings)
            return decoding.between(blocks, start_s, stop_s, position_s)
        return decoding.between(decoding.av_blocks(self.stored, self.findings), start_s, stop_s)

    def note(self) -> str:
        """Return how the decoded length differs from the stated one; empty if they agree."""
        source, stated_s = self.source, self.findings.stated_s
        asked_s = None if source.end_s is None else source.end_s - source.start_s
        expected_s = asked_s if asked_s is not None else stated_s and max(stated_s - source.start_s, 0.0)
        limited = self.limit_s is not None and self.decoded_s >= (1 - TRIFLE) * self.limit_s
        if expected_s is not None and self.limit_s is not None:
            expected_s = min(expected_s, self.limit_s)
        notes = []
        if expected_s is not None and self._differs(expected_s):
            notes.append(f"the segment asks for {asked_s:.2f} s" if asked_s else f"header states {stated_s:.2f} s")
        if header_of(self.stored).cut and asked_s is None and not limited:
            notes.append("its last page is missing")
        if self.findings.damaged:
            notes.append(f"{self.findings.damaged} damaged packets left out")
        return ", ".join([*notes, f"{self.decoded_s:.2f} s decoded"]) if notes else ""

    def _differs(self, expected_s: float) -> bool:
        apart = abs(self.decoded_s - expected_s)
        return apart > TRIFLE * expected_s and (self.reader == "soundfile" or apart > PADDING_S)


def _peak(samples: np.ndarray) -> float:
    """Return the largest absolute value; NaN if any is NaN."""
    return max(float(samples.max()), -float(samples.min()))
