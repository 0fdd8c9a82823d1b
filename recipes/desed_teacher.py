"""What desed_teacher.sh needs between the verbs: the experiment's own files, and the table at its end.

python recipes/desed_teacher.py unpack DATA WORK    # scores, ids, classes, ontology, true and incomplete labels
python recipes/desed_teacher.py table WORK          # WORK/scores-*.h5 and WORK/truth.csv -> WORK/recovered.csv, .txt
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel import dry_run
from pseudolabel.artefacts import write_csv, write_text
from pseudolabel.command import Command, run_command
from pseudolabel.corpus.dropping import KINDS, without
from pseudolabel.enhance import EnhanceOptions, enhance
from pseudolabel.errors import InputError, no_file
from pseudolabel.labels.judging import judge_additions
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.readers import clip_id_of
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.options import Options, option
from pseudolabel.reports.rows import Spread
from pseudolabel.reports.text_tables import Table
from pseudolabel.scores.store import ScoreStore

ARCHIVE = "desed_validation_teacher_student_levels.npz"
# DESED has no ontology of its own. Speech stands alone: as the only child of a parent it would always be right.
CHILDREN = {
    "Animals": ("Cat", "Dog"),
    "Kitchen": ("Blender", "Dishes", "Frying", "Running_water"),
    "Domestic_machines": ("Alarm_bell_ringing", "Electric_shaver_toothbrush", "Vacuum_cleaner"),
}
POOLS = {"mean": np.mean, "max": np.max}  # frames of a clip -> its score
RULES = ("mean", "25p", "10p", "5p")
SEEDS = range(5)  # how often labels are dropped
KEY = ("dropped", "scores", "rule")
COUNTS = ("missing", "proposable", "candidates", "added", "added_I", "added_II")
RATES = ("precision_I", "precision_II", "precision", "recall_proposable", "recall")
SHOWN = ("proposable", "candidates", "added", *RATES)  # in the text; the CSV file has all


@dataclass(frozen=True, kw_only=True)
class UnpackOptions(Options):
    """From where to where."""

    data: Path = option(help="folder of the published files", positional=True)
    work: Path = option(help="folder of what is made", positional=True)


@dataclass(frozen=True, kw_only=True)
class TableOptions(Options):
    """Whose table."""

    work: Path = option(help="folder of the experiment", positional=True)


def with_parents(matrix: np.ndarray, classes: list[str]) -> np.ndarray:
    """Return (N, 10 + 3): each parent's column is the maximum of its children's, labels and scores alike."""
    parents = [matrix[:, [classes.index(child) for child in children]].max(axis=1) for children in CHILDREN.values()]
    return np.column_stack([matrix, *parents])


def unpack(data: Path, work: Path) -> None:
    """Write what the teacher answered, in the plain forms that other models' answers come in, and the label lists."""
    levels, strong, clip_ids, classes = read_archive(data)
    names = [*classes, *CHILDREN]
    work.mkdir(parents=True, exist_ok=True)
    write_text(work / "ids.txt", "".join(f"{clip_id}\n" for clip_id in clip_ids))
    write_text(work / "classes.txt", "".join(f"{name}\n" for name in names))
    # A level is the number of the thresholds .01, .03 ... .99 that the score passed: it lies in the middle below that.
    scores = np.clip((2 * levels.astype(np.float32) - 1) / 100, 0, 1)
    for name, pool in POOLS.items():
        np.save(work / f"predictions-{name}.npy", with_parents(pool(scores, axis=1), classes))
    rows = [(name, name.replace("_", " "), ";".join(CHILDREN.get(name, ())), "") for name in names]
    write_csv(work / "ontology.csv", ("class_id", "name", "child_ids", "restrictions"), rows)
    vocabulary = Vocabulary("vocabulary.csv", tuple(names), tuple(row[1] for row in rows), tuple(names))
    vocabulary.write(work / "vocabulary.csv")
    truth = LabelTable(clip_ids, with_parents(strong.any(axis=1), classes), vocabulary)
    truth.write(work / "truth.csv")
    ontology = Ontology.load(work / "ontology.csv")
    for kind in KINDS:
        incomplete(truth, ontology, kind, SEEDS[0]).write(work / f"labels-{kind}.csv")


def refuse_absent_files(data: Path) -> None:
    """Raise InputError where a file of the teacher's is missing."""
    for name in (ARCHIVE, "clips.txt", "classes.txt"):
        if not (data / name).is_file():
            raise no_file(data / name, "Give the folder of DESED's teacher.")


def read_archive(data: Path) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Return the teacher's levels and the truth, both (N, F, 10), clip ids and classes."""
    refuse_absent_files(data)
    with np.load(data / ARCHIVE, allow_pickle=False) as archive:
        levels, strong = archive["teacher"], archive["strong"]
    clip_ids = [clip_id_of(name) for name in (data / "clips.txt").read_text(encoding="utf-8").split()]
    classes = (data / "classes.txt").read_text(encoding="utf-8").split()
    if not levels.shape == strong.shape == (len(clip_ids), levels.shape[1], len(classes)):
        raise InputError(f"{levels.shape} levels, {strong.shape} labels, {len(clip_ids)} clips", data / ARCHIVE)
    absent = [child for children in CHILDREN.values() for child in children if child not in classes]
    if absent:
        raise InputError(f"class {absent[0]!r} is missing", data / "classes.txt")
    return levels, strong, clip_ids, classes


def incomplete(truth: LabelTable, ontology: Ontology, kind: str, seed: int) -> LabelTable:
    """Return the true labels without three in ten of one kind."""
    kinship = Kinship.of(ontology.ancestors(truth.vocabulary), ontology.children(truth.vocabulary))
    return without(truth, kinship, kind, seed)


def cells(work: Path) -> Iterator[dict[str, object]]:
    """Yield one row for each way of dropping, drawing, kind of score and rule: what came back, against the truth."""
    vocabulary, ontology = Vocabulary.load(work / "vocabulary.csv"), Ontology.load(work / "ontology.csv")
    truth = LabelTable.read(work / "truth.csv", vocabulary)
    stores = {name: ScoreStore.open(work / f"scores-{name}.h5") for name in POOLS}
    relations = {"I": ontology.children(vocabulary), "II": ontology.ancestors(vocabulary)}
    for kind, seed in itertools.product(KINDS, SEEDS):
        before = incomplete(truth, ontology, kind, seed)
        proposed = {error: sparse.csr_array(before.matrix @ relation) for error, relation in relations.items()}
        candidates = sum(proposed.values()) > before.matrix
        for (scores, store), rule in itertools.product(stores.items(), RULES):
            found = enhance(before, store, ontology, EnhanceOptions(threshold=rule))
            judged = judge_additions(before, found.labels, found.ledger, truth, work, proposed)
            one, two, together = (judged["by_error"][name] for name in ("I", "II", "all"))
            proposable = together["missing"] - judged["n_missing_not_proposed"]
            yield {
                "dropped": kind, "scores": scores, "rule": rule,
                "missing": together["missing"], "proposable": proposable, "candidates": candidates.nnz,
                "added": together["added"], "added_I": one["added"], "added_II": two["added"],
                "precision_I": one["precision"], "precision_II": two["precision"], "precision": together["precision"],
                "recall_proposable": together["right"] / max(proposable, 1), "recall": together["recall"],
            }  # fmt: skip


def table(work: Path) -> None:
    """Write mean and standard deviation over the drawings of every cell, as CSV and as text; print the text."""
    grouped: dict[tuple, list[dict]] = {}
    for cell in cells(work):
        grouped.setdefault(tuple(cell[name] for name in KEY), []).append(cell)
    rows, lines = [], []
    for key, group in grouped.items():
        spreads = {
            name: Spread.of([cell[name] for cell in group if cell[name] is not None]) for name in (*COUNTS, *RATES)
        }
        figures = [value for spread in spreads.values() for value in (spread.mean, spread.sd)]
        rows.append((*key, *("" if value is None or value != value else f"{value:.6g}" for value in figures)))
        lines.append([*key, *(shown(name, spreads[name]) for name in SHOWN)])
    header = (*KEY, *(f"{name}{ending}" for name in (*COUNTS, *RATES) for ending in ("", "_sd")))
    write_csv(work / "recovered.csv", header, rows)
    text = Table([*KEY, *SHOWN], lines).aligned()
    write_text(work / "recovered.txt", f"{text}\n")
    print(text)


def shown(name: str, spread: Spread) -> str:
    """Return `214±9`, `.873±.021`, or a dash where there is nothing to judge."""
    if not spread.n:
        return "-"
    figures = (spread.mean, spread.sd or 0.0)
    return "±".join(f"{value:.3f}".lstrip("0") if name in RATES else f"{value:.0f}" for value in figures)


def plan_table(options: TableOptions) -> str:
    """Return what a dry run says of the table."""
    dry_run.refuse_absent(*(options.work / f"scores-{name}.h5" for name in POOLS), options.work / "truth.csv")
    return f"would write {options.work / 'recovered.csv'}"


def plan_unpack(options: UnpackOptions) -> str:
    """Return what a dry run says of the experiment's files."""
    refuse_absent_files(options.data)
    lists = [f"labels-{kind}.csv" for kind in KINDS]
    made = ["ids.txt", "classes.txt", "ontology.csv", "vocabulary.csv", "truth.csv", *lists]
    dry_run.promise(options.work, *made, *(f"predictions-{name}.npy" for name in POOLS))
    return f"would unpack {options.data} into {options.work}"


COMMANDS = {
    "unpack": Command(UnpackOptions, lambda options: unpack(options.data, options.work), plan_unpack),
    "table": Command(TableOptions, lambda options: table(options.work), plan_table),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the two steps."""
    return run_command("desed_teacher", __doc__, COMMANDS, argv, needed=True)


if __name__ == "__main__":
    raise SystemExit(main())
