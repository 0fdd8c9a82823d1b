"""Measure what this machine can do, stage by stage.

    python -m pseudolabel.bench labels
    python -m pseudolabel.bench labels --labels balanced_train_segments.csv unbalanced_train_segments.csv
    python -m pseudolabel.bench audio --threads 1 2
    python -m pseudolabel.bench score --models mobilenetv2 --width 0.25
    python -m pseudolabel.bench train --teachers efficientnet_b2
    python -m pseudolabel.bench metrics

`labels` reads label lists (by default it draws one the size of AudioSet), draws scores for them once, and times
reading, thresholds, proposals and writing beside a plain loop over the clips. Drawn files stay in WORK/bench/labels
for the next run: 4.4 GB of scores for two million clips.

`audio` times both front ends beside torchaudio's, ClipStore beside one HDF5 object per clip, rows of a ScoreStore, and
`prepare` beside decoding and resampling alone. It draws up to 1.3 GB at a time in WORK/bench/audio/drawn, and deletes
it afterwards.

`score` scores drawn clips with untrained models at every scale, beside the models alone with everything in memory, and
shows that memory does not grow with the number of clips.

`train` times training steps with stored targets beside steps that run the teacher, the training loop and its waits for
audio of each codec, and whole models beside the device's rate of matrix multiplication.

`metrics` times all metrics of drawn scores beside scikit-learn's average precision alone, and 1,000 draws of the clips.

The table is printed, and written as JSON to WORK/bench/NAME/report.json.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from pseudolabel import dry_run
from pseudolabel.artefacts import write_json
from pseudolabel.benchmarks.measure import Report
from pseudolabel.cli import choose_device, import_torch, vocabulary_source
from pseudolabel.command import Command, run_command
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.models.networks import find_network
from pseudolabel.options import COUNT, NON_NEGATIVE, POSITIVE, PROCESSES, DeviceOptions, VerbOptions, option
from pseudolabel.ownership import has_keys, refuse_foreign_file
from pseudolabel.plan_checks import check_device, check_lists, check_vocabulary
from pseudolabel.records import run_record
from pseudolabel.temporaries import scratch_folder

ON_CPU, ON_GPU = ("mobilenetv2",), ("mobilenetv2", "efficientnet_b2", "ast_base")  # networks measured alone
CLIPS = {"cpu": 48, "cuda": 2_064}
STEPS = {"cpu": 16, "cuda": 200}
REPORT = has_keys("benchmark", "machine", "stages"), "a report", (".json",)


@dataclass(frozen=True, kw_only=True)
class BenchOptions(VerbOptions):
    """Options of every benchmark."""

    out: Path | None = option(None, "where the figures go (default: WORK/bench/NAME/report.json)", metavar="JSON")


@dataclass(frozen=True, kw_only=True)
class LabelsBenchOptions(BenchOptions):
    """Which label lists to read and enhance."""

    labels: tuple[Path, ...] = option((), "label lists (default: one is drawn)", metavar="LIST")
    clips: int = option(2_063_949, "size of a drawn list", COUNT, needs="!labels", metavar="N")
    vocabulary: str | None = option(
        None, "audioset, fsd50k, esc50 or a CSV file (default: WORK/vocabulary.csv, else audioset)"
    )
    ontology: Path | None = option(None, "ontology table or published ontology.json (default: AudioSet's)")
    share: float = option(
        0.373,
        "labels that 25p adds for each given one, by which scores are drawn; default: 0.373, PSLA's on AudioSet",
        NON_NEGATIVE,
    )


@dataclass(frozen=True, kw_only=True)
class AudioBenchOptions(BenchOptions):
    """How much audio to draw."""

    clips: int = option(2_000, "clips of 10 s in each store, and ten times as many of 1 s", COUNT, metavar="N")
    threads: tuple[int, ...] = option((1, 2), "numbers of CPU threads to time the front ends with", PROCESSES)


@dataclass(frozen=True, kw_only=True)
class ModelBenchOptions(BenchOptions, DeviceOptions):
    """Which networks to run, and where."""

    models: tuple[str, ...] = option(
        (), "networks measured by themselves (default: mobilenetv2; on a GPU also efficientnet_b2 and ast_base)"
    )
    width: float = option(1.0, "of MobileNetV2", POSITIVE)


@dataclass(frozen=True, kw_only=True)
class ScoreBenchOptions(ModelBenchOptions):
    """How many clips to score."""

    clips: int | None = option(None, "clips that are drawn (default: 48; on a GPU 2064)", COUNT, metavar="N")


@dataclass(frozen=True, kw_only=True)
class TrainBenchOptions(ModelBenchOptions):
    """How long to train, and which teachers make targets within the step."""

    teachers: tuple[str, ...] = option(("efficientnet_b2", "mobilenetv2"), "networks that make targets in the step")
    steps: int | None = option(None, "of an epoch of the loop (default: 16; on a GPU 200)", COUNT, metavar="N")


@dataclass(frozen=True, kw_only=True)
class MetricsBenchOptions(BenchOptions):
    """How many scores to draw, and how often their clips."""

    clips: int = option(20_371, "clips (default: 20371, AudioSet's evaluation list)", COUNT, metavar="N")
    classes: int = option(527, "classes", COUNT, metavar="K")
    resamples: int = option(1000, "draws of the clips", COUNT, metavar="D")


def bench_labels(options: LabelsBenchOptions) -> Report:
    """Time reading, thresholds, proposals and writing of label lists."""
    from pseudolabel.benchmarks.labels import LabelsBenchmark

    vocabulary, ontology = Vocabulary.load(vocabulary_source(options)), Ontology.load(options.ontology)
    folder = options.work / "bench" / "labels"
    return LabelsBenchmark(
        options.labels, vocabulary, ontology, folder, options.share, options.clips, options.ontology
    ).run()


def bench_audio(options: AudioBenchOptions) -> Report:
    """Time front ends and stores beside what others use."""
    import_torch()
    from pseudolabel.benchmarks.audio import AudioBenchmark

    with scratch_folder(options.work / "bench" / "audio" / "drawn") as scratch:
        return AudioBenchmark(scratch, options.clips, options.threads).run()


def bench_score(options: ScoreBenchOptions) -> Report:
    """Time scoring beside the models alone, and stored targets beside a teacher at work."""
    device = choose_device(options.device, options.threads)
    from pseudolabel.benchmarks.score import ScoreBenchmark

    models = options.models or (ON_GPU if device.type == "cuda" else ON_CPU)
    n_clips = options.clips or CLIPS[device.type]
    with scratch_folder(options.work / "bench" / "score" / "drawn") as scratch:
        return ScoreBenchmark(scratch, n_clips, models, options.width, device, options.threads).run()


def bench_train(options: TrainBenchOptions) -> Report:
    """Time training steps beside steps that run a teacher, and beside what the device can do."""
    device = choose_device(options.device, options.threads)
    from pseudolabel.benchmarks.train import TrainBenchmark

    on_gpu = device.type == "cuda"
    models, n_steps = options.models or (ON_GPU if on_gpu else ON_CPU), options.steps or STEPS[device.type]
    with scratch_folder(options.work / "bench" / "train" / "drawn") as scratch:
        return TrainBenchmark(
            scratch, n_steps, options.teachers, models, on_gpu, options.width, device, options.threads
        ).run()


def bench_metrics(options: MetricsBenchOptions) -> Report:
    """Time the metrics beside scikit-learn, and their resamples."""
    from pseudolabel.benchmarks.metrics import MetricsBenchmark

    return MetricsBenchmark(options.clips, options.classes, options.resamples).run()


def output_of(name: str, options: BenchOptions) -> Path:
    """Return the file to write."""
    return options.out or options.work / "bench" / name / "report.json"


def plan(name: str, options: BenchOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about the report."""
    path = output_of(name, options)
    if isinstance(options, LabelsBenchOptions):
        dry_run.refuse_absent(*options.labels, options.ontology)
        check_vocabulary(vocabulary_source(options))
        check_lists(None, *options.labels)
    if isinstance(options, ModelBenchOptions):
        for network in (*options.models, *getattr(options, "teachers", ())):
            find_network(network)
        check_device(options.device)
    dry_run.refuse_output(path, options.overwrite, lambda: refuse_foreign_file(path, options.overwrite, *REPORT))
    return f"would write {path}: the benchmark {name}"


def bench(name: str, measure: Callable[[BenchOptions], Report], options: BenchOptions) -> None:
    """Run a benchmark, print its table and write it as JSON."""
    path = output_of(name, options)
    refuse_foreign_file(path, options.overwrite, *REPORT)
    report = measure(options)
    record = run_record("bench", asdict(options), [])
    write_json(path, {**report.as_json(), "command": record["command"], "commit": record["commit"]})
    print("\n".join([*report.lines(), str(path)]))


COMMANDS = {
    name: Command(kind, partial(bench, name, measure), partial(plan, name))
    for name, kind, measure in (
        ("labels", LabelsBenchOptions, bench_labels),
        ("audio", AudioBenchOptions, bench_audio),
        ("score", ScoreBenchOptions, bench_score),
        ("train", TrainBenchOptions, bench_train),
        ("metrics", MetricsBenchOptions, bench_metrics),
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb; return its exit code."""
    return run_command("bench", __doc__, COMMANDS, argv, needed=True)


if __name__ == "__main__":
    raise SystemExit(main())
