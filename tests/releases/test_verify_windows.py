"""Windows that are not in their clips: refused when a release is made, and by verify."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pseudolabel.artefacts import write_csv
from pseudolabel.audio.clips import ClipTable, write_clips
from pseudolabel.enhance import main as enhance
from pseudolabel.errors import InputError
from pseudolabel.labels.ledger import read_ledger, write_ledger
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.release import main as release
from pseudolabel.releases import folder as files
from pseudolabel.releases.verify import beyond_the_end, verify_release
from pseudolabel.scores.store import ScoreStore

TWO = Vocabulary("two", ("/m/dog", "/m/bark"), ("Dog", "Bark"), ("/m/dog", "/m/bark"))
ONTOLOGY = "class_id,name,child_ids,restrictions\n/m/dog,Dog,/m/bark,\n/m/bark,Bark,,\n"
HEADER = "# Segments\n# n\n# YTID, start_seconds, end_seconds, positive_labels\n"


@pytest.mark.parametrize(
    ("onset_s", "window_s", "length_s", "beyond"),
    [
        (8, 2, 10, False),  # the last of five
        (10, 2, 10, True),
        (16, 2, 10, True),
        (8, 2, 8.9, False),  # cut by the clip's end
        (8, 2, 8, True),
        (8, 1.5, 10, False),  # with a hop of its own
        (9, 2, 10, False),
        (0, 10, 3, False),  # a short clip has one window
        (-2, 2, 10, True),
        (0, 0, 10, True),
        (16, 2, np.nan, False),
        (np.nan, np.nan, 10, False),
    ],
)
def test_no_window_begins_where_its_clip_has_ended(onset_s, window_s, length_s, beyond):
    arrays = (np.array([float(value)]) for value in (onset_s, window_s, length_s))
    assert beyond_the_end(*arrays).tolist() == [beyond]


def make(work: Path, n_windows: int, best: int, hop_s: float = 2.0, length_s: int = 10) -> int:
    """Enhance two clips of 10 s by windows of 2 s of which number `best` is the best, and release; the exit code."""
    work.mkdir(parents=True)
    (work / "ontology.csv").write_text(ONTOLOGY)
    TWO.write(work / "vocabulary.csv")
    rows = (
        f'{clip}, 30.000, {30 + length_s}.000, "{labels}"\n' for clip, labels in (("a", "/m/bark"), ("b", "/m/dog"))
    )
    (work / "segments.csv").write_text(HEADER + "".join(rows))
    scores = np.full((2, n_windows, 2), 0.25, np.float16)
    scores[:, best] = 0.75
    ScoreStore.write(
        work / "scores.h5", ("a", "b"), TWO.class_ids, {"clip": scores.mean(axis=1), 2: scores}, hops_s={2: hop_s}
    )
    common = ["--work", str(work), "--labels", str(work / "segments.csv"), "--format", "audioset"]
    options = ["--ontology", str(work / "ontology.csv"), "--evidence", "2s", "--threshold", "0.5"]
    assert enhance([*common, *options]) == 0
    return release([*common, "--soft", "uint8", "--soft-windows", "clip", "2s"])


def test_windows_in_their_clips_are_released(tmp_path, capsys):
    assert make(tmp_path / "five", 5, 4) == 0
    assert "windows are in their clips" in capsys.readouterr().out
    assert make(tmp_path / "hop", 9, 8, hop_s=1.0) == 0
    ledger = pq.read_table(tmp_path / "hop" / "release-0.5" / files.ADDED)
    assert set(ledger["onset_s"].to_pylist()) == {8.0}
    assert make(tmp_path / "cut", 10, 9, hop_s=1.0) == 0  # of ten windows, one a second, the end cuts the last
    ledger = pq.read_table(tmp_path / "cut" / "release-0.5" / files.ADDED)
    assert set(ledger["onset_s"].to_pylist()) == {9.0}


@pytest.mark.parametrize(("best", "said"), [(8, "first 16 to 18 s of a, which has 10 s"), (0, "the last from 16 s on")])
def test_more_windows_than_a_clip_has_make_no_release(tmp_path, capsys, best, said):
    """Nine windows, one a second, that were stored as if they followed each other: in the ledger, or in the targets."""
    assert make(tmp_path / "work", 9, best) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error and not (tmp_path / "work" / "release-0.5").exists()


def test_verify_refuses_a_window_beyond_the_end(tmp_path):
    assert make(tmp_path / "work", 5, 4) == 0
    folder = shutil.copytree(tmp_path / "work" / "release-0.5", tmp_path / "copy")
    ledger = pq.read_table(folder / files.ADDED)
    place = ledger.column_names.index("onset_s")
    for onsets, said in (([16.0], "first 16 to 18 s of a, which has 10 s"), ([None], "a window without its onset")):
        changed = ledger.set_column(place, ledger.schema.field(place), pa.array(onsets * len(ledger), pa.float64()))
        write_ledger(changed, folder)
        (folder / "ledger.parquet").replace(folder / files.ADDED)
        (folder / "ledger.csv.gz").replace(folder / files.ADDED_CSV)
        record = json.loads((folder / "run.json").read_text())
        record["files"] = [vars(row) for row in files.described_files(folder)]
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "SHA256SUMS").write_text(files.checksums(folder))
        with pytest.raises(InputError, match=said):
            verify_release(folder)


@pytest.mark.parametrize("length", [2, 1.5])
@pytest.mark.parametrize("soft", [(), ("--soft", "uint8")])
@pytest.mark.parametrize("reviewed", [False, True])
def test_additions_by_windows_of_any_length_are_released_from_a_store_without_whole_clips(
    tmp_path, capsys, length, soft, reviewed
):
    """The ledger's scores are found and the card tells their teacher, also where the clips were an input."""
    (tmp_path / "ontology.csv").write_text(ONTOLOGY)
    TWO.write(tmp_path / "vocabulary.csv")
    LabelTable.from_sets(("a", "b"), [{"/m/bark"}, {"/m/dog"}], TWO).write(tmp_path / "labels.csv")
    write_clips(
        tmp_path / "clips.h5", ClipTable("ab", "ab", [80_000] * 2, [160_000] * 2, 16_000), [np.zeros(320_000, np.uint8)]
    )
    scores = np.full((2, 3, 2), 0.25)
    scores[:, 1] = 0.75
    said = {"model": "theirs", "imported_sha256": "0" * 64}
    ScoreStore.write(tmp_path / "scores.h5", ("a", "b"), TWO.class_ids, {length: scores}, said)
    work, name = ["--work", str(tmp_path)], f"{float(length)!r}".removesuffix(".0")
    assert enhance([*work, "--ontology", str(tmp_path / "ontology.csv"), "--threshold", "0.5"]) == 2
    assert f"Give --evidence {name}s, or import scores of this scale" in capsys.readouterr().err
    options = ["--ontology", str(tmp_path / "ontology.csv"), "--threshold", "0.5", "--evidence", name]
    assert enhance([*work, *options]) == 0
    folder = tmp_path / "enhanced-0.5"
    for record in (
        json.loads((folder / "run.json").read_text())["options"],
        json.loads((folder / "summary.json").read_text()),
    ):
        assert record["evidence"] == f"{name}s"
    if reviewed:
        ledger = read_ledger(folder / "ledger.parquet")
        write_csv(
            tmp_path / "r.csv",
            [*ledger.column_names, "decision"],
            ([*row.values(), "right"] for row in ledger.to_pylist()),
        )
        assert enhance(["apply", str(tmp_path / "r.csv"), *work]) == 0
        folder = tmp_path / "enhanced-reviewed"
    given = [*soft, *(("--soft-windows", f"{name}s") if soft else ())]
    given += ["--scores", str(tmp_path / "scores.h5")] if reviewed else []
    assert release([*work, "--enhanced", str(folder), *given]) == 0
    assert "give --scores" not in capsys.readouterr().err
    made = next(tmp_path.glob("release-*"))
    facts = json.loads((made / "run.json").read_text())
    assert facts["rule"]["evidence"] == f"{name}s" and facts["teacher"]["name"] == "theirs"
    assert release(["verify", str(made)]) == 0
