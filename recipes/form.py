"""The options of train that build a network as a run's, one a line: transfer.sh.

python recipes/form.py work/runs/teacher/config.json
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from pseudolabel.cli import run_verb
from pseudolabel.errors import InputError


def form(args: argparse.Namespace) -> None:
    """Print the options."""
    try:
        config = json.loads(args.config.read_text(encoding="utf-8"))
        name, options, front_end = str(config["name"]), dict(config["options"]), dict(config["front_end"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"not a run's ({type(error).__name__}: {error})", args.config) from error
    options.pop("n_frames", None)
    print("--model", name, sep="\n")
    for option, values in (("--model-options", options), ("--front-end", front_end)):
        print(option, *(f"{key}={json.dumps(value)}" for key, value in values.items()), sep="\n")
    print("--min-frames", config.get("min_frames") or 0, sep="\n")
    mean, std = front_end.get("mean"), front_end.get("std")
    if mean is not None and math.isclose(config.get("fill", math.nan), -mean / std):
        print("--fill", "psla", sep="\n")
    if config.get("precision"):
        print("--precision", config["precision"], sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="form", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--debug", action="store_true")
    raise SystemExit(run_verb(parser, form, None))
