"""The data card: its header parses, its numbers are the facts', its tables are tables and its code works."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import yaml

from pseudolabel import enhance
from pseudolabel.errors import InputError
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.releases.card import FORMS, card
from pseudolabel.releases.facts import Facts

PRECISION = {
    "blind": True,
    "overall": {
        "additions": 2, "precision": 0.75, "low": 0.5, "high": 0.9, "judged": 40, "unsure": 3, "method": "Wilson",
        "if_unsure_wrong": 0.7, "if_unsure_right": 0.8, "corrected": {"precision": 0.77, "low": 0.5, "high": 0.95},
    },
    "by_error": [{"error": "I+II", "additions": 2, "precision": 0.75, "low": 0.5, "high": 0.9, "judged": 40}],
    "by_band": [{"band": "0.5 to 0.7", "additions": 2, "precision": None, "low": 0.0, "high": 1.0, "judged": 0}],
    "by_class": [
        {"class_id": "/m/b", "name": "a | b", "additions": 1, "precision": 1.0, "low": 0.2, "high": 1.0, "judged": 1}
    ],
}  # fmt: skip


def header_and_text(text: str) -> tuple[dict, str]:
    _, header, body = text.split("---\n", 2)
    return yaml.safe_load(header), body


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of every table of a Markdown text."""
    found, rows = [], []
    for line in [*text.split("\n"), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            found.append(rows)
            rows = []
    return found


def test_the_header_is_what_the_hub_takes(make_facts, release_folder):
    header, _ = header_and_text(card(make_facts(source="AudioSet")))
    assert header["license"] == "cc-by-4.0" and header["pretty_name"] == 'Small: a "test" — 鳥 | #1'
    assert header["task_categories"] == ["audio-classification"] and header["size_categories"] == ["n<1K"]
    assert header["source_datasets"] == ["extended|other-audioset"] and "audioset" in header["tags"]
    configs = {config["config_name"]: config for config in header["configs"]}
    assert list(configs) == ["labels", "added_labels", "thresholds", "classes", "original_labels"]
    assert [name for name, config in configs.items() if config.get("default")] == ["labels"]
    for name, config in configs.items():
        assert config["data_files"] == [{"split": "train", "path": f"{name}.parquet"}]
        assert (release_folder / f"{name}.parquet").is_file()


def test_the_header_has_the_columns_of_every_table_and_the_names_of_the_classes(make_facts, release_folder):
    facts = make_facts()
    header, _ = header_and_text(card(facts))
    described = {info["config_name"]: info["features"] for info in header["dataset_info"]}
    assert list(described) == [config["config_name"] for config in header["configs"]]
    for name, features in described.items():
        stored = pq.read_schema(release_folder / f"{name}.parquet")
        assert [feature["name"] for feature in features] == stored.names
        kinds = [str(kind).replace("double", "float64").partition("<")[0] for kind in stored.types]
        assert [feature.get("dtype", "list") for feature in features] == kinds
    names = described["labels"][2]["sequence"]["class_label"]["names"]
    assert names == {str(number): row.name for number, row in enumerate(facts.by_class)}
    assert described["added_labels"][3] == {"name": "because", "sequence": "string"}


def test_a_table_without_rows_is_not_offered_to_the_library_that_cannot_load_it(make_facts):
    facts = make_facts()
    missing = replace(facts.files[0], name="missing.parquet")
    for n_missing, listed in ((0, False), (1, True)):
        counts = replace(facts.counts, clips_without_scores=n_missing)
        text = card(make_facts(counts=counts, files=(*facts.files, missing)))
        configs = [config["config_name"] for config in header_and_text(text)[0]["configs"]]
        assert ("missing" in configs) == listed
        assert ("without rows, so not for `datasets`: missing." in text) != listed


@pytest.mark.parametrize(
    "n_clips, size", [(999, "n<1K"), (1000, "1K<n<10K"), (22160, "10K<n<100K"), (2 * 10**6, "1M<n<10M")]
)
def test_the_size_is_that_of_the_clips(make_facts, n_clips, size):
    counts = replace(make_facts().counts, clips=n_clips)
    assert header_and_text(card(make_facts(counts=counts)))[0]["size_categories"] == [size]


def test_the_card_is_a_function_of_the_facts_in_the_record(make_facts):
    facts = make_facts(precision=PRECISION, weak_classes=({"class_id": "/m/a", "name": "Animal", "why": "x"},))
    assert card(Facts.from_json(json.loads(json.dumps(facts.to_json())))) == card(facts)


def test_every_table_has_rows_of_one_length_whatever_the_names(make_facts):
    weak = ({"class_id": "/m/|", "name": "a | b", "why": "no | threshold"},)
    found = tables(card(make_facts(precision=PRECISION, weak_classes=weak, inputs=[{"name": "a|b", "sha256": "0"}])))
    assert len(found) == 9
    for rows in found:
        assert len({len(row) for row in rows}) == 1


def test_the_table_of_classes_is_the_facts_most_added_first(make_facts):
    rows = next(rows for rows in tables(card(make_facts())) if rows[0][0] == "class")
    assert rows[0] == [
        "class", "id", "before", "added", "type I", "type II", "after", "growth", "threshold", "from clips",
    ]  # fmt: skip
    assert rows[2] == ["Animal", "`/m/a`", "1", "1", "0", "1", "2", "+100.0 %", "0.25", "1"]
    assert [row[1] for row in rows[2:]] == ["`/m/a`", "`/m/b`", "`/m/c`"]  # /m/d has no label
    assert "The list has no label of 1 further class." in card(make_facts())
    assert rows[4][0] == "R\\&amp;B \\<b\\>\\*live\\*\\</b\\>" and rows[4][-2:] == ["-", "0"]


def test_many_classes_are_folded_below_those_with_the_most_additions(make_facts):
    counts = make_facts().counts
    rows = [
        {"class_id": f"/m/{k}", "name": f"class {k}", "before": 1, "added": k, "added_I": k, "added_II": 0,
         "after": k + 1, "threshold": None, "scored_positives": 0, "reason": ""}
        for k in range(40)
    ]  # fmt: skip
    added = {"labels_added": 780, "added_percent": 1950.0, "classes_touched": 39}
    counts = replace(counts, classes=40, labels_before=40, labels_after=820, added=added, added_by_type={"I": added})
    text = card(make_facts(counts=counts, by_class=rows))
    shown, folded = (rows for rows in tables(text) if rows[0][0] == "class")
    assert [row[0] for row in shown[2:]] == [f"class {k}" for k in range(39, 19, -1)]
    assert [row[0] for row in folded[2:]] == [f"class {k}" for k in range(39, -1, -1)]
    assert "type II" not in shown[0] and "threshold" not in shown[0]
    assert text.index("<details>") < text.index("| class 0 |") < text.index("</details>")


def test_counts_of_the_card_are_those_of_the_facts(make_facts):
    text = card(make_facts())
    assert "**2 labels added** to the 3 that were there (+66.7 %)" in text
    glance = dict(tables(text)[0][2:])
    assert glance["clips"] == "3" and glance["clips that got labels"] == "2 (66.7 %)"
    assert glance["labels before"] == "3" and glance["labels after"] == "5"
    assert glance["labels a clip, before and after"] == "1.00 and 1.67"


def test_what_was_judged_is_shown_with_intervals_and_else_said_plainly(make_facts):
    text = card(make_facts(precision=PRECISION))
    assert "Estimated precision of the added labels: 0.750 \\[0.500, 0.900\\], from 40 judged labels" in text
    assert "Unsure: 3 items, left out. Had all been wrong: 0.700; right: 0.800." in text
    assert "0.770 [0.500, 0.950]" in text and "| I+II | 2 | 40 | 0.750 [0.500, 0.900] |" in text
    assert "| 0.5 to 0.7 | 2 | 0 | - |" in text and "| a \\| b | 1 | 1 |" in text
    assert "**Nobody has listened to the added labels yet" in card(make_facts())


def test_files_and_documents_are_all_listed(make_facts):
    facts = make_facts()
    rows = next(rows for rows in tables(card(facts)) if rows[0] == ["file", "what it is", "bytes"])
    names = [row[0].strip("`") for row in rows[2:]]
    assert names[: len(facts.files)] == [row.name for row in facts.files]
    assert names[len(facts.files) :] == [
        "README.md", "croissant.json", "CITATION.cff", "LICENSE", "LICENSE-ontology", "run.json", "SHA256SUMS",
    ]  # fmt: skip


def test_forms_of_the_source_are_offered_where_they_are(make_facts):
    facts = make_facts()
    assert not any(text in card(facts) for text in FORMS.values())
    further = replace(facts.files[0], name="segments.csv")
    assert FORMS["segments.csv"] in card(make_facts(files=(*facts.files, further)))


def test_the_code_of_the_card_works(make_facts, release_folder, monkeypatch):
    pytest.importorskip("mlcroissant")  # pandas comes with it
    from pseudolabel.releases.croissant import croissant

    monkeypatch.chdir(release_folder)
    facts = make_facts(released="2026-01-31")
    (release_folder / "croissant.json").write_text(json.dumps(croissant(facts)), encoding="utf-8")
    names: dict = {}
    said = io.StringIO()
    blocks = re.findall(r"```python\n(.*?)\n```", card(facts), flags=re.DOTALL)
    for block in blocks:
        if "load_dataset" in block:
            continue  # needs a library that no test may ask for
        with contextlib.redirect_stdout(said):
            exec(block, names)
    lines = said.getvalue().split("\n")
    assert lines[0] == "3 clips, 4 classes, 5 labels"
    assert lines[1].startswith("b'clip-1'") and lines[2] == "2 labels removed, 3 left"
    assert len(blocks) == 6


def test_the_commands_of_the_card_work(make_facts, release_folder, monkeypatch, capsys):
    monkeypatch.chdir(release_folder)
    commands = re.search(r"```sh\n(.*?)\n```", card(make_facts()), flags=re.DOTALL)[1]
    check, verify, undo = commands.replace("\\\n", "").split("\n")
    assert undo.startswith("python -m pseudolabel.enhance ") and "pseudolabel.release verify ." in verify
    assert enhance.main(undo.split()[3:]) == 0
    vocabulary = Vocabulary.load("classes.csv")
    assert LabelTable.read("../original.csv", vocabulary) == LabelTable.read("original_labels.csv.gz", vocabulary)
    if sys.platform == "linux":
        sums = "".join(f"{row.sha256}  {row.name}\n" for row in make_facts().files)
        (release_folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
        assert subprocess.run(check.split(), capture_output=True, check=False).returncode == 0


def test_an_unknown_licence_makes_no_card(make_facts):
    with pytest.raises(InputError, match="not a known SPDX id"):
        card(make_facts(licence="free"))


def test_the_code_that_reads_the_targets_works(make_facts, tmp_path, monkeypatch):
    h5py, np = pytest.importorskip("h5py"), pytest.importorskip("numpy")
    from pseudolabel.releases.targets import write_targets
    from pseudolabel.scores.store import ScoreStore

    two = Vocabulary("two", *(("dog", "cat"),) * 3)
    scores = np.array([[0.0, 1.0], [0.5, 0.25]])
    windows = np.repeat(scores[:, None], 5, axis=1)
    store = ScoreStore.write(tmp_path / "scores.h5", ["x", "y"], two.class_ids, {"clip": scores, 2: windows})
    assert h5py.is_hdf5(tmp_path / "scores.h5")
    labels = LabelTable(["x", "y"], np.zeros((2, 2), bool), two)
    stores = dict.fromkeys(("clip", 2.0), store or ScoreStore.open(tmp_path / "scores.h5"))
    write_targets(tmp_path / "targets.h5", labels, stores, "uint8")
    facts = make_facts()
    text = card(make_facts(files=(*facts.files, replace(facts.files[0], name="targets.h5"))))
    reads_targets = re.search(r"```python\n(import h5py\n.*?)\n```", text, flags=re.DOTALL)[1]
    assert "h5py" not in card(facts)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(reads_targets, names)
    assert list(names["clip_ids"]) == ["x", "y"] and list(names["class_ids"]) == ["dog", "cat"]
    assert np.abs(names["targets"]["scores_clip"] - scores).max() <= 1 / 510
    assert names["targets"]["scores_2s"].shape == (2, 5, 2)


def test_additions_that_people_found_right_are_not_sent_to_be_judged(make_facts):
    reviewed = {"errors": ["I", "II"], "reviewed": {"right": 2, "wrong": 3}, "threshold": None, "evidence": None}
    text = card(make_facts(rule=reviewed))
    assert "**People found each added label right" in text and "pseudolabel.review" not in text
