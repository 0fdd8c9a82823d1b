"""Name the package, or the extra of this one, that provides a module which is not installed."""

from __future__ import annotations

import importlib.util
import sys
from types import TracebackType

from pseudolabel.errors import InputError

EXTRAS = {  # module -> the extra that installs it; every other module comes with this package
    "pandas": "pandas",
    "tensorboard": "tensorboard",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "cleanlab": "compare",
    "sed_scores_eval": "sed",
}
DISTRIBUTIONS = {  # module -> the name that pip knows, if it is another
    "PIL": "pillow",
    "jinja2": "Jinja2",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}


def how_to_install(module: str) -> str:
    """Return the command that installs a module."""
    extra = EXTRAS.get(module)
    return f"pip install 'pseudolabel[{extra}]'" if extra else f"pip install {DISTRIBUTIONS.get(module, module)}"


def missing_package(error: ImportError) -> str:
    """Return a failed import in one line with the remedy; an empty string if the module is one of this package."""
    module = (error.name or "").partition(".")[0]
    if module in ("", "pseudolabel"):
        return ""
    if isinstance(error, ModuleNotFoundError):
        return f"the package {module} is not installed. {how_to_install(module)}"
    name = DISTRIBUTIONS.get(module, module)
    return f"the package {module} cannot be loaded ({error}). pip install --force-reinstall {name}"


def refuse_without(option: str, *modules: str) -> None:
    """Raise InputError if an option needs a module that is not installed."""
    absent = next((name for name in modules if importlib.util.find_spec(name) is None), None)
    if absent:
        raise InputError(f"needs the package {absent}, which is not installed", option, how_to_install(absent))


def say_missing(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report what ends `python -m pseudolabel.VERB`, as `sys.excepthook`: a missing package in one line.

    The imports of a verb come before its main, which turns all other errors into a line.
    """
    program = getattr(sys.modules["__main__"], "__spec__", None)
    line = missing_package(error) if isinstance(error, ImportError) else ""
    if not line or "--debug" in sys.argv or not (program and program.name.startswith("pseudolabel.")):
        sys.__excepthook__(kind, error, trace)
        return
    print(f"{program.name.replace('.', ' ')}: error: {line}", file=sys.stderr)
    raise SystemExit(2)
