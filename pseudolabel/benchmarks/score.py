"""How fast clips are scored: the whole pipeline beside the models alone, and stored targets beside a teacher at work.

The clips are noise, the models untrained: neither changes how long anything takes.
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

from pseudolabel.audio.clips import FULL_SCALE, ClipStore, encode_pcm16, write_clips
from pseudolabel.benchmarks.measure import Report, Stage
from pseudolabel.blocks import Blocks
from pseudolabel.models import save_model
from pseudolabel.models.tagger import Tagger, build_tagger
from pseudolabel.scores.store import ScoreStore, write_scores
from pseudolabel.scores.windows import CLIP, window_name
from pseudolabel.training.losses import soft_bce
from pseudolabel.training.score_blocks import Work, layout, merge, score_blocks
from pseudolabel.training.scoring import Portion, Scorer, autocast, batches_of, read_portions, ready_to_score

SAMPLE_RATE, CLIP_S, N_CLASSES = 16_000, 10, 527
BURST_S = 0.5  # noise of another loudness
SCALES = (CLIP, 10, 5, 2)
BLOCK_SIZE = 24  # clips; smaller than the verb's, so that few clips make several blocks
BATCH_SIZE = 32
ROUNDS = 3  # of which the fastest counts: other work on the machine only ever takes time
TRAIN_WINDOW_S, TRAIN_STEPS = 2, 4
SEED = 0


def draw_clips(path: Path, n_clips: int) -> ClipStore:
    """Return a store of clips of 10 s: bursts of noise, each of another loudness; made once."""
    if not path.exists():
        rng, n_samples = np.random.default_rng(SEED), CLIP_S * SAMPLE_RATE
        clip_ids, burst = [f"clip{number:06d}" for number in range(n_clips)], round(BURST_S * SAMPLE_RATE)

        def drawn() -> Iterator[np.ndarray]:
            for _ in clip_ids:
                loudness = np.repeat(rng.uniform(0.001, 1, n_samples // burst), burst)
                yield encode_pcm16(loudness * rng.uniform(-1, 1, n_samples))

        sizes = [n_samples] * n_clips, [2 * n_samples] * n_clips
        write_clips(path, clip_ids, clip_ids, *sizes, drawn(), SAMPLE_RATE, source="drawn at random")
    return ClipStore.open(path)


@dataclass(frozen=True)
class ScoreBenchmark:
    """What is measured.

    Args:
        folder: where clips, models and scores are written; clips stay for the next run.
        n_clips: clips of 10 s.
        models: names of networks; the first is also taught and teaches in the training steps.
        width: of MobileNetV2.
        device, threads: where they run; on the CPU, threads.
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
        clips = draw_clips(self.folder / f"clips-{self.n_clips}.h5", self.n_clips)
        for name in self.models:
            tagger = self._model(name)
            self._beside_the_model_alone(report, name, tagger, clips)
            self._scale_by_scale(report, name, tagger, clips)
        self._training_step(report, clips)
        self._command(report, clips)
        self.folder.joinpath("scores.h5").unlink(missing_ok=True)
        report.facts |= {
            "clips": f"{self.n_clips} of {CLIP_S} s, {clips.codec}, {N_CLASSES} classes, drawn at random",
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "threads": self.threads, "batch size": BATCH_SIZE, "torch": torch.__version__,
            "precision": "bf16" if self.device.type == "cuda" else "float32",
        }  # fmt: skip
        return report

    def _model(self, name: str) -> Tagger:
        torch.manual_seed(SEED)
        options = {"width": self.width} if name == "mobilenetv2" else {}
        config = {"name": name, "class_ids": [f"class{k:03d}" for k in range(N_CLASSES)], "options": options}
        tagger = build_tagger(config).eval()
        save_model(self.folder / name, tagger)
        tagger.to(self.device)
        ready_to_score([tagger], self.device)
        return tagger

    def _beside_the_model_alone(self, report: Report, name: str, tagger: Tagger, clips: ClipStore) -> None:
        """Compare the pipeline at all scales with the same batches that lie ready in the device's memory."""
        scorer, works = Scorer([tagger], self.device, BATCH_SIZE), []
        waveforms = [batch for portion in self._blocks_of(clips) for batch in self._batches(scorer, portion)]
        with torch.inference_mode():
            features = [tagger.features(batch) for batch in waveforms]
        tasks = {
            f"{name} alone, features in memory": lambda: self._forward(tagger.from_features, features),
            f"front end and {name}, waveforms in memory": lambda: self._forward(tagger, waveforms),
            f"score with {name}, all scales": lambda: works.append(self._pipeline(tagger, clips, SCALES)),
        }
        self._forward(tagger, waveforms[:1])  # the first call of all prepares more than later ones do
        network, model, whole = self._fastest(report, tasks)
        whole.compare(model)
        shares = [f"{100 * whole.rate / stage.rate:.1f} % of the rate of {stage.name}" for stage in (network, model)]
        report.facts[whole.name] = "; ".join(shares)
        whole.note = f"the device waits {100 * min(work.waiting_share for work in works):.1f} % of the time"

    def _scale_by_scale(self, report: Report, name: str, tagger: Tagger, clips: ClipStore) -> None:
        works: list[Work] = []
        for scale in SCALES[1:]:  # a clip of 10 s is its own window of 10 s
            title = f"score with {name}, {window_name(scale)}"
            works.clear()
            task = {title: lambda scale=scale: works.append(self._pipeline(tagger, clips, [scale]))}
            (stage,) = self._fastest(report, task, rounds=1)
            stage.note = f"the device waits {100 * works[0].waiting_share:.1f} % of the time"

    def _fastest(self, report: Report, tasks: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> list[Stage]:
        """Run the tasks in turns, and report the fastest run of each."""
        found: dict[str, list[Stage]] = {name: [] for name in tasks}
        for _ in range(rounds):
            for name, task in tasks.items():
                with report.stage(name, self.n_clips):
                    task()
                found[name].append(report.stages.pop())
        fastest = [min(stages, key=lambda stage: stage.seconds) for stages in found.values()]
        report.stages += fastest
        return fastest

    def _blocks_of(self, clips: ClipStore) -> Iterator[Portion]:
        for first in range(0, self.n_clips, BLOCK_SIZE):
            yield from read_portions(clips, np.arange(first, min(first + BLOCK_SIZE, self.n_clips)), SCALES)

    def _batches(self, scorer: Scorer, portion: Portion) -> Iterator[Tensor]:
        """Yield the batches of waveforms that a scorer makes of a portion, on the device."""
        begins = portion.offsets[portion.pieces.clip] + portion.pieces.start
        for batch in batches_of(portion.pieces.length, scorer.batch_samples):
            length = int(portion.pieces.length[batch[0]])
            waveforms = torch.stack([portion.audio[begin : begin + length] for begin in begins[batch].tolist()])
            yield (waveforms.float() / FULL_SCALE).to(self.device)

    @torch.inference_mode()
    def _forward(self, model: Callable[[Tensor], Tensor], batches: Sequence[Tensor]) -> None:
        for batch in batches:
            with autocast(self.device):
                model(batch)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _pipeline(self, tagger: Tagger, clips: ClipStore, windows: Sequence[str | float]) -> Work:
        """Score all clips from one store into another."""
        out, rows = self.folder / "scores.h5", np.arange(self.n_clips)
        blocks = Blocks(out, self.n_clips, BLOCK_SIZE, {"windows": list(windows)}, restart=True)
        scorer = Scorer([tagger], self.device, BATCH_SIZE)
        work = score_blocks(blocks, blocks.unfinished(), scorer, clips, rows, windows)
        shapes, counts = layout(windows, clips.n_samples, N_CLASSES, SAMPLE_RATE)
        class_ids = tagger.config["class_ids"]
        write_scores(out, clips.clip_ids, class_ids, shapes, counts, merge(blocks, shapes), overwrite=True)
        blocks.remove()
        return work

    def _training_step(self, report: Report, clips: ClipStore) -> None:
        """Compare training steps whose targets are stored with steps in which the teacher makes them."""
        self._pipeline(self._model(self.models[0]), clips, [TRAIN_WINDOW_S])
        scores = ScoreStore.open(self.folder / "scores.h5")
        stored, length = scores.scores(TRAIN_WINDOW_S), TRAIN_WINDOW_S * SAMPLE_RATE
        teacher, student = self._model(self.models[0]), self._model(self.models[0]).train()
        optimizer = torch.optim.Adam(student.parameters())
        rng = np.random.default_rng(SEED)

        def steps(targets_of: Callable[[np.ndarray, np.ndarray, Tensor], Tensor]) -> None:
            for _ in range(TRAIN_STEPS):
                rows, window = rng.integers(0, self.n_clips, BATCH_SIZE), rng.integers(0, stored.shape[1], BATCH_SIZE)
                waveforms = torch.from_numpy(clips.batch(rows, window * length, length)).to(self.device)
                targets = targets_of(rows, window, waveforms)
                with autocast(self.device):
                    loss = soft_bce(student(waveforms), targets)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)

        def from_the_store(rows: np.ndarray, window: np.ndarray, waveforms: Tensor) -> Tensor:
            return torch.from_numpy(stored[rows, window].astype(np.float32)).to(self.device)

        @torch.no_grad()
        def from_the_teacher(rows: np.ndarray, window: np.ndarray, waveforms: Tensor) -> Tensor:
            with autocast(self.device):
                return teacher(waveforms)

        what = f"{TRAIN_STEPS} training steps on windows of {TRAIN_WINDOW_S} s"
        tasks = {f"{what}, teacher at work": lambda: steps(from_the_teacher),
                 f"{what}, stored targets": lambda: steps(from_the_store)}  # fmt: skip
        at_work, from_store = self._fastest(report, tasks)
        for stage in (at_work, from_store):
            stage.items, stage.unit = TRAIN_STEPS * BATCH_SIZE, "windows"
        from_store.compare(at_work)

    def _command(self, report: Report, clips: ClipStore) -> None:
        command = [sys.executable, "-m", "pseudolabel.score", "--overwrite", "--clips", str(clips.path)]
        command += ["--run", str(self.folder / self.models[0]), "--out", str(self.folder / "scores.h5")]
        command += ["--device", str(self.device), "--threads", str(self.threads), "--batch-size", str(BATCH_SIZE)]
        with report.stage(f"the whole command with {self.models[0]}, all scales", self.n_clips) as stage:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        stage.peak_bytes = None  # of another process
        stage.note = "from the shell; start-up included"
