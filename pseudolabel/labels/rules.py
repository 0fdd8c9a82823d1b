"""Rules: which labels may be added, on what evidence, from which threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from scipy import sparse

from pseudolabel.errors import InputError
from pseudolabel.labels.additions import TYPE_BITS
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.thresholds import is_threshold_file, parse_rule
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.options import check_types

CHOICES = {
    "errors": ("I", "II"),
    "type1": ("children", "descendants"),
    "type2": ("parents", "ancestors", "closure"),
    "profile": ("default", "psla"),
}
ALL_ROUNDS = "all"
# Classes of FSD50K that the published code passes over as not in the ontology, although they are; they propose nothing.
PSLA_SKIPPED = ("/m/09l8g", "/m/0bm0k", "/t/dd00012", "/m/09hlz4", "/t/dd00071")
FIXED_BY_PSLA = ("type1", "type2", "min_positives", "floor", "rounds", "evidence")


def evidence_scale(text: str) -> str:
    """Return `clip`, or the length of windows as stores name it: `2s`, `1.5s`.

    Raises:
        InputError: neither.
    """
    if text == "clip":
        return text
    try:
        length_s = float(text.removesuffix("s"))
    except ValueError:
        length_s = math.nan
    if not 0 < length_s < math.inf:
        message = f"{text!r} is neither `clip` nor a length of windows in seconds"
        raise InputError(message, "--evidence", "Give clip, or a length such as 2s, 1.5s or 10.")
    return f"{length_s!r}".removesuffix(".0") + "s"


@dataclass(frozen=True)
class EnhanceOptions:
    """How labels are added.

    Args:
        threshold: statistic of the scores of the clips that carry the label: `mean`, `median`, or a percentile `25p`;
            or a constant `0.5`; or the path of a CSV file with the columns `class_id,threshold`.
        errors: which kinds of missing labels to look for: `I` (children), `II` (parents).
        type1: what a label proposes for Type I: `children`, its nearest descendants in the vocabulary, or all
            `descendants`.
        type2: what a label proposes for Type II: `parents` (nearest ancestors in the vocabulary), `ancestors` (all),
            or `closure`: all ancestors, added by rule whatever the teacher says.
        min_positives: a class with fewer labelled and scored clips gets no threshold and is not added.
        strict: a labelled clip without scores is an error; otherwise it keeps its labels and is listed.
        floor: no class's threshold is below it.
        rounds: how often added labels may propose again, or `all`: until nothing is added. Thresholds stay the first.
        evidence: what is compared with the threshold, and what thresholds are made from: the score of the whole `clip`
            or the best of its windows of a length: `2s`, `1.5s`, `10`.
        profile: `psla` takes the relations of PSLA's published code: direct children in the vocabulary, ancestors
            reached without abstract nodes.
    """

    threshold: str = "mean"
    errors: tuple[str, ...] = ("I", "II")
    type1: str = "children"
    type2: str = "ancestors"
    min_positives: int = 1
    strict: bool = False
    floor: float = 0.0
    rounds: int | str = 1
    evidence: str = "clip"
    profile: str = "default"

    def __post_init__(self) -> None:
        check_types(self)
        if not is_threshold_file(self.threshold):
            object.__setattr__(self, "threshold", parse_rule(self.threshold).text)
        for option, allowed in CHOICES.items():
            given = self.errors if option == "errors" else (getattr(self, option),)
            if not given or not set(given) <= set(allowed):
                raise InputError(f"no such choice: {' '.join(given)!r}", f"--{option}", f"Give {' or '.join(allowed)}.")
        object.__setattr__(self, "evidence", evidence_scale(self.evidence))
        object.__setattr__(self, "errors", tuple(error for error in TYPE_BITS if error in self.errors))
        if self.min_positives < 1:
            raise InputError(f"at least 1 positive is needed, not {self.min_positives}", "--min-positives")
        if self.min_positives > 1 and is_threshold_file(self.threshold):
            message = "thresholds from a file are taken as they stand, whatever a class's number of positives"
            raise InputError(message, "--min-positives", "Leave it away, or empty the thresholds in the file.")
        if not 0 <= self.floor <= 1:
            raise InputError(f"{self.floor} is not in [0, 1]", "--floor")
        if self.rounds != ALL_ROUNDS and not (isinstance(self.rounds, int) and self.rounds >= 1):
            raise InputError(f"{self.rounds!r} is not a number of rounds", "--rounds", "Give 1 or more, or all.")
        if self.profile == "psla":
            self._refuse_other_than_psla()

    def _refuse_other_than_psla(self) -> None:
        for field in fields(self):
            if field.name in FIXED_BY_PSLA and getattr(self, field.name) != field.default:
                option = f"--{field.name.replace('_', '-')}"
                raise InputError("is fixed by --profile psla, the published code's rule", option, "Leave one away.")

    @property
    def name(self) -> str:
        """What folders and summaries call the threshold: `mean`, `25p`, `0.5`, or the file's name without ending."""
        return Path(self.threshold).stem if is_threshold_file(self.threshold) else self.threshold

    @property
    def meaning(self) -> Mapping[str, str]:
        """What each error type looks for, in words."""
        if self.profile == "psla":
            return {"I": "direct children", "II": "ancestors reached without abstract nodes"}
        return {"I": self.type1, "II": "ancestors, by rule" if self.type2 == "closure" else self.type2}

    @property
    def by_rule(self) -> tuple[str, ...]:
        """The types whose proposals are added without a score."""
        return ("II",) if self.type2 == "closure" and "II" in self.errors else ()

    @property
    def only_by_rule(self) -> bool:
        """Whether no proposal is compared with a score."""
        return self.by_rule == self.errors

    def refuse_without_scores(self, place: object = "") -> None:
        """Raise InputError where a chosen type needs scores; `place` is the file that has none."""
        if not self.only_by_rule:
            option = "--errors I" if "I" in self.errors else f"--type2 {self.type2}"
            message = f"{'no such file' if place else 'no scores'}, and {option} needs the teacher's scores"
            raise InputError(message, place, "Give --scores; only --errors II --type2 closure needs none.")

    @property
    def max_rounds(self) -> float:
        """The number of rounds, infinite for `all`."""
        return float("inf") if self.rounds == ALL_ROUNDS else self.rounds

    def relations(self, ontology: Ontology, vocabulary: Vocabulary) -> dict[str, sparse.csr_array]:
        """Return for each error type the (K, K) bool relation [label, class that it proposes]."""
        if self.profile == "psla":
            relation_of = {"I": ontology.direct_children, "II": ontology.concrete_ancestors}
            return {error: relation_of[error](vocabulary, PSLA_SKIPPED) for error in self.errors}
        type2 = "ancestors" if self.type2 == "closure" else self.type2
        return {
            error: getattr(ontology, name)(vocabulary)
            for error, name in (("I", self.type1), ("II", type2))
            if error in self.errors
        }
