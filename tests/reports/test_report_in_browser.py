"""The report of an evaluation in a real browser, from disk: sort, filter, compare, tree, gallery, print."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pseudolabel import evaluate
from pseudolabel.reports.evaluation_figures import evaluation_figures
from pseudolabel.reports.report import report_page
from pseudolabel.scores.store import ScoreStore

NAMES = ("Animal", "Dog", "Bark & howl", "Rain", "<b>Car</b>", "Siren")


@pytest.fixture
def shown(made_up, open_page, tmp_path):
    """Return a function that writes the report of an evaluation and opens it."""

    def show(evaluation):
        path = tmp_path / "report.html"
        path.write_text(report_page(evaluation, evaluation_figures(evaluation, tmp_path), "made by"), encoding="utf-8")
        return open_page(path)

    return show


@pytest.fixture
def evaluation(made_up):
    return made_up(ids=tuple("abcdef"), names=NAMES)


@pytest.fixture(scope="module")
def evaluated(write_tones, tmp_path_factory):
    """The folder of an evaluation of two score stores with windows, on eight clips of tones with sound."""
    work = write_tones(tmp_path_factory.mktemp("work"), [4.0] * 8)
    (work / "vocabulary.csv").write_text(
        "class_id,name,ontology_id\nlow,low,low\nmiddle,middle,middle\nhigh,high,high\n"
    )
    (work / "ontology.csv").write_text(
        "class_id,name,child_ids,restrictions\ntone,Tone,low;bright,abstract\nbright,Bright,middle;high,abstract\n"
        "low,Low,,\nmiddle,Middle,,\nhigh,High,,\n"
    )
    rng, classes, clips = np.random.default_rng(1), ("low", "middle", "high"), [f"t{i:02d}" for i in range(8)]
    for name in "ab":
        windows = rng.random((8, 2, 3))
        ScoreStore.write(work / f"{name}.h5", clips, classes, {"clip": windows.mean(axis=1), 2: windows})
    named = {"--labels": "labels.csv", "--clips": "clips.h5", "--vocabulary": "vocabulary.csv"}
    named |= {"--ontology": "ontology.csv"}
    options = [word for option, name in named.items() for word in (option, str(work / name))]
    options += ["--scores", str(work / "a.h5"), str(work / "b.h5"), "--gallery", "6", "--resamples", "50"]
    assert evaluate.main([*options, "--out", str(work / "evaluation")]) == 0
    return work / "evaluation"


def wait_for(page, expression):
    """Wait until an expression is true; asked from outside, as the page's own rules forbid evaluation inside it."""
    deadline = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"{expression} did not become true"
        page.wait_for_timeout(20)


def column(page, section, number):
    """Return the shown cells of a column of a section's table."""
    return page.locator(f"{section} tbody tr:not([hidden]) td:nth-child({number})").all_text_contents()


def test_classes_are_sorted_and_filtered(shown, evaluation):
    page, of = shown(evaluation), "#classes"
    clips = [int(text) for text in column(page, of, 3)]
    assert clips == sorted(clips, reverse=True) and len(clips) == 6
    page.click(f"{of} th:nth-child(1) button")
    assert column(page, of, 1) == sorted(NAMES)
    assert page.get_attribute(f"{of} th:nth-child(1)", "aria-sort") == "ascending"
    weak = page.locator(f"{of} th").all_text_contents().index("weak") + 1
    for key, falls in (("Enter", True), (" ", False)):  # by keyboard: from the largest, then from the smallest
        page.focus(f"{of} th:nth-child({weak}) button")
        page.keyboard.press(key)
        values = [float(text) for text in column(page, of, weak)]
        assert values == sorted(values, reverse=falls)
    assert page.locator(f"{of} [aria-sort]").count() == 1
    page.fill(f"{of} input[type=search]", "OWL bark")
    assert column(page, of, 1) == ["Bark & howl"] and page.inner_text(f"{of} [role=status]") == "1 of 6 classes"
    page.fill(f"{of} input[type=search]", "")
    page.fill(f"{of} input[type=number]", str(max(clips)))
    assert column(page, of, 3) == [str(max(clips))] * clips.count(max(clips))


def test_two_rows_are_compared_class_by_class_against_any_labels(shown, evaluation):
    page = shown(evaluation)
    assert [page.input_value(f"#compare-{of}") for of in ("from", "to")] == ["weak", "psl_2s"]
    for number, against in enumerate(("truth", "noisy")):
        page.select_option("#compare-against", str(number))
        for one, other in (("weak", "psl_2s"), ("teacher", "weak")):
            page.select_option("#compare-from", one)
            page.select_option("#compare-to", other)
            change = evaluation.row(other).class_mean(against, "ap") - evaluation.row(one).class_mean(against, "ap")
            said = page.inner_text("#compare > [role=status]")
            assert f"From {one} to {other}: AP rises in {(change > 0).sum()} class" in said
            assert (
                f"falls in {(change < 0).sum()}, " in said
                and f"mean change {change.mean():+.3f}".replace("0.", ".") in said
            )
            values = [float(text) for text in column(page, "#compare", 6)]
            assert values == pytest.approx(sorted(change, reverse=True), abs=6e-4)
            assert page.locator("#compare circle").count() == 6
            assert page.locator("#compare circle.less").count() == (change < 0).sum()
    page.click("#compare th:nth-child(1) button")
    assert column(page, "#compare", 1) == sorted(NAMES)


def test_without_script_every_class_is_in_a_plain_table(chromium, made_up, evaluation, tmp_path):
    (tmp_path / "report.html").write_text(report_page(evaluation, [], ""), encoding="utf-8")
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator("#classes tbody tr").count() == 6 and page.locator("button, input, select").count() == 0
    assert "Choosing rows needs JavaScript." in page.inner_text("#comparison")
    context.close()


def test_the_tree_opens_by_key_and_where_a_link_leads(evaluated, open_page):
    page = open_page(evaluated / "report.html")
    summaries = page.locator("#tree summary:visible .name")
    assert summaries.all_text_contents() == ["Tone3 classes", "low", "Bright2 classes"]
    page.focus("#tree > ul > li > details > ul > li:nth-child(2) > details > summary")
    page.keyboard.press("Enter")
    assert summaries.all_text_contents()[3:] == ["middle", "high"]
    page.click("text=Close all")
    assert summaries.all_text_contents() == ["Tone3 classes"]
    page.click("#classes td a >> text=high")
    wait_for(page, "document.querySelector('#class-2').open")
    assert page.locator("#class-2 summary").is_visible() and "With the label, lowest scores: t0" in page.inner_text(
        "#class-2"
    )
    place = page.locator("#class-2 a").first
    place.click()
    wait_for(page, "location.hash.startsWith('#clip-')")
    assert page.locator(":target").inner_text().split("\n")[2].startswith(place.inner_text())


def test_clips_of_the_gallery_play_one_at_a_time_and_from_where_the_picture_is_pressed(evaluated, open_page):
    page = open_page(evaluated / "report.html")
    headings = page.locator("#gallery h3").all_text_contents()
    assert headings == ["Models disagree", "Scored high, not labelled", "Labelled, scored low"]
    assert page.locator("#gallery article").count() == page.locator("#gallery .lines path").count() / 2 == 6
    page.evaluate("void sounds[0].play()")
    wait_for(page, "sounds[0].currentTime > 0.1")
    second = page.locator("#clip-2 .stage")
    second.scroll_into_view_if_needed()
    box = second.bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 20)
    wait_for(page, "sounds[1].currentTime > 3 && !sounds[1].paused && sounds[0].paused")
    wait_for(page, "sounds[1].paused")  # the silence that follows the clip is not played
    assert page.evaluate("sounds[1].currentTime") == pytest.approx(4, abs=0.2)
    playhead = page.locator("#clip-2 .playhead").bounding_box()
    assert playhead["x"] == pytest.approx(box["x"] + box["width"], abs=0.05 * box["width"])
    assert page.evaluate("document.querySelector('#clip-2 img').naturalWidth") > 100


def test_a_sound_that_is_gone_is_said(evaluated, open_page):
    page = open_page(evaluated / "report.html")
    page.evaluate("sounds[0].src = 'data:audio/flac;base64,AAAA'")
    page.evaluate("void sounds[0].play().catch(() => {})")
    wait_for(page, "document.querySelector('#clip-1').textContent.includes('could not be played')")


def test_printed_on_paper_nothing_is_cut_and_controls_are_left_out(evaluated, open_page):
    page = open_page(evaluated / "report.html")
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 700, "height": 900})
    assert page.locator("nav, .fields, audio").evaluate_all("all => all.filter((e) => e.checkVisibility()).length") == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    overflow = "all => all.filter((e) => e.scrollHeight > e.clientHeight + 1).map((e) => e.outerHTML.slice(0, 80))"
    assert page.locator(".wide, .drawing").evaluate_all(overflow) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 700


@pytest.mark.parametrize("width", [1200, 360])
def test_axe_finds_nothing_and_nothing_is_cut_off(evaluated, open_page, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = open_page(evaluated / "report.html")
    page.click("text=Open all")
    page.set_viewport_size({"width": width, "height": 800})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        violations = axe.Axe().run(page).response["violations"]
        assert [(rule["id"], rule["impact"], [node["html"] for node in rule["nodes"]]) for rule in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
