"""croissant.json: the mlcroissant library takes it without complaint and loads every row from the files beside it."""

from __future__ import annotations

import json
import logging

import pyarrow.parquet as pq
import pytest

from pseudolabel.releases.croissant import croissant


def dataset(facts, folder):
    mlcroissant = pytest.importorskip("mlcroissant")
    (folder / "croissant.json").write_text(json.dumps(croissant(facts), ensure_ascii=False), encoding="utf-8")
    return mlcroissant.Dataset(str(folder / "croissant.json"))


def as_text(value):
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def records(loaded, name: str) -> list[dict]:
    return [
        {key.removeprefix(f"{name}/"): as_text(value) for key, value in record.items()}
        for record in loaded.records(name)
    ]


def test_mlcroissant_has_no_complaints(make_facts, release_folder, caplog):
    facts = make_facts(source="AudioSet", released="2026-01-31", url="https://example.org/a")
    with caplog.at_level(logging.WARNING):
        loaded = dataset(facts, release_folder)
    assert not loaded.metadata.issues.errors
    assert not loaded.metadata.issues.warnings
    assert not [record for record in caplog.records if "croissant" in record.getMessage().lower()]
    assert (loaded.metadata.name, loaded.metadata.version) == (facts.name, "1.0.0")


def test_mlcroissant_loads_the_rows_that_the_files_have(make_facts, release_folder):
    loaded = dataset(make_facts(released="2026-01-31"), release_folder)
    assert records(loaded, "labels") == pq.read_table(release_folder / "labels.parquet").to_pylist()
    assert [row["classes"] for row in records(loaded, "labels")] == [[0, 1], [], [0, 1, 2]]
    assert [row["because"] for row in records(loaded, "added_labels")] == [["/m/b"], ["/m/a", "/m/c"]]
    for name in ("added_labels", "thresholds", "classes", "original_labels"):
        assert records(loaded, name) == pq.read_table(release_folder / f"{name}.parquet").to_pylist(), name
    assert [row["threshold"] for row in records(loaded, "thresholds")] == [0.25, 0.5, None, None]
    assert [row["after"] for row in records(loaded, "classes")] == [2, 2, 1, 0]


def test_only_what_the_release_has_is_described(make_facts):
    facts = make_facts()
    few = make_facts(files=[row for row in facts.files if row.name != "thresholds.parquet"])
    names = ["labels", "added_labels", "classes", "original_labels"]
    assert [table["@id"] for table in croissant(few)["recordSet"]] == names
    assert {row["@id"] for row in croissant(few)["distribution"]} == {row.name for row in few.files}
    assert not {"datePublished", "url"} & set(croissant(facts))


def test_what_limits_the_labels_is_said_to_machines_too(make_facts):
    limits = " ".join(croissant(make_facts(out_of_fold=False))["rai:dataLimitations"])
    assert "Nobody has listened" in limits and "In sample" in limits and "No clip of an evaluation list" in limits
