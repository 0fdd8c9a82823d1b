"""`enhance` counts first and then writes block by block: the same files, whatever fits into memory."""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
import subprocess
import sys
import weakref
from collections import namedtuple
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel import enhance as verb
from pseudolabel import enhance_files, machine
from pseudolabel.blocks import only_run
from pseudolabel.enhance import main, write_enhancement
from pseudolabel.errors import InputError
from pseudolabel.labels import candidates, enhancement, ledger
from pseudolabel.labels.enhancement import Enhancing, enhance
from pseudolabel.labels.judging import JUDGED
from pseudolabel.labels.ledger import SCHEMA, csv_rows, ledger_pieces, read_ledger, write_ledger, written_ledger
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.labels.writers import as_text, csv_lines, label_lines
from pseudolabel.records import sha256
from pseudolabel.scores.store import ScoreStore

ONTOLOGY = """class_id,name,child_ids,restrictions
animal,Animal,dog;wild,
dog,Dog,bark;howl,
wild,Wild animals,wolf,abstract
wolf,Wolf,howl,
bark,Bark,,
howl,Howl,,
vehicle,Vehicle,,
"""
SIX = Vocabulary("six", *(("animal", "dog", "wolf", "bark", "howl", "vehicle"),) * 3)
N_CLIPS = 60
FILES = ("labels.csv", "ledger.csv.gz", "thresholds.csv", "missing.csv", "outside.csv", "summary.json")


@pytest.fixture
def work(tmp_path):
    """A work folder of random labels and scores of clips and 5 s windows; one clip has no scores."""
    folder, rng = tmp_path / "work", np.random.default_rng(5)
    folder.mkdir()
    (tmp_path / "ontology.csv").write_text(ONTOLOGY)
    clips = [f'-c{i:02d}{",;"[i % 2]}"' if i % 9 == 0 else f"-c{i:02d}" for i in range(N_CLIPS)]
    LabelTable(clips, rng.random((N_CLIPS, 6)) < 0.3, SIX).write(folder / "labels.csv")
    SIX.write(folder / "vocabulary.csv")
    windows = rng.random((N_CLIPS - 1, 2, 6))
    scores = {"clip": windows.mean(axis=1), 5: windows}
    ScoreStore.write(folder / "scores.h5", clips[1:], SIX.class_ids, scores)
    return folder


def run(work, *options: object) -> int:
    ontology = [] if {"undo", "apply"} & set(options) else ["--ontology", str(work.parent / "ontology.csv")]
    return main([*map(str, options), "--work", str(work), *ontology])


def refused(capsys, work, *options: object) -> str:
    """Return the one error line of a run that ends with code 2."""
    capsys.readouterr()
    assert run(work, *options) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


# ---- the same files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "options", "soft"),
    [
        (["--threshold", "25p"], EnhanceOptions("25p"), False),
        (
            ["--threshold", "0.3", "--rounds", "all", "--evidence", "5s", "--soft"],
            EnhanceOptions("0.3", rounds="all", evidence="5s"),
            True,
        ),
        (["--type2", "closure", "--soft"], EnhanceOptions(type2="closure"), True),
        (["--profile", "psla"], EnhanceOptions(profile="psla"), False),
    ],
)
@pytest.mark.parametrize("n_clips", [7, 8192])
def test_the_command_writes_what_the_library_finds_whatever_the_blocks(
    work, tmp_path, monkeypatch, command, options, soft, n_clips
):
    vocabulary = Vocabulary.load(work / "vocabulary.csv")
    labels, ontology = LabelTable.read(work / "labels.csv", vocabulary), Ontology.load(tmp_path / "ontology.csv")
    found = enhance(labels, ScoreStore.open(work / "scores.h5"), ontology, options, soft=soft)
    (tmp_path / "whole").mkdir()
    write_enhancement(found, tmp_path / "whole")
    monkeypatch.setattr(enhancement, "BLOCK_CLIPS", n_clips)
    assert run(work, *command, "--out", work / "streamed") == 0
    for name in (*FILES, *["targets.h5", "mask.csv"] * soft):
        assert sha256(work / "streamed" / name) == sha256(tmp_path / "whole" / name), name
    assert read_ledger(work / "streamed" / "ledger.parquet").equals(found.ledger)
    assert read_ledger(tmp_path / "whole" / "ledger.parquet").equals(found.ledger)


def plain_bytes(table: pa.Table) -> bytes:
    """The ledger's CSV as the standard library writes it, row by row."""
    raw = io.BytesIO()
    packed = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=ledger.GZIP_LEVEL)
    with packed, io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows(csv_rows(table))
    return raw.getvalue()


def random_ledger(n_rows: int) -> pa.Table:
    rng = np.random.default_rng(n_rows)
    rows = [
        {
            "clip_id": ["a", 'q"t', "b,c", "ü"][rng.integers(4)], "class_id": f"k{rng.integers(9)}", "error": "I",
            "because": "x;y", "score": [None, rng.random(), float(np.float16(rng.random()))][rng.integers(3)],
            "threshold": 0.1, "probability": None, "round": int(rng.integers(1, 3)),
        }
        for _ in range(n_rows)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@pytest.mark.parametrize("n_rows", [0, 1, 500])
def test_the_ledger_has_the_bytes_of_the_plain_writers(tmp_path, n_rows):
    table = random_ledger(n_rows)
    write_ledger(table, tmp_path)
    assert (tmp_path / "ledger.csv.gz").read_bytes() == plain_bytes(table)
    because = pa.array([row.split(";") for row in table["because"].to_pylist()], pa.list_(pa.string()))
    stored = table.set_column(3, "because", because)
    with pq.ParquetWriter(tmp_path / "plain.parquet", stored.schema, compression="zstd") as file:
        if n_rows:
            file.write_table(stored)
    assert sha256(tmp_path / "ledger.parquet") == sha256(tmp_path / "plain.parquet")


@pytest.mark.parametrize("cuts", [[], [0], [1, 2, 3], [10, 499], list(range(0, 500, 7))])
def test_a_ledger_in_pieces_is_the_same_ledger(tmp_path, monkeypatch, cuts):
    monkeypatch.setattr(ledger, "GROUP_ROWS", 64)
    table = random_ledger(500)
    with written_ledger(tmp_path) as write:
        for start, stop in zip([0, *cuts], [*cuts, 500], strict=True):
            write(table.slice(start, stop - start))
    assert (tmp_path / "ledger.csv.gz").read_bytes() == plain_bytes(table)
    with pq.ParquetFile(tmp_path / "ledger.parquet") as file:
        assert read_ledger(tmp_path / "ledger.parquet").equals(table)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sizes == [64] * 7 + [52]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@given(st.lists(st.tuples(texts, texts, texts), max_size=6))
def test_lines_are_those_of_the_csv_module(rows):
    plain = io.StringIO(newline="")
    csv.writer(plain, lineterminator="\n").writerows(rows)
    columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(3)]
    assert csv_lines(columns) == plain.getvalue().encode()


@given(st.lists(st.none() | st.floats(allow_nan=False)))
def test_floats_have_17_significant_digits(values):
    expected = ["" if value is None else f"{value:.17g}" for value in values]
    assert as_text(pa.array(values, pa.float64())).to_pylist() == expected


def test_label_lines_are_those_of_the_table(work, tmp_path):
    labels = LabelTable.read(work / "labels.csv", SIX)
    header, _, rows = (work / "labels.csv").read_bytes().partition(b"\n")
    assert header == b"clip_id,labels"
    assert label_lines(labels.clip_ids, labels.matrix, SIX.class_ids) == rows


@settings(max_examples=20)
@given(st.integers(1, 50))
def test_the_ledger_does_not_depend_on_how_many_supporting_labels_are_asked_at_once(support):
    rng = np.random.default_rng(1)
    labels = LabelTable([f"c{i}" for i in range(40)], rng.random((40, 6)) < 0.4, SIX)
    scores = rng.random((40, 6))
    graph = Ontology.load(ONTOLOGY_FILE)
    whole = enhance(labels, scores, graph, EnhanceOptions("10p", rounds="all"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "ROWS", support)
        assert enhance(labels, scores, graph, EnhanceOptions("10p", rounds="all")).ledger.equals(whole.ledger)


@pytest.fixture(scope="module", autouse=True)
def ontology_file(tmp_path_factory):
    global ONTOLOGY_FILE
    ONTOLOGY_FILE = tmp_path_factory.mktemp("ontology") / "ontology.csv"
    ONTOLOGY_FILE.write_text(ONTOLOGY)


# ---- counted and said before, in bounded memory -----------------------------------------------------------------


def test_the_count_is_said_before_anything_is_written_and_is_right(work, capsys, monkeypatch):
    said = []

    def write_blocks(*arguments, **options):
        said.append(capsys.readouterr().out)
        assert not (work / "enhanced-25p").exists()
        return enhance_files.write_blocks(*arguments, **options)

    monkeypatch.setattr(verb, "write_blocks", write_blocks)
    assert run(work, "--threshold", "25p") == 0
    n_added = pq.read_metadata(work / "enhanced-25p" / "ledger.parquet").num_rows
    n_clips = len(set(read_ledger(work / "enhanced-25p" / "ledger.parquet")["clip_id"].to_pylist()))
    assert said[0].startswith(f"will add {n_added:,} labels (+")
    assert f"to {n_clips} of 60 clips; ledger about " in said[0]


def test_the_announced_sizes_are_about_right(work, monkeypatch):
    labels, scores = LabelTable.read(work / "labels.csv", SIX), ScoreStore.open(work / "scores.h5")
    enhancing = Enhancing.begin(labels, scores, Ontology.load(work.parent / "ontology.csv"), EnhanceOptions("5p"))
    n_ledger, n_all = enhance_files._expected_bytes(enhancing, enhancing.count(), soft=False)
    (work / "out").mkdir()
    enhance_files.write_blocks(enhancing, enhancing.count(), work / "out")
    sizes = {path.name: path.stat().st_size for path in (work / "out").iterdir()}
    ledger_bytes = sizes["ledger.parquet"] + sizes["ledger.csv.gz"]
    assert n_ledger == pytest.approx(ledger_bytes, rel=0.1)
    assert n_all - n_ledger == pytest.approx(sum(sizes.values()) - ledger_bytes, rel=0.02)


def test_a_dry_run_counts_the_same_and_writes_nothing(work, capsys):
    assert run(work, "--threshold", "25p", "--dry-run") == 0
    counted = capsys.readouterr().out.splitlines()
    assert not (work / "enhanced-25p").exists()
    assert run(work, "--threshold", "25p") == 0
    written = capsys.readouterr().out.splitlines()
    assert counted[1:] == written[2:-1]


def test_a_disk_that_is_too_full_is_said_before_anything_is_written(work, capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(enhance_files.shutil, "disk_usage", lambda path: usage(10, 9, 1))
    line = refused(capsys, work, "--threshold", "25p")
    assert "will add" in line and "and 0.0 kB are free. Give --out on another disk" in line
    assert sorted(path.name for path in work.iterdir()) == ["labels.csv", "scores.h5", "vocabulary.csv"]


def test_scores_that_change_between_count_and_writing_are_an_error_and_leave_nothing(work, capsys, monkeypatch):
    count = Enhancing.count

    def counted(enhancing):
        tally = count(enhancing)
        tally.by_class[1, 1] += 1
        return tally

    monkeypatch.setattr(Enhancing, "count", counted)
    assert "the scores changed meanwhile" in refused(capsys, work, "--threshold", "25p")
    assert not (work / "enhanced-25p").exists()


def test_what_is_held_while_writing_is_a_few_blocks(work, monkeypatch):
    seen, most, block_of = [], [0], Enhancing._block

    def watched(*arguments):
        block = block_of(*arguments)
        seen.append(weakref.ref(block.ledger))
        most[0] = max(most[0], sum(one() is not None for one in seen))
        return block

    monkeypatch.setattr(Enhancing, "_block", watched)
    monkeypatch.setattr(enhancement, "BLOCK_CLIPS", 2)
    monkeypatch.setattr(ledger, "GROUP_ROWS", 4)
    assert run(work, "--threshold", "10p") == 0
    assert pq.read_metadata(work / "enhanced-10p" / "ledger.parquet").num_rows > 60
    assert len(seen) > 30 and most[0] <= 8


WATCH = """
import resource, sys, threading
from pseudolabel import enhance, enhance_files
def anonymous():
    words = open("/proc/self/status").read().split()
    return int(words[words.index("RssAnon:") + 1]) >> 10
peaks, begun, announced = [0], [], enhance_files.announced
def said(*arguments):
    begun.append(anonymous())
    return announced(*arguments)
enhance.announced = said
def watch():
    while True:
        peaks[0] = max(peaks[0], anonymous())
        ended.wait(.02)
        if ended.is_set():
            return
ended = threading.Event()
thread = threading.Thread(target=watch)
thread.start()
code = enhance.main(sys.argv[1:])
ended.set()
thread.join()
print(code, begun[0], peaks[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def noise(folder: Path, n_clips: int) -> None:
    """Write labels of n clips of AudioSet's classes, and scores that are noise."""
    from pseudolabel.benchmarks.drawn import draw_labels
    from pseudolabel.scores.writing import ScoreLayout, write_scores

    vocabulary, rows = Vocabulary.load("audioset"), 1 << 14
    labels = draw_labels(n_clips, vocabulary)
    labels.write(folder / "labels.csv")
    scores = np.random.default_rng(1).random((rows, len(vocabulary)), np.float32).astype(np.float16)
    blocks = ({"clip": np.roll(scores, start // rows, axis=1)[: n_clips - start]} for start in range(0, n_clips, rows))
    layout = ScoreLayout(labels.clip_ids, vocabulary.class_ids, {"clip": labels.matrix.shape})
    write_scores(folder / "scores.h5", layout, blocks)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_additions_of_scores_that_are_noise_take_no_memory(tmp_path):
    """1,000,000 clips, about 24 million additions: 1.5 GB of a ledger in memory, 1.1 GB of disk for the scores."""
    noise(tmp_path, 1_000_000)
    command = [sys.executable, "-c", WATCH, "--labels", "labels.csv", "--scores", "scores.h5", "--out", "out"]
    command += ["--vocabulary", "audioset", "--threshold", "0.45", "--rounds", "2", "--type1", "descendants"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=True)
    code, begun, peak, _ = map(int, done.stdout.splitlines()[-1].split())
    assert code == 0
    assert pq.read_metadata(tmp_path / "out" / "ledger.parquet").num_rows > 20_000_000
    assert peak - begun < 1000  # MB
    shutil.rmtree(tmp_path / "out")


# ---- ledgers that are read --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ledger.parquet", "ledger.csv.gz"])
def test_undo_reads_the_ledger_in_pieces(work, monkeypatch, name):
    monkeypatch.setattr(ledger, "PIECE_ROWS", 3)
    monkeypatch.setattr(ledger, "CSV_BLOCK", 400)
    assert run(work, "--threshold", "10p") == 0
    path = work / "enhanced-10p" / name
    assert len(list(ledger_pieces(path))) > 5
    assert run(work, "undo", path) == 0
    assert (work / "labels-undone.csv").read_bytes() == (work / "labels.csv").read_bytes()


def test_an_addition_that_is_listed_twice_in_two_pieces_is_refused(work, capsys, monkeypatch):
    assert run(work, "--threshold", "10p") == 0
    table = read_ledger(work / "enhanced-10p" / "ledger.parquet")
    monkeypatch.setattr(ledger, "PIECE_ROWS", 3)
    pq.write_table(pa.concat_tables([table, table.slice(4, 1)]), work / "enhanced-10p" / "twice.parquet")
    line = refused(capsys, work, "undo", work / "enhanced-10p" / "twice.parquet")
    assert f"label {table['class_id'][4].as_py()!r} of clip" in line and "is listed twice in the ledger" in line


@pytest.mark.parametrize("row", ['c1,"dog', 'c1,dog,"x', "c1,dog,x,y", "c1"])
def test_no_row_of_a_csv_ledger_is_swallowed(tmp_path, row):
    path = tmp_path / "ledger.csv"
    path.write_text(f"clip_id,class_id,remark\nc0,dog,\n{row}\nc2,dog,\nc3,dog,\n")
    with pytest.raises(InputError, match=r"ledger.csv"):
        read_ledger(path)
    with pytest.raises(InputError, match=r"ledger.csv"):
        list(ledger_pieces(path, only=True))


def test_a_column_that_is_listed_twice_is_refused(tmp_path):
    path = tmp_path / "ledger.csv"
    path.write_text("clip_id,class_id,clip_id\nc0,dog,c1\n")
    with pytest.raises(InputError, match="'clip_id' is listed twice"):
        read_ledger(path)


@pytest.mark.parametrize("name", ["ledger.parquet", "ledger.csv.gz"])
def test_a_ledger_that_does_not_fit_into_memory_is_refused_and_can_still_be_undone(work, capsys, monkeypatch, name):
    assert run(work, "--threshold", "10p") == 0
    path = work / "enhanced-10p" / name
    n_rows = pq.read_metadata(work / "enhanced-10p" / "ledger.parquet").num_rows
    monkeypatch.setattr(ledger, "FEW_ROWS", 10)
    monkeypatch.setattr(machine, "available_bytes", lambda: n_rows * ledger.ROW_BYTES - 1)
    with pytest.raises(InputError, match=rf"{n_rows} additions take about 0.0 GB of memory, and 0.0 GB are free"):
        read_ledger(path)
    assert run(work, "undo", path) == 0
    assert (work / "labels-undone.csv").read_bytes() == (work / "labels.csv").read_bytes()
    monkeypatch.setattr(machine, "available_bytes", lambda: n_rows * ledger.ROW_BYTES)
    assert len(read_ledger(path)) == n_rows


def test_evaluate_counts_the_rows_of_a_ledger_before_it_holds_them(work, monkeypatch):
    assert run(work, "--threshold", "10p") == 0
    path = work / "enhanced-10p" / "ledger.csv.gz"
    monkeypatch.setattr(ledger, "FEW_ROWS", 10)
    monkeypatch.setattr(machine, "available_bytes", lambda: 20 * ledger.ROW_BYTES - 1)
    with pytest.raises(InputError, match="additions take about"):
        read_ledger(path, JUDGED, only=True)


def test_free_memory_is_what_the_system_and_the_container_leave(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    assert machine.available_bytes() == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.available_bytes() is None or machine.available_bytes() > 1_000_000


# ---- what is read and replaced ----------------------------------------------------------------------------------


@pytest.fixture
def other(work, tmp_path):
    """Another project beside ./work, whose list has the same clips and other labels."""
    shutil.copytree(work, tmp_path / "other")
    labels = LabelTable.read(work / "labels.csv", SIX)
    LabelTable(labels.clip_ids, ~labels.matrix.toarray(), SIX).write(tmp_path / "other" / "labels.csv")
    return tmp_path / "other"


def run_here(*options: object) -> int:
    return main(["--ontology", str(ONTOLOGY_FILE), "--threshold", "25p", *map(str, options)])


def inputs_of(folder: Path) -> set[str]:
    import json

    record = json.loads((folder / "run.json").read_text())
    return {str(Path(path).resolve()) for path in record["inputs"] if Path(path).resolve() != ONTOLOGY_FILE.resolve()}


@pytest.mark.parametrize("named", ["--scores", "--labels"])
def test_beside_a_named_file_nothing_of_work_is_read(work, other, tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    file = {"--scores": "scores.h5", "--labels": "labels.csv"}[named]
    assert run_here(named, Path("other") / file, "--out", "out") == 0
    assert inputs_of(tmp_path / "out") == {str(other / name) for name in ("labels.csv", "scores.h5", "vocabulary.csv")}


@pytest.mark.parametrize("gone", ["scores.h5", "labels.csv"])
def test_what_is_not_beside_a_named_file_is_an_error(work, other, tmp_path, monkeypatch, capsys, gone):
    monkeypatch.chdir(tmp_path)
    (other / gone).unlink()
    named = {"scores.h5": ("--labels", "other/labels.csv"), "labels.csv": ("--scores", "other/scores.h5")}[gone]
    assert run_here(*named, "--out", "out") == 2
    assert f"other/{gone}: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_thresholds_from_another_project_take_nothing_else_from_there(work, other, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_here("--thresholds-from", "other/labels.csv", "other/scores.h5", "--out", "out") == 0
    own = {str(work / name) for name in ("labels.csv", "scores.h5", "vocabulary.csv")}
    assert inputs_of(tmp_path / "out") == own | {str(other / "labels.csv"), str(other / "scores.h5")}


@pytest.mark.parametrize("ledger_name", ["ledger.parquet", "ledger.csv.gz"])
def test_undo_of_another_project_takes_its_list_and_vocabulary(work, other, tmp_path, monkeypatch, ledger_name):
    monkeypatch.chdir(tmp_path)
    assert run_here("--labels", "other/labels.csv", "--out", "other/enhanced") == 0
    (work / "vocabulary.csv").write_text("index,mid,display_name\n0,x,X\n")
    assert main(["undo", f"other/enhanced/{ledger_name}", "--out", "undone.csv"]) == 0
    assert (tmp_path / "undone.csv").read_bytes() == (other / "labels.csv").read_bytes()


def reviewed(folder: Path, name: str) -> Path:
    """Write the ledger of a folder with every decision `right`."""
    table = read_ledger(folder / "ledger.parquet")
    path = folder / name
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*table.column_names, "decision"))
        writer.writerows((*row, "right") for row in csv_rows(table))
    return path


def test_apply_takes_the_list_that_was_enhanced(work, other, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(other / "labels.csv", other / "dev.csv")
    shutil.copy(work / "labels.csv", other / "labels.csv")
    assert run_here("--labels", "other/dev.csv", "--out", "other/enhanced") == 0
    path = reviewed(other / "enhanced", "reviewed.csv")
    assert main(["apply", str(path), "--out", "applied"]) == 0
    assert inputs_of(tmp_path / "applied") == {
        str(other / "dev.csv"), str(other / "vocabulary.csv"), str(path),
    }  # fmt: skip
    assert (tmp_path / "applied/labels.csv").read_bytes() == (other / "enhanced/labels.csv").read_bytes()
    (other / "dev.csv").write_text("clip_id,labels\nx,dog\n")
    assert main(["apply", str(path), "--out", "again"]) == 2
    assert "the list that was enhanced was changed or removed. Give --labels." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "out"),
    [
        (["--labels", "WORK/enhanced-25p/labels.csv", "--threshold", "25p"], "WORK/enhanced-25p"),
        (["undo", "WORK/enhanced-25p/ledger.parquet"], "WORK/enhanced-25p/labels.csv"),
        (["undo", "WORK/enhanced-25p/ledger.parquet", "--labels", "WORK/copy.csv"], "WORK/copy.csv"),
        (["apply", "WORK/enhanced-25p/reviewed.csv"], "WORK/enhanced-25p"),
        (["sweep", "mean", "--labels", "WORK/enhanced-25p/labels.csv"], "WORK/enhanced-25p"),
    ],
)
def test_an_output_that_is_an_input_is_refused(work, capsys, options, out):
    assert run(work, "--threshold", "25p") == 0
    reviewed(work / "enhanced-25p", "reviewed.csv")
    shutil.copy(work / "enhanced-25p" / "labels.csv", work / "copy.csv")
    before = {path: sha256(path) for path in work.rglob("*") if path.is_file()}
    options = [option.replace("WORK", str(work)) for option in (*options, "--out", out, "--overwrite")]
    line = refused(capsys, work, *options)
    assert "would be replaced while it is an input" in line or "which enhance did not write" in line
    assert {path: sha256(path) for path in work.rglob("*") if path.is_file()} == before


def test_undo_does_not_replace_what_is_no_label_list(work, capsys):
    assert run(work, "--threshold", "25p") == 0
    (work / "notes.txt").write_text("mine")
    line = refused(capsys, work, "undo", work / "enhanced-25p/ledger.parquet", "--out", work / "notes.txt",
                   "--overwrite")  # fmt: skip
    assert "not a label list of pseudolabel, so it is not replaced" in line
    assert (work / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("options", [["--threshold", "25p"], ["sweep", "mean", "--out", "WORK/enhanced-25p"]])
def test_a_second_run_on_one_output_is_refused(work, capsys, options):
    with only_run(work / "enhanced-25p"):
        line = refused(capsys, work, *(option.replace("WORK", str(work)) for option in options))
    assert "another run is at work on this output" in line
    assert not (work / "enhanced-25p").exists()


def test_run_json_lists_its_inputs_as_they_were_read_and_its_files(work, monkeypatch):
    import json

    before = sha256(work / "labels.csv")
    begin = Enhancing.begin

    def replaced(*arguments):
        found = begin(*arguments)
        (work / "labels.csv").write_text("clip_id,labels\nx,dog\n")
        return found

    monkeypatch.setattr(Enhancing, "begin", replaced)
    assert run(work, "--threshold", "25p") == 0
    record = json.loads((work / "enhanced-25p" / "run.json").read_text())
    assert record["inputs"][str(work / "labels.csv")] == before
    assert record["roles"]["labels"] == str(work / "labels.csv")
    assert sorted([*record["files"], "run.json"]) == sorted(path.name for path in (work / "enhanced-25p").iterdir())


# ---- what a library user may get wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("rules", ["25p", [], ()])
def test_one_rule_is_not_a_sweep(rules):
    labels = LabelTable(["a"], np.ones((1, 6), bool), SIX)
    with pytest.raises(InputError, match="rules: several rules are compared"):
        enhancement.sweep(labels, np.ones((1, 6)), Ontology.load(ONTOLOGY_FILE), rules)


@pytest.mark.parametrize("options", ["25p", 0.5, {"threshold": "25p"}])
def test_options_are_options(options):
    labels = LabelTable(["a"], np.ones((1, 6), bool), SIX)
    with pytest.raises(InputError, match="options: must be EnhanceOptions"):
        enhance(labels, np.ones((1, 6)), Ontology.load(ONTOLOGY_FILE), options)


@pytest.mark.parametrize("scores", [np.array([["a"] * 6]), np.array([[None] * 6])])
def test_scores_are_numbers(scores):
    labels = LabelTable(["a"], np.ones((1, 6), bool), SIX)
    with pytest.raises(InputError, match="scores are numbers, not"):
        enhance(labels, scores, Ontology.load(ONTOLOGY_FILE))


@pytest.mark.parametrize("strange", [np.nan, np.inf, 1.5, -0.5])
def test_a_strange_score_of_a_label_or_a_candidate_is_named(strange):
    labels = LabelTable(["a", "b"], np.array([[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], bool), SIX)
    for clip, k in ((0, 1), (0, 3)):  # a label, which a threshold is made from; a candidate
        scores = np.full((2, 6), 0.5)
        scores[clip, k] = strange
        with pytest.raises(InputError, match=rf"a: the score {strange:g} of class '{SIX.class_ids[k]}' is not in"):
            enhance(labels, scores, Ontology.load(ONTOLOGY_FILE), EnhanceOptions("0.1"))


def test_reasons_are_lists_in_parquet_and_joined_texts_in_memory_and_csv(tmp_path):
    rows = random_ledger(3).set_column(3, "because", pa.array(["x;y", "", None]))
    write_ledger(rows, tmp_path)
    assert pq.read_table(tmp_path / "ledger.parquet")["because"].to_pylist() == [["x", "y"], [], []]
    for name in ("ledger.parquet", "ledger.csv.gz"):
        assert read_ledger(tmp_path / name)["because"].to_pylist() == ["x;y", "", ""]
    pq.write_table(rows, tmp_path / "earlier.parquet")  # as versions before 0.3.0 wrote it
    assert read_ledger(tmp_path / "earlier.parquet")["because"].to_pylist() == ["x;y", "", ""]
