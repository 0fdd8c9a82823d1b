"""Event lists with their times: what is read, united, cut at the ends of clips, or refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudolabel.errors import InputError, UnknownClass
from pseudolabel.labels.events import EventTable, Spans
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary

CLASSES = Vocabulary("three", ("a", "b", "c"), ("Ant", "Bee", "Cat"), ("", "", ""))
DESED = "filename\tonset\toffset\tevent_label\n"


def write(path, text: str):
    path.write_text(text, encoding="utf-8")
    return path


def rows(spans: Spans) -> list[tuple]:
    return list(zip(*(part.tolist() for part in spans), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        DESED + "x.wav\t1.5\t2\tAnt\nx.wav\t0\t4,25\tCat\ny.wav\t\t\t\n",
        "clip_id,onset_s,offset_s,class_id,snr_db,source\nx,0.0000,4.2500,c,7.1,s\nx,1.5,2,a,3,t\ny,,,,,\n",
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\nx\t0.0\t4.25\tCat\nx\t1.5\t2.0\ta\ny\t\t\t\n",
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\tpresent\n"
        "x\t0.0\t4.25\tCat\tPRESENT\nx\t1.5\t2.0\ta\tPRESENT\ny\t0\t0.96\tb\tNOT_PRESENT\n",
    ],
    ids=["desed", "simulated", "audioset", "framed"],
)
def test_events_of_every_form_keep_their_times(tmp_path, text):
    path = write(tmp_path / "events.tsv", text)
    table = EventTable.read(path, CLASSES)
    assert table.clip_ids == ("x", "y") and not table.remarks
    assert rows(table.spans) == [(0, 0, 1.5, 2.0), (0, 2, 0.0, 4.25)]
    weak = LabelTable.read(path, CLASSES)
    assert weak.clip_ids == table.clip_ids
    assert (weak.matrix.toarray() == (table.spans.counts((2, 3)) > 0)).all()


def test_events_without_length_are_left_out_and_those_that_touch_are_one(tmp_path):
    text = DESED + "x.wav\t3\t5\tAnt\nx.wav\t1\t3\tAnt\nx.wav\t2\t2.5\tAnt\nx.wav\t7\t7\tBee\nx.wav\t0\t0\tCat\n"
    table = EventTable.read(write(tmp_path / "events.tsv", text), CLASSES)
    assert rows(table.spans) == [(0, 0, 1.0, 5.0)]
    assert [remark.partition(": ")[2] for remark in table.remarks] == [
        "rows from 0 to 0 s are not events: 1 left out (Cat of x.wav in line 6)",
        "events of no length: 1 left out",
        "3 rows are 1 event: those of a clip and class that overlap or touch are one",
    ]


SPANS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 20), st.integers(1, 6)), max_size=12)


@given(SPANS)
def test_united_spans_cover_what_the_spans_cover(drawn):
    given_rows = [(clip, column, on / 2, (on + length) / 2) for clip, column, on, length in drawn]
    found = rows(Spans.of(given_rows))
    for clip in (0, 1):
        for column in (0, 1):
            of_pair = [row[2:] for row in found if row[:2] == (clip, column)]
            covered = {t for c, k, on, off in given_rows if (c, k) == (clip, column) for t in np.arange(on, off, 0.5)}
            assert {t for on, off in of_pair for t in np.arange(on, off, 0.5)} == covered
            assert all(off < on for (_, off), (on, _) in itertools.pairwise(of_pair))
    assert found == sorted(found)


def test_a_list_without_times_and_unknown_classes_are_refused_or_counted(tmp_path):
    weak = write(tmp_path / "weak.csv", "clip_id,labels\nx,a\n")
    with pytest.raises(InputError, match=r"weak\.csv: is not a list of events with onset and offset\. Give rows of"):
        EventTable.read(weak, CLASSES)
    path = write(tmp_path / "events.tsv", DESED + "x.wav\t0\t1\tAnt\nx.wav\t0\t1\tAunt\n")
    with pytest.raises(UnknownClass, match=r"events\.tsv:3: class 'Aunt' is not .*nearest: 'a' \(Ant\)"):
        EventTable.read(path, CLASSES)
    table = EventTable.read(path, CLASSES, unknown="skip")
    assert table.left_out == {"Aunt": 1} and table.spans.n == 1
    for text, message in {
        "x.wav\t2\t1\tAnt\n": "'2' to '1' are not a start and an end",
        "x.wav\tnan\t1\tAnt\n": "'nan' to '1' are not",
        "x.wav\t0\t1\t\n": "the event has no label",
        "x.wav\t0\t1\tAnt\n\t0\t1\tAnt\n": r"wrong\.tsv:3: the clip id is empty",
        "": "the label list has no clips",
    }.items():
        with pytest.raises(InputError, match=message):
            EventTable.read(write(tmp_path / "wrong.tsv", DESED + text), CLASSES)


def test_events_end_with_their_clip_and_none_begins_after_it(tmp_path):
    text = DESED + "x.wav\t8\t10.1\tAnt\ny.wav\t3\t5\tBee\n"
    table = EventTable.read(write(tmp_path / "events.tsv", text), CLASSES)
    cut, n_cut = table.within(np.array([10.0, 5.0]), "events.tsv")
    assert n_cut == 1 and rows(cut.spans) == [(0, 0, 8.0, 10.0), (1, 1, 3.0, 5.0)]
    message = r"events\.tsv: an event of 'Bee' begins at 3 s of clip 'y', which has 2\.5 s \(1 such events\)\. Correct"
    with pytest.raises(InputError, match=message):
        table.within(np.array([10.0, 2.5]), "events.tsv")


def test_clips_classes_and_ancestors_are_chosen(tmp_path):
    text = DESED + "x.wav\t1\t2\tAnt\nx.wav\t2\t3\tBee\ny.wav\t0\t9\tCat\n"
    table = EventTable.read(write(tmp_path / "events.tsv", text), CLASSES)
    assert rows(table.select(["y", "x"]).spans) == [(0, 2, 0.0, 9.0), (1, 0, 1.0, 2.0), (1, 1, 2.0, 3.0)]
    assert rows(table.of_classes([2, 0])) == [(0, 1, 1.0, 2.0), (1, 0, 0.0, 9.0)]
    above = np.zeros((3, 3), bool)
    above[[0, 1], 2] = True  # Ant and Bee are kinds of Cat here
    assert rows(table.with_ancestors(above).spans) == [
        (0, 0, 1.0, 2.0), (0, 1, 2.0, 3.0), (0, 2, 1.0, 3.0), (1, 2, 0.0, 9.0),
    ]  # fmt: skip
