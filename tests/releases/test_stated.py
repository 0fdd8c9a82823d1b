"""Documents: what a release says of itself is true, whichever version wrote it and whoever made the checksums fit."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from pseudolabel.artefacts import write_json
from pseudolabel.enhance import main as enhance
from pseudolabel.errors import InputError
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256
from pseudolabel.release import main as release
from pseudolabel.releases import folder as files
from pseudolabel.releases.card import DOCUMENTS
from pseudolabel.releases.facts import Document, Facts, OfClass, Rule
from pseudolabel.releases.stated import _verify_bounds
from pseudolabel.releases.verify import verify_release

TWO = Vocabulary("two", ("dog", "bark"), ("Dog", "Bark"), ("dog", "bark"))
WORDS = ("README.md", "croissant.json", "CITATION.cff", "LICENSE", "LICENSE-ontology")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Four clips that bark; each gets the label dog."""
    work = tmp_path_factory.mktemp("work")
    (work / "ontology.csv").write_text("class_id,name,child_ids,restrictions\ndog,Dog,bark,\nbark,Bark,,\n")
    TWO.write(work / "vocabulary.csv")
    LabelTable.from_sets(["a", "b", "c", "d"], [["bark"]] * 4, TWO).write(work / "labels.csv")
    closure = ["--errors", "II", "--type2", "closure"]
    assert enhance(["--work", str(work), "--ontology", str(work / "ontology.csv"), *closure]) == 0
    assert release(["--work", str(work), "--title", "Dogs that bark", "--author", "Doe, Jane"]) == 0
    return work / "release-closure"


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "release")


def forge(folder: Path, version: str = "0.0.9", documents: bool = True, **changed: object) -> None:
    """Say that another version wrote the documents, and make all checksums fit them as they are."""
    facts = Facts.from_json(json.loads((folder / "run.json").read_text()))
    described = [Document.of(folder / name) for name in WORDS] if documents else ()
    write_json(folder / "run.json", replace(facts, pseudolabel=version, documents=described, **changed).to_json())
    (folder / "SHA256SUMS").write_text(files.checksums(folder))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def as_version(folder: Path, version: str = "0.0.9") -> None:
    """Write the documents as a release of another version has them."""
    facts = Facts.from_json(json.loads((folder / "run.json").read_text()))
    for name, text in files.documents(replace(facts, pseudolabel=version)).items():
        (folder / name).write_text(text, encoding="utf-8")


def refused(folder: Path, match: str) -> None:
    with pytest.raises(InputError, match=match):
        verify_release(folder)


FEW = "2 labelled clips with scores, fewer than 3"


@pytest.mark.parametrize(
    ("rule", "threshold", "positives", "reason", "message"),
    [
        ({"floor": 0.2, "min_positives": 3}, 0.2, 3, "", ""),
        ({"floor": 0.21, "min_positives": 3}, 0.2, 3, "", "rule.floor is 0.21, the threshold of dog 0.2"),
        ({"min_positives": 4}, 0.2, 3, "", "rule.min_positives is 4, dog has a threshold by 3"),
        ({"min_positives": 4, "fallback_threshold": 0.2}, 0.2, 3, "", ""),
        ({"min_positives": 4, "threshold_file": "t.csv"}, 0.2, 3, "", ""),
        ({"min_positives": 3}, None, 2, FEW, ""),
        ({"min_positives": 2}, None, 2, FEW, "rule.min_positives is 2, dog says 3"),
    ],
)
def test_a_rule_that_its_thresholds_contradict_is_refused(rule, threshold, positives, reason, message):
    row = OfClass(class_id="dog", name="Dog", before=1, added=0, after=1, threshold=threshold,
                  scored_positives=positives, reason=reason)  # fmt: skip
    rule = Rule(threshold="25p", errors=("I",), evidence="clip", **rule)
    with pytest.raises(InputError, match=message) if message else nullcontext():
        _verify_bounds(rule, (row,), "run.json")


@pytest.mark.parametrize("name", WORDS)
def test_any_edit_is_found_where_run_json_names_another_version(copy, name):
    as_version(copy)
    forge(copy)
    assert "the documents say what run.json says" in verify_release(copy)[-1]
    with open(copy / name, "a", encoding="utf-8") as file:
        file.write("\n" if name.endswith("json") else "Every label is right.\n")
    (copy / "SHA256SUMS").write_text(files.checksums(copy))
    refused(copy, rf"{name}: does not say what run\.json says")


def test_a_release_that_version_0_1_0_made_still_verifies(tmp_path):
    folder = shutil.copytree(Path(__file__).with_name("release-0.1.0"), tmp_path / "release")
    assert "their words are those of pseudolabel 0.1.0" in verify_release(folder)[-1]
    edit(folder / "README.md", "**45 labels added**", "**46 labels added**")
    forge(folder, "0.1.0")
    refused(folder, r"README\.md:\d+: says figures that the files do not say: 24, 46,")


def test_a_release_of_some_classes_of_audioset_that_version_0_2_0_made_still_verifies(tmp_path):
    folder = shutil.copytree(Path(__file__).with_name("release-0.2.0"), tmp_path / "release")
    lines = verify_release(folder)
    assert lines[1].endswith("are the 149 of labels.csv, labels.parquet, psla.json, segments.csv")
    assert "their words are those of pseudolabel 0.2.0" in lines[-1]
    edit(folder / "README.md", "All 40 classes", "All 41 classes")
    forge(folder, "0.2.0")
    refused(folder, r"README\.md:\d+: says figures that the files do not say: 41")


def test_the_checksums_of_the_documents_cannot_be_left_out(copy):
    as_version(copy)
    edit(copy / "README.md", "No label was removed", "Every label is right")
    forge(copy, documents=False)
    refused(copy, r"README\.md: does not say what run\.json says")
    as_version(copy)
    forge(copy, documents=False)
    verify_release(copy)  # a release of an earlier version, which had none, as this version writes it


def test_other_words_of_another_version_are_let_through_and_said(copy):
    as_version(copy)
    edit(copy / "README.md", "No label was removed", "None of the labels was taken away")
    edit(copy / "LICENSE", "without warranties of any kind", "with no warranty whatsoever")
    edit(copy / "CITATION.cff", "If you use these labels", "Whenever you use these labels")
    forge(copy)
    assert "no other figures; their words are those of pseudolabel 0.0.9" in verify_release(copy)[-1]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("README.md", "**4 labels added** to the 4", "**40 labels added** to the 4"),
        ("README.md", "| clips | 4 |", "| clips | 5 |"),
        ("README.md", "| clips | 4 |", "| clips | ٤ |"),
        ("README.md", "| labels after | 8 |", "| labels before | 8 |"),
        ("README.md", "| labels after | 8 |", "| labels of people | 8 |"),
        ("README.md", "# Dogs that bark", "# Cats that purr"),
        ("README.md", 'license: "cc-by-4.0"', 'license: "cc0-1.0"'),
        ("README.md", "No label was removed", "Estimated precision 0.99. No label was removed"),
        ("README.md", "No label was removed", "Nine in 10 are right. No label was removed"),
        ("README.md", "+100.0 %", "&#43;900.0 %"),
        ("croissant.json", '"contentSize": "', '"contentSize": "1'),
        ("croissant.json", '"sha256": "', '"sha256": "0'),
        ("croissant.json", '"version": "1.0.0"', '"version": "2.0.0"'),
        ("croissant.json", "https://creativecommons.org/licenses/by/4.0/", "https://opensource.org/license/mit"),
        ("croissant.json", "{", "["),
        ("CITATION.cff", 'version: "1.0.0"', 'version: "9.0.0"'),
        ("CITATION.cff", 'license: "CC-BY-4.0"', 'license: "MIT"'),
        ("CITATION.cff", 'family-names: "Doe"', 'family-names: "Roe"'),
        ("LICENSE", "SPDX-License-Identifier: CC-BY-4.0", "SPDX-License-Identifier: MIT"),
        ("LICENSE", "4 labels added", "5 labels added"),
        ("LICENSE-ontology", "CC-BY-SA-4.0", "MIT"),
    ],
)
def test_figures_are_counted_again_where_all_checksums_fit(copy, name, old, new):
    as_version(copy)
    edit(copy / name, old, new)
    forge(copy)
    refused(copy, name)


@pytest.mark.parametrize("name", WORDS)
def test_a_document_that_is_empty_or_endless_is_refused(copy, name):
    as_version(copy)
    (copy / name).write_text("")
    forge(copy)
    refused(copy, name)
    (copy / name).write_text("word " * 100_000)
    forge(copy)
    refused(copy, rf"{name}: far longer than this version writes it")


def test_facts_changed_too_are_counted_again(copy):
    record = json.loads((copy / "run.json").read_text())
    counts, rule = record["counts"], record["rule"]
    for changed, said in (
        ({"counts": {**counts, "clips": True}}, "counts.clips: must be a whole number, not True"),
        ({"counts": {**counts, "clips_changed": 4.0}}, "counts.clips_changed: must be a whole number, not 4.0"),
        ({"rule": {**rule, "errors": ["I"]}}, "rule.errors are"),
        ({"rule": {**rule, "erors": ["I"]}}, "unknown key 'erors'; nearest: 'errors'"),
        ({"rule": {**rule, "min_positives": True}}, "rule.min_positives: must be a whole number or None, not True"),
    ):
        write_json(copy / "run.json", {**record, **changed})
        (copy / "SHA256SUMS").write_text(files.checksums(copy))
        refused(copy, said)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ledger_sha256": "0" * 64}, "the judgements are of another ledger"),
        ({"overall": {"additions": 40}}, "overall: is of 40 additions, the ledger has 4"),
        ({"by_error": [{"error": "II", "additions": 3}]}, "by_error: is of 3 additions, the ledger has 4"),
        ({"by_class": [{"class_id": "bark", "additions": 1}]}, "by_class: is of 1 additions, the ledger has 0"),
    ],
)
def test_a_precision_of_other_additions_is_refused(copy, changed, said):
    figures = {"precision": 0.5, "low": 0.25, "high": 0.75, "judged": 4}
    precision = {"overall": figures, **changed}
    for part, value in changed.items():
        if isinstance(value, dict):
            precision[part] = figures | value
        elif isinstance(value, list):
            precision[part] = [figures | row for row in value]
    facts = replace(Facts.from_json(json.loads((copy / "run.json").read_text())), precision=precision)
    for name, text in files.documents(facts).items():
        (copy / name).write_text(text, encoding="utf-8")
    write_json(copy / "run.json", facts.to_json())
    (copy / "SHA256SUMS").write_text(files.checksums(copy))
    refused(copy, said)


def test_run_json_lists_every_document_but_itself_and_the_sums(made):
    record = json.loads((made / "run.json").read_text())
    assert {row["name"] for row in record["documents"]} == set(WORDS) == set(DOCUMENTS) - {"run.json", "SHA256SUMS"}
    for row in record["documents"]:
        assert row["sha256"] == sha256(made / row["name"]) and row["bytes"] == (made / row["name"]).stat().st_size


def scored(folder: Path, **changed: object) -> Facts:
    """Write a release of another version whose run.json tells of a teacher as well; return its facts."""
    teacher = {"name": "runs/teacher", "trained_on_clips": 3}
    facts = Facts.from_json(json.loads((folder / "run.json").read_text()))
    facts = replace(facts, pseudolabel="0.9.9", teacher=teacher, out_of_fold=False, evaluation_touched=False)
    for name, text in files.documents(facts).items():
        (folder / name).write_text(text, encoding="utf-8")
    forge(folder, "0.9.9", **{**{name: getattr(facts, name) for name in SCORED}, **changed})
    return facts


SCORED = ("teacher", "out_of_fold", "evaluation_touched")
BY_TYPE = "| type II | 4 | +100.0 % | 1 |\n"


def verdict(folder: Path, capsys) -> tuple[int, str]:
    capsys.readouterr()
    code = release(["verify", str(folder)])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("croissant.json", '"contentUrl": "labels.csv"', '"contentUrl": "https://evil.example/labels.csv"'),
        ("croissant.json", '"contentUrl": "labels.csv"', '"contentUrl": "classes.csv"'),
        ("croissant.json", '"column": "labels"', '"column": "clip_id"'),
        ("croissant.json", '"isLiveDataset": false', '"isLiveDataset": null'),
        ("croissant.json", '"isLiveDataset": false', '"isLiveDataset": true, "isLiveDataset": false'),
        ("croissant.json", '"isLiveDataset": false', '"isLiveDataset": false, "sameAs": "else"'),
        ("croissant.json", "schema.org/", "schema.example/"),
        ("croissant.json", "runs/teacher", "runs/other"),
        ("croissant.json", "No clip of an evaluation list", "Many clips of an evaluation list"),
        ("croissant.json", "No label was removed", "See http://evil.example: no label was removed"),
        ("README.md", 'path: "labels.parquet"', 'path: "https://evil.example/l.parquet"'),
        ("README.md", 'path: "labels.parquet"', 'path: "added_labels.parquet"'),
        ("README.md", "configs:", 'dataset_info:\n  - config_name: "labels"\nconfigs:'),
        ("README.md", "---\n", ""),
        ("README.md", BY_TYPE, ""),
        ("README.md", "of the labels before", "of all labels"),
        ("README.md", "## What was added", "## Something else"),
        ("README.md", "In sample: ", "Hardly in sample: "),
        ("README.md", "runs/teacher", "runs/other"),
        ("README.md", "Nobody has listened to the added labels yet", "Experts have listened to all labels"),
        ("README.md", "No label was removed", "<https:\\//evil.example> No label was removed"),
        ("croissant.json", "No label was removed", "See http\\u003a//evil.example: no label was removed"),
        ("README.md", "No label was removed", "[No label](www.evil.example) was removed"),
        ("LICENSE-ontology", "https://github.com/audioset/ontology", "https://evil.example/ontology"),
    ],
)
def test_an_edit_without_figures_is_not_believed_of_another_version(copy, capsys, name, old, new):
    scored(copy)
    edit(copy / name, old, new)
    facts = Facts.from_json(json.loads((copy / "run.json").read_text()))
    forge(copy, "0.9.9", **{column: getattr(facts, column) for column in SCORED})
    code, said = verdict(copy, capsys)
    assert code == 2 and f"{name}: " in said, said
    assert "Verify with pseudolabel 0.9.9, or get the release again." in said or "is listed twice" in said


@pytest.mark.parametrize(
    "changed", [{"out_of_fold": True}, {"evaluation_touched": None}, {"teacher": {"name": "x", "trained_on_clips": 3}}]
)
def test_a_card_that_says_another_thing_than_run_json_in_words_is_not_believed(copy, capsys, changed):
    scored(copy)
    assert verdict(copy, capsys) == (0, "")
    scored(copy, **changed)
    code, said = verdict(copy, capsys)
    assert code == 2
    assert "README.md: cannot tell whether How the labels were added says what run.json says: this version" in said
    assert said.endswith("Verify with pseudolabel 0.9.9, or get the release again.\n")


def test_descriptions_of_another_version_may_differ(copy, capsys):
    scored(copy)
    edit(copy / "croissant.json", "Id of the clip.", "The clip.")
    forge(copy, "0.9.9", teacher={"name": "runs/teacher", "trained_on_clips": 3}, out_of_fold=False,
          evaluation_touched=False)  # fmt: skip
    assert verdict(copy, capsys) == (0, "")


def without(record: dict, key: str) -> dict:
    return {name: value for name, value in record.items() if name != key}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: without(record, "files"), "files is missing"),
        (lambda record: without(record, "documents"), "documents is missing"),
        (lambda record: {**record, "counts": 1}, "counts: is int, not a table of names and values"),
        (lambda record: {**record, "ontology": {"x": float("nan")}}, "cannot be read (NaN is not JSON)"),
        (lambda record: {**record, "counts": {**record["counts"], "labels_after": 9}}, "4 added are not 9 after"),
        (lambda record: {**record, "pseudolabel": 1}, "pseudolabel: must be text, not 1"),
    ],
)
def test_a_record_that_cannot_be_is_refused_with_a_remedy(copy, capsys, change, said):
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(change(record)))
    (copy / "SHA256SUMS").write_text(files.checksums(copy))
    code, message = verdict(copy, capsys)
    assert code == 2 and said in message and message.endswith(". Get the release again, or make a new one.\n"), message


@pytest.mark.parametrize("name", ["SHA256SUMS", "README.md", "labels.csv", "run.json"])
def test_an_empty_folder_in_the_place_of_a_file_is_refused_with_a_remedy(copy, capsys, name):
    (copy / name).unlink()
    (copy / name).mkdir()
    code, message = verdict(copy, capsys)
    assert code == 2 and "Is a directory" not in message
    assert message.endswith(("Give the folder of a release.\n", "Get the release again, or make a new one.\n")), message
