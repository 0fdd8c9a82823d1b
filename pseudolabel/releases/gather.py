"""Gather the facts of a release from an enhanced folder, its inputs and what the user states."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pseudolabel import __version__
from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.additions import TYPE_BITS
from pseudolabel.labels.aliases import same_clips
from pseudolabel.labels.thresholds import is_threshold_file
from pseudolabel.layout import LEDGER, LEDGER_CSV, SEEN_CLIPS, TARGETS, THRESHOLDS, WINDOW_TARGETS
from pseudolabel.progress import note
from pseudolabel.records import Inputs, git_commit, sha256
from pseudolabel.releases.citation import usual_licence
from pseudolabel.releases.counts import count, count_by_class, read_threshold_table, weak_classes
from pseudolabel.releases.enhanced import RULE, Enhanced, read_object
from pseudolabel.releases.facts import Facts, check_precision
from pseudolabel.releases.source_forms import SOURCE_FORMS, form_of
from pseudolabel.releases.targets import matched
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, window_name
from pseudolabel.tables import read_csv

CHANGED = "enhance read changed since, or is elsewhere"
OF_FOLDS = (False, None, True)  # what is said of several teachers: the worst
LIST_IS_GONE = f"the list that {CHANGED}: the list before is computed from the ledger alone (--labels checks it)"
SCORES_ARE_GONE = f"the score store that {CHANGED}, so the card names no teacher: give --scores"
UNRELEASED = ("judged_elsewhere", "looks_complete")  # facts about guesses that only the summary states


def facts_of(
    enhanced: Enhanced,
    documents: Mapping[str, object],
    inputs: Inputs,
    form: str | None = None,
    scores: ScoreStore | None = None,
    teachers: Sequence[Path] = (),
    precision: Mapping | None = None,
    evaluation_touched: bool | None = None,
) -> Facts:
    """Return the facts of a release, without `files` and `documents`, which are known once they are written.

    Args:
        documents: `name`, `title`, `licence`, `source` and other statements by the user; None: the default.
        inputs: the files read beside those of the enhancement.
        form: a key of SOURCE_FORMS; None: the lists have another form.
        scores, teachers: the teacher's scores, and run folders that may be the teacher's.
        precision: precision.json of the review.
        evaluation_touched: whether labels of an evaluation list were changed; None: there is no such list.
    """
    said = {name: value for name, value in documents.items() if value not in (None, "")}
    source = said.get("source", SOURCE_FORMS[form].source if form else "")
    rule, errors = rule_name(enhanced), errors_of(enhanced)
    usual = {
        "name": f"{re.sub(r'[^a-z0-9]+', '-', source.lower()).strip('-') or 'labels'}-enhanced-{rule}",
        "title": f"{source or 'Sound event'} labels with missing ones added ({rule})",
        "licence": usual_licence(source),
        "source": source,
        "released": day_of(enhanced.record),
    }
    stores = [scores, *enhanced.further_stores()] if scores else []
    digests = {**enhanced.inputs, **{Path(path): digest for path, digest in inputs.sha256.items()}}
    thresholds = read_threshold_table(enhanced.folder / THRESHOLDS, enhanced.original)
    by_class = count_by_class(enhanced.original, enhanced.added, errors, thresholds)
    return Facts(
        **{**usual, **said},
        rule=rule_of(enhanced),
        teacher=scores and _joined([teacher_of(store, teachers) for store in stores]),
        out_of_fold=min((store.out_of_fold for store in stores), key=OF_FOLDS.index, default=None),
        evaluation_touched=evaluation_touched,
        precision=precision,
        inputs=[{"name": path.name, "sha256": digest} for path, digest in digests.items()],
        ontology=enhanced.summary.get("ontology", {}),
        counts=count(enhanced.original, enhanced.added, errors, len(enhanced.missing)),
        by_class=by_class,
        weak_classes=weak_classes(by_class, enhanced.scored, precision, guesses="guesses" in enhanced.summary),
        pseudolabel=__version__,
        commit=git_commit(),
    )


def day_of(record: Mapping) -> str:
    """Return the day on which a run ended, as 2026-01-31; "" if its run.json does not say it."""
    try:
        return datetime.fromisoformat(str(record.get("finished"))).date().isoformat()
    except ValueError:
        return ""


# ---- inputs of enhance ------------------------------------------------------------------------------------------


def source_lists(
    enhanced: Enhanced, labels: Path | None, lists: Sequence[Path], format: str | None, inputs: Inputs
) -> tuple[str | None, Sequence[Path]]:
    """Return the form of the source's lists, and the lists.

    Args:
        labels: a list that must have the original labels; None: the one that `enhance` read, if it still exists.
        lists: the source's own lists; empty: the list of the original labels.
        format: form of the given lists; None: detected for each.

    Raises:
        InputError: the labels differ, or the lists have different or unknown forms.
    """
    original = labels or enhanced.label_list()
    if original is None:
        note(LIST_IS_GONE)
    elif labels and enhanced.read_list(labels, format) != enhanced.original:
        message = "its labels are not the enhanced ones without those of the ledger"
        raise InputError(message, labels, "Give the --labels that enhance read.")
    paths = [inputs.read(path) for path in lists] or [path for path in [original] if path]
    forms = {form_of(path, format or (None if lists or labels else enhanced.list_format)) for path in paths}
    if lists and None in forms:
        message = "not a list of the form of AudioSet, FSD50K or ESC-50"
        raise InputError(message, f"--list {first_few(lists)}", "Omit it, or give the source's own lists.")
    if len(forms) > 1:
        raise InputError("the lists have several forms", "--list", "Give lists of one source.")
    return next(iter(forms), None), paths


def soft_targets(
    enhanced: Enhanced, scores: ScoreStore | None, kind: str, scales: Sequence[str | float]
) -> dict[str | float, ScoreStore]:
    """Return the store of each scale of the soft targets: the teacher's, or the probabilities that `enhance` wrote.

    Raises:
        ClipMismatch: no clip has scores.
        InputError: the scores are not here, lack a scale, or `enhance` wrote no probabilities.
    """
    if not enhanced.summary.get("guesses"):
        if scores is None:
            raise InputError("the teacher's scores are not here", f"--soft {kind}", "Give --scores.")
        stores = dict.fromkeys(scales, scores)
        matched(enhanced.labels, stores)
        return stores
    stores = {}
    for scale in scales:
        of_windows = WINDOW_TARGETS, f"--soft-windows {window_name(scale)}"
        name, option = (TARGETS, "--soft") if scale == CLIP else of_windows
        path = enhanced.folder / name
        if not path.is_file():
            message = f"there is no {name}, and what was added by its probability has these as soft targets"
            raise InputError(message, enhanced.folder, f"Enhance again with {option}, or omit --soft {kind}.")
        stores[scale] = ScoreStore.open(path)
    matched(enhanced.labels, stores)
    return stores


def scores_of(enhanced: Enhanced, path: Path | None) -> ScoreStore | None:
    """Return the teacher's scores, from a given store or the one that `enhance` read; None if there are none."""
    if path is None:
        store = enhanced.score_store()
        if store is None and enhanced.scored:
            note(SCORES_ARE_GONE)
        return store
    if not enhanced.reviewed and not enhanced.is_input(path):
        raise InputError("not the scores that enhance read", path, "Give the store of run.json's checksum.")
    return ScoreStore.open(path)


# ---- the rule ---------------------------------------------------------------------------------------------------


def rule_name(enhanced: Enhanced) -> str:
    """Return the rule's name in folder names: `25p`, `psla-mean`, `closure`, `reviewed`."""
    if enhanced.reviewed:
        return "reviewed"
    if not enhanced.scored:
        return "closure"
    prefix = "psla-" if enhanced.summary["profile"] == "psla" else ""
    return f"{prefix}{enhanced.summary['threshold']}"


def rule_of(enhanced: Enhanced) -> dict:
    """Return the options of `enhance` that decided the additions; for reviewed additions, what their ledger says."""
    if enhanced.reviewed:
        windows = pc.drop_null(enhanced.ledger["window_s"])
        scored = not np.isnan(enhanced.added.scores).all()
        return {
            "reviewed": dict(enhanced.summary["decisions"]),
            "threshold": None,
            "errors": errors_of(enhanced),
            "evidence": (window_name(windows[0].as_py()) if len(windows) else CLIP) if scored else None,
        }
    options = enhanced.record["options"]
    rule = {name: enhanced.summary[name] for name in RULE}
    rule |= {name: options[name] for name in ("type1", "type2", "labels_left_out") if options.get(name)}
    rule["fallback_threshold"] = options.get("fallback_threshold")
    if is_threshold_file(str(options.get("threshold"))):
        rule["threshold_file"] = Path(options["threshold"]).name
    if (guesses := enhanced.summary.get("guesses")) is not None:
        closure = guesses["closure_judged"]
        rule["rounds"] = None  # guesses follow the additions by rule, and propose nothing
        guesses = {name: value for name, value in guesses.items() if name not in UNRELEASED}
        rule["guesses"] = guesses | {"closure_judged": closure["judged"], "closure_right": closure["right"]}
    return rule


def errors_of(enhanced: Enhanced) -> list[str]:
    """Return the types that were searched for; for reviewed additions, the types that occur."""
    if "errors" in enhanced.summary:
        return list(enhanced.summary["errors"])
    return [error for error in TYPE_BITS if enhanced.added.of_type([error]).any()]


# ---- the teacher ------------------------------------------------------------------------------------------------


def teacher_of(scores: ScoreStore, runs: Sequence[Path] = ()) -> dict:
    """Return a description of the teacher: name and checksum of each model, its training data, its front end.

    Args:
        runs: run folders that may be the teacher's; they hold the lists of its training clips.
    """
    said = {name: _plain(value) for name, value in scores.attributes.items()}
    models = [_name_and_digest(text) for text in str(said.get("model", "")).split("; ") if text]
    digests = [text for text in str(said.get("trained_on_sha256", "")).split("; ") if text and text != "unknown"]
    teacher = {
        "name": "; ".join(name for name, _ in models),
        "sha256": "; ".join(digest for _, digest in models if digest) or said.get("imported_sha256"),
        "trained_on_clips": _n_clips_trained_on(digests, runs),
        "trained_on_sha256": "; ".join(digests),
        "front_end": _front_end(said.get("front_end")),
        "labels_sha256": said.get("labels_sha256"),
        "precision": said.get("precision"),
        "scores_sha256": sha256(scores.path),
    }
    return {name: value for name, value in teacher.items() if value}


def _joined(teachers: Sequence[Mapping]) -> dict:
    """Return the description of several teachers: texts joined by `; `, other values only where all have the same."""
    if len(teachers) == 1:
        return dict(teachers[0])
    joined = {}
    for name in dict.fromkeys(name for teacher in teachers for name in teacher):
        values = [teacher[name] for teacher in teachers if name in teacher]
        if all(isinstance(value, str) for value in values):
            joined[name] = "; ".join(dict.fromkeys(values))
        elif len(values) == len(teachers) and all(value == values[0] for value in values):
            joined[name] = values[0]
    return joined


def _n_clips_trained_on(digests: Sequence[str], runs: Sequence[Path]) -> int | None:
    """Return how many clips the models were trained on, if the run folders have the lists with these checksums."""
    lists = {sha256(run / SEEN_CLIPS): run / SEEN_CLIPS for run in runs if (run / SEEN_CLIPS).is_file()}
    if not set(digests) <= set(lists):
        return None
    return len({row["clip_id"] for digest in set(digests) for row in read_csv(lists[digest], ("clip_id",))})


def _name_and_digest(text: str) -> tuple[str, str]:
    name, _, digest = text.rpartition(" ")
    return (name, digest) if re.fullmatch(r"[0-9a-f]{64}", digest) else (text, "")


def _front_end(text: object) -> object:
    """Return the front end shared by all models as an object, or a list if they have several."""
    try:
        front_ends = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return text
    alike = isinstance(front_ends, list) and front_ends and all(one == front_ends[0] for one in front_ends)
    return front_ends[0] if alike else front_ends


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if hasattr(value, "item") else value


# ---- evaluation and precision -----------------------------------------------------------------------------------


def touches(enhanced: Enhanced, evaluation: Sequence[str]) -> bool:
    """Return whether a clip that got a label may be one of these evaluation clips (aliases count)."""
    changed = [enhanced.labels.clip_ids[clip] for clip in np.unique(enhanced.added.clips).tolist()]
    return bool(same_clips(changed, evaluation))


def read_precision(path: Path, folder: Path) -> dict:
    """Return the precision.json of `review` for the ledger in a folder.

    Raises:
        InputError: the file is not such an estimate, or is of another ledger.
    """
    precision = read_object(path)
    overall = precision.get("overall")
    if not isinstance(overall, dict) or not {"precision", "low", "high", "judged"} <= set(overall):
        raise InputError("there is no overall precision with its interval", path, "Give review's precision.json.")
    check_precision(precision, path)
    of_ledger = precision.get("ledger_sha256")
    if of_ledger is not None and of_ledger not in (sha256(folder / name) for name in (LEDGER, LEDGER_CSV)):
        raise InputError(
            "the judgements are of another ledger", path, f"Judge {folder / LEDGER}, or leave out --precision."
        )
    return precision
