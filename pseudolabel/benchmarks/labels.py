"""Time reading labels, making thresholds and proposals, and writing results, beside a plain loop over the clips.

Scores are drawn so that the threshold 25p adds a given share of labels, 37.3 % by default (PSLA, Table IX, full
AudioSet), because additions are what writing costs. They are drawn once and kept for the next run.
"""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pseudolabel.benchmarks.drawn import draw_labels, draw_scores
from pseudolabel.benchmarks.measure import Report
from pseudolabel.benchmarks.plain import additions_in_a_loop, thresholds_in_a_loop
from pseudolabel.errors import InputError
from pseudolabel.labels.enhancement import Enhancement, enhance, gather
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ledger import write_ledger
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.precision import Calibration
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.labels.table import LabelTable, read_lists
from pseudolabel.labels.views import Corpus
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.writing import STORED

OPTIONS = EnhanceOptions("25p")
SAMPLE = 20_000  # clips for the plain loop, and the smallest set whose rate is measured
REPEATS = 3


@dataclass(frozen=True)
class LabelsBenchmark:
    """What to measure.

    Args:
        lists: label lists; if none, one is drawn.
        vocabulary, ontology: of the lists.
        folder: for drawn scores, which are kept, and for results.
        share: labels that the threshold 25p adds for each existing label.
        n_clips: size of the drawn list.
        ontology_path: where the ontology was read; None: AudioSet's.
    """

    lists: Sequence[Path]
    vocabulary: Vocabulary
    ontology: Ontology
    folder: Path
    share: float
    n_clips: int
    ontology_path: Path | None = None

    def run(self) -> Report:
        """Measure every stage; return the report."""
        report = Report("labels")
        lists = self.lists or [self._drawn_list()]
        with report.stage("read the label lists") as stage:
            labels = read_lists(lists, self.vocabulary)
            stage.items = len(labels)
        path = self._scores(report, labels, lists)
        with report.stage("open the scores", len(labels)):
            scores = ScoreStore.open(path)
        found = self._search(report, labels, scores)
        self._write(report, found)
        self._plain(report, labels, scores)
        self._types(report, labels, scores)
        self._sizes(report, labels, scores)
        self._calibrate(report, labels, scores)
        self._command(report, labels, path)
        report.facts |= {
            "clips": len(labels), "classes": len(self.vocabulary), "labels": labels.matrix.nnz,
            "labels added": f"{len(found.ledger)} (+{100 * len(found.ledger) / labels.matrix.nnz:.1f} %)",
            "scores": f"{path.stat().st_size / 1e9:.2f} GB, {'drawn' if self.lists else 'and labels, drawn'}",
        }  # fmt: skip
        return report

    @property
    def _classes(self) -> str:
        """A checksum of the classes, since files drawn for others are of no use."""
        return f"{zlib.crc32(';'.join(self.vocabulary.class_ids).encode()):08x}"

    def _drawn_list(self) -> Path:
        path = self.folder / f"labels-{self.n_clips}-{self._classes}.csv"
        if not path.exists():
            draw_labels(self.n_clips, self.vocabulary).write(path)
        return path

    def _scores(self, report: Report, labels: LabelTable, lists: Sequence[Path]) -> Path:
        """Return drawn scores for these labels, reusing those of an earlier run."""
        path = self.folder / "scores.h5"
        made_from = " ".join([*map(sha256, lists), f"{self.share:g}", STORED[0], self._classes])
        try:
            drawn = ScoreStore.open(path).attributes.get("labels_sha256") == made_from
        except InputError:
            drawn = False
        if not drawn:
            with report.stage("draw scores, once", len(labels)):
                draw_scores(path, labels, self.ontology, self.share, made_from)
        return path

    def _search(self, report: Report, labels: LabelTable, scores: ScoreStore) -> Enhancement:
        with report.stage("match clips, look up the labels' scores", len(labels)):
            positives = gather(labels, scores, self.ontology, OPTIONS).positives
        with report.stage("thresholds alone", len(labels)):
            OPTIONS.thresholds(positives, self.vocabulary)
        with report.stage("thresholds, proposals and ledger", len(labels)) as stage:
            found = enhance(labels, scores, self.ontology, OPTIONS)
            stage.note = "matching included"
        return found

    def _write(self, report: Report, found: Enhancement) -> None:
        with report.stage("write labels.csv", len(found.labels)):
            found.labels.write(self.folder / "enhanced" / "labels.csv")
        with report.stage("write the ledger, Parquet and CSV", len(found.ledger), "additions"):
            write_ledger(found.ledger, self.folder / "enhanced")

    def _plain(self, report: Report, labels: LabelTable, scores: ScoreStore) -> None:
        """Enhance a sample both ways; the additions must be the same."""
        some, values = _middle(labels, scores, SAMPLE)
        relations = OPTIONS.relations(self.ontology, self.vocabulary)
        with report.stage("a plain loop over a sample of the clips", len(some)) as plain:
            thresholds = thresholds_in_a_loop(some.matrix, values, 25)
            added = additions_in_a_loop(some.matrix, values, relations, thresholds)
        with report.stage("thresholds and proposals of that sample", len(some)) as ours:
            found = enhance(some, values, self.ontology, OPTIONS)
        ours.compare(plain)
        rows = found.labels.matrix - some.matrix.astype(np.int8)
        if set(zip(*(places.tolist() for places in rows.nonzero()), strict=True)) != added:
            raise InputError(
                "the plain loop adds other labels than enhance", "bench labels", "This is a fault: report it."
            )
        ours.note = "the same additions"

    def _types(self, report: Report, labels: LabelTable, scores: ScoreStore) -> None:
        """Enhance from scores of each type that stores may have, and count the clips whose labels differ."""
        some, values = _middle(labels, scores, 10 * SAMPLE)
        found, stages = {}, []
        for kind in STORED:
            stored = np.array(values, kind)
            with report.stage(f"thresholds and proposals of {len(some):,} clips, {kind}", len(some)) as stage:
                found[kind] = enhance(some, stored, self.ontology, OPTIONS).labels.matrix
            stages.append(stage)
        stages[1].compare(stages[0])
        differing = len(np.unique((found["float32"] != found["float16"]).nonzero()[0]))
        stages[1].note = f"{differing:,} clips get other labels, of half the bytes"

    def _sizes(self, report: Report, labels: LabelTable, scores: ScoreStore) -> None:
        """Measure whether the time grows in proportion to the number of clips."""
        sizes, each = [n for n in (SAMPLE, 10 * SAMPLE) if n < len(labels)] + [len(labels)], []
        for size in sizes:
            some, values = _middle(labels, scores, size)
            stages = []
            for _ in range(REPEATS):
                with report.stage(f"thresholds and proposals of {size:,} clips", size):
                    enhance(some, values, self.ontology, OPTIONS)
                stages.append(report.stages.pop())
            report.stages.append(min(stages, key=lambda stage: stage.seconds))
            each.append(1e6 * report.stages[-1].seconds / size)
        shown = ", ".join(f"{value:.2f} us at {size:,}" for value, size in zip(each, sizes, strict=True))
        report.facts["time a clip"] = f"{shown}: within a factor {max(each) / min(each):.2f}"

    def _calibrate(self, report: Report, labels: LabelTable, scores: ScoreStore) -> None:
        """Estimate the probability of every pair of clip and class that is not a label."""
        kinship = Kinship.of(self.ontology.ancestors(self.vocabulary), self.ontology.children(self.vocabulary))
        n_pairs = labels.matrix.shape[0] * labels.matrix.shape[1]
        with report.stage("calibrate: evidence, a sample, two regressions", n_pairs, "pairs"):
            calibration = Calibration.of(Corpus(labels, [Evidence.match(labels, scores)], kinship))
        with report.stage("the probabilities of all pairs, counted", n_pairs, "pairs"):
            child, free = calibration.histograms()
        report.facts["candidates"] = f"{child.counts.sum():,} with a known parent, {free.counts.sum():,} others"

    def _command(self, report: Report, labels: LabelTable, scores: Path) -> None:
        original = self.folder / "labels.csv"
        labels.write(original)
        command = [sys.executable, "-m", "pseudolabel.enhance", "--threshold", OPTIONS.threshold, "--overwrite"]
        command += ["--labels", str(original), "--scores", str(scores), "--vocabulary", self.vocabulary.place]
        command += ["--out", str(self.folder / f"enhanced-{OPTIONS.name}")]
        command += ["--ontology", str(self.ontology_path)] if self.ontology_path else []
        with report.stage("the whole command", len(labels)) as stage:
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise InputError(" ".join(done.stderr.splitlines()[-1:]) or "enhance has ended", "bench labels")
        stage.peak_bytes = None  # of another process
        stage.note = "from the shell; start-up, reading and writing included"


def _middle(labels: LabelTable, scores: ScoreStore, size: int) -> tuple[LabelTable, np.ndarray]:
    """Return `size` consecutive clips and their scores (size, K), left in the file."""
    size = min(size, len(labels))
    first = (len(labels) - size) // 2
    rows = slice(first, first + size)
    return LabelTable(labels.clip_ids[rows], labels.matrix[rows], labels.vocabulary), scores.clip_scores()[rows]
