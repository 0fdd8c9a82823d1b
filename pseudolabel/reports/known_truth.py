"""Rules judged by corpora with known truth: how much of what each adds is right, how much it finds."""

from __future__ import annotations

import importlib.util
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse

from pseudolabel.errors import InputError
from pseudolabel.labels.enhancement import enhance
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ontology import Node, Ontology
from pseudolabel.labels.precision import Calibration
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.views import Corpus
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.arrays import readable_npz

PERCENTILES = ("mean", "25p", "10p", "5p")  # PSLA's
PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.85)
ERRORS = ("I II", "I II free")
N_BINS = 10
ARRAYS = ("clip_id", "class_id", "name", "truth", "children", "ancestors")
SCORES = ("scores", "yamnet_max")  # one of the two
IDS, RELATIONS, LABELS = ("clip_id", "class_id", "name"), ("children", "ancestors"), "labels_"
PACKED = "Make it by numpy.packbits(labels, axis=1)."


class Measures(NamedTuple):
    """How many guesses are right; precision, recall and F1 of all additions over all labels that were left out.

    The shares of nothing, of guesses or additions, are NaN.
    """

    right: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class Answers:
    """A teacher's scores of whole clips, (clips, classes), read as those of a score store are."""

    clip_ids: tuple[str, ...]
    class_ids: tuple[str, ...]
    values: np.ndarray

    def clip_scores(self) -> np.ndarray:
        """Return the scores."""
        return self.values


def _arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Return the checked arrays of an archive of known truth, bits unpacked, `scores` under this name."""
    with readable_npz(Path(path)), open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise InputError("not a readable .npz file", path, "Save it with numpy.savez.")
        with np.load(path, allow_pickle=False) as stored:
            absent = [name for name in ARRAYS if name not in stored]
            scores = next((name for name in SCORES if name in stored), None)
            absent += [] if scores else [SCORES[0]]
            if absent:
                raise InputError(f"has no array {absent[0]!r}", path, "Give a corpus with known truth.")
            wanted = [name for name in stored if name in ARRAYS or name.startswith(LABELS)]
            arrays = {name: stored[name] for name in wanted} | {SCORES[0]: stored[scores]}
    n_clips, n_classes = arrays["clip_id"].size, arrays["class_id"].size
    for name, array in arrays.items():
        n_rows = n_classes if name in RELATIONS else n_clips
        if name in IDS:
            _refuse_other(name, array, "U", (n_clips if name == IDS[0] else n_classes,), path)
            if name != "name" and len(set(array.tolist())) < array.size:
                raise InputError(f"an id in {name!r} is listed twice", path, "Keep one of each.")
        elif name == SCORES[0]:
            _refuse_other(name, array, "fiu", (n_rows, n_classes), path)
            if np.isinf(array).any():
                raise InputError(f"{scores!r} has infinite values", path, "Give numbers, NaN where there is no score.")
        else:
            _refuse_other(name, array, "u", (n_rows, -(-n_classes // 8)), path)
            if array.dtype != np.uint8 or np.unpackbits(array, axis=1)[:, n_classes:].any():
                raise InputError(f"{name!r} is not 0 and 1 packed into bits", path, PACKED)
            arrays[name] = np.unpackbits(array, axis=1, count=n_classes).astype(bool)
    if not arrays["truth"].any():
        raise InputError("'truth' has no label", path, "Give a corpus with known truth.")
    return arrays


def _refuse_other(name: str, array: np.ndarray, kinds: str, shape: tuple[int, ...], path: object) -> None:
    """Raise InputError if an array has another shape, or its type is none of these kinds of NumPy's."""
    if array.shape != shape or array.dtype.kind not in kinds:
        message = f"{name!r} has the shape {array.shape} and the type {array.dtype}"
        expected = {"U": "text", "u": "uint8"}.get(kinds, "numbers")
        raise InputError(message, path, f"It needs {shape}, {expected}. {PACKED if kinds == 'u' else ''}".rstrip())


@dataclass(frozen=True, eq=False)
class Known:
    """A corpus with known truth: `truth` (N, K) bool, `given` {annotator: (N, K) bool}, `scores` (N, K) float32.

    Scores of classes that the teacher lacks are NaN. `ontology` is the one that `kinship` comes from.
    """

    clip_ids: tuple[str, ...]
    vocabulary: Vocabulary
    kinship: Kinship
    truth: np.ndarray
    given: dict[str, np.ndarray]
    scores: np.ndarray
    ontology: Ontology = field(default_factory=Ontology.load)

    @classmethod
    def read(cls, path: str | Path) -> Known:
        """Read an archive.

        It has `clip_id` (N), `class_id` and `name` (K), `scores` (or `yamnet_max`; N, K), and with bits packed along
        axis 1 `truth`, `labels_A`, `labels_B` and so on (N, K), `children` [parent, child] and `ancestors` [class,
        ancestor].

        Raises:
            InputError: it is damaged, lacks an array, or has one of another shape or kind; an id is listed twice; there
                is no true label.
        """
        arrays = _arrays(path)
        class_ids, names, clip_ids = (tuple(arrays[name].tolist()) for name in ("class_id", "name", "clip_id"))
        given = {name.removeprefix(LABELS): arrays[name] for name in sorted(arrays) if name.startswith(LABELS)}
        return cls(
            clip_ids=clip_ids,
            vocabulary=Vocabulary(Path(path).stem, class_ids, names, class_ids),
            kinship=Kinship(arrays["ancestors"], arrays["children"]),
            truth=arrays["truth"],
            given=given,
            scores=arrays["scores"].astype(np.float32),
            ontology=ontology_of(class_ids, names, arrays["children"]),
        )

    def labels(self, annotator: str) -> LabelTable:
        """Return what an annotator gave."""
        return LabelTable(self.clip_ids, sparse.csr_array(self.given[annotator]), self.vocabulary)

    def answers(self) -> Answers:
        """Return the scores of the classes that the teacher has."""
        has = ~np.isnan(self.scores).all(axis=0)
        class_ids = tuple(np.array(self.vocabulary.class_ids)[has].tolist())
        return Answers(self.clip_ids, class_ids, self.scores[:, has])

    def closure(self, annotator: str) -> np.ndarray:
        """Return the ancestors that an annotator did not give, (N, K) bool."""
        return self.kinship.closure(sparse.csr_array(self.given[annotator])).toarray() & ~self.given[annotator]

    def measured(self, annotator: str, guesses: np.ndarray, closure: np.ndarray) -> Measures:
        """Return the measures of guesses and of what is added by rule, (N, K) bool each."""
        added, missing = guesses | closure, self.truth & ~self.given[annotator]
        n_right = (added & missing).sum()
        f1 = 2 * n_right / max(added.sum() + missing.sum(), 1)
        right = (guesses & self.truth).sum() / guesses.sum() if guesses.any() else np.nan
        precision = n_right / added.sum() if added.any() else np.nan
        return Measures(right, precision, n_right / max(missing.sum(), 1), f1)

    def missing(self, annotator: str) -> tuple[float, float]:
        """Return the share of true labels that are missing, and of these the share that a relative leads to.

        A relative leads to an ancestor of a given label, and to a class with a nearest parent that is given or such an
        ancestor.
        """
        closure, missing = self.closure(annotator), self.truth & ~self.given[annotator]
        known = closure | self.given[annotator]
        reached = missing & (known | (known.astype(np.int32) @ self.kinship.children > 0))
        return missing.sum() / self.truth.sum(), reached.sum() / max(missing.sum(), 1)


def ontology_of(class_ids: Sequence[str], names: Sequence[str], children: np.ndarray) -> Ontology:
    """Return the ontology of K classes in which `children` (K, K) bool, [parent, child], are the direct ones."""
    below = (tuple(class_ids[child] for child in np.flatnonzero(row)) for row in children)
    return Ontology.from_nodes(map(Node, class_ids, names, below))


class Judged(NamedTuple):
    """One rule on one corpus; `expected` is the mean probability of its guesses, NaN of rules that give none."""

    rule: str
    errors: str
    expected: float
    measures: Measures


def percentile(known: Known, annotator: str, rule: str = "25p") -> Measures:
    """Return the measures of a threshold rule of PSLA's."""
    enhanced = enhance(known.labels(annotator), known.answers(), known.ontology, EnhanceOptions(rule))
    added = enhanced.labels.matrix.toarray() & ~known.given[annotator]
    return known.measured(annotator, added, np.zeros_like(added))


def propagated(known: Known, annotator: str) -> np.ndarray:
    """Return what hierarchical label propagation (Tuncay et al. 2025) adds, (N, K) bool.

    A label is given to its nearest parent, and so on, as long as there is one parent alone.
    """
    children = known.kinship.children
    only = (children & (children.sum(axis=0) == 1)).T.astype(np.int32)  # [class, its only parent]
    labels = known.given[annotator]
    while (more := labels | (labels.astype(np.int32) @ only > 0)).sum() > labels.sum():
        labels = more
    return labels & ~known.given[annotator]


def has_cleanlab() -> bool:
    """Return whether cleanlab is installed."""
    return importlib.util.find_spec("cleanlab") is not None


def confident(known: Known, annotator: str) -> np.ndarray:
    """Return the absent labels that confident learning (Northcutt et al. 2021) doubts, (N, K) bool, class by class.

    Labels are those with their ancestors. cleanlab's defaults count.
    """
    from cleanlab.filter import find_label_issues

    closed = known.given[annotator] | known.closure(annotator)
    found = np.zeros_like(closed)
    for k in np.flatnonzero(closed.any(axis=0) & ~closed.all(axis=0) & ~np.isnan(known.scores).all(axis=0)):
        score = known.scores[:, k].astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # few clips carry the class
            doubted = find_label_issues(closed[:, k].astype(int), np.stack([1 - score, score], axis=1), n_jobs=1)
        found[:, k] = doubted & ~closed[:, k]
    return found


def calibrated(
    known: Known, annotator: str, calibration: Calibration, precisions: Sequence[float] = PRECISIONS
) -> Iterator[Judged]:
    """Yield the rule `precision:P` for each P, with each of ERRORS."""
    child, free = calibration.histograms()
    block = calibration.block(0, len(known.clip_ids))
    closure = known.closure(annotator)
    for precision in precisions:
        for errors, histogram in zip(ERRORS, (child, child + free), strict=True):
            cut = histogram.cut(precision)
            guesses = block.probabilities >= cut.lowest
            if errors == "I II":
                guesses &= block.child
            yield Judged(f"precision:{precision:g}", errors, cut.expected, known.measured(annotator, guesses, closure))


def calibration_of(known: Known, annotator: str) -> Calibration:
    """Return the probabilities of all guesses."""
    labels = known.labels(annotator)
    return Calibration.of(Corpus(labels, [Evidence.match(labels, known.answers())], known.kinship))


def judge(known: Known, annotator: str, calibration: Calibration) -> Iterator[Judged]:
    """Yield every rule; cleanlab's only where it is installed."""
    closure, none = known.closure(annotator), np.zeros_like(known.truth)
    for rule in PERCENTILES:
        yield Judged(rule, "I II", np.nan, percentile(known, annotator, rule))
    yield Judged("closure", "II", np.nan, known.measured(annotator, none, closure))
    yield Judged("propagation", "II", np.nan, known.measured(annotator, none, propagated(known, annotator)))
    if has_cleanlab():
        found = confident(known, annotator)
        yield Judged("cleanlab", "any", np.nan, known.measured(annotator, found, none))
        yield Judged("closure + cleanlab", "any", np.nan, known.measured(annotator, found, closure))
    yield from calibrated(known, annotator, calibration)


def reliability(known: Known, calibration: Calibration) -> np.ndarray:
    """Return the number of guesses, their summed probability and how many are right in N_BINS equal bins, (3, bins)."""
    probabilities = calibration.block(0, len(known.clip_ids)).probabilities
    there = ~np.isnan(probabilities)
    values, right = probabilities[there].astype(np.float64), known.truth[there]
    bins = np.minimum((values * N_BINS).astype(int), N_BINS - 1)
    return np.stack([np.bincount(bins, weights, N_BINS) for weights in (np.ones(len(values)), values, right)])
