"""The page of rules judged by known truth: report.html, its figures, results.csv, students.csv and results.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel import layout
from pseudolabel.artefacts import write_csv, write_text
from pseudolabel.formatting import fraction, plural
from pseudolabel.reports.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    PURPLE,
    SET_COLOURS,
    SKY,
    VERMILION,
    draw_picture,
    panels_of,
)
from pseudolabel.reports.known_truth import PERCENTILES, Judged
from pseudolabel.reports.known_truth_students import HEADER as STUDENTS_HEADER
from pseudolabel.reports.known_truth_students import Trained, draw_students, sentence, student_lines, student_tables
from pseudolabel.reports.rows import Spread
from pseudolabel.reports.text_tables import Table
from pseudolabel.templates import render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADER = ("corpus", "sounds", "teacher", "annotator", "clips", "classes", "auc", "missing", "reached", "rule", "errors",
          "guesses_right", "expected", "precision", "recall", "f1")  # fmt: skip
SHOWN = ("precision:0.5", "precision:0.7", "precision:0.8")  # of precision:P in the tables; the figure has all
RULE_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, BLACK)
MEASURES = ("right", "expected", "precision", "recall", "f1")


class Setting(NamedTuple):
    """What a corpus was mixed from, whose scores decide, and who labelled it."""

    sounds: str
    teacher: str
    annotator: str

    @property
    def scores(self) -> str:
        """Sounds and teacher in words."""
        return f"{self.sounds}, {self.teacher}"


@dataclass(frozen=True)
class Outcome:
    """All rules on one corpus in one setting.

    Args:
        size: number of clips, and of classes with true labels.
        auc: the teacher's median AUC over classes, of clips with the label or a descendant against the rest.
        missing: share of labels left out, and share of these that a relative leads to.
        bins: number of guesses, summed probability and how many are right, by probability, (3, bins).
    """

    corpus: str
    setting: Setting
    size: tuple[int, int]
    auc: float
    missing: tuple[float, float]
    judged: tuple[Judged, ...]
    bins: np.ndarray


def write_page(
    folder: Path, outcomes: Sequence[Outcome], notes: Sequence[str], command: str, students: Sequence[Trained] = ()
) -> str:
    """Write the page, its figures and tables into a folder; return the tables as text."""
    grouped = grouped_by_setting(outcomes)
    pictures = [draw_picture("reliability", _reliability, grouped), draw_picture("rules", _rules, grouped)]
    if students:
        pictures.append(draw_picture("students", draw_students, students))
        write_csv(folder / "students.csv", STUDENTS_HEADER, student_lines(students))
    for picture in pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.png)
    of_students, tables = student_tables(students), rule_tables(grouped)
    lead = f"{headline(grouped)} {sentence(students)}" if students else headline(grouped)
    html = render(
        "pseudolabel.reports",
        "known_truth.html.j2",
        headline=lead,
        annotators=annotator_table(grouped),
        teachers=teacher_table(grouped),
        students=of_students,
        tables=tables,
        pictures=pictures,
        notes=notes,
        command=command,
    )
    write_text(folder / layout.REPORT, html)
    write_csv(folder / "results.csv", HEADER, lines(outcomes))
    parts = [("Annotators", annotator_table(grouped)), ("Teachers", teacher_table(grouped)), *tables]
    parts += [(f"Students: {title}", table) for title, table in of_students]
    text = "\n\n".join(f"## {title}\n\n{table.markdown()}" for title, table in parts)
    write_text(folder / layout.RESULTS, f"# Rules judged by known truth\n\n{text}\n")
    return "\n\n".join(f"{title}\n{table.aligned()}" for title, table in parts)


def grouped_by_setting(outcomes: Sequence[Outcome]) -> dict[Setting, list[Outcome]]:
    """Return the outcomes of each setting."""
    grouped: dict[Setting, list[Outcome]] = {}
    for outcome in outcomes:
        grouped.setdefault(outcome.setting, []).append(outcome)
    return grouped


def headline(grouped: Mapping[Setting, Sequence[Outcome]]) -> str:
    """Return what came of asking for .7, over all settings, beside 25p."""
    asked = [spread_of(group, "precision:0.7", "I II free", "right").mean for group in grouped.values()]
    f1, before = (
        np.mean([spread_of(group, *rule, "f1").mean for group in grouped.values()])
        for rule in (("precision:0.7", "I II free"), ("25p", "I II"))
    )
    n = max(map(len, grouped.values()))
    found = [share for share in asked if not math.isnan(share)]
    shares = "no guess is added"
    if found:
        shares = f"between {fraction(min(found), 2)} and {fraction(max(found), 2)} of the guesses are right"
    return (
        f"Asked for .7, {shares} in {plural(len(grouped), 'setting')} of up to {n} corpora; mean F1 over "
        f"all missing labels {fraction(float(f1))}, with 25p {fraction(float(before))}."
    )


def spread_of(group: Sequence[Outcome], rule: str, errors: str, measure: str) -> Spread:
    """Return one measure of one rule over the corpora of a setting."""
    found = [one for outcome in group for one in outcome.judged if (one.rule, one.errors) == (rule, errors)]
    values = [one.expected if measure == "expected" else getattr(one.measures, measure) for one in found]
    return Spread.of([value for value in values if not math.isnan(value)])


def rules_of(group: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Return rule and errors of all rules, in order."""
    return list(dict.fromkeys((one.rule, one.errors) for outcome in group for one in outcome.judged))


def annotator_table(grouped: Mapping[Setting, Sequence[Outcome]]) -> Table:
    """Return what each annotator leaves out, one line for each kind of sounds."""
    rows: dict[tuple[str, str], dict[str, Outcome]] = {}
    for setting, group in grouped.items():
        rows.setdefault((setting.sounds, setting.annotator), {}).update({outcome.corpus: outcome for outcome in group})
    cells = [
        [
            *key,
            str(len(of)),
            *(span([outcome.size[i] for outcome in of.values()]) for i in (0, 1)),
            *(Spread.of([outcome.missing[i] for outcome in of.values()]).text() for i in (0, 1)),
        ]
        for key, of in rows.items()
    ]
    return Table(["sounds", "annotator", "corpora", "clips", "classes", "missing", "reached"], cells, n_text=2)


def span(counts: Sequence[int]) -> str:
    """Return the smallest and the largest count as text: `581`, `63-67`."""
    return "-".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))


def teacher_table(grouped: Mapping[Setting, Sequence[Outcome]]) -> Table:
    """Return how well each teacher tells apart the clips with and without a label, and its guesses at .7."""
    asked = ("precision:0.7", "I II free")
    cells = [
        [
            *(setting.sounds, setting.teacher, setting.annotator, str(len(group))),
            Spread.of([outcome.auc for outcome in group if not math.isnan(outcome.auc)]).text(),
            *(spread_of(group, *asked, measure).text() for measure in ("expected", "right")),
        ]
        for setting, group in grouped.items()
    ]
    header = ["sounds", "teacher", "annotator", "corpora", "median AUC", "asked .7: expected", "guesses right"]
    return Table(header, cells, n_text=3)


def rule_tables(grouped: Mapping[Setting, Sequence[Outcome]]) -> list[tuple[str, Table]]:
    """Return for each setting a title and a table with a line for each rule."""
    tables = []
    for setting, group in grouped.items():
        shown = [rule for rule in rules_of(group) if not rule[0].startswith("precision") or rule[0] in SHOWN]
        cells = [[*rule, *(spread_of(group, *rule, measure).text() for measure in MEASURES)] for rule in shown]
        header = ["rule", "errors", "guesses right", *MEASURES[1:]]
        tables.append((f"{setting.scores}, annotator {setting.annotator}", Table(header, cells, n_text=2)))
    return tables


def lines(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Return one line for each corpus, setting and rule."""
    return [
        (
            outcome.corpus,
            *outcome.setting,
            *map(str, outcome.size),
            *map(six_places, (outcome.auc, *outcome.missing)),
            one.rule,
            one.errors,
            *(six_places(value) for value in (one.measures.right, one.expected, *one.measures[1:])),
        )
        for outcome in outcomes
        for one in outcome.judged
    ]


def six_places(value: float) -> str:
    """Return a share with six decimals; nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.6f}"


# ---- figures ----------------------------------------------------------------------------------------------------


def _panels(grouped: Mapping[Setting, object], key: str, x: str, y: str) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with a square panel for each value of a setting, three in a row, with labels of the axes."""
    names = list(dict.fromkeys(getattr(setting, key) for setting in grouped))
    n_columns = min(3, len(names))
    n_rows = math.ceil(len(names) / n_columns)
    height_in = {1: 5.6, 2: 4.6}.get(n_columns, 3.4) * n_rows + 0.5
    figure, panels = panels_of(height_in, n_columns, n_rows, sharex=True, sharey=True)
    for i, axes in enumerate(panels):
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", visible=i < len(names))
        if i % n_columns == 0:
            axes.set_ylabel(y)
        if i + n_columns >= len(names):
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)
    return figure, dict(zip(names, panels, strict=False))


def _reliability(grouped: Mapping[Setting, Sequence[Outcome]]) -> tuple[Figure, str, str]:
    """Draw the share of right guesses over their probability, a panel for each kind of scores."""
    figure, panels = _panels(grouped, "scores", "probability of guesses", "share that is right")
    annotators = list(dict.fromkeys(setting.annotator for setting in grouped))
    for setting, group in grouped.items():
        axes, i = panels[setting.scores], annotators.index(setting.annotator)
        n, summed, right = np.sum([outcome.bins for outcome in group], axis=0)
        there = n >= 10
        look = {"color": SET_COLOURS[i % len(SET_COLOURS)], "marker": MARKERS[i % len(MARKERS)], "ms": 4, "lw": 1.3}
        axes.plot(summed[there] / n[there], right[there] / n[there], label=setting.annotator, **look)
    for name, axes in panels.items():
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
        axes.set_title(name, fontsize=10)
        axes.legend(frameon=False, fontsize=8, title="annotator", title_fontsize=8, loc="upper left")
    caption = (
        "All candidates in bins of a tenth, each with 10 or more; on the dashed line probabilities are exact, below it "
        "they overstate."
    )
    return figure, "Reliability of the probabilities", caption


def _rules(grouped: Mapping[Setting, Sequence[Outcome]]) -> tuple[Figure, str, str]:
    """Draw precision over recall of all rules, a panel for each annotator, means over corpora and kinds of scores."""
    figure, panels = _panels(grouped, "annotator", "recall over all missing labels", "precision of all additions")
    for annotator, axes in panels.items():
        groups = [group for setting, group in grouped.items() if setting.annotator == annotator]
        _draw_levels(axes)
        for i, (name, rules) in enumerate(_families(groups[0]).items()):
            points = [
                [mean_of([spread_of(group, *rule, measure).mean for group in groups]) for rule in rules]
                for measure in ("recall", "precision")
            ]
            look = {
                "color": RULE_COLOURS[i % len(RULE_COLOURS)],
                "marker": MARKERS[i % len(MARKERS)],
                "ms": 5,
                "lw": 1.2,
            }
            axes.plot(*points, label=name, ls="-" if len(rules) > 1 else "none", clip_on=False, **look)
        axes.set_title(f"annotator {annotator}", fontsize=10, pad=10)
    handles, names = next(iter(panels.values())).get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize=8.5, ncols=3, loc="outside lower center")
    caption = (
        "Means over corpora and kinds of scores. Percentiles from left to right: mean, 25p, 10p, 5p; precisions asked "
        "for from right to left: .5, .6, .7, .8, .85. Grey: points of equal F1."
    )
    return figure, "Precision and recall of all rules", caption


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of those values that are not NaN; NaN if there is none."""
    return Spread.of([value for value in values if not math.isnan(value)]).mean


def _families(group: Sequence[Outcome]) -> dict[str, list[tuple[str, str]]]:
    """Return the rules that one line joins: those with a number differ in it alone."""
    families: dict[str, list[tuple[str, str]]] = {}
    for rule, errors in rules_of(group):
        name = f"precision:P, {errors}" if rule.startswith("precision") else rule
        name = "PSLA's thresholds" if rule in PERCENTILES else name
        families.setdefault(name, []).append((rule, errors))
    return families


def _draw_levels(axes: Axes) -> None:
    recall = np.linspace(0.02, 1, 99)
    for f1 in (0.2, 0.4, 0.6, 0.8):
        there = recall > f1 / (2 - f1) - 0.005
        precision = f1 * recall[there] / (2 * recall[there] - f1)
        axes.plot(recall[there], precision, color="#cccccc", lw=0.8, zorder=0)
        axes.text(0.99, f1 / (2 - f1) + 0.01, fraction(f1, 1), fontsize=7, color="#777777", ha="right")
