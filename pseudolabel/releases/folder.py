"""The folder of a release: write every file, from the labels to the checksums.

| file | |
|---|---|
| `labels.csv`, `labels.parquet` | the enhanced list |
| `original_labels.csv.gz`, `.parquet` | the list before enhancement |
| `segments.csv`, `fsd50k.csv`, `esc50.csv` | the enhanced list in the form of its source |
| `psla.json`, `class_labels_indices.csv` | the enhanced list and the classes as PSLA's code reads them |
| `added_labels.csv.gz`, `added_labels.parquet` | the ledger: every added label and why |
| `thresholds`, `classes`, `missing`, each `.csv` and `.parquet` | by class; clips without scores |
| `targets.h5` | the teacher's scores, if requested |
| `probabilities.h5` | instead of these, where labels were added by their probability: what `enhance --soft` wrote |
| `sampling_weights.csv.gz`, `.parquet` | how often to draw each clip, after relabelling |
| `README.md`, `croissant.json`, `CITATION.cff`, `LICENSE`, `LICENSE-ontology` | description, for people and machines |
| `run.json` | all that the documents say, and checksums of the inputs |
| `SHA256SUMS` | checksums of all files but itself |
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pseudolabel.artefacts import write_csv, write_json, write_text
from pseudolabel.labels.balancing import balanced_weights, max_rule_weights
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.writers import packed_file
from pseudolabel.layout import CLASSES, LABEL_COLUMNS, LABELS, LEDGER, LEDGER_CSV, MISSING, TARGETS, THRESHOLDS
from pseudolabel.releases.card import DOCUMENTS, card
from pseudolabel.releases.citation import citation, licence_text, ontology_licence_text
from pseudolabel.releases.croissant import croissant
from pseudolabel.releases.enhanced import Enhanced
from pseudolabel.releases.facts import FORMAT, REQUIRED, DataFile, Document, Facts
from pseudolabel.releases.listing import RECORD, SUMS, checksums, why_not_replaced
from pseudolabel.releases.source_forms import write_source_form
from pseudolabel.releases.tables import CLASS_TABLE, MAX_RULE, SUM_RULE, label_rows, write_parquet_tables, write_rows
from pseudolabel.releases.targets import write_targets
from pseudolabel.scores.store import ScoreStore

ADDED, ADDED_CSV, ORIGINAL = "added_labels.parquet", "added_labels.csv.gz", "original_labels.csv.gz"
PROBABILITIES = "probabilities.h5"
PSLA, PSLA_CLASSES, WEIGHTS = "psla.json", "class_labels_indices.csv", "sampling_weights.csv.gz"
LABELS_PARQUET, ORIGINAL_PARQUET = "labels.parquet", "original_labels.parquet"
CSV, CSV_GZ, PARQUET = "text/csv", "application/gzip", "application/vnd.apache.parquet"
DATA_FILES = {  # in this order in every document
    LABELS: ("the enhanced list: clip_id, labels joined by `;`", CSV),
    LABELS_PARQUET: ("the enhanced list: clip_id, labels as a list of texts", PARQUET),
    "segments.csv": ("the enhanced list as an AudioSet segment list", CSV),
    "fsd50k.csv": ("the enhanced list as FSD50K's ground truth: fname, labels, mids, split", CSV),
    "esc50.csv": ("ESC-50's own columns, and all categories of a clip in the further column labels", CSV),
    PSLA: ("the enhanced list as the published PSLA code reads it", "application/json"),
    PSLA_CLASSES: ("the classes as the published PSLA code reads them: index, mid, display_name", CSV),
    ORIGINAL: ("the list before anything was added: clip_id, labels joined by `;`", CSV_GZ),
    ORIGINAL_PARQUET: ("the same list: clip_id, labels as a list of texts", PARQUET),
    ADDED_CSV: ("the ledger: every added label, what proposed it, its score and threshold", CSV_GZ),
    ADDED: ("the ledger, the same rows", PARQUET),
    THRESHOLDS: ("the threshold of each class, from how many clips, or why it has none", CSV),
    "thresholds.parquet": ("the same rows", PARQUET),
    CLASSES: ("class ids and names in the order of all columns, labels before, added, after", CSV),
    CLASS_TABLE: ("the same rows", PARQUET),
    MISSING: ("clips that have no scores and kept their labels", CSV),
    "missing.parquet": ("the same rows", PARQUET),
    TARGETS: ("the teacher's scores of each clip and class", "application/x-hdf5"),
    PROBABILITIES: (
        "the probability of each class in each clip: 1 for given labels and their ancestors, else that of a guess, 0 "
        "where there is none; of windows, scores that state it together: 1 - prod(1 - score)",
        "application/x-hdf5",
    ),
    WEIGHTS: (
        "weights to draw clips with, from the labels after the additions: sum_rule of 1 / clips with the label (PSLA, "
        "Algorithm 1), max_rule of (1 / prior) to the power that the column names, the smallest made 1 (Moore et al., "
        "equation 4)",
        CSV_GZ,
    ),
    "sampling_weights.parquet": ("the same rows", PARQUET),
}
OF_GUESSES = {  # what files hold where labels were added by their probability
    ADDED_CSV: "the ledger: every added label, what proposed it, its probability or that it was added by rule",
    THRESHOLDS: "what the guesses of each class are based on, and how many should be right, or why it has none",
}


@dataclass(frozen=True, eq=False)
class Contents:
    """What to write a release from.

    Args:
        facts: all but `files` and `documents`, which are described as they are written.
        form, lists: the source's form and its own lists; None: only the forms that need no list.
        wav: path of a recording in psla.json, with `{clip_id}` in it.
        targets, soft: the store of each scale of the soft targets, and their type; None: no soft targets.
        beta: exponent of the max rule.
    """

    enhanced: Enhanced
    facts: Facts
    form: str | None
    lists: Sequence[Path]
    wav: str
    beta: float
    targets: Mapping[str | float, ScoreStore] | None = None
    soft: str | None = None


def write_release(contents: Contents, folder: Path) -> Facts:
    """Write all files into an existing, empty folder; return the facts stated in the documents."""
    _write_labels(contents, folder)
    for source, name in ((LEDGER, ADDED), (LEDGER_CSV, ADDED_CSV), (THRESHOLDS, THRESHOLDS)):
        if (contents.enhanced.folder / source).is_file():
            shutil.copyfile(contents.enhanced.folder / source, folder / name)
    missing = contents.enhanced.folder / MISSING
    if missing.is_file():
        shutil.copyfile(missing, folder / MISSING)
    else:
        write_csv(folder / MISSING, ("clip_id", "reason"), ())
    _write_classes(contents, folder / CLASSES)
    labels = contents.enhanced.labels
    _write_weights(labels, contents.beta, folder / WEIGHTS)
    write_parquet_tables(folder, contents.beta, contents.facts.rule.guesses is not None)
    if contents.targets is not None:
        name, unscored = TARGETS, set(contents.enhanced.missing)
        if contents.facts.rule.guesses is not None:
            name, labels = PROBABILITIES, labels.select([clip for clip in labels.clip_ids if clip not in unscored])
        write_targets(folder / name, labels, contents.targets, contents.soft)
    psla = contents.wav if (folder / PSLA).is_file() else ""
    facts = replace(
        contents.facts,
        files=described_files(folder, contents.facts.rule.guesses is not None),
        wav=psla,
        beta=contents.beta,
    )
    texts = documents(facts)
    for name, text in texts.items():
        write_text(folder / name, text)
    facts = replace(facts, documents=[Document.of(folder / name) for name in texts])
    write_json(folder / RECORD, facts.to_json())
    write_text(folder / SUMS, checksums(folder))
    return facts


def documents(facts: Facts) -> dict[str, str]:
    """Return the text of every document, which depends on the facts alone."""
    return {
        "README.md": card(facts),
        "croissant.json": json.dumps(croissant(facts), indent=2, ensure_ascii=False) + "\n",
        "CITATION.cff": citation(facts),
        "LICENSE": licence_text(facts),
        "LICENSE-ontology": ontology_licence_text(),
    }


def described_files(folder: Path, guesses: bool = False) -> tuple[DataFile, ...]:
    """Return the documents' description of each file that holds labels, scores or weights, and of `guesses`."""
    of_guesses = OF_GUESSES if guesses else {}
    return tuple(
        DataFile(
            description=of_guesses.get(name, description), encodingFormat=encoding, **vars(Document.of(folder / name))
        )
        for name, (description, encoding) in DATA_FILES.items()
        if (folder / name).is_file()
    )


def not_a_release(folder: Path) -> str:
    """Return why a folder is not a replaceable release of labels, or "" if it is one."""
    return why_not_replaced(folder, _is_release, {*DATA_FILES, *DOCUMENTS})


def _is_release(record: dict) -> bool:
    earlier = "format" not in record and "verb" not in record and {*REQUIRED} <= {*record}
    return record.get("format") == FORMAT or earlier


def _write_labels(contents: Contents, folder: Path) -> None:
    enhanced = contents.enhanced
    labels = enhanced.labels
    labels.write(folder / LABELS)
    write_rows(label_rows(labels), folder / LABELS_PARQUET)
    write_rows(label_rows(enhanced.original), folder / ORIGINAL_PARQUET)
    with packed_csv(folder / ORIGINAL) as writer:
        writer.writerow(LABEL_COLUMNS)
        sets = enhanced.original.label_sets()
        writer.writerows((clip_id, ";".join(of_clip)) for clip_id, of_clip in zip(labels.clip_ids, sets, strict=True))
    if contents.form is not None:
        write_source_form(contents.form, contents.lists, labels, folder)
    class_ids, names = labels.vocabulary.class_ids, labels.vocabulary.names
    if not any(set(class_id) & set(',"') for class_id in class_ids):
        with_labels(labels).write(folder / PSLA, "psla", wav=contents.wav)
        rows = zip(range(len(class_ids)), class_ids, names, strict=True)
        write_csv(folder / PSLA_CLASSES, ("index", "mid", "display_name"), rows)


def with_labels(labels: LabelTable) -> LabelTable:
    """Return the clips that have labels: PSLA's code stops at a clip without any."""
    counts = np.diff(labels.matrix.indptr).tolist()
    clip_ids = (clip_id for clip_id, n_labels in zip(labels.clip_ids, counts, strict=True) if n_labels)
    return labels.select(tuple(clip_ids))


def _write_classes(contents: Contents, path: Path) -> None:
    vocabulary, counts = contents.enhanced.labels.vocabulary, ("before", "added", "after")
    rows = zip(vocabulary.class_ids, vocabulary.names, vocabulary.ontology_ids, contents.facts.by_class, strict=True)
    shown = ((*texts, *(getattr(row, name) for name in counts)) for *texts, row in rows)
    write_csv(path, ("class_id", "name", "ontology_id", *counts), shown)


def _write_weights(labels: LabelTable, beta: float, path: Path) -> None:
    columns = (balanced_weights(labels.matrix), max_rule_weights(labels.matrix, beta, "--beta"))
    with packed_csv(path) as writer:
        writer.writerow(("clip_id", SUM_RULE, f"{MAX_RULE}{beta:g}"))
        writer.writerows(zip(labels.clip_ids, *(column.tolist() for column in columns), strict=True))


@contextlib.contextmanager
def packed_csv(path: Path) -> Iterator:
    """Yield a CSV writer for a .csv.gz file without a time stamp."""
    with packed_file(path, 6) as packed:
        text = io.TextIOWrapper(packed, encoding="utf-8", newline="")
        yield csv.writer(text, lineterminator="\n")
        text.detach()
