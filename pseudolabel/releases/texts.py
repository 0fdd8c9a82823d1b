"""How facts are written in documents: numbers for people, Markdown that shows text as it is, YAML without a library."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from pseudolabel.releases.facts import Facts

WIDTH = 88  # of plain text files


def count_of(n: int, what: str) -> str:
    """Return `1 label`, `12,345 labels`; the plural of `class` is `classes`."""
    return f"{n:,} {what}{'' if n == 1 else 'es' if what.endswith('s') else 's'}"


def percent_text(part: float, whole: float, signed: bool = False) -> str:
    """Return `12.3 %`, or `+12.3 %`; "-" where there is no whole."""
    return f"{100 * part / whole:{'+' if signed else ''},.1f} %" if whole else "-"


def source_name(facts: Facts) -> str:
    """Return what the list that labels were added to is called in a sentence."""
    return facts.source or "the original list"


def author_names(facts: Facts) -> tuple[str, ...]:
    """Return who made the release; where nobody was named, its makers."""
    return facts.authors or (f"The makers of {facts.name}",)


def wrapped(text: str) -> str:
    """Return plain text with lines of at most WIDTH signs; its own line ends stay, addresses are not cut."""
    lines = text.split("\n")
    return "\n".join(textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False) for line in lines)


def markdown(text: str) -> str:
    """Return `text` so that GitHub's Markdown shows it as it is, also in the cell of a table."""
    text = " ".join(text.split())
    text = re.sub(r"([\\`*_{}\[\]<>|~$])", r"\\\1", text)
    text = re.sub(r"&(?=#?\w+;)", r"\\&", text)
    text = re.sub(r"(https?)://", r"\1:\\//", text)  # no link that nobody meant
    return re.sub(r"^([#+=-]|\d+(?=[.)](?:\s|$)))", _escaped_start, text)


def _escaped_start(match: re.Match) -> str:
    return f"\\{match[0]}" if not match[0].isdigit() else f"{match[0]}\\"


def code(text: str) -> str:
    """Return `text` as a Markdown code span, which also stands in the cell of a table."""
    if not text:
        return ""
    if "`" in text or "\\|" in text:
        return markdown(text)
    return f"`{' '.join(text.split())}`".replace("|", "\\|")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Return a Markdown table of cells that are escaped already; columns of `numbers` stand right."""
    right = set(numbers)
    marks = ["--:" if column in right else "---" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, marks, *rows))


def folded(title: str, text: str) -> str:
    """Return Markdown that shows `text` on a click."""
    return f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>"


def yaml_text(value: Mapping[str, object]) -> str:
    """Return a mapping as block YAML: keys plain, texts as quoted JSON strings, None and empty values left out.

    Values are texts, numbers, bools, mappings, and lists of texts or mappings. Keys must need no quotes.
    """
    return "\n".join(_yaml_lines(value)) + "\n"


def _yaml_lines(value: Mapping[str, object]) -> list[str]:
    lines = []
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            deeper = [f"  {line}" for line in _yaml_lines(inner)]
        elif isinstance(inner, list | tuple):
            deeper = [line for item in inner for line in _yaml_item(item)]
        elif inner is None or inner == "":
            continue
        else:
            lines.append(f"{key}: {_yaml_scalar(inner)}")
            continue
        lines += [f"{key}:", *deeper] if deeper else []
    return lines


def _yaml_item(item: object) -> list[str]:
    if not isinstance(item, Mapping):
        return [f"  - {_yaml_scalar(item)}"]
    lines = _yaml_lines(item)
    return [f"  - {lines[0]}", *(f"    {line}" for line in lines[1:])]


def _yaml_scalar(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a YAML one
