"""Ids of one clip in different lists meet, and ids of different clips do not."""

from __future__ import annotations

import pytest

from pseudolabel.errors import ClipMismatch
from pseudolabel.labels.aliases import ClipName, clip_name, match_clips

ID = "KK227gPpRn4"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (ID, ClipName(ID)),
        (f"Y{ID}", ClipName(ID)),
        (f"eval/Y{ID}.wav", ClipName(ID)),
        (f"Y{ID}_30.000_40.000.wav", ClipName(ID, 30_000, 40_000)),
        (f"{ID}_30_40", ClipName(ID, 30_000, 40_000)),
        (f"{ID}_30000", ClipName(ID, 30_000)),
        ("Y-6p32k2WUCs", ClipName("-6p32k2WUCs")),
        ("Y2345678901", ClipName("Y2345678901")),  # eleven signs: a whole id that begins with Y
        ("take_1_2", ClipName("take_1_2")),
        ("1-100032-A-0.flac", ClipName("1-100032-A-0")),
    ],
)
def test_name_says_its_id_and_its_times(text, name):
    assert clip_name(text) == name


def test_exact_id_comes_first_and_aliases_are_reported():
    matched = match_clips(["x.wav", "a/y.flac", f"Y{ID}_30.000_40.000", "gone"], ["x", "x.wav", "y", f"{ID}_30000"])
    assert matched.known == {"x.wav": "x.wav", "a/y.flac": "y", f"Y{ID}_30.000_40.000": f"{ID}_30000"}
    assert matched.aliases == ("a/y.flac", f"Y{ID}_30.000_40.000")
    assert matched.absent == ("gone",)
    assert matched.report() == (
        f"3 of 4 clips found, 2 under another id: a/y.flac is y, Y{ID}_30.000_40.000 is {ID}_30000"
    )


def test_other_times_are_other_clips():
    known = [f"{ID}_30.000_40.000"]
    assert match_clips([f"{ID}_40000"], known).absent == (f"{ID}_40000",)
    assert match_clips([f"{ID}_30.000_39.000"], known).absent == (f"{ID}_30.000_39.000",)
    assert match_clips([ID], known).known == {ID: known[0]}


def test_what_fits_two_clips_is_refused():
    with pytest.raises(ClipMismatch, match=f"clip '{ID}' may be any of {ID}_0, {ID}_10000"):
        match_clips([ID], [f"{ID}_0", f"{ID}_10000"])
    with pytest.raises(ClipMismatch, match=r"'x' and 'x\.wav' are both 'x'"):
        match_clips(["x", "x.wav"], ["x"])


def test_exact_ids_need_no_names():
    clips = ["Y" + ID, ID]
    assert match_clips(clips, clips).known == {clip: clip for clip in clips}
    assert match_clips(clips, clips).aliases == ()
