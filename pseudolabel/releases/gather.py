"""Facts of a release, gathered from an enhanced folder, its inputs and what the user says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pseudolabel.errors import InputError
from pseudolabel.labels.additions import TYPE_BITS
from pseudolabel.labels.aliases import same_clips
from pseudolabel.labels.thresholds import is_threshold_file
from pseudolabel.records import sha256
from pseudolabel.releases.enhanced import LEDGER, LEDGER_CSV, RULE, THRESHOLDS, Enhanced, read_object
from pseudolabel.releases.facts import check_precision
from pseudolabel.releases.tables import count, count_by_class, read_threshold_table, weak_classes
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, window_name
from pseudolabel.tables import read_csv

TRAINED_ON = "train_clips.csv"  # in a run folder: the clips that it saw


def rule_name(enhanced: Enhanced) -> str:
    """Return what folders call the rule: `25p`, `psla-mean`, `closure`, `reviewed`."""
    if enhanced.reviewed:
        return "reviewed"
    if not enhanced.scored:
        return "closure"
    return f"{'psla-' * (enhanced.summary['profile'] == 'psla')}{enhanced.summary['threshold']}"


def rule_of(enhanced: Enhanced) -> dict:
    """Return the options of `enhance` that decided what was added; of reviewed additions, what their ledger tells."""
    if enhanced.reviewed:
        scored = ~np.isnan(enhanced.added.scores)
        windows = pc.drop_null(enhanced.ledger["window_s"])
        evidence = window_name(windows[0].as_py()) if len(windows) else CLIP
        evidence = evidence if scored.any() else None
        decisions = dict(enhanced.summary["decisions"])
        return {"reviewed": decisions, "threshold": None, "errors": errors_of(enhanced), "evidence": evidence}
    options = enhanced.record["options"]
    rule = {name: enhanced.summary[name] for name in RULE}
    rule |= {name: options[name] for name in ("type1", "type2", "labels_left_out") if options.get(name)}
    if is_threshold_file(str(options.get("threshold"))):
        rule["threshold_file"] = Path(options["threshold"]).name
    return rule


def errors_of(enhanced: Enhanced) -> list[str]:
    """Return the types that were looked for; of reviewed additions those that were found."""
    if "errors" in enhanced.summary:
        return list(enhanced.summary["errors"])
    return [error for error, bit in TYPE_BITS.items() if (enhanced.added.types & bit).any()]


def tables_of(enhanced: Enhanced, precision: Mapping | None) -> dict:
    """Return the facts `counts`, `by_class` and `weak_classes`."""
    thresholds = read_threshold_table(enhanced.folder / THRESHOLDS, enhanced.original)
    counts = count(enhanced.original, enhanced.added, errors_of(enhanced), len(enhanced.missing))
    by_class = count_by_class(enhanced.original, enhanced.added, errors_of(enhanced), thresholds)
    return {"counts": counts, "by_class": by_class, "weak_classes": weak_classes(by_class, enhanced.scored, precision)}


def teacher_of(scores: ScoreStore, runs: Sequence[Path] = ()) -> dict:
    """Return who answered: name and checksum of each model, what it was trained on, its front end.

    Args:
        runs: run folders that may be the teacher's: how many clips it was trained on stands there.
    """
    said = {name: _plain(value) for name, value in scores.attributes.items()}
    models = [_name_and_digest(text) for text in str(said.get("model", "")).split("; ") if text]
    digests = [text for text in str(said.get("trained_on_sha256", "")).split("; ") if text and text != "unknown"]
    teacher = {
        "name": "; ".join(name for name, _ in models),
        "sha256": "; ".join(digest for _, digest in models if digest) or said.get("imported_sha256"),
        "trained_on_clips": _clips_trained_on(digests, runs),
        "trained_on_sha256": "; ".join(digests),
        "front_end": _front_end(said.get("front_end")),
        "labels_sha256": said.get("labels_sha256"),
        "precision": said.get("precision"),
        "scores_sha256": sha256(scores.path),
    }
    return {name: value for name, value in teacher.items() if value}


def out_of_fold(scores: ScoreStore) -> bool | None:
    """Return whether no model had seen the clips that it scored; None where the store does not say."""
    value = scores.attributes.get("out_of_fold")
    return None if value is None else bool(value)


def evaluation_touched(enhanced: Enhanced, evaluation: Sequence[str]) -> bool:
    """Return whether a clip that got a label may be one of these evaluation clips (aliases count)."""
    changed = [enhanced.labels.clip_ids[clip] for clip in sorted(set(enhanced.added.clips.tolist()))]
    return bool(same_clips(changed, evaluation))


def read_precision(path: Path, folder: Path) -> dict:
    """Return what judgements of the ledger in a folder say (precision.json of `review --judgements`).

    Raises:
        InputError: no estimate, or one of another ledger.
    """
    precision = read_object(path)
    overall = precision.get("overall")
    if not isinstance(overall, dict) or not {"precision", "low", "high", "judged"} <= set(overall):
        raise InputError("there is no overall precision with its interval", path, "Give review's precision.json.")
    check_precision(precision, path)
    of_ledger = precision.get("ledger_sha256")
    if of_ledger is not None and of_ledger not in (sha256(folder / name) for name in (LEDGER, LEDGER_CSV)):
        raise InputError("the judgements are of another ledger", path, f"Judge {folder / LEDGER}.")
    return precision


def _clips_trained_on(digests: Sequence[str], runs: Sequence[Path]) -> int | None:
    """Return how many clips the models saw together, where the run folders have the lists of these checksums."""
    lists = {sha256(run / TRAINED_ON): run / TRAINED_ON for run in runs if (run / TRAINED_ON).is_file()}
    if not set(digests) <= set(lists):
        return None
    return len({row["clip_id"] for digest in set(digests) for row in read_csv(lists[digest], ("clip_id",))})


def _name_and_digest(text: str) -> tuple[str, str]:
    name, _, digest = text.rpartition(" ")
    return (name, digest) if re.fullmatch(r"[0-9a-f]{64}", digest) else (text, "")


def _front_end(text: object) -> object:
    """Return the front end that all models have, as an object; a list where they have several."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return text
    return found[0] if isinstance(found, list) and found and all(one == found[0] for one in found) else found


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if hasattr(value, "item") else value
