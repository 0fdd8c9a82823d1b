"""What known_truth.sh needs between the verbs: labels by several annotators of one corpus, and the comparison of rules.

python recipes/known_truth.py annotate WORK --annotators A D      # WORK/events.csv -> WORK/labels: A.csv, D.csv
python recipes/known_truth.py compare WORK CORPUS... --annotators A D --teachers in_fold --students A  # WORK/comparison

A CORPUS is a folder of one of three kinds:
  of simulate, with labels/ANNOTATOR.csv and scores/ANNOTATOR-TEACHER.h5, evaluation/ANNOTATOR of
      students
  with truth.csv, a label list of recordings, and scores*.h5, a store for each teacher; vocabulary.csv and ontology.csv
      unless they are AudioSet's. Labels are left out five times
  of .npz files with truth, labels and scores
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel import dry_run
from pseudolabel.artefacts import whole_folder
from pseudolabel.command import Command, run_command
from pseudolabel.corpus.annotator import Annotator, AnnotatorOptions
from pseudolabel.corpus.dropping import FRACTION, KINDS, most_specific, without
from pseudolabel.corpus.outputs import EVENTS
from pseudolabel.errors import InputError, first_few
from pseudolabel.formatting import fraction, plural
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import EVALUATION_FOLDER, LABELS, METRICS_FILE, RUN, TRUTH, VOCABULARY
from pseudolabel.options import Options, option
from pseudolabel.packages import how_to_install
from pseudolabel.reports.known_truth import Known, calibration_of, has_cleanlab, judge, reliability
from pseudolabel.reports.known_truth_page import Outcome, Setting, write_page
from pseudolabel.reports.known_truth_students import Trained
from pseudolabel.scores.store import ScoreStore
from pseudolabel.simulate import ANNOTATOR, SimulateOptions
from pseudolabel.tables import read_csv, read_json

LETTERS = tuple("ABCDE")
BY_LEVEL = "D"  # the annotator who goes by the level of events
ANNOTATORS = (*LETTERS, *KINDS)
ONTOLOGY = "ontology.csv"
DRAWINGS = 5  # how often labels are left out of a list
STORES = "scores*.h5"
NOTES = (
    "PSLA's thresholds (mean, 25p, 10p, 5p): errors I and II, over the clips that carry the label.",
    "closure: all ancestors. propagation: hierarchical label propagation (Tuncay et al. 2025), to a parent that is the "
    "only one.",
    "cleanlab: confident learning (Northcutt et al. 2021) class by class, on the labels with their ancestors.",
    "precision:P: all ancestors, then the most probable guesses.",
    f"Three annotators drop {fraction(FRACTION, 1)} of one kind of labels. children: those with an ancestor, and all "
    "below them. parents: those with a more specific label on the clip. events: the most specific ones, and ancestors "
    "that no other label has.",
)
OWN_TEACHERS = (
    "in_fold: a teacher that was trained on the labels it is to complete; out_of_fold: one that saw neither the clip "
    "nor its sources. Each annotator's labels have teachers of their own."
)
OF_STUDENTS = (
    "Students: labels are enhanced by the scores of the {teacher} teacher; soft targets are 1 for given labels "
    "and their ancestors, else the probability of precision:0.7 (I II free); no mask is used."
)


@dataclass(frozen=True, kw_only=True)
class AnnotateOptions(Options):
    """Who labels which corpus."""

    work: Path = option(help="folder of simulate", positional=True)
    annotators: tuple[str, ...] = option(LETTERS, "who", choices=ANNOTATORS)


@dataclass(frozen=True, kw_only=True)
class CompareOptions(Options):
    """Which corpora, annotators and teachers."""

    work: Path = option(help="folder of what is made", positional=True)
    corpora: tuple[Path, ...] = option(help="folders of corpora", positional=True)
    annotators: tuple[str, ...] = option(ANNOTATORS, "who labelled", choices=ANNOTATORS)
    teachers: tuple[str, ...] = option(("in_fold", "out_of_fold"), "whose scores")
    students: tuple[str, ...] = option((), "whose labels students learnt from", choices=ANNOTATORS, empty=True)


def annotate(options: AnnotateOptions) -> None:
    """Write the training list as each annotator would label it, just as `simulate --annotator` does."""
    work = options.work
    vocabulary = Vocabulary.load(work / VOCABULARY)
    truth = LabelTable.read(work / TRUTH, vocabulary).select(LabelTable.read(work / LABELS, vocabulary).clip_ids)
    seed = read_json(work / RUN)["seed"]
    events: dict[str, list[dict]] = {}
    for row in read_csv(work / EVENTS, ("clip_id", "class_id", "snr_db")):
        events.setdefault(row["clip_id"], []).append(row)
    classes = [[row["class_id"] for row in events[clip_id]] for clip_id in truth.clip_ids]
    levels_db = [[float(row["snr_db"]) for row in events[clip_id]] for clip_id in truth.clip_ids]
    sounding = {row["class_id"] for found in events.values() for row in found}
    with whole_folder(work / "labels") as folder:
        for name in options.annotators:
            if name in KINDS:
                given = without(truth, kinship_of(Ontology.load(), vocabulary), name, seed)
            else:
                given = labelled_by(name, truth, Ontology.load(), seed, classes, levels_db, sounding)
            given.write(folder / f"{name}.csv")


def labelled_by(
    letter: str,
    truth: LabelTable,
    ontology: Ontology,
    seed: int,
    classes: Sequence[Sequence[str]],
    levels_db: Sequence[Sequence[float] | None],
    sounding: Iterable[str],
) -> LabelTable:
    """Return a list as an annotator would label it who hears events of these classes and levels in each clip."""
    vocabulary, stream = truth.vocabulary, SimulateOptions(seed=seed).stream(ANNOTATOR)
    habits = AnnotatorOptions(preset=letter)
    annotator = Annotator.draw(vocabulary, ontology.ancestors(vocabulary), sounding, habits, stream)
    given = [
        annotator.annotate(*clip_events).given for clip_events in zip(truth.clip_ids, classes, levels_db, strict=True)
    ]
    return LabelTable.from_sets(truth.clip_ids, given, vocabulary)


def kinship_of(ontology: Ontology, vocabulary: Vocabulary) -> Kinship:
    """Return the relations of a vocabulary's classes."""
    return Kinship.of(ontology.ancestors(vocabulary), ontology.children(vocabulary))


def scored(labels: LabelTable, store: ScoreStore) -> tuple[LabelTable, np.ndarray]:
    """Return the labels of the clips that have scores, and these (n, K) float32, NaN for classes without any."""
    evidence = Evidence.match(labels, store)
    if evidence.missing:
        named = first_few(clip_id for clip_id, _ in evidence.missing)
        print(
            f"{store.path}: {plural(len(evidence.missing), 'clip')} without scores left out: {named}", file=sys.stderr
        )
    there = np.flatnonzero(evidence.row_of >= 0)
    scores = np.full((len(there), len(labels.vocabulary)), np.nan, np.float32)
    has = evidence.column_of >= 0
    scores[:, has] = np.asarray(evidence.scores)[evidence.row_of[there]][:, evidence.column_of[has]]
    return labels.select([labels.clip_ids[row] for row in there]), scores


def simulated(work: Path, annotator: str, teacher: str) -> Known:
    """Return a simulated corpus as an annotator labelled it and a teacher scored it."""
    vocabulary = Vocabulary.load(work / VOCABULARY)
    given = LabelTable.read(work / "labels" / f"{annotator}.csv", vocabulary)
    given, scores = scored(given, ScoreStore.open(work / "scores" / f"{annotator}-{teacher}.h5"))
    return Known(
        clip_ids=tuple(given.clip_ids),
        vocabulary=vocabulary,
        kinship=kinship_of(Ontology.load(), vocabulary),
        truth=LabelTable.read(work / TRUTH, vocabulary).select(given.clip_ids).matrix.toarray(),
        given={annotator: given.matrix.toarray()},
        scores=scores,
    )


def recorded(folder: Path, annotators: Sequence[str]) -> Iterator[tuple[str, Setting, Known]]:
    """Yield a list of true labels, as each annotator would leave labels out of it, with the scores of each teacher.

    Only classes that the list has count: others would be false labels of annotator E alone.
    """
    vocabulary = Vocabulary.load(folder / VOCABULARY if (folder / VOCABULARY).is_file() else "audioset")
    ontology = Ontology.load(folder / ONTOLOGY if (folder / ONTOLOGY).is_file() else None)
    listed = LabelTable.read(folder / TRUTH, vocabulary)
    closed = kinship_of(ontology, vocabulary).closure(listed.matrix)
    occur = np.flatnonzero(closed.sum(axis=0))
    vocabulary = vocabulary.subset([vocabulary.class_ids[k] for k in occur])
    kinship, truth = kinship_of(ontology, vocabulary), LabelTable(listed.clip_ids, closed[:, occur], vocabulary)
    if implied := closed.nnz - listed.matrix.nnz:
        print(f"{folder / TRUTH}: {plural(implied, 'ancestor')} of true labels added", file=sys.stderr)
    if BY_LEVEL in annotators:
        print(
            f"annotator {BY_LEVEL} goes by the level of events, which {TRUTH} does not say: left out", file=sys.stderr
        )
    for path in sorted(folder.glob(STORES)):
        true, scores = scored(truth, ScoreStore.open(path))
        matrix = true.matrix.toarray()
        events = LabelTable(true.clip_ids, sparse.csr_array(most_specific(matrix, kinship)), vocabulary).label_sets()
        sounding = {class_id for found in events for class_id in found}
        for name in annotators:
            for seed in range(DRAWINGS if name != BY_LEVEL else 0):
                if name in KINDS:
                    given = without(true, kinship, name, seed)
                else:
                    given = labelled_by(name, true, ontology, seed, events, [None] * len(events), sounding)
                known = Known(
                    true.clip_ids, vocabulary, kinship, matrix, {name: given.matrix.toarray()}, scores, ontology
                )
                yield f"{folder.name}-{seed}", Setting(folder.name, path.stem, name), known


def settings(options: CompareOptions) -> Iterator[tuple[str, Setting, Known]]:
    """Yield every corpus, its setting, and what is known of it."""
    for folder in options.corpora:
        if (folder / EVENTS).is_file():
            sounds = sounds_of(folder)
            for name in options.annotators:
                for teacher in options.teachers:
                    yield folder.name, Setting(sounds, teacher, name), simulated(folder, name, teacher)
            continue
        if (folder / TRUTH).is_file():
            yield from recorded(folder, options.annotators)
            continue
        for path in sorted(folder.glob("*.npz")):
            known = Known.read(path)
            for name in options.annotators:
                if name in known.given:
                    yield path.stem, Setting(folder.name, "imported", name), known


def sounds_of(folder: Path) -> str:
    """Return what a corpus was mixed from."""
    return "recorded" if "--sounds" in read_json(folder / RUN)["command"] else "synthesised"


def trained(options: CompareOptions) -> list[Trained]:
    """Return the students of all simulated corpora."""
    return [
        Trained.read(folder / EVALUATION_FOLDER / name, folder.name, sounds_of(folder), name)
        for folder in options.corpora
        if (folder / EVENTS).is_file()
        for name in options.students
    ]


def compare(options: CompareOptions) -> None:
    """Judge all rules on all corpora; write and print the tables, and write the page."""
    if not has_cleanlab():
        print(f"cleanlab is not installed: its rows are left out. {how_to_install('cleanlab')}", file=sys.stderr)
    outcomes = []
    for corpus, setting, known in settings(options):
        calibration = calibration_of(known, setting.annotator)
        judged = tuple(judge(known, setting.annotator, calibration))
        missing, bins = known.missing(setting.annotator), reliability(known, calibration)
        size = len(known.clip_ids), int(known.truth.any(axis=0).sum())
        outcomes.append(Outcome(corpus, setting, size, float(calibration.auc[0]), missing, judged, bins))
    if not outcomes:
        raise InputError("holds no corpus with labels of these annotators", options.corpora[0])
    own = any(outcome.setting.teacher in options.teachers for outcome in outcomes)
    with whole_folder(options.work / "comparison") as folder:
        command = shlex.join(["python", "recipes/known_truth.py", *sys.argv[1:]])
        students, notes = trained(options), [*NOTES, *[OWN_TEACHERS] * own]
        if students:
            notes += [OF_STUDENTS.format(teacher=options.teachers[0])]
        write_page(folder, outcomes, notes, command, students)


def plan_annotate(options: AnnotateOptions) -> str:
    """Return what a dry run says of the labels."""
    work = options.work
    dry_run.refuse_absent(*(work / name for name in (VOCABULARY, LABELS, TRUTH, RUN, EVENTS)))
    dry_run.promise(work / "labels", *(f"{letter}.csv" for letter in options.annotators))
    return f"would write {work / 'labels'}: the list as {', '.join(options.annotators)} would label it"


def plan_compare(options: CompareOptions) -> str:
    """Return what a dry run says of the comparison."""
    for folder in options.corpora:
        if dry_run.there(folder / TRUTH) and not dry_run.there(folder / EVENTS):
            if not any(folder.glob(STORES)):
                raise InputError(
                    f"has {TRUTH}, but no scores ({STORES})", folder, "Make them with score or score import."
                )
        elif not dry_run.there(folder / EVENTS) and not any(folder.glob("*.npz")):
            remedy = f"Give {TRUTH} and {STORES}, for example."
            raise InputError("neither a simulated corpus, nor true labels, nor .npz files", folder, remedy)
        elif not dry_run.there(folder / EVENTS):
            _refuse_archives(folder, options.annotators if len(options.corpora) == 1 else ANNOTATORS)
        if dry_run.there(folder / EVENTS):
            names = [f"{letter}-{teacher}.h5" for letter in options.annotators for teacher in options.teachers]
            dry_run.refuse_absent(*(folder / "scores" / name for name in names))
            dry_run.refuse_absent(*(folder / EVALUATION_FOLDER / name / METRICS_FILE for name in options.students))
    return f"would write {options.work / 'comparison'}"


def _refuse_archives(folder: Path, annotators: Sequence[str]) -> None:
    """Raise InputError if a .npz file is no corpus with known truth, or none has labels of these annotators."""
    named = [name for path in sorted(folder.glob("*.npz")) for name in Known.read(path).given]
    if not set(named) & set(annotators):
        raise InputError(
            "holds no corpus with labels of these annotators", folder, f"It has labels of {', '.join(named) or 'none'}."
        )


COMMANDS = {
    "annotate": Command(AnnotateOptions, annotate, plan_annotate),
    "compare": Command(CompareOptions, compare, plan_compare),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the two steps."""
    return run_command("known_truth", __doc__, COMMANDS, argv, needed=True)


if __name__ == "__main__":
    raise SystemExit(main())
