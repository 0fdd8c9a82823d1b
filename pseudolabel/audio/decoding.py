"""Decode a recording to its end, block by block, with soundfile or PyAV (FFmpeg).

soundfile reads formats that state their length reliably: WAV, FLAC, Ogg Vorbis, AIFF and others. PyAV reads mp3, m4a,
mp4, webm, AAC, Opus, and whatever soundfile refuses or would cut. FFmpeg may open no file but the recording.
"""

from __future__ import annotations

import contextlib
import io
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np

from pseudolabel.audio.files import StoredAudio, header_of
from pseudolabel.audio.headers import TAIL_BYTES, Header, read_header

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz; a header with a rate outside is damaged
BLOCK_SAMPLES = 1 << 20  # decoded at a time, so memory use never depends on a header's claim
GLANCE = 1000  # samples checked for sound before all are
AV_SAMPLES = 1 << 17  # samples at which joined PyAV frames become a block
FORMATS = (  # containers that FFmpeg may open: only of sound, none that refers to other files
    "mp3,aac,ac3,eac3,dts,amr,mov,matroska,ogg,flac,wav,w64,aiff,au,caf,asf,avi,flv,mpeg,mpegts,ape,wv,tta,tak,mpc,"
    "mpc8,loas,oma,dsf,iff,voc,nistsphere,gsm,rm,xwma,truehd,mlp,sox,ircam"
)
STATES_LENGTH = ("mov", "matroska", "asf", "avi", "flv", "wv", "tta", "ape")  # FFmpeg estimates the length of others


class Undecodable(Exception):
    """A library cannot read a recording, or cannot read it to its end; the text says why."""


class Unusable(Exception):
    """A recording can be read but not used; the text says why."""


class SoundBlock(NamedTuple):
    """A block of a recording: mean of the channels (n,) float32, rate in Hz, and whether any channel has sound."""

    samples: np.ndarray
    rate: int
    audible: bool


@dataclass
class Findings:
    """Facts found while reading a recording.

    Attributes:
        stated_s: length of the whole recording according to its header; None if it states none.
        damaged: number of packets that could not be decoded.
    """

    stated_s: float | None = None
    damaged: int = 0


def check_rate(rate: int) -> int:
    """Return a sample rate in Hz; raise Unusable if it is implausible."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise Unusable(f"states a sample rate of {rate} Hz")
    return rate


@contextlib.contextmanager
def _soundfile_failures() -> Iterator[None]:
    """Turn failures of soundfile into Undecodable, with libsndfile's message but without its file name prefix."""
    import soundfile

    try:
        yield
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        cause = str(getattr(error, "error_string", error)).removeprefix("Error : ").strip(" .")
        raise Undecodable(cause or type(error).__name__) from error


def _as_soundfile(opened: BinaryIO):
    """Open a file object with soundfile, by its descriptor if it has one, which is fastest."""
    import soundfile

    return soundfile.SoundFile(opened.fileno() if isinstance(opened, io.FileIO) else opened, closefd=False)


def soundfile_blocks(
    stored: StoredAudio, start_s: float, stop_s: float | None, findings: Findings
) -> Iterator[SoundBlock]:
    """Yield the sound of a recording from `start_s` to `stop_s`.

    Raises:
        Undecodable: soundfile cannot read it.
        Unusable: its sample rate is impossible, or it ends before `start_s`.
    """
    header = header_of(stored)
    if header.parts:
        with _soundfile_failures():
            yield from between(_parts(stored, header, findings), start_s, stop_s)
        return
    with _soundfile_failures(), stored.opened(header) as opened, _as_soundfile(opened) as file:
        if file.format in ("MP3", "MPEG"):
            raise Undecodable("an MP3 file, whose length soundfile does not know")
        share = 1.0 if header.counted else header.share
        findings.stated_s = header.stated_s or (share and file.frames / file.samplerate / share)
        first, stop = round(start_s * check_rate(file.samplerate)), file.frames
        if stop_s is not None:
            stop = min(stop, round(stop_s * file.samplerate))
        if first and first >= file.frames:
            raise ends_before(start_s, file.frames / file.samplerate)
        if first:
            file.seek(first)
        yield from _read(file, stop - first)
        if file.format == "FLAC" and stop == file.frames and opened.tell() < stored.n_bytes - TAIL_BYTES:
            raise Undecodable("the file continues past the samples stated in its header")


def _parts(stored: StoredAudio, header: Header, findings: Findings) -> Iterator[SoundBlock]:
    """Yield the sound of recordings concatenated in one file; the stated length is that of the first."""
    with stored.view() as whole:
        for start, n_bytes in header.parts:
            with whole.part(start, n_bytes) as part:
                of_part = read_header(part, n_bytes)
                corrected = part.corrected(of_part)
            with corrected, _as_soundfile(corrected) as file:
                check_rate(file.samplerate)
                if not start and of_part.share:
                    findings.stated_s = file.frames / file.samplerate / of_part.share
                yield from _read(file, file.frames)


def _read(file, n_frames: int) -> Iterator[SoundBlock]:
    """Yield the next frames of an open soundfile, without its seek after each block.

    In a damaged Ogg file that seek would return to sound already read.
    """
    file.seekable = lambda: False
    n_block, n_read = max(BLOCK_SAMPLES // file.channels, 1), 0
    while n_read < n_frames:
        samples = file.read(min(n_frames - n_read, n_block), dtype="float32", always_2d=True)
        if not len(samples):
            raise Undecodable(f"{n_read} of {n_frames} samples can be decoded")
        n_read += len(samples)
        yield mono(samples, file.samplerate)


def ends_before(start_s: float, length_s: float) -> Unusable:
    """Return the error for a recording that ends before the segment begins."""
    return Unusable(f"is {length_s:.3f} s long and ends before {start_s:g} s")


def mono(samples: np.ndarray, rate: int) -> SoundBlock:
    """Mix samples (n, C) float32 down to one channel, their mean."""
    mean = samples[:, 0]
    if samples.shape[1] > 1:  # channel by channel: 20 times faster than `mean`
        mean = mean.copy()
        with np.errstate(invalid="ignore", over="ignore"):  # the sum is checked later
            for channel in samples.T[1:]:
                mean += channel
        mean /= samples.shape[1]
    audible = mean[:GLANCE].any() or mean.any() or (samples.shape[1] > 1 and samples.any())
    return SoundBlock(mean, rate, bool(audible))


def between(
    blocks: Iterable[SoundBlock], start_s: float, stop_s: float | None, position_s: float = 0.0
) -> Iterator[SoundBlock]:
    """Yield the part from `start_s` to `stop_s` of a sound that begins at `position_s`.

    Raises:
        Unusable: it ends before `start_s`.
    """
    for samples, rate, audible in blocks:
        begin, first = round(position_s * rate), round(start_s * rate)
        end = begin + len(samples)
        stop = end if stop_s is None else round(stop_s * rate)
        position_s += len(samples) / rate
        kept = samples[max(first - begin, 0) : max(stop - begin, 0)]
        if len(kept):
            yield SoundBlock(kept, rate, audible)
        if stop_s is not None and end >= stop:
            return
    if start_s and position_s <= start_s:
        raise ends_before(start_s, position_s)


class Tape:
    """Reads successive segments of one recording with PyAV, from its beginning, decoding everything only once.

    It keeps the latest segment, since the next one may begin within it.
    """

    def __init__(self):
        self._stored: StoredAudio | None = None

    def blocks(self, stored: StoredAudio, start_s: float, findings: Findings) -> tuple[Iterator[SoundBlock], float]:
        """Return the sound from `start_s`, or a little before, and the second at which it begins."""
        if stored != self._stored or start_s < self._begins():
            self._stored, self._findings = stored, findings
            self._coming, self._kept, self._position_s = av_blocks(stored, findings), deque(), 0.0
        findings.stated_s, findings.damaged = self._findings.stated_s, self._findings.damaged
        while self._kept and self._kept[0][0] + len(self._kept[0][1].samples) / self._kept[0][1].rate <= start_s:
            self._kept.popleft()
        return self._play(start_s), self._begins()

    def _begins(self) -> float:
        return self._kept[0][0] if self._kept else self._position_s

    def _play(self, start_s: float) -> Iterator[SoundBlock]:
        yield from [block for _, block in self._kept]
        for block in self._coming:
            began, self._position_s = self._position_s, self._position_s + len(block.samples) / block.rate
            if self._position_s > start_s:
                self._kept.append((began, block))
            yield block


def av_blocks(stored: StoredAudio, findings: Findings) -> Iterator[SoundBlock]:
    """Decode a whole recording with FFmpeg; leave out and count damaged packets.

    Raises:
        Undecodable: FFmpeg cannot read it, or it has no sound.
    """
    import av

    header, n_samples = header_of(stored), 0
    source = f"file:{stored.path}" if stored.is_file else stored.view()
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        with av.open(source, options=options, metadata_errors="replace") as container:
            stream = container.streams.best("audio")
            if stream is None:
                raise Undecodable("it has no audio track")
            stated_s = _counted(stored) if header.counted else _stated(container, stream)
            findings.stated_s = header.stated_s or stated_s
            findings.damaged = 0 if header.counted else header.holes
            for block in _joined(_frames(container, stream, findings)):
                n_samples += len(block.samples)
                yield block
    except av.error.FFmpegError as error:
        raise Undecodable(error.strerror or type(error).__name__) from error
    if header.share and n_samples:
        findings.stated_s = n_samples / block.rate / header.share
    if not n_samples and findings.damaged:
        raise Undecodable("FFmpeg finds no sound in it")


def _counted(stored: StoredAudio) -> float | None:
    """Return the length in seconds from the last page of an Ogg file; None if soundfile cannot find it."""
    try:
        with _soundfile_failures(), stored.opened() as opened, _as_soundfile(opened) as file:
            return file.frames / file.samplerate
    except Undecodable:
        return None


def _stated(container, stream) -> float | None:
    """Return the length in seconds stated by a container; None if FFmpeg would only estimate it."""
    if container.format.name.split(",")[0] not in STATES_LENGTH:
        return None
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        if stream.duration is not None:
            return float(stream.duration * stream.time_base)
        return container.duration / 1e6 if container.duration else None


def _frames(container, stream, findings: Findings) -> Iterator:
    """Yield the decoded frames of a stream."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # the file ends within a packet, or is damaged here
            findings.damaged += 1
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.error.EOFError:
            continue
        except av.error.FFmpegError:
            findings.damaged += 1


def _joined(frames: Iterable) -> Iterator[SoundBlock]:
    """Join frames into larger blocks, each of one rate and layout."""
    waiting, kind, n_samples = [], None, 0
    for frame in frames:
        of_frame = check_rate(frame.sample_rate), frame.format.name, len(frame.layout.channels)
        if waiting and (of_frame != kind or n_samples >= AV_SAMPLES):
            yield mono(np.concatenate(waiting, axis=1).T, kind[0])
            waiting, n_samples = [], 0
        kind = of_frame
        waiting.append(_samples(frame))
        n_samples += frame.samples
    if waiting:
        yield mono(np.concatenate(waiting, axis=1).T, kind[0])


def _samples(frame) -> np.ndarray:
    """Return a frame's channels (C, n) float32; integers are scaled to full scale 1, as in soundfile."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    half = 1 << 8 * samples.dtype.itemsize - 1
    samples = samples.astype(np.float32)
    return (samples - half if frame.format.name.startswith("u8") else samples) / np.float32(half)
