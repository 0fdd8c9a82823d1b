"""`prepare` reads the recordings and labels of Parquet files: the same clips as from a folder."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

import pseudolabel.prepare as verb
from pseudolabel.audio.clips import ClipStore
from pseudolabel.records import sha256
from pseudolabel.tables import read_csv

RATE = 16_000
NAMES = "hbgadfce"  # in the order of the rows


def prepare(work: Path, *options: object) -> int:
    return verb.main(["--work", str(work), "--processes", "1", *map(str, options)])


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """A folder of eight recordings, one of them unusable, and the same in two Parquet shards called `audio`."""
    monkeypatch.setattr(verb, "BLOCK_SIZE", 3)
    for folder in ("files/audio", "shards/audio"):
        (tmp_path / folder).mkdir(parents=True)
    rows = []
    for seed, name in enumerate(NAMES):
        path = tmp_path / "files" / "audio" / f"{name}.wav"
        noise = np.random.default_rng(seed).integers(-20_000, 20_000, 4000 + seed).astype(np.int16)
        soundfile.write(path, noise * (name != "d"), RATE, subtype="PCM_16")
        rows.append({"audio": {"bytes": path.read_bytes(), "path": f"train/{name}.wav"}, "labels": ["/m/09x0r"]})
    for shard, part in enumerate((rows[:5], rows[5:])):
        table = pa.Table.from_pylist(part)
        pq.write_table(table, tmp_path / "shards" / "audio" / f"{shard}.parquet", row_group_size=2)
    return tmp_path


def clips(work: Path) -> str:
    return sha256(work / "clips.h5")


@pytest.mark.parametrize("processes", [1, 2])
def test_the_store_is_that_of_a_folder(data, processes):
    for kind in ("files", "shards"):
        assert prepare(data / kind, "--audio", data / kind / "audio", "--processes", processes) == 0
    assert clips(data / "files") == clips(data / "shards")
    assert ClipStore.open(data / "shards" / "clips.h5").clip_ids == tuple("abcefgh")
    (row,) = read_csv(data / "shards" / "skipped.csv")
    assert row == {"clip_id": "d", "file": f"{data}/shards/audio/0.parquet:train/d.wav",
                   "reason": "is digital silence", "line": "2"}  # fmt: skip
    for kind in ("files", "shards"):
        assert prepare(data / kind, "--audio", data / kind / "audio", "--codec", "flac", "--overwrite") == 0
    assert clips(data / "files") == clips(data / "shards")


@pytest.mark.parametrize("killed_at", [1, 3, 5])
def test_a_killed_run_goes_on_to_the_same_bytes(data, killed_at):
    assert prepare(data / "whole", "--audio", data / "shards" / "audio") == 0
    options = "--audio", data / "shards" / "audio"
    child = os.fork()
    if not child:
        count, rename = [0], os.replace

        def rename_or_die(*paths: object) -> None:
            count[0] += 1
            if count[0] == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*paths)

        os.replace = rename_or_die
        os._exit(prepare(data / "killed", *options))
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert prepare(data / "killed", *options) == 0
    assert clips(data / "killed") == clips(data / "whole")
    assert not (data / "killed" / "clips.h5.parts").exists()


def test_adding_a_shard_gives_the_store_of_both(data):
    shards = data / "shards" / "audio"
    assert prepare(data / "both", "--audio", shards) == 0
    for more in ((), ("--add",)):
        assert prepare(data / "grown", "--audio", shards / "1.parquet", *([shards / "0.parquet"] if more else []),
                       *more) == 0  # fmt: skip
    both, grown = (ClipStore.open(data / name / "clips.h5") for name in ("both", "grown"))
    assert both.clip_ids == grown.clip_ids
    for row in range(len(both)):
        np.testing.assert_array_equal(both.read_pcm16(row), grown.read_pcm16(row))


def test_labels_come_from_the_same_file(data, capsys):
    path = data / "shards" / "audio" / "1.parquet"
    pq.write_table(pq.read_table(path).append_column("clip_id", pa.array(["x", "y", "z"])), path)
    options = "--audio", path, "--labels", path, "--vocabulary", "audioset"
    assert prepare(data / "w", *options, "--dry-run") == 0
    assert capsys.readouterr().out == (
        f"would write {data}/w/clips.h5: 3 recordings (0 of 3 labelled clips have no audio) in {path}\n"
    )
    assert not (data / "w").exists()
    assert prepare(data / "w", *options) == 0
    assert (data / "w" / "labels.csv").read_text() == "clip_id,labels\nx,/m/09x0r\ny,/m/09x0r\nz,/m/09x0r\n"
    assert ClipStore.open(data / "w" / "clips.h5").n_samples.tolist() == [4005, 4006, 4007]


def test_segments_need_a_folder(data, capsys):
    (data / "s.csv").write_text("file,start,end\na.wav,0,1\n")
    for audio in ([data / "shards" / "audio" / "0.parquet"], [data / "files", data / "shards"]):
        assert prepare(data / "w", "--audio", *audio, "--segments", data / "s.csv") == 2
        assert "--segments: names files of one folder. Give that folder as --audio." in capsys.readouterr().err


def test_a_dry_run_says_what_the_run_would(data, capsys):
    audio = data / "files" / "audio"
    (data / "l.csv").write_text("clip_id,labels\na,/m/09x0r\nx,/m/04rlf\n")
    options = "--audio", audio, "--labels", data / "l.csv", "--vocabulary", "audioset"
    assert prepare(data / "w", *options, "--dry-run") == 0
    assert "8 recordings (1 of 2 labelled clips have no audio)" in capsys.readouterr().out
    assert prepare(data / "w", *options, "--dry-run", "--strict") == 2
    assert "1 of 2 labelled clips have no audio: x" in capsys.readouterr().err
    wrong = [
        (("--labels", data / "l.csv", data / "m.csv"), "m.csv:2: class 'no such class' is not in the vocabulary"),
        (("--groups", data / "l.csv"), "l.csv:1: column 'group' is missing"),
        (("--segments", data / "l.csv"), "l.csv: column 'file' is missing; columns found: clip_id, labels"),
        (("--audio", data / "w"), "w: no recordings here"),
        (("--audio", data / "l.csv"), "l.csv: neither recordings nor"),
    ]
    (data / "m.csv").write_text("clip_id,labels\nb,no such class\n")
    (data / "w").mkdir()
    for more, message in wrong:
        given = options if more[0] != "--audio" else options[2:]
        for dry in (("--dry-run",), ()):
            assert prepare(data / "w", *given, *more, *dry) == 2
            assert message in capsys.readouterr().err
        assert list((data / "w").glob("*.h5")) == []


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--limit-seconds", "1e-300", "must be a number of at least 0.1, not '1e-300'"),
        ("--limit-seconds", "1e300", "must be at most 86,400, not '1e300'"),
        ("--sample-rate", "999", "must be a whole number of at least 1000, not '999'"),
        ("--sample-rate", "100000000000000000000", "must be at most 768,000, not '100000000000000000000'"),
    ],
)
def test_rates_and_lengths_that_no_clip_has_are_refused(data, capsys, option, value, rule):
    with pytest.raises(SystemExit):
        prepare(data / "w", "--audio", data / "files" / "audio", option, value)
    assert capsys.readouterr().err == f"pseudolabel prepare: error: argument {option}: {rule}\n"


def test_a_table_beside_the_recordings_that_has_no_groups_is_not_read_as_such(data, capsys):
    (data / "files" / "clips.csv").write_text("file,fold,category\na.wav,1,dog\n")  # as with ESC-50
    assert prepare(data / "w", "--audio", data / "files" / "audio") == 0
    assert f"no groups: {data}/files/clips.csv has no columns clip_id,group\n" in capsys.readouterr().err
