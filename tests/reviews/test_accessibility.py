"""The review page for people who use a keyboard, a screen reader, a small screen, or names from right to left."""

from __future__ import annotations

import pytest

DOG, MUSIC = "כלב", "موسيقى (2)"
ORDER = ["by-decision", "by-class", "by-type", "position", "play", "play-all", "by-itself"]
DECIDE = ["right", "wrong", "unsure"]
FOCUSED = "document.activeElement.id || document.activeElement.dataset.decision || document.activeElement.tagName"

UNDER_FOOTER = """(() => { const [it, footer] = [document.activeElement, document.querySelector("footer")];
  const [one, other] = [it.getBoundingClientRect(), footer.getBoundingClientRect()];
  return !footer.contains(it) && one.bottom > other.top + 1 && one.top < other.bottom - 1; })()"""


def text(page, element_id):
    return page.text_content(f"#{element_id}")


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def to_first_item(page):
    press(page, "1", "2")


def to_last_judgement(page):
    press(page, *"123123")


def to_no_item(page):
    page.select_option("#by-decision", "wrong")


PAGES = {}, {"blind": True}, {"clips": None, "scores": None}
STATES = to_first_item, to_last_judgement, to_no_item


@pytest.mark.parametrize(
    ("changes", "act"),
    [
        pytest.param(changes, act, marks=() if page == state else pytest.mark.slow)
        for page, changes in enumerate(PAGES)
        for state, act in enumerate(STATES)
    ],
)
def test_axe_finds_nothing(shown, tone_sample, act, changes):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = shown(sample=tone_sample(blind=True)) if "blind" in changes else shown(**changes)
    act(page)
    for width, scheme in ((1200, "light"), (1200, "dark"), (320, "light"), (320, "dark")):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        violations = axe.Axe().run(page).response["violations"]
        assert [(rule["id"], rule["impact"], [node["html"] for node in rule["nodes"]]) for rule in violations] == []


def test_judgement_and_next_question_are_announced(shown):
    page = shown(names=("Low", "Middle", "High"))
    assert page.get_attribute("#message", "role") == "status"
    assert page.get_attribute("#asked", "aria-live") == "polite"
    assert page.get_attribute("#asked", "aria-atomic") == "true"
    assert page.inner_text("#asked").split("\n\n") == ["Item 1 of 6: do you hear this?", "Middle"]
    press(page, "1")
    assert text(page, "message") == "“Middle” judged right."
    assert page.inner_text("#asked").split("\n\n") == ["Item 2 of 6: do you hear this?", "High"]
    page.select_option("#by-decision", "wrong")
    assert text(page, "message") == "No item fits this filter."


def test_every_control_has_a_name(shown):
    unnamed = shown().evaluate(
        "[...document.querySelectorAll('button, input, select, a')].filter("
        "(e) => !(e.textContent.trim() || e.labels?.length || e.ariaLabel)).map((e) => e.id)"
    )
    assert unnamed == []


def test_a_focused_control_takes_its_keys(shown):
    page = shown()
    page.focus("[data-decision=wrong]")
    press(page, " ")
    assert text(page, "progress").startswith("1 of 6 judged: 0 right, 1 wrong")
    page.focus("#judge")
    press(page, "1", "2", "a")
    assert page.input_value("#judge") == "12a" and text(page, "progress").startswith("1 of 6")


def test_keys_can_be_turned_off_and_stay_off(shown):
    page = shown()
    assert page.get_attribute("[data-decision=right]", "aria-keyshortcuts") == "1 R"
    assert page.is_visible("#play kbd")
    page.click("#keys-act")
    for _ in range(2):
        press(page, *"1rwuzasd", " ", "ArrowRight", "Backspace")
        assert text(page, "progress") == "0 of 6 judged" and text(page, "item-name").startswith("Item 1")
        assert page.evaluate("audio.paused")
        assert page.locator("[aria-keyshortcuts]").count() == 0 and not page.is_visible("#play kbd")
        page.reload()
    page.focus("[data-decision=right]")
    press(page, "Enter")
    assert text(page, "progress").startswith("1 of 6 judged: 1 right")
    page.click("#keys-act")
    press(page, "2")
    assert text(page, "progress").startswith("2 of 6 judged: 1 right, 1 wrong")
    assert page.get_attribute("[data-decision=right]", "aria-keyshortcuts") == "1 R"


@pytest.mark.parametrize(("width", "height"), [(1200, 800), (360, 740), (320, 256)])
def test_everything_is_reached_with_the_tab_key_and_seen(shown, width, height):
    page = shown()
    page.set_viewport_size({"width": width, "height": height})
    reached = []
    while "load" not in reached:
        press(page, "Tab")
        reached.append(page.evaluate(FOCUSED))
        box = page.locator(":focus").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= height + 1, (reached[-1], box)
        assert not page.evaluate(UNDER_FOOTER), reached[-1]
    assert reached == [*ORDER, *DECIDE, "previous", "next", "undo", "judge", "download", "load"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_pressed_button_keeps_the_focus_and_says_why_nothing_happens(shown):
    page = shown()
    for button, said in (
        ("previous", "This is the first item."),
        ("undo", "Nothing to undo."),
        ("download", "Nothing is judged yet."),
    ):
        page.focus(f"#{button}")
        assert page.get_attribute(f"#{button}", "aria-disabled") == "true"
        press(page, "Enter")
        assert text(page, "message") == said and page.evaluate(FOCUSED) == button
    page.focus("#next")
    press(page, *["Enter"] * 6)
    assert text(page, "message") == "This is the last item." and page.evaluate(FOCUSED) == "next"


def test_names_from_right_to_left_leave_the_sentence_in_its_order(shown):
    page = shown(names=(DOG, MUSIC, "High"))
    assert text(page, "question") == MUSIC
    assert text(page, "reason") == f"Type I, a missing child: the clip has “{DOG}”, and “{MUSIC}” is a kind of it."
    assert page.locator("#reason bdi").all_text_contents() == [DOG, MUSIC]
    assert page.locator("#labels bdi").all_text_contents() == [DOG]
    assert page.locator("#clip-id bdi").all_text_contents() == ["t00", "middle"]
    assert page.locator("#histogram bdi").all_text_contents() == [MUSIC]
    assert {option.get_attribute("dir") for option in page.locator("#by-class option").all()} == {"auto"}
    press(page, "1")
    assert page.inner_html("#message") == f"“<bdi>{MUSIC}</bdi>” judged right."
    assert page.evaluate(
        "(() => { const [open, name, close] = [...$('message').childNodes].map((node) => {"
        " const range = document.createRange(); range.selectNodeContents(node);"
        " return range.getBoundingClientRect(); }); return open.right <= name.left && name.right <= close.left; })()"
    )


def test_narrow_page_does_not_scroll_sideways(shown):
    page = shown(names=("Low", "A" * 60, "Livestock, farm animals, working animals"))
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    buttons = page.locator("[data-decision]").all()
    assert all(button.bounding_box()["height"] >= 44 for button in buttons)
    assert all(button.bounding_box()["y"] < 740 for button in buttons)  # in reach without scrolling
