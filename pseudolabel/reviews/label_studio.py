"""The same questions for Label Studio: tasks and labelling interface to import, and its exports read back.

`label_studio.json` has the tasks, `label_studio.xml` the interface. Label Studio serves the sound from local files in a
folder (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT) that may hold the sound of several pages: docs/review.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pseudolabel.artefacts import whole_file, write_json, write_text
from pseudolabel.audio.media import flac_bytes
from pseudolabel.errors import InputError
from pseudolabel.reviews.items import Sample
from pseudolabel.reviews.judgements import COLUMNS, DECISIONS
from pseudolabel.reviews.page import AUDIO, PageSources, check_sample, questions, with_sound
from pseudolabel.tables import read_csv, read_json
from pseudolabel.templates import render

LOCAL_FILES = "/data/local-files/?d="
SHOWN = ("sound", "window", "labels", "why", "video")  # below the class and the sound, where any task has them
ABOUT = COLUMNS[:4]
ANOTHER_EXPORT = "Export the project as JSON, JSON-MIN, CSV or TSV."


def write_label_studio(folder: str | Path, sample: Sample, sources: PageSources) -> None:
    """Write `label_studio.json`, `label_studio.xml`, and the missing sound files of the clips under `audio/`."""
    folder = Path(folder)
    check_sample(sample, sources)
    sources, sounding = with_sound(sample, sources)
    content = questions(sample, sources, sounding)
    asked = tasks(sample, content)
    write_json(folder / "label_studio.json", asked)
    write_text(folder / "label_studio.xml", interface(asked))
    for clip in content["clips"]:
        if "audio" in clip and not (folder / clip["audio"]).exists():
            with whole_file(folder / clip["audio"]) as temporary:
                temporary.write_bytes(flac_bytes(sources.clips, clip["clip_id"]))


def tasks(sample: Sample, content: dict) -> list[dict]:
    """Return one task per item; `content` is from `questions`: a blind task shows no more than a blind page.

    Not every name is free: Label Studio shows the whole task where the interface refers to `$source`.
    """
    made, some_silent = [], len({"audio" in clip for clip in content["clips"]}) > 1
    for shown in content["items"]:
        clip = content["clips"][shown["clip"]]
        window = "{:g} to {:g} s".format(shown["window"][0], sum(shown["window"])) if "window" in shown else ""
        about = {"page": sample.page, "item": shown["item"], "clip_id": clip["clip_id"], "class_id": shown["class_id"]}
        about |= {"error": shown.get("error", ""), "label": content["names"][shown["class_id"]], "window": window}
        about |= {"audio": _served(clip), "video": clip["video"]["url"] if "video" in clip else ""}
        if some_silent:  # there, the player is empty
            about["sound"] = "in the player" if about["audio"] else "not here"
        if not sample.blind:
            about |= {"labels": _joined(clip["labels"], content), "why": _why(shown, content)}
        made.append({"data": about})
    return made


def _served(clip: dict) -> str:
    """Return the address at which Label Studio serves a clip's sound; empty if it has none."""
    return LOCAL_FILES + clip["audio"].removeprefix(f"{AUDIO}/") if "audio" in clip else ""


def interface(asked: list[dict]) -> str:
    """Return the labelling interface: the questions as plain text, the sound, and one choice."""
    filled = {name for task in asked for name, value in task["data"].items() if value}
    shown = [name for name in SHOWN if name in filled]
    sound = "audio" in filled
    return render("pseudolabel.reviews", "label_studio.xml.j2", shown=shown, sound=sound, decisions=DECISIONS)


def is_label_studio_table(header: list[str]) -> bool:
    """Return whether a table with these columns is Label Studio's CSV or TSV export."""
    return {"annotation_id", "annotator"} <= set(header)


def read_label_studio_export(path: str | Path) -> list[tuple[str, dict[str, str]]]:
    """Return the judgements in an export: for each its place in the file, and a row with judgements.COLUMNS.

    Of several annotations of a task by one judge, the last one made counts; cancelled ones are left out.

    Args:
        path: JSON or JSON-MIN if its name says .json, otherwise CSV or TSV.

    Raises:
        InputError: not such an export, or tasks that `write_label_studio` did not write.
    """
    path, last = Path(path), {}
    try:
        for place, row in sorted(_annotations(path), key=lambda annotation: annotation[1]["annotation_id"]):
            judged = {name: str(row[name]) for name in ABOUT}
            if row.get("decision"):
                judged |= {"decision": str(row["decision"]), "judge": str(row["annotator"] or "")}
                last[row["id"], judged["judge"]] = place, judged
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"not Label Studio's export of a review ({type(error).__name__}: {error})"
        raise InputError(message, path, ANOTHER_EXPORT) from error
    return sorted(last.values(), key=lambda found: (found[1]["item"], found[1]["judge"]))


def is_json(path: Path) -> bool:
    """Return whether a file's name says JSON, plain or compressed."""
    return ".json" in (suffix.lower() for suffix in path.suffixes[-2:])


def _annotations(path: Path) -> Iterator[tuple[str, dict]]:
    """Yield the place of each annotation in an export, and its row in the form of JSON-MIN."""
    if not is_json(path):
        for row in read_csv(path, (*ABOUT, "id", "annotator", "annotation_id")):
            yield f"{path}:{row['line']}", row | {"annotation_id": int(row["annotation_id"] or 0)}
        return
    content = read_json(path, ANOTHER_EXPORT)
    if not isinstance(content, list):
        raise TypeError("not a list of tasks")
    for number, task in enumerate(content, 1):
        place = f"{path}: task {task.get('id', number)}"
        if "data" not in task:
            yield place, task | {"annotation_id": task["annotation_id"] or 0}
        for annotation in task.get("annotations", ()):
            yield place, _flat(task["data"] | {"id": task.get("id", number)}, annotation)


def _flat(row: dict, annotation: dict) -> dict:
    """Return an annotation of the JSON export in the form of JSON-MIN."""
    chosen = [result["value"]["choices"][0] for result in annotation["result"] if result["type"] == "choices"]
    decision = chosen[0] if chosen and not annotation.get("was_cancelled") else ""
    who = annotation.get("completed_by", "")
    annotator = who.get("email", who.get("id")) if isinstance(who, dict) else who
    return row | {"annotation_id": annotation.get("id", 0), "annotator": annotator, "decision": decision}


def _why(shown: dict, content: dict) -> str:
    because = f"because of {_joined(shown['because'], content)}"
    because = because if shown["because"] else "a guess from its scores: no label of the clip proposes it"
    reason = f"type {shown['error']}, {because}" if shown["kind"] == "added" else f"control: {shown['kind']}"
    if "probability" in shown:
        return f"{reason}; probability {shown['probability']:.3f}"
    if shown["score"] is None or shown["threshold"] is None:
        return reason
    return f"{reason}; score {shown['score']:.3f}, threshold {shown['threshold']:.3f}"


def _joined(class_ids: list[str], content: dict) -> str:
    return "; ".join(content["names"][class_id] for class_id in class_ids)
