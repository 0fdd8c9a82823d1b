"""Front ends: waveforms to log-mel features, in batches, on the device of the model.

`LogMel` is PSL's front end, `KaldiFbank` that of PSLA and AST. Both take `(B, T)` samples in [-1, 1] and return
`(B, F, mel)`, always in float32, and what they say of a clip depends on that clip alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor, nn

from pseudolabel.errors import InputError, nearest

POWER_FLOOR = 1e-10  # LogMel: -100 dB, the answer to digital silence
KALDI_FLOOR = torch.finfo(torch.float32).eps  # KaldiFbank: log -> -15.94, the same
CHUNK_SAMPLES = 1 << 24  # on an accelerator, samples per step: bounds the memory that the spectra take


@dataclass(frozen=True)
class LogMelOptions:
    """PSL's values (papers, PSL section of the reference). Lengths are in samples, frequencies in Hz."""

    sample_rate: int = 16_000
    n_fft: int = 512  # window and FFT: 32 ms
    hop: int = 160  # 10 ms
    n_mels: int = 64
    f_min: float = 0.0
    f_max: float = 8_000.0
    top_db: float | None = 120.0  # floor under the clip's own maximum; None: no floor
    mean: float | None = None  # with `std`: features are (x - mean) / std
    std: float | None = None


@dataclass(frozen=True)
class KaldiFbankOptions:
    """PSLA's and AST's values. Lengths are in samples, frequencies in Hz."""

    sample_rate: int = 16_000
    window: int = 400  # 25 ms
    hop: int = 160  # 10 ms
    n_mels: int = 128
    f_min: float = 20.0
    f_max: float | None = None  # None: Nyquist
    preemphasis: float = 0.97
    mean: float | None = None  # with `std`: features are (x - mean) / std
    std: float | None = None


class FrontEnd(nn.Module):
    """What both front ends share: checks, float32 under autocast, normalisation, work in pieces that fit the cache."""

    name: str
    min_samples: int  # the shortest input that gives a frame

    def __init__(self, options: LogMelOptions | KaldiFbankOptions):
        super().__init__()
        self.settings = options
        if (options.mean is None) != (options.std is None):
            raise InputError(f"mean={options.mean} without std={options.std}", self.name, "Give both or neither.")
        if min(options.sample_rate, options.hop, options.n_mels) < 1 or (options.std or 1.0) <= 0:
            raise InputError("sample_rate, hop, n_mels and std must be positive", self.name)
        f_max = options.f_max or options.sample_rate / 2
        if not 0 <= options.f_min < f_max <= options.sample_rate / 2:
            rule = f"0 <= f_min < f_max <= half the sample rate, but f_min={options.f_min}, f_max={f_max}"
            raise InputError(f"{rule}, sample_rate={options.sample_rate}", self.name)

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
        """The feature value of digital silence, normalised as the features are: the fill for what is not there."""
        return self._normalised(self.silence_value)

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames F of a waveform of `n_samples` samples (0: too short)."""
        raise NotImplementedError

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return features `(B, F, mel)` float32 of waveforms `(B, T)`.

        Raises:
            InputError: not a two-dimensional floating-point tensor, or shorter than one window.
        """
        if waveforms.ndim != 2 or not waveforms.is_floating_point():
            found = f"{tuple(waveforms.shape)} {str(waveforms.dtype).removeprefix('torch.')}"
            raise InputError(f"waveforms must be (clips, samples) of floating point, found {found}", self.name)
        if waveforms.shape[1] < self.min_samples:
            rule = f"waveforms need {self.min_samples} samples or more, found {waveforms.shape[1]}"
            raise InputError(rule, self.name, "Pad them with zeros.")
        with torch.autocast(waveforms.device.type, enabled=False):
            waveforms = waveforms.float()
            # One clip's spectra fit a CPU's cache, and the same sums whatever the batch give the same bits.
            on_cpu = waveforms.device.type == "cpu"
            n_clips = 1 if on_cpu else max(1, CHUNK_SAMPLES // waveforms.shape[1])
            if len(waveforms) <= n_clips:
                return self._normalised(self._log_mel(waveforms))
            return torch.cat([self._normalised(self._log_mel(piece)) for piece in waveforms.split(n_clips)])

    def _normalised(self, features):
        options = self.settings
        return features if options.mean is None else (features - options.mean) / options.std


class LogMel(FrontEnd):
    """PSL: Hann window, power spectrum, mel bands, decibels with a floor `top_db` under the clip's maximum.

    The published code takes that maximum over the batch, so that a score can depend on its neighbours; here it is the
    clip's own. Frames are centred: frame f looks at the samples around `f * hop`, mirrored at the ends.
    """

    name = "log_mel"
    silence_value = 10.0 * math.log10(POWER_FLOOR)

    def __init__(self, options: LogMelOptions | None = None):
        super().__init__(options or LogMelOptions())
        from torchaudio.functional import melscale_fbanks

        o = self.settings
        self.min_samples = o.n_fft // 2 + 1
        self.register_buffer("window", torch.hann_window(o.n_fft), persistent=False)
        banks = melscale_fbanks(o.n_fft // 2 + 1, o.f_min, o.f_max, o.n_mels, o.sample_rate)
        self.register_buffer("mel", banks, persistent=False)  # (n_fft / 2 + 1, mel)

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames F of a waveform of `n_samples` samples (0: too short)."""
        return n_samples // self.settings.hop + 1 if n_samples >= self.min_samples else 0

    def _log_mel(self, waveforms: Tensor) -> Tensor:
        o = self.settings
        spectrum = torch.stft(waveforms, o.n_fft, o.hop, window=self.window, center=True, return_complex=True)
        power = _power(spectrum).transpose(1, 2)
        decibels = 10.0 * (power @ self.mel).clamp(min=POWER_FLOOR).log10()
        if o.top_db is None:
            return decibels
        return torch.maximum(decibels, decibels.amax(dim=(1, 2), keepdim=True) - o.top_db)


class KaldiFbank(FrontEnd):
    """Kaldi's filter-bank features as PSLA and AST use them: `(B, 1 + (T - window) // hop, mel)` natural logarithms.

    Per frame: mean removed, pre-emphasis, symmetric Hann window, FFT at the next power of two, power, mel bands
    (HTK formula), logarithm. No energy, no dither, no padding.
    """

    name = "kaldi_fbank"
    silence_value = math.log(KALDI_FLOOR)

    def __init__(self, options: KaldiFbankOptions | None = None):
        super().__init__(options or KaldiFbankOptions())
        from torchaudio.compliance.kaldi import get_mel_banks

        o = self.settings
        self.min_samples = o.window
        self.n_fft = 1 << (o.window - 1).bit_length()
        self.register_buffer("hann", torch.hann_window(o.window, periodic=False), persistent=False)
        f_max = o.f_max or o.sample_rate / 2
        banks, _ = get_mel_banks(o.n_mels, self.n_fft, o.sample_rate, o.f_min, f_max, 100.0, -500.0, 1.0)
        self.register_buffer("mel", nn.functional.pad(banks, (0, 1)).T.contiguous(), persistent=False)

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames F of a waveform of `n_samples` samples (0: too short)."""
        o = self.settings
        return 1 + (n_samples - o.window) // o.hop if n_samples >= o.window else 0

    def _log_mel(self, waveforms: Tensor) -> Tensor:
        o = self.settings
        means = waveforms.unfold(1, o.window, o.hop).mean(dim=2, keepdim=True)
        # Mean removal and pre-emphasis commute, so the waveform is emphasised once instead of frame by frame. The
        # first sample of a frame, which has no predecessor, is the one that the symmetric window multiplies by 0.
        emphasised = nn.functional.pad(waveforms[:, 1:] - o.preemphasis * waveforms[:, :-1], (1, 0))
        frames = emphasised.unfold(1, o.window, o.hop) - (1.0 - o.preemphasis) * means
        power = _power(torch.fft.rfft(frames * self.hann, n=self.n_fft))
        return (power @ self.mel).clamp(min=KALDI_FLOOR).log()


def _power(spectrum: Tensor) -> Tensor:
    """Return |spectrum| ** 2 without the square root that abs() takes."""
    return torch.view_as_real(spectrum).square().sum(dim=-1)


FRONT_ENDS = {"log_mel": (LogMel, LogMelOptions), "kaldi_fbank": (KaldiFbank, KaldiFbankOptions)}


def build_frontend(options: Mapping[str, object]) -> FrontEnd:
    """Return the front end that `options` describes: `name` and any field of its options class.

    Raises:
        InputError: the name or a field is unknown, or values do not fit together.
    """
    name = options.get("name")
    if name not in FRONT_ENDS:
        raise InputError(f"unknown front end {name!r}; known: {', '.join(FRONT_ENDS)}", "front_end")
    kind, options_class = FRONT_ENDS[name]
    known = [field.name for field in fields(options_class)]
    for field in options:
        if field != "name" and field not in known:
            close = nearest(field, known)
            rule = f"unknown option {field!r} of {name}"
            raise InputError(rule, "front_end", f"Nearest: {close}." if close else f"Known: {', '.join(known)}.")
    return kind(options_class(**{field: value for field, value in options.items() if field != "name"}))
