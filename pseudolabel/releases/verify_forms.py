"""Whether all files of a release say the same: the list in each of its forms, the ledger, targets, sampling weights."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pseudolabel.errors import ClipMismatch, InputError, UnknownClass
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.balancing import balanced_weights, max_rule_weights
from pseudolabel.labels.ledger import SCHEMA, read_ledger
from pseudolabel.labels.table import LabelTable
from pseudolabel.machine import refuse_more_than_fits
from pseudolabel.releases import folder as files
from pseudolabel.releases.bounds import refuse_parquet, refuse_unpacked
from pseudolabel.releases.enhanced import MISSING
from pseudolabel.releases.listing import GET_ANEW
from pseudolabel.releases.released import CELL, Released
from pseudolabel.releases.segments import clip_lengths
from pseudolabel.releases.soft_targets import BLOCK_CLIPS, Targets
from pseudolabel.releases.source_forms import SOURCE_FORMS, read_source_form
from pseudolabel.releases.tables import positions
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP
from pseudolabel.tables import read_json

PARQUET, TEXT = "labels.parquet", pa.string()
TOLERANCE = 1e-9  # relative, of weights: sums of thousands of floats
OTHER_LABELS = "says other labels than labels.csv"


def verify_forms(released: Released) -> str:
    """Read the list in each of its forms, and the ledger in its two: they must say the same."""
    folder, labels = released.folder, released.labels
    checks = {PARQUET: _same_parquet, files.PSLA: _same_psla if released.facts.documents else _same_form}
    checks |= {source.file: _same_form for source in SOURCE_FORMS.values()}
    checks = {name: check for name, check in checks.items() if (folder / name).is_file()}
    for name, check in checks.items():
        if not check(released, folder / name):
            raise InputError(OTHER_LABELS, folder / name, GET_ANEW)
    if not _same_rows(released.ledger, read_ledger(folder / files.ADDED_CSV)):
        raise InputError(f"has other rows than {files.ADDED}", folder / files.ADDED_CSV, GET_ANEW)
    n_clips, n_added = len(labels), len(released.added.clips)
    return (
        f"{n_clips:,} clips: {released.original.matrix.nnz:,} labels and {n_added:,} of the ledger are the "
        f"{labels.matrix.nnz:,} of labels.csv, {', '.join(checks)}"
    )


def _same_parquet(released: Released, path: Path) -> bool:
    labels = released.labels
    n_clips, n_values = len(labels), len(labels) + labels.matrix.nnz
    most = (path.parent / "labels.csv").stat().st_size
    refuse_parquet(path, {"clip_id": TEXT, "labels": pa.list_(TEXT)}, n_clips, n_values, most)
    table = pq.read_table(path)
    lists = table["labels"].combine_chunks()
    if len(table) != n_clips or lists.null_count or table["clip_id"].to_pylist() != list(labels.clip_ids):
        return False
    classes = positions(pa.chunked_array([lists.flatten()], TEXT), labels.vocabulary.class_ids)
    counts = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    return np.array_equal(counts, np.diff(labels.matrix.indptr)) and np.array_equal(classes, labels.matrix.indices)


def _same_psla(released: Released, path: Path) -> bool:
    """Return whether psla.json has the very entries of the labels, each with the recording that run.json says."""
    content = read_json(path, GET_ANEW)
    entries = content.get("data") if isinstance(content, dict) and len(content) == 1 else None
    if not isinstance(entries, list):
        raise InputError("no list under the key 'data'", path, GET_ANEW)
    wav, labels = released.facts.wav, released.labels
    return all(
        clip_id is not None and entry == {"wav": wav.replace("{clip_id}", clip_id), "labels": ",".join(classes)}
        for entry, clip_id, classes in zip_longest(entries, labels.clip_ids, labels.label_sets())
    )


def _same_form(released: Released, path: Path) -> bool:
    labels = released.labels
    form = next((form for form, source in SOURCE_FORMS.items() if source.file == path.name), "psla")
    other = (read_source_form if form in SOURCE_FORMS else LabelTable.read)(path, labels.vocabulary, form)
    same_clips = other.clip_ids == labels.clip_ids or (
        match_clips(labels.clip_ids, dict.fromkeys(other.clip_ids), path).known() == list(other.clip_ids)
    )
    return same_clips and len(other) == len(labels) and not (labels.matrix != other.matrix).nnz


def _same_rows(one: pa.Table, other: pa.Table) -> bool:
    if not all(SCHEMA.names == table.column_names for table in (one, other)):
        return False
    for field in SCHEMA:
        first, second = (pc.cast(table[field.name], field.type).combine_chunks() for table in (one, other))
        if pa.types.is_string(field.type):
            first, second = pc.fill_null(first, ""), pc.fill_null(second, "")
        if not first.equals(second):
            return False
    return True


def verify_targets(released: Released) -> str:
    """Compare the soft targets, where there are any, with clips, classes and the scores of the ledger."""
    path, added, labels = released.folder / files.TARGETS, released.added, released.labels
    if not path.is_file():
        return ""
    absent = set(released.missing)
    with Targets.open(path) as targets:
        if targets.clip_ids != tuple(clip_id for clip_id in labels.clip_ids if clip_id not in absent):
            raise ClipMismatch(f"its clips are not those of labels.csv without those of {MISSING}", path, GET_ANEW)
        for class_id in targets.class_ids:
            if class_id not in labels.vocabulary.index:
                raise UnknownClass(f"class {class_id!r} is not in {files.CLASSES}", path, GET_ANEW)
        places = positions(released.ledger["clip_id"], targets.clip_ids)
        columns = positions(released.ledger["class_id"], targets.class_ids)
        lengths, onsets = (pc.cast(released.ledger[name], pa.float64()).to_numpy() for name in ("window_s", "onset_s"))
        n_compared, scored = 0, ~np.isnan(added.scores)
        if (scored & ((places < 0) | (columns < 0))).any():
            raise InputError("lacks scores that the ledger has", path, GET_ANEW)
        for name, stored in targets.scores.items():
            block = min(BLOCK_CLIPS, len(stored)) * stored.nbytes // max(len(stored), 1)
            refuse_more_than_fits(block, f"{BLOCK_CLIPS} clips of {name}", path, GET_ANEW)
            windows = None if name == CLIP else float(name.removesuffix("s"))
            rows = np.flatnonzero(scored & (np.isnan(lengths) if windows is None else lengths == windows))
            numbers = None if windows is None else np.rint(onsets[rows] / targets.hop_s(name)).astype(np.int64)
            if windows is not None and not np.allclose(numbers * targets.hop_s(name), onsets[rows], rtol=0, atol=1e-6):
                raise InputError(f"has no window of {name} where the ledger has one", path, GET_ANEW)
            found = targets.at(name, places[rows], columns[rows], numbers)
            wrong = np.flatnonzero(found != targets.rounded(name, added.scores[rows]))
            if len(wrong):
                clip_id, class_id = (released.ledger[n][int(rows[wrong[0]])].as_py() for n in ("clip_id", "class_id"))
                message = f"{len(wrong)} scores are not those of the ledger (first {class_id} of {clip_id})"
                raise InputError(message, path, GET_ANEW)
            n_compared += len(rows)
        kinds = {stored.dtype.name for stored in targets.scores.values()}
    store = ScoreStore.open(path)
    known = {clip_id: s for clip_id, s in zip(labels.clip_ids, clip_lengths(released).tolist(), strict=True) if s == s}
    store.refuse_beyond({clip_id: known[clip_id] for clip_id in store.clip_ids if clip_id in known})
    store.verify()
    return f"{files.TARGETS} has {n_compared:,} scores of the ledger, as {', '.join(sorted(kinds))}"


def verify_weights(released: Released) -> str:
    """Compute the sampling weights again, from the labels after the additions."""
    path, labels = released.folder / files.WEIGHTS, released.labels
    ids = sum(2 * len(clip_id.encode()) + 2 for clip_id in labels.clip_ids)
    refuse_unpacked(path, ids + 4 * CELL * (len(labels) + 1))
    types = {"clip_id": TEXT}
    try:
        table = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=types))
        names = table.column_names
        beta = float(names[-1].removeprefix(files.MAX_RULE))
        weights = [pc.cast(table[name], pa.float64()).to_numpy() for name in names[1:]]
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise InputError(f"cannot be read ({str(error).splitlines()[0]})", path, GET_ANEW) from error
    if names[:2] != ["clip_id", files.SUM_RULE] or len(names) != 3:
        raise InputError(f"its columns are {', '.join(names)}", path, GET_ANEW)
    if tuple(table["clip_id"].to_pylist()) != labels.clip_ids:
        raise ClipMismatch("its clips are not those of labels.csv", path, GET_ANEW)
    expected = balanced_weights(labels.matrix), max_rule_weights(labels.matrix, beta, names[-1])
    for name, found, computed in zip(names[1:], weights, expected, strict=True):
        if not np.allclose(found, computed, rtol=TOLERANCE, atol=0):
            raise InputError(f"{name} is not that of the labels after the additions", path, GET_ANEW)
    return "sampling weights are those of the labels after the additions"
