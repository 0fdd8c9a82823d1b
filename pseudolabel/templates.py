"""Fill the Jinja2 templates of pages and cards; each template is beside the module that uses it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def render(package: str, name: str, /, **facts: object) -> str:
    """Return a package's template (`pseudolabel.reports`, `report.html.j2`) filled with `facts`.

    `.html.j2` templates escape everything that is not `Markup`. A line with only a `{% statement %}` is removed.

    Raises:
        LookupError: the template uses a name that is not among `facts`.
    """
    from jinja2 import UndefinedError

    try:
        return _environment(package).get_template(name).render(facts)
    except UndefinedError as error:
        raise LookupError(str(error)) from error


def render_parts(package: str, name: str, /, **facts: object) -> Iterator[str]:
    """Yield the text of `render` in parts: iterators among the facts are consumed as the text is produced."""
    yield from _environment(package).get_template(name).generate(facts)


def render_paragraphs(package: str, name: str, /, **facts: object) -> list[str]:
    """Return the paragraphs of `render`'s text, each on one line."""
    paragraphs = render(package, name, **facts).split("\n\n")
    return [" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip()]


def package_text(package: str, *names: str) -> str:
    """Return the text of a package's files (`pseudolabel.reviews`, `player.js`, ...), joined by line ends."""
    return "\n".join(resources.files(package).joinpath(name).read_text(encoding="utf-8") for name in names)


def script_of(package: str, names: Sequence[str]) -> dict[str, object]:
    """Return a package's scripts as `script`, for one script element, and the `script_digest` that a page allows."""
    from markupsafe import Markup

    script = package_text(package, *names)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return {"script": Markup(script), "script_digest": digest}


def script_json(value: object) -> str:
    """Return JSON that is safe in a script element: no `<`, `>` or `&`, whatever the ids and names are."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@cache
def _environment(package: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package, ""),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
