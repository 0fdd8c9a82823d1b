"""No two parts of a corpus share a source, and a class table says where it is wrong."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.corpus.scenes import SceneOptions
from pseudolabel.corpus.sources import (
    PARTS,
    Sound,
    SoundLibrary,
    check_recordings,
    divide,
    part_sizes,
    read_sound_table,
    source_of,
    synthesised_sounds,
)
from pseudolabel.errors import InputError, UnknownClass
from pseudolabel.labels.vocabulary import Vocabulary

AUDIOSET = Vocabulary.load("audioset")
DOG, RAIN = "/m/0bt9lr", "/m/06mb1"
BARK, HOOT = "/m/05tny_", "/m/07r_80w"  # two that can be synthesised


def folder_of(tmp_path, table: str, files: list[str]):
    folder = tmp_path / "sounds"
    folder.mkdir()
    for file in files:
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "table.csv").write_text(table)
    return folder, tmp_path / "table.csv"


def test_seven_sources_give_one_to_each_part_and_forty_the_shares():
    assert part_sizes(7) == dict.fromkeys(PARTS, 1)
    assert list(part_sizes(40).values()) == [6, 6, 6, 5, 5, 4, 8]
    assert list(part_sizes(40, first_pool=3).values()) == [6, 5, 5, 6, 6, 4, 8]


@pytest.mark.parametrize("n", range(7, 200))
def test_every_part_has_a_source_and_all_are_used(n):
    sizes = part_sizes(n, n % 5)
    assert min(sizes.values()) >= 1
    assert sum(sizes.values()) == n


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=120), st.integers(0, 9))
def test_a_source_is_in_one_part_and_every_kept_class_in_all_parts(drawn, seed):
    sounds = [Sound(f"s{source}", f"c{class_}", f"{k}.wav") for k, (source, class_) in enumerate(drawn)]
    kept, left_out = divide(sounds, 7, seed)
    parts = {}
    for sound in kept:
        parts.setdefault(sound.source, set()).add(sound.part)
    assert all(len(part) == 1 for part in parts.values())
    for class_id in {sound.class_id for sound in kept}:
        assert {sound.part for sound in kept if sound.class_id == class_id} == set(PARTS)
    classes = {sound.class_id for sound in sounds}
    assert {sound.class_id for sound in kept} | set(left_out) == classes
    assert {sound.class_id for sound in kept}.isdisjoint(left_out)
    assert divide(list(reversed(sounds)), 7, seed)[1] == left_out


def test_the_order_of_the_files_does_not_change_the_parts():
    sounds = [Sound(f"s{k}", "c", f"{k}.wav") for k in range(20)]
    there, back = divide(sounds, 7, 3)[0], divide(sounds[::-1], 7, 3)[0]
    assert {sound.source: sound.part for sound in there} == {sound.source: sound.part for sound in back}


def test_synthesised_seeds_depend_on_class_and_number_only():
    few, many = synthesised_sounds({DOG: "Dog"}, 7, 0), synthesised_sounds({RAIN: "Rain", DOG: "Dog"}, 9, 0)
    assert set(few) < set(many)
    assert len({sound.seed for sound in many}) == 18
    assert few[0].source == "dog-000"


def test_takes_of_one_freesound_recording_are_one_source():
    assert source_of("1-172649-A-40.flac") == source_of("sub/3-172649-F-40.wav") == "172649"
    assert source_of("dog/bark one.wav") == "dog/bark one"
    assert source_of("cat/bark one.wav") != source_of("dog/bark one.wav")


def test_esc50_and_plain_tables_are_both_read(tmp_path):
    files = ["1-100-A-0.wav", "1-100-B-0.wav", "c.wav", "d.wav"]
    esc = "filename,fold,target,category\n1-100-A-0.wav,1,0,dog\n1-100-B-0.wav,1,0,dog\nc.wav,1,34,can_opening\n"
    folder, table = folder_of(tmp_path, esc, files)
    read = read_sound_table(folder, table, AUDIOSET)
    assert read.sounds == [Sound("100", DOG, "1-100-A-0.wav"), Sound("100", DOG, "1-100-B-0.wav")]
    assert list(read.left_out) == ["can_opening"]
    table.write_text(f"file,class,source\nc.wav,{RAIN},roof\nd.wav,rain,\n")
    assert read_sound_table(folder, table, AUDIOSET).sounds == [Sound("roof", RAIN, "c.wav"), Sound("d", RAIN, "d.wav")]
    table.write_text("file,class\nc.wav,Dog\n")
    assert read_sound_table(folder, table, AUDIOSET).sounds == [Sound("c", DOG, "c.wav")]


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ("path,class\na.wav,dog\n", InputError, r"table\.csv:1: column 'file' is missing; columns found: path, class"),
        ("file,kind\na.wav,dog\n", InputError, r"table\.csv:1: column 'class' is missing"),
        ("file,class\na.wav,dog\nb.wav,doggg\n", UnknownClass, r"table\.csv:3: class 'doggg'.*Dog"),
        ("file,class\na.wav,dog\na.wav,rain\n", InputError, r"table\.csv:3: file 'a\.wav' is listed twice"),
        ("file,class\nx.wav,dog\ny.wav,dog\n", InputError, r"recordings are missing: x\.wav, y\.wav"),
    ],
)
def test_a_wrong_table_is_refused_at_its_line(tmp_path, table, error, message):
    folder, path = folder_of(tmp_path, table, ["a.wav", "b.wav"])
    with pytest.raises(error, match=message):
        read_sound_table(folder, path, AUDIOSET)


def test_missing_and_damaged_recordings_are_listed_or_strictly_refused(tmp_path):
    folder, path = folder_of(tmp_path, "file,class\na.wav,dog\nb.wav,dog\nc.wav,dog\n", ["a.wav"])
    soundfile.write(folder / "b.wav", np.sin(np.arange(8000) * 0.3), 8000)
    options = SceneOptions(sample_rate=8000)
    checked = check_recordings(read_sound_table(folder, path, AUDIOSET), folder, options)
    assert [sound.file for sound in checked.sounds] == ["b.wav"]
    assert [file for file, _ in checked.skipped] == ["c.wav", "a.wav"]
    assert "no bytes" in checked.skipped[1][1]
    with pytest.raises(InputError, match=r"c\.wav"):
        read_sound_table(folder, path, AUDIOSET, strict=True)


def test_a_library_draws_only_sounds_of_the_part(tmp_path):
    sounds, _ = divide(synthesised_sounds({BARK: "Bark", HOOT: "Hoot"}, 14, 0), 7, 0)
    library = SoundLibrary(sounds, None, SceneOptions(sample_rate=8000))
    part_of = {sound.source: sound.part for sound in sounds}
    rng, drawn = np.random.default_rng(0), Counter()
    for _ in range(40):
        class_id, source, samples = library.draw(rng, "pool2", (BARK, HOOT), [0.2, 0.8])
        assert part_of[source] == "pool2"
        assert np.abs(samples).max() > 0
        drawn[class_id] += 1
    assert drawn[HOOT] > drawn[BARK] > 0


def test_a_recording_that_is_shorter_than_it_states_is_kept_and_listed(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 32_000), 16_000, subtype="PCM_16")
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 3])
    (tmp_path / "table.csv").write_text("file,class\na.wav,Rain\n")
    table = check_recordings(read_sound_table(tmp_path, tmp_path / "table.csv", AUDIOSET), tmp_path, SceneOptions())
    assert [sound.file for sound in table.sounds] == ["a.wav"]
    ((file, reason),) = table.skipped
    assert file == "a.wav" and reason.startswith("kept: header states 2.00 s, 0.6")
