"""Front ends: waveforms to log-mel features, in batches, on the device of the model.

`LogMel` is PSL's front end, `KaldiFbank` that of PSLA and AST. Both take `(B, T)` samples in [-1, 1] and return
`(B, F, mel)`, always in float32, and the features of a clip depend on that clip alone: not on its neighbours in a batch
and, on the CPU, not on the number of threads.

Lengths are in seconds and Hz, and a sound has nearly the same features at any sample rate: window and hop are rounded
to whole samples, and levels and pre-emphasis are those at `reference_rate`.

Windows of clips: where a frame's features depend on the frame's samples alone, a window that begins at a multiple of
the hop has exactly the frames of the whole clip at that time, so `windows` cuts them out of the clip's features
(`KaldiFbank`). Elsewhere it computes each window by itself: `LogMel` mirrors the ends and measures its floor from the
clip's maximum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict

import torch
from torch import Tensor, nn

from pseudolabel.audio.frontend_options import (
    KaldiFbankOptions,
    LogMelOptions,
    front_end_options,
)
from pseudolabel.errors import InputError

POWER_FLOOR = 1e-10  # LogMel: -100 dB, the answer to digital silence
KALDI_FLOOR = torch.finfo(torch.float32).eps  # KaldiFbank: log -> -15.94, the same
CHUNK_SAMPLES = 1 << 24  # on an accelerator, samples per step: bounds the memory that the spectra take
PIECE_FRAMES = 1024  # on the CPU, frames per step: their spectra fit the cache
WHOLE_ROWS = 64  # matrix products have a multiple of so many rows; some libraries round an odd end in another way
GROUP_MELS = 16  # bands that are summed together over the few bins that they need
FILLS = ("silence", "psla")


class FrontEnd(nn.Module):
    """What both front ends share: checks, float32 under autocast, spectra, mel bands, normalisation, windows.

    A subclass defines which samples have frames (`_with_ends`), what a frame is before its spectrum (`_windowed`, and
    `_windowed_into`, the same operations on allocated memory), and what becomes of the mel powers (`_compress`, which
    may overwrite them, and its inverse `_expand`).

    Attributes:
        min_samples: the shortest input that gives a frame.
        n_fft: samples of a spectrum.
        cuts_exactly: whether the features of a window are those of its clip, cut out.
    """

    silence_value: float  # the feature of digital silence before normalisation
    cuts_exactly: bool

    def __init__(self, options: LogMelOptions | KaldiFbankOptions):
        super().__init__()
        self.settings, self.name = options, options.name
        self.n_fft = options.fft_size(options.window)

    def _keep(self, window: Tensor, banks: Tensor) -> None:
        """Keep the analysis window and the mel banks (n_fft / 2 + 1, mel), which are not weights."""
        if self.settings.sample_rate != self.settings.reference_rate:
            banks = (banks.double() * self._levels()[:, None]).to(banks.dtype)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("mel", banks, persistent=False)
        self._groups = list(_groups(banks))  # for the CPU alone

    def _levels(self) -> Tensor:
        """Return (n_fft / 2 + 1,) float64: the power of a sound at the reference rate over that at this rate.

        A window of the same seconds has more samples at a higher rate, and so a larger sum; and where bins are closer
        together, a mel band has more of them.
        """
        o = self.settings
        bin_hz = o.sample_rate / self.n_fft
        reference_bin_hz = o.reference_rate / o.fft_size(round(o.window_s * o.reference_rate))
        level = (o.reference_rate / o.sample_rate) ** 2 * bin_hz / reference_bin_hz
        return torch.full((self.n_fft // 2 + 1,), level, dtype=torch.float64)

    def options(self) -> dict[str, object]:
        """Return the plain dict from which `build_frontend` makes this front end again."""
        return {"name": self.name, **asdict(self.settings)}

    @property
    def sample_rate(self) -> int:
        """Samples a second of the waveforms."""
        return self.settings.sample_rate

    @property
    def n_mels(self) -> int:
        """Mel bands, the last axis of the features."""
        return self.settings.n_mels

    @property
    def silence(self) -> float:
        """The feature value of digital silence, normalised as the features are: what fills the ends of short clips."""
        return self._normalised(self.silence_value)

    def fill_value(self, fill: str | float | None = None) -> float:
        """Return the feature value of masks and of what a short clip lacks.

        Args:
            fill: `silence` (or None), that of digital silence; `psla`, as in PSLA's code, 0 before normalisation, which
                is (0 - mean) / std after it, louder than most sounds; or the value itself.
        """
        if fill is None or fill == "silence":
            return self.silence
        if fill == "psla":
            return self._normalised(0.0)
        if isinstance(fill, (str, bool)) or not abs(fill) <= torch.finfo(torch.float32).max:
            raise InputError(f"{fill!r} is neither a finite number nor one of: {', '.join(FILLS)}", "fill")
        return float(fill)

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames F of a waveform of `n_samples` samples (0: too short)."""
        raise NotImplementedError

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return features `(B, F, mel)` float32 of waveforms `(B, T)`.

        Raises:
            InputError: not a two-dimensional floating-point tensor, or shorter than one window.
        """
        if waveforms.ndim != 2 or not waveforms.is_floating_point():
            given = f"{tuple(waveforms.shape)} {str(waveforms.dtype).removeprefix('torch.')}"
            raise InputError(f"waveforms must be (clips, samples) of floating point, found {given}", self.name)
        if waveforms.shape[1] < self.min_samples:
            rule = f"waveforms need {self.min_samples} samples or more, found {waveforms.shape[1]}"
            raise InputError(rule, self.name, "Pad them with zeros.")
        with torch.autocast(waveforms.device.type, enabled=False):
            waveforms = waveforms.float()
            needs_gradient = waveforms.requires_grad and torch.is_grad_enabled()
            if waveforms.device.type == "cpu" and not needs_gradient:
                with torch.no_grad():
                    return self._in_place(waveforms)
            n_clips = max(1, CHUNK_SAMPLES // waveforms.shape[1])
            pieces = waveforms.split(n_clips) if len(waveforms) > n_clips else [waveforms]
            features = [self._finished(self._mel_power(piece)) for piece in pieces]
            return features[0] if len(features) == 1 else torch.cat(features)

    def windows(
        self, waveforms: Tensor, bounds: Iterable[Iterable[int]], features: Tensor | None = None
    ) -> list[Tensor]:
        """Return the features `(B, F_w, mel)` of windows of waveforms `(B, T)`, as if each were a waveform by itself.

        On the CPU they are equal to those to the last bit, on an accelerator to rounding.

        Args:
            bounds: (W, 2) first sample and end of each window (`pseudolabel.scores.windows.window_bounds`). One that is
                shorter than `min_samples` gets zeros at its end.
            features: those of the whole waveforms, if computed before; several scales may share them. Only a front end
                that cuts exactly uses them, or the whole waveforms.
        """
        windows = []
        for start, end in (map(int, pair) for pair in bounds):
            length, hop = end - start, self.settings.hop
            if not self.cuts_exactly or start % hop or length < self.min_samples:
                short = max(0, self.min_samples - length)
                windows.append(self(nn.functional.pad(waveforms[:, start:end], (0, short))))
                continue
            if features is None:
                features = self(waveforms)
            windows.append(features[:, start // hop : start // hop + self.n_frames(length)])
        return windows

    def to_power(self, features: Tensor) -> Tensor:
        """Return the mel powers `(B, F, mel)` that features were made from; those under the floor are the floor."""
        o = self.settings
        return self._expand(features.float() if o.mean is None else features.float() * o.std + o.mean)

    def from_power(self, power: Tensor) -> Tensor:
        """Return the features `(B, F, mel)` of mel powers."""
        return self._finished(power.float().clone())

    def _mel_power(self, waveforms: Tensor) -> Tensor:
        """Return mel powers (B, F, mel): on any device, differentiable."""
        frames = self._with_ends(waveforms).unfold(1, len(self.window), self.settings.hop)
        parts = torch.view_as_real(torch.fft.rfft(self._windowed(frames), n=self.n_fft)).square()
        return (parts[..., 0] + parts[..., 1]) @ self.mel

    def _in_place(self, waveforms: Tensor) -> Tensor:
        """Return features (B, F, mel) by the same operations on memory that every clip uses again."""
        n_frames = self.n_frames(waveforms.shape[1])
        features = waveforms.new_empty(len(waveforms), n_frames, self.n_mels)
        memory = _Memory(n_frames, len(self.window), self.n_fft, self.n_mels)
        for waveform, whole in zip(waveforms, features, strict=True):
            frames = self._with_ends(waveform[None])[0].unfold(0, len(self.window), self.settings.hop)
            for first in range(0, n_frames, PIECE_FRAMES):
                self._mel_power_into(memory.mel[first:], frames[first : first + PIECE_FRAMES], memory)
            self._finished(memory.mel[None, :n_frames], out=whole[None])
        return features

    def _mel_power_into(self, mel: Tensor, frames: Tensor, memory: _Memory) -> None:
        """Write the mel powers of F frames, up to PIECE_FRAMES, to `mel` (F or more, mel)."""
        n = len(frames)
        self._windowed_into(frames, memory)
        squares = torch.view_as_real(torch.fft.rfft(memory.frames[:n])).flatten(1).square_()
        torch.add(squares[:, ::2], squares[:, 1::2], out=memory.power[:n])
        rows = _whole_rows(n)
        for bins, bands, weights in self._groups:
            torch.mm(memory.power[:rows, bins], weights, out=mel[:rows, bands])

    def _finished(self, power: Tensor, out: Tensor | None = None) -> Tensor:
        """Return features (B, F, mel) of mel powers, which may be overwritten; in `out` if given."""
        features, options = self._compress(power, out), self.settings
        if options.mean is None:
            return features
        return torch.div(torch.sub(features, options.mean, out=out), options.std, out=out)

    def _normalised(self, value: float) -> float:
        options = self.settings
        return value if options.mean is None else (value - options.mean) / options.std


class LogMel(FrontEnd):
    """PSL: Hann window, power spectrum, mel bands, decibels with a floor `top_db` under the clip's maximum.

    The published code takes that maximum over the batch, so that a score can depend on its neighbours; here it is the
    clip's own. Frames are centred: frame f looks at the samples around `f * hop`, mirrored at the ends.
    """

    silence_value = 10.0 * math.log10(POWER_FLOOR)
    cuts_exactly = False  # the ends are mirrored, and the floor is the clip's

    def __init__(self, options: LogMelOptions | None = None):
        from torchaudio.functional import melscale_fbanks

        o = options or LogMelOptions()
        super().__init__(o)
        self.min_samples = -(-self.n_fft // 2) + 1
        self.ends = (self.n_fft // 2, self.min_samples - 1)  # samples that are mirrored, left and right
        banks = melscale_fbanks(self.n_fft // 2 + 1, o.f_min, o.f_max or o.sample_rate / 2, o.n_mels, o.sample_rate)
        self._keep(torch.hann_window(self.n_fft), banks)

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames F of a waveform of `n_samples` samples (0: too short)."""
        return n_samples // self.settings.hop + 1 if n_samples >= self.min_samples else 0

    def _with_ends(self, waveforms: Tensor) -> Tensor:
        return nn.functional.pad(waveforms, self.ends, mode="reflect")

    def _windowed(self, frames: Tensor) -> Tensor:
        return frames * self.window

    def _windowed_into(self, frames: Tensor, memory: _Memory) -> None:
        torch.mul(frames, self.window, out=memory.frames[: len(frames)])

    def _compress(self, power: Tensor, out: Tensor | None) -> Tensor:
        decibels = torch.mul(power.clamp_(min=POWER_FLOOR).log10_(), 10.0, out=out)
        if self.settings.top_db is None:
            return decibels
        return torch.maximum(decibels, decibels.amax(dim=(1, 2), keepdim=True) - self.settings.top_db, out=out)

    def _expand(self, decibels: Tensor) -> Tensor:
        return torch.pow(10.0, decibels / 10)


class KaldiFbank(FrontEnd):
    """Kaldi's filter-bank features as PSLA and AST use them: `(B, 1 + (T - window) // hop, mel)` natural logarithms.

    Per frame: mean removed, pre-emphasis, symmetric Hann window, FFT at the next power of two, power, mel bands
    (HTK formula), logarithm. No energy, no dither, no padding.

    A band that is far quieter than its neighbours holds little but the rounding of the samples before the FFT. So each
    of those steps rounds where torchaudio's does: the mean leaves every frame before its pre-emphasis, although the two
    commute, and the product of the latter is rounded before it is subtracted (`sub` with `alpha` would not).
    """

    silence_value = math.log(KALDI_FLOOR)
    cuts_exactly = True  # at multiples of the hop: no frame looks beyond its own samples

    def __init__(self, options: KaldiFbankOptions | None = None):
        from torchaudio.compliance.kaldi import get_mel_banks

        o = options or KaldiFbankOptions()
        super().__init__(o)
        self.min_samples = o.window
        f_max = o.f_max or o.sample_rate / 2
        banks, _ = get_mel_banks(o.n_mels, self.n_fft, o.sample_rate, o.f_min, f_max, 100.0, -500.0, 1.0)
        self._keep(torch.hann_window(o.window, periodic=False), nn.functional.pad(banks, (0, 1)).T.contiguous())

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames F of a waveform of `n_samples` samples (0: too short)."""
        o = self.settings
        return 1 + (n_samples - o.window) // o.hop if n_samples >= o.window else 0

    def _levels(self) -> Tensor:
        o = self.settings
        hertz = torch.arange(self.n_fft // 2 + 1, dtype=torch.float64) * o.sample_rate / self.n_fft
        wanted = _emphasis(o.preemphasis, hertz.clamp(max=o.reference_rate / 2) / o.reference_rate)
        done = _emphasis(o.preemphasis, hertz / o.sample_rate)
        return super()._levels() * torch.where(done > 0, wanted / done, 1.0)

    def _with_ends(self, waveforms: Tensor) -> Tensor:
        return waveforms

    def _windowed(self, frames: Tensor) -> Tensor:
        centred = frames - frames.mean(dim=-1, keepdim=True)
        emphasised = centred[..., 1:] - centred[..., :-1] * self.settings.preemphasis
        # A frame's first sample has no predecessor, but the symmetric window multiplies it by 0.
        return nn.functional.pad(emphasised * self.window[1:], (1, 0))

    def _windowed_into(self, frames: Tensor, memory: _Memory) -> None:
        n = len(frames)
        centred = torch.sub(frames, frames.mean(dim=1, keepdim=True), out=memory.centred[:n])
        emphasised = memory.frames[:n, 1 : len(self.window)]
        torch.mul(centred[:, :-1], self.settings.preemphasis, out=emphasised)
        torch.sub(centred[:, 1:], emphasised, out=emphasised).mul_(self.window[1:])

    def _compress(self, power: Tensor, out: Tensor | None) -> Tensor:
        return torch.log(power.clamp_(min=KALDI_FLOOR), out=out)

    def _expand(self, logarithms: Tensor) -> Tensor:
        return torch.exp(logarithms)


class _Memory:
    """Memory for each step of a clip of `n_frames` frames; what is not written stays 0."""

    def __init__(self, n_frames: int, window: int, n_fft: int, n_mels: int):
        n, n_bins = min(n_frames, PIECE_FRAMES), n_fft // 2 + 1
        self.centred, self.frames = torch.empty(n, window), torch.zeros(n, n_fft)
        self.power, self.mel = torch.zeros(_whole_rows(n), n_bins), torch.empty(_whole_rows(n_frames), n_mels)


def _emphasis(coefficient: float, cycles: Tensor) -> Tensor:
    """Return the power gain of x[t] - coefficient * x[t - 1] for tones of so many cycles a sample."""
    return 1 + coefficient**2 - 2 * coefficient * torch.cos(2 * math.pi * cycles)


def _whole_rows(n: int) -> int:
    return -(-n // WHOLE_ROWS) * WHOLE_ROWS


def _groups(banks: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield (bins, bands, weights): neighbouring bands, the bins that any of them needs, and that part of the banks."""
    for first in range(0, banks.shape[1], GROUP_MELS):
        bands = slice(first, min(first + GROUP_MELS, banks.shape[1]))
        needed = banks[:, bands].any(dim=1).nonzero()
        start, end = (int(needed[0]), int(needed[-1]) + 1) if len(needed) else (0, 1)
        yield slice(start, end), bands, banks[start:end, bands].contiguous()


FRONT_ENDS = {LogMelOptions: LogMel, KaldiFbankOptions: KaldiFbank}


def build_frontend(options: Mapping[str, object]) -> FrontEnd:
    """Return the front end that `options` describes: `name` and any field of its options class.

    Lengths in samples (`hop`, `n_fft`, `window`), from configs of earlier versions, give their features.

    Raises:
        InputError: the name or a field is unknown, or values do not fit together.
    """
    settings = front_end_options(options)
    return FRONT_ENDS[type(settings)](settings)
