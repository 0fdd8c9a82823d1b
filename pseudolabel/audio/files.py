"""Decode any recording, at any rate, channels and sample format, to mono float32.

What a model must never see is refused with its reason: files that cannot be decoded, empty ones, NaN, digital silence.
What is decoded ends where the sound ends, whatever a header states; where the two differ, the recording says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pseudolabel.audio import reading
from pseudolabel.audio.headers import TRIFLE
from pseudolabel.audio.reading import Findings, Sound, Stored, Tape, Undecodable
from pseudolabel.errors import InputError

SUFFIXES = """
    .wav .wave .bwf .rf64 .w64 .flac .ogg .oga .opus .spx .mp3 .mp2 .mpga .m4a .m4b .mp4 .m4v .mov .3gp .3g2 .aac .adts
    .webm .weba .mkv .mka .aif .aiff .aifc .au .snd .caf .wma .asf .wmv .avi .flv .amr .ac3 .eac3 .dts .ape .wv .tta
    .mpg .mpeg .ogv .ogx .sph .nist .voc
"""
AUDIO_SUFFIXES = tuple(SUFFIXES.split())
PADDING_S = 0.05  # what encoders may add to the length that is stated


class UnreadableAudio(InputError):
    """A recording that cannot be used; `reason` says why in a few words, for `skipped.csv`."""

    def __init__(self, reason: str, path: str | Path | Source):
        self.reason = reason
        super().__init__(f"recording {reason}", path, "Replace the file or leave it out.")


@dataclass(frozen=True)
class Source:
    """Where a clip's recording lies: in a file of its own, in a tar shard, or between two seconds of a longer one.

    Args:
        path: the recording, or the shard that it is a member of.
        start_s, end_s: the seconds of it that are the clip; None: to its end.
        member, offset, size: name of the shard's member, and where its bytes lie.
        spans: of a sparse member, (position in it, offset in the shard, length); what no span gives is zeros.
        problem: why it cannot be read, where that is known already.
    """

    path: Path
    start_s: float = 0.0
    end_s: float | None = None
    member: str = ""
    offset: int = 0
    size: int = 0
    spans: tuple[tuple[int, int, int], ...] = ()
    problem: str = ""

    def __str__(self) -> str:
        """Return what reports call it."""
        segment = f" from {self.start_s:g} s" if self.start_s else ""
        segment += f" to {self.end_s:g} s" if self.end_s is not None else ""
        return f"{self.path}{f':{self.member}' if self.member else ''}{segment}"

    @property
    def stem(self) -> str:
        """Name of the recording without folder and suffix."""
        return Path(self.member or self.path).stem

    def stored(self) -> Stored:
        """Return its bytes; UnreadableAudio where there are none."""
        if self.problem:
            raise UnreadableAudio(self.problem, self)
        if not self.path.is_file():
            raise UnreadableAudio("is missing: no such file", self)
        status = self.path.stat()
        n_bytes = self.size if self.member else status.st_size
        if not n_bytes:
            raise UnreadableAudio("is empty: the file has no bytes", self)
        spans = self.spans or (((0, self.offset, self.size),) if self.member else None)
        if spans and max(offset + length for _, offset, length in spans) > status.st_size:
            raise UnreadableAudio("is cut short: the shard ends within it", self)
        return Stored(self.path, n_bytes, spans, status.st_mtime_ns)


class Recording(NamedTuple):
    """A decoded recording.

    Args:
        samples: (T,) float32 within [-1, 1].
        scaled: a louder one was scaled down.
        note: how its length differs from what is stated of it, '' where it does not.
    """

    samples: np.ndarray
    scaled: bool
    note: str = ""


def read_audio(
    source: str | Path | Source, sample_rate: int, limit_s: float | None = None, tape: Tape | None = None
) -> Recording:
    """Decode a recording to mono (the mean of its channels) at `sample_rate` Hz.

    Samples beyond full scale, as 32-bit float files have them and resampling makes them, are not clipped: the whole
    recording is scaled down to a peak of 1 and says so.

    Args:
        source: any format of libsndfile or FFmpeg.
        sample_rate: of the result, in Hz.
        limit_s: decode no more than the first so many seconds.
        tape: of segments of one recording that are read one after the other.

    Raises:
        UnreadableAudio: the file is missing or cannot be decoded, holds no samples, NaN, infinity or digital silence,
            or ends before the segment begins.
    """
    source = source if isinstance(source, Source) else Source(Path(source))
    for stream in streams(source, sample_rate, limit_s, tape):
        try:
            blocks = list(stream)
        except Undecodable:
            continue
        samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        if stream.peak > 1:
            samples = (samples / np.float32(stream.peak)).astype(np.float32)
        return Recording(np.ascontiguousarray(samples, dtype=np.float32), stream.peak > 1, stream.note())
    raise AssertionError("the last stream is read or raises")


def streams(
    source: Source, sample_rate: int, limit_s: float | None = None, tape: Tape | None = None
) -> Iterator[SoundStream]:
    """Yield the ways to decode a recording, to be tried in turn until one does not raise Undecodable.

    Raises:
        UnreadableAudio: none of them did.
    """
    stored = source.stored()
    try:
        first = reading.header_of(stored).reader
    except OSError as error:
        raise UnreadableAudio(f"cannot be read ({error.strerror})", source) from error
    failures = []
    for reader in ("soundfile", "av") if first == "soundfile" else ("av",):
        stream = SoundStream(source, stored, reader, sample_rate, limit_s, tape)
        yield stream
        failures.append(stream.failure)
    empty = not failures[0]
    raise UnreadableAudio(
        f"cannot be decoded ({failures[0]})" if not empty else "is empty: it holds no samples", source
    )


class SoundStream:
    """A recording as blocks (n,) float32 at one rate, none of them scaled; iterate once.

    Attributes:
        peak: largest absolute value of all blocks, once they have been read; likewise the following ones.
        decoded_s: seconds of the file that were decoded.
        failure: why it could not be read, '' where it held nothing.
    """

    def __init__(
        self,
        source: Source,
        stored: Stored,
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
            Undecodable: this way of reading it fails, perhaps after some blocks.
            UnreadableAudio: it can be read and not be used.
        """
        try:
            yield from self._resampled()
        except Undecodable as error:
            self.failure = str(error)
            raise
        except reading.EndsBefore as error:
            seconds, start_s = error.args[0], self.source.start_s
            raise UnreadableAudio(f"is {seconds:.3f} s long and ends before {start_s:g} s", self.source) from error
        except reading.OddRate as error:
            raise UnreadableAudio(f"states a sample rate of {error.args[0]} Hz", self.source) from error

    def again(self) -> SoundStream:
        """Return the same recording from its beginning."""
        return SoundStream(self.source, self.stored, self.reader, self.sample_rate, self.limit_s)

    def _resampled(self) -> Iterator[np.ndarray]:
        n_samples, rate = 0, 0
        for run_rate, run in itertools.groupby(self._checked(), key=attrgetter("rate")):
            for piece in self._run_resampled((sound.samples for sound in run), run_rate):
                rate, n_samples = run_rate, n_samples + len(piece)
                if len(piece):
                    self.peak = max(self.peak, _peak(piece))
                    yield piece
        if not n_samples:
            raise UnreadableAudio(f"is too short to resample from {rate} to {self.sample_rate} Hz", self.source)

    def _run_resampled(self, blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
        """Yield blocks of one rate at the rate of the result."""
        if rate == self.sample_rate:
            yield from blocks
            return
        import soxr

        waiting, coming = next(blocks), next(blocks, None)
        if coming is None:  # the usual case: all at once, which is faster and gives the same
            yield soxr.resample(waiting, rate, self.sample_rate)
            return
        stream = soxr.ResampleStream(rate, self.sample_rate, 1, dtype="float32")
        while coming is not None:
            yield stream.resample_chunk(waiting)
            waiting, coming = coming, next(blocks, None)
        yield stream.resample_chunk(waiting, last=True)

    def _checked(self) -> Iterator[Sound]:
        """Yield the sound as it is decoded; refuse what no model may see."""
        peak, heard = 0.0, False
        for sound in self._sounds():
            of_block = _peak(sound.samples)
            if not np.isfinite(of_block):  # as it is where one channel is not, or all are too loud to add
                raise UnreadableAudio("holds NaN or infinite samples", self.source)
            peak, heard = max(peak, of_block), heard or sound.heard
            self.decoded_s += len(sound.samples) / sound.rate
            yield sound
        if not self.decoded_s:
            raise Undecodable
        if not peak:
            raise UnreadableAudio("has channels that cancel each other" if heard else "is digital silence", self.source)

    def _sounds(self) -> Iterator[Sound]:
        start_s, stop_s = self.source.start_s, self.source.end_s
        if self.limit_s is not None:
            stop_s = min(start_s + self.limit_s, stop_s if stop_s is not None else np.inf)
        if self.reader == "soundfile":
            return reading.soundfile_blocks(self.stored, start_s, stop_s, self.findings)
        if self.tape is not None and stop_s is not None:
            sounds, position_s = self.tape.sounds(self.stored, start_s, self.findings)
            return reading.between(sounds, start_s, stop_s, position_s)
        return reading.between(reading.av_blocks(self.stored, self.findings), start_s, stop_s)

    def note(self) -> str:
        """Return how the length that was decoded differs from the stated one, '' where they agree."""
        source, stated_s = self.source, self.findings.stated_s
        asked_s = None if source.end_s is None else source.end_s - source.start_s
        expected_s = asked_s if asked_s is not None else stated_s and max(stated_s - source.start_s, 0.0)
        limited = self.limit_s is not None and self.decoded_s >= (1 - TRIFLE) * self.limit_s
        if expected_s is not None and self.limit_s is not None:
            expected_s = min(expected_s, self.limit_s)
        said = []
        if expected_s is not None and self._differs(expected_s):
            said.append(f"the segment asks for {asked_s:.2f} s" if asked_s else f"header states {stated_s:.2f} s")
        if reading.header_of(self.stored).cut and asked_s is None and not limited:
            said.append("its last page is missing")
        if self.findings.damaged:
            said.append(f"{self.findings.damaged} damaged packets left out")
        return ", ".join([*said, f"{self.decoded_s:.2f} s decoded"]) if said else ""

    def _differs(self, expected_s: float) -> bool:
        apart = abs(self.decoded_s - expected_s)
        return apart > TRIFLE * expected_s and (self.reader == "soundfile" or apart > PADDING_S)


def _peak(samples: np.ndarray) -> float:
    """Return the largest absolute value; NaN where one of them is NaN."""
    return max(float(samples.max()), -float(samples.min()))
