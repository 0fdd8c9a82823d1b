"""Whether a document says what the facts of a release say, also where another version wrote it in other words.

A document of this version has the very bytes that this version writes from the facts. One of another version must have
the checksum that run.json holds, and its figures must be true: every line with a digit in it has the figures of a line
that this version writes, in the same order; a row of a table those of the row that begins alike; the lines that name
licence, version and title are the same, and no other web address is named. What machines read (croissant.json without
its free texts, the header of README.md) and the sections of README.md that say how labels were added, which, and how
many are right must be as this version writes them: in other words they may be true, but cannot be compared, and are
not believed. Other sentences without figures are not looked at: a release is not signed, so whoever can change all of
its files can also change what run.json says of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pseudolabel import __version__
from pseudolabel.errors import InputError, first_few
from pseudolabel.records import sha256
from pseudolabel.releases.listing import GET_ANEW
from pseudolabel.tables import parse_json

FIGURE = re.compile(r"\S*\d\S*")
MARKS = "*_`|()[]{}<>,.;:!?\"'"  # around a figure
CELLS = re.compile(r"(?<!\\)\|")
SAME = (  # begins of lines that no version words otherwise
    "# ", "license:", "title:", "version:", "date-released:", "url:", "family-names:", "given-names:", "name:",
    "SPDX-License-Identifier:", '"license":', '"version":', '"alternateName":',
)  # fmt: skip
ADDRESS = re.compile(r"(?i)(?:[\w&;:]*\\?/\\?/|www\.)[^\s\"'<>)\]}`|]+")
FREE = ("description", "citeAs")  # texts of croissant.json that a version may word otherwise
TOLD = ("## How the labels were added", "## What was added", "## How many additions are right")  # word by word
VERSION = re.compile(r"[\w.+!-]{1,80}")
MOST_LARGER, MOST_BYTES = 4, 1 << 16  # how much longer than this version's a document may be
Signature = tuple[str, tuple[str, ...]]  # the first cell of a table's row, the figures


def described_documents(texts: Mapping[str, str], folder: Path) -> tuple[dict, ...]:
    """Return what run.json says of the documents in a folder."""
    return tuple(
        {"name": name, "bytes": len(text.encode("utf-8")), "sha256": sha256(folder / name)}
        for name, text in texts.items()
    )


def verify_documents(
    folder: Path,
    texts: Mapping[str, str],
    described: Iterable[Mapping],
    made_by: str,
    needed: Iterable[int],
    otherwise: str = "says something else than run.json",
) -> bool:
    """Compare documents with what the facts say; return whether they are byte for byte as this version writes them.

    Args:
        texts: {name: text} as this version writes them.
        described: what run.json says of the documents, nothing in releases of earlier versions.
        made_by: the version that wrote them.
        needed: figures that README.md must have.
        otherwise: what a document does that says something else.
    Raises:
        InputError: a document says something else, or figures that this version cannot count again.
    """
    stated, same = {row["name"]: row for row in described}, True
    if stated and set(stated) != set(texts):
        names = first_few(sorted(set(stated) ^ set(texts)))
        raise InputError(f"documents are not those of a release: {names}", folder / "run.json", GET_ANEW)
    for name, text in texts.items():
        path, expected = folder / name, text.encode("utf-8")
        alike = path.stat().st_size == len(expected) and path.read_bytes() == expected
        noted = not stated or (stated[name]["sha256"], stated[name]["bytes"]) == (sha256(path), path.stat().st_size)
        if not noted or (not alike and (made_by == __version__ or not stated)):
            raise InputError(otherwise, path, GET_ANEW)
        if not alike:
            remedy = f"Verify with pseudolabel {made_by}, or get the release anew."
            remedy = remedy if VERSION.fullmatch(str(made_by)) else GET_ANEW
            found = _verify_words(path, text, remedy, needed if name == "README.md" else ())
            _verify_parts(path, found, text, remedy)
            same = False
    return same


def _verify_words(path: Path, text: str, remedy: str, needed: Iterable[int]) -> str:
    """Compare figures and addresses of a document with those of the text that this version writes; return its text."""
    if path.stat().st_size > MOST_LARGER * len(text.encode("utf-8")) + MOST_BYTES:
        raise InputError("far longer than this version writes it", path, remedy)
    try:
        read = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"cannot be read ({error})", path, GET_ANEW) from error
    lines, expected = (_lines(path, content) for content in (read, text))
    known = {_signature(line) for line in expected}
    for number, line in enumerate(lines, 1):
        signature = _signature(line)
        if signature[1] and signature not in known:
            message = f"says figures that the files do not say: {first_few(signature[1])}"
            raise InputError(message, f"{path}:{number}", remedy)
    for begin in SAME:
        found, right = (_beginning(begin, of) for of in (lines, expected))
        if found != right:
            differing = first_few(sorted(found - right) or sorted(right - found))
            raise InputError(f"does not say {begin.strip()} as run.json does: {differing}", path, remedy)
    figures = {figure for line in lines for figure in _signature(line)[1]}
    if absent := [f"{n:,}" for n in needed if f"{n:,}" not in figures]:
        raise InputError(f"does not say {first_few(absent)}, which run.json does", path, remedy)
    addresses, right = ({*ADDRESS.findall("\n".join(of))} for of in (lines, expected))
    if strange := addresses - right:
        raise InputError(f"names {first_few(sorted(strange))}, which run.json does not", path, remedy)
    return read


def _verify_parts(path: Path, found: str, text: str, remedy: str) -> None:
    """Raise InputError where a part that must be as this version writes it, of JSON or Markdown, is not."""
    if path.suffix not in (".json", ".md"):
        return
    of_file, expected = (_json_parts(c) if path.suffix == ".json" else _markdown_parts(c) for c in (found, text))
    differing = [name for name in {**expected, **of_file} if of_file.get(name) != expected.get(name)]
    if differing:
        message = f"cannot tell whether {first_few(differing)} says what run.json says: this version words it otherwise"
        raise InputError(message, path, remedy)


def _json_parts(text: str) -> dict[str, str]:
    """Return each value of a JSON object as text in which true, 1 and 1.0 differ, free texts left out."""
    content = parse_json(text, "")
    return {key: json.dumps(_without_free({key: value}), sort_keys=True) for key, value in content.items()}


def _without_free(value: object) -> object:
    if isinstance(value, list):
        return [_without_free(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        key: "" if key in FREE and isinstance(inner, str) else inner if key == "@context" else _without_free(inner)
        for key, inner in value.items()
    }


def _markdown_parts(text: str) -> dict[str, list[str]]:
    """Return the YAML header and the sections of TOLD, each as all texts that have this title."""
    header, _, body = text.partition("\n---\n")
    parts = {"the header": [header]}
    for section in re.split(r"^(?=## )", body, flags=re.MULTILINE):
        title, _, inside = section.partition("\n")
        if title.strip() in TOLD:
            parts.setdefault(title.strip().removeprefix("## "), []).append(inside.strip())
    return parts


def _lines(path: Path, text: str) -> list[str]:
    """Return the lines of a document: of JSON as it is indented, of plain text whole paragraphs."""
    if path.suffix == ".json":
        content = parse_json(text, path, remedy=GET_ANEW)
        if not isinstance(content, dict):
            raise InputError("not a JSON object", path, GET_ANEW)
        return json.dumps(content, indent=2, ensure_ascii=False).split("\n")
    if not path.suffix:
        return [" ".join(part.split()) for part in text.split("\n\n")]
    return text.split("\n")


def _beginning(begin: str, lines: Iterable[str]) -> set[str]:
    return {line for line in (line.strip().removeprefix("- ") for line in lines) if line.startswith(begin)}


def _signature(line: str) -> Signature:
    """Return what must be true of a line: its figures, and what they are of where it is the row of a table."""
    figures = tuple(found.strip(MARKS) for found in FIGURE.findall(line))
    return (CELLS.split(line)[1].strip() if line.lstrip().startswith("|") and "|" in line[1:] else ""), figures
