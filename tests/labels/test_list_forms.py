"""Label lists as people have them: columns, separators and spellings of other programs are read, or refused."""

from __future__ import annotations

import csv
import gzip
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pseudolabel import balance
from pseudolabel.errors import InputError
from pseudolabel.labels.nested_lists import AS_JSON
from pseudolabel.labels.readers import FORMATS, format_of, read_segments
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary

AUDIOSET = Vocabulary.load("audioset")
SPEECH_DOG_MUSIC = {"c1": {"Speech", "Dog"}, "c2": {"Music"}}
TIMED = {"aB3_dEfGh-1": {"Speech", "Gush"}, "Zz9yXwVuTs8": {"Music"}}
EVENTS = {"Zz9yXwVuTs8_10.000_20.000": {"Bicycle"}, "Q0w1E2r3T4y_0.000_10.000": {"Car"}}
BY_FILE = {"3": {"Speech"}, "1": {"Music"}, "2": {"Dog"}}
ONE_EACH = {"c1": {"Speech"}, "c2": {"Music"}}
QUIET = {"c1": {"Speech"}, "c2": set()}
NUMBERED = {"c1": {"Speech", "Music"}, "c2": {"Animal"}}
LEFT_OUT = "rows from 0 to 0 s are not events: 1 left out (Train horn of aB3_dEfGh-1_30.000_40.000.wav in line {})"
BY_COLUMN = "clips are named by column {!r}, not {!r}"
A_LABEL_A_ROW = "read as one row a label: 3 rows, 2 clips"
IN_ORDER = "labels are class numbers, in the order of 'audioset' (0 is Speech); --classes LIST names another order"
CASES = {  # file of the shared cases: (format, labels, remarks)
    "headerless_strong.tsv": ("events", EVENTS, [LEFT_OUT.format(1)]),
    "id_wrong.csv": ("audiofolder", BY_FILE, [BY_COLUMN.format("filename", "id")]),
    "pandas_seg.csv": ("audioset", TIMED, []),
    "gpvad.tsv": ("events", SPEECH_DOG_MUSIC, []),
    "long.csv": ("plain", SPEECH_DOG_MUSIC, [A_LABEL_A_ROW]),
    "multihot_plain.csv": ("multi-hot", SPEECH_DOG_MUSIC, []),
    "pylist.csv": ("audiofolder", SPEECH_DOG_MUSIC, []),
    "nemo.json": ("audiofolder-json", ONE_EACH, []),
    "nan.tsv": ("desed-strong", QUIET, []),
    "excel_semicolon.csv": ("audiofolder", SPEECH_DOG_MUSIC, []),
    "ced.tsv": ("audiofolder", NUMBERED, [IN_ORDER]),
    "psl_gap.tsv": ("psl", NUMBERED, [IN_ORDER]),
    "audiofolder_int.csv": ("audiofolder", ONE_EACH, [IN_ORDER]),
    "hf_audioset.parquet": (
        "parquet",
        {"c1": {"Speech", "Gush"}, "c2": {"Music"}},
        ["labels are read from column 'labels', not 'human_labels'"],
    ),
}


def named(table: LabelTable) -> dict[str, set[str]]:
    """Return {clip id: names of its classes}."""
    name_of = dict(zip(table.vocabulary.class_ids, table.vocabulary.names, strict=True))
    return {
        clip: {name_of[label] for label in labels}
        for clip, labels in zip(table.clip_ids, table.label_sets(), strict=True)
    }


def check(path, labels, remarks=(), **how) -> None:
    """Compare a list with what it means, read as a table and by a verb."""
    table = LabelTable.read(path, AUDIOSET, **how)
    assert named(table) == labels
    assert table.clip_ids == tuple(labels)
    assert table.remarks == tuple(f"{path}: {remark}" for remark in remarks)


@pytest.mark.parametrize("file", CASES)
def test_lists_that_people_have(shared_cases, file):
    form, labels, remarks = CASES[file]
    assert format_of(shared_cases / "lists" / file) == form
    check(shared_cases / "lists" / file, labels, remarks)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "vggsound.csv",
            r":1: the first row is not a header: --AAbbCC-11, 30, dog barking, train\. A list",
        ),
        ("excel_utf16.txt", r":1: not UTF-8 text but UTF-16\. Save it as UTF-8 text\."),
        ("urban8k.csv", r":2: class 'dog_bark' is not in the vocabulary 'audioset' .* or --unknown-labels skip\."),
        ("seg_tab.tsv", r":1: column 'labels' is missing; columns found: file, start, end\. A list needs a column of"),
    ],
)
def test_lists_that_people_have_and_that_are_refused(shared_cases, file, message):
    with pytest.raises(InputError, match=f"{file}{message}"):
        LabelTable.read(shared_cases / "lists" / file, AUDIOSET)


SEGMENTS = 'aB3_dEfGh-1,30.0,40.0,"/m/09x0r,/t/dd00088"\nZz9yXwVuTs8,0.0,10.0,/m/04rlf\n'
STRONG = (
    "aB3_dEfGh-1_30.000_40.000.wav\t0\t0\tTrain horn\nZz9yXwVuTs8_10.000_20.000.wav\t1.5\t4.25\tBicycle\n"
    "Q0w1E2r3T4y_0.000_10.000.wav\t0\t10\tCar\n"
)
LISTS = {
    # AudioSet's list, saved by pandas
    "segments.csv": (f"YTID,start_seconds,end_seconds,positive_labels\n{SEGMENTS}", TIMED, ()),
    "index.csv": (
        ",# YTID,start_seconds,end_seconds,positive_labels\n" + "".join(
            f"{row},{line}\n" for row, line in enumerate(SEGMENTS.splitlines())),
        TIMED, (),
    ),
    "order.tsv": (
        "\ufeffPOSITIVE_LABELS\tEnd_Seconds\tYtid\tStart Seconds\r\n/m/09x0r,/t/dd00088\t40\taB3_dEfGh-1\t30\r\n"
        "/m/04rlf\t10\tZz9yXwVuTs8\t0\r\n",
        TIMED, (),
    ),
    "quotes.csv": (
        'YTID;start_seconds;end_seconds;positive_labels\naB3_dEfGh-1;30,0;40,0;"""/m/09x0r,/t/dd00088"""\n'
        'Zz9yXwVuTs8;0,0;10,0;"[\'/m/04rlf\']"\n',
        TIMED, (),
    ),
    "bare.csv": (SEGMENTS, TIMED, ()),
    # events
    "strong.tsv": (STRONG, EVENTS, (LEFT_OUT.format(1),)),
    "strong.csv": ("\ufeff" + STRONG.replace("\t", ";").replace("\n", "\r\n"), EVENTS, (LEFT_OUT.format(1),)),
    "cut.tsv": (STRONG.replace(".wav", ""), EVENTS, (LEFT_OUT.format(1).replace(".wav", ""),)),
    "last.csv": (
        'Train horn,0,0,"aB3_dEfGh-1_30.000_40.000.wav"\nBicycle,1.5,4.25,"Zz9yXwVuTs8_10.000_20.000.wav"\n'
        'Car,0,10,"a/Q0w1E2r3T4y_0.000_10.000.WAV"\n',
        EVENTS, (LEFT_OUT.format(1),),
    ),
    "headed.tsv": ("file\tstart\tend\tlabel\n" + STRONG, EVENTS, (LEFT_OUT.format(2),)),
    "twice.csv": ("c1,0,5,Speech\nc1,6,7,Dog\nc2,0,9,Music\n", SPEECH_DOG_MUSIC, ()),
    "raven.csv": (
        "Begin Time (s);End Time (s);Class;File Name\n0,0;5,0;Speech;c1.wav\n6,0;7,0;Dog;c1.wav\n0;9;Music;c2.wav\n",
        SPEECH_DOG_MUSIC, (),
    ),
    "quiet.csv": ("file,start,end,label\nc1.wav,0.0,1.0,Speech\nc2.wav,nan,nan,nan\n", QUIET, ()),
    "quiet.tsv": ("c1.wav\t0.0\t1.0\tSpeech\nc2.wav\tNaN\tNaN\tNaN\n", QUIET, ()),
    "quiet.txt": ("filename,onset,offset,event_label\nc1.wav,0,1,Speech\nc2.wav,,,\n", QUIET, ()),
    # which column names the clips
    "id.csv": (
        "label;FileName;ID\nSpeech;3.wav;1\nMusic;1.wav;2\nDog;2.wav;3\n", BY_FILE,
        (BY_COLUMN.format("FileName", "ID"),),
    ),
    "path.csv": ("id,path,label\n1,/d/c1,Speech\n2,/d/c2,Music\n", ONE_EACH, (BY_COLUMN.format("path", "id"),)),
    "rows.csv": (",filename,labels\n0,c1.wav,Speech\n1,c2.wav,Music\n", ONE_EACH, ()),
    "ids.csv": ("id,label\nc1,Speech\nc2,Music\n", ONE_EACH, ()),
    "video.csv": ("filename,video_id,label\nx.wav,c1,Speech\ny.wav,c2,Music\n", ONE_EACH,
                  (BY_COLUMN.format("video_id", "filename"),)),
    # one row a label
    "long.tsv": ("Category\tFile\nSpeech\tc1.wav\nDog\tc1.wav\nMusic\tc2.wav\n", SPEECH_DOG_MUSIC, (A_LABEL_A_ROW,)),
    "fname.csv": ("fname,label\nc1.wav,Speech\nc1.wav,Dog\nc2.wav,Music\n", SPEECH_DOG_MUSIC, (A_LABEL_A_ROW,)),
    "pairs.csv": ("c1.wav,Speech\nc1.wav,Dog\nc2.wav,Music\n", SPEECH_DOG_MUSIC, (A_LABEL_A_ROW,)),
    # a column a class
    "hot.tsv": ("Speech\tfile\tMusic\tDog\n1.0\tc1.wav\t0.0\t1.0\n0.0\tc2.wav\t1.0\t0.0\n", SPEECH_DOG_MUSIC, ()),
    "bool.csv": ("clip_id,Speech,Dog,Music\nc1,True,true,False\nc2,FALSE,false,TRUE\n", SPEECH_DOG_MUSIC, ()),
    "more.csv": (
        "id,filename,take,/m/09x0r,Dog,/m/04rlf,fold\n1,c1.wav,7,1,1,0,1\n2,c2.wav,8,0,0,1,2\n", SPEECH_DOG_MUSIC,
        (BY_COLUMN.format("filename", "id"), "columns that are not classes of 0 and 1 are left out: take, fold"),
    ),
    # lists in cells
    "python.csv": ("file_name;labels\nc1.wav;['Speech', \"Dog\"]\nc2.wav;('Music',)\n", SPEECH_DOG_MUSIC, ()),
    "numpy.tsv": ("fname\tlabels\nc1.wav\t['Speech' 'Dog']\nc2.wav\t[np.str_('Music')]\n", SPEECH_DOG_MUSIC, ()),
    "json.csv": ('clip_id,labels\nc1,"[""Speech"", ""Dog""]"\nc2,[Music]\n', SPEECH_DOG_MUSIC, ()),
    "comma.csv": ("clip_id;labels\nc1;Speech,Dog\nc2;Music\n", SPEECH_DOG_MUSIC, ()),
    # JSON
    "lines.json": (
        '\ufeff{"label": ["Speech", "Dog"], "Audio_Filepath": "/d/c1.wav"}\r\n'
        '{"Audio_Filepath": "/d/c2.wav", "label": "Music"}\r\n', SPEECH_DOG_MUSIC, (),
    ),
    "manifest": ('{"audio_filepath": "/d/c1.wav", "labels": "Speech,Dog"}\n', {"c1": {"Speech", "Dog"}}, ()),
    "brain.json": (
        '{"c1": {"wav": "{data_root}/c1.wav", "length": 1.0, "class_string": "Speech", "classID": 3},\n'
        ' "c2": {"wav": "{data_root}/c2.wav", "length": 1.0, "class_string": "Music", "classID": 4}}', ONE_EACH, (),
    ),
    "keys.json": ('{"c1": ["Speech", "Dog"], "c2": "Music"}', SPEECH_DOG_MUSIC, ()),
    "records.json": ('[{"file": "c1.wav", "tags": ["Speech", "Dog"]}, {"file": "c2.wav", "tags": ["Music"]}]',
                     SPEECH_DOG_MUSIC, ()),
    # class numbers
    "numbers.tsv": ("filename\tlabels\n/d/c1.wav\t0;137\n/d/c2.wav\t72\n", NUMBERED, (IN_ORDER,)),
    "floats.csv": ("file,label\nc1.wav,0.0\nc2.wav,137.0\n", ONE_EACH, (IN_ORDER,)),
    "printed.csv": ('file,target\nc1.wav,"[0, 137]"\nc2.wav,[72]\n', NUMBERED, (IN_ORDER,)),
    "psl.tsv": (
        "filename\tlabels\thdf5path\n/d/c1.wav\tSpeech;Dog\tx.h5\n/d/c2.wav\tMusic\tx.h5\n", SPEECH_DOG_MUSIC, ()
    ),
}  # fmt: skip


@pytest.mark.parametrize("file", LISTS)
def test_every_way_to_write_a_list_is_read_by_a_verb(tmp_path, capsys, file):
    content, labels, remarks = LISTS[file]
    path = tmp_path / file
    path.write_text(content, encoding="utf-8", newline="")
    check(path, labels, remarks)
    assert balance.main(["--labels", str(path), "--vocabulary", "audioset", "--work", str(tmp_path / "work")]) == 0
    said = capsys.readouterr().err
    assert all(remark in said for remark in remarks)
    with open(tmp_path / "work/balance/statistics.csv", newline="") as rows:
        (row,) = csv.DictReader(rows)
    assert (int(row["clips"]), int(row["labels"])) == (len(labels), sum(map(len, labels.values())))


@pytest.mark.parametrize("file", ["segments.csv", "strong.tsv", "long.tsv", "lines.json", "brain.json", "hot.tsv"])
def test_packed_lists_are_the_same(tmp_path, file):
    content, labels, remarks = LISTS[file]
    (tmp_path / f"{file}.gz").write_bytes(gzip.compress(content.encode()))
    check(tmp_path / f"{file}.gz", labels, remarks)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("--AAbbCC-11,30,dog barking,train\n", r":1: the first row is not a header: --AAbbCC-11, 30"),
        ("sound,words\nc1.wav,Speech\n", r":1: column 'clip_id' is missing; columns found: sound, words\. A"),
        ("file,words\nc1.wav,Speech\n", r":1: column 'labels' is missing; columns found: file, words\. A list needs"),
        ("file,start,label\nc1.wav,x\n", r":2: row has 2 columns, the header 3"),
        (
            "c1,0,10,Speech\nc2,0,10,Music\n",
            ": the rows have no header and may be segments or events: c1, 0, 10, Speech. "
            "Give --format audioset or --format events, or a header",
        ),
        ("id,file,label\na1,33,Speech\n", r":1: clips may be named by column 'file' or 'id'\. Call the right one"),
        ("clip_id,labels\nc1,Speech\nc1,Dog\n", r":3: clip 'c1' is listed twice.* give --format plain"),
        ("file,label\nc1.wav,Speech;Dog\nc1.wav,Music\n", r":3: clip 'c1' is listed twice, first in line 2"),
        (
            "YTID,start_seconds,end_seconds,positive_labels\nx,0,1,Speech\nx,2,3,Dog\n",
            r":3: clip 'x' is listed twice.* give --format events",
        ),
        ("file,Speech,Dog\nc1.wav,1,0\nc2.wav,2,1\n", r":3: '2' in the column 'Speech' is neither 0 nor 1"),
        ("file,Speech,Dog\nc1.wav,1,0\nc2.wav,,1\n", r":3: '' in the column 'Speech' is neither 0 nor 1"),
        ("c1.wav\t0\t0\tSpeech\n", "the label list has no clips; rows from 0 to 0 s are not events: 1 left out"),
        ("c1.wav\t5\t1\tSpeech\n", r":1: '5' to '1' are not a start and an end in seconds"),
        ("file,label\nc1.wav,0\nc2.wav,Speech\n", r":2: class '0' is not in the vocabulary 'audioset'"),
        ("file,label\nc1.wav,527\n", r":2: class number 527 is not in 'audioset', which has 0 to 526.*--classes LIST"),
        ("# only a comment\n", r":1: column 'clip_id' is missing; columns found: none"),
    ],
)  # fmt: skip
def test_what_may_mean_two_things_or_nothing_is_refused_with_the_remedy(tmp_path, content, message):
    (tmp_path / "l.csv").write_text(content)
    with pytest.raises(InputError, match=f"l\\.csv{message}" if message.startswith((":", r":")) else message):
        LabelTable.read(tmp_path / "l.csv", AUDIOSET)


@pytest.mark.parametrize("classes", ["esc50", "esc50.csv", "names.txt", "id2label.json"])
def test_class_numbers_mean_the_classes_that_are_named(tmp_path, classes):
    esc50 = Vocabulary.load("esc50")
    esc50.write(tmp_path / "esc50.csv")
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in esc50.names))
    (tmp_path / "id2label.json").write_text(json.dumps({"id2label": dict(enumerate(esc50.names))}))
    (tmp_path / "l.csv").write_text("file,label\nc1.wav,0\nc2.wav,10\n")
    given = classes if classes == "esc50" else tmp_path / classes
    assert named(LabelTable.read(tmp_path / "l.csv", AUDIOSET, classes=given)) == {"c1": {"Dog"}, "c2": {"Rain"}}
    table = LabelTable.read(tmp_path / "l.csv", esc50, classes=given)
    assert (table.label_sets(), table.remarks) == ([("dog",), ("rain",)], ())


def test_class_numbers_of_another_vocabulary_need_the_option_that_says_what_they_mean(tmp_path, capsys):
    (tmp_path / "l.csv").write_text("file,label\nc1.wav,0\nc2.wav,49\n")
    command = ["--labels", str(tmp_path / "l.csv"), "--vocabulary", "esc50", "--work", str(tmp_path)]
    assert balance.main(command) == 2
    said = "l.csv:2: label '0' is a class number, and nothing says of which classes. Give --classes LIST: audioset, "
    assert said in capsys.readouterr().err
    assert balance.main([*command, "--classes", "esc50"]) == 0
    numbers = Vocabulary("digits", ("0", "49"), ("zero", "49 th"), ("", ""))
    assert LabelTable.read(tmp_path / "l.csv", numbers).label_sets() == [("0",), ("49",)]


def test_classes_outside_the_vocabulary_are_left_out_by_their_numbers(tmp_path):
    (tmp_path / "l.csv").write_text("file,label\nc1.wav,0\nc2.wav,1\nc3.wav,1\n")  # 1 is rooster, not in AudioSet
    table = LabelTable.read(tmp_path / "l.csv", AUDIOSET, classes="esc50", unknown="skip")
    assert (named(table), table.left_out) == ({"c1": {"Dog"}, "c2": set(), "c3": set()}, {"1": 2})


def test_parquet_of_the_hub_is_a_list(tmp_path):
    path = tmp_path / "l.parquet"
    sound = [{"bytes": b"RIFF", "path": "c1.wav"}, {"bytes": b"RIFF", "path": "c2.wav"}]
    pq.write_table(pa.table({"video_id": ["c1", "c2"], "audio": sound, "labels": [["/m/09x0r"], ["/m/04rlf"]]}), path)
    check(path, ONE_EACH)
    table = pa.table({"audio": sound, "label": [0, 1], "id": [7, 8]})
    features = {"label": {"names": ["Speech", "Music"], "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    check(path, ONE_EACH, [BY_COLUMN.format("audio", "id")])
    pq.write_table(pa.table({"audio": sound, "label": [0, 137]}), path)
    check(path, ONE_EACH, [IN_ORDER])
    pq.write_table(pa.table({"file": ["c1.wav", "c1.wav", "c2.wav"], "label": ["Speech", "Dog", "Music"]}), path)
    check(path, SPEECH_DOG_MUSIC, [A_LABEL_A_ROW])
    path.rename(tmp_path / "list")
    check(tmp_path / "list", SPEECH_DOG_MUSIC, [A_LABEL_A_ROW])


def test_times_of_a_list_saved_by_another_program_are_read(tmp_path):
    for name in ("segments.csv", "index.csv", "order.tsv"):
        (tmp_path / name).write_text(LISTS[name][0], encoding="utf-8", newline="")
        times = read_segments(tmp_path / name)
        assert {clip: tuple(map(float, pair)) for clip, pair in times.items()} == {
            "aB3_dEfGh-1": (30, 40), "Zz9yXwVuTs8": (0, 10),
        }  # fmt: skip


def test_a_form_may_be_named_where_rows_could_mean_two(tmp_path):
    (tmp_path / "l.csv").write_text("c1,0,10,Speech\nc2,0,10,Music\n")
    check(tmp_path / "l.csv", ONE_EACH, format="audioset")
    check(tmp_path / "l.csv", ONE_EACH, format="events")
    (tmp_path / "l.csv").write_text("clip_id,labels\nc1,Speech\nc1,Dog\nc2,Music\n")
    check(tmp_path / "l.csv", SPEECH_DOG_MUSIC, [A_LABEL_A_ROW], format="plain")
    (tmp_path / "l.csv").write_text("c1\tSpeech,Dog\nc2\tMusic\n")
    check(tmp_path / "l.csv", SPEECH_DOG_MUSIC, format="audioset-r")
    assert FORMATS["audioset-r"].looks_like([["c1", "/m/09x0r"]])


HOT = [{"file": "c1.wav", "Speech": 1, "Dog": 1, "Music": 0}, {"file": "c2.wav", "Speech": 0, "Dog": 0, "Music": 1}]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("l.json", json.dumps(HOT)),
        ("l.json", json.dumps({"c1": {**HOT[0], "file": "a/c1.wav"}, "c2": HOT[1]})),
        ("l.jsonl", "".join(f"{json.dumps(entry)}\n" for entry in HOT)),
        ("l.jsonl", "".join(f"{json.dumps(entry)}\n" for entry in HOT).replace("1,", "true,").replace("0,", "false,")),
    ],
)
def test_a_key_a_class_in_json(tmp_path, file, text):
    (tmp_path / file).write_text(text)
    check(tmp_path / file, SPEECH_DOG_MUSIC)


def test_classes_that_some_entries_lack_are_not_lost(tmp_path):
    lists = {
        '{"c1": {"Speech": 1}, "c2": {"Dog": 1, "Speech": 0}}': "entry 1: key 'Dog' is missing",
        json.dumps({f"c{row}": {"Speech": 1} for row in range(6)} | {"d": {"Speech": 0, "Dog": 1}}): (
            "entry 7: key 'Dog' is not in the first entries, which have Speech. Give every entry all classes: 0 where"
        ),
        '{"clip_id": "c1", "Speech": 1, "Dog": 2}\n{"clip_id": "c2", "Speech": 0, "Dog": 1}\n': (
            ":1: '2' in the column 'Dog' is neither 0 nor 1"
        ),
    }
    for text, message in lists.items():
        (tmp_path / "l.json").write_text(text)
        with pytest.raises(InputError) as caught:
            LabelTable.read(tmp_path / "l.json", AUDIOSET)
        assert message in str(caught.value)
    (tmp_path / "l.json").write_text('{"clip_id": "c1", "Speech": 1, "Dog": "yes"}\n')
    table = LabelTable.read(tmp_path / "l.json", AUDIOSET)
    assert table.remarks[0].endswith("l.json: columns that are not classes of 0 and 1 are left out: Dog")


def test_vectors_of_0_and_1_are_not_taken_as_class_numbers(tmp_path):
    message = "every row has 3 numbers, all 0 or 1: class numbers, or a place for each class? Give the classes' names"
    path = tmp_path / "l.csv"
    for rows in (
        ('"[1, 0, 1]"', '"[0, 0, 1]"'),
        ("1;0;1", ""),
        ("[1. 0. 1.]".replace(". ", ".0 ").replace(".]", ".0]"),),
    ):
        path.write_text("clip_id,labels\n" + "".join(f"c{row},{cell}\n" for row, cell in enumerate(rows)))
        for classes in None, "audioset":
            with pytest.raises(InputError, match=re.escape(f"l.csv:2: {message}")):
                LabelTable.read(path, AUDIOSET, classes=classes)
    pq.write_table(pa.table({"file": ["c1", "c2"], "labels": [[1, 0, 1], [0, 0, 1]]}), tmp_path / "l.parquet")
    with pytest.raises(InputError, match=re.escape(f"row 1: {message}")):
        LabelTable.read(tmp_path / "l.parquet", AUDIOSET)
    path.write_text('clip_id,labels\nc1,"[0, 1]"\nc2,"[0, 1]"\n')
    assert LabelTable.read(path, AUDIOSET).matrix.nnz == 4
    path.write_text('clip_id,labels\nc1,"[0, 1]"\nc2,0\nc3,1\n')
    assert LabelTable.read(path, AUDIOSET).matrix.nnz == 4


def test_a_column_a_class_in_parquet(tmp_path):
    columns = {"file": ["c1.wav", "c2.wav"], "fold": [1, 1], "note": ["x", "y"]}
    hot = {"Speech": pa.array([1, 0], pa.int8()), "Dog": [True, False], "Music": [0.0, 1.0]}
    pq.write_table(pa.table({**columns, **hot}), tmp_path / "l.parquet")
    left_out = "columns that are not classes of 0 and 1 are left out: fold, note"
    check(tmp_path / "l.parquet", SPEECH_DOG_MUSIC, (left_out,))
    texts = {"Dog": pa.array(["1", "0"]).dictionary_encode(), "Music": ["0", "1"], "why": [None, ""]}
    pq.write_table(pa.table({**columns, **hot, **texts}), tmp_path / "l.parquet")
    table = LabelTable.read(tmp_path / "l.parquet", AUDIOSET)
    assert named(table) == SPEECH_DOG_MUSIC and table.remarks[0].endswith(f"{left_out}, why")
    later = {"file": [f"c{row}" for row in range(7)], "Speech": [1] * 7, "Music": [float("nan")] * 6 + [1.0]}
    pq.write_table(pa.table(later), tmp_path / "l.parquet")
    with pytest.raises(InputError, match=r"row 1: 'nan' in the column 'Music' is neither 0 nor 1"):
        LabelTable.read(tmp_path / "l.parquet", AUDIOSET)
    for wrong, shown in ((0.7, "0.7"), (None, "")):
        pq.write_table(pa.table({**columns, **hot, "Music": [0.0, wrong]}), tmp_path / "l.parquet")
        with pytest.raises(
            InputError, match=rf"row 2: '{shown}' in the column 'Music' is neither 0 nor 1\. (Remove|Write 0)"
        ):
            LabelTable.read(tmp_path / "l.parquet", AUDIOSET)
    pq.write_table(pa.table({**columns, "age": [12, 14]}), tmp_path / "l.parquet")
    with pytest.raises(InputError, match="column 'labels' is missing; columns found: file, fold, note, age"):
        LabelTable.read(tmp_path / "l.parquet", AUDIOSET)


def test_audioset_ids_are_labels_of_a_vocabulary_of_names(tmp_path):
    (tmp_path / "classes.txt").write_text("Speech\nDog\nMusic\n")
    (tmp_path / "l.csv").write_text("clip_id,labels\nc1,/m/09x0r;/m/0bt9lr\nc2,/m/04rlf\n")
    table = LabelTable.read(tmp_path / "l.csv", tmp_path / "classes.txt")
    assert dict(zip(table.clip_ids, map(set, table.label_sets()), strict=True)) == SPEECH_DOG_MUSIC


def test_spaces_around_headings_ids_and_labels_are_removed(tmp_path):
    (tmp_path / "l.csv").write_text("labels , clip_id \nSpeech , c1 \n Music, c2 \n")
    assert named(LabelTable.read(tmp_path / "l.csv", AUDIOSET)) == ONE_EACH
    (tmp_path / "l.tsv").write_text("clip_id \t labels\nc1 \t Speech\n c2\tMusic \n")
    assert named(LabelTable.read(tmp_path / "l.tsv", AUDIOSET)) == ONE_EACH
    (tmp_path / "l.jsonl").write_text('{"clip_id": " c1 ", "labels": "Speech"}\n{"clip_id": "c2", "labels": "Music"}\n')
    assert named(LabelTable.read(tmp_path / "l.jsonl", AUDIOSET)) == ONE_EACH


def test_texts_written_as_bytes_and_ids_that_are_numbers_in_parquet(tmp_path):
    path = tmp_path / "l.parquet"
    for names, kind in (([b"c1", b"c2"], pa.binary()), ([b"c1", b"c2"], pa.large_binary())):
        labels = pa.array([[b"Speech"], [b"Music"]], pa.list_(pa.binary()))
        pq.write_table(pa.table({"clip_id": pa.array(names, kind), "labels": labels}), path)
        assert named(LabelTable.read(path, AUDIOSET)) == ONE_EACH
    pq.write_table(pa.table({"clip_id": [7, 8], "labels": [b"Speech", b"Music"]}), path)
    assert named(LabelTable.read(path, AUDIOSET)) == {"7": {"Speech"}, "8": {"Music"}}
    pq.write_table(pa.table({"clip_id": [b"\xff\xfe"], "labels": ["Speech"]}), path)
    message = (
        r"l\.parquet, row 1: the column 'clip_id' is binary, and not UTF-8 text\. Save clips and labels as texts\."
    )
    with pytest.raises(InputError, match=message):
        LabelTable.read(path, AUDIOSET)


def test_true_and_false_in_a_column_a_class(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text("clip_id,Speech,Music\nc1,T,F\nc2,f,t\n")
    assert named(LabelTable.read(path, AUDIOSET)) == ONE_EACH
    path.write_text("clip_id,Speech,Music\nc1,1,\nc2,,1\n")
    message = r"l\.csv:2: '' in the column 'Music' is neither 0 nor 1\. Write 0 where the clip lacks the class\."
    with pytest.raises(InputError, match=message):
        LabelTable.read(path, AUDIOSET)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip_id,labels\n", "the label list has no clips. Give a row for each clip; its labels may be empty."),
        (
            "filename,onset,offset,event_label\nc1.wav,5,3,Speech\n",
            "'5' to '3' are not a start and an end in seconds. Give seconds from 0, the end not before the start.",
        ),
        (
            "filename,onset,offset,event_label\nc1.wav,0,1,\n",
            "has no label. Name its class; a clip without events has no times either.",
        ),
        ("clip_id,labels\n,Speech\n", ":2: the clip id is empty. Give it one, or remove the row."),
        ('[{"clip_id": "a", "labels": NaN}]', f"cannot be read (NaN is not JSON). {AS_JSON}"),
        ('[{"clip_id": "a"}]\n[]', f"list:2: not JSON (Extra data). {AS_JSON}"),
        (
            "clip_id;Male speech, man speaking;Speech\nc1;1;0\n",
            "list:1: columns are separated by semicolons, and the header has commas. Separate columns by tabs.",
        ),
        ("[" * 100_000, f"cannot be read (nested too deeply). {AS_JSON}"),
    ],
)
def test_every_refusal_has_its_remedy(tmp_path, text, message):
    (tmp_path / "list").write_text(text)
    with pytest.raises(InputError) as caught:
        LabelTable.read(tmp_path / "list", AUDIOSET)
    assert str(caught.value).endswith(message)


def test_a_folder_is_no_list(tmp_path):
    with pytest.raises(InputError, match=r": is a folder, not a file\. Name a file in it\."):
        LabelTable.read(tmp_path, AUDIOSET)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("l.csv", "dog/0.wav,Dog\ncat/0.wav,Music\ndog/1.wav,Dog\n"),
        ("l.csv", "file,label\ndog/0.wav,Dog\ncat/0.wav,Music\ndog/1.wav,Dog\n"),
        ("l.tsv", "file\tonset\toffset\tlabel\ndog\\0.wav\t0\t1\tDog\ncat/0.wav\t0\t1\tMusic\ndog/1.wav\t0\t1\tDog\n"),
        ("l.json", '[["dog/0.wav", "Dog"], ["cat/0.wav", "Music"], ["dog/1.wav", "Dog"]]'),
    ],
)
def test_names_in_several_folders_are_counted(tmp_path, file, text):
    if file == "l.json":
        text = json.dumps([dict(zip(("file", "label"), pair, strict=True)) for pair in json.loads(text)])
    (tmp_path / file).write_text(text)
    table = LabelTable.read(tmp_path / file, AUDIOSET)
    assert named(table) == {"0": {"Dog", "Music"}, "1": {"Dog"}}
    said = "1 name in several folders, each taken as one clip: 0 in dog and cat; a column clip_id keeps folders apart"
    assert any(remark == f"{tmp_path / file}: {said}" for remark in table.remarks)
    (tmp_path / "l.csv").write_text("clip_id,labels\ndog/0.wav,Dog\ncat/0.wav,Music\n")
    assert LabelTable.read(tmp_path / "l.csv", AUDIOSET).remarks == ()
