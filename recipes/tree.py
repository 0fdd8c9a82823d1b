"""The tree of the package in docs/architecture.md, made from the first lines of its modules.

python recipes/tree.py            # rewrite the tree
python recipes/tree.py --check    # exit 1 where the page has another one
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, PAGE = ROOT / "pseudolabel", ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- tree: python recipes/tree.py -->\n", "<!-- end of tree -->\n"
COLUMN, WIDTH = 27, 110  # where the texts begin, and where they are wrapped


def first_line(module: Path) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def entry(name: str, text: str) -> str:
    """Return one line of the tree, wrapped to as many as its text needs."""
    lines = textwrap.wrap(text, WIDTH - COLUMN)
    return "\n".join([f"{name:<{COLUMN}}{lines[0]}", *(" " * COLUMN + line for line in lines[1:])])


def modules(folder: Path) -> list[Path]:
    """Return the modules of a package without the package itself, by name."""
    return sorted(path for path in folder.glob("*.py") if path.name not in ("__init__.py", "__main__.py"))


def tree(verbs: Sequence[str], rooms: Sequence[str]) -> str:
    """Return the tree: verbs, what they share, then the rooms in the order of their imports."""
    shared = [path.stem for path in modules(PACKAGE) if path.stem not in verbs]
    lines = [entry("pseudolabel/", first_line(PACKAGE / "__init__.py")), "  # verbs"]
    lines += [entry(f"  {name}.py", first_line(PACKAGE / f"{name}.py")) for name in verbs]
    lines += ["  # what they share"]
    lines += [entry(f"  {name}.py", first_line(PACKAGE / f"{name}.py")) for name in shared]
    for room in rooms:
        lines += [entry(f"  {room}/", first_line(PACKAGE / room / "__init__.py"))]
        lines += [entry(f"    {path.name}", first_line(path)) for path in modules(PACKAGE / room)]
    return "".join(f"{line}\n" for line in ["```", *lines, "```"])


def rooms_in_order() -> tuple[str, ...]:
    """Return the rooms as the test of their imports lists them."""
    for node in ast.parse((ROOT / "tests" / "test_house.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ROOMS":
            return ast.literal_eval(node.value)
    raise LookupError("tests/test_house.py has no ROOMS")


def page_with(page: str, tree: str) -> str:
    """Return a page with the tree between its two marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{tree}{END}{rest.partition(END)[2]}"


def main(argv: Sequence[str]) -> int:
    """Rewrite the page, or say whether it is as it should be."""
    from pseudolabel.cli import VERBS

    page = PAGE.read_text(encoding="utf-8")
    wanted = page_with(page, tree(tuple(VERBS), rooms_in_order()))
    if "--check" in argv:
        return int(page != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
