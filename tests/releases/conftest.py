"""A release of three clips and four classes with awkward names, whose every number can be counted by hand."""

from __future__ import annotations

import csv
import gzip
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pseudolabel.artefacts import write_csv
from pseudolabel.labels.ledger import SCHEMA, write_ledger
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.releases.facts import Facts
from pseudolabel.releases.tables import label_rows, write_parquet_tables, write_rows

CLASSES = {"/m/a": "Animal", "/m/b": 'Bark | "loud", near', "/m/c": "R&amp;B <b>*live*</b>", "/m/d": "鳥 `tick` _x_"}
BEFORE = {"clip-1": ("/m/b",), "clip-2": (), "007": ("/m/a", "/m/c")}
AFTER = {"clip-1": ("/m/a", "/m/b"), "clip-2": (), "007": ("/m/a", "/m/b", "/m/c")}
LEDGER = (  # clip, class, error, because, score, threshold, probability, round, window_s, onset_s
    ("clip-1", "/m/a", "II", "/m/b", None, None, None, 1, None, None),
    ("007", "/m/b", "I", "/m/a;/m/c", 0.75, 0.5, None, 1, 2.0, 4.0),
)
BY_CLASS = (  # before, added, added_I, added_II, threshold, scored_positives, reason
    (1, 1, 0, 1, 0.25, 1, ""),
    (1, 1, 1, 0, 0.5, 1, ""),
    (1, 0, 0, 0, None, 0, "no scored positives"),
    (0, 0, 0, 0, None, 0, "no scored positives"),
)
ORIGINAL = "original_labels.parquet"
TYPES = {".csv": "text/csv", ".gz": "application/gzip", ".parquet": "application/vnd.apache.parquet"}


def described(path: Path) -> dict:
    content = path.read_bytes()
    return {
        "name": path.name,
        "description": f"what {path.name} is",
        "encodingFormat": TYPES[path.suffix],
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory) -> Path:
    """The data files of the release, without documents."""
    folder = tmp_path_factory.mktemp("release")
    vocabulary = Vocabulary("small", tuple(CLASSES), tuple(CLASSES.values()), tuple(CLASSES))
    labels = LabelTable.from_sets(list(AFTER), list(AFTER.values()), vocabulary)
    labels.write(folder / "labels.csv")
    write_rows(label_rows(labels), folder / "labels.parquet")
    columns = [list(column) for column in zip(*LEDGER, strict=True)]
    write_ledger(pa.table(columns, schema=SCHEMA), folder)
    for ending in ("parquet", "csv.gz"):
        (folder / f"ledger.{ending}").rename(folder / f"added_labels.{ending}")
    rows = [
        (class_id, name, "" if row[4] is None else row[4], row[5], row[6])
        for (class_id, name), row in zip(CLASSES.items(), BY_CLASS, strict=True)
    ]
    write_csv(folder / "thresholds.csv", ("class_id", "name", "threshold", "scored_positives", "reason"), rows)
    rows = [
        (class_id, name, class_id, row[0], row[1], row[0] + row[1])
        for (class_id, name), row in zip(CLASSES.items(), BY_CLASS, strict=True)
    ]
    write_csv(folder / "classes.csv", ("class_id", "name", "ontology_id", "before", "added", "after"), rows)
    with gzip.open(folder / "original_labels.csv.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("clip_id", "labels"), *((clip, ";".join(ids)) for clip, ids in BEFORE.items())])
    write_rows(label_rows(LabelTable.from_sets(list(BEFORE), list(BEFORE.values()), vocabulary)), folder / ORIGINAL)
    write_parquet_tables(folder, 0.5)
    return folder


@pytest.fixture
def make_facts(data_folder: Path) -> Callable[..., Facts]:
    """Return a function that makes the facts of the release, with some of them changed."""
    figures = {"labels_added": 2, "added_percent": 66.6667, "classes_touched": 2}
    one = {"labels_added": 1, "added_percent": 33.3333, "classes_touched": 1}
    names = ("before", "added", "added_I", "added_II", "threshold", "scored_positives", "reason")
    by_class = tuple(
        {"class_id": class_id, "name": name, **dict(zip(names, row, strict=True)), "after": row[0] + row[1]}
        for (class_id, name), row in zip(CLASSES.items(), BY_CLASS, strict=True)
    )
    order = ("labels.csv", "labels.parquet", "original_labels.csv.gz", "added_labels.csv.gz")
    order += ("added_labels.parquet", "thresholds.csv", "thresholds.parquet", "classes.csv", "classes.parquet")
    order += (ORIGINAL,)

    def make(**changed) -> Facts:
        facts = {
            "name": "small-enhanced-25p",
            "title": 'Small: a "test" — 鳥 | #1',
            "rule": {
                "threshold": "25p",
                "errors": ["I", "II"],
                "adds": {"I": "children", "II": "ancestors"},
                "min_positives": 1,
                "floor": 0.0,
                "rounds": 1,
                "evidence": "clip",
                "profile": "default",
            },
            "counts": {
                "clips": 3,
                "clips_changed": 2,
                "clips_without_scores": 1,
                "classes": 4,
                "labels_before": 3,
                "labels_after": 5,
                "added": figures,
                "added_by_type": {"I": one, "II": one},
                "added_by_both_types": 0,
            },
            "by_class": by_class,
            "files": tuple(described(data_folder / name) for name in order),
            "teacher": {
                "name": "runs/teacher",
                "sha256": "ab" * 32,
                "trained_on_clips": 1234,
                "front_end": {"mel": 64, "kind": "log-mel | 16 kHz"},
            },
            "out_of_fold": True,
            "evaluation_touched": False,
            "authors": ("Doe, Jane", "A: Group"),
            "beta": 0.5,
        }
        return Facts(**{**facts, **changed})

    return make


@pytest.fixture
def release_folder(data_folder: Path, tmp_path: Path) -> Path:
    """A copy of the data files that a test may add to, as the folder to read them from."""
    return Path(shutil.copytree(data_folder, tmp_path / "release"))
