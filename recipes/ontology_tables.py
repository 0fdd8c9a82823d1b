"""The tables in ontology/, rebuilt from the files that were published.

python recipes/ontology_tables.py --ontology ontology.json --classes class_labels_indices.csv --out ontology/
python recipes/ontology_tables.py --fsd50k vocabulary.csv --esc50 esc50_to_audioset.csv --out ontology/

Sources and licences are in ontology/README.md. Only facts are taken over: ids, names, relations, restrictions, order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pseudolabel import dry_run
from pseudolabel.artefacts import write_csv
from pseudolabel.command import Command, run_command
from pseudolabel.errors import InputError
from pseudolabel.labels.ontology import read_published_ontology
from pseudolabel.options import Options, option
from pseudolabel.records import sha256
from pseudolabel.tables import read_csv, text_rows

RELATIONS = ("exact", "broader", "none")


@dataclass(frozen=True, kw_only=True)
class TablesOptions(Options):
    """What is rebuilt from what."""

    ontology: Path | None = option(None, "the published ontology.json of AudioSet")
    classes: Path | None = option(None, "the published class_labels_indices.csv of AudioSet")
    fsd50k: Path | None = option(None, "FSD50K's vocabulary.csv, or a table fsd50k_name,mid")
    esc50: Path | None = option(None, "a table target,category,audioset_mid,relation")
    out: Path = option(Path("ontology"), "folder of the tables")


def rebuild_audioset(ontology: Path, classes: Path, out: Path) -> Path:
    """Write audioset.csv: all nodes in the published order; `index` is that of the 527 evaluated classes."""
    index = {row["mid"]: row["index"] for row in read_csv(classes, required=("index", "mid", "display_name"))}
    nodes = read_published_ontology(ontology)
    absent = sorted(set(index) - {node["id"] for node in nodes})
    if absent:
        raise InputError(f"class {absent[0]!r} is not in the ontology {ontology}", classes)
    rows = [
        (node["id"], node["name"], ";".join(node["child_ids"]), ";".join(node["restrictions"]), index.get(node["id"]))
        for node in nodes
    ]
    write_csv(out / "audioset.csv", ("class_id", "name", "child_ids", "restrictions", "index"), rows)
    return out / "audioset.csv"


def rebuild_fsd50k(mapping: Path, out: Path) -> Path:
    """Write fsd50k.csv from the published vocabulary.csv (no header: number, name, id) or a table `fsd50k_name,mid`."""
    lines = [fields for _, fields in text_rows(mapping)]
    if lines and "mid" in lines[0]:
        rows = [(row["mid"], row["fsd50k_name"]) for row in read_csv(mapping, required=("fsd50k_name", "mid"))]
    elif all(len(row) == 3 for row in lines):
        rows = [(class_id, name) for _, name, class_id in lines]
    else:
        raise InputError("rows are not `number,name,id`", mapping, "Give FSD50K's vocabulary.csv.")
    write_csv(out / "fsd50k.csv", ("class_id", "name"), rows)
    return out / "fsd50k.csv"


def rebuild_esc50(mapping: Path, out: Path) -> Path:
    """Write esc50.csv from a table `target,category,audioset_mid,relation`."""
    rows = []
    for row in read_csv(mapping, required=("target", "category", "audioset_mid", "relation")):
        if row["relation"] not in RELATIONS:
            allowed = ", ".join(RELATIONS)
            raise InputError(f"relation {row['relation']!r} is not one of {allowed}", f"{mapping}:{row['line']}")
        rows.append((row["target"], row["category"], row["audioset_mid"], row["relation"]))
    write_csv(out / "esc50.csv", ("target", "category", "audioset_id", "relation"), rows)
    return out / "esc50.csv"


def tables_wanted(options: TablesOptions) -> list[str]:
    """Return the names of the tables to rebuild; raise InputError where there is none, or half of a source."""
    if (options.ontology is None) != (options.classes is None):
        raise InputError("--ontology and --classes belong together")
    sources = {"audioset.csv": options.ontology, "fsd50k.csv": options.fsd50k, "esc50.csv": options.esc50}
    names = [name for name, source in sources.items() if source]
    if not names:
        raise InputError("nothing to rebuild", remedy="Give --ontology with --classes, --fsd50k or --esc50.")
    return names


def plan(options: TablesOptions) -> str:
    """Return what a dry run says of the tables, after checking what can be known."""
    names = tables_wanted(options)
    dry_run.refuse_absent(options.ontology, options.classes, options.fsd50k, options.esc50)
    return f"would write {', '.join(names)} into {options.out}"


def rebuild(options: TablesOptions) -> None:
    """Rebuild the tables whose sources are given, and print their checksums."""
    tables_wanted(options)
    written = [rebuild_audioset(options.ontology, options.classes, options.out)] if options.ontology else []
    written += [rebuild_fsd50k(options.fsd50k, options.out)] if options.fsd50k else []
    written += [rebuild_esc50(options.esc50, options.out)] if options.esc50 else []
    for path in written:
        print(f"{sha256(path)}  {path}")


def main(argv: Sequence[str] | None = None) -> int:
    """Rebuild the tables; return 0, or 2 for bad input."""
    return run_command("ontology_tables", __doc__, Command(TablesOptions, rebuild, plan), argv)


if __name__ == "__main__":
    raise SystemExit(main())
