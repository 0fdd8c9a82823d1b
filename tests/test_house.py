"""The house rules: which module may import which, what stays light, and that every module says what it is for."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pseudolabel
from pseudolabel import layout
from pseudolabel.cli import VERBS

PACKAGE = Path(pseudolabel.__file__).parent
ROOMS = (
    "labels",
    "audio",
    "corpus",
    "scores",
    "models",
    "training",
    "reports",
    "reviews",
    "releases",
    "benchmarks",
)  # each imports only from those before it
FOUNDATION = (
    "errors",
    "layout",
    "packages",
    "machine",
    "formatting",
    "templates",
    "options",
    "tables",
    "temporaries",
    "ownership",
    "artefacts",
    "dry_run",
    "records",
    "progress",
    "workers",
    "blocks",
    "checksums",
    "hdf5_checks",
    "stores",
)
WITHOUT_TORCH = ("labels", "corpus", "simulate", "scores", "enhance", "balance", "release")
LONGEST_MODULE = 400  # lines


def modules_of(package: Path) -> dict[str, Path]:
    """Return {`audio.clips`: file} of every module; a package's `__init__` has the package's name, the root ''."""
    named = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imported_names(path: Path, at_import_only: bool) -> set[str]:
    """Return dotted names that a module imports, anywhere or only when it is imported itself."""
    names, waiting = set(), list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_typing_only(node)
        if not (at_import_only and lazy):
            waiting += ast.iter_child_nodes(node)
    return names


def inner_imports(path: Path, modules: dict[str, Path], at_import_only: bool = False) -> set[str]:
    """Return the modules of the package that a module imports, without the packages they lie in."""
    names = imported_names(path, at_import_only)
    return {name.removeprefix("pseudolabel.") for name in names if name.startswith("pseudolabel.")} & set(modules)


def loaded_with(module: str, modules: dict[str, Path]) -> set[str]:
    """Return the top-level names of all libraries that importing a module imports, through any other module."""
    seen, waiting, libraries = set(), [module], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        parts = name.split(".")
        waiting += [".".join(parts[:n]) for n in range(len(parts))]  # the packages it lies in, the root as ''
        waiting += inner_imports(modules[name], modules, at_import_only=True)
        libraries |= {library.partition(".")[0] for library in imported_names(modules[name], at_import_only=True)}
    return libraries


def broken_rules(package: Path, verbs: tuple[str, ...]) -> list[str]:
    """Return one line for each import that the house forbids."""
    modules, broken = modules_of(package), []
    for module, path in modules.items():
        room = module.partition(".")[0]
        for imported in sorted(inner_imports(path, modules)):
            place = imported.partition(".")[0]
            if room in ROOMS:
                allowed = place in FOUNDATION or place in ROOMS[: ROOMS.index(room) + 1]
            elif room in FOUNDATION:
                allowed = place in FOUNDATION
            else:  # the root, cli and the verbs
                allowed = place not in verbs
            if not allowed:
                broken.append(f"{module} imports {imported}")
        if room in WITHOUT_TORCH:
            directly = {name.partition(".")[0] for name in imported_names(path, at_import_only=False)}
            if "torch" in directly | loaded_with(module, modules):
                broken.append(f"{module} imports torch")
    return broken


def test_no_import_breaks_the_order_of_the_house():
    assert broken_rules(PACKAGE, tuple(VERBS)) == []


def test_the_walk_sees_every_way_of_breaking_the_order(tmp_path):
    for name, text in {
        "errors": "from pseudolabel.audio import clips",
        "cli": "import pseudolabel.labels.table",
        "enhance": "from pseudolabel.audio.clips import x\ndef main():\n    from pseudolabel.train import train",
        "train": "import torch\nfrom pseudolabel import cli",
        "labels/table": "if 1:\n    from pseudolabel.audio.clips import x",
        "labels/fine": "from pseudolabel import errors",
        "audio/clips": "from pseudolabel.audio import frontend",
        "audio/frontend": "import torch.nn",
        "audio/greedy": "def f():\n    from pseudolabel import cli",
        "scores/store": "def f():\n    from torch import nn",
        "reports/page": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pseudolabel.train",
    }.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
    assert sorted(broken_rules(tmp_path, ("enhance", "train"))) == [
        "audio.greedy imports cli",
        "enhance imports torch",
        "enhance imports train",
        "errors imports audio",
        "errors imports audio.clips",
        "labels.fine imports torch",  # through errors and audio
        "labels.table imports audio.clips",
        "labels.table imports torch",
        "reports.page imports train",
        "scores.store imports torch",
    ]


def test_every_module_says_what_it_is_for_and_is_short():
    for module, path in modules_of(PACKAGE).items():
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), f"{module} has no docstring"
        assert text.count("\n") < LONGEST_MODULE, f"{module} is too long"


def test_every_verb_is_a_module_with_a_main():
    for verb in VERBS:
        tree = ast.parse((PACKAGE / f"{verb}.py").read_text(encoding="utf-8"))
        assert "main" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, verb


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("pseudolabel", ("torch", "h5py", "numpy")),
        ("pseudolabel.cli", ("torch", "h5py", "numpy")),
        ("pseudolabel.enhance", ("torch", "sklearn", "matplotlib")),
        ("pseudolabel.balance", ("torch", "sklearn", "matplotlib")),
        ("pseudolabel.scores.store", ("torch", "sklearn", "matplotlib")),
        ("pseudolabel.score", ("torch", "sklearn", "matplotlib")),  # and scores.answers, which it imports
        ("pseudolabel.prepare", ("torch",)),
        ("pseudolabel.review", ("torch", "sklearn", "matplotlib")),
    ],
)
def test_what_must_start_fast_leaves_slow_libraries_alone(module, absent):
    program = f"import sys, {module}; print(*(set({absent!r}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_lazy_names_of_the_package_are_the_classes_of_their_modules():
    for name in pseudolabel.__all__:
        assert getattr(pseudolabel, name)
    assert pseudolabel.ScoreStore is importlib.import_module("pseudolabel.scores.store").ScoreStore
    assert set(pseudolabel.__all__) >= {"Vocabulary", "Ontology", "LabelTable", "EnhanceOptions", "ClipStore"}
    with pytest.raises(AttributeError, match="no attribute 'Scores'"):
        pseudolabel.Scores  # noqa: B018


def test_every_package_is_installed():
    import configparser

    listed = configparser.ConfigParser()
    listed.read(PACKAGE.parent / "setup.cfg")
    found = {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py")}
    assert found <= set(listed["options"]["packages"].split())


def test_one_function_removes_folders_and_benchmarks_alone_have_their_own():
    users = {
        module
        for module, path in modules_of(PACKAGE).items()
        if re.search(r"\brmtree\b|\brmdir\b", path.read_text("utf-8"))
    }
    assert {module for module in users if not module.startswith("benchmarks.")} == {"temporaries", "blocks"}


def test_a_file_that_several_modules_use_is_named_in_layout_alone():
    names = {
        value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str) and "." in value
    }
    repeated = []
    for module, path in modules_of(PACKAGE).items():
        if module == "layout" or module.startswith("benchmarks"):  # whose scratch files nobody else opens
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        repeated += [
            f"{module}:{node.lineno}: {node.value!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and node.value in names and id(node) not in parts
        ]
    assert repeated == []


def test_every_imported_name_exists_where_it_is_imported_from():
    """Imports for types alone never run, so nothing else notices a name that has gone."""
    modules = modules_of(PACKAGE)
    absent = []
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            source = node.module.removeprefix("pseudolabel.") if isinstance(node, ast.ImportFrom) else None
            if source in modules:
                text = modules[source].read_text(encoding="utf-8")
                names = {part.id for part in ast.walk(ast.parse(text)) if isinstance(part, ast.Name)}
                names |= {part.name for part in ast.walk(ast.parse(text)) if hasattr(part, "name")}
                names |= {
                    part.value for part in ast.walk(ast.parse(text)) if isinstance(part, ast.Constant)
                }  # lazy ones
                names |= {other.rpartition(".")[2] for other in modules if other.startswith(f"{source}.")}
                absent += [f"{module}: {source}.{alias.name}" for alias in node.names if alias.name not in names]
    assert absent == []
