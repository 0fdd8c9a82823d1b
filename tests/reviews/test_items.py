"""Items and samples: what is written reads back equal, and what was changed is noticed."""

from __future__ import annotations

import json

import pytest

from pseudolabel.errors import InputError
from pseudolabel.reviews.items import Item, make_sample, read_sample, write_sample

ITEMS = (
    Item("0001", "c,1", "/m/1", "added", "I+II", ("/m/2", "/m/3"), 0.1 + 0.2, 1 / 3, 2.0, 4.0, "I+II | 0-1", 3.5),
    Item("0002", "-c2", "/m/1", "given"),
    Item("0003", "c3", "/m/2", "added", "II", ("/m/1",), None, None, None, None, "II | by rule", 1.0),
)
STRATA = {"I+II | 0-1": 7, "II | by rule": 1}


def test_sample_reads_back_equal_from_its_folder_or_file(tmp_path):
    sample = make_sample(ITEMS, "ab", STRATA, True, [0.25, 0.5], 4)
    write_sample(sample, tmp_path)
    assert read_sample(tmp_path) == read_sample(tmp_path / "sample.csv") == sample
    assert sample.n_additions == 8
    assert [item.item for item in sample.additions] == ["0001", "0003"]
    assert [item.item for item in sample.decoys] == ["0002"]


def test_page_is_named_after_all_that_it_asks(tmp_path):
    pages = {
        make_sample(ITEMS, "ab", STRATA).page,
        make_sample(ITEMS[:2], "ab", STRATA).page,
        make_sample(ITEMS, "ac", STRATA).page,
        make_sample(ITEMS, "ab", STRATA, blind=True).page,
        make_sample(ITEMS, "ab", {**STRATA, "I": 1}).page,
    }
    assert len(pages) == 5
    assert all(len(page) == 12 and int(page, 16) >= 0 for page in pages)


def test_changed_or_foreign_key_is_named(tmp_path):
    write_sample(make_sample(ITEMS, "ab", STRATA), tmp_path)
    text = (tmp_path / "sample.csv").read_text()
    (tmp_path / "sample.csv").write_text(text.replace("-c2", "c2"))
    with pytest.raises(InputError, match="do not belong together"):
        read_sample(tmp_path)
    (tmp_path / "sample.csv").write_text(text.replace("given", "taken"))
    with pytest.raises(InputError, match=r"sample\.csv:3: kind 'taken'"):
        read_sample(tmp_path)
    (tmp_path / "sample.csv").write_text(text.replace("3.5", "nan"))
    with pytest.raises(InputError, match="weight 'nan' is not a number"):
        read_sample(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a pseudolabel-sample file"),
        (json.dumps({"format": "pseudolabel-sample", "format_version": 2}), "this program reads 1"),
        (json.dumps({"format": "pseudolabel-sample", "format_version": 1}), "not the key"),
    ],
)
def test_key_of_another_form_is_named(tmp_path, content, said):
    write_sample(make_sample(ITEMS, "ab", STRATA), tmp_path)
    (tmp_path / "sample.json").write_text(content)
    with pytest.raises(InputError, match=said):
        read_sample(tmp_path)
    (tmp_path / "sample.json").unlink()
    with pytest.raises(InputError, match="no such file"):
        read_sample(tmp_path)
    with pytest.raises(InputError, match=r"no sample\.csv"):
        read_sample(tmp_path / "nowhere")
