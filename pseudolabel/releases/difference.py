"""Compare two label lists: what the second adds, removes and confirms, and where each contradicts the ontology.

Neither list is the truth. If one of them is a second annotation of the same clips, the share of an enhancement's
additions that it confirms is a second opinion on their precision, no more.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy import sparse

from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.errors import ClipMismatch, InputError
from pseudolabel.labels.additions import ERROR_NAMES, carried, index_in
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.ledger import sureness
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import LABELS, LEDGER
from pseudolabel.ownership import files_in, not_ours, read_run
from pseudolabel.releases.folder import PSLA
from pseudolabel.releases.listing import GET_AGAIN
from pseudolabel.tables import read_json

N_BANDS = 4  # score bands, with equally many additions each
N_NAMED = 5  # classes named on the terminal
LEDGERS = ("added_labels.parquet", LEDGER)  # of a release, of a folder written by `enhance`
DIFFERENCE, BY_CLASS, VIOLATED, CONFIRMED = "difference.json", "by_class.csv", "violated_pairs.csv", "confirmed.csv"
WRITTEN = (DIFFERENCE, BY_CLASS, VIOLATED, CONFIRMED)
NOT_A_DIFFERENCE = "not a folder that release diff wrote"


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two lists.

    Args:
        name: display name.
        labels: (N, K) of all its clips.
        ledger: its additions, if it is an enhancement (labels/ledger.py).
    """

    name: str
    labels: LabelTable
    ledger: pa.Table | None = None


# ---- two lists of the same clips --------------------------------------------------------------------------------


def files_of(path: Path) -> tuple[Path, Path | None]:
    """Return the label list and the ledger (None: none) of a list, a release or a folder written by `enhance`."""
    if not path.is_dir():
        return path, None
    if not (path / LABELS).is_file():
        raise InputError(f"there is no {LABELS}", path, "Give a release, a folder that enhance wrote, or a list.")
    return path / LABELS, next((path / name for name in LEDGERS if (path / name).is_file()), None)


def psla_list(path: Path, vocabulary: Vocabulary) -> LabelTable | None:
    """Return psla.json of a release, whose run.json says how its paths have the clips' ids; None for other lists."""
    wav = read_run(path.parent).get("wav") if path.name == PSLA else None
    if not isinstance(wav, str) or wav.count("{clip_id}") != 1:
        return None
    before, after = wav.split("{clip_id}")
    content = read_json(path, GET_AGAIN)
    entries = content.get("data") if isinstance(content, dict) else None
    entries = entries if isinstance(entries, list) else []
    rows = [(entry.get("wav"), entry.get("labels")) for entry in entries if isinstance(entry, dict)]
    fits = len(rows) == len(entries) > 0 and all(
        isinstance(name, str) and isinstance(labels, str) and len(name) > len(wav) - len("{clip_id}")
        and name.startswith(before) and name.endswith(after)
        for name, labels in rows
    )  # fmt: skip
    if not fits:
        return None
    clip_ids = [name[len(before) : len(name) - len(after)] for name, _ in rows]
    return LabelTable.from_sets(clip_ids, (filter(None, labels.split(",")) for _, labels in rows), vocabulary)


def distinct_names(first: Path, second: Path) -> list[str]:
    """Return names for two files or folders, with as many parent folders as it takes to tell them apart."""
    parts = [Path(os.path.abspath(path)).parts for path in (first, second)]
    n = next((n for n in range(1, max(map(len, parts))) if parts[0][-n:] != parts[1][-n:]), 0)
    return ["/".join(of_path[-n:]).replace("//", "/") for of_path in parts]


def common_clips(first: Side, second: Side) -> tuple[LabelTable, LabelTable, int]:
    """Return both lists restricted to their common clips, in the order of the first, and how many ids differ in form.

    Ids that differ in form match (labels/aliases.py); each table keeps its own.

    Raises:
        ClipMismatch: they have no clip in common, or a clip twice.
    """
    matched = match_clips(first.labels.clip_ids, second.labels.row_of, second.name)
    if not matched.found:
        raise ClipMismatch(f"it has no clip of {first.name}", second.name, "Compare lists of the same clips.")
    return first.labels.select(matched.found), second.labels.select(matched.known()), len(matched.aliases)


# ---- counting ---------------------------------------------------------------------------------------------------


def list_difference(first: Side, second: Side, ontology: Ontology) -> dict:
    """Return the content of difference.json, with the rows of `by_class`, `violated_pairs` and `confirmed`."""
    ours, theirs, n_renamed = common_clips(first, second)
    ancestors = ontology.ancestors(ours.vocabulary)
    tables = {first.name: ours, second.name: theirs}
    implied = {name: minus(reached(labels.matrix, ancestors), labels.matrix) for name, labels in tables.items()}
    return {
        "first": first.name,
        "second": second.name,
        "clips": {
            "both": len(ours),
            "only_first": len(first.labels) - len(ours),
            "only_second": len(second.labels) - len(ours),
            "under_another_id": n_renamed,
        },
        "labels": _label_counts(ours.matrix, theirs.matrix, implied[first.name]),
        "agreement": agreement(ours.matrix, theirs.matrix),
        "violations": {
            name: {"labels": lacking.nnz, "clips": int((np.diff(lacking.indptr) > 0).sum())}
            for name, lacking in implied.items()
        },
        "confirmed": {
            side.name: rows
            for side, own, other in ((first, ours, theirs), (second, theirs, ours))
            if (rows := second_opinion(side, own, other))
        },
        "by_class": by_class(ours, theirs),
        "violated_pairs": [row for name in tables for row in _violated_rows(name, tables[name], ancestors)],
    }


def minus(first: sparse.csr_array, second: sparse.csr_array) -> sparse.csr_array:
    """Return the labels of `first` that are not in `second`, csr bool."""
    return sparse.csr_array(first > second)


def reached(labels: sparse.csr_array, ancestors: sparse.csr_array) -> sparse.csr_array:
    """Return the ancestors of the labels, (N, K) csr bool; `ancestors` is [class, ancestor]."""
    return sparse.csr_array(labels.astype(np.int32) @ ancestors.astype(np.int32)).astype(bool)


def _label_counts(first: sparse.csr_array, second: sparse.csr_array, implied: sparse.csr_array) -> dict:
    added, n_clips = minus(second, first), first.shape[0]
    return {
        "first": first.nnz,
        "second": second.nnz,
        "kept": first.multiply(second).nnz,
        "added": added.nnz,
        "removed": minus(first, second).nnz,
        "added_that_the_ontology_implies": added.multiply(implied).nnz,
        "a_clip_first": first.nnz / n_clips,
        "a_clip_second": second.nnz / n_clips,
    }


def violated_pairs(labels: sparse.csr_array, ancestors: sparse.csr_array) -> list[tuple[int, int, int]]:
    """Return (class, ancestor, number of clips with the class but not the ancestor), largest first, without zeros."""
    counts = sparse.csr_array(labels.T.astype(np.int64) @ labels.astype(np.int64))
    n_clips = counts.diagonal()
    pairs = sparse.coo_array(ancestors)
    lacking = n_clips[pairs.row] - np.asarray(counts[pairs.row, pairs.col]).ravel()
    rows = [(int(c), int(a), int(n)) for c, a, n in zip(pairs.row, pairs.col, lacking, strict=True) if n]
    return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))


def _violated_rows(name: str, labels: LabelTable, ancestors: sparse.csr_array) -> list[dict]:
    ids, names = labels.vocabulary.class_ids, labels.vocabulary.names
    return [
        {"list": name, "class_id": ids[k], "name": names[k], "missing": ids[m], "missing_name": names[m], "clips": n}
        for k, m, n in violated_pairs(labels.matrix, ancestors)
    ]


def kappa(both: np.ndarray, first: np.ndarray, second: np.ndarray, n: int) -> np.ndarray:
    """Return Cohen's kappa (1960) of two raters who marked `first` and `second` of `n` items, `both` of them together.

    NaN if both marked all items or none, which leaves nothing to agree on. (scikit-learn's function takes one entry per
    item, which for millions of clips and 527 classes does not fit into memory; the tests compare with it.)
    """
    p, q = first / n, second / n
    observed = 1 - (first + second - 2 * both) / n
    expected = p * q + (1 - p) * (1 - q)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)


def agreement(first: sparse.csr_array, second: sparse.csr_array) -> dict:
    """Return the share of clips with equal labels, the mean Jaccard index (1 if both have none), and Cohen's kappa.

    `kappa` is over all clips and classes together; `kappa_of_classes` is the mean over classes that either list has.
    """
    both = np.diff(sparse.csr_array(first.multiply(second)).indptr)
    either = np.diff(first.indptr) + np.diff(second.indptr) - both
    n, n_classes = first.shape
    together = kappa(np.float64(both.sum()), np.float64(first.nnz), np.float64(second.nnz), n * n_classes)
    of_classes = kappa(*class_counts(first, second), n)
    return {
        "clips_alike": float((both == either).mean()),
        "jaccard": float(np.where(either, both / np.maximum(either, 1), 1.0).mean()),
        "kappa": _number(together),
        "kappa_of_classes": _number(np.nanmean(of_classes)) if not np.isnan(of_classes).all() else None,
    }


def class_counts(first: sparse.csr_array, second: sparse.csr_array) -> tuple[np.ndarray, ...]:
    """Return the number of labels by class in both lists, in the first, and in the second, (K,) each."""
    matrices = (sparse.csr_array(first.multiply(second)), first, second)
    return tuple(np.bincount(matrix.indices, minlength=matrix.shape[1]) for matrix in matrices)


def by_class(ours: LabelTable, theirs: LabelTable) -> list[dict]:
    """Return a row per class: labels in either list, kept, added, removed, kappa."""
    both, first, second = class_counts(ours.matrix, theirs.matrix)
    columns = {
        "class_id": ours.vocabulary.class_ids,
        "name": ours.vocabulary.names,
        "first": first.tolist(),
        "second": second.tolist(),
        "kept": both.tolist(),
        "added": (second - both).tolist(),
        "removed": (first - both).tolist(),
        "kappa": map(_number, kappa(both, first, second, len(ours))),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def second_opinion(side: Side, own: LabelTable, other: LabelTable) -> list[dict]:
    """Return the rows of `confirmed`; none for a list without a ledger, or if the other list is the one before it."""
    rows = [] if side.ledger is None else confirmed(side.ledger, own, other.matrix)
    n_added = rows[0]["in_both"] if rows else 0
    is_before = other.matrix.nnz + n_added == own.matrix.nnz and minus(own.matrix, other.matrix).nnz == n_added
    return [] if is_before and n_added and not rows[0]["confirmed"] else rows


def confirmed(ledger: pa.Table, own: LabelTable, other: sparse.csr_array) -> list[dict]:
    """Return how many additions the other list has: in total, by type, by band of probability or else of score.

    Args:
        own: (N, K) the common clips, under the ledger's ids; additions to other clips are left out.
        other: (N, K) labels of the other list.
    """
    clips = index_in(ledger["clip_id"], own.clip_ids)
    ledger, clips = ledger.filter(pa.array(clips >= 0)), clips[clips >= 0]
    has_too = carried(other, clips, index_in(ledger["class_id"], own.vocabulary.class_ids))
    errors = np.array(ledger["error"].to_pylist(), dtype=object)
    groups = [("all", np.ones(len(clips), bool))]
    groups += [(f"type {error}", errors == error) for error in ERROR_NAMES[1:]]
    groups += score_bands(*sureness(ledger))
    return [
        {
            "additions": name,
            "in_both": int(chosen.sum()),
            "confirmed": int(has_too[chosen].sum()),
            "share": float(has_too[chosen].mean()),
        }
        for name, chosen in groups
        if chosen.any()
    ]


def score_bands(scores: np.ndarray, word: str = "score") -> list[tuple[str, np.ndarray]]:
    """Return (name, mask of additions) for N_BANDS equally full bands of scores, and for additions without a score."""
    scored = ~np.isnan(scores)
    if not scored.any():
        return []
    edges = np.unique(np.quantile(scores[scored], np.linspace(0, 1, N_BANDS + 1)))
    bands = []
    for low, high in itertools.pairwise(edges if len(edges) > 1 else [*edges, *edges]):
        with np.errstate(invalid="ignore"):
            chosen = (scores >= low) & ((scores < high) | ((high == edges[-1]) & (scores == high)))
        bands.append((f"{word} {low:.3f} to {high:.3f}", chosen))
    return [*bands, ("by rule", ~scored)]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


# ---- output -----------------------------------------------------------------------------------------------------


def difference_lines(found: dict) -> list[str]:
    """Return the lines for the terminal."""
    clips, labels, agreed = found["clips"], found["labels"], found["agreement"]
    kappas = ["-" if agreed[name] is None else f"{agreed[name]:.3f}" for name in ("kappa", "kappa_of_classes")]
    lines = [
        f"{found['first']} -> {found['second']}",
        f"  clips      {clips['both']:>10,} in both, {clips['only_first']:,} only in the first, "
        f"{clips['only_second']:,} only in the second; labels of those in both:",
        f"  labels     {labels['first']:>10,} in the first ({labels['a_clip_first']:.2f} a clip), "
        f"{labels['second']:,} in the second ({labels['a_clip_second']:.2f})",
        f"  kept       {labels['kept']:>10,}",
        f"  added      {labels['added']:>10,}, of which the ontology implies "
        f"{labels['added_that_the_ontology_implies']:,} from the first list's labels; "
        f"most added: {_most(found, 'added')}",
        f"  removed    {labels['removed']:>10,}: {_most(found, 'removed')}",
        f"  agreement  {kappas[0]:>10} kappa, {kappas[1]} mean kappa of the classes, "
        f"{agreed['jaccard']:.3f} mean Jaccard, {100 * agreed['clips_alike']:.1f} % of clips alike",
    ]
    for name, counts in found["violations"].items():
        missing = f"{counts['labels']:>10,} ancestors of labels are missing from {counts['clips']:,} clips of {name}"
        pairs = (row for row in found["violated_pairs"] if row["list"] == name)
        first = next((f"; most: {row['name']} without {row['missing_name']} ({row['clips']:,})" for row in pairs), "")
        lines.append(f"  ontology   {missing}{first}")
    for name, rows in found["confirmed"].items():
        lines.append(f"  additions of {name} that the other list has, a second opinion:")
        lines += [
            f"    {row['additions']:<22} {row['confirmed']:>9,} of {row['in_both']:,} ({100 * row['share']:.1f} %)"
            for row in rows
        ]
    return lines


def _most(found: dict, change: str) -> str:
    """Return the classes with most labels of a kind of change."""
    rows = sorted(found["by_class"], key=lambda row: -row[change])[:N_NAMED]
    return "; ".join(f"{row['name']} {row[change]:,}" for row in rows if row[change]) or "nothing"


def write_difference(found: dict, folder: Path) -> None:
    """Write difference.json and its tables into a folder."""
    tables = {BY_CLASS: found["by_class"], VIOLATED: found["violated_pairs"]}
    write_json(folder / DIFFERENCE, {name: found[name] for name in found if f"{name}.csv" not in tables})
    for name, rows in tables.items():
        header = list(rows[0]) if rows else ("list", "class_id", "missing", "clips")
        write_csv(folder / name, header, (row.values() for row in rows))
    rows = ([name, *row.values()] for name, rows in found["confirmed"].items() for row in rows)
    write_csv(folder / CONFIRMED, ("list", "additions", "in_both", "confirmed", "share"), rows)


def not_a_difference(folder: Path) -> str:
    """Return why a folder was not written by `release diff`, or "" if it was (earlier versions wrote no run.json)."""
    if folder.is_symlink() or not folder.is_dir():
        return NOT_A_DIFFERENCE
    there = files_in(folder)
    if there and DIFFERENCE not in there:
        return NOT_A_DIFFERENCE
    return "" if {*there} <= {*WRITTEN} else not_ours(folder, ("release",))
