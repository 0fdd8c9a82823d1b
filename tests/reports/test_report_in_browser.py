"""The report of an evaluation in a real browser, from disk: sort, filter, compare."""

from __future__ import annotations

import pytest

from pseudolabel.reports.evaluation_figures import evaluation_figures
from pseudolabel.reports.report import report_page

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


@pytest.mark.parametrize("width", [1200, 360])
def test_axe_finds_nothing_and_nothing_is_cut_off(shown, evaluation, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = shown(evaluation)
    page.set_viewport_size({"width": width, "height": 800})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        violations = axe.Axe().run(page).response["violations"]
        assert [(rule["id"], rule["impact"], [node["html"] for node in rule["nodes"]]) for rule in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
