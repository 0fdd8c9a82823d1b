"""Tasks for Label Studio, and its exports read back."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pseudolabel.errors import InputError
from pseudolabel.reviews.items import read_sample
from pseudolabel.reviews.judgements import read_judgements
from pseudolabel.reviews.label_studio import read_label_studio_export, write_label_studio

EXPORT = Path(__file__).parent / "export"  # of two projects, made by Label Studio 1.23.2: label_studio_round_trip.py
EXPORTS = ("export.json", "export-min.json", "export.csv", "export.tsv")
# Names that Label Studio's labelling page keeps for itself: `$source` is the whole task.
BUILT_IN = {"id", "source", "data", "annotations", "predictions", "drafts", "meta"}


def data_of(folder):
    return [task["data"] for task in json.loads((folder / "label_studio.json").read_text(encoding="utf-8"))]


def variables_of(folder):
    view = ElementTree.parse(folder / "label_studio.xml").getroot()
    return {node.get("value")[1:] for node in view if (node.get("value") or "").startswith("$")}


def test_tasks_fill_every_variable_of_the_interface_and_point_to_sound_that_is_there(
    tmp_path, tone_sample, tone_sources
):
    write_label_studio(tmp_path, tone_sample(), tone_sources())
    tasks = data_of(tmp_path)
    view = ElementTree.parse(tmp_path / "label_studio.xml").getroot()
    assert variables_of(tmp_path) == {"label", "audio", "window", "labels", "why"}
    assert not BUILT_IN & set(tasks[0])
    assert all(variables_of(tmp_path) <= set(task) for task in tasks)
    assert [choice.get("value") for choice in view.iter("Choice")] == ["right", "wrong", "unsure"]
    for task in tasks:
        prefix, _, name = task["audio"].partition("?d=")
        assert prefix == "/data/local-files/" and (tmp_path / "audio" / name).is_file()
    assert tasks[0]["why"].startswith("type I, because of Low; score 0.750, threshold 0.310")
    assert tasks[0]["window"] == "2 to 4 s" and tasks[4]["why"] == "control: given"


def test_two_pages_served_from_one_folder_keep_their_sound_apart(tmp_path, tone_sample, tone_sources):
    samples = [tone_sample(), tone_sample(blind=True)]
    served = []
    for sample in samples:
        write_label_studio(tmp_path, sample, tone_sources())
        served.append({task["audio"].partition("?d=")[2] for task in data_of(tmp_path)})
        assert {name.split("/")[0] for name in served[-1]} == {sample.page}
    assert not served[0] & served[1]
    assert all((tmp_path / "audio" / name).is_file() for name in served[0] | served[1])


def test_tasks_without_sound_name_the_video(tmp_path, tone_sample, tone_sources):
    sample, sources, video = tone_sample(1), tone_sources(clips=None), "KK227gPpRn4_30.000_40.000"
    items = tuple(replace(item, clip_id=video) for item in sample.items)
    write_label_studio(
        tmp_path, replace(sample, items=items), replace(sources, labels=sources.labels.renamed({"t00": video}))
    )
    assert {task["video"] for task in data_of(tmp_path)} == {"https://www.youtube.com/watch?v=KK227gPpRn4&t=30s"}
    assert variables_of(tmp_path) == {"label", "window", "labels", "why", "video"}


def test_blind_tasks_say_no_more_than_a_blind_page(tmp_path, tone_sample, tone_sources):
    write_label_studio(tmp_path, tone_sample(blind=True), tone_sources())
    tasks = data_of(tmp_path)
    assert set(tasks[0]) == {"page", "item", "clip_id", "class_id", "error", "label", "window", "audio", "video"}
    assert {task["error"] for task in tasks} == {task["window"] for task in tasks} == {""}
    assert variables_of(tmp_path) == {"label", "audio"}


def exported(tasks, choices):
    """Return the tasks as Label Studio exports them, each with the annotations given as (choice, cancelled)."""
    for task, made in zip(tasks, choices, strict=True):
        yield {
            **task,
            "annotations": [
                {
                    "completed_by": 7,
                    "was_cancelled": cancelled,
                    "result": [{"type": "choices", "from_name": "decision", "value": {"choices": [choice]}}],
                }
                for choice, cancelled in made
            ],
        }


def test_export_reads_back_as_judgements_the_last_annotation_of_a_judge_counts(tmp_path, tone_sample, tone_sources):
    sample = tone_sample()
    write_label_studio(tmp_path, sample, tone_sources())
    tasks = json.loads((tmp_path / "label_studio.json").read_text(encoding="utf-8"))
    choices = [[("right", False)], [], [("right", False), ("wrong", False)], [("wrong", True)], [("unsure", False)], []]
    (tmp_path / "export.json").write_text(json.dumps(list(exported(tasks, choices))))
    places, rows = zip(*read_label_studio_export(tmp_path / "export.json"), strict=True)
    assert places == tuple(f"{tmp_path / 'export.json'}: task {number}" for number in (1, 3, 5))
    assert [(row["item"], row["decision"]) for row in rows] == [
        ("0001", "right"),
        ("0003", "wrong"),
        ("0005", "unsure"),
    ]
    assert rows[0] == {
        "page": sample.page, "item": "0001", "clip_id": "t00", "class_id": "middle", "decision": "right", "judge": "7",
    }  # fmt: skip


def test_export_of_two_annotators_keeps_them_apart(tmp_path, tone_sample, tone_sources):
    write_label_studio(tmp_path, tone_sample(), tone_sources())
    tasks = json.loads((tmp_path / "label_studio.json").read_text(encoding="utf-8"))
    export = list(exported(tasks[:1], [[("right", False), ("wrong", False)]]))
    export[0]["annotations"][1]["completed_by"] = {"email": "ben@example.org"}
    (tmp_path / "export.json").write_text(json.dumps(export))
    rows = read_label_studio_export(tmp_path / "export.json")
    assert [(row["judge"], row["decision"]) for _, row in rows] == [("7", "right"), ("ben@example.org", "wrong")]


def test_last_annotation_is_the_one_made_last_whatever_the_order_of_the_file(tmp_path):
    row = {"page": "p", "item": "0001", "clip_id": "c", "class_id": "/m/1", "id": 5, "annotator": 7}
    rows = [row | {"annotation_id": number, "decision": said} for number, said in ((10, "right"), (9, "wrong"))]
    rows += [row | {"annotation_id": 11, "annotator": 8}]  # skipped
    (tmp_path / "min.JSON").write_text(json.dumps(rows))
    with open(tmp_path / "export.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";", restval="")
        writer.writeheader()
        writer.writerows(rows)
    for name in ("min.JSON", "export.csv"):
        assert [row["decision"] for _, row in read_label_studio_export(tmp_path / name)] == ["right"]


@pytest.mark.parametrize("text", ["not JSON", "{}", '[{"data": {}, "annotations": [{}]}]', "[{}]", "[3]", "null"])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "export.json"
    path.write_text(text)
    with pytest.raises(
        InputError, match=r"export\.json(: not Label Studio's export|:1: not JSON).*JSON, JSON-MIN, CSV"
    ):
        read_label_studio_export(path)


def test_strange_choice_is_named_with_its_task(tmp_path, tone_sample, tone_sources):
    sample = tone_sample()
    write_label_studio(tmp_path, sample, tone_sources())
    tasks = json.loads((tmp_path / "label_studio.json").read_text(encoding="utf-8"))
    (tmp_path / "export.json").write_text(json.dumps(list(exported(tasks[:1], [[("maybe", False)]]))))
    with pytest.raises(InputError, match=r"export\.json: task 1: decision 'maybe'.*Give right, wrong, unsure"):
        read_judgements([tmp_path / "export.json"], sample)


def test_exports_of_tasks_that_had_a_field_source_are_read(tmp_path):
    about = {"page": "p", "item": "0001", "clip_id": "c", "class_id": "/m/1", "source": ""}
    chosen = {"type": "choices", "value": {"choices": ["right"]}}
    task = {"id": 1, "data": about, "annotations": [{"id": 3, "completed_by": 7, "result": [chosen]}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    (tmp_path / "min.json").write_text(
        json.dumps([about | {"id": 1, "annotation_id": 3, "annotator": 7, "decision": "right"}])
    )
    same = about | {"decision": "right", "judge": "7"}
    del same["source"]
    for name in ("export.json", "min.json"):
        assert [row for _, row in read_label_studio_export(tmp_path / name)] == [same]


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("project", ["open", "blind"])
def test_exports_that_the_server_made_are_read(project, name):
    """Item 1 was judged twice by the same person, item 2 by two people; item 3 was skipped."""
    decisions = read_judgements([EXPORT / project / name], read_sample(EXPORT / project)).by_judge
    by_anna = {"0001": "right", "0002": "right", "0004": "unsure", "0005": "wrong", "0006": "right", "0007": "right"}
    assert decisions == {"1": by_anna, "2": {"0002": "wrong"}}


def test_export_of_another_page_is_refused_with_its_line():
    with pytest.raises(
        InputError, match=r"export\.csv:2: judged on the page 'ba90d6f7ef68', the sample is of 'fbf7daaa2aaa'"
    ):
        read_judgements([EXPORT / "blind" / "export.csv"], read_sample(EXPORT / "open"))


def test_tasks_say_which_clips_have_no_sound(tmp_path, tone_sample, tone_sources):
    sources = tone_sources()
    kept = sources.clips.clip_ids[0]
    without = sources.clips.with_aliases({})
    without._index = {kept: 0}  # a store of one clip
    write_label_studio(tmp_path, tone_sample(), replace(sources, clips=without))
    tasks = data_of(tmp_path)
    assert {task["sound"] for task in tasks if task["clip_id"] == kept} == {"in the player"}
    assert {task["sound"] for task in tasks if task["clip_id"] != kept} == {"not here"}
    assert "sound" in variables_of(tmp_path)
