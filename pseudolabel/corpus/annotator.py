"""A careless annotator: omits true labels, class by class, as the annotators of AudioSet did.

It makes four slips, each with its own probability for every class: *missing child* (only an ancestor of the class is
named), *missing parent* (an ancestor is not given although its descendant is), *missed event* (the event goes
unnoticed) and *false label* (an absent class is given). The probabilities are drawn from a wide distribution, because
real omissions are uneven: 96 % of AudioSet's speech clips lack the label of the speaker, while other classes are nearly
complete.

Five annotators are ready: A, class-dependent; B, severe; C, as in AudioSet, where most parents are missing; D, who
slips on quiet events; E, as A with false labels. Shares that they leave out: docs/results.md.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse, special

from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.options import SHARE, Options, Rule, option

# Smaller parameter of the Beta distribution of the probabilities. Below 1, the density piles up at that end: at a mean
# of 0.5 both parameters are 0.35, and the density is a U whose arms are "nearly complete" and "nearly all missing".
SPREAD = 0.35
FADING_DB = 2.5  # how fast slips become rare with the level of an event
SLIPS = ("missing_child", "missing_parent", "missed_event", "false_label")
LEVEL = Rule("a number within -100 and 100", lambda value: -100 <= value <= 100)  # dB
WHY = ("child", "parent", "branch", "false")


def _slip(mean: float, name: str) -> float:
    words = f"mean probability of a {name}; the probabilities of the classes are drawn widely around it"
    return option(mean, words, SHARE, metavar="P", needs="!preset")


@dataclass(frozen=True)
class AnnotatorOptions(Options):
    """Mean probability of each slip over the classes; the defaults leave out about a third of all true labels."""

    # An event is given only as an ancestor of its class, per clip and class.
    missing_child: float = _slip(0.35, "missing child")
    # An ancestor is not given beside its descendant, per clip and ancestor.
    missing_parent: float = _slip(0.3, "missing parent")
    # The events of a class go unnoticed, and so does every ancestor that no other event supports.
    missed_event: float = _slip(0.06, "missed event")
    # An absent class is given, per clip and absent class.
    false_label: float = _slip(0.002, "false label")
    # The probabilities of the first three slips are multiplied by a factor that falls with the level of the event, for
    # an ancestor of the loudest one: 1/2 at this level, 0.88 and 0.12 at 5 dB below and above.
    loud_db: float | None = option(
        None, "dB over the background above which events are rarely left out", LEVEL, metavar="DB", needs="!preset"
    )
    preset: str | None = option(
        None,
        "instead of these options, an annotator who is A class-dependent, B severe, C like AudioSet's, D led by "
        "loudness, E as A with false labels (3 % with 110 classes)",
        choices=tuple("ABCDE"),
        flag="--annotator",
    )

    @property
    def habits(self) -> AnnotatorOptions:
        """The options that count: those of the preset, if one is named."""
        return PRESETS[self.preset] if self.preset else self


_CLASS_DEPENDENT = (0.43, 0.38, 0.09)
PRESETS = {
    "A": AnnotatorOptions(*_CLASS_DEPENDENT, 0.0),
    "B": AnnotatorOptions(0.52, 0.55, 0.3, 0.0),
    "C": AnnotatorOptions(0.1, 0.85, 0.62, 0.0),
    "D": AnnotatorOptions(*_CLASS_DEPENDENT, 0.0, loud_db=18.0),
    "E": AnnotatorOptions(*_CLASS_DEPENDENT, 0.0014),
}


class Annotation(NamedTuple):
    """The labels of one clip: true and given class ids in vocabulary order, and the (class id, why) of every slip.

    `given` = truth - {dropped for child, parent, branch} | {dropped for false}, exactly.
    """

    truth: list[str]
    given: list[str]
    dropped: list[tuple[str, str]]


@dataclass(frozen=True)
class Annotator:
    """An annotator with fixed habits: the same clip id and events always get the same labels.

    Attributes:
        vocabulary: K classes.
        ancestors: for each class, the ascending positions of all its ancestors in the vocabulary.
        rates: {slip: (K,) float64 probabilities}, NaN where the slip cannot happen.
        seed: decides every draw, together with the clip id.
        loud_db: as in AnnotatorOptions.
    """

    vocabulary: Vocabulary
    ancestors: tuple[tuple[int, ...], ...]
    rates: dict[str, np.ndarray]
    seed: int
    loud_db: float | None = None

    @classmethod
    def draw(
        cls,
        vocabulary: Vocabulary,
        ancestors: sparse.csr_array,
        event_classes: Iterable[str],
        options: AnnotatorOptions,
        seed: int,
    ) -> Annotator:
        """Draw the habits: one probability per slip and class.

        Args:
            ancestors: (K, K) bool [class, ancestor], as `Ontology.ancestors(vocabulary)` returns it.
            event_classes: ids of the classes that sound in the corpus; only their events can be missed.
        """
        n_classes = len(vocabulary)
        sounding = np.isin(vocabulary.class_ids, list(event_classes))
        pairs = sparse.csr_array(ancestors).astype(bool)
        above = tuple(
            tuple(sorted(map(int, pairs.indices[start:stop])))
            for start, stop in zip(pairs.indptr[:-1], pairs.indptr[1:], strict=True)
        )
        has_parent = np.array([bool(row) for row in above], dtype=bool)
        is_parent = np.isin(np.arange(n_classes), [ancestor for row in above for ancestor in row])
        everything = np.ones(n_classes, dtype=bool)
        rates, habits = {}, options.habits
        possible = (sounding & has_parent, is_parent, sounding, everything)
        for stream, (slip, where) in enumerate(zip(SLIPS, possible, strict=True)):
            mean = getattr(habits, slip)
            rates[slip] = np.full(n_classes, np.nan)
            rates[slip][where] = draw_rates(mean, int(where.sum()), np.random.default_rng([seed, stream]))
        return cls(vocabulary, above, rates, seed, habits.loud_db)

    def annotate(
        self, clip_id: str, event_classes: Iterable[str], levels_db: Iterable[float] | None = None
    ) -> Annotation:
        """Return the labels of a clip that contains events of these classes.

        Args:
            levels_db: of each event, in dB over the background; only needed with `loud_db`.

        If an event's class goes unnamed, one ancestor replaces it, preferably a near one: the weight halves with every
        ancestor in between. AudioSet lists no clip without labels, so if no event is noticed and no false label is
        given, the class that this annotator omits most rarely is noticed and named after all.
        """
        n_classes = len(self.vocabulary)
        rng = np.random.default_rng([self.seed, *hashlib.sha256(clip_id.encode()).digest()[:8]])
        below = dict(zip(self.rates, rng.random((len(self.rates), n_classes)), strict=True))
        which = rng.random(n_classes)  # always drawn, to keep the slips of a class independent of other classes
        classes = [self.vocabulary.index[class_id] for class_id in event_classes]
        quiet = self._quiet(classes, levels_db)
        factors = dict.fromkeys(SLIPS, quiet) | {"false_label": 1.0}
        slips = {slip: below[slip] < self.rates[slip] * factors[slip] for slip in SLIPS}  # NaN compares as False

        events = sorted(set(classes))
        truth = self._closure(events)
        false = {int(k) for k in np.flatnonzero(slips["false_label"])} - truth
        noticed = [k for k in events if not slips["missed_event"][k]]
        named = {self._coarser(k, which[k]) if slips["missing_child"][k] else k for k in noticed}
        if events and not noticed and not false:
            noticed = [min(events, key=self._difficulty)]
            named = set(noticed)
        implied, supported = self._closure(named), self._closure(noticed)
        given = {k for k in implied if k in named or not slips["missing_parent"][k]}

        why = {}
        for k in truth - given:
            why[k] = "parent" if k in implied else "child" if k in supported else "branch"
        why.update(dict.fromkeys(false, "false"))
        ids = self.vocabulary.class_ids
        return Annotation(
            [ids[k] for k in sorted(truth)],
            [ids[k] for k in sorted(given | false)],
            [(ids[k], why[k]) for k in sorted(why)],
        )

    def tally(self, annotations: Iterable[Annotation]) -> list[dict[str, object]]:
        """Return one row per class: its probability of each slip ('' if impossible), then how many of its labels were
        true, given, and wrong for each reason in WHY.
        """
        true, given, wrong = Counter(), Counter(), Counter()
        for annotation in annotations:
            true.update(annotation.truth)
            given.update(annotation.given)
            wrong.update(annotation.dropped)
        rows = []
        for k, (class_id, name) in enumerate(zip(self.vocabulary.class_ids, self.vocabulary.names, strict=True)):
            rates = {slip: "" if np.isnan(rate[k]) else f"{rate[k]:.6f}" for slip, rate in self.rates.items()}
            counts = {"n_true": true[class_id], "n_given": given[class_id]}
            reasons = {f"n_{why}": wrong[class_id, why] for why in WHY}
            rows.append({"class_id": class_id, "name": name, **rates, **counts, **reasons})
        return rows

    def _closure(self, classes: Iterable[int]) -> set[int]:
        return {one for k in classes for one in (k, *self.ancestors[k])}

    def _quiet(self, classes: list[int], levels_db: Iterable[float] | None) -> np.ndarray | float:
        """Return the factor of each class's slips, (K,): 1 without `loud_db`, else by its loudest event."""
        if self.loud_db is None:
            return 1.0
        loudest = np.full(len(self.vocabulary), -np.inf)
        for k, level_db in zip(classes, levels_db, strict=True):
            above = [k, *self.ancestors[k]]
            loudest[above] = np.maximum(loudest[above], level_db)
        return special.expit((self.loud_db - loudest) / FADING_DB)

    def _coarser(self, k: int, uniform: float) -> int:
        """Return the ancestor named in place of class k."""
        candidates = self.ancestors[k]
        weights = [0.5 ** sum(one in self.ancestors[other] for other in candidates) for one in candidates]
        return candidates[int(np.searchsorted(np.cumsum(weights) / sum(weights), uniform, side="right"))]

    def _difficulty(self, k: int) -> tuple[float, int]:
        """Return the probability that class k goes unnamed, and k to break ties."""
        child, missed = self.rates["missing_child"][k], self.rates["missed_event"][k]
        return 1 - (1 - missed) * (1 - np.nan_to_num(child)), k


def draw_rates(mean: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw probabilities (n,) with a given mean from a Beta distribution whose width is SPREAD.

    One is drawn from each of n equal slices of the distribution. Even with few classes, the mean stays near the one
    requested, one class is nearly complete and one lacks nearly everything.
    """
    if mean in (0.0, 1.0) or not n:
        return np.full(n, float(mean))
    scale = SPREAD / min(mean, 1 - mean)
    quantiles = (rng.permutation(n) + rng.random(n)) / n
    return special.betaincinv(scale * mean, scale * (1 - mean), quantiles)
