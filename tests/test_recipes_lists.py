"""The label lists that recipes make: FSD50K's own division, the slim set of single labels, a held-out part."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from pseudolabel.errors import InputError
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.models.tagger import build_tagger
from pseudolabel.options import name_value

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
    sys.modules[spec.name] = module  # dataclasses look their module up
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
    options = {"width": 0.25, "last_channels": 32, "input_norm": "batch"}
    given = {"name": "mobilenetv2", "class_ids": ["a"], "options": options, "front_end": {"hop": 320}}
    config = build_tagger(given).config
    (tmp_path / "config.json").write_text(json.dumps(config))
    form.form(argparse.Namespace(config=tmp_path / "config.json"))
    lines = capsys.readouterr().out.splitlines()
    cut = lines.index("--front-end")
    assert lines[:3] == ["--model", "mobilenetv2", "--model-options"]
    end = lines.index("--min-frames")
    built = [dict(name_value(line) for line in part) for part in (lines[3:cut], lines[cut + 1 : end])]
    assert build_tagger({**given, "options": built[0], "front_end": built[1]}).config == config
    assert lines[end:] == ["--min-frames", "32"]


def test_form_keeps_the_fill_frames_and_precision_of_published_weights(tmp_path, capsys):
    given = {"name": "efficientnet_b0", "class_ids": ["a"], "fill": "psla", "min_frames": 1056, "precision": "float32"}
    (tmp_path / "config.json").write_text(json.dumps(build_tagger(given).config))
    form.form(argparse.Namespace(config=tmp_path / "config.json"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-6:] == ["--min-frames", "1056", "--fill", "psla", "--precision", "float32"]


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"name": "x", "options": 3, "front_end": {}}', "[" * 100_000])
def test_form_of_what_is_not_a_run_is_one_error(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match="not a run's"):
        form.form(argparse.Namespace(config=tmp_path / "config.json"))


# ---- held out to validate on ----------------------------------------------------------------------------------------


def write_lists(folder: Path, seed: int) -> tuple[dict[str, str], dict[str, str]]:
    """Write train, balanced, eval and groups.csv of recordings with several clips; return labels and groups."""
    rng = np.random.default_rng(seed)
    vocabulary = write_corpus(folder, {})
    names = [f"video{n:06d}" for n in range(90)]  # as long as a YouTube id
    clips = {f"{name}_{30 * k}.000_{30 * k + 10}.000": "".join(rng.choice(list("abc"), 2, replace=False))
             for name in names for k in range(1 + int(rng.random() < 0.3))}  # fmt: skip
    clips |= {"rare": "x", "rarer": "xy"}
    groups = {clip_id: f"group{rng.integers(30)}" for clip_id in clips if rng.random() < 0.2}
    few = {clip_id: labels for n, (clip_id, labels) in enumerate(clips.items()) if n % 7 == 0}
    evaluation = {f"{names[3]}_60.000_70.000": "a", "other": "b"}
    for name, listed in (("train", clips), ("balanced", few), ("eval", evaluation)):
        sets = [list(labels) for labels in listed.values()]
        LabelTable.from_sets(list(listed), sets, vocabulary).write(folder / f"{name}.csv")
    (folder / "groups.csv").write_text("clip_id,group\n" + "".join(f"{a},{b}\n" for a, b in groups.items()))
    return clips, groups


def hold_out(folder: Path, *options: str) -> int:
    paths = {name: str(folder / f"{name}.csv") for name in ("train", "balanced", "eval", "groups", "vocabulary")}
    named = ["--labels", paths["train"], "--vocabulary", paths["vocabulary"], "--least", "3", "--seed", "1"]
    named += [part for name in ("balanced", "eval", "groups") for part in (f"--{name}", paths[name])]
    return lists.main(["hold-out", str(folder), *named, *options])


def ids(folder: Path, name: str) -> list[str]:
    return list(LabelTable.read(folder / f"{name}.csv", Vocabulary.load(folder / "vocabulary.csv")).clip_ids)


@pytest.mark.parametrize("seed", range(4))
def test_held_out_clips_share_no_group_and_no_recording_with_what_is_trained_on(tmp_path, seed):
    clips, groups = write_lists(tmp_path, seed)
    assert hold_out(tmp_path) == 0
    held, rest = ids(tmp_path, "lists/validation"), ids(tmp_path, "lists/train")
    assert sorted([*held, *rest]) == sorted(clips) and held and rest
    for one, other in itertools.product(held, rest):
        assert one.partition("_")[0] != other.partition("_")[0]
        assert groups.get(one, one) != groups.get(other, other)
    counts = {letter: sum(letter in clips[clip_id] for clip_id in held) for letter in "abcxy"}
    assert min(counts[letter] for letter in "abc") >= 3  # x and y are too rare
    assert counts["x"] == counts["y"] == 0
    balanced = ids(tmp_path, "balanced")
    assert ids(tmp_path, "lists/balanced") == balanced and not set(balanced) & set(held)
    assert not any(clip_id.startswith("video000003") for clip_id in held)  # the evaluation list has that recording


def test_balanced_list_alone_gives_up_what_is_held_out(tmp_path):
    clips, _ = write_lists(tmp_path, 0)
    shutil.copy(tmp_path / "train.csv", tmp_path / "balanced.csv")
    assert hold_out(tmp_path) == 0
    held = ids(tmp_path, "lists/validation")
    assert held and ids(tmp_path, "lists/balanced") == [clip_id for clip_id in clips if clip_id not in held]


def test_what_is_held_out_does_not_depend_on_the_order_of_the_list(tmp_path):
    held = []
    for name, order in (("one", 1), ("other", -1)):
        folder = tmp_path / name
        folder.mkdir()
        write_lists(folder, 2)
        head, *rows = (folder / "train.csv").read_text().splitlines()
        (folder / "train.csv").write_text("\n".join([head, *rows[::order]]) + "\n")
        assert hold_out(folder) == 0
        held.append(set(ids(folder, "lists/validation")))
    assert held[0] == held[1]


def test_group_that_the_evaluation_list_has_too_is_not_held_out(tmp_path):
    clips = list(write_lists(tmp_path, 0)[0])
    evaluated = (tmp_path / "eval.csv").read_text().splitlines()[1].partition(",")[0]
    bound = [*clips[: len(clips) // 3], evaluated]
    (tmp_path / "groups.csv").write_text("clip_id,group\n" + "".join(f"{clip_id},g\n" for clip_id in bound))
    assert hold_out(tmp_path) == 0
    assert ids(tmp_path, "lists/validation") and not set(ids(tmp_path, "lists/validation")) & set(bound)


@pytest.mark.parametrize(
    ("least", "group", "error"), [("99", "", "no class has 198 clips"), ("3", "all", "all clips are of groups")]
)
def test_list_of_which_nothing_can_be_held_out_is_refused(tmp_path, least, group, error, capsys):
    clips, _ = write_lists(tmp_path, 0)
    if group:
        (tmp_path / "groups.csv").write_text("clip_id,group\n" + "".join(f"{clip_id},{group}\n" for clip_id in clips))
        shutil.copy(tmp_path / "train.csv", tmp_path / "balanced.csv")
        head, row, *_ = (tmp_path / "train.csv").read_text().splitlines()
        (tmp_path / "eval.csv").write_text(f"{head}\nstranger,{row.partition(',')[2]}\n")
    assert hold_out(tmp_path, "--least", least) == 2
    said = capsys.readouterr().err
    assert error in said and "Give DATA a validation.csv" in said and not (tmp_path / "lists").exists()
