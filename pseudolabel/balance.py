"""Measure how uneven the classes of a label list are, and what balancing would do.

    python -m pseudolabel.balance
    python -m pseudolabel.balance --labels balanced_train_segments.csv unbalanced_train_segments.csv.xz --rule max
    python -m pseudolabel.balance --labels dev.csv --enhanced enhanced-25p --validation-clips 5

Writes into WORK/balance/: statistics.csv (one row per list), classes.csv (count and prior of each class), betas.csv
(oversampling by Moore et al.'s max rule, one row per exponent beta), all of them together as balance.json, as text in
balance.txt and as a figure in balance.png; run.json. On request: weights.csv (--rule sum, PSLA's rule) or factors.csv
(--rule max), also for each enhanced list; validation.csv and training.csv (--validation-clips).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pseudolabel import dry_run, layout
from pseudolabel.artefacts import whole_folder, write_csv, write_json, write_text
from pseudolabel.blocks import only_run
from pseudolabel.cli import default_output, needed_file, read_labels, vocabulary_source
from pseudolabel.command import Command, run_command
from pseudolabel.errors import ClipMismatch, InputError, first_few
from pseudolabel.formatting import plural
from pseudolabel.labels.balancing import (
    MOORE_BETAS,
    Oversampled,
    balanced_weights,
    beta_table,
    class_counts,
    gini,
    imbalance_ratio,
    label_cardinality,
    max_rule_weights,
    priors,
)
from pseudolabel.labels.splits import held_out_rows
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import LABELS, RUN, VALIDATION
from pseudolabel.options import COUNT, NON_NEGATIVE, SEED, ListOptions, VerbOptions, option
from pseudolabel.ownership import refuse_foreign, refuse_input_as_output
from pseudolabel.plan_checks import check_lists, check_vocabulary
from pseudolabel.records import Inputs, run_record, write_run_record

GIVEN = "labels"  # name of the list as given, before enhancement
TRAINING = "training.csv"
LISTED = {  # table of lists: heading -> (key, format)
    "list": ("list", ""),
    "clips": ("clips", ","),
    "labels": ("labels", ","),
    "a clip": ("label_cardinality", ".3f"),
    "classes": ("classes", ","),
    "most": ("most_frequent_clips", ","),
    "rarest": ("rarest_clips", ","),
    "ratio": ("imbalance_ratio", ",.0f"),
    "Gini": ("gini", ".3f"),
    "usual form": ("gini_usual", ".3f"),
}
OVERSAMPLED = {  # the same for the table over beta
    "beta": ("beta", "g"),
    "ratio": ("imbalance_ratio", ",.0f"),
    "Gini": ("gini", ".3f"),
    "usual form": ("gini_usual", ".3f"),
    "rows": ("rows", ","),
    "times": ("times", ".2f"),
    "largest factor": ("largest_factor", ","),
    "rarest: 1 in": ("one_in", ",.1f"),
}
LACKING = {
    "classes_without_clips": "classes without a clip, left out",
    "clips_without_labels": "clips without a label",
}
LONG_EPOCH = 10  # times the number of clips: beyond this, repeating clips costs more than drawing them by weight


@dataclass(frozen=True, kw_only=True)
class BalanceOptions(VerbOptions, ListOptions):
    """Which lists to measure, and what to write beside the tables."""

    labels: tuple[Path, ...] = option((), "label lists, taken together", metavar="LIST", file=LABELS)
    enhanced: tuple[Path, ...] = option(
        (),
        "the same clips enhanced, lists or folders (default: WORK/enhanced-*, none with --labels)",
        metavar="LIST",
    )
    betas: tuple[float, ...] = option(MOORE_BETAS, "exponents of the table", NON_NEGATIVE, metavar="B")
    rule: tuple[str, ...] = option(
        (),
        "write per clip: sum, PSLA's sum rule: weights.csv; max, Moore et al.'s max rule with --beta: factors.csv",
        choices=("sum", "max"),
    )
    beta: float = option(
        0.3, "exponent of factors.csv (default: 0.3, best d' in the paper)", NON_NEGATIVE, needs="rule=max"
    )
    validation_clips: int | None = option(
        None,
        "also hold out a validation list with at least N clips of each class (the paper: 5)",
        COUNT,
        flag="--validation-clips --hold-out",
        metavar="N",
    )
    seed: int = option(0, "which clips are held out (default: 0)", SEED, needs="validation_clips")
    out: Path | None = option(None, "folder to write (default: WORK/balance)")

    @property
    def named(self) -> tuple[Path, ...]:
        """The files and folders that the options name."""
        return (*self.labels, *self.enhanced)

    @property
    def folder(self) -> Path:
        """The folder to write."""
        return default_output(self, "balance", *self.named)

    @property
    def lists(self) -> tuple[Path, ...]:
        """The label lists to measure."""
        return self.labels or (needed_file(self, None, LABELS, "--labels", *self.enhanced),)


def balance(options: BalanceOptions) -> str:
    """Read the lists and write the folder; return the tables as text."""
    out = options.folder
    with only_run(out):
        refuse_foreign(out, options.overwrite, "balance")
        return _measure(options, out)


def _measure(options: BalanceOptions, out: Path) -> str:
    inputs, paths, enhanced = Inputs(), options.lists, options.enhanced
    if not options.named:
        enhanced = sorted(path.parent for path in options.work.glob(f"enhanced-*/{LABELS}"))
    vocabulary = Vocabulary.load(inputs.read(vocabulary_source(options, *options.named)))
    for path in [*paths, *(path / LABELS if path.is_dir() else path for path in enhanced)]:
        inputs.read(path)
    refuse_input_as_output(out, inputs.sha256)
    labels = read_labels(options, paths, vocabulary, own=not options.labels)
    _refuse_unlabelled(labels, paths[0])
    lists = {GIVEN: labels, **read_enhanced(enhanced, labels, options)}
    with whole_folder(out, options.overwrite, "balance") as folder:
        lines = [write_balance(folder, lists, options.betas)]
        files = write_drawing(folder, lists, options.rule, options.beta)
        if options.validation_clips:
            lines.append("\n" + write_split(folder, labels, options.validation_clips, options.seed))
        record = {**run_record("balance", asdict(options), inputs, options.seed), "labels_left_out": labels.left_out}
        write_run_record(folder, record)
    written = ", ".join(["statistics.csv", layout.CLASSES, "betas.csv", "balance.png", *files])
    return "\n".join(lines) + f"\n\nwrote {out}: {written}"


def plan(options: BalanceOptions) -> str:
    """Check what can be checked beforehand; return what a dry run says about the folder."""
    out, paths, enhanced = options.folder, options.lists, options.enhanced
    dry_run.refuse_absent(*paths, *enhanced)
    dry_run.refuse_folder(out, options.overwrite, "balance")
    check_vocabulary(vocabulary_source(options, *options.named))
    refuse_input_as_output(out, [*paths, *enhanced])
    check_lists(options.format if options.labels else None, *paths)
    check_lists(None, *names_of(enhanced).values())
    dry_run.promise(out, RUN, *([VALIDATION, TRAINING] if options.validation_clips else []))
    return f"would write {out}: how uneven the classes of {first_few(paths)} are"


# ---- lists ------------------------------------------------------------------------------------------------------


def names_of(paths: Sequence[Path]) -> dict[str, Path]:
    """Return {list name: file} for label lists or folders written by `enhance`; a labels.csv takes its folder's name.

    Raises:
        InputError: two lists have the same name.
    """
    files: dict[str, Path] = {}
    for path in paths:
        file = path / LABELS if path.is_dir() else path
        name = file.resolve().parent.name if file.name == LABELS else file.name.partition(".")[0]
        if name in files or name == GIVEN:
            raise InputError(f"two lists are called {name!r}", path, "Rename the file or its folder.")
        files[name] = file
    return files


def read_enhanced(paths: Sequence[Path], labels: LabelTable, options: ListOptions) -> dict[str, LabelTable]:
    """Return {list name: enhanced labels} for the same clips, in the order of `labels`.

    Args:
        paths: label lists, or folders written by `enhance`.
        options: how to treat unknown labels.

    Raises:
        ClipMismatch: a list lacks clips of `labels`, or has others.
    """
    tables = {}
    for name, file in names_of(paths).items():
        table = read_labels(options, file, labels.vocabulary, own=True)
        _refuse_unlabelled(table, file)
        others = [clip_id for clip_id in table.clip_ids if clip_id not in labels.row_of]
        absent = [clip_id for clip_id in labels.clip_ids if clip_id not in table.row_of]
        if others or absent:
            named = f"{len(absent)} are missing, {len(others)} are others: {first_few(absent or others)}"
            raise ClipMismatch(f"not the clips of --labels: {named}", file, "Give the enhanced list of the same clips.")
        tables[name] = table if table.clip_ids == labels.clip_ids else table.select(labels.clip_ids)
    return tables


def _refuse_unlabelled(labels: LabelTable, path: Path) -> None:
    if not labels.matrix.nnz:
        raise InputError("not one clip has a label", path, "Give a list with labels.")


# ---- figures and files ------------------------------------------------------------------------------------------


def statistics(labels: LabelTable) -> dict[str, object]:
    """Return the balance of a label list: a row of statistics.csv."""
    counts, vocabulary = class_counts(labels.matrix), labels.vocabulary
    most, rarest = int(counts.argmax()), int(np.where(counts > 0, counts, counts.max() + 1).argmin())
    return {
        "clips": len(labels),
        "clips_without_labels": int((np.diff(labels.matrix.indptr) == 0).sum()),
        "labels": labels.matrix.nnz,
        "label_cardinality": label_cardinality(labels.matrix),
        "classes": int((counts > 0).sum()),
        "classes_without_clips": int((counts == 0).sum()),
        "most_frequent": vocabulary.names[most],
        "most_frequent_clips": int(counts[most]),
        "rarest": vocabulary.names[rarest],
        "rarest_clips": int(counts[rarest]),
        "imbalance_ratio": imbalance_ratio(counts),
        "gini": gini(counts),
        "gini_usual": gini(counts, "usual"),
    }


def text_report(figures: dict[str, dict], tables: dict[str, list[Oversampled]]) -> str:
    """Return the tables as text: first the lists, then one table over beta for each list."""
    parts = [_aligned(LISTED, ({"list": name, **row} for name, row in figures.items()))]
    for name, row in figures.items():
        lacking = "".join(f"; {what}: {row[key]:,}" for key, what in LACKING.items() if row[key])
        parts.append(f"{name}: most frequent {row['most_frequent']!r}, rarest {row['rarest']!r}{lacking}")
    for name, table in tables.items():
        parts.append(f"\n{name}, oversampled by the max rule (Moore et al. 2023)")
        parts.append(_aligned(OVERSAMPLED, (row._asdict() for row in table)))
        if all(row.largest_factor == 1 for row in table):
            parts.append("At none of these exponents does the rule repeat a clip.")
        if long := [row.beta for row in table if row.times > LONG_EPOCH]:
            draw = "draw with the weights of factors.csv instead of repeating clips."
            parts.append(f"From beta {min(long):g} on, {draw}")
    return "\n".join(parts)


def _aligned(columns: dict[str, tuple[str, str]], rows: Iterable[dict]) -> str:
    """Return rows as text in aligned columns; `columns` is {heading: (key, format)}."""
    from pseudolabel.reports.text_tables import Table

    return Table([*columns], [[format(row[key], form) for key, form in columns.values()] for row in rows]).aligned()


def write_balance(folder: Path, lists: dict[str, LabelTable], betas: Sequence[float]) -> str:
    """Write the tables, balance.json, balance.txt and balance.png; return the text."""
    from pseudolabel.reports.figures import balance_figure

    vocabulary = lists[GIVEN].vocabulary
    figures = {name: statistics(labels) for name, labels in lists.items()}
    tables = {name: beta_table(labels.matrix, betas) for name, labels in lists.items()}
    counts = {name: class_counts(labels.matrix) for name, labels in lists.items()}
    shares = {name: priors(labels.matrix) for name, labels in lists.items()}

    write_csv(
        folder / "statistics.csv", ("list", *figures[GIVEN]), ((name, *row.values()) for name, row in figures.items())
    )
    write_csv(
        folder / "betas.csv", ("list", *Oversampled._fields), ((name, *row) for name in tables for row in tables[name])
    )
    header, columns = ["class_id", "name"], [vocabulary.class_ids, vocabulary.names]
    for name in lists:
        suffix = "" if name == GIVEN else f"_{name}"
        header += [f"clips{suffix}", f"prior{suffix}"]
        columns += [counts[name].tolist(), shares[name].tolist()]
    write_csv(folder / layout.CLASSES, header, zip(*columns, strict=True))
    text = text_report(figures, tables)
    write_text(folder / "balance.txt", text + "\n")
    (folder / "balance.png").write_bytes(balance_figure(shares, tables).png)
    write_json(
        folder / "balance.json",
        {
            "vocabulary": vocabulary.name,
            "rule_of_betas": "max",
            "lists": {name: {**figures[name], "betas": [row._asdict() for row in tables[name]]} for name in lists},
        },
    )
    return text


def write_drawing(folder: Path, lists: dict[str, LabelTable], rules: Sequence[str], beta: float) -> list[str]:
    """Write the weight or factor of every clip of every list; return the file names."""
    names = []
    for name, labels in lists.items():
        suffix = "" if name == GIVEN else f"-{name}"
        if "sum" in rules:
            names.append(f"weights{suffix}.csv")
            weights = balanced_weights(labels.matrix).tolist()
            write_csv(folder / names[-1], ("clip_id", "weight"), zip(labels.clip_ids, weights, strict=True))
        if "max" in rules:
            names.append(f"factors{suffix}.csv")
            weights = max_rule_weights(labels.matrix, beta, "--beta")
            columns = (labels.clip_ids, np.rint(weights).astype(np.int64).tolist(), weights.tolist())
            write_csv(folder / names[-1], ("clip_id", "factor", "weight"), zip(*columns, strict=True))
    return names


def write_split(folder: Path, labels: LabelTable, min_clips: int, seed: int) -> str:
    """Write validation.csv, and training.csv with the other clips; return a summary."""
    drawn = held_out_rows(labels, min_clips, seed)
    rest = np.setdiff1d(np.arange(len(labels)), drawn, assume_unique=True)
    for name, rows in ((VALIDATION, drawn), (TRAINING, rest)):
        clip_ids = tuple(labels.clip_ids[row] for row in rows.tolist())
        LabelTable(clip_ids, labels.matrix[rows], labels.vocabulary).write(folder / name)
    held, left = class_counts(labels.matrix[drawn]), class_counts(labels.matrix[rest])
    emptied = [labels.vocabulary.names[k] for k in np.flatnonzero((held > 0) & (left == 0))]
    lost = f"; {plural(len(emptied), 'class')} without a clip in training.csv: {first_few(emptied)}" if emptied else ""
    return (
        f"validation.csv: {len(drawn):,} clips, at least {min_clips} of each class, "
        f"ratio {imbalance_ratio(held):,.0f}, Gini {gini(held):.3f}; training.csv: the other {len(rest):,}{lost}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb."""
    command = Command(BalanceOptions, lambda options: print(balance(options)), plan)
    return run_command("balance", __doc__, command, argv)


if __name__ == "__main__":
    raise SystemExit(main())
