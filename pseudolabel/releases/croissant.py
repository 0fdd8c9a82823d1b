"""croissant.json of a release: a machine-readable description of its files and tables (Croissant 1.1, mlcommons.org).

Each file of labels, ledger, thresholds and classes is a record set: the `mlcroissant` library, and other readers of the
format, load its rows from the files beside croissant.json.
"""

from __future__ import annotations

import json
from importlib.resources import files

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
from pseudolabel.releases.tables import Column, Table, tables_of
from pseudolabel.releases.texts import evaluation_text, fold_text, precision_text, rule_lines, teacher_text

CROISSANT = "http://mlcommons.org/croissant/"
CONTEXT = "croissant_context.json"  # Croissant 1.1's standard context, without which readers complain
PARQUET = "application/vnd.apache.parquet"
FURTHER_TYPES = {PARQUET: [PARQUET, "application/x-parquet"]}  # mlcroissant reads the second one


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
