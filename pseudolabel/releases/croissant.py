"""croissant.json of a release: a machine-readable description of its files and tables (Croissant 1.1, mlcommons.org).

Each file of labels, ledger, thresholds and classes is a record set: the `mlcroissant` library, and other readers of the
format, load its rows from the files beside croissant.json.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import NamedTuple

from pseudolabel import layout
from pseudolabel.releases.citation import (
    KEYWORDS,
    abstract,
    address_of,
    bibtex,
    is_person,
    licence_of,
    references,
    source_terms,
)
from pseudolabel.releases.facts import DataFile, Facts
from pseudolabel.releases.texts import evaluation_text, fold_text, precision_text, rule_lines, teacher_text

CROISSANT = "http://mlcommons.org/croissant/"
CONTEXT = "croissant_context.json"  # Croissant 1.1's standard context, without which readers complain
PARQUET = "application/vnd.apache.parquet"
FURTHER_TYPES = {PARQUET: [PARQUET, "application/x-parquet"]}  # mlcroissant reads the second one
TEXT, NUMBER, WHOLE = "sc:Text", "sc:Float", "sc:Integer"


class Column(NamedTuple):
    """A column of a table: its meaning, its type, and whether it is a list, or what joins the items of a cell."""

    name: str
    description: str
    type: str = TEXT
    is_array: bool = False
    separator: str = ""


class Table(NamedTuple):
    """A record set: its file, its columns, and the key columns of its rows."""

    name: str
    file: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]


CLIP_ID, CLASS_ID = Column("clip_id", "Id of the clip."), Column("class_id", "Id of the class.")
NAME = Column("name", "Display name of the class.")
TABLES = (
    Table(
        "labels",
        "labels.parquet",
        "The enhanced list: every clip with all its labels, those of the original list and the added ones.",
        ("clip_id",),
        (CLIP_ID, Column("labels", "Ids of the clip's classes, in the order of the classes.", is_array=True)),
    ),
    Table(
        "added_labels",
        "added_labels.parquet",
        "The ledger: every added label and why it was added.",
        ("clip_id", "class_id"),
        (
            CLIP_ID,
            Column("class_id", "Id of the added class."),
            Column("error", "What was missing: I (a child), II (a parent or ancestor), I+II (proposed as both)."),
            Column("because", "Ids of the clip's labels that proposed it.", is_array=True, separator=";"),
            Column("score", "The teacher's score, 0 to 1; none where the label was added by rule.", NUMBER),
            Column("threshold", "The class's threshold; the score is above it.", NUMBER),
            Column("probability", "The probability that the label is right, where the rule estimates it.", NUMBER),
            Column("round", "1: proposed by the original labels; 2: by those added in round 1, and so on.", WHOLE),
            Column("window_s", "Length in seconds of the window that was the evidence; none: the whole clip.", NUMBER),
            Column("onset_s", "Start of this window in the clip, in seconds.", NUMBER),
        ),
    ),
    Table(
        "thresholds",
        layout.THRESHOLDS,
        "The threshold of each class.",
        ("class_id",),
        (
            CLASS_ID,
            NAME,
            Column("threshold", "Scores above it add the label; none: nothing was added by score.", NUMBER),
            Column("scored_positives", "Clips that carry the class and have a score.", WHOLE),
            Column("reason", "Why the class has no threshold."),
        ),
    ),
    Table(
        "classes",
        layout.CLASSES,
        "The classes, in the order of every matrix, and how many labels each has.",
        ("class_id",),
        (
            CLASS_ID,
            NAME,
            Column("ontology_id", "The node of the AudioSet ontology for the class; none where there is none."),
            Column("before", "Labels of the class in the original list.", WHOLE),
            Column("added", "Labels added to it.", WHOLE),
            Column("after", "Labels in the enhanced list.", WHOLE),
        ),
    ),
)


def tables_of(facts: Facts) -> tuple[Table, ...]:
    """Return the tables whose files are in the release."""
    return tuple(table for table in TABLES if facts.file(table.file))


def croissant(facts: Facts) -> dict:
    """Return the content of croissant.json.

    Raises:
        InputError: `facts.licence` is not a known SPDX id.
    """
    optional = {"url": facts.url, "datePublished": facts.released}
    return {
        "@context": json.loads(files(__package__).joinpath(CONTEXT).read_text(encoding="utf-8")),
        "@type": "sc:Dataset",
        "conformsTo": [f"{CROISSANT}1.1", f"{CROISSANT}RAI/1.0"],
        "name": facts.name,
        "alternateName": facts.title,
        "description": abstract(facts),
        "version": facts.version,
        "license": licence_of(facts.licence).url,
        **{key: value for key, value in optional.items() if value},
        "creator": [
            {"@type": "sc:Person" if is_person(name) else "sc:Organization", "name": name} for name in facts.makers
        ],
        "citeAs": bibtex(facts),
        "citation": [address_of(work) for work in references(facts)],
        "keywords": KEYWORDS,
        "isLiveDataset": False,
        "rai:dataAnnotationProtocol": " ".join(rule_lines(facts)),
        "rai:machineAnnotationTools": [teacher_text(facts)] if facts.teacher else [],
        "rai:dataLimitations": _limitations(facts),
        "distribution": [_file(row) for row in facts.files],
        "recordSet": [_record_set(table) for table in tables_of(facts)],
    }


def _limitations(facts: Facts) -> list[str]:
    said = [precision_text(facts), fold_text(facts), evaluation_text(facts), source_terms(facts)]
    if facts.weak_classes:
        said.append(
            f"{len(facts.weak_classes)} of {len(facts.by_class)} classes are known to be weak; README.md has them."
        )
    return [text for text in said if text]


def _file(row: DataFile) -> dict:
    return {
        "@type": "cr:FileObject",
        "@id": row.name,
        "name": row.name,
        "description": row.description,
        "contentUrl": row.name,
        "contentSize": f"{row.bytes} B",
        "encodingFormat": FURTHER_TYPES.get(row.encodingFormat, row.encodingFormat),
        "sha256": row.sha256,
    }


def _record_set(table: Table) -> dict:
    return {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": table.description,
        "key": [{"@id": f"{table.name}/{name}"} for name in table.key],
        "field": [_field(table, column) for column in table.columns],
    }


def _field(table: Table, column: Column) -> dict:
    source = {"fileObject": {"@id": table.file}, "extract": {"column": column.name}}
    if column.separator:
        source["transform"] = {"separator": column.separator}
    return {
        "@type": "cr:Field",
        "@id": f"{table.name}/{column.name}",
        "name": column.name,
        "description": column.description,
        "dataType": column.type,
        **({"isArray": True, "arrayShape": "-1"} if column.is_array else {}),
        "source": source,
    }
