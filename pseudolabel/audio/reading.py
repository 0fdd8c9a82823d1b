"""Reading: the sound of a recording in blocks, by soundfile or by PyAV (FFmpeg), to its end.

soundfile reads what states its own length truly: WAV, FLAC, Ogg Vorbis, AIFF and others. PyAV reads mp3, m4a, mp4,
webm, AAC, Opus, and what soundfile refuses or would cut. Files are data: FFmpeg may open nothing but the file itself.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from pseudolabel.audio.headers import TAIL_BYTES, Header, read_header
from pseudolabel.audio.views import View

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz; what lies outside comes from a damaged header
BLOCK_SAMPLES = 1 << 20  # decoded at a time, so that a header's claim never decides how much memory is taken
GLANCE = 1000  # samples that are looked at first
AV_SAMPLES = 1 << 17  # the same of PyAV, whose frames are joined
IN_MEMORY_BYTES = 1 << 24  # a member of a shard that is smaller is read at once
FORMATS = (  # containers that FFmpeg may open: of sound, and none that names other files
    "mp3,aac,ac3,eac3,dts,amr,mov,matroska,ogg,flac,wav,w64,aiff,au,caf,asf,avi,flv,mpeg,mpegts,ape,wv,tta,tak,mpc,"
    "mpc8,loas,oma,dsf,iff,voc,nistsphere,gsm,rm,xwma,truehd,mlp,sox,ircam"
)
STATES_LENGTH = ("mov", "matroska", "asf", "avi", "flv", "wv", "tta", "ape")  # what FFmpeg says of others is estimated


class Undecodable(Exception):
    """A library cannot read a recording, or not to its end; the text says why."""


class Sound(NamedTuple):
    """A block of a recording: the mean of its channels (n,) float32, its rate in Hz, whether any channel has sound."""

    samples: np.ndarray
    rate: int
    heard: bool


@dataclass(frozen=True)
class Stored:
    """The bytes of a recording: a file, or parts of one.

    Args:
        n_bytes: its size.
        spans: (position in the recording, offset in the file, length); None: it is the whole file.
        changed: when the file was last changed, so that what was read of an earlier one is not believed.
    """

    path: Path
    n_bytes: int
    spans: tuple[tuple[int, int, int], ...] | None
    changed: int

    def view(self) -> View:
        """Return them as a file."""
        return View(self.path, self.n_bytes, self.spans or [(0, 0, self.n_bytes)])

    def opened(self, header: Header | None = None) -> BinaryIO:
        """Return what soundfile opens, corrected by its header: the file itself where it can be, as that is fastest."""
        corrected = header and (header.pieces or header.corrections)
        if not self.spans and not corrected:
            return open(self.path, "rb", buffering=0)
        with self.view() as view:
            if self.n_bytes <= IN_MEMORY_BYTES and not corrected:
                return io.BytesIO(view.read())
            return _corrected(view, header) if corrected else view.part(0, self.n_bytes)


def _corrected(view: View, header: Header) -> View:
    return view.joined(header.pieces or ((0, view.size),), header.corrections)


@lru_cache(maxsize=8)
def header_of(stored: Stored) -> Header:
    """Return what the header of a recording says."""
    with stored.view() as view, io.BufferedReader(view) as file:
        return read_header(file, stored.n_bytes)


@dataclass
class Findings:
    """What is known of a recording when it has been read.

    Attributes:
        stated_s: seconds that the whole recording has as its header states them; None where it states nothing.
        damaged: packets that could not be decoded.
    """

    stated_s: float | None = None
    damaged: int = 0


def soundfile_blocks(stored: Stored, start_s: float, stop_s: float | None, findings: Findings) -> Iterator[Sound]:
    """Yield the sound between two seconds of a recording.

    Raises:
        Undecodable: soundfile does not read it.
    """
    import soundfile

    header = header_of(stored)
    try:
        if header.parts:
            yield from between(_parts(stored, header, findings), start_s, stop_s)
            return
        with stored.opened(header) as opened, soundfile.SoundFile(_handle(opened), closefd=False) as file:
            if file.format in ("MP3", "MPEG"):
                raise Undecodable("an MP3 file, whose length soundfile does not know")
            findings.stated_s = header.stated_s or _of_frames(file, header)
            first, stop = round(start_s * check_rate(file.samplerate)), file.frames
            if stop_s is not None:
                stop = min(stop, round(stop_s * file.samplerate))
            if first and first >= file.frames:
                raise EndsBefore(file.frames / file.samplerate)
            if first:
                file.seek(first)
            yield from _read(file, stop - first)
            if file.format == "FLAC" and stop == file.frames and opened.tell() < stored.n_bytes - TAIL_BYTES:
                raise Undecodable("the file goes on after the samples that its header states")
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        raise Undecodable(_cause(error)) from error


def _of_frames(file, header: Header) -> float | None:
    """Return the seconds that the whole has by what an open soundfile counts; None where that says nothing."""
    share = 1.0 if header.counted else header.share
    return share and file.frames / file.samplerate / share


def _counted(stored: Stored) -> float | None:
    """Return the seconds that the last page of an Ogg file counts; None where soundfile does not find it."""
    import soundfile

    try:
        with stored.opened() as opened, soundfile.SoundFile(_handle(opened), closefd=False) as file:
            return file.frames / file.samplerate
    except (soundfile.LibsndfileError, RuntimeError, OSError):
        return None


def _handle(opened: BinaryIO) -> int | BinaryIO:
    """Return what soundfile reads fastest: the number of an open file, where it is one."""
    return opened.fileno() if isinstance(opened, io.FileIO) else opened


class EndsBefore(Exception):
    """A recording is over before the segment begins; its argument is how long it is, in seconds."""


class OddRate(Exception):
    """A recording states a sample rate that none has."""


def check_rate(rate: int) -> int:
    """Return a sample rate in Hz; OddRate where no recording has it."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise OddRate(rate)
    return rate


def _read(file, n_frames: int) -> Iterator[Sound]:
    """Yield the next frames of an open soundfile, without the seek that it makes after each block.

    In a damaged Ogg file that seek goes back, to sound that has been read.
    """
    file.seekable = lambda: False
    n_block, n_read = max(BLOCK_SAMPLES // file.channels, 1), 0
    while n_read < n_frames:
        block = file.read(min(n_frames - n_read, n_block), dtype="float32", always_2d=True)
        if not len(block):
            raise Undecodable(f"{n_read} of {n_frames} samples can be decoded")
        n_read += len(block)
        yield to_sound(block, file.samplerate)


def _parts(stored: Stored, header: Header, findings: Findings) -> Iterator[Sound]:
    """Yield the sound of recordings that follow each other in one file, whose length is stated as that of the first."""
    import soundfile

    with stored.view() as whole:
        for start, n_bytes in header.parts:
            with whole.part(start, n_bytes) as part:
                of_part = read_header(part, n_bytes)
                corrected = _corrected(part, of_part)
            with corrected, soundfile.SoundFile(corrected) as file:
                check_rate(file.samplerate)
                if not start and of_part.share:
                    findings.stated_s = file.frames / file.samplerate / of_part.share
                yield from _read(file, file.frames)


def to_sound(block: np.ndarray, rate: int) -> Sound:
    """Return samples (n, C) float32 as one channel, their mean."""
    samples = block[:, 0]
    if block.shape[1] > 1:  # channel by channel: 20 times as fast as `mean`
        samples = samples.copy()
        with np.errstate(invalid="ignore", over="ignore"):  # whoever reads the sum looks at it
            for channel in block.T[1:]:
                samples += channel
        samples /= block.shape[1]
    heard = samples[:GLANCE].any() or samples.any() or (block.shape[1] > 1 and block.any())
    return Sound(samples, rate, bool(heard))


def between(sounds: Iterable[Sound], start_s: float, stop_s: float | None, position_s: float = 0.0) -> Iterator[Sound]:
    """Yield what lies between two seconds of a sound that begins at `position_s`.

    Raises:
        EndsBefore: it ends before `start_s`.
    """
    for samples, rate, heard in sounds:
        here, first = round(position_s * rate), round(start_s * rate)
        stop = here + len(samples) if stop_s is None else round(stop_s * rate)
        position_s += len(samples) / rate
        kept = samples[max(first - here, 0) : max(stop - here, 0)]
        if len(kept):
            yield Sound(kept, rate, heard)
        if stop_s is not None and here + len(samples) >= stop:
            return
    if start_s and position_s <= start_s:
        raise EndsBefore(position_s)


class Tape:
    """One recording that PyAV reads from its beginning on, for segments that follow each other: each is decoded once.

    What is kept is the latest segment, as the next one may begin within it.
    """

    def __init__(self):
        self._stored: Stored | None = None

    def sounds(self, stored: Stored, start_s: float, findings: Findings) -> tuple[Iterator[Sound], float]:
        """Return the sound from `start_s` or a little earlier on, and the second at which it begins."""
        if stored != self._stored or start_s < self._begins():
            self._stored, self._findings = stored, findings
            self._coming, self._kept, self._position_s = av_blocks(stored, findings), deque(), 0.0
        findings.stated_s, findings.damaged = self._findings.stated_s, self._findings.damaged
        while self._kept and self._kept[0][0] + len(self._kept[0][1].samples) / self._kept[0][1].rate <= start_s:
            self._kept.popleft()
        return self._play(start_s), self._begins()

    def _begins(self) -> float:
        return self._kept[0][0] if self._kept else self._position_s

    def _play(self, start_s: float) -> Iterator[Sound]:
        yield from [sound for _, sound in self._kept]
        for sound in self._coming:
            began, self._position_s = self._position_s, self._position_s + len(sound.samples) / sound.rate
            if self._position_s > start_s:
                self._kept.append((began, sound))
            yield sound


def av_blocks(stored: Stored, findings: Findings) -> Iterator[Sound]:
    """Yield the whole sound of a recording, as FFmpeg decodes it; damaged packets are left out and counted.

    Raises:
        Undecodable: it is nothing that FFmpeg reads, or has no sound.
    """
    import av

    header, n_samples = header_of(stored), 0
    source = stored.view() if stored.spans else f"file:{stored.path}"
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        with av.open(source, options=options, metadata_errors="replace") as container:
            stream = container.streams.best("audio")
            if stream is None:
                raise Undecodable("it has no audio track")
            stated_s = _counted(stored) if header.counted else _stated(container, stream)
            findings.stated_s = header.stated_s or stated_s
            findings.damaged = 0 if header.counted else header.holes
            for sound in _joined(_frames(container, stream, findings)):
                n_samples += len(sound.samples)
                yield sound
    except av.error.FFmpegError as error:
        raise Undecodable(error.strerror or type(error).__name__) from error
    if header.share and n_samples:
        findings.stated_s = n_samples / sound.rate / header.share
    if not n_samples and findings.damaged:
        raise Undecodable("FFmpeg finds no sound in it")


def _stated(container, stream) -> float | None:
    """Return the seconds that a container states, None where FFmpeg would estimate them."""
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


def _joined(frames: Iterable) -> Iterator[Sound]:
    """Yield frames in larger blocks, of one rate and layout each."""
    waiting, kind, n_samples = [], None, 0
    for frame in frames:
        of_frame = check_rate(frame.sample_rate), frame.format.name, len(frame.layout.channels)
        if waiting and (of_frame != kind or n_samples >= AV_SAMPLES):
            yield to_sound(np.concatenate(waiting, axis=1).T, kind[0])
            waiting, n_samples = [], 0
        kind = of_frame
        waiting.append(_samples(frame))
        n_samples += frame.samples
    if waiting:
        yield to_sound(np.concatenate(waiting, axis=1).T, kind[0])


def _samples(frame) -> np.ndarray:
    """Return the channels (C, n) float32 of a frame; whole numbers become steps of full scale 1, as in soundfile."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    half = 1 << 8 * samples.dtype.itemsize - 1
    samples = samples.astype(np.float32)
    return (samples - half if frame.format.name.startswith("u8") else samples) / np.float32(half)


def _cause(error: Exception) -> str:
    """Return libsndfile's own words without the file name that it puts before them."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").strip(" .") or type(error).__name__
