"""The lines of the report's tree: AP, clips, labels before and added, precision and a few clips of every class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pseudolabel.formatting import fraction, plural
from pseudolabel.reports.evaluation import Evaluation
from pseudolabel.reports.results import leading_row
from pseudolabel.reports.tree import Branch
from pseudolabel.reports.watch import ClassClips


@dataclass(frozen=True)
class TreeLine:
    """A node of the tree as the page shows it.

    Args:
        place: the node's id on the page. again: it stands elsewhere, at `place`.
        ap: as text; share: of the bar, 0 to 1.
        cells: clips, labels before, added, precision; empty for a node that is no class, which has a `note`.
        clips: those of the class that surprise most, with their scores as text.
    """

    name: str
    place: str
    again: bool
    ap: str
    share: float
    cells: tuple[str, ...]
    note: str
    clips: ClassClips | None
    children: tuple[TreeLine, ...]


def class_places(evaluation: Evaluation) -> dict[str, str]:
    """Return the id on the page of each class's line, {class id: place}."""
    return {class_id: f"class-{k}" for k, class_id in enumerate(evaluation.class_ids)}


def tree_header(evaluation: Evaluation) -> tuple[str, ...]:
    """Return what the cells of a line are."""
    return ("clips", "before", "added", "right") if evaluation.enhanced else ("clips",)


def tree_remark(evaluation: Evaluation) -> str:
    """Return what the tree shows."""
    word, leading = evaluation.word(evaluation.main), leading_row(evaluation)
    text = (
        f"AP of {leading.name} against the {word} labels, for a group the mean of its classes; clips: with the label."
    )
    if evaluation.enhanced:
        text += f" Before, added, right: labels of the training list, {next(iter(evaluation.enhanced))}."
    if evaluation.class_clips:
        text += " A class opens to up to three clips with the label and the lowest scores, and without it the highest."
    return text


def tree_lines(evaluation: Evaluation) -> list[TreeLine]:
    """Return the top lines of the tree."""
    ap = leading_row(evaluation).class_mean(evaluation.main, "ap")
    n_positive = evaluation.rows[0].runs[0].classes[evaluation.main]["n_positive"]
    judged = next(iter(evaluation.enhanced.values()), {"by_class": ()})["by_class"]
    of_class = {row["class_id"]: row for row in judged}
    cells = [
        _cells(int(n), of_class.get(class_id)) for n, class_id in zip(n_positive, evaluation.class_ids, strict=True)
    ]
    if not evaluation.enhanced:
        cells = [cell[:1] for cell in cells]
    return [_line(branch, ap, cells, evaluation.class_clips) for branch in evaluation.tree]


def _cells(n_clips: int, row: dict | None) -> tuple[str, ...]:
    if row is None:
        return f"{n_clips:,}", "-", "-", "-"
    precision = row.get("precision")
    return f"{n_clips:,}", f"{row['before']:,}", f"+{row['added']:,}", fraction(precision, 2)


def _line(branch: Branch, ap: np.ndarray, cells: Sequence[tuple[str, ...]], clips: Sequence[ClassClips]) -> TreeLine:
    column, of_class, note = branch.column, None, ""
    if column is None:
        scored = [ap[k] for k in branch.columns if not math.isnan(ap[k])]
        value, note = float(np.mean(scored)) if scored else math.nan, plural(len(branch.columns), "class")
    else:
        value = float(ap[column])
        if clips and not branch.again:
            of_class = ClassClips(
                *([(clip_id, fraction(score, 2)) for clip_id, score in kind] for kind in clips[column])
            )
    return TreeLine(
        name=branch.name,
        place=f"node-{branch.node}" if column is None else f"class-{column}",
        again=branch.again,
        ap=fraction(value),
        share=0 if math.isnan(value) else value,
        cells=("",) * len(cells[0]) if column is None else cells[column],
        note=note,
        clips=of_class,
        children=tuple(_line(child, ap, cells, clips) for child in branch.children),
    )
