"""What the tests of reports share: a made-up evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

NASTY = "<Dog> & \"Cat\" 'Rain'"


@pytest.fixture(scope="session")
def made_up() -> Callable:
    """Return a function that makes an evaluation with two seeds, an enhanced list and names that need escaping."""
    import pyarrow as pa

    from pseudolabel.labels.judging import JUDGED, judge_additions
    from pseudolabel.labels.table import LabelTable
    from pseudolabel.labels.vocabulary import Vocabulary
    from pseudolabel.reports.evaluation import Evaluation
    from pseudolabel.reports.rows import RunResult, rows_of
    from pseudolabel.scores.metrics import summary_and_classes

    def make(n_classes: int = 4, n_clips: int = 30, ids: tuple[str, ...] = (), names: tuple[str, ...] = ()):
        rng = np.random.default_rng(0)
        ids = ids or tuple(f"k{k}" for k in range(n_classes))
        n_classes = len(ids)
        vocabulary = Vocabulary("toy", ids, names or tuple(f"{NASTY} {k}" for k in range(n_classes)), ids)
        true = rng.random((n_clips, n_classes)) < 0.4
        true[0], true[1] = True, False
        given = true & (rng.random(true.shape) < 0.6)
        added = ~given & (rng.random(true.shape) < 0.3)
        runs = []
        for row, quality in (("teacher", 2), ("weak", 0.5), ("psl_2s", 1)):
            for seed in (0, 1):
                scores = 1 / (1 + np.exp(-(quality * true + rng.normal(size=true.shape))))
                found = {"truth": summary_and_classes(true, scores), "noisy": summary_and_classes(given, scores)}
                metrics, classes = ({name: pair[part] for name, pair in found.items()} for part in (0, 1))
                run = RunResult(f"{row}{seed}", row, f"runs/{row}{seed}", seed=seed, metrics=metrics, classes=classes)
                runs.append(run)
        clips = [f"clip{i}" for i in range(n_clips)]
        tables = [LabelTable(clips, matrix, vocabulary) for matrix in (given, given | added, true)]
        rows = [(clips[i], ids[k], "I") for i, k in zip(*added.nonzero(), strict=True)]
        ledger = pa.table(dict(zip(JUDGED, zip(*rows, strict=True), strict=True)))
        judged = {"enhanced-25p": {"folder": "work/enhanced-25p", **judge_additions(*tables[:2], ledger, tables[2])}}
        lists, folders = {"noisy": Path("eval.csv")}, (Path("work"), Path("work/evaluation"))
        missing = [("lost <clip>", "no audio")]
        return Evaluation(
            rows_of(runs), judged, ids, vocabulary.names, n_clips, missing, *folders, lists, Path("truth.csv")
        )

    return make
