"""Tasks for Label Studio, and its export read back."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from pseudolabel.errors import InputError
from pseudolabel.reviews.label_studio import read_label_studio_export, write_label_studio


def test_tasks_fill_every_variable_of_the_interface_and_point_to_sound_that_is_there(
    tmp_path, tone_sample, tone_sources
):
    write_label_studio(tmp_path, tone_sample(), tone_sources())
    tasks = [task["data"] for task in json.loads((tmp_path / "label_studio.json").read_text(encoding="utf-8"))]
    view = ElementTree.parse(tmp_path / "label_studio.xml").getroot()
    variables = {node.get("value")[1:] for node in view if (node.get("value") or "").startswith("$")}
    assert all(variables <= set(task) for task in tasks)
    assert [choice.get("value") for choice in view.iter("Choice")] == ["right", "wrong", "unsure"]
    for task in tasks:
        prefix, _, name = task["audio"].partition("?d=")
        assert prefix == "/data/local-files/" and (tmp_path / name).is_file()
    assert tasks[0]["why"].startswith("type I, because of Low; score 0.750, threshold 0.310")
    assert tasks[0]["window"] == "2 to 4 s" and tasks[4]["why"] == "control: given"


def test_blind_tasks_say_no_more_than_a_blind_page(tmp_path, tone_sample, tone_sources):
    write_label_studio(tmp_path, tone_sample(blind=True), tone_sources())
    tasks = [task["data"] for task in json.loads((tmp_path / "label_studio.json").read_text(encoding="utf-8"))]
    assert set(tasks[0]) == {"page", "item", "clip_id", "class_id", "error", "label", "window", "audio", "source"}
    assert {task["error"] for task in tasks} == {task["window"] for task in tasks} == {""}
    assert "$why" not in (tmp_path / "label_studio.xml").read_text(encoding="utf-8")


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
    rows = read_label_studio_export(tmp_path / "export.json")
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
    assert [(row["judge"], row["decision"]) for row in rows] == [("7", "right"), ("ben@example.org", "wrong")]


@pytest.mark.parametrize("text", ["not JSON", "{}", '[{"data": {}}]', '[{"data": []}]', "[3]", "null"])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "export.json"
    path.write_text(text)
    if text == "{}":
        assert read_label_studio_export(path) == []  # nothing was judged
        return
    with pytest.raises(InputError, match=r"export\.json(: not Label Studio's export|:1: not JSON)"):
        read_label_studio_export(path)


def test_strange_choice_is_named_with_its_task(tmp_path, tone_sample, tone_sources):
    write_label_studio(tmp_path, tone_sample(), tone_sources())
    tasks = json.loads((tmp_path / "label_studio.json").read_text(encoding="utf-8"))
    (tmp_path / "export.json").write_text(json.dumps(list(exported(tasks[:1], [[("maybe", False)]]))))
    with pytest.raises(InputError, match=r"task 1: choice 'maybe' is not one of right, wrong, unsure"):
        read_label_studio_export(tmp_path / "export.json")
