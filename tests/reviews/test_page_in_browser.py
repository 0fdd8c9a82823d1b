"""The review page in a real browser, from disk: listen, judge, reload, filter, download, load again."""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import replace

import pytest

from pseudolabel.reviews.page import write_page
from pseudolabel.tables import read_csv

HEADER = ["page", "item", "clip_id", "class_id", "error", "decision", "judge"]


def text(page, element_id):
    return page.text_content(f"#{element_id}")


def item(page):
    return int(text(page, "item-name").split()[1])


def downloaded(page, target):
    with page.expect_download() as waiting:
        page.click("#download")
    assert waiting.value.suggested_filename.startswith("judgements-")
    waiting.value.save_as(target)
    return target


def wait_for(page, expression):
    """Wait until an expression is true; asked from outside, as the page's own rules forbid evaluation inside it."""
    deadline = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"{expression} did not become true: {text(page, 'message')}"
        page.wait_for_timeout(20)


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


@pytest.mark.parametrize("embed", [True, False])
def test_sound_plays_from_the_window_by_one_key_and_whole_by_another(shown, embed):
    page = shown(embed=embed)
    assert page.evaluate("audio.paused")
    press(page, " ")
    wait_for(page, "audio.currentTime > 2.1")  # the window begins at 2 s of 4
    assert page.text_content("#play b") == "Stop"
    press(page, " ")
    wait_for(page, "audio.paused")
    press(page, "a")
    wait_for(page, "!audio.paused && audio.currentTime > 0.1 && audio.currentTime < 2")
    assert text(page, "clock").endswith("/ 4 s")
    assert page.evaluate("document.getElementById('picture').naturalWidth") > 100
    window = page.locator("#window").bounding_box()
    stage = page.locator("#stage").bounding_box()
    assert window["x"] - stage["x"] == pytest.approx(stage["width"] / 2, abs=2)
    assert window["width"] == pytest.approx(stage["width"] / 2, abs=2)


def test_every_place_of_a_clip_can_be_played_also_after_its_end(shown):
    page = shown()
    for place in (3.999, 3.9, 3.7, 3.5, 3.3, 0):
        page.evaluate(f"player.playFrom({place})")
        wait_for(page, f"audio.currentTime > {place} || audio.error")
        assert page.evaluate("audio.error") is None
    page.evaluate("player.playFrom(3.8)")
    wait_for(page, "audio.paused")
    assert page.evaluate("audio.currentTime") == pytest.approx(4.0, abs=0.2)
    assert text(page, "clock") == "4.0 / 4 s"
    press(page, " ")
    wait_for(page, "!audio.paused && audio.currentTime > 2.1")


def test_click_on_the_picture_plays_from_there(shown):
    page = shown()
    stage = page.locator("#stage").bounding_box()
    page.mouse.click(stage["x"] + stage["width"] * 0.75, stage["y"] + 50)
    wait_for(page, "!audio.paused && audio.currentTime > 3")


def test_judgements_by_key_and_button_survive_a_reload_and_are_taken_back(shown):
    page = shown()
    press(page, "1", "w", "3")
    assert text(page, "progress") == "3 of 6 judged: 1 right, 1 wrong, 1 unsure" and item(page) == 4
    page.click("[data-decision=right]")
    assert page.evaluate("document.activeElement === document.body")  # the space bar plays again, it does not judge
    page.reload()
    assert text(page, "progress") == "4 of 6 judged: 2 right, 1 wrong, 1 unsure" and item(page) == 5
    press(page, "z", "z")
    assert text(page, "progress") == "2 of 6 judged: 1 right, 1 wrong, 0 unsure" and item(page) == 3
    press(page, "ArrowLeft")
    assert text(page, "judged") == "judged wrong"
    assert page.get_attribute("[data-decision=wrong]", "aria-pressed") == "true"
    press(page, "r", "ArrowLeft", "ArrowLeft")
    assert text(page, "judged") == "judged right"
    press(page, "z")
    assert text(page, "judged") == "judged wrong" and item(page) == 2


def test_skipped_items_come_last_and_the_end_is_said(shown):
    page = shown()
    press(page, "s", "1", "1", "1", "1", "1")
    assert item(page) == 1
    press(page, "2")
    assert "All items are judged" in text(page, "message")
    assert text(page, "progress") == "6 of 6 judged: 5 right, 1 wrong, 0 unsure"


def test_filters_limit_what_is_shown_and_are_kept(shown):
    page = shown()
    press(page, "1", "2")
    page.select_option("#by-decision", "undecided")
    assert item(page) == 3 and "of 4 shown" in text(page, "place")
    press(page, "ArrowLeft")
    assert item(page) == 3
    page.keyboard.press("Escape")
    page.select_option("#by-decision", "all")
    page.select_option("#by-class", "high")  # items 2 and 6
    assert item(page) == 6
    page.reload()
    assert page.input_value("#by-class") == "high" and text(page, "place") == "2 of 2 shown"
    press(page, "ArrowLeft")
    assert item(page) == 2
    page.select_option("#by-type", "I")
    assert page.is_visible("#nothing") and not page.is_visible("#card")
    press(page, "Escape", "3")  # what is not seen is not judged
    assert text(page, "progress") == "2 of 6 judged: 1 right, 1 wrong, 0 unsure"
    page.click("#show-all")
    assert not page.is_visible("#nothing") and text(page, "place") == ""


def test_download_reads_back_here_and_on_another_copy_of_the_page(shown, tmp_path, tone_sample, chromium):
    page, sample = shown(), tone_sample()
    page.fill("#judge", 'Ann "A", B')
    page.keyboard.press("Escape")
    press(page, "1", "s", "2", "3")
    path = downloaded(page, tmp_path / "judgements.csv")
    raw = path.read_bytes()
    assert b"\r" not in raw and not raw.startswith(b"\xef\xbb\xbf")
    assert list(csv.reader(io.StringIO(raw.decode()))) == [
        HEADER,
        [sample.page, "0001", "t00", "middle", "I", "right", 'Ann "A", B'],
        [sample.page, "0003", "t02", "low", "I+II", "wrong", 'Ann "A", B'],
        [sample.page, "0004", "t03", "middle", "I", "unsure", 'Ann "A", B'],
    ]
    assert [row["decision"] for row in read_csv(path, HEADER)] == ["right", "wrong", "unsure"]
    context = chromium.new_context()
    elsewhere = context.new_page()
    elsewhere.goto(page.url)
    assert text(elsewhere, "progress") == "0 of 6 judged"
    spreadsheet = b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n").replace(b",000", b",").replace(b"right", b"Right ")
    for content in (raw, spreadsheet):
        elsewhere.set_input_files("#load", {"name": "j.csv", "mimeType": "text/csv", "buffer": content})
        wait_for(elsewhere, "document.getElementById('message').textContent.includes('3 judgements loaded')")
        assert text(elsewhere, "progress") == "3 of 6 judged: 1 right, 1 wrong, 1 unsure"
        assert downloaded(elsewhere, tmp_path / "again.csv").read_bytes() == raw
        press(elsewhere, "z")
        assert text(elsewhere, "progress") == "0 of 6 judged"
    context.close()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("{page}", "0123456789ab"), "is of page “0123456789ab”"),
        ((",t00,", ",t07,"), "is not about an item of this page"),
        ((",0001,", ",0009,"), "is not about an item of this page"),
        (("right", "rihgt"), "“rihgt” is not a decision"),
        (("decision", "verdict"), "has no column “decision”"),
        (("t00", 't"00'), "not CSV"),
    ],
)
def test_files_of_other_pages_are_refused_and_change_nothing(shown, tone_sample, change, complaint):
    page, sample = shown(), tone_sample()
    good = f"{','.join(HEADER)}\n{sample.page},0001,t00,middle,I,right,\n"
    buffer = good.replace(change[0].format(page=sample.page), change[1]).encode()
    page.set_input_files("#load", {"name": "j.csv", "mimeType": "text/csv", "buffer": buffer})
    wait_for(page, "document.getElementById('message').textContent.includes('was not loaded')")
    assert complaint in text(page, "message")
    assert text(page, "progress") == "0 of 6 judged"


@pytest.mark.parametrize(
    "stored", ["nonsense", "null", "[]", '{"judgements": {"0001": null}, "steps": 5, "settings": 7}']
)
def test_page_works_whatever_the_browser_has_kept(shown, stored):
    page = shown()
    page.evaluate(f"localStorage.setItem(judgements.key, {json.dumps(stored)})")
    page.reload()
    press(page, "1", "1", "z")
    assert text(page, "progress") == "1 of 6 judged: 1 right, 0 wrong, 0 unsure"
    assert "are kept in this browser" in text(page, "kept")


def test_full_browser_is_said_and_judging_goes_on(shown):
    page = shown()
    page.evaluate("void (Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') })")
    press(page, "1")
    assert text(page, "progress").startswith("1 of 6 judged")
    assert "download before you close it" in text(page, "kept")
    page.evaluate("void (Storage.prototype.setItem = () => {})")  # there is room again
    press(page, "2")
    assert "are kept in this browser" in text(page, "kept")


def test_reason_score_histogram_and_labels_stand_there_as_plain_text(shown):
    page = shown()
    assert text(page, "question").startswith("</script><b id=")
    assert page.locator("#injected").count() == 0
    assert text(page, "reason").startswith("Type I, a missing child: the clip has “Low”")
    assert text(page, "score") == "Score 0.750 > threshold 0.310"
    assert page.locator("#labels li").all_text_contents() == ["Low"]
    assert page.locator("#histogram rect").count() > 1
    assert "threshold 0.310" in page.get_attribute("#histogram svg", "aria-label")
    press(page, "ArrowRight")
    assert text(page, "question") == "High"
    assert text(page, "reason").startswith("Type II, a missing parent")


def test_blind_page_shows_no_reason_and_downloads_no_type(shown, tmp_path, tone_sample):
    page = shown(sample=tone_sample(blind=True))
    assert not page.is_visible("#why") and not page.is_visible("#type-label")
    assert not page.is_visible("#window")
    press(page, "1", "2")
    rows = read_csv(downloaded(page, tmp_path / "j.csv"), HEADER)
    assert [(row["error"], row["decision"]) for row in rows] == [("", "right"), ("", "wrong")]


def test_clip_without_sound_shows_the_link_to_its_window(tmp_path, tone_sample, tone_sources, open_page):
    sample, sources = tone_sample(), tone_sources(clips=None)
    new_ids = {"t00": "KK227gPpRn4", "t01": "aBcDeFgHiJk"}
    items = tuple(replace(item, clip_id=new_ids.get(item.clip_id, item.clip_id)) for item in sample.items)
    sources = replace(sources, labels=sources.labels.renamed(new_ids), scores=None)
    sources = replace(sources, segments={"KK227gPpRn4": (30.5, 40.5)})
    page = open_page(write_page(tmp_path / "page", replace(sample, items=items), sources))
    assert not page.is_visible("#listen")
    links = page.locator("#source a")
    assert [link.get_attribute("href")[-5:] for link in links.all()] == ["t=32s", "t=30s"]
    press(page, " ", "1", " ")  # nothing to play is no error
    assert "no known source" in text(page, "source") and item(page) == 2


def test_pages_keep_their_judgements_apart_and_windows_of_one_page_together(shown, tone_sample, open_page):
    first = shown()
    press(first, "1")
    other = shown(name="other", sample=tone_sample(blind=True))
    assert text(other, "progress") == "0 of 6 judged"
    again = first.context.new_page()
    again.goto(first.url)
    assert text(again, "progress").startswith("1 of 6")
    again.keyboard.press("2")
    wait_for(first, "document.getElementById('progress').textContent.startsWith('2 of 6')")
