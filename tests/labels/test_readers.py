"""Every published form of a label list gives its table, and no damaged one loses a label in silence."""

from __future__ import annotations

import gzip
import json
import random
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pseudolabel.errors import InputError, OutputExists, UnknownClass
from pseudolabel.labels.label_texts import split_labels
from pseudolabel.labels.readers import FORMATS, clip_id_of, read_label_rows, read_segments
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary

IDS = ("/m/09x0r", "/m/05zppz", "/m/032s66", "/m/0bt9lr")
NAMES = ("Speech", "Male speech, man speaking", "Gunshot, gunfire", "Dog")
VOCABULARY = Vocabulary("four", IDS, NAMES, IDS)
SPEECH, MALE, GUNSHOT, DOG = IDS
CLIPS = {"-a": {SPEECH, MALE}, "b": {GUNSHOT}, "c": {DOG, SPEECH}}
SINGLE = {"-a": {MALE}, "b": {GUNSHOT}, "c": {DOG}}

LISTS = {
    "csv": ("clip_id,labels\n-a,/m/09x0r;/m/05zppz\nb,/m/032s66\nc,Dog;Speech\n", CLIPS),
    "audioset": (
        '# YTID, start_seconds, end_seconds, positive_labels\n-a, 30.000, 40.000, "/m/09x0r,/m/05zppz"\n'
        'b, 0.000, 9.500, "/m/032s66"\nc, 0.000, 10.000, "/m/0bt9lr,/m/09x0r"\n',
        CLIPS,
    ),
    "esc50": (
        'filename,fold,category\n-a.wav,1,"Male speech, man speaking"\nb.wav,2,gunshot_or_gunfire\nc.wav,1,dog\n',
        SINGLE,
    ),
    "audioset-strong": (
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n-a\t0.1\t2.0\t/m/09x0r\nb\t0\t1\t/m/032s66\n"
        "c\t3\t4\t/m/0bt9lr\nc\t3\t5\t/m/09x0r\n-a\t1.5\t2.5\t/m/05zppz\nc\t6\t7\t/m/0bt9lr\n",
        CLIPS,
    ),
    "audioset-r": ("-a\t/m/09x0r,/m/05zppz\nb\t/m/032s66\nc\t/m/0bt9lr,/m/09x0r\n", CLIPS),
    "fsd50k": (
        'fname,labels,mids,split\n-a,"Speech,Male_speech_and_man_speaking","/m/09x0r,/m/05zppz",train\n'
        'b,Gunshot_and_gunfire,/m/032s66,val\nc,"Dog,Speech","/m/0bt9lr,/m/09x0r",train\n',
        CLIPS,
    ),
    "fsdkaggle2018": (
        "fname,label,manually_verified\n-a.wav,Male_speech_or_man_speaking,0\nb.wav,Gunshot_or_gunfire,1\nc.wav,Dog,1\n",
        SINGLE,
    ),
    "fsdkaggle2019": (
        'fname,labels\n-a.wav,"Speech,Male_speech_and_man_speaking"\nb.wav,Gunshot_and_gunfire\nc.wav,"Dog,Speech"\n',
        CLIPS,
    ),
    "desed-weak": (
        "filename\tevent_labels\n-a.wav\tSpeech,Male_speech_and_man_speaking\nb.wav\tGunshot, gunfire\n"
        "c.wav\tDog,Speech\n",
        CLIPS,
    ),
    "desed-strong": (
        "filename\tonset\toffset\tevent_label\n-a.wav\t0.000\t9.971\tSpeech\n"
        "-a.wav\t0.5\t0.7\tMale speech, man speaking\n"
        "b.wav\t1\t2\tGunshot_or_gunfire\nc.wav\t0\t10.000\tDog\nc.wav\t0\t1\tSpeech\n",
        CLIPS,
    ),
    "psla": (
        '{"data": [\n{"wav": "/x/y/-a.flac", "labels": "/m/09x0r,/m/05zppz"},\n'
        '{"wav": "/x/y/b.flac", "labels": "/m/032s66"},\n{"wav": "c", "labels": "/m/0bt9lr,/m/09x0r"}\n]}\n',
        CLIPS,
    ),
    "psl": (
        "filename\tlabels\tduration\thdf5path\n/x/-a.wav\t0;1\t10.0\tx.h5\n/x/b.wav\t2\t9.5\tx.h5\n"
        "/x/c.wav\t3;0\t10.0\tx.h5\n",
        CLIPS,
    ),
    "audiofolder": (
        "file_name,take,labels\ntrain/-a.wav,1,Speech;/m/05zppz\n"
        'train/b.wav,2,"gunshot, gunfire"\nc.wav,3,Dog;Speech\n',
        CLIPS,
    ),
    "audiofolder-json": (
        '{"file_name": "train/-a.wav", "take": 1, "labels": ["Speech", "/m/05zppz"]}\n'
        '{"file_name": "train/b.wav", "take": 2, "labels": "gunshot, gunfire"}\n'
        '{"file_name": "train/c.wav", "labels": ["Dog", "Speech"]}\n',
        CLIPS,
    ),
    "plain": (
        'n,path,tags\n1,-a.wav,"Speech,Male speech, man speaking"\n2,b.wav,/m/032s66\n3,c.wav,Dog;Speech\n', CLIPS
    ),
}  # fmt: skip


NEW = {
    "urbansound8k": (
        "slice_file_name,fsID,start,end,salience,fold,classID,class\n-a.wav,1,0.0,0.5,1,5,3,male_speech_and_man_speaking\n"
        "b.wav,1,24.5,28.5,1,5,2,gunshot_or_gunfire\nc.wav,2,1,2,1,5,2,dog\n",
        SINGLE,
    ),
    "events": (
        'File Name,Onset,Offset,label\n-a.wav,0.0,5.0,Speech\n-a.wav,0.5,0.7,"Male speech, man speaking"\n'
        "b.wav,1,2,/m/032s66\nc.wav,3,4,Dog\nc.wav,3,5,Speech\n",
        CLIPS,
    ),
    "multi-hot": (
        'Dog,filename,Speech,fold,"Gunshot, gunfire",/m/05zppz\n0,-a.wav,1,7,0,1\n0,b.wav,0,8,1,0\n1,c.wav,1,9,0,0\n',
        CLIPS,
    ),
    "json": (
        '{\n"-a": {"wav": "{data_root}/-a.wav", "length": 4.0, "class_string": ["Speech", "/m/05zppz"]},\n'
        '"b": {"wav": "{data_root}/b.wav", "length": 4.0, "class_string": "gunshot, gunfire"},\n'
        '"c": {"wav": "{data_root}/c.wav", "length": 4.0, "class_string": ["Dog", "Speech"]}\n}\n',
        CLIPS,
    ),
}
LISTS |= NEW


def read_list(path, name: str, format: str | None = None) -> LabelTable:
    """Read a list; the numbers of `psl` are columns of the vocabulary."""
    return LabelTable.read(path, VOCABULARY, format, classes=VOCABULARY if name == "psl" else None)


def expected(clips: dict[str, set[str]]) -> LabelTable:
    return LabelTable.from_sets(clips, clips.values(), VOCABULARY)


ENDINGS = {"psla": ".json", "json": ".json", "audiofolder-json": ".jsonl"}


def write(tmp_path, name: str, content: str | None = None):
    path = tmp_path / f"list{ENDINGS.get(name, '.txt')}"
    path.write_text(LISTS[name][0] if content is None else content, newline="")
    return path


def test_every_format_has_a_list_here():
    assert set(LISTS) | {"parquet"} == set(FORMATS)


@pytest.mark.parametrize("name", LISTS)
def test_list_is_told_apart_and_read(tmp_path, name):
    path = write(tmp_path, name)
    rows, known = read_label_rows(path)
    assert known is FORMATS[name]
    assert len(list(rows)) >= 3
    assert read_list(path, name) == LabelTable.read(path, VOCABULARY, name) == expected(LISTS[name][1])


@pytest.mark.parametrize("name", LISTS)
def test_packed_list_with_other_line_ends_and_mark_is_the_same(tmp_path, name):
    content = "\ufeff" + LISTS[name][0].replace("\n", "\r\n")
    path = tmp_path / f"list{ENDINGS.get(name, '.txt')}.gz"
    path.write_bytes(gzip.compress(content.encode()))
    assert read_list(path, name) == expected(LISTS[name][1])


def labels_by_clip(table: LabelTable) -> dict[str, set[str]]:
    return dict(zip(table.clip_ids, map(set, table.label_sets()), strict=True))


def mutated(text: str, rng: random.Random) -> str:
    """Return the text with one fault: a character or a line is lost, changed or doubled, or the end cut off."""
    fault, at = rng.randrange(7), rng.randrange(len(text))
    lines = text.splitlines(keepends=True)
    line = rng.randrange(len(lines))
    return {
        0: lambda: text[:at] + text[at + 1 :],
        1: lambda: text[:at] + rng.choice('",;\t\n\0{x_ #é') + text[at + 1 :],
        2: lambda: text[:at] + text[at] + text[at:],
        3: lambda: text[:at] + rng.choice('",;\t\n\0{x') + text[at:],
        4: lambda: "".join(lines[:line] + lines[line + 1 :]),
        5: lambda: "".join(lines[: line + 1] + lines[line:]),
        6: lambda: text[:at],
    }[fault]()


def silent_loss(name: str, original: str, damaged: str, table: LabelTable) -> str:
    """Return the first whole line of the original that is still there, but not with its labels; '' is the aim."""
    found, lines = labels_by_clip(table), damaged.splitlines()
    for line in original.splitlines():
        clip = re.search(r"(?:^|/|\"wav\": \"|,)(-a|b|c)(?=[\t,.\"])", line)
        if clip and line in lines and not (name == "csv" and line == lines[0]):
            rows = [other for other in original.splitlines() if other.find(clip[1]) == line.find(clip[1])]
            labels = LISTS[name][1][clip[1]]
            if FORMATS[name].row != "clip" and len(set(rows) & set(lines)) < len(set(rows)):
                labels = set()  # another of its events was hit
            if clip[1] not in found or not labels <= found[clip[1]]:
                return line
    return ""


@pytest.mark.parametrize("name", LISTS)
def test_a_silent_loss_would_be_seen(name):
    original, clips = LISTS[name]
    for clip in clips:
        for label in clips[clip]:
            table = expected(clips | {clip: clips[clip] - {label}})
            assert silent_loss(name, original, original, table), (clip, label)
        assert silent_loss(name, original, original, expected({c: clips[c] for c in clips if c != clip}))
    assert silent_loss(name, original, original, expected(clips)) == ""


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_damaged_list_is_refused_or_keeps_every_whole_line(tmp_path, name, count):
    rng, original, read = random.Random(count), LISTS[name][0], 0
    for _ in range(count):
        damaged = mutated(original, rng)
        path = write(tmp_path, name, damaged)
        try:
            table = read_list(path, name)
        except InputError as error:
            assert "\n" not in str(error)
            assert str(path) in str(error)
            continue
        read += 1
        assert silent_loss(name, original, damaged, table) == "", damaged
    assert 0 < read < count


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("audioset", '40.000, "/m/09x0r,', "40.000, /m/09x0r,", r":2: row has 5 columns, not 4"),
        ("audioset", '"/m/032s66"\n', '"/m/032s66\n', r":3: cannot be read \(',' expected after"),
        ("csv", "b,/m/032s66\nc,Dog;Speech", 'b,"/m/032s66\nc,Dog"', r":3: a quoted field does not end on its line"),
        ("audioset", '/m/09x0r"\n', "/m/09x0r", r":4: cannot be read \(unexpected end of data\)"),
        ("audioset", "9.500", "nine", r":3: '0\.000' to 'nine' are not a start and an end"),
        ("audioset", "0.000, 9.500", "9.500, 0.000", r":3: '9\.500' to '0\.000' are not a start and an end"),
        ("audioset-strong", "\t/m/032s66", "\t", r":3: the event has no label"),
        ("audioset-strong", "label\n", "label\tpresent\n", r":2: row has 4 columns, the header 5"),
        ("audioset-r", "b\t", "b\tx\t", r":2: row has 3 columns, not 2"),
        ("fsd50k", '"/m/0bt9lr,/m/09x0r"', "/m/0bt9lr", r":4: row has 2 labels and 1 mids"),
        ("fsd50k", "split\n", "mids\n", r":1: column 'mids' is listed twice"),
        ("fsdkaggle2019", "b.wav", "-a.wav", r":3: clip '-a' is listed twice, first in line 2.*--format plain"),
        ("fsdkaggle2019", "Dog,Speech", "Dog,Spe", r":4: class 'Spe' is not in the vocabulary"),
        ("desed-weak", "Dog,Speech", "Dog,", r":4: an empty label in 'Dog,'"),
        ("desed-strong", "1\t2\tGun", "\t2\tGun", r":4: '' to '2' are not a start and an end"),
        ("psl", "3;0", "3;4", r":4: class number 4 is not in 'four', which has 0 to 3"),
        (
            "psla",
            '"labels": "/m/032s66"',
            '"label": "/m/032s66"',
            r", entry 2: key 'labels' is missing; keys found: wav, label",
        ),
        ("psla", "b.flac", "-a.flac", r", entry 2: clip '-a' is listed twice, first in entry 1"),
        ("psla", "/m/032s66", "/m/x", r", entry 2: class '/m/x'"),
        ("psla", "data", "rows", r", entry 1: clips and labels must be texts"),
        ("psla", "]}", "", r"json:6: not JSON"),
        ("audiofolder-json", '"/m/05zppz"]}', '"/m/05zppz"]', r":1: not JSON \(Expecting ',' delimiter\)"),
        ("audiofolder-json", '["Dog", "Speech"]', '["Dog", ""]', r":3: an empty label in \['Dog', ''\]"),
        ("audiofolder-json", '"gunshot, gunfire"', "7", r":2: class '7' is not in the vocabulary"),
        ("audiofolder-json", '"gunshot, gunfire"', "7.5", r":2: clips and labels must be texts"),
        ("multi-hot", "b.wav,0", "b.wav,2", r":3: '2' in the column 'Speech' is neither 0 nor 1"),
        ("json", '"/m/05zppz"]', '"/m/05zppz", 1]', r", entry 1: class '1' is not in the vocabulary"),
        ("events", ",1,2", ",1,2,3", r":4: row has 5 columns, the header 4"),
        ("events", ",1,2", ",1,x", r":4: '1' to 'x' are not a start and an end in seconds"),
        (
            "audiofolder-json",
            '2, "labels"',
            '2, "label"',
            r":2: key 'labels' is missing; keys found: file_name, take",
        ),
        ("audiofolder-json", '"take": 2', '"labels": []', r":2: cannot be read \(key 'labels' is listed twice\)"),
        ("audiofolder-json", "train/c", "train/b", r":3: clip 'b' is listed twice, first in line 2"),
        ("audiofolder-json", "Dog", "Dgo", r":3: class 'Dgo' is not in the vocabulary"),
        ("plain", "tags", "words", r":1: column 'labels' is missing; columns found: n, path, words"),
    ],
)
def test_fault_is_named_with_its_place(tmp_path, name, old, new, message):
    content = LISTS[name][0]
    assert content.count(old) == 1
    with pytest.raises(InputError, match=message):
        read_list(write(tmp_path, name, content.replace(old, new)), name)


def test_clips_without_events_stay_and_absent_events_name_no_label(tmp_path):
    quiet = LISTS["desed-strong"][0] + "quiet.wav\t\t\t\n"
    assert labels_by_clip(LabelTable.read(write(tmp_path, "desed-strong", quiet), VOCABULARY)) == CLIPS | {
        "quiet": set()
    }
    framed = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\tpresent\n"
    framed += "b\t0\t0.96\t/m/032s66\tPRESENT\nb\t0\t0.96\t/m/0bt9lr\tNOT_PRESENT\n"
    assert labels_by_clip(LabelTable.read(write(tmp_path, "audioset-strong", framed), VOCABULARY)) == {"b": {GUNSHOT}}
    with pytest.raises(InputError, match=":3: 'NOT' is neither PRESENT nor"):
        LabelTable.read(write(tmp_path, "audioset-strong", framed.replace("NOT_PRESENT", "NOT")), VOCABULARY)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Speech,Male speech, man speaking,Dog", ["Speech", "Male speech, man speaking", "Dog"]),
        ("Male speech,man speaking", ["Male speech", "man speaking"]),
        ("Dog;Gunshot, gunfire", ["Dog", "Gunshot, gunfire"]),
        ("Gunshot, gunfire", ["Gunshot, gunfire"]),
        ("Dog,", ["Dog", ""]),
    ],
)
def test_names_with_commas_stay_whole(text, labels):
    assert split_labels(text, ";,", VOCABULARY) == labels


@pytest.mark.parametrize(
    ("name", "clip_id"),
    [
        ("a/b.c/x.wav", "x"),
        ("x.FLAC", "x"),
        ("c:\\a\\x.mp3", "x"),
        ("Yx_30.000_40.000", "Yx_30.000_40.000"),
        ("Yx_30.000_40.000.wav", "Yx_30.000_40.000"),
        (".wav", ".wav"),
        ("x.wav.gz", "x.wav.gz"),
    ],
)
def test_clip_id_is_the_name_without_folder_and_ending(name, clip_id):
    assert clip_id_of(name) == clip_id


SEGMENTS = {"-a": ("30.000", "40.000"), "b": ("0.000", "9.500"), "c": ("0.000", "10.000")}


@pytest.mark.parametrize(
    ("name", "file", "options"),
    [
        ("audioset", "l.csv", {"segments": SEGMENTS}),
        ("psla", "l.json", {"wav": "audio/{clip_id}.flac"}),
        ("parquet", "l.parquet", {}),
        ("csv", "l.csv", {}),
    ],
)
def test_written_list_reads_back_equal_and_is_never_written_over_unasked(tmp_path, name, file, options):
    table = LabelTable.from_sets([*CLIPS, "none"], [*CLIPS.values(), set()], VOCABULARY)
    options = options | {"segments": SEGMENTS | {"none": ("0", "1")}} if "segments" in options else options
    table.write(tmp_path / file, name, **options)
    written = (tmp_path / file).read_bytes()
    assert LabelTable.read(tmp_path / file, VOCABULARY) == table
    table.write(tmp_path / file, name, **options)
    assert (tmp_path / file).read_bytes() == written
    with pytest.raises(OutputExists):
        table.write(tmp_path / file, name, overwrite=False, **options)


def test_written_forms_are_the_published_ones(tmp_path):
    table = expected(CLIPS)
    table.write(tmp_path / "l.csv", "audioset", segments=SEGMENTS)
    assert (tmp_path / "l.csv").read_text() == LISTS["audioset"][0].replace("/m/0bt9lr,/m/09x0r", "/m/09x0r,/m/0bt9lr")
    assert read_segments(tmp_path / "l.csv") == SEGMENTS
    table.write(tmp_path / "l.json", "psla", wav="audio/{clip_id}.flac")
    first = {"wav": "audio/-a.flac", "labels": "/m/09x0r,/m/05zppz"}
    assert json.loads((tmp_path / "l.json").read_text())["data"][0] == first


def test_lists_that_a_form_cannot_hold_are_refused_and_not_begun(tmp_path):
    path = tmp_path / "l"
    with pytest.raises(InputError, match="clip 'b' has no start and end"):
        expected(CLIPS).write(path, "audioset", segments={"-a": ("0", "1")})
    with pytest.raises(InputError, match="'a,b' does not fit"):
        LabelTable.from_sets(["a,b"], [[]], VOCABULARY).write(path, "audioset", segments={"a,b": ("0", "1")})
    comma = Vocabulary("comma", ("x,y",), ("z",), ("",))
    with pytest.raises(InputError, match="has a comma or a quote"):
        LabelTable.from_sets(["a"], [["x,y"]], comma).write(path, "psla")
    with pytest.raises(InputError, match="same recording for every clip"):
        expected(CLIPS).write(path, "psla", wav="x.wav")
    assert not path.exists()


def test_parquet_with_texts_or_lists_is_read_and_other_types_are_refused(tmp_path):
    path = tmp_path / "l.parquet"
    pq.write_table(pa.table({"file": ["x/-a.wav", "b"], "n": [1, 2], "tags": ["Speech;/m/05zppz", ""]}), path)
    assert labels_by_clip(LabelTable.read(path, VOCABULARY)) == {"-a": {SPEECH, MALE}, "b": set()}
    for columns, message in [
        ({"clip_id": ["a"], "other": [7]}, "column 'labels' is missing; columns found: clip_id, other"),
        ({"clip_id": ["a", "b"], "labels": [["Dog"], [None]]}, "row 2: clips and labels must be texts"),
        ({"clip_id": [1.5], "labels": ["Dog"]}, "row 1: clips and labels must be texts"),
        ({"clip_id": ["a", "b"], "labels": [["Dog"], ["Dgo"]]}, "row 2: class 'Dgo' is not"),
    ]:
        pq.write_table(pa.table(columns), path)
        with pytest.raises(InputError, match=message):
            LabelTable.read(path, VOCABULARY)


def test_json_lines_of_any_label_key_with_texts_lists_or_null_are_read(tmp_path):
    path = tmp_path / "metadata.jsonl"
    path.write_text(
        '\n{"tag": "Dog;Speech", "file_name": "a.wav"}\n \n{"file_name": "b", "tag": null}\n'
        '{"file_name": "c", "tag": []}\n{"file_name": "d", "tag": ""}\n{"file_name": "e", "tag": ["Gunshot, gunfire"]}'
    )
    found = labels_by_clip(LabelTable.read(path, VOCABULARY))
    assert found == {"a": {DOG, SPEECH}, "b": set(), "c": set(), "d": set(), "e": {GUNSHOT}}
    for text, message in [
        ("[1]", ":1: not a JSON object"),
        ("[" * 100_000, ":1: cannot be read"),
        ('{"file_name": "a"}', ":1: column 'labels' is missing; columns found: file_name"),
        ('{"labels": []}', ":1: column 'clip_id' is missing; columns found: labels"),
        ("\n\n", "has no clips"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            LabelTable.read(path, VOCABULARY)


def test_damaged_parquet_is_refused_or_the_same(tmp_path):
    path, rng = tmp_path / "l.parquet", random.Random(3)
    expected(CLIPS).write(path, "parquet")
    whole = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] = rng.randrange(256)
        path.write_bytes(bytes(damaged))
        try:
            assert LabelTable.read(path, VOCABULARY) == expected(CLIPS)
        except InputError:
            continue
    path.write_bytes(whole[:-9])
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        LabelTable.read(path, VOCABULARY)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\xd8", "clip_id,labels\n".encode("utf-16"), b"\0" * 99])
@pytest.mark.parametrize("name", ["l.csv", "l.json", "l.jsonl", "l.parquet", "l.csv.gz", "l.csv.xz"])
def test_binary_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(name)):
        LabelTable.read(tmp_path / name, VOCABULARY)


@pytest.mark.parametrize(
    ("file", "name", "clips", "labels"),
    [
        ("fsd/train_curated.csv", "fsdkaggle2019", 4970, 5752),
        ("fsd/train_noisy.csv", "fsdkaggle2019", 19815, 24000),
        ("audioset/audioset_r_eval.tsv.xz", "audioset-r", 9544, 69279),
        ("audioset/eval_segments.csv", "audioset", 20371, 51804),
    ],
)
def test_real_lists_in_audioset_classes(shared_data, file, name, clips, labels):
    assert read_label_rows(shared_data / file)[1] is FORMATS[name]
    table = LabelTable.read(shared_data / file, Vocabulary.load("audioset"))
    assert (len(table), table.matrix.nnz) == (clips, labels)


def test_real_desed_lists(shared_data):
    classes = tuple((shared_data / "desed" / "classes.txt").read_text().split())
    vocabulary = Vocabulary("desed", classes, classes, ("",) * len(classes))
    metadata = shared_data / "desed" / "metadata"
    weak = LabelTable.read(metadata / "train" / "weak.tsv", vocabulary)
    assert (len(weak), weak.matrix.nnz, weak.clip_ids[0]) == (1578, 2244, "YKK227gPpRn4_30.000_40.000")
    strong = LabelTable.read(metadata / "validation" / "validation.tsv", vocabulary)
    events = {tuple(line.split("\t")[i] for i in (0, 3)) for line in
              (metadata / "validation" / "validation.tsv").read_text().splitlines()[1:]}  # fmt: skip
    assert len(strong) == len({file for file, _ in events})
    assert strong.matrix.nnz == len([label for _, label in events if label])
    with pytest.raises(InputError, match="columns found: filename"):
        LabelTable.read(metadata / "train" / "unlabel_in_domain.tsv", vocabulary)


def test_real_freesound_names_mean_the_same_in_both_vocabularies(shared_data):
    audioset, fsd50k = (LabelTable.read(shared_data / "fsd" / "train_noisy.csv", Vocabulary.load(name))
                        for name in ("audioset", "fsd50k"))  # fmt: skip
    assert audioset.label_sets()[:500] == [
        tuple(sorted(labels, key=audioset.vocabulary.index.get)) for labels in fsd50k.label_sets()[:500]
    ]


def test_published_class_lists_are_vocabularies(tmp_path, shared_data):
    assert Vocabulary.load(shared_data / "audioset" / "class_labels_indices.csv") == Vocabulary.load("audioset")
    strong = Vocabulary.load(shared_data / "audioset" / "mid_to_display_name.tsv")
    assert (len(strong), strong.find("Kettle whistle")) == (456, "/g/11b630rrvh")


def test_fsd50k_vocabulary_file_without_header_is_the_built_in_one(tmp_path):
    fsd50k = Vocabulary.load("fsd50k")
    rows = [f"{i},{fsd50k.names[i]},{fsd50k.class_ids[i]}\n" for i in range(200)]
    (tmp_path / "vocabulary.csv").write_text("".join(rows))
    assert Vocabulary.load(tmp_path / "vocabulary.csv") == fsd50k
    (tmp_path / "vocabulary.csv").write_text("".join(rows[:3]) + "3,Animal\n")
    with pytest.raises(InputError, match=r"vocabulary\.csv:4: row has 2 columns, not 3"):
        Vocabulary.load(tmp_path / "vocabulary.csv")


def test_spelling_that_two_classes_share_finds_neither():
    vocabulary = Vocabulary("twice", ("1", "2", "3"), ("Bat, ball", "Bat and ball", "Bat or club"), ("", "", ""))
    assert vocabulary.find("bat AND ball") == "2"
    assert vocabulary.find("Bat_or_club") == "3"
    with pytest.raises(UnknownClass):
        vocabulary.find("Bat_and_ball")


@pytest.mark.parametrize("text", ["", "# YTID, start_seconds, end_seconds, positive_labels\n"])
def test_segment_list_without_clips_is_refused(tmp_path, text):
    (tmp_path / "segments.csv").write_text(text)
    with pytest.raises(InputError, match=r"segments\.csv: the segment list has no clips\. Give rows `YTID, start"):
        read_segments(tmp_path / "segments.csv")


def test_clip_with_two_segments_is_refused(tmp_path):
    (tmp_path / "s.csv").write_text("x, 0, 10, /m/a\ny, 0, 10, /m/a\nx, 30, 40, /m/a\n")
    with pytest.raises(InputError, match=r"s\.csv:3: clip 'x' is listed twice"):
        read_segments(tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("9" * 5000, "class '9999.*' is not in the vocabulary"),
        ("-1", "class '-1' is not in the vocabulary"),
        ("\u0661", "class '.' is not in the vocabulary"),
        ("0.5", "class '0.5' is not in the vocabulary"),
        ("4", "class number 4 is not in 'four', which has 0 to 3"),
    ],
)
def test_label_that_is_not_the_number_of_a_class_is_refused(tmp_path, number, message):
    (tmp_path / "l.tsv").write_text(f"filename\tlabels\tduration\nx\t{number}\t1\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"l\.tsv:2: {message}"):
        LabelTable.read(tmp_path / "l.tsv", VOCABULARY, classes=VOCABULARY)


@pytest.mark.parametrize(("column", "expected"), [("clip_id", ("a/b", "c/b.wav")), ("file", ("b", "b2"))])
def test_ids_keep_their_folder_and_files_lose_it(tmp_path, column, expected):
    second = "c/b.wav" if column == "clip_id" else "c/b2.wav"
    (tmp_path / "list.csv").write_text(f"{column},label\na/b,Speech\n{second},Speech\n")
    assert LabelTable.read(tmp_path / "list.csv", "audioset").clip_ids == expected
