"""The results in words: results.md, the terminal, and the sentences of the report."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path

from pseudolabel import layout
from pseudolabel.formatting import fraction, percent, plural
from pseudolabel.options import DEFAULT_WORK
from pseudolabel.reports.evaluation import NOISY_SET, TRUE_SET, Evaluation
from pseudolabel.reports.result_tables import TYPE_WORDS, additions_table, further_tables, rows_table
from pseudolabel.reports.rows import STANDARD_ROWS, STUDENT_ROWS, TRAINED_ON, Row, Spread
from pseudolabel.reports.text_tables import Table, count_range
from pseudolabel.scores.metrics import METRICS, Metric, metrics_of
from pseudolabel.templates import render, render_paragraphs

THRESHOLDS = ("mean", "25p", "10p", "5p")  # PSLA, Table IX
TERMINAL_WIDTH = 100
FORMATTERS = {"plural": plural, "percent": percent, "fraction": fraction, "count_range": count_range}

RESULTS_HEAD = "# Results"  # the first line of results.md


def contents(evaluation: Evaluation) -> dict[str, object]:
    """Return the values that fill the templates of results.md and report.html."""
    return {
        "headline": headline(evaluation),
        "enhancement_sentences": enhancement_sentences(evaluation),
        "additions": additions_table(evaluation) if evaluation.enhanced else None,
        "rows": rows_table(evaluation) if evaluation.rows else None,
        "notes": notes(evaluation),
        "further_tables": further_tables(evaluation) if evaluation.rows else [],
        "files": files(evaluation),
        "next_steps": next_steps(evaluation),
    }


def results_markdown(evaluation: Evaluation) -> str:
    """Return results.md."""
    return render("pseudolabel.reports", "results.md.j2", **contents(evaluation))


def results_terminal(evaluation: Evaluation) -> str:
    """Return the results for a terminal, in aligned columns of about 100 characters."""

    def wrapped(text: str, first: str = "") -> str:
        return textwrap.fill(text, TERMINAL_WIDTH, initial_indent=first, subsequent_indent=" " * len(first))

    parts = [wrapped(headline(evaluation))]
    if evaluation.enhanced:
        parts += [wrapped(text) for text in enhancement_sentences(evaluation)]
        parts.append(additions_table(evaluation).aligned())
    if evaluation.rows:
        parts.append(_narrow(rows_table(evaluation)).folded())
        parts.append("\n".join(wrapped(text, "- ") for text in notes(evaluation)))
        tables = further_tables(evaluation)
        for further in tables:
            if not further.wide:
                parts.append(f"{further.heading}\n{further.table.folded()}\n{wrapped(further.remark)}")
        parts += [f"{further.heading}: see {evaluation.out / layout.RESULTS}" for further in tables if further.wide]
    listed = files(evaluation)
    width = max(len(what) for what, _ in listed)
    parts.append("\n".join(f"{what.ljust(width)}  {path}" for what, path in listed))
    steps = "\n".join(f"  # {why}\n  {command}" for why, command in next_steps(evaluation))
    parts += [f"What to try next:\n{steps}"] if steps else []
    return "\n\n".join(parts)


def _narrow(table: Table) -> Table:
    header = ["params" if name == "parameters" else name for name in table.header]
    return Table(header, [[cell.replace(" ± ", "±") for cell in line] for line in table.lines], table.n_text)


def leading_row(evaluation: Evaluation) -> Row | None:
    """Return the row that the opening sentence is about: the student beside `weak`, else the row of highest mAP."""
    if evaluation.row("weak") and (student := evaluation.student):
        return student
    return max(evaluation.rows, key=lambda row: row.spread(evaluation.main, "map").mean, default=None)


def headline(evaluation: Evaluation) -> str:
    """Return one sentence: what the student of the teacher's scores gains over the same training on weak labels."""
    student, weak, ceiling = evaluation.student, evaluation.row("weak"), evaluation.row("true")
    if not evaluation.rows:
        return "No run was evaluated."
    against = evaluation.main
    clips = f"against the {evaluation.word(against)} labels of {plural(_n_clips(evaluation, against), 'clip')}"
    if student is None or weak is None:
        best = leading_row(evaluation)
        value = best.spread(against, "map").text()
        if len(evaluation.rows) == 1:
            return f"{best.name} reaches mAP {value} {clips}."
        return f"Of {plural(len(evaluation.rows), 'row')}, {best.name} has the highest mAP {clips}: {value}."
    ours, theirs = student.spread(against, "map"), weak.spread(against, "map")
    limit = f" (trained on true labels: {fraction(ceiling.spread(against, 'map').mean)})" if ceiling else ""
    return (
        f"A student trained on {TRAINED_ON[student.name]} reaches mAP {ours.text()}, one trained on the weak labels "
        f"{theirs.text()}{limit}, {clips}: {_difference(student, weak, against)}."
    )


def _n_clips(evaluation: Evaluation, against: str) -> int:
    """Return how many clips a set has; named sets have their own clips."""
    if against in (TRUE_SET, NOISY_SET):
        return evaluation.n_clips
    return int(evaluation.rows[0].runs[0].metrics[against]["n_clips"])


def _difference(ours: Row, theirs: Row, against: str) -> str:
    """Return how much better a row is, with its interval, and which chance the interval leaves out."""
    gain = ours.above(theirs, against, "map")
    words = f"{'better' if gain.value >= 0 else 'worse'} by {fraction(abs(gain.value))}"
    if math.isfinite(gain.low):
        low, high = sorted((gain.low, gain.high) if gain.value >= 0 else (-gain.low, -gain.high))
        words += f", 95 % interval {fraction(low)} to {fraction(high)}"
    n_seeds = min(len(ours.runs), len(theirs.runs))
    return words if n_seeds > 1 else f"{words}; from one seed a row, so chance in training is not ruled out"


def enhancement_sentences(evaluation: Evaluation) -> list[str]:
    """Return, for each enhanced list, what was added and how much of it is right."""
    sentences = []
    for name, judged in evaluation.enhanced.items():
        added = {error: row["added"] for error, row in judged["by_error"].items() if error != "all" and row["added"]}
        types = [f"{n:,} {TYPE_WORDS.get(error, error)}" for error, n in added.items()]
        facts = {**judged["by_error"]["all"], **judged, "name": name, "types": types, **FORMATTERS}
        sentences += render_paragraphs("pseudolabel.reports", "enhancement.txt.j2", **facts)
    return sentences


def notes(evaluation: Evaluation) -> list[str]:
    """Return what a reader of the table of rows must know."""
    rows, columns = evaluation.rows, evaluation.columns()
    names, shown = {row.name for row in rows}, {column.metric for column in columns}
    f1_alone = any(column.heading == column.metric.heading for column in columns)
    return render_paragraphs(
        "pseudolabel.reports",
        "notes.txt.j2",
        metrics=[metric for metric in METRICS.values() if metric in shown],
        f1_against=evaluation.word(evaluation.main) if f1_alone else "",
        remarks=evaluation.remarks,
        single=[row.name for row in rows if len(row.runs) == 1],
        absent=[name for name in STANDARD_ROWS if name not in names] if names & set(STANDARD_ROWS) else [],
        teacher_clips=_train_clips(rows, ("teacher",)),
        student_clips=_train_clips(rows, STUDENT_ROWS),
        last_evaluations=_last_evaluations(rows),
        unscored=_unscored_classes(evaluation),
        seen=[(row.name, sum(row.recorded("n_seen"))) for row in rows if sum(row.recorded("n_seen"))],
        n_missing=len(evaluation.missing),
        **FORMATTERS,
    )


def _train_clips(rows: Sequence[Row], names: Sequence[str]) -> list[int]:
    return sorted({n for row in rows if row.name in names for n in row.recorded("n_train_clips")})


def _last_evaluations(rows: Sequence[Row]) -> list[tuple[Metric, list[tuple[str, Spread]]]]:
    """Return each row's mean over the last evaluations, if it has one: choosing an epoch cannot improve it."""
    means = {row.base: row.last_evaluations() for row in rows if row.scale == rows[0].scale}
    by_option = {
        option: [(name, spreads[option]) for name, spreads in means.items() if option in spreads]
        for option in ("map", "d-prime")
    }
    return [(metrics_of(option)[0], spreads) for option, spreads in by_option.items() if spreads]


def _unscored_classes(evaluation: Evaluation) -> list[tuple[str, int, int]]:
    """Return (labels, classes without a positive clip, classes) for each set that has such classes."""
    runs = [run for row in evaluation.rows for run in row.runs]
    unscored = []
    for against in evaluation.measured_against:
        metrics = next(run.metrics[against] for run in runs if against in run.metrics)
        n_left_out = metrics["n_classes"] - metrics["n_classes_scored"]
        if n_left_out:
            unscored.append((evaluation.word(against), n_left_out, metrics["n_classes"]))
    return unscored


def files(evaluation: Evaluation) -> list[tuple[str, Path]]:
    """Return what a reader may open next: report, labels, ledgers, model."""
    out = evaluation.out
    listed = [("report", out / layout.REPORT), ("metrics of every class", out / layout.PER_CLASS)]
    for name, judged in evaluation.enhanced.items():
        folder = Path(judged["folder"])
        listed += [(f"labels of {name}", folder / layout.LABELS), ("their ledger", folder / layout.LEDGER_CSV)]
    if student := evaluation.student:
        listed.append((f"model ({student.name})", Path(student.runs[0].path) / layout.WEIGHTS))
    return listed


def next_steps(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return suggested next steps as (why, command)."""
    work, steps = shlex.quote(str(evaluation.work)), _other_thresholds(evaluation)
    for judged in list(evaluation.enhanced.values())[:1]:
        ledger = shlex.quote(str(Path(judged["folder"]) / layout.LEDGER_CSV))
        steps.append(("why each label was added", f"gzip -cd {ledger} | head"))
    steps += _another_seed(evaluation)
    if (evaluation.work / layout.RUNS).is_dir() and not evaluation.has_named_sets:
        again = evaluation.command or f"python -m pseudolabel.evaluate --work {work}"
        again += "" if "--overwrite" in again else " --overwrite"
        steps.append(("this page again, after more runs", again))
    return steps


def _other_thresholds(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return the command that enhances with the next threshold: the work folder's list, else the evaluated one."""
    work = evaluation.work
    untried = [rule for rule in THRESHOLDS if not (work / f"enhanced-{rule}").exists()]
    stores = [run.path for row in evaluation.rows for run in row.runs if Path(run.path).is_file()]
    if (work / layout.SCORES).exists() and (work / layout.LABELS).exists():
        words = ["--work", str(work)]
    elif evaluation.list_words is not None and not evaluation.has_named_sets and len(set(stores)) == 1:
        words = [] if work == DEFAULT_WORK else ["--work", str(work)]
        words += ["--labels", str(evaluation.lists[NOISY_SET]), "--scores", stores[0], *evaluation.list_words]
    else:
        return []
    command = shlex.join(["python", "-m", "pseudolabel.enhance", *words, "--threshold"])
    return [("other thresholds", f"{command} {untried[0]}")] if untried else []


def _another_seed(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return the training command of the headline's student, with the next seed."""
    student = evaluation.student
    last = student.runs[-1] if student else None
    if last is None or last.command is None or last.seed is None or not last.command.startswith("python -m "):
        return []
    words = [word for word in shlex.split(last.command) if word != "--overwrite"]
    if any(word == "--out" or word.startswith(("--out=", "--seed=")) for word in words):
        return []  # the next seed would need another output
    if "--seed" in words:
        at = words.index("--seed")
        words[at : at + 2] = []
    command = shlex.join([*words, "--seed", str(last.seed + 1)])
    return [(f"another seed of {student.name} (weak and others likewise), for a surer spread", command)]
