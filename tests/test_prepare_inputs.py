"""What `prepare` reads and replaces: no recording is cut in silence, no file is touched that nobody named."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

import pseudolabel.prepare as verb
from pseudolabel.audio.clips import ClipStore
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256
from pseudolabel.tables import read_csv

RATE = 16_000
NFD, NFC = "u\u0308bung", "\xfcbung"
THREE = Vocabulary("three", ("ant", "bee", "cat"), ("Ant", "Bee", "Cat"), ("", "", ""))
OTHER = Vocabulary("other", ("x", "y"), ("X", "Y"), ("", ""))


def record(folder: Path, *names: str, seconds: float = 0.25) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        samples = np.random.default_rng(ord(name[0])).uniform(-0.5, 0.5, round(seconds * RATE) + ord(name[0]))
        soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="PCM_16")


def prepare(*options: object) -> int:
    return verb.main(["--processes", "1", *map(str, options)])


def rows(path: Path) -> list[tuple[str, ...]]:
    return [tuple(value for key, value in row.items() if key != "line") for row in read_csv(path)]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """./work with a vocabulary, recordings a and b, groups, and a label list; the current folder is its parent."""
    monkeypatch.chdir(tmp_path)
    THREE.write(tmp_path / "work" / "vocabulary.csv")
    record(tmp_path / "work" / "scenes", "a", "b")
    write(tmp_path / "work" / "clips.csv", "clip_id,group\na,pool\nb,pool\n")
    write(tmp_path / "work" / "labels.csv", "clip_id,labels\na,ant\nb,bee\n")
    return tmp_path / "work"


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """Another folder with recordings a and c, and a list of them."""
    record(tmp_path / "data" / "audio", "a", "c")
    write(tmp_path / "data" / "list.csv", "clip_id,labels\na,X\nc,Y\n")
    OTHER.write(tmp_path / "data" / "vocabulary.csv")
    return tmp_path / "data"


# ---- recordings -------------------------------------------------------------------------------------------------


def test_files_that_people_have_become_clips_of_their_whole_length(shared_cases, tmp_path):
    assert prepare("--work", tmp_path, "--audio", shared_cases / "audio") == 0
    store = ClipStore.open(tmp_path / "clips.h5")
    seconds = dict(zip(store.clip_ids, store.n_samples / RATE, strict=True))
    expected = {"joined": 10.08, "no_length": 10.03, "streamed": 2.0, "three": 2.0, "two": 2.0}
    assert seconds == pytest.approx(expected, abs=0.05)
    (row,) = rows(tmp_path / "skipped.csv")
    assert (row[0], row[2]) == ("joined", "kept: header states 1.00 s, 10.08 s decoded")


@pytest.fixture
def faulty(work) -> Path:
    """WORK with a recording that is cut, one that nothing reads, a broken link, and a file of no known kind."""
    scenes = work / "scenes"
    record(scenes, "cut", "text", seconds=3.0)
    content = (scenes / "cut.wav").read_bytes()
    (scenes / "cut.wav").write_bytes(content[: len(content) // 3])
    (scenes / "text.wav").rename(scenes / "text.m4a")
    (scenes / "text.m4a").write_text("no sound at all")
    (scenes / "gone.flac").symlink_to("nowhere.flac")
    (scenes / "odd.xyz").write_bytes(content)
    ids = ("a", "cut", "gone", "odd", "text", "nothing")
    write(work / "labels.csv", "clip_id,labels\n" + "".join(f"{clip_id},ant\n" for clip_id in ids))
    return work


def test_what_is_wrong_with_a_recording_is_said_in_both_lists(faulty, capsys):
    assert prepare() == 0
    reasons = {row[0]: row[2] for row in rows(faulty / "skipped.csv")}
    assert reasons["cut"] == "kept: header states 3.01 s, 1.00 s decoded"
    assert reasons["text"].startswith("cannot be decoded (")
    assert reasons["gone"] == "is a link to a missing file (nowhere.flac)"
    assert rows(faulty / "missing.csv") == [
        ("gone", "labels.csv", reasons["gone"]),
        ("odd", "labels.csv", "no audio file: odd.xyz has no suffix of recordings"),
        ("text", "labels.csv", reasons["text"]),
        ("nothing", "labels.csv", "no audio file"),
    ]
    assert ClipStore.open(faulty / "clips.h5").clip_ids == ("a", "b", "cut")
    shown = capsys.readouterr().out
    assert "skipped 2 unusable recordings; 4 of 6 labelled clips have no audio" in shown
    assert "kept 1 recording of another length than the header or the segment states: see work/skipped.csv" in shown


def test_strict_takes_no_recording_that_is_cut(faulty, capsys):
    for name in ("text.m4a", "gone.flac"):
        (faulty / "scenes" / name).unlink()
    write(faulty / "labels.csv", "clip_id,labels\na,ant\n")
    assert prepare("--strict") == 2
    assert "cut.wav: recording kept: header states 3.01 s, 1.00 s decoded (1 such file)" in capsys.readouterr().err
    assert not (faulty / "clips.h5").exists()


def test_adding_keeps_what_was_said_of_earlier_recordings(faulty):
    assert prepare() == 0
    before = rows(faulty / "skipped.csv")
    record(faulty / "scenes", "z")
    assert prepare("--add") == 0
    assert rows(faulty / "skipped.csv") == before
    assert ClipStore.open(faulty / "clips.h5").clip_ids == ("a", "b", "cut", "z")


def test_ids_are_one_in_any_unicode_form(work):
    record(work / "scenes", NFD)
    labels = write(work / "l.csv", f"clip_id,labels\n{NFD},ant\na,bee\n")
    evaluation = write(work / "e.csv", f"clip_id,labels\n{NFC},ant\n")
    groups = write(work / "g.csv", f"clip_id,group\n{NFC},gr{NFD}\n")
    (work / "labels.csv").unlink()
    assert prepare("--labels", labels, "--eval", evaluation, "--groups", groups, "--overwrite", "--strict") == 0
    store = ClipStore.open(work / "clips.h5")
    assert (store.clip_ids, store.groups) == (("a", "b", NFC), ("a", "b", f"gr{NFC}"))
    assert LabelTable.read(work / "labels.csv", THREE).clip_ids == (NFC, "a")


def test_two_clips_of_a_list_that_are_one_id_are_both_named(work, capsys):
    labels = write(work / "l.csv", f"clip_id,labels\n{NFD},ant\n{NFC},bee\n")
    assert prepare("--labels", labels, "--overwrite") == 2
    error = capsys.readouterr().err
    assert repr(NFD) in error or ascii(NFD) in error
    assert "twice" in error or "two clips have one id" in error


# ---- what nobody named ------------------------------------------------------------------------------------------


def state(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_lists_lie_beside_the_store_and_those_of_work_stay(work, elsewhere, tmp_path, capsys):
    before = state(work)
    out = tmp_path / "new" / "clips.h5"
    OTHER.write(out.parent / "vocabulary.csv")
    options = ("--audio", elsewhere / "audio", "--labels", elsewhere / "list.csv", "--out", out)
    for more in ((), ("--overwrite",)):
        assert prepare(*options, *more) == 0
        assert state(work) == before
        assert LabelTable.read(out.parent / "labels.csv", OTHER).clip_ids == ("a", "c")
    store = ClipStore.open(out)
    assert store.groups == ("a", "c")  # not the pool of ./work/clips.csv
    assert "no groups: work/clips.csv does not belong to" in capsys.readouterr().err


def test_the_vocabulary_of_work_is_not_that_of_a_store_elsewhere(work, elsewhere, tmp_path, capsys):
    options = ("--audio", elsewhere / "audio", "--labels", elsewhere / "list.csv", "--out", tmp_path / "o" / "c.h5")
    assert prepare(*options) == 2
    assert "not in the vocabulary 'audioset'" in capsys.readouterr().err


def test_groups_beside_the_recordings_are_theirs(work, elsewhere, tmp_path):
    write(elsewhere / "clips.csv", "clip_id,group\na,day\nc,day\n")
    assert prepare("--audio", elsewhere / "audio", "--out", tmp_path / "o" / "c.h5") == 0
    assert ClipStore.open(tmp_path / "o" / "c.h5").groups == ("day", "day")
    record_of = json.loads((tmp_path / "o" / "c.run.json").read_text())
    assert list(record_of["inputs"]) == [str(elsewhere / "clips.csv")]


def test_lists_of_work_are_read_beside_its_recordings_alone(work, tmp_path):
    assert prepare("--out", tmp_path / "o" / "c.h5") == 0  # the recordings of ./work
    assert json.loads((tmp_path / "o" / "c.run.json").read_text())["inputs"].keys() == {
        "work/clips.csv", "work/labels.csv", "work/vocabulary.csv",
    }  # fmt: skip
    assert not (tmp_path / "o" / "labels.csv").exists()


# ---- other people's files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clips.h5", "not a clip store of pseudolabel, so it is not replaced"),
        ("skipped.csv", "not a list of skipped recordings of pseudolabel"),
        ("missing.csv", "not a list of missing clips of pseudolabel"),
        ("clips.run.json", "not the record of a run of pseudolabel"),
        ("labels.csv", "not a label list of pseudolabel"),
    ],
)
def test_files_of_others_are_not_replaced(work, elsewhere, capsys, name, message):
    mine = write(elsewhere / name, "my own work\n")
    options = ("--audio", elsewhere / "audio", "--labels", elsewhere / "list.csv", "--out", elsewhere / "clips.h5")
    assert prepare(*options, "--overwrite") == 2
    assert f"{mine}: {message}" in capsys.readouterr().err
    assert mine.read_text() == "my own work\n"


NOT_OURS = "labels.csv: a label list that differs and is not as prepare wrote it, so it is not replaced. Move it, or"


@pytest.mark.parametrize("maker", ["nobody", "simulate", "prepare, then changed", "prepare of WORK's own lists"])
def test_a_label_list_that_prepare_did_not_write_is_not_replaced(work, elsewhere, tmp_path, capsys, maker):
    options = ("--audio", work / "scenes", "--labels", write(tmp_path / "new.csv", "clip_id,labels\na,cat\n"))
    mine = "clip_id,labels\na,ant\nb,bee\n"
    if maker == "simulate":
        write(work / "run.json", '{"verb": "simulate"}')
        write(work / "clips.run.json", '{\n  "verb": "prepare"}')
    if maker == "prepare, then changed":
        (work / "labels.csv").unlink()
        assert prepare(*options) == 0
        mine = "clip_id,labels\na,cat\nb,bee\n"
        write(work / "labels.csv", mine)
    if maker == "prepare of WORK's own lists":
        assert prepare() == 0
    before = state(work)
    for option in ((), ("--overwrite",), ("--add",)):
        if option or not (work / "clips.h5").exists():
            assert prepare(*options, *option) == 2
            assert NOT_OURS in capsys.readouterr().err
    assert state(work) == before
    assert (work / "labels.csv").read_text() == mine


@pytest.mark.parametrize("version", ["this", "earlier"])
def test_lists_that_prepare_wrote_are_replaced_again_and_again(work, elsewhere, tmp_path, version):
    def options(first: str, second: str) -> tuple:
        lists = [write(tmp_path / f"{name}.csv", f"clip_id,labels\n{clip_id},X\n")
                 for name, clip_id in (("l", first), ("e", second))]  # fmt: skip
        return ("--audio", elsewhere / "audio", "--labels", lists[0], "--eval", lists[1], "--out", out,
                "--vocabulary", elsewhere / "vocabulary.csv")  # fmt: skip

    out = tmp_path / "o" / "clips.h5"
    assert prepare(*options("a", "c")) == 0
    record = out.with_name("clips.run.json")
    for first, second, how in (("c", "c", "--overwrite"), ("c", "a", "--add"), ("a", "a", "--overwrite")):
        content = json.loads(record.read_text())
        assert content["lists"] == {name: sha256(out.with_name(name)) for name in ("labels.csv", "eval.csv")}
        if version == "earlier":
            del content["lists"]
            record.write_text(json.dumps(content, indent=2))
        assert prepare(*options(first, second), how) == 0
        assert out.with_name("labels.csv").read_text() == f"clip_id,labels\n{first},x\n"
        assert out.with_name("eval.csv").read_text() == f"clip_id,labels\n{second},x\n"


def test_an_hdf5_file_of_others_is_not_replaced(work, capsys):
    with h5py.File(work / "clips.h5", "w") as file:
        file["mine"] = [1, 2, 3]
    before = sha256(work / "clips.h5")
    for option in ("--overwrite", "--add"):
        assert prepare(option) == 2
        assert "clips.h5: not a clip store of pseudolabel" in capsys.readouterr().err
    assert sha256(work / "clips.h5") == before


def test_what_others_named_like_temporary_files_stays(work):
    names = [".clips.h5.mine.tmp", ".clips.h5.1234.tmp", "clips.h5.tmp", ".clips.h5.lock"]
    for name in names:
        write(work / name, "mine")
        os.utime(work / name, (0, 0))  # long ago
    assert prepare() == 0
    assert prepare("--overwrite") == 0
    assert [(work / name).read_text() for name in names] == ["mine"] * len(names)


def test_a_folder_of_others_in_the_place_of_the_blocks_stays(work, capsys):
    mine = write(work / "clips.h5.parts" / "chapter 1.txt", "mine")
    for options in ((), ("--overwrite",)):
        assert prepare(*options) == 2
        assert "clips.h5.parts" in capsys.readouterr().err
        assert mine.read_text() == "mine"


def test_audio_is_not_written_through_a_link(work, tmp_path, monkeypatch):
    mine = write(tmp_path / "mine.txt", "mine")

    def replace_by_link(files, blocks, *arguments):
        (blocks.folder / "audio.h5").symlink_to(mine)
        return decode_all(files, blocks, *arguments)

    decode_all = verb.decode_all
    monkeypatch.setattr(verb, "decode_all", replace_by_link)
    assert prepare() == 2
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("option", ["--labels", "--groups"])
def test_an_output_that_is_an_input_is_refused(work, capsys, option):
    others = write(work / "more.csv", "clip_id,labels\na,ant\nb,cat\nc,ant\n")
    given = {"--labels": work / "labels.csv", "--groups": work / "missing.csv"}[option]
    if option == "--groups":
        write(given, "clip_id,list,reason,group\na,x,y,z\n")
    else:
        write(given, "clip_id,labels\nd,ant\n")
    before = given.read_text()
    assert prepare("--audio", work / "scenes", option, given, *([others] if option == "--labels" else []),
                   "--overwrite") == 2  # fmt: skip
    kept = {"--labels": f"would be replaced while it is an input ({given})", "--groups": "not a list of missing clips"}
    assert kept[option] in capsys.readouterr().err
    assert given.read_text() == before


# ---- runs that were killed --------------------------------------------------------------------------------------


def killed_at(number: int, after: bool, *options: object) -> bool:
    """Run `prepare` in a child that is killed before or after its rename of this number; False: it has fewer."""
    child = os.fork()
    if not child:
        count, rename = [0], os.replace

        def rename_or_die(*paths: object) -> None:
            count[0] += 1
            if count[0] == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*paths)
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = rename_or_die
        os._exit(prepare(*options))
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("after", [False, True])
def test_adding_that_is_killed_at_any_rename_goes_on_to_the_same_bytes(work, tmp_path, after):
    record(work / "scenes", "c")
    (work / "scenes" / "bad.wav").write_text("no sound")
    assert prepare() == 0
    record(work / "scenes", "d", "e")
    shutil.copytree(work, tmp_path / "before")
    assert prepare("--add") == 0
    names = ("clips.h5", "skipped.csv", "missing.csv", "labels.csv")
    expected = {name: sha256(work / name) for name in names}
    n_kills = 0
    while True:
        shutil.rmtree(work)
        shutil.copytree(tmp_path / "before", work)
        if not killed_at(n_kills + 1, after, "--add"):
            break
        n_kills += 1
        assert prepare("--add") == 0
        assert {name: sha256(work / name) for name in names} == expected
        left = {path.name for path in work.iterdir()} - {*os.listdir(tmp_path / "before")}
        assert not left
    assert n_kills >= 6


def test_adding_goes_on_where_other_recordings_have_come_since_a_kill(work):
    assert prepare() == 0
    record(work / "scenes", "c")
    assert killed_at(5, False, "--add")
    assert (work / "clips.h5.parts").exists()
    record(work / "scenes", "d")
    assert prepare("--add") == 0
    assert ClipStore.open(work / "clips.h5").clip_ids == ("a", "b", "c", "d")
    assert not (work / "clips.h5.parts").exists()


def test_recordings_that_were_replaced_after_the_store_was_made_are_named(work, capsys):
    assert prepare() == 0
    assert prepare("--add") == 0
    assert "changed after" not in capsys.readouterr().err
    record(work / "scenes", "a", seconds=0.5)
    os.utime(work / "scenes" / "a.wav", (2e9, 2e9))
    assert prepare("--add") == 0
    assert "1 recording changed after work/clips.h5 was made, which keeps the former sound: a;" in (
        capsys.readouterr().err
    )


def unfinished(monkeypatch) -> None:
    """Leave the finished blocks of a run that was interrupted before it made the store."""
    with monkeypatch.context() as patch:
        patch.setattr(verb, "collect", lambda blocks: (_ for _ in ()).throw(KeyboardInterrupt))
        assert prepare() == 130


@pytest.mark.parametrize("part", ["audio.h5", "block-00001.h5"])
def test_a_block_that_was_damaged_since_is_made_again(work, monkeypatch, part):
    monkeypatch.setattr(verb, "BLOCK_SIZE", 1)
    assert prepare() == 0
    expected = sha256(work / "clips.h5")
    (work / "clips.h5").unlink()
    unfinished(monkeypatch)
    path = work / "clips.h5.parts" / part
    content = bytearray(path.read_bytes())
    content[-3000 if part == "audio.h5" else len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert prepare() == 0
    assert sha256(work / "clips.h5") == expected


def test_a_damaged_store_is_not_passed_on_by_adding(work, capsys):
    assert prepare() == 0
    content = bytearray((work / "clips.h5").read_bytes())
    start = ClipStore.open(work / "clips.h5").audio_start
    content[start + 10] ^= 0xFF
    (work / "clips.h5").write_bytes(content)
    record(work / "scenes", "c")
    assert prepare("--add") == 2
    assert "audio was corrupted before it was written to the store: a" in capsys.readouterr().err
    assert (work / "clips.h5").read_bytes() == content
