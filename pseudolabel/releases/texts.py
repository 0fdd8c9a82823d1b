"""Facts in words, Markdown and YAML: the rule, the teacher, how far to trust its scores, what was judged.

Sentences are plain text, for the card, croissant.json and other descriptions.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Mapping

import yaml

from pseudolabel.formatting import percent, plural
from pseudolabel.labels.thresholds import parse_rule
from pseudolabel.releases.facts import Facts

WIDTH = 88  # of plain text files
KINDS = {"I": "a missing child of a label that the clip has", "II": "a missing parent of a label that the clip has"}
UNKNOWN_CLIPS = ", trained on clips that were not recorded"


def rule_lines(facts: Facts) -> list[str]:
    """Return the rule as a list of entries of one or two sentences."""
    rule = facts.rule
    if rule.reviewed is not None:
        decisions = ", ".join(f"{n:,} {decision}" for decision, n in rule.reviewed.items())
        return [f"People decided on proposed labels ({decisions}); those that were found right were added."]
    adds = rule.adds or {}
    lines = [
        f"Type {error}, {KINDS[error]}{f'; candidates are its {adds[error]}' if adds.get(error) else ''}."
        for error in rule.errors
    ]
    if not facts.asked_teacher:
        lines.append("Every label that the rule names was added, without asking a model.")
    else:
        by_rule = " (where added by rule: always)" if any("by rule" in text for text in adds.values()) else ""
        above = f"where {evidence_text(facts)} is above the class's threshold, not equal to it"
        lines.append(f"A proposed label was added {above}{by_rule}.")
        lines.append(f"The threshold of a class is {threshold_text(facts)}.")
    if rule.rounds not in (1, None):
        often = "until nothing more was added" if rule.rounds == "all" else f"in {rule.rounds} rounds in all"
        lines.append(f"Added labels could propose further ones, {often}; the thresholds stayed the first.")
    if rule.profile == "psla":
        lines.append("Which labels could be proposed follows the published code of PSLA (profile psla).")
    return lines


def evidence_text(facts: Facts) -> str:
    """Return which score is compared with thresholds, in words."""
    if facts.rule.evidence == "clip":
        return "the teacher's score of the whole clip"
    return f"the teacher's best score of the clip's windows of {str(facts.rule.evidence).removesuffix('s')} s"


def threshold_text(facts: Facts) -> str:
    """Return how a class's threshold is computed, in words."""
    rule = facts.rule
    from_file = f"the one in the file {rule.threshold_file}"
    text = from_file if rule.threshold_file else parse_rule(str(rule.threshold)).words
    if rule.floor:
        text += f", but at least {rule.floor:g}"
    if rule.fallback_threshold is not None:
        text += f"; {rule.fallback_threshold:g} for a class that fewer than {rule.min_positives} scored clips carry"
    elif rule.min_positives is not None and rule.min_positives > 1:
        text += f"; a class with fewer than {rule.min_positives} such clips has none, and nothing was added to it"
    return text


def teacher_text(facts: Facts) -> str:
    """Return which model scored the clips and what it was trained on, or that none did."""
    teacher = facts.teacher
    if teacher is None and facts.rule.reviewed is not None:
        return "The ledger says what proposed each label, and with which score."
    if teacher is None:
        return "A teacher was asked; nobody recorded which." if facts.asked_teacher else "No model was asked."
    text = f"Teacher: {teacher.name or 'a model that was not named'}"
    if teacher.sha256:
        text += f" (SHA-256 {teacher.sha256})"
    if teacher.trained_on_clips:
        text += f", trained on {plural(teacher.trained_on_clips, 'clip')}"
    elif teacher.trained_on_sha256:
        text += f", trained on the clips listed in the file of SHA-256 {teacher.trained_on_sha256}"
    else:
        text += UNKNOWN_CLIPS
    if teacher.labels_sha256:
        text += f", with the label list of SHA-256 {teacher.labels_sha256}"
    return f"{text}."


def front_end_text(facts: Facts) -> str:
    """Return the teacher's front end as one line of JSON, or ""."""
    front_end = facts.teacher and facts.teacher.front_end
    if not front_end or isinstance(front_end, str):
        return front_end or ""
    return json.dumps(front_end, ensure_ascii=False, sort_keys=True)


def fold_text(facts: Facts) -> str:
    """Return whether the teacher had seen the clips that it scored, and what that implies."""
    if facts.teacher is None and not facts.asked_teacher:
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
    """Return how many of the additions are right, with the interval, or that nobody has judged them."""
    if facts.precision is None or not facts.precision["overall"]["judged"]:
        if facts.rule.reviewed is not None:
            return "People found each added label right; how often they err was not estimated."
        return "Nobody has listened to the added labels yet: how many of them are right is not known."
    overall = facts.precision["overall"]
    method = f" ({overall['method']})" if overall.get("method") else ""
    judged = plural(overall["judged"], "judged label")
    return f"Estimated precision of the added labels: {interval_text(overall)}, from {judged}{method}."


def interval_text(row: Mapping) -> str:
    """Return `0.873 [0.810, 0.920]`, or `-` if nothing was judged."""
    if row["precision"] is None or not row["judged"]:
        return "-"
    return f"{row['precision']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def share(part: float, whole: float, signed: bool = False) -> str:
    """Return `12.3 %`, or `+12.3 %`; "-" if the whole is 0."""
    return percent(100 * part / whole if whole else None, signed)


def wrapped(text: str) -> str:
    """Return plain text wrapped to at most WIDTH characters; line breaks are kept, addresses are not cut."""
    lines = text.split("\n")
    return "\n".join(textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False) for line in lines)


def markdown(text: str) -> str:
    """Return Markdown that GitHub renders as `text`, also in a table cell."""
    text = " ".join(text.split())
    text = re.sub(r"([\\`*_{}\[\]<>|~$])", r"\\\1", text)
    text = re.sub(r"&(?=#?\w+;)", r"\\&", text)
    text = re.sub(r"(https?)://", r"\1:\\//", text)  # no accidental link
    text = re.sub(r"^(?=[#+=-])", r"\\", text)
    return re.sub(r"^(\d+)(?=[.)](?:\s|$))", r"\1\\", text)


def code(text: str) -> str:
    """Return `text` as a Markdown code span, also for a table cell."""
    if not text:
        return ""
    if "`" in text or "\\|" in text:
        return markdown(text)
    return f"`{' '.join(text.split())}`".replace("|", "\\|")


class _Blocks(yaml.SafeDumper):
    """Block YAML with plain keys (where they are read as text), quoted texts and indented lists."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def choose_scalar_style(self) -> str:
        return "" if self.simple_key_context and self.event.implicit[0] else super().choose_scalar_style()


_Blocks.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def yaml_text(value: Mapping[str, object]) -> str:
    """Return a mapping as YAML, without entries that are None or empty."""
    return yaml.dump(_given(value), Dumper=_Blocks, sort_keys=False, allow_unicode=True, width=math.inf)


def _given(value: object) -> object:
    """Return a value without the entries of its mappings that are None or empty."""
    if isinstance(value, Mapping):
        inner = {key: _given(item) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item not in (None, "", [], {})}
    return [_given(item) for item in value] if isinstance(value, list | tuple) else value
