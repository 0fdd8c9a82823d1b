"""The code in a data card: how to load a release, to take additions back, and to verify it. A test runs all of it."""

from __future__ import annotations

from collections.abc import Iterator

from pseudolabel.releases.croissant import tables_of
from pseudolabel.releases.facts import Facts

PLAIN = """\
import csv

with open("labels.csv", encoding="utf-8", newline="") as file:
    labels = {row["clip_id"]: [k for k in row["labels"].split(";") if k] for row in csv.DictReader(file)}
with open("classes.csv", encoding="utf-8", newline="") as file:
    names = {row["class_id"]: row["name"] for row in csv.DictReader(file)}
print(len(labels), "clips,", len(names), "classes,", sum(map(len, labels.values())), "labels")"""
OURS = """\
from pseudolabel import LabelTable, Vocabulary

table = LabelTable.read("labels.csv", Vocabulary.load("classes.csv"))  # .clip_ids, .matrix (clips, classes)"""
PANDAS = """\
import pandas

frame = pandas.read_parquet("labels.parquet")  # clip_id, labels (a list)
ledger = pandas.read_parquet("added_labels.parquet")  # every added label, what proposed it, score, threshold"""
DATASETS = """\
from datasets import load_dataset

rows = load_dataset(".", "labels", split="train")  # "." is this folder; further tables: {others}"""
CROISSANT = """\
import mlcroissant

for record in mlcroissant.Dataset("croissant.json").records("labels"):
    print(record["labels/clip_id"], record["labels/labels"])  # texts come as bytes
    break"""
TARGETS = """\
import h5py

with h5py.File("targets.h5") as file:  # scores_clip (clips, classes); scores_2s (clips, windows, classes), where it is
    heard, scored = file["clip_id"].asstr()[:], file["class_id"].asstr()[:]
    targets = {name: file[name][:] * file.attrs["scale"] for name in file if name.startswith("scores_")}"""
UNDO = """\
import gzip

with gzip.open("added_labels.csv.gz", "rt", encoding="utf-8", newline="") as file:
    added = {(row["clip_id"], row["class_id"]): row for row in csv.DictReader(file)}
before = {clip: [k for k in ids if (clip, k) not in added] for clip, ids in labels.items()}
print(len(added), "labels taken back,", sum(map(len, before.values())), "left")"""
COMMANDS = """\
sha256sum --check SHA256SUMS
python -m pseudolabel.release verify .
python -m pseudolabel.enhance undo added_labels.parquet --labels labels.csv --vocabulary classes.csv \\
    --out ../original.csv"""
FORMS = {
    "segments.csv": "code for AudioSet takes `segments.csv` in the place of the published segment list",
    "fsd50k.csv": "code for FSD50K takes `fsd50k.csv` in the place of the ground truth",
    "esc50.csv": "code for ESC-50 takes `esc50.csv` in the place of the published one; its further column `labels` has "
    "all categories of a clip (`category` is the published one: code that reads it alone sees no addition)",
    "psla.json": "code made for PSLA takes `psla.json`",
}


def load_sections(facts: Facts) -> Iterator[str]:
    """Yield how to load a release, in Markdown."""
    yield "In this folder, with nothing but Python:"
    yield _python(PLAIN)
    forms = [text for name, text in FORMS.items() if facts.file(name)]
    if forms:
        yield f"Without new code: {'; '.join(forms)}."
    yield "With this project's reader, pandas, the `datasets` library, or any reader of Croissant:"
    yield _python(OURS)
    yield _python(PANDAS)
    others = ", ".join(table.name for table in tables_of(facts) if table.name != "labels")
    yield _python(DATASETS.format(others=others))
    yield _python(CROISSANT)
    if facts.file("targets.h5"):
        yield "The teacher's scores, for any code that reads HDF5:"
        yield _python(TARGETS)


def undo_sections(facts: Facts) -> Iterator[str]:
    """Yield how to take additions back and how to verify a release, in Markdown."""
    yield (
        "`original_labels.csv.gz` is the list before. The ledger takes back all additions, or those that you choose by "
        "class, score or type; after the lines above:"
    )
    yield _python(UNDO)
    yield "Checksums; whether labels, ledger, thresholds and this card agree; undo as a command:"
    yield f"```sh\n{COMMANDS}\n```"


def _python(text: str) -> str:
    return f"```python\n{text}\n```"
