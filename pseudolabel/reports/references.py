"""References: the labels that scores are compared with, under the ids of the evaluated clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy import sparse

from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.additions import positions
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.progress import note
from pseudolabel.reports.evaluation import TRUE_SET
from pseudolabel.scores.class_map import ClassMap


@dataclass(frozen=True)
class References:
    """Sets of labels, and the truth if known.

    Args:
        sets: {name: labels of some or all evaluated clips}.
        aliases: {clip: its id in the list of true labels}, if different.
        lost: (clip id, reason) of clips left without labels, because no model class stands for any of theirs.
    """

    sets: dict[str, LabelTable]
    truth: LabelTable | None
    aliases: dict[str, str]
    lost: list[tuple[str, str]]

    @classmethod
    def of(
        cls, sets: dict[str, LabelTable], truth: LabelTable | None, truth_list: Path | None, classes: ClassMap | None
    ) -> References:
        """Return the references; with `classes`, restricted to the target classes of that map."""
        lost, aliases = [], {}
        if classes is not None:
            sets, lost = mapped_sets(sets, classes)
        if truth is not None:
            truth = truth if classes is None else restricted(truth, classes)
            listed = dict.fromkeys(clip_id for labels in sets.values() for clip_id in labels.clip_ids)
            truth, aliases = renamed_truth(truth, tuple(listed), truth_list)
        return cls(sets, truth, aliases, lost)

    @property
    def by_name(self) -> dict[str, LabelTable]:
        """Every reference by name, the truth first."""
        return self.sets if self.truth is None else {TRUE_SET: self.truth, **self.sets}


def renamed_truth(truth: LabelTable, clip_ids: Sequence[str], path: Path) -> tuple[LabelTable, dict[str, str]]:
    """Return the true labels under the ids of these clips, and {clip: id in the truth} if different."""
    matched = match_clips(clip_ids, truth.row_of, path)
    note(matched.report(f"true labels in {path}"))
    return truth.renamed({other: clip_id for clip_id, other in matched.aliases.items()}), matched.aliases


def restricted(labels: LabelTable, classes: ClassMap) -> LabelTable:
    """Return the labels of the target classes only."""
    vocabulary = labels.vocabulary.subset(classes.classes_of)
    columns = np.array([labels.vocabulary.index[class_id] for class_id in vocabulary.class_ids])
    return replace(labels, matrix=labels.matrix[:, columns], vocabulary=vocabulary)


def mapped_sets(
    sets: Mapping[str, LabelTable], classes: ClassMap
) -> tuple[dict[str, LabelTable], list[tuple[str, str]]]:
    """Return every set with the target classes only, and (clip id, reason) of clips that no set has any more.

    A clip whose labels all lack a counterpart is left out, because no answer for it can be right (PSLA evaluates on
    ESC-50's clips of the classes that overlap). A clip without any label stays.
    """
    mapped, lost = {}, {}
    for name, labels in sets.items():
        kept = restricted(labels, classes)
        emptied = (np.diff(labels.matrix.indptr) > 0) & (np.diff(kept.matrix.indptr) == 0)
        lost.update(dict.fromkeys(labels.clip_ids[row] for row in np.flatnonzero(emptied)))
        if emptied.all():
            raise InputError(f"not one clip of {name!r} has a label with a counterpart", classes.source)
        mapped[name] = kept.select([labels.clip_ids[row] for row in np.flatnonzero(~emptied)])
    kept_clips = set().union(*(labels.row_of for labels in mapped.values()))
    reason = f"no label with a counterpart in {classes.source}"
    return mapped, [(clip_id, reason) for clip_id in lost if clip_id not in kept_clips]


def refuse_several_labels(sets: Mapping[str, LabelTable], clip_ids: Sequence[str], paths: Mapping[str, Path]) -> None:
    """Raise InputError unless each clip of a set has exactly one label: accuracy is about the one right class."""
    for name, labels in sets.items():
        evaluated = [clip_id for clip_id in clip_ids if clip_id in labels.row_of]
        sizes = np.diff(labels.select(evaluated).matrix.indptr)
        wrong = np.flatnonzero(sizes != 1)
        if len(wrong):
            named = first_few(f"{evaluated[row]} ({sizes[row]})" for row in wrong)
            message = f"{len(wrong)} of {len(evaluated)} clips have not exactly one label, so there is no accuracy"
            raise InputError(f"{message}: {named}", paths.get(name, name), "Leave accuracy out of --metrics.")


def proposals_by_type(
    labels: LabelTable, path: Path | None = None, by_rule: pa.Table | None = None
) -> dict[str, sparse.csr_array] | None:
    """Return which labels the given ones propose, {error type: (N, K)}; None outside AudioSet's ontology.

    With `by_rule`, a ledger of ancestors that were added first, these propose children too, and ancestors of given
    labels are of type II alone.

    Raises:
        InputError: a named ontology cannot be read, or has none of the classes.
    """
    try:
        ontology = Ontology.load(path)
        relations = {"I": ontology.children(labels.vocabulary), "II": ontology.ancestors(labels.vocabulary)}
    except InputError:
        if path is not None:
            raise
        return None
    proposed = {error: (labels.matrix @ relation).astype(bool) for error, relation in relations.items()}
    if by_rule is not None:
        pairs = positions(by_rule, labels, "ledger")
        implied = sparse.csr_array((np.ones(len(by_rule), bool), pairs), shape=labels.matrix.shape)
        children = (implied @ relations["I"] + proposed["I"]).astype(bool)
        proposed["I"] = sparse.csr_array(children > children.multiply(proposed["II"]))
    return proposed
