"""README.md of a release: a data card, with the YAML header that the Hugging Face hub reads.

The header makes the folder load as a data set: each table of croissant.json is a configuration of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pseudolabel.releases import loading
from pseudolabel.releases.citation import address_of, bibtex, references, work_text
from pseudolabel.releases.croissant import tables_of
from pseudolabel.releases.facts import Facts
from pseudolabel.releases.licences import LICENCES, SOURCES, licence_of, source_terms
from pseudolabel.releases.rule_text import (
    evaluation_text,
    fold_text,
    front_end_text,
    interval_text,
    precision_text,
    rule_lines,
    teacher_text,
)
from pseudolabel.releases.texts import (
    author_names,
    code,
    count_of,
    folded,
    markdown,
    markdown_table,
    percent_text,
    yaml_text,
)

FEW_CLASSES = 30  # more are folded, below a table of those with the most additions
MOST_ADDED = 20
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
LARGEST = "10M<n<100M"
DOCUMENTS = {
    "README.md": "this card",
    "croissant.json": "files and tables for machines (Croissant 1.1)",
    "CITATION.cff": "how to cite (Citation File Format 1.2.0)",
    "LICENSE": "what the labels are under",
    "LICENSE-ontology": "what the class ids, names and relations of AudioSet are under",
    "run.json": "all that this card says, and the checksums of what the labels were made from",
    "SHA256SUMS": "checksums of all files but itself",
}


def card(facts: Facts) -> str:
    """Return the text of README.md.

    Raises:
        InputError: `facts.licence` is not a known SPDX id.
    """
    sections = [
        f"---\n{header(facts)}---",
        f"# {markdown(facts.title)}",
        _introduction(facts),
        _at_a_glance(facts),
        "## How the labels were added",
        "\n".join(f"- {markdown(line)}" for line in rule_lines(facts)),
        _teacher(facts),
        "## What was added",
        *_added(facts),
        "## How many additions are right",
        *_precision(facts),
        "## Known weaknesses",
        *_weaknesses(facts),
        "## Files",
        _files(facts),
        "## Load",
        *loading.load_sections(facts),
        "## Undo and verify",
        *loading.undo_sections(facts),
        "## Licence and citation",
        *_licence(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def header(facts: Facts) -> str:
    """Return the YAML header of the card, without the lines `---`."""
    licence = licence_of(facts.licence)
    tags = ["audio", "audio-tagging", "sound-event-recognition", "missing-labels", "label-enhancement", "croissant"]
    source = facts.source.lower()
    configs = [
        {
            "config_name": table.name,
            "default": True if table.name == "labels" else None,
            "data_files": [{"split": "train", "path": table.file}],
        }
        for table in tables_of(facts)
    ]
    return yaml_text(
        {
            "pretty_name": facts.title,
            "license": licence.hub_id,
            "task_categories": ["audio-classification"],
            "size_categories": [_size(facts.counts["clips"])],
            "tags": tags + ([source] if source else []),
            "annotations_creators": ["machine-generated"],
            "source_datasets": [f"extended|other-{source}" if source else "original"],
            "configs": configs,
        }
    )


def _size(n_clips: int) -> str:
    return next((name for limit, name in SIZES if n_clips < limit), LARGEST)


def _introduction(facts: Facts) -> str:
    counts = facts.counts
    n_added, n_before = counts["added"]["labels_added"], counts["labels_before"]
    of_source = f" of {markdown(facts.source)}" if facts.source else ""
    if facts.source in SOURCES:
        of_source += f" ({SOURCES[facts.source].url})"
    return (
        f"Weak labels of {count_of(counts['clips'], 'recording')}{of_source}, with "
        f"**{n_added:,} labels added** to the {n_before:,} that were there "
        f"({percent_text(n_added, n_before, signed=True)}): classes that the annotators may have passed over. "
        "No label was removed, every added one can be looked up with what spoke for it, and all can be taken back. "
        "There are no recordings in this folder."
    )


def _at_a_glance(facts: Facts) -> str:
    counts = facts.counts
    n_clips, n_changed = counts["clips"], counts["clips_changed"]
    rows = [
        ("clips", f"{n_clips:,}"),
        ("clips that got labels", f"{n_changed:,} ({percent_text(n_changed, n_clips)})"),
        ("clips without scores, which kept their labels", f"{counts['clips_without_scores']:,}"),
        ("classes", f"{counts['classes']:,}"),
        ("classes that got labels", f"{counts['added']['classes_touched']:,}"),
        ("labels before", f"{counts['labels_before']:,}"),
        ("labels after", f"{counts['labels_after']:,}"),
        ("labels a clip, before and after", _labels_a_clip(counts)),
        ("version", facts.version + (f", {facts.released}" if facts.released else "")),
        ("made with", markdown(_made_with(facts))),
    ]
    return markdown_table(("", ""), [row for row in rows if row[1]])


def _labels_a_clip(counts: Mapping) -> str:
    n_clips = counts["clips"]
    return f"{counts['labels_before'] / n_clips:.2f} and {counts['labels_after'] / n_clips:.2f}" if n_clips else ""


def _made_with(facts: Facts) -> str:
    commit = f", commit {facts.commit}" if facts.commit else ""
    return f"pseudolabel {facts.pseudolabel}{commit}" if facts.pseudolabel else ""


def _teacher(facts: Facts) -> str:
    lines = [markdown(text) for text in (teacher_text(facts), fold_text(facts)) if text]
    lines.append(f"**Evaluation labels:** {markdown(evaluation_text(facts))}")
    front_end = front_end_text(facts)
    if front_end:
        lines.append(f"Front end: {code(front_end)}")
    if facts.inputs:
        rows = [(code(row["name"]), code(row["sha256"])) for row in facts.inputs]
        lines.append(folded("What went in, with checksums", markdown_table(("file", "SHA-256"), rows)))
    return "\n\n".join(lines)


def _added(facts: Facts) -> Iterator[str]:
    counts, n_before = facts.counts, facts.counts["labels_before"]
    rows = [(f"type {error}", *_figures(figures, n_before)) for error, figures in counts["added_by_type"].items()]
    rows.append(("**together**", *_figures(counts["added"], n_before)))
    yield markdown_table(("", "labels added", "of the labels before", "classes"), rows, (1, 2, 3))
    both = counts.get("added_by_both_types")
    if both:
        verb = "was" if both == 1 else "were"
        yield f"{count_of(both, 'label')} {verb} proposed by both types and count in both lines."
    if not counts["added"]["labels_added"]:
        return
    types = list(counts["added_by_type"])
    order = sorted(facts.by_class, key=lambda row: -row["added"])
    if len(order) <= FEW_CLASSES:
        yield "Classes, the most added first:"
        yield _class_table(order, types)
    else:
        yield f"The {MOST_ADDED} classes with the most additions:"
        yield _class_table([row for row in order[:MOST_ADDED] if row["added"]], types)
        yield folded(f"All {len(order):,} classes, the most added first", _class_table(order, types))
    exact = " and `thresholds.csv` have" if facts.file("thresholds.csv") else " has"
    yield f"`classes.csv`{exact} these figures in full."


def _figures(figures: Mapping, n_before: int) -> tuple[str, str, str]:
    n_added = figures["labels_added"]
    return f"{n_added:,}", percent_text(n_added, n_before, signed=True), f"{figures['classes_touched']:,}"


def _class_table(rows: Sequence[Mapping], types: Sequence[str]) -> str:
    """Return the table of classes, with a column for each type and the thresholds where there are any."""
    scored = any(row.get("threshold") is not None for row in rows)
    names = ["class", "id", "before", "added", *(f"type {error}" for error in types), "after", "growth"]
    names += ["threshold", "from clips"] * scored
    cells = []
    for row in rows:
        line = [markdown(row["name"]), code(row["class_id"]), f"{row['before']:,}", f"{row['added']:,}"]
        line += [f"{row.get(f'added_{error}') or 0:,}" for error in types]
        line += [f"{row['after']:,}", percent_text(row["added"], row["before"], signed=True)]
        if scored:
            threshold, n_clips = row.get("threshold"), row.get("scored_positives")
            line += ["-" if threshold is None else f"{threshold:.4g}", "-" if n_clips is None else f"{n_clips:,}"]
        cells.append(line)
    return markdown_table(names, cells, range(2, len(names)))


def _precision(facts: Facts) -> Iterator[str]:
    precision = facts.precision
    yield f"**{markdown(precision_text(facts))}**"
    if precision is None or not precision["overall"]["judged"]:
        if "reviewed" in facts.rule:
            return
        yield "`python -m pseudolabel.review` makes a page to listen and judge, and estimates the precision from it."
        return
    overall = precision["overall"]
    if precision.get("blind"):
        yield "The judges saw neither scores nor reasons; original labels and absent ones were among the items."
    if overall.get("unsure"):
        bounds = [overall.get(f"if_unsure_{side}") for side in ("wrong", "right")]
        yield f"Unsure: {overall['unsure']:,} items, left out." + (
            f" Had all been wrong: {bounds[0]:.3f}; right: {bounds[1]:.3f}." if None not in bounds else ""
        )
    if overall.get("corrected"):
        fixed = interval_text({"judged": overall["judged"], **overall["corrected"]})
        yield f"Corrected by how the judges decided on the known items: {fixed}."
    for key, title in (("error", "type"), ("band", "score")):
        rows = precision.get(f"by_{key}") or []
        if rows:
            yield _precision_table(title, [(markdown(str(row[key])), row) for row in rows])
    rows = precision.get("by_class") or []
    if rows:
        named = [(markdown(str(row.get("name") or row["class_id"])), row) for row in rows]
        yield folded(f"{count_of(len(rows), 'class')} of which labels were judged", _precision_table("class", named))


def _precision_table(title: str, rows: Sequence[tuple[str, Mapping]]) -> str:
    cells = [
        (name, f"{row['additions']:,}" if "additions" in row else "-", f"{row['judged']:,}", interval_text(row))
        for name, row in rows
    ]
    return markdown_table((title, "added", "judged", "precision [interval]"), cells, (1, 2))


def _weaknesses(facts: Facts) -> Iterator[str]:
    if not facts.weak_classes:
        yield (
            "No class was found weak by the rules that are looked at: no threshold, one made from few clips, labels "
            "more than doubled, low precision."
        )
        return
    rows = [(markdown(row["name"]), code(row["class_id"]), markdown(row["why"])) for row in facts.weak_classes]
    table = markdown_table(("class", "id", "why"), rows)
    said = f"{len(rows):,} of {count_of(len(facts.by_class), 'class')} deserve a second look"
    if len(rows) <= FEW_CLASSES:
        yield f"{said}:"
        yield table
    else:
        yield folded(said, table)


def _files(facts: Facts) -> str:
    rows = [(code(row["name"]), row["description"], f"{row['bytes']:,}") for row in facts.files]
    rows += [(code(name), text, "") for name, text in DOCUMENTS.items()]
    return markdown_table(("file", "what it is", "bytes"), rows, (2,))


def _licence(facts: Facts) -> Iterator[str]:
    licence = LICENCES[facts.licence]
    yield f"Labels: [{licence.name}]({licence.url}), see `LICENSE`. {markdown(source_terms(facts))}".rstrip()
    yield (
        "Class ids, names and relations of AudioSet: "
        f"[{LICENCES['CC-BY-SA-4.0'].name}]({LICENCES['CC-BY-SA-4.0'].url}), see `LICENSE-ontology`."
    )
    yield f"By {'; '.join(markdown(name) for name in author_names(facts))}." if facts.authors else ""
    yield f"```bibtex\n{bibtex(facts)}\n```"
    works = "\n".join(f"- {markdown(work_text(work))}, <{address_of(work)}>" for work in references(facts))
    yield f"It rests on these works; cite those that matter to you:\n\n{works}"
