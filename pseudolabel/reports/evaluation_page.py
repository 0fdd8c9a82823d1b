"""report.html: the results, the figures, every class, and how it was measured, on one page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pseudolabel.reports import page
from pseudolabel.reports.evaluation import Evaluation, labels_word
from pseudolabel.reports.figures import Picture
from pseudolabel.reports.results import additions_table, enhancement_sentences, headline, next_steps, notes, where
from pseudolabel.reports.row_tables import BETAS_HEADING, further_tables, rows_table
from pseudolabel.reports.rows import TRAINED_ON
from pseudolabel.reports.tables import fraction, plural, spread_text

FIGURES = {
    "map": "mAP",
    "auc": "AUC",
    "d_prime": "d' of macro AUC",
    "d_prime_class_mean": "mean d' of classes",
    "f1_micro": "F1 micro",
    "precision": "precision micro",
    "recall": "recall micro",
    "f1_macro": "F1 macro",
    "lwlrap": "lwlrap",
    "map_at_3": "mAP@3",
    "accuracy": "accuracy",
}
MISSING_SHOWN = 20


def evaluation_page(evaluation: Evaluation, pictures: Sequence[Picture], command: str) -> str:
    """Return the whole page."""
    sections = [page.paragraph(headline(evaluation), lead=True)]
    if evaluation.rows:
        about = [f"{row.name}: {TRAINED_ON[row.name]}" for row in evaluation.rows if row.name in TRAINED_ON]
        trained_on = [f"Trained on: {'; '.join(about)}."] if about else []
        sections.append(
            page.section(
                "Teacher and students",
                page.table(*rows_table(evaluation)),
                page.notes([*trained_on, *notes(evaluation)]),
                *_pictures(pictures, ("map", "ap_change")),
                *_every_metric(evaluation),
                _every_class(evaluation),
            )
        )
        sections += [
            page.section(
                heading,
                page.table(*table, n_text=2 if table[0][:2] == ["β", "row"] else 1),
                page.paragraph(remark),
                *_pictures(pictures, ("betas",) if heading == BETAS_HEADING else ()),
            )
            for heading, table, remark in further_tables(evaluation)
        ]
    if evaluation.enhanced:
        sections.append(
            page.section(
                "What enhancement added",
                *map(page.paragraph, enhancement_sentences(evaluation)),
                page.table(*additions_table(evaluation), n_text=2),
                *_pictures(pictures, ("labels-", "additions-")),
                *(_additions_by_class(name, judged) for name, judged in evaluation.enhanced.items()),
            )
        )
    if evaluation.missing:
        shown = [list(entry) for entry in evaluation.missing[:MISSING_SHOWN]]
        sections.append(
            page.section(
                "Missing clips",
                page.paragraph(f"{plural(len(evaluation.missing), 'listed clip')}; all are named in missing.csv."),
                page.table(["clip", "reason"], shown, n_text=2),
            )
        )
    sections.append(page.section("How it was measured", page.notes(_definitions(evaluation))))
    lies = page.code_list([*where(evaluation), ("made by", command)])
    sections.append(page.section("Where it lies", lies))
    sections.append(page.section("What to try next", page.code_list(next_steps(evaluation))))
    return page.page("Evaluation", sections)


def _pictures(pictures: Sequence[Picture], prefixes: tuple[str, ...]) -> list[str]:
    return [page.picture(p.png, p.title, p.caption) for p in pictures if p.name.startswith(prefixes)]


def _every_metric(evaluation: Evaluation) -> list[str]:
    """Return one folded table of all figures for each set of labels."""
    tables = []
    for against in evaluation.against:
        rows = [row for row in evaluation.rows if against in row.against()]
        if rows:
            lines = [[row.name, *(spread_text(row.spread(against, figure)) for figure in FIGURES)] for row in rows]
            title = f"Every figure against the {labels_word(evaluation, against)} labels"
            tables.append(page.folded(title, page.table(["row", *FIGURES.values()], lines)))
    return tables


def _every_class(evaluation: Evaluation) -> str:
    """Return the folded table of AP by class and row, most frequent classes first."""
    against = evaluation.main
    n_positive = evaluation.rows[0].runs[0].classes[against]["n_positive"]
    ap = {row.name: row.class_mean(against, "ap") for row in evaluation.rows}
    order = np.argsort(-n_positive, kind="stable")
    lines = []
    for k in order:
        found = [fraction(values[k]) for values in ap.values()]
        lines.append([evaluation.class_names[k], evaluation.class_ids[k], f"{int(n_positive[k]):,}", *found])
    title = f"AP of every class against the {labels_word(evaluation, against)} labels, means over seeds"
    return page.folded(title, page.table(["class", "id", "clips", *ap], lines, n_text=2))


def _additions_by_class(name: str, judged: dict) -> str:
    """Return the folded table of a list's classes that got or lacked labels."""
    known = "labels_before" in judged
    header = ["class", "id", "given", *(["given right", "true"] if known else []), "added"]
    header += ["right", "missing", "precision", "recall"] if known else []
    lines = []
    for figures in judged["by_class"]:
        counts = ("before", "before_right", "true", "added", "right", "missing") if known else ("before", "added")
        line = [figures["name"], figures["class_id"], *(f"{figures[key]:,}" for key in counts)]
        lines.append([*line, *([fraction(figures[rate]) for rate in ("precision", "recall")] if known else [])])
    return page.folded(f"Every class of {name}", page.table(header, lines, n_text=2))


def _definitions(evaluation: Evaluation) -> list[str]:
    n_classes = plural(len(evaluation.class_ids), "class")
    texts = [
        f"{plural(evaluation.n_clips, 'clip')}, {n_classes}, one answer for each whole clip.",
        "AP: average precision of a class over the clips; mAP and AUC are macro means. Classes without a positive clip "
        "(for AUC also: without a negative one) are left out and counted.",
        "d' is √2 times the inverse normal of the macro AUC. Some papers average the d' of the classes instead: the "
        "second figure, where a class ranked perfectly counts as half a pair away from an AUC of 1.",
        "F1, precision and recall at a score above .5: micro over all pairs of clip and class, macro over classes.",
        "lwlrap: label-weighted label-ranking average precision. mAP@3: mean over clips of the precision at the first "
        "three answers. Accuracy, only where every clip has one label: its class has the highest score.",
        "Spread: sample standard deviation over runs that differ in their seed.",
    ]
    if evaluation.enhanced:
        texts.append(
            "Precision of additions: those in the truth, of those added. Recall: the same, of all labels that the "
            "truth has and the list before had not. Types do not overlap."
        )
    return texts
