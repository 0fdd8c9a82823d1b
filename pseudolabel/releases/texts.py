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
from pseudolabel.labels.precision_rule import WEAK_AUC
from pseudolabel.labels.thresholds import parse_rule
from pseudolabel.releases.facts import Facts, Guesses

WIDTH = 88  # of plain text files
KINDS = {
    "I": "a missing child of a label that the clip has",
    "II": "a missing parent of a label that the clip has",
    "free": "a class that no label of the clip proposes",
}
SHORT = {"I": "guesses with a parent among the labels", "II": "by rule", "free": "guesses without"}
UNKNOWN_CLIPS = ", trained on clips that were not recorded"


def rule_lines(facts: Facts) -> list[str]:
    """Return the rule as a list of entries of one or two sentences."""
    rule = facts.rule
    if rule.reviewed is not None:
        decisions = ", ".join(f"{n:,} {decision}" for decision, n in rule.reviewed.items())
        lines = [f"People decided on proposed labels ({decisions}); those that were found right were added."]
        more = "Of these, unsupported ones, which only labels found wrong had proposed, were not added."
        return [*lines, more] if rule.reviewed.get("unsupported") else lines
    adds = rule.adds or {} if rule.guesses is None else {}
    lines = [
        f"Type {error}, {KINDS[error]}{f'; candidates are its {adds[error]}' if adds.get(error) else ''}."
        for error in rule.errors
    ]
    if rule.guesses is not None:
        return [*lines, *_guess_lines(facts, rule.guesses)]
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


def _guess_lines(facts: Facts, guesses: Guesses) -> list[str]:
    """Return how labels were guessed, and what is known of how many guesses are right."""
    if "II" in facts.rule.errors:
        lines = ["Type II was added first, by rule, without asking a model; what it added proposed further candidates."]
    else:
        lines = []
    lines.append(
        f"All others are guesses. The probability that a candidate is right was estimated from {evidence_text(facts)}, "
        "and guesses were added from the most probable one down, as long as their mean probability was at least "
        f"{guesses.precision_asked:g}."
    )
    if guesses.lowest_probability is None:
        lines.append("Not even the most probable candidates reached this: no guess was added.")
    else:
        lines.append(f"The lowest probability of an added guess is {guesses.lowest_probability:.3f}.")
    c = "The probability allows for true labels that the list lacks: c, the share that it has, is estimated"
    if guesses.share_given_free is None:
        lines.append(f"{c} for each class.")
    else:
        of_classes = "for each class where a parent is given, and " if "I" in facts.rule.errors else ""
        lines.append(f"{c} {of_classes}for all classes together where none is ({guesses.share_given_free:.2f}).")
    if guesses.judged:
        lines.append(f"The probabilities were corrected by {plural(guesses.judged, 'judged guess')}.")
    else:
        lines.append("No judgements corrected the probabilities: 9 in 10 of the surest guesses are taken to be right.")
    if guesses.closure_judged:
        judged = plural(guesses.closure_judged, "judged label")
        lines.append(f"Of {judged} that were added by rule, {guesses.closure_right} are right.")
    return [*lines, *map(_auc_text, guesses.median_auc), *(f"Warning of the program: {w}." for w in guesses.warnings)]


def _auc_text(auc: float | None) -> str:
    """Return how well a teacher tells labelled clips from others, and what follows from it."""
    if auc is None:
        return "How well the teacher tells labelled clips from others could not be measured."
    weak = f"; below {WEAK_AUC:g} the expected precision is too high" if auc < WEAK_AUC else ""
    return f"The teacher's median AUC of labelled clips against the rest is {auc:.2f}{weak}."


def type_text(facts: Facts, error: str) -> str:
    """Return a type's name in tables: `type I`, or `type free, guesses without`."""
    return f"type {error}, {SHORT[error]}" if facts.rule.guesses is not None else f"type {error}"


def evidence_text(facts: Facts) -> str:
    """Return which score decides, in words."""
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
    guesses = facts.rule.guesses is not None
    if facts.out_of_fold is None:
        nobody = "Nobody recorded whether the teacher was trained on the clips that it scored."
        if guesses:
            return f"{nobody} If it was, the probabilities are rather too low."
        return f"{nobody} Take it for in sample: its scores, and the thresholds made from them, may be too high."
    return (
        "In sample: the teacher scored clips that it was trained on. There it is surer of the labels that the "
        "list has, and less sure of those that it lacks, than on clips it never saw. "
        f"{'The probabilities of guesses are rather too low' if guesses else 'Thresholds have the same fault'}."
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
        nobody = "Nobody has listened to the added labels yet: how many of them are right is not known."
        return f"{nobody}{expected_text(facts)}"
    overall = facts.precision["overall"]
    method = f" ({overall['method']})" if overall.get("method") else ""
    judged = plural(overall["judged"], "judged label")
    return f"Estimated precision of the added labels: {interval_text(overall)}, from {judged}{method}."


def expected_text(facts: Facts) -> str:
    """Return how many of the guesses should be right, and what that says of labels by rule; "" if there are none."""
    guesses = facts.rule.guesses
    if guesses is None or guesses.expected_precision is None:
        return ""
    by_type = [
        f"{100 * of.expected_precision:.1f} % of {of.labels_added:,} of type {error}"
        for error, of in guesses.by_type.items()
        if of.expected_precision is not None
    ]
    text = f" Of the {guesses.labels_added:,} guesses, {100 * guesses.expected_precision:.1f} % should be right"
    text += f" ({', '.join(by_type)})." if len(by_type) > 1 else "."
    if n_by_rule := facts.counts.added.labels_added - guesses.labels_added:
        by_rule = plural(n_by_rule, "label")
        text += f" This leaves out the {by_rule} added by rule, which are right where the labels that imply them are."
    return text


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
