"""What this machine can do, stage by stage.

    python -m pseudolabel.bench labels
    python -m pseudolabel.bench labels --labels balanced_train_segments.csv unbalanced_train_segments.csv
    python -m pseudolabel.bench audio --threads 1 2

labels: reads label lists (none: a list of the size of AudioSet is drawn), draws scores for them once, and times
reading, thresholds, proposals and writing beside a plain loop over the clips. What was drawn stays in the folder
WORK/bench/labels for the next run: 2.2 GB of scores for two million clips.

audio: times both front ends beside torchaudio's, ClipStore beside one HDF5 object per clip, rows of a ScoreStore,
decoding and resampling. It draws up to 1.3 GB at a time in WORK/bench/audio/drawn, and removes them.

A table goes to the terminal, the same as JSON to WORK/bench/NAME/report.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pseudolabel.artefacts import refuse_existing, run_record, write_json
from pseudolabel.benchmarks.measure import Report
from pseudolabel.cli import import_torch, non_negative, positive_int, run_verb, verb_parser, vocabulary_source
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.vocabulary import Vocabulary


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
    return AudioBenchmark(folder, args.clips or N_CLIPS["audio"], args.threads).run()


BENCHMARKS = {"labels": bench_labels, "audio": bench_audio}
N_CLIPS = {"labels": 2_063_949, "audio": 2_000}


def run(args: argparse.Namespace) -> None:
    """Run the benchmark, print its table, write it as JSON."""
    path = args.out or args.work / "bench" / args.benchmark / "report.json"
    refuse_existing(path, args.overwrite)
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
    audio = parser.add_argument_group("audio").add_argument
    audio("--threads", nargs="+", type=positive_int, default=[1, 2], metavar="N",
          help="numbers of CPU threads for the front ends (default: 1 2)")  # fmt: skip
    return run_verb(parser, run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
