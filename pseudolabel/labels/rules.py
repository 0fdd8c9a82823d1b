"""Options of enhancement: which labels may be added, on what evidence, above which threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy import sparse

from pseudolabel.errors import InputError, NoFile, shown
from pseudolabel.labels.additions import TYPE_BITS
from pseudolabel.labels.candidates import Relations
from pseudolabel.labels.evidence import Evidence, evidence_scale
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.precision import Calibration
from pseudolabel.labels.precision_rule import PrecisionRule
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.search import Rule, ThresholdRule
from pseudolabel.labels.thresholds import VALID_RULES, PositiveScores, is_threshold_file, parse_rule
from pseudolabel.labels.views import Corpus
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.options import COUNT, SHARE, check_types, option, parse_number

ALL_ROUNDS = "all"
# FSD50K classes that the published code wrongly skips as not in the ontology; they propose nothing.
PSLA_SKIPPED = ("/m/09l8g", "/m/0bm0k", "/t/dd00012", "/m/09hlz4", "/t/dd00071")
PRECISION = "precision:"
FIXED_BY_PRECISION = {
    "type1": "guesses are nearest descendants of labels, or free",
    "min_positives": "a class needs 3 labelled clips",
    "fallback_threshold": "no class has a threshold",
    "floor": "no class has a threshold",
    "rounds": "guesses propose nothing",
    "profile": "its relations are the whole ontology's",
}
FIXED_BY_PSLA = ("type1", "type2", "min_positives", "fallback_threshold", "floor", "rounds", "evidence")


def parse_rounds(text: str) -> int | str:
    """Return a number of rounds, or `all`."""
    return ALL_ROUNDS if text == ALL_ROUNDS else int(parse_number(text, int, COUNT))


@dataclass(frozen=True)
class EnhanceOptions:
    """How labels are added; each field's help text is that of the command's option.

    `strict`: a labelled clip without scores is an error; otherwise it keeps its labels and is reported.
    """

    threshold: str = option(
        "mean",
        f"{VALID_RULES} (class_id,threshold); a statistic is one of the scores of the clips that have the label; "
        "precision:P adds the most probable guesses while P of them should be right",
        metavar="RULE",
    )
    errors: tuple[str, ...] = option(
        ("I", "II"),
        "missing children (I), missing parents (II); with precision:P also labels without a given relative (free)",
        choices=TYPE_BITS,
    )
    type1: str = option(
        "children",
        "what a label proposes for Type I: its nearest descendants in the vocabulary, or all",
        choices=("children", "descendants"),
    )
    type2: str = option(
        "ancestors",
        "what a label proposes for Type II: its nearest ancestors in the vocabulary, all, or closure: all, by rule, "
        "no score needed",
        choices=("parents", "ancestors", "closure"),
    )
    min_positives: int = option(
        1, "a class with fewer labelled and scored clips gets no threshold and is not added", COUNT, metavar="N"
    )
    strict: bool = False
    fallback_threshold: float | None = option(
        None, "threshold of classes with fewer clips than --min-positives (default: none)", SHARE, metavar="P"
    )
    floor: float = option(0.0, "no class's threshold is below it (default: 0)", SHARE, metavar="P")
    rounds: int | str = option(
        1,
        "how often added labels may propose again, all: until nothing is added; thresholds stay the first",
        parse=parse_rounds,
        metavar="N|all",
    )
    evidence: str = option(
        "clip",
        "what is compared with thresholds, and what they are made from: the score of the clip, or the best of its "
        "windows of a length (2s, 1.5s)",
        metavar="clip|LENGTH",
    )
    profile: str = option(
        "default",
        "psla: the relations of PSLA's published code: direct children, ancestors reached without abstract nodes",
        choices=("default", "psla"),
    )

    def __post_init__(self) -> None:
        check_types(self)
        from_file = is_threshold_file(self.threshold)
        if not from_file:
            text = _precision_text(self.threshold) or parse_rule(self.threshold).text
            object.__setattr__(self, "threshold", text)
        object.__setattr__(self, "evidence", evidence_scale(self.evidence))
        object.__setattr__(self, "errors", tuple(error for error in TYPE_BITS if error in self.errors))
        if not self.errors:
            raise InputError("no error type to look for", "--errors", "Give I, II or both; with precision:P also free.")
        if from_file and (self.min_positives > 1 or self.fallback_threshold is not None):
            message = "thresholds from a file are used as they are, whatever a class's number of positives"
            name = "--min-positives" if self.min_positives > 1 else "--fallback-threshold"
            raise InputError(message, name, "Omit it, or change the thresholds in the file.")
        if self.rounds != ALL_ROUNDS and not (isinstance(self.rounds, int) and self.rounds >= 1):
            raise InputError(f"{self.rounds!r} is not a number of rounds", "--rounds", "Give 1 or more, or all.")
        if self.precision is not None:
            self._refuse_other_than_precision()
            if "II" in self.errors:
                object.__setattr__(self, "type2", "closure")
        if self.profile == "psla":
            self._refuse_other_than_psla()

    def _refuse_other_than_precision(self) -> None:
        for field in fields(self):
            if field.name in FIXED_BY_PRECISION and getattr(self, field.name) != field.default:
                message = f"does not fit --threshold {self.threshold}: {FIXED_BY_PRECISION[field.name]}"
                raise InputError(message, f"--{field.name.replace('_', '-')}", "Omit one of them.")
        if self.type2 == "parents":
            message = f"does not fit --threshold {self.threshold}: all ancestors are added by rule"
            raise InputError(message, "--type2 parents", "Omit one of them.")

    def _refuse_other_than_psla(self) -> None:
        for field in fields(self):
            if field.name in FIXED_BY_PSLA and getattr(self, field.name) != field.default:
                name = f"--{field.name.replace('_', '-')}"
                raise InputError("is fixed by --profile psla, the published code's rule", name, "Omit one of them.")

    @property
    def name(self) -> str:
        """The threshold's name in folders and summaries: `mean`, `25p`, `precision-0.7`, a file's without extension."""
        return Path(self.threshold).stem if is_threshold_file(self.threshold) else self.threshold.replace(":", "-")

    @property
    def precision(self) -> float | None:
        """The precision asked for, None for rules that compare scores with thresholds."""
        return float(self.threshold.removeprefix(PRECISION)) if self.threshold.startswith(PRECISION) else None

    @property
    def meaning(self) -> Mapping[str, str]:
        """What each error type looks for, in words."""
        if self.profile == "psla":
            return {"I": "direct children", "II": "ancestors reached without abstract nodes"}
        type2 = "ancestors, by rule" if self.type2 == "closure" else self.type2
        return {"I": self.type1, "II": type2, "free": "any class, by probability alone"}

    @property
    def by_rule(self) -> tuple[str, ...]:
        """The error types whose proposals are added without a score."""
        return ("II",) if self.type2 == "closure" and "II" in self.errors else ()

    @property
    def only_by_rule(self) -> bool:
        """Whether no proposal is compared with a score."""
        return self.by_rule == self.errors

    def refuse_without_scores(self, place: object = "", elsewhere: object = "") -> None:
        """Raise InputError if a chosen error type needs scores; `place` is the missing file, another is `elsewhere`."""
        if not self.only_by_rule:
            needing = "--errors I" if "I" in self.errors else f"--type2 {self.type2}"
            message = f"{'no such file' if place else 'no scores'}, and {needing} needs the teacher's scores"
            named = f"--scores {elsewhere} if they are of these clips" if elsewhere else "--scores"
            kind = NoFile if place else InputError
            raise kind(message, place, f"Give {named}; only --errors II --type2 closure needs none.")

    def refuse_unfit(self, thresholds_from: bool = False) -> None:
        """Raise InputError if free guesses are asked of thresholds, or thresholds of other labels given to none."""
        if "free" in self.errors and self.precision is None:
            message = f"a label that no other proposes is added by its probability, not by {self.threshold}"
            raise InputError(message, "--errors free", "Give --threshold precision:0.7.")
        if thresholds_from and self.precision is not None:
            raise InputError(
                f"--threshold {self.threshold} has no thresholds", "--thresholds-from", "Omit one of them."
            )

    @property
    def max_rounds(self) -> float:
        """The maximum number of rounds, infinite for `all`."""
        return float("inf") if self.rounds == ALL_ROUNDS else self.rounds

    def rule(self, basis: Basis) -> Rule:
        """Return the rule that decides which candidates are added."""
        if self.precision is not None and not self.only_by_rule:
            return PrecisionRule.of(basis.calibration, basis.relations, self.errors, self.precision, basis.judgements)
        if len(basis.teachers) > 1:
            message = f"{self.threshold} compares one teacher's scores with thresholds, not {len(basis.teachers)}"
            raise InputError(message, "--scores", "Average them (`average scores`), or give --threshold precision:0.7.")
        if basis.judgements is not None:
            raise InputError(
                f"they change nothing for {self.threshold}", "--judgements", "Give --threshold precision:P."
            )
        thresholds = self.thresholds(basis.positives, basis.evidence.labels.vocabulary)
        without = basis.positives.why_none(thresholds, self.threshold, self.min_positives)
        return ThresholdRule(basis.evidence, basis.relations, thresholds, self.by_rule, self.max_rounds, without)

    def thresholds(self, positives: PositiveScores, vocabulary: Vocabulary) -> np.ndarray:
        """Return each class's threshold, (K,) float64; NaN if it has none."""
        if self.precision is not None:
            return np.full(len(vocabulary), np.nan)
        return positives.thresholds(self.threshold, self.min_positives, vocabulary, self.floor, self.fallback_threshold)

    def relations(self, ontology: Ontology, vocabulary: Vocabulary) -> dict[str, sparse.csr_array]:
        """Return {error type: (K, K) bool relation [label, class that it proposes]}."""
        if self.profile == "psla":
            relation_of = {"I": ontology.direct_children, "II": ontology.concrete_ancestors}
            return {error: relation_of[error](vocabulary, PSLA_SKIPPED) for error in self.errors}
        type2 = "ancestors" if self.type2 == "closure" else self.type2
        relations = {
            error: getattr(ontology, name)(vocabulary)
            for error, name in (("I", self.type1), ("II", type2))
            if error in self.errors
        }
        return relations or {"free": sparse.csr_array((len(vocabulary),) * 2, dtype=bool)}


def _precision_text(text: str) -> str | None:
    """Return `precision:P` in its canonical spelling, None if another rule is meant; InputError if P is none."""
    text = text.strip()
    if not text.startswith(PRECISION):
        return None
    try:
        value = float(text.removeprefix(PRECISION))
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise InputError(f"{shown(text)} asks for no precision between 0 and 1", "--threshold", "Give precision:0.7.")
    return f"{PRECISION}{value!r}"


@dataclass(frozen=True, eq=False)
class Basis:
    """What rules decide by.

    Args:
        teachers: the labels' scores, of one or several teachers.
        relations: what each label proposes.
        positives: the scores that thresholds are computed from.
        ontology: which class is a kind of which.
        judgements: decisions about earlier guesses (columns pseudolabel.labels.precision_rule.JUDGED), and their name
            in errors.
    """

    teachers: Sequence[Evidence]
    relations: Relations
    positives: PositiveScores
    ontology: Ontology
    judgements: tuple[pa.Table, object] | None = None

    @property
    def evidence(self) -> Evidence:
        """The scores of the first teacher."""
        return self.teachers[0]

    @cached_property
    def calibration(self) -> Calibration:
        """The probability of every guess, computed once for several precisions."""
        labels = self.evidence.labels
        ancestors, children = (of(labels.vocabulary) for of in (self.ontology.ancestors, self.ontology.children))
        return Calibration.of(Corpus(labels, self.teachers, Kinship.of(ancestors, children)))
