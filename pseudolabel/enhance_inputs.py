"""The inputs of `enhance`: labels, scores, ontology and rules, from options or as an earlier run recorded them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

from pseudolabel import dry_run
from pseudolabel.audio.clips import ClipStore
from pseudolabel.cli import base, default_file, existing, read_labels, vocabulary_source
from pseudolabel.errors import InputError
from pseudolabel.labels.enhancement import Scored
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.thresholds import is_threshold_file
from pseudolabel.labels.vocabulary import Vocabulary, table_path
from pseudolabel.layout import CLIPS, LABELS, LEDGER, SCORES
from pseudolabel.options import ListOptions, VerbOptions, nested, option
from pseudolabel.ownership import read_run
from pseudolabel.records import Inputs, input_in_role, recorded_input, recorded_reading
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, parse_window
from pseudolabel.verification import compare_windows

MOST_TEACHERS = 64
SOFT_WINDOWS = "--soft-windows"
NO_FOLDER = "Give a folder that enhance wrote, such as work/enhanced-25p."


@dataclass(frozen=True, kw_only=True)
class SearchOptions(VerbOptions, ListOptions):
    """Where to search for missing labels, and by which rules."""

    labels: Path | None = option(None, "label list", file=LABELS)
    scores: tuple[Path, ...] = option(
        (),
        "score store (default: scores.h5 of WORK, or beside --labels; none where all is added by rule); with "
        "precision:P also several",
        metavar="FILE",
        file=SCORES,
    )
    ontology: Path | None = option(None, "ontology table or published ontology.json (default: AudioSet's)")
    thresholds_from: tuple[Path, Path] | None = option(
        None, "label list and score store to compute the thresholds from", metavar=("LABELS", "SCORES")
    )
    judgements: Path | None = option(
        None, "reviewed.csv of earlier guesses (`review estimate`), which corrects the probabilities of precision:P"
    )
    rules: EnhanceOptions = nested(EnhanceOptions)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rules", replace(self.rules, strict=self.strict or self.rules.strict))
        if len(self.scores) > MOST_TEACHERS:
            raise InputError(
                f"{len(self.scores)} score stores are more than {MOST_TEACHERS}", "--scores", "Average some."
            )
        self._refuse_without_effect()
        if len({path.absolute() for path in self.scores}) < len(self.scores):
            raise InputError("one store is named twice", "--scores", "Name each teacher's scores once.")

    def _refuse_without_effect(self) -> None:
        """Raise InputError for an option of the rules that these rules do not use."""
        rules, usual = self.rules, EnhanceOptions()
        unused = {"type1": "--errors II"} if "I" not in rules.errors else {}
        unused |= {"type2": "--errors I"} if "II" not in rules.errors else {}
        if rules.only_by_rule:
            of_scores = ("threshold", "floor", "min_positives", "fallback_threshold", "evidence")
            only = "--errors II" if rules.precision is not None else "--errors II --type2 closure"
            unused |= dict.fromkeys(of_scores, f"{only}, which compares no scores")
        for name, mode in unused.items():
            if getattr(rules, name) != getattr(usual, name):
                raise InputError(f"has no effect with {mode}", f"--{name.replace('_', '-')}", "Leave one out.")

    @property
    def named(self) -> tuple[Path | None, ...]:
        """The label list and the score stores that are named."""
        return self.labels, *self.scores

    @property
    def thresholds(self) -> tuple[str, ...]:
        """The threshold rules in use."""
        return (self.rules.threshold,)

    @property
    def scales(self) -> dict[str | float, str]:
        """The scales that the score stores need, and the option that asks for each."""
        return {parse_window(self.rules.evidence): "--evidence"}


class Searched(NamedTuple):
    """What is searched for missing labels; arguments of `pseudolabel.labels.enhancement.enhance`."""

    labels: LabelTable
    scores: list[ScoreStore] | None
    ontology: Ontology
    thresholds_from: Scored | None
    judgements: Path | None


def search_paths(options: SearchOptions) -> tuple[Path, tuple[Path, ...]]:
    """Return the label list and the score stores, none if none is named and all additions are by rule."""
    folder = base(options, *options.named)
    labels, default = options.labels or folder / LABELS, folder / SCORES
    if options.scores or options.rules.only_by_rule:
        return labels, options.scores
    if not dry_run.there(default):
        options.rules.refuse_without_scores(default, existing(options.work / SCORES) or "")
    return labels, (default,)


def read_search(options: SearchOptions, inputs: Inputs) -> Searched:
    """Return what is searched."""
    named = options.named
    labels_path, scores_paths = search_paths(options)
    vocabulary = Vocabulary.load(inputs.read(vocabulary_source(options, *named), "vocabulary"))
    inputs.read(options.ontology or table_path("audioset.csv"), "ontology")
    inputs.read(options.classes, "classes")
    for threshold in filter(is_threshold_file, options.thresholds):
        inputs.read(threshold)
    pair = None
    if options.thresholds_from:
        others, their_scores = map(inputs.read, options.thresholds_from)
        pair = read_labels(options, others, vocabulary), ScoreStore.open(their_scores)
    roles = [_role(number) for number in range(len(scores_paths))]
    scores = [ScoreStore.open(inputs.read(*path_and_role)) for path_and_role in zip(scores_paths, roles, strict=True)]
    for scale, asking in options.scales.items():
        for store in filter(None, (*scores, pair and pair[1])):
            store.refuse_without(scale, asking, windows_only=asking == SOFT_WINDOWS)
    if scores and set(options.scales) != {CLIP}:  # a window that begins after its clip's end is no evidence
        clips_path = inputs.read(default_file(options, None, CLIPS, *named), "clips")
        for store in scores:
            compare_windows(store, clips_path and ClipStore.open(clips_path))
    labels = read_labels(options, inputs.read(labels_path, "labels"), vocabulary, own=options.labels is None)
    inputs.read(options.judgements, "judgements")
    return Searched(labels, scores or None, Ontology.load(options.ontology), pair, options.judgements)


def _role(number: int) -> str:
    """Return the role of a score store in run.json: `scores`, `scores 2`, ..."""
    return "scores" if not number else f"scores {number + 1}"


def recorded_options(options: SearchOptions, labels: LabelTable) -> dict[str, object]:
    """Return what run.json records about the options."""
    names = ("thresholds_from", "ontology", "vocabulary", "format", "classes", "unknown_labels", "soft", "soft_windows")
    names += ("work", "out")
    said = {name: getattr(options, name) for name in names if hasattr(options, name)}
    return {**asdict(options.rules), **said, "labels_left_out": labels.left_out}


# ---- as an earlier run recorded them ----------------------------------------------------------------------------


def reviewed_run(reviewed: Path) -> tuple[Path, Mapping]:
    """Return the folder of the enhancement that a reviewed ledger belongs to, and its record; empty if unknown.

    The ledger is in that folder, or was written by `review`.
    """
    folder = reviewed.absolute().parent
    record = read_run(folder)
    if ledger := input_in_role(record, "ledger"):
        folder = (recorded_input(record, ledger) or reviewed).absolute().parent
        record = read_run(folder)
    return folder, record


def list_before(reviewed: Path, home: Path) -> Path:
    """Return the list that a reviewed ledger belongs to: the recorded one, or else that of the folder `home`.

    Raises:
        InputError: the recorded list was changed or removed.
    """
    _, record = reviewed_run(reviewed)
    recorded = input_in_role(record, "labels")
    before = recorded_input(record, recorded, home) if recorded else home / LABELS
    if before is None:
        raise InputError("the list that was enhanced was changed or removed", recorded, "Give --labels.")
    return before


def recorded_search(folder: Path) -> SearchOptions:
    """Return the options that made an enhancement, from its run.json.

    Raises:
        InputError: `enhance` did not write the folder, or an input was changed or removed since.
    """
    record = read_run(folder)
    said = record.get("options") if record.get("verb") == "enhance" else None
    rules = {field.name for field in fields(EnhanceOptions)}
    if not folder.is_dir():
        raise InputError("no such folder", folder, NO_FOLDER)
    if not isinstance(said, dict) or "threshold" not in said or not (folder / LEDGER).is_file():
        raise InputError("its run.json does not say how it was made", folder, NO_FOLDER)

    def found(path: str | None) -> Path | None:
        place = recorded_input(record, path, folder, folder.absolute().parent) if path else None
        if path and place is None:
            raise InputError(f"an input of {folder} was changed or removed", path, "Enhance again, or restore it.")
        return place

    given = {name: value for name, value in said.items() if name in rules}
    if is_threshold_file(given["threshold"]):
        given["threshold"] = str(found(given["threshold"]))
    return SearchOptions(
        labels=found(input_in_role(record, "labels")),
        scores=tuple(map(found, filter(None, (input_in_role(record, _role(n)) for n in range(MOST_TEACHERS))))),
        judgements=found(input_in_role(record, "judgements")),
        ontology=found(input_in_role(record, "ontology")) if said.get("ontology") else None,
        thresholds_from=tuple(map(found, said["thresholds_from"])) if said.get("thresholds_from") else None,
        vocabulary=str(found(input_in_role(record, "vocabulary")) or said.get("vocabulary") or "audioset"),
        **recorded_reading(record),
        rules=EnhanceOptions(**given),
    )
