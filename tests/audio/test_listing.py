"""Every recording is found once, wherever it lies, and read as if it lay in a file of its own."""

from __future__ import annotations

import os
import subprocess
import tarfile

import numpy as np
import pytest
import soundfile

from pseudolabel.audio import files
from pseudolabel.audio.files import AudioSource, UnreadableAudio, View
from pseudolabel.audio.listing import find_audio, read_segment_table, segment_columns
from pseudolabel.audio.streams import read_audio
from pseudolabel.errors import InputError
from pseudolabel.labels.cells import RECORDINGS, clip_id_of

RATE = 16_000


def test_recordings_are_found_below_a_folder_by_their_name(tmp_path):
    for name in ("b.wav", "deep/er/a.FLAC", "deep/c.d.mp3", "notes.txt", "._b.wav", ".hidden/x.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    paths = {"a": "deep/er/a.FLAC", "b": "b.wav", "c.d": "deep/c.d.mp3"}
    assert find_audio(tmp_path) == {clip_id: AudioSource(tmp_path / path) for clip_id, path in paths.items()}
    assert list(find_audio(tmp_path)) == ["a", "b", "c.d"]


def test_two_recordings_of_one_id_are_both_named(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.wav", "sub/a.flac", "b.wav", "sub/b.wav"):
        (tmp_path / name).write_text(name)
    with pytest.raises(InputError) as error:
        find_audio(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: two recordings have the clip id 'a': {tmp_path}/a.wav and {tmp_path}/sub/a.flac (2 such pairs). "
        "Rename or remove one of them, or give each an id: --segments with columns clip_id,file,start,end."
    )


def test_copies_of_a_recording_in_several_folders_are_one_clip(tmp_path, capsys):
    for folder, name, content in (("cat", "a", "x"), ("dog", "a", "x"), ("fox", "a", "x"), ("dog", "b", "y")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.wav").write_text(content * 3_000_000)
    assert find_audio(tmp_path) == {
        "a": AudioSource(tmp_path / "cat" / "a.wav"),
        "b": AudioSource(tmp_path / "dog" / "b.wav"),
    }
    assert capsys.readouterr().err == (
        f"2 recordings left out, byte for byte the same as another of this name: {tmp_path}/dog/a.wav is "
        f"{tmp_path}/cat/a.wav, {tmp_path}/fox/a.wav is {tmp_path}/cat/a.wav\n"
    )
    (tmp_path / "fox" / "a.wav").write_text("x" * 2_999_999 + "z")  # as long, and other sound at its end
    with pytest.raises(InputError, match=r"'a': .*cat/a\.wav and .*fox/a\.wav\. Rename"):
        find_audio(tmp_path)


def test_recordings_that_are_unusable_in_the_same_way_are_one(tmp_path):
    for folder in ("cat", "dog"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "empty.wav").touch()
        (tmp_path / folder / "gone.wav").symlink_to("nowhere.wav")
    assert list(find_audio(tmp_path)) == ["empty", "gone"]


def test_several_folders_files_and_patterns_are_listed_together(tmp_path):
    for name in ("one/a.wav", "two/b.wav", "c.flac", "train-0.wav", "train-1.wav", "test-0.wav", "[x].wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_audio(tmp_path / "one", tmp_path / "two", tmp_path / "c.flac", tmp_path / "train-*.wav",
                       tmp_path / "[x].wav")  # fmt: skip
    assert list(found) == ["[x]", "a", "b", "c", "train-0", "train-1"]
    with pytest.raises(InputError, match=r"dev-\*\.wav: no such folder or file of recordings"):
        find_audio(tmp_path / "dev-*.wav")


@pytest.mark.parametrize("suffix", [".zip", ".ZIP", ".7z", ".rar", ".tgz", ".tar.zst"])
def test_archives_are_refused_with_the_remedy(tmp_path, suffix):
    archive = tmp_path / f"ESC-50{suffix}"
    archive.touch()
    for path in (archive, tmp_path):
        with pytest.raises(InputError) as error:
            find_audio(path)
        assert str(error.value) == (
            f"{archive}: a packed archive: its members cannot be read one by one. "
            "Unpack it, and move it out of the folder of recordings."
        )


def test_a_data_set_saved_to_disk_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "data-00000-of-00001.arrow").touch()
    with pytest.raises(InputError) as error:
        find_audio(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/data-00000-of-00001.arrow: a table as the library `datasets` stores it. "
        "Write Parquet: datasets.load_from_disk(FOLDER).to_parquet(FILE)."
    )


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "list.csv").touch()
    with pytest.raises(InputError, match=r"list\.csv: neither recordings nor a \.tar or \.parquet file of them\. Give"):
        find_audio(tmp_path / "list.csv")


def test_a_name_that_is_no_text_is_an_error(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    open(folder + b"/a.wav", "w").close()
    with pytest.raises(InputError, match=r"caf\\udce9/a\.wav': this file name is not UTF-8 text"):
        find_audio(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_audio(tmp_path / "nowhere")


@pytest.fixture
def shards(tmp_path):
    """Return a folder of three recordings in two shards, and the folder that they were packed from."""
    loose, packed = tmp_path / "loose", tmp_path / "packed"
    loose.mkdir(), packed.mkdir()
    for number, name in enumerate(("a.wav", "b.flac", "c.ogg")):
        soundfile.write(loose / name, np.random.default_rng(number).uniform(-0.5, 0.5, 3000), RATE)
    (loose / "a.json").write_text("{}")
    for shard, names in (("000.tar", ("a.wav", "a.json", "b.flac")), ("001.tar", ("c.ogg",))):
        with tarfile.open(packed / shard, "w") as file:
            for name in names:
                file.add(loose / name, f"train/{name}")
    return packed, loose


def test_members_of_shards_are_read_like_files(shards):
    packed, loose = shards
    found, expected = find_audio(packed), find_audio(loose)
    assert list(found) == list(expected) == ["a", "b", "c"]
    for clip_id, source in found.items():
        np.testing.assert_array_equal(read_audio(source, RATE).samples, read_audio(expected[clip_id], RATE).samples)
    assert str(found["b"]) == f"{packed}/000.tar:train/b.flac"
    assert list(find_audio(packed / "001.tar")) == ["c"]


def test_a_clip_in_two_shards_is_named_with_both(shards, capsys):
    packed, loose = shards
    (packed / "002.tar").write_bytes((packed / "001.tar").read_bytes())
    assert list(find_audio(packed)) == ["a", "b", "c"]  # the same bytes
    assert "1 recording left out, byte for byte the same as another of this name: " in capsys.readouterr().err
    with tarfile.open(packed / "002.tar", "w") as file:
        file.add(loose / "a.wav", "train/c.ogg")
    with pytest.raises(InputError, match=r"'c': .*001\.tar:train/c\.ogg and .*002\.tar:train/c\.ogg"):
        find_audio(packed)


def test_damaged_and_packed_shards_are_refused(shards):
    packed, _ = shards
    (packed / "002.tar").write_bytes(b"no shard" * 100)
    with pytest.raises(InputError, match=r"002\.tar: not a readable tar shard"):
        find_audio(packed)
    (packed / "002.tar").rename(packed / "002.tar.gz")
    with pytest.raises(InputError, match=r"002\.tar\.gz: a packed archive.*Unpack it"):
        find_audio(packed)


def test_a_member_that_is_cut_off_is_skipped_with_its_reason(shards):
    packed, _ = shards
    source = find_audio(packed)["a"]
    os.truncate(packed / "000.tar", source.offset + 400)
    with pytest.raises(UnreadableAudio, match=r"train/a\.wav: recording is cut short: the shard ends within it"):
        read_audio(source, RATE)


def test_segments_of_longer_recordings_are_clips_of_their_own(tmp_path):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    soundfile.write(tmp_path / "long.flac", sound, RATE)
    table = tmp_path / "segments.csv"
    table.write_text("clip_id,file,start,end\nz,long.flac,0,1.5\n,long.flac,1.000,3.000\n,long.flac,2,\n")
    found = read_segment_table(table, tmp_path)
    path = tmp_path / "long.flac"
    assert found == {
        "long_1.000_3.000": AudioSource(path, 1, 3),
        "long_2_end": AudioSource(path, 2, None),
        "z": AudioSource(path, 0, 1.5),
    }
    assert [len(read_audio(source, RATE).samples) / RATE for source in found.values()] == [2, 2, 1.5]
    assert {source.stem for source in found.values()} == {"long"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "the table has no segments"),
        (",0,1\n", "segments.csv:2: the file is empty"),
        ("a.wav,x,1\n", "segments.csv:2: 'x' is not a time in seconds"),
        ("a.wav,-1,1\n", "segments.csv:2: '-1' is not a time in seconds"),
        ("a.wav,nan,1\n", "'nan' is not a time"),
        ("a.wav,2,2\n", "ends at 2 s, not after its start at 2 s"),
        ("a.wav,0,1\nb.wav,0,1\na.wav,0,1\n", "segments.csv:4: clip 'a_0_1' is listed twice, first in line 2"),
        ("a.wav,0,1e300\n", "segments.csv:2: '1e300' is not a time in seconds"),
        ("a.wav,0\n", "columns"),
    ],
)
def test_bad_segments_are_named_by_line(tmp_path, rows, message):
    table = tmp_path / "segments.csv"
    table.write_text("file,start,end\n" + rows)
    with pytest.raises(InputError, match=message):
        read_segment_table(table, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "file\tstart\tend\na.wav\t0\t1.5\nb.wav\t2\t\n",
        "file,start,end\r\na.wav, 0, 1.5\r\nb.wav, 2,\r\n",
        "\ufefffile;start;end\na.wav;0;1.5\nb.wav;2;\n",
        ",file,start,end\n0,a.wav,0,1.5\n1,b.wav,2,\n",  # as pandas saves it with its index
        "Filename\tOnset\tOffset\tlabel\na.wav\t0\t1.5\tx\nb.wav\t2\t\ty\n",
        '"end_seconds","start_seconds","audio_filepath"\n"1.5","0","a.wav"\n"","2","b.wav"\n',
    ],
)
def test_segment_tables_have_any_separator_and_common_names(tmp_path, text):
    table = tmp_path / "segments.tsv"
    table.write_text(text, encoding="utf-8")
    assert read_segment_table(table, tmp_path) == {
        "a_0_1.5": AudioSource(tmp_path / "a.wav", 0, 1.5),
        "b_2_end": AudioSource(tmp_path / "b.wav", 2, None),
    }


def test_a_segment_table_without_a_column_names_those_it_has(tmp_path):
    table = tmp_path / "segments.csv"
    table.write_text("file,from,end\na.wav,0,1\n")
    with pytest.raises(InputError) as error:
        read_segment_table(table, tmp_path)
    assert str(error.value) == (
        f"{table}: column 'start' is missing; columns found: file, from, end. The header needs: file,start,end."
    )


def test_segments_with_tabs_as_people_have_them(shared_cases, tmp_path):
    found = read_segment_table(shared_cases / "lists" / "seg_tab.tsv", tmp_path)
    assert found == {"rec1_0_10": AudioSource(tmp_path / "rec1.wav", 0, 10)}


def test_links_to_folders_are_followed_and_a_file_reached_twice_is_one(tmp_path):
    real, audio = tmp_path / "store", tmp_path / "audio"
    (real / "deep").mkdir(parents=True)
    audio.mkdir()
    for name in ("a.wav", "deep/b.wav"):
        (real / name).touch()
    (audio / "linked").symlink_to(real)
    (audio / "linked again").symlink_to(real)
    (real / "deep" / "back").symlink_to(audio)  # round and round
    (audio / "a.wav").symlink_to(real / "a.wav")
    (audio / "other.wav").symlink_to(real / "a.wav")  # another clip with the same sound
    found = find_audio(audio)
    assert list(found) == ["a", "b", "other"]
    assert not any(source.problem for source in found.values())


def test_broken_links_are_listed_with_their_reason(tmp_path):
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "circle.wav").symlink_to(tmp_path / "circle.wav")
    for clip_id, source in find_audio(tmp_path).items():
        with pytest.raises(UnreadableAudio, match="is a link to a missing file"):
            read_audio(source, RATE)
        assert clip_id in ("gone", "circle")


NFD, NFC = "u\u0308bung", "\xfcbung"


def test_ids_are_in_nfc_whatever_form_the_disk_has(tmp_path):
    soundfile.write(tmp_path / f"{NFD}.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 3000), RATE)
    assert list(find_audio(tmp_path)) == [NFC]
    table = tmp_path / "segments.csv"
    table.write_text(f"file,start,end\n{NFC}.wav,0,0.1\n{NFD}.wav,0.05,\n", encoding="utf-8")
    found = read_segment_table(table, tmp_path)
    assert list(found) == [f"{NFC}_0.05_end", f"{NFC}_0_0.1"]
    assert all(len(read_audio(source, RATE).samples) > 1000 for source in found.values())


def test_two_names_of_one_id_in_nfc_are_both_named(tmp_path):
    for name in (NFD, NFC):
        (tmp_path / f"{name}.wav").write_text(ascii(name))
    with pytest.raises(InputError, match=f"clip id '{NFC}': .*{NFD}.wav and .*{NFC}.wav"):
        find_audio(tmp_path)
    table = tmp_path / "segments.csv"
    table.write_text(f"clip_id,file,start,end\n{NFD},a.wav,0,1\n{NFC},a.wav,1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"segments\.csv:3: clip .* is listed twice, first in line 2"):
        read_segment_table(table, tmp_path)


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def test_members_that_are_links_are_what_they_link_to(shards):
    packed, loose = shards
    with tarfile.open(packed / "001.tar", "a") as shard:
        shard.addfile(member("train/hard.ogg", type=tarfile.LNKTYPE, linkname="train/c.ogg"))
        shard.addfile(member("other/soft.ogg", type=tarfile.SYMTYPE, linkname="../train/hard.ogg"))
        shard.addfile(member("gone.ogg", type=tarfile.SYMTYPE, linkname="nowhere.ogg"))
        shard.addfile(member("circle.ogg", type=tarfile.SYMTYPE, linkname="circle.ogg"))
        shard.addfile(member("pipe.ogg", type=tarfile.FIFOTYPE))
        shard.addfile(member("folder.ogg", type=tarfile.DIRTYPE))
    found = find_audio(packed / "001.tar")
    assert list(found) == ["c", "circle", "gone", "hard", "pipe", "soft"]
    for clip_id in ("hard", "soft"):
        expected = read_audio(loose / "c.ogg", RATE).samples
        np.testing.assert_array_equal(read_audio(found[clip_id], RATE).samples, expected)
    reasons = {clip_id: source.problem for clip_id, source in found.items() if source.problem}
    assert reasons == {
        "gone": "is a link to nowhere.ogg, which the shard does not hold",
        "circle": "is a link to circle.ogg, which the shard does not hold",
        "pipe": "is neither a file nor a link",
    }


@pytest.mark.parametrize("format", ["gnu", "posix"])
def test_sparse_members_are_read_with_their_holes(tmp_path, format):
    samples = np.zeros(200_000, np.int16)
    samples[100_000:] = np.random.default_rng(0).integers(-9000, 9000, 100_000)  # the beginning is a hole of zeros
    soundfile.write(tmp_path / "whole.wav", samples, RATE)
    content = (tmp_path / "whole.wav").read_bytes()
    with open(tmp_path / "sparse.wav", "wb") as file:
        for place in range(0, len(content), 4096):
            piece = content[place : place + 4096]
            file.seek(place)
            if any(piece):
                file.write(piece)
    os.truncate(tmp_path / "sparse.wav", len(content))
    command = ["tar", "--sparse", f"--format={format}", "-cf", "s.tar", "sparse.wav"]
    if subprocess.run(command, cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("this tar packs no sparse files")
    source = find_audio(tmp_path / "s.tar")["sparse"]
    if not source.spans:
        pytest.skip("this file system has no sparse files")
    assert source.size == len(content) > sum(length for _, _, length in source.spans)
    np.testing.assert_array_equal(read_audio(source, RATE).samples, read_audio(tmp_path / "whole.wav", RATE).samples)


def test_what_follows_the_marked_end_of_a_shard_is_not_lost_in_silence(shards):
    packed, _ = shards
    whole = (packed / "000.tar").read_bytes()
    (packed / "000.tar").write_bytes(whole + (packed / "001.tar").read_bytes())
    with pytest.raises(InputError, match=r"000\.tar: bytes follow the end .* shards joined"):
        find_audio(packed / "000.tar")
    damaged = bytearray(whole)
    place = whole.index(b"train/b.flac")
    damaged[place] ^= 1
    (packed / "000.tar").write_bytes(damaged)
    with pytest.raises(InputError, match=r"000\.tar: (bytes follow the end|not a readable tar shard)"):
        find_audio(packed / "000.tar")


def test_long_and_odd_names_in_shards_are_read(shards):
    packed, loose = shards
    name = f"./{'deep/' * 40}{NFD}.{'x' * 90}.flac"
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(packed / "long.tar", "w", format=format) as shard:
            shard.add(loose / "b.flac", name)
        ((clip_id, source),) = find_audio(packed / "long.tar").items()
        assert clip_id == f"{NFC}.{'x' * 90}"
        np.testing.assert_array_equal(read_audio(source, RATE).samples, read_audio(loose / "b.flac", RATE).samples)


def test_a_large_member_is_not_read_into_memory(shards, monkeypatch):
    packed, loose = shards
    monkeypatch.setattr(files, "IN_MEMORY_BYTES", 100)
    for clip_id, source in find_audio(packed).items():
        assert isinstance(source.stored().opened(), View)
        expected = read_audio(find_audio(loose)[clip_id], RATE).samples
        np.testing.assert_array_equal(read_audio(source, RATE).samples, expected)


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read every folder")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o000)
    with pytest.raises(PermissionError, match="closed"):
        find_audio(tmp_path)


def test_a_recording_has_the_same_id_in_a_folder_and_in_a_list(tmp_path):
    for ending in RECORDINGS:
        (tmp_path / f"a{ending[1:]}{ending}").touch()
    assert set(find_audio(tmp_path)) == {clip_id_of(path.name) for path in tmp_path.iterdir()}


def test_segments_have_the_headings_that_label_lists_have(tmp_path):
    for header in ("file,start,end", "Audio Filename,Onset,Offset", "wav_path,begin_time,stop"):
        (tmp_path / "s.csv").write_text(f"{header}\nx.wav,0,1\n")
        assert segment_columns(tmp_path / "s.csv") == [*header.split(","), ""]
