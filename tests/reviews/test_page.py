"""The review page as a file: what it holds, what it must not hold, and that no id or name can break out of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from pseudolabel.errors import ClipMismatch, InputError, UnknownClass
from pseudolabel.reviews.page import page_content, questions, write_page
from pseudolabel.templates import script_json


def content_of(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="content">(.*?)</script>', html, re.S)[1])


def test_page_holds_every_item_with_its_reason_names_and_histogram(tmp_path, tone_sample, tone_sources):
    sample, sources = tone_sample(), tone_sources()
    content = content_of(write_page(tmp_path / "page", sample, sources).read_text(encoding="utf-8"))
    assert [item["item"] for item in content["items"]] == ["0001", "0002", "0003", "0004", "0005", "0006"]
    first = content["items"][0]
    assert first == {
        "item": "0001", "clip": 0, "class_id": "middle", "window": [2.0, 2.0], "kind": "added", "error": "I",
        "because": ["low"], "score": 0.75, "threshold": 0.31,
    }  # fmt: skip
    assert content["clips"][0]["labels"] == ["low"] and content["clips"][0]["duration_s"] == 4.0
    assert content["names"] == dict(zip(sources.vocabulary.class_ids, sources.vocabulary.names, strict=True))
    assert set(content["histograms"]) == {"low", "middle", "high"}
    assert sum(content["histograms"]["low"]["with"]) == 2  # t00 and t03
    assert "window" not in content["items"][4] and content["items"][4]["kind"] == "given"


def test_blind_page_holds_of_an_item_only_clip_and_class(tmp_path, tone_sample, tone_sources):
    html = write_page(tmp_path / "page", tone_sample(blind=True), tone_sources()).read_text(encoding="utf-8")
    content = content_of(html)
    assert set(content) == {"page", "blind", "embedded", "names", "clips", "items", "ticks"}
    assert {key for item in content["items"] for key in item} == {"item", "clip", "class_id"}
    assert {key for clip in content["clips"] for key in clip} == {"clip_id", "duration_s", "audio", "picture"}
    assert "0.31" not in json.dumps(content)


def test_blind_page_marks_windows_only_where_every_item_has_one(tone_sample, tone_sources):
    sources, sample = tone_sources(), tone_sample(blind=True)
    whole = replace(sample, items=tuple(replace(item, window_s=2.0, onset_s=0.0) for item in sample.items))
    assert not any("window" in item for item in questions(sample, sources, ())["items"])
    assert all(item["window"] == [0.0, 2.0] for item in questions(whole, sources, ())["items"])


def test_names_cannot_leave_their_script_or_heading(tmp_path, tone_sample, tone_sources):
    title = "</title><script>alert(1)</script>"
    html = write_page(tmp_path / "page", tone_sample(), tone_sources(title=title)).read_text(encoding="utf-8")
    assert "<script>alert" not in html and '<b id="injected">' not in html
    assert content_of(html)["names"]["middle"].startswith("</script>")


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "a & b", "\u2028\u2029", "\"'\\ é 猫"])
def test_script_json_is_plain_json_without_signs_that_html_knows(text):
    written = script_json({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert not set("<>&\u2028\u2029") & set(written)


def test_sound_and_pictures_lie_in_the_page_or_beside_it(tmp_path, tone_sample, tone_sources):
    sample = tone_sample()
    inside = write_page(tmp_path / "inside", sample, tone_sources(embed=True))
    beside = write_page(tmp_path / "beside", sample, tone_sources(embed=False))
    assert [path.name for path in inside.parent.iterdir()] == ["index.html"]
    files = sorted(str(path.relative_to(beside.parent)) for path in beside.parent.rglob("*.*"))
    clips = [f"{number:04d}" for number in range(1, 5)]  # the decoys are of clips that are there already
    sounds = [f"audio/{sample.page}/{n}.flac" for n in clips]
    assert files == [*sounds, "index.html", *(f"pictures/{n}.png" for n in clips)]
    assert (beside.parent / sounds[0]).read_bytes()[:4] == b"fLaC"
    assert (
        inside.read_text(encoding="utf-8").count("data-file=") - beside.read_text(encoding="utf-8").count("data-file=")
        == len(clips) * 2
    )


@pytest.mark.parametrize("embed", [True, False])
def test_page_is_the_same_bytes_when_made_again(tmp_path, tone_sample, tone_sources, embed):
    pages = [write_page(tmp_path / name, tone_sample(), tone_sources(embed=embed)) for name in "ab"]
    first, second = ({p.relative_to(page.parent): p.read_bytes() for p in page.parent.rglob("*.*")} for page in pages)
    assert first == second


def test_clip_without_sound_links_to_its_video_at_the_right_second(tone_sample, tone_sources):
    sources = tone_sources(clips=None, scores=None)
    new_ids = {"t00": "KK227gPpRn4", "t01": "-0RWZT-miFs_30.000_40.000", "t02": "jazz_guitar"}
    sample = tone_sample()
    items = tuple(replace(item, clip_id=new_ids.get(item.clip_id, item.clip_id)) for item in sample.items)
    segments = {"KK227gPpRn4": (70.0, 80.0)}
    sources = replace(sources, labels=sources.labels.renamed(new_ids), segments=segments)
    clips = page_content(replace(sample, items=items), sources, ())["clips"]
    assert [clip.get("video") for clip in clips] == [
        {"start_s": 70.0, "url": "https://www.youtube.com/watch?v=KK227gPpRn4&t=70s"},
        {"start_s": 30.0, "url": "https://www.youtube.com/watch?v=-0RWZT-miFs&t=30s"},
        None,
        None,
    ]
    assert not any("audio" in clip for clip in clips)


def test_sound_under_another_id_is_found(tmp_path, tone_sample, tone_sources):
    sources, sample = tone_sources(), tone_sample()
    new_ids = {clip_id: f"{clip_id}.wav" for clip_id in sources.labels.clip_ids}
    items = tuple(replace(item, clip_id=new_ids[item.clip_id]) for item in sample.items)
    sources = replace(sources, labels=sources.labels.renamed(new_ids))
    html = write_page(tmp_path / "page", replace(sample, items=items), sources).read_text(encoding="utf-8")
    assert all("audio" in clip for clip in content_of(html)["clips"])


def test_items_of_other_lists_are_refused_by_name(tmp_path, tone_sample, tone_sources):
    sources, sample = tone_sources(), tone_sample()
    strange_class = replace(sample, items=(replace(sample.items[0], class_id="lowest"),))
    strange_clip = replace(sample, items=(replace(sample.items[0], clip_id="t99"),))
    with pytest.raises(UnknownClass, match="item 0001: class 'lowest'"):
        write_page(tmp_path / "page", strange_class, sources)
    with pytest.raises(ClipMismatch, match="t99"):
        write_page(tmp_path / "page", strange_clip, sources)
    with pytest.raises(InputError, match="no items"):
        write_page(tmp_path / "page", replace(sample, items=()), sources)
    assert not (tmp_path / "page").exists()


def test_files_of_the_page_are_installed_with_the_package():
    import configparser
    from pathlib import Path

    import pseudolabel

    package = Path(pseudolabel.__file__).parent
    listed = configparser.ConfigParser()
    listed.read(package.parent / "setup.cfg")
    patterns = listed["options.package_data"]["pseudolabel.reviews"].split(", ")
    beside = [path for path in (package / "reviews").iterdir() if path.suffix in (".j2", ".css", ".js")]
    assert beside and all(any(path.match(pattern) for pattern in patterns) for path in beside)
