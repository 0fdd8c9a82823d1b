"""The verb `prepare`: recordings of any kind become one store, what cannot be used is listed, a killed run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

import pseudolabel.prepare as verb
from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256
from pseudolabel.tables import read_csv

RATE = 16_000
THREE = Vocabulary("three", ("ant", "bee", "cat"), ("Ant", "Bee", "Cat"), ("", "", ""))


def tone(rate: int = RATE, seconds: float = 0.25, hz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


def noise(seed: int, n: int = 4000) -> np.ndarray:
    return np.random.default_rng(seed).integers(-20_000, 20_000, n).astype(np.int16)


def record(folder: Path, *names: str) -> None:
    """Write a recording of 16-bit noise for each name, all of different sound and length."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        soundfile.write(folder / f"{name}.wav", noise(seed, 4000 + seed), RATE, subtype="PCM_16")


@pytest.fixture
def work(tmp_path) -> Path:
    """A work folder with a vocabulary of three classes and the recordings a, b, c in its scenes."""
    THREE.write(tmp_path / "vocabulary.csv")
    record(tmp_path / "scenes", "a", "b", "c")
    return tmp_path


def prepare(work: Path, *options: object) -> int:
    return verb.main(["--work", str(work), "--processes", "1", *map(str, options)])


def error_line(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pseudolabel prepare: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def rows(path: Path) -> list[tuple[str, ...]]:
    return [tuple(value for key, value in row.items() if key != "line") for row in read_csv(path)]


def test_recordings_of_every_kind_become_clips_of_one_kind(tmp_path, capsys):
    kinds = [
        ("u8", "wav", "PCM_U8", 16_000, 1), ("i16", "wav", "PCM_16", 8_000, 2), ("i24", "wav", "PCM_24", 44_100, 1),
        ("i32", "wav", "PCM_32", 48_000, 6), ("f32", "wav", "FLOAT", 22_050, 1), ("f64", "wav", "DOUBLE", 16_000, 2),
        ("deep/er/flac", "flac", "PCM_16", 32_000, 1), ("flac24", "FLAC", "PCM_24", 96_000, 2),
        ("vorbis", "ogg", "VORBIS", 44_100, 2), ("layer3", "mp3", "MPEG_LAYER_III", 44_100, 1),
    ]  # fmt: skip
    for name, suffix, subtype, rate, channels in kinds:
        path = tmp_path / "audio" / f"{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.tile(tone(rate)[:, None], (1, channels)), rate, subtype=subtype)
    soundfile.write(tmp_path / "audio" / "loud.wav", tone(peak=8.0), RATE, subtype="FLOAT")
    write(tmp_path / "audio" / "notes.txt", "no recording")

    assert prepare(tmp_path, "--audio", tmp_path / "audio") == 0
    store = ClipStore.open(tmp_path / "clips.h5")
    assert store.clip_ids == tuple(sorted([Path(kind[0]).name for kind in kinds] + ["loud"]))
    assert store.groups == store.clip_ids
    assert (store.sample_rate, store.codec) == (RATE, "pcm16")
    inner = slice(1000, 3000)  # compressed formats and resampling ring at the edges
    for clip_id in store.clip_ids:
        samples, tolerance = store.read(clip_id), 0.05 if clip_id in ("vorbis", "layer3") else 0.01
        assert abs(len(samples) - 4000) <= (1200 if clip_id == "layer3" else 1)
        np.testing.assert_allclose(
            samples[inner], tone(peak=1.0 if clip_id == "loud" else 0.5)[inner], atol=tolerance, err_msg=clip_id
        )
    assert rows(tmp_path / "skipped.csv") == rows(tmp_path / "missing.csv") == []
    assert "11 clips" in (shown := capsys.readouterr().out) and "1 beyond full scale" in shown
    record = json.loads((tmp_path / "clips.run.json").read_text())
    assert (record["verb"], record["options"]["sample_rate"]) == ("prepare", RATE)
    assert not list(tmp_path.glob("*.parts")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_both_codecs_read_back_what_the_recordings_hold(work, codec):
    assert prepare(work, "--codec", codec) == 0
    store = ClipStore.open(work / "clips.h5")
    for seed, clip_id in enumerate("abc"):
        np.testing.assert_array_equal(store.read_pcm16("abc".index(clip_id)), noise(seed, 4000 + seed))


def test_rate_and_length_are_options(work):
    assert prepare(work, "--sample-rate", 8000, "--limit-seconds", 0.125) == 0
    store = ClipStore.open(work / "clips.h5")
    assert store.sample_rate == 8000
    assert store.n_samples.tolist() == [1000, 1000, 1000]


BROKEN = {
    "empty": ("no bytes", "is empty"),
    "hollow": ("no samples", "holds no samples"),
    "nan": ("NaN", "NaN"),
    "short": ("too short", "is 0.050 s short; at least 0.1 s are needed"),
    "silent": ("silence", "digital silence"),
    "text": ("text", "cannot be decoded"),
}


def break_recordings(folder: Path) -> None:
    (folder / "empty.wav").touch()
    soundfile.write(folder / "hollow.wav", np.zeros((0, 1)), RATE)
    soundfile.write(folder / "nan.wav", np.where(np.arange(4000) == 7, np.nan, tone()), RATE, subtype="FLOAT")
    soundfile.write(folder / "short.wav", tone(seconds=0.05), RATE)
    soundfile.write(folder / "silent.wav", np.zeros(4000), RATE)
    write(folder / "text.wav", "not a sound at all")


def test_unusable_recordings_are_skipped_and_listed_with_their_reason(work, capsys):
    break_recordings(work / "scenes")
    assert prepare(work) == 0
    assert ClipStore.open(work / "clips.h5").clip_ids == ("a", "b", "c")
    skipped = read_csv(work / "skipped.csv", ("clip_id", "file", "reason"))
    assert [row["clip_id"] for row in skipped] == sorted(BROKEN)
    for row in skipped:
        assert BROKEN[row["clip_id"]][1] in row["reason"]
        assert row["file"] == str(work / "scenes" / f"{row['clip_id']}.wav")
    assert "skipped 6 unusable recordings" in capsys.readouterr().out


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_recordings_of_which_16_bits_keep_nothing_are_skipped(work, codec):
    hiss = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    stray, clicks = np.where(np.arange(16_000) == 777, 1e6, hiss), np.zeros(16_000)
    clicks[[5, 9000]] = 3.0, -1.5  # little sound, but all of it is kept
    sounds = {"faint": tone(peak=1e-6), "stray": stray, "clicks": clicks, "soft": tone(peak=1e-4), "loud": 40 * hiss}
    for name, samples in sounds.items():
        soundfile.write(work / "scenes" / f"{name}.wav", samples, RATE, subtype="FLOAT")
    assert prepare(work, "--codec", codec) == 0
    assert [(name, reason) for name, _, reason in rows(work / "skipped.csv")] == [
        ("faint", "is silent at 16 bits"), ("stray", "has a peak so loud that the rest vanishes at 16 bits"),
    ]  # fmt: skip
    store = ClipStore.open(work / "clips.h5")
    assert store.clip_ids == ("a", "b", "c", "clicks", "loud", "soft")
    assert all(store.read(clip_id).any() for clip_id in store.clip_ids)


def test_strict_makes_an_unusable_recording_an_error_and_writes_nothing(work, capsys):
    break_recordings(work / "scenes")
    write(work / "list.csv", "clip_id,labels\na,ant\n")
    assert prepare(work, "--strict", "--labels", work / "list.csv") == 2
    line = error_line(capsys)
    assert "empty.wav: recording is empty" in line and "6 such files" in line
    assert not (work / "clips.h5").exists() and not (work / "labels.csv").exists()
    assert prepare(work, "--labels", work / "list.csv") == 0  # the blocks that were made are used


def test_recordings_of_which_none_can_be_used_are_an_error(tmp_path, capsys):
    (tmp_path / "scenes").mkdir()
    break_recordings(tmp_path / "scenes")
    assert prepare(tmp_path) == 2
    assert "not one of 6 recordings can be used; first: is empty" in error_line(capsys)


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir()])
def test_a_folder_without_recordings_is_an_error(tmp_path, capsys, make):
    make(tmp_path / "audio")
    assert prepare(tmp_path, "--audio", tmp_path / "audio") == 2
    assert "recordings" in error_line(capsys)


def test_a_file_name_that_is_no_text_is_an_error_of_one_line(work, capsys):
    os.rename(work / "scenes" / "a.wav", os.fsencode(work / "scenes") + b"/a\xe9.wav")
    assert prepare(work) == 2
    assert r"a\udce9.wav': this file name is not UTF-8 text" in error_line(capsys)


def test_what_goes_wrong_in_another_process_is_one_line_too(work, capsys, monkeypatch):
    monkeypatch.setattr(verb, "BLOCK_SIZE", 2)

    def lose_the_folder(blocks) -> list[int]:
        shutil.rmtree(blocks.folder)
        blocks.folder.touch()
        return [0, 1]

    monkeypatch.setattr(verb.Blocks, "unfinished", lose_the_folder)
    assert prepare(work, "--processes", 2) == 2
    assert "clips.h5.parts" in error_line(capsys)


def test_labelled_clips_without_audio_keep_their_labels_and_are_listed(work, capsys):
    soundfile.write(work / "scenes" / "silent.wav", np.zeros(4000), RATE)
    train = write(work / "t.csv", "clip_id,labels\ngone,ant;cat\na,bee\nsilent,cat\n")
    evaluation = write(work / "e.csv", "clip_id,labels\nb,ant\naway,bee\n")
    assert prepare(work, "--labels", train, "--balanced", train, "--eval", evaluation) == 0
    assert rows(work / "missing.csv") == [
        ("gone", "labels.csv", "no audio file"),
        ("silent", "labels.csv", "is digital silence"),
        ("gone", "balanced.csv", "no audio file"),
        ("silent", "balanced.csv", "is digital silence"),
        ("away", "eval.csv", "no audio file"),
    ]
    labels = LabelTable.read(work / "labels.csv", THREE)
    assert labels.clip_ids == ("gone", "a", "silent")
    assert labels.label_sets() == [("ant", "cat"), ("bee",), ("cat",)]
    assert LabelTable.read(work / "balanced.csv", THREE) == labels
    assert not (work / "validation.csv").exists()
    assert "skipped 1 unusable recording; 3 of 5 labelled clips have no audio" in capsys.readouterr().out


def test_strict_makes_a_missing_recording_an_error(work, capsys):
    labels = write(work / "t.csv", "clip_id,labels\ngone,ant\na,bee\n")
    assert prepare(work, "--labels", labels, "--strict") == 2
    assert "1 of 2 labelled clips have no audio: gone" in error_line(capsys)
    assert not (work / "labels.csv").exists()


def test_labels_of_other_clips_altogether_are_an_error(work, capsys):
    labels = write(work / "t.csv", "clip_id,labels\n1,ant\n2,bee\n3,cat\n4,ant\n")
    assert prepare(work, "--labels", labels) == 2
    line = error_line(capsys)
    assert "4 of 4 labelled clips have no audio, all of labels.csv: 1, 2, 3 and 1 more" in line
    assert "file names without their suffix" in line
    assert not (work / "clips.h5").exists() and not (work / "labels.csv").exists()


def test_lists_of_the_work_folder_are_checked_without_being_named(work):
    text = "labels,clip_id\nant,a\nbee,gone\n"
    write(work / "labels.csv", text)
    write(work / "eval.csv", "clip_id,labels\nb,\n")
    assert prepare(work) == 0
    assert rows(work / "missing.csv") == [("gone", "labels.csv", "no audio file")]
    assert (work / "labels.csv").read_text() == text


def test_audioset_lists_are_read_and_written_in_the_own_form(work):
    text = """# Segments csv
# YTID, start_seconds, end_seconds, positive_labels
a, 30.000, 40.000, "/m/09x0r,/t/dd00088"
-x, 0.0, 10.0, "/m/0bt9lr"
"""
    segments = write(work / "segments.csv", text)
    assert prepare(work, "--vocabulary", "audioset", "--labels", segments) == 0
    assert (work / "labels.csv").read_text() == "clip_id,labels\na,/m/09x0r;/t/dd00088\n-x,/m/0bt9lr\n"
    assert rows(work / "missing.csv") == [("-x", "labels.csv", "no audio file")]


FIRST, OTHER = "clip_id,labels\na,ant;bee\nb,\n", "clip_id,labels\nc,cat\nx,ant\n"


@pytest.mark.parametrize(
    ("second", "ids", "label_sets"),
    [
        (OTHER, "abcx", [("ant", "bee"), (), ("cat",), ("ant",)]),
        ("clip_id,labels\nb,\nc,cat\na,Bee;Ant\n", "abc", [("ant", "bee"), (), ("cat",)]),
        (FIRST, "ab", [("ant", "bee"), ()]),
    ],
)
def test_lists_are_joined_in_order_and_a_clip_of_two_stands_once(work, second, ids, label_sets):
    lists = [write(work / "1.csv", FIRST), write(work / "2.csv", second)]
    assert prepare(work, "--labels", *lists) == 0
    joined = LabelTable.read(work / "labels.csv", THREE)
    assert joined.clip_ids == tuple(ids)
    assert joined.label_sets() == label_sets


@pytest.mark.parametrize("labels", ["ant", "ant;bee;cat", "", "ant;cat"])
def test_lists_that_contradict_each_other_are_refused(work, capsys, labels):
    lists = [write(work / "1.csv", FIRST), write(work / "2.csv", f"clip_id,labels\nz,ant\nb,\na,{labels}\n")]
    assert prepare(work, "--labels", *lists) == 2
    assert "2.csv: clip 'a' has other labels in an earlier list" in error_line(capsys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sound,labels\na,ant\n", "l.csv:1: column 'clip_id' is missing"),
        ("clip_id,labels\na,ant\nb,\na,ant\n", "l.csv:4: clip 'a' is listed twice, first in line 2"),
        ("clip_id,labels\na,ant\nb,dog\n", "l.csv:3: class 'dog' is not in the vocabulary"),
        ("clip_id,labels\na,ant,bee\n", "l.csv:2: row has 3 columns"),
    ],
)
def test_bad_label_lists_are_refused_before_any_work(work, capsys, text, message):
    assert prepare(work, "--labels", write(work / "l.csv", text)) == 2
    assert message in error_line(capsys)
    assert not list(work.glob("clips.h5*"))


def test_groups_come_from_clips_csv_or_the_named_file(work):
    write(work / "clips.csv", "clip_id,file,group,list\na,a.wav,pool1,train\nb,b.wav,,train\nother,o.wav,pool2,train\n")
    assert prepare(work) == 0
    assert ClipStore.open(work / "clips.h5").groups == ("pool1", "b", "c")
    groups = write(work / "g.csv", "group,clip_id\nübung,b\nübung,c\nübung,c\n")
    assert prepare(work, "--groups", groups, "--overwrite") == 0
    assert ClipStore.open(work / "clips.h5").groups == ("a", "übung", "übung")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip_id,source\na,x\n", "g.csv:1: column 'group' is missing"),
        ("clip_id,group\na,x\na,y\n", "g.csv:3: clip 'a' has two groups"),
    ],
)
def test_bad_groups_are_refused(work, capsys, text, message):
    assert prepare(work, "--groups", write(work / "g.csv", text)) == 2
    assert message in error_line(capsys)


def test_outputs_are_replaced_only_on_demand(work, capsys):
    labels = write(work / "l.csv", "clip_id,labels\na,ant\n")
    assert prepare(work, "--labels", labels) == 0
    before = sha256(work / "clips.h5")
    capsys.readouterr()
    assert prepare(work, "--labels", labels) == 2
    assert "clips.h5: output exists. Give --overwrite" in error_line(capsys)

    (work / "scenes" / "c.wav").unlink()
    write(labels, "clip_id,labels\nb,bee\n")
    assert prepare(work, "--labels", labels, "--out", work / "other.h5") == 2
    assert "labels.csv: output exists" in error_line(capsys)
    assert sha256(work / "clips.h5") == before
    assert (work / "labels.csv").read_text() == "clip_id,labels\na,ant\n"

    assert prepare(work, "--labels", labels, "--overwrite") == 0
    assert ClipStore.open(work / "clips.h5").clip_ids == ("a", "b")
    assert (work / "labels.csv").read_text() == "clip_id,labels\nb,bee\n"


def test_a_list_of_another_vocabulary_is_in_the_way_like_any_other(work, capsys):
    labels = write(work / "l.csv", "clip_id,labels\na,ant\n")
    write(work / "labels.csv", "clip_id,labels\na,dog\n")
    record = write(work / "clips.run.json", '{\n  "verb": "prepare"}\n')  # an earlier version's, which names no lists
    assert prepare(work, "--labels", labels) == 2
    assert "labels.csv: output exists" in error_line(capsys)
    assert prepare(work, "--labels", labels, "--overwrite") == 0
    assert (work / "labels.csv").read_text() == "clip_id,labels\na,ant\n"
    assert json.loads(record.read_text())["lists"] == {"labels.csv": sha256(work / "labels.csv")}


@pytest.fixture
def seven(tmp_path, monkeypatch) -> Path:
    """A folder with seven recordings, one of them silent: four blocks of two."""
    monkeypatch.setattr(verb, "BLOCK_SIZE", 2)
    record(tmp_path / "audio", *"abcdefg")
    soundfile.write(tmp_path / "audio" / "d.wav", np.zeros(4000), RATE)
    return tmp_path


def outcome(folder: Path) -> dict[str, str]:
    return {name: sha256(folder / name) for name in ("clips.h5", "skipped.csv", "missing.csv")}


@pytest.fixture
def uninterrupted(seven) -> dict[str, str]:
    assert prepare(seven / "whole", "--audio", seven / "audio") == 0
    return outcome(seven / "whole")


def test_blocks_and_processes_leave_no_trace_in_the_result(seven, uninterrupted, monkeypatch):
    assert prepare(seven / "two", "--audio", seven / "audio", "--processes", 2) == 0
    assert outcome(seven / "two") == uninterrupted
    monkeypatch.setattr(verb, "BLOCK_SIZE", 128)
    assert prepare(seven / "one", "--audio", seven / "audio") == 0
    assert outcome(seven / "one") == uninterrupted


KILLED_IN_THE_THIRD_BLOCK = """
import os, signal, sys
import pseudolabel.prepare as verb
verb.BLOCK_SIZE = 2
write = verb.Blocks.write
def write_or_die(blocks, block, fill):
    def fill_and_die(file):
        fill(file)
        if block == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    write(blocks, block, fill_and_die)
verb.Blocks.write = write_or_die
verb.main(sys.argv[1:])
"""


@pytest.mark.parametrize("n_processes", [1, 2])
def test_a_killed_run_makes_only_the_missing_blocks_and_gives_the_same_bytes(
    seven, uninterrupted, monkeypatch, n_processes
):
    options = ["--audio", str(seven / "audio"), "--work", str(seven / "again"), "--processes"]
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_THE_THIRD_BLOCK, *options, "1"], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    parts = seven / "again" / "clips.h5.parts"
    assert sorted(path.name for path in parts.glob("block*")) == ["block-00000.h5", "block-00001.h5"]
    assert len(list(parts.glob(".block-00002*"))) == 1
    assert sorted(os.listdir(seven / "again")) == [".clips.h5.pseudolabel-lock", "clips.h5.parts"]

    before, after, collect = stamps(parts), [], verb.collect

    def collect_and_look(blocks):
        after.extend(stamps(parts))
        return collect(blocks)

    monkeypatch.setattr(verb, "collect", collect_and_look)
    assert verb.main([*options, str(n_processes)]) == 0
    assert after[:2] == before
    assert len(after) == 4
    assert outcome(seven / "again") == uninterrupted
    assert not parts.exists()


@pytest.mark.parametrize("n_processes", [1, 2])
def test_a_disk_that_is_full_is_said_in_a_line_and_the_run_goes_on_when_it_has_room(
    seven, uninterrupted, capsys, n_processes
):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    options = ["--audio", seven / "audio", "--processes", n_processes]
    for most_bytes in (20_000, 53_000):  # within the audio, and after it
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
        try:
            assert prepare(seven / "again", *options) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "too large" in error_line(capsys)
        assert not (seven / "again" / "clips.h5").exists()
    assert prepare(seven / "again", *options) == 0
    assert outcome(seven / "again") == uninterrupted


def test_blocks_whose_audio_is_gone_are_made_again(seven, uninterrupted, monkeypatch):
    for n_bytes in (None, 20_000):
        interrupt_after_decoding(seven / "again", monkeypatch, seven / "audio")
        audio = seven / "again" / "clips.h5.parts" / "audio.h5"
        if n_bytes is None:
            audio.unlink()
        else:
            os.truncate(audio, n_bytes)
        assert prepare(seven / "again", "--audio", seven / "audio", "--overwrite") == 0
        assert outcome(seven / "again") == uninterrupted


def test_so_little_audio_that_its_place_is_not_known_beforehand_makes_a_store_too(tmp_path):
    record(tmp_path / "audio", "a")
    assert prepare(tmp_path, "--audio", tmp_path / "audio", "--sample-rate", 1000) == 0
    assert ClipStore.open(tmp_path / "clips.h5").n_samples.tolist() == [250]
    assert ClipStore.open(tmp_path / "clips.h5").verify()


SMALL_BLOCKS = "import sys; import pseudolabel.prepare as verb; verb.BLOCK_SIZE = 2; verb.main(sys.argv[1:])"


def processes_with(text: str) -> list[int]:
    """Return the processes that have `text` in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # another user's, or gone
            if text.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to see the processes")
def test_a_run_killed_at_any_moment_goes_on_to_the_same_bytes_and_leaves_no_process(seven, uninterrupted):
    rng, mark = np.random.default_rng(0), f"PREPARE_TEST={seven}"
    for number in range(20):
        folder = seven / f"killed{number}"
        command = [sys.executable, "-c", SMALL_BLOCKS, "--audio", str(seven / "audio"), "--work", str(folder)]
        environment = {**os.environ, "PREPARE_TEST": str(seven)}
        with subprocess.Popen([*command, "--processes", "2"], env=environment, stdout=subprocess.DEVNULL) as process:
            time.sleep(rng.uniform(0.2, 3.0))
            process.kill()
        until = time.monotonic() + 20
        while processes_with(mark) and time.monotonic() < until:
            time.sleep(0.05)
        assert not processes_with(mark)
        assert verb.main([*command[3:], "--overwrite"] if (folder / "clips.h5").exists() else command[3:]) == 0
        assert outcome(folder) == uninterrupted


def stamps(parts: Path) -> list[tuple[str, int, int]]:
    """Return name, inode and time of change of each finished block: a block that is made again changes them."""
    return [(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(parts.glob("block*"))]


def interrupt_after_decoding(folder: Path, monkeypatch, audio: Path | None = None) -> None:
    def interrupt(blocks):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(verb, "collect", interrupt)
        assert prepare(folder, "--audio", audio or folder / "audio", "--overwrite") == 130


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--sample-rate", 8000], "sample_rate"),
        (["--codec", "flac", "--limit-seconds", 1], "codec, limit_s"),
    ],
)
def test_an_unfinished_run_with_other_settings_is_refused_by_name(seven, capsys, monkeypatch, options, named):
    interrupt_after_decoding(seven, monkeypatch)
    capsys.readouterr()
    assert prepare(seven, "--audio", seven / "audio", *options) == 2
    line = error_line(capsys)
    assert f"clips.h5.parts: an unfinished run with other {named} is here. Repeat that run's options" in line
    assert prepare(seven, "--audio", seven / "audio", *options, "--overwrite") == 0
    with h5py.File(seven / "clips.h5") as file:
        assert str(file.attrs["codec"]) == ("flac" if "flac" in options else "pcm16")


def test_an_unfinished_run_on_recordings_that_changed_since_is_refused(seven, capsys, monkeypatch):
    interrupt_after_decoding(seven, monkeypatch)
    capsys.readouterr()
    size = (seven / "audio" / "a.wav").stat().st_size
    soundfile.write(seven / "audio" / "a.wav", noise(99, 4000), RATE, subtype="PCM_16")
    assert (seven / "audio" / "a.wav").stat().st_size == size
    assert prepare(seven, "--audio", seven / "audio") == 2
    assert "an unfinished run with other files is here" in error_line(capsys)


def test_real_recordings_become_clips(shared_data, tmp_path):
    sources = sorted((shared_data / "misc").glob("*.flac"))
    (tmp_path / "audio").mkdir()
    for path in sources:
        (tmp_path / "audio" / path.name).symlink_to(path)
    assert prepare(tmp_path, "--audio", tmp_path / "audio", "--limit-seconds", 1) == 0
    store = ClipStore.open(tmp_path / "clips.h5")
    assert store.clip_ids == tuple(sorted(path.stem for path in sources))
    assert store.n_samples.max() == RATE


TUBE, OTHER_TUBE, THIRD_TUBE = "KK227gPpRn4", "-6p32k2WUCs", "Yq2345678-_"


def test_recordings_named_in_another_way_get_the_ids_of_the_lists(work, capsys):
    record(work / "tube", f"Y{TUBE}", f"{OTHER_TUBE}_30.000_40.000", f"{THIRD_TUBE}_30000", "plain", f"Y{THIRD_TUBE}_0")
    labels = write(work / "t.csv", f"clip_id,labels\n{TUBE},ant\n{OTHER_TUBE},bee\n{THIRD_TUBE}_30,cat\ngone,\n")
    evaluation = write(work / "e.csv", f"clip_id,labels\nplain.wav,ant\nY{THIRD_TUBE}_0.000_10.000,bee\n")
    groups = write(work / "g.csv", f"clip_id,group\n{TUBE},one\nplain,two\n")
    options = "--audio", work / "tube", "--groups", groups
    assert prepare(work, *options, "--labels", labels, "--eval", evaluation) == 0
    store = ClipStore.open(work / "clips.h5")
    ids = [TUBE, OTHER_TUBE, f"{THIRD_TUBE}_30000", "plain.wav", f"Y{THIRD_TUBE}_0.000_10.000"]
    assert set(store.clip_ids) == set(ids)
    assert list(store.clip_ids) == sorted(store.clip_ids)
    lengths = {clip_id: store.n_samples[row] for clip_id, row in store.index.items()}
    assert [lengths[clip_id] for clip_id in ids] == [4000, 4001, 4002, 4003, 4004]
    assert [store.groups[store.index[clip_id]] for clip_id in (TUBE, "plain.wav")] == ["one", "two"]
    assert rows(work / "missing.csv") == [
        (f"{THIRD_TUBE}_30", "labels.csv", "no audio file"), ("gone", "labels.csv", "no audio file"),
    ]  # fmt: skip
    assert LabelTable.read(work / "labels.csv", THREE).clip_ids[:2] == (TUBE, OTHER_TUBE)
    assert capsys.readouterr().err.splitlines()[1:] == [  # after the clip without a label
        f"2 of 4 clips found under another id (recordings for labels.csv): {TUBE} is Y{TUBE}, "
        f"{OTHER_TUBE} is {OTHER_TUBE}_30.000_40.000",
        "2 of 2 clips found under another id (recordings for eval.csv): plain.wav is plain, "
        f"Y{THIRD_TUBE}_0.000_10.000 is Y{THIRD_TUBE}_0",
    ]
    assert json.loads((work / "clips.run.json").read_text())["clips_under_another_id"] == 4


def test_where_lists_differ_the_first_names_the_recording(work):
    record(work / "tube", f"Y{TUBE}")
    labels = write(work / "t.csv", f"clip_id,labels\n{TUBE},ant\n")
    strong = write(work / "s.csv", f"clip_id,labels\n{TUBE}_30000,ant\n")
    assert prepare(work, "--audio", work / "tube", "--labels", labels, "--balanced", strong, "--strict") == 0
    assert ClipStore.open(work / "clips.h5").clip_ids == (TUBE,)
    assert rows(work / "missing.csv") == []
    assert LabelTable.read(work / "balanced.csv", THREE).clip_ids == (f"{TUBE}_30000",)


def test_recordings_of_which_a_clip_may_be_any_are_refused(work, capsys):
    record(work / "tube", f"Y{TUBE}", f"{TUBE}_30.000_40.000")
    labels = write(work / "t.csv", f"clip_id,labels\n{TUBE},ant\n")
    assert prepare(work, "--audio", work / "tube", "--labels", labels) == 2
    assert f"clip '{TUBE}' may be any of {TUBE}_30.000_40.000, Y{TUBE}. Name the exact one." in error_line(capsys)
    assert not list(work.glob("clips.h5*"))


def test_unknown_labels_are_left_out_on_request_and_said(work, capsys):
    labels = write(work / "l.tsv", "filename\tevent_labels\na.wav\tant,dog\nb.wav\tdog\n")
    assert prepare(work, "--labels", labels) == 2
    assert "l.tsv:2: class 'dog' is not in" in error_line(capsys)
    assert prepare(work, "--labels", labels, "--unknown-labels", "skip", "--format", "fsd50k") == 2
    assert "l.tsv:1: column " in error_line(capsys)
    assert prepare(work, "--labels", labels, "--unknown-labels", "skip", "--format", "desed-weak") == 0
    assert (work / "labels.csv").read_text() == "clip_id,labels\na,ant\nb,\n"
    assert "l.tsv: 2 labels left out, of 1 classes that are not in the vocabulary" in capsys.readouterr().err
    assert json.loads((work / "clips.run.json").read_text())["labels_left_out"] == {"labels.csv": {"dog": 2}}


def test_a_notebook_prepares_with_options_what_the_command_prepares(work):
    assert prepare(work, "--limit-seconds", "0.2") == 0
    by_command = (work / "clips.h5").read_bytes()
    verb.prepare(verb.PrepareOptions(work=work, processes=1, limit_seconds=0.2, overwrite=True))
    assert (work / "clips.h5").read_bytes() == by_command
    for contradiction in (
        {"add": True, "overwrite": True},
        {"front_end": (("n_mels", 64),)},
        {"labels": Path("a.csv")},
    ):
        with pytest.raises(InputError):
            verb.PrepareOptions(**contradiction)
