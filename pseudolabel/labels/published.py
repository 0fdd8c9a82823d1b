"""The project's ontology tables: where they lie, and how each is rebuilt from the file that was published.

    python -m pseudolabel.labels.published --ontology ontology.json --classes class_labels_indices.csv --out ontology/
    python -m pseudolabel.labels.published --fsd50k vocabulary.csv --esc50 esc50_to_audioset.csv --out ontology/

Sources and licences are in ontology/README.md. Only facts are taken over: ids, names, relations, restrictions, order.
"""

from __future__ import annotations

import argparse
import importlib.resources
import sys
from collections.abc import Sequence
from pathlib import Path

from pseudolabel import dry_run
from pseudolabel.artefacts import write_csv
from pseudolabel.errors import InputError
from pseudolabel.records import sha256
from pseudolabel.tables import read_csv, read_json, text_rows

ONTOLOGY_HEADER = ("class_id", "name", "child_ids", "restrictions", "index")
FSD50K_HEADER = ("class_id", "name")
ESC50_HEADER = ("target", "category", "audioset_id", "relation")
RELATIONS = ("exact", "broader", "none")


def table_path(name: str) -> Path:
    """Return where the table `name` (`audioset.csv`, ...) lies: in the installed package, else in the checkout."""
    try:
        path = Path(str(importlib.resources.files("pseudolabel.ontology_data").joinpath(name)))
    except ModuleNotFoundError:
        path = Path(__file__).resolve().parents[2] / "ontology" / name
    if not path.is_file():
        raise InputError(f"the ontology table {name!r} is missing", path, "Install the package again.")
    return path


def read_published_ontology(path: str | Path) -> list[dict]:
    """Return the nodes of the published ontology.json in its order; each has `id`, `name`, `child_ids`, `restrictions`.

    Raises:
        InputError: the file is missing, is not JSON, or a node lacks one of these.
    """
    nodes = read_json(path, "Give the published ontology.json.")
    kinds = {"id": str, "name": str, "child_ids": list, "restrictions": list}
    for number, node in enumerate(nodes if isinstance(nodes, list) else [nodes]):
        for key, kind in kinds.items():
            value = node.get(key) if isinstance(node, dict) else None
            if not isinstance(value, kind):
                raise InputError(f"node {number} has no {key!r}", path, "Give the published ontology.json.")
            for item in value if kind is list else ():
                if not isinstance(item, str):
                    message = f"{str(item)[:40]!r} among the {key!r} of node {number} is no text"
                    raise InputError(message, path, "Give the published ontology.json.")
    return nodes


def rebuild_audioset(ontology: Path, classes: Path, out: Path) -> Path:
    """Write audioset.csv: all nodes in the published order, with the place of the 527 among the evaluated classes."""
    index = {row["mid"]: row["index"] for row in read_csv(classes, required=("index", "mid", "display_name"))}
    nodes = read_published_ontology(ontology)
    absent = sorted(set(index) - {node["id"] for node in nodes})
    if absent:
        raise InputError(f"class {absent[0]!r} is not in the ontology {ontology}", classes)
    rows = [
        (
            node["id"],
            node["name"],
            ";".join(node["child_ids"]),
            ";".join(node["restrictions"]),
            index.get(node["id"], ""),
        )
        for node in nodes
    ]
    write_csv(out / "audioset.csv", ONTOLOGY_HEADER, rows)
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
    write_csv(out / "fsd50k.csv", FSD50K_HEADER, rows)
    return out / "fsd50k.csv"


def rebuild_esc50(mapping: Path, out: Path) -> Path:
    """Write esc50.csv from a table `target,category,audioset_mid,relation`."""
    rows = []
    for row in read_csv(mapping, required=("target", "category", "audioset_mid", "relation")):
        if row["relation"] not in RELATIONS:
            allowed = ", ".join(RELATIONS)
            raise InputError(f"relation {row['relation']!r} is not one of {allowed}", f"{mapping}:{row['line']}")
        rows.append((row["target"], row["category"], row["audioset_mid"], row["relation"]))
    write_csv(out / "esc50.csv", ESC50_HEADER, rows)
    return out / "esc50.csv"


def tables_asked(args: argparse.Namespace) -> list[str]:
    """Return the names of the tables that are rebuilt; raise InputError where there is none, or half of a source."""
    if (args.ontology is None) != (args.classes is None):
        raise InputError("--ontology and --classes belong together")
    asked = {"audioset.csv": args.ontology, "fsd50k.csv": args.fsd50k, "esc50.csv": args.esc50}
    found = [name for name, source in asked.items() if source]
    if not found:
        raise InputError("nothing to rebuild", remedy="Give --ontology with --classes, --fsd50k or --esc50.")
    return found


def plan(args: argparse.Namespace) -> str:
    """Return what a dry run says of the tables, after checking what can be known."""
    names = tables_asked(args)
    dry_run.refuse_absent(args.ontology, args.classes, args.fsd50k, args.esc50)
    return f"would write {', '.join(names)} into {args.out}"


def rebuild(args: argparse.Namespace) -> None:
    """Rebuild the tables whose sources were given and print their checksums."""
    written = []
    tables_asked(args)
    if args.ontology:
        written.append(rebuild_audioset(args.ontology, args.classes, args.out))
    if args.fsd50k:
        written.append(rebuild_fsd50k(args.fsd50k, args.out))
    if args.esc50:
        written.append(rebuild_esc50(args.esc50, args.out))
    for path in written:
        print(f"{sha256(path)}  {path}")


def main(argv: Sequence[str] | None = None) -> int:
    """Rebuild the tables; return 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m pseudolabel.labels.published", description="Rebuild the ontology tables from published files."
    )
    parser.add_argument("--ontology", type=Path, help="the published ontology.json of AudioSet")
    parser.add_argument("--classes", type=Path, help="the published class_labels_indices.csv of AudioSet")
    parser.add_argument("--fsd50k", type=Path, help="FSD50K's vocabulary.csv, or a table fsd50k_name,mid")
    parser.add_argument("--esc50", type=Path, help="a table target,category,audioset_mid,relation")
    parser.add_argument("--out", type=Path, default=Path("ontology"), help="folder of the tables (default: ontology)")
    parser.add_argument("--dry-run", action="store_true", help="check options and inputs, and write nothing")
    args = parser.parse_args(argv)
    try:
        print(plan(args)) if args.dry_run else rebuild(args)
    except (InputError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
