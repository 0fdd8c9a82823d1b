"""The results in words: results.md, the terminal, and the sentences of the report."""

from __future__ import annotations

import math
import shlex
import textwrap
from pathlib import Path

from pseudolabel.formatting import fraction, percent, plural
from pseudolabel.reports.evaluation import NOISY, TRUTH, Evaluation
from pseudolabel.reports.result_tables import TYPE_WORDS, additions_table, further_tables, rows_table
from pseudolabel.reports.rows import STANDARD_ROWS, STUDENT_ROWS, TRAINED_ON, Row, Spread
from pseudolabel.reports.text_tables import Table, count_range
from pseudolabel.scores.metrics import METRICS, metrics_of
from pseudolabel.templates import render

PREFERRED = ("psl_2s", "psl_5s", "psl_10s", "enhanced")  # the headline is about the first of these that was run
THRESHOLDS = ("mean", "25p", "10p", "5p")  # PSLA, Table IX
FEW = 3  # seeds a row below which nothing is said about chance
TERMINAL_WIDTH = 100

RESULTS_HEAD = "# Results"  # the first line of results.md


def contents(evaluation: Evaluation) -> dict[str, object]:
    """Return what results.md and report.html are filled with."""
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
        for further in further_tables(evaluation):
            parts.append(f"{further.heading}\n{further.table.folded()}\n{wrapped(further.remark)}")
    listed = files(evaluation)
    width = max(len(what) for what, _ in listed)
    parts.append("\n".join(f"{what.ljust(width)}  {path}" for what, path in listed))
    steps = "\n".join(f"  # {why}\n  {command}" for why, command in next_steps(evaluation))
    parts += [f"What to try next:\n{steps}"] if steps else []
    return "\n\n".join(parts)


def _narrow(table: Table) -> Table:
    header = ["params" if name == "parameters" else name for name in table.header]
    return Table(header, [[cell.replace(" ± ", "±") for cell in line] for line in table.lines], table.n_text)


def _student(evaluation: Evaluation) -> Row | None:
    """Return the row that the headline is about."""
    return next((row for name in PREFERRED if (row := evaluation.row(name))), None)


def headline(evaluation: Evaluation) -> str:
    """Return one sentence: what the student of the teacher's scores gains over the same training on weak labels."""
    student, weak, ceiling = _student(evaluation), evaluation.row("weak"), evaluation.row("true")
    if not evaluation.rows:
        return "No run was evaluated."
    against = evaluation.main
    clips = f"against the {evaluation.word(against)} labels of {plural(_n_clips(evaluation, against), 'clip')}"
    if student is None or weak is None:
        best = max(evaluation.rows, key=lambda row: row.spread(against, "map").mean)
        value = best.spread(against, "map").text()
        if len(evaluation.rows) == 1:
            return f"{best.name} reaches mAP {value} {clips}."
        return f"Of {plural(len(evaluation.rows), 'row')}, {best.name} has the highest mAP {clips}: {value}."
    ours, theirs = student.spread(against, "map"), weak.spread(against, "map")
    limit = f" (trained on true labels: {fraction(ceiling.spread(against, 'map').mean)})" if ceiling else ""
    return (
        f"A student trained on {TRAINED_ON[student.name]} reaches mAP {ours.text()}, one trained on the weak labels "
        f"{theirs.text()}{limit}, {clips}: {_difference(ours, theirs)}."
    )


def _n_clips(evaluation: Evaluation, against: str) -> int:
    """Return how many clips a set has: with named sets each has its own."""
    if against in (TRUTH, NOISY):
        return evaluation.n_clips
    return int(evaluation.rows[0].runs[0].metrics[against]["n_clips"])


def _difference(ours: Spread, theirs: Spread) -> str:
    change = ours.mean - theirs.mean
    words = f"{'a gain' if change >= 0 else 'a loss'} of {fraction(abs(change))}"
    if ours.sd is None or theirs.sd is None:
        return f"{words}, from one seed a row, so chance is not ruled out"
    spread, n_seeds = math.hypot(ours.sd, theirs.sd), min(ours.n, theirs.n)
    if n_seeds < FEW:
        return f"{words}; its spread over {n_seeds} seeds a row is {fraction(spread)}, too few to be sure"
    verdict = "more than" if abs(change) > spread else "within"
    return f"{words}, {verdict} the spread of that difference over seeds ({fraction(spread)})"


def enhancement_sentences(evaluation: Evaluation) -> list[str]:
    """Return, for each enhanced list, what was added and how much of it is right."""
    return [_enhancement(name, judged) for name, judged in evaluation.enhanced.items()]


def _enhancement(name: str, judged: dict) -> str:
    types = ", ".join(
        f"{row['added']:,} {TYPE_WORDS.get(error, error)}"
        for error, row in judged["by_error"].items()
        if error != "all" and row["added"]
    )
    more = "" if judged["added_percent"] is None else f" ({percent(judged['added_percent'])} more)"
    text = (
        f"{name} added {plural(judged['n_added'], 'label')}{more} of {plural(judged['n_classes_touched'], 'class')}"
        f" to {judged['n_clips_touched']:,} of {plural(judged['n_clips'], 'clip')}{': ' + types if types else ''}."
    )
    if "labels_before" not in judged:
        return text
    overall, before, after = judged["by_error"]["all"], judged["labels_before"], judged["labels_after"]
    text += (
        f" {overall['right']:,} of them are right (precision {fraction(overall['precision'])}), "
        f"of {overall['missing']:,} that were missing (recall {fraction(overall['recall'])}). "
        f"The list went from precision {fraction(before['precision'])} and recall {fraction(before['recall'])} "
        f"to {fraction(after['precision'])} and {fraction(after['recall'])}."
    )
    if n_hopeless := judged.get("n_missing_not_proposed"):
        text += (
            f" {n_hopeless:,} of the missing labels have no relative among the given ones, so no rule could propose "
            "them."
        )
    if judged["n_clips_without_truth"]:
        text += f" {plural(judged['n_clips_without_truth'], 'clip')} without true labels are not judged."
    return text


def notes(evaluation: Evaluation) -> list[str]:
    """Return what a reader of the table of rows must know."""
    texts = [_legend(evaluation), *evaluation.remarks]
    single = [row.name for row in evaluation.rows if len(row.runs) == 1]
    if single:
        texts.append(f"One run, so no spread: {', '.join(single)}.")
    names = {row.name for row in evaluation.rows}
    absent = [name for name in STANDARD_ROWS if name not in names]
    if absent and names & set(STANDARD_ROWS):
        texts.append(f"Not run at this scale: {', '.join(absent)}.")
    texts += _teacher_note(evaluation) + _last_evaluations(evaluation) + _unscored_classes(evaluation)
    for row in evaluation.rows:
        if n_seen := sum(row.recorded("n_seen")):
            texts.append(f"Caution: {row.name} was trained on {plural(n_seen, 'clip')} that it is evaluated on here.")
    if evaluation.missing:
        listed = plural(len(evaluation.missing), "listed clip")
        texts.append(f"{listed} without audio, scores or true labels: see missing.csv.")
    return texts


def _legend(evaluation: Evaluation) -> str:
    """Return what the headings of the table of rows mean."""
    columns = evaluation.columns()
    shown = dict.fromkeys(column.metric for column in columns)
    texts = [f"{metric.heading}: {metric.meaning}" for metric in METRICS.values() if metric in shown]
    if any(column.heading == column.metric.heading for column in columns):
        texts.append(f"F1 against the {evaluation.word(evaluation.main)} labels")
    texts += ["mean ± standard deviation over seeds", "clips: training clips"]
    return "; ".join([*texts, "seconds: training time of one run, mean."])


def _last_evaluations(evaluation: Evaluation) -> list[str]:
    """Return the mean over the last five evaluations of each row that has it: no choice of an epoch improves it."""
    texts = []
    rows = [row for row in evaluation.rows if row.scale == evaluation.rows[0].scale]
    for option in ("map", "d-prime"):
        metric = metrics_of(option)[0]
        means = [(row.base, row.last_evaluations().get(option)) for row in rows]
        listed = ", ".join(f"{name} {mean.text(metric.digits)}" for name, mean in means if mean)
        if listed:
            texts.append(f"Mean over the last 5 evaluations, {metric.heading} on the validation list: {listed}.")
    return texts


def _teacher_note(evaluation: Evaluation) -> list[str]:
    teacher = evaluation.row("teacher")
    students = [row for row in evaluation.rows if row.name in STUDENT_ROWS]
    ours = sorted({n for row in students for n in row.recorded("n_train_clips")})
    theirs = sorted(set(teacher.recorded("n_train_clips"))) if teacher else []
    if not ours or not theirs or ours == theirs:
        return []
    return [
        f"The teacher was trained on another list than the students: {count_range(theirs)} clips, they on "
        f"{count_range(ours)}. Part of what a student gains from its scores comes from those clips."
    ]


def _unscored_classes(evaluation: Evaluation) -> list[str]:
    texts = []
    runs = [run for row in evaluation.rows for run in row.runs]
    for against in evaluation.measured_against:
        metrics = next(run.metrics[against] for run in runs if against in run.metrics)
        n_left_out = metrics["n_classes"] - metrics["n_classes_scored"]
        if n_left_out:
            texts.append(
                f"{plural(n_left_out, 'class')} of {metrics['n_classes']} without a positive clip in the "
                f"{evaluation.word(against)} labels left out of mAP."
            )
    return texts


def files(evaluation: Evaluation) -> list[tuple[str, Path]]:
    """Return what a reader may open next: report, labels, ledgers, model."""
    out = evaluation.out
    listed = [("report", out / "report.html"), ("metrics of every class", out / "per_class.csv")]
    for name, judged in evaluation.enhanced.items():
        folder = Path(judged["folder"])
        listed += [(f"labels of {name}", folder / "labels.csv"), ("their ledger", folder / "ledger.csv.gz")]
    if student := _student(evaluation):
        listed.append((f"model ({student.name})", Path(student.runs[0].path) / "model.safetensors"))
    return listed


def next_steps(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return what to try next as (why, command)."""
    work, steps = shlex.quote(str(evaluation.work)), []
    threshold = next((rule for rule in THRESHOLDS if f"enhanced-{rule}" not in evaluation.enhanced), None)
    if threshold and (evaluation.work / "scores.h5").exists():
        steps.append(("other thresholds", f"python -m pseudolabel.enhance --work {work} --threshold {threshold}"))
    for judged in list(evaluation.enhanced.values())[:1]:
        ledger = shlex.quote(str(Path(judged["folder"]) / "ledger.csv.gz"))
        steps.append(("why each label was added", f"gzip -cd {ledger} | head"))
    steps += _another_seed(evaluation)
    if (evaluation.work / "runs").is_dir() and not evaluation.has_named_sets:
        again = evaluation.command or f"python -m pseudolabel.evaluate --work {work}"
        again += "" if "--overwrite" in again else " --overwrite"
        steps.append(("this page again, after more runs", again))
    return steps


def _another_seed(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return the training command of the student that the headline is about, with the next seed."""
    student = _student(evaluation)
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
