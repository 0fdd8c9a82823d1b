"""Open a release with the tools of those who take it, and print what each made of it as Markdown tables.

    python tests/releases/clients.py --python NEW/bin/python --python OLD/bin/python        # a small release, made here
    python tests/releases/clients.py work/release-25p --model work/release-student --python NEW/bin/python

Each --python is an interpreter with some of these tools: datasets, pandas, polars, duckdb, mlcroissant, h5py,
huggingface_hub, cffconvert. The small release has the ids 007, 7, NA, a/x, b/x, a clip without labels and one without
scores. What a tool reads is compared with the CSV files of the release, read by Python alone.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

LISTS = {"labels", "because"}  # columns of lists
CSV_FILES = {  # and the columns to compare
    "labels": ("labels.csv", ("clip_id", "labels")),
    "original_labels": ("original_labels.csv.gz", ("clip_id", "labels")),
    "added_labels": ("added_labels.csv.gz", ("clip_id", "class_id", "because")),
    "thresholds": ("thresholds.csv", ("class_id", "name", "reason")),
    "classes": ("classes.csv", ("class_id", "name", "ontology_id")),
    "missing": ("missing.csv", ("clip_id", "reason")),
    "sampling_weights": ("sampling_weights.csv.gz", ("clip_id",)),
}
Rows = list[dict]


def expected(folder: Path, name: str) -> Rows:
    """Return a table's rows, from its CSV file."""
    path = folder / CSV_FILES[name][0]
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as file:
        return compared(name, csv.DictReader(file))


def compared(name: str, rows: object) -> Rows:
    """Return the columns to compare as texts and lists of texts; nothing is the empty text."""

    def plain(column: str, value: object) -> object:
        if column not in LISTS:
            return value.decode() if isinstance(value, bytes) else "" if value is None or value != value else value
        items = filter(None, value.split(";")) if isinstance(value, str) else [] if value is None else value
        return [item.decode() if isinstance(item, bytes) else item for item in items]

    return [{column: plain(column, row[column]) for column in CSV_FILES[name][1]} for row in rows]


# ---- tables -----------------------------------------------------------------------------------------------------


def with_datasets(folder: Path, name: str) -> object:
    from datasets import get_dataset_config_names, load_dataset

    if name not in get_dataset_config_names(str(folder)):  # it loads no table without rows
        return []
    return load_dataset(str(folder), name, split="train")


def with_datasets_inside(folder: Path, name: str) -> object:
    before = Path.cwd()
    os.chdir(folder)
    try:
        return with_datasets(Path.cwd(), name)
    finally:
        os.chdir(before)


def with_pandas(folder: Path, name: str) -> object:
    import pandas

    return pandas.read_parquet(folder / f"{name}.parquet").to_dict("records")


def with_pandas_csv(folder: Path, name: str) -> object:
    import pandas

    return pandas.read_csv(folder / CSV_FILES[name][0], dtype=str, keep_default_na=False).to_dict("records")


def with_polars(folder: Path, name: str) -> object:
    import polars

    return polars.read_parquet(folder / f"{name}.parquet").to_dicts()


def with_polars_csv(folder: Path, name: str) -> object:
    import polars

    return polars.read_csv(folder / CSV_FILES[name][0], infer_schema=False).to_dicts()


def with_duckdb(folder: Path, name: str) -> object:
    return _from_duckdb(f"read_parquet('{folder / name}.parquet')")


def with_duckdb_csv(folder: Path, name: str) -> object:
    return _from_duckdb(f"read_csv('{folder / CSV_FILES[name][0]}', all_varchar = true)")


def _from_duckdb(source: str) -> object:
    import duckdb

    found = duckdb.connect().execute(f"SELECT * FROM {source}")
    columns = [column[0] for column in found.description]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def with_mlcroissant(folder: Path, name: str) -> object:
    import mlcroissant

    records = mlcroissant.Dataset(str(folder / "croissant.json")).records(name)
    return [{key.removeprefix(f"{name}/"): value for key, value in record.items()} for record in records]


READERS: dict[str, tuple[str, Callable[[Path, str], object]]] = {
    "datasets": ("datasets", with_datasets),
    "datasets, inside the folder": ("datasets", with_datasets_inside),
    "pandas": ("pandas", with_pandas),
    "pandas, CSV": ("pandas", with_pandas_csv),
    "polars": ("polars", with_polars),
    "polars, CSV": ("polars", with_polars_csv),
    "DuckDB": ("duckdb", with_duckdb),
    "DuckDB, CSV": ("duckdb", with_duckdb_csv),
    "mlcroissant": ("mlcroissant", with_mlcroissant),
}


# ---- documents --------------------------------------------------------------------------------------------------


def class_names(folder: Path) -> str:
    """Load the class names of the numbers in `classes` with datasets."""
    names = with_datasets(folder, "labels").features["classes"].feature.names
    assert names == [row["name"] for row in expected(folder, "classes")], names
    return f"{len(names)} class names"


def without_complaints(folder: Path) -> str:
    """Check croissant.json."""
    import mlcroissant

    issues = mlcroissant.Dataset(str(folder / "croissant.json")).metadata.ctx.issues
    assert not issues.errors and not issues.warnings, issues.report()
    return "no errors, no warnings"


def data_card(folder: Path) -> str:
    """Read README.md of a release of labels."""
    from huggingface_hub import DatasetCard

    data = DatasetCard.load(folder / "README.md").data.to_dict()
    return f"licence {data['license']}, {len(data['configs'])} configs, {len(data['dataset_info'])} dataset_info"


def model_card(folder: Path) -> str:
    """Read README.md of a released model."""
    from huggingface_hub import ModelCard

    results = ModelCard.load(folder / "README.md").data.eval_results or ()
    figures = (f"{one.metric_name} {one.metric_value:.3f} on {one.dataset_name}" for one in results)
    return "; ".join(figures) or "no evaluation"


def citation(folder: Path) -> str:
    """Validate CITATION.cff."""
    command = [sys.executable, "-m", "cffconvert.cli.cli", "--validate", "-i", str(folder / "CITATION.cff")]
    code = "from cffconvert.cli.cli import cli; cli()"
    done = subprocess.run([sys.executable, "-c", code, *command[3:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def soft_targets(folder: Path) -> str:
    """Read targets.h5 as the card says."""
    import h5py

    with h5py.File(folder / "targets.h5") as file:
        targets = file["scores_clip"][:] * file.attrs["scale"]
        n_clips, n_classes = len(file["clip_id"]), len(file["class_id"])
    assert targets.shape == (n_clips, n_classes) and ((targets >= 0) & (targets <= 1)).all()
    return f"{n_clips} clips, {n_classes} classes"


DOCUMENTS: dict[tuple[str, str], tuple[str, Callable[[Path], str]]] = {
    ("labels", "classes of `labels`"): ("datasets", class_names),
    ("labels", "croissant.json"): ("mlcroissant", without_complaints),
    ("labels", "README.md"): ("huggingface_hub", data_card),
    ("labels", "CITATION.cff"): ("cffconvert", citation),
    ("labels", "targets.h5"): ("h5py", soft_targets),
    ("model", "README.md"): ("huggingface_hub", model_card),
    ("model", "CITATION.cff"): ("cffconvert", citation),
}


# ---- running ----------------------------------------------------------------------------------------------------


def version(package: str) -> str:
    """Return a package's version in this interpreter; "" if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def results(release: Path, model: Path | None) -> Iterator[tuple[str, str, str]]:
    """Yield (tool, what it opened, result) for all tools of this interpreter."""
    for title, (package, read) in READERS.items():
        tool, *how = title.split(", ")
        for name in CSV_FILES if version(package) else ():
            yield ", ".join([f"{tool} {version(package)}", *how]), name, result(lambda: same_rows(release, name, read))  # noqa: B023
    for (kind, document), (package, check) in DOCUMENTS.items():
        folder = release if kind == "labels" else model
        if version(package) and folder and (document != "targets.h5" or (folder / document).is_file()):
            yield f"{package} {version(package)}", f"{kind}: {document}", result(lambda: check(folder))  # noqa: B023


def same_rows(release: Path, name: str, read: Callable[[Path, str], object]) -> str:
    """Read a table; return its number of rows if they are those of its CSV file."""
    rows, right = compared(name, read(release, name)), expected(release, name)
    differing = [(found, row) for found, row in zip(rows, right, strict=False) if found != row]
    assert len(rows) == len(right) and not differing, f"{len(rows)} rows of {len(right)}, {differing[:1]}"
    return f"{len(rows)} row{'' if len(rows) == 1 else 's'}"


def result(check: Callable[[], str]) -> str:
    """Return what a check found, or its error, on one line."""
    try:
        return check()
    except Exception as error:
        return f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def tables(found: list[tuple[str, str, str]]) -> str:
    """Return the results as two Markdown tables."""
    tools = list(dict.fromkeys(tool for tool, name, _ in found if name in CSV_FILES))
    cells = {(tool, name): text for tool, name, text in found}
    lines = ["| tool | " + " | ".join(CSV_FILES) + " |", "| --- |" + " --- |" * len(CSV_FILES)]
    lines += ["| " + " | ".join([tool, *(cells[tool, name] for name in CSV_FILES)]) + " |" for tool in tools]
    lines += ["", "| document | tool | result |", "| --- | --- | --- |"]
    others = sorted({(name, tool, text) for tool, name, text in found if name not in CSV_FILES})
    return "\n".join([*lines, *(f"| {name} | {tool} | {text} |" for name, tool, text in others)])


def main() -> int:
    """Print the tables; return 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", nargs="?", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--python", action="append", default=[], help="an interpreter with some of the tools")
    parser.add_argument("--json", action="store_true", help="print the results of this interpreter alone")
    options = parser.parse_args()
    if options.json:
        print(json.dumps(list(results(options.release, options.model))))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        release, model = options.release, options.model
        if release is None:
            sys.path.insert(0, str(Path(__file__).parent))
            from small_release import make

            release, model = make(Path(temporary))
        folders = [str(release), *(["--model", str(model)] if model else [])]
        offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": temporary}
        found = []
        for python in options.python or [sys.executable]:
            done = subprocess.run(
                [python, __file__, *folders, "--json"], capture_output=True, text=True, check=True, env=offline
            )
            found += map(tuple, json.loads(done.stdout.splitlines()[-1]))
    print(tables(found))
    return int(any("FAILED" in text for *_, text in found))


if __name__ == "__main__":
    raise SystemExit(main())
