"""Options of enhancement: which labels may be added, on what evidence, above which threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel.errors import InputError, shown
from pseudolabel.labels.additions import TYPE_BITS
from pseudolabel.labels.candidates import Relations
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.search import Rule, ThresholdRule
from pseudolabel.labels.thresholds import VALID_RULES, PositiveScores, is_threshold_file, parse_rule
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.options import COUNT, SECONDS, SHARE, check_types, option, parse_number

ALL_ROUNDS = "all"
# FSD50K classes that the published code wrongly skips as not in the ontology; they propose nothing.
PSLA_SKIPPED = ("/m/09l8g", "/m/0bm0k", "/t/dd00012", "/m/09hlz4", "/t/dd00071")
FIXED_BY_PSLA = ("type1", "type2", "min_positives", "fallback_threshold", "floor", "rounds", "evidence")


def evidence_scale(text: str) -> str:
    """Return `clip`, or a window length as stores name it: `2s`, `1.5s`.

    Raises:
        InputError: the text is neither.
    """
    if text == "clip":
        return text
    try:
        length_s = float(text.removesuffix("s"))
    except ValueError:
        length_s = math.nan
    if SECONDS.broken_by(length_s):
        message = f"{shown(text)} is neither `clip` nor a length of windows in seconds, up to a day"
        raise InputError(message, "--evidence", "Give clip, or a length such as 2s, 1.5s or 10.")
    return f"{length_s!r}".removesuffix(".0") + "s"


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
        f"{VALID_RULES} (class_id,threshold); a statistic is one of the scores of the clips that have the label",
        metavar="RULE",
    )
    errors: tuple[str, ...] = option(("I", "II"), "missing children (I), missing parents (II)", choices=TYPE_BITS)
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
            object.__setattr__(self, "threshold", parse_rule(self.threshold).text)
        object.__setattr__(self, "evidence", evidence_scale(self.evidence))
        object.__setattr__(self, "errors", tuple(error for error in TYPE_BITS if error in self.errors))
        if not self.errors:
            raise InputError("no error type to look for", "--errors", "Give I, II or both.")
        if from_file and (self.min_positives > 1 or self.fallback_threshold is not None):
            message = "thresholds from a file are used as they are, whatever a class's number of positives"
            name = "--min-positives" if self.min_positives > 1 else "--fallback-threshold"
            raise InputError(message, name, "Omit it, or change the thresholds in the file.")
        if self.rounds != ALL_ROUNDS and not (isinstance(self.rounds, int) and self.rounds >= 1):
            raise InputError(f"{self.rounds!r} is not a number of rounds", "--rounds", "Give 1 or more, or all.")
        if self.profile == "psla":
            self._refuse_other_than_psla()

    def _refuse_other_than_psla(self) -> None:
        for field in fields(self):
            if field.name in FIXED_BY_PSLA and getattr(self, field.name) != field.default:
                name = f"--{field.name.replace('_', '-')}"
                raise InputError("is fixed by --profile psla, the published code's rule", name, "Omit one of them.")

    @property
    def name(self) -> str:
        """The threshold's name in folders and summaries: `mean`, `25p`, `0.5`, or the file's name without extension."""
        return Path(self.threshold).stem if is_threshold_file(self.threshold) else self.threshold

    @property
    def meaning(self) -> Mapping[str, str]:
        """What each error type looks for, in words."""
        if self.profile == "psla":
            return {"I": "direct children", "II": "ancestors reached without abstract nodes"}
        return {"I": self.type1, "II": "ancestors, by rule" if self.type2 == "closure" else self.type2}

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
            raise InputError(message, place, f"Give {named}; only --errors II --type2 closure needs none.")

    @property
    def max_rounds(self) -> float:
        """The maximum number of rounds, infinite for `all`."""
        return float("inf") if self.rounds == ALL_ROUNDS else self.rounds

    def rule(self, evidence: Evidence, relations: Relations, positives: PositiveScores) -> Rule:
        """Return the rule that decides which candidates are added."""
        thresholds = self.thresholds(positives, evidence.labels.vocabulary)
        without = positives.why_none(thresholds, self.threshold, self.min_positives)
        return ThresholdRule(evidence, relations, thresholds, self.by_rule, self.max_rounds, without)

    def thresholds(self, positives: PositiveScores, vocabulary: Vocabulary) -> np.ndarray:
        """Return each class's threshold, (K,) float64; NaN if it has none."""
        return positives.thresholds(self.threshold, self.min_positives, vocabulary, self.floor, self.fallback_threshold)

    def relations(self, ontology: Ontology, vocabulary: Vocabulary) -> dict[str, sparse.csr_array]:
        """Return {error type: (K, K) bool relation [label, class that it proposes]}."""
        if self.profile == "psla":
            relation_of = {"I": ontology.direct_children, "II": ontology.concrete_ancestors}
            return {error: relation_of[error](vocabulary, PSLA_SKIPPED) for error in self.errors}
        type2 = "ancestors" if self.type2 == "closure" else self.type2
        return {
            error: getattr(ontology, name)(vocabulary)
            for error, name in (("I", self.type1), ("II", type2))
            if error in self.errors
        }
