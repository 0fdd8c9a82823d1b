"""Errors are one line: what is long in them is cut, and what was meant is guessed."""

from __future__ import annotations

import errno

import pytest

from pseudolabel.command import exit_code
from pseudolabel.dry_run import refuse_absent
from pseudolabel.errors import InputError, cut, first_line, nearest, no_file, shown
from pseudolabel.ownership import output_exists


def test_values_places_and_messages_are_cut():
    assert str(InputError(f"class {'x' * 200!r} is not there", "f.csv:3", "Mend it.")) == (
        f"f.csv:3: class '{'x' * 77}...' is not there. Mend it."
    )
    assert cut(f"not {'1' * 200} but 2") == f"not {'1' * 77}... but 2"
    assert cut("a\nb") == "a b"
    assert len(cut("word " * 1000)) == 600
    place = InputError("wrong", "/folder" * 100 + "/list.csv").place
    assert len(place) == 300 and place.startswith("...") and place.endswith("/folder/list.csv")
    assert shown("y" * 100) == "'" + "y" * 76 + "..."
    assert shown(("a", 1)) == "('a', 1)"


def test_the_nearest_name_is_close_enough():
    assert nearest("enhanse", ["enhance", "balance"]) == "enhance"
    assert nearest("zzz", ["enhance"]) == nearest("dance", ["enhance"], 0.9) == ""
    assert nearest("e" * 10**7, ["enhance"]) == ""


def test_a_path_that_is_not_a_file_is_a_folder_or_names_the_nearest_file(tmp_path):
    (tmp_path / "labels.csv").touch()
    assert str(no_file(tmp_path)) == f"{tmp_path}: is a folder, not a file"
    assert (
        str(no_file("/dev/null")) == "/dev/null: is a device or a pipe, not a file. Save its content in a file first."
    )
    assert str(no_file(tmp_path / "label.csv")) == (
        f"{tmp_path}/label.csv: no such file. Nearest: {tmp_path}/labels.csv."
    )
    assert str(no_file(tmp_path / "label.csv", "Give --labels.")).endswith("label.csv: no such file. Give --labels.")
    assert str(no_file(tmp_path / "else" / "x.csv")) == f"{tmp_path}/else/x.csv: no such file"


@pytest.mark.parametrize(("error", "line"), [(OSError("a\nb"), "a"), (OSError("\n"), "OSError")])
def test_the_first_line_of_an_error_without_text_is_its_class(error, line):
    assert first_line(error) == line


def test_a_file_or_folder_that_is_missing_names_the_nearest(tmp_path):
    (tmp_path / "labels.csv").touch()
    with pytest.raises(InputError) as caught:
        refuse_absent(tmp_path / "label.csv")
    assert str(caught.value) == f"{tmp_path}/label.csv: no such file or folder. Nearest: {tmp_path}/labels.csv."


def test_an_output_that_exists_names_the_option_that_gives_another(tmp_path):
    assert str(output_exists(tmp_path, "--work")).endswith("Give --overwrite to replace it, or another --work.")


def test_a_name_that_no_system_accepts_is_cut_and_has_a_remedy(capsys):
    def opened() -> None:
        raise OSError(errno.ENAMETOOLONG, "File name too long", "x" * 4000)

    assert exit_code(opened, "p") == 2
    line = capsys.readouterr().err
    assert len(line) < 400 and line.endswith("xxx: File name too long. Give a shorter name.\n")
