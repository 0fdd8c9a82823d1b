"""The results in words and tables: results.md, the terminal, and the text of the report."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

from pseudolabel.reports.evaluation import Evaluation, labels_word
from pseudolabel.reports.row_tables import further_tables, rows_table
from pseudolabel.reports.rows import STANDARD_ROWS, STUDENT_ROWS, TRAINED_ON, Spread
from pseudolabel.reports.tables import Table, aligned, count, folded, fraction, markdown, percent, plural, spread_text

PREFERRED = ("psl_2s", "psl_5s", "psl_10s", "enhanced")  # which student the headline speaks of: the first that was run
THRESHOLDS = ("mean", "25p", "10p", "5p")  # PSLA, Table IX
FEW = 3  # seeds a row below which nothing is said about chance
TYPE_WORDS = {"I": "Type I (missing child)", "II": "Type II (missing parent)", "I+II": "both types", "all": "all"}

RESULTS = "# Results"  # the first line of results.md


def headline(evaluation: Evaluation) -> str:
    """Return one sentence: what the student of the teacher's scores gains over the same training on weak labels."""
    against = evaluation.main
    clips = plural(_n_clips(evaluation, against), "clip")
    against_words = f"against the {labels_word(evaluation, against)} labels of {clips}"
    student = next((row for name in PREFERRED if (row := evaluation.row(name))), None)
    weak, ceiling = evaluation.row("weak"), evaluation.row("true")
    if student is None or weak is None:
        if not evaluation.rows:
            return "No run was evaluated."
        best = max(evaluation.rows, key=lambda row: row.spread(against, "map").mean)
        if len(evaluation.rows) == 1:
            return f"{best.name} reaches mAP {spread_text(best.spread(against, 'map'))} {against_words}."
        return f"Of {plural(len(evaluation.rows), 'row')}, {best.name} has the highest mAP {against_words}: " + (
            f"{spread_text(best.spread(against, 'map'))}."
        )
    ours, theirs = student.spread(against, "map"), weak.spread(against, "map")
    limit = f" (trained on true labels: {fraction(ceiling.spread(against, 'map').mean)})" if ceiling else ""
    return (
        f"A student trained on {TRAINED_ON[student.name]} reaches mAP {spread_text(ours)}, one trained on the weak "
        f"labels {spread_text(theirs)}{limit}, {against_words}: {_difference(ours, theirs)}."
    )


def _n_clips(evaluation: Evaluation, against: str) -> int:
    """Return how many clips a set has: with named sets each has its own."""
    if against in ("truth", "noisy") or not evaluation.rows:
        return evaluation.n_clips
    return int(evaluation.rows[0].runs[0].metrics[against]["n_clips"])


def _difference(ours: Spread, theirs: Spread) -> str:
    change = ours.mean - theirs.mean
    words = f"{'a gain' if change >= 0 else 'a loss'} of {fraction(abs(change))}"
    if ours.sd is None or theirs.sd is None:
        return f"{words}, from one seed a row, so chance is not ruled out"
    spread = math.hypot(ours.sd, theirs.sd)
    if min(ours.n, theirs.n) < FEW:
        return f"{words}; its spread over {min(ours.n, theirs.n)} seeds a row is {fraction(spread)}, too few to be sure"
    verdict = "more than" if abs(change) > spread else "within"
    return f"{words}, {verdict} the spread of that difference over seeds ({fraction(spread)})"


def enhancement_sentences(evaluation: Evaluation) -> list[str]:
    """Return, for each enhanced list, what was added and how much of it is right."""
    sentences = []
    for name, judged in evaluation.enhanced.items():
        by_error, everything = judged["by_error"], judged["by_error"]["all"]
        types = ", ".join(f"{kinds['added']:,} {TYPE_WORDS.get(kind, kind)}" for kind, kinds in by_error.items()
                          if kind != "all" and kinds["added"])  # fmt: skip
        more = "" if judged["added_percent"] is None else f" ({percent(judged['added_percent'])} more)"
        text = (
            f"{name} added {plural(judged['n_added'], 'label')}{more} of {plural(judged['n_classes_touched'], 'class')}"
            f" to {judged['n_clips_touched']:,} of {plural(judged['n_clips'], 'clip')}{': ' + types if types else ''}."
        )
        if "labels_before" in judged:
            before, after = judged["labels_before"], judged["labels_after"]
            text += (
                f" {everything['right']:,} of them are right (precision {fraction(everything['precision'])}), "
                f"of {everything['missing']:,} that were missing (recall {fraction(everything['recall'])}). "
                f"The list went from precision {fraction(before['precision'])} and recall {fraction(before['recall'])} "
                f"to {fraction(after['precision'])} and {fraction(after['recall'])}."
            )
            if judged.get("n_missing_not_proposed"):
                text += (
                    f" {judged['n_missing_not_proposed']:,} of the missing labels have no relative among the given "
                    "ones, so no rule could propose them."
                )
            if judged["n_clips_without_truth"]:
                text += f" {plural(judged['n_clips_without_truth'], 'clip')} without true labels are not judged."
        sentences.append(text)
    return sentences


def additions_table(evaluation: Evaluation) -> Table:
    """Return additions by list and type; a type that added nothing is shown: nothing is a finding."""
    known = any("labels_before" in judged for judged in evaluation.enhanced.values())
    header = ["list", "type", "added", *(["right", "missing", "precision", "recall"] if known else [])]
    lines = []
    for name, judged in evaluation.enhanced.items():
        for kind, figures in judged["by_error"].items():
            line = [name, TYPE_WORDS.get(kind, kind), f"{figures['added']:,}"]
            if known:
                line += [count([figures[key]] if key in figures else []) for key in ("right", "missing")]
                line += [fraction(figures.get(key)) for key in ("precision", "recall")]
            lines.append(line)
    return header, lines


def notes(evaluation: Evaluation) -> list[str]:
    """Return what must be known to read the table rightly."""
    texts = [_legend(evaluation), *evaluation.remarks]
    single = [row.name for row in evaluation.rows if len(row.runs) == 1]
    if single:
        texts.append(f"One run, so no spread: {', '.join(single)}.")
    names = {row.name for row in evaluation.rows}
    absent = [name for name in STANDARD_ROWS if name not in names]
    if absent and names & set(STANDARD_ROWS):
        texts.append(f"Not run at this scale: {', '.join(absent)}.")
    texts += _teacher_note(evaluation) + _last_evaluations(evaluation)
    for against in evaluation.against:
        scored = [run.metrics[against] for row in evaluation.rows for run in row.runs if against in run.metrics][:1]
        if scored and scored[0]["n_classes_scored"] < scored[0]["n_classes"]:
            n_left_out = scored[0]["n_classes"] - scored[0]["n_classes_scored"]
            texts.append(
                f"{plural(n_left_out, 'class')} of {scored[0]['n_classes']} without a positive clip in the "
                f"{labels_word(evaluation, against)} labels left out of mAP."
            )
    for row in evaluation.rows:
        seen = sum(row.known("n_seen"))
        if seen:
            texts.append(f"Caution: {row.name} was trained on {plural(seen, 'clip')} that it is evaluated on here.")
    if evaluation.missing:
        what = plural(len(evaluation.missing), "listed clip")
        texts.append(f"{what} without audio, scores or true labels: see missing.csv.")
    return texts


def _legend(evaluation: Evaluation) -> str:
    """Return what the headings of the table of rows mean."""
    keys = {key for _, key, _, _ in evaluation.columns()}
    word = "" if evaluation.metrics is not None else f", {labels_word(evaluation, evaluation.main)} labels"
    meanings = {
        "map": "mAP: macro mean of average precision",
        "auc": "AUC: macro mean of the area under the ROC curve",
        "d_prime": "d' from the macro AUC",
        "d_prime_class_mean": "mean d': mean of the d' of the classes",
        "lwlrap": "lwlrap: label-weighted label-ranking average precision",
        "map_at_3": "mAP@3: mean over clips of the precision at the first three answers",
        "accuracy": "accuracy: share of clips whose label has the highest score",
        "f1_micro": f"F1 at a score above .5{word}",
    }
    texts = [meaning for key, meaning in meanings.items() if key in keys]
    texts += ["mean ± standard deviation over seeds", "clips: training clips"]
    return "; ".join([*texts, "seconds: training time of one run, mean."])


def _last_evaluations(evaluation: Evaluation) -> list[str]:
    """Return the mean over the last five evaluations of each row that knows it: it owes nothing to a choice."""
    texts = []
    for metric, heading, digits in (("map", "mAP", 3), ("d-prime", "d'", 2)):
        known = [(row.base, [last[metric] for last in row.known("last_evaluations") if metric in last])
                 for row in evaluation.rows if row.scale == evaluation.rows[0].scale]  # fmt: skip
        found = ", ".join(f"{name} {spread_text(Spread.of(values), digits)}" for name, values in known if values)
        if found:
            texts.append(f"Mean over the last 5 evaluations, {heading} on the validation list: {found}.")
    return texts


def _teacher_note(evaluation: Evaluation) -> list[str]:
    teacher = evaluation.row("teacher")
    students = [row for row in evaluation.rows if row.name in STUDENT_ROWS]
    ours = sorted({n for row in students for n in row.known("n_train_clips")})
    theirs = sorted(set(teacher.known("n_train_clips"))) if teacher else []
    if not ours or not theirs or ours == theirs:
        return []
    return [
        f"The teacher was trained on another list than the students: {count(theirs)} clips, they on {count(ours)}. "
        "Part of what a student gains from its scores comes from those clips."
    ]


def where(evaluation: Evaluation) -> list[tuple[str, Path]]:
    """Return what lies where: report, labels, ledger, models."""
    out = evaluation.paths["out"]
    places = [("report", out / "report.html"), ("figures of every class", out / "per_class.csv")]
    for name, judged in evaluation.enhanced.items():
        folder = Path(judged["folder"])
        places += [(f"labels of {name}", folder / "labels.csv"), ("their ledger", folder / "ledger.csv.gz")]
    student = next((row for name in PREFERRED if (row := evaluation.row(name))), None)
    if student:
        places.append((f"model ({student.name})", Path(student.runs[0].path) / "model.safetensors"))
    return places


def next_steps(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return what to try next as (why, command)."""
    work = evaluation.paths["work"]
    quoted = shlex.quote(str(work))
    steps = []
    threshold = next((rule for rule in THRESHOLDS if f"enhanced-{rule}" not in evaluation.enhanced), None)
    if threshold and (work / "scores.h5").exists():
        steps.append(("other thresholds", f"python -m pseudolabel.enhance --work {quoted} --threshold {threshold}"))
    if evaluation.enhanced:
        folder = Path(next(iter(evaluation.enhanced.values()))["folder"])
        ledger = shlex.quote(str(folder / "ledger.csv.gz"))
        steps.append(("why each label was added", f"gzip -cd {ledger} | head"))
    steps += _another_seed(evaluation)
    if (work / "runs").is_dir() and evaluation.sets == ("noisy",):
        again = str(evaluation.paths.get("again") or f"python -m pseudolabel.evaluate --work {quoted}")
        again += "" if "--overwrite" in again else " --overwrite"
        steps.append(("this page again, after more runs", again))
    return steps


def _another_seed(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return the training command of the student that the headline speaks of, with the next seed."""
    student = next((row for name in PREFERRED if (row := evaluation.row(name))), None)
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


def results_markdown(evaluation: Evaluation) -> str:
    """Return results.md."""
    parts = [RESULTS, headline(evaluation)]
    if evaluation.enhanced:
        parts += ["## What enhancement added", *enhancement_sentences(evaluation)]
        parts.append(markdown(additions_table(evaluation)))
    if evaluation.rows:
        parts += ["## Teacher and students", markdown(rows_table(evaluation))]
        parts.append("\n".join(f"- {text}" for text in notes(evaluation)))
        for heading, table, remark in further_tables(evaluation):
            parts += [f"## {heading}", markdown(table), remark]
    parts += ["## Where it lies", "\n".join(f"- {what}: `{path}`" for what, path in where(evaluation))]
    steps = "\n".join(f"- {why}: `{command}`" for why, command in next_steps(evaluation))
    parts += ["## What to try next", steps] if steps else []
    return "\n\n".join(parts) + "\n"


def results_terminal(evaluation: Evaluation) -> str:
    """Return the same for a terminal, in aligned columns of about 100 characters."""
    import textwrap

    def wrapped(text: str, first: str = "") -> str:
        return textwrap.fill(text, 100, initial_indent=first, subsequent_indent=" " * len(first))

    parts = [wrapped(headline(evaluation))]
    if evaluation.enhanced:
        parts += [wrapped(text) for text in enhancement_sentences(evaluation)]
        parts.append(aligned(additions_table(evaluation)))
    if evaluation.rows:
        header, lines = rows_table(evaluation)
        narrow = [[cell.replace(" ± ", "±") for cell in line] for line in lines]
        header = ["params" if name == "parameters" else name for name in header]
        parts.append(folded((header, narrow)))
        parts.append("\n".join(wrapped(text, "- ") for text in notes(evaluation)))
        parts += [f"{heading}\n{folded(table)}\n{wrapped(remark)}"
                  for heading, table, remark in further_tables(evaluation)]  # fmt: skip
    places = where(evaluation)
    width = max(len(what) for what, _ in places)
    parts.append("\n".join(f"{what.ljust(width)}  {path}" for what, path in places))
    steps = "\n".join(f"  # {why}\n  {command}" for why, command in next_steps(evaluation))
    parts += [f"What to try next:\n{steps}"] if steps else []
    return "\n\n".join(parts)
