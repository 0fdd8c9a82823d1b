"""Measure the path from audio to features: front ends beside torchaudio's, stores beside one HDF5 object per clip.

Rivals take turns for several rounds, and the best round of each counts, so that other load on the machine affects all
of them. Files are read from the system's cache, where they have just been written: this measures the cost of finding
and copying a clip, not the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
import torchaudio

from pseudolabel.audio.clips import FULL_SCALE, ClipStore, ClipTable, write_clips
from pseudolabel.audio.frontend import FrontEnd, KaldiFbank, LogMel
from pseudolabel.benchmarks.measure import Report, Stage, rivals
from pseudolabel.benchmarks.preparing import decode_beside_prepare, memory_of_prepare
from pseudolabel.scores.store import ScoreStore

RATE = 16_000  # Hz
CLIP_S = 10.0
SHORT_S, N_SHORT = 1.0, 10  # length of short clips; how many there are for each whole clip
BATCH = 16  # clips per batch through a front end
PREPARED = 2  # 10 s recordings for `prepare` per 10 s clip in the stores
SHORT_FOR_MEMORY = 4  # a quarter as many short recordings are drawn to measure memory
ROUNDS = 7
COPIED_BYTES = 1 << 28
SEED = 0


@dataclass(frozen=True)
class AudioBenchmark:
    """What to measure.

    Args:
        folder: empty folder for drawn files.
        n_clips: number of 10 s clips in the compared stores; there are ten times as many 1 s clips and rows of scores.
        threads: numbers of CPU threads for the front ends.
    """

    folder: Path
    n_clips: int = 2_000
    threads: Sequence[int] = (1, 2)

    def run(self) -> Report:
        """Measure every stage; return the report."""
        report, before = Report("audio"), torch.get_num_threads()
        try:
            with torch.inference_mode():
                for number in self.threads:
                    torch.set_num_threads(number)
                    _front_ends(report, "1 thread" if number == 1 else f"{number} threads")
            for n_clips, seconds in ((N_SHORT * self.n_clips, SHORT_S), (self.n_clips, CLIP_S)):
                self._clip_stores(report, n_clips, seconds)
            self._score_rows(report)
            memory_of_prepare(report, self.folder / "short", max(self.n_clips // SHORT_FOR_MEMORY, 1))
            decode_beside_prepare(report, self.folder / "prepare", PREPARED * self.n_clips)
        finally:
            torch.set_num_threads(before)
        report.facts |= {
            "memory bandwidth": _bandwidth(), "torch": torch.__version__,
            "clips of the front ends": f"{BATCH} of {CLIP_S:g} s at {RATE} Hz",
        }  # fmt: skip
        return report

    def _clip_stores(self, report: Report, n_clips: int, seconds: float) -> None:
        """Read the same clips, (T,) float32, from a store and from a file with one dataset per clip."""
        ids = [f"clip{number:08d}" for number in range(n_clips)]
        what = f"{n_clips:,} clips of {seconds:g} s"
        store_path, objects_path, length = self.folder / "clips.h5", self.folder / "objects.h5", round(seconds * RATE)
        with report.stage(f"write a ClipStore: {what}", n_clips):
            sizes = [length] * n_clips, [2 * length] * n_clips
            chunks = (pcm.view(np.uint8) for pcm in _drawn_pcm(n_clips, length))
            write_clips(store_path, ClipTable(ids, ids, *sizes, RATE), chunks)
        with report.stage(f"write one object per clip: {what}", n_clips), h5py.File(objects_path, "w") as file:
            for clip_id, pcm in zip(ids, _drawn_pcm(n_clips, length), strict=True):
                file[clip_id] = pcm
        store, rng = ClipStore.open(store_path), np.random.default_rng(SEED)
        with h5py.File(objects_path, "r") as file:

            def from_object(clip_id: str) -> np.ndarray:
                return file[clip_id][:].astype(np.float32) / FULL_SCALE

            for order, some in (("sequential", ids), ("random", rng.permutation(ids).tolist())):
                some = some[: 2 * self.n_clips]
                theirs, ours = rivals(
                    report, len(some), "clips",
                    {f"one object per clip, {order}: {what}": lambda some=some: [from_object(i).size for i in some],
                     f"ClipStore, {order}: {what}": lambda some=some: [store.read(i).size for i in some]},
                    ROUNDS, warm_up=True,
                )  # fmt: skip
                ours.compare(theirs)
                ours.than, ours.note, theirs.note = "one object per clip", _each(ours), _each(theirs)
        store_path.unlink()
        objects_path.unlink()

    def _score_rows(self, report: Report) -> None:
        n_clips, n_classes = N_SHORT * self.n_clips, 527
        rng, path = np.random.default_rng(SEED), self.folder / "scores.h5"
        ids, classes = [f"clip{number:08d}" for number in range(n_clips)], [f"class{k}" for k in range(n_classes)]
        ScoreStore.write(path, ids, classes, {2: rng.random((n_clips, 5, n_classes), np.float32)})
        scores, rows = ScoreStore.open(path).scores(2), rng.permutation(n_clips).tolist()
        (stage,) = rivals(
            report, n_clips, "rows",
            {f"random row of a ScoreStore, {n_clips:,} x 5 x {n_classes}":
             lambda: [np.array(scores[row]).size for row in rows]},
            ROUNDS, warm_up=True,
        )  # fmt: skip
        stage.note = _each(stage)
        path.unlink()


def _front_ends(report: Report, threads: str) -> None:
    """Compare both front ends, in batches and clip by clip, and show what the FFT alone takes."""
    waveforms = 0.1 * torch.randn(BATCH, round(CLIP_S * RATE), generator=torch.Generator().manual_seed(SEED))
    to_power = torchaudio.transforms.MelSpectrogram(RATE, n_fft=512, hop_length=160, n_mels=64)
    to_decibels = torchaudio.transforms.AmplitudeToDB(top_db=120)
    for front_end, name, reference in (
        (KaldiFbank(), "torchaudio.compliance.kaldi.fbank", kaldi_fbank),
        (LogMel(), "torchaudio.transforms.MelSpectrogram", lambda waveform: to_decibels(to_power(waveform)).T),
    ):
        ours_name = type(front_end).__name__
        theirs, ours, floor = rivals(
            report, BATCH, "clips",
            {f"{name}, {threads}": lambda reference=reference: [reference(waveform) for waveform in waveforms],
             f"{ours_name}, {threads}": lambda front_end=front_end: front_end(waveforms),
             f"FFT of {ours_name} alone, {threads}": _fft_alone(front_end, waveforms)},
            ROUNDS, warm_up=True,
        )  # fmt: skip
        ours.compare(theirs)
        ours.than, ours.note = "torchaudio", f"{100 * floor.seconds / ours.seconds:.0f} % of it is the FFT"
        apart = (front_end(waveforms) - torch.stack([reference(waveform) for waveform in waveforms])).abs()
        report.facts[f"{ours_name}, {threads}"] = (
            f"{100 * float((apart <= 1e-4).float().mean()):.3f} % within 1e-4 of torchaudio's"
        )


def kaldi_fbank(waveform: torch.Tensor) -> torch.Tensor:
    """Return torchaudio's features (F, 128) of one clip, with the settings of PSLA and AST."""
    return torchaudio.compliance.kaldi.fbank(
        waveform[None], htk_compat=True, sample_frequency=RATE, use_energy=False, window_type="hanning",
        num_mel_bins=128, dither=0.0, frame_shift=10,
    )  # fmt: skip


def _fft_alone(front_end: FrontEnd, waveforms: torch.Tensor) -> Callable[[], object]:
    frames = torch.randn(front_end.n_frames(waveforms.shape[1]), front_end.n_fft)
    return lambda: [torch.fft.rfft(frames) for _ in waveforms]


def _drawn_pcm(n_clips: int, length: int) -> Iterator[np.ndarray]:
    """Yield clips (T,) int16, pieces of the same noise: drawing is not what is measured."""
    rng = np.random.default_rng(SEED)
    pcm = rng.integers(-3_000, 3_000, 2 * length, dtype=np.int16)
    for start in rng.integers(0, length, n_clips):
        yield pcm[start : start + length]


def _bandwidth() -> str:
    """Return the speed of copying memory, counting bytes read and bytes written."""
    source, target = np.ones(COPIED_BYTES, np.uint8), np.empty(COPIED_BYTES, np.uint8)
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return f"{2 * COPIED_BYTES / min(seconds) / 1e9:.1f} GB/s, one thread"


def _each(stage: Stage) -> str:
    return f"{1e6 * stage.seconds / stage.items:.1f} us each"
