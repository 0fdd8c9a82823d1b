"""README.md of a release, of labels (card.md.j2) or of a model (model_card.md.j2), with the hub's YAML header.

The header lets the Hugging Face hub load the folder as a data set; each table of croissant.json is a configuration.
"""

from __future__ import annotations

from collections.abc import Mapping

from pseudolabel import layout
from pseudolabel.formatting import plural
from pseudolabel.models.lengths import lengths_in_words
from pseudolabel.releases import citation, texts
from pseudolabel.releases.citation import LICENCES, SOURCES, licence_of
from pseudolabel.releases.facts import Facts, OfClass
from pseudolabel.releases.model_figures import figure_rows, model_index
from pseudolabel.releases.tables import features, has_rows, is_earlier, tables_of
from pseudolabel.templates import render

FEW_CLASSES = 30  # more classes are folded, below a table of those with the most additions
MOST_ADDED = 20
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
LARGEST = "10M<n<100M"
DOCUMENTS = {
    "README.md": "this card",
    "croissant.json": "files and tables for machines (Croissant 1.1)",
    "CITATION.cff": "how to cite (Citation File Format 1.2.0)",
    "LICENSE": "the licence of the labels",
    "LICENSE-ontology": "the licence of the class ids, names and relations of AudioSet",
    layout.RUN: "everything that this card says, and the checksums of what the labels were made from",
    "SHA256SUMS": "checksums of all files but itself",
}
FORMS = {
    "segments.csv": "code for AudioSet reads `segments.csv` in place of the published segment list",
    "fsd50k.csv": "code for FSD50K reads `fsd50k.csv` in place of the ground truth",
    "esc50.csv": "code for ESC-50 reads `esc50.csv` in place of the published list; its extra column `labels` has "
    "all categories of a clip (`category` is the published one: code that reads only that sees no additions)",
    "psla.json": "code for PSLA reads `psla.json`",
    "class_labels_indices.csv": "with `class_labels_indices.csv` as its list of classes; `psla.json` lacks clips "
    "without labels, at which that code stops",
}
TRAINING = {  # the options of `train` that readers look for first, in words
    "epochs": "epochs",
    "batch_size": "clips or pieces a step",
    "optimizer": "optimiser",
    "learning_rate": "learning rate",
    "schedule": "schedule",
    "sampling": "sampling",
    "mixup_rate": "mixup rate",
    "alpha": "share of the soft targets in the loss",
    "window": "window of the targets",
    "select": "weights kept",
}
WORDS = {
    "code": texts.code,
    "interval_text": texts.interval_text,
    "markdown": texts.markdown,
    "number": "{:,}".format,
    "plural": plural,
    "share": texts.share,
}


def card(facts: Facts) -> str:
    """Return the text of README.md of a release of labels.

    Raises:
        InputError: `facts.licence` is not a known SPDX id.
    """
    of_source = f" of {texts.markdown(facts.source)}" if facts.source else ""
    if facts.source in SOURCES:
        of_source += f" ({SOURCES[facts.source].url})"
    return render(
        __package__,
        "card.md.j2",
        **WORDS,
        texts=texts,
        citation=citation,
        facts=facts,
        counts=facts.counts,
        types=list(facts.counts.added_by_type),
        by_class=_classes_to_list(facts),
        has_thresholds=any(row.threshold is not None for row in facts.by_class),
        guesses=facts.rule.guesses,
        precision=facts.precision,
        header=header(facts),
        of_source=of_source,
        authors=[texts.markdown(name) for name in facts.authors],
        few_classes=FEW_CLASSES,
        most_added=MOST_ADDED,
        documents=DOCUMENTS,
        forms=[text for name, text in FORMS.items() if facts.file(name)],
        further_tables=[t.name for t in tables_of(facts) if t.name != "labels" and has_rows(t, facts)],
        empty_tables=[t.name for t in tables_of(facts) if not has_rows(t, facts)],
        licence=licence_of(facts.licence),
        ontology_licence=LICENCES["CC-BY-SA-4.0"],
        source_terms=citation.source_terms(facts),
    )


def _classes_to_list(facts: Facts) -> list[OfClass]:
    """Return the classes that have labels, the most added first; versions before 0.3.0 listed all classes."""
    every = is_earlier(facts)
    return sorted((row for row in facts.by_class if every or row.after), key=lambda row: -row.added)


def header(facts: Facts) -> str:
    """Return the card's YAML header, without the `---` lines."""
    tags = ["audio", "audio-tagging", "sound-event-recognition", "missing-labels", "label-enhancement", "croissant"]
    source = facts.source.lower()
    tables = [table for table in tables_of(facts) if has_rows(table, facts)]
    names = tuple(row.name for row in facts.by_class)
    configs = [
        {
            "config_name": table.name,
            "default": True if table.name == "labels" else None,
            "data_files": [{"split": "train", "path": table.file}],
        }
        for table in tables
    ]
    described = () if is_earlier(facts) else tables
    return texts.yaml_text(
        {
            "pretty_name": facts.title,
            "license": licence_of(facts.licence).hub_id,
            "task_categories": ["audio-classification"],
            "size_categories": [next((name for most, name in SIZES if facts.counts.clips < most), LARGEST)],
            "tags": tags + ([source] if source else []),
            "annotations_creators": ["machine-generated"],
            "source_datasets": [f"extended|other-{source}" if source else "original"],
            "configs": configs,
            "dataset_info": [{"config_name": t.name, "features": features(t, names)} for t in described],
        }
    )


def model_card(record: Mapping) -> str:
    """Return the text of README.md of a released model; every figure comes from the record (run.json)."""
    licence = licence_of(record["licence"])
    header = {
        "license": licence.hub_id,
        "library_name": "pseudolabel",
        "pipeline_tag": "audio-classification",
        "tags": ["audio", "audio-tagging", "pseudo-labels", record["network"]],
        "metrics": ["mean_average_precision"] if record["validation"] else None,
        "model-index": model_index(record),
    }
    front_end = (f"{name} {value}" for name, value in record["front_end"].items() if value is not None)
    return render(
        __package__,
        "model_card.md.j2",
        **WORDS,
        record=record,
        evaluation=record.get("evaluation"),
        figure_rows=figure_rows,
        header=texts.yaml_text(header),
        lengths=lengths_in_words(record),
        exported=[file["name"] for file in record["onnx"]],
        inputs=list(record["inputs"]),
        front_end_options=", ".join(front_end),
        options=TRAINING,
        few_classes=FEW_CLASSES,
        licence_name=licence.name,
    )
