"""The rule `precision:P`: add all ancestors of labels, then the most probable guesses, of which P should be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
from scipy import sparse
from scipy.special import expit, logit

from pseudolabel.errors import InputError
from pseudolabel.labels.additions import TYPE_BITS, Additions, carried
from pseudolabel.labels.calibration import SURELY, TRUST, Cut, recalibrate, steps_of
from pseudolabel.labels.candidates import Relations
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ledger import PROBABILITY, numbers
from pseudolabel.labels.precision import MIN_CARRIERS, Calibration
from pseudolabel.labels.residuals import joined
from pseudolabel.labels.undo import decisions_of

CLOSURE, GUESSES = 1, 2  # rounds of a search
MASKED = 0.2, 0.8  # between these probabilities, a loss may ignore a target
WEAK_AUC, COMPLETE_SHARE = 0.8, 0.97
ENOUGH_JUDGED = 50  # guesses, for the corrected probabilities to be trusted with a weak teacher
NO_ANSWER = f"fewer than {MIN_CARRIERS} clips with scores carry it or a descendant"
JUDGED = ("clip_id", "class_id", "decision")  # columns of judgements
CLOSE, FEW_DIFFER = 1e-3, 0.05  # of the same fit, all but this share of judged guesses are this close
SAME_GUESSES = (
    "Judge guesses that were added with these labels and scores (`review page`, `review estimate`), or omit "
    "--judgements."
)


class Judged(NamedTuple):
    """What judgements say.

    Args:
        n: judged guesses that the probabilities are corrected by.
        elsewhere: judged labels that are no guesses of this list, nor added by rule.
        closure: judged labels added by rule, and how many of these are right.
    """

    n: int = 0
    elsewhere: int = 0
    closure: tuple[int, int] = (0, 0)


NONE_JUDGED = Judged()


@dataclass(frozen=True, eq=False)
class PrecisionRule:
    """Adds the ancestors of all labels by rule, then guesses in order of probability.

    Args:
        calibration: the probability of every guess.
        relations: what each label proposes.
        errors: `I` for guesses with a parent among the labels, `II` for closure, `free` for guesses without.
        asked: the precision asked for.
        cut: the lowest probability of an added guess; if only `errors` decide which guesses there are.
        free_left: how many guesses of type `free` would be added too, if `errors` had it.
        guesses: (N, K) float32, the probabilities of the added guesses.
        n_candidates: how many guesses there are of any probability.
        judged: what judgements corrected.
        thorough: whether candidates that are not added are looked up as well.
    """

    calibration: Calibration
    relations: Relations
    errors: tuple[str, ...]
    asked: float
    cut: Cut
    free_left: int
    guesses: sparse.csr_array
    n_candidates: int
    judged: Judged = NONE_JUDGED
    thorough: bool = False
    masked: tuple[float, float] = field(default=MASKED, init=False)

    @classmethod
    def of(
        cls,
        calibration: Calibration,
        relations: Relations,
        errors: tuple[str, ...],
        asked: float,
        judgements: tuple[pa.Table, object] | None = None,
    ) -> Self:
        """Choose the guesses to add.

        `judgements` of earlier guesses (a table with columns JUDGED, and its name in errors) correct the probabilities.
        """
        judged = NONE_JUDGED
        if judgements is not None:
            calibration, judged = _corrected(calibration, *judgements)
        child, free = calibration.histograms((*errors, "free"))
        with_free = (child + free).cut(asked)
        cut = with_free if "free" in errors else child.cut(asked)
        n_candidates = int(child.counts.sum() + (free.counts.sum() if "free" in errors else 0))
        free_left = int(free.counts[int(steps_of(np.array(with_free.lowest))) :].sum()) if with_free.n else 0
        left = 0 if "free" in errors else free_left
        guesses = _above(calibration, errors, cut.lowest)
        return cls(calibration, relations, errors, asked, cut, left, guesses, n_candidates, judged)

    @property
    def thresholds(self) -> np.ndarray:
        """(K,) NaN: no class has a threshold."""
        return np.full(len(self.calibration.usable), np.nan)

    @cached_property
    def without(self) -> dict[int, str]:
        """{class column: why it has no answer}."""
        return dict.fromkeys(np.flatnonzero(~self.calibration.usable).tolist(), NO_ANSWER)

    def looking_everywhere(self) -> PrecisionRule:
        """Return the rule that also returns the candidates that it does not add."""
        return replace(self, thorough=True)

    def candidates(self, labels: sparse.csr_array, start: int, number: int) -> Additions:
        """Return what closure adds in the first round, then guesses; InputError if a score is outside [0, 1]."""
        if number == CLOSURE:
            return self._closure(labels, start)
        stop = start + labels.shape[0]
        guesses = self._open(labels, start, stop) if self.thorough else self.guesses[start:stop].tocoo()
        (clips, classes), probabilities = guesses.coords, guesses.data.astype(np.float64)
        clips, classes = clips.astype(np.int64), classes.astype(np.int64)
        proposed = carried(joined(labels, self._children), clips, classes)
        types = np.where(proposed, TYPE_BITS["I"], TYPE_BITS["free"]).astype(np.int8)
        clips = clips + start
        scores, onsets_s = _best(self.calibration.viewer.corpus.teachers, clips, classes)
        none, rounds = np.full(len(clips), np.nan), np.full(len(clips), GUESSES, np.int32)
        return Additions(clips, classes, types, scores, none, onsets_s, rounds, probabilities)

    def _closure(self, labels: sparse.csr_array, start: int) -> Additions:
        clips, classes, types = self.relations.candidates(labels)
        chosen = (types & TYPE_BITS["II"]) > 0 if "II" in self.errors else np.zeros(len(clips), bool)
        clips, classes = clips[chosen] + start, classes[chosen]
        none = np.full(len(clips), np.nan)
        types, rounds = np.full(len(clips), TYPE_BITS["II"], np.int8), np.full(len(clips), CLOSURE, np.int32)
        return Additions(clips, classes, types, none, none, none, rounds, none)

    def _open(self, labels: sparse.csr_array, start: int, stop: int) -> sparse.coo_array:
        """Return the probabilities of all guesses on a block of clips (n, K); NaN: no answer for a label's child."""
        probabilities, _ = self.calibration.block(start, stop, self.errors)
        proposed = joined(labels, self._children).toarray()
        searched = proposed & ("I" in self.errors) & ~self.calibration.usable
        searched[labels.nonzero()] = False
        clips, classes = np.nonzero(searched | ~np.isnan(probabilities))
        return sparse.coo_array((probabilities[clips, classes], (clips, classes)), shape=labels.shape)

    @property
    def _children(self) -> np.ndarray:
        return self.calibration.viewer.corpus.kinship.children

    def accepts(self, candidates: Additions) -> np.ndarray:
        """Return which are added by rule, or are probable enough, (M,) bool."""
        return (candidates.rounds == CLOSURE) | (candidates.probabilities >= self.cut.lowest)

    def goes_on(self, number: int, n_added: int) -> bool:
        """Return whether the guesses follow."""
        return number < GUESSES

    def values(self, candidates: Additions) -> np.ndarray:
        """Return the soft target of each candidate, (M,): its probability."""
        return candidates.probabilities

    def why_not(self, rejected: Additions) -> list[str]:
        """Return why each candidate is not added: no answer, or too small a probability."""
        pairs = zip(rejected.classes.tolist(), rejected.probabilities.tolist(), strict=True)
        lowest = f"below {self.cut.lowest:.3f}" if self.cut.n else "and no guess reaches the precision"
        return [
            f"the probability is {p:.3f}, {lowest}"
            if not np.isnan(p)
            else f"no answer: {self.without.get(k, 'the clip has no scores')}"
            for k, p in pairs
        ]

    def why_no_candidates(self, clip: int, classes: Sequence[int]) -> list[str]:
        """Return why each class is no candidate on the clip in row `clip`."""
        block, closed = self.calibration.block(clip, clip + 1), self.calibration.viewer.corpus.closed[[clip]].indices
        reasons = []
        for k in classes:
            if k in closed:
                reasons.append("a given label would add it by rule, only with --errors II")
            elif k in self.without or np.isnan(block.probabilities[0, k]):
                reasons.append(f"no answer: {self.without.get(k, 'the clip has no scores of it')}")
            elif block.child[0, k]:
                missing = "II" if "I" in self.errors else "I"
                whose = "an ancestor of a label" if missing == "II" else "a label, or an ancestor of one,"
                reasons.append(f"{whose} would propose it, only with --errors {missing}")
            else:
                reasons.append("no label proposes it: a guess only with --errors free")
        return reasons

    # ---- what summaries state ----

    def facts(self) -> dict:
        """Return what summary.json states about the guesses."""
        classes, values = self.guesses.nonzero()[1], self.guesses.data.astype(np.float64)
        closure, given = self.calibration.viewer.corpus.closed.nnz, self.calibration.viewer.corpus.labels.matrix.nnz
        by_type = {}
        for error in ("I", "free"):
            if error in self.errors:
                chosen = values[self._is_child == (error == "I")]
                by_type[error] = {"labels_added": len(chosen), "expected_precision": _mean(chosen)}
        judged, right = self.judged.closure
        return {
            "precision_asked": self.asked,
            "expected_precision": _mean(values),
            "lowest_probability": self.cut.lowest if self.cut.n else None,
            "labels_added": len(values),
            "classes_touched": len(np.unique(classes)),
            "by_type": by_type,
            "free_would_add": self.free_left,
            "judged": self.judged.n,
            "judged_elsewhere": self.judged.elsewhere,
            "closure_judged": {"judged": judged, "right": right},
            "share_given_free": None if self.calibration.free is None else float(self.calibration.free.shares[0]),
            "median_auc": [None if np.isnan(auc) else float(auc) for auc in self.calibration.auc],
            "looks_complete": closure == given and self._nearly_all_given(),
            "warnings": self._warnings(complete=closure == given),
        }

    @cached_property
    def _is_child(self) -> np.ndarray:
        """Which of the added guesses are proposed by a parent, (M,) bool."""
        corpus = self.calibration.viewer.corpus
        labels = corpus.closed if "II" in self.errors else corpus.labels.matrix
        return carried(joined(labels, self._children), *self.guesses.nonzero())

    def _warnings(self, complete: bool) -> list[str]:
        warnings = []
        if not self.n_candidates:
            few = f": no class has {MIN_CARRIERS} clips with scores that carry it or a descendant"
            warnings.append(f"there are no guesses{'' if self.calibration.usable.any() else few}")
        elif not self.cut.n and self.asked > TRUST and not self.judged.n:
            warnings.append(
                f"no guess is added: at most {TRUST:g} can be promised without judgements. Judge 100 guesses of a "
                "lower precision (`review`) and give --judgements"
            )
        elif not self.cut.n:
            warnings.append(f"no guess is added: not even the most probable ones reach {self.asked:g}")
        for number, auc in enumerate(self.calibration.auc.tolist(), 1):
            if auc < WEAK_AUC and self.judged.n < ENOUGH_JUDGED:
                more = f"more guesses than the {self.judged.n} so far" if self.judged.n else "100 guesses"
                give = "" if self.judged.n else " and give --judgements"
                teacher = "the teacher" if len(self.calibration.auc) == 1 else f"teacher {number}"
                warnings.append(
                    f"{teacher} separates labelled clips from others poorly (median AUC {auc:.2f}): the expected "
                    f"precision is overstated. Judge {more} (`review`){give}, or ask for more"
                )
        if complete and self._nearly_all_given():
            warnings.append(
                "the list looks complete: all ancestors are given, and nearly all clips with evidence for a class are "
                "labelled. On complete lists precision:0.7 still added 4 % of wrong labels"
            )
        return warnings

    def _nearly_all_given(self) -> bool:
        """Return whether nearly all clips with evidence for a class are labelled with it."""
        usable, regressions = self.calibration.usable, (self.calibration.child, self.calibration.free)
        shares = [one.shares[usable].mean() for one in regressions if one is not None]
        return bool(shares) and bool(min(shares) > COMPLETE_SHARE)

    def class_facts(self) -> list[dict]:
        """Return for each class `c`, `carriers` and `expected_precision`, as in thresholds.csv."""
        n_classes, classes = len(self.calibration.usable), self.guesses.nonzero()[1]
        n = np.bincount(classes, minlength=n_classes)
        total = np.bincount(classes, self.guesses.data, n_classes)
        shares = next((one.shares for one in (self.calibration.child, self.calibration.free) if one), None)
        return [
            {
                "c": float(shares[k]) if shares is not None and self.calibration.usable[k] else None,
                "carriers": int(self.calibration.viewer.carriers[k]),
                "expected_precision": float(total[k] / n[k]) if n[k] else None,
            }
            for k in range(n_classes)
        ]


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _best(teachers: Sequence[Evidence], clips: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the score and the window's start, (M,) each, of the first teacher that has a score."""
    scores, onsets_s = teachers[0].best(clips, classes)
    for teacher in teachers[1:]:
        absent = np.flatnonzero(np.isnan(scores))
        scores[absent], onsets_s[absent] = teacher.best(clips[absent], classes[absent])
    return scores, onsets_s


def _above(calibration: Calibration, errors: Sequence[str], lowest: float) -> sparse.csr_array:
    """Return the probabilities of all guesses of at least `lowest`, (N, K) float32."""
    n_classes = len(calibration.usable)

    def above(start: int, stop: int) -> sparse.csr_array:
        probabilities, _ = calibration.block(start, stop, errors)
        chosen = np.nonzero(probabilities >= lowest)
        return sparse.csr_array((probabilities[chosen], chosen), shape=probabilities.shape)

    parts = list(calibration.viewer.corpus.each_block(above, "guesses")) if np.isfinite(lowest) else []
    if not parts:
        return sparse.csr_array((len(calibration.viewer.corpus.labels), n_classes), dtype=np.float32)
    return sparse.csr_array(sparse.vstack(parts, "csr"))


def _corrected(calibration: Calibration, judgements: pa.Table, source: object) -> tuple[Calibration, Judged]:
    """Return the calibration corrected by judgements, and what they say; InputError if they are of other guesses."""
    corpus = calibration.viewer.corpus
    keys, decided = decisions_of(corpus.labels, judgements, source)
    judged = np.isin(decided, ("right", "wrong"))
    if not judged.any():
        message = "nothing is judged right or wrong"
        raise InputError(message, source, "Give the reviewed.csv that `review estimate` wrote, with decisions.")
    (clips, classes), right = np.divmod(keys[judged], len(corpus.labels.vocabulary)), decided[judged] == "right"
    raw, child = np.full(len(clips), np.nan), np.zeros(len(clips), bool)
    for clip in np.unique(clips).tolist():
        rows, block = np.flatnonzero(clips == clip), calibration.block(clip, clip + 1, raw=True)
        raw[rows], child[rows] = block.probabilities[0, classes[rows]], block.child[0, classes[rows]]
    guessed = ~np.isnan(raw)
    by_rule = carried(corpus.closed, clips, classes) & ~carried(corpus.labels.matrix, clips, classes)
    elsewhere = int((~guessed & ~by_rule).sum())
    _refuse_others(calibration, (clips, classes), raw, child, judgements.filter(pa.array(judged)), source)
    if not guessed.any() or elsewhere > guessed.sum():
        message = (
            f"{elsewhere} of {len(clips)} labels judged right or wrong are neither guesses of this list nor by rule"
        )
        if not guessed.any():
            message = f"none of {len(clips)} labels judged right or wrong is a guess of this list"
        raise InputError(message, source, SAME_GUESSES)
    corrected = recalibrate(raw[guessed], child[guessed], right[guessed])
    says = Judged(int(guessed.sum()), elsewhere, (int(by_rule.sum()), int(right[by_rule].sum())))
    return calibration.recalibrated(corrected), says


def _refuse_others(
    calibration: Calibration,
    pairs: tuple[np.ndarray, np.ndarray],
    raw: np.ndarray,
    child: np.ndarray,
    judgements: pa.Table,
    source: object,
) -> None:
    """Raise InputError if the judged guesses are those of other labels or scores.

    Their probabilities, or without these their scores, are compared with those of this fit. Earlier judgements may have
    corrected the probabilities.

    Args:
        pairs: rows of clips and columns of classes, (M,) each.
        raw, child: (M,) raw probabilities, NaN for what is no guess, and domains.
        judgements: M rows.
    """
    said, what = numbers(judgements, PROBABILITY), "probabilities"
    own = TRUST * raw
    if np.isnan(said).all():
        said, what = numbers(judgements, "score"), "scores"
        own = np.where(np.isnan(raw), np.nan, _best(calibration.viewer.corpus.teachers, *pairs)[0])
    both = ~np.isnan(said) & ~np.isnan(own)
    said, raw, child, own = said[both], raw[both], child[both], own[both]
    if not len(said):
        return
    differs = np.abs(said - own) > CLOSE
    if differs.mean() > FEW_DIFFER and what == "probabilities":
        differs &= np.abs(said - _recalibrated_like(said, raw, child)) > CLOSE
    if differs.mean() > FEW_DIFFER:
        message = f"the {what} of {differs.sum()} of {len(said)} judged guesses differ with these labels and scores"
        raise InputError(message, source, SAME_GUESSES)


def _recalibrated_like(said: np.ndarray, raw: np.ndarray, child: np.ndarray) -> np.ndarray:
    """Return the recalibration of raw probabilities that is nearest to those `said`, all (M,)."""
    log_odds, exact = logit(np.clip(raw, SURELY, 1 - SURELY)), (said > SURELY) & (said < 1 - SURELY)
    features = np.stack([child, ~child, log_odds], axis=1).astype(np.float64)
    return expit(features @ np.linalg.lstsq(features[exact], logit(said[exact]), rcond=None)[0])
