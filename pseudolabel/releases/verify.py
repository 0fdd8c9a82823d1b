"""Verify a release from its own files alone: bytes, labels, ledger, thresholds, scores, and what its card says.

Cheap checks come first; the first failure gives one line that names the file and what is wrong. A release is not
signed: whoever changes a file and its line in SHA256SUMS contradicts run.json, the other forms of the labels or the
counts; whoever replaces all of them has made another release.
"""

from __future__ import annotations

from functools import partial
from itertools import zip_longest
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pseudolabel.errors import ClipMismatch, InputError, UnknownClass, first_line
from pseudolabel.labels.additions import TYPE_BITS, carried, index_in, label_keys, pair_keys
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.balancing import balanced_weights, max_rule_weights
from pseudolabel.labels.ledger import SCHEMA, read_ledger
from pseudolabel.labels.table import LabelTable
from pseudolabel.layout import LABELS, MISSING, THRESHOLDS
from pseudolabel.machine import refuse_more_than_fits
from pseudolabel.progress import Progress
from pseudolabel.releases import folder as files
from pseudolabel.releases.counts import read_threshold_table
from pseudolabel.releases.listing import GET_AGAIN, refuse_parquet, refuse_unpacked, values_of_their_kind, verify_bytes
from pseudolabel.releases.released import CELL, Released, read_release
from pseudolabel.releases.source_forms import SOURCE_FORMS, read_source_form
from pseudolabel.releases.stated import verify_facts
from pseudolabel.releases.tables import is_earlier, label_rows, read_csv_table, tables_of
from pseudolabel.releases.targets import BLOCK_CLIPS, as_stored, looked_up, stated_together
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, parse_window
from pseudolabel.tables import read_csv, read_json

TEXT = pa.string()
TOLERANCE = 1e-9  # relative, of weights: sums of thousands of floats


def verify_release(folder: Path) -> list[str]:
    """Verify a release of labels; return what holds, one line each.

    Raises:
        InputError: something does not hold; the message names the file, and what is wrong with it.
    """
    checks = (verify_forms, verify_ledger, verify_windows, verify_targets, verify_weights, verify_tables, verify_facts)
    with values_of_their_kind(folder), Progress("verify", 2 + len(checks), "check") as progress:
        lines = verify_bytes(folder)
        progress.advance()
        released = read_release(folder)
        progress.advance()
        for check in checks:
            lines += filter(None, [check(released)])
            progress.advance()
    return lines


def _first(released: Released, rows: np.ndarray) -> str:
    """Return `/m/bark of clip-1`, the label in the first of these ledger rows."""
    clip_id, class_id = (released.ledger[name][int(rows[0])].as_py() for name in ("clip_id", "class_id"))
    return f"{class_id} of {clip_id}"


# ---- forms of the list ------------------------------------------------------------------------------------------


def verify_forms(released: Released) -> str:
    """Read the list in each of its forms, and the ledger in both of its forms; they must agree."""
    folder, labels = released.folder, released.labels
    checks = {files.LABELS_PARQUET: _same_parquet}
    checks |= {files.PSLA: _same_psla if released.facts.documents else _same_form}
    checks |= {files.PSLA_CLASSES: _same_psla_classes}
    checks |= {source.file: _same_form for source in SOURCE_FORMS.values()}
    checks = {name: check for name, check in checks.items() if (folder / name).is_file()}
    for name, check in checks.items():
        if not check(released, folder / name):
            raise InputError(f"has other labels than {LABELS}", folder / name, GET_AGAIN)
    if not _same_rows(released.ledger, read_ledger(folder / files.ADDED_CSV)):
        raise InputError(f"has other rows than {files.ADDED}", folder / files.ADDED_CSV, GET_AGAIN)
    n_clips, n_added = len(labels), len(released.added.clips)
    return (
        f"{n_clips:,} clips: {released.original.matrix.nnz:,} labels and {n_added:,} of the ledger are the "
        f"{labels.matrix.nnz:,} of {LABELS}, {', '.join(checks)}"
    )


def verify_tables(released: Released) -> str:
    """Compare the Parquet files of all other tables with what they repeat."""
    if is_earlier(released.facts):
        return ""
    repeated = [table.file for table in tables_of(released.facts) if table.csv or table.file == files.ORIGINAL_PARQUET]
    for name in repeated:
        if not _same_parquet(released, released.folder / name):
            raise InputError("has other rows than the same table as CSV", released.folder / name, GET_AGAIN)
    return f"{', '.join(repeated)} have the rows of the same tables as CSV"


def _same_parquet(released: Released, path: Path) -> bool:
    table = next((table for table in tables_of(released.facts) if table.file == path.name), None)
    if table is None:
        raise InputError(f"does not list {path.name}", path.parent / files.RECORD, GET_AGAIN)
    labels = {files.LABELS_PARQUET: released.labels, files.ORIGINAL_PARQUET: released.original}.get(path.name)
    rows = read_csv_table(table, path.parent) if labels is None else label_rows(labels).select(list(table.types))
    n_values = len(rows) + released.labels.matrix.nnz
    refuse_parquet(path, table.types, len(rows), n_values, rows.nbytes)
    return pq.read_table(path).cast(rows.schema).equals(rows)


def _same_psla(released: Released, path: Path) -> bool:
    """Return whether psla.json has exactly these labels, each clip with the path from run.json."""
    content = read_json(path, GET_AGAIN)
    entries = content.get("data") if isinstance(content, dict) and len(content) == 1 else None
    if not isinstance(entries, list):
        raise InputError("no list under the key 'data'", path, GET_AGAIN)
    wav, labels = released.facts.wav, released.labels
    labels = labels if is_earlier(released.facts) else files.with_labels(labels)
    return all(
        clip_id is not None and entry == {"wav": wav.replace("{clip_id}", clip_id), "labels": ",".join(classes)}
        for entry, clip_id, classes in zip_longest(entries, labels.clip_ids, labels.label_sets())
    )


def _same_psla_classes(released: Released, path: Path) -> bool:
    vocabulary = released.labels.vocabulary
    expected = enumerate(zip(vocabulary.class_ids, vocabulary.names, strict=True))
    rows = ((row["index"], row["mid"], row["display_name"]) for row in read_csv(path, ("index", "mid", "display_name")))
    return list(rows) == [(str(number), *texts) for number, texts in expected]


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


# ---- the ledger -------------------------------------------------------------------------------------------------


def verify_ledger(released: Released) -> str:
    """Check each row: score above threshold, the class's own threshold, and that the proposing label is on the clip."""
    added, rule, refuse = released.added, released.facts.rule, partial(_refuse_rows, released)
    by_rule = np.isnan(added.scores)
    refuse((added.scores < 0) | (added.scores > 1), "the score is not in [0, 1]")
    refuse((added.probabilities < 0) | (added.probabilities > 1), "the probability is not in [0, 1]")
    if rule.guesses is not None:
        _verify_guessed(released, rule.guesses.lowest_probability)
    elif rule.reviewed is None:
        refuse(~np.isnan(added.probabilities), "a probability, which the rule does not estimate")
        refuse(by_rule != np.isnan(added.thresholds), "a score without a threshold, or the other way round")
    refuse(added.scores <= added.thresholds, "the score is not above the threshold")
    table = read_threshold_table(released.folder / THRESHOLDS, released.original)
    if table:
        of_class = np.array([np.nan if row["threshold"] is None else row["threshold"] for row in table.values()])
        other = of_class[added.classes] != added.thresholds
        refuse(other & ~np.isnan(added.thresholds), f"the threshold is not the one of {THRESHOLDS}")
    refuse(_proposed_by_nothing(released), "proposed by a label that is not on the clip")
    n_by_score, n_by_rule = int((~by_rule).sum()), int(by_rule.sum())
    if not np.isnan(added.probabilities).all():
        return f"{n_by_score:,} additions are guesses with a probability, {n_by_rule:,} were by rule"
    return f"{n_by_score:,} additions have a score above their class's threshold, {n_by_rule:,} were by rule"


def _refuse_rows(released: Released, wrong: np.ndarray, message: str) -> None:
    """Raise InputError if a row of the ledger, (M,) bool, is wrong."""
    if wrong.any():
        rows = np.flatnonzero(wrong)
        message = f"{message} ({len(rows)} added labels, first {_first(released, rows)})"
        raise InputError(message, released.folder / files.ADDED, "Run enhance and release again.")


def _verify_guessed(released: Released, lowest: float | None) -> None:
    """Check each row of a ledger with probabilities: a guess, or a label by rule, and why it is there."""
    added, refuse = released.added, partial(_refuse_rows, released)
    guessed = ~np.isnan(added.probabilities)
    proposed = pc.not_equal(pc.fill_null(released.ledger["because"], ""), "").to_numpy()
    refuse(~np.isnan(added.thresholds), "a threshold, where the probability decides")
    refuse(guessed == np.isnan(added.scores), "a probability without a score, or the other way round")
    refuse(guessed & (added.probabilities < (np.inf if lowest is None else lowest)), "a probability below the lowest")
    refuse(guessed == (added.types == TYPE_BITS["II"]), "a guess of type II, or an addition by rule of another type")
    refuse(proposed == (added.types == TYPE_BITS["free"]), "proposed by a label, but free, or the other way round")
    refuse(added.rounds != np.where(guessed, 2, 1), "neither by rule in round 1 nor guessed in round 2")


def _proposed_by_nothing(released: Released) -> np.ndarray:
    """Return which ledger rows name a label under `because` that their clip does not carry, (M,) bool.

    Rows of later rounds may be proposed by labels added in earlier rounds, which a reviewer may have left out since.
    """
    because = pc.split_pattern(pc.fill_null(released.ledger["because"], "").combine_chunks(), ";")
    rows, names = pc.list_parent_indices(because).to_numpy(), pc.list_flatten(because)
    named = pc.not_equal(names, "").to_numpy(zero_copy_only=False)
    rows = rows[named]
    classes = index_in(names.filter(pa.array(named)), released.labels.vocabulary.class_ids)
    clips = released.added.clips[rows]
    on_clip = carried(released.labels.matrix, clips, classes)
    later = released.added.rounds[rows] > 1
    on_clip |= later & (released.facts.rule.reviewed is not None)
    on_clip &= later | carried(released.original.matrix, clips, classes)
    return np.bincount(rows[~on_clip], minlength=len(released.added.clips)) > 0


def verify_windows(released: Released) -> str:
    """Check that the ledger's windows are within their clips, if the release has the clips' lengths.

    As in every score store, no window begins after its clip's end, but the end may cut the last ones.
    (`verify_targets` checks those of targets.h5.)
    """
    windows, onsets = (pc.cast(released.ledger[name], pa.float64()).to_numpy() for name in ("window_s", "onset_s"))
    path = released.folder / files.ADDED
    if (np.isnan(windows) != np.isnan(onsets)).any():
        raise InputError("a window without its onset, or the other way round", path, "Run enhance again.")
    lengths = released.clip_lengths()[released.added.clips]
    wrong = np.flatnonzero(beyond_the_end(onsets, windows, lengths))
    if len(wrong):
        row = int(wrong[0])
        first = f"first {onsets[row]:g} to {onsets[row] + windows[row]:g} s of {released.ledger['clip_id'][row]}"
        message = f"{len(wrong)} windows are not in their clips, {first}, which has {lengths[row]:g} s"
        raise InputError(message, path, "Score with the --window-s and --hop-s of the scores, then enhance again.")
    n_checked = int((~np.isnan(lengths) & ~np.isnan(windows)).sum())
    return f"{n_checked:,} windows are in their clips" if n_checked else ""


def beyond_the_end(onset_s: np.ndarray, window_s: np.ndarray | float, length_s: np.ndarray) -> np.ndarray:
    """Return which windows cannot be in clips of these lengths, (M,) bool; NaN: unknown length, or no window."""
    with np.errstate(invalid="ignore"):
        return (onset_s < 0) | (window_s <= 0) | ((onset_s > 0) & (onset_s > length_s - 1e-6))


# ---- targets and weights ----------------------------------------------------------------------------------------


def verify_targets(released: Released) -> str:
    """Compare the soft targets, if there are any, with clips, classes and the ledger's scores or probabilities."""
    compare = {files.TARGETS: _compare_scale, files.PROBABILITIES: _compare_probabilities}
    name = next((name for name in compare if (released.folder / name).is_file()), None)
    if name is None:
        return ""
    path, labels = released.folder / name, released.labels
    store, absent = ScoreStore.open(path), set(released.missing)
    if store.clip_ids != tuple(clip_id for clip_id in labels.clip_ids if clip_id not in absent):
        raise ClipMismatch(f"its clips are not those of {LABELS} without those of {MISSING}", path, GET_AGAIN)
    for class_id in store.class_ids:
        if class_id not in labels.vocabulary.index:
            raise UnknownClass(f"class {class_id!r} is not in {files.CLASSES}", path, GET_AGAIN)
    with h5py.File(path) as file:
        store.check_unchanged()
        stored = {scale: file[f"scores_{scale}"] for scale in store.scales}
        for scale, data in stored.items():
            block = min(BLOCK_CLIPS, len(data)) * data.nbytes // max(len(data), 1)
            refuse_more_than_fits(block, f"{BLOCK_CLIPS} clips of {scale}", path, GET_AGAIN)
        n_compared = sum(compare[name](released, store, scale, stored[scale]) for scale in stored)
        kinds = {data.dtype.name for data in stored.values()}
    lengths = zip(labels.clip_ids, released.clip_lengths().tolist(), strict=True)
    lengths_s = {clip_id: length for clip_id, length in lengths if not np.isnan(length)}
    store.refuse_beyond({clip_id: lengths_s[clip_id] for clip_id in store.clip_ids if clip_id in lengths_s})
    store.verify()
    as_types = f"as {', '.join(sorted(kinds))}"
    if name == files.TARGETS:  # each score is of one scale
        return f"{name} has {n_compared:,} scores of the ledger, {as_types}"
    at_scales = f" at {len(stored)} scales" if len(stored) > 1 else ""
    return f"{name} has the probabilities of {n_compared // max(len(stored), 1):,} labels{at_scales}, {as_types}"


CERTAIN = 1e-3  # windows state given labels with 1 less this


def _compare_probabilities(released: Released, store: ScoreStore, name: str, stored: h5py.Dataset) -> int:
    """Return how many labels have the stated probability at a scale; InputError if one has another, or none.

    It is the ledger's, and 1 for the labels without one there; the scores of windows state it together.
    """
    labels, added, path = released.labels, released.added, store.path
    clips, classes = labels.matrix.nonzero()
    stated, guessed = np.ones(len(clips)), np.flatnonzero(~np.isnan(added.probabilities))
    keys = pair_keys(added.clips[guessed], added.classes[guessed], len(labels.vocabulary))
    stated[np.searchsorted(label_keys(labels.matrix), keys)] = added.probabilities[guessed]
    rows, columns = index_in(labels.clip_ids, store.clip_ids), index_in(labels.vocabulary.class_ids, store.class_ids)
    there = rows[clips] >= 0
    if (columns < 0).any() or (rows[added.clips[guessed]] < 0).any():
        raise InputError("lacks probabilities that the ledger has", path, GET_AGAIN)
    axes, stated = (rows[clips[there]], columns[classes[there]]), stated[there]
    if name == CLIP:
        wrong = looked_up(stored, *axes) != as_stored(as_stored(stated, np.dtype("float16")), stored.dtype)
    else:
        rounding = 1 / 510 if stored.dtype == np.uint8 else 2.0**-12
        wrong = np.abs(stated_together(stored, *axes) - stated) > CERTAIN + stored.shape[1] * rounding
    if wrong.any():
        message = f"{int(wrong.sum())} values of {name} are not the probabilities of the labels"
        raise InputError(message, path, GET_AGAIN)
    return len(stated)


def _compare_scale(released: Released, store: ScoreStore, name: str, stored: h5py.Dataset) -> int:
    """Return how many of the ledger's scores a scale has; InputError if one differs or is missing."""
    path, scores, ledger = store.path, released.added.scores, released.ledger
    clips, classes = index_in(ledger["clip_id"], store.clip_ids), index_in(ledger["class_id"], store.class_ids)
    scored = ~np.isnan(scores)
    if (scored & ((clips < 0) | (classes < 0))).any():
        raise InputError("lacks scores that the ledger has", path, GET_AGAIN)
    lengths, onsets = (pc.cast(ledger[column], pa.float64()).to_numpy() for column in ("window_s", "onset_s"))
    of_scale = np.isnan(lengths) if name == CLIP else lengths == float(name.removesuffix("s"))
    rows = np.flatnonzero(scored & of_scale)
    axes = [clips[rows], classes[rows]]
    if name != CLIP:
        hop_s = store.hop_s(parse_window(name))
        windows = np.rint(onsets[rows] / hop_s).astype(np.int64)
        if not np.allclose(windows * hop_s, onsets[rows], rtol=0, atol=1e-6):
            raise InputError(f"has no window of {name} where the ledger has one", path, GET_AGAIN)
        axes.insert(1, windows)
    wrong = np.flatnonzero(looked_up(stored, *axes) != as_stored(scores[rows], stored.dtype))
    if len(wrong):
        message = f"{len(wrong)} scores are not those of the ledger (first {_first(released, rows[wrong])})"
        raise InputError(message, path, GET_AGAIN)
    return len(rows)


def verify_weights(released: Released) -> str:
    """Compute the sampling weights again from the labels after the additions."""
    path, labels = released.folder / files.WEIGHTS, released.labels
    ids = sum(2 * len(clip_id.encode()) + 2 for clip_id in labels.clip_ids)
    refuse_unpacked(path, ids + 4 * CELL * (len(labels) + 1))
    try:
        options = pyarrow.csv.ConvertOptions(column_types={"clip_id": TEXT})
        table = pyarrow.csv.read_csv(path, convert_options=options)
        names = table.column_names
        beta = float(names[-1].removeprefix(files.MAX_RULE))
        weights = [pc.cast(table[name], pa.float64()).to_numpy() for name in names[1:]]
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise InputError(f"cannot be read ({first_line(error)})", path, GET_AGAIN) from error
    if names[:2] != ["clip_id", files.SUM_RULE] or len(names) != 3:
        raise InputError(f"its columns are {', '.join(names)}", path, GET_AGAIN)
    if tuple(table["clip_id"].to_pylist()) != labels.clip_ids:
        raise ClipMismatch(f"its clips are not those of {LABELS}", path, GET_AGAIN)
    expected = balanced_weights(labels.matrix), max_rule_weights(labels.matrix, beta, names[-1])
    for name, found, computed in zip(names[1:], weights, expected, strict=True):
        if not np.allclose(found, computed, rtol=TOLERANCE, atol=0):
            raise InputError(f"{name} is not that of the labels after the additions", path, GET_AGAIN)
    return "sampling weights are those of the labels after the additions"
