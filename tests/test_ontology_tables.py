"""The tables in ontology/ are what their published sources say."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

import pytest

from pseudolabel.labels.vocabulary import table_path
from pseudolabel.records import sha256

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "ontology_tables.py"
TABLES = ("audioset.csv", "fsd50k.csv", "esc50.csv")


def main(argv: list[str]) -> int:
    spec = importlib.util.spec_from_file_location("ontology_tables", RECIPE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.main(argv)


def rebuild_options(shared_data, out) -> list[str]:
    options = {
        "--ontology": shared_data / "audioset" / "ontology.json",
        "--classes": shared_data / "audioset" / "class_labels_indices.csv",
        "--fsd50k": shared_data / "fsd" / "fsd50k_to_audioset.csv",
        "--esc50": shared_data / "esc" / "esc50_to_audioset.csv",
        "--out": out,
    }
    return [str(word) for option in options.items() for word in option]


def test_tables_rebuilt_from_the_published_files_have_the_same_bytes(shared_data, tmp_path):
    assert main(rebuild_options(shared_data, tmp_path)) == 0
    for name in TABLES:
        assert (tmp_path / name).read_bytes() == table_path(name).read_bytes(), name


def test_readme_states_the_checksum_of_each_table():
    readme = table_path("audioset.csv").with_name("README.md")
    for name in TABLES:
        assert f"{sha256(table_path(name))}  {name}" in readme.read_text(), name


def test_tables_have_no_published_descriptions():
    with open(table_path("audioset.csv"), newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["class_id", "name", "child_ids", "restrictions", "index"]
    assert max(len(row[1]) for row in rows) < 70


def test_fsd50k_table_comes_the_same_from_the_headerless_published_form(tmp_path):
    with open(table_path("fsd50k.csv"), newline="") as file:
        rows = list(csv.reader(file))[1:]
    with open(tmp_path / "vocabulary.csv", "w", newline="") as file:
        csv.writer(file).writerows((number, name, class_id) for number, (class_id, name) in enumerate(rows))
    assert main(["--fsd50k", str(tmp_path / "vocabulary.csv"), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "fsd50k.csv").read_bytes() == table_path("fsd50k.csv").read_bytes()


def test_esc50_relations_are_counted_as_published():
    with open(table_path("esc50.csv"), newline="") as file:
        relations = [row["relation"] for row in csv.DictReader(file)]
    assert [relations.count(relation) for relation in ("exact", "broader", "none")] == [43, 4, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("target,category,audioset_mid,relation\n0,dog,/m/1,nearly\n", "e.csv:2: relation 'nearly'"),
        ("target,category\n", "column 'audioset_mid' is missing"),
    ],
)
def test_bad_sources_end_with_code_2_and_one_line(tmp_path, capsys, content, message):
    (tmp_path / "e.csv").write_text(content)
    assert main(["--esc50", str(tmp_path / "e.csv"), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--fsd50k", "there.csv"], 0, "would write fsd50k.csv into"),
        (["--fsd50k", "no.csv"], 2, "no.csv: no such file"),
        (["--ontology", "there.csv"], 2, "--ontology and --classes belong together"),
        ([], 2, "nothing to rebuild"),
    ],
)
def test_a_dry_run_checks_the_sources_and_writes_nothing(tmp_path, monkeypatch, capsys, options, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").touch()
    assert main([*options, "--out", "out", "--dry-run"]) == code
    shown = capsys.readouterr()
    assert said in shown.out + shown.err
    assert not (tmp_path / "out").exists()
