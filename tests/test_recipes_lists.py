"""The label lists that recipes make: FSD50K's own division, the slim set of single labels, a held-out part."""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path

import pytest

from pseudolabel.cli import key_value
from pseudolabel.errors import InputError
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
DEV = """fname,labels,mids,split
1,"Rain,Water","/m/06mb1,/m/0838f",train
2,Bark,/m/05tny_,val
30,Meow,/m/07qrkrw,train
"""
EVAL = "fname,labels,mids\n4,Bark,/m/05tny_\n"


def load(name: str):
    """Return a Python file of recipes/ as a module."""
    spec = importlib.util.spec_from_file_location(f"recipes_{name}", RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lists, form = load("lists"), load("form")


def write_corpus(work: Path, labels: dict[str, str], rest: dict[str, str] | None = None) -> Vocabulary:
    """Write labels.csv and eval.csv of letters that are classes; `x` and `y` are those that do not count."""
    vocabulary = Vocabulary("letters", tuple("abcxy"), tuple("abcxy"), ("",) * 5)
    vocabulary.write(work / "vocabulary.csv")
    for name, clips in (("labels", labels), ("eval", rest or {})):
        if clips:
            LabelTable.from_sets(list(clips), [list(text) for text in clips.values()], vocabulary).write(
                work / f"{name}.csv"
            )
    return vocabulary


def test_fsd50k_is_divided_as_its_authors_do(tmp_path):
    (tmp_path / "dev.csv").write_text(DEV)
    (tmp_path / "eval.csv").write_text(EVAL)
    assert lists.main(["fsd50k", str(tmp_path), str(tmp_path)]) == 0
    vocabulary = Vocabulary.load(tmp_path / "vocabulary.csv")
    assert vocabulary == Vocabulary.load("fsd50k")
    read = {name: LabelTable.read(tmp_path / "lists" / f"{name}.csv", vocabulary) for name in
            ("train", "validation", "eval")}  # fmt: skip
    assert {name: table.clip_ids for name, table in read.items()} == {
        "train": ("1", "30"), "validation": ("2",), "eval": ("4",),
    }  # fmt: skip
    assert set(read["train"].label_sets()[0]) == {"/m/06mb1", "/m/0838f"}


def test_fsd50k_with_another_split_is_refused(tmp_path, capsys):
    (tmp_path / "dev.csv").write_text(DEV.replace(",val", ",test"))
    (tmp_path / "eval.csv").write_text(EVAL)
    assert lists.main(["fsd50k", str(tmp_path), str(tmp_path)]) == 2
    assert "split 'test'" in capsys.readouterr().err and not (tmp_path / "lists").exists()


def test_slim_clips_carry_exactly_one_class_and_stand_in_one_list(tmp_path):
    labels = {f"a{i}": "ax" for i in range(20)} | {f"b{i}": "b" for i in range(14)} | {"ab": "ab", "none": "x"}
    write_corpus(tmp_path, labels, {f"b{i}": "by" for i in range(14, 20)})
    assert lists.main(["slim", str(tmp_path), str(tmp_path / "slim"), "--classes", "a", "b", "--clips", "20"]) == 0
    own = Vocabulary.load(tmp_path / "slim" / "vocabulary.csv")
    assert own.class_ids == ("a", "b")
    found = {name: LabelTable.read(tmp_path / "slim" / f"{name}.csv", own) for name in ("labels", "validation", "eval")}
    assert {name: table.matrix.sum(axis=0).tolist() for name, table in found.items()} == {
        "labels": [13, 13], "validation": [3, 3], "eval": [4, 4],
    }  # fmt: skip
    clip_ids = [clip_id for table in found.values() for clip_id in table.clip_ids]
    assert sorted(clip_ids) == sorted([f"{k}{i}" for k in "ab" for i in range(20)])
    for table in found.values():
        assert all(clip_id[0] == label for clip_id, (label,) in zip(table.clip_ids, table.label_sets(), strict=True))


def test_slim_takes_as_many_of_each_class_as_the_rarest_has(tmp_path):
    write_corpus(tmp_path, {f"a{i}": "a" for i in range(50)} | {f"b{i}": "b" for i in range(10)})
    assert lists.main(["slim", str(tmp_path), str(tmp_path / "slim"), "--classes", "a", "b"]) == 0
    own = Vocabulary.load(tmp_path / "slim" / "vocabulary.csv")
    tables = [LabelTable.read(tmp_path / "slim" / f"{name}.csv", own) for name in ("labels", "validation", "eval")]
    assert sum(table.matrix.sum(axis=0) for table in tables).tolist() == [10, 10]


def test_slim_without_clips_of_a_class_is_refused(tmp_path, capsys):
    write_corpus(tmp_path, {f"a{i}": "a" for i in range(50)} | {"b0": "b", "ab": "ab"})
    assert lists.main(["slim", str(tmp_path), str(tmp_path / "slim"), "--classes", "a", "b"]) == 2
    assert "1 clips have 'b'" in capsys.readouterr().err


def test_part_and_rest_share_no_clip_and_lose_none(tmp_path, write_tones):
    work = write_tones(tmp_path, [0.1] * 20)
    assert lists.main(["part", str(work), "--of", "4", "--seed", "1"]) == 0
    vocabulary = Vocabulary.load(work / "vocabulary.csv")
    part, rest = (LabelTable.read(work / f"{name}.csv", vocabulary) for name in ("part", "rest"))
    whole = LabelTable.read(work / "labels.csv", vocabulary)
    assert len(part) == 5 and sorted((*part.clip_ids, *rest.clip_ids)) == sorted(whole.clip_ids)
    assert part == whole.select(part.clip_ids)


@pytest.mark.parametrize("seed", [0, 1])
def test_draw_depends_on_the_seed_not_on_the_order(seed):
    names = [f"clip{i}" for i in range(50)]
    assert lists.by_draw(names, seed) == lists.by_draw(names[::-1], seed) != lists.by_draw(names, seed + 1)


def test_form_prints_the_options_that_build_the_same_network(tmp_path, capsys):
    from pseudolabel.models.tagger import build_tagger

    options = {"width": 0.25, "last_channels": 32, "input_norm": "batch"}
    given = {"name": "mobilenetv2", "class_ids": ["a"], "options": options, "front_end": {"hop": 320}}
    config = build_tagger(given).config
    (tmp_path / "config.json").write_text(json.dumps(config))
    form.form(argparse.Namespace(config=tmp_path / "config.json"))
    lines = capsys.readouterr().out.splitlines()
    cut = lines.index("--front-end")
    assert lines[:3] == ["--model", "mobilenetv2", "--model-options"]
    built = [dict(key_value(line) for line in part) for part in (lines[3:cut], lines[cut + 1 :])]
    assert build_tagger({**given, "options": built[0], "front_end": built[1]}).config == config


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"name": "x", "options": 3, "front_end": {}}', "[" * 100_000])
def test_form_of_what_is_not_a_run_is_one_error(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match="not a run's"):
        form.form(argparse.Namespace(config=tmp_path / "config.json"))
