"""Check that run.json and the documents of a release agree with its files, whichever version wrote them.

Every figure in run.json is counted again from the files. A document of this version must have exactly the bytes that
this version writes from run.json. A document of another version must have the checksum in run.json, and its figures
must be true: every line with a digit must have the figures of a line that this version writes, in the same order (a row
of a table: those of the row with the same first cell); the lines on licence, version and title must be the same, and no
other web address may be named. What machines read (croissant.json without its free texts, the header of README.md) and
the sections of README.md on how labels were added, which, and how many are right must be as this version writes them:
other wording may be true, but cannot be compared, so it is refused. Other sentences without figures are not compared: a
release is not signed, so whoever can change all of its files can also change what run.json says about them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pseudolabel import __version__, layout
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.additions import ERROR_NAMES
from pseudolabel.layout import MISSING, THRESHOLDS
from pseudolabel.records import sha256
from pseudolabel.releases import folder as files
from pseudolabel.releases.counts import OF_GUESSES, count, count_by_class, read_threshold_table, weak_classes
from pseudolabel.releases.facts import Document, Guesses, OfClass, Rule
from pseudolabel.releases.listing import GET_AGAIN
from pseudolabel.releases.released import Released
from pseudolabel.releases.tables import is_earlier
from pseudolabel.scores.windows import CLIP, window_name
from pseudolabel.tables import parse_json, read_csv, text_rows

FEWER = re.compile(r"\d+ labelled clips with scores, fewer than (\d{1,9})")
FIGURE = re.compile(r"\S*\d\S*")
MARKS = "*_`|()[]{}<>,.;:!?\"'"  # around a figure
CELLS = re.compile(r"(?<!\\)\|")
SAME = (  # beginnings of lines that every version words the same way
    "# ", "license:", "title:", "version:", "date-released:", "url:", "family-names:", "given-names:", "name:",
    "SPDX-License-Identifier:", '"license":', '"version":', '"alternateName":',
)  # fmt: skip
ADDRESS = re.compile(r"(?i)(?:[\w&;:]*\\?/\\?/|www\.)[^\s\"'<>)\]}`|]+")
FREE = ("description", "citeAs")  # texts of croissant.json that a version may word differently
WORD_BY_WORD = ("## How the labels were added", "## What was added", "## How many additions are right")
SAME_MEAN = 1e-6
VERSION = re.compile(r"[\w.+!-]{1,80}")
MOST_LARGER, MOST_BYTES = 4, 1 << 16  # how much longer than this version's a document may be, as a factor and in bytes
Signature = tuple[str, tuple[str, ...]]  # first cell of a table's row, figures


def verify_facts(released: Released) -> str:
    """Count again what run.json states, and write the documents again from it."""
    folder, facts, place = released.folder, released.facts, released.folder / files.RECORD
    errors = tuple(facts.counts.added_by_type)
    thresholds = read_threshold_table(folder / THRESHOLDS, released.original)
    by_class = count_by_class(released.original, released.added, errors, thresholds)
    counts = count(released.original, released.added, errors, len(released.missing))
    decisions, guesses = facts.rule.reviewed, facts.rule.guesses is not None
    if decisions is not None:
        n_right = (decisions.get("right") or 0) - (decisions.get("unsupported") or 0)
        if n_right != counts["added"]["labels_added"]:
            message = f"{n_right} additions were found right, the ledger has {len(released.added.clips)}"
            raise InputError(message, place, GET_AGAIN)
    scored = facts.asked_teacher and decisions is None
    weak = weak_classes(by_class, scored, facts.precision, is_earlier(facts), guesses)
    stated = facts.to_json()
    counted = replace(facts, counts=counts, by_class=by_class, weak_classes=weak).to_json()
    for name in ("counts", "by_class", "weak_classes"):
        if difference := first_difference(stated[name], counted[name]):
            raise InputError(f"{name} are not what the files say: {difference}", place, GET_AGAIN)
    _same_columns(folder / files.CLASSES, by_class, ("name", "before", "added", "after"), "ontology_id")
    if thresholds:
        also = ("threshold", *OF_GUESSES) if guesses else ("threshold",)
        _same_columns(folder / THRESHOLDS, by_class, ("name", "scored_positives", "reason"), *also)
    if _header(folder / MISSING) != ["clip_id", "reason"]:
        raise InputError("its columns are not clip_id and reason", folder / MISSING, GET_AGAIN)
    _verify_rule(released, errors)
    _verify_bounds(facts.rule, facts.by_class, place)
    if guesses:
        _verify_guesses(released, facts.rule.guesses)
    _verify_precision(released, by_class)
    needed = (counts["clips"], counts["labels_before"], counts["labels_after"], counts["added"]["labels_added"])
    texts = files.documents(facts)
    if verify_documents(folder, texts, facts.documents, facts.pseudolabel, needed):
        return "counts are true, and the documents say what run.json says"
    return (
        "counts are true, and the documents have the checksums of run.json and no other figures; their words are "
        f"those of pseudolabel {facts.pseudolabel}"
    )


def _same_columns(path: Path, by_class: tuple[Mapping, ...], columns: tuple[str, ...], *beside: str) -> None:
    """Compare a per-class table's columns with the counts; the table also has class ids and the columns `beside`."""
    header = _header(path)
    if set(header) != {"class_id", *beside, *columns}:
        raise InputError(f"its columns are {', '.join(header)}", path, GET_AGAIN)
    for row, of_class in zip(read_csv(path), by_class, strict=True):
        if any(row[name] != str(of_class[name]) for name in columns):
            raise InputError("its counts are not what the labels say", f"{path}:{row['line']}", GET_AGAIN)


def _verify_rule(released: Released, errors: tuple[str, ...]) -> None:
    """Compare the rule in run.json with the ledger: types, rounds, what was compared with thresholds."""
    rule, ledger, place = released.facts.rule, released.ledger, released.folder / files.RECORD
    if rule.errors != errors:
        raise InputError(f"rule.errors are {list(rule.errors)}, the counts are of {list(errors)}", place, GET_AGAIN)
    last_round, rounds = pc.max(ledger["round"]).as_py() or 0, rule.rounds
    if isinstance(rounds, int) and last_round > rounds:
        raise InputError(f"rule.rounds is {rounds}, the ledger has {last_round}", place, GET_AGAIN)
    scored = ~np.isnan(released.added.scores)
    lengths = pc.fill_null(pc.cast(ledger["window_s"], pa.float64()), np.nan).to_numpy()[scored]
    evidence = {CLIP if np.isnan(length) else window_name(length) for length in np.unique(lengths).tolist()}
    if rule.reviewed is None and evidence - {rule.evidence}:
        message = f"rule.evidence is {rule.evidence}, the ledger has {', '.join(sorted(evidence))}"
        raise InputError(message, place, GET_AGAIN)


def _verify_bounds(rule: Rule, by_class: tuple[OfClass, ...], place: object) -> None:
    """Raise InputError if the classes' thresholds contradict the rule's floor or its least number of positives."""
    least, by_file = rule.min_positives, rule.threshold_file is not None
    counted = least is not None and not by_file and rule.fallback_threshold is None and rule.guesses is None
    for row in by_class:
        if row.threshold is not None and rule.floor is not None and row.threshold < rule.floor:
            message = f"rule.floor is {rule.floor:g}, the threshold of {row.class_id} {row.threshold:g}"
            raise InputError(message, place, GET_AGAIN)
        few, said = FEWER.fullmatch(row.reason), row.scored_positives
        if least is not None and few and int(few[1]) != least:
            raise InputError(f"rule.min_positives is {least}, {row.class_id} says {few[1]}", place, GET_AGAIN)
        if counted and row.threshold is not None and said is not None and said < least:
            message = f"rule.min_positives is {least}, {row.class_id} has a threshold by {said}"
            raise InputError(message, place, GET_AGAIN)


def _verify_guesses(released: Released, guesses: Guesses) -> None:
    """Count again what run.json states about guesses: how many, of which types, and how many should be right."""
    added, place = released.added, f"{released.folder / files.RECORD}, rule.guesses"
    probabilities = added.probabilities
    guessed = ~np.isnan(probabilities)
    types = [error for error in released.facts.rule.errors if error != "II"]
    by_type = {error: guessed & added.of_type([error]) for error in types}
    if guesses.closure_right > guesses.closure_judged:
        message = f"closure_right is {guesses.closure_right}, of {guesses.closure_judged} judged"
        raise InputError(message, place, GET_AGAIN)
    if set(guesses.by_type) != set(by_type):
        raise InputError(f"by_type has {first_few(guesses.by_type)}, not {first_few(by_type)}", place, GET_AGAIN)
    classes, n_classes = added.classes[guessed], len(released.facts.by_class)
    of_class = np.bincount(classes, minlength=n_classes)
    if np.count_nonzero(of_class) != guesses.classes_touched:
        raise InputError("classes_touched is not that of the ledger", place, GET_AGAIN)
    parts = [("", guesses, guessed)]
    parts += [(f".by_type.{error}", guesses.by_type[error], rows) for error, rows in by_type.items()]
    for part, said, rows in parts:
        if said.labels_added != rows.sum():
            message = f"labels_added is {said.labels_added}, the ledger has {rows.sum()}"
            raise InputError(message, place + part, GET_AGAIN)
        _same_mean(said.expected_precision, probabilities[rows].sum(), rows.sum(), place + part)
    sums = np.bincount(classes, probabilities[guessed], n_classes)
    for row, total, n in zip(released.facts.by_class, sums, of_class, strict=True):
        _same_mean(row.expected_precision, total, n, f"{place}, {row.class_id}")


def _same_mean(stated: float | None, total: float, n: int, place: str) -> None:
    """Raise InputError if the expected precision is not the mean of n probabilities whose sum is total."""
    mean = float(total / n) if n else None
    if (stated is None) != (mean is None) or (mean is not None and abs(stated - mean) > SAME_MEAN):
        raise InputError(f"expected precision is {stated}, by the ledger it is {mean}", place, GET_AGAIN)


def _verify_precision(released: Released, by_class: tuple[Mapping, ...]) -> None:
    """Compare the precision in run.json with the ledger: its checksum, the number of additions of each part."""
    facts, place = released.facts, f"{released.folder / files.RECORD}, precision"
    if facts.precision is None:
        return
    of_ledger = facts.precision.get("ledger_sha256")
    here = [facts.file(name).sha256 for name in (files.ADDED, files.ADDED_CSV)]
    if of_ledger is not None and of_ledger not in here:
        raise InputError("the judgements are of another ledger", place, GET_AGAIN)
    types = np.bincount(released.added.types, minlength=len(ERROR_NAMES)).tolist()
    of_class = {row["class_id"]: row["added"] for row in by_class}
    sizes = {"error": dict(zip(ERROR_NAMES, types, strict=True)), "class_id": of_class}
    parts = [("overall", facts.precision["overall"], len(released.added.clips))]
    for key, part in (("error", "by_error"), ("class_id", "by_class")):
        parts += [(part, row, sizes[key].get(row[key], 0)) for row in facts.precision.get(part) or ()]
    for part, row, n in parts:
        if row.get("additions", n) != n:
            message = f"is of {row['additions']} additions, the ledger has {n}"
            raise InputError(message, f"{place}.{part}", GET_AGAIN)


def _header(path: Path) -> list[str]:
    return next(text_rows(path), (1, []))[1]


def as_json(value: object) -> str:
    """Return a value as text in which true, 1 and 1.0 differ."""
    return json.dumps(value, sort_keys=True)


def first_difference(stated: object, counted: object) -> str:
    """Return where two JSON values first differ, in words; "" if they do not."""
    if as_json(stated) == as_json(counted):
        return ""
    if isinstance(stated, dict) and isinstance(counted, dict):
        differing = ((key, first_difference(stated.get(key), counted.get(key))) for key in [*counted, *stated])
        return next(f"{key} {difference}" for key, difference in differing if difference)
    if isinstance(stated, list) and isinstance(counted, list) and len(stated) == len(counted):
        return next(filter(None, map(first_difference, stated, counted)))
    return f"{str(stated)[:60]} instead of {str(counted)[:60]}"


def verify_documents(
    folder: Path,
    texts: Mapping[str, str],
    described: Iterable[Document],
    made_by: str,
    needed: Iterable[int],
) -> bool:
    """Compare documents with the facts; return whether they are byte for byte as this version writes them.

    Args:
        texts: {name: text} as this version writes them.
        described: what run.json says about the documents, empty in releases of earlier versions.
        made_by: the version that wrote them.
        needed: figures that README.md must have.

    Raises:
        InputError: a document contradicts the facts, or has figures that cannot be counted again.
    """
    stated, same = {row.name: row for row in described}, True
    if stated and set(stated) != set(texts):
        names = first_few(sorted(set(stated) ^ set(texts)))
        raise InputError(f"documents are not those of a release: {names}", folder / layout.RUN, GET_AGAIN)
    for name, text in texts.items():
        path, expected = folder / name, text.encode("utf-8")
        alike = path.stat().st_size == len(expected) and path.read_bytes() == expected
        noted = not stated or (stated[name].sha256, stated[name].bytes) == (sha256(path), path.stat().st_size)
        if not noted or (not alike and (made_by == __version__ or not stated)):
            raise InputError("does not say what run.json says", path, GET_AGAIN)
        if not alike:
            remedy = f"Verify with pseudolabel {made_by}, or get the release again."
            remedy = remedy if VERSION.fullmatch(str(made_by)) else GET_AGAIN
            written = _verify_words(path, text, remedy, needed if name == "README.md" else ())
            _verify_parts(path, written, text, remedy)
            same = False
    return same


def _verify_words(path: Path, text: str, remedy: str, needed: Iterable[int]) -> str:
    """Compare a document's figures and addresses with those of `text`, this version's; return the document's text."""
    if path.stat().st_size > MOST_LARGER * len(text.encode("utf-8")) + MOST_BYTES:
        raise InputError("far longer than this version writes it", path, remedy)
    try:
        written = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"cannot be read ({error})", path, GET_AGAIN) from error
    lines, expected = (_lines(path, content) for content in (written, text))
    signatures = {_signature(line) for line in expected}
    for number, line in enumerate(lines, 1):
        signature = _signature(line)
        if signature[1] and signature not in signatures:
            message = f"says figures that the files do not say: {first_few(signature[1])}"
            raise InputError(message, f"{path}:{number}", remedy)
    for begin in SAME:
        said, right = (_beginning(begin, of) for of in (lines, expected))
        if said != right:
            differing = first_few(sorted(said - right) or sorted(right - said))
            raise InputError(f"does not say {begin.strip()} as run.json does: {differing}", path, remedy)
    figures = {figure for line in lines for figure in _signature(line)[1]}
    if absent := [f"{n:,}" for n in needed if f"{n:,}" not in figures]:
        raise InputError(f"does not say {first_few(absent)}, which run.json does", path, remedy)
    addresses, right = ({*ADDRESS.findall("\n".join(of))} for of in (lines, expected))
    if others := addresses - right:
        raise InputError(f"names {first_few(sorted(others))}, which run.json does not", path, remedy)
    return written


def _verify_parts(path: Path, written: str, text: str, remedy: str) -> None:
    """Raise InputError if a part of JSON or Markdown that must be as this version writes it differs."""
    if path.suffix not in (".json", ".md"):
        return
    parts_of = _json_parts if path.suffix == ".json" else _markdown_parts
    parts, expected = parts_of(written), parts_of(text)
    differing = [name for name in {**expected, **parts} if parts.get(name) != expected.get(name)]
    if differing:
        message = f"cannot tell whether {first_few(differing)} says what run.json says: this version words it otherwise"
        raise InputError(message, path, remedy)


def _json_parts(text: str) -> dict[str, str]:
    """Return each value of a JSON object as text in which true, 1 and 1.0 differ, without free texts."""
    content = parse_json(text, "")
    return {key: json.dumps(_without_free({key: value}), sort_keys=True) for key, value in content.items()}


def _without_free(value: object) -> object:
    if isinstance(value, list):
        return [_without_free(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        key: "" if key in FREE and isinstance(inner, str) else inner if key == "@context" else _without_free(inner)
        for key, inner in value.items()
    }


def _markdown_parts(text: str) -> dict[str, list[str]]:
    """Return the YAML header and the sections of WORD_BY_WORD, each as a list of all texts with that title."""
    header, _, body = text.partition("\n---\n")
    parts = {"the header": [header]}
    for section in re.split(r"^(?=## )", body, flags=re.MULTILINE):
        title, _, inside = section.partition("\n")
        if title.strip() in WORD_BY_WORD:
            parts.setdefault(title.strip().removeprefix("## "), []).append(inside.strip())
    return parts


def _lines(path: Path, text: str) -> list[str]:
    """Return the lines of a document: of JSON as indented, of plain text by paragraphs."""
    if path.suffix == ".json":
        content = parse_json(text, path, remedy=GET_AGAIN)
        if not isinstance(content, dict):
            raise InputError("not a JSON object", path, GET_AGAIN)
        return json.dumps(content, indent=2, ensure_ascii=False).split("\n")
    if not path.suffix:
        return [" ".join(part.split()) for part in text.split("\n\n")]
    return text.split("\n")


def _beginning(begin: str, lines: Iterable[str]) -> set[str]:
    return {line for line in (line.strip().removeprefix("- ") for line in lines) if line.startswith(begin)}


def _signature(line: str) -> Signature:
    """Return what must be true of a line: its figures and, for a table's row, what they describe."""
    figures = tuple(figure.strip(MARKS) for figure in FIGURE.findall(line))
    return (CELLS.split(line)[1].strip() if line.lstrip().startswith("|") and "|" in line[1:] else ""), figures
