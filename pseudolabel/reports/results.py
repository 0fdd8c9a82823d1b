"""The results in words and one table: results.md, the terminal, and the text of the report."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pseudolabel.reports.rows import STANDARD_ROWS, STUDENT_ROWS, TRAINED_ON, Row, Spread

PREFERRED = ("psl_2s", "psl_5s", "psl_10s", "enhanced")  # which student the headline speaks of: the first that was run
THRESHOLDS = ("mean", "25p", "10p", "5p")  # PSLA, Table IX
FEW = 3  # seeds a row below which nothing is said about chance
TYPE_WORDS = {"I": "Type I (missing child)", "II": "Type II (missing parent)", "I+II": "both types", "all": "all"}

Table = tuple[list[str], list[list[str]]]


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation found; the reports are written from it alone.

    Args:
        rows: rows of the table, in its order.
        enhanced: folder name -> `judge_additions` of it, and its `folder`.
        n_clips: evaluated clips; `missing`: (clip id, reason) of those of the list that were left out.
        has_truth: whether true labels are known for the evaluated clips.
        paths: what the reader may want to open next: `work`, `out`, `labels`, `truth`.
    """

    rows: list[Row]
    enhanced: dict[str, dict]
    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    n_clips: int
    missing: list[tuple[str, str]]
    has_truth: bool
    paths: dict[str, Path | None] = field(default_factory=dict)

    def row(self, name: str) -> Row | None:
        """Return a row by name."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def main(self) -> str:
        """What the headline is measured against: `truth` where it is known."""
        return "truth" if self.has_truth else "noisy"


def fraction(value: float | None, digits: int = 3) -> str:
    """Return `.412`, `1.000`, `-.012`, or `-` where there is no number."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def spread_text(spread: Spread, digits: int = 3) -> str:
    """Return `.412 ± .010`, or the mean alone where one run gives no spread."""
    mean = fraction(spread.mean, digits)
    return mean if spread.sd is None or mean == "-" else f"{mean} ± {fraction(spread.sd, digits)}"


def count(values: Sequence[float]) -> str:
    """Return a count with thousands separators, a range where runs differ, `-` where it is unknown."""
    if not len(values):
        return "-"
    low, high = (f"{round(value):,}" for value in (min(values), max(values)))
    return low if low == high else f"{low}-{high}"


def plural(n: int, noun: str) -> str:
    """Return `1 clip`, `2 clips`, `2 classes`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}{'es' if noun.endswith('s') else 's'}"


def percent(value: float | None) -> str:
    """Return `12.3 %`."""
    return "-" if value is None else f"{value:.1f} %"


def labels_word(evaluation: Evaluation, against: str) -> str:
    """Return how the reader knows a set of labels: true, noisy, or given where nothing says how noisy they are."""
    return "true" if against == "truth" else "noisy" if evaluation.has_truth else "given"


def headline(evaluation: Evaluation) -> str:
    """Return one sentence: what the student of the teacher's scores gains over the same training on weak labels."""
    against = evaluation.main
    against_words = f"against the {labels_word(evaluation, against)} labels of {plural(evaluation.n_clips, 'clip')}"
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


def rows_table(evaluation: Evaluation) -> Table:
    """Return the table of rows: mAP and d' against each set of labels, F1 against the main one, and the cost."""
    sets = ["truth", "noisy"] if evaluation.has_truth else ["noisy"]
    header = ["row", "seeds"]
    for against in sets:
        word = labels_word(evaluation, against)
        header += [f"mAP {word}", f"d' {word}"]
        header += ["F1 micro", "F1 macro"] if against == evaluation.main else []
    lines = []
    for row in evaluation.rows:
        line = [row.name, str(len(row.runs))]
        for against in sets:
            line += [spread_text(row.spread(against, "map")), spread_text(row.spread(against, "d_prime"), 2)]
            if against == evaluation.main:
                line += [spread_text(row.spread(against, metric)) for metric in ("f1_micro", "f1_macro")]
        seconds = row.known("train_seconds")
        line += [count(row.known("n_train_clips")), count(row.known("n_parameters"))]
        lines.append([*line, f"{sum(seconds) / len(seconds):,.0f}" if seconds else "-"])
    return [*header, "clips", "parameters", "seconds"], lines


def notes(evaluation: Evaluation) -> list[str]:
    """Return what must be known to read the table rightly."""
    word = labels_word(evaluation, evaluation.main)
    texts = [
        f"mAP: macro mean of average precision; d' from the macro AUC; F1 at a score above .5, {word} labels; "
        "mean ± standard deviation over seeds; clips: training clips; seconds: training time of one run, mean."
    ]
    single = [row.name for row in evaluation.rows if len(row.runs) == 1]
    if single:
        texts.append(f"One run, so no spread: {', '.join(single)}.")
    names = {row.name for row in evaluation.rows}
    absent = [name for name in STANDARD_ROWS if name not in names]
    if absent and names & set(STANDARD_ROWS):
        texts.append(f"Not run at this scale: {', '.join(absent)}.")
    texts += _teacher_note(evaluation)
    for against in ("truth", "noisy"):
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
    if (work / "runs").is_dir():
        again = f"python -m pseudolabel.evaluate --work {quoted} --overwrite"
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


def aligned(table: Table) -> str:
    """Return a table in aligned columns for a terminal: first column left, the others right."""
    header, lines = table
    widths = [max(len(line[k]) for line in (header, *lines)) for k in range(len(header))]
    cells = [
        [cell.ljust(width) if k < _n_text(header) else cell.rjust(width) for k, (cell, width) in enumerate(pairs)]
        for pairs in (list(zip(line, widths, strict=True)) for line in (header, *lines))
    ]
    return "\n".join("  ".join(line).rstrip() for line in cells)


def markdown(table: Table) -> str:
    """Return a table as Markdown, padded so that it reads well as plain text too."""
    header, lines = table
    widths = [max(3, *(len(line[k]) for line in (header, *lines))) for k in range(len(header))]
    n_text = _n_text(header)

    def line_of(cells: list[str]) -> str:
        padded = [c.ljust(w) if k < n_text else c.rjust(w) for k, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if k < n_text else "-" * (width - 1) + ":" for k, width in enumerate(widths)]
    return "\n".join([line_of(header), f"| {' | '.join(rule)} |", *map(line_of, lines)])


def _n_text(header: list[str]) -> int:
    """Return how many of the first columns hold text."""
    return 2 if header[:2] == ["list", "type"] else 1


def results_markdown(evaluation: Evaluation) -> str:
    """Return results.md."""
    parts = ["# Results", headline(evaluation)]
    if evaluation.enhanced:
        parts += ["## What enhancement added", *enhancement_sentences(evaluation)]
        parts.append(markdown(additions_table(evaluation)))
    if evaluation.rows:
        parts += ["## Teacher and students", markdown(rows_table(evaluation))]
        parts.append("\n".join(f"- {text}" for text in notes(evaluation)))
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
        parts.append(aligned((header, narrow)))
        parts.append("\n".join(wrapped(text, "- ") for text in notes(evaluation)))
    places = where(evaluation)
    width = max(len(what) for what, _ in places)
    parts.append("\n".join(f"{what.ljust(width)}  {path}" for what, path in places))
    steps = "\n".join(f"  # {why}\n  {command}" for why, command in next_steps(evaluation))
    parts += [f"What to try next:\n{steps}"] if steps else []
    return "\n\n".join(parts)
