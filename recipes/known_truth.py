"""What known_truth.sh needs between the verbs: labels by several annotators of one corpus, and the comparison of rules.

python recipes/known_truth.py annotate WORK --annotators A D      # WORK/events.csv -> WORK/labels: A.csv, D.csv
python recipes/known_truth.py compare WORK CORPUS... --annotators A D --teachers in_fold    # -> WORK/comparison

A CORPUS is a folder of `simulate` with labels and scores/ANNOTATOR-TEACHER.h5, or a folder of .npz files with
scores.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pseudolabel import dry_run
from pseudolabel.artefacts import whole_folder
from pseudolabel.command import Command, run_command
from pseudolabel.corpus.annotator import Annotator, AnnotatorOptions
from pseudolabel.corpus.outputs import EVENTS
from pseudolabel.errors import InputError
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import LABELS, RUN, TRUTH, VOCABULARY
from pseudolabel.options import Options, option
from pseudolabel.packages import how_to_install
from pseudolabel.reports.known_truth import Known, calibration_of, has_cleanlab, judge, reliability
from pseudolabel.reports.known_truth_page import Outcome, Setting, write_page
from pseudolabel.scores.store import ScoreStore
from pseudolabel.simulate import ANNOTATOR, SimulateOptions
from pseudolabel.tables import read_csv, read_json

LETTERS = tuple("ABCDE")
NOTES = (
    "PSLA's thresholds (mean, 25p, 10p, 5p): errors I and II, over the clips that carry the label.",
    "closure: all ancestors. propagation: hierarchical label propagation (Tuncay et al. 2025), to a parent that is the "
    "only one.",
    "cleanlab: confident learning (Northcutt et al. 2021) class by class, on the labels with their ancestors.",
    "precision:P: all ancestors, then the most probable guesses.",
    "in_fold: a teacher that was trained on the labels it is to complete; out_of_fold: one that saw neither the clip "
    "nor its sources. Each annotator's labels have teachers of their own.",
)


@dataclass(frozen=True, kw_only=True)
class AnnotateOptions(Options):
    """Who labels which corpus."""

    work: Path = option(help="folder of simulate", positional=True)
    annotators: tuple[str, ...] = option(LETTERS, "who", choices=LETTERS)


@dataclass(frozen=True, kw_only=True)
class CompareOptions(Options):
    """Which corpora, annotators and teachers."""

    work: Path = option(help="folder of what is made", positional=True)
    corpora: tuple[Path, ...] = option(help="folders of corpora", positional=True)
    annotators: tuple[str, ...] = option(LETTERS, "who labelled", choices=LETTERS)
    teachers: tuple[str, ...] = option(("in_fold", "out_of_fold"), "whose scores")


def annotate(options: AnnotateOptions) -> None:
    """Write the training list as each annotator would label it, just as `simulate --annotator` does."""
    work = options.work
    vocabulary = Vocabulary.load(work / VOCABULARY)
    listed = LabelTable.read(work / LABELS, vocabulary)
    seed = read_json(work / RUN)["seed"]
    events: dict[str, list[dict]] = {}
    for row in read_csv(work / EVENTS, ("clip_id", "class_id", "snr_db")):
        events.setdefault(row["clip_id"], []).append(row)
    sounding = {row["class_id"] for found in events.values() for row in found}
    ancestors = Ontology.load().ancestors(vocabulary)
    with whole_folder(work / "labels") as folder:
        for letter in options.annotators:
            habits, stream = AnnotatorOptions(preset=letter), SimulateOptions(seed=seed).stream(ANNOTATOR)
            annotator = Annotator.draw(vocabulary, ancestors, sounding, habits, stream)
            given = [
                annotator.annotate(
                    clip_id,
                    [row["class_id"] for row in events[clip_id]],
                    [float(row["snr_db"]) for row in events[clip_id]],
                ).given
                for clip_id in listed.clip_ids
            ]
            LabelTable.from_sets(listed.clip_ids, given, vocabulary).write(folder / f"{letter}.csv")


def simulated(work: Path, letter: str, teacher: str) -> Known:
    """Return a simulated corpus as an annotator labelled it and a teacher scored it."""
    vocabulary = Vocabulary.load(work / VOCABULARY)
    given = LabelTable.read(work / "labels" / f"{letter}.csv", vocabulary)
    truth = LabelTable.read(work / TRUTH, vocabulary)
    store = ScoreStore.open(work / "scores" / f"{letter}-{teacher}.h5")
    ontology = Ontology.load()
    scores = np.asarray(store.clip_scores())[store.rows(given.clip_ids)]
    return Known(
        clip_ids=tuple(given.clip_ids),
        vocabulary=vocabulary,
        kinship=Kinship.of(ontology.ancestors(vocabulary), ontology.children(vocabulary)),
        truth=truth.select(given.clip_ids).matrix.toarray(),
        given={letter: given.matrix.toarray()},
        scores=scores[:, store.columns(vocabulary.class_ids)].astype(np.float32),
    )


def settings(options: CompareOptions) -> Iterator[tuple[str, Setting, Known]]:
    """Yield every corpus, its setting, and what is known of it."""
    for folder in options.corpora:
        if (folder / EVENTS).is_file():
            sounds = "recorded" if "--sounds" in recorded_command(folder) else "synthesised"
            for letter in options.annotators:
                for teacher in options.teachers:
                    yield folder.name, Setting(sounds, teacher, letter), simulated(folder, letter, teacher)
            continue
        for path in sorted(folder.glob("*.npz")):
            known = Known.read(path)
            for letter in options.annotators:
                if letter in known.given:
                    yield path.stem, Setting(folder.name, "imported", letter), known


def recorded_command(folder: Path) -> str:
    """Return the command that made a corpus."""
    return read_json(folder / RUN)["command"]


def compare(options: CompareOptions) -> None:
    """Judge all rules on all corpora; write and print the tables, and write the page."""
    if not has_cleanlab():
        print(f"cleanlab is not installed: its rows are left out. {how_to_install('cleanlab')}", file=sys.stderr)
    outcomes = []
    for corpus, setting, known in settings(options):
        calibration = calibration_of(known, setting.annotator)
        judged = tuple(judge(known, setting.annotator, calibration))
        missing, bins = known.missing(setting.annotator), reliability(known, calibration)
        outcomes.append(Outcome(corpus, setting, missing, judged, bins))
    if not outcomes:
        raise InputError("holds no corpus with labels of these annotators", options.corpora[0])
    with whole_folder(options.work / "comparison") as folder:
        write_page(folder, outcomes, NOTES, shlex.join(["python", "recipes/known_truth.py", *sys.argv[1:]]))


def plan_annotate(options: AnnotateOptions) -> str:
    """Return what a dry run says of the labels."""
    work = options.work
    dry_run.refuse_absent(*(work / name for name in (VOCABULARY, LABELS, RUN, EVENTS)))
    dry_run.promise(work / "labels", *(f"{letter}.csv" for letter in options.annotators))
    return f"would write {work / 'labels'}: the list as {', '.join(options.annotators)} would label it"


def plan_compare(options: CompareOptions) -> str:
    """Return what a dry run says of the comparison."""
    for folder in options.corpora:
        if not dry_run.there(folder / EVENTS) and not any(folder.glob("*.npz")):
            raise InputError("neither a simulated corpus nor a folder of .npz files", folder)
        if dry_run.there(folder / EVENTS):
            names = [f"{letter}-{teacher}.h5" for letter in options.annotators for teacher in options.teachers]
            dry_run.refuse_absent(*(folder / "scores" / name for name in names))
    return f"would write {options.work / 'comparison'}"


COMMANDS = {
    "annotate": Command(AnnotateOptions, annotate, plan_annotate),
    "compare": Command(CompareOptions, compare, plan_compare),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the two steps."""
    return run_command("known_truth", __doc__, COMMANDS, argv, needed=True)


if __name__ == "__main__":
    raise SystemExit(main())
