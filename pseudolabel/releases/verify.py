"""Verify a release from its own files alone: bytes, labels, ledger, thresholds, scores, and what its card says.

Checks run from cheap to dear, and the first that fails ends in one line that names the file and what is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pseudolabel import __version__
from pseudolabel.artefacts import read_csv, sha256
from pseudolabel.errors import ClipMismatch, InputError, UnknownClass, first_few
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.ledger import SCHEMA, read_ledger
from pseudolabel.labels.sampling import balanced_weights, max_rule_weights
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.undo import undo
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.progress import Progress
from pseudolabel.releases import folder as files
from pseudolabel.releases.card import DOCUMENTS
from pseudolabel.releases.enhanced import MISSING, THRESHOLDS, read_object
from pseudolabel.releases.facts import Facts
from pseudolabel.releases.licences import LICENCES
from pseudolabel.releases.soft_targets import Targets
from pseudolabel.releases.source_forms import SOURCE_FORMS, read_source_form
from pseudolabel.releases.tables import Added, count, count_by_class, positions, read_threshold_table, weak_classes

GET_ANEW = "Get the release anew, or make it again."
SUM_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\\0]+)")
ALWAYS = ("labels.csv", "labels.parquet", files.ORIGINAL, files.ADDED, files.ADDED_CSV, files.CLASSES, MISSING)
TOLERANCE = 1e-9  # relative, of weights: sums of thousands of floats


@dataclass(frozen=True, eq=False)
class Contents:
    """A release as it lies in its folder: labels after and before, the ledger, and the facts of run.json."""

    folder: Path
    labels: LabelTable
    original: LabelTable
    ledger: pa.Table
    added: Added
    missing: tuple[str, ...]
    facts: Facts


def verify_release(folder: Path) -> list[str]:
    """Return what was found to hold, a line each.

    Raises:
        InputError: something does not: the message names the file, and what is wrong with it.
    """
    try:
        with Progress("verify", 7, "check") as progress:
            lines = [verify_bytes(folder)]
            progress.advance()
            contents = _read(folder)
            progress.advance()
            for check in (_verify_forms, _verify_ledger, _verify_targets, _verify_weights, _verify_facts):
                lines += filter(None, [check(contents)])
                progress.advance()
    except InputError:  # a ValueError that says already what is wrong
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, pa.ArrowException) as error:
        message = f"a file holds something of another kind ({' '.join(str(error).split())})"
        raise InputError(message, folder, GET_ANEW) from error
    return lines


def verify_bytes(folder: Path) -> str:
    """Compare every file of a release, of labels or of a model, with its checksum; return what was found in a line.

    Raises:
        InputError: a file is missing, is there but not listed, or was changed.
    """
    if not folder.is_dir():
        raise InputError("no such folder", folder, "Give the folder of a release.")
    if not (folder / files.SUMS).is_file():
        raise InputError(f"there is no {files.SUMS}", folder, "Give the folder of a release.")
    digests = _read_sums(folder / files.SUMS)
    there = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir())
    }
    missing, further = sorted(set(digests) - there), sorted(there - set(digests) - {files.SUMS})
    if missing:
        raise InputError(f"missing: {first_few(missing)}", folder, GET_ANEW)
    if further:
        raise InputError(f"not part of the release: {first_few(further)}", folder, "Remove what was put there.")
    same = {name for name, digest in digests.items() if (folder / name).is_file() and sha256(folder / name) == digest}
    changed = [name for name in digests if name not in same]
    if changed:
        raise InputError(f"changed: {first_few(changed)} (other bytes than {files.SUMS} says)", folder, GET_ANEW)
    return f"{len(digests)} files have the bytes that {files.SUMS} says"


def _read_sums(path: Path) -> dict[str, str]:
    digests: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text ({error.reason} at byte {error.start})", path, GET_ANEW) from error
    if lines.pop() != "":
        raise InputError("does not end with a line end", path, GET_ANEW)
    for number, line in enumerate(lines, 1):
        match = SUM_LINE.fullmatch(line)
        if match is None or match[2] in digests:
            raise InputError("not a line `checksum  file`, once a file", f"{path}:{number}", GET_ANEW)
        digests[match[2]] = match[1]
    return digests


def _read(folder: Path) -> Contents:
    """Read labels, ledger and facts; they must fit each other: labels without the ledger's are the original ones."""
    facts = Facts.from_json(read_object(folder / files.RECORD), folder / files.RECORD)
    stated = {row["name"]: row for row in facts.files}
    there = {row["name"]: row for row in files.described_files(folder)}
    named = {*stated, *DOCUMENTS}
    absent = [name for name in dict.fromkeys((*ALWAYS, *named)) if not (folder / name).is_file()]
    if absent:
        raise InputError(f"missing: {first_few(sorted(absent))}", folder, GET_ANEW)
    further = sorted(path.name for path in folder.iterdir() if path.name not in named)
    if further:
        raise InputError(f"not part of the release: {first_few(further)}", folder, "Remove what was put there.")
    changed = [name for name in stated if stated[name] != there.get(name)]
    if changed:
        raise InputError(f"changed: {first_few(changed)} (not as {files.RECORD} says)", folder, GET_ANEW)
    if facts.licence not in LICENCES:
        raise InputError(f"licence {facts.licence!r} is not a known SPDX id", folder / files.RECORD, GET_ANEW)
    vocabulary = Vocabulary.load(folder / files.CLASSES)
    labels = LabelTable.read(folder / "labels.csv", vocabulary, "csv")
    original = LabelTable.read(folder / files.ORIGINAL, vocabulary, "csv")
    ledger = read_ledger(folder / files.ADDED)
    added = Added.of(ledger, labels, folder / files.ADDED)
    if undo(labels, ledger, folder / files.ADDED) != original:
        message = "labels.csv without the additions of the ledger are not these labels"
        raise InputError(message, folder / files.ORIGINAL, GET_ANEW)
    missing = tuple(row["clip_id"] for row in read_csv(folder / MISSING, ("clip_id",)))
    if unknown := [clip_id for clip_id in missing if clip_id not in labels.row_of]:
        raise ClipMismatch(f"clips are not in the list: {first_few(unknown)}", folder / MISSING)
    return Contents(folder, labels, original, ledger, added, missing, facts)


def _verify_forms(contents: Contents) -> str:
    """Read the list in each of its forms, and the ledger in its two: they must say the same."""
    folder, labels = contents.folder, contents.labels
    forms = {"labels.parquet": "parquet", files.PSLA: "psla"}
    forms |= {source.file: form for form, source in SOURCE_FORMS.items()}
    forms = {name: form for name, form in forms.items() if (folder / name).is_file()}
    for name, form in forms.items():
        read = read_source_form if form in SOURCE_FORMS else LabelTable.read
        other = read(folder / name, labels.vocabulary, form)
        same_clips = other.clip_ids == labels.clip_ids or (
            match_clips(labels.clip_ids, dict.fromkeys(other.clip_ids), folder / name).known() == list(other.clip_ids)
        )
        if not same_clips or len(other) != len(labels) or (labels.matrix != other.matrix).nnz:
            raise InputError("says other labels than labels.csv", folder / name, GET_ANEW)
    if not _same_rows(contents.ledger, read_ledger(folder / files.ADDED_CSV)):
        raise InputError(f"has other rows than {files.ADDED}", folder / files.ADDED_CSV, GET_ANEW)
    n_clips, n_added = len(labels), len(contents.added.clips)
    return (
        f"{n_clips:,} clips: {contents.original.matrix.nnz:,} labels and {n_added:,} of the ledger are the "
        f"{labels.matrix.nnz:,} of labels.csv, {', '.join(forms)}"
    )


def _same_rows(one: pa.Table, other: pa.Table) -> bool:
    if not all(set(SCHEMA.names) <= set(table.column_names) for table in (one, other)):
        return False
    for field in SCHEMA:
        first, second = (pc.cast(table[field.name], field.type).combine_chunks() for table in (one, other))
        if pa.types.is_string(field.type):
            first, second = pc.fill_null(first, ""), pc.fill_null(second, "")
        if not first.equals(second):
            return False
    return True


def _verify_ledger(contents: Contents) -> str:
    """Check each row: score above threshold, the class's threshold, and that what proposed it is on the clip."""
    added, ledger, place = contents.added, contents.ledger, contents.folder / files.ADDED

    def refuse(wrong: np.ndarray, message: str) -> None:
        rows = np.flatnonzero(wrong)
        if len(rows):
            clip_id, class_id = (ledger[name][int(rows[0])].as_py() for name in ("clip_id", "class_id"))
            first = f"{len(rows)} added labels, first {class_id} of {clip_id}"
            raise InputError(f"{message} ({first})", place, "Run enhance and release again.")

    by_rule = np.isnan(added.scores)
    if "reviewed" not in contents.facts.rule:
        refuse(by_rule != np.isnan(added.thresholds), "a score without a threshold, or the other way round")
    refuse(added.scores <= added.thresholds, "the score is not above the threshold")
    table = read_threshold_table(contents.folder / THRESHOLDS, contents.original)
    if table:
        of_class = np.array([np.nan if row["threshold"] is None else row["threshold"] for row in table.values()])
        stated = ~np.isnan(added.thresholds)
        wrong = stated & (of_class[added.classes] != added.thresholds)
        refuse(wrong, f"the threshold is not the one of {THRESHOLDS}")
    rounds = pc.fill_null(ledger["round"], 1).to_numpy() if "round" in ledger.column_names else 1
    refuse(_proposed_by_nothing(contents, rounds > 1), "a label that is not on the clip is said to have proposed it")
    n_by_score = int((~by_rule).sum())
    return f"{n_by_score:,} additions have a score above their class's threshold, {int(by_rule.sum()):,} were by rule"


def _proposed_by_nothing(contents: Contents, later: np.ndarray) -> np.ndarray:
    """Return which rows of the ledger name a label under `because` that their clip has not, (M,) bool.

    Rows of later rounds (`later`) may have been proposed by labels of earlier ones.
    """
    because = pc.split_pattern(pc.fill_null(contents.ledger["because"], "").combine_chunks(), ";")
    row_of = pc.list_parent_indices(because).to_numpy()
    names = pc.list_flatten(because)
    given = pc.not_equal(names, "").to_numpy(zero_copy_only=False)
    row_of, classes = row_of[given], positions(names.filter(pa.array(given)), contents.labels.vocabulary.class_ids)
    n_classes = len(contents.labels.vocabulary)
    keys = contents.added.clips[row_of] * n_classes + classes
    on_clip = (classes >= 0) & np.isin(keys, _keys(contents.labels))
    first_round = ~np.broadcast_to(later, contents.added.clips.shape)[row_of]
    on_clip &= ~first_round | np.isin(keys, _keys(contents.original))
    return np.bincount(row_of[~on_clip], minlength=len(contents.added.clips)) > 0


def _keys(labels: LabelTable) -> np.ndarray:
    rows = np.repeat(np.arange(len(labels), dtype=np.int64), np.diff(labels.matrix.indptr))
    return rows * len(labels.vocabulary) + labels.matrix.indices


def _verify_targets(contents: Contents) -> str:
    """Compare the soft targets, where there are any, with clips, classes and the scores of the ledger."""
    path, added, labels = contents.folder / files.TARGETS, contents.added, contents.labels
    if not path.is_file():
        return ""
    absent = set(contents.missing)
    with Targets.open(path) as targets:
        if targets.clip_ids != tuple(clip_id for clip_id in labels.clip_ids if clip_id not in absent):
            raise ClipMismatch(f"its clips are not those of labels.csv without those of {MISSING}", path, GET_ANEW)
        for class_id in targets.class_ids:
            if class_id not in labels.vocabulary.index:
                raise UnknownClass(f"class {class_id!r} is not in {files.CLASSES}", path, GET_ANEW)
        places = positions(contents.ledger["clip_id"], targets.clip_ids)
        columns = positions(contents.ledger["class_id"], targets.class_ids)
        lengths, onsets = (pc.cast(contents.ledger[name], pa.float64()).to_numpy() for name in ("window_s", "onset_s"))
        n_compared, scored = 0, ~np.isnan(added.scores)
        if (scored & ((places < 0) | (columns < 0))).any():
            raise InputError("lacks scores that the ledger has", path, GET_ANEW)
        for name in targets.scores:
            windows = None if name == "clip" else float(name.removesuffix("s"))
            rows = np.flatnonzero(scored & (np.isnan(lengths) if windows is None else lengths == windows))
            numbers = None if windows is None else np.rint(onsets[rows] / windows).astype(np.int64)
            found = targets.at(name, places[rows], columns[rows], numbers)
            wrong = np.flatnonzero(~(np.abs(found - added.scores[rows]) <= targets.tolerance))
            if len(wrong):
                clip_id, class_id = (contents.ledger[n][int(rows[wrong[0]])].as_py() for n in ("clip_id", "class_id"))
                message = f"{len(wrong)} scores are not those of the ledger (first {class_id} of {clip_id})"
                raise InputError(message, path, GET_ANEW)
            n_compared += len(rows)
    return f"{files.TARGETS} has {n_compared:,} scores of the ledger, within {targets.tolerance:.2g}"


def _verify_weights(contents: Contents) -> str:
    """Compute the sampling weights again, from the labels after the additions."""
    path = contents.folder / files.WEIGHTS
    types = {"clip_id": pa.string()}
    try:
        table = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=types))
        names = table.column_names
        beta = float(names[-1].removeprefix(files.MAX_RULE))
        weights = [pc.cast(table[name], pa.float64()).to_numpy() for name in names[1:]]
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise InputError(f"cannot be read ({str(error).splitlines()[0]})", path, GET_ANEW) from error
    if names[:2] != ["clip_id", files.SUM_RULE] or len(names) != 3:
        raise InputError(f"its columns are {', '.join(names)}", path, GET_ANEW)
    if tuple(table["clip_id"].to_pylist()) != contents.labels.clip_ids:
        raise ClipMismatch("its clips are not those of labels.csv", path, GET_ANEW)
    matrix = contents.labels.matrix
    expected = balanced_weights(matrix), max_rule_weights(matrix, beta, names[-1])
    for name, found, computed in zip(names[1:], weights, expected, strict=True):
        if not np.allclose(found, computed, rtol=TOLERANCE, atol=0):
            raise InputError(f"{name} is not that of the labels after the additions", path, GET_ANEW)
    return "sampling weights are those of the labels after the additions"


def _verify_facts(contents: Contents) -> str:
    """Count again what the facts state, and write the documents again from the facts."""
    folder, facts = contents.folder, contents.facts
    errors = tuple(facts.counts["added_by_type"])
    thresholds = read_threshold_table(folder / THRESHOLDS, contents.original)
    by_class = count_by_class(contents.original, contents.added, errors, thresholds)
    counts = count(contents.original, contents.added, errors, len(contents.missing))
    decisions = facts.rule.get("reviewed")
    if decisions is not None and decisions.get("right") != counts["added"]["labels_added"]:
        message = f"{decisions.get('right')} additions were found right, the ledger has {len(contents.added.clips)}"
        raise InputError(message, folder / files.RECORD, GET_ANEW)
    scored = facts.rule.get("evidence") is not None and decisions is None
    found = {"counts": counts, "by_class": by_class, "weak_classes": weak_classes(by_class, scored, facts.precision)}
    for name, value in found.items():
        if getattr(facts, name) != value:
            raise InputError(f"{name} are not what the files say: {_difference(getattr(facts, name), value)}",
                             folder / files.RECORD, GET_ANEW)  # fmt: skip
    rows = read_csv(folder / files.CLASSES, ("before", "added", "after"))
    for row, of_class in zip(rows, by_class, strict=True):
        if any(row[name] != str(of_class[name]) for name in ("before", "added", "after")):
            raise InputError(
                "its counts are not what the labels say", f"{folder / files.CLASSES}:{row['line']}", GET_ANEW
            )
    for name, text in files.documents(facts).items():
        if (folder / name).read_bytes() != text.encode("utf-8"):
            if facts.pseudolabel != __version__:
                return f"counts are true; the documents are as pseudolabel {facts.pseudolabel} writes them"
            raise InputError("says something else than run.json", folder / name, GET_ANEW)
    return "counts are true, and the documents say what run.json says"


def _difference(stated: object, found: object) -> str:
    """Return where two values of JSON first differ, in words."""
    if isinstance(stated, dict) and isinstance(found, dict):
        for key in [*found, *stated]:
            if stated.get(key) != found.get(key):
                return f"{key} " + _difference(stated.get(key), found.get(key))
    if isinstance(stated, list | tuple) and isinstance(found, list | tuple) and len(stated) == len(found):
        return next(_difference(one, two) for one, two in zip(stated, found, strict=True) if one != two)
    return f"{str(stated)[:60]} instead of {str(found)[:60]}"
