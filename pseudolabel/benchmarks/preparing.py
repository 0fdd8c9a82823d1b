"""`prepare` beside its bound: as many processes that only decode and resample the same recordings.

Both start their processes each time, and both timings include it. This module imports nothing slow, because each
process that only decodes imports it.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

from pseudolabel.audio.clip_blocks import BLOCK_SIZE, collect, complete_store, decode_all
from pseudolabel.audio.clips import ClipTable
from pseudolabel.audio.encoding import ClipOptions
from pseudolabel.audio.files import AudioSource
from pseudolabel.benchmarks.measure import Report, rivals
from pseudolabel.blocks import Blocks

RATE, FILE_RATE = 16_000, 44_100  # Hz: of the store, and of most files decoded for it
N_DIFFERENT = 16  # different recordings; the rest are links to these
N_PROCESSES = 2
LONG_S, SHORT_S = 10.0, 0.5  # of the timed recordings, and of those whose number is what might affect memory
ROUNDS = 3
SEED = 0


def draw_recordings(folder: Path, n_files: int, seconds: float) -> list[Path]:
    """Return FLAC files: N_DIFFERENT drawn ones, and links to them."""
    folder.mkdir(parents=True)
    paths, rng = [folder / f"{number:06d}.flac" for number in range(n_files)], np.random.default_rng(SEED)
    for number, path in enumerate(paths):
        if number < N_DIFFERENT:
            samples = np.cumsum(rng.standard_normal(round(seconds * FILE_RATE)))  # brown: compresses like recordings
            soundfile.write(path, 0.5 * samples / np.abs(samples).max(), FILE_RATE, subtype="PCM_16")
            continue
        try:
            os.link(paths[number % N_DIFFERENT], path)
        except OSError:  # no links here
            shutil.copyfile(paths[number % N_DIFFERENT], path)
    return paths


def decode(paths: Sequence[Path]) -> None:
    """Decode recordings and resample them from FILE_RATE to RATE; discard the result."""
    for path in paths:
        soxr.resample(soundfile.read(path, dtype="float32")[0], FILE_RATE, RATE)


def decode_alone(paths: Sequence[Path], n_processes: int) -> None:
    """Decode recordings with several processes, in blocks as `prepare` does."""
    blocks = [paths[start : start + BLOCK_SIZE] for start in range(0, len(paths), BLOCK_SIZE)]
    with ProcessPoolExecutor(n_processes, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(decode, blocks))


def decode_beside_prepare(report: Report, folder: Path, n_clips: int) -> None:
    """Compare both commands from the shell; their time on hardly any audio shows the cost of starting up."""
    few = draw_recordings(folder / "few", BLOCK_SIZE + 1, SHORT_S)[0].parent  # two blocks: as many processes start
    many = draw_recordings(folder / "many", n_clips, LONG_S)[0].parent
    work, processes = folder / "work", str(N_PROCESSES)
    alone = [sys.executable, "-m", __spec__.name, processes]
    prepare = [
        sys.executable,
        "-m",
        "pseudolabel.prepare",
        "--processes",
        processes,
        "--work",
        str(work),
        "--overwrite",
    ]

    def run(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run([*command], check=True, stdout=subprocess.DEVNULL)

    with_few = rivals(report, 0, "clips", {"alone": run(*alone, str(few)),
                                           "prepare": run(*prepare, "--audio", str(few))}, ROUNDS)  # fmt: skip
    start_up = [stage.seconds for stage in with_few]
    del report.stages[-2:]
    bound, ours = rivals(report, n_clips, "clips", {
        f"decode and resample alone, {processes} processes": run(*alone, str(many)),
        f"prepare, {processes} processes": run(*prepare, "--audio", str(many))}, ROUNDS)  # fmt: skip
    ours.compare(bound)
    for stage, seconds in zip((bound, ours), start_up, strict=True):
        stage.peak_bytes, stage.note = None, f"from the shell; start-up of {seconds:.2f} s included"
    without = (bound.seconds - start_up[0]) / (ours.seconds - start_up[1])
    report.facts[ours.name] = (
        f"{100 * ours.ratio:.1f} % of the rate of decoding and resampling alone, start-up included in both; "
        f"{100 * without:.1f} % without it"
    )
    shutil.rmtree(folder)


def memory_of_prepare(report: Report, folder: Path, n_clips: int) -> None:
    """Make stores of `n_clips` and of four times as many clips, in one process whose memory is watched."""
    for number, title in ((n_clips, ""), (n_clips, "memory: prepare"), (4 * n_clips, "memory: prepare")):
        paths = draw_recordings(folder / "short", number, SHORT_S)
        with report.stage(f"{title} {number:,} clips of {SHORT_S:g} s", number):
            files = [(path.stem, AudioSource(path)) for path in paths]
            blocks = Blocks(folder / "clips.h5", number, BLOCK_SIZE, {})
            decode_all(files, blocks, ClipOptions(), 1)
            found = collect(blocks)
            sizes = found.n_samples, found.n_bytes
            complete_store(blocks, ClipTable(found.clip_ids, found.clip_ids, *sizes, RATE, crc32=found.crc32))
        shutil.rmtree(folder)
    del report.stages[-3]  # the first run allocates what later runs reuse
    flat(report)


def flat(report: Report) -> None:
    """Compare, in the last stage's note, its memory with that of the stage before, which had a quarter of the clips."""
    few, many = report.stages[-2:]
    if few.peak_bytes is not None:
        more = (many.peak_bytes - few.peak_bytes) / 1e6
        many.note = f"{more:+,.1f} MB for {many.items - few.items:,} clips more"


if __name__ == "__main__":
    decode_alone(sorted(Path(sys.argv[2]).iterdir()), int(sys.argv[1]))
