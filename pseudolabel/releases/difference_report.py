"""`release --diff A B`: two lists of any form are read, compared, told in lines and written as tables."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from pseudolabel.artefacts import whole_folder, write_csv, write_json
from pseudolabel.blocks import only_run
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.ledger import read_ledger
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.ownership import files_in, not_ours, refuse_foreign, refuse_input_as_output
from pseudolabel.progress import note
from pseudolabel.records import Inputs, run_record, write_run_record
from pseudolabel.releases.difference import Side, difference
from pseudolabel.releases.listing import values_of_their_kind

LEDGERS = ("added_labels.parquet", "ledger.parquet")  # of a release, of a folder that enhance wrote
DIFFERENCE = "difference.json"
WRITTEN = (DIFFERENCE, "by_class.csv", "violated_pairs.csv", "confirmed.csv")
TABLES = ("by_class", "violated_pairs")
N_NAMED = 5  # classes that the terminal names


def run_difference(args: argparse.Namespace, beside: Sequence[Path] = ()) -> None:
    """Compare the two lists of `args.diff`; with `args.out` also write difference.json and its tables.

    `args` further has vocabulary, ontology, format, unknown_labels and overwrite, as `enhance` has them.

    Args:
        beside: work folders that the lists belong to, where a vocabulary.csv may lie.

    Raises:
        InputError: a list that cannot be read, a label outside the vocabulary, no clip in common.
    """
    if args.out:
        refuse_foreign(args.out, args.overwrite, reason_not_to=_not_a_difference)
        refuse_input_as_output(args.out, (*args.diff, args.ontology, args.vocabulary))
    if args.diff[0].resolve() == args.diff[1].resolve():
        raise InputError("both are the same", args.diff[0], "Give two lists.")
    inputs = Inputs()
    vocabulary = Vocabulary.load(inputs.read(_vocabulary(args, beside)))
    sides = [_read_side(*named, vocabulary, args, inputs) for named in zip(_names(*args.diff), args.diff, strict=True)]
    for side in sides:
        if side.labels.left_out:
            named = first_few(
                f"{label} ({n:,})" for label, n in sorted(side.labels.left_out.items(), key=lambda item: -item[1])
            )
            note(f"{side.name}: labels that are not in the vocabulary {vocabulary.name!r} are left out: {named}")
    ontology = Ontology.load(inputs.read(args.ontology))
    with values_of_their_kind(args.diff[0], "it, or the other one, holds something of another kind"):
        found = difference(*sides, ontology)
    lines = difference_lines(found)
    if args.out:
        reason_not_to = _not_a_difference
        with only_run(args.out), whole_folder(args.out, args.overwrite, reason_not_to=reason_not_to) as folder:
            write_json(folder / DIFFERENCE, {name: found[name] for name in found if name not in TABLES})
            for name in TABLES:
                header = list(found[name][0]) if found[name] else ["list", "class_id", "missing", "clips"]
                rows = (["" if value is None else value for value in row.values()] for row in found[name])
                write_csv(folder / f"{name}.csv", header, rows)
            rows = ([name, *row.values()] for name, rows in found["confirmed"].items() for row in rows)
            write_csv(folder / "confirmed.csv", ("list", "additions", "in_both", "confirmed", "share"), rows)
            options = {name: getattr(args, name) for name in ("diff", "vocabulary", "format", "unknown_labels")}
            write_run_record(folder, run_record("release", options, inputs))
        lines.append(f"{args.out}: difference.json, by_class.csv, violated_pairs.csv, confirmed.csv")
    print("\n".join(lines))


def difference_lines(found: dict) -> list[str]:
    """Return what the terminal shows."""
    clips, labels, agreement = found["clips"], found["labels"], found["agreement"]
    lines = [
        f"{found['first']} -> {found['second']}",
        f"  clips      {clips['both']:>10,} in both, {clips['only_first']:,} only in the first, "
        f"{clips['only_second']:,} only in the second; labels of those in both:",
        f"  labels     {labels['first']:>10,} in the first ({labels['a_clip_first']:.2f} a clip), "
        f"{labels['second']:,} in the second ({labels['a_clip_second']:.2f})",
        f"  kept       {labels['kept']:>10,}",
        f"  added      {labels['added']:>10,}, of which the ontology implies "
        f"{labels['added_that_the_ontology_implies']:,} from the first list's labels: {_most(found, 'added')}",
        f"  removed    {labels['removed']:>10,}: {_most(found, 'removed')}",
        f"  agreement  {_shown(agreement['kappa']):>10} kappa, {_shown(agreement['kappa_of_classes'])} mean kappa of "
        f"the classes, {agreement['jaccard']:.3f} mean Jaccard, {100 * agreement['clips_alike']:.1f} % of clips alike",
    ]
    for name, counts in found["violations"].items():
        pairs = (row for row in found["violated_pairs"] if row["list"] == name)
        first = next((f"; most: {row['name']} without {row['missing_name']} ({row['clips']:,})" for row in pairs), "")
        lines.append(f"  ontology   {counts['labels']:>10,} ancestors of labels are missing from {counts['clips']:,} "
                     f"clips of {name}{first}")  # fmt: skip
    for name, rows in found["confirmed"].items():
        lines.append(f"  additions of {name} that the other list has, a second opinion:")
        lines += [
            f"    {row['additions']:<22} {row['confirmed']:>9,} of {row['in_both']:,} ({100 * row['share']:.1f} %)"
            for row in rows
        ]
    return lines


def _most(found: dict, change: str) -> str:
    """Return the classes that a change concerns most."""
    rows = sorted(found["by_class"], key=lambda row: -row[change])[:N_NAMED]
    return "; ".join(f"{row['name']} {row[change]:,}" for row in rows if row[change]) or "nothing"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _not_a_difference(folder: Path) -> str:
    """Return why a folder is not one that `--diff` wrote; empty where it is (earlier ones have no run.json)."""
    if folder.is_symlink() or not folder.is_dir():
        return "not a folder that release --diff wrote"
    there = files_in(folder)
    if there and DIFFERENCE not in there:
        return "not a folder that release --diff wrote"
    return "" if {*there} <= {*WRITTEN} else not_ours(folder, ("release",))


def _vocabulary(args: argparse.Namespace, beside: Sequence[Path]) -> str | Path:
    """Return the one that is asked for, else that of a release or beside the lists, else AudioSet's."""
    places = [*(path / "classes.csv" for path in args.diff), *(folder / "vocabulary.csv" for folder in beside)]
    return args.vocabulary or next((path for path in places if path.is_file()), "audioset")


def _names(first: Path, second: Path) -> list[str]:
    """Return the names of two files or folders, with as many folders above them as tell one from the other."""
    parts = [Path(os.path.abspath(path)).parts for path in (first, second)]
    n = next((n for n in range(1, max(map(len, parts))) if parts[0][-n:] != parts[1][-n:]), 0)
    return ["/".join(of_path[-n:]).replace("//", "/") for of_path in parts]


def _read_side(name: str, path: Path, vocabulary: Vocabulary, args: argparse.Namespace, inputs: Inputs) -> Side:
    if not path.is_dir():
        return Side(name, LabelTable.read(inputs.read(path), vocabulary, args.format, args.unknown_labels))
    if not (path / "labels.csv").is_file():
        raise InputError("there is no labels.csv", path, "Give a release, a folder that enhance wrote, or a list.")
    ledger = next((path / name for name in LEDGERS if (path / name).is_file()), None)
    labels = LabelTable.read(inputs.read(path / "labels.csv"), vocabulary, "csv", args.unknown_labels)
    return Side(name, labels, ledger and read_ledger(inputs.read(ledger)))
