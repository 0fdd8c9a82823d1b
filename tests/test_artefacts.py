"""Files appear whole or not at all, are replaced only on demand, and bad CSV files are refused with their line."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time

import pytest

from pseudolabel.artefacts import (
    git_commit,
    read_csv,
    refuse_existing,
    run_record,
    sha256,
    whole_file,
    whole_folder,
    write_csv,
    write_json,
    write_text,
)
from pseudolabel.errors import ClipMismatch, InputError, OutputExists, first_few, nearest


def test_file_takes_its_name_only_when_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "er" / "file.txt"
    with whole_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.txt"
    for before in ([], ["file.txt"]):
        assert os.listdir(tmp_path) == before
        with pytest.raises(error), whole_file(path) as temporary:
            temporary.write_text("half")
            raise error
        assert os.listdir(tmp_path) == before
        path.write_text("old")
    assert path.read_text() == "old"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path, error):
    path = tmp_path / "folder"
    for before in ([], ["folder"]):
        assert os.listdir(tmp_path) == before
        with pytest.raises(error), whole_folder(path, overwrite=True) as temporary:
            (temporary / "new").touch()
            raise error
        assert os.listdir(tmp_path) == before
        path.mkdir(exist_ok=True)
        (path / "old").touch()
    assert os.listdir(path) == ["old"]


def test_a_folder_replaces_the_whole_old_one(tmp_path):
    path = tmp_path / "folder"
    for name in ("first", "second"):
        with whole_folder(path, overwrite=True) as temporary:
            assert temporary.is_dir() and not os.listdir(temporary)
            (temporary / name).write_text(name)
            assert not (path / name).exists()
        assert os.listdir(path) == [name]
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_replaces_a_file_and_a_link_but_not_what_the_link_points_to(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("file", "link", "dangling"):
        with whole_folder(tmp_path / name, overwrite=True) as temporary:
            (temporary / "new").touch()
        assert os.listdir(tmp_path / name) == ["new"]
        assert not (tmp_path / name).is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["dangling", "file", "kept", "link"]
    assert not os.listdir(tmp_path / "kept")


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(FileNotFoundError), whole_folder(path, overwrite=True) as temporary:
        temporary.rmdir()
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(path) == ["old"]


def test_nothing_is_replaced_without_overwrite(tmp_path):
    path = tmp_path / "out"
    assert refuse_existing(path, overwrite=False) == path
    path.mkdir()
    assert refuse_existing(path, overwrite=True) == path
    with pytest.raises(OutputExists, match=r"out: output exists\. Give --overwrite"):
        refuse_existing(path, overwrite=False)
    with pytest.raises(OutputExists), whole_folder(path):
        pytest.fail("the block of a refused folder runs")
    path.rmdir()
    path.touch()
    with pytest.raises(OutputExists), whole_file(path, overwrite=False):
        pytest.fail("the block of a refused file runs")


def test_a_file_never_replaces_a_folder(tmp_path):
    with pytest.raises(OutputExists, match="a folder lies where a file is to be written"):
        write_text(tmp_path, "text", overwrite=True)


def test_texts_are_utf8_with_unix_line_ends(tmp_path):
    write_text(tmp_path / "t", "Käse\nzwei\n")
    assert (tmp_path / "t").read_bytes() == "Käse\nzwei\n".encode()
    write_json(tmp_path / "j", {"b": "é", "a": [1]})
    assert (tmp_path / "j").read_text(encoding="utf-8") == '{\n  "b": "é",\n  "a": [\n    1\n  ]\n}\n'
    assert sha256(tmp_path / "t") == hashlib.sha256("Käse\nzwei\n".encode()).hexdigest()


def test_csv_reads_back_equal_with_line_numbers(tmp_path):
    rows = [("a", "x, y"), ("b", 'say "no"'), ("", "ü")]
    write_csv(tmp_path / "t.csv", ("name", "text"), rows)
    assert (tmp_path / "t.csv").read_bytes().count(b"\r") == 0
    read = read_csv(tmp_path / "t.csv", ("text", "name"))
    assert [(row["name"], row["text"]) for row in read] == rows
    assert [row["line"] for row in read] == ["2", "3", "4"]


def test_csv_with_byte_order_mark_blank_lines_and_spaces_is_read(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfa, b\r\n1, 2\r\n\r\n3,4\r\n")
    assert read_csv(tmp_path / "t.csv", ("a", "b")) == [
        {"a": "1", "b": "2", "line": "2"},
        {"a": "3", "b": "4", "line": "4"},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"t\.csv:1: column 'a' is missing; columns found: none\. The header needs: a,b\."),
        (b"a,c\n1,2\n", r"t\.csv:1: column 'b' is missing; columns found: a, c\."),
        (b"a,b\n1,2\n3\n", r"t\.csv:3: row has not the header's 2 columns"),
        (b"a,b\n1,2,3\n", r"t\.csv:2: row has not the header's 2 columns"),
        (b"a,b\n\xe9,2\n", r"t\.csv: not UTF-8 text"),
        (b"a,b\n1,%s\n" % (b"x" * 140_000), r"t\.csv: not a readable CSV file \(field larger"),
    ],
)
def test_bad_csv_files_are_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_csv(tmp_path / "t.csv", ("a", "b"))
    with pytest.raises(InputError, match="no such file"):
        read_csv(tmp_path / "absent.csv")


def test_run_record_says_what_was_done_with_what(tmp_path, monkeypatch):
    (tmp_path / "in.csv").write_text("x")
    inputs = [tmp_path / "in.csv", tmp_path / "absent"]
    for argv in (["enhance.py", "--out", "my folder"], ["pseudolabel", "enhance", "--out", "my folder"]):
        monkeypatch.setattr(sys, "argv", argv)
        record = run_record("enhance", {"out": tmp_path, "errors": ("I", "II")}, inputs, seed=7)
        assert record["command"] == "python -m pseudolabel.enhance --out 'my folder'"
    assert record["options"] == {"out": str(tmp_path), "errors": ["I", "II"]}
    assert record["inputs"] == {str(tmp_path / "in.csv"): hashlib.sha256(b"x").hexdigest()}
    assert record["seed"] == 7
    assert set(record["versions"]) >= {"torch", "numpy", "h5py"}
    assert record["commit"] == git_commit()
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("x is wrong"), "x is wrong"),
        (InputError("x is wrong", "f.csv:3"), "f.csv:3: x is wrong"),
        (InputError("x is wrong", "f.csv:3", "Mend it."), "f.csv:3: x is wrong. Mend it."),
        (ClipMismatch("x is wrong.", remedy="Mend it."), "x is wrong. Mend it."),
    ],
)
def test_errors_say_place_rule_and_remedy_in_one_line(error, text):
    assert str(error) == text
    assert isinstance(error, ValueError)


def test_long_lists_are_cut_and_near_names_found():
    assert first_few("abc") == "a, b, c"
    assert first_few(iter(range(5)), limit=2) == "0, 1 and 3 more"
    assert first_few([]) == ""
    assert nearest("Oboo", ["Flute", "Oboe"]) == "Oboe"
    assert nearest("xyz", ["Flute", "Oboe"]) == ""


def test_what_a_killed_process_left_is_removed_after_an_hour_and_not_before(tmp_path):
    old, fresh, other = (tmp_path / name for name in (".store.h5.1.tmp", ".store.h5.2.tmp", ".other.h5.1.tmp"))
    for path in (old, fresh, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (time.time() - 4000, time.time() - 4000))
    with whole_file(tmp_path / "store.h5") as temporary:
        temporary.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == [other.name, fresh.name, "store.h5"]
