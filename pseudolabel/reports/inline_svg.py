"""Inline SVG: a figure as matplotlib writes it, made small, and with the page's colours of text and lines."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GRID, PAPER = "#1a1a1a", "#dddddd", "#fefefe"  # in a figure these become the page's colours, dark or light
PAGE_COLOURS = {INK: "currentColor", GRID: "var(--line)", PAPER: "var(--paper)"}
NOT_NEEDED = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>"
    r"|\sxmlns(?::xlink)?=\"[^\"]*\"|font-family: [^;\"]*;?\s*|(?<=\") *transform=\"rotate\(-0 [^\"]*\)\"",
    re.DOTALL,
)
SIZE = re.compile(r'(<svg [^>]*?)width="[\d.]+pt" height="[\d.]+pt" ')
LONG_FRACTION = re.compile(r"(\d\.\d\d)\d+")


def inline_svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element for a page: text stays text, the same figure and name give the same bytes.

    What the page's style sheet gives is left out: the font and the joins of lines. Ids depend on `name`, so that
    several figures can be on one page.
    """
    from matplotlib.style import context

    buffer = io.StringIO()
    with context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = SIZE.sub(r"\1", NOT_NEEDED.sub("", buffer.getvalue()), count=1)
    used = set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', text))
    text = re.sub(r"<[^>]*>", lambda tag: _short_tag(tag[0], used), text)
    return re.sub(r">\s+<", "><", text).strip()


def _short_tag(tag: str, used: set[str]) -> str:
    """Return a tag without an id that nothing uses, with two decimals, in the page's colours."""
    tag = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", tag)
    tag = LONG_FRACTION.sub(r"\1", tag).replace("xlink:href", "href")
    for colour, of_page in PAGE_COLOURS.items():
        tag = tag.replace(colour, of_page)
    return re.sub(r"\s+", " ", tag)
