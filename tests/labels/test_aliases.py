"""Ids of one clip in different lists meet, and ids of different clips do not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.errors import ClipMismatch
from pseudolabel.labels.aliases import ClipName, clip_name, match_clips, same_clips

ID = "KK227gPpRn4"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (ID, ClipName(ID)),
        (f"Y{ID}", ClipName(ID)),
        (f"eval/Y{ID}.wav", ClipName(ID)),
        (f"Y{ID}_30.000_40.000.wav", ClipName(ID, 30_000, 40_000)),
        (f"{ID}_30_40", ClipName(ID, 30_000, 40_000)),
        (f"{ID}_390.0-400.0", ClipName(ID, 390_000, 400_000)),
        (f"audio/Y{ID}_30-40.flac", ClipName(ID, 30_000, 40_000)),
        (f"{ID}_150.000", ClipName(ID, 150_000)),
        (f"{ID}_0.5.wav", ClipName(ID, 500)),
        (f"{ID}_30000", ClipName(ID, 30_000)),
        (f"{ID}_0", ClipName(ID, 0)),
        (f"{ID}_300", ClipName(f"{ID}_300")),
        ("Y-6p32k2WUCs", ClipName("-6p32k2WUCs")),
        ("Y2345678901", ClipName("Y2345678901")),  # eleven signs: a whole id that begins with Y
        ("take_1_2", ClipName("take_1_2")),
        ("1-100032-A-0.flac", ClipName("1-100032-A-0")),
    ],
)
def test_name_says_its_id_and_its_times(text, name):
    assert clip_name(text) == name


def test_exact_id_comes_first_and_aliases_are_reported():
    listed = ["x.wav", "a/y.flac", f"Y{ID}_30.000_40.000", "gone"]
    matched = match_clips(listed, ["x", "x.wav", "y", f"{ID}_30000"])
    assert matched.found == tuple(listed[:3])
    assert matched.known() == ["x.wav", "y", f"{ID}_30000"]
    assert matched.aliases == {"a/y.flac": "y", f"Y{ID}_30.000_40.000": f"{ID}_30000"}
    assert matched.absent == ("gone",)
    assert matched.report("scores") == (
        f"2 of 4 clips found under another id (scores): a/y.flac is y, Y{ID}_30.000_40.000 is {ID}_30000"
    )


def test_other_times_are_other_clips():
    known = [f"{ID}_30.000_40.000"]
    assert match_clips([f"{ID}_40000"], known).absent == (f"{ID}_40000",)
    assert match_clips([f"{ID}_30.000_39.000"], known).absent == (f"{ID}_30.000_39.000",)
    assert match_clips([ID], known).aliases == {ID: known[0]}
    assert match_clips([f"{ID}_30000"], known).aliases == {f"{ID}_30000": known[0]}


def test_every_way_of_writing_times_names_the_same_clip():
    listed = [ID, f"{ID}_390000", f"Y{ID}_390.000_400.000", f"{ID}_390.0-400.0", f"{ID}_390.000"]
    for known in listed[1:]:
        for asked in set(listed) - {known}:
            assert match_clips([asked], [known]).aliases == {asked: known}
    assert match_clips([f"{ID}_150.000"], [f"{ID}_150.0-160.0"]).found == (f"{ID}_150.000",)
    assert match_clips([f"{ID}_150.000"], [f"{ID}_151.0-161.0"]).found == ()


def test_what_fits_two_clips_is_refused():
    with pytest.raises(ClipMismatch, match=f"l: clip '{ID}' may be any of {ID}_0, {ID}_10000"):
        match_clips([ID], [f"{ID}_0", f"{ID}_10000"], "l")
    for asked in ["x", "x.wav"], ["x.wav", "x"]:
        with pytest.raises(ClipMismatch, match=r"'x' and 'x\.wav' are both 'x'"):
            match_clips(asked, ["x"])
    with pytest.raises(ClipMismatch, match=r"'a/x' and 'x\.wav' are both 'x'"):
        match_clips(["a/x", "x.wav"], ["x"])


def test_a_clip_of_the_same_name_in_another_folder_is_another_clip_if_both_are_asked_for():
    matched = match_clips(["a/x", "b/x", "c/x"], ["a/x"])
    assert (matched.found, matched.aliases, matched.absent) == (("a/x",), {}, ("b/x", "c/x"))
    assert match_clips(["a/x", "b/x.wav"], ["a/x", "b/x"]).aliases == {"b/x.wav": "b/x"}
    assert match_clips(["b/x"], ["a/x"]).absent == ("b/x",)
    assert match_clips(["x"], ["a/x"]).aliases == {"x": "a/x"} and match_clips(["b/x"], ["x"]).aliases == {"b/x": "x"}
    assert match_clips(["c/a/x.wav", "c/b/y"], ["a/x", "a/y"]).aliases == {"c/a/x.wav": "a/x"}
    assert match_clips(["c/a/x", "a/x"], ["a/x"]).absent == ("c/a/x",)


def test_exact_ids_need_no_names():
    clips = ["Y" + ID, ID, f"{ID}_0"]
    matched = match_clips(clips, clips)
    assert (matched.known(), matched.aliases, matched.absent, matched.report("")) == (clips, {}, (), "")


def test_counters_are_no_times():
    takes = ["recording01_1", "recording01_2", "recording01_0010"]
    assert match_clips(["recording01"], takes).absent == ("recording01",)
    assert same_clips(["recording01"], takes) == {}


FORMS = ("{}", "Y{}", "x/{}.wav", "{}.FLAC", "c:\\{}.mp3", "{}_30.000_40.000", "Y{}_30.000_40.000.w64", "{}_30000",
         "{}_0", "{}_7", "Y{}_40000.au", "{}_30_40")  # fmt: skip
STEMS = (ID, "-6p32k2WUCs", "Y2345678901", "short", "a.rather.long_name", "x")


def reference_pairs(first: list[str], second: list[str]) -> list[tuple[str, str]]:
    """Return all pairs of ids that may be one clip, by comparing each with each."""

    def may_be_one(one: str, other: str) -> bool:
        (a, *times), (b, *others) = clip_name(one), clip_name(other)
        return a == b and all(None in pair or pair[0] == pair[1] for pair in zip(times, others, strict=True))

    return [(one, other) for one in first for other in second if may_be_one(one, other)]


def in_other_folders(one: str, other: str) -> bool:
    folders = [text.replace("\\", "/").rpartition("/")[0] for text in (one, other)]
    return "" not in folders and folders[0] != folders[1]


IDS = st.lists(st.builds(str.format, st.sampled_from(FORMS), st.sampled_from(STEMS)), unique=True, max_size=8)


@settings(max_examples=300)
@given(asked=IDS, known=IDS)
def test_matching_and_sharing_are_those_of_comparing_each_with_each(asked, known):
    pairs = reference_pairs(asked, known)
    shared = same_clips(asked, known)
    apart = {(one, other) for one, other in pairs if in_other_folders(one, other) and (one in known or other in asked)}
    assert list(shared) == [one for one in asked if any(one == pair[0] and pair not in apart for pair in pairs)]
    assert set(shared.items()) <= set(pairs) - apart
    assert all(shared[one] == one for one in asked if one in known)

    expected, conflict = {one: one for one in asked if one in known}, False
    for one in asked:
        fitting = [other for first, other in pairs if first == one]
        fitting = [other for other in fitting if not in_other_folders(one, other)]
        if one not in known and fitting:
            conflict |= len(fitting) > 1 or fitting[0] in expected.values()
            expected[one] = fitting[0]
    if conflict:
        with pytest.raises(ClipMismatch):
            match_clips(asked, known)
    else:
        matched = match_clips(asked, known)
        assert dict(zip(matched.found, matched.known(), strict=True)) == expected
        assert list(matched.found) == [one for one in asked if one in expected]
        assert list(matched.absent) == [one for one in asked if one not in expected]
        assert matched.aliases == {one: other for one, other in expected.items() if one != other}


def test_doubt_counts_against_clips_that_must_not_be_shared():
    assert same_clips([ID, "a"], [f"Y{ID}", "b"]) == {ID: f"Y{ID}"}
    assert same_clips([f"{ID}_0", f"{ID}_10000", "a"], [ID]) == {f"{ID}_0": ID, f"{ID}_10000": ID}
    assert same_clips([ID], [f"{ID}_0", f"{ID}_10000", "a"]) == {ID: f"{ID}_0"}
    assert same_clips([f"{ID}_0"], [f"{ID}_10000"]) == {}


def test_ids_in_two_folders_are_two_clips_where_a_list_has_both():
    assert same_clips(["a/x"], ["b/x"]) == {"a/x": "b/x"}
    assert same_clips(["a/x"], ["b/x"], {"a/x": 0, "b/x": 1}) == {}
    assert same_clips(["a/x"], ["b/x"], {"a/x": 0}) == {"a/x": "b/x"}
    assert same_clips(["a/x", "b/x"], ["b/x"]) == {"b/x": "b/x"}
    assert same_clips(["b/x"], ["a/x", "b/x"]) == {"b/x": "b/x"}
    assert same_clips(["x", "a/x"], ["b/x"], {"a/x", "b/x", "x"}) == {"x": "b/x"}
