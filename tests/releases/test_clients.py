"""A release in the tools of those who take it, those that are installed: every table has the rows of its CSV file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from clients import CSV_FILES, DOCUMENTS, READERS, expected, same_rows, tables, version
from small_release import CLASS_IDS, LABELS, NAMES, make_labels

from pseudolabel.release import main as release


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    return make_labels(tmp_path_factory.mktemp("small") / "work")


def needs(package: str) -> None:
    if not version(package):
        pytest.skip(f"{package} is not installed: python tests/releases/clients.py --python VENV/bin/python")


@pytest.mark.parametrize("tool", READERS)
def test_every_table_has_the_rows_of_its_csv_file(released, tool):
    package, read = READERS[tool]
    needs(package)
    for name in CSV_FILES:
        assert same_rows(released, name, read).split()[0] == str(len(expected(released, name))), name


@pytest.mark.parametrize("document", [key for key in DOCUMENTS if key[0] == "labels"])
def test_every_document_is_taken(released, document):
    package, check = DOCUMENTS[document]
    needs(package)
    assert check(released)


def test_ids_and_reasons_are_kept_in_parquet(released):
    rows = pq.read_table(released / "labels.parquet").to_pylist()
    assert (
        [row["clip_id"] for row in rows] == list(LABELS) == ["007", "7", "NA", "a/x", "b/x", "é, b", "none", "silent"]
    )
    assert rows[0] == {"clip_id": "007", "labels": ["/m/0bt9lr", "/m/05tny_"], "classes": [1, 2]}
    assert rows[6] == {"clip_id": "none", "labels": [], "classes": []}
    added = pq.read_table(released / "added_labels.parquet").to_pylist()
    assert all(isinstance(row["because"], list) and row["because"] for row in added)
    assert pq.read_table(released / "missing.parquet").to_pylist() == [{"clip_id": "silent", "reason": "no scores"}]


def test_the_code_of_psla_reads_list_and_classes(released):
    """As its dataloader does: a clip without labels would stop it."""
    with open(released / "class_labels_indices.csv", newline="", encoding="utf-8") as file:
        index_of = {row["mid"]: int(row["index"]) for row in csv.DictReader(file)}
    assert index_of == {class_id: number for number, class_id in enumerate(CLASS_IDS)}
    with open(released / "class_labels_indices.csv", newline="", encoding="utf-8") as file:
        assert [row["display_name"] for row in csv.DictReader(file)] == list(NAMES)
    data = json.loads((released / "psla.json").read_text(encoding="utf-8"))["data"]
    found = {one["wav"]: [index_of[label] for label in one["labels"].split(",")] for one in data}
    rows = pq.read_table(released / "labels.parquet").to_pylist()
    assert found == {f"{row['clip_id']}.wav": row["classes"] for row in rows if row["classes"]}


def test_the_day_of_a_release_is_that_of_the_enhancement(released, tmp_path):
    finished = json.loads((released.parent / "enhanced-0.2" / "run.json").read_text())["finished"]
    published = json.loads((released / "croissant.json").read_text(encoding="utf-8"))["datePublished"]
    assert published == finished[:10]
    again = ["--enhanced", str(released.parent / "enhanced-0.2"), "--out", str(tmp_path / "again")]
    assert release([*again, "--released", "2026-01-31"]) == 0
    assert json.loads((tmp_path / "again" / "croissant.json").read_text())["datePublished"] == "2026-01-31"


def test_what_a_tool_made_of_a_table_is_a_cell():
    found = [("pandas 3", name, f"{number} rows") for number, name in enumerate(CSV_FILES)]
    text = tables([*found, ("cffconvert 2", "labels: CITATION.cff", "valid")])
    assert "| pandas 3 | 0 rows | 1 rows | 2 rows | 3 rows | 4 rows | 5 rows | 6 rows |" in text
    assert text.endswith("| labels: CITATION.cff | cffconvert 2 | valid |")
