"""The same questions for Label Studio: tasks and labelling interface to import, and its export read back.

`label_studio.json` has the tasks, `label_studio.xml` the interface. Label Studio serves the sound from the folder
(LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true, LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=the folder of the page).
"""

from __future__ import annotations

from pathlib import Path

from pseudolabel.artefacts import whole_file, write_json, write_text
from pseudolabel.errors import InputError
from pseudolabel.reviews.items import Sample
from pseudolabel.reviews.judgements import COLUMNS, DECISIONS
from pseudolabel.reviews.media import flac_bytes
from pseudolabel.reviews.page import PageSources, check_sample, questions, with_sound
from pseudolabel.tables import read_json
from pseudolabel.templates import render

LOCAL_FILES = "/data/local-files/?d="
ANOTHER_EXPORT = "Export the project as JSON."


def write_label_studio(folder: str | Path, sample: Sample, sources: PageSources, served_at: str = LOCAL_FILES) -> None:
    """Write `label_studio.json`, `label_studio.xml`, and the missing sound files of the clips under `audio/`.

    Args:
        served_at: the address of the folder from which Label Studio takes the sound.
    """
    folder = Path(folder)
    check_sample(sample, sources)
    sources, sounding = with_sound(sample, sources)
    content = questions(sample, sources, sounding)
    write_json(folder / "label_studio.json", tasks(sample, content, served_at))
    write_text(folder / "label_studio.xml", interface(sample.blind, bool(sounding)))
    for clip in content["clips"]:
        if "audio" in clip and not (folder / clip["audio"]).exists():
            with whole_file(folder / clip["audio"]) as temporary:
                temporary.write_bytes(flac_bytes(sources.clips, clip["clip_id"]))


def tasks(sample: Sample, content: dict, served_at: str = LOCAL_FILES) -> list[dict]:
    """Return one task per item; `content` is from `questions`: a blind task shows no more than a blind page."""
    made = []
    for shown in content["items"]:
        clip = content["clips"][shown["clip"]]
        window = "{:g} to {:g} s".format(shown["window"][0], sum(shown["window"])) if "window" in shown else ""
        about = {"page": sample.page, "item": shown["item"], "clip_id": clip["clip_id"], "class_id": shown["class_id"]}
        about |= {"error": shown.get("error", ""), "label": content["names"][shown["class_id"]], "window": window}
        about |= {"audio": served_at + clip["audio"] if "audio" in clip else "", "source": _source(clip)}
        if not sample.blind:
            about |= {"labels": _joined(clip["labels"], content), "why": _why(shown, content)}
        made.append({"data": about})
    return made


def interface(blind: bool, sound: bool) -> str:
    """Return the labelling interface: the questions as plain text, the sound, and one choice."""
    return render("pseudolabel.reviews", "label_studio.xml.j2", blind=blind, sound=sound, decisions=DECISIONS)


def read_label_studio_export(path: str | Path) -> list[dict[str, str]]:
    """Return the judgements in Label Studio's JSON export, one row per item and judge, with judgements.COLUMNS.

    Of several annotations of a task by one judge, the last counts; cancelled ones and tasks without any are left out.

    Raises:
        InputError: not such an export, or tasks that `write_label_studio` did not write.
    """
    path, rows = Path(path), []
    content = read_json(path, ANOTHER_EXPORT)
    try:
        for number, task in enumerate(content, 1):
            about = {name: str(task["data"][name]) for name in COLUMNS[:4]}
            judged = _judged(task.get("annotations", []), f"{path}: task {number}")
            rows += [about | {"decision": decision, "judge": judge} for judge, decision in judged.items()]
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"not Label Studio's export of a review ({type(error).__name__}: {error})"
        raise InputError(message, path, ANOTHER_EXPORT) from error
    return rows


def _judged(annotations: list[dict], source: str) -> dict[str, str]:
    """Return {judge: decision} of a task's annotations."""
    judged = {}
    for annotation in annotations:
        chosen = [result["value"]["choices"][0] for result in annotation["result"] if result["type"] == "choices"]
        if annotation.get("was_cancelled") or not chosen:
            continue
        if chosen[0] not in DECISIONS:
            raise InputError(f"choice {chosen[0]!r} is not one of {', '.join(DECISIONS)}", source)
        judged[_judge(annotation)] = chosen[0]
    return judged


def _judge(annotation: dict) -> str:
    who = annotation.get("completed_by", "")
    return str(who.get("email", who.get("id", "")) if isinstance(who, dict) else who)


def _why(shown: dict, content: dict) -> str:
    because = _joined(shown["because"], content)
    reason = f"type {shown['error']}, because of {because}" if shown["kind"] == "added" else f"control: {shown['kind']}"
    if shown["score"] is None or shown["threshold"] is None:
        return reason
    return f"{reason}; score {shown['score']:.3f}, threshold {shown['threshold']:.3f}"


def _joined(class_ids: list[str], content: dict) -> str:
    return "; ".join(content["names"][class_id] for class_id in class_ids)


def _source(clip: dict) -> str:
    return clip["video"]["url"] if "video" in clip else ""
