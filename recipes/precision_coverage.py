"""How well does a review estimate the precision of an enhancement? Judged by the truth of a simulated corpus.

    python recipes/precision_coverage.py work --budget 200 --seeds 50

Each seed draws a page's sample of WORK/enhanced-25p, answers it from WORK/truth.csv, and estimates. Printed: how often
the 95 % interval holds the precision of the whole ledger, the mean and spread of the estimates, and the mean width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError
from pseudolabel.labels.ledger import read_ledger
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.options import COUNT, Options, option
from pseudolabel.records import sha256
from pseudolabel.review import PageOptions, draw_sample
from pseudolabel.reviews.precision import weigh


@dataclass(frozen=True, kw_only=True)
class CoverageOptions(Options):
    """Which additions, and how they are sampled."""

    work: Path = option(help="work folder", positional=True)
    enhanced: str = option("enhanced-25p", "folder in WORK")
    budget: int = option(200, "judgements a sample", COUNT)
    seeds: int = option(50, "samples", COUNT)


def coverage(options: CoverageOptions) -> None:
    """Draw, answer and estimate as often as asked; print what came of it."""
    vocabulary, ontology = Vocabulary.load(options.work / "vocabulary.csv"), Ontology.load()
    labels, truth = (LabelTable.read(options.work / name, vocabulary) for name in ("labels.csv", "truth.csv"))
    path = options.work / options.enhanced / "ledger.parquet"
    ledger, digest = read_ledger(path), sha256(path)
    true_labels = dict(zip(truth.clip_ids, truth.label_sets(), strict=True))
    added = list(zip(ledger["clip_id"].to_pylist(), ledger["class_id"].to_pylist(), strict=True))
    absent = next((clip_id for clip_id, _ in added if clip_id not in true_labels), None)
    if absent is not None:
        raise InputError(f"clip {absent!r} of the ledger is missing", options.work / "truth.csv")
    if not added:
        raise InputError("no additions to judge", path)
    precision, found = np.mean([class_id in true_labels[clip_id] for clip_id, class_id in added]), []
    for seed in range(options.seeds):
        page = PageOptions(budget=options.budget, seed=seed)
        sample = draw_sample(ledger, digest, labels, ontology, page)
        judged = {
            item.item: "right" if item.class_id in true_labels[item.clip_id] else "wrong" for item in sample.items
        }
        found.append(weigh(sample, judged).estimate())
    estimates = [estimate.precision for estimate in found]
    held = sum(estimate.low <= precision <= estimate.high for estimate in found)
    width = np.mean([estimate.high - estimate.low for estimate in found])
    print(f"{len(ledger):,} additions, precision {precision:.4f}; {options.budget} judgements a sample:")
    print(f"  the interval holds it in {held} of {options.seeds}, {width:.4f} wide on average")
    print(f"  estimates {np.mean(estimates):.4f} +- {np.std(estimates):.4f}")


if __name__ == "__main__":
    raise SystemExit(run_command("precision_coverage", __doc__, Command(CoverageOptions, coverage), None))
