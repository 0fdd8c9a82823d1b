"""Judgements: files of one or more judges, what becomes of contradictions, and every way a file can be wrong."""

from __future__ import annotations

import json

import pytest

from pseudolabel.errors import InputError
from pseudolabel.reviews.items import Item, make_sample
from pseudolabel.reviews.judgements import agreement_of_judges, read_judgements

SAMPLE = make_sample(
    [Item(f"000{i}", f"c{i}", "/m/1", "added", "I", stratum="I", weight=1.0) for i in range(1, 5)], "ab", {"I": 4}
)
HEADER = "page,item,clip_id,class_id,error,decision,judge"


def write(path, *rows, header=HEADER):
    """Rows are `number decision judge`."""
    lines = [header]
    for row in rows:
        number, decision, *judge = row.split(" ")
        lines.append(f"{SAMPLE.page},000{number},c{number},/m/1,I,{decision},{''.join(judge)}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_files_of_several_judges_are_read_and_combined_by_majority(tmp_path):
    one = write(tmp_path / "one.csv", "1 right ann", "2 wrong ann", "3 Right ann", "1 right bob", "2 unsure bob")
    two = write(tmp_path / "two.csv", "1 wrong", "3 wrong")
    found = read_judgements([one, two], SAMPLE)
    assert list(found.by_judge) == ["ann", "bob", "two"]
    assert found.by_judge["two"] == {"0001": "wrong", "0003": "wrong"}
    assert found.combined() == {"0001": "right", "0002": "wrong", "0003": "unsure"}


def test_items_that_lost_their_zeros_in_a_spreadsheet_are_found(tmp_path):
    path = write(tmp_path / "sheet.csv", "1 right ann", "3 WRONG ann")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b",000", b",").replace(b"\n", b"\r\n"))
    assert read_judgements([path], SAMPLE).by_judge == {"ann": {"0001": "right", "0003": "wrong"}}


def test_export_of_label_studio_is_read_too(tmp_path):
    about = {"page": SAMPLE.page, "item": "0002", "clip_id": "c2", "class_id": "/m/1", "error": "I"}
    chosen = {"type": "choices", "value": {"choices": ["wrong"]}}
    task = {"data": about, "annotations": [{"completed_by": 7, "result": [chosen]}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    assert read_judgements([tmp_path / "export.json"], SAMPLE).by_judge == {"7": {"0002": "wrong"}}
    (tmp_path / "export.json").write_text(json.dumps([task, task]))
    with pytest.raises(
        InputError, match=r"export\.json: task 2: item '0002' is judged twice by '7', first at .*export\.json: task 1"
    ):
        read_judgements([tmp_path / "export.json"], SAMPLE)


def test_kappa_worked_out_by_hand(tmp_path):
    path = write(
        tmp_path / "both.csv",
        *("1 right a", "2 right a", "3 wrong a", "4 unsure a"),
        *("1 right b", "2 wrong b", "3 wrong b"),
    )
    (row,) = agreement_of_judges(read_judgements([path], SAMPLE))
    assert (row["judges"], row["items"], row["agreement"]) == (["a", "b"], 3, 2 / 3)
    chance = (2 * 1 + 1 * 2) / 9
    assert row["kappa"] == pytest.approx((2 / 3 - chance) / (1 - chance))
    same = write(tmp_path / "same.csv", "1 right a", "1 right b")
    assert agreement_of_judges(read_judgements([same], SAMPLE))[0]["kappa"] is None
    apart = write(tmp_path / "apart.csv", "1 right a", "2 right b")
    assert agreement_of_judges(read_judgements([apart], SAMPLE)) == []


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["1 rihgt a"], "bad.csv:2: decision 'rihgt'; nearest: 'right'"),
        (["1  a"], "bad.csv:2: decision ''"),
        (["9 right a"], "bad.csv:2: item '0009' is not on the page, which has 4"),
        (["1 right a", "1 wrong a"], "bad.csv:3: item '0001' is judged twice by 'a', first at .*bad.csv:2"),
        (["1 right", "1 right"], "bad.csv:3: item '0001' is judged twice by 'bad'"),
        ([], "bad.csv: no judgement"),
    ],
)
def test_what_is_no_judgement_is_named(tmp_path, rows, said):
    with pytest.raises(InputError, match=said):
        read_judgements([write(tmp_path / "bad.csv", *rows)], SAMPLE)


def test_rows_of_another_page_clip_or_form_are_named(tmp_path):
    path = write(tmp_path / "bad.csv", "1 right a", "2 right a")
    text = path.read_text()
    for old, new, said in (
        (SAMPLE.page, "0123456789ab", ":2: judged on the page '0123456789ab'"),
        ("0002,c2", "0002,c3", ":3: item '0002' asks for '/m/1' in clip 'c2', not for '/m/1' in 'c3'"),
        ("decision", "verdict", "column 'decision' is missing"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(InputError, match=said):
            read_judgements([path], SAMPLE)
    with pytest.raises(InputError, match="judged twice"):
        path.write_text(text)
        read_judgements([path, path], SAMPLE)
