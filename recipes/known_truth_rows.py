"""Add labels to corpora with known truth at a chosen precision, and compare with the truth and with the rule 25p.

    python recipes/known_truth_rows.py corpus0.npz corpus1.npz corpus2.npz

`Known.read` (pseudolabel.reports.known_truth) says what is in a file. A row is the mean over the files: how many
guesses are right, then precision, recall and F1 of all additions, closure included, over all labels that the annotator
left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from pseudolabel.reports.known_truth import Known, calibrated, calibration_of, percentile

PRECISIONS = (0.5, 0.7, 0.8)
HEADER = f"{'annotator':9} {'rule':14} {'errors':10} {'right':>5} {'P':>5} {'R':>5} {'F1':>5} {'-25p':>6}"


def rows(corpora: Sequence[Known]) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Yield annotator, rule, errors and measures: right guesses, precision, recall, F1, and F1 above that of 25p."""
    for annotator in corpora[0].given:
        before = np.mean([percentile(known, annotator) for known in corpora], axis=0)
        yield annotator, "25p", "I II", np.append(before, 0)
        of_corpora = (calibrated(known, annotator, calibration_of(known, annotator), PRECISIONS) for known in corpora)
        for each in zip(*of_corpora, strict=True):
            mean = np.mean([judged.measures for judged in each], axis=0)
            yield annotator, each[0].rule, each[0].errors, np.append(mean, mean[-1] - before[-1])


def main(paths: Sequence[str]) -> int:
    """Print the table."""
    print(HEADER)
    for annotator, rule, errors, (right, precision, recall, f1, gain) in rows([Known.read(path) for path in paths]):
        print(f"{annotator:9} {rule:14} {errors:10} {right:5.3f} {precision:5.3f} {recall:5.3f} {f1:5.3f} {gain:+6.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
