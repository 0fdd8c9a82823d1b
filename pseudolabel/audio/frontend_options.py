"""Front-end options: lengths in seconds, rates and frequencies in Hz; lengths in samples from earlier versions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import ClassVar

from pseudolabel.errors import InputError, nearest
from pseudolabel.options import Options

LONGEST_S = 1.0  # of windows and hops; a larger number was probably meant in samples
HIGHEST_RATE = 1_000_000  # Hz
MOST_WEIGHTS = 1 << 26  # of mel banks: 256 MiB


class _FrontEndOptions(Options):
    """Base of both front ends' options: checks, and lengths in whole samples."""

    name: ClassVar[str]
    in_samples: ClassVar[dict[str, tuple[str, int]]]  # of earlier versions: {option: (present name, default)}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)

    @property
    def window(self) -> int:
        """Window length in samples, rounded."""
        return round(self.window_s * self.sample_rate)

    @property
    def hop(self) -> int:
        """Samples between frames, rounded."""
        return round(self.hop_s * self.sample_rate)


@dataclass(frozen=True)
class LogMelOptions(_FrontEndOptions):
    """PSL's values. Lengths are in seconds, rates and frequencies in Hz."""

    name: ClassVar = "log_mel"
    in_samples: ClassVar = {"n_fft": ("window_s", 512), "hop": ("hop_s", 160)}

    sample_rate: int = 16_000
    window_s: float = 0.032  # window and FFT
    hop_s: float = 0.010
    n_mels: int = 64
    f_min: float = 0.0
    f_max: float | None = 8_000.0  # None: half the sample rate
    top_db: float | None = 120.0  # floor under the clip's own maximum; None: no floor
    mean: float | None = None  # with `std`: features are (x - mean) / std
    std: float | None = None
    reference_rate: int = 16_000  # levels are those of the sound at this rate

    def fft_size(self, window: int) -> int:
        """Return the FFT length for a window of that many samples: the same."""
        return window


@dataclass(frozen=True)
class KaldiFbankOptions(_FrontEndOptions):
    """PSLA's and AST's values. Lengths are in seconds, rates and frequencies in Hz."""

    name: ClassVar = "kaldi_fbank"
    in_samples: ClassVar = {"window": ("window_s", 400), "hop": ("hop_s", 160)}

    sample_rate: int = 16_000
    window_s: float = 0.025
    hop_s: float = 0.010
    n_mels: int = 128
    f_min: float = 20.0
    f_max: float | None = 8_000.0  # None: half the sample rate
    preemphasis: float = 0.97  # of samples at `reference_rate`
    mean: float | None = None  # with `std`: features are (x - mean) / std
    std: float | None = None
    reference_rate: int = 16_000  # levels and pre-emphasis are those of the sound at this rate

    def fft_size(self, window: int) -> int:
        """Return the FFT length for a window of that many samples: the next power of two."""
        return 1 << (window - 1).bit_length()


def _check(options: LogMelOptions | KaldiFbankOptions) -> None:
    """Raise InputError if options are not finite, out of range or inconsistent."""
    name = options.name
    for field, value in vars(options).items():
        if value is not None and not math.isfinite(value):
            raise InputError(f"{field} must be a finite number, not {value}", name)
    if (options.mean is None) != (options.std is None):
        raise InputError(f"mean={options.mean} without std={options.std}", name, "Give both or neither.")
    rates = options.sample_rate, options.reference_rate
    if min(*rates, options.hop_s, options.window_s, options.n_mels, options.std or 1.0) <= 0:
        raise InputError("sample_rate, window_s, hop_s, n_mels and std must be positive", name)
    if max(rates) > HIGHEST_RATE:
        raise InputError(f"sample_rate is {max(rates)} Hz, above {HIGHEST_RATE}", name)
    for field, samples in (("window_s", 2), ("hop_s", 1)):
        length_s = getattr(options, field)
        if not samples / min(rates) <= length_s + 0.5 / min(rates) <= LONGEST_S:
            rule = f"{field} is {length_s:g} s, which must be {samples} samples or more and at most {LONGEST_S:g} s"
            raise InputError(f"{rule}, sample_rate={min(rates)}", name, "It is in seconds.")
    top_db = getattr(options, "top_db", None)
    if top_db is not None and top_db <= 0:
        raise InputError(f"top_db must be positive, not {top_db:g}", name)
    if options.fft_size(options.window) * options.n_mels > MOST_WEIGHTS:
        raise InputError(f"{options.n_mels} bands of windows of {options.window_s:g} s are too many", name)
    f_max, nyquist = options.f_max or options.sample_rate / 2, options.sample_rate / 2
    if not 0 <= options.f_min < f_max <= nyquist:
        rule = f"0 <= f_min < f_max <= half the sample rate, but f_min={options.f_min}, f_max={f_max}"
        remedy = f"Give f_max={nyquist:g}." if f_max > nyquist > options.f_min else ""
        raise InputError(f"{rule}, sample_rate={options.sample_rate}", name, remedy)


OPTIONS = {kind.name: kind for kind in (LogMelOptions, KaldiFbankOptions)}


def of_an_earlier_version(options: Mapping[str, object]) -> dict[str, object]:
    """Convert options in samples to seconds; levels and pre-emphasis then refer to their own sample rate."""
    kind, rate = OPTIONS[options["name"]], options.get("sample_rate", LogMelOptions.sample_rate)
    mixed = {new for new, _ in kind.in_samples.values()} & options.keys()
    if mixed or not _is_number(rate) or rate <= 0:
        other = ", ".join(mixed) or f"sample_rate={rate}"
        raise InputError(f"lengths in samples beside {other}", "front_end", "Give all of them in seconds.")
    in_samples = {old: options.get(old, default) for old, (_, default) in kind.in_samples.items()}
    highest = {"f_max": None} if kind is KaldiFbankOptions else {}
    return {**highest, "reference_rate": rate, **lengths_in_seconds({**options, **in_samples}, rate)[0]}


def front_end_options(options: Mapping[str, object]) -> LogMelOptions | KaldiFbankOptions:
    """Return the options object for a mapping as `build_frontend` takes it.

    Raises:
        InputError: the name or a field is unknown, or the values are inconsistent.
    """
    name = options.get("name")
    if name not in OPTIONS:
        raise InputError(f"unknown front end {name!r}; known: {', '.join(OPTIONS)}", "front_end")
    kind = OPTIONS[name]
    names = [field.name for field in fields(kind)]
    for field in options:
        if field not in ("name", *names, *kind.in_samples):
            close = nearest(field, names)
            remedy = f"Nearest: {close}." if close else f"Known: {', '.join(names)}."
            raise InputError(f"unknown option {field!r} of {name}", "front_end", remedy)
    options = of_an_earlier_version(options) if kind.in_samples.keys() & options.keys() else options
    return kind(**{field: value for field, value in options.items() if field != "name"})


def lengths_in_seconds(options: Mapping[str, object], sample_rate: int) -> tuple[dict[str, object], str]:
    """Return a user's options with all lengths in seconds, and a message about lengths given in samples."""
    names = {old: new for kind in OPTIONS.values() for old, (new, _) in kind.in_samples.items()}
    given = {old: options[old] for old in names if old in options}
    taken = {old: value / sample_rate if _is_number(value) else value for old, value in given.items()}
    changes = ", ".join(f"{old}={given[old]} is taken as {names[old]}={length}" for old, length in taken.items())
    rest = {name: value for name, value in options.items() if name not in taken}
    line = f"front ends are given in seconds: {changes} (samples at {sample_rate} Hz)" if changes else ""
    return {**rest, **{names[old]: length for old, length in taken.items()}}, line


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
