"""Add labels to corpora with known truth at a chosen precision, and compare with the truth and with the rule 25p.

    python recipes/known_truth_rows.py corpus0.npz corpus1.npz corpus2.npz

Each file has `clip_id` (N), `class_id` and `name` (K), scores `yamnet_max` (N, K), and with bits packed along axis 1
`truth`, `labels_A`, `labels_B` and so on (N, K), `children` [parent, child] and `ancestors` [class, ancestor] (K, K).
A row is the mean over the files: how many guesses are right, then precision, recall and F1 of all additions, closure
included, over all labels that the annotator left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel.labels.enhancement import enhance
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.precision import Calibration
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.views import Corpus
from pseudolabel.labels.vocabulary import Vocabulary

PRECISIONS = (0.5, 0.7, 0.8)
ERRORS = ("I II", "I II free")
HEADER = f"{'annotator':9} {'rule':14} {'errors':10} {'right':>5} {'P':>5} {'R':>5} {'F1':>5} {'-25p':>6}"


@dataclass(frozen=True, eq=False)
class Known:
    """A corpus with known truth: `truth` (N, K) bool, `given` {annotator: (N, K) bool}, `scores` (N, K) float32."""

    clip_ids: tuple[str, ...]
    vocabulary: Vocabulary
    kinship: Kinship
    truth: np.ndarray
    given: dict[str, np.ndarray]
    scores: np.ndarray

    @classmethod
    def read(cls, path: str | Path) -> Known:
        """Read the file of a corpus."""
        with np.load(path) as arrays:
            class_ids, names = tuple(arrays["class_id"].tolist()), tuple(arrays["name"].tolist())
            packed = [name for name in arrays if arrays[name].dtype == np.uint8]
            bits = {name: np.unpackbits(arrays[name], axis=1, count=len(class_ids)).astype(bool) for name in packed}
            return cls(
                clip_ids=tuple(arrays["clip_id"].tolist()),
                vocabulary=Vocabulary(Path(path).stem, class_ids, names, class_ids),
                kinship=Kinship(bits["ancestors"], bits["children"]),
                truth=bits["truth"],
                given={name[-1]: bits[name] for name in sorted(bits) if name.startswith("labels_")},
                scores=arrays["yamnet_max"].astype(np.float32),
            )

    def labels(self, annotator: str) -> LabelTable:
        """Return what an annotator gave."""
        return LabelTable(self.clip_ids, sparse.csr_array(self.given[annotator]), self.vocabulary)

    def measured(self, annotator: str, guesses: np.ndarray, closure: np.ndarray) -> tuple[float, ...]:
        """Return the share of right guesses; precision, recall and F1 of all additions (N, K) bool."""
        added, missing = guesses | closure, self.truth & ~self.given[annotator]
        n_right = (added & missing).sum()
        f1 = 2 * n_right / (added.sum() + missing.sum())
        return (guesses & self.truth).sum() / max(guesses.sum(), 1), n_right / added.sum(), n_right / missing.sum(), f1


def percentile(known: Known, annotator: str) -> tuple[float, ...]:
    """Return the measures of the rule 25p."""
    enhanced = enhance(known.labels(annotator), known.scores, Ontology.load(), EnhanceOptions("25p"))
    added = enhanced.labels.matrix.toarray() & ~known.given[annotator]
    return known.measured(annotator, added, np.zeros_like(added))


def calibrated(known: Known, annotator: str) -> Iterator[tuple[float, str, tuple[float, ...]]]:
    """Yield each precision, the errors looked for, and the measures."""
    labels = known.labels(annotator)
    corpus = Corpus(labels, [Evidence.match(labels, known.scores)], known.kinship)
    calibration = Calibration.of(corpus)
    child, free = calibration.histograms()
    block = calibration.block(0, len(labels))
    closure = corpus.closed.toarray() & ~known.given[annotator]
    for precision in PRECISIONS:
        for errors, histogram in zip(ERRORS, (child, child + free), strict=True):
            guesses = block.probabilities >= histogram.cut(precision).lowest
            if errors == "I II":
                guesses &= block.child
            yield precision, errors, known.measured(annotator, guesses, closure)


def rows(corpora: Sequence[Known]) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Yield annotator, rule, errors and measures: right guesses, precision, recall, F1, and F1 above that of 25p."""
    for annotator in corpora[0].given:
        before = np.mean([percentile(known, annotator) for known in corpora], axis=0)
        yield annotator, "25p", "I II", np.append(before, 0)
        for each in zip(*(calibrated(known, annotator) for known in corpora), strict=True):
            mean = np.mean([measures for _, _, measures in each], axis=0)
            yield annotator, f"precision:{each[0][0]:g}", each[0][1], np.append(mean, mean[-1] - before[-1])


def main(paths: Sequence[str]) -> int:
    """Print the table."""
    print(HEADER)
    for annotator, rule, errors, (right, precision, recall, f1, gain) in rows([Known.read(path) for path in paths]):
        print(f"{annotator:9} {rule:14} {errors:10} {right:5.3f} {precision:5.3f} {recall:5.3f} {f1:5.3f} {gain:+6.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
