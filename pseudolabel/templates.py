"""Templates: pages and cards are Jinja2 files, each beside the module that fills it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def render(package: str, name: str, /, **facts: object) -> str:
    """Return the text of a template of a package (`pseudolabel.reports`, `report.html.j2`), filled with `facts`.

    `.html.j2` templates escape everything that is not `Markup`. A line that holds only a `{% statement %}` leaves no
    line behind.

    Raises:
        LookupError: the template names something that has no value.
    """
    from jinja2 import UndefinedError

    try:
        return _environment(package).get_template(name).render(facts)
    except UndefinedError as error:
        raise LookupError(str(error)) from error


def render_parts(package: str, name: str, /, **facts: object) -> Iterator[str]:
    """Yield what `render` returns, in parts: an iterator among the facts is read while the text is written."""
    yield from _environment(package).get_template(name).generate(facts)


def render_paragraphs(package: str, name: str, /, **facts: object) -> list[str]:
    """Return the paragraphs of what `render` returns, each on one line."""
    paragraphs = render(package, name, **facts).split("\n\n")
    return [" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip()]


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
