"""What lies in a release folder: links and special files, what hosting sites add, and whose folders are replaced."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pseudolabel.enhance import main as enhance
from pseudolabel.errors import InputError
from pseudolabel.labels.ledger import SCHEMA
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256
from pseudolabel.release import main as release
from pseudolabel.releases import folder as files
from pseudolabel.releases.listing import list_files
from pseudolabel.releases.verify import verify_release

TWO = Vocabulary("two", ("dog", "bark"), ("Dog", "Bark"), ("dog", "bark"))
CLOSURE = ("--errors", "II", "--type2", "closure")


def make_work(work: Path) -> Path:
    work.mkdir(parents=True)
    (work / "ontology.csv").write_text("class_id,name,child_ids,restrictions\ndog,Dog,bark,\nbark,Bark,,\n")
    TWO.write(work / "vocabulary.csv")
    LabelTable.from_sets(["a", "b", "c", "d"], [["bark"]] * 4, TWO).write(work / "labels.csv")
    assert enhance(["--work", str(work), "--ontology", str(work / "ontology.csv"), *CLOSURE]) == 0
    return work


def run(work: Path, *options: object) -> int:
    return release(["--work", str(work), *map(str, options)])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    work = make_work(tmp_path_factory.mktemp("listing") / "work")
    assert run(work) == 0
    return work


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return shutil.copytree(made / "release-closure", tmp_path / "release")


def refused(folder: Path, match: str) -> None:
    with pytest.raises(InputError, match=match):
        verify_release(folder)


@pytest.mark.parametrize("name", ["labels.csv", "run.json", "SHA256SUMS", "README.md", "labels.parquet"])
def test_a_link_to_the_very_file_is_not_followed(copy, tmp_path, name):
    (copy / name).rename(tmp_path / "elsewhere")
    (copy / name).symlink_to(tmp_path / "elsewhere")
    refused(copy, rf"release/{name}: a link, which is not followed")
    assert release(["verify", str(copy)]) == 2


def test_links_to_folders_broken_links_and_pipes_are_named(copy, tmp_path):
    for make in (
        lambda path: path.symlink_to(tmp_path),
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("nowhere"),
        lambda path: (path / "inside").symlink_to("/etc/passwd") if path.mkdir() is None else None,
    ):
        make(copy / "more")
        refused(copy, "a link, which is not followed")
        shutil.rmtree(copy / "more") if (copy / "more").is_dir() and not (copy / "more").is_symlink() else (
            copy / "more"
        ).unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(copy / "pipe")
        refused(copy, "release/pipe: neither a file nor a folder")
        (copy / "pipe").unlink()
        (copy / "run.json").unlink()
        os.mkfifo(copy / "run.json")
        refused(copy, "release/run.json: neither a file nor a folder")


def test_a_release_may_itself_be_given_by_a_link(copy, tmp_path):
    (tmp_path / "link").symlink_to(copy)
    assert verify_release(tmp_path / "link")


def test_what_hosting_sites_and_systems_add_is_passed_over_and_said(copy):
    before = verify_release(copy)
    for name in (".git", ".huggingface", ".cache/huggingface/download"):
        (copy / name).mkdir(parents=True)
        (copy / name / "config").write_text("x")
    for name in (".gitattributes", ".gitignore", ".DS_Store", "Thumbs.db"):
        (copy / name).write_text("x")
    lines = verify_release(copy)
    ignored = ".DS_Store, .cache/huggingface, .git, .gitattributes, .gitignore, .huggingface, Thumbs.db"
    assert [line for line in lines if line not in before] == [f"not part of the release, not read: {ignored}"]
    assert release(["verify", str(copy)]) == 0
    (copy / ".cache" / "other").write_text("x")
    refused(copy, r"not part of the release: \.cache/other")


def test_sums_that_list_what_others_add_do_not_make_it_part(copy):
    (copy / ".gitattributes").write_text("x")
    (copy / "SHA256SUMS").write_text(files.checksums(copy))
    refused(copy, r"missing: \.gitattributes")


def test_an_empty_folder_counts_and_a_file_that_is_a_folder_is_missing(copy):
    (copy / "empty").mkdir()
    assert "empty/" in list_files(copy).files
    refused(copy, "not part of the release: empty")
    (copy / "empty").rmdir()
    (copy / "labels.csv").unlink()
    (copy / "labels.csv").mkdir()
    (copy / "labels.csv" / "inside").write_text("x")
    refused(copy, r"missing: labels\.csv")


def seal(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    record["files"] = [vars(row) for row in files.described_files(folder)]
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "SHA256SUMS").write_text(files.checksums(folder))


def test_packed_files_that_hold_more_than_they_can_are_refused_before_they_are_read(copy):
    for name in (files.ORIGINAL, files.ADDED_CSV, files.WEIGHTS):
        kept = (copy / name).read_bytes()
        with gzip.open(copy / name, "wb") as file:
            file.writelines(b"a,dog\n" * 170_000 for _ in range(20))
        seal(copy)
        refused(copy, rf"{name}: unpacks to more than the [\d,]+ bytes that it can hold")
        (copy / name).write_bytes(kept)


def test_parquet_files_of_a_few_bytes_that_hold_billions_are_refused(copy):
    name = "labels.parquet"
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1 << 16, np.int8)), pa.array(["a"]))
    lists = {"labels": pa.nulls(1 << 16, pa.list_(pa.string())), "classes": pa.nulls(1 << 16, pa.list_(pa.int64()))}
    one = pa.table({"clip_id": text, **lists})
    with pq.ParquetWriter(copy / name, one.schema, compression="zstd", store_schema=False) as writer:
        for _ in range(3):
            writer.write_table(one)
    seal(copy)
    refused(copy, rf"{name}: has 196,608 rows and 589,824 values, more than the labels can have")
    long = pa.table({"clip_id": ["a", "b", "c", "d"], "labels": [["x" * (1 << 22)]] * 4, "classes": [[0]] * 4})
    pq.write_table(long, copy / name, compression="zstd")
    seal(copy)
    refused(copy, rf"{name}: claims to hold [\d,]+ bytes, more than it can")
    columns = [["x" * 20_000 if field.name == "because" else None] * 4 for field in SCHEMA]
    pq.write_table(pa.table(columns, schema=SCHEMA), copy / files.ADDED, compression="zstd")
    seal(copy)
    refused(copy, rf"{files.ADDED}: its texts have more than the \d+ bytes that they can have")
    pq.write_table(pa.table({"clip_id": ["a"], "more": [1]}), copy / files.ADDED)
    seal(copy)
    refused(copy, rf"{files.ADDED}: its columns are clip_id \(string\), more \(int64\)")


def test_a_record_that_is_too_large_or_too_deep_is_refused(copy, monkeypatch):
    (copy / "run.json").write_text("[" * 100_000)
    (copy / "SHA256SUMS").write_text(files.checksums(copy))
    refused(copy, r"run\.json: .*nested too deeply")
    monkeypatch.setattr("pseudolabel.releases.enhanced.LARGEST_OBJECT", 99)
    refused(copy, r"run\.json: larger than 99 bytes")
    monkeypatch.setattr("pseudolabel.releases.listing.MOST_SUMS_BYTES", 99)
    refused(copy, "SHA256SUMS: larger than 99 bytes")


@pytest.mark.parametrize("foreign", ["notes.txt", ".git/config", "deep/er/x", "SHA256SUMS.bak"])
def test_a_release_with_a_foreign_file_in_it_is_not_replaced(tmp_path, foreign, capsys):
    work = make_work(tmp_path / "work")
    assert run(work) == 0 and run(work, "--overwrite") == 0
    path = work / "release-closure" / foreign
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    (work / "release-closure" / "SHA256SUMS").write_text("".join(
        f"{sha256(one)}  {one.name}\n" for one in path.parent.iterdir() if one.is_file()
    ))  # fmt: skip
    before = contents(work)
    capsys.readouterr()
    assert run(work, "--overwrite") == 2
    said = capsys.readouterr().err
    assert f"holds {foreign}, which release did not write, so it is not replaced" in said and said.count("\n") == 1
    assert contents(work) == before


@pytest.mark.parametrize("mode", ["labels", "difference", "model"])
def test_folders_of_other_people_are_not_replaced(tmp_path, mode, capsys):
    work = make_work(tmp_path / "work")
    if mode == "labels":
        options = ["--enhanced", work / "enhanced-closure"]
    elif mode == "difference":
        options = ["diff", work / "labels.csv", work / "enhanced-closure", "--ontology", work / "ontology.csv"]
    else:
        options = ["model", work / "runs" / "student"]  # refused before the run is looked at
    theirs = {
        "sums": {"SHA256SUMS": f"{'0' * 64}  thesis.tex\n", "thesis.tex": "x"},
        "record": {"run.json": '{"verb": "release"}', "SHA256SUMS": "", "thesis.tex": "x"},
        "format": {"run.json": '{"format": "pseudolabel-release"}', "SHA256SUMS": "", "x.difference.json": "{}"},
        "difference": {"difference.json": "{}", "by_class.csv": "", "thesis.tex": "x"},
    }
    for name, named in theirs.items():
        folder = tmp_path / name
        folder.mkdir()
        for file, text in named.items():
            (folder / file).write_text(text)
    (tmp_path / "link").symlink_to(tmp_path / "sums")
    (tmp_path / "file").write_text("x")
    before = contents(tmp_path)
    for name in (*theirs, "link", "file"):
        capsys.readouterr()
        assert run(work, *options, "--out", tmp_path / name, "--overwrite") == 2, name
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and ("not replaced" in said or "folder" in said), said
    assert contents(tmp_path) == before and (tmp_path / "link").is_symlink()


def test_an_output_that_is_an_input_is_refused(tmp_path, capsys):
    work = make_work(tmp_path / "work")
    assert run(work) == 0
    ontology, enhanced, made = work / "ontology.csv", work / "enhanced-closure", work / "release-closure"
    before = contents(work)
    for options in (
        ["--enhanced", enhanced, "--out", enhanced],
        ["--enhanced", enhanced, "--out", work / "runs" / ".." / "enhanced-closure"],
        ["diff", made, enhanced, "--ontology", ontology, "--out", made],
        ["diff", made, enhanced, "--ontology", ontology, "--out", enhanced],
        ["--labels", made / "labels.csv", "--out", made],
    ):
        capsys.readouterr()
        assert run(work, *options, "--overwrite") == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert contents(work) == before


def test_a_difference_is_replaced_on_demand_with_or_without_its_record(tmp_path, capsys):
    work = make_work(tmp_path / "work")
    out = tmp_path / "difference"
    options = ["diff", work / "labels.csv", work / "enhanced-closure", "--ontology", work / "ontology.csv"]
    options += ["--out", out]
    assert run(work, *options) == 0 and run(work, *options) == 2 and run(work, *options, "--overwrite") == 0
    record = json.loads((out / "run.json").read_text())
    assert record["verb"] == "release" and str(work / "labels.csv") in record["inputs"]
    (out / "run.json").unlink()  # as an earlier version left it
    assert run(work, *options, "--overwrite") == 0


def test_a_release_of_an_earlier_version_is_verified_and_replaced(tmp_path, capsys):
    work = make_work(tmp_path / "work")
    assert run(work) == 0
    folder = work / "release-closure"
    record = json.loads((folder / "run.json").read_text())
    for name in ("format", "format_version", "documents", "wav"):
        del record[name]
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "SHA256SUMS").write_text(files.checksums(folder))
    assert verify_release(folder)[-1] == "counts are true, and the documents say what run.json says"
    assert run(work, "--overwrite") == 0 and "wav" in json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("summary.json", {"by_class": 5}),
        ("summary.json", {"by_class": [{}]}),
        ("summary.json", {"errors": 5}),
        ("summary.json", {"errors": ["III"]}),
        ("summary.json", {"ontology": [1]}),
        ("summary.json", {"decisions": 5}),
        ("summary.json", {"profile": {}}),
        ("run.json", {"inputs": {"labels.csv": 5}}),
        ("run.json", {"options": {"threshold": []}}),
        ("run.json", {"options": [1]}),
    ],
)
def test_an_enhancement_with_odd_values_ends_in_one_line(tmp_path, capsys, name, change):
    work = make_work(tmp_path / "work")
    path = work / "enhanced-closure" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    capsys.readouterr()
    code = run(work)
    said = capsys.readouterr().err.strip()
    assert (code == 2 and "error: " in said.splitlines()[-1]) or change == {"options": {"threshold": []}}, (code, said)
    assert "Traceback" not in said


def test_two_runs_do_not_write_one_release(tmp_path, capsys):
    from pseudolabel.blocks import only_run

    work = make_work(tmp_path / "work")
    with only_run(work / "release-closure"):
        capsys.readouterr()
        assert run(work) == 2
        assert "another run is at work on this output" in capsys.readouterr().err


def test_an_enhancement_larger_than_memory_is_refused_before_it_is_read(tmp_path, capsys, monkeypatch):
    work = make_work(tmp_path / "work")
    monkeypatch.setattr("pseudolabel.machine.available_bytes", lambda: 1000)
    capsys.readouterr()
    assert run(work) == 2
    said = capsys.readouterr().err
    assert "ledger.parquet: 4 additions take about 0.0 GB of memory" in said and "--threshold" in said
