"""`enhance --explain CLIP`: what an enhancement does, or did, to one clip, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pseudolabel.enhance_inputs import (
    NO_FOLDER,
    SearchOptions,
    read_search,
    recorded_search,
    reviewed_run,
    search_paths,
)
from pseudolabel.errors import InputError
from pseudolabel.labels.enhancement import Enhancing
from pseudolabel.labels.explain import ADDED, NOT_ADDED, explained, explanation_lines
from pseudolabel.labels.ledger import ledger_pieces
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.layout import CLASS_ID, CLIP_ID, LEDGER
from pseudolabel.options import flags_of
from pseudolabel.ownership import read_run
from pseudolabel.records import Inputs, input_in_role, recorded_input

DECIDED = {
    "right": (ADDED, "a reviewer found it right"),
    "wrong": (NOT_ADDED, "a reviewer rejected it"),
    "unsure": (NOT_ADDED, "a reviewer was unsure"),
    "": (NOT_ADDED, "no reviewer decided"),
}


def explain_clip(options: SearchOptions, clip_id: str, enhanced: Path | None = None) -> str:
    """Return what enhancement with these options does to one clip, or did in an `enhanced` folder; write nothing."""
    if enhanced:
        return _explain_folder(clip_id, enhanced, options)
    table = _searched(options, clip_id)
    return "\n".join([_heading(options, table), *explanation_lines(table)])


def _searched(options: SearchOptions, clip_id: str) -> pa.Table:
    labels, scores, ontology, *others = read_search(options, Inputs())
    enhancing = Enhancing.begin(labels, scores, ontology, options.rules, *others)
    return explained(enhancing, clip_id, search_paths(options)[0])


def _heading(options: SearchOptions, table: pa.Table) -> str:
    labels, scores = search_paths(options)
    rule = f"{'threshold ' if options.rules.precision is None else ''}{options.rules.name}"
    compared = f"{rule}, {', '.join(map(str, scores))}" if scores else "by rule, without scores"
    return f"{table[CLIP_ID][0].as_py()}: {labels}, {compared}" if len(table) else f"{labels}, {compared}"


def _explain_folder(clip_id: str, folder: Path, options: SearchOptions) -> str:
    """Explain a clip of an existing enhancement, or of one that a reviewer has corrected."""
    _refuse_given(options, folder)
    record, decisions, made = read_run(folder), None, folder
    if reviewed := input_in_role(record, "ledger"):
        path = recorded_input(record, reviewed, folder, folder.absolute().parent)
        if path is None:
            raise InputError("the reviewed ledger was changed or removed", reviewed, NO_FOLDER)
        decisions, (made, _) = path, reviewed_run(path)
    options = recorded_search(made)
    table = _searched(options, clip_id)
    _refuse_other_ledger(table, made)
    if decisions:
        table = _decided(table, decisions)
    return "\n".join([f"{_heading(options, table)}, {folder}", *explanation_lines(table)])


def _refuse_given(options: SearchOptions, folder: Path) -> None:
    """Raise InputError if an option is given that the folder's run.json records."""
    plain = SearchOptions(work=options.work, overwrite=options.overwrite, strict=options.strict)
    for one in fields(SearchOptions):
        if getattr(options, one.name) != getattr(plain, one.name):
            place = _differing(options.rules, plain.rules) if one.name == "rules" else flags_of(one)[0]
            raise InputError(f"the run.json of {folder} records it", place, "Omit it, or --enhanced.")


def _differing(rules: EnhanceOptions, plain: EnhanceOptions) -> str:
    """Return the flag of the first rule that differs."""
    return next(flags_of(one)[0] for one in fields(rules) if getattr(rules, one.name) != getattr(plain, one.name))


def _refuse_other_ledger(table: pa.Table, folder: Path) -> None:
    """Raise InputError if the ledger of a folder adds other labels to the clip."""
    added = table.filter(pc.equal(table["outcome"], ADDED))[CLASS_ID].to_pylist()
    if listed := table[CLIP_ID][:1].to_pylist():
        of_clip = [row[CLASS_ID] for row in _rows_of(listed[0], folder / LEDGER, (CLIP_ID, CLASS_ID))]
        if of_clip != added:
            message = f"it adds {of_clip} to {listed[0]}, the same options now {added}"
            raise InputError(message, folder / LEDGER, "Enhance again with this version.")


def _rows_of(clip_id: str, ledger: Path, columns: Sequence[str]) -> list[dict]:
    pieces = ledger_pieces(ledger, columns, only=True)
    return [row for piece in pieces for row in piece.filter(pc.equal(piece[CLIP_ID], clip_id)).to_pylist()]


def _decided(table: pa.Table, reviewed: Path) -> pa.Table:
    """Return an explanation with a reviewer's decisions about the additions."""
    clip_id = table[CLIP_ID][0].as_py() if len(table) else ""
    rows = _rows_of(clip_id, reviewed, (CLIP_ID, CLASS_ID, "decision"))
    said = {row[CLASS_ID]: DECIDED[row["decision"].strip().lower()] for row in rows}
    explained_rows = [
        row | dict(zip(("outcome", "reason"), said.get(row[CLASS_ID], DECIDED[""]), strict=True))
        if row["outcome"] == ADDED
        else row
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(explained_rows, schema=table.schema)
