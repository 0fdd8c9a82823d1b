"""The options of train that build a network as a run's, one a line: transfer.sh.

python recipes/form.py work/runs/teacher/config.json
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError
from pseudolabel.options import Options, option


@dataclass(frozen=True, kw_only=True)
class FormOptions(Options):
    """Which run."""

    config: Path = option(help="config.json of the run", positional=True)


def form(options: FormOptions) -> None:
    """Print the options."""
    try:
        config = json.loads(options.config.read_text(encoding="utf-8"))
        network, own, front_end = str(config["name"]), dict(config["options"]), dict(config["front_end"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"not a run's ({type(error).__name__}: {error})", options.config) from error
    own.pop("n_frames", None)
    print("--model", network, sep="\n")
    for name, values in (("--model-options", own), ("--front-end", front_end)):
        print(name, *(f"{key}={json.dumps(value)}" for key, value in values.items()), sep="\n")
    print("--min-frames", config.get("min_frames") or 0, sep="\n")
    mean, std = front_end.get("mean"), front_end.get("std")
    if mean is not None and math.isclose(config.get("fill", math.nan), -mean / std):
        print("--fill", "psla", sep="\n")
    if config.get("precision"):
        print("--precision", config["precision"], sep="\n")


if __name__ == "__main__":
    raise SystemExit(run_command("form", __doc__, Command(FormOptions, form), None))
