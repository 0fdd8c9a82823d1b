"""Whether run.json and the documents of a release say what its files say: every figure is counted again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pseudolabel.errors import InputError
from pseudolabel.labels.additions import ERROR_NAMES
from pseudolabel.layout import MISSING, THRESHOLDS
from pseudolabel.releases import folder as files
from pseudolabel.releases.counts import count, count_by_class, read_threshold_table, weak_classes
from pseudolabel.releases.listing import GET_ANEW
from pseudolabel.releases.released import Released
from pseudolabel.releases.stated import verify_documents
from pseudolabel.scores.windows import CLIP, window_name
from pseudolabel.tables import read_csv, text_rows


def verify_facts(released: Released) -> str:
    """Count again what run.json states, and write the documents again from it."""
    folder, facts, place = released.folder, released.facts, released.folder / files.RECORD
    errors = tuple(facts.counts["added_by_type"])
    thresholds = read_threshold_table(folder / THRESHOLDS, released.original)
    by_class = count_by_class(released.original, released.added, errors, thresholds)
    counts = count(released.original, released.added, errors, len(released.missing))
    decisions = facts.rule.get("reviewed")
    if decisions is not None and decisions.get("right") != counts["added"]["labels_added"]:
        message = f"{decisions.get('right')} additions were found right, the ledger has {len(released.added.clips)}"
        raise InputError(message, place, GET_ANEW)
    scored = facts.rule.get("evidence") is not None and decisions is None
    found = {"counts": counts, "by_class": by_class, "weak_classes": weak_classes(by_class, scored, facts.precision)}
    for name, value in found.items():
        if _as_json(getattr(facts, name)) != _as_json(value):
            message = f"{name} are not what the files say: {_difference(getattr(facts, name), value)}"
            raise InputError(message, place, GET_ANEW)
    _same_columns(folder / files.CLASSES, by_class, ("name", "before", "added", "after"), "ontology_id")
    if thresholds:
        _same_columns(folder / THRESHOLDS, by_class, ("name", "scored_positives", "reason"), "threshold")
    if _header(folder / MISSING) != ["clip_id", "reason"]:
        raise InputError("its columns are not clip_id and reason", folder / MISSING, GET_ANEW)
    _verify_rule(released, errors)
    _verify_precision(released, by_class)
    needed = (counts["clips"], counts["labels_before"], counts["labels_after"], counts["added"]["labels_added"])
    texts = files.documents(facts)
    if verify_documents(folder, texts, facts.documents, facts.pseudolabel, needed):
        return "counts are true, and the documents say what run.json says"
    return (
        "counts are true, and the documents have the checksums of run.json and no other figures; their words are "
        f"those of pseudolabel {facts.pseudolabel}"
    )


def _same_columns(path: Path, by_class: tuple[Mapping, ...], columns: tuple[str, ...], beside: str) -> None:
    """Compare columns of a table of one row a class with what was counted; it has class ids, and one more column."""
    header = _header(path)
    if set(header) != {"class_id", beside, *columns}:
        raise InputError(f"its columns are {', '.join(header)}", path, GET_ANEW)
    for row, of_class in zip(read_csv(path), by_class, strict=True):
        if any(row[name] != str(of_class[name]) for name in columns):
            raise InputError("its counts are not what the labels say", f"{path}:{row['line']}", GET_ANEW)


def _verify_rule(released: Released, errors: tuple[str, ...]) -> None:
    """Compare what run.json says of the rule with the ledger: types, rounds, what was compared with thresholds."""
    rule, ledger, place = released.facts.rule, released.ledger, released.folder / files.RECORD
    if tuple(rule["errors"]) != errors:
        raise InputError(f"rule.errors are {list(rule['errors'])}, the counts are of {list(errors)}", place, GET_ANEW)
    last_round, rounds = pc.max(ledger["round"]).as_py() or 0, rule.get("rounds")
    if isinstance(rounds, int) and last_round > rounds:
        raise InputError(f"rule.rounds is {rounds}, the ledger has {last_round}", place, GET_ANEW)
    scored = ~np.isnan(released.added.scores)
    lengths = pc.fill_null(pc.cast(ledger["window_s"], pa.float64()), np.nan).to_numpy()[scored]
    found = {CLIP if np.isnan(length) else window_name(length) for length in np.unique(lengths).tolist()}
    if "reviewed" not in rule and found - {rule.get("evidence")}:
        message = f"rule.evidence is {rule.get('evidence')}, the ledger has {', '.join(sorted(found))}"
        raise InputError(message, place, GET_ANEW)


def _verify_precision(released: Released, by_class: tuple[Mapping, ...]) -> None:
    """Compare what judgements of the additions say with the ledger: its checksum, how many additions of each part."""
    facts, place = released.facts, f"{released.folder / files.RECORD}, precision"
    if facts.precision is None:
        return
    of_ledger = facts.precision.get("ledger_sha256")
    here = [facts.file(name)["sha256"] for name in (files.ADDED, files.ADDED_CSV)]
    if of_ledger is not None and of_ledger not in here:
        raise InputError("the judgements are of another ledger", place, GET_ANEW)
    types = np.bincount(released.added.types, minlength=len(ERROR_NAMES)).tolist()
    of_class = {row["class_id"]: row["added"] for row in by_class}
    sizes = {"error": dict(zip(ERROR_NAMES, types, strict=True)), "class_id": of_class}
    parts = [("overall", facts.precision["overall"], len(released.added.clips))]
    for key, part in (("error", "by_error"), ("class_id", "by_class")):
        parts += [(part, row, sizes[key].get(row[key], 0)) for row in facts.precision.get(part) or ()]
    for part, row, n in parts:
        if row.get("additions", n) != n:
            message = f"speaks of {row['additions']} additions, the ledger has {n}"
            raise InputError(message, f"{place}.{part}", GET_ANEW)


def _header(path: Path) -> list[str]:
    return next(text_rows(path), (1, []))[1]


def _as_json(value: object) -> str:
    """Return a value as text in which true, 1 and 1.0 differ."""
    return json.dumps(value, sort_keys=True)


def _difference(stated: object, found: object) -> str:
    """Return where two values of JSON first differ, in words."""
    if isinstance(stated, Mapping) and isinstance(found, Mapping):
        for key in [*found, *stated]:
            if _as_json(stated.get(key)) != _as_json(found.get(key)):
                return f"{key} " + _difference(stated.get(key), found.get(key))
    if isinstance(stated, list | tuple) and isinstance(found, list | tuple) and len(stated) == len(found):
        pairs = zip(stated, found, strict=True)
        return next(_difference(one, two) for one, two in pairs if _as_json(one) != _as_json(two))
    return f"{str(stated)[:60]} instead of {str(found)[:60]}"
