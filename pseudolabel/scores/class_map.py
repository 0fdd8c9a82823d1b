"""Map a model's classes to the target classes of another data set, and score the targets.

A target's score is the maximum over its classes. A class may belong to several targets, and a target may have several
classes. Without a map, each target is the class with the same id, name or ontology node.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pseudolabel.errors import InputError, UnknownClass, first_few
from pseudolabel.labels.vocabulary import Vocabulary, table_path
from pseudolabel.tables import read_csv

MAP_COLUMNS = ("class_id", "target_id")
BUILT_IN_MAPS = {"esc50": "esc50_to_audioset.csv", "fsd50k": "fsd50k_to_audioset.csv"}


@dataclass(frozen=True)
class ClassMap:
    """A map from target classes, in the order of the evaluated vocabulary, to the model classes that count as them.

    Args:
        classes_of: {target: its classes}, at least one each.
        source: the file, or '' if each target is the class with the same id.
        absent: targets of the vocabulary without a class.
        unanswered: classes of the map that not every model answers.
        vocabulary: the targets, if there is no map: models may write them otherwise (`Vocabulary.own_ids`).
    """

    classes_of: Mapping[str, tuple[str, ...]]
    source: str = ""
    absent: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()
    vocabulary: Vocabulary | None = None

    @classmethod
    def identity(cls, vocabulary: Vocabulary | str | Path) -> ClassMap:
        """Return the identity map, for a model that answers the evaluated classes themselves."""
        vocabulary = Vocabulary.of(vocabulary)
        return cls({class_id: (class_id,) for class_id in vocabulary.class_ids}, vocabulary=vocabulary)

    @classmethod
    def read(
        cls, source: str | Path, vocabulary: Vocabulary | str | Path, answered: Collection[str] | None = None
    ) -> ClassMap:
        """Read a CSV file `class_id,target_id`, or the project's map to `esc50` or `fsd50k`.

        Args:
            vocabulary: the targets; those without a class become `absent`.
            answered: classes that every model answers; other classes are left out of the map. None: all are answered.

        Raises:
            InputError: a row is incomplete or listed twice, a target is not in the vocabulary, or no target is left.
        """
        vocabulary = Vocabulary.of(vocabulary)
        path = table_path(BUILT_IN_MAPS[str(source)]) if str(source) in BUILT_IN_MAPS else Path(source)
        pairs: dict[tuple[str, str], None] = {}  # (target, class), in the order of the file
        for row in read_csv(path, MAP_COLUMNS):
            place, class_id = f"{path}:{row['line']}", row["class_id"]
            if not class_id or not row["target_id"]:
                raise InputError("a class or a target is empty", place, "Leave out classes without a counterpart.")
            pair = vocabulary.find(row["target_id"], place), class_id
            if pair in pairs:
                raise InputError(f"{class_id!r} for {row['target_id']!r} is listed twice", place, "Remove one.")
            pairs[pair] = None
        unanswered = {class_id: None for _, class_id in pairs if answered is not None and class_id not in answered}
        kept: dict[str, list[str]] = {}
        for target, class_id in pairs:
            if class_id not in unanswered:
                kept.setdefault(target, []).append(class_id)
        if not kept:
            missing = f"no class of the map is answered: {first_few(unanswered)}"
            message = missing if unanswered else "the map has no rows"
            raise InputError(message, path, "Give the map of the classes that the model answers.")
        classes_of = {target: tuple(kept[target]) for target in vocabulary.class_ids if target in kept}
        absent = tuple(target for target in vocabulary.class_ids if target not in kept)
        return cls(classes_of, str(path), absent, tuple(unanswered))

    def report(self) -> str:
        """Return a line that counts and names what is left out; '' if nothing is."""
        texts, n_targets = [], len(self.classes_of) + len(self.absent)
        if self.absent:
            left_out = (
                f"{len(self.absent)} of {n_targets} classes have no counterpart in {self.source} and are left out"
            )
            texts.append(f"{left_out}: {', '.join(self.absent)}")
        if self.unanswered:
            texts.append(f"{len(self.unanswered)} classes of the map are not answered: {first_few(self.unanswered)}")
        return "; ".join(texts)

    def columns(self, class_ids: Sequence[str], source: object) -> np.ndarray:
        """Return where in `class_ids` the classes of each target in turn are, int64.

        Raises:
            UnknownClass: the model that answers `class_ids`, `source`, does not answer a needed class.
        """
        class_ids = self.vocabulary.own_ids(class_ids) if self.vocabulary else class_ids
        column_of = {class_id: column for column, class_id in enumerate(class_ids)}
        needed = [class_id for classes in self.classes_of.values() for class_id in classes]
        absent = [class_id for class_id in needed if class_id not in column_of]
        if absent:
            message = f"{len(absent)} of {len(needed)} classes have no scores: {first_few(absent)}"
            remedy = "Give the --vocabulary of its classes, with --unknown-labels skip for others, or a --class-map."
            raise UnknownClass(message, source, remedy)
        return np.array([column_of[class_id] for class_id in needed])

    def apply(self, scores: np.ndarray, class_ids: Sequence[str], source: object) -> np.ndarray:
        """Return the targets' scores (N, targets) float32 from the scores (N, K) of `class_ids`.

        Raises:
            UnknownClass: the model does not answer a needed class (`columns`).
        """
        columns = self.columns(class_ids, source)
        sizes = np.array([len(classes) for classes in self.classes_of.values()])
        if (sizes == 1).all():
            return np.asarray(scores[:, columns], np.float32)
        starts = np.cumsum(sizes) - sizes
        return np.maximum.reduceat(np.asarray(scores[:, columns], np.float32), starts, axis=1)
