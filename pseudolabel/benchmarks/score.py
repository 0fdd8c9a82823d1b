"""Time scoring: the whole pipeline beside the models alone, and whether memory depends on the number of clips.

The clips are noise and the models untrained; neither affects the time.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pseudolabel.audio.clips import ClipStore, ClipTable, encode, write_clips
from pseudolabel.benchmarks.measure import Report, rivals
from pseudolabel.benchmarks.preparing import flat
from pseudolabel.blocks import Blocks
from pseudolabel.models import save_model
from pseudolabel.models.tagger import Tagger, build_tagger
from pseudolabel.scores.windows import CLIP, window_name
from pseudolabel.scores.writing import ScoreLayout, write_scores
from pseudolabel.training.score_blocks import ScoringStats, count_windows, merged_blocks, score_blocks
from pseudolabel.training.scoring import Portion, Scorer, autocast, batches_of, read_portions, ready_to_score

SAMPLE_RATE, CLIP_S, N_CLASSES = 16_000, 10, 527
BURST_S = 0.5  # length of noise bursts that differ in loudness
SCALES = (CLIP, 10, 5, 2)
BLOCK_SIZE = 24  # clips; fewer than the verb's, so that a small number of clips makes several blocks
BATCH_SIZE = 32
ROUNDS = 3  # the fastest round counts: other work on the machine only adds time
MEMORY_CLIPS, MEMORY_CLIP_S, MEMORY_WIDTH = 480, 1, 0.1
SEED = 0


def draw_clips(path: Path, n_clips: int, seconds: float, codec: str = "pcm16") -> ClipStore:
    """Return a store of noise clips, bursts that differ in loudness; it is made once."""
    if not path.exists():
        rng, n_samples = np.random.default_rng(SEED), round(seconds * SAMPLE_RATE)
        clip_ids, burst = [f"clip{number:06d}" for number in range(n_clips)], round(BURST_S * SAMPLE_RATE)

        def drawn() -> Iterator[np.ndarray]:
            for _ in clip_ids:
                loudness = np.repeat(rng.uniform(0.001, 1, n_samples // burst), burst)
                yield encode(loudness * rng.uniform(-1, 1, n_samples), codec, SAMPLE_RATE)

        chunks, n_bytes = drawn(), [2 * n_samples] * n_clips
        if codec != "pcm16":
            chunks = list(chunks)
            n_bytes = [len(chunk) for chunk in chunks]
        lengths = [n_samples] * n_clips
        write_clips(
            path, ClipTable(clip_ids, clip_ids, lengths, n_bytes, SAMPLE_RATE, codec, "drawn at random"), chunks
        )
    return ClipStore.open(path)


def untrained(name: str, width: float) -> Tagger:
    """Return an untrained model; `width` applies to a MobileNetV2."""
    torch.manual_seed(SEED)
    options = {"width": width} if name == "mobilenetv2" else {}
    return build_tagger({"name": name, "class_ids": [f"class{k:03d}" for k in range(N_CLASSES)], "options": options})


@dataclass(frozen=True)
class ScoreBenchmark:
    """What to measure.

    Args:
        folder: empty folder for clips, models and scores.
        n_clips: number of 10 s clips.
        models: names of networks.
        width: of MobileNetV2.
        device, threads: where to run; threads apply to the CPU.
    """

    folder: Path
    n_clips: int
    models: Sequence[str]
    width: float
    device: torch.device
    threads: int

    def run(self) -> Report:
        """Measure every model; return the report."""
        report = Report("score")
        clips = draw_clips(self.folder / f"clips-{self.n_clips}.h5", self.n_clips, CLIP_S)
        for name in self.models:
            tagger = self._model(name)
            self._beside_the_model_alone(report, name, tagger, clips)
            self._scale_by_scale(report, name, tagger, clips)
        self._command(report, clips)
        self._memory(report)
        report.facts |= {
            "clips": f"{self.n_clips} of {CLIP_S} s, {clips.codec}, {N_CLASSES} classes, drawn at random",
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "threads": self.threads, "batch size": BATCH_SIZE, "torch": torch.__version__,
            "precision": "bf16" if self.device.type == "cuda" else "float32",
        }  # fmt: skip
        return report

    def _model(self, name: str, width: float | None = None) -> Tagger:
        tagger = untrained(name, width or self.width).eval()
        save_model(self.folder / name, tagger)
        tagger.to(self.device)
        ready_to_score([tagger], self.device)
        return tagger

    def _beside_the_model_alone(self, report: Report, name: str, tagger: Tagger, clips: ClipStore) -> None:
        """Compare the pipeline at all scales with the same batches already in the device's memory."""
        scorer, works = Scorer([tagger], self.device, BATCH_SIZE), []
        waveforms = [batch for portion in self._blocks_of(clips) for batch in self._batches(scorer, portion)]
        with torch.inference_mode():
            features = [tagger.features(batch) for batch in waveforms]
        tasks = {
            f"{name} alone, features in memory": lambda: self._forward(tagger.from_features, features),
            f"front end and {name}, waveforms in memory": lambda: self._forward(tagger, waveforms),
            f"score with {name}, all scales": lambda: works.append(self._pipeline(tagger, clips, SCALES)),
        }
        self._forward(tagger, waveforms[:1])  # warm up: the first call is slower
        network, model, whole = rivals(report, self.n_clips, "clips", tasks, ROUNDS)
        whole.compare(model)
        shares = [f"{100 * whole.rate / stage.rate:.1f} % of the rate of {stage.name}" for stage in (network, model)]
        report.facts[whole.name] = "; ".join(shares)
        whole.note = f"the device waits {100 * min(work.waiting_share for work in works):.1f} % of the time"

    def _scale_by_scale(self, report: Report, name: str, tagger: Tagger, clips: ClipStore) -> None:
        works: list[ScoringStats] = []
        for scale in SCALES[1:]:  # a clip of 10 s is its own window of 10 s
            title = f"score with {name}, {window_name(scale)}"
            works.clear()
            task = {title: lambda scale=scale: works.append(self._pipeline(tagger, clips, [scale]))}
            (stage,) = rivals(report, self.n_clips, "clips", task, 1)
            stage.note = f"the device waits {100 * works[0].waiting_share:.1f} % of the time"

    def _blocks_of(self, clips: ClipStore) -> Iterator[Portion]:
        for first in range(0, self.n_clips, BLOCK_SIZE):
            yield from read_portions(clips, np.arange(first, min(first + BLOCK_SIZE, self.n_clips)), SCALES)

    def _batches(self, scorer: Scorer, portion: Portion) -> Iterator[Tensor]:
        """Yield the batches of waveforms that a scorer makes of a portion, on the device."""
        begins = portion.offsets[portion.pieces.clip] + portion.pieces.start
        for batch in batches_of(portion.pieces.length, scorer.batch_samples):
            length = int(portion.pieces.length[batch[0]])
            waveforms = torch.stack([portion.audio[begin : begin + length] for begin in begins[batch].tolist()])
            yield (waveforms.float() / portion.full_scale).to(self.device)

    @torch.inference_mode()
    def _forward(self, model: Callable[[Tensor], Tensor], batches: Sequence[Tensor]) -> None:
        for batch in batches:
            with autocast(self.device):
                model(batch)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _pipeline(self, tagger: Tagger, clips: ClipStore, windows: Sequence[str | float]) -> ScoringStats:
        """Score all clips from one store into another."""
        out, rows = self.folder / "scores.h5", np.arange(len(clips))
        blocks = Blocks(out, len(clips), BLOCK_SIZE, {"windows": list(windows)}, restart=True)
        scorer = Scorer([tagger], self.device, BATCH_SIZE)
        work = score_blocks(blocks, blocks.unfinished(), scorer, clips, rows, windows)
        counts = count_windows(windows, clips.n_samples, SAMPLE_RATE)
        layout = ScoreLayout.of_windows(clips.clip_ids, tagger.config["class_ids"], counts)
        write_scores(out, layout, merged_blocks(blocks, layout.shapes), overwrite=True)
        blocks.remove()
        return work

    def _memory(self, report: Report) -> None:
        """Score a few short clips with a very small model, then four times as many."""
        tagger = self._model("mobilenetv2", MEMORY_WIDTH)
        for number, title in ((MEMORY_CLIPS, ""), (MEMORY_CLIPS, "memory: score"), (4 * MEMORY_CLIPS, "memory: score")):
            path = self.folder / "short.h5"
            path.unlink(missing_ok=True)
            clips = draw_clips(path, number, MEMORY_CLIP_S)
            with report.stage(f"{title} {number:,} clips of {MEMORY_CLIP_S:g} s", number):
                self._pipeline(tagger, clips, SCALES)
            path.unlink()
        del report.stages[-3]  # the first run allocates what later runs reuse
        flat(report)

    def _command(self, report: Report, clips: ClipStore) -> None:
        command = [sys.executable, "-m", "pseudolabel.score", "--overwrite", "--clips", str(clips.path)]
        command += ["--run", str(self.folder / self.models[0]), "--out", str(self.folder / "scores.h5")]
        command += ["--device", str(self.device), "--threads", str(self.threads), "--batch-size", str(BATCH_SIZE)]
        with report.stage(f"the whole command with {self.models[0]}, all scales", self.n_clips) as stage:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        stage.peak_bytes = None  # of another process
        stage.note = "from the shell; start-up included"
