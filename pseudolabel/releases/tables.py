"""The tables of a release: their Parquet files and columns, as croissant.json, README.md's header and verify need them.

Every table is a Parquet file, in which ids are texts and empty cells are null, and is also there as CSV. Releases of
versions before 0.3.0 describe only the first four tables, and have thresholds and classes as CSV alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pseudolabel import layout
from pseudolabel.artefacts import whole_file
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.writers import label_lists
from pseudolabel.releases.facts import Facts

TEXT, NUMBER, WHOLE = "sc:Text", "sc:Float", "sc:Integer"
TYPES = {TEXT: pa.string(), NUMBER: pa.float64(), WHOLE: pa.int64()}
SUM_RULE, MAX_RULE = "sum_rule", "max_rule_beta_"  # columns; the second name ends with the exponent


class Column(NamedTuple):
    """A column of a table.

    Args:
        separator: joins the items of a cell.
        dtype: its type for the `datasets` library, if it is not that of `type`.
        names_classes: whether its numbers are those of classes.
    """

    name: str
    description: str
    type: str = TEXT
    is_array: bool = False
    separator: str = ""
    dtype: str = ""
    names_classes: bool = False


class Table(NamedTuple):
    """A record set: its file, its columns, the key columns of its rows, and the CSV file with the same rows."""

    name: str
    file: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    csv: str = ""

    @property
    def types(self) -> dict[str, pa.DataType]:
        """The type of each column."""
        types = {column.name: TYPES[column.type] for column in self.columns}
        return {c.name: pa.list_(types[c.name]) if c.is_array else types[c.name] for c in self.columns}


CLIP_ID, CLASS_ID = Column("clip_id", "Id of the clip."), Column("class_id", "Id of the class.")
NAME, NUMBERS = Column("name", "Display name of the class."), "classes"
LABELS_OF = (
    CLIP_ID,
    Column("labels", "Ids of the clip's classes, in the order of the classes.", is_array=True),
    Column(NUMBERS, "The same as numbers: rows of `classes`, from 0.", WHOLE, is_array=True, names_classes=True),
)
TABLES = (
    Table(
        "labels",
        "labels.parquet",
        "The enhanced list: every clip with all its labels, those of the original list and the added ones.",
        ("clip_id",),
        LABELS_OF,
    ),
    Table(
        "added_labels",
        "added_labels.parquet",
        "The ledger: every added label and why it was added.",
        ("clip_id", "class_id"),
        (
            CLIP_ID,
            Column("class_id", "Id of the added class."),
            Column("error", "What was missing: I (a child), II (a parent or ancestor), I+II (proposed as both)."),
            Column("because", "Ids of the clip's labels that proposed it.", is_array=True),
            Column("score", "The teacher's score, 0 to 1; none where the label was added by rule.", NUMBER),
            Column("threshold", "The class's threshold; the score is above it.", NUMBER),
            Column("probability", "The probability that the label is right, where the rule estimates it.", NUMBER),
            Column(
                "round",
                "1: proposed by the original labels; 2: by those added in round 1, and so on.",
                WHOLE,
                dtype="int32",
            ),
            Column("window_s", "Length in seconds of the window that was the evidence; none: the whole clip.", NUMBER),
            Column("onset_s", "Start of this window in the clip, in seconds.", NUMBER),
        ),
    ),
    Table(
        "thresholds",
        "thresholds.parquet",
        "The threshold of each class.",
        ("class_id",),
        (
            CLASS_ID,
            NAME,
            Column("threshold", "Scores above it add the label; none: nothing was added by score.", NUMBER),
            Column("scored_positives", "Clips that carry the class and have a score.", WHOLE),
            Column("reason", "Why the class has no threshold."),
        ),
        layout.THRESHOLDS,
    ),
    Table(
        "classes",
        "classes.parquet",
        "The classes, in the order of every matrix, and how many labels each has.",
        ("class_id",),
        (
            CLASS_ID,
            NAME,
            Column("ontology_id", "The node of the AudioSet ontology for the class; none where there is none."),
            Column("before", "Labels of the class in the original list.", WHOLE),
            Column("added", "Labels added to it.", WHOLE),
            Column("after", "Labels in the enhanced list.", WHOLE),
        ),
        layout.CLASSES,
    ),
    Table(
        "original_labels",
        "original_labels.parquet",
        "The list before anything was added.",
        ("clip_id",),
        LABELS_OF,
    ),
    Table(
        "missing",
        "missing.parquet",
        "Clips that have no scores and kept their labels.",
        ("clip_id",),
        (CLIP_ID, Column("reason", "Why it has no scores.")),
        layout.MISSING,
    ),
    Table(
        "sampling_weights",
        "sampling_weights.parquet",
        "How often to draw each clip in training, from the labels after the additions.",
        ("clip_id",),
        (
            CLIP_ID,
            Column(SUM_RULE, "Sum over the clip's labels of 1 / clips with the label (PSLA, Algorithm 1).", NUMBER),
            Column(MAX_RULE, "Maximum over the labels of (1 / prior) ** beta (Moore et al., equation 4).", NUMBER),
        ),
        "sampling_weights.csv.gz",
    ),
)
GUESS_COLUMNS = (  # of thresholds, where labels were added by their probability
    Column("c", "Share of the class's true labels that the original list and their ancestors have, estimated.", NUMBER),
    Column("carriers", "Clips with scores that have the class or a descendant.", WHOLE),
    Column("expected_precision", "Mean probability of the class's guesses: the share that should be right.", NUMBER),
)
OF_CLASSES = "What the guesses of each class are based on, and how many of them should be right."
OF_GUESSES = {  # what columns mean there
    "error": "What was missing: I (a child), II (an ancestor, by rule), free (proposed by no label).",
    "threshold": "None: the probability decides.",
}
CLASS_TABLE = "classes.parquet"  # in every release since 0.3.0


def is_earlier(facts: Facts) -> bool:
    """Return whether a release has the files of versions before 0.3.0."""
    return facts.file(CLASS_TABLE) is None


def tables_of(facts: Facts) -> tuple[Table, ...]:
    """Return the tables whose files are in the release."""
    guesses = facts.rule.guesses is not None
    tables = map(_earlier, TABLES[:4]) if is_earlier(facts) else (_of(table, facts.beta, guesses) for table in TABLES)
    return tuple(table for table in tables if facts.file(table.file))


def has_rows(table: Table, facts: Facts) -> bool:
    """Return whether a table has rows, without which the `datasets` library cannot load it."""
    n_rows = {"added_labels": facts.counts.added.labels_added, "missing": facts.counts.clips_without_scores}
    return is_earlier(facts) or n_rows.get(table.name, facts.counts.clips) > 0


def _earlier(table: Table) -> Table:
    """Return a table as versions before 0.3.0 wrote it."""
    columns = (column for column in table.columns if column.name != NUMBERS)
    columns = tuple(c._replace(separator=";") if c.name == "because" else c for c in columns)
    return table._replace(file=table.csv or table.file, columns=columns)


def _of(table: Table, beta: float | None, guesses: bool) -> Table:
    """Return a table with the exponent in the name of the column that ends with it, and the columns on guesses."""
    if guesses and table.csv == layout.THRESHOLDS:
        table = table._replace(columns=(*table.columns, *GUESS_COLUMNS), description=OF_CLASSES)
    if guesses:
        described = (c._replace(description=OF_GUESSES.get(c.name, c.description)) for c in table.columns)
        table = table._replace(columns=tuple(described))
    names = (f"{c.name}{beta:g}" if c.name == MAX_RULE and beta is not None else c.name for c in table.columns)
    return table._replace(columns=tuple(c._replace(name=n) for c, n in zip(table.columns, names, strict=True)))


def read_csv_table(table: Table, folder: Path) -> pa.Table:
    """Return the rows of a table's CSV file; empty cells are null."""
    options = pyarrow.csv.ConvertOptions(
        column_types=table.types,
        include_columns=list(table.types),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    parse = pyarrow.csv.ParseOptions(newlines_in_values=False)
    return pyarrow.csv.read_csv(folder / table.csv, parse_options=parse, convert_options=options)


def label_rows(labels: LabelTable) -> pa.Table:
    """Return a label list as a table of LABELS_OF."""
    lists = label_lists(labels.matrix, labels.vocabulary.class_ids)
    numbers = pa.ListArray.from_arrays(lists.offsets, pa.array(labels.matrix.indices, pa.int64()))
    return pa.table([pa.array(labels.clip_ids, pa.string()), lists, numbers], [column.name for column in LABELS_OF])


def write_rows(rows: pa.Table, path: Path) -> None:
    """Write a Parquet file with a checksum for each page."""
    packing = {"compression": "zstd", "write_page_checksum": True}
    with whole_file(path) as temporary, pq.ParquetWriter(temporary, rows.schema, **packing) as file:
        if len(rows):  # the `datasets` library does not read empty row groups
            file.write_table(rows)


def write_parquet_tables(folder: Path, beta: float, guesses: bool = False) -> None:
    """Write the Parquet file of each table that is in a folder as CSV."""
    for table in TABLES:
        if table.csv and (folder / table.csv).is_file():
            write_rows(read_csv_table(_of(table, beta, guesses), folder), folder / table.file)


def features(table: Table, names: tuple[str, ...]) -> list[dict]:
    """Return a table's columns as `dataset_info` of a data card has them; `names` are those of the classes."""
    dtypes = {TEXT: "string", NUMBER: "float64", WHOLE: "int64"}
    listed = []
    for column in table.columns:
        kind: object = column.dtype or dtypes[column.type]
        if column.names_classes:
            kind = {"class_label": {"names": {str(number): name for number, name in enumerate(names)}}}
        elif not column.is_array:
            kind = {"dtype": kind}
        listed.append({"name": column.name, **({"sequence": kind} if column.is_array else kind)})
    return listed
