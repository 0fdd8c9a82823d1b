"""Verify a release from its own files alone: bytes, labels, ledger, thresholds, scores, and what its card says.

Checks run from cheap to dear, and the first that fails ends in one line that names the file and what is wrong.
What they cannot tell: a release is not signed. Whoever changes a file and makes SHA256SUMS anew is found out by
run.json, by the other forms of the labels or by counting; whoever makes all of them anew has made another release.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pseudolabel.errors import InputError
from pseudolabel.labels.table import LabelTable
from pseudolabel.progress import Progress
from pseudolabel.releases import folder as files
from pseudolabel.releases.enhanced import THRESHOLDS
from pseudolabel.releases.listing import values_of_their_kind, verify_bytes
from pseudolabel.releases.released import Released, read_release
from pseudolabel.releases.segments import verify_windows
from pseudolabel.releases.tables import positions, read_threshold_table
from pseudolabel.releases.verify_facts import verify_facts
from pseudolabel.releases.verify_forms import verify_forms, verify_targets, verify_weights


def verify_release(folder: Path) -> list[str]:
    """Return what was found to hold, a line each.

    Raises:
        InputError: something does not: the message names the file, and what is wrong with it.
    """
    checks = (verify_forms, _verify_ledger, verify_windows, verify_targets, verify_weights, verify_facts)
    with values_of_their_kind(folder), Progress("verify", 2 + len(checks), "check") as progress:
        lines = verify_bytes(folder)
        progress.advance()
        released = read_release(folder)
        progress.advance()
        for check in checks:
            lines += filter(None, [check(released)])
            progress.advance()
    return lines


def _verify_ledger(released: Released) -> str:
    """Check each row: score above threshold, the class's threshold, and that what proposed it is on the clip."""
    added, ledger, place = released.added, released.ledger, released.folder / files.ADDED

    def refuse(wrong: np.ndarray, message: str) -> None:
        rows = np.flatnonzero(wrong)
        if len(rows):
            clip_id, class_id = (ledger[name][int(rows[0])].as_py() for name in ("clip_id", "class_id"))
            first = f"{len(rows)} added labels, first {class_id} of {clip_id}"
            raise InputError(f"{message} ({first})", place, "Run enhance and release again.")

    by_rule = np.isnan(added.scores)
    if "reviewed" not in released.facts.rule:
        refuse(by_rule != np.isnan(added.thresholds), "a score without a threshold, or the other way round")
    refuse(added.scores <= added.thresholds, "the score is not above the threshold")
    refuse((added.scores < 0) | (added.scores > 1), "the score is not in [0, 1]")
    table = read_threshold_table(released.folder / THRESHOLDS, released.original)
    if table:
        of_class = np.array([np.nan if row["threshold"] is None else row["threshold"] for row in table.values()])
        stated = ~np.isnan(added.thresholds)
        wrong = stated & (of_class[added.classes] != added.thresholds)
        refuse(wrong, f"the threshold is not the one of {THRESHOLDS}")
    rounds = pc.fill_null(ledger["round"], 1).to_numpy() if "round" in ledger.column_names else 1
    refuse(_proposed_by_nothing(released, rounds > 1), "a label that is not on the clip is said to have proposed it")
    n_by_score = int((~by_rule).sum())
    return f"{n_by_score:,} additions have a score above their class's threshold, {int(by_rule.sum()):,} were by rule"


def _proposed_by_nothing(released: Released, later: np.ndarray) -> np.ndarray:
    """Return which rows of the ledger name a label under `because` that their clip has not, (M,) bool.

    Rows of later rounds (`later`) may have been proposed by labels of earlier ones.
    """
    because = pc.split_pattern(pc.fill_null(released.ledger["because"], "").combine_chunks(), ";")
    row_of = pc.list_parent_indices(because).to_numpy()
    names = pc.list_flatten(because)
    given = pc.not_equal(names, "").to_numpy(zero_copy_only=False)
    row_of, classes = row_of[given], positions(names.filter(pa.array(given)), released.labels.vocabulary.class_ids)
    n_classes = len(released.labels.vocabulary)
    keys = released.added.clips[row_of] * n_classes + classes
    on_clip = (classes >= 0) & np.isin(keys, _keys(released.labels))
    first_round = ~np.broadcast_to(later, released.added.clips.shape)[row_of]
    on_clip &= ~first_round | np.isin(keys, _keys(released.original))
    return np.bincount(row_of[~on_clip], minlength=len(released.added.clips)) > 0


def _keys(labels: LabelTable) -> np.ndarray:
    rows = np.repeat(np.arange(len(labels), dtype=np.int64), np.diff(labels.matrix.indptr))
    return rows * len(labels.vocabulary) + labels.matrix.indices
