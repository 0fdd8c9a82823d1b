"""What this machine can do, stage by stage.

    python -m pseudolabel.bench labels
    python -m pseudolabel.bench labels --labels balanced_train_segments.csv unbalanced_train_segments.csv
    python -m pseudolabel.bench audio --threads 1 2
    python -m pseudolabel.bench score --models mobilenetv2 --width 0.25
    python -m pseudolabel.bench train --teachers efficientnet_b2

labels: reads label lists (none: a list of the size of AudioSet is drawn), draws scores for them once, and times
reading, thresholds, proposals and writing beside a plain loop over the clips. What was drawn stays in the folder
WORK/bench/labels for the next run: 4.4 GB of scores for two million clips.

audio: times both front ends beside torchaudio's, ClipStore beside one HDF5 object per clip, rows of a ScoreStore, and
`prepare` beside decoding and resampling alone. It draws up to 1.3 GB at a time in WORK/bench/audio/drawn, and removes
them.

score: scores drawn clips with untrained models at every scale, beside the models alone with everything in memory, and
shows that memory does not depend on how many clips there are.

train: times training steps with stored targets beside steps that run the teacher, the training loop and how long it
waits for audio of each codec, and whole models beside the rate at which the device multiplies matrices.

A table goes to the terminal, the same as JSON to WORK/bench/NAME/report.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pseudolabel import dry_run
from pseudolabel.artefacts import write_json
from pseudolabel.benchmarks.measure import Report
from pseudolabel.cli import (
    choose_device,
    import_torch,
    non_negative,
    positive,
    positive_int,
    run_verb,
    verb_parser,
    vocabulary_source,
)
from pseudolabel.cores import allowed_cores
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.models import check_name
from pseudolabel.ownership import begins_with, refuse_foreign_file
from pseudolabel.plan_checks import check_device, check_vocabulary
from pseudolabel.records import run_record
from pseudolabel.temporaries import scratch_folder


def bench_labels(args: argparse.Namespace) -> Report:
    """Time reading, thresholds, proposals and writing of label lists."""
    from pseudolabel.benchmarks.labels import LabelsBenchmark

    vocabulary, ontology = Vocabulary.load(vocabulary_source(args)), Ontology.load(args.ontology)
    folder = args.work / "bench" / "labels"
    n_clips = args.clips or N_CLIPS["labels"]
    return LabelsBenchmark(args.labels or (), vocabulary, ontology, folder, args.share, n_clips).run()


def bench_audio(args: argparse.Namespace) -> Report:
    """Time front ends and stores beside what others use."""
    import_torch()
    from pseudolabel.benchmarks.audio import AudioBenchmark

    folder = args.work / "bench" / "audio" / "drawn"
    with scratch_folder(folder) as scratch:
        return AudioBenchmark(scratch, args.clips or N_CLIPS["audio"], args.threads or [1, 2]).run()


def bench_score(args: argparse.Namespace) -> Report:
    """Time the scoring of clips beside the models alone, and stored targets beside a teacher at work."""
    threads = args.threads[-1] if args.threads else allowed_cores()
    device = choose_device(args.device, threads)
    from pseudolabel.benchmarks.score import ScoreBenchmark

    on_gpu = device.type == "cuda"
    models = args.models or (ON_GPU if on_gpu else ON_CPU)
    n_clips = args.clips or (ON_GPU_CLIPS if on_gpu else N_CLIPS["score"])
    with scratch_folder(args.work / "bench" / "score" / "drawn") as scratch:
        return ScoreBenchmark(scratch, n_clips, models, args.width, device, threads).run()


def bench_train(args: argparse.Namespace) -> Report:
    """Time training steps beside those with a teacher in them, and beside what the device can do."""
    threads = args.threads[-1] if args.threads else allowed_cores()
    device = choose_device(args.device, threads)
    from pseudolabel.benchmarks.train import TrainBenchmark

    on_gpu = device.type == "cuda"
    models, n_steps = args.models or (ON_GPU if on_gpu else ON_CPU), args.steps or N_STEPS[device.type]
    with scratch_folder(args.work / "bench" / "train" / "drawn") as scratch:
        return TrainBenchmark(scratch, n_steps, args.teachers, models, on_gpu, args.width, device, threads).run()


BENCHMARKS = {"labels": bench_labels, "audio": bench_audio, "score": bench_score, "train": bench_train}
N_CLIPS = {"labels": 2_063_949, "audio": 2_000, "score": 48}
ON_GPU_CLIPS = 2_064
ON_CPU, ON_GPU = ("mobilenetv2",), ("mobilenetv2", "efficientnet_b2", "ast_base")  # what is measured by itself
N_STEPS = {"cpu": 16, "cuda": 200}


REPORT = begins_with('{\n  "benchmark"'), "a report"


def output_of(args: argparse.Namespace) -> Path:
    """Return the file to write."""
    return args.out or args.work / "bench" / args.benchmark / "report.json"


def plan(args: argparse.Namespace) -> str:
    """Return what a dry run says of the report, after checking what can be known."""
    path = output_of(args)
    dry_run.refuse_absent(*(args.labels or ()), args.ontology)
    for name in (*(args.models or ()), *args.teachers):
        check_name(name)
    check_device(args.device)
    if args.benchmark == "labels":
        check_vocabulary(vocabulary_source(args))
    dry_run.refuse_output(path, args.overwrite, lambda: refuse_foreign_file(path, args.overwrite, *REPORT))
    return f"would write {path}: the benchmark {args.benchmark}"


def run(args: argparse.Namespace) -> None:
    """Run the benchmark, print its table, write it as JSON."""
    path = output_of(args)
    refuse_foreign_file(path, args.overwrite, *REPORT)
    report = BENCHMARKS[args.benchmark](args)
    options = {name: value for name, value in vars(args).items() if name not in ("work", "overwrite", "debug")}
    record = run_record("bench", options, [])
    write_json(path, {**report.as_json(), "command": record["command"], "commit": record["commit"]})
    print("\n".join([*report.lines(), str(path)]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb; return its exit code."""
    parser = verb_parser("bench", __doc__)
    add = parser.add_argument
    add("benchmark", choices=BENCHMARKS)
    add("--out", type=Path, metavar="JSON", help="where the figures go (default: WORK/bench/NAME/report.json)")
    add("--clips", type=positive_int, metavar="N", help="labels: size of a drawn list (default: 2063949); audio: clips "
        "of 10 s in each store, and ten times as many of 1 s (default: 2000)")  # fmt: skip
    labels = parser.add_argument_group("labels").add_argument
    labels("--labels", nargs="+", type=Path, metavar="LIST", help="label lists (default: one is drawn)")
    labels("--vocabulary", help="audioset, fsd50k, esc50 or a CSV file (default: WORK/vocabulary.csv, else audioset)")
    labels("--ontology", type=Path, help="ontology table or published ontology.json (default: AudioSet's)")
    labels("--share", type=non_negative, default=0.373, help="labels that 25p adds for each that is there, by which "
           "scores are drawn (default: 0.373, as PSLA's on AudioSet)")  # fmt: skip
    several = parser.add_argument_group("audio, score and train").add_argument
    several("--threads", nargs="+", type=positive_int, metavar="N", help="CPU threads: of the front ends one number "
            "after the other (default: 1 2), of models the last (default: the cores it may use)")  # fmt: skip
    models = parser.add_argument_group("score and train").add_argument
    models("--models", nargs="+", metavar="NAME", help="networks that are measured by themselves (default: "
           "mobilenetv2; on a GPU also efficientnet_b2 and ast_base)")  # fmt: skip
    models("--width", type=positive, default=1.0, help="of MobileNetV2 (default: 1)")
    models("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    train = parser.add_argument_group("train").add_argument
    train("--teachers", nargs="+", metavar="NAME", default=["efficientnet_b2", "mobilenetv2"], help="networks that "
          "make targets in the step (default: efficientnet_b2 mobilenetv2)")  # fmt: skip
    train("--steps", type=positive_int, metavar="N", help="of an epoch of the loop (default: 16; on a GPU: 200)")
    return run_verb(parser, run, argv, plan)


if __name__ == "__main__":
    raise SystemExit(main())
