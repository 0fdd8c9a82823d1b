"""What a release says in words: the rule, the teacher, how far its answers can be trusted, and what was listened to.

Plain text in whole sentences, for the card, croissant.json and everything else that tells people what was done.
"""

from __future__ import annotations

import json
import re

from pseudolabel.releases.facts import Facts
from pseudolabel.releases.texts import count_of

UNKNOWN_CLIPS = ", trained on clips that were not recorded"
KINDS = {"I": "a missing child of a label that the clip has", "II": "a missing parent of a label that the clip has"}


def rule_lines(facts: Facts) -> list[str]:
    """Return the rule, a sentence or two an entry."""
    rule = facts.rule
    if "reviewed" in rule:
        said = ", ".join(f"{n:,} {decision}" for decision, n in rule["reviewed"].items())
        return [f"People decided on proposed labels ({said}); those that were found right were added."]
    adds = rule.get("adds") or {}
    lines = [
        f"Type {error}, {KINDS[error]}{f'; candidates are its {adds[error]}' if adds.get(error) else ''}."
        for error in rule["errors"]
    ]
    if not asked_teacher(facts):
        lines.append("Every label that the rule names was added, without asking a model.")
    else:
        lines.append(
            f"A proposed label was added where {evidence_text(facts)} is above the class's threshold, not equal to it"
            f"{' (where added by rule: always)' * any('by rule' in text for text in adds.values())}."
        )
        lines.append(f"The threshold of a class is {threshold_text(facts)}.")
    if rule.get("rounds", 1) != 1:
        rounds = rule["rounds"]
        often = "until nothing more was added" if rounds == "all" else f"in {rounds} rounds in all"
        lines.append(f"Added labels could propose further ones, {often}; the thresholds stayed the first.")
    if rule.get("profile") == "psla":
        lines.append("Which labels could be proposed follows the published code of PSLA (profile psla).")
    return lines


def asked_teacher(facts: Facts) -> bool:
    """Return whether scores of a model were compared with thresholds."""
    return facts.rule.get("evidence") is not None


def evidence_text(facts: Facts) -> str:
    """Return what is compared with thresholds."""
    evidence = facts.rule.get("evidence")
    if evidence == "clip":
        return "the teacher's score of the whole clip"
    return f"the teacher's best score of the clip's windows of {str(evidence).removesuffix('s')} s"


def threshold_text(facts: Facts) -> str:
    """Return where a class's threshold comes from, in words."""
    rule = facts.rule
    name = str(rule.get("threshold"))
    over = "of the scores of the clips that carry the class"
    if rule.get("threshold_file"):
        text = f"the one in the file {rule['threshold_file']}"
    elif name in ("mean", "median"):
        text = f"the {name} {over}"
    elif match := re.fullmatch(r"([\d.]+)p", name):
        text = f"the {_ordinal(match[1])} percentile {over}"
    else:
        text = f"the constant {name}"
    if rule.get("floor"):
        text += f", but at least {rule['floor']:g}"
    if rule.get("min_positives", 1) > 1:
        text += f"; a class with fewer than {rule['min_positives']} such clips has none, and nothing was added to it"
    return text


def teacher_text(facts: Facts) -> str:
    """Return who answered and what is known of its training, or that no model was asked."""
    teacher = facts.teacher
    if not teacher and "reviewed" in facts.rule:
        return "The ledger says what proposed each label, and with which score."
    if not teacher:
        return "A teacher was asked; nobody recorded which." if asked_teacher(facts) else "No model was asked."
    text = f"Teacher: {teacher.get('name') or 'a model that was not named'}"
    if teacher.get("sha256"):
        text += f" (SHA-256 {teacher['sha256']})"
    trained, listed = teacher.get("trained_on_clips"), teacher.get("trained_on_sha256")
    if trained:
        text += f", trained on {count_of(trained, 'clip')}"
    else:
        text += f", trained on the clips listed in the file of SHA-256 {listed}" if listed else UNKNOWN_CLIPS
    if teacher.get("labels_sha256"):
        text += f", with the label list of SHA-256 {teacher['labels_sha256']}"
    return f"{text}."


def front_end_text(facts: Facts) -> str:
    """Return the teacher's front end as one line of JSON, or ""."""
    front_end = (facts.teacher or {}).get("front_end")
    if not front_end:
        return ""
    return front_end if isinstance(front_end, str) else json.dumps(front_end, ensure_ascii=False, sort_keys=True)


def fold_text(facts: Facts) -> str:
    """Return whether the teacher had seen the clips that it scored, and what follows from it."""
    if not facts.teacher and not asked_teacher(facts):
        return ""
    if facts.out_of_fold:
        return "Out of fold: no model scored a clip that it was trained on."
    if facts.out_of_fold is None:
        return (
            "Nobody recorded whether the teacher was trained on the clips that it scored. Take it for in sample: its "
            "scores, and the thresholds made from them, may be too high."
        )
    return (
        "In sample: the teacher scored clips that it was trained on. There it is surer of the labels that the "
        "list has, and less sure of those that it lacks, than on clips it never saw. Thresholds have the same fault."
    )


def evaluation_text(facts: Facts) -> str:
    """Return whether labels of an evaluation list were changed."""
    if facts.evaluation_touched is None:
        return "Nobody checked whether clips of an evaluation list are among those that got labels."
    if facts.evaluation_touched:
        return (
            "Labels of an evaluation list were changed: results on it are not comparable with results on the original "
            "list."
        )
    return "No clip of an evaluation list got a label."


def precision_text(facts: Facts) -> str:
    """Return how many of the additions are right, with the interval, or that nobody knows."""
    judged = facts.precision is not None and facts.precision["overall"]["judged"]
    if "reviewed" in facts.rule and not judged:
        return "People found each added label right; how often they err was not estimated."
    if not judged:
        return "Nobody has listened to the added labels yet: how many of them are right is not known."
    overall = facts.precision["overall"]
    method = f" ({overall['method']})" if overall.get("method") else ""
    return (
        f"Estimated precision of the added labels: {interval_text(overall)}, "
        f"from {count_of(overall['judged'], 'judged label')}{method}."
    )


def interval_text(row: dict) -> str:
    """Return `0.873 [0.810, 0.920]`, or `-` where nothing was judged."""
    if row["precision"] is None or not row["judged"]:
        return "-"
    return f"{row['precision']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _ordinal(number: str) -> str:
    if not number.isdigit():
        return f"{number}th"
    teen = number[-2:] in ("11", "12", "13")
    return number + ("th" if teen else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th"))
