"""Self-contained pages: headings, paragraphs, tables, pictures; one file, no script, readable on a phone.

Every function takes plain text and returns HTML; text is escaped here and nowhere else.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

CSS = """
body { margin: 0 auto; padding: 1rem; max-width: 62rem; background: #fff; color: #1a1a1a;
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .3rem; }
p.lead { font-size: 1.1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .3rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #1a1a1a; } th.text, td.text { text-align: left; }
figure { margin: 1rem 0; } figure img { width: 100%; max-width: 900px; height: auto; }
figcaption, ul.notes { color: #444; font-size: .92rem; } ul.notes { padding-left: 1.2rem; }
code { font: .88em ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
summary { cursor: pointer; padding: .4rem 0; }
"""


def page(title: str, sections: Iterable[str]) -> str:
    """Return a whole page."""
    head = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">'
    body = "\n".join(sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n<title>{escape(title)}</title>\n<style>{CSS}</style>\n'
        f"</head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """Return a section with a heading."""
    return "\n".join([f"<section>\n<h2>{escape(title)}</h2>", *parts, "</section>"])


def paragraph(text: str, lead: bool = False) -> str:
    """Return a paragraph, larger where it leads the page."""
    mark = ' class="lead"' if lead else ""
    return f"<p{mark}>{escape(text)}</p>"


def notes(texts: Sequence[str]) -> str:
    """Return a list of small remarks, nothing where there are none."""
    lines = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="notes">{lines}</ul>' if texts else ""


def code_list(entries: Sequence[tuple[str, object]]) -> str:
    """Return a list of (what, path or command)."""
    lines = "".join(f"<li>{escape(what)}: <code>{escape(str(code))}</code></li>" for what, code in entries)
    return f"<ul>{lines}</ul>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], n_text: int = 1) -> str:
    """Return a table that scrolls sideways where it is too wide; the first `n_text` columns are text, left-aligned."""

    def line(cells: Sequence[str], tag: str) -> str:
        marks = (' class="text"' if column < n_text else "" for column in range(len(cells)))
        return "<tr>" + "".join(f"<{tag}{m}>{escape(c)}</{tag}>" for c, m in zip(cells, marks, strict=True)) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table>\n<thead>{line(header, "th")}</thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def picture(png: bytes, title: str, caption: str) -> str:
    """Return a picture with heading and caption, its bytes inside the page."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    described = escape(f"{title}. {caption}")
    return (
        f'<h3>{escape(title)}</h3>\n<figure><img src="{source}" alt="{described}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def folded(summary: str, *parts: str) -> str:
    """Return parts that stay folded until the reader opens them."""
    return "\n".join([f"<details><summary>{escape(summary)}</summary>", *parts, "</details>"])
