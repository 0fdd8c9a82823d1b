"""The one reader of tables and JSON: what it reads is what stands there, and no damaged file loses a row in silence."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudolabel import tables
from pseudolabel.errors import InputError
from pseudolabel.tables import read_csv, read_json, text_lines, text_rows

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\ufeff"), max_size=8)


@given(st.lists(st.lists(TEXT, min_size=2, max_size=4), min_size=1, max_size=6), st.sampled_from(["\t", ","]))
def test_rows_written_by_the_csv_module_are_read_back(tmp_path_factory, rows, delimiter):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    path = tmp_path_factory.mktemp("rows") / "t.csv"
    path.write_bytes(text.getvalue().encode())
    stripped = [[field.strip() for field in fields] for fields in rows]
    assert [fields for _, fields in text_rows(path)] == [["a", "b"], *stripped]
    assert [line for line, _ in text_rows(path)] == list(range(1, len(rows) + 2))


FAULTS = {
    b'a,b\n1,2\n"3,4\n5,6\n7,8"\n': ":3: a quoted field does not end on its line",
    b'a,b\n1,2\n3,"4\n': ":3: cannot be read (unexpected end of data)",
    b'a,b\n1,"2"x\n': ":2: cannot be read (',' expected after '\"')",
    b'a,b\n1,"2\r3"\n': ":2: a quoted field does not end on its line",
    b"a,b\n1,2\n3\n": ":3: row has 1 columns, the header 2",
    b"a,b\n1,2,3\n": ":2: row has 3 columns, the header 2",
    b"a,b,a\n1,2,3\n": ":1: column 'a' is listed twice",
    b"a,b\n1,2\n3,\xe9\n": ":3: not UTF-8 text (invalid continuation byte)",
    b"a,b\n1,2\n3,\xe2\x82": ":3: not UTF-8 text (unexpected end of data)",
    b"a,b\r\n1,2\r\n3,\0\r\n": ":3: a NUL byte in the text",
    b"a,b\r1,2\r3,\0\r": ":3: a NUL byte in the text",
    b"a,b\n1,2\n\xef\xbb\xbfa,b\n3,4\n": ":3: a byte-order mark inside the text",
    "a,b\n1,2\n".encode("utf-16"): ":1: not UTF-8 text but UTF-16. Save it as UTF-8 text.",
    b"a,b\n" + b"1" * 140_000 + b",2\n": ":2: cannot be read (field larger than field limit (131072))",
    b"c\n1\n": ":1: column 'a' is missing; columns found: c. The header needs: a,b.",
    b"": ":1: column 'a' is missing; columns found: none. The header needs: a,b.",
}


@pytest.mark.parametrize("content", FAULTS, ids=range(len(FAULTS)))
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.xz"])
def test_fault_is_named_with_its_line(tmp_path, content, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_bytes({".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)(content))
    with pytest.raises(InputError) as error:
        read_csv(path, ("a", "b"))
    assert str(error.value).startswith(f"{path}{FAULTS[content].rstrip('.')}")


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("content", FAULTS, ids=range(len(FAULTS)))
def test_size_of_the_pieces_does_not_matter(tmp_path, monkeypatch, content, piece):
    monkeypatch.setattr(tables, "PIECE", piece)
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_csv(tmp_path / "t.csv", ("a", "b"))
    assert FAULTS[content].partition(" (")[0].rstrip(".") in str(error.value) or "UTF-8" in str(error.value)
    (tmp_path / "good.csv").write_bytes("\ufeffa;b\r\né;€\r\n\r\n3;4".encode())
    assert read_csv(tmp_path / "good.csv") == [{"a": "é", "b": "€", "line": "2"}, {"a": "3", "b": "4", "line": "4"}]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('# num, of\nx, 1, 2, "a,b"\n', [["# num", "of"], ["x", "1", "2", "a,b"]]),
        ("a\tb\n1,5\t 2\n", [["a", "b"], ["1,5", "2"]]),
        ('\ufeffa;b\r\n1,5;"x;y"\r\n', [["a", "b"], ["1,5", "x;y"]]),
        ('a,b\n1;2,"say ""no"""\n', [["a", "b"], ["1;2", 'say "no"']]),
        ("a,b\n\n  \n1,2", [["a", "b"], [""], ["1", "2"]]),
        ("a,b,,\n1,2,,\n", [["a", "b", "", ""], ["1", "2", "", ""]]),
        ("a,b\x0bc\u2028d\x1ce\n", [["a", "b\x0bc\u2028d\x1ce"]]),
    ],
)
def test_separator_is_that_of_the_first_line_that_is_no_comment(tmp_path, text, rows):
    (tmp_path / "t").write_bytes(text.encode())
    assert [fields for _, fields in text_rows(tmp_path / "t")] == rows


def test_without_quotes_a_quote_is_a_character(tmp_path):
    (tmp_path / "t").write_text('/m/a\tThe "A\n/m/b\t"B\n')
    assert [fields for _, fields in text_rows(tmp_path / "t", quoted=False)] == [["/m/a", 'The "A'], ["/m/b", '"B']]


def test_lines_keep_their_spaces_and_numbers(tmp_path):
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbf a\r\n\r\nb\rc")
    assert list(text_lines(tmp_path / "t")) == [(1, " a"), (3, "b"), (4, "c")]


def test_damaged_or_absent_packed_file_is_refused(tmp_path):
    for suffix, pack in ((".gz", gzip.compress), (".xz", lzma.compress)):
        path = tmp_path / f"t.csv{suffix}"
        for content in (pack(b"a,b\n1,2\n" * 99)[:-9], b"a,b\n1,2\n", b""):
            path.write_bytes(content)
            if content or suffix == ".xz":
                fault = r"cannot be read \(.*Copy or download it again"
                if content.startswith(b"a"):
                    fault = rf"its content is not packed as {suffix} says\. Call it t\.csv if it is text"
                with pytest.raises(InputError, match=fault):
                    read_csv(path)
    with pytest.raises(InputError, match="no such file"):
        read_csv(tmp_path / "absent.csv")


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_packed_text_is_read_whatever_it_is_called(tmp_path, pack):
    for name in ("t.csv", "t.CSV.GZ", "t.xz"):
        (tmp_path / name).write_bytes(pack(b"a,b\n1,2\n"))
        assert read_csv(tmp_path / name) == [{"a": "1", "b": "2", "line": "2"}]


@pytest.mark.parametrize(
    ("first", "what"),
    [
        (b"PK\3\4\x14\0", "a ZIP archive or a spreadsheet"),
        (b"BZh91AY", "packed by bzip2"),
        (b"\x28\xb5\x2f\xfd\0", "packed by zstd"),
    ],
)
def test_archive_is_named(tmp_path, first, what):
    (tmp_path / "t.csv").write_bytes(first)
    with pytest.raises(InputError, match=rf"t\.csv: not text but {what}\. Unpack it, or save it as CSV\."):
        read_csv(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"BZhu,b\n1,2\n")
    assert read_csv(tmp_path / "t.csv")[0]["BZhu"] == "1"


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_packed_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, suffix, opener):
    monkeypatch.setattr(tables, "SMALL", 1 << 20)
    path = tmp_path / f"t.csv{suffix}"
    with opener(path, "wb") as file:
        file.write(b"a,b\n")
        for _ in range(1 << 10):
            file.write(b"1,2\n" * (1 << 10))
    with pytest.raises(InputError, match=r"its [\d,]+ bytes unpack to more than 1,\d{3},\d{3}.*Unpack it first"):
        for _ in text_rows(path):
            pass


def test_line_without_an_end_is_refused_before_memory_is_taken(tmp_path):
    with open(tmp_path / "t.csv", "wb") as file:
        file.write(b"a,b\n" + b"x" * (tables.LONGEST_LINE + tables.PIECE))
    with pytest.raises(InputError, match=r"t\.csv:2: a line has more than 4,194,304 bytes"):
        read_csv(tmp_path / "t.csv")


JSON_FAULTS = {
    "[" * 200_000: "nested too deeply",
    '{"a":' * 100_000: "nested too deeply",
    "[" + "9" * 1_000_000 + "]": "cannot be read",
    '{"a": 1, "b": 2, "a": 3}': "key 'a' is listed twice",
    "[NaN]": "NaN is not JSON",
    "[-Infinity]": "-Infinity is not JSON",
    '["\\ud800"]': "half a character",
    '[1,\n2\n"': r":3: not JSON",
    '["a\nb"]': r":1: not JSON \(Invalid control character",
}


@pytest.mark.parametrize("text", JSON_FAULTS, ids=range(len(JSON_FAULTS)))
def test_json_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError, match=JSON_FAULTS[text]):
        read_json(tmp_path / "t.json")


def test_json_of_any_kind_is_read(tmp_path):
    value = {"a": [1, 2.5, None, True, "\U0001f600 é"], "b": {"c": {}}}
    (tmp_path / "t.json.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(value).encode()))
    assert read_json(tmp_path / "t.json.gz") == value


def test_json_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LARGEST_JSON", 1000)
    (tmp_path / "t.json").write_text(json.dumps(["x" * 80] * 20))
    with pytest.raises(InputError, match=r"more than 1,000 bytes"):
        read_json(tmp_path / "t.json")


def test_messages_are_one_line_without_long_values():
    error = InputError(f"class {'x' * 200!r} is not\nin the list's {'y' * 900}", "l.csv:1", "Mend it.")
    assert "\n" not in str(error) and len(str(error)) < 700
    assert str(error).startswith(f"l.csv:1: class '{'x' * 77}...' is not in the list's yyy")
    assert str(InputError(f"the clip's {'word ' * 30}and 'b' differ")) == f"the clip's {'word ' * 30}and 'b' differ"


def test_name_that_no_file_can_have_is_no_file(tmp_path):
    assert not tables.is_file(tmp_path / ("x" * 5000))
    with pytest.raises(InputError, match="no such file"):
        read_csv(tmp_path / ("x" * 5000))


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\n', "sep=;\n"])
def test_the_line_that_states_the_separator_is_no_row(tmp_path, first):
    (tmp_path / "t.csv").write_text(f"{first}a;b, c\n1;2\n", newline="")
    assert list(text_rows(tmp_path / "t.csv")) == [(2, ["a", "b, c"]), (3, ["1", "2"])]
