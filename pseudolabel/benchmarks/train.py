"""Time training: stored targets beside a teacher at work, waits for audio, the device's own matrix rate.

The clips are noise, the targets drawn, the models untrained; none of this affects the time.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pseudolabel.audio.clips import CODECS, ClipStore
from pseudolabel.benchmarks.measure import Report, rivals
from pseudolabel.benchmarks.score import CLIP_S, N_CLASSES, SAMPLE_RATE, draw_clips, untrained
from pseudolabel.models.tagger import Tagger
from pseudolabel.scores.store import ScoreStore
from pseudolabel.training.dataset import Examples, SoftTargets, window_examples
from pseudolabel.training.loop import Trainer
from pseudolabel.training.losses import soft_bce
from pseudolabel.training.options import TrainOptions
from pseudolabel.training.scoring import autocast, ready_to_score

STUDENT, WINDOW_S = "mobilenetv2", 2  # PSL-2s
BATCH_SIZE = 32  # windows per step
ROUNDS, ROUND_STEPS = 3, 4  # the fastest round counts; each has this many steps, or --steps if fewer
EPOCHS = 2  # the second is reported: in the first, threads and memory are still being set up
WHOLE_CLIPS = {"cpu": 4, "cuda": 64}  # per step, for comparing a model's rate with the device's
MATRIX = {"cpu": 1_024, "cuda": 8_192}  # rows and columns
MATRIX_TIMES = 8
SEED = 0


@dataclass(frozen=True)
class TrainBenchmark:
    """What to measure.

    Args:
        folder: empty folder for clips, targets and checkpoints.
        n_steps: steps per epoch of the training loop.
        teachers: networks that make targets within the step.
        models: networks whose rate is compared with the device's.
        compiled: also train each of these compiled.
        width: of every MobileNetV2.
        device, threads: where to run; threads apply to the CPU.
    """

    folder: Path
    n_steps: int
    teachers: Sequence[str]
    models: Sequence[str]
    compiled: bool
    width: float
    device: torch.device
    threads: int

    def run(self) -> Report:
        """Measure every stage; return the report."""
        report = Report("train")
        self._beside_teachers(report, self._examples("pcm16"))
        for codec in CODECS:
            self._loop(report, codec)
        self._beside_the_device(report)
        on_gpu = self.device.type == "cuda"
        report.facts |= {
            "student": f"{STUDENT} of width {self.width:g}, windows of {WINDOW_S} s, {BATCH_SIZE} a step",
            "device": torch.cuda.get_device_name(self.device) if on_gpu else "cpu",
            "threads": self.threads, "torch": torch.__version__, "precision": "bf16" if on_gpu else "float32",
        }  # fmt: skip
        return report

    def _clips(self, codec: str) -> ClipStore:
        windows = CLIP_S // WINDOW_S
        n_clips = -(-self.n_steps * BATCH_SIZE // windows)
        return draw_clips(self.folder / f"clips-{n_clips}.{codec}.h5", n_clips, CLIP_S, codec)

    def _examples(self, codec: str) -> Examples:
        """Return every window of the drawn clips with soft targets from a score store."""
        clips, path = self._clips(codec), self.folder / "targets.h5"
        shape, rng = (len(clips), CLIP_S // WINDOW_S, N_CLASSES), np.random.default_rng(SEED)
        classes = [f"class{k:03d}" for k in range(N_CLASSES)]
        ScoreStore.write(path, clips.clip_ids, classes, {WINDOW_S: rng.random(shape, np.float32)}, overwrite=True)
        rows, no_labels = np.arange(len(clips)), sparse.csr_array((len(clips), N_CLASSES), dtype=bool)
        length, columns = WINDOW_S * SAMPLE_RATE, np.arange(N_CLASSES)
        soft = SoftTargets(ScoreStore.open(path), rows, columns, WINDOW_S)
        return window_examples(clips, rows, no_labels, length, soft)

    def _tagger(self, name: str, compiled: bool = False) -> Tagger:
        tagger = untrained(name, self.width).to(self.device)
        ready_to_score([tagger], self.device, compiled)
        return tagger

    def _beside_teachers(self, report: Report, examples: Examples) -> None:
        """Compare steps with stored targets and steps in which a teacher makes them."""
        student, n_steps = self._tagger(STUDENT).train(), min(self.n_steps, ROUND_STEPS)
        optimizer = torch.optim.Adam(student.parameters())

        def steps(targets_of: Callable[[Tensor, Tensor], Tensor]) -> None:
            pieces = examples.order(SEED, 0)[: n_steps * BATCH_SIZE].reshape(n_steps, BATCH_SIZE)
            for piece in pieces:
                waveforms, stored = (torch.from_numpy(part).to(self.device) for part in examples.batch(piece)[:2])
                self._step(optimizer, student, waveforms, targets_of(waveforms, stored))
            self._wait()

        def answers_of(teacher: Tagger) -> Callable[[Tensor, Tensor], Tensor]:
            @torch.no_grad()
            def answers(waveforms: Tensor, stored: Tensor) -> Tensor:
                with autocast(self.device):
                    return teacher(waveforms).float()

            return answers

        tasks = {"step with stored targets": lambda: steps(lambda waveforms, stored: stored)}
        for name in self.teachers:
            teacher = self._tagger(name).eval()
            tasks[f"step with {name} as the teacher"] = lambda teacher=teacher: steps(answers_of(teacher))
        stored, *taught = rivals(report, n_steps * BATCH_SIZE, "windows", tasks, ROUNDS, warm_up=True)
        report.stages.remove(stored)
        for stage in taught:
            beside = replace(stored)
            beside.compare(stage)
            report.stages.insert(report.stages.index(stage) + 1, beside)

    def _loop(self, report: Report, codec: str) -> None:
        """Train through the loop that `train` uses, and report how long its steps waited for audio and targets."""
        examples, folder = self._examples(codec), self.folder / "run"
        options = TrainOptions(epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=1e-4)
        trainer = Trainer(untrained(STUDENT, self.width), examples, options, self.device, folder)
        with report.stage(f"training loop from {codec}", EPOCHS * len(examples), "windows") as stage:
            trainer.run()
        last = trainer.history[-1]
        waiting, rate = 100 * float(last["waiting_share"]), float(last["pieces_per_s"])
        stage.note = f"the device waits {waiting:.1f} % of the time; {rate:,.0f} windows/s in the last epoch"
        shutil.rmtree(folder)

    def _beside_the_device(self, report: Report) -> None:
        """Compare the computing rate of training steps with that of products of large matrices."""
        most = self._matrix_rate(report)
        batch = WHOLE_CLIPS[self.device.type]
        for name in self.models:
            for compiled in (False, True) if self.compiled else (False,):
                tagger = self._tagger(name, compiled).train()
                noise = torch.Generator().manual_seed(SEED)
                waveforms = 0.1 * torch.randn(batch, CLIP_S * SAMPLE_RATE, generator=noise)
                targets = torch.rand(batch, N_CLASSES, generator=noise).to(self.device)
                waveforms, optimizer = waveforms.to(self.device), torch.optim.Adam(tagger.parameters())
                if not compiled:
                    flops = self._flops(tagger, waveforms) / batch

                def steps(optimizer=optimizer, tagger=tagger, waveforms=waveforms, targets=targets) -> None:
                    for _ in range(min(self.n_steps, ROUND_STEPS)):
                        self._step(optimizer, tagger, waveforms, targets)
                    self._wait()

                title = f"train {name}{' compiled' if compiled else ''} on clips of {CLIP_S} s in memory"
                items = batch * min(self.n_steps, ROUND_STEPS)
                (stage,) = rivals(report, items, "clips", {title: steps}, ROUNDS, warm_up=True)
                share = 100 * flops * stage.rate / most
                stage.note = f"{flops / 1e9:,.1f} GFLOP each: {share:.1f} % of the rate of matrices"
        if not self.compiled:
            report.facts["compiled"] = "measured on a GPU only"

    def _matrix_rate(self, report: Report) -> float:
        """Return the rate of a matrix product in floating-point operations per second, in the precision of training."""
        size, on_gpu = MATRIX[self.device.type], self.device.type == "cuda"
        matrix = torch.randn(size, size, device=self.device, dtype=torch.bfloat16 if on_gpu else torch.float32)
        product = torch.empty_like(matrix)

        def multiply() -> None:
            for _ in range(MATRIX_TIMES):
                torch.mm(matrix, matrix, out=product)
            self._wait()

        what = f"{'bf16' if on_gpu else 'float32'} products of {size:,} x {size:,} matrices"
        (stage,) = rivals(report, MATRIX_TIMES, "products", {what: multiply}, ROUNDS, warm_up=True)
        stage.note = f"{2 * size**3 * stage.rate / 1e12:.3g} TFLOP/s"
        return 2 * size**3 * stage.rate

    def _flops(self, tagger: Tagger, waveforms: Tensor) -> int:
        """Return the operations in one training step of the network: three times the forward pass, products and sums.

        The backward pass takes two products for each forward one; counting it directly would count grouped convolutions
        as ungrouped.
        """
        features = tagger.features(waveforms)
        with FlopCounterMode(display=False) as counter, torch.no_grad(), autocast(self.device):
            tagger.from_features(features)
        return 3 * counter.get_total_flops()

    def _step(self, optimizer: torch.optim.Optimizer, tagger: Tagger, waveforms: Tensor, targets: Tensor) -> None:
        with autocast(self.device):
            scores = tagger(waveforms)
        loss = soft_bce(scores, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def _wait(self) -> None:
        """Wait until the device has finished all its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
