"""Front ends: waveforms to log-mel features, in batches, on the device of the model.

`LogMel` is PSL's front end, `KaldiFbank` that of PSLA and AST. Both take `(B, T)` samples in [-1, 1] and return
`(B, F, mel)`, always float32. The features of a clip depend on that clip alone: not on its neighbours in a batch and,
on the CPU, not on the number of threads.

Options are in seconds and Hz, and a sound has nearly the same features at any sample rate: window and hop are rounded
to whole samples, and levels and pre-emphasis are those at `reference_rate`.

Windows of clips: if a frame's features depend only on its own samples (`KaldiFbank`), a window that begins at a
multiple of the hop has exactly the clip's frames at that time, so `windows` cuts them out of the clip's features.
Otherwise it computes each window separately: `LogMel` mirrors the ends and sets its floor by the clip's maximum.
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

POWER_FLOOR = 1e-10  # LogMel: digital silence is -100 dB
KALDI_FLOOR = torch.finfo(torch.float32).eps  # KaldiFbank: digital silence is log(eps) = -15.94
CHUNK_SAMPLES = 1 << 24  # on an accelerator, samples per step: bounds the memory of the spectra
PIECE_FRAMES = 1024  # on the CPU, frames per step: their spectra fit the cache
WHOLE_ROWS = 64  # matrix products use a multiple of this many rows; some libraries round leftover rows differently
GROUP_MELS = 16  # bands per matrix product, which covers only the bins they need
FILLS = ("silence", "psla")


class FrontEnd(nn.Module):
    """Base of both front ends: checks, float32 under autocast, spectra, mel bands, normalisation, windows.

    A subclass defines how the ends are padded (`_with_ends`), how a frame is prepared for its spectrum (`_windowed`,
    and `_windowed_into`, the same operations on allocated memory), and how mel powers are compressed (`_compress`,
    which may overwrite them, and its inverse `_expand`).

    Attributes:
        min_samples: length of the shortest input that gives a frame.
        n_fft: length of the FFT in samples.
        cuts_exactly: whether the features of a window can be cut out of its clip's.
    """

    silence_value: float  # the feature of digital silence before normalisation
    cuts_exactly: bool

    def __init__(self, options: LogMelOptions | KaldiFbankOptions):
        super().__init__()
        self.settings, self.name = options, options.name
        self.n_fft = options.fft_size(options.window)

    def _keep(self, window: Tensor, banks: Tensor) -> None:
        """Register the analysis window and the mel banks (n_fft / 2 + 1, mel) as buffers that are not saved."""
        if self.settings.sample_rate != self.settings.reference_rate:
            banks = (banks.double() * self._levels()[:, None]).to(banks.dtype)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("mel", banks, persistent=False)
        self._groups = list(_groups(banks))  # for the CPU only

    def _levels(self) -> Tensor:
        """Return (n_fft / 2 + 1,) float64: a sound's power at the reference rate divided by its power at this rate.

        At a higher rate, a window of equal duration has more samples and so a larger sum, and where bins are closer
        together, a mel band has more of them.
        """
        o = self.settings
        bin_hz = o.sample_rate / self.n_fft
        reference_bin_hz = o.reference_rate / o.fft_size(round(o.window_s * o.reference_rate))
        level = (o.reference_rate / o.sample_rate) ** 2 * bin_hz / reference_bin_hz
        return torch.full((self.n_fft // 2 + 1,), level, dtype=torch.float64)

    def options(self) -> dict[str, object]:
        """Return the plain dict from which `build_frontend` rebuilds this front end."""
        return {"name": self.name, **asdict(self.settings)}

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms in Hz."""
        return self.settings.sample_rate

    @property
    def n_mels(self) -> int:
        """Number of mel bands, the last axis of the features."""
        return self.settings.n_mels

    @property
    def silence(self) -> float:
        """The normalised feature value of digital silence; it fills the ends of short clips."""
        return self._normalised(self.silence_value)

    def fill_value(self, fill: str | float | None = None) -> float:
        """Return the feature value that fills masks and the missing end of a short clip.

        Args:
            fill: `silence` (or None), the value of digital silence; `psla`, as in PSLA's code, 0 before normalisation,
                so (0 - mean) / std after it, louder than most sounds; or the value itself.
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
        """Return the features `(B, F_w, mel)` of windows of waveforms `(B, T)`, as if each window were a waveform.

        They match the features of separate waveforms to the last bit on the CPU, and up to rounding on an accelerator.

        Args:
            bounds: (W, 2) first sample and end of each window (`pseudolabel.scores.windows.window_bounds`). Windows
                shorter than `min_samples` are zero-padded.
            features: features of the whole waveforms, if already computed; several scales may share them. Ignored
                unless the front end cuts exactly.
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
        """Invert features to their mel powers `(B, F, mel)`; powers below the floor come back as the floor."""
        o = self.settings
        return self._expand(features.float() if o.mean is None else features.float() * o.std + o.mean)

    def from_power(self, power: Tensor) -> Tensor:
        """Return the features `(B, F, mel)` of mel powers."""
        return self._finished(power.float().clone())

    def _mel_power(self, waveforms: Tensor) -> Tensor:
        """Return mel powers (B, F, mel); works on any device and is differentiable."""
        frames = self._with_ends(waveforms).unfold(1, len(self.window), self.settings.hop)
        parts = torch.view_as_real(torch.fft.rfft(self._windowed(frames), n=self.n_fft)).square()
        return (parts[..., 0] + parts[..., 1]) @ self.mel

    def _in_place(self, waveforms: Tensor) -> Tensor:
        """Return features (B, F, mel) by the same operations, in memory reused for every clip."""
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
        """Return the features (B, F, mel) of mel powers, which may be overwritten; in `out` if given."""
        features, options = self._compress(power, out), self.settings
        if options.mean is None:
            return features
        return torch.div(torch.sub(features, options.mean, out=out), options.std, out=out)

    def _normalised(self, value: float) -> float:
        options = self.settings
        return value if options.mean is None else (value - options.mean) / options.std


class LogMel(FrontEnd):
    """PSL's front end: Hann window, power spectrum, mel bands, decibels floored `top_db` below the clip's maximum.

    The published code takes the maximum over the batch, so a score can depend on the clip's neighbours; here it is the
    clip's own. Frames are centred: frame f covers the samples around `f * hop`, mirrored at the ends.
    """

    silence_value = 10.0 * math.log10(POWER_FLOOR)
    cuts_exactly = False  # the ends are mirrored, and the floor depends on the whole clip

    def __init__(self, options: LogMelOptions | None = None):
        from torchaudio.functional import melscale_fbanks

        o = options or LogMelOptions()
        super().__init__(o)
        self.min_samples = -(-self.n_fft // 2) + 1
        self.ends = (self.n_fft // 2, self.min_samples - 1)  # samples mirrored, left and right
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
    """Kaldi's filter-bank features as used by PSLA and AST: `(B, 1 + (T - window) // hop, mel)` natural logarithms.

    Per frame: mean removal, pre-emphasis, symmetric Hann window, FFT at the next power of two, power, mel bands
    (HTK formula), logarithm. No energy, dither or padding.

    A band far quieter than its neighbours contains little but rounding errors of the samples before the FFT. Each step
    therefore rounds as torchaudio's does: the mean is removed from every frame before pre-emphasis, although the two
    commute, and the pre-emphasis product is rounded before it is subtracted (`sub` with `alpha` would not).
    """

    silence_value = math.log(KALDI_FLOOR)
    cuts_exactly = True  # at multiples of the hop: a frame depends only on its own samples

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
    """Memory for each step of a clip of `n_frames` frames; the padding of FFT frames and matrix rows stays 0."""

    def __init__(self, n_frames: int, window: int, n_fft: int, n_mels: int):
        n, n_bins = min(n_frames, PIECE_FRAMES), n_fft // 2 + 1
        self.centred, self.frames = torch.empty(n, window), torch.zeros(n, n_fft)
        self.power, self.mel = torch.zeros(_whole_rows(n), n_bins), torch.empty(_whole_rows(n_frames), n_mels)


def _emphasis(coefficient: float, cycles: Tensor) -> Tensor:
    """Return the power gain of x[t] - coefficient * x[t - 1] for tones of `cycles` cycles per sample."""
    return 1 + coefficient**2 - 2 * coefficient * torch.cos(2 * math.pi * cycles)


def _whole_rows(n: int) -> int:
    return -(-n // WHOLE_ROWS) * WHOLE_ROWS


def _groups(banks: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield (bins, bands, weights): neighbouring bands, the bins they need, and that part of the banks."""
    for first in range(0, banks.shape[1], GROUP_MELS):
        bands = slice(first, min(first + GROUP_MELS, banks.shape[1]))
        needed = banks[:, bands].any(dim=1).nonzero()
        start, end = (int(needed[0]), int(needed[-1]) + 1) if len(needed) else (0, 1)
        yield slice(start, end), bands, banks[start:end, bands].contiguous()


FRONT_ENDS = {LogMelOptions: LogMel, KaldiFbankOptions: KaldiFbank}


def build_frontend(options: Mapping[str, object]) -> FrontEnd:
    """Build the front end that `options` describes: `name` and any fields of its options class.

    Lengths in samples (`hop`, `n_fft`, `window`), from configs of earlier versions, reproduce their features.

    Raises:
        InputError: the name or a field is unknown, or the values are inconsistent.
    """
    settings = front_end_options(options)
    return FRONT_ENDS[type(settings)](settings)
