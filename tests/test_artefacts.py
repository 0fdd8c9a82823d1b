"""Files appear whole or not at all, are replaced only on demand, and bad CSV files are refused with their line."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
import sys
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pseudolabel import artefacts, records, temporaries
from pseudolabel.artefacts import whole_file, whole_folder, write_csv, write_json, write_text
from pseudolabel.blocks import only_run
from pseudolabel.errors import ClipMismatch, InputError, OutputExists, first_few, nearest
from pseudolabel.labels.writers import packed_file
from pseudolabel.ownership import (
    begins_with,
    files_in,
    has_format,
    has_keys,
    is_csv,
    not_ours,
    refuse_existing,
    refuse_foreign,
    refuse_foreign_file,
    refuse_input_as_output,
)
from pseudolabel.records import Inputs, git_commit, refuse_named_input, run_record, sha256, write_run_record
from pseudolabel.stores import write_hdf5
from pseudolabel.tables import read_csv
from pseudolabel.temporaries import is_temporary, remove, temporary_name


def own_folder(path, *files: str, verb: str = "verb") -> None:
    """Make a folder with these files, as a verb leaves it."""
    path.mkdir(exist_ok=True)
    for name in files:
        (path / name).touch()
    write_run_record(path, {"verb": verb})


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
        with pytest.raises(error), whole_folder(path, True, "verb") as temporary:
            (temporary / "new").touch()
            raise error
        assert os.listdir(tmp_path) == before
        own_folder(path, "old")
    assert sorted(os.listdir(path)) == ["old", "run.json"]


def test_a_folder_replaces_the_whole_old_one(tmp_path):
    path = tmp_path / "folder"
    for name in ("first", "second"):
        with whole_folder(path, True, "verb") as temporary:
            assert temporary.is_dir() and not os.listdir(temporary)
            (temporary / name).write_text(name)
            write_run_record(temporary, {"verb": "verb"})
            assert not (path / name).exists()
        assert names(path) == {name, "run.json"}
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.touch(), "not a folder that verb wrote"),
        (lambda path: path.symlink_to("kept"), "not a folder that verb wrote"),
        (lambda path: path.symlink_to("nowhere"), "not a folder that verb wrote"),
        (lambda path: (path.mkdir(), (path / "notes.txt").touch()), r"its run\.json does not say so"),
        (lambda path: own_folder(path, verb="other"), r"its run\.json does not say so"),
        (lambda path: (path.mkdir(), (path / "run.json").write_text("[")), r"its run\.json does not say so"),
        (lambda path: (own_folder(path, "a"), (path / "notes.txt").touch()), "holds notes.txt, which verb did not"),
        (lambda path: (own_folder(path, "a"), (path / "link").symlink_to("../kept")), "holds link, which verb did not"),
        (lambda path: (own_folder(path), (path / ".git").mkdir(), (path / ".git/HEAD").touch()), "holds .git/HEAD"),
    ],
)
def test_a_folder_that_is_not_proven_to_be_the_verbs_own_is_never_replaced(tmp_path, make, reason):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    make(tmp_path / "out")
    before = {name: os.lstat(tmp_path / name).st_mtime_ns for name in files_in(tmp_path)}
    with pytest.raises(InputError, match=rf"out: .*{reason}.*so it is not replaced"):
        refuse_foreign(tmp_path / "out", True, "verb")
    with pytest.raises(InputError, match=reason), whole_folder(tmp_path / "out", True, "verb"):
        pytest.fail("the block of a refused folder runs")
    with pytest.raises(InputError, match=reason):
        remove(tmp_path / "out", partial(not_ours, makers=["verb"]))
    assert {name: os.lstat(tmp_path / name).st_mtime_ns for name in files_in(tmp_path)} == before


def test_a_folder_of_the_verbs_own_is_replaced_with_what_file_browsers_left_in_it(tmp_path):
    own_folder(tmp_path / "out", "old")
    (tmp_path / "out" / ".DS_Store").touch()
    with whole_folder(tmp_path / "out", True, "other", "verb") as temporary:
        (temporary / "new").touch()
    assert files_in(tmp_path) == ["out/new"]


def test_a_file_that_comes_while_the_new_folder_is_written_is_not_removed(tmp_path):
    own_folder(tmp_path / "out", "old")
    with pytest.raises(InputError, match="holds notes"), whole_folder(tmp_path / "out", True, "verb") as temporary:
        (temporary / "new").touch()
        (tmp_path / "out" / "notes.txt").touch()
    assert files_in(tmp_path) == ["out/notes.txt", "out/old", "out/run.json"]


@pytest.mark.parametrize("exchange", [True, False])
def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(artefacts, "_exchange", lambda *_: False)
    path = tmp_path / "folder"
    own_folder(path, "old")
    with pytest.raises(FileNotFoundError), whole_folder(path, True, "verb") as temporary:
        temporary.rmdir()
    assert files_in(tmp_path) == ["folder/old", "folder/run.json"]


@pytest.mark.parametrize("exchange", [True, False])
def test_folders_take_each_others_names_with_and_without_the_systems_help(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(artefacts, "_exchange", lambda *_: False)
    own_folder(tmp_path / "out", "old")
    with whole_folder(tmp_path / "out", True, "verb") as temporary:
        (temporary / "new").touch()
    assert files_in(tmp_path) == ["out/new"]


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
    with pytest.raises(OutputExists, match="a folder is where a file is to be written"):
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
        (b"a,b\n1,2\n3\n", r"t\.csv:3: row has 1 columns, the header 2"),
        (b"a,b\n1,2,3\n", r"t\.csv:2: row has 3 columns, the header 2"),
        (b"a,b\n\xe9,2\n", r"t\.csv:2: not UTF-8 text"),
        (b"a,b\n1,%s\n" % (b"x" * 140_000), r"t\.csv:2: cannot be read \(field larger"),
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


def names(folder) -> set[str]:
    return set(os.listdir(folder))


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_or_somebody_elses_is_not(tmp_path):
    left, other = temporary_name(tmp_path / "store.h5"), temporary_name(tmp_path / "other.h5")
    theirs = [tmp_path / name for name in (".store.h5.1.tmp", ".store.h5.mine.tmp", f".store.h5.{'a' * 32}.tmp")]
    for path in (left, other, *theirs):
        path.write_text("half")
    linked = temporary_name(tmp_path / "store.h5")
    linked.symlink_to(theirs[0])
    with whole_file(tmp_path / "store.h5") as used:
        with whole_file(tmp_path / "store.h5") as temporary:
            temporary.write_text("whole")
            assert names(tmp_path) == {other.name, used.name, temporary.name, linked.name, *(t.name for t in theirs)}
        assert used.exists()
        used.write_text("last")
    assert names(tmp_path) == {other.name, "store.h5", linked.name, *(path.name for path in theirs)}
    assert (tmp_path / "store.h5").read_text() == "last"


def test_without_locks_only_what_nobody_has_touched_for_an_hour_is_a_leftover(tmp_path, monkeypatch):
    monkeypatch.setattr(temporaries, "fcntl", None)
    old, fresh = temporary_name(tmp_path / "store.h5"), temporary_name(tmp_path / "store.h5")
    for path in (old, fresh):
        path.mkdir()
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    with whole_file(tmp_path / "store.h5") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == {fresh.name, "store.h5"}


def test_a_temporary_file_is_new_and_its_name_proves_itself_for_its_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "store.h5"
    drawn = [temporary_name(path) for _ in range(20)]
    assert len(set(drawn)) == 20
    assert all(is_temporary(name) and is_temporary(name, "store.h5") for name in drawn)
    assert not any(is_temporary(name, "other.h5") for name in drawn)
    assert not is_temporary(drawn[0].with_name(drawn[0].name.replace("store", "other")))
    monkeypatch.setattr(temporaries, "temporary_name", lambda _: drawn[0])
    drawn[0].symlink_to("elsewhere")  # somebody has guessed the name
    with pytest.raises(FileExistsError), whole_file(path):
        pytest.fail("a file that is there is written")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("out", "given", "refused"),
    [
        ("a.h5", ["b.h5", "a.h5"], True),
        ("a.h5", [None, "sub/../a.h5"], True),
        ("a.h5", ["link.h5"], True),
        ("a.h5", ["hard.h5"], True),
        ("folder", ["folder/in.csv"], True),
        ("folder", ["linked/in.csv"], True),
        ("new.h5", ["new.h5"], True),
        ("a.h5", ["b.h5", None], False),
        ("folder/out.csv", ["folder/in.csv"], False),
    ],
)
def test_an_output_that_is_also_an_input_is_refused_by_whatever_name(tmp_path, out, given, refused):
    (tmp_path / "folder").mkdir()
    (tmp_path / "sub").mkdir()
    for name in ("a.h5", "b.h5", "folder/in.csv"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link.h5").symlink_to("a.h5")
    (tmp_path / "linked").symlink_to("folder")
    os.link(tmp_path / "a.h5", tmp_path / "hard.h5")
    inputs = [name and tmp_path / name for name in given]
    with pytest.raises(InputError, match="would be replaced while it is an input") if refused else nullcontext():
        refuse_input_as_output(tmp_path / out, inputs)


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("clip_id,labels\n", True),
        ('clip_id,labels\nx,a;b\n"y,z",\n', True),
        ("clip_id,labels,annotator\nx,a,me\n", False),
        ("clip_id,labels\nx,a\ny,b,me\n", False),
        ("clip_id,labels\r\nx,a\r\n", False),
        ("# mine\nclip_id,labels\nx,a\n", False),
        ('clip_id,labels\n"x,a\n', False),
        ("clip_id,labels\n\xff,a\n", False),
    ],
)
def test_a_table_is_ours_only_with_exactly_our_columns(tmp_path, text, ours):
    (tmp_path / "list.csv").write_bytes(text.encode("latin-1"))
    assert is_csv(("clip_id", "weight"), ("clip_id", "labels"))(tmp_path / "list.csv") is ours


def test_an_object_is_ours_only_with_all_keys(tmp_path):
    path, is_report = tmp_path / "report.json", has_keys("benchmark", "stages")
    write_json(path, {"benchmark": "mine"})
    assert not is_report(path)
    write_json(path, {"benchmark": "labels", "stages": []})
    assert is_report(path)


def test_an_input_that_a_run_names_is_no_output_even_if_the_folder_moved(tmp_path):
    made, moved = tmp_path / "made", tmp_path / "moved.csv"
    made.mkdir()
    for name in ("labels.csv", "other.csv"):
        (tmp_path / name).write_text("clip_id,labels\nx,a\n")
    write_run_record(made, run_record("enhance", {}, [tmp_path / "labels.csv"]))
    refuse_named_input(tmp_path / "other.csv", made)
    with pytest.raises(InputError, match="would be replaced while it is an input"):
        refuse_named_input(tmp_path / "labels.csv", made)
    (tmp_path / "new").mkdir()
    (tmp_path / "labels.csv").rename(tmp_path / "new" / "labels.csv")
    with pytest.raises(InputError, match=r"is an input that .*run\.json names"):
        refuse_named_input(tmp_path / "new" / "labels.csv", made)
    refuse_named_input(moved, made)


@pytest.mark.parametrize("refuse", [lambda path: refuse_existing(path, False), lambda path: only_run(path).__enter__()])
def test_outputs_below_a_file_and_in_the_home_of_a_shell_are_refused(tmp_path, monkeypatch, refuse):
    monkeypatch.chdir(tmp_path)
    Path("file.csv").touch()
    Path("link").symlink_to("nowhere")
    for path, message in (
        ("file.csv/x", r"file\.csv is not a folder, so nothing can be written below it"),
        ("file.csv/x/y", r"Give another --out"),
        ("link/x", "link is not a folder"),
        ("~/x", r"begins with ~.* Write it apart \(--out ~/\.\.\.\), or give the folder whole"),
    ):
        with pytest.raises(InputError, match=message):
            refuse(Path(path))
    assert sorted(os.listdir()) == ["file.csv", "link"]


def test_a_name_that_says_another_form_is_refused(tmp_path):
    check = partial(refuse_foreign_file, overwrite=False, is_ours=bool, what="a label list", endings=(".csv",))
    for name in ("u.csv", "u.list", "u"):
        assert check(tmp_path / name) == tmp_path / name
    for name in ("u.csv.gz", "u.parquet", "u.H5"):
        with pytest.raises(InputError, match=r"a label list is not written as \.(gz|parquet|H5). Give --out .*u\.csv"):
            check(tmp_path / name)


def test_a_file_is_replaced_only_where_its_content_is_ours(tmp_path):
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    ours.write_text("clip_id,labels\n")
    theirs.write_text("clip_id;labels\n")
    is_list = begins_with("clip_id,labels", "clip_id,weight")
    for path in (ours, tmp_path / "new.csv"):
        assert refuse_foreign_file(path, True, is_list, "a label list") == path
    with pytest.raises(OutputExists, match="output exists"):
        refuse_foreign_file(ours, False, is_list, "a label list")
    with pytest.raises(InputError, match=r"theirs\.csv: not a label list of pseudolabel, so it is not replaced"):
        refuse_foreign_file(theirs, True, is_list, "a label list")
    with h5py.File(tmp_path / "store.h5", "w") as file:
        file.attrs["format"] = "pseudolabel-scores"
    assert has_format("pseudolabel-scores")(tmp_path / "store.h5")
    assert not has_format("pseudolabel-clips")(tmp_path / "store.h5") and not has_format("x")(theirs)


def test_checksums_of_inputs_are_those_of_the_files_as_they_were_read(tmp_path):
    inputs, path = Inputs(), tmp_path / "in.csv"
    path.write_text("first")
    assert inputs.read(path) == path and inputs.read(None) is None and inputs.read("audioset") == "audioset"
    path.write_text("second")
    inputs.read(path)
    record = run_record("enhance", {}, inputs)
    assert record["inputs"] == {str(path): hashlib.sha256(b"first").hexdigest()}


def test_a_large_file_has_the_same_checksum(tmp_path, monkeypatch):
    (tmp_path / "large").write_bytes(os.urandom(3_000_000))
    expected = sha256(tmp_path / "large")
    monkeypatch.setattr(records, "LARGE_BYTES", 1000)
    assert sha256(tmp_path / "large") == expected


# ---- a full disk --------------------------------------------------------------------------------------------------


def write_parquet(path) -> None:
    with whole_file(path) as temporary:
        pq.write_table(pa.table({"a": np.random.default_rng(0).random(20_000)}), temporary)


def write_packed(path) -> None:
    with packed_file(path, 1) as packed:
        packed.write(os.urandom(200_000))


def write_store(path) -> None:
    with write_hdf5(path) as file:
        file["a"] = np.random.default_rng(0).random(20_000)


def write_weights(path) -> None:
    safetensors_numpy = pytest.importorskip("safetensors.numpy")
    with whole_file(path) as temporary:
        safetensors_numpy.save_file({"a": np.zeros(20_000)}, temporary)


def write_copy(path) -> None:
    shutil.copyfile(pa.__file__, path)


WRITERS = {
    "text.json": lambda path: write_json(path, ["x" * 200_000]),
    "table.csv": lambda path: write_csv(path, ["a"], [[number] for number in range(40_000)]),
    "table.parquet": write_parquet,
    "packed.gz": write_packed,
    "store.h5": write_store,
    "model.safetensors": write_weights,
    "copy": write_copy,
}
FILES = [name for name in WRITERS if name != "copy"]  # written under a temporary name by themselves


@contextmanager
def files_of_at_most(n_bytes: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def output(tmp_path, in_folder: bool):
    """Return a context manager whose value is the folder to write into."""
    return whole_folder(tmp_path / "out", True, "verb") if in_folder else nullcontext(tmp_path)


@pytest.mark.parametrize(
    ("name", "in_folder"), [*((name, True) for name in WRITERS), *((name, False) for name in FILES)]
)
def test_every_writer_names_its_output_and_the_remedy_where_it_cannot_write(tmp_path, name, in_folder):
    path = tmp_path / "out" / name if in_folder else tmp_path / name
    message = f"[Errno 27] File too large. Write to another disk, or raise the limit (ulimit -f): {str(path)!r}"
    with pytest.raises(OSError) as caught, files_of_at_most(10_000), output(tmp_path, in_folder) as folder:
        WRITERS[name](folder / name)
    assert str(caught.value) == message
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "No space left"), (errno.EDQUOT, "Disk quota exceeded")])
@pytest.mark.parametrize("in_folder", [False, True])
def test_a_disk_that_is_full_when_a_file_is_flushed_is_named_too(tmp_path, monkeypatch, number, said, in_folder):
    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "out" / "file.txt" if in_folder else tmp_path / "file.txt"
    message = f"{said}.* Make room, or write to another disk: '{path}'"
    with pytest.raises(OSError, match=message), output(tmp_path, in_folder) as folder:
        write_text(folder / "file.txt", "text")
    assert os.listdir(tmp_path) == []


def test_other_errors_stay_as_they_are(tmp_path):
    with pytest.raises(PermissionError, match=r"^$"), whole_file(tmp_path / "a"):
        raise PermissionError
    with pytest.raises(InputError, match="No space left on device"), whole_file(tmp_path / "a"):
        raise InputError("No space left on device")
